"""Matrices of 8-bit weights.

Weights are rounded not to the nearest integer one by one but so that the errors of a row cancel on
the signals that calibration has seen (E. Frantar et al., *GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers*, ICLR 2023; here around the signals' mean, which the bias
takes up).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import floor, log2

import numpy as np

# Rows of signals for each of their columns, of which a fit to fewer would not hold for others.
ENOUGH_ROWS = 5
_OUTLIER = 100  # times as large as the others


@dataclass
class Matrix:
    """Weights as lstmrt_matrix has them; `q` is (G, I + H) in natural order."""

    q: np.ndarray
    inputs: int
    biases: np.ndarray
    multipliers: np.ndarray
    input_shift: int
    shift: int
    bits: int

    def __call__(self, x, h=None):
        """Pre-activations of integer signals."""
        sums = (x @ self.q[:, : self.inputs].T) * 2**self.input_shift + self.biases
        if h is not None:
            sums = sums + h @ self.q[:, self.inputs :].T
        return (sums * self.multipliers) >> self.shift

    def tiles(self):
        """The weights in the order in which C reads them."""
        runs = []
        rows = len(self.q)
        bounds = [*range(0, rows - rows % 4, 4), *range(rows - rows % 4, rows + 1)]
        for first, last in pairwise(bounds):
            for columns in (self.q[first:last, : self.inputs], self.q[first:last, self.inputs :]):
                fours = columns.shape[1] // 4 * 4
                groups = columns[:, :fours].reshape(last - first, -1, 4)[:, :, [0, 2, 1, 3]]
                runs += [groups.transpose(1, 0, 2).ravel(), columns[:, fours:].T.ravel()]
        return np.concatenate(runs)

    def text(self, name, arrays):
        """Its initialiser in C; the arrays that it points to are added to `arrays`."""
        arrays[f"{name}_weights"] = self.tiles().astype(np.int8)
        arrays[f"{name}_biases"] = self.biases.astype(np.int32)
        arrays[f"{name}_multipliers"] = self.multipliers.astype(np.uint16)
        rows, columns = self.q.shape
        return (
            f"{{{rows}, {self.inputs}, {columns - self.inputs}, {self.input_shift}, "
            f"{self.shift}, {name}_weights, {name}_biases, {name}_multipliers}}"
        )


def quantized(W, b, signals, target, *, inputs, input_shift, bits, damping, what, least_bits=None):
    """A `Matrix` of rows W (G, n) that multiply integer signals (steps, n), with biases b (G,).

    The results are to come near `target` (steps, G). Columns below `inputs` count 2^input_shift
    times; the results have `bits` fractional bits, or fewer, down to `least_bits`, where what the
    signals' errors add to the weights would overflow. `damping` is that of the signals' covariance,
    by its mean eigenvalue, and more where there are few signals; `what` names the matrix in an
    error.
    """
    limit = 2.0 ** (30 - bits)
    reach = 32768 * np.abs(W).sum(axis=1) + np.abs(b)
    if not (reach < 2.0**30 * limit).all():  # so far off that what follows would overflow
        raise _out_of_reach(what, reach, limit, signals[:, :inputs])
    unit = np.ones(W.shape[1])
    unit[:inputs] = 2.0**input_shift
    V, U = W / unit, signals * unit
    mean = U.mean(axis=0)
    centred, covariance = U - mean, (U - mean).T @ (U - mean) / len(U)
    # what the signals' own errors have put in is taken out as far as weights can
    missing = target - U @ V.T - b
    damping = damping * max(1.0, ENOUGH_ROWS * len(mean) / len(U)) ** 2
    ridge = covariance + damping * (np.trace(covariance) / len(mean) or 1.0) * np.eye(len(mean))
    V = V + np.linalg.solve(ridge, centred.T @ missing / len(U)).T
    b = target.mean(axis=0) - V @ mean
    least_bits = bits if least_bits is None else least_bits
    while True:
        matrix, reach = _in_bits(V, b, mean, ridge, inputs, input_shift, bits)
        if (reach < 2.0 ** (30 - bits)).all():
            return matrix
        if bits == least_bits:
            raise _out_of_reach(what, reach, 2.0 ** (30 - bits), signals[:, :inputs])
        bits -= 1


def _in_bits(V, b, mean, ridge, inputs, input_shift, bits):
    """A `Matrix` whose results have so many fractional bits, and how large they can become."""
    unit = np.ones(V.shape[1])
    unit[:inputs] = 2.0**input_shift
    scale = np.maximum(np.abs(V).max(axis=1) / 127, np.abs(b) / 2**28)
    # no row is 2^15 times as fine as another, and none finer than what can be told from zero
    scale = np.maximum(scale, max(scale.max() / 2**15, 2.0 ** -(bits + 30)))
    while True:
        shift = 15 - floor(log2(scale.max() * 2.0**bits))
        multipliers = np.minimum(np.ceil(scale * 2.0 ** (bits + shift)), 65535).astype(np.int64)
        step = multipliers * 2.0 ** -(bits + shift)
        q = _rounded(V, step, ridge)
        biases = np.rint((b + (V - q * step[:, None]) @ mean) / step).astype(np.int64)
        reach = 32768 * (np.abs(q) @ unit) + np.abs(biases)
        if (reach < 2**31 - 1).all():
            break
        scale = np.where(reach < 2**31 - 1, scale, scale * 1.1)
    return Matrix(q, inputs, biases, multipliers, input_shift, shift, bits), reach * step


def _out_of_reach(what, reach, limit, inputs):
    size = np.sort(np.abs(inputs), axis=0)
    usual = np.sqrt((size[:-1] ** 2).mean(axis=0)) if len(size) > 1 else size[-1]
    ratio = np.divide(size[-1], usual, out=np.zeros(len(usual)), where=usual > 0)
    way_out = "scale the inputs to about 1"
    if ratio.max() > _OUTLIER:
        way_out = (
            f"input {ratio.argmax()} of it is {ratio.max():.0f} times as large at one step as at "
            "the others: leave that out of the data"
        )
    return ValueError(
        f"net: {what} can reach pre-activations of {reach.max():.3g}, expected less than "
        f"{limit:.3g} for int8; {way_out}"
    )


def _rounded(V, step, covariance):
    """Integers q with q * step near V, so that the errors of a row cancel on the signals."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    H = covariance[np.ix_(order, order)]
    factor = np.linalg.cholesky(np.linalg.inv(H)).T  # upper triangular
    left, q = V[:, order].copy(), np.empty(V.shape, dtype=np.int64)
    for k in range(V.shape[1]):
        q[:, order[k]] = np.clip(np.rint(left[:, k] / step), -127, 127)
        error = (left[:, k] - q[:, order[k]] * step) / factor[k, k]
        left[:, k + 1 :] -= error[:, None] * factor[k, k + 1 :]
    return q

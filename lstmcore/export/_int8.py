"""Quantization: a network in the integers of lstmrt_int8.h, calibrated on typical inputs.

Weights are rounded not to the nearest integer one by one but so that the errors of a row cancel on
the signals that calibration has seen (E. Frantar et al., *GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers*, ICLR 2023; here around the signals' mean, which the bias
takes up). `IntegerPart` computes in NumPy what the C program computes, to the bit but for
activations that go through float.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import floor, log2

import numpy as np

from .._reference import apply_activation, output_units
from ._chain import DENSE, LSTM
from ._source import activation, array, flags, literal

A_BITS = 16  # fractional bits of a pre-activation
MOST_STEPS = 20_000  # of calibration; more would not change ranges and covariances much
DAMPINGS = (1e-2, 1e-3, 1e-4)  # of the covariances, by their mean eigenvalue; the best is kept
HEADROOM = 1.25  # of inputs and of signals without a bound, beyond what calibration has seen
_SQUASH = {"identity": 0, "logistic": 1, "softmax": 2}

_IDENTITY, _LOGISTIC, _TANH, _RELU, _LOGISTIC_1, _LOGISTIC_2 = range(6)
# Fractional bits of an activation's value: those with a bound have them all.
_BITS = {_LOGISTIC: 30, _TANH: 30, _LOGISTIC_1: 30, _LOGISTIC_2: 29, 6: 30, 10: 30}
_BOUND = {_LOGISTIC: 1, _TANH: 1, _LOGISTIC_1: 1, _LOGISTIC_2: 2, 6: 1, 10: 1}


# ------------------------------------------------------------------------------ calibration


@dataclass
class Signals:
    """What passed through one part: rows are the steps that were there.

    Attributes
    ----------
    y : (B, T, H) array
    a : (n, G) array
        Pre-activations, without what peepholes and gate recurrence add.
    rows : (n, I + H) array
        What the rows of W and R meet: inputs, and outputs of the step before.
    gates : (n, gates) array or None
        Gate activations of the step before.
    largest : dict
        Of "h", "c", "gates" the largest absolute value.
    """

    y: np.ndarray
    a: np.ndarray
    rows: np.ndarray
    gates: np.ndarray
    largest: dict


def _activated(cell, role, a):
    y = np.empty_like(a)
    apply_activation(cell[f"act_{role}"], cell[f"alpha_{role}"], cell[f"beta_{role}"], a, y)
    return y


def _block_sums(cells, size):
    return cells.reshape(len(cells), -1, size).sum(axis=2)


def _times(lengths, T, reverse):
    """(sequences, times) that step t = 0, 1, ... reads and writes."""
    for t in range(T):
        alive = np.flatnonzero(lengths > t)
        yield alive, lengths[alive] - 1 - t if reverse else np.full(len(alive), t)


def _float_run(part, x, lengths, reverse):
    """A part in float64 over padded sequences x (B, T, I)."""
    cell, w, H = part.cell, part.weights, part.units
    B, T = x.shape[:2]
    y = np.zeros((B, T, H))
    if cell["kind"] == DENSE:
        a = x @ w["W"].T + w["b"]
        y[...] = _activated(cell, "output", a)
        valid = np.arange(T) < lengths[:, None]
        return Signals(y, a[valid], x[valid], None, {"h": np.abs(y[valid]).max(initial=0)})
    h, c = (
        np.zeros((B, H)) if w[name] is None else np.tile(w[name], (B, 1)) for name in ("h0", "c0")
    )
    largest = {"h": np.abs(h).max(), "c": np.abs(c).max(), "gates": 0.0}
    gates = np.zeros((B, part.n_gates))
    WR, seen = np.hstack([w["W"], w["R"]]), ([], [], [])
    for alive, times in _times(lengths, T, reverse):
        row = np.hstack([x[alive, times], h[alive]])
        a = row @ WR.T + w["b"]
        for values, value in zip(seen, (a, row, gates[alive]), strict=True):
            values.append(value)
        if cell["kind"] == LSTM:
            h[alive], c[alive], gates[alive] = _float_lstm(part, a, c[alive], gates[alive])
            largest["c"] = max(largest["c"], np.abs(c[alive]).max(initial=0))
            largest["gates"] = max(largest["gates"], np.abs(gates[alive]).max(initial=0))
        else:
            h[alive] = _activated(cell, "output", a)
        largest["h"] = max(largest["h"], np.abs(h[alive]).max(initial=0))
        y[alive, times] = h[alive]
    return Signals(y, *map(np.concatenate, seen), largest)


def _float_lstm(part, a, c, gates):
    cell, w, C = part.cell, part.weights, part.cell["block_size"]
    n, nb = part.n_gates, part.units // C
    a_gates, g = a[:, :n].copy(), _activated(cell, "cell", a[:, n:])
    if w["Q"] is not None:
        a_gates += gates @ w["Q"].T
    n_early = n - nb * cell["output_gate"]
    if w["p"] is not None:
        for k in range(n_early // nb):
            a_gates[:, k * nb : (k + 1) * nb] += _block_sums(w["p"][k] * c, C)
    early = _activated(cell, "gate", a_gates[:, :n_early])
    one = np.ones((len(a), nb))
    i = early[:, :nb] if cell["input_gate"] else one
    f = early[:, n_early - nb :] if cell["forget_gate"] else 1 - i if cell["coupled"] else one
    c = np.repeat(f, C, axis=1) * c + np.repeat(i, C, axis=1) * g
    o = one[:, :0]
    h = _activated(cell, "output", c)
    if cell["output_gate"]:
        a_o = a_gates[:, n_early:]
        if w["p"] is not None:
            a_o = a_o + _block_sums(w["p"][-1] * c, C)
        o = _activated(cell, "gate", a_o)
        h = np.repeat(o, C, axis=1) * h
    return h, c, np.hstack([early, o])


# ------------------------------------------------------------------------------- the matrix


@dataclass
class Matrix:
    """Weights as lstmrt_matrix has them; `q` is (G, I + H) in natural order."""

    q: np.ndarray
    inputs: int
    biases: np.ndarray
    multipliers: np.ndarray
    input_shift: int
    shift: int

    def __call__(self, x, h):
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


def _matrix(W, b, signals, target, inputs, input_shift, bits, damping, what):
    """Quantize rows W (G, n) that multiply integer signals (steps, n), with biases b (G,).

    The results are to come near `target` (steps, G). Columns below `inputs` count 2^input_shift
    times; the results have `bits` fractional bits.
    """
    unit = np.ones(W.shape[1])
    unit[:inputs] = 2.0**input_shift
    V, U = W / unit, signals * unit
    mean = U.mean(axis=0)
    centred, covariance = U - mean, (U - mean).T @ (U - mean) / len(U)
    # what the signals' own errors have put in is taken out as far as weights can
    missing = target - U @ V.T - b
    ridge = covariance + damping * (np.trace(covariance) / len(mean) or 1.0) * np.eye(len(mean))
    V = V + np.linalg.solve(ridge, centred.T @ missing / len(U)).T
    b = target.mean(axis=0) - V @ mean
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
    if (reach * step * 2.0**bits >= 2**30).any():
        raise ValueError(
            f"net: {what} can reach pre-activations of {(reach * step).max():.3g}, expected less "
            f"than {2.0 ** (30 - bits):.3g} for int8; scale the inputs to about 1"
        )
    return Matrix(q, inputs, biases, multipliers, input_shift, shift)


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


# ------------------------------------------------------------------- integers as C has them


def _high(a, b):
    return (a * b) >> np.uint64(32)


def _upper_half(v):
    """lstmrt_upper_half, on uint64 arrays."""
    u = np.uint64
    v = np.minimum(v, u((16 << A_BITS) - 1))
    t = _high(v << u(11), u(1549082005))
    f = (t << u(7)) & u(0xFFFFFFFF)
    p = u(114623013) - _high(u(14838268), f)
    p = u(514423333) - _high(p, f)
    p = u(1488375884) - _high(p, f)
    p = u(2147483648) - _high(p, f)
    d = u(1 << 30) + (p >> ((t >> u(25)) + u(1)))
    r = (u(0xFFFFFFFF) // (d >> u(14))) << u(15)
    return _high(r, u(1 << 30) - _high(d, r)) << u(2)


def _tanh_of_half(sign, magnitude):
    t = (_upper_half(magnitude.astype(np.uint64)).astype(np.int64) << 1) - (1 << 30)
    return np.where(sign < 0, -t, t)


def _activated_int(cell, role, a):
    code, bits = cell[f"act_{role}"], _bits(cell, role)
    if code == _IDENTITY:
        return a
    if code == _RELU:
        return np.maximum(a, 0)
    if code == _LOGISTIC:
        r = _upper_half(np.abs(a).astype(np.uint64)).astype(np.int64)
        return np.where(a < 0, (1 << 30) - r, r)
    if code == _TANH:
        return _tanh_of_half(a, np.abs(a) * 2)
    if code in (_LOGISTIC_1, _LOGISTIC_2):
        return _tanh_of_half(a, np.abs(a))
    value = _activated(cell, role, a * 2.0**-A_BITS) * 2.0**bits
    return np.trunc(np.clip(value, -2147483520, 2147483520) + np.copysign(0.5, value)).astype(
        np.int64
    )


def _int32(v):
    return np.clip(v, -(2**31) + 1, 2**31 - 1)


def _int16(v, shift):
    return np.clip((v + (1 << (shift - 1))) >> shift, -32768, 32767)


def _rescaled(v, before, after):
    return v >> (before - after) if before >= after else _int32(v << (after - before))


def _bits(cell, role):
    code = cell[f"act_{role}"]
    if code == 11:  # scaled_tanh, bounded by alpha
        return min(30, 30 - max(0, floor(log2(abs(cell[f"alpha_{role}"]))) + 1))
    return _BITS.get(code, A_BITS)


def _bound(cell, role):
    code = cell[f"act_{role}"]
    return abs(cell[f"alpha_{role}"]) if code == 11 else _BOUND.get(code, np.inf)


def _signal_bits(bound, largest):
    """Fractional bits of an int16 signal that has a bound, or the largest value seen."""
    if bound <= 1 and largest <= 1:
        return 15
    reach = min(bound, HEADROOM * largest) if bound > 1 else largest
    return int(np.clip(floor(log2(32767 / max(reach, 1e-9))), 0, 15))


def _columns(part, scales, h_bits):
    """W and R for integer signals."""
    if part.weights["R"] is None:
        return part.weights["W"] * scales
    return np.hstack([part.weights["W"] * scales, part.weights["R"] * 2.0**-h_bits])


class IntegerPart:
    """One part in integers.

    Parameters
    ----------
    part : Part
    signals : Signals
        Of the part, in float.
    rows : (n, I + H) array
        The integers that the rows of W and R meet.
    scales : (I,) array
        What one unit of each input stands for.
    h_bits : int
        Of its outputs.
    is_output : bool
        Whether it is the network's last layer, a Dense layer: its results are float.
    damping : float
        One of `DAMPINGS`.
    """

    def __init__(self, part, signals, rows, scales, h_bits, input_shift, is_output, damping):
        self.part, self.h_bits, self.is_output = part, h_bits, is_output
        cell, w = part.cell, part.weights
        W = _columns(part, scales, h_bits)
        bits = A_BITS
        if is_output:
            reach = (32767 * np.abs(W).sum(axis=1) + np.abs(w["b"])).max()
            bits = self.h_bits = int(np.clip(29 - floor(log2(max(reach, 1e-9)) + 0.1), 0, 28))
        self.matrix = _matrix(
            W, w["b"], rows, signals.a, len(scales), input_shift, bits, damping, part.name
        )
        self.Q = self.p = None
        self.gates_bits = self.p_bits = 0
        self.c_bits = 16
        if cell["kind"] == LSTM:
            largest = max(signals.largest["c"], 1e-9)
            self.c_bits = int(np.clip(29 - floor(log2(largest)) - 1, 16, 28))
            if w["Q"] is not None:
                self.gates_bits = _signal_bits(_bound(cell, "gate"), signals.largest["gates"])
                unit = 2.0**-self.gates_bits
                self.Q = _matrix(
                    w["Q"] * unit, np.zeros(part.n_gates), signals.gates / unit,
                    signals.gates @ w["Q"].T, part.n_gates, 0, A_BITS, damping,
                    f"{part.name}, gate recurrence",
                )  # fmt: skip
            if w["p"] is not None and w["p"].size:
                largest = max(np.abs(w["p"]).max(), 1e-9)
                self.p_bits = int(np.clip(floor(log2(32767 / largest)), 0, 24))
                self.p = np.rint(w["p"] * 2.0**self.p_bits).astype(np.int64)
        self.h0 = None if w["h0"] is None else self._start(w["h0"], h_bits, 32767)
        self.c0 = None if w["c0"] is None else self._start(w["c0"], self.c_bits, 2**31 - 1)

    @staticmethod
    def _start(values, bits, most):
        return np.clip(np.rint(values * 2.0**bits), -most, most).astype(np.int64)

    def run(self, x, lengths, reverse):
        """Over padded integer sequences x (B, T, I); of the output layer, floats come out.

        What the rows of the matrix met is in `rows` afterwards, the last outputs in `final`.
        """
        cell, part = self.part.cell, self.part
        B, T = x.shape[:2]
        if cell["kind"] == DENSE:
            self.rows = x[np.arange(T) < lengths[:, None]]
            a = self.matrix(x, None)
            if self.is_output:
                return _activated(cell, "output", a * 2.0**-self.h_bits)
            a = _activated_int(cell, "output", a)
            return _int16(a, _bits(cell, "output") - self.h_bits)
        h, c = (
            np.zeros((B, part.units), np.int64) if start is None else np.tile(start, (B, 1))
            for start in (self.h0, self.c0)
        )
        gates = np.zeros((B, part.n_gates), np.int64)
        y, rows = np.zeros((B, T, part.units), np.int64), []
        for alive, times in _times(lengths, T, reverse):
            rows.append(np.hstack([x[alive, times], h[alive]]))
            a = self.matrix(x[alive, times], h[alive])
            if cell["kind"] == LSTM:
                h[alive], c[alive], gates[alive] = self._lstm(a, c[alive], gates[alive])
            else:
                value = _activated_int(cell, "output", a)
                h[alive] = _int16(value, _bits(cell, "output") - self.h_bits)
            y[alive, times] = h[alive]
        self.final, self.rows = h, np.concatenate(rows)
        return y

    def _peephole(self, a, p, c):
        total = _block_sums(p * c, self.part.cell["block_size"])
        a = a + (total >> (self.p_bits + self.c_bits - A_BITS))
        return np.clip(a, -(2**30) + 1, 2**30 - 1)

    def _lstm(self, a, c, gates):
        cell, C = self.part.cell, self.part.cell["block_size"]
        n, nb = self.part.n_gates, self.part.units // C
        gate_bits, output_bits = _bits(cell, "gate"), _bits(cell, "output")
        a_gates = a[:, :n]
        if self.Q is not None:
            a_gates = a_gates + self.Q(gates, None)
        n_early = n - nb * cell["output_gate"]
        early = [a_gates[:, k : k + nb] for k in range(0, n_early, nb)]
        if self.p is not None:
            early = [self._peephole(a, p, c) for a, p in zip(early, self.p, strict=False)]
        early = [_activated_int(cell, "gate", a) for a in early]
        g = _rescaled(_activated_int(cell, "cell", a[:, n:]), _bits(cell, "cell"), self.c_bits)
        one = np.full((len(a), nb), 1 << gate_bits)
        i = early[0] if cell["input_gate"] else one
        f = early[-1] if cell["forget_gate"] else one - i if cell["coupled"] else one
        c = _int32((np.repeat(f, C, axis=1) * c + np.repeat(i, C, axis=1) * g) >> gate_bits)
        value = _activated_int(cell, "output", _rescaled(c, self.c_bits, A_BITS))
        shift, late = output_bits - self.h_bits, []
        if cell["output_gate"]:
            o = a_gates[:, n_early:]
            if self.p is not None:
                o = self._peephole(o, self.p[-1], c)
            o = _activated_int(cell, "gate", o)
            value, shift, late = value * np.repeat(o, C, axis=1), shift + gate_bits, [o]
        gates = np.hstack([*early, *late, one[:, :0]])
        if self.Q is not None:
            gates = _int16(gates, gate_bits - self.gates_bits)
        return _int16(value, shift), c, gates

    # ------------------------------------------------------------------------------ C text

    def text(self):
        """The arrays and the description, and the bytes of constants."""
        cell, name = self.part.cell, self.part.name
        arrays = {}
        matrix = self._matrix_text(self.matrix, name, arrays)
        for key, values, dtype in (
            ("peepholes", self.p, "int16"),
            ("h0", self.h0, "int16"),
            ("c0", self.c0, "int32"),
        ):
            if values is not None:
                arrays[f"{name}_{key}"] = values.astype(dtype)

        def pointer(key):
            return f"{name}_{key}" if f"{name}_{key}" in arrays else "NULL"

        def unit(role):
            return f"{{{activation(cell, role, 'float32')}, {_bits(cell, role)}}}"

        fields, before = [f"{cell['inputs']}, {cell['units']}"], ""
        if cell["kind"] == LSTM:
            fields += [str(cell["block_size"]), flags(cell)]
            fields += [unit("gate"), unit("cell"), unit("output")]
            fields += [f"{self.h_bits}, {self.c_bits}, {self.p_bits}, {self.gates_bits}", matrix]
            recurrence = "NULL"
            if self.Q is not None:
                Q = self._matrix_text(self.Q, f"{name}_gates", arrays)
                before = f"static const lstmrt_matrix {name}_gate_recurrence = {Q};\n"
                recurrence = f"&{name}_gate_recurrence"
            fields += [f"{pointer('peepholes')}, {recurrence}, {pointer('h0')}, {pointer('c0')}"]
            struct = "lstm"
        else:
            fields += [unit("output"), str(self.h_bits), matrix]
            struct = "dense" if cell["kind"] == DENSE else "rnn"
            if struct == "rnn":
                fields.append(pointer("h0"))
        body = ",\n    ".join(fields)
        lines = [array(key, values) for key, values in arrays.items()]
        lines.append(f"{before}static const lstmrt_{struct} {name} = {{\n    {body},\n}};")
        return "\n".join(lines), sum(values.nbytes for values in arrays.values())

    @staticmethod
    def _matrix_text(matrix, name, arrays):
        arrays[f"{name}_weights"] = matrix.tiles().astype(np.int8)
        arrays[f"{name}_biases"] = matrix.biases.astype(np.int32)
        arrays[f"{name}_multipliers"] = matrix.multipliers.astype(np.uint16)
        rows, columns = matrix.q.shape
        return (
            f"{{{rows}, {matrix.inputs}, {columns - matrix.inputs}, {matrix.input_shift}, "
            f"{matrix.shift}, {name}_weights, {name}_biases, {name}_multipliers}}"
        )


def _best_shift(part, run, scales, h_bits, lowest):
    """The input_shift with the least noise of rounding; below 0: coarser inputs."""
    if part.weights["R"] is None:
        return 0
    W, inputs = _columns(part, scales, h_bits), len(scales)
    power = (run.rows**2).mean(axis=0) / np.append(scales, [2.0**-h_bits] * part.units) ** 2
    noise = {}
    for shift in range(lowest, 9):
        unit = np.ones(W.shape[1])
        unit[:inputs] = 2.0**shift
        noise[shift] = ((W / unit) ** 2).max(axis=1).sum() * (power * unit**2).sum()
    return min(noise, key=noise.get)


def _calibrated(part, run, v, lengths, reverse, scales, h_bits, input_shift, is_output):
    """An `IntegerPart` and its outputs over integer inputs v.

    Calibrated first on the float signals, then on those that the integers themselves give: so the
    later weights make good what the earlier ones have spoilt. The best of these is kept.
    """
    units = np.append(scales, [2.0**-h_bits] * (run.rows.shape[1] - len(scales)))
    valid = np.arange(run.y.shape[1]) < lengths[:, None]
    scale, best, least = 1.0 if is_output else 2.0**-h_bits, None, np.inf
    for damping in DAMPINGS:
        rows = run.rows / units
        for _ in range(2):
            integer = IntegerPart(
                part, run, rows, scales, h_bits, input_shift, is_output, damping
            )
            y = integer.run(v, lengths, reverse)
            rows, error = integer.rows, ((y * scale - run.y)[valid] ** 2).mean()
            if best is None or error < least:
                best, least = (integer, y), error
    return best


# ------------------------------------------------------------------------------- the network


class IntegerNetwork:
    """A chain in integers, layer by layer calibrated on sequences.

    Attributes
    ----------
    parts : list of lists of IntegerPart
    inverse_scales : (I,) float32 array
        Of the inputs.
    read_scale : float
        Of what the head reads.
    """

    def __init__(self, chain, x, lengths):
        self.chain, self.parts, self.read_scale = chain, [], 1.0
        valid = np.arange(x.shape[1]) < lengths[:, None]
        largest = np.abs(x[valid]).max(axis=0, initial=0)
        scales, v, runs = np.where(largest > 0, largest, 1.0) * HEADROOM / 32767, None, None
        for k, directions in enumerate(chain.parts):
            if k == chain.body and chain.readout != "all":
                x, v = _read(chain.readout, x, lengths, runs), self._read(v, lengths)
                lengths = np.ones(len(x), dtype=np.intp)
            runs = [_float_run(part, x, lengths, d) for d, part in enumerate(directions)]
            cell = directions[0].cell
            bound = _bound(cell, "output")
            if cell["output_gate"]:
                bound *= _bound(cell, "gate")
            h_bits = _signal_bits(bound, max(run.largest["h"] for run in runs))
            shifts = [
                _best_shift(part, run, scales, h_bits, lowest=-5 if k == 0 else 0)
                for part, run in zip(directions, runs, strict=True)
            ]
            if min(shifts) < 0:  # inputs rather than sums take the factor
                scales = scales * 2.0 ** -min(shifts)
                shifts = [shift - min(shifts) for shift in shifts]
            if k == 0:
                self.inverse_scales = (1 / scales).astype(np.float32)
                scales = 1 / self.inverse_scales.astype(np.float64)
                v = self._quantized(x)
            is_output = k == len(chain.parts) - 1 and cell["kind"] == DENSE
            layer = [
                _calibrated(part, run, v, lengths, d, scales, h_bits, shift, is_output)
                for d, (part, run, shift) in enumerate(zip(directions, runs, shifts, strict=True))
            ]
            self.parts.append([part for part, _ in layer])
            x = np.concatenate([run.y for run in runs], axis=2)
            v = np.concatenate([y for _, y in layer], axis=2)
            scales = np.full(x.shape[2], 2.0**-h_bits)
            if k < chain.body:
                self.read_scale = 2.0**-h_bits

    def _quantized(self, x):
        """Inputs as the C program takes them, in float32."""
        v = x.astype(np.float32) * self.inverse_scales
        v = np.clip(v, np.float32(-32767), np.float32(32767))
        return np.trunc(v + np.copysign(np.float32(0.5), v)).astype(np.int64)

    def predict(self, x, lengths):
        """Outputs (B, T, K) or (B, K) of padded sequences, after the output activation."""
        chain = self.chain
        v = self._quantized(x)
        for k, directions in enumerate(self.parts):
            if k == chain.body and chain.readout != "all":
                v, lengths = self._read(v, lengths), np.ones(len(v), dtype=np.intp)
            v = np.concatenate([part.run(v, lengths, d) for d, part in enumerate(directions)], 2)
        if chain.body == len(self.parts):
            if chain.readout != "all":
                v = self._read(v, lengths)
            v = v * self.read_scale
        y = np.empty_like(v)
        output_units(_SQUASH[chain.output], v.reshape(-1, v.shape[2]), y.reshape(-1, v.shape[2]))
        return y if chain.readout == "all" else y[:, 0]

    def _read(self, v, lengths):
        """What the head reads, as sequences of one step."""
        if self.chain.readout == "mean":
            total = v.sum(axis=1).astype(np.float32) / lengths.astype(np.float32)[:, None]
            return np.trunc(total + np.copysign(np.float32(0.5), total)).astype(np.int64)[:, None]
        parts = self.parts[self.chain.body - 1]
        return np.concatenate([part.final for part in parts], axis=1)[:, None]


def _read(readout, y, lengths, runs):
    """The same in float, y zero where no step is."""
    if readout == "mean":
        return y.sum(axis=1, keepdims=True) / lengths[:, None, None]
    rows, ends = np.arange(len(y)), lengths - 1
    last = [run.y[rows, ends if d == 0 else 0] for d, run in enumerate(runs)]
    return np.concatenate(last, axis=1)[:, None]


def quantize(chain, net, sequences):
    """A chain in int8, calibrated: an `Exported`."""
    from . import _RECORDED_STEPS, Exported

    sequences = _at_most(sequences, MOST_STEPS)
    lengths = np.array([len(x) for x in sequences], dtype=np.intp)
    padded = np.zeros((len(sequences), lengths.max(), chain.inputs))
    for row, x in zip(padded, sequences, strict=True):
        row[: len(x)] = x
    integer = IntegerNetwork(chain, padded, lengths)
    got = integer.predict(padded, lengths)
    wanted = net.predict(padded, lengths=lengths).astype(np.float64)
    difference = got - wanted
    if chain.readout == "all":
        difference = difference[np.arange(padded.shape[1]) < lengths[:, None]]

    x = sequences[0][:_RECORDED_STEPS].astype(np.float32)
    y = integer.predict(x[None].astype(np.float64), np.array([len(x)]))[0].astype(np.float32)
    texts, sizes = zip(
        *(part.text() for directions in integer.parts for part in directions), strict=True
    )
    scales = array("lstmrt_inverse_scales", integer.inverse_scales)
    return Exported(
        data="\n\n".join([scales, *texts]),
        constant_bytes=sum(sizes) + integer.inverse_scales.nbytes,
        defines=["#define LSTMRT_DOUBLE 0"],
        settings=[f"#define LSTMRT_READ_SCALE {literal(integer.read_scale, 'float32')}"],
        x=x,
        y=y,
        error=float(np.abs(difference).max()),
        tolerance=_tolerance(chain, y),
        details={
            "reference": net.dtype.name,
            "rms_error": float(np.sqrt((difference**2).mean())),
            "calibration_steps": int(lengths.sum()),
        },
        runtime=["lstmrt_math.h", "lstmrt_int8.h"],
    )


def _tolerance(chain, y):
    """Integers agree to the bit; what goes through float may round another way at each step."""
    in_integers = all(
        part.cell[f"act_{role}"] <= _LOGISTIC_2
        for parts in chain.parts
        for part in parts
        for role in ("gate", "cell", "output")
    )
    return (2e-6 if in_integers else 1e-3) * max(1.0, float(np.abs(y).max()))


def _at_most(sequences, steps):
    """The first sequences that together have so many steps, at least one of them."""
    chosen, total = [], 0
    for x in sequences:
        chosen.append(x[: steps - total])
        total += len(chosen[-1])
        if total == steps:
            break
    return chosen

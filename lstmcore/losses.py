"""Losses: the value and its derivative at the output pre-activations, together.

A loss sees the output pre-activations of the whole batch, ``a`` with shape (B, T, K), or (B, K)
when the sequences are read out, and one weight per term: (B, T) or (B,). Padding has weight zero,
and a mean is a weight on each term, never a rescale hidden in here.

A further loss is one more class in ``LOSSES``. Nothing here assumes that a term is a single step:
a loss over whole sequences, such as connectionist temporal classification, gets the same
(B, T, K) block with every sequence's length, and its ``prepare_targets`` may return any object.
"""

from functools import lru_cache

import numpy as np

from ._checks import as_choice, as_ndarray, describe, refuse_nonfinite, shaped

__all__ = ["LOSSES", "Loss", "find_loss"]


def _as_real(value, name):
    """`value` as an ndarray of real numbers, in whatever dtype it came."""
    array = as_ndarray(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got {describe(array)}")
    return array


class Loss:
    """What every loss has. Subclasses say how targets look and compute value and delta.

    Attributes
    ----------
    name : str
        What ``Network(loss=...)`` calls it.
    output : {"identity", "softmax", "logistic"}
        The output activation that the loss implies; ``predict`` applies it.
    """

    name = None
    output = None

    def prepare_targets(
        self, Y, batch, n_outputs, per_sequence, dtype, check_finite=True, scored=None
    ):
        """Check the targets and align them with the kernels' output, once per data set.

        Parameters
        ----------
        Y : array_like or list of array_like
            Targets of every step, (B, T, K), or of every sequence, (B, K). Those of steps may come
            as a list with one array of `batch.lengths[b]` steps for each sequence. With one output
            the last axis may be absent.
        batch : Batch
            The inputs that the targets belong to.
        n_outputs : int
            K.
        per_sequence : bool
            Whether the sequences are read out, so that each has one target.
        dtype : dtype
            The network's.
        check_finite : bool
            Refuse NaN and infinity in scored targets.
        scored : bool array, optional
            (B, L), or (B,) where `per_sequence`: terms with a weight above zero. What Y holds
            elsewhere is never looked at. By default every term that is there.

        Returns
        -------
        targets : ndarray
            (B, L, ...) or (B, ...), fresh, in the form that `value_and_delta` takes; zero where
            nothing is scored.

        Raises
        ------
        ValueError, TypeError
            Names ``Y``, what was expected and what came.
        """
        if per_sequence:
            targets = self._check_shape(_as_real(Y, "Y"), (batch.size,), n_outputs, "Y")
            there = np.ones(batch.size, dtype=bool)
        else:
            if isinstance(Y, (list, tuple)):
                targets = self._pad(Y, batch, n_outputs)
            else:
                targets = _as_real(Y, "Y")
                self._check_shape(targets, (batch.size, batch.T), n_outputs, "Y")
                targets = batch.gather(targets)
            there = batch.valid
        scored = there if scored is None else scored
        return self._convert(targets, scored, n_outputs, np.dtype(dtype), check_finite)

    def value_and_delta(self, a, targets, weights, lengths=None):
        """Weighted sum of the loss over the batch, and its derivative at the pre-activations.

        Parameters
        ----------
        a : (B, T, K) or (B, K) array
            Output pre-activations. Overwritten: a large batch's outputs are there once, not twice.
        targets : ndarray
            From `prepare_targets`.
        weights : (B, T) or (B,) float64 array
            One per term, >= 0, zero where nothing is scored, any normaliser included.
        lengths : (B,) array of int, optional
            For losses over whole sequences; losses of single terms need only the weights.

        Returns
        -------
        value : float
            Summed in float64. Infinite or NaN where the loss is; no warning is raised.
        delta : ndarray
            d value / d a, in the memory of `a`.
        """
        raise NotImplementedError

    def _shapes(self, batch_shape, n_outputs):
        """The shapes that targets of this loss may have."""
        shapes = [(*batch_shape, n_outputs)]
        return [*shapes, batch_shape] if n_outputs == 1 else shapes

    def _check_shape(self, array, batch_shape, n_outputs, name):
        return shaped(array, name, *self._shapes(batch_shape, n_outputs))

    def _pad(self, Y, batch, n_outputs):
        if len(Y) != batch.size:
            raise ValueError(
                f"Y: expected targets of {batch.size} sequences, got a list of length {len(Y)}"
            )
        Y = [_as_real(y, f"Y[{b}]") for b, y in enumerate(Y)]
        row = Y[0].shape[1:]
        for b, y in enumerate(Y):
            self._check_shape(y, (int(batch.lengths[b]),), n_outputs, f"Y[{b}]")
            if y.shape[1:] != row:
                raise ValueError(
                    f"Y[{b}]: expected steps of shape {row} as in Y[0], got {y.shape[1:]}"
                )
        padded = np.zeros((batch.size, batch.max_length, *row), dtype=np.result_type(*Y))
        for b, y in enumerate(Y):
            padded[b, : len(y)] = y
        return padded

    def _convert(self, Y, scored, n_outputs, dtype, check_finite):
        """Real targets, with an axis K, in the network's dtype."""
        shape = (*scored.shape, n_outputs)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused so
            if scored.all():
                targets = np.array(Y.reshape(shape), dtype=dtype, order="C")
            else:
                targets = np.zeros(shape, dtype=dtype)
                targets[scored] = Y.reshape(shape)[scored]
        if check_finite:
            refuse_nonfinite(targets, "Y")
        return targets


@lru_cache(maxsize=16)
def _grid(shape):
    """Indices of all elements of an array of this shape; nothing writes to them."""
    return np.indices(shape, sparse=True)


def _weighted_sum(terms, weights):
    """Sum in float64, in an order that depends on the shapes alone."""
    return float(np.sum(terms * weights, dtype=np.float64))


class SquaredError(Loss):
    """1/2 sum_k (y_k - z_k)^2 with identity outputs; delta = y - z."""

    name = "squared_error"
    output = "identity"

    def value_and_delta(self, a, targets, weights, lengths=None):
        with np.errstate(over="ignore", invalid="ignore"):
            delta = np.subtract(a, targets, out=a)
            terms = 0.5 * np.einsum("...k,...k->...", delta, delta, dtype=np.float64)
            delta *= weights.astype(a.dtype)[..., None]
            return _weighted_sum(terms, weights), delta


class CrossEntropy(Loss):
    """-sum_k z_k ln y_k with softmax outputs; delta = y - z.

    Targets are integer class labels, one for each term, or rows of K probabilities.
    """

    name = "cross_entropy"
    output = "softmax"

    def _shapes(self, batch_shape, n_outputs):
        return [batch_shape, (*batch_shape, n_outputs)]

    def _convert(self, Y, scored, n_outputs, dtype, check_finite):
        if Y.ndim == scored.ndim:
            return self._labels(Y, scored, n_outputs)
        rows = super()._convert(Y, scored, n_outputs, dtype, check_finite)
        if (rows < 0).any():
            raise ValueError(f"Y: expected probabilities >= 0, got {rows.min()}")
        totals = rows.sum(axis=-1)
        tolerance = 1e-6 if dtype == np.float64 else 1e-3
        off = scored & (np.abs(totals - 1) > tolerance)
        if off.any():
            raise ValueError(f"Y: expected rows that sum to 1, got a sum of {totals[off][0]}")
        # So that y - z is the gradient to the last digit, not to the digits of the user's rows.
        rows[scored] /= totals[scored][:, None]
        return rows

    @staticmethod
    def _labels(Y, scored, n_outputs):
        if Y.dtype.kind not in "iu":
            raise TypeError(f"Y: expected integer class labels, got {describe(Y)}")
        labels = Y[scored]
        if labels.size and not (labels.min() >= 0 and labels.max() < n_outputs):
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            raise ValueError(f"Y: expected labels from 0 to {n_outputs - 1}, got {wrong}")
        targets = np.zeros(scored.shape, dtype=np.intp)
        targets[scored] = labels
        return targets

    def value_and_delta(self, a, targets, weights, lengths=None):
        with np.errstate(over="ignore", invalid="ignore"):
            delta = np.subtract(a, a.max(axis=-1, keepdims=True), out=a)
            at_labels = None
            if targets.ndim == weights.ndim:
                at_labels = (*_grid(targets.shape), targets)
                scores = delta[at_labels]
            else:
                scores = np.einsum("...k,...k->...", targets, delta)
            np.exp(delta, out=delta)
            total = delta.sum(axis=-1, keepdims=True)
            terms = np.log(total[..., 0]) - scores
            delta /= total
            if at_labels is not None:
                delta[at_labels] -= 1
            else:
                delta -= targets
            delta *= weights.astype(a.dtype)[..., None]
            return _weighted_sum(terms, weights), delta


class BinaryCrossEntropy(Loss):
    """-sum_k (z_k ln y_k + (1 - z_k) ln(1 - y_k)) with logistic outputs; delta = y - z.

    Targets are probabilities, one for each of the K independent labels.
    """

    name = "binary_cross_entropy"
    output = "logistic"

    def _convert(self, Y, scored, n_outputs, dtype, check_finite):
        targets = super()._convert(Y, scored, n_outputs, dtype, check_finite)
        wrong = (targets < 0) | (targets > 1)
        if wrong.any():
            raise ValueError(f"Y: expected targets between 0 and 1, got {targets[wrong][0]}")
        return targets

    def value_and_delta(self, a, targets, weights, lengths=None):
        with np.errstate(over="ignore", invalid="ignore"):
            decay = np.exp(-np.abs(a))
            # softplus(a) - a z
            terms = np.maximum(a, 0) - a * targets + np.log1p(decay)
            delta = np.divide(np.where(a >= 0, 1, decay), 1 + decay, out=a)
            delta -= targets
            delta *= weights.astype(a.dtype)[..., None]
            return _weighted_sum(terms.sum(axis=-1, dtype=np.float64), weights), delta


LOSSES = {loss.name: loss for loss in (SquaredError(), CrossEntropy(), BinaryCrossEntropy())}


def find_loss(name):
    """The loss called `name`, or an error that lists the names there are."""
    return LOSSES[as_choice(name, "loss", LOSSES)]

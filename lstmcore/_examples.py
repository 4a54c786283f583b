"""`Examples`: what a network learns from, checked and arranged once and evaluated often."""

from collections.abc import Mapping

import numpy as np

from ._checks import (
    as_choice,
    as_integer,
    as_ndarray,
    as_number,
    as_real,
    describe,
    format_shape,
    refuse_nonfinite,
)
from ._fixed import Fixed, read_only
from .sequences import refuse_nonfinite_rows

_WEIGHT = np.dtype(np.float64)


class Examples(Fixed):
    """Inputs, targets and weights, checked and arranged once. Made by `Network.prepare`.

    Read-only.

    Attributes
    ----------
    batch : Batch
    targets : Targets
        As the network's loss has prepared them.
    terms : {"steps", "sequences"}
        What has a weight: the steps that are there, or each sequence.
    weights : (N,) or (B,) float64 array
        Of each term as given; `scale` is not in it.
    reduction : {"mean", "sum"}
    total : float
        The sum of the weights.
    scale : float
        What multiplies the weighted sum: 1 / `total` for a mean, 1 for a sum.
    form : str
        What of a network they depend on: only one of the same form can read them.
    state : tuple or None
        The initial states that were given, one for each sequence.
    """

    _instead = "prepare the data anew, or `take` some of the sequences"

    def __init__(self, batch, targets, terms, weights, reduction, form, state=None):
        with np.errstate(over="ignore"):
            total = float(weights.sum())
        if reduction == "mean" and not 0 < total < np.inf:
            raise ValueError(
                "sample_weight, step_weight, class_weight, lengths, mask: expected a finite sum of "
                f"weights above zero over the terms that are there, got {total}"
            )
        # At once, for every guarded assignment takes as long as a check of the data.
        vars(self).update(
            batch=batch,
            targets=targets,
            terms=terms,
            weights=read_only(weights),
            reduction=reduction,
            form=form,
            state=state and tuple(tuple(map(read_only, entry)) for entry in state),
            total=total,
            scale=1.0 / total if reduction == "mean" else 1.0,
        )

    def __len__(self):
        return self.batch.size

    def __reduce__(self):
        # copies are read-only again
        options = self.terms, self.weights, self.reduction, self.form, self.state
        return Examples, (self.batch, self.targets, *options)

    def summed(self):
        """The same examples, whose loss is the sum and not the mean."""
        parts = self.batch, self.targets, self.terms, self.weights
        return Examples(*parts, "sum", self.form, self.state)

    def astype(self, dtype, form):
        """The same examples for a network of another dtype, whose form is this."""
        state = self.state
        if state is not None:
            state = tuple(tuple(values.astype(dtype) for values in entry) for entry in state)
        batch, targets = self.batch.astype(dtype), self.targets.astype(dtype)
        return Examples(batch, targets, self.terms, self.weights, self.reduction, form, state)

    def sequence_weights(self):
        """The sum of the weights of each sequence's terms, (B,)."""
        if self.terms == "sequences":
            return self.weights
        sequences = np.repeat(np.arange(len(self)), self.batch.lengths)
        return np.bincount(sequences, self.weights, minlength=len(self))

    def take(self, indices):
        """The examples of some of the sequences; a mean is the mean over these alone."""
        terms = self.batch.rows_of(indices) if self.terms == "steps" else indices
        return Examples(
            self.batch.take(indices),
            self.targets.take(terms),
            self.terms,
            self.weights[terms],
            self.reduction,
            self.form,
            take_states(self.state, indices),
        )


def take_states(state, indices):
    """The states of some of the sequences; None of None."""
    if state is None:
        return None
    return tuple(tuple(values[indices] for values in entry) for entry in state)


def check_weights(sample_weight, step_weight, batch, whole):
    """The weight of each term as float64, fresh: (N,), or (B,) where a sequence is one.

    Parameters
    ----------
    sample_weight : (B,) array_like or None
    step_weight : (B, T) array_like, list of (T_b,) array_like, or None
    batch : Batch
    whole : str or None
        Why each sequence is one term, so that steps have no weights: ``"where sequences are read
        out"``; None where each step is one.
    """
    if sample_weight is not None:
        hint = "; step_weight weighs steps"
        sample_weight = _weights(sample_weight, "sample_weight", batch.size, hint)
    if whole is not None:
        if step_weight is not None:
            raise ValueError(
                f"step_weight: expected None {whole}, got {describe(step_weight)}; sample_weight "
                "weighs sequences"
            )
        return np.ones(batch.size) if sample_weight is None else sample_weight.copy()
    given = step_weight is not None
    weights = _step_weights(step_weight, batch) if given else np.ones(batch.n_steps)
    if sample_weight is not None:
        weights = weights * np.repeat(sample_weight, batch.lengths)
    return weights


def weigh_classes(weights, class_weight, labels, n_classes):
    """The weights of terms, each times the weight of its class.

    Parameters
    ----------
    weights : (N,) float64 array
    class_weight : "balanced", mapping of int to float, or (n_classes,) array_like
    labels : (N,) array of int
        Of classes where the weight is above zero.
    n_classes : int
    """
    name = "class_weight"
    if isinstance(class_weight, str):
        as_choice(class_weight, name, ("balanced",))
        counts = np.bincount(labels[weights > 0], minlength=n_classes)
        is_there = counts > 0
        of_class = np.zeros(n_classes)
        of_class[is_there] = counts.sum() / (is_there.sum() * counts[is_there])
    elif isinstance(class_weight, Mapping):
        of_class = np.ones(n_classes)
        for label, weight in class_weight.items():
            label = as_integer(label, f"a label in {name}", 0, n_classes - 1)
            of_class[label] = as_number(weight, f"{name}[{label}]", 0)
    else:
        of_class = _weights(class_weight, name, n_classes)
    return weights * of_class[labels]


def _step_weights(step_weight, batch):
    """The weights of the steps that are there, one after the other."""
    if isinstance(step_weight, (list, tuple)) and len(step_weight) == batch.size:
        rows = [as_ndarray(row, f"step_weight[{b}]") for b, row in enumerate(step_weight)]
        if any(len(row) != batch.T for row in rows if row.ndim):
            lengths = map(int, batch.lengths)
            return np.concatenate(
                [
                    _weights(row, f"step_weight[{b}]", length)
                    for b, (row, length) in enumerate(zip(rows, lengths, strict=True))
                ]
            )
    weights = as_real(step_weight, "step_weight", _WEIGHT)
    hint = "; sample_weight weighs sequences" if weights.shape == (batch.size,) else ""
    _check_shape(weights, "step_weight", (batch.size, batch.T), hint)
    weights = batch.gather(weights).copy()
    refuse_nonfinite_rows(weights, batch, "step_weight")
    return _nonnegative(weights, "step_weight")


def _weights(value, name, size, hint_for_steps=""):
    weights = as_real(value, name, _WEIGHT)
    _check_shape(weights, name, (size,), hint_for_steps if weights.ndim == 2 else "")
    refuse_nonfinite(weights, name)
    return _nonnegative(weights, name)


def _check_shape(weights, name, shape, hint):
    if weights.shape != shape:
        raise ValueError(f"{name}: expected shape {format_shape(shape)}, got {weights.shape}{hint}")


def _nonnegative(weights, name):
    if weights.size and weights.min() < 0:
        raise ValueError(f"{name}: expected weights >= 0, got {weights.min()}")
    return weights

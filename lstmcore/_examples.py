"""`Examples`: what a network learns from, checked and arranged once and evaluated often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
from ._fixed import Fixed, read_only, remade
from .sequences import refuse_nonfinite_rows

if TYPE_CHECKING:
    from typing import Any, Literal

    import numpy.typing as npt

    from ._types import Reduction, State, Vector
    from .losses import Targets
    from .sequences import Batch

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
    weights : (N,) or (B,) float64 array, or (N, K) or (B, K)
        Of each term, or of each output's part of it, as given; `scale` is not in them.
    reduction : {"mean", "sum"}
    total : float
        The sum of the weights; of those of outputs that sum over K, so that equal weights of a
        term's outputs are one weight of the term.
    scale : float
        What multiplies the weighted sum: 1 / `total` for a mean, 1 for a sum.
    form : str
        What of a network they depend on: only one of the same form can read them.
    state : tuple or None
        The initial states that were given, one for each sequence.
    """

    batch: Batch
    targets: Any  # of the loss's own kind
    terms: Literal["steps", "sequences"]
    weights: Vector
    reduction: Reduction
    total: float
    scale: float
    form: str
    state: State | None

    _instead = "prepare the data anew, or `take` some of the sequences"

    def __init__(
        self,
        batch: Batch,
        targets: Targets,
        terms: Literal["steps", "sequences"],
        weights: Vector,
        reduction: Reduction,
        form: str,
        state: State | None = None,
    ) -> None:
        with np.errstate(over="ignore"):
            total = float(weights_of_terms(weights).sum())
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
            state=state and tuple(tuple(read_only(v[...]) for v in entry) for entry in state),
            total=total,
            scale=1.0 / total if reduction == "mean" else 1.0,
        )

    def __len__(self) -> int:
        return self.batch.size

    def __reduce__(self):
        # copies are read-only again
        options = self.terms, self.weights, self.reduction, self.form, self.state
        return remade, (Examples, self.batch, self.targets, *options)

    def summed(self) -> Examples:
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

    def sequence_weights(self) -> npt.NDArray[Any]:
        """The sum of the weights of each sequence's terms, (B,)."""
        weights = weights_of_terms(self.weights)
        if self.terms == "sequences":
            return weights
        sequences = np.repeat(np.arange(len(self)), self.batch.lengths)
        return np.bincount(sequences, weights, minlength=len(self))

    def split(
        self,
        share: float,
        rng: np.random.Generator,
        labels: npt.NDArray[np.intp] | None = None,
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Two parts of the sequences that have a weight, at random.

        Where each sequence has a class, both parts have all classes in nearly the same shares. So
        they have where each sequence has one target and all of these are 0 or 1.

        Parameters
        ----------
        share : float
            Of the second part, > 0 and < 1; each part has one sequence or more.
        rng : numpy.random.Generator
        labels : (B,) array of int, optional
            The sequences' classes; by default the targets, where they say them.

        Returns
        -------
        first, second : arrays of int
            The sequences' indices, ascending; those without weight are in the first.
        """
        members = rng.permutation(np.flatnonzero(self.sequence_weights() > 0))
        n = len(members)
        if n < 2:
            raise ValueError(
                f"validation_split: expected two sequences or more that have weight, got {n}"
            )
        if labels is None:
            labels = self._classes(members)
        if labels is not None:
            members = members[np.argsort(labels[members], kind="stable")]
        m = min(max(round(share * n), 1), n - 1)
        # every n/m-th one: of a class that has k of n, between k m / n - 1 and k m / n + 1
        second = np.sort(members[(np.arange(m) * n + rng.integers(n)) // m])
        return np.setdiff1d(np.arange(len(self)), second), second

    def _classes(self, members):
        """What stands for the class of each sequence, (B,), or None; of others it may be anything.

        The numbers of classes, or targets that are the flags of one.
        """
        values = getattr(self.targets, "values", None)  # a loss's own targets may have any, or none
        if self.terms != "sequences" or not isinstance(values, np.ndarray):
            return None
        if values.ndim == 1 and values.dtype.kind in "iu":
            return values
        if values.shape == (len(self), 1) and values.dtype.kind == "f":
            flags = values[members]
            return values[:, 0] if ((flags == 0) | (flags == 1)).all() else None
        return None

    def take(self, indices: npt.NDArray[Any]) -> Examples:
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

    def stretch(self, t0: int, t1: int, state: State | None = None) -> Examples:
        """The examples of the steps t0 to t1, as sequences of their own; terms must be steps.

        Parameters
        ----------
        t0, t1 : int
            Sequences without such steps are not in it. A mean is the mean over these steps alone;
            where none of them has weight, the loss is a sum, which is 0.
        state : tuple, optional
            The state before step t0, one for each of all sequences, in the place of their own.
        """
        state, there = self.state if state is None else state, self.batch.lengths > t0
        rows = self.batch.rows_between(t0, t1)
        weights = self.weights[rows]
        return Examples(
            self.batch.stretch(t0, t1),
            self.targets.take(rows),
            self.terms,
            weights,
            self.reduction if weights.any() else "sum",
            self.form,
            state if there.all() else take_states(state, there),
        )

    def with_inputs(self, rows):
        """The examples with other inputs (N, I) for their steps."""
        parts = self.batch.with_inputs(rows), self.targets, self.terms, self.weights
        return Examples(*parts, self.reduction, self.form, self.state)


def take_states(state, indices):
    """The states of some of the sequences; None of None."""
    if state is None:
        return None
    return tuple(tuple(values[indices] for values in entry) for entry in state)


def weights_of_terms(weights):
    """The weight of each term: where its outputs have weights, their mean."""
    return weights if weights.ndim == 1 else weights.sum(axis=1) / weights.shape[1]


def put_states(state, indices, some):
    """Overwrite the states of some of the sequences."""
    for entry, others in zip(state, some, strict=True):
        for values, new in zip(entry, others, strict=True):
            values[indices] = new


def check_weights(sample_weight, step_weight, batch, whole, n_outputs, loss):
    """The weight of each term as float64, fresh: (N,), or (B,) where a sequence is one.

    Or those of each output's part of it: (N, K) or (B, K), which one output needs not.

    Parameters
    ----------
    sample_weight : (B,) array_like, (B, K) where a sequence is one term, or None
    step_weight : (B, T) or (B, T, K) array_like, list of (T_b,) or (T_b, K) array_like, or None
    batch : Batch
    whole : str or None
        Why each sequence is one term, so that steps have no weights: ``"where sequences are read
        out"``; None where each step is one.
    n_outputs : int
        K.
    loss : Loss
    """
    if sample_weight is not None:
        sample_weight = _sample_weights(sample_weight, batch, whole, n_outputs, loss)
    if whole is not None:
        if step_weight is not None:
            raise ValueError(
                f"step_weight: expected None {whole}, got {describe(step_weight)}; sample_weight "
                "weighs sequences"
            )
        return np.ones(batch.size) if sample_weight is None else sample_weight.copy()
    if step_weight is None:
        weights = np.ones(batch.n_steps)
    else:
        weights = _step_weights(step_weight, batch, n_outputs, loss)
    if sample_weight is not None:
        of_steps = np.repeat(sample_weight, batch.lengths)
        weights = weights * (of_steps if weights.ndim == 1 else of_steps[:, None])
    return weights


def weigh_classes(weights, class_weight, labels, n_classes):
    """The weights of terms, each times the weight of its class.

    Parameters
    ----------
    weights : (N,) or (N, K) float64 array
    class_weight : "balanced", mapping of int to float, or (n_classes,) array_like
    labels : (N,) array of int
        Of classes where the weight is above zero.
    n_classes : int
    """
    name = "class_weight"
    if isinstance(class_weight, str):
        as_choice(class_weight, name, ("balanced",))
        counts = np.bincount(labels[weights_of_terms(weights) > 0], minlength=n_classes)
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
    of_terms = of_class[labels]
    return weights * (of_terms if weights.ndim == 1 else of_terms[:, None])


def _sample_weights(sample_weight, batch, whole, n_outputs, loss):
    """The weights of sequences (B,), or of their outputs (B, K) where each is one term."""
    weights, name = as_real(sample_weight, "sample_weight", _WEIGHT), "sample_weight"
    shapes, hint = [(batch.size,)], ""
    if weights.ndim == 2 and whole is not None and loss.separable:
        shapes.append((batch.size, n_outputs))
    elif weights.ndim == 2 and whole is not None and weights.shape[1] == n_outputs:
        hint = _not_separable(loss)
    elif weights.ndim == 2:
        hint = "; step_weight weighs steps"
    _check_shape(weights, name, shapes, hint)
    refuse_nonfinite(weights, name)
    return _of_terms(_nonnegative(weights, name))


def _step_weights(step_weight, batch, n_outputs, loss):
    """The weights of the steps that are there, or of their outputs, one after the other."""
    name = "step_weight"
    if isinstance(step_weight, (list, tuple)) and len(step_weight) == batch.size:
        rows = [as_ndarray(row, f"{name}[{b}]") for b, row in enumerate(step_weight)]
        if any(len(row) != batch.T for row in rows if row.ndim):
            return _of_terms(np.concatenate(_rows_of_weights(rows, batch, n_outputs, loss)))
    weights = as_real(step_weight, name, _WEIGHT)
    hint = "; sample_weight weighs sequences" if weights.shape == (batch.size,) else ""
    shape, of_outputs = (batch.size, batch.T), weights.ndim == 3
    _check_shape(weights, name, *_step_shapes(shape, of_outputs, n_outputs, loss, hint))
    weights = batch.gather(weights).copy()
    refuse_nonfinite_rows(weights, batch, name)
    return _of_terms(_nonnegative(weights, name))


def _rows_of_weights(rows, batch, n_outputs, loss):
    """Those of a list, one array for each sequence, checked; an empty one says no form."""
    of_outputs = any(row.ndim == 2 for row in rows)
    form = (n_outputs,) if of_outputs else ()
    checked = []
    for b, (row, length) in enumerate(zip(rows, map(int, batch.lengths), strict=True)):
        name = f"step_weight[{b}]"
        weights = as_real(row, name, _WEIGHT)
        if weights.shape == (0,) and length == 0:
            weights = weights.reshape(0, *form)
        _check_shape(weights, name, *_step_shapes((length,), of_outputs, n_outputs, loss))
        if weights.shape[1:] != form:
            raise ValueError(
                f"{name}: expected shape {format_shape((length, *form))}, with weights of outputs "
                f"as others of the list have, got {weights.shape}"
            )
        refuse_nonfinite(weights, name)
        checked.append(_nonnegative(weights, name))
    return checked


def _step_shapes(shape, of_outputs, n_outputs, loss, hint=""):
    """The shapes that weights of steps may have, and what leads out where they have none."""
    if not of_outputs:
        return [shape], hint
    if not loss.separable:
        return [shape], _not_separable(loss)
    return [shape, (*shape, n_outputs)], hint


def _not_separable(loss):
    return (
        f"; the loss {loss.name!r} is no sum over outputs that weights could be of, as "
        "squared_error, binary_cross_entropy, poisson, huber and quantile are"
    )


def _of_terms(weights):
    """Weights of one output are weights of its terms."""
    return weights[:, 0] if weights.ndim == 2 and weights.shape[1] == 1 else weights


def _weights(value, name, size):
    weights = as_real(value, name, _WEIGHT)
    _check_shape(weights, name, [(size,)], "")
    refuse_nonfinite(weights, name)
    return _nonnegative(weights, name)


def _check_shape(weights, name, shapes, hint):
    if weights.shape not in shapes:
        expected = " or ".join(map(format_shape, shapes))
        raise ValueError(f"{name}: expected shape {expected}, got {weights.shape}{hint}")


def _nonnegative(weights, name):
    if weights.size and weights.min() < 0:
        raise ValueError(f"{name}: expected weights >= 0, got {weights.min()}")
    return weights

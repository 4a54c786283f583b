"""`FunctionLoss`: a plain function as a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import as_real, describe, format_shape
from ._loss import Loss

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, Vector


class FunctionLoss(Loss):
    """A loss that is a function of outputs and targets. ``Network(loss=function)`` makes it.

    Parameters
    ----------
    function : callable
        ``value, derivative = function(outputs, targets)``, the loss of each term and its derivative
        by the outputs, which are the network's numbers as they are (identity outputs).

        outputs : (N, K) float64 array, whatever the network's dtype, fresh. A row is a term: a
        scored step, or a sequence that is read out. N may be any number from 1 on.

        targets : (N, D) float64 array, read-only. D is what the targets Y have, not always K: Y is
        (B, T, D), or (B, D) where sequences are read out; without the last axis D is 1.

        value : (N,) array_like. Neither summed over terms nor averaged: weights and the mean are
        applied to it. A term may not depend on other rows.

        derivative : (N, K) array_like. `check_gradient` tells whether it is the derivative.

    Attributes
    ----------
    function : callable

    Notes
    -----
    The function is called with the terms of weight above zero alone. A file cannot hold a function.
    If a network is to be saved, or needs other output units, options, weights of outputs or whole
    sequences, its loss must be a class derived from `Loss`. Networks can be pickled if the function
    can: one that stands in a module can, and a lambda cannot.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> def log_cosh(outputs, targets):
    ...     error = outputs - targets
    ...     return np.log(np.cosh(error)).sum(axis=1), np.tanh(error)
    >>> net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], loss=log_cosh, seed=0)
    >>> net
    Network([LSTM(2, 3), Dense(3, 1)], loss=log_cosh, readout='all', dtype='float64')
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6))
    >>> max(lc.check_gradient(net, X, Y).values()) < 1e-8
    True
    """

    output = "identity"

    def __init__(self, function: Callable[[Array, Array], tuple[Any, Any]]) -> None:
        if not callable(function) or isinstance(function, (type, Loss)):
            raise TypeError(
                "function: expected a function of (outputs, targets) that returns (value, "
                f"derivative), got {describe(function)}"
            )
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def options(self) -> dict[str, Any]:
        return {"function": self.function}

    def __repr__(self) -> str:
        return self.name

    def target_size(self, n_outputs: int) -> int | None:
        return None

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        return super()._convert(Y, scored, size, np.dtype(np.float64), check_finite, batch)

    def value_and_delta(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> tuple[float, Array]:
        scored = np.flatnonzero(weights)
        outputs = a[scored].astype(np.float64, copy=False)
        a[...] = 0
        if not scored.size:
            return 0.0, a
        value, derivative = self._call(outputs, targets.take(scored).values)
        weights = weights[scored]
        with np.errstate(over="ignore", invalid="ignore"):
            a[scored] = derivative * weights[:, None]
            return float((value * weights).sum()), a

    def _call(self, outputs, targets):
        """What the function returns, checked."""
        shape = outputs.shape
        returned = self.function(outputs, targets)
        if not (isinstance(returned, (tuple, list)) and len(returned) == 2):
            raise TypeError(
                f"loss: expected {self!r} to return (value, derivative), got {describe(returned)}"
            )
        parts = {
            "value": (shape[:1], "one number for each row of outputs, neither summed nor averaged"),
            "derivative": (shape, "that of each row's value by the row's outputs"),
        }
        checked = []
        for part, (name, (wanted, meaning)) in zip(returned, parts.items(), strict=True):
            array = as_real(part, f"loss: the {name} from {self!r}", np.float64)
            if array.shape != wanted:
                raise ValueError(
                    f"loss: expected a {name} of shape {format_shape(wanted)} from {self!r}, "
                    f"{meaning}, got shape {array.shape}"
                )
            checked.append(array)
        return checked

"""Losses that are functions of the error at each output: `Huber`, `Quantile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import as_number
from ._loss import Loss, by_output, of_each_output, weighted_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, Vector

_SMALL_ERROR = 1e-3  # of the mean error: what `Quantile.curvature` adds to each


class OfErrors(Loss):
    """A sum over the outputs of a function of the error y - z, with identity outputs."""

    output = "identity"
    separable = True

    def _value_and_slope(self, error):
        """The function, and its derivative, of each error (N, K)."""
        raise NotImplementedError

    def value_and_delta(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> tuple[float, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.subtract(a, targets.values, dtype=np.float64)
            error[weights == 0] = 0.0  # whatever such a row holds counts nothing
            value, slope = self._value_and_slope(error)
            np.multiply(slope, by_output(weights), out=a, casting="same_kind")
            return weighted_sum(value, weights), a

    def _bend(self, error):
        """The second derivative of the parabola that touches the function at each error (N, K).

        The parabola lies above the function, so its minimum is no higher than where it touches:
        iteratively reweighted least squares. The function itself is straight nearly everywhere.
        """
        raise NotImplementedError

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        error = a - targets.values
        error[weights == 0] = 0.0
        return of_each_output(by_output(weights) * self._bend(error))


class Huber(OfErrors):
    """Squared error that turns linear, so that outliers count less, with identity outputs.

    With e = y - z, sum_k of 1/2 e^2 where ``|e| <= delta``, and of ``delta (|e| - delta/2)``
    beyond (Huber 1964); delta = e, cut at -delta and delta.

    Parameters
    ----------
    delta : float
        Above zero, in units of the targets.

    References
    ----------
    P. J. Huber, *Robust Estimation of a Location Parameter*, Annals of Mathematical Statistics 35,
    1964.

    Examples
    --------
    >>> import lstmcore as lc
    >>> loss = lc.losses.Huber(delta=0.5)
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], loss, readout="last", seed=0)
    >>> net.blocks["1.W"][...] = 0
    >>> X = [[[1.0], [2.0]]] * 2
    >>> net.loss(X, [0.1, 100.0], reduction="sum")  # 0.1^2 / 2 + 0.5 (100 - 0.25)
    49.88
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = as_number(delta, "delta")
        if not self.delta > 0:
            raise ValueError(f"delta: expected a number > 0, got {self.delta}")

    @property
    def options(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def _value_and_slope(self, error):
        slope = np.clip(error, -self.delta, self.delta)
        return slope * (error - 0.5 * slope), slope

    def _bend(self, error):
        return self.delta / np.maximum(np.abs(error), self.delta)

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        z = targets.values.astype(np.float64)
        each = np.broadcast_to(weights.T, z.T.shape)
        return np.array(list(map(self._center, z.T, each)))

    def _center(self, z, weights):
        """Where the derivative is zero, which is piecewise linear and does not fall."""
        bends = np.concatenate([z - self.delta, z + self.delta])
        order = np.argsort(bends, kind="stable")
        bends = bends[order]
        slopes = np.cumsum(np.concatenate([weights, -weights])[order])[:-1]
        rises = np.concatenate([[0.0], np.cumsum(slopes * np.diff(bends))])
        zero = np.maximum.accumulate(rises) - self.delta * weights.sum()
        return np.interp(0.0, zero, bends)


class Quantile(OfErrors):
    """The pinball loss, whose best outputs are quantiles of the targets, with identity outputs.

    sum_k of q_k (z - y_k) where y_k < z, and of (1 - q_k) (y_k - z) elsewhere (Koenker and Bassett
    1978); delta = -q_k, 1 - q_k, or 0 where y_k = z, the one point without a derivative.

    Parameters
    ----------
    q : float or sequence of float
        Between 0 and 1; 0.5 is the median. With one q, each output is that quantile of a target of
        its own. With several, a term has one target, and the outputs are these quantiles of it.

    Notes
    -----
    The slope jumps where an output meets its target. So a method that builds up curvature from
    gradients, such as L-BFGS-B, may end without success before the best point. Elsewhere the second
    derivative is 0. In its place `curvature` is that of a parabola that touches the loss from above
    (Hunter and Lange 2000), as it is for `Huber`.

    References
    ----------
    R. Koenker and G. Bassett, *Regression Quantiles*, Econometrica 46, 1978.

    D. R. Hunter and K. Lange, *Quantile Regression via an MM Algorithm*, Journal of Computational
    and Graphical Statistics 9, 2000.

    Examples
    --------
    >>> import lstmcore as lc
    >>> loss = lc.losses.Quantile([0.1, 0.5, 0.9])
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 3)], loss, readout="last", seed=0)
    >>> net.blocks["1.W"][...] = 0
    >>> X = [[[1.0], [2.0]]]
    >>> net.loss(X, [2.0])  # 0.1 * 2 + 0.5 * 2 + 0.9 * 2
    3.0
    """

    name = "quantile"

    def __init__(self, q: float | Sequence[float] = 0.5) -> None:
        several = isinstance(q, (list, tuple, np.ndarray))
        each_of: Any = q if several else [q]
        checked = [as_number(each, "q") for each in each_of]
        for each in checked:
            if not 0 < each < 1:
                raise ValueError(f"q: expected numbers between 0 and 1, got {each}")
        if not checked:
            raise ValueError(f"q: expected a number or several, got {q!r}")
        self.q = tuple(checked) if several else checked[0]

    @property
    def options(self) -> dict[str, Any]:
        return {"q": list(self.q) if isinstance(self.q, tuple) else self.q}

    def target_size(self, n_outputs: int) -> int:
        if not isinstance(self.q, tuple):
            return n_outputs
        if n_outputs != len(self.q):
            raise ValueError(
                f"loss: expected {len(self.q)} outputs with {self!r}, one for each q, got "
                f"{n_outputs}"
            )
        return 1

    def _value_and_slope(self, error):
        q = np.array(self.q)
        value = (1.0 - q) * np.maximum(error, 0.0) + q * np.maximum(-error, 0.0)
        return value, np.where(error > 0, 1.0 - q, np.where(error < 0, -q, 0.0))

    def _bend(self, error):
        # It has no bound as the error goes to 0: Hunter and Lange's remedy, in the errors' units.
        size = np.abs(error)
        size += _SMALL_ERROR * size.mean()
        return np.divide(0.5, size, out=np.zeros_like(size), where=size > 0)

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        z = np.broadcast_to(targets.values, (len(weights), n_outputs))
        order = np.argsort(z, axis=0, kind="stable")
        each = np.broadcast_to(weights.T, z.T.shape).T
        below = np.cumsum(np.take_along_axis(each, order, 0), axis=0)
        wanted = np.array(self.q) * below[-1]
        return np.take_along_axis(z, order, 0)[(below < wanted).sum(axis=0), np.arange(n_outputs)]

"""Losses that a kernel computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import as_generator, as_integer, describe
from .._dispatch import choose_threads, kernels
from ._draws import check_temperature, draw_classes
from ._loss import Loss, by_output, mean_target, of_each_output, weighted_sum

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, Seed, Vector

_MOST_MEAN = 9.2e18  # beyond it NumPy has no Poisson counts
_WORK_OF_OUTPUT = 32  # multiply-adds that score one of them, with its exponential


class Compiled(Loss):
    """A loss that has a kernel, which writes delta over the pre-activations."""

    code: int | None = None  # of the kernel

    @property
    def form(self) -> tuple[Any, ...] | None:
        """What else the kernel is told."""
        return None

    def value_and_delta(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> tuple[float, Array]:
        return kernels.loss_rows(self.code, a, targets.values, weights, 1.0, 1, self.form), a


def kernel_of(loss):
    """The code of the kernel that computes all of a loss; None where there is none."""
    if type(loss).value_and_delta is Compiled.value_and_delta:
        return loss.code
    return None


def loss_threads(rows, outputs, dtype, n_threads):
    """Threads for the kernel over so many rows."""
    return choose_threads(rows * outputs * _WORK_OF_OUTPUT, dtype, n_threads)


class SquaredError(Compiled):
    """1/2 sum_k (y_k - z_k)^2 with identity outputs; delta = y - z."""

    name = "squared_error"
    output = "identity"
    separable = True
    code = 0

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        return of_each_output(by_output(weights))

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        return mean_target(targets, weights)


class CrossEntropy(Compiled):
    """-sum_k z_k ln y_k with softmax outputs; delta = y - z.

    Targets are integer class labels, one for each term, or rows of K probabilities.
    """

    name = "cross_entropy"
    output = "softmax"
    code = 1
    _hint = "number the classes from 0 to K-1, as np.unique(Y, return_inverse=True)[1] does"

    def target_size(self, n_outputs: int) -> int:
        if n_outputs == 1:
            raise ValueError(
                "loss: expected 'binary_cross_entropy' for one output, got 'cross_entropy': the "
                "softmax of a single output is always 1"
            )
        return n_outputs

    def _shapes(self, batch_shape, size):
        return [batch_shape, (*batch_shape, size)]

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        if Y.ndim == scored.ndim:
            return self._labels(Y, scored, size)
        rows = super()._convert(Y, scored, size, dtype, check_finite, batch)
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

    def _labels(self, Y, scored, size):
        if Y.dtype.kind not in "iu":
            raise TypeError(f"Y: expected integer class labels, got {describe(Y)}; {self._hint}")
        labels = Y[scored]
        if labels.size and not (labels.min() >= 0 and labels.max() < size):
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            raise ValueError(
                f"Y: expected labels from 0 to {size - 1}, got {wrong}; {self._hint}, and a weight "
                "of 0 leaves a term out"
            )
        targets = np.zeros(scored.shape, dtype=np.intp)
        targets[scored] = labels
        return targets

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        y = np.exp(a - a.max(axis=1, keepdims=True))
        y /= y.sum(axis=1, keepdims=True)
        y_weighted = weights[:, None] * y

        def product(a_dot):
            return y_weighted * (a_dot - (y * a_dot).sum(axis=1, keepdims=True))

        return product

    def classes(self, targets: Any, n_outputs: int) -> tuple[npt.NDArray[np.intp], int] | None:
        return (targets.values, n_outputs) if targets.values.ndim == 1 else None

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        values = targets.values
        if values.ndim == weights.ndim:
            counts = np.bincount(values.ravel(), weights.ravel(), n_outputs)
            mean = counts / weights.sum()
        else:
            mean = mean_target(targets, weights)
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))

    def sample(
        self,
        y: npt.ArrayLike,
        rng: Seed,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        **options: Any,
    ) -> npt.NDArray[np.intp]:
        """One class of each row of probabilities.

        Parameters
        ----------
        y : (B, K) array_like
            Outputs: probabilities, or numbers >= 0 that are in their proportion.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            One uniform number u is drawn for each row. The class is the first whose cumulative
            probability is above u.
        temperature : float
            Probabilities are raised to the power of 1/temperature: below 1 likely classes become
            likelier. 0 is the limit, the likeliest class; of several, that with the lowest number.
        top_k : int, optional
            Draw from the k likeliest classes only, from 1 to K; where the k-th is one of several
            that are as likely, from those with the lowest numbers.

        Returns
        -------
        (B,) array of int

        Examples
        --------
        >>> import lstmcore as lc
        >>> loss = lc.losses.CrossEntropy()
        >>> y = [[0.1, 0.2, 0.7]] * 8
        >>> loss.sample(y, 0).tolist()
        [2, 1, 0, 0, 2, 2, 2, 2]
        >>> loss.sample(y, 0, temperature=0.2).tolist()
        [2, 2, 2, 2, 2, 2, 2, 2]
        >>> loss.sample(y, 0, top_k=2).tolist()
        [2, 2, 1, 1, 2, 2, 2, 2]
        """
        self._refuse_options(options, ("temperature", "top_k"))
        y = self._as_rows(y)
        temperature = check_temperature(temperature)
        if top_k is not None:
            top_k = as_integer(top_k, "top_k", 1, y.shape[1])
        uniform = as_generator(rng, "rng").random(len(y))
        return draw_classes(y, uniform, temperature, top_k)


class BinaryCrossEntropy(Compiled):
    """-sum_k (z_k ln y_k + (1 - z_k) ln(1 - y_k)) with logistic outputs; delta = y - z.

    Targets are probabilities, one for each of the K independent labels.
    """

    name = "binary_cross_entropy"
    output = "logistic"
    separable = True
    code = 2
    _hint = "1 stands for one of two classes, 0 for the other"

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        targets = super()._convert(Y, scored, size, dtype, check_finite, batch)
        wrong = (targets < 0) | (targets > 1)
        if wrong.any():
            raise ValueError(
                f"Y: expected targets between 0 and 1, got {targets[wrong][0]}; {self._hint}"
            )
        return targets

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        tail = np.exp(-np.abs(a))  # y (1 - y), without a difference that cancels
        return of_each_output(by_output(weights) * (tail / (1.0 + tail) ** 2))

    def classes(self, targets: Any, n_outputs: int) -> tuple[npt.NDArray[np.intp], int] | None:
        values = targets.values
        if n_outputs == 1 and ((values == 0) | (values == 1)).all():
            return values[:, 0].astype(np.intp), 2
        return None

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        mean = mean_target(targets, weights)
        with np.errstate(divide="ignore"):
            return np.clip(np.log(mean) - np.log1p(-mean), -80, 80)

    def sample(
        self, y: npt.ArrayLike, rng: Seed, *, temperature: float = 1.0, **options: Any
    ) -> npt.NDArray[Any]:
        """A 0 or 1 for each output, by itself.

        Parameters
        ----------
        y : (B, K) array_like
            Outputs, from 0 to 1.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            One uniform number is drawn for each output. It is 1 where that is below y.
        temperature : float
            The logits of y are divided by it: below 1 what is likely becomes likelier. 0 is the
            limit, the likelier one; of two that are as likely, 0.

        Returns
        -------
        (B, K) array
            Of the type of y.
        """
        self._refuse_options(options, ("temperature",))
        y = self._as_rows(y)
        temperature = check_temperature(temperature)
        if not ((y >= 0) & (y <= 1)).all():
            wrong = y[(y < 0) | (y > 1)][0]
            raise ValueError(f"y: expected probabilities from 0 to 1, got {wrong}")
        p = y.astype(np.float64)
        if temperature == 0:
            return (p > 0.5).astype(y.dtype)
        if temperature != 1:
            with np.errstate(divide="ignore", over="ignore"):
                p = 1.0 / (1.0 + np.exp((np.log1p(-p) - np.log(p)) / temperature))
        return (as_generator(rng, "rng").random(y.shape) < p).astype(y.dtype)


class Poisson(Compiled):
    """sum_k (y_k - z_k ln y_k) with exponential outputs, y = e^a; delta = y - z.

    The negative logarithm of Poisson probabilities whose means are the outputs. ln z!, which
    depends on the targets alone, is left out. So the loss may be negative, and is lowest at y = z.

    Targets are counts, or any numbers >= 0, such as counts per hour; `step_weight` weighs these by
    the hours.

    Examples
    --------
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], "poisson", readout="last", seed=0)
    >>> net.blocks["1.W"][...] = 0
    >>> X = [[[1.0], [2.0]]] * 2
    >>> net.predict(X).ravel().tolist()  # e^0
    [1.0, 1.0]
    >>> net.loss(X, [3, 0])
    1.0
    """

    name = "poisson"
    output = "exponential"
    separable = True
    code = 3
    _hint = "the targets of 'poisson' are counts"

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        targets = super()._convert(Y, scored, size, dtype, check_finite, batch)
        if (targets < 0).any():
            raise ValueError(
                f"Y: expected counts >= 0 with the loss 'poisson', got {targets.min()}; "
                "'squared_error' takes numbers of both signs, and a weight of 0 leaves a term out"
            )
        return targets

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        each = np.broadcast_to(by_output(weights), a.shape)
        with np.errstate(over="ignore"):  # what weighs nothing counts nothing, however large
            y = np.exp(a, where=each > 0, out=np.zeros_like(a))
        return of_each_output(each * y)

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        mean = mean_target(targets, weights)
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))

    def least_value(self, targets: Any, weights: Vector) -> float:
        z = targets.values.astype(np.float64)
        terms = z - np.multiply(z, np.log(z, where=z > 0, out=np.zeros_like(z)))
        return weighted_sum(terms, weights)

    def sample(self, y: npt.ArrayLike, rng: Seed, **options: Any) -> npt.NDArray[Any]:
        """A count for each output, of the Poisson distribution with that mean.

        Parameters
        ----------
        y : (B, K) array_like
            Outputs, from 0 to 9.2e18, where counts have no 64-bit integer.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            NumPy's ``poisson`` draws from it.

        Returns
        -------
        (B, K) array
            Whole numbers, in the type of y.
        """
        self._refuse_options(options)
        y = self._as_rows(y)
        if not ((y >= 0) & (y < _MOST_MEAN)).all():
            wrong = y[(y < 0) | (y >= _MOST_MEAN)][0]
            raise ValueError(f"y: expected means from 0 to {_MOST_MEAN:.2g}, got {wrong}")
        return as_generator(rng, "rng").poisson(y).astype(y.dtype)

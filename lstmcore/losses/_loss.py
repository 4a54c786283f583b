"""`Loss`: what every loss has, and what their mathematics share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import (
    as_ndarray,
    describe,
    format_shape,
    not_real,
    refuse_nonfinite,
    shaped,
)
from ..sequences import refuse_nonfinite_rows
from ._targets import TermTargets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, Seed, Vector
    from ..sequences import Batch
    from ._targets import Targets

TERMS = ("steps", "sequences")

# Of the size of what is differentiated, for central differences of float64 numbers.
STEP = float(np.cbrt(np.finfo(np.float64).eps))


class Loss:
    """What every loss has. Subclasses say how targets look and compute value and delta.

    Attributes
    ----------
    name : str
        What ``Network(loss=...)`` calls it, and files.
    output : {"identity", "softmax", "logistic", "exponential", "tanh", "mixed"}
        The output units that the loss implies; ``predict`` applies them. "mixed" are those of
        `output_columns`.
    terms : {"steps", "sequences"}
        What it is a sum over, in a network with outputs at every step.
    separable : bool
        Whether each term is a sum over the outputs, and `value_and_delta` takes weights of these
        parts too. A class with a `value_and_delta` of its own says it anew.
    takes_threads : bool
        Whether `value_and_delta` has an argument `n_threads`, the most that it uses, None as
        elsewhere. A class with a `value_and_delta` of its own says that anew too.

    Examples
    --------
    The absolute error, smooth near zero; `width` is where it turns linear.

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> class SmoothError(lc.losses.Loss):
    ...     name, output = "smooth_error", "identity"
    ...     def __init__(self, width=1.0):
    ...         self.width = width
    ...     @property
    ...     def options(self):
    ...         return {"width": self.width}
    ...     def value_and_delta(self, a, targets, weights, lengths=None):
    ...         error = (a - targets.values) / self.width
    ...         size = np.sqrt(1 + error**2)
    ...         terms = self.width * (size - 1).sum(axis=-1)
    ...         delta = error / size * weights[..., None]
    ...         return float((terms * weights).sum()), delta.astype(a.dtype)
    >>> net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], loss=SmoothError(0.1), seed=0)
    >>> net
    Network([LSTM(2, 3), Dense(3, 1)], loss=SmoothError(width=0.1), readout='all', dtype='float64')
    >>> max(lc.check_gradient(net, np.ones((1, 4, 2)), np.ones((1, 4))).values()) < 1e-6
    True
    """

    name: Any = None
    output: Any = None
    terms: str = "steps"
    separable: bool = False
    takes_threads: bool = False
    _hint: str = ""  # how names of classes become targets
    _no_classes: str = (  # why class_weight is refused
        "there are classes where targets are integer labels ('cross_entropy'), or 0 and 1 of one "
        "output ('binary_cross_entropy')"
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Another loss has another curvature, other best constants, perhaps targets of another form,
        # and says anew whether it takes weights of outputs, and a number of threads.
        if "value_and_delta" in vars(cls):
            of_mathematics = "curvature", "best_constant", "least_value"
            for name in (*of_mathematics, "separable", "takes_threads"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Loss, name))

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments: ``type(loss)(**loss.options)`` is an equal loss."""
        return {}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"

    def output_columns(self, n_outputs: int) -> Iterable[tuple[str, int] | tuple[str, int, float]]:
        """The output units of each stretch of columns, where `output` is "mixed".

        Parameters
        ----------
        n_outputs : int
            K, of the network.

        Returns
        -------
        iterable of tuple
            ``(name, count)``, from the first column on: the units of so many columns, of which a
            softmax is over these alone. ``(name, count, floor)`` adds a number to the units.

        Examples
        --------
        Three classes, and how sure it is that there is one at all:

        >>> import lstmcore as lc
        >>> class Gated(lc.losses.Loss):
        ...     name, output = "gated", "mixed"
        ...     def output_columns(self, n_outputs):
        ...         return [("softmax", n_outputs - 1), ("logistic", 1)]
        >>> net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 4)], Gated(), seed=0)
        >>> y = net.step([0.5])[0]
        >>> bool(abs(y[:3].sum() - 1) < 1e-15 and 0 < y[3] < 1)
        True
        """
        raise NotImplementedError

    def target_size(self, n_outputs: int) -> int | None:
        """How many numbers the target of one term has.

        Parameters
        ----------
        n_outputs : int
            K, of the network.

        Returns
        -------
        int or None
            None: any number, as many as Y has.

        Raises
        ------
        ValueError
            Names ``loss``, where a network with this loss cannot have K outputs.
        """
        return n_outputs

    def prepare(
        self,
        Y: npt.ArrayLike,
        batch: Batch,
        n_outputs: int,
        per_sequence: bool,
        dtype: npt.DTypeLike,
        check_finite: bool = True,
        scored: npt.NDArray[np.bool_] | None = None,
    ) -> Targets:
        """Check the targets and align them with the kernels' output, once per data set.

        Parameters
        ----------
        Y : array_like or list of array_like
            Targets of every step, (B, T, D), or of every sequence, (B, D), with D `target_size`.
            Those of steps may come as a list with one array of `batch.lengths[b]` steps for each
            sequence, or of T where the inputs are an array. Where D is 1 the last axis may be
            absent.
        batch : Batch
            The inputs that the targets belong to.
        n_outputs : int
            K.
        per_sequence : bool
            Whether each sequence has one target: it is read out, or it is one term of this loss.
        dtype : dtype
            The network's.
        check_finite : bool
            Refuse NaN and infinity in scored targets.
        scored : (N,) bool array, optional
            Terms with a weight above zero; where outputs have weights, (N, K). What Y holds
            elsewhere is never looked at. By default every term.

        Returns
        -------
        Targets
            With memory of its own, in the form that `value_and_delta` takes.

        Raises
        ------
        ValueError, TypeError
            Names ``Y``, what was expected and what came.
        """
        size = self.target_size(n_outputs)
        if size is None:
            size = _size_of(Y, per_sequence)
        if per_sequence:
            values = self._as_real(Y, "Y")
            _check_count(values, batch)
            of_steps = values.ndim > 1 and values.shape[1] == batch.T != size
            hint = "; a network with readout='all' has a target for each step" if of_steps else ""
            self._check_shape(values, (batch.size,), size, "Y", hint)
        elif isinstance(Y, (list, tuple)):
            values = self._from_list(Y, batch, size)
        else:
            values = self._as_real(Y, "Y")
            _check_count(values, batch)
            hint = _OF_SEQUENCES if values.ndim == 1 else ""
            self._check_shape(values, (batch.size, batch.T), size, "Y", hint)
            values = batch.gather(values)
        if scored is None:
            scored = np.ones(len(values), dtype=bool)
        rows_of = None if per_sequence else batch
        values = self._convert(values, scored, size, np.dtype(dtype), check_finite, rows_of)
        return TermTargets(values)

    def value_and_delta(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> tuple[float, Array]:
        """Weighted sum of the loss over the batch, and its derivative at the pre-activations.

        Parameters
        ----------
        a : (N, K) array
            Output pre-activations, C-contiguous. May be overwritten, and should be where batches
            are large: then their outputs are there once, not twice.
        targets : Targets
            From `prepare`, or a part of those.
        weights : (N,) or (B,) float64 array
            One per term, >= 0, zero where nothing is scored, any normaliser included. A `separable`
            loss may get (N, K), one for each output's part of the sum.
        lengths : (B,) array of int, optional
            Where terms are sequences: how many of the rows belong to each, one after the other.

        Returns
        -------
        value : float
            Summed in float64. Infinite or NaN where the loss is; no warning is raised.
        delta : (N, K) array
            d value / d a, of the dtype of `a`; it may be in the memory of `a`.
        """
        raise NotImplementedError

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        """The loss's second derivative at the outputs, H_L, for Gauss-Newton's G = Jᵀ H_L J.

        Parameters
        ----------
        a : (N, K) float64 array
            Never written to.
        targets, weights, lengths
            As in `value_and_delta`.

        Returns
        -------
        product : callable
            ``product(a_dot)`` is H_L a_dot, (N, K) and fresh; any number of threads may call it.

        Notes
        -----
        Here it is by central differences of delta. A loss that is not convex at the outputs should
        give something that is never negative in its place, for that is what makes G so.
        """

        def product(a_dot):
            size = np.abs(a_dot).max(initial=0.0)
            if size == 0:
                return np.zeros_like(a_dot)
            step = STEP * (1.0 + np.abs(a).max()) / size
            rise = np.zeros_like(a_dot)
            for sign in (1.0, -1.0):
                moved = a + sign * step * a_dot
                rise += sign * self.value_and_delta(moved, targets, weights, lengths)[1]
            return rise / (2.0 * step)

        return product

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        """The output pre-activations of the lowest loss among those that are the same everywhere.

        `minimize` says so where a fit has come no further.

        Parameters
        ----------
        targets, weights
            As in `value_and_delta`.
        n_outputs : int
            K.

        Returns
        -------
        (K,) array or None
            None where the loss does not know them. What stands for an output that nothing is scored
            of is of no consequence.
        """
        return None

    def least_value(self, targets: Any, weights: Vector) -> float:
        """The value where outputs are at their targets, which none is below: 0 if not said.

        `minimize` compares what is above it.

        Parameters
        ----------
        targets, weights
            As in `value_and_delta`.

        Returns
        -------
        float
        """
        return 0.0

    def classes(self, targets: Any, n_outputs: int) -> tuple[npt.NDArray[np.intp], int] | None:
        """The class of each term, for `class_weight`.

        Parameters
        ----------
        targets : Targets
            From `prepare`; what they say of terms that are not scored is not looked at.
        n_outputs : int
            K.

        Returns
        -------
        labels : (N,) or (B,) array of int
        n_classes : int
            Or None in the place of both where targets are not of classes.
        """
        return None

    def sample(self, y: npt.ArrayLike, rng: Seed, **options: Any) -> npt.NDArray[Any]:
        """One draw of the targets that outputs stand for.

        Parameters
        ----------
        y : (B, K) array_like
            Outputs, after the output units.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            What the draws come from. A generator goes on; a seed begins anew at every call.
        **options
            What a loss has to say of its draws. Here there is nothing; `CrossEntropy` has
            `temperature` and `top_k`.

        Returns
        -------
        (B, D) array
            A target for each row; labels of classes are (B,), integers. Losses of identity outputs
            say nothing of how targets lie about the outputs: the draw is y itself, fresh.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.
        NotImplementedError
            If the loss has other output units and no `sample` of its own.
        """
        self._refuse_options(options)
        if self.output != "identity":
            raise NotImplementedError(
                f"loss: expected one that says how targets are drawn, got {self!r} with "
                f"{self.output} outputs; a `sample` in its class says so"
            )
        return self._as_rows(y).copy()

    def _refuse_options(self, options, known=()):
        """Raise where `sample` was given an option that is none of those it knows."""
        for name, value in options.items():
            have = f"knows only {' and '.join(known)}" if known else "has no options"
            raise TypeError(
                f"{name}: expected no such option, for a draw of the loss {self.name!r} {have}, "
                f"got {describe(value)}"
            )

    def _as_rows(self, y):
        """Outputs as `sample` takes them."""
        rows = shaped(self._as_real(y, "y"), "y", ("B", "K"))
        if np.isnan(rows).any():
            raise ValueError("y: expected outputs that are numbers, got nan")
        return rows

    def _shapes(self, batch_shape, size):
        """The shapes that targets of this loss may have, `size` numbers each."""
        shapes = [(*batch_shape, size)]
        return [*shapes, batch_shape] if size == 1 else shapes

    def _as_real(self, value, name):
        """`value` as an ndarray of real numbers, in whatever dtype it came."""
        array = as_ndarray(value, name)
        if array.dtype.kind in "fiub":
            return array
        if self._hint and _holds_names(array):
            raise TypeError(f"{name}: expected numbers, got {describe(array)}; {self._hint}")
        raise not_real(array, name)

    def _check_shape(self, array, batch_shape, size, name, hint=""):
        shapes = self._shapes(batch_shape, size)
        if array.shape not in shapes:
            if array.shape == (*batch_shape, 1) and batch_shape in shapes:
                hint = f"; np.asarray({name})[..., 0] is without the last axis"
            expected = " or ".join(map(format_shape, shapes))
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}{hint}")

    def _from_list(self, Y, batch, size):
        _check_count(Y, batch)
        Y = [self._as_real(y, f"Y[{b}]") for b, y in enumerate(Y)]
        # nested lists of a padded array, if each has as many steps
        lengths = batch.lengths.tolist()
        is_array = not batch.is_list and all(y.shape[:1] == (batch.T,) for y in Y)
        if is_array:
            lengths = [batch.T] * batch.size
        # an empty list says nothing of the shape and type of steps
        said = [b for b, y in enumerate(Y) if y.shape != (0,) or lengths[b]]
        row = Y[said[0]].shape[1:] if said else ()
        for b in said:
            hint = _OF_SEQUENCES if Y[b].ndim == 0 else ""
            self._check_shape(Y[b], (lengths[b],), size, f"Y[{b}]", hint)
            if Y[b].shape[1:] != row:
                raise ValueError(
                    f"Y[{b}]: expected steps of shape {row} as in Y[{said[0]}], got "
                    f"{Y[b].shape[1:]}"
                )
        if is_array:
            return batch.gather(np.stack(Y))
        return np.concatenate([Y[b] for b in said]) if said else np.zeros(0, int)

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        """Real targets, with an axis for their `size`, in the network's dtype.

        `batch` is the one whose steps the targets are of, or None.
        """
        shape = (len(scored), size)
        if scored.ndim == 2 and scored.shape != shape:  # targets that are not one of each output
            scored = scored.any(axis=1)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused so
            if scored.all():
                targets = np.array(Y.reshape(shape), dtype=dtype, order="C")
            else:
                targets = np.zeros(shape, dtype=dtype)
                targets[scored] = Y.reshape(shape)[scored]
        if check_finite and batch is None:
            refuse_nonfinite(targets, "Y", "; sample_weight 0 leaves it out")
        elif check_finite:
            refuse_nonfinite_rows(targets, batch, "Y", "; step_weight 0 leaves it out")
        return targets


_OF_SEQUENCES = "; a network with a readout, readout='last' say, has one target for each sequence"


def _check_count(Y, batch):
    """Raise where Y does not begin with an axis of as many sequences as the inputs have."""
    if getattr(Y, "ndim", 1) and len(Y) != batch.size:
        hint = ""
        if len(Y) == batch.T:
            hint = "; X.swapaxes(0, 1) has the sequences first, if X has the steps first"
        raise ValueError(
            f"Y: expected targets of {batch.size} sequences, as many as X has (axis 0), got "
            f"{describe(Y)}{hint}"
        )


def _size_of(Y, per_sequence):
    """How many numbers each target of Y has; 1 where there is no axis for them."""
    axes = 1
    if per_sequence or not isinstance(Y, (list, tuple)):
        shape, axes = as_ndarray(Y, "Y").shape, 1 if per_sequence else 2
    else:
        shapes = (as_ndarray(y, f"Y[{b}]").shape for b, y in enumerate(Y))
        shape = next((shape for shape in shapes if shape != (0,)), ())
    return shape[-1] if len(shape) == axes + 1 else 1


def _holds_names(array):
    """Whether an array without numbers has strings in it."""
    if array.dtype == object:
        return array.size > 0 and isinstance(array.flat[0], str)
    return array.dtype.kind in "US"


def mean_target(targets, weights):
    """The weighted mean of each output's targets; NaN where nothing of it is scored."""
    if weights.ndim == 1:
        return weights @ targets.values / weights.sum()
    with np.errstate(invalid="ignore"):
        return (weights * targets.values).sum(axis=0) / weights.sum(axis=0)


def weighted_sum(parts, weights):
    """Of parts (N, K) that have weights of their own, or of terms which are sums over K."""
    return float(((parts.sum(axis=1) if weights.ndim == 1 else parts) * weights).sum())


def by_output(weights):
    """Weights of terms with an axis for the outputs, which weights of outputs have."""
    return weights[:, None] if weights.ndim == 1 else weights


def of_each_output(second_derivative):
    """The product with a diagonal, broadcast over the outputs (N, K)."""
    return lambda a_dot: second_derivative * a_dot

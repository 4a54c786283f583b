"""Losses: the value and its derivative at the output pre-activations, together.

A loss is a sum of weighted terms; a mean is a weight on each term, never a rescale hidden in here.
A term is a time step (``terms = "steps"``) or a whole sequence (``terms = "sequences"``). Where a
network reads its sequences out, each has one row of outputs and is one term of either kind.

Writing a loss
--------------
A loss of identity outputs, whose terms are steps, may be a plain function: see `FunctionLoss`. For
all else derive a class from `Loss` and give an object of it to ``Network(loss=...)``. It says

- its ``name``, the ``output`` units that it implies, and its ``terms``;
- its ``options``, the arguments of its constructor, in numbers, strings, lists and dicts, if it
  has any: files keep them;
- in `target_size` how many numbers a target has, if not as many as there are outputs; that is also
  where a number of outputs that cannot be is refused;
- in `prepare` how targets look, if not like real numbers for every term: it gives a `Targets`,
  whatever is in it;
- in `value_and_delta` the mathematics;
- in `curvature`, if it can, the second derivative; without it differences of delta serve;
- whether it is `separable`, a sum over outputs, so that each output's part may have a weight;
- in `best_constant`, if it can, what a fit is to be better than;
- in `classes`, if targets are of classes, which: `class_weight` asks for it.

Outputs come as rows (N, K), one for each term: for each step that is there, sequence after
sequence, or for each sequence that is read out. A loss whose terms are steps may be asked for some
of them at a time (`Targets.take`): its value is the sum over those. One whose terms are sequences
is asked once, for the rows of all steps, and is told how many each sequence has. `register` makes
the class known by its name, which `lstmcore.load` needs.
"""

import numpy as np

from ._checks import (
    as_choice,
    as_ndarray,
    as_number,
    as_real,
    describe,
    format_shape,
    not_real,
    refuse_nonfinite,
)
from ._dispatch import choose_threads, kernels
from ._fixed import Fixed, read_only
from ._outputs import OUTPUTS
from .sequences import refuse_nonfinite_rows

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "FunctionLoss",
    "Huber",
    "LOSSES",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Targets",
    "TermTargets",
    "find_loss",
    "register",
]

TERMS = ("steps", "sequences")

_SMALL_ERROR = 1e-3  # of the mean error: what `Quantile.curvature` adds to each

_WORK_OF_OUTPUT = 32  # multiply-adds that score one of them, with its exponential


# Of the size of what is differentiated, for central differences of float64 numbers.
STEP = float(np.cbrt(np.finfo(np.float64).eps))


class Targets:
    """The targets of a data set, as a loss has prepared them. Each loss may have its own kind."""

    def astype(self, dtype):
        """The targets for outputs of another dtype."""
        return self

    def take(self, indices):
        """The targets of some of the terms, `indices` an integer array."""
        raise NotImplementedError


class TermTargets(Fixed, Targets):
    """Targets in an array with a row for each term.

    Attributes
    ----------
    values : (N, ...) array
        Read-only.
    """

    _instead = "prepare the data anew"

    def __init__(self, values):
        self.values = read_only(values)

    def __reduce__(self):
        return TermTargets, (self.values,)  # copies are read-only again

    def astype(self, dtype):
        # labels stay as they are
        return TermTargets(self.values.astype(dtype)) if self.values.dtype.kind == "f" else self

    def take(self, indices):
        return TermTargets(self.values[indices])


class Loss:
    """What every loss has. Subclasses say how targets look and compute value and delta.

    Attributes
    ----------
    name : str
        What ``Network(loss=...)`` calls it, and files.
    output : {"identity", "softmax", "logistic", "exponential"}
        The output units that the loss implies; ``predict`` applies them.
    terms : {"steps", "sequences"}
        What it is a sum over, in a network with outputs at every step.
    separable : bool
        Whether each term is a sum over the outputs, and `value_and_delta` takes weights of these
        parts too. A class with a `value_and_delta` of its own says it anew.

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

    name = None
    output = None
    terms = "steps"
    separable = False
    _hint = ""  # how names of classes become targets

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        # Another loss has another curvature, other best constants, perhaps targets of another form,
        # and says anew whether it takes weights of outputs.
        if "value_and_delta" in vars(cls):
            for name in ("curvature", "best_constant", "least_value", "separable"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Loss, name))

    @property
    def options(self):
        """The constructor's arguments: ``type(loss)(**loss.options)`` is an equal loss."""
        return {}

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"

    def target_size(self, n_outputs):
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

    def prepare(self, Y, batch, n_outputs, per_sequence, dtype, check_finite=True, scored=None):
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

    def value_and_delta(self, a, targets, weights, lengths=None):
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

    def curvature(self, a, targets, weights, lengths=None):
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

    def best_constant(self, targets, weights, n_outputs):
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

    def least_value(self, targets, weights):
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

    def classes(self, targets, n_outputs):
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


def _mean_target(targets, weights):
    """The weighted mean of each output's targets; NaN where nothing of it is scored."""
    if weights.ndim == 1:
        return weights @ targets.values / weights.sum()
    with np.errstate(invalid="ignore"):
        return (weights * targets.values).sum(axis=0) / weights.sum(axis=0)


def _weighted_sum(parts, weights):
    """Of parts (N, K) that have weights of their own, or of terms which are sums over K."""
    return float(((parts.sum(axis=1) if weights.ndim == 1 else parts) * weights).sum())


class _Compiled(Loss):
    """A loss that has a kernel, which writes delta over the pre-activations."""

    code = None  # of the kernel

    def value_and_delta(self, a, targets, weights, lengths=None):
        return kernels.loss_rows(self.code, a, targets.values, weights, 1.0, 1), a


def _by_output(weights):
    """Weights of terms with an axis for the outputs, which weights of outputs have."""
    return weights[:, None] if weights.ndim == 1 else weights


def _of_each_output(second_derivative):
    """The product with a diagonal, broadcast over the outputs (N, K)."""
    return lambda a_dot: second_derivative * a_dot


def kernel_of(loss):
    """The code of the kernel that computes all of a loss; None where there is none."""
    if type(loss).value_and_delta is _Compiled.value_and_delta:
        return loss.code
    return None


def loss_threads(rows, outputs, dtype, n_threads):
    """Threads for the kernel over so many rows."""
    return choose_threads(rows * outputs * _WORK_OF_OUTPUT, dtype, n_threads)


class SquaredError(_Compiled):
    """1/2 sum_k (y_k - z_k)^2 with identity outputs; delta = y - z."""

    name = "squared_error"
    output = "identity"
    separable = True
    code = 0

    def curvature(self, a, targets, weights, lengths=None):
        return _of_each_output(_by_output(weights))

    def best_constant(self, targets, weights, n_outputs):
        return _mean_target(targets, weights)


class CrossEntropy(_Compiled):
    """-sum_k z_k ln y_k with softmax outputs; delta = y - z.

    Targets are integer class labels, one for each term, or rows of K probabilities.
    """

    name = "cross_entropy"
    output = "softmax"
    code = 1
    _hint = "number the classes from 0 to K-1, as np.unique(Y, return_inverse=True)[1] does"

    def target_size(self, n_outputs):
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

    def curvature(self, a, targets, weights, lengths=None):
        y = np.exp(a - a.max(axis=1, keepdims=True))
        y /= y.sum(axis=1, keepdims=True)
        y_weighted = weights[:, None] * y

        def product(a_dot):
            return y_weighted * (a_dot - (y * a_dot).sum(axis=1, keepdims=True))

        return product

    def classes(self, targets, n_outputs):
        return (targets.values, n_outputs) if targets.values.ndim == 1 else None

    def best_constant(self, targets, weights, n_outputs):
        values = targets.values
        if values.ndim == weights.ndim:
            counts = np.bincount(values.ravel(), weights.ravel(), n_outputs)
            mean = counts / weights.sum()
        else:
            mean = _mean_target(targets, weights)
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))


class BinaryCrossEntropy(_Compiled):
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

    def curvature(self, a, targets, weights, lengths=None):
        tail = np.exp(-np.abs(a))  # y (1 - y), without a difference that cancels
        return _of_each_output(_by_output(weights) * (tail / (1.0 + tail) ** 2))

    def classes(self, targets, n_outputs):
        values = targets.values
        if n_outputs == 1 and ((values == 0) | (values == 1)).all():
            return values[:, 0].astype(np.intp), 2
        return None

    def best_constant(self, targets, weights, n_outputs):
        mean = _mean_target(targets, weights)
        with np.errstate(divide="ignore"):
            return np.clip(np.log(mean) - np.log1p(-mean), -80, 80)


class Poisson(_Compiled):
    """sum_k (y_k - z_k ln y_k) with exponential outputs, y = e^a; delta = y - z.

    The negative logarithm of Poisson probabilities whose means are the outputs. What the targets
    alone decide, ln z!, is left out: so the loss may be negative, and is lowest at y = z.

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

    def curvature(self, a, targets, weights, lengths=None):
        each = np.broadcast_to(_by_output(weights), a.shape)
        with np.errstate(over="ignore"):  # what weighs nothing counts nothing, however large
            y = np.exp(a, where=each > 0, out=np.zeros_like(a))
        return _of_each_output(each * y)

    def best_constant(self, targets, weights, n_outputs):
        mean = _mean_target(targets, weights)
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))

    def least_value(self, targets, weights):
        z = targets.values.astype(np.float64)
        terms = z - np.multiply(z, np.log(z, where=z > 0, out=np.zeros_like(z)))
        return _weighted_sum(terms, weights)


class _OfErrors(Loss):
    """A sum over the outputs of a function of the error y - z, with identity outputs."""

    output = "identity"
    separable = True

    def _value_and_slope(self, error):
        """The function, and its derivative, of each error (N, K)."""
        raise NotImplementedError

    def value_and_delta(self, a, targets, weights, lengths=None):
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.subtract(a, targets.values, dtype=np.float64)
            error[weights == 0] = 0.0  # whatever such a row holds counts nothing
            value, slope = self._value_and_slope(error)
            np.multiply(slope, _by_output(weights), out=a, casting="same_kind")
            return _weighted_sum(value, weights), a

    def _bend(self, error):
        """The second derivative of the parabola that touches the function at each error (N, K).

        The parabola lies above the function, so its minimum is no higher than where it touches:
        iteratively reweighted least squares. The function itself is straight nearly everywhere.
        """
        raise NotImplementedError

    def curvature(self, a, targets, weights, lengths=None):
        error = a - targets.values
        error[weights == 0] = 0.0
        return _of_each_output(_by_output(weights) * self._bend(error))


class Huber(_OfErrors):
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

    def __init__(self, delta=1.0):
        self.delta = as_number(delta, "delta")
        if not self.delta > 0:
            raise ValueError(f"delta: expected a number > 0, got {self.delta}")

    @property
    def options(self):
        return {"delta": self.delta}

    def _value_and_slope(self, error):
        slope = np.clip(error, -self.delta, self.delta)
        return slope * (error - 0.5 * slope), slope

    def _bend(self, error):
        return self.delta / np.maximum(np.abs(error), self.delta)

    def best_constant(self, targets, weights, n_outputs):
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


class Quantile(_OfErrors):
    """The pinball loss, whose best outputs are quantiles of the targets, with identity outputs.

    sum_k of q_k (z - y_k) where y_k < z, and of (1 - q_k) (y_k - z) elsewhere (Koenker and Bassett
    1978); delta = -q_k, 1 - q_k, or 0 where y_k = z, the one point without a derivative.

    Parameters
    ----------
    q : float or sequence of float
        Between 0 and 1. With one, each output is that quantile of a target of its own; 0.5 is the
        median. With several, a term has one target, and the outputs are these quantiles of it.

    Notes
    -----
    The slope jumps where an output meets its target, so a method that builds up curvature from
    gradients, such as L-BFGS-B, may end without success short of the best. The second derivative
    is 0 elsewhere: `curvature` is in its place that of a parabola that touches the loss from above
    (Hunter and Lange 2000), and so it is for `Huber`.

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

    def __init__(self, q=0.5):
        several = isinstance(q, (list, tuple, np.ndarray))
        checked = [as_number(each, "q") for each in (q if several else [q])]
        for each in checked:
            if not 0 < each < 1:
                raise ValueError(f"q: expected numbers between 0 and 1, got {each}")
        if not checked:
            raise ValueError(f"q: expected a number or several, got {q!r}")
        self.q = tuple(checked) if several else checked[0]

    @property
    def options(self):
        return {"q": list(self.q) if isinstance(self.q, tuple) else self.q}

    def target_size(self, n_outputs):
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

    def best_constant(self, targets, weights, n_outputs):
        z = np.broadcast_to(targets.values, (len(weights), n_outputs))
        order = np.argsort(z, axis=0, kind="stable")
        each = np.broadcast_to(weights.T, z.T.shape).T
        below = np.cumsum(np.take_along_axis(each, order, 0), axis=0)
        wanted = np.array(self.q) * below[-1]
        return np.take_along_axis(z, order, 0)[(below < wanted).sum(axis=0), np.arange(n_outputs)]


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
    Only terms of weight above zero are asked for. A file cannot hold a function: where a network is
    to be saved, or wants other output units, options, weights of outputs or whole sequences, its
    loss is a class derived from `Loss`. Copies by pickle work as far as the function can be
    pickled: one that stands in a module can, a lambda cannot.

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

    def __init__(self, function):
        if not callable(function) or isinstance(function, (type, Loss)):
            raise TypeError(
                "function: expected a function of (outputs, targets) that returns (value, "
                f"derivative), got {describe(function)}"
            )
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def options(self):
        return {"function": self.function}

    def __repr__(self):
        return self.name

    def target_size(self, n_outputs):
        return None

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        return super()._convert(Y, scored, size, np.dtype(np.float64), check_finite, batch)

    def value_and_delta(self, a, targets, weights, lengths=None):
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


LOSSES = {
    loss.name: loss
    for loss in (SquaredError, CrossEntropy, BinaryCrossEntropy, Poisson, Huber, Quantile)
}


def register(loss):
    """Make a loss known by its name: to ``Network(loss="name")`` and to `lstmcore.load`.

    Parameters
    ----------
    loss : type
        A subclass of `Loss`; a class of the same name takes the place of the one before.

    Returns
    -------
    type
        `loss`, so that this may stand as a decorator before a class.

    Examples
    --------
    >>> import lstmcore as lc
    >>> @lc.losses.register
    ... class Quartic(lc.losses.SquaredError):
    ...     name = "quartic"
    >>> lc.Network([lc.Dense(2, 1)], loss="quartic").loss_name
    'quartic'
    """
    if not (isinstance(loss, type) and issubclass(loss, Loss)):
        raise TypeError(f"loss: expected a subclass of Loss, got {describe(loss)}")
    _check_loss(loss)
    LOSSES[loss.name] = loss
    return loss


def find_loss(loss):
    """A loss given as an object, a function, or by the name of one that needs no options."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(
            f"loss: expected one of {', '.join(LOSSES)}, an object of a class in lstmcore.losses, "
            f"or a function, got the class {loss.__name__}; {loss.__name__}() is an object of it"
        )
    if callable(loss) and not isinstance(loss, (type, Loss)):
        loss = FunctionLoss(loss)
    if not isinstance(loss, Loss):
        return LOSSES[as_choice(loss, "loss", LOSSES)]()
    _check_loss(loss)
    return loss


def _check_loss(loss):
    if not isinstance(loss.name, str):
        raise TypeError(f"loss.name: expected a str, got {describe(loss.name)}")
    as_choice(loss.output, "loss.output", OUTPUTS)
    as_choice(loss.terms, "loss.terms", TERMS)

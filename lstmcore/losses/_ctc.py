"""Connectionist temporal classification: labels of sequences that nobody has cut into pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._checks import as_flag, as_integer, as_ndarray, as_threads, describe, float_dtype
from .._dispatch import choose_threads, kernels
from .._fixed import Fixed, read_only, remade
from ..sequences import make_batch
from ._compiled import CrossEntropy
from ._loss import Loss
from ._targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, LabelsLike, Seed, SequencesLike, Vector
    from ..sequences import Batch

_INDEX = np.dtype(np.intp)
_WORK_OF_PLACE = 64  # multiply-adds that a label takes at a step, both ways
_WORK_OF_OUTPUT = 64  # and an output, whose exponential is computed twice
_EM_STEPS = 25  # of the best constants
_NUMBERED = (
    "; labels are numbers of outputs, as np.unique(all_labels, return_inverse=True)[1] + 1 counts "
    "them beside a blank 0"
)


class LabelTargets(Fixed, Targets):
    """The labels of each sequence, checked.

    Read-only.

    Attributes
    ----------
    labels : (M,) intp array
        Those of all sequences, one after the other.
    begin : (B + 1,) intp array
        Where those of each begin; the last is M.
    steps : (B,) intp array
        How many steps each sequence has.
    """

    _instead = "prepare the data anew"

    def __init__(
        self,
        labels: npt.NDArray[np.intp],
        begin: npt.NDArray[np.intp],
        steps: npt.NDArray[np.intp],
    ) -> None:
        self.labels, self.begin = read_only(labels), read_only(begin)
        self.steps = read_only(steps)

    def __reduce__(self):
        # copies are read-only again
        return remade, (LabelTargets, self.labels, self.begin, self.steps)

    def __len__(self) -> int:
        return len(self.begin) - 1

    def of(self, b: int) -> npt.NDArray[np.intp]:
        """The labels of sequence b, read-only."""
        return self.labels[self.begin[b] : self.begin[b + 1]]

    def take(self, indices: npt.NDArray[Any]) -> LabelTargets:
        """Those of some of the sequences, by their numbers or by a flag for each."""
        members = np.arange(len(self))[indices]
        return join_labels([self.of(b) for b in members], self.steps[members])


class CTC(Loss):
    """-ln of the probability that the outputs give a sequence's labels, wherever they lie.

    Connectionist temporal classification (A. Graves et al., ICML 2006; A. Graves, *Supervised
    Sequence Labelling with Recurrent Neural Networks*, chapter 7). The K outputs of each step are
    the probabilities (softmax) of the labels and of one more class, the *blank*: nothing here. A
    way through the steps has one output a step. What it says are its outputs without repetitions,
    and then without blanks. The probability of labels is the sum over all ways that say them.

    Targets are a sequence of labels for each sequence of steps: a list of B lists or integer
    vectors, of any lengths, which may be empty; or an integer array (B, U) with -1 after each
    row's last label. Labels are the numbers of outputs, without the blank. A term is a whole
    sequence, so `sample_weight` weighs sequences. Their losses are sums over labels: those of long
    sequences are larger.

    A sequence needs a step for each label, and one more wherever a label follows itself. `prepare`
    refuses labels that do not fit in. `ctc_loss` gives their loss, which is infinite.

    Parameters
    ----------
    blank : int
        The number of the output that stands for no label.

    See Also
    --------
    ctc_loss : each sequence's loss, of outputs of any origin.

    Notes
    -----
    The gradient at the outputs is the softmax less the probability of being at each output, given
    the labels. All is computed in float64, in numbers that have exponents of their own: neither
    long nor unlikely sequences underflow.

    Labels are none of a term's class, so `class_weight` is refused. The loss is not convex at the
    outputs. Its `curvature` is that of the cross entropy whose targets are these probabilities,
    which is never negative and lies above the loss's own.

    Examples
    --------
    Two sequences, of six and of four steps: what they say is known, not where.

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> layers = [lc.LSTM(2, 8, bidirectional=True), lc.Dense(16, 4)]
    >>> net = lc.Network(layers, loss="ctc", seed=0)
    >>> X = [np.ones((6, 2)), np.zeros((4, 2))]
    >>> Y = [[1, 3, 3], [2]]
    >>> value, gradient = net.loss_and_grad(X, Y)
    >>> net.predict(X)[0].shape  # probabilities of 3 labels and of the blank, 0
    (6, 4)
    """

    name = "ctc"
    output = "softmax"
    terms = "sequences"
    takes_threads = True
    _no_classes = (
        "the labels of a sequence are one term of 'ctc', not of one class; sample_weight weighs "
        "sequences"
    )

    def __init__(self, blank: int = 0) -> None:
        self.blank = as_integer(blank, "blank", 0)

    @property
    def options(self) -> dict[str, Any]:
        return {"blank": self.blank}

    def target_size(self, n_outputs: int) -> None:
        if n_outputs < 2:
            raise ValueError(
                "loss: expected two outputs or more with 'ctc', a label and the blank, got "
                f"{n_outputs}"
            )
        if self.blank >= n_outputs:
            raise ValueError(
                f"loss: expected blank to be one of the {n_outputs} outputs, from 0 to "
                f"{n_outputs - 1}, got {self.blank}"
            )

    def prepare(
        self,
        Y: Any,
        batch: Batch,
        n_outputs: int,
        per_sequence: bool,
        dtype: npt.DTypeLike,
        check_finite: bool = True,
        scored: npt.NDArray[np.bool_] | None = None,
    ) -> LabelTargets:
        if scored is None:
            scored = np.ones(batch.size, dtype=bool)
        labels = as_targets(Y, scored, n_outputs, self.blank)
        hint = "; sample_weight 0 leaves the sequence out"
        for b, steps in enumerate(batch.lengths.tolist()):
            refuse_too_long(labels[b], steps, f"Y[{b}]", hint)
        return join_labels(labels, batch.lengths)

    def value_and_delta(
        self,
        a: Array,
        targets: Any,
        weights: Vector,
        lengths: npt.NDArray[np.intp] | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, Array]:
        values = _score(a, targets, weights, lengths, self.blank, n_threads)
        scored = weights > 0  # an infinite loss of weight 0 counts nothing
        return float(weights[scored] @ values[scored]), a

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        of_steps = np.repeat(weights, lengths)  # type: ignore[arg-type]  # terms are sequences
        return CrossEntropy().curvature(a, targets, of_steps)

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        """As of any loss. By expectation maximization, each step of which is another evaluation.

        Outputs are set to the posterior's mean over all steps, again and again. The loss falls with
        every step, and soon little.
        """
        y = np.full(n_outputs, 1.0 / n_outputs)
        steps = weights @ targets.steps
        for _ in range(_EM_STEPS):
            a = np.tile(np.log(y), (int(targets.steps.sum()), 1))
            _, delta = self.value_and_delta(a, targets, weights, targets.steps)
            y = np.maximum(steps * y - delta.sum(axis=0), np.finfo(np.float32).tiny)
            y /= y.sum()
        return np.log(y)

    def sample(self, y: npt.ArrayLike, rng: Seed, **options: Any) -> npt.NDArray[Any]:
        raise NotImplementedError(
            f"loss: expected one with a target for each step, got {self!r}, whose targets are the "
            "labels of whole sequences; lstmcore.decode reads them"
        )


class Losses(NamedTuple):
    """What `ctc_loss` gives.

    Attributes
    ----------
    values : (B,) float64 array
        -ln of the probability of each sequence's labels.
    delta : array or list of array
        The derivative of the sum of the finite values by `a`, in its form.
    """

    values: Vector
    delta: Any


def ctc_loss(
    a: SequencesLike,
    labels: LabelsLike,
    lengths: npt.ArrayLike | None = None,
    *,
    blank: int = 0,
    check_finite: bool = True,
    n_threads: int | None = None,
) -> Losses:
    """The CTC loss of each sequence, and its derivative, for outputs of any origin.

    Parameters
    ----------
    a : (B, T, K) array_like or list of (T_b, K) array_like
        What the softmax is applied to. Logarithms of probabilities are that too, for their softmax
        are the probabilities.
    labels : list of B sequences of int, or (B, U) array_like of int
        As targets of `CTC`.
    lengths : (B,) array_like of int, optional
        The steps of each sequence in an array; by default T.
    blank : int
        The output that stands for no label.
    check_finite : bool
        Refuse NaN and infinity. Without it -inf is the logarithm of a probability 0.
    n_threads : int, optional

    Returns
    -------
    Losses
        The values (B,), infinite where the steps are too few for the labels, and the derivative,
        which is 0 there.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    Two equal labels need three steps:

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> a = np.zeros((2, 3, 4))
    >>> values, delta = lc.losses.ctc_loss(a, [[1, 1], [1]], lengths=[2, 3])
    >>> np.exp(-values)
    array([0.     , 0.09375])
    """
    form = a[0] if isinstance(a, (list, tuple)) and lengths is None and len(a) else a
    form = as_ndarray(form, "a")
    K = form.shape[-1] if form.ndim > 1 else 1
    CTC(blank).target_size(K)
    batch = make_batch(
        a, K, float_dtype(form), lengths, None, as_flag(check_finite, "check_finite"), "a"
    )
    targets = join_labels(
        as_targets(labels, np.ones(batch.size, dtype=bool), K, blank, "labels"), batch.lengths
    )
    rows = np.array(batch.input_rows(), order="C")
    weights = np.ones(batch.size)
    values = _score(rows, targets, weights, batch.lengths, blank, as_threads(n_threads))
    return Losses(values, batch.arrange(rows))


def refuse_too_long(labels: npt.NDArray[np.intp], steps: int, name: str, hint: str = "") -> None:
    """Raise where so many steps have no room for the labels of a sequence."""
    n, repeated = len(labels), int((labels[1:] == labels[:-1]).sum())
    if steps < n + repeated:
        between = f", and a blank between equal ones {repeated} times" if repeated else ""
        raise ValueError(
            f"{name}: expected labels that {steps} steps have room for, got {n} labels, which take "
            f"{n + repeated} steps: one each{between}{hint}"
        )


def as_targets(
    Y: Any,
    scored: npt.NDArray[np.bool_],
    n_outputs: int,
    blank: int | None,
    name: str = "Y",
) -> list[npt.NDArray[np.intp]]:
    """A user's labels of B sequences, checked; those not scored are empty, whatever they are.

    Parameters
    ----------
    Y : list or array_like
    scored : (B,) bool array
    n_outputs : int
        K.
    blank : int or None
        What labels may not be.
    name : str
        What errors call Y.
    """
    B = len(scored)
    padded = False
    if not isinstance(Y, (list, tuple)):
        if isinstance(Y, (str, bytes)) or not hasattr(Y, "__len__"):
            raise TypeError(f"{name}: {_expected(B)}, got {describe(Y)}")
        Y = as_ndarray(Y, name)
        padded = Y.ndim == 2 and Y.dtype != object
        if Y.ndim == 0 or not (padded or (Y.ndim == 1 and Y.dtype == object)):
            raise ValueError(f"{name}: {_expected(B)}, got {describe(Y)}")
    if len(Y) != B:
        raise ValueError(f"{name}: {_expected(B)}, as many as there are inputs, got {describe(Y)}")
    none = np.zeros(0, _INDEX)
    return [
        as_labels(y, f"{name}[{b}]", n_outputs, blank, padded) if scored[b] else none
        for b, y in enumerate(Y)
    ]


def _expected(B):
    return f"expected the labels of {B} sequences, a list of {B} lists of integers"


def as_labels(
    y: Any, name: str, n_outputs: int | None, blank: int | None, padded: bool = False
) -> npt.NDArray[np.intp]:
    """A user's labels of one sequence, as a vector of intp; of a padded one those before the -1."""
    if isinstance(y, (str, bytes)):
        raise TypeError(
            f"{name}: expected a sequence of integer labels, got {describe(y)}{_NUMBERED}"
        )
    y = as_ndarray(y, name)
    if y.ndim != 1:
        hint = f"; [{y}] is a sequence of one label" if y.ndim == 0 and y.dtype.kind in "iu" else ""
        raise ValueError(f"{name}: expected a sequence of integer labels, got {describe(y)}{hint}")
    if not len(y):
        return np.zeros(0, _INDEX)
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got {describe(y)}{_NUMBERED}")
    if padded:
        ends = np.flatnonzero(y == -1)
        if len(ends):
            if (y[ends[0] :] != -1).any():
                raise ValueError(
                    f"{name}: expected -1 after the last label and nowhere else, got labels after "
                    f"a -1 at {ends[0]}"
                )
            y = y[: ends[0]]
    wrong = y < 0 if n_outputs is None else (y < 0) | (y >= n_outputs)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        most = "" if n_outputs is None else f" and <= {n_outputs - 1}"
        raise ValueError(f"{name}: expected labels >= 0{most}, got {y[at]} at {at}{_NUMBERED}")
    if blank is not None and (y == blank).any():
        at = int(np.flatnonzero(y == blank)[0])
        raise ValueError(
            f"{name}: expected labels other than the blank, got {blank} at {at}; the blank stands "
            "for no label: number the labels without it, or say another with "
            "lc.losses.CTC(blank=...)"
        )
    return y.astype(_INDEX)


def join_labels(labels: list[npt.NDArray[np.intp]], steps: npt.NDArray[np.intp]) -> LabelTargets:
    """Targets of labels that have been checked, of sequences of so many steps."""
    begin = _begins([len(y) for y in labels])
    return LabelTargets(np.concatenate([np.zeros(0, _INDEX), *labels]), begin, steps)


def _begins(lengths):
    """Where parts of these lengths, one after the other, begin; and where the last one ends."""
    begin = np.zeros(len(lengths) + 1, _INDEX)
    np.cumsum(lengths, out=begin[1:])
    return begin


def _score(a, targets, weights, lengths, blank, n_threads):
    """The loss of each sequence; delta takes the place of a."""
    first = _begins(lengths)
    K, labels = a.shape[1], np.diff(targets.begin)
    most = int(np.max(lengths, initial=0)), int(labels.max(initial=0))
    work = _WORK_OF_PLACE * int(lengths @ (labels + 1)) + _WORK_OF_OUTPUT * a.size
    threads = min(choose_threads(work, a.dtype, n_threads), max(len(lengths), 1))
    scratch = np.empty(kernels.ctc_scratch_size(*most, K, threads))
    values = np.empty(len(lengths))
    kernels.ctc_rows(
        a, first, targets.labels, targets.begin, weights, blank, values, scratch, threads
    )
    return values

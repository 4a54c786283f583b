"""Labels out of the outputs of CTC: `decode`, `alignment`, and how far labels are from others.

Everything is computed in logarithms and float64. Searches go step by step over one sequence; what
happens at a step is array arithmetic over all prefixes or places at once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._checks import as_integer, as_number, as_real, describe, refuse_nonfinite
from .losses import CTC, ctc_loss
from .losses._ctc import as_labels, as_targets, refuse_too_long
from .network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    import numpy.typing as npt

    from ._types import LabelsLike, SequencesLike, Vector

    Scorer: TypeAlias = Callable[[tuple[int, ...]], npt.ArrayLike]

__all__ = [
    "Alignment",
    "Labelling",
    "NGram",
    "align_rows",
    "alignment",
    "decode",
    "decode_rows",
    "edit_distance",
    "label_error_rate",
]

_NONE = -np.inf
_SUM = 1e-3  # that a row of probabilities may be off 1


class Labelling(NamedTuple):
    """Labels that have been decoded.

    Attributes
    ----------
    labels : tuple of int
    log_probability : float
        ln p(labels | x), over all ways to say them: minus the loss `ctc` of these labels.
    score : float
        What the search compared: of the best path its own ln p; of a beam ln p(labels | x) of the
        paths that stayed in it, with the length bonus and what the scorer gave.
    """

    labels: tuple[int, ...]
    log_probability: float
    score: float


class Alignment(NamedTuple):
    """Where each label of a sequence lies on the most probable path that says them.

    Attributes
    ----------
    path : (T,) array of int
        The output at each step, the blank included.
    start, stop : (U,) arrays of int
        Label u is the output of the steps start[u] to stop[u] - 1.
    log_probability : float
        ln p(path | x).
    """

    path: npt.NDArray[np.intp]
    start: npt.NDArray[np.intp]
    stop: npt.NDArray[np.intp]
    log_probability: float


# ------------------------------------------------------------------------------------- of networks


def decode(
    net: Network,
    X: SequencesLike,
    lengths: npt.ArrayLike | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    width: int = 1,
    n_best: int | None = None,
    length_bonus: float = 0.0,
    scorer: Scorer | None = None,
    scorer_weight: float = 1.0,
    features: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> list[Any]:
    """What a network with the loss `ctc` reads in each sequence.

    Parameters
    ----------
    net : Network
    X, lengths, mask, features, n_threads
        As in `Network.predict`.
    width, n_best, length_bonus, scorer, scorer_weight
        As in `decode_rows`.

    Returns
    -------
    list of Labelling
        One for each sequence, or with `n_best` a list of so many, the best first.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    See Also
    --------
    decode_rows : the same of probabilities of any origin, such as a stream's.
    alignment : where given labels lie.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> layers = [lc.LSTM(2, 8, bidirectional=True), lc.Dense(16, 4)]
    >>> net = lc.Network(layers, loss="ctc", seed=0)
    >>> X = [np.ones((6, 2)), np.zeros((4, 2))]
    >>> [result.labels for result in lc.decode(net, X, width=8)]
    [(3, 1, 3), (1, 2)]
    """
    options = {
        "width": width,
        "n_best": n_best,
        "length_bonus": length_bonus,
        "scorer": scorer,
        "scorer_weight": scorer_weight,
    }
    blank = _blank_of(net)
    rows = _log_outputs(net, X, lengths, mask, features, n_threads)
    return [_decode(ln_y, blank, **options) for ln_y in rows]


def alignment(
    net: Network,
    X: SequencesLike,
    labels: LabelsLike,
    lengths: npt.ArrayLike | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    features: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> list[Alignment]:
    """Where labels lie in sequences, by a network with the loss `ctc`.

    Parameters
    ----------
    net : Network
    X, lengths, mask, features, n_threads
        As in `Network.predict`.
    labels : list of B sequences of int, or (B, U) array_like of int
        As targets of the loss: see `losses.CTC`.

    Returns
    -------
    list of Alignment
        One for each sequence, its steps counted from the first that is there.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    See Also
    --------
    align_rows : the same of probabilities of any origin.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> layers = [lc.LSTM(2, 8, bidirectional=True), lc.Dense(16, 4)]
    >>> net = lc.Network(layers, loss="ctc", seed=0)
    >>> (found,) = lc.alignment(net, np.ones((1, 6, 2)), [[1, 3]])
    >>> [label for label in found.path.tolist() if label]  # in this order, at some of the steps
    [1, 3, 3, 3, 3]
    """
    blank = _blank_of(net)
    rows = _log_outputs(net, X, lengths, mask, features, n_threads)
    scored = np.ones(len(rows), dtype=bool)
    checked = as_targets(labels, scored, net.output_size, blank, "labels")
    return [
        _align(ln_y, of_one, blank, f"labels[{b}]")
        for b, (ln_y, of_one) in enumerate(zip(rows, checked, strict=True))
    ]


def _blank_of(net):
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    loss = net.options["loss"]
    if not isinstance(loss, CTC):
        raise ValueError(
            f"net: expected a network with the loss 'ctc', got one with {net.loss_name!r}; "
            "decode_rows and align_rows take probabilities of any origin"
        )
    return loss.blank


def _log_outputs(net, X, lengths, mask, features, n_threads):
    """ln y of each sequence's steps, (T_b, K) in float64.

    An output that was rounded to zero is taken for the smallest number: no path is impossible.
    """
    y = net.predict(X, lengths, mask=mask, features=features, n_threads=n_threads)
    if isinstance(y, np.ndarray) and mask is not None:
        y = [rows[there] for rows, there in zip(y, np.asarray(mask, dtype=bool), strict=True)]
    elif isinstance(y, np.ndarray) and lengths is not None:
        y = [rows[:n] for rows, n in zip(y, lengths, strict=True)]
    least = np.finfo(net.dtype).tiny
    return [np.log(np.maximum(rows, least).astype(np.float64)) for rows in y]


# -------------------------------------------------------------------------------- of probabilities


def decode_rows(
    y: npt.ArrayLike,
    *,
    blank: int = 0,
    width: int = 1,
    n_best: int | None = None,
    length_bonus: float = 0.0,
    scorer: Scorer | None = None,
    scorer_weight: float = 1.0,
) -> Any:
    """The labels that the probabilities of one sequence's steps say.

    Parameters
    ----------
    y : (T, K) array_like
        Probabilities: each row has the sum 1.
    blank : int
        The output that stands for no label.
    width : int
        1 takes the most probable output of each step: the best path, which need not say the most
        probable labels. From 2 on, so many prefixes of labels are kept from step to step, each
        with the probability of all its paths (prefix beam search). Labels are the most probable
        ones if no prefix had to be dropped.
    n_best : int, optional
        Give a list of the best so many of the beam, in place of the best one.
    length_bonus : float
        Added to the score for each label. A scorer's probabilities make long labels unlikely.
    scorer : callable, optional
        ``scorer(labels)``, of a tuple of the labels so far, gives K logarithms: of the probability
        of each label to be the next and, in the blank's place, of there being no more. `NGram` is
        one. It is called once for each prefix.
    scorer_weight : float
        What its logarithms are multiplied by.

    Returns
    -------
    Labelling
        Or with `n_best` a list of them, the best first, of equal scores the lower tuple.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Notes
    -----
    The search is that of A. Hannun et al. (arXiv:1408.2873), whose prefixes keep the probabilities
    of their paths with and without a blank at the end apart.

    Examples
    --------
    The best path says nothing, with a probability of 0.36; but three paths say 1:

    >>> import lstmcore as lc
    >>> y = [[0.6, 0.4], [0.6, 0.4]]
    >>> lc.decode_rows(y).labels, lc.decode_rows(y, width=2).labels
    ((), (1,))
    """
    y = _as_probabilities(y)
    CTC(blank).target_size(y.shape[1])
    with np.errstate(divide="ignore"):
        ln_y = np.log(y)
    return _decode(ln_y, blank, width, n_best, length_bonus, scorer, scorer_weight)


def align_rows(y: npt.ArrayLike, labels: Sequence[int], *, blank: int = 0) -> Alignment:
    """Where labels lie in one sequence, by the probabilities of its steps (Viterbi's algorithm).

    Parameters
    ----------
    y : (T, K) array_like
        Probabilities: each row has the sum 1.
    labels : sequence of int
    blank : int
        The output that stands for no label.

    Returns
    -------
    Alignment
        Of equally probable paths always the same one.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came; `labels` too where the steps are too
        few, or every path has the probability 0.

    Examples
    --------
    >>> import lstmcore as lc
    >>> found = lc.align_rows([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]], [1, 1])
    >>> found.path.tolist(), found.start.tolist(), found.stop.tolist()
    ([1, 0, 0, 1], [0, 3], [1, 4])
    """
    y = _as_probabilities(y)
    CTC(blank).target_size(y.shape[1])
    labels = as_labels(labels, "labels", y.shape[1], blank)
    with np.errstate(divide="ignore"):
        return _align(np.log(y), labels, blank, "labels")


def _as_probabilities(y):
    y = as_real(y, "y", np.dtype(np.float64))
    if y.ndim != 2:
        raise ValueError(
            f"y: expected the outputs (T, K) of one sequence, got {describe(y)}; of a batch take "
            "one after the other"
        )
    refuse_nonfinite(y, "y")
    sums = y.sum(axis=1)
    if (y < 0).any() or (np.abs(sums - 1) > _SUM).any():
        wrong = np.flatnonzero((y < 0).any(axis=1) | (np.abs(sums - 1) > _SUM))[0]
        raise ValueError(
            f"y: expected probabilities, in rows that sum to 1, got row {wrong} with the sum "
            f"{sums[wrong]:.6g} and a least number of {y[wrong].min():.6g}; the softmax of "
            "pre-activations are some"
        )
    return y


# ----------------------------------------------------------------------------------------- decoding


def _decode(ln_y, blank, width, n_best, length_bonus, scorer, scorer_weight):
    width = as_integer(width, "width", 1)
    length_bonus = as_number(length_bonus, "length_bonus")
    scorer_weight = as_number(scorer_weight, "scorer_weight", 0)
    if scorer is not None and not callable(scorer):
        raise TypeError(f"scorer: expected a callable or None, got {describe(scorer)}")
    if n_best is not None:
        n_best = as_integer(n_best, "n_best", 1)
    if width == 1:
        for name, value in {"scorer": scorer, "length_bonus": length_bonus or None}.items():
            if value is not None:
                raise ValueError(
                    f"{name}: expected none with width=1, the best path, got {describe(value)}; a "
                    "width of 2 or more searches among labels"
                )
        found = [_best_path(ln_y, blank)]
    else:
        beam = _Beam(ln_y.shape[1], blank, width, length_bonus, scorer, scorer_weight)
        for row in ln_y:
            beam.step(row)
        found = beam.best(1 if n_best is None else n_best)
    ln_p = _log_probabilities(ln_y, [labels for labels, _ in found], blank)
    results = [
        Labelling(labels, float(p), float(score))
        for (labels, score), p in zip(found, ln_p, strict=True)
    ]
    return results[0] if n_best is None else results


def _best_path(ln_y, blank):
    path = ln_y.argmax(axis=1)
    score = ln_y[np.arange(len(path)), path].sum()
    begins = np.ones(len(path), dtype=bool)
    begins[1:] = path[1:] != path[:-1]
    return tuple(path[begins & (path != blank)].tolist()), score


def _log_probabilities(ln_y, labellings, blank):
    """ln p of each of some labellings of one sequence."""
    if not len(ln_y):
        return [0.0 for _ in labellings]  # of no labels, which is all there can be
    a = np.broadcast_to(ln_y, (len(labellings), *ln_y.shape))
    with np.errstate(invalid="ignore"):
        return -ctc_loss(a, list(labellings), blank=blank, check_finite=False).values


class _Beam:
    """The most probable prefixes of labels, and for each the paths that have said it so far.

    A prefix is a node of a tree: its parent and its last label. The root is no labels.
    """

    def __init__(self, K, blank, width, length_bonus, scorer, scorer_weight):
        self._K, self._blank, self._width = K, blank, width
        self._bonus, self._scorer, self._weight = length_bonus, scorer, scorer_weight
        self._parents, self._labels, self._children = [-1], [blank], {}
        self._gains = {}  # of each node, what the next label adds to the score
        # of those in the beam, best first:
        self._nodes = np.zeros(1, np.intp)
        self._ln_blank = np.zeros(1)  # ln p of the paths that end with a blank,
        self._ln_label = np.full(1, _NONE)  # and with the last label
        self._extra = np.zeros(1)  # what bonus and scorer have added

    def step(self, ln_y):
        """Go on by a step with these outputs."""
        nodes, K = self._nodes, self._K
        n = len(nodes)
        last = np.array([self._labels[node] for node in nodes])
        parents = np.array([self._parents[node] for node in nodes])
        total = np.logaddexp(self._ln_blank, self._ln_label)

        # The root has its blank for a last label: no path has said it yet.
        stay_blank = total + ln_y[self._blank]
        stay_label = self._ln_label + ln_y[last]
        longer = total[:, None] + ln_y
        longer[np.arange(n), last] = self._ln_blank + ln_y[last]
        longer[:, self._blank] = _NONE
        # A prefix and its parent may both be there: the same labels twice, in one sum.
        places = np.argsort(nodes, kind="stable")
        found = np.searchsorted(nodes, parents, sorter=places)
        found = places[np.minimum(found, n - 1)]
        child = np.flatnonzero((nodes[found] == parents) & (parents >= 0))
        stay_label[child] = np.logaddexp(stay_label[child], longer[found[child], last[child]])
        longer[found[child], last[child]] = _NONE

        gains = self._next_gains()
        scores = np.concatenate(
            [
                np.logaddexp(stay_blank, stay_label) + self._extra,
                (longer + (self._extra[:, None] + gains)).ravel(),
            ]
        )
        kept = _largest(scores, self._width)
        if not len(kept):
            raise ValueError(
                "scorer: expected probabilities above 0 for some labels that the outputs allow, "
                "got none"
            )
        stays, grows = kept[kept < n], kept[kept >= n] - n
        new = [self._child(nodes[i], k) for i, k in zip(*np.divmod(grows, K), strict=True)]
        order = np.argsort(-scores[np.concatenate([stays, grows + n])], kind="stable")

        def beside(of_stays, of_grows):
            return np.concatenate([of_stays, of_grows])[order]

        extra = self._extra[grows // K] + gains.ravel()[grows]
        self._nodes = beside(nodes[stays], np.array(new, np.intp))
        self._ln_blank = beside(stay_blank[stays], np.full(len(grows), _NONE))
        self._ln_label = beside(stay_label[stays], longer.ravel()[grows])
        self._extra = beside(self._extra[stays], extra)

    def best(self, n):
        """The best n labellings, with their scores."""
        scores = np.logaddexp(self._ln_blank, self._ln_label) + self._extra
        if self._scorer is not None:
            scores = scores + self._next_gains()[:, self._blank]
        found = [(self._prefix(node), s) for node, s in zip(self._nodes, scores, strict=True)]
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))[:n]

    def _next_gains(self):
        """(n, K): what each next label adds to the score; at the blank what the end adds."""
        if self._scorer is None:
            return np.full((len(self._nodes), self._K), self._bonus)
        for node in self._nodes.tolist():
            if node not in self._gains:
                prefix = self._prefix(node)
                gains = as_real(self._scorer(prefix), "scorer", np.dtype(np.float64))
                if gains.shape != (self._K,) or np.isnan(gains).any() or (gains == np.inf).any():
                    raise ValueError(
                        f"scorer: expected {self._K} logarithms of probabilities of what comes "
                        f"after {prefix}, got {describe(gains)} that is none"
                    )
                # nothing of -inf is nothing
                gains = self._weight * gains if self._weight else np.zeros(self._K)
                gains[np.arange(self._K) != self._blank] += self._bonus  # the end is no label
                self._gains[node] = gains
        return np.stack([self._gains[node] for node in self._nodes.tolist()])

    def _child(self, parent, label):
        key = int(parent), int(label)
        if key not in self._children:
            self._children[key] = len(self._parents)
            self._parents.append(key[0])
            self._labels.append(key[1])
        return self._children[key]

    def _prefix(self, node):
        labels = []
        while node:
            labels.append(self._labels[node])
            node = self._parents[node]
        return tuple(reversed(labels))


def _largest(scores, n):
    """The indices of the n largest scores, ascending; of equal ones the first; none of -inf."""
    there = np.flatnonzero(scores > _NONE)
    if len(there) <= n:
        return there
    limit = np.partition(scores[there], len(there) - n)[len(there) - n]
    above = there[scores[there] > limit]
    equal = there[scores[there] == limit]
    return np.sort(np.concatenate([above, equal[: n - len(above)]]))


# ---------------------------------------------------------------------------------------- alignment


def _align(ln_y, labels, blank, name):
    T, U = len(ln_y), len(labels)
    refuse_too_long(labels, T, name)
    places = np.full(2 * U + 1, blank)
    places[1::2] = labels
    skips = np.zeros(2 * U + 1, dtype=bool)
    skips[3::2] = labels[1:] != labels[:-1]
    # ln p of the best path to each place, two of which stand before the first
    best = np.full(2 * U + 3, _NONE)
    best[2] = 0.0
    came = np.zeros((T, 2 * U + 1), dtype=np.int8)  # from so many places before
    for t in range(T):
        ways = np.stack([best[2:], best[1:-1], np.where(skips, best[:-2], _NONE)])
        came[t] = ways.argmax(axis=0)
        best[2:] = ways.max(axis=0) + ln_y[t, places]
    u = 2 * U
    if U and best[-2] > best[-1]:
        u -= 1
    if best[u + 2] == _NONE:
        raise ValueError(f"{name}: expected labels that can be, got some of the probability 0")
    score = float(best[u + 2])
    at = np.empty(T, np.intp)
    for t in range(T - 1, -1, -1):
        at[t] = u
        u -= came[t, u]
    of_labels = 2 * np.arange(U) + 1
    start, stop = np.searchsorted(at, of_labels), np.searchsorted(at, of_labels, side="right")
    return Alignment(places[at], start, stop, score)


# ------------------------------------------------------------------------------ a scorer of labels


class NGram:
    """Which label comes next, counted in sequences of labels: a scorer for `decode`.

    The probability after the last n - 1 labels is that of their counts, mixed with the one after
    the last n - 2, and so on down to equal probabilities of all (I. H. Witten and T. C. Bell, IEEE
    Transactions on Information Theory 37, 1991): p(k | h) = (c(h k) + d(h) p(k | h')) / (c(h) +
    d(h)), c(h) how often h came, d(h) how many different ones came after it, h' without its first.

    Parameters
    ----------
    labels : list of sequences of int
    n_outputs : int
        K, the blank included.
    order : int
        n: 1 counts labels, 2 pairs, ….
    blank : int
        What stands for the end.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> scorer = lc.NGram([[1, 2], [1, 2], [1, 3]], n_outputs=4, order=2)
    >>> np.exp(scorer((1,))).round(2)  # the end, 1, 2, 3
    array([0.12, 0.12, 0.49, 0.26])
    """

    def __init__(
        self, labels: Sequence[Sequence[int]], n_outputs: int, order: int = 3, *, blank: int = 0
    ) -> None:
        self._K = as_integer(n_outputs, "n_outputs", 2)
        self._n = as_integer(order, "order", 1)
        self._blank = as_integer(blank, "blank", 0, self._K - 1)
        self._counts: dict[tuple[int, ...], Counter[int]] = {}
        scored = np.ones(len(labels), dtype=bool)
        for of_one in as_targets(labels, scored, self._K, blank, "labels"):
            sequence = (*of_one.tolist(), self._blank)
            for end, label in enumerate(sequence):
                for begin in range(max(0, end - self._n + 1), end + 1):
                    self._counts.setdefault(sequence[begin:end], Counter())[label] += 1

    def __call__(self, labels: tuple[int, ...]) -> Vector:
        """The logarithms of the probabilities of what comes after these labels."""
        p = np.full(self._K, 1.0 / self._K)
        history = labels[max(0, len(labels) - self._n + 1) :]
        for begin in range(len(history), -1, -1):
            counts = self._counts.get(history[begin:])
            if counts is None:
                break
            p *= len(counts)
            for label, count in counts.items():
                p[label] += count
            p /= len(counts) + counts.total()
        return np.log(p)


# ------------------------------------------------------------------------------------- how far off


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The least number of insertions, deletions and substitutions that turn `a` into `b`.

    Parameters
    ----------
    a, b : sequences of int, or of anything that can be compared for equality
        Strings are sequences of letters.

    Returns
    -------
    int
        V. I. Levenshtein's distance (Soviet Physics Doklady 10, 1966).

    Examples
    --------
    >>> import lstmcore as lc
    >>> lc.edit_distance([1, 2, 3], [1, 3, 3, 4]), lc.edit_distance("kitten", "sitting")
    (2, 3)
    """
    codes: dict[Any, int] = {}
    rows = [_codes(a, "a", codes), _codes(b, "b", codes)]
    return _distance(*rows)


def _codes(value, name, codes):
    """Equal things as equal numbers."""
    if not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: expected a sequence, got {describe(value)}")
    try:
        entries = value.tolist() if isinstance(value, np.ndarray) else list(value)
        return np.array([codes.setdefault(entry, len(codes)) for entry in entries], np.intp)
    except TypeError as error:
        raise TypeError(f"{name}: expected a sequence of labels, got {describe(value)}") from error


def _distance(a, b):
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for label in a:
        changed = row[:-1] + (b != label)
        row[0] += 1
        np.minimum(row[1:] + 1, changed, out=row[1:])
        # insertions, from the left on
        row = np.minimum.accumulate(row - steps) + steps
    return int(row[-1])


def label_error_rate(predicted: Sequence[Any], expected: Sequence[Sequence[Any]]) -> float:
    """The edit distances of labels from what was expected, over the number of expected labels.

    Parameters
    ----------
    predicted : list of sequences, or of what `decode` gives
    expected : list of sequences

    Returns
    -------
    float
        Of all sequences together. It may be above 1, where there are many insertions.

    Raises
    ------
    TypeError, ValueError
        Where they are not as many, or nothing is expected.

    Examples
    --------
    >>> import lstmcore as lc
    >>> lc.label_error_rate([[1, 2], [3]], [[1, 2, 2], [3]])
    0.25
    """
    if len(predicted) != len(expected):
        raise ValueError(
            f"predicted: expected the labels of {len(expected)} sequences, as many as are "
            f"expected, got {describe(predicted)}"
        )
    distances = [
        edit_distance(p.labels if isinstance(p, Labelling) else p, e)
        for p, e in zip(predicted, expected, strict=True)
    ]
    n = sum(map(len, expected))
    if not n:
        raise ValueError("expected: expected one label or more, got none")
    return sum(distances) / n

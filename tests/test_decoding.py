"""Decoding, alignment and error rates: against all paths, and slow implementations."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from test_ctc import LABELS, STEPS, X, network, said

import lstmcore as lc
from lstmcore.losses import ctc_loss


def probabilities(T, K, seed=0, scale=2.0):
    a = scale * np.random.default_rng(seed).normal(size=(T, K))
    y = np.exp(a - a.max(axis=1, keepdims=True))
    return y / y.sum(axis=1, keepdims=True)


def all_labels(y, blank=0):
    """The probability of all labels that there are, over all paths; the best path of each."""
    T, K = y.shape
    total, best = defaultdict(float), {}
    for path in itertools.product(range(K), repeat=T):
        p = y[np.arange(T), path].prod()
        labels = said(path, blank)
        total[labels] += p
        if p > best.get(labels, (0.0,))[0]:
            best[labels] = p, path
    return total, best


def slow_beam(y, width, blank=0, extra=lambda labels: 0.0):
    """Prefix beam search with dictionaries, in probabilities."""
    beam = {(): (1.0, 0.0)}
    for row in y:
        after = defaultdict(lambda: [0.0, 0.0])
        for labels, (of_blank, of_label) in beam.items():
            after[labels][0] += (of_blank + of_label) * row[blank]
            if labels:
                after[labels][1] += of_label * row[labels[-1]]
            for k in range(len(row)):
                if k != blank:
                    same = labels and labels[-1] == k
                    p = of_blank if same else of_blank + of_label
                    after[(*labels, k)][1] += p * row[k]
        ranked = sorted(after, key=lambda z: -(math.log(max(sum(after[z]), 1e-300)) + extra(z)))
        beam = {labels: after[labels] for labels in ranked[:width]}
    return {labels: math.log(sum(p)) + extra(labels) for labels, p in beam.items()}


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_a_wide_beam_is_exact(T, blank):
    y = probabilities(T, 3, seed=T)
    total, _ = all_labels(y, blank)
    ranked = sorted(total, key=total.get, reverse=True)
    found = lc.decode_rows(y, blank=blank, width=400, n_best=len(total))
    assert [result.labels for result in found] == ranked
    for result in found:
        assert result.log_probability == pytest.approx(math.log(total[result.labels]), rel=1e-12)
        assert result.score == pytest.approx(result.log_probability, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("width", [2, 3, 7, 30])
@pytest.mark.parametrize("shape", [(12, 3), (20, 6), (9, 15)])
def test_a_beam_is_that_of_dictionaries(shape, width):
    for seed in range(3):
        y = probabilities(*shape, seed, scale=1.5)
        wanted = slow_beam(y, width)
        found = lc.decode_rows(y, width=width, n_best=width)
        assert {result.labels for result in found} == set(wanted)
        for result in found:
            assert result.score == pytest.approx(wanted[result.labels], rel=1e-10)
            assert result.score <= result.log_probability + 1e-12


def test_bonus_and_scorer_count_in_the_beam_and_at_its_end():
    y, width, K = probabilities(10, 4, 1), 6, 4
    scorer = lc.NGram([[1, 2, 3], [1, 2], [3, 3]], K, order=2)

    def extra(labels):
        steps = [scorer(labels[:u])[k] for u, k in enumerate(labels)]
        return 0.7 * sum(steps) + 0.3 * len(labels)

    wanted = slow_beam(y, width, extra=extra)
    found = lc.decode_rows(
        y, width=width, n_best=width, scorer=scorer, scorer_weight=0.7, length_bonus=0.3
    )
    assert {result.labels for result in found} == set(wanted)
    for result in found:
        score = wanted[result.labels] + 0.7 * scorer(result.labels)[0]
        assert result.score == pytest.approx(score, rel=1e-10)
    scores = [result.score for result in found]
    assert scores == sorted(scores, reverse=True)


def test_a_scorer_is_asked_once_for_each_prefix_and_may_forbid_labels():
    asked = []

    def scorer(labels):
        asked.append(labels)
        return [0.0, -np.inf, 0.0, 0.0]

    found = lc.decode_rows(probabilities(8, 4), width=5, n_best=5, scorer=scorer)
    assert len(asked) == len(set(asked)) > 5
    assert all(1 not in result.labels for result in found)
    free = lc.decode_rows(probabilities(8, 4), width=5, n_best=5)
    assert (
        lc.decode_rows(probabilities(8, 4), width=5, n_best=5, scorer=scorer, scorer_weight=0.0)
        == free
    )


def test_the_best_path():
    y = probabilities(7, 3, 4)
    _, best = all_labels(y)
    p, path = max(best.values())
    found = lc.decode_rows(y)
    assert found.labels == said(path, 0)
    assert found.score == pytest.approx(math.log(p))
    assert found.log_probability == pytest.approx(-ctc_loss([np.log(y)], [found.labels]).values[0])


def test_equal_probabilities_give_the_same_labels_every_time():
    y = np.full((6, 4), 0.25)
    assert lc.decode_rows(y).labels == ()
    found = lc.decode_rows(y, width=9, n_best=9)
    for _ in range(3):
        assert lc.decode_rows(y, width=9, n_best=9) == found
    for one, other in itertools.pairwise(found):
        assert (-one.score, one.labels) < (-other.score, other.labels)


def test_certain_outputs_and_no_steps():
    certain = np.eye(4)[[1, 1, 0, 1, 3]]
    for width in (1, 2, 5):
        result = lc.decode_rows(certain, width=width)
        assert result == ((1, 1, 3), 0.0, 0.0)
        assert lc.decode_rows(np.zeros((0, 4)), width=width) == ((), 0.0, 0.0)


@pytest.mark.parametrize("labels", [(), (1,), (1, 1), (2, 1, 2)])
@pytest.mark.parametrize("blank", [0, 3])
def test_alignment_is_the_best_of_all_paths(labels, blank):
    y = probabilities(6, 4, 9)
    p, path = all_labels(y, blank)[1][labels]
    found = lc.align_rows(y, labels, blank=blank)
    assert found.path.tolist() == list(path)
    assert found.log_probability == pytest.approx(math.log(p))
    for label, start, stop in zip(labels, found.start, found.stop, strict=True):
        assert start < stop
        assert (found.path[start:stop] == label).all()
    assert (np.diff(found.start) > 0).all()
    assert (found.stop[:-1] <= found.start[1:]).all()


def test_a_network_decodes_and_aligns_what_it_predicts():
    net = network()
    y = net.predict(X)
    for width in (1, 6):
        results = lc.decode(net, X, width=width)
        for result, rows in zip(results, y, strict=True):
            alone = lc.decode_rows(rows, width=width)
            assert result.labels == alone.labels
            assert result.score == pytest.approx(alone.score, abs=1e-12)
    for found, rows, labels in zip(lc.alignment(net, X, LABELS), y, LABELS, strict=True):
        np.testing.assert_array_equal(found.path, lc.align_rows(rows, labels).path)
    assert lc.decode(net, X, width=3, n_best=2)[0][0] == lc.decode(net, X, width=3)[0]


def test_arrays_with_lengths_or_a_mask_are_lists():
    net = network()
    padded = np.zeros((len(X), max(STEPS), 2))
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    mask = np.arange(max(STEPS)) < np.array(STEPS)[:, None]
    wanted = lc.decode(net, X, width=4)
    assert lc.decode(net, padded, STEPS, width=4) == wanted
    assert lc.decode(net, padded, mask=mask, width=4) == wanted
    paths = [found.path.tolist() for found in lc.alignment(net, X, LABELS)]
    for data in ({"lengths": STEPS}, {"mask": mask}):
        found = lc.alignment(net, padded, LABELS, **data)
        assert [entry.path.tolist() for entry in found] == paths


def test_initial_states_from_features_are_those_of_predict():
    layers = [lc.LSTM(2, 5), lc.Dense(5, 4)]
    net = lc.Network(layers, "ctc", initial=3, seed=0)
    rng = np.random.default_rng(0)
    net.params[...] = rng.normal(size=net.params.size)
    features = rng.normal(size=(len(X), 3))
    rows = net.predict(X, features=features)
    results = lc.decode(net, X, width=3, features=features)
    assert [result.labels for result in results] == [
        lc.decode_rows(y, width=3).labels for y in rows
    ]
    found = lc.alignment(net, X, LABELS, features=features)
    for entry, y, labels in zip(found, rows, LABELS, strict=True):
        np.testing.assert_array_equal(entry.path, lc.align_rows(y, labels).path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_that_round_to_zero_can_still_be_aligned(dtype):
    net = network(dtype)
    net.blocks["1.b"][...] = [0, -2000, 0, 0]
    (found,) = lc.alignment(net, X[:1], [[1, 1]])
    assert (found.path == 1).sum() == 2
    assert np.isfinite(found.log_probability)


def test_labels_of_a_trained_network_are_read():
    net = network()
    lc.fit(net, X, LABELS, tol=1e-3)
    for width in (1, 4):
        assert lc.label_error_rate(lc.decode(net, X, width=width), LABELS) == 0


REFUSED = {
    "another loss": (
        lambda: lc.decode(lc.Network([lc.LSTM(1, 2)]), [[[1.0]]]),
        ValueError,
        r"net: expected a network with the loss 'ctc', got one with 'squared_error'; decode_rows",
    ),
    "no network": (lambda: lc.decode(3, X), TypeError, "net: expected a Network, got 3"),
    "a batch": (lambda: lc.decode_rows(np.ones((2, 3, 4)) / 4), ValueError, r"y: .* one sequence"),
    "no probabilities": (
        lambda: lc.decode_rows([[1.0, 2.0]]),
        ValueError,
        r"y: expected probabilities, in rows that sum to 1, got row 0 with the sum 3",
    ),
    "negative": (lambda: lc.decode_rows([[2.0, -1.0]]), ValueError, r"a least number of -1"),
    "NaN": (lambda: lc.decode_rows([[np.nan, 1.0]]), ValueError, r"y: expected finite numbers"),
    "blank": (
        lambda: lc.decode_rows([[0.5, 0.5]], blank=2),
        ValueError,
        "expected blank to be one",
    ),
    "width": (lambda: lc.decode_rows([[1.0, 0.0]], width=0), ValueError, "width: expected an int"),
    "bonus of a path": (
        lambda: lc.decode_rows([[1.0, 0.0]], length_bonus=1.0),
        ValueError,
        r"length_bonus: expected none with width=1, the best path, got 1\.0; a width of 2",
    ),
    "scorer of a path": (
        lambda: lc.decode_rows([[1.0, 0.0]], scorer=len),
        ValueError,
        r"scorer: expected none with width=1",
    ),
    "scorer that is none": (
        lambda: lc.decode_rows([[1.0, 0.0]], scorer=1, width=2),
        TypeError,
        r"scorer: expected a callable or None, got 1",
    ),
    "what a scorer gives": (
        lambda: lc.decode_rows([[1.0, 0.0]], scorer=lambda labels: [0.0], width=2),
        ValueError,
        r"scorer: expected 2 logarithms of probabilities of what comes after \(\)",
    ),
    "a scorer that forbids all": (
        lambda: lc.decode_rows([[0.0, 1.0]], scorer=lambda labels: [0.0, -np.inf], width=2),
        ValueError,
        r"scorer: expected probabilities above 0 for some labels that the outputs allow",
    ),
    "too many labels": (
        lambda: lc.align_rows(np.ones((2, 2)) / 2, [1, 1]),
        ValueError,
        r"labels: expected labels that 2 steps have room for, got 2 labels, which take 3 steps",
    ),
    "labels of the network": (
        lambda: lc.alignment(network(), X, [*LABELS[:3], [1], LABELS[4]]),
        ValueError,
        r"labels\[3\]: expected labels that 0 steps have room for",
    ),
    "impossible labels": (
        lambda: lc.align_rows([[1.0, 0.0]], [1]),
        ValueError,
        r"labels: expected labels that can be, got some of the probability 0",
    ),
    "unequal lists": (
        lambda: lc.label_error_rate([[1]], [[1], [2]]),
        ValueError,
        r"predicted: expected the labels of 2 sequences",
    ),
    "nothing expected": (
        lambda: lc.label_error_rate([[1]], [[]]),
        ValueError,
        r"expected: expected one label or more",
    ),
    "a number": (lambda: lc.edit_distance(1, [1]), TypeError, r"a: expected a sequence, got 1"),
    "sets": (lambda: lc.edit_distance([{1}], []), TypeError, r"a: expected a sequence of labels"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return slow_distance(a[1:], b[1:])
    return 1 + min(slow_distance(a[1:], b), slow_distance(a, b[1:]), slow_distance(a[1:], b[1:]))


def test_edit_distance_is_the_least_number_of_changes():
    rng = np.random.default_rng(0)
    for _ in range(60):
        a, b = (tuple(rng.integers(3, size=rng.integers(7)).tolist()) for _ in range(2))
        assert lc.edit_distance(a, b) == slow_distance(a, b)
        assert lc.edit_distance(np.array(a), list(b)) == lc.edit_distance(b, a)


def test_an_n_gram_is_a_probability_of_what_comes_next():
    scorer = lc.NGram([[1, 2, 1], [2, 1]], 5, order=3, blank=4)
    for labels in ((), (1,), (2, 1), (0, 0, 3), (1, 2, 1, 2, 1)):
        assert np.exp(scorer(labels)).sum() == pytest.approx(1)
    assert scorer((1, 2)).argmax() == 1
    assert scorer((2, 1)).argmax() == 4  # the end
    # of five that came, two ends and three times 1, there are two different ones
    single = lc.NGram([[1], [1, 1]], 2, order=1)
    wanted = [(2 + 2 * 0.5) / (5 + 2), (3 + 2 * 0.5) / (5 + 2)]
    np.testing.assert_allclose(np.exp(single(())), wanted)

"""`fit` with `validation_split`, and the history as a table."""

import csv

import numpy as np
import pytest
from small_runs import quiet_fit

import lstmcore as lc


def network(**options):
    return lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0, **options)


def data(seed=1, n=20):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in rng.integers(1, 12, n)]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def test_a_split_goes_by_given_labels():
    X, Y = data(n=40)
    labels = np.arange(40) % 4
    _, held = network().prepare(X, Y).split(0.5, np.random.default_rng(0), labels)
    assert np.bincount(labels[held]).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("form", ["list", "array", "examples"])
@pytest.mark.parametrize("method", ["L-BFGS-B", "rprop", "adam"])
def test_a_split_is_the_data_in_two_parts(form, method):
    net, again = network(), network()
    X, Y = data()
    if form == "array":
        X = np.random.default_rng(0).normal(size=(20, 7, 2))
        Y = np.cumsum(X[:, :, :1], axis=1) / 3
    runs = {"L-BFGS-B": {"max_iter": 8}, "rprop": {"max_epochs": 9}}
    options = {"method": method, "l2": 0.01, **runs.get(method, {"max_epochs": 3, "batch_size": 4})}
    given = (net.prepare(X, Y),) if form == "examples" else (X, Y)
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    result = quiet_fit(net, *given, validation_split=0.25, seed=rng, **options)
    held = result.validation_indices
    assert held.tolist() == sorted(set(held)) and len(held) == 5
    kept = [b for b in range(20) if b not in held]
    if method == "adam":
        options["seed"] = same  # which makes batches after it has split
        same.permutation(20), same.integers(20)
    expected = quiet_fit(
        again,
        [X[b] for b in kept],
        [Y[b] for b in kept],
        validation_data=([X[b] for b in held], [Y[b] for b in held]),
        **options,
    )
    np.testing.assert_array_equal(net.params, again.params)
    for name in ("loss", "validation_loss"):
        np.testing.assert_array_equal(result.history[name], expected.history[name])


def test_a_seed_is_one_split_and_others_are_others():
    X, Y = data()
    splits = []
    for seed in (0, 0, 1, 2):
        result = quiet_fit(network(), X, Y, validation_split=0.3, max_iter=1, seed=seed)
        splits.append(tuple(result.validation_indices))
    assert splits[0] == splits[1] and len(set(splits)) == 3


def test_every_sequence_is_held_out_equally_often():
    examples = network().prepare(*data(n=10))
    rng, counts = np.random.default_rng(0), np.zeros(10)
    for _ in range(2000):
        counts[examples.split(0.3, rng)[1]] += 1
    assert abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.37, 0.5, 0.9])
def test_classes_have_the_same_shares_in_both_parts(share):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 4)], "cross_entropy", "last", seed=0)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2, 3], [40, 25, 10, 5]))
    examples = net.prepare(rng.normal(size=(80, 3, 2)), labels)
    for _ in range(20):
        first, second = examples.split(share, rng)
        assert len(second) == round(80 * share)
        assert sorted([*first, *second]) == list(range(80))
        counts = np.bincount(labels[second], minlength=4)
        assert (abs(counts - share * np.array([40, 25, 10, 5])) <= 1).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "squared_error"])
def test_flags_have_the_same_shares_in_both_parts(loss, dtype):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], loss, "last", dtype, seed=0)
    rng = np.random.default_rng(0)
    flags = rng.permutation(np.repeat([0.0, 1.0, np.nan], [54, 6, 5]))
    weights = np.where(np.isnan(flags), 0.0, 1.0)
    examples = net.prepare(rng.normal(size=(65, 3, 2)), flags[:, None], sample_weight=weights)
    for _ in range(20):
        _, second = examples.split(0.5, rng)
        assert len(second) == 30 and flags[second].sum() == 3
    X, Y = rng.normal(size=(60, 3, 2)), flags[weights > 0]
    result = quiet_fit(net, X, Y[:, None], validation_split=1 / 6, max_iter=1, seed=0)
    assert Y[result.validation_indices].sum() == 1


def test_numbers_and_several_flags_are_no_classes():
    rng = np.random.default_rng(0)
    for K, value in ((1, 0.5), (2, 1.0)):
        Y = np.zeros((40, K))
        Y[:20] = value
        net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, K)], "binary_cross_entropy", "last", seed=0)
        examples = net.prepare(rng.normal(size=(40, 3, 2)), Y)
        counts = {int((examples.split(0.5, rng)[1] < 20).sum()) for _ in range(50)}
        assert len(counts) > 2


def test_sequences_without_weight_are_not_held_out():
    X, Y = data(n=6)
    weights = [0.0, 1.0, 0.0, 2.0, 0.0, 1.0]
    for seed in range(10):
        result = quiet_fit(
            network(), X, Y, sample_weight=weights, validation_split=0.5, max_iter=1, seed=seed
        )
        assert set(result.validation_indices) < {1, 3, 5} and len(result.validation_indices) == 2


def test_each_part_has_a_sequence():
    for share, count in ((1e-9, 1), (1 - 1e-9, 1)):
        result = quiet_fit(network(), *data(n=2), validation_split=share, max_iter=1, seed=0)
        assert len(result.validation_indices) == count


def test_all_restarts_have_one_split():
    X, Y = data()
    result = quiet_fit(
        network(), X, Y, validation_split=0.3, n_restarts=3, max_iter=3, patience=2, seed=0
    )
    alone = quiet_fit(network(), X, Y, validation_split=0.3, max_iter=3, patience=2, seed=0)
    np.testing.assert_array_equal(result.validation_indices, alone.validation_indices)
    assert result.restarts[0].value == alone.history["validation_loss"].min()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"validation_split": 0}, "validation_split: expected a number > 0, got 0"),
        ({"validation_split": 1.0}, "validation_split: expected a number > 0 and < 1, got 1.0"),
        ({"validation_split": "a"}, "validation_split: expected a real number, got 'a'"),
        (
            {"validation_data": data()},
            "validation_split: expected None beside validation_data, got",
        ),
        ({"sample_weight": [1.0] + 19 * [0.0]}, "validation_split: expected two sequences or more"),
        ({"seed": 1.5}, "seed: expected None, an integer"),
    ],
)
def test_bad_arguments_are_named(changed, words):
    net = network()
    before = net.params.copy()
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        lc.fit(net, *data(), **{"validation_split": 0.2, **changed})
    np.testing.assert_array_equal(net.params, before)


# ---------------------------------------------------------------------------------------- history


def test_the_history_is_a_dict_and_a_table(tmp_path):
    result = quiet_fit(network(), *data(), max_iter=4, validation_split=0.2, seed=0)
    history, path = result.history, tmp_path / "history.csv"
    assert isinstance(history, dict) and dict(history) == history
    history.to_csv(path)
    with open(path, newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["iteration", *history]
    assert [int(row[0]) for row in rows] == list(range(5))
    for name, column in zip(names[1:], list(zip(*rows, strict=True))[1:], strict=True):
        np.testing.assert_array_equal(np.array(column, dtype=float), history[name])
    assert path.read_text().splitlines()[1].split(",")[4] == "1"  # counts are integers
    with pytest.raises(TypeError, match="path: expected a str or a path, got 3"):
        history.to_csv(3)

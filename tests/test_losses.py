"""Losses: value and delta against formulas, limits without overflow, targets checked by name."""

import numpy as np
import pytest

from lstmcore.losses import LOSSES, find_loss
from lstmcore.sequences import make_batch

B, T, K = 3, 4, 5
LENGTHS = np.array([4, 0, 2])
BATCH = make_batch(np.zeros((B, T, 1)), 1, "float64", lengths=LENGTHS)
SCORED = BATCH.valid
N = BATCH.n_steps


def targets_of(name, rng, shape):
    if name == "squared_error":
        return rng.normal(size=shape)
    if name == "cross_entropy":
        rows = rng.random(shape)
        return rows / rows.sum(-1, keepdims=True)
    return rng.random(shape)


def prepare(name, Y, *, batch=BATCH, per_sequence=False, K=K, dtype="float64", **rest):
    return find_loss(name).prepare(Y, batch, K, per_sequence, dtype, **rest)


def values(name, Y, **rest):
    return prepare(name, Y, **rest).values


def read_out(name, Y, **rest):
    """Targets of as many whole sequences as there are rows."""
    batch = make_batch(np.zeros((len(Y), 1, 1)), 1, "float64")
    return prepare(name, Y, batch=batch, per_sequence=True, **rest)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("per_sequence", [False, True], ids=["every step", "read out"])
def test_delta_is_the_derivative_of_the_value(name, per_sequence):
    rng = np.random.default_rng(0)
    shape, terms = ((B,), B) if per_sequence else ((B, T), N)
    a = rng.normal(size=(terms, K))
    weights = rng.random(terms)
    weights[1] = 0
    targets = prepare(name, targets_of(name, rng, (*shape, K)), per_sequence=per_sequence)
    _, delta = find_loss(name).value_and_delta(a.copy(), targets, weights)
    direction = rng.normal(size=a.shape)
    step = 1e-5
    up, _ = find_loss(name).value_and_delta(a + step * direction, targets, weights)
    down, _ = find_loss(name).value_and_delta(a - step * direction, targets, weights)
    assert (up - down) / (2 * step) == pytest.approx(np.vdot(delta, direction), rel=1e-8)
    assert not delta[weights == 0].any()


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_definition(name):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(B, K))
    z = targets_of(name, rng, (B, K))
    if name == "squared_error":
        expected = 0.5 * (a - z) ** 2
    elif name == "cross_entropy":
        y = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        expected = -z * np.log(y)
    else:
        y = 1 / (1 + np.exp(-a))
        expected = -z * np.log(y) - (1 - z) * np.log(1 - y)
    weights = np.array([1.0, 0.5, 0.0])
    value, _ = find_loss(name).value_and_delta(a.copy(), read_out(name, z), weights)
    assert type(value) is float
    assert value == pytest.approx((expected * weights[:, None]).sum(), rel=1e-14)


def test_labels_and_one_hot_rows_are_the_same_targets():
    rng = np.random.default_rng(2)
    a, labels = rng.normal(size=(N, K)), rng.integers(K, size=(B, T))
    loss = find_loss("cross_entropy")
    weights = np.full(N, 1 / N)
    by_label = loss.value_and_delta(a.copy(), prepare("cross_entropy", labels), weights)
    by_row = loss.value_and_delta(a.copy(), prepare("cross_entropy", np.eye(K)[labels]), weights)
    assert by_label[0] == pytest.approx(by_row[0], rel=1e-15)
    np.testing.assert_allclose(by_label[1], by_row[1], atol=1e-17)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_extreme_pre_activations_do_not_overflow(name, dtype):
    large = np.finfo(dtype).max / 4
    a = np.array([[large, -large, 0], [-large, large, 0]], dtype=dtype)
    Y = np.array([[1, 0, 0], [1, 0, 0]], dtype=dtype)
    targets = read_out(name, Y, K=3, dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        value, delta = find_loss(name).value_and_delta(a.copy(), targets, np.ones(2))
    assert np.isfinite(value) and value >= large
    assert delta.dtype == dtype and np.isfinite(delta).all() and np.abs(delta).max() <= 1


@pytest.mark.parametrize("name", LOSSES)
def test_non_finite_outputs_give_a_non_finite_value_without_a_warning(name):
    a = np.full((2, K), np.inf)
    targets = read_out(name, np.full((2, K), 1 / K))
    with np.errstate(all="raise"):
        value, _ = find_loss(name).value_and_delta(a.copy(), targets, np.ones(2))
    assert not np.isfinite(value)


def test_the_value_is_summed_in_float64():
    a = np.full((100_000, 1), 1.1, dtype=np.float32)
    targets = read_out("squared_error", np.zeros(len(a)), K=1, dtype="float32")
    value, delta = find_loss("squared_error").value_and_delta(a.copy(), targets, np.ones(len(a)))
    assert value == pytest.approx(len(a) * 0.5 * float(a[0, 0]) ** 2, rel=1e-12)
    assert delta.dtype == np.float32


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_pre_activations_are_written_to(name):
    rng = np.random.default_rng(3)
    a, Y = rng.normal(size=(B, K)), targets_of(name, rng, (B, K))
    weights = np.ones(B)
    targets = read_out(name, Y)
    assert not np.shares_memory(targets.values, Y)
    for array in (Y, targets.values, weights):
        array.setflags(write=False)
    _, delta = find_loss(name).value_and_delta(a, targets, weights)
    assert np.shares_memory(delta, a)


def test_lists_of_unequal_lengths_equal_their_padded_form():
    rng = np.random.default_rng(4)
    padded = np.where(SCORED[..., None], rng.normal(size=(B, T, K)), 0)
    listed = [padded[b, :length] for b, length in enumerate(LENGTHS)]
    np.testing.assert_array_equal(values("squared_error", listed), padded[SCORED])
    np.testing.assert_array_equal(values("squared_error", padded), padded[SCORED])
    labels = np.where(SCORED, rng.integers(K, size=(B, T)), 0)
    listed = [labels[b, :length] for b, length in enumerate(LENGTHS)]
    np.testing.assert_array_equal(values("cross_entropy", listed), labels[SCORED])
    np.testing.assert_array_equal(values("cross_entropy", labels), labels[SCORED])


def test_one_output_may_leave_the_last_axis_out():
    Y = np.where(SCORED, 1.5, 0)
    rows = Y[SCORED][:, None]
    np.testing.assert_array_equal(values("squared_error", Y, K=1), rows)
    listed = [Y[b, :length] for b, length in enumerate(LENGTHS)]
    np.testing.assert_array_equal(values("squared_error", listed, K=1), rows)


def test_targets_follow_a_mask_with_holes():
    mask = np.array([[True, False, True], [False, False, True]])
    batch = make_batch(np.zeros((2, 3, 1)), 1, "float64", mask=mask)
    array = values("squared_error", np.array([[1, 2, 3], [4, 5, 6]]), batch=batch, K=1)
    np.testing.assert_array_equal(array[:, 0], [1, 3, 6])
    listed = values("squared_error", [[1, 3], [6]], batch=batch, K=1)
    np.testing.assert_array_equal(listed, array)


def test_what_is_not_scored_is_never_looked_at():
    Y = np.full((B, T, K), np.nan)
    Y[SCORED] = 0.25
    np.testing.assert_array_equal(values("squared_error", Y), np.full((N, K), 0.25))
    labels = np.where(SCORED, 1, -100)
    assert (values("cross_entropy", labels) == 1).all()
    scored = np.ones(N, bool)
    scored[0], labels[0, 0] = False, K + 1
    assert values("cross_entropy", labels, scored=scored)[0] == 0


ROWS = np.full((B, K), 1 / K)
READ_OUT = {"per_sequence": True}
BAD_TARGETS = {
    "wrong shape": ("squared_error", ROWS, {}, ValueError, r"Y: expected shape \(3, 4, 5\)"),
    "wrong rank": ("cross_entropy", ROWS[:, :, None], READ_OUT, ValueError, "Y: expected sh"),
    "complex": ("squared_error", ROWS + 1j, READ_OUT, TypeError, "Y: expected real"),
    "object": ("squared_error", ROWS.astype(object), READ_OUT, TypeError, "dtype obj"),
    "strings": ("cross_entropy", ["a", "b", "c"], READ_OUT, TypeError, "dtype <U1"),
    "ragged": ("squared_error", [[1], [1, 2], []], READ_OUT, ValueError, "array of numb"),
    "list too short": (
        "squared_error",
        [ROWS],
        {},
        ValueError,
        "of 3 sequences, got a list of length 1",
    ),
    "list, wrong length": (
        "squared_error",
        [np.zeros((n, K)) for n in (4, 1, 2)],
        {},
        ValueError,
        r"Y\[1\]: expected shape \(0, 5\), got \(1, 5\)",
    ),
    "list, mixed forms": (
        "cross_entropy",
        [np.zeros(4, int), np.zeros(0, int), ROWS[:2]],
        {},
        ValueError,
        r"Y\[2\]: expected steps of shape \(\) as in Y\[0\], got \(5,\)",
    ),
    "label too large": ("cross_entropy", [0, K, 1], READ_OUT, ValueError, "0 to 4, got 5"),
    "label negative": ("cross_entropy", [0, -1, 1], READ_OUT, ValueError, "0 to 4, got -1"),
    "label real": ("cross_entropy", [0.0, 1.0, 1.0], READ_OUT, TypeError, "integer class"),
    "row sum": ("cross_entropy", 2 * ROWS, READ_OUT, ValueError, "sum to 1, got a sum of 2"),
    "row negative": ("cross_entropy", ROWS - 1, READ_OUT, ValueError, "probabilities >= 0"),
    "not a probability": ("binary_cross_entropy", ROWS + 1, READ_OUT, ValueError, "0 and 1"),
    "NaN": ("squared_error", ROWS * np.nan, READ_OUT, ValueError, "Y: expected finite"),
    "too large for the dtype": (
        "squared_error",
        ROWS * 1e300,
        {"per_sequence": True, "dtype": "float32"},
        ValueError,
        "finite",
    ),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_are_named(case):
    name, Y, options, error, message = BAD_TARGETS[case]
    with pytest.raises(error, match=message):
        prepare(name, Y, **options)


@pytest.mark.parametrize("name, error", [("mse", ValueError), (None, TypeError), (3, TypeError)])
def test_unknown_losses_are_named(name, error):
    with pytest.raises(error, match="loss: expected one of squared_error, cross_entropy, binary"):
        find_loss(name)

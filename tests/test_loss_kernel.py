"""The losses' kernel: against its twin, central differences, mpmath; rows that count nothing."""

import mpmath
import numpy as np
import pytest
from helpers import same_bits

from lstmcore import _reference

SQUARED_ERROR, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, POISSON = range(4)
LOSSES = {
    "squared error": (SQUARED_ERROR, "numbers"),
    "cross entropy, labels": (CROSS_ENTROPY, "labels"),
    "cross entropy, probabilities": (CROSS_ENTROPY, "distributions"),
    "binary cross entropy": (BINARY_CROSS_ENTROPY, "probabilities"),
    "Poisson": (POISSON, "counts"),
}
COLUMNS = [1, 2, 3, 7, 8, 9, 32, 33, 100]  # around the width of vectors and the end of either way

losses = pytest.mark.parametrize("loss, form", LOSSES.values(), ids=LOSSES)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
columns = pytest.mark.parametrize("K", COLUMNS)


def problem(form, N, K, dtype, scale=3.0, seed=0):
    """Pre-activations, targets and weights, some of these 0."""
    rng = np.random.default_rng(seed)
    a = rng.normal(scale=scale, size=(N, K)).astype(dtype)
    weights = rng.random(N) * (rng.random(N) < 0.8)
    if form == "labels":
        return a, rng.integers(K, size=N), weights
    targets = rng.random((N, K)) * (rng.random((N, K)) < 0.7)
    if form == "numbers":
        targets = rng.normal(scale=scale, size=(N, K))
    elif form == "counts":
        targets = rng.poisson(2.0, (N, K))
    elif form == "distributions":
        targets[:, -1] += 0.1
        targets /= targets.sum(axis=1, keepdims=True)
    return a, targets.astype(dtype), weights


def run(kernels, loss, a, targets, weights=None, scale=1.0, n_threads=1):
    """Value and delta; what stands before and after the rows stays."""
    memory = np.full(a.size + 256, -7.5, a.dtype)
    rows = memory[128 : 128 + a.size].reshape(a.shape)
    rows[...] = a
    value = kernels.loss_rows(loss, rows, targets, weights, scale, n_threads)
    assert type(value) is float
    assert (memory[:128] == -7.5).all()
    assert (memory[128 + a.size :] == -7.5).all()
    return value, rows


@dtypes
@columns
@losses
def test_value_and_delta_are_those_of_the_twin(kernels, loss, form, K, dtype):
    eps = np.finfo(dtype).eps
    for N in (0, 1, 2, 7, 8, 9, 17, 200):
        for scale in (3.0, 1e4):
            a, targets, weights = problem(form, N, K, dtype, scale, seed=N)
            value, delta = run(kernels, loss, a, targets, weights, 0.3)
            expected, twin = run(_reference, loss, a, targets, weights, 0.3)
            assert value == pytest.approx(expected, rel=1e-13)
            size = scale if loss == SQUARED_ERROR else 1
            np.testing.assert_allclose(delta, twin, rtol=4 * eps, atol=4 * eps * size)


@dtypes
@losses
def test_no_weights_are_weights_of_one(kernels, loss, form, dtype):
    for K in (3, 40):
        a, targets, _ = problem(form, 19, K, dtype)
        value, delta = run(kernels, loss, a, targets, None, 0.7)
        expected, wanted = run(kernels, loss, a, targets, np.ones(19), 0.7)
        assert value == expected
        same_bits(delta, wanted)
        twin, _ = run(_reference, loss, a, targets, None, 0.7)
        assert value == pytest.approx(twin, rel=1e-13)


@pytest.mark.parametrize("K", [1, 3, 9, 40])
@losses
def test_delta_is_the_derivative_of_the_value(implementation, loss, form, K):
    a, targets, weights = problem(form, 11, K, "float64")
    _, delta = run(implementation, loss, a, targets, weights, 0.7)
    direction = np.random.default_rng(1).normal(size=a.shape)
    step = 1e-5
    up, _ = run(implementation, loss, a + step * direction, targets, weights, 0.7)
    down, _ = run(implementation, loss, a - step * direction, targets, weights, 0.7)
    assert (up - down) / (2 * step) == pytest.approx(np.vdot(delta, direction), rel=1e-8, abs=1e-9)


@dtypes
@losses
@pytest.mark.parametrize("N, K", [(513, 3), (5000, 2), (70_000, 1), (1500, 40)])
def test_threads_change_no_bit(kernels, loss, form, N, K, dtype):
    a, targets, weights = problem(form, N, K, dtype)
    value, delta = run(kernels, loss, a, targets, weights, 1 / N)
    expected, twin = run(_reference, loss, a, targets, weights, 1 / N)
    assert value == pytest.approx(expected, rel=1e-13)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(delta, twin, rtol=4 * eps, atol=4 * eps * np.abs(twin).max())
    for n_threads in (2, 3):
        other, by_threads = run(kernels, loss, a, targets, weights, 1 / N, n_threads)
        assert other == value
        same_bits(by_threads, delta)


@dtypes
@columns
@losses
def test_a_row_does_not_depend_on_its_place_or_on_other_rows(kernels, loss, form, K, dtype):
    a, targets, weights = problem(form, 21, K, dtype)
    _, delta = run(kernels, loss, a, targets, weights)
    for n in range(21):
        some = slice(n, n + 1)
        _, alone = run(kernels, loss, a[some], targets[some], weights[some])
        same_bits(alone[0], delta[n])


@dtypes
@columns
@losses
def test_a_row_of_weight_0_counts_nothing_whatever_it_holds(implementation, loss, form, K, dtype):
    a, targets, weights = problem(form, 13, K, dtype)
    weights[[0, 4, 5, 12]] = 0
    value, delta = run(implementation, loss, a, targets, weights)
    for wrong in (np.nan, np.inf, -np.inf):
        a[[0, 5, 12]], a[4, -1] = wrong, wrong
        other, with_wrong = run(implementation, loss, a, targets, weights)
        assert other == value
        same_bits(with_wrong, delta)
        assert not with_wrong[weights == 0].any()
    assert run(implementation, loss, a, targets, np.zeros(13))[0] == 0


@dtypes
@columns
@losses
def test_a_scored_nan_is_a_nan_wherever_it_is(implementation, loss, form, K, dtype):
    a, targets, _ = problem(form, 3, K, dtype)
    for k in {0, K // 2, K - 1}:
        b = a.copy()
        b[1, k] = np.nan
        value, delta = run(implementation, loss, b, targets, np.ones(3))
        assert np.isnan(value)
        assert np.isnan(delta[1, k])
        assert np.isfinite(delta[[0, 2]]).all()
        b[1, k] = np.inf
        value, _ = run(implementation, loss, b, targets, np.ones(3))
        assert not np.isfinite(value)


@dtypes
@losses
def test_a_nan_among_targets_and_weights_is_not_lost(implementation, loss, form, dtype):
    for K in (3, 40):
        a, targets, _ = problem(form, 5, K, dtype)
        weights = np.ones(5)
        weights[2] = np.nan
        assert np.isnan(run(implementation, loss, a, targets, weights)[0])
        if form != "labels":
            targets[3, 1] = np.nan
            assert np.isnan(run(implementation, loss, a, targets)[0])


@dtypes
@columns
def test_labels_are_rows_with_a_one(kernels, K, dtype):
    a, labels, weights = problem("labels", 21, K, dtype)
    value, delta = run(kernels, CROSS_ENTROPY, a, labels, weights)
    by_row = run(kernels, CROSS_ENTROPY, a, np.eye(K, dtype=dtype)[labels], weights)
    assert by_row[0] == value
    same_bits(by_row[1], delta)


@dtypes
@columns
def test_equal_pre_activations_are_equal_probabilities(kernels, K, dtype):
    eps, labels = float(np.finfo(dtype).eps), np.array([0, K - 1])
    for size in (0.0, 1e4, -1e4, np.finfo(dtype).max):
        value, delta = run(kernels, CROSS_ENTROPY, np.full((2, K), size, dtype), labels)
        assert value == pytest.approx(2 * np.log(K), rel=1e-15)
        np.testing.assert_allclose(delta[0, 1:], 1 / K, rtol=eps)
        assert delta[1, -1] == pytest.approx(1 / K - 1, rel=eps)


@dtypes
@pytest.mark.parametrize("K", [3, 40])
def test_an_output_of_probability_zero_costs_only_where_it_is_the_target(implementation, K, dtype):
    a = np.zeros((1, K), dtype)
    a[0, 1] = -np.inf
    rows = np.eye(K, dtype=dtype)
    for at, cost in ((0, np.log(K - 1)), (1, np.inf)):
        for targets in (np.array([at]), rows[at : at + 1]):
            value, delta = run(implementation, CROSS_ENTROPY, a, targets)
            assert value == pytest.approx(cost)
            assert delta[0, 1] == (-1 if at == 1 else 0)


def test_an_infinite_loss_is_infinite(kernels):
    a = np.array([[1e200, 0.0], [1.0, 0.0]])
    value, delta = run(kernels, SQUARED_ERROR, a, np.zeros((2, 2)), np.ones(2))
    assert value == np.inf
    np.testing.assert_array_equal(delta, a)
    a = np.full((600, 2), [np.finfo(float).max, -np.finfo(float).max])
    assert run(kernels, CROSS_ENTROPY, a, np.ones(600, int))[0] == np.inf


@dtypes
@columns
def test_counts_cost_no_more_than_they_must(implementation, K, dtype):
    """An output of 0 is free where the count is 0; one beyond the numbers costs infinitely much."""
    targets = np.zeros((3, K), dtype)
    targets[2] = 2
    a = np.zeros((3, K), dtype)
    a[0], a[1], a[2] = -np.inf, -1e4, -1e4
    value, delta = run(implementation, POISSON, a, targets)
    assert value == pytest.approx(2e4 * K)
    np.testing.assert_array_equal(delta, -targets)
    for large in (709.9, 1e30, np.inf):
        a[2, -1] = large
        assert run(implementation, POISSON, a, targets)[0] == np.inf
    a[2, -1] = 100.0  # whose exponential float32 cannot hold
    assert np.isfinite(run(implementation, POISSON, a, targets)[0])


# ------------------------------------------------------------------------------------- accuracy


def exact(loss, a, z):
    """The term of one row, its outputs, and the size of what the term is a sum of."""
    if loss == SQUARED_ERROR:
        term = mpmath.fsum((x - t) ** 2 for x, t in zip(a, z, strict=True)) / 2
        return term, a, term
    if loss == POISSON:
        y, parts = [mpmath.exp(x) for x in a], [t * x for x, t in zip(a, z, strict=True)]
        return mpmath.fsum(y) - mpmath.fsum(parts), y, mpmath.fsum(y) + mpmath.fsum(map(abs, parts))
    if loss == CROSS_ENTROPY:
        top = max(a)
        e = [mpmath.exp(x - top) for x in a]
        total = mpmath.fsum(e)
        score = mpmath.fsum(t * (x - top) for x, t in zip(a, z, strict=True))
        term = mpmath.log(total) - score
        return term, [x / total for x in e], term
    softplus = [max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))) for x in a]
    term = mpmath.fsum(s - x * t for s, x, t in zip(softplus, a, z, strict=True))
    return term, [1 / (1 + mpmath.exp(-x)) for x in a], term


@dtypes
@pytest.mark.parametrize("K", [1, 2, 3, 9, 33, 100])
@losses
def test_value_and_delta_are_exact_but_for_a_few_roundings(kernels, loss, form, K, dtype):
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    largest = 80.0 if loss == POISSON else np.inf  # whose exponential float32 can hold
    for scale in (1e-3, 1.0, 30.0, 700.0, 1e4):
        a, targets, _ = problem(form, 6, K, dtype, scale)
        a = np.minimum(a, largest)
        a[0] = a[0, 0]
        if form == "labels":  # outputs that have come to their targets
            targets[1:4] = a[1:4].argmax(axis=1)
        for n in range(6):
            value, delta = run(kernels, loss, a[n : n + 1], targets[n : n + 1], np.ones(1), 1.5)
            z = np.eye(K)[targets[n]] if form == "labels" else targets[n]
            with mpmath.workdps(700):  # of 1 + e^-700 too
                a_n, z = ([mpmath.mpf(x) for x in row.tolist()] for row in (a[n], z))
                term, y, size = exact(loss, a_n, z)
                assert abs(value - 1.5 * term) <= 4 * np.finfo(float).eps * 1.5 * size + 1e-307
                for got, p, t in zip(delta[0].tolist(), y, z, strict=True):
                    # Between numbers, and at targets of 0 and 1, nothing cancels.
                    is_near = form == "numbers" or (form != "counts" and t in (0, 1))
                    size = abs(p - t) if is_near else max(p, t)
                    assert abs(got - 1.5 * (p - t)) <= 4 * eps * 1.5 * size + 2 * tiny


def test_the_sum_of_many_terms_is_exact_but_for_a_few_roundings(kernels):
    a = np.full((1_000_000, 1), 1.1, np.float32)
    value, _ = run(kernels, SQUARED_ERROR, a, np.zeros_like(a))
    assert value == pytest.approx(len(a) * 0.5 * float(a[0, 0]) ** 2, rel=2e-14)


# --------------------------------------------------------------------------------- wrong arrays

A, Z, W = np.zeros((4, 3)), np.zeros((4, 3)), np.ones(4)
READ_ONLY = np.zeros((4, 3))
READ_ONLY.setflags(write=False)
WRONG = {
    "a in another order": (np.zeros((3, 4)).T, Z, W, "a: expected"),
    "a read-only": (READ_ONLY, Z, W, "a: expected"),
    "a of integers": (np.zeros((4, 3), int), Z, W, r"a: .* dtype int64"),
    "a a vector": (np.zeros(4), Z, W, r"a: .* shape \(4,\)"),
    "a without columns": (np.zeros((4, 0)), np.zeros((4, 0)), W, r"a: .* shape \(4, 0\)"),
    "targets too few": (A, Z[:3], W, r"targets: .* 4 rows of 3 .* shape \(3, 3\)"),
    "targets too narrow": (A, np.zeros((4, 2)), W, r"targets: .* shape \(4, 2\)"),
    "targets of another type": (A, Z.astype("float32"), W, "targets: .* dtype float32"),
    "labels too few": (A, np.zeros(3, np.intp), W, r"targets: .* shape \(3,\)"),
    "labels of another type": (A, np.zeros(4, np.int16), W, "targets: .* dtype int16"),
    "labels swapped": (A, np.zeros(4, ">i8"), W, "targets: .* dtype >i8"),
    "weights too few": (A, Z, W[:3], r"weights: .* 4 numbers, got shape \(3,\)"),
    "weights of another type": (A, Z, W.astype("float32"), "weights: .* dtype float32"),
    "weights with gaps": (A, Z, np.ones(8)[::2], "weights: expected a contiguous"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_would_be_misread_are_refused(kernels, case):
    a, targets, weights, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        kernels.loss_rows(CROSS_ENTROPY, a, targets, weights, 1.0, 1)


def test_labels_are_for_cross_entropy_alone(kernels):
    for loss in (SQUARED_ERROR, BINARY_CROSS_ENTROPY, POISSON):
        with pytest.raises(ValueError, match="targets: expected"):
            kernels.loss_rows(loss, A.copy(), np.zeros(4, np.intp), W, 1.0, 1)

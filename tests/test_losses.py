"""Losses: value and delta against formulas, limits without overflow, targets checked by name."""

import pickle
import warnings

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.losses import LOSSES, Huber, Quantile, find_loss
from lstmcore.sequences import make_batch

B, T, K = 3, 4, 5
OF_STEPS = [name for name, loss in LOSSES.items() if loss.terms == "steps"]
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
    if name == "mixture":
        return rng.normal(size=(*shape[:-1], 1))
    return rng.random(shape)


def outputs_of(name):
    return 6 if name == "mixture" else K  # of two components


def prepare(name, Y, *, batch=BATCH, per_sequence=False, K=None, dtype="float64", **rest):
    K = outputs_of(name) if K is None else K
    return find_loss(name).prepare(Y, batch, K, per_sequence, dtype, **rest)


def values(name, Y, **rest):
    return prepare(name, Y, **rest).values


def read_out(name, Y, **rest):
    """Targets of as many whole sequences as there are rows."""
    batch = make_batch(np.zeros((len(Y), 1, 1)), 1, "float64")
    return prepare(name, Y, batch=batch, per_sequence=True, **rest)


@pytest.mark.parametrize("name", OF_STEPS)
@pytest.mark.parametrize("per_sequence", [False, True], ids=["every step", "read out"])
def test_delta_is_the_derivative_of_the_value(name, per_sequence):
    rng = np.random.default_rng(0)
    shape, terms = ((B,), B) if per_sequence else ((B, T), N)
    a = rng.normal(size=(terms, outputs_of(name)))
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


@pytest.mark.parametrize("name", OF_STEPS)
def test_values_are_those_of_the_definition(name):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(B, outputs_of(name)))
    z = targets_of(name, rng, (B, K))
    if name == "squared_error":
        expected = 0.5 * (a - z) ** 2
    elif name == "cross_entropy":
        y = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        expected = -z * np.log(y)
    elif name == "poisson":
        expected = np.exp(a) - z * a
    elif name == "huber":
        e = np.abs(a - z)
        expected = np.where(e <= 1, 0.5 * e**2, e - 0.5)
    elif name == "quantile":
        expected = 0.5 * np.abs(a - z)
    elif name == "mixture":
        shares, means, scales = np.exp(a[:, :2]), a[:, 2:4], np.exp(a[:, 4:])
        shares /= shares.sum(axis=1, keepdims=True)
        each = np.exp(-(((z - means) / scales) ** 2) / 2) / (scales * np.sqrt(2 * np.pi))
        expected = -np.log((shares * each).sum(axis=1, keepdims=True))
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


@pytest.mark.parametrize("name", OF_STEPS)
def test_non_finite_outputs_give_a_non_finite_value_without_a_warning(name):
    a = np.full((2, outputs_of(name)), np.inf)
    targets = read_out(name, targets_of(name, np.random.default_rng(0), (2, K)))
    with np.errstate(all="raise"):
        value, _ = find_loss(name).value_and_delta(a.copy(), targets, np.ones(2))
    assert not np.isfinite(value)


def test_the_value_is_summed_in_float64():
    a = np.full((100_000, 1), 1.1, dtype=np.float32)
    targets = read_out("squared_error", np.zeros(len(a)), K=1, dtype="float32")
    value, delta = find_loss("squared_error").value_and_delta(a.copy(), targets, np.ones(len(a)))
    assert value == pytest.approx(len(a) * 0.5 * float(a[0, 0]) ** 2, rel=1e-12)
    assert delta.dtype == np.float32


@pytest.mark.parametrize("name", OF_STEPS)
def test_only_the_pre_activations_are_written_to(name):
    rng = np.random.default_rng(3)
    a, Y = rng.normal(size=(B, outputs_of(name))), targets_of(name, rng, (B, K))
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


# ------------------------------------------------------------------------------------------ counts


def test_a_fit_of_counts_finds_their_rates():
    """Of a rate that grows tenfold over the inputs; what a squared error would call far."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 4000).reshape(4, 1000, 1)
    counts = rng.poisson(np.exp(3 + 1.2 * x))
    net = lc.Network([lc.Dense(1, 1)], "poisson", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no word of scale, none of an overflow on the way
        result = lc.fit(net, x, counts, tol=1e-6)
    np.testing.assert_allclose(net.params, [1.2, 3], atol=0.02)
    assert result.fun < 0  # ln z! is left out
    np.testing.assert_allclose(net.predict(x), np.exp(net.params[0] * x + net.params[1]))


def test_a_fit_that_knows_no_more_than_the_mean_count_is_told_so():
    """Whatever the sign of the loss, which says nothing alone."""
    counts = np.random.default_rng(0).poisson([[2.0], [200.0]], (2, 100))
    for rate in counts:
        net = lc.Network([lc.Dense(1, 1)], "poisson", seed=0)
        with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs"):
            lc.fit(net, np.zeros((1, 100, 1)), rate[None], tol=1e-6)
        np.testing.assert_allclose(np.exp(net.params[1]), rate.mean(), rtol=1e-4)


def test_no_outputs_are_better_than_the_targets_themselves():
    rng = np.random.default_rng(1)
    targets = read_out("poisson", rng.poisson(1.0, (20, K)))
    weights, loss = rng.random(20), find_loss("poisson")
    with np.errstate(divide="ignore"):
        at_targets = np.log(targets.values)
    value, delta = loss.value_and_delta(at_targets, targets, weights)
    assert value == pytest.approx(loss.least_value(targets, weights), rel=1e-13)
    np.testing.assert_allclose(delta, 0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_overflow_of_counts_is_an_infinite_loss_without_a_warning(dtype):
    net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 1)], "poisson", dtype=dtype, seed=0)
    net.params[-1] = 1e4
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        f, _ = net.loss_and_grad(np.ones((2, 3, 1)), np.ones((2, 3)))
        assert f == net.loss(np.ones((2, 3, 1)), np.ones((2, 3))) == np.inf
        assert (net.predict(np.ones((2, 3, 1))) == np.inf).all()


# ----------------------------------------------------------------- losses of errors, with options

OF_ERRORS = [
    Huber(0.3),
    Huber(1.7),
    Quantile(0.1),
    Quantile(0.8),
    Quantile([0.1, 0.25, 0.5, 0.6, 0.9]),
]
of_errors = pytest.mark.parametrize("loss", OF_ERRORS, ids=repr)


def definition(loss, a, z):
    """The loss of one output and one target."""
    e = a - z
    if isinstance(loss, Huber):
        size = abs(e)
        return e**2 / 2 if size <= loss.delta else loss.delta * (size - loss.delta / 2)
    return loss * -e if e < 0 else (1 - loss) * e


def data_of(loss, rng, n, dtype="float64"):
    """Pre-activations (n, K) and prepared targets."""
    z = rng.normal(size=(n, loss.target_size(K)))
    batch = make_batch(np.zeros((n, 1, 1)), 1, dtype)
    return rng.normal(size=(n, K)).astype(dtype), loss.prepare(z, batch, K, True, dtype)


@of_errors
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_loss_of_errors_is_its_definition_and_delta_its_derivative(loss, dtype):
    rng = np.random.default_rng(0)
    a, targets = data_of(loss, rng, 40, dtype)
    weights = rng.random(40)
    z = np.broadcast_to(targets.values, a.shape).astype(float)
    parts = [loss] * K if isinstance(loss, Huber) else np.broadcast_to(loss.q, K)
    expected = sum(
        weights[n] * definition(parts[k], float(a[n, k]), z[n, k]) for n, k in np.ndindex(a.shape)
    )
    value, delta = loss.value_and_delta(a.copy(), targets, weights)
    assert value == pytest.approx(expected, rel=1e-13)
    assert delta.dtype == dtype
    step = 1e-5  # smaller than the distance of any error from a bend
    slopes = np.empty(a.shape)
    for n, k in np.ndindex(a.shape):
        up, down = (definition(parts[k], float(a[n, k]) + h, z[n, k]) for h in (step, -step))
        slopes[n, k] = weights[n] * (up - down) / (2 * step)
    rtol = 1e-8 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(delta, slopes, rtol=rtol, atol=1e-10)


@of_errors
def test_rows_of_weight_zero_count_nothing_whatever_they_hold(loss):
    a, targets = data_of(loss, np.random.default_rng(1), 3)
    a[1] = np.inf
    value, delta = loss.value_and_delta(a.copy(), targets, np.array([1.0, 0.0, 2.0]))
    some = np.array([0, 2])
    alone, rows = loss.value_and_delta(a[some], targets.take(some), np.array([1.0, 2.0]))
    assert value == alone
    np.testing.assert_array_equal(delta[some], rows)
    assert not delta[1].any()


@of_errors
def test_the_best_constant_is_the_best(loss):
    rng = np.random.default_rng(2)
    for n in (1, 2, 7, 60):
        _, targets = data_of(loss, rng, n)
        weights = np.where(rng.random(n) < 0.3, 0.0, rng.random(n))
        weights[0] = 0.5
        best = loss.best_constant(targets, weights, K)
        assert best.shape == (K,)
        f, _ = loss.value_and_delta(np.tile(best, (n, 1)), targets, weights)
        for step in (1e-3, 0.1, 1.0):
            for k in range(K):
                for sign in (-1, 1):
                    a = np.tile(best, (n, 1))
                    a[:, k] += sign * step
                    assert loss.value_and_delta(a, targets, weights)[0] >= f * (1 - 1e-14)


def test_errors_of_zero_have_no_slope():
    for loss in (Huber(0.5), Quantile(0.2)):
        targets = read_out(loss, np.ones((2, K)))
        value, delta = loss.value_and_delta(np.ones((2, K)), targets, np.ones(2))
        assert (value, np.signbit(value)) == (0, False)
        assert not delta.any()


def test_a_fit_of_quantiles_finds_those_of_the_targets():
    rng = np.random.default_rng(3)
    Y, X = rng.exponential(size=801), np.zeros((801, 1, 1))
    net = lc.Network([lc.Dense(1, 3)], Quantile([0.25, 0.5, 0.75]), seed=0)
    with pytest.warns(lc.ConvergenceWarning):
        lc.fit(net, X, Y[:, None], method="L-BFGS-B", max_iter=100)
    np.testing.assert_allclose(net.blocks["0.b"], np.quantile(Y, [0.25, 0.5, 0.75]), atol=0.05)


def test_an_outlier_moves_a_fit_by_huber_little():
    x = np.linspace(-1, 1, 50).reshape(50, 1, 1)
    Y = 0.5 * x
    Y[10] = 40.0
    errors = []
    for loss in ("squared_error", Huber(0.1)):
        net = lc.Network([lc.Dense(1, 1)], loss, seed=0)
        with warnings.catch_warnings():
            # of the outlier, and of a squared error little below that of a constant
            warnings.simplefilter("ignore", UserWarning)
            lc.fit(net, x, Y, tol=1e-8)
        errors.append(abs(net.blocks["0.W"].item() - 0.5))
    assert errors[1] < 0.05 < 0.3 < errors[0]


def test_several_quantiles_have_one_target_and_as_many_outputs():
    net = lc.Network([lc.RNN(2, 3)], Quantile([0.1, 0.5, 0.9]), seed=0)
    X, Y = np.ones((2, 4, 2)), np.zeros((2, 4))
    assert net.loss(X, Y) == net.loss(X, Y[..., None])
    with pytest.raises(ValueError, match=r"Y: expected shape \(2, 4, 1\) or \(2, 4\), got"):
        net.loss(X, np.zeros((2, 4, 3)))
    with pytest.raises(
        ValueError, match=r"loss: expected 3 outputs with Quantile\(q=\[0.1, .*got 2"
    ):
        lc.Network([lc.RNN(2, 2)], Quantile([0.1, 0.5, 0.9]))


@of_errors
def test_their_options_are_in_files_and_copies(loss, tmp_path):
    net = lc.Network([lc.RNN(2, K)], loss, seed=0)
    net.save(tmp_path / "m.npz")
    for other in (lc.load(tmp_path / "m.npz"), pickle.loads(pickle.dumps(net))):
        assert repr(other) == repr(net)
        assert other.options["loss"].options == loss.options


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Huber(0), "delta: expected a number > 0, got 0.0"),
        (lambda: Quantile(1), "q: expected numbers between 0 and 1, got 1.0"),
        (lambda: Quantile([0.1, -0.1]), "q: expected numbers between 0 and 1, got -0.1"),
        (lambda: Quantile([]), r"q: expected a number or several, got \[\]"),
    ],
)
def test_options_that_cannot_be_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------ weights of classes


def class_net(loss="cross_entropy", readout="all", outputs=3):
    return lc.Network([lc.RNN(1, 4), lc.Dense(4, outputs)], loss, readout, seed=0)


X = np.random.default_rng(5).normal(size=(B, T, 1))
LABELS = np.array([[0, 0, 1, 0], [2, 2, 2, 2], [0, 1, 2, 2]])


def test_balanced_classes_weigh_the_same_in_sum():
    weights = class_net().prepare(X, LABELS, LENGTHS, class_weight="balanced").weights
    # scored: 0 0 1 0, nothing, 0 1; four of class 0, two of class 1, none of class 2
    np.testing.assert_allclose(weights, 6 / 2 / np.array([4, 4, 2, 4, 4, 2]), rtol=1e-15)
    assert weights.sum() == pytest.approx(6)


def test_balanced_counts_the_terms_that_are_scored_and_multiplies_their_weights():
    step_weight = np.array([[1.0, 0, 3, 0], [0, 0, 0, 0], [2, 0.5, 0, 1]])
    examples = class_net().prepare(X, LABELS, step_weight=step_weight, class_weight="balanced")
    of_class = 5 / 3 / np.array([2, 2, 1])  # scored: 0, 1; 0, 1, 2
    np.testing.assert_allclose(
        examples.weights, (step_weight * of_class[LABELS]).ravel(), rtol=1e-15
    )


@pytest.mark.parametrize("given", [{1: 3.0}, {1: 3, 0: 1.0}, [1, 3, 1], np.array([1.0, 3.0, 1.0])])
def test_weights_of_classes_are_weights_of_their_terms(given):
    net, labels = class_net(readout="last"), np.array([0, 1, 2])
    f, g = net.loss_and_grad(X, labels, class_weight=given)
    wanted_f, wanted_g = net.loss_and_grad(X, labels, sample_weight=[1, 3, 1])
    assert f == wanted_f
    np.testing.assert_array_equal(g, wanted_g)
    assert lc.Objective(net, X, labels, class_weight=given)(net.params)[0] == f
    assert lc.check_gradient(net, X, labels, class_weight=given)


def test_labels_of_one_output_are_two_classes():
    net = class_net("binary_cross_entropy", "last", outputs=1)
    weights = net.prepare(X, [0, 1, 0], class_weight="balanced").weights
    np.testing.assert_allclose(weights, [0.75, 1.5, 0.75], rtol=1e-15)
    assert list(net.prepare(X, [0, 1, 0], class_weight=[1, 5]).weights) == [1, 5, 1]


BAD_CLASS_WEIGHTS = {
    "name": ("even", ValueError, "class_weight: expected one of balanced, got 'even'"),
    "label": ({3: 1.0}, ValueError, "a label in class_weight: expected an integer <= 2, got 3"),
    "no label": ({"a": 1.0}, TypeError, "a label in class_weight: expected an integer, got"),
    "negative": ({0: -1.0}, ValueError, r"class_weight\[0\]: expected a number >= 0, got -1.0"),
    "too few": ([1.0, 2.0], ValueError, r"class_weight: expected shape \(3,\), got \(2,\)"),
    "negatives": ([1.0, 2.0, -1], ValueError, "class_weight: expected weights >= 0, got -1.0"),
    "NaN": ([1.0, 2.0, np.nan], ValueError, "class_weight: expected finite numbers, got nan"),
    "all zero": ([0, 0, 0], ValueError, "class_weight.*: expected a finite sum of weights above"),
}


@pytest.mark.parametrize("case", BAD_CLASS_WEIGHTS)
def test_weights_of_classes_that_cannot_be_are_named(case):
    given, error, message = BAD_CLASS_WEIGHTS[case]
    with pytest.raises(error, match=message):
        class_net().prepare(X, LABELS, class_weight=given)


@pytest.mark.parametrize(
    "loss, outputs, Y",
    [
        ("squared_error", 1, [0.0, 1.0, 1.0]),
        ("cross_entropy", 2, [[0.5, 0.5]] * 3),
        ("binary_cross_entropy", 1, [0.0, 0.5, 1.0]),
        ("binary_cross_entropy", 2, [[0, 1]] * 3),
    ],
)
def test_targets_without_classes_have_no_weights_of_classes(loss, outputs, Y):
    net = class_net(loss, "last", outputs)
    with pytest.raises(ValueError, match=f"class_weight: expected None with such .*'{loss}', got"):
        net.prepare(X, Y, class_weight="balanced")


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
        r"of 3 sequences, as many as X has \(axis 0\), got a list of length 1",
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
    "negative count": ("poisson", 0.1 - ROWS, READ_OUT, ValueError, "Y: expected counts >= 0 with"),
    "names of counts": ("poisson", ["a", "b", "c"], READ_OUT, TypeError, "'poisson' are counts"),
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

"""`Scaler` counts what is there and nothing else; data far from unit scale are noticed by a fit."""

import pickle
import warnings

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.scaling import scale_complaint

RNG = np.random.default_rng(0)
X = RNG.normal([5.0, -100.0, 0.0], [2.0, 0.1, 1e-5], size=(6, 9, 3))
LENGTHS = np.array([9, 4, 0, 1, 9, 7])


def pieces(array, lengths=LENGTHS):
    return [x[:n] for x, n in zip(array, lengths, strict=True)]


def padded(filling):
    array = X.copy()
    array[np.arange(9) >= LENGTHS[:, None]] = filling
    return array


# -------------------------------------------------------------------------------------- Scaler


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_come_to_mean_0_and_standard_deviation_1_and_back(dtype):
    data = X.astype(dtype)
    scaler = lc.Scaler().fit(data)
    scaled = scaler.transform(data)
    assert scaled.dtype == dtype and scaled.shape == data.shape
    tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=tolerance)
    np.testing.assert_allclose(scaled.std(axis=(0, 1)), 1, rtol=tolerance)
    back = scaler.inverse_transform(scaled)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, data, rtol=4 * np.finfo(dtype).eps, atol=1e-3 * tolerance)
    np.testing.assert_allclose(scaler.mean_, data.mean(axis=(0, 1), dtype=float), rtol=1e-6)


@pytest.mark.parametrize("filling", [0.0, 1e30, np.nan])
def test_padding_does_not_count(filling):
    wanted = lc.Scaler().fit(np.concatenate(pieces(X)))
    mask = np.arange(9) < LENGTHS[:, None]
    for scaler in (
        lc.Scaler().fit(padded(filling), LENGTHS),
        lc.Scaler().fit(padded(filling), mask=mask),
        lc.Scaler().fit(padded(filling)[:, ::-1], mask=mask[:, ::-1]),
        lc.Scaler().fit(pieces(X)),
        lc.Scaler().fit([x.tolist() for x in pieces(X)]),
    ):
        np.testing.assert_allclose(scaler.mean_, wanted.mean_, rtol=1e-13)
        np.testing.assert_allclose(scaler.scale_, wanted.scale_, rtol=1e-10)
        assert scaler.n_samples_seen_ == LENGTHS.sum() and scaler.n_features_in_ == 3
    # every form is transformed alike
    for x, y in zip(pieces(X), scaler.transform(pieces(X)), strict=True):
        np.testing.assert_array_equal(y, scaler.transform(x))
    for x, y in zip(pieces(X), scaler.transform([x.tolist() for x in pieces(X)]), strict=True):
        np.testing.assert_array_equal(y, scaler.transform(x))


def test_one_feature_may_come_without_its_axis():
    values = X[..., 0]
    wanted = lc.Scaler().fit(values[..., None])
    for data in (values.ravel(), list(values), values.ravel().tolist(), list(values[..., None])):
        scaler = lc.Scaler().fit(data)
        assert scaler.mean_ == pytest.approx(wanted.mean_) and scaler.n_features_in_ == 1
        assert np.shape(scaler.transform(data)) == np.shape(data)
    np.testing.assert_array_equal(
        wanted.transform(values), wanted.transform(values[..., None])[..., 0]
    )


def test_rows_of_targets_are_scaled_by_column():
    Y = RNG.normal([1.0, 2.0], [3.0, 4.0], size=(50, 2))
    scaled = lc.Scaler().fit_transform(Y)
    np.testing.assert_allclose(
        [scaled.mean(axis=0), scaled.std(axis=0)], [[0, 0], [1, 1]], atol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("value", [0, 7, 0.1, 1e-300, 1e6])
def test_a_constant_feature_becomes_0_and_comes_back(dtype, value):
    data = np.full((3, 50, 1), value).astype(dtype)
    scaler = lc.Scaler().fit(data)
    assert scaler.scale_ == 1
    np.testing.assert_allclose(scaler.transform(data), 0, atol=1e-9)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(data)), data, rtol=1e-6)


def test_what_differs_by_its_rounding_alone_is_constant():
    data = np.full(50, 0.1)
    data[::2] = np.nextafter(0.1, 1)
    assert lc.Scaler().fit(data).scale_ == 1
    assert lc.Scaler().fit(np.array([1.0, 1.0 + 1e-9])).scale_ == pytest.approx(5e-10, rel=1e-5)


def test_a_large_mean_in_float32_keeps_its_digits():
    data = (1e4 + RNG.normal(size=(4, 50, 1))).astype(np.float32)
    exact = data.astype(np.float64)
    got = lc.Scaler().fit(data).transform(data)
    np.testing.assert_allclose(got, (exact - exact.mean()) / exact.std(), rtol=1e-6, atol=1e-6)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    X = [rng.normal(2, 3, size=(T, 2)) for T in (3, 5, 2)]
    rows = rng.normal(size=(3, 2))
    weights = [2, 0, 1]
    for given, repeated in ((X, [X[0], X[0], X[2]]), (rows, rows[[0, 0, 2]])):
        weighted = lc.Scaler().fit(given, sample_weight=weights)
        plain = lc.Scaler().fit(repeated)
        np.testing.assert_allclose(weighted.mean_, plain.mean_, rtol=1e-14)
        np.testing.assert_allclose(weighted.scale_, plain.scale_, rtol=1e-14)
    same = lc.Scaler().fit(X, sample_weight=[0.5, 0.5, 0.5])
    np.testing.assert_allclose(same.mean_, lc.Scaler().fit(X).mean_, rtol=1e-14)


def test_weights_that_do_not_fit_are_refused():
    X = np.ones((2, 3, 1))
    for weights, message in (
        ([1.0] * 3, r"sample_weight: expected shape \(2,\), got \(3,\)"),
        ([1.0, -1.0], "sample_weight: expected weights >= 0, got -1.0"),
        ([1.0, np.nan], "sample_weight: expected finite numbers, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            lc.Scaler().fit(X, sample_weight=weights)


def test_a_scaler_is_pickled_and_shown():
    scaler = lc.Scaler()
    assert repr(scaler) == "<Scaler not fitted>"
    assert scaler.fit(X) is scaler and repr(scaler) == "<Scaler of 3 features>"
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(X), scaler.transform(X))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.fit(X[:0]), ValueError, "X: expected at least one sequence"),
        (lambda s: s.fit(X[:, :0]), ValueError, "X: expected at least one step"),
        (lambda s: s.fit([]), ValueError, "X: expected at least one"),
        (lambda s: s.fit(1.0), ValueError, "X: expected"),
        (lambda s: s.fit([[[1.0, 2.0], [3.0]]]), ValueError, r"X\[0\]: expected an array of numb"),
        (lambda s: s.fit([[1.0], X]), ValueError, r"X\[1\]: expected numbers of shape \(T, D\)"),
        (lambda s: s.fit(["a", "b"]), TypeError, r"X\[0\]: expected real numbers"),
        (lambda s: s.fit("abc"), TypeError, "X: expected real numbers"),
        (lambda s: s.fit(X * 1j), TypeError, "X: expected real numbers"),
        (lambda s: s.fit(padded(np.nan)), ValueError, "X: expected finite numbers, got nan in seq"),
        (lambda s: s.fit(X * 1e300), ValueError, "X: expected numbers whose squares"),
        (lambda s: s.fit(X, [1] * 5), ValueError, "lengths: expected shape"),
        (lambda s: s.fit(X[0], [1]), ValueError, "lengths: expected None beside rows"),
        (lambda s: s.fit(pieces(X), LENGTHS), ValueError, "lengths: expected None"),
        (lambda s: s.fit([X[0], X[1, :, :2]]), ValueError, "X.1.: expected numbers of shape"),
        (lambda s: s.transform(X), ValueError, "scaler: expected one that is fitted"),
        (lambda s: s.fit(X).transform(X[..., :2]), ValueError, "X: expected 3 features"),
        (lambda s: s.fit(X).inverse_transform([X[0, :, 0]]), ValueError, r"X\[0\]: expected 3 f"),
        (lambda s: s.fit(X).transform([["a"] * 3]), TypeError, r"X\[0\]: expected real numbers"),
    ],
)
def test_what_cannot_be_scaled_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call(lc.Scaler())


# ------------------------------------------------------------------------ data far from unit scale


def network(inputs=1, outputs=1, loss="squared_error", readout="all"):
    layers = [lc.LSTM(inputs, 2), lc.Dense(2, outputs)]
    return lc.Network(layers, loss=loss, readout=readout, seed=0)


def complaint(inputs, targets=None, loss="squared_error", readout="all", outputs=1, **data):
    net = network(inputs.shape[-1], outputs, loss, readout)
    targets = np.zeros(inputs.shape[:2]) if targets is None else targets
    return scale_complaint(net, net.prepare(inputs, targets, **data))


NOISE = np.random.default_rng(1).normal(size=(20, 50, 1))
FAR = {
    "sd 100": 100 * NOISE,
    "sd 0.001": 0.001 * NOISE,
    "mean 20, sd 1": 20 + NOISE,
    "mean -20, sd 1": -20 + NOISE,
    "temperatures in kelvin": 290 + 5 * NOISE,
    "years": np.broadcast_to(np.arange(1900.0, 1950.0)[:, None], (20, 50, 1)),
    "bytes": np.random.default_rng(0).integers(0, 256, (20, 50, 1)),
    "a large constant": np.full((20, 50, 1), 1e3),
}


@pytest.mark.parametrize("case", FAR)
def test_inputs_far_from_unit_scale_are_noticed(case):
    words = complaint(FAR[case])
    assert words.startswith("X has feature 0 from ") and "lstmcore.Scaler" in words
    assert complaint(lc.Scaler().fit_transform(FAR[case].astype(float))) is None


@pytest.mark.parametrize("case", ["sd 100", "sd 0.001", "temperatures in kelvin", "years", "bytes"])
@pytest.mark.parametrize("readout", ["all", "last"])
def test_targets_far_from_unit_scale_are_noticed(case, readout):
    Y = FAR[case] if readout == "all" else FAR[case][:, 0] * np.linspace(0.9, 1.1, 20)[:, None]
    words = complaint(NOISE, Y, readout=readout)
    assert words.startswith("Y has feature 0 from ") and "lstmcore.Scaler" in words


RARE = np.zeros((20, 50, 1))
RARE[3, 7] = 1
NEAR = {
    "unit scale": NOISE,
    "sd 0.01": 0.01 * NOISE,
    "sd 10": 10 * NOISE,
    "mean 1, sd 1": 1 + NOISE,
    "one-hot": np.eye(5)[np.random.default_rng(0).integers(5, size=(20, 50))],
    "a rare event": RARE,
    "what is nearly always there": 1 - RARE,
    "counts": np.random.default_rng(0).poisson(5, (20, 50, 1)),
    "probabilities": np.random.default_rng(0).uniform(size=(20, 50, 1)),
    "probabilities near 1": np.random.default_rng(0).uniform(0.9, 1, (20, 50, 1)),
    "a constant": np.full((20, 50, 1), 5.0),
    "nothing": np.zeros((20, 50, 1)),
    "a fixed point in time": np.broadcast_to(np.linspace(0, 1, 50)[:, None], (20, 50, 1)),
}


@pytest.mark.parametrize("case", NEAR)
def test_inputs_near_unit_scale_are_not_complained_of(case):
    assert complaint(NEAR[case]) is None


def test_targets_that_a_bias_learns_and_other_losses_are_not_complained_of():
    assert complaint(NOISE, 100 + NOISE) is None
    assert complaint(NOISE, 3 * NOISE) is None
    labels = np.random.default_rng(0).integers(300, size=(20, 50))
    assert complaint(NOISE, labels, "cross_entropy", outputs=300) is None
    assert complaint(NOISE, labels % 2 / 1e3, "binary_cross_entropy") is None
    tokens = lc.Network([lc.LSTM(300, 2, tokens=True), lc.Dense(2, 1)], seed=0)
    assert scale_complaint(tokens, tokens.prepare(labels, np.zeros((20, 50)))) is None


def test_features_are_named_with_their_figures():
    inputs = np.concatenate([NOISE, 1000 + 10 * NOISE, NOISE, *[1e4 * NOISE] * 4], axis=2)
    words = complaint(inputs)
    low, high = inputs[..., 1].min(), inputs[..., 1].max()
    figures = f"feature 1 from {low:.4g} to {high:.4g}, mean {inputs[..., 1].mean():.4g}, standard "
    assert figures + f"deviation {inputs[..., 1].std():.3g}; feature 3" in words
    assert " and 2 features more: " in words and "feature 0 " not in words


def test_only_what_is_there_and_scored_counts():
    X, Y = 1e6 * np.ones((4, 6, 1)), 1e6 * np.ones((4, 6, 1))
    lengths = [3, 0, 2, 1]
    there = np.arange(6) < np.array(lengths)[:, None]
    X[there] = NOISE[0, : there.sum()]
    Y[there] = NOISE[1, : there.sum()]
    assert complaint(X, Y, lengths=lengths) is None
    assert complaint(X, Y, mask=there) is None
    Y[0, 0] = 1e6
    assert complaint(X, Y, lengths=lengths).startswith("Y has feature 0 from ")
    Y[0, 0], there[0, 0] = np.nan, False
    assert complaint(X, Y, lengths=lengths, step_weight=there.astype(float)) is None


def test_the_check_never_fails():
    broken = NOISE.copy()
    broken[0, 0] = np.nan
    for data in (
        {"inputs": broken, "targets": broken, "check_finite": False},
        {"inputs": NOISE * np.inf, "check_finite": False},
        {"inputs": NOISE, "lengths": [0] * 20, "reduction": "sum"},
        {"inputs": NOISE[:, :0], "reduction": "sum"},
        {"inputs": NOISE, "sample_weight": [0] * 20, "reduction": "sum"},
    ):
        assert complaint(**data) is None
    complaint(1e300 * NOISE)  # whose squares have no sum


def test_a_fit_says_it_once_at_its_caller_and_before_it_begins():
    net = network()
    with pytest.warns(lc.ScaleWarning, match=r"^X has .*; Y has .*lstmcore.Scaler") as found:
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(net, 290 + 5 * NOISE, 1e3 * NOISE, max_iter=3)
    (said,) = [warning for warning in found if warning.category is lc.ScaleWarning]
    assert said.filename == __file__
    start = net.params.copy()
    with warnings.catch_warnings(), pytest.raises(lc.ScaleWarning):
        warnings.simplefilter("error", lc.ScaleWarning)
        lc.minimize(lc.Objective(net, 290 + 5 * NOISE, NOISE), max_iter=3)
    np.testing.assert_array_equal(net.params, start)


def test_the_scaler_is_the_way_out():
    s = 350 + 0.1 * np.arange(600) + 5 * np.sin(np.arange(600) / 8)
    inputs, targets = s[None, :-1, None], s[None, 1:, None]
    scaler = lc.Scaler().fit(inputs)
    net = lc.Network([lc.LSTM(1, 16), lc.Dense(16, 1)], seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*ITERATIONS", lc.ConvergenceWarning)
        lc.fit(net, scaler.transform(inputs), scaler.transform(targets), max_iter=300)
    error = scaler.inverse_transform(net.predict(scaler.transform(inputs))) - targets
    assert 1 - np.mean(error**2) / targets.var() > 0.99

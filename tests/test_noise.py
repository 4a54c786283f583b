"""What disturbs a run on purpose: noise on the parameters."""

import warnings

import numpy as np
import pytest

import lstmcore as lc

METHODS = ["adam", "sgd", "rmsprop"]
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
methods = pytest.mark.parametrize("method", METHODS)
batch_sizes = pytest.mark.parametrize("batch_size", [None, 2])


def network(dtype="float64", seed=0):
    return lc.Network([lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 1)], dtype=dtype, seed=seed)


def data(seed=1, lengths=(6, 9, 0, 4, 7)):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in lengths]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def quiet_fit(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.fit(*args, **kwargs)


def quiet_minimize(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.minimize(*args, **kwargs)


class Linear:
    """gᵀ θ, whatever θ: what a run asks for, and where."""

    def __init__(self, net):
        self.net, self.asked = net, []
        self.g = np.linspace(-1.0, 1.0, net.params.size)

    def __call__(self, theta):
        self.asked.append(theta.copy())
        return float(theta @ self.g), self.g


class Watched(lc.Objective):
    """Where a run asks for the gradient of a batch, and what it gets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        vars(self).update(asked=[], answers=[])

    def on_batch(self, theta, indices):
        self.asked.append(theta.copy())
        self.answers.append(super().on_batch(theta, indices))
        return self.answers[-1]


# ----------------------------------------------------------------------------------- weight noise


def test_each_step_has_fresh_noise_of_the_deviation_asked_for_and_moves_the_clean_parameters():
    net = lc.Network([lc.LSTM(8, 40)], seed=0)
    objective, start = Linear(net), net.params.copy()
    result = quiet_minimize(
        objective,
        "sgd",
        options={"momentum": 0.0},
        learning_rate=0.5,
        max_epochs=4,
        weight_noise=0.25,
        seed=0,
    )
    assert result.nfev == 5 and result.jac is None
    noise = [asked - (start - k * 0.5 * objective.g) for k, asked in enumerate(objective.asked)]
    n = start.size
    for k, one in enumerate(noise):
        assert abs(one.mean()) < 5 * 0.25 / np.sqrt(n)
        assert abs(one.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * n)
        for other in noise[:k]:
            assert abs(one @ other) < 5 * 0.25**2 * np.sqrt(n)
    losses = [asked @ objective.g for asked in objective.asked]
    np.testing.assert_array_equal(result.history["loss"], losses)
    best = 1 + int(np.argmin(losses[1:]))
    np.testing.assert_allclose(net.params, start - best * 0.5 * objective.g, rtol=0, atol=1e-14)
    assert result.fun == losses[best]


@dtypes
def test_a_batch_is_evaluated_beside_the_parameters_that_are_recorded(dtype):
    net, validated, seen = network(dtype), [], []
    objective = Watched(net, *data(), l2=0.1)
    result = quiet_minimize(
        objective,
        "adam",
        batch_size=3,
        max_epochs=3,
        learning_rate=1e-9,  # stays where it is, but for the noise
        weight_noise=0.5,
        seed=0,
        validation=lambda theta: validated.append(theta) or 1.0,
        callback=lambda now: seen.append((now.x, net.params.copy())),
    )
    start = validated[0]
    distances = [np.sqrt(np.mean((asked - start) ** 2)) for asked in objective.asked]
    assert min(distances) > 0.3 and max(distances) < 0.7
    assert all(asked.dtype == dtype for asked in objective.asked)
    assert all(np.abs(theta - start).max() < 1e-6 for theta in validated)
    for x, params in seen:
        assert np.abs(x - start).max() < 1e-6
        np.testing.assert_array_equal(params, x.astype(dtype))
    for epoch in range(3):
        two = objective.answers[2 * epoch : 2 * epoch + 2]
        mean = np.average([f for f, _, _ in two], weights=[weight for _, _, weight in two])
        assert result.history["loss"][epoch + 1] == pytest.approx(mean, rel=1e-14)


@methods
@batch_sizes
@dtypes
def test_one_seed_is_one_noisy_run_for_any_number_of_threads(method, batch_size, dtype):
    X, Y = data(lengths=(60, 90, 0, 40, 70, 50, 30))
    runs = []
    for seed, n_threads in ((0, 1), (0, 4), (1, 1)):
        net = network(dtype)
        options = {"batch_size": batch_size, "max_epochs": 4, "seed": seed, "n_threads": n_threads}
        result = quiet_fit(net, X, Y, method=method, weight_noise=0.1, **options)
        runs.append((net.params.copy(), result.history["loss"]))
    for ours, others in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(ours, others)
    assert (runs[2][0] != runs[0][0]).any()


@batch_sizes
def test_no_noise_has_the_bits_of_a_run_without(batch_size):
    runs = []
    for noise in (None, 0, 0.0):
        net = network()
        result = quiet_fit(
            net,
            *data(),
            method="adam",
            batch_size=batch_size,
            max_epochs=3,
            seed=0,
            weight_noise=noise,
        )
        runs.append((net.params.copy(), result.history["loss"]))
    for run in runs[1:]:
        for ours, others in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(ours, others)


@batch_sizes
def test_patience_looks_at_validation_and_not_at_noise(batch_size):
    net = network()
    values = iter([5.0, 4.0, 4.5, 4.0, 4.0, 1.0])
    seen = []
    result = quiet_minimize(
        lc.Objective(net, *data()),
        "adam",
        batch_size=batch_size,
        validation=lambda theta: seen.append(theta) or next(values),
        patience=3,
        weight_noise=0.3,
        seed=0,
    )
    assert result.success and result.nit == 4
    np.testing.assert_array_equal(net.params, seen[1])  # the first of the lowest
    assert result.fun == result.history["loss"][1]


@batch_sizes
def test_noise_beyond_the_dtype_ends_the_run_without_a_warning(batch_size):
    net = network("float32")
    before = net.params.copy()
    result = quiet_fit(
        net, *data(), method="adam", batch_size=batch_size, weight_noise=1e300, seed=0
    )
    assert not result.success and "not finite" in result.message
    np.testing.assert_array_equal(net.params, before)

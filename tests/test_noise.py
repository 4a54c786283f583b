"""What disturbs a run on purpose: noise on the parameters."""

import warnings

import numpy as np
import pytest
from scipy import stats

import lstmcore as lc
from lstmcore import _reference
from lstmcore._reference._noise import threefry

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


# ----------------------------------------------------------------------------------------- normal

KEYS = (0, 1, 2**63 + 12345, 2**64 - 1)


@dtypes
def test_noise_has_the_bits_of_its_twin(kernels, dtype):
    for size in (0, 1, 127, 128, 129, 255, 256, 257, 1000):
        x = np.random.default_rng(size).normal(size=size).astype(dtype)
        for key in KEYS:
            ours, twins = np.empty_like(x), np.empty_like(x)
            kernels.add_noise(ours, x, 0.3, key)
            _reference.add_noise(twins, x, 0.3, key)
            np.testing.assert_array_equal(ours, twins)
            in_place = x.copy()
            kernels.add_noise(in_place, in_place, 0.3, key)
            np.testing.assert_array_equal(in_place, ours)


@pytest.mark.parametrize(
    ("key", "place", "bits"),
    [  # the vectors of Random123, its authors' library
        (0, 0, (0x6B200159, 0x99BA4EFE)),
        (2**64 - 1, 2**64 - 1, (0x1CB996FC, 0xBB002BE7)),
        (0x0370734413198A2E, 0x85A308D3243F6A88, (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_random_bits_are_those_of_threefry(key, place, bits):
    words = threefry(key, np.array([place], np.uint64))
    assert tuple(int(word[0]) for word in words) == bits


def test_noise_is_normal_and_that_of_two_keys_independent(kernels):
    n = 2**20
    one, other = np.zeros(n, "float32"), np.zeros(n, "float32")
    kernels.add_noise(one, one, 1.0, 1)
    kernels.add_noise(other, other, 1.0, 2)
    assert stats.kstest(one, "norm").pvalue > 0.01
    one, other = one.astype(float), other.astype(float)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(one**power) - moment) < 4 * np.sqrt(spread / n)
    for a, b in (
        (one, other),
        (one[1:], one[:-1]),
        (one[256:], one[:-256]),
        (one[128:], one[:-128]),  # 128 apart are cosine and sine
    ):
        assert abs(a @ b) < 4 * np.sqrt(n)
        assert abs((a**2 - 1) @ (b**2 - 1)) < 4 * 2 * np.sqrt(n)
    assert 4.5 < np.abs(one).max() < 6.7


def test_both_dtypes_have_the_same_noise(kernels):
    noise = {dtype: np.zeros(1000, dtype) for dtype in ("float32", "float64")}
    for x in noise.values():
        kernels.add_noise(x, x, 0.5, 3)
    np.testing.assert_array_equal(*noise.values())


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

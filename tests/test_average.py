"""`average`: what is recorded, validated and kept is a moving average of the parameters."""

import warnings

import numpy as np
import pytest
from small_runs import data

import lstmcore as lc

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
batch_sizes = pytest.mark.parametrize("batch_size", [None, 2])
validations = pytest.mark.parametrize("validates", [False, True])


def network(dtype="float64"):
    return lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], dtype=dtype, seed=0)


class Watched(lc.Objective):
    """An objective that keeps the points at which it is evaluated."""

    def __call__(self, theta):
        self.points.append(theta.copy())
        return super().__call__(theta)

    def on_batch(self, theta, *more):
        self.points.append(theta.copy())
        return super().on_batch(theta, *more)


def run(method="adam", dtype="float64", validates=False, **options):
    """The points that were evaluated, what the callback was given, the network, the result."""
    net, seen = network(dtype), []
    objective = Watched(net, *data(), l2=1e-3)
    vars(objective)["points"] = []

    def callback(now):
        np.testing.assert_array_equal(net.params, now.x.astype(dtype))
        seen.append(now)

    validation = lc.Objective(net, *data(seed=2)) if validates else None
    options = {"max_epochs": 5, "learning_rate": 0.1, "seed": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        result = lc.minimize(objective, method, callback=callback, validation=validation, **options)
    return objective.points, seen, net, result


@batch_sizes
@dtypes
@validations
@pytest.mark.parametrize("method", ["adam", "sgd", "rmsprop"])
def test_it_is_the_weighted_mean_of_the_points_after_each_step(
    method, batch_size, dtype, validates
):
    options = {"batch_size": batch_size, "average": 0.7, "dtype": dtype, "validates": validates}
    points, seen, net, result = run(method, **options)
    per_epoch = (len(points) - 1) // 5
    assert per_epoch == (1 if batch_size is None else 2) and len(seen) == 5
    for epoch, now in enumerate(seen, start=1):
        t = epoch * per_epoch
        weights = 0.7 ** np.arange(t)[::-1]
        mean = np.average(np.array(points[1 : t + 1], dtype=np.float64), axis=0, weights=weights)
        np.testing.assert_allclose(now.x, mean, rtol=1e-12)
        if validates:
            held_out = lc.Objective(net, *data(seed=2))
            assert now.validation_loss == held_out.fun(now.x)
    column = result.history["validation_loss" if validates else "loss"]
    candidates = [now.x for now in seen]
    if validates:  # where the start may be the best
        candidates.insert(0, points[0])
    else:
        column = column[1:]
    best = candidates[int(np.argmin(column))]
    np.testing.assert_array_equal(result.x, best)
    np.testing.assert_array_equal(net.params, best.astype(dtype))
    assert result.jac is None


@batch_sizes
@dtypes
def test_the_steps_do_not_see_it(batch_size, dtype):
    plain = run(dtype=dtype, batch_size=batch_size)
    averaged = run(dtype=dtype, batch_size=batch_size, average=0.9)
    np.testing.assert_array_equal(plain[0], averaged[0])
    for name in ("loss", "gradient_norm", "evaluations"):
        np.testing.assert_allclose(plain[3].history[name], averaged[3].history[name], rtol=1e-14)


@pytest.mark.parametrize("noise", [{"weight_noise": 0.1}, {"dropout": 0.2}])
@batch_sizes
def test_it_goes_with_noise(noise, batch_size):
    options = {"batch_size": batch_size, **noise}
    _, plain, _, _ = run(**options)
    _, averaged, _, _ = run(average=0.5, **options)
    steps = [now.x for now in plain]
    np.testing.assert_array_equal(
        [now.fun for now in plain], [now.fun for now in averaged]
    )  # the same steps
    if batch_size is None:
        mean = (steps[1] * 2 + steps[0]) / 3
        np.testing.assert_allclose(averaged[1].x, mean, rtol=1e-12)


@batch_sizes
def test_it_goes_on_from_a_file(batch_size, tmp_path):
    options = {"batch_size": batch_size, "average": 0.8}
    *_, whole = run(max_epochs=6, **options)
    path = tmp_path / "run.npz"
    for epochs in (2, 5, 6):
        *_, result = run(max_epochs=epochs, checkpoint_path=path, **options)
    np.testing.assert_array_equal(result.x, whole.x)
    with pytest.raises(ValueError, match="average"):
        run(max_epochs=7, checkpoint_path=path, batch_size=batch_size, average=0.9)


def test_polish_goes_on_from_it():
    *_, before = run(batch_size=2, average=0.8)
    points, *_, result = run(batch_size=2, average=0.8, polish=5)
    np.testing.assert_array_equal(points[11], before.x)
    assert result.n_polish == 5


def test_it_is_nearer_to_the_minimum_than_the_last_steps_are():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 5, 3))
    Y = X @ rng.normal(size=(3, 1)) + rng.normal(size=(64, 5, 1))
    A = np.column_stack([X.reshape(-1, 3), np.ones(320)])
    closed = np.linalg.lstsq(A, Y.reshape(-1), rcond=None)[0]
    errors = []
    for average in (None, 0.98):
        net, last = lc.Network([lc.Dense(3, 1)], seed=0), []
        lc.fit(
            net,
            X,
            Y,
            method="sgd",
            batch_size=4,
            max_epochs=40,
            learning_rate=0.05,
            average=average,
            callback=lambda now, last=last: last.append(now.x),
            seed=0,
        )
        errors.append(np.linalg.norm(last[-1] - closed))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"average": 0}, "average: expected a number > 0, got 0"),
        ({"average": 1.0}, "average: expected a number > 0 and < 1, got 1.0"),
        ({"average": True}, "average: expected a real number, got True"),
        ({"method": "rprop", "average": 0.9}, "average: expected None with rprop, got 0.9; its"),
        ({"method": "CG", "average": 0.9}, "average: expected None with CG, got 0.9; adam, sgd,"),
    ],
)
def test_bad_arguments_are_named(changed, words):
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        lc.fit(network(), *data(), **{"method": "adam", **changed})

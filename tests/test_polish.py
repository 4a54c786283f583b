"""`polish`: L-BFGS-B after the epochs of another method, from the best point, in one history."""

import warnings

import numpy as np
import pytest
from small_runs import data, quiet_fit

import lstmcore as lc

RUNS = {
    "adam": {"batch_size": 2, "learning_rate": 0.05},
    "sgd": {"learning_rate": 0.05},
    "rmsprop": {"batch_size": 3, "weight_noise": 0.05},
    "rprop": {},
}
methods = pytest.mark.parametrize("method", RUNS)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
validations = pytest.mark.parametrize("validates", [False, True])


def network(dtype="float64"):
    return lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], dtype=dtype, seed=0)


def run(method, dtype="float64", validates=False, **options):
    """The network and the result of a short run."""
    net = network(dtype)
    options = {
        "method": method,
        "max_epochs": 6,
        "l2": 1e-3,
        "validation_data": data(seed=2) if validates else None,
        "seed": 0,
        **RUNS[method],
        **options,
    }
    return net, quiet_fit(net, *data(), **options)


@methods
@dtypes
@validations
def test_it_goes_on_from_the_best_point_and_is_never_worse(method, dtype, validates):
    plain, before = run(method, dtype, validates)
    net, result = run(method, dtype, validates, polish=20)
    history = result.history
    n = result.n_polish
    assert 1 <= n <= 20 and result.nit == 6 + n == len(history["loss"]) - 1
    for name in set(history) - {"time"}:
        np.testing.assert_array_equal(history[name][:7], before.history[name])
    whole = lc.Objective(net, *data(), l2=1e-3)
    held_out = lc.Objective(net, *data(seed=2))
    if validates:
        column = history["validation_loss"]
        assert held_out.fun(net.params) == column.min() <= held_out.fun(plain.params)
        assert result.fun == history["loss"][column.argmin()]
    else:
        assert result.fun == history["loss"][7:].min() < 0.9 * whole.fun(plain.params)
        assert result.fun == pytest.approx(whole.fun(net.params), rel=1e-5)
        np.testing.assert_allclose(result.jac, whole(result.x)[1], rtol=1e-12)
    np.testing.assert_array_equal(net.params, result.x.astype(dtype))
    assert (np.diff(history["evaluations"]) > 0).all() and result.nfev == history["evaluations"][-1]
    assert (result.success, result.status) == (True, 0)
    assert result.message.startswith("6 epochs, as many as asked for; polished by L-BFGS-B: ")


def test_the_second_part_is_l_bfgs_from_there():
    plain, _ = run("adam")
    _, result = run("adam", polish=9)
    expected = quiet_fit(plain, *data(), l2=1e-3, max_iter=9)
    np.testing.assert_array_equal(result.x, expected.x)
    np.testing.assert_array_equal(result.history["loss"][7:], expected.history["loss"][1:])


def test_true_is_until_it_converges():
    _, result = run("rprop", polish=True)
    assert result.n_polish > 20 and np.abs(result.jac).max() < 3e-3
    assert run("rprop", polish=False)[1].nit == 6


def test_patience_is_counted_anew():
    values = iter([5.0, 4.0, 4.5, 4.5, 3.0, 3.5, 3.5, 3.5])
    net = network()
    objective = lc.Objective(net, *data())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        result = lc.minimize(
            objective,
            "adam",
            patience=2,
            polish=20,
            validation=lambda theta: next(values),
        )
    assert (result.nit, result.n_polish) == (6, 3)
    assert result.message == (
        "no lower validation loss for 2 epochs; polished by L-BFGS-B: no lower validation loss for "
        "2 iterations"
    )


@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt])
@pytest.mark.parametrize("at", [3, 8])
@validations
def test_who_stops_it_keeps_the_best(end, at, validates):
    seen = []

    def callback(now):
        seen.append(now)
        if now.nit == at:
            raise end

    net, result = run("adam", validates=validates, polish=20, callback=callback)
    assert (result.nit, result.n_polish, result.status) == (at, max(0, at - 6), 99)
    assert not result.success
    of = seen if validates else seen[6:] or seen
    best = min(of, key=lambda now: now.validation_loss if validates else now.fun)
    np.testing.assert_array_equal(net.params, best.x)


def test_an_interrupt_before_its_first_evaluation_keeps_the_best_of_the_epochs():
    net = network()

    class Interrupted(lc.Objective):
        def __call__(self, theta):
            raise KeyboardInterrupt

    objective = Interrupted(net, *data())
    result = lc.minimize(objective, "adam", batch_size=2, max_epochs=4, polish=5, seed=0)
    again = network()
    plain = quiet_fit(again, *data(), method="adam", batch_size=2, max_epochs=4, seed=0)
    np.testing.assert_array_equal(net.params, plain.x)
    assert (result.status, result.n_polish, result.fun) == (99, 0, plain.fun)


def test_a_target_ends_both_parts():
    _, free = run("rprop", polish=20)
    losses = free.history["loss"]
    for at in (3, 10):
        target = losses[at]
        first = 1 + int(np.argmax(losses[1:] <= target))
        _, result = run("rprop", polish=20, target=target)
        assert (result.nit, result.status) == (first, 97)
        assert result.n_polish == max(0, first - 6)


def test_what_is_not_finite_in_it_leaves_the_epochs_a_success():
    class Walled(lc.Objective):
        def __call__(self, theta):
            return np.nan, np.full(theta.size, np.nan)

    objective = Walled(network(), *data())
    options = {"batch_size": 2, "max_epochs": 4, "learning_rate": 0.05, "seed": 0}
    result = lc.minimize(objective, "adam", polish=5, **options)
    assert result.success and "polished by L-BFGS-B: the loss is not finite" in result.message
    assert result.fun == result.history["loss"].min()


def test_it_goes_with_restarts_and_files(tmp_path):
    _, whole = run("adam", polish=5)
    _, result = run("adam", polish=5, n_restarts=2)
    assert result.restarts[0].value == whole.fun
    path = tmp_path / "run.npz"
    net, _ = run("adam", checkpoint_path=path)
    for _ in range(2):  # from the end of the epochs, each time
        again = quiet_fit(
            net,
            *data(),
            method="adam",
            max_epochs=6,
            l2=1e-3,
            seed=0,
            polish=5,
            checkpoint_path=path,
            **RUNS["adam"],
        )
        np.testing.assert_array_equal(again.x, whole.x)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "polish: expected an integer >= 1, got 0"),
        (2.5, "polish: expected an integer, got 2.5"),
        (np.ones(3), r"polish: expected an integer, got an array of shape \(3,\)"),
    ],
)
def test_a_bad_one_is_named(value, words):
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        lc.fit(network(), *data(), method="adam", polish=value)


def test_methods_of_scipy_are_refused_it():
    with pytest.raises(
        ValueError, match=r"^polish: expected None with CG, got 5; adam, sgd, rmspr"
    ):
        lc.fit(network(), *data(), method="CG", polish=5)

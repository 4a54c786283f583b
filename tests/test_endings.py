"""What a fit says at its end: no fit that has come to nothing ends without a word."""

import warnings

import numpy as np
import pytest

import lstmcore as lc


def series(seed=0, B=8, T=30):
    X = np.random.default_rng(seed).normal(size=(B, T, 2))
    return X, np.cumsum(X[..., :1], axis=1) / 3


def network(**options):
    return lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0, **options)


# ---------------------------------------------------------------------- validation that is NaN


def test_a_validation_loss_that_is_nan_ends_the_fit_with_a_warning():
    net, (X, Y) = network(), series()
    start = net.params.copy()
    broken = X.copy()
    broken[0, 0, 0] = np.nan
    with pytest.warns(lc.ConvergenceWarning, match="validation loss is NaN after 0 iterations"):
        result = lc.fit(
            net, X, Y, max_iter=20, validation_data=(broken, Y), check_finite=False, patience=3
        )
    assert (result.success, result.nit, result.nfev) == (False, 0, 1)
    np.testing.assert_array_equal(net.params, start)


def test_parameters_of_a_validation_loss_that_is_nan_are_never_the_best():
    net, (X, Y) = network(), series()
    losses, points = iter([5.0, 4.0, 3.0, np.nan, 1.0]), []

    def validation(theta):
        points.append(theta)
        return next(losses)

    with pytest.warns(lc.ConvergenceWarning, match="validation loss is NaN after 3 iterations"):
        result = lc.minimize(lc.Objective(net, X, Y), validation=validation)
    assert (result.success, result.nit) == (False, 2)
    np.testing.assert_array_equal(net.params, points[2])
    np.testing.assert_array_equal(result.history["validation_loss"], [5.0, 4.0, 3.0])


# ------------------------------------------------------------------------ success and nothing


def test_inputs_far_from_unit_scale_do_not_end_in_success_without_a_word():
    s = 350 + 0.1 * np.arange(600) + 5 * np.sin(np.arange(600) / 8)
    X, Y = s[None, :-1, None], s[None, 1:, None]
    net = lc.Network([lc.LSTM(1, 16), lc.Dense(16, 1)], seed=2)
    with pytest.warns(UserWarning) as found:
        result = lc.fit(net, X, Y, max_iter=300)
    before, after = found
    assert result.success and before.filename == after.filename == __file__
    assert 1 - result.fun / (0.5 * Y.var()) < 0.01
    assert before.category is lc.ScaleWarning and "lstmcore.Scaler" in str(before.message)
    assert after.category is lc.ConvergenceWarning
    assert "no better than constant outputs" in str(after.message)
    assert "mean 0 and variance 1 (lstmcore.Scaler)" in str(after.message)
    # What the message says is the way out.
    s = (s - s.mean()) / s.std()
    net = lc.Network([lc.LSTM(1, 16), lc.Dense(16, 1)], seed=2)
    result = quietly(lc.fit, net, s[None, :-1, None], s[None, 1:, None], max_iter=300)
    assert result.fun < 0.01


def quietly(call, *args, **options):
    """A call that may end for want of iterations, and in no other way that is worth a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*ITERATIONS", lc.ConvergenceWarning)
        return call(*args, **options)


CASES = {
    "squared_error": lambda rng: rng.normal(size=(6, 9, 3)),
    "cross_entropy": lambda rng: rng.integers(3, size=(6, 9)),
    "rows": lambda rng: rng.dirichlet([1, 1, 1], size=(6, 9)),
    "binary_cross_entropy": lambda rng: rng.uniform(size=(6, 9, 3)),
    "poisson": lambda rng: rng.poisson(20, size=(6, 9, 3)),
}


@pytest.mark.parametrize("readout", ["all", "last"])
@pytest.mark.parametrize("case", CASES)
def test_the_loss_of_the_best_constants_is_a_minimum(case, readout):
    """No constants are better: a network that can do nothing else finds the same by fitting."""
    rng = np.random.default_rng(0)
    X, Y = np.zeros((6, 9, 1)), CASES[case](rng)
    layers, lengths = [lc.Dense(1, 3)], [9, 5, 1, 9, 3, 2]
    if readout == "last":
        layers, lengths, Y = [lc.RNN(1, 2), lc.Dense(2, 3)], None, Y[:, 0]
    loss = "cross_entropy" if case == "rows" else case
    net = lc.Network(layers, loss=loss, readout=readout, seed=0)
    weights = {"sample_weight": rng.uniform(size=6), "lengths": lengths}
    objective = lc.Objective(net, X, Y, **weights)
    with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs"):
        result = lc.minimize(objective, max_iter=500, tol=1e-9)
    assert result.fun == pytest.approx(objective.constant_loss(), rel=1e-6)
    total = lc.Objective(net, X, Y, reduction="sum", **weights)
    assert total.constant_loss() == pytest.approx(objective.constant_loss() * objective.total)


def test_a_loss_that_does_not_know_the_best_constants_says_nothing():
    class Own(lc.losses.SquaredError):
        name = "own"

        def value_and_delta(self, a, targets, weights, lengths=None):
            value, delta = super().value_and_delta(a - 1, targets, weights, lengths)
            return value, delta

    net = lc.Network([lc.Dense(1, 1)], loss=Own(), seed=0)
    X = np.zeros((2, 5, 1))
    Y = np.random.default_rng(0).normal(size=(2, 5))
    assert lc.Objective(net, X, Y).constant_loss() is None
    assert quietly(lc.fit, net, X, Y).success


METHODS = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr"]
SPOILED = {
    "inputs": lambda X, Y: (350 + X, Y),
    "targets": lambda X, Y: (X, 1e-5 * Y),
    "both": lambda X, Y: (350 + X, 350 + Y),
}


@pytest.mark.parametrize("case", SPOILED)
@pytest.mark.parametrize("method", METHODS)
def test_no_method_comes_to_nothing_without_a_word(method, case):
    net, (X, Y) = network(), series()
    X, Y = SPOILED[case](X, Y)
    with pytest.warns(UserWarning) as found:
        result = lc.fit(net, X, Y, method=method, max_iter=100)
    said = {warning.category: str(warning.message) for warning in found}
    assert "lstmcore.Scaler brings them there" in said[lc.ScaleWarning]
    if 1 - result.fun / (0.5 * Y.var()) < 0.01:
        assert "; calling again goes on" in said[lc.ConvergenceWarning]


def test_a_penalty_that_takes_everything_is_named():
    net, (X, Y) = network(), series()
    with pytest.warns(lc.ConvergenceWarning, match="no better than .* or with a smaller l2$"):
        result = lc.fit(net, X, Y, l2=1e3, max_iter=1000)
    assert result.success


def test_a_fit_far_worse_than_small_targets_is_a_warning():
    net, (X, Y) = network(), series()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ScaleWarning)
        with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs"):
            result = lc.fit(net, X, 1e-6 * Y, max_iter=1000)
    assert result.success and result.fun > 1e-12 * Y.var()


def test_constant_targets_are_learned_without_a_word():
    for loss, Y in (
        ("squared_error", np.full((4, 5), 5.0)),
        ("cross_entropy", np.ones((4, 5), int)),
    ):
        net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 1 + (loss[0] == "c"))], loss=loss, seed=0)
        X = np.random.default_rng(0).normal(size=(4, 5, 1))
        assert quietly(lc.fit, net, X, Y, max_iter=1000).success


def test_a_converged_fit_that_is_started_again_says_nothing():
    net, X = network(), series()[0]
    for _ in range(3):
        result = quietly(lc.fit, net, X, 0.5 * X[..., :1], max_iter=2000)
    assert result.success


def test_success_at_a_large_gradient_is_a_warning():
    net, (X, Y) = network(), series()
    with pytest.warns(
        lc.ConvergenceWarning, match="its gradient is .* at the start it was"
    ) as found:
        result = lc.fit(net, X, 10 * Y, options={"ftol": 1e6})
    assert result.success and f"{np.linalg.norm(result.jac):.3g}" in str(found[0].message)


def test_an_abnormal_end_says_what_to_do():
    class Wrong(lc.Objective):
        def __call__(self, theta):
            f, g = super().__call__(theta)
            return f, -g

    net, (X, Y) = network(), series()
    with pytest.warns(lc.ConvergenceWarning, match="ABNORMAL.*; calling again goes on"):
        result = lc.minimize(Wrong(net, X, Y))
    assert not result.success

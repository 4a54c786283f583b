"""What a fit says at its end: no fit that has come to nothing ends without a word."""

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

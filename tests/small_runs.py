"""What the tests of training share: a small network, unequal lengths, runs that are quiet."""

import warnings

import numpy as np

import lstmcore as lc


def network(dtype="float64", seed=0):
    return lc.Network([lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 1)], dtype=dtype, seed=seed)


def data(seed=1, lengths=(6, 9, 0, 4, 7)):
    """Lists X and Y: two random inputs, and the running sum of the first."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in lengths]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def quiet_fit(*args, **kwargs):
    """`fit` of a run too short to converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.fit(*args, **kwargs)


def quiet_minimize(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.minimize(*args, **kwargs)

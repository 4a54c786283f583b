"""A thread may round as it likes: what is finite stays finite, what is not is refused."""

import ctypes
import platform
import sys

import numpy as np
import pytest

import lstmcore as lc

pytestmark = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and platform.machine() == "x86_64"),
    reason="the numbers of the rounding modes are x86's",
)

MODES = {"nearest": 0x000, "downward": 0x400, "upward": 0x800, "to zero": 0xC00}


@pytest.fixture(params=MODES)
def rounding(request):
    libm = ctypes.CDLL(None)
    before = libm.fegetround()
    assert libm.fesetround(MODES[request.param]) == 0
    yield request.param
    libm.fesetround(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_finite_is_known_in_every_rounding_mode(rounding, dtype, kernels):
    big = np.finfo(dtype).max
    for size in range(1, 70):
        x = np.resize(np.array([0.0, -0.0, 1.5, -3e-30, big, -big], dtype), size)
        assert kernels.all_finite(x)
        for wrong in (np.nan, np.inf, -np.inf):
            for k in (0, size // 2, size - 1):
                y = x.copy()
                y[k] = wrong
                assert not kernels.all_finite(y)


def test_a_network_computes_in_every_rounding_mode(rounding):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    y = net.predict(x)
    stream = net.stream(2)
    np.testing.assert_array_equal([stream(x[:, t]) for t in range(5)], y.swapaxes(0, 1))
    x[1, 2, 0] = np.inf
    with pytest.raises(ValueError, match="X: expected finite numbers"):
        net.predict(x)

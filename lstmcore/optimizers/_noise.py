"""Noise on the parameters of a run: the gradient is taken beside them and moves them.

The formula and its sources: docs/equations.md, noise.
"""

import numpy as np

from .._dispatch import kernels


class WeightNoise:
    """Adds fresh noise of N(0, σ²) to every parameter.

    Parameters
    ----------
    deviation : float
        σ.
    rng : numpy.random.Generator
    """

    def __init__(self, deviation, rng):
        self._deviation = deviation
        self._rng = rng

    def __call__(self, theta):
        """A fresh vector beside `theta`."""
        noisy = np.empty_like(theta)
        key = int(self._rng.integers(2**64, dtype=np.uint64))
        kernels.add_noise(noisy, theta, self._deviation, key)
        return noisy

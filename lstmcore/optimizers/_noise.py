"""Noise on the parameters of a run: the gradient is taken beside them and moves them.

The formula and its sources: docs/equations.md, noise.
"""

import numpy as np


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
        noisy = self._rng.standard_normal(theta.size, theta.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss is as large, and ends the run
            noisy *= theta.dtype.type(self._deviation)
            noisy += theta
        return noisy

"""The mean of the parameters over the last steps, which a run may record in their place."""

import numpy as np

from .._checks import as_integer, as_positive, as_real, describe, shaped


class Average:
    """An exponential moving average, of the parameters after each step, in float64.

    After t steps it is Σ β^(t-k) θ_k / Σ β^(t-k), k = 1 ... t; the start has no part in it.

    Parameters
    ----------
    decay : float
        β, above 0 and below 1.
    size : int

    Attributes
    ----------
    mean : (P,) float64 array
    """

    def __init__(self, decay, size):
        self._decay = as_positive(decay, "average")
        if not self._decay < 1:
            raise ValueError(f"average: expected a number > 0 and < 1, got {describe(decay)}")
        self._t = 0
        self.mean = np.zeros(size)
        self._room = np.empty(size)

    def add(self, theta):
        """A step has led to `theta`."""
        self._t += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self._t)
        np.subtract(theta, self.mean, out=self._room)
        self._room *= share
        self.mean += self._room

    def state(self):
        return {"t": self._t, "mean": self.mean}

    def restore(self, state):
        self._t = as_integer(state["t"], "t", 0)
        mean = shaped(as_real(state["mean"], "mean", np.float64), "mean", self.mean.shape)
        self.mean = mean.copy()

"""`Stream`: a network that runs along with its input, one time step a call."""

import numpy as np

from ._checks import as_integer
from .sequences import single_steps

__all__ = ["Stream"]


class Stream:
    """A network that takes one step a call and keeps its state. Made by `Network.stream`.

    The weights are those of the network when the stream was made.

    Parameters
    ----------
    network : Network
    batch_size : int

    Attributes
    ----------
    batch_size : int
    state : tuple
        As `Network.step` takes and returns it, arrays (B, H). Assign one to continue from there.
    """

    def __init__(self, network, batch_size=1):
        network._refuse_bidirectional("stream")
        self.batch_size = as_integer(batch_size, "batch_size", 1)
        self._network = network
        params = network.params.copy()
        self._weights = network._views(params)
        self._packed = network._pack(self._weights, lambda size: np.empty(size, network.dtype))
        self._state = None

    def __call__(self, x):
        """Outputs (B, K) of the next step x (B, I); for one sequence also (K,) of x (I,)."""
        network = self._network
        x, single = network._check_step(x, True)
        if len(x) != self.batch_size:
            raise ValueError(f"x: expected {self.batch_size} sequences, got {len(x)}")
        y, self._state = network._predict(
            self._weights, single_steps(x), self._state, True, 1, self._packed
        )
        return y.reshape(-1) if single else y.reshape(self.batch_size, -1)

    def reset(self):
        """Back to the initial state."""
        self._state = None

    @property
    def state(self):
        if self._state is None:
            self._state = self._network._initial_state(self._weights, self.batch_size)
        return self._state

    @state.setter
    def state(self, value):
        self._state = self._network._check_state(value, self.batch_size, True)

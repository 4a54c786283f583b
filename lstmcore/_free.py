"""`Free`: the parameters that an objective's θ has, where others are frozen."""

import numpy as np

from ._checks import as_real, describe, float_dtype, shaped
from ._fixed import Fixed


class Free(Fixed):
    """Which of a network's parameters are free, and the values of the others.

    Parameters
    ----------
    table : BlockTable
    frozen : sequence of str
        Names of blocks, or patterns of some, such as ``"0.*"``; not of all.
    params : (P,) array
        Of which frozen blocks keep what they have now.

    Attributes
    ----------
    frozen : tuple of str
    size : int
        The number of free parameters.
    kept : (P - size,) array
        The values of the frozen ones.
    weight_slices : list of slice
        The stretches of θ that an l2 counts.
    """

    _instead = "build another objective"

    def __init__(self, table, frozen, params, weight_slices):
        if isinstance(frozen, str):
            frozen = (frozen,)
        elif not isinstance(frozen, (list, tuple)):
            raise TypeError(f"frozen: expected names of blocks, got {describe(frozen)}")
        is_free = np.ones(table.size, bool)
        for name in frozen:
            for block in table.matching(name, "frozen"):
                is_free[block.slice] = False
        if not is_free.any():
            raise ValueError(
                f"frozen: expected some block that is free, got {describe(frozen)}, all of them"
            )
        self.frozen = tuple(frozen)
        self.size = int(is_free.sum())
        self.kept = params[~is_free]
        self._is_free = is_free
        place = np.concatenate([[0], np.cumsum(is_free)]).tolist()  # in θ, of each parameter
        self.weight_slices = [slice(place[part.start], place[part.stop]) for part in weight_slices]

    def params_of(self, theta):
        """All parameters, fresh, in the dtype of θ if it is float32, else in float64."""
        dtype = float_dtype(theta)
        theta = shaped(as_real(theta, "theta", dtype), "theta", (self.size,))
        params = np.empty(self._is_free.size, dtype)
        params[~self._is_free] = self.kept
        params[self._is_free] = theta
        return params

    def direction_of(self, v):
        """A direction of θ as one of all parameters, fresh."""
        direction = np.zeros(self._is_free.size, v.dtype)
        direction[self._is_free] = v
        return direction

    def theta_of(self, params):
        """The free ones of all parameters, or of a gradient, fresh."""
        return params[self._is_free]

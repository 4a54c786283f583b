"""`Penalized`: what objectives have beside their data: a network, a penalty, and θ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._checks import describe
from ._fixed import Fixed, read_only
from ._free import Free
from .network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    import numpy.typing as npt

    from ._types import Array, Strength

    A = TypeVar("A", bound=npt.ArrayLike)


class Penalized(Fixed):
    """A network, the penalty of its parameters, and θ, which is those that are not frozen.

    Parameters
    ----------
    net : Network
    l2, l1 : float or mapping of str to float
    frozen : sequence of str
        See `Objective`.
    """

    net: Network

    def __init__(self, net: Network, l2: Strength, l1: Strength, frozen: Sequence[str]) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"net: expected a Network, got {describe(net)}")
        self.net = net
        self._penalty = net.make_penalty(l2, l1)
        self._free = None
        if not (isinstance(frozen, (list, tuple)) and len(frozen) == 0):
            self._free = Free(net.table, frozen, net.params, net.weight_slices)

    @property
    def l2(self) -> Strength:
        return self._penalty.as_given("l2")

    @property
    def l1(self) -> Strength:
        return self._penalty.as_given("l1")

    @property
    def frozen(self) -> tuple[str, ...]:
        return () if self._free is None else self._free.frozen

    @property
    def frozen_values(self) -> Array:
        return read_only(np.empty(0) if self._free is None else self._free.kept[...])

    @property
    def size(self) -> int:
        return self.net.table.size if self._free is None else self._free.size

    @property
    def weight_slices(self) -> tuple[slice, ...]:
        return self.net.weight_slices if self._free is None else tuple(self._free.weight_slices)

    def params_of(self, theta: A) -> A:
        """All parameters of the network, (P,), for θ: with the frozen ones, if there are any.

        Examples
        --------
        >>> import numpy as np
        >>> import scipy.optimize
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5, frozen=["0.*"])
        >>> res = scipy.optimize.minimize(obj, obj.theta_of(net.params), jac=True)
        >>> res.x.size                                 # a dense layer of 4 weights and a bias
        5
        >>> net.params = obj.params_of(res.x)
        """
        return theta if self._free is None else self._free.params_of(theta)

    def theta_of(self, params: A) -> A:
        """θ, the parameters that are not frozen, of all parameters (P,) of the network."""
        return params if self._free is None else self._free.theta_of(params)

    def penalty(self, theta: npt.ArrayLike, g: Array | None = None, *, start: float = 0.0) -> float:
        """`start` plus the penalty at `theta`; its gradient is added to `g`, if given.

        A subclass with another penalty says so here.
        """
        if self._free is None:
            return self._penalty(theta, g, start)
        gradient: Any = None if g is None else self._free.direction_of(g)
        value = self._penalty(self.params_of(theta), gradient, start)
        if g is not None:
            g[...] = self.theta_of(gradient)
        return value

    def _direction_of(self, v):
        """A direction of θ as one of all parameters."""
        return v if self._free is None else self._free.direction_of(v)

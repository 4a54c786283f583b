"""`check_gradient`: is the gradient the gradient? Block by block, against central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._checks import as_integer, as_number, describe
from .network import Network
from .objective import Objective

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Unpack

    from ._types import CheckedObjective, SequencesLike

__all__ = ["check_gradient"]

# Fourth order: sum of weight * f(theta + offset * step) / step.
_STENCIL = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))


def check_gradient(
    net: Network,
    X: SequencesLike,
    Y: SequencesLike,
    lengths: npt.ArrayLike | None = None,
    *,
    step: float = 1e-4,
    max_entries: int | None = None,
    seed: int = 0,
    **objective: Unpack[CheckedObjective],
) -> dict[str, float]:
    """Compare the gradient at `net.params` with central differences of the objective.

    Parameters
    ----------
    net : Network
    X, Y, lengths, **objective
        The data and the objective: see `Objective`.
    step : float
        h of the difference quotient (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, whose own error is
        of the order of h**4 + 1e-16 / h. An activation with a bend, such as relu, wants it small.
    max_entries : int, optional
        Check no more than so many entries of each block, drawn at random: each costs four
        evaluations.
    seed : int
        Of that draw.

    Returns
    -------
    errors : dict of str to float
        For each block the largest difference, relative to the largest entry of the block's
        gradient; of a block whose gradient is below a thousandth of the largest block's, relative
        to that thousandth.

    Notes
    -----
    Differences are taken in float64 whatever the network's dtype. Expect errors below 1e-8 for a
    float64 network and below 1e-4 for a float32 network.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 1)], seed=0)
    >>> rng = np.random.default_rng(0)
    >>> errors = lc.check_gradient(net, rng.normal(size=(2, 5, 2)), rng.normal(size=(2, 5, 1)))
    >>> list(errors)
    ['0.W', '0.R', '0.b', '0.p', '1.W', '1.b']
    >>> max(errors.values()) < 1e-8
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    step = as_number(step, "step")
    if step <= 0:
        raise ValueError(f"step: expected a number > 0, got {step}")
    if max_entries is not None:
        max_entries = as_integer(max_entries, "max_entries", 1)
    rng = np.random.default_rng(as_integer(seed, "seed", 0))
    gradient = Objective(net, X, Y, lengths=lengths, **objective).grad(net.params)

    exact = net
    if net.dtype != np.float64:
        exact = Network._of(net.options | {"dtype": "float64"}, net.params)
    fun = Objective(exact, X, Y, lengths=lengths, **objective).fun
    theta = net.params.astype(np.float64)

    def difference_quotient(index):
        quotient = 0.0
        for offset, weight in _STENCIL:
            moved = theta.copy()
            moved[index] += offset * step
            quotient += weight * fun(moved)
        return quotient / step

    largest, differences = {}, {}
    for block in net.table:
        entries = np.arange(block.size)
        if max_entries is not None and block.size > max_entries:
            entries = rng.choice(entries, max_entries, replace=False)
        got = gradient[block.offset + entries]
        wanted = np.array([difference_quotient(block.offset + entry) for entry in entries])
        differences[block.name] = np.abs(got - wanted).max(initial=0.0)
        largest[block.name] = np.abs([got, wanted]).max(initial=0.0)
    floor = 1e-3 * max(largest.values())
    return {
        name: float(difference / max(largest[name], floor)) if difference else 0.0
        for name, difference in differences.items()
    }

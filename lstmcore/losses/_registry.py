"""The losses by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._checks import as_choice, describe
from .._outputs import UNITS
from ._compiled import BinaryCrossEntropy, CrossEntropy, Poisson, SquaredError
from ._ctc import CTC
from ._function import FunctionLoss
from ._loss import TERMS, Loss
from ._mixture import Mixture
from ._of_errors import Huber, Quantile

if TYPE_CHECKING:
    from typing import Any, TypeVar

    from .._types import LossLike

    L = TypeVar("L", bound=Loss)

LOSSES: dict[str, Any] = {
    loss.name: loss
    for loss in (
        SquaredError,
        CrossEntropy,
        BinaryCrossEntropy,
        Poisson,
        Huber,
        Quantile,
        CTC,
        Mixture,
    )
}


def register(loss: type[L]) -> type[L]:
    """Make a loss known by its name: to ``Network(loss="name")`` and to `lstmcore.load`.

    Parameters
    ----------
    loss : type
        A subclass of `Loss`; a class of the same name takes the place of the one before.

    Returns
    -------
    type
        `loss`, so that this may stand as a decorator before a class.

    Examples
    --------
    >>> import lstmcore as lc
    >>> @lc.losses.register
    ... class Quartic(lc.losses.SquaredError):
    ...     name = "quartic"
    >>> lc.Network([lc.Dense(2, 1)], loss="quartic").loss_name
    'quartic'
    """
    if not (isinstance(loss, type) and issubclass(loss, Loss)):
        raise TypeError(f"loss: expected a subclass of Loss, got {describe(loss)}")
    _check_loss(loss)
    LOSSES[loss.name] = loss
    return loss


def find_loss(loss: LossLike) -> Loss:
    """A loss given as an object, a function, or by the name of one that needs no options."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(
            f"loss: expected one of {', '.join(LOSSES)}, an object of a class in lstmcore.losses, "
            f"or a function, got the class {loss.__name__}; {loss.__name__}() is an object of it"
        )
    if callable(loss) and not isinstance(loss, (type, Loss)):
        loss = FunctionLoss(loss)
    if not isinstance(loss, Loss):
        return LOSSES[as_choice(loss, "loss", LOSSES)]()
    _check_loss(loss)
    return loss


def _check_loss(loss):
    if not isinstance(loss.name, str):
        raise TypeError(f"loss.name: expected a str, got {describe(loss.name)}")
    as_choice(loss.output, "loss.output", UNITS)
    as_choice(loss.terms, "loss.terms", TERMS)

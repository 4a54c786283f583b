"""Learning rates that change during a run.

A schedule is any callable: ``schedule(epoch, max_epochs)`` is the rate of one step. `epoch` counts
the passes over the data that are done: with four batches in each, the steps are at 0, 0.25, 0.5 ...

One that goes by what the run has come to has three methods beside:

    end_epoch(epoch, loss)   after so many epochs; the loss is that of the validation if there is
                             one, else that which the history has
    state(), restore(state)  what it knows of the run, as `_run_file` has it

Each run has a copy of its own, so that none knows of another.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import cos, inf, pi
from typing import TYPE_CHECKING

from .._checks import as_integer, as_number, as_positive, describe

if TYPE_CHECKING:
    from typing import Any

    from .._types import Schedule


@dataclass(frozen=True)
class Step:
    """A rate that falls by a factor after every so many epochs.

    Parameters
    ----------
    rate : float
        The rate of the first epochs.
    every : float
        How many epochs there are from one fall to the next.
    factor : float

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.Step(0.5, every=10, factor=0.1)
    >>> schedule(9.75, 40), schedule(10, 40)
    (0.5, 0.05)
    """

    rate: float
    every: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        as_positive(self.rate, "rate")
        as_positive(self.every, "every")
        as_positive(self.factor, "factor")

    def __call__(self, epoch: float, max_epochs: float) -> float:
        return self.rate * self.factor ** (epoch // self.every)


@dataclass(frozen=True)
class _Fall:
    """From a rate at the first step to the last one."""

    rate: float
    last: float = 0.0

    def __post_init__(self) -> None:
        as_positive(self.rate, "rate")
        as_number(self.last, "last", 0)


@dataclass(frozen=True)
class Cosine(_Fall):
    """A rate that falls along half a cosine until the last epoch (Loshchilov & Hutter 2017).

    Parameters
    ----------
    rate : float
        The rate of the first step.
    last : float
        The rate to which it falls.

    References
    ----------
    I. Loshchilov, F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017,
    equation 5, without restarts.

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.Cosine(0.5, last=0.25)
    >>> schedule(0, 100), schedule(50, 100), schedule(100, 100)
    (0.5, 0.375, 0.25)
    """

    def __call__(self, epoch: float, max_epochs: float) -> float:
        return self.last + 0.5 * (self.rate - self.last) * (1.0 + cos(pi * epoch / max_epochs))


@dataclass(frozen=True)
class Linear(_Fall):
    """A rate that falls along a line until the last epoch.

    Parameters
    ----------
    rate : float
        The rate of the first step.
    last : float
        The rate to which it falls.

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.Linear(0.5, last=0.25)
    >>> schedule(0, 100), schedule(50, 100), schedule(100, 100)
    (0.5, 0.375, 0.25)
    """

    def __call__(self, epoch: float, max_epochs: float) -> float:
        return self.rate + (self.last - self.rate) * epoch / max_epochs


@dataclass
class Plateau:
    """A rate that falls by a factor when the loss has not fallen for so many epochs.

    The loss is that of the validation if there is one, and otherwise the loss in the history. After
    a fall of the rate the epochs are counted anew.

    Parameters
    ----------
    rate : float
        The rate of the first epochs.
    patience : int
        How many epochs there may be without a loss below the lowest one before them.
    factor : float
        Above 0 and below 1.
    last : float
        The lowest rate to which it falls.

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.Plateau(0.5, patience=2, factor=0.1)
    >>> rates = []
    >>> for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.0, 2.25, 1.0], start=1):
    ...     schedule.end_epoch(epoch, loss)
    ...     rates.append(schedule(epoch, 10))
    >>> rates
    [0.5, 0.5, 0.5, 0.05, 0.05, 0.05]
    """

    rate: float
    patience: int = 10
    factor: float = 0.5
    last: float = 0.0

    def __post_init__(self) -> None:
        as_positive(self.rate, "rate")
        as_integer(self.patience, "patience", 1)
        as_positive(self.factor, "factor")
        if not self.factor < 1:
            raise ValueError(f"factor: expected a number > 0 and < 1, got {self.factor}")
        as_number(self.last, "last", 0)
        self._falls, self._lowest, self._since = 0, inf, 0

    def __call__(self, epoch: float, max_epochs: float) -> float:
        return max(self.rate * self.factor**self._falls, min(self.last, self.rate))

    def end_epoch(self, epoch: float, loss: float) -> None:
        self._since = 0 if loss < self._lowest else self._since + 1
        self._lowest = min(loss, self._lowest)
        if self._since == self.patience:
            self._falls, self._since = self._falls + 1, 0

    def state(self) -> dict[str, Any]:
        return {"falls": self._falls, "lowest": self._lowest, "since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        self._falls = as_integer(state["falls"], "falls", 0)
        self._lowest = float(state["lowest"])
        self._since = as_integer(state["since"], "since", 0, self.patience - 1)


@dataclass(frozen=True)
class WarmUp:
    """A rate that rises linearly to the first rate of another schedule, and then follows that.

    Parameters
    ----------
    epochs : float
        For how many epochs the rate rises.
    then : float or schedule
        The rate or schedule that follows. It does not count the epochs of the rise.
    first : float
        The rate of the first step, as a fraction of the rate to which it rises.

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.WarmUp(4, lc.optimizers.Cosine(0.5), first=0.5)
    >>> schedule(0, 24), schedule(2, 24), schedule(4, 24), schedule(14, 24)
    (0.25, 0.375, 0.5, 0.25)
    """

    epochs: float
    then: float | Schedule
    first: float = 0.1

    def __post_init__(self) -> None:
        as_positive(self.epochs, "epochs")
        as_schedule(self.then, "then")
        as_number(self.first, "first", 0)

    def __call__(self, epoch: float, max_epochs: float) -> float:
        then, rest = as_schedule(self.then, "then"), max_epochs - self.epochs
        if epoch >= self.epochs:
            return then(epoch - self.epochs, rest)
        return then(0, rest) * (self.first + (1.0 - self.first) * epoch / self.epochs)

    def end_epoch(self, epoch: float, loss: float) -> None:
        if epoch > self.epochs and hasattr(self.then, "end_epoch"):
            self.then.end_epoch(epoch - self.epochs, loss)

    def state(self) -> dict[str, Any]:
        return self.then.state() if hasattr(self.then, "state") else {}

    def restore(self, state: dict[str, Any]) -> None:
        if hasattr(self.then, "restore"):
            self.then.restore(state)


def as_schedule(value, name):
    """A callable for a rate that is one already, or a number; one that learns is a copy."""
    if callable(value):
        return deepcopy(value) if hasattr(value, "end_epoch") else value
    try:
        rate = as_positive(value, name)
    except TypeError:
        raise TypeError(
            f"{name}: expected a number or a schedule, such as lstmcore.optimizers.Cosine, got "
            f"{describe(value)}"
        ) from None
    return lambda epoch, max_epochs: rate

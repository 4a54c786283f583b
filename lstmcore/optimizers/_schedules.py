"""Learning rates that change during a run.

A schedule is any callable: ``schedule(epoch, max_epochs)`` is the rate of one step. `epoch` counts
the passes over the data that are done: with four batches in each, the steps are at 0, 0.25, 0.5 ...
"""

from dataclasses import dataclass
from math import cos, pi

from .._checks import as_number, as_positive, describe


@dataclass(frozen=True)
class Step:
    """A rate that falls by a factor after every so many epochs.

    Parameters
    ----------
    rate : float
        Of the first epochs.
    every : float
        Epochs from one fall to the next.
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

    def __post_init__(self):
        as_positive(self.rate, "rate")
        as_positive(self.every, "every")
        as_positive(self.factor, "factor")

    def __call__(self, epoch, max_epochs):
        return self.rate * self.factor ** (epoch // self.every)


@dataclass(frozen=True)
class Cosine:
    """A rate that falls along half a cosine until the last epoch (Loshchilov & Hutter 2017).

    Parameters
    ----------
    rate : float
        Of the first step.
    last : float
        What it falls to.

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

    rate: float
    last: float = 0.0

    def __post_init__(self):
        as_positive(self.rate, "rate")
        as_number(self.last, "last", 0)

    def __call__(self, epoch, max_epochs):
        return self.last + 0.5 * (self.rate - self.last) * (1.0 + cos(pi * epoch / max_epochs))


@dataclass(frozen=True)
class WarmUp:
    """A rate that rises linearly to that with which another schedule begins, and then follows it.

    Parameters
    ----------
    epochs : float
        How long it rises.
    then : float or schedule
        The epochs of the rise are none of its own.
    first : float
        The rate of the first step, as a part of that risen to.

    Examples
    --------
    >>> import lstmcore as lc
    >>> schedule = lc.optimizers.WarmUp(4, lc.optimizers.Cosine(0.5), first=0.5)
    >>> schedule(0, 24), schedule(2, 24), schedule(4, 24), schedule(14, 24)
    (0.25, 0.375, 0.5, 0.25)
    """

    epochs: float
    then: object
    first: float = 0.1

    def __post_init__(self):
        as_positive(self.epochs, "epochs")
        as_schedule(self.then, "then")
        as_number(self.first, "first", 0)

    def __call__(self, epoch, max_epochs):
        then, rest = as_schedule(self.then, "then"), max_epochs - self.epochs
        if epoch >= self.epochs:
            return then(epoch - self.epochs, rest)
        return then(0, rest) * (self.first + (1.0 - self.first) * epoch / self.epochs)


def as_schedule(value, name):
    """A callable for a rate that is one already, or a number."""
    if callable(value):
        return value
    try:
        rate = as_positive(value, name)
    except TypeError:
        raise TypeError(
            f"{name}: expected a number or a schedule, such as lstmcore.optimizers.Cosine, got "
            f"{describe(value)}"
        ) from None
    return lambda epoch, max_epochs: rate

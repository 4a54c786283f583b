"""Methods that step along the gradient of all data or of batches: adam, sgd, rmsprop, rprop.

`minimize` and `fit` take them by name; here are the schedules of their learning rate:

>>> import lstmcore as lc
>>> lc.optimizers.WarmUp(5, lc.optimizers.Cosine(1e-2))
WarmUp(epochs=5, then=Cosine(rate=0.01, last=0.0), first=0.1)
"""

from ._descent import METHODS, PACE, WITH_BOUNDS, drive, takers_of
from ._schedules import Cosine, Linear, Plateau, Step, WarmUp

__all__ = [
    "METHODS",
    "PACE",
    "WITH_BOUNDS",
    "Cosine",
    "Linear",
    "Plateau",
    "Step",
    "WarmUp",
    "drive",
    "takers_of",
]

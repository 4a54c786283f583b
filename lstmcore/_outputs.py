"""The table of output units: what stands between the last layer and what `predict` gives.

A loss names its output units; the kernels know them by a code, C programs by a name.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._dispatch import kernels

__all__ = ["OUTPUTS", "OutputUnits"]


@dataclass(frozen=True, slots=True)
class OutputUnits:
    """One kind of output units.

    Attributes
    ----------
    name : str
        As `Loss.output` says it.
    code : int
        As kernels and streams take it.
    c_name : str
        Of the code in ``lstmcore.h``.
    range : tuple of float
        The ends that outputs come near to, lowest and highest, as pre-activations go far.
    """

    name: str
    code: int
    c_name: str
    range: tuple[float, float]

    def apply(self, a):
        """Overwrite the rows of pre-activations a (N, K) with the outputs."""
        if self.code:  # 0 is the identity
            kernels.output_units(self.code, a, a)

    def backward(self, a, dy):
        """dL/da of rows of pre-activations, given dL/dy; `a` is overwritten with the outputs."""
        if self.name == "identity":
            return dy
        if self.name == "logistic":
            rest = -a
            self.apply(rest)  # 1 - y, to the last digit where y is near 1
            self.apply(a)
            return dy * a * rest
        self.apply(a)
        if self.name == "exponential":
            return dy * a
        # Softmax: only differences of dy count. Those to the largest output's leave it out of the
        # sum, which it would drown where it is near 1.
        dy = dy - np.take_along_axis(dy, a.argmax(axis=1)[:, None], axis=1)
        return a * (dy - (a * dy).sum(axis=1, keepdims=True))


OUTPUTS = {
    units.name: units
    for units in (
        OutputUnits("identity", 0, "LSTMCORE_OUT_IDENTITY", (-math.inf, math.inf)),
        OutputUnits("logistic", 1, "LSTMCORE_OUT_LOGISTIC", (0.0, 1.0)),
        OutputUnits("softmax", 2, "LSTMCORE_OUT_SOFTMAX", (0.0, 1.0)),
        OutputUnits("exponential", 3, "LSTMCORE_OUT_EXPONENTIAL", (0.0, math.inf)),
    )
}

"""The table of output units: what stands between the last layer and what `predict` gives.

A loss names its output units; the kernels know them by a code, C programs by a name.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ._checks import as_choice, as_integer, as_number, describe
from ._dispatch import kernels

__all__ = ["MIXED", "OUTPUTS", "UNITS", "MixedUnits", "OutputUnits", "units_of"]

MIXED = "mixed"  # what `Loss.output` says where columns have units of their own


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
    table: ClassVar[None] = None  # of columns, which only `MixedUnits` have

    @property
    def kinds(self):
        """All kinds of units that there are among the outputs."""
        return (self,)

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
        if self.name == "tanh":
            # 1 - y² = 4 p (1 - p) with p the logistic function of 2 a, for the same reason
            upper, lower = 2 * a, -2 * a
            OUTPUTS["logistic"].apply(upper)
            OUTPUTS["logistic"].apply(lower)
            self.apply(a)
            return dy * (4 * upper * lower)
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
        OutputUnits("tanh", 4, "LSTMCORE_OUT_TANH", (-1.0, 1.0)),
    )
}
UNITS = (*OUTPUTS, MIXED)


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of the outputs that stand side by side.

    Attributes
    ----------
    units : OutputUnits
    part : slice
        Which columns they are.
    floor : float
        What is added to the units.
    """

    units: OutputUnits
    part: slice
    floor: float


class MixedUnits:
    """Output units that are not the same for all columns.

    Parameters
    ----------
    columns : iterable of tuple
        ``(name, count)``, or ``(name, count, floor)``, as `Loss.output_columns` gives them.
    n_outputs : int
        K, what the counts add up to.
    """

    name, code, c_name = MIXED, 5, "LSTMCORE_OUT_MIXED"

    def __init__(self, columns, n_outputs):
        found, first = [], 0
        for k, entry in enumerate(columns):
            if not isinstance(entry, tuple) or len(entry) not in (2, 3):
                raise TypeError(
                    f"loss.output_columns: expected tuples (name, count) or (name, count, floor), "
                    f"got {describe(entry)} (entry {k})"
                )
            name, count, *floor = entry
            units = OUTPUTS[as_choice(name, "loss.output_columns", OUTPUTS)]
            count = as_integer(count, "loss.output_columns", 1)
            above = as_number(floor[0], "loss.output_columns") if floor else 0.0
            found.append(Columns(units, slice(first, first + count), above))
            first += count
        if first != n_outputs:
            raise ValueError(
                f"loss.output_columns: expected columns that add up to {n_outputs}, those of the "
                f"last layer, got {first}"
            )
        self.columns = tuple(found)
        self.codes = tuple((c.units.code, c.part.stop - c.part.start, c.floor) for c in found)
        self.table = kernels.columns_table(self.codes)

    @property
    def kinds(self):
        return tuple(dict.fromkeys(columns.units for columns in self.columns))

    def apply(self, a):
        kernels.output_units(self.code, a, a, self.table)

    def backward(self, a, dy):
        da = np.empty_like(a)
        for columns in self.columns:
            part = np.ascontiguousarray(a[:, columns.part])
            da[:, columns.part] = columns.units.backward(part, dy[:, columns.part])
        self.apply(a)
        return da


def units_of(loss, n_outputs):
    """The output units of a loss's K outputs, `OutputUnits` or `MixedUnits`."""
    if loss.output == MIXED:
        return MixedUnits(loss.output_columns(n_outputs), n_outputs)
    return OUTPUTS[loss.output]

"""Targets as losses have prepared them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._fixed import Fixed, read_only, remade

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt


class Targets:
    """The targets of a data set, as a loss has prepared them. Each loss may have its own kind."""

    def astype(self, dtype: npt.DTypeLike) -> Targets:
        """The targets for outputs of another dtype."""
        return self

    def take(self, indices: npt.NDArray[Any]) -> Targets:
        """The targets of some of the terms, `indices` an integer array."""
        raise NotImplementedError


class TermTargets(Fixed, Targets):
    """Targets in an array with a row for each term.

    Attributes
    ----------
    values : (N, ...) array
        Read-only.
    """

    _instead = "prepare the data anew"

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = read_only(values)

    def __reduce__(self):
        return remade, (TermTargets, self.values)  # copies are read-only again

    def astype(self, dtype: npt.DTypeLike) -> Targets:
        # labels stay as they are
        return TermTargets(self.values.astype(dtype)) if self.values.dtype.kind == "f" else self

    def take(self, indices: npt.NDArray[Any]) -> Targets:
        return TermTargets(self.values[indices])

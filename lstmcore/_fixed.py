"""`Fixed`: objects that stay as they were made, for arrays and kernels rely on what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


class Fixed:
    """Attributes are set once, while an object is made; what setting one again raises says why not.

    A subclass says in `_instead` how to get what somebody wanted by setting an attribute. One from
    which users may derive classes with attributes of their own names its own in `_fixed`.
    """

    __slots__ = ()

    _instead: str | None = None
    _fixed: tuple[str, ...] | None = None  # names; None is all attributes

    if not TYPE_CHECKING:  # a checker would take any name at all to be there

        def __setattr__(self, name, value):
            self._refuse_fixed(name)
            super().__setattr__(name, value)

        def __delattr__(self, name):
            self._refuse_fixed(name)
            super().__delattr__(name)

    def _refuse_fixed(self, name):
        known = getattr(type(self), name, None)
        if isinstance(known, property):
            is_fixed = known.fset is None
        else:
            is_fixed = (self._fixed is None or name in self._fixed) and hasattr(self, name)
        if is_fixed:
            raise AttributeError(
                f"{name}: a {type(self).__name__} stays as it was made; {self._instead}"
            )


def read_only(array):
    """An array that nobody else has, made read-only."""
    array.setflags(write=False)
    return array


def remade(kind, *parts):
    """What was pickled, made of its parts again.

    Memory that somebody hands to pickle for arrays may begin at any byte, as that of files of Dask
    does; kernels read numbers at their own boundaries.
    """
    return kind(*map(_aligned, parts))


def _aligned(part):
    if isinstance(part, tuple):
        return tuple(map(_aligned, part))
    return part.copy() if isinstance(part, np.ndarray) and not part.flags.aligned else part

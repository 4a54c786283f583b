"""What is known of a value that depends on the data: which of its axes is what.

An axis is either *free*, a time or batch axis of the data, or counts *units*: numbers that the
input or a layer has at one step of one sequence. Units are numbered through all layers, so a value
is its axes and an integer array over those of units: a transposition, a slice or a concatenation of
the value is the same of the array.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ._graph import Refused

__all__ = ["Axis", "Lengths", "Order", "OtherLayout", "Steps", "Stream", "Unknown", "axis_name"]


class Axis:
    """A time or batch axis of the data.

    Attributes
    ----------
    name : str
    sizes : tuple of int
        For both choices of sizes; equal where the file fixes the size.
    role : {None, "time", "batch"}
        What a recurrent node takes it for.
    """

    def __init__(self, name, sizes):
        self.name, self.sizes, self.role = name, sizes, None

    @property
    def is_one(self):
        return self.sizes == (1, 1)

    def take_as(self, role):
        """Note what a node takes the axis for."""
        if self.role not in (None, role):
            raise Refused(f"takes the {self.role} axis of another node for its {role} axis")
        self.role = role


@dataclass(frozen=True, eq=False)
class Stream:
    """A value that depends on the data.

    Attributes
    ----------
    axes : tuple
        For a free axis a tuple of `Axis`, which may be several in one; None for one of units.
    units : ndarray of int
        Over the axes of units.
    behind : {None, "zero", "-inf", "any"}
        What stands behind the end of a sequence; None where no lengths are given.
    order : object
        None, or by which order the sequences of the batch were rearranged.
    is_flipped : bool
        Whether the steps stand in reverse.
    """

    axes: tuple
    units: np.ndarray
    behind: str | None = None
    order: object = None
    is_flipped: bool = False

    @property
    def n_axes(self):
        return len(self.axes)

    def sizes(self, k):
        """The shape for one of the two choices of sizes."""
        units = iter(self.units.shape)
        return tuple(
            next(units) if axis is None else prod(part.sizes[k] for part in axis)
            for axis in self.axes
        )

    @property
    def free(self):
        """The free axes' numbers."""
        return [k for k, axis in enumerate(self.axes) if axis is not None]

    def same_layout(self, other):
        """Whether two values belong to the same steps of the same sequences, axis by axis."""
        return (
            self.behind == other.behind
            and self.order is other.order
            and self.is_flipped == other.is_flipped
        )

    def unit_axis(self, axis, what):
        """The place in `units` of an axis that must be one of units."""
        if self.axes[axis] is not None:
            names = "".join(part.role or "free" for part in self.axes[axis])
            raise Refused(f"{what} along the {names} axis")
        return sum(part is None for part in self.axes[:axis])

    def with_units(self, units, axes=None):
        return replace(self, units=units, axes=self.axes if axes is None else tuple(axes))

    def transposed(self, perm):
        places = [k for k in perm if self.axes[k] is None]
        own = [self.unit_axis(k, "") for k in places]
        return self.with_units(self.units.transpose(own), [self.axes[k] for k in perm])

    def unsqueezed(self, places):
        axes = list(self.axes)
        for k in sorted(places):
            axes.insert(k, None)
        counts = iter(self.units.shape)
        old = iter(range(self.n_axes))
        shape = []
        for k, axis in enumerate(axes):
            if k in places:
                shape.append(1)
            elif next(old) >= 0 and axis is None:
                shape.append(next(counts))
        return self.with_units(self.units.reshape(shape), axes)

    def squeezed(self, places):
        for k in places:
            if self.sizes(0)[k] != 1 or self.sizes(1)[k] != 1:
                raise Refused("drops an axis with more than one entry")
        kept = [k for k in range(self.n_axes) if k not in places]
        shape = [size for k, size in enumerate(self.sizes(0)) if k in kept and not self.axes[k]]
        return self.with_units(self.units.reshape(shape), [self.axes[k] for k in kept])

    def reshaped(self, targets):
        """In another shape, given for both choices of sizes."""
        first, second = (self._grouped(target, k) for k, target in enumerate(targets))
        if first != second:
            raise Refused("has a shape that fits some numbers of steps or sequences only")
        axes = tuple(axis if isinstance(axis, tuple) else None for axis in first)
        return self.with_units(
            self.units.reshape([axis for axis in first if not isinstance(axis, tuple)]), axes
        )

    def _grouped(self, target, k):
        """For each size of a shape a tuple of free axes, or how many units."""
        items = []  # axes, and between them numbers of units
        for axis, size in zip(self.axes, self.sizes(k), strict=True):
            if axis is not None:
                items.extend(axis)
            elif items and isinstance(items[-1], int):
                items[-1] *= size
            else:
                items.append(size)
        target = _filled(target, prod(self.sizes(k)), self.sizes(k))
        result = []
        for size in target:
            if items and items[0] == 1 and len(items) > 1:
                items.pop(0)  # nothing is left of these units
            if items and isinstance(items[0], Axis) and (size > 1 or items[0].is_one):
                result.append(_taken(items, size, k))
            elif size == 1:
                result.append(1)
            elif items and isinstance(items[0], int) and size and items[0] % size == 0:
                items[0] //= size
                result.append(size)
            else:
                raise Refused(_MIXES)
        if not all(item == 1 or (isinstance(item, Axis) and item.is_one) for item in items):
            raise Refused(_MIXES)
        return result


_MIXES = (
    "puts steps or sequences and features into one axis, while a network has the same weights at "
    "every step"
)


def _filled(target, total, sizes):
    """A shape with the size that -1 stands for."""
    if target.count(-1) > 1:
        raise Refused("expected one size of -1 at most")
    known = prod(size for size in target if size != -1)
    if -1 in target:
        if not known or total % known:
            raise Refused(_does_not_fit(target, sizes))
        target = [total // known if size == -1 else size for size in target]
    if prod(target) != total or min(target, default=1) < 0:
        raise Refused(_does_not_fit(target, sizes))
    return target


def _does_not_fit(target, sizes):
    return (
        f"gives the shape {tuple(target)} to what may have the shape {sizes}; it may fit one "
        "number of steps or sequences only"
    )


def _taken(items, size, k):
    """Take axes off the list that have `size` entries together."""
    taken = []
    while items and isinstance(items[0], Axis):
        taken.append(items.pop(0))
        count = prod(axis.sizes[k] for axis in taken)
        if count == size:
            return tuple(taken)
        if count > size:
            break
    raise Refused(_MIXES)


class Unknown:
    """What a node gives that cannot be followed."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """The lengths of the sequences, or what is made of them: `what` is "n", "n > 0", "max(n, 1)",
    "n - 1" or "max(n - 1, 0)"."""

    axes: tuple
    what: str
    name: str
    order: object = None


@dataclass(frozen=True, eq=False)
class Steps:
    """Which steps are there: t < n, with 1 and 0 or -inf or as truth values.

    The axis of time has its sizes in place of an `Axis`.
    """

    axes: tuple
    name: str
    order: object = None


@dataclass(frozen=True, eq=False)
class Order:
    """An order of the sequences, by descending length or back."""

    key: object
    is_inverse: bool = False


class OtherLayout(Exception):
    """The input has its features on another axis, or more or fewer of them."""

    def __init__(self, name, axis, size):
        super().__init__(f"input {name!r} has {size} features on axis {axis}")
        self.name, self.axis, self.size = name, axis, size


def axis_name(x, axis):
    """An axis as errors call it."""
    parts = x.axes[axis]
    return "the " + " and ".join(part.role or part.name for part in parts) + " axis"

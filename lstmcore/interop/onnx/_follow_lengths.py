"""Nodes that compute with the lengths of sequences, and what they leave of padded ones."""

import numpy as np

from ._chain import Final, Input, Read, Recurrent
from ._fold import Known
from ._graph import Refused
from ._stream import Axis, Lengths, Order, Steps, Stream

__all__ = ["Counting", "keep_shape"]

_OF_LENGTHS = {
    ("Max", "n", 1.0): "max(n, 1)",
    ("Max", "n - 1", 0.0): "max(n - 1, 0)",
    ("Sub", "n", 1.0): "n - 1",
    ("Add", "n", -1.0): "n - 1",
    ("Add", "n", 0.0): "n",
    ("Greater", "n", 0.0): "n > 0",
}


class Counting:
    """The part of `Follower` that follows lengths."""

    def _counts_steps(self, value):
        """Whether a value is an input of whole numbers (B,), which to compute with are lengths."""
        if not isinstance(value, Stream) or value.units.size != 1:
            return False
        link = self.chain.link_of(value.units.ravel()[0])
        return isinstance(link, Input) and link.is_integer and len(link.layout) == 1

    def _lengths_of(self, value):
        """A stream of whole numbers (B,) as lengths."""
        if isinstance(value, Lengths):
            return value
        if not self._counts_steps(value):
            raise Refused("expected lengths that are an input (B,) of the graph")
        (link,) = self.chain.links_of(value.units)
        return Lengths(value.axes, "n", link.name)

    def _ordered(self, x, axis, order):
        """The sequences in an order, or back in the one that they came in."""
        if x.axes[axis] is None:
            raise Refused("takes units by computed indices")
        (batch,) = x.axes[axis]
        batch.take_as("batch")
        if order.is_inverse:
            if x.order is not order.key:
                raise Refused("puts sequences back in an order that they did not come from")
            return Stream(x.axes, x.units, x.behind, None, x.is_flipped)
        if x.order is not None:
            raise Refused("orders sequences twice")
        return Stream(x.axes, x.units, x.behind, order.key, x.is_flipped)

    def _do_TopK(self, node, values):
        n = self._lengths_of(values[0])
        count = values[1]
        (axis,) = [a for a in n.axes if a is not None] or [None]
        if n.what != "n" or axis is None or not isinstance(count, Known):
            raise Refused("sorts something else than lengths")
        if [int(own.ravel()[0]) for own in count.both if own.size] != list(axis[0].sizes):
            raise Refused("sorts some of the lengths")
        key = Lengths(n.axes, "n", n.name)
        return [Lengths(n.axes, "n", n.name, key), Order(key)]

    def _do_ScatterElements(self, node, values):
        _, order, places = values
        if not isinstance(order, Order) or not isinstance(places, Known) or order.is_inverse:
            raise Refused("scatters something else than an order of sequences")
        for own in places.both:
            if not np.array_equal(own, np.arange(own.size)):
                raise Refused("scatters something else than an order of sequences")
        return Order(order.key, True)

    def _with_lengths(self, node, values):
        """Arithmetic and comparisons with lengths, as far as readouts need them."""
        x, y = values
        if isinstance(x, Steps):
            x, y = y, x
        if node.op == "Mul" and isinstance(x, Stream) and isinstance(y, Steps):
            return self._masked(x, y, 0.0)
        if node.op == "Div" and isinstance(x, Stream) and isinstance(y, Lengths):
            if y.what not in ("n", "max(n, 1)") or y.order is not x.order or not _meet(y, x):
                raise Refused("divides by something else than the lengths")
            mean = self._mean_of_sum(node, x, y)
            if mean is None:
                raise Refused("divides by the lengths what is no sum over time")
            return mean
        if isinstance(x, Known) and isinstance(y, Lengths) and node.op == "Less":
            return self._steps(x, y)
        if isinstance(x, Known) and isinstance(y, Lengths) and node.op in ("Max", "Add"):
            x, y = y, x
        if isinstance(x, Lengths) and isinstance(y, Known):
            number = _number(y, x)
            made = _OF_LENGTHS.get((node.op, x.what, number))
            if node.op == "Greater" and number is None:
                return self._steps(y, x)
            if made is not None:
                return Lengths(x.axes, made, x.name, x.order)
        raise Refused("computes with lengths in a way that is not known")

    def _steps(self, steps, n):
        """Known numbers 0, 1, ... below the lengths: which steps are there."""
        n_axes = max(steps.first.ndim, len(n.axes))
        axes = [None] * (n_axes - len(n.axes)) + list(n.axes)
        shape = (1,) * (n_axes - steps.first.ndim) + steps.first.shape
        places = [k for k, size in enumerate(shape) if size != 1]
        if n.what != "n" or len(places) != 1 or axes[places[0]] is not None:
            raise Refused("compares lengths with something else than steps")
        for own in steps.both:
            if not np.array_equal(own.ravel(), np.arange(own.size)):
                raise Refused("compares lengths with something else than steps")
        made = list(axes)
        made[places[0]] = tuple(own.size for own in steps.both)
        return Steps(tuple(made), n.name, n.order)

    def _masked(self, x, steps, number):
        """x where a step is, elsewhere a number."""
        axes = [None] * (x.n_axes - len(steps.axes)) + list(steps.axes)
        if len(axes) != x.n_axes or x.order is not steps.order or x.is_flipped:
            raise Refused("masks steps of other sequences")
        for own, axis in zip(axes, x.axes, strict=True):
            if own is None:
                continue
            role = "batch" if isinstance(own[0], Axis) else "time"
            if axis is None or len(axis) != 1 or axis[0].role not in (None, role):
                raise Refused(f"masks another axis than that of {role}")
            if role == "time" and axis[0].sizes != own:
                raise Refused("masks steps of another number")
        self._take_lengths(steps.name, x)
        behind = {0.0: "zero", -np.inf: "-inf"}.get(number, "any")
        return Stream(x.axes, x.units, behind, x.order, x.is_flipped)

    def _take_lengths(self, name, x):
        """Note which input has the lengths. All that reads ahead before x must have been told."""
        if self.lengths not in (None, name):
            raise Refused("takes other lengths than what is before it")
        self.lengths = name
        for link in self.chain.links_of(x.units):
            while link is not None:
                if isinstance(link, Recurrent) and link.layer.reads_ahead and not link.has_lengths:
                    raise Refused(
                        f"takes lengths that {link.title}, which reads in reverse, does not"
                    )
                link = link.parent

    def _do_Where(self, node, values):
        condition, x, y = values
        x = self._stream(x)
        if not isinstance(y, Known) and not isinstance(y, Stream):
            raise Refused("chooses between values in a way that is not known")
        if isinstance(condition, Lengths) and condition.what == "n > 0" and _meet(condition, x):
            return self._where_steps_are(x, y)
        if isinstance(condition, Known) and all(own.all() for own in condition.both):
            if keep_shape(x, condition, y):
                return x
            raise Refused("repeats outputs along an axis")
        if not isinstance(condition, Steps) or not isinstance(y, Known) or y.first.size != 1:
            raise Refused("chooses between values by something else than lengths")
        if y.first.dtype.kind != "f":
            raise Refused("expected a number for steps that are not there")
        return self._masked(x, condition, float(y.first.ravel()[0]))

    def _where_steps_are(self, x, y):
        """Of sequences without steps the readout's own value, which `y` must be."""
        link, places = self.chain.resolve(x.units)
        if not isinstance(y, Known):
            raise Refused("chooses between two outputs")
        expected = np.zeros(x.units.shape)
        if isinstance(link, Final) or (isinstance(link, Read) and link.how == "last_step"):
            recurrent = link.parent
            if not isinstance(recurrent, Recurrent):
                raise Refused("chooses between two outputs")
            if recurrent.initial is not None:
                expected = recurrent.initial[0].ravel()[places]
        values = self._aligned(x, y)
        if not np.array_equal(np.broadcast_to(values, x.units.shape), expected):
            raise Refused("gives sequences without steps another output than lstmcore does")
        return x

    def _do_GatherND(self, node, values):
        x, n = self._stream(values[0]), values[1]
        is_plain = not node.get("batch_dims", "i", 0)
        if is_plain and isinstance(n, Known) and n.first.ndim and n.first.shape[-1] == 1:
            return self._taken(node, x, 0, Known(n.first[..., 0], n.second[..., 0]))
        if not isinstance(n, Lengths) or n.what not in ("n - 1", "max(n - 1, 0)"):
            raise Refused("takes entries by computed indices")
        if node.get("batch_dims", "i", 0) != 1 or len(n.axes) != 2 or n.axes[1] is not None:
            raise Refused("takes something else than the last step of each sequence")
        if x.order is not n.order or x.axes[0] is None or x.axes[0][0].role != "batch":
            raise Refused("takes something else than the last step of each sequence")
        self._take_lengths(n.name, x)
        return self._read(node, x, 1, "last_step")


def _number(known, lengths):
    """The one number that is computed with each of the lengths; None if there are several."""
    for k, own in enumerate(known.both):
        sizes = [1 if axis is None else axis[0].sizes[k] for axis in lengths.axes][::-1]
        fits = all(n in (1, size) for n, size in zip(own.shape[::-1], sizes, strict=False))
        if not own.size or own.ndim > len(sizes) or not fits or (own != own.flat[0]).any():
            return None
    is_one = known.first.flat[0] == known.second.flat[0]
    return float(known.first.flat[0]) if is_one else None


def _meet(lengths, x):
    """Whether lengths have their axis where x, which has been read out, has the sequences."""
    before = x.n_axes - len(lengths.axes)
    places = [before + k for k, axis in enumerate(lengths.axes) if axis is not None]
    return before >= 0 and places == x.free


def keep_shape(x, *others):
    """Whether x has the same shape when it has been broadcast with other values."""
    for k in (0, 1):
        sizes = x.sizes(k)[::-1]
        for other in others:
            shape = (other.both[k].shape if isinstance(other, Known) else other.sizes(k))[::-1]
            fits = all(n in (1, size) for n, size in zip(shape, sizes, strict=False))
            if len(shape) > len(sizes) or not fits:
                return False
    return True

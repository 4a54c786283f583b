"""Nodes that move axes and pick units, and those that read all steps out."""

import numpy as np

from ._chain import Embedded, Input, OneHot
from ._fold import (
    Known,
    attribute_or_input,
    axes_of,
    axis_of,
    ints_of,
    reduced_axes,
    shape_of,
    sliced,
    slices,
    split_sizes,
)
from ._graph import INTEGER_TYPES, REAL_TYPES, Refused
from ._stream import Axis, Lengths, Order, OtherLayout, Steps, Stream, axis_name

__all__ = ["UNROLLED", "Axes"]

# What errors add where a recurrent layer may have been written out.
UNROLLED = (
    "; a recurrent layer that is no node of its own has to come from its weights: see "
    "lstmcore.from_torch, lstmcore.from_keras"
)


class Axes:
    """The part of `Follower` that follows axes and picks units."""

    def _same(self, node, values):
        """What changes nothing once a model is trained."""
        training = values[2] if node.op == "Dropout" and len(values) > 2 else None
        if training is not None and (not isinstance(training, Known) or training.first.any()):
            raise Refused("drops out units, for it is in training mode")
        return values[0]

    def _do_Cast(self, node, values):
        to = node.get("to", "i", 0)
        value = values[0]
        if isinstance(value, Stream):
            links = self.chain.links_of(value.units)
            (link,) = links if len(links) == 1 else (None,)
            is_input = isinstance(link, Input)
            if is_input and to in REAL_TYPES and link.is_integer and len(link.layout) > 1:
                self._read_again(link, len(link.layout) - 1)
            elif is_input and to in INTEGER_TYPES and not link.is_integer:
                self._read_again(link, None)
            elif to not in REAL_TYPES and not (is_input and link.is_integer):
                raise Refused("casts outputs to a type that is not real")
        return value

    def _read_again(self, link, axis):
        """Read an input again: whole numbers as features, or real ones as tokens."""
        if link.name in self._layouts:
            raise Refused(f"reads the input {link.name!r} as tokens and as features")
        raise OtherLayout(link.name, axis, None)

    def _do_Transpose(self, node, values):
        x = self._stream(values[0])
        perm = node.get("perm", "ints") or list(reversed(range(x.n_axes)))
        perm = axes_of(perm, x.n_axes)
        if len(perm) != x.n_axes:
            raise Refused(f"expected {x.n_axes} axes, got {perm}")
        return x.transposed(perm)

    def _do_Unsqueeze(self, node, values):
        axes = attribute_or_input(node, "axes", values, 1)
        if not axes:
            raise Refused("expected axes")
        x = values[0]
        if isinstance(x, Lengths | Steps):
            places = set(axes_of(axes, len(x.axes) + len(axes)))
            rest = iter(x.axes)
            n_axes = len(x.axes) + len(places)
            return _with_axes(x, [None if k in places else next(rest) for k in range(n_axes)])
        x = self._stream(x)
        return x.unsqueezed(axes_of(axes, x.n_axes + len(axes)))

    def _do_Squeeze(self, node, values):
        x = self._stream(values[0])
        axes = attribute_or_input(node, "axes", values, 1)
        if axes is None:
            axes = [k for k, size in enumerate(x.sizes(0)) if size == 1]
        return x.squeezed(axes_of(axes, x.n_axes))

    def _do_Reshape(self, node, values):
        x = self._stream(values[0])
        shape = values[1]
        if not isinstance(shape, Known) or shape.first.ndim != 1 or shape.first.dtype.kind != "i":
            raise Refused("expected a known shape")
        if shape.first.size > 16 or shape.second.size > 16:
            raise Refused("expected at most 16 axes")
        allows_zero = node.get("allowzero", "i", 0)
        targets = []
        for k, target in enumerate(shape.both):
            sizes = x.sizes(k)
            targets.append(
                [
                    sizes[place] if size == 0 and not allows_zero and place < len(sizes) else size
                    for place, size in enumerate(map(int, target))
                ]
            )
        return x.reshaped(targets)

    def _do_Flatten(self, node, values):
        x = self._stream(values[0])
        axis = node.get("axis", "i", 1)
        axis = axis_of(axis, x.n_axes) if axis != x.n_axes else axis
        targets = [
            [int(np.prod(x.sizes(k)[:axis])), int(np.prod(x.sizes(k)[axis:]))] for k in (0, 1)
        ]
        return x.reshaped(targets)

    def _do_Expand(self, node, values):
        x = self._stream(values[0])
        shape = values[1]
        if not isinstance(shape, Known):
            raise Refused("expected a known shape")
        for k, target in enumerate(shape.both):
            if target.ndim != 1 or target.size > 16 or target.dtype.kind != "i":
                raise Refused("expected a shape")
            if np.broadcast_shapes(x.sizes(k), tuple(target)) != x.sizes(k):
                raise Refused("repeats outputs along an axis")
        return x

    def _do_Shape(self, node, values):
        x = values[0]
        if isinstance(x, Order | Lengths | Steps):
            axes = x.axes if not isinstance(x, Order) else x.key.axes
            sizes = [tuple(1 if a is None else _size(a, k) for a in axes) for k in (0, 1)]
        else:
            sizes = [self._stream(x).sizes(k) for k in (0, 1)]
        return Known(*(shape_of(node, own) for own in sizes))

    def _do_Size(self, node, values):
        x = self._stream(values[0])
        return Known(*(np.array(np.prod(x.sizes(k)), np.int64) for k in (0, 1)))

    # Units picked and put side by side, and what is read of all steps.

    def _do_Slice(self, node, values):
        x = self._stream(values[0])
        for axis, start, stop, step in slices(node, values, x.n_axes):
            taken = [sliced(start[k], stop[k], step, x.sizes(k)[axis]) for k in (0, 1)]
            if x.axes[axis] is None:
                place = x.unit_axis(axis, "")
                if taken[0] != taken[1]:
                    raise Refused("takes units by the number of steps or sequences")
                self.budget.spend(x.units.size)
                x = x.with_units(np.take(x.units, list(taken[0]), axis=place))
                continue
            sizes = x.sizes(0)[axis], x.sizes(1)[axis]
            if all(own == range(size) for own, size in zip(taken, sizes, strict=True)):
                continue
            if all(own == range(size)[::-1] for own, size in zip(taken, sizes, strict=True)):
                x = self._flipped(x, axis)
                continue
            if any(len(own) != 1 for own in taken):
                raise Refused(f"takes some of the steps or sequences of {axis_name(x, axis)}")
            x = self._read_step(node, x, axis, [own[0] for own in taken]).unsqueezed([axis])
        return x

    def _flipped(self, x, axis):
        """With the steps in reverse."""
        if len(x.axes[axis]) != 1:
            raise Refused("reverses another axis than that of time")
        x.axes[axis][0].take_as("time")
        if x.behind is not None:
            raise Refused("reverses padded sequences")
        return Stream(x.axes, x.units, x.behind, x.order, not x.is_flipped)

    def _do_ReverseSequence(self, node, values):
        x, n = self._stream(values[0]), values[1]
        time = axis_of(node.get("time_axis", "i", 0), x.n_axes)
        if not isinstance(n, Known):
            raise Refused("reverses sequences of several lengths, which no layer does")
        for k, lengths in enumerate(n.both):
            if not np.all(lengths == x.sizes(k)[time]):
                raise Refused("reverses a part of the steps")
        if x.axes[time] is None:
            raise Refused("reverses units")
        return self._flipped(x, time)

    def _do_Gather(self, node, values):
        x, indices = values
        if isinstance(x, Known):
            return self._embedded(node, x, self._stream(indices))
        x = self._stream(x)
        axis = axis_of(node.get("axis", "i", 0), x.n_axes)
        if isinstance(indices, Order):
            return self._ordered(x, axis, indices)
        return self._taken(node, x, axis, indices)

    def _taken(self, node, x, axis, indices):
        """Entries of an axis by their indices."""
        if not isinstance(indices, Known) or indices.first.dtype.kind not in "iu":
            raise Refused("takes entries by computed indices")
        if x.axes[axis] is None:
            place = x.unit_axis(axis, "")
            if not indices.is_fixed:
                raise Refused("takes units by the number of steps or sequences")
            size = x.units.shape[place]
            if indices.first.size and not (
                -size <= indices.first.min() and indices.first.max() < size
            ):
                raise Refused(f"takes units beyond the {size} that there are")
            self.budget.spend(x.units.size // max(1, size) * indices.first.size)
            units = np.take(x.units, indices.first, axis=place)
            return x.with_units(
                units, [*x.axes[:axis], *[None] * indices.first.ndim, *x.axes[axis + 1 :]]
            )
        if indices.first.size != 1:
            raise Refused(f"takes some of the steps or sequences of {axis_name(x, axis)}")
        steps = [int(own.ravel()[0]) for own in indices.both]
        for k, step in enumerate(steps):
            size = x.sizes(k)[axis]
            if not -size <= step < size:
                raise Refused(f"takes entry {step} of {size}")
            steps[k] = step % size
        x = self._read_step(node, x, axis, steps)
        return x.unsqueezed(range(axis, axis + indices.first.ndim))

    def _read_step(self, node, x, axis, steps):
        """One step of all, its axis dropped: the first or the last."""
        sizes = x.sizes(0)[axis], x.sizes(1)[axis]
        if sizes == (1, 1):
            return x.squeezed([axis])
        is_last = all(step == size - 1 for step, size in zip(steps, sizes, strict=True))
        if not is_last and any(steps):
            raise Refused(f"takes step {steps[0]} of {axis_name(x, axis)}{UNROLLED}")
        how = "last_step" if is_last != x.is_flipped else "first_step"
        if x.behind is not None and how == "last_step":
            raise Refused(
                "takes the last step of the padded array, which shorter sequences do not have"
            )
        return self._read(node, x, axis, how)

    def _read(self, node, x, axis, how):
        """Read all steps out."""
        time = self._time_axis(x, axis, "reads out")
        link, places = self.chain.source_of(x.units)
        read = self.chain.read(link, how, time, x.behind is not None, node.title)
        axes = [own for k, own in enumerate(x.axes) if k != axis]
        return Stream(tuple(axes), places + read.first, None, x.order)

    def _time_axis(self, x, axis, what):
        """The axis of time, which must be it and alone."""
        if x.axes[axis] is None or len(x.axes[axis]) != 1:
            raise Refused(f"{what} another axis than that of time")
        (time,) = x.axes[axis]
        if time.role == "batch":
            raise Refused(f"{what} the batch axis")
        if time.role is None:
            raise Refused(f"{what} an axis that no recurrent layer before takes for time{UNROLLED}")
        return time

    def _embedded(self, node, table, tokens):
        """Rows of a table, one for each token."""
        if node.get("axis", "i", 0) or table.first.ndim != 2 or not table.is_fixed:
            raise Refused("takes entries of known numbers that are no table with a row a token")
        if table.first.dtype.kind != "f":
            raise Refused("takes rows of a table that has no real numbers")
        self._dtype_of_matrices = np.promote_types(self._dtype_of_matrices, table.first.dtype)
        link = self.chain.add(Embedded(self._tokens(tokens), table.first, node.title))
        return tokens.with_units(
            link.units.reshape(*tokens.units.shape, link.size), (*tokens.axes, None)
        )

    def _tokens(self, x):
        """The input that a stream of tokens is."""
        link, _ = self.chain.resolve(x.units)
        if not isinstance(link, Input) or not link.is_integer or x.units.size != 1:
            raise Refused("takes rows by numbers that are no tokens of the input")
        return link

    def _do_OneHot(self, node, values):
        x = self._stream(values[0])
        link = self._tokens(x)
        (depth,) = ints_of(values[1], "depth")[:1] or [0]
        on = values[2]
        axis = axis_of(node.get("axis", "i", -1), x.n_axes + 1)
        if not isinstance(on, Known) or on.first.ravel().tolist() != [0, 1] or axis != x.n_axes:
            raise Refused("gives something else than one-hot vectors along the last axis")
        if depth < 1:
            raise Refused("expected a depth of at least 1")
        self.budget.spend(depth)
        hot = self.chain.add(OneHot(link, depth, node.title))
        return x.with_units(hot.units.reshape(*x.units.shape, depth), (*x.axes, None))

    def _do_Concat(self, node, values):
        streams = [self._stream(value) for value in values]
        first = streams[0]
        axis = axis_of(node.get("axis", "i", 0), first.n_axes)
        for stream in streams:
            if [a or None for a in stream.axes] != [a or None for a in first.axes]:
                raise Refused("joins values of different axes")
            if not stream.same_layout(first):
                raise Refused("joins sequences in different orders")
        place = first.unit_axis(axis, "joins values")
        self.budget.spend(sum(stream.units.size for stream in streams))
        return first.with_units(np.concatenate([s.units for s in streams], axis=place))

    def _do_Split(self, node, values):
        x = self._stream(values[0])
        axis = axis_of(node.get("axis", "i", 0), x.n_axes)
        place = x.unit_axis(axis, "splits values")
        sizes = split_sizes(node, values, x.units.shape[place])
        return [x.with_units(part) for part in np.split(x.units, np.cumsum(sizes)[:-1], axis=place)]

    def _reduce(self, node, values):
        x = self._stream(values[0])
        axes = reduced_axes(node, values, x.n_axes)
        keeps = node.get("keepdims", "i", 1)
        how = {"ReduceMean": "mean", "ReduceMax": "max", "ReduceSum": "sum"}[node.op]
        for axis in sorted(axes, reverse=True):
            x = self._reduced(node, x, axis, how)
        return x.unsqueezed(axes) if keeps and axes else x

    def _reduced(self, node, x, axis, how):
        """The mean, maximum or sum over one axis."""
        if x.axes[axis] is not None:
            if x.behind is not None and (how, x.behind) not in (("sum", "zero"), ("max", "-inf")):
                raise Refused(
                    f"takes the {how} over padded steps, which do not belong to the sequences"
                )
            return self._read(node, x, axis, how)
        place = x.unit_axis(axis, "")
        groups = np.moveaxis(x.units, place, -1)
        if groups.shape[-1] == 1:
            return x.squeezed([axis])
        if not groups.shape[-1]:
            raise Refused("reduces no entries")
        if how == "max":
            raise Refused("takes the maximum over units, which no layer does")
        scale = 1.0 if how == "sum" else 1.0 / groups.shape[-1]
        columns = [groups[..., k] for k in range(groups.shape[-1])]
        units = self._combined(node, columns, [scale] * len(columns))
        return x.with_units(units, [a for k, a in enumerate(x.axes) if k != axis])

    def _pool(self, node, values):
        """The mean or maximum over all axes behind the second, with windows of their lengths."""
        x = self._stream(values[0])
        how = "mean" if node.op.endswith("AveragePool") else "max"
        windows = node.get("kernel_shape", "ints")
        for axis in range(2, x.n_axes):
            window = windows[axis - 2] if windows and len(windows) == x.n_axes - 2 else None
            if windows and not window == x.sizes(0)[axis] == x.sizes(1)[axis]:
                raise Refused("pools over windows of some steps")
        if any(node.get("pads", "ints", [])) or node.get("auto_pad", "s", "NOTSET") != "NOTSET":
            raise Refused("pools over padding")
        for axis in reversed(range(2, x.n_axes)):
            x = self._reduced(node, x, axis, how).unsqueezed([axis])
        return x


def _size(axis, k):
    """A size of an axis of lengths, or of steps, which has them in place of an `Axis`."""
    return axis[0].sizes[k] if isinstance(axis[0], Axis) else axis[k]


def _with_axes(x, axes):
    if isinstance(x, Steps):
        return Steps(tuple(axes), x.name, x.order)
    return Lengths(tuple(axes), x.what, x.name, x.order)

"""What each value of a graph is: known numbers, or units of the layers found so far, axis by axis.

No pattern of nodes is looked for. Every node is followed for what it does to axes and units, so
that it does not matter how an exporter writes a thing.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from ._cells import KINDS, as_written, read_cell
from ._chain import (
    Activated,
    Chain,
    Embedded,
    Ended,
    Final,
    Input,
    Linear,
    OneHot,
    Read,
    Recurrent,
)
from ._fold import (
    FOLDED,
    Budget,
    Known,
    attribute_or_input,
    axes_of,
    axis_of,
    fold,
    ints_of,
    reduced_axes,
    shape_of,
    sliced,
    slices,
    split_sizes,
)
from ._graph import Refused
from ._stream import Axis, Stream

__all__ = ["Follower", "Found", "OtherLayout", "Unknown"]

# Sizes of free axes, so that no two are taken for each other, nor for a number of units.
_FIRST = 37, 41, 43, 47
_SECOND = 53, 59, 61, 67

_ACTIVATIONS = {
    "Sigmoid": ("logistic",),
    "Tanh": ("tanh",),
    "Relu": ("relu",),
    "Softsign": ("softsign",),
    "Softplus": ("softplus",),
    "Elu": ("elu", ("alpha", 1.0)),
    "LeakyRelu": ("leaky_relu", ("alpha", 0.01)),
    "ThresholdedRelu": ("thresholded_relu", ("alpha", 1.0)),
    "HardSigmoid": ("hard_sigmoid", ("alpha", 0.2), ("beta", 0.5)),
}
_REAL_TYPES, _INTEGER_TYPES = {1, 10, 11, 16}, {2, 3, 4, 5, 6, 7, 12, 13}


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
    """Which steps are there: t < n, over axes of which one is free."""

    axes: tuple


@dataclass(frozen=True, eq=False)
class Order:
    """An order of the sequences, by descending length or back."""

    key: object
    is_inverse: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """A recurrent node.

    Attributes
    ----------
    node : Node
    layer : Layer
    blocks : list of dict
    learned : list or None
        For each state (D, H), where they are known numbers.
    computed : tuple of str
        The values that give its initial states, where they are no known numbers.
    """

    node: object
    layer: object
    blocks: list
    learned: list | None
    computed: tuple


class OtherLayout(Exception):
    """The input has its features on another axis, or more or fewer of them."""

    def __init__(self, name, axis, size):
        super().__init__(f"input {name!r} has {size} features on axis {axis}")
        self.name, self.axis, self.size = name, axis, size


class Follower:
    """Follows the values of one graph.

    Parameters
    ----------
    graph : Graph
    layouts : dict
        For inputs by their names (axis of the features, how many or None).
    linear_before_reset : bool or None
        In place of what GRU nodes say.
    opset : int

    Attributes
    ----------
    chain : Chain
    refused : list of (Node, str)
        The nodes that cannot be part of a network, and why.
    found : list of Found
    lengths : str or None
        The input that has the lengths.
    inputs : dict of str to Input
        Those of the graph that are read.
    dtype : dtype
        Of the weights: float64 if some are.
    """

    def __init__(self, graph, layouts=None, linear_before_reset=None, opset=20):
        self.graph, self.opset = graph, opset
        self.budget = Budget(graph.n_numbers)
        self.chain = Chain(self.budget)
        self.refused, self.found = [], []
        self.lengths, self.dtype = None, np.dtype(np.float32)
        self.inputs = {}
        self._layouts = layouts or {}
        self.linear_before_reset = linear_before_reset
        self._values, self._n_axes = {}, 0

    def follow(self, nodes):
        """Follow nodes, each of which stands behind those that it reads."""
        for node in nodes:
            try:
                outputs = self._outputs(node, [self._read_by(node, name) for name in node.inputs])
            except Refused as error:
                self.refused.append((node, str(error)))
                outputs = [Unknown()] * len(node.outputs)
            for name, value in zip(node.outputs, outputs, strict=False):
                self._values[name] = value

    def _read_by(self, node, name):
        """A value that a node reads."""
        try:
            return self.value(name)
        except Refused as error:
            self.refused.append((node, str(error)))
            return Unknown()

    def value(self, name):
        """What a value is; None for one that is left out."""
        if not name:
            return None
        if name not in self._values:
            array = self.graph.array(name)
            if array is not None:
                self._values[name] = Known(array)
            elif name in self.graph.states:
                self._values[name] = self._state(name)
            elif self.graph.input(name) is not None:
                self._values[name] = self._input(name)
            elif self.graph.producer(name) is not None:
                return Unknown()
            else:
                raise ValueError(f"source: expected a graph that gives {name!r}, got none")
        return self._values[name]

    # ------------------------------------------------------------------------------- inputs

    def _input(self, name):
        """An input of the graph: its last axis has the features, unless it holds integers."""
        tensor = self.graph.input(name).type.tensor_type
        is_integer = tensor.elem_type in _INTEGER_TYPES
        if not is_integer and tensor.elem_type not in _REAL_TYPES:
            raise Refused(f"reads the input {name!r}, which has neither numbers nor tokens")
        if not tensor.HasField("shape"):
            raise Refused(f"reads the input {name!r}, whose number of axes is not said")
        sizes = [dim.dim_value for dim in tensor.shape.dim]
        if len(sizes) > 6:
            raise Refused(f"reads the input {name!r}, which has {len(sizes)} axes")
        features, size = self._layouts.get(name, (len(sizes) - 1, None))
        if (is_integer and name not in self._layouts) or not sizes:
            features, size = None, 1
        elif size is None:
            size = sizes[features] if sizes[features] > 0 else 1
        self.budget.spend(size)
        axes = [
            None if k == features else (self._axis(name, k, declared),)
            for k, declared in enumerate(sizes)
        ]
        link = self.chain.add(Input(name, size, is_integer))
        link.layout, link.axes = sizes, axes
        self.inputs[name] = link
        units = link.units
        return Stream(tuple(axes), units if features is not None else units.reshape(()))

    def _state(self, name):
        """An input that is a state, as it is at first; the same for all sequences of the batch."""
        tensor = self.graph.inputs[name].type.tensor_type
        if tensor.elem_type not in _REAL_TYPES:
            raise Refused(f"reads the state {name!r}, which has no real numbers")
        sizes = [max(1, dim.dim_value) for dim in tensor.shape.dim]
        if len(sizes) > 6:
            raise Refused(f"reads the state {name!r}, which has {len(sizes)} axes")
        self.budget.spend(prod(sizes))
        return Known(np.zeros(sizes, np.float32))

    def _axis(self, name, k, declared):
        if declared > 0:
            return Axis(f"{name}[{k}]", (declared, declared))
        if self._n_axes == len(_FIRST):
            raise Refused(f"reads the input {name!r}, which has one free axis too many")
        self._n_axes += 1
        return Axis(f"{name}[{k}]", (_FIRST[self._n_axes - 1], _SECOND[self._n_axes - 1]))

    def _retry(self, stream, axis, size):
        """Read the input again, with its features on the axis of a stream that must have them."""
        links = self.chain.links_of(stream.units)
        if len(links) != 1 or not isinstance(links[0], Input) or links[0].name in self._layouts:
            return
        link = links[0]
        if stream.axes[axis] is not None:
            parts = stream.axes[axis]
            at = [k for k, own in enumerate(link.axes) if own and own[0] is parts[0]]
            if len(parts) == 1 and at and link.layout[at[0]] in (0, size):
                raise OtherLayout(link.name, at[0], size)
        elif link.layout[link.axes.index(None)] <= 0 and size != link.size:
            raise OtherLayout(link.name, link.axes.index(None), size)

    # ---------------------------------------------------------------------------------- nodes

    def _outputs(self, node, values):
        if node.domain:
            raise Refused(f"is of the domain {node.domain!r}, of which no layer is known")
        if node.op in KINDS:
            _check_inputs(node, self.opset)
            return self._recurrent(node, values)
        method = getattr(self, f"_do_{node.op}", None) or _METHODS.get(node.op)
        if method is None and node.op not in FOLDED:
            raise Refused(
                _WHY_NOT.get(node.op, "is no layer, and nothing that a layer can take in")
            )
        _check_inputs(node, self.opset)
        if any(isinstance(value, Unknown) for value in values):
            return [Unknown()] * len(node.outputs)
        if all(value is None or isinstance(value, Known) for value in values):
            return fold(node, self.budget, values)
        if method is None:
            raise Refused("computes with data what no layer does")
        if isinstance(method, str):
            method = getattr(self, method)
        try:
            result = method(node, values)
        except ValueError as error:  # NumPy's, of shapes that do not go together
            raise Refused(f"cannot be followed: {error}") from error
        return result if isinstance(result, list) else [result]

    def _stream(self, value):
        if not isinstance(value, Stream):
            raise Refused("computes with lengths or known numbers in a way that is not known")
        return value

    # Axes alone.

    def _same(self, node, values):
        training = values[2] if node.op == "Dropout" and len(values) > 2 else None
        if training is not None and (not isinstance(training, Known) or training.first.any()):
            raise Refused("drops out units, for it is in training mode")
        return values[0]

    def _do_Cast(self, node, values):
        to = node.get("to", "i", 0)
        value = values[0]
        if isinstance(value, Stream):
            links = self.chain.links_of(value.units)
            is_integer = any(isinstance(link, Input) and link.is_integer for link in links)
            if to not in _REAL_TYPES and not (is_integer and to in _INTEGER_TYPES):
                raise Refused("casts outputs to a type that is not real")
            if is_integer and to in _REAL_TYPES:
                (link,) = links
                if len(link.layout) > 1 and link.name not in self._layouts:
                    raise OtherLayout(link.name, len(link.layout) - 1, None)
        return value

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
            sizes = [tuple(1 if a is None else a[0].sizes[k] for a in axes) for k in (0, 1)]
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
                raise Refused(f"takes some of the steps or sequences of {_name(x, axis)}")
            x = self._read_step(node, x, axis, [own[0] for own in taken]).unsqueezed([axis])
        return x

    def _flipped(self, x, axis):
        if len(x.axes[axis]) != 1:
            raise Refused("reverses another axis than that of time")
        x.axes[axis][0].take_as("time")
        if x.behind is not None:
            raise Refused("reverses padded sequences")
        return Stream(x.axes, x.units, x.behind, x.order, not x.is_flipped)

    def _do_Gather(self, node, values):
        x, indices = values
        if isinstance(x, Known):
            return self._embedded(node, x, self._stream(indices))
        x = self._stream(x)
        axis = axis_of(node.get("axis", "i", 0), x.n_axes)
        if isinstance(indices, Order):
            return self._ordered(x, axis, indices)
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
            raise Refused(f"takes some of the steps or sequences of {_name(x, axis)}")
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
            raise Refused(f"takes step {steps[0]} of {_name(x, axis)}{_UNROLLED}")
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
        read = self.chain.read(link, how, time, node.title)
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
            raise Refused(
                f"{what} an axis of the input that no recurrent layer before takes for time"
            )
        return time

    def _embedded(self, node, table, tokens):
        if node.get("axis", "i", 0) or table.first.ndim != 2 or not table.is_fixed:
            raise Refused("takes entries of known numbers that are no table with a row a token")
        tokens = self._tokens(tokens)
        if table.first.dtype.kind != "f":
            raise Refused("takes rows of a table that has no real numbers")
        link = self.chain.add(Embedded(tokens[1], table.first, node.title))
        return Stream((*tokens[0].axes, None), link.units)

    def _tokens(self, x):
        link, _ = self.chain.resolve(x.units)
        if not isinstance(link, Input) or not link.is_integer or x.units.size != 1:
            raise Refused("takes rows by numbers that are no tokens of the input")
        if x.units.ndim:  # axes of one entry, beside the free ones
            x = Stream(tuple(a for a in x.axes if a is not None), x.units.reshape(()))
        return x, link

    def _do_OneHot(self, node, values):
        x, link = self._tokens(self._stream(values[0]))
        (depth,) = ints_of(values[1], "depth")[:1] or [0]
        on = values[2]
        axis = axis_of(node.get("axis", "i", -1), x.n_axes + 1)
        if not isinstance(on, Known) or on.first.ravel().tolist() != [0, 1] or axis != x.n_axes:
            raise Refused("gives something else than one-hot vectors along the last axis")
        if depth < 1:
            raise Refused("expected a depth of at least 1")
        self.budget.spend(depth)
        hot = self.chain.add(OneHot(link, depth, node.title))
        return Stream((*x.axes, None), hot.units)

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
        if how == "max":
            raise Refused("takes the maximum over units, which no layer does")
        scale = 1.0 if how == "sum" else 1.0 / groups.shape[-1]
        columns = [groups[..., k] for k in range(groups.shape[-1])]
        units = self._combined(node, columns, [scale] * len(columns))
        return x.with_units(units, [a for k, a in enumerate(x.axes) if k != axis])

    def _global_pool(self, node, values):
        x = self._stream(values[0])
        how = "mean" if node.op == "GlobalAveragePool" else "max"
        for axis in reversed(range(2, x.n_axes)):
            x = self._reduced(node, x, axis, how).unsqueezed([axis])
        return x

    # Arithmetic.

    def _combined(self, node, terms, scales):
        """Units that are sums of units of one link, each times a number."""
        link, places = self.chain.source_of(np.stack([np.asarray(term) for term in terms]))
        n, m = places[0].size, link.size if not isinstance(link, Linear) else link.parent.size
        self.budget.spend(n * m)
        total_W, total_b, is_layer = 0.0, 0.0, False
        for own, scale in zip(places, scales, strict=True):
            parent, W, b, is_layer = self.chain.linear(link, own, node.title)
            total_W = total_W + scale * W.astype(np.float64)
            total_b = total_b + (0.0 if b is None else scale * b.astype(np.float64))
        b = None if np.ndim(total_b) == 0 else total_b
        made = self.chain.add(Linear(parent, total_W, b, is_layer, node.title))
        return made.units.reshape(places[0].shape)

    def _arithmetic(self, node, values):
        if len(values) != 2:
            raise Refused(f"expected two inputs, got {len(values)}")
        values = [self._lengths_of(v) if self._counts_steps(v) else v for v in values]
        if any(isinstance(value, Lengths | Steps) for value in values):
            return self._with_lengths(node, values)
        x, y = values
        if isinstance(x, Stream) and isinstance(y, Stream):
            return self._two_streams(node, x, y)
        is_reversed = isinstance(x, Known)
        if is_reversed:
            x, y = y, x
        x = self._stream(x)
        if not isinstance(y, Known):
            raise Refused("computes with an order of sequences")
        if node.op == "Max" and not y.first.any() and y.is_fixed:
            return self._activated(node, x, "relu")
        if self._begins_readout(node, x, y):
            return x
        if node.op not in ("Add", "Sub", "Mul", "Div"):
            raise Refused("compares outputs with numbers, which no layer does")
        if node.op == "Div" and not is_reversed:
            mean = self._mean_of_sum(node, x, y)
            if mean is not None:
                return mean
        constants = self._aligned(x, y)
        if node.op in ("Add", "Sub"):
            scale = -1.0 if node.op == "Sub" and is_reversed else 1.0
            sign = -1.0 if node.op == "Sub" and not is_reversed else 1.0
            return self._affine(node, x, np.array(scale), sign * constants)
        if node.op == "Div":
            if is_reversed:
                raise Refused("divides by outputs, which no layer does")
            with np.errstate(all="ignore"):
                constants = 1.0 / constants.astype(np.float64)
        return self._affine(node, x, constants, None)

    def _begins_readout(self, node, x, y):
        """Whether x is a readout and y what it begins with: a sum of 0, a maximum of -inf."""
        link, _ = self.chain.resolve(x.units)
        begins = {("Add", "sum"): 0.0, ("Max", "max"): -np.inf}
        first = begins.get((node.op, link.how)) if isinstance(link, Read) else None
        if first is None or not all(np.all(own == first) for own in y.both):
            return False
        shape = self._aligned(x, y).shape
        return all(n in (1, size) for n, size in zip(shape, x.units.shape, strict=True))

    def _mean_of_sum(self, node, x, count):
        """The mean over time, where a sum over time is divided by the number of steps."""
        link, places = self.chain.resolve(x.units)
        if not isinstance(link, Read) or link.how != "sum":
            return None
        if isinstance(count, Known):
            is_count = [
                np.all(own == size) for own, size in zip(count.both, link.time.sizes, strict=True)
            ]
            if self.lengths or not all(is_count):
                return None
        mean = self.chain.read(link.parent, "mean", link.time, node.title)
        return x.with_units(places + mean.first)

    def _two_streams(self, node, x, y):
        if node.op not in ("Add", "Sub"):
            raise Refused(f"{_VERBS[node.op]} outputs by outputs, which no layer does")
        if x.axes != y.axes or not x.same_layout(y) or x.units.shape != y.units.shape:
            raise Refused("adds values of different axes")
        sign = 1.0 if node.op == "Add" else -1.0
        return x.with_units(self._combined(node, [x.units, y.units], [1.0, sign]))

    def _aligned(self, x, constants):
        """Known numbers as an array that broadcasts with the units of a stream."""
        arrays = []
        for k, values in enumerate(constants.both):
            if values.dtype.kind not in "fiu":
                raise Refused("computes with known values that are no numbers")
            if values.ndim > x.n_axes:
                if set(values.shape[: values.ndim - x.n_axes]) != {1}:
                    raise Refused("repeats outputs along an axis")
                values = values.reshape(values.shape[values.ndim - x.n_axes :])
            values = values.reshape((1,) * (x.n_axes - values.ndim) + values.shape)
            sizes = x.sizes(k)
            for axis in x.free:
                if values.shape[axis] not in (1, sizes[axis]):
                    raise Refused("computes with numbers of another shape")
                first = np.take(values, [0], axis=axis)
                if not np.array_equal(first.repeat(values.shape[axis], axis), values):
                    raise Refused(f"computes with other numbers along {_name(x, axis)}")
                values = first
            kept = [size for size, own in zip(values.shape, x.axes, strict=True) if own is None]
            arrays.append(values.reshape(kept))
        if not np.array_equal(*arrays, equal_nan=arrays[0].dtype.kind == "f"):
            raise Refused("computes with numbers that depend on the number of steps or sequences")
        return arrays[0]

    def _affine(self, node, x, scale, shift):
        """scale x + shift."""
        parts = [x.units.shape, np.shape(scale), () if shift is None else np.shape(shift)]
        shape = np.broadcast_shapes(*parts)
        if len(shape) != x.units.ndim:
            raise Refused("computes with numbers of another shape")
        units = np.broadcast_to(x.units, shape)
        scale = np.broadcast_to(scale, shape).ravel()
        shift = None if shift is None else np.broadcast_to(shift, shape).ravel()
        link, places = self.chain.source_of(units)
        n, m = places.size, link.size if not isinstance(link, Linear) else link.parent.size
        self.budget.spend(n * m)
        parent, W, b, is_layer = self.chain.linear(link, places, node.title)
        if not np.all(scale == 1):
            W = W.astype(np.float64) * scale[:, None]
            b = None if b is None else b.astype(np.float64) * scale
        if shift is not None:
            b = shift if b is None else b.astype(np.float64) + shift
        made = self.chain.add(Linear(parent, W, b, is_layer, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(shape), behind, x.order, x.is_flipped)

    def _do_Neg(self, node, values):
        return self._affine(node, self._stream(values[0]), np.array(-1.0), None)

    def _do_BatchNormalization(self, node, values):
        x = self._stream(values[0])
        if node.get("training_mode", "i", 0) or x.n_axes < 2:
            raise Refused("normalizes batches, for it is in training mode")
        if len(values) != 5 or not all(isinstance(v, Known) and v.is_fixed for v in values[1:]):
            raise Refused("expected known scale, shift, mean and variance")
        scale, shift, mean, variance = (v.first.astype(np.float64) for v in values[1:])
        epsilon = node.get("epsilon", "f", 1e-5)
        place = x.unit_axis(1, "normalizes")
        shape = [1] * x.units.ndim
        shape[place] = x.units.shape[place]
        if any(v.shape != (shape[place],) for v in (scale, shift, mean, variance)):
            raise Refused(f"expected scale, shift, mean and variance of {shape[place]} channels")
        with np.errstate(all="ignore"):
            scale = scale / np.sqrt(variance + epsilon)
        return self._affine(node, x, scale.reshape(shape), (shift - scale * mean).reshape(shape))

    def _do_MatMul(self, node, values):
        x, W = values
        if isinstance(x, Known):
            raise Refused("multiplies outputs by a matrix from the left")
        if not isinstance(W, Known):
            raise Refused("multiplies outputs by outputs, which no layer does")
        W = self._matrix(W)
        return self._product(node, self._stream(x), W.T, None)

    def _do_Gemm(self, node, values):
        x, W, b = (*values, None)[:3]
        if not isinstance(x, Stream) or not isinstance(W, Known):
            raise Refused("multiplies something else than outputs by a known matrix")
        if node.get("transA", "i", 0):
            raise Refused("transposes outputs before the product")
        alpha, beta = node.get("alpha", "f", 1.0), node.get("beta", "f", 1.0)
        W = self._matrix(W)
        W = W if node.get("transB", "i", 0) else W.T
        W = W if alpha == 1 else alpha * W.astype(np.float64)
        x = self._product(node, x, W, None)
        if b is None or beta == 0:
            return x
        if not isinstance(b, Known):
            raise Refused("adds outputs to a product")
        shift = self._aligned(x, b)
        return self._affine(node, x, np.array(1.0), shift if beta == 1 else beta * shift)

    def _matrix(self, W):
        array = W.first
        if not W.is_fixed or array.dtype.kind != "f":
            raise Refused("expected a known matrix of real numbers")
        array = array.reshape(array.shape[-2:]) if set(array.shape[:-2]) == {1} else array
        if array.ndim != 2 or not array.size:
            raise Refused(f"expected a known matrix, got shape {array.shape}")
        return array

    def _product(self, node, x, W, b):
        """W x of the units on the last axis."""
        if not x.n_axes:
            raise Refused("multiplies a single number by a matrix")
        self._retry(x, x.n_axes - 1, W.shape[1])
        x_units = x.units
        x.unit_axis(x.n_axes - 1, "multiplies by a matrix")
        if x_units.shape[-1] != W.shape[1]:
            raise Refused(f"expected {W.shape[1]} units, got {x_units.shape[-1]}")
        if x_units.size != W.shape[1]:
            raise Refused("multiplies several vectors of one step by the same matrix")
        parent, W, b = self._weights_of(x_units.ravel(), W, b)
        made = self.chain.add(Linear(parent, W, b, True, node.title))
        behind = "any" if x.behind else None
        shape = (*x_units.shape[:-1], len(W))
        return Stream(x.axes, made.units.reshape(shape), behind, x.order, x.is_flipped)

    def _weights_of(self, units, W, b):
        """The link that units come from, and W (rows, units) and b for all of its units."""
        link, places = self.chain.source_of(units)
        if isinstance(link, Linear) and not link.is_layer:
            self.budget.spend(len(W) * link.parent.size)
            shift = None if link.b is None else W.astype(np.float64) @ link.b[places]
            W = W.astype(np.float64) @ link.W[places].astype(np.float64)
            if shift is not None:
                b = shift if b is None else b + shift
            return link.parent, W, b
        if len(places) == link.size and np.array_equal(places, np.arange(link.size)):
            return link, W, b
        self.budget.spend(len(W) * link.size)
        full = np.zeros((len(W), link.size), W.dtype)
        np.add.at(full.T, places, W.T)
        return link, full, b

    def _activation(self, node, values):
        name, *parameters = _ACTIVATIONS[node.op]
        given = [as_written(node.get(key, "f", default)) for key, default in parameters]
        return self._activated(node, self._stream(values[0]), (name, *given) if given else name)

    def _activated(self, node, x, activation):
        link, places = self.chain.source_of(x.units)
        if x.units.size != link.size or not np.array_equal(places.ravel(), np.arange(link.size)):
            self.budget.spend(x.units.size * link.size)
            link = self.chain.add(Linear(*self.chain.linear(link, places, node.title), node.title))
        made = self.chain.add(Activated(link, activation, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(x.units.shape), behind, x.order, x.is_flipped)

    def _do_PRelu(self, node, values):
        x, slope = self._stream(values[0]), values[1]
        if not isinstance(slope, Known) or slope.first.size < 1 or np.ptp(slope.first):
            raise Refused("has several slopes, while an activation has one for all units")
        slope = as_written(slope.first.ravel()[0])
        if not slope >= 0:
            raise Refused(f"has the slope {slope}, while leaky_relu has none below 0")
        return self._activated(node, x, ("leaky_relu", slope))

    def _do_Clip(self, node, values):
        x = self._stream(values[0])
        low, high = -np.inf, np.inf
        if node.has("min") or node.has("max"):
            low, high = node.get("min", "f", low), node.get("max", "f", high)
        bounds = [values[k] if len(values) > k else None for k in (1, 2)]
        if any(b is not None and not (isinstance(b, Known) and b.is_fixed) for b in bounds):
            raise Refused("expected known bounds")
        low, high = (
            float(own.first.ravel()[0]) if own is not None and own.first.size else bound
            for own, bound in zip(bounds, (low, high), strict=True)
        )
        link, _ = self.chain.resolve(x.units)
        if isinstance(link, Activated) and link.activation in _RANGES:
            first, last = _RANGES[link.activation]
            if low <= first and high >= last:
                return x
        largest = np.finfo(np.float32).max
        if low == 0 and high >= largest:
            return self._activated(node, x, "relu")
        if low == 0 and 0 < high < largest:
            x = self._activated(node, x, ("hard_sigmoid", as_written(1 / high), 0.0))
            return x if high == 1 else self._affine(node, x, np.array(high), None)
        raise Refused(f"clips outputs to {low:g} ... {high:g}, which no activation does")

    # What a network has at its end.

    def _do_Softmax(self, node, values):
        x = self._stream(values[0])
        axis = axis_of(node.get("axis", "i", -1 if self.opset >= 13 else 1), x.n_axes)
        rest = x.axes[axis + 1 :] if self.opset < 13 else ()
        last = [k for k, own in enumerate(x.axes) if own is None and x.sizes(0)[k] > 1]
        if any(rest) or x.axes[axis] is not None or (self.opset >= 13 and last not in ([], [axis])):
            raise Refused("is a softmax over something else than all units of a step")
        return self._ended(node, x, "softmax" if node.op == "Softmax" else "log_softmax")

    def _ended(self, node, x, units):
        link, places = self.chain.source_of(x.units)
        if x.units.size != link.size or not np.array_equal(places.ravel(), np.arange(link.size)):
            self.budget.spend(x.units.size * link.size)
            link = self.chain.add(Linear(*self.chain.linear(link, places, node.title), node.title))
        made = self.chain.add(Ended(link, units, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(x.units.shape), behind, x.order, x.is_flipped)

    def _do_Exp(self, node, values):
        x = self._stream(values[0])
        return self._unended(node, x, "log_softmax", "softmax") or self._ended(
            node, x, "exponential"
        )

    def _do_Log(self, node, values):
        x = self._stream(values[0])
        made = self._unended(node, x, "softmax", "log_softmax")
        if made is None:
            raise Refused("takes the logarithm of outputs, which no layer does")
        return made

    def _unended(self, node, x, before, after):
        """Exp or Log of a softmax: the same softmax in another form."""
        link, places = self.chain.resolve(x.units)
        if not isinstance(link, Ended) or link.output_units != before:
            return None
        made = self.chain.once((link, after), lambda: Ended(link.parent, after, node.title))
        return x.with_units(places + made.first)

    # Lengths.

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
        if node.op == "Div" and isinstance(x, Stream) and isinstance(y, Lengths):
            axes = [None] * (x.n_axes - len(y.axes)) + list(y.axes)
            batch = [k for k, own in enumerate(axes) if own is not None]
            if y.what not in ("n", "max(n, 1)") or y.order is not x.order or batch != x.free:
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
            number = y.first.ravel()[0] if y.is_fixed and y.first.size == 1 else None
            made = _OF_LENGTHS.get((node.op, x.what, None if number is None else float(number)))
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
        return Steps(tuple(made))

    def _do_Where(self, node, values):
        condition, x, y = values
        x = self._stream(x)
        if not isinstance(y, Known) and not isinstance(y, Stream):
            raise Refused("chooses between values in a way that is not known")
        if isinstance(condition, Lengths) and condition.what == "n > 0":
            return self._where_steps_are(x, y)
        if isinstance(condition, Known) and all(own.all() for own in condition.both):
            return x
        if not isinstance(condition, Steps) or not isinstance(y, Known) or y.first.size != 1:
            raise Refused("chooses between values by something else than lengths")
        if y.first.dtype.kind != "f":
            raise Refused("expected a number for steps that are not there")
        (where,) = (a for a in condition.axes if a is not None and isinstance(a[0], int))
        free = [own[0] for own in x.axes if own is not None and len(own) == 1]
        if not any(axis.role != "batch" and axis.sizes == where for axis in free):
            raise Refused("chooses between values by steps of another number")
        number = float(y.first.ravel()[0])
        behind = {0.0: "zero", -np.inf: "-inf"}.get(number, "any")
        return Stream(x.axes, x.units, behind, x.order, x.is_flipped)

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
        if not isinstance(n, Lengths) or n.what not in ("n - 1", "max(n - 1, 0)"):
            raise Refused("takes entries by computed indices")
        if node.get("batch_dims", "i", 0) != 1 or len(n.axes) != 2 or n.axes[1] is not None:
            raise Refused("takes something else than the last step of each sequence")
        if x.order is not n.order or x.axes[0] is None or x.axes[0][0].role != "batch":
            raise Refused("takes something else than the last step of each sequence")
        return self._read(node, x, 1, "last_step")

    # ---------------------------------------------------------------------- recurrent layers

    def _recurrent(self, node, values):
        values = [*values, *[None] * (8 - len(values))]
        X, W, R, B, lengths, *initial = values[:7]
        P = values[7] if node.op == "LSTM" else None
        initial = initial[: 2 if node.op == "LSTM" else 1]
        if self.opset < 7:
            raise Refused(f"is of operator set {self.opset}, older than 7")
        arrays = []
        for value, name in ((W, "W"), (R, "R"), (B, "B"), (P, "P")):
            if value is None and name in "BP":
                arrays.append(None)
            elif not isinstance(value, Known) or not value.is_fixed:
                raise Refused(f"has weights {name} that are no known numbers")
            else:
                arrays.append(value.first)
        layer, blocks = read_cell(node, arrays, self.linear_before_reset)
        self.dtype = np.promote_types(self.dtype, np.promote_types(W.first.dtype, np.float32))
        is_batch_first = bool(node.get("layout", "i", 0))
        names = [node.input(5 + k) for k in range(len(initial))]
        states, computed, refusal = [], [], None
        for value, name in zip(initial, names, strict=True):
            try:
                states.append(self._initial(value, layer, is_batch_first))
            except Refused as error:
                refusal = error
                states.append(None)
            if name and not isinstance(value, Known):
                computed.append(name)
        learned = None
        if any(state is not None for state in states):
            zero = np.zeros((layer.directions, layer.hidden_size), np.float32)
            learned = [zero if state is None else state for state in states]
        self.found.append(Found(node, layer, blocks, learned, tuple(computed)))
        if isinstance(X, Unknown):
            return [Unknown()] * len(node.outputs)
        if refusal is not None:
            raise refusal
        return self._layer(node, self._stream(X), layer, blocks, learned, lengths, is_batch_first)

    def _initial(self, value, layer, is_batch_first):
        """A known initial state (D, H); None for zero, and for states that are inputs."""
        if value is None:
            return None
        if isinstance(value, Stream):
            links = self.chain.links_of(value.units)
            if len(links) == 1 and isinstance(links[0], Input) and not links[0].is_integer:
                self._input_state(value, links[0], layer, is_batch_first)
                return None
            raise Refused(f"has initial states from {links[0].title}, while a layer's are its own")
        if not isinstance(value, Known):
            raise Refused("has initial states that cannot be followed")
        D, H = layer.directions, layer.hidden_size
        rows = []
        for array in value.both:
            if is_batch_first and array.ndim == 3:
                array = array.swapaxes(0, 1)
            if array.ndim != 3 or array.shape[::2] != (D, H) or array.dtype.kind != "f":
                raise Refused(f"expected initial states (D, B, H), got shape {array.shape}")
            if not array.shape[1] or not (array == array[:, :1]).all():
                raise Refused("has other initial states for each sequence of the batch")
            rows.append(array[:, 0])
        if not np.array_equal(*rows):
            raise Refused("has initial states that depend on the number of steps or sequences")
        return rows[0] if rows[0].any() else None

    def _input_state(self, value, link, layer, is_batch_first):
        """Note the sizes of an initial state that is an input, (D, B, H)."""
        if value.n_axes != 3:
            raise Refused(f"expected initial states of 3 axes, got {value.n_axes}")
        batch = value.axes[0 if is_batch_first else 1]
        if batch is not None:
            batch[0].take_as("batch")
        self._retry(value, 2, layer.hidden_size)

    def _layer(self, node, X, layer, blocks, learned, lengths, is_batch_first):
        if X.n_axes != 3:
            raise Refused(f"expected inputs of 3 axes, got {X.n_axes}")
        self._retry(X, 2, layer.input_size)
        X.unit_axis(2, "reads features")
        roles = ("batch", "time") if is_batch_first else ("time", "batch")
        for axis, role in enumerate(roles):
            if X.axes[axis] is None:
                if X.sizes(0)[axis] != 1:
                    raise Refused(f"reads units along its {role} axis")
                continue
            parts = [part for part in X.axes[axis] if not part.is_one] or X.axes[axis][:1]
            if len(parts) > 1:
                raise Refused(f"reads several axes as {role}")
            parts[0].take_as(role)
        if X.units.size != layer.input_size:
            raise Refused(f"expected {layer.input_size} features, got {X.units.size}")
        time = X.axes[roles.index("time")]
        has_lengths = self._takes_lengths(node, lengths, X, time)
        if X.is_flipped:
            if layer.directions == 2:
                raise Refused("reads reversed sequences in both directions")
            turned = "forward" if layer.direction == "reverse" else "reverse"
            options = {**layer.options, "direction": turned, "bidirectional": False}
            layer = type(layer)(**options)
        link, layer, blocks = self._taken_in(X.units.ravel(), layer, blocks)
        made = self.chain.add(Recurrent(link, layer, blocks, learned, node.title))
        behind = "zero" if has_lengths else None
        batch = X.axes[roles.index("batch")]
        D, H = layer.directions, layer.hidden_size
        units = made.units.reshape(D, H)
        if is_batch_first:
            axes, final_axes = (batch, time, None, None), (batch, None, None)
        else:
            axes, final_axes = (time, None, batch, None), (None, batch, None)
        one = (1,) if batch is None else ()
        steps = (1,) if time is None else ()
        if is_batch_first:
            y_units, h_shape = units.reshape((*one, *steps, D, H)), (*one, D, H)
        else:
            y_units, h_shape = units.reshape((*steps, D, *one, H)), (D, *one, H)
        outputs = [Stream(axes, y_units, behind, X.order, X.is_flipped)]
        for state in layer.states:
            final = self.chain.final(made, state)
            outputs.append(Stream(final_axes, final.units.reshape(h_shape), None, X.order))
        return outputs

    def _taken_in(self, units, layer, blocks):
        """The link that a layer reads, with the layer and W and b for all of its units."""
        taken = [self._weights_of(units, own["W"], None) for own in blocks]
        parent = taken[0][0]
        own = []
        for (_, W, shift), direction in zip(taken, blocks, strict=True):
            own.append({**direction, "W": W})
            if shift is not None:
                own[-1]["b"] = direction["b"] + shift
        if parent.size != layer.input_size:
            layer = type(layer)(**{**layer.options, "input_size": parent.size})
        return parent, layer, own

    def _takes_lengths(self, node, lengths, X, time):
        """Whether the node is given the lengths of the sequences."""
        if lengths is None:
            if X.behind is not None:
                raise Refused("is not given the lengths, as the layer before it is")
            return False
        if isinstance(lengths, Known):
            sizes = (1, 1) if time is None else time[0].sizes
            if all(np.all(own == size) for own, size in zip(lengths.both, sizes, strict=True)):
                return self._takes_lengths(node, None, X, time)
            raise Refused("has fixed lengths of sequences other than the number of steps")
        n = self._lengths_of(lengths)
        if n.what != "n" or n.order is not X.order:
            raise Refused("is given the lengths of sequences in another order")
        if self.lengths not in (None, n.name):
            raise Refused("is given other lengths than the layer before it")
        self.lengths = n.name
        return True


def _check_inputs(node, opset):
    """Refuse a node that has not the inputs that its operation has in an operator set."""
    from onnx import defs  # here, for the package is an extra

    try:
        schema = defs.get_schema(node.op, opset, "")
    except defs.SchemaError as error:
        raise Refused(f"is no operation of operator set {opset}") from error
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise Refused(f"expected {schema.min_input} inputs or more, got {len(node.inputs)}")
    optional = defs.OpSchema.FormalParameterOption.Optional
    for k, given in enumerate(node.inputs):
        formal = schema.inputs[min(k, len(schema.inputs) - 1)]  # the last may be any number of them
        if not given and formal.option != optional:
            raise Refused(f"lacks its input {formal.name}")


def _with_axes(x, axes):
    if isinstance(x, Steps):
        return Steps(tuple(axes))
    return Lengths(tuple(axes), x.what, x.name, x.order)


def _name(x, axis):
    """An axis as errors call it."""
    parts = x.axes[axis]
    return "the " + " and ".join(part.role or part.name for part in parts) + " axis"


_OF_LENGTHS = {
    ("Max", "n", 1.0): "max(n, 1)",
    ("Max", "n - 1", 0.0): "max(n - 1, 0)",
    ("Sub", "n", 1.0): "n - 1",
    ("Add", "n", -1.0): "n - 1",
    ("Add", "n", 0.0): "n",
    ("Greater", "n", 0.0): "n > 0",
}
_VERBS = {"Mul": "multiplies", "Div": "divides", "Max": "compares", "Less": "compares"}
_RANGES = {"logistic": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf)}

_METHODS = {
    **dict.fromkeys(("Identity", "Dropout", "CastLike"), "_same"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Less", "Greater"), "_arithmetic"),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), "_reduce"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), "_global_pool"),
    **dict.fromkeys(_ACTIVATIONS, "_activation"),
    "LogSoftmax": "_do_Softmax",
}
# What errors add where a recurrent layer may have been written out.
_UNROLLED = (
    "; a recurrent layer that is no node of its own has to come from its weights: see "
    "lstmcore.from_torch, lstmcore.from_keras"
)
_WHY_NOT = {
    "ArgMax": "gives the index of the largest output; Network.predict gives all of them, and "
    "output= of from_onnx reads the value before it",
    "If": "runs one of two graphs by what it computes",
    "Loop": f"is a loop{_UNROLLED}",
    "Scan": f"is a loop{_UNROLLED}",
}

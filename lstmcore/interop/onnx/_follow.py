"""What each value of a graph is: known numbers, or units of the layers found so far, axis by axis.

No pattern of nodes is looked for. Every node is followed for what it does to axes and units, so
that it does not matter how an exporter writes a thing.
"""

from math import prod

import numpy as np

from ._activations import OPERATORS
from ._cells import KINDS
from ._chain import Chain, Input
from ._fold import FOLDED, Budget, Known, fold
from ._follow_arithmetic import Arithmetic
from ._follow_axes import UNROLLED, Axes
from ._follow_layers import Layers
from ._follow_lengths import Counting
from ._graph import INTEGER_TYPES, REAL_TYPES, Refused
from ._stream import Axis, OtherLayout, Stream, Unknown

__all__ = ["Follower"]

# Sizes of free axes, so that no two are taken for each other, nor for a number of units.
_FIRST = 37, 41, 43, 47
_SECOND = 53, 59, 61, 67

_METHODS = {
    **dict.fromkeys(("Identity", "Dropout"), "_same"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Less", "Greater"), "_arithmetic"),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), "_reduce"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool"), "_pool"),
    **dict.fromkeys(OPERATORS, "_activation"),
    "LogSoftmax": "_do_Softmax",
}
_WHY_NOT = {
    "ArgMax": "gives the index of the largest output; Network.predict gives all of them, and "
    "output= of from_onnx reads the value before it",
    "Loop": f"is a loop{UNROLLED}",
    "Scan": f"is a loop{UNROLLED}",
}


class Follower(Axes, Arithmetic, Counting, Layers):
    """Follows the values of one graph.

    Parameters
    ----------
    graph : Graph
    layouts : dict
        For inputs by their names (axis of the features or None, how many or None).
    linear_before_reset : bool or None
        In place of what GRU nodes say.
    opset : int
    size : int, optional
        Of all free axes, in place of sizes that differ.

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
    branches : dict of Node to str
        Of each If node the graph that it runs.
    dtype : dtype
        Of the weights: float64 if some are.
    """

    def __init__(self, graph, layouts=None, linear_before_reset=None, opset=20, size=None):
        self.graph, self.opset = graph, opset
        self.budget = Budget(graph.n_numbers)
        self.chain = Chain(self.budget)
        self.refused, self.found = [], []
        self.lengths, self.dtype = None, np.dtype(np.float32)
        self._dtype_of_matrices = self.dtype
        self.inputs, self.branches = {}, {}
        self._layouts, self._size = layouts or {}, size
        self.linear_before_reset = linear_before_reset
        self._values, self._n_axes, self._named, self._begun = {}, 0, {}, set()

    def follow(self, nodes):
        """Follow nodes, each of which stands behind those that it reads."""
        for node in nodes:
            if node in self._begun:
                continue
            self._begun.add(node)
            try:
                outputs = self._outputs(node, [self._read_by(node, name) for name in node.inputs])
            except Refused as error:
                self.refuse(node, str(error))
                outputs = [Unknown()] * len(node.outputs)
            for name, value in zip(node.outputs, outputs, strict=False):
                self._values[node.graph, name] = value

    def refuse(self, node, why):
        self.refused.append((node, why))

    def _read_by(self, node, name):
        """A value that a node reads."""
        try:
            return self.value(name, node.graph)
        except Refused as error:
            self.refuse(node, str(error))
            return Unknown()

    def value(self, name, graph=None):
        """What a value is, by its name in a graph; None for one that is left out."""
        if not name:
            return None
        graph = (self.graph if graph is None else graph).owner(name)
        if (graph, name) not in self._values:
            array = graph.array(name)
            if array is not None:
                value = Known(array)
            elif name in graph.states:
                value = self._state(name, graph)
            elif graph.input(name) is not None:
                value = self._input(name, graph)
            elif graph.producer(name) is not None:
                return Unknown()
            else:
                raise ValueError(f"source: expected a graph that gives {name!r}, got none")
            self._values[graph, name] = value
        return self._values[graph, name]

    # ------------------------------------------------------------------------------- inputs

    def _input(self, name, graph):
        """An input of the graph: its last axis has the features, unless it holds integers."""
        tensor = graph.input(name).type.tensor_type
        is_integer = tensor.elem_type in INTEGER_TYPES
        if not is_integer and tensor.elem_type not in REAL_TYPES:
            raise Refused(f"reads the input {name!r}, which has neither numbers nor tokens")
        if not tensor.HasField("shape"):
            raise Refused(f"reads the input {name!r}, whose number of axes is not said")
        sizes = [dim.dim_value for dim in tensor.shape.dim]
        if len(sizes) > 6:
            raise Refused(f"reads the input {name!r}, which has {len(sizes)} axes")
        default = None if is_integer or not sizes else len(sizes) - 1
        features, size = self._layouts.get(name, (default, None))
        is_integer = features is None and bool(sizes)
        if features is None:
            size = 1
        elif size is None:
            size = sizes[features] if sizes[features] > 0 else 1
        self.budget.spend(size)
        axes = [
            None if k == features else (Axis(f"{name}[{k}]", self._sizes(name, dim)),)
            for k, dim in enumerate(tensor.shape.dim)
        ]
        link = self.chain.add(Input(name, size, is_integer))
        link.layout, link.axes = sizes, axes
        self.inputs[name] = link
        units = link.units
        return Stream(tuple(axes), units if features is not None else units.reshape(()))

    def _state(self, name, graph):
        """An input that is a state, as it is at first; the same for all sequences of the batch."""
        tensor = graph.inputs[name].type.tensor_type
        if tensor.elem_type not in REAL_TYPES:
            raise Refused(f"reads the state {name!r}, which has no real numbers")
        dims = tensor.shape.dim
        if len(dims) > 6:
            raise Refused(f"reads the state {name!r}, which has {len(dims)} axes")
        named = {
            dim.dim_param
            for other, value in graph.inputs.items()
            if other not in graph.states
            for dim in value.type.tensor_type.shape.dim
        }
        sizes = [
            self._sizes(name, dim) if dim.dim_param in named else (max(1, dim.dim_value),) * 2
            for dim in dims
        ]
        shapes = [tuple(own[k] for own in sizes) for k in (0, 1)]
        self.budget.spend(sum(map(prod, shapes)))
        values = graph.initial_state(name)
        return Known(*(np.broadcast_to(values, shape) for shape in shapes))

    def _sizes(self, name, dim):
        """Both sizes of an axis of the input `name`; axes of one name in two inputs are alike."""
        if dim.dim_value > 0 or self._size:
            return (dim.dim_value if dim.dim_value > 0 else self._size,) * 2
        sizes, inputs = self._named.get(dim.dim_param, (None, ()))
        if not dim.dim_param or not sizes or name in inputs:
            if self._n_axes == len(_FIRST):
                raise Refused(f"reads the input {name!r}, which has one free axis too many")
            sizes, inputs = (_FIRST[self._n_axes], _SECOND[self._n_axes]), ()
            self._n_axes += 1
        self._named[dim.dim_param] = sizes, (*inputs, name)
        return sizes

    def take_rows(self):
        """Note what the axes are, and the dtype, where no recurrent node says it."""
        self.dtype = self._dtype_of_matrices
        for link in self.inputs.values():
            free = [axis for axis in link.axes if axis is not None]
            if len(free) > 2:
                raise ValueError(
                    f"source: expected the input {link.name!r} as sequences (B, T, features) or "
                    f"rows (N, features), got {len(link.axes)} axes"
                )
            for (axis,), role in zip(free, ("batch", "time"), strict=False):
                axis.take_as(role)

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

    @classmethod
    def knows(cls, node):
        """Whether there is anything of the node's operation that a network may have."""
        op = node.op
        known = op in KINDS or op in FOLDED or op in _METHODS or hasattr(cls, f"_do_{op}")
        return known and not node.domain

    def _outputs(self, node, values):
        """What a node gives, a list."""
        if node.domain:
            raise Refused(f"is of the domain {node.domain!r}, of which no layer is known")
        if node.op in KINDS:
            _check_inputs(node, self.opset)
            return self._recurrent(node, values)
        if node.op == "If":
            _check_inputs(node, self.opset)
            return self._branch(node, values[0])
        if not self.knows(node):
            raise Refused(_WHY_NOT.get(node.op, "is no layer and no part of one"))
        _check_inputs(node, self.opset)
        if any(isinstance(value, Unknown) for value in values):
            return [Unknown()] * len(node.outputs)
        if all(value is None or isinstance(value, Known) for value in values):
            return fold(node, self.budget, values)
        method = getattr(self, _METHODS.get(node.op, f"_do_{node.op}"), None)
        if method is None:
            raise Refused("computes with data what no layer does")
        try:
            result = method(node, values)
        except ValueError as error:  # NumPy's, of shapes that do not go together
            raise Refused(f"cannot be followed: {error}") from error
        return result if isinstance(result, list) else [result]

    def _branch(self, node, condition):
        """What an If node gives, of the one graph that it runs."""
        if isinstance(condition, Unknown):
            return [Unknown()] * len(node.outputs)
        if not isinstance(condition, Known):
            raise Refused("runs one of two graphs by what comes in")
        if condition.first.size != 1 or condition.first.dtype.kind != "b":
            raise Refused("expected one truth value as its condition")
        if not condition.is_fixed:
            raise Refused("runs one of two graphs by the number of steps or sequences")
        branch = "then_branch" if condition.first.all() else "else_branch"
        inner = node.graph.inner(node).get(branch)
        if inner is None or len(inner.outputs) != len(node.outputs):
            raise Refused(f"expected {branch} with as many outputs as the node has")
        self.branches[node] = branch
        self.budget.allow(inner.n_numbers - node.graph.n_numbers)
        self.follow(inner.needed_for(inner.outputs))
        return [self.value(name, inner) for name in inner.outputs]

    def _stream(self, value):
        if not isinstance(value, Stream):
            raise Refused("computes with lengths or known numbers in a way that is not known")
        return value


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

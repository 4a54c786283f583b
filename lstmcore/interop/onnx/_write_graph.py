"""`Graph`: an ONNX graph as it grows, node by node."""

import numpy as np

from .._common import import_extra

onnx = import_extra("onnx", "onnx", "Network.to_onnx")
helper = onnx.helper
FLOAT, INT32, INT64 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "INT32", "INT64"))

__all__ = ["FLOAT", "INT32", "INT64", "Graph", "helper"]

_MOST_BYTES = (1 << 31) - (1 << 20)  # a file has less than 2 GiB, and the nodes need some of it


class Graph:
    """Nodes and constants in the order in which they are added. A value is its name.

    Attributes
    ----------
    nodes, inputs, outputs : list
    scope : str
        What the names of nodes begin with.
    """

    def __init__(self):
        self.nodes, self.inputs, self.outputs = [], [], []
        self.scope = ""
        self._constants, self._names = {}, set()
        self._n_bytes = 0

    def input(self, name, kind, shape, text):
        """An input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape, text))
        return name

    def output(self, value, name, shape, text):
        """Give a value the name of an output of the graph."""
        for node in self.nodes:
            for values in (node.input, node.output):
                for i, known in enumerate(values):
                    if known == value:
                        values[i] = name
        self.outputs.append(helper.make_tensor_value_info(name, FLOAT, shape, text))

    def constant(self, name, array):
        """A tensor of the file. One of the same name is the same."""
        if name not in self._constants:
            self._n_bytes += array.nbytes
            if self._n_bytes > _MOST_BYTES:
                raise ValueError(
                    f"net: expected weights of at most {_MOST_BYTES} bytes, which one ONNX file "
                    "holds, got more; smaller or fewer layers take less"
                )
            self._constants[name] = onnx.numpy_helper.from_array(array, name)
        return name

    def integers(self, *values):
        """The axes, sizes or indices that a node takes as a tensor."""
        name = f"int64.{'.'.join(map(str, values))}"
        return self.constant(name, np.array(values, np.int64))

    def integer(self, value):
        """One without an axis."""
        return self.constant(f"int64_{value}", np.array(value, np.int64))

    def number(self, value):
        return self.constant(f"float32.{value!r}", np.array(value, np.float32))

    def add(self, op, *inputs, outputs=None, **attributes):
        """A node; its value, or with `outputs` the values of those of its outputs that are wanted.

        Parameters
        ----------
        op : str
        *inputs : str
            "" for one that is left out.
        outputs : sequence of bool, optional
        **attributes
        """
        name = base = f"{self.scope}{op}"
        for n in range(2, len(self.nodes) + 3):
            if name not in self._names:
                break
            name = f"{base}_{n}"
        self._names.add(name)
        values = (
            [name]
            if outputs is None
            else [f"{name}.{i}" if wanted else "" for i, wanted in enumerate(outputs)]
        )
        node = helper.make_node(op, _trimmed(inputs), _trimmed(values), name=name, **attributes)
        self.nodes.append(node)
        return name if outputs is None else values

    def build(self, name):
        """The graph as ONNX has it."""
        return helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, list(self._constants.values())
        )


def _trimmed(names):
    """Without what is left out at the end."""
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names

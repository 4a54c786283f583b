"""An ONNX file as nodes and arrays, read without trust.

Sizes are believed only as far as bytes back them; weights in files of their own are read from the
model's folder and from nowhere else.
"""

import json
import os
import stat
from math import prod

import numpy as np

from ..._checks import describe
from .._common import import_extra, refuse_larger

__all__ = ["INTEGER_TYPES", "REAL_TYPES", "Graph", "Node", "Refused", "read_model"]

# TensorProto.DataType -> dtype of raw data, the field of data that is written out.
_DTYPES = {
    1: ("<f4", "float_data"),
    2: ("u1", "int32_data"),
    3: ("i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("?", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
    16: ("<u2", "int32_data"),  # bfloat16, widened to float32
}
REAL_TYPES, INTEGER_TYPES = {1, 10, 11, 16}, {2, 3, 4, 5, 6, 7, 12, 13}
_BFLOAT16, _FLOAT16 = 16, 10
_WRITTEN = sorted({field for _, field in _DTYPES.values()})
_MOST_AXES = 16
_EXTERNAL = 1
# AttributeProto.AttributeType -> (field, what errors call it)
_FIELDS = {
    1: ("f", "a number"),
    2: ("i", "an integer"),
    3: ("s", "a text"),
    4: ("t", "a tensor"),
    6: ("floats", "numbers"),
    7: ("ints", "integers"),
    8: ("strings", "texts"),
}


class Refused(Exception):
    """Why a node cannot be part of a network, in words."""


def read_model(source, what):
    """The model of `source`, and the folder in which its weights may have files of their own.

    Parameters
    ----------
    source : str, path-like, bytes or onnx.ModelProto
    what : str
        Who needs the package `onnx`, for errors.

    Returns
    -------
    model : onnx.ModelProto
    folder : str or None
    """
    onnx = import_extra("onnx", "onnx", what)
    if isinstance(source, onnx.ModelProto):
        return source, None
    folder = None
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        folder = os.path.dirname(os.path.abspath(path))
        with open(path, "rb") as file:
            data = file.read()
    else:
        raise TypeError(
            f"source: expected a path, bytes or an onnx.ModelProto, got {describe(source)}"
        )
    model = onnx.ModelProto()
    decode_error = import_extra("google.protobuf.message", "onnx", what).DecodeError
    try:
        model.ParseFromString(data)
    except decode_error as error:
        message = "source: expected an ONNX model, got bytes that are none"
        if data.startswith(b"PK"):  # a zip archive
            message += "; lstmcore.from_torch and from_keras read files of PyTorch and Keras"
        raise ValueError(message) from error
    return model, folder


class Node:
    """One node of a graph.

    Attributes
    ----------
    op, domain : str
    inputs, outputs : list of str
        Names of values; "" for one that is left out.
    title : str
        What errors call the node.
    graph : Graph
        Which it belongs to.
    """

    def __init__(self, proto, graph):
        self.graph = graph
        self.op, self.domain = _names(proto.op_type, proto.domain)
        if self.domain == "ai.onnx":
            self.domain = ""
        self.inputs, self.outputs = _names(*proto.input), _names(*proto.output)
        name = _names(proto.name)[0] or next(filter(None, self.outputs), "")
        self.title = f"{self.domain + '.' if self.domain else ''}{self.op} {name!r}"
        self.proto = proto
        names = _names(*(attribute.name for attribute in proto.attribute))
        self._attributes = dict(zip(names, proto.attribute, strict=True))

    def input(self, k):
        """The name of input k; "" where it is left out."""
        return self.inputs[k] if k < len(self.inputs) else ""

    def has(self, name):
        return name in self._attributes

    def attributes(self):
        """The names of its attributes."""
        return list(self._attributes)

    def graphs(self):
        """The graphs that it has as attributes, by the attributes' names."""
        return {
            name: Graph(attribute.g, self.graph.folder, self.graph)
            for name, attribute in self._attributes.items()
            if attribute.HasField("g")
        }

    def get(self, name, kind, default=None):
        """An attribute.

        Parameters
        ----------
        name : str
        kind : {"f", "i", "s", "t", "floats", "ints", "strings"}
            The field that has it. Texts are str.
        default
            Where it is left out.
        """
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        field, _ = _FIELDS.get(attribute.type, (None, None))
        if field != kind:
            expected = next(words for known, words in _FIELDS.values() if known == kind)
            raise Refused(f"expected {expected} as {name}")
        value = getattr(attribute, field)
        if kind == "s":
            return value.decode("utf-8", "replace")
        if kind == "strings":
            return [text.decode("utf-8", "replace") for text in value]
        return list(value) if kind in ("floats", "ints") else value


class Graph:
    """The nodes of a model's graph, or of a part of it, and its arrays.

    Parameters
    ----------
    proto : onnx.GraphProto
    folder : str or None
        Where weights in files of their own are.
    outer : Graph, optional
        The graph that this one is inside of, whose values it sees.
    metadata : dict of str to str, optional
        Of the model; an inner graph has that of the outer one.

    Attributes
    ----------
    nodes : list of Node
    inputs : dict of str to onnx.ValueInfoProto
        Those that are not initial values.
    outputs : list of str
    states : set of str
        Inputs that are states: those NAME beside which there is an output ``NAME.next``, as
        `Network.to_onnx` writes them. See `initial_state`.
    n_numbers : int
        How many numbers the tensors of the file hold, about.
    """

    def __init__(self, proto, folder, outer=None, metadata=None):
        self.folder, self._outer = folder, outer
        self.metadata = (metadata or {}) if outer is None else outer.metadata
        names = _names(*(tensor.name for tensor in proto.initializer))
        self._tensors = dict(zip(names, proto.initializer, strict=True))
        self._sparse = {tensor.values.name for tensor in proto.sparse_initializer}
        self.nodes = [Node(node, self) for node in proto.node]
        names = _names(*(value.name for value in proto.input))
        inputs = zip(names, proto.input, strict=True)
        self.inputs = {name: value for name, value in inputs if name not in self._tensors}
        self.outputs = _names(*(value.name for value in proto.output))
        self.states = {name for name in self.inputs if f"{name}.next" in self.outputs}
        self._inner = {}
        self._producers = {}
        for node in self.nodes:
            for name in filter(None, node.outputs):
                if name in self._producers or name in self._tensors or name in self.inputs:
                    raise ValueError(f"source: expected each value once, got {name!r} twice")
                self._producers[name] = node
        self.n_numbers = _backed_numbers(proto.initializer, folder)
        if outer is not None:
            self.n_numbers += outer.n_numbers

    def producer(self, name):
        """The node that gives a value; None for an input, a tensor or a name that nobody gives."""
        if name in self._producers:
            return self._producers[name]
        if name in self._tensors or name in self.inputs or self._outer is None:
            return None
        return self._outer.producer(name)

    def input(self, name):
        """The input of a name as onnx.ValueInfoProto; None where no input has the name."""
        if name in self.inputs or self._outer is None or name in self._producers:
            return self.inputs.get(name)
        return None if name in self._tensors else self._outer.input(name)

    def initial_state(self, name):
        """What a state is at first: zero, or what the metadata has under its name, (H,) numbers."""
        text = self.metadata.get(name)
        if text is None:
            return np.zeros((), np.float32)
        dims = self.inputs[name].type.tensor_type.shape.dim
        size = dims[-1].dim_value if dims else 0
        try:
            listed = json.loads(text, parse_int=float)
        except (ValueError, RecursionError):
            listed = None
        is_list = type(listed) is list and len(listed) == size > 0
        is_list = is_list and all(type(value) is float for value in listed)
        with np.errstate(over="ignore"):
            values = np.array(listed if is_list else [np.nan]).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(
                f"source: expected {name!r} in the metadata, what this state is at first, as a "
                f"JSON list of {size} finite numbers, got {text[:40]!r}"
            )
        return values

    def array(self, name):
        """The tensor of a name as an array; None where no tensor has the name."""
        if name in self._tensors:
            return self.as_array(self._tensors[name])
        if name in self._sparse:
            raise Refused(f"reads {name!r}, which is sparse")
        is_own = name in self._producers or name in self.inputs
        return None if is_own or self._outer is None else self._outer.array(name)

    def as_array(self, tensor):
        """A tensor of the file as an array; it may be a view of the file's bytes."""
        return _as_array(tensor, self.folder)

    def owner(self, name):
        """The graph that a name means something in: this one or one that it is inside of."""
        is_own = name in self._producers or name in self._tensors or name in self.inputs
        is_outermost = self._outer is None or name in self._sparse
        return self if is_own or is_outermost else self._outer.owner(name)

    def inner(self, node):
        """The graphs that one of the nodes has as attributes, by the attributes' names."""
        if node not in self._inner:
            self._inner[node] = node.graphs()
        return self._inner[node]

    def captured(self, node):
        """The names of values that the graphs of a node read and do not give themselves."""
        return [
            name
            for inner in self.inner(node).values()
            for name in inner.read()
            if inner.owner(name) is not inner
        ]

    def read(self):
        """The names of values that nodes of the graph read, or that it gives."""
        for node in self.nodes:
            yield from filter(None, node.inputs)
            yield from self.captured(node)
        yield from self.outputs

    def needed_for(self, names, with_captured=False):
        """The nodes that values come from, each behind those that it reads.

        With `with_captured` also those that the graphs of such nodes read.
        """
        order, state = [], {}  # of nodes: False while those before them are looked for
        stack = [self.producer(name) for name in reversed(list(names))]
        while stack:
            node = stack.pop()
            if node is None or state.get(node):
                continue
            if node in state:
                state[node] = True
                order.append(node)
                continue
            state[node] = False
            stack.append(node)
            captured = node.graph.captured(node) if with_captured else []
            for name in reversed([*node.inputs, *captured]):
                before = node.graph.producer(name) if name else None
                if before is None or state.get(before):
                    continue
                if before in state:
                    raise ValueError(
                        f"source: expected a graph without cycles, got one through {node.title}"
                    )
                stack.append(before)
        return order


def _names(*names):
    """Names of a file as a list of str; protobuf gives bytes of what is no text."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"source: expected names that are text in UTF-8, got {name[:40]!r}")
    return list(names)


def _backed_numbers(tensors, folder):
    """About how many numbers tensors hold, by the bytes that are there; in files, once each."""
    written = sum(
        len(tensor.raw_data) // 4 + sum(len(getattr(tensor, field)) for field in _WRITTEN)
        for tensor in tensors
    )
    files = set()
    for tensor in tensors:
        if tensor.data_location == _EXTERNAL and folder is not None:
            location = next((e.value for e in tensor.external_data if e.key == "location"), "")
            try:
                files.add(_inside(location, folder, ""))
            except ValueError:
                continue  # refused with its name by who reads it
    return written + sum(os.path.getsize(path) for path in files) // 4


def _as_array(tensor, folder):
    name, shape = f"tensor {tensor.name!r}", tuple(tensor.dims)
    if tensor.data_type not in _DTYPES:
        raise Refused(f"reads {name}, whose type of data (number {tensor.data_type}) is not known")
    code, field = _DTYPES[tensor.data_type]
    dtype = np.dtype(code)
    if len(shape) > _MOST_AXES:
        raise ValueError(f"{name}: expected at most {_MOST_AXES} axes, got {len(shape)}")
    if tensor.data_location == _EXTERNAL:
        data = _external(tensor, shape, dtype, folder)
        array = np.frombuffer(data, dtype)
    elif tensor.raw_data:
        array = np.frombuffer(tensor.raw_data, np.uint8)
        refuse_larger(shape, dtype.itemsize, array.size, name)
        if array.size != prod(shape) * dtype.itemsize:
            raise ValueError(
                f"{name}: expected {prod(shape) * dtype.itemsize} bytes for shape {shape}, got "
                f"{array.size}"
            )
        array = array.view(dtype)
    else:
        values = getattr(tensor, field)
        refuse_larger(shape, 1, len(values), name)
        if len(values) != prod(shape):
            raise ValueError(
                f"{name}: expected {prod(shape)} numbers for shape {shape}, got {len(values)}"
            )
        array = np.array(values)
        if tensor.data_type in (_FLOAT16, _BFLOAT16):  # their bits, as integers
            array = array.astype(np.uint16).view(dtype)
        array = array.astype(dtype)
    if tensor.data_type == _BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _external(tensor, shape, dtype, folder):
    """The bytes of a tensor that has them in another file."""
    name = f"tensor {tensor.name!r}"
    if folder is None:
        raise ValueError(
            f"source: expected the path of a model whose weights are in files of their own, got "
            f"the model without its folder; {name} is in one"
        )
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(entries.get("location", ""), folder, name)
    offset = _size(entries.get("offset", "0"), "offset", name)
    if any(size < 0 for size in shape):
        raise ValueError(f"{name}: expected sizes of at least 0, got shape {shape}")
    n_bytes = prod(shape) * dtype.itemsize
    length = _size(entries.get("length", str(n_bytes)), "length", name)
    if length != n_bytes:
        raise ValueError(f"{name}: expected length {n_bytes} for shape {shape}, got {length}")
    with open(path, "rb") as file:
        available = os.fstat(file.fileno()).st_size
        if offset + n_bytes > available:
            raise ValueError(
                f"{name}: expected {n_bytes} bytes from {offset} on in a file that has them, got "
                f"one of {available} bytes"
            )
        file.seek(offset)
        data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise ValueError(f"{name}: expected {n_bytes} bytes, got {len(data)}")
    return data


def _size(text, key, name):
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"{name}: expected an integer >= 0 as {key}, got {text[:40]!r}")
    return int(text)


def _inside(location, folder, name):
    """The path of a file in the model's folder, or below it; links lead out and are refused."""
    parts = location.replace("\\", "/").split("/")
    drive = os.path.splitdrive(location)[0] or ":" in location
    if not location or "\0" in location or drive or not all(parts) or {".", ".."} & set(parts):
        raise ValueError(
            f"{name}: expected the name of a file in the model's folder, got {location[:80]!r}"
        )
    path = folder
    for part in parts:
        path = os.path.join(path, part)
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            raise ValueError(
                f"{name}: expected the file {location[:80]!r} beside the model, got none"
            ) from error
        if stat.S_ISLNK(mode):
            raise ValueError(f"{name}: expected a file that is no link, got {location[:80]!r}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name}: expected a regular file, got {location[:80]!r}")
    return path

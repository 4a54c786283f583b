"""A network compared with the graph that it comes from, which onnxruntime runs."""

from math import prod

import numpy as np

from ...cells import GRU
from ._chain import Embedded, Ended, OneHot

__all__ = ["compare"]

_TOLERANCE = 1e-4  # of the largest output
_MOST_BYTES = 1 << 30  # of a model that is handed to onnxruntime, which takes less than 2 GiB
# Steps of all sequences times what one costs; but a few are run of any network.
_MOST_WORK, _A_STEP, _FEW_STEPS = 1 << 28, 1000, 128
_MOST_NUMBERS = 1 << 22  # of a state
# Where the graph leaves them open.
_SIZES = {"time": 1, "batch": 1}, {"time": 13, "batch": 5}
_ERRORS = (
    "Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NotImplemented RuntimeException"
)


class _NotRun(Exception):
    """Why a graph is not run, in words."""


def compare(net, model, graph, follower, nodes, output, stream, links, verify):
    """Raise where network and graph differ.

    Parameters
    ----------
    net : Network
        With the loss and the readout that the graph says.
    model : onnx.ModelProto
    graph : Graph
    follower : Follower
    nodes : list of Node
        What the output comes from.
    output : str
    stream : Stream
        What the output is.
    links : list of Link
        Of which the network is made.
    verify : bool or None
        None: if onnxruntime is there and takes the graph.
    """
    if verify is False:
        return
    try:
        import onnxruntime as ort
    except ImportError:
        if verify:
            raise ImportError(
                "verify=True needs onnxruntime: pip install onnxruntime", name="onnxruntime"
            ) from None
        return
    errors = [getattr(ort.capi.onnxruntime_pybind11_state, name) for name in _ERRORS.split()]
    try:
        part = _part(model, graph, nodes, output, follower)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(part, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        rng = np.random.default_rng(0)
        for sizes in _SIZES:
            data = _Data(rng, follower, links, sizes, net.params.size)
            feeds = {name: data.feed(name, graph.inputs[name]) for name in names}
            (there,) = session.run([output], feeds)
            if isinstance(links[-1], Ended) and links[-1].output_units == "log_softmax":
                there = np.exp(there)
            _refuse_difference(net, there, stream, data)
    except (*errors, _NotRun) as error:
        if verify:
            raise ValueError(
                f"verify: expected a graph that onnxruntime runs, got one that is not run: {error}"
            ) from error


def _part(model, graph, nodes, output, follower):
    """The part of a model that gives its output, as bytes."""
    import onnx

    part = onnx.ModelProto(ir_version=model.ir_version, producer_name="lstmcore")
    part.opset_import.extend(model.opset_import)
    part.graph.name = "part"
    read = {name for node in nodes for name in (*node.inputs, *graph.captured(node))}
    part.graph.input.extend(value for name, value in graph.inputs.items() if name in read)
    part.graph.output.add(name=output)
    n_bytes = 0
    for name in sorted(read):
        array = graph.array(name) if name and graph.producer(name) is None else None
        if array is not None:
            n_bytes += array.nbytes
            if n_bytes > _MOST_BYTES:
                raise _NotRun("it has more weights than onnxruntime takes at once")
            part.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in nodes:
        own = part.graph.node.add()
        own.CopyFrom(node.proto)
        if node.op == "GRU" and follower.linear_before_reset is not None:
            kept = [a for a in own.attribute if a.name != "linear_before_reset"]
            del own.attribute[:]
            own.attribute.extend(kept)
            value = int(follower.linear_before_reset)
            own.attribute.append(onnx.helper.make_attribute("linear_before_reset", value))
    return part.SerializeToString()


class _Data:
    """Random sequences, for the graph as it has its axes and for the network.

    Attributes
    ----------
    X : (B, T, I) or (B, T) array
    lengths : (B,) array or None
    """

    def __init__(self, rng, follower, links, sizes, n_params):
        self._follower, self._sizes = follower, sizes
        self._link = link = links[0]
        shape = [self._size(axis, link.size) for axis in link.axes]
        free = zip(link.axes, shape, strict=True)
        n_steps = prod(size for axis, size in free if axis is not None)
        if n_steps > _FEW_STEPS and n_steps * (_A_STEP + link.size + n_params) > _MOST_WORK:
            raise _NotRun(f"it takes {n_steps} steps, too many for a comparison")
        if isinstance(links[1], Embedded | OneHot):
            n_tokens = len(links[1].table) if isinstance(links[1], Embedded) else links[1].size
            self._array = rng.integers(n_tokens, size=shape)
        elif _dtype(follower.graph.input(link.name)).kind != "f":
            self._array = rng.integers(-2, 3, size=shape)
        else:
            self._array = rng.standard_normal(shape)
        places = [_place(link.axes, "batch"), _place(link.axes, "time")]
        features = [k for k, axis in enumerate(link.axes) if axis is None]
        X = self._array.transpose([k for k in (*places, *features) if k is not None])
        for k, place in enumerate(places):
            if place is None:
                X = np.expand_dims(X, k)
        self.X = X.astype(np.float32) if features else X
        self.lengths = None
        if follower.lengths is not None:
            self.lengths = rng.integers(1, self.X.shape[1] + 1, size=len(self.X))
            self.lengths[-1] = self.X.shape[1]

    def feed(self, name, value):
        """What the graph is given as an input."""
        dtype = _dtype(value)
        if name == self._link.name:
            return self._array.astype(dtype)
        if name == self._follower.lengths:
            return self.lengths.astype(dtype)
        if name in self._follower.graph.states:
            declared = (dim.dim_value for dim in value.type.tensor_type.shape.dim)
            sizes = [size if size > 0 else len(self.X) for size in declared]
            if prod(sizes) > _MOST_NUMBERS:
                raise _NotRun(f"its state {name!r} has {prod(sizes)} numbers")
            initial = self._follower.graph.initial_state(name)
            return np.broadcast_to(initial, sizes).astype(dtype)
        link = self._follower.inputs[name]
        return np.zeros([self._size(axis, link.size) for axis in link.axes], dtype)

    def shape_of(self, stream):
        """The shape of a value of the graph."""
        sizes = iter(stream.units.shape)
        return tuple(next(sizes) if a is None else self._size(a, None) for a in stream.axes)

    def _size(self, axis, size):
        if axis is None:
            return size
        first, second = _main(axis).sizes
        return first if first == second else self._sizes[_main(axis).role or "batch"]


def _dtype(value):
    """The dtype of an input, onnx.ValueInfoProto."""
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    if dtype.kind not in "fiu":
        raise _NotRun(f"it has inputs of {dtype}, which NumPy does not have")
    return dtype


def _place(axes, role):
    """Which of the axes has a role; None if none has."""
    for k, axis in enumerate(axes):
        if axis is not None and _main(axis).role == role:
            return k
    return None


def _main(axis):
    """Of several axes in one that which may have more than one entry."""
    return next((part for part in axis if not part.is_one), axis[0])


@np.errstate(invalid="ignore")
def _refuse_difference(net, there, stream, data):
    """Raise where a network's outputs are not those of its graph, `there`."""
    here = net.predict(data.X, data.lengths, check_finite=False).astype(np.float64)
    shape = data.shape_of(stream)
    if there.size != prod(shape):
        raise ValueError(
            f"source: expected outputs of shape {shape}, got {there.shape} from onnxruntime; "
            "verify=False reads the graph without a comparison"
        )
    # Squeeze without axes drops those that happen to have one entry
    there = there.reshape(shape).astype(np.float64)
    batch, time = _place(stream.axes, "batch"), _place(stream.axes, "time")
    order = [k for k in (batch, time) if k is not None]
    rest = [k for k in range(stream.n_axes) if k not in order]
    there = there.transpose(order + rest)
    there = there.reshape(*there.shape[: len(order)], -1)
    if batch is None:
        here = here[0]
    if here.ndim > there.ndim:  # of one step alone the graph gives no axis of time
        here = here[..., 0, :]
    if data.lengths is not None and time is not None:
        is_step = np.arange(here.shape[1]) < data.lengths[:, None]
        here, there = here[is_step], there[is_step]
    error = np.abs(here - there)
    error[(here == there) | (np.isnan(here) & np.isnan(there))] = 0
    largest = np.max(np.abs(there), initial=1e-6, where=np.isfinite(there))
    if not np.all(error <= _TOLERANCE * largest):
        hint = ""
        if any(isinstance(layer, GRU) for layer in net.layers):
            hint = "; linear_before_reset= reads GRU nodes in the other form"
        raise ValueError(
            f"source: expected outputs as onnxruntime gives them, got a difference of "
            f"{np.max(error):.2g} where the largest is {largest:.2g}{hint}"
        )

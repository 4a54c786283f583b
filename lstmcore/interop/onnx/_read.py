"""`from_onnx` and `recurrent_nodes`."""

import os
from collections import namedtuple
from typing import TYPE_CHECKING

import numpy as np

from ..._checks import as_flag, as_real_dtype, describe
from ...losses import Loss
from ...network import Network
from .._common import build_network, choose_readout, name_blocks
from ._cells import KINDS
from ._chain import Final, network_of
from ._follow import Follower
from ._follow_axes import UNROLLED
from ._graph import Graph, Refused, read_model
from ._run import compare
from ._stream import OtherLayout, Stream, Unknown

if TYPE_CHECKING:
    import onnx

__all__ = ["RecurrentNode", "from_onnx", "recurrent_nodes"]

_MOST_NAMED = 30  # nodes of one error
_PROBED = 1, 1009  # numbers of steps and sequences, beside those that all graphs are followed with


def from_onnx(
    source: "str | os.PathLike | bytes | onnx.ModelProto",
    *,
    output: str | None = None,
    readout: str | None = None,
    loss: str | Loss | None = None,
    dtype: str | None = None,
    linear_before_reset: bool | None = None,
    verify: bool | None = None,
) -> Network:
    """
    Read a network from an ONNX file.

    The graph has to be what a `Network` is: layers one after the other, of which the last recurrent
    one may be read out, with output units at the end. How an exporter writes that does not matter:
    every node is followed for what it does to the axes and units of its inputs. See docs/onnx.md.

    Parameters
    ----------
    source : str, path-like, bytes or onnx.ModelProto
        Weights in files of their own are read from the folder of the model alone.
    output : str, optional
        Which value of the graph the network gives, its outputs or any other. By default the
        graph's only output that is no final state of a layer.
    readout : {"all", "last", "mean", "max", "last_step"}, optional
        In place of what the graph says.
    loss : str or Loss, optional
        By default what goes with the graph's end: "cross_entropy" with Softmax or LogSoftmax,
        "binary_cross_entropy" with Sigmoid, "poisson" with Exp, else "squared_error". A graph that
        gives logits becomes a classifier by ``loss="cross_entropy"``.
    dtype : {"float64", "float32"}, optional
        By default that of the file's recurrent weights, without any that of its matrices.
    linear_before_reset : bool, optional
        Where the reset gate of GRU nodes acts, in place of what they say, for files that say it
        wrong. `GRU.options` has what was read as `reset_after`.
    verify : bool, optional
        Compare the network with the graph, run by onnxruntime on random sequences. By default if
        onnxruntime is there and takes the graph, unless that fixes very many steps.

    Returns
    -------
    Network
        Its inputs are (B, T, I) or tokens (B, T), wherever the graph has these axes. Without a
        recurrent layer a graph may take rows (N, I) or tokens (N,), which are sequences of one
        step: ``net.predict(X[:, None])[:, 0]``.

    Raises
    ------
    ValueError
        The graph is no network (the error names every node that does not fit, and says why), the
        file is damaged, or the network and the graph differ by more than 1e-4 of the largest
        output.
    ImportError
        The package `onnx` is missing; with ``verify=True`` also onnxruntime.

    See Also
    --------
    lstmcore.interop.onnx.recurrent_nodes : The recurrent layers of any graph.

    Examples
    --------
    >>> import numpy as np, lstmcore as lc
    >>> from onnx import TensorProto, helper, numpy_helper
    >>> rng = np.random.default_rng(0)
    >>> arrays = {"W": rng.normal(size=(1, 12, 2)), "R": rng.normal(size=(1, 12, 3))}
    >>> graph = helper.make_graph(
    ...     [helper.make_node("LSTM", ["X", "W", "R"], ["", "Y_h"], hidden_size=3)], "lstm",
    ...     [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["T", "B", 2])],
    ...     [helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, "B", 3])],
    ...     [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()])
    >>> model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    >>> net = lc.from_onnx(model.SerializeToString())
    >>> net
    Network([LSTM(2, 3)], loss='squared_error', readout='last', dtype='float32')
    >>> net.predict(np.ones((4, 7, 2))).shape
    (4, 3)
    """
    if linear_before_reset is not None:
        linear_before_reset = as_flag(linear_before_reset, "linear_before_reset")
    if verify is not None:
        verify = as_flag(verify, "verify")
    if output is not None and not isinstance(output, str):
        raise TypeError(f"output: expected the name of a value, got {describe(output)}")
    if dtype is not None:
        dtype = as_real_dtype(dtype)
    choose_readout(readout)
    model, folder = read_model(source, "lstmcore.from_onnx")
    graph, opset = Graph(model.graph, folder, metadata=_metadata(model)), _opset(model)
    output = _choose_output(graph, opset, output)
    nodes = graph.needed_for([output], with_captured=True)
    follower = _followed(graph, opset, [output], linear_before_reset)
    stream = _stream_of(follower, output)
    net, links = _network(follower, stream, output, dtype)
    compare(net, model, graph, follower, nodes, output, stream, links, verify)
    changes = {"readout": readout, "loss": loss}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        asked = _network(follower, stream, output, dtype, loss)[0]
        options = asked.options | {k: v for k, v in changes.items() if k == "readout"}
        net = Network._of(options, asked.params)
    return net


def _opset(model):
    """The version of ONNX's own operators."""
    versions = [own.version for own in model.opset_import if own.domain in ("", "ai.onnx")]
    if not (model.graph.node or model.graph.initializer):
        raise ValueError("source: expected an ONNX model, got one without a graph")
    if not versions or versions[0] < 1:
        raise ValueError("source: expected the version of its operators, got none")
    return versions[0]


def _metadata(model):
    return {entry.key: entry.value for entry in model.metadata_props}


@np.errstate(all="ignore")  # NaN and infinity of a file stay what they are
def _followed(graph, opset, names, linear_before_reset):
    """A `Follower` that has followed what the values `names` come from."""
    nodes = graph.needed_for(names)
    layouts = {}
    while True:
        follower = Follower(graph, layouts, linear_before_reset, opset)
        try:
            follower.follow(nodes)
            break
        except OtherLayout as other:
            layouts[other.name] = other.axis, other.size
    for size in _PROBED if follower.branches else ():
        probe = Follower(graph, layouts, linear_before_reset, opset, size)
        try:
            probe.follow(nodes)
        except OtherLayout:
            probe.branches.clear()
        for node, branch in follower.branches.items():
            if probe.branches.get(node) != branch:
                follower.refuse(node, "runs one of two graphs by the number of steps or sequences")
    return follower


def _choose_output(graph, opset, output):
    """The value that the network gives."""
    if output is not None:
        if graph.producer(output) is None:
            raise ValueError(
                f"output: expected a value that a node gives, such as "
                f"{', '.join(graph.outputs[:5]) or 'none'}, got {output!r}"
            )
        return output
    after = {f"{name}.next" for name in graph.states}
    names = [n for n in graph.outputs if n not in after and graph.producer(n) is not None]
    if len(names) <= 1:
        if not names:
            raise ValueError("source: expected a graph with an output that a node gives, got none")
        return names[0]
    follower = _followed(graph, opset, names, None)
    states = {name: _state(follower, follower.value(name)) for name in names}
    outputs = [name for name in names if states[name] is None]
    if not outputs:  # states alone: the output of a layer, rather than its cells
        outputs = [name for name in names if states[name] == "h"][:1]
    if len(outputs) > 1 and all(isinstance(follower.value(n), Unknown) for n in outputs):
        raise ValueError(_message(follower.refused))
    if len(outputs) != 1:
        raise ValueError(
            f"output: expected one of {', '.join(outputs or names)}, for the graph has several "
            "outputs, got None"
        )
    return outputs[0]


def _state(follower, value):
    """The state that a value is of the last steps, or None."""
    if isinstance(value, Stream) and value.units.size:
        links = follower.chain.links_of(value.units)
        if all(isinstance(link, Final) for link in links):
            return links[0].state
    return None


def _stream_of(follower, output):
    """The value of the output, or the one error with all that is not followed before it."""
    is_recurrent = follower.found or any(node.op in KINDS for node, _ in follower.refused)
    if follower.refused and not is_recurrent:
        refused = [(node, why.removesuffix(UNROLLED)) for node, why in follower.refused]
        raise ValueError(
            "source: expected a graph that is a chain of layers, got one without recurrent nodes, "
            f"and nodes that are none:\n{_listed(refused)}\noutput= reads a graph up to another "
            f"value{UNROLLED}"
        )
    if follower.refused:
        raise ValueError(_message(follower.refused))
    value = follower.value(output)
    if not isinstance(value, Stream):
        raise ValueError(f"source: expected outputs that depend on sequences, got {output!r}")
    if not is_recurrent:
        follower.take_rows()
    return value


def _message(refused):
    return (
        "source: expected a graph that is a chain of layers, got nodes that are none:\n"
        f"{_listed(refused)}\noutput= reads a graph up to another value, "
        "interop.onnx.recurrent_nodes its recurrent layers"
    )


def _listed(refused):
    """Nodes with the reason for each, a line each."""
    lines = [f"  {node.title} {why}" for node, why in refused[:_MOST_NAMED]]
    if len(refused) > _MOST_NAMED:
        lines.append(f"  and {len(refused) - _MOST_NAMED} more")
    return "\n".join(lines)


@np.errstate(all="ignore")
def _network(follower, stream, output, dtype, loss=None):
    try:
        if stream.order is not None:
            raise Refused("has sequences in another order than they came")
        if stream.is_flipped:
            raise Refused("has the steps in reverse order")
        if any(sum(not part.is_one for part in axis or ()) > 1 for axis in stream.axes):
            raise Refused("has steps and sequences on one axis")
        dtype = follower.dtype if dtype is None else dtype
        return network_of(follower.chain, stream.units.ravel(), loss, dtype)
    except Refused as error:
        raise ValueError(
            f"source: expected a graph that is a chain of layers, but its output {output!r}: "
            f"{error}; output= reads a graph up to another value, interop.onnx.recurrent_nodes its "
            "recurrent layers"
        ) from error


class RecurrentNode(namedtuple("RecurrentNode", "name layer blocks computed")):
    """
    A recurrent node of a graph.

    Attributes
    ----------
    name : str
        As the graph has it; inside of a subgraph behind the names of what it is in.
    layer : LSTM, GRU or RNN
    blocks : dict of str to ndarray
        By their names in the layer: "W", or "forward.W" with two directions.
    computed : tuple of str
        The values of the graph that give its initial states, as far as they are no known numbers.
        The layer begins in zero where these come in.
    """

    __slots__ = ()

    def network(self, loss: str | Loss = "squared_error", readout: str = "all") -> Network:
        """
        A network of this layer alone.

        Parameters
        ----------
        loss, readout
            As `Network` takes them.

        Returns
        -------
        Network
        """
        blocks = {f"0.{name}": array for name, array in self.blocks.items()}
        dtype = next(iter(blocks.values())).dtype
        return build_network([self.layer], blocks, loss=loss, readout=readout, dtype=dtype)


def recurrent_nodes(
    source: "str | os.PathLike | bytes | onnx.ModelProto",
    *,
    linear_before_reset: bool | None = None,
) -> list[RecurrentNode]:
    """
    Read each recurrent node of an ONNX file as a layer with its weights.

    For graphs that are no chain of layers, as those with convolutions in front; also of nodes
    inside of If, Loop and Scan.

    Parameters
    ----------
    source : str, path-like, bytes or onnx.ModelProto
    linear_before_reset : bool, optional
        As `lstmcore.from_onnx` has it.

    Returns
    -------
    list of RecurrentNode
        In the order of the graph.

    Raises
    ------
    ValueError
        A recurrent node is no layer that lstmcore has, with every such node and why.

    Examples
    --------
    >>> import numpy as np
    >>> from onnx import TensorProto, helper, numpy_helper
    >>> from lstmcore.interop.onnx import recurrent_nodes
    >>> arrays = {"kernel": np.ones((9, 1, 4)), "W": np.ones((1, 6, 4)), "R": np.ones((1, 6, 2)),
    ...           "B": np.zeros((1, 12))}
    >>> nodes = [helper.make_node("Conv", ["image", "kernel"], ["X"]),
    ...          helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], name="gru", hidden_size=2)]
    >>> graph = helper.make_graph(
    ...     nodes, "ocr", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [9, 1, 4])],
    ...     [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
    ...     [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()])
    >>> model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    >>> [node] = recurrent_nodes(model.SerializeToString())
    >>> node.name, node.layer
    ('gru', GRU(4, 2, reset_after=False))
    >>> node.network().predict(np.zeros((1, 5, 4))).shape
    (1, 5, 2)
    """
    if linear_before_reset is not None:
        linear_before_reset = as_flag(linear_before_reset, "linear_before_reset")
    model, folder = read_model(source, "lstmcore.interop.onnx.recurrent_nodes")
    opset = _opset(model)
    refused, found = [], []
    graphs = [("", Graph(model.graph, folder, metadata=_metadata(model)))]
    while graphs:
        path, graph = graphs.pop(0)
        own = [node for node in graph.nodes if node.op in KINDS and not node.domain]
        names = [name for node in own for name in (*node.inputs, *node.outputs) if name]
        follower = _followed(graph, opset, names, linear_before_reset)
        refused += [(node, why) for node, why in follower.refused if node in own]
        found += [(path, node) for node in follower.found if node.node in own]
        graphs += _inner_graphs(path, graph)
    is_found = {id(node.node) for _, node in found}
    missing = [(node, why) for node, why in refused if id(node) not in is_found]
    if missing:
        raise ValueError(_message(missing).rpartition("\n")[0])
    return [_recurrent_node(path, node) for path, node in found]


def _inner_graphs(path, graph):
    """The graphs that nodes of a graph have as attributes, with the names that lead to them."""
    for node in graph.nodes:
        for name, inner in graph.inner(node).items():
            yield f"{path}{node.proto.name or node.op}/{name}/", inner


@np.errstate(all="ignore")
def _recurrent_node(path, found):
    layer, own = found.layer, [dict(blocks) for blocks in found.blocks]
    if found.learned is not None:
        layer = type(layer)(**{**layer.options, "learn_initial_state": True})
        for state, values in zip(layer.states, found.learned, strict=True):
            for d, blocks in enumerate(own):
                blocks[f"{state}0"] = values[d]
    dtype = np.promote_types(own[0]["W"].dtype, np.float32)
    blocks = {
        name: np.ascontiguousarray(array, dtype) for name, array in name_blocks(layer, own).items()
    }
    node = found.node
    return RecurrentNode(
        f"{path}{node.proto.name or node.outputs[0]}", layer, blocks, found.computed
    )

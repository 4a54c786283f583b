"""From a chain of Keras's layers to layers, readout and weights of a `Network`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...cells import GRU, LSTM, RNN, Dense, Embedding
from .._common import ORDERS, choose_loss, choose_readout, name_blocks, one_direction
from ._activations import OUTPUTS_ONLY, activation_of, layer_activation
from ._graph import Node, class_of
from ._misfit import Misfit

__all__ = ["Plan", "fill"]

# Without effect once a network is trained. A mask is what `lengths` and `mask` say.
_WITHOUT_EFFECT = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "InputLayer",
    "SpatialDropout1D",
}
_ACTIVATIONS = {"Activation", "ELU", "LeakyReLU", "ReLU", "Softmax"}
_RECURRENT = {"CuDNNLSTM": LSTM, "GRU": GRU, "LSTM": LSTM, "SimpleRNN": RNN}
_POOLING = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}
_MERGED = {"concat": None, "sum": 1.0, "ave": 0.5}
_BOTH_WAYS_EQUAL = (
    "units",
    "activation",
    "recurrent_activation",
    "use_bias",
    "reset_after",
    "return_sequences",
)
_OF_TENSORFLOW = {"SlicingOpLambda", "TFOpLambda"}
_MODELS = {"Functional", "Model", "Sequential"}


def has_weights(node):
    """Whether a layer has weights, by its class."""
    if node.kind == "TimeDistributed":
        return class_of(node.options["layer"]) == "Dense"
    return node.kind in _RECURRENT or node.kind in ("Bidirectional", "Dense", "Embedding")


@dataclass
class Item:
    """One layer to be.

    Attributes
    ----------
    node : Node
    make : type
        Of `CELLS`.
    options : dict
        Its arguments but for the sizes.
    use_bias : bool
    fold : float or None
        The layer before gives the sum of two directions times this: then each input of this one
        stands twice in its weights.
    is_identity : bool
        It has an activation alone, and no weights in the file.
    """

    node: Node
    make: type
    options: dict[str, Any]
    use_bias: bool = True
    fold: float | None = None
    is_identity: bool = False


class Plan:
    """What a chain comes to, before any weight is read.

    Parameters
    ----------
    nodes : list of Node
        From input to output.
    version : Version or None

    Attributes
    ----------
    items : list of Item
    readout : str or None
        What the chain says.
    problems : list of (Node, str)
    """

    def __init__(self, nodes, version):
        self._version = version
        self.items, self.readout, self.problems = [], None, []
        self._rank = None  # of the inputs, where it is said
        self._has_steps = True  # whether there is an axis of time
        self._merged = None  # what the sum of two directions is to be multiplied by
        self._tail = None  # (node, activation) behind all layers that is none of the last one's
        self._open = None  # the Dense that an activation right behind it belongs to
        self._turned = None  # a layer whose outputs are in the reverse order of time
        self._unsure = False  # what follows a misfit is not asked what depends on it
        for node in nodes:
            try:
                if node.trouble:
                    raise Misfit(node.trouble)
                self._take(node)
            except Misfit as misfit:
                self.problems.append((node, str(misfit)))
                self._unsure = True
        if not self._unsure:
            try:
                self._end()
            except Misfit as misfit:
                self.problems.append((nodes[-1], str(misfit)))

    def _take(self, node):
        kind, options = node.kind, node.options
        if kind == "InputLayer" or not self.items:
            self._check_input(node)
        if kind in _WITHOUT_EFFECT:
            return
        if kind == "Masking":
            if self.items:
                raise Misfit("it looks for what to mask behind other layers, not in the inputs")
        elif kind == "Embedding":
            self._embedding(node)
        elif kind in _RECURRENT:
            self._recurrent(node, kind, options)
        elif kind == "Bidirectional":
            self._bidirectional(node)
        elif kind == "TimeDistributed":
            self._time_distributed(node)
        elif kind == "Dense":
            self._dense(node, options)
        elif kind in _ACTIVATIONS:
            self._activation(node, layer_activation(kind, options, self._version))
        elif kind in _POOLING:
            self._pool(kind, options)
        elif kind == "GetItem":
            self._take_last(node)
        else:
            raise Misfit(_why_not(kind, options))

    def _check_input(self, node):
        """Raise where the shape of the inputs has no axis of time."""
        shape = node.options.get("batch_shape", node.options.get("batch_input_shape"))
        if isinstance(shape, list):
            self._rank = len(shape)
        expected = 2 if node.kind == "Embedding" else 3
        if has_weights(node) and self._rank not in (None, expected):
            axes = "(batch, time)" if expected == 2 else "(batch, time, features)"
            self._refuse(f"its inputs have {self._rank} axes, and those of a Network are {axes}")

    def _add(self, item):
        self._add_tail()
        if self.items and self.items[-1].options.get("activation") in OUTPUTS_ONLY:
            self._refuse(
                f"{self.items[-1].options['activation']} before it, which a Network has as output "
                "units alone"
            )
        if self._turned:
            self._refuse(f"{self._turned} has go_backwards and return_sequences")
        item.fold, self._merged = self._merged, None
        self.items.append(item)
        self._open = None

    def _refuse(self, why):
        """Raise Misfit, if it is not only what follows from one before."""
        if not self._unsure:
            raise Misfit(why)

    def _embedding(self, node):
        if self.items:
            raise Misfit("it is not the first layer")
        self._add(Item(node, Embedding, {}, False))

    def _dense(self, node, options):
        _refuse_quantized(options)
        activation = activation_of(options.get("activation"), self._version)
        if activation == "softmax" and options["units"] == 1:
            raise Misfit("softmax of one unit is 1, whatever its input")
        self._add(Item(node, Dense, {"activation": activation}, options.get("use_bias", True)))
        self._open = self.items[-1] if activation == "identity" else None

    def _time_distributed(self, node):
        inner = node.options["layer"]
        kind, options = class_of(inner), inner["config"]
        if not self._has_steps:
            self._refuse("there are no time steps any more")
        if kind == "Dense":
            self._dense(node, options)
        elif kind in _ACTIVATIONS:
            self._activation(node, layer_activation(kind, options, self._version))
        elif kind not in _WITHOUT_EFFECT:
            raise Misfit(f"it holds {_why_not(kind, options)}")

    def _recurrent(self, node, kind, options, direction=None, merged=None):
        if not self._has_steps:
            self._refuse("the layer before it gives no time steps: return_sequences=False")
        if options.get("return_state"):
            raise Misfit("return_state gives states beside the outputs")
        if options.get("time_major"):
            raise Misfit("time_major, where a Network takes the batch first")
        own = self._cell_options(kind, options)
        backwards = bool(options.get("go_backwards")) and direction is None
        own["direction"] = "reverse" if backwards else direction
        self._add(Item(node, _RECURRENT[kind], own, options.get("use_bias", True)))
        self._merged = merged
        if not options.get("return_sequences"):
            self._has_steps, self.readout = False, "last"
        elif backwards:
            self._turned = node.name

    def _cell_options(self, kind, options):
        """The options of LSTM, GRU or RNN that a layer's configuration says."""
        version = self._version
        activation = _of_layer(activation_of(options.get("activation", "tanh"), version))
        if kind == "SimpleRNN":
            return {"activation": activation}
        if kind == "CuDNNLSTM":
            return {}
        if "recurrent_activation" in options:
            gate = _of_layer(activation_of(options["recurrent_activation"], version))
        else:
            gate = _of_layer(activation_of(self._default_gate(), version))
        if kind == "LSTM":
            return {
                "gate_activation": gate,
                "cell_activation": activation,
                "output_activation": activation,
            }
        return {
            "gate_activation": gate,
            "cell_activation": activation,
            "reset_after": options.get("reset_after"),
        }

    def _default_gate(self):
        """recurrent_activation where a configuration leaves it out."""
        version = self._version
        if version is not None and version.numbers >= (2, 3):
            return "sigmoid"
        if version is not None and not version.of_tensorflow:
            return "hard_sigmoid"
        raise Misfit("its recurrent_activation is not said, and its default is another in 2.3")

    def _bidirectional(self, node):
        inner = node.options["layer"]
        kind, options = class_of(inner), inner["config"]
        if kind not in _RECURRENT:
            raise Misfit(f"it holds {_why_not(kind, options)}")
        backward = node.options.get("backward_layer")
        if backward is not None:
            other = backward["config"]
            differs = [key for key in _BOTH_WAYS_EQUAL if other.get(key) != options.get(key)]
            if class_of(backward) != kind or differs:
                raise Misfit(f"its directions differ in {differs[0] if differs else 'their class'}")
            if not other.get("go_backwards"):
                raise Misfit("its backward layer does not read backwards")
        if options.get("go_backwards"):
            raise Misfit("its forward layer has go_backwards, so that the directions are swapped")
        mode = node.options.get("merge_mode", "concat")
        if mode not in _MERGED:
            raise Misfit(f"merge_mode {mode!r}; only 'concat', 'sum' and 'ave' are sums of inputs")
        self._recurrent(node, kind, options, "both", _MERGED[mode])

    def _activation(self, node, activation):
        if activation == "identity":
            return
        if activation == "softmax" and self.items and _units(self.items[-1]) == 1:
            raise Misfit("softmax of one unit is 1, whatever its input")
        if self._open is not None:
            self._open.options["activation"], self._open = activation, None
        elif self.items:
            self._add_tail()
            self._tail = node, activation
        else:
            self._refuse("no layer stands before it")

    def _add_tail(self):
        """Make the activation that belongs to no layer one of a Dense layer of its own."""
        if self._tail is not None:
            (node, activation), self._tail = self._tail, None
            self._add(Item(node, Dense, {"activation": activation}, False, is_identity=True))

    def _pool(self, kind, options):
        if options.get("keepdims"):
            raise Misfit("keepdims keeps an axis of time of one step")
        if options.get("data_format", "channels_last") not in (None, "channels_last"):
            raise Misfit("data_format says that time is the last axis")
        if self._tail is not None:
            self._refuse("an activation stands between it and the last recurrent layer")
        self._read_out(_POOLING[kind])
        if kind == "GlobalMaxPooling1D":
            if self._merged is not None:
                self._refuse("the maximum of a sum of two directions")
            if self._behind():
                self._refuse("layers stand between it and the last recurrent layer")
        elif any(item.options.get("activation") != "identity" for item in self._behind()):
            self._refuse("activations stand between it and the last recurrent layer")

    def _take_last(self, node):
        """x[:, -1] or x[:, -1, :]."""
        index = node.arguments[0] if len(node.arguments) == 1 else None
        if not (isinstance(index, list) and len(index) in (2, 3)):
            raise Misfit("an index that is not [:, -1]")
        if index[1] != -1 or not all(map(_is_all, index[:1] + index[2:])):
            raise Misfit("an index that is not [:, -1]")
        if self._turned:
            self._refuse(f"{self._turned} has go_backwards, and its last output is its first step")
        self._read_out("last_step")

    def _read_out(self, readout):
        if not self._has_steps:
            self._refuse("there are no time steps any more")
        if not any(item.make in (LSTM, GRU, RNN) for item in self.items):
            self._refuse("no recurrent layer stands before it")
        self._has_steps, self.readout, self._turned, self._open = False, readout, None, None

    def _behind(self):
        """The items behind the last recurrent one."""
        behind = []
        for item in reversed(self.items):
            if item.make in (LSTM, GRU, RNN):
                break
            behind.append(item)
        return behind

    def _end(self):
        if not self.items:
            raise ValueError("a model without any layer that has weights")
        is_output_units = self._tail is not None and self._tail[1] in (*OUTPUTS_ONLY, "logistic")
        if self._merged is not None or not is_output_units:
            self._add_tail()
        if self._merged is not None:
            raise Misfit(
                "the sum of its directions goes into no further layer whose weights could take it"
            )
        if self._turned:
            raise Misfit(
                "its outputs come in the reverse order of time: go_backwards, return_sequences"
            )

    def choose_loss(self, loss):
        """What `_common.choose_loss` gives; the activation of the last Dense is then set."""
        last = self.items[-1]
        if self._tail is not None:
            node, activation = self._tail
            loss, rest = choose_loss(activation, loss)
            self._tail = None if rest == "identity" else (node, rest)
            self._add_tail()
        elif last.make is Dense:
            loss, last.options["activation"] = choose_loss(last.options["activation"], loss)
        else:
            loss, _ = choose_loss("identity", loss)
        return loss

    def choose_readout(self, readout):
        return choose_readout(readout, self.readout)


def _of_layer(activation):
    if activation in OUTPUTS_ONLY:
        raise Misfit(f"its activation {activation!r} is one of outputs alone")
    return activation


def _is_all(index):
    """Whether an index is a slice from end to end, as Keras 3 or tf.keras writes it."""
    if not isinstance(index, dict):
        return False
    bounds = index["config"] if index.get("class_name") == "__slice__" else index
    return all(bounds.get(name) is None for name in ("start", "stop", "step"))


def _units(item):
    """The units of a Dense layer; None of others."""
    if item.make is not Dense or item.is_identity:
        return None
    return item.node.options.get("units") or item.node.options["layer"]["config"]["units"]


def _refuse_quantized(options):
    policy = options.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") == "QuantizedDTypePolicy":
        raise Misfit("its weights are quantized")


def _why_not(kind, options):
    if kind == "Lambda":
        return "Lambda, which is Python code, and none is run"
    if kind in _OF_TENSORFLOW:
        return f"{kind}, an operation of TensorFlow"
    if kind in _MODELS:
        return "a model within the model"
    if kind == "CuDNNGRU":
        return "CuDNNGRU, whose weights are in an order that was not always the same"
    if kind == "RNN":
        cell = options.get("cell")
        cell = class_of(cell) if isinstance(cell, dict) else "several cells"
        return f"RNN of {cell}, of which only LSTM, GRU and SimpleRNN as layers are known"
    return "no layer that a Network has"


def fill(item, arrays, k, width):
    """The layer of an item, and its blocks.

    Parameters
    ----------
    item : Item
    arrays : list of ndarray
        Of the file.
    k : int
        Its number in the network.
    width : int or None
        The outputs of the layer before.

    Returns
    -------
    layer : Layer
    blocks : dict of str to ndarray
    """
    for array in arrays:
        if array.dtype.kind != "f":
            raise ValueError(f"{item.node.name}: its weights are {array.dtype}, no real numbers")
    if item.is_identity:
        W = np.eye(width if item.fold is None else width // 2, dtype=np.float32)
        return Dense(width, len(W), bias=False, **item.options), {f"{k}.W": _folded(item, W)}
    if item.make is Embedding:
        return _fill_embedding(item, arrays, k)
    if item.make is Dense:
        return _fill_dense(item, arrays, k)
    return _fill_recurrent(item, arrays, k)


def _fill_embedding(item, arrays, k):
    (table,) = _arrays(item, arrays, 1)
    _check(item, "embeddings", table, (_size(item, "input_dim"), _size(item, "output_dim")))
    return Embedding(*table.shape), {f"{k}.W": table.T}


def _fill_dense(item, arrays, k):
    kernel, *bias = _arrays(item, arrays, 1 + item.use_bias)
    units = _units(item)
    _check(item, "kernel", kernel, (None, units))
    W = _folded(item, kernel.T)
    blocks = {f"{k}.W": W}
    if bias:
        _check(item, "bias", bias[0], (units,))
        blocks[f"{k}.b"] = bias[0]
    return Dense(W.shape[1], units, bias=bool(bias), **item.options), blocks


def _fill_recurrent(item, arrays, k):
    both = item.options["direction"] == "both"
    each = 2 + item.use_bias
    arrays = _arrays(item, arrays, each * (1 + both))
    node = item.node.options["layer"]["config"] if both else item.node.options
    units, options = node["units"], dict(item.options)
    kernel, _, *bias = arrays[:each]
    rows = {LSTM: 4, GRU: 3, RNN: 1}[item.make] * units
    _check(item, "kernel", kernel, (None, rows))
    if item.make is GRU:
        options["reset_after"] = _reset_after(item, options["reset_after"], bias, units)
    inputs = kernel.shape[0] * (1 if item.fold is None else 2)
    layer = item.make(inputs, units, **options)
    own = []
    for d in range(layer.directions):
        kernel, recurrent, *bias = arrays[d * each : (d + 1) * each]
        _check(item, "kernel", kernel, (arrays[0].shape[0], rows))
        _check(item, "recurrent_kernel", recurrent, (units, rows))
        biases = _biases(item, layer, bias, rows)
        if layer.cell.kind == "LSTM" and bias and bias[0].shape == (2 * rows,):
            kernel, recurrent = _of_cudnn(kernel), _of_cudnn(recurrent)
        W = _folded(item, kernel.T)
        order = ORDERS["keras"][layer.cell.kind]
        own.append(one_direction(layer.cell, order, W, recurrent.T, *biases))
    return layer, name_blocks(layer, own, k)


def _reset_after(item, said, bias, units):
    """Whether the reset gate acts after the product; biases of two rows say so."""
    if not bias:
        if said is None:
            raise ValueError(
                f"{item.node.name}: neither its configuration nor its biases say reset_after"
            )
        return said
    shape = bias[0].shape
    found = {(2, 3 * units): True, (3 * units,): False}.get(shape)
    if found is None:
        raise ValueError(
            f"{item.node.name}: biases of shape {shape}, where a GRU of {units} units has "
            f"(2, {3 * units}) or ({3 * units},); those of CuDNNGRU are not read"
        )
    if said not in (None, found):
        raise ValueError(
            f"{item.node.name}: reset_after={said} in its configuration, and biases of {shape}"
        )
    return found


def _biases(item, layer, bias, rows):
    """One bias or two of a direction; none without use_bias."""
    if not bias:
        return ()
    (bias,) = bias
    if layer.cell.kind == "GRU" and layer.options["reset_after"]:
        _check(item, "bias", bias, (2, rows))
        return bias[0], bias[1]
    if layer.cell.kind == "LSTM" and bias.shape == (2 * rows,):  # of cuDNN
        return bias[:rows], bias[rows:]
    _check(item, "bias", bias, (rows,))
    return (bias,)


def _of_cudnn(kernel):
    """A kernel of CuDNNLSTM as that of LSTM.

    Keras 2 hands its memory on as it is, and cuDNN reads a gate's (inputs, units) numbers there as
    a matrix (units, inputs).
    """
    inputs, rows = kernel.shape
    units = rows // 4
    gates = [kernel[:, g * units : (g + 1) * units] for g in range(4)]
    return np.concatenate([gate.reshape(units, inputs).T for gate in gates], axis=1)


def _folded(item, W):
    """W (rows, I) for the sum of two directions: each of its columns twice."""
    return W if item.fold is None else np.concatenate([W, W], axis=1) * W.dtype.type(item.fold)


def _arrays(item, arrays, expected):
    if len(arrays) != expected:
        raise ValueError(f"{item.node.name}: {len(arrays)} arrays of weights, and not {expected}")
    return arrays


def _size(item, name):
    return item.node.options[name]


def _check(item, name, array, shape):
    """Raise where an array of a file has another shape than its configuration says."""
    fits = array.ndim == len(shape) and all(
        size is None or size == found for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{item.node.name}: {name} of shape {array.shape}, and its configuration says "
            f"({expected})"
        )

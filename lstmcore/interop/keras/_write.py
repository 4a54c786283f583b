"""A `Network` as a file of Keras 3: config.json and model.weights.h5 in one archive."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from ..._archive import as_path, at_once
from ..._checks import describe
from ..._initial import refuse_initial
from ...cells import Dense, Embedding, reorder
from ...network import Network
from .._common import ORDERS, import_extra, two_biases
from ._activations import layer_of, name_of
from ._misfit import refuse

if TYPE_CHECKING:
    from ..._types import Path

__all__ = ["to_keras"]

_VERSION = "3.0.0"  # of the form of the files, which all of Keras 3 reads
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # one network, one sequence of bytes
_CLASSES = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}
# What Keras calls groups of variables, of classes whose name in lower case is another.
_STEMS = {"SimpleRNN": "simple_rnn"}
_POOLING = {"mean": "GlobalAveragePooling1D", "max": "GlobalMaxPooling1D"}
_OUTPUTS = {"logistic": "sigmoid", "softmax": "softmax", "exponential": "exponential"}
# Options of layers that Keras has not, with the only value that it can say, and what they are.
_UNSAID = {
    "peepholes": (False, "peepholes"),
    "input_gate": (True, "no input gate"),
    "forget_gate": (True, "no forget gate"),
    "output_gate": (True, "no output gate"),
    "coupled": (False, "coupled gates"),
    "gate_recurrence": (False, "gate recurrence"),
    "block_size": (1, "blocks of several cells"),
    "learn_initial_state": (False, "a learned initial state"),
    "W_mask": (None, "a mask of W"),
    "R_mask": (None, "a mask of R"),
    "tokens": (False, "tokens without an Embedding"),
}


def to_keras(net: Network, path: Path) -> None:
    """Write a network as a model for ``keras.models.load_model``: Keras 3, any backend.

    Parameters
    ----------
    net : Network
    path : str or path-like
        A name that ends with .keras. Overwritten if it exists, at once.

    Raises
    ------
    TypeError
        `net` is no Network.
    ValueError
        The network has what Keras cannot say: the error names all of it. Or the name has another
        ending.
    OSError
        The file cannot be written.
    ImportError
        The package h5py is missing.

    Notes
    -----
    The loss is not written, only its output units: ``model.compile`` takes one. The layers have the
    network's dtype. Keras rounds a model's inputs to its own, which
    ``keras.config.set_floatx("float64")`` makes that of a network of float64.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(3, 4, bidirectional=True), lc.Dense(8, 2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lc.to_keras(net, os.path.join(folder, "model.keras"))
    ...     lc.from_keras(os.path.join(folder, "model.keras")).layers
    (LSTM(3, 4, bidirectional=True), Dense(8, 2))

    >>> lc.to_keras(lc.Network([lc.LSTM(3, 4, peepholes=True, coupled=True)]), "model.keras")
    Traceback (most recent call last):
    ValueError: net: expected what Keras can say, got a network with what it cannot:
      layers[0] (LSTM): peepholes, coupled gates
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    name = as_path(path)
    if not name.endswith(".keras"):
        raise ValueError(f"path: expected a name that ends with .keras, got {name!r}")
    refuse_initial(net, "a Sequential model has no place for")
    misfits = _misfits(net)
    if misfits:
        refuse("net: expected what Keras can say, got a network with what it cannot", misfits)
    h5py = import_extra("h5py", "keras", "lstmcore.to_keras")
    model = _Model(net)
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "trainable": True, "layers": model.layers},
        "registered_name": None,
        "build_config": {"input_shape": model.shape},
    }
    contents = {
        "metadata.json": json.dumps({"keras_version": _VERSION}),
        "config.json": json.dumps(config),
        "model.weights.h5": _hdf5(h5py, model.weights),
    }

    def fill(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for entry, content in contents.items():
                archive.writestr(zipfile.ZipInfo(entry, _NO_DATE), content)

    at_once(path, fill)


def _hdf5(h5py, weights):
    """The bytes of an HDF5 file with ``{group: arrays}``."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="earliest") as file:
        file.create_group("vars")  # of the model itself, which Keras before 3.5 looks for
        for group, arrays in weights.items():
            variables = file.create_group(f"layers/{group}/vars")
            for k, array in enumerate(arrays):
                variables[str(k)] = array
    return buffer.getvalue()


# ---------------------------------------------------------------------------- what cannot be said


def _misfits(net):
    """(layer, what about it Keras cannot say) of a network."""
    found = []
    for k, layer in enumerate(net.layers):
        reasons = [
            what
            for name, (value, what) in _UNSAID.items()
            if name in layer.options and not _equals(layer.options[name], value)
        ]
        if layer.token_sizes:
            reasons.append("tokens of several kinds, or beside numbers")
        reasons += _activation_misfits(layer)
        reasons += _direction_misfits(net, k, layer)
        if reasons:
            found.append((f"layers[{k}] ({type(layer).__name__})", ", ".join(reasons)))
    return found


def _equals(option, value):
    return option is value or (not isinstance(option, np.ndarray) and option == value)


def _activation_misfits(layer):
    options = layer.options
    if isinstance(layer, Dense) and layer_of(options["activation"]) is not None:
        return []
    reasons = [
        f"{name} {options[name]!r}"
        for name in ("activation", "gate_activation", "cell_activation", "output_activation")
        if name in options and name_of(options[name]) is None
    ]
    if layer.cell.kind == "LSTM" and options["output_activation"] != options["cell_activation"]:
        reasons.append("an output_activation that is not the cell_activation")
    return reasons


def _direction_misfits(net, k, layer):
    is_read = k == net.body.stop - 1 and net.readout != "all"
    if layer.direction == "reverse" and not (is_read and net.readout in ("last", *_POOLING)):
        return ["outputs in the order of time of a layer that reads in reverse"]
    if is_read and net.readout == "last_step" and layer.directions == 2:
        return ["the readout last_step of two directions"]
    return []


# ----------------------------------------------------------------------------------- what is said


class _Model:
    """A network as the layers of a Sequential model.

    Attributes
    ----------
    shape : list
        Of its inputs, None where it is free.
    layers : list of dict
        As config.json has them.
    weights : dict of str to list of ndarray
        By the groups that Keras looks for.
    """

    def __init__(self, net):
        self._net = net
        self._counts = {}
        self.layers, self.weights = [], {}
        takes_tokens = isinstance(net.layers[0], Embedding)
        self.shape = [None, None] if takes_tokens else [None, None, net.input_size]
        dtype = "int32" if takes_tokens else net.dtype.name
        inputs = {"name": "input_layer", "batch_shape": self.shape, "dtype": dtype}
        self.layers.append(_entry("InputLayer", inputs))
        for k, layer in enumerate(net.layers):
            own = [
                {name: net.blocks[f"{k}.{prefix}{name}"] for name in _names_of(layer)}
                for prefix in layer.prefixes
            ]
            if isinstance(layer, Embedding):
                self._embedding(layer, own[0])
            elif isinstance(layer, Dense):
                self._dense(k, layer, own[0])
            else:
                self._recurrent(k, layer, own)
        units = _OUTPUTS.get(net.output_units)
        if units and not self._has_output_units:
            self._add("Activation", {"activation": units})

    @property
    def _has_output_units(self):
        """Whether the last layer's own activation can be the output units."""
        last = self._net.layers[-1]
        return isinstance(last, Dense) and name_of(last.options["activation"]) == "linear"

    def _add(self, kind, options):
        """A further layer of a class; the name of its group."""
        stem = _STEMS.get(kind, kind.lower())
        number = self._counts[stem] = self._counts.get(stem, -1) + 1
        name = f"{stem}_{number}" if number else stem
        self.layers.append(_entry(kind, self._common(name) | options))
        return name

    def _common(self, name):
        return {"name": name, "trainable": True, "dtype": self._net.dtype.name}

    def _embedding(self, layer, blocks):
        sizes = {"input_dim": layer.input_size, "output_dim": layer.output_size}
        self.weights[self._add("Embedding", sizes | {"mask_zero": False})] = [blocks["W"].T]

    def _dense(self, k, layer, blocks):
        activation = name_of(layer.options["activation"]) or "linear"
        if k == len(self._net.layers) - 1 and self._has_output_units:
            activation = _OUTPUTS.get(self._net.output_units, activation)
        options = {"units": layer.output_size, "activation": activation}
        name = self._add("Dense", options | {"use_bias": layer.options["bias"]})
        self.weights[name] = [blocks["W"].T, *([blocks["b"]] if "b" in blocks else [])]
        if name_of(layer.options["activation"]) is None:
            self._add(*layer_of(layer.options["activation"]))

    def _recurrent(self, k, layer, blocks):
        is_read = k == self._net.body.stop - 1 and self._net.readout != "all"
        pooling = _POOLING.get(self._net.readout) if is_read else None
        kind = _CLASSES[layer.cell.kind]
        options = _recurrent_options(layer) | {
            "return_sequences": not is_read or pooling is not None,
            "go_backwards": layer.direction == "reverse",
        }
        if layer.directions == 1:
            groups = [f"{self._add(kind, options)}/cell"]
        else:
            forward, backward = (
                _entry(
                    kind,
                    self._common(f"{way}_{_STEMS.get(kind, kind.lower())}")
                    | options
                    | {"go_backwards": back},
                )
                for way, back in (("forward", False), ("backward", True))
            )
            both = {"merge_mode": "concat", "layer": forward, "backward_layer": backward}
            name = self._add("Bidirectional", both)
            groups = [f"{name}/forward_layer/cell", f"{name}/backward_layer/cell"]
        for group, own in zip(groups, blocks, strict=True):
            self.weights[group] = _recurrent_arrays(layer, own)
        if pooling:
            self._add(pooling, {"data_format": "channels_last", "keepdims": False})


def _entry(kind, options):
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": options,
        "registered_name": None,
    }


def _names_of(layer):
    """The blocks of one direction."""
    return [block.name for block in layer.cell.blocks]


def _recurrent_options(layer):
    options, ours = {"units": layer.hidden_size, "use_bias": True}, layer.options
    options["activation"] = name_of(ours.get("cell_activation", ours.get("activation")))
    if "gate_activation" in ours:
        options["recurrent_activation"] = name_of(ours["gate_activation"])
    if "reset_after" in ours:
        options["reset_after"] = ours["reset_after"]
    return options


def _recurrent_arrays(layer, blocks):
    """Kernel, recurrent kernel and bias, in Keras's order of gates."""
    order = ORDERS["keras"][layer.cell.kind]
    kernels = [reorder(blocks[name], layer.cell, order).T for name in "WR"]
    bias, recurrent = two_biases(layer.cell, order, blocks["b"], blocks.get("bR"))
    return [*kernels, np.stack([bias, recurrent]) if "bR" in blocks else bias]

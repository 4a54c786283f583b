"""What a file of Keras holds, whichever of its forms it has: a configuration and weights.

``.keras``          a zip archive of metadata.json, config.json and model.weights.h5
``.weights.h5``     weights alone, by class and number: layers/gru/cell/vars/0, layers/gru_1/...
``.h5`` of models   the attribute model_config, and weights by the names in attributes
``.h5`` of weights  the same without model_config
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from dataclasses import dataclass
from typing import Any

from ..._archive import open_archive
from ._hdf5 import SIGNATURE, File

__all__ = ["Version", "open_source", "parse_config"]

_MOST_JSON = 4 << 20  # bytes; a model of 1000 layers has 1 MB
_MOST_DEFLATED = 8  # how many times an entry may be larger than what is stored of it
_SPARE = 1 << 20  # bytes more, for HDF5 is mostly zeros where the model is small
_CHUNK = 1 << 18
# Weights that are kept in another way.
_UNREAD = {
    "model.weights.npz": (
        "its weights are pickled, in model.weights.npz, and pickles are not read; save it without "
        "weights_format"
    ),
    "model.weights.json": "its weights are in several files; save it without max_shard_size",
}
_LAYERS = ("layers", "_layer_checkpoint_dependencies")  # since Keras 2.15; of 2.12 to 2.14

# What the groups of a class are called, and where in them its variables are.
_GROUPS = {
    "Bidirectional": ("bidirectional", ("forward_layer/cell", "backward_layer/cell")),
    "Dense": ("dense", ("",)),
    "Embedding": ("embedding", ("",)),
    "GRU": ("gru", ("cell",)),
    "LSTM": ("lstm", ("cell",)),
    "SimpleRNN": ("simple_rnn", ("cell",)),
    "TimeDistributed": ("time_distributed", ("layer",)),
}


@dataclass(frozen=True)
class Version:
    """A version of Keras: "2.2.4-tf" has the numbers (2, 2, 4), and is that of TensorFlow."""

    text: str
    numbers: tuple[int, ...]
    of_tensorflow: bool

    @classmethod
    def parse(cls, text):
        found = re.match(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?(.*)", text, flags=re.DOTALL)
        if found is None:
            raise ValueError(f"{text!r} is no version such as '3.4.1'")
        numbers = tuple(int(number or 0) for number in found.groups()[:3])
        return cls(text, numbers, "tf" in found[4])


@dataclass(frozen=True)
class Source:
    """A file of Keras.

    Attributes
    ----------
    config : dict or None
        The model's configuration; None where there are weights alone.
    version : str or None
        Of the Keras that wrote it.
    weights : ByName or ByOrder
    """

    config: dict[str, Any] | None
    version: str | None
    weights: ByName | ByOrder


class ByName:
    """Weights in groups that are named by class and number.

    Parameters
    ----------
    root : Group
    """

    def __init__(self, root):
        name = next(filter(root.__contains__, _LAYERS))
        self._layers = root.group(name)
        # Until 2.14 Keras counted layers with weights twice.
        self._each = 2 if name == _LAYERS[1] else 1

    def of(self, kinds):
        """The arrays of each layer.

        Parameters
        ----------
        kinds : sequence of (str, bool)
            Of all layers, in order: the class, and whether it has weights.

        Returns
        -------
        list of list of ndarray
        """
        counts, arrays = {}, []
        for kind, has_weights in kinds:
            number = counts.get(kind, 0)
            counts[kind] = number + (self._each if has_weights else 1)
            arrays.append(self._of(kind, number) if has_weights else [])
        return arrays

    def _of(self, kind, number):
        group, places = _GROUPS.get(kind, (kind, ()))
        name = f"{group}_{number}" if number else group
        found = self._layers.group(name)
        if found is None:
            raise ValueError(f"it holds no weights of layers/{name}")
        arrays = []
        for place in places:
            variables = found.group(f"{place}/vars" if place else "vars")
            if variables is None:
                raise ValueError(f"it holds no weights of layers/{name}/{place}")
            count = len(variables.links)
            for k in range(count):
                array = variables.array(str(k))
                if array is None:
                    raise ValueError(f"it holds no variable {k} of layers/{name}/{place}")
                arrays.append(array)
        return arrays


class ByOrder:
    """Weights by names in attributes; the order of the layers says whose they are.

    Parameters
    ----------
    root : Group
    """

    def __init__(self, root):
        self._root = root

    def of(self, kinds):
        """The arrays of each layer, as `ByName.of` gives them."""
        groups = []
        for name in _texts(self._root, "layer_names"):
            group = self._root.group(name)
            if group is None:
                raise ValueError(f"it holds no group of its layer {name!r}")
            names = _texts(group, "weight_names")
            if names:
                groups.append((name, group, names))
        expected = sum(has_weights for _, has_weights in kinds)
        if len(groups) != expected:
            raise ValueError(
                f"it holds weights of {len(groups)} layers, and its configuration has {expected} "
                "with weights"
            )
        rest = iter(groups)
        return [self._read(*next(rest)) if has_weights else [] for _, has_weights in kinds]

    @staticmethod
    def _read(layer, group, names):
        arrays = []
        for name in names:
            array = group.array(name)
            if array is None:
                raise ValueError(f"it holds no weights {name!r} of its layer {layer!r}")
            arrays.append(array)
        return arrays


def _texts(group, name):
    """A list of text in an attribute, or in several where it was too long for one."""
    attributes = group.attributes
    if name in attributes:
        value = attributes[name]
        return value if isinstance(value, list) else [value]
    texts, k = [], 0
    while f"{name}{k}" in attributes:
        texts += attributes[f"{name}{k}"]
        k += 1
    return texts


def open_source(file, path):
    """The `Source` in an open binary file, which stays open until the weights are read.

    Raises
    ------
    Exception
        Of any type, if it is none.
    """
    start = file.read(8)
    if start[:4] == b"PK\x03\x04":
        return _of_archive(path)
    if start == SIGNATURE:
        return _of_hdf5(File(file, os.fstat(file.fileno()).st_size).root)
    raise ValueError("neither a zip archive nor an HDF5 file")


def _of_archive(path):
    with open_archive(path) as (archive, entries):
        if "config.json" not in entries:
            raise ValueError("an archive without config.json")
        config, version = parse_config(_entry(archive, entries["config.json"])), None
        if "metadata.json" in entries:
            metadata = parse_config(_entry(archive, entries["metadata.json"]))
            version = _as_version(metadata.get("keras_version"))
        for name, why in _UNREAD.items():
            if name in entries:
                raise ValueError(why)
        if "model.weights.h5" not in entries:
            raise ValueError("an archive without model.weights.h5")
        data = _entry(archive, entries["model.weights.h5"])
    return Source(config, version, ByName(_with_layers(File(io.BytesIO(data), len(data)).root)))


def _entry(archive, info):
    """The bytes of an entry; no more than the file can back."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"entry {info.filename!r} is compressed in an unusual way")
    most = _MOST_DEFLATED * info.compress_size + _SPARE
    if info.compress_size > archive.fp.size or info.file_size > most:
        raise ValueError(f"entry {info.filename!r} is said to be larger than the file can hold")
    if info.filename.endswith(".json") and info.file_size > _MOST_JSON:
        raise ValueError(f"entry {info.filename!r} has {info.file_size} bytes")
    data = bytearray(info.file_size)
    with archive.open(info) as entry:
        for first in range(0, len(data), _CHUNK):
            part = memoryview(data)[first : first + _CHUNK]
            if entry.readinto(part) != len(part):
                raise ValueError(f"entry {info.filename!r} ends early")
        if entry.read(1):  # the end, where the checksum is compared
            raise ValueError(f"entry {info.filename!r} goes on behind its end")
    return data


def _of_hdf5(root):
    attributes = root.attributes
    version = _as_version(attributes.get("keras_version"))
    if "model_config" in attributes:
        config = parse_config(attributes["model_config"])
        weights = root.group("model_weights")
        if weights is None:
            raise ValueError("a model without model_weights")
        return Source(config, version, ByOrder(weights))
    if "model_weights" in root:
        root = root.group("model_weights")
        version = version or _as_version(root.attributes.get("keras_version"))
    if _texts(root, "layer_names"):
        return Source(None, version, ByOrder(root))
    return Source(None, version, ByName(_with_layers(root)))


def _with_layers(root):
    if not any(name in root for name in _LAYERS):
        raise ValueError("it holds no layers of Keras")
    return root


def _as_version(value):
    if value is not None and not isinstance(value, str):
        raise ValueError("a version of Keras that is no text")
    return value


def parse_config(text):
    """A JSON object; `text` is str or bytes."""
    if len(text) > _MOST_JSON:
        raise ValueError(f"a configuration of {len(text)} bytes, of at most {_MOST_JSON}")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a configuration that is no JSON object")
    return value

"""A network as plain data: a header and arrays, and back.

The header holds the network's options, layers and losses by name and options; the arrays are
``params``, the flat parameter vector, and ``0.W_mask``, ... the masks of the layers that have any,
as 0 and 1. Notes, if there are any, are what whoever saved it says of it.
"""

import inspect
import reprlib
from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

import numpy as np

from ._checks import describe
from .cells import LAYERS
from .losses import LOSSES, FunctionLoss, Loss

__all__ = ["FORMAT", "VERSION", "as_notes", "describe_network", "network_of"]

FORMAT, VERSION = "lstmcore", 1
_FIELDS = ("layers", "loss", "readout", "dtype")
_MASKS = ("W_mask", "R_mask")
# fields that are there only where there is something to say
_NOTES, _INITIAL = "notes", "initial"
# Options that are younger than the format are not named where they have these values.
_YOUNGER = {
    "direction": None,
    "tokens": False,
    "bias": True,
    "update_bias": 0.0,
    "W_start": "glorot",
    "R_start": "orthogonal",
    "output_peephole": "now",
}


def describe_network(options, params, notes=None):
    """A network as header and arrays.

    Parameters
    ----------
    options : dict
        `Network.options`.
    params : (P,) array
    notes : mapping, optional
        `Network.notes`.

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray
    """
    arrays = {"params": params}
    layers = [_describe_layer(arrays, k, layer) for k, layer in enumerate(options["layers"])]
    loss = options["loss"]
    if isinstance(loss, FunctionLoss):
        raise TypeError(
            f"loss: expected one that a file can name, got the function {loss!r}; a class derived "
            "from lstmcore.losses.Loss can be saved, and lstmcore.losses.register makes it known "
            "to load"
        )
    if isinstance(loss, Loss):
        loss = {"name": loss.name, "options": loss.options}
    header = {"format": FORMAT, "version": VERSION, **options, "layers": layers, "loss": loss}
    if header.pop(_INITIAL) is not None:
        header[_INITIAL] = _describe_layer(arrays, _INITIAL, options[_INITIAL])
    if notes:
        header[_NOTES] = dict(notes)
    return header, arrays


def network_of(header, arrays):
    """The reverse of `describe_network`: the options, parameters and notes of a network.

    The header may come from anybody, without "format" and "version". A network must be built only
    after this: there are as many parameters as it will ask memory for.

    Raises
    ------
    Exception
        Of any type, if it is not what `describe_network` gives.
    """
    _check_names(header, (*_FIELDS, _NOTES, _INITIAL), "it", (_NOTES, _INITIAL))
    arrays, header = dict(arrays), dict(header)
    notes = as_notes(header.pop(_NOTES, {}))
    params, specs, loss = arrays.pop("params", None), header["layers"], header["loss"]
    if params is None:
        raise ValueError("no entry params.npy")
    layers, expected = [], 0
    last = [(_INITIAL, header[_INITIAL])] if _INITIAL in header else []
    for k, spec in chain(enumerate(specs), last):  # a list of them could be far larger than a file
        layers.append(_layer(arrays, k, spec))
        expected += sum(block.size for block in layers[-1].blocks())
        if expected > params.size:  # at once: a description takes much more than the words for it
            raise ValueError(
                f"its layers have more than the {params.size} parameters that it holds"
            )
    if arrays:
        raise ValueError(f"entries that its layers do not name: {reprlib.repr(list(arrays))}")
    if isinstance(loss, dict):
        _check_names(loss, ("name", "options"), "its loss")
        if loss["name"] not in LOSSES:
            raise ValueError(
                f"a loss of the unknown name {reprlib.repr(loss['name'])}; "
                "lstmcore.losses.register makes a loss known"
            )
        loss = LOSSES[loss["name"]](**loss["options"])
    if params.shape != (expected,) or params.dtype != header["dtype"]:
        raise ValueError(
            f"its layers have {expected} parameters of {header['dtype']}, "
            f"and it holds {params.dtype} of shape {params.shape}"
        )
    if _INITIAL in header:
        header[_INITIAL] = layers.pop()
    return header | {"layers": layers, "loss": loss}, params, notes


def as_notes(value):
    """Notes that nobody can change: from names to text, or to tuples of it."""
    expected = "notes: expected a mapping from str to str, or to a list of str"
    if not isinstance(value, Mapping):
        raise TypeError(f"{expected}, got {describe(value)}")
    notes = {}
    for name, note in value.items():
        if not isinstance(name, str):
            raise TypeError(f"{expected}, got the name {describe(name)}")
        parts = [note] if isinstance(note, str) else note
        if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
            raise TypeError(f"{expected}, got {describe(note)} for {reprlib.repr(name)}")
        notes[name] = note if isinstance(note, str) else tuple(note)
    return MappingProxyType(notes)


def _describe_layer(arrays, k, layer):
    """Layer k; puts its masks into `arrays`."""
    options = {
        name: layer.options[name]
        for name in inspect.signature(type(layer)).parameters
        if not (name in _YOUNGER and layer.options[name] == _YOUNGER[name])
    }
    for name in _MASKS:
        if options.get(name) is not None:
            arrays[f"{k}.{name}"] = options[name].astype(np.uint8)
            options[name] = True
    return {"type": type(layer).__name__, "options": options}


def _layer(arrays, k, spec):
    """Layer k; takes its masks out of `arrays`."""
    _check_names(spec, ("type", "options"), f"layers[{k}]")
    kind, options = spec["type"], spec["options"]
    if kind not in LAYERS:
        raise ValueError(f"a layer of the unknown type {reprlib.repr(kind)}")
    # Not one may be missing, for its default would be another layer.
    _check_names(options, inspect.signature(LAYERS[kind]).parameters, f"layers[{k}]", _YOUNGER)
    options = dict(options)
    for name, value in options.items():
        if name in _MASKS and value is not None:
            if value is not True or f"{k}.{name}" not in arrays:
                raise ValueError(f"layers[{k}] has {name}={describe(value)}, and no entry for it")
            options[name] = arrays.pop(f"{k}.{name}")
        elif isinstance(value, list):
            options[name] = tuple(value)  # an activation or a start with its parameters
    return LAYERS[kind](**options)


def _check_names(value, names, what, optional=()):
    """Raise unless a dict has all of some names, and no other."""
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {describe(value)} and no object with {', '.join(names)}")
    missing = [name for name in names if name not in value and name not in optional]
    unknown = [name for name in value if name not in names]
    if missing or unknown:
        said = [f"lacks {missing}"] if missing else []
        said += [f"has the unknown {reprlib.repr(unknown)}"] if unknown else []
        raise ValueError(f"{what} {' and '.join(said)}")

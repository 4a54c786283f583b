"""A network as plain data: a header and arrays, and back.

The header holds the network's options, layers and losses by name and options; the arrays are
``params``, the flat parameter vector, and ``0.W_mask``, ... the masks of the layers that have any,
as 0 and 1.
"""

import inspect

import numpy as np

from .cells import CELLS
from .losses import LOSSES, Loss

__all__ = ["FORMAT", "VERSION", "describe_network", "network_of"]

FORMAT, VERSION = "lstmcore", 1
_MASKS = ("W_mask", "R_mask")
# Options that are younger than the format are not named where they have these values.
_YOUNGER = {"direction": None, "tokens": False, "bias": True}


def describe_network(options, params):
    """A network as header and arrays.

    Parameters
    ----------
    options : dict
        `Network.options`.
    params : (P,) array

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray
    """
    layers, arrays = [], {"params": params}
    for k, layer in enumerate(options["layers"]):
        layer_options = {
            name: layer.options[name]
            for name in inspect.signature(type(layer)).parameters
            if not (name in _YOUNGER and layer.options[name] is _YOUNGER[name])
        }
        for name in _MASKS:
            if layer_options.get(name) is not None:
                arrays[f"{k}.{name}"] = layer_options[name].astype(np.uint8)
                layer_options[name] = True
        layers.append({"type": type(layer).__name__, "options": layer_options})
    loss = options["loss"]
    if isinstance(loss, Loss):
        loss = {"name": loss.name, "options": loss.options}
    header = {"format": FORMAT, "version": VERSION, **options, "layers": layers, "loss": loss}
    return header, arrays


def network_of(header, arrays):
    """The reverse of `describe_network`: the options and parameters of a network.

    The header may come from anybody, without "format" and "version". A network must be built only
    after this: there are as many parameters as it will ask memory for.

    Raises
    ------
    Exception
        Of any type, if it is not what `describe_network` gives.
    """
    options = dict(header)
    layers = [_layer(arrays, k, spec) for k, spec in enumerate(options.pop("layers"))]
    loss = options.pop("loss")
    if isinstance(loss, dict):
        if loss["name"] not in LOSSES:
            raise ValueError(
                f"a loss of the unknown name {loss['name']!r}; lstmcore.losses.register makes a "
                "loss known"
            )
        loss = LOSSES[loss["name"]](**loss["options"])
    if "params" not in arrays:
        raise ValueError("no entry params.npy")
    params = arrays["params"]
    expected = sum(block.size for layer in layers for block in layer.blocks())
    if params.shape != (expected,) or params.dtype != options["dtype"]:
        raise ValueError(
            f"its layers have {expected} parameters of {options['dtype']}, "
            f"and it holds {params.dtype} of shape {params.shape}"
        )
    return {"layers": layers, "loss": loss, **options}, params


def _layer(arrays, k, spec):
    kind, options = spec["type"], dict(spec["options"])
    if kind not in CELLS:
        raise ValueError(f"a layer of the unknown type {kind!r}")
    for name, value in options.items():
        if name in _MASKS and value is not None:
            options[name] = arrays[f"{k}.{name}"]
        elif isinstance(value, list):
            options[name] = tuple(value)  # an activation with its parameters
    return CELLS[kind](**options)

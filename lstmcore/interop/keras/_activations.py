"""Activations by the names that Keras has for them."""

from ..._activations import parse_activation
from ._misfit import Misfit

__all__ = ["activation_of", "layer_activation", "layer_of", "name_of"]

# By name in Keras; what takes other parameters there has them here.
_NAMES = {
    "elu": ("elu", 1.0),
    "exponential": "exponential",
    "leaky_relu": ("leaky_relu", 0.2),
    "linear": "identity",
    "relu": "relu",
    "sigmoid": "logistic",
    "softmax": "softmax",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanh": "tanh",
}
_HARD_SIGMOID = {True: ("hard_sigmoid", 1 / 6, 0.5), False: ("hard_sigmoid", 0.2, 0.5)}

# Layers that are activations of any slope, and what they call it.
_LAYERS = {"elu": ("ELU", "alpha"), "leaky_relu": ("LeakyReLU", "negative_slope")}

# Those that `Network` has as output units and not as activations of layers.
OUTPUTS_ONLY = ("softmax", "exponential")


def activation_of(value, version):
    """What Keras calls an activation, as lstmcore has it, or "softmax" or "exponential".

    Parameters
    ----------
    value : None, str or dict
    version : Version or None

    Raises
    ------
    Misfit
        There is none here, or it needs the version.
    """
    if isinstance(value, dict):
        kind, options = value.get("class_name"), value.get("config")
        if kind == "function" or kind in _NAMES:
            value = options if isinstance(options, str) else kind
        elif kind in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
            return layer_activation(kind, options, version)
        else:
            value = kind
    if value is None:
        return "identity"
    if not isinstance(value, str):
        raise Misfit("its activation is neither a name nor a layer")
    if value == "hard_sigmoid":
        if version is None:
            raise Misfit(
                "hard_sigmoid is clip(x/6 + 0.5) in Keras 3 and clip(0.2 x + 0.5) before, and the "
                "file does not say by which it was written: keras_version='3' or '2' does"
            )
        return _HARD_SIGMOID[version.numbers[0] >= 3]
    if value not in _NAMES:
        raise Misfit(f"its activation {value[:50]!r} is none of a Network")
    return _NAMES[value]


def layer_activation(kind, options, version):
    """The activation that a layer of activation is.

    Parameters
    ----------
    kind : {"Activation", "ELU", "LeakyReLU", "ReLU", "Softmax"}
    options : dict
    version : Version or None
    """
    if kind == "Activation":
        return activation_of(options.get("activation"), version)
    if kind == "Softmax":
        if options.get("axis", -1) not in (-1, [-1]):
            raise Misfit(f"its axis is {options['axis']!r}, and not -1")
        return "softmax"
    if kind == "ELU":
        return _with_slope("elu", options.get("alpha", 1.0))
    if kind == "LeakyReLU":
        return _with_slope("leaky_relu", options.get("negative_slope", options.get("alpha", 0.3)))
    if options.get("max_value") is not None or options.get("threshold"):
        raise Misfit("it has max_value or threshold, which no activation of a Network has")
    slope = options.get("negative_slope", 0.0)
    return _with_slope("leaky_relu", slope) if slope else "relu"


def _with_slope(name, slope):
    if isinstance(slope, dict):  # Keras 2 writes a NumPy number so
        slope = slope.get("value")
    activation = (name, slope)
    try:
        parse_activation(activation)
    except (TypeError, ValueError) as error:
        raise Misfit(str(error)) from error
    return activation


def name_of(activation):
    """What Keras 3 calls an activation of lstmcore; None where it has no name for it.

    Parameters
    ----------
    activation : str or tuple
        As layers of lstmcore have it.

    Examples
    --------
    >>> name_of("logistic"), name_of(("elu", 1.0)), name_of(("elu", 0.5))
    ('sigmoid', 'elu', None)
    """
    ours = parse_activation(activation)
    for name, theirs in {**_NAMES, "hard_sigmoid": _HARD_SIGMOID[True]}.items():
        if theirs not in OUTPUTS_ONLY and ours == parse_activation(theirs):
            return name
    return None


def layer_of(activation):
    """The class and options of a layer that is an activation of any slope; None of others.

    Examples
    --------
    >>> layer_of(("leaky_relu", 0.1))
    ('LeakyReLU', {'negative_slope': 0.1})
    """
    kind = activation if isinstance(activation, str) else activation[0]
    if kind not in _LAYERS:
        return None
    layer, slope = _LAYERS[kind]
    return layer, {slope: parse_activation(activation)[1]}

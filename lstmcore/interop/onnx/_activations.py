"""Activations by ONNX's names, for all who read and write them."""

from ..._activations import ACTIVATIONS

__all__ = ["DEFAULTS", "OF_NODES", "OPERATORS", "ROLES"]

# lstmcore's name -> ONNX's, and how many of alpha and beta it takes. The others are these with
# fixed parameters, see `_write_layers.activation_of`.
OF_NODES = {
    "logistic": ("Sigmoid", 0),
    "tanh": ("Tanh", 0),
    "relu": ("Relu", 0),
    "softsign": ("Softsign", 0),
    "softplus": ("Softplus", 0),
    "elu": ("Elu", 1),
    "leaky_relu": ("LeakyRelu", 1),
    "thresholded_relu": ("ThresholdedRelu", 1),
    "hard_sigmoid": ("HardSigmoid", 2),
    "scaled_tanh": ("ScaledTanh", 2),
    "affine": ("Affine", 2),
}

# Those that are operators of their own -> lstmcore's name, and its parameters with the values that
# they have where a node does not say them.
OPERATORS = {
    theirs: (ours, dict(zip(("alpha", "beta")[:n], ACTIVATIONS[ours][1:], strict=False)))
    for ours, (theirs, n) in OF_NODES.items()
    if ours not in ("scaled_tanh", "affine")
}

# The roles of a recurrent node's activations in ONNX's order, and those that it has by default.
ROLES = {"RNN": ("output",), "GRU": ("gate", "cell"), "LSTM": ("gate", "cell", "output")}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

"""A layer as ONNX says it: what it cannot say, tensors in its order, attributes of a node."""

import math

import numpy as np

from ..._activations import ACTIVATIONS
from ...cells import reorder
from .._common import ORDERS, two_biases
from ._activations import DEFAULTS, OF_NODES, ROLES

__all__ = ["activation_of", "arranged", "attributes_of", "beyond_onnx"]

_ORDERS = ORDERS["onnx"]
_NAMES = {code: name for name, (code, *_) in ACTIVATIONS.items()}
_DIRECTIONS = {"forward": "forward", "reverse": "reverse", "both": "bidirectional"}
_GATES = ("input_gate", "forget_gate", "output_gate")


def beyond_onnx(layer):
    """What ONNX cannot say of a layer, in words."""
    options = layer.options
    if options.get("gate_recurrence"):
        yield "gate_recurrence=True"
    if options.get("peepholes"):
        if options["block_size"] > 1:
            yield f"peepholes=True and block_size={options['block_size']}"
        if options["output_peephole"] == "before":
            yield "output_peephole='before'"
    description = layer.cell.description
    for role in ("gate", "cell", "output"):
        name, alpha, beta = activation_of(description, role)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.float32([alpha, beta])).all():
                yield f"parameters of {name!r} beyond float32"
    if _has_absent_gates(layer) and _one(*activation_of(description, "gate")) is None:
        absent = next(name for name in _GATES if not options[name])
        yield f"{absent}=False and a gate_activation that is never 1"


def activation_of(description, role):
    """An activation by the name of one that ONNX has as well, with alpha and beta."""
    name = _NAMES[description[f"act_{role}"]]
    if name == "identity":
        return "affine", 1.0, 0.0
    if name in ("logistic_1", "logistic_2"):
        return "scaled_tanh", {"logistic_1": 1.0, "logistic_2": 2.0}[name], 0.5
    return name, description[f"alpha_{role}"], description[f"beta_{role}"]


def _has_absent_gates(layer):
    """Whether an LSTM lacks a gate that is not coupled to another."""
    options, cell = layer.options, layer.cell
    return cell.kind == "LSTM" and len(cell.gates) < 4 - options["coupled"]


def _one(name, alpha, beta):
    """Where an activation of gates is 1, in float32; None if nowhere."""
    if name == "thresholded_relu":
        return 1.0 if alpha < 1 else None
    if name == "hard_sigmoid":
        return (2 - beta) / alpha  # beyond its bend
    if name == "scaled_tanh":
        if abs(alpha) < 1 or beta == 0:
            return None
        below_1 = 1 - 2.0**-53  # whose tanh is 1 in float32
        return float(np.arctanh(np.clip(1 / alpha, -below_1, below_1))) / beta
    if name == "affine":
        if alpha == 0:
            return 0.0 if beta == 1 else None
        return (1 - beta) / alpha
    return {
        "logistic": 30.0,
        "tanh": 30.0,
        "relu": 1.0,
        "softsign": 2.0**30,
        "softplus": math.log(math.expm1(1.0)),
        "elu": 1.0,
        "leaky_relu": 1.0,
    }[name]


def arranged(layer, w):
    """W, R and B, and P with peepholes, of one direction's `Weights`: one row for each unit."""
    if layer.cell.kind == "LSTM":
        return _arranged_lstm(layer, w)
    cell, (W, R, b, *bR) = layer.cell, w.blocks
    order = _ORDERS[cell.kind]
    biases = two_biases(cell, order, b, *bR)
    return reorder(W, cell, order), reorder(R, cell, order), np.concatenate(biases)


def _arranged_lstm(layer, w):
    """`arranged` of an LSTM, with all four gates.

    Cells of a block have copies of its gates. A gate that is left out has weights of 0 and a bias
    that makes it 1. The rows of a coupled forget gate are not read.
    """
    W, R, b, p, _ = w.blocks
    gates, H, size = layer.cell.gates, layer.hidden_size, layer.options["block_size"]
    bias = 0.0
    if _has_absent_gates(layer):
        bias = _one(*activation_of(layer.cell.description, "gate"))

    def rows(array, gate, absent=0.0):
        if gate not in gates:
            return np.full((H, *array.shape[1:]), absent)
        return np.repeat(array[gates[gate]], 1 if gate == "g" else size, axis=0)

    order = _ORDERS["LSTM"]
    W, R = (np.concatenate([rows(array, gate) for gate in order]) for array in (W, R))
    b = np.concatenate([rows(b, gate, bias) for gate in order])
    arranged = W, R, np.concatenate([b, np.zeros_like(b)])
    if p is None:
        return arranged
    own = dict(zip([gate for gate in "ifo" if gate in gates], p, strict=False))
    return *arranged, np.concatenate([own.get(gate, np.zeros(H)) for gate in "iof"])


def attributes_of(layer):
    """Those of a recurrent node; what is ONNX's default is left out."""
    kind, options = layer.cell.kind, layer.options
    attributes = {"hidden_size": layer.hidden_size, "direction": _DIRECTIONS[layer.direction]}
    activations = [activation_of(layer.cell.description, role) for role in ROLES[kind]]
    names = [OF_NODES[name][0] for name, *_ in activations]
    if names != DEFAULTS[kind]:
        attributes["activations"] = names * layer.directions
        for i, key in enumerate(("activation_alpha", "activation_beta")):
            own = [pair[i] for name, *pair in activations if OF_NODES[name][1] > i]
            if own:
                attributes[key] = own * layer.directions
    if options.get("reset_after"):
        attributes["linear_before_reset"] = 1
    if options.get("coupled"):
        attributes["input_forget"] = 1
    return attributes

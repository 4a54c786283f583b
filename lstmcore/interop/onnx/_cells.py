"""A recurrent node's attributes and weights as a layer and its blocks.

ONNX has gates in the order i, o, f, c (LSTM) and z, r, h (GRU), two biases, and peepholes i, o, f.
"""

import numpy as np

from ...cells import GRU, LSTM, RNN
from .._common import ORDERS, one_direction
from ._activations import DEFAULTS, OF_NODES, ROLES
from ._graph import Refused

__all__ = ["KINDS", "as_written", "directions_of", "read_cell"]

KINDS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
_N_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# ONNX's name in small letters -> ours, and how many of alpha and beta it takes
_OURS = {theirs.lower(): (ours, n) for ours, (theirs, n) in OF_NODES.items()}
_DIRECTIONS = {"forward": "forward", "reverse": "reverse", "bidirectional": "both"}
_KNOWN = {
    "activations",
    "activation_alpha",
    "activation_beta",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "linear_before_reset",
}


def directions_of(node):
    """The directions of a recurrent node: "forward", "reverse" or "both"."""
    direction = node.get("direction", "s", "forward")
    if direction not in _DIRECTIONS:
        raise Refused(f"has the direction {direction[:40]!r}, which is none")
    return _DIRECTIONS[direction]


def read_cell(node, arrays, linear_before_reset=None):
    """The layer of a recurrent node, without initial states, and its blocks.

    Parameters
    ----------
    node : Node
    arrays : list of ndarray
        W (D, rows, I), R (D, rows, H), B (D, 2 rows) or None, P (D, 3 H) or None.
    linear_before_reset : bool, optional
        In place of what a GRU node says.

    Returns
    -------
    layer : Layer
    blocks : list of dict
        Of each direction, by their names in the layer.
    """
    kind = node.op
    unknown = sorted(set(node.attributes()) - _KNOWN)
    if unknown:
        raise Refused(f"has the attribute {unknown[0][:40]!r}, which is not known")
    direction = directions_of(node)
    D = 2 if direction == "both" else 1
    W, R, B, P = arrays
    I, H = _sizes(node, W, R, D)
    rows = _N_GATES[kind] * H
    _expect(B, (D, 2 * rows), "B")
    _expect(P, (D, 3 * H), "P")
    clip = node.get("clip", "f", None)
    if clip is not None and not clip >= np.finfo(np.float32).max:
        raise Refused(f"clips what its activations take, at {clip:g}, which no layer does")
    options = {"direction": direction, **_activations(node, D)}
    if kind == "LSTM":
        options["coupled"] = bool(node.get("input_forget", "i", 0))
        options["peepholes"] = P is not None
    elif P is not None:
        raise Refused("has peepholes, which only an LSTM has")
    if kind == "GRU":
        said = bool(node.get("linear_before_reset", "i", 0))
        options["reset_after"] = said if linear_before_reset is None else linear_before_reset
    try:
        layer = KINDS[kind](I, H, **options)
    except (TypeError, ValueError) as error:
        raise Refused(f"is no layer: {error}") from error
    blocks = []
    for d in range(D):
        parts = [_own_rows(array, kind, options, H) for array in (W[d], R[d])]
        biases = [None, None]
        if B is not None:
            biases = [_own_rows(part, kind, options, H) for part in np.split(B[d], 2)]
        order = ORDERS["onnx"][kind]
        blocks.append(one_direction(layer.cell, order, *parts, *biases))
        if P is not None:
            i, o, f = np.split(P[d], 3)
            blocks[d]["p"] = np.stack([i, o] if options["coupled"] else [i, f, o])
    return layer, blocks


def as_written(value):
    """A number of a file, which is float32, as the shortest decimal that means it: 0.2."""
    return float(str(np.float32(value)))


def _own_rows(array, kind, options, H):
    """Without the rows of the forget gate where it is coupled to the input gate: 1 - i."""
    if kind == "LSTM" and options["coupled"]:
        return np.concatenate([array[: 2 * H], array[3 * H :]])
    return array


def _sizes(node, W, R, D):
    """I and H, by the shapes of W and R."""
    for array, name in ((W, "W"), (R, "R")):
        if array.ndim != 3 or array.shape[0] != D:
            raise Refused(f"expected {name} of {D} direction(s), got shape {array.shape}")
        if array.dtype.kind != "f":
            raise Refused(f"expected real numbers as {name}, got {array.dtype}")
    I, H = W.shape[2], R.shape[2]
    H_said = node.get("hidden_size", "i", H)
    rows = _N_GATES[node.op] * H
    if H_said != H or W.shape[1] != rows or R.shape[1] != rows or not (I and H):
        raise Refused(
            f"expected W (D, {_N_GATES[node.op]} H, I) and R (D, {_N_GATES[node.op]} H, H) with "
            f"H = {H_said}, got {W.shape} and {R.shape}"
        )
    return I, H


def _expect(array, shape, name):
    if array is not None and (array.shape != shape or array.dtype.kind != "f"):
        raise Refused(f"expected real numbers of shape {shape} as {name}, got {array.shape}")


def _activations(node, D):
    """The activations by the names of the layer's options."""
    roles = ROLES[node.op]
    names = node.get("activations", "strings") or DEFAULTS[node.op] * D
    if len(names) != D * len(roles):
        raise Refused(f"expected {D * len(roles)} activations, got {len(names)}")
    given = [
        map(as_written, node.get(f"activation_{parameter}", "floats", []))
        for parameter in ("alpha", "beta")
    ]
    # Each takes the next of alpha and beta, if it has such a parameter.
    found = []
    for name in names:
        if name.lower() not in _OURS:
            raise Refused(f"has the activation {name[:40]!r}, which is not known")
        ours, n_parameters = _OURS[name.lower()]
        parameters = [next(values, None) for values in given[:n_parameters]]
        if parameters[1:] == [None]:
            parameters.pop()
        if parameters == [None]:
            parameters.pop()
        if None in parameters:
            raise Refused(f"has a beta, but no alpha for its activation {name!r}")
        if (ours, *parameters) == ("affine", 1.0, 0.0):
            ours, parameters = "identity", []
        found.append((ours, *parameters) if parameters else ours)
    forward, backward = found[: len(roles)], found[len(roles) :]
    if backward and forward != backward:
        raise Refused(
            f"has other activations backward, {backward}, than forward, {forward}, while both "
            "directions of a layer have the same"
        )
    options = ["activation"] if node.op == "RNN" else [f"{role}_activation" for role in roles]
    return dict(zip(options, forward, strict=True))

"""Layers in floating point, as lstmrt_float.h reads them."""

import numpy as np

from ._chain import DENSE, LSTM, PANEL
from ._source import activation, array, flags


def panels(matrix):
    """Rows of a (G, n) matrix in panels of 64; within a panel column after column."""
    return np.concatenate(
        [matrix[first : first + PANEL].T.ravel() for first in range(0, len(matrix), PANEL)]
    )


def float_part(part, dtype):
    """The arrays and the description of one part.

    Returns
    -------
    text : str
    size : int
        Bytes of constants.
    """
    cell, w, name = part.cell, part.weights, part.name
    columns = [w["b"][:, None], w["W"]] + ([] if w["R"] is None else [w["R"]])
    arrays = {"weights": panels(np.hstack(columns))}
    if w["p"] is not None:
        arrays["peepholes"] = w["p"]
    if w["Q"] is not None:
        arrays["gate_recurrence"] = panels(w["Q"])
    for state in ("h0", "c0"):
        if w[state] is not None:
            arrays[state] = w[state]
    arrays = {key: value.astype(dtype) for key, value in arrays.items()}

    def pointer(key):
        return f"{name}_{key}" if key in arrays else "NULL"

    lines = [array(f"{name}_{key}", value) for key, value in arrays.items()]
    output = activation(cell, "output", dtype)
    fields = [f"{cell['inputs']}, {cell['units']}"]
    if cell["kind"] == LSTM:
        gate, squash = activation(cell, "gate", dtype), activation(cell, "cell", dtype)
        fields += [str(cell["block_size"]), flags(cell)]
        fields += [gate, squash, output]
        keys = ["weights", "peepholes", "gate_recurrence", "h0", "c0"]
        struct = "lstm"
    elif cell["kind"] == DENSE:
        fields.append(output)
        keys, struct = ["weights"], "dense"
    else:
        fields.append(output)
        keys, struct = ["weights", "h0"], "rnn"
    fields.append(", ".join(map(pointer, keys)))
    body = ",\n    ".join(fields)
    lines.append(f"static const lstmrt_{struct} {name} = {{\n    {body},\n}};")
    return "\n".join(lines), sum(value.nbytes for value in arrays.values())

"""Exports in floating point: layers as lstmrt_float.h reads them."""

import numpy as np

from ..network import Network
from ._format import RECORDED_STEPS, Exported, Format, Number, largest_error
from ._source import activation, array, description, flags, rounded

PANEL = 64  # LSTMRT_PANEL of lstmrt_float.h


def panels(*columns):
    """Blocks side by side, their rows in panels; within a panel column after column."""
    matrix = np.hstack([block if block.ndim == 2 else block[:, None] for block in columns])
    return np.concatenate(
        [matrix[first : first + PANEL].T.ravel() for first in range(0, len(matrix), PANEL)]
    )


# For each kind of cell: the fields of its struct after inputs and units and before the pointers,
# given the part and a function that writes the activation of a role; and the arrays, in the order
# of the pointers, None in place of those that it lacks.


def _dense(part, unit):
    return [unit("output")], {"weights": panels(part.block("b"), part.block("W"))}


def _rnn(part, unit):
    weights = panels(part.block("b"), part.block("W"), part.block("R"))
    return [unit("output")], {"weights": weights, "h0": part.block("h0")}


def _lstm(part, unit):
    fields = [str(part.options["block_size"]), flags(part.options)]
    fields += [unit("gate"), unit("cell"), unit("output")]
    Q = part.block("Q")
    return fields, {
        "weights": panels(part.block("b"), part.block("W"), part.block("R")),
        "peepholes": part.block("p"),
        "gate_recurrence": None if Q is None else panels(Q),
        "h0": part.block("h0"),
        "c0": part.block("c0"),
    }


def _gru(part, unit):
    early, late = slice(2 * part.units), slice(2 * part.units, None)
    W, R, b, bR = (part.block(name) for name in ("W", "R", "b", "bR"))
    after = bR is not None
    return [unit("gate"), unit("cell")], {
        "weights": panels(b[early], W[early], R[early]),
        "candidate": panels(b[late], W[late]) if after else panels(b[late], W[late], R[late]),
        "recurrence": panels(bR, R[late]) if after else None,
        "h0": part.block("h0"),
    }


_KINDS = {"Dense": _dense, "RNN": _rnn, "LSTM": _lstm, "GRU": _gru}


class FloatFormat(Format):
    """float or double."""

    def __init__(self, name, c_type, tolerance):
        self.name = name
        self.real = self.signal = self.wide = self.total = Number(c_type, name)
        self.note = f"""
 * Computed in {c_type}.
 *
 * A NaN among the inputs makes NaNs of the outputs until the next reset, as it does in Python."""
        self.runtime = ("lstmrt_math.h", "lstmrt_float.h")
        self._tolerance = tolerance

    def export(self, model, net, sequences, features):
        parts = [part for layer in model.parts for part in layer]
        parts += [part for part, _ in model.initial]
        texts, sizes = zip(*map(self._text, parts), strict=True)
        x = sequences[0][:RECORDED_STEPS].astype(self.name)
        same = net
        if net.dtype != self.name:
            same = Network._of(net.options | {"dtype": self.name}, net.params)
        if features is not None:
            features = features[:1].astype(self.name)
        y = same.predict(x[None], features=features)[0]
        return Exported(
            data="\n\n".join(texts),
            constant_bytes=sum(sizes),
            x=x,
            y=y,
            error=float(np.abs(y - net.predict(x[None], features=features)[0]).max()),
            tolerance=self._tolerance * largest_error(model, y),
            details={"reference": net.dtype.name},
            features=features,
        )

    def _text(self, part):
        """The arrays and the description of a part, and the bytes of its constants."""

        def unit(role):
            return activation(part.options, role, self.name)

        fields, arrays = _KINDS[part.kind](part, unit)
        arrays = {
            key: value if value is None else rounded(value, self.name, "parameters")
            for key, value in arrays.items()
        }
        pointers = [
            "NULL" if value is None else f"{part.name}_{key}" for key, value in arrays.items()
        ]
        arrays = {key: value for key, value in arrays.items() if value is not None}
        lines = [array(f"{part.name}_{key}", value) for key, value in arrays.items()]
        lines.append(description(part, [*fields, ", ".join(pointers)]))
        return "\n".join(lines), sum(value.nbytes for value in arrays.values())


FLOAT32 = FloatFormat("float32", "float", 2e-6)
FLOAT64 = FloatFormat("float64", "double", 1e-12)

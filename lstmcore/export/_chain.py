"""A network as the chain of macro calls and the state struct that the C runtime works on."""

from dataclasses import dataclass

import numpy as np

from ..cells import reorder
from ..losses import find_loss

PANEL = 64  # rows of a panel of weights: LSTMRT_PANEL in lstmrt_float.h and lstmrt_int8.h

DENSE, RNN, LSTM = 0, 1, 2


@dataclass
class Part:
    """One direction of one layer.

    Attributes
    ----------
    name : str
        Of its description in C: ``layer0``, ``layer0_forward``.
    cell : dict
        As kernels take it.
    weights : dict of str to ndarray or None
        W, R, b with their rows in the order i, f, o, g; masks applied; p, Q, h0, c0.
    """

    name: str
    cell: dict
    weights: dict

    @property
    def units(self):
        return self.cell["units"]

    @property
    def n_gates(self):
        """Rows of W that belong to gates."""
        return len(self.weights["b"]) - self.units

    @property
    def macro(self):
        kind = self.cell["kind"]
        if kind == LSTM and self.weights["Q"] is not None:
            return "FGR_LSTM"
        return {DENSE: "DENSE", RNN: "RNN", LSTM: "LSTM"}[kind]


@dataclass
class Chain:
    """All of a network's parts, and where it is read.

    Attributes
    ----------
    parts : list of lists of Part
        For every layer one, or two.
    body : int
        How many layers stand before the readout.
    read : int
        How many numbers the head reads.
    readout : str
    output : str
        The output activation.
    """

    parts: list
    body: int
    read: int
    readout: str
    output: str

    @property
    def head(self):
        return self.parts[self.body :]

    @property
    def inputs(self):
        return self.parts[0][0].cell["inputs"]

    @property
    def outputs(self):
        return sum(part.units for part in self.parts[-1])

    @property
    def bidirectional(self):
        """As LSTMRT_BIDIRECTIONAL."""
        if all(len(directions) == 1 for directions in self.parts):
            return 0
        return len(self.parts[self.body - 1])

    def body_macros(self):
        """LSTMRT_BODY"""
        calls = []
        for k, directions in enumerate(self.parts[: self.body]):
            both = "BIDIRECTIONAL_" if len(directions) == 2 else ""
            calls.append(f"LSTMRT_{both}{directions[0].macro}({k})")
        return " ".join(calls)

    def head_macros(self):
        """LSTMRT_HEAD"""
        if self.body == len(self.parts):
            return "LSTMRT_OUTPUT_COPY"
        last = len(self.parts) - 1
        hidden = [f"LSTMRT_DENSE({k})" for k in range(self.body, last)]
        return " ".join([*hidden, f"LSTMRT_OUTPUT_DENSE({last})"])

    def widths(self):
        """Outputs of every layer of the body."""
        return [sum(part.units for part in parts) for parts in self.parts[: self.body]]

    def work(self):
        """Length of the member `work`."""
        rows = [
            len(part.weights["b"])
            for parts in self.parts
            for part in parts
            if part.cell["kind"] != DENSE
        ]
        return max(rows, default=0)


def chain_of(net):
    """The `Chain` of a `Network`, its weights as float64."""
    parts = []
    for k, (layer, directions) in enumerate(zip(net.layers, net._views(net.params), strict=True)):
        names = [f"layer{k}"]
        if len(directions) == 2:
            names = [f"layer{k}_forward", f"layer{k}_backward"]
        parts.append(
            [
                Part(name, layer.cell.description, _weights(layer, values))
                for name, values in zip(names, directions, strict=True)
            ]
        )
    recurrent = [k for k, layer in enumerate(net.layers) if layer.is_recurrent]
    body = recurrent[-1] + 1 if recurrent else len(parts) - 1
    read = net.layers[body - 1].output_size if body else net.input_size
    return Chain(parts, body, read, net.readout, find_loss(net.loss_name).output)


def _weights(layer, values):
    blocks = layer.masked(values).blocks
    result = dict.fromkeys(("W", "R", "b", "p", "Q", "h0", "c0"))
    result.update(zip(layer.cell.block_names, blocks, strict=True))
    result.update((f"{name}0", v) for name, v in zip(layer.states, values.initial, strict=True))
    result = {
        name: None if value is None else np.array(value, dtype=np.float64)
        for name, value in result.items()
    }
    for name in ("W", "R", "b"):
        if result[name] is not None:
            result[name] = reorder(result[name], layer.cell, "ifogrzn")  # gates side by side
    return result

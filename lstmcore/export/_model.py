"""A network as the list of layers and the state struct that the C runtime works on."""

from dataclasses import dataclass

import numpy as np

from .._generation import draws_classes
from ..cells import Cell, Dense, Weights, reorder

# Where the runtime has the rows of W, R and b in another order than the cell: gates side by side.
_ROWS = {"LSTM": "ifog"}
# How many numbers for each unit a step keeps beside its pre-activations.
_SCRATCH = {"GRU": 1}
# As the runtime names layers and readouts.
_DIRECTIONS = {"forward": "FORWARD", "reverse": "REVERSE", "both": "BOTH"}
READOUTS = {
    "all": "LSTMRT_ALL",
    "last": "LSTMRT_LAST",
    "mean": "LSTMRT_MEAN",
    "max": "LSTMRT_MAX",
    "last_step": "LSTMRT_LAST_STEP",
}


@dataclass
class Part:
    """One direction of one layer.

    Attributes
    ----------
    name : str
        Of its description in C: ``layer0``, ``layer0_forward``.
    cell : Cell
    values : Weights
        In float64, masked, as the cell has them.
    weights : dict of str to ndarray or None
        The same by name, rows in the runtime's order; initial states are h0 and c0. What it lacks
        is None.
    reverse : bool
        Whether it reads sequences from their end.
    is_output : bool
        Whether it is a Dense layer whose outputs are the network's.
    """

    name: str
    cell: Cell
    values: Weights
    weights: dict[str, np.ndarray | None]
    reverse: bool
    is_output: bool

    @property
    def kind(self):
        return self.cell.kind

    @property
    def options(self):
        """The cell as kernels describe it: flags of the gates, codes of the activations."""
        return self.cell.description

    @property
    def units(self):
        return self.cell.units

    @property
    def own_gates(self):
        """The gates of an LSTM that have rows of their own, in the order of p and Q."""
        return [gate for gate in "ifo" if gate in self.cell.gates]

    @property
    def n_gates(self):
        """Rows of W that belong to gates of an LSTM, hence without those of g."""
        return len(self.block("b")) - self.units

    @property
    def c_name(self):
        """As the macros of lstmrt_model.h name the cell."""
        return self.kind.upper() if self.block("Q") is None else "FGR_LSTM"

    def block(self, name):
        """A block or a learned initial state; None if the cell has none of that name."""
        return self.weights.get(name)


@dataclass
class Model:
    """All parts of a network, and where it is read.

    Attributes
    ----------
    parts : list of lists of Part
        For every layer one, or two.
    directions : list of str
        Of every layer "forward", "reverse" or "both".
    body : int
        How many layers stand in front of the readout.
    readout : str
    output : str
        The output activation.
    tokens : bool
        Whether the first layer may read tokens.
    draws : bool
        Whether the loss draws such tokens from the outputs.
    initial : list of (Part, str)
        Where initial states are a function of features: a dense layer for each array of a state,
        and the member of the state that the array is.
    """

    parts: list[list[Part]]
    directions: list[str]
    body: int
    readout: str
    output: str
    tokens: bool
    draws: bool
    initial: list[tuple[Part, str]]

    @property
    def features(self):
        """How many there are of a sequence."""
        return self.initial[0][0].cell.inputs if self.initial else 0

    def initial_list(self):
        """The dense layers of initial states as LSTMRT_INITIAL has them."""
        return " ".join(f"DO({part.name}, {member})" for part, member in self.initial)

    @property
    def inputs(self):
        return self.parts[0][0].cell.inputs

    @property
    def outputs(self):
        return sum(part.units for part in self.parts[-1])

    @property
    def read(self):
        """How many numbers are read out."""
        last = self.running(self.body)
        return sum(part.units for part in self.parts[last - 1]) if last else self.inputs

    @property
    def whole(self):
        """Whether sequences must be whole, as a layer reads them from their end."""
        return any(direction != "forward" for direction in self.directions)

    @property
    def reads_both(self):
        """Whether the last layer of the body reads both ways."""
        return self.directions[self.body - 1] == "both"

    def running(self, stop):
        """How many of the first `stop` layers are not the output layer."""
        return min(stop, len(self.parts) - self.parts[-1][0].is_output)

    def layer_list(self, first, stop):
        """These layers as LSTMRT_BODY and LSTMRT_HEAD have them."""
        return " ".join(
            f"DO({_DIRECTIONS[self.directions[k]]}, {self.parts[k][0].c_name}, {k})"
            for k in range(first, self.running(stop))
        )

    def widths(self):
        """Outputs of every layer that runs over whole sequences."""
        running = self.parts[: self.running(self.body)]
        return [sum(part.units for part in parts) for parts in running]

    def work(self):
        """Length of the member `work`: what a step of a recurrent layer keeps beside the state."""
        lengths = [
            len(part.block("b")) + part.units * _SCRATCH.get(part.kind, 0)
            for parts in self.parts
            for part in parts
            if part.cell.states
        ]
        return max(lengths, default=0)


def model_of(net):
    """The `Model` of a `Network`."""
    if net.layers[0].token_sizes:
        raise ValueError(
            f"net: expected a first layer that the C code has, got {net.layers[0]!r}; export the "
            "layers after it as a network of their own, and look vectors up in the tables of "
            "net.blocks"
        )
    parts, last = [], len(net.layers) - 1
    for k, (layer, directions) in enumerate(zip(net.layers, net.weights, strict=True)):
        is_output = k == last and not layer.is_recurrent
        names, reverse = [f"layer{k}"], [layer.direction == "reverse"]
        if layer.directions == 2:
            names, reverse = [f"layer{k}_forward", f"layer{k}_backward"], [False, True]
        parts.append(
            [
                _part(name, layer, values, backwards, is_output)
                for name, values, backwards in zip(names, directions, reverse, strict=True)
            ]
        )
    directions = [layer.direction for layer in net.layers]
    tokens = net.takes_tokens
    draws = tokens and draws_classes(net._loss) and net.output_size <= net.input_size
    initial = [] if net.initial is None else _initial(net, parts)
    options = net.body.stop, net.readout, net.output_units, tokens, draws, initial
    return Model(parts, directions, *options)


def _initial(net, parts):
    """The function of features, a part for each array of a state."""
    W, b = net.blocks["initial.W"].astype(np.float64), net.blocks.get("initial.b")
    b = np.zeros(len(W)) if b is None else b.astype(np.float64)
    found, n = [], 0
    for part in (part for layer in parts for part in layer):
        for state in part.cell.states:
            options = net.initial.options | {"output_size": part.units}
            cell, rows = Dense(**options).cell, slice(n, n + part.units)
            n += part.units
            values = Weights((W[rows], b[rows]), ())
            weights = {"W": W[rows], "b": b[rows]}
            name = f"initial_{part.name}_{state}"
            member = f"{part.name.replace('_', '.')}.{state}"
            found.append((Part(name, cell, values, weights, False, False), member))
    return found


def _part(name, layer, values, reverse, is_output):
    def in_float64(arrays):
        return tuple(None if a is None else np.array(a, dtype=np.float64) for a in arrays)

    cell, values = layer.cell, layer.masked(values)
    values = Weights(in_float64(values.blocks), in_float64(values.initial))
    if cell.kind == "Dense" and values.blocks[1] is None:  # the runtime's has a bias
        values = values._replace(blocks=(values.blocks[0], np.zeros(cell.units)))
    weights = dict(zip(cell.block_names, values.blocks, strict=True))
    if cell.kind in _ROWS:
        for block in ("W", "R", "b"):
            weights[block] = reorder(weights[block], cell, _ROWS[cell.kind])
    weights |= {
        f"{state}0": learned for state, learned in zip(cell.states, values.initial, strict=True)
    }
    return Part(name, cell, values, weights, reverse, is_output)

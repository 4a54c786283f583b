"""One zoo: every cell, network and activation that the contracts run over, and why it is there.

A contract is a test that holds for all of them: it takes the whole table, or filters it by what the
entries are and never by their names, so a new cell meets every contract once it has an entry here.
`test_zoo.py` fails where a class of `lstmcore.cells.CELLS` has no entry, or an option of a class is
its default in all entries.
"""

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import lstmcore as lc
from lstmcore._readout import READOUTS

INPUTS, OUTPUTS = 3, 2  # of every network
DTYPES = ("float64", "float32")
LOSSES = ("squared_error", "cross_entropy", "binary_cross_entropy", "poisson")

# One setting of every activation; the parameters are not the defaults, so that a kernel that
# ignores them is found out.
ACTIVATIONS = [
    "identity",
    "logistic",
    "tanh",
    "relu",
    "logistic_1",
    "logistic_2",
    "softsign",
    "softplus",
    ("elu", 0.7),
    ("leaky_relu", 0.15),
    ("hard_sigmoid", 0.3, 0.4),
    ("scaled_tanh", 1.3, 0.6),
    ("thresholded_relu", 0.2),
    ("affine", 0.8, 0.1),
]


def activation_label(activation):
    return activation if isinstance(activation, str) else activation[0]


BENDS = {"relu", "elu", "leaky_relu", "hard_sigmoid", "thresholded_relu"}


def has_bends(layer):
    """Whether an activation of a layer has no derivative somewhere."""
    given = [value for name, value in layer.options.items() if name.endswith("activation")]
    return not BENDS.isdisjoint(map(activation_label, given))


def options_of(cls):
    """``{name: default}`` of the options of a layer's class, without its sizes."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


# ------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True)
class Entry:
    """A cell of any size.

    Attributes
    ----------
    cls : type
    why : str
        What it has that no other entry has.
    options : dict
        Of the class. A function stands for the value that it gives for the number of units.
    beyond : dict
        Changes of the description that kernels take and that no layer offers.
    is_representative : bool
        Whether it also is where a contract takes too long for all entries: those that are about
        products, threads and memory, which activations and missing gates do not change.
    """

    cls: type
    why: str
    options: dict = field(default_factory=dict)
    beyond: dict = field(default_factory=dict)
    is_representative: bool = False

    def layer(self, inputs, units, **options):
        """The layer, with further options."""
        own = {
            name: value(units) if isinstance(value, Callable) else value
            for name, value in self.options.items()
        }
        return self.cls(inputs, units, **own | options)

    def __call__(self, inputs, units, **options):
        """The description that kernels take."""
        return self.layer(inputs, units, **options).cell.description | self.beyond

    @property
    def is_recurrent(self):
        return self.layer(1, 1).is_recurrent

    def takes(self, option):
        """Whether the class has the option, and the entry leaves it at its default."""
        return option in options_of(self.cls) and option not in self.options


def smallest_divisor(units):
    """The smallest above 1: the fewest cells that can share a gate. The units themselves may be
    one block."""
    return next((d for d in range(2, units) if units % d == 0), units)


NO_GATES = {"input_gate": False, "forget_gate": False, "output_gate": False}

# The variants are those of Greff et al. 2015 and what equations.md adds to their list.
CELLS = {
    "LSTM": Entry(lc.LSTM, "the plain one: NP of the literature", is_representative=True),
    "peepholes": Entry(
        lc.LSTM, "V: gates read the cell state", {"peepholes": True}, is_representative=True
    ),
    "NIG": Entry(
        lc.LSTM,
        "no input gate: the gates' rows start at f",
        {"peepholes": True, "input_gate": False},
    ),
    "NFG": Entry(
        lc.LSTM,
        "no forget gate: the cell state only grows",
        {"peepholes": True, "forget_gate": False},
    ),
    "NOG": Entry(
        lc.LSTM, "no output gate: nothing reads c(t)", {"peepholes": True, "output_gate": False}
    ),
    "NIAF": Entry(
        lc.LSTM, "no activation of the input", {"peepholes": True, "cell_activation": "identity"}
    ),
    "NOAF": Entry(
        lc.LSTM, "no activation of the output", {"peepholes": True, "output_activation": "identity"}
    ),
    "CIFG": Entry(
        lc.LSTM,
        "one gate in two places: 1 - i forgets",
        {"peepholes": True, "coupled": True},
        is_representative=True,
    ),
    "FGR": Entry(
        lc.LSTM,
        "gates are part of the state",
        {"peepholes": True, "gate_recurrence": True},
        is_representative=True,
    ),
    "FGR without peepholes": Entry(
        lc.LSTM, "Q takes the place of p in the flat vector", {"gate_recurrence": True}
    ),
    "CIFG with FGR": Entry(
        lc.LSTM,
        "gates feed back, and one of them stands in two places",
        {"peepholes": True, "coupled": True, "gate_recurrence": True},
    ),
    "CIFG without output gate": Entry(
        lc.LSTM, "the fewest rows with a gate that forgets", {"coupled": True, "output_gate": False}
    ),
    "only the output gate, FGR": Entry(
        lc.LSTM,
        "the gate that is computed last feeds back alone",
        {"peepholes": True, "gate_recurrence": True, "input_gate": False, "forget_gate": False},
    ),
    "NIAF and NOAF": Entry(
        lc.LSTM,
        "no nonlinearity but the gates'",
        {"cell_activation": "identity", "output_activation": "identity"},
    ),
    "no gates": Entry(lc.LSTM, "nothing is left of the gates' lines", NO_GATES),
    "peepholes without gates": Entry(
        lc.LSTM, "p has no rows: callers in C may ask for it", NO_GATES, {"peepholes": 1}
    ),
    "blocks": Entry(
        lc.LSTM,
        "cells share their gates: W has fewer rows than gates times units",
        {"peepholes": True, "block_size": smallest_divisor},
    ),
    "FGR, blocks": Entry(
        lc.LSTM,
        "Q reads blocks, not cells",
        {"gate_recurrence": True, "block_size": smallest_divisor},
    ),
    "LSTM, activations": Entry(
        lc.LSTM,
        "all three activations differ, with parameters of their own",
        {
            "peepholes": True,
            "gate_activation": ("hard_sigmoid", 0.3, 0.4),
            "cell_activation": "softsign",
            "output_activation": ("scaled_tanh", 1.5, 0.5),
        },
    ),
    "output gate peeps before": Entry(
        lc.LSTM,
        "all peepholes read c(t-1)",
        {"peepholes": True, "output_peephole": "before"},
        is_representative=True,
    ),
    "output gate does not peep": Entry(
        lc.LSTM,
        "p has fewer rows than there are gates",
        {"peepholes": True, "output_peephole": None},
        is_representative=True,
    ),
    "only the output gate, peeps before": Entry(
        lc.LSTM,
        "o(t) is computed before c(t)",
        {
            "peepholes": True,
            "output_peephole": "before",
            "input_gate": False,
            "forget_gate": False,
        },
    ),
    "NFG, output gate does not peep": Entry(
        lc.LSTM,
        "the row of i is all there is of p",
        {"peepholes": True, "output_peephole": None, "forget_gate": False},
    ),
    "CIFG with FGR, output gate peeps before": Entry(
        lc.LSTM,
        "o reads the state and the gates of the same step",
        {
            "peepholes": True,
            "output_peephole": "before",
            "coupled": True,
            "gate_recurrence": True,
        },
    ),
    "blocks, output gate peeps before": Entry(
        lc.LSTM,
        "a gate's peepholes are summed over the cells of a block, c(t-1) for o too",
        {"peepholes": True, "output_peephole": "before", "block_size": smallest_divisor},
    ),
    "NIG with FGR, blocks, output gate does not peep": Entry(
        lc.LSTM,
        "Q has the rows of a block's o, p has not",
        {
            "peepholes": True,
            "output_peephole": None,
            "input_gate": False,
            "gate_recurrence": True,
            "block_size": smallest_divisor,
        },
    ),
    "GRU": Entry(lc.GRU, "resets what R gave, the recurrent bias included", is_representative=True),
    "GRU, reset before": Entry(
        lc.GRU,
        "resets what R reads: a product within the step",
        {"reset_after": False},
        is_representative=True,
    ),
    "GRU, activations": Entry(
        lc.GRU,
        "both activations differ, with parameters of their own",
        {"gate_activation": ("hard_sigmoid", 0.3, 0.4), "cell_activation": "softsign"},
    ),
    "GRU, reset before, activations": Entry(
        lc.GRU,
        "gates below 0, so that z h(t-1) changes its sign",
        {
            "reset_after": False,
            "gate_activation": ("scaled_tanh", 0.9, 0.5),
            "cell_activation": ("scaled_tanh", 1.3, 0.6),
        },
    ),
    "RNN": Entry(lc.RNN, "one product and nothing else", is_representative=True),
    "RNN, activation": Entry(
        lc.RNN, "its value alone tells the slope", {"activation": ("elu", 0.7)}
    ),
    "Dense": Entry(lc.Dense, "no state and no recurrent product", is_representative=True),
    "Dense, activation": Entry(lc.Dense, "a layer between others", {"activation": "tanh"}),
    "Dense without bias": Entry(
        lc.Dense, "a product and nothing else", {"bias": False}, is_representative=True
    ),
    "Embedding": Entry(lc.Embedding, "a table of tokens", is_representative=True),
}

REPRESENTATIVES = {name: entry for name, entry in CELLS.items() if entry.is_representative}

# Every activation of every class, as (cell, name of the option).
ROLES = [
    pytest.param(entry, option, id=f"{name}-{option.removesuffix('_activation')}")
    for name, entry in REPRESENTATIVES.items()
    for option in options_of(entry.cls)
    if option.endswith("activation") and len(entry.options) <= 1
]

# Those that are layers of the package.
LAYERS = {name: entry for name, entry in CELLS.items() if not entry.beyond}


# ---------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Network:
    """The layers of a network from `INPUTS` features, without a head.

    Attributes
    ----------
    why : str
        What it has that no other network has.
    make : callable
        Gives the layers.
    is_representative : bool
        Whether contracts run over it with every readout in both dtypes: see `cases`.
    """

    why: str
    make: Callable
    is_representative: bool = False

    @property
    def layers(self):
        return self.make()

    @property
    def reads_ahead(self):
        """Whether it needs whole sequences."""
        return any(layer.reads_ahead for layer in self.layers)

    @property
    def is_recurrent(self):
        return any(layer.is_recurrent for layer in self.layers)

    @property
    def ends_recurrent(self):
        """Whether the last layer's outputs are what a readout reads."""
        return self.layers[-1].is_recurrent

    @property
    def has_masks(self):
        return any(layer.options.get("R_mask") is not None for layer in self.layers)


def masked(cls, inputs, units, seed=0, **options):
    """A layer that lacks a third of its weights."""
    shapes = {block.name: block.shape for block in cls(inputs, units, **options).cell.blocks}
    rng = np.random.default_rng(seed)
    masks = {f"{name}_mask": rng.uniform(size=shapes[name]) < 2 / 3 for name in ("W", "R")}
    return cls(inputs, units, **options, **masks)


def _of_a_cell(entry):
    return Network(entry.why, lambda: [entry.layer(INPUTS, 6)])


LSTM, GRU, RNN, Dense = lc.LSTM, lc.GRU, lc.RNN, lc.Dense

# The cells one by one, and what only layers and networks have: sizes, directions, learned states,
# masks, neighbours.
NETWORKS = {name: _of_a_cell(entry) for name, entry in LAYERS.items()} | {
    "LSTM, 1 unit": Network("less than any vector", lambda: [LSTM(INPUTS, 1)]),
    "LSTM, 16 units": Network("whole vectors", lambda: [LSTM(INPUTS, 16)]),
    "LSTM, 33 units": Network("one over, at every width", lambda: [LSTM(INPUTS, 33)]),
    "LSTM, 70 units": Network("more than half a first-level cache", lambda: [LSTM(INPUTS, 70)]),
    "peepholes, 17 units": Network("p beyond a vector", lambda: [LSTM(INPUTS, 17, peepholes=True)]),
    "CIFG, 33 units": Network(
        "three gates, one over", lambda: [LSTM(INPUTS, 33, coupled=True)], is_representative=True
    ),
    "GRU, 1 unit": Network("less than any vector", lambda: [GRU(INPUTS, 1)]),
    "GRU, 33 units": Network("one over, at every width", lambda: [GRU(INPUTS, 33)]),
    "GRU, reset before, 17 units": Network(
        "a product of the step beyond a vector",
        lambda: [GRU(INPUTS, 17, reset_after=False)],
        is_representative=True,
    ),
    "RNN, 11 units": Network("beyond a vector", lambda: [RNN(INPUTS, 11, activation="relu")]),
    "learned states": Network(
        "both states start at parameters",
        lambda: [LSTM(INPUTS, 5, learn_initial_state=True, forget_bias=0.5)],
    ),
    "starts by name": Network(
        "what weights and gates start at",
        lambda: [
            LSTM(
                INPUTS,
                6,
                forget_bias=("chrono", 20),
                W_start="orthogonal",
                R_start="identity",
                block_size=2,
            ),
            GRU(6, 5, update_bias=("chrono", 20), W_start="identity", R_start="zeros"),
            RNN(5, 4, W_start=("uniform", 0.1), R_start=("uniform", 0.2)),
        ],
    ),
    "learned states, FGR, blocks": Network(
        "the gates in the state do not start at parameters",
        lambda: [
            LSTM(
                INPUTS,
                6,
                peepholes=True,
                gate_recurrence=True,
                block_size=3,
                learn_initial_state=True,
            )
        ],
        is_representative=True,
    ),
    "learned state, GRU": Network(
        "h(0) is read by the reset gate", lambda: [GRU(INPUTS, 9, learn_initial_state=True)]
    ),
    "learned state, RNN": Network(
        "a single state", lambda: [RNN(INPUTS, 9, learn_initial_state=True)], is_representative=True
    ),
    "masks": Network("a gate's rows lack other weights", lambda: [masked(LSTM, INPUTS, 4)]),
    "masks, GRU": Network(
        "the candidate lacks weights, reset or not",
        lambda: [masked(GRU, INPUTS, 4), masked(GRU, 4, 3, reset_after=False)],
    ),
    "masks, RNN, both directions": Network(
        "directions share the masks", lambda: [masked(RNN, INPUTS, 5, direction="both")]
    ),
    "tokens": Network("each is a column of W", lambda: [LSTM(INPUTS, 5, tokens=True)]),
    "tokens, GRU, both directions": Network(
        "each is a column of two W", lambda: [GRU(INPUTS, 5, direction="both", tokens=True)]
    ),
    "tokens, RNN, masks": Network(
        "of a token not all counts", lambda: [masked(RNN, INPUTS, 5, tokens=True)]
    ),
    "tokens, Dense": Network(
        "a layer between a table and the others",
        lambda: [Dense(INPUTS, 4, activation="tanh", tokens=True), GRU(4, 3)],
    ),
    "embedding": Network(
        "a table below other layers",
        lambda: [lc.Embedding(INPUTS, 4), LSTM(4, 5, peepholes=True)],
        is_representative=True,
    ),
    "reverse": Network(
        "the first step is the last, from learned states",
        lambda: [LSTM(INPUTS, 5, peepholes=True, direction="reverse", learn_initial_state=True)],
    ),
    "reverse, GRU, RNN": Network(
        "reverse after forward and under reverse",
        lambda: [GRU(INPUTS, 5), GRU(5, 4, direction="reverse"), RNN(4, 3, direction="reverse")],
    ),
    "both directions": Network(
        "two halves of the outputs",
        lambda: [LSTM(INPUTS, 17, peepholes=True, direction="both")],
        is_representative=True,
    ),
    "both directions, learned states": Network(
        "four initial states",
        lambda: [LSTM(INPUTS, 3, bidirectional=True, learn_initial_state=True)],
    ),
    "both directions, GRU": Network(
        "both resets in both directions, from learned states",
        lambda: [
            GRU(INPUTS, 4, reset_after=False, bidirectional=True, learn_initial_state=True),
            GRU(8, 3, direction="both"),
        ],
        is_representative=True,
    ),
    "both directions below": Network(
        "dx of two directions adds up", lambda: [LSTM(INPUTS, 3, bidirectional=True), RNN(6, 4)]
    ),
    "both directions above": Network(
        "both directions read another layer",
        lambda: [RNN(INPUTS, 3), LSTM(3, 4, peepholes=True, bidirectional=True)],
    ),
    "stack": Network(
        "four kinds, one upon the other",
        lambda: [Dense(INPUTS, 6, activation="tanh"), LSTM(6, 8), GRU(8, 4), RNN(4, 5)],
        is_representative=True,
    ),
    "widths": Network(
        "every layer has chunks of BPTT of its own",
        lambda: [
            Dense(INPUTS, 4, activation="tanh"),
            LSTM(4, 40),
            RNN(40, 3, activation="softsign"),
            GRU(3, 20),
            LSTM(20, 5),
            Dense(5, 6, activation="tanh"),
        ],
    ),
    "dense between": Network(
        "recurrent layers are neither first, nor last, nor neighbours",
        lambda: [
            Dense(INPUTS, 5, activation="tanh"),
            RNN(5, 3),
            Dense(3, 4, activation="tanh"),
            LSTM(4, 3, peepholes=True),
            Dense(3, 4, activation="logistic"),
        ],
    ),
}

RECURRENT = {name: entry for name, entry in NETWORKS.items() if entry.is_recurrent}
STREAMS = {name: entry for name, entry in NETWORKS.items() if not entry.reads_ahead}


def taking_tokens(net):
    """The same network, of tokens."""
    first, *others = net.layers
    if not first.tokens:
        first = type(first)(**first.options | {"tokens": True})
    other = lc.Network(**net.options | {"layers": [first, *others]})
    other.params = net.params
    return other


def cases(networks, readouts=tuple(READOUTS)):
    """A mark for tests of (name, readout, dtype).

    A readout does not know whose outputs it reads, so only the representatives have all of them in
    both dtypes; every other network has both dtypes, one with the first readout, one with each of
    the others in turn.
    """
    others = itertools.cycle(readouts[1:])
    chosen = []
    for name, entry in networks.items():
        if entry.is_representative:
            chosen += itertools.product([name], readouts, DTYPES)
        else:
            second = next(others) if entry.is_recurrent else "all"
            chosen += [(name, readouts[0], "float64"), (name, second, "float32")]
    return pytest.mark.parametrize("name, readout, dtype", chosen)


def with_losses(networks):
    """(name, loss) of all networks, each with one of the losses in turn."""
    return list(zip(networks, itertools.cycle(LOSSES), strict=False))


def network(name, *, outputs=OUTPUTS, scale=0.5, **options):
    """A network of the table, with random parameters, none of them at a special value.

    Parameters
    ----------
    name : str
    outputs : int or None
        Of a Dense head; None for no head.
    scale : float
        The parameters' standard deviation.
    **options
        Of the Network.
    """
    layers = NETWORKS[name].layers
    if outputs is not None:
        layers.append(Dense(layers[-1].output_size, outputs))
    net = lc.Network(layers, **options)
    net.params[...] = np.random.default_rng(0).normal(scale=scale, size=net.params.size)
    return net

"""The sweep's networks: a random network, random data, and everything that must hold for them.

A case is a network of one to three random layers and perhaps a head, with any loss and readout in
either dtype, and a few sequences with targets and weights. Outputs and loss are those of the NumPy
twin; the gradient is the derivative of the loss; and outputs, losses and gradients have the same
bits in whatever form, batch, memory, chunks and threads the work comes.
"""

import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zoo
from helpers import LAYOUTS, Problem, run_forward, same_bits, state_size

import lstmcore as lc
from lstmcore import _reference
from lstmcore._readout import READOUTS

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 33)  # less than a vector, whole ones, one over
FEATURES = (1, 2, 3, 5, 8, 17)
BATCHES = (1, 1, 2, 3, 5, 8, 13)
LONGEST = (0, 1, 1, 2, 5, 9, 14, 30)
THREADS = (1, 2, 3)
# Of outputs and the loss against the twin, which computes in float64: relative to the largest.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
TAME = 100  # the largest output, state and slope that a case may have: see `tame`


# ------------------------------------------------------------------------------------------ losses


class SumOverTime(lc.losses.Loss):
    """1/2 ‖sum_t y(t) - z‖²: a term is a whole sequence, and no sum over its steps."""

    name, output, terms = "sweep_sum_over_time", "identity", "sequences"

    def __init__(self, factor=1.0):
        self.factor = factor

    @property
    def options(self):
        return {"factor": self.factor}

    def value_and_delta(self, a, targets, weights, lengths=None):
        sequence = np.repeat(np.arange(len(lengths)), lengths)  # of each row
        total = np.zeros((len(lengths), a.shape[1]))
        np.add.at(total, sequence, a)
        error = self.factor * weights[:, None] * (total - targets.values)
        value = 0.5 * np.sum(error * (total - targets.values))
        return float(value), error[sequence].astype(a.dtype)


lc.losses.register(SumOverTime)

# A case's loss: what the network gets, and how its targets look.
LOSSES = {
    "squared_error": ("squared_error", "numbers"),
    "labels": ("cross_entropy", "labels"),
    "rows": ("cross_entropy", "rows"),
    "binary_cross_entropy": ("binary_cross_entropy", "fractions"),
    "poisson": ("poisson", "counts"),
    "sequences": (SumOverTime(0.5), "numbers"),
}


OF_OUTPUTS = ("numbers", "fractions", "counts")  # whose outputs may have weights


def draw_targets(rng, kind, K, n, dtype):
    """Targets of n terms."""
    if kind == "labels":
        return rng.integers(0, K, n)
    if kind == "counts":
        return rng.poisson(2.0, (n, K)).astype(dtype)
    values = rng.normal(size=(n, K)) if kind == "numbers" else rng.uniform(size=(n, K))
    if kind == "rows":
        values /= values.sum(axis=1, keepdims=True)
    return values.astype(dtype)


def term_parts(kind, a, z):
    """What each term is a sum of (n, ...), from pre-activations a and targets z, by formulas."""
    if kind == "numbers":
        return 0.5 * (a - z) ** 2
    if kind == "fractions":
        return np.logaddexp(0, a) - a * z
    if kind == "counts":
        return np.exp(a) - a * z
    log_y = a - np.logaddexp.reduce(a, axis=-1, keepdims=True)
    if kind == "labels":
        return -log_y[np.arange(len(a)), z, None]
    return -(z * log_y)


def output_units(name, a):
    """The output activation of pre-activations (n, K)."""
    if name == "identity":
        return a
    if name == "logistic":
        return 1 / (1 + np.exp(-a))
    if name == "exponential":
        return np.exp(a)
    e = np.exp(a - a.max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)


# ------------------------------------------------------------------------------------------ layers

# A value of every option that is not its default, for a number of units. Masks want shapes, and
# are drawn in `draw_layer`; what asks for tokens is asked for in `with_tokens`.
OPTIONS = {
    "peepholes": lambda rng, H: True,
    "output_peephole": lambda rng, H: "before" if rng.random() < 0.5 else None,
    "bidirectional": lambda rng, H: True,
    "direction": lambda rng, H: str(rng.choice(["forward", "reverse", "both"])),
    "input_gate": lambda rng, H: False,
    "forget_gate": lambda rng, H: False,
    "output_gate": lambda rng, H: False,
    "coupled": lambda rng, H: True,
    "gate_recurrence": lambda rng, H: True,
    "block_size": lambda rng, H: int(rng.choice([d for d in range(1, H + 1) if H % d == 0])),
    "bias": lambda rng, H: False,
    "reset_after": lambda rng, H: False,
    "learn_initial_state": lambda rng, H: True,
    "forget_bias": lambda rng, H: ("chrono", 9.0) if rng.random() < 0.5 else float(rng.normal()),
    "update_bias": lambda rng, H: ("chrono", 9.0) if rng.random() < 0.5 else float(rng.normal()),
    "W_start": lambda rng, H: STARTS[rng.integers(len(STARTS))],
    "R_start": lambda rng, H: STARTS[rng.integers(len(STARTS))],
    "activation": lambda rng, H: zoo.ACTIVATIONS[rng.integers(len(zoo.ACTIVATIONS))],
}
STARTS = ("glorot", "orthogonal", "identity", "zeros", ("uniform", 0.5))
OPTIONS |= {f"{role}_activation": OPTIONS["activation"] for role in ("gate", "cell", "output")}
DRAWN_ELSEWHERE = {"W_mask", "R_mask", "tokens"}


def contradict(options):
    """Whether options that are right each for itself do not go together."""
    gates = [options.get(f"{name}_gate", True) for name in ("input", "forget", "output")]
    if options.get("coupled") and not (gates[0] and gates[1]):
        return True
    if isinstance(options.get("forget_bias"), tuple) and not gates[1]:
        return True
    if not any(gates) and (options.get("peepholes") or options.get("gate_recurrence")):
        return True
    peephole = options.get("output_peephole", "now")
    if peephole != "now" and not (options.get("peepholes") and gates[2]):
        return True
    if peephole is None and not (gates[0] or gates[1]):
        return True
    return options.get("bidirectional") and options.get("direction") in ("forward", "reverse")


def draw_layer(rng, inputs, entries):
    """A layer of one of the zoo's entries, with further options."""
    entry = entries[rng.integers(len(entries))]
    units = int(rng.choice(SIZES))
    options = {
        name: value(units) if isinstance(value, Callable) else value
        for name, value in entry.options.items()
    }
    for name in zoo.options_of(entry.cls):
        if name in DRAWN_ELSEWHERE or name in options or rng.uniform() < 0.8:
            continue
        more = options | {name: OPTIONS[name](rng, units)}
        if not contradict(more):
            options = more
    if entry.takes("W_mask") and rng.uniform() < 0.1:
        layer = zoo.masked(entry.cls, inputs, units, seed=int(rng.integers(100)), **options)
        layout = LAYOUTS[str(rng.choice(list(LAYOUTS)))]
        masks = {name: layout(layer.options[name]) for name in ("W_mask", "R_mask")}
        return entry.cls(**{**layer.options, **masks})
    return entry.cls(inputs, units, **options)


def with_tokens(rng, inputs, layers):
    """The layers of a network that takes tokens and numbers as well."""
    if rng.uniform() < 0.4:
        return [lc.Embedding(inputs, layers[0].input_size), *layers]
    first, *others = layers
    return [type(first)(**{**first.options, "tokens": True}), *others]


def draw_layers(rng, inputs):
    """One to three layers, perhaps a head, and a readout that goes with them."""
    entries = [entry for entry in zoo.LAYERS.values() if entry.cls is not lc.Embedding]
    layers = []
    for _ in range(rng.integers(1, 4)):
        layers.append(draw_layer(rng, layers[-1].output_size if layers else inputs, entries))
    readout = "all"
    if any(layer.is_recurrent for layer in layers):
        readout = str(rng.choice(["all", *READOUTS]))
    if rng.uniform() < 0.7:
        inputs = layers[-1].output_size
        if rng.uniform() < 0.2:
            layers.append(lc.Dense(inputs, 4, activation="tanh"))
        layers.append(lc.Dense(layers[-1].output_size, int(rng.choice([1, 2, 3, 9]))))
    return layers, readout


def build(layers, **options):
    """A network; a last layer whose activation meets the loss's own is not worth a warning here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return lc.Network(layers, **options)


# -------------------------------------------------------------------------------------------- data


@dataclass
class Case:
    """A network and sequences, as lists with one array for each, and all else that calls take.

    Attributes
    ----------
    net : Network
    kind : str
        Of the targets.
    per_step : bool
        Whether every step has outputs.
    steps_are_terms : bool
        Whether every step is a term of the loss.
    x : list of (T_b, I) or (T_b,) arrays
    numbers : list of (T_b, I) arrays
        `x`; in the place of tokens one-hot vectors.
    y : list of arrays, or an array with a target for each sequence
    sample_weight : (B,) or (B, K) array or None
    step_weight : list of (T_b,) or (T_b, K) arrays or None
    more : dict
        l2 and reduction.
    """

    net: lc.Network
    kind: str
    per_step: bool
    steps_are_terms: bool
    x: list
    numbers: list
    y: list
    sample_weight: np.ndarray
    step_weight: list
    more: dict

    @property
    def lengths(self):
        return np.array([len(x) for x in self.x])

    @property
    def reads_ahead(self):
        return any(layer.reads_ahead for layer in self.net.layers)

    @property
    def term_weights(self):
        """The weight of every term, or of its outputs, sequence by sequence."""
        B = len(self.x)
        sample = np.ones(B) if self.sample_weight is None else self.sample_weight
        if not self.steps_are_terms:
            return sample
        steps = self.step_weight or [np.ones(len(x)) for x in self.x]
        return np.concatenate([w * s for w, s in zip(steps, sample, strict=True)])


def draw_weights(rng, shape):
    """Weights, of which some are zero."""
    return np.where(rng.uniform(size=shape) < 0.3, 0.0, rng.uniform(0.1, 2, shape))


def draw_case(rng):
    """A case whose outputs are finite and not large."""
    inputs, dtype = int(rng.choice(FEATURES)), str(rng.choice(zoo.DTYPES))
    layers, readout = draw_layers(rng, inputs)
    loss, kind = LOSSES[str(rng.choice(list(LOSSES)))]
    if readout != "all" and not isinstance(loss, str):
        loss = "squared_error"
    if loss == "cross_entropy" and layers[-1].output_size == 1:
        loss, kind = LOSSES["binary_cross_entropy"]
    options = {"loss": loss, "readout": readout, "dtype": dtype, "seed": int(rng.integers(100))}
    tokens = rng.uniform() < 0.25
    if tokens:
        layers = with_tokens(rng, inputs, layers)
    net = build(layers, **options)

    B, T = int(rng.choice(BATCHES)), int(rng.choice(LONGEST))
    lengths = rng.integers(0, T + 1, B)
    if rng.uniform() < 0.3:
        lengths[:] = T
    if tokens:
        x = [rng.integers(0, inputs, n) for n in lengths]
        numbers = [np.eye(inputs, dtype=dtype)[row] for row in x]
    else:
        x = numbers = [rng.normal(size=(n, inputs)).astype(dtype) for n in lengths]

    steps_are_terms = readout == "all" and isinstance(loss, str)
    K = net.output_size
    form = (K,) if isinstance(loss, str) and kind in OF_OUTPUTS and rng.uniform() < 0.5 else ()
    sample_weight, step_weight = None, None
    if rng.uniform() < 0.4:
        sample_weight = draw_weights(rng, (B,) if steps_are_terms else (B, *form))
    if steps_are_terms and rng.uniform() < 0.4:
        step_weight = [draw_weights(rng, (n, *form)) for n in lengths]
    if steps_are_terms:
        y = [draw_targets(rng, kind, K, n, dtype) for n in lengths]
    else:
        y = draw_targets(rng, kind, K, B, dtype)
    more = {"l2": float(rng.choice([0, 0.1])), "reduction": str(rng.choice(["mean", "sum"]))}
    case = Case(
        net,
        kind,
        readout == "all",
        steps_are_terms,
        x,
        numbers,
        y,
        sample_weight,
        step_weight,
        more,
    )
    if not case.term_weights.any():
        more["reduction"] = "sum"  # there is no mean of nothing: see `check_no_terms`
    tame(rng, case)
    return case


def tame(rng, case):
    """Random parameters, so small that nothing explodes: unbounded gates multiply.

    Neither the outputs and states, nor what a small change of the parameters makes of the outputs,
    or rounding would make as much of them.
    """
    net = case.net
    widest = max(layer.hidden_size for layer in net.layers)
    theta = rng.normal(scale=min(0.5, 2 / np.sqrt(widest)), size=net.params.size)
    change = 1e-6 * rng.normal(size=theta.size)
    for _ in range(20):
        with np.errstate(all="ignore"):
            net.params = theta + change
            moved, _, _ = twin_outputs(case)
            net.params = theta
            outputs, _, largest = twin_outputs(case)
            moves = [np.abs(a - b).max(initial=0) for a, b in zip(moved, outputs, strict=True)]
        if largest < TAME and np.max(moves) < 1e-6 * TAME:  # which NaN is not
            return
        theta = theta / 1.5
    raise AssertionError(f"no tame parameters for {net!r}")


# ------------------------------------------------------------------------------------------- forms


def spread(rows, places, T, fill):
    """Arrays of sequences in one padded array; `fill` is what lies where nothing is."""
    padded = np.full((len(rows), T, *rows[0].shape[1:]), fill, rows[0].dtype)
    for b, (row, at) in enumerate(zip(rows, places, strict=True)):
        padded[b, at] = row
    return padded


def outputs_by_sequence(case, y, places):
    """What `predict` has given, as a list with the outputs of each sequence."""
    if not case.per_step or isinstance(y, list):  # of a list
        return list(y)
    rows = [y[b, at] for b, at in enumerate(places)]
    elsewhere = np.ones(y.shape[:2], bool)
    for b, at in enumerate(places):
        elsewhere[b, at] = False
    assert not y[elsewhere].any(), "outputs where no step is"
    return rows


class Form:
    """The data of a case as one of the forms in which calls take them.

    Parameters
    ----------
    case : Case
    rng : Generator
    name : {"list", "lengths", "mask"}
    layout : str
        Of `LAYOUTS`, for padded arrays.

    Attributes
    ----------
    x, y : list or array
    where : dict
        lengths or mask.
    weights : dict
    places : list of int arrays
        For each sequence the places of its steps on the time axis.
    """

    def __init__(self, case, rng, name, layout):
        self.name, self.layout = name, layout
        lengths = case.lengths
        T = int(lengths.max())
        self.where, self.weights = {}, {}
        if case.sample_weight is not None:
            self.weights["sample_weight"] = case.sample_weight
        if name == "list":
            self.places = [np.arange(n) for n in lengths]
            self.x, self.y = case.x, list(case.y) if case.steps_are_terms else case.y
            if case.step_weight is not None:
                self.weights["step_weight"] = case.step_weight
            if case.steps_are_terms:
                self.y = [self._hidden(y, w) for y, w in zip(case.y, _steps(case), strict=True)]
            return
        T += int(rng.integers(0, 4))
        if name == "mask":
            self.places = [np.sort(rng.permutation(T)[:n]) for n in lengths]
            mask = np.zeros((len(lengths), T), bool)
            for b, at in enumerate(self.places):
                mask[b, at] = True
            self.where = {"mask": self._laid(mask)}
        else:
            self.places = [np.arange(n) for n in lengths]
            if not (lengths == T).all() or rng.uniform() < 0.5:
                self.where = {"lengths": lengths}
        nowhere = -(2**40) if case.x[0].dtype.kind == "i" else rng.choice([np.nan, np.inf])
        self.x = self._laid(spread(case.x, self.places, T, nowhere))
        self.y = case.y
        if case.steps_are_terms:
            rows = [self._hidden(y, w) for y, w in zip(case.y, _steps(case), strict=True)]
            nothing = -1 if case.kind == "labels" else np.nan
            self.y = self._laid(spread(rows, self.places, T, nothing))
        if case.step_weight is not None:
            padded = spread(case.step_weight, self.places, T, np.nan)
            self.weights["step_weight"] = self._laid(padded)

    def _laid(self, array):
        return LAYOUTS[self.layout](array)

    @staticmethod
    def _hidden(y, weight):
        """Targets of which those that weigh nothing are none."""
        y = y.copy()
        y[weight == 0] = -7 if y.dtype.kind == "i" else np.nan
        return y

    def arrays(self):
        """All arrays that calls are given."""
        for given in (self.x, self.y, *self.where.values(), *self.weights.values()):
            yield from given if isinstance(given, list) else [given]

    def __str__(self):
        return self.name if self.name == "list" else f"{self.name}, {self.layout}"


def _steps(case):
    """The weight of every step, by sequence."""
    weights, lengths = case.term_weights, case.lengths
    return np.split(weights, np.cumsum(lengths)[:-1])


# -------------------------------------------------------------------------------------------- twin


def twin_layer(layer, blocks, x, lengths):
    """Outputs (B, T, ...) of a layer over x and the final h of all directions, by the twin; and
    the largest number among the final states."""
    ys, finals, largest = [], [], 0.0
    for d, reverse in enumerate({"reverse": [1], "both": [0, 1]}.get(layer.direction, [0])):
        prefix = f"{('forward', 'backward')[d]}." if layer.directions == 2 else ""
        own = {name: blocks[prefix + name] for name in (block.name for block in layer.cell.blocks)}
        for name in ("W", "R"):
            mask = layer.options.get(f"{name}_mask")
            if mask is not None:
                own[name] = own[name] * mask
        cell, initial = dict(layer.cell.description), {}
        if layer.learns_states:
            wide = np.zeros((len(x), state_size(cell)))
            wide[:, : layer.hidden_size] = blocks[f"{prefix}h0"]
            initial["h0"] = wide
            if f"{prefix}c0" in blocks:
                initial["c0"] = np.tile(blocks[f"{prefix}c0"], (len(x), 1))
        problem = Problem(
            cell=cell, blocks=own, x=x, lengths=np.asarray(lengths), reverse=reverse, **initial
        )
        outputs, _ = run_forward(_reference, problem, training=False)
        ys.append(outputs["y"])
        if layer.is_recurrent:
            finals.append(outputs["hT"][:, : layer.hidden_size])
        for name in ("hT", "cT"):
            if outputs[name] is not None:
                largest = np.maximum(largest, np.abs(outputs[name]).max())
    return np.concatenate(ys, axis=2), finals and np.concatenate(finals, axis=1), largest


def read_out(readout, y, final, lengths):
    """What a readout reads of outputs (B, T, H)."""
    read = np.zeros((len(y), y.shape[2])) if readout in ("mean", "max") else final.copy()
    for b, n in enumerate(lengths):
        if n and readout == "mean":
            read[b] = y[b, :n].mean(axis=0)
        elif n and readout == "max":
            read[b] = y[b, :n].max(axis=0)
        elif n and readout == "last_step":
            read[b] = y[b, n - 1]
    return read


def twin_outputs(case):
    """Pre-activations and outputs by sequence, in float64; and the largest number on the way."""
    net, lengths = case.net, case.lengths
    places = [np.arange(n) for n in lengths]
    y = spread([x.astype(np.float64) for x in case.numbers], places, int(lengths.max()), np.nan)
    largest = 0.0
    recurrent = [k for k, layer in enumerate(net.layers) if layer.is_recurrent]
    for k, layer in enumerate(net.layers):
        blocks = {
            name.partition(".")[2]: block.astype(np.float64)
            for name, block in net.blocks.items()
            if name.partition(".")[0] == str(k)
        }
        y, final, of_states = twin_layer(layer, blocks, y, lengths)
        largest = np.maximum(largest, of_states)
        if not case.per_step and k == recurrent[-1]:
            y = read_out(net.readout, y, final, lengths)[:, None]
            lengths = np.ones(len(y), int)
    a = [y[b, :n] if case.per_step else y[b, 0] for b, n in enumerate(lengths)]
    largest = np.max([largest, *(np.abs(row).max(initial=0) for row in a)])
    return a, [output_units(net.output_units, row) for row in a], largest


def twin_loss(case, a):
    """The objective, from pre-activations by sequence."""
    if case.net.loss_name == SumOverTime.name:
        rows = np.array([row.sum(axis=0) for row in a])
        parts = 0.5 * term_parts(case.kind, rows, case.y)
    elif case.steps_are_terms:
        parts = term_parts(case.kind, np.concatenate(a), np.concatenate(case.y))
    else:
        parts = term_parts(case.kind, np.array(a), case.y)
    weights = case.term_weights
    weights = weights[:, None] if weights.ndim == 1 else weights
    value = np.where(weights > 0, parts * weights, 0).sum()
    if case.more["reduction"] == "mean":
        value /= weights.sum() / weights.shape[1]
    penalized = [
        block.astype(np.float64)
        for name, block in case.net.blocks.items()
        if name.rpartition(".")[2] in ("W", "R", "p", "Q")
    ]
    return value + 0.5 * case.more["l2"] * sum((block**2).sum() for block in penalized)


# ------------------------------------------------------------------------------------------ checks


def assert_near(got, wanted, tolerance, what):
    scale = max([1.0, *(np.abs(w).max(initial=0) for w in wanted)])
    for b, (row, right) in enumerate(zip(got, wanted, strict=True)):
        assert row.shape == right.shape, f"{what}[{b}]: shape {row.shape}, not {right.shape}"
        error = np.abs(row - right).max(initial=0) / scale
        assert error <= tolerance, f"{what}[{b}]: off by {error:.1e}"


def assert_same_rows(got, wanted, what):
    assert len(got) == len(wanted), f"{what}: {len(got)} sequences, not {len(wanted)}"
    for b, (row, right) in enumerate(zip(got, wanted, strict=True)):
        try:
            same_bits(np.ascontiguousarray(row), np.ascontiguousarray(right))
        except AssertionError as error:
            raise AssertionError(f"{what}[{b}]: {error}") from None


def assert_same(got, wanted, what):
    """The same (f, g) to the last bit."""
    assert got[0] == wanted[0], f"{what}: f = {got[0]!r}, not {wanted[0]!r}"
    assert_same_rows([got[1]], [wanted[1]], f"{what}: g")


def predict(case, form, net=None, **options):
    """Outputs by sequence of the case's data in a form."""
    y = (net or case.net).predict(form.x, **form.where, **options)
    return outputs_by_sequence(case, y, form.places)


def objective(case, form, net=None, **options):
    """(f, g) of the case's data in a form."""
    data = {**form.where, **form.weights, **case.more, **options}
    return (net or case.net).loss_and_grad(form.x, form.y, **data)


def check_twin(case, whole, value):
    """Outputs and loss are those of the twin."""
    jumps = any(
        zoo.activation_label(option) == "thresholded_relu"
        for layer in case.net.layers
        for name, option in layer.options.items()
        if name.endswith("activation")
    )
    if jumps and case.net.dtype == np.float32:
        return  # a pre-activation within rounding of the jump may be on its other side
    a, y, _ = twin_outputs(case)
    tolerance = TOLERANCE[case.net.dtype.name]
    assert_near(whole, y, tolerance, "outputs beside the twin's")
    wanted = twin_loss(case, a)
    error = abs(value - wanted) / max(1.0, abs(wanted))
    assert error <= 10 * tolerance, f"loss {value!r}, the twin's {wanted!r}"


def check_forms(case, rng, whole, f, g):
    """Lists, padded arrays, masks, memory of any form, threads: the same bits."""
    used = []
    layouts = [layout for layout in LAYOUTS if layout != "nested lists"]  # which would be sequences
    for name in ("list", "lengths", "mask"):
        form = Form(case, rng, name, str(rng.choice(layouts)))
        before = [np.array(array).tobytes() for array in form.arrays()]
        for n_threads in THREADS if name == "list" else [None, int(rng.choice(THREADS))]:
            what = f"{form}, {n_threads} threads"
            assert_same_rows(predict(case, form, n_threads=n_threads), whole, what)
            assert_same(objective(case, form, n_threads=n_threads), (f, g), what)
        loss = case.net.loss(form.x, form.y, **form.where, **form.weights, **case.more)
        assert loss == f, f"{form}: loss {loss!r}, not {f!r}"
        after = [np.array(array).tobytes() for array in form.arrays()]
        assert before == after, f"{form}: an argument was written to"
        used.append(form)
    return used


def check_one_hot(case, whole):
    """Tokens are the one-hot vectors that they stand for."""
    if case.x is not case.numbers:
        assert_same_rows(case.net.predict(case.numbers), whole, "one-hot vectors")


def check_batches(case, rng, whole):
    """A sequence's outputs do not depend on its batch."""
    B = len(case.x)
    for b in rng.permutation(B)[:3]:
        y = case.net.predict(case.x[b][None])
        assert_same_rows([y[0]], [whole[b]], f"sequence {b} alone")
    some = rng.permutation(B)[: rng.integers(1, B + 1)].tolist()
    y = case.net.predict([case.x[b] for b in some])
    assert_same_rows(y, [whole[b] for b in some], f"sequences {some}")


def check_parts(case, rng, whole):
    """In chunks with their state, step by step, by a stream: the same bits."""
    net, lengths = case.net, case.lengths
    if case.reads_ahead:
        return
    cuts = rng.integers(0, lengths + 1)
    state, parts = None, []
    T = int(lengths.max())
    for start, stop in ((np.zeros_like(cuts), cuts), (cuts, lengths)):
        rows = [x[a:b] for x, a, b in zip(case.x, start, stop, strict=True)]
        places = [np.arange(len(row)) for row in rows]
        x = spread(rows, places, T, 0)
        y, state = net.predict(x, stop - start, state=state, return_state=True)
        parts.append(outputs_by_sequence(case, y, places))
    joined = parts[1]
    if case.per_step:
        joined = [np.concatenate(pair) for pair in zip(*parts, strict=True)]
    assert_same_rows(joined, whole, f"in two chunks, cut at {cuts.tolist()}")

    steps = int(lengths.min())
    if steps:  # all sequences side by side, as far as the shortest goes
        x = np.stack([row[:steps] for row in case.x])
        prefix = list(net.predict(x))
        side_by_side(case, x, prefix, net.stream(batch_size=len(x)))
    b = int(lengths.argmax())
    if lengths[b]:
        x = case.x[b]
        side_by_side(case, x, whole[b], net.stream())


def check_products(case, rng):
    """Products through two chunks with their states add up to that of the whole."""
    net, lengths = case.net, case.lengths
    if case.reads_ahead:
        return
    dy, cuts = rng.normal(size=(len(lengths), net.output_size)), rng.integers(0, lengths + 1)
    chunks = [[x[:cut] for x, cut in zip(case.x, cuts, strict=True)]]
    chunks += [[x[cut:] for x, cut in zip(case.x, cuts, strict=True)]]
    of_chunks = None, dy
    if case.per_step:
        dy = [rng.normal(size=(length, net.output_size)) for length in lengths]
        of_chunks = [[d[:cut] for d, cut in zip(dy, cuts, strict=True)]]
        of_chunks += [[d[cut:] for d, cut in zip(dy, cuts, strict=True)]]
    g, dfirst, last = net.vjp(case.x, dy, return_dstate=True, return_state=True)
    _, state = net.predict(chunks[0], return_state=True)
    g_after, dstate, end = net.vjp(
        chunks[1], of_chunks[1], state=state, return_dstate=True, return_state=True
    )
    g_before, dstate = net.vjp(chunks[0], of_chunks[0], dstate=dstate, return_dstate=True)
    what = f"in two chunks, cut at {cuts.tolist()}: "
    for got, wanted in zip(sum(end, ()), sum(last, ()), strict=True):
        assert_same_rows([got], [wanted], f"{what}the last state")
    tolerance = TOLERANCE[net.dtype.name]
    pairs = [(g_before + g_after, g), *zip(sum(dstate, ()), sum(dfirst, ()), strict=True)]
    for got, wanted in pairs:
        scale = max(1.0, np.abs(g).max(initial=0.0), np.abs(wanted).max(initial=0.0))
        error = np.abs(got - wanted).max(initial=0.0) / scale
        assert error <= tolerance, f"{what}the product is off by {error:.1e}"


def side_by_side(case, x, wanted, stream):
    """Step by step, by `step` and by `stream`; x is (B, T, ...) or one sequence."""
    single = x.ndim == case.x[0].ndim
    by_step, by_stream, state = [], [], None
    for t in range(len(x) if single else x.shape[1]):
        now = x[t] if single else x[:, t]
        now = int(now) if np.ndim(now) == 0 else now
        y, state = case.net.step(now, state)
        by_step.append(y)
        by_stream.append(np.array(stream(now)))
    for rows, what in ((by_step, "step by step"), (by_stream, "by a stream")):
        if not case.per_step:
            rows = [rows[-1]] if single else list(rows[-1])
        elif single:
            rows = [np.stack(rows)]
        else:
            rows = list(np.stack(rows, axis=1))
        assert_same_rows(rows, [wanted] if single else wanted, what)


def check_copies(case, form, whole, f, g):
    """Saved, pickled, frozen: the same network."""
    handle, path = tempfile.mkstemp(suffix=".npz")
    os.close(handle)
    try:
        case.net.save(path)
        saved = lc.load(path)
    finally:
        os.unlink(path)
    pickled = pickle.loads(pickle.dumps(case.net))
    for net, what in ((saved, "saved"), (pickled, "pickled"), (case.net.frozen(), "frozen")):
        assert repr(net) == repr(case.net), f"{what}: {net!r}"
        assert_same_rows(predict(case, form, net), whole, what)
        assert_same(objective(case, form, net), (f, g), what)


def check_checkpoints(case, rng, form, f, g):
    """Checkpoints change no bit of the gradient."""
    for checkpoint in (True, 1, int(rng.integers(1, 40))):
        options = {"checkpoint": checkpoint, "n_threads": int(rng.choice(THREADS))}
        if case.reads_ahead:
            words = "checkpoint: expected None"
            assert_refused(lambda more=options: objective(case, form, **more), words)
            continue
        f_cut, g_cut = objective(case, form, **options)
        assert_same_rows([g_cut], [g], f"checkpoint={checkpoint}: g")
        assert np.isclose(f_cut, f, rtol=1e-6, atol=1e-9), f"checkpoint={checkpoint}: f = {f_cut!r}"


def check_no_terms(case, form):
    """There is no mean of nothing."""
    if not case.term_weights.any():
        words = "expected a finite sum of weights above zero"
        assert_refused(lambda: objective(case, form, reduction="mean"), words)


def assert_refused(call, words):
    try:
        call()
    except ValueError as error:
        assert words in str(error), f"refused in other words: {error}"
    else:
        raise AssertionError(f"not refused: {words}")


def check_gradient(case, rng, form, g):
    """The gradient is the derivative of the loss, in two directions; in float64."""
    net = case.net
    examples = net.prepare(
        form.x, form.y, reduction=case.more["reduction"], **form.where, **form.weights
    )
    l2, theta = case.more["l2"], net.params.copy()

    def value(moved):
        f, _ = net.evaluate(moved, examples, gradient=False)
        return net.penalty(moved, l2, start=f)

    size = np.linalg.norm(g) / np.sqrt(len(g))
    for _ in range(2):
        way = rng.normal(size=len(theta))
        way /= np.linalg.norm(way)
        wanted = g @ way
        # A step across a bend tells nothing, so smaller ones are tried; a wrong gradient is wrong
        # at all of them.
        errors = []
        for step in (1e-3, 1e-4, 1e-5, 1e-6):
            f1, f2, f3, f4 = (value(theta + k * step * way) for k in (1, -1, 2, -2))
            quotient = (8 * (f1 - f2) - (f3 - f4)) / (12 * step)
            rounding = 1e-14 * max(abs(f1), 1.0) / step
            errors.append((abs(quotient - wanted) - rounding) / max(size, 1e-6))
            if errors[-1] < 1e-5:
                break
        assert min(errors) < 1e-5, f"derivative {quotient!r}, by the gradient {wanted!r}"


def check_single(case, form, f, g):
    """The loss and gradient of float32 are those of float64 to its precision."""
    bends = case.net.readout == "max" or any(map(zoo.has_bends, case.net.layers))
    if bends:
        return  # within rounding of a bend the slope may be that of its other side
    exact = build(**case.net.options | {"dtype": "float64"})
    exact.params = case.net.params
    _, g_exact = objective(case, form, exact)
    scale = max(1.0, np.abs(g_exact).max(initial=0))
    error = np.abs(g - g_exact).max(initial=0) / scale
    assert error < 1e-3, f"gradient of float32 off by {error:.1e}"


def check(seed, index):
    """One case; what kind it was. Raises where something does not hold."""
    rng = np.random.default_rng([seed, index])
    case = draw_case(rng)
    try:
        check_case(case, rng)
    except Exception as error:
        lengths = case.lengths.tolist()
        raise AssertionError(f"{one(error)} [lengths {lengths}, {case.net!r}]") from error
    return case.net.dtype.name


def one(error):
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"


def check_case(case, rng):
    """All that must hold for a case."""
    plain_list = Form(case, rng, "list", "read-only")
    whole = predict(case, plain_list, n_threads=1)
    f, g = objective(case, plain_list, n_threads=1)
    assert g.dtype == case.net.dtype and np.isfinite(f) and np.isfinite(g).all(), "not finite"
    check_twin(case, whole, f)
    forms = check_forms(case, rng, whole, f, g)
    check_one_hot(case, whole)
    check_batches(case, rng, whole)
    check_parts(case, rng, whole)
    check_products(case, rng)
    form = forms[rng.integers(len(forms))]
    check_copies(case, form, whole, f, g)
    check_checkpoints(case, rng, form, f, g)
    check_no_terms(case, form)
    if case.net.dtype == np.float64:
        check_gradient(case, rng, form, g)
    else:
        check_single(case, form, f, g)

"""`Network.trace` and `Network.trace_gradient` against the NumPy twin and against differences."""

import itertools

import numpy as np
import pytest
import zoo
from helpers import assert_close, relative_error, same_bits

import lstmcore as lc
from lstmcore import _reference as twin

TOLERANCE = {"float64": 1e-12, "float32": 5e-5}
LENGTHS = [4, 0, 7, 1, 7]

networks = pytest.mark.parametrize("name", zoo.NETWORKS)
recurrent = pytest.mark.parametrize("name", zoo.RECURRENT)
dtypes = pytest.mark.parametrize("dtype", zoo.DTYPES)


def inputs_of(net, lengths=LENGTHS, seed=1):
    """A list of sequences, of tokens where the network takes them."""
    rng = np.random.default_rng(seed)
    if net.takes_tokens:
        return [rng.integers(net.input_size, size=n) for n in lengths]
    return [rng.normal(size=(n, net.input_size)) for n in lengths]


# ---------------------------------------------------------------------------------------- the twin


class TwinLayer:
    """One direction of a layer over one sequence: its records, and BPTT with dL/dh kept."""

    def __init__(self, layer, weights, d, x):
        self.cell, self.reverse = layer.cell.description, layer.reversals[d]
        self.x = x[::-1] if self.reverse else x
        weights = layer.masked(weights)
        _, width, size = twin.sizes(self.cell)
        self.packed, T = np.empty(size), len(x)
        twin.pack(self.cell, tuple(weights.blocks), self.packed)
        initial = [
            None if learned is None else np.append(learned, np.zeros(columns - len(learned)))[None]
            for learned, columns in zip(weights.initial, layer.state_sizes, strict=True)
        ]
        tape = np.empty((1 + T) * width)
        one = np.zeros(1, np.intp)
        twin.forward(
            self.cell,
            packed=self.packed,
            x=self.x[None],
            order=one,
            lengths=one + T,
            initial=tuple(initial),
            tape=tape,
            scratch=None,
            t1=T,
        )
        self.tape = tape.reshape(1 + T, width)
        self.fields = {
            name: values[::-1] if self.reverse else values
            for name, values in twin.split_records(self.cell, self.tape[1:]).items()
        }

    def backward(self, dy):
        """dL/dh and, of an LSTM, dL/dc, by name; and dL/dx."""
        dy = dy[::-1] if self.reverse else dy
        module = twin._MODULES[self.cell["kind"]]
        blocks = twin._block_views(self.cell, self.packed)
        dblocks = {name: np.zeros_like(value) for name, value in blocks.items()}
        drecord = np.zeros((1, self.tape.shape[1]))
        names = [name for name in "hc" if name in self.fields]
        found = {name: np.empty_like(dy) for name in names}
        dx = np.empty((len(dy), self.cell["inputs"]))
        for t in reversed(range(len(dy))):
            before, now, dnow = (
                twin.split_records(self.cell, rows)
                for rows in (self.tape[t : t + 1], self.tape[t + 1 : t + 2], drecord)
            )
            dnow["h"] += dy[t]
            for name in names:
                found[name][t] = dnow[name]
            da = module.backward(self.cell, blocks, before, now, dnow, dblocks)
            dx[t] = da @ blocks["W"]
        if self.reverse:
            found, dx = {name: values[::-1] for name, values in found.items()}, dx[::-1]
        return found, dx


def twin_layers(net, x):
    """A list for each layer of its directions over one sequence, in float64."""
    layers = []
    for layer, weights in zip(net.layers, net.weights, strict=True):
        layers.append([TwinLayer(layer, w, d, x) for d, w in enumerate(weights)])
        x = np.concatenate([one.fields["h"] for one in layers[-1]], axis=1)
    return layers


def twin_trace(net, x):
    """What `Network.trace` is to give for one sequence, but for the outputs."""
    named = {}
    for k, (layer, ones) in enumerate(zip(net.layers, twin_layers(net, x), strict=True)):
        if not layer.is_recurrent:
            named[f"{k}.y"] = ones[0].fields["h"]
            continue
        cell = layer.cell
        for direction, one in zip(layer.prefixes, ones, strict=True):
            wanted = [*cell.gates, *cell.states] + ["f"] * cell.description["coupled"]
            named |= {f"{k}.{direction}{name}": one.fields[name] for name in wanted}
    return named


@dtypes
@networks
def test_a_trace_is_the_twins(name, dtype):
    net = zoo.network(name, outputs=None, dtype=dtype)
    exact = zoo.network(name, outputs=None)
    exact.params = net.params
    X = inputs_of(net)
    trace = net.trace(X)
    same_bits(np.concatenate(trace.pop("y")), np.concatenate(net.predict(X)))
    wanted = [twin_trace(exact, np.asarray(x, np.intp if x.ndim == 1 else float)) for x in X]
    assert set(trace) == set(wanted[0])
    together = {key: np.concatenate([each[key] for each in wanted]) for key in trace}
    got = {key: np.concatenate(values) for key, values in trace.items()}
    assert all(values.dtype == dtype for values in got.values())
    assert_close(got, together, TOLERANCE[dtype])


@recurrent
def test_gradients_of_a_trace_are_the_twins(name):
    net = zoo.network(name, outputs=None)
    X = inputs_of(net)
    Y = [np.cos(y) for y in net.predict(X)]
    got = net.trace_gradient(X, Y, reduction="sum")
    for b, x in enumerate(X):
        layers = twin_layers(net, np.asarray(x))
        dy = np.concatenate([one.fields["h"] for one in layers[-1]], axis=1) - Y[b]
        wanted = {}
        for k in reversed(range(len(layers))):
            layer, dx = net.layers[k], 0.0
            for d, (prefix, one) in enumerate(zip(layer.prefixes, layers[k], strict=True)):
                H = layer.hidden_size
                found, part = one.backward(dy[:, d * H : (d + 1) * H])
                if layer.is_recurrent:
                    wanted |= {f"{k}.{prefix}{name}": values for name, values in found.items()}
                dx = dx + part
            dy = dx
        assert list(got) == list(wanted)
        assert_close({key: values[b] for key, values in got.items()}, wanted, 1e-11)


# --------------------------------------------------------------------------------- awkward shapes

SHAPES = {
    "one of everything": (1, 1, [1]),
    "one step": (3, 9, [1] * 5),
    "no steps": (3, 9, [0, 0]),
    "one sequence without steps": (3, 9, [0]),
    "more sequences than a block": (2, 5, [2] * 101),
    "long and unequal": (2, 5, [400, 1, 250, 399]),
    "one unit over": (5, 33, list(range(20))),
    "threads share the units": (4, 300, [5]),
}


@pytest.mark.parametrize("inputs, units, lengths", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cls", [lc.LSTM, lc.GRU, lc.RNN])
def test_awkward_shapes_are_the_twins(cls, inputs, units, lengths):
    net = lc.Network([cls(inputs, units)], seed=0)
    X = inputs_of(net, lengths)
    trace = net.trace(X, n_threads=2)
    dh = net.trace_gradient(X, net.predict(X), reduction="sum", n_threads=2)["0.h"]
    for b, x in enumerate(X):
        wanted = twin_trace(net, x)
        assert_close({key: trace[key][b] for key in wanted}, wanted, 1e-11)
        assert (dh[b] == 0).all() and dh[b].shape == (len(x), units)


# ------------------------------------------------------------------------------------------- forms


@zoo.cases(zoo.NETWORKS)
def test_outputs_and_what_is_read_have_the_bits_of_predict(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype, loss="binary_cross_entropy")
    X = inputs_of(net)
    trace = net.trace(X)
    if readout == "all":
        trace = {key: np.concatenate(values) for key, values in trace.items()}
        same_bits(trace["y"], np.concatenate(net.predict(X)))
    else:
        same_bits(trace["y"], net.predict(X))
        assert trace["readout"].shape == (len(X), net.layers[net.body.stop - 1].output_size)
    y = trace[f"{len(net.layers) - 1}.y"].astype(np.float64)
    assert relative_error(trace["y"], 1 / (1 + np.exp(-y))) < 1e-6


@pytest.mark.parametrize("readout", ["all", "mean"])
def test_a_list_a_padded_array_and_a_mask_say_the_same(readout):
    layers = [lc.LSTM(3, 5, bidirectional=True, peepholes=True), lc.GRU(10, 4), lc.Dense(4, 2)]
    net = lc.Network(layers, readout=readout, seed=0)
    X = inputs_of(net)
    shape = (len(X), 9, 3)
    padded, mask, holes = np.full(shape, np.nan), np.zeros(shape[:2], bool), np.full(shape, np.nan)
    for b, x in enumerate(X):
        padded[b, : len(x)] = x
        mask[b, np.sort(np.random.default_rng(b).permutation(9)[: len(x)])] = True
        holes[b, mask[b]] = x
    of_list = net.trace(X)
    of_array = net.trace(padded, lengths=LENGTHS)
    of_mask = net.trace(holes, mask=mask)
    assert list(of_list) == list(of_array) == list(of_mask)
    for key, values in of_list.items():
        if key == "readout" or values[0].ndim == 1:
            same_bits(of_array[key], values)
            same_bits(of_mask[key], values)
            continue
        assert of_array[key].shape == of_mask[key].shape == (len(X), 9, values[0].shape[1])
        for b, value in enumerate(values):
            same_bits(of_array[key][b, : len(value)], value)
            same_bits(of_mask[key][b, mask[b]], value)
            assert (of_array[key][b, len(value) :] == 0).all()
            assert (of_mask[key][b, ~mask[b]] == 0).all()


def test_an_array_without_padding_has_the_bits_of_predict():
    net = lc.Network([lc.LSTM(3, 5), lc.Dense(5, 2)], "cross_entropy", seed=0)
    x = np.random.default_rng(0).normal(size=(4, 6, 3))
    same_bits(net.trace(x)["y"], net.predict(x))


def test_a_trace_goes_on_from_a_state():
    layers = [lc.LSTM(3, 4, gate_recurrence=True, learn_initial_state=True), lc.GRU(4, 3)]
    net = lc.Network(layers, readout="mean", seed=0)
    x = np.random.default_rng(0).normal(size=(2, 9, 3))
    _, state = net.predict(x[:, :4], return_state=True)
    whole, rest = net.trace(x), net.trace(x[:, 4:], state=state)
    for key, values in whole.items():
        same_bits(rest[key], values[:, 4:] if values.ndim == 3 else values)


def test_arrays_are_fresh():
    net = lc.Network([lc.RNN(2, 3), lc.GRU(3, 2)], readout="max", seed=0)
    x = np.ones((2, 3, 2))
    first = net.trace(x)
    copies = {key: values.copy() for key, values in first.items()}
    net.params += 1
    second = net.trace(-x)
    arrays = [*first.values(), *second.values()]
    for k, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[k + 1 :])
    for key, values in copies.items():
        same_bits(first[key], values)


def test_blocks_of_cells_have_a_column_for_each_block():
    net = lc.Network([lc.LSTM(3, 12, block_size=4)], seed=0)
    trace = net.trace(np.ones((2, 5, 3)))
    columns = {key: values.shape[2] for key, values in trace.items()}
    assert columns == {"0.i": 3, "0.f": 3, "0.g": 12, "0.o": 3, "0.c": 12, "0.h": 12, "y": 12}


@pytest.mark.parametrize(
    "options, names",
    [
        ({"input_gate": False}, "fgoch"),
        ({"forget_gate": False}, "igoch"),
        ({"output_gate": False}, "ifgch"),
        ({"coupled": True}, "ifgoch"),
        ({"coupled": True, "output_gate": False}, "ifgch"),
        ({"input_gate": False, "forget_gate": False, "output_gate": False}, "gch"),
    ],
    ids=str,
)
def test_gates_that_are_left_out_are_not_there(options, names):
    trace = lc.Network([lc.LSTM(2, 3, **options)], seed=0).trace(np.ones((1, 4, 2)))
    assert list(trace) == [f"0.{name}" for name in names] + ["y"]


def test_what_is_wrong_is_named():
    net = lc.Network([lc.RNN(2, 3)], seed=0)
    with pytest.raises(ValueError, match="X: expected"):
        net.trace(np.ones((1, 4, 3)))
    with pytest.raises(ValueError, match="X: expected"):
        net.trace_gradient(np.full((1, 4, 2), np.nan), np.ones((1, 4, 3)))
    both = lc.Network([lc.RNN(2, 3, bidirectional=True)], seed=0)
    state = ((np.zeros((1, 3)),),)
    with pytest.raises(ValueError, match="state: expected whole sequences"):
        both.trace(np.ones((1, 4, 2)), state=state)


def test_a_network_without_states_has_no_gradient_to_trace():
    net = lc.Network([lc.Dense(2, 3)], seed=0)
    assert net.trace_gradient(np.ones((1, 4, 2)), np.ones((1, 4, 3))) == {}


# ------------------------------------------------------------------------------------ differences


def moved_outputs(net, k, d, x, t, unit, step, state_name):
    """The outputs (1, T, H) of layer k where a state of its direction d is moved at step t.

    All steps that come after it, in the order in which the direction reads, are done anew.
    """
    layer = net.layers[k]
    for j in range(k):
        below = lc.Network([net.layers[j]])
        below.params = net.params[net.table[first_block(net, j)].offset :][: below.params.size]
        x = below.predict(x)
    parts = []
    for one, reverse in enumerate(layer.reversals):
        options = dict(layer.options) | {"bidirectional": False, "direction": "forward"}
        alone = lc.Network([type(layer)(**options)])
        blocks = {
            name.removeprefix(f"{k}.{layer.prefixes[one]}"): values
            for name, values in net.blocks.items()
            if name.startswith(f"{k}.{layer.prefixes[one]}")
        }
        for name, values in alone.blocks.items():
            values[...] = blocks[name.removeprefix("0.")]
        inputs = x[:, ::-1] if reverse else x
        h = alone.predict(inputs)
        if one == d:
            at = x.shape[1] - 1 - t if reverse else t
            h, state = alone.predict(inputs[:, : at + 1], return_state=True)
            if state_name == "h":
                h[0, at, unit] += step
            state[0][layer.states.index(state_name)][0, unit] += step
            rest = inputs[:, at + 1 :]
            if rest.shape[1]:
                h = np.concatenate([h, alone.predict(rest, state=state)], axis=1)
        parts.append(h[:, ::-1] if reverse else h)
    return np.concatenate(parts, axis=2)


def first_block(net, j):
    return next(name for name in net.blocks if name.startswith(f"{j}."))


def loss_above(net, k, h, Y):
    """The loss where the outputs of layer k are h: a layer hands them on to those above."""
    size = h.shape[2]
    above = lc.Network(
        [lc.RNN(size, size, activation="identity"), *net.layers[k + 1 :]], readout=net.readout
    )
    own = sum(block.size for block in net.table if int(block.name.split(".")[0]) > k)
    above.params[...] = 0
    above.blocks["0.W"][...] = np.eye(size)
    above.params[above.params.size - own :] = net.params[net.params.size - own :]
    return above.loss(h, Y)


STACKS = {
    "LSTM": lambda: [lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 2)],
    "gate recurrence": lambda: [lc.LSTM(2, 3, gate_recurrence=True, coupled=True), lc.Dense(3, 2)],
    "GRU below": lambda: [lc.GRU(2, 3), lc.LSTM(3, 4), lc.Dense(4, 2)],
    "Dense between": lambda: [lc.RNN(2, 3), lc.Dense(3, 3, activation="tanh"), lc.GRU(3, 2)],
    "reverse": lambda: [lc.GRU(2, 3, direction="reverse", reset_after=False), lc.Dense(3, 2)],
    "both directions": lambda: [lc.LSTM(2, 3, bidirectional=True), lc.RNN(6, 3), lc.Dense(3, 2)],
}


@pytest.mark.parametrize("readout", ["all", "last", "mean", "max"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_the_gradient_is_the_derivative(stack, readout):
    net = lc.Network(stack(), readout=readout)
    rng = np.random.default_rng(2)
    net.params[...] = rng.normal(scale=0.6, size=net.params.size)
    x = rng.normal(size=(1, 5, 2))
    Y = rng.normal(size=net.predict(x).shape)
    got = net.trace_gradient(x, Y)
    for k, layer in enumerate(net.layers):
        for d, name in itertools.product(range(layer.directions), layer.states):
            if readout == "last" and layer.reads_ahead and k + 1 == net.body.stop:
                continue  # `loss_above` reads the last step, not what the direction ends with
            dh = got[f"{k}.{layer.prefixes[d]}{name}"][0]
            wanted = np.empty_like(dh)
            for t, unit in np.ndindex(dh.shape):
                sides = [
                    loss_above(net, k, moved_outputs(net, k, d, x, t, unit, step, name), Y)
                    for step in (1e-5, -1e-5)
                ]
                wanted[t, unit] = (sides[0] - sides[1]) / 2e-5
            assert relative_error(dh, wanted) < 1e-6, (k, d, name)

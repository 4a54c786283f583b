"""Layers: options checked once, blocks in the promised order, initial values as described."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import zoo
from helpers import BLOCKS, STATES, block_shapes, dense_cell, gru_cell, lstm_cell, rnn_cell

import lstmcore as lc
from lstmcore.cells import CELLS, reorder


def shapes(layer):
    return {block.name: block.shape for block in layer.blocks()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"W": (32, 3), "R": (32, 8), "b": (32,)}),
        ({"peepholes": True}, {"W": (32, 3), "R": (32, 8), "b": (32,), "p": (3, 8)}),
        (
            {"peepholes": True, "input_gate": False},
            {"W": (24, 3), "R": (24, 8), "b": (24,), "p": (2, 8)},
        ),
        (
            {"peepholes": True, "output_peephole": "before"},
            {"W": (32, 3), "R": (32, 8), "b": (32,), "p": (3, 8)},
        ),
        (
            {"peepholes": True, "output_peephole": None, "gate_recurrence": True},
            {"W": (32, 3), "R": (32, 8), "b": (32,), "p": (2, 8), "Q": (24, 24)},
        ),
        (
            {"coupled": True, "gate_recurrence": True},
            {"W": (24, 3), "R": (24, 8), "b": (24,), "Q": (16, 16)},
        ),
        (
            {"input_gate": False, "forget_gate": False, "output_gate": False},
            {"W": (8, 3), "R": (8, 8), "b": (8,)},
        ),
        (
            {"block_size": 4, "peepholes": True, "gate_recurrence": True},
            {"W": (14, 3), "R": (14, 8), "b": (14,), "p": (3, 8), "Q": (6, 6)},
        ),
        (
            {"learn_initial_state": True, "peepholes": True},
            {"W": (32, 3), "R": (32, 8), "b": (32,), "p": (3, 8), "h0": (8,), "c0": (8,)},
        ),
    ],
    ids=[
        "plain",
        "peepholes",
        "NIG",
        "output gate peeps before",
        "output gate does not peep",
        "CIFG + FGR",
        "no gates",
        "blocks",
        "learned state",
    ],
)
def test_lstm_blocks(options, expected):
    layer = lc.LSTM(3, 8, **options)
    assert list(shapes(layer).items()) == list(expected.items())


def test_rnn_and_dense_blocks():
    assert shapes(lc.RNN(3, 4)) == {"W": (4, 3), "R": (4, 4), "b": (4,)}
    assert shapes(lc.RNN(3, 4, learn_initial_state=True))["h0"] == (4,)
    assert shapes(lc.Dense(3, 4)) == {"W": (4, 3), "b": (4,)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"W": (12, 3), "R": (12, 4), "b": (12,), "bR": (4,)}),
        ({"reset_after": False}, {"W": (12, 3), "R": (12, 4), "b": (12,)}),
        (
            {"learn_initial_state": True},
            {"W": (12, 3), "R": (12, 4), "b": (12,), "bR": (4,), "h0": (4,)},
        ),
    ],
    ids=["reset after", "reset before", "learned state"],
)
def test_gru_blocks(options, expected):
    layer = lc.GRU(3, 4, **options)
    assert list(shapes(layer).items()) == list(expected.items())


def test_bidirectional_blocks_are_all_forward_then_all_backward():
    layer = lc.LSTM(3, 8, bidirectional=True, peepholes=True)
    assert list(shapes(layer)) == [
        "forward.W",
        "forward.R",
        "forward.b",
        "forward.p",
        "backward.W",
        "backward.R",
        "backward.b",
        "backward.p",
    ]
    assert layer.output_size == 16


def start(layer, seed=0, dtype=np.float64):
    net = lc.Network([layer], seed=seed, dtype=dtype)
    return {name[2:]: values for name, values in net.blocks.items()}


def test_recurrent_weights_start_orthogonal_gate_by_gate():
    R = start(lc.LSTM(3, 8))["R"]
    for gate in np.split(R, 4):
        assert np.allclose(gate @ gate.T, np.eye(8), atol=1e-14)
    R = start(lc.GRU(3, 8))["R"]
    for gate in np.split(R, 3):
        assert np.allclose(gate @ gate.T, np.eye(8), atol=1e-14)
    R = start(lc.LSTM(3, 8, block_size=4))["R"]
    assert np.allclose(R[:2] @ R[:2].T, np.eye(2), atol=1e-14)


def test_input_weights_start_uniform_within_glorots_bound():
    W = start(lc.LSTM(50, 40))["W"]
    bound = np.sqrt(6 / 90)
    assert np.abs(W).max() < bound
    assert abs(W.std() - bound / np.sqrt(3)) < 0.02 * bound


def test_the_forget_gate_starts_open():
    b = start(lc.LSTM(3, 2, forget_bias=1.5))["b"]
    assert list(b) == [0, 0, 1.5, 1.5, 0, 0, 0, 0]
    b = start(lc.LSTM(3, 2, input_gate=False))["b"]
    assert list(b) == [1, 1, 0, 0, 0, 0]
    b = start(lc.LSTM(3, 2, coupled=True))["b"]  # forget gate = 1 - input gate
    assert list(b) == [-1, -1, 0, 0, 0, 0]
    assert not start(lc.LSTM(3, 2, forget_gate=False))["b"].any()


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, {"i": -1, "f": 1}),
        ({"block_size": 4}, {"i": -1, "f": 1}),
        ({"input_gate": False}, {"f": 1}),
        ({"coupled": True}, {"i": -1}),  # forget gate = 1 - input gate
    ],
    ids=["plain", "blocks", "NIG", "CIFG"],
)
def test_chrono_biases_are_logarithms_of_times_for_each_unit(options, ends):
    layer = lc.LSTM(3, 2000, forget_bias=("chrono", 50), W_start="zeros", R_start="zeros")
    layer = type(layer)(**layer.options | options)
    b = start(layer)["b"].copy()
    gates = {gate: b[rows].copy() for gate, rows in layer.cell.gates.items()}
    times = [np.exp(sign * gates[gate]) for gate, sign in ends.items()]
    for u in times:
        assert 1 <= u.min() < 2 and 48 < u.max() <= 49
        assert abs(u.mean() - 25) < 5 * 48 / np.sqrt(12 * len(u))
    assert all((gates["f"] == -gates["i"]).all() for _ in times[1:])
    for gate in gates:
        assert gate in ends or not gates[gate].any()


def test_the_update_gate_of_a_gru_starts_where_it_is_told_to():
    b = start(lc.GRU(3, 2, update_bias=1.5))["b"]
    assert list(b) == [0, 0, 1.5, 1.5, 0, 0]
    b = start(lc.GRU(3, 500, update_bias=("chrono", 50), R_start="zeros"))["b"]
    u = np.exp(b[500:1000])
    assert 1 <= u.min() < 2 and 48 < u.max() <= 49
    assert not b[:500].any() and not b[1000:].any()


def test_chrono_gates_keep_a_state_for_as_long_as_they_say():
    """Without weights the state of a unit falls to 1 / e in about u = 1 ... T - 1 steps."""
    for layer, name in (
        (lc.LSTM(1, 50, forget_bias=("chrono", 40), W_start="zeros", R_start="zeros"), "f"),
        (lc.GRU(1, 50, update_bias=("chrono", 40), W_start="zeros", R_start="zeros"), "z"),
    ):
        net = lc.Network([layer], seed=0)
        u = np.exp(net.blocks["0.b"][layer.cell.gates[name]])
        state = [np.full((1, 50), 0.5) for _ in layer.states]
        _, after = net.predict(np.zeros((1, 7, 1)), state=(tuple(state),), return_state=True)
        np.testing.assert_allclose(after[0][-1][0], 0.5 * (u / (1 + u)) ** 7, rtol=1e-13)


def test_weights_start_as_they_are_told_to():
    layer = lc.LSTM(3, 4, W_start=("uniform", 0.25), R_start="identity")
    W, R = (start(layer)[name] for name in "WR")
    assert 0.2 < np.abs(W).max() < 0.25 and len(np.unique(W)) == W.size
    np.testing.assert_array_equal(R, np.tile(np.eye(4), (4, 1)))
    layer = lc.LSTM(4, 6, block_size=2, W_start="identity", R_start="zeros")
    W, R = (start(layer)[name] for name in "WR")
    assert not R.any()
    np.testing.assert_array_equal(W, np.concatenate([np.eye(n, 4) for n in (3, 3, 6, 3)]))


@pytest.mark.parametrize("inputs", [3, 7, 9])
def test_orthogonal_input_weights_have_orthonormal_rows_or_columns(inputs):
    W = start(lc.GRU(inputs, 7, W_start="orthogonal"))["W"]
    for gate in np.split(W, 3):
        product = gate @ gate.T if inputs >= 7 else gate.T @ gate
        np.testing.assert_allclose(product, np.eye(min(inputs, 7)), rtol=0, atol=1e-14)


def test_masks_hold_whatever_weights_start_at():
    mask = np.triu(np.ones((4, 4)), 1)
    layer = lc.RNN(4, 4, W_mask=mask, R_mask=mask, W_start="orthogonal", R_start="identity")
    blocks = start(layer)
    assert not blocks["W"][mask == 0].any() and blocks["W"].any()
    assert not blocks["R"].any()


BAD_STARTS = {
    "unknown": (lc.RNN, {"W_start": "he"}, "W_start: expected one of glorot, orthogonal, unif"),
    "no bound": (lc.GRU, {"R_start": "uniform"}, r"R_start: expected \('uniform', bound\), got 'u"),
    "a bound too many": (lc.GRU, {"R_start": ("zeros", 1)}, r"R_start: expected 'zeros', got \("),
    "bound of zero": (lc.RNN, {"W_start": ("uniform", 0)}, r"W_start\[1\]: expected a number > 0"),
    "no T": (lc.LSTM, {"forget_bias": "chrono"}, r"forget_bias: expected a number or \('chrono'"),
    "T too small": (lc.LSTM, {"forget_bias": ("chrono", 1)}, r"forget_bias\[1\]: expected .* >= 2"),
    "of the update gate": (lc.GRU, {"update_bias": ("chrono",)}, "update_bias: expected a number"),
    "no forget gate": (
        lc.LSTM,
        {"forget_bias": ("chrono", 9), "forget_gate": False},
        r"forget_bias: expected a number where there is no forget gate .*, got \('chrono', 9.0\)",
    ),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_starts_that_cannot_be_are_refused(case):
    cls, options, message = BAD_STARTS[case]
    with pytest.raises(ValueError, match=message):
        cls(3, 4, **options)


def test_the_rest_starts_at_zero():
    blocks = start(lc.LSTM(3, 4, peepholes=True, gate_recurrence=True, learn_initial_state=True))
    for name in ("p", "Q", "h0", "c0"):
        assert not blocks[name].any()
    blocks = start(lc.GRU(3, 4, learn_initial_state=True))
    for name in ("b", "bR", "h0"):
        assert not blocks[name].any()


def test_masked_weights_start_at_zero():
    mask = np.eye(4)
    blocks = start(lc.RNN(4, 4, W_mask=mask, R_mask=1 - mask))
    assert not blocks["W"][mask == 0].any()
    assert not blocks["R"][mask == 1].any()
    assert blocks["W"].any()


def test_masked_weights_have_no_effect_even_if_they_are_not_zero():
    mask = np.tril(np.ones((12, 3)))
    net = lc.Network([lc.LSTM(3, 3, R_mask=mask)], seed=0)
    X = np.random.default_rng(0).normal(size=(2, 6, 3))
    before = net.predict(X)
    net.blocks["0.R"][mask == 0] = 1e3
    assert (net.predict(X) == before).all()


def test_one_seed_is_one_network_in_both_dtypes():
    layer = lc.LSTM(3, 4, peepholes=True)
    double, single = start(layer), start(layer, dtype=np.float32)
    for name in double:
        assert (double[name].astype(np.float32) == single[name]).all()
    assert (start(layer, seed=1)["W"] != double["W"]).any()


def test_repr_is_the_call_that_makes_it():
    for text in (
        "LSTM(12, 32)",
        "LSTM(3, 8, peepholes=True, bidirectional=True, coupled=True)",
        "LSTM(3, 8, block_size=2, gate_activation=('hard_sigmoid', 0.3, 0.5), forget_bias=0.0)",
        "LSTM(3, 8, direction='reverse')",
        "LSTM(3, 8, peepholes=True, output_peephole='before')",
        "LSTM(3, 8, peepholes=True, output_peephole=None, coupled=True)",
        "LSTM(3, 8, forget_bias=('chrono', 100.0), W_start=('uniform', 0.1))",
        "GRU(3, 8)",
        "GRU(3, 8, update_bias=('chrono', 100.0), W_start='orthogonal', R_start='zeros')",
        "RNN(3, 8, activation='relu', R_start='identity')",
        "GRU(3, 8, reset_after=False, bidirectional=True, gate_activation='hard_sigmoid')",
        "GRU(3, 8, direction='reverse', cell_activation='relu', learn_initial_state=True)",
        "RNN(3, 8, activation='relu')",
        "RNN(3, 8, direction='reverse')",
        "Dense(3, 8, activation=('leaky_relu', 0.1))",
        "Dense(3, 8, bias=False, tokens=True)",
        "LSTM(3, 8, peepholes=True, tokens=True)",
        "Embedding(500, 8)",
    ):
        layer = eval(text, vars(lc))
        assert repr(layer) == text
    assert "R_mask=<4x4>" in repr(lc.RNN(2, 4, R_mask=np.eye(4)))


@pytest.mark.parametrize(
    "layer",
    [
        lc.LSTM(3, 4, coupled=True, forget_bias=2, R_mask=np.ones((12, 4))),
        lc.LSTM(3, 4, peepholes=True, output_peephole=None, R_mask=np.ones((16, 4))),
        lc.GRU(3, 4, direction="reverse", cell_activation=("elu", 0.5), R_mask=np.ones((12, 4))),
        lc.RNN(3, 4, direction="both", R_mask=np.eye(4)),
    ],
    ids=repr,
)
def test_options_make_an_equal_layer(layer):
    for other in (
        type(layer)(**layer.options),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
    ):
        assert repr(other) == repr(layer)
        assert other.cell == layer.cell
        assert other.direction == layer.direction
        assert (other.options["R_mask"] == layer.options["R_mask"]).all()


def test_a_layer_keeps_its_own_masks():
    mask = np.ones((4, 4))
    layer = lc.RNN(4, 4, R_mask=mask)
    mask[...] = 0
    assert layer.options["R_mask"].all()
    with pytest.raises(ValueError):
        layer.options["R_mask"][...] = 0


def test_one_layer_may_be_part_of_many_networks():
    layer = lc.LSTM(3, 3)
    net = lc.Network([layer, layer], seed=0)
    alone = lc.Network([layer], seed=1)
    assert net.params.size == 2 * alone.params.size


# ---- cells


LAYERS = {
    "plain": lc.LSTM(2, 4),
    "blocks": lc.LSTM(2, 4, block_size=2),
    "NIG": lc.LSTM(2, 4, input_gate=False),
    "CIFG": lc.LSTM(2, 4, coupled=True),
    "NOG": lc.LSTM(2, 4, output_gate=False),
    "no gates": lc.LSTM(2, 4, input_gate=False, forget_gate=False, output_gate=False),
    "GRU": lc.GRU(2, 4),
}
ROWS = {
    "plain": {"i": (0, 4), "f": (4, 8), "g": (8, 12), "o": (12, 16)},
    "blocks": {"i": (0, 2), "f": (2, 4), "g": (4, 8), "o": (8, 10)},
    "NIG": {"f": (0, 4), "g": (4, 8), "o": (8, 12)},
    "CIFG": {"i": (0, 4), "g": (4, 8), "o": (8, 12)},
    "NOG": {"i": (0, 4), "f": (4, 8), "g": (8, 12)},
    "no gates": {"g": (0, 4)},
    "GRU": {"r": (0, 4), "z": (4, 8), "n": (8, 12)},
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_cell_knows_its_gates_by_name(name):
    cell = LAYERS[name].cell
    assert {gate: (rows.start, rows.stop) for gate, rows in cell.gates.items()} == ROWS[name]
    assert list(cell.gates) == list(ROWS[name])
    assert list(cell.gates.values())[-1].stop == shapes(LAYERS[name])["b"][0]


# Kinds with a cell of their own.
KINDS = [kind for kind, cls in CELLS.items() if cls(1, 1).cell.kind == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_says_what_kernels_take(kind):
    layer = CELLS[kind](2, 3)
    cell = layer.cell
    assert cell.kind == kind == type(layer).__name__
    code = cell.description["kind"]
    assert cell.block_names == BLOCKS[code]
    assert cell.states == STATES[code] == layer.states
    assert set(shapes(layer)) <= set(cell.block_names)
    assert cell.description.keys() == lc.Dense(1, 1).cell.description.keys()
    assert {name: shapes(layer)[name] for name in cell.block_names if name in shapes(layer)} == (
        block_shapes(cell.description)
    )


SIZES = ("inputs", "units")
MAKERS = {"LSTM": lstm_cell, "GRU": gru_cell, "RNN": rnn_cell, "Dense": dense_cell}


@pytest.mark.parametrize("name", zoo.LAYERS)
def test_every_option_reaches_the_kernels(name):
    """The description against one that knows no layer, told the same options."""
    layer = zoo.LAYERS[name].layer(3, 6)
    maker = MAKERS[layer.cell.kind]
    options = {option.removesuffix("_activation"): v for option, v in layer.options.items()}
    takes = [name for name in inspect.signature(maker).parameters if name not in SIZES]
    wanted = maker(3, 6, **{name: options[name] for name in takes if name in options})
    assert layer.cell.description == wanted


def test_every_kind_has_its_own_code():
    codes = [CELLS[kind](1, 1).cell.description["kind"] for kind in KINDS]
    assert sorted(codes) == sorted(BLOCKS)


def test_an_embedding_has_the_cell_of_a_dense_layer_without_bias():
    assert lc.Embedding(2, 3).cell == lc.Dense(2, 3, bias=False).cell != lc.Dense(2, 3).cell


def test_with_gate_recurrence_the_gates_follow_h_in_the_state():
    assert lc.LSTM(2, 4, block_size=2, gate_recurrence=True).state_sizes == (4 + 6, 4)
    assert lc.LSTM(2, 4, block_size=2).state_sizes == (4, 4)


@pytest.mark.parametrize(
    ("name", "order", "expected"),
    [
        ("plain", "ifog", [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11]),
        ("blocks", "gfoi", [4, 5, 6, 7, 2, 3, 8, 9, 0, 1]),
        ("NIG", "iofg", [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]),
        ("GRU", "zrn", [4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11]),
    ],
)
def test_reorder_moves_the_rows_of_gates_and_back(name, order, expected):
    cell = LAYERS[name].cell
    rows = np.arange(len(expected))
    assert reorder(rows, cell, order).tolist() == expected
    matrix = np.random.default_rng(0).normal(size=(len(expected), 3))
    moved = reorder(matrix, cell, order)
    assert (moved == matrix[expected]).all()
    assert (reorder(moved, cell, order, inverse=True) == matrix).all()


def test_reorder_leaves_a_cell_without_gates_alone_and_gives_a_copy():
    rows = np.arange(4)
    moved = reorder(rows, lc.RNN(2, 4).cell, "ifog")
    assert (moved == rows).all()
    assert not np.shares_memory(moved, rows)


@pytest.mark.parametrize(
    ("array", "order", "words"),
    [
        (np.zeros(16), "ifo", "order: expected each of i, f, g, o once, got 'ifo'"),
        (np.zeros(16), "ifogg", "order: expected each of i, f, g, o once, got 'ifogg'"),
        (np.zeros((12, 2)), "ifog", "array: expected 16 rows, got shape (12, 2)"),
    ],
)
def test_reorder_refuses_what_is_no_order_of_the_gates(array, order, words):
    with pytest.raises(ValueError) as caught:
        reorder(array, LAYERS["plain"].cell, order)
    assert words in str(caught.value)


@pytest.mark.parametrize("cls", [lc.LSTM, lc.GRU, lc.RNN])
def test_bidirectional_is_another_word_for_both_directions(cls):
    both, other = cls(2, 3, direction="both"), cls(2, 3, bidirectional=True)
    assert repr(both) == repr(other) == f"{cls.__name__}(2, 3, bidirectional=True)"
    assert both.options == other.options
    assert both.direction == "both" and both.directions == 2 and both.output_size == 6
    assert repr(cls(2, 3, direction="forward")) == f"{cls.__name__}(2, 3)"


def test_directions_say_whether_they_need_whole_sequences():
    layers = {d: lc.GRU(2, 3, direction=d) for d in ("forward", "reverse", "both")}
    assert {d: layer.reads_ahead for d, layer in layers.items()} == {
        "forward": False,
        "reverse": True,
        "both": True,
    }
    assert {d: layer.directions for d, layer in layers.items()} == {
        "forward": 1,
        "reverse": 1,
        "both": 2,
    }
    assert not lc.Dense(2, 3).reads_ahead
    assert list(shapes(layers["reverse"])) == ["W", "R", "b", "bR"]


@pytest.mark.parametrize("cls", [lc.LSTM, lc.GRU, lc.RNN])
def test_a_reverse_layer_is_a_forward_layer_over_reversed_sequences(cls):
    lengths = [5, 3, 0]
    nets = [lc.Network([cls(2, 3, direction=d)], seed=0) for d in ("reverse", "forward")]
    assert (nets[0].params == nets[1].params).all()
    x, dy = np.random.default_rng(0).normal(size=(2, 3, 5, 3))
    x = x[..., :2]

    def turned(array):
        result = np.zeros_like(array)
        for b, length in enumerate(lengths):
            result[b, :length] = array[b, :length][::-1]
        return result

    assert (nets[0].predict(x, lengths) == turned(nets[1].predict(turned(x), lengths))).all()
    values = [
        nets[0].loss_and_grad(x, dy, lengths),
        nets[1].loss_and_grad(turned(x), turned(dy), lengths),
    ]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-14)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-12, atol=1e-15)


def test_two_directions_are_a_forward_and_a_reverse_layer_side_by_side():
    both = lc.Network([lc.GRU(2, 3, direction="both")], seed=0)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    halves = []
    for direction, prefix in (("forward", "0.forward."), ("reverse", "0.backward.")):
        one = lc.Network([lc.GRU(2, 3, direction=direction)], seed=1)
        for name, values in one.blocks.items():
            values[...] = both.blocks[prefix + name[2:]]
        halves.append(one.predict(x))
    assert (both.predict(x) == np.concatenate(halves, axis=2)).all()


LSTM_ERRORS = [
    ({"input_size": 0}, ValueError, "input_size: expected an integer >= 1, got 0"),
    ({"input_size": 2.0}, TypeError, "input_size: expected an integer, got 2.0"),
    ({"input_size": True}, TypeError, "input_size: expected an integer, got True"),
    ({"hidden_size": -1}, ValueError, "hidden_size: expected an integer >= 1"),
    ({"hidden_size": None}, TypeError, "hidden_size: expected an integer"),
    ({"peepholes": 1}, TypeError, "peepholes: expected True or False, got 1"),
    (
        {"peepholes": True, "output_peephole": "after"},
        ValueError,
        "output_peephole: expected 'now', 'before' or None, got 'after'",
    ),
    (
        {"peepholes": True, "output_peephole": False},
        TypeError,
        "output_peephole: expected 'now', 'before' or None, got False",
    ),
    (
        {"output_peephole": "before"},
        ValueError,
        "output_peephole: expected 'now' unless there are peepholes and an output gate, got "
        "'before'",
    ),
    (
        {"output_peephole": None, "peepholes": True, "output_gate": False},
        ValueError,
        "output_peephole: expected 'now' unless there are peepholes and an output gate, got None",
    ),
    (
        {
            "output_peephole": None,
            "peepholes": True,
            "input_gate": False,
            "forget_gate": False,
        },
        ValueError,
        "output_peephole: expected 'now' or 'before' where the output gate is the only gate",
    ),
    ({"bidirectional": "yes"}, TypeError, "bidirectional: expected True or False"),
    ({"direction": "backward"}, ValueError, "direction: expected one of forward, reverse, both"),
    ({"direction": 1}, TypeError, "direction: expected one of forward, reverse, both, got 1"),
    (
        {"direction": "reverse", "bidirectional": True},
        ValueError,
        "direction: expected 'both' with bidirectional=True, got 'reverse'",
    ),
    ({"input_gate": None}, TypeError, "input_gate: expected True or False"),
    ({"forget_gate": 0}, TypeError, "forget_gate: expected True or False"),
    ({"output_gate": []}, TypeError, "output_gate: expected True or False"),
    ({"coupled": 1.0}, TypeError, "coupled: expected True or False"),
    ({"coupled": True, "input_gate": False}, ValueError, "coupled: expected False without"),
    ({"coupled": True, "forget_gate": False}, ValueError, "coupled: expected False without"),
    ({"gate_recurrence": 2}, TypeError, "gate_recurrence: expected True or False"),
    (
        {"gate_recurrence": True, "input_gate": False, "forget_gate": False, "output_gate": False},
        ValueError,
        "gate_recurrence: expected False without any gate",
    ),
    (
        {"peepholes": True, "input_gate": False, "forget_gate": False, "output_gate": False},
        ValueError,
        "peepholes: expected False without any gate",
    ),
    ({"block_size": 3}, ValueError, "block_size: expected a divisor of hidden_size = 4, got 3"),
    ({"block_size": 0}, ValueError, "block_size: expected an integer >= 1"),
    ({"gate_activation": "sigmoid"}, ValueError, "gate_activation"),
    ({"cell_activation": ("scaled_tanh",)}, ValueError, "cell_activation"),
    ({"output_activation": 3}, TypeError, "output_activation"),
    ({"learn_initial_state": 1}, TypeError, "learn_initial_state: expected True or False"),
    ({"forget_bias": "1"}, TypeError, "forget_bias: expected a real number"),
    ({"forget_bias": np.inf}, ValueError, "forget_bias: expected a finite number"),
    ({"forget_bias": 10**400}, ValueError, "forget_bias: expected a real number"),
    ({"W_mask": np.ones((4, 3))}, ValueError, "W_mask: expected shape (16, 3), got (4, 3)"),
    ({"W_mask": np.full((16, 3), 0.5)}, ValueError, "W_mask: expected 0 and 1 only"),
    ({"R_mask": np.full((16, 4), "1")}, TypeError, "R_mask: expected an array of 0 and 1"),
    ({"R_mask": [[1, 2], [3]]}, ValueError, "R_mask: expected an array of numbers"),
]


@pytest.mark.parametrize(("options", "error", "words"), LSTM_ERRORS)
def test_wrong_options_of_an_lstm_are_refused_by_name(options, error, words):
    with pytest.raises(error) as caught:
        lc.LSTM(**{"input_size": 3, "hidden_size": 4} | options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: lc.RNN(0, 1), ValueError, "input_size: expected"),
        (lambda: lc.RNN(1, "1"), TypeError, "hidden_size: expected"),
        (lambda: lc.RNN(1, 1, activation="cosine"), ValueError, "activation"),
        (lambda: lc.RNN(1, 1, bidirectional=None), TypeError, "bidirectional: expected"),
        (lambda: lc.RNN(1, 1, learn_initial_state="no"), TypeError, "learn_initial_state: exp"),
        (lambda: lc.RNN(1, 1, W_mask=[1]), ValueError, "W_mask: expected shape (1, 1)"),
        (lambda: lc.RNN(1, 1, R_mask=[[np.nan]]), ValueError, "R_mask: expected 0 and 1"),
        (lambda: lc.RNN(1, 1, direction=""), ValueError, "direction: expected one of"),
        (lambda: lc.RNN(1, 1, output_peephole="now"), TypeError, "output_peephole"),
        (lambda: lc.GRU(1, 1, output_peephole="now"), TypeError, "output_peephole"),
        (lambda: lc.GRU(0, 1), ValueError, "input_size: expected"),
        (lambda: lc.GRU(1, 2.5), TypeError, "hidden_size: expected"),
        (lambda: lc.GRU(1, 1, reset_after=1), TypeError, "reset_after: expected True or False"),
        (lambda: lc.GRU(1, 1, bidirectional=0), TypeError, "bidirectional: expected"),
        (
            lambda: lc.GRU(1, 1, bidirectional=True, direction="forward"),
            ValueError,
            "direction: expected 'both' with bidirectional=True, got 'forward'",
        ),
        (lambda: lc.GRU(1, 1, gate_activation="sigmoid"), ValueError, "gate_activation"),
        (lambda: lc.GRU(1, 1, cell_activation=None), TypeError, "cell_activation"),
        (lambda: lc.GRU(1, 1, output_activation="tanh"), TypeError, "output_activation"),
        (lambda: lc.GRU(1, 1, learn_initial_state=1), TypeError, "learn_initial_state: exp"),
        (lambda: lc.GRU(1, 1, W_mask=[[1]]), ValueError, "W_mask: expected shape (3, 1)"),
        (lambda: lc.GRU(1, 1, R_mask=[[2]] * 3), ValueError, "R_mask: expected 0 and 1"),
        (lambda: lc.Dense(0, 1), ValueError, "input_size: expected"),
        (lambda: lc.Dense(1, 0), ValueError, "output_size: expected"),
        (lambda: lc.Dense(1, 1, activation=()), TypeError, "activation"),
        (lambda: lc.Dense(1, 1, units=3), TypeError, "units"),
    ],
)
def test_wrong_options_of_other_layers_are_refused_by_name(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)

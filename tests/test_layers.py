"""Layers: options checked once, blocks in the promised order, initial values as described."""

import copy
import pickle

import numpy as np
import pytest

import lstmcore as lc


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
    ids=["plain", "peepholes", "NIG", "CIFG + FGR", "no gates", "blocks", "learned state"],
)
def test_lstm_blocks(options, expected):
    layer = lc.LSTM(3, 8, **options)
    assert list(shapes(layer).items()) == list(expected.items())


def test_rnn_and_dense_blocks():
    assert shapes(lc.RNN(3, 4)) == {"W": (4, 3), "R": (4, 4), "b": (4,)}
    assert shapes(lc.RNN(3, 4, learn_initial_state=True))["h0"] == (4,)
    assert shapes(lc.Dense(3, 4)) == {"W": (4, 3), "b": (4,)}


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


def test_the_rest_starts_at_zero():
    blocks = start(lc.LSTM(3, 4, peepholes=True, gate_recurrence=True, learn_initial_state=True))
    for name in ("p", "Q", "h0", "c0"):
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
        "RNN(3, 8, activation='relu')",
        "Dense(3, 8, activation=('leaky_relu', 0.1))",
    ):
        layer = eval(text, vars(lc))
        assert repr(layer) == text
    assert "R_mask=<4x4>" in repr(lc.RNN(2, 4, R_mask=np.eye(4)))


def test_options_make_an_equal_layer():
    layer = lc.LSTM(3, 4, coupled=True, forget_bias=2, R_mask=np.ones((12, 4)))
    for other in (
        type(layer)(**layer.options),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
    ):
        assert repr(other) == repr(layer)
        assert other.cell == layer.cell
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


LSTM_ERRORS = [
    ({"input_size": 0}, ValueError, "input_size: expected an integer >= 1, got 0"),
    ({"input_size": 2.0}, TypeError, "input_size: expected an integer, got 2.0"),
    ({"input_size": True}, TypeError, "input_size: expected an integer, got True"),
    ({"hidden_size": -1}, ValueError, "hidden_size: expected an integer >= 1"),
    ({"hidden_size": None}, TypeError, "hidden_size: expected an integer"),
    ({"peepholes": 1}, TypeError, "peepholes: expected True or False, got 1"),
    ({"bidirectional": "yes"}, TypeError, "bidirectional: expected True or False"),
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

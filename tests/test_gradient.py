"""Promise 1: the gradient is the gradient: every block, variant, activation, readout and loss."""

from functools import partial

import numpy as np
import pytest

import lstmcore as lc

SIZES = (1, 3, 8, 17)  # less than, odd beside, equal to and more than whole vectors
TOLERANCE = {"float64": 1e-7, "float32": 1e-4}
LENGTHS = (5, 3, 0, 4)  # unequal, out of order, one empty
I, K = 2, 3

# name -> layers of H units whose last has K outputs
VARIANTS = {
    "V": partial(lc.LSTM, I, peepholes=True),
    "NP": partial(lc.LSTM, I),
    "NIG": partial(lc.LSTM, I, peepholes=True, input_gate=False),
    "NFG": partial(lc.LSTM, I, peepholes=True, forget_gate=False),
    "NOG": partial(lc.LSTM, I, peepholes=True, output_gate=False),
    "NIAF": partial(lc.LSTM, I, peepholes=True, cell_activation="identity"),
    "NOAF": partial(lc.LSTM, I, peepholes=True, output_activation="identity"),
    "CIFG": partial(lc.LSTM, I, peepholes=True, coupled=True),
    "FGR": partial(lc.LSTM, I, peepholes=True, gate_recurrence=True),
    "RNN": partial(lc.RNN, I),
}


def randomised(net, seed=0, scale=0.5):
    """The network with no parameter at a special value such as zero."""
    net.params[...] = np.random.default_rng(seed).normal(scale=scale, size=net.params.size)
    return net


def data(net, lengths=LENGTHS, seed=1):
    """A padded batch, and targets that fit the network's loss and readout."""
    rng = np.random.default_rng(seed)
    B, T = len(lengths), max(lengths)
    X = rng.normal(size=(B, T, net.input_size))
    shape = (B,) if net.readout != "all" else (B, T)
    if net.loss_name == "cross_entropy":
        Y = rng.integers(0, net.output_size, shape)
    elif net.loss_name == "binary_cross_entropy":
        Y = rng.uniform(size=(*shape, net.output_size))
    else:
        Y = rng.normal(size=(*shape, net.output_size))
    return {"X": X, "Y": Y, "lengths": lengths}


def assert_gradient(net, tolerance=None, max_entries=None, step=1e-4, **given):
    errors = lc.check_gradient(net, **given, max_entries=max_entries, step=step)
    assert list(errors) == list(net.blocks)
    tolerance = tolerance or TOLERANCE[net.dtype.name]
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"relative error above {tolerance:g}: {wrong}"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_with_every_readout_and_loss(variant, readout, loss, dtype):
    for H in SIZES:
        layers = [VARIANTS[variant](H), lc.Dense(H, K)]
        net = randomised(lc.Network(layers, loss, readout, dtype))
        # of the large ones some entries of each block: each costs four evaluations
        assert_gradient(net, max_entries=None if H <= 3 else 6, **data(net))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_directions_with_learned_initial_states(variant, readout, dtype):
    for H in SIZES:
        layer = VARIANTS[variant](H, bidirectional=True, learn_initial_state=True)
        net = randomised(lc.Network([layer, lc.Dense(2 * H, K)], readout=readout, dtype=dtype))
        assert_gradient(net, max_entries=None if H <= 3 else 5, **data(net))


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
def test_recurrent_layer_that_is_the_output(readout):
    for layer in (lc.LSTM(I, 3, peepholes=True), lc.RNN(I, 3, bidirectional=True)):
        net = randomised(lc.Network([layer], readout=readout))
        assert_gradient(net, **data(net))


@pytest.mark.parametrize("variant", ["V", "CIFG", "FGR", "NOG"])
@pytest.mark.parametrize(("H", "C"), [(8, 2), (17, 17), (6, 3)], ids=["8/2", "one block", "6/3"])
def test_blocks_of_cells(variant, H, C):
    layer = VARIANTS[variant](H, block_size=C, bidirectional=True)
    net = randomised(lc.Network([layer, lc.Dense(2 * H, K)]))
    assert_gradient(net, max_entries=20, **data(net))


ACTIVATIONS = [
    "identity", "logistic", "tanh", "relu", "logistic_1", "logistic_2", "softsign", "softplus",
    ("elu", 0.7), ("leaky_relu", 0.15), ("hard_sigmoid", 0.3, 0.4), ("scaled_tanh", 1.3, 0.6),
    ("thresholded_relu", 0.2), ("affine", 0.8, 0.1),
]  # fmt: skip


@pytest.mark.parametrize("role", ["gate", "cell", "output", "rnn", "dense"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_every_activation_in_every_role(activation, role):
    layers = {
        "rnn": lambda: [lc.RNN(I, 3, activation=activation), lc.Dense(3, K)],
        "dense": lambda: [lc.LSTM(I, 3), lc.Dense(3, K, activation=activation)],
    }.get(role, lambda: [lc.LSTM(I, 3, **{f"{role}_activation": activation}), lc.Dense(3, K)])()
    net = randomised(lc.Network(layers))
    # a small step, so that no bend lies between the points of the difference quotient
    assert_gradient(net, step=1e-5, **data(net))


STACKS = {
    "two LSTMs": lambda: [lc.LSTM(I, 3, peepholes=True), lc.LSTM(3, 5), lc.Dense(5, K)],
    "bidirectional below": lambda: [lc.LSTM(I, 3, bidirectional=True), lc.RNN(6, 4)],
    "bidirectional above": lambda: [
        lc.RNN(I, 3), lc.LSTM(3, 4, peepholes=True, bidirectional=True), lc.Dense(8, K),
    ],
    "dense below and between": lambda: [
        lc.Dense(I, 5, activation="tanh"), lc.RNN(5, 3), lc.Dense(3, 4, activation="tanh"),
        lc.LSTM(4, 3), lc.Dense(3, 4, activation="logistic"), lc.Dense(4, K),
    ],
}  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("stack", STACKS)
def test_stacks(stack, readout, dtype):
    net = randomised(lc.Network(STACKS[stack](), readout=readout, dtype=dtype))
    assert_gradient(net, max_entries=12, **data(net))


def test_no_recurrent_layer_at_all():
    net = randomised(lc.Network([lc.Dense(I, 4, activation="tanh"), lc.Dense(4, K)]))
    assert_gradient(net, **data(net))


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.3},
        {"reduction": "sum"},
        {"sample_weight": [1.0, 0.0, 2.0, 0.5]},
        {"step_weight": np.random.default_rng(2).uniform(size=(4, 5))},
        {"step_weight": np.eye(4, 5), "sample_weight": [1, 2, 3, 4], "l2": 0.1},
        {"lengths": None, "mask": np.random.default_rng(3).uniform(size=(4, 5)) < 0.6},
        {"lengths": None},
    ],
    ids=["l2", "sum", "sample weights", "step weights", "all weights", "mask", "equal lengths"],
)
def test_every_option_of_the_objective(options):
    layers = [lc.LSTM(I, 3, peepholes=True, gate_recurrence=True), lc.Dense(3, K)]
    net = randomised(lc.Network(layers, loss="cross_entropy"))
    assert_gradient(net, **data(net) | options)


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("first", [lc.LSTM, lc.RNN, lc.Dense])
def test_tokens(first, readout):
    options = {} if first is lc.Dense else {"bidirectional": True}
    layers = [first(7, 3, **options)]
    layers += [lc.LSTM(layers[0].output_size, 3), lc.Dense(3, K)]
    net = randomised(lc.Network(layers, "cross_entropy", readout))
    given = data(net)
    given["X"] = np.random.default_rng(0).integers(0, 7, given["X"].shape[:2])
    assert_gradient(net, **given)


def test_masked_weights_get_no_gradient_and_the_others_the_right_one():
    rng = np.random.default_rng(0)
    W_mask, R_mask = rng.uniform(size=(12, I)) < 0.6, rng.uniform(size=(12, 3)) < 0.6
    layer = lc.LSTM(I, 3, W_mask=W_mask, R_mask=R_mask, bidirectional=True)
    net = randomised(lc.Network([layer, lc.Dense(6, K)]))
    given = data(net)
    assert_gradient(net, **given)
    _, g = net.loss_and_grad(**given)
    gradient = net.table.views(g)
    for direction in ("forward", "backward"):
        assert not gradient[f"0.{direction}.W"][~W_mask].any()
        assert not gradient[f"0.{direction}.R"][~R_mask].any()


def test_a_wrong_gradient_is_found(monkeypatch):
    net = randomised(lc.Network([lc.LSTM(I, 3), lc.Dense(3, K)]))
    given = data(net)
    evaluate = net.evaluate

    def wrong(params, examples, gradient=True, **options):
        f, g = evaluate(params, examples, gradient=gradient, **options)
        if gradient:
            net.table["0.R"].view(g)[0, 0] *= 1.001
        return f, g

    monkeypatch.setattr(net, "evaluate", wrong)
    errors = lc.check_gradient(net, **given)
    assert errors["0.R"] > 1e-5
    assert max(error for name, error in errors.items() if name != "0.R") < 1e-7

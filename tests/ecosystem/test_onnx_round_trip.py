"""What `Network.to_onnx` writes and `from_onnx` reads is the same network, to the bit."""

import numpy as np
import pytest
import zoo
from test_onnx_export import LENGTHS, WITHIN, assert_close, inputs

import lstmcore as lc
from lstmcore.interop.onnx import recurrent_nodes

# What an initial value was drawn from, and what was left out of the matrices, is not in the file.
NOT_WRITTEN = {"forget_bias", "update_bias", "W_start", "R_start", "W_mask", "R_mask"}


def written(layer):
    """A layer without what a file does not say."""
    options = {name: value for name, value in layer.options.items() if name not in NOT_WRITTEN}
    return type(layer), options


def is_written_as_another(layer):
    """Whether ONNX has the layer as one that computes the same: with all gates, none shared."""
    options = layer.options
    return isinstance(layer, lc.LSTM) and not (
        options["block_size"] == 1
        and options["input_gate"]
        and options["forget_gate"]
        and options["output_gate"]
        and options["output_peephole"] == "now"
    )


def assert_same_network(again, net):
    """Layers and parameters, as far as ONNX has the layers as they are; and the outputs."""
    X = inputs(net)
    assert_close(again.predict(X, LENGTHS), net.predict(X, LENGTHS))
    assert again.dtype == np.float32
    if any(map(is_written_as_another, net.layers)):
        return
    assert list(map(written, again.layers)) == list(map(written, net.layers))
    layers = zip(net.layers, net.weights, again.weights, strict=True)
    for layer, directions, others in layers:
        for w, other in zip(directions, others, strict=True):
            for own, read in zip(
                (*layer.masked(w).blocks, *w.initial), (*other.blocks, *other.initial), strict=True
            ):
                assert own is read is None or own.tobytes() == read.tobytes()


def in_float32(net):
    """The network as a file has it."""
    rounded = lc.Network(**net.options | {"dtype": "float32"})
    rounded.params = net.params
    return rounded


def forms(net):
    """The options that a network can be written with."""
    yield {}
    yield {"lengths": True}
    if not any(layer.reads_ahead for layer in net.layers):
        yield {"states": True}
        yield {"lengths": True, "states": True}


@zoo.cases(WITHIN)
def test_a_network_comes_back_as_it_was(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    same = {readout, "last"} if readout == "last_step" else {readout}  # where it is the same
    for options in forms(net):
        again = lc.from_onnx(net.to_onnx(**options), verify=False)
        assert again.readout in same
        assert_same_network(again, in_float32(net))


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("readout", ["all", "last", "mean"])
def test_learned_states_come_back_where_states_come_in(readout, lengths):
    layers = [
        lc.LSTM(3, 4, learn_initial_state=True),
        lc.GRU(4, 3),
        lc.RNN(3, 2, learn_initial_state=True),
    ]
    net = lc.Network(layers, readout=readout, dtype="float32", seed=0)
    net.params = np.random.default_rng(0).normal(size=net.params.size)
    again = lc.from_onnx(net.to_onnx(states=True, lengths=lengths), verify=True)
    assert_same_network(again, net)
    assert again.params.tobytes() == net.params.tobytes()


@pytest.mark.parametrize(
    "layer",
    [
        lc.LSTM(3, 4, learn_initial_state=True),
        lc.GRU(3, 4, learn_initial_state=True, bidirectional=True),
        lc.RNN(3, 4, learn_initial_state=True, direction="reverse"),
    ],
    ids=str,
)
def test_learned_states_that_are_zero_come_back_learned(layer):
    net = lc.Network([lc.Dense(3, 3), layer], readout="last", dtype="float32", seed=0)
    for block in net.weights[1]:
        for initial in block.initial:
            initial[...] = 0
    for options in forms(net):
        again = lc.from_onnx(net.to_onnx(**options), verify=True)
        assert_same_network(again, net)
        assert again.layers[1].learns_states
        (node,) = recurrent_nodes(net.to_onnx(**options))
        assert node.layer.learns_states


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize(
    "layers",
    [
        [lc.Dense(3, 4, activation="tanh"), lc.Dense(4, 4, bias=False), lc.Dense(4, 2)],
        [lc.Embedding(7, 4), lc.Dense(4, 2)],
        [lc.Dense(7, 4, activation="relu", tokens=True), lc.Dense(4, 2)],
    ],
    ids=str,
)
def test_networks_without_a_recurrent_layer_come_back_to_the_bit(layers, loss, lengths):
    net = lc.Network(layers, loss=loss, dtype="float32", seed=0)
    again = lc.from_onnx(net.to_onnx(lengths=lengths), verify=True)
    assert again.loss_name == loss
    assert_same_network(again, net)
    assert again.params.tobytes() == net.params.tobytes()


@pytest.mark.parametrize("loss", zoo.LOSSES)
@pytest.mark.parametrize("readout", ["all", "max"])
def test_output_units_come_back_as_a_loss(readout, loss):
    net = zoo.network("stack", readout=readout, loss=loss, dtype="float32")
    again = lc.from_onnx(net.to_onnx(lengths=True), verify=False)
    assert again.loss_name == loss
    assert_same_network(again, net)


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
@pytest.mark.parametrize("role", ["gate_activation", "cell_activation", "output_activation"])
def test_activations_of_recurrent_layers_compute_the_same(role, activation):
    net = lc.Network([lc.LSTM(3, 5, **{role: activation})], dtype="float32", seed=0)
    again = lc.from_onnx(net.to_onnx())
    X = inputs(net)
    assert_close(again.predict(X), net.predict(X))
    assert again.params.tobytes() == net.params.tobytes()


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
def test_activations_of_dense_layers_compute_the_same(activation):
    layers = [
        lc.Dense(3, 4, activation=activation),
        lc.LSTM(4, 5),
        lc.Dense(5, 2, activation=activation),
    ]
    net = lc.Network(layers, dtype="float32", seed=0)
    again = lc.from_onnx(net.to_onnx())
    X = inputs(net)
    assert_close(again.predict(X), net.predict(X))


@pytest.mark.parametrize("n_tokens", [15, 31])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_tokens_come_back_whichever_way_they_are_written(direction, n_tokens):
    layers = [lc.GRU(n_tokens, 5, tokens=True, direction=direction)]
    net = lc.Network(layers, readout="last", dtype="float32", seed=0)
    assert_same_network(lc.from_onnx(net.to_onnx()), net)


def test_weights_of_pytorch_go_to_onnx_and_back_to_the_bit():
    rng = np.random.default_rng(0)
    shapes = {
        "lstm.weight_ih_l0": (20, 3),
        "lstm.weight_hh_l0": (20, 5),
        "lstm.bias_ih_l0": (20,),
        "lstm.bias_hh_l0": (20,),
        "head.weight": (2, 5),
        "head.bias": (2,),
    }
    state_dict = {
        name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
    }
    net = lc.from_torch(state_dict, readout="last")
    again = lc.from_onnx(net.to_onnx(lengths=True))
    assert again.params.tobytes() == net.params.tobytes()
    back = lc.to_torch(again)
    np.testing.assert_array_equal(back["0.weight_ih_l0"], state_dict["lstm.weight_ih_l0"])

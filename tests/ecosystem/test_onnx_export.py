"""`Network.to_onnx`: every graph is run by ONNX Runtime and gives what `predict` gives."""

import json
import sys
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import zoo
from onnx.reference import ReferenceEvaluator

import lstmcore as lc
from lstmcore.interop.onnx import _write_graph

LENGTHS = np.array([7, 0, 1, 3])


def beyond_onnx(layer):
    """Whether a layer is one that ONNX has no node for."""
    options = layer.options
    return bool(
        options.get("gate_recurrence")
        or options.get("output_peephole") == "before"
        or (options.get("peepholes") and options["block_size"] > 1)
    )


BEYOND = {name: e for name, e in zoo.NETWORKS.items() if any(map(beyond_onnx, e.layers))}
WITHIN = {name: e for name, e in zoo.NETWORKS.items() if name not in BEYOND}
STREAMS = {name: e for name, e in WITHIN.items() if not e.reads_ahead}


def session(net, **options):
    """ONNX Runtime with a network's graph, which is one that the standard allows."""
    data = net.to_onnx(**options)
    onnx.checker.check_model(data, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def inputs(net):
    rng, shape = np.random.default_rng(0), (len(LENGTHS), LENGTHS.max())
    if net.takes_tokens:
        return rng.integers(0, net.input_size, shape)
    return rng.standard_normal((*shape, net.input_size), dtype=np.float32)


def assert_close(got, want):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)


def assert_same(net):
    """The outputs of whole sequences, of some that are shorter, and of one alone of one step."""
    X, run = inputs(net), session(net).run
    assert_close(run(None, {"X": X})[0], net.predict(X))
    assert_close(run(None, {"X": X[:1, :1]})[0], net.predict(X[:1, :1]))
    (y,) = session(net, lengths=True).run(None, {"X": X, "lengths": LENGTHS})
    assert_close(y, net.predict(X, LENGTHS))


# ------------------------------------------------------------------------------------- outputs


@zoo.cases(WITHIN)
def test_the_graph_gives_what_predict_gives(name, readout, dtype):
    assert_same(zoo.network(name, readout=readout, dtype=dtype))


@pytest.mark.parametrize("loss", zoo.LOSSES)
@pytest.mark.parametrize("readout", ["all", "mean"])
def test_the_graph_ends_in_the_output_units(loss, readout):
    assert_same(zoo.network("stack", readout=readout, loss=loss))


def test_the_graph_of_a_network_that_reads_unsegmented_sequences_gives_probabilities():
    assert_same(zoo.network("stack", readout="all", loss="ctc"))


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
@pytest.mark.parametrize("entry, role", zoo.ROLES)
def test_every_activation_is_written_in_every_role(entry, role, activation):
    net = lc.Network([entry.layer(zoo.INPUTS, 5, **{role: activation}), lc.Dense(5, 2)])
    net.params[...] = np.random.default_rng(0).normal(scale=0.3, size=net.params.size)
    assert_same(net)


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
@pytest.mark.parametrize("gate", ["input_gate", "forget_gate", "output_gate"])
def test_a_gate_that_is_left_out_is_1_with_any_activation_of_the_others(gate, activation):
    net = lc.Network([lc.LSTM(3, 5, gate_activation=activation, **{gate: False})], seed=0)
    assert_same(net)


@pytest.mark.parametrize("activation", [("scaled_tanh", 0.9, 1), ("thresholded_relu", 1)])
def test_a_gate_that_is_left_out_is_refused_where_no_gate_is_ever_1(activation):
    layers = [lc.LSTM(3, 5, gate_activation=activation, output_gate=False)]
    with pytest.raises(ValueError, match=r"layers\[0\] with output_gate=False and a gate_activ"):
        lc.Network(layers).to_onnx()


@pytest.mark.parametrize("direction", ["reverse", "both"])
@pytest.mark.parametrize("n_tokens, op", [(15, "OneHot"), (31, "Gather")])
def test_many_tokens_are_looked_up_and_not_expanded(n_tokens, op, direction):
    layers = [lc.GRU(n_tokens, 5, tokens=True, direction=direction)]
    net = lc.Network(layers, readout="last", seed=0)
    assert op in {node.op_type for node in onnx.load_from_string(net.to_onnx()).graph.node}
    assert_same(net)


def test_constants_that_are_nearly_equal_stay_apart():
    layers = [lc.Dense(1, 1, activation=("affine", 1.2345678, 1.2345679))]
    net = lc.Network(layers)
    net.params = [100.0, 0.0]
    (y,) = session(net).run(None, {"X": np.ones((1, 1, 1), np.float32)})
    np.testing.assert_allclose(y, net.predict(np.ones((1, 1, 1))), rtol=1e-7)


def test_a_float64_network_is_rounded_once():
    net = zoo.network("LSTM", dtype="float64")
    rounded = lc.Network(**net.options | {"dtype": "float32"})
    rounded.params = net.params
    assert net.to_onnx() != rounded.to_onnx()  # the summary says which it was
    assert initializers(net.to_onnx()) == initializers(rounded.to_onnx())


def initializers(data):
    tensors = onnx.load_from_string(data).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor).tobytes() for tensor in tensors}


@pytest.mark.parametrize("readout", ["all", "last", "last_step", "mean", "max"])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_another_runtime_agrees(direction, readout):
    """ONNX's own reference, which knows the defaults of recurrent nodes and no lengths."""
    layers = [
        lc.LSTM(3, 4, peepholes=True, direction=direction, tokens=True),
        lc.GRU(4 if direction == "forward" else 8, 5, learn_initial_state=True),
        lc.RNN(5, 3, direction=direction),
        lc.Dense(3 if direction == "forward" else 6, 2),
    ]
    net = lc.Network(layers, readout=readout, seed=0)
    X, graph = inputs(net), onnx.load_from_string(net.to_onnx())
    assert_close(ReferenceEvaluator(graph).run(None, {"X": X})[0], net.predict(X))


def test_steps_behind_the_end_count_for_no_runtime():
    """What a runtime gives there does not reach the mean, the maximum and the outputs."""
    for readout in ("all", "mean", "max"):
        net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], readout=readout, seed=0)
        graph = ReferenceEvaluator(onnx.load_from_string(net.to_onnx(lengths=True)))
        X = inputs(net)
        (y,) = graph.run(None, {"X": X, "lengths": LENGTHS})
        assert_close(y, net.predict(X, LENGTHS))


# --------------------------------------------------------------------------------------- states


def state_names(run):
    return [value.name for value in run.get_inputs() if value.name not in ("X", "lengths")]


def first_state(net, run, B):
    arrays = [array for entry in net.stream(B).state for array in entry]
    return {
        name: array.astype(np.float32) for name, array in zip(state_names(run), arrays, strict=True)
    }


@zoo.cases(STREAMS)
def test_pieces_of_sequences_give_what_the_whole_gives(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    run, X = session(net, states=True), inputs(net)
    want, after = net.predict(X, return_state=True)
    state, pieces = first_state(net, run, len(X)), []
    for start, stop in pairwise([0, 1, 4, 7]):
        y, *arrays = run.run(None, {"X": X[:, start:stop], **state})
        state = dict(zip(state, arrays, strict=True))
        pieces.append(y)
    assert_close(np.concatenate(pieces, axis=1) if readout == "all" else y, want)
    for array, expected in zip(arrays, (a for entry in after for a in entry), strict=True):
        assert_close(array, expected)


@pytest.mark.parametrize("readout", ["all", "last", "mean", "max"])
def test_pieces_may_have_lengths(readout):
    layers = [lc.LSTM(3, 4, learn_initial_state=True), lc.GRU(4, 3), lc.Dense(3, 2)]
    net = lc.Network(layers, readout=readout, seed=0)
    net.params[...] = np.random.default_rng(0).normal(size=net.params.size)
    run, X = session(net, states=True, lengths=True), inputs(net)
    want, after = net.predict(X, LENGTHS, return_state=True)
    state = first_state(net, run, len(X))
    for start, stop in pairwise([0, 2, 7]):
        lengths = np.clip(LENGTHS - start, 0, stop - start)
        y, *arrays = run.run(None, {"X": X[:, start:stop], "lengths": lengths, **state})
        state = dict(zip(state, arrays, strict=True))
    if readout != "all":
        assert_close(y, want)
    for array, expected in zip(arrays, (a for entry in after for a in entry), strict=True):
        assert_close(array, expected)


def test_states_have_the_names_of_layers_and_come_back_in_their_order():
    layers = [lc.LSTM(3, 4), lc.Dense(4, 3), lc.GRU(3, 5)]
    run = session(lc.Network(layers, readout="max"), states=True)
    names = ["0.h", "0.c", "2.h", "largest", "count"]
    assert state_names(run) == names
    assert [value.name for value in run.get_outputs()] == ["Y", *(f"{n}.next" for n in names)]


def test_the_metadata_have_what_learned_states_are_at_first():
    net = zoo.network("learned states", dtype="float32")
    metadata = session(net, states=True).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["0.c"]) == net.blocks["0.c0"].tolist()
    assert json.loads(metadata["0.h"]) == net.blocks["0.h0"].tolist()


@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_states_are_refused_where_sequences_must_be_whole(direction):
    net = lc.Network([lc.RNN(3, 4), lc.GRU(4, 2, direction=direction)])
    with pytest.raises(ValueError, match=r"states: expected False, for layers\[1\]"):
        net.to_onnx(states=True)


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", BEYOND)
def test_what_onnx_cannot_say_is_refused_by_name(name):
    layer = BEYOND[name].layers[0]
    with pytest.raises(ValueError, match=r"net: expected layers that ONNX can say") as caught:
        zoo.network(name).to_onnx()
    said = str(caught.value)
    assert ("gate_recurrence=True" in said) == layer.options["gate_recurrence"]
    assert ("output_peephole='before'" in said) == (layer.options["output_peephole"] == "before")
    assert "layers[0] with" in said and "layers[1]" not in said


def test_one_error_names_all_of_it():
    layers = [
        lc.LSTM(3, 4, gate_recurrence=True, block_size=2),
        lc.LSTM(4, 4, peepholes=True, block_size=2),
        lc.LSTM(4, 4, peepholes=True, output_peephole="before"),
    ]
    with pytest.raises(ValueError) as caught:
        lc.Network(layers).to_onnx()
    assert str(caught.value) == (
        "net: expected layers that ONNX can say, got layers[0] with gate_recurrence=True; "
        "layers[1] with peepholes=True and block_size=2; layers[2] with output_peephole='before'; "
        "lstmcore.export_c writes any network"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_parameters_that_float32_does_not_hold_are_refused(value):
    net = lc.Network([lc.RNN(3, 4), lc.Dense(4, 2)])
    net.blocks["1.b"][0] = value
    with pytest.raises(ValueError, match=r"net: expected parameters that are finite in float32"):
        net.to_onnx()


def test_parameters_of_activations_that_float32_does_not_hold_are_refused():
    net = lc.Network([lc.Dense(3, 2, activation=("affine", 1e39, 0.0))])
    with pytest.raises(ValueError, match=r"layers\[0\] with parameters of 'affine' beyond float32"):
        net.to_onnx()


def test_more_than_a_file_holds_is_refused(monkeypatch):
    net = lc.Network([lc.Dense(3, 2)])
    monkeypatch.setattr(_write_graph, "_MOST_BYTES", 32)
    assert net.to_onnx()
    monkeypatch.setattr(_write_graph, "_MOST_BYTES", 31)
    with pytest.raises(ValueError, match=r"net: expected weights of at most 31 bytes"):
        net.to_onnx()


@pytest.mark.parametrize("name", ["lengths", "states"])
def test_flags_are_flags(name):
    with pytest.raises(TypeError, match=rf"{name}: expected True or False, got 1"):
        lc.Network([lc.RNN(3, 4)]).to_onnx(**{name: 1})


def test_without_onnx_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("_write", "_write_graph"):
        monkeypatch.delitem(sys.modules, f"lstmcore.interop.onnx.{name}")
    with pytest.raises(ImportError, match=r'Network.to_onnx needs onnx: pip install "lstmcore\[on'):
        lc.Network([lc.RNN(3, 4)]).to_onnx()


# -------------------------------------------------------------------------------------- the file


def test_the_file_has_the_bytes_that_are_returned_without_a_path(tmp_path):
    net = zoo.network("stack")
    path = tmp_path / "model.onnx"
    assert net.to_onnx(path) is None
    assert path.read_bytes() == net.to_onnx()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="gate_recurrence"):
        lc.Network([lc.LSTM(3, 4, gate_recurrence=True)]).to_onnx(path)
    assert path.read_bytes() == b"before"
    with pytest.raises(ValueError, match=r"path: expected a file or a new name"):
        lc.Network([lc.LSTM(3, 4)]).to_onnx(tmp_path)


def test_the_file_says_what_it_is_and_who_wrote_it():
    net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], loss="cross_entropy", readout="mean")
    model = onnx.load_from_string(net.to_onnx(lengths=True))
    assert (model.ir_version, [o.version for o in model.opset_import]) == (8, [17])
    assert (model.producer_name, model.producer_version) == ("lstmcore", lc.__version__)
    assert model.doc_string.startswith(net.summary())
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "layers": "LSTM(3, 4), Dense(4, 2)",
        "loss": "cross_entropy",
        "readout": "mean",
    }


def test_sizes_of_the_batch_and_of_time_are_free():
    graph = onnx.load_from_string(zoo.network("LSTM").to_onnx(lengths=True)).graph
    dims = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    ]
    assert dims == [["B", "T", 3], ["B"], ["B", "T", 2]]


def test_a_plain_node_says_nothing_that_is_onnx_own_default():
    graph = onnx.load_from_string(zoo.network("LSTM").to_onnx()).graph
    (node,) = (node for node in graph.node if node.op_type == "LSTM")
    assert sorted(attribute.name for attribute in node.attribute) == ["direction", "hidden_size"]
    assert len(node.input) == 4  # X, W, R, B


@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"states": True}], ids=str)
@pytest.mark.parametrize("readout", ["all", "last", "last_step", "mean", "max"])
def test_nothing_in_the_file_is_for_nothing(readout, options):
    layers = [lc.Embedding(3, 4), lc.LSTM(4, 5, learn_initial_state=True), lc.Dense(5, 2)]
    graph = onnx.load_from_string(lc.Network(layers, readout=readout).to_onnx(**options)).graph
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output if name}
    made |= {tensor.name for tensor in graph.initializer}
    made |= {value.name for value in graph.input}
    assert made == read - {""}

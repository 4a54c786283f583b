"""`from_onnx` and `recurrent_nodes`: the networks that they read give what the graphs give."""

import contextlib
import importlib
import os
import re
import shutil
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import lstmcore as lc
from lstmcore.interop.onnx import recurrent_nodes

GOLDEN = Path(__file__).parent / "golden" / "onnx"
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def session(model):
    """ONNX Runtime on a model: a path, or a ModelProto."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def make(nodes, arrays, inputs, outputs, opset=17):
    """A model. inputs and outputs : {name: shape}; int64 and int32 at the front name integers."""

    def info(name, shape):
        kind = TensorProto.INT64 if name.startswith("int64") else TensorProto.FLOAT
        kind = TensorProto.INT32 if name.startswith("int32") else kind
        return helper.make_tensor_value_info(name, kind, shape)

    tensors = []
    for name, array in arrays.items():
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        tensors.append(numpy_helper.from_array(array, name))
    graph = helper.make_graph(
        nodes,
        "graph",
        [info(*pair) for pair in inputs.items()],
        [info(*pair) for pair in outputs.items()],
        tensors,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 9
    )


def weights(op, I, H, D=1, seed=0, peepholes=False):
    """W, R, B and, if asked for, P of a recurrent node, with biases that matter."""
    rng = np.random.default_rng(seed)
    rows = GATES[op] * H
    arrays = {
        "W": rng.normal(size=(D, rows, I)),
        "R": rng.normal(size=(D, rows, H)) / H**0.5,
        "B": rng.normal(size=(D, 2 * rows)),
    }
    if peepholes:
        arrays["P"] = rng.normal(size=(D, 3 * H))
    return arrays


def recurrent(op, I=3, H=4, D=1, peepholes=False, extra=(), arrays=None, **attributes):
    """A model of one recurrent node with the outputs Y and Y_h."""
    arrays = weights(op, I, H, D, peepholes=peepholes) | (arrays or {})
    names = ["X", "W", "R", "B", *extra]
    if peepholes:
        names = ["X", "W", "R", "B", *extra, *[""] * (3 - len(extra)), "P"]
    if D == 2:
        attributes.setdefault("direction", "bidirectional")
    node = helper.make_node(op, names, ["Y", "Y_h"], name="layer", hidden_size=H, **attributes)
    outputs = {"Y": ["T", D, "B", H], "Y_h": [D, "B", H]}
    return make([node], arrays, {"X": ["T", "B", I]}, outputs)


def assert_agrees(net, model, X, lengths=None, tolerance=1e-5, **feeds):
    """Compare with ONNX Runtime: X (B, T, I), the graph's first input (T, B, I), outputs Y, Y_h."""
    Y, Y_h = session(model).run(["Y", "Y_h"], {"X": X.swapaxes(0, 1).astype(np.float32), **feeds})
    y = net.predict(X, lengths)
    expected = Y.transpose(2, 0, 1, 3) if net.readout == "all" else Y_h.swapaxes(0, 1)
    np.testing.assert_allclose(y, expected.reshape(y.shape), rtol=0, atol=tolerance)


# ------------------------------------------------------------------------- what exporters write

TORCH = {
    "lstm": "[LSTM(3, 4), Dense(4, 2)] squared_error all",
    "lstm_last_softmax": "[LSTM(3, 4), Dense(4, 2)] cross_entropy last",
    "lstm_largest_exp": "[LSTM(3, 4), Dense(4, 2)] poisson max",
    "lstm_two_ways_last_step": (
        "[LSTM(3, 4, bidirectional=True), Dense(8, 2)] squared_error last_step"
    ),
    "lstm_two_layers_two_ways": (
        "[LSTM(3, 4, bidirectional=True), LSTM(8, 4, bidirectional=True), Dense(8, 2)] "
        "squared_error last"
    ),
    "lstm_learned_states": "[LSTM(3, 4, learn_initial_state=True), Dense(4, 2)] squared_error all",
    "gru_final_log_softmax": "[GRU(3, 4), Dense(4, 2)] cross_entropy last",
    "gru_two_layers_mean_sigmoid": (
        "[GRU(3, 4), GRU(4, 4), Dense(4, 2)] binary_cross_entropy mean"
    ),
    "rnn_relu_two_ways": (
        "[RNN(3, 4, activation='relu', bidirectional=True), Dense(8, 2)] squared_error all"
    ),
    "tokens_lstm_final": "[Embedding(7, 3), LSTM(3, 4), Dense(4, 2)] squared_error last",
    "lstm_packed": "[LSTM(3, 4), Dense(4, 2)] squared_error all",
    "lstm_packed_two_ways": "[LSTM(3, 4, bidirectional=True), Dense(8, 2)] squared_error all",
}
FILES = [
    path.stem
    for path in sorted(GOLDEN.glob("*.onnx"))
    if path.stem.rpartition("_export")[0] != "rnn_written_out"
]


@pytest.mark.parametrize("name", FILES)
def test_what_both_exporters_of_torch_write_becomes_the_network(name):
    path = str(GOLDEN / f"{name}.onnx")
    net = lc.from_onnx(path, verify=True)
    model = re.sub(r"_(script|export)(_free)?$", "", name)
    assert f"{list(net.layers)} {net.loss_name} {net.readout}" == TORCH[model]
    rng = np.random.default_rng(1)
    run = session(path)
    for B, T in ((3, 6), (1, 6), (4, 1), (2, 17)):
        shape = run.get_inputs()[0].shape
        if any(
            isinstance(size, int) and size != own for size, own in zip(shape, (B, T), strict=False)
        ):
            continue
        X = rng.normal(size=(B, T, 3)).astype(np.float32)
        if net.takes_tokens:
            X = rng.integers(7, size=(B, T))
        feeds, lengths = {"x": X}, None
        if "packed" in name:
            lengths = rng.integers(1, T + 1, size=B)
            lengths[B // 2] = T
            feeds["lengths"] = lengths
        (y,) = run.run(None, feeds)
        y = np.exp(y) if "log_softmax" in name else y
        expected = net.predict(X, lengths)
        if lengths is not None:
            is_step = np.arange(T) < lengths[:, None]
            y, expected = y[is_step], expected[is_step]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_every_golden_file_is_expected():
    assert {re.sub(r"_(script|export)(_free)?$", "", name) for name in FILES} == set(TORCH)


def test_layers_that_are_written_out_step_by_step_lead_to_their_weights():
    with pytest.raises(ValueError, match="got one without recurrent nodes, and") as info:
        lc.from_onnx(GOLDEN / "rnn_written_out_export.onnx")
    assert str(info.value).count("; a recurrent layer that is no node of its own has to come") == 1
    assert "lstmcore.from_torch" in str(info.value)
    loop = helper.make_node("Loop", ["", "", "X"], ["y"], body=helper.make_graph([], "b", [], []))
    with pytest.raises(
        ValueError, match=r"and nodes .*\n  Loop 'y' is a loop\noutput= .*; a recurrent layer that"
    ):
        lc.from_onnx(make([loop], {}, {"X": ["B", "T", 3]}, {"y": None}))


def test_one_step_alone_and_one_sequence_alone():
    nodes = [
        helper.make_node("Unsqueeze", ["X", "axis"], ["x"]),
        helper.make_node("LSTM", ["x", *"WRB"], ["Y"], hidden_size=4),
        helper.make_node("Squeeze", ["Y"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    for axis, shape in ((0, ["B", 3]), (1, ["T", 3])):  # (1, B, 3), (T, 1, 3)
        arrays = weights("LSTM", 3, 4) | {"axis": np.array([axis])}
        model = make(nodes, arrays, {"X": shape}, {"y": None})
        net = lc.from_onnx(model, verify=True)
        assert repr(net.layers) == "(LSTM(3, 4),)" and net.readout == "all"
        X = rng.normal(size=(6, 3)).astype(np.float32)
        (y,) = session(model).run(None, {"X": X})
        given = net.predict(X[:, None])[:, 0] if axis == 0 else net.predict(X[None])[0]
        np.testing.assert_allclose(given, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1), (6, 1), (1, 5), (5, 5)])
def test_fixed_sizes_that_are_alike_or_one(sizes):
    T, B = sizes
    own = [
        ("LSTM", ["X", *"WRB"], ["Y"], {"hidden_size": 4}),
        ("Reshape", ["Y", "rows"], ["r"], {}),
        ("Gemm", ["r", "V1", "v"], ["g"], {}),
        ("Reshape", ["g", "back"], ["t"], {}),
        ("Softmax", ["t"], ["y"], {"axis": -1}),
    ]
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in own]
    arrays = {"rows": np.array([T * B, 4]), "back": np.array([T, B, 3]), "V1": V1, "v": v}
    model = make(nodes, weights("LSTM", 3, 4) | arrays, {"X": [T, B, 3]}, {"y": None})
    net = lc.from_onnx(model, verify=True)
    assert repr(list(net.layers)) == "[LSTM(3, 4), Dense(4, 3)]" and net.readout == "all"
    X = np.random.default_rng(0).normal(size=(T, B, 3)).astype(np.float32)
    (y,) = session(model).run(None, {"X": X})
    np.testing.assert_allclose(net.predict(X.swapaxes(0, 1)), y.swapaxes(0, 1), rtol=0, atol=1e-5)


def node_cases():
    """The cases of the package onnx for recurrent nodes, made when their modules are imported."""
    package = "onnx.backend.test.case.node"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in ("rnn", "lstm", "gru"):
            importlib.import_module(f"{package}.{op}")
        cases = importlib.import_module(package)._NodeTestCases
    return [case for case in cases if case.model.graph.node[0].op_type in GATES]


def test_there_are_18_cases_of_recurrent_nodes():
    assert len({case.name for case in node_cases()}) == 18


@pytest.mark.parametrize("case", node_cases(), ids=lambda case: case.name)
def test_the_cases_of_the_package_onnx(case):
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    ((inputs, outputs),) = case.data_sets
    names = [value.name for value in model.graph.input]
    del model.graph.input[1:]
    weights = zip(names[1:], inputs[1:], strict=True)
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in weights)
    node = model.graph.node[0]
    is_batch_first = any(a.name == "layout" and a.i for a in node.attribute)
    X = inputs[0] if is_batch_first else inputs[0].swapaxes(0, 1)
    for value, expected in zip(model.graph.output, outputs, strict=True):
        if value.name == "Y_c":
            # cell states are no outputs of a network, but the layer alone gives them
            (found,) = recurrent_nodes(model)
            given = given_cells(found, X)
            expected = expected if is_batch_first else expected.swapaxes(0, 1)
        else:
            net = lc.from_onnx(model, output=value.name)
            assert net.readout == {"Y": "all", "Y_h": "last"}[value.name]
            given = net.predict(X)
            if not is_batch_first:
                expected = np.moveaxis(expected, -2, 0)
        np.testing.assert_allclose(given, expected.reshape(given.shape), rtol=0, atol=1e-6)


def given_cells(found, X):
    """The final cell states (B, D H) of a recurrent node."""
    cells = []
    directions = {"forward": [""], "reverse": [""], "both": ["forward.", "backward."]}
    for k, prefix in enumerate(directions[found.layer.direction]):
        W, R, b = (found.blocks[f"{prefix}{name}"] for name in "WRb")
        is_reversed = found.layer.direction == "reverse" or k == 1
        _, (_, c), _ = lc.lstm_forward(X[:, ::-1] if is_reversed else X, W, R, b)
        cells.append(c)
    return np.concatenate(cells, axis=1)


# --------------------------------------------------------------------- what recurrent nodes say

VARIANTS = {
    "names of activations in any case": ("LSTM", {"activations": ["SIGMOID", "tanh", "Softsign"]}),
    "alpha and beta go to those that take them": (
        "LSTM",
        {
            "activations": ["HardSigmoid", "Tanh", "LeakyRelu"],
            "activation_alpha": [0.3, 0.05],
            "activation_beta": [0.45],
        },
    ),
    "parameters by default": (
        "GRU",
        {"activations": ["HardSigmoid", "Elu"], "linear_before_reset": 1},
    ),
    "scaled tanh, affine": (
        "LSTM",
        {
            "activations": ["Sigmoid", "ScaledTanh", "Affine"],
            "activation_alpha": [1.5, 0.5],
            "activation_beta": [0.6, 0.1],
        },
    ),
    "two directions": ("LSTM", {"D": 2}),
    "two directions with activations for each": (
        "GRU",
        {"D": 2, "activations": ["Sigmoid", "Softsign"] * 2},
    ),
    "in reverse": ("RNN", {"direction": "reverse"}),
    "relu": ("RNN", {"activations": ["Relu"]}),
    "softplus": ("RNN", {"activations": ["Softplus"]}),
    "thresholded relu": (
        "RNN",
        {"activations": ["ThresholdedRelu"], "activation_alpha": [0.25]},
    ),
    "coupled gates": ("LSTM", {"input_forget": 1}),
    "coupled gates with peepholes": ("LSTM", {"input_forget": 1, "peepholes": True}),
    "peepholes": ("LSTM", {"peepholes": True, "D": 2}),
    "reset before the product": ("GRU", {"linear_before_reset": 0, "D": 2}),
    "reset after the product": ("GRU", {"linear_before_reset": 1, "D": 2}),
    "a clip that clips nothing": ("LSTM", {"clip": float(np.finfo(np.float32).max)}),
}


@pytest.mark.parametrize(("op", "options"), VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("output", ["Y", "Y_h"])
def test_a_recurrent_node_becomes_its_layer(op, options, output):
    model = recurrent(op, **options)
    net = lc.from_onnx(model, output=output, verify=True)
    assert len(net.layers) == 1 and type(net.layers[0]).__name__ == op
    X = np.random.default_rng(1).normal(size=(3, 7, 3))
    assert_agrees(net, model, X)


def test_the_parameters_are_those_of_the_file_in_another_order():
    arrays = weights("LSTM", 3, 4, peepholes=True)
    net = lc.from_onnx(recurrent("LSTM", peepholes=True), dtype="float64")
    i, o, f, g = np.split(arrays["W"][0].astype(np.float32), 4)
    assert (net.blocks["0.W"] == np.concatenate([i, f, g, o])).all()
    i, o, f = np.split(arrays["P"][0].astype(np.float32), 3)
    assert (net.blocks["0.p"] == np.stack([i, f, o])).all()
    b = arrays["B"][0].astype(np.float32).astype(np.float64)
    i, o, f, g = np.split(b[:16] + b[16:], 4)
    assert (net.blocks["0.b"] == np.concatenate([i, f, g, o])).all()


def test_a_number_of_float32_is_the_decimal_that_was_meant():
    activations = {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [0.2]}
    net = lc.from_onnx(recurrent("GRU", **activations))
    assert net.layers[0].options["gate_activation"] == ("hard_sigmoid", 0.2)


def test_initial_states_become_parameters():
    rng = np.random.default_rng(2)
    h = np.repeat(rng.normal(size=(2, 1, 4)), 3, axis=1)
    model = recurrent("LSTM", D=2, extra=["", "h"], arrays={"h": h})
    net = lc.from_onnx(model, verify=False)
    assert net.layers[0].learns_states
    assert not net.blocks["0.forward.c0"].any()
    assert_agrees(net, model, rng.normal(size=(3, 5, 3)))


def test_initial_states_of_zero_are_none():
    model = recurrent("GRU", extra=["", "h"], arrays={"h": np.zeros((1, 2, 4))})
    assert not lc.from_onnx(model, verify=False).layers[0].learns_states


def test_initial_states_that_are_inputs_are_those_of_calls():
    arrays = weights("GRU", 3, 4)
    node = helper.make_node("GRU", ["X", "W", "R", "B", "", "h"], ["Y", "h_new"], hidden_size=4)
    model = make(
        [node, helper.make_node("Squeeze", ["Y", "one"], ["y"])],
        arrays | {"one": np.array([1])},
        {"X": ["T", "B", 3], "h": [1, "B", 4]},
        {"y": ["T", "B", 4], "h_new": [1, "B", 4]},
    )
    net = lc.from_onnx(model, verify=True)
    rng = np.random.default_rng(3)
    X, h = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 4))
    feeds = {"X": X.swapaxes(0, 1).astype(np.float32), "h": h[None].astype(np.float32)}
    y, h_new = session(model).run(None, feeds)
    given, state = net.predict(X, state=((h,),), return_state=True)
    np.testing.assert_allclose(given, y.swapaxes(0, 1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(state[0][0], h_new[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("D", [1, 2])
def test_a_layout_of_sequences_first(op, D):
    arrays = weights(op, 3, 4, D)
    h = np.repeat(np.random.default_rng(0).normal(size=(1, D, 4)), 2, axis=0)
    attributes = {"direction": "bidirectional"} if D == 2 else {}
    model = make(
        [
            helper.make_node(
                op, ["X", *"WRB", "", "h"], ["Y", "Y_h"], hidden_size=4, layout=1, **attributes
            )
        ],
        arrays | {"h": h},
        {"X": ["B", "T", 3]},
        {"Y": ["B", "T", D, 4], "Y_h": ["B", D, 4]},
    )
    same = recurrent(op, D=D, extra=["", "h"], arrays={"h": h.swapaxes(0, 1)})
    for output in ("Y", "Y_h"):
        net = lc.from_onnx(model, output=output)
        expected = lc.from_onnx(same, output=output, verify=False)
        assert repr(net) == repr(expected)
        assert (net.params == expected.params).all()


def test_weights_of_float64_give_a_network_of_float64():
    model = recurrent("LSTM")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    assert lc.from_onnx(model).dtype == np.float64
    assert lc.from_onnx(model, dtype="float32").dtype == np.float32
    with pytest.raises(ValueError, match="verify: expected a graph that onnxruntime runs"):
        lc.from_onnx(model, verify=True)


def test_lengths_are_those_of_predict():
    model = recurrent("LSTM", D=2, extra=["int32_n"])
    model.graph.input.append(helper.make_tensor_value_info("int32_n", TensorProto.INT32, ["B"]))
    X, n = np.random.default_rng(1).normal(size=(4, 9, 3)), np.array([9, 1, 4, 8])
    for output in ("Y", "Y_h"):
        net = lc.from_onnx(model, output=output, verify=True)
        assert_agrees(net, model, X, n, int32_n=n.astype(np.int32))


def test_the_reset_gate_may_be_read_in_the_other_way():
    said_wrong = recurrent("GRU")  # as exported without linear_before_reset=1
    assert not lc.from_onnx(said_wrong).layers[0].options["reset_after"]
    net = lc.from_onnx(said_wrong, linear_before_reset=True, verify=True)
    assert net.layers[0].options["reset_after"]
    meant = recurrent("GRU", linear_before_reset=1)
    assert_agrees(net, meant, np.random.default_rng(1).normal(size=(3, 7, 3)))
    (node,) = recurrent_nodes(said_wrong, linear_before_reset=True)
    assert node.layer.options["reset_after"]


REFUSED_NODES = {
    "clips what its activations take, at 3": ("LSTM", {"clip": 3.0}),
    "has the activation 'Swish', which is not known": ("RNN", {"activations": ["Swish"]}),
    "expected 3 activations, got 2": ("LSTM", {"activations": ["Sigmoid", "Tanh"]}),
    "has other activations backward": ("RNN", {"D": 2, "activations": ["Tanh", "Relu"]}),
    "has the direction 'sideways'": ("RNN", {"direction": "sideways"}),
    "'scaled_tanh' has no default parameters": ("RNN", {"activations": ["ScaledTanh"]}),
    "has the attribute 'zoneout'": ("GRU", {"zoneout": 0.1}),
}


@pytest.mark.parametrize("why", REFUSED_NODES)
def test_what_no_layer_does_is_refused_by_name(why):
    op, options = REFUSED_NODES[why]
    model = recurrent(op, **options)
    for read in (lc.from_onnx, recurrent_nodes):
        with pytest.raises(ValueError, match=re.escape(why)) as info:
            read(model)
        assert f"{op} 'layer'" in str(info.value)


def test_initial_states_of_each_sequence_are_refused():
    h = np.random.default_rng(0).normal(size=(1, 3, 4))
    model = recurrent("GRU", extra=["", "h"], arrays={"h": h})
    with pytest.raises(ValueError, match="other initial states for each sequence"):
        lc.from_onnx(model)


# ------------------------------------------------------------------- what may stand around them


def around(before=(), after=(), *, op="LSTM", D=1, arrays=None, shape=("B", "T", 3), **options):
    """A model with nodes in front of a recurrent node that reads x, and behind it; output y."""
    own = weights(op, options.pop("I", 3), 4, D, peepholes=False) | (arrays or {})
    direction = {"direction": "bidirectional"} if D == 2 else {}
    node = helper.make_node(
        op, ["x", *"WRB"], ["Y", "Y_h"], name="layer", hidden_size=4, **direction, **options
    )
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in before]
    nodes.append(node)
    nodes += [helper.make_node(name, i, o, **a) for name, i, o, a in after]
    return make(nodes, own, {"X": list(shape)}, {"y": None})


TRANSPOSED = [("Transpose", ["X"], ["x"], {"perm": [1, 0, 2]})]
SIDE_BY_SIDE = [
    ("Transpose", ["Y"], ["Yt"], {"perm": [2, 0, 1, 3]}),
    ("Reshape", ["Yt", "flat"], ["z"], {}),
]
HEAD = [("MatMul", ["z", "V"], ["zV"], {}), ("Add", ["zV", "v"], ["y"], {})]
SMALL = np.random.default_rng(5)
V, V1 = SMALL.normal(size=(8, 3)), SMALL.normal(size=(4, 3))
v = SMALL.normal(size=3)
INTS = {
    "flat": np.array([0, 0, -1]),
    "i0": np.array([0]),
    "i1": np.array([1]),
    "i2": np.array([2]),
    "m1": np.array([-1]),
    "big": np.array([2**62]),
    "i4": np.array([4]),
}
FLOATS = {"V": V, "V1": V1, "v": v, "three": np.float32(3), "half": np.float32(0.5)}

GRAPHS = {
    "numbers scaled in front, as (x - mean) / std": (
        [
            ("Sub", ["X", "shift"], ["a"], {}),
            ("Div", ["a", "scale"], ["b"], {}),
            ("Transpose", ["b"], ["x"], {"perm": [1, 0, 2]}),
        ],
        [("Squeeze", ["Y", "i1"], ["y"], {})],
        {"arrays": {"shift": [1.0, -2.0, 0.5], "scale": [2.0, 4.0, 0.5]}},
        "[LSTM(3, 4)] squared_error all",
    ),
    "features in another order, some left out": (
        [
            ("Gather", ["X", "picked"], ["a"], {"axis": 2}),
            ("Transpose", ["a"], ["x"], {"perm": [1, 0, 2]}),
        ],
        [("Squeeze", ["Y", "i1"], ["y"], {})],
        {"arrays": {"picked": np.array([4, 0, 2])}, "shape": ("B", "T", 5)},
        "[LSTM(5, 4)] squared_error all",
    ),
    "features in front of the steps": (
        [("Transpose", ["X"], ["x"], {"perm": [2, 0, 1]})],
        [("Squeeze", ["Y_h", "i0"], ["y"], {})],
        {"shape": ("B", 3, "T")},
        "[LSTM(3, 4)] squared_error last",
    ),
    "a number of features that is not said": (
        TRANSPOSED,
        [("Squeeze", ["Y_h", "i0"], ["y"], {})],
        {"shape": ("B", "T", "I")},
        "[LSTM(3, 4)] squared_error last",
    ),
    "one number a step": (
        [
            ("Unsqueeze", ["X", "i2"], ["a"], {}),
            ("Transpose", ["a"], ["x"], {"perm": [1, 0, 2]}),
        ],
        [("Squeeze", ["Y_h", "i0"], ["y"], {})],
        {"shape": ("B", "T"), "I": 1},
        "[LSTM(1, 4)] squared_error last",
    ),
    "directions added": (
        TRANSPOSED,
        [("ReduceSum", ["Y", "i1"], ["z"], {"keepdims": 0}), ("MatMul", ["z", "V1"], ["y"], {})],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3, bias=False)] squared_error all",
    ),
    "the mean of the directions, by Split and Add": (
        TRANSPOSED,
        [
            ("Split", ["Y"], ["f", "b"], {"axis": 1}),
            ("Add", ["f", "b"], ["s"], {}),
            ("Mul", ["s", "half"], ["m"], {}),
            ("Squeeze", ["m", "i1"], ["z"], {}),
            ("MatMul", ["z", "V1"], ["zV"], {}),
            ("Add", ["v", "zV"], ["y"], {}),
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3)] squared_error all",
    ),
    "both final states, read off Y: the last step forward, the first backward": (
        TRANSPOSED,
        [
            *SIDE_BY_SIDE,
            ("Slice", ["z", "i0", "i4", "i2"], ["f"], {}),
            ("Slice", ["z", "i4", "big", "i2"], ["b"], {}),
            ("Gather", ["f", "m1"], ["fl"], {"axis": 1}),
            ("Gather", ["b", "i0"], ["bf"], {"axis": 1}),
            ("Concat", ["fl", "bf"], ["c"], {"axis": -1}),
            ("MatMul", ["c", "V"], ["y"], {}),
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3, bias=False)] squared_error last",
    ),
    "directions in the other order": (
        TRANSPOSED,
        [
            ("Split", ["Y_h"], ["f", "b"], {"axis": 0}),
            ("Concat", ["b", "f"], ["c"], {"axis": -1}),
            ("Squeeze", ["c", "i0"], ["z"], {}),
            *HEAD,
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3)] squared_error last",
    ),
    "all steps in one axis with the sequences, and back": (
        TRANSPOSED,
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Reshape", ["s", "rows"], ["r"], {}),
            ("Gemm", ["r", "V1", "v"], ["g"], {}),
            ("Relu", ["g"], ["gr"], {}),
            ("Shape", ["s"], ["shape"], {"start": 0, "end": 2}),
            ("Concat", ["shape", "m1"], ["back"], {"axis": 0}),
            ("Reshape", ["gr", "back"], ["y"], {}),
        ],
        {"arrays": {"rows": np.array([-1, 4])}},
        "[LSTM(3, 4), Dense(4, 3, activation='relu')] squared_error all",
    ),
    "Dense at every step, then the last one": (
        TRANSPOSED,
        [
            *SIDE_BY_SIDE,
            *HEAD[:1],
            ("Add", ["zV", "v"], ["w"], {}),
            ("Tanh", ["w"], ["t"], {}),
            ("Slice", ["t", "m1", "big", "i1"], ["l"], {}),
            ("Squeeze", ["l", "i1"], ["y"], {}),
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3, activation='tanh')] squared_error last_step",
    ),
    "the mean of what Dense gives": (
        TRANSPOSED,
        [
            *SIDE_BY_SIDE,
            *HEAD[:1],
            ("Add", ["zV", "v"], ["w"], {}),
            ("ReduceMean", ["w"], ["y"], {"axes": [1], "keepdims": 0}),
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3)] squared_error mean",
    ),
    "a sum over time divided by the number of steps": (
        TRANSPOSED,
        [
            *SIDE_BY_SIDE,
            ("ReduceSum", ["z", "i1"], ["s"], {"keepdims": 0}),
            ("Shape", ["X"], ["all"], {}),
            ("Gather", ["all", "i1"], ["n"], {"axis": 0}),
            ("Cast", ["n"], ["nf"], {"to": TensorProto.FLOAT}),
            ("Div", ["s", "nf"], ["d"], {}),
            ("Softmax", ["d"], ["y"], {"axis": 1}),
        ],
        {},
        "[LSTM(3, 4)] cross_entropy mean",
    ),
    "the mean as a pooling over channels": (
        TRANSPOSED,
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Transpose", ["s"], ["channels"], {"perm": [1, 2, 0]}),
            ("GlobalAveragePool", ["channels"], ["p"], {}),
            ("Flatten", ["p"], ["f"], {}),
            ("Gemm", ["f", "V1", "v"], ["g"], {"alpha": 2.0, "beta": 0.5}),
            ("Sigmoid", ["g"], ["y"], {}),
        ],
        {},
        "[LSTM(3, 4), Dense(4, 3)] binary_cross_entropy mean",
    ),
    "reversed in time around a layer": (
        [
            ("Transpose", ["X"], ["a"], {"perm": [1, 0, 2]}),
            ("Slice", ["a", "m1", "least", "i0", "m1"], ["x"], {}),
        ],
        [
            ("Slice", ["Y", "m1", "least", "i0", "m1"], ["b"], {}),
            ("Squeeze", ["b", "i1"], ["y"], {}),
        ],
        {"arrays": {"least": np.array([-(2**63) + 1])}},
        "[LSTM(3, 4, direction='reverse')] squared_error all",
    ),
    "activations of layers and of units": (
        TRANSPOSED,
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("LeakyRelu", ["s"], ["a"], {"alpha": 0.2}),
            ("MatMul", ["a", "V1"], ["b"], {}),
            ("Clip", ["b", "zero"], ["c"], {}),
            ("Clip", ["c", "zero", "six"], ["y"], {}),
        ],
        {"arrays": {"zero": np.float32(0), "six": np.float32(6)}},
        "[LSTM(3, 4), Dense(4, 4, activation=('leaky_relu', 0.2), bias=False), "
        "Dense(4, 3, activation='relu', bias=False), "
        "Dense(3, 3, activation=('hard_sigmoid', 0.16666667, 0.0), bias=False), "
        "Dense(3, 3, bias=False)] squared_error all",
    ),
    **{
        f"clipped to {low} ... {high}": (
            TRANSPOSED,
            [
                ("Squeeze", ["Y_h", "i0"], ["s"], {}),
                ("MatMul", ["s", "V1"], ["m"], {}),
                ("Clip", ["m", "low" if low is not None else "", "high"], ["y"], {})
                if high is not None
                else ("Clip", ["m", "low"], ["y"], {}),
            ],
            {"arrays": {"low": np.float32(low or 0), "high": np.float32(high or 0)}},
            f"[LSTM(3, 4), {layers}] squared_error last",
        )
        for low, high, layers in (
            (
                -1,
                1,
                "Dense(4, 3, activation=('hard_sigmoid', 0.5, 0.5), bias=False), Dense(3, 3)",
            ),
            (-0.25, None, "Dense(4, 3, activation='relu'), Dense(3, 3)"),
            (None, 0.25, "Dense(4, 3, activation='relu'), Dense(3, 3)"),
        )
    },
    "features taken by GatherND": (
        [
            ("Transpose", ["X"], ["a"], {"perm": [2, 1, 0]}),
            ("GatherND", ["a", "nd"], ["b"], {}),
            ("Transpose", ["b"], ["x"], {"perm": [1, 2, 0]}),
        ],
        [("Squeeze", ["Y_h", "i0"], ["y"], {})],
        {"arrays": {"nd": np.array([[2], [0], [1]])}},
        "[LSTM(3, 4)] squared_error last",
    ),
    "a maximum over a window of all steps": (
        TRANSPOSED,
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Transpose", ["s"], ["channels"], {"perm": [1, 2, 0]}),
            ("MaxPool", ["channels"], ["p"], {"kernel_shape": [8], "strides": [8]}),
            ("Squeeze", ["p", "i2"], ["y"], {}),
        ],
        {"shape": (3, 8, 3)},
        "[LSTM(3, 4)] squared_error max",
    ),
    "normalized by the statistics of training": (
        TRANSPOSED,
        [
            ("Squeeze", ["Y_h", "i0"], ["s"], {}),
            ("MatMul", ["s", "V1"], ["m"], {}),
            ("BatchNormalization", ["m", "v", "v", "v", "variance"], ["y"], {}),
        ],
        {"arrays": {"variance": [1.0, 2.0, 3.0]}},
        "[LSTM(3, 4), Dense(4, 3)] squared_error last",
    ),
    "what OnnxMLTools puts behind a layer of Keras": (
        TRANSPOSED,
        [
            ("Transpose", ["Y"], ["t"], {"perm": [2, 1, 0, 3]}),
            ("Squeeze", ["t", "i1"], ["z"], {}),
            ("MatMul", ["z", "V1"], ["zV"], {}),
            ("Add", ["zV", "v"], ["y"], {}),
        ],
        {"activations": ["Sigmoid", "Tanh", "Tanh"]},
        "[LSTM(3, 4), Dense(4, 3)] squared_error all",
    ),
    "directions side by side, as tf2onnx joins them": (
        TRANSPOSED,
        [
            ("Split", ["Y"], ["f", "b"], {"axis": 1}),
            ("Squeeze", ["f", "i1"], ["fs"], {}),
            ("Squeeze", ["b", "i1"], ["bs"], {}),
            ("Concat", ["fs", "bs"], ["c"], {"axis": 2}),
            ("Transpose", ["c"], ["z"], {"perm": [1, 0, 2]}),
            *HEAD,
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3)] squared_error all",
    ),
    "Exp of LogSoftmax": (
        TRANSPOSED,
        [*SIDE_BY_SIDE, *HEAD[:1], ("LogSoftmax", ["zV"], ["l"], {}), ("Exp", ["l"], ["y"], {})],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 3, bias=False)] cross_entropy all",
    ),
    "a part of what Dense gives": (
        TRANSPOSED,
        [
            *SIDE_BY_SIDE,
            *HEAD[:1],
            ("Gather", ["zV", "i2"], ["g"], {"axis": -1}),
            ("Sigmoid", ["g"], ["y"], {}),
        ],
        {"D": 2},
        "[LSTM(3, 4, bidirectional=True), Dense(8, 1, bias=False)] binary_cross_entropy all",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_axes_are_followed_through(name):
    before, after, options, expected = GRAPHS[name]
    options = {**options, "arrays": {**INTS, **FLOATS, **options.get("arrays", {})}}
    model = around(before, after, **options)
    net = lc.from_onnx(model, verify=True)
    assert f"{list(net.layers)} {net.loss_name} {net.readout}" == expected
    shape = options.get("shape", ("B", "T", 3))
    sizes = {"B": 3, "T": 8, "I": 3}
    X = np.random.default_rng(7).normal(size=[sizes.get(size, size) for size in shape])
    X = X.astype(np.float32)
    (y,) = session(model).run(None, {"X": X})
    if len(shape) == 2:
        X = X[:, :, None]
    if shape[1] == 3:
        X = X.swapaxes(1, 2)
    if net.readout == "all" and y.shape[:2] == (8, 3):
        y = y.swapaxes(0, 1)
    given = net.predict(X)
    np.testing.assert_allclose(given, y.reshape(given.shape), rtol=0, atol=1e-5)


def test_one_hot_vectors_are_tokens():
    before = [
        ("OneHot", ["int64_X", "depth", "values"], ["a"], {"axis": -1}),
        ("Transpose", ["a"], ["x"], {"perm": [1, 0, 2]}),
    ]
    arrays = {"depth": np.array([3]), "values": np.array([0.0, 1.0])} | INTS
    model = around(before, [("Squeeze", ["Y_h", "i0"], ["y"], {})], arrays=arrays)
    value = helper.make_tensor_value_info("int64_X", TensorProto.INT64, ["B", "T"])
    model.graph.input[0].CopyFrom(value)
    net = lc.from_onnx(model, verify=True)
    assert repr(net.layers[0]) == "LSTM(3, 4, tokens=True)"
    X = np.random.default_rng(7).integers(3, size=(4, 9))
    (y,) = session(model).run(None, {"int64_X": X})
    np.testing.assert_allclose(net.predict(X), y, rtol=0, atol=1e-5)


def test_tokens_may_come_as_real_numbers():  # as to an Embedding of Keras
    before = [
        ("Cast", ["X"], ["i"], {"to": TensorProto.INT32}),
        ("Gather", ["table", "i"], ["a"], {}),
        ("Transpose", ["a"], ["x"], {"perm": [1, 0, 2]}),
    ]
    arrays = {"table": np.random.default_rng(0).normal(size=(7, 3))} | INTS
    after = [("Squeeze", ["Y_h", "i0"], ["y"], {})]
    model = around(before, after, arrays=arrays, shape=("B", "T"))
    net = lc.from_onnx(model, verify=True)
    assert repr(list(net.layers)) == "[Embedding(7, 3), LSTM(3, 4)]"
    X = np.random.default_rng(7).integers(7, size=(4, 9))
    (y,) = session(model).run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(net.predict(X), y, rtol=0, atol=1e-5)


def test_whole_numbers_may_be_features():
    before = [
        ("Cast", ["int64_X"], ["a"], {"to": TensorProto.FLOAT}),
        ("Transpose", ["a"], ["x"], {"perm": [1, 0, 2]}),
    ]
    model = around(before, [("Squeeze", ["Y_h", "i0"], ["y"], {})], arrays=INTS)
    value = helper.make_tensor_value_info("int64_X", TensorProto.INT64, ["B", "T", 3])
    model.graph.input[0].CopyFrom(value)
    net = lc.from_onnx(model, verify=True)
    assert repr(list(net.layers)) == "[LSTM(3, 4)]" and not net.takes_tokens


def test_operators_of_an_old_set():
    arrays = weights("LSTM", 3, 4) | {"V1": V1, "rows": np.array([1]), "H": np.array([4])}
    own = [
        ("Transpose", ["X"], ["x"], {"perm": [1, 0, 2]}),
        ("Shape", ["x"], ["shape"], {}),
        ("Slice", ["shape"], ["n"], {"starts": [1], "ends": [2]}),
        ("Concat", ["rows", "n", "H"], ["hc"], {"axis": 0}),
        ("ConstantOfShape", ["hc"], ["h"], {}),
        ("LSTM", ["x", *"WRB", "", "h", "h"], ["Y"], {"hidden_size": 4}),
        ("Squeeze", ["Y"], ["s"], {"axes": [1]}),
        ("Slice", ["s"], ["l"], {"starts": [-1], "ends": [2**63 - 1], "axes": [0]}),
        ("Squeeze", ["l"], ["z"], {"axes": [0]}),
        ("Gemm", ["z", "V1", "v"], ["g"], {}),
        ("Clip", ["g"], ["y"], {"min": 0.0}),
    ]
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in own]
    model = make(nodes, arrays | {"v": v}, {"X": ["B", "T", 3]}, {"y": None}, opset=9)
    net = lc.from_onnx(model, verify=True)
    assert repr(list(net.layers)) == "[LSTM(3, 4), Dense(4, 3, activation='relu')]"
    assert net.readout == "last"


def test_loss_and_readout_may_be_chosen():
    model = around(TRANSPOSED, [*SIDE_BY_SIDE, *HEAD], D=2, arrays={**INTS, **FLOATS})
    net = lc.from_onnx(model, loss="cross_entropy", readout="mean")
    assert (net.loss_name, net.readout, net.output_units) == ("cross_entropy", "mean", "softmax")
    assert (net.params == lc.from_onnx(model).params).all()
    with_end = around(
        TRANSPOSED, [*SIDE_BY_SIDE, ("Softmax", ["z"], ["y"], {"axis": -1})], arrays=INTS
    )
    with pytest.raises(ValueError, match="loss: expected one with softmax outputs"):
        lc.from_onnx(with_end, loss="squared_error")
    with pytest.raises(ValueError, match="readout: expected one of all"):
        lc.from_onnx(model, readout="first")


def test_any_value_may_be_the_output():
    after = [
        *SIDE_BY_SIDE,
        *HEAD[:1],
        ("Add", ["zV", "v"], ["logits"], {}),
        ("ArgMax", ["logits"], ["y"], {"axis": -1}),
    ]
    model = around(TRANSPOSED, after, D=2, arrays={**INTS, **FLOATS})
    with pytest.raises(ValueError, match=r"ArgMax 'y' gives the index.*output= of from_onnx"):
        lc.from_onnx(model)
    net = lc.from_onnx(model, output="logits", verify=True)
    assert net.output_size == 3
    with pytest.raises(ValueError, match="output: expected a value that a node gives, such as y"):
        lc.from_onnx(model, output="logit")


def test_of_several_outputs_one_is_chosen():
    after = [("Squeeze", ["Y", "i1"], ["y"], {}), ("Tanh", ["y"], ["second"], {})]
    model = around(TRANSPOSED, after, arrays=INTS)
    model.graph.output.append(helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, None))
    assert lc.from_onnx(model).readout == "all"  # states are none of the outputs to choose from
    model.graph.output.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match="output: expected one of y, second"):
        lc.from_onnx(model)
    assert lc.from_onnx(model, output="second").layers[-1].options["activation"] == "tanh"


REFUSED = {
    "time flattened into features": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Transpose", ["s"], ["t"], {"perm": [1, 0, 2]}),
            ("Reshape", ["t", "rest"], ["y"], {}),
        ],
        "puts steps or sequences and features into one axis",
    ),
    "a shape of one number of steps": (
        [("Squeeze", ["Y", "i1"], ["s"], {}), ("Reshape", ["s", "fixed"], ["y"], {})],
        "it may fit one number of steps or sequences only",
    ),
    "an attention": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Transpose", ["s"], ["t"], {"perm": [0, 2, 1]}),
            ("MatMul", ["s", "t"], ["y"], {}),
        ],
        "MatMul 'y' multiplies outputs by outputs",
    ),
    "a sum over time": (
        [("ReduceSum", ["Y", "i0"], ["s"], {"keepdims": 0}), ("Tanh", ["s"], ["y"], {})],
        "a sum over time, while a network reads the mean",
    ),
    "the mean of activations": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("MatMul", ["s", "V1"], ["m"], {}),
            ("Relu", ["m"], ["r"], {}),
            ("ReduceMean", ["r"], ["y"], {"axes": [0], "keepdims": 0}),
        ],
        "takes the mean over time of Relu 'r', while a network reads out its last recurrent layer",
    ),
    "a residual connection": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("MatMul", ["s", "V1"], ["m"], {}),
            ("Add", ["m", "x"], ["y"], {}),
        ],
        "Add 'y' joins",
    ),
    "numbers that depend on the step": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Shape", ["s"], ["n"], {}),
            ("Cast", ["n"], ["f"], {"to": 1}),
            ("Gather", ["f", "i0"], ["g"], {}),
            ("Mul", ["s", "g"], ["y"], {}),
        ],
        "depend on the number of steps or sequences",
    ),
    "a softmax over time": (
        [("Squeeze", ["Y", "i1"], ["s"], {}), ("Softmax", ["s"], ["y"], {"axis": 0})],
        "a softmax over something else than all units of a step",
    ),
    "a softmax inside": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Softmax", ["s"], ["t"], {"axis": -1}),
            ("MatMul", ["t", "V1"], ["y"], {}),
        ],
        "reads Softmax 't', whose softmax a network has at its end only",
    ),
    "the first step": (
        [("Squeeze", ["Y", "i1"], ["s"], {}), ("Gather", ["s", "i0"], ["y"], {"axis": 0})],
        "takes the first step, which no readout does",
    ),
    "a step in the middle": (
        [("Squeeze", ["Y", "i1"], ["s"], {}), ("Gather", ["s", "i2"], ["y"], {"axis": 0})],
        "takes step 2 of the time axis",
    ),
    "the mean over the batch": (
        [("Squeeze", ["Y", "i1"], ["s"], {}), ("ReduceMean", ["s"], ["y"], {"axes": [1]})],
        "reads out the batch axis",
    ),
    "a maximum over windows": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Transpose", ["s"], ["c"], {"perm": [1, 2, 0]}),
            ("MaxPool", ["c"], ["y"], {"kernel_shape": [2]}),
        ],
        "pools over windows of some steps",
    ),
    "gates of its own": (
        [
            ("Squeeze", ["Y", "i1"], ["s"], {}),
            ("Sigmoid", ["s"], ["t"], {}),
            ("Mul", ["s", "t"], ["y"], {}),
        ],
        "Mul 'y' multiplies outputs by outputs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_network_does_is_refused_by_name(name):
    after, why = REFUSED[name]
    arrays = {**INTS, **FLOATS, "rest": np.array([0, -1]), "fixed": np.array([5, -1, 4])}
    with pytest.raises(ValueError, match=re.escape(why)):
        lc.from_onnx(around(TRANSPOSED, after, arrays=arrays))


def test_one_error_names_all_nodes_and_the_way_out():
    after = [
        ("Squeeze", ["Y", "i1"], ["s"], {}),
        ("LayerNormalization", ["s", "v4"], ["n"], {"name": "norm"}),
        ("Erf", ["n"], ["e"], {"name": "gelu"}),
        ("MatMul", ["e", "V1"], ["m"], {}),
        ("Einsum", ["m", "m"], ["y"], {"name": "last", "equation": "tbk,tbk->tb"}),
    ]
    model = around(TRANSPOSED, after, arrays={**INTS, **FLOATS, "v4": np.ones(4)}, clip=1.0)
    with pytest.raises(ValueError) as info:
        lc.from_onnx(model)
    text = str(info.value)
    for name in ("LSTM 'layer'", "LayerNormalization 'norm'", "Erf 'gelu'", "Einsum 'last'"):
        assert name in text
    assert "interop.onnx.recurrent_nodes" in text
    assert "MatMul" not in text  # which a network has


def test_nodes_that_the_output_does_not_need_do_not_matter():
    after = [("Squeeze", ["Y", "i1"], ["y"], {}), ("Erf", ["y"], ["unused"], {})]
    assert lc.from_onnx(around(TRANSPOSED, after, arrays=INTS), verify=True).readout == "all"


def test_a_padded_array_has_no_last_step():
    model = recurrent("LSTM", extra=["int32_n"])
    model.graph.input.append(helper.make_tensor_value_info("int32_n", TensorProto.INT32, ["B"]))
    model.graph.node.append(helper.make_node("Gather", ["Y", "last"], ["y"], axis=0))
    model.graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    with pytest.raises(ValueError, match="the last step of the padded array"):
        lc.from_onnx(model, output="y")


def masked(after, D=1, told=False):
    """A model whose Y (T, B, 4) or (T, B, 8) z is read with lengths that the layer may not know."""
    nodes = [
        ("Transpose", ["X"], ["x"], {"perm": [1, 0, 2]}),
        ("Cast", ["int64_n"], ["n32"], {"to": TensorProto.INT32}),
        (
            "LSTM",
            ["x", *"WRB", "n32" if told else ""],
            ["Y", "Y_h"],
            {"hidden_size": 4, "direction": "bidirectional" if D == 2 else "forward"},
        ),
        ("Transpose", ["Y"], ["Yt"], {"perm": [2, 0, 1, 3]}),
        ("Reshape", ["Yt", "flat"], ["z"], {}),
        ("Shape", ["X"], ["s"], {"start": 1, "end": 2}),
        ("Squeeze", ["s"], ["T"], {}),
        ("Range", ["zero", "T", "one"], ["t"], {}),
        ("Unsqueeze", ["int64_n", "i1"], ["n"], {}),
        ("Less", ["t", "n"], ["m"], {}),
        ("Unsqueeze", ["m", "i2"], ["mask"], {}),
        ("Cast", ["mask"], ["mask01"], {"to": TensorProto.FLOAT}),
        ("Cast", ["n"], ["count"], {"to": TensorProto.FLOAT}),
        *after,
    ]
    arrays = weights("LSTM", 3, 4, D) | INTS | {"zero": np.array(0), "one": np.array(1)}
    arrays |= {"low": np.float32(-np.inf), "nothing": np.float32(0)}
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in nodes]
    return make(nodes, arrays, {"X": ["B", "T", 3], "int64_n": ["B"]}, {"y": None})


SUM = ("ReduceSum", ["a", "i1"], ["total"], {"keepdims": 0})
MASKED = {
    "the mean, by a product with the mask": (
        [("Mul", ["z", "mask01"], ["a"], {}), SUM, ("Div", ["total", "count"], ["y"], {})],
        "mean",
    ),
    "the mean, by Where": (
        [
            ("Where", ["mask", "z", "nothing"], ["a"], {}),
            SUM,
            ("Div", ["total", "count"], ["y"], {}),
        ],
        "mean",
    ),
    "the maximum": (
        [
            ("Where", ["mask", "z", "low"], ["a"], {}),
            ("ReduceMax", ["a"], ["y"], {"axes": [1], "keepdims": 0}),
        ],
        "max",
    ),
    "the last step of each sequence": (
        [("Sub", ["n", "i1"], ["last"], {}), ("GatherND", ["z", "last"], ["y"], {"batch_dims": 1})],
        "last",
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_padding_that_is_masked_behind_a_layer(name):
    after, readout = MASKED[name]
    X, n = np.random.default_rng(3).normal(size=(4, 6, 3)), np.array([6, 1, 3, 5])
    for D, told in ((1, False), (1, True), (2, True)):
        model = masked(after, D, told)
        net = lc.from_onnx(model, verify=True)
        assert net.readout == (f"{readout}_step" if (readout, D) == ("last", 2) else readout)
        (y,) = session(model).run(None, {"X": X.astype(np.float32), "int64_n": n})
        np.testing.assert_allclose(net.predict(X, n), y, rtol=0, atol=1e-5)
    # the backward half has read the padding
    with pytest.raises(ValueError, match="which reads in reverse, does not"):
        lc.from_onnx(masked(after, 2))


def test_a_mean_counts_the_steps_that_are_there_or_all():
    reads_all = [("Identity", ["z"], ["a"], {}), SUM, ("Div", ["total", "count"], ["y"], {})]
    with pytest.raises(ValueError, match="divides by the lengths what is no sum over"):
        lc.from_onnx(masked(reads_all))
    counts_all = [
        ("Mul", ["z", "mask01"], ["a"], {}),
        SUM,
        ("Cast", ["s"], ["steps"], {"to": TensorProto.FLOAT}),
        ("Div", ["total", "steps"], ["y"], {}),
    ]
    with pytest.raises(ValueError, match="depend on the number of steps"):
        lc.from_onnx(masked(counts_all))


@pytest.mark.parametrize("readout, op, place", [("mean", "Div", 1), ("max", "Where", 0)])
def test_lengths_that_meet_other_axes_are_refused(readout, op, place):
    net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], readout=readout, seed=0)
    model = onnx.load_from_string(net.to_onnx(lengths=True))
    nodes = model.graph.node
    k = max(k for k, node in enumerate(nodes) if node.op_type == op)
    nodes.insert(k, helper.make_node("Unsqueeze", [nodes[k].input[place], "int64.1"], ["more"]))
    nodes[k + 1].input[place] = "more"  # (B, 1, 1), which makes (B, B, H) of (B, H)
    with pytest.raises(ValueError, match="by something else than"):
        lc.from_onnx(model, verify=False)


BACKWARD = {
    "a layer that reads in reverse": [("backward", "x", "Yb", "reverse")],
    "steps reversed before and after": [
        ("Slice", ["x", "m1", "low", "i0", "m1"], ["xr"], {}),
        ("backward", "xr", "Yr", "forward"),
        ("Slice", ["Yr", "m1", "low", "i0", "m1"], ["Yb"], {}),
    ],
    "sequences reversed before and after": [  # as tf2onnx has it
        ("Shape", ["X"], ["s"], {}),
        ("Slice", ["s", "i1", "i2"], ["n_steps"], {}),
        ("Slice", ["s", "i0", "i1"], ["n_sequences"], {}),
        ("Expand", ["n_steps", "n_sequences"], ["n"], {}),
        ("ReverseSequence", ["x", "n"], ["xr"], {"time_axis": 0, "batch_axis": 1}),
        ("backward", "xr", "Yr", "forward"),
        ("Squeeze", ["Yr", "i1"], ["Ys"], {}),
        ("ReverseSequence", ["Ys", "n"], ["Yt"], {"time_axis": 0, "batch_axis": 1}),
        ("Unsqueeze", ["Yt", "i1"], ["Yb"], {}),
    ],
}
JOINED = {
    "all": [
        ("Concat", ["Y", "Yb"], ["c"], {"axis": 3}),
        ("Squeeze", ["c", "i1"], ["y"], {}),
    ],
    "last": [
        ("Concat", ["Y_h", "Yb_h"], ["c"], {"axis": 0}),
        ("Transpose", ["c"], ["t"], {"perm": [1, 0, 2]}),
        ("Reshape", ["t", "rows"], ["z"], {}),
        ("MatMul", ["z", "V"], ["y"], {}),
    ],
    "last_step": [
        ("Concat", ["Yb", "Y"], ["c"], {"axis": 3}),  # backward first
        ("Gather", ["c", "last"], ["g"], {"axis": 0}),
        ("Squeeze", ["g", "i0"], ["z"], {}),
        ("MatMul", ["z", "V"], ["y"], {}),
    ],
    "mean": [
        ("ReduceMean", ["Y"], ["f"], {"axes": [0, 1], "keepdims": 0}),
        ("ReduceMean", ["Yb"], ["b"], {"axes": [0, 1], "keepdims": 0}),
        ("Concat", ["f", "b"], ["y"], {"axis": 1}),
    ],
    "max": [("Add", ["Y", "Yb"], ["a"], {}), ("Squeeze", ["a", "i1"], ["y"], {})],
}


def two_ways(backward, after, op="LSTM", other=None, H=4, **options):
    """A model of a layer and another that reads the same backward."""
    before = weights(op, 3, 4)
    behind = {f"{name}b": a for name, a in weights(other or op, 3, H, seed=1).items()}
    arrays = {**INTS, **FLOATS, **before, **behind, "last": np.array(-1)}
    arrays |= {"low": np.array([-(2**62)]), "rows": np.array([-1, 8])}
    nodes = [*TRANSPOSED, (op, ["x", *"WRB"], ["Y", "Y_h"], {"hidden_size": 4, "name": "one"})]
    for node in backward:
        if node[0] == "backward":
            _, x, y, direction = node
            attributes = {"hidden_size": H, "direction": direction, "name": "two", **options}
            node = (other or op, [x, "Wb", "Rb", "Bb"], [y, "Yb_h"], attributes)
        nodes.append(node)
    nodes += after
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in nodes]
    return make(nodes, arrays, {"X": ["B", "T", 3]}, {"y": None})


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("readout", JOINED)
@pytest.mark.parametrize("name", BACKWARD)
def test_layers_that_read_the_same_in_both_directions_are_one(name, readout, op):
    model = two_ways(BACKWARD[name], JOINED[readout], op)
    net = lc.from_onnx(model, verify=True)
    assert net.layers[0].direction == "both" and len(net.layers) <= 2
    X = np.random.default_rng(7).normal(size=(3, 8, 3)).astype(np.float32)
    (y,) = session(model).run(None, {"X": X})
    y = y.swapaxes(0, 1) if y.ndim == 3 else y
    np.testing.assert_allclose(net.predict(X), y, rtol=0, atol=1e-5)


DIFFERENT = {
    "while both directions of a layer are of one kind, not LSTM and GRU": {"other": "GRU"},
    "have the same hidden_size, not 4 and 5": {"H": 5},
    "have the same output_activation, not 'tanh' and 'softsign'": {
        "activations": ["Sigmoid", "Tanh", "Softsign"]
    },
    "have the same coupled, not False and True": {"input_forget": 1},
}


@pytest.mark.parametrize("why", DIFFERENT)
def test_layers_that_differ_are_not_made_one(why):
    model = two_ways(BACKWARD["a layer that reads in reverse"], JOINED["all"], **DIFFERENT[why])
    with pytest.raises(ValueError, match=r"joins LSTM 'one' and .* 'two', while") as info:
        lc.from_onnx(model)
    assert why in str(info.value)


def test_layers_that_read_the_same_in_one_direction_are_not_made_one():
    model = two_ways([("backward", "x", "Yb", "forward")], JOINED["all"])
    with pytest.raises(ValueError, match="joins LSTM 'one' and LSTM 'two', while each layer"):
        lc.from_onnx(model)


def test_initial_states_of_one_of_both_directions():
    model = two_ways(BACKWARD["a layer that reads in reverse"], JOINED["last"])
    h = np.random.default_rng(3).normal(size=(1, 1, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(h, "h"))
    model.graph.node[2].input.extend(["", "h"])
    net = lc.from_onnx(model, verify=False)
    assert not net.blocks["0.forward.h0"].any() and not net.blocks["0.backward.c0"].any()
    np.testing.assert_array_equal(net.blocks["0.backward.h0"], h[0, 0])
    (y,) = session(model).run(None, {"X": np.ones((1, 5, 3), np.float32)})
    np.testing.assert_allclose(net.predict(np.ones((1, 5, 3))), y, rtol=0, atol=1e-5)


def test_lengths_go_to_both_directions():
    model = two_ways(BACKWARD["a layer that reads in reverse"], JOINED["last"])
    model.graph.input.append(helper.make_tensor_value_info("n", TensorProto.INT32, ["B"]))
    model.graph.node[1].input.append("n")
    with pytest.raises(ValueError, match="of which one alone is given the lengths"):
        lc.from_onnx(model)
    model.graph.node[2].input.append("n")
    net = lc.from_onnx(model, verify=True)
    X, n = np.random.default_rng(7).normal(size=(3, 8, 3)), np.array([8, 2, 5])
    (y,) = session(model).run(None, {"X": X.astype(np.float32), "n": n.astype(np.int32)})
    np.testing.assert_allclose(net.predict(X, n), y, rtol=0, atol=1e-5)


def test_padding_that_one_of_both_directions_has_read_is_not_masked_away():
    after = [
        *JOINED["all"][:1],
        ("Squeeze", ["c", "i1"], ["z"], {}),
        ("Shape", ["X"], ["s"], {"start": 1, "end": 2}),
        ("Squeeze", ["s"], ["n_steps"], {}),
        ("Range", ["zero", "n_steps", "one"], ["t"], {}),
        ("Unsqueeze", ["t", "i1"], ["steps"], {}),
        ("Less", ["steps", "int64_n"], ["m"], {}),
        ("Unsqueeze", ["m", "i2"], ["mask"], {}),
        ("Where", ["mask", "z", "nothing"], ["y"], {}),
    ]
    model = two_ways(BACKWARD["a layer that reads in reverse"], after)
    model.graph.input.append(helper.make_tensor_value_info("int64_n", TensorProto.INT64, ["B"]))
    for name, value in {"zero": np.array(0), "one": np.array(1), "nothing": np.float32(0)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    with pytest.raises(ValueError, match="takes lengths that LSTM 'two', which reads in reverse"):
        lc.from_onnx(model, verify=False)


def test_a_part_of_the_steps_reversed_is_refused():
    nodes = [("ReverseSequence", ["x", "n"], ["xr"], {}), ("backward", "xr", "Yb", "forward")]
    model = two_ways(nodes, JOINED["all"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "n"))
    with pytest.raises(ValueError, match="ReverseSequence 'xr' reverses a part of the steps"):
        lc.from_onnx(model)


def dense(nodes, shape, arrays=None):
    """A model without a recurrent node; its input is X (B, T, 3) or (N, 3), or tokens int64_X."""
    nodes = [helper.make_node(name, i, o, **a) for name, i, o, a in nodes]
    matrices = {"A": SMALL.normal(size=(3, 4)), "V1": V1, "v": v}
    arrays = {**INTS, **matrices} | (arrays or {})
    names = {name for node in nodes for name in node.input}
    (name,) = names & {"X", "int64_X"}
    return make(nodes, arrays, {name: shape}, {"y": None})


PERCEPTRON = [
    ("MatMul", ["X", "A"], ["h"], {}),
    ("Relu", ["h"], ["r"], {}),
    ("MatMul", ["r", "V1"], ["o"], {}),
    ("Add", ["o", "v"], ["b"], {}),
    ("Softmax", ["b"], ["y"], {"axis": -1}),
]
OF_ROWS = [
    ("Flatten", ["X"], ["x"], {}),
    ("Gemm", ["x", "A"], ["h"], {}),
    ("Tanh", ["h"], ["r"], {}),
    ("Gemm", ["r", "V1", "v"], ["y"], {}),
]
AS_ROWS = [
    ("Reshape", ["X", "rows"], ["x"], {}),
    *OF_ROWS[1:3],
    ("Gemm", ["r", "V1", "v"], ["o"], {}),
    ("Shape", ["X"], ["s"], {"end": 2}),
    ("Concat", ["s", "three"], ["back"], {"axis": 0}),
    ("Reshape", ["o", "back"], ["y"], {}),
]
WITHOUT_RECURRENT_NODES = {
    "steps": (
        PERCEPTRON,
        ["B", "T", 3],
        "[Dense(3, 4, activation='relu', bias=False), Dense(4, 3)]",
    ),
    "steps as rows": (
        AS_ROWS,
        ["B", "T", 3],
        "[Dense(3, 4, activation='tanh', bias=False), Dense(4, 3)]",
    ),
    "fixed sizes": (
        PERCEPTRON,
        [6, 5, 3],
        "[Dense(3, 4, activation='relu', bias=False), Dense(4, 3)]",
    ),
    "rows": (OF_ROWS, ["N", 3], "[Dense(3, 4, activation='tanh', bias=False), Dense(4, 3)]"),
    "one row": (OF_ROWS, [1, 3], "[Dense(3, 4, activation='tanh', bias=False), Dense(4, 3)]"),
}


@pytest.mark.parametrize("name", WITHOUT_RECURRENT_NODES)
def test_graphs_without_recurrent_nodes(name):
    nodes, shape, expected = WITHOUT_RECURRENT_NODES[name]
    model = dense(nodes, shape, {"rows": np.array([-1, 3]), "three": np.array([3])})
    net = lc.from_onnx(model, verify=True)
    assert f"{list(net.layers)}" == expected and net.readout == "all"
    sizes = [{"B": 6, "T": 5, "N": 6}.get(size, size) for size in shape]
    X = np.random.default_rng(7).normal(size=sizes).astype(np.float32)
    (y,) = session(model).run(None, {"X": X})
    given = net.predict(X[:, None])[:, 0] if len(shape) == 2 else net.predict(X)
    np.testing.assert_allclose(given, y, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="readout: expected 'all' without a recurrent layer"):
        lc.from_onnx(model, readout="mean")


@pytest.mark.parametrize("shape", [["B", "T"], ["N"]])
def test_tokens_without_recurrent_nodes(shape):
    nodes = [
        ("Gather", ["table", "int64_X"], ["e"], {}),
        ("MatMul", ["e", "A"], ["y"], {}),
    ]
    model = dense(nodes, shape, {"table": SMALL.normal(size=(7, 3))})
    net = lc.from_onnx(model, verify=True)
    assert f"{list(net.layers)}" == "[Embedding(7, 3), Dense(3, 4, bias=False)]"
    X = np.random.default_rng(7).integers(7, size=[4, 5][: len(shape)])
    (y,) = session(model).run(None, {"int64_X": X})
    given = net.predict(X[:, None])[:, 0] if len(shape) == 1 else net.predict(X)
    np.testing.assert_allclose(given, y, rtol=0, atol=1e-5)


def test_matrices_say_the_dtype_where_no_recurrent_node_does():
    model = dense(PERCEPTRON[:1], ["B", "T", 3])
    model.graph.node[0].output[0] = "y"
    assert lc.from_onnx(model).dtype == np.float32
    A = numpy_helper.from_array(SMALL.normal(size=(3, 4)), "A")
    model.graph.initializer[[t.name for t in model.graph.initializer].index("A")].CopyFrom(A)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    net = lc.from_onnx(model, verify=True)
    assert net.dtype == np.float64
    np.testing.assert_array_equal(net.blocks["0.W"], numpy_helper.to_array(A).T)


IMAGES = [("MatMul", ["X", "A"], ["y"], {})]
NEITHER_STEPS_NOR_ROWS = {
    "more axes": (
        IMAGES,
        ["B", 5, 5, 3],
        "as sequences .B, T, features. or rows .N, features., got 4",
    ),
    "an image as one vector": (
        [("Flatten", ["X"], ["f"], {}), ("MatMul", ["f", "A"], ["y"], {})],
        ["B", 5, 3],
        "Flatten 'f' puts steps or sequences and features into one axis",
    ),
    "a mean over steps": (
        [("MatMul", ["X", "A"], ["h"], {}), ("ReduceMean", ["h"], ["y"], {"axes": [1]})],
        ["B", "T", 3],
        "reads out an axis that no recurrent layer before takes for time",
    ),
    "no layer": ([("Identity", ["X"], ["y"], {})], ["B", "T", 3], "has no layer between"),
    "numbers that are known": (
        [("Shape", ["X"], ["s"], {}), ("Cast", ["s"], ["y"], {"to": 1})],
        ["B", "T", 3],
        "expected outputs that depend on sequences",
    ),
}


@pytest.mark.parametrize("name", NEITHER_STEPS_NOR_ROWS)
def test_what_has_neither_steps_nor_rows_is_refused(name):
    nodes, shape, why = NEITHER_STEPS_NOR_ROWS[name]
    with pytest.raises(ValueError, match=why):
        lc.from_onnx(dense(nodes, shape), verify=False)


def chosen(condition, then, otherwise, before=(), arrays=None, **options):
    """A model of a layer whose Y (T, 1, B, 4) goes through one of two graphs to y."""
    graphs = {
        name: helper.make_graph(
            [helper.make_node(op, i, o, **a) for op, i, o, a in nodes],
            name,
            [],
            [helper.make_tensor_value_info(nodes[-1][2][0], TensorProto.FLOAT, None)],
        )
        for name, nodes in (("then_branch", then), ("else_branch", otherwise))
    }
    after = [*before, ("If", [condition], ["y"], {"name": "either", **graphs})]
    arrays = {**INTS, **FLOATS, "yes": np.array(True), "no": np.array(False)} | (arrays or {})
    return around(TRANSPOSED, after, arrays=arrays, **options)


KEPT = [("Identity", ["Y"], ["same"], {})]
DENSE = [("Squeeze", ["Y", "i1"], ["s"], {}), ("MatMul", ["s", "V1"], ["m"], {})]


@pytest.mark.parametrize("condition, n_layers", [("yes", 2), ("no", 1)])
def test_of_two_graphs_that_which_runs_is_followed(condition, n_layers):
    net = lc.from_onnx(chosen(condition, DENSE, KEPT), verify=True)
    assert len(net.layers) == n_layers


def test_a_graph_that_never_runs_may_hold_anything():
    foreign = [("Erf", ["Y"], ["e"], {}), ("Softsign", ["e"], ["f"], {})]
    before = [("Erf", ["Y"], ["outside"], {})]
    model = chosen("no", [*foreign, ("Add", ["f", "outside"], ["g"], {})], DENSE, before)
    assert len(lc.from_onnx(model, verify=True).layers) == 2
    model = chosen("yes", [*foreign, ("Add", ["f", "outside"], ["g"], {})], DENSE, before)
    with pytest.raises(ValueError, match=r"Erf 'outside'|Erf 'e'"):
        lc.from_onnx(model)


def test_the_squeeze_that_torch_writes_where_it_does_not_know_the_size():
    # y[:, -1:].squeeze(1) of (B, T, H), exported with dynamo=False
    before = [
        ("Squeeze", ["Y", "i1"], ["s"], {}),
        ("Transpose", ["s"], ["z"], {"perm": [1, 0, 2]}),
        ("Slice", ["z", "m1", "big", "i1"], ["last"], {}),
        ("Shape", ["last"], ["sizes"], {}),
        ("Gather", ["sizes", "one"], ["size"], {}),
        ("Equal", ["size", "one"], ["is_one"], {}),
    ]
    then = [
        ("Constant", [], ["axis"], {"value_ints": [1]}),
        ("Squeeze", ["last", "axis"], ["q"], {}),
    ]
    model = chosen(
        "is_one", then, [("Identity", ["last"], ["i"], {})], before, {"one": np.array(1)}
    )
    model.graph.node.append(helper.make_node("Gemm", ["y", "V1", "v"], ["z2"]))
    model.graph.output[0].name = "z2"
    net = lc.from_onnx(model, verify=True)
    assert f"{list(net.layers)} {net.readout}" == "[LSTM(3, 4), Dense(4, 3)] last"
    X = np.random.default_rng(7).normal(size=(3, 8, 3)).astype(np.float32)
    (y,) = session(model).run(None, {"X": X})
    np.testing.assert_allclose(net.predict(X), y, rtol=0, atol=1e-5)


def test_graphs_inside_of_graphs_that_run_and_names_that_come_in_two_of_them():
    def branches(name, nodes):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "g", [], [value])
        return {"then_branch": graph, "else_branch": graph}

    inside = helper.make_node("Squeeze", ["Y", "i1"], ["own"])
    middle = helper.make_node("If", ["no"], ["own2"], **branches("own", [inside]))
    outer = ("If", ["yes"], ["s"], branches("own2", [middle]))
    again = ("If", ["yes"], ["y"], branches("own", [helper.make_node("Tanh", ["s"], ["own"])]))
    arrays = {**INTS, "yes": np.array(True), "no": np.array(False)}
    net = lc.from_onnx(around(TRANSPOSED, [outer, again], arrays=arrays), verify=True)
    assert net.layers[-1].options["activation"] == "tanh"


BY_SIZE = [
    ("Shape", ["X"], ["sizes"], {"start": 1, "end": 2}),
    ("Squeeze", ["sizes"], ["T"], {}),
]
UNDECIDED = {
    "one step alone": [*BY_SIZE, ("Equal", ["T", "one"], ["c"], {})],
    "many steps": [*BY_SIZE, ("Greater", ["T", "many"], ["c"], {})],
    "some steps": [*BY_SIZE, ("Greater", ["T", "some"], ["c"], {})],
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_graphs_that_run_by_the_number_of_steps_are_refused(name):
    arrays = {"one": np.array(1), "some": np.array(40), "many": np.array(700)}
    model = chosen("c", DENSE, KEPT, UNDECIDED[name], arrays)
    with pytest.raises(ValueError, match="If 'either' runs one of two graphs by the number of"):
        lc.from_onnx(model, verify=False)


def test_graphs_that_run_by_what_comes_in_are_refused():
    model = chosen("flag", DENSE, KEPT)
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    with pytest.raises(ValueError, match="If 'either' reads the input 'flag', which has neither"):
        lc.from_onnx(model)
    model = chosen("X", DENSE, KEPT)
    with pytest.raises(ValueError, match="If 'either' runs one of two graphs by what comes in"):
        lc.from_onnx(model)


def test_graphs_that_cannot_be_chosen_from_are_refused():
    model = chosen("half", DENSE, KEPT)
    with pytest.raises(ValueError, match="If 'either' expected one truth value"):
        lc.from_onnx(model, verify=False)
    model = chosen("yes", DENSE, KEPT)
    del model.graph.node[-1].attribute[:]
    with pytest.raises(ValueError, match="If 'either' expected then_branch"):
        lc.from_onnx(model, verify=False)
    model = chosen("yes", [("Tanh", ["y"], ["t"], {})], KEPT)  # reads what it gives
    with pytest.raises(ValueError, match="without cycles"):
        lc.from_onnx(model, verify=False)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("readout", ["mean", "max"])
def test_a_readout_that_repeats_the_batch_is_refused(readout, lengths):
    net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], readout=readout, seed=0)
    model = onnx.load_from_string(net.to_onnx(states=True, lengths=lengths))
    (kept,) = (a for node in model.graph.node for a in node.attribute if a.name == "keepdims")
    kept.i = 1  # (B, 1, 4) with a state (B, 4) is (B, B, 4)
    with pytest.raises(ValueError, match="depend on the number of steps or sequences"):
        lc.from_onnx(model, verify=False)


def test_a_count_that_repeats_the_readout_is_refused():
    net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], readout="mean", seed=0)
    model = onnx.load_from_string(net.to_onnx(states=True))
    nodes = model.graph.node
    k = next(k for k, node in enumerate(nodes) if node.op_type == "Div")
    nodes.insert(k, helper.make_node("Unsqueeze", [nodes[k].input[1], "int64.1"], ["more"]))
    nodes[k + 1].input[1] = "more"  # (B, 1, 1), which makes (B, B, H) of (B, H)
    with pytest.raises(ValueError, match="'Div' "):
        lc.from_onnx(model, verify=False)


BAD_STATES = {
    "another number of numbers": "[1.0, 2.0]",
    "one number": "1.0",
    "a list in a list": "[[1.0, 2.0, 3.0, 4.0]]",
    "lists of several lengths": "[1, [2, 3], 4, 5]",
    "texts": '["1", "2", "3", "4"]',
    "a truth value": "[1, 2, 3, true]",
    "a mapping": '{"0": 1}',
    "infinity": "[1, 2, 3, 1e39]",
    "a number of many digits": f"[1, 2, 3, {'9' * 5000}]",
    "not a number": "[1, 2, 3, NaN]",
    "no JSON": "zero",
    "nothing": "",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_states_that_the_metadata_does_not_say_rightly_are_refused(name, is_cheap):
    net = lc.Network([lc.GRU(3, 4, learn_initial_state=True)], seed=0)
    model = onnx.load_from_string(net.to_onnx(states=True))
    (entry,) = (entry for entry in model.metadata_props if entry.key == "0.h")
    entry.value = BAD_STATES[name]
    for read in (lc.from_onnx, recurrent_nodes):
        with pytest.raises(ValueError, match=r"source: expected '0\.h' in the metadata"):
            read(model)


# -------------------------------------------------------------------------------- verification


def test_a_difference_from_the_graph_is_an_error(monkeypatch):
    from lstmcore.interop.onnx import _read

    built = _read.network_of

    def wrong(*args):
        net, links = built(*args)
        net.params[0] += 0.01
        return net, links

    monkeypatch.setattr(_read, "network_of", wrong)
    model = recurrent("LSTM")
    with pytest.raises(ValueError, match="expected outputs as onnxruntime gives them"):
        lc.from_onnx(model)
    assert lc.from_onnx(model, verify=False).readout == "all"


def test_a_squeeze_of_all_axes_may_drop_the_batch():
    after = [("Squeeze", ["Y_h"], ["y"], {})]
    net = lc.from_onnx(around(TRANSPOSED, after), verify=True)
    assert net.readout == "last"


# ------------------------------------------------------------------------------ recurrent_nodes


def test_recurrent_nodes_of_a_graph_that_is_no_chain():
    before = [("Conv", ["X", "kernel"], ["c"], {}), ("Squeeze", ["c", "i1"], ["x"], {})]
    after = [("Loop", ["", "", "Y"], ["y"], {"body": helper.make_graph([], "body", [], [])})]
    model = around(
        before, after, arrays={**INTS, "kernel": np.ones((1, 1, 3, 3))}, D=2, shape=("T", 1, 9, 5)
    )
    with pytest.raises(ValueError, match=r"Conv 'c'.*\n(.*\n)?.*Loop 'y' is a loop"):
        lc.from_onnx(model)
    (node,) = recurrent_nodes(model)
    assert node.name == "layer"
    assert node.layer.direction == "both" and node.computed == ()
    alone = recurrent("LSTM", D=2)
    assert_agrees(node.network(), alone, np.random.default_rng(0).normal(size=(2, 5, 3)))
    assert node.network(readout="last").readout == "last"


def test_recurrent_nodes_inside_of_others():
    node = helper.make_node("GRU", ["X", "W", "R"], ["Y"], name="inner", hidden_size=4)
    branch = helper.make_graph(
        [node], "branch", [], [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
    )
    chooses = helper.make_node(
        "If", ["flag"], ["y"], name="either", then_branch=branch, else_branch=branch
    )
    arrays = weights("GRU", 3, 4) | {"flag": np.array(True)}
    model = make([chooses], arrays, {"X": ["T", "B", 3]}, {"y": None})
    names = {found.name for found in recurrent_nodes(model)}
    assert names == {"either/then_branch/inner", "either/else_branch/inner"}


def test_recurrent_nodes_tell_which_initial_states_are_computed():
    rng = np.random.default_rng(0)
    h = np.repeat(rng.normal(size=(1, 1, 4)), 2, axis=1)
    model = recurrent("LSTM", extra=["", "h", "c"], arrays={"h": h})
    model.graph.node.insert(0, helper.make_node("Erf", ["h"], ["c"]))
    (node,) = recurrent_nodes(model)
    assert node.computed == ("c",)
    assert (node.blocks["h0"] == h[0, 0].astype(np.float32)).all()
    assert not node.blocks["c0"].any()


# ------------------------------------------------------------------------------- hostile files


@pytest.fixture
def is_cheap():
    """Refused within a second and with less than 200 MB."""
    tracemalloc.start()
    start = time.process_time()
    yield
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    assert seconds < 5  # one second, but for what tracing costs


def folded(nodes, arrays):
    """A model whose learned initial state h comes from nodes."""
    model = recurrent("GRU", extra=["", "h"], arrays=arrays)
    for node in reversed(nodes):
        model.graph.node.insert(0, helper.make_node(node[0], *node[1:3], **node[3]))
    return model


HOSTILE = {
    "ConstantOfShape of 2**40": (
        [("ConstantOfShape", ["shape"], ["h"], {})],
        {"shape": np.array([1, 2**40, 4])},
    ),
    "Expand to 2**40": (
        [("Expand", ["one", "shape"], ["h"], {})],
        {"one": np.ones((1, 1, 4)), "shape": np.array([1, 2**40, 4])},
    ),
    "sizes whose product leaves 64 bits": (
        [("ConstantOfShape", ["shape"], ["h"], {})],
        {"shape": np.array([2**62, 2**62, 4])},
    ),
    "Tile by 2**40": (
        [("Tile", ["one", "shape"], ["h"], {})],
        {"one": np.ones((1, 1, 4)), "shape": np.array([1, 2**40, 1])},
    ),
    "Range to 2**60": (
        [("Range", ["a", "b", "c"], ["h"], {})],
        {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)},
    ),
    "a product of two vectors that is huge": (
        [("Mul", ["row", "column"], ["h"], {})],
        {"row": np.ones((1, 1 << 17)), "column": np.ones((1 << 17, 1))},
    ),
    "Concat that doubles 60 times": (
        [("Concat", [f"h{k}", f"h{k}"], [f"h{k + 1}"], {"axis": 1}) for k in range(60)]
        + [("Identity", ["h60"], ["h"], {})],
        {"h0": np.ones((1, 2, 4))},
    ),
    "a chain of 3000 nodes over a large array": (
        [("Neg", [f"h{k}"], [f"h{k + 1}"], {}) for k in range(3000)]
        + [("Identity", ["h3000"], ["h"], {})],
        {"h0": np.ones((1, 10000, 4))},
    ),
    "negative sizes": (
        [("ConstantOfShape", ["shape"], ["h"], {})],
        {"shape": np.array([1, -5, 4])},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_small_files_do_not_compute_much(name, is_cheap):
    nodes, arrays = HOSTILE[name]
    with pytest.raises(ValueError, match="source: expected"):
        lc.from_onnx(folded(nodes, arrays).SerializeToString(), verify=False)


def test_what_a_file_claims_to_have_in_others_allows_no_more(tmp_path, is_cheap):
    model = folded(*HOSTILE["ConstantOfShape of 2**40"])
    shape = np.array([1, 2**27, 4])
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(shape, "shape"))
    claim = model.graph.initializer.add(name="claim", dims=[2**40], data_type=1, data_location=1)
    claim.external_data.add(key="location", value="weights.bin")
    for there in (False, True):
        if there:
            (tmp_path / "weights.bin").write_bytes(b"few")
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match="makes many more numbers than the file has"):
            lc.from_onnx(tmp_path / "model.onnx")


def test_outputs_that_are_repeated_take_no_memory(is_cheap):
    after = [("Concat", ["Y", "Y"], ["y0"], {"axis": 3})]
    after += [("Concat", [f"y{k}", f"y{k}"], [f"y{k + 1}"], {"axis": 3}) for k in range(60)]
    model = around(TRANSPOSED, [*after, ("Identity", ["y60"], ["y"], {})])
    with pytest.raises(ValueError, match="makes many more numbers than the file has"):
        lc.from_onnx(model)


def test_a_million_features_are_not_made(is_cheap):
    before = [("Transpose", ["X"], ["x"], {"perm": [1, 0, 2]})]
    model = around(before, [("Identity", ["Y"], ["y"], {})], shape=("B", "T", 2**40))
    with pytest.raises(ValueError, match="makes many more numbers"):
        lc.from_onnx(model)


def test_an_input_that_may_come_several_times_is_not_left_out():
    model = folded([("Concat", ["one", ""], ["h"], {"axis": 1})], {"one": np.ones((1, 1, 4))})
    with pytest.raises(ValueError, match="Concat 'h' lacks its input inputs"):
        lc.from_onnx(model)


def test_a_mean_of_nothing_is_refused():
    after = [
        ("Slice", ["Y", "i0", "i0", "i3"], ["s"], {}),
        ("ReduceMean", ["s"], ["y"], {"axes": [3]}),
    ]
    with pytest.raises(ValueError, match="ReduceMean 'y' reduces no entries"):
        lc.from_onnx(around(TRANSPOSED, after, arrays=INTS | {"i3": np.array([3])}))


def test_the_shape_of_a_mask_is_known():
    after = [
        ("Shape", ["mask"], ["sizes"], {}),
        ("Expand", ["z", "sizes"], ["a"], {}),
        ("Where", ["mask", "a", "nothing"], ["y"], {}),
    ]
    assert lc.from_onnx(masked(after)).readout == "all"


def test_a_condition_is_one():
    model = chosen("yes", DENSE, KEPT)
    model.graph.node[-1].input.extend(["yes", "yes"])
    with pytest.raises(ValueError, match="If 'either' expected 1 inputs"):
        lc.from_onnx(model, verify=False)


def test_names_that_are_no_text_are_refused():
    data = recurrent("GRU", direction="forward").SerializeToString()
    data = data.replace(b"direction", b"directio\xff").replace(b"hidden_size", b"hidden\xffsize")
    with pytest.raises(ValueError, match="expected names that are text in UTF-8"):
        lc.from_onnx(data)


@pytest.mark.parametrize("B, T", [("B", 1 << 20), (1 << 40, "T")])
def test_a_graph_of_many_steps_is_read_and_not_run(B, T, is_cheap):
    model = recurrent("LSTM")
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("X", TensorProto.FLOAT, [T, B, 3]))
    assert lc.from_onnx(model).readout == "all"
    with pytest.raises(ValueError, match=r"verify: expected .* steps, too many for a comparison"):
        lc.from_onnx(model, verify=True)


@pytest.mark.parametrize("shape", [("B", -4), ("B", 1 << 40), (1 << 40, 4), ("B",)], ids=str)
def test_states_of_any_shape_are_cheap(shape, is_cheap):
    model = onnx.load_from_string(lc.Network([lc.RNN(3, 4)], seed=0).to_onnx(states=True))
    state = helper.make_tensor_value_info("0.h", TensorProto.FLOAT, shape)
    model.graph.input[1].CopyFrom(state)
    with contextlib.suppress(ValueError):
        assert lc.from_onnx(model).layers[0].hidden_size == 4


def test_lengths_of_a_type_that_numpy_lacks_are_read_and_not_run():
    model = onnx.load_from_string(lc.Network([lc.RNN(3, 4)], seed=0).to_onnx(lengths=True))
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.BFLOAT16
    with contextlib.suppress(ValueError):
        lc.from_onnx(model)
    with pytest.raises(ValueError):
        lc.from_onnx(model, verify=True)


def test_cycles_are_refused(is_cheap):
    nodes = [("Add", ["b", "h"], ["a"], {}), ("Add", ["a", "a"], ["b"], {})]
    model = folded(nodes, {})
    model.graph.node[-1].input[5] = "b"
    model.graph.node[0].input[1] = "W"
    with pytest.raises(ValueError, match="without cycles, got one through Add"):
        lc.from_onnx(model)
    with pytest.raises(ValueError, match="without cycles"):
        recurrent_nodes(model)


def test_values_that_come_twice_or_never_are_refused():
    model = recurrent("GRU")
    model.graph.node.append(model.graph.node[0])
    with pytest.raises(ValueError, match="each value once, got 'Y' twice"):
        lc.from_onnx(model)
    model = recurrent("GRU")
    model.graph.node[0].input[1] = "nowhere"
    with pytest.raises(ValueError, match="a graph that gives 'nowhere', got none"):
        lc.from_onnx(model)


def test_tensors_that_claim_more_than_they_have_are_refused(is_cheap):
    for dims in ((1, 2**40, 3), (1, -12, 3), (2**33, 2**33, 3), (1, 13, 3)):
        model = recurrent("GRU")
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        with pytest.raises(ValueError, match="tensor 'W': expected"):
            lc.from_onnx(model)


def external(folder, location, offset=0, length=None, size=144):
    """A file whose W (1, 12, 3) is in another file."""
    model = recurrent("GRU")
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.raw_data = b""
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, "length": length}
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(b"\0" * 16 + data[:size])
    return folder / "model.onnx"


def test_weights_beside_the_model_are_read(tmp_path):
    net = lc.from_onnx(external(tmp_path, "weights.bin", 16, 144), verify=True)
    assert (net.params == lc.from_onnx(recurrent("GRU")).params).all()
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "weights.bin", tmp_path / "sub")
    again = lc.from_onnx(external(tmp_path, "sub/weights.bin", 16), verify=True)
    assert (net.params == again.params).all()


def test_weights_from_elsewhere_are_refused(tmp_path, is_cheap):
    folder = tmp_path / "models"
    folder.mkdir()
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"\0" * 1000)
    (folder / "link.bin").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    refused = {
        str(outside): "the name of a file in the model's folder",
        "/dev/zero": "the name of a file in the model's folder",
        "../outside.bin": "the name of a file in the model's folder",
        "a/../../outside.bin": "the name of a file in the model's folder",
        "..\\outside.bin": "the name of a file in the model's folder",
        "C:\\outside.bin": "the name of a file in the model's folder",
        "": "the name of a file in the model's folder",
        "link.bin": "a file that is no link",
        "linked/outside.bin": "a file that is no link",
        "nothing.bin": "the file 'nothing.bin' beside the model",
        ".": "the name of a file in the model's folder",
        "weights.bin\0": "the name of a file in the model's folder",
    }
    for location, why in refused.items():
        with pytest.raises(ValueError, match=re.escape(why)):
            lc.from_onnx(external(folder, location))
    (folder / "sub").mkdir()
    with pytest.raises(ValueError, match="expected a regular file"):
        lc.from_onnx(external(folder, "sub"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"offset": 10**9}, "a file that has them"),
        ({"offset": 17}, "a file that has them"),
        ({"offset": -1}, "expected an integer >= 0 as offset"),
        ({"offset": "1e3"}, "expected an integer >= 0 as offset"),
        ({"offset": "9" * 30}, "expected an integer >= 0 as offset"),
        ({"length": 10**12}, "expected length 144"),
        ({"size": 100}, "a file that has them"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(tmp_path, changes, why, is_cheap):
    path = external(tmp_path, "weights.bin", **({"offset": 16} | changes))
    with pytest.raises(ValueError, match=why):
        lc.from_onnx(path)


def test_a_model_without_its_folder_cannot_read_beside_it(tmp_path):
    path = external(tmp_path, "weights.bin", 16)
    with pytest.raises(ValueError, match="expected the path of a model"):
        lc.from_onnx(path.read_bytes())


def test_bytes_that_are_no_model_are_refused(tmp_path, is_cheap):
    with pytest.raises(ValueError, match="got bytes that are none; lstmcore"):
        lc.from_onnx(b"PK\3\4 and so on")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    nested = b""
    for _ in range(3000):  # a graph in a node's attribute in a graph ...
        for tag in (b"\x0a", b"\x2a", b"\x32"):
            nested = tag + bytes(_varint(len(nested))) + nested
    files = [(tmp_path / "empty.zip").read_bytes(), b"", b"\0" * 100, b"PK" * 9, os.urandom(300)]
    files += [b"\x3a" + bytes(_varint(len(nested))) + nested, b"{}", b"\x3a\xff\xff\xff\x7f"]
    for data in files:
        for read in (lc.from_onnx, recurrent_nodes):
            with pytest.raises(ValueError, match="source: expected"):
                read(data)
    with pytest.raises(TypeError, match="source: expected a path, bytes or"):
        lc.from_onnx(3)
    with pytest.raises(FileNotFoundError):
        lc.from_onnx(tmp_path / "none.onnx")


def _varint(number):
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_by_a_value_error(data):
    names = [
        "gru_two_layers_mean_sigmoid_script_free",
        "lstm_packed_two_ways_script_free",
        "tokens_lstm_final_export_free",
        "lstm_learned_states_script_free",
    ]
    file = bytearray((GOLDEN / f"{data.draw(st.sampled_from(names))}.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    file = file[: data.draw(st.integers(0, len(file)) | st.just(len(file)))]
    for read in (lambda: lc.from_onnx(bytes(file), verify=False), lambda: recurrent_nodes(file)):
        try:
            read()
        except ValueError as error:
            assert str(error)

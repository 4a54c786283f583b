"""`from_onnx` and `recurrent_nodes`: the networks that they read give what the graphs give."""

import importlib
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
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
    with pytest.raises(ValueError, match=r"step 1 of .*\n(.*\n)*.*output=") as info:
        lc.from_onnx(GOLDEN / "rnn_written_out_export.onnx")
    assert "lstmcore.from_torch" in str(info.value)


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

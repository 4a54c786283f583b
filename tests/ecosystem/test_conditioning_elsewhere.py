"""Features and steps of tokens and numbers in other programs: done, or refused with a reason."""

import numpy as np
import pytest

import lstmcore as lc

B, T, F = 4, 6, 3
LENGTHS = np.array([6, 2, 0, 3])
BODIES = {
    "forward": lambda: [lc.LSTM(4, 3), lc.GRU(3, 4), lc.Dense(4, 2)],
    "both": lambda: [lc.GRU(4, 3, bidirectional=True), lc.LSTM(6, 4, bidirectional=True)],
    "mixed": lambda: [lc.MixedEmbedding([5, 3], [4, 2], n_numbers=2), lc.LSTM(8, 4)],
}


def inputs():
    rng = np.random.default_rng(0)
    tokens = [rng.integers(n, size=(B, T)) for n in (5, 3)]
    X = np.dstack([*tokens, rng.normal(size=(B, T, 2))]).astype(np.float32)
    return X, rng.normal(size=(B, F)).astype(np.float32)


def network(name, initial, readout="all"):
    layers = BODIES[name]()
    if initial == "tanh":
        states = sum(layer.output_size * len(layer.states) for layer in layers)
        initial = lc.Dense(F, states, activation="tanh", bias=False)
    net = lc.Network(layers, readout=readout, dtype="float32", initial=initial)
    net.params = np.random.default_rng(1).normal(scale=0.5, size=net.params.size)
    return net


@pytest.mark.parametrize("readout", ["all", "last", "last_step", "mean"])
@pytest.mark.parametrize("initial", [None, F, "tanh"], ids=["zero", "features", "tanh"])
@pytest.mark.parametrize("name", BODIES)
def test_onnx(name, initial, readout):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net, (X, features) = network(name, initial, readout), inputs()
    feed, given = {"X": X, "lengths": LENGTHS}, {}
    if initial is not None:
        feed["features"] = given["features"] = features
    (y,) = runtime.InferenceSession(net.to_onnx(lengths=True)).run(None, feed)
    np.testing.assert_allclose(y, net.predict(X, LENGTHS, **given), atol=2e-6)


def test_a_graph_that_is_given_states_computes_none():
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="states: expected False with a network whose initial"):
        network("forward", F).to_onnx(states=True)


@pytest.mark.parametrize("name, initial", [("forward", F), ("mixed", None)])
def test_what_others_cannot_say(name, initial, tmp_path):
    net = network(name, initial)
    with pytest.raises(ValueError, match=r"net: expected .*net.blocks"):
        lc.to_torch(net)
    with pytest.raises(ValueError, match=r"net: expected .*(net.blocks|\n.*tokens of several)"):
        lc.to_keras(net, tmp_path / "net.keras")

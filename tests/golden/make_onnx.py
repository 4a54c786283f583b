"""Make onnx.npz: LSTM outputs with what PyTorch's LSTM lacks, by ONNX Runtime in float32.

    python tests/golden/make_onnx.py        (needs onnx and onnxruntime)

Peepholes, coupled input and forget gates (CIFG), other activations, unequal lengths, reverse and
bidirectional. A key is "case/array". The arrays of a case are x, lengths, y; the blocks under the
names that a network gives them ("0.W", "0.backward.p", "0.h0", ...), in lstmcore's order, and the
final states "0.hT", "0.cT". `CASES` says what the layer of a case is.

ONNX has the gates in the order i, o, f, c, its peepholes in the order i, o, f, sequences
time-major, and keeps the rows of a coupled forget gate, which it does not read.
"""

from pathlib import Path

import numpy as np

# name -> inputs, units, lengths, direction, and the options of the layer as lstmcore names them
CASES = {
    "peepholes": (3, 5, [4, 4], "forward", {"peepholes": 1}),
    "peepholes, unequal lengths": (3, 4, [2, 5, 1], "forward", {"peepholes": 1}),
    "peepholes, reverse": (2, 4, [2, 4, 3], "reverse", {"peepholes": 1}),
    "peepholes, bidirectional": (3, 4, [3, 5, 1], "bidirectional", {"peepholes": 1}),
    "peepholes, 17 units": (3, 17, [3, 2], "forward", {"peepholes": 1}),
    "CIFG": (3, 4, [4, 4], "forward", {"coupled": 1}),
    "CIFG, peepholes, bidirectional": (
        2, 5, [2, 5, 3], "bidirectional", {"coupled": 1, "peepholes": 1},
    ),
    "NIAF, NOAF": (3, 4, [4, 2], "forward", {
        "peepholes": 1, "cell": ("affine", 1.0, 0.0), "output": ("affine", 1.0, 0.0),
    }),
    "hard_sigmoid, softsign, elu": (3, 4, [4, 2], "forward", {
        "peepholes": 1, "gate": ("hard_sigmoid", 0.3, 0.4), "cell": "softsign",
        "output": ("elu", 0.7),
    }),
    "logistic, relu, softplus": (3, 4, [4, 2], "forward", {"cell": "relu", "output": "softplus"}),
    "logistic, leaky_relu, scaled_tanh": (3, 4, [4, 2], "forward", {
        "cell": ("leaky_relu", 0.15), "output": ("scaled_tanh", 1.3, 0.6),
    }),
    "logistic, thresholded_relu, affine": (3, 4, [4, 2], "forward", {
        "cell": ("thresholded_relu", 0.2), "output": ("affine", 0.8, 0.1),
    }),
}  # fmt: skip

ONNX_ACTIVATIONS = {
    "logistic": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign",
    "softplus": "Softplus", "elu": "Elu", "leaky_relu": "LeakyRelu", "hard_sigmoid": "HardSigmoid",
    "scaled_tanh": "ScaledTanh", "thresholded_relu": "ThresholdedRelu", "affine": "Affine",
}  # fmt: skip
N_PARAMETERS = {
    "elu": 1, "leaky_relu": 1, "thresholded_relu": 1, "hard_sigmoid": 2, "scaled_tanh": 2,
    "affine": 2,
}  # fmt: skip


def from_onnx_rows(array, units, order):
    """Reorder rows that ONNX stacks in the order i, o, f(, c) to lstmcore's order."""
    parts = {gate: array[k * units : (k + 1) * units] for k, gate in enumerate("iofg")}
    return np.concatenate([parts[gate] for gate in order])


def onnx_activations(options, directions):
    """The node's attributes; ONNX lists only the parameters of activations that have them."""
    names, alphas, betas = [], [], []
    for role, default in (("gate", "logistic"), ("cell", "tanh"), ("output", "tanh")):
        given = options.get(role, default)
        name, *parameters = (given,) if isinstance(given, str) else given
        names.append(ONNX_ACTIVATIONS[name])
        count = N_PARAMETERS.get(name, 0)
        alphas += parameters[:1] if count >= 1 else []
        betas += parameters[1:] if count == 2 else []
    lists = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    return {key: value * directions for key, value in lists.items() if value}


def make_case(name, seed=0):
    """The arrays of a case, {array: value}, from random weights and data."""
    import onnxruntime
    from onnx import TensorProto, helper

    inputs, units, lengths, direction, options = CASES[name]
    directions = 2 if direction == "bidirectional" else 1
    B, T, D = len(lengths), max(lengths), directions
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    feeds = {
        "X": uniform(T, B, inputs), "W": uniform(D, 4 * units, inputs),
        "R": uniform(D, 4 * units, units),
        "B": np.concatenate([uniform(D, 4 * units), np.zeros((D, 4 * units), np.float32)], axis=1),
        "sequence_lens": np.array(lengths, np.int32),
        "initial_h": uniform(D, B, units), "initial_c": uniform(D, B, units),
        "P": uniform(D, 3 * units) * options.get("peepholes", 0),
    }  # fmt: skip
    outputs = ["Y", "Y_h", "Y_c"]
    node = helper.make_node(
        "LSTM", list(feeds), outputs, hidden_size=units, direction=direction,
        input_forget=options.get("coupled", 0), **onnx_activations(options, D),
    )  # fmt: skip
    types = {"sequence_lens": TensorProto.INT32}
    graph = helper.make_graph(
        [node], "lstm",
        [
            helper.make_tensor_value_info(key, types.get(key, TensorProto.FLOAT), value.shape)
            for key, value in feeds.items()
        ],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in outputs],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    Y, Y_h, Y_c = session.run(outputs, feeds)

    own = "io" if options.get("coupled") else "ifo"
    arrays = {
        "lengths": np.array(lengths), "x": feeds["X"].transpose(1, 0, 2),
        "y": Y.transpose(2, 0, 1, 3).reshape(B, T, D * units),
    }  # fmt: skip
    for d in range(D):
        prefix = "0." if D == 1 else ("0.forward.", "0.backward.")[d]
        rows = "".join(gate for gate in "ifgo" if gate in own + "g")
        for block, value in (("W", feeds["W"]), ("R", feeds["R"]), ("b", feeds["B"])):
            arrays[prefix + block] = from_onnx_rows(value[d], units, rows)
        if options.get("peepholes"):
            peepholes = from_onnx_rows(feeds["P"][d], units, own)
            arrays[prefix + "p"] = peepholes.reshape(len(own), units)
        arrays |= {
            prefix + "h0": feeds["initial_h"][d], prefix + "c0": feeds["initial_c"][d],
            prefix + "hT": Y_h[d], prefix + "cT": Y_c[d],
        }  # fmt: skip
    return arrays


if __name__ == "__main__":
    import onnxruntime

    path = Path(__file__).with_name("onnx.npz")
    vectors = {f"{name}/{key}": value for name in CASES for key, value in make_case(name).items()}
    made_with = f"ONNX Runtime {onnxruntime.__version__}"
    np.savez_compressed(path, made_with=made_with, **vectors)
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes")

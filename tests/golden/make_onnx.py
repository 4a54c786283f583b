"""Make onnx.npz: outputs of the LSTM and the GRU with what PyTorch's lack, by ONNX's own programs.

    python tests/golden/make_onnx.py        (needs onnx and onnxruntime)

`CASES`, by ONNX Runtime in float32: an LSTM's peepholes, coupled input and forget gates (CIFG),
other activations, unequal lengths, reverse and bidirectional. `GRU_CASES`: a GRU that resets before
or after its recurrent product, by ONNX Runtime in float32 or by the reference implementation of
ONNX in float64, which knows neither lengths nor activations. `NODE_TESTS`: all GRUs among the tests
that ONNX has for whoever implements it, float32.

A key is "case/array". The arrays of a case are x, lengths, y; the blocks under the names that a
network gives them ("0.W", "0.backward.p", "0.h0", ...), in lstmcore's order, and the final states
"0.hT", "0.cT". A node test has as many of these as it says something about.

ONNX has the gates in the orders i, o, f, c and z, r, h, an LSTM's peepholes in the order i, o, f,
sequences time-major, and keeps the rows of a coupled forget gate, which it does not read. Its two
biases only ever appear in a sum, but for the h of a GRU that resets after the product.
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
        2,
        5,
        [2, 5, 3],
        "bidirectional",
        {"coupled": 1, "peepholes": 1},
    ),
    "NIAF, NOAF": (
        3,
        4,
        [4, 2],
        "forward",
        {
            "peepholes": 1,
            "cell": ("affine", 1.0, 0.0),
            "output": ("affine", 1.0, 0.0),
        },
    ),
    "hard_sigmoid, softsign, elu": (
        3,
        4,
        [4, 2],
        "forward",
        {
            "peepholes": 1,
            "gate": ("hard_sigmoid", 0.3, 0.4),
            "cell": "softsign",
            "output": ("elu", 0.7),
        },
    ),
    "logistic, relu, softplus": (3, 4, [4, 2], "forward", {"cell": "relu", "output": "softplus"}),
    "logistic, leaky_relu, scaled_tanh": (
        3,
        4,
        [4, 2],
        "forward",
        {
            "cell": ("leaky_relu", 0.15),
            "output": ("scaled_tanh", 1.3, 0.6),
        },
    ),
    "logistic, thresholded_relu, affine": (
        3,
        4,
        [4, 2],
        "forward",
        {
            "cell": ("thresholded_relu", 0.2),
            "output": ("affine", 0.8, 0.1),
        },
    ),
}

# name -> inputs, units, lengths, direction, whether the reset comes after the product, activations,
# which program
GRU_CASES = {
    "gru, reset after": (3, 5, [4, 4], "forward", True, {}, "runtime"),
    "gru, reset before": (3, 5, [4, 4], "forward", False, {}, "runtime"),
    "gru, reset after, reverse": (2, 4, [2, 4, 3], "reverse", True, {}, "runtime"),
    "gru, reset before, reverse": (2, 4, [2, 4, 3], "reverse", False, {}, "runtime"),
    "gru, reset after, bidirectional": (3, 4, [3, 5, 1], "bidirectional", True, {}, "runtime"),
    "gru, reset before, bidirectional": (3, 4, [3, 5, 1], "bidirectional", False, {}, "runtime"),
    "gru, reset after, hard_sigmoid, softsign": (
        3,
        4,
        [4, 2],
        "forward",
        True,
        {"gate": ("hard_sigmoid", 0.3, 0.4), "cell": "softsign"},
        "runtime",
    ),
    "gru, reset before, hard_sigmoid, scaled_tanh": (
        3,
        4,
        [4, 2],
        "forward",
        False,
        {"gate": ("hard_sigmoid", 0.3, 0.4), "cell": ("scaled_tanh", 1.3, 0.6)},
        "runtime",
    ),
    "gru, reset after, reference": (3, 4, [5, 5], "forward", True, {}, "reference"),
    "gru, reset before, reference": (3, 4, [5, 5], "forward", False, {}, "reference"),
    "gru, reset before, reference, 17 units": (2, 17, [3, 3], "forward", False, {}, "reference"),
    "gru, reset after, reference, bidirectional": (
        3,
        4,
        [4, 4],
        "bidirectional",
        True,
        {},
        "reference",
    ),
    "gru, reset before, reference, bidirectional": (
        3,
        4,
        [4, 4],
        "bidirectional",
        False,
        {},
        "reference",
    ),
    "gru, reset before, reference, reverse": (2, 3, [5, 5], "reverse", False, {}, "reference"),
}

# name -> direction; all of them reset before the product
NODE_TESTS = {
    "test_gru_defaults": "forward",
    "test_gru_with_initial_bias": "forward",
    "test_gru_seq_length": "forward",
    "test_gru_batchwise": "forward",
    "test_gru_reverse": "reverse",
    "test_gru_bidirectional": "bidirectional",
}

ONNX_ACTIVATIONS = {
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "elu": "Elu",
    "leaky_relu": "LeakyRelu",
    "hard_sigmoid": "HardSigmoid",
    "scaled_tanh": "ScaledTanh",
    "thresholded_relu": "ThresholdedRelu",
    "affine": "Affine",
}
N_PARAMETERS = {
    "elu": 1,
    "leaky_relu": 1,
    "thresholded_relu": 1,
    "hard_sigmoid": 2,
    "scaled_tanh": 2,
    "affine": 2,
}


def from_onnx_rows(array, units, order, onnx_order="iofg"):
    """Reorder rows that ONNX stacks in its order to lstmcore's order."""
    parts = {gate: array[k * units : (k + 1) * units] for k, gate in enumerate(onnx_order)}
    return np.concatenate([parts[gate] for gate in order])


def onnx_activations(options, directions, roles=("gate", "cell", "output")):
    """The node's attributes; ONNX lists only the parameters of activations that have them."""
    names, alphas, betas = [], [], []
    for role in roles:
        given = options.get(role, "logistic" if role == "gate" else "tanh")
        name, *parameters = (given,) if isinstance(given, str) else given
        names.append(ONNX_ACTIVATIONS[name])
        count = N_PARAMETERS.get(name, 0)
        alphas += parameters[:1] if count >= 1 else []
        betas += parameters[1:] if count == 2 else []
    lists = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    return {key: value * directions for key, value in lists.items() if value}


def make_model(kind, feeds, outputs, **attributes):
    """A model of one node that has all inputs and outputs of the model."""
    from onnx import TensorProto, helper

    types = {
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
        "int32": TensorProto.INT32,
    }
    graph = helper.make_graph(
        [helper.make_node(kind, list(feeds), outputs, **attributes)],
        kind.lower(),
        [
            helper.make_tensor_value_info(key, types[value.dtype.name], value.shape)
            for key, value in feeds.items()
        ],
        [helper.make_tensor_value_info(key, types[feeds["X"].dtype.name], None) for key in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def run_model(model, outputs, feeds):
    """By ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(outputs, feeds)


def prefixes(n_directions):
    return ("0.",) if n_directions == 1 else ("0.forward.", "0.backward.")


def make_case(name, seed=0):
    """The arrays of a case of the LSTM, {array: value}, from random weights and data."""
    inputs, units, lengths, direction, options = CASES[name]
    directions = 2 if direction == "bidirectional" else 1
    B, T, D = len(lengths), max(lengths), directions
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    feeds = {
        "X": uniform(T, B, inputs),
        "W": uniform(D, 4 * units, inputs),
        "R": uniform(D, 4 * units, units),
        "B": np.concatenate([uniform(D, 4 * units), np.zeros((D, 4 * units), np.float32)], axis=1),
        "sequence_lens": np.array(lengths, np.int32),
        "initial_h": uniform(D, B, units),
        "initial_c": uniform(D, B, units),
        "P": uniform(D, 3 * units) * options.get("peepholes", 0),
    }
    outputs = ["Y", "Y_h", "Y_c"]
    model = make_model(
        "LSTM",
        feeds,
        outputs,
        hidden_size=units,
        direction=direction,
        input_forget=options.get("coupled", 0),
        **onnx_activations(options, D),
    )
    Y, Y_h, Y_c = run_model(model, outputs, feeds)

    own = "io" if options.get("coupled") else "ifo"
    arrays = {
        "lengths": np.array(lengths),
        "x": feeds["X"].transpose(1, 0, 2),
        "y": Y.transpose(2, 0, 1, 3).reshape(B, T, D * units),
    }
    for d, prefix in enumerate(prefixes(D)):
        rows = "".join(gate for gate in "ifgo" if gate in own + "g")
        for block, value in (("W", feeds["W"]), ("R", feeds["R"]), ("b", feeds["B"])):
            arrays[prefix + block] = from_onnx_rows(value[d], units, rows)
        if options.get("peepholes"):
            peepholes = from_onnx_rows(feeds["P"][d], units, own)
            arrays[prefix + "p"] = peepholes.reshape(len(own), units)
        arrays |= {
            prefix + "h0": feeds["initial_h"][d],
            prefix + "c0": feeds["initial_c"][d],
            prefix + "hT": Y_h[d],
            prefix + "cT": Y_c[d],
        }
    return arrays


def gru_blocks(W, R, B, reset_after):
    """The blocks of one direction of a GRU from what ONNX calls W, R and B."""
    units = R.shape[1]
    of_inputs, of_outputs = (from_onnx_rows(b, units, "rzn", "zrn") for b in np.split(B, 2))
    blocks = {
        "W": from_onnx_rows(W, units, "rzn", "zrn"),
        "R": from_onnx_rows(R, units, "rzn", "zrn"),
    }
    if reset_after:
        blocks["bR"] = of_outputs[2 * units :].copy()
        of_outputs[2 * units :] = 0
    return blocks | {"b": of_inputs + of_outputs}


def make_gru_case(name, seed=0):
    """The arrays of a case of the GRU, {array: value}, from random weights and data."""
    from onnx.reference import ReferenceEvaluator

    inputs, units, lengths, direction, reset_after, options, program = GRU_CASES[name]
    B, T, D = len(lengths), max(lengths), 2 if direction == "bidirectional" else 1
    rng, dtype = np.random.default_rng(seed), "float32" if program == "runtime" else "float64"

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(dtype)

    feeds = {
        "X": uniform(T, B, inputs),
        "W": uniform(D, 3 * units, inputs),
        "R": uniform(D, 3 * units, units),
        "B": uniform(D, 6 * units),
        "sequence_lens": np.array(lengths, np.int32),
        "initial_h": uniform(D, B, units),
    }
    outputs = ["Y", "Y_h"]
    model = make_model(
        "GRU",
        feeds,
        outputs,
        hidden_size=units,
        direction=direction,
        linear_before_reset=int(reset_after),
        **onnx_activations(options, D, ("gate", "cell")),
    )
    if program == "runtime":
        Y, Y_h = run_model(model, outputs, feeds)
    else:
        Y, Y_h = ReferenceEvaluator(model).run(outputs, feeds)

    arrays = {
        "lengths": np.array(lengths),
        "x": feeds["X"].transpose(1, 0, 2),
        "y": Y.transpose(2, 0, 1, 3).reshape(B, T, D * units),
    }
    for d, prefix in enumerate(prefixes(D)):
        blocks = gru_blocks(feeds["W"][d], feeds["R"][d], feeds["B"][d], reset_after)
        arrays |= {prefix + block: value for block, value in blocks.items()}
        arrays |= {prefix + "h0": feeds["initial_h"][d], prefix + "hT": Y_h[d]}
    return arrays


def node_tests():
    """The arrays of every node test of the GRU, {name: {array: value}}."""
    from onnx import helper
    from onnx.backend.test.case.node import collect_testcases

    np.random.seed(0)  # noqa: NPY002  (one of the tests draws its weights from here)
    tests = {}
    for test in collect_testcases("GRU"):
        (node,), ((given, wanted),) = test.model.graph.node, test.data_sets
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        feeds = dict(zip(filter(None, node.input), given, strict=True))
        results = dict(zip(filter(None, node.output), wanted, strict=True))
        if attributes.get("layout", 0) == 0:
            feeds["X"] = feeds["X"].swapaxes(0, 1)
            if "Y" in results:
                results["Y"] = results["Y"].transpose(2, 0, 1, 3)
        else:
            results["Y_h"] = results["Y_h"].swapaxes(0, 1)
        (B, T, _), D, units = feeds["X"].shape, len(feeds["W"]), attributes["hidden_size"]
        biases = feeds.get("B", np.zeros((D, 6 * units), np.float32))
        arrays = {"lengths": np.full(B, T), "x": feeds["X"]}
        if "Y" in results:
            arrays["y"] = results["Y"].reshape(B, T, D * units)
        for d, prefix in enumerate(prefixes(D)):
            blocks = gru_blocks(
                feeds["W"][d], feeds["R"][d], biases[d], attributes.get("linear_before_reset", 0)
            )
            arrays |= {prefix + block: value for block, value in blocks.items()}
            arrays[prefix + "hT"] = results["Y_h"][d]
        tests[test.name] = arrays
    if tests.keys() != NODE_TESTS.keys():
        raise SystemExit(f"make_onnx.py: expected {sorted(NODE_TESTS)}, got {sorted(tests)}")
    return tests


def main():
    import onnx
    import onnxruntime

    path = Path(__file__).with_name("onnx.npz")
    cases = {name: make_case(name) for name in CASES}
    cases |= {name: make_gru_case(name) for name in GRU_CASES} | node_tests()
    vectors = {f"{name}/{key}": value for name in cases for key, value in cases[name].items()}
    made_with = f"ONNX Runtime {onnxruntime.__version__}, ONNX {onnx.__version__}"
    np.savez_compressed(path, made_with=made_with, **vectors)
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

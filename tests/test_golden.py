"""The kernels against other people's LSTMs: vectors on disk, and PyTorch itself when it is there.

`golden/make_torch.py` and `golden/make_onnx.py` say what the vectors are and made them.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers import Problem, assert_close, lstm_cell, rnn_cell, run_backward, run_forward

GOLDEN = Path(__file__).with_name("golden")
BLOCKS = ("W", "R", "b", "p", "Q")


def load_maker(name):
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_cases(filename):
    """{case: {array: value}}"""
    cases = {}
    with np.load(GOLDEN / filename) as vectors:
        for key in vectors.files:
            case, _, array = key.rpartition("/")
            if case:
                cases.setdefault(case, {})[array] = vectors[key]
    return cases


TORCH_CASES = load_cases("torch.npz")
ONNX_CASES = load_cases("onnx.npz")
ONNX_LAYERS = load_maker("make_onnx").CASES


def layers_of(case):
    """Layer by layer, the prefixes of its directions' arrays: [["0."], ["1.forward.", ...]]."""
    prefixes = {key.removesuffix("W") for key in case if key.endswith(".W")}
    numbers = sorted({int(prefix.partition(".")[0]) for prefix in prefixes})
    return [
        [p for p in (f"{n}.", f"{n}.forward.", f"{n}.backward.") if p in prefixes] for n in numbers
    ]


def run_layers(kernels, case, make_cell, *, reverse=0, backward=True):
    """Outputs and gradients of a stack, under the golden vectors' names.

    A stack of layers is a chain of kernel calls: outputs of both directions side by side are the
    next layer's x, and its dx, to which both directions add, is this layer's dy.
    """
    x, results, done = case["x"], {}, []
    for prefixes in layers_of(case):
        calls = []
        for direction, prefix in enumerate(prefixes):
            blocks = {name: case[prefix + name] for name in BLOCKS if prefix + name in case}
            states = {name: case.get(prefix + name) for name in ("h0", "c0", "dhT", "dcT")}
            cell = make_cell(x.shape[2], blocks["R"].shape[1])
            problem = Problem(
                cell, blocks, x, case["lengths"].astype(np.intp), reverse=reverse or direction,
                **states,
            )  # fmt: skip
            outputs, tapes = run_forward(kernels, problem, training=backward)
            results |= {f"{prefix}{state}": outputs[state] for state in ("hT", "cT")}
            calls.append((prefix, problem, tapes, outputs["y"]))
        done.append(calls)
        x = np.concatenate([y for *_, y in calls], axis=2)
    results["y"] = x
    if not backward:
        return results
    dy = case["dy"]
    for calls in reversed(done):
        dx = 0
        for (prefix, problem, tapes, _), dy_direction in zip(
            calls, np.split(dy, len(calls), axis=2), strict=True
        ):
            problem.dy = dy_direction
            gradients = run_backward(kernels, problem, tapes)
            dx = dx + gradients.pop("x")
            results |= {f"{prefix}d{name}": value for name, value in gradients.items()}
        dy = dx
    results["dx"] = dy
    return results


def torch_cell(name):
    """The maker of a case's cells, by the first words of its name: lstm, rnn tanh, rnn relu."""
    kind, _, activation = name.partition(",")[0].partition(" ")
    if kind == "lstm":
        return lstm_cell
    return lambda inputs, units: rnn_cell(inputs, units, activation=activation)


def claims(case):
    """What a case says about results: all its arrays but the givens."""
    givens = ("x", "lengths", "dy", "W", "R", "b", "p", "h0", "c0", "dhT", "dcT")
    return {key: value for key, value in case.items() if key.rpartition(".")[2] not in givens}


@pytest.mark.parametrize("name", TORCH_CASES)
def test_outputs_and_all_gradients_equal_pytorch_to_1e_12(implementation, name):
    case = TORCH_CASES[name]
    assert_close(run_layers(implementation, case, torch_cell(name)), claims(case), 1e-12)


@pytest.mark.parametrize("name", TORCH_CASES)
def test_outputs_and_all_gradients_equal_pytorch_live(kernels, name):
    pytest.importorskip("torch")
    case = load_maker("make_torch").make_case(name, seed=1)
    assert_close(run_layers(kernels, case, torch_cell(name)), claims(case), 1e-12)


@pytest.mark.parametrize("name", ONNX_CASES)
def test_peepholes_cifg_and_activations_equal_onnx_runtime_to_1e_6(implementation, name):
    case = ONNX_CASES[name]
    *_, direction, options = ONNX_LAYERS[name]
    got = run_layers(
        implementation, case, lambda inputs, units: lstm_cell(inputs, units, **options),
        reverse=int(direction == "reverse"), backward=False,
    )  # fmt: skip
    assert_close(got, claims(case), 1e-6)

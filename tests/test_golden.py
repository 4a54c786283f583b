"""The cells against other people's: vectors on disk, and PyTorch itself when it is there.

`golden/make_torch.py` and `golden/make_onnx.py` say what the vectors are and made them.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers import Problem, assert_close, gru_cell, lstm_cell, rnn_cell, run_backward, run_forward

import lstmcore as lc

GOLDEN = Path(__file__).with_name("golden")
BLOCKS = ("W", "R", "b", "p", "Q", "bR")


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
ONNX = load_maker("make_onnx")
GRU_IN_TORCH = [name for name in TORCH_CASES if name.startswith("gru")]
GRU_IN_ONNX = [*ONNX.GRU_CASES, *ONNX.NODE_TESTS]


def layers_of(case):
    """Layer by layer, the prefixes of its directions' arrays: [["0."], ["1.forward.", ...]]."""
    prefixes = {key.removesuffix("W") for key in case if key.endswith(".W")}
    numbers = sorted({int(prefix.partition(".")[0]) for prefix in prefixes})
    return [
        [p for p in (f"{n}.", f"{n}.forward.", f"{n}.backward.") if p in prefixes] for n in numbers
    ]


def by_kernels(kernels, make_cell):
    """What runs one direction for `run_layers`, by an implementation of the kernels."""

    def run(blocks, x, lengths, states, reverse, training):
        cell = make_cell(x.shape[2], blocks["R"].shape[1])
        problem = Problem(cell, blocks, x, lengths.astype(np.intp), reverse=reverse, **states)
        outputs, tapes = run_forward(kernels, problem, training=training)

        def back(dy):
            problem.dy = dy
            return run_backward(kernels, problem, tapes)

        return outputs, back

    return run


def by_functions(options):
    """What runs one direction for `run_layers`, by `gru_forward` and `gru_backward`."""

    def run(blocks, x, lengths, states, reverse, training):
        def in_order(steps):
            return reversed_steps(steps, lengths) if reverse else steps

        h, hT, tape = lc.gru_forward(
            in_order(x), **blocks, h0=states["h0"], lengths=lengths, save=training, **options
        )

        def back(dy):
            gradients = lc.gru_backward(in_order(dy), tape, states["dhT"])
            return gradients | {"x": in_order(gradients["x"])}

        return {"y": in_order(h), "hT": hT}, back

    return run


def reversed_steps(steps, lengths):
    """(B, T, n) with every sequence reversed within its length."""
    result = steps.copy()
    for b, length in enumerate(lengths):
        result[b, :length] = steps[b, :length][::-1]
    return result


def run_layers(case, run, *, reverse=0, backward=True):
    """Outputs and gradients of a stack, under the golden vectors' names.

    A stack of layers is a chain of calls of `run`: outputs of both directions side by side are the
    next layer's x, and its dx, to which both directions add, is this layer's dy.
    """
    x, results, done = case["x"], {}, []
    for prefixes in layers_of(case):
        calls = []
        for direction, prefix in enumerate(prefixes):
            blocks = {name: case[prefix + name] for name in BLOCKS if prefix + name in case}
            states = {name: case.get(prefix + name) for name in ("h0", "c0", "dhT", "dcT")}
            outputs, back = run(blocks, x, case["lengths"], states, reverse or direction, backward)
            y = outputs.pop("y")
            results |= {f"{prefix}{name}": value for name, value in outputs.items()}
            calls.append((prefix, back, y))
        done.append(calls)
        x = np.concatenate([y for *_, y in calls], axis=2)
    results["y"] = x
    if not backward:
        return results
    dy = case["dy"]
    for calls in reversed(done):
        dx = 0
        for (prefix, back, _), dy_direction in zip(
            calls, np.split(dy, len(calls), axis=2), strict=True
        ):
            gradients = back(dy_direction)
            dx = dx + gradients.pop("x")
            results |= {f"{prefix}d{name}": value for name, value in gradients.items()}
        dy = dx
    results["dx"] = dy
    return results


def torch_cell(name):
    """The maker of a case's cells, by how its name begins: lstm, gru, rnn tanh, rnn relu."""
    kind, _, activation = name.partition(",")[0].partition(" ")
    if kind == "rnn":
        return lambda inputs, units: rnn_cell(inputs, units, activation=activation)
    return {"lstm": lstm_cell, "gru": gru_cell}[kind]


def claims(case):
    """What a case says about results: all its arrays but the givens."""
    givens = ("x", "lengths", "dy", *BLOCKS, "h0", "c0", "dhT", "dcT")
    return {key: value for key, value in case.items() if key.rpartition(".")[2] not in givens}


@pytest.mark.parametrize("name", TORCH_CASES)
def test_outputs_and_all_gradients_equal_pytorch_to_1e_12(implementation, name):
    case = TORCH_CASES[name]
    got = run_layers(case, by_kernels(implementation, torch_cell(name)))
    assert_close(got, claims(case), 1e-12)


@pytest.mark.parametrize("name", TORCH_CASES)
def test_outputs_and_all_gradients_equal_pytorch_live(kernels, name):
    pytest.importorskip("torch")
    case = load_maker("make_torch").make_case(name, seed=1)
    assert_close(run_layers(case, by_kernels(kernels, torch_cell(name))), claims(case), 1e-12)


@pytest.mark.parametrize("name", GRU_IN_TORCH)
def test_gru_functions_equal_pytorch_to_1e_12(name):
    case = TORCH_CASES[name]
    assert_close(run_layers(case, by_functions({})), claims(case), 1e-12)


@pytest.mark.parametrize("name", ONNX.CASES)
def test_peepholes_cifg_and_activations_equal_onnx_runtime_to_1e_6(implementation, name):
    case = ONNX_CASES[name]
    *_, direction, options = ONNX.CASES[name]
    run = by_kernels(implementation, lambda inputs, units: lstm_cell(inputs, units, **options))
    got = run_layers(case, run, reverse=int(direction == "reverse"), backward=False)
    assert_close(got, claims(case), 1e-6)


def onnx_gru(name):
    """(direction, reset_after, activations) of a case."""
    if name in ONNX.NODE_TESTS:
        return ONNX.NODE_TESTS[name], False, {}
    _, _, _, direction, reset_after, activations, _ = ONNX.GRU_CASES[name]
    return direction, reset_after, activations


def onnx_tolerance(case):
    """By the precision of the program that made it."""
    return {"float32": 1e-6, "float64": 1e-12}[case["x"].dtype.name]


@pytest.mark.parametrize("name", GRU_IN_ONNX)
def test_both_resets_of_a_gru_equal_onnx(implementation, name):
    case = ONNX_CASES[name]
    direction, reset_after, activations = onnx_gru(name)
    run = by_kernels(
        implementation,
        lambda inputs, units: gru_cell(inputs, units, reset_after=int(reset_after), **activations),
    )
    got = run_layers(case, run, reverse=int(direction == "reverse"), backward=False)
    assert_close(got, claims(case), onnx_tolerance(case))


@pytest.mark.parametrize("name", GRU_IN_ONNX)
def test_both_resets_of_gru_functions_equal_onnx(name):
    case = ONNX_CASES[name]
    direction, reset_after, activations = onnx_gru(name)
    named = {f"{role}_activation": activation for role, activation in activations.items()}
    run = by_functions({"reset_after": reset_after} | named)
    got = run_layers(case, run, reverse=int(direction == "reverse"), backward=False)
    assert_close(got, claims(case), onnx_tolerance(case))


@pytest.mark.parametrize("name", [name for name in GRU_IN_ONNX if "y" in ONNX_CASES[name]])
def test_gru_layers_of_every_direction_equal_onnx(name):
    case = ONNX_CASES[name]
    direction, reset_after, activations = onnx_gru(name)
    blocks = {key: value for key, value in case.items() if key.rpartition(".")[2] in BLOCKS}
    R = next(value for key, value in blocks.items() if key.endswith(".R"))
    layer = lc.GRU(
        case["x"].shape[2],
        R.shape[1],
        reset_after=reset_after,
        direction="both" if direction == "bidirectional" else direction,
        learn_initial_state=True,
        **{f"{role}_activation": activation for role, activation in activations.items()},
    )
    net = lc.Network([layer], dtype=case["x"].dtype, seed=0)
    for key, value in blocks.items():
        net.blocks[key][...] = value
    y = np.zeros_like(case["y"])
    for b, length in enumerate(case["lengths"]):  # each has its own initial state
        for key in net.blocks:
            if key.endswith(".h0"):
                net.blocks[key][...] = case[key][b] if key in case else 0
        y[b, :length] = net.predict(case["x"][b : b + 1, :length])[0]
    assert_close({"y": y}, {"y": case["y"]}, onnx_tolerance(case))

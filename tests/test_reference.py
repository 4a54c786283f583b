"""The NumPy twin is the specification, so it is held against what does not come from this project:
the definition of the derivative, formulas written out for single steps, PyTorch and ONNX Runtime
(the latter two in `test_golden.py`).
"""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import zoo
from helpers import (
    assert_gradient_is_the_derivative,
    gru_cell,
    lstm_cell,
    random_problem,
    run,
    run_forward,
)

from lstmcore import _reference
from lstmcore._activations import ACTIVATIONS, parse_activation

LENGTHS = [3, 4, 0, 1]  # unequal, not ranked, one empty, one without a recurrent step


cells = pytest.mark.parametrize("make_cell", zoo.CELLS.values(), ids=zoo.CELLS)
reverses = pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
with_blocks = {name: cell for name, cell in zoo.CELLS.items() if cell.takes("block_size")}


@reverses
@cells
def test_gradient_of_every_cell_is_the_derivative(make_cell, reverse):
    problem = random_problem(make_cell(2, 4), LENGTHS, reverse=reverse)
    assert_gradient_is_the_derivative(_reference, problem)


@reverses
@pytest.mark.parametrize("make_cell", with_blocks.values(), ids=with_blocks)
def test_gradient_of_every_cell_with_shared_gates_is_the_derivative(make_cell, reverse):
    problem = random_problem(make_cell(2, 4, block_size=2), LENGTHS, reverse=reverse)
    assert_gradient_is_the_derivative(_reference, problem)


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
@pytest.mark.parametrize("make_cell, option", zoo.ROLES)
def test_gradient_of_every_activation_is_the_derivative(make_cell, option, activation):
    cell = make_cell(2, 3, **{option: activation})
    problem = random_problem(cell, LENGTHS, scale=0.6)
    assert_gradient_is_the_derivative(_reference, problem, most=6)


@cells
def test_tokens_are_one_hot_inputs(make_cell):
    problem = random_problem(make_cell(5, 4), LENGTHS, tokens=True)
    one_hot = np.eye(5)[np.where(problem.x < 0, 0, problem.x)]
    by_token, by_vector = (run(_reference, p) for p in (problem, problem.with_tensor("x", one_hot)))
    for name, value in by_token.items():
        np.testing.assert_allclose(value, by_vector[name], rtol=1e-14, atol=1e-15)


def test_blocks_of_one_cell_are_the_plain_lstm_and_equal_cells_share_a_gate():
    # two cells of a block with equal weights stay equal, as they get the same gates
    problem = random_problem(lstm_cell(2, 4, block_size=2, peepholes=1), [4])
    gates = 2  # nb
    for name in ("W", "R", "b"):
        g = problem.blocks[name][2 * gates : 2 * gates + 4]  # rows i (2), f (2), g (4), o (2)
        g[1::2] = g[::2]
    problem.h0[:, 1::2], problem.c0[:, 1::2] = problem.h0[:, ::2], problem.c0[:, ::2]
    y = run_forward(_reference, problem)[0]["y"]
    assert np.array_equal(y[..., 1::2], y[..., ::2])


@pytest.mark.parametrize("peephole", ["now", "before", None])
def test_one_step_written_out(peephole):
    """(4.2)-(4.10) for one unit, with numbers."""

    def logistic(a):
        return 1 / (1 + np.exp(-a))

    problem = random_problem(lstm_cell(1, 1, peepholes=1, output_peephole=peephole), [1])
    (x,), h, c = problem.x[0, 0], problem.h0[0, 0], problem.c0[0, 0]
    a = problem.blocks["W"][:, 0] * x + problem.blocks["R"][:, 0] * h + problem.blocks["b"]
    p = problem.blocks["p"][:, 0]
    s = logistic(a[1] + p[1] * c) * c + logistic(a[0] + p[0] * c) * np.tanh(a[2])
    peeped = 0 if peephole is None else p[2] * (s if peephole == "now" else c)
    outputs, _ = run_forward(_reference, problem)
    np.testing.assert_allclose(outputs["cT"], [[s]], rtol=1e-14)
    np.testing.assert_allclose(outputs["hT"], [[logistic(a[3] + peeped) * np.tanh(s)]], rtol=1e-14)


@pytest.mark.parametrize(
    ("reset_after", "h", "gradients"),
    [
        # r = 2, z = 0.5, m = 7, n = 16; delta_n = 0.5, delta_z = -14, delta_r = 3.5
        (1, 9.0, {"b": [3.5, -14.0, 0.5], "bR": [1.0], "R": [7.0, -28.0, 2.0], "h0": [5.25]}),
        # n = 14; delta_n = 0.5, delta_z = -12, delta_r = 3
        (0, 8.0, {"b": [3.0, -12.0, 0.5], "R": [6.0, -24.0, 2.0], "h0": [5.0]}),
    ],
    ids=["reset after", "reset before"],
)
def test_one_step_of_a_gru_worked_out_by_hand(reset_after, h, gradients):
    """(G1)-(G9) for one unit without activations, from h(-1) = 2."""
    cell = gru_cell(1, 1, reset_after=reset_after, gate="identity", cell="identity")
    problem = random_problem(cell, [1])
    problem.x[...] = 1
    problem.h0[...] = 2
    problem.dy[...] = 1
    problem.dhT[...] = 0
    values = {"W": [1, 0.25, 1], "R": [0.5, 0, 3], "b": [0, 0.25, 1], "bR": [1]}
    for name, block in problem.blocks.items():
        block.flat[:] = values[name]
    results = run(_reference, problem)
    assert results["y"].item() == results["hT"].item() == h
    for name, expected in gradients.items():
        assert results[f"d{name}"].ravel().tolist() == expected
    assert (results["dW"].ravel() == results["db"]).all()  # whose input is 1 as well


def test_both_resets_agree_where_no_unit_reads_another():
    after = random_problem(gru_cell(2, 4), LENGTHS)
    after.blocks["R"][8:] *= np.eye(4)
    after.blocks["bR"][...] = 0
    blocks = {name: block for name, block in after.blocks.items() if name != "bR"}
    before = replace(after, cell=gru_cell(2, 4, reset_after=0), blocks=blocks)
    results = [run(_reference, problem) for problem in (after, before)]
    for name in ("y", "hT", "dx", "dW", "db", "dh0"):
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-12, atol=1e-14)


def test_gate_recurrence_reads_the_gates_of_the_step_before():
    # a second step whose gates are closed by Q alone, however strongly the first opened them
    problem = random_problem(lstm_cell(1, 1, gate_recurrence=1), [2], state=False)
    for name in ("W", "R"):
        problem.blocks[name][...] = 0
    problem.blocks["b"][...] = [50, 50, 1, 50]
    problem.blocks["Q"][...] = -60
    y = run_forward(_reference, problem)[0]["y"][0, :, 0]
    assert y[0] > 0.5
    assert abs(y[1]) < 1e-50


# a formula for every name, independent of the twin's
FORMULAS = {
    "identity": lambda x, a, b: x,
    "logistic": lambda x, a, b: 1 / (1 + mpmath.exp(-x)),
    "tanh": lambda x, a, b: mpmath.tanh(x),
    "relu": lambda x, a, b: max(x, 0),
    "logistic_1": lambda x, a, b: 2 / (1 + mpmath.exp(-x)) - 1,
    "logistic_2": lambda x, a, b: 4 / (1 + mpmath.exp(-x)) - 2,
    "softsign": lambda x, a, b: x / (1 + abs(x)),
    "softplus": lambda x, a, b: mpmath.log(1 + mpmath.exp(x)),
    "elu": lambda x, a, b: x if x > 0 else a * (mpmath.exp(x) - 1),
    "leaky_relu": lambda x, a, b: x if x > 0 else a * x,
    "hard_sigmoid": lambda x, a, b: min(max(a * x + b, 0), 1),
    "scaled_tanh": lambda x, a, b: a * mpmath.tanh(b * x),
    "thresholded_relu": lambda x, a, b: x if x > a else 0,
    "affine": lambda x, a, b: a * x + b,
}


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
def test_every_activation_has_the_value_of_its_formula(activation):
    code, alpha, beta = parse_activation(activation)
    x = np.concatenate([np.linspace(-40, 40, 321), [-1e-9, 0, 1e-9]])
    y = np.empty_like(x)
    _reference.apply_activation(code, alpha, beta, x, y)
    with mpmath.workdps(50):
        formula = FORMULAS[zoo.activation_label(activation)]
        exact = [float(formula(mpmath.mpf(v), mpmath.mpf(alpha), mpmath.mpf(beta))) for v in x]
    np.testing.assert_allclose(y, exact, rtol=1e-15, atol=1e-16)


def test_every_activation_has_a_setting_here():
    assert [zoo.activation_label(a) for a in zoo.ACTIVATIONS] == list(ACTIVATIONS) == list(FORMULAS)

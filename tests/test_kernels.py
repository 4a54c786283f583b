"""The compiled kernels against their NumPy twin, and the promises that only they make: equal bits
whatever the batch, the padding, the threads or the cut into calls; inputs never written; only the
steps that exist are touched.
"""

import threading
from dataclasses import replace

import numpy as np
import pytest
import zoo
from helpers import (
    STATES,
    assert_close,
    assert_gradient_is_the_derivative,
    assert_same_bits,
    lstm_cell,
    random_problem,
    ranked,
    run,
    run_backward,
    run_forward,
)
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from lstmcore import _reference
from lstmcore._activations import parse_activation
from lstmcore._dispatch import kernels as compiled
from lstmcore.cells import CELLS

# Rounding of a few hundred operations of order one; a wrong term is larger by orders of magnitude.
TOLERANCE = {"float64": 1e-13, "float32": 5e-5}
DTYPES = ["float64", "float32"]
UNEQUAL = [3, 6, 0, 1, 6, 2]  # unranked, with an empty sequence, one of one step, and ties

# H below, at and above the width of every vector type, and one more than a multiple of it
SIZES = {"one unit": 1, "less than a vector": 3, "whole vectors": 8, "one unit over": 17}

cells = pytest.mark.parametrize("make_cell", zoo.CELLS.values(), ids=zoo.CELLS)
representatives = pytest.mark.parametrize(
    "make_cell", zoo.REPRESENTATIVES.values(), ids=zoo.REPRESENTATIVES
)
recurrent = {name: cell for name, cell in zoo.REPRESENTATIVES.items() if cell.is_recurrent}
recurrent = pytest.mark.parametrize("make_cell", recurrent.values(), ids=recurrent)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def assert_equals_twin(kernels, problem, tolerance=None):
    """Outputs and gradients, float64 or float32, against the twin's in float64."""
    tolerance = TOLERANCE[problem.dtype.name] if tolerance is None else tolerance
    assert_close(run(kernels, problem), run(_reference, problem.astype("float64")), tolerance)


# -------------------------------------------------------------------------- the twin's numbers


@dtypes
@pytest.mark.parametrize("units", SIZES.values(), ids=SIZES)
@cells
def test_every_cell_equals_the_twin(kernels, make_cell, units, dtype):
    assert_equals_twin(kernels, random_problem(make_cell(5, units), UNEQUAL, dtype=dtype))


with_blocks = {name: cell for name, cell in zoo.CELLS.items() if cell.takes("block_size")}


@dtypes
@pytest.mark.parametrize("blocks, block_size", [(3, 2), (2, 5), (1, 4), (4, 8), (5, 3)])
@pytest.mark.parametrize("make_cell", with_blocks.values(), ids=with_blocks)
def test_every_cell_with_shared_gates_equals_the_twin(
    kernels, make_cell, blocks, block_size, dtype
):
    cell = make_cell(2, blocks * block_size, block_size=block_size)
    assert_equals_twin(kernels, random_problem(cell, UNEQUAL, dtype=dtype))


# alpha = 0 makes them flat on one side, where the value alone must still tell the slope
EDGE_SETTINGS = [("elu", 0.0), ("leaky_relu", 0.0), ("thresholded_relu", 0.0), ("affine", 0.0, 0.3)]


@dtypes
@pytest.mark.parametrize("activation", zoo.ACTIVATIONS + EDGE_SETTINGS, ids=str)
@pytest.mark.parametrize("make_cell, option", zoo.ROLES)
def test_every_activation_equals_the_twin(kernels, make_cell, option, activation, dtype):
    cell = make_cell(3, 9, **{option: activation})
    assert_equals_twin(kernels, random_problem(cell, [3, 4, 1], scale=0.6, dtype=dtype))


SHAPES = {
    "one of everything": (1, 1, [1]),
    "one sequence": (3, 9, [7]),
    "one step": (3, 9, [1] * 5),
    "no steps": (3, 9, [0, 0]),
    "one sequence without steps": (3, 9, [0]),
    "one input": (1, 9, UNEQUAL),
    "far more inputs than units": (300, 5, UNEQUAL),
    "far more units than inputs": (2, 100, [3, 2]),
    "a batch over the tile's height": (3, 9, [2] * 13),
    "a batch over the block's height": (3, 9, [2] * 101),
    "long and unequal, several chunks of BPTT": (3, 5, [400, 1, 250, 399]),
    "wide, several blocks of the sum over k": (200, 260, [2, 3]),
    "all of it": (23, 65, list(range(38))),
}


@dtypes
@pytest.mark.parametrize("inputs, units, lengths", SHAPES.values(), ids=SHAPES)
@representatives
def test_awkward_shapes_equal_the_twin(kernels, make_cell, inputs, units, lengths, dtype):
    problem = random_problem(make_cell(inputs, units), lengths, scale=1.0, dtype=dtype)
    # rounding errors grow with the number of products summed
    growth = max(1, sum(lengths) / 20, inputs / 20, units / 20)
    assert_equals_twin(kernels, problem, TOLERANCE[dtype] * growth)


@pytest.mark.parametrize(
    ("name", "dtype", "units", "rows"),
    [
        ("peepholes", "float64", 230, 256),
        ("peepholes", "float64", 320, 512),
        ("peepholes", "float32", 320, 256),
        ("GRU", "float64", 260, 256),
        ("GRU, reset before", "float64", 260, 256),
    ],
)
@pytest.mark.parametrize("lengths", [[650], [300, 1, 290]], ids=["one sequence", "three"])
def test_longer_chunks_of_bptt_where_the_gradient_is_large_equal_the_twin(
    kernels, lengths, name, dtype, units, rows
):
    cell = zoo.CELLS[name](units, units)
    problem = random_problem(cell, lengths, dtype=dtype)
    plan = kernels.plan_cell(cell, problem.dtype)
    assert kernels.chunk_rows(plan, len(lengths)) == rows
    assert_equals_twin(kernels, problem, TOLERANCE[dtype] * sum(lengths) / 20)
    assert_same_bits(run(kernels, problem, n_threads=3), run(kernels, problem))


@dtypes
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@pytest.mark.parametrize("tokens", [False, True], ids=["real inputs", "tokens"])
@pytest.mark.parametrize("state", [True, False], ids=["given state", "zero state"])
@cells
def test_reverse_tokens_and_states_equal_the_twin(
    kernels, make_cell, state, tokens, reverse, dtype
):
    problem = random_problem(
        make_cell(4, 9), UNEQUAL, T=8, tokens=tokens, reverse=reverse, state=state, dtype=dtype
    )
    assert_equals_twin(kernels, problem)


@st.composite
def problems(draw):
    # a class as often as it has options
    cls = draw(st.sampled_from([cls for cls in CELLS.values() for _ in zoo.options_of(cls)]))
    given = {}
    for option, default in zoo.options_of(cls).items():
        if option.endswith("activation"):
            given[option] = draw(st.sampled_from(zoo.ACTIVATIONS))
        elif isinstance(default, bool):
            given[option] = draw(st.booleans())
    units = draw(st.integers(1, 20))
    if "block_size" in zoo.options_of(cls):
        given["block_size"] = draw(st.integers(1, 4))
        units = given["block_size"] * draw(st.integers(1, 20 // given["block_size"]))
    try:
        layer = cls(draw(st.integers(1, 20)), units, **given)
    except ValueError:  # options that do not go together
        reject()
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    return random_problem(
        layer.cell.description,
        lengths,
        scale=0.5,
        tokens=draw(st.booleans()),
        reverse=draw(st.integers(0, 1)),
        state=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


@settings(max_examples=300, deadline=None, derandomize=True)
@given(problem=problems(), n_threads=st.integers(1, 4), cut=st.integers(0, 5))
def test_any_combination_of_options_equals_the_twin(problem, n_threads, cut):
    spans = [(0, min(cut, problem.steps)), (min(cut, problem.steps), problem.steps)]
    wanted = run(_reference, problem)
    if all(np.abs(value).max(initial=0) < 1e3 for value in wanted.values()):  # well conditioned
        assert_close(run(compiled, problem, n_threads=n_threads, spans=spans), wanted, 1e-11)


@pytest.mark.parametrize("units", SIZES.values(), ids=SIZES)
@cells
def test_gradient_of_every_cell_is_the_derivative(kernels, make_cell, units):
    problem = random_problem(make_cell(3, units), [3, 0, 5, 1], reverse=1)
    assert_gradient_is_the_derivative(kernels, problem)


@cells
def test_float32_is_float64_rounded(kernels, make_cell):
    # both from the same source, so what differs is rounding: about 1e-7 an operation
    single = random_problem(make_cell(7, 19), [9, 4, 0, 12], dtype="float32")
    assert_close(run(kernels, single), run(kernels, single.astype("float64")), 5e-6)


@dtypes
@recurrent
def test_saturated_units_stay_finite_and_equal_the_twin(kernels, make_cell, dtype):
    problem = random_problem(make_cell(3, 9), [3, 5], dtype=dtype)
    problem = problem.with_tensor("x", 1e4 * problem.x)
    outputs, _ = run_forward(kernels, problem)
    twin, _ = run_forward(_reference, problem)
    for name in ("y", *(f"{state}T" for state in STATES[problem.cell["kind"]])):
        np.testing.assert_allclose(outputs[name], twin[name], atol=TOLERANCE[dtype])
    for name, gradient in run(kernels, problem).items():
        assert np.isfinite(gradient).all(), name


# ------------------------------------------------------------------------------- equal bits


@dtypes
@pytest.mark.parametrize("tokens", [False, True], ids=["real inputs", "tokens"])
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@cells
def test_outputs_do_not_depend_on_the_batch_or_on_padding(
    kernels, make_cell, reverse, tokens, dtype
):
    lengths = [5, 0, 9, 1, 7, 7, 3, 9, 2, 4, 8, 6, 5, 9, 1]
    problem = random_problem(
        make_cell(6, 21), lengths, T=12, tokens=tokens, reverse=reverse, dtype=dtype
    )
    whole, _ = run_forward(kernels, problem)
    rng = np.random.default_rng(0)
    parts = [[b] for b in range(len(lengths))] + [rng.permutation(len(lengths))[:k] for k in (2, 7)]
    for part in parts:
        alone, _ = run_forward(kernels, problem.only(part))
        T = alone["y"].shape[1]
        expected = {
            name: value[part, :T] if name == "y" else value[part]
            for name, value in whole.items()
            if value is not None
        }
        assert_same_bits(alone, expected)


@dtypes
@representatives
def test_outputs_of_wide_layers_do_not_depend_on_the_batch(kernels, make_cell, dtype):
    # sums over k that are cut into blocks, and rows that are worked on alone, by twos, by threes
    problem = random_problem(make_cell(150, 200), [3, 1, 2, 3, 0, 3], dtype=dtype)
    whole, _ = run_forward(kernels, problem)
    for part in ([0], [1], [5], [2, 3], [5, 0, 3]):
        alone, _ = run_forward(kernels, problem.only(part))
        T = alone["y"].shape[1]
        assert_same_bits({"y": alone["y"]}, {"y": whole["y"][part, :T]})


@dtypes
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@representatives
def test_one_long_sequence_equals_its_single_steps(kernels, make_cell, reverse, dtype):
    # whole, its input products are taken for many steps at once
    problem = random_problem(make_cell(6, 21), [200], reverse=reverse, dtype=dtype)
    whole, _ = run_forward(kernels, problem)
    steps, _ = run_forward(kernels, problem, spans=[(t, t + 1) for t in range(200)])
    assert_same_bits(steps, {name: value for name, value in whole.items() if value is not None})


@dtypes
@cells
def test_gradients_of_inputs_and_states_do_not_depend_on_the_batch(kernels, make_cell, dtype):
    lengths = [5, 0, 9, 1, 7, 7, 3, 9]
    problem = random_problem(make_cell(6, 21), lengths, dtype=dtype)
    whole = run(kernels, problem)
    for b, length in enumerate(lengths):
        alone = run(kernels, problem.only([b]))
        expected = {name: whole[name][[b]] for name in ("dh0", "dc0") if name in whole}
        assert_same_bits(alone, expected | {"dx": whole["dx"][[b], :length]})


@dtypes
@pytest.mark.parametrize(
    "inputs, units, lengths",
    [
        (6, 21, UNEQUAL * 6),
        (3, 9, [50]),
        (40, 70, [30, 1, 20]),
        (2, 3, [0, 0]),
        (2, 3, [4, 1]),
        (3, 5, [400, 1, 250, 399]),
    ],
    ids=[
        "more sequences than threads",
        "one sequence",
        "wide",
        "no steps",
        "fewer sequences than threads",
        "several chunks of BPTT",
    ],
)
@cells
def test_nothing_depends_on_the_number_of_threads(
    kernels, make_cell, inputs, units, lengths, dtype
):
    problem = random_problem(make_cell(inputs, units), lengths, dtype=dtype)
    one = run(kernels, problem)
    for n_threads in (2, 3, 4):
        assert_same_bits(run(kernels, problem, n_threads=n_threads), one)


@dtypes
@pytest.mark.parametrize("tokens", [False, True], ids=["real inputs", "tokens"])
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", [[7], [4, 0, 7, 2, 7]], ids=["one sequence", "five sequences"])
@recurrent
def test_threads_that_share_the_units_give_the_same_bits(
    kernels, make_cell, lengths, reverse, tokens, dtype
):
    # few sequences and a wide layer: a thread has a part of the units, not of the sequences
    cell = make_cell(5, 330 if len(lengths) > 1 else 450)
    problem = random_problem(cell, lengths, T=9, reverse=reverse, tokens=tokens, dtype=dtype)
    one = run(kernels, problem)
    plan = kernels.plan_cell(cell, problem.dtype)
    for n_threads in (2, 3, 4):
        assert kernels.shares_units(plan, len(lengths), n_threads)
    for n_threads in (2, 3, 4, 7):
        assert_same_bits(run(kernels, problem, n_threads=n_threads), one)


def cuts_of(steps):
    return {
        "step by step": [(t, t + 1) for t in range(steps)],
        "two calls": [(0, steps // 2), (steps // 2, steps)],
        "unequal calls, one without steps": [(0, 1), (1, 1), (1, steps - 2), (steps - 2, steps)],
        "beyond the longest": [(0, steps - 1), (steps - 1, steps + 5)],
    }


@dtypes
@pytest.mark.parametrize("cut", cuts_of(9))
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@cells
def test_outputs_do_not_depend_on_the_cut_into_calls(kernels, make_cell, reverse, cut, dtype):
    problem = random_problem(
        make_cell(6, 21), [5, 0, 9, 1, 7, 7, 3, 9], reverse=reverse, dtype=dtype
    )
    whole, _ = run_forward(kernels, problem)
    pieces, _ = run_forward(kernels, problem, spans=cuts_of(9)[cut])
    assert_same_bits(pieces, {name: value for name, value in whole.items() if value is not None})


@dtypes
@pytest.mark.parametrize("cut", cuts_of(9))
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@cells
def test_gradients_add_up_over_calls(kernels, make_cell, reverse, cut, dtype):
    problem = random_problem(
        make_cell(6, 21), [5, 0, 9, 1, 7, 7, 3, 9], reverse=reverse, dtype=dtype
    )
    whole, pieces = run(kernels, problem), run(kernels, problem, spans=cuts_of(9)[cut])
    by_sequence = {name for name in whole if name in ("dx", "dh0", "dc0")}
    assert_same_bits(pieces, {name: whole[name] for name in by_sequence})
    assert_close(pieces, whole, TOLERANCE[dtype])


@cells
def test_outputs_do_not_depend_on_keeping_the_tape(kernels, make_cell):
    problem = random_problem(make_cell(6, 21), UNEQUAL)
    kept, _ = run_forward(kernels, problem)
    dropped, _ = run_forward(kernels, problem, training=False)
    assert_same_bits(dropped, {name: value for name, value in kept.items() if value is not None})


@cells
def test_a_sequence_of_nan_and_infinity_leaves_the_others_alone(kernels, make_cell):
    problem = random_problem(make_cell(6, 21), [4, 4, 4, 3, 2])
    clean, _ = run_forward(kernels, problem)
    problem.x[1], problem.x[3] = np.nan, np.inf
    spoilt, _ = run_forward(kernels, problem)
    others = [0, 2, 4]
    assert np.isnan(spoilt["y"][1]).all()
    assert_same_bits(
        {name: value[others] for name, value in spoilt.items() if value is not None},
        {name: value[others] for name, value in clean.items() if value is not None},
    )


# ------------------------------------------------------------------------ memory of the caller


@dtypes
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@cells
def test_strided_arrays_are_read_and_written_in_place(kernels, make_cell, reverse, dtype):
    """x, y, dy, dx as parts of larger arrays (time-major, every second step, half of the features);
    h0, c0, hT, cT and their gradients as columns of larger arrays."""
    problem = random_problem(make_cell(6, 11), UNEQUAL, reverse=reverse, dtype=dtype)
    wanted = run(kernels, problem)
    canary = 7.0
    wholes = []

    def within(array):
        """A view with the array's contents inside a larger array full of canaries."""
        B, *T, F = array.shape
        whole = np.full((3 * T[0] if T else 1, B, F + 5), canary, dtype)
        columns = slice(2, F + 2)
        view = whole[1::3, :, columns].transpose(1, 0, 2) if T else whole[0, :, columns]
        view[...] = array
        wholes.append((whole, view))
        return view

    moved = replace(
        problem,
        **{
            name: within(getattr(problem, name))
            for name in ("x", "dy", "h0", "c0", "dhT", "dcT")
            if getattr(problem, name) is not None
        },
    )
    out = {
        name: within(np.zeros_like(wanted[name]))
        for name in ("y", "hT", "cT", "dx", "dh0", "dc0")
        if name in wanted
    }
    outputs, tapes = run_forward(kernels, moved, out=out)
    gradients = run_backward(kernels, moved, tapes, out=out)
    got = outputs | {"d" + name: value for name, value in gradients.items()}
    assert_same_bits(got, wanted)
    for whole, view in wholes:
        view[...] = canary
        assert (whole == canary).all()


@cells
def test_one_initial_state_may_stand_for_all_sequences(kernels, make_cell):
    problem = random_problem(make_cell(6, 11), UNEQUAL)
    names = [name for name in ("h0", "c0") if getattr(problem, name) is not None]
    rows = {name: getattr(problem, name)[:1] for name in names}
    B = len(UNEQUAL)
    broadcast = {name: np.broadcast_to(row, (B, row.shape[1])) for name, row in rows.items()}
    repeated = {name: np.repeat(row, B, axis=0) for name, row in rows.items()}
    assert_same_bits(
        run(kernels, replace(problem, **broadcast)), run(kernels, replace(problem, **repeated))
    )


@dtypes
@pytest.mark.parametrize("tokens", [False, True], ids=["real inputs", "tokens"])
@cells
def test_inputs_are_never_written(kernels, make_cell, tokens, dtype):
    problem = random_problem(make_cell(6, 11), UNEQUAL, tokens=tokens, dtype=dtype)
    arrays = problem.arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    for n_threads in (1, 2):
        run(kernels, problem, n_threads=n_threads)
    assert_same_bits(arrays, before)


@dtypes
@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@cells
def test_outputs_and_dx_are_touched_only_where_steps_are(kernels, make_cell, reverse, dtype):
    problem = random_problem(make_cell(6, 11), UNEQUAL, T=9, reverse=reverse, dtype=dtype)
    padding = np.arange(9) >= problem.lengths[:, None]
    y = np.full((len(UNEQUAL), 9, 11), 7, dtype)
    _, tapes = run_forward(kernels, problem, out={"y": y})
    assert (y[padding] == 7).all()
    assert (np.abs(y[~padding]) < 7).all()
    dx = np.full((len(UNEQUAL), 9, 6), 7, dtype)
    run_backward(kernels, problem, tapes, out={"dx": dx})
    assert (dx[padding] == 7).all()


@dtypes
@cells
def test_dx_and_the_weights_gradient_are_added_to(kernels, make_cell, dtype):
    problem = random_problem(make_cell(6, 11), UNEQUAL, dtype=dtype)
    _, tapes = run_forward(kernels, problem)
    once = run_backward(kernels, problem, tapes)
    plan = kernels.plan_cell(problem.cell, problem.dtype)
    grad = np.zeros(kernels.sizes(plan)[2], problem.dtype)
    out = {"dx": np.ones_like(problem.x), "grad": grad}
    run_backward(kernels, problem, tapes, out=out)
    twice = run_backward(kernels, problem, tapes, out=out)
    wanted = {name: 2 * value for name, value in once.items() if name in problem.blocks}
    wanted |= {name: once[name] for name in ("h0", "c0") if name in once}  # overwritten
    assert_close(twice, wanted | {"x": 1 + 2 * once["x"]}, TOLERANCE[dtype])


@pytest.mark.parametrize("module", [compiled, _reference], ids=["compiled", "twin"])
@pytest.mark.parametrize(("name", "bias"), [("Dense", "b"), ("GRU", "bR")])
def test_a_bias_that_may_be_absent_is_zero_then(module, name, bias):
    problem = random_problem(zoo.CELLS[name](6, 11), UNEQUAL)
    problem.blocks[bias][...] = 0
    others = {key: block for key, block in problem.blocks.items() if key != bias}
    absent = run(module, replace(problem, blocks=others))
    zero = run(module, problem)
    del zero["d" + bias]
    assert_same_bits(absent, zero)


@cells
def test_what_is_not_wanted_may_be_none(kernels, make_cell):
    problem = random_problem(make_cell(6, 11), UNEQUAL)
    problem = replace(problem, dhT=None, dcT=None)
    wanted = run(kernels, problem)
    outputs, tapes = run_forward(kernels, problem, out={"y": None})
    states = {name: wanted[name] for name in ("hT", "cT") if name in wanted}
    assert_same_bits(outputs, states)
    gradients = run_backward(kernels, problem, tapes, out={"dx": None, "dh0": None, "dc0": None})
    blocks = {name: wanted["d" + name] for name in problem.blocks}
    assert_same_bits(gradients, blocks)
    # the states alone: the same as a zero dy
    zero = replace(problem, dy=np.zeros_like(problem.dy))
    assert_same_bits(
        run_backward(kernels, replace(problem, dy=None), tapes),
        run_backward(kernels, zero, tapes),
    )


@dtypes
def test_the_processors_mode_for_denormals_is_the_callers_afterwards(kernels, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    for n_threads in (1, 2):
        run(kernels, random_problem(lstm_cell(3, 9), UNEQUAL, dtype=dtype), n_threads=n_threads)
        assert np.array([tiny, tiny]).sum() == 2 * tiny > 0


def test_denormals_do_not_slow_a_call_down_or_change_its_result_by_more_than_themselves(kernels):
    problem = random_problem(lstm_cell(3, 9), [5, 3])
    problem = problem.with_tensor("x", np.where(np.isnan(problem.x), np.nan, 1e-310))
    zero = problem.with_tensor("x", np.where(np.isnan(problem.x), np.nan, 0.0))
    assert_close(run_forward(kernels, problem)[0], run_forward(kernels, zero)[0], 1e-15)


@representatives
def test_python_threads_may_run_the_same_kernels_on_shared_inputs(kernels, make_cell):
    problem = random_problem(make_cell(12, 40), [30, 17, 25] * 4)
    wanted, results = run(kernels, problem), [None] * 4

    def work(place):
        results[place] = run(kernels, problem, n_threads=1 + place % 2)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert_same_bits(result, wanted)


# ------------------------------------------------------------------- readout, outputs, elements


@dtypes
@pytest.mark.parametrize("K", [1, 3, 8, 33])
def test_sum_over_time_equals_the_twin(kernels, K, dtype):
    rows = some_rows(np.random.default_rng(0), K, dtype)
    total, twin = np.ones((2, 4, K), dtype)
    kernels.add_over_time(*rows, total)
    _reference.add_over_time(*rows, twin)
    assert_same_bits({"total": total}, {"total": twin})


@dtypes
@pytest.mark.parametrize("K", [1, 3, 8, 33])
def test_maximum_over_time_equals_the_twin(kernels, K, dtype):
    rng = np.random.default_rng(0)
    results = []
    for module in kernels, _reference:
        rng = np.random.default_rng(0)
        largest, step = np.full((4, K), 0.3, dtype), np.zeros((4, K), np.intp)
        count = np.array([0, 2, 0, 1], dtype)
        for t0 in 0, 7:
            y, first, order, lengths = some_rows(rng, K, dtype)
            y = np.round(y, 1)  # so that there are ties
            y[rng.uniform(size=y.shape) < 0.03] = np.nan
            module.max_over_time(y, first, order, lengths, count, t0, largest, step)
            count[order] += lengths
        results.append({"largest": largest, "step": step})
    assert_same_bits(*results)


def some_rows(rng, K, dtype):
    """Rows of four sequences and what there is to know of them, by rank."""
    lengths = np.array([3, 0, 7, 1], dtype=np.intp)
    order = np.argsort(-lengths, kind="stable")
    y = rng.normal(size=(11, K)).astype(dtype)
    return y, (np.cumsum(lengths) - lengths)[order], order, lengths[order]


@dtypes
@pytest.mark.parametrize("K", [1, 2, 9, 17])
@pytest.mark.parametrize(
    "kind", [0, 1, 2, 3, 4], ids=["identity", "logistic", "softmax", "exponential", "tanh"]
)
def test_output_activations_equal_the_twin(kernels, kind, K, dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(scale=4, size=(11, K)).astype(dtype)
    a[1], a[2, 0], a[3], a[4, -1] = 1e4, 1e4, -1e4, -1e4  # nothing overflows
    if kind == 3:
        a[1], a[2, 0] = 80.0, 1e4  # e^1e4 is infinite
    y, twin = np.full((2, 11, K), np.nan, dtype)
    kernels.output_units(kind, a, y)
    _reference.output_units(kind, a, twin)
    tiny = np.finfo(dtype).tiny  # denormal probabilities are zero
    np.testing.assert_allclose(y, twin, rtol=50 * np.finfo(dtype).eps, atol=tiny)
    if kind == 2:
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=K * np.finfo(dtype).eps)
    for row in range(11):
        alone = np.empty((1, K), dtype)
        kernels.output_units(kind, a[row : row + 1], alone)
        assert_same_bits({"row": alone[0]}, {"row": y[row]})


@dtypes
def test_columns_with_output_units_of_their_own_are_those_units(kernels, dtype):
    a = np.random.default_rng(0).normal(scale=3, size=(7, 23)).astype(dtype)
    parts = ((2, 9, 0.0), (0, 1, 0.0), (3, 5, 0.25), (4, 6, 0.0), (1, 2, -1.0))
    y, wanted, twin = np.full((3, 7, 23), np.nan, dtype)
    first = 0
    for code, count, floor in parts:
        some = np.ascontiguousarray(a[:, first : first + count])
        kernels.output_units(code, some, some)
        wanted[:, first : first + count] = some + some.dtype.type(floor)
        first += count
    kernels.output_units(5, a, y, kernels.columns_table(parts))
    assert_same_bits({"y": y}, {"y": wanted})
    _reference.output_units(5, a, twin, _reference.columns_table(parts))
    np.testing.assert_allclose(y, twin, rtol=50 * np.finfo(dtype).eps)
    kernels.output_units(5, a, a, kernels.columns_table(parts))
    assert_same_bits({"in place": a}, {"in place": y})


@dtypes
@pytest.mark.parametrize("activation", zoo.ACTIVATIONS + EDGE_SETTINGS)
def test_activations_equal_the_twin_over_the_whole_range(kernels, activation, dtype):
    code, alpha, beta = parse_activation(activation)
    info = np.finfo(dtype)
    size = np.logspace(np.log10(float(info.tiny)), np.log10(float(info.max)) - 2, 2001)
    x = np.concatenate([-size[::-1], [0.0], size, np.linspace(-100, 100, 4001)]).astype(dtype)
    got, twin = np.full((2, len(x)), np.nan, dtype)
    kernels.apply_activation(code, alpha, beta, x, got)
    _reference.apply_activation(code, alpha, beta, x, twin)
    # affine maps cancel next to their zero, so errors count against the terms there; a value next
    # to the denormals may have been one on the way, and be zero
    terms = np.abs(alpha * x.astype(float)) + abs(beta)
    linear = zoo.activation_label(activation) in ("affine", "hard_sigmoid")
    allowed = 8 * info.eps * np.maximum(np.abs(twin), terms if linear else 0) + 4 * info.tiny
    worst = np.argmax(np.abs(got - twin) / allowed)
    assert (np.abs(got - twin) <= allowed).all(), f"f({x[worst]}) = {got[worst]}, {twin[worst]}"


@dtypes
@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=zoo.activation_label)
def test_activations_of_special_values_equal_the_twin(kernels, activation, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0], dtype)
    got, twin = np.empty((2, 4), dtype)
    kernels.apply_activation(*parse_activation(activation), x, got)
    with np.errstate(invalid="ignore"):  # inf / inf in the twin's softsign
        _reference.apply_activation(*parse_activation(activation), x, twin)
    np.testing.assert_allclose(got, twin, rtol=1e-6)


@dtypes
def test_an_element_does_not_depend_on_its_place(kernels, dtype):
    x = np.random.default_rng(0).normal(scale=3, size=67).astype(dtype)
    for activation in zoo.ACTIVATIONS:
        code, alpha, beta = parse_activation(activation)
        whole, alone = np.empty((2, 67), dtype)
        kernels.apply_activation(code, alpha, beta, x, whole)
        for k in range(67):
            kernels.apply_activation(code, alpha, beta, x[k : k + 1], alone[k : k + 1])
        assert_same_bits({activation: alone}, {activation: whole})


def test_ranks_are_by_descending_length():
    order, lengths = ranked(np.array([2, 5, 0, 5]))
    assert order.tolist() == [1, 3, 0, 2]
    assert lengths.tolist() == [5, 5, 2, 0]


@dtypes
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(kernels, value, dtype):
    for size in (1, 3, 16, 64, 65, 200):
        x = np.full(size, np.finfo(dtype).max, dtype)
        x[::2] *= -1
        assert kernels.all_finite(x)
        for k in range(size):
            y = x.copy()
            y[k] = value
            assert not kernels.all_finite(y)
    assert kernels.all_finite(np.empty(0, dtype))

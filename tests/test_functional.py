"""`lstm_forward` and the others: what they return, and the gradient of all that goes in."""

import inspect
import tracemalloc

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore import functional
from lstmcore._workspace import WorkspacePool

LENGTHS = (5, 0, 3)
B, T, I, H = 3, 5, 2, 3

CELLS = {name: entry for name, entry in zoo.LAYERS.items() if entry.is_recurrent}
cells = pytest.mark.parametrize("name", CELLS)


def functions(name):
    """(forward, backward) of a cell; forward gives the states as a tuple, whatever their number."""
    kind = CELLS[name].layer(I, H).cell.kind.lower()
    forward_of_the_kind = getattr(lc, f"{kind}_forward")

    def forward(*arguments, **given):
        h, final, tape = forward_of_the_kind(*arguments, **given)
        return h, final if isinstance(final, tuple) else (final,), tape

    return forward, getattr(lc, f"{kind}_backward")


def problem(name, seed=0):
    """Random arguments of the functions, and derivatives of a loss linear in the results."""
    layer = CELLS[name].layer(I, H)
    takes = inspect.signature(getattr(lc, f"{layer.cell.kind.lower()}_forward")).parameters
    options = {option: value for option, value in layer.options.items() if option in takes}
    sizes = dict(zip(layer.states, layer.state_sizes, strict=True))
    rng = np.random.default_rng(seed)
    shapes = {"x": (B, T, I)} | {block.name: block.shape for block in layer.cell.blocks}
    shapes |= {f"{state}0": (B, size) for state, size in sizes.items()}
    arrays = {name: rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}
    dresults = {"dh": (B, T, H)} | {f"d{state}T": (B, size) for state, size in sizes.items()}
    return arrays, options, {name: rng.normal(size=shape) for name, shape in dresults.items()}


def assert_gradients(loss, arrays, grads, tolerance=1e-7):
    for name, array in arrays.items():
        differences = np.empty_like(array)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * 1e-6
                sides.append(loss(**arrays | {name: moved}))
            differences[index] = (sides[0] - sides[1]) / 2e-6
        error = np.abs(grads[name] - differences).max() / max(np.abs(differences).max(), 1)
        assert error < tolerance, f"{name}: {error}"


@cells
def test_backward_is_the_gradient_by_everything_that_goes_in(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)

    def loss(**arrays):
        h, final, tape = forward(**arrays, **options, lengths=LENGTHS, save=False)
        assert tape is None
        sums = zip((h, *final), dresults.values(), strict=True)
        return sum(np.sum(result * derivative) for result, derivative in sums)

    _, _, tape = forward(**arrays, **options, lengths=LENGTHS)
    grads = backward(tape=tape, **dresults)
    assert set(grads) == set(arrays)
    assert {name: g.shape for name, g in grads.items()} == {k: a.shape for k, a in arrays.items()}
    assert_gradients(loss, arrays, grads)


@pytest.mark.parametrize("activation", ["softplus", ("scaled_tanh", 1.2, 0.7)], ids=str)
@pytest.mark.parametrize(
    "cell, option", [role for role in zoo.ROLES if role.values[0].is_recurrent]
)
def test_functions_have_the_activations_of_the_layer(cell, option, activation):
    layer = cell.layer(I, H, **{option: activation})
    net = lc.Network([layer], seed=0)
    x = np.random.default_rng(0).normal(size=(B, T, I))
    blocks = {name[2:]: values for name, values in net.blocks.items()}
    forward = getattr(lc, f"{layer.cell.kind.lower()}_forward")
    takes = inspect.signature(forward).parameters
    options = {name: value for name, value in layer.options.items() if name in takes}
    assert option in options
    h, _, _ = forward(x, **blocks, **options)
    same_bits(h, net.predict(x))


def test_without_its_recurrent_bias_a_gru_has_zeros_and_no_gradient_for_it():
    arrays, _, dresults = problem("GRU")
    zeros = arrays | {"bR": np.zeros(H)}
    results = []
    for given in (zeros, {name: a for name, a in arrays.items() if name != "bR"}):
        h, hT, tape = lc.gru_forward(**given)
        results.append((h, hT, lc.gru_backward(tape=tape, **dresults)))
    (h, hT, grads), (h_none, hT_none, grads_none) = results
    assert (h == h_none).all() and (hT == hT_none).all()
    assert set(grads) - set(grads_none) == {"bR"}
    assert all((grads[name] == values).all() for name, values in grads_none.items())
    # a bias that was left out is zero again after a call that had one
    lc.gru_forward(**arrays)
    assert (lc.gru_forward(**{name: a for name, a in arrays.items() if name != "bR"})[0] == h).all()


@cells
def test_forward_is_the_layer_of_a_network_and_continues_in_chunks(name):
    arrays, options, _ = problem(name)
    forward, _ = functions(name)
    net = lc.Network([CELLS[name].layer(I, H)])
    blocks = {block.removeprefix("0."): arrays[block.removeprefix("0.")] for block in net.blocks}
    for block, values in blocks.items():
        net.blocks[f"0.{block}"][...] = values
    x = arrays["x"]
    h, final, _ = forward(x, **blocks, **options, lengths=LENGTHS)
    y, (state,) = net.predict(x, LENGTHS, return_state=True)
    same_bits(h, y)
    for mine, other in zip(final, state, strict=True):
        same_bits(mine, other)
    starts = [f"{name}0" for name in net.layers[0].states]
    first, state, _ = forward(x[:, :2], **blocks, **options)
    rest, _, _ = forward(x[:, 2:], **blocks, **options, **dict(zip(starts, state, strict=True)))
    same_bits(np.concatenate([first, rest], axis=1), forward(x, **blocks, **options)[0])


def test_tapes_leave_no_more_memory_than_the_bound_however_many_there_were(monkeypatch):
    arrays, _, _ = problem("peepholes")
    arrays = {name: a for name, a in arrays.items() if name not in ("x", "h0", "c0")}
    x = np.zeros((50, 40, I))
    dtype, bound = np.dtype(np.float64), 2**19
    monkeypatch.setitem(functional._POOLS, dtype, WorkspacePool(dtype, bound))
    tracemalloc.start()
    try:
        for _ in range(2):  # from the second round on a workspace has its memory in one piece
            tapes = [lc.lstm_forward(x, **arrays)[2] for _ in range(40)]
            held = tracemalloc.get_traced_memory()[0]
            tapes.clear()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held > 2 * bound * dtype.itemsize  # so there was something to bound
    assert kept < 1.1 * bound * dtype.itemsize
    assert kept > 0.5 * bound * dtype.itemsize  # and what may be kept is


@cells
def test_outputs_are_zero_behind_the_end_and_the_state_is_the_last_steps(name):
    arrays, options, _ = problem(name)
    h, final, _ = functions(name)[0](**arrays, **options, lengths=LENGTHS)
    states = CELLS[name].layer(I, H).states
    for b, length in enumerate(LENGTHS):
        assert not h[b, length:].any()
        if length:
            same_bits(final[0][b, :H], h[b, length - 1])
        else:
            for state, values in zip(states, final, strict=True):
                same_bits(values[b], arrays[f"{state}0"][b])


@cells
def test_chunks_give_the_bits_of_the_whole_from_given_states(name):
    arrays, options, _ = problem(name)
    forward, _ = functions(name)
    whole, state, _ = forward(**arrays, **options)
    x, starts = arrays.pop("x"), [name for name in arrays if name in ("h0", "c0")]
    first, middle, _ = forward(x[:, :2], **arrays, **options)
    arrays |= dict(zip(starts, middle, strict=True))
    rest, last, _ = forward(x[:, 2:], **arrays, **options)
    same_bits(np.concatenate([first, rest], axis=1), whole)
    for mine, other in zip(state, last, strict=True):
        same_bits(mine, other)


@cells
def test_one_initial_state_for_all_sequences_gets_the_sum_of_their_gradients(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    starts = [name for name in arrays if name in ("h0", "c0")]
    one = arrays | {name: arrays[name][0] for name in starts}
    each = arrays | {name: np.tile(one[name], (B, 1)) for name in starts}
    results = []
    for given in (one, each):
        h, _, tape = forward(**given, **options, lengths=LENGTHS)
        results.append((h, backward(tape=tape, **dresults)))
    (h_one, one), (h_each, each) = results
    assert (h_one == h_each).all()
    for name in starts:
        assert one[name].shape == arrays[name].shape[1:]
        assert np.allclose(one[name], each[name].sum(axis=0), rtol=1e-12, atol=1e-15)


@cells
def test_tokens_have_no_gradient_and_select_columns_of_W(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    tokens = np.random.default_rng(0).integers(0, I, (B, T))
    results = []
    for given in ({"x": tokens, "tokens": True}, {"x": np.eye(I)[tokens]}):
        h, _, tape = forward(**arrays | options | given, lengths=LENGTHS)
        results.append((h, backward(tape=tape, **dresults)))
    (h, grads), (h_one_hot, grads_one_hot) = results
    assert (h == h_one_hot).all()
    assert "x" not in grads
    assert np.allclose(grads["W"], grads_one_hot["W"], rtol=1e-12)


@cells
def test_the_weights_decide_the_dtype(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    single = arrays | {"W": arrays["W"].astype(np.float32)}
    h, state, tape = forward(**single, **options)
    grads = backward(tape=tape, **dresults)
    assert {array.dtype for array in (h, *state, *grads.values())} == {np.dtype(np.float32)}
    exact, _, tape = forward(**arrays, **options)
    assert np.abs(h - exact).max() < 1e-6
    for name, wanted in backward(tape=tape, **dresults).items():
        assert np.abs(grads[name] - wanted).max() < 1e-5 * max(np.abs(wanted).max(), 1)


@cells
def test_a_tape_may_be_used_again_and_in_parts(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    _, _, tape = forward(**arrays, **options, lengths=LENGTHS)
    whole = backward(tape=tape, **dresults)
    again = backward(tape=tape, **dresults)
    assert all((whole[name] == again[name]).all() for name in whole)
    by_parts = [
        backward(**{"dh": None, "tape": tape} | {name: values}) for name, values in dresults.items()
    ]
    for name, gradient in whole.items():
        parts = sum(part[name] for part in by_parts)
        assert np.abs(parts - gradient).max() < 1e-13 * max(np.abs(gradient).max(), 1)


@cells
def test_no_argument_is_written_to_and_nothing_behind_an_end_is_read(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    for b, length in enumerate(LENGTHS):
        arrays["x"][b, length:] = np.nan
        dresults["dh"][b, length:] = np.nan
    for array in (*arrays.values(), *dresults.values()):
        array.flags.writeable = False
    h, _, tape = forward(**arrays, **options, lengths=LENGTHS)
    grads = backward(tape=tape, **dresults)
    assert np.isfinite(h).all()
    assert all(np.isfinite(gradient).all() for gradient in grads.values())


@cells
def test_threads_change_no_bit(name):
    arrays, options, dresults = problem(name)
    forward, backward = functions(name)
    results = []
    for n_threads in (1, 2, 3, 4):
        h, _, tape = forward(**arrays, **options, n_threads=n_threads)
        results.append((h, backward(tape=tape, **dresults, n_threads=n_threads)))
    for h, grads in results[1:]:
        assert (h == results[0][0]).all()
        assert all((grads[name] == results[0][1][name]).all() for name in grads)


@cells
def test_layouts_of_weights_change_no_bit(name):
    arrays, options, _ = problem(name)
    forward, _ = functions(name)
    h, _, _ = forward(**arrays, **options)
    strided = lambda array: np.repeat(array, 2, axis=-1)[..., ::2]  # noqa: E731
    for change in (np.asfortranarray, strided, np.ndarray.tolist):
        other, _, _ = forward(**{k: change(a) for k, a in arrays.items()}, **options)
        assert (other == h).all()


FORWARD_ERRORS = [
    ({"x": np.zeros((B, T, I + 1))}, ValueError, "x: expected numbers of shape (B, T, 2)"),
    ({"x": np.full((B, T, I), np.nan)}, ValueError, "x: expected finite numbers"),
    ({"W": np.zeros((12, I)), "R": np.zeros(12)}, ValueError, "R: expected a matrix"),
    ({"W": np.zeros(12)}, ValueError, "W: expected a matrix"),
    ({"W": np.zeros((11, I))}, ValueError, "W: expected shape (12, 2), got (11, 2)"),
    ({"W": np.zeros((12, 0))}, ValueError, "W: expected a matrix"),
    ({"W": None}, TypeError, "W: expected real numbers"),
    ({"W": np.full((12, I), np.inf)}, ValueError, "W: expected finite numbers"),
    ({"R": np.zeros((9, H))}, ValueError, "R: expected shape (12, 3), got (9, 3)"),
    ({"R": np.zeros((12, H), complex)}, TypeError, "R: expected real numbers"),
    ({"b": np.zeros((12, 1))}, ValueError, "b: expected shape (12,), got (12, 1)"),
    ({"b": "b"}, TypeError, "b: expected real numbers"),
    ({"p": np.zeros((3, H + 1))}, ValueError, "p: expected shape (3, 3), got (3, 4)"),
    (
        {"p": np.zeros((3, H)), "output_peephole": None},
        ValueError,
        "p: expected shape (2, 3), got (3, 3)",
    ),
    (
        {"output_peephole": "before"},
        ValueError,
        "output_peephole: expected 'now' unless there are peepholes",
    ),
    ({"output_peephole": ["now"]}, TypeError, "output_peephole: expected 'now', 'before' or None"),
    ({"p": [[1], [2, 3]]}, ValueError, "p: expected an array of numbers"),
    ({"Q": np.zeros((3, 3))}, ValueError, "Q: expected shape (9, 9), got (3, 3)"),
    ({"h0": np.zeros((B + 1, H))}, ValueError, "h0: expected shape (3, 3) or (3,), got (4, 3)"),
    ({"h0": np.full(H, np.nan)}, ValueError, "h0: expected finite numbers"),
    ({"c0": np.zeros(1)}, ValueError, "c0: expected shape (3, 3) or (3,), got (1,)"),
    ({"c0": object()}, TypeError, "c0: expected real numbers"),
    ({"lengths": [T + 1] * B}, ValueError, "lengths: expected 0 to 5"),
    ({"coupled": 1}, TypeError, "coupled: expected True or False"),
    ({"block_size": 2}, ValueError, "block_size: expected a divisor"),
    ({"gate_activation": ("elu", [1])}, TypeError, "gate_activation"),
    ({"cell_activation": ["tanh", 1.0]}, ValueError, "cell_activation"),
    ({"output_activation": "none"}, ValueError, "output_activation"),
    ({"input_gate": "no"}, TypeError, "input_gate: expected True or False"),
    ({"forget_gate": None}, TypeError, "forget_gate: expected True or False"),
    ({"output_gate": 0}, TypeError, "output_gate: expected True or False"),
    ({"save": 1}, TypeError, "save: expected True or False"),
    ({"check_finite": None}, TypeError, "check_finite: expected True or False"),
    ({"n_threads": 0}, ValueError, "n_threads: expected"),
    ({"n_threads": 1.5}, TypeError, "n_threads: expected"),
    ({"n_threads": 10**30}, ValueError, "n_threads: expected"),
]


@pytest.mark.parametrize(("change", "error", "words"), FORWARD_ERRORS)
def test_wrong_arguments_of_lstm_forward_are_refused_by_name(change, error, words):
    arrays, _, _ = problem("LSTM")
    with pytest.raises(error) as caught:
        lc.lstm_forward(**arrays | change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dh": np.zeros((B, T + 1, H))}, ValueError, "dh: expected shape (3, 5, 3)"),
        ({"dh": np.full((B, T, H), np.inf)}, ValueError, "dh: expected finite numbers"),
        ({"dh": np.zeros((B, T, H), object)}, TypeError, "dh: expected real numbers"),
        ({"dhT": np.zeros(H)}, ValueError, "dhT: expected shape (3, 3), got (3,)"),
        ({"dcT": np.full((B, H), np.nan)}, ValueError, "dcT: expected finite numbers"),
        ({"tape": None}, TypeError, "tape: expected the tape of lstm_forward, got None"),
        ({"n_threads": -1}, ValueError, "n_threads: expected"),
        ({"check_finite": 0}, TypeError, "check_finite: expected True or False"),
    ],
)
def test_wrong_arguments_of_lstm_backward_are_refused_by_name(change, error, words):
    arrays, _, dresults = problem("LSTM")
    _, _, tape = lc.lstm_forward(**arrays)
    with pytest.raises(error) as caught:
        lc.lstm_backward(**{"tape": tape} | dresults | change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W": np.zeros((4, 2))}, "W: expected shape (3, 2)"),
        ({"R": np.zeros((2, 3))}, "R: expected shape (3, 3)"),
        ({"b": np.zeros(4)}, "b: expected shape (3,)"),
        ({"h0": np.zeros((1, 3))}, "h0: expected shape (2, 3) or (3,)"),
        ({"activation": "square"}, "activation"),
    ],
)
def test_wrong_arguments_of_rnn_forward_are_refused_by_name(change, words):
    given = {"x": np.zeros((2, 4, 2)), "W": np.zeros((3, 2)), "R": np.eye(3), "b": np.zeros(3)}
    with pytest.raises(ValueError) as caught:
        lc.rnn_forward(**given | change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"W": np.zeros((6, 2))}, ValueError, "W: expected shape (9, 2), got (6, 2)"),
        ({"R": np.zeros((9, 2))}, ValueError, "W: expected shape (6, 2)"),
        ({"b": np.zeros(3)}, ValueError, "b: expected shape (9,)"),
        ({"bR": np.zeros(9)}, ValueError, "bR: expected shape (3,), got (9,)"),
        ({"bR": np.full(3, np.nan)}, ValueError, "bR: expected finite numbers"),
        ({"bR": "zeros"}, TypeError, "bR: expected real numbers"),
        (
            {"bR": np.zeros(3), "reset_after": False},
            ValueError,
            "bR: expected None for GRU(2, 3, reset_after=False), got an array of shape (3,)",
        ),
        ({"reset_after": 0}, TypeError, "reset_after: expected True or False"),
        ({"h0": np.zeros((1, 3))}, ValueError, "h0: expected shape (2, 3) or (3,)"),
        ({"gate_activation": "square"}, ValueError, "gate_activation"),
        ({"cell_activation": ["elu", "1"]}, TypeError, "cell_activation"),
    ],
)
def test_wrong_arguments_of_gru_forward_are_refused_by_name(change, error, words):
    given = {"x": np.zeros((2, 4, 2)), "W": np.zeros((9, 2)), "R": np.zeros((9, 3))}
    with pytest.raises(error) as caught:
        lc.gru_forward(**given | {"b": np.zeros(9)} | change)
    assert words in str(caught.value)


def test_the_tape_of_another_layer_is_refused():
    arrays, _, _ = problem("LSTM")
    _, _, tape = lc.lstm_forward(**arrays)
    with pytest.raises(TypeError, match="tape: expected the tape of rnn_forward"):
        lc.rnn_backward(None, tape)
    with pytest.raises(TypeError, match="tape: expected the tape of gru_forward"):
        lc.gru_backward(None, tape)

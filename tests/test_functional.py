"""`lstm_forward` and the others: what they return, and the gradient of all that goes in."""

import tracemalloc

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import functional
from lstmcore._workspace import WorkspacePool

LENGTHS = (5, 0, 3)
B, T, I, H = 3, 5, 2, 3

VARIANTS = {
    "NP": {},
    "V": {"p": (3, H)},
    "NIG": {"p": (2, H), "input_gate": False},
    "NFG": {"p": (2, H), "forget_gate": False},
    "NOG": {"p": (2, H), "output_gate": False},
    "NIAF": {"p": (3, H), "cell_activation": "identity"},
    "NOAF": {"p": (3, H), "output_activation": "identity"},
    "CIFG": {"p": (2, H), "coupled": True},
    "FGR": {"p": (3, H), "Q": (3 * H, 3 * H)},
    "one block": {"p": (3, H), "block_size": 3},
}


def lstm_problem(variant, seed=0, lengths=LENGTHS):
    """Random arguments of `lstm_forward`, and derivatives of a loss linear in its results."""
    options = dict(VARIANTS[variant])
    blocks = H // options.get("block_size", 1)
    own = sum(options.get(f"{gate}_gate", True) for gate in ("input", "forget", "output"))
    own -= options.get("coupled", False)
    G = own * blocks + H
    S = H + (own * blocks if "Q" in options else 0)
    rng = np.random.default_rng(seed)
    shapes = {"x": (B, T, I), "W": (G, I), "R": (G, H), "b": (G,), "h0": (B, S), "c0": (B, H)}
    shapes |= {name: options.pop(name) for name in ("p", "Q") if name in options}
    arrays = {name: rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}
    dresults = {"dh": (B, T, H), "dhT": (B, S), "dcT": (B, H)}
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_lstm_backward_is_the_gradient_by_everything_that_goes_in(variant):
    arrays, options, dresults = lstm_problem(variant)

    def loss(**arrays):
        h, (hT, cT), tape = lc.lstm_forward(**arrays, **options, lengths=LENGTHS, save=False)
        assert tape is None
        sums = zip((h, hT, cT), dresults.values(), strict=True)
        return sum(np.sum(result * derivative) for result, derivative in sums)

    _, _, tape = lc.lstm_forward(**arrays, **options, lengths=LENGTHS)
    grads = lc.lstm_backward(tape=tape, **dresults)
    assert set(grads) == set(arrays)
    assert {name: g.shape for name, g in grads.items()} == {k: a.shape for k, a in arrays.items()}
    assert_gradients(loss, arrays, grads)


@pytest.mark.parametrize("activation", ["tanh", "softplus", ("scaled_tanh", 1.2, 0.7)], ids=str)
def test_rnn_backward_is_the_gradient_by_everything_that_goes_in(activation):
    rng = np.random.default_rng(0)
    shapes = {"x": (B, T, I), "W": (H, I), "R": (H, H), "b": (H,), "h0": (B, H)}
    arrays = {name: rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}
    dh, dhT = rng.normal(size=(B, T, H)), rng.normal(size=(B, H))

    def loss(**arrays):
        h, hT, _ = lc.rnn_forward(**arrays, activation=activation, lengths=LENGTHS, save=False)
        return np.sum(h * dh) + np.sum(hT * dhT)

    _, _, tape = lc.rnn_forward(**arrays, activation=activation, lengths=LENGTHS)
    grads = lc.rnn_backward(dh, tape, dhT)
    assert set(grads) == set(arrays)
    assert_gradients(loss, arrays, grads)


def gru_problem(reset_after, seed=0):
    """As `lstm_problem`, for `gru_forward`."""
    rng = np.random.default_rng(seed)
    shapes = {"x": (B, T, I), "W": (3 * H, I), "R": (3 * H, H), "b": (3 * H,), "h0": (B, H)}
    if reset_after:
        shapes["bR"] = (H,)
    arrays = {name: rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}
    return arrays, {"dh": rng.normal(size=(B, T, H)), "dhT": rng.normal(size=(B, H))}


@pytest.mark.parametrize("activations", [(), ("hard_sigmoid", "softsign")], ids=str)
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_backward_is_the_gradient_by_everything_that_goes_in(reset_after, activations):
    arrays, dresults = gru_problem(reset_after)
    names = ("gate_activation", "cell_activation")
    options = {"reset_after": reset_after} | dict(zip(names, activations, strict=False))

    def loss(**arrays):
        h, hT, tape = lc.gru_forward(**arrays, **options, lengths=LENGTHS, save=False)
        assert tape is None
        return np.sum(h * dresults["dh"]) + np.sum(hT * dresults["dhT"])

    _, _, tape = lc.gru_forward(**arrays, **options, lengths=LENGTHS)
    grads = lc.gru_backward(tape=tape, **dresults)
    assert set(grads) == set(arrays)
    assert {name: g.shape for name, g in grads.items()} == {k: a.shape for k, a in arrays.items()}
    assert_gradients(loss, arrays, grads)


def test_without_its_recurrent_bias_a_gru_has_zeros_and_no_gradient_for_it():
    arrays, dresults = gru_problem(True)
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


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_forward_is_the_layer_of_a_network_and_continues_in_chunks(reset_after):
    net = lc.Network([lc.GRU(I, H, reset_after=reset_after)], seed=0)
    net.params += np.random.default_rng(1).normal(scale=0.1, size=net.params.size)
    x = np.random.default_rng(0).normal(size=(B, T, I))
    blocks = {name[2:]: values for name, values in net.blocks.items()}
    h, hT, _ = lc.gru_forward(x, **blocks, reset_after=reset_after, lengths=LENGTHS)
    y, ((net_hT,),) = net.predict(x, LENGTHS, return_state=True)
    assert (h == y).all() and (hT == net_hT).all()
    first, h1, _ = lc.gru_forward(x[:, :2], **blocks, reset_after=reset_after)
    rest, _, _ = lc.gru_forward(x[:, 2:], **blocks, reset_after=reset_after, h0=h1)
    whole, _, _ = lc.gru_forward(x, **blocks, reset_after=reset_after)
    assert (np.concatenate([first, rest], axis=1) == whole).all()


def test_tapes_leave_no_more_memory_than_the_bound_however_many_there_were(monkeypatch):
    arrays, _, _ = lstm_problem("V")
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


def test_lstm_forward_is_the_layer_of_a_network():
    net = lc.Network([lc.LSTM(I, H, peepholes=True)], seed=0)
    x = np.random.default_rng(0).normal(size=(B, T, I))
    blocks = {name[2:]: values for name, values in net.blocks.items()}
    h, state, _ = lc.lstm_forward(x, **blocks, lengths=LENGTHS)
    y, (net_state,) = net.predict(x, LENGTHS, return_state=True)
    assert (h == y).all()
    assert all((mine == other).all() for mine, other in zip(state, net_state, strict=True))


def test_outputs_are_zero_behind_the_end_and_the_state_is_the_last_steps():
    arrays, options, _ = lstm_problem("V")
    h, (hT, cT), _ = lc.lstm_forward(**arrays, **options, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        assert not h[b, length:].any()
        assert (hT[b] == (h[b, length - 1] if length else arrays["h0"][b])).all()
    assert (cT[1] == arrays["c0"][1]).all()


def test_chunks_give_the_bits_of_the_whole_gate_recurrence_included():
    for variant in ("V", "FGR", "one block"):
        arrays, options, _ = lstm_problem(variant)
        whole, state, _ = lc.lstm_forward(**arrays, **options)
        x, h0, c0 = (arrays.pop(name) for name in ("x", "h0", "c0"))
        first, (h1, c1), _ = lc.lstm_forward(x[:, :2], **arrays, **options, h0=h0, c0=c0)
        rest, last, _ = lc.lstm_forward(x[:, 2:], **arrays, **options, h0=h1, c0=c1)
        assert (np.concatenate([first, rest], axis=1) == whole).all()
        assert all((mine == other).all() for mine, other in zip(state, last, strict=True))


def test_one_initial_state_for_all_sequences_gets_the_sum_of_their_gradients():
    arrays, options, dresults = lstm_problem("V")
    one = arrays | {name: arrays[name][0] for name in ("h0", "c0")}
    each = arrays | {name: np.tile(one[name], (B, 1)) for name in ("h0", "c0")}
    results = []
    for given in (one, each):
        h, _, tape = lc.lstm_forward(**given, **options, lengths=LENGTHS)
        results.append((h, lc.lstm_backward(tape=tape, **dresults)))
    (h_one, one), (h_each, each) = results
    assert (h_one == h_each).all()
    for name in ("h0", "c0"):
        assert one[name].shape == (H,)
        assert np.allclose(one[name], each[name].sum(axis=0), rtol=1e-13)


def test_tokens_have_no_gradient_and_select_columns_of_W():
    arrays, options, dresults = lstm_problem("V")
    tokens = np.random.default_rng(0).integers(0, I, (B, T))
    one_hot = arrays | {"x": np.eye(I)[tokens]}
    results = []
    for given in (arrays | {"x": tokens}, one_hot):
        h, _, tape = lc.lstm_forward(**given, **options, lengths=LENGTHS)
        results.append((h, lc.lstm_backward(tape=tape, **dresults)))
    (h, grads), (h_one_hot, grads_one_hot) = results
    assert (h == h_one_hot).all()
    assert "x" not in grads
    assert np.allclose(grads["W"], grads_one_hot["W"], rtol=1e-12)


def test_the_weights_decide_the_dtype():
    arrays, options, dresults = lstm_problem("V")
    single = arrays | {"W": arrays["W"].astype(np.float32)}
    h, state, tape = lc.lstm_forward(**single, **options)
    grads = lc.lstm_backward(tape=tape, **dresults)
    assert {array.dtype for array in (h, *state, *grads.values())} == {np.dtype(np.float32)}
    exact, _, tape = lc.lstm_forward(**arrays, **options)
    assert np.abs(h - exact).max() < 1e-6
    for name, wanted in lc.lstm_backward(tape=tape, **dresults).items():
        assert np.abs(grads[name] - wanted).max() < 1e-5 * max(np.abs(wanted).max(), 1)


def test_a_tape_may_be_used_again_and_in_parts():
    arrays, options, dresults = lstm_problem("V")
    _, _, tape = lc.lstm_forward(**arrays, **options, lengths=LENGTHS)
    whole = lc.lstm_backward(tape=tape, **dresults)
    again = lc.lstm_backward(tape=tape, **dresults)
    assert all((whole[name] == again[name]).all() for name in whole)
    by_parts = [
        lc.lstm_backward(dresults["dh"], tape),
        lc.lstm_backward(None, tape, dhT=dresults["dhT"]),
        lc.lstm_backward(None, tape, dcT=dresults["dcT"]),
    ]
    for name, gradient in whole.items():
        parts = sum(part[name] for part in by_parts)
        assert np.abs(parts - gradient).max() < 1e-13 * max(np.abs(gradient).max(), 1)


def test_no_argument_is_written_to_and_nothing_behind_an_end_is_read():
    arrays, options, dresults = lstm_problem("FGR")
    for b, length in enumerate(LENGTHS):
        arrays["x"][b, length:] = np.nan
        dresults["dh"][b, length:] = np.nan
    for array in (*arrays.values(), *dresults.values()):
        array.flags.writeable = False
    h, _, tape = lc.lstm_forward(**arrays, **options, lengths=LENGTHS)
    grads = lc.lstm_backward(tape=tape, **dresults)
    assert np.isfinite(h).all()
    assert all(np.isfinite(gradient).all() for gradient in grads.values())


def test_threads_change_no_bit():
    arrays, options, dresults = lstm_problem("FGR")
    results = []
    for n_threads in (1, 2, 3, 4):
        h, _, tape = lc.lstm_forward(**arrays, **options, n_threads=n_threads)
        results.append((h, lc.lstm_backward(tape=tape, **dresults, n_threads=n_threads)))
    for h, grads in results[1:]:
        assert (h == results[0][0]).all()
        assert all((grads[name] == results[0][1][name]).all() for name in grads)


def test_layouts_of_weights_change_no_bit():
    arrays, options, _ = lstm_problem("V")
    h, _, _ = lc.lstm_forward(**arrays, **options)
    strided = lambda array: np.repeat(array, 2, axis=-1)[..., ::2]  # noqa: E731
    for change in (np.asfortranarray, strided, np.ndarray.tolist):
        other, _, _ = lc.lstm_forward(**{k: change(a) for k, a in arrays.items()}, **options)
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
    arrays, _, _ = lstm_problem("NP")
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
    arrays, _, dresults = lstm_problem("NP")
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
    arrays, _, _ = lstm_problem("NP")
    _, _, tape = lc.lstm_forward(**arrays)
    with pytest.raises(TypeError, match="tape: expected the tape of rnn_forward"):
        lc.rnn_backward(None, tape)
    with pytest.raises(TypeError, match="tape: expected the tape of gru_forward"):
        lc.gru_backward(None, tape)

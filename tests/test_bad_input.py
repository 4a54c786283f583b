"""Promise 7: bad input is refused by name, and no input can crash the process."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lstmcore as lc

B, T, I, K = 3, 4, 2, 3
X = np.random.default_rng(0).normal(size=(B, T, I))
LABELS = np.random.default_rng(1).integers(0, K, (B, T))


def network(
    loss="cross_entropy", readout="all", bidirectional=False, dtype="float64", tokens=False
):
    first = lc.LSTM(I, 3, bidirectional=bidirectional, tokens=tokens)
    layers = [first, lc.Dense(6 if bidirectional else 3, K)]
    return lc.Network(layers, loss, readout, dtype, seed=0)


# ---------------------------------------------------------------- one test for each argument


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"layers": []}, ValueError, "layers: expected at least one layer"),
        ({"layers": lc.LSTM(2, 3)}, TypeError, "layers: expected a list of layers"),
        ({"layers": [lc.LSTM]}, TypeError, "layers[0]: expected an LSTM, "),
        (
            {"layers": [lc.LSTM(2, 3, bidirectional=True), lc.Dense(3, 1)]},
            ValueError,
            "layers[1]: expected input_size 6, the outputs of layers[0], got 3",
        ),
        ({"loss": "hinge"}, ValueError, "loss: expected one of squared_error, cross_entropy"),
        ({"loss": None}, TypeError, "loss: expected one of"),
        ({"readout": "first"}, ValueError, "readout: expected one of all, last, mean"),
        ({"readout": 1}, TypeError, "readout: expected one of all, last, mean"),
        (
            {"readout": "mean", "layers": [lc.Dense(2, 1)]},
            ValueError,
            "readout: expected 'all' without a recurrent layer, got 'mean'",
        ),
        ({"dtype": "float16"}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"dtype": None}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"dtype": True}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"dtype": "half"}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"seed": -1}, ValueError, "seed: expected None, an integer >= 0"),
        ({"seed": "x"}, TypeError, "seed: expected None, an integer >= 0"),
        ({"seed": 0.5}, TypeError, "seed: expected None, an integer >= 0"),
    ],
)
def test_wrong_arguments_of_a_network(change, error, words):
    with pytest.raises(error) as caught:
        lc.Network(**{"layers": [lc.LSTM(2, 3)]} | change)
    assert words in str(caught.value)


DATA_ERRORS = [
    ({"X": X[0]}, ValueError, "X: expected numbers of shape (B, T, 2)"),
    ({"X": X.astype(complex)}, TypeError, "X: expected real numbers"),
    ({"X": X.astype(object)}, TypeError, "X: expected real numbers"),
    ({"X": X[:0]}, ValueError, "X: expected at least one sequence"),
    ({"X": np.where(np.abs(X) < 0.2, np.nan, X)}, ValueError, "X: expected finite numbers"),
    ({"lengths": [5, 1, 1]}, ValueError, "lengths: expected 0 to 4, got 5"),
    ({"lengths": [1, 1]}, ValueError, "lengths: expected shape (3,), got (2,)"),
    ({"mask": np.ones((B, T), int)}, TypeError, "mask: expected bool"),
    ({"mask": np.ones((B, T + 1), bool)}, ValueError, "mask: expected shape (3, 4)"),
    ({"check_finite": "no"}, TypeError, "check_finite: expected True or False"),
    ({"n_threads": 0}, ValueError, "n_threads: expected an integer >= 1, got 0"),
    ({"n_threads": "2"}, TypeError, "n_threads: expected an integer"),
    ({"n_threads": 10**20}, ValueError, "n_threads: expected"),
]


@pytest.mark.parametrize(("change", "error", "words"), DATA_ERRORS)
def test_wrong_arguments_of_predict(change, error, words):
    with pytest.raises(error) as caught:
        network().predict(**{"X": X} | change)
    assert words in str(caught.value)


LOSS_ERRORS = [
    ({"Y": LABELS[:, :3]}, ValueError, "Y: expected shape (3, 4)"),
    ({"Y": LABELS + 1}, ValueError, "Y: expected labels from 0 to 2, got 3"),
    ({"Y": LABELS * 1.0}, TypeError, "Y: expected integer class labels"),
    ({"Y": None}, TypeError, "Y: expected"),
    ({"Y": [[0, 1], [2]]}, ValueError, "Y: expected targets of 3 sequences"),
    ({"sample_weight": [1, 2]}, ValueError, "sample_weight: expected shape (3,), got (2,)"),
    ({"sample_weight": [1, -2, 3]}, ValueError, "sample_weight: expected weights >= 0, got -2"),
    ({"sample_weight": [1, np.inf, 3]}, ValueError, "sample_weight: expected finite"),
    ({"sample_weight": "abc"}, TypeError, "sample_weight: expected real numbers"),
    ({"sample_weight": [0, 0, 0]}, ValueError, "expected a finite sum of weights above zero"),
    ({"sample_weight": [1e308] * 3}, ValueError, "expected a finite sum of weights above zero"),
    ({"step_weight": np.ones((B, 1))}, ValueError, "step_weight: expected shape (3, 4)"),
    ({"step_weight": -np.ones((B, T))}, ValueError, "step_weight: expected weights >= 0"),
    ({"step_weight": np.full((B, T), np.nan)}, ValueError, "step_weight: expected finite"),
    ({"step_weight": [[1], [1, 2], [3]]}, ValueError, "step_weight[0]: expected shape (4,)"),
    ({"step_weight": ["a", "b", "c"]}, TypeError, "step_weight: expected real numbers"),
    ({"lengths": [0, 0, 0]}, ValueError, "expected a finite sum of weights above zero"),
    ({"l2": -1}, ValueError, "l2: expected a number >= 0, got -1"),
    ({"l2": np.nan}, ValueError, "l2: expected a finite number"),
    ({"l2": "0"}, TypeError, "l2: expected a real number"),
    ({"reduction": "max"}, ValueError, "reduction: expected one of mean, sum, got 'max'"),
    ({"reduction": None}, TypeError, "reduction: expected one of mean, sum, got None"),
]


@pytest.mark.parametrize(("change", "error", "words"), DATA_ERRORS + LOSS_ERRORS)
@pytest.mark.parametrize("method", ["loss", "loss_and_grad", "check_gradient"])
def test_wrong_arguments_of_the_objective(method, change, error, words):
    net = network()
    call = {"check_gradient": lambda **k: lc.check_gradient(net, **k)}.get(method)
    with pytest.raises(error) as caught:
        (call or getattr(net, method))(**{"X": X, "Y": LABELS} | change)
    assert words in str(caught.value)


def test_step_weights_are_refused_where_sequences_are_read_out():
    with pytest.raises(ValueError, match="step_weight: expected None where sequences are read"):
        network(readout="mean").loss(X, [0, 1, 2], step_weight=np.ones((B, T)))


def test_evaluate_wants_prepared_examples():
    with pytest.raises(TypeError, match="examples: expected Examples, got a tuple of length 2"):
        network().evaluate(None, (X, LABELS))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"net": None}, TypeError, "net: expected a Network, got None"),
        ({"step": 0}, ValueError, "step: expected a number > 0"),
        ({"step": "small"}, TypeError, "step: expected a real number"),
        ({"max_entries": 0}, ValueError, "max_entries: expected an integer >= 1"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0"),
    ],
)
def test_wrong_arguments_of_check_gradient(change, error, words):
    with pytest.raises(error) as caught:
        lc.check_gradient(**{"net": network(), "X": X, "Y": LABELS} | change)
    assert words in str(caught.value)


def good_state(net=None, n=B):
    net = net or network()
    return net.predict(np.zeros((n, 1, I)), return_state=True)[1]


STATE_ERRORS = [
    (lambda s: list(s), TypeError, "state: expected a tuple of length 2, got a list"),
    (lambda s: s[:1], ValueError, "state: expected a tuple of length 2, got a tuple of length 1"),
    (lambda s: (s[0][:1], ()), ValueError, "state[0]: expected a tuple of length 2"),
    (lambda s: (s[0], (s[0][0],)), ValueError, "state[1]: expected a tuple of length 0"),
    (lambda s: (np.zeros((2, B, 3)), ()), TypeError, "state[0]: expected a tuple of length 2"),
    (lambda s: ((s[0][0], s[0][1][:, :2]), ()), ValueError, "state[0][1]: expected shape (3, 3)"),
    (lambda s: ((s[0][0][0], s[0][1]), ()), ValueError, "state[0][0]: expected shape (3, 3)"),
    (lambda s: ((s[0][0] * np.nan, s[0][1]), ()), ValueError, "state[0][0]: expected finite"),
    (lambda s: ((s[0][0] * 1j, s[0][1]), ()), TypeError, "state[0][0]: expected real numbers"),
]


@pytest.mark.parametrize(("change", "error", "words"), STATE_ERRORS)
def test_states_of_other_networks_or_batches_are_refused(change, error, words):
    net = network()
    state, stream = change(good_state()), net.stream(B)
    for call in (
        lambda: net.predict(X, state=state),
        lambda: net.step(X[:, 0], state),
        lambda: setattr(stream, "state", state),
    ):
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value)


def test_a_state_with_a_batch_axis_does_not_fit_a_step_without_one():
    with pytest.raises(ValueError, match=r"state\[0\]\[0\]: expected shape \(3,\), got \(3, 3\)"):
        network().step(X[0, 0], good_state())


def test_a_part_of_a_sequence_is_refused_where_a_layer_is_bidirectional():
    net = network(bidirectional=True)
    for name, call in {
        "x": lambda: net.step(X[:, 0]),
        "state": lambda: net.predict(X, state=()),
        "return_state": lambda: net.predict(X, return_state=True),
        "stream": lambda: net.stream(),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: expected whole sequences, for layers.0. is"):
            call()


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros(3), ValueError, "x: expected shape (2,) or (B, 2), got (3,)"),
        (np.zeros((1, 1, 2)), ValueError, "x: expected shape (2,) or (B, 2)"),
        (np.zeros((0, 2)), ValueError, "x: expected at least one sequence"),
        (np.zeros(0, int), ValueError, "x: expected shape (2,) or (B, 2), got (0,)"),
        ([np.nan, 0.0], ValueError, "x: expected finite numbers"),
        ([1j, 0], TypeError, "x: expected real numbers"),
        (None, TypeError, "x: expected real numbers"),
        (1, ValueError, "got (); integers stand for tokens only with tokens=True"),
        ([1], ValueError, "got (1,); integers stand for tokens only with tokens=True"),
        ([[1.0], [1.0, 2.0]], ValueError, "x: expected an array of numbers"),
    ],
)
def test_wrong_steps(x, error, words):
    net = network()
    for call in (net.step, net.stream()):
        with pytest.raises(error) as caught:
            call(x)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (2, ValueError, "x: expected tokens from 0 to 1, got 2"),
        ([-1], ValueError, "x: expected tokens from 0 to 1, got -1"),
        (0.0, TypeError, "x: expected integer tokens, got an array of shape () and dtype float64"),
        ([0.5, 0.5], TypeError, "x.astype(int) makes integers, and vectors of numbers have one"),
        (np.zeros(2), TypeError, "x: expected integer tokens, got an array of shape (2,)"),
        (True, TypeError, "x: expected integer tokens, got an array of shape () and dtype bool"),
        ([], ValueError, "x: expected at least one sequence"),
        (np.zeros((1, 3)), ValueError, "x: expected shape () or (B,) or (B, 2), got (1, 3)"),
    ],
)
def test_wrong_steps_of_tokens(x, error, words):
    net = network(tokens=True)
    for call in (net.step, net.stream()):
        with pytest.raises(error) as caught:
            call(x)
        assert words in str(caught.value)


def test_a_stream_wants_its_own_number_of_sequences():
    for size, error in ((0, ValueError), (1.0, TypeError), (None, TypeError)):
        with pytest.raises(error, match="batch_size: expected an integer"):
            network().stream(size)
    with pytest.raises(ValueError, match="x: expected 2 sequences, got 3"):
        network().stream(2)(X[:, 0])


def test_other_options_of_calls_are_refused():
    net = network()
    for call in (
        lambda: net.predict(X, return_state=1),
        lambda: net.step(X[:, 0], check_finite=1),
        lambda: net.step(X[:, 0], n_threads=0),
        lambda: net.prepare(X, LABELS, check_finite=None),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^(return_state|check_f|n_thr)"):
            call()


# --------------------------------------- arbitrary shapes, dtypes and layouts, at every call


DTYPES = st.sampled_from(
    [
        "f8",
        "f4",
        "f2",
        ">f8",
        "<f4",
        "g",
        "i8",
        "i4",
        "i1",
        "u8",
        "u1",
        "?",
        "c16",
        "O",
        "U3",
        "S2",
        "M8[s]",
        "m8[s]",
        "V4",
        [("a", "f8"), ("b", "i4")],
    ]
)


def numbers(dtype):
    """Values of a dtype, few of them special."""
    if dtype.kind == "O":
        return st.sampled_from([None, 1.0, "x", 10**40])
    if dtype.kind in "iu":
        return st.integers(0, 3) | st.sampled_from([int(np.iinfo(dtype).max), 7])
    return st.sampled_from([0, 1, -0.5, 1e3, -2, np.nan, np.inf, 1e38, 1e300, 1e-310])


@st.composite
def arrays(draw, shapes):
    """An array of any dtype and memory layout."""
    dtype = np.dtype(draw(DTYPES))
    shape = draw(shapes)
    array = np.zeros(shape, dtype)
    if dtype.kind in "fiuO" and array.size:
        values = draw(st.lists(numbers(dtype), min_size=1, max_size=5))
        with np.errstate(all="ignore"):
            array = np.resize(np.array(values, dtype=dtype), shape)
    layout = draw(st.sampled_from("CFRSB"))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "R" and array.ndim:
        array = array[::-1]
    elif layout == "S" and array.ndim:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif layout == "B" and array.ndim:
        array = np.broadcast_to(array[:1], array.shape)
    if draw(st.booleans()):
        array.flags.writeable = False
    return array


def near(*shape):
    """`shape` itself, a neighbour of it, or any other."""
    return (
        st.just(shape)
        | st.tuples(*(st.integers(max(size - 1, 0), size + 1) for size in shape))
        | hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )


ODDITIES = st.sampled_from(
    [None, True, 3, -1, 0.5, np.nan, 10**30, "abc", b"x", 1j, {}, [], [[]], object()]
)


def anything(*shape):
    """What someone may pass where an array of `shape` is expected."""
    listed = st.lists(arrays(near(*shape[1:])), max_size=4) if shape[1:] else st.nothing()
    return arrays(near(*shape)) | listed | ODDITIES | arrays(near(*shape)).map(np.ndarray.tolist)


def right_or_refused(call, check=None):
    """The call returns something right, or raises a TypeError or ValueError with words in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = call()
        except (TypeError, ValueError) as error:
            assert ":" in str(error), f"does not name an argument: {error}"
            return
    if check is not None:
        check(result)


def plainly(array, net, token_axes):
    """The same numbers, or tokens, as a native, contiguous, writeable array."""
    array = np.asarray(array)
    is_token = net.takes_tokens and array.ndim == token_axes
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.intp if is_token else net.dtype, order="C")


thorough = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NETWORKS = {
    options: network("squared_error", *options)
    for options in itertools.product(
        ("all", "last", "mean"), (False, True), ("float32", "float64"), (False, True)
    )
}
any_network = st.sampled_from(list(NETWORKS.values()))
lengths_or_mask = st.fixed_dictionaries(
    {}, optional={"lengths": anything(B), "mask": arrays(near(B, T)) | ODDITIES}
)


@thorough
@given(any_network, anything(B, T, I), lengths_or_mask, st.booleans(), ODDITIES | st.just(2))
@example(
    NETWORKS["all", False, "float32", False], [np.full((T, I), 2**64 - 1, np.uint64)], {}, False, 2
)
@example(
    NETWORKS["all", False, "float32", False],
    [np.zeros((T, I), "datetime64[s]"), np.zeros((T, I), "timedelta64[s]")],
    {"lengths": [1, 2]},
    False,
    2,
)
def test_any_sequences_to_predict(net, X, options, check_finite, n_threads):
    def check(y):
        plain = [plainly(x, net, 1) for x in X] if isinstance(X, list) else plainly(X, net, 2)
        wanted = net.predict(plain, **options, check_finite=False, n_threads=1)
        assert isinstance(y, list) == isinstance(wanted, list)
        for got, want in zip(y, wanted, strict=True):
            assert got.tobytes() == want.tobytes()

    right_or_refused(
        lambda: net.predict(X, **options, check_finite=check_finite, n_threads=n_threads), check
    )


@thorough
@given(
    any_network,
    st.just(X) | anything(B, T, I),
    anything(B, T, K) | anything(B, K),
    lengths_or_mask,
    st.fixed_dictionaries(
        {},
        optional={
            "sample_weight": anything(B),
            "step_weight": anything(B, T),
            "l2": ODDITIES,
            "reduction": st.sampled_from(["mean", "sum", "none", None]),
        },
    ),
)
def test_any_targets_and_weights_to_the_objective(net, X, Y, options, weights):
    def check(result):
        f, g = result
        assert isinstance(f, float)
        assert g.shape == net.params.shape

    right_or_refused(lambda: net.loss_and_grad(X, Y, **options, **weights), check)
    right_or_refused(lambda: net.loss(X, Y, **options, **weights))


@thorough
@given(
    st.sampled_from(["cross_entropy", "binary_cross_entropy"]),
    st.sampled_from(["all", "last"]),
    anything(B, T) | anything(B, T, K) | anything(B) | anything(B, K),
)
def test_any_labels_to_the_objective(loss, readout, Y):
    net = network(loss, readout)
    right_or_refused(lambda: net.loss_and_grad(X, Y))


@thorough
@given(
    any_network,
    anything(B, I) | anything(I),
    st.tuples(st.tuples(anything(B, 3), anything(B, 3)), st.just(())) | ODDITIES | st.just(()),
)
def test_any_step_and_state(net, x, state):
    right_or_refused(lambda: net.step(x, state))
    right_or_refused(lambda: net.predict(X, state=state))
    if net.layers[0].directions == 1:
        right_or_refused(lambda: net.stream(B)(x))


@thorough
@given(any_network, anything(12))
def test_any_parameters(net, params):
    examples = net.prepare(X, np.zeros((B, T, K) if net.readout == "all" else (B, K)))
    right_or_refused(lambda: net.evaluate(params, examples))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        huge = np.full(net.params.shape, 1e300)
        net.evaluate(huge, examples)


WEIGHTS = {"W": (12, I), "R": (12, 3), "b": (12,)}


@thorough
@given(
    st.fixed_dictionaries({name: anything(*shape) for name, shape in WEIGHTS.items()})
    | st.just({name: np.ones(shape) for name, shape in WEIGHTS.items()}),
    st.just(X) | anything(B, T, I),
    st.fixed_dictionaries(
        {},
        optional={
            "p": anything(3, 3),
            "Q": anything(9, 9),
            "h0": anything(B, 3),
            "c0": anything(B, 3),
            "lengths": anything(B),
            "block_size": ODDITIES,
            "coupled": ODDITIES,
            "gate_activation": ODDITIES,
            "n_threads": ODDITIES,
        },
    ),
    anything(B, T, 3),
    anything(B, 3),
)
def test_any_arguments_of_the_layer_functions(weights, x, options, dh, dstate):
    def backward(result):
        h, (hT, cT), tape = result
        right_or_refused(lambda: lc.lstm_backward(dh, tape, dstate, dstate))
        lc.lstm_backward(np.ones_like(h), tape, np.ones_like(hT), np.ones_like(cT))

    right_or_refused(lambda: lc.lstm_forward(x, **weights, **options), backward)


@thorough
@given(
    st.sampled_from([lc.LSTM, lc.RNN, lc.Dense]),
    ODDITIES | st.integers(-2, 5),
    ODDITIES | st.integers(-2, 5),
    st.dictionaries(
        st.sampled_from(
            [
                "peepholes",
                "output_peephole",
                "bidirectional",
                "input_gate",
                "coupled",
                "gate_recurrence",
                "block_size",
                "activation",
                "gate_activation",
                "cell_activation",
                "learn_initial_state",
                "forget_bias",
                "W_mask",
                "R_mask",
            ]
        ),
        ODDITIES | arrays(near(4, 4)) | st.tuples(st.just("elu"), ODDITIES),
        max_size=3,
    ),
)
def test_any_options_of_layers(cls, input_size, size, options):
    known = cls(1, 1).options
    options = {name: value for name, value in options.items() if name in known}
    right_or_refused(
        lambda: cls(input_size, size, **options),
        lambda layer: lc.Network([layer], seed=0).predict(np.ones((2, 3, layer.input_size))),
    )


@thorough
@given(ODDITIES | st.lists(ODDITIES | st.just(lc.RNN(2, 2)), max_size=3), ODDITIES)
def test_any_arguments_of_a_network(layers, value):
    right_or_refused(lambda: lc.Network(layers))
    for name in ("loss", "readout", "dtype", "seed"):
        right_or_refused(lambda name=name: lc.Network([lc.RNN(2, 2)], **{name: value}))

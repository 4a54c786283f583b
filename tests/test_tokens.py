"""Promise 10: what tokens are, and what numbers, never hangs on a dtype."""

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore.cells import CELLS
from lstmcore.export import export_c

I, K, B, T = 4, 3, 3, 5
LENGTHS = np.array([5, 0, 3])
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
COUNTS = np.random.default_rng(0).integers(0, 2, (B, T, I))
TOKENS = np.random.default_rng(1).integers(0, I, (B, T))
ONE_HOT = np.eye(I)[TOKENS]

# Forms of the same values.
FORMS = {dtype: lambda x, dtype=dtype: x.astype(dtype) for dtype in INTEGERS} | {
    "list": lambda x: x.tolist(),
    "list of arrays": list,
}
NUMBERS = FORMS | {
    "bool": lambda x: x.astype(bool),
    "float32": lambda x: x.astype(np.float32),
    "list of float": lambda x: x.astype(float).tolist(),
    "list of bool": lambda x: x.astype(bool).tolist(),
}
numbers = pytest.mark.parametrize("form", NUMBERS.values(), ids=NUMBERS)
tokens = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
takes = pytest.mark.parametrize("takes_tokens", [False, True], ids=["numbers", "tokens"])
kinds = pytest.mark.parametrize("cls", CELLS.values(), ids=CELLS)
# they compare two ways to the same numbers, good or bad
short_of_calibration = pytest.mark.filterwarnings("ignore::lstmcore.CalibrationWarning")
dtypes = pytest.mark.parametrize("dtype", zoo.DTYPES)


def network(first=None, dtype="float64", readout="all", **options):
    first = lc.LSTM(I, 5, **options) if first is None else first
    layers = [first, lc.GRU(5, 4), lc.Dense(4, K)]
    return lc.Network(layers, loss="cross_entropy", readout=readout, dtype=dtype, seed=0)


def of_tokens(cls, **options):
    """A network whose first layer is of a class and takes tokens."""
    options |= {} if cls is lc.Embedding else {"tokens": True}
    return cls(I, 5, **options)


def given(form, x):
    """A whole array or list in a form, with the lengths that go with it."""
    X = form(x)
    return (X, {}) if isinstance(X, list) else (X, {"lengths": LENGTHS})


# ------------------------------------------------------------------------------------- numbers


@takes
@dtypes
@numbers
def test_integers_are_numbers_in_every_call_that_takes_sequences(form, dtype, takes_tokens):
    net = network(dtype=dtype, tokens=takes_tokens)
    X, options = given(form, COUNTS)
    Y = np.zeros((B, T), int)
    if isinstance(X, list):
        Y = list(Y)
    exact = COUNTS.astype(np.float64)
    same_bits(net.predict(X, **options), net.predict(exact, **options))
    f, g = net.loss_and_grad(X, Y, **options)
    f_wanted, g_wanted = net.loss_and_grad(exact, Y, **options)
    assert f == f_wanted == net.loss(X, Y, **options)
    same_bits(g, g_wanted)
    fitted = []
    for x in (X, exact):
        net = lc.Network(**net.options, seed=0)
        with pytest.warns(lc.ConvergenceWarning):
            fitted.append(lc.fit(net, x, Y, max_iter=2, **options).x)
    same_bits(*fitted)
    mask = np.arange(T) % 2 == np.arange(B)[:, None] % 2
    if not isinstance(X, list):
        same_bits(net.predict(X, mask=mask), net.predict(exact, mask=mask))


@takes
@dtypes
@numbers
def test_integers_are_numbers_in_every_call_that_takes_a_step(form, dtype, takes_tokens):
    net = network(dtype=dtype, tokens=takes_tokens)
    stream, wanted = net.stream(B), net.predict(COUNTS.astype(float))
    state = None
    for t in range(T):
        x = form(COUNTS[:, t])
        y, state = net.step(x, state)
        same_bits(y, wanted[:, t])
        same_bits(stream(x), wanted[:, t])


@dtypes
@numbers
def test_integers_are_numbers_in_a_step_of_one_sequence(form, dtype):
    net = network(dtype=dtype)
    stream, wanted = net.stream(), net.predict(COUNTS.astype(float))[0]
    state = None
    for t in range(T):
        x = form(COUNTS[0, t])
        y, state = net.step(x, state)
        same_bits(y, wanted[t])
        same_bits(stream(x), wanted[t])


def test_a_step_of_one_number_is_the_number():
    net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    values = [0.5, 0, 0.25, 1]
    wanted = net.predict(np.reshape(values, (1, -1, 1)))[0]
    stream = net.stream()
    same_bits(np.stack([stream([value]) for value in values]), wanted)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@takes
@numbers
def test_integers_are_numbers_in_functions_of_arrays(form, takes_tokens, name):
    layer = getattr(lc, name.upper())(I, 5)
    blocks = [w.copy() for w in lc.Network([layer], seed=0).blocks.values()]
    forward, backward = (getattr(lc, f"{name}_{way}") for way in ("forward", "backward"))
    X, options = given(form, COUNTS)
    results = []
    for x in (X, COUNTS.astype(float)):
        h, _, tape = forward(x, *blocks, tokens=takes_tokens, **options)
        results.append((h, backward(np.ones_like(h), tape)))
    (h, grads), (h_wanted, grads_wanted) = results
    same_bits(h, h_wanted)
    for key, value in grads_wanted.items():
        same_bits(grads[key], value)


@short_of_calibration
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@takes
@numbers
def test_integers_are_numbers_to_an_export(form, dtype, takes_tokens, tmp_path):
    net = network(tokens=takes_tokens)
    X, options = given(form, COUNTS)
    files = []
    for where, data in (("a", X), ("b", COUNTS.astype(float))):
        report = export_c(net, tmp_path / where, dtype=dtype, data=data, **options)
        files.append([path.read_text() for path in report.files])
    assert files[0] == files[1]


# -------------------------------------------------------------------------------------- tokens


@dtypes
@kinds
@tokens
def test_tokens_are_one_hot_vectors_in_every_call(form, cls, dtype):
    net = network(of_tokens(cls), dtype)
    X, options = given(form, TOKENS)
    same_bits(net.predict(X, **options), net.predict(ONE_HOT, **options))
    Y = list(TOKENS % K) if isinstance(X, list) else TOKENS % K
    f, g = net.loss_and_grad(X, Y, **options)
    f_wanted, g_wanted = net.loss_and_grad(ONE_HOT, Y, **options)
    assert f == f_wanted == net.loss(X, Y, **options)
    np.testing.assert_allclose(g, g_wanted, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-8)


@dtypes
@kinds
@tokens
def test_tokens_are_one_hot_vectors_in_a_step(form, cls, dtype):
    net = network(of_tokens(cls), dtype)
    stream, wanted, state = net.stream(B), net.predict(ONE_HOT), None
    for t in range(T):
        x = form(TOKENS[:, t])
        y, state = net.step(x, state)
        same_bits(y, wanted[:, t])
        same_bits(stream(x), wanted[:, t])
    one = net.stream()
    for t in range(T):
        same_bits(one(int(TOKENS[0, t])), wanted[0, t])


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@tokens
def test_tokens_are_one_hot_vectors_to_functions_of_arrays(form, name):
    layer = getattr(lc, name.upper())(I, 5)
    blocks = [w.copy() for w in lc.Network([layer], seed=0).blocks.values()]
    forward = getattr(lc, f"{name}_forward")
    X, options = given(form, TOKENS)
    same_bits(
        forward(X, *blocks, tokens=True, **options)[0], forward(ONE_HOT, *blocks, **options)[0]
    )
    with pytest.raises(ValueError, match="integers stand for tokens only with tokens=True"):
        forward(X, *blocks, **options)


@short_of_calibration
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@kinds
@tokens
def test_tokens_are_one_hot_vectors_to_an_export(form, cls, dtype, tmp_path):
    net = network(of_tokens(cls))
    X, options = given(form, TOKENS)
    files = []
    for where, data in (("a", X), ("b", ONE_HOT)):
        report = export_c(net, tmp_path / where, dtype=dtype, data=data, **options)
        files.append([path.read_text() for path in report.files])
    assert files[0] == files[1]


@tokens
def test_a_network_of_numbers_refuses_tokens_and_says_both_ways_out(form):
    net = network()
    X, options = given(form, TOKENS)
    for call in (
        lambda: net.predict(X, **options),
        lambda: net.loss_and_grad(X, TOKENS % K, **options),
        lambda: export_c(net, "nowhere", dtype="int8", data=X, **options),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        words = str(caught.value)
        assert f"numbers of shape (B, T, {I})" in words or f"numbers of shape (T, {I})" in words
        assert "[..., None] has one feature" in words
        assert "only with tokens=True" in words and "Embedding" in words


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@kinds
def test_a_network_of_tokens_without_any(cls, readout):
    net = network(of_tokens(cls), readout=readout)
    wanted = net.predict(np.zeros((2, 0, I)))
    for X in (np.zeros((2, 0), int), np.zeros((2, 0)), [[], []], [np.zeros(0, np.int8)] * 2):
        same_bits(net.predict(X), wanted)


# -------------------------------------------------------------------------------------- layers


@kinds
def test_a_layer_and_its_network_say_what_they_take(cls):
    first = of_tokens(cls)
    assert first.tokens and network(first).takes_tokens
    assert repr(first) == (
        "Embedding(4, 5)" if cls is lc.Embedding else f"{cls.__name__}(4, 5, tokens=True)"
    )
    if cls is not lc.Embedding:
        assert not cls(I, 5).tokens and not network(cls(I, 5)).takes_tokens
        assert cls(I, 5).options["tokens"] is False
        with pytest.raises(TypeError, match="tokens: expected True or False, got 1"):
            cls(I, 5, tokens=1)
    with pytest.raises(AttributeError, match="takes_tokens: a Network stays as it was made"):
        network(first).takes_tokens = False


@kinds
def test_only_the_first_layer_takes_tokens(cls):
    with pytest.raises(ValueError) as caught:
        lc.Network([lc.Dense(2, I), of_tokens(cls)])
    assert "layers[1]: expected a layer of numbers, for only layers[0] may take" in str(
        caught.value
    )


@kinds
def test_a_file_keeps_whether_tokens_are_taken(cls, tmp_path):
    net = network(of_tokens(cls))
    net.save(tmp_path / "net.npz")
    again = lc.load(tmp_path / "net.npz")
    assert repr(again) == repr(net) and again.takes_tokens
    same_bits(again.predict(TOKENS), net.predict(TOKENS))


def test_an_embedding_is_a_row_of_a_table_for_each_token():
    net = lc.Network([lc.Embedding(I, 6)], seed=0)
    assert list(net.blocks) == ["0.W"]
    same_bits(net.predict(TOKENS), net.blocks["0.W"].T[TOKENS])
    errors = lc.check_gradient(net, TOKENS, np.ones((B, T, 6)), lengths=LENGTHS)
    assert max(errors.values()) < 1e-8


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((0, 3), "n_tokens: expected an integer >= 1, got 0"), ((3, 1.0), "size: expected an int")],
)
def test_sizes_of_an_embedding_are_refused_by_their_names(sizes, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        lc.Embedding(*sizes)
    assert words in str(caught.value)


def test_memory_of_a_large_table_is_that_of_the_table():
    """The rows of a chunk as one-hot vectors would be 1024 tables of so many tokens' width."""
    n_tokens, size = 20_000, 8
    net = lc.Network([lc.Embedding(n_tokens, size), lc.LSTM(size, 4)], seed=0)
    net.loss_and_grad(TOKENS, np.zeros((B, T, 4)), n_threads=1)
    lc.Objective(net, TOKENS, np.zeros((B, T, 4)), n_threads=1)(net.params)
    # weights packed and their gradient, each in vectors of up to 16 numbers, for two calls
    assert net.passes.pool.kept < 5 * 16 * n_tokens

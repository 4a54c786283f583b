"""Tokens of several kinds, and numbers beside them, in one step."""

import pickle

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc

B, T = 5, 6
LENGTHS = np.array([6, 3, 0, 2, 6])
LAYERS = {
    "LSTM": lambda: [lc.LSTM(8, 5, peepholes=True), lc.Dense(5, 2)],
    "both directions": lambda: [lc.GRU(8, 4, bidirectional=True), lc.Dense(8, 2)],
    "dense": lambda: [lc.Dense(8, 6, activation="tanh"), lc.RNN(6, 5), lc.Dense(5, 2)],
}
networks = pytest.mark.parametrize("name", LAYERS)
readouts = pytest.mark.parametrize("readout", ["all", "last", "mean"])
dtypes = pytest.mark.parametrize("dtype", zoo.DTYPES)


def table():
    return lc.MixedEmbedding([5, 3], [4, 2], n_numbers=2)


def network(name="LSTM", readout="all", dtype="float64", **options):
    net = lc.Network([table(), *LAYERS[name]()], readout=readout, dtype=dtype, **options)
    net.params = np.random.default_rng(0).normal(scale=0.5, size=net.params.size)
    return net


def inputs():
    rng = np.random.default_rng(1)
    tokens = [rng.integers(n, size=(B, T)) for n in (5, 3)]
    return np.dstack([*tokens, rng.normal(size=(B, T, 2))])


def targets(net):
    shape = (B, T, 2) if net.readout == "all" else (B, 2)
    return np.random.default_rng(2).normal(size=shape)


def looked_up(net, X):
    W0, W1 = net.blocks["0.W0"], net.blocks["0.W1"]
    tokens = X[..., :2].astype(int)
    return np.concatenate([W0.T[tokens[..., 0]], W1.T[tokens[..., 1]], X[..., 2:]], axis=-1)


@networks
@readouts
def test_outputs_and_gradient_are_those_of_the_vectors(name, readout):
    net, X = network(name, readout), inputs()
    rest = lc.Network(net.layers[1:], readout=readout)
    rest.params = net.params[-rest.params.size :]
    vectors = looked_up(net, X)
    same_bits(net.predict(X, LENGTHS), rest.predict(vectors, LENGTHS))
    f, g = net.loss_and_grad(X, targets(net), LENGTHS)
    wanted, h = rest.loss_and_grad(vectors, targets(net), LENGTHS)
    assert f == wanted
    same_bits(g[-h.size :], h)
    errors = lc.check_gradient(net, X, targets(net), LENGTHS)
    assert {"0.W0", "0.W1"} <= set(errors)
    assert max(errors.values()) < 1e-8


@networks
@dtypes
def test_bits(name, dtype):
    net, X = network(name, dtype=dtype), inputs()
    y = net.predict(X, LENGTHS)
    same_bits(y, net.predict(X, LENGTHS, n_threads=2))
    ragged = net.predict([x[:n] for x, n in zip(X, LENGTHS, strict=True)])
    for b, n in enumerate(LENGTHS):
        same_bits(ragged[b], y[b, :n])
        same_bits(net.predict(X[b : b + 1], LENGTHS[b : b + 1]), y[b : b + 1])
    same_bits(net.trace(X, LENGTHS)["y"], y)
    for other in (pickle.loads(pickle.dumps(net)), net.frozen()):
        same_bits(other.predict(X, LENGTHS), y)


@pytest.mark.parametrize("name", ["LSTM", "dense"])
@readouts
@dtypes
def test_streams_steps_and_checkpoints(name, readout, dtype):
    net, X = network(name, readout, dtype), inputs()
    stream, state = net.stream(B), None
    for t in range(T):
        out = stream(X[:, t])
        whole = net.predict(X[:, : t + 1])
        same_bits(out, whole[:, t] if readout == "all" else whole)
        step, state = net.step(X[:, t], state)
        same_bits(step, out)
    stream.state = state
    for values, others in zip(stream.state[1], state[1], strict=True):
        same_bits(values, others)
    g = net.loss_and_grad(X, targets(net), LENGTHS)[1]
    same_bits(g, net.loss_and_grad(X, targets(net), LENGTHS, checkpoint=2)[1])


def test_only_rows_of_tokens_that_were_seen_have_a_gradient():
    net, X = network(), inputs()
    X[..., 0] = np.where(X[..., 0] == 4, 1, X[..., 0])
    g = net.loss_and_grad(X, targets(net))[1]
    columns = net.table["0.W0"].view(g)
    assert not columns[:, 4].any() and columns[:, :4].any(axis=0).all()


def test_derivative_by_the_inputs():
    net, X = network(), inputs()
    dy = np.random.default_rng(3).normal(size=(B, T, 2))
    dX = net.vjp(X, dy, return_dX=True)[1]
    rest = lc.Network(net.layers[1:])
    rest.params = net.params[-rest.params.size :]
    same_bits(dX[..., 2:], rest.vjp(looked_up(net, X), dy, return_dX=True)[1][..., 6:])
    assert not dX[..., :2].any()


def test_alone_and_without_numbers(tmp_path):
    net = lc.Network([lc.MixedEmbedding([5, 3], [4, 2])], seed=0)
    X = inputs()[..., :2]
    W0, W1 = net.blocks["0.W0"], net.blocks["0.W1"]
    tokens = X.astype(int)
    same_bits(net.predict(tokens), np.dstack([W0.T[tokens[..., 0]], W1.T[tokens[..., 1]]]))
    assert max(lc.check_gradient(net, X, np.ones((B, T, 6))).values()) < 1e-8
    net.save(tmp_path / "net.npz")
    assert repr(lc.load(tmp_path / "net.npz")) == repr(net)
    assert repr(net.layers[0]) == "MixedEmbedding((5, 3), (4, 2))"
    with pytest.raises(ValueError, match="stream: expected a layer after the first one"):
        net.stream()


def test_the_data_are_a_copy_that_was_checked():
    net, X = network(), inputs()
    objective = lc.Objective(net, X, targets(net))
    before = objective.fun(net.params)
    X[:] = 1e6
    assert objective.fun(net.params) == before


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_noise_and_scales_are_of_numbers():
    net, X = network(), inputs()
    X[..., 0] = 4  # far from mean 0, as no quantity should be
    lc.fit(net, X, targets(net), method="adam", max_epochs=2, input_noise=0.5, dropout=0.2, seed=0)
    X[..., 3] += 1000
    with pytest.warns(lc.ScaleWarning, match="X has feature 3 from"):
        lc.fit(net, X, targets(net), max_iter=1)


@pytest.mark.parametrize("wrong", [5, -1, 1.5, np.nan])
def test_what_is_no_token_is_named(wrong):
    net, X = network(), inputs()
    X[3, 1, 0] = wrong
    with pytest.raises(ValueError, match=r"X: expected (whole numbers from 0 to 4 in|fin)"):
        net.predict(X)
    message = r"whole numbers .*, which are tokens, got .* in sequence 3 at step 1"
    with pytest.raises(ValueError, match=message):
        net.predict(X, LENGTHS, check_finite=False)
    with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 4 in column 0"):
        net.step(X[:, 1], check_finite=False)
    with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 4 in column 0"):
        net.stream(B, check_finite=False)(X[:, 1])
    X[3, 4:] = wrong  # where no step is
    X[3, 1, 0] = 0
    net.predict(X, LENGTHS)


@pytest.mark.parametrize(
    "arguments, numbers, error, message",
    [
        (([5], [2, 3]), 0, ValueError, "sizes: expected 1, one for each kind of token, got 2"),
        (([], []), 0, ValueError, "n_tokens: expected one for each kind of token, got none"),
        ((5, [2]), 0, TypeError, "n_tokens: expected a list of integers, got 5"),
        (([5, 0], [2, 3]), 0, ValueError, r"n_tokens\[1\]: expected an integer >= 1, got 0"),
        (([5], [2.0]), 0, TypeError, r"sizes\[0\]: expected an integer, got 2.0"),
        (([5], [2]), -1, ValueError, "n_numbers: expected an integer >= 0, got -1"),
    ],
)
def test_sizes_that_cannot_be(arguments, numbers, error, message):
    with pytest.raises(error, match=message):
        lc.MixedEmbedding(*arguments, n_numbers=numbers)


def test_it_is_the_first_layer():
    with pytest.raises(ValueError, match=r"layers\[1\]: expected a layer of numbers"):
        lc.Network([lc.Dense(3, 4), table()])

"""Readouts: what they read, by their definition; the same bits however the sequences come."""

import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore._readout import READOUTS, Max, Mean
from lstmcore._workspace import Fresh
from lstmcore.sequences import Rows, make_batch

I, T = zoo.INPUTS, 7
LENGTHS = np.array([7, 4, 0, 1, 7])
B = len(LENGTHS)

READ = [name for name in READOUTS if name != "all"]
# whose last layer's outputs are read
READABLE = {name: entry for name, entry in zoo.NETWORKS.items() if entry.ends_recurrent}

STREAMS = {name: entry for name, entry in READABLE.items() if not entry.reads_ahead}

networks = pytest.mark.parametrize("name", READABLE)
cases = zoo.cases(READABLE, READ)


def network(name, readout="all", dtype="float64", head=True):
    layers = READABLE[name].layers
    if head:
        layers += [lc.Dense(layers[-1].output_size, 4, activation="tanh"), lc.Dense(4, 2)]
    net = lc.Network(layers, readout=readout, dtype=dtype)
    net.params[...] = np.random.default_rng(0).normal(scale=0.6, size=net.params.size)
    return net


def inputs(dtype="float64"):
    return np.random.default_rng(1).normal(size=(B, T, I)).astype(dtype)


def outputs_of_the_read_layer(name):
    return network(name, head=False).predict(inputs(), LENGTHS)


def read_out(name, readout):
    return network(name, readout, head=False).predict(inputs(), LENGTHS)


# --------------------------------------------------------------------------- the definitions


@networks
def test_max_is_the_maximum_over_a_sequences_own_steps(name):
    every, read = outputs_of_the_read_layer(name), read_out(name, "max")
    for b, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(read[b], every[b, :n].max(axis=0) if n else 0)


@networks
def test_last_step_is_the_output_at_the_last_time_step_of_each_direction(name):
    every, read = outputs_of_the_read_layer(name), read_out(name, "last_step")
    last, layer = read_out(name, "last"), READABLE[name].layers[-1]
    for b, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(read[b], every[b, n - 1] if n else last[b])
    ways = [np.split(values, layer.directions, axis=1) for values in (read, last)]
    for mine, other, reverse in zip(*ways, layer.reversals, strict=True):
        if reverse:
            assert (mine[0] != other[0]).all()
            assert (mine[3] == other[3]).all()  # one step is the first and the last
        else:
            np.testing.assert_array_equal(mine, other)


def test_without_steps_the_maximum_is_zero_and_gets_no_gradient():
    net, X = network("learned state, RNN", "max"), np.zeros((2, 0, I))
    _, g = net.loss_and_grad(X, np.ones((2, 2)))
    assert not g[net.table["0.h0"].slice].any() and g.any()
    assert not network("learned state, RNN", "max", head=False).predict(X).any()


def test_the_gradient_goes_to_the_first_step_that_has_the_maximum():
    net = lc.Network([lc.RNN(1, 1, activation="identity")], readout="max", seed=0)
    net.params[...] = [1.0, 0.0, 0.0]  # h = x
    X = np.array([[[2.0], [5.0], [5.0], [1.0]]])
    assert net.predict(X) == 5
    net.blocks["0.R"][...] = 0.5
    X = np.array([[[4.0], [2.0], [1.0]]])  # h = 4, 4, 3
    _, g = net.loss_and_grad(X, [[0.0]])
    assert g.tolist() == [16.0, 0.0, 4.0]  # through h(2) it would be 16, 16, 6


# ------------------------------------------------------------------------------- the gradient


representatives = {name: entry for name, entry in READABLE.items() if entry.is_representative}


@zoo.cases(representatives, READ)
def test_the_gradient_is_the_gradient(name, readout, dtype):
    net = network(name, readout, dtype)
    Y = np.random.default_rng(2).normal(size=(B, 2))
    errors = lc.check_gradient(net, inputs(), Y, LENGTHS, step=1e-4, max_entries=12)
    assert max(errors.values()) < (1e-7 if dtype == "float64" else 1e-4)


# ----------------------------------------------------------------------------------- the bits


@cases
def test_a_sequence_is_read_alike_alone_in_a_batch_and_with_any_padding(name, readout, dtype):
    net, X = network(name, readout, dtype), inputs(dtype)
    whole = net.predict(X, LENGTHS)
    padded = np.full((B, T + 3, I), 9.0, dtype)
    for b, n in enumerate(LENGTHS):
        padded[b, :n] = X[b, :n]
    np.testing.assert_array_equal(net.predict(padded, LENGTHS), whole)
    listed = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
    np.testing.assert_array_equal(net.predict(listed), whole)
    for b, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(net.predict(X[b : b + 1, :n])[0], whole[b])


@zoo.cases(STREAMS, READ)
def test_chunks_and_steps_read_what_the_whole_gives(name, readout, dtype):
    net, X = network(name, readout, dtype), inputs(dtype)
    whole, after = net.predict(X, LENGTHS, return_state=True)
    lengths = np.clip(LENGTHS - 3, 0, None)
    _, state = net.predict(X[:, :3], np.minimum(LENGTHS, 3), return_state=True)
    kept = [[values.copy() for values in entry] for entry in state]
    again, end = net.predict(X[:, 3:], lengths, state=state, return_state=True)
    np.testing.assert_array_equal(again, whole)
    for entry, wanted in zip(end, after, strict=True):
        for values, others in zip(entry, wanted, strict=True):
            np.testing.assert_array_equal(values, others)
    for entry, before in zip(state, kept, strict=True):  # the state given is not written to
        for values, others in zip(entry, before, strict=True):
            np.testing.assert_array_equal(values, others)
    state = None
    for t in range(T):
        y, state = net.step(X[:, t], state)
        np.testing.assert_array_equal(y, net.predict(X[:, : t + 1]))


def test_a_state_has_an_entry_of_the_readout():
    net = network("LSTM", "max")
    _, state = net.predict(inputs(), LENGTHS, return_state=True)
    largest, count = state[-1]
    np.testing.assert_array_equal(count, LENGTHS)
    np.testing.assert_array_equal(largest, read_out("LSTM", "max"))
    with pytest.raises(ValueError, match=r"state: expected a tuple of length 4, got a tuple of l"):
        net.predict(inputs(), state=state[:-1])
    with pytest.raises(ValueError, match=r"state\[3\]\[1\]: expected shape \(5,\), got \(4,\)"):
        net.predict(inputs(), state=(*state[:-1], (largest, count[:4])))


# An output and its sign, or NaN, in whatever stretches it comes.
@pytest.mark.parametrize("cuts", [[6], [1, 5], [3, 3], [1] * 6])
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([-0.0, 0.0, -1.0, 0.0, -0.0, -2.0], -0.0),
        ([-3.0, 0.0, -0.0, 0.0, -0.0, -2.0], 0.0),
        ([1.0, np.nan, 5.0, np.nan, 7.0, -np.inf], np.nan),
        ([-np.inf] * 6, -np.inf),
        ([-np.inf, -1.0, np.inf, 3.0, np.inf, 0.0], np.inf),
    ],
)
def test_the_first_of_equals_is_the_maximum_in_any_stretches(values, wanted, cuts):
    batch = make_batch(np.zeros((1, 6, 1)), 1, "float64")
    layer, entry, t = lc.RNN(1, 1), None, 0
    reading = Max(layer, batch, Fresh(np.dtype("float64")))
    for n in cuts:
        part = batch.segment(t, t + n)
        y = Rows(np.array(values[t : t + n]).reshape(n, 1), part.first)
        reading.take(y, part, None)
        stretch = Max(layer, part, Fresh(np.dtype("float64")), entry)  # the same, call by call
        stretch.take(y, part, None)
        entry, t = stretch.entry(), t + n
    for read in (reading.read(), stretch.read()):
        assert read.tobytes() == np.array([[wanted]]).tobytes() or np.isnan([read, wanted]).all()


def test_what_is_read_is_not_what_is_kept():
    """A head, a loss or the output units may overwrite the one; the next call needs the other."""
    batch = make_batch(np.zeros((2, 3, 1)), 1, "float64")
    for readout in (Mean, Max):
        reading = readout(lc.RNN(1, 2), batch, Fresh(np.dtype("float64")))
        reading.take(Rows(np.ones((6, 2)), batch.first), batch, None)
        assert not any(np.shares_memory(reading.read(), kept) for kept in reading.entry())


# -------------------------------------------------------------------------------------- words


def test_a_summary_says_what_is_read():
    words = {name: network("both directions", name).summary().splitlines()[1] for name in READ}
    assert "last output" in words["last"]
    assert "mean over time" in words["mean"]
    assert "maximum over time" in words["max"]
    assert "output of the last step" in words["last_step"]


@pytest.mark.parametrize("readout", READ)
def test_networks_with_it_are_copied_and_saved(readout, tmp_path):
    net = network("both directions", readout)
    net.save(tmp_path / "m.npz")
    again = lc.load(tmp_path / "m.npz")
    assert again.readout == readout
    np.testing.assert_array_equal(again.predict(inputs()), net.predict(inputs()))

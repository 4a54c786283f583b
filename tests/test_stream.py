"""`Stream`: one step a call gives the bits of the whole sequence, whatever the network, and however
the step comes; what does not fit is refused; nothing is allocated that was not asked for.
"""

import copy
import pickle
import threading
import time
import tracemalloc

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore._outputs import OUTPUTS
from lstmcore.streaming import Stream

T = 6


def network(name="stack", readout="all", loss="cross_entropy", dtype="float64"):
    return zoo.network(name, readout=readout, loss=loss, dtype=dtype, scale=0.6)


def inputs(B, dtype="float64"):
    return np.random.default_rng(1).normal(size=(B, T, 3)).astype(dtype)


# ---------------------------------------------------------------------------------- the bits


@pytest.mark.parametrize("B", [1, 3], ids=["one", "three"])
@zoo.cases(zoo.STREAMS)
def test_steps_give_the_bits_of_the_whole(name, readout, B, dtype):
    net = network(name, readout, dtype=dtype)
    X, stream, state = inputs(B, dtype), net.stream(B), None
    for t in range(T):
        y = stream(np.ascontiguousarray(X[:, t]))
        whole, after = net.predict(X[:, : t + 1], return_state=True)
        same_bits(y, np.ascontiguousarray(whole[:, -1]) if readout == "all" else whole)
        by_step, state = net.step(X[:, t], state)
        same_bits(y, by_step)
    for mine, other, third in zip(stream.state, after, state, strict=True):
        for a, b, c in zip(mine, other, third, strict=True):
            same_bits(a, b)
            same_bits(a, c)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("B", [1, 3])
def test_outputs_are_those_behind_the_output_activation(loss, B):
    net = network(loss=loss)
    X, stream = inputs(B), net.stream(B)
    got = np.stack([stream(X[:, t]) for t in range(T)], axis=1)
    same_bits(got, net.predict(X))


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("name", zoo.STREAMS)
def test_tokens_step_like_one_hot_vectors(name, B):
    net = zoo.taking_tokens(network(name))
    tokens = np.random.default_rng(2).integers(0, 3, (B, T))
    by_token, by_vector = net.stream(B), net.stream(B)
    for t in range(T):
        x = tokens[:, t].astype(np.int8)
        same_bits(by_token(x), by_vector(np.eye(3)[x]))
    if B == 1:
        by_token.reset()
        same_bits(by_token(int(tokens[0, 0])), net.predict(tokens[:, :1])[0, 0])


FORMS = {
    "a list": lambda x: x.tolist(),
    "a batch of one": lambda x: x[None],
    "float32": lambda x: x.astype(np.float32),
    "big-endian": lambda x: x.astype(">f8"),
    "strided": lambda x: np.repeat(x, 2)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64),
    "read-only": lambda x: np.frombuffer(x.tobytes()),
    "a subclass": lambda x: x.view(np.recarray),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_step_does_not_matter(form):
    net = network()
    x = np.array([0.5, -1.0, 2.0])  # exact in float32
    given = FORMS[form](x)
    same_bits(np.ravel(net.stream()(given)), net.stream()(x))


# --------------------------------------------------------------------------------- its memory


@pytest.mark.parametrize("B", [1, 3])
def test_out_is_written_and_returned(B):
    net = network()
    X, stream, other = inputs(B), net.stream(B), net.stream(B)
    out = np.full((B, 2), np.nan)
    assert stream(X[:, 0].copy(), out) is out
    same_bits(out, other(X[:, 0]))
    assert stream(X[:, 1].tolist(), out=out) is out
    same_bits(out, other(X[:, 1]))


def test_out_may_be_the_input():
    net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 3)], seed=0)
    x = np.array([1.0, 2.0, 3.0])
    wanted = net.stream()(x)
    net.stream()(x, out=x)
    same_bits(x, wanted)


def test_a_step_with_out_allocates_nothing():
    net = network()
    stream, x, out = net.stream(), inputs(1)[0, 0], np.empty(2)
    stream(x, out)
    tracemalloc.start()
    try:
        stream(x, out)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            stream(x, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 200  # the loop's counter and a call's tuple of arguments


def test_inputs_are_not_written_and_outputs_are_fresh():
    net = network()
    stream, x = net.stream(), inputs(1)[0, 0]
    kept = x.copy()
    first = stream(x)
    copied = first.copy()
    second = stream(x)
    same_bits(x, kept)
    same_bits(first, copied)
    assert first is not second


BAD_OUTS = [
    (np.empty(3), ValueError, "out: expected shape (2,), got (3,)"),
    (np.empty((1, 2)), ValueError, "out: expected shape (2,), got (1, 2)"),
    (np.empty(2, np.float32), TypeError, "out: expected an array of dtype float64, got an array"),
    (np.empty(2).astype(">f8"), TypeError, "out: expected an array of dtype float64"),
    ([0.0, 0.0], TypeError, "out: expected an array of dtype float64, got a list"),
    (np.empty(4)[::2], ValueError, "out: expected a writeable array without gaps"),
    (np.frombuffer(bytes(16)), ValueError, "out: expected a writeable array without gaps"),
    (np.ma.zeros(2), TypeError, "out: expected an array of dtype float64"),
]


@pytest.mark.parametrize(("out", "error", "words"), BAD_OUTS)
def test_outs_that_cannot_take_the_outputs_are_refused(out, error, words):
    stream, x = network().stream(), inputs(1)[0, 0]
    before = stream.state
    for step in (x, x.tolist()):
        with pytest.raises(error) as caught:
            stream(step, out)
        assert words in str(caught.value)
    for entry, kept in zip(stream.state, before, strict=True):  # the step did not happen
        for values, others in zip(entry, kept, strict=True):
            same_bits(values, others)


# ------------------------------------------------------------------------ weights and state


def test_refresh_takes_new_parameters_and_keeps_the_state():
    net = network()
    X, stream = inputs(1), net.stream()
    stream(X[0, 0])
    _, state = net.step(X[0, 0])
    net.params *= 0.5
    stream.refresh()
    wanted, _ = net.step(X[0, 1], state)
    same_bits(stream(X[0, 1]), wanted)


@zoo.cases(zoo.STREAMS)
def test_a_state_is_a_copy_and_can_be_put_back(name, readout, dtype):
    net = network(name, readout, dtype=dtype)
    X, stream = inputs(2, dtype), net.stream(2)
    stream(X[:, 0])
    kept = stream.state
    copied = copy.deepcopy(kept)
    y = stream(X[:, 1])
    for entry, other in zip(kept, copied, strict=True):
        for values, others in zip(entry, other, strict=True):
            same_bits(values, others)
    stream.reset()
    stream.state = kept
    same_bits(stream(X[:, 1]), y)
    _, state = net.predict(X[:, :1], return_state=True)
    stream.state = state
    same_bits(stream(X[:, 1]), y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_refused_or_goes_through(dtype, bad):
    net = network(dtype=dtype)
    x = np.array([1.0, np.finfo(dtype).max, -1.0], dtype)
    net.stream()(x)
    for place in range(3):
        wrong = x.copy()
        wrong[place] = bad
        with pytest.raises(ValueError, match="x: expected finite numbers"):
            net.stream()(wrong)
        wanted, _ = net.step(wrong, check_finite=False)
        np.testing.assert_array_equal(net.stream(check_finite=False)(wrong), wanted)


def test_a_stream_is_made_by_its_network_and_once():
    stream, x = network().stream(), inputs(1)[0, 0]
    with pytest.raises(RuntimeError, match="once"):
        stream.__init__(stream._parameters, stream._states, OUTPUTS["softmax"])
    bare = Stream.__new__(Stream)
    for call in (lambda: bare(x), lambda: bare.state, lambda: bare.capsule, bare.reset):
        with pytest.raises((RuntimeError, AttributeError)):
            call()
    for call in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            call(stream)
    with pytest.raises(TypeError, match="check_finite"):
        network().stream(check_finite=1)
    with pytest.raises(TypeError):
        stream()


def test_streams_of_one_network_run_in_threads_of_their_own():
    net = network()
    X = np.random.default_rng(3).normal(size=(4, 300, 3))
    wanted, got = net.predict(X), np.empty((4, 300, 2))

    def work(b):
        stream = net.stream()
        for t in range(300):
            stream(X[b, t], out=got[b, t])

    threads = [threading.Thread(target=work, args=(b,)) for b in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same_bits(got, wanted)


def test_a_second_thread_within_a_long_step_is_told():
    net = lc.Network([lc.LSTM(1, 900)], dtype="float32", seed=0)  # a step of some 100 microseconds
    stream, x, done, errors = net.stream(), np.ones(1, np.float32), threading.Event(), []

    def work():
        while not done.is_set():
            try:
                stream(x)
            except RuntimeError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while not errors and time.monotonic() < end:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert errors
    assert errors[0].startswith("stream: another thread is within a step")


@pytest.mark.parametrize("values", [[-0.0, -0.0], [1e308, 1e308], [-1.0, -2.0, -1.0]], ids=str)
def test_the_first_of_equals_is_the_maximum_in_a_stream_too(values):
    net = lc.Network([lc.RNN(1, 1, activation="identity")], readout="max", seed=0)
    net.params[...] = [1.0, -0.0, -0.0]  # h = x, but zeros take turns: -0, +0
    stream = net.stream()
    for t, x in enumerate(values):
        y = stream(np.array([x]))
        same_bits(y, net.predict(np.array(values[: t + 1]).reshape(1, -1, 1))[0])
    assert np.signbit(y).all() == (values[0] <= 0)

"""Predictions are those of the parameters as they are, whoever came between and whatever failed."""

import os
import sys
import threading

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import _parameters

PACKAGE = os.path.dirname(lc.__file__)


def a_network(seed=0, **options):
    layers = [lc.LSTM(3, 5, bidirectional=options.pop("bidirectional", False)), lc.Dense(5, 2)]
    if layers[0].directions == 2:
        layers[1] = lc.Dense(10, 2)
    return lc.Network(layers, seed=seed, **options)


X = np.random.default_rng(0).normal(size=(4, 6, 3))

READERS = {
    "predict": lambda net: net.predict(X),
    "predict of a list": lambda net: net.predict([X[0], X[1, :3]])[1],
    "step": lambda net: net.step(X[:, 0])[0],
    "loss": lambda net: net.loss(X, X[..., :2]),
    "stream": lambda net: net.stream(4)(X[:, 0]),
}


def test_no_thread_sees_the_parameters_of_before_a_write():
    net, twin = (lc.Network([lc.LSTM(16, 128), lc.Dense(128, 2)], seed=0) for _ in range(2))
    x = np.ones((1, 3, 16))
    stale = 0
    for k in range(100):
        net.params[...] = twin.params[...] = k / 100
        expected, outputs, barrier = twin.predict(x), [], threading.Barrier(4)

        def work(barrier=barrier, outputs=outputs):
            barrier.wait()
            outputs.append(net.predict(x))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outputs) == 4
        stale += sum(not np.array_equal(y, expected) for y in outputs)
    assert stale == 0


def raise_at_line(n, error, call):
    """Whether `call` got as far as line n of the package, where `error` was raised."""
    left = n

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise error
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except error:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("reader", READERS)
def test_a_call_that_ends_anywhere_leaves_no_old_weights_behind(reader, error):
    net, twin = a_network(), a_network()
    read, n, was_raised = READERS[reader], 0, True
    while was_raised:
        net.params[...] = twin.params[...] = np.random.default_rng(n).normal(size=net.params.size)
        was_raised = raise_at_line(n, error, lambda: read(net))
        for name, other in READERS.items():
            np.testing.assert_array_equal(other(net), other(twin), err_msg=f"{name}, line {n}")
        n += 1
    assert n > 20


@pytest.mark.parametrize("bidirectional", [False, True])
def test_memory_that_runs_out_at_any_stage_of_packing(bidirectional, monkeypatch):
    net, twin = (a_network(bidirectional=bidirectional) for _ in range(2))
    take, left = _parameters.aligned_empty, None

    def aligned_empty(*shape, **options):
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise MemoryError
        return take(*shape, **options)

    monkeypatch.setattr(_parameters, "aligned_empty", aligned_empty)
    net.predict(X)
    for n in range(2 + bidirectional):
        net.params[...] = twin.params[...] = n + 1.5
        for _ in range(2):
            left = n
            with pytest.raises(MemoryError):
                net.predict(X)
        left = None
        np.testing.assert_array_equal(net.predict(X), twin.predict(X))


def test_a_refresh_that_fails_leaves_a_stream_what_it_was(monkeypatch):
    net = lc.Network([lc.LSTM(3, 5, learn_initial_state=True), lc.Dense(5, 2)], seed=0)
    stream = net.stream()
    expected = [stream(x) for x in X[0]]
    net.params[...] = 0.25

    def fail(weights):
        raise MemoryError

    monkeypatch.setattr(type(net.layers[0]), "masked", lambda self, weights: fail(weights))
    with pytest.raises(MemoryError):
        stream.refresh()
    stream.reset()
    np.testing.assert_array_equal([stream(x) for x in X[0]], expected)
    monkeypatch.undo()
    stream.refresh()
    stream.reset()
    np.testing.assert_array_equal([stream(x) for x in X[0]], net.predict(X[:1])[0])

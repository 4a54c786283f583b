"""A stream is for one thread at a time, and says so: also to threads that no GIL keeps apart."""

import threading
import time

import numpy as np
import pytest

import lstmcore as lc


@pytest.mark.parametrize("hidden_size", [8, 200], ids=["a short step", "a long step"])
def test_calls_of_several_threads_are_whole_or_refused(hidden_size):
    net = lc.Network([lc.LSTM(3, hidden_size)], readout="mean", seed=0)
    stream, x, end = net.stream(), np.ones(3), time.monotonic() + 0.5
    first = net.predict(x[None, None])[0]
    wrong = []

    def work(*calls):
        while time.monotonic() < end:
            for call in calls:
                try:
                    call()
                except RuntimeError as error:
                    if "another thread is within a step" not in str(error):
                        wrong.append(error)

    def look():
        (h, c), (total, count) = stream.state
        if not (np.isfinite(h).all() and np.isfinite(c).all() and np.isfinite(total).all()):
            wrong.append("state")
        if count[0] == 0 and (h.any() or c.any() or total.any()):
            wrong.append("a state that is torn")

    threads = [
        threading.Thread(target=work, args=calls)
        for calls in ([stream.refresh], [lambda: stream(x), stream.reset], [look])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    stream.refresh()
    stream.reset()
    assert (stream(x) == first).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream([1.0, 1.0, 1.0]),
        lambda stream: stream(np.ones(3), out=np.empty(8)),
        lambda stream: stream.refresh(),
        lambda stream: stream.reset(),
        lambda stream: stream.state,
        lambda stream: setattr(stream, "state", ((np.zeros((1, 8)), np.zeros((1, 8))),)),
    ],
)
def test_while_the_state_is_in_use_every_call_is_refused(call):
    stream = lc.Network([lc.LSTM(3, 8)], seed=0).stream()
    with pytest.raises(RuntimeError, match="another thread is within a step"):
        stream._alone(call, stream)
    call(stream)  # an error does not leave it so

"""`release_memory`: what functions of arrays keep between calls can be given back."""

import tracemalloc

import numpy as np
import pytest

import lstmcore as lc


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_functions_keep_is_given_back_and_tapes_in_use_stay_whole(dtype):
    rng = np.random.default_rng(0)
    W, R, b = (rng.normal(size=shape).astype(dtype) for shape in ((64, 4), (64, 16), 64))
    x = rng.normal(size=(20, 100, 4)).astype(dtype)
    lc.release_memory()
    tracemalloc.start()
    try:
        for _ in range(2):  # from the second call on a workspace has its memory in one piece
            h, _, tape = lc.lstm_forward(x, W, R, b)
            want = lc.lstm_backward(np.ones_like(h), tape)["W"]
            tape = None
        kept = tracemalloc.get_traced_memory()[0]
        h, _, tape = lc.lstm_forward(x, W, R, b)
        lc.release_memory()
        assert lc.lstm_backward(np.ones_like(h), tape)["W"].tobytes() == want.tobytes()
        del tape
        lc.release_memory()
        freed = kept - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert freed > 6 * 16 * x.shape[0] * x.shape[1] * x.itemsize  # an LSTM's tape

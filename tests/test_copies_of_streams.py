"""A stream is not copied: the error says how to make another that goes on from the same state."""

import copy
import pickle

import numpy as np
import pytest

import lstmcore as lc


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_says_how_to_make_another(way):
    stream = lc.Network([lc.LSTM(2, 3)], seed=0).stream()
    with pytest.raises(TypeError, match=r"stream: .*net\.stream\(.*other\.state = stream\.state"):
        way(stream)


@pytest.mark.parametrize("readout", ["all", "mean", "max"])
def test_what_it_says_gives_a_stream_that_goes_on_by_itself(readout):
    net = lc.Network([lc.LSTM(2, 3), lc.GRU(3, 4)], readout=readout, seed=0)
    x, stream = np.random.default_rng(0).normal(size=(6, 2)), net.stream()
    for row in x[:3]:
        stream(row)
    other = net.stream()
    other.state = stream.state
    stream(-x[0])  # the other one does not see it
    y = [other(row) for row in x[3:]]
    want = net.predict(x[None])[0]
    assert np.array_equal(y[-1], want[-1] if readout == "all" else want)

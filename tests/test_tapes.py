"""A tape owns the memory of its forward pass: nothing may make a second owner of it."""

import copy
import pickle

import numpy as np
import pytest

import lstmcore as lc


def forward(seed):
    rng = np.random.default_rng(seed)
    W, R, b = rng.normal(size=(32, 3)), rng.normal(size=(32, 8)), rng.normal(size=32)
    h, _, tape = lc.lstm_forward(rng.normal(size=(4, 20, 3)), W, R, b)
    return h, tape


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_tape_is_not_copied_and_its_gradient_stays_right(again):
    h, tape = forward(0)
    expected = lc.lstm_backward(np.ones_like(h), tape)
    with pytest.raises(TypeError, match=r"tape: expected .* any number of backward passes"):
        again(tape)
    forward(1)
    actual = lc.lstm_backward(np.ones_like(h), tape)
    for name in expected:
        assert (actual[name] == expected[name]).all()


@pytest.mark.parametrize("of", [lc.lstm_forward, lc.gru_forward, lc.rnn_forward])
def test_the_error_is_the_same_for_every_layer(of):
    rows = {lc.lstm_forward: 4, lc.gru_forward: 3, lc.rnn_forward: 1}[of]
    tape = of(np.ones((1, 2, 1)), np.ones((rows, 1)), np.ones((rows, 1)), np.zeros(rows))[-1]
    with pytest.raises(TypeError, match="tape: expected"):
        copy.copy(tape)

"""A last layer whose activation fights with the output units of the loss is named."""

import copy
import warnings

import numpy as np
import pytest
from helpers import same_bits

import lstmcore as lc
from lstmcore._outputs import OUTPUTS


def build(loss, activation="identity"):
    last = lc.Dense(3, 2, activation=activation)
    return lc.Network([lc.LSTM(2, 3), last], loss=loss, seed=0)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "poisson"])
@pytest.mark.parametrize(
    "activation",
    ["logistic", "tanh", "softsign", "logistic_2", "hard_sigmoid", ("scaled_tanh", 5.0, 1.0)],
)
def test_a_bounded_activation_before_output_units_is_a_warning(loss, activation):
    name = activation if isinstance(activation, str) else activation[0]
    with pytest.warns(UserWarning, match=rf"layers\[1\]: its activation .*{name}") as found:
        net = build(loss, activation)
    assert len(found) == 1 and found[0].filename == __file__
    assert loss in str(found[0].message) and net.output_units in str(found[0].message)
    # The reason: no parameters bring the outputs near 0 and 1.
    net.params[...] = 1e3 * np.sign(net.params)
    y = net.predict(np.random.default_rng(0).normal(size=(20, 10, 2)))
    assert y.min() > 1e-5 or y.max() < 1 - 1e-5


@pytest.mark.parametrize("activation", ["relu", "softplus", "elu", "tanh"])
def test_exponential_outputs_that_stay_from_0_or_infinity_are_a_warning(activation):
    with pytest.warns(UserWarning, match="keeps the outputs from 0 or inf, for the loss 'poisson'"):
        build("poisson", activation)


@pytest.mark.parametrize("activation", ["relu", "softplus", "elu"])
def test_logistic_outputs_of_one_sign_only_are_a_warning(activation):
    with pytest.warns(UserWarning, match="keeps the outputs from 0 or 1"):
        build("binary_cross_entropy", activation)


@pytest.mark.parametrize(
    "loss, activation",
    [
        ("squared_error", "logistic"),
        ("squared_error", "tanh"),
        ("cross_entropy", "identity"),
        ("cross_entropy", "relu"),
        ("binary_cross_entropy", "identity"),
        ("binary_cross_entropy", ("affine", -2.0, 1.0)),
        ("binary_cross_entropy", "leaky_relu"),
        ("poisson", "identity"),
        ("poisson", "leaky_relu"),
    ],
)
def test_what_reaches_all_outputs_is_no_warning(loss, activation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.copy(build(loss, activation))
        lc.Network([lc.LSTM(2, 3)], loss=loss)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("readout", ["all", "mean"])
@pytest.mark.parametrize(
    "loss", ["squared_error", "cross_entropy", "binary_cross_entropy", "poisson"]
)
def test_units_give_the_same_bits_whole_step_by_step_and_by_any_threads(loss, readout, dtype):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 2)], loss, readout, dtype, seed=0)
    net.params *= 3
    X = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(dtype)
    y = net.predict(X)
    same_bits(net.predict(X, n_threads=2), y)
    same_bits(np.concatenate([net.predict(x[None]) for x in X]), y)
    same_bits(np.array(net.predict(list(X))), y)
    stream, state, steps, by_stream = net.stream(batch_size=5), None, [], []
    for t in range(7):
        step, state = net.step(X[:, t], state)
        steps.append(step)
        by_stream.append(stream(X[:, t]).copy())
    if readout == "mean":
        steps, by_stream, y = steps[-1:], by_stream[-1:], y[:, None]
    same_bits(np.stack(steps, axis=1), y)
    same_bits(np.stack(by_stream, axis=1), y)


def test_every_kind_of_units_has_a_loss_that_names_it():
    outputs = {loss.output for loss in lc.losses.LOSSES.values()}
    assert outputs == OUTPUTS.keys()

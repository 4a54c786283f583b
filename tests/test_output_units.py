"""A last layer whose activation fights with the output units of the loss is named."""

import copy
import warnings

import numpy as np
import pytest

import lstmcore as lc


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

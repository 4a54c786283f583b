"""A last layer whose activation fights with the output units of the loss is named."""

import copy
import warnings

import numpy as np
import pytest
from helpers import same_bits

import lstmcore as lc
from lstmcore._outputs import MIXED, OUTPUTS, MixedUnits, units_of
from lstmcore.losses import Loss, Mixture

DENSITY = Mixture(2, 2, correlation=True, end=True, min_scale=0.05)


def build(loss, activation="identity", outputs=2):
    last = lc.Dense(3, outputs, activation=activation)
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
    "loss", ["squared_error", "cross_entropy", "binary_cross_entropy", "poisson", DENSITY]
)
def test_units_give_the_same_bits_whole_step_by_step_and_by_any_threads(loss, readout, dtype):
    outputs = 13 if loss is DENSITY else 2
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, outputs)], loss, readout, dtype, seed=0)
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
    found = {loss.output for loss in lc.losses.LOSSES.values()}
    found |= {units.name for units in units_of(DENSITY, 13).kinds}
    assert found == OUTPUTS.keys() | {MIXED}


# ----------------------------------------------------------------------------------- mixed units


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_are_the_parameters_of_densities(dtype):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 13)], DENSITY, dtype=dtype, seed=0)
    plain = lc.Network(net.layers, dtype=dtype)
    plain.params = net.params
    X = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(dtype)
    a, found = plain.predict(X), DENSITY.parameters(net.predict(X))
    assert net.output_units == MIXED and "(mixed outputs)" in net.summary()
    weights = np.exp(a[..., :2]) / np.exp(a[..., :2]).sum(axis=-1, keepdims=True)
    tolerance = {"rtol": 10 * np.finfo(dtype).eps}
    np.testing.assert_allclose(found.weights, weights, **tolerance)
    same_bits(found.means[..., 0], a[..., 2:4])
    same_bits(found.means[..., 1], a[..., 4:6])
    np.testing.assert_allclose(found.scales[..., 0], 0.05 + np.exp(a[..., 6:8]), **tolerance)
    np.testing.assert_allclose(found.scales[..., 1], 0.05 + np.exp(a[..., 8:10]), **tolerance)
    np.testing.assert_allclose(found.correlations, np.tanh(a[..., 10:12]), **tolerance)
    np.testing.assert_allclose(found.end, 1 / (1 + np.exp(-a[..., 12])), **tolerance)
    same_bits(net.trace(X)["y"], net.predict(X))
    same_bits(np.concatenate(net.predict(list(X))), net.predict(X).reshape(-1, 13))


def test_streams_of_mixed_units_go_on_in_copies_of_their_network(tmp_path):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 13)], DENSITY, seed=0)
    net.save(tmp_path / "net.npz")
    x = np.array([0.5, -1.0])
    y = net.predict(x[None, None])[0, 0]
    for other in (copy.deepcopy(net), lc.load(tmp_path / "net.npz"), net.frozen()):
        stream = other.stream()
        del other
        same_bits(stream(x), y)


class Pair(Loss):
    """Of tanh and exponential columns, with a floor."""

    name, output = "pair", "mixed"

    def output_columns(self, n_outputs):
        return [("tanh", 2), ("softmax", 3), ("exponential", 1, 0.5), ("logistic", 1)]


@pytest.mark.parametrize("readout", ["all", "mean"])
def test_the_derivative_of_mixed_units_is_that_of_their_outputs(readout):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 7)], Pair(), readout, seed=0)
    net.params *= 2
    X = np.random.default_rng(0).normal(size=(2, 4, 2))
    dy = np.random.default_rng(1).normal(size=net.predict(X).shape)
    g, direction = net.vjp(X, dy), np.random.default_rng(2).normal(size=net.params.size)
    theta, sides = net.params.copy(), []
    for sign in (1, -1):
        net.params = theta + sign * 1e-5 * direction
        sides.append((net.predict(X) * dy).sum())
    assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(g @ direction, rel=1e-8)


def test_the_derivative_of_tanh_outputs_keeps_its_digits():
    a = np.array([[-18.0, -1.0, 0.0, 0.3, 18.0]])
    da = OUTPUTS["tanh"].backward(a.copy(), np.ones((1, 5)))
    np.testing.assert_allclose(da, 1 / np.cosh(a) ** 2, rtol=1e-14)


def test_an_activation_that_fights_with_some_of_the_units_is_a_warning():
    with pytest.warns(UserWarning, match=r"layers\[1\]: its activation 'relu' keeps") as found:
        build(DENSITY, "relu", outputs=13)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([("softmax", 3)], ValueError, "columns that add up to 4, those of the last layer, got 3"),
        ([("sigmoid", 4)], ValueError, "expected one of identity, .*got 'sigmoid'"),
        ([("mixed", 4)], ValueError, "expected one of identity, .*got 'mixed'"),
        ([("tanh", 4), ("tanh", 0)], ValueError, "expected an integer >= 1"),
        ([("tanh", 4, np.nan)], ValueError, "expected a finite number"),
        (["tanh"], TypeError, r"expected tuples \(name, count\) .*entry 0"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns, error, message):
    with pytest.raises(error, match=f"loss.output_columns.*{message}"):
        MixedUnits(columns, 4)

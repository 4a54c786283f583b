"""Initial states as a function of features, in all calls that take data, and their gradients."""

import pickle

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc

B, T, F = 5, 7, 3
LENGTHS = np.array([7, 2, 0, 5, 7])
NETWORKS = {
    name: entry
    for name, entry in zoo.RECURRENT.items()
    if not any(layer.learns_states for layer in entry.layers)
}
SOME = [name for name, entry in NETWORKS.items() if entry.is_representative]
STREAMS = [name for name in SOME if name in zoo.STREAMS]
RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(B, F))


def network(name="stack", readout="all", dtype="float64", **options):
    return zoo.network(name, readout=readout, dtype=dtype, initial=F, **options)


def data(net, lengths=LENGTHS, seed=1):
    rng = np.random.default_rng(seed)
    shape = (B, T) if net.readout == "all" else (B,)
    X = rng.normal(size=(B, T, net.input_size))
    Y = rng.normal(size=(*shape, net.output_size))
    return {"X": X, "Y": Y, "lengths": lengths, "features": FEATURES}


def inputs(net, **options):
    return {name: value for name, value in data(net, **options).items() if name != "Y"}


def states_by_hand(net, features):
    """The initial states in the form that `state=` takes, of layers in one direction."""
    W, b = net.blocks["initial.W"], net.blocks["initial.b"]
    rows, n, state = features @ W.T + b, 0, []
    for layer in net.layers:
        entry = []
        for size in layer.state_sizes:
            values = np.zeros((len(rows), size))
            values[:, : layer.hidden_size] = rows[:, n : n + layer.hidden_size]
            n += layer.hidden_size
            entry.append(values)
        state.append(tuple(entry))
    assert n == rows.shape[1]
    return tuple(state)


@pytest.mark.parametrize("name", STREAMS)
def test_states_are_the_layer_of_the_features(name):
    net = network(name)
    given = inputs(net) | {"features": None, "state": states_by_hand(net, FEATURES)}
    np.testing.assert_allclose(net.predict(**inputs(net)), net.predict(**given), rtol=1e-12)


@zoo.cases({name: NETWORKS[name] for name in SOME})
def test_gradient(name, readout, dtype):
    net = network(name, readout, dtype)
    if any(map(zoo.has_bends, net.layers)):
        pytest.skip("an activation has a bend, where differences say nothing")
    errors = lc.check_gradient(net, **data(net), max_entries=8)
    assert {"initial.W", "initial.b"} <= set(errors)
    assert max(errors.values()) < (1e-7 if dtype == "float64" else 1e-3)


@pytest.mark.parametrize("readout", ["all", "last", "mean", "max", "last_step"])
@pytest.mark.parametrize("name", ["stack", "both directions above"])
def test_derivative_by_features(name, readout):
    net = network(name, readout)
    dy = np.random.default_rng(0).normal(size=net.predict(**inputs(net)).shape)
    g, dfeatures = net.vjp(dy=dy, return_dfeatures=True, **inputs(net))
    wanted = np.empty_like(FEATURES)
    for index in np.ndindex(*FEATURES.shape):
        values = []
        for offset in (1e-5, -1e-5):
            moved = FEATURES.copy()
            moved[index] += offset
            values.append((net.predict(**inputs(net) | {"features": moved}) * dy).sum())
        wanted[index] = (values[0] - values[1]) / 2e-5
    np.testing.assert_allclose(dfeatures, wanted, atol=1e-8)
    same_bits(g, net.vjp(dy=dy, **inputs(net)))


def test_an_activation_of_the_layer():
    layers = [lc.LSTM(2, 3), lc.Dense(3, 2)]
    net = lc.Network(layers, initial=lc.Dense(F, 6, activation="tanh"), seed=0)
    net.params = np.random.default_rng(0).normal(size=net.params.size)
    state = net.predict(np.zeros((B, 0, 2)), features=FEATURES, return_state=True)[1]
    rows = np.tanh(FEATURES @ net.blocks["initial.W"].T + net.blocks["initial.b"])
    np.testing.assert_allclose(np.hstack(state[0]), rows, rtol=1e-12)
    assert max(lc.check_gradient(net, **data(net)).values()) < 1e-8


# ---------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_bits_do_not_depend_on_batch_and_threads(name, dtype):
    net = network(name, dtype=dtype)
    given = inputs(net)
    y = net.predict(**given)
    same_bits(y, net.predict(**given, n_threads=2))
    for b in range(B):
        one = {key: value[b : b + 1] for key, value in given.items()}
        same_bits(net.predict(**one), y[b : b + 1])
    f, g = net.loss_and_grad(**data(net))
    other, h = net.loss_and_grad(**data(net), n_threads=2)
    assert f == other
    same_bits(g, h)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_steps_and_streams(name, dtype):
    net = network(name, dtype=dtype)
    given = inputs(net, lengths=None)
    y = net.predict(**given)
    stream, state = net.stream(B, features=FEATURES), None
    for t in range(T):
        same_bits(stream(given["X"][:, t]), y[:, t])
        first = FEATURES if state is None else None
        one, state = net.step(given["X"][:, t], state, features=first)
        same_bits(one, y[:, t])
    stream.reset()
    same_bits(stream(given["X"][:, 0]), y[:, 0])
    stream.reset(FEATURES[::-1])
    turned = net.predict(given["X"][:, :1], features=FEATURES[::-1])
    same_bits(stream(given["X"][:, 0]), turned[:, 0])


def test_a_stream_of_one_sequence():
    net = network()
    stream, x = net.stream(features=FEATURES[0]), np.ones(net.input_size)
    y, state = net.step(x, features=FEATURES[0])
    same_bits(stream(x), y)
    other = net.stream(state=tuple(tuple(v[None] for v in entry) for entry in state))
    same_bits(other(x), net.step(x, state)[0])
    with pytest.raises(ValueError, match=r"features: expected .*, got None"):
        other.reset()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("readout", ["all", "mean"])
def test_checkpoints(name, readout):
    net = network(name, readout)
    wanted = net.loss_and_grad(**data(net))[1]
    same_bits(wanted, net.loss_and_grad(**data(net), checkpoint=2)[1])


def test_traces():
    net = network("both directions below")
    trace = net.trace(**inputs(net))
    same_bits(trace["y"], net.predict(**inputs(net)))
    assert net.trace_gradient(**data(net))["0.forward.h"].shape == (B, T, 3)


def test_without_steps():
    net = network(readout="last")
    nothing = np.zeros((B, 0, net.input_size))
    y, state = net.predict(nothing, features=FEATURES, return_state=True)
    same_bits(y, net.predict(list(nothing), features=FEATURES))
    for values, wanted in zip(state[1], states_by_hand(net, FEATURES)[1], strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-12)


# ------------------------------------------------------------------------------------ given states


def test_a_given_state_goes_before_features():
    net = network()
    state = states_by_hand(net, FEATURES[::-1])
    given = data(net) | {"state": state}
    without = {name: value for name, value in given.items() if name != "features"}
    f, g = net.loss_and_grad(**given)
    assert f == net.loss(**without)
    for name in ("initial.W", "initial.b"):
        assert not g[net.table[name].slice].any()
    rest = {name: value for name, value in given.items() if name != "Y"}
    dy = np.ones((B, T, net.output_size))
    assert not net.vjp(dy=dy, return_dfeatures=True, **rest)[1].any()
    errors = lc.check_gradient(net, **without, max_entries=5)
    assert max(errors.values()) < 1e-7


def test_derivative_by_the_state_leads_to_features():
    net = network("LSTM")
    dy = np.random.default_rng(0).normal(size=(B, T, net.output_size))
    _, dfeatures, dstate = net.vjp(dy=dy, return_dfeatures=True, return_dstate=True, **inputs(net))
    rows = np.hstack([values for entry in dstate for values in entry])
    np.testing.assert_allclose(dfeatures, rows @ net.blocks["initial.W"], rtol=1e-10)


# ------------------------------------------------------------------------------------ learning


def test_parameters_stand_at_the_end_and_start_at_zero():
    layers = [lc.LSTM(2, 3), lc.GRU(3, 4), lc.Dense(4, 1)]
    plain, net = lc.Network(layers, seed=5), lc.Network(layers, seed=5, initial=F)
    n = plain.params.size
    same_bits(net.params[:n], plain.params)
    assert not net.params[n:].any()
    assert [block.name for block in net.table][-2:] == ["initial.W", "initial.b"]
    assert net.blocks["initial.W"].shape == (3 + 3 + 4, F)
    X = np.random.default_rng(0).normal(size=(B, T, 2))
    same_bits(net.predict(X, features=FEATURES), plain.predict(X))
    assert (net.feature_size, plain.feature_size, plain.initial) == (F, 0, None)


def test_examples_take_their_features_along():
    net = network()
    examples = net.prepare(**data(net))
    some = np.array([3, 0])
    given = {name: value[some] for name, value in data(net).items()}
    assert net.evaluate(None, examples.take(some))[0] == net.loss(**given)
    first = examples.stretch(3, 7).batch.features  # sequences that have such steps
    same_bits(first, FEATURES[LENGTHS > 3])
    again = pickle.loads(pickle.dumps(examples))
    assert net.evaluate(None, again)[0] == net.evaluate(None, examples)[0]
    single = lc.Network(**net.options | {"dtype": "float32"})
    rounded = examples.astype(np.dtype("float32"), single._form)
    assert rounded.batch.features.dtype == np.float32


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_truncated_bptt_learns_from_the_first_stretch():
    """A run has the bits of steps by hand; of later stretches the function has no gradient."""
    net = network(scale=0.3)
    given, start = data(net, lengths=None), net.params.copy()
    result = lc.fit(
        net,
        **given,
        validation_data=lc.Objective(net, **given),  # by it the last epoch is the best
        method="sgd",
        options={"momentum": 0.0},
        truncate=4,
        max_epochs=1,
        learning_rate=0.05,
    )
    assert result.history["validation_loss"].argmin() == 1
    learned, state = net.params.copy(), None
    net.params = start
    for t0, t1 in ((0, 4), (4, T)):
        features = FEATURES if state is None else None
        X, Y = given["X"][:, t0:t1], given["Y"][:, t0:t1]
        _, g, state = net.loss_and_grad(X, Y, state=state, features=features, return_state=True)
        assert g[net.table["initial.W"].slice].any() == (t0 == 0)
        net.params -= 0.05 * g
    np.testing.assert_allclose(learned, net.params, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_fit_validates_and_splits():
    net = network("GRU")
    given = data(net, lengths=None)
    other = lc.Objective(net, **given)
    result = lc.fit(net, **given, validation_data=other, max_iter=3, frozen=["0.*"])
    assert len(result.history["validation_loss"]) == len(result.history["loss"])
    lc.fit(net, **given, validation_split=0.4, method="adam", max_epochs=2, batch_size=2, seed=0)
    with pytest.raises(ValueError, match="features: expected numbers of shape"):
        lc.fit(net, **given, validation_data=(given["X"], given["Y"]), max_iter=3)


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_features_far_from_unit_scale_are_named():
    net = network()
    given = data(net) | {"features": FEATURES * [1.0, 1000.0, 1.0]}
    with pytest.warns(lc.ScaleWarning, match=r"features \(B, F\) has feature 1 from"):
        lc.fit(net, **given, max_iter=1)


def test_only_the_function_is_trained():
    net = network()
    frozen = [block.name for block in net.table if not block.name.startswith("initial.")]
    objective = lc.Objective(net, **data(net), frozen=frozen)
    assert objective.size == net.blocks["initial.W"].size + net.blocks["initial.b"].size
    assert net.weight_slices[-1].stop == net.table["initial.W"].slice.stop
    W = net.blocks["initial.W"]
    assert net.penalty(None, {"initial.W": 2.0}) == pytest.approx((W**2).sum())


def test_products_with_curvature():
    net = network(readout="mean")
    objective = lc.Objective(net, **data(net))
    v = np.random.default_rng(0).normal(size=net.params.size)
    J = objective.jacobian(net.params)
    np.testing.assert_allclose(
        J.rmatvec(J.matvec(v)), objective.gauss_newton(net.params, v), rtol=1e-6, atol=1e-9
    )
    r = objective.residuals(net.params)
    np.testing.assert_allclose(J.rmatvec(r), objective.grad(net.params), rtol=1e-9, atol=1e-12)
    given = lc.Objective(net, **data(net), checkpoint=2)
    np.testing.assert_allclose(
        given.gauss_newton(net.params, v), objective.gauss_newton(net.params, v), rtol=1e-9
    )


def test_shards():
    net = network()
    whole = lc.Objective(net, **data(net))
    parts = [np.array([0, 2]), np.array([1, 3, 4])]
    shards = [{name: value[part] for name, value in data(net).items()} for part in parts]
    f, g = lc.DistributedObjective(net, shards)(net.params)
    assert f == pytest.approx(whole.fun(net.params))
    np.testing.assert_allclose(g, whole.grad(net.params), rtol=1e-10, atol=1e-13)


# ------------------------------------------------------------------------------------ what it says


def test_copies(tmp_path):
    net = network("both directions below", dtype="float32")
    y = net.predict(**inputs(net))
    net.save(tmp_path / "net.npz")
    for other in (pickle.loads(pickle.dumps(net)), net.frozen(), lc.load(tmp_path / "net.npz")):
        assert repr(other) == repr(net)
        same_bits(other.predict(**inputs(net)), y)
    assert repr(net).endswith(f"initial={net.initial!r})")
    assert net.summary().startswith(f"   initial states: {net.initial!r}")
    assert repr(lc.Network(**net.options)) == repr(net)


LAYERS = [lc.LSTM(2, 3, bidirectional=True), lc.RNN(6, 2)]  # 2 (3 + 3) + 2 states


@pytest.mark.parametrize(
    "layers, initial, error, message",
    [
        (LAYERS, 0, ValueError, "initial: expected an integer >= 1, got 0"),
        (LAYERS, 2.0, TypeError, "initial: expected a number of features, a Dense layer from"),
        (LAYERS, True, TypeError, "initial: expected a number of features, a Dense layer from"),
        (LAYERS, lc.Dense(2, 12), ValueError, r"a Dense layer of 14 outputs, .* \(12 of layers\[0"),
        (LAYERS, lc.Dense(2, 14, tokens=True), ValueError, "initial: expected a layer of numbers"),
        ([lc.Dense(2, 3)], 2, ValueError, "initial: expected None without a recurrent layer"),
        (
            [lc.LSTM(2, 3, learn_initial_state=True)],
            2,
            ValueError,
            r"initial: expected None beside layers\[0\] with learn_initial_state=True",
        ),
    ],
)
def test_functions_that_cannot_be(layers, initial, error, message):
    with pytest.raises(error, match=message):
        lc.Network(layers, initial=initial)


def test_features_that_do_not_fit():
    net, X = network(), np.zeros((B, T, zoo.INPUTS))
    plain = zoo.network("stack")
    bad = FEATURES.copy()
    bad[2, 1] = np.nan
    for call, message in (
        (lambda: net.predict(X), r"features: expected numbers of shape \(5, 3\), .* got None"),
        (lambda: net.step(X[0, 0]), r"features: expected numbers of shape \(3,\), .* got None"),
        (lambda: net.stream(2), r"features: expected numbers of shape \(2, 3\), .* got None"),
        (lambda: net.predict(X, features=FEATURES[:2]), r"expected shape \(5, 3\), got \(2, 3\)"),
        (lambda: net.predict(X, features=bad), r"expected finite numbers, got nan at \[2, 1\]"),
        (lambda: plain.predict(X, features=FEATURES), "features: expected None with a network"),
        (lambda: plain.stream(features=[1.0]), "features: expected None with a network"),
        (
            lambda: plain.vjp(X, None, return_dfeatures=True),
            "return_dfeatures: expected False with a network",
        ),
        (lambda: plain.check_examples(net.prepare(**data(net))), "prepare them with this network"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

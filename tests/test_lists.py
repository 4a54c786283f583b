"""Nested lists stand for arrays wherever arrays are taken; sequences without steps."""

import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore._readout import READOUTS
from lstmcore.losses import LOSSES

B, T, I = 3, 4, 2
OF_STEPS = [name for name, loss in LOSSES.items() if loss.terms == "steps"]
LENGTHS = [4, 0, 2]
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I))


def network(loss="squared_error", readout="all", outputs=2):
    outputs *= 3 if loss == "mixture" else 1
    layers = [lc.LSTM(I, 3, learn_initial_state=True), lc.Dense(3, outputs)]
    net = lc.Network(layers, loss=loss, readout=readout)
    net.params[...] = np.random.default_rng(1).normal(size=net.params.size)
    return net


def targets(loss, readout, outputs=2):
    shape = (B, T) if readout == "all" else (B,)
    if loss == "cross_entropy":
        return np.random.default_rng(2).integers(outputs, size=shape)
    outputs = 1 if loss == "mixture" else outputs
    return np.random.default_rng(2).uniform(size=(*shape, outputs))


def listed(value):
    """Nested lists, to the last number, of arrays in whatever they are in."""
    if isinstance(value, dict):
        return {name: listed(entry) for name, entry in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def same(mine, other):
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


# ---------------------------------------------------------------------------------- nested lists


DATA = {
    "whole": {},
    "lengths": {"lengths": np.array(LENGTHS)},
    "mask": {"mask": MASK},
    "weights of sequences": {"sample_weight": np.array([1.0, 2.0, 3.0])},
    "weights of steps": {"step_weight": RNG.uniform(size=(B, T))},
    "weights of steps, lengths": {"step_weight": RNG.uniform(size=(B, T)), "lengths": [4, 1, 2]},
    "weights of steps, mask": {"step_weight": RNG.uniform(size=(B, T)), "mask": MASK},
}


@pytest.mark.parametrize("loss", OF_STEPS)
@pytest.mark.parametrize(
    ("readout", "case"),
    [("all", case) for case in DATA]
    + [("mean", case) for case, data in DATA.items() if "step_weight" not in data],
)
def test_data_may_be_nested_lists(loss, readout, case):
    data, net, Y = DATA[case], network(loss, readout), targets(loss, readout)
    wanted_f, wanted_g = net.loss_and_grad(X, Y, **data)
    f, g = net.loss_and_grad(listed(X), listed(Y), **listed(data))
    assert f == wanted_f
    same(g, wanted_g)
    objective = lc.Objective(net, listed(X), listed(Y), **listed(data))
    assert objective(listed(net.params))[0] == wanted_f
    where = {name: data[name] for name in ("lengths", "mask") if name in data}
    got, wanted = net.predict(listed(X), **listed(where)), net.predict(X, **where)
    assert len(got) == len(wanted)
    same(got, wanted)


def test_parameters_states_and_steps_may_be_nested_lists():
    net = network()

    def lists(state):
        return tuple(tuple(listed(values) for values in entry) for entry in state)

    y, state = net.step(X[:, 0])
    same(net.step(listed(X[:, 0]))[0], y)
    wanted = net.step(X[:, 1], state)[0]
    same(net.step(listed(X[:, 1]), lists(state))[0], wanted)
    same(net.predict(X[:, 1:2], state=lists(state))[:, 0], wanted)
    stream = net.stream(B)
    same(stream(listed(X[:, 0])), y)
    stream.reset()
    stream.state = lists(state)
    same(stream(listed(X[:, 1])), wanted)

    params, examples = net.params.copy(), net.prepare(X, targets("squared_error", "all"))
    assert net.evaluate(listed(params), examples)[0] == net.evaluate(None, examples)[0]
    net.params = listed(params)
    same(net.params, params)
    data = listed(X), listed(X)
    with pytest.warns(lc.ConvergenceWarning, match="ITERATIONS"):
        assert lc.fit(net, *data, max_iter=1, validation_data=data).nit == 1


@pytest.mark.parametrize("entry", zoo.NETWORKS)
def test_a_list_of_lists_is_a_list_of_arrays(entry):
    net = lc.Network(zoo.NETWORKS[entry].layers, seed=0)
    arrays = [RNG.normal(size=(length, zoo.INPUTS)) for length in (3, 0, 1)]
    for mine, other in zip(net.predict(listed_all(arrays)), net.predict(arrays), strict=True):
        same(mine, other)


def listed_all(arrays):
    return [array.tolist() for array in arrays]


def test_a_function_of_arrays_takes_nested_lists():
    blocks = {"W": np.ones((12, I)), "R": np.ones((12, 3)), "b": np.zeros(12)}
    wanted = lc.lstm_forward(X, **blocks, h0=np.ones((B, 3)), lengths=LENGTHS)[0]
    got = lc.lstm_forward(listed(X), **listed(blocks), h0=listed(np.ones((B, 3))), lengths=LENGTHS)
    same(got[0], wanted)


# ------------------------------------------------------------------------ sequences without steps


FORMS = {
    "lengths": lambda lengths: {"X": X, "lengths": lengths},
    "mask": lambda lengths: {"X": X, "mask": np.arange(T) < np.array(lengths)[:, None]},
    "list": lambda lengths: {"X": [x[:n] for x, n in zip(X, lengths, strict=True)]},
    "nested lists": lambda lengths: {
        "X": [x[:n].tolist() for x, n in zip(X, lengths, strict=True)]
    },
}
forms = pytest.mark.parametrize("form", FORMS)
losses = pytest.mark.parametrize("loss", OF_STEPS)


@forms
@losses
@pytest.mark.parametrize("readout", [name for name in READOUTS if name != "all"])
@pytest.mark.parametrize("lengths", [LENGTHS, [0, 0, 0]], ids=["one of three", "all"])
def test_a_sequence_without_steps_is_a_term_like_any_other_where_sequences_are(
    loss, readout, form, lengths
):
    net, data = network(loss, readout), FORMS[form](lengths)
    Y, weights = targets(loss, readout), np.array([1.0, 2.0, 4.0])
    alone = [
        net.loss(X[b : b + 1], Y[b : b + 1], lengths=[length]) for b, length in enumerate(lengths)
    ]
    f = net.loss(**data, Y=Y, sample_weight=weights)
    assert f == pytest.approx(weights @ alone / weights.sum(), rel=1e-12)
    assert net.loss(**data, Y=Y, sample_weight=[1, 0, 0]) == pytest.approx(alone[0], rel=1e-12)
    assert max(lc.check_gradient(net, **data, Y=Y, sample_weight=weights).values()) < 1e-7


@forms
@pytest.mark.parametrize("readout", [name for name in READOUTS if name != "all"])
def test_what_is_read_out_of_no_steps(readout, form):
    """The initial output of the recurrent layer, or zero; the layers after it see that."""
    net = network(readout=readout)
    h0 = net.blocks["0.h0"] if readout in ("last", "last_step") else np.zeros(3)
    wanted = net.blocks["1.W"] @ h0 + net.blocks["1.b"]
    for lengths, empty in ((LENGTHS, [1]), ([0, 0, 0], [0, 1, 2])):
        y = net.predict(**FORMS[form](lengths))
        assert y.shape == (B, 2)
        np.testing.assert_allclose(y[empty], np.tile(wanted, (len(empty), 1)), rtol=1e-12)


@forms
@losses
def test_a_sequence_without_steps_has_no_terms_where_steps_are(loss, form):
    net, Y = network(loss), targets(loss, "all")
    data, without = FORMS[form](LENGTHS), {"X": X[[0, 2]], "lengths": [4, 2], "Y": Y[[0, 2]]}
    if form == "list":
        Y = [y[:n] for y, n in zip(Y, LENGTHS, strict=True)]
    elif form == "nested lists":
        Y = [y[:n].tolist() for y, n in zip(Y, LENGTHS, strict=True)]
    f, g = net.loss_and_grad(**data, Y=Y)
    wanted_f, wanted_g = net.loss_and_grad(**without)
    assert f == pytest.approx(wanted_f, rel=1e-12)
    np.testing.assert_allclose(g, wanted_g, rtol=1e-9, atol=1e-12)


@forms
@losses
def test_a_batch_without_any_step_has_outputs_and_no_loss(loss, form):
    net, data = network(loss), FORMS[form]([0, 0, 0])
    Y = [[], [], []] if "list" in form else targets(loss, "all")
    y = net.predict(**data)
    assert [len(part) for part in y] == ([0, 0, 0] if "list" in form else [T, T, T])
    assert not np.any(y)
    with pytest.raises(
        ValueError, match=r"lengths, mask: expected a finite sum of weights .* 0.0$"
    ):
        net.loss(**data, Y=Y)
    f, g = net.loss_and_grad(**data, Y=Y, reduction="sum")
    assert f == 0 and not g.any()


# ----------------------------------------------------------------------------- orders in memory


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("order", ["transposed", "one of them", "reversed", "broadcast"])
def test_sequences_of_a_list_may_lie_in_memory_in_any_order(order, n, dtype):
    rng = np.random.default_rng(0)
    plain = [rng.normal(size=(T + b, I)) for b in range(n)]
    if order == "broadcast":
        plain = [np.tile(x[:1], (len(x), 1)) for x in plain]
    arrange = {
        "transposed": lambda b, x: np.ascontiguousarray(x.T).T,
        "one of them": lambda b, x: np.asfortranarray(x) if b == 0 else x,
        "reversed": lambda b, x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "broadcast": lambda b, x: np.broadcast_to(x[:1], x.shape),
    }[order]
    net = lc.Network([lc.LSTM(I, 3), lc.Dense(3, 2)], dtype=dtype, seed=0)
    other = [arrange(b, x) for b, x in enumerate(plain)]
    for mine, wanted in zip(net.predict(other), net.predict(plain), strict=True):
        same(mine, wanted)
    Y = [x[:, ::-1] + 1.0 for x in plain]
    arranged = [arrange(b, y) for b, y in enumerate(Y)] if order != "broadcast" else Y
    for mine, wanted in zip(
        net.loss_and_grad(other, arranged), net.loss_and_grad(plain, Y), strict=True
    ):
        same(mine, wanted)

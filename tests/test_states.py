"""Initial states in the loss: the gradient, what carries them, what is refused."""

import copy
import pickle

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore._bptt import segments
from lstmcore._readout import READOUTS

LENGTHS = np.array([5, 3, 0, 4])
I, K = zoo.INPUTS, zoo.OUTPUTS

cases = zoo.cases(zoo.STREAMS)
readouts = pytest.mark.parametrize("readout", READOUTS)


def data(net, lengths=LENGTHS, seed=1):
    rng = np.random.default_rng(seed)
    B, T = len(lengths), max(lengths)
    shape = (B, T) if net.readout == "all" else (B,)
    if net.loss_name == "cross_entropy":
        Y = rng.integers(net.output_size, size=shape)
    else:
        Y = rng.uniform(size=(*shape, net.output_size))
    return {"X": rng.normal(size=(B, T, net.input_size)), "Y": Y, "lengths": lengths}


def state_of(net, B, T=3, seed=2):
    """A state that sequences of up to T steps have left."""
    rng = np.random.default_rng(seed)
    X, lengths = rng.normal(size=(B, T, net.input_size)), rng.integers(0, T + 1, B)
    return net.predict(X, lengths, return_state=True)[1]


def assert_same_states(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        for values, expected in zip(one, other, strict=True):
            same_bits(values, expected)


# -------------------------------------------------------------------------------- the gradient


@cases
def test_the_gradient_from_given_states_is_the_gradient(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    step = 1e-5 if any(map(zoo.has_bends, net.layers)) else 1e-4
    state = state_of(net, len(LENGTHS))
    errors = lc.check_gradient(net, **data(net), state=state, max_entries=4, step=step)
    assert max(errors.values()) < (1e-7 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("loss", zoo.LOSSES)
@readouts
def test_with_every_loss_weights_l2_and_sums(loss, readout):
    net = zoo.network("learned states, FGR, blocks", readout=readout, loss=loss)
    given = data(net) | {"sample_weight": [1.0, 2.0, 0.5, 0.0], "l2": 0.1, "reduction": "sum"}
    errors = lc.check_gradient(net, **given, state=state_of(net, len(LENGTHS)), max_entries=6)
    assert max(errors.values()) < 1e-7


@pytest.mark.parametrize("readout", ["all", "last"])
def test_learned_states_that_are_not_used_have_the_gradient_zero(readout):
    net = zoo.network("learned states, FGR, blocks", readout=readout)
    given = data(net)
    learned = net.table.views(net.loss_and_grad(**given)[1])
    state = state_of(net, len(LENGTHS))
    replaced = net.table.views(net.loss_and_grad(**given, state=state)[1])
    for name in "0.h0", "0.c0":
        assert learned[name].all() and not replaced[name].any()
    assert replaced["0.R"].all()


@cases
def test_the_initial_states_given_change_nothing(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    given = data(net)
    first = net.predict(np.zeros((4, 0, net.input_size)), return_state=True)[1]
    f, g = net.loss_and_grad(**given)
    f_given, g_given = net.loss_and_grad(**given, state=first)
    assert f_given == f
    free = np.ones(net.table.size, bool)
    for block in net.table:
        free[block.slice] = not block.name.endswith(("h0", "c0"))
    same_bits(g_given[free], g[free])


@cases
def test_a_loss_goes_on_where_it_ended(name, readout, dtype):
    """The values of two stretches are those of the whole, and so is the state."""
    net = zoo.network(name, readout=readout, dtype=dtype)
    X, Y, lengths = data(net, [9, 6, 0, 8]).values()
    before, after = np.minimum(lengths, 4), np.maximum(np.subtract(lengths, 4), 0)
    cut = (Y[:, :4], Y[:, 4:]) if readout == "all" else (Y, Y)
    end = net.predict(X, lengths, return_state=True)[1]
    f, state = net.loss(X[:, :4], cut[0], before, reduction="sum", return_state=True)
    f_more, g, end_of_loss = net.loss_and_grad(
        X[:, 4:], cut[1], after, reduction="sum", state=state, return_state=True
    )
    assert_same_states(end_of_loss, end)
    whole = net.loss(X, Y, lengths, reduction="sum")
    if readout == "all":
        assert f + f_more == pytest.approx(whole, rel=1e-12 if dtype == "float64" else 1e-5)
    else:  # the second stretch reads out all that came before
        assert f_more == whole
    value, end_of_value = net.loss(
        X[:, 4:], cut[1], after, reduction="sum", state=state, return_state=True
    )
    assert value == f_more and g.dtype == dtype
    assert_same_states(end_of_value, end)


@readouts
def test_checkpoints_and_threads_give_the_same_bits(readout):
    net = zoo.network("learned states, FGR, blocks", readout=readout, scale=0.3)
    given = data(net, [1650, 3, 0, 901])
    examples = net.prepare(**given, state=state_of(net, 4))
    assert len(segments(net.layers[net.body], examples.batch, net.dtype, 1)) > 2
    f, g, state = net.evaluate(None, examples, return_state=True, n_threads=1)
    for checkpoint in (True, 1):
        f_cut, g_cut, end = net.evaluate(
            None, examples, return_state=True, checkpoint=checkpoint, n_threads=2
        )
        assert f_cut == pytest.approx(f, rel=1e-13)
        same_bits(g_cut, g)
        assert_same_states(end, state)
        value, nothing, end = net.evaluate(
            None, examples, gradient=False, return_state=True, checkpoint=checkpoint
        )
        assert value == f_cut and nothing is None
        assert_same_states(end, state)


# ------------------------------------------------------------------------------ what carries them


@pytest.mark.parametrize("readout", ["all", "mean"])
def test_examples_take_and_copy_their_states(readout):
    net = zoo.network("stack", readout=readout)
    given, state = data(net), state_of(net, len(LENGTHS))
    examples = net.prepare(**given, state=state)
    assert_same_states(examples.state, state)
    f, g = net.evaluate(None, examples)
    for other in (copy.deepcopy(examples), pickle.loads(pickle.dumps(examples))):
        f_other, g_other = net.evaluate(None, other)
        assert f_other == f
        same_bits(g_other, g)
    some = np.array([3, 1])
    part = {name: values[some] for name, values in given.items()}
    part_state = tuple(tuple(values[some] for values in entry) for entry in state)
    f, g = net.loss_and_grad(**part, state=part_state)
    f_part, g_part = net.evaluate(None, examples.take(some))
    assert f_part == f
    same_bits(g_part, g)
    assert examples.summed().state is not None
    assert net.prepare(**given).state is None


@pytest.mark.parametrize("name, loss", zoo.with_losses(zoo.STREAMS))
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_one_compiled_call_begins_with_the_states_and_hands_them_on(name, loss, dtype):
    net = zoo.network(name, loss=loss, dtype=dtype)
    given, state = data(net), state_of(net, len(LENGTHS))
    for examples in (net.prepare(**given), net.prepare(**given, state=state)):
        f, g, end = net.evaluate(None, examples, return_state=True)
        plain = net.passes.plain_objective(examples)
        if plain is None:
            assert any(layer.learns_states or layer.is_masked for layer in net.layers)
            continue
        for n_threads in (1, 2):
            for gradient in (True, False):
                f_plain, g_plain, end_plain = net.passes.evaluate_plain(
                    plain, net.params, examples, gradient, n_threads, return_state=True
                )
                assert f_plain == f
                assert_same_states(end_plain, end)
                if gradient:
                    same_bits(g_plain, g)
            f_plain, g_plain = net.passes.evaluate_plain(
                plain, net.params, examples, True, n_threads
            )
            assert f_plain == f
            same_bits(g_plain, g)


def test_states_whose_shape_a_user_has_changed_are_refused():
    net = zoo.network("LSTM")
    examples = net.prepare(**data(net), state=state_of(net, len(LENGTHS)))
    objective = lc.Objective(net, examples)
    examples.state[0][0].shape = (1, 24)
    for call in (
        objective,
        lambda params: net.evaluate(params, examples),
        lambda params: objective.gauss_newton(params, params),
        lambda params: lc.Objective(net, examples, checkpoint=2).gauss_newton(params, params),
    ):
        with pytest.raises(ValueError, match=r"state\[0\]\[0\]: expected shape \(4, 6\)"):
            call(net.params)


def test_objectives_batches_and_fits_begin_with_the_states():
    net = zoo.network("LSTM")
    given, state = data(net), state_of(net, len(LENGTHS))
    objective = lc.Objective(net, **given, state=state, l2=0.1)
    f, g = net.loss_and_grad(**given, state=state, l2=0.1)
    for other in (objective, pickle.loads(pickle.dumps(objective))):
        assert other.fun(net.params) == f
        f_other, g_other = other(net.params)
        assert f_other == f
        same_bits(g_other, g)
    some = np.array([0, 3])
    f, g, _ = objective.on_batch(net.params, some)
    f_some, g_some = net.evaluate(None, objective.examples.take(some))
    f_some = net.penalty(None, 0.1, g_some, start=f_some)
    assert f == f_some
    same_bits(g, g_some)
    wanted = objective.fun(net.params)
    result = lc.fit(net, **given, state=state, l2=0.1, tol=1e-3)
    assert result.history["loss"][0] == wanted


def test_states_are_neither_written_to_nor_taken_from_the_user():
    net = zoo.network("learned states, FGR, blocks", readout="mean")
    state = state_of(net, len(LENGTHS))
    before = copy.deepcopy(state)
    for entry in state:
        for values in entry:
            values.flags.writeable = False
    examples = net.prepare(**data(net), state=state)
    net.evaluate(None, examples, return_state=True)
    net.evaluate(None, examples, gradient=False)
    assert_same_states(state, before)
    assert not any(values.flags.writeable for entry in examples.state for values in entry)
    mine = copy.deepcopy(before)
    net.prepare(**data(net), state=mine)
    assert all(values.flags.writeable for entry in mine for values in entry)


# ------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "change, error, words",
    [
        (list, TypeError, r"state: expected a tuple of length 2, got a list of length 2"),
        (
            lambda s: ((s[0][0][:2], s[0][1]), ()),
            ValueError,
            r"state\[0\]\[0\]: expected shape \(4, 6\), got \(2, 6\)",
        ),
        (
            lambda s: ((s[0][0], s[0][1] * np.nan), ()),
            ValueError,
            r"state\[0\]\[1\]: expected finite numbers, got nan at \[0, 0\]",
        ),
    ],
    ids=["a list", "of other sequences", "not finite"],
)
def test_states_that_do_not_fit_are_refused(change, error, words):
    net = zoo.network("LSTM")
    given = data(net) | {"state": change(state_of(net, len(LENGTHS)))}
    for call in (
        lambda: net.prepare(**given),
        lambda: net.loss_and_grad(**given),
        lambda: lc.Objective(net, **given),
        lambda: lc.check_gradient(net, **given),
        lambda: lc.fit(net, **given),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize("direction", ["both", "reverse"])
def test_layers_that_read_ahead_have_none(direction):
    layer = lc.LSTM(I, 3, direction=direction)
    net = lc.Network([layer, lc.Dense(layer.output_size, K)], seed=0)
    given, examples = data(net), net.prepare(**data(net))
    calls = {
        "state": lambda: net.loss(**given, state=()),
        "return_state": lambda: net.loss_and_grad(**given, return_state=True),
        "return_state ": lambda: net.evaluate(None, examples, return_state=True),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name.strip()}: expected whole sequences, for"):
            call()


def test_return_state_is_true_or_false():
    net = zoo.network("LSTM")
    for call in (net.loss, net.loss_and_grad):
        with pytest.raises(TypeError, match="return_state: expected True or False, got 1"):
            call(**data(net), return_state=1)

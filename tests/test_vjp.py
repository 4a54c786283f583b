"""`Network.vjp`: the gradient of what is computed from the outputs, for θ, X and the states."""

import numpy as np
import pytest
import zoo
from helpers import read_only, same_bits

import lstmcore as lc
from lstmcore._bptt import segments
from lstmcore._readout import READOUTS

LENGTHS = np.array([5, 3, 0, 4])
I, K = zoo.INPUTS, zoo.OUTPUTS

cases = zoo.cases(zoo.NETWORKS)
stream_cases = zoo.cases(zoo.STREAMS)
readouts = pytest.mark.parametrize("readout", READOUTS)


def inputs(net, lengths=LENGTHS, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(lengths), max(lengths), net.input_size))


def like(outputs, seed=2):
    return np.random.default_rng(seed).normal(size=outputs.shape)


def as_list(array):
    return [values[:length] for values, length in zip(array, LENGTHS, strict=True)]


def states_like(state, seed=3):
    """Random numbers in the form of a state; of a readout's count zeros."""
    rng = np.random.default_rng(seed)
    return tuple(
        tuple(rng.normal(size=v.shape) if v.ndim > 1 else np.zeros_like(v) for v in entry)
        for entry in state
    )


def dot(one, other):
    pairs = zip(sum(one, ()), sum(other, ()), strict=True)
    return sum(float((a * b).sum()) for a, b in pairs)


def central_differences(function, array, step=1e-5, most=12):
    """Those of some entries of an array that the function reads: their places and values."""
    places = np.random.default_rng(4).permutation(array.size)[:most]
    flat, quotients = array.reshape(-1), []
    for place in places:
        kept = flat[place]
        values = []
        for moved in (kept + step, kept - step):
            flat[place] = moved
            values.append(function())
        flat[place] = kept
        quotients.append((values[0] - values[1]) / (2 * step))
    return places, np.array(quotients)


def assert_derivative(function, array, got):
    places, wanted = central_differences(function, array)
    np.testing.assert_allclose(got.reshape(-1)[places], wanted, rtol=1e-6, atol=1e-7)


# ----------------------------------------------------------------------- it is the derivative


@cases
def test_the_product_is_the_gradient_of_the_loss_whose_delta_it_is(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    X = inputs(net).astype(dtype)
    y = net.predict(X, LENGTHS)
    Y = y - like(y).astype(dtype)
    _, g = net.loss_and_grad(X, Y, LENGTHS, reduction="sum")
    same_bits(net.vjp(X, y - Y, LENGTHS), g)
    same_bits(net.vjp(X, lambda outputs: outputs - Y, LENGTHS), g)


@pytest.mark.parametrize("loss", zoo.LOSSES)
@readouts
def test_it_is_the_derivative_for_every_block_input_and_state(loss, readout):
    net = zoo.network("stack", readout=readout, loss=loss, outputs=3)
    assert_all_derivatives(net)


@pytest.mark.parametrize("name", zoo.STREAMS)
def test_it_is_the_derivative_in_every_network(name):
    net = zoo.network(name, scale=0.3)
    if not any(map(zoo.has_bends, net.layers)):
        assert_all_derivatives(net)


def assert_all_derivatives(net):
    X, B = inputs(net), len(LENGTHS)
    _, state = net.predict(inputs(net, [2] * B, seed=5), [2, 0, 1, 2], return_state=True)
    y, end = net.predict(X, LENGTHS, state=state, return_state=True)
    dy, dend = like(y), states_like(end)

    def scalar():
        y, end = net.predict(X, LENGTHS, state=state, return_state=True)
        return float((dy * y).sum()) + dot(end, dend)

    g, dX, dstate, after = net.vjp(
        X,
        dy,
        LENGTHS,
        state=state,
        dstate=dend,
        return_dX=True,
        return_dstate=True,
        return_state=True,
    )
    for block, got in net.table.views(g).items():
        if not block.endswith(("h0", "c0")):
            assert_derivative(scalar, net.blocks[block], got)
        else:
            assert not got.any()
    assert_derivative(scalar, X, dX)
    for values, got in zip(sum(state, ()), sum(dstate, ()), strict=True):
        assert got.shape == values.shape
        if values.ndim > 1:
            assert_derivative(scalar, values, got)
        else:
            assert not got.any()
    for values, got in zip(sum(end, ()), sum(after, ()), strict=True):
        same_bits(got, values)


@readouts
def test_inputs_of_networks_that_read_ahead(readout):
    net = zoo.network("both directions, learned states", readout=readout)
    X = inputs(net)
    dy = like(net.predict(X, LENGTHS))
    g, dX = net.vjp(X, dy, LENGTHS, return_dX=True)

    def scalar():
        return float((dy * net.predict(X, LENGTHS)).sum())

    assert_derivative(scalar, X, dX)
    for block, got in net.table.views(g).items():
        assert_derivative(scalar, net.blocks[block], got)


@stream_cases
def test_products_of_stretches_add_up(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    X, lengths = inputs(net, [9, 6, 0, 8]).astype(dtype), np.array([9, 6, 0, 8])
    y, end = net.predict(X, lengths, return_state=True)
    dy, dend = like(y), states_like(end)
    asked = {"return_dX": True, "return_dstate": True}
    g, dX, dstate = net.vjp(X, dy, lengths, dstate=dend, **asked)

    before, after = np.minimum(lengths, 4), np.maximum(lengths - 4, 0)
    _, state = net.predict(X[:, :4], before, return_state=True)
    dy_of = (dy[:, :4], dy[:, 4:]) if readout == "all" else (None, dy)
    g_2, dX_2, dstate_2 = net.vjp(X[:, 4:], dy_of[1], after, state=state, dstate=dend, **asked)
    g_1, dX_1, dstate_1 = net.vjp(X[:, :4], dy_of[0], before, dstate=dstate_2, **asked)
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 1e-3, "atol": 1e-4}
    )
    np.testing.assert_allclose(g_1 + g_2, g, **tolerance)
    np.testing.assert_allclose(np.concatenate([dX_1, dX_2], axis=1), dX, **tolerance)
    for one, other in zip(sum(dstate_1, ()), sum(dstate, ()), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@readouts
def test_checkpoints_and_threads_give_the_same_bits(readout):
    net = zoo.network("stack", readout=readout, scale=0.3)
    lengths = np.array([1650, 3, 0, 901])
    X = inputs(net, lengths)
    batch = net.prepare(X, net.predict(X), lengths).batch
    assert len(segments(net.layers[net.body], batch, net.dtype, 1)) > 2
    y, end = net.predict(X, lengths, return_state=True)
    asked = {"return_dX": True, "return_dstate": True, "return_state": True}
    given = {"lengths": lengths, "dstate": states_like(end), "state": states_like(end)}
    if readout in ("mean", "max"):  # of so many steps
        for name in "state", "dstate":
            total, _ = given[name][-1]
            given[name] = (*given[name][:-1], (total, np.array([3.0, 1.0, 2.0, 5.0])))
    wanted = net.vjp(X, like(y), **given, **asked, n_threads=1)
    for dy in (like(y), lambda outputs: like(outputs)):
        got = net.vjp(X, dy, **given, **asked, checkpoint=1, n_threads=2)
        same_bits(got[0], wanted[0])
        same_bits(got[1], wanted[1])
        for states, states_wanted in zip(got[2:], wanted[2:], strict=True):
            for one, other in zip(sum(states, ()), sum(states_wanted, ()), strict=True):
                same_bits(one, other)


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_the_derivative_of_output_units_keeps_its_digits(loss, dtype):
    """Where an output is all but 1, and the others all but 0."""
    net = lc.Network([lc.Dense(1, 3)], loss, dtype=dtype)
    net.params[...] = 0
    net.blocks["0.b"][...] = a = np.array([30.0, -5.0, -9.0], dtype)
    dy = np.array([0.5, 2.0, -1.0])
    a = a.astype(np.longdouble)
    if loss == "cross_entropy":
        y = np.exp(a) / np.exp(a).sum()
        wanted = y * np.array([(y * (dy_k - dy)).sum() for dy_k in dy])
    else:
        wanted = dy * np.exp(-np.abs(a)) / (1 + np.exp(-np.abs(a))) ** 2
    got = net.table.views(net.vjp(np.ones((1, 1, 1)), dy.reshape(1, 1, 3)))["0.b"]
    np.testing.assert_allclose(got, wanted.astype(dtype), rtol=30 * np.finfo(dtype).eps)


# -------------------------------------------------------------------------------------- forms


def test_lists_masks_and_padded_arrays_are_one_batch():
    net = zoo.network("LSTM")
    X, dy = inputs(net), like(np.empty((4, 5, K)))
    there = np.arange(5) < LENGTHS[:, None]
    X[~there] = dy[~there] = np.nan  # never looked at
    g, dX = net.vjp(X, dy, LENGTHS, return_dX=True)
    assert np.isfinite(g).all() and not dX[~there].any() and dX[there].all()
    g_mask, dX_mask = net.vjp(X, dy, mask=there, return_dX=True)
    same_bits(g_mask, g)
    same_bits(dX_mask, dX)
    lists = [as_list(array) for array in (X, dy)]
    g_list, dX_list = net.vjp(*lists, return_dX=True)
    same_bits(g_list, g)
    assert isinstance(dX_list, list)
    for got, wanted, length in zip(dX_list, dX, LENGTHS, strict=True):
        same_bits(got, wanted[:length])
    same_bits(net.vjp(lists[0], lambda y: lists[1]), g)


def test_a_mask_with_holes():
    net, mask = zoo.network("stack"), np.random.default_rng(7).random((4, 5)) < 0.6
    X = inputs(net)
    y = net.predict(X, mask=mask)
    dy = like(y)
    g, dX = net.vjp(X, dy, mask=mask, return_dX=True)
    assert not dX[~mask].any()

    def scalar():
        return float((dy * net.predict(X, mask=mask)).sum())

    assert_derivative(scalar, X, dX)
    assert_derivative(scalar, net.blocks["1.R"], net.table.views(g)["1.R"])


def test_tokens():
    net = zoo.network("embedding")
    X = np.random.default_rng(8).integers(0, I, (4, 5))
    y = net.predict(X, LENGTHS)
    one_hot = np.eye(I)[X]
    g, dX = net.vjp(one_hot, like(y), LENGTHS, return_dX=True)
    np.testing.assert_allclose(net.vjp(X, like(y), LENGTHS), g, rtol=1e-12, atol=1e-14)
    assert dX.shape == one_hot.shape
    with pytest.raises(ValueError, match="return_dX: expected False where X is tokens, got True"):
        net.vjp(X, like(y), LENGTHS, return_dX=True)


def test_a_function_gets_the_outputs_for_itself():
    net = zoo.network("LSTM", loss="cross_entropy")
    X, wanted = inputs(net), net.predict(inputs(net), LENGTHS)
    kept = []

    def derivative(y):
        same_bits(y, wanted)
        kept.append(y)
        y *= 2  # in place
        return y

    g = net.vjp(X, derivative, LENGTHS)
    same_bits(g, net.vjp(X, 2 * wanted, LENGTHS))
    net.vjp(X, like(wanted), LENGTHS)
    same_bits(kept[0], 2 * wanted)


def test_nothing_given_is_written_to():
    net = zoo.network("LSTM", readout="mean")
    X = read_only(inputs(net))
    y, end = net.predict(X, LENGTHS, return_state=True)
    dy, dend = read_only(like(y)), states_like(end)
    for values in sum(dend, ()) + sum(end, ()):
        values.flags.writeable = False
    net.vjp(X, dy, LENGTHS, state=end, dstate=dend, return_dX=True, return_dstate=True)


def test_none_is_zero():
    net = zoo.network("LSTM")
    assert not net.vjp(inputs(net), None, LENGTHS).any()


# ------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda dy: dy[:, :4], ValueError, r"dy: expected shape \(4, 5, 2\), got \(4, 4, 2\)"),
        (lambda dy: dy[..., 0], ValueError, r"dy: expected shape \(4, 5, 2\), got \(4, 5\)"),
        (lambda dy: dy * np.nan, ValueError, "dy: expected finite numbers, got nan in sequence 0"),
        (lambda dy: dy * 1j, TypeError, "dy: expected real numbers, got an array"),
        (lambda dy: lambda y: y[0], ValueError, r"dy: expected shape \(4, 5, 2\), got \(5, 2\)"),
    ],
    ids=["steps", "an axis", "not finite", "complex", "a function's"],
)
def test_a_dy_that_is_not_like_the_outputs_is_refused(change, error, words):
    net = zoo.network("LSTM")
    with pytest.raises(error, match=words):
        net.vjp(inputs(net), change(like(np.empty((4, 5, K)))), LENGTHS)


def test_a_list_wants_a_list():
    net = zoo.network("LSTM")
    X = as_list(inputs(net))
    with pytest.raises(
        ValueError, match=r"dy: expected a list with one array \(T, 2\) for each of 4"
    ):
        net.vjp(X, np.zeros((4, 5, K)))
    dy = [np.zeros((length, K)) for length in LENGTHS]
    with pytest.raises(ValueError, match=r"dy\[1\]: expected shape \(3, 2\), got \(4, 2\)"):
        net.vjp(X, [dy[0], np.zeros((4, K)), *dy[2:]])


def test_states_of_layers_that_read_ahead_are_refused():
    net = zoo.network("both directions")
    X = inputs(net)
    dy = like(net.predict(X))
    for name in ("state", "dstate", "return_dstate", "return_state"):
        value = True if name.startswith("return") else ()
        with pytest.raises(ValueError, match=f"{name}: expected whole sequences, for layers"):
            net.vjp(X, dy, **{name: value})
    with pytest.raises(ValueError, match=r"checkpoint: expected None, for layers\[0\]"):
        net.vjp(X, dy, checkpoint=True)


def test_a_dstate_of_another_form_is_refused():
    net = zoo.network("LSTM")
    X = inputs(net)
    with pytest.raises(
        ValueError, match=r"dstate\[0\]\[1\]: expected shape \(4, 6\), got \(1, 6\)"
    ):
        net.vjp(X, None, dstate=((np.zeros((4, 6)), np.zeros((1, 6))), ()))
    for name in ("return_dX", "return_dstate", "return_state", "check_finite"):
        with pytest.raises(TypeError, match=f"{name}: expected True or False, got 0"):
            net.vjp(X, None, **{name: 0})

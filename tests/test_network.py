"""`Network`: parameters and blocks, outputs and states, losses, readouts, weights, l2."""

import copy
import ctypes
import pickle

import numpy as np
import pytest
import zoo

import lstmcore as lc
import lstmcore.network
from lstmcore._dispatch import kernels

LENGTHS = [4, 2, 0]


def network(loss="squared_error", readout="all", **options):
    return lc.Network(
        [lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 4)], loss, readout, seed=0, **options
    )


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(3, 4, 2))


# ------------------------------------------------------------------------------- parameters


def test_blocks_are_views_of_one_vector_in_the_promised_order():
    net = lc.Network(
        [
            lc.LSTM(2, 3, peepholes=True, gate_recurrence=True, learn_initial_state=True),
            lc.RNN(3, 2, bidirectional=True),
            lc.Dense(4, 1),
        ]
    )
    assert list(net.blocks) == [
        "0.W",
        "0.R",
        "0.b",
        "0.p",
        "0.Q",
        "0.h0",
        "0.c0",
        "1.forward.W",
        "1.forward.R",
        "1.forward.b",
        "1.backward.W",
        "1.backward.R",
        "1.backward.b",
        "2.W",
        "2.b",
    ]
    net.params[...] = np.arange(net.params.size)
    flat = np.concatenate([block.ravel() for block in net.blocks.values()])
    assert (flat == net.params).all()
    net.blocks["0.R"][...] = -1
    assert (net.params == -1).sum() == net.blocks["0.R"].size


def test_ten_layers_keep_their_names_apart():
    net = lc.Network([lc.Dense(2, 2) for _ in range(12)], seed=0)
    assert list(net.blocks) == [f"{k}.{name}" for k in range(12) for name in "Wb"]
    last = net.summary().splitlines()[11]
    assert last.startswith("11  Dense(2, 2)")
    assert last.endswith(" 6")


def test_assigning_parameters_copies_into_the_same_memory():
    net = network()
    memory, values = net.params, np.arange(net.params.size)
    net.params = values
    assert net.params is memory
    assert (memory == values).all()
    assert (net.blocks["0.W"].ravel() == values[: net.blocks["0.W"].size]).all()


def assign(net):
    net.params = net.params * 2


def write_at_once(net):
    net.params[...] *= 2


def write_a_block(net):
    net.blocks["0.W"][...] *= 2


def double(array):
    np.multiply(array, 2, out=array)


# What somebody may hold while the network predicts, and how he writes through it later.
HELD = {
    "params": (lambda net: net.params, double),
    "slice": (lambda net: net.params[3:9], double),
    "block": (lambda net: net.blocks["0.R"].T, double),
    "blocks": (lambda net: net.blocks, lambda held: held["1.b"].fill(3)),
    "memoryview": (lambda net: memoryview(net.params), lambda held: held.__setitem__(4, 7.0)),
    "state": (lambda net: net.__getstate__(), lambda held: held["params"].fill(0.25)),
    "weights": (lambda net: net.weights[0][0].blocks[1], double),
    "a bare address": (
        lambda net: (net.params.ctypes.data, net.params.size),
        lambda held: double(
            np.ctypeslib.as_array(ctypes.cast(held[0], ctypes.POINTER(ctypes.c_double)), held[1:])
        ),
    ),
}


@pytest.mark.parametrize("change", [assign, write_at_once, write_a_block])
def test_predict_sees_every_change_of_the_parameters(change):
    net, x = network(), inputs()
    for _ in range(3):
        before = net.predict(x)
        assert (net.predict(x) == before).all()
        change(net)
        after = net.predict(x)
        assert (after != before).any()
        assert (after == pickle.loads(pickle.dumps(net)).predict(x)).all()


@pytest.mark.parametrize("name", HELD)
def test_predict_sees_changes_through_what_was_taken_long_before(name):
    take, write = HELD[name]
    net, x = network(), inputs()
    held = take(net)
    for _ in range(3):
        before = net.predict(x)
    write(held)
    after = net.predict(x)
    assert (after != before).any()
    assert (after == pickle.loads(pickle.dumps(net)).predict(x)).all()


def test_parameters_that_stay_are_packed_once(monkeypatch):
    net, x = network(), inputs()
    packed = []

    def pack(*arguments):
        packed.append(arguments)
        return original(*arguments)

    original = kernels.pack
    monkeypatch.setattr(kernels, "pack", pack)
    expected = net.predict(x)
    first = len(packed)
    assert first == 2
    for _ in range(3):
        held = net.params  # nobody writes to it
        assert (net.predict(x) == expected).all()
    net.params = held.copy()
    net.predict(x, LENGTHS)
    net.step(x[0, 0])
    assert len(packed) == first
    net.params[-1] += 1
    net.predict(x)
    assert len(packed) == 2 * first


def test_a_frozen_network_looks_for_no_change_and_allows_none(monkeypatch):
    net, x = network("cross_entropy", "mean", dtype="float32"), inputs()
    expected = net.predict(x)
    frozen = net.frozen()
    net.params[...] = 0
    monkeypatch.setattr(kernels, "same_bytes", None)
    for _ in range(3):
        assert (frozen.predict(x) == expected).all()
    assert (frozen.predict(x, [4, 4, 4]) == expected).all()
    y, state = frozen.step(x[:, 0])
    for t in (1, 2, 3):
        y, state = frozen.step(x[:, t], state)
    assert (y == expected).all()
    f, g = frozen.loss_and_grad(x, [0, 1, 2])
    assert np.isfinite(f) and g.any()
    for array in (frozen.params, frozen.blocks["0.R"], frozen.weights[1][0].blocks[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(ValueError, match="params: expected a network that is not frozen, got one"):
        frozen.params = net.params
    thawed = pickle.loads(pickle.dumps(frozen))
    thawed.params[...] = 0
    monkeypatch.undo()
    assert (thawed.predict(x) != expected).any()
    assert repr(frozen) == repr(net) and frozen.frozen().params.tobytes() == frozen.params.tobytes()


def test_blocks_cannot_be_exchanged_by_mistake():
    with pytest.raises(TypeError):
        network().blocks["0.W"] = np.zeros((12, 2))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.zeros(3), ValueError, "params: expected shape ("),
        (np.zeros((1, 76)), ValueError, "params: expected shape ("),
        ("x", TypeError, "params: expected real numbers"),
        (None, TypeError, "params: expected real numbers"),
        (np.zeros(76, complex), TypeError, "params: expected real numbers"),
    ],
)
def test_wrong_parameters_are_refused(value, error, words):
    net = network()
    before = net.params.copy()
    with pytest.raises(error) as caught:
        net.params = value
    assert words in str(caught.value)
    if value is not None:  # which is the network's own
        with pytest.raises(error) as caught:
            net.evaluate(value, net.prepare(inputs(), np.zeros((3, 4, 4))))
        assert words in str(caught.value)
    assert (net.params == before).all()


def test_seeds_repeat_and_differ():
    assert (network().params == network().params).all()
    layers = [lc.LSTM(2, 3)]
    seeds = [1, 2, None, None, np.random.SeedSequence(5), np.random.default_rng(6)]
    params = [lc.Network(layers, seed=seed).params for seed in seeds]
    for k in range(len(params)):
        for j in range(k):
            assert (params[k] != params[j]).any()


def test_copies_and_pickles_are_equal_and_independent():
    net = network("cross_entropy", "mean", dtype="float32")
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), copy.copy(net)):
        assert repr(other) == repr(net)
        assert (other.predict(inputs()) == net.predict(inputs())).all()
        other.params[...] = 0
        assert net.params.any()


def test_repr_and_summary_can_be_read():
    net = lc.Network([lc.LSTM(2, 3, bidirectional=True), lc.Dense(6, 4)], "cross_entropy", "mean")
    assert repr(net) == (
        "Network([LSTM(2, 3, bidirectional=True), Dense(6, 4)], "
        "loss='cross_entropy', readout='mean', dtype='float64')"
    )
    assert net.summary().splitlines() == [
        "0  LSTM(2, 3, bidirectional=True)   (B, T, 6)  144",
        "   mean over time                   (B, 6)",
        "1  Dense(6, 4)                      (B, 4)      28",
        "   cross_entropy (softmax outputs)  float64    172",
    ]


# ---------------------------------------------------------------------------------- outputs


def test_the_loss_gives_the_output_activation():
    a = network().predict(inputs())
    softmax = network("cross_entropy").predict(inputs())
    logistic = network("binary_cross_entropy").predict(inputs())
    e = np.exp(a)
    assert np.allclose(softmax, e / e.sum(axis=-1, keepdims=True), rtol=1e-14)
    assert np.allclose(logistic, 1 / (1 + np.exp(-a)), rtol=1e-14)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "binary_cross_entropy"])
def test_padded_steps_have_output_zero(loss):
    y = network(loss).predict(inputs(), LENGTHS)
    assert y.shape == (3, 4, 4)
    for b, length in enumerate(LENGTHS):
        assert not y[b, length:].any()
        assert y[b, :length].all()


def test_readout_last_is_the_last_steps_output():
    every, last = network().predict(inputs(), LENGTHS), network(readout="last")
    y = last.predict(inputs(), LENGTHS)
    assert y.shape == (3, 4)
    assert (y[0] == every[0, 3]).all()
    assert (y[1] == every[1, 1]).all()
    assert (y[2] == last.blocks["1.b"]).all()  # of the initial state, zero


def test_readout_last_of_length_zero_is_the_learned_initial_state():
    net = lc.Network([lc.RNN(2, 3, learn_initial_state=True)], readout="last", seed=0)
    net.blocks["0.h0"][...] = [1, 2, 3]
    assert net.predict(inputs(), [1, 0, 0])[1:].tolist() == [[1, 2, 3]] * 2


def test_readout_last_of_both_directions_is_what_each_read_last():
    layer = lc.LSTM(2, 3, bidirectional=True)
    y = lc.Network([layer], readout="last", seed=0).predict(inputs(), LENGTHS)
    every = lc.Network([layer], seed=0).predict(inputs(), LENGTHS)
    for b, length in enumerate(LENGTHS[:2]):
        assert (y[b, :3] == every[b, length - 1, :3]).all()
        assert (y[b, 3:] == every[b, 0, 3:]).all()
    assert not y[2].any()


def test_readout_mean_is_the_mean_over_a_sequences_own_steps():
    layer = lc.LSTM(2, 3, bidirectional=True)
    y = lc.Network([layer], readout="mean", seed=0).predict(inputs(), LENGTHS)
    every = lc.Network([layer], seed=0).predict(inputs(), LENGTHS)
    for b, length in enumerate(LENGTHS[:2]):
        assert np.allclose(y[b], every[b, :length].mean(axis=0), rtol=1e-14)
    assert not y[2].any()


def test_dense_layers_before_the_readout_see_every_step_and_after_it_one():
    layers = [lc.Dense(2, 3), lc.RNN(3, 3), lc.Dense(3, 4, activation="tanh"), lc.Dense(4, 2)]
    net = lc.Network(layers, readout="mean", seed=0)
    every = lc.Network(layers[:2], seed=0)
    every.params = net.params[: every.params.size]
    h = every.predict(inputs()).mean(axis=1)
    hidden = np.tanh(h @ net.blocks["2.W"].T + net.blocks["2.b"])
    assert np.allclose(net.predict(inputs()), hidden @ net.blocks["3.W"].T + net.blocks["3.b"])


def test_the_backward_direction_reads_each_sequence_reversed_within_its_length():
    both = lc.Network([lc.LSTM(2, 3, bidirectional=True)], seed=0)
    forward = lc.Network([lc.LSTM(2, 3)], seed=0)
    forward.params = both.params[both.params.size // 2 :]
    y = both.predict(inputs(), LENGTHS)
    for b, length in enumerate(LENGTHS[:2]):
        reversed_x = inputs()[b : b + 1, :length][:, ::-1]
        assert (forward.predict(reversed_x)[0, ::-1] == y[b, :length, 3:]).all()


def test_sequences_of_length_zero_alone():
    for readout, shape in (("all", (2, 0, 4)), ("last", (2, 4)), ("mean", (2, 4))):
        net = network(readout=readout)
        assert net.predict(np.zeros((2, 0, 2))).shape == shape
        listed = net.predict([np.zeros((0, 2))] * 2)
        assert [y.shape for y in listed] == [(0, 4)] * 2 if readout == "all" else shape
        assert net.predict(np.zeros((2, 3, 2)), [0, 0]).shape == (
            (2, 3, 4) if readout == "all" else shape
        )
    f, g = network(readout="mean").loss_and_grad(np.zeros((2, 0, 2)), np.zeros((2, 4)))
    assert f >= 0
    assert np.isfinite(g).all()


def test_states_of_a_network_are_tuples_layer_by_layer():
    net = lc.Network([lc.LSTM(2, 3), lc.RNN(3, 4), lc.Dense(4, 1)], seed=0)
    _, state = net.predict(inputs(), LENGTHS, return_state=True)
    assert [[array.shape for array in entry] for entry in state] == [[(3, 3), (3, 3)], [(3, 4)], []]
    y, state = net.step([0.1, 0.2])
    assert y.shape == (1,)
    assert [[array.shape for array in entry] for entry in state] == [[(3,), (3,)], [(4,)], []]
    before = [array.copy() for entry in state for array in entry]
    net.step([0.3, 0.4], state)
    after = [array for entry in state for array in entry]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_steps_take_tokens():
    net = lc.Network([lc.LSTM(5, 3, tokens=True)], seed=0)
    y, _ = net.step(4)
    wanted, _ = net.step(np.eye(5)[[4]])
    assert y.shape == (3,)
    assert (y == wanted).all()
    y, _ = net.step([4, 0, 2])
    wanted, _ = net.step(np.eye(5)[[4, 0, 2]])
    assert (y == wanted).all()


def test_a_stream_has_the_weights_of_its_making():
    net = network()
    stream, x = net.stream(2), inputs()[:2, 0]
    before = stream(x)
    stream.reset()
    net.params[...] = 0
    assert (stream(x) == before).all()
    assert not net.stream(2)(x).any()


def test_a_streams_state_can_be_read_and_put_back():
    net = lc.Network([lc.RNN(2, 3, learn_initial_state=True)], seed=0)
    net.blocks["0.h0"][...] = 0.5
    stream, x = net.stream(), inputs()
    assert stream.batch_size == 1
    assert stream.state[0][0].tolist() == [[0.5] * 3]
    stream(x[0, 0])
    state = stream.state
    y = stream(x[0, 1])
    stream.state = state
    assert (stream(x[0, 1]) == y).all()
    with pytest.raises(ValueError, match=r"state\[0\]\[0\]: expected shape \(1, 3\)"):
        stream.state = ((np.zeros((2, 3)),),)


# ------------------------------------------------------- plain arrays, which have a shorter way

PLAIN = [
    name
    for name, entry in zoo.NETWORKS.items()
    if not any(layer.learns_states for layer in entry.layers)
]


@pytest.fixture
def longer_way(monkeypatch):
    """Counts the calls that are not plain."""
    calls = []

    def make_batch(*arguments):
        calls.append(arguments)
        return original(*arguments)

    original = lstmcore.network.make_batch
    monkeypatch.setattr(lstmcore.network, "make_batch", make_batch)
    return calls


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("B, T", [(1, 1), (1, 70), (3, 5), (40, 9)])
@pytest.mark.parametrize("name, loss", zoo.with_losses(PLAIN))
def test_a_plain_array_has_the_bits_of_the_longer_way(longer_way, name, loss, B, T, dtype):
    net = zoo.network(name, dtype=dtype, loss=loss, scale=0.3)
    x = np.random.default_rng(2).normal(size=(B, T, zoo.INPUTS)).astype(dtype)
    before = x.copy()
    for n_threads in (None, 1, 3):
        y = net.predict(x, n_threads=n_threads)
        assert not longer_way
        assert y.dtype == dtype
        assert (y == net.predict(x, [T] * B)).all()
        longer_way.clear()
    assert (x == before).all()


NOT_PLAIN = {
    "a list": list,
    "another dtype": lambda x: x.astype(np.float32),
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "transposed": lambda x: np.asfortranarray(x),
    "the other byte order": lambda x: x.astype(">f8"),
    "unaligned": lambda x: np.frombuffer(b"-" + x.tobytes(), "f8", offset=1).reshape(x.shape),
    "a subclass": lambda x: x.view(type("Array", (np.ndarray,), {})),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_an_array_that_is_not_plain_goes_the_longer_way(longer_way, name):
    net = network()
    x = inputs().astype(np.float32).astype(np.float64)
    expected = net.predict(x)
    x.flags.writeable = False  # which is plain
    assert (net.predict(x) == expected).all()
    assert not longer_way
    assert (net.predict(NOT_PLAIN[name](x)) == expected).all()
    assert len(longer_way) == 1


@pytest.mark.parametrize(
    ("layer", "readout"),
    [
        (lc.LSTM(2, 3), "last"),
        (lc.LSTM(2, 3), "mean"),
        (lc.LSTM(2, 3, learn_initial_state=True), "all"),
        (lc.GRU(2, 3), "max"),
        (lc.GRU(2, 3, learn_initial_state=True), "all"),
    ],
    ids=["last", "mean", "learned states", "max", "learned state"],
)
def test_readouts_and_learned_states_go_the_longer_way(longer_way, layer, readout):
    net = lc.Network([layer], readout=readout, seed=0)
    for name in net.blocks.keys() & {"0.h0", "0.c0"}:
        net.blocks[name][...] = [0.5, -0.5, 0.25]
    one = net.predict(inputs()[:1])[0]
    assert len(longer_way) == 1
    assert (one == net.predict(list(inputs()))[0]).all()


def test_an_array_without_steps_or_sequences_is_not_plain(longer_way):
    assert network().predict(np.zeros((2, 0, 2))).shape == (2, 0, 4)
    with pytest.raises(ValueError, match=r"X: expected at least one sequence, got"):
        network().predict(np.zeros((0, 3, 2)))
    assert len(longer_way) == 2


def test_what_is_not_finite_is_refused_or_goes_through(longer_way):
    x = inputs()
    x[1, 2, 0] = np.nan
    with pytest.raises(
        ValueError, match="X: expected finite numbers, got nan in sequence 1 at step 2"
    ):
        network().predict(x)
    longer_way.clear()
    y = network().predict(x, check_finite=False)
    assert not longer_way
    assert np.isnan(y[1, 2:]).all() and np.isfinite(y[[0, 2]]).all()


# --------------------------------------------------------------------------------- the loss


def test_the_objective_is_the_weighted_mean_plus_l2_of_the_weights():
    net = network("squared_error")
    net.params[...] = np.random.default_rng(3).normal(size=net.params.size)
    X, rng = inputs(), np.random.default_rng(1)
    Y, w, s = rng.normal(size=(3, 4, 4)), rng.uniform(size=(3, 4)), rng.uniform(size=3)
    terms = 0.5 * ((net.predict(X, LENGTHS) - Y) ** 2).sum(axis=-1)
    there = np.arange(4) < np.array(LENGTHS)[:, None]
    weights = w * s[:, None] * there
    penalty = sum((net.blocks[name] ** 2).sum() for name in ("0.W", "0.R", "0.p", "1.W"))
    wanted = (weights * terms).sum() / weights.sum() + 0.5 * 0.1 * penalty
    given = {"sample_weight": s, "step_weight": w, "l2": 0.1}
    assert np.isclose(net.loss(X, Y, LENGTHS, **given), wanted, rtol=1e-13)
    wanted = (weights * terms).sum() + 0.5 * 0.1 * penalty
    assert np.isclose(net.loss(X, Y, LENGTHS, **given, reduction="sum"), wanted, rtol=1e-13)


def test_a_weight_is_a_repetition():
    net = network("cross_entropy", "last")
    X, Y = inputs(), np.array([0, 3, 1])
    f, g = net.loss_and_grad(X, Y, sample_weight=[2, 0, 1])
    again = [0, 0, 2]
    f_again, g_again = net.loss_and_grad(X[again], Y[again])
    assert np.isclose(f, f_again, rtol=1e-14)
    assert np.allclose(g, g_again, rtol=1e-12, atol=1e-16)


def test_step_weights_as_a_list_are_those_of_an_array():
    net = network("cross_entropy")
    w, Y = np.random.default_rng(0).uniform(size=(3, 4)), np.zeros((3, 4), int)
    X = inputs()
    whole = net.loss_and_grad(X, Y, LENGTHS, step_weight=w)
    rows = [row[:length] for row, length in zip(w, LENGTHS, strict=True)]
    listed = net.loss_and_grad(X, Y, LENGTHS, step_weight=rows)
    assert whole[0] == listed[0]
    assert (whole[1] == listed[1]).all()
    equal = net.loss_and_grad(X, Y, step_weight=w)
    listed = net.loss_and_grad(X, Y, step_weight=list(w))
    assert equal[0] == listed[0]


def test_a_step_without_weight_may_have_any_target():
    net = network("cross_entropy")
    Y, w = np.zeros((3, 4), int), np.ones((3, 4))
    w[1, 0] = 0
    f = net.loss(inputs(), Y, step_weight=w)
    Y[1, 0] = -100
    assert net.loss(inputs(), Y, step_weight=w) == f


def test_the_loss_alone_has_the_bits_of_loss_and_grad():
    for loss, Y in (
        ("squared_error", np.ones((3, 4, 4))),
        ("cross_entropy", np.ones((3, 4), int)),
        ("binary_cross_entropy", np.ones((3, 4, 4))),
    ):
        net = network(loss)
        f, _ = net.loss_and_grad(inputs(), Y, LENGTHS, l2=0.3)
        assert net.loss(inputs(), Y, LENGTHS, l2=0.3) == f
        assert isinstance(f, float)


def test_each_gradient_is_a_fresh_array_of_the_networks_dtype():
    for dtype in ("float32", "float64"):
        net = network(dtype=dtype)
        _, first = net.loss_and_grad(inputs(), np.ones((3, 4, 4)))
        kept = first.copy()
        _, second = net.loss_and_grad(inputs(1), np.ones((3, 4, 4)))
        assert first.dtype == net.dtype
        assert not np.shares_memory(first, second)
        assert (first == kept).all()


def test_evaluate_at_other_parameters_leaves_the_networks_own():
    net = network()
    examples = net.prepare(inputs(), np.ones((3, 4, 4)))
    before, theta = net.params.copy(), np.random.default_rng(0).normal(size=net.params.size)
    f, g = net.evaluate(theta, examples)
    assert (net.params == before).all()
    net.params = theta
    f_own, g_own = net.evaluate(None, examples)
    assert f == f_own
    assert (g == g_own).all()


def test_examples_of_some_sequences_are_a_data_set_of_their_own():
    net = network("cross_entropy")
    X, Y, w = inputs(), np.random.default_rng(0).integers(0, 4, (3, 4)), [1.0, 2.0, 3.0]
    examples = net.prepare(X, Y, [4, 2, 3], sample_weight=w)
    assert len(examples) == 3
    f, g = net.evaluate(None, examples.take(np.array([2, 1])))
    f_some, g_some = net.loss_and_grad(
        X[[2, 1], :3], Y[[2, 1], :3], [3, 2], sample_weight=[3.0, 2.0]
    )
    assert f == f_some
    assert (g == g_some).all()


def test_single_outputs_may_drop_the_last_axis():
    net = lc.Network([lc.RNN(2, 3), lc.Dense(3, 1)], seed=0)
    Y = np.random.default_rng(0).normal(size=(3, 4))
    assert net.loss(inputs(), Y) == net.loss(inputs(), Y[..., None])


def test_memory_between_calls_can_be_released():
    net = network()
    for _ in range(3):
        y = net.predict(inputs())
    assert net.passes.pool._free
    net.release_memory()
    assert not net.passes.pool._free
    assert (net.predict(inputs()) == y).all()

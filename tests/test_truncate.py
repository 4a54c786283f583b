"""Truncated BPTT: the bits of a loop by hand, streams that end, what is refused, memory."""

import copy
import functools
import tracemalloc

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc

LENGTHS = np.array([23, 5, 23, 17, 0, 9, 10])
STRETCH = 6
I, K = zoo.INPUTS, zoo.OUTPUTS

with_dtypes = pytest.mark.parametrize("dtype", zoo.DTYPES)
batch_sizes = pytest.mark.parametrize("batch_size", [None, 3], ids=["all", "batches"])
pytestmark = pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")


def data(lengths=LENGTHS, seed=1):
    rng = np.random.default_rng(seed)
    shape = len(lengths), max(lengths)
    return {
        "X": rng.normal(size=(*shape, I)),
        "Y": rng.normal(size=(*shape, K)),
        "lengths": lengths,
    }


def some_of(state, which):
    return tuple(tuple(values[which] for values in entry) for entry in state)


def put(state, which, new):
    for entry, others in zip(state, new, strict=True):
        for values, other in zip(entry, others, strict=True):
            values[which] = other


def initial_state(net, n):
    return net.predict(np.zeros((n, 0, net.input_size)), return_state=True)[1]


def by_hand(net, X, Y, lengths, state, rng, batch_size, epochs, rate, **options):
    """Gradient descent by truncated BPTT with `loss_and_grad`; the states in the end."""
    members = np.flatnonzero(lengths > 0)
    ends = initial_state(net, len(X)) if state is None else copy.deepcopy(state)
    for _ in range(epochs):
        order = rng.permutation(members)
        for k in range(0, len(order), batch_size):
            batch = order[k : k + batch_size]
            now = None if state is None else some_of(state, batch)
            for t in range(0, lengths[batch].max(), STRETCH):
                there = lengths[batch] > t
                some = batch[there]
                _, g, after = net.loss_and_grad(
                    X[some, t : t + STRETCH],
                    Y[some, t : t + STRETCH],
                    np.minimum(lengths[some] - t, STRETCH),
                    state=None if now is None else some_of(now, there),
                    return_state=True,
                    **options,
                )
                if now is None:
                    now = initial_state(net, len(batch))
                put(now, there, after)
                kernel_step(net.params, g, rate)
            put(ends, batch, now)
    return ends


def kernel_step(params, g, rate):
    lc._dispatch.kernels.sgd_update(params, g, np.zeros_like(g), rate, 0.0, False)


@with_dtypes
@batch_sizes
@pytest.mark.parametrize("given", [False, True], ids=["initial states", "given states"])
@pytest.mark.parametrize("name", ["LSTM", "stack", "learned states, FGR, blocks", "masks"])
def test_a_fit_has_the_bits_of_a_loop_by_hand(name, given, batch_size, dtype):
    X, Y, lengths = data([24, 5, 24, 17, 0, 9, 10]).values()
    lengths = np.array(lengths)
    fitted, looped = (zoo.network(name, dtype=dtype, scale=0.3) for _ in range(2))
    state = None
    if given:
        rng = np.random.default_rng(2)
        state = fitted.predict(rng.normal(size=(7, 2, I)), return_state=True)[1]
    options = {"l2": 0.01, "reduction": "mean"}
    result = lc.fit(
        fitted,
        X,
        Y,
        lengths=lengths,
        state=state,
        method="sgd",
        options={"momentum": 0.0},
        learning_rate=0.05,
        batch_size=batch_size,
        truncate=STRETCH,
        max_epochs=2,
        seed=3,
        **options,
        # by it the last epoch is the best
        validation_data=lc.Objective(fitted, X, Y, lengths=lengths),
    )
    rng = np.random.default_rng(3)
    ends = by_hand(looped, X, Y, lengths, state, rng, batch_size or 6, 2, 0.05, **options)
    losses = result.history["validation_loss"]
    assert losses.argmin() == 2, "the last epoch must be the best"
    same_bits(fitted.params, looped.params)
    for entry, wanted in zip(result.state, ends, strict=True):
        for values, others in zip(entry, wanted, strict=True):
            same_bits(values, others)


@with_dtypes
@pytest.mark.parametrize("name", ["LSTM", "stack", "learned states, FGR, blocks", "tokens"])
@pytest.mark.parametrize("method", ["adam", "sgd", "rmsprop"])
def test_a_stretch_as_long_as_the_sequences_changes_no_bit(method, name, dtype):
    results = []
    for truncate in (None, 23, 1000):
        for noise in ({}, {"weight_noise": 0.01}, {"dropout": 0.2, "recurrent_dropout": 0.1}):
            net = zoo.network(name, dtype=dtype)
            result = lc.fit(
                net,
                **data(),
                method=method,
                batch_size=3,
                truncate=truncate,
                **noise,
                clip_norm=0.3,
                learning_rate=lc.optimizers.Cosine(0.01),
                max_epochs=3,
                seed=4,
            )
            results.append((net.params.copy(), result))
    for (params, result), (wanted, first) in zip(results[3:], results[:3] * 2, strict=True):
        same_bits(params, wanted)
        for column in ("loss", "gradient_norm", "evaluations"):
            same_bits(result.history[column], first.history[column])


def test_all_sequences_are_a_batch_without_batch_size():
    fits = []
    for batch_size in (None, 6):
        net = zoo.network("LSTM")
        lc.fit(net, **data(), method="adam", batch_size=batch_size, truncate=4, seed=0)
        fits.append(net.params.copy())
    same_bits(*fits)


@pytest.mark.parametrize("name", zoo.STREAMS)
def test_a_stretch_has_the_gradient_with_its_state_held_fixed(name):
    net = zoo.network(name)
    objective = lc.Objective(net, **data(), l2=0.1)
    f, _, weight, state = objective.on_stretch(net.params, objective.examples.stretch(0, 6))
    stretch = objective.examples.stretch(6, 12, of_all(state, LENGTHS > 0, net))
    assert len(stretch) == (LENGTHS > 6).sum() and stretch.total == weight_of(6, 12)
    f, g, weight, _ = objective.on_stretch(net.params, stretch)
    assert weight == stretch.total
    assert f == lc.Objective(net, stretch, l2=0.1).fun(net.params)
    fun, step = lc.Objective(net, stretch, l2=0.1).fun, 1e-5
    for k in np.random.default_rng(5).permutation(len(g))[:12]:
        moved = net.params.copy()
        moved[k] += step
        f_up = fun(moved)
        moved[k] -= 2 * step
        assert g[k] == pytest.approx((f_up - fun(moved)) / (2 * step), rel=1e-5, abs=1e-7)


def weight_of(t0, t1):
    return np.clip(LENGTHS - t0, 0, t1 - t0).sum()


def of_all(state, there, net):
    every = initial_state(net, len(there))
    put(every, there, state)
    return every


@batch_sizes
def test_stretches_without_weight_hand_their_state_on(batch_size):
    """Their steps are there, and so are those before, after and between what is scored."""
    given = data([24] * 4)
    weight = np.zeros((4, 24))
    weight[:, 13] = weight[:2, 20] = weight[3, 8] = 1.0
    net = zoo.network("LSTM")
    start = net.params.copy()
    options = {"method": "sgd", "truncate": 4, "batch_size": batch_size, "learning_rate": 1e-12}
    result = lc.fit(net, **given, **options, step_weight=weight, max_epochs=1, seed=0)
    if batch_size is None:
        # three steps, and the one that is evaluated ahead
        assert result.nfev == 4
    net.params = start  # from which so small a rate leads nowhere
    _, ends = net.predict(given["X"], return_state=True)
    for entry, wanted in zip(result.state, ends, strict=True):
        for values, others in zip(entry, wanted, strict=True):
            np.testing.assert_allclose(values, others, rtol=1e-9)
    # the mean over an epoch, each term once
    assert result.history["loss"][1] == pytest.approx(
        net.loss(**given, step_weight=weight), rel=1e-9
    )


def test_a_sequence_in_no_batch_keeps_its_state():
    net = zoo.network("LSTM")
    given = data([6, 6, 6])
    state = net.predict(np.ones((3, 2, I)), return_state=True)[1]
    options = {"method": "sgd", "truncate": 4, "max_epochs": 1, "seed": 0}
    result = lc.fit(net, **given, state=state, sample_weight=[1, 0, 1], **options)
    for values, given_ones in zip(sum(result.state, ()), sum(state, ()), strict=True):
        same_bits(values[1], given_ones[1])
        assert (values[[0, 2]] != given_ones[[0, 2]]).all()
    result = lc.fit(net, **given, sample_weight=[1, 0, 1], **options)
    assert not result.state[0][0][1].any()


def test_sums_take_the_same_steps_as_means_times_all_weight():
    fits = []
    for reduction, rate in (("mean", 0.1), ("sum", 0.1 / LENGTHS.sum())):
        net = zoo.network("LSTM")
        options = {"reduction": reduction, "learning_rate": rate, "options": {"momentum": 0.0}}
        lc.fit(net, **data(), method="sgd", truncate=5, max_epochs=2, seed=0, **options)
        fits.append(net.params.copy())
    np.testing.assert_allclose(fits[1], fits[0], rtol=1e-10)


def test_a_fit_goes_on_from_the_state_of_the_one_before():
    """Pieces of streams, one after the other: the first step of each has what went before."""
    given = data([24] * 3)
    whole, pieces = zoo.network("LSTM"), zoo.network("LSTM")
    options = {"method": "sgd", "truncate": 6, "max_epochs": 1, "options": {"momentum": 0.0}}
    lc.fit(whole, given["X"], given["Y"], **options, seed=0)
    state = None
    for t in (0, 12):
        result = lc.fit(
            pieces, given["X"][:, t : t + 12], given["Y"][:, t : t + 12], state=state, **options
        )
        state = result.state
    np.testing.assert_allclose(pieces.params, whole.params, rtol=1e-12)


def test_threads_and_checkpoints_change_no_bit_and_lists_and_masks_are_arrays():
    given = data([300, 200, 300])
    X, Y, lengths = given.values()
    options = {"method": "adam", "truncate": 128, "max_epochs": 2, "seed": 0, "batch_size": 2}
    there = np.arange(300) < np.array(lengths)[:, None]
    as_lists = {
        "X": [x[:n] for x, n in zip(X, lengths, strict=True)],
        "Y": [y[:n] for y, n in zip(Y, lengths, strict=True)],
    }
    fits = []
    for case in (
        given,
        given | {"n_threads": 2},
        given | {"checkpoint": 16},
        as_lists,
        {"X": X, "Y": Y, "mask": there},
    ):
        net = zoo.network("stack", scale=0.3)
        lc.fit(net, **case, **options)
        fits.append(net.params.copy())
    for params in fits[1:]:
        same_bits(params, fits[0])


def test_a_schedule_sees_the_part_of_the_epoch_that_is_done():
    seen = []

    def schedule(epoch, max_epochs):
        seen.append(epoch)
        return 0.01

    net = zoo.network("LSTM")
    options = {"method": "adam", "truncate": 4, "batch_size": 2, "max_epochs": 2, "seed": 0}
    lc.fit(net, **data([8, 8, 8, 8]), **options, learning_rate=schedule)
    assert seen == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_characters_are_learnt_from_one_stream_cut_into_several():
    text = "the quick brown fox jumps over the lazy dog; " * 60
    letters = sorted(set(text))
    tokens = np.array([letters.index(letter) for letter in text])
    streams = 4
    n = (len(tokens) - 1) // streams
    X, Y = (part[: streams * n].reshape(streams, n) for part in (tokens[:-1], tokens[1:]))
    layers = [lc.LSTM(len(letters), 24, tokens=True), lc.Dense(24, len(letters))]
    net = lc.Network(layers, "cross_entropy", dtype="float32", seed=0)
    options = {"truncate": 16, "max_epochs": 30, "learning_rate": 0.02, "clip_norm": 1.0}
    result = lc.fit(net, X, Y, method="adam", **options, seed=0)
    assert result.fun < 0.1  # nats for each letter; 3.3 without knowing any


def test_frozen_blocks_stay_while_the_others_learn():
    net = zoo.network("LSTM")
    before = {name: values.copy() for name, values in net.blocks.items()}
    lc.fit(net, **data(), frozen=["0.*"], method="adam", truncate=6, max_epochs=2, seed=0)
    for name, values in net.blocks.items():
        assert (values == before[name]).all() == name.startswith("0.")


# ------------------------------------------------------------------------------------- memory


def test_memory_is_that_of_a_stretch_not_of_the_stream():
    net = lc.Network([lc.LSTM(I, 16), lc.Dense(16, K)], seed=0)
    rng = np.random.default_rng(6)
    X, Y = rng.normal(size=(2, 40_000, I)), rng.normal(size=(2, 40_000, K))
    fit = functools.partial(
        lc.fit, net, X, Y, method="sgd", truncate=100, max_epochs=1, learning_rate=1e-3
    )
    fit()
    tracemalloc.start()
    try:
        fit()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # what there is for each step: targets and weights, as prepared and of the batch
    assert peak < 2 * 40_000 * 8 * (3 * (K + 1) + 6)  # the outputs of the LSTM alone have 16


@pytest.mark.parametrize("units", [(8,), (8, 8)])
def test_a_value_takes_no_memory_for_a_gradient(units):
    layers = [lc.LSTM(n, m) for n, m in zip((I, *units), units, strict=False)]
    net = lc.Network([*layers, lc.Dense(units[-1], K)], seed=0)
    given = data([500] * 4)
    objective = lc.Objective(net, **given, n_threads=1)
    needed = []
    for call in (objective.fun, objective):
        net.release_memory()
        call(net.params)
        (workspace,) = net.passes.pool._free
        needed.append(workspace.needed)
    outputs = 2000 * (sum(units) + K)
    assert needed[0] < 1.5 * outputs and needed[1] > needed[0] + 2000 * 6 * sum(units)


# ------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize("truncate", [0, -2, 2.0, True, "yes"], ids=repr)
def test_bad_values_are_refused(truncate):
    net = zoo.network("LSTM")
    with pytest.raises((ValueError, TypeError), match=r"^truncate: expected an integer"):
        lc.fit(net, **data(), method="adam", truncate=truncate)


def test_layers_that_read_ahead_and_whole_terms_are_refused():
    net = zoo.network("both directions")
    with pytest.raises(ValueError, match=r"truncate: expected None, for layers\[0\] is bidirect"):
        lc.fit(net, **data(), method="adam", truncate=4)
    net = zoo.network("LSTM", readout="last")
    with pytest.raises(ValueError, match="truncate: expected None where sequences are read out"):
        lc.fit(net, data()["X"], np.zeros((7, K)), method="adam", truncate=4)


@pytest.mark.parametrize("method", ["L-BFGS-B", "rprop"])
def test_other_methods_refuse_it(method):
    with pytest.raises(ValueError, match=f"truncate: expected None with {method}, got 4; "):
        lc.fit(zoo.network("LSTM"), **data(), method=method, truncate=4)


def test_objectives_of_ones_own_and_data_without_weight_refuse_it():
    class Own:
        net = zoo.network("LSTM")

        def __call__(self, theta):
            return 0.0, np.zeros_like(theta)

    with pytest.raises(TypeError, match="truncate: expected None with an objective of one's own"):
        lc.minimize(Own(), "adam", truncate=4)
    weights = {"sample_weight": np.zeros(7), "reduction": "sum"}
    with pytest.raises(ValueError, match="truncate: expected None where no sequence has a weight"):
        lc.fit(zoo.network("LSTM"), **data(), **weights, method="adam", truncate=4)


def test_a_class_derived_from_objective_may_have_another_on_stretch():
    class Doubled(lc.Objective):
        def on_stretch(self, theta, examples):
            f, g, weight, state = super().on_stretch(theta, examples)
            return 2 * f, 2 * g, weight, state

    plain, doubled = (cls(zoo.network("LSTM"), **data()) for cls in (lc.Objective, Doubled))
    options = {"truncate": 6, "max_epochs": 2, "seed": 0}
    lc.minimize(plain, "sgd", **options, learning_rate=0.02)
    lc.minimize(doubled, "sgd", **options, learning_rate=0.01)
    np.testing.assert_allclose(doubled.net.params, plain.net.params, rtol=1e-12)

    class Wrong(lc.Objective):
        def on_stretch(self, theta, examples):
            f, g, *rest = super().on_stretch(theta, examples)
            return f, g[:-1], *rest

    with pytest.raises(ValueError, match="the gradient of on_stretch: expected shape"):
        lc.minimize(Wrong(zoo.network("LSTM"), **data()), "sgd", truncate=6)

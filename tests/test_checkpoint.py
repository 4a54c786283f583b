"""`checkpoint=`: the gradient's bits, whatever the network and the lengths; memory like √T."""

import tracemalloc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore._bptt import segments
from lstmcore._dispatch import kernels
from lstmcore._readout import READOUTS

I, K = zoo.INPUTS, zoo.OUTPUTS
LENGTHS = {
    "one": [3000],
    "equal": [1100, 1100, 1100],
    "unequal, one empty": [1650, 3, 0, 901, 1650, 512],
    "more sequences than a chunk has rows": [40] * 100 + [7] * 200,
}
# Where layers have chunks of different lengths, or the states are unlike: in all combinations
thorough = {
    name: entry
    for name, entry in zoo.STREAMS.items()
    if entry.is_representative or len(entry.layers) > 1
}
readouts = pytest.mark.parametrize("readout", READOUTS)


def network(name, readout="all", dtype="float64", loss="squared_error", scale=0.4):
    return zoo.network(name, readout=readout, dtype=dtype, loss=loss, scale=scale)


def examples(net, lengths, mask=None):
    rng = np.random.default_rng(1)
    B, T = len(lengths), max(lengths)
    shape = (B, T) if net.readout == "all" else (B,)
    if net.loss_name == "cross_entropy":
        Y = rng.integers(net.output_size, size=shape)
    else:
        Y = rng.random((*shape, net.output_size))
    X = rng.normal(size=(B, T, net.input_size))
    return net.prepare(X, Y, lengths if mask is None else None, mask=mask)


def assert_same(net, data, checkpoint, n_threads=None):
    """The same gradient bits, and the same value to the last few or, read out, to the last."""
    f, g = net.evaluate(None, data, n_threads=1)
    f_cut, g_cut = net.evaluate(None, data, checkpoint=checkpoint, n_threads=n_threads)
    np.testing.assert_array_equal(g_cut, g)
    assert np.isfinite(g).all() and (g != 0).any()
    if net.readout == "all":
        assert f_cut == pytest.approx(f, rel=1e-14)
    else:
        assert f_cut == f
    value, nothing = net.evaluate(None, data, gradient=False, checkpoint=checkpoint)
    assert value == f_cut and nothing is None


def n_segments(net, data, checkpoint):
    return len(segments(net.layers[net.body], data.batch, net.dtype, checkpoint))


@readouts
@pytest.mark.parametrize("name", thorough)
def test_the_gradient_has_the_same_bits(name, readout):
    net = network(name, readout)
    for lengths in LENGTHS.values():
        for checkpoint in (True, 1, 300, 10**6):
            assert_same(net, examples(net, lengths), checkpoint)


@zoo.cases(zoo.STREAMS)
def test_every_network_has_the_same_bits(name, readout, dtype):
    net = network(name, readout, dtype, scale=0.2)  # no relu may grow without bound
    data = examples(net, LENGTHS["unequal, one empty"])
    assert n_segments(net, data, 1) > 1
    assert_same(net, data, 1)


@pytest.mark.parametrize("loss", zoo.LOSSES)
@readouts
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_in_both_dtypes_with_every_loss_on_two_threads(dtype, readout, loss):
    net = network("learned states, FGR, blocks", readout, dtype, loss)
    data = examples(net, LENGTHS["unequal, one empty"])
    assert n_segments(net, data, 1) > 3 and n_segments(net, data, True) > 1
    assert_same(net, data, 1, n_threads=2)


@readouts
def test_with_tokens_and_with_masks_that_have_holes(readout):
    net, rng = network("LSTM", readout), np.random.default_rng(2)
    assert_same(net, examples(net, [1000] * 4, mask=rng.random((4, 1000)) < 0.8), 1)
    net, X = zoo.taking_tokens(net), rng.integers(I, size=(4, 1500))
    Y = rng.normal(size=(4, 1500, K) if readout == "all" else (4, K))
    assert_same(net, net.prepare(X, Y, [1500, 20, 0, 1499]), 1)


def test_with_weights_of_steps_and_sequences_and_l2():
    net, rng = network("LSTM"), np.random.default_rng(3)
    X, Y = rng.normal(size=(2, 1200, I)), rng.normal(size=(2, 1200, K))
    options = {"step_weight": rng.random((2, 1200)), "sample_weight": [1.0, 0.5], "l2": 0.1}
    f, g = net.loss_and_grad(X, Y, **options)
    f_cut, g_cut = net.loss_and_grad(X, Y, **options, checkpoint=100)
    np.testing.assert_array_equal(g_cut, g)
    assert f_cut == pytest.approx(f, rel=1e-14)
    assert net.loss(X, Y, **options, checkpoint=100) == f_cut


def test_sequences_without_any_step():
    net = network("LSTM", "last")
    data = net.prepare(np.empty((2, 0, I)), np.ones((2, K)))
    f, g = net.evaluate(None, data)
    f_cut, g_cut = net.evaluate(None, data, checkpoint=True)
    assert f_cut == f and (g_cut == g).all()


@pytest.mark.parametrize("name", zoo.STREAMS)
def test_segments_begin_with_chunks_and_are_as_long_as_asked(name):
    net = network(name)
    for lengths in LENGTHS.values():
        batch = examples(net, lengths).batch
        cells = [layer.kernel_cell(net.dtype) for layer in net.layers]
        chunks = [kernels.chunk_rows(cell, len(lengths)) for cell in cells]
        for steps in (1, 50, 300):
            cuts = segments(net.layers, batch, net.dtype, steps)
            assert cuts[0][0] == 0 and cuts[-1][1] == max(lengths)
            for (t0, t1), (t2, _) in pairwise(cuts):
                assert t1 == t2 and steps <= t1 - t0 <= steps + max(chunks)
                for chunk in chunks:
                    row, row_before = batch.rows_before(t1), batch.rows_before(t1 - 1)
                    assert row // chunk != row_before // chunk


# ---------------------------------------------------------------------------------------- memory


def needed(net, data, **options):
    """Numbers of workspace that an evaluation takes at one time."""
    net.release_memory()
    net.evaluate(None, data, **options)
    (workspace,) = net.passes.pool._free
    return workspace.needed


def long_sequence(T, readout, H=8):
    net = lc.Network([lc.LSTM(2, H), lc.LSTM(H, H), lc.Dense(H, 1)], readout=readout, seed=0)
    rng = np.random.default_rng(4)
    Y = rng.normal(size=(1, T) if readout == "all" else (1, 1))
    return net, net.prepare(rng.normal(size=(1, T, 2)), Y)


@readouts
def test_memory_grows_with_the_square_root_of_the_length(readout):
    sizes = [needed(*long_sequence(T, readout), checkpoint=True) for T in (10_000, 160_000)]
    assert sizes[1] < 4 * sizes[0]


def test_a_hundred_thousand_steps_train_in_a_few_megabytes():
    net = lc.Network([lc.LSTM(2, 32), lc.Dense(32, 1)], seed=0)
    data = long_sequence(100_000, "all")[1]
    assert needed(net, data, checkpoint=True) < 500_000  # 4 MB; the tape alone would be 154 MB


def test_outputs_and_deltas_are_held_for_one_segment_at_a_time(monkeypatch):
    net, data = long_sequence(50_000, "all", H=4)
    seen, score = [], net._loss.value_and_delta

    class Recorder(type(net._loss)):
        def value_and_delta(self, a, *arguments):
            seen.append(len(a))
            return score(a, *arguments)

    monkeypatch.setattr(net.passes, "_loss", Recorder())
    net.evaluate(None, data, checkpoint=True)
    assert sum(seen) == 50_000 and max(seen) <= 224 + 1024


@pytest.mark.parametrize("lengths", [[5000], [900] * 8, [900, 700, 500, 200]], ids=str)
@readouts
@pytest.mark.parametrize(
    "layers",
    [
        partial(lambda H: [lc.LSTM(2, H), lc.Dense(H, 1)], 32),
        partial(lambda H: [lc.LSTM(2, H), lc.LSTM(H, H), lc.Dense(H, 1)], 32),
        partial(lambda H: [lc.LSTM(2, H, bidirectional=True), lc.Dense(2 * H, 1)], 32),
        partial(lambda H: [lc.LSTM(2, H), *(lc.LSTM(H, H) for _ in range(4)), lc.Dense(H, 1)], 32),
    ],
    ids=["one layer", "two layers", "both directions", "five layers"],
)
def test_training_needs_little_more_than_the_saved_activations(layers, readout, lengths):
    net = lc.Network(layers(), readout=readout, seed=0)
    data = examples(net, lengths)
    B, L, rows = len(lengths), max(lengths), sum(lengths)
    saved, constant = 0, 0
    seen = net.layers[net.body]
    for k, layer in enumerate(seen):
        cell = layer.kernel_cell(net.dtype)
        packed, tape_row, grad = kernels.sizes(cell)
        saved += layer.directions * tape_row * (rows + B)
        if k < len(net.layers) - 1 and not (layer is seen[-1] and readout == "last"):
            saved += layer.output_size * B * L
        constant += layer.directions * (packed + grad)
        constant = constant + kernels.scratch_size(cell, B, 1, True, k > 0)
    assert needed(net, data, n_threads=1) <= 1.25 * saved + constant


def test_deltas_take_the_place_of_the_outputs():
    net = lc.Network([lc.LSTM(8, 64)], seed=0)
    rng = np.random.default_rng(0)
    data = net.prepare(rng.normal(size=(16, 200, 8)), rng.normal(size=(16, 200, 64)))
    for _ in range(2):  # the first call finds out what workspace it takes, the second makes it
        net.evaluate(None, data)
    tracemalloc.start()
    try:
        net.evaluate(None, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < data.targets.values.nbytes / 4


def test_inference_holds_two_layers_outputs():
    T, H = 5000, 16
    net = lc.Network([lc.LSTM(2, H), *(lc.LSTM(H, H) for _ in range(5)), lc.Dense(H, 1)], seed=0)
    data = long_sequence(T, "all")[1]
    assert needed(net, data, gradient=False) < 2.6 * T * H


# ---------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize("checkpoint", [0, -3, 2.0, False, "yes", np.array([3, 4])], ids=repr)
def test_bad_values_are_refused(checkpoint):
    net = network("LSTM")
    X, Y = np.zeros((1, 4, I)), np.zeros((1, 4, K))
    for call in (net.loss_and_grad, net.loss, partial(lc.Objective, net), partial(lc.fit, net)):
        with pytest.raises((ValueError, TypeError), match=r"^checkpoint: expected an integer"):
            call(X, Y, checkpoint=checkpoint)


@pytest.mark.parametrize("checkpoint", [True, 5])
def test_bidirectional_layers_are_refused_with_the_reason(checkpoint):
    net = lc.Network([lc.LSTM(I, 3), lc.RNN(3, 2, bidirectional=True), lc.Dense(4, K)])
    message = r"checkpoint: expected None, for layers\[1\] is bidirectional .*both ends, got"
    with pytest.raises(ValueError, match=message):
        lc.Objective(net, np.zeros((1, 4, I)), np.zeros((1, 4, K)), checkpoint=checkpoint)


def test_fit_and_objective_pass_it_on():
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(2, 1200, I)), rng.normal(size=(2, K))
    results = []
    for checkpoint in (None, 50):
        net = network("LSTM", "mean")
        objective = lc.Objective(net, X, Y, checkpoint=checkpoint)
        assert objective.checkpoint == checkpoint
        with pytest.warns(lc.ConvergenceWarning):
            lc.fit(net, X, Y, max_iter=3, checkpoint=checkpoint)
        results.append((needed(net, objective.examples, checkpoint=checkpoint), net.params.copy()))
    np.testing.assert_array_equal(results[1][1], results[0][1])
    assert results[1][0] < results[0][0]

"""Promises 2 to 6: the same bits however the work is cut, inputs untouched, threads and fork."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zoo
from helpers import LAYOUTS, read_only, same_bits

import lstmcore as lc

LENGTHS = np.array([9, 4, 0, 13, 1, 13, 6, 2, 11, 3])
I = zoo.INPUTS

cases = zoo.cases(zoo.NETWORKS)
stream_cases = zoo.cases(zoo.STREAMS)
networks = pytest.mark.parametrize("name", zoo.NETWORKS)
dtypes = pytest.mark.parametrize("dtype", zoo.DTYPES)


def network(name, dtype="float64", readout="all"):
    return zoo.network(name, outputs=3, dtype=dtype, readout=readout, loss="cross_entropy")


def sequences(net, lengths=LENGTHS, seed=1):
    """A padded batch in the network's dtype; NaN is what lies behind a sequence's end."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(len(lengths), max(lengths), net.input_size)).astype(net.dtype)
    X[np.arange(X.shape[1]) >= np.asarray(lengths)[:, None]] = np.nan
    shape = X.shape[:1] if net.readout != "all" else X.shape[:2]
    return X, rng.integers(0, net.output_size, shape)


# ---------------------------------------------------------------------------- the same bits


@networks
@dtypes
@pytest.mark.parametrize("loss", zoo.LOSSES)
def test_an_objective_gives_the_bits_of_its_network(name, dtype, loss):
    """Where nothing stands against it one compiled call does all of it."""
    net = zoo.network(name, outputs=3, dtype=dtype, loss=loss)
    X, labels = sequences(net)
    rows = np.eye(3)[labels] * 0.75 + 0.25 / 3
    tokens = labels % net.input_size
    weights = np.random.default_rng(4).random(len(X))
    listed = [x[:length] for x, length in zip(X, LENGTHS, strict=True)]
    listed_rows = [y[:length] for y, length in zip(rows, LENGTHS, strict=True)]
    mask = np.random.default_rng(5).random(labels.shape) < 0.5
    data = [
        (np.nan_to_num(X), rows, {}),
        (X, labels if loss == "cross_entropy" else rows, {"lengths": LENGTHS}),
        (np.nan_to_num(X), rows, {"mask": mask, "sample_weight": weights}),
        (listed, listed_rows, {"reduction": "sum"}),
    ]
    if net.takes_tokens:
        data.append((tokens, rows, {"lengths": LENGTHS}))
    for X, Y, options in data:
        examples = net.prepare(X, Y, **options)
        for n_threads in (1, 2, 3):
            f, g = net.evaluate(None, examples, n_threads=n_threads)
            objective = lc.Objective(net, examples, n_threads=n_threads)
            for _ in range(2):  # the second time memory is there
                f_got, g_got = objective(net.params)
                assert f_got == f == objective.fun(net.params)
                same_bits(g_got.astype(dtype), g)
        some = examples.take(np.array([3, 1, 2]))
        f, g = net.evaluate(None, some)
        f_got, g_got = lc.Objective(net, some)(net.params)
        assert f_got == f
        same_bits(g_got.astype(dtype), g)


@cases
def test_outputs_do_not_depend_on_the_batch(name, dtype, readout):
    net = network(name, dtype, readout)
    X, _ = sequences(net)
    whole = net.predict(X, LENGTHS)
    for b, length in enumerate(LENGTHS):
        alone = net.predict(X[b : b + 1, :length])[0]
        same_bits(alone, whole[b, :length] if readout == "all" else whole[b])
    rng = np.random.default_rng(2)
    for size in range(2, len(LENGTHS)):
        some = rng.permutation(len(LENGTHS))[:size]
        part = net.predict(X[some], LENGTHS[some])
        same_bits(part, whole[some])


@cases
def test_outputs_and_gradients_do_not_depend_on_padding(name, dtype, readout):
    net = network(name, dtype, readout)
    X, Y = sequences(net)
    whole = net.predict(X, LENGTHS)
    padded = np.pad(X, [(0, 0), (0, 7), (0, 0)], constant_values=np.inf)
    longer = net.predict(padded, LENGTHS)
    if readout == "all":
        assert not longer[:, X.shape[1] :].any()
        longer = longer[:, : X.shape[1]]
    same_bits(longer, whole)

    f, g = net.loss_and_grad(X, Y, LENGTHS)
    Y_longer = Y if readout != "all" else np.pad(Y, [(0, 0), (0, 7)], constant_values=-1)
    f_longer, g_longer = net.loss_and_grad(padded, Y_longer, LENGTHS)
    assert f == f_longer
    same_bits(g, g_longer)


@cases
def test_a_list_a_padded_array_and_a_mask_are_one_batch(name, dtype, readout):
    net = network(name, dtype, readout)
    X, Y = sequences(net)
    as_list = [x[:length] for x, length in zip(X, LENGTHS, strict=True)]
    Y_list = Y
    if readout == "all":
        Y_list = [y[:length] for y, length in zip(Y, LENGTHS, strict=True)]
    mask = np.arange(X.shape[1]) < LENGTHS[:, None]
    whole = net.predict(X, LENGTHS)
    same_bits(net.predict(X, mask=mask), whole)
    listed = net.predict(as_list)
    if readout == "all":
        for y, y_whole, length in zip(listed, whole, LENGTHS, strict=True):
            same_bits(y, y_whole[:length])
    else:
        same_bits(listed, whole)
    f, g = net.loss_and_grad(X, Y, LENGTHS)
    for other in (
        net.loss_and_grad(as_list, Y_list),
        net.loss_and_grad(X, Y, mask=mask),
    ):
        assert other[0] == f
        same_bits(other[1], g)


@cases
def test_masked_steps_are_not_there(name, dtype, readout):
    net = network(name, dtype, readout)
    rng = np.random.default_rng(3)
    mask = rng.uniform(size=(6, 12)) < 0.6
    mask[2] = False
    X = rng.normal(size=(6, 12, I)).astype(dtype)
    X[~mask] = np.nan
    Y = rng.integers(0, 3, (6, 12) if readout == "all" else 6)
    without = [x[there] for x, there in zip(X, mask, strict=True)]
    y, wanted = net.predict(X, mask=mask), net.predict(without)
    if readout == "all":
        assert not y[~mask].any()
        for b in range(6):
            same_bits(y[b, mask[b]], wanted[b])
        Y_without = [labels[there] for labels, there in zip(Y, mask, strict=True)]
    else:
        same_bits(y, wanted)
        Y_without = Y
    f, g = net.loss_and_grad(X, Y, mask=mask)
    f_without, g_without = net.loss_and_grad(without, Y_without)
    assert f == f_without
    same_bits(g, g_without)


@cases
def test_threads_change_no_bit_of_outputs_or_gradients(name, dtype, readout):
    net = network(name, dtype, readout)
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 30, 37)
    X, Y = sequences(net, lengths)
    outputs = [net.predict(X, lengths, n_threads=n) for n in (1, 2, 3, 4)]
    results = [net.loss_and_grad(X, Y, lengths, n_threads=n) for n in (1, 2, 3, 4)]
    for y, (f, g) in zip(outputs, results, strict=True):
        same_bits(y, outputs[0])
        assert f == results[0][0]
        same_bits(g, results[0][1])


@stream_cases
def test_chunks_and_steps_give_the_bits_of_the_whole(name, dtype, readout):
    net = network(name, dtype, readout)
    X, _ = sequences(net, [13] * 4)
    whole = net.predict(X)

    state, chunks = None, []
    for t0, t1 in [(0, 5), (5, 5), (5, 6), (6, 13)]:
        y, state = net.predict(X[:, t0:t1], state=state, return_state=True)
        chunks.append(y)
    same_bits(np.concatenate(chunks, axis=1) if readout == "all" else chunks[-1], whole)

    state, stream, steps = None, net.stream(4), []
    for t in range(13):
        y, state = net.step(X[:, t], state)
        same_bits(stream(X[:, t]), y)
        prefix = net.predict(X[:, : t + 1])
        same_bits(y, prefix[:, -1] if readout == "all" else prefix)
        steps.append(y)
    for entry, in_stream in zip(state, stream.state, strict=True):
        for mine, other in zip(entry, in_stream, strict=True):
            same_bits(mine, other)

    # a network that takes tokens would take (I,) for the tokens of I sequences
    one = X[1][:, None] if net.takes_tokens else X[1]
    state, stream = None, net.stream()
    for t in range(13):
        y, state = net.step(one[t], state)
        assert y.shape == (*one.shape[1:-1], 3)
        same_bits(y.reshape(3), steps[t][1])
        same_bits(stream(one[t]), y)
    stream.reset()
    same_bits(stream(one[0]).reshape(3), steps[0][1])


@stream_cases
def test_a_state_taken_from_unequal_lengths_goes_on(name, readout, dtype):
    net = network(name, dtype, readout)
    X, _ = sequences(net)
    X = np.nan_to_num(X)
    first = LENGTHS // 2
    _, state = net.predict(X, first, return_state=True)
    rest = [x[a:b] for x, a, b in zip(X, first, LENGTHS, strict=True)]
    y, whole = net.predict(rest, state=state), net.predict(X, LENGTHS)
    for b in range(len(X)):
        if readout == "all":
            same_bits(y[b], whole[b, first[b] : LENGTHS[b]])
        else:
            same_bits(y[b], whole[b])


@networks
@dtypes
def test_what_the_workspace_held_before_does_not_matter(name, dtype):
    net = network(name, dtype)
    X, Y = sequences(net)
    first = net.predict(X, LENGTHS), *net.loss_and_grad(X, Y, LENGTHS)
    for value in (np.nan, np.inf, 0.0):
        net.loss_and_grad(X, Y, LENGTHS)  # by now one buffer holds all
        for workspace in net.passes.pool._free:
            workspace._buffer.fill(value)
        same_bits(net.predict(X, LENGTHS), first[0])
        for workspace in net.passes.pool._free:
            workspace._buffer.fill(value)
        f, g = net.loss_and_grad(X, Y, LENGTHS)
        assert f == first[1]
        same_bits(g, first[2])


@networks
def test_float32_is_float64_to_its_precision(name):
    single, double = network(name, "float32"), network(name, "float64")
    double.params = single.params
    X, Y = sequences(single)
    error = np.abs(single.predict(X, LENGTHS) - double.predict(X, LENGTHS)).max()
    assert error < 2e-6
    (f, g), (f_exact, g_exact) = (net.loss_and_grad(X, Y, LENGTHS) for net in (single, double))
    assert abs(f - f_exact) < 2e-6 * abs(f_exact)
    assert np.abs(g - g_exact).max() < 1e-5 * np.abs(g_exact).max()


# ------------------------------------------------------------------------- inputs untouched


@cases
def test_no_input_is_written_to(name, readout, dtype):
    net = network(name, dtype, readout)
    X, Y = map(read_only, sequences(net))
    lengths = read_only(LENGTHS)
    mask = read_only(np.random.default_rng(0).uniform(size=X.shape[:2]) < 0.5)
    finite = read_only(np.nan_to_num(X))
    weights = {"sample_weight": read_only(np.arange(10.0))}
    if readout == "all":
        weights["step_weight"] = read_only(np.ones(Y.shape))
    net.predict(X, lengths)
    net.predict(finite, mask=mask)
    net.loss_and_grad(X, Y, lengths, **weights)
    net.loss(finite, Y, mask=mask, **weights)
    examples = net.prepare(X, Y, lengths)
    theta = read_only(net.params)
    _, g = net.evaluate(theta, examples)
    net.penalty(theta, 0.1, g)
    if name in zoo.STREAMS:
        _, state = net.predict(finite, return_state=True)
        state = tuple(tuple(map(read_only, entry)) for entry in state)
        net.predict(finite, state=state)
        net.step(read_only(finite[:, 0]), state)
        stream = net.stream(10)
        stream.state = state
        stream(read_only(finite[:, 0]))
        stream(read_only(finite[:, 1]))


@pytest.mark.parametrize("layout", LAYOUTS)
@dtypes
def test_memory_layout_of_inputs_changes_no_bit(layout, dtype):
    net = network("both directions", dtype)
    X, Y = sequences(net, [13] * 4)
    Y = np.eye(3, dtype=dtype)[Y]
    y, (f, g) = net.predict(X), net.loss_and_grad(X, Y)
    same_bits(net.predict(LAYOUTS[layout](X)), y)
    f_other, g_other = net.loss_and_grad(LAYOUTS[layout](X), LAYOUTS[layout](Y))
    assert f == f_other
    same_bits(g_other, g)


@pytest.mark.parametrize(
    "layout",
    [
        lambda theta: np.repeat(theta, 2)[::2],
        lambda theta: theta[::-1].copy()[::-1],
        lambda theta: theta.astype(">f8"),
        read_only,
        list,
    ],
    ids=["strided", "reversed", "other byte order", "read-only", "list"],
)
def test_memory_layout_of_parameters_changes_no_bit(layout):
    net = network("both directions")
    X, Y = sequences(net)
    examples = net.prepare(X, Y, LENGTHS)
    theta = np.random.default_rng(5).normal(size=net.params.size)
    (f, g), (f_other, g_other) = (net.evaluate(t, examples) for t in (theta, layout(theta)))
    assert f == f_other
    same_bits(g, g_other)


def test_a_stride_of_zero_is_a_layout_like_any_other():
    net = network("stack")
    row = np.random.default_rng(0).normal(size=I)
    X = np.broadcast_to(row, (4, 6, I))
    same_bits(net.predict(X), net.predict(X.copy()))


@pytest.mark.parametrize("other", [np.float16, np.float32, np.longdouble, np.int8, np.uint64, bool])
def test_other_real_numbers_are_converted(other):
    net = network("stack")
    X = np.random.default_rng(0).integers(0, 2, (3, 4, I)).astype(other)
    same_bits(net.predict(X), net.predict(X.astype(np.float64)))


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int32, np.uint64, np.longlong])
@networks
def test_tokens_of_any_integer_type_equal_one_hot_vectors(name, integer):
    net = zoo.taking_tokens(network(name))
    tokens = np.random.default_rng(0).integers(0, I, (4, 7))
    lengths = [7, 3, 0, 5]
    one_hot = np.eye(I)[tokens]
    same_bits(net.predict(tokens.astype(integer), lengths), net.predict(one_hot, lengths))
    same_bits(net.predict(np.asfortranarray(tokens), lengths), net.predict(one_hot, lengths))


# ------------------------------------------------------------------- memory, threads, fork


def test_a_step_of_a_stream_leaves_no_memory_behind():
    net = network("stack")
    stream, x = net.stream(), np.ones(I)
    tracemalloc.start()
    try:
        for _ in range(5000):  # until Python's own free lists are full
            stream(x)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5000):
            stream(x)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 5000  # bytes: less than one a step


def test_a_second_call_allocates_its_results_and_no_more():
    net = network("stack")
    X, Y = sequences(net, [200] * 8)
    examples = net.prepare(X, Y)
    for _ in range(3):
        net.evaluate(None, examples)
    tracemalloc.start()
    try:
        net.evaluate(None, examples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    outputs = 8 * 200 * 3 * 8
    # losses may hold a handful of arrays of the outputs' size; tapes are ten times that
    assert peak < 8 * outputs


def test_threads_share_one_network():
    net = network("both directions")
    batches = [sequences(net, np.roll(LENGTHS, k), seed=k) for k in range(8)]
    lengths = [np.roll(LENGTHS, k) for k in range(8)]
    jobs = [(X, Y, n) for (X, Y), n in zip(batches, lengths, strict=True)] * 12
    wanted = [net.loss_and_grad(X, Y, n) for X, Y, n in jobs[:8]] * 12
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda job: net.loss_and_grad(*job), jobs))
        outputs = list(pool.map(lambda job: net.predict(job[0], job[2]), jobs))
    for (f, g), (f_wanted, g_wanted) in zip(got, wanted, strict=True):
        assert f == f_wanted
        same_bits(g, g_wanted)
    for k, y in enumerate(outputs):
        same_bits(y, outputs[k % 8])


def test_the_interpreter_runs_on_while_a_kernel_works():
    net = lc.Network([lc.LSTM(32, 128)], seed=0)
    X = np.zeros((32, 100, 32))
    net.loss_and_grad(X, np.zeros((32, 100, 128)), n_threads=1)
    for _ in range(5):  # a busy machine may stop everything now and then
        duration = []

        def work(duration=duration):
            start = time.perf_counter()
            for _ in range(3):
                net.predict(X, n_threads=1)
            duration.append(time.perf_counter() - start)

        thread = threading.Thread(target=work)
        longest, before = 0.0, time.perf_counter()
        thread.start()
        while thread.is_alive():
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        if longest < 0.2 * duration[0]:
            return
    pytest.fail(f"the interpreter stood still for {longest:.3f} s of {duration[0]:.3f} s")


FORK = """
import os, sys
import numpy as np
import lstmcore as lc
net = lc.Network([lc.LSTM(8, 32, bidirectional=True), lc.Dense(64, 2)], seed=0)
X, Y = np.ones((16, 40, 8)), np.ones((16, 40, 2))
f, g = net.loss_and_grad(X, Y, n_threads=2)        # OpenMP has its threads now
child = os.fork()
if child == 0:
    same = [net.loss_and_grad(X, Y, n_threads=n) for n in (1, 2, 4, None)]
    good = all(a == f and (b == g).all() for a, b in same) and lc.get_num_threads() == 1
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
again = net.loss_and_grad(X, Y, n_threads=2)
sys.exit(os.waitstatus_to_exitcode(status) or not (again[1] == g).all())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_call_after_fork_does_not_hang():
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], timeout=60, check=True, env=os.environ
    )

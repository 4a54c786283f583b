"""What unequal lengths cost: one call over a list against the same data in 16 buckets.

    python bench/lengths.py            # ratios of times, one and two threads
    python bench/lengths.py --memory   # one long sequence among many short ones

Buckets hold sequences of similar length, so that next to nothing would be padded; a user who has to
make them gives up one call, one gradient, one batch. What training keeps of a bucket stays in the
second-level cache, though, and of all sequences it does not: the last line is of equal lengths, for
which unequal ones are not to blame. Times are medians of calls taken in turn. Each case is first
compared with the buckets: outputs bit for bit, gradients to rounding.
"""

import argparse
import subprocess
import sys
from time import perf_counter

import numpy as np

import lstmcore as lc

SEQUENCES, BUCKETS, REPEATS = 1000, 16, 11
I, H, K = 16, 32, 5
READOUTS = ("all", "last", "last_step", "mean", "max")
SHORT, LONG = 4000, (2_000, 10_000, 50_000)  # of 20 steps; one of so many


def lognormal(rng):
    """Lengths of utterances and documents: most some dozens, some several hundred."""
    return np.maximum(1, np.exp(rng.normal(3.5, 0.9, SEQUENCES)).astype(int))


def network(loss, readout, bidirectional, dtype):
    layer = lc.LSTM(I, H, bidirectional=bidirectional)
    return lc.Network([layer, lc.Dense(layer.output_size, K)], loss, readout, dtype, seed=0)


def medians(*calls):
    times = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, taken in zip(calls, times, strict=True):
            begin = perf_counter()
            call()
            taken.append(perf_counter() - begin)
    return [float(np.median(taken)) for taken in times]


def equal(rng):
    """As many steps in sum, nearly."""
    return np.full(SEQUENCES, int(lognormal(rng).mean()))


def case(loss, readout, bidirectional, dtype, n_threads, draw=lognormal):
    """Seconds of predict in buckets and at once, and of the gradient."""
    rng = np.random.default_rng(0)
    lengths = draw(rng)
    net = network(loss, readout, bidirectional, dtype)
    X = [rng.standard_normal((n, I)).astype(dtype) for n in lengths]
    shape = [(n,) for n in lengths] if readout == "all" else [()] * len(X)
    Y = [rng.integers(0, K, s) if loss == "cross_entropy" else rng.random((*s, K)) for s in shape]
    whole = net.prepare(X, Y, reduction="sum")
    buckets = np.array_split(np.argsort(lengths, kind="stable"), BUCKETS)
    inputs = [[X[b] for b in bucket] for bucket in buckets]
    parts = [
        net.prepare(x, [Y[b] for b in bucket], reduction="sum")
        for x, bucket in zip(inputs, buckets, strict=True)
    ]

    def predict():
        return [net.predict(x, n_threads=n_threads) for x in inputs]

    def gradients():
        return [net.evaluate(None, part, n_threads=n_threads)[1] for part in parts]

    outputs = net.predict(X, n_threads=n_threads)
    for bucket, y in zip(buckets, predict(), strict=True):
        assert all((outputs[b] == row).all() for b, row in zip(bucket, y, strict=True)), "outputs"
    g = net.evaluate(None, whole, n_threads=n_threads)[1]
    difference = np.abs(g - sum(gradients())).max() / np.abs(g).max()
    assert difference < (1e-4 if dtype == "float32" else 1e-11), f"gradients: {difference}"
    return medians(
        predict,
        lambda: net.predict(X, n_threads=n_threads),
        gradients,
        lambda: net.evaluate(None, whole, n_threads=n_threads),
    )


def times():
    print(f"LSTM({I}, {H}) and a dense layer, {SEQUENCES} sequences of log-normal lengths")
    print("one call / 16 buckets; the buckets' time in ms")
    print(f"{'':44}{'predict':>16}{'gradient':>16}")
    kinds = [("squared_error", "all"), *(("cross_entropy", readout) for readout in READOUTS)]
    worst = 0.0
    for dtype in ("float32", "float64"):
        for loss, readout in kinds:
            for bidirectional in (False, True):
                for n_threads in (1, 2):
                    cut, one, cut_g, one_g = case(loss, readout, bidirectional, dtype, n_threads)
                    worst = max(worst, one / cut, one_g / cut_g)
                    directions = "two directions" if bidirectional else ""
                    print(
                        f"{dtype} {loss[:5]:5} {readout:9} {directions:14} {n_threads} thr "
                        f"{one / cut:8.2f} {cut * 1e3:7.1f}{one_g / cut_g:8.2f} {cut_g * 1e3:7.1f}"
                    )
    print(f"worst ratio: {worst:.2f}")
    cut, one, cut_g, one_g = case("squared_error", "all", False, "float32", 1, equal)
    print(f"equal lengths, float32 squar all, 1 thr: {one / cut:.2f}, gradient {one_g / cut_g:.2f}")


def memory():
    print(
        f"{SHORT} sequences of 20 steps and one long one, two layers of LSTM({I}) and a dense one"
    )
    print("steps of the long one, readout: MB used by a gradient, MB by docs/architecture.md")
    for longest in LONG:
        for readout in READOUTS:
            command = [sys.executable, __file__, "--case", str(longest), readout]
            subprocess.run(command, check=True)


def memory_case(longest, readout):
    """In a process of its own: the most memory that it has had is what it tells."""
    import resource

    rng = np.random.default_rng(0)
    lengths = [20] * SHORT + [longest]
    X = [rng.standard_normal((n, I)) for n in lengths]
    layers = [lc.LSTM(I, I), lc.LSTM(I, I), lc.Dense(I, 2)]
    net = lc.Network(layers, "cross_entropy", readout, seed=0)
    Y = [np.zeros(n, int) for n in lengths] if readout == "all" else np.zeros(len(X), int)
    examples = net.prepare(X, Y)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.evaluate(None, examples)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    N, B = sum(lengths), len(lengths)
    numbers = 2 * 6 * I * (N + B) + 2 * I * N  # tapes; the layer between, and its delta
    numbers += 2 * N if readout == "all" else I * N if readout != "last" else 0
    print(f"{longest:6} {readout:9} {used:7.0f} {numbers * 8 / 2**20:7.0f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", action="store_true", help="memory in place of times")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        memory_case(int(arguments.case[0]), arguments.case[1])
    elif arguments.memory:
        memory()
    else:
        times()

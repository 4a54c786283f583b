"""Times of a network in ONNX Runtime, as `to_onnx` writes it, beside its own: one thread each.

    python bench/onnx_graph.py

Prints one line for each case: microseconds of lstmcore, of ONNX Runtime, and their ratio. The two
take turns, and the shortest of many calls counts.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time

import numpy as np
import onnxruntime

import lstmcore as lc

INPUTS, OUTPUTS, STEPS, ROUNDS = 32, 10, 100, 7
CASES = [(cell, H, B) for cell in (lc.LSTM, lc.GRU) for H in (32, 128) for B in (1, 16)]


def session_of(net, **options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    data = net.to_onnx(**options)
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def shortest(runs):
    """The shortest call of each, in seconds."""
    best = [np.inf] * len(runs)
    for _ in range(ROUNDS):
        for k, run in enumerate(runs):
            end = time.perf_counter() + 0.1
            while (start := time.perf_counter()) < end:
                run()
                best[k] = min(best[k], time.perf_counter() - start)
    return best


def report(what, runs):
    ours, theirs = (1e6 * seconds for seconds in shortest(runs))
    print(f"{what:42} {ours:9.1f} {theirs:9.1f} {theirs / ours:6.2f}")


def main():
    rng = np.random.default_rng(0)
    print(f"{'':42} {'lstmcore':>9} {'ONNX RT':>9} {'ratio':>6}")
    for cell, H, B in CASES:
        layers = [cell(INPUTS, H), lc.Dense(H, OUTPUTS)]
        net = lc.Network(layers, loss="cross_entropy", readout="mean", dtype="float32", seed=0)
        net = net.frozen()
        X = rng.standard_normal((B, STEPS, INPUTS), dtype=np.float32)
        session = session_of(net)
        np.testing.assert_allclose(session.run(None, {"X": X})[0], net.predict(X), atol=1e-5)
        what = f"{cell.__name__}({INPUTS}, {H}), B={B}, {STEPS} steps"
        report(what, [lambda: net.predict(X), lambda: session.run(None, {"X": X})])  # noqa: B023
    for H in (32, 128):
        net = lc.Network([lc.LSTM(INPUTS, H), lc.Dense(H, OUTPUTS)], dtype="float32", seed=0)
        stream, y = net.stream(), np.empty(OUTPUTS, np.float32)
        x, zeros = rng.standard_normal(INPUTS, dtype=np.float32), np.zeros((1, H), np.float32)
        session, feeds = session_of(net, states=True), {"X": x[None, None], "0.h": zeros}
        feeds["0.c"] = zeros
        runs = [lambda: stream(x, out=y), lambda: session.run(None, feeds)]  # noqa: B023
        report(f"LSTM({INPUTS}, {H}), one step of a stream", runs)


if __name__ == "__main__":
    main()

"""What `checkpoint=` costs and saves on one long sequence.

    python bench/checkpoint.py [--steps 100000] [--units 32] [--dtype float64] [--rounds 7]

Both ways are timed in turn, on one thread, after their gradients were compared bit by bit. Memory
is the workspace that an evaluation takes, beside the data.
"""

import argparse
import statistics
import time

import numpy as np

import lstmcore as lc


def problem(readout, arguments):
    rng = np.random.default_rng(0)
    layers = [lc.LSTM(8, arguments.units), lc.Dense(arguments.units, 1)]
    net = lc.Network(layers, readout=readout, dtype=arguments.dtype, seed=0)
    X = rng.normal(size=(1, arguments.steps, 8))
    Y = rng.normal(size=(1, arguments.steps, 1) if readout == "all" else (1, 1))
    return net, net.prepare(X, Y)


def workspace_bytes(net, examples, checkpoint):
    net.release_memory()
    net.evaluate(None, examples, checkpoint=checkpoint, n_threads=1)
    (workspace,) = net._pool._free
    return workspace.needed * net.dtype.itemsize


def compare(readout, arguments):
    """Print one row of the table."""
    net, examples = problem(readout, arguments)
    ways = (None, True)
    gradients = [net.evaluate(None, examples, checkpoint=way, n_threads=1)[1] for way in ways]
    if gradients[0].tobytes() != gradients[1].tobytes():
        raise SystemExit(f"readout {readout}: the gradients differ")
    seconds = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in ways:
            start = time.perf_counter()
            net.evaluate(None, examples, checkpoint=way, n_threads=1)
            seconds[way].append(time.perf_counter() - start)
    whole, cut = (statistics.median(seconds[way]) for way in ways)
    memory, less = (workspace_bytes(net, examples, way) / 1e6 for way in ways)
    print(
        f"{readout:<8} {1e3 * whole:8.1f} {1e3 * cut:10.1f} {cut / whole:7.2f} "
        f"{memory:10.1f} {less:10.1f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print("readout  whole/ms checkpoint   ratio   whole/MB checkpoint")
    for readout in ("all", "last", "mean"):
        compare(readout, arguments)


if __name__ == "__main__":
    main()

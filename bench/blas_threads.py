"""What BLAS's own threads cost SciPy's L-BFGS-B, with an `Objective` and without one.

    python bench/blas_threads.py [--busy 1] [--rounds 9]

Each row is a plain ``scipy.optimize.minimize``: as it comes, and with BLAS kept to one thread by
``threadpool_limits(1, "blas")``, in turn; beside both `lstmcore.minimize`, which does the latter
itself. Medians, per evaluation. The first rows are of a sum of squares that NumPy computes without
BLAS: what they lose is lost within SciPy, whoever computes the gradients. ``--busy`` starts that
many processes that only count, and ends them.
"""

import argparse
import os
import subprocess
import sys
from contextlib import nullcontext
from statistics import median
from time import perf_counter, sleep

import numpy as np
import scipy.optimize
from threadpoolctl import threadpool_limits

import lstmcore as lc

ITERATIONS = 10
PAUSE = 0.15  # seconds in which the threads of the turn before fall asleep
SQUARES = (1_000, 11_000, 200_000)  # parameters
NETWORKS = ((50, 8), (50, 64), (120, 8), (120, 64), (220, 8), (220, 64))  # units, sequences
STEPS = 50


class Squares:
    """Half the weighted sum of squares of its parameters."""

    def __init__(self, size):
        self.weights = np.linspace(1.0, 100.0, size)
        self.start = np.ones(size)

    def __call__(self, theta):
        gradient = self.weights * theta
        return 0.5 * float((gradient * theta).sum()), gradient


def objective_of(units, sequences):
    rng = np.random.default_rng(0)
    net = lc.Network([lc.LSTM(8, units), lc.Dense(units, 1)], seed=0)
    X = rng.standard_normal((sequences, STEPS, 8))
    return lc.Objective(net, X, rng.standard_normal((sequences, STEPS, 1)))


def plain(function, start, limit):
    """Seconds per evaluation of SciPy's own call."""
    options = {"maxiter": ITERATIONS, "maxfun": 10**6, "ftol": 0, "gtol": 0}
    with threadpool_limits(1, user_api="blas") if limit else nullcontext():
        begin = perf_counter()
        result = scipy.optimize.minimize(
            function, start, jac=True, method="L-BFGS-B", options=options
        )
    return (perf_counter() - begin) / result.nfev


def ours(objective, start):
    """Seconds per evaluation of `lstmcore.minimize`, all that it does besides counted in."""
    begin = perf_counter()
    options = {"ftol": 0, "gtol": 0, "maxiter": ITERATIONS}
    result = lc.minimize(objective, x0=start, options=options)
    return (perf_counter() - begin) / result.nfev


def row(name, function, start, rounds):
    ways = {
        "plain": lambda: plain(function, start, False),
        "one": lambda: plain(function, start, True),
    }
    if isinstance(function, lc.Objective):
        ways["ours"] = lambda: ours(function, start)
    times = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, run in ways.items():
            sleep(PAUSE)
            time = run()
            if turn:  # the first is to warm up
                times[way].append(time)
    middle = {way: 1e3 * median(values) for way, values in times.items()}
    last = f"{middle['ours']:.2f}" if "ours" in middle else ""
    print(
        f"| {name} | {middle['plain']:.2f} | {middle['one']:.2f} | {last} "
        f"| {middle['plain'] / middle['one']:.1f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--busy", type=int, default=0, metavar="N")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    count = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(count) for _ in range(arguments.busy)]
    try:
        print(
            f"{arguments.busy} busy neighbours; load average {os.getloadavg()[0]:.1f} on "
            f"{os.cpu_count()} processors\n\n"
            "| ms per evaluation | as it comes | one BLAS thread | lstmcore.minimize | ratio |\n"
            "| --- | --- | --- | --- | --- |"
        )
        for size in SQUARES:
            squares = Squares(size)
            row(f"squares, P={size}", squares, squares.start, arguments.rounds)
        for units, sequences in NETWORKS:
            objective = objective_of(units, sequences)
            start = objective.net.params.copy()
            row(f"P={start.size} B={sequences}", objective, start, arguments.rounds)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", lc.ConvergenceWarning)
    main()

"""What it costs to keep a run in a file: `checkpoint_path=` of `fit` and `minimize`.

    python bench/resume.py

adam: one writing of the state, to the disk, and what the states of the parts take between two
writings, per step, in CPU time of a run whose steps take next to nothing. L-BFGS-B: the run with
and without a log, and the same call again, which is told everything from the log.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore import _run_file

REPEATS = 7


def problem(inputs, hidden, dtype="float64", sequences=32, steps=50):
    net = lc.Network([lc.LSTM(inputs, hidden), lc.Dense(hidden, 1)], dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((sequences, steps, inputs))
    return lc.Objective(net, X, np.cumsum(X[:, :, :1], axis=1) / 5)


def writings(folder):
    """Milliseconds of each writing of a run with 65,000 parameters, and the file's bytes."""
    taken, write = [], _run_file.write

    def timed(*args):
        began = time.perf_counter()
        write(*args)
        taken.append(1e3 * (time.perf_counter() - began))

    path, objective = folder / "writings", problem(12, 121, "float32")
    _run_file.write = timed
    try:
        options = {"batch_size": 16, "max_epochs": 20, "seed": 0}
        lc.minimize(objective, "adam", **options, checkpoint_path=path, checkpoint_every=0)
    finally:
        _run_file.write = write
    return objective.net.params.size, taken, path.stat().st_size


def per_step(folder):
    """Microseconds of a step without and with a file, medians of CPU time."""
    objective, taken = problem(1, 2, sequences=64, steps=4), ([], [])
    start = objective.net.params.copy()
    for repeat in range(REPEATS):
        for times, options in zip(
            taken, ({}, {"checkpoint_path": folder / f"steps{repeat}"}), strict=True
        ):
            began = time.process_time()
            result = lc.minimize(
                objective, "sgd", x0=start, batch_size=1, max_epochs=60, seed=0, **options
            )
            times.append(1e6 * (time.process_time() - began) / result.nfev)
            objective.net.params = start
    return map(np.median, taken)


def logged(folder):
    """Seconds of L-BFGS-B without a log, with one, told again; evaluations, bytes of the log."""
    objective, path = problem(16, 53), folder / "log"
    start, seconds = objective.net.params.copy(), []
    for options in ({}, {"checkpoint_path": path}, {"checkpoint_path": path}):
        objective.net.params = start
        began = time.perf_counter()
        result = lc.minimize(objective, "L-BFGS-B", max_iter=100, **options)
        seconds.append(time.perf_counter() - began)
    return objective.net.params.size, result.nfev, seconds, path.stat().st_size


def main():
    warnings.simplefilter("ignore", lc.ConvergenceWarning)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size, taken, count = writings(folder)
        print(f"adam, {size} parameters, float32: a writing takes {np.median(taken):.0f} ms, the")
        print(f"  slowest of {len(taken)} {max(taken):.0f} ms; {count / 1e6:.1f} MB")
        without, beside = per_step(folder)
        print(f"  the smallest of steps: {without:.0f} us without a file, {beside:.0f} us with one")
        size, nfev, (plain, kept, again), count = logged(folder)
        print(f"L-BFGS-B, {size} parameters, {nfev} evaluations: {plain:.2f} s without a log,")
        print(f"  {kept:.2f} s with one of {count / 1e6:.1f} MB, told again {again:.2f} s")


if __name__ == "__main__":
    main()

"""Mini-batches at work: embedded Reber strings and the adding problem, by adam and by L-BFGS.

    python bench/batches.py [reber] [adding] [--seeds N]
    python bench/batches.py steps

Embedded Reber (Hochreiter & Schmidhuber 1997, experiment 1; the grammar is that of Cleeremans et
al. 1989): 256 strings to learn from and 256 others; a net has solved it, and the run ends, when at
every step of all 512 the symbols that may come next are the most active ones. Adding (experiment 4
of the same paper): two marked numbers of 100 to 110 are to be added; wrong is an error above 0.04,
on 2,560 fresh sequences. One thread; times are those of the process.

The last line prints what a step costs: the update of 66,251 parameters alone; an epoch's gradients
with batches in random order and of similar lengths; and all of a step of 512 sequences of unequal
lengths in a fit, beside the gradient of its batch.
"""

import argparse
import sys
import time
import timeit
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore._dispatch import kernels
from lstmcore.optimizers._average import Average

sys.path.insert(0, str(Path(__file__).resolve().parent / "learning"))
import adding as sums
import reber as grammar


def reber(seed):
    strings = grammar.distinct_strings(np.random.default_rng(seed), 512)
    tokens = [grammar.tokens(symbols) for symbols in strings]
    X, Y = [t[:-1] for t in tokens], [t[1:] for t in tokens]
    may = np.concatenate([grammar.allowed(follow) for follow in strings.values()])

    def wrong(theta):
        """How many steps there are at which a symbol that may not follow is among the foremost."""
        net.params = theta
        return float(grammar.n_wrong(np.concatenate(net.predict(X)), may))

    runs = {
        "adam": {"batch_size": 8, "max_epochs": 200, "learning_rate": 1e-2, "seed": seed},
        "L-BFGS-B": {"max_iter": 1000},
    }
    for method, options in runs.items():
        layers = [lc.LSTM(7, 12, tokens=True), lc.Dense(12, 7)]
        net = lc.Network(layers, loss="cross_entropy", seed=seed)
        objective = lc.Objective(net, X[:256], Y[:256], n_threads=1)
        result, seconds = timed(objective, method, 1, validation=wrong, **options)
        n_wrong = int(wrong(net.params))
        outcome = f"{n_wrong} of {len(may)} steps wrong" if n_wrong else "solved"
        yield method, outcome, result, seconds


def adding(seed):
    rng = np.random.default_rng(seed)
    X, Y = sums.sequences(rng, 4000, 100)
    X_test, Y_test = sums.sequences(rng, 2560, 100)
    held_out = sums.sequences(rng, 500, 100)
    runs = {
        "adam": {
            "batch_size": 32,
            "max_epochs": 120,
            "learning_rate": 3e-3,
            "clip_norm": 1.0,
            "seed": seed,
        },
        "L-BFGS-B": {"max_iter": 300},
    }
    for method, options in runs.items():
        layers = [lc.LSTM(2, 8, forget_bias=5.0), lc.Dense(8, 1)]
        net = lc.Network(layers, readout="last", seed=seed)
        objective = lc.Objective(net, X, Y, n_threads=1)
        validation = lc.Objective(net, *held_out, n_threads=1)
        result, seconds = timed(objective, method, 1e-5, validation=validation, **options)
        wrong = int((abs(net.predict(X_test)[:, 0] - Y_test) > 0.04).sum())
        yield method, f"{wrong} of {len(Y_test)} wrong", result, seconds


def timed(objective, method, enough=None, **options):
    """A run, which ends where the validation loss is below `enough`, and its seconds."""

    def stop(now):
        if enough is not None and now.validation_loss < enough:
            raise StopIteration

    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        result = lc.minimize(objective, method, callback=stop, **options)
    return result, time.process_time() - began


def steps():
    for dtype in ("float32", "float64"):
        times = ", ".join(f"{name} {microseconds:.1f}" for name, microseconds in updates(dtype))
        print(f"update of 66251 parameters, {dtype}, us: {times}", flush=True)
    for units, longest in ((6, 30), (6, 100), (64, 30), (64, 100)):
        random, similar = similar_lengths(units, longest)
        print(
            f"an epoch's gradients, H={units}, up to {longest} steps, ms: {random:.1f} in random "
            f"order, {similar:.1f} in batches of similar lengths",
            flush=True,
        )
    for units, batch_size in ((6, 1), (6, 32), (64, 32)):
        step, gradient = step_of(units, batch_size)
        print(
            f"a step at H={units} B={batch_size}, us: {step:.0f} in a fit, gradient {gradient:.0f}",
            flush=True,
        )


def updates(dtype):
    """The time of each update, of the norm of a gradient and of noise."""
    rng = np.random.default_rng(0)
    theta, g, m, v = (rng.normal(size=66251).astype(dtype) for _ in range(4))
    v = abs(v)
    yield (
        "adam",
        least_time(lambda: kernels.adam_update(theta, g, m, v, 1.0, 1e-3, 0.9, 0.999, 1.0, 1e-8)),
    )
    yield "sgd", least_time(lambda: kernels.sgd_update(theta, g, m, 1e-3, 0.9, False))
    yield (
        "rmsprop",
        least_time(lambda: kernels.rmsprop_update(theta, g, v, 1.0, 1e-3, 0.9, 1e-8)),
    )
    if dtype == "float64":  # rprop knows no other
        size, step = np.full(theta.size, 1e-2), np.zeros(theta.size)
        yield (
            "rprop",
            least_time(
                lambda: kernels.rprop_update(theta, g, size, step, False, 1.2, 0.5, 0.0, 50.0)
            ),
        )
    average = Average(0.99, theta.size)
    yield "average", least_time(lambda: average.add(theta))
    yield "norm", least_time(lambda: kernels.sum_of_squares(g))
    yield "noise", least_time(lambda: kernels.add_noise(m, theta, 0.1, 1))


def step_of(units, batch_size):
    """The time of a step in a fit by adam in float32, and that of its gradient alone."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 12)) for length in rng.integers(8, 30, 512)]
    net = lc.Network([lc.LSTM(12, units), lc.Dense(units, 9)], dtype="float32", seed=0)
    objective = lc.Objective(net, X, [x[:, :9] for x in X], n_threads=1)
    theta = net.params.copy()
    batches = rng.permutation(512).reshape(-1, batch_size)[:16]
    gradients = least_time(lambda: [objective.on_batch(theta, batch) for batch in batches])
    fits = []
    for _ in range(5):
        result, _ = timed(objective, "adam", batch_size=batch_size, max_epochs=4, seed=0)
        fits.append(1e6 * np.diff(result.history["time"]).sum() / (result.nfev - 1))
    return min(fits), gradients / len(batches)


def similar_lengths(units, longest):
    """Milliseconds of an epoch's gradients: batches in random order, and of similar lengths."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 12)) for length in rng.integers(longest // 5, longest, 512)]
    net = lc.Network([lc.LSTM(12, units), lc.Dense(units, 9)], dtype="float32", seed=0)
    objective = lc.Objective(net, X, [x[:, :9] for x in X], n_threads=1)
    theta, times = net.params.copy(), {"random": [], "similar": []}
    for _ in range(15):
        order = rng.permutation(512)
        similar = order[np.argsort([len(X[k]) for k in order], kind="stable")]
        for name, batches in (("random", order), ("similar", similar)):
            began = time.process_time()
            for batch in batches.reshape(-1, 32):
                objective.on_batch(theta, batch)
            times[name].append(time.process_time() - began)
    return [1e3 * min(seconds) for seconds in times.values()]


def least_time(call):
    """Microseconds."""
    return 1e6 * min(timeit.repeat(call, number=10, repeat=100)) / 10


def main():
    tasks = {"reber": reber, "adding": adding}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="task", help="reber, adding; or steps")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.tasks == ["steps"]:
        return steps()
    if unknown := set(arguments.tasks) - set(tasks):
        parser.error(f"task: expected {' or '.join(tasks)}, got {', '.join(sorted(unknown))}")
    for name in arguments.tasks or tasks:
        for seed in range(arguments.seeds):
            for method, outcome, result, seconds in tasks[name](seed):
                print(
                    f"{name:8} seed {seed}  {method:10} {outcome:26} {seconds:6.1f} s  "
                    f"{result.nit} {'epochs' if method == 'adam' else 'iterations'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""How far from unit scale inputs and targets may be before a fit is spoiled.

    python bench/scales.py

Prints, for each mean and standard deviation of the inputs and of the targets, the median and the
range over seeds of how well three tasks are learned: R^2 of a forecast one step ahead of sums of
sines, R^2 of a linear filter of two inputs, and the fraction right of three frequencies to be told
apart. From these figures are the limits in lstmcore/scaling.py.
"""

import warnings

import numpy as np

import lstmcore as lc

SEEDS = range(6)
UNITS, MAX_ITER = 8, 150
# (mean, standard deviation)
INPUTS = [
    *((0, sd) for sd in (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 3, 10, 20, 30, 50, 100, 1e3)),
    *((mean, 1) for mean in (1, 3, 5, 7, 10, 20, 30, 100)),
    *((1, 0.1), (1, 0.05), (1, 0.01), (2, 0.2), (2, 0.1), (3, 0.3), (3, 0.1), (5, 0.5), (10, 3)),
]
TARGETS = [
    *((0, sd) for sd in (1e-4, 1e-3, 3e-3, 5e-3, 0.01, 0.02, 0.1, 3, 10, 30, 40, 50, 70, 100, 1e3)),
    *((mean, 1) for mean in (3, 10, 30, 50, 100, 200)),
    *((1, 0.02), (10, 0.1), (50, 5), (100, 10), (300, 10)),
]


def forecast(rng):
    t = np.arange(61)
    phase, speed = rng.uniform(0, 6, (12, 1)), rng.uniform(0.2, 0.6, (12, 1))
    s = np.sin(speed * t + phase) + 0.5 * np.sin(2.3 * speed * t)
    s = standard(s + 0.02 * rng.normal(size=(12, 61)))
    return s[:, :-1, None], s[:, 1:, None]


def filtered(rng):
    x = rng.normal(size=(12, 60, 2))
    y = np.zeros((12, 60))
    for t in range(60):
        y[:, t] = 0.7 * y[:, t - 1] + x[:, t, 0] + 0.5 * x[:, t, 1]
    return x, standard(y)[..., None]


def frequencies(rng):
    classes = rng.integers(3, size=30)
    phase = rng.uniform(0, 6, (30, 1))
    x = np.sin((0.25 + 0.2 * classes[:, None]) * np.arange(30) + phase)
    return standard(x + 0.3 * rng.normal(size=(30, 30)))[..., None], classes


def standard(values):
    return (values - values.mean()) / values.std()


def quality(task, seed, inputs, targets):
    """R^2, or the fraction right, on the data that were learned."""
    X, Y = task(np.random.default_rng(100 + seed))
    X = inputs[0] + inputs[1] * X
    classifies = task is frequencies
    if not classifies:
        Y = targets[0] + targets[1] * Y
    net = lc.Network(
        [lc.LSTM(X.shape[-1], UNITS), lc.Dense(UNITS, 3 if classifies else 1)],
        loss="cross_entropy" if classifies else "squared_error",
        readout="last" if classifies else "all",
        seed=seed,
    )
    lc.fit(net, X, Y, max_iter=MAX_ITER, n_threads=1)
    predicted = net.predict(X)
    if classifies:
        return np.mean(predicted.argmax(axis=-1) == Y)
    return 1 - np.mean((predicted - Y) ** 2) / Y.var()


def row(tasks, inputs=(0, 1), targets=(0, 1)):
    cells = []
    for task in tasks:
        q = [quality(task, seed, inputs, targets) for seed in SEEDS]
        cells.append(f"{task.__name__} {np.median(q):.2f} [{min(q):.2f}, {max(q):.2f}]")
    return "  ".join(cells)


def main():
    warnings.simplefilter("ignore")
    print("unit scale:", row((forecast, filtered, frequencies)))
    for mean, sd in INPUTS:
        line = row((forecast, filtered, frequencies), inputs=(mean, sd))
        print(f"inputs of mean {mean}, sd {sd}: {line}", flush=True)
    for mean, sd in TARGETS:
        line = row((forecast, filtered), targets=(mean, sd))
        print(f"targets of mean {mean}, sd {sd}: {line}", flush=True)


if __name__ == "__main__":
    main()

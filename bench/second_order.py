"""What second-order methods come to in some seconds, beside L-BFGS-B and rprop.

    python bench/second_order.py

Objective after the processor time that is named, from the same start, one thread, two seeds. The
table in docs/training.md is from here.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from time import process_time

import numpy as np

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels

SEEDS = (0, 1)
METHODS = ("L-BFGS-B", "rprop", "Newton-CG", "trust-krylov", "least_squares", "hessian-free")
OPTIONS = {"Newton-CG": {"curvature": "gauss_newton"}}


def sine(seed):
    """The sine of a running sum."""
    X = np.random.default_rng(5).normal(size=(40, 60, 1))
    net = lc.Network([lc.LSTM(1, 8), lc.Dense(8, 1)], seed=seed)
    return lc.Objective(net, X, np.sin(0.2 * np.cumsum(X, axis=1)), l2=1e-5, n_threads=1)


def counting(seed):
    """Which symbols may follow in the strings aⁿbⁿcⁿ, n up to 10."""
    strings = [[0] + [1] * n + [2] * n + [3] * n + [4] for n in range(1, 11)]
    X = [np.array(s[:-1]) for s in strings]
    Y = [np.eye(5)[s[1:]] for s in strings]
    for n, y in enumerate(Y, start=1):
        y[1 : n + 1, 1:3] = 1.0
    layers = [lc.LSTM(5, 3, peepholes=True, tokens=True), lc.Dense(3, 5)]
    net = lc.Network(layers, loss="binary_cross_entropy", seed=seed)
    return lc.Objective(net, X, Y, n_threads=1)


def vowels(seed):
    """The speakers of Japanese Vowels."""
    X, y, _, _ = load_japanese_vowels()
    layers = [lc.LSTM(12, 32, bidirectional=True), lc.Dense(64, 9)]
    net = lc.Network(layers, loss="cross_entropy", readout="mean", seed=seed)
    return lc.Objective(net, X, y, l2=1e-3, n_threads=1)


TASKS = ((sine, 4.0), (counting, 2.0), (vowels, 6.0))


def fit(objective, method, seconds):
    """The lowest objective within the time."""
    begin = process_time()

    def stop(_):
        if process_time() - begin > seconds:
            raise StopIteration

    limit = {"max_epochs" if method == "rprop" else "max_iter": 10**6}
    options = OPTIONS.get(method, {})
    return lc.minimize(objective, method, callback=stop, **limit, **options).fun


if __name__ == "__main__":
    warnings.simplefilter("ignore", lc.ConvergenceWarning)
    for make, seconds in TASKS:
        print(f"{make.__doc__} {seconds:g} s")
        for method in METHODS:
            if method == "least_squares" and not make(0).net.passes.is_least_squares:
                continue
            values = [fit(make(seed), method, seconds) for seed in SEEDS]
            print(f"    {method:14}", "  ".join(f"{value:.2e}" for value in values), flush=True)

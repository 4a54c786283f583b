"""Truncated BPTT over the characters of the docs: so many a second, `fit` beside a loop by hand.

    python bench/truncate.py

The loop calls `loss_and_grad` with the state of the stretch before and steps by the same kernel,
so that the parameters have the same bits in the end, which is compared first. What it pays for
beside is a check of every stretch's data. One thread, float32, medians of runs of eight epochs that
are taken in turn.
"""

import warnings
from pathlib import Path
from time import perf_counter

import numpy as np

import lstmcore as lc
from lstmcore._dispatch import kernels

DOCS = Path(__file__).resolve().parents[1] / "docs"
CASES = (
    # units, streams, steps of a stretch
    (128, 32, 64),
    (32, 8, 32),
    (8, 1, 20),
)
ROUNDS, STRETCHES, EPOCHS = 3, 20, 8
RATE = 0.01


def tokens():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")))
    return np.unique(list(text), return_inverse=True)[1]


def network(characters, units):
    layers = [lc.LSTM(characters, units, tokens=True), lc.Dense(units, characters)]
    return lc.Network(layers, "cross_entropy", dtype="float32", seed=0)


def by_fit(net, X, Y, T):
    options = {"truncate": T, "max_epochs": EPOCHS, "learning_rate": RATE, "seed": 0}
    lc.fit(net, X, Y, method="adam", **options, n_threads=1)


def by_hand(net, X, Y, T):
    rng = np.random.default_rng(0)
    m, v, t = np.zeros_like(net.params), np.zeros_like(net.params), 0
    for _ in range(EPOCHS):
        order, state = rng.permutation(len(X)), None
        for t0 in range(0, X.shape[1], T):
            stretch = X[order, t0 : t0 + T], Y[order, t0 : t0 + T]
            _, g, state = net.loss_and_grad(*stretch, state=state, return_state=True, n_threads=1)
            t += 1
            rate, unbias = RATE / (1 - 0.9**t), (1 - 0.999**t) ** -0.5
            kernels.adam_update(net.params, g, m, v, 1.0, rate, 0.9, 0.999, unbias, 1e-8)


def case(units, B, T):
    n = STRETCHES * T
    text = np.resize(tokens(), B * n + 1)
    characters = text.max() + 1
    X, Y = (part.reshape(B, n) for part in (text[:-1], text[1:]))
    ways = [by_fit, by_hand]
    nets = [network(characters, units) for _ in ways]
    for way, net in zip(ways, nets, strict=True):
        way(net, X, Y, T)
    assert (nets[0].params == nets[1].params).all(), "fit and the loop differ"
    times = []
    for _ in range(ROUNDS):
        for way, net in zip(ways, nets, strict=True):
            begin = perf_counter()
            way(net, X, Y, T)
            times.append(perf_counter() - begin)
    fit, loop = EPOCHS * B * n / np.median(np.reshape(times, (ROUNDS, 2)), axis=0)
    name = f"LSTM({characters}, {units}) B={B} T={T}"
    print(f"{name:28} fit {fit:10,.0f} characters/s, by hand {loop:10,.0f}, ratio {fit / loop:.2f}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", lc.ConvergenceWarning)  # so few steps lead nowhere
    for arguments in CASES:
        case(*arguments)

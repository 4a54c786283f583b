"""What a character costs in training, beside PyTorch, and where the time of a step goes.

    python bench/characters.py [--torch]

The models are those of examples/text.py, 65 symbols, float32, one thread, steps of 32 characters of
each sequence. Seconds are those of the process, the best of several turns.
"""

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from time import process_time

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np

import lstmcore as lc
from lstmcore._dispatch import kernels

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from text import MODELS, Settings

SYMBOLS, STRETCH, TURNS = 65, 32, 5


def best(calls):
    """Seconds of each call, which take turns."""
    seconds = []
    for _ in range(TURNS + 1):
        seconds.append([])
        for call in calls:
            begin = process_time()
            call()
            seconds[-1].append(process_time() - begin)
    return np.min(seconds[1:], axis=0)  # the first turn warms up


def speeds(units, batch_size, sides):
    settings = Settings(units, batch_size, STRETCH, 1e-3)
    codes = np.random.default_rng(0).integers(0, SYMBOLS, (64, 4 * STRETCH + 1))
    X, Y = codes[:, :-1], codes[:, 1:]
    models = [MODELS[side](SYMBOLS, settings, 0) for side in sides]
    return X.size / best([lambda m=m: m.learn(X, Y, lambda: 1e-3) for m in models])


def shares(units, batch_size):
    """Seconds of a step's gradient, and of its parts alone: the LSTM, forward, and Adam."""
    rng = np.random.default_rng(0)
    X, Y = rng.integers(0, SYMBOLS, (2, batch_size, STRETCH))
    lstm = lc.LSTM(SYMBOLS, units, tokens=True)
    net = lc.Network([lstm, lc.Dense(units, SYMBOLS)], "cross_entropy", dtype="float32", seed=0)
    alone = lc.Network([lstm], dtype="float32", seed=0)
    examples = net.prepare(X, Y)
    of_alone = alone.prepare(X, np.zeros((batch_size, STRETCH, units), np.float32))
    g, m, v = np.zeros((3, len(net.params)), np.float32)
    parts = (
        lambda: net.evaluate(None, examples),
        lambda: alone.evaluate(None, of_alone),
        lambda: net.evaluate(None, examples, gradient=False),
        lambda: kernels.adam_update(net.params, g, m, v, 1.0, 1e-3, 0.9, 0.999, 1.0, 1e-8),
    )
    return best([lambda part=part: [part() for _ in range(20)] for part in parts]) / 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", action="store_true", help="PyTorch, too")
    sides = ["lstmcore", "torch"] if parser.parse_args().torch else ["lstmcore"]
    print("| units | sequences | a step, ms | LSTM | forward | Adam | GFlop/s |")
    for units, batch_size in product((128, 256, 512), (8, 32)):
        step, lstm, forward, adam = shares(units, batch_size)
        flops = 6 * batch_size * STRETCH * units * (4 * units + SYMBOLS)
        print(
            f"| {units} | {batch_size} | {1e3 * step:.1f} | {lstm / step:.0%} | "
            f"{forward / step:.0%} | {adam / step:.1%} | {flops / step / 1e9:.0f} |"
        )
    print(f"\n| units | sequences | {' | '.join(sides)} | thousand characters a second")
    for units, batch_size in product((128, 256, 512), (4, 8, 32)):
        row = speeds(units, batch_size, sides) / 1e3
        print(f"| {units} | {batch_size} | {' | '.join(f'{speed:.1f}' for speed in row)} |")


if __name__ == "__main__":
    main()

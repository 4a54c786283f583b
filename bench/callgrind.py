"""Count the instructions of a few fixed calls: a slow-down shows however noisy the machine is.

    python bench/callgrind.py --check    compare with callgrind.json; fails on growth above 3 %
    python bench/callgrind.py --update   write callgrind.json

Counts depend on the compiler and a little on Python, so figures are kept for each pair, and a pair
without figures is reported and passes. Valgrind knows no AVX-512: the avx2 build is counted.
"""

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "callgrind.json"
GROWTH = 1.03
ISA = "avx2"
COUNTER = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


def calls():
    """{name: function}; every function is called once to warm up and once to be counted."""
    import numpy as np

    import lstmcore as lc

    rng = np.random.default_rng(0)

    def draw(dtype, *shape):
        return rng.uniform(-0.5, 0.5, shape).astype(dtype)

    def layer(dtype, B, T, I, H, train, p=None, lengths=None):
        x, W, R, b = (draw(dtype, *s) for s in ((B, T, I), (4 * H, I), (4 * H, H), (4 * H,)))
        dy = draw(dtype, B, T, H)

        def run():
            y, _, tape = lc.lstm_forward(x, W, R, b, p, lengths=lengths, save=train, n_threads=1)
            return lc.lstm_backward(dy, tape, n_threads=1) if train else y

        return run

    def gru(dtype, B, T, I, H, train, reset_after=True):
        x, W, R, b = (draw(dtype, *s) for s in ((B, T, I), (3 * H, I), (3 * H, H), (3 * H,)))
        bR = draw(dtype, H) if reset_after else None
        dy = draw(dtype, B, T, H)

        def run():
            y, _, tape = lc.gru_forward(
                x, W, R, b, bR, reset_after=reset_after, save=train, n_threads=1
            )
            return lc.gru_backward(dy, tape, n_threads=1) if train else y

        return run

    def objective(net, B, T):
        X, Y = draw(net.dtype, B, T, net.input_size), draw(net.dtype, B, T, net.output_size)
        return lambda: net.loss_and_grad(X, Y, n_threads=1)

    def steps(layer):
        net = lc.Network([layer, lc.Dense(32, 1)], dtype="float32", seed=0)
        stream, x = net.stream(), np.ones(1, np.float32)

        def run():
            for _ in range(100):
                stream(x)

        return run

    p = draw("float32", 3, 64)
    rnn = lc.Network([lc.RNN(16, 64), lc.Dense(64, 4)], seed=0)
    both = lc.Network([lc.LSTM(16, 32, bidirectional=True), lc.Dense(64, 4)], seed=0)
    return {
        "forward float32 B=1 T=50 I=32 H=64": layer("float32", 1, 50, 32, 64, False),
        "forward float32 B=16 T=20 I=32 H=64": layer("float32", 16, 20, 32, 64, False),
        "forward float64 B=16 T=20 I=32 H=64": layer("float64", 16, 20, 32, 64, False),
        "forward + BPTT float32 B=1 T=50 I=32 H=64": layer("float32", 1, 50, 32, 64, True),
        "forward + BPTT float32 B=16 T=20 I=32 H=64": layer("float32", 16, 20, 32, 64, True),
        "forward + BPTT float64 B=16 T=20 I=32 H=64": layer("float64", 16, 20, 32, 64, True),
        "the same, float32, peepholes, unequal lengths, H not a multiple of the vector": layer(
            "float32", 16, 20, 32, 61, True, p[:, :61].copy(), list(range(1, 17))
        ),
        "objective, simple recurrent network, float64": objective(rnn, 16, 20),
        "objective, bidirectional LSTM, float64": objective(both, 16, 20),
        "100 steps of a stream, float32, I=1 H=32": steps(lc.LSTM(1, 32)),
        "GRU, forward float32 B=1 T=50 I=32 H=64": gru("float32", 1, 50, 32, 64, False),
        "GRU, forward float32 B=16 T=20 I=32 H=64": gru("float32", 16, 20, 32, 64, False),
        "GRU, forward + BPTT float32 B=16 T=20 I=32 H=64": gru("float32", 16, 20, 32, 64, True),
        "GRU, forward + BPTT float64 B=16 T=20 I=32 H=64": gru("float64", 16, 20, 32, 64, True),
        "GRU, the same, float32, reset before the product, H not a multiple of the vector": gru(
            "float32", 16, 20, 32, 61, True, reset_after=False
        ),
        "GRU, 100 steps of a stream, float32, I=1 H=32": steps(lc.GRU(1, 32)),
    }


def count_inside(library):
    """Runs under valgrind: every call's counts go to a dump of its name."""
    import ctypes

    counter = ctypes.CDLL(library)
    for name, run in calls().items():
        run()
        gc.collect()
        gc.disable()
        counter.begin()
        run()
        counter.end(name.encode())
        gc.enable()


def count():
    """{name: instructions} of `calls`."""
    compiler, valgrind = compiler_path(), shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("callgrind.py: valgrind is missing")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "counter.c"), Path(folder, "counter.so")
        source.write_text(COUNTER)
        subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
        fixed = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "LSTMCORE_ISA": ISA}
        done = subprocess.run(
            [
                valgrind,
                "--tool=callgrind",
                "--instr-atstart=no",
                f"--callgrind-out-file={folder}/dump",
                sys.executable,
                __file__,
                "--inside",
                library,
            ],
            env={**os.environ, **fixed, "OPENBLAS_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"callgrind.py: the counted process failed\n{done.stderr}")
        counts = {}
        for dump in sorted(Path(folder).glob("dump.*"), key=lambda path: int(path.suffix[1:])):
            text = dump.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
            if name:
                counts[name[1]] = int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1])
        return counts


def compiler_path():
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit("callgrind.py: a C compiler is missing")
    return compiler


def environment():
    """What the counts depend on: compiler and Python, as in "gcc 12, Python 3.11"."""
    version = subprocess.run(
        [compiler_path(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    name = "clang" if "clang" in version else "gcc"
    major = re.search(r"(\d+)\.\d+\.\d+", version)[1]
    return f"{name} {major}, Python {'.'.join(platform.python_version_tuple()[:2])}"


def compare(counts, figures):
    """Print both; names of those that grew too much, or are missing on either side."""
    bad = sorted(set(counts) ^ set(figures))
    for name, value in counts.items():
        before = figures.get(name)
        change = f"{100 * (value / before - 1):+6.1f} %" if before else "     new"
        print(f"{value:>13,}  {change}  {name}")
        if before and value > GROWTH * before:
            bad.append(name)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true")
    choice.add_argument("--update", action="store_true")
    choice.add_argument("--inside", metavar="LIBRARY", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return count_inside(args.inside)
    where, counts = environment(), count()
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    known = figures.get(where)
    bad = compare(counts, known or {})
    if args.update:
        figures[where] = counts
        FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
        return 0
    if known is None:
        print(f"no figures for {where} in {FIGURES.name}: nothing to compare with")
        return 0
    for name in bad:
        print(f"grew by more than {GROWTH - 1:.0%}, or not in both: {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""lstmcore against itself: variants, awkward shapes, threads, memory, and what an import costs.

Every function yields `row`s for the report; both sides of a ratio take turns in one process.
"""

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cases import FORWARD, TRAIN, Case, problem
from peers import Lstmcore
from timing import sample

MAXIMUM, MINIMUM = "at most", "at least"


def row(what, detail, value, bound, limit):
    """One line of the report: a ratio, and whether it should be at most or at least `limit`."""
    met = value <= limit if bound == MAXIMUM else value >= limit
    return {
        "what": what,
        "detail": detail,
        "value": float(value),
        "wanted": f"{bound} {limit:g}",
        "met": bool(met),
    }


def alternate(runs, effort):
    """Median seconds of each of several functions, which take turns."""
    for _ in range(2):  # the second call may make the room that the first has found wanting
        for run in runs.values():
            run()
    samples = {name: [] for name in runs}
    for _ in range(effort["rounds"]):
        for name, run in runs.items():
            samples[name] += sample(run, effort["seconds"])
    return {name: float(np.median(s)) for name, s in samples.items()}


def layer(case, n_threads=1, **options):
    """A function that does the case's work through the functions of arrays of its cell."""
    import lstmcore as lc

    p = problem(case)
    forward = {"lstm": lc.lstm_forward, "gru": lc.gru_forward}[case.cell]
    backward = {"lstm": lc.lstm_backward, "gru": lc.gru_backward}[case.cell]
    call = {**p.blocks, **options, "n_threads": n_threads}
    if case.work == FORWARD:
        return lambda: forward(p.x, save=False, **call)

    def train():
        tape = forward(p.x, **call)[2]
        return backward(p.dy, tape, n_threads=n_threads)

    return train


def network(case, bidirectional):
    import lstmcore as lc

    p = problem(case)
    layer = lc.LSTM(case.I, case.H, bidirectional=bidirectional)
    net = lc.Network([layer], loss="squared_error", dtype=case.dtype, seed=0)
    if case.work == FORWARD:
        return lambda: net.predict(p.x, n_threads=1)
    targets = np.concatenate([p.dy, p.dy], axis=2) if bidirectional else p.dy
    return lambda: net.loss_and_grad(p.x, targets, n_threads=1)


def variants(effort):
    """Peepholes, two directions and unequal lengths against the plain, padded layer."""
    for work, dtype in effort["kinds"]:
        case = Case(work, dtype, B=64, T=100, I=32, H=64)
        peepholes = np.full((3, case.H), 0.1, dtype)
        lengths = np.linspace(1, case.T, case.B).astype(int)
        runs = {
            "plain": layer(case),
            "peepholes": layer(case, p=peepholes),
            "unequal lengths": layer(case, lengths=lengths),
            "one direction": network(case, False),
            "bidirectional": network(case, True),
        }
        times = alternate(runs, effort)
        for name, base, limit in (
            ("peepholes", "plain", 1.05),
            ("unequal lengths", "plain", 0.6),
            ("bidirectional", "one direction", 2.05),
        ):
            yield row(f"{name} / plain", str(case), times[name] / times[base], MAXIMUM, limit)


def gru(effort):
    """A GRU against an LSTM: the time per FLOP, so that three gates in place of four are 1.

    Small layers may take more, for their cells are as long a chain, whatever the number of gates.
    """
    shapes = ((1, 128), (16, 32), (64, 128))
    for (work, dtype), (B, H) in itertools.product(effort["kinds"], shapes):
        shape = {"B": B, "T": 100, "I": H // 2, "H": H}
        cases = [Case(work, dtype, **shape, cell=cell) for cell in ("gru", "lstm")]
        times = alternate(dict(enumerate(map(layer, cases))), effort)
        value = times[0] / cases[0].flops / (times[1] / cases[1].flops)
        yield row("GRU / LSTM, time per FLOP", str(cases[1]), value, MAXIMUM, 1.15)


AWKWARD = (  # what is awkward, the shape, its friendly neighbour
    ("B = 2, little to share a weight", {"B": 2}, {"B": 1}),
    ("B = 3, less than a tile", {"B": 3}, {"B": 4}),
    ("B = 5, less than a tile", {"B": 5}, {"B": 4}),
    ("B = 7, less than a tile", {"B": 7}, {"B": 8}),
    ("B = 17, one over", {"B": 17}, {"B": 16}),
    ("H = 31, one short of a vector", {"H": 31}, {"H": 32}),
    ("H = 65, one over", {"H": 65}, {"H": 64}),
    ("H = 100, no multiple of a vector", {"H": 100}, {"H": 96}),
    ("H = 3, less than a vector", {"H": 3}, {"H": 4}),
    ("I = 1", {"I": 1}, {"I": 8}),
    ("I = 1000, much more than H", {"I": 1000}, {"I": 128}),
    ("T = 1", {"T": 1, "B": 64}, {"T": 20, "B": 64}),
)


def awkward(effort):
    """No cliffs: the time per FLOP of awkward shapes against that of friendly neighbours."""
    for work, dtype in effort["kinds"]:
        friendly = {"B": 16, "T": 20, "I": 32, "H": 64}
        for what, changes, neighbour in AWKWARD:
            cases = [Case(work, dtype, **{**friendly, **c}) for c in (changes, neighbour)]
            times = alternate(dict(enumerate(map(layer, cases))), effort)
            value = times[0] / cases[0].flops / (times[1] / cases[1].flops)
            yield row("awkward / friendly, time per FLOP", f"{what}: {cases[0]}", value, MAXIMUM, 2)


def growth(effort):
    """Time per FLOP where T, B or H is four times as large."""
    for work, dtype in effort["kinds"]:
        small = {"B": 16, "T": 50, "I": 32, "H": 64}
        for name, limit in (("T", 1.1), ("B", 1.1), ("H", 1.25)):
            large = {**small, name: 4 * small[name]}
            cases = [Case(work, dtype, **s) for s in (large, small)]
            times = alternate(dict(enumerate(map(layer, cases))), effort)
            value = times[0] / cases[0].flops / (times[1] / cases[1].flops)
            yield row(f"4 {name} / {name}, time per FLOP", str(cases[1]), value, MAXIMUM, limit)


def two_threads(effort):
    shapes = ((16, 128), (64, 128), (256, 32), (64, 512))
    for (work, dtype), (B, H) in itertools.product(effort["kinds"], shapes[: effort["shapes"]]):
        case = Case(work, dtype, B, 50, H // 2, H)
        times = alternate({n: layer(case, n_threads=n) for n in (1, 2)}, effort)
        yield row("one thread / two threads", str(case), times[1] / times[2], MINIMUM, 1.8)


SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def busy_neighbour(effort):
    """Small work with the choice of threads left to lstmcore, a spinning process on one core."""
    import lstmcore as lc

    small = Case(TRAIN, "float64", B=8, T=20, I=8, H=16)
    net = lc.Network([lc.LSTM(1, 32), lc.Dense(32, 1)], dtype="float32", seed=0)
    stream, x = net.stream(), np.ones(1, np.float32)
    works = {
        "one step, float32, H=32": lambda: stream(x),
        str(Case(FORWARD, "float32", 1, 100, 16, 32)): layer(
            Case(FORWARD, "float32", 1, 100, 16, 32), n_threads=None
        ),
        str(small): layer(small, n_threads=None),
    }
    core = min(os.sched_getaffinity(0))
    spinner = subprocess.Popen([sys.executable, "-c", SPIN, str(core)])
    try:
        for name, run in works.items():
            samples = {True: [], False: []}
            for busy in [False, True] * effort["rounds"]:
                spinner.send_signal(signal.SIGCONT if busy else signal.SIGSTOP)
                time.sleep(0.02)
                samples[busy] += each_call(run, effort["seconds"])
            spinner.send_signal(signal.SIGCONT)
            value = np.median(samples[True]) / np.median(samples[False])
            yield row("beside a busy process / alone", f"{name}, median", value, MAXIMUM, 1.3)
            slow = np.percentile(samples[True], 99.9) * 1e3
            yield row("beside a busy process, ms", f"{name}, 99.9 % of calls", slow, MAXIMUM, 1)
    finally:
        spinner.kill()
        spinner.wait()


def each_call(run, seconds):
    run()
    samples, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples


MEMORY = """
import sys
import numpy as np
import lstmcore as lc

def status(name):
    with open("/proc/self/status") as lines:
        return next(1024 * int(l.split()[1]) for l in lines if l.startswith(name))

dtype, B, T, I, H = sys.argv[1], *map(int, sys.argv[2:])
net = lc.Network([lc.LSTM(I, H)], loss="squared_error", dtype=dtype, seed=0)
X, Y = np.ones((B, T, I), dtype), np.ones((B, T, H), dtype)
examples = net.prepare(X, Y)
net.loss_and_grad(X[:, :2], Y[:, :2], n_threads=1)
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")
before = status("VmRSS")
net.evaluate(None, examples, n_threads=1)
print(status("VmHWM") - before)
"""


def memory(effort):
    """Peak memory of an evaluation, as in training, against the saved i, f, g, o, c and h(c)."""
    if not os.path.exists("/proc/self/clear_refs"):
        return
    for dtype, B, T, I, H in (("float32", 64, 200, 32, 64), ("float64", 16, 200, 64, 128)):
        arguments = [str(v) for v in (dtype, B, T, I, H)]
        peak = int(subprocess.check_output([sys.executable, "-c", MEMORY, *arguments]))
        bytes_each = np.dtype(dtype).itemsize
        value = peak / (6 * H * B * T * bytes_each)
        detail = f"B={B} T={T} I={I} H={H}, against 6·H·B·T values of {bytes_each} bytes"
        yield row("peak memory of training / saved activations", detail, value, MAXIMUM, 1.25)


IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def imports(effort):
    """`import lstmcore` against `import numpy`, each in fresh interpreters that take turns."""
    times = {"numpy": [], "lstmcore": []}
    for _ in range(3 * effort["rounds"]):
        for name, samples in times.items():
            command = [sys.executable, "-c", IMPORT.format(name)]
            samples.append(float(subprocess.check_output(command)))
    value = np.median(times["lstmcore"]) / np.median(times["numpy"])
    yield row("import lstmcore / import numpy", "fresh interpreters", value, MAXIMUM, 1.3)


# One step of RTNeural's C++ templates with their best back end, µs on an AMD Zen 3 core (AVX2): it
# cannot be installed from a package registry, so this is the one figure that no run takes itself.
RTNEURAL = {8: 0.05, 16: 0.10, 32: 0.23, 64: 0.90, 128: 3.5}
LOOP = """
#include "lstm.c"
float lstm_loop(long n) {
    static lstm_state state;
    float x = 0.5f, y = 0.0f;
    lstm_reset(&state);
    for (long k = 0; k < n; k++) lstm_step(&state, &x, &y);
    return y;
}
"""


def step_from_c(effort):
    """The exported C of one LSTM layer and a linear one, one input, one output."""
    import lstmcore as lc

    compiler = shutil.which("cc")
    if compiler is None:
        return
    for H, given in RTNEURAL.items():
        net = lc.Network([lc.LSTM(1, H), lc.Dense(H, 1)], dtype="float32", seed=0)
        with tempfile.TemporaryDirectory() as folder:
            lc.export_c(net, folder, name="lstm")
            source, library = Path(folder, "loop.c"), Path(folder, "loop.so")
            source.write_text(LOOP)
            flags = ["-O3", "-march=native", "-shared", "-fPIC"]
            subprocess.run([compiler, *flags, source, "-lm", "-o", library], check=True)
            loop = ctypes.CDLL(str(library)).lstm_loop
        loop.argtypes, loop.restype = [ctypes.c_long], ctypes.c_float
        steps = 1000
        seconds = alternate({"step": lambda: loop(steps)}, effort)["step"] / steps  # noqa: B023
        value = 1e6 * seconds / given
        detail = f"H={H}: {1e6 * seconds:.3g} µs, RTNeural {given} µs on another machine"
        yield row("one step from C / RTNeural", detail, value, MAXIMUM, 1)


class Bench(Lstmcore):
    """The process in which the functions above run."""

    name = "lstmcore alone"

    def rows(self, function, effort):
        return list(globals()[function](effort))


ONE_THREAD = ("variants", "gru", "awkward", "growth", "memory", "imports", "step_from_c")
TWO_THREADS = ("two_threads", "busy_neighbour")

"""One time step, B = 1: from C through the table of functions, and from Python through `stream`.

    python bench/step.py [float32 | float64] [rounds]

The network is an LSTM or a GRU with one input and a dense layer with one output. Its steps are
compared with `predict`, to the bit, and with a loop in NumPy before anything is timed. All ways of
both cells take turns, each round; what is shown is the least CPU time of a step in any round,
because neighbours on a machine only ever add.
"""

import ctypes
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np

import lstmcore as lc

SIZES = (8, 16, 32, 64, 128)
# RTNeural's best back end on one core of an AMD Zen 3, float32: what C is held against.
RTNEURAL = {8: 0.05, 16: 0.10, 32: 0.23, 64: 0.90, 128: 3.5}
STEPS, BLOCK = 2048, 64


def build():
    """bench/step.c as a library."""
    library = Path(tempfile.mkdtemp(), "step.so")
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    source = Path(__file__).with_suffix(".c")
    command = ["-std=c99", "-O2", "-shared", "-fPIC", f"-I{lc.get_include()}", str(source)]
    subprocess.run([*compiler, *command, "-o", str(library)], check=True)
    library = ctypes.CDLL(str(library))
    library.time_steps.restype = ctypes.c_double
    return library


def address(capsule, name):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_void_p(get(capsule, name))


def from_c(library, stream, x, y, block):
    """A function that gives the seconds of a step in calls of `block` steps; x may be tokens."""
    table = address(lc._C_API, b"lstmcore._C_API")
    sizes = [ctypes.c_ssize_t(a.strides[0]) for a in (x, y)]

    def measure():
        chain = address(stream.capsule, b"lstmcore.chain")
        inputs, outputs = (ctypes.c_void_p(a.ctypes.data) for a in (x, y))
        data = (inputs, None) if x.ndim == 2 else (None, inputs)
        return library.time_steps(table, chain, len(x), block, 1, *sizes, *data, outputs)

    return measure


def from_python(call, *arguments):
    """A function that gives the seconds of a call."""

    def measure():
        start = time.thread_time()
        for _ in range(STEPS):
            call(*arguments)
        return (time.thread_time() - start) / STEPS

    return measure


def check(net, x, y):
    """Outputs against `predict`, and against the equations in NumPy and float64."""
    assert (net.predict(x[None])[0] == y).all(), "steps and sequence differ"
    blocks = {name: block.astype(float) for name, block in net.blocks.items()}
    W, R, b, V, d = (blocks[name] for name in ("0.W", "0.R", "0.b", "1.W", "1.b"))
    h = c = np.zeros(net.layers[0].hidden_size)
    for t in range(200):
        if "0.bR" in blocks:
            r, z, n = np.split(W @ x[t] + b, 3)
            R_r, R_z, R_n = np.split(R @ h, 3)
            n = np.tanh(n + (R_n + blocks["0.bR"]) / (1 + np.exp(-r - R_r)))
            h = n + (h - n) / (1 + np.exp(-z - R_z))
        else:
            i, f, g, o = np.split(W @ x[t] + R @ h + b, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
        assert np.allclose(V @ h + d, y[t], atol=2e-6), f"wrong output at step {t}"


def ways_of(library, layer, dtype):
    """Functions that give the seconds of a step, checked: C, C in blocks, Python twice."""
    net = lc.Network([layer, lc.Dense(layer.hidden_size, 1)], dtype=dtype, seed=0)
    if "0.bR" in net.blocks:
        net.blocks["0.bR"][...] = 0.1
    x = np.random.default_rng(0).normal(size=(STEPS, 1)).astype(dtype)
    y = np.empty((STEPS, 1), dtype)
    stream, in_blocks = net.stream(), net.stream()
    ways = [
        from_c(library, stream, x, y, 1),
        from_c(library, in_blocks, x, y, BLOCK),
        from_python(stream, x[0], y[0]),
        from_python(stream, x[0]),
    ]
    for way in ways[:2]:
        y[...] = 0
        way()
        check(net, x, y)
    return ways


def main():
    dtype = np.dtype(sys.argv[1] if len(sys.argv) > 1 else "float32")
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    library = build()
    lc.show_config()
    print(f"\nmicroseconds a step: {dtype}, a layer (1, H) and Dense(H, 1), B = 1")
    names = ("C", f"C, {BLOCK} a call", "Python, out=", "Python", "RTNeural")
    print("| layer | H |" + " | ".join(f"{name:>13}" for name in names) + " |")
    print("| --- | --- |" + " --- |" * len(names))
    for H in SIZES:
        ways = [way for cell in (lc.LSTM, lc.GRU) for way in ways_of(library, cell(1, H), dtype)]
        best = np.min([[way() for way in ways] for _ in range(rounds)], axis=0)
        for name, seconds in zip(("LSTM", "GRU"), np.split(best, 2), strict=True):
            cells = [f"{1e6 * s:13.3f}" for s in seconds]
            known = name == "LSTM" and dtype == np.float32
            cells.append(f"{RTNEURAL[H]:13}" if known else " " * 13)
            print(f"| {name} | {H} |" + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""The C-level API: code outside lstmcore, built against what the package ships, computes what
Python computes, to the bit.
"""

import ctypes
import gc
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import weakref
from pathlib import Path

import numpy as np
import pytest
from helpers import same_bits

import lstmcore as lc

SOURCES = Path(__file__).parent / "c_api"
CC = (sysconfig.get_config_var("CC") or "").split()
STRICT = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]

SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize
import lstmcore
extensions = [Extension(name, [source]) for name, source in
              [("outside", "outside.pyx"), ("extension", "extension.c")]]
for extension in extensions:
    extension.include_dirs = [lstmcore.get_include()]
setup(name="outside", ext_modules=cythonize(extensions))
"""

pytestmark = pytest.mark.skipif(
    not CC or shutil.which(CC[0]) is None or sys.platform == "win32", reason="no C compiler"
)


def run(command, folder):
    env = os.environ | {"PYTHONPATH": str(Path(lc.__file__).parents[1]), "CFLAGS": "-O0"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the outside modules, on the path while the tests of this file run."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("outside")
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    (folder / "setup.py").write_text(SETUP)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def outside(built):
    return importlib.import_module("outside")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    library = tmp_path_factory.mktemp("plain") / "plain.so"
    command = [*CC, "-std=c99", *STRICT, "-shared", "-fPIC", f"-I{lc.get_include()}"]
    run([*command, str(SOURCES / "plain.c"), "-o", str(library)], library.parent)
    return ctypes.CDLL(str(library))


def table():
    """The address of the table, as docs/c_api.md says to get it."""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_void_p(address(lc._C_API, b"lstmcore._C_API"))


def pointer(array):
    assert array.flags.carray
    return ctypes.c_void_p(array.ctypes.data)


# ----------------------------------------------------------------------------- cimport lstmcore


def test_cimport_gives_the_build_that_python_uses(outside):
    assert outside.isa() == importlib.import_module("lstmcore._dispatch").ISA


@pytest.mark.parametrize("n_threads", [1, 3])
def test_forward_and_backward_without_the_gil_give_the_bits_of_python(outside, n_threads):
    rng = np.random.default_rng(0)
    B, T, I, H = 5, 7, 3, 17
    W, R = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H))
    b, p = rng.normal(size=4 * H), rng.normal(size=(3, H))
    x, dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
    lengths = np.array([2, 7, 0, 5, 7])
    order = np.argsort(-lengths, kind="stable")
    dy[np.arange(T) >= lengths[:, None]] = 0
    got = outside.forward_and_backward(
        W, R, b, p, x, order.astype(np.intp), lengths[order].astype(np.intp), dy, n_threads
    )
    y, _, tape = lc.lstm_forward(x, W, R, b, p, lengths=lengths)
    wanted = lc.lstm_backward(dy, tape)
    for mine, theirs in zip(got, (y, *(wanted[name] for name in "xWRbp")), strict=True):
        same_bits(mine, theirs)

    # The same sequences without padding, and not in their order.
    begins = (lengths.sum() - np.cumsum(lengths)).astype(np.intp)
    rows = np.concatenate([np.arange(b * T, b * T + lengths[b]) for b in reversed(range(B))])
    x, y, dy = (array.reshape(B * T, -1)[rows] for array in (x, y, dy))
    ranks = order.astype(np.intp), lengths[order].astype(np.intp)
    got = outside.forward_and_backward(
        W, R, b, p, x[None], *ranks, dy[None], n_threads, begins[order]
    )
    wanted["x"] = wanted["x"].reshape(B * T, I)[rows]
    for mine, theirs in zip(got, (y, *(wanted[name] for name in "xWRbp")), strict=True):
        same_bits(mine.reshape(theirs.shape), theirs)


@pytest.mark.parametrize("B", [1, 4], ids=["one sequence", "by tiles"])
def test_steps_of_a_layer_give_the_bits_of_a_sequence(outside, B):
    rng = np.random.default_rng(1)
    T, I, H = 6, 2, 21
    W, R, b, x, h, c = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((4 * H, I), (4 * H, H), (4 * H,), (B, T, I), (B, H), (B, H))
    )
    wanted, (hT, cT), _ = lc.lstm_forward(x, W, R, b, h0=h, c0=c)
    got = outside.steps(W, R, b, np.ascontiguousarray(x.swapaxes(0, 1)), h, c)
    same_bits(np.ascontiguousarray(got.swapaxes(0, 1)), wanted)
    same_bits(h, hT)
    same_bits(c, cT)


@pytest.mark.parametrize("B", [1, 4], ids=["one sequence", "by tiles"])
def test_steps_of_a_gru_give_the_bits_of_a_sequence(outside, B):
    rng = np.random.default_rng(2)
    T, I, H = 6, 2, 21
    W, R, b, x, h = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((3 * H, I), (3 * H, H), (3 * H,), (B, T, I), (B, H))
    )
    wanted, hT, _ = lc.gru_forward(x, W, R, b, h0=h)
    got = outside.steps(W, R, b, np.ascontiguousarray(x.swapaxes(0, 1)), h, None)
    same_bits(np.ascontiguousarray(got.swapaxes(0, 1)), wanted)
    same_bits(h, hT)


def test_a_description_of_an_earlier_version_is_read_as_far_as_it_goes(outside):
    size = outside.check_sizes()  # of the struct, and up to its last member
    assert outside.check(size=size[1]) is None
    assert outside.check(size=size[1], output_peephole=7) is None  # lies behind what counts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"peepholes": 1, "coupled": 1, "forget_gate": 0, "block_size": 2}, None),
        ({"peepholes": 1, "output_peephole": 1}, None),
        ({"peepholes": 1, "output_peephole": 2, "coupled": 1, "forget_gate": 0}, None),
        ({"peepholes": 1, "output_peephole": 3}, "output_peephole"),
        ({"peepholes": 1, "output_peephole": -1}, "output_peephole"),
        ({"output_peephole": 1}, "output_peephole"),
        ({"peepholes": 1, "output_peephole": 1, "output_gate": 0}, "output_peephole"),
        (
            {"peepholes": 1, "output_peephole": 2, "input_gate": 0, "forget_gate": 0},
            "output_peephole",
        ),
        ({"kind": 4}, "kind"),
        ({"kind": -1}, "kind"),
        ({"kind": 3}, "options"),
        ({"reset_after": 1}, "options"),
        ({"size": 0}, "size"),
        ({"size": 1 << 20}, "size"),
        ({"inputs": 0}, "inputs, units"),
        ({"units": 1 << 40}, "inputs, units"),
        ({"block_size": 3}, "block_size"),
        ({"output_gate": 2}, "options"),
        ({"kind": 1}, "options"),
        ({"coupled": 1}, "coupled"),
        ({"input_gate": 0, "forget_gate": 0, "output_gate": 0, "peepholes": 1}, "peepholes"),
        ({"act_gate": 14}, "activation"),
        ({"act_cell": 8, "alpha_cell": -1.0}, "alpha"),
        ({"act_output": 10, "alpha_output": float("nan")}, "alpha"),
    ],
)
def test_what_no_layer_can_be_is_said(outside, changes, words):
    answer = outside.check(**changes)
    assert answer is None if words is None else answer.startswith(words)


# ------------------------------------------------------------------------- capsule and plain C


def network(H=24, dtype="float32"):
    net = lc.Network([lc.LSTM(1, H), lc.Dense(H, 3)], loss="cross_entropy", dtype=dtype, seed=0)
    net.params[...] = np.random.default_rng(0).normal(size=net.params.size)
    return net


def test_a_c_extension_steps_a_stream_without_the_gil(built):
    extension = importlib.import_module("extension")
    net = network()
    x = np.random.default_rng(1).normal(size=(9, 1)).astype(np.float32)
    y = np.empty((9, 3), np.float32)
    stream = net.stream()
    extension.run(stream.capsule, 5, x[:5], y[:5])
    y[5] = stream(x[5])  # the state is one and the same
    extension.run(stream.capsule, 3, x[6:], y[6:])
    same_bits(y, net.predict(x[None])[0])
    with pytest.raises(ValueError, match="PyCapsule"):
        extension.run(lc._C_API, 5, x[:5], y[:5])


def test_a_library_without_python_makes_and_runs_a_network(plain):
    net = network()
    x = np.random.default_rng(1).normal(size=(8, 1)).astype(np.float32)
    y = np.empty((8, 3), np.float32)
    blocks = [net.blocks[name] for name in ("0.W", "0.R", "0.b", "1.W", "1.b")]
    size = ctypes.c_ssize_t
    status = plain.run_network(
        table(), size(24), size(3), *map(pointer, blocks), size(8), pointer(x), pointer(y)
    )
    assert status == 0
    same_bits(y, net.predict(x[None])[0])


@pytest.mark.parametrize(
    ("abi", "api", "accepted"), [(1, 1, 1), (1, 2, 1), (2, 1, 0), (1, 0, 0), (0, 1, 0)]
)
def test_a_table_of_another_version_is_told(plain, abi, api, accepted):
    start = (ctypes.c_int * 2)(abi, api)  # with which a table begins, in all versions
    assert plain.compatible(start) == accepted


def test_the_header_is_clean_as_c_and_as_cpp(tmp_path):
    for compiler, standard in (("gcc", "c99"), ("g++", "c++11"), ("clang", "c99")):
        if shutil.which(compiler) is None:
            continue
        suffix = "cpp" if compiler == "g++" else "c"
        source = tmp_path / f"header.{suffix}"
        source.write_text('#include "lstmcore.h"\nint main(void) { return 0; }\n')
        command = [compiler, f"-std={standard}", *STRICT, "-Wno-unused-function", "-fsyntax-only"]
        run([*command, f"-I{lc.get_include()}", str(source)], tmp_path)


def test_a_capsule_keeps_its_stream_alive():
    net = network()
    stream = net.stream()
    seen, capsule = weakref.ref(stream), stream.capsule
    del stream
    gc.collect()
    assert seen() is not None
    del capsule
    gc.collect()
    assert seen() is None

"""A process made by fork never waits for threads that stayed in its parent, whoever started them.

OpenMP's threads do not survive a fork, and its runtime waits for them for ever. Here the parent has
used the runtime through another library, and the child is the first to import the package.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import lstmcore as lc
from lstmcore import _dispatch

CC = (sysconfig.get_config_var("CC") or "cc").split()

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux's /proc")

LIBRARY = """
#include <omp.h>
int threads(void)
{
    int n = 0;
#pragma omp parallel num_threads(4) reduction(+:n)
    n += 1;
    return n;
}
"""

# What a child does: its threads, and a product large enough for all threads there are.
WORK = """
import os, signal, sys, time
import numpy as np

def work(n_threads=4):
    signal.alarm(60)  # ends a process that waits for ever
    import lstmcore as lc
    net = lc.Network([lc.LSTM(64, 128), lc.Dense(128, 2)], seed=0)
    y = net.predict(np.ones((32, 50, 64)), n_threads=n_threads)
    net.predict(np.ones((32, 50, 64)))
    assert np.array_equal(y, net.predict(np.ones((32, 50, 64)), n_threads=1))
    return lc.get_num_threads()

def in_a_child(call, expected):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = call() != expected
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        os._exit(code)
    return expected
"""

LOCAL = WORK + "import ctypes; ctypes.CDLL(sys.argv[1]).threads()\n"

ORPHAN = """
end, of = os.pipe()
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        os.write(of, b"%d" % work())
    os._exit(0)
os.wait()
os.close(of)
assert os.read(end, 9) == b"1"
"""

POOL = """
if __name__ == "__main__":
    import ctypes, multiprocessing
    ctypes.CDLL(sys.argv[1]).threads()
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print(*pool.map(work, [4, 4]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library that has nothing to do with the package and shares GCC's OpenMP runtime."""
    if shutil.which(CC[0]) is None or not _dispatch.kernels.OPENMP:
        pytest.skip("no C compiler, or no OpenMP")
    source = tmp_path_factory.mktemp("openmp") / "outside.c"
    source.write_text(LIBRARY)
    output = source.with_suffix(".so")
    command = [*CC, "-O1", "-fopenmp", "-shared", "-fPIC", str(source), "-o", str(output)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("the C compiler has no OpenMP")
    return output


def run(program, *arguments):
    """Run a program or a file; it fails by its exit code or its time. Give what it printed."""
    script = [str(program)] if isinstance(program, Path) else ["-c", program]
    command = [sys.executable, "-W", "ignore", *script, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    return subprocess.run(
        command, timeout=120, check=True, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def test_a_child_whose_parent_has_used_openmp_imports_the_package_first(library):
    run(LOCAL + "in_a_child(work, 1)", library)


def test_so_does_a_grandchild(library):
    run(LOCAL + "in_a_child(lambda: in_a_child(work, 1), 1)", library)


def test_so_does_a_child_whose_parent_has_ended(library):
    run(LOCAL + ORPHAN, library)


def test_a_child_of_a_child_that_has_used_its_own_threads(library):
    run(WORK + "in_a_child(lambda: work() - 4 + in_a_child(work, 1), 1)", library)


def test_the_note_says_why_there_is_one_thread(library):
    show = "import lstmcore as lc; lc.show_config(); sys.stdout.flush(); work()"
    program = LOCAL + f"in_a_child(lambda: exec({show!r}, globals()), None)"
    assert "at most 1 (made by fork: " in run(program, library)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(method, library, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(WORK + POOL)
    threads = "1 1" if method == "fork" else "4 4"
    assert run(script, library, method) == f"{threads}\n"


def test_scikit_learn_in_the_parent():
    pytest.importorskip("sklearn")
    run(
        WORK
        + """
from sklearn.cluster import KMeans
KMeans(2, n_init=1).fit(np.random.default_rng(0).normal(size=(5000, 4)))
in_a_child(lambda: work() and 0, 0)
"""
    )


def test_a_data_loader_of_torch():
    pytest.importorskip("torch")
    run(
        WORK
        + """
import torch
torch.set_num_threads(4)
torch.exp(torch.randn(2000000)).sum()
class Data(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, k): return work()
loader = torch.utils.data.DataLoader(
    Data(), num_workers=2, timeout=60, multiprocessing_context="fork"
)
for threads in loader: print(threads)
"""
    )


def test_threads_are_kept_where_there_was_no_fork_or_no_openmp_before_it(library):
    run(WORK + "assert work() == 4")
    run(LOCAL + "assert work() == 4", library)
    run(WORK + "in_a_child(work, 4)")
    assert not _dispatch._forked and lc.get_num_threads() >= 1

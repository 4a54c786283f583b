"""How many threads a call gets where the system allows few, or has few left."""

import io
import os
import subprocess
import sys
import threading

import pytest

from lstmcore import _dispatch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's limits")

# The user of this process may have so many more tasks; root, whom nothing limits, becomes another.
PROGRAM = """
import os, resource, sys
import numpy as np
import lstmcore as lc
from lstmcore import _dispatch
net = lc.Network([lc.LSTM(64, 256), lc.Dense(256, 2)], seed=0)
X = np.ones((32, 50, 64))
expected = net.predict(X, n_threads=1)
if os.getuid() == 0:
    os.setuid(65534)
most = _dispatch._tasks_of(os.getuid()) + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
for n_threads in (None, 4):
    assert np.array_equal(net.predict(X, n_threads=n_threads), expected)
print(lc.get_num_threads())
"""


@pytest.mark.skipif(not _dispatch.kernels.OPENMP, reason="no OpenMP, no threads")
@pytest.mark.parametrize("room, most", [(0, 1), (3, 2), (1000, 4)])
def test_a_limit_on_the_users_threads_leaves_the_process_alive(room, most):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(room)],
        env={**os.environ, "OMP_NUM_THREADS": "4"},
        timeout=60,
        check=True,
        stdout=subprocess.PIPE,
    )
    # Other processes of the user may end meanwhile; root's user for this has none.
    assert int(done.stdout) == most or os.getuid()


@pytest.mark.parametrize(
    "files, threads",
    [
        ({"cgroup": "0::/\n"}, 1024),
        ({"cgroup": "0::/\n", "/sys/fs/cgroup///pids": (20, 10)}, 6),
        ({"cgroup": "0::/a/b\n", "/sys/fs/cgroup//a/b/pids": ("max", 10)}, 1024),
        ({"cgroup": "0::/a/b\n", "/sys/fs/cgroup//a/pids": (9, 9)}, 1),
        ({"cgroup": "0::/\n7:pids:/a\n", "/sys/fs/cgroup/pids//a/pids": (13, 10)}, 2),
    ],
    ids=["none", "of a container", "max", "of a group above", "version 1"],
)
def test_control_groups_limit_threads(files, threads, monkeypatch):
    def read(path):
        if path == "/proc/self/cgroup":
            return io.StringIO(files["cgroup"])
        stem, _, which = path.rpartition(".")
        if stem not in files:
            raise FileNotFoundError(path)
        return io.StringIO(f"{files[stem][which == 'current']}\n")

    monkeypatch.setattr(_dispatch, "open", read, raising=False)
    monkeypatch.setattr(_dispatch, "_tasks_of", lambda user: 0)
    monkeypatch.setattr(_dispatch, "_this_thread", threading.local())
    assert _dispatch._at_most(1024) == threads

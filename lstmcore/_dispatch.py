"""The build of the kernels for this processor, and how many threads a call gets."""

import importlib
import importlib.util
import os
import platform
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import PurePosixPath

import numpy as np

__all__ = ["get_num_threads", "kernels", "set_num_threads", "show_config"]

# Builds of _kernels.pyx, the best first, with the processor features each is compiled for
# (NumPy's names: AVX512_SKX stands for F, CD, BW, DQ and VL, which is x86-64-v4).
_BUILDS = {
    "avx512": ("AVX512_SKX",),
    "avx2": ("AVX2", "FMA3"),
    "neon": ("ASIMD",),
    "portable": (),
}

_MOST_THREADS = 1024

# A limit on a user's tasks from here on is not looked at: counting them takes a look at each.
_MANY_TASKS = 10_000

# One more thread for each so many bytes of numbers multiplied and added, 0.2 milliseconds and more:
# waking a thread costs some 10 microseconds, a busy neighbour on its core milliseconds.
_WORK_PER_THREAD = 64_000_000

# How OpenMP's threads wait for the next call where nobody has said otherwise: GCC's look so often,
# some 30 microseconds, others not at all; then they sleep. Left to themselves those of GCC spin for
# milliseconds, and beside a busy process a call of 1.6 ms took 125. Threads that sleep at once are
# woken for every layer of a network, on some machines all on one core: see docs/performance.md.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


def _features():
    """The features of this processor that NumPy found: asked, never tried."""
    return np._core._multiarray_umath.__cpu_features__


def _load():
    """The kernels named by LSTMCORE_ISA, else the best build this processor can run."""
    features = _features()
    wanted = os.environ.get("LSTMCORE_ISA")
    if wanted is not None:
        if wanted not in _BUILDS:
            raise ImportError(f"LSTMCORE_ISA: expected one of {list(_BUILDS)}, got {wanted!r}")
        lacking = [name for name in _BUILDS[wanted] if not features.get(name)]
        if lacking:
            raise ImportError(f"LSTMCORE_ISA={wanted}: this processor lacks {', '.join(lacking)}")
        return wanted, importlib.import_module(f"lstmcore._kernels_{wanted}")
    for name, needs in _BUILDS.items():
        if all(features.get(feature) for feature in needs):
            try:
                return name, importlib.import_module(f"lstmcore._kernels_{name}")
            except ModuleNotFoundError as error:
                if error.name != f"lstmcore._kernels_{name}":
                    raise
    raise ImportError(
        "lstmcore: no build of the kernels is installed that this processor can run; "
        "install from source with: pip install --no-binary lstmcore lstmcore"
    )


def _load_with_patient_threads():
    """Load the kernels, with OpenMP's threads waiting as _WAITING says.

    The runtime reads the variables when it is loaded, which is now unless another package has
    brought it; afterwards the environment is what it was.
    """
    if _WAITING.keys() & os.environ.keys():
        return _load()
    os.environ.update(_WAITING)
    try:
        return _load()
    finally:
        for name in _WAITING:
            del os.environ[name]


def _is_made_by_fork():
    """Whether this process was forked and has executed no program since, where Linux says so."""
    try:
        with open("/proc/self/stat", "rb") as file:
            flags = int(file.read().rpartition(b")")[2].split()[6])
    except OSError:  # another system
        return False
    return bool(flags & 0x40)  # PF_FORKNOEXEC


def _openmp_runtimes():
    """The files of the OpenMP runtimes in this process."""
    with open("/proc/self/maps", "rb") as file:
        paths = {line.rstrip().rpartition(b"/")[2] for line in file}
    return {path for path in paths if path.startswith((b"libgomp", b"libomp", b"libiomp"))}


def _load_and_look_for_a_fork():
    """The kernels, and whether their OpenMP runtime may have come from before a fork.

    A parent may have used it through another package; its threads are then not here any more.
    """
    if not _is_made_by_fork():
        return *_load_with_patient_threads(), False
    before = _openmp_runtimes()
    isa, kernels = _load_with_patient_threads()
    return isa, kernels, bool(before) and before == _openmp_runtimes()


ISA, kernels, _forked = _load_and_look_for_a_fork()
C_API = kernels.C_API  # the table of C functions: include/lstmcore.h

if not kernels.OPENMP:
    warnings.warn(
        "lstmcore was built without OpenMP: every call uses one thread",
        RuntimeWarning,
        stacklevel=2,
    )


def _processors():
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


def _from_environment():
    """OMP_NUM_THREADS where it is a positive number (the first of a list), else the processors."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) > 0 else _processors()


def _limits_on_tasks():
    """Linux's limits on tasks, which are threads of any kind: pairs (may be, are there now).

    They are those of the control groups of this process and that of its user, which binds not root.
    """
    limits = []
    try:
        with open("/proc/self/cgroup") as file:
            groups = [line.rstrip().split(":", 2)[1:] for line in file]
    except OSError:  # another system
        return limits
    for controllers, path in groups:
        root = {"": "/sys/fs/cgroup", "pids": "/sys/fs/cgroup/pids"}.get(controllers)
        for group in [path, *PurePosixPath(path).parents] if root else ():
            with suppress(OSError, ValueError):  # there is no such file, or it says "max"
                limits.append([_number_in(f"{root}/{group}/pids.{n}") for n in ("max", "current")])
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() and 0 <= most < _MANY_TASKS:
        limits.append([most, _tasks_of(os.getuid())])
    return limits


def _number_in(path):
    with open(path) as file:
        return int(file.read())


def _tasks_of(user):
    tasks = 0
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            with suppress(OSError), open(f"/proc/{process.name}/status", "rb") as file:
                status = dict(line.split(b":", 1) for line in file)
                if int(status[b"Uid"].split()[0]) == user:
                    tasks += int(status[b"Threads"])
    return tasks


_this_thread = threading.local()


def _at_most(n_threads):
    """`n_threads`, but no more than half of the tasks that the system allows beside this thread.

    Where it refuses a thread, OpenMP ends the process. Each thread looks when it first asks, for
    it keeps the threads that it gets.
    """
    if n_threads <= 1:
        return 1
    if not hasattr(_this_thread, "most"):
        rooms = [most - tasks for most, tasks in _limits_on_tasks()]
        _this_thread.most = 1 + max(min(rooms, default=2 * _MOST_THREADS), 0) // 2
    return min(n_threads, _this_thread.most)


_limit = _from_environment() if kernels.OPENMP else 1


def _after_fork():
    """OpenMP's threads do not survive a fork, and its runtime waits for them for ever."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(n_threads: int) -> None:
    """
    Set the most threads that a call uses when it is not told how many.

    Parameters
    ----------
    n_threads : int
        At least 1. The default is ``OMP_NUM_THREADS``, or else the number of processors that the
        process may use. Whatever number is asked for, here or in a call, a thread that computes
        gets at most half of the threads that the system still allows at its first such call (on
        Linux by ``pids.max`` and ``RLIMIT_NPROC``).

    Raises
    ------
    TypeError, ValueError
        If `n_threads` is not an integer of at least 1.

    See Also
    --------
    get_num_threads

    Examples
    --------
    >>> import lstmcore as lc
    >>> before = lc.get_num_threads()
    >>> lc.set_num_threads(1)
    >>> lc.get_num_threads()
    1
    >>> lc.set_num_threads(before)
    """
    global _limit
    _limit = _checked(n_threads)


def get_num_threads() -> int:
    """
    Return the most threads that a call uses when it is not told how many.

    Returns
    -------
    int
        Always 1 in a process made by ``fork`` after OpenMP's threads may have been started, by this
        package or by another one that shares its runtime. These threads do not exist in the new
        process.

    Examples
    --------
    >>> import lstmcore as lc
    >>> lc.get_num_threads() >= 1
    True
    """
    return 1 if _forked else _at_most(_limit)


def _checked(n_threads):
    if isinstance(n_threads, bool) or not isinstance(n_threads, int | np.integer):
        raise TypeError(f"n_threads: expected an integer of at least 1, got {n_threads!r}")
    if not 1 <= n_threads <= _MOST_THREADS:
        raise ValueError(f"n_threads: expected 1 to {_MOST_THREADS}, got {n_threads}")
    return int(n_threads)


def choose_threads(work, dtype, n_threads=None):
    """
    Threads for a call: as told, else what the work pays for within the limit.

    work: multiply-adds of numbers of the dtype

    The result changes the time and nothing else: every output has the same bits for any number.
    """
    if n_threads is None:
        n_threads = min(_limit, int(work) * dtype.itemsize // _WORK_PER_THREAD)
    else:
        n_threads = _checked(n_threads)
    return 1 if _forked else _at_most(n_threads)


def show_config() -> None:
    """
    Print versions, the build of the kernels in use, its vector width and the threads.

    Examples
    --------
    >>> import lstmcore as lc
    >>> lc.show_config()  # doctest: +ELLIPSIS
    lstmcore ...
    """
    from lstmcore._version import __version__

    bits = kernels.VECTOR_BITS
    installed = [name for name in _BUILDS if importlib.util.find_spec(f"lstmcore._kernels_{name}")]
    print(f"lstmcore       {__version__}")
    print(f"python         {platform.python_version()} ({sys.platform}, {platform.machine()})")
    print(f"numpy          {np.__version__}")
    print(f"kernels        {ISA} (installed: {', '.join(installed)})")
    print(f"vector width   {bits} bits: {bits // 32} float32, {bits // 64} float64")
    print(f"OpenMP         {'yes' if kernels.OPENMP else 'NO: one thread only'}")
    note = " (made by fork: OpenMP's threads may have stayed behind)" if _forked else ""
    print(f"threads        at most {get_num_threads()}{note}")

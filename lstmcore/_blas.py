"""BLAS kept to one thread while somebody needs it so."""

import os
import threading
from contextlib import contextmanager

_lock = threading.Lock()
_within = 0
_found = {}  # by the first to enter: file of a library -> number of threads

if hasattr(os, "register_at_fork"):  # so that no child finds it locked by a thread it has not
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


@contextmanager
def one_blas_thread():
    """A context in which BLAS keeps to the calling thread.

    SciPy's methods add and multiply vectors of parameters between evaluations. OpenBLAS starts
    threads for those and waits for them at each such call, beside busy processes for longer than
    an evaluation takes; between the calls they spin, on processors that the kernels want. And sums
    over several threads have other last bits.

    The number of threads belongs to the process, or to the thread where BLAS is built upon OpenMP.
    So contexts of several threads may overlap: who leaves restores what is his own thread's, and
    the last to leave what the first has found.
    """
    import scipy.optimize  # noqa: F401 (it brings a BLAS of its own, which is then limited too)
    from threadpoolctl import ThreadpoolController

    global _within
    blas = ThreadpoolController().select(user_api="blas")
    own = {}
    with _lock:
        for library in blas.lib_controllers:
            threads = library.get_num_threads()
            if getattr(library, "threading_layer", None) == "openmp":
                own[library.filepath] = threads
            else:
                _found.setdefault(library.filepath, threads)
        _set_threads(blas, dict.fromkeys(own | _found, 1))
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            _set_threads(blas, own if _within else own | _found)
            if not _within:
                _found.clear()


def _set_threads(blas, numbers):
    for library in blas.lib_controllers:
        if library.filepath in numbers:
            library.set_num_threads(numbers[library.filepath])
    # To threadpoolctl OpenBLAS now belongs to this thread, and no other may set it. A context that
    # limits nothing ends that.
    with blas.limit():
        pass

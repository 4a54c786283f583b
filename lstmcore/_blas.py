"""BLAS kept to one thread while somebody needs it so.

SciPy's methods add and multiply vectors of parameters between evaluations. OpenBLAS starts threads
for those and waits for them at each such call, beside busy processes for longer than an evaluation
takes; between the calls they spin, on processors that the kernels want. And sums over several
threads have other last bits.

The number of threads belongs to the process, or to the thread where BLAS is built upon OpenMP. So
those who need it may overlap: the last to leave restores what the first has found.
"""

import os
import sys
import threading
from contextlib import contextmanager
from time import monotonic, sleep

_LINGER = 1.0  # seconds that SciPy may take between two evaluations
_DEEPEST = 8  # frames between an evaluation and the method that asks for it

_lock = threading.Lock()
_within = 0
_found = {}  # by the first to enter: file of a library -> number of threads

if hasattr(os, "register_at_fork"):  # so that no child finds it locked by a thread it has not
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


@contextmanager
def one_blas_thread():
    """A context in which BLAS keeps to the calling thread."""
    import scipy.optimize  # noqa: F401 (it brings a BLAS of its own, which is then limited too)

    blas, own = _enter(of_this_thread=True)
    try:
        yield
    finally:
        _leave(blas, own)


def _enter(of_this_thread):
    """Limit BLAS: its libraries, and the numbers of threads that are the calling thread's own.

    Those are left alone without `of_this_thread`.
    """
    from threadpoolctl import ThreadpoolController

    global _within
    blas = ThreadpoolController().select(user_api="blas")
    own, limits = {}, {}
    with _lock:
        for library in blas.lib_controllers:
            threads = library.get_num_threads()
            if getattr(library, "threading_layer", None) != "openmp":
                _found.setdefault(library.filepath, threads)
            elif of_this_thread:
                own[library.filepath] = threads
        limits = dict.fromkeys(own | _found, 1)
        _set_threads(blas, limits)
        _within += 1
    return blas, own


def _leave(blas, own):
    global _within
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


# ---- methods that SciPy runs by itself -----------------------------------------------------------


class _Hold:
    """BLAS kept to one thread from an evaluation on, as long as others follow.

    SciPy says neither when it begins nor when it has ended. So a thread watches, and gives BLAS
    back when no evaluation has come for a second. A BLAS built upon OpenMP is left alone, for no
    other thread can give that back.
    """

    def __init__(self):
        self._last = 0.0
        self._watcher = None
        self._blas = None

    @property
    def is_there(self):
        return self._watcher is not None

    def goes_on(self):
        """Another evaluation begins or ends now."""
        self._last = monotonic()
        watcher = self._watcher
        if watcher is None:
            self._blas, _ = _enter(of_this_thread=False)
            self._watch()
        elif not watcher.is_alive():  # this is a child made by fork
            self._watch()

    def _watch(self):
        def wait():
            while monotonic() - self._last < _LINGER:
                sleep(_LINGER / 4)
            self._watcher = None
            _leave(self._blas, {})

        self._watcher = threading.Thread(target=wait, name="lstmcore: BLAS", daemon=True)
        self._watcher.start()


_hold = _Hold()


def kept_for_scipy():
    """Whether a method asks that SciPy runs by itself; BLAS then keeps to one thread.

    It does so until a second after the last `goes_on`, which is to follow each evaluation.
    """
    if "scipy.optimize" not in sys.modules or (_within and not _hold.is_there):
        return False
    frame = sys._getframe(1)
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        if frame.f_globals.get("__name__", "").startswith("scipy.optimize"):
            _hold.goes_on()
            return True
        frame = frame.f_back
    return False


def goes_on():
    """An evaluation for which BLAS was kept has ended."""
    _hold.goes_on()

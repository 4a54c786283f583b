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
from time import sleep

_LOOK = 0.01  # seconds between two looks whether SciPy has ended
_NEAR = 12  # frames between an evaluation and the method that asks for it, at most

_lock = threading.Lock()
_within = 0
_found: dict[str, int] = {}  # by the first to enter: file of a library -> number of threads

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
    own = {}
    with _lock:
        for library in blas.lib_controllers:
            threads = library.get_num_threads()
            if threads == 1:
                continue  # somebody else's limit, who will lift it himself
            if getattr(library, "threading_layer", None) != "openmp":
                _found.setdefault(library.filepath, threads)
            elif of_this_thread:
                own[library.filepath] = threads
        _set_threads(blas, dict.fromkeys(own | _found, 1))
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


def _is_in_scipy(frame, most=sys.maxsize):
    """Whether a frame, or one of those that have called it, is of SciPy's optimizers.

    No more than so many are looked at.
    """
    while frame is not None and most > 0:
        name = frame.f_globals.get("__name__")
        if type(name) is str and name.startswith("scipy.optimize"):
            return True
        frame = frame.f_back
        most -= 1
    return False


class _Hold:
    """BLAS kept to one thread as long as SciPy's optimizers are at work in some threads.

    SciPy says neither when it begins nor when it has ended: the first it shows by asking for an
    evaluation, for the second a thread looks. A BLAS built upon OpenMP is left alone, for no other
    thread can give that back.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._watcher = None
        self._blas = None
        self.threads = set()  # in which they are
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    @property
    def is_there(self):
        return self._watcher is not None

    def begin(self, thread):
        with self._lock:
            self.threads.add(thread)
            if self._watcher is None:
                self._blas, _ = _enter(of_this_thread=False)
            elif self._watcher.is_alive():
                return
            self._watcher = threading.Thread(target=self._watch, name="lstmcore: BLAS", daemon=True)
            self._watcher.start()

    def _watch(self):
        while True:
            sleep(_LOOK)
            frames = sys._current_frames()
            with self._lock:
                self.threads = {n for n in self.threads if _is_in_scipy(frames.get(n))}
                if not self.threads:
                    self._watcher = None
                    _leave(self._blas, {})
                    return

    def _after_fork(self):
        """The watcher is not here; whoever asks next starts another."""
        self._lock = threading.Lock()
        self.threads = set()


_hold = _Hold()


def keep_for_scipy():
    """Keep BLAS to one thread if a method asks that SciPy runs by itself, until it has ended."""
    if "scipy.optimize" not in sys.modules or (_within and not _hold.is_there):
        return
    thread = threading.get_ident()
    if thread not in _hold.threads and _is_in_scipy(sys._getframe(1), _NEAR):
        _hold.begin(thread)

"""Memory of one call, kept for the next: page faults cost more than small sequences' arithmetic.

Whatever a call needs beside its results (tapes, scratch, hidden layers' outputs, packed weights)
comes out of one buffer. No result is ever a view of it.
"""

from math import prod

import numpy as np

# Scalars; 64 bytes in float32, so that every array begins on a cache line of its own.
_ALIGNMENT = 16

# Arrays that are kept: calls of one kind take the same ones in the same order, and making one takes
# longer than a small layer's step.
_MOST_ARRAYS = 256


def aligned_empty(size, dtype):
    """An uninitialised array that begins on a cache line: a vector's load never takes two."""
    raw = np.empty(size + _ALIGNMENT, dtype)
    skip = -(raw.ctypes.data // raw.itemsize) % _ALIGNMENT
    return raw[skip : skip + size]


class Workspace:
    """A stack of uninitialised arrays. One call at a time uses it; see `WorkspacePool`."""

    def __init__(self, dtype):
        self.dtype = dtype
        self._buffer = np.empty(0, dtype)
        self._size = self._top = self._peak = 0
        self._arrays = {}  # (start, *shape): (array, where it ends), as handed out before

    def begin(self):
        """Forget all arrays handed out, and grow to what the last call has needed."""
        if self._peak > self._size:
            self._size = self._peak
            self._arrays.clear()
            self._buffer = None  # gone before the larger one is there
            self._buffer = aligned_empty(self._size, self.dtype)
        self._top = 0

    def take(self, *shape):
        """An array with whatever the memory held before."""
        key = (self._top, *shape)
        kept = self._arrays.get(key)
        if kept is None:
            return self._take_new(key)
        array, self._top = kept
        return array

    def _take_new(self, key):
        start, *shape = key
        size = prod(shape)
        self._top = top = start + (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        if top > self._size:
            self._peak = max(self._peak, top)
            return np.empty(shape, self.dtype)
        array = self._buffer[start : start + size].reshape(shape)
        if len(self._arrays) == _MOST_ARRAYS:
            self._arrays.clear()
        self._arrays[key] = array, top
        return array

    def take_zeros(self, *shape):
        """An array of zeros."""
        array = self.take(*shape)
        array.fill(0)
        return array

    @property
    def needed(self):
        """The most scalars that were in use at one time, over all calls so far."""
        return max(self._size, self._peak)

    @property
    def mark(self):
        """Where the stack ends now, for `drop`."""
        return self._top

    def drop(self, mark):
        """Take back all arrays handed out since `mark`."""
        self._top = mark


class Fresh:
    """Memory in the place of a workspace, for what the caller of a network gets to keep."""

    def __init__(self, dtype):
        self.dtype = dtype

    def take(self, *shape):
        """An array with whatever the memory held before."""
        return np.empty(shape, self.dtype)

    def take_zeros(self, *shape):
        """An array of zeros."""
        return np.zeros(shape, self.dtype)


class WorkspacePool:
    """Workspaces for the next calls: as many as calls have run at the same time.

    Parameters
    ----------
    dtype : dtype
    most : int, optional
        Scalars that are kept at most, in sum, and not in more than 32 workspaces; by default
        without a limit.
    """

    _MOST_WORKSPACES = 32

    def __init__(self, dtype, most=None):
        self._dtype = dtype
        self._most = most
        self._free = []  # pop and append are atomic: threads need no lock

    def acquire(self):
        """A workspace that nobody else has."""
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = Workspace(self._dtype)
        workspace.begin()
        return workspace

    def release(self, workspace):
        """Hand a workspace back. One that is not (after an exception) is simply freed."""
        if self._most is None:
            self._free.append(workspace)
        elif workspace.needed <= self._most:
            self._free.append(workspace)
            # After it was appended, so that whoever comes last sees all of them.
            while len(self._free) > 1 and (
                len(self._free) > self._MOST_WORKSPACES or self.kept > self._most
            ):
                try:
                    self._free.pop(0)
                except IndexError:  # other threads have taken the rest
                    break

    @property
    def kept(self):
        """The most scalars that the workspaces that are not in use may hold."""
        return sum(workspace.needed for workspace in self._free.copy())

    def clear(self):
        """Free the memory."""
        self._free.clear()

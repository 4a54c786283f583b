"""The compiled side of `Stream`: a chain of prepared layers, its state, and the call for one step.

Everything goes through the table of C functions (lstmcore.h), so this is built once for all builds
of the kernels.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint32_t, uint64_t
from lstmcore._kernels cimport (
    FLOAT32, MOST_BLOCKS, MOST_STATES, READ_STEP, Api, Cell, Chain, Columns, Layer, import_api,
)

cimport numpy as cnp

import numpy as np

cnp.import_array()

include "_arrays.pxi"

cdef const Api* api = import_api()

cdef extern from *:
    """
    /* Whether nobody was within; then this thread is. With the GIL nobody can come in between. */
    #ifdef Py_GIL_DISABLED
    #define STREAM_HAS_GIL 0
    #define stream_enter(busy) (!_Py_atomic_exchange_int(busy, 1))
    #define stream_leave(busy) _Py_atomic_store_int_release(busy, 0)
    #else
    #define STREAM_HAS_GIL 1
    #define stream_enter(busy) (*(busy) ? 0 : (*(busy) = 1))
    #define stream_leave(busy) (*(busy) = 0)
    #endif
    """
    enum: STREAM_HAS_GIL
    bint stream_enter(int* busy) noexcept nogil
    void stream_leave(int* busy) noexcept nogil

cdef enum:
    # Multiply-adds from which on a step lets other threads run: giving the GIL up and taking it
    # back costs as much as some thousand of them.
    MUCH = 20000


OCCUPIED = "stream: another thread is within a step, expected one at a time"


cdef inline bint all_finite(const void* x, Py_ssize_t n, int item_size) noexcept nogil:
    """Whether no exponent is all ones: a form without branches, which compilers vectorise."""
    cdef Py_ssize_t k
    cdef const uint32_t* f = <const uint32_t*>x
    cdef const uint64_t* d = <const uint64_t*>x
    cdef uint32_t f_wrong = 0
    cdef uint64_t d_wrong = 0
    if item_size == FLOAT32:
        for k in range(n):
            f_wrong |= ((f[k] & 0x7f800000u) + 0x00800000u) & 0x80000000u
        return f_wrong == 0
    for k in range(n):
        d_wrong |= ((d[k] & 0x7ff0000000000000u) + 0x0010000000000000u) & 0x8000000000000000u
    return d_wrong == 0


cdef object aligned(Py_ssize_t size):
    """`size` bytes of zeros that begin a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    skip = -<Py_ssize_t>cnp.PyArray_DATA(<cnp.ndarray>raw) % 64
    return raw[skip + 64 if skip < 0 else skip:][:size]


cdef void release_owner(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef class Runner:
    """Layers that run along with their input. `Stream` is the one subclass; it checks arguments.

    Parameters
    ----------
    cells : list of dict
        Descriptions of the layers' cells.
    batch_size : int
    dtype : dtype
    output : int
        Kind of the output units.
    table : array or None
        Of columns that have units of their own, as the kernels take it.
    readout : int
        0: each step's output; 1: the mean over time; 2: the maximum.
    read_layer : int
        The layer that is read out.
    check_finite : bool
    tokens : bool
        Whether steps are tokens or (B, I): then all of them go to `_convert`.
    """

    cdef Chain chain
    cdef Py_ssize_t inputs, outputs
    cdef Py_ssize_t work            # multiply-adds of a step
    cdef int item_size, type_number
    cdef int busy                   # a thread is within a step, or with the weights or the state
    cdef bint check_finite
    cdef list memory                # of layers, then of states: arrays of bytes
    cdef object read
    cdef cnp.ndarray table
    cdef list cells

    def __cinit__(self):
        self.inputs = -1            # which no array has: calls before __init__ go to `_convert`

    def __init__(self, list cells, Py_ssize_t batch_size, dtype, int output, cnp.ndarray table,
                 int readout, int read_layer, bint check_finite, bint tokens):
        cdef Cell cell
        cdef Py_ssize_t k, B = batch_size, n = len(cells)
        if self.memory is not None:
            raise RuntimeError("a stream is made once")
        self.chain.layers = <const Layer**>PyMem_Calloc(n, sizeof(Layer*))
        self.chain.states = <void**>PyMem_Calloc(n, sizeof(void*))
        if self.chain.layers == NULL or self.chain.states == NULL:
            raise MemoryError
        self.item_size = dtype.itemsize
        self.type_number = cnp.NPY_FLOAT if self.item_size == FLOAT32 else cnp.NPY_DOUBLE
        self.check_finite = check_finite
        self.cells = [dict(description, size=sizeof(Cell)) for description in cells]
        self.chain.size = sizeof(Chain)
        self.chain.B = B
        self.chain.n_layers = <int>n
        self.chain.output = output
        if table is not None:
            self.table = table
            self.chain.columns = <const Columns*>address(table)
            self.chain.n_columns = columns_in(table)
        self.chain.readout = readout
        self.chain.read_layer = read_layer
        memory = []
        for k in range(n):
            cell = self.cells[k]
            memory.append(aligned(api.layer_bytes(&cell, self.item_size)))
            self.chain.layers[k] = <const Layer*>address(memory[k])
            # a step multiplies by every weight once
            self.work += B * api.layer_bytes(&cell, self.item_size) // self.item_size
        self.memory = memory
        self.outputs = cell.units
        cell = self.cells[0]
        if not tokens:
            self.inputs = cell.inputs

    def __dealloc__(self):
        PyMem_Free(<void*>self.chain.layers)
        PyMem_Free(<void*>self.chain.states)

    def _prepare(self, list weights):
        """Arrange the weights: each layer's blocks in its kind's order, C-contiguous or None."""
        cdef void* blocks[MOST_BLOCKS]
        cdef Cell cell
        cdef const Layer* layer
        cdef Py_ssize_t k
        for k in range(self.chain.n_layers):
            cell = self.cells[k]
            addresses_of(weights[k], blocks, MOST_BLOCKS)
            if api.prepare(&cell, self.item_size, <const void* const*>blocks,
                           <void*>self.chain.layers[k]) == NULL:
                raise AssertionError(api.check(&cell).decode())     # cells/ has let it pass
        if len(self.memory) == self.chain.n_layers:     # the sizes are known from here on
            for k in range(self.chain.n_layers):
                states = aligned(api.state_bytes(self.chain.layers[k], self.chain.B))
                self.memory.append(states)
                self.chain.states[k] = address(states)
            if self.chain.readout != READ_STEP:
                layer = self.chain.layers[self.chain.read_layer]
                self.read = aligned(api.read_bytes(layer, self.chain.B))
                self.chain.read = address(self.read)

    def _alone(self, work, *args):
        """work(*args), which reads or writes weights or states, while no other thread does."""
        if self.memory is None:
            raise RuntimeError("stream: not made by Network.stream")
        if not stream_enter(&self.busy):
            raise RuntimeError(OCCUPIED)
        try:
            return work(*args)
        finally:
            stream_leave(&self.busy)

    def _set_state(self, Py_ssize_t k, tuple states not None):
        """The states of layer k from C-contiguous arrays."""
        cdef void* values[MOST_STATES]
        addresses_of(states, values, MOST_STATES)
        api.set_state(self.chain.layers[k], self.chain.B, <const void* const*>values,
                      self.chain.states[k])

    def _get_state(self, Py_ssize_t k, tuple states not None):
        """The states of layer k into C-contiguous arrays."""
        cdef void* values[MOST_STATES]
        addresses_of(states, values, MOST_STATES)
        api.get_state(self.chain.layers[k], self.chain.B, self.chain.states[k],
                      <void* const*>values)

    @property
    def _read_memory(self):
        """What the readout keeps, flat: total or maximum (B, H), then count (B,)."""
        return self.read.view(np.float32 if self.item_size == FLOAT32 else np.float64)

    def _run(self, x, y):
        """One step from checked, C-contiguous arrays: x (B, I), or tokens (B,) of intp."""
        cdef bint is_done
        if self.memory is None:
            raise RuntimeError("stream: not made by Network.stream")
        if cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_INTP:
            is_done = self.step(NULL, <const Py_ssize_t*>address(x), address(y))
        else:
            is_done = self.step(address(x), NULL, address(y))
        if not is_done:
            raise RuntimeError(OCCUPIED)

    cdef inline bint step(self, const void* x, const Py_ssize_t* tokens, void* y) noexcept:
        """False, and nothing done, while another thread is within a call."""
        if STREAM_HAS_GIL and self.work < MUCH:     # marking it would take a fifth of its time
            if self.busy:
                return False
            api.chain_steps(&self.chain, 1, x, tokens, y)
            return True
        if not stream_enter(&self.busy):
            return False
        if self.work < MUCH:
            api.chain_steps(&self.chain, 1, x, tokens, y)
        else:
            with nogil:
                api.chain_steps(&self.chain, 1, x, tokens, y)
        stream_leave(&self.busy)
        return True

    cdef inline bint is_step(self, object array, Py_ssize_t columns, int flags) noexcept:
        """An array of the stream's type without gaps, (columns,) or (B, columns)."""
        cdef cnp.ndarray a
        if not is_plain(array, self.type_number, flags):
            return False
        a = <cnp.ndarray>array
        if cnp.PyArray_NDIM(a) == 1:
            return self.chain.B == 1 and cnp.PyArray_DIM(a, 0) == columns
        return (cnp.PyArray_NDIM(a) == 2 and cnp.PyArray_DIM(a, 0) == self.chain.B
                and cnp.PyArray_DIM(a, 1) == columns)

    def __call__(self, x, out=None):
        """Outputs of the next step.

        Parameters
        ----------
        x : (I,) or (B, I) array_like; int, (B,) array_like of int or (B, I) for tokens
            As in `Network.step`. An array of the network's dtype without gaps is read as it stands.
        out : (K,) or (B, K) array, optional
            Where the outputs are written; nothing is allocated then. May be x itself if I = K.

        Returns
        -------
        y : (K,) or (B, K) array
            Fresh, or `out`.
        """
        cdef cnp.npy_intp shape[2]
        cdef int n_dims
        if not self.is_step(x, self.inputs, cnp.NPY_ARRAY_CARRAY_RO):
            return self._convert(x, out)
        if self.check_finite and not all_finite(address(x), self.chain.B * self.inputs,
                                                self.item_size):
            return self._convert(x, out)
        n_dims = cnp.PyArray_NDIM(<cnp.ndarray>x)
        if out is None:
            shape[0] = self.chain.B
            shape[n_dims - 1] = self.outputs
            out = cnp.PyArray_SimpleNew(n_dims, shape, self.type_number)
        elif not (self.is_step(out, self.outputs, cnp.NPY_ARRAY_CARRAY)
                  and cnp.PyArray_NDIM(<cnp.ndarray>out) == n_dims):
            return self._convert(x, out)
        if not self.step(address(x), NULL, address(out)):
            raise RuntimeError(OCCUPIED)
        return out

    @property
    def capsule(self):
        """The `lstmcore_chain` of this stream for C code, as a PyCapsule named "lstmcore.chain".

        It keeps the stream alive, and shares its state: only one of the two may step at a time.
        """
        if self.memory is None:
            raise RuntimeError("stream: not made by Network.stream")
        capsule = PyCapsule_New(&self.chain, "lstmcore.chain", release_owner)
        PyCapsule_SetContext(capsule, <void*><PyObject*>self)
        Py_INCREF(self)
        return capsule

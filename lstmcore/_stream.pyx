"""The compiled side of `Stream`: a chain of prepared layers, its state, and the call for one step.

Everything goes through the table of C functions (lstmcore.h), so this is built once for all builds
of the kernels.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint32_t, uint64_t
from lstmcore._kernels cimport (
    FLOAT32, MOST_BLOCKS, MOST_STATES, OUT_SOFTMAX, READ_STEP, Api, Cell, Chain, Layer, import_api,
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
    # Multiply-adds between two times that the handlers of signals may run, while many steps are
    # taken in one call: some milliseconds.
    WORK_PER_LOOK = 16777216


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


# ---- draws of classes --------------------------------------------------------------------------
# Scalar numbers of float64 and no function of libm, so that the same probabilities and uniform
# number draw the same class on every processor. `losses/_draws.py` is the twin.

ctypedef fused real:
    float
    double


cdef inline void divide(real* a, Py_ssize_t n, real divisor) noexcept nogil:
    """a /= divisor"""
    cdef Py_ssize_t k
    for k in range(n):
        a[k] /= divisor


cdef inline void sift(double* heap, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Let number k of a heap of n, smallest first, sink to its place."""
    cdef double x = heap[k]
    cdef Py_ssize_t child = 2 * k + 1
    while child < n:
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if not heap[child] < x:
            break
        heap[k] = heap[child]
        k = child
        child = 2 * k + 1
    heap[k] = x


cdef double kth_largest(const real* y, Py_ssize_t K, Py_ssize_t top_k, double* heap) noexcept nogil:
    """The top_k-th largest of y (K,), top_k <= K. heap: room for top_k numbers."""
    cdef Py_ssize_t k
    for k in range(top_k):
        heap[k] = y[k]
    for k in range(top_k // 2 - 1, -1, -1):
        sift(heap, top_k, k)
    for k in range(top_k, K):
        if y[k] > heap[0]:
            heap[0] = y[k]
            sift(heap, top_k, 0)
    return heap[0]


cdef Py_ssize_t likeliest(const real* a, Py_ssize_t K) noexcept nogil:
    """The first of the largest of a (K,); -1 if there is a NaN."""
    cdef Py_ssize_t k, best = 0
    for k in range(K):
        if a[k] != a[k]:
            return -1
        if a[k] > a[best]:
            best = k
    return best


cdef Py_ssize_t draw_class(const real* y, Py_ssize_t K, Py_ssize_t top_k, double u, double* room,
                           double* p) noexcept nogil:
    """The first of the top_k likeliest classes whose cumulative probability is above u.

    y (K,) >= 0, with any sum; u below 1; room: for 2 K numbers. OUT p: the class's probability.
    -1 if y has a NaN, an infinity, or nothing above zero.
    """
    cdef Py_ssize_t k, ties = 0, drawn = 0
    cdef double limit = 0, total = 0, goal, x
    if top_k < K:
        limit = kth_largest(y, K, top_k, room + K)
        ties = top_k
        for k in range(K):
            ties -= y[k] > limit
        for k in range(K):
            x = y[k]
            if x == limit:
                ties -= 1
            if x < limit or (x == limit and ties < 0):
                x = 0
            total += x
            room[k] = total
    else:
        for k in range(K):
            total += y[k]
            room[k] = total
    if not (total > 0 and total - total == 0):
        return -1
    goal = u * total
    for k in range(K):
        drawn += room[k] <= goal
    if drawn == K:                      # u * total was rounded up to the total
        drawn = 0
        for k in range(K):
            drawn += room[k] < total
    p[0] = y[drawn] / total
    return drawn


# ---- the stream ---------------------------------------------------------------------------------

cdef object aligned(Py_ssize_t size):
    """`size` bytes of zeros that begin a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    skip = -<Py_ssize_t>cnp.PyArray_DATA(<cnp.ndarray>raw) % 64
    return raw[skip + 64 if skip < 0 else skip:][:size]


cdef void release_owner(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


def not_a_number(step):
    """The error that outputs are NaN."""
    return ValueError(
        f"net: expected outputs that are numbers, got NaN at step {step} of what is generated; "
        "its parameters are too large, or NaN themselves"
    )


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
    cdef list cells

    def __cinit__(self):
        self.inputs = -1            # which no array has: calls before __init__ go to `_convert`

    def __init__(self, list cells, Py_ssize_t batch_size, dtype, int output, int readout,
                 int read_layer, bint check_finite, bint tokens):
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

    # ---- many steps, whose outputs are the next inputs ------------------------------------------
    # For generation alone, with a stream of its own: it checks what it hands over.

    def _set_batch(self, Py_ssize_t batch_size):
        """Run so many sequences from here on, no more than before, from the state zero."""
        cdef Py_ssize_t k
        for k in range(self.chain.n_layers):
            self.memory[self.chain.n_layers + k][...] = 0
        self.chain.B = batch_size

    cdef Py_ssize_t steps_per_look(self) noexcept:
        return 1 + WORK_PER_LOOK // max(self.work, 1)

    def _feed_back(self, cnp.ndarray x, cnp.ndarray y):
        """Steps whose outputs are the next inputs: x (B, I), the first; OUT y (steps, B, I)."""
        cdef Py_ssize_t steps = cnp.PyArray_DIM(y, 0), t = 0, end
        cdef Py_ssize_t size = self.chain.B * self.outputs * self.item_size
        cdef const char* inputs = <const char*>address(x)
        cdef char* outputs = <char*>address(y)
        while t < steps:
            end = min(steps, t + self.steps_per_look())
            with nogil:
                while t < end:
                    api.chain_steps(&self.chain, 1, inputs, NULL, outputs)
                    inputs = outputs
                    outputs += size
                    t += 1
            PyErr_CheckSignals()

    def _draw(self, Py_ssize_t steps, x, cnp.ndarray tokens not None, cnp.ndarray rows not None,
              uniform, cnp.ndarray drawn not None, p, stop, Py_ssize_t first, double temperature,
              Py_ssize_t top_k):
        """Steps of a network with identity or softmax outputs; each draws classes and feeds them.

        The output units are those of the stream: identity, unless the temperature is 1.

        x: (B, I), the first inputs where they are no tokens, for one step; or None
        tokens: IN the first inputs, OUT the last draws (B,)
        rows: (B,), which row of the arrays that follow each sequence has
        uniform: (n, T) float64; None where the temperature is 0
        drawn: OUT (n, T) intp
        p: OUT (n, T) float64, the probabilities of the draws; or None
        stop: (K,) uint8, the classes after which a sequence ends; or None
        first: column of the first step

        Returns the number of steps taken: `steps`, or as many until a sequence has ended.
        """
        cdef Py_ssize_t B = self.chain.B, K = self.outputs, n = cnp.PyArray_DIM(drawn, 1)
        cdef Py_ssize_t b, k, place, t = 0, end
        cdef cnp.ndarray outputs = np.empty(B * K * self.item_size, np.uint8)
        cdef cnp.ndarray memory = np.empty(2 * K)
        cdef void* y = address(outputs)
        cdef const void* inputs = address(x)
        cdef double* room = <double*>address(memory)
        cdef const double* u = <const double*>address(uniform)
        cdef double* probability = <double*>address(p)
        cdef Py_ssize_t* token = <Py_ssize_t*>address(tokens)
        cdef Py_ssize_t* out = <Py_ssize_t*>address(drawn)
        cdef const Py_ssize_t* row = <const Py_ssize_t*>address(rows)
        cdef const unsigned char* ends = <const unsigned char*>address(stop)
        cdef bint single = self.item_size == FLOAT32, is_over = False
        cdef double of_draw
        while t < steps and not is_over:
            end = min(steps, t + self.steps_per_look())
            k = 0
            with nogil:
                while t < end and not is_over:
                    api.chain_steps(&self.chain, 1, inputs, NULL if inputs != NULL else token, y)
                    if temperature != 0 and temperature != 1:
                        if single:
                            divide(<float*>y, B * K, <float>temperature)
                        else:
                            divide(<double*>y, B * K, temperature)
                        api.output(OUT_SOFTMAX, self.item_size, B, K, y, y)
                    for b in range(B):
                        place = row[b] * n + first + t
                        of_draw = 1
                        if temperature == 0 and single:
                            k = likeliest(<const float*>y + b * K, K)
                        elif temperature == 0:
                            k = likeliest(<const double*>y + b * K, K)
                        elif single:
                            k = draw_class(<const float*>y + b * K, K, top_k, u[place], room,
                                           &of_draw)
                        else:
                            k = draw_class(<const double*>y + b * K, K, top_k, u[place], room,
                                           &of_draw)
                        if k < 0:
                            break
                        out[place] = k
                        token[b] = k
                        if probability != NULL:
                            probability[place] = of_draw
                        if ends != NULL and ends[k]:
                            is_over = True
                    t += 1
                    if k < 0:
                        break
            if k < 0:
                raise not_a_number(first + t - 1)
            PyErr_CheckSignals()
        return t

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

"""Compiled kernels: forward and BPTT of the dense, simple recurrent and LSTM layers.

Legend, for this file and those that it includes:
    T, B, I, H      time steps, sequences in the batch, inputs, hidden units
    gates           i, f, g, o: input gate, forget gate, cell input, output gate, in this order
    peepholes       i and f read the cell state of the step before, s_c(t-1); o reads s_c(t)
    rank            place of a sequence in the order of descending length: the sequences that have a
                    step t are the ranks 0 to n(t)-1, so that padding costs nothing
    a, z            pre-activations; recurrent inputs (h and, with gate recurrence, the gates)
    delta           dL/da; d before a name: the loss's derivative by it
    (3.30), (4.2)…  equations in docs/equations.md

Numbers have the type of the vectors (float or double); offsets and strides count numbers. Nothing
here validates: layers.py has. Nothing here allocates: workspaces come from outside.

Bits. Each pre-activation is the bias, then inputs k = 0…I-1, then recurrent inputs k = 0…H-1, by
multiply-add, in this order for every shape; each weight's gradient is summed over the steps in an
order that only the lengths decide. So no result depends on the number of threads, and no output on
the rest of the batch, on padding, or on how a sequence is cut into calls.

This source is compiled once per instruction set, as _kernels_<isa>.
"""

cimport numpy as cnp

cnp.import_array()

include "_arrays.pxi"           # NumPy arrays from C
include "_vector_math.pxi"      # exp, tanh, logistic, the other activations
include "_gemm.pxi"             # products on register tiles
include "_cells.pxi"            # the equations of one step
include "_packing.pxi"          # weights in, gradients out
include "_forward.pxi"          # whole sequences
include "_backward.pxi"         # BPTT


# ---- output units and elementwise functions ------------------------------------------------------

cdef void run_activation(const Activation* f, Py_ssize_t n, const vec* x, vec* y) noexcept nogil:
    """y = f(x), n numbers."""
    cdef Py_ssize_t L = lanes(x), j
    cdef vec rest
    for j in range(n // L):
        y[j] = activate(f, x[j])
    if n % L:
        j = n // L
        rest = like(item(x, 0), 0)
        copy_items(&rest, x + j, n % L)
        rest = activate(f, rest)
        copy_items(y + j, &rest, n % L)


cdef void run_softmax(Py_ssize_t n, const vec* a, vec* y) noexcept nogil:
    """One row: e^(a - max a) / sum, the sum in ascending order."""
    cdef Py_ssize_t j
    cdef Activation f = Activation(EXP, 0, 0)
    cdef vec top = item(a, 0), total, x
    for j in range(1, n):
        x = item(a, j)
        top = where_less(top, x, x, top)
    total = like(top, 0)
    for j in range(n):
        set_first(y, j, item(a, j) - top)
    run_activation(&f, n, y, y)
    for j in range(n):
        total = total + item(y, j)
    for j in range(n):
        set_first(y, j, item(y, j) / total)


cdef inline void set_first(vec* p, Py_ssize_t k, vec x) noexcept nogil:
    """Number k at p = the first number of x."""
    copy_item(p, k, &x, 0)


cdef void run_squash(int kind, Py_ssize_t rows, Py_ssize_t n, const vec* a, vec* y) noexcept nogil:
    cdef Activation f = Activation(LOGISTIC if kind == 1 else IDENTITY, 0, 0)
    cdef Py_ssize_t r
    cdef unsigned long long mode = flush_denormals()
    if kind == 2:
        for r in range(rows):
            run_softmax(n, at(a, r * n), at(y, r * n))
    else:
        run_activation(&f, rows * n, a, y)
    restore_denormals(mode)


cdef void run_sum(Py_ssize_t B, Py_ssize_t K, const Py_ssize_t* lengths, const vec* y,
                  Py_ssize_t y_batch, Py_ssize_t y_time, vec* total) noexcept nogil:
    """total += each sequence's own steps, in their order."""
    cdef Py_ssize_t b, t
    for b in range(B):
        for t in range(lengths[b]):
            add_items(at(total, b * K), at(y, b * y_batch + t * y_time), K)


cdef void run_mean(Py_ssize_t B, Py_ssize_t K, const Py_ssize_t* lengths, const vec* y,
                   Py_ssize_t y_batch, Py_ssize_t y_time, vec* out) noexcept nogil:
    """The mean over each sequence's own steps, summed in their order."""
    cdef Py_ssize_t b, j
    cdef vec n
    memset(out, 0, B * K * (sizeof(vec) // lanes(y)))
    run_sum(B, K, lengths, y, y_batch, y_time, out)
    for b in range(B):
        if lengths[b] > 0:
            n = like(item(out, 0), <double>lengths[b])
            for j in range(K):
                set_first(out, b * K + j, item(out, b * K + j) / n)


# ---- entry points for Python ---------------------------------------------------------------------
# Arrays come as they are, checked by layers.py; None is NULL.

cdef inline Py_ssize_t stride(object array, int axis) noexcept:
    """Stride in numbers; 0 for None."""
    if array is None:
        return 0
    return cnp.PyArray_STRIDE(<cnp.ndarray>array, axis) // cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)

cdef inline bint is_single(object array) noexcept:
    return cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 4


cdef class CellPlan:
    """A cell in one dtype. Made by `plan_cell`, never changed."""
    cdef Plan plan
    cdef int item_size


def plan_cell(Cell cell, dtype):
    """What the functions below take as their cell: making it takes longer than a short call."""
    cdef CellPlan result = CellPlan.__new__(CellPlan)
    result.item_size = dtype.itemsize
    result.plan = plan_of(&cell, result.item_size)
    return result


def sizes(CellPlan cell):
    """Numbers that the packed weights, a row of the tape and the gradient take."""
    return cell.plan.packed, cell.plan.tape_row, cell.plan.packed


def scratch_size(CellPlan cell, Py_ssize_t B, int n_threads, bint training, bint with_dx):
    """Numbers of workspace that forward and, if training, backward take, with or without dx."""
    return workspace(&cell.plan, cell.item_size, B, n_threads, training, with_dx)


def chunk_rows(CellPlan cell, Py_ssize_t B):
    """Chunks of BPTT begin at the steps t where R(t) // chunk_rows changes, R(t) the rows before t.

    Calls of `backward` that are cut at such steps add up to the bits of one call.
    """
    return chunk_target(&cell.plan, cell.item_size, B)


def shares_units(CellPlan cell, Py_ssize_t B, int n_threads):
    """Whether so many threads share the units, not the sequences, of so many sequences."""
    return unit_parts(&cell.plan, cell.item_size, B, n_threads) > 1


def pack(CellPlan cell, W, R, b, p, Q, packed):
    """Arrange a layer's blocks for the tiles. OUT packed."""
    cdef const Plan* plan = &cell.plan
    cdef void* W_ = address(W)
    cdef void* R_ = address(R)
    cdef void* b_ = address(b)
    cdef void* p_ = address(p)
    cdef void* Q_ = address(Q)
    cdef void* packed_ = address(packed)
    cdef bint single = cell.item_size == FLOAT32
    with nogil:
        if single:
            run_pack[vf](plan, <vf*>W_, <vf*>R_, <vf*>b_, <vf*>p_, <vf*>Q_, <vf*>packed_)
        else:
            run_pack[vd](plan, <vd*>W_, <vd*>R_, <vd*>b_, <vd*>p_, <vd*>Q_, <vd*>packed_)


def unpack(CellPlan cell, grad, dW, dR, db, dp, dQ):
    """The gradient as `backward` sums it to a layer's blocks. OUT all but grad."""
    cdef const Plan* plan = &cell.plan
    cdef void* W_ = address(dW)
    cdef void* R_ = address(dR)
    cdef void* b_ = address(db)
    cdef void* p_ = address(dp)
    cdef void* Q_ = address(dQ)
    cdef void* grad_ = address(grad)
    cdef bint single = cell.item_size == FLOAT32
    with nogil:
        if single:
            run_unpack[vf](plan, <vf*>grad_, <vf*>W_, <vf*>R_, <vf*>b_, <vf*>p_, <vf*>Q_)
        else:
            run_unpack[vd](plan, <vd*>grad_, <vd*>W_, <vd*>R_, <vd*>b_, <vd*>p_, <vd*>Q_)


cdef Task make_task(CellPlan cell, packed, x, order, lengths, y, h_in, c_in, h_out, c_out, tape,
                    scratch, Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    cdef Task k
    k.plan = cell.plan
    k.packed = address(packed)
    k.tokens = NULL
    k.x = NULL
    if cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_INTP:
        k.tokens = <const Py_ssize_t*>address(x)
    else:
        k.x = address(x)
    k.x_batch = stride(x, 0)
    k.x_time = stride(x, 1)
    k.order = <const Py_ssize_t*>address(order)
    k.lengths = <const Py_ssize_t*>address(lengths)
    k.B = cnp.PyArray_DIM(<cnp.ndarray>lengths, 0)
    k.t0 = t0
    k.t1 = t1
    k.first_row = 0
    k.reverse = reverse
    k.y = address(y)
    k.y_batch = stride(y, 0)
    k.y_time = stride(y, 1)
    k.dx = NULL
    k.dx_batch = k.dx_time = 0
    k.h_in = address(h_in)
    k.h_in_batch = stride(h_in, 0)
    k.c_in = address(c_in)
    k.c_in_batch = stride(c_in, 0)
    k.h_out = address(h_out)
    k.h_out_batch = stride(h_out, 0)
    k.c_out = address(c_out)
    k.c_out_batch = stride(c_out, 0)
    k.tape = address(tape)
    k.grad = NULL
    k.scratch = address(scratch)
    k.n_threads = n_threads
    return k


def forward(CellPlan cell, packed, x, order, lengths, h0, c0, y, hT, cT, tape, scratch,
            Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    """Steps t0 to t1 of a layer, one direction. OUT y, hT, cT, tape; scratch is workspace."""
    cdef Task k = make_task(cell, packed, x, order, lengths, y, h0, c0, hT, cT, tape, scratch,
                            t0, t1, reverse, n_threads)
    cdef bint single = cell.item_size == FLOAT32
    with nogil:
        if single:
            run_forward[vf](&k, NULL)
        else:
            run_forward[vd](&k, NULL)


def backward(CellPlan cell, packed, x, order, lengths, tape, dy, dhT, dcT, dx, dh0, dc0, grad,
             scratch, Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads,
             Py_ssize_t first_row=0):
    """BPTT through the same steps. IN and OUT dx, grad (added to); OUT dh0, dc0.

    first_row: rows of longer sequences, of which these are a segment, before their step 0; chunks
    begin where they would with the sequences whole.
    """
    cdef Task k = make_task(cell, packed, x, order, lengths, dy, dhT, dcT, dh0, dc0, tape, scratch,
                            t0, t1, reverse, n_threads)
    cdef bint single = cell.item_size == FLOAT32
    k.dx = address(dx)
    k.dx_batch = stride(dx, 0)
    k.dx_time = stride(dx, 1)
    k.grad = address(grad)
    k.first_row = first_row
    with nogil:
        if single:
            run_backward[vf](&k, NULL)
        else:
            run_backward[vd](&k, NULL)


def add_over_time(y, lengths, total):
    """total (B, K) += the sum of y (B, T, K) over t < lengths. IN and OUT total."""
    cdef void* y_ = address(y)
    cdef void* total_ = address(total)
    cdef Py_ssize_t B = cnp.PyArray_DIM(<cnp.ndarray>total, 0)
    cdef Py_ssize_t K = cnp.PyArray_DIM(<cnp.ndarray>total, 1)
    cdef Py_ssize_t y_batch = stride(y, 0), y_time = stride(y, 1)
    cdef const Py_ssize_t* lengths_ = <const Py_ssize_t*>address(lengths)
    cdef bint single = is_single(total)
    with nogil:
        if single:
            run_sum[vf](B, K, lengths_, <vf*>y_, y_batch, y_time, <vf*>total_)
        else:
            run_sum[vd](B, K, lengths_, <vd*>y_, y_batch, y_time, <vd*>total_)


def mean_over_time(y, lengths, out):
    """out (B, K): the mean of y (B, T, K) over t < lengths. OUT out."""
    cdef void* y_ = address(y)
    cdef void* out_ = address(out)
    cdef Py_ssize_t B = cnp.PyArray_DIM(<cnp.ndarray>out, 0)
    cdef Py_ssize_t K = cnp.PyArray_DIM(<cnp.ndarray>out, 1)
    cdef Py_ssize_t y_batch = stride(y, 0), y_time = stride(y, 1)
    cdef const Py_ssize_t* lengths_ = <const Py_ssize_t*>address(lengths)
    cdef bint single = is_single(out)
    with nogil:
        if single:
            run_mean[vf](B, K, lengths_, <vf*>y_, y_batch, y_time, <vf*>out_)
        else:
            run_mean[vd](B, K, lengths_, <vd*>y_, y_batch, y_time, <vd*>out_)


def squash(int kind, a, y):
    """Output activation of the rows of a (N, K): identity, logistic or softmax. OUT y."""
    cdef void* a_ = address(a)
    cdef void* y_ = address(y)
    cdef Py_ssize_t N = cnp.PyArray_DIM(<cnp.ndarray>a, 0), K = cnp.PyArray_DIM(<cnp.ndarray>a, 1)
    cdef bint single = is_single(a)
    with nogil:
        if single:
            run_squash[vf](kind, N, K, <vf*>a_, <vf*>y_)
        else:
            run_squash[vd](kind, N, K, <vd*>a_, <vd*>y_)


cdef bint run_all_finite(Py_ssize_t n, const vec* x) noexcept nogil:
    cdef Py_ssize_t L = lanes(x), j, _
    cdef vec rest = item(x, 0), zero = rest - rest      # of an infinity or a NaN: NaN
    for _ in range(n // (4 * L)):
        zero = zero + (((x[0] - x[0]) + (x[1] - x[1])) + ((x[2] - x[2]) + (x[3] - x[3])))
        x = x + 4
    for j in range(n % (4 * L)):
        rest = item(x, j)
        zero = zero + (rest - rest)
    rest = like(rest, 0)
    return memcmp(&zero, &rest, sizeof(vec)) == 0


def all_finite(x):
    """Whether a contiguous array holds neither NaN nor infinity."""
    cdef void* x_ = address(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(<cnp.ndarray>x)
    cdef bint single = is_single(x), result
    if n == 0:
        return True
    with nogil:
        if single:
            result = run_all_finite[vf](n, <vf*>x_)
        else:
            result = run_all_finite[vd](n, <vd*>x_)
    return result


def same_bytes(a, b):
    """Whether two arrays of one size hold the same bytes."""
    return memcmp(address(a), address(b), cnp.PyArray_NBYTES(<cnp.ndarray>a)) == 0


def apply_activation(int code, double alpha, double beta, x, y):
    """y = an activation (or exp, code 14) of x, both 1-D. OUT y."""
    cdef Activation f = Activation(code, alpha, beta)
    cdef void* x_ = address(x)
    cdef void* y_ = address(y)
    cdef Py_ssize_t n = cnp.PyArray_DIM(<cnp.ndarray>x, 0)
    cdef bint single = is_single(x)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        if single:
            run_activation[vf](&f, n, <vf*>x_, <vf*>y_)
        else:
            run_activation[vd](&f, n, <vd*>x_, <vd*>y_)
        restore_denormals(mode)


include "_plain_pass.pxi"        # a whole network at once


cdef extern from *:
    """
    #ifndef LSTMCORE_OPENMP
    #define LSTMCORE_OPENMP 0
    #endif
    """
    enum: LSTMCORE_OPENMP

OPENMP = bool(LSTMCORE_OPENMP)
VECTOR_BITS = 32 * VF


# ---- for C ---------------------------------------------------------------------------------------

include "_step.pxi"
include "_capi.pxi"

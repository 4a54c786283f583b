"""Compiled kernels: forward and BPTT of the dense, simple recurrent, LSTM and GRU layers.

Legend, for this file and those that it includes:
    T, B, I, H      time steps, sequences in the batch, inputs, hidden units
    gates           of the LSTM i, f, g, o: input gate, forget gate, cell input, output gate; of the
                    GRU r, z, n: reset gate, update gate, candidate; in this order
    peepholes       i and f read the cell state of the step before, s_c(t-1); o reads s_c(t),
                    unless the cell says otherwise
    rank            place of a sequence in the order of descending length: the sequences that have a
                    step t are the ranks 0 to n(t)-1, so that padding costs nothing
    p               the Plan: what a step of the cell is, in numbers
    a, z            pre-activations; recurrent inputs (h, and what else a product reads)
    c               the cell state
    delta           dL/da; d before a name: the loss's derivative by it
    L, u, q, r, k   numbers in a vector; a group of L units; a row; a rank; an index
    (3.30), (4.2)…  equations in docs/equations.md

Numbers have the type of the vectors (float or double); offsets and strides count numbers. A pointer
argument `type_of`, which is NULL, is there to choose that type. What works without the GIL
validates nothing: cells/ has, and the entry points have compared the sizes of arrays that users can
reach. Nothing allocates: memory comes from outside.

Bits. Each column of a product is the bias, then inputs k = 0…I-1, then recurrent inputs
k = 0…H-1, by multiply-add, in this order for every shape; each weight's gradient is summed over
the steps in an order that only the lengths decide. So no result depends on the number of threads,
and no output on the rest of the batch, on padding, or on how a sequence is cut into calls.

This source is compiled once per instruction set, as _kernels_<isa>.
"""

cimport numpy as cnp

cnp.import_array()

# Each file uses only what stands above it.
include "_arrays.pxi"           # NumPy arrays from C
include "_vector_math.pxi"      # exp, tanh, logistic, the other activations
include "_gemm.pxi"             # products on register tiles
include "_plan.pxi"             # what a step of a cell is
include "_cell_rnn.pxi"         # the equations, a file for each cell
include "_cell_lstm.pxi"
include "_cell_gru.pxi"
include "_cells.pxi"            # whichever cell it is
include "_packing.pxi"          # weights in, gradients out
include "_signals.pxi"          # Ctrl-C and its like
include "_task.pxi"             # one call: threads, ranks, states
include "_forward.pxi"          # whole sequences
include "_backward.pxi"         # BPTT
include "_outputs.pxi"          # output units, sums over time
include "_doubles.pxi"          # float64 out of either type
include "_mixture.pxi"          # mixture densities
include "_losses.pxi"           # value and delta at the outputs
include "_ctc.pxi"              # the same of sequences that nobody has cut into labels
include "_step.pxi"             # one time step
include "_capi.pxi"             # the table of C functions
include "_calls.pxi"            # arrays to tasks
include "_plain_pass.pxi"       # a whole network at once
include "_plain_objective.pxi"  # its loss and gradient
include "_updates.pxi"          # steps of optimizers
include "_noise.pxi"            # normal noise

cdef extern from *:
    """
    #ifndef LSTMCORE_OPENMP
    #define LSTMCORE_OPENMP 0
    #endif
    """
    enum: LSTMCORE_OPENMP

OPENMP = bool(LSTMCORE_OPENMP)
VECTOR_BITS = 32 * VF


# ---- entry points for Python ---------------------------------------------------------------------
# Arrays come by name and as they are, checked by cells/; None is NULL. Blocks and states are tuples
# in the order of the kind. x, y, dy and dx are arrays (B, T, ...), or rows (N, ...) in which the
# steps of a sequence follow one another. Where each sequence begins, by rank, on the first axis,
# says x_first, y_first, dx_first: by default `order`, which is right for (B, T, ...).

cdef inline bint is_single(object array) noexcept:
    return cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 4


def sizes(CellPlan cell not None):
    """Numbers that the packed weights, a row of the tape and the gradient take."""
    return cell.plan.packed, cell.plan.tape_row, cell.plan.packed


def split_records(CellPlan cell not None, cnp.ndarray records not None):
    """The fields of rows of the tape (n, sizes[1]) by name, as the twin calls them: fresh (n, H).

    A gate that the cells of a block share has a column for each block. Of what the twin keeps, a
    row lacks what follows from the rest: gates without weights of their own, and most often h.
    """
    cdef const Plan* p = &cell.plan
    cdef Py_ssize_t n = cnp.PyArray_DIM(records, 0)
    slots = (<object>records).reshape(n, p.groups, p.slots, p.lanes)
    fields = {}
    for k, name in enumerate(cell_fields(p)):
        shared = p.cell.block_size if name in ("i", "f", "o") else 1
        fields[name] = slots[:, :, k].reshape(n, p.padded)[:, :p.cell.units:shared]
    return fields


def scratch_size(CellPlan cell not None, Py_ssize_t B, int n_threads, bint training, bint with_dx,
                 bint with_x=True):
    """Numbers of scratch memory that forward and, if training, backward take.

    with_x : whether the inputs are numbers; of tokens nothing is copied
    """
    return scratch_numbers(&cell.plan, cell.item_size, B, n_threads, training, with_x, with_dx)


def chunk_rows(CellPlan cell not None, Py_ssize_t B):
    """Chunks of BPTT begin at the steps t where R(t) // chunk_rows changes, R(t) the rows before t.

    Calls of `backward` that are cut at such steps add up to the bits of one call.
    """
    return chunk_target(&cell.plan, cell.item_size, B)


def shares_units(CellPlan cell not None, Py_ssize_t B, int n_threads):
    """Whether so many threads share the units, not the sequences, of so many sequences."""
    return unit_parts(&cell.plan, cell.item_size, B, n_threads) > 1


def pack(CellPlan cell not None, tuple blocks not None, cnp.ndarray packed not None):
    """Arrange a layer's blocks for the tiles. OUT packed."""
    cdef void* addresses[MOST_BLOCKS]
    addresses_of(blocks, addresses, MOST_BLOCKS)
    pack_blocks(&cell.plan, cell.item_size, <const void* const*>addresses, address(packed))


def unpack(CellPlan cell not None, cnp.ndarray grad not None, tuple blocks not None):
    """The gradient as `backward` sums it to a layer's blocks. OUT blocks."""
    cdef void* addresses[MOST_BLOCKS]
    addresses_of(blocks, addresses, MOST_BLOCKS)
    unpack_blocks(&cell.plan, cell.item_size, address(grad), <void* const*>addresses)


cdef Task new_task(CellPlan cell, cnp.ndarray packed, cnp.ndarray x, cnp.ndarray x_first,
                   cnp.ndarray order, cnp.ndarray lengths, cnp.ndarray tape, cnp.ndarray y,
                   cnp.ndarray y_first, tuple given, tuple wanted, cnp.ndarray scratch,
                   Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    """A task over a batch. given, wanted: the states at its ends, or their derivatives."""
    cdef Task task
    cdef Sequences* seq = &task.seq
    x_first = order if x_first is None else x_first
    check_sizes(cell, x, x_first, order, lengths)
    memset(&task, 0, sizeof(Task))
    task.plan = cell.plan
    task.packed = address(packed)
    read_inputs(seq, x, x_first)
    seq.order = <const Py_ssize_t*>address(order)
    seq.lengths = <const Py_ssize_t*>address(lengths)
    seq.B = cnp.PyArray_DIM(lengths, 0)
    seq.t0 = t0
    seq.t1 = t1
    seq.reverse = reverse
    seq.n_threads = n_threads
    seq.y = address(y)
    seq.y_first = <const Py_ssize_t*>address(order if y_first is None else y_first)
    seq.y_batch = stride(y, 0)
    seq.y_time = time_stride(y, 3)
    seq.tape = address(tape)
    seq.scratch = address(scratch)
    task.listens = is_main_thread()
    give_states(given, seq.state_in, seq.state_in_batch)
    give_states(wanted, <const void**>seq.state_out, seq.state_out_batch)
    return task


def forward(
    CellPlan cell not None, *, cnp.ndarray packed not None, cnp.ndarray x not None,
    cnp.ndarray x_first=None, cnp.ndarray order not None, cnp.ndarray lengths not None,
    cnp.ndarray y=None, cnp.ndarray y_first=None, tuple initial=None, tuple final=None,
    cnp.ndarray tape=None, cnp.ndarray scratch not None, Py_ssize_t t0=0, Py_ssize_t t1,
    int reverse=0, int n_threads=1,
):
    """Steps t0 to t1 of a layer, one direction. OUT y, final, tape; scratch is scratch memory."""
    cdef Task task = new_task(cell, packed, x, x_first, order, lengths, tape, y, y_first, initial,
                              final, scratch, t0, t1, reverse, n_threads)
    forward_layer(&task, cell.item_size)


def backward(
    CellPlan cell not None, *, cnp.ndarray packed not None, cnp.ndarray x not None,
    cnp.ndarray x_first=None, cnp.ndarray order not None, cnp.ndarray lengths not None,
    cnp.ndarray tape not None, cnp.ndarray dy=None, cnp.ndarray dy_first=None, tuple dfinal=None,
    tuple dinitial=None, cnp.ndarray dx=None, cnp.ndarray dx_first=None,
    cnp.ndarray grad not None, cnp.ndarray scratch not None, Py_ssize_t t0=0, Py_ssize_t t1,
    int reverse=0, int n_threads=1, Py_ssize_t first_row=0,
):
    """BPTT through the same steps. IN and OUT dx, grad (added to); OUT dinitial.

    first_row: rows of longer sequences, of which these are a segment, before their step 0; chunks
    begin where they would with the sequences whole.
    """
    cdef Task task = new_task(cell, packed, x, x_first, order, lengths, tape, dy, dy_first, dfinal,
                              dinitial, scratch, t0, t1, reverse, n_threads)
    task.seq.dx = address(dx)
    task.seq.dx_first = <const Py_ssize_t*>address(order if dx_first is None else dx_first)
    task.seq.dx_batch = stride(dx, 0)
    task.seq.dx_time = time_stride(dx, 3)
    task.seq.grad = address(grad)
    task.seq.first_row = first_row
    backward_layer(&task, cell.item_size)


cdef Stretch stretch_of(cnp.ndarray first, cnp.ndarray order, cnp.ndarray lengths,
                        cnp.ndarray wanted):
    """Rows that are reduced to `wanted` (B, K)."""
    return Stretch(cnp.PyArray_DIM(wanted, 0), cnp.PyArray_DIM(wanted, 1),
                   <const Py_ssize_t*>address(order), <const Py_ssize_t*>address(lengths),
                   <const Py_ssize_t*>address(first))


def add_over_time(cnp.ndarray y not None, cnp.ndarray first not None, cnp.ndarray order not None,
                  cnp.ndarray lengths not None, cnp.ndarray total not None):
    """total (B, K) += the sum of each sequence's rows of y (N, K). IN and OUT total.

    first, order, lengths: by rank, the sequence's first row, its number, its steps.
    """
    cdef Stretch steps = stretch_of(first, order, lengths, total)
    cdef void* y_ = address(y)
    cdef void* total_ = address(total)
    cdef bint single = is_single(total)
    with nogil:
        if single:
            run_sum[vf](&steps, <vf*>y_, <vf*>total_)
        else:
            run_sum[vd](&steps, <vd*>y_, <vd*>total_)


def max_over_time(cnp.ndarray y not None, cnp.ndarray first not None, cnp.ndarray order not None,
                  cnp.ndarray lengths not None, cnp.ndarray count not None, Py_ssize_t t0,
                  cnp.ndarray largest not None, cnp.ndarray step not None):
    """The maximum of each sequence's rows of y (N, K); of `largest` too where `count` is not 0.

    The first of its rows is step t0. NaN is larger than all else. IN and OUT largest (B, K), and
    step (B, K), the first that has it.
    """
    cdef Stretch steps = stretch_of(first, order, lengths, largest)
    cdef void* y_ = address(y)
    cdef void* count_ = address(count)
    cdef void* largest_ = address(largest)
    cdef Py_ssize_t* step_ = <Py_ssize_t*>address(step)
    cdef bint single = is_single(largest)
    with nogil:
        if single:
            run_max[float](&steps, <float*>y_, <float*>count_, t0, <float*>largest_, step_)
        else:
            run_max[double](&steps, <double*>y_, <double*>count_, t0, <double*>largest_, step_)


def columns_table(tuple columns not None):
    """What `output_units` takes of columns with units of their own: triples of code, count, floor.

    An output unit of the code gives what stands above the floor.
    """
    return table_of_columns(columns)


def output_units(int kind, cnp.ndarray a not None, cnp.ndarray y not None, cnp.ndarray table=None):
    """Output units of the rows of a (N, K), by code. OUT y, which may be a.

    table: of code 5, columns that have units of their own; they are K in all.
    """
    cdef void* a_ = address(a)
    cdef void* y_ = address(y)
    output_rows(kind, table, cnp.PyArray_ITEMSIZE(a), cnp.PyArray_DIM(a, 0),
                cnp.PyArray_DIM(a, 1), a_, y_)


def loss_rows(int loss, cnp.ndarray a not None, cnp.ndarray targets not None,
              cnp.ndarray weights, double scale, int n_threads, tuple form=None):
    """A loss, by code, of rows of pre-activations a (N, K). OUT a: its derivative by them.

    targets: (N, K); of cross entropy (code 1) also N labels. weights: N, each times scale, or None
    for ones; of the losses 0, 2 and 3 also (N, K), one for each output's part of the sum. What has
    weight 0, a row or an output, counts nothing, whatever it holds.

    form: of a mixture (code 4), with targets (N, dimensions + end): dimensions, correlation, end,
    floor of the scales.
    """
    cdef Rows rows
    cdef int numbers = cnp.PyArray_TYPE(a)
    if not (numbers in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) and cnp.PyArray_NDIM(a) == 2
            and is_plain(a, numbers, cnp.NPY_ARRAY_CARRAY) and cnp.PyArray_DIM(a, 1) > 0):
        raise ValueError("a: expected a writeable contiguous array of rows of float32 or float64, "
                         f"got shape {(<object>a).shape} and dtype {a.dtype}")
    rows = rows_to_score(loss, address(a), cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), numbers,
                         targets, weights, scale, form)
    return loss_of_rows(&rows, cnp.PyArray_ITEMSIZE(a), n_threads)


def ctc_scratch_size(Py_ssize_t T, Py_ssize_t U, Py_ssize_t K, int n_threads):
    """Numbers of scratch memory that `ctc_rows` takes, for at most T steps and U labels each."""
    return n_threads * ctc_scratch(T, U, K)


def ctc_rows(cnp.ndarray a not None, cnp.ndarray first not None, cnp.ndarray labels not None,
             cnp.ndarray begin not None, cnp.ndarray weights not None, Py_ssize_t blank,
             cnp.ndarray values not None, cnp.ndarray scratch not None, int n_threads):
    """-ln of the probability of each sequence's labels (CTC). OUT a: its derivative; values (B,).

    The rows of sequence b in a (N, K) begin at first[b], its labels at begin[b]; both (B + 1,) end
    with the number of all. Its derivative is multiplied by its weight, its value is not, but of one
    whose weight is 0 both are 0. A value may be infinite; its derivative is then 0.
    """
    cdef Labellings data
    cdef int numbers = cnp.PyArray_TYPE(a)
    cdef bint single = numbers == cnp.NPY_FLOAT
    check_ctc(a, first, labels, begin, weights, blank, values, scratch, n_threads)
    data.B = cnp.PyArray_DIM(weights, 0)
    data.K = cnp.PyArray_DIM(a, 1)
    data.blank = blank
    data.a = address(a)
    data.first = <const Py_ssize_t*>address(first)
    data.labels = <const Py_ssize_t*>address(labels)
    data.begin = <const Py_ssize_t*>address(begin)
    data.weights = <const double*>address(weights)
    data.values = <double*>address(values)
    data.scratch = <double*>address(scratch)
    data.scratch_size = cnp.PyArray_DIM(scratch, 0) // n_threads
    with nogil:
        if single:
            run_ctc[vf](&data, n_threads, NULL)
        else:
            run_ctc[vd](&data, n_threads, NULL)


def all_finite(cnp.ndarray x not None):
    """Whether a contiguous array holds neither NaN nor infinity."""
    cdef void* x_ = address(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef bint single = is_single(x), result
    if n == 0:
        return True
    with nogil:
        if single:
            result = run_all_finite[vf](n, <vf*>x_)
        else:
            result = run_all_finite[vd](n, <vd*>x_)
    return result


def same_bytes(cnp.ndarray a not None, cnp.ndarray b not None):
    """Whether two arrays of one size hold the same bytes."""
    return memcmp(address(a), address(b), cnp.PyArray_NBYTES(a)) == 0


def apply_activation(int code, double alpha, double beta, cnp.ndarray x not None,
                     cnp.ndarray y not None):
    """y = an activation (or exp, code 14) of x, both 1-D. OUT y."""
    cdef Activation f = Activation(code, alpha, beta)
    cdef void* x_ = address(x)
    cdef void* y_ = address(y)
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0)
    cdef bint single = is_single(x)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        if single:
            run_activation[vf](&f, n, <vf*>x_, <vf*>y_)
        else:
            run_activation[vd](&f, n, <vd*>x_, <vd*>y_)
        restore_denormals(mode)


# Steps of optimizers, whose formulas are in docs/equations.md. All arrays are flat, of one
# size and type. `scale` multiplies the gradient; numbers are rounded to the arrays' type.

def adam_update(cnp.ndarray theta not None, cnp.ndarray g not None, cnp.ndarray m not None,
                cnp.ndarray v not None, double scale, double rate, double beta1, double beta2,
                double unbias, double eps):
    """theta -= rate m / (unbias sqrt(v) + eps). IN and OUT theta, m, v."""
    cdef void* theta_ = address(theta)
    cdef void* g_ = address(g)
    cdef void* m_ = address(m)
    cdef void* v_ = address(v)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(theta)
    cdef bint single = is_single(theta)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        if single:
            run_adam[float](n, <float*>theta_, <float*>g_, <float*>m_, <float*>v_, scale, rate,
                            beta1, 1.0 - beta1, beta2, 1.0 - beta2, unbias, eps)
        else:
            run_adam[double](n, <double*>theta_, <double*>g_, <double*>m_, <double*>v_, scale,
                             rate, beta1, 1.0 - beta1, beta2, 1.0 - beta2, unbias, eps)
        restore_denormals(mode)


def sgd_update(cnp.ndarray theta not None, cnp.ndarray g not None, cnp.ndarray velocity not None,
               double scale, double momentum, bint nesterov):
    """theta += velocity, or what Nesterov has. IN and OUT theta, velocity."""
    cdef void* theta_ = address(theta)
    cdef void* g_ = address(g)
    cdef void* velocity_ = address(velocity)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(theta)
    cdef bint single = is_single(theta)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        if single and nesterov:
            run_nesterov[float](n, <float*>theta_, <float*>g_, <float*>velocity_, scale, momentum)
        elif single:
            run_momentum[float](n, <float*>theta_, <float*>g_, <float*>velocity_, scale, momentum)
        elif nesterov:
            run_nesterov[double](n, <double*>theta_, <double*>g_, <double*>velocity_, scale,
                                 momentum)
        else:
            run_momentum[double](n, <double*>theta_, <double*>g_, <double*>velocity_, scale,
                                 momentum)
        restore_denormals(mode)


def rmsprop_update(cnp.ndarray theta not None, cnp.ndarray g not None, cnp.ndarray v not None,
                   double scale, double rate, double rho, double eps):
    """theta -= rate g / (sqrt(v) + eps). IN and OUT theta, v."""
    cdef void* theta_ = address(theta)
    cdef void* g_ = address(g)
    cdef void* v_ = address(v)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(theta)
    cdef bint single = is_single(theta)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        if single:
            run_rmsprop[float](n, <float*>theta_, <float*>g_, <float*>v_, scale, rate, rho,
                               1.0 - rho, eps)
        else:
            run_rmsprop[double](n, <double*>theta_, <double*>g_, <double*>v_, scale, rate, rho,
                                1.0 - rho, eps)
        restore_denormals(mode)


def rprop_update(cnp.ndarray theta not None, cnp.ndarray g not None, cnp.ndarray size not None,
                 cnp.ndarray step not None, bint rose, double eta_plus, double eta_minus,
                 double step_min, double step_max):
    """theta += step, after iRprop+; all in float64. IN and OUT theta, size, step."""
    cdef void* theta_ = address(theta)
    cdef void* g_ = address(g)
    cdef void* size_ = address(size)
    cdef void* step_ = address(step)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(theta)
    cdef unsigned long long mode
    with nogil:
        mode = flush_denormals()
        run_rprop(n, <double*>theta_, <double*>g_, <double*>size_, <double*>step_, rose, eta_plus,
                  eta_minus, step_min, step_max)
        restore_denormals(mode)


def sum_of_squares(cnp.ndarray x not None):
    """The sum of the squares of a contiguous array's numbers, in float64, in one fixed order."""
    cdef void* x_ = address(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef bint single = is_single(x)
    cdef double total
    with nogil:
        if single:
            total = run_sum_of_squares[float](n, <float*>x_)
        else:
            total = run_sum_of_squares[double](n, <double*>x_)
    return total


def add_noise(cnp.ndarray out not None, cnp.ndarray x not None, double deviation, uint64_t key):
    """out = x + deviation · noise of N(0, 1), which is a function of the key and of the place.

    IN x; OUT out, which may be x; contiguous, of one size and type.
    """
    cdef void* out_ = address(out)
    cdef void* x_ = address(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef bint single = is_single(x)
    with nogil:
        if single:
            run_noise[float](n, <float*>out_, <float*>x_, deviation, key)
        else:
            run_noise[double](n, <double*>out_, <double*>x_, deviation, key)

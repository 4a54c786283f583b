# From arrays to what the kernels work on, and calls of them with the GIL in hand.

cdef class CellPlan:
    """A cell in one dtype. Made by `plan_cell`, never changed."""
    cdef Plan plan
    cdef int item_size


# Called with the GIL, which they release. Those that give an int raise what the handler of a signal
# has raised.

cdef enum:
    NUMBERS_OF_OUTPUTS = 4194304        # until handlers may run: some 20 milliseconds

cdef int forward_layer(const Task* task, int item_size) except -1:
    cdef bint single = item_size == FLOAT32, is_over
    with nogil:
        if single:
            is_over = run_forward[vf](task, NULL)
        else:
            is_over = run_forward[vd](task, NULL)
    return -1 if is_over else PyErr_CheckSignals()


cdef int backward_layer(const Task* task, int item_size) except -1:
    cdef bint single = item_size == FLOAT32, is_over
    with nogil:
        if single:
            is_over = run_backward[vf](task, NULL)
        else:
            is_over = run_backward[vd](task, NULL)
    return -1 if is_over else PyErr_CheckSignals()


cdef void pack_blocks(const Plan* plan, int item_size, const void* const* blocks,
                      void* packed) noexcept:
    cdef bint single = item_size == FLOAT32
    with nogil:
        if single:
            run_pack(plan, blocks, <vf*>packed)
        else:
            run_pack(plan, blocks, <vd*>packed)


cdef void unpack_blocks(const Plan* plan, int item_size, const void* grad,
                        void* const* blocks) noexcept:
    cdef bint single = item_size == FLOAT32
    with nogil:
        if single:
            run_unpack(plan, <const vf*>grad, blocks)
        else:
            run_unpack(plan, <const vd*>grad, blocks)


cdef object table_of_columns(tuple columns):
    """Output units of columns, triples of code, count and floor, as structs in an array's bytes."""
    cdef cnp.npy_intp[1] size = [len(columns) * sizeof(Columns)]
    cdef cnp.ndarray table = cnp.PyArray_ZEROS(1, size, cnp.NPY_UINT8, 0)
    cdef Columns* entry = <Columns*>address(table)
    for output, count, floor in columns:
        entry.output = output
        entry.count = count
        entry.floor = floor
        entry += 1
    return table


cdef int output_rows(int output, cnp.ndarray table, int item_size, Py_ssize_t rows, Py_ssize_t K,
                     const void* a, void* y) except -1:
    """The output units of rows (rows, K). table: of `columns_table`, or None."""
    cdef const Columns* columns = <const Columns*>address(table)
    cdef int n_columns = 0 if table is None else columns_in(table)
    cdef Py_ssize_t at_once = NUMBERS_OF_OUTPUTS // K + 1, first = 0, n, place
    cdef bint single = item_size == FLOAT32
    while first < rows:
        n = min(at_once, rows - first)
        place = first * K
        with nogil:
            if single:
                run_output_units(output, columns, n_columns, n, K, at(<const vf*>a, place),
                                 at(<vf*>y, place))
            else:
                run_output_units(output, columns, n_columns, n, K, at(<const vd*>a, place),
                                 at(<vd*>y, place))
        if PyErr_CheckSignals() < 0:
            return -1
        first += n
    return 0


def plan_cell(description, dtype):
    """What kernels take as their cell: making it takes longer than a short call.

    description: dict with the fields of `lstmcore_cell` but its size
    """
    cdef Cell cell = dict(description, size=sizeof(Cell))
    cdef CellPlan result = CellPlan.__new__(CellPlan)
    result.item_size = dtype.itemsize
    result.plan = plan_of(&cell, result.item_size)
    return result


cdef inline bint are_indices(object array, Py_ssize_t B) noexcept:
    """Whether `array` is a vector of B indices that can be read as it stands."""
    return (is_plain(array, cnp.NPY_INTP, cnp.NPY_ARRAY_CARRAY_RO)
            and cnp.PyArray_NDIM(<cnp.ndarray>array) == 1
            and cnp.PyArray_SIZE(<cnp.ndarray>array) == B)


cdef bint are_inside(cnp.ndarray first, cnp.ndarray lengths, Py_ssize_t n, Py_ssize_t T) noexcept:
    """Whether all sequences are in an array of n sequences of T steps; with T -1, of n rows."""
    cdef const Py_ssize_t* first_ = <const Py_ssize_t*>address(first)
    cdef const Py_ssize_t* lengths_ = <const Py_ssize_t*>address(lengths)
    cdef Py_ssize_t r
    for r in range(cnp.PyArray_SIZE(lengths)):
        if first_[r] < 0 or lengths_[r] < 0:
            return False
        if first_[r] > n - lengths_[r] if T < 0 else (first_[r] >= n or lengths_[r] > T):
            return False
    return True


cdef int check_sizes(CellPlan cell, cnp.ndarray x, cnp.ndarray x_first, cnp.ndarray order,
                     cnp.ndarray lengths) except -1:
    """Raise where memory would be read that is not x's: these arrays are in users' hands."""
    cdef Py_ssize_t B = cnp.PyArray_SIZE(lengths)
    cdef bint of_tokens = cnp.PyArray_TYPE(x) == cnp.NPY_INTP
    cdef int axes = cnp.PyArray_NDIM(x) - (not of_tokens)     # before the inputs
    if not (are_indices(order, B) and are_indices(lengths, B) and are_indices(x_first, B)):
        raise ValueError("order, lengths, x_first: expected vectors of indices of one size")
    if not (axes in (1, 2)
            and are_inside(x_first, lengths, cnp.PyArray_DIM(x, 0),
                           cnp.PyArray_DIM(x, 1) if axes == 2 else -1)
            and (of_tokens or (cnp.PyArray_DIM(x, axes) == cell.plan.cell.inputs
                               and cnp.PyArray_ITEMSIZE(x) == cell.item_size))):
        raise ValueError(f"x: expected {B} sequences of the lengths given and of "
                         f"{cell.plan.cell.inputs} inputs, got shape {(<object>x).shape}")
    return 0


cdef inline Py_ssize_t time_stride(object array, int axes) noexcept:
    """Of an array (B, T, ...) with so many axes, or of its rows (N, ...); 0 for None."""
    if array is None:
        return 0
    return stride(array, 1 if cnp.PyArray_NDIM(<cnp.ndarray>array) == axes else 0)


cdef inline void read_inputs(Sequences* seq, cnp.ndarray x, cnp.ndarray x_first) noexcept:
    """Inputs or tokens, which `check_sizes` has seen."""
    if cnp.PyArray_TYPE(x) == cnp.NPY_INTP:
        seq.tokens = <const Py_ssize_t*>address(x)
        seq.x_time = time_stride(x, 2)
    else:
        seq.x = address(x)
        seq.x_time = time_stride(x, 3)
    seq.x_first = <const Py_ssize_t*>address(x_first)
    seq.x_batch = stride(x, 0)


cdef inline void give_states(tuple states, const void** arrays, Py_ssize_t* strides) noexcept:
    """Where the states of one direction are, if any; None is not there."""
    cdef Py_ssize_t k
    if states is not None:
        for k in range(len(states)):
            arrays[k] = address(states[k])
            strides[k] = stride(states[k], 0)


cdef int read_mixture(tuple form, Py_ssize_t K, Mixture* mixture) except -1:
    """The form of a mixture of K columns."""
    dimensions, correlation, end, floor = form
    mixture.dimensions = dimensions
    mixture.correlation = correlation
    mixture.end = end
    mixture.floor = floor
    if mixture.dimensions < 1 or (mixture.correlation and mixture.dimensions != 2):
        raise ValueError(f"form: expected dimensions, 2 of them with a correlation, got {form}")
    mixture.components = (K - mixture.end) // groups_of(mixture)
    if (K != mixture.components * groups_of(mixture) + mixture.end
            or not 1 <= mixture.components <= MOST_COMPONENTS):
        raise ValueError(f"a: expected {groups_of(mixture)} columns for each of up to "
                         f"{MOST_COMPONENTS} components and {int(mixture.end)} more, got {K}")
    return 0


cdef int check_targets(const Rows* rows, int numbers, cnp.ndarray targets,
                       cnp.ndarray weights) except -1:
    """Raise unless they are those of N rows of numbers of a type: they are in users' hands."""
    cdef Py_ssize_t N = rows.N, K = rows.K, size = rows.target_size
    cdef bint with_labels = rows.loss == CROSS_ENTROPY and cnp.PyArray_NDIM(targets) == 1
    if not (is_plain(targets, cnp.NPY_INTP if with_labels else numbers, cnp.NPY_ARRAY_CARRAY_RO)
            and cnp.PyArray_NDIM(targets) == 2 - with_labels
            and cnp.PyArray_DIM(targets, 0) == N
            and (with_labels or cnp.PyArray_DIM(targets, 1) == size)):
        raise ValueError(f"targets: expected a contiguous array of those of {N} rows of {size} "
                         f"outputs, of their dtype, got shape {(<object>targets).shape} and dtype "
                         f"{targets.dtype}")
    if not (weights is None or (is_plain(weights, cnp.NPY_DOUBLE, cnp.NPY_ARRAY_CARRAY_RO)
                                and cnp.PyArray_NDIM(weights) in (1, 2)
                                and cnp.PyArray_DIM(weights, 0) == N)):
        raise ValueError(f"weights: expected a contiguous float64 vector of {N} numbers, got shape "
                         f"{(<object>weights).shape} and dtype {weights.dtype}")
    if (weights is not None and cnp.PyArray_NDIM(weights) == 2
            and (rows.loss in (CROSS_ENTROPY, MIXTURE) or cnp.PyArray_DIM(weights, 1) != K)):
        raise ValueError(f"weights: expected {N} numbers, or {N} rows of {K} with a loss that is a "
                         f"sum over outputs, got shape {(<object>weights).shape}")
    return 0


cdef Rows rows_to_score(int loss, void* a, Py_ssize_t N, Py_ssize_t K, int numbers,
                        cnp.ndarray targets, cnp.ndarray weights, double scale,
                        tuple form) except *:
    """Rows of numbers of a type, with targets and weights that are in users' hands: checked."""
    cdef Rows rows
    memset(&rows, 0, sizeof(Rows))
    rows.loss = loss
    rows.N = N
    rows.K = rows.target_size = K
    rows.a = a
    if loss == MIXTURE:
        read_mixture(form, K, &rows.mixture)
        rows.target_size = rows.mixture.dimensions + rows.mixture.end
    check_targets(&rows, numbers, targets, weights)
    if cnp.PyArray_NDIM(targets) == 1:
        rows.labels = <const Py_ssize_t*>address(targets)
    else:
        rows.targets = address(targets)
    rows.weights = <const double*>address(weights)
    rows.scale = scale
    if weights is not None and cnp.PyArray_NDIM(weights) == 2:
        rows.N = N * K                  # each output's part is a term of its own
        rows.K = rows.target_size = 1
    return rows


cdef double loss_of_rows(const Rows* rows, int item_size, int n_threads) noexcept:
    cdef bint single = item_size == FLOAT32
    cdef double value
    with nogil:
        if single:
            value = run_loss[vf](rows, n_threads, NULL)
        else:
            value = run_loss[vd](rows, n_threads, NULL)
    return value


cdef int check_ctc(cnp.ndarray a, cnp.ndarray first, cnp.ndarray labels, cnp.ndarray begin,
                   cnp.ndarray weights, Py_ssize_t blank, cnp.ndarray values, cnp.ndarray scratch,
                   int n_threads) except -1:
    """Raise where the arguments of `ctc_rows` do not belong together: they are in users' hands."""
    cdef Py_ssize_t B = cnp.PyArray_SIZE(weights), most_steps = 0, most_labels = 0, b, u
    cdef const Py_ssize_t* ends[2]
    cdef const Py_ssize_t* numbers = <const Py_ssize_t*>address(labels)
    cdef Py_ssize_t[2] sizes
    if not (cnp.PyArray_TYPE(a) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) and cnp.PyArray_NDIM(a) == 2
            and is_plain(a, cnp.PyArray_TYPE(a), cnp.NPY_ARRAY_CARRAY)
            and 0 <= blank < cnp.PyArray_DIM(a, 1)):
        raise ValueError("a: expected a writeable contiguous array of rows of float32 or float64, "
                         f"with a column {blank} for the blank, got shape {(<object>a).shape} and "
                         f"dtype {a.dtype}")
    for vector in (weights, values, scratch):
        if not (is_plain(vector, cnp.NPY_DOUBLE, cnp.NPY_ARRAY_CARRAY_RO)
                and cnp.PyArray_NDIM(vector) == 1):
            raise ValueError("weights, values, scratch: expected contiguous float64 vectors")
    if not (are_indices(first, B + 1) and are_indices(begin, B + 1)
            and are_indices(labels, cnp.PyArray_SIZE(labels)) and cnp.PyArray_SIZE(values) == B):
        raise ValueError(f"first, labels, begin, values: expected those of {B} sequences")
    ends[0], sizes[0] = <const Py_ssize_t*>address(first), cnp.PyArray_DIM(a, 0)
    ends[1], sizes[1] = <const Py_ssize_t*>address(begin), cnp.PyArray_SIZE(labels)
    for u in range(2):
        if ends[u][0] != 0 or ends[u][B] != sizes[u]:
            raise ValueError("first, begin: expected 0 first and the number of all last")
        for b in range(B):
            if ends[u][b] > ends[u][b + 1]:
                raise ValueError("first, begin: expected ascending numbers")
    for b in range(B):
        most_steps = max(most_steps, ends[0][b + 1] - ends[0][b])
        most_labels = max(most_labels, ends[1][b + 1] - ends[1][b])
    for u in range(sizes[1]):
        if not 0 <= numbers[u] < cnp.PyArray_DIM(a, 1):
            raise ValueError(f"labels: expected numbers of the {cnp.PyArray_DIM(a, 1)} columns of "
                             f"a, got {numbers[u]}")
    if n_threads < 1 or cnp.PyArray_SIZE(scratch) < n_threads * ctc_scratch(
            most_steps, most_labels, cnp.PyArray_DIM(a, 1)):
        raise ValueError("scratch: expected as many numbers as ctc_scratch_size says")
    return 0

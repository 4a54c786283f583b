# Output units, activations of arrays, sums over time, a look for NaN and infinity.

cdef inline void set_first(vec* p, Py_ssize_t k, vec x) noexcept nogil:
    """Number k at p = the first number of x."""
    copy_item(p, k, &x, 0)


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


cdef void output_row(int output, Py_ssize_t K, const vec* a, vec* y) noexcept nogil:
    """The output units of one row, of one kind; y may be a."""
    cdef Activation f = Activation(LOGISTIC if output == OUT_LOGISTIC else EXP, 0, 0)
    if output == OUT_TANH:
        f.code = TANH
    if output == OUT_SOFTMAX:
        run_softmax(K, a, y)
    elif output != OUT_IDENTITY:
        run_activation(&f, K, a, y)
    elif y != a:
        memcpy(y, a, K * (sizeof(vec) // lanes(a)))


cdef void mixed_row(const Columns* columns, int n, const vec* a, vec* y) noexcept nogil:
    """The output units of one row, whose columns have their own; y may be a."""
    cdef Py_ssize_t first = 0, j
    cdef int k
    for k in range(n):
        output_row(columns[k].output, columns[k].count, at(a, first), at(y, first))
        if columns[k].floor != 0:
            for j in range(first, first + columns[k].count):
                set_first(y, j, item(y, j) + like(y[0], columns[k].floor))
        first += columns[k].count


cdef void run_output_units(int output, const Columns* columns, int n_columns, Py_ssize_t rows,
                           Py_ssize_t K, const vec* a, vec* y) noexcept nogil:
    """The output units of rows (rows, K); those of OUT_MIXED are in `columns`."""
    cdef Py_ssize_t r
    cdef unsigned long long mode = flush_denormals()
    if output == OUT_SOFTMAX:
        for r in range(rows):
            run_softmax(K, at(a, r * K), at(y, r * K))
    elif output == OUT_MIXED:
        for r in range(rows):
            mixed_row(columns, n_columns, at(a, r * K), at(y, r * K))
    else:
        output_row(output, rows * K, a, y)
    restore_denormals(mode)


ctypedef fused real:
    float
    double


cdef struct Stretch:
    # Some steps of B sequences: rows (N, K), those of each sequence one after the other.
    Py_ssize_t B, K
    const Py_ssize_t* order         # by rank: the sequence,
    const Py_ssize_t* lengths       # its steps here,
    const Py_ssize_t* first         # the first of its rows


cdef void run_sum(const Stretch* steps, const vec* y, vec* total) noexcept nogil:
    """total += each sequence's own steps, in their order."""
    cdef Py_ssize_t r, t, K = steps.K
    for r in range(steps.B):
        for t in range(steps.lengths[r]):
            add_items(at(total, steps.order[r] * K), at(y, (steps.first[r] + t) * K), K)


cdef void run_max(const Stretch* steps, const real* y, const real* count, Py_ssize_t t0,
                  real* largest, Py_ssize_t* step) noexcept nogil:
    """largest, step: of each unit the maximum so far and the first step that has it.

    The first row here is step t0; `count` steps have been before. NaN is larger than all else.
    """
    cdef Py_ssize_t r, t, k, b, K = steps.K
    cdef bint is_first
    cdef real x, top
    for r in range(steps.B):
        b = steps.order[r]
        for t in range(steps.lengths[r]):
            is_first = t == 0 and count[b] == 0
            for k in range(K):
                x = y[(steps.first[r] + t) * K + k]
                top = largest[b * K + k]
                if is_first or x > top or (x != x and top == top):
                    largest[b * K + k] = x
                    step[b * K + k] = t0 + t


cdef bint run_all_finite(Py_ssize_t n, const vec* x) noexcept nogil:
    cdef Py_ssize_t L = lanes(x), j, _
    cdef vec rest = item(x, 0), zero = rest - rest      # of an infinity or a NaN: NaN
    for _ in range(n // (4 * L)):
        zero = zero + (((x[0] - x[0]) + (x[1] - x[1])) + ((x[2] - x[2]) + (x[3] - x[3])))
        x = x + 4
    for j in range(n % (4 * L)):
        rest = item(x, j)
        zero = zero + (rest - rest)
    zero = absolute(zero)       # where the thread rounds downward, x - x is -0
    rest = like(rest, 0)
    return memcmp(&zero, &rest, sizeof(vec)) == 0

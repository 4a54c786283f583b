# The simple recurrent network (3.30)-(3.33), and the dense layer (3.32), which is one without R.
#
# Blocks: W, R, b; of a dense layer W, b. Product: one vector for a group of units. Slot: b_h.

cdef const char* rnn_check(const Cell* cell) noexcept nogil:
    return check_activation(cell.act_output, cell.alpha_output)


cdef void rnn_plan(Plan* p) noexcept nogil:
    p.states = 1
    add_product(p, 0, 1, 0, 0, 1, 1, 2)


cdef void dense_plan(Plan* p) noexcept nogil:
    if p.cell.act_output == IDENTITY:
        p.slots = 0                 # its derivative needs no memory
    add_product(p, 0, 1, 0, 0, 0, ABSENT, 1)


cdef tuple rnn_fields(const Plan* p):
    """What the slots of a row of the tape hold, by the names of the twin."""
    return ("h",)[:p.slots]


cdef inline void rnn_start(const Plan* p, const vec* z, vec* tape) noexcept nogil:
    """The row of the tape that stands for the state before the first step."""
    cdef Py_ssize_t u
    for u in range(p.groups):
        tape[u] = z[u]


cdef inline void rnn_recall(const Plan* p, Py_ssize_t rows, const vec* previous,
                            vec* z) noexcept nogil:
    """The recurrent inputs of a step, out of the tape's rows of the step before."""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        z[u] = previous[u]


cdef inline void rnn_forward(const int is_tanh, const Plan* p, Py_ssize_t rows, const vec* a,
                             vec* z, vec* tape) noexcept nogil:
    """(3.31) b_h = theta(a_h)"""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        z[u] = tanh(a[u]) if is_tanh else activate(&p.output, a[u])
        if tape != NULL and p.slots:
            tape[u] = z[u]


cdef void rnn_backward(const Plan* p, Py_ssize_t rows, const vec* tape, const vec* dz,
                       vec* delta) noexcept nogil:
    """(3.33) delta_h = theta'(a_h) eps_h"""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        delta[u] = derivative(&p.output, tape[u]) * dz[u] if p.slots else dz[u]

# Whichever cell it is: the only place that compares kinds. Each function stands here once and calls
# that of the cell's own file.

cdef const char* check_cell(const Cell* cell) noexcept nogil:
    """NULL, or what is wrong with a description."""
    cdef Cell others = cell[0]          # the options that are left when the kind has taken its own
    cdef const char* wrong = "kind: none of the list"
    if not (1 <= cell.inputs <= LARGEST and 1 <= cell.units <= LARGEST):
        return "inputs, units: must be from 1 to 2^24"
    if cell.kind == LSTM:
        wrong = lstm_check(cell, &others)
    elif cell.kind == GRU:
        wrong = gru_check(cell, &others)
    elif cell.kind == RNN or cell.kind == DENSE:
        wrong = rnn_check(cell)
    if wrong == NULL and (others.input_gate or others.forget_gate or others.output_gate
                          or others.coupled or others.peepholes or others.gate_recurrence
                          or others.block_size != 1 or others.reset_after
                          or others.output_peephole):
        return "options: one that another kind has"
    return wrong


cdef Plan make_plan(const Cell* cell, Py_ssize_t L) noexcept nogil:
    """The plan of a description that `check_cell` lets pass."""
    cdef Plan p = bare_plan(cell, L)
    if cell.kind == LSTM:
        lstm_plan(&p)
    elif cell.kind == GRU:
        gru_plan(&p)
    elif cell.kind == RNN:
        rnn_plan(&p)
    else:
        dense_plan(&p)
    lay_out(&p)
    return p


cdef inline Plan plan_of(const Cell* cell, int dtype) noexcept nogil:
    return make_plan(cell, VF if dtype == FLOAT32 else VD)


cdef inline Py_ssize_t weight_row(const Plan* p, int product, int vector,
                                  Py_ssize_t unit) noexcept nogil:
    """The row of the blocks W and R that a product has in a vector, for a unit."""
    if p.cell.kind == LSTM:
        return lstm_row(p, vector, unit)
    if p.cell.kind == GRU:
        return gru_row(p, product, vector, unit)
    return unit


cdef inline Py_ssize_t bias_row(const Plan* p, int product, int vector,
                                Py_ssize_t unit) noexcept nogil:
    """The same of the block of biases; ABSENT: no such bias, the sum begins at zero."""
    if p.cell.kind == GRU:
        return gru_bias_row(p, product, vector, unit)
    return weight_row(p, product, vector, unit)


cdef inline bint owns_row(const Plan* p, int vector, Py_ssize_t unit) noexcept nogil:
    """Whether it is at this unit that a row's gradient is kept."""
    return p.cell.kind != LSTM or lstm_owns_row(p, vector, unit)


cdef void pack_others(const Plan* p, const void* const* blocks, vec* packed) noexcept nogil:
    """Blocks that no product has as they are: peepholes and gate recurrence."""
    if p.cell.kind == LSTM:
        lstm_pack(p, <const vec*>blocks[PEEPHOLES], <const vec*>blocks[GATE_RECURRENCE], packed)


cdef void unpack_others(const Plan* p, const vec* grad, void* const* blocks) noexcept nogil:
    if p.cell.kind == LSTM:
        lstm_unpack(p, grad, <vec*>blocks[PEEPHOLES], <vec*>blocks[GATE_RECURRENCE])


cdef void cell_start(const Plan* p, const vec* z, const vec* c, vec* tape) noexcept nogil:
    """OUT tape: the row that stands for the state (z, c) before the first step."""
    if p.cell.kind == LSTM:
        lstm_start(p, z, c, tape)
    elif p.cell.kind == GRU:
        gru_start(p, z, tape)
    elif p.cell.kind == RNN:
        rnn_start(p, z, tape)


cdef tuple cell_fields(const Plan* p):
    """What the slots of a row of the tape hold, in their order, by the names of the twin."""
    if p.cell.kind == LSTM:
        return lstm_fields(p)
    if p.cell.kind == GRU:
        return gru_fields(p)
    return rnn_fields(p)


cdef void cell_recall(const Plan* p, Py_ssize_t rows, const vec* tape, const vec* previous,
                      vec* z) noexcept nogil:
    """OUT z: the recurrent inputs of a step, out of its rows of the tape and those before it."""
    if p.cell.kind == LSTM:
        if p.standard:
            lstm_recall_standard(p, rows, previous, z)
        else:
            lstm_recall_any(p, rows, previous, z)
    elif p.cell.kind == GRU:
        gru_recall(p, rows, tape, previous, z)
    elif p.cell.kind == RNN:
        rnn_recall(p, rows, previous, z)


cdef void cell_forward(const Plan* p, int phase, const vec* packed, Py_ssize_t rows, vec* a,
                       vec* c, vec* z, vec* z_next, vec* tape) noexcept nogil:
    """One phase of a step of some rows.

    IN packed, a (overwritten); IN and OUT c; IN z, and OUT its sections that later phases read; the
    last phase: OUT z_next, which may be z, and tape (or NULL).
    """
    cdef const vec* w = at(packed, p.own)
    if p.cell.kind == LSTM:
        a = a + p.products[0].first
        if not p.standard:
            lstm_forward_any(p, w, rows, a, c, z_next, tape)
        elif not p.cell.peepholes:
            lstm_forward_standard(0, ABSENT, p, w, rows, a, c, z_next, tape)
        elif p.o_peeps == PEEP_NOW:
            lstm_forward_standard(1, PEEP_NOW, p, w, rows, a, c, z_next, tape)
        elif p.o_peeps == PEEP_BEFORE:
            lstm_forward_standard(1, PEEP_BEFORE, p, w, rows, a, c, z_next, tape)
        else:
            lstm_forward_standard(1, ABSENT, p, w, rows, a, c, z_next, tape)
    elif p.cell.kind == GRU:
        if p.cell.reset_after and p.standard:
            gru_forward(1, 1, p, phase, rows, a, z, z_next, tape)
        elif p.cell.reset_after:
            gru_forward(0, 1, p, phase, rows, a, z, z_next, tape)
        elif p.standard:
            gru_forward(1, 0, p, phase, rows, a, z, z_next, tape)
        else:
            gru_forward(0, 0, p, phase, rows, a, z, z_next, tape)
    elif p.output.code == TANH:
        rnn_forward(1, p, rows, a + p.products[0].first, z_next, tape)
    else:
        rnn_forward(0, p, rows, a + p.products[0].first, z_next, tape)


cdef void cell_backward(const Plan* p, int phase, const vec* packed, Py_ssize_t rows,
                        const vec* tape, const vec* previous, vec* dz, vec* dc, vec* delta,
                        vec* dw) noexcept nogil:
    """The same phase backward; phases come in the reverse order.

    IN tape, previous (its rows of the step before); IN and OUT dz, dc; OUT delta of the phase's
    columns; IN and OUT dw: each row's sums for the gradients of weights that the cell multiplies
    itself.
    """
    cdef const vec* w = at(packed, p.own)
    if p.cell.kind == LSTM:
        delta = delta + p.products[0].first
        if not p.standard:
            lstm_backward_any(p, w, rows, tape, previous, dz, dc, delta, dw)
        elif not p.cell.peepholes:
            lstm_backward_standard(0, ABSENT, p, w, rows, tape, previous, dz, dc, delta, dw)
        elif p.o_peeps == PEEP_NOW:
            lstm_backward_standard(1, PEEP_NOW, p, w, rows, tape, previous, dz, dc, delta, dw)
        elif p.o_peeps == PEEP_BEFORE:
            lstm_backward_standard(1, PEEP_BEFORE, p, w, rows, tape, previous, dz, dc, delta, dw)
        else:
            lstm_backward_standard(1, ABSENT, p, w, rows, tape, previous, dz, dc, delta, dw)
    elif p.cell.kind == GRU:
        if p.cell.reset_after and p.standard:
            gru_backward(1, 1, p, phase, rows, tape, previous, dz, delta)
        elif p.cell.reset_after:
            gru_backward(0, 1, p, phase, rows, tape, previous, dz, delta)
        elif p.standard:
            gru_backward(1, 0, p, phase, rows, tape, previous, dz, delta)
        else:
            gru_backward(0, 0, p, phase, rows, tape, previous, dz, delta)
    else:
        rnn_backward(p, rows, tape, dz, delta + p.products[0].first)

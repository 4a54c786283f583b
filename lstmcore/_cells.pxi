# The cells: what happens to one time step of some sequences once the products are summed.
#
# `a` holds the pre-activations of `rows` sequences, plan.columns numbers a row: for each group of
# L units (L = numbers in a vector) the vectors of the layer's gates in the order i, f, g, o, gates
# that the layer does not have left out. A row of the tape holds for each group of units the same
# vectors after their activation, then c, then h(c), and with gate recurrence b_c.
# Rows of z are the recurrent inputs of the next step: h and, with gate recurrence, the gates.

cdef enum:
    ABSENT = -1


cdef struct Plan:
    # Everything that follows from a cell's description and the width of the vectors, in numbers.
    Cell cell
    Activation gate, squash, output     # f, g, h of the equations
    int vectors                 # gate vectors in a group of units
    int i, f, g, o              # places of the gates among them
    int gates                   # how many of i, f, o
    int slots                   # vectors in a tape row for a group of units
    int c, tanh_c, h            # places of these among them
    int standard                # an LSTM with all gates, logistic and tanh, one cell per block
    Py_ssize_t lanes            # L
    Py_ssize_t groups           # groups of L units
    Py_ssize_t all_groups       # the same, but of the whole layer where this is a part of one
    Py_ssize_t padded           # H, padded to whole groups
    Py_ssize_t column_vectors   # vectors in a row of a
    Py_ssize_t columns          # the same in numbers
    Py_ssize_t input_vectors    # vectors that hold I numbers
    Py_ssize_t sources          # matrices in R: one that reads h, and one for each gate read back
    Py_ssize_t z_row            # numbers in a row of z
    Py_ssize_t tape_row         # numbers in a row of the tape
    Py_ssize_t bias, peepholes, W, R, packed        # offsets in the packed weights and the gradient


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t to) noexcept nogil:
    return (n + to - 1) // to * to


cdef Plan make_plan(const Cell* cell, Py_ssize_t L) noexcept nogil:
    cdef Plan p
    cdef Py_ssize_t own
    p.cell = cell[0]
    p.gate = Activation(cell.act_gate, cell.alpha_gate, cell.beta_gate)
    p.squash = Activation(cell.act_cell, cell.alpha_cell, cell.beta_cell)
    p.output = Activation(cell.act_output, cell.alpha_output, cell.beta_output)
    p.i = p.f = p.o = p.c = p.tanh_c = p.h = ABSENT
    p.g = 0
    p.vectors = 1
    p.gates = 0
    p.slots = 1
    if cell.kind == LSTM:
        p.vectors = 0
        if cell.input_gate:
            p.i = p.vectors
            p.vectors += 1
        if cell.forget_gate and not cell.coupled:
            p.f = p.vectors
            p.vectors += 1
        p.g = p.vectors
        p.vectors += 1
        if cell.output_gate:
            p.o = p.vectors
            p.vectors += 1
        p.gates = p.vectors - 1
        p.c = p.vectors
        p.tanh_c = p.vectors + 1
        p.slots = p.vectors + 2
        if cell.gate_recurrence:
            p.h = p.slots
            p.slots += 1
    elif cell.kind == DENSE and cell.act_output == IDENTITY:
        p.slots = 0                 # its derivative needs no memory
    p.standard = (cell.kind == LSTM and p.vectors == 4 and cell.block_size == 1
                  and not cell.gate_recurrence and cell.act_gate == LOGISTIC
                  and cell.act_cell == TANH and cell.act_output == TANH)
    p.lanes = L
    p.groups = p.all_groups = (cell.units + L - 1) // L
    p.padded = p.groups * L
    p.column_vectors = p.groups * p.vectors
    p.columns = p.column_vectors * L
    p.input_vectors = (cell.inputs + L - 1) // L
    p.sources = 0 if cell.kind == DENSE else 1 + p.gates * (1 if cell.gate_recurrence else 0)
    p.z_row = p.padded * max(p.sources, 1)
    p.tape_row = p.padded * p.slots
    p.bias = 0
    p.peepholes = p.columns
    p.W = p.peepholes + (3 * p.padded if cell.peepholes else 0)
    p.R = p.W + cell.inputs * p.columns
    p.packed = p.R + p.sources * cell.units * p.columns
    return p


cdef Plan part_of_layer(const Plan* p, Py_ssize_t u0, Py_ssize_t u1) noexcept nogil:
    """The plan for the cells of the unit groups u0 to u1 - 1, a row at a time."""
    cdef Plan own = p[0]
    own.groups = u1 - u0
    own.cell.units = max(min(p.cell.units, u1 * p.lanes) - u0 * p.lanes, 0)
    own.peepholes = p.peepholes + u0 * p.lanes
    return own


cdef inline int gate_place(const Plan* p, int which) noexcept nogil:
    """The place of the which-th gate that the layer has: i and f stand before g, o behind."""
    return which if which < p.g else which + 1


cdef inline vec units_only(const Plan* p, Py_ssize_t u, vec x) noexcept nogil:
    """x with 0 in the lanes behind the last unit: nobody reads them, but nothing may grow there."""
    cdef vec lane = x
    cdef Py_ssize_t k
    if p.cell.units - u * p.lanes >= p.lanes:
        return x
    for k in range(p.lanes):
        set_item(&lane, k, k)
    return where_less(lane, like(x, p.cell.units - u * p.lanes), x, like(x, 0))


# ---- LSTM ---------------------------------------------------------------------------------------

cdef inline void lstm_forward_standard(const int peepholes, const Plan* p, const vec* w,
                                       Py_ssize_t rows, vec* a, vec* c, vec* z,
                                       vec* tape) noexcept nogil:
    """(4.2)-(4.10) for the vanilla LSTM, with (`peepholes`) or without peepholes.

    IN w (i, f, o peephole weights), a (overwritten); IN and OUT c: s_c(t-1), then s_c(t); OUT z,
    tape (or NULL). Two passes over some groups: h(s_c) waits for s_c, and the processor's window is
    too short to fill that wait with the gates of the next units.
    """
    cdef Py_ssize_t n = p.groups, all_n = p.all_groups, first = 0, last = 0, q, u = 0
    cdef vec a_i, a_f, i, f, g, o, s, tanh_s
    cdef vec* keep
    while last < rows * n:
        first = last
        last = min(first + 16, rows * n)
        for q in range(first, last):
            s = c[q]
            a_i = a[4 * q]
            a_f = a[4 * q + 1]
            if peepholes:
                a_i = fma(w[u], s, a_i)                             # (4.2)
                a_f = fma(w[all_n + u], s, a_f)                     # (4.4)
            i = logistic(a_i)                                       # (4.3)
            f = logistic(a_f)                                       # (4.5)
            g = tanh(a[4 * q + 2])
            s = fma(i, g, f * s)                                    # (4.7)
            c[q] = s
            if peepholes:
                a[4 * q + 3] = fma(w[2 * all_n + u], s, a[4 * q + 3])       # (4.8)
                u = u + 1 if u + 1 < n else 0
            if tape != NULL:
                keep = tape + 6 * q
                keep[0] = i
                keep[1] = f
                keep[2] = g
                keep[4] = s
        for q in range(first, last):
            tanh_s = tanh(c[q])
            o = logistic(a[4 * q + 3])                              # (4.9)
            z[q] = o * tanh_s                                       # (4.10)
            if tape != NULL:
                keep = tape + 6 * q
                keep[3] = o
                keep[5] = tanh_s


cdef inline void lstm_backward_standard(const int peepholes, const Plan* p, const vec* w,
                                        Py_ssize_t rows, const vec* tape, const vec* before,
                                        const vec* dz, vec* dc, vec* delta, vec* z,
                                        vec* dw) noexcept nogil:
    """(4.11)-(4.16) for the vanilla LSTM.

    IN tape, before (the tape a step earlier), dz: eps_c; IN and OUT dc: what the later steps add to
    eps_s, then what this one adds to the earlier; OUT delta, z (the recurrent input of this step);
    IN and OUT dw: each row's sums for the gradients of the peepholes.
    """
    cdef Py_ssize_t r, u, k, n = p.groups, all_n = p.all_groups
    cdef vec i, f, g, o, tanh_s, s_before, eps_c, eps_s, d_i, d_f, d_o, ds, one
    cdef const vec* t
    cdef const vec* b
    cdef vec* d
    for r in range(rows):
        for u in range(n):
            t = tape + 6 * (r * n + u)
            b = before + 6 * (r * n + u)
            d = delta + 4 * (r * n + u)
            i = t[0]
            f = t[1]
            g = t[2]
            o = t[3]
            tanh_s = t[5]
            one = like(i, 1)
            s_before = b[4]
            z[r * n + u] = b[3] * b[5]
            eps_c = dz[r * n + u]
            d_o = o * (one - o) * (tanh_s * eps_c)                          # (4.12)
            eps_s = fma(o * (one - tanh_s * tanh_s), eps_c, dc[r * n + u])  # (4.13)
            if peepholes:
                eps_s = fma(w[2 * all_n + u], d_o, eps_s)
            d[2] = i * (one - g * g) * eps_s                                # (4.14)
            d_f = f * (one - f) * (s_before * eps_s)                        # (4.15)
            d_i = i * (one - i) * (g * eps_s)                               # (4.16)
            d[0] = d_i
            d[1] = d_f
            d[3] = d_o
            ds = f * eps_s
            if peepholes:
                ds = fma(w[u], d_i, fma(w[all_n + u], d_f, ds))
                k = 3 * r * all_n + u
                dw[k] = fma(d_i, s_before, dw[k])
                dw[k + all_n] = fma(d_f, s_before, dw[k + all_n])
                dw[k + 2 * all_n] = fma(d_o, t[4], dw[k + 2 * all_n])
            dc[r * n + u] = ds


cdef void add_block_peepholes(const Plan* p, int place, const vec* w, const vec* s,
                              vec* a) noexcept nogil:
    """a of one gate += sum of w s over the cells of each block, the same for all its cells."""
    cdef Py_ssize_t C = p.cell.block_size, block, first, k, L = p.lanes
    cdef vec total
    for block in range(p.cell.units // C):
        first = block * C
        total = like(w[0], 0)
        for k in range(first, first + C):
            total = fma(item(w, k), item(s, k), total)
        for k in range(first, first + C):
            add_item(a, (k // L * p.vectors + place) * L + k % L, total)


cdef void fold_blocks(const Plan* p, int place, vec* delta) noexcept nogil:
    """A gate's deltas summed over the cells of each block, left at its first cell, 0 elsewhere."""
    cdef Py_ssize_t C = p.cell.block_size, block, first, k, j, L = p.lanes
    cdef vec other
    for block in range(p.cell.units // C):
        first = block * C
        j = (first // L * p.vectors + place) * L + first % L
        for k in range(first + 1, first + C):
            other = item(delta, (k // L * p.vectors + place) * L + k % L)
            add_item(delta, j, other)
            set_item(delta, (k // L * p.vectors + place) * L + k % L, 0)


cdef void block_peepholes_backward(const Plan* p, int place, const vec* w, const vec* delta,
                                   const vec* tape, vec* ds, vec* dw) noexcept nogil:
    """ds += w delta and dw += delta s_c, every cell with the delta of its block's gate (folded).

    s_c is that of the tape's row.
    """
    cdef Py_ssize_t C = p.cell.block_size, block, first, k, L = p.lanes
    cdef vec d
    for block in range(p.cell.units // C):
        first = block * C
        d = item(delta, (first // L * p.vectors + place) * L + first % L)
        for k in range(first, first + C):
            add_item(ds, k, item(w, k) * d)
            add_item(dw, k, d * item(tape, (k // L * p.slots + p.c) * L + k % L))


cdef void lstm_forward_any(const Plan* p, const vec* w, Py_ssize_t rows, vec* a, vec* c, vec* z,
                           vec* tape) noexcept nogil:
    """(4.2)-(4.10) with every option. Arguments as above; a is overwritten by the activations."""
    cdef Py_ssize_t r, u, n = p.groups, all_n = p.all_groups
    cdef int blocks = p.cell.block_size > 1, k
    cdef int alone = p.cell.peepholes and not blocks        # each cell has gates of its own
    cdef vec i, f, s, o, tanh_s, one
    cdef vec* v
    cdef vec* keep
    for r in range(rows):
        if p.cell.peepholes and blocks:
            if p.i != ABSENT:
                add_block_peepholes(p, p.i, w, c, a)                # (4.2)
            if p.f != ABSENT:
                add_block_peepholes(p, p.f, w + n, c, a)            # (4.4)
        for u in range(n):
            v = a + u * p.vectors
            s = c[u]
            one = like(s, 1)
            i = one
            f = one
            if p.i != ABSENT:
                i = activate(&p.gate, fma(w[u], s, v[p.i]) if alone else v[p.i])        # (4.3)
                v[p.i] = i
            if p.f != ABSENT:
                f = activate(&p.gate,
                             fma(w[all_n + u], s, v[p.f]) if alone else v[p.f])         # (4.5)
                v[p.f] = f
            elif p.cell.coupled:
                f = one - i
            v[p.g] = activate(&p.squash, v[p.g])
            c[u] = units_only(p, u, fma(i, v[p.g], f * s))          # (4.7)
        if p.cell.peepholes and blocks and p.o != ABSENT:
            add_block_peepholes(p, p.o, w + 2 * n, c, a)            # (4.8)
        for u in range(n):
            v = a + u * p.vectors
            s = c[u]
            tanh_s = activate(&p.output, s)
            z[u] = tanh_s
            if p.o != ABSENT:
                o = activate(&p.gate,
                             fma(w[2 * all_n + u], s, v[p.o]) if alone else v[p.o])     # (4.9)
                v[p.o] = o
                z[u] = o * tanh_s                                   # (4.10)
            for k in range(1, <int>p.sources):
                z[k * all_n + u] = v[gate_place(p, k - 1)]
            if tape != NULL:
                keep = tape + u * p.slots
                for k in range(p.vectors):
                    keep[k] = v[k]
                keep[p.c] = s
                keep[p.tanh_c] = tanh_s
                if p.h != ABSENT:
                    keep[p.h] = z[u]
        a += p.column_vectors
        c += n
        z += p.sources * n
        if tape != NULL:
            tape += p.slots * n


cdef void lstm_backward_any(const Plan* p, const vec* w, Py_ssize_t rows, const vec* tape,
                            const vec* before, const vec* dz, vec* dc, vec* delta, vec* z,
                            vec* dw) noexcept nogil:
    """(4.11)-(4.16) with every option. Arguments as above."""
    cdef Py_ssize_t r, u, n = p.groups, all_n = p.all_groups
    cdef int blocks = p.cell.block_size > 1, k, source_i = 0, source_f = 0, source_o = 0
    cdef int alone = p.cell.peepholes and not blocks
    cdef vec i, f, g, o, tanh_s, s_before, eps, eps_s, ds, one
    cdef const vec* t
    cdef const vec* b
    cdef vec* d
    if p.sources > 1:               # where dz holds what later gates add to eps of i, f, o
        source_i = 1 if p.i != ABSENT else 0
        source_f = source_i + 1 if p.f != ABSENT else 0
        source_o = <int>p.sources - 1 if p.o != ABSENT else 0
    for r in range(rows):
        for u in range(n):
            t = tape + u * p.slots
            b = before + u * p.slots
            d = delta + u * p.vectors
            tanh_s = t[p.tanh_c]
            one = like(tanh_s, 1)
            o = one
            if p.h != ABSENT:
                z[u] = b[p.h]
            elif p.o != ABSENT:
                z[u] = b[p.o] * b[p.tanh_c]
            else:
                z[u] = b[p.tanh_c]
            for k in range(1, <int>p.sources):
                z[k * all_n + u] = b[gate_place(p, k - 1)]
            if p.o != ABSENT:
                o = t[p.o]
                eps = tanh_s * dz[u]
                if source_o:
                    eps = eps + dz[source_o * all_n + u]
                d[p.o] = derivative(&p.gate, o) * eps                           # (4.12)
            dc[u] = fma(o * derivative(&p.output, tanh_s), dz[u], dc[u])        # (4.13)
            if alone and p.o != ABSENT:
                dc[u] = fma(w[2 * all_n + u], d[p.o], dc[u])
                dw[2 * all_n + u] = fma(d[p.o], t[p.c], dw[2 * all_n + u])
        if blocks and p.o != ABSENT:
            fold_blocks(p, p.o, delta)
            if p.cell.peepholes:
                block_peepholes_backward(p, p.o, w + 2 * n, delta, tape, dc, dw + 2 * n)
        for u in range(n):
            t = tape + u * p.slots
            b = before + u * p.slots
            d = delta + u * p.vectors
            eps_s = dc[u]
            s_before = b[p.c]
            g = t[p.g]
            one = like(g, 1)
            i = t[p.i] if p.i != ABSENT else one
            f = t[p.f] if p.f != ABSENT else one - i if p.cell.coupled else one
            d[p.g] = i * derivative(&p.squash, g) * eps_s                       # (4.14)
            ds = f * eps_s
            if p.f != ABSENT:
                eps = s_before * eps_s
                if source_f:
                    eps = eps + dz[source_f * all_n + u]
                d[p.f] = derivative(&p.gate, f) * eps                           # (4.15)
                if alone:
                    ds = fma(w[all_n + u], d[p.f], ds)
                    dw[all_n + u] = fma(d[p.f], s_before, dw[all_n + u])
            if p.i != ABSENT:
                eps = (g - s_before if p.cell.coupled else g) * eps_s
                if source_i:
                    eps = eps + dz[source_i * all_n + u]
                d[p.i] = derivative(&p.gate, i) * eps                           # (4.16)
                if alone:
                    ds = fma(w[u], d[p.i], ds)
                    dw[u] = fma(d[p.i], s_before, dw[u])
            dc[u] = ds
        if blocks:
            if p.f != ABSENT:
                fold_blocks(p, p.f, delta)
                if p.cell.peepholes:
                    block_peepholes_backward(p, p.f, w + n, delta, before, dc, dw + n)
            if p.i != ABSENT:
                fold_blocks(p, p.i, delta)
                if p.cell.peepholes:
                    block_peepholes_backward(p, p.i, w, delta, before, dc, dw)
        tape += p.slots * n
        before += p.slots * n
        dz += p.sources * n
        dc += n
        delta += p.column_vectors
        z += p.sources * n
        if p.cell.peepholes:
            dw += 3 * all_n


# ---- RNN and Dense ------------------------------------------------------------------------------

cdef inline void squash_rows(const int is_tanh, const Plan* p, Py_ssize_t rows, const vec* a,
                             vec* z, vec* tape) noexcept nogil:
    """(3.31) b_h = theta(a_h)"""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        z[u] = tanh(a[u]) if is_tanh else activate(&p.output, a[u])
        if tape != NULL and p.slots:
            tape[u] = z[u]


cdef void squash_backward_rows(const Plan* p, Py_ssize_t rows, const vec* tape, const vec* before,
                               const vec* dz, vec* delta, vec* z) noexcept nogil:
    """(3.33) delta_h = theta'(a_h) eps_h"""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        delta[u] = derivative(&p.output, tape[u]) * dz[u] if p.slots else dz[u]
        if p.sources:
            z[u] = before[u]


# ---- whichever cell it is -----------------------------------------------------------------------

cdef void cell_forward(const Plan* p, const vec* packed, Py_ssize_t rows, vec* a, vec* c, vec* z,
                       vec* tape) noexcept nogil:
    cdef const vec* w = at(packed, p.peepholes)
    if p.cell.kind != LSTM:
        if p.output.code == TANH:
            squash_rows(1, p, rows, a, z, tape)
        else:
            squash_rows(0, p, rows, a, z, tape)
    elif not p.standard:
        lstm_forward_any(p, w, rows, a, c, z, tape)
    elif p.cell.peepholes:
        lstm_forward_standard(1, p, w, rows, a, c, z, tape)
    else:
        lstm_forward_standard(0, p, w, rows, a, c, z, tape)


cdef void cell_backward(const Plan* p, const vec* packed, Py_ssize_t rows, const vec* tape,
                        const vec* before, const vec* dz, vec* dc, vec* delta, vec* z,
                        vec* dw) noexcept nogil:
    cdef const vec* w = at(packed, p.peepholes)
    if p.cell.kind != LSTM:
        squash_backward_rows(p, rows, tape, before, dz, delta, z)
    elif not p.standard:
        lstm_backward_any(p, w, rows, tape, before, dz, dc, delta, z, dw)
    elif p.cell.peepholes:
        lstm_backward_standard(1, p, w, rows, tape, before, dz, dc, delta, z, dw)
    else:
        lstm_backward_standard(0, p, w, rows, tape, before, dz, dc, delta, z, dw)

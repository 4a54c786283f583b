# The LSTM, (4.2)-(4.16), with every option.
#
# Blocks: W, R, b, p, Q. Product: the vectors of i, f, g, o, gates that the layer does not have left
# out. Slots: the same vectors after their activation, then c, then h(c), and with gate recurrence
# b_c. Sections of z: h and, with gate recurrence, the gates, which are part of the state. The cell
# multiplies the peepholes itself: rows for i, f, o, also where p has none for o.

cdef enum:
    PEEPHOLES = 3               # places of the blocks in the list: W, R, b, p, Q
    GATE_RECURRENCE = 4


cdef const char* lstm_check(const Cell* cell, Cell* others) noexcept nogil:
    cdef const char* wrong
    others.block_size = 1
    others.input_gate = others.forget_gate = others.output_gate = others.coupled = 0
    others.peepholes = others.gate_recurrence = others.output_peephole = 0
    if cell.block_size < 1 or cell.units % cell.block_size:
        return "block_size: must be a divisor of units"
    if (cell.input_gate not in (0, 1) or cell.forget_gate not in (0, 1)
            or cell.output_gate not in (0, 1) or cell.coupled not in (0, 1)
            or cell.peepholes not in (0, 1) or cell.gate_recurrence not in (0, 1)):
        return "options: must be 0 or 1"
    if cell.coupled and (not cell.input_gate or cell.forget_gate):
        return "coupled: needs the input gate, and forget_gate 0"
    if not (cell.input_gate or cell.forget_gate or cell.output_gate) and (
            cell.peepholes or cell.gate_recurrence):
        return "peepholes, gate_recurrence: need a gate"
    if cell.output_peephole not in (PEEP_NOW, PEEP_BEFORE, PEEP_NONE):
        return "output_peephole: none of the list"
    if cell.output_peephole != PEEP_NOW and not (cell.peepholes and cell.output_gate):
        return "output_peephole: needs peepholes and the output gate"
    if cell.output_peephole == PEEP_NONE and not (cell.input_gate or cell.forget_gate):
        return "output_peephole: without it peepholes need another gate"
    wrong = check_activation(cell.act_output, cell.alpha_output)
    if wrong == NULL:
        wrong = check_activation(cell.act_gate, cell.alpha_gate)
    if wrong == NULL:
        wrong = check_activation(cell.act_cell, cell.alpha_cell)
    return wrong


cdef void lstm_plan(Plan* p) noexcept nogil:
    cdef const Cell* cell = &p.cell
    cdef int vectors = 0
    if cell.input_gate:
        p.i = vectors
        vectors += 1
    if cell.forget_gate and not cell.coupled:
        p.f = vectors
        vectors += 1
    p.g = vectors
    vectors += 1
    if cell.output_gate:
        p.o = vectors
        vectors += 1
    p.gates = vectors - 1
    if cell.peepholes:
        p.peeping = p.gates - (cell.output_peephole == PEEP_NONE)
        if cell.output_gate and cell.output_peephole != PEEP_NONE:
            p.o_peeps = cell.output_peephole
    p.c = vectors
    p.hc = vectors + 1
    p.slots = vectors + 2
    if cell.gate_recurrence:
        p.h = p.slots
        p.slots += 1
        p.sent = p.gates
    p.standard = (vectors == 4 and cell.block_size == 1 and not cell.gate_recurrence
                  and cell.act_gate == LOGISTIC and cell.act_cell == TANH
                  and cell.act_output == TANH)
    p.states = 2
    p.sections = 1 + p.sent
    p.own_rows = 3 if cell.peepholes else 0
    add_product(p, 0, vectors, 0, 0, p.sections, 1, 2)


cdef inline int gate_place(const Plan* p, int which) noexcept nogil:
    """The place of the which-th gate that the layer has: i and f stand before g, o after it."""
    return which if which < p.g else which + 1


cdef inline Py_ssize_t lstm_row(const Plan* p, int place, Py_ssize_t unit) noexcept nogil:
    """The row of W, R, b that belongs to a gate (by its place) of a unit."""
    cdef Py_ssize_t nb = p.cell.units
    if p.cell.block_size == 1:
        return place * nb + unit
    nb = nb // p.cell.block_size
    if place == p.g:
        return place * nb + unit
    return ((place * nb if place < p.g else (place - 1) * nb + p.cell.units)
            + unit // p.cell.block_size)


cdef inline bint lstm_owns_row(const Plan* p, int place, Py_ssize_t unit) noexcept nogil:
    """Whether a row's gradient is kept at this unit: for g at all, else at a block's first."""
    return p.cell.block_size == 1 or place == p.g or unit % p.cell.block_size == 0


# ---- the blocks p and Q -------------------------------------------------------------------------

cdef inline Py_ssize_t peephole_offset(const Plan* p, int place) noexcept nogil:
    """Where a gate's peepholes stand: room for i, f, o, whether the layer has them or not."""
    return p.own + (0 if place == p.i else 1 if place == p.f else 2) * p.padded


cdef void pack_gate_matrix(const Plan* p, int source, const vec* Q, vec* packed) noexcept nogil:
    """The columns of Q for one sending gate to packed (H, columns): a block's first cell sends."""
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C, j, k, unit
    cdef Py_ssize_t N = p.products[0].n
    cdef int q, place
    memset(packed, 0, H * N * sizeof(vec))
    for q in range(p.gates):
        place = gate_place(p, q)
        for unit in range(H):
            j = unit // L * p.products[0].vectors + place
            for k in range(nb):
                copy_item(packed, packed_offset(H, N, k * C, j, L) + unit % L,
                          Q, (q * nb + unit // C) * p.gates * nb + source * nb + k)


cdef void lstm_pack(const Plan* p, const vec* peepholes, const vec* Q, vec* packed) noexcept nogil:
    cdef Py_ssize_t H = p.cell.units
    cdef int q, source
    for q in range(p.peeping):
        copy_items(at(packed, peephole_offset(p, gate_place(p, q))), at(peepholes, q * H), H)
    for source in range(1, p.sections):
        pack_gate_matrix(p, source - 1, Q,
                         at(packed, p.products[0].R + source * H * p.products[0].size))


cdef void lstm_unpack(const Plan* p, const vec* grad, vec* dp, vec* dQ) noexcept nogil:
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C, j, k, source
    cdef Py_ssize_t N = p.products[0].n
    cdef int q, place
    if dp != NULL:
        for q in range(p.peeping):
            copy_items(at(dp, q * H), at(grad, peephole_offset(p, gate_place(p, q))), H)
    if dQ != NULL:
        for q in range(p.gates):
            place = gate_place(p, q)
            for source in range(p.gates):
                for j in range(nb):
                    for k in range(nb):
                        copy_item(dQ, (q * nb + j) * p.gates * nb + source * nb + k,
                                  at(grad, p.products[0].R
                                     + (source + 1) * H * p.products[0].size),
                                  packed_offset(H, N, k * C,
                                                j * C // L * p.products[0].vectors + place, L)
                                  + j * C % L)


# ---- the tape -----------------------------------------------------------------------------------

cdef tuple lstm_fields(const Plan* p):
    """What the slots of a row of the tape hold, in their order, by the names of the twin."""
    gates = {p.i: "i", p.f: "f", p.g: "g", p.o: "o"}
    names = [gates[place] for place in range(p.products[0].vectors)] + ["c", "hc"]
    return (*names, "h") if p.h != ABSENT else tuple(names)


cdef void lstm_start(const Plan* p, const vec* z, const vec* c, vec* tape) noexcept nogil:
    """The row of the tape that stands for the state before the first step: b_o = 1, h(c) = h."""
    cdef Py_ssize_t u, n = p.groups
    cdef int source
    cdef vec* row
    for u in range(n):
        row = tape + u * p.slots
        if p.o != ABSENT:
            row[p.o] = like(z[u], 1)
        row[p.c] = c[u]
        row[p.hc] = z[u]
        if p.h != ABSENT:
            row[p.h] = z[u]
            for source in range(1, p.sections):
                row[gate_place(p, source - 1)] = z[source * n + u]


cdef inline void lstm_recall_standard(const Plan* p, Py_ssize_t rows, const vec* previous,
                                      vec* z) noexcept nogil:
    """The recurrent inputs of a step, out of the tape's rows of the step before: (4.10)."""
    cdef Py_ssize_t u
    for u in range(rows * p.groups):
        z[u] = previous[6 * u + 3] * previous[6 * u + 5]


cdef void lstm_recall_any(const Plan* p, Py_ssize_t rows, const vec* previous,
                          vec* z) noexcept nogil:
    cdef Py_ssize_t r, u, n = p.groups, all_n = p.all_groups
    cdef int k
    cdef const vec* row
    for r in range(rows):
        for u in range(n):
            row = previous + u * p.slots
            if p.h != ABSENT:
                z[u] = row[p.h]
            elif p.o != ABSENT:
                z[u] = row[p.o] * row[p.hc]
            else:
                z[u] = row[p.hc]
            for k in range(1, p.sections):
                z[k * all_n + u] = row[gate_place(p, k - 1)]
        previous += p.slots * n
        z += p.sections * n


# ---- forward and backward -----------------------------------------------------------------------

cdef inline void lstm_forward_standard(const int peepholes, const int o_peeps, const Plan* p,
                                       const vec* w, Py_ssize_t rows, vec* a, vec* c, vec* z,
                                       vec* tape) noexcept nogil:
    """(4.2)-(4.10) for the vanilla LSTM, with (`peepholes`) or without peepholes.

    `o_peeps` is the plan's, ABSENT without peepholes.

    IN w (i, f, o peephole weights), a (overwritten); IN and OUT c: s_c(t-1), then s_c(t); OUT z,
    tape (or NULL). Two passes over some groups: h(s_c) waits for s_c, and the processor's window is
    too short to fill that wait with the gates of the next units.
    """
    cdef Py_ssize_t n = p.groups, all_n = p.all_groups, first = 0, last = 0, q, u = 0
    cdef vec a_i, a_f, i, f, g, o, s, hc
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
            if o_peeps == PEEP_BEFORE:
                a[4 * q + 3] = fma(w[2 * all_n + u], s, a[4 * q + 3])       # (4.8) of s_c(t-1)
            i = logistic(a_i)                                       # (4.3)
            f = logistic(a_f)                                       # (4.5)
            g = tanh(a[4 * q + 2])
            s = fma(i, g, f * s)                                    # (4.7)
            c[q] = s
            if o_peeps == PEEP_NOW:
                a[4 * q + 3] = fma(w[2 * all_n + u], s, a[4 * q + 3])       # (4.8)
            if peepholes:
                u = u + 1 if u + 1 < n else 0
            if tape != NULL:
                keep = tape + 6 * q
                keep[0] = i
                keep[1] = f
                keep[2] = g
                keep[4] = s
        for q in range(first, last):
            hc = tanh(c[q])
            o = logistic(a[4 * q + 3])                              # (4.9)
            z[q] = o * hc                                            # (4.10)
            if tape != NULL:
                keep = tape + 6 * q
                keep[3] = o
                keep[5] = hc


cdef inline void lstm_backward_standard(const int peepholes, const int o_peeps, const Plan* p,
                                        const vec* w, Py_ssize_t rows, const vec* tape,
                                        const vec* previous, const vec* dz, vec* dc, vec* delta,
                                        vec* dw) noexcept nogil:
    """(4.11)-(4.16) for the vanilla LSTM.

    IN tape, previous (its rows of the step before), dz: eps_c; IN and OUT dc: what the later steps
    add to eps_s, then what this one adds to the earlier; OUT delta; IN and OUT dw: each row's sums
    for the gradients of the peepholes.
    """
    cdef Py_ssize_t r, u, k, n = p.groups, all_n = p.all_groups
    cdef vec i, f, g, o, hc, s_before, eps_c, eps_s, d_i, d_f, d_o, ds, one
    cdef const vec* now
    cdef vec* d
    for r in range(rows):
        for u in range(n):
            now = tape + 6 * (r * n + u)
            d = delta + 4 * (r * n + u)
            i = now[0]
            f = now[1]
            g = now[2]
            o = now[3]
            hc = now[5]
            one = like(i, 1)
            s_before = previous[6 * (r * n + u) + 4]
            eps_c = dz[r * n + u]
            d_o = o * (one - o) * (hc * eps_c)                              # (4.12)
            eps_s = fma(o * (one - hc * hc), eps_c, dc[r * n + u])      # (4.13)
            if o_peeps == PEEP_NOW:
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
                if o_peeps == PEEP_NOW:
                    dw[k + 2 * all_n] = fma(d_o, now[4], dw[k + 2 * all_n])
                elif o_peeps == PEEP_BEFORE:
                    ds = fma(w[2 * all_n + u], d_o, ds)
                    dw[k + 2 * all_n] = fma(d_o, s_before, dw[k + 2 * all_n])
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
            add_item(a, (k // L * p.products[0].vectors + place) * L + k % L, total)


cdef void fold_blocks(const Plan* p, int place, vec* delta) noexcept nogil:
    """A gate's deltas summed over the cells of each block, left at its first cell, 0 elsewhere."""
    cdef Py_ssize_t C = p.cell.block_size, block, first, k, j, L = p.lanes
    cdef vec other
    for block in range(p.cell.units // C):
        first = block * C
        j = (first // L * p.products[0].vectors + place) * L + first % L
        for k in range(first + 1, first + C):
            other = item(delta, (k // L * p.products[0].vectors + place) * L + k % L)
            add_item(delta, j, other)
            set_item(delta, (k // L * p.products[0].vectors + place) * L + k % L, 0)


cdef void block_peepholes_backward(const Plan* p, int place, const vec* w, const vec* delta,
                                   const vec* tape, vec* ds, vec* dw) noexcept nogil:
    """ds += w delta and dw += delta s_c, every cell with the delta of its block's gate (folded).

    s_c is that of the tape's row.
    """
    cdef Py_ssize_t C = p.cell.block_size, block, first, k, L = p.lanes
    cdef vec d
    for block in range(p.cell.units // C):
        first = block * C
        d = item(delta, (first // L * p.products[0].vectors + place) * L + first % L)
        for k in range(first, first + C):
            add_item(ds, k, item(w, k) * d)
            add_item(dw, k, d * item(tape, (k // L * p.slots + p.c) * L + k % L))


cdef void lstm_forward_any(const Plan* p, const vec* w, Py_ssize_t rows, vec* a, vec* c, vec* z,
                           vec* tape) noexcept nogil:
    """(4.2)-(4.10) with every option. Arguments as above; a is overwritten by the activations."""
    cdef Py_ssize_t r, u, n = p.groups, all_n = p.all_groups
    cdef int blocks = p.cell.block_size > 1, k
    cdef int alone = p.cell.peepholes and not blocks        # each cell has gates of its own
    cdef int alone_late = alone and p.o_peeps == PEEP_NOW
    cdef vec i, f, s, o, hc, one
    cdef vec* v
    cdef vec* keep
    for r in range(rows):
        if p.cell.peepholes and blocks:
            if p.i != ABSENT:
                add_block_peepholes(p, p.i, w, c, a)                # (4.2)
            if p.f != ABSENT:
                add_block_peepholes(p, p.f, w + n, c, a)            # (4.4)
        if p.o_peeps == PEEP_BEFORE and blocks:
            add_block_peepholes(p, p.o, w + 2 * n, c, a)            # (4.8) of s_c(t-1)
        elif p.o_peeps == PEEP_BEFORE:
            for u in range(n):
                v = a + u * p.products[0].vectors
                v[p.o] = fma(w[2 * all_n + u], c[u], v[p.o])        # (4.8) of s_c(t-1)
        for u in range(n):
            v = a + u * p.products[0].vectors
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
            v[p.g] = activate(&p.act_cell, v[p.g])
            c[u] = units_only(p, u, fma(i, v[p.g], f * s))          # (4.7)
        if p.o_peeps == PEEP_NOW and blocks:
            add_block_peepholes(p, p.o, w + 2 * n, c, a)            # (4.8)
        for u in range(n):
            v = a + u * p.products[0].vectors
            s = c[u]
            hc = activate(&p.output, s)
            z[u] = hc
            if p.o != ABSENT:
                o = activate(&p.gate,
                             fma(w[2 * all_n + u], s, v[p.o]) if alone_late else v[p.o])     # (4.9)
                v[p.o] = o
                z[u] = o * hc                                        # (4.10)
            for k in range(1, p.sections):
                z[k * all_n + u] = v[gate_place(p, k - 1)]
            if tape != NULL:
                keep = tape + u * p.slots
                for k in range(p.products[0].vectors):
                    keep[k] = v[k]
                keep[p.c] = s
                keep[p.hc] = hc
                if p.h != ABSENT:
                    keep[p.h] = z[u]
        a += p.products[0].n
        c += n
        z += p.sections * n
        if tape != NULL:
            tape += p.slots * n


cdef void lstm_backward_any(const Plan* p, const vec* w, Py_ssize_t rows, const vec* tape,
                            const vec* previous, const vec* dz, vec* dc, vec* delta,
                            vec* dw) noexcept nogil:
    """(4.11)-(4.16) with every option. Arguments as above."""
    cdef Py_ssize_t r, u, n = p.groups, all_n = p.all_groups
    cdef int blocks = p.cell.block_size > 1, source_i = 0, source_f = 0, source_o = 0
    cdef int alone = p.cell.peepholes and not blocks
    cdef int alone_late = alone and p.o_peeps == PEEP_NOW
    cdef vec i, f, g, o, hc, s_before, eps, eps_s, ds, one
    cdef const vec* now
    cdef vec* d
    if p.sections > 1:              # where dz holds what later gates add to eps of i, f, o
        source_i = 1 if p.i != ABSENT else 0
        source_f = source_i + 1 if p.f != ABSENT else 0
        source_o = p.sections - 1 if p.o != ABSENT else 0
    for r in range(rows):
        for u in range(n):
            now = tape + u * p.slots
            d = delta + u * p.products[0].vectors
            hc = now[p.hc]
            one = like(hc, 1)
            o = one
            if p.o != ABSENT:
                o = now[p.o]
                eps = hc * dz[u]
                if source_o:
                    eps = eps + dz[source_o * all_n + u]
                d[p.o] = derivative(&p.gate, o) * eps                           # (4.12)
            dc[u] = fma(o * derivative(&p.output, hc), dz[u], dc[u])            # (4.13)
            if alone_late:
                dc[u] = fma(w[2 * all_n + u], d[p.o], dc[u])
                dw[2 * all_n + u] = fma(d[p.o], now[p.c], dw[2 * all_n + u])
        if blocks and p.o != ABSENT:
            fold_blocks(p, p.o, delta)
            if p.o_peeps == PEEP_NOW:
                block_peepholes_backward(p, p.o, w + 2 * n, delta, tape, dc, dw + 2 * n)
        for u in range(n):
            now = tape + u * p.slots
            d = delta + u * p.products[0].vectors
            eps_s = dc[u]
            s_before = previous[u * p.slots + p.c]
            g = now[p.g]
            one = like(g, 1)
            i = now[p.i] if p.i != ABSENT else one
            f = now[p.f] if p.f != ABSENT else one - i if p.cell.coupled else one
            d[p.g] = i * derivative(&p.act_cell, g) * eps_s                     # (4.14)
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
                    block_peepholes_backward(p, p.f, w + n, delta, previous, dc, dw + n)
            if p.i != ABSENT:
                fold_blocks(p, p.i, delta)
                if p.cell.peepholes:
                    block_peepholes_backward(p, p.i, w, delta, previous, dc, dw)
        if p.o_peeps == PEEP_BEFORE and blocks:
            block_peepholes_backward(p, p.o, w + 2 * n, delta, previous, dc, dw + 2 * n)
        elif p.o_peeps == PEEP_BEFORE:
            for u in range(n):
                d = delta + u * p.products[0].vectors
                dc[u] = fma(w[2 * all_n + u], d[p.o], dc[u])
                dw[2 * all_n + u] = fma(d[p.o], previous[u * p.slots + p.c], dw[2 * all_n + u])
        tape += p.slots * n
        previous += p.slots * n
        dz += p.sections * n
        dc += n
        delta += p.products[0].n
        if p.cell.peepholes:
            dw += 3 * all_n

# BPTT.
#
# The steps are worked through backwards in chunks. Within a chunk the threads first share the
# sequences or the units (the recurrence), then, once all are there, the weights and the rows of dx.

cdef struct Room:
    # Offsets into the workspace of BPTT, in numbers.
    Py_ssize_t rows             # rows of a chunk, at most
    Py_ssize_t R_back, W_back   # R and, for dx, W packed for products with delta
    Py_ssize_t delta, x, z      # of the chunk's rows
    Py_ssize_t dx               # of the chunk's rows, if it is wanted
    Py_ssize_t dz, dc           # (B,) what the later steps add
    Py_ssize_t zeros
    Py_ssize_t dw               # (B, 3, H) each sequence's sums for the peepholes, in this chunk
    Py_ssize_t panels, panel    # one for each thread
    Py_ssize_t size


cdef inline Py_ssize_t chunk_target(const Plan* p, Py_ssize_t item_size,
                                    Py_ssize_t B) noexcept nogil:
    """Rows that make a chunk: a matter of the problem, never of the threads.

    A power of two, so that where a layer's chunk begins, one of every layer with smaller chunks
    begins. More than 128 while the deltas stay in the second-level cache, or where the weights'
    gradient does not: every chunk reads and writes all of it.
    """
    cdef Py_ssize_t rows = 128, row = p.columns * item_size, gradient = p.packed * item_size
    while rows < B or (rows < 1024 and 2 * rows * row <= BACKWARD_BYTES) or (
            rows < 512 and 2 * rows * GRADIENT_BYTES <= gradient):
        rows *= 2
    return rows


cdef Room make_room(const Plan* p, Py_ssize_t item_size, Py_ssize_t B, int n_threads,
                    bint with_dx) noexcept nogil:
    cdef Room m
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes if with_dx else 0
    m.rows = chunk_target(p, item_size, B) + B
    m.R_back = 0
    m.W_back = p.sources * p.columns * p.padded
    m.delta = m.W_back + p.columns * I_padded
    m.x = m.delta + m.rows * p.columns
    m.z = m.x + m.rows * p.cell.inputs
    m.dx = round_up(m.z + m.rows * p.z_row, 64)
    m.dz = m.dx + m.rows * I_padded
    m.dc = m.dz + B * p.z_row
    m.zeros = round_up(m.dc + B * p.padded, 64)
    m.dw = m.zeros + round_up(max(p.padded, I_padded), 64)
    m.panels = m.dw + (round_up(B * 3 * p.padded, 64) if p.cell.peepholes else 0)
    m.panel = m.rows * 4 * p.lanes
    m.size = m.panels + n_threads * m.panel
    return m


cdef void backward_cells(const Plan* p, const Member* me, const vec* packed, Py_ssize_t rows,
                         const vec* tape, const vec* before, const vec* dz, vec* dc, vec* delta,
                         vec* z, vec* dw) noexcept nogil:
    """`cell_backward` for the member's units of some rows."""
    cdef Py_ssize_t r
    if me.own.groups == 0:
        return
    if not me.shares_units:
        cell_backward(p, packed, rows, tape, before, dz, dc, delta, z, dw)
        return
    tape = tape + me.u0 * p.slots
    before = before + me.u0 * p.slots
    dz = dz + me.u0
    dc = dc + me.u0
    delta = delta + me.u0 * p.vectors
    z = z + me.u0
    dw = dw + me.u0
    for r in range(rows):
        cell_backward(&me.own, packed, 1, tape, before, dz, dc, delta, z, dw)
        tape = at(tape, p.tape_row)
        before = at(before, p.tape_row)
        dz = at(dz, p.z_row)
        dc = at(dc, p.padded)
        delta = at(delta, p.columns)
        z = at(z, p.z_row)
        dw = at(dw, 3 * p.padded)


cdef void backward_recurrence(const Task* k, const Room* m, const Member* me, Py_ssize_t t0,
                              Py_ssize_t t1, Py_ssize_t r0, Py_ssize_t r1,
                              vec* type_of) noexcept nogil:
    """delta, x and z of the rows of the steps t0 to t1, ranks r0 to r1 - 1; dz, dc on the way."""
    cdef const Plan* p = &k.plan
    cdef const vec* packed = <const vec*>k.packed
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* dz = at(scratch, m.dz + r0 * p.z_row)
    cdef vec* dc = at(scratch, m.dc + r0 * p.padded)
    cdef const vec* zeros = at(scratch, m.zeros)
    cdef vec* delta
    cdef vec* d
    cdef Py_ssize_t t, r, n, b, place, source
    cdef Py_ssize_t first = rows_before(k, t0), row = rows_before(k, t1)
    cdef Py_ssize_t I = p.cell.inputs, H = p.cell.units, n_all, n_before
    cdef Py_ssize_t tape_first = k.B + first - rows_before(k, k.t0)     # tape row of rank 0 at t0
    cdef Py_ssize_t u = me.u0 * p.lanes             # the member's first unit
    n_all = count_active(k, t1, k.B)
    for t in range(t1 - 1, t0 - 1, -1):
        while n_all < k.B and k.lengths[n_all] > t:
            n_all += 1
        n_before = n_all                            # n(t - 1), or all the initial states
        while n_before < k.B and (t == k.t0 or k.lengths[n_before] > t - 1):
            n_before += 1
        row -= n_all
        n = min(n_all, r1) - r0
        if n <= 0:
            continue
        for r in range(n):
            b = k.order[r0 + r]
            place = place_in_time(k, r0 + r, t)
            if k.tokens == NULL and k.x != NULL and is_mine(me, r):
                copy_items(at(scratch, m.x + (row - first + r0 + r) * I),
                           at(<const vec*>k.x, b * k.x_batch + place * k.x_time), I)
            d = at(dz, r * p.z_row + u)
            if p.cell.kind == DENSE:
                memset(d, 0, p.padded * (sizeof(vec) // p.lanes))
            if k.y != NULL:
                add_items(d, at(<const vec*>k.y, b * k.y_batch + place * k.y_time + u),
                          me.own.cell.units)
        delta = at(scratch, m.delta + (row - first + r0) * p.columns)
        backward_cells(p, me, packed, n,
                       at(<const vec*>k.tape, (tape_first + row - first + r0) * p.tape_row),
                       at(<const vec*>k.tape,
                          (tape_first + row - first + r0 - n_before) * p.tape_row),
                       dz, dc, delta, at(scratch, m.z + (row - first + r0) * p.z_row),
                       at(scratch, m.dw + r0 * 3 * p.padded))
        meet_over_units(me)
        for source in range(p.sources):
            gemm(n, me.own.groups, p.columns, delta, p.columns,
                 at(scratch, m.R_back + (source * p.padded + u) * p.columns), zeros,
                 at(dz, source * p.padded + u), p.z_row, t & 1)


cdef void backward_weights(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t j0,
                           Py_ssize_t width, Py_ssize_t part, Py_ssize_t parts,
                           vec* panel) noexcept nogil:
    """Gradients of `width` column vectors from j0 by the chunk's rows (3.35); of the parts that the
    rows of the weight matrices are cut into, one."""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* grad = <vec*>k.grad
    cdef const vec* delta = at(scratch, m.delta + j0 * p.lanes)
    cdef vec* g
    cdef vec total
    cdef Py_ssize_t L = p.lanes, I = p.cell.inputs, H = p.cell.units, q, n, source, i0, i1
    cdef Strip s = Strip(rows, 1, 0, width * L, 0, width * L, width * L)    # k is the row of A
    for q in range(rows):
        for n in range(width):
            at(panel, q * width * L)[n] = at(delta, q * p.columns)[n]
    if k.tokens == NULL:
        i0 = I * part // parts
        i1 = I * (part + 1) // parts
        s.a_k = I
        g = at(grad, p.W + packed_offset(I, p.column_vectors, i0, j0, L))
        rows_of_tiles(width, i1 - i0, &s, at(scratch, m.x + i0), panel, g, g)
    i0 = H * part // parts
    i1 = H * (part + 1) // parts
    for source in range(p.sources):
        s.a_k = p.z_row
        g = at(grad, p.R + source * H * p.columns
               + packed_offset(H, p.column_vectors, i0, j0, L))
        rows_of_tiles(width, i1 - i0, &s, at(scratch, m.z + source * p.padded + i0), panel,
                      g, g)
    if part == 0:
        for n in range(width):
            g = at(grad, p.bias + (j0 + n) * L)
            total = g[0]
            for q in range(rows):
                total = total + at(panel, q * width * L)[n]
            g[0] = total


cdef void backward_vectors(const Task* k, const Room* m, Py_ssize_t t0, Py_ssize_t t1,
                           vec* type_of) noexcept nogil:
    """What a chunk adds to the gradients of the peepholes and, for tokens, of W."""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* grad = <vec*>k.grad
    cdef const vec* delta
    cdef vec* g
    cdef vec* dw
    cdef Py_ssize_t t, r, q = 0, j, n, place
    if p.cell.peepholes:
        g = at(grad, p.peepholes)
        for r in range(k.B):
            dw = at(scratch, m.dw + r * 3 * p.padded)
            for j in range(3 * p.groups):
                g[j] = g[j] + dw[j]
                dw[j] = like(dw[j], 0)
    if k.tokens == NULL:
        return
    n = count_active(k, t0, k.B)
    for t in range(t0, t1):
        n = count_active(k, t, n)
        for r in range(n):
            delta = at(scratch, m.delta + q * p.columns)
            place = k.tokens[k.order[r] * k.x_batch + place_in_time(k, r, t) * k.x_time]
            for j in range(p.column_vectors):
                g = at(grad, p.W + packed_offset(p.cell.inputs, p.column_vectors, place, j,
                                                 p.lanes))
                g[0] = g[0] + delta[j]
            q += 1


cdef void backward_inputs(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t t0,
                          Py_ssize_t t1, Py_ssize_t q0, Py_ssize_t q1, vec* type_of) noexcept nogil:
    """dx += W' delta for the rows q0 to q1 - 1 of the chunk."""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes, t, r, q = 0, n
    cdef vec* room = at(scratch, m.dx + q0 * I_padded)
    gemm(q1 - q0, p.input_vectors, p.columns, at(scratch, m.delta + q0 * p.columns), p.columns,
         at(scratch, m.W_back), at(scratch, m.zeros), room, I_padded, 0)
    n = count_active(k, t0, k.B)
    for t in range(t0, t1):
        n = count_active(k, t, n)
        for r in range(max(q0 - q, 0), min(q1 - q, n)):
            add_items(at(<vec*>k.dx, k.order[r] * k.dx_batch + place_in_time(k, r, t) * k.dx_time),
                      at(scratch, m.dx + (q + r) * I_padded), p.cell.inputs)
        q += n


cdef void backward_piece(const Task* k, const Room* m, int piece, int inputs, int weights, int cuts,
                         Py_ssize_t rows, Py_ssize_t t0, Py_ssize_t t1, int thread,
                         vec* type_of) noexcept nogil:
    """What follows a chunk's recurrence, in pieces: rows of dx, columns of weights, the rest."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t j
    if piece < inputs:
        backward_inputs(k, m, rows, t0, t1, rows * piece // inputs, rows * (piece + 1) // inputs,
                        type_of)
    elif piece < inputs + weights:
        piece -= inputs
        j = piece // cuts * 4
        while j < min(piece // cuts * 4 + 4, p.column_vectors):
            backward_weights(k, m, rows, j, group_width(p.column_vectors - j), piece % cuts, cuts,
                             at(<vec*>k.scratch, m.panels + thread * m.panel))
            j += group_width(p.column_vectors - j)
    else:
        backward_vectors(k, m, t0, t1, type_of)


cdef void backward_member(const Task* k, Team* team, int index, int members,
                          vec* type_of) noexcept nogil:
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t size = sizeof(vec) // p.lanes
    cdef Room m = make_room(p, size, k.B, k.n_threads, k.dx != NULL)
    cdef Member me = make_member(k, team, index, members, size)
    cdef vec* scratch = <vec*>k.scratch
    cdef const vec* packed = <const vec*>k.packed
    cdef Py_ssize_t H = p.cell.units, r, r0 = 0, r1 = k.B, t0, t1, source, seen, chunk, rows
    cdef Py_ssize_t target = chunk_target(p, size, k.B)
    cdef Py_ssize_t j0 = p.column_vectors * index // members
    cdef Py_ssize_t j1 = p.column_vectors * (index + 1) // members
    cdef int groups, weights, cuts, inputs, piece
    cdef unsigned long long mode = flush_denormals()
    if index == 0:
        memset(at(scratch, m.zeros), 0, (m.panels - m.zeros) * size)
    for source in range(p.sources):
        pack_back(p, H, j0, j1, at(packed, p.R + source * H * p.columns),
                  at(scratch, m.R_back + source * p.columns * p.padded))
    if k.dx != NULL:
        pack_back(p, p.cell.inputs, j0, j1, at(packed, p.W), at(scratch, m.W_back))
    for r in range(k.B):
        if r % members == index:
            load_state(k, r, at(scratch, m.dz + r * p.z_row), at(scratch, m.dc + r * p.padded))
    # Pieces: column groups of the weights, cut in rows of the weight matrices as well where there
    # are too few groups; some for dx; one for what is left.
    groups = <int>((p.column_vectors + 3) // 4)
    cuts = (members + groups - 1) // groups
    weights = groups * cuts
    inputs = 0 if k.dx == NULL else 1 if members == 1 else 2 * members
    team_meet(team, members)
    t1 = min(k.t1, k.lengths[0] if k.B else 0)
    seen = k.first_row + rows_before(k, t1)
    while t1 > k.t0:
        # A chunk holds the steps whose first row's number has the same quotient by target.
        t0 = t1
        rows = 0
        chunk = -1
        while t0 > k.t0:
            r = count_active(k, t0 - 1, k.B)
            if chunk >= 0 and (seen - r) // target != chunk:
                break
            chunk = (seen - r) // target
            seen -= r
            rows += r
            t0 -= 1
        if not me.shares_units:
            r0 = share(k, t0, t1, index, members)
            r1 = share(k, t0, t1, index + 1, members)
        backward_recurrence(k, &m, &me, t0, t1, r0, r1, type_of)
        team_meet(team, members)
        piece = team_take(team)
        while piece < inputs + weights + 1:
            backward_piece(k, &m, piece, inputs, weights, cuts, rows, t0, t1, index, type_of)
            piece = team_take(team)
        team_meet(team, members)
        t1 = t0
    for r in range(k.B):
        if r % members == index:
            store_state(k, r, at(scratch, m.dz + r * p.z_row), at(scratch, m.dc + r * p.padded))
    restore_denormals(mode)


cdef void run_backward(const Task* k, vec* type_of) noexcept nogil:
    cdef Team team
    # Without a recurrence there is nothing but the pieces, which do not come by sequences.
    cdef int members = useful_threads(k, sizeof(vec) // k.plan.lanes,
                                      k.B if k.plan.sources else k.n_threads)
    memset(&team, 0, sizeof(Team))
    if members == 1:
        backward_member(k, &team, 0, 1, type_of)
    else:
        with parallel(num_threads=members):
            backward_member(k, &team, threadid(), team_size(), type_of)

# Whole sequences: which rows there are at a step, the products, the cells, step after step.

from cython.parallel cimport prange

cdef enum:
    # Bytes of pre-activations (forward) or deltas (backward) that are worked on at a time, at most:
    # measured; see docs/performance.md.
    FORWARD_BYTES = 1048576
    BACKWARD_BYTES = 524288


cdef struct Task:
    # One call of forward or backward: what is computed on. Pointers of arrays that are not there
    # are NULL; strides in numbers.
    Plan plan
    const void* packed
    const void* x
    const Py_ssize_t* tokens
    Py_ssize_t x_batch, x_time
    const Py_ssize_t* order         # (B,) rank -> sequence
    const Py_ssize_t* lengths       # (B,) by rank
    Py_ssize_t B, t0, t1
    Py_ssize_t first_row            # BPTT: rows before step 0 that belong to an earlier segment
    int reverse
    void* y                         # y or dy
    Py_ssize_t y_batch, y_time
    void* dx
    Py_ssize_t dx_batch, dx_time
    const void* h_in                # h0, or dhT in BPTT
    const void* c_in
    Py_ssize_t h_in_batch, c_in_batch
    void* h_out                     # hT, or dh0 in BPTT
    void* c_out
    Py_ssize_t h_out_batch, c_out_batch
    void* tape
    void* grad
    void* scratch
    int n_threads


# ---- ranks and rows -----------------------------------------------------------------------------

cdef inline Py_ssize_t count_active(const Task* k, Py_ssize_t t, Py_ssize_t at_most) noexcept nogil:
    """n(t): ranks below at_most that have a step t."""
    while at_most > 0 and k.lengths[at_most - 1] <= t:
        at_most -= 1
    return at_most

cdef inline Py_ssize_t rows_before(const Task* k, Py_ssize_t t) noexcept nogil:
    """Sum of n(s) over all s < t."""
    cdef Py_ssize_t r, total = 0
    for r in range(k.B):
        total += min(k.lengths[r], t)
    return total

cdef inline Py_ssize_t place_in_time(const Task* k, Py_ssize_t r, Py_ssize_t t) noexcept nogil:
    """Where the t-th step of rank r stands in x and y."""
    return k.lengths[r] - 1 - t if k.reverse else t

cdef Py_ssize_t share(const Task* k, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t part,
                      Py_ssize_t parts) noexcept nogil:
    """First rank of a part when the steps t0 to t1 are shared out evenly, in whole ranks."""
    cdef Py_ssize_t total = 0, r, done = 0
    for r in range(k.B):
        total += max(min(k.lengths[r], t1) - t0, 0)
    for r in range(k.B):
        if done * parts >= total * part:
            return r
        done += max(min(k.lengths[r], t1) - t0, 0)
    return k.B

cdef inline void load_units(const Plan* p, vec* to, const vec* source, Py_ssize_t n) noexcept nogil:
    """n numbers (0 where there is no source) into padded room."""
    if source == NULL:
        n = 0
    else:
        copy_items(to, source, n)
    memset(at(to, n), 0, (p.padded - n) * (sizeof(vec) // lanes(to)))

cdef void load_state(const Task* k, Py_ssize_t r, vec* z, vec* c) noexcept nogil:
    """State of rank r from h_in and c_in: z = h and the gates that are read back, c."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t b = k.order[r], H = p.cell.units, nb = H // p.cell.block_size, source, j
    cdef const vec* h = at(<const vec*>k.h_in, b * k.h_in_batch) if k.h_in != NULL else NULL
    load_units(p, z, h, H)
    for source in range(1, p.sources):
        load_units(p, at(z, source * p.padded), <const vec*>NULL, 0)
        if h != NULL:
            for j in range(nb):     # a block's first cell sends, and receives, for all of it
                copy_item(z, source * p.padded + j * p.cell.block_size,
                          h, H + (source - 1) * nb + j)
    if p.cell.kind == LSTM:
        load_units(p, c, at(<const vec*>k.c_in, b * k.c_in_batch) if k.c_in != NULL else NULL, H)

cdef void store_state(const Task* k, Py_ssize_t r, const vec* z, const vec* c) noexcept nogil:
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t b = k.order[r], H = p.cell.units, nb = H // p.cell.block_size, source, j
    cdef vec* h
    if k.h_out != NULL:
        h = at(<vec*>k.h_out, b * k.h_out_batch)
        copy_items(h, z, H)
        for source in range(1, p.sources):
            for j in range(nb):
                copy_item(h, H + (source - 1) * nb + j,
                          z, source * p.padded + j * p.cell.block_size)
    if k.c_out != NULL:
        copy_items(at(<vec*>k.c_out, b * k.c_out_batch), c, H)


# ---- forward ------------------------------------------------------------------------------------

cdef inline Py_ssize_t forward_rows(const Plan* p, Py_ssize_t item_size) noexcept nogil:
    """Rows of pre-activations that are worked on at a time."""
    cdef Py_ssize_t rows = FORWARD_BYTES // (max(p.columns, 1) * item_size) // 12 * 12
    return max(min(rows, 96), 12)


cdef Py_ssize_t forward_scratch(const Plan* p, Py_ssize_t item_size) noexcept nogil:
    """Numbers that one thread needs."""
    cdef Py_ssize_t rows = forward_rows(p, item_size)
    return round_up(rows * (p.columns + p.cell.inputs + 2 * p.z_row + p.padded), 64)


cdef void tape_initial_state(const Plan* p, const vec* z, const vec* c, vec* tape) noexcept nogil:
    """A tape row that stands for the state before the first step: b_o = 1, h(c) = h."""
    cdef Py_ssize_t u, n = p.groups, source
    cdef vec* keep
    for u in range(n):
        keep = tape + u * p.slots
        if p.cell.kind == RNN:
            keep[0] = z[u]
        elif p.cell.kind == LSTM:
            if p.o != ABSENT:
                keep[p.o] = like(z[u], 1)
            keep[p.c] = c[u]
            keep[p.tanh_c] = z[u]
            if p.h != ABSENT:
                keep[p.h] = z[u]
                for source in range(1, p.sources):
                    keep[gate_place(p, <int>source - 1)] = z[source * n + u]


cdef void input_products(const Task* k, Py_ssize_t r0, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t n,
                         vec* room, vec* a) noexcept nogil:
    """a = b + W x for the steps t0 to t1 of the ranks r0 to r0 + n - 1, one row after another."""
    cdef const Plan* p = &k.plan
    cdef const vec* packed = <const vec*>k.packed
    cdef const vec* W = at(packed, p.W)
    cdef const vec* source = room
    cdef Py_ssize_t I = p.cell.inputs, t, r, j, rows = 0, source_row = I, b, place
    cdef bint gather = k.tokens == NULL and (n > 1 or t1 - t0 == 1)
    cdef vec* row
    for t in range(t0, t1):
        n = count_active(k, t, r0 + n) - r0
        for r in range(r0, r0 + n):
            b = k.order[r]
            place = place_in_time(k, r, t)
            if k.tokens != NULL:
                row = at(a, rows * p.columns)
                place = k.tokens[b * k.x_batch + place * k.x_time]
                for j in range(p.column_vectors):
                    row[j] = at(packed, p.bias)[j] + at(
                        W, packed_offset(I, p.column_vectors, place, j, p.lanes))[0]
            elif gather:
                copy_items(at(room, rows * I),
                           at(<const vec*>k.x, b * k.x_batch + place * k.x_time), I)
            rows += 1
    if k.tokens != NULL or rows == 0:
        return
    if not gather:                      # one sequence: its steps are rows as they stand
        source = at(<const vec*>k.x, k.order[r0] * k.x_batch + place_in_time(k, r0, t0) * k.x_time)
        source_row = -k.x_time if k.reverse else k.x_time
    gemm(rows, p.column_vectors, I, source, source_row, W, at(packed, p.bias), a, p.columns, 0)


cdef void forward_block(const Task* k, Py_ssize_t r0, Py_ssize_t n, Py_ssize_t room_rows,
                        vec* scratch) noexcept nogil:
    """All steps of the ranks r0 to r0 + n - 1, at most room_rows of them."""
    cdef const Plan* p = &k.plan
    cdef const vec* packed = <const vec*>k.packed
    cdef vec* a = scratch
    cdef vec* room = at(a, room_rows * p.columns)
    cdef vec* z = at(room, room_rows * p.cell.inputs)
    cdef vec* z_next = at(z, room_rows * p.z_row)
    cdef vec* c = at(z_next, room_rows * p.z_row)
    cdef vec* tape = NULL
    cdef vec* a_t
    cdef Py_ssize_t H = p.cell.units, r, t, chunk, source, next_n, next_rows, rows, all_n
    for r in range(n):
        load_state(k, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))
        if k.tape != NULL:
            tape_initial_state(p, at(z, r * p.z_row), at(c, r * p.padded),
                               at(<vec*>k.tape, (r0 + r) * p.tape_row))
    all_n = count_active(k, k.t0, k.B)
    if k.tape != NULL:
        tape = at(<vec*>k.tape, (k.B + r0) * p.tape_row)
    t = k.t0
    next_n = max(count_active(k, t, r0 + n) - r0, 0) if t < k.t1 else 0
    for r in range(next_n, n):
        store_state(k, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))
    n = next_n
    while t < k.t1 and n > 0:
        chunk = t                       # as many steps as the room for a takes
        rows = 0
        next_rows = n
        while chunk < k.t1 and next_rows > 0 and rows + next_rows <= room_rows:
            rows += next_rows
            chunk += 1
            next_rows = count_active(k, chunk, r0 + next_rows) - r0
        input_products(k, r0, t, chunk, n, room, a)
        a_t = a
        while t < chunk:
            for source in range(p.sources):
                gemm(n, p.column_vectors, H, at(z, source * p.padded), p.z_row,
                     at(packed, p.R + source * H * p.columns), <const vec*>NULL, a_t, p.columns,
                     t & 1)
            cell_forward(p, packed, n, a_t, c, z_next, tape)
            z, z_next = z_next, z
            if k.y != NULL:
                for r in range(n):
                    copy_items(at(<vec*>k.y, k.order[r0 + r] * k.y_batch
                                  + place_in_time(k, r0 + r, t) * k.y_time),
                               at(z, r * p.z_row), H)
            t += 1
            if tape != NULL:
                tape = at(tape, all_n * p.tape_row)
                all_n = count_active(k, t, all_n)
            a_t = at(a_t, n * p.columns)
            next_n = max(count_active(k, t, r0 + n) - r0, 0) if t < k.t1 else 0
            for r in range(next_n, n):
                store_state(k, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))
            n = next_n


cdef void forward_part(const Task* k, Py_ssize_t part, vec* type_of) noexcept nogil:
    """The part-th thread's ranks, in blocks that fit the workspace."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t size = sizeof(vec) // p.lanes, rows = forward_rows(p, size)
    cdef Py_ssize_t r0 = 0, r1 = k.B, n, blocks
    cdef unsigned long long mode = flush_denormals()
    cdef vec* scratch = at(<vec*>k.scratch, part * forward_scratch(p, size))
    if k.n_threads > 1:
        r0 = share(k, k.t0, k.t1, part, k.n_threads) if part else 0
        r1 = share(k, k.t0, k.t1, part + 1, k.n_threads) if part + 1 < k.n_threads else k.B
    blocks = (r1 - r0 + rows - 1) // rows
    while blocks > 0:
        n = (r1 - r0 + blocks - 1) // blocks
        forward_block(k, r0, n, rows, scratch)
        r0 += n
        blocks -= 1
    restore_denormals(mode)


cdef void run_forward(const Task* k, vec* type_of) noexcept nogil:
    cdef int part
    if k.n_threads == 1:
        forward_part(k, 0, type_of)
    else:
        for part in prange(k.n_threads, num_threads=k.n_threads, schedule='static', chunksize=1):
            forward_part(k, part, type_of)

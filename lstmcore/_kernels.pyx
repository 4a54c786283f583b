"""Compiled kernels: forward and BPTT of the dense, simple recurrent and LSTM layers.

Legend, for this file and those it includes:
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

from cython.parallel cimport prange, threadid
cimport numpy as cnp

cnp.import_array()

include "_vector_math.pxi"
include "_gemm.pxi"
include "_cells.pxi"

cdef extern from "_vector.h" nogil:
    unsigned long long flush_denormals()
    void restore_denormals(unsigned long long)


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
                copy_item(z, source * p.padded + j * p.cell.block_size, h, H + (source - 1) * nb + j)
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
                copy_item(h, H + (source - 1) * nb + j, z, source * p.padded + j * p.cell.block_size)
    if k.c_out != NULL:
        copy_items(at(<vec*>k.c_out, b * k.c_out_batch), c, H)


# ---- forward ------------------------------------------------------------------------------------

cdef inline Py_ssize_t forward_rows(const Plan* p, Py_ssize_t item_size, Py_ssize_t B) noexcept nogil:
    """Rows of pre-activations that are worked on at a time."""
    cdef Py_ssize_t rows = FORWARD_BYTES // (max(p.columns, 1) * item_size) // 12 * 12
    return max(min(rows, 96), 12)


cdef Py_ssize_t forward_scratch(const Plan* p, Py_ssize_t item_size, Py_ssize_t B) noexcept nogil:
    """Numbers that one thread needs."""
    cdef Py_ssize_t rows = forward_rows(p, item_size, B)
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
                    row[j] = at(packed, p.bias)[j] + at(W, packed_offset(I, p.column_vectors, place, j, p.lanes))[0]
            elif gather:
                copy_items(at(room, rows * I), at(<const vec*>k.x, b * k.x_batch + place * k.x_time), I)
            rows += 1
    if k.tokens != NULL or rows == 0:
        return
    if not gather:                      # one sequence: its steps are rows as they stand
        source = at(<const vec*>k.x, k.order[r0] * k.x_batch + place_in_time(k, r0, t0) * k.x_time)
        source_row = -k.x_time if k.reverse else k.x_time
    gemm(rows, p.column_vectors, I, source, source_row, W, at(packed, p.bias), a, p.columns)


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
                     at(packed, p.R + source * H * p.columns), <const vec*>NULL, a_t, p.columns)
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
    cdef Py_ssize_t size = sizeof(vec) // p.lanes, rows = forward_rows(p, size, k.B)
    cdef Py_ssize_t r0 = 0, r1 = k.B, n, blocks
    cdef unsigned long long mode = flush_denormals()
    cdef vec* scratch = at(<vec*>k.scratch, part * forward_scratch(p, size, k.B))
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


# ---- BPTT ---------------------------------------------------------------------------------------
#
# The steps are worked through backwards in chunks. Within a chunk the threads first share the
# sequences (the recurrence), then, behind one barrier, the weights and the rows of dx.

cdef struct Room:
    # Offsets into the workspace of BPTT, in numbers.
    Py_ssize_t rows             # rows of a chunk, at most
    Py_ssize_t R_back, W_back   # R and W packed for products with delta
    Py_ssize_t delta, x, z      # of the chunk's rows
    Py_ssize_t dx
    Py_ssize_t dz, dc           # (B,) what the later steps add
    Py_ssize_t zeros
    Py_ssize_t panels, panel    # one for each thread
    Py_ssize_t size


cdef inline Py_ssize_t chunk_target(const Plan* p, Py_ssize_t item_size, Py_ssize_t B) noexcept nogil:
    """Rows that make a chunk: a matter of the problem, never of the threads.

    A power of two, so that where a layer's chunk begins one of every layer with smaller chunks does.
    """
    cdef Py_ssize_t rows = 128
    while rows < B or (rows < 1024 and 2 * rows * p.columns * item_size <= BACKWARD_BYTES):
        rows *= 2
    return rows


cdef Room make_room(const Plan* p, Py_ssize_t item_size, Py_ssize_t B, int n_threads) noexcept nogil:
    cdef Room m
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes
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
    m.panels = m.zeros + round_up(max(p.padded, I_padded), 64)
    m.panel = m.rows * 4 * p.lanes
    m.size = m.panels + n_threads * m.panel
    return m


cdef void pack_back(const Plan* p, Py_ssize_t n, const vec* packed, vec* back) noexcept nogil:
    """Packed (n, columns) to packed (columns, n): row j of the one is column j of the other."""
    cdef Py_ssize_t L = p.lanes, N = (n + L - 1) // L, i, j, lane, first, width, left
    memset(back, 0, N * p.columns * sizeof(vec))
    for i in range(n):
        first = i // L // 4 * 4                     # the group of columns that i is in
        left = N - first
        width = group_width(left)
        if left == 3 and i // L == first + 2:
            first += 2
            width = 1
        for j in range(p.column_vectors):
            for lane in range(L):
                copy_item(back, (first * p.columns + (j * L + lane) * width) * L + i - first * L,
                          packed, packed_offset(n, p.column_vectors, i, j, L) + lane)


cdef void backward_recurrence(const Task* k, const Room* m, Py_ssize_t t0, Py_ssize_t t1,
                              Py_ssize_t r0, Py_ssize_t r1, vec* type_of) noexcept nogil:
    """delta, x and z of the rows of the steps t0 to t1, for the ranks r0 to r1 - 1; dz, dc on the way."""
    cdef const Plan* p = &k.plan
    cdef const vec* packed = <const vec*>k.packed
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* dz = at(scratch, m.dz + r0 * p.z_row)
    cdef vec* dc = at(scratch, m.dc + r0 * p.padded)
    cdef const vec* zeros = at(scratch, m.zeros)
    cdef vec* delta
    cdef vec* d
    cdef Py_ssize_t t, r, n, j, b, place, source, first = rows_before(k, t0), row = rows_before(k, t1)
    cdef Py_ssize_t I = p.cell.inputs, H = p.cell.units, n_all, n_before
    cdef Py_ssize_t tape_first = k.B + first - rows_before(k, k.t0)     # tape row of rank 0 at t0
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
            if k.tokens == NULL and k.x != NULL:
                copy_items(at(scratch, m.x + (row - first + r0 + r) * I),
                           at(<const vec*>k.x, b * k.x_batch + place * k.x_time), I)
            d = at(dz, r * p.z_row)
            if p.cell.kind == DENSE:
                memset(d, 0, p.padded * (sizeof(vec) // p.lanes))
            if k.y != NULL:
                add_items(d, at(<const vec*>k.y, b * k.y_batch + place * k.y_time), H)
        delta = at(scratch, m.delta + (row - first + r0) * p.columns)
        cell_backward(p, packed, n,
                      at(<const vec*>k.tape, (tape_first + row - first + r0) * p.tape_row),
                      at(<const vec*>k.tape, (tape_first + row - first + r0 - n_before) * p.tape_row),
                      dz, dc, delta, at(scratch, m.z + (row - first + r0) * p.z_row))
        for source in range(p.sources):
            gemm(n, p.groups, p.columns, delta, p.columns,
                 at(scratch, m.R_back + source * p.columns * p.padded), zeros,
                 at(dz, source * p.padded), p.z_row)


cdef void backward_weights(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t t0,
                           Py_ssize_t j0, Py_ssize_t width, Py_ssize_t part, Py_ssize_t parts,
                           vec* panel) noexcept nogil:
    """Gradients of `width` column vectors from j0 by the chunk's rows; of the parts that the rows of
    the weight matrices are cut into, one. (3.35)"""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* grad = <vec*>k.grad
    cdef const vec* delta = at(scratch, m.delta + j0 * p.lanes)
    cdef vec* g
    cdef vec total
    cdef Py_ssize_t L = p.lanes, I = p.cell.inputs, H = p.cell.units, q, n, source, i0, i1
    cdef Strip s = Strip(rows, 1, 0, width * L, 0, p.columns, p.columns)    # A transposed: k is the row
    for q in range(rows):
        for n in range(width):
            at(panel, q * width * L)[n] = at(delta, q * p.columns)[n]
    if k.tokens == NULL:
        i0 = I * part // parts
        i1 = I * (part + 1) // parts
        s.a_k = I
        g = at(grad, p.W + i0 * p.columns + j0 * L)
        rows_of_tiles(width, i1 - i0, &s, at(scratch, m.x + i0), panel, g, g)
    i0 = H * part // parts
    i1 = H * (part + 1) // parts
    for source in range(p.sources):
        s.a_k = p.z_row
        g = at(grad, p.R + (source * H + i0) * p.columns + j0 * L)
        rows_of_tiles(width, i1 - i0, &s, at(scratch, m.z + source * p.padded + i0), panel,
                      g, g)
    if part == 0:
        for n in range(width):
            g = at(grad, p.bias + (j0 + n) * L)
            total = g[0]
            for q in range(rows):
                total = total + at(panel, q * width * L)[n]
            g[0] = total


cdef void backward_vectors(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t t0,
                           Py_ssize_t t1, vec* type_of) noexcept nogil:
    """What a chunk adds to the gradients of the peepholes and, for tokens, of W."""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef vec* grad = <vec*>k.grad
    cdef const vec* tape
    cdef const vec* before
    cdef const vec* delta
    cdef vec* g
    cdef Py_ssize_t t, r, q = 0, u, j, n, n_before, row, place, groups = p.groups
    if not (p.cell.peepholes or k.tokens != NULL):
        return
    n = count_active(k, t0, k.B)
    n_before = k.B if t0 == k.t0 else count_active(k, t0 - 1, k.B)
    row = k.B + rows_before(k, t0) - rows_before(k, k.t0)
    for t in range(t0, t1):
        n = count_active(k, t, n)
        for r in range(n):
            delta = at(scratch, m.delta + q * p.columns)
            if k.tokens != NULL:
                place = k.tokens[k.order[r] * k.x_batch + place_in_time(k, r, t) * k.x_time]
                g = at(grad, p.W + place * p.columns)
                for j in range(p.column_vectors):
                    g[j] = g[j] + delta[j]
            if p.cell.peepholes:
                tape = at(<const vec*>k.tape, (row + r) * p.tape_row)
                before = at(<const vec*>k.tape, (row - n_before + r) * p.tape_row)
                g = at(grad, p.peepholes)
                if p.cell.block_size == 1:
                    for u in range(groups):
                        if p.i != ABSENT:
                            g[u] = fma(delta[u * p.vectors + p.i], before[u * p.slots + p.c], g[u])
                        if p.f != ABSENT:
                            g[groups + u] = fma(delta[u * p.vectors + p.f],
                                                before[u * p.slots + p.c], g[groups + u])
                        if p.o != ABSENT:
                            g[2 * groups + u] = fma(delta[u * p.vectors + p.o],
                                                    tape[u * p.slots + p.c], g[2 * groups + u])
                else:
                    block_peephole_gradient(p, p.i, delta, before, g)
                    block_peephole_gradient(p, p.f, delta, before, g + groups)
                    block_peephole_gradient(p, p.o, delta, tape, g + 2 * groups)
            q += 1
        n_before = n
        row += n


cdef void block_peephole_gradient(const Plan* p, int place, const vec* delta, const vec* tape,
                                  vec* g) noexcept nogil:
    """g += delta of the block's gate (folded) times s_c, for every cell."""
    cdef Py_ssize_t L = p.lanes, C = p.cell.block_size, j, first
    if place == ABSENT:
        return
    for j in range(p.cell.units):
        first = j // C * C
        add_item(g, j, item(delta, (first // L * p.vectors + place) * L + first % L)
                 * item(tape, (j // L * p.slots + p.c) * L + j % L))


cdef void backward_inputs(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t t0,
                          Py_ssize_t t1, Py_ssize_t q0, Py_ssize_t q1, vec* type_of) noexcept nogil:
    """dx += W' delta for the rows q0 to q1 - 1 of the chunk."""
    cdef const Plan* p = &k.plan
    cdef vec* scratch = <vec*>k.scratch
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes, t, r, q = 0, n
    cdef vec* room = at(scratch, m.dx + q0 * I_padded)
    gemm(q1 - q0, p.input_vectors, p.columns, at(scratch, m.delta + q0 * p.columns), p.columns,
         at(scratch, m.W_back), at(scratch, m.zeros), room, I_padded)
    n = count_active(k, t0, k.B)
    for t in range(t0, t1):
        n = count_active(k, t, n)
        for r in range(max(q0 - q, 0), min(q1 - q, n)):
            add_items(at(<vec*>k.dx, k.order[r] * k.dx_batch + place_in_time(k, r, t) * k.dx_time),
                      at(scratch, m.dx + (q + r) * I_padded), p.cell.inputs)
        q += n


cdef inline void add_items(vec* p, const vec* q, Py_ssize_t n) noexcept nogil:
    """p += q, n numbers."""
    cdef Py_ssize_t L = lanes(q), j
    for j in range(n // L):
        p[j] = p[j] + q[j]
    for j in range(n // L * L, n):
        add_item(p, j, item(q, j))


cdef void backward_recurrence_part(const Task* k, const Room* m, Py_ssize_t t0, Py_ssize_t t1,
                                   Py_ssize_t part, vec* type_of) noexcept nogil:
    cdef unsigned long long mode = flush_denormals()
    backward_recurrence(k, m, t0, t1, share(k, t0, t1, part, k.n_threads),
                        share(k, t0, t1, part + 1, k.n_threads), type_of)
    restore_denormals(mode)


cdef void backward_chunk_part(const Task* k, const Room* m, Py_ssize_t rows, Py_ssize_t t0,
                              Py_ssize_t t1, Py_ssize_t part, Py_ssize_t parts, Py_ssize_t cuts,
                              int thread, vec* type_of) noexcept nogil:
    """The part-th piece of what follows the recurrence: columns of the weights, then rows of dx."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t j
    cdef unsigned long long mode = flush_denormals()
    if part == 0:
        backward_vectors(k, m, rows, t0, t1, type_of)
    elif part > parts:
        part -= parts + 1
        backward_inputs(k, m, rows, t0, t1, rows * part // k.n_threads,
                        rows * (part + 1) // k.n_threads, type_of)
    else:
        part -= 1
        j = part // cuts * 4
        while j < min(part // cuts * 4 + 4, p.column_vectors):
            backward_weights(k, m, rows, t0, j, group_width(p.column_vectors - j), part % cuts, cuts,
                             at(<vec*>k.scratch, m.panels + thread * m.panel))
            j += group_width(p.column_vectors - j)
    restore_denormals(mode)


cdef void run_backward(const Task* k, vec* type_of) noexcept nogil:
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t size = sizeof(vec) // p.lanes
    cdef Room m = make_room(p, size, k.B, k.n_threads)
    cdef vec* scratch = <vec*>k.scratch
    cdef const vec* packed = <const vec*>k.packed
    cdef Py_ssize_t H = p.cell.units, r, t0, t1, source, seen, chunk, rows, parts, cuts
    cdef Py_ssize_t target = chunk_target(p, size, k.B)
    cdef int part, pieces
    cdef unsigned long long mode = flush_denormals()
    memset(at(scratch, m.zeros), 0, (m.panels - m.zeros) * size)
    for source in range(p.sources):
        pack_back(p, H, at(packed, p.R + source * H * p.columns),
                  at(scratch, m.R_back + source * p.columns * p.padded))
    if k.dx != NULL:
        pack_back(p, p.cell.inputs, at(packed, p.W), at(scratch, m.W_back))
    for r in range(k.B):
        load_state(k, r, at(scratch, m.dz + r * p.z_row), at(scratch, m.dc + r * p.padded))
    # The rows of delta are cut in threads' shares of column groups, and where there are too few
    # groups the rows of the weight matrices as well.
    parts = (p.column_vectors + 3) // 4
    cuts = (k.n_threads + parts - 1) // parts
    parts *= cuts
    pieces = <int>(1 + parts + (k.n_threads if k.dx != NULL else 0))
    t1 = min(k.t1, k.lengths[0] if k.B else 0)
    seen = rows_before(k, t1)
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
        if k.n_threads == 1:
            backward_recurrence(k, &m, t0, t1, 0, k.B, type_of)
            for part in range(pieces):
                backward_chunk_part(k, &m, rows, t0, t1, part, parts, cuts, 0, type_of)
        else:
            for part in prange(k.n_threads, num_threads=k.n_threads, schedule='static', chunksize=1):
                backward_recurrence_part(k, &m, t0, t1, part, type_of)
            for part in prange(pieces, num_threads=k.n_threads, schedule='dynamic', chunksize=1):
                backward_chunk_part(k, &m, rows, t0, t1, part, parts, cuts, threadid(), type_of)
        t1 = t0
    for r in range(k.B):
        store_state(k, r, at(scratch, m.dz + r * p.z_row), at(scratch, m.dc + r * p.padded))
    restore_denormals(mode)


# ---- weights in and gradients out ---------------------------------------------------------------

cdef inline Py_ssize_t block_row(const Plan* p, int place, Py_ssize_t unit,
                                 Py_ssize_t lane) noexcept nogil:
    """The row of W, R, b that belongs to a gate (by its place) of a unit, which is unit + lane."""
    cdef Py_ssize_t nb = p.cell.units
    if p.cell.kind != LSTM:
        return unit + lane
    if p.cell.block_size == 1:
        return place * nb + unit + lane
    nb = nb // p.cell.block_size
    if place == p.g:
        return place * nb + unit + lane
    return ((place * nb if place < p.g else (place - 1) * nb + p.cell.units)
            + (unit + lane) // p.cell.block_size)


cdef void pack_matrix(const Plan* p, Py_ssize_t n, const vec* W, vec* packed) noexcept nogil:
    """W (rows by gates, n) to packed (n, columns), transposed. Sixteen k at a time stay in cache."""
    cdef Py_ssize_t L = p.lanes, N = p.column_vectors, j, lane, k, k0, k1, first, width, unit, units
    cdef const vec* source
    cdef vec* to
    for j in range(N):
        first = packed_offset(n, N, 0, j, L)
        width = packed_offset(n, N, 1, j, L) - first
        unit = j // p.vectors * L
        units = min(p.cell.units - unit, L)
        for k0 in range(0, n, 16):
            k1 = min(k0 + 16, n)
            for lane in range(units):
                source = at(W, block_row(p, <int>(j % p.vectors), unit, lane) * n)
                to = at(packed, first + lane)
                for k in range(k0, k1):
                    copy_item(to, k * width, source, k)
            for lane in range(units, L):
                for k in range(k0, k1):
                    set_item(packed, first + lane + k * width, 0)


cdef void pack_gate_matrix(const Plan* p, int source, const vec* Q, vec* packed) noexcept nogil:
    """The columns of Q for one sending gate to packed (H, columns): only a block's first cell sends."""
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C, k, unit
    cdef int q, place
    memset(packed, 0, H * p.column_vectors * sizeof(vec))
    for q in range(p.gates):
        place = gate_place(p, q)
        for unit in range(H):
            for k in range(nb):
                copy_item(packed, packed_offset(H, p.column_vectors, k * C, unit // L * p.vectors + place, L)
                          + unit % L, Q, (q * nb + unit // C) * p.gates * nb + source * nb + k)


cdef void run_pack(const Plan* p, const vec* W, const vec* R, const vec* b, const vec* peepholes,
                   const vec* Q, vec* packed) noexcept nogil:
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, j, lane, unit, source
    cdef int q, place
    cdef vec* w
    memset(packed, 0, p.W * (sizeof(vec) // L))
    for j in range(p.column_vectors):
        for lane in range(L):
            unit = j // p.vectors * L + lane
            if unit < H:
                copy_item(packed, j * L + lane, b, block_row(p, <int>(j % p.vectors), unit, 0))
    if p.cell.peepholes:
        for q in range(p.gates):
            place = gate_place(p, q)
            w = at(packed, p.peepholes + (0 if place == p.i else 1 if place == p.f else 2) * p.padded)
            copy_items(w, at(peepholes, q * H), H)
    pack_matrix(p, p.cell.inputs, W, at(packed, p.W))
    if p.sources:
        pack_matrix(p, H, R, at(packed, p.R))
    for source in range(1, p.sources):
        pack_gate_matrix(p, <int>source - 1, Q, at(packed, p.R + source * H * p.columns))


cdef void unpack_matrix(const Plan* p, Py_ssize_t n, const vec* grad, vec* dW) noexcept nogil:
    """The gradient (n, columns) to dW (rows by gates, n); of a block's gates the first cell's (folded)."""
    cdef Py_ssize_t L = p.lanes, j, lane, k, k0, k1, unit, units
    cdef const vec* source
    cdef vec* to
    for j in range(p.column_vectors):
        unit = j // p.vectors * L
        units = min(p.cell.units - unit, L)
        for k0 in range(0, n, 16):
            k1 = min(k0 + 16, n)
            for lane in range(units):
                if is_first_cell(p, <int>(j % p.vectors), unit + lane):
                    to = at(dW, block_row(p, <int>(j % p.vectors), unit, lane) * n)
                    source = at(grad, j * L + lane)
                    for k in range(k0, k1):
                        copy_item(to, k, source, k * p.columns)


cdef inline bint is_first_cell(const Plan* p, int place, Py_ssize_t unit) noexcept nogil:
    """Whether a gate's gradient is kept at this unit: at every one for g, else at a block's first."""
    return p.cell.block_size == 1 or place == p.g or unit % p.cell.block_size == 0


cdef void run_unpack(const Plan* p, const vec* grad, vec* dW, vec* dR, vec* db, vec* dp,
                     vec* dQ) noexcept nogil:
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C, unit, j, k, source
    cdef int q, place
    if dW != NULL:
        unpack_matrix(p, p.cell.inputs, at(grad, p.W), dW)
    if dR != NULL:
        unpack_matrix(p, H, at(grad, p.R), dR)
    if db != NULL:
        for k in range(p.columns):
            unit = k // L // p.vectors * L + k % L
            place = <int>(k // L % p.vectors)
            if unit < H and is_first_cell(p, place, unit):
                copy_item(db, block_row(p, place, unit, 0), grad, p.bias + k)
    for q in range(p.gates):
        place = gate_place(p, q)
        if dp != NULL:
            copy_items(at(dp, q * H), at(grad, p.peepholes
                       + (0 if place == p.i else 1 if place == p.f else 2) * p.padded), H)
        if dQ != NULL:
            for source in range(p.gates):
                for j in range(nb):
                    for k in range(nb):
                        copy_item(dQ, (q * nb + j) * p.gates * nb + source * nb + k, grad,
                                  p.R + ((source + 1) * H + k * C) * p.columns
                                  + (j * C // L * p.vectors + place) * L + j * C % L)


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


cdef void run_mean(Py_ssize_t B, Py_ssize_t K, const Py_ssize_t* lengths, const vec* y, Py_ssize_t y_batch,
                   Py_ssize_t y_time, vec* out) noexcept nogil:
    """The mean over each sequence's own steps, summed in their order."""
    cdef Py_ssize_t b, t, j
    cdef vec n
    memset(out, 0, B * K * (sizeof(vec) // lanes(y)))
    for b in range(B):
        for t in range(lengths[b]):
            add_items(at(out, b * K), at(y, b * y_batch + t * y_time), K)
        if lengths[b] > 0:
            n = like(item(out, 0), <double>lengths[b])
            for j in range(K):
                set_first(out, b * K + j, item(out, b * K + j) / n)


# ---- entry points for Python ---------------------------------------------------------------------
# Arrays come as they are, checked by layers.py; None is NULL.

cdef inline void* address(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline Py_ssize_t stride(object array, int axis) noexcept:
    """Stride in numbers; 0 for None."""
    if array is None:
        return 0
    return cnp.PyArray_STRIDE(<cnp.ndarray>array, axis) // cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)

cdef inline bint is_single(object array) noexcept:
    return cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 4

cdef Task make_task(const Cell* cell, packed, x, order, lengths, y, h_in, c_in, h_out, c_out, tape,
                    scratch, Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    cdef Task k
    k.plan = make_plan(cell, VF if is_single(packed) else VD)
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


def sizes(Cell cell, dtype):
    """Numbers that the packed weights, a row of the tape and the gradient take."""
    cdef Plan p = make_plan(&cell, VF if dtype.itemsize == 4 else VD)
    return p.packed, p.tape_row, p.packed


def scratch_size(Cell cell, dtype, Py_ssize_t B, int n_threads, bint training):
    """Numbers of workspace that forward and, if training, backward take."""
    cdef Plan p = plan_of(&cell, dtype.itemsize)
    return workspace(&p, dtype.itemsize, B, n_threads, training)


def chunk_rows(Cell cell, dtype, Py_ssize_t B):
    """Chunks of BPTT begin at the steps t where R(t) // chunk_rows changes, R(t) the rows before t.

    Calls of `backward` that are cut at such steps add up to the bits of one call.
    """
    cdef Py_ssize_t item_size = dtype.itemsize
    cdef Plan p = make_plan(&cell, VF if item_size == 4 else VD)
    return chunk_target(&p, item_size, B)


def pack(Cell cell, W, R, b, p, Q, packed):
    """Arrange a layer's blocks for the tiles. OUT packed."""
    cdef Plan plan = make_plan(&cell, VF if is_single(packed) else VD)
    cdef void* W_ = address(W)
    cdef void* R_ = address(R)
    cdef void* b_ = address(b)
    cdef void* p_ = address(p)
    cdef void* Q_ = address(Q)
    cdef void* packed_ = address(packed)
    cdef bint single = is_single(packed)
    with nogil:
        if single:
            run_pack[vf](&plan, <vf*>W_, <vf*>R_, <vf*>b_, <vf*>p_, <vf*>Q_, <vf*>packed_)
        else:
            run_pack[vd](&plan, <vd*>W_, <vd*>R_, <vd*>b_, <vd*>p_, <vd*>Q_, <vd*>packed_)


def unpack(Cell cell, grad, dW, dR, db, dp, dQ):
    """The gradient as `backward` sums it to a layer's blocks. OUT all but grad."""
    cdef Plan plan = make_plan(&cell, VF if is_single(grad) else VD)
    cdef void* W_ = address(dW)
    cdef void* R_ = address(dR)
    cdef void* b_ = address(db)
    cdef void* p_ = address(dp)
    cdef void* Q_ = address(dQ)
    cdef void* grad_ = address(grad)
    cdef bint single = is_single(grad)
    with nogil:
        if single:
            run_unpack[vf](&plan, <vf*>grad_, <vf*>W_, <vf*>R_, <vf*>b_, <vf*>p_, <vf*>Q_)
        else:
            run_unpack[vd](&plan, <vd*>grad_, <vd*>W_, <vd*>R_, <vd*>b_, <vd*>p_, <vd*>Q_)


def forward(Cell cell, packed, x, order, lengths, h0, c0, y, hT, cT, tape, scratch,
            Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    """Steps t0 to t1 of a layer, one direction. OUT y, hT, cT, tape; scratch is workspace."""
    cdef Task k = make_task(&cell, packed, x, order, lengths, y, h0, c0, hT, cT, tape, scratch,
                            t0, t1, reverse, n_threads)
    cdef bint single = is_single(packed)
    with nogil:
        if single:
            run_forward[vf](&k, NULL)
        else:
            run_forward[vd](&k, NULL)


def backward(Cell cell, packed, x, order, lengths, tape, dy, dhT, dcT, dx, dh0, dc0, grad, scratch,
             Py_ssize_t t0, Py_ssize_t t1, int reverse, int n_threads):
    """BPTT through the same steps. IN and OUT dx, grad (added to); OUT dh0, dc0."""
    cdef Task k = make_task(&cell, packed, x, order, lengths, dy, dhT, dcT, dh0, dc0, tape, scratch,
                            t0, t1, reverse, n_threads)
    cdef bint single = is_single(packed)
    k.dx = address(dx)
    k.dx_batch = stride(dx, 0)
    k.dx_time = stride(dx, 1)
    k.grad = address(grad)
    with nogil:
        if single:
            run_backward[vf](&k, NULL)
        else:
            run_backward[vd](&k, NULL)


def mean_over_time(y, lengths, out):
    """out (B, K): the mean of y (B, T, K) over t < lengths. OUT out."""
    cdef void* y_ = address(y)
    cdef void* out_ = address(out)
    cdef Py_ssize_t B = cnp.PyArray_DIM(<cnp.ndarray>out, 0), K = cnp.PyArray_DIM(<cnp.ndarray>out, 1)
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

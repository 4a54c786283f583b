# Whole sequences: which rows there are at a step, the products, the cells, step after step.

from cython.parallel cimport parallel, threadid

cdef extern from "_team.h" nogil:
    ctypedef struct Team:
        pass
    int team_size()                             # threads of this parallel region
    void team_meet(Team* team, int size)        # wait for all; numbers of pieces begin at 0 again
    int team_take(Team* team)                   # the next number

cdef enum:
    # Bytes of pre-activations (forward) or deltas (backward) that are worked on at a time, at most:
    # measured; see docs/performance.md.
    FORWARD_BYTES = 1048576
    BACKWARD_BYTES = 524288
    # A chunk of BPTT grows, up to 512 rows, while the gradient has twice so many bytes for each of
    # its rows.
    GRADIENT_BYTES = 12288
    # Rows for which a step takes no longer than for one, because it has R to read: while R stays in
    # the second-level cache (so many bytes), and beyond.
    ROWS_OF_R = 4
    ROWS_OF_LARGE_R = 16
    LARGE_R = 786432
    # Bytes of numbers that a thread multiplies and adds in a step that pays for a meeting.
    WORK_PER_MEETING = 100000


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


cdef struct Member:
    # One thread of those that work on a task. They share the sequences, or they share the units and
    # meet after every step.
    Team* team
    int index, members
    int shares_units
    Plan own                        # of its unit groups: all of them where sequences are shared
    Py_ssize_t u0                   # the first of them
    Py_ssize_t row0, row_step       # its rows in what is not done by units


# ---- who does what ------------------------------------------------------------------------------

cdef inline Py_ssize_t first_group(const Plan* p, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where a part of the units begins: in fours, so that its columns are whole column groups."""
    return min((p.groups + 3) // 4 * min(part, parts) // parts * 4, p.groups)


cdef Py_ssize_t unit_parts(const Plan* p, Py_ssize_t item_size, Py_ssize_t B,
                           int members) noexcept nogil:
    """Into how many parts the units are cut; 1 where the members share the sequences.

    In rows, a step takes a member its share of the sequences, or all of them for its share of the
    units, but never less than it takes to read the weights.
    """
    cdef Py_ssize_t parts = min(members, (p.groups + 3) // 4)
    cdef Py_ssize_t R_size = p.sources * p.cell.units * p.columns
    cdef Py_ssize_t least = ROWS_OF_R if R_size * item_size < LARGE_R else ROWS_OF_LARGE_R
    if (p.cell.block_size > 1 or B * R_size * item_size < WORK_PER_MEETING * parts
            or max(B, least) >= max((B + members - 1) // members, least) * parts):
        return 1
    return parts


cdef Member make_member(const Task* k, Team* team, int index, int members,
                        Py_ssize_t item_size) noexcept nogil:
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t parts = unit_parts(p, item_size, k.B, members)
    cdef Member me
    me.team = team
    me.index = index
    me.members = members
    me.shares_units = parts > 1
    me.own = p[0]
    me.u0 = me.row0 = 0
    me.row_step = 1
    if me.shares_units:
        me.u0 = first_group(p, index, parts)
        me.own = part_of_layer(p, me.u0, first_group(p, index + 1, parts))
        me.row0 = index
        me.row_step = members
    return me


cdef int useful_threads(const Task* k, Py_ssize_t item_size, Py_ssize_t most) noexcept nogil:
    """Threads that find work: as many as there are parts of the units, else n_threads or `most`."""
    cdef Py_ssize_t parts = unit_parts(&k.plan, item_size, k.B, k.n_threads)
    return <int>(parts if parts > 1 else max(min(k.n_threads, most), 1))


cdef inline bint is_mine(const Member* me, Py_ssize_t r) noexcept nogil:
    return me.row_step == 1 or r % me.row_step == me.row0


cdef inline void meet_over_units(const Member* me) noexcept nogil:
    if me.shares_units:
        team_meet(me.team, me.members)


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
    cdef const vec* bias = at(packed, p.bias)
    cdef Py_ssize_t I = p.cell.inputs, t, r, j, rows = 0, b, place
    cdef vec* row
    if n == 1 and k.tokens == NULL:     # one sequence: its steps are rows as they stand
        gemm(t1 - t0, p.column_vectors, I,
             at(<const vec*>k.x, k.order[r0] * k.x_batch + place_in_time(k, r0, t0) * k.x_time),
             -k.x_time if k.reverse else k.x_time, W, bias, a, p.columns, 0)
        return
    for t in range(t0, t1):
        n = count_active(k, t, r0 + n) - r0
        for r in range(r0, r0 + n):
            b = k.order[r]
            place = place_in_time(k, r, t)
            if k.tokens != NULL:
                row = at(a, rows * p.columns)
                place = k.tokens[b * k.x_batch + place * k.x_time]
                for j in range(p.column_vectors):
                    row[j] = bias[j] + at(
                        W, packed_offset(I, p.column_vectors, place, j, p.lanes))[0]
            else:
                copy_items(at(room, rows * I),
                           at(<const vec*>k.x, b * k.x_batch + place * k.x_time), I)
            rows += 1
    if k.tokens == NULL:
        gemm(rows, p.column_vectors, I, room, I, W, bias, a, p.columns, 0)


cdef void share_input_products(const Task* k, const Member* me, Py_ssize_t r0, Py_ssize_t t0,
                               Py_ssize_t t1, Py_ssize_t n, vec* room, vec* a) noexcept nogil:
    """`input_products` of the steps that are the member's share of t0 to t1."""
    cdef Py_ssize_t t, rows = 0
    cdef Py_ssize_t begin = t0 + (t1 - t0) * me.row0 // me.row_step
    cdef Py_ssize_t end = t0 + (t1 - t0) * (me.row0 + 1) // me.row_step
    for t in range(t0, begin):
        n = count_active(k, t, r0 + n) - r0
        rows += n
    if begin < end:
        input_products(k, r0, begin, end, n, at(room, rows * k.plan.cell.inputs),
                       at(a, rows * k.plan.columns))


cdef void store_states(const Task* k, const Member* me, Py_ssize_t r0, Py_ssize_t first,
                       Py_ssize_t last, const vec* z, const vec* c) noexcept nogil:
    """`store_state` for those of the ranks r0 + first to r0 + last - 1 that are the member's."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t r
    for r in range(first, last):
        if is_mine(me, r):
            store_state(k, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))


cdef void forward_cells(const Plan* p, const Member* me, const vec* packed, Py_ssize_t rows, vec* a,
                        vec* c, vec* z, vec* tape) noexcept nogil:
    """`cell_forward` for the member's units of some rows."""
    cdef Py_ssize_t r
    if me.own.groups == 0:
        return
    if not me.shares_units:
        cell_forward(p, packed, rows, a, c, z, tape)
        return
    a = a + me.u0 * p.vectors
    c = c + me.u0
    z = z + me.u0
    if tape != NULL:
        tape = tape + me.u0 * p.slots
    for r in range(rows):
        cell_forward(&me.own, packed, 1, a, c, z, tape)
        a = at(a, p.columns)
        c = at(c, p.padded)
        z = at(z, p.z_row)
        if tape != NULL:
            tape = at(tape, p.tape_row)


cdef inline void forward_step(const Task* k, const Member* me, Py_ssize_t r0, Py_ssize_t n,
                              Py_ssize_t t, vec* a, vec* c, const vec* z, vec* z_next,
                              vec* tape) noexcept nogil:
    """Step t of the ranks r0 to r0 + n - 1: z, with a and c, to z_next, c, the tape and y."""
    cdef const Plan* p = &k.plan
    cdef const vec* packed = <const vec*>k.packed
    cdef Py_ssize_t H = p.cell.units, source, r
    cdef Py_ssize_t u = me.u0 * p.lanes, j = me.u0 * p.vectors      # its first unit, column vector
    for source in range(p.sources):
        gemm(n, me.own.groups * p.vectors, H, at(z, source * p.padded), p.z_row,
             at(packed, p.R + (source * p.column_vectors + j) * p.lanes * H), <const vec*>NULL,
             a + j, p.columns, t & 1)
    forward_cells(p, me, packed, n, a, c, z_next, tape)
    if k.y != NULL:
        for r in range(n):
            copy_items(at(<vec*>k.y, k.order[r0 + r] * k.y_batch
                          + place_in_time(k, r0 + r, t) * k.y_time + u),
                       at(z_next, r * p.z_row + u), me.own.cell.units)
    meet_over_units(me)


cdef void forward_block(const Task* k, const Member* me, Py_ssize_t r0, Py_ssize_t n,
                        Py_ssize_t room_rows, vec* scratch) noexcept nogil:
    """All steps of the ranks r0 to r0 + n - 1, at most room_rows of them."""
    cdef const Plan* p = &k.plan
    cdef vec* a = scratch
    cdef vec* room = at(a, room_rows * p.columns)
    cdef vec* z = at(room, room_rows * p.cell.inputs)
    cdef vec* z_next = at(z, room_rows * p.z_row)
    cdef vec* c = at(z_next, room_rows * p.z_row)
    cdef vec* tape = NULL
    cdef vec* a_t
    cdef Py_ssize_t r, t, chunk, next_n, next_rows, rows, all_n, until
    for r in range(n):
        if not is_mine(me, r):
            continue
        load_state(k, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))
        if k.tape != NULL:
            tape_initial_state(p, at(z, r * p.z_row), at(c, r * p.padded),
                               at(<vec*>k.tape, (r0 + r) * p.tape_row))
    all_n = count_active(k, k.t0, k.B)
    if k.tape != NULL:
        tape = at(<vec*>k.tape, (k.B + r0) * p.tape_row)
    t = k.t0
    next_n = max(count_active(k, t, r0 + n) - r0, 0) if t < k.t1 else 0
    store_states(k, me, r0, next_n, n, z, c)
    n = next_n
    while t < k.t1 and n > 0:
        chunk = t                       # as many steps as the room for a takes
        rows = 0
        next_rows = n
        while chunk < k.t1 and next_rows > 0 and rows + next_rows <= room_rows:
            until = min(min(k.t1, k.lengths[r0 + next_rows - 1]),
                        chunk + (room_rows - rows) // next_rows)
            rows += next_rows * (until - chunk)
            chunk = until
            next_rows = count_active(k, chunk, r0 + next_rows) - r0
        share_input_products(k, me, r0, t, chunk, n, room, a)
        meet_over_units(me)
        a_t = a
        while t < chunk:
            until = min(chunk, k.lengths[r0 + n - 1])   # no rank ends before
            while t < until:
                forward_step(k, me, r0, n, t, a_t, c, z, z_next, tape)
                z, z_next = z_next, z
                t += 1
                if tape != NULL:
                    tape = at(tape, all_n * p.tape_row)
                    all_n = count_active(k, t, all_n)
                a_t = at(a_t, n * p.columns)
            next_n = max(count_active(k, t, r0 + n) - r0, 0) if t < k.t1 else 0
            store_states(k, me, r0, next_n, n, z, c)
            n = next_n


cdef void forward_part(const Task* k, const Member* me, Py_ssize_t part, Py_ssize_t parts,
                       vec* scratch) noexcept nogil:
    """One of the parts that the sequences are cut into, in blocks that fit the workspace."""
    cdef const Plan* p = &k.plan
    cdef Py_ssize_t rows = forward_rows(p, sizeof(vec) // p.lanes)
    cdef Py_ssize_t r0 = share(k, k.t0, k.t1, part, parts) if part else 0
    cdef Py_ssize_t r1 = share(k, k.t0, k.t1, part + 1, parts) if part + 1 < parts else k.B, n
    cdef Py_ssize_t blocks = (r1 - r0 + rows - 1) // rows
    while blocks > 0:
        n = (r1 - r0 + blocks - 1) // blocks
        forward_block(k, me, r0, n, rows, scratch)
        r0 += n
        blocks -= 1


cdef void forward_member(const Task* k, Team* team, int index, int members,
                         vec* type_of) noexcept nogil:
    cdef Py_ssize_t size = sizeof(vec) // k.plan.lanes
    cdef Member me = make_member(k, team, index, members, size)
    cdef unsigned long long mode = flush_denormals()
    cdef vec* scratch = <vec*>k.scratch
    if me.shares_units:
        forward_part(k, &me, 0, 1, scratch)
    else:
        scratch = at(scratch, index * forward_scratch(&k.plan, size))
        forward_part(k, &me, index, members, scratch)
    restore_denormals(mode)


cdef void run_forward(const Task* k, vec* type_of) noexcept nogil:
    cdef Team team
    cdef int members = useful_threads(k, sizeof(vec) // k.plan.lanes, k.B)
    memset(&team, 0, sizeof(Team))
    if members == 1:
        forward_member(k, &team, 0, 1, type_of)
    else:
        with parallel(num_threads=members):
            forward_member(k, &team, threadid(), team_size(), type_of)

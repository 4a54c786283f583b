# Forward over whole sequences: the products, the cells, step after step.

from cython.parallel cimport parallel, threadid

cdef enum:
    # Bytes of pre-activations that are worked on at a time, at most: measured; see
    # docs/performance.md.
    FORWARD_BYTES = 1048576


cdef inline Py_ssize_t forward_rows(const Plan* p, Py_ssize_t item_size) noexcept nogil:
    """Rows of pre-activations that are worked on at a time."""
    cdef Py_ssize_t rows = FORWARD_BYTES // (p.a_row * item_size) // 12 * 12
    return max(min(rows, 96), 12)


cdef Py_ssize_t forward_scratch(const Plan* p, Py_ssize_t item_size, bint with_x) noexcept nogil:
    """Numbers that one thread needs; tokens are not copied as x is."""
    cdef Py_ssize_t rows = forward_rows(p, item_size), I = p.cell.inputs if with_x else 0
    return round_up(rows * (p.a_row + I + 2 * p.z_row + p.padded), 64)


cdef void add_token(const Plan* p, const vec* packed, Py_ssize_t token, vec* a) noexcept nogil:
    """a = b + the token's column of W."""
    cdef Py_ssize_t j
    cdef const Product* prod
    cdef int k
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.reads_x:
            for j in range(prod.n):
                a[prod.first + j] = at(packed, prod.bias)[j] + at(
                    packed, prod.W + packed_offset(p.cell.inputs, prod.n, token, j, p.lanes))[0]


cdef void input_products(const Task* task, Py_ssize_t r0, Py_ssize_t t0, Py_ssize_t t1,
                         Py_ssize_t n, vec* x_rows, vec* a) noexcept nogil:
    """a = b + W x for the steps t0 to t1 of the ranks r0 to r0 + n - 1, one row after another."""
    cdef const Plan* p = &task.plan
    cdef const Sequences* seq = &task.seq
    cdef Py_ssize_t I = p.cell.inputs, x_row = I, t, r, rows = 0
    cdef const vec* x = x_rows
    cdef const Product* prod
    cdef int k
    if n == 1 and seq.tokens == NULL:       # one sequence: its steps are rows as they stand
        x = at(<const vec*>seq.x, place_in_x(task, r0, t0))
        x_row = -seq.x_time if seq.reverse else seq.x_time
        rows = t1 - t0
    else:
        for t in range(t0, t1):
            n = count_active(task, t, r0 + n) - r0
            for r in range(r0, r0 + n):
                if seq.tokens != NULL:
                    add_token(p, <const vec*>task.packed, seq.tokens[place_in_x(task, r, t)],
                              at(a, rows * p.a_row))
                else:
                    copy_items(at(x_rows, rows * I), at(<const vec*>seq.x, place_in_x(task, r, t)),
                               I)
                rows += 1
    if seq.tokens != NULL:
        return
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.reads_x:
            gemm(rows, prod.n, I, x, x_row, at(<const vec*>task.packed, prod.W),
                 at(<const vec*>task.packed, prod.bias), a + prod.first, p.a_row, 0)


cdef void share_input_products(const Task* task, const Member* me, Py_ssize_t r0, Py_ssize_t t0,
                               Py_ssize_t t1, Py_ssize_t n, vec* x_rows,
                               vec* a) noexcept nogil:
    """`input_products` of the steps that are the member's share of t0 to t1."""
    cdef Py_ssize_t t, rows = 0
    cdef Py_ssize_t begin = t0 + (t1 - t0) * me.row0 // me.row_step
    cdef Py_ssize_t end = t0 + (t1 - t0) * (me.row0 + 1) // me.row_step
    for t in range(t0, begin):
        n = count_active(task, t, r0 + n) - r0
        rows += n
    if begin < end:
        input_products(task, r0, begin, end, n, at(x_rows, rows * task.plan.cell.inputs),
                       at(a, rows * task.plan.a_row))


cdef void store_states(const Task* task, const Member* me, Py_ssize_t r0, Py_ssize_t first,
                       Py_ssize_t last, const vec* z, const vec* c) noexcept nogil:
    """`store_rank` for those of the ranks r0 + first to r0 + last - 1 that are the member's."""
    cdef const Plan* p = &task.plan
    cdef Py_ssize_t r
    for r in range(first, last):
        if is_mine(me, r):
            store_rank(task, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))


cdef void forward_cells(const Plan* p, const Member* me, int phase, const vec* packed,
                        Py_ssize_t rows, vec* a, vec* c, vec* z, vec* z_next,
                        vec* tape) noexcept nogil:
    """`cell_forward` for the member's units of some rows."""
    cdef Py_ssize_t r
    if me.own.groups == 0:
        return
    if not me.shares_units:
        cell_forward(p, phase, packed, rows, a, c, z, z_next, tape)
        return
    c = c + me.u0
    z = z + me.u0
    z_next = z_next + me.u0
    if tape != NULL:
        tape = tape + me.u0 * p.slots
    for r in range(rows):
        cell_forward(&me.own, phase, packed, 1, a, c, z, z_next, tape)
        a = at(a, p.a_row)
        c = at(c, p.padded)
        z = at(z, p.z_row)
        z_next = at(z_next, p.z_row)
        if tape != NULL:
            tape = at(tape, p.tape_row)


cdef inline void recurrent_products(const Plan* p, const Member* me, int phase, const vec* packed,
                                    Py_ssize_t n, const vec* z, vec* a,
                                    bint backwards) noexcept nogil:
    """a += R z for the columns of a phase, the member's units of n rows."""
    cdef Py_ssize_t H = p.cell.units, j
    cdef const Product* prod
    cdef const vec* start
    cdef int k, source
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.phase != phase:
            continue
        j = me.u0 * prod.vectors * p.lanes
        start = NULL if prod.reads_x else at(packed, prod.bias + j)
        for source in range(prod.sources):
            gemm(n, me.own.products[k].n, H,
                 at(z, (prod.first_source + source) * p.padded), p.z_row,
                 at(packed, prod.R + (source * prod.size + j) * H), start,
                 a + me.own.products[k].first, p.a_row, backwards)
            start = NULL


cdef inline void forward_step(const Task* task, const Member* me, Py_ssize_t r0, Py_ssize_t n,
                              Py_ssize_t t, vec* a, vec* c, vec* z, vec* z_next,
                              vec* tape) noexcept nogil:
    """Step t of the ranks r0 to r0 + n - 1: z, with a and c, to z_next, c, the tape and y."""
    cdef const Plan* p = &task.plan
    cdef const vec* packed = <const vec*>task.packed
    cdef Py_ssize_t u = me.u0 * p.lanes, r
    cdef int phase
    for phase in range(p.phases):
        if phase > 0:
            meet_over_units(me)
        recurrent_products(p, me, phase, packed, n, z, a, t & 1)
        forward_cells(p, me, phase, packed, n, a, c, z, z_next, tape)
    if task.seq.y != NULL:
        for r in range(n):
            copy_items(at(<vec*>task.seq.y, place_in_y(task, r0 + r, t) + u),
                       at(z_next, r * p.z_row + u), me.own.cell.units)
    meet_over_units(me)


cdef bint forward_block(const Task* task, Member* me, Py_ssize_t r0, Py_ssize_t n,
                        Py_ssize_t most_rows, vec* scratch) noexcept nogil:
    """All steps of the ranks r0 to r0 + n - 1, at most most_rows of them. True: it is over."""
    cdef const Plan* p = &task.plan
    cdef vec* a = scratch
    cdef vec* x_rows = at(a, most_rows * p.a_row)
    cdef vec* z = at(x_rows, most_rows * p.cell.inputs if task.seq.tokens == NULL else 0)
    cdef vec* z_next = at(z, most_rows * p.z_row)
    cdef vec* c = at(z_next, most_rows * p.z_row)
    cdef vec* tape = NULL
    cdef vec* a_t
    cdef Py_ssize_t r, t, chunk, next_n, next_rows, rows, all_n, until, first
    for r in range(n):
        if not is_mine(me, r):
            continue
        load_rank(task, r0 + r, at(z, r * p.z_row), at(c, r * p.padded))
        if task.seq.tape != NULL:
            cell_start(p, at(z, r * p.z_row), at(c, r * p.padded),
                       at(<vec*>task.seq.tape, (r0 + r) * p.tape_row))
    all_n = count_active(task, task.seq.t0, task.seq.B)
    if task.seq.tape != NULL:
        tape = at(<vec*>task.seq.tape, (task.seq.B + r0) * p.tape_row)
    t = task.seq.t0
    next_n = max(count_active(task, t, r0 + n) - r0, 0) if t < task.seq.t1 else 0
    store_states(task, me, r0, next_n, n, z, c)
    n = next_n
    while t < task.seq.t1 and n > 0:
        chunk = t                       # as many steps as there are rows for
        rows = 0
        next_rows = n
        while chunk < task.seq.t1 and next_rows > 0 and rows + next_rows <= most_rows:
            until = min(min(task.seq.t1, task.seq.lengths[r0 + next_rows - 1]),
                        chunk + (most_rows - rows) // next_rows)
            rows += next_rows * (until - chunk)
            chunk = until
            next_rows = count_active(task, chunk, r0 + next_rows) - r0
        share_input_products(task, me, r0, t, chunk, n, x_rows, a)
        meet_over_units(me)
        a_t = a
        while t < chunk:
            until = min(chunk, task.seq.lengths[r0 + n - 1])   # no rank ends before
            if (until - t) * n > me.rows_per_look:
                until = t + max(me.rows_per_look // n, 1)
            first = t
            while t < until:
                forward_step(task, me, r0, n, t, a_t, c, z, z_next, tape)
                z, z_next = z_next, z
                t += 1
                if tape != NULL:
                    tape = at(tape, all_n * p.tape_row)
                    all_n = count_active(task, t, all_n)
                a_t = at(a_t, n * p.a_row)
            next_n = max(count_active(task, t, r0 + n) - r0, 0) if t < task.seq.t1 else 0
            store_states(task, me, r0, next_n, n, z, c)
            if is_over(me, (until - first) * n):
                return True
            n = next_n
    return False


cdef void forward_part(const Task* task, Member* me, Py_ssize_t part, Py_ssize_t parts,
                       vec* scratch) noexcept nogil:
    """One of the parts that the sequences are cut into, in blocks that fit the workspace."""
    cdef const Plan* p = &task.plan
    cdef Py_ssize_t rows = forward_rows(p, sizeof(vec) // p.lanes)
    cdef Py_ssize_t r0 = share(task, task.seq.t0, task.seq.t1, part, parts) if part else 0
    cdef Py_ssize_t r1 = task.seq.B, n, blocks
    if part + 1 < parts:
        r1 = share(task, task.seq.t0, task.seq.t1, part + 1, parts)
    blocks = (r1 - r0 + rows - 1) // rows
    while blocks > 0:
        n = (r1 - r0 + blocks - 1) // blocks
        if forward_block(task, me, r0, n, rows, scratch):
            return
        r0 += n
        blocks -= 1


cdef void forward_member(const Task* task, Team* team, int index, int members,
                         vec* type_of) noexcept nogil:
    cdef Py_ssize_t size = sizeof(vec) // task.plan.lanes
    cdef Member me = make_member(task, team, index, members, size)
    cdef vec* scratch = <vec*>task.seq.scratch
    me.mode = flush_denormals()
    if me.shares_units:
        forward_part(task, &me, 0, 1, scratch)
    else:
        scratch = at(scratch, index * forward_scratch(&task.plan, size, task.seq.tokens == NULL))
        forward_part(task, &me, index, members, scratch)
        if members > 1:
            wait_for_others(&me)
    restore_denormals(me.mode)


cdef bint run_forward(const Task* task, vec* type_of) noexcept nogil:
    """True if the handler of a signal has raised, and the call has ended before its time."""
    cdef Team team
    cdef int members = useful_threads(task, sizeof(vec) // task.plan.lanes, task.seq.B)
    memset(&team, 0, sizeof(Team))
    if members == 1:
        forward_member(task, &team, 0, 1, type_of)
    else:
        with parallel(num_threads=members):
            forward_member(task, &team, threadid(), team_size(), type_of)
    return team_ends(&team)

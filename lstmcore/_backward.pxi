# BPTT.
#
# The steps are worked through backwards in chunks. Within a chunk the threads first share the
# sequences or the units (the recurrence), then, once all are there, the weights and the rows of dx.

cdef enum:
    # Bytes of deltas that are worked on at a time, at most: measured; see docs/performance.md.
    BACKWARD_BYTES = 524288
    # Rows of one step, and of a chunk, that are worked on without a look whether the call is over.
    ROWS_OF_STEP = 1024
    ROWS_OF_PIECE = 4096
    # A chunk of BPTT grows, up to 512 rows, while the gradient has twice so many bytes for each of
    # its rows.
    GRADIENT_BYTES = 12288


cdef struct Layout:
    # Where things are in the scratch memory of BPTT, in numbers.
    Py_ssize_t rows             # rows of a chunk, at most
    Py_ssize_t R_back, W_back   # R and, for dx, W packed for products with delta
    Py_ssize_t delta, x, z      # of the chunk's rows; x if there is such, and not tokens
    Py_ssize_t dx               # of the chunk's rows, if it is wanted
    Py_ssize_t dz, dc           # (B,) what the later steps add
    Py_ssize_t zeros
    Py_ssize_t dw               # (B, own_rows, H) each sequence's sums, in this chunk
    Py_ssize_t panels, panel    # one for each thread
    Py_ssize_t size


cdef inline Py_ssize_t chunk_target(const Plan* p, Py_ssize_t item_size,
                                    Py_ssize_t B) noexcept nogil:
    """Rows that make a chunk: a matter of the problem, never of the threads.

    A power of two, so that where a layer's chunk begins, one of every layer with smaller chunks
    begins. More than 128 while the deltas stay in the second-level cache, or where the weights'
    gradient does not: every chunk reads and writes all of it.
    """
    cdef Py_ssize_t rows = 128, row = p.a_row * item_size, gradient = p.packed * item_size
    while rows < B or (rows < 1024 and 2 * rows * row <= BACKWARD_BYTES) or (
            rows < 512 and 2 * rows * GRADIENT_BYTES <= gradient):
        rows *= 2
    return rows


cdef Layout make_layout(const Plan* p, Py_ssize_t item_size, Py_ssize_t B, int n_threads,
                        bint with_x, bint with_dx) noexcept nogil:
    cdef Layout lay
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes if with_dx else 0
    lay.rows = chunk_target(p, item_size, B) + B
    lay.R_back = 0
    lay.W_back = p.R_back
    lay.delta = lay.W_back + (p.W_back if with_dx else 0)
    lay.x = lay.delta + lay.rows * p.a_row
    lay.z = lay.x + (lay.rows * p.cell.inputs if with_x else 0)
    lay.dx = round_up(lay.z + lay.rows * p.z_row, 64)
    lay.dz = lay.dx + lay.rows * I_padded
    lay.dc = lay.dz + B * p.z_row
    lay.zeros = round_up(lay.dc + B * p.padded, 64)
    lay.dw = lay.zeros + round_up(max(p.padded, I_padded), 64)
    lay.panels = lay.dw + (round_up(B * p.own_rows * p.padded, 64) if p.own_rows else 0)
    lay.panel = lay.rows * 4 * p.lanes
    lay.size = lay.panels + n_threads * lay.panel
    return lay


# ---- the recurrence -----------------------------------------------------------------------------

cdef void backward_cells(const Plan* p, const Member* me, int phase, const vec* packed,
                         Py_ssize_t rows, const vec* tape, const vec* previous, vec* dz, vec* dc,
                         vec* delta, vec* z, vec* dw) noexcept nogil:
    """`cell_backward` for the member's units of some rows; before the first phase `cell_recall`."""
    cdef Py_ssize_t r
    cdef bint first = phase == p.phases - 1 and p.n_recurrent
    if me.own.groups == 0:
        return
    if not me.shares_units:
        if first:
            cell_recall(p, rows, tape, previous, z)
        cell_backward(p, phase, packed, rows, tape, previous, dz, dc, delta, dw)
        return
    tape = tape + me.u0 * p.slots
    previous = previous + me.u0 * p.slots
    dz = dz + me.u0
    dc = dc + me.u0
    z = z + me.u0
    dw = dw + me.u0
    for r in range(rows):
        if first:
            cell_recall(&me.own, 1, tape, previous, z)
        cell_backward(&me.own, phase, packed, 1, tape, previous, dz, dc, delta, dw)
        tape = at(tape, p.tape_row)
        previous = at(previous, p.tape_row)
        dz = at(dz, p.z_row)
        dc = at(dc, p.padded)
        delta = at(delta, p.a_row)
        z = at(z, p.z_row)
        dw = at(dw, p.own_rows * p.padded)


cdef inline void products_backward(const Plan* p, const Member* me, int phase, const vec* R_back,
                                   const vec* zeros, Py_ssize_t n, const vec* delta, vec* dz,
                                   bint backwards) noexcept nogil:
    """dz = R' delta by the columns of a phase, the member's units of n rows.

    What the cell has left in dz, dL/dh beside the products, is added to.
    """
    cdef Py_ssize_t u = me.u0 * p.lanes, section
    cdef const Product* prod
    cdef int k, source
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.phase != phase:
            continue
        for source in range(prod.sources):
            section = prod.first_source + source
            gemm(n, me.own.groups, prod.size, delta + prod.first, p.a_row,
                 at(R_back, prod.R_back + (source * p.padded + u) * prod.size),
                 <const vec*>NULL if section == 0 and p.carries_h else zeros,
                 at(dz, section * p.padded + u), p.z_row, backwards)


cdef void backward_recurrence(const Task* task, const Layout* lay, Member* me, Py_ssize_t t0,
                              Py_ssize_t t1, Py_ssize_t r0, Py_ssize_t r1,
                              vec* type_of) noexcept nogil:
    """delta, x and z of the rows of the steps t0 to t1, ranks r0 to r1 - 1; dz, dc on the way.

    It stops where the call is over.
    """
    cdef const Plan* p = &task.plan
    cdef const Sequences* seq = &task.seq
    cdef const vec* tape = <const vec*>seq.tape
    cdef vec* scratch = <vec*>seq.scratch
    cdef vec* dz = at(scratch, lay.dz + r0 * p.z_row)
    cdef vec* dc = at(scratch, lay.dc + r0 * p.padded)
    cdef vec* delta
    cdef vec* d
    cdef Py_ssize_t t, r, n, q, rows
    cdef Py_ssize_t first = rows_before(task, t0), row = rows_before(task, t1)
    cdef Py_ssize_t I = p.cell.inputs, n_all, n_before
    cdef Py_ssize_t tape_first = seq.B + first - rows_before(task, seq.t0)  # of rank 0 at t0
    cdef Py_ssize_t u = me.u0 * p.lanes             # the member's first unit
    cdef int phase
    n_all = count_active(task, t1, seq.B)
    for t in range(t1 - 1, t0 - 1, -1):
        while n_all < seq.B and seq.lengths[n_all] > t:
            n_all += 1
        n_before = n_all                            # n(t - 1), or all the initial states
        while n_before < seq.B and (t == seq.t0 or seq.lengths[n_before] > t - 1):
            n_before += 1
        row -= n_all
        n = min(n_all, r1) - r0
        if n <= 0:
            continue
        q = row - first + r0                        # the first of its rows in the chunk
        for r in range(n):
            if seq.tokens == NULL and seq.x != NULL and is_mine(me, r):
                copy_items(at(scratch, lay.x + (q + r) * I),
                           at(<const vec*>seq.x, place_in_x(task, r0 + r, t)), I)
            d = at(dz, r * p.z_row + u)
            if not p.n_recurrent:
                memset(d, 0, p.padded * (sizeof(vec) // p.lanes))
            if seq.y != NULL:
                add_items(d, at(<const vec*>seq.y, place_in_y(task, r0 + r, t) + u),
                          me.own.cell.units)
        delta = at(scratch, lay.delta + q * p.a_row)
        for phase in range(p.phases - 1, -1, -1):
            backward_cells(p, me, phase, <const vec*>task.packed, n,
                           at(tape, (tape_first + q) * p.tape_row),
                           at(tape, (tape_first + q - n_before) * p.tape_row),
                           dz, dc, delta, at(scratch, lay.z + q * p.z_row),
                           at(scratch, lay.dw + r0 * p.own_rows * p.padded))
            meet_over_units(me)
            r = 0
            while r < n:
                rows = min(n - r, ROWS_OF_STEP)
                products_backward(p, me, phase, at(scratch, lay.R_back), at(scratch, lay.zeros),
                                  rows, at(delta, r * p.a_row), at(dz, r * p.z_row), t & 1)
                if is_over(me, rows):
                    return
                r += rows


# ---- weights and inputs -------------------------------------------------------------------------

cdef void backward_weights(const Task* task, const Layout* lay, const Product* prod,
                           Py_ssize_t rows, Py_ssize_t j0, Py_ssize_t width, Py_ssize_t part,
                           Py_ssize_t parts, vec* panel) noexcept nogil:
    """Gradients of `width` column vectors from j0 of a product by the chunk's rows (3.35); of the
    parts that the rows of the weight matrices are cut into, one."""
    cdef const Plan* p = &task.plan
    cdef vec* scratch = <vec*>task.seq.scratch
    cdef vec* grad = <vec*>task.seq.grad
    cdef const vec* delta = at(scratch, lay.delta) + prod.first + j0
    cdef vec* g
    cdef vec total
    cdef Py_ssize_t L = p.lanes, I = p.cell.inputs, H = p.cell.units, q, n, source, i0, i1
    cdef Strip strip = Strip(rows, 1, 0, width * L, 0, width * L, width * L)    # k: the row of A
    for q in range(rows):
        for n in range(width):
            at(panel, q * width * L)[n] = at(delta, q * p.a_row)[n]
    if prod.reads_x and task.seq.tokens == NULL:
        i0 = I * part // parts
        i1 = I * (part + 1) // parts
        strip.a_k = I
        g = at(grad, prod.W + packed_offset(I, prod.n, i0, j0, L))
        rows_of_tiles(width, i1 - i0, &strip, at(scratch, lay.x + i0), panel, g, g)
    i0 = H * part // parts
    i1 = H * (part + 1) // parts
    for source in range(prod.sources):
        strip.a_k = p.z_row
        g = at(grad, prod.R + source * H * prod.size + packed_offset(H, prod.n, i0, j0, L))
        rows_of_tiles(width, i1 - i0, &strip,
                      at(scratch, lay.z + (prod.first_source + source) * p.padded + i0), panel, g,
                      g)
    if part == 0:
        for n in range(width):
            g = at(grad, prod.bias + (j0 + n) * L)
            total = g[0]
            for q in range(rows):
                total = total + at(panel, q * width * L)[n]
            g[0] = total


cdef void backward_vectors(const Task* task, const Layout* lay, Py_ssize_t t0, Py_ssize_t t1,
                           vec* type_of) noexcept nogil:
    """What a chunk adds to the gradients of the cell's own weights and, for tokens, of W."""
    cdef const Plan* p = &task.plan
    cdef const Sequences* seq = &task.seq
    cdef vec* scratch = <vec*>seq.scratch
    cdef vec* grad = <vec*>seq.grad
    cdef const Product* prod
    cdef const vec* delta
    cdef vec* g
    cdef vec* dw
    cdef Py_ssize_t t, r, q = 0, j, n, token
    cdef int k
    if p.own_rows:
        g = at(grad, p.own)
        for r in range(seq.B):
            dw = at(scratch, lay.dw + r * p.own_rows * p.padded)
            for j in range(p.own_rows * p.groups):
                g[j] = g[j] + dw[j]
                dw[j] = like(dw[j], 0)
    if seq.tokens == NULL:
        return
    n = count_active(task, t0, seq.B)
    for t in range(t0, t1):
        n = count_active(task, t, n)
        for r in range(n):
            token = seq.tokens[place_in_x(task, r, t)]
            for k in range(p.n_products):
                prod = &p.products[k]
                if prod.reads_x:
                    delta = at(scratch, lay.delta + q * p.a_row) + prod.first
                    for j in range(prod.n):
                        g = at(grad, prod.W
                               + packed_offset(p.cell.inputs, prod.n, token, j, p.lanes))
                        g[0] = g[0] + delta[j]
            q += 1


cdef void backward_inputs(const Task* task, const Layout* lay, Py_ssize_t rows, Py_ssize_t t0,
                          Py_ssize_t t1, Py_ssize_t q0, Py_ssize_t q1, vec* type_of) noexcept nogil:
    """dx += W' delta for the rows q0 to q1 - 1 of the chunk."""
    cdef const Plan* p = &task.plan
    cdef vec* scratch = <vec*>task.seq.scratch
    cdef Py_ssize_t I_padded = p.input_vectors * p.lanes, t, r, q = 0, n
    cdef vec* dx = at(scratch, lay.dx + q0 * I_padded)
    cdef const vec* start = at(scratch, lay.zeros)
    cdef const Product* prod
    cdef int k
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.reads_x:
            gemm(q1 - q0, p.input_vectors, prod.size,
                 at(scratch, lay.delta + q0 * p.a_row) + prod.first, p.a_row,
                 at(scratch, lay.W_back + prod.W_back), start, dx, I_padded, 0)
            start = NULL                        # the next block's products are added
    n = count_active(task, t0, task.seq.B)
    for t in range(t0, t1):
        n = count_active(task, t, n)
        for r in range(max(q0 - q, 0), min(q1 - q, n)):
            add_items(at(<vec*>task.seq.dx, task.seq.dx_first[r] * task.seq.dx_batch
                         + place_in_time(task, r, t) * task.seq.dx_time),
                      at(scratch, lay.dx + (q + r) * I_padded), p.cell.inputs)
        q += n


cdef struct Pieces:
    # What follows a chunk's recurrence, cut for the threads: rows of dx; column groups of the
    # weights, cut in rows of the weight matrices as well where there are too few; what is left.
    int inputs, groups, cuts, count


cdef Pieces make_pieces(const Plan* p, Py_ssize_t rows, int members, bint with_dx) noexcept nogil:
    """Of chunks of at most so many rows."""
    cdef Pieces pieces
    cdef int k, least = <int>(rows // ROWS_OF_PIECE)
    pieces.groups = 0
    for k in range(p.n_products):
        pieces.groups += <int>((p.products[k].n + 3) // 4)
    pieces.cuts = max((members + pieces.groups - 1) // pieces.groups, least // 16)
    pieces.inputs = 0 if not with_dx else max(1 if members == 1 else 2 * members, least)
    pieces.count = pieces.inputs + pieces.groups * pieces.cuts + 1
    return pieces


cdef void backward_piece(const Task* task, const Layout* lay, const Pieces* pieces, int piece,
                         Py_ssize_t rows, Py_ssize_t t0, Py_ssize_t t1, int thread,
                         vec* type_of) noexcept nogil:
    cdef const Product* prod = &task.plan.products[0]
    cdef Py_ssize_t group, j, width
    if piece < pieces.inputs:
        backward_inputs(task, lay, rows, t0, t1, rows * piece // pieces.inputs,
                        rows * (piece + 1) // pieces.inputs, type_of)
    elif piece < pieces.count - 1:
        piece -= pieces.inputs
        group = piece // pieces.cuts
        while group >= (prod.n + 3) // 4:
            group -= (prod.n + 3) // 4
            prod += 1
        j = group * 4
        while j < min(group * 4 + 4, prod.n):
            width = group_width(prod.n - j)
            backward_weights(task, lay, prod, rows, j, width, piece % pieces.cuts, pieces.cuts,
                             at(<vec*>task.seq.scratch, lay.panels + thread * lay.panel))
            j += width
    else:
        backward_vectors(task, lay, t0, t1, type_of)


# ---- chunk after chunk --------------------------------------------------------------------------

cdef struct Chunk:
    Py_ssize_t t0, t1
    Py_ssize_t rows
    Py_ssize_t seen                 # rows before t0, of earlier segments too


cdef Chunk chunk_before(const Task* task, Py_ssize_t t1, Py_ssize_t seen,
                        Py_ssize_t target) noexcept nogil:
    """The chunk that ends at t1: the steps whose first row's number has one quotient by target."""
    cdef Chunk chunk = Chunk(t1, t1, 0, seen)
    cdef Py_ssize_t quotient = -1, n
    while chunk.t0 > task.seq.t0:
        n = count_active(task, chunk.t0 - 1, task.seq.B)
        if quotient >= 0 and (chunk.seen - n) // target != quotient:
            break
        quotient = (chunk.seen - n) // target
        chunk.seen -= n
        chunk.rows += n
        chunk.t0 -= 1
    return chunk


cdef void backward_member(const Task* task, Team* team, int index, int members,
                          vec* type_of) noexcept nogil:
    cdef const Plan* p = &task.plan
    cdef const Sequences* seq = &task.seq
    cdef Py_ssize_t size = sizeof(vec) // p.lanes
    cdef Layout lay = make_layout(p, size, seq.B, seq.n_threads, seq.tokens == NULL,
                                  seq.dx != NULL)
    cdef Member me = make_member(task, team, index, members, size)
    cdef Pieces pieces = make_pieces(p, lay.rows, members, seq.dx != NULL)
    cdef vec* scratch = <vec*>seq.scratch
    cdef const vec* packed = <const vec*>task.packed
    cdef const Product* prod
    cdef Py_ssize_t H = p.cell.units, r, r0 = 0, r1 = seq.B, source
    cdef Py_ssize_t target = chunk_target(p, size, seq.B)
    cdef Py_ssize_t left = me.rows_per_look * pieces.count
    cdef Chunk chunk
    cdef int k, piece
    me.mode = flush_denormals()
    if index == 0:
        memset(at(scratch, lay.zeros), 0, (lay.panels - lay.zeros) * size)
    for k in range(p.n_products):
        prod = &p.products[k]
        for source in range(prod.sources):
            pack_back(p, prod, H, index, members, at(packed, prod.R + source * H * prod.size),
                      at(scratch, lay.R_back + prod.R_back + source * prod.size * p.padded))
        if seq.dx != NULL and prod.reads_x:
            pack_back(p, prod, p.cell.inputs, index, members, at(packed, prod.W),
                      at(scratch, lay.W_back + prod.W_back))
    for r in range(seq.B):
        if r % members == index:
            load_rank(task, r, at(scratch, lay.dz + r * p.z_row),
                      at(scratch, lay.dc + r * p.padded))
    team_meet(team, members)
    chunk.t0 = min(seq.t1, seq.lengths[0] if seq.B else 0)
    chunk.seen = seq.first_row + rows_before(task, chunk.t0)
    while chunk.t0 > seq.t0:
        chunk = chunk_before(task, chunk.t0, chunk.seen, target)
        if not me.shares_units:
            r0 = share(task, chunk.t0, chunk.t1, index, members)
            r1 = share(task, chunk.t0, chunk.t1, index + 1, members)
        backward_recurrence(task, &lay, &me, chunk.t0, chunk.t1, r0, r1, type_of)
        team_meet(team, members)
        piece = team_take(team)
        while piece < pieces.count and not team_ends(team):
            backward_piece(task, &lay, &pieces, piece, chunk.rows, chunk.t0, chunk.t1, index,
                           type_of)
            # Not by `is_over`, whose counts are those of all members alike.
            left -= chunk.rows
            if left <= 0:
                left = me.rows_per_look * pieces.count
                listen(&me)
            piece = team_take(team)
        team_meet(team, members)
        if team_has_ended(team):
            break
    for r in range(seq.B):
        if r % members == index and not team_has_ended(team):
            store_rank(task, r, at(scratch, lay.dz + r * p.z_row),
                       at(scratch, lay.dc + r * p.padded))
    restore_denormals(me.mode)


cdef bint run_backward(const Task* task, vec* type_of) noexcept nogil:
    """True if the handler of a signal has raised, and the call has ended before its time."""
    cdef Team team
    # Without a recurrence there are only the pieces, which are not shared by sequences.
    cdef int members = useful_threads(task, sizeof(vec) // task.plan.lanes,
                                      task.seq.B if task.plan.n_recurrent else task.seq.n_threads)
    memset(&team, 0, sizeof(Team))
    if members == 1:
        backward_member(task, &team, 0, 1, type_of)
    else:
        with parallel(num_threads=members):
            backward_member(task, &team, threadid(), team_size(), type_of)
    return team_ends(&team)


cdef Py_ssize_t scratch_numbers(const Plan* p, Py_ssize_t item_size, Py_ssize_t B, int n_threads,
                                bint training, bint with_x, bint with_dx) noexcept nogil:
    """Numbers of scratch memory that forward and, if training, backward take.

    with_x : whether the inputs are numbers, not tokens
    """
    cdef Py_ssize_t size = n_threads * forward_scratch(p, item_size, with_x)
    if training:
        size = max(size, make_layout(p, item_size, B, n_threads, with_x, with_dx).size)
    return size

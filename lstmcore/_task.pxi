# One call over sequences: what is computed on, which thread does what, which rows there are at a
# step, the states at both ends.

cdef extern from "_team.h" nogil:
    ctypedef struct Team:
        pass
    int team_size()                             # threads of this parallel region
    void team_meet(Team* team, int size)        # wait for all; numbers of pieces begin at 0 again
    int team_take(Team* team)                   # the next number
    void team_end(Team* team)                   # the call is to end before its time
    bint team_ends(Team* team)                  # whether it is
    bint team_has_ended(Team* team)             # whether it was when all last met
    void team_leave(Team* team)                 # this thread has nothing left to do
    int team_left(Team* team)                   # how many have not
    void team_yield()
    long long team_clock()                      # milliseconds

cdef enum:
    # Rows for which a step takes no longer than for one, because it has R to read: while R stays in
    # the second-level cache (so many bytes), and beyond.
    ROWS_OF_R = 4
    ROWS_OF_LARGE_R = 16
    LARGE_R = 786432
    # Bytes of numbers that a thread multiplies and adds in a step that pays for a meeting.
    WORK_PER_MEETING = 100000


cdef struct Task:
    # One call of forward or backward.
    Plan plan
    const void* packed
    Sequences seq
    bint listens                    # for signals: the calling thread is Python's main one


cdef struct Member:
    # One thread of those that work on a task. They share the sequences, or they share the units and
    # meet after every phase of a step.
    Team* team
    int index, members
    int shares_units
    Plan own                        # of its unit groups: all of them where sequences are shared
    Py_ssize_t u0                   # the first of them
    Py_ssize_t row0, row_step       # its rows in what is not done by units
    bint listens                    # it is the calling thread, and the task listens
    long long heard                 # when it last did; 0 before its first look at the clock
    Py_ssize_t rows_per_look, rows_left     # rows of steps until the next look
    unsigned long long mode         # of the processor for denormal numbers, as it was before


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
    cdef Py_ssize_t least = ROWS_OF_R if p.R_size * item_size < LARGE_R else ROWS_OF_LARGE_R
    if (p.cell.block_size > 1 or B * p.R_size * item_size < WORK_PER_MEETING * parts
            or max(B, least) >= max((B + members - 1) // members, least) * parts):
        return 1
    return parts


cdef Member make_member(const Task* task, Team* team, int index, int members,
                        Py_ssize_t item_size) noexcept nogil:
    cdef const Plan* p = &task.plan
    cdef Py_ssize_t parts = unit_parts(p, item_size, task.seq.B, members)
    cdef Py_ssize_t row = p.R_size + p.a_row * WORK_OF_CELL     # multiply-adds
    cdef Member me
    if task.seq.tokens == NULL:
        row += p.W_size
    me.team = team
    me.index = index
    me.members = members
    me.shares_units = parts > 1
    me.own = p[0]
    me.u0 = me.row0 = 0
    me.row_step = 1
    me.listens = task.listens and index == 0
    me.heard = 0
    me.rows_per_look = me.rows_left = WORK_PER_LOOK // row + 1
    me.mode = 0
    if me.shares_units:
        me.u0 = first_group(p, index, parts)
        me.own = part_of_layer(p, me.u0, first_group(p, index + 1, parts))
        me.row0 = index
        me.row_step = members
    return me


cdef int useful_threads(const Task* task, Py_ssize_t item_size, Py_ssize_t most) noexcept nogil:
    """Threads that find work: as many as there are parts of the units, else n_threads or `most`."""
    cdef Py_ssize_t parts = unit_parts(&task.plan, item_size, task.seq.B, task.seq.n_threads)
    return <int>(parts if parts > 1 else max(min(task.seq.n_threads, most), 1))


cdef inline bint is_mine(const Member* me, Py_ssize_t r) noexcept nogil:
    return me.row_step == 1 or r % me.row_step == me.row0


cdef inline void meet_over_units(const Member* me) noexcept nogil:
    if me.shares_units:
        team_meet(me.team, me.members)


# ---- ending before its time ---------------------------------------------------------------------

cdef void listen(Member* me) noexcept nogil:
    """Let the handlers of signals run if it is time for it; the call ends where one raises."""
    cdef long long now
    if not me.listens or team_ends(me.team):
        return
    now = team_clock()
    if me.heard == 0:
        me.heard = now
    elif now - me.heard >= LISTENING:
        restore_denormals(me.mode)
        if run_handlers() < 0:
            team_end(me.team)
        flush_denormals()
        me.heard = team_clock()


cdef bint look(Member* me) noexcept nogil:
    """Listen, and return whether the call is over.

    Members who meet after every phase decide by what was so when they last met: as all of them
    ask between the same two meetings, they leave together.
    """
    me.rows_left = me.rows_per_look
    listen(me)
    return team_has_ended(me.team) if me.shares_units else team_ends(me.team)


cdef inline bint is_over(Member* me, Py_ssize_t rows) noexcept nogil:
    """Whether the call ends here, after so many more rows of steps."""
    me.rows_left -= rows
    return me.rows_left <= 0 and look(me)


cdef void wait_for_others(Member* me) noexcept nogil:
    """In a long call the calling thread listens while others still have sequences to do."""
    team_leave(me.team)
    while me.heard and team_left(me.team) < me.members and not team_ends(me.team):
        listen(me)
        team_yield()


# ---- ranks and rows -----------------------------------------------------------------------------

cdef inline Py_ssize_t count_active(const Task* task, Py_ssize_t t,
                                    Py_ssize_t at_most) noexcept nogil:
    """n(t): ranks below at_most that have a step t."""
    while at_most > 0 and task.seq.lengths[at_most - 1] <= t:
        at_most -= 1
    return at_most

cdef inline Py_ssize_t rows_before(const Task* task, Py_ssize_t t) noexcept nogil:
    """Sum of n(s) over all s < t."""
    cdef Py_ssize_t r, total = 0
    for r in range(task.seq.B):
        total += min(task.seq.lengths[r], t)
    return total

cdef inline Py_ssize_t place_in_time(const Task* task, Py_ssize_t r, Py_ssize_t t) noexcept nogil:
    """The time step of x and y that is the t-th step of rank r."""
    return task.seq.lengths[r] - 1 - t if task.seq.reverse else t

cdef inline Py_ssize_t place_in_x(const Task* task, Py_ssize_t r, Py_ssize_t t) noexcept nogil:
    """Where the t-th step of rank r stands in x."""
    return (task.seq.x_first[r] * task.seq.x_batch
            + place_in_time(task, r, t) * task.seq.x_time)

cdef inline Py_ssize_t place_in_y(const Task* task, Py_ssize_t r, Py_ssize_t t) noexcept nogil:
    """Where it stands in y."""
    return (task.seq.y_first[r] * task.seq.y_batch
            + place_in_time(task, r, t) * task.seq.y_time)

cdef Py_ssize_t share(const Task* task, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t part,
                      Py_ssize_t parts) noexcept nogil:
    """First rank of a part when the steps t0 to t1 are shared out evenly, in whole ranks."""
    cdef Py_ssize_t total = 0, r, done = 0
    for r in range(task.seq.B):
        total += max(min(task.seq.lengths[r], t1) - t0, 0)
    for r in range(task.seq.B):
        if done * parts >= total * part:
            return r
        done += max(min(task.seq.lengths[r], t1) - t0, 0)
    return task.seq.B


# ---- states -------------------------------------------------------------------------------------

cdef inline Py_ssize_t h_size(const Plan* p) noexcept nogil:
    """Numbers of the state h: of the gates that are part of it a block's first cell's, after H."""
    return p.cell.units + p.sent * (p.cell.units // p.cell.block_size)


cdef inline void load_units(const Plan* p, vec* to, const vec* source, Py_ssize_t n) noexcept nogil:
    """n numbers (0 where there is no source) into padded room."""
    if source == NULL:
        n = 0
    else:
        copy_items(to, source, n)
    memset(at(to, n), 0, (p.padded - n) * (sizeof(vec) // lanes(to)))


cdef void load_state(const Plan* p, const vec* h, const vec* c, vec* z, vec* to_c) noexcept nogil:
    """IN h, c: one sequence's state, NULL is zero; OUT z, c as the cells have them."""
    cdef Py_ssize_t H = p.cell.units, nb = H // p.cell.block_size, section, j
    load_units(p, z, h, H)
    for section in range(1, p.sections):
        load_units(p, at(z, section * p.padded), <const vec*>NULL, 0)
        if h != NULL and section <= p.sent:
            for j in range(nb):     # a block's first cell sends, and receives, for all of it
                copy_item(z, section * p.padded + j * p.cell.block_size,
                          h, H + (section - 1) * nb + j)
    if p.states > 1:
        load_units(p, to_c, c, H)


cdef void store_state(const Plan* p, const vec* z, const vec* from_c, vec* h,
                      vec* c) noexcept nogil:
    """The reverse of `load_state`; h or c is NULL where it is not wanted."""
    cdef Py_ssize_t H = p.cell.units, nb = H // p.cell.block_size, section, j
    if h != NULL:
        copy_items(h, z, H)
        for section in range(1, p.sent + 1):
            for j in range(nb):
                copy_item(h, H + (section - 1) * nb + j,
                          z, section * p.padded + j * p.cell.block_size)
    if c != NULL and p.states > 1:
        copy_items(c, from_c, H)


cdef inline vec* row_of_state(const Task* task, int state, bint out, Py_ssize_t r,
                              vec* type_of) noexcept nogil:
    """Where a state of rank r is given, or wanted; NULL where it is not."""
    cdef const Sequences* seq = &task.seq
    cdef vec* rows = <vec*>seq.state_out[state] if out else <vec*>seq.state_in[state]
    cdef Py_ssize_t batch = seq.state_out_batch[state] if out else seq.state_in_batch[state]
    return rows if rows == NULL else at(rows, seq.order[r] * batch)


cdef void load_rank(const Task* task, Py_ssize_t r, vec* z, vec* c) noexcept nogil:
    load_state(&task.plan, row_of_state(task, 0, 0, r, z), row_of_state(task, 1, 0, r, z), z, c)


cdef void store_rank(const Task* task, Py_ssize_t r, const vec* z, const vec* c) noexcept nogil:
    store_state(&task.plan, z, c, row_of_state(task, 0, 1, r, <vec*>z),
                row_of_state(task, 1, 1, r, <vec*>z))

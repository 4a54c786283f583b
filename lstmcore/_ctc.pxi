# Connectionist temporal classification: the losses of whole sequences and their derivatives.
#
# The forward and backward variables (C.3) to (C.6) are sums of products of up to T probabilities.
# Each is a pair x 2^e, x from 1 to 2 or zero, e an integer in a double. So nothing underflows, how
# long and how unlikely a sequence may be, nothing is rounded but products and sums, and a step
# takes a few operations where logarithms take two exponentials and a logarithm. All is float64, as
# in the other losses.
#
# Of the 2 U + 1 places, labels with blanks between them, labels and blanks stand apart: place 2 u
# is blank u, place 2 u + 1 is label u. The vectors stand along them.

cdef double NOTHING = -1e300    # the exponent of zero: below all others, and of their sums
cdef double IMPOSSIBLE = 1e15   # a probability e^-1e15 is 0

cdef enum:
    MARGIN = 8                  # zeros before and after a vector of places, for their neighbours
    LABEL_X = 0                 # of the vectors that a set of variables is made of
    LABEL_E = 1
    BLANK_X = 2
    BLANK_E = 3

cdef struct Wide:
    vd x
    vd e

ctypedef struct Labellings:
    Py_ssize_t B, K, blank
    void* a                         # (N, K), overwritten with delta
    const Py_ssize_t* first         # (B + 1,): the first row of each sequence; the last is N
    const Py_ssize_t* labels        # of all sequences, one after the other
    const Py_ssize_t* begin         # (B + 1,): where those of each begin, and all end
    const double* weights           # (B,)
    double* values                  # (B,) OUT: the loss of each sequence that has a weight, or 0
    double* scratch
    Py_ssize_t scratch_size         # of each thread

cdef struct Lattice:
    # One sequence's working memory.
    Py_ssize_t U, T, K, blank       # labels, steps, outputs
    Py_ssize_t width                # places of each kind, in whole vectors
    const Py_ssize_t* labels
    double* bars                    # (width): the exponent that bars label u - 1 from label u, or 0
    double* now                     # two sets of variables, which take turns
    double* other
    double* emission_x              # (width): of each label, of those below
    double* emission_e
    double* share                   # (width): of each label in the posterior
    double* powers_x                # of each output, in whole vectors: e^(a - max a) of a step
    double* powers_e
    double* posterior               # of each output
    double* forward                 # (T, 4, width): the forward variables of all steps


# ---- numbers with exponents of their own --------------------------------------------------------

cdef inline vd larger(vd x, vd y) noexcept nogil:
    return where_less(x, y, y, x)

cdef inline vd power_of_two(vd e) noexcept nogil:
    """2^e for integers e up to 1023; 0 for those below -1022."""
    return pow2(at_least(e, -1023) + rounder(e))

cdef inline Wide wide(vd x, vd e) noexcept nogil:
    """x 2^e for x >= 0, with x brought to 1 to 2."""
    cdef vd n = vd_exponent(x)
    cdef Wide result
    result.x = x * power_of_two(-n)
    result.e = where_less(x, vd_splat(DBL_MIN), vd_splat(NOTHING), e + n)
    return result

cdef inline Py_ssize_t padded_places(Py_ssize_t U) noexcept nogil:
    return (U + VD) // VD * VD

cdef inline double* section(double* set, Py_ssize_t width, int k) noexcept nogil:
    """A vector of a set of variables with margins."""
    return set + k * (width + 2 * MARGIN) + MARGIN

cdef inline vd from_place(const double* vector, Py_ssize_t u) noexcept nogil:
    return load(<const vd*>vector, u)


# ---- steps of the lattice -----------------------------------------------------------------------

cdef inline void arrive(const Lattice* m, double* from_set, double* to_set,
                        const int back) noexcept nogil:
    """The variables before the next output is counted: sums over the places that lead there.

    Forward, label u comes from itself, from blank u and, if it differs, from label u - 1; blank u
    from itself and label u - 1. `back`, the same in reverse order: label u from itself, blank u + 1
    and label u + 1, blank u from itself and label u.
    """
    cdef Py_ssize_t W = m.width, v, u
    cdef int next = 1 if back else -1
    cdef const double* lx = section(from_set, W, LABEL_X)
    cdef const double* le = section(from_set, W, LABEL_E)
    cdef const double* bx = section(from_set, W, BLANK_X)
    cdef const double* be = section(from_set, W, BLANK_E)
    cdef vd x, e0, e1, e2, top
    for v in range(W // VD):
        u = v * VD
        e0 = from_place(le, u)
        e1 = from_place(be, u + back)
        e2 = from_place(le, u + next) + from_place(m.bars, u + back)
        top = larger(larger(e0, e1), e2)
        x = from_place(lx, u + next) * power_of_two(e2 - top)
        x = fma(from_place(bx, u + back), power_of_two(e1 - top), x)
        x = fma(from_place(lx, u), power_of_two(e0 - top), x)
        store(<vd*>section(to_set, W, LABEL_X), u, x)
        store(<vd*>section(to_set, W, LABEL_E), u, top)

        e0 = from_place(be, u)
        e1 = from_place(le, u + back - 1)
        top = larger(e0, e1)
        x = from_place(lx, u + back - 1) * power_of_two(e1 - top)
        x = fma(from_place(bx, u), power_of_two(e0 - top), x)
        store(<vd*>section(to_set, W, BLANK_X), u, x)
        store(<vd*>section(to_set, W, BLANK_E), u, top)


cdef inline void count_outputs(const Lattice* m, double* set) noexcept nogil:
    """Multiply a set of variables by the outputs of a step."""
    cdef Py_ssize_t W = m.width, v, u
    cdef double* lx = section(set, W, LABEL_X)
    cdef double* le = section(set, W, LABEL_E)
    cdef double* bx = section(set, W, BLANK_X)
    cdef double* be = section(set, W, BLANK_E)
    cdef vd blank_x = vd_splat(m.powers_x[m.blank]), blank_e = vd_splat(m.powers_e[m.blank])
    cdef Wide some
    for v in range(W // VD):
        u = v * VD
        some = wide(from_place(lx, u) * from_place(m.emission_x, u),
                    from_place(le, u) + from_place(m.emission_e, u))
        store(<vd*>lx, u, some.x)
        store(<vd*>le, u, some.e)
        some = wide(from_place(bx, u) * blank_x, from_place(be, u) + blank_e)
        store(<vd*>bx, u, some.x)
        store(<vd*>be, u, some.e)


cdef inline double find_outputs(const Lattice* m, const vec* a) noexcept nogil:
    """powers and emission of one row of pre-activations; returns the sum of the powers."""
    cdef Py_ssize_t K = m.K, n = vectors_of(K, True), j, k, u
    cdef vd top = vector_of(a, K, 0, -HUGE_VAL, True), total = vd_splat(0), x, d, e, lost
    for j in range(1, n):
        x = vector_of(a, K, j, -HUGE_VAL, True)
        top = where_less(top, x, x, top)
    k = 0
    for j in range(1, VD):
        if number(&top, j) > number(&top, k):
            k = j
    top = item(&top, k)
    for j in range(n):
        x = vector_of(a, K, j, -HUGE_VAL, True)
        d = top - x
        e = d - top
        lost = (top - (d - e)) - (x + e)            # by the rounding of d
        lost = where_less(d, vd_splat(IMPOSSIBLE), lost, vd_splat(0))
        d = at_most(d, IMPOSSIBLE)
        e = round_halvings(d, -1) - rounder(d)
        x = vd_splat(1) + expm1_reduced(reduced(-d, e))
        x = fma(-x, lost, x)
        x = where_less(d, vd_splat(IMPOSSIBLE), x, d - d)
        total = fma(x, power_of_two(e), total)
        store(<vd*>m.powers_x, j * VD, x)
        store(<vd*>m.powers_e, j * VD, e)
    for u in range(m.U):
        m.emission_x[u] = m.powers_x[m.labels[u]]
        m.emission_e[u] = m.powers_e[m.labels[u]]
    return sum_of_lanes(&total)


cdef inline vd posteriors(const double* x0, const double* e0, const double* x1, const double* e1,
                          vd all_e) noexcept nogil:
    """A vector of forward times backward variables, over 2^all_e."""
    cdef vd e = from_place(e0, 0) + from_place(e1, 0) - all_e
    return from_place(x0, 0) * from_place(x1, 0) * power_of_two(e)


cdef inline void write_delta(const Lattice* m, const double* forward, double* backward, vd all_e,
                             double total, double weight, vec* a) noexcept nogil:
    """delta of one step over its pre-activations: outputs less posteriors (C.9)."""
    cdef Py_ssize_t W = m.width, v, u, j
    cdef const double* lx = section(backward, W, LABEL_X)
    cdef const double* le = section(backward, W, LABEL_E)
    cdef const double* bx = section(backward, W, BLANK_X)
    cdef const double* be = section(backward, W, BLANK_E)
    cdef double of_all
    cdef vd of_blanks = vd_splat(0), y, of_y, of_z
    for v in range(W // VD):
        u = v * VD
        y = posteriors(forward + LABEL_X * W + u, forward + LABEL_E * W + u, lx + u, le + u, all_e)
        store(<vd*>m.share, u, y)
        y = posteriors(forward + BLANK_X * W + u, forward + BLANK_E * W + u, bx + u, be + u, all_e)
        of_blanks = of_blanks + y
    of_all = sum_of_lanes(&of_blanks)
    memset(m.posterior, 0, vectors_of(m.K, True) * VD * sizeof(double))
    m.posterior[m.blank] = of_all
    for u in range(m.U):
        m.posterior[m.labels[u]] += m.share[u]
        of_all += m.share[u]
    of_y = vd_splat(weight / total)
    of_z = vd_splat(weight / of_all)
    for j in range(vectors_of(m.K, True)):
        y = from_place(m.powers_x, j * VD) * power_of_two(from_place(m.powers_e, j * VD))
        y = y * of_y - from_place(m.posterior, j * VD) * of_z
        set_vector(a, m.K, j, y, True)


# ---- a sequence, and all of them ----------------------------------------------------------------

cdef inline Py_ssize_t variables_size(Py_ssize_t width) noexcept nogil:
    return 4 * (width + 2 * MARGIN)


cdef Py_ssize_t ctc_scratch(Py_ssize_t T, Py_ssize_t U, Py_ssize_t K) noexcept nogil:
    """Numbers of scratch memory for a sequence of T steps and U labels, or less of each."""
    cdef Py_ssize_t W = padded_places(U)
    return (2 * variables_size(W) + W + 2 * MARGIN + 3 * W + 3 * vectors_of(K, True) * VD
            + T * 4 * W)


cdef Py_ssize_t repeats(const Py_ssize_t* labels, Py_ssize_t U) noexcept nogil:
    """How many labels are the same as the one before; a blank must stand between these two."""
    cdef Py_ssize_t u, n = 0
    for u in range(1, U):
        n += labels[u] == labels[u - 1]
    return n


cdef void begin_lattice(Lattice* m, const Labellings* data, Py_ssize_t b,
                        double* memory) noexcept nogil:
    """Sequence b, its scratch memory, and no variables yet."""
    cdef Py_ssize_t W, columns = vectors_of(data.K, True) * VD, u
    m.U = data.begin[b + 1] - data.begin[b]
    m.T = data.first[b + 1] - data.first[b]
    m.K = data.K
    m.blank = data.blank
    m.labels = data.labels + data.begin[b]
    W = m.width = padded_places(m.U)
    m.now = memory
    m.other = m.now + variables_size(W)
    m.bars = m.other + variables_size(W) + MARGIN
    m.emission_x = m.bars + W + MARGIN
    m.emission_e = m.emission_x + W
    m.share = m.emission_e + W
    m.powers_x = m.share + W
    m.powers_e = m.powers_x + columns
    m.posterior = m.powers_e + columns
    m.forward = m.posterior + columns
    memset(memory, 0, (m.share - memory) * sizeof(double))
    for u in range(1, m.U):
        m.bars[u] = 2 * NOTHING if m.labels[u] == m.labels[u - 1] else 0


cdef void set_nothing(const Lattice* m, Py_ssize_t blank) noexcept nogil:
    """All variables zero, but for that of one blank, which is 1."""
    cdef Py_ssize_t k, n = variables_size(m.width)
    memset(m.now, 0, n * sizeof(double))
    memset(m.other, 0, n * sizeof(double))
    for k in range(n // 4):
        (m.now + LABEL_E * (n // 4))[k] = (m.now + BLANK_E * (n // 4))[k] = NOTHING
        (m.other + LABEL_E * (n // 4))[k] = (m.other + BLANK_E * (n // 4))[k] = NOTHING
    section(m.now, m.width, BLANK_X)[blank] = 1
    section(m.now, m.width, BLANK_E)[blank] = 0


cdef inline void take_turns(Lattice* m) noexcept nogil:
    m.now, m.other = m.other, m.now


cdef inline double log_of(Wide x) noexcept nogil:
    """ln of the number in the first lane."""
    cdef vd y = fma(x.e, vd_splat(0.6931471805599453), log1p_unit(x.x - vd_splat(1)))
    return number(&y, 0)


cdef double ctc_sequence(const Labellings* data, Py_ssize_t b, double* memory,
                         vec* type_of) noexcept nogil:
    """-ln of the probability of sequence b's labels; delta, times its weight, over its rows."""
    cdef Lattice m
    cdef Py_ssize_t K = data.K, t, W, U
    cdef int k
    cdef double total, value, weight = data.weights[b]
    cdef vec* a = at(<vec*>data.a, data.first[b] * K)
    cdef Wide scale, probability
    begin_lattice(&m, data, b, memory)
    W, U = m.width, m.U
    if weight == 0 or m.T < U + repeats(m.labels, U):
        memset(a, 0, m.T * K * (sizeof(vec) // lanes(a)))
        return 0 if weight == 0 else HUGE_VAL
    set_nothing(&m, 0)
    scale = wide(vd_splat(1), vd_splat(0))
    for t in range(m.T):
        total = find_outputs(&m, at(a, t * K))
        scale = wide(scale.x * vd_splat(total), scale.e)
        arrive(&m, m.now, m.other, 0)
        take_turns(&m)
        count_outputs(&m, m.now)
        for k in range(4):
            memcpy(m.forward + (t * 4 + k) * W, section(m.now, W, k), W * sizeof(double))
    arrive(&m, m.now, m.other, 0)       # at the blank after the last step, from both last places
    probability = wide(vd_splat(section(m.other, W, BLANK_X)[U]),
                       vd_splat(section(m.other, W, BLANK_E)[U]))
    if number(&probability.x, 0) == 0:
        memset(a, 0, m.T * K * (sizeof(vec) // lanes(a)))
        return HUGE_VAL
    scale = wide(scale.x / probability.x, scale.e - probability.e)
    set_nothing(&m, U)
    for t in range(m.T - 1, -1, -1):
        total = find_outputs(&m, at(a, t * K))
        arrive(&m, m.now, m.other, 1)
        take_turns(&m)
        write_delta(&m, m.forward + t * 4 * W, m.now, probability.e, total, weight, at(a, t * K))
        count_outputs(&m, m.now)
    value = log_of(scale)
    return 0 if value < 0 else value    # a probability of 1 may have been rounded up


cdef void ctc_member(const Labellings* data, int index, int members, vec* type_of) noexcept nogil:
    """Every `members`-th sequence."""
    cdef unsigned long long mode = flush_denormals()
    cdef double* memory = data.scratch + index * data.scratch_size
    cdef Py_ssize_t b
    for b in range(data.B):
        if b % members == index:
            data.values[b] = ctc_sequence(data, b, memory, type_of)
    restore_denormals(mode)


cdef void run_ctc(const Labellings* data, int n_threads, vec* type_of) noexcept nogil:
    cdef int members = <int>min(n_threads, data.B)
    if members <= 1:
        ctc_member(data, 0, 1, type_of)
    else:
        with parallel(num_threads=members):
            ctc_member(data, threadid(), team_size(), type_of)

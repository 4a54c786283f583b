# Losses: the value and its derivative at the pre-activations, a row of outputs at a time.
#
# Everything is computed in float64: numbers of float32 are widened as they are read, and delta is
# rounded as it is written. The vectors stand across the rows (one row in each lane, a vector for
# each column) or, where there are too many columns for that, along a row. Either way a loss is
# written once, for "the vectors of x": `along` says which they are, and is a literal at every call.

cdef enum:                      # the losses' codes; the names are in losses.py
    SQUARED_ERROR = 0
    CROSS_ENTROPY = 1
    BINARY_CROSS_ENTROPY = 2
    POISSON = 3
    MIXTURE = 4

cdef enum:
    MOST_COLUMNS = 32           # with one row in each lane;
    MOST_MIXTURE_COLUMNS = 256  # of a mixture, whose components seldom fill vectors of their own,
    MOST_TARGETS = 128          # and which has less than half as many numbers of a target
    SUMMED_ROWS = 512           # terms are summed by so many rows first,
    MOST_SUMS = 64              # then in so many sums, which threads share

ctypedef struct Rows:
    int loss
    Py_ssize_t N, K
    Py_ssize_t target_size      # K but of a mixture
    void* a                     # (N, K), overwritten with delta
    const void* targets         # (N, target_size); NULL with labels
    const Py_ssize_t* labels    # (N,)
    const double* weights       # (N,); NULL is 1
    double scale                # of the weights
    Mixture mixture


# ---- the losses ---------------------------------------------------------------------------------
# Each gives the terms, without their weights, and overwrites x with delta. What a row of weight 0
# holds is of no consequence: its delta is 0.

cdef inline vd squared_error(vec* x, const vec* z, Py_ssize_t K, vd weight,
                             const bint along) noexcept nogil:
    cdef Py_ssize_t j
    cdef vd error, total = vd_splat(0)
    for j in range(vectors_of(K, along)):
        error = vector_of(x, K, j, 0, along) - vector_of(z, K, j, 0, along)
        total = fma(error, error, total)
        set_vector(x, K, j, where_nonzero(weight, error * weight), along)
    return vd_splat(0.5) * along_sum(total, along)


cdef inline vd target_of(const vec* z, vd label, Py_ssize_t K, Py_ssize_t j, vd columns,
                         const bint along) noexcept nogil:
    """Vector j of the targets: a row of probabilities, or 1 at the label."""
    if z != NULL:
        return vector_of(z, K, j, 0, along)
    return where_equal(columns, label, vd_splat(1), vd_splat(0))


cdef inline vd cross_entropy(vec* x, const vec* z, vd label, Py_ssize_t K, vd weight,
                             const bint along) noexcept nogil:
    """With e_k = e^(a_k - max a), `rest` the sum of all but the largest, which is 1.

    The term is ln(1 + rest) - sum_k z_k (a_k - max a), delta_k = (e_k - z_k (1 + rest))/(1 + rest):
    nothing cancels where an output has come to its target.
    """
    cdef Py_ssize_t n = vectors_of(K, along), j, k
    cdef double low = -HUGE_VAL
    cdef vd zero = vd_splat(0), first = first_columns(along), columns = first, top_column = first
    cdef vd top = vector_of(x, K, 0, low, along), rest = zero, score = zero, a, e, target, share
    for j in range(1, n):
        a = vector_of(x, K, j, low, along)
        columns = next_columns(columns, along)
        top_column = where_less(top, a, columns, top_column)
        top = where_less(top, a, a, top)
    if along:
        j = 0
        for k in range(1, VD):
            if number(&top, k) > number(&top, j):
                j = k
        top = item(&top, j)
        top_column = item(&top_column, j)
    columns = first
    for j in range(n):
        a = vector_of(x, K, j, low, along)
        e = exp_of_difference(a, top)
        target = target_of(z, label, K, j, columns, along)
        rest = rest + where_equal(columns, top_column, zero, e)
        score = score + where_nonzero(target, target * (a - top))   # 0 ln 0 = 0
        set_vector(x, K, j, e, along)
        columns = next_columns(columns, along)
    rest = along_sum(rest, along)
    share = weight / (vd_splat(1) + rest)
    columns = first
    for j in range(n):
        target = target_of(z, label, K, j, columns, along)
        e = fma(-target, rest, vector_of(x, K, j, 0, along) - target)
        set_vector(x, K, j, where_nonzero(weight, e * share), along)
        columns = next_columns(columns, along)
    return log1p_up_to(rest, <double>K) - along_sum(score, along)


cdef inline vd binary_cross_entropy(vec* x, const vec* z, Py_ssize_t K, vd weight,
                                    const bint along) noexcept nogil:
    """With e = e^-|a|: the term is |a| (1 - z) + ln(1 + e) for a >= 0, |a| z + ln(1 + e) below."""
    cdef Py_ssize_t j
    cdef vd zero = vd_splat(0), one = vd_splat(1), total = zero, a, e, target, other, delta
    for j in range(vectors_of(K, along)):
        a = vector_of(x, K, j, -DBL_MAX, along)
        target = vector_of(z, K, j, 0, along)
        other = one - target
        e = exp_minus(absolute(a))
        total = total + fma(absolute(a), where_less(a, zero, target, other), log1p_unit(e))
        delta = where_less(a, zero, fma(e, other, -target), fma(-target, e, other)) / (one + e)
        set_vector(x, K, j, where_nonzero(weight, delta * weight), along)
    return along_sum(total, along)


cdef inline vd poisson(vec* x, const vec* z, Py_ssize_t K, vd weight,
                       const bint along) noexcept nogil:
    """With y = e^a: the term is y - z a, or y where that is infinite, and delta y - z."""
    cdef Py_ssize_t j
    cdef vd total = vd_splat(0), a, y, target
    for j in range(vectors_of(K, along)):
        a = vector_of(x, K, j, -DBL_MAX, along)
        target = vector_of(z, K, j, 0, along)
        y = exp(a)
        # e^709.79 is infinite; and 0 ln 0 = 0
        total = total + where_less(a, vd_splat(709.79), y - where_nonzero(target, target * a), y)
        set_vector(x, K, j, where_nonzero(weight, (y - target) * weight), along)
    return along_sum(total, along)


cdef inline vd score_mixture(const Mixture* form, vec* x, const vec* z, Py_ssize_t K, vd weight,
                             const bint along) noexcept nogil:
    cdef Py_ssize_t D = form.dimensions
    cdef vd terms
    if along:
        terms = mixture_along(form, x, z, weight)
    else:
        terms = mixture_across(form, <vd*>x, <const vd*>z, weight)
    if form.end:
        x = at(x, K - 1 if along else (K - 1) * VD)
        z = at(z, D if along else D * VD)
        terms = terms + binary_cross_entropy(x, z, 1, weight, along)
    return terms


cdef inline vd score(const Rows* rows, vec* x, const vec* z, vd label, vd weight,
                     const bint along) noexcept nogil:
    """The weighted terms. OUT x."""
    cdef int loss = rows.loss
    cdef Py_ssize_t K = rows.K
    cdef vd terms
    if loss == SQUARED_ERROR:
        terms = squared_error(x, z, K, weight, along)
    elif loss == CROSS_ENTROPY:
        terms = cross_entropy(x, z, label, K, weight, along)
    elif loss == BINARY_CROSS_ENTROPY:
        terms = binary_cross_entropy(x, z, K, weight, along)
    elif loss == POISSON:
        terms = poisson(x, z, K, weight, along)
    else:
        terms = score_mixture(&rows.mixture, x, z, K, weight, along)
    return where_nonzero(weight, terms * weight)


# ---- rows ---------------------------------------------------------------------------------------

cdef inline void take_columns(const vec* rows, Py_ssize_t K, vd* columns) noexcept nogil:
    """The columns of VD rows. Reads VD numbers more."""
    cdef Py_ssize_t c, r
    if K == 1:
        columns[0] = load(rows, 0)
        return
    for c in range(vectors_of(K, True)):
        for r in range(VD):
            columns[c * VD + r] = load(rows, r * K + c * VD)
        vd_transpose(columns + c * VD)


cdef inline void put_columns(vec* rows, Py_ssize_t K, vd* columns) noexcept nogil:
    """Overwrite VD rows. Each vector runs into the row after it, which is written later."""
    cdef Py_ssize_t n = vectors_of(K, True), c, r
    cdef vd after
    if K == 1:
        store(rows, 0, columns[0])
        return
    after = load(rows, VD * K)
    for c in range(n):
        vd_transpose(columns + c * VD)
    for r in range(VD):
        for c in range(n):
            store(rows, r * K + c * VD, columns[c * VD + r])
    store(rows, VD * K, after)


cdef inline vd row_weights(const Rows* rows, Py_ssize_t r, Py_ssize_t n) noexcept nogil:
    """The weights of the n <= VD rows from r on; 0 in the other lanes."""
    cdef vd weights = vd_splat(0)
    cdef Py_ssize_t k
    if rows.weights != NULL and n == VD:
        return load(<const vd*>rows.weights, r) * vd_splat(rows.scale)
    for k in range(n):
        set_item(&weights, k, rows.scale * (1 if rows.weights == NULL else rows.weights[r + k]))
    return weights


cdef inline vd row_labels(const Rows* rows, Py_ssize_t r, Py_ssize_t n) noexcept nogil:
    """The labels of the n <= VD rows from r on."""
    cdef vd labels = vd_splat(0)
    cdef Py_ssize_t k
    if n == VD:
        for k in range(VD):
            set_item(&labels, k, <double>rows.labels[r + k])
    else:
        for k in range(n):
            set_item(&labels, k, <double>rows.labels[r + k])
    return labels


cdef void score_across(const Rows* rows, Py_ssize_t r0, Py_ssize_t r1, vec* type_of,
                       vd* total) noexcept nogil:
    """total += the weighted terms of the rows r0 to r1, one row in each lane."""
    cdef Py_ssize_t K = rows.K, Z = rows.target_size, size = sizeof(vec) // lanes(type_of), r = r0
    cdef Py_ssize_t n
    cdef vd x[MOST_MIXTURE_COLUMNS]
    cdef vd z[MOST_TARGETS]
    cdef vec a_copy[MOST_MIXTURE_COLUMNS + 1]
    cdef vec z_copy[MOST_TARGETS + 1]
    cdef vec* a = NULL
    cdef vec* targets = NULL
    cdef vd* columns = NULL
    cdef vd label = vd_splat(0), weight
    cdef bint is_end
    while r < r1:
        n = min(VD, r1 - r)
        weight = row_weights(rows, r, n)
        a = at(<vec*>rows.a, r * K)
        # there are no VD rows and VD numbers more, of targets, which may be the shorter rows
        is_end = (r1 - r) * Z < VD * (Z + 1)
        if is_end:
            memset(a_copy, 0, VD * (K + 1) * size)
            memcpy(a_copy, a, n * K * size)
            a = a_copy
        take_columns(a, K, x)
        if rows.labels != NULL:
            label = row_labels(rows, r, n)
        else:
            targets = at(<vec*>rows.targets, r * Z)
            if is_end:
                memset(z_copy, 0, VD * (Z + 1) * size)
                memcpy(z_copy, targets, n * Z * size)
                targets = z_copy
            take_columns(targets, Z, z)
            columns = z
        total[0] = total[0] + score(rows, <vd*>x, columns, label, weight, False)
        put_columns(a, K, x)
        if is_end:
            memcpy(at(<vec*>rows.a, r * K), a, n * K * size)
        r += VD


cdef void score_along(const Rows* rows, Py_ssize_t r0, Py_ssize_t r1, vec* type_of,
                      vd* total) noexcept nogil:
    """total += the weighted terms of the rows r0 to r1, row after row; the first lane counts."""
    cdef Py_ssize_t K = rows.K, r
    cdef vec* targets = NULL
    cdef vd label = vd_splat(0), weight, terms
    for r in range(r0, r1):
        weight = vd_splat(rows.scale * (1 if rows.weights == NULL else rows.weights[r]))
        if rows.labels != NULL:
            label = vd_splat(<double>rows.labels[r])
        else:
            targets = at(<vec*>rows.targets, r * rows.target_size)
        terms = score(rows, at(<vec*>rows.a, r * K), targets, label, weight, True)
        add_item(total, 0, terms)


cdef double loss_of(const Rows* rows, Py_ssize_t r0, Py_ssize_t r1, vec* type_of) noexcept nogil:
    """The loss of the rows r0 to r1, summed by SUMMED_ROWS of them."""
    cdef double total = 0
    cdef vd some
    while r0 < r1:
        some = vd_splat(0)
        if rows.K <= (MOST_MIXTURE_COLUMNS if rows.loss == MIXTURE else MOST_COLUMNS):
            score_across(rows, r0, min(r0 + SUMMED_ROWS, r1), type_of, &some)
        else:
            score_along(rows, r0, min(r0 + SUMMED_ROWS, r1), type_of, &some)
        total += sum_of_lanes(&some)
        r0 += SUMMED_ROWS
    return total


cdef void loss_member(const Rows* rows, Py_ssize_t n, Py_ssize_t each, int index, int members,
                      double* sums, vec* type_of) noexcept nogil:
    """Of n sums over `each` rows, every `members`-th."""
    cdef unsigned long long mode = flush_denormals()
    cdef Py_ssize_t k
    for k in range(n):
        if k % members == index:
            sums[k] = loss_of(rows, k * each, min((k + 1) * each, rows.N), type_of)
    restore_denormals(mode)


cdef double run_loss(const Rows* rows, int n_threads, vec* type_of) noexcept nogil:
    """The loss of all rows; which rows a sum is of depends on their number alone."""
    cdef double sums[MOST_SUMS]
    cdef double total = 0
    cdef Py_ssize_t blocks = (rows.N + SUMMED_ROWS - 1) // SUMMED_ROWS
    cdef Py_ssize_t each = max(1, (blocks + MOST_SUMS - 1) // MOST_SUMS) * SUMMED_ROWS
    cdef Py_ssize_t n = (rows.N + each - 1) // each, k
    cdef int members = <int>min(n_threads, n)
    if members <= 1:
        loss_member(rows, n, each, 0, 1, sums, type_of)
    else:
        with parallel(num_threads=members):
            loss_member(rows, n, each, threadid(), team_size(), sums, type_of)
    for k in range(n):
        total += sums[k]
    return total

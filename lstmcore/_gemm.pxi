# Matrix products: C += A B on register tiles, in one fixed order over k.
#
# Every element of C receives its products by multiply-add, k ascending, whatever the shape of the
# tile it falls into. So a result depends neither on the number of rows, nor on who computes them.
#
# B is packed (_packing.pxi): its columns in groups of 4 vectors (then 2, then 1 for what is
# left), one group after another, each (K, group) row-major: the inner loop reads it front to back.

cdef extern from "_vector.h" nogil:
    enum: ROWS_4
    enum: ROWS_2
    enum: ROWS_1

cdef enum:
    # Rows of B in one pass over the rows of C: enough to hide the loads and stores of C, few enough
    # that the group (64 KB with the widest vectors) stays in the second-level cache.
    K_BLOCK = 256
    # Bytes of B up to which a single row takes two column groups at a time: more than that comes
    # from the second-level cache, which feeds one stream faster than two.
    NEAR_BYTES = 65536


cdef inline Py_ssize_t group_width(Py_ssize_t left) noexcept nogil:
    """Vectors in the next column group when `left` vectors are left."""
    return 4 if left >= 4 else 2 if left >= 2 else 1


cdef struct Strip:
    # What the tiles of one call share: c[m, n] = start[m, n] + sum over k < K of
    # a[m*a_row + k*a_k] b[k*b_k + n]; the second of two groups is b_group numbers after the first.
    # `start` is c itself, or the bias with start_row = 0.
    Py_ssize_t K, a_row, a_k, b_k, b_group, c_row, start_row


cdef inline vec read_once(const int M, const vec* b) noexcept nogil:
    """A vector of B for all M rows of a tile."""
    return in_register(b[0]) if M > 1 else b[0]


cdef inline void tile(const int M, const int N, const Strip* s, const vec* a, const vec* b,
                      const vec* start, vec* c) noexcept nogil:
    """M rows by N vectors of C in registers; up to 6 by 4 or 8 by 2.

    M and N are literals at every call, so what they exclude is not compiled. The accumulators are
    variables with names because compilers keep elements of an array in memory, stored again at each
    k: less than half the speed, without a warning. Look at the loop with objdump after a change.
    """
    cdef vec w0, w1, w2, w3, x
    cdef vec c00, c01, c02, c03
    cdef vec c10, c11, c12, c13
    cdef vec c20, c21, c22, c23
    cdef vec c30, c31, c32, c33
    cdef vec c40, c41, c42, c43
    cdef vec c50, c51, c52, c53
    cdef vec c60, c61
    cdef vec c70, c71
    cdef const vec* first
    cdef vec* row
    cdef Py_ssize_t k
    first = at(start, 0)
    c00 = first[0]
    if N > 1: c01 = first[1]
    if N > 2:
        c02 = first[2]
        c03 = first[3]
    if M > 1:
        first = at(start, 1 * s.start_row)
        c10 = first[0]
        if N > 1: c11 = first[1]
        if N > 2:
            c12 = first[2]
            c13 = first[3]
    if M > 2:
        first = at(start, 2 * s.start_row)
        c20 = first[0]
        if N > 1: c21 = first[1]
        if N > 2:
            c22 = first[2]
            c23 = first[3]
    if M > 3:
        first = at(start, 3 * s.start_row)
        c30 = first[0]
        if N > 1: c31 = first[1]
        if N > 2:
            c32 = first[2]
            c33 = first[3]
    if M > 4:
        first = at(start, 4 * s.start_row)
        c40 = first[0]
        if N > 1: c41 = first[1]
        if N > 2:
            c42 = first[2]
            c43 = first[3]
    if M > 5:
        first = at(start, 5 * s.start_row)
        c50 = first[0]
        if N > 1: c51 = first[1]
        if N > 2:
            c52 = first[2]
            c53 = first[3]
    if M > 6:
        first = at(start, 6 * s.start_row)
        c60 = first[0]
        if N > 1: c61 = first[1]
    if M > 7:
        first = at(start, 7 * s.start_row)
        c70 = first[0]
        if N > 1: c71 = first[1]
    for k in range(s.K):
        w0 = read_once(M, b)
        if N > 1: w1 = read_once(M, b + 1)
        if N > 2:
            w2 = read_once(M, b + 2)
            w3 = read_once(M, b + 3)
        x = item(a, 0)
        c00 = fma(w0, x, c00)
        if N > 1: c01 = fma(w1, x, c01)
        if N > 2:
            c02 = fma(w2, x, c02)
            c03 = fma(w3, x, c03)
        if M > 1:
            x = item(a, 1 * s.a_row)
            c10 = fma(w0, x, c10)
            if N > 1: c11 = fma(w1, x, c11)
            if N > 2:
                c12 = fma(w2, x, c12)
                c13 = fma(w3, x, c13)
        if M > 2:
            x = item(a, 2 * s.a_row)
            c20 = fma(w0, x, c20)
            if N > 1: c21 = fma(w1, x, c21)
            if N > 2:
                c22 = fma(w2, x, c22)
                c23 = fma(w3, x, c23)
        if M > 3:
            x = item(a, 3 * s.a_row)
            c30 = fma(w0, x, c30)
            if N > 1: c31 = fma(w1, x, c31)
            if N > 2:
                c32 = fma(w2, x, c32)
                c33 = fma(w3, x, c33)
        if M > 4:
            x = item(a, 4 * s.a_row)
            c40 = fma(w0, x, c40)
            if N > 1: c41 = fma(w1, x, c41)
            if N > 2:
                c42 = fma(w2, x, c42)
                c43 = fma(w3, x, c43)
        if M > 5:
            x = item(a, 5 * s.a_row)
            c50 = fma(w0, x, c50)
            if N > 1: c51 = fma(w1, x, c51)
            if N > 2:
                c52 = fma(w2, x, c52)
                c53 = fma(w3, x, c53)
        if M > 6:
            x = item(a, 6 * s.a_row)
            c60 = fma(w0, x, c60)
            if N > 1: c61 = fma(w1, x, c61)
        if M > 7:
            x = item(a, 7 * s.a_row)
            c70 = fma(w0, x, c70)
            if N > 1: c71 = fma(w1, x, c71)
        a = at(a, s.a_k)
        b = at(b, s.b_k)
    row = at(c, 0)
    row[0] = c00
    if N > 1: row[1] = c01
    if N > 2:
        row[2] = c02
        row[3] = c03
    if M > 1:
        row = at(c, 1 * s.c_row)
        row[0] = c10
        if N > 1: row[1] = c11
        if N > 2:
            row[2] = c12
            row[3] = c13
    if M > 2:
        row = at(c, 2 * s.c_row)
        row[0] = c20
        if N > 1: row[1] = c21
        if N > 2:
            row[2] = c22
            row[3] = c23
    if M > 3:
        row = at(c, 3 * s.c_row)
        row[0] = c30
        if N > 1: row[1] = c31
        if N > 2:
            row[2] = c32
            row[3] = c33
    if M > 4:
        row = at(c, 4 * s.c_row)
        row[0] = c40
        if N > 1: row[1] = c41
        if N > 2:
            row[2] = c42
            row[3] = c43
    if M > 5:
        row = at(c, 5 * s.c_row)
        row[0] = c50
        if N > 1: row[1] = c51
        if N > 2:
            row[2] = c52
            row[3] = c53
    if M > 6:
        row = at(c, 6 * s.c_row)
        row[0] = c60
        if N > 1: row[1] = c61
    if M > 7:
        row = at(c, 7 * s.c_row)
        row[0] = c70
        if N > 1: row[1] = c71


cdef inline void row_of_two(const int N, const int M, const Strip* s, const vec* a, const vec* b,
                            const vec* start, vec* c) noexcept nogil:
    """One row by two neighbouring column groups, of N and M vectors (4 or 2; 4, 2 or 1).

    It takes 8 accumulators to hide the latency of multiply-adds. `s.b_k` is of the first group.
    """
    cdef vec c0 = start[0], c1 = start[1], c2, c3, d0 = start[N], d1, d2, d3, x
    cdef const vec* b2 = at(b, s.b_group)
    cdef Py_ssize_t k
    if N > 2:
        c2 = start[2]
        c3 = start[3]
    if M > 1: d1 = start[N + 1]
    if M > 2:
        d2 = start[N + 2]
        d3 = start[N + 3]
    for k in range(s.K):
        x = item(a, k * s.a_k)
        c0 = fma(b[0], x, c0)
        c1 = fma(b[1], x, c1)
        if N > 2:
            c2 = fma(b[2], x, c2)
            c3 = fma(b[3], x, c3)
        d0 = fma(b2[0], x, d0)
        if M > 1: d1 = fma(b2[1], x, d1)
        if M > 2:
            d2 = fma(b2[2], x, d2)
            d3 = fma(b2[3], x, d3)
        b = at(b, s.b_k)
        b2 = b2 + M
    c[0] = c0
    c[1] = c1
    if N > 2:
        c[2] = c2
        c[3] = c3
    c[N] = d0
    if M > 1: c[N + 1] = d1
    if M > 2:
        c[N + 2] = d2
        c[N + 3] = d3


cdef void tile_1x8(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: row_of_two(4, 4, s, a, b, start, c)
cdef void tile_1x6(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: row_of_two(4, 2, s, a, b, start, c)
cdef void tile_1x5(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: row_of_two(4, 1, s, a, b, start, c)
cdef void tile_1x3(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: row_of_two(2, 1, s, a, b, start, c)
cdef void tile_1x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(1, 4, s, a, b, start, c)
cdef void tile_2x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(2, 4, s, a, b, start, c)
cdef void tile_3x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(3, 4, s, a, b, start, c)
cdef void tile_4x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(4, 4, s, a, b, start, c)
cdef void tile_5x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(5, 4, s, a, b, start, c)
cdef void tile_6x4(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(6, 4, s, a, b, start, c)
cdef void tile_1x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(1, 2, s, a, b, start, c)
cdef void tile_2x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(2, 2, s, a, b, start, c)
cdef void tile_3x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(3, 2, s, a, b, start, c)
cdef void tile_4x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(4, 2, s, a, b, start, c)
cdef void tile_5x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(5, 2, s, a, b, start, c)
cdef void tile_6x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(6, 2, s, a, b, start, c)
cdef void tile_7x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(7, 2, s, a, b, start, c)
cdef void tile_8x2(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(8, 2, s, a, b, start, c)
cdef void tile_1x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(1, 1, s, a, b, start, c)
cdef void tile_2x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(2, 1, s, a, b, start, c)
cdef void tile_3x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(3, 1, s, a, b, start, c)
cdef void tile_4x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(4, 1, s, a, b, start, c)
cdef void tile_5x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(5, 1, s, a, b, start, c)
cdef void tile_6x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(6, 1, s, a, b, start, c)
cdef void tile_7x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(7, 1, s, a, b, start, c)
cdef void tile_8x1(const Strip* s, const vec* a, const vec* b, const vec* start,
                   vec* c) noexcept nogil: tile(8, 1, s, a, b, start, c)

ctypedef void (*tile_of_vf)(const Strip*, const vf*, const vf*, const vf*, vf*) noexcept nogil
ctypedef void (*tile_of_vd)(const Strip*, const vd*, const vd*, const vd*, vd*) noexcept nogil

# [width in vectors][rows - 1]; more than four, or three, are two groups of a single row. Calls
# through tables also keep compilers from inlining.
cdef tile_of_vf[9][8] TILES_VF
cdef tile_of_vd[9][8] TILES_VD
TILES_VF[4][:6] = [tile_1x4[vf], tile_2x4[vf], tile_3x4[vf], tile_4x4[vf],
                   tile_5x4[vf], tile_6x4[vf]]
TILES_VF[2][:8] = [tile_1x2[vf], tile_2x2[vf], tile_3x2[vf], tile_4x2[vf],
                   tile_5x2[vf], tile_6x2[vf], tile_7x2[vf], tile_8x2[vf]]
TILES_VF[1][:8] = [tile_1x1[vf], tile_2x1[vf], tile_3x1[vf], tile_4x1[vf],
                   tile_5x1[vf], tile_6x1[vf], tile_7x1[vf], tile_8x1[vf]]
TILES_VF[8][0] = tile_1x8[vf]
TILES_VF[6][0] = tile_1x6[vf]
TILES_VF[5][0] = tile_1x5[vf]
TILES_VF[3][0] = tile_1x3[vf]
TILES_VD[4][:6] = [tile_1x4[vd], tile_2x4[vd], tile_3x4[vd], tile_4x4[vd],
                   tile_5x4[vd], tile_6x4[vd]]
TILES_VD[2][:8] = [tile_1x2[vd], tile_2x2[vd], tile_3x2[vd], tile_4x2[vd],
                   tile_5x2[vd], tile_6x2[vd], tile_7x2[vd], tile_8x2[vd]]
TILES_VD[1][:8] = [tile_1x1[vd], tile_2x1[vd], tile_3x1[vd], tile_4x1[vd],
                   tile_5x1[vd], tile_6x1[vd], tile_7x1[vd], tile_8x1[vd]]
TILES_VD[8][0] = tile_1x8[vd]
TILES_VD[6][0] = tile_1x6[vd]
TILES_VD[5][0] = tile_1x5[vd]
TILES_VD[3][0] = tile_1x3[vd]


cdef inline void call_tile(Py_ssize_t rows, Py_ssize_t width, const Strip* s, const vec* a,
                           const vec* b, const vec* start, vec* c) noexcept nogil:
    if vec is vf:
        TILES_VF[width][rows - 1](s, a, b, start, c)
    else:
        TILES_VD[width][rows - 1](s, a, b, start, c)


cdef void rows_of_tiles(Py_ssize_t N, Py_ssize_t M, const Strip* s, const vec* a, const vec* b,
                        const vec* start, vec* c) noexcept nogil:
    """All M rows of one column group of N vectors."""
    cdef Py_ssize_t tallest = ROWS_4 if N == 4 else ROWS_2 if N == 2 else ROWS_1
    cdef Py_ssize_t tiles = (M + tallest - 1) // tallest, rows
    while tiles > 0:
        rows = (M + tiles - 1) // tiles             # heights as equal as they can be
        call_tile(rows, N, s, a, b, start, c)
        a = at(a, rows * s.a_row)
        start = at(start, rows * s.start_row)
        c = at(c, rows * s.c_row)
        M -= rows
        tiles -= 1


cdef void gemm_columns(Py_ssize_t width, Py_ssize_t M, Py_ssize_t K,
                       const vec* a, Py_ssize_t a_row,
                       const vec* b, Py_ssize_t b_k, const vec* bias,
                       vec* c, Py_ssize_t c_row) noexcept nogil:
    """One column group of `gemm`: c, bias and b at its first vector."""
    cdef Py_ssize_t k0 = 0, k1
    cdef const vec* start = bias
    cdef Strip s = Strip(K, a_row, 1, b_k, 0, c_row, 0)
    while k0 < K:
        if k0 > 0 or bias == NULL:
            start = c
            s.start_row = c_row
        k1 = k0 + K_BLOCK if K - k0 > K_BLOCK + K_BLOCK // 2 else K
        s.K = k1 - k0
        rows_of_tiles(width, M, &s, at(a, k0), at(b, k0 * b_k), start, c)
        k0 = k1


cdef void gemm_row(Py_ssize_t N, Py_ssize_t K, const vec* a, const vec* b, const vec* bias, vec* c,
                   bint backwards) noexcept nogil:
    """`gemm` of a single row: each column group in one pass, for nothing is read twice."""
    cdef Py_ssize_t L = lanes(b), q, j, width
    cdef Py_ssize_t group = 8 if K * N * <Py_ssize_t>sizeof(vec) <= NEAR_BYTES else 4
    cdef Py_ssize_t groups = N // group
    cdef const vec* start = bias if bias != NULL else c
    cdef Strip s = Strip(K, 0, 1, 4 * L, 4 * K * L, 0, 0)
    for q in range(groups):
        j = group * (groups - 1 - q if backwards else q)
        call_tile(1, group, &s, a, at(b, j * K * L), start + j, c + j)
    j = group * groups
    while j < N:
        width = group_width(N - j)
        s.b_k = width * L
        s.b_group = width * K * L
        if N - j > width > 1:                   # the next group with it, a narrower one
            width += group_width(min(N - j - width, width // 2))
        call_tile(1, width, &s, a, at(b, j * K * L), start + j, c + j)
        j += width


cdef void gemm(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
               const vec* a, Py_ssize_t a_row,
               const vec* b, const vec* bias,
               vec* c, Py_ssize_t c_row, bint backwards) noexcept nogil:
    """C = bias, or C where that is NULL, + A (M, K) packed B (K, N vectors); C (M, N vectors).

    IN a, b, bias; OUT or, without a bias, IN and OUT c. `backwards` takes the columns from the last
    to the first: a step that follows one in the other direction begins with those of B that the
    caches still hold.
    """
    cdef Py_ssize_t L = lanes(b), q, j, width, groups = N // 4
    if M == 1:
        gemm_row(N, K, a, b, bias, c, backwards)
        return
    for q in range(groups):
        j = 4 * (groups - 1 - q if backwards else q)
        gemm_columns(4, M, K, a, a_row, at(b, j * K * L), 4 * L,
                     bias + j if bias != NULL else bias, c + j, c_row)
    j = 4 * groups
    while j < N:
        width = group_width(N - j)
        gemm_columns(width, M, K, a, a_row, at(b, j * K * L), width * L,
                     bias + j if bias != NULL else bias, c + j, c_row)
        j += width


cdef inline Py_ssize_t packed_offset(Py_ssize_t K, Py_ssize_t N, Py_ssize_t k, Py_ssize_t j,
                                     Py_ssize_t L) noexcept nogil:
    """Where vector j of row k stands in packed B (K, N vectors)."""
    cdef Py_ssize_t first = j // 4 * 4
    if N - first == 3 and j == first + 2:       # 3 left: a group of 2, then a group of 1
        return (j * K + k) * L
    return (first * K + k * group_width(N - first) + j - first) * L


cdef inline Py_ssize_t packed_step(Py_ssize_t K, Py_ssize_t N, Py_ssize_t j,
                                   Py_ssize_t L) noexcept nogil:
    """From vector j of a row of packed B (K, N vectors) to that of the next row."""
    return packed_offset(K, N, 1, j, L) - packed_offset(K, N, 0, j, L)

# Matrix products: C += A B on register tiles, in one fixed order over k.
#
# Every element of C receives its products by multiply-add, k ascending, whatever the shape of the
# tile it falls into. So a result depends neither on the number of rows, nor on who computes them.
#
# B is packed by `pack_columns`: its columns in groups of 4 vectors (then 2, then 1 for what is
# left), one group after another, each (K, group) row-major: the inner loop reads it front to back.

cdef extern from "_vector.h" nogil:
    enum: ROWS_4
    enum: ROWS_2
    enum: ROWS_1

cdef enum:
    # Rows of B in one pass: a group of them (4 vectors wide) fills half of the smallest L1 cache.
    K_BLOCK = 128


cdef inline Py_ssize_t group_width(Py_ssize_t left) noexcept nogil:
    """Vectors in the next column group when `left` vectors are left."""
    return 4 if left >= 4 else 2 if left >= 2 else 1


cdef inline void tile(const int M, const int N, Py_ssize_t K,
                      const vec* a, Py_ssize_t a_row, Py_ssize_t a_k,
                      const vec* b, Py_ssize_t b_k, Py_ssize_t b_group,
                      vec* c, Py_ssize_t c_row) noexcept nogil:
    """c[m, n] += sum over k of a[m*a_row + k*a_k] b[k*b_k + n], M rows by N vectors in registers.

    M and N are literals at every call. GCC and clang then unroll the loops over them and keep
    `acc` in registers; look for spills with objdump after any change.
    """
    cdef vec acc[24]
    cdef vec w[8]
    cdef vec s
    cdef int m, n
    cdef Py_ssize_t k
    for m in range(M):
        for n in range(N):
            acc[m * N + n] = at(c, m * c_row)[n]
    for k in range(K):
        for n in range(N):
            w[n] = at(b, (n // 4) * b_group)[n % 4]
        for m in range(M):
            s = item(a, m * a_row)
            for n in range(N):
                acc[m * N + n] = fma(w[n], s, acc[m * N + n])
        a = at(a, a_k)
        b = at(b, b_k)
    for m in range(M):
        for n in range(N):
            at(c, m * c_row)[n] = acc[m * N + n]


cdef void rows_of_tiles(Py_ssize_t N, Py_ssize_t M, Py_ssize_t K,
                        const vec* a, Py_ssize_t a_row, Py_ssize_t a_k,
                        const vec* b, Py_ssize_t b_k, Py_ssize_t b_group,
                        vec* c, Py_ssize_t c_row) noexcept nogil:
    """All M rows of one column group of N vectors (8: two groups of 4, for a single row)."""
    cdef Py_ssize_t tallest = ROWS_4 if N == 4 else ROWS_2 if N == 2 else ROWS_1 if N == 1 else 1
    cdef Py_ssize_t n_tiles = (M + tallest - 1) // tallest, t, rows
    for t in range(n_tiles):
        rows = (M + n_tiles - 1 - t) // n_tiles         # heights as equal as they can be
        if N == 4:
            if rows == 1: tile(1, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 2: tile(2, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 3: tile(3, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif ROWS_4 == 6:
                if rows == 4: tile(4, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                elif rows == 5: tile(5, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                else: tile(6, 4, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
        elif N == 2:
            if rows == 1: tile(1, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 2: tile(2, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 3: tile(3, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 4: tile(4, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 5: tile(5, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 6: tile(6, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif ROWS_2 == 12:
                if rows == 7: tile(7, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                elif rows == 8: tile(8, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                elif rows == 9: tile(9, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                elif rows == 10: tile(10, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                elif rows == 11: tile(11, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                else: tile(12, 2, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
        elif N == 1:
            if rows == 1: tile(1, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 2: tile(2, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 3: tile(3, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 4: tile(4, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 5: tile(5, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 6: tile(6, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 7: tile(7, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 8: tile(8, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 9: tile(9, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif rows == 10: tile(10, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
            elif ROWS_1 == 12:
                if rows == 11: tile(11, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
                else: tile(12, 1, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
        else:
            tile(1, 8, K, a, a_row, a_k, b, b_k, b_group, c, c_row)
        a = at(a, rows * a_row)
        c = at(c, rows * c_row)


cdef void gemm(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
               const vec* a, Py_ssize_t a_row,
               const vec* b,
               vec* c, Py_ssize_t c_row) noexcept nogil:
    """C (M, N vectors) += A (M, K) times packed B (K, N vectors). IN a, b; IN and OUT c."""
    cdef Py_ssize_t L = lanes(b), k0 = 0, k1, j, width
    while k0 < K:
        k1 = min(k0 + K_BLOCK, K) if K - k0 > K_BLOCK + K_BLOCK // 2 else K
        j = 0
        while j < N:
            width = group_width(N - j)
            if M == 1 and N - j >= 8:       # one row alone needs 8 accumulators to hide the latency
                rows_of_tiles(8, M, k1 - k0, at(a, k0), a_row, 1, at(b, (j * K + k0 * 4) * L),
                              4 * L, 4 * K * L, at(c, j * L), c_row)
                j += 8
            else:
                rows_of_tiles(width, M, k1 - k0, at(a, k0), a_row, 1, at(b, (j * K + k0 * width) * L),
                              width * L, 0, at(c, j * L), c_row)
                j += width
        k0 = k1


cdef void gemm_transposed(Py_ssize_t M, Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t K,
                          const vec* a, Py_ssize_t a_k,
                          const vec* b, Py_ssize_t b_k, vec* packed,
                          vec* c, Py_ssize_t c_row) noexcept nogil:
    """C (M, vectors j0 to j1) += A' B with A (K, M), B (K, …) both as they stand, row after row.

    Weight gradients: A the inputs, B the deltas of K rows. `packed` is room for K rows of 4 vectors.
    """
    cdef Py_ssize_t L = lanes(b), j = j0, width, k, n
    while j < j1:
        width = group_width(j1 - j)
        for k in range(K):
            for n in range(width):
                at(packed, k * width * L)[n] = at(b, k * b_k + j * L)[n]
        rows_of_tiles(width, M, K, a, 1, a_k, packed, width * L, 0, at(c, j * L), c_row)
        j += width


cdef void pack_columns(Py_ssize_t K, Py_ssize_t N, const vec* b, Py_ssize_t b_k,
                       vec* packed) noexcept nogil:
    """Pack the first N vectors of each row of B (K rows, b_k numbers apart) for `gemm`."""
    cdef Py_ssize_t L = lanes(b), j = 0, width, k, n
    while j < N:
        width = group_width(N - j)
        for k in range(K):
            for n in range(width):
                at(packed, (j * K + k * width) * L)[n] = at(b, k * b_k + j * L)[n]
        j += width


cdef inline Py_ssize_t packed_offset(Py_ssize_t K, Py_ssize_t N, Py_ssize_t k, Py_ssize_t j,
                                     Py_ssize_t L) noexcept nogil:
    """Where vector j of row k stands in packed B (K, N vectors)."""
    cdef Py_ssize_t first = j // 4 * 4
    if N - first == 3 and j == first + 2:       # 3 left: a group of 2, then a group of 1
        return (j * K + k) * L
    return (first * K + k * group_width(N - first) + j - first) * L

# Weights in and gradients out: between the layers' blocks and what the tiles read and sum.

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


cdef inline void transpose(vec* square) noexcept nogil:
    """L vectors in place: number k of row i becomes number i of row k."""
    if vec is vf:
        vf_transpose(square)
    else:
        vd_transpose(square)


cdef inline void load_some(vec* to, const vec* source, Py_ssize_t n) noexcept nogil:
    """A vector of the first n numbers at source, then 0."""
    if n >= lanes(source):
        to[0] = source[0]
    else:
        to[0] = like(to[0], 0)
        copy_items(to, source, n)


cdef void pack_matrix(const Plan* p, Py_ssize_t n, const vec* W, vec* packed) noexcept nogil:
    """W (rows by gates, n) to packed (n, columns), transposed block by block."""
    cdef Py_ssize_t L = p.lanes, N = p.column_vectors, j, lane, k, k0, width, unit, some, units
    cdef Py_ssize_t[MOST_LANES] rows
    cdef vec[MOST_LANES] block
    cdef vec* column
    for j in range(N):
        column = at(packed, packed_offset(n, N, 0, j, L))
        width = packed_step(n, N, j, L)
        unit = j // p.vectors * L
        units = min(L, p.cell.units - unit)
        for lane in range(units):
            rows[lane] = block_row(p, <int>(j % p.vectors), unit, lane) * n
        k0 = 0
        while k0 < n:
            some = min(L, n - k0)
            for lane in range(units):
                load_some(block + lane, at(W, rows[lane] + k0), some)
            for lane in range(units, L):
                block[lane] = like(block[0], 0)
            transpose(block)
            for k in range(some):
                at(column, (k0 + k) * width)[0] = block[k]
            k0 += L


cdef void pack_back(const Plan* p, Py_ssize_t n, Py_ssize_t j0, Py_ssize_t j1, const vec* packed,
                    vec* back) noexcept nogil:
    """Packed (n, columns) to packed (columns, n): row j of the one is column j of the other.

    Only what comes of the column vectors j0 to j1 - 1.
    """
    cdef Py_ssize_t L = p.lanes, N = (n + L - 1) // L, i, j, k, width, back_width, some
    cdef vec[MOST_LANES] block
    cdef const vec* column
    cdef vec* back_column
    for i in range(N):
        back_column = at(back, packed_offset(p.columns, N, 0, i, L))
        back_width = packed_step(p.columns, N, i, L)
        some = min(L, n - i * L)
        for j in range(j0, j1):
            column = at(packed, packed_offset(n, p.column_vectors, i * L, j, L))
            width = packed_step(n, p.column_vectors, j, L)
            for k in range(some):
                block[k] = at(column, k * width)[0]
            for k in range(some, L):
                block[k] = like(block[0], 0)
            transpose(block)
            for k in range(L):
                at(back_column, (j * L + k) * back_width)[0] = block[k]


cdef void pack_gate_matrix(const Plan* p, int source, const vec* Q, vec* packed) noexcept nogil:
    """The columns of Q for one sending gate to packed (H, columns): a block's first cell sends."""
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C, j, k, unit
    cdef int q, place
    memset(packed, 0, H * p.column_vectors * sizeof(vec))
    for q in range(p.gates):
        place = gate_place(p, q)
        for unit in range(H):
            j = unit // L * p.vectors + place
            for k in range(nb):
                copy_item(packed, packed_offset(H, p.column_vectors, k * C, j, L) + unit % L,
                          Q, (q * nb + unit // C) * p.gates * nb + source * nb + k)


cdef inline Py_ssize_t peephole_offset(const Plan* p, int place) noexcept nogil:
    """Where a gate's peepholes stand: room for i, f, o, whether the layer has them or not."""
    return p.peepholes + (0 if place == p.i else 1 if place == p.f else 2) * p.padded


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
            w = at(packed, peephole_offset(p, place))
            copy_items(w, at(peepholes, q * H), H)
    pack_matrix(p, p.cell.inputs, W, at(packed, p.W))
    if p.sources:
        pack_matrix(p, H, R, at(packed, p.R))
    for source in range(1, p.sources):
        pack_gate_matrix(p, <int>source - 1, Q, at(packed, p.R + source * H * p.columns))


cdef void unpack_matrix(const Plan* p, Py_ssize_t n, const vec* grad, vec* dW) noexcept nogil:
    """The gradient, packed (n, columns), to dW (rows by gates, n); of a block's gates the first
    cell's."""
    cdef Py_ssize_t L = p.lanes, N = p.column_vectors, j, lane, k, k0, width, unit, some
    cdef vec[MOST_LANES] block
    cdef const vec* column
    for j in range(N):
        column = at(grad, packed_offset(n, N, 0, j, L))
        width = packed_step(n, N, j, L)
        unit = j // p.vectors * L
        k0 = 0
        while k0 < n:
            some = min(L, n - k0)
            for k in range(some):
                block[k] = at(column, (k0 + k) * width)[0]
            transpose(block)
            for lane in range(min(L, p.cell.units - unit)):
                if is_first_cell(p, <int>(j % p.vectors), unit + lane):
                    copy_items(at(dW, block_row(p, <int>(j % p.vectors), unit, lane) * n + k0),
                               block + lane, some)
            k0 += L


cdef inline bint is_first_cell(const Plan* p, int place, Py_ssize_t unit) noexcept nogil:
    """Whether a gate's gradient is kept at this unit: for g at all, else at a block's first."""
    return p.cell.block_size == 1 or place == p.g or unit % p.cell.block_size == 0


cdef void run_unpack(const Plan* p, const vec* grad, vec* dW, vec* dR, vec* db, vec* dp,
                     vec* dQ) noexcept nogil:
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, C = p.cell.block_size, nb = H // C
    cdef Py_ssize_t unit, j, k, source
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
            copy_items(at(dp, q * H), at(grad, peephole_offset(p, place)), H)
        if dQ != NULL:
            for source in range(p.gates):
                for j in range(nb):
                    for k in range(nb):
                        copy_item(dQ, (q * nb + j) * p.gates * nb + source * nb + k,
                                  at(grad, p.R + (source + 1) * H * p.columns),
                                  packed_offset(H, p.column_vectors, k * C,
                                                j * C // L * p.vectors + place, L) + j * C % L)

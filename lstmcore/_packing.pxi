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


cdef void pack_matrix(const Plan* p, Py_ssize_t n, const vec* W, vec* packed) noexcept nogil:
    """W (rows by gates, n) to packed (n, columns). Sixteen k at a time stay in cache."""
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
    """The gradient (n, columns) to dW (rows by gates, n); of a block's gates the first cell's."""
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
                        copy_item(dQ, (q * nb + j) * p.gates * nb + source * nb + k, grad,
                                  p.R + ((source + 1) * H + k * C) * p.columns
                                  + (j * C // L * p.vectors + place) * L + j * C % L)

# Weights in and gradients out: between the layers' blocks and what the tiles read and sum.

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


cdef void pack_matrix(const Plan* p, int product, Py_ssize_t n, const vec* matrix,
                      vec* packed) noexcept nogil:
    """W or R (rows by gates, n) to packed (n, columns of a product), square by square."""
    cdef const Product* prod = &p.products[product]
    cdef Py_ssize_t L = p.lanes, N = prod.n, j, lane, k, k0, width, unit, some, units
    cdef Py_ssize_t[MOST_LANES] rows
    cdef vec[MOST_LANES] square
    cdef vec* column
    for j in range(N):
        column = at(packed, packed_offset(n, N, 0, j, L))
        width = packed_step(n, N, j, L)
        unit = j // prod.vectors * L
        units = min(L, p.cell.units - unit)
        for lane in range(units):
            rows[lane] = weight_row(p, product, <int>(j % prod.vectors), unit + lane) * n
        k0 = 0
        while k0 < n:
            some = min(L, n - k0)
            for lane in range(units):
                load_some(square + lane, at(matrix, rows[lane] + k0), some)
            for lane in range(units, L):
                square[lane] = like(square[0], 0)
            transpose(square)
            for k in range(some):
                at(column, (k0 + k) * width)[0] = square[k]
            k0 += L


cdef void pack_back(const Plan* p, const Product* prod, Py_ssize_t n, Py_ssize_t part,
                    Py_ssize_t parts, const vec* packed, vec* back) noexcept nogil:
    """Packed (n, columns) to packed (columns, n): row j of the one is column j of the other.

    Of the parts that the column vectors are cut into, only what comes of one.
    """
    cdef Py_ssize_t L = p.lanes, N = (n + L - 1) // L, i, j, k, width, back_width, some
    cdef vec[MOST_LANES] square
    cdef const vec* column
    cdef vec* back_column
    for i in range(N):
        back_column = at(back, packed_offset(prod.size, N, 0, i, L))
        back_width = packed_step(prod.size, N, i, L)
        some = min(L, n - i * L)
        for j in range(prod.n * part // parts, prod.n * (part + 1) // parts):
            column = at(packed, packed_offset(n, prod.n, i * L, j, L))
            width = packed_step(n, prod.n, j, L)
            for k in range(some):
                square[k] = at(column, k * width)[0]
            for k in range(some, L):
                square[k] = like(square[0], 0)
            transpose(square)
            for k in range(L):
                at(back_column, (j * L + k) * back_width)[0] = square[k]


cdef void run_pack(const Plan* p, const void* const* blocks, vec* packed) noexcept nogil:
    """IN blocks, in the order of the kind; OUT packed."""
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, j, lane, unit, row
    cdef const Product* prod
    cdef const vec* bias
    cdef int k
    memset(packed, 0, (p.own + p.own_rows * p.padded) * (sizeof(vec) // L))
    for k in range(p.n_products):
        prod = &p.products[k]
        bias = <const vec*>blocks[prod.bias_block]
        for j in range(prod.n if bias != NULL else 0):
            unit = j // prod.vectors * L
            for lane in range(min(L, H - unit)):
                row = bias_row(p, k, <int>(j % prod.vectors), unit + lane)
                if row != ABSENT:
                    copy_item(packed, prod.bias + j * L + lane, bias, row)
        if prod.reads_x:
            pack_matrix(p, k, p.cell.inputs, <const vec*>blocks[prod.W_block], at(packed, prod.W))
        if prod.sources:
            pack_matrix(p, k, H, <const vec*>blocks[prod.R_block], at(packed, prod.R))
    pack_others(p, blocks, packed)


cdef void unpack_matrix(const Plan* p, int product, Py_ssize_t n, const vec* grad,
                        vec* d_matrix) noexcept nogil:
    """The gradient, packed (n, columns of a product), to dW or dR (rows by gates, n)."""
    cdef const Product* prod = &p.products[product]
    cdef Py_ssize_t L = p.lanes, N = prod.n, j, lane, k, k0, width, unit, some
    cdef vec[MOST_LANES] square
    cdef const vec* column
    cdef int vector
    for j in range(N):
        column = at(grad, packed_offset(n, N, 0, j, L))
        width = packed_step(n, N, j, L)
        unit = j // prod.vectors * L
        vector = <int>(j % prod.vectors)
        k0 = 0
        while k0 < n:
            some = min(L, n - k0)
            for k in range(some):
                square[k] = at(column, (k0 + k) * width)[0]
            transpose(square)
            for lane in range(min(L, p.cell.units - unit)):
                if owns_row(p, vector, unit + lane):
                    copy_items(at(d_matrix, weight_row(p, product, vector, unit + lane) * n + k0),
                               square + lane, some)
            k0 += L


cdef void run_unpack(const Plan* p, const vec* grad, void* const* blocks) noexcept nogil:
    """The gradient to the blocks; those that are NULL are not wanted."""
    cdef Py_ssize_t L = p.lanes, H = p.cell.units, j, unit, row
    cdef const Product* prod
    cdef int k, vector
    for k in range(p.n_products):
        prod = &p.products[k]
        if prod.reads_x and blocks[prod.W_block] != NULL:
            unpack_matrix(p, k, p.cell.inputs, at(grad, prod.W), <vec*>blocks[prod.W_block])
        if prod.sources and blocks[prod.R_block] != NULL:
            unpack_matrix(p, k, H, at(grad, prod.R), <vec*>blocks[prod.R_block])
        if blocks[prod.bias_block] == NULL:
            continue
        for j in range(prod.size):
            unit = j // L // prod.vectors * L + j % L
            vector = <int>(j // L % prod.vectors)
            if unit < H and owns_row(p, vector, unit):
                row = bias_row(p, k, vector, unit)
                if row != ABSENT:
                    copy_item(<vec*>blocks[prod.bias_block], row, grad, prod.bias + j)
    unpack_others(p, grad, blocks)

# One time step of sequences that run along with their input: a layer, a chain of layers.
#
# The state of a layer stays as the tiles and cells work on it, so a step copies nothing but its
# result: B rows of z, B rows of c where there is such a state, and room for B rows of
# pre-activations.

from libc.math cimport INFINITY


cdef struct Prepared:
    # What lstmcore_layer is; the packed weights follow at WEIGHTS_AT.
    Plan plan
    int item_size

cdef enum:
    LINE = 64                       # bytes of a cache line

cdef inline Py_ssize_t weights_at() noexcept nogil:
    """Bytes from a prepared layer to its weights."""
    return round_up(sizeof(Prepared), LINE)

cdef inline Py_ssize_t c_at(const Plan* p, Py_ssize_t B) noexcept nogil:
    """Numbers from z to c in the memory of B running sequences: whole cache lines."""
    return round_up(B * p.z_row, LINE)

cdef inline Py_ssize_t a_at(const Plan* p, Py_ssize_t B) noexcept nogil:
    """Numbers from z to a."""
    return c_at(p, B) + (round_up(B * p.padded, LINE) if p.states > 1 else 0)


cdef inline void row_tile(const int N, const int M, const Plan* p, const Product* prod,
                          const vec* packed, Py_ssize_t j, const vec* start, Py_ssize_t I,
                          const vec* x, const vec* z, vec* a) noexcept nogil:
    """a = start + W x + R z of one row, the column vectors from j on of a block: a column group of
    N vectors and, with it, the next of M (or 0).

    The order is that of `gemm`: k ascending.
    """
    cdef Py_ssize_t q, k, K = I, H = p.cell.units, L = lanes(a)
    cdef vec a0 = start[j], a1, a2, a3, b0, b1, b2, b3, x_k
    cdef const vec* w = at(packed, prod.W + j * I * L)
    cdef const vec* v
    if N > 1: a1 = start[j + 1]
    if N > 2:
        a2 = start[j + 2]
        a3 = start[j + 3]
    if M > 0: b0 = start[j + N]
    if M > 1: b1 = start[j + N + 1]
    if M > 2:
        b2 = start[j + N + 2]
        b3 = start[j + N + 3]
    for q in range(1 + prod.sources):
        if q > 0:
            K = H
            x = at(z, (prod.first_source + q - 1) * p.padded)
            w = at(packed, prod.R + (q - 1) * H * prod.size + j * H * L)
        v = w + N * K
        for k in range(K):
            x_k = item(x, k)
            a0 = fma(w[0], x_k, a0)
            if N > 1: a1 = fma(w[1], x_k, a1)
            if N > 2:
                a2 = fma(w[2], x_k, a2)
                a3 = fma(w[3], x_k, a3)
            if M > 0: b0 = fma(v[0], x_k, b0)
            if M > 1: b1 = fma(v[1], x_k, b1)
            if M > 2:
                b2 = fma(v[2], x_k, b2)
                b3 = fma(v[3], x_k, b3)
            v += M
            w += N
    a[j] = a0
    if N > 1: a[j + 1] = a1
    if N > 2:
        a[j + 2] = a2
        a[j + 3] = a3
    if M > 0: a[j + N] = b0
    if M > 1: a[j + N + 1] = b1
    if M > 2:
        a[j + N + 2] = b2
        a[j + N + 3] = b3


cdef void step_row(const Plan* p, const Product* prod, const vec* packed, const vec* x,
                   bint backwards, const vec* z, vec* a) noexcept nogil:
    """The columns of a product for one sequence; without x a token's column of W is in a already.

    A step goes through the tiles backwards if the one before it went forwards: where the weights
    are more than the first-level cache holds, it begins with those that are still there.
    """
    cdef Py_ssize_t q, j, N = prod.n, tiles = N >> 3
    cdef Py_ssize_t I = 0
    cdef const vec* start = at(packed, prod.bias)
    a = a + prod.first
    if prod.reads_x:
        if x != NULL:
            I = p.cell.inputs
        else:
            start = a
    for q in range(tiles):
        row_tile(4, 4, p, prod, packed, 8 * (tiles - 1 - q if backwards else q), start, I, x, z, a)
    j = 8 * tiles
    if j == N:
        return
    if N - j >= 6:
        row_tile(4, 2, p, prod, packed, j, start, I, x, z, a)
        j += 6
    elif N - j == 5:
        row_tile(4, 1, p, prod, packed, j, start, I, x, z, a)
        j += 5
    elif N - j == 4:
        row_tile(4, 0, p, prod, packed, j, start, I, x, z, a)
        j += 4
    elif N - j == 3:
        row_tile(2, 1, p, prod, packed, j, start, I, x, z, a)
        j += 3
    elif N - j == 2:
        row_tile(2, 0, p, prod, packed, j, start, I, x, z, a)
        j += 2
    if j < N:
        row_tile(1, 0, p, prod, packed, j, start, I, x, z, a)


cdef void step_rows(const Plan* p, const Product* prod, const vec* packed, Py_ssize_t B,
                    const vec* x, Py_ssize_t x_row, const vec* z, vec* a) noexcept nogil:
    """The same of B sequences, by tiles."""
    cdef Py_ssize_t H = p.cell.units
    cdef const vec* start = at(packed, prod.bias)
    cdef int source
    a = a + prod.first
    if prod.reads_x:
        if x != NULL:
            gemm(B, prod.n, p.cell.inputs, x, x_row, at(packed, prod.W), start, a, p.a_row, 0)
        start = NULL
    for source in range(prod.sources):
        gemm(B, prod.n, H, at(z, (prod.first_source + source) * p.padded), p.z_row,
             at(packed, prod.R + source * H * prod.size), start, a, p.a_row, 0)
        start = NULL


cdef inline void step_layer(const Prepared* layer, Py_ssize_t B, const vec* x, Py_ssize_t x_row,
                            const Py_ssize_t* tokens, vec* z) noexcept nogil:
    """IN x; IN and OUT z, the memory of the running layer: its outputs are the rows of z."""
    cdef const Plan* p = &layer.plan
    cdef const vec* packed = <const vec*>(<const char*>layer + weights_at())
    cdef vec* c = at(z, c_at(p, B))
    cdef vec* a = at(z, a_at(p, B))
    cdef unsigned char* backwards = <unsigned char*>at(a, round_up(B * p.a_row, LINE))
    cdef Py_ssize_t b
    cdef int phase = 0
    cdef const Product* prod = &p.products[0]
    cdef const Product* end = prod + p.n_products
    if tokens != NULL:
        x = NULL
        for b in range(B):
            add_token(p, packed, tokens[b], at(a, b * p.a_row))
    while phase < p.phases:
        while prod != end and prod.phase == phase:
            if B == 1:
                step_row(p, prod, packed, x, backwards[0], z, a)
            else:
                step_rows(p, prod, packed, B, x, x_row, z, a)
            prod += 1
        cell_forward(p, phase, packed, B, a, c, z, z, <vec*>NULL)
        phase += 1
    backwards[0] ^= 1


cdef void step_mean(Py_ssize_t B, Py_ssize_t H, const vec* y, Py_ssize_t y_row, vec* total,
                    vec* count, vec* mean) noexcept nogil:
    """One more step of a mean over time. IN and OUT total (B, H), count (B,); OUT mean (B, H)."""
    cdef Py_ssize_t b, j
    cdef vec one = like(y[0], 1), n
    for b in range(B):
        add_items(at(total, b * H), at(y, b * y_row), H)
        add_item(count, b, one)
        n = item(count, b)
        for j in range(b * H, b * H + H):
            set_first(mean, j, item(total, j) / n)


cdef void step_max(Py_ssize_t B, Py_ssize_t H, const vec* y, Py_ssize_t y_row, vec* largest,
                   vec* count) noexcept nogil:
    """One more step of a maximum over time. IN and OUT largest (B, H), count (B,)."""
    cdef Py_ssize_t b, j
    cdef vec one = like(y[0], 1), half = like(y[0], 0.5), infinity = like(y[0], INFINITY)
    cdef vec so_far, x, otherwise
    for b in range(B):
        for j in range(H):
            x = item(y, b * y_row + j)
            so_far = where_less(item(count, b), half, x, item(largest, b * H + j))
            otherwise = where_less(x, infinity, so_far, x + so_far)     # a NaN stays a NaN
            set_first(largest, b * H + j,
                      where_less(so_far, x, x, where_less(x, so_far, so_far, otherwise)))
        add_item(count, b, one)


cdef inline void step_chain(const Chain* chain, const vec* x, const Py_ssize_t* tokens,
                            vec* y) noexcept nogil:
    """One time step of all layers. IN x (B, I) or tokens (B,); OUT y (B, K)."""
    cdef Py_ssize_t B = chain.B, x_row = 0, b, H = 0
    cdef int k
    cdef const Prepared* layer
    cdef vec* total
    for k in range(chain.n_layers):
        layer = <const Prepared*>chain.layers[k]
        H = layer.plan.cell.units
        if k == 0:
            x_row = layer.plan.cell.inputs
        step_layer(layer, B, x, x_row, tokens, <vec*>chain.states[k])
        tokens = NULL
        x = <const vec*>chain.states[k]
        x_row = layer.plan.z_row
        if k == chain.read_layer and chain.readout == READ_MEAN:
            total = <vec*>chain.read
            step_mean(B, H, x, x_row, total, at(total, B * H), at(total, B * H + B))
            x = at(total, B * H + B)
            x_row = H
        elif k == chain.read_layer and chain.readout == READ_MAX:
            total = <vec*>chain.read
            step_max(B, H, x, x_row, total, at(total, B * H))
            x = total
            x_row = H
    for b in range(B):
        if chain.output == OUT_MIXED:
            mixed_row(chain.columns, chain.n_columns, at(x, b * x_row), at(y, b * H))
        else:
            output_row(chain.output, H, at(x, b * x_row), at(y, b * H))


cdef void run_chain(const Chain* chain, Py_ssize_t steps, const vec* x, const Py_ssize_t* tokens,
                    vec* y) noexcept nogil:
    cdef const Prepared* first = <const Prepared*>chain.layers[0]
    cdef const Prepared* last = <const Prepared*>chain.layers[chain.n_layers - 1]
    cdef Py_ssize_t t
    cdef unsigned long long mode = flush_denormals()
    for t in range(steps):
        step_chain(chain, x, tokens, y)
        if tokens == NULL:
            x = at(x, chain.B * first.plan.cell.inputs)
        else:
            tokens += chain.B
        y = at(y, chain.B * last.plan.cell.units)
    restore_denormals(mode)

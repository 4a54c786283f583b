# One time step of sequences that run along with their input: a layer, a chain of layers.
#
# The state of a layer stays as the tiles and cells work on it, so a step copies nothing but its
# result: B rows of z, B rows of c (LSTM), and room for B rows of pre-activations.

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
    return c_at(p, B) + (round_up(B * p.padded, LINE) if p.cell.kind == LSTM else 0)


cdef inline void row_tile(const int N, const Plan* p, const vec* packed, Py_ssize_t j,
                          const vec* start, Py_ssize_t I, const vec* x, const vec* z,
                          vec* a) noexcept nogil:
    """a = start + W x + R z of one row, the N vectors from column vector j on.

    The order is that of `gemm`: k ascending. N is 1, 2, 4, or 8: two groups of 4.
    """
    cdef Py_ssize_t q, k, K = I, H = p.cell.units, L = lanes(a)
    cdef vec a0 = start[j], a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, x_k
    cdef const vec* w = at(packed, p.W + j * I * L)
    cdef const vec* v
    if N > 1: a1 = start[j + 1]
    if N > 2:
        a2 = start[j + 2]
        a3 = start[j + 3]
    if N > 4:
        a4 = start[j + 4]
        a5 = start[j + 5]
        a6 = start[j + 6]
        a7 = start[j + 7]
    for q in range(1 + p.sources):
        if q > 0:
            K = H
            x = at(z, (q - 1) * p.padded)
            w = at(packed, p.R + (q - 1) * H * p.columns + j * H * L)
        v = w + 4 * K
        for k in range(K):
            x_k = item(x, k)
            a0 = fma(w[0], x_k, a0)
            if N > 1: a1 = fma(w[1], x_k, a1)
            if N > 2:
                a2 = fma(w[2], x_k, a2)
                a3 = fma(w[3], x_k, a3)
            if N > 4:
                a4 = fma(v[0], x_k, a4)
                a5 = fma(v[1], x_k, a5)
                a6 = fma(v[2], x_k, a6)
                a7 = fma(v[3], x_k, a7)
                v += 4
            w += N if N < 4 else 4
    a[j] = a0
    if N > 1: a[j + 1] = a1
    if N > 2:
        a[j + 2] = a2
        a[j + 3] = a3
    if N > 4:
        a[j + 4] = a4
        a[j + 5] = a5
        a[j + 6] = a6
        a[j + 7] = a7


cdef void add_token(const Plan* p, const vec* packed, Py_ssize_t token, vec* a) noexcept nogil:
    """a = b + the token's column of W."""
    cdef Py_ssize_t j
    for j in range(p.column_vectors):
        a[j] = at(packed, p.bias)[j] + at(packed, p.W + packed_offset(
            p.cell.inputs, p.column_vectors, token, j, p.lanes))[0]


cdef void step_row(const Plan* p, const vec* packed, const vec* x, const Py_ssize_t* tokens,
                   bint backwards, const vec* z, vec* a) noexcept nogil:
    """The pre-activations of one sequence.

    A step goes through the tiles backwards if the one before it went forwards: where the weights
    are more than the first-level cache holds, it begins with those that are still there.
    """
    cdef Py_ssize_t q, j, N = p.column_vectors, tiles = N // 8, I = p.cell.inputs
    cdef const vec* start = at(packed, p.bias)
    if tokens != NULL:
        add_token(p, packed, tokens[0], a)
        start = a
        I = 0
    for q in range(tiles):
        row_tile(8, p, packed, 8 * (tiles - 1 - q if backwards else q), start, I, x, z, a)
    j = 8 * tiles
    if N - j >= 4:
        row_tile(4, p, packed, j, start, I, x, z, a)
        j += 4
    if N - j >= 2:
        row_tile(2, p, packed, j, start, I, x, z, a)
        j += 2
    if N - j >= 1:
        row_tile(1, p, packed, j, start, I, x, z, a)


cdef void step_rows(const Plan* p, const vec* packed, Py_ssize_t B, const vec* x, Py_ssize_t x_row,
                    const Py_ssize_t* tokens, const vec* z, vec* a) noexcept nogil:
    """The pre-activations of B sequences, as those of one but by tiles."""
    cdef Py_ssize_t b, source, H = p.cell.units
    if tokens != NULL:
        for b in range(B):
            add_token(p, packed, tokens[b], at(a, b * p.columns))
    else:
        gemm(B, p.column_vectors, p.cell.inputs, x, x_row, at(packed, p.W), at(packed, p.bias), a,
             p.columns, 0)
    for source in range(p.sources):
        gemm(B, p.column_vectors, H, at(z, source * p.padded), p.z_row,
             at(packed, p.R + source * H * p.columns), <const vec*>NULL, a, p.columns, 0)


cdef inline void step_layer(const Prepared* layer, Py_ssize_t B, const vec* x, Py_ssize_t x_row,
                            const Py_ssize_t* tokens, vec* z) noexcept nogil:
    """IN x; IN and OUT z, the memory of the running layer: its outputs are the rows of z."""
    cdef const Plan* p = &layer.plan
    cdef const vec* packed = <const vec*>(<const char*>layer + weights_at())
    cdef vec* c = at(z, c_at(p, B))
    cdef vec* a = at(z, a_at(p, B))
    cdef unsigned char* backwards = <unsigned char*>at(a, round_up(B * p.columns, LINE))
    if B == 1:
        step_row(p, packed, x, tokens, backwards[0], z, a)
        backwards[0] ^= 1
    else:
        step_rows(p, packed, B, x, x_row, tokens, z, a)
    cell_forward(p, packed, B, a, c, z, <vec*>NULL)


cdef void run_mean_step(Py_ssize_t B, Py_ssize_t H, const vec* y, Py_ssize_t y_row, vec* total,
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
        if k == chain.mean_of:
            total = <vec*>chain.mean
            run_mean_step(B, H, x, x_row, total, at(total, B * H), at(total, B * H + B))
            x = at(total, B * H + B)
            x_row = H
    for b in range(B):
        run_output(chain.output, H, at(x, b * x_row), at(y, b * H))


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


cdef inline void run_output(int output, Py_ssize_t K, const vec* a, vec* y) noexcept nogil:
    """The output units of one row."""
    cdef Activation f = Activation(LOGISTIC, 0, 0)
    if output == OUT_SOFTMAX:
        run_softmax(K, a, y)
    elif output == OUT_LOGISTIC:
        run_activation(&f, K, a, y)
    else:
        copy_items(y, a, K)

# The table of C functions that lstmcore/include/lstmcore.h declares: what each does stands there.
# Sizes are in bytes on the outside, in numbers within.

from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #if VBYTES == 64
    #define LSTMCORE_ISA "avx512"
    #elif defined(__AVX2__)
    #define LSTMCORE_ISA "avx2"
    #elif defined(__ARM_NEON)
    #define LSTMCORE_ISA "neon"
    #else
    #define LSTMCORE_ISA "portable"
    #endif
    """
    const char* ISA_NAME "LSTMCORE_ISA"

cdef inline const Prepared* prepared(const Layer* layer) noexcept nogil:
    return <const Prepared*>layer

cdef inline void* weights_of(const Layer* layer) noexcept nogil:
    return <char*>layer + weights_at()

cdef inline bint single(const Layer* layer) noexcept nogil:
    return prepared(layer).item_size == FLOAT32


# ---- description --------------------------------------------------------------------------------

cdef bint read_struct(const void* given, void* known, size_t size) noexcept nogil:
    """A caller's struct, which begins with its size, as the one that is known here: what the caller
    has not is zero. False if it is none, or of a version that is not known here."""
    cdef size_t given_size = (<const size_t*>given)[0]
    if given_size < sizeof(size_t) or given_size > size:
        return False
    memset(known, 0, size)
    memcpy(known, given, given_size)
    return True


cdef const char* api_check(const Cell* given) noexcept nogil:
    cdef Cell cell
    if not read_struct(given, &cell, sizeof(Cell)):
        return "size: must be the size of the struct, of no later version than the library's"
    return check_cell(&cell)


cdef Py_ssize_t api_layer_bytes(const Cell* given, int dtype) noexcept nogil:
    cdef Cell cell
    cdef Plan plan
    read_struct(given, &cell, sizeof(Cell))
    plan = plan_of(&cell, dtype)
    return weights_at() + plan.packed * dtype


cdef Layer* api_prepare(const Cell* given, int dtype, const void* const* blocks,
                        void* memory) noexcept nogil:
    cdef Prepared* layer = <Prepared*>memory
    cdef void* packed = weights_of(<Layer*>memory)
    cdef Cell cell
    if (dtype != FLOAT32 and dtype != FLOAT64) or api_check(given) != NULL:
        return NULL
    read_struct(given, &cell, sizeof(Cell))
    memset(layer, 0, weights_at())
    layer.plan = plan_of(&cell, dtype)
    layer.item_size = dtype
    if dtype == FLOAT32:
        run_pack(&layer.plan, blocks, <vf*>packed)
    else:
        run_pack(&layer.plan, blocks, <vd*>packed)
    return <Layer*>memory


# ---- steps --------------------------------------------------------------------------------------

cdef Py_ssize_t api_state_bytes(const Layer* layer, Py_ssize_t B) noexcept nogil:
    cdef const Plan* p = &prepared(layer).plan
    return (a_at(p, B) + round_up(B * p.a_row, LINE)) * prepared(layer).item_size + LINE


cdef void run_set_state(const Plan* p, Py_ssize_t B, const void* const* values,
                        vec* z) noexcept nogil:
    cdef const vec* h = <const vec*>values[0] if p.states > 0 else NULL
    cdef const vec* c = <const vec*>values[1] if p.states > 1 else NULL
    cdef Py_ssize_t b
    for b in range(B):
        load_state(p, h, c, at(z, b * p.z_row), at(z, c_at(p, B) + b * p.padded))
        if h != NULL:
            h = at(h, h_size(p))
        if c != NULL:
            c = at(c, p.cell.units)


cdef void run_get_state(const Plan* p, Py_ssize_t B, const vec* z,
                        void* const* values) noexcept nogil:
    cdef vec* h = <vec*>values[0] if p.states > 0 else NULL
    cdef vec* c = <vec*>values[1] if p.states > 1 else NULL
    cdef Py_ssize_t b
    for b in range(B):
        store_state(p, at(z, b * p.z_row), at(z, c_at(p, B) + b * p.padded), h, c)
        if h != NULL:
            h = at(h, h_size(p))
        if c != NULL:
            c = at(c, p.cell.units)


cdef void api_set_state(const Layer* layer, Py_ssize_t B, const void* const* values,
                        void* state) noexcept nogil:
    if single(layer):
        run_set_state(&prepared(layer).plan, B, values, <vf*>state)
    else:
        run_set_state(&prepared(layer).plan, B, values, <vd*>state)


cdef void api_get_state(const Layer* layer, Py_ssize_t B, const void* state,
                        void* const* values) noexcept nogil:
    if single(layer):
        run_get_state(&prepared(layer).plan, B, <const vf*>state, values)
    else:
        run_get_state(&prepared(layer).plan, B, <const vd*>state, values)


cdef void run_step(const Prepared* layer, Py_ssize_t B, const vec* x, const Py_ssize_t* tokens,
                   vec* z, vec* y) noexcept nogil:
    cdef Py_ssize_t b, H = layer.plan.cell.units
    cdef unsigned long long mode = flush_denormals()
    step_layer(layer, B, x, layer.plan.cell.inputs, tokens, z)
    if y != NULL:
        for b in range(B):
            copy_items(at(y, b * H), at(z, b * layer.plan.z_row), H)
    restore_denormals(mode)


cdef void api_step(const Layer* layer, Py_ssize_t B, const void* x, const Py_ssize_t* tokens,
                   void* state, void* y) noexcept nogil:
    if single(layer):
        run_step(prepared(layer), B, <const vf*>x, tokens, <vf*>state, <vf*>y)
    else:
        run_step(prepared(layer), B, <const vd*>x, tokens, <vd*>state, <vd*>y)


cdef Py_ssize_t api_read_bytes(const Layer* layer, Py_ssize_t B) noexcept nogil:
    return B * (2 * prepared(layer).plan.cell.units + 1) * prepared(layer).item_size


cdef void api_chain_steps(const Chain* chain, Py_ssize_t steps, const void* x,
                          const Py_ssize_t* tokens, void* y) noexcept nogil:
    if single(chain.layers[0]):
        run_chain(chain, steps, <const vf*>x, tokens, <vf*>y)
    else:
        run_chain(chain, steps, <const vd*>x, tokens, <vd*>y)


# ---- sequences ----------------------------------------------------------------------------------

cdef Py_ssize_t api_scratch_bytes(const Layer* layer, Py_ssize_t B, int n_threads,
                                  int training) noexcept nogil:
    cdef const Prepared* known = prepared(layer)
    return known.item_size * scratch_numbers(&known.plan, known.item_size, B, n_threads, training,
                                             True, True)


cdef Py_ssize_t api_tape_bytes(const Layer* layer, Py_ssize_t B, Py_ssize_t steps) noexcept nogil:
    return prepared(layer).plan.tape_row * (B + steps) * prepared(layer).item_size


cdef Py_ssize_t api_grad_bytes(const Layer* layer) noexcept nogil:
    return prepared(layer).plan.packed * prepared(layer).item_size


cdef Task task_of(const Layer* layer, const Sequences* given) noexcept nogil:
    cdef Task task
    task.plan = prepared(layer).plan
    task.packed = weights_of(layer)
    read_struct(given, &task.seq, sizeof(Sequences))
    if task.seq.x_first == NULL:
        task.seq.x_first = task.seq.order
    if task.seq.y_first == NULL:
        task.seq.y_first = task.seq.order
    if task.seq.dx_first == NULL:
        task.seq.dx_first = task.seq.order
    task.seq.n_threads = max(task.seq.n_threads, 1)
    task.listens = False
    return task


cdef void api_forward(const Layer* layer, const Sequences* given) noexcept nogil:
    cdef Task task = task_of(layer, given)
    if single(layer):
        run_forward(&task, <vf*>NULL)
    else:
        run_forward(&task, <vd*>NULL)


cdef void api_backward(const Layer* layer, const Sequences* given) noexcept nogil:
    cdef Task task = task_of(layer, given)
    if single(layer):
        run_backward(&task, <vf*>NULL)
    else:
        run_backward(&task, <vd*>NULL)


cdef void api_unpack(const Layer* layer, const void* grad, void* const* blocks) noexcept nogil:
    if single(layer):
        run_unpack(&prepared(layer).plan, <const vf*>grad, blocks)
    else:
        run_unpack(&prepared(layer).plan, <const vd*>grad, blocks)


cdef void run_api_output(int output, const Columns* columns, int n_columns, int dtype,
                         Py_ssize_t rows, Py_ssize_t K, const void* a, void* y) noexcept nogil:
    if dtype == FLOAT32:
        run_output_units(output, columns, n_columns, rows, K, <const vf*>a, <vf*>y)
    else:
        run_output_units(output, columns, n_columns, rows, K, <const vd*>a, <vd*>y)


cdef void api_output(int output, int dtype, Py_ssize_t rows, Py_ssize_t K, const void* a,
                     void* y) noexcept nogil:
    run_api_output(output, NULL, 0, dtype, rows, K, a, y)


cdef void api_output_columns(const Columns* columns, int n_columns, int dtype, Py_ssize_t rows,
                             Py_ssize_t K, const void* a, void* y) noexcept nogil:
    run_api_output(OUT_MIXED, columns, n_columns, dtype, rows, K, a, y)


# ---- the table ----------------------------------------------------------------------------------

cdef Api API

API.abi_version = ABI_VERSION
API.api_version = API_VERSION
API.isa = ISA_NAME
API.check = api_check
API.layer_bytes = api_layer_bytes
API.prepare = api_prepare
API.state_bytes = api_state_bytes
API.set_state = api_set_state
API.get_state = api_get_state
API.step = api_step
API.read_bytes = api_read_bytes
API.chain_steps = api_chain_steps
API.scratch_bytes = api_scratch_bytes
API.tape_bytes = api_tape_bytes
API.grad_bytes = api_grad_bytes
API.forward = api_forward
API.backward = api_backward
API.unpack = api_unpack
API.output = api_output
API.output_columns = api_output_columns

C_API = PyCapsule_New(&API, CAPSULE, NULL)

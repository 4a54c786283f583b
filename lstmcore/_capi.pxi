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

cdef enum:
    LARGEST = 16777216              # of I and H, so that no product of sizes leaves 64 bits

cdef inline const Prepared* prepared(const Layer* layer) noexcept nogil:
    return <const Prepared*>layer

cdef inline void* weights_of(const Layer* layer) noexcept nogil:
    return <char*>layer + weights_at()

cdef inline bint single(const Layer* layer) noexcept nogil:
    return prepared(layer).item_size == FLOAT32


# ---- description --------------------------------------------------------------------------------

cdef const char* check_activation(int code, double alpha) noexcept nogil:
    if code < IDENTITY or code > AFFINE:
        return "activation: none of the list"
    if code in (ELU, LEAKY_RELU, THRESHOLDED_RELU) and not alpha >= 0:
        return "alpha: must be at least 0"
    if code == HARD_SIGMOID and not alpha > 0:
        return "alpha: must be above 0"
    if code == SCALED_TANH and not (alpha < 0 or alpha > 0):
        return "alpha: must not be 0"
    return NULL


cdef const char* api_check(const Cell* cell) noexcept nogil:
    cdef const char* wrong
    cdef int gates = cell.input_gate + cell.forget_gate + cell.output_gate
    if cell.kind not in (DENSE, RNN, LSTM):
        return "kind: none of the list"
    if not (1 <= cell.inputs <= LARGEST and 1 <= cell.units <= LARGEST):
        return "inputs, units: must be from 1 to 2^24"
    if cell.block_size < 1 or cell.units % cell.block_size:
        return "block_size: must be a divisor of units"
    if (cell.input_gate not in (0, 1) or cell.forget_gate not in (0, 1)
            or cell.output_gate not in (0, 1) or cell.coupled not in (0, 1)
            or cell.peepholes not in (0, 1) or cell.gate_recurrence not in (0, 1)):
        return "options: must be 0 or 1"
    if cell.kind != LSTM and (gates or cell.coupled or cell.peepholes or cell.gate_recurrence
                              or cell.block_size != 1):
        return "options: only an LSTM has gates and blocks"
    if cell.coupled and (not cell.input_gate or cell.forget_gate):
        return "coupled: needs the input gate, and forget_gate 0"
    if gates == 0 and (cell.peepholes or cell.gate_recurrence):
        return "peepholes, gate_recurrence: need a gate"
    wrong = check_activation(cell.act_output, cell.alpha_output)
    if wrong == NULL and cell.kind == LSTM:
        wrong = check_activation(cell.act_gate, cell.alpha_gate)
        if wrong == NULL:
            wrong = check_activation(cell.act_cell, cell.alpha_cell)
    return wrong


cdef inline Plan plan_of(const Cell* cell, int dtype) noexcept nogil:
    return make_plan(cell, VF if dtype == FLOAT32 else VD)


cdef Py_ssize_t api_layer_bytes(const Cell* cell, int dtype) noexcept nogil:
    return weights_at() + plan_of(cell, dtype).packed * dtype


cdef Layer* api_prepare(const Cell* cell, int dtype, const void* W, const void* R, const void* b,
                        const void* p, const void* Q, void* memory) noexcept nogil:
    cdef Prepared* layer = <Prepared*>memory
    cdef void* packed = weights_of(<Layer*>memory)
    if (dtype != FLOAT32 and dtype != FLOAT64) or api_check(cell) != NULL:
        return NULL
    memset(layer, 0, weights_at())
    layer.plan = plan_of(cell, dtype)
    layer.item_size = dtype
    if dtype == FLOAT32:
        run_pack(&layer.plan, <const vf*>W, <const vf*>R, <const vf*>b, <const vf*>p, <const vf*>Q,
                 <vf*>packed)
    else:
        run_pack(&layer.plan, <const vd*>W, <const vd*>R, <const vd*>b, <const vd*>p, <const vd*>Q,
                 <vd*>packed)
    return <Layer*>memory


# ---- steps --------------------------------------------------------------------------------------

cdef Py_ssize_t api_state_bytes(const Layer* layer, Py_ssize_t B) noexcept nogil:
    cdef const Plan* p = &prepared(layer).plan
    return (a_at(p, B) + round_up(B * p.columns, LINE)) * prepared(layer).item_size + LINE


cdef Task task_of_state(const Plan* p, Py_ssize_t* zero) noexcept nogil:
    """For load_state and store_state of one sequence."""
    cdef Task k
    memset(&k, 0, sizeof(Task))
    k.plan = p[0]
    k.order = zero
    return k


cdef void run_set_state(const Plan* p, Py_ssize_t B, const vec* h, const vec* c,
                        vec* z) noexcept nogil:
    cdef Py_ssize_t zero = 0, b
    cdef Task k = task_of_state(p, &zero)
    for b in range(B):
        k.h_in = at(h, b * h_size(p)) if h != NULL else NULL
        k.c_in = at(c, b * p.cell.units) if c != NULL else NULL
        load_state(&k, 0, at(z, b * p.z_row), at(z, c_at(p, B) + b * p.padded))


cdef void run_get_state(const Plan* p, Py_ssize_t B, const vec* z, vec* h, vec* c) noexcept nogil:
    cdef Py_ssize_t zero = 0, b
    cdef Task k = task_of_state(p, &zero)
    for b in range(B):
        k.h_out = at(h, b * h_size(p)) if h != NULL else NULL
        k.c_out = at(c, b * p.cell.units) if c != NULL else NULL
        store_state(&k, 0, at(z, b * p.z_row), at(z, c_at(p, B) + b * p.padded))


cdef inline Py_ssize_t h_size(const Plan* p) noexcept nogil:
    """Numbers of h, and of the gates that are read back behind it."""
    cdef Py_ssize_t gates = max(p.sources - 1, 0)
    return p.cell.units + gates * (p.cell.units // p.cell.block_size)


cdef void api_set_state(const Layer* layer, Py_ssize_t B, const void* h, const void* c,
                        void* state) noexcept nogil:
    if single(layer):
        run_set_state(&prepared(layer).plan, B, <const vf*>h, <const vf*>c, <vf*>state)
    else:
        run_set_state(&prepared(layer).plan, B, <const vd*>h, <const vd*>c, <vd*>state)


cdef void api_get_state(const Layer* layer, Py_ssize_t B, const void* state, void* h,
                        void* c) noexcept nogil:
    if single(layer):
        run_get_state(&prepared(layer).plan, B, <const vf*>state, <vf*>h, <vf*>c)
    else:
        run_get_state(&prepared(layer).plan, B, <const vd*>state, <vd*>h, <vd*>c)


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


cdef Py_ssize_t api_mean_bytes(const Layer* layer, Py_ssize_t B) noexcept nogil:
    return B * (2 * prepared(layer).plan.cell.units + 1) * prepared(layer).item_size


cdef void api_chain_steps(const Chain* chain, Py_ssize_t steps, const void* x,
                          const Py_ssize_t* tokens, void* y) noexcept nogil:
    if single(chain.layers[0]):
        run_chain(chain, steps, <const vf*>x, tokens, <vf*>y)
    else:
        run_chain(chain, steps, <const vd*>x, tokens, <vd*>y)


# ---- sequences ----------------------------------------------------------------------------------

cdef Py_ssize_t workspace(const Plan* p, Py_ssize_t item_size, Py_ssize_t B, int n_threads,
                          bint training, bint with_dx) noexcept nogil:
    """Numbers of workspace that forward and, if training, backward take, with or without dx."""
    cdef Py_ssize_t size = n_threads * forward_scratch(p, item_size)
    if training:
        size = max(size, make_room(p, item_size, B, n_threads, with_dx).size)
    return size


cdef Py_ssize_t api_scratch_bytes(const Layer* layer, Py_ssize_t B, int n_threads,
                                  int training) noexcept nogil:
    return workspace(&prepared(layer).plan, prepared(layer).item_size, B, n_threads,
                     training, True) * prepared(layer).item_size


cdef Py_ssize_t api_tape_bytes(const Layer* layer, Py_ssize_t B, Py_ssize_t steps) noexcept nogil:
    return prepared(layer).plan.tape_row * (B + steps) * prepared(layer).item_size


cdef Py_ssize_t api_grad_bytes(const Layer* layer) noexcept nogil:
    return prepared(layer).plan.packed * prepared(layer).item_size


cdef Task task_of(const Layer* layer, const Sequences* s) noexcept nogil:
    cdef Task k
    memset(&k, 0, sizeof(Task))
    k.plan = prepared(layer).plan
    k.packed = weights_of(layer)
    k.x = s.x
    k.tokens = s.tokens
    k.x_batch = s.x_batch
    k.x_time = s.x_time
    k.order = s.order
    k.lengths = s.lengths
    k.B = s.B
    k.t0 = s.t0
    k.t1 = s.t1
    k.reverse = s.reverse
    k.tape = s.tape
    k.scratch = s.scratch
    k.n_threads = max(s.n_threads, 1)
    return k


cdef void api_forward(const Layer* layer, const Sequences* s) noexcept nogil:
    cdef Task k = task_of(layer, s)
    k.h_in = s.h0
    k.c_in = s.c0
    k.h_in_batch = s.h0_batch
    k.c_in_batch = s.c0_batch
    k.y = s.y
    k.y_batch = s.y_batch
    k.y_time = s.y_time
    k.h_out = s.hT
    k.c_out = s.cT
    k.h_out_batch = s.hT_batch
    k.c_out_batch = s.cT_batch
    if single(layer):
        run_forward(&k, <vf*>NULL)
    else:
        run_forward(&k, <vd*>NULL)


cdef void api_backward(const Layer* layer, const Sequences* s) noexcept nogil:
    cdef Task k = task_of(layer, s)
    k.y = <void*>s.dy
    k.y_batch = s.dy_batch
    k.y_time = s.dy_time
    k.h_in = s.dhT
    k.c_in = s.dcT
    k.h_in_batch = s.dhT_batch
    k.c_in_batch = s.dcT_batch
    k.dx = s.dx
    k.dx_batch = s.dx_batch
    k.dx_time = s.dx_time
    k.h_out = s.dh0
    k.c_out = s.dc0
    k.h_out_batch = s.dh0_batch
    k.c_out_batch = s.dc0_batch
    k.grad = s.grad
    if single(layer):
        run_backward(&k, <vf*>NULL)
    else:
        run_backward(&k, <vd*>NULL)


cdef void api_unpack(const Layer* layer, const void* grad, void* dW, void* dR, void* db, void* dp,
                     void* dQ) noexcept nogil:
    if single(layer):
        run_unpack(&prepared(layer).plan, <const vf*>grad, <vf*>dW, <vf*>dR, <vf*>db, <vf*>dp,
                   <vf*>dQ)
    else:
        run_unpack(&prepared(layer).plan, <const vd*>grad, <vd*>dW, <vd*>dR, <vd*>db, <vd*>dp,
                   <vd*>dQ)


cdef void api_output(int output, int dtype, Py_ssize_t rows, Py_ssize_t K, const void* a,
                     void* y) noexcept nogil:
    if dtype == FLOAT32:
        run_squash(output, rows, K, <const vf*>a, <vf*>y)
    else:
        run_squash(output, rows, K, <const vd*>a, <vd*>y)


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
API.mean_bytes = api_mean_bytes
API.chain_steps = api_chain_steps
API.scratch_bytes = api_scratch_bytes
API.tape_bytes = api_tape_bytes
API.grad_bytes = api_grad_bytes
API.forward = api_forward
API.backward = api_backward
API.unpack = api_unpack
API.output = api_output

C_API = PyCapsule_New(&API, CAPSULE, NULL)

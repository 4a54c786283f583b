# lstmcore/include/lstmcore.h in Cython: what the kernels share with code outside. There it is
# documented; `cimport lstmcore` gives outside code these names.

cdef extern from "Python.h":
    pass                            # before lstmcore.h, which then has lstmcore_import

cdef extern from "lstmcore.h" nogil:
    enum: ABI_VERSION "LSTMCORE_ABI_VERSION"
    enum: API_VERSION "LSTMCORE_API_VERSION"
    const char* CAPSULE "LSTMCORE_CAPSULE"

    enum:
        FLOAT32 "LSTMCORE_FLOAT32"
        FLOAT64 "LSTMCORE_FLOAT64"

    enum:                           # kinds of layer
        DENSE "LSTMCORE_DENSE"
        RNN "LSTMCORE_RNN"
        LSTM "LSTMCORE_LSTM"
        GRU "LSTMCORE_GRU"

    enum:
        MOST_STATES "LSTMCORE_MOST_STATES"
        MOST_BLOCKS "LSTMCORE_MOST_BLOCKS"

    enum:                           # activations; the names are in _activations.py
        IDENTITY "LSTMCORE_IDENTITY"
        LOGISTIC "LSTMCORE_LOGISTIC"
        TANH "LSTMCORE_TANH"
        RELU "LSTMCORE_RELU"
        LOGISTIC_1 "LSTMCORE_LOGISTIC_1"
        LOGISTIC_2 "LSTMCORE_LOGISTIC_2"
        SOFTSIGN "LSTMCORE_SOFTSIGN"
        SOFTPLUS "LSTMCORE_SOFTPLUS"
        ELU "LSTMCORE_ELU"
        LEAKY_RELU "LSTMCORE_LEAKY_RELU"
        HARD_SIGMOID "LSTMCORE_HARD_SIGMOID"
        SCALED_TANH "LSTMCORE_SCALED_TANH"
        THRESHOLDED_RELU "LSTMCORE_THRESHOLDED_RELU"
        AFFINE "LSTMCORE_AFFINE"

    enum:                           # output units
        OUT_IDENTITY "LSTMCORE_OUT_IDENTITY"
        OUT_LOGISTIC "LSTMCORE_OUT_LOGISTIC"
        OUT_SOFTMAX "LSTMCORE_OUT_SOFTMAX"
        OUT_EXPONENTIAL "LSTMCORE_OUT_EXPONENTIAL"
        OUT_TANH "LSTMCORE_OUT_TANH"
        OUT_MIXED "LSTMCORE_OUT_MIXED"

    enum:                           # what a chain reads out
        READ_STEP "LSTMCORE_READ_STEP"
        READ_MEAN "LSTMCORE_READ_MEAN"
        READ_MAX "LSTMCORE_READ_MAX"

    enum:                           # which cell state the output gate's peephole reads
        PEEP_NOW "LSTMCORE_PEEP_NOW"
        PEEP_BEFORE "LSTMCORE_PEEP_BEFORE"
        PEEP_NONE "LSTMCORE_PEEP_NONE"

    ctypedef struct Cell "lstmcore_cell":
        size_t size
        int kind
        Py_ssize_t inputs               # I
        Py_ssize_t units                # H
        Py_ssize_t block_size           # C cells share a block's gates
        int input_gate, forget_gate, output_gate
        int coupled                     # b_f = 1 - b_i
        int peepholes
        int gate_recurrence             # gates also read the gates' previous activations
        int act_gate, act_cell, act_output
        double alpha_gate, beta_gate, alpha_cell, beta_cell, alpha_output, beta_output
        int reset_after                 # GRU
        int output_peephole             # LSTM: PEEP_NOW, PEEP_BEFORE, PEEP_NONE

    ctypedef struct Layer "lstmcore_layer":
        pass

    ctypedef struct Sequences "lstmcore_sequences":
        size_t size
        Py_ssize_t B, t0, t1
        int reverse
        int n_threads
        const Py_ssize_t* order
        const Py_ssize_t* lengths
        const void* x
        const Py_ssize_t* tokens
        const Py_ssize_t* x_first
        Py_ssize_t x_batch, x_time
        void* scratch
        void* tape
        void* y
        const Py_ssize_t* y_first
        Py_ssize_t y_batch, y_time
        const void* state_in[MOST_STATES]
        Py_ssize_t state_in_batch[MOST_STATES]
        void* state_out[MOST_STATES]
        Py_ssize_t state_out_batch[MOST_STATES]
        void* dx
        const Py_ssize_t* dx_first
        Py_ssize_t dx_batch, dx_time
        void* grad
        Py_ssize_t first_row

    ctypedef struct Columns "lstmcore_columns":
        int output
        Py_ssize_t count
        double floor

    ctypedef struct Chain "lstmcore_chain":
        size_t size
        Py_ssize_t B
        int n_layers, output, readout, read_layer
        const Layer** layers
        void** states
        void* read
        int n_columns
        const Columns* columns

    ctypedef struct Api "lstmcore_api":
        int abi_version, api_version
        const char* isa
        const char* (*check)(const Cell*) noexcept nogil
        Py_ssize_t (*layer_bytes)(const Cell*, int) noexcept nogil
        Layer* (*prepare)(const Cell*, int, const void* const*, void*) noexcept nogil
        Py_ssize_t (*state_bytes)(const Layer*, Py_ssize_t) noexcept nogil
        void (*set_state)(const Layer*, Py_ssize_t, const void* const*, void*) noexcept nogil
        void (*get_state)(const Layer*, Py_ssize_t, const void*, void* const*) noexcept nogil
        void (*step)(const Layer*, Py_ssize_t, const void*, const Py_ssize_t*, void*,
                     void*) noexcept nogil
        Py_ssize_t (*read_bytes)(const Layer*, Py_ssize_t) noexcept nogil
        void (*chain_steps)(const Chain*, Py_ssize_t, const void*, const Py_ssize_t*,
                            void*) noexcept nogil
        Py_ssize_t (*scratch_bytes)(const Layer*, Py_ssize_t, int, int) noexcept nogil
        Py_ssize_t (*tape_bytes)(const Layer*, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*grad_bytes)(const Layer*) noexcept nogil
        void (*forward)(const Layer*, const Sequences*) noexcept nogil
        void (*backward)(const Layer*, const Sequences*) noexcept nogil
        void (*unpack)(const Layer*, const void*, void* const*) noexcept nogil
        void (*output)(int, int, Py_ssize_t, Py_ssize_t, const void*, void*) noexcept nogil
        void (*output_columns)(const Columns*, int, int, Py_ssize_t, Py_ssize_t, const void*,
                               void*) noexcept nogil

    bint compatible "lstmcore_compatible"(const Api*)
    Cell lstm "lstmcore_lstm"(Py_ssize_t inputs, Py_ssize_t units)
    Cell gru "lstmcore_gru"(Py_ssize_t inputs, Py_ssize_t units)
    Cell rnn "lstmcore_rnn"(Py_ssize_t inputs, Py_ssize_t units)
    Cell dense "lstmcore_dense"(Py_ssize_t inputs, Py_ssize_t units)

cdef extern from "lstmcore.h":
    const Api* import_api "lstmcore_import"() except NULL

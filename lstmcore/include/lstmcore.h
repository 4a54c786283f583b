/* lstmcore for C: the kernels of the build that lstmcore has chosen for this processor, as one
 * table of functions. docs/c_api.md shows how to use it.
 *
 * With Python.h included first, `lstmcore_import()` gets the table. Code without Python takes the
 * address of the table as an argument and asks `lstmcore_compatible`.
 *
 * Every function of the table
 *   - works on memory of the caller, allocates nothing, touches no Python object and may be called
 *     without the GIL and from any number of threads, as long as each writes to its own memory;
 *   - checks nothing but what it says it checks.
 * Real arrays of a layer have its type, float or double; strides count numbers, sizes count bytes.
 * Memory whose size a function tells is best aligned to 64 bytes, and must be to 8.
 */
#ifndef LSTMCORE_H
#define LSTMCORE_H

#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The table only grows at its end within one ABI version: it is compatible with code that was
 * compiled for the same ABI version and no later API version. */
#define LSTMCORE_ABI_VERSION 1
#define LSTMCORE_API_VERSION 1

/* types of real numbers: their size in bytes */
enum { LSTMCORE_FLOAT32 = 4, LSTMCORE_FLOAT64 = 8 };

/* Kinds of layer. Each has its blocks of parameters and its states in an order of its own, in which
 * they stand wherever blocks or states are passed: as arrays of pointers, row-major. H units, I
 * inputs, G rows: those of the gates that there are, in the order said.
 *
 *   kind   gates       blocks                                                 states
 *   DENSE              W (H, I), b (H)                                        none
 *   RNN                W (H, I), R (H, H), b (H)                              h
 *   LSTM   i, f, g, o  W (G, I), R (G, H), b (G), p (m, H), Q (m H/C, m H/C)  h, c
 *   GRU    r, z, n     W (3H, I), R (3H, H), b (3H), bR (H)                   h
 *
 * Of an LSTM, p are the peepholes and Q is the gate recurrence of the m gates that there are (g is
 * no gate); with gate recurrence the state h is (H + m H/C): the gates follow h. Of a GRU, bR is
 * the recurrent bias of n. A block that the options leave out is NULL; so may be bR
 * and a dense layer's b: zero. */
enum { LSTMCORE_DENSE = 0, LSTMCORE_RNN = 1, LSTMCORE_LSTM = 2, LSTMCORE_GRU = 3 };
enum { LSTMCORE_MOST_BLOCKS = 8, LSTMCORE_MOST_STATES = 2 };    /* of any kind */

/* activations; alpha and beta as ONNX names them */
enum {
    LSTMCORE_IDENTITY = 0,
    LSTMCORE_LOGISTIC = 1,
    LSTMCORE_TANH = 2,
    LSTMCORE_RELU = 3,
    LSTMCORE_LOGISTIC_1 = 4,        /* 2/(1 + e^-x) - 1 */
    LSTMCORE_LOGISTIC_2 = 5,        /* 4/(1 + e^-x) - 2 */
    LSTMCORE_SOFTSIGN = 6,
    LSTMCORE_SOFTPLUS = 7,
    LSTMCORE_ELU = 8,               /* alpha >= 0 */
    LSTMCORE_LEAKY_RELU = 9,        /* alpha >= 0 */
    LSTMCORE_HARD_SIGMOID = 10,     /* alpha > 0 */
    LSTMCORE_SCALED_TANH = 11,      /* alpha != 0 */
    LSTMCORE_THRESHOLDED_RELU = 12, /* alpha >= 0 */
    LSTMCORE_AFFINE = 13
};

/* output units of a chain */
enum {
    LSTMCORE_OUT_IDENTITY = 0,
    LSTMCORE_OUT_LOGISTIC = 1,
    LSTMCORE_OUT_SOFTMAX = 2,
    LSTMCORE_OUT_EXPONENTIAL = 3,
    LSTMCORE_OUT_TANH = 4,
    LSTMCORE_OUT_MIXED = 5          /* columns with units of their own: `columns` says which */
};

/* Of LSTMCORE_OUT_MIXED, outputs that stand side by side: units of any other kind, and what is
 * added to them. */
typedef struct lstmcore_columns {
    int output;
    ptrdiff_t count;
    double floor;
} lstmcore_columns;

/* what a chain reads out of a layer: its output at this step, its mean or its maximum so far */
enum { LSTMCORE_READ_STEP = 0, LSTMCORE_READ_MEAN = 1, LSTMCORE_READ_MAX = 2 };

/* what the peephole of an LSTM's output gate reads: the cell state after this step, or that before
 * it; or there is none, and p has no row for it */
enum { LSTMCORE_PEEP_NOW = 0, LSTMCORE_PEEP_BEFORE = 1, LSTMCORE_PEEP_NONE = 2 };

/* Structs that callers fill begin with their size, as sizeof tells it: what later versions add at
 * their end is zero for code that was compiled before.
 *
 * One direction of one layer. RNN and dense layers use act_output with its alpha and beta alone, a
 * GRU act_gate and act_cell; block_size is 1 in both, the options of an LSTM are 0. Of an LSTM, a
 * gate that is not there is the constant 1. */
typedef struct lstmcore_cell {
    size_t size;
    int kind;
    ptrdiff_t inputs;               /* I */
    ptrdiff_t units;                /* H */
    ptrdiff_t block_size;           /* C: cells that share a block's gates; a divisor of H */
    int input_gate, forget_gate, output_gate;
    int coupled;                    /* forget gate = 1 - input gate; then forget_gate is 0 */
    int peepholes;
    int gate_recurrence;            /* gates also read the gates' previous activations */
    int act_gate, act_cell, act_output;
    double alpha_gate, beta_gate, alpha_cell, beta_cell, alpha_output, beta_output;
    int reset_after;                /* GRU: the reset gate multiplies R h + bR, not h */
    int output_peephole;            /* LSTMCORE_PEEP_...; 0 without peepholes or output gate */
} lstmcore_cell;

/* A prepared layer: its weights in the order in which the kernels read them. It holds no pointers:
 * its bytes may be copied, but are of use to the process that prepared them alone. */
typedef struct lstmcore_layer lstmcore_layer;

/* What `forward` and `backward` work on: steps t0 <= t < t1 of B sequences of unequal lengths.
 *
 * Rank r is the place of a sequence in the order of descending length: order[r] is its row in the
 * states, lengths[r] its length. With `reverse` step t of a sequence of length n is row n - 1 - t
 * of x and y. Arrays that may be absent are NULL; absent states and derivatives count as zero.
 *
 * Step t of rank r stands in x at x_first[r] * x_batch + t * x_time, and likewise in y and dx. So
 * sequences may stand in an array (B, T, I), with order for x_first, or one after the other as
 * rows (N, I) without padding, with x_first the row where each begins and I for both strides.
 */
typedef struct lstmcore_sequences {
    size_t size;
    ptrdiff_t B, t0, t1;
    int reverse;
    int n_threads;                  /* 1 in a process made by fork */
    const ptrdiff_t *order;         /* (B,) */
    const ptrdiff_t *lengths;       /* (B,) by rank */
    const void *x;                  /* (B, T, I), or NULL and */
    const ptrdiff_t *tokens;        /* (B, T), from 0 to I - 1: one-hot inputs */
    const ptrdiff_t *x_first;       /* (B,) by rank; NULL is order */
    ptrdiff_t x_batch, x_time;      /* strides of whichever of x and tokens there is */
    void *scratch;                  /* scratch_bytes */
    void *tape;                     /* tape_bytes: OUT of forward (or NULL), IN of backward */
    void *y;                        /* (B, T, H) where steps are: OUT of forward; IN of backward,
                                     * the derivatives of a scalar by it */
    const ptrdiff_t *y_first;       /* as x_first */
    ptrdiff_t y_batch, y_time;
    /* The kind's states, (B, H) each. IN: of forward, before t0; of backward, the derivatives by
     * those after each last step before t1. OUT: of forward, after each last step before t1; of
     * backward, the derivatives by those before t0. */
    const void *state_in[LSTMCORE_MOST_STATES];
    ptrdiff_t state_in_batch[LSTMCORE_MOST_STATES];
    void *state_out[LSTMCORE_MOST_STATES];
    ptrdiff_t state_out_batch[LSTMCORE_MOST_STATES];
    /* backward alone */
    void *dx;                       /* IN and OUT (B, T, I), or NULL: added to */
    const ptrdiff_t *dx_first;      /* as x_first */
    ptrdiff_t dx_batch, dx_time;
    void *grad;                     /* IN and OUT, grad_bytes: added to; begin with zero */
    ptrdiff_t first_row;            /* 0; where these are a segment of longer sequences, all steps
                                     * of theirs before t = 0 */
} lstmcore_sequences;

/* Layers that run along with their input, each reading the one before it. */
typedef struct lstmcore_chain {
    size_t size;
    ptrdiff_t B;
    int n_layers;
    int output;                     /* output units, LSTMCORE_OUT_... */
    int readout;                    /* LSTMCORE_READ_... */
    int read_layer;                 /* the layer that is read out, with READ_MEAN and READ_MAX */
    const lstmcore_layer **layers;  /* (n_layers,), all of one type */
    void **states;                  /* (n_layers,): state_bytes each */
    void *read;                     /* with READ_MEAN, READ_MAX: read_bytes; zero before the first
                                     * step */
    int n_columns;                  /* with OUT_MIXED: entries of `columns`; their counts add up */
    const lstmcore_columns *columns; /* to the outputs */
} lstmcore_chain;

typedef struct lstmcore_api {
    int abi_version, api_version;
    const char *isa;                /* "avx512", "avx2", "neon", "portable" */

    /* NULL if the layer can be, else what is wrong with its description. */
    const char *(*check)(const lstmcore_cell *cell);

    /* Arrange a layer's blocks, in the order of its kind. NULL if `check` complains or dtype is
     * none. */
    ptrdiff_t (*layer_bytes)(const lstmcore_cell *cell, int dtype);
    lstmcore_layer *(*prepare)(const lstmcore_cell *cell, int dtype, const void *const *blocks,
                               void *memory);

    /* The memory of B running sequences: their states and room for the next step. All bytes zero is
     * the state 0. `values` are the kind's states, (B, H) each; one that is NULL is set to 0, or is
     * not wanted. */
    ptrdiff_t (*state_bytes)(const lstmcore_layer *layer, ptrdiff_t B);
    void (*set_state)(const lstmcore_layer *layer, ptrdiff_t B, const void *const *values,
                      void *state);
    void (*get_state)(const lstmcore_layer *layer, ptrdiff_t B, const void *state,
                      void *const *values);

    /* One time step: x (B, I), or NULL and tokens (B,); IN and OUT state; OUT y (B, H) or NULL. */
    void (*step)(const lstmcore_layer *layer, ptrdiff_t B, const void *x, const ptrdiff_t *tokens,
                 void *state, void *y);

    /* Time steps of all layers: x (steps, B, I), or NULL and tokens (steps, B); OUT y (steps, B, K)
     * after the output units, K those of the last layer. */
    ptrdiff_t (*read_bytes)(const lstmcore_layer *layer, ptrdiff_t B);
    void (*chain_steps)(const lstmcore_chain *chain, ptrdiff_t steps, const void *x,
                        const ptrdiff_t *tokens, void *y);

    /* Sequences. `steps` is the number of steps of all sequences between t0 and t1. */
    ptrdiff_t (*scratch_bytes)(const lstmcore_layer *layer, ptrdiff_t B, int n_threads,
                               int training);
    ptrdiff_t (*tape_bytes)(const lstmcore_layer *layer, ptrdiff_t B, ptrdiff_t steps);
    ptrdiff_t (*grad_bytes)(const lstmcore_layer *layer);
    void (*forward)(const lstmcore_layer *layer, const lstmcore_sequences *s);
    void (*backward)(const lstmcore_layer *layer, const lstmcore_sequences *s);

    /* The gradient that `backward` has summed, as blocks like those of `prepare`; NULL: not
     * wanted. */
    void (*unpack)(const lstmcore_layer *layer, const void *grad, void *const *blocks);

    /* Output units of rows (rows, K): OUT y. */
    void (*output)(int output, int dtype, ptrdiff_t rows, ptrdiff_t K, const void *a, void *y);

    /* The same of LSTMCORE_OUT_MIXED, where K is the sum of the counts. */
    void (*output_columns)(const lstmcore_columns *columns, int n_columns, int dtype,
                           ptrdiff_t rows, ptrdiff_t K, const void *a, void *y);
} lstmcore_api;

/* Whether a table can serve code compiled with this header. */
static inline int lstmcore_compatible(const lstmcore_api *api)
{
    return api->abi_version == LSTMCORE_ABI_VERSION && api->api_version >= LSTMCORE_API_VERSION;
}

/* The layers that most networks are made of; for variants change the fields. */
static inline lstmcore_cell lstmcore_dense(ptrdiff_t inputs, ptrdiff_t units)
{
    lstmcore_cell cell;
    memset(&cell, 0, sizeof cell);
    cell.size = sizeof cell;
    cell.kind = LSTMCORE_DENSE;
    cell.inputs = inputs;
    cell.units = units;
    cell.block_size = 1;
    return cell;
}

static inline lstmcore_cell lstmcore_rnn(ptrdiff_t inputs, ptrdiff_t units)
{
    lstmcore_cell cell = lstmcore_dense(inputs, units);
    cell.kind = LSTMCORE_RNN;
    cell.act_output = LSTMCORE_TANH;
    return cell;
}

static inline lstmcore_cell lstmcore_lstm(ptrdiff_t inputs, ptrdiff_t units)
{
    lstmcore_cell cell = lstmcore_dense(inputs, units);
    cell.kind = LSTMCORE_LSTM;
    cell.input_gate = cell.forget_gate = cell.output_gate = 1;
    cell.act_gate = LSTMCORE_LOGISTIC;
    cell.act_cell = cell.act_output = LSTMCORE_TANH;
    return cell;
}

static inline lstmcore_cell lstmcore_gru(ptrdiff_t inputs, ptrdiff_t units)
{
    lstmcore_cell cell = lstmcore_dense(inputs, units);
    cell.kind = LSTMCORE_GRU;
    cell.act_gate = LSTMCORE_LOGISTIC;
    cell.act_cell = LSTMCORE_TANH;
    cell.reset_after = 1;
    return cell;
}

#define LSTMCORE_CAPSULE "lstmcore._C_API"

#ifdef Py_PYTHON_H
/* The table, or NULL with an ImportError set. Needs the GIL; the table itself does not. */
static inline const lstmcore_api *lstmcore_import(void)
{
    const lstmcore_api *api = (const lstmcore_api *)PyCapsule_Import(LSTMCORE_CAPSULE, 0);
    if (api != NULL && !lstmcore_compatible(api)) {
        PyErr_Format(PyExc_ImportError,
                     "lstmcore: compiled for ABI %d and API %d or later, got ABI %d and API %d",
                     LSTMCORE_ABI_VERSION, LSTMCORE_API_VERSION, api->abi_version,
                     api->api_version);
        return NULL;
    }
    return api;
}
#endif

#ifdef __cplusplus
}
#endif
#endif

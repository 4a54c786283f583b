/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt.
 */
/* The functions of one exported network, made from the list of its layers.
 *
 * Included last by the generated file of a network, which has included the network's own header and
 * lstmrt_float.h or lstmrt_int8.h, defined a description `layer<k>` of every layer k (of one that
 * reads both ways two, `layer<k>_forward` and `layer<k>_backward`), and says:
 *     LSTMRT_NAME(suffix)    the network's name in front of a suffix
 *     LSTMRT_INPUTS, LSTMRT_OUTPUTS
 *     LSTMRT_BODY(DO)        the layers in front of the readout, for each DO(direction, CELL, k):
 *                            DO(FORWARD, LSTM, 0) DO(FORWARD, DENSE, 1); a direction is FORWARD,
 *                            REVERSE (from the sequence's end to its beginning) or BOTH
 *     LSTMRT_HEAD(DO)        those after it, but for a Dense layer that is the last of all,
 *     LSTMRT_OUTPUT_LAYER    which stands here; not defined where another layer is the last
 *     LSTMRT_OUTPUT          the output activation
 *     LSTMRT_READOUT         what is read: LSTMRT_ALL, ..., LSTMRT_LAST_STEP, see below
 *     LSTMRT_READ            how many numbers that is
 *     LSTMRT_READ_LAYER      the last layer of the body, where not every step is read
 *     LSTMRT_READ_BOTH       1 if that one reads both ways
 *     LSTMRT_READ_SCALE      what one unit of these numbers stands for, in int8
 *     LSTMRT_WHOLE           1 if a layer reads sequences from their end: they must be whole then
 *     LSTMRT_INITIAL(DO)     where initial states are a function of features, for each of their
 *                            arrays DO(dense, member): the layer, and the array in the state
 *     LSTMRT_HALF            numbers a time step takes in the first half of the buffer, if so
 *
 * The state has, for every layer k, a member `layer<k>` with the arrays h, c and gates as far as
 * the layer has them (h of a Dense layer: its outputs), of one that reads both ways two such,
 * `forward` and `backward`; further `work`, and `read`, `sum`, `lost`, `steps`, `started` as far as
 * the readout needs them; of integers `saturated`.
 */

#define LSTMRT_ALL 0       /* every step */
#define LSTMRT_LAST 1      /* the last output, of each direction its own */
#define LSTMRT_MEAN 2      /* the mean over time */
#define LSTMRT_MAX 3       /* the maximum over time, unit by unit */
#define LSTMRT_LAST_STEP 4 /* the output at the last time step */

typedef LSTMRT_NAME(state) lstmrt_state;

/* ---- the cells ------------------------------------------------------------------------------- */

/* START: the initial state; STEP: one time step from `in`, or from `token` where that is not NULL,
 * to the array h. `layer` is the description, `part` the member of the state s. */
#define LSTMRT_START_DENSE(layer, part)
#define LSTMRT_STEP_DENSE(layer, part)                                                             \
    lstmrt_dense_step(&layer, in, token, part.h LSTMRT_SATURATED)

#define LSTMRT_START_RNN(layer, part) lstmrt_start(part.h, layer.h0, layer.units)
#define LSTMRT_STEP_RNN(layer, part)                                                               \
    lstmrt_rnn_step(&layer, in, token, part.h, s->work LSTMRT_SATURATED)

#define LSTMRT_START_LSTM(layer, part) lstmrt_lstm_start(&layer, part.h, part.c)
#define LSTMRT_STEP_LSTM(layer, part)                                                              \
    lstmrt_lstm_step(&layer, in, token, part.h, part.c, NULL, s->work LSTMRT_SATURATED)

#define LSTMRT_START_GRU(layer, part) lstmrt_start(part.h, layer.h0, layer.units)
#define LSTMRT_STEP_GRU(layer, part)                                                               \
    lstmrt_gru_step(&layer, in, token, part.h, s->work LSTMRT_SATURATED)

/* The LSTM with gate recurrence, which has the gates' activations in its state. */
#define LSTMRT_START_FGR_LSTM(layer, part)                                                         \
    LSTMRT_START_LSTM(layer, part), memset(part.gates, 0, sizeof part.gates)
#define LSTMRT_STEP_FGR_LSTM(layer, part)                                                          \
    lstmrt_lstm_step(&layer, in, token, part.h, part.c, part.gates, s->work LSTMRT_SATURATED)

/* ---- every layer k: the functions NAME_layer<k>_start, _step and _run ------------------------ */

typedef const lstmrt_signal *(*lstmrt_step)(lstmrt_state *s, const lstmrt_signal *in);

#define LSTMRT_PART(CELL, layer, part)                                                             \
    static inline void LSTMRT_NAME(layer##_start)(lstmrt_state *s)                                 \
    {                                                                                              \
        LSTMRT_START_##CELL(layer, s->part);                                                       \
        (void)s;                                                                                   \
    }                                                                                              \
    static inline const lstmrt_signal *LSTMRT_NAME(layer##_step)(lstmrt_state *s,                  \
                                                                 const lstmrt_signal *in)          \
    {                                                                                              \
        const size_t *const token = NULL;                                                          \
        LSTMRT_STEP_##CELL(layer, s->part);                                                        \
        return s->part.h;                                                                          \
    }

/* One direction of a layer over all time steps: from the rows of `from`, each of `inputs` numbers,
 * to the first `units` numbers of the rows of `to`, each of `width`. */
static inline void lstmrt_run(lstmrt_state *s, lstmrt_step step, int reverse, size_t n_steps,
                              const lstmrt_signal *from, size_t inputs, lstmrt_signal *to,
                              size_t units, size_t width)
{
    size_t t;
    for (t = 0; t < n_steps; t++) {
        const size_t at = reverse ? n_steps - 1 - t : t;
        memcpy(to + at * width, step(s, from + at * inputs), units * sizeof *to);
    }
}

#define LSTMRT_ONE_WAY(CELL, k, reverse)                                                           \
    LSTMRT_PART(CELL, layer##k, layer##k)                                                          \
    static inline void LSTMRT_NAME(layer##k##_run)(lstmrt_state *s, size_t n_steps,                \
                                                   const lstmrt_signal *from, lstmrt_signal *to)   \
    {                                                                                              \
        lstmrt_run(s, LSTMRT_NAME(layer##k##_step), reverse, n_steps, from, layer##k.inputs, to,   \
                   layer##k.units, layer##k.units);                                                \
    }
#define LSTMRT_DEFINE_FORWARD(CELL, k) LSTMRT_ONE_WAY(CELL, k, 0)
#define LSTMRT_DEFINE_REVERSE(CELL, k) LSTMRT_ONE_WAY(CELL, k, 1)
#define LSTMRT_DEFINE_BOTH(CELL, k)                                                                \
    LSTMRT_PART(CELL, layer##k##_forward, layer##k.forward)                                        \
    LSTMRT_PART(CELL, layer##k##_backward, layer##k.backward)                                      \
    static inline void LSTMRT_NAME(layer##k##_start)(lstmrt_state *s)                              \
    {                                                                                              \
        LSTMRT_NAME(layer##k##_forward_start)(s);                                                  \
        LSTMRT_NAME(layer##k##_backward_start)(s);                                                 \
    }                                                                                              \
    static inline void LSTMRT_NAME(layer##k##_run)(lstmrt_state *s, size_t n_steps,                \
                                                   const lstmrt_signal *from, lstmrt_signal *to)   \
    {                                                                                              \
        const size_t inputs = layer##k##_forward.inputs, units = layer##k##_forward.units;         \
        lstmrt_run(s, LSTMRT_NAME(layer##k##_forward_step), 0, n_steps, from, inputs, to, units,   \
                   2 * units);                                                                     \
        lstmrt_run(s, LSTMRT_NAME(layer##k##_backward_step), 1, n_steps, from, inputs, to + units, \
                   units, 2 * units);                                                              \
    }

#define LSTMRT_DEFINE(direction, CELL, k) LSTMRT_DEFINE_##direction(CELL, k)
LSTMRT_BODY(LSTMRT_DEFINE)
LSTMRT_HEAD(LSTMRT_DEFINE)

/* What the functions below do with each layer. */
#define LSTMRT_START(direction, CELL, k) LSTMRT_NAME(layer##k##_start)(s);
#define LSTMRT_STEP(direction, CELL, k) in = LSTMRT_NAME(layer##k##_step)(s, in);
#define LSTMRT_RUN(direction, CELL, k)                                                             \
    LSTMRT_NAME(layer##k##_run)(s, n_steps, from, to);                                             \
    from = to;                                                                                     \
    to = to == half[0] ? half[1] : half[0];

/* ---- the initial state ----------------------------------------------------------------------- */

#ifdef LSTMRT_INITIAL
static /* a part of reset_from */
#endif
void LSTMRT_NAME(reset)(lstmrt_state *s)
{
    LSTMRT_BODY(LSTMRT_START)
#if LSTMRT_READOUT == LSTMRT_MEAN
    memset(s->sum, 0, sizeof s->sum);
    s->steps = 0;
#if !LSTMRT_INTEGERS
    memset(s->lost, 0, sizeof s->lost);
#endif
#endif
#if LSTMRT_READOUT == LSTMRT_MAX
    memset(s->read, 0, sizeof s->read);
    s->started = 0;
#endif
#if LSTMRT_INTEGERS
    s->saturated = 0;
#endif
    (void)s;
}

#ifdef LSTMRT_INITIAL
#define LSTMRT_BEGIN(dense, member) lstmrt_dense_step(&dense, features, NULL, s->member);

void LSTMRT_NAME(reset_from)(lstmrt_state *s, const lstmrt_real *features)
{
    LSTMRT_NAME(reset)(s);
    LSTMRT_INITIAL(LSTMRT_BEGIN)
}
#endif

/* ---- the readout ----------------------------------------------------------------------------- */

/* Take in the body's outputs at a time step. */
static inline void lstmrt_collect(lstmrt_state *s, const lstmrt_signal *out)
{
#if LSTMRT_READOUT == LSTMRT_MEAN
    LSTMRT_ADD(s, out, LSTMRT_READ);
    s->steps++;
#elif LSTMRT_READOUT == LSTMRT_MAX
    lstmrt_largest(s->read, out, !s->started, LSTMRT_READ);
    s->started = 1;
#endif
    (void)s;
    (void)out;
}

#if LSTMRT_READOUT != LSTMRT_ALL
/* What the head reads after the steps so far. */
static inline const lstmrt_signal *lstmrt_read(lstmrt_state *s)
{
#if LSTMRT_READOUT == LSTMRT_MEAN
    LSTMRT_TAKE_MEAN(s, LSTMRT_READ);
    return s->read;
#elif LSTMRT_READOUT == LSTMRT_MAX
    return s->read;
#elif LSTMRT_READ_BOTH
    memcpy(s->read, s->LSTMRT_READ_LAYER.forward.h, sizeof s->LSTMRT_READ_LAYER.forward.h);
    memcpy(s->read + LSTMRT_READ / 2, s->LSTMRT_READ_LAYER.backward.h,
           sizeof s->LSTMRT_READ_LAYER.backward.h);
    return s->read;
#else
    return s->LSTMRT_READ_LAYER.h;
#endif
}
#endif

/* From what the head reads to the output pre-activations. */
static inline void lstmrt_scores(lstmrt_state *s, const lstmrt_signal *in, const size_t *token,
                                 lstmrt_real *y)
{
    LSTMRT_HEAD(LSTMRT_STEP)
#ifdef LSTMRT_OUTPUT_LAYER
    lstmrt_output_dense(&LSTMRT_OUTPUT_LAYER, in, token, y);
#else
    lstmrt_output_copy(in, LSTMRT_READ_SCALE, y, LSTMRT_OUTPUTS);
#endif
    (void)s;
    (void)token;
}

/* From what the head reads to the outputs. */
static void lstmrt_output(lstmrt_state *s, const lstmrt_signal *in, lstmrt_real *y)
{
    lstmrt_scores(s, in, NULL, y);
    lstmrt_output_units(LSTMRT_OUTPUT, y, LSTMRT_OUTPUTS);
}

#if !LSTMRT_WHOLE

/* ---- streams --------------------------------------------------------------------------------- */

#define LSTMRT_SIGNALS(s) (s)->x /* where inputs become signals */

void LSTMRT_NAME(step)(lstmrt_state *s, const lstmrt_real *x, lstmrt_real *y)
{
    const lstmrt_signal *in = LSTMRT_TAKE(s, x, 1);
    LSTMRT_BODY(LSTMRT_STEP)
    lstmrt_collect(s, in);
    if (y == NULL)
        return;
#if LSTMRT_READOUT != LSTMRT_ALL
    in = lstmrt_read(s);
#endif
    lstmrt_output(s, in, y);
}

void LSTMRT_NAME(sequence)(lstmrt_state *s, const lstmrt_real *x, size_t n_steps, lstmrt_real *y)
{
    size_t t;
    for (t = 0; t < n_steps; t++, x += LSTMRT_INPUTS) {
#if LSTMRT_READOUT == LSTMRT_ALL
        LSTMRT_NAME(step)(s, x, y);
        y += LSTMRT_OUTPUTS;
#else
        LSTMRT_NAME(step)(s, x, NULL);
#endif
    }
#if LSTMRT_READOUT != LSTMRT_ALL
    lstmrt_output(s, lstmrt_read(s), y);
#endif
}

#else

/* ---- whole sequences, layer by layer --------------------------------------------------------- */

#define LSTMRT_SIGNALS(s) half[1] /* where inputs become signals */

void LSTMRT_NAME(sequence)(lstmrt_state *s, const lstmrt_real *x, size_t n_steps, lstmrt_real *y,
                           lstmrt_signal *buffer)
{
    lstmrt_signal *const half[2] = {buffer, buffer + n_steps * LSTMRT_HALF};
    lstmrt_signal *to = half[0];
    const lstmrt_signal *from;
    size_t t;

#ifndef LSTMRT_INITIAL
    LSTMRT_NAME(reset)(s);
#endif
    from = LSTMRT_TAKE(s, x, n_steps);
    LSTMRT_BODY(LSTMRT_RUN)
    (void)to;
    for (t = 0; t < n_steps; t++, from += LSTMRT_READ) {
#if LSTMRT_READOUT == LSTMRT_ALL
        lstmrt_output(s, from, y);
        y += LSTMRT_OUTPUTS;
#else
        lstmrt_collect(s, from);
#endif
    }
#if LSTMRT_READOUT == LSTMRT_LAST_STEP
    lstmrt_output(s, n_steps ? from - LSTMRT_READ : lstmrt_read(s), y);
#elif LSTMRT_READOUT != LSTMRT_ALL
    lstmrt_output(s, lstmrt_read(s), y);
#endif
}

#endif

#if LSTMRT_OPTIMIZE
#pragma GCC pop_options
#endif

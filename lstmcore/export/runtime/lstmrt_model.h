/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 */
/* The functions of one exported network, made from its chain of layers.
 *
 * Included last by the generated file of a network, which has included the network's own header and
 * lstmrt_float.h or lstmrt_int8.h, defined a description `layer<k>` of every layer k (of a
 * bidirectional one two, `layer<k>_forward` and `layer<k>_backward`), and says:
 *     LSTMRT_NAME(suffix)    the network's name in front of a suffix
 *     LSTMRT_INPUTS, LSTMRT_OUTPUTS
 *     LSTMRT_BODY            the layers up to the last recurrent one (all but the last, where
 *                              there is none), as calls of the macros below: LSTMRT_LSTM(0) ...
 *     LSTMRT_HEAD            those behind it
 *     LSTMRT_READOUT         what the head reads: LSTMRT_ALL, LSTMRT_LAST or LSTMRT_MEAN
 *     LSTMRT_READ            how many numbers that is
 *     LSTMRT_READ_LAYER      the last layer of the body, for LSTMRT_LAST
 *     LSTMRT_READ_SCALE      what one unit of these numbers stands for, in int8
 *     LSTMRT_OUTPUT          the output activation
 *     LSTMRT_BIDIRECTIONAL   0, or 1 if a layer is bidirectional, or 2 if that is the last of the
 *                              body
 *     LSTMRT_HALF            numbers a time step takes in the buffer's first half, if not 0
 *
 * The state has, for every layer k, a member `layer<k>` with the arrays h, c and gates as far as
 * the layer has them (h of a Dense layer: its outputs), of a bidirectional layer two such,
 * `forward` and `backward`; further `work`, and `read`, `sum`, `steps` as far as the readout needs
 * them.
 */

#define LSTMRT_ALL 0
#define LSTMRT_LAST 1
#define LSTMRT_MEAN 2

/* The cells, each over one member `part` of the state: CELL(layer, part). */
#define LSTMRT_BOTH(CELL, k)                                                                       \
    CELL(layer##k##_forward, layer##k.forward) CELL(layer##k##_backward, layer##k.backward)

/* ---- reset: every layer's initial state ------------------------------------------------------ */

#define LSTMRT_START_RNN(layer, part) lstmrt_start(s->part.h, layer.h0, layer.units);
#define LSTMRT_START_LSTM(layer, part)                                                             \
    LSTMRT_START_RNN(layer, part) lstmrt_start_cells(s->part.c, layer.c0, layer.units);
#define LSTMRT_START_FGR_LSTM(layer, part)                                                         \
    LSTMRT_START_LSTM(layer, part) memset(s->part.gates, 0, sizeof s->part.gates);

#define LSTMRT_DENSE(k)
#define LSTMRT_RNN(k) LSTMRT_START_RNN(layer##k, layer##k)
#define LSTMRT_LSTM(k) LSTMRT_START_LSTM(layer##k, layer##k)
#define LSTMRT_FGR_LSTM(k) LSTMRT_START_FGR_LSTM(layer##k, layer##k)
#define LSTMRT_BIDIRECTIONAL_RNN(k) LSTMRT_BOTH(LSTMRT_START_RNN, k)
#define LSTMRT_BIDIRECTIONAL_LSTM(k) LSTMRT_BOTH(LSTMRT_START_LSTM, k)
#define LSTMRT_BIDIRECTIONAL_FGR_LSTM(k) LSTMRT_BOTH(LSTMRT_START_FGR_LSTM, k)

void LSTMRT_NAME(reset)(LSTMRT_NAME(state) *s)
{
    LSTMRT_BODY
#if LSTMRT_READOUT == LSTMRT_MEAN
    memset(s->sum, 0, sizeof s->sum);
    s->steps = 0;
#endif
    (void)s;
}

#undef LSTMRT_DENSE
#undef LSTMRT_RNN
#undef LSTMRT_LSTM
#undef LSTMRT_FGR_LSTM
#undef LSTMRT_BIDIRECTIONAL_RNN
#undef LSTMRT_BIDIRECTIONAL_LSTM
#undef LSTMRT_BIDIRECTIONAL_FGR_LSTM

/* ---- one time step, from `in` to the member h ------------------------------------------------ */

#define LSTMRT_STEP_DENSE(layer, part) lstmrt_dense_step(&layer, in, s->part.h);
#define LSTMRT_STEP_RNN(layer, part) lstmrt_rnn_step(&layer, in, s->part.h, s->work);
#define LSTMRT_STEP_LSTM(layer, part)                                                              \
    lstmrt_lstm_step(&layer, in, s->part.h, s->part.c, NULL, s->work);
#define LSTMRT_STEP_FGR_LSTM(layer, part)                                                          \
    lstmrt_lstm_step(&layer, in, s->part.h, s->part.c, s->part.gates, s->work);

/* ---- from what the head reads to the outputs ------------------------------------------------- */

#define LSTMRT_DENSE(k)                                                                            \
    LSTMRT_STEP_DENSE(layer##k, layer##k)                                                          \
    in = s->layer##k.h;
#define LSTMRT_OUTPUT_DENSE(k) lstmrt_output_dense(&layer##k, in, y);
#define LSTMRT_OUTPUT_COPY lstmrt_output_copy(in, LSTMRT_READ_SCALE, y, LSTMRT_OUTPUTS);

static void LSTMRT_NAME(output)(LSTMRT_NAME(state) *s, const lstmrt_signal *in,
                                lstmrt_real *y)
{
    (void)s;
    LSTMRT_HEAD
    lstmrt_squash(LSTMRT_OUTPUT, y, LSTMRT_OUTPUTS);
}

#if LSTMRT_READOUT != LSTMRT_ALL
/* What the head reads after the steps so far. */
LSTMRT_INLINE const lstmrt_signal *LSTMRT_NAME(read)(LSTMRT_NAME(state) *s)
{
#if LSTMRT_READOUT == LSTMRT_MEAN
    lstmrt_mean(s->sum, s->steps, s->read, LSTMRT_READ);
    return s->read;
#elif LSTMRT_BIDIRECTIONAL == 2 /* each direction's own last step */
    memcpy(s->read, s->LSTMRT_READ_LAYER.forward.h, sizeof s->LSTMRT_READ_LAYER.forward.h);
    memcpy(s->read + LSTMRT_READ / 2, s->LSTMRT_READ_LAYER.backward.h,
           sizeof s->LSTMRT_READ_LAYER.backward.h);
    return s->read;
#else
    return s->LSTMRT_READ_LAYER.h;
#endif
}
#endif

#if !LSTMRT_BIDIRECTIONAL

/* ---- streams --------------------------------------------------------------------------------- */

#define LSTMRT_RNN(k)                                                                              \
    LSTMRT_STEP_RNN(layer##k, layer##k)                                                            \
    in = s->layer##k.h;
#define LSTMRT_LSTM(k)                                                                             \
    LSTMRT_STEP_LSTM(layer##k, layer##k)                                                           \
    in = s->layer##k.h;
#define LSTMRT_FGR_LSTM(k)                                                                         \
    LSTMRT_STEP_FGR_LSTM(layer##k, layer##k)                                                       \
    in = s->layer##k.h;

void LSTMRT_NAME(step)(LSTMRT_NAME(state) *s, const lstmrt_real *x, lstmrt_real *y)
{
    const lstmrt_signal *in = LSTMRT_TAKE(s, x);
    LSTMRT_BODY
#if LSTMRT_READOUT == LSTMRT_MEAN
    lstmrt_add(s->sum, in, LSTMRT_READ);
    s->steps++;
#endif
    if (y == NULL)
        return;
#if LSTMRT_READOUT != LSTMRT_ALL
    in = LSTMRT_NAME(read)(s);
#endif
    LSTMRT_NAME(output)(s, in, y);
}

void LSTMRT_NAME(sequence)(LSTMRT_NAME(state) *s, const lstmrt_real *x, size_t n_steps,
                           lstmrt_real *y)
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
    LSTMRT_NAME(output)(s, LSTMRT_NAME(read)(s), y);
#endif
}

#else

/* ---- whole sequences, layer by layer --------------------------------------------------------- */

/* All steps of one direction of a layer: from the sequence `from` to `column` and what follows it
 * in the rows, `width` long, of the sequence `to`. */
#define LSTMRT_RUN(CELL, layer, part, backwards, column, width)                                    \
    for (t = 0; t < n_steps; t++) {                                                                \
        const size_t at = backwards ? n_steps - 1 - t : t;                                         \
        const lstmrt_signal *in = from + at * layer.inputs;                                        \
        CELL(layer, part)                                                                          \
        memcpy(to + at * (width) + (column), s->part.h, sizeof s->part.h);                         \
    }
#define LSTMRT_NEXT                                                                                \
    from = to;                                                                                     \
    to = to == half[0] ? half[1] : half[0];
#define LSTMRT_ONE_WAY(CELL, k)                                                                    \
    LSTMRT_RUN(CELL, layer##k, layer##k, 0, 0, layer##k.units)                                     \
    LSTMRT_NEXT
#define LSTMRT_TWO_WAYS(CELL, k)                                                                   \
    LSTMRT_RUN(CELL, layer##k##_forward, layer##k.forward, 0, 0, 2 * layer##k##_forward.units)     \
    LSTMRT_RUN(CELL, layer##k##_backward, layer##k.backward, 1, layer##k##_forward.units,          \
               2 * layer##k##_forward.units)                                                       \
    LSTMRT_NEXT

#undef LSTMRT_DENSE
#define LSTMRT_DENSE(k) LSTMRT_ONE_WAY(LSTMRT_STEP_DENSE, k)
#define LSTMRT_RNN(k) LSTMRT_ONE_WAY(LSTMRT_STEP_RNN, k)
#define LSTMRT_LSTM(k) LSTMRT_ONE_WAY(LSTMRT_STEP_LSTM, k)
#define LSTMRT_FGR_LSTM(k) LSTMRT_ONE_WAY(LSTMRT_STEP_FGR_LSTM, k)
#define LSTMRT_BIDIRECTIONAL_RNN(k) LSTMRT_TWO_WAYS(LSTMRT_STEP_RNN, k)
#define LSTMRT_BIDIRECTIONAL_LSTM(k) LSTMRT_TWO_WAYS(LSTMRT_STEP_LSTM, k)
#define LSTMRT_BIDIRECTIONAL_FGR_LSTM(k) LSTMRT_TWO_WAYS(LSTMRT_STEP_FGR_LSTM, k)

void LSTMRT_NAME(sequence)(LSTMRT_NAME(state) *s, const lstmrt_real *x, size_t n_steps,
                           lstmrt_real *y, lstmrt_signal *buffer)
{
    lstmrt_signal *const half[2] = {buffer, buffer + n_steps * LSTMRT_HALF};
    lstmrt_signal *to = half[0];
    const lstmrt_signal *from = LSTMRT_TAKE_ALL(s, x, n_steps, half[1]);
    size_t t;

    LSTMRT_NAME(reset)(s);
    LSTMRT_BODY
    (void)to;
#if LSTMRT_READOUT == LSTMRT_ALL
    for (t = 0; t < n_steps; t++)
        LSTMRT_NAME(output)(s, from + t * LSTMRT_READ, y + t * LSTMRT_OUTPUTS);
#else
#if LSTMRT_READOUT == LSTMRT_MEAN
    for (t = 0; t < n_steps; t++, s->steps++)
        lstmrt_add(s->sum, from + t * LSTMRT_READ, LSTMRT_READ);
#else
    (void)from;
#endif
    LSTMRT_NAME(output)(s, LSTMRT_NAME(read)(s), y);
#endif
}

#endif

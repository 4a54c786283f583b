/* SPDX-License-Identifier: BSD-3-Clause */
/* The functions of one exported network, made from its chain of layers.
 *
 * Included last by the generated file of a network, which has included the network's own header and
 * lstmcore_float.h or lstmcore_int8.h, defined a description `layer<k>` of every layer k (of a
 * bidirectional one two, `layer<k>_forward` and `layer<k>_backward`), and says:
 *     LSTMCORE_NAME(suffix)    the network's name in front of a suffix
 *     LSTMCORE_INPUTS, LSTMCORE_OUTPUTS
 *     LSTMCORE_BODY            the layers up to the last recurrent one (all but the last, where
 *                              there is none), as calls of the macros below: LSTMCORE_LSTM(0) ...
 *     LSTMCORE_HEAD            those behind it
 *     LSTMCORE_READOUT         what the head reads: LSTMCORE_ALL, LSTMCORE_LAST or LSTMCORE_MEAN
 *     LSTMCORE_READ            how many numbers that is
 *     LSTMCORE_READ_LAYER      the last layer of the body, for LSTMCORE_LAST
 *     LSTMCORE_READ_SCALE      what one unit of these numbers stands for, in int8
 *     LSTMCORE_OUTPUT          the output activation
 *     LSTMCORE_BIDIRECTIONAL   0, or 1 if a layer is bidirectional, or 2 if that is the last of the
 *                              body
 *     LSTMCORE_HALF            numbers a time step takes in the buffer's first half, if not 0
 *
 * The state has, for every layer k, a member `layer<k>` with the arrays h, c and gates as far as
 * the layer has them (h of a Dense layer: its outputs), of a bidirectional layer two such,
 * `forward` and `backward`; further `work`, and `read`, `sum`, `steps` as far as the readout needs
 * them.
 */

#define LSTMCORE_ALL 0
#define LSTMCORE_LAST 1
#define LSTMCORE_MEAN 2

/* The cells, each over one member `part` of the state: CELL(layer, part). */
#define LSTMCORE_BOTH(CELL, k)                                                                     \
    CELL(layer##k##_forward, layer##k.forward) CELL(layer##k##_backward, layer##k.backward)

/* ---- reset: every layer's initial state ------------------------------------------------------ */

#define LSTMCORE_START_RNN(layer, part) lstmcore_start(s->part.h, layer.h0, layer.units);
#define LSTMCORE_START_LSTM(layer, part)                                                           \
    LSTMCORE_START_RNN(layer, part) lstmcore_start_cells(s->part.c, layer.c0, layer.units);
#define LSTMCORE_START_FGR_LSTM(layer, part)                                                       \
    LSTMCORE_START_LSTM(layer, part) memset(s->part.gates, 0, sizeof s->part.gates);

#define LSTMCORE_DENSE(k)
#define LSTMCORE_RNN(k) LSTMCORE_START_RNN(layer##k, layer##k)
#define LSTMCORE_LSTM(k) LSTMCORE_START_LSTM(layer##k, layer##k)
#define LSTMCORE_FGR_LSTM(k) LSTMCORE_START_FGR_LSTM(layer##k, layer##k)
#define LSTMCORE_BIDIRECTIONAL_RNN(k) LSTMCORE_BOTH(LSTMCORE_START_RNN, k)
#define LSTMCORE_BIDIRECTIONAL_LSTM(k) LSTMCORE_BOTH(LSTMCORE_START_LSTM, k)
#define LSTMCORE_BIDIRECTIONAL_FGR_LSTM(k) LSTMCORE_BOTH(LSTMCORE_START_FGR_LSTM, k)

void LSTMCORE_NAME(reset)(LSTMCORE_NAME(state) *s)
{
    LSTMCORE_BODY
#if LSTMCORE_READOUT == LSTMCORE_MEAN
    memset(s->sum, 0, sizeof s->sum);
    s->steps = 0;
#endif
    (void)s;
}

#undef LSTMCORE_DENSE
#undef LSTMCORE_RNN
#undef LSTMCORE_LSTM
#undef LSTMCORE_FGR_LSTM
#undef LSTMCORE_BIDIRECTIONAL_RNN
#undef LSTMCORE_BIDIRECTIONAL_LSTM
#undef LSTMCORE_BIDIRECTIONAL_FGR_LSTM

/* ---- one time step, from `in` to the member h ------------------------------------------------ */

#define LSTMCORE_STEP_DENSE(layer, part) lstmcore_dense_step(&layer, in, s->part.h);
#define LSTMCORE_STEP_RNN(layer, part) lstmcore_rnn_step(&layer, in, s->part.h, s->work);
#define LSTMCORE_STEP_LSTM(layer, part)                                                            \
    lstmcore_lstm_step(&layer, in, s->part.h, s->part.c, NULL, s->work);
#define LSTMCORE_STEP_FGR_LSTM(layer, part)                                                        \
    lstmcore_lstm_step(&layer, in, s->part.h, s->part.c, s->part.gates, s->work);

/* ---- from what the head reads to the outputs ------------------------------------------------- */

#define LSTMCORE_DENSE(k)                                                                          \
    LSTMCORE_STEP_DENSE(layer##k, layer##k)                                                        \
    in = s->layer##k.h;
#define LSTMCORE_OUTPUT_DENSE(k) lstmcore_output_dense(&layer##k, in, y);
#define LSTMCORE_OUTPUT_COPY lstmcore_output_copy(in, LSTMCORE_READ_SCALE, y, LSTMCORE_OUTPUTS);

static void LSTMCORE_NAME(output)(LSTMCORE_NAME(state) *s, const lstmcore_signal *in,
                                  lstmcore_real *y)
{
    (void)s;
    LSTMCORE_HEAD
    lstmcore_squash(LSTMCORE_OUTPUT, y, LSTMCORE_OUTPUTS);
}

#if LSTMCORE_READOUT != LSTMCORE_ALL
/* What the head reads after the steps so far. */
LSTMCORE_INLINE const lstmcore_signal *LSTMCORE_NAME(read)(LSTMCORE_NAME(state) *s)
{
#if LSTMCORE_READOUT == LSTMCORE_MEAN
    lstmcore_mean(s->sum, s->steps, s->read, LSTMCORE_READ);
    return s->read;
#elif LSTMCORE_BIDIRECTIONAL == 2 /* each direction's own last step */
    memcpy(s->read, s->LSTMCORE_READ_LAYER.forward.h, sizeof s->LSTMCORE_READ_LAYER.forward.h);
    memcpy(s->read + LSTMCORE_READ / 2, s->LSTMCORE_READ_LAYER.backward.h,
           sizeof s->LSTMCORE_READ_LAYER.backward.h);
    return s->read;
#else
    return s->LSTMCORE_READ_LAYER.h;
#endif
}
#endif

#if !LSTMCORE_BIDIRECTIONAL

/* ---- streams --------------------------------------------------------------------------------- */

#define LSTMCORE_RNN(k)                                                                            \
    LSTMCORE_STEP_RNN(layer##k, layer##k)                                                          \
    in = s->layer##k.h;
#define LSTMCORE_LSTM(k)                                                                           \
    LSTMCORE_STEP_LSTM(layer##k, layer##k)                                                         \
    in = s->layer##k.h;
#define LSTMCORE_FGR_LSTM(k)                                                                       \
    LSTMCORE_STEP_FGR_LSTM(layer##k, layer##k)                                                     \
    in = s->layer##k.h;

void LSTMCORE_NAME(step)(LSTMCORE_NAME(state) *s, const lstmcore_real *x, lstmcore_real *y)
{
    const lstmcore_signal *in = LSTMCORE_TAKE(s, x);
    LSTMCORE_BODY
#if LSTMCORE_READOUT == LSTMCORE_MEAN
    lstmcore_add(s->sum, in, LSTMCORE_READ);
    s->steps++;
#endif
    if (y == NULL)
        return;
#if LSTMCORE_READOUT != LSTMCORE_ALL
    in = LSTMCORE_NAME(read)(s);
#endif
    LSTMCORE_NAME(output)(s, in, y);
}

void LSTMCORE_NAME(sequence)(LSTMCORE_NAME(state) *s, const lstmcore_real *x, size_t n_steps,
                             lstmcore_real *y)
{
    size_t t;
    for (t = 0; t < n_steps; t++, x += LSTMCORE_INPUTS) {
#if LSTMCORE_READOUT == LSTMCORE_ALL
        LSTMCORE_NAME(step)(s, x, y);
        y += LSTMCORE_OUTPUTS;
#else
        LSTMCORE_NAME(step)(s, x, NULL);
#endif
    }
#if LSTMCORE_READOUT != LSTMCORE_ALL
    LSTMCORE_NAME(output)(s, LSTMCORE_NAME(read)(s), y);
#endif
}

#else

/* ---- whole sequences, layer by layer --------------------------------------------------------- */

/* All steps of one direction of a layer: from the sequence `from` to `column` and what follows it
 * in the rows, `width` long, of the sequence `to`. */
#define LSTMCORE_RUN(CELL, layer, part, backwards, column, width)                                  \
    for (t = 0; t < n_steps; t++) {                                                                \
        const size_t at = backwards ? n_steps - 1 - t : t;                                         \
        const lstmcore_signal *in = from + at * layer.inputs;                                      \
        CELL(layer, part)                                                                          \
        memcpy(to + at * (width) + (column), s->part.h, sizeof s->part.h);                         \
    }
#define LSTMCORE_NEXT                                                                              \
    from = to;                                                                                     \
    to = to == half[0] ? half[1] : half[0];
#define LSTMCORE_ONE_WAY(CELL, k)                                                                  \
    LSTMCORE_RUN(CELL, layer##k, layer##k, 0, 0, layer##k.units)                                   \
    LSTMCORE_NEXT
#define LSTMCORE_TWO_WAYS(CELL, k)                                                                 \
    LSTMCORE_RUN(CELL, layer##k##_forward, layer##k.forward, 0, 0, 2 * layer##k##_forward.units)   \
    LSTMCORE_RUN(CELL, layer##k##_backward, layer##k.backward, 1, layer##k##_forward.units,        \
                 2 * layer##k##_forward.units)                                                     \
    LSTMCORE_NEXT

#undef LSTMCORE_DENSE
#define LSTMCORE_DENSE(k) LSTMCORE_ONE_WAY(LSTMCORE_STEP_DENSE, k)
#define LSTMCORE_RNN(k) LSTMCORE_ONE_WAY(LSTMCORE_STEP_RNN, k)
#define LSTMCORE_LSTM(k) LSTMCORE_ONE_WAY(LSTMCORE_STEP_LSTM, k)
#define LSTMCORE_FGR_LSTM(k) LSTMCORE_ONE_WAY(LSTMCORE_STEP_FGR_LSTM, k)
#define LSTMCORE_BIDIRECTIONAL_RNN(k) LSTMCORE_TWO_WAYS(LSTMCORE_STEP_RNN, k)
#define LSTMCORE_BIDIRECTIONAL_LSTM(k) LSTMCORE_TWO_WAYS(LSTMCORE_STEP_LSTM, k)
#define LSTMCORE_BIDIRECTIONAL_FGR_LSTM(k) LSTMCORE_TWO_WAYS(LSTMCORE_STEP_FGR_LSTM, k)

void LSTMCORE_NAME(sequence)(LSTMCORE_NAME(state) *s, const lstmcore_real *x, size_t n_steps,
                             lstmcore_real *y, lstmcore_signal *buffer)
{
    lstmcore_signal *const half[2] = {buffer, buffer + n_steps * LSTMCORE_HALF};
    lstmcore_signal *to = half[0];
    const lstmcore_signal *from = LSTMCORE_TAKE_ALL(s, x, n_steps, half[1]);
    size_t t;

    LSTMCORE_NAME(reset)(s);
    LSTMCORE_BODY
    (void)to;
#if LSTMCORE_READOUT == LSTMCORE_ALL
    for (t = 0; t < n_steps; t++)
        LSTMCORE_NAME(output)(s, from + t * LSTMCORE_READ, y + t * LSTMCORE_OUTPUTS);
#else
#if LSTMCORE_READOUT == LSTMCORE_MEAN
    for (t = 0; t < n_steps; t++, s->steps++)
        lstmcore_add(s->sum, from + t * LSTMCORE_READ, LSTMCORE_READ);
#else
    (void)from;
#endif
    LSTMCORE_NAME(output)(s, LSTMCORE_NAME(read)(s), y);
#endif
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt.
 */
/* Layers of an exported network in integers: one time step of one sequence.
 *
 * Weights are int8 with one scale a row, signals between layers int16, sums int32. A number v with
 * n fractional bits is the integer v 2^n. Every pre-activation has LSTMRT_A_BITS of them; an
 * activation's value has those of its description, 30 where it stays within [-1, 1]; h, c and the
 * peepholes have those of the layer's, chosen by calibration so that the integers do not overflow.
 * What could leave its range on other inputs than those of the calibration saturates, and sets
 * `saturated` in the state, which only a reset clears; a cell state does so at half its range.
 *
 * Sums cannot overflow: the exporter has made sure that 2^15 times the absolute weights of a row,
 * its bias added, stay below 2^31. An int64 shifted to the right keeps its sign (every compiler of
 * this century does so; C99 leaves it to them).
 *
 * Equation numbers as in lstmrt_float.h; LSTM rows stand in the order i, f, o, g, GRU rows in the
 * order r, z, n.
 */
#ifndef LSTMRT_INT8_H
#define LSTMRT_INT8_H

#define LSTMRT_INTEGERS 1
#include "lstmrt_math.h"

#define LSTMRT_A_BITS 16

typedef int16_t lstmrt_signal; /* what layers hand to each other */

/* Weights in tiles of four rows, then rows alone. Of a tile: four columns after four columns of the
 * inputs, row after row, within a row the columns in the order 0, 2, 1, 3 (an instruction that
 * widens every other byte then gives neighbours); the columns that are left, one after the other;
 * the same of the recurrent columns. */
typedef struct {
    size_t rows, inputs, recurrent;
    int input_shift;             /* sums over the inputs are worth 2^input_shift as much */
    int shift;                   /* a = sum * multiplier / 2^shift */
    const int8_t *weights;
    const int32_t *biases;
    const uint16_t *multipliers;
} lstmrt_matrix;

typedef struct {
    lstmrt_activation function;
    int bits;                    /* fractional bits of its value */
} lstmrt_unit;

typedef struct {
    size_t inputs, units;
    lstmrt_unit output;
    int h_bits;                  /* of the last layer: of its pre-activation */
    lstmrt_matrix matrix;
} lstmrt_dense;

typedef struct {
    size_t inputs, units;
    lstmrt_unit output;
    int h_bits;
    lstmrt_matrix matrix;
    const int16_t *h0;           /* (H) or NULL for zeros */
} lstmrt_rnn;

typedef struct {
    size_t inputs, units;
    size_t block_size;                        /* cells that share their gates */
    int input_gate, forget_gate, output_gate; /* whether there is one with weights of its own */
    int coupled;                              /* forget gate = 1 - input gate */
    int output_peephole;                      /* LSTMRT_PEEP_... */
    lstmrt_unit gate, cell, output;
    int h_bits, c_bits, p_bits, gates_bits;
    lstmrt_matrix matrix;
    lstmrt_matrix gate_recurrence;            /* own gates x own gates, or without rows */
    const int16_t *peepholes;                 /* (own gates, H), or NULL; with PEEP_NONE none of the
                                               * output gate */
    const int16_t *h0;                        /* (H) or NULL for zeros */
    const int32_t *c0;
} lstmrt_lstm;

typedef struct {
    size_t inputs, units;
    lstmrt_unit gate, cell;
    int h_bits;
    lstmrt_matrix matrix;        /* rows of r, then of z */
    lstmrt_matrix candidate;     /* rows of n, over x, or over x and r h */
    lstmrt_matrix recurrence;    /* of n over h, with the reset after it; else without rows */
    const int16_t *h0;           /* (H) or NULL for zeros */
} lstmrt_gru;

/* ---- fixed-point numbers --------------------------------------------------------------------- */

LSTMRT_INLINE int32_t lstmrt_int32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : v < -INT32_MAX ? -INT32_MAX : (int32_t)v;
}

/* v within 30 bits and a sign, which is what activations take */
LSTMRT_INLINE int32_t lstmrt_below_30(int32_t v)
{
    const int32_t most = INT32_MAX / 2;
    v = v > most ? most : v;
    return v < -most ? -most : v;
}

/* v / 2^shift, rounded, saturated; shift > 0 */
LSTMRT_INLINE int16_t lstmrt_int16(int32_t v, int shift)
{
    v = ((v >> (shift - 1)) + 1) >> 1;
    v = v > INT16_MAX ? INT16_MAX : v;
    v = v < INT16_MIN ? INT16_MIN : v;
    return (int16_t)v;
}

/* The same of a product */
LSTMRT_INLINE int16_t lstmrt_int16_product(int32_t a, int32_t b, int shift)
{
    const int64_t v = (int64_t)a * b;
    return shift > 32 ? lstmrt_int16((int32_t)(v >> 32), shift - 32)
                      : lstmrt_int16(lstmrt_int32(v >> (shift - 2)), 2);
}

/* v * 2^(to - from), down or up */
LSTMRT_INLINE int32_t lstmrt_rescaled(int32_t v, int from, int to)
{
    return from >= to ? v >> (from - to) : lstmrt_int32((int64_t)v * ((int64_t)1 << (to - from)));
}

LSTMRT_INLINE uint32_t lstmrt_high(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a * b) >> 32);
}

/* The integer nearest to v, |v| < 2^31 */
LSTMRT_INLINE int32_t lstmrt_nearest(lstmrt_real v)
{
    return (int32_t)(v + LSTMRT_COPYSIGN(LSTMRT_R(0.5), v));
}

LSTMRT_INLINE int32_t lstmrt_rounded(lstmrt_real v)
{
    v = v < LSTMRT_R(-2147483520.0) ? LSTMRT_R(-2147483520.0) : v;
    v = v < LSTMRT_R(2147483520.0) ? v : LSTMRT_R(2147483520.0); /* a NaN too */
    return lstmrt_nearest(v);
}

/* 2^n for n from -126 to 127 */
LSTMRT_INLINE lstmrt_real lstmrt_power(int n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    lstmrt_real power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* The smaller of v and 16 less one bit; v < 2^31 */
LSTMRT_INLINE uint32_t lstmrt_below_16(uint32_t v)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_SAT)
    __asm__("usat %0, #20, %0" : "+r"(v));
    return v;
#else
    return v < UINT32_C(16) << LSTMRT_A_BITS ? v : (UINT32_C(16) << LSTMRT_A_BITS) - 1u;
#endif
}

#define LSTMRT_ONE_30 (UINT32_C(1) << 30) /* 1 with 30 bits */

/* 1 / (1 + e^-v), 30 bits, v >= 0 with LSTMRT_A_BITS; the error is below 2^-18. */
LSTMRT_INLINE uint32_t lstmrt_upper_half(uint32_t v)
{
    uint32_t t, f, p, d, r;
    t = lstmrt_high(lstmrt_below_16(v) << 11, UINT32_C(1549082005)); /* v / ln 2, 25 bits */
    f = t << 7;                               /* its fraction, 32 bits */
    p = UINT32_C(114623013) - lstmrt_high(UINT32_C(14838268), f);
    p = UINT32_C(514423333) - lstmrt_high(p, f);
    p = UINT32_C(1488375884) - lstmrt_high(p, f);
    p = UINT32_C(2147483648) - lstmrt_high(p, f); /* 2^-f, 31 bits, to 2.1e-6 */
    d = LSTMRT_ONE_30 + (p >> ((t >> 25) + 1u));  /* 1 + e^-v, 30 bits */
    r = (UINT32_MAX / (d >> 14)) << 15;           /* 1 / d, 31 bits of which 16 are right */
    return lstmrt_high(r, LSTMRT_ONE_30 - lstmrt_high(d, r)) << 2; /* Newton: r (2 - d r) */
}

/* tanh(v/2), 30 bits, v with LSTMRT_A_BITS */
LSTMRT_INLINE int32_t lstmrt_tanh_of_half(int32_t v, uint32_t magnitude)
{
    int32_t t = (int32_t)((lstmrt_upper_half(magnitude) << 1) - LSTMRT_ONE_30);
    return v < 0 ? -t : t;
}

LSTMRT_NOINLINE void lstmrt_int_tanh_each(int32_t *v, size_t n)
{
    int32_t *const end = v + n;
    for (; v != end; v++)
        *v = lstmrt_tanh_of_half(*v, (uint32_t)(*v < 0 ? -*v : *v) << 1);
}

LSTMRT_NOINLINE void lstmrt_int_logistic_each(int32_t *v, size_t n)
{
    int32_t *const end = v + n;
    for (; v != end; v++) {
        const uint32_t r = lstmrt_upper_half((uint32_t)(*v < 0 ? -*v : *v));
        *v = (int32_t)(*v < 0 ? LSTMRT_ONE_30 - r : r);
    }
}

/* Whether the value of an activation stays within [-1, 1], which every signal can hold */
LSTMRT_INLINE int lstmrt_within_1(lstmrt_unit unit)
{
    const int code = unit.function.code;
    return code == LSTMRT_LOGISTIC || code == LSTMRT_TANH || code == LSTMRT_LOGISTIC_1 ||
           code == LSTMRT_SOFTSIGN || code == LSTMRT_HARD_SIGMOID;
}

/* Set *saturated if one of these signals is the largest or the smallest that there is. */
LSTMRT_INLINE void lstmrt_watch(const int16_t *h, size_t n, uint8_t *saturated)
{
    size_t j;
    for (j = 0; j < n; j++)
        if (h[j] == INT16_MAX || h[j] == INT16_MIN)
            *saturated = 1;
}

/* v[j] = f(v[j]); the layer's pre-activations in, unit.bits out */
LSTMRT_INLINE void lstmrt_activate_int(lstmrt_unit unit, int32_t *v, size_t n)
{
    size_t j;
    switch (unit.function.code) {
    case LSTMRT_IDENTITY:
        break;
    case LSTMRT_LOGISTIC:
        lstmrt_int_logistic_each(v, n);
        break;
    case LSTMRT_TANH:
        lstmrt_int_tanh_each(v, n);
        break;
    case LSTMRT_LOGISTIC_1: /* 2/(1 + e^-x) - 1 = tanh(x/2) */
    case LSTMRT_LOGISTIC_2: /* twice that, with one bit less */
        for (j = 0; j < n; j++)
            v[j] = lstmrt_tanh_of_half(v[j], (uint32_t)(v[j] < 0 ? -v[j] : v[j]));
        break;
    case LSTMRT_RELU:
        for (j = 0; j < n; j++)
            v[j] = v[j] < 0 ? 0 : v[j];
        break;
    default: /* the rare ones in float */
        for (j = 0; j < n; j++)
            v[j] = lstmrt_rounded(
                lstmrt_activated(unit.function,
                                 (lstmrt_real)v[j] * lstmrt_power(-LSTMRT_A_BITS)) *
                lstmrt_power(unit.bits));
    }
}

/* ---- products ------------------------------------------------------------------------------- */

#if defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN)
#define LSTMRT_DSP 1

LSTMRT_INLINE uint32_t lstmrt_word(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* sum + the four products of the weights at w with the four signals in x01 and x23 */
LSTMRT_INLINE int32_t lstmrt_four(const int8_t *w, uint32_t x01, uint32_t x23, int32_t sum)
{
    uint32_t weights = lstmrt_word(w), w01, w23;
    __asm__("sxtb16 %0, %1" : "=r"(w01) : "r"(weights));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(w23) : "r"(weights));
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(w01), "r"(x01));
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(w23), "r"(x23));
    return sum;
}
#else
#define LSTMRT_DSP 0

LSTMRT_INLINE int32_t lstmrt_four(const int8_t *w, const int16_t *x, int32_t sum)
{
    return sum + (int32_t)w[0] * x[0] + (int32_t)w[1] * x[2] + (int32_t)w[2] * x[1] +
           (int32_t)w[3] * x[3];
}
#endif

/* Four sums, of which a tile of one row uses the first. */
typedef struct {
    int32_t s0, s1, s2, s3;
} lstmrt_sums;

/* sums += W x over n columns of a tile of four rows, or of one; returns where the next begin */
LSTMRT_INLINE const int8_t *lstmrt_columns(int tile, const int8_t *w, const int16_t *x,
                                           size_t n, lstmrt_sums *sums)
{
    lstmrt_sums s = *sums;
    const int16_t *const fours = x + n / 4 * 4, *const end = x + n;
    while (x != fours) {
#if LSTMRT_DSP
        const uint32_t x01 = lstmrt_word(x), x23 = lstmrt_word(x + 2);
#define LSTMRT_FOUR(w, sum) lstmrt_four(w, x01, x23, sum)
#else
#define LSTMRT_FOUR(w, sum) lstmrt_four(w, x, sum)
#endif
        s.s0 = LSTMRT_FOUR(w, s.s0);
        if (tile == 4) {
            s.s1 = LSTMRT_FOUR(w + 4, s.s1);
            s.s2 = LSTMRT_FOUR(w + 8, s.s2);
            s.s3 = LSTMRT_FOUR(w + 12, s.s3);
        }
#undef LSTMRT_FOUR
        w += 4 * tile;
        x += 4;
    }
    while (x != end) {
        const int32_t signal = *x;
        s.s0 += w[0] * signal;
        if (tile == 4) {
            s.s1 += w[1] * signal;
            s.s2 += w[2] * signal;
            s.s3 += w[3] * signal;
        }
        w += tile;
        x++;
    }
    *sums = s;
    return w;
}

/* sums += x times column `token` of W, in the place of n columns; returns where the next begin */
LSTMRT_INLINE const int8_t *lstmrt_column(int tile, const int8_t *w, int16_t x, size_t token,
                                          size_t n, lstmrt_sums *sums)
{
    const size_t place = token % 4 == 1 ? 2 : token % 4 == 2 ? 1 : token % 4;
    const int in_four = token < n / 4 * 4;
    const size_t next = in_four ? 4 : 1; /* from a row to the next */
    const size_t at = (size_t)tile * (in_four ? token - token % 4 : token) + (in_four ? place : 0);
    sums->s0 += w[at] * x;
    if (tile == 4) {
        sums->s1 += w[at + next] * x;
        sums->s2 += w[at + 2 * next] * x;
        sums->s3 += w[at + 3 * next] * x;
    }
    return w + (size_t)tile * n;
}

/* a[0 ... tile-1] = the pre-activations of the rows from `row` on, or added to what is there */
LSTMRT_INLINE const int8_t *lstmrt_rows(const lstmrt_matrix *m, int tile, size_t row,
                                        const int8_t *w, const int16_t *x, const size_t *token,
                                        const int16_t *h, int add, int32_t *a)
{
    const int32_t unit = (int32_t)1 << m->input_shift, *b = m->biases + row;
    const uint16_t *multiplier = m->multipliers + row;
    lstmrt_sums s = {0, 0, 0, 0};
    w = token == NULL ? lstmrt_columns(tile, w, x, m->inputs, &s)
                      : lstmrt_column(tile, w, *x, *token, m->inputs, &s);
#define LSTMRT_START(k, sum) sum = sum * unit + b[k]
    LSTMRT_START(0, s.s0);
    if (tile == 4) {
        LSTMRT_START(1, s.s1);
        LSTMRT_START(2, s.s2);
        LSTMRT_START(3, s.s3);
    }
#undef LSTMRT_START
    w = lstmrt_columns(tile, w, h, m->recurrent, &s);
#define LSTMRT_END(k, sum)                                                                         \
    a[k] = (int32_t)(((int64_t)sum * multiplier[k]) >> m->shift) + (add ? a[k] : 0)
    LSTMRT_END(0, s.s0);
    if (tile == 4) {
        LSTMRT_END(1, s.s1);
        LSTMRT_END(2, s.s2);
        LSTMRT_END(3, s.s3);
    }
#undef LSTMRT_END
    return w;
}

/* a (G) = W x + R h + b, or added to a. With a token, x is the one signal of its one-hot vector
 * that is not 0. Whether there is a token is in the code of a call, so that the other way takes no
 * flash. */
LSTMRT_INLINE void lstmrt_affine(const lstmrt_matrix *m, const int16_t *x, const size_t *token,
                                 const int16_t *h, int add, int32_t *a)
{
    const size_t fours = m->rows / 4 * 4;
    const int8_t *w = m->weights;
    size_t row;
    for (row = 0; row != fours; row += 4)
        w = lstmrt_rows(m, 4, row, w, x, token, h, add, a + row);
    for (; row != m->rows; row++)
        w = lstmrt_rows(m, 1, row, w, x, token, h, add, a + row);
}

/* ---- layers --------------------------------------------------------------------------------- */

LSTMRT_INLINE void lstmrt_start(int16_t *h, const int16_t *start, size_t n)
{
    if (start)
        memcpy(h, start, n * sizeof *h);
    else
        memset(h, 0, n * sizeof *h);
}

LSTMRT_INLINE void lstmrt_start_cells(int32_t *c, const int32_t *start, size_t n)
{
    if (start)
        memcpy(c, start, n * sizeof *c);
    else
        memset(c, 0, n * sizeof *c);
}

/* h (K) = f(W x + b), (3.32), a tile of rows at a time */
LSTMRT_INLINE void lstmrt_dense_step(const lstmrt_dense *layer, const int16_t *x,
                                     const size_t *token, int16_t *h, uint8_t *saturated)
{
    const lstmrt_matrix *m = &layer->matrix;
    const int8_t *w = m->weights;
    size_t row, tile, j;
    for (row = 0; row < m->rows; row += tile) {
        int32_t a[4];
        tile = m->rows - row < 4 ? 1 : 4;
        w = tile == 4 ? lstmrt_rows(m, 4, row, w, x, token, x, 0, a)
                      : lstmrt_rows(m, 1, row, w, x, token, x, 0, a);
        lstmrt_activate_int(layer->output, a, tile);
        for (j = 0; j < tile; j++)
            h[row + j] = lstmrt_int16(a[j], layer->output.bits - layer->h_bits);
    }
    if (!lstmrt_within_1(layer->output))
        lstmrt_watch(h, m->rows, saturated);
}

/* The network's last layer: y (K) in float */
LSTMRT_INLINE void lstmrt_output_dense(const lstmrt_dense *layer, const int16_t *x,
                                       const size_t *token, lstmrt_real *y)
{
    const lstmrt_matrix *m = &layer->matrix;
    const int8_t *w = m->weights;
    size_t row, tile, j;
    for (row = 0; row < m->rows; row += tile) {
        int32_t a[4];
        tile = m->rows - row < 4 ? 1 : 4;
        w = tile == 4 ? lstmrt_rows(m, 4, row, w, x, token, x, 0, a)
                      : lstmrt_rows(m, 1, row, w, x, token, x, 0, a);
        for (j = 0; j < tile; j++)
            y[row + j] = lstmrt_activated(layer->output.function,
                                          (lstmrt_real)a[j] * lstmrt_power(-layer->h_bits));
    }
}

/* h (H) is read and overwritten; a (H) is scratch. (3.30), (3.31) */
LSTMRT_INLINE void lstmrt_rnn_step(const lstmrt_rnn *layer, const int16_t *x,
                                   const size_t *token, int16_t *h, int32_t *a,
                                   uint8_t *saturated)
{
    size_t j;
    lstmrt_affine(&layer->matrix, x, token, h, 0, a);
    lstmrt_activate_int(layer->output, a, layer->units);
    for (j = 0; j < layer->units; j++)
        h[j] = lstmrt_int16(a[j], layer->output.bits - layer->h_bits);
    if (!lstmrt_within_1(layer->output))
        lstmrt_watch(h, layer->units, saturated);
}

LSTMRT_INLINE void lstmrt_lstm_start(const lstmrt_lstm *layer, int16_t *h, int32_t *c)
{
    lstmrt_start(h, layer->h0, layer->units);
    lstmrt_start_cells(c, layer->c0, layer->units);
}

/* gate[b] += sum over the cells of block b of p[cell] c[cell] */
LSTMRT_INLINE void lstmrt_peephole(const lstmrt_lstm *layer, int32_t *gate, const int16_t *p,
                                   const int32_t *c)
{
    const int shift = layer->p_bits + layer->c_bits - LSTMRT_A_BITS;
    size_t j, k;
    for (j = 0; j < layer->units / layer->block_size; j++) {
        int64_t sum = 0;
        for (k = 0; k < layer->block_size; k++)
            sum += (int64_t)*p++ * *c++;
        if (shift > 16 && layer->block_size == 1)
            gate[j] = lstmrt_below_30(gate[j] + (int32_t)(sum >> shift)); /* of 2^30 + 2^29 */
        else
            gate[j] = lstmrt_below_30(lstmrt_int32(gate[j] + (sum >> shift)));
    }
}

/* h (H), c (H) and, with gate recurrence, gates (own gates) are read and overwritten; a (G) is
 * scratch: the pre-activations, each overwritten by its activation. */
LSTMRT_INLINE void lstmrt_lstm_step(const lstmrt_lstm *layer, const int16_t *x,
                                    const size_t *token, int16_t *h, int32_t *c, int16_t *gates,
                                    int32_t *a, uint8_t *saturated)
{
    const size_t H = layer->units, C = layer->block_size, blocks = H / C;
    const size_t before_f = layer->input_gate ? blocks : 0;
    const size_t before_o = before_f + (layer->forget_gate ? blocks : 0);
    const size_t n_gates = before_o + (layer->output_gate ? blocks : 0);
    const int gate_bits = layer->gate.bits, c_bits = layer->c_bits;
    const int32_t one = (int32_t)(UINT32_C(1) << gate_bits);
    int32_t *const i = a, *const f = a + before_f, *const o = a + before_o;
    int32_t *const g = a + n_gates;
    /* o comes with i and f unless it looks at the new c */
    const int early_o = !layer->peepholes || layer->output_peephole != LSTMRT_PEEP_NOW;
    int32_t bits = 0; /* of all cell states, but for their signs */
    size_t j;

    lstmrt_affine(&layer->matrix, x, token, h, 0, a);
    if (layer->gate_recurrence.rows)
        lstmrt_affine(&layer->gate_recurrence, gates, NULL, gates, 1, a);
    if (layer->peepholes && layer->input_gate)
        lstmrt_peephole(layer, i, layer->peepholes, c);                                /* (4.2) */
    if (layer->peepholes && layer->forget_gate)
        lstmrt_peephole(layer, f, layer->peepholes + (layer->input_gate ? H : 0), c); /* (4.4) */
    if (layer->output_peephole == LSTMRT_PEEP_BEFORE)
        lstmrt_peephole(layer, o, layer->peepholes + before_o * C, c);                 /* (4.8) */
    lstmrt_activate_int(layer->gate, a, early_o ? n_gates : before_o);            /* (4.3), (4.5) */
    lstmrt_activate_int(layer->cell, g, H);                                       /* (4.6) */

    for (j = 0; j < H; j++) {                                                     /* (4.7) */
        const int32_t input = layer->input_gate ? i[j / C] : one;
        const int32_t forget = layer->forget_gate ? f[j / C] : layer->coupled ? one - input : one;
        const int32_t cell = lstmrt_rescaled(g[j], layer->cell.bits, c_bits);
        c[j] = lstmrt_int32(((int64_t)forget * c[j] + (int64_t)input * cell) >> gate_bits);
        g[j] = lstmrt_rescaled(c[j], c_bits, LSTMRT_A_BITS);
        bits |= c[j] ^ (c[j] >> 31);
    }
    if (bits >> 30)
        *saturated = 1;

    if (layer->output_gate && !early_o) {                                         /* (4.8), (4.9) */
        lstmrt_peephole(layer, o, layer->peepholes + before_o * C, c);
        lstmrt_activate_int(layer->gate, o, blocks);
    }
    lstmrt_activate_int(layer->output, g, H);
    for (j = 0; j < H; j++)                                                       /* (4.10) */
        h[j] = layer->output_gate
                   ? lstmrt_int16_product(o[j / C], g[j],
                                          gate_bits + layer->output.bits - layer->h_bits)
                   : lstmrt_int16(g[j], layer->output.bits - layer->h_bits);
    if (!lstmrt_within_1(layer->output) || (layer->output_gate && !lstmrt_within_1(layer->gate)))
        lstmrt_watch(h, H, saturated);
    if (layer->gate_recurrence.rows)
        for (j = 0; j < n_gates; j++)
            gates[j] = lstmrt_int16(a[j], gate_bits - layer->gates_bits);
}

/* h (H) is read and overwritten; a (4 H) is scratch: r, z, n and what n takes from h. Equations
 * (G1) to (G5) of lstmcore's docs/equations.md. */
LSTMRT_INLINE void lstmrt_gru_step(const lstmrt_gru *layer, const int16_t *x, const size_t *token,
                                   int16_t *h, int32_t *a, uint8_t *saturated)
{
    const size_t H = layer->units;
    const int gate_bits = layer->gate.bits, n_bits = layer->cell.bits, h_bits = layer->h_bits;
    int32_t *const r = a, *const z = a + H, *const n = a + 2 * H, *const m = a + 3 * H;
    const int reset_after = layer->recurrence.rows != 0;
    size_t j;

    lstmrt_affine(&layer->matrix, x, token, h, 0, a);
    lstmrt_activate_int(layer->gate, a, 2 * H);                                   /* (G1), (G2) */
    if (reset_after) {
        lstmrt_affine(&layer->candidate, x, token, x, 0, n);
        lstmrt_affine(&layer->recurrence, h, NULL, h, 0, m);
        for (j = 0; j < H; j++) {                                                 /* (G3) */
            n[j] = lstmrt_below_30(lstmrt_int32(n[j] + (((int64_t)r[j] * m[j]) >> gate_bits)));
            m[j] = h[j];
        }
    } else {
        for (j = 0; j < H; j++) { /* r h where h was, for the matrix reads signals */
            m[j] = h[j];
            h[j] = lstmrt_int16_product(r[j], m[j], gate_bits);
        }
        lstmrt_affine(&layer->candidate, x, token, h, 0, n);                      /* (G4) */
    }
    lstmrt_activate_int(layer->cell, n, H);
    for (j = 0; j < H; j++) {                                                     /* (G5) */
        /* (1 - z) n + z h; a gate without a bound is given one, or the product may not fit */
        const int32_t keep = gate_bits < 29 ? lstmrt_below_30(z[j]) : z[j];
        const int64_t change = (int64_t)lstmrt_rescaled(m[j], h_bits, n_bits) - n[j];
        h[j] = lstmrt_int16(lstmrt_int32(n[j] + ((keep * change) >> gate_bits)), n_bits - h_bits);
    }
    if (!lstmrt_within_1(layer->cell) || !lstmrt_within_1(layer->gate))
        lstmrt_watch(h, H, saturated);
}

/* ---- inputs, outputs, readouts --------------------------------------------------------------- */

/* Inputs as signals: x[k] / scale, given the inverse scales. What is too large for one becomes the
 * largest, a NaN 0, and *saturated says so. Absolute values are compared as their bits, which is in
 * the same order, and right whatever the compiler thinks of NaNs. */
LSTMRT_INLINE const int16_t *lstmrt_quantized(const lstmrt_real *x, size_t n_steps,
                                              const lstmrt_real *inverse_scales, size_t n,
                                              int16_t *out, uint8_t *saturated)
{
    const uint32_t most = UINT32_C(0x46FFFE00), infinity = UINT32_C(0x7F800000); /* 32767, inf */
    size_t t, k;
    for (t = 0; t < n_steps; t++)
        for (k = 0; k < n; k++) {
            lstmrt_real v = x[t * n + k] * inverse_scales[k];
            uint32_t bits, magnitude;
            memcpy(&bits, &v, sizeof bits);
            magnitude = bits & UINT32_C(0x7FFFFFFF);
            if (magnitude > most) {
                bits = magnitude > infinity ? 0 : most | (bits & UINT32_C(0x80000000));
                memcpy(&v, &bits, sizeof v);
                *saturated = 1;
            }
            out[t * n + k] = (int16_t)lstmrt_nearest(v);
        }
    return out;
}

#define LSTMRT_TAKE(s, x, n_steps)                                                                 \
    lstmrt_quantized(x, n_steps, lstmrt_inverse_scales, LSTMRT_INPUTS, LSTMRT_SIGNALS(s),          \
                     &(s)->saturated)
/* The one signal that is not 0 of a token's one-hot vector */
#define LSTMRT_TAKE_ONE(s, token, room)                                                            \
    lstmrt_quantized(&lstmrt_one, 1, lstmrt_inverse_scales + (token), 1, room, &(s)->saturated)
#define LSTMRT_SATURATED , &s->saturated

LSTMRT_INLINE void lstmrt_output_copy(const int16_t *in, lstmrt_real scale, lstmrt_real *y,
                                      size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        y[j] = (lstmrt_real)in[j] * scale;
}

LSTMRT_INLINE void lstmrt_add(int64_t *sum, const int16_t *h, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        sum[j] += h[j];
}
#define LSTMRT_ADD(s, h, n) lstmrt_add((s)->sum, h, n)

/* largest (n): h where that is larger, or where it is the first. */
LSTMRT_INLINE void lstmrt_largest(int16_t *largest, const int16_t *h, int first, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        if (first || h[j] > largest[j])
            largest[j] = h[j];
}

/* mean (n) of what was added in so many steps; 0 of none */
LSTMRT_INLINE void lstmrt_mean(const int64_t *sum, uint64_t steps, int16_t *mean, size_t n)
{
    const lstmrt_real count = lstmrt_count(steps);
    size_t j;
    for (j = 0; j < n; j++)
        mean[j] = (int16_t)(steps == 0 ? 0 : lstmrt_rounded((lstmrt_real)sum[j] / count));
}
#define LSTMRT_TAKE_MEAN(s, n) lstmrt_mean((s)->sum, (s)->steps, (s)->read, n)

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt.
 */
/* Layers of an exported network in floating point: one time step of one sequence.
 *
 * Dimensions: I inputs, H units, G rows of a layer's weights (H of a Dense or RNN layer).
 * Equation numbers are those of A. Graves, Supervised Sequence Labelling with Recurrent Neural
 * Networks (Springer, 2012), chapters 3 and 4.
 *
 * A layer's description is a `static const` object; every function below is inlined where it is
 * called with that object's address, so sizes and options are constants there, and what a layer
 * does not have costs no instruction and no flash.
 *
 * Weights lie as the step reads them, in panels of LSTMRT_PANEL rows (the last one narrower): a
 * panel's biases, then for each input, then for each recurrent unit, its column of the panel. One
 * column's rows are neighbours, hence a vector load, or a run of loads from one address register.
 * LSTM rows stand in the order i, f, o, g (absent ones left out): gates side by side; GRU rows in
 * the order r, z, n.
 */
#ifndef LSTMRT_FLOAT_H
#define LSTMRT_FLOAT_H

#include "lstmrt_math.h"

#define LSTMRT_PANEL 64

typedef lstmrt_real lstmrt_signal; /* what layers hand to each other */

typedef struct {
    size_t inputs, units;
    lstmrt_activation output;
    const lstmrt_real *weights;
} lstmrt_dense;

typedef struct {
    size_t inputs, units;
    lstmrt_activation output;
    const lstmrt_real *weights;
    const lstmrt_real *h0; /* (H) initial state, or NULL for zeros */
} lstmrt_rnn;

typedef struct {
    size_t inputs, units;
    size_t block_size;                          /* cells that share their gates */
    int input_gate, forget_gate, output_gate;   /* whether there is one with weights of its own */
    int coupled;                                /* forget gate = 1 - input gate */
    int output_peephole;                        /* LSTMRT_PEEP_... */
    lstmrt_activation gate, cell, output;
    const lstmrt_real *weights;
    const lstmrt_real *peepholes;               /* (own gates, H), or NULL; with PEEP_NONE none of
                                                 * the output gate */
    const lstmrt_real *gate_recurrence;         /* panels: own gates x own gates, or NULL */
    const lstmrt_real *h0, *c0;                 /* (H) initial state, or NULL for zeros */
} lstmrt_lstm;

typedef struct {
    size_t inputs, units;
    lstmrt_activation gate, cell;
    const lstmrt_real *weights;                 /* rows of r, then of z */
    const lstmrt_real *candidate;               /* rows of n, over x, or over x and r h */
    const lstmrt_real *recurrence;              /* of n over h, where the reset comes after it, else
                                                 * NULL */
    const lstmrt_real *h0;                      /* (H) initial state, or NULL for zeros */
} lstmrt_gru;

/* ---- products ------------------------------------------------------------------------------- */

/* a[j] = start[j] + sum_k x[k] w[k][j] + sum_k h[k] w[I + k][j] for the `rows` rows of a tile: sums
 * in this order whatever the tile. `next` is the distance from one column to the next. */
#if LSTMRT_WIDE

#if LSTMRT_DOUBLE
#define LSTMRT_TILE 32
#else
#define LSTMRT_TILE 64
#endif

LSTMRT_INLINE void lstmrt_tile(size_t rows, size_t next, const lstmrt_real *start,
                               const lstmrt_real *LSTMRT_RESTRICT w,
                               const lstmrt_real *x, size_t n_x,
                               const lstmrt_real *h, size_t n_h,
                               lstmrt_real *LSTMRT_RESTRICT a)
{
    lstmrt_real sum[LSTMRT_TILE];
    size_t j, k;
    for (j = 0; j < rows; j++)
        sum[j] = start[j] + LSTMRT_R(0.0);
    for (k = 0; k < n_x; k++, w += next)
        for (j = 0; j < rows; j++)
            sum[j] = LSTMRT_FMA(w[j], x[k], sum[j]);
    for (k = 0; k < n_h; k++, w += next)
        for (j = 0; j < rows; j++)
            sum[j] = LSTMRT_FMA(w[j], h[k], sum[j]);
    for (j = 0; j < rows; j++)
        a[j] = sum[j] + LSTMRT_R(0.0);
}

#else

#define LSTMRT_TILE 8

LSTMRT_INLINE void lstmrt_tile(size_t rows, size_t next, const lstmrt_real *start,
                               const lstmrt_real *LSTMRT_RESTRICT w,
                               const lstmrt_real *x, size_t n_x,
                               const lstmrt_real *h, size_t n_h,
                               lstmrt_real *LSTMRT_RESTRICT a)
{
    const lstmrt_real *end;
    if (rows == 8) { /* eight sums in registers */
        lstmrt_real s0 = start[0], s1 = start[1], s2 = start[2], s3 = start[3];
        lstmrt_real s4 = start[4], s5 = start[5], s6 = start[6], s7 = start[7];
#define LSTMRT_COLUMN(s)                                                                           \
    s0 = LSTMRT_FMA(w[0], s, s0), s1 = LSTMRT_FMA(w[1], s, s1);                                    \
    s2 = LSTMRT_FMA(w[2], s, s2), s3 = LSTMRT_FMA(w[3], s, s3);                                    \
    s4 = LSTMRT_FMA(w[4], s, s4), s5 = LSTMRT_FMA(w[5], s, s5);                                    \
    s6 = LSTMRT_FMA(w[6], s, s6), s7 = LSTMRT_FMA(w[7], s, s7)
        for (end = x + n_x; x != end; w += next) {
            lstmrt_real s = *x++;
            LSTMRT_COLUMN(s);
        }
        for (end = h + n_h; h != end; w += next) {
            lstmrt_real s = *h++;
            LSTMRT_COLUMN(s);
        }
#undef LSTMRT_COLUMN
        a[0] = s0, a[1] = s1, a[2] = s2, a[3] = s3;
        a[4] = s4, a[5] = s5, a[6] = s6, a[7] = s7;
    } else {
        lstmrt_real s0 = start[0];
        for (end = x + n_x; x != end; w += next)
            s0 = LSTMRT_FMA(w[0], *x++, s0);
        for (end = h + n_h; h != end; w += next)
            s0 = LSTMRT_FMA(w[0], *h++, s0);
        a[0] = s0;
    }
}

#endif

/* One panel, cut into tiles. start NULL: from the biases in front of the panel's columns. */
LSTMRT_INLINE void lstmrt_panel(size_t rows, const lstmrt_real *start, const lstmrt_real *w,
                                const lstmrt_real *x, size_t n_x,
                                const lstmrt_real *h, size_t n_h, lstmrt_real *a)
{
    const lstmrt_real *columns = start ? w : w + rows;
    size_t done = 0;
    start = start ? start : w;
#if LSTMRT_WIDE
#define LSTMRT_CUT(n)                                                                              \
    for (; done + n <= rows; done += n)                                                            \
        lstmrt_tile(n, rows, start + done, columns + done, x, n_x, h, n_h, a + done);
#if LSTMRT_TILE > 32
    LSTMRT_CUT(64)
#endif
    LSTMRT_CUT(32)
    LSTMRT_CUT(16)
#else
#define LSTMRT_CUT(n)                                                                              \
    for (; done + n <= rows; done += n)                                                            \
        lstmrt_tile(n, rows, start + done, columns + done, x, n_x, h, n_h, a + done);
#endif
    LSTMRT_CUT(8)
#if LSTMRT_WIDE
    LSTMRT_CUT(4)
#endif
    LSTMRT_CUT(1)
#undef LSTMRT_CUT
}

/* a (G) = start + W x + R h; start NULL stands for the biases, which then precede the weights. */
LSTMRT_INLINE void lstmrt_affine(size_t rows, const lstmrt_real *start,
                                 const lstmrt_real *w, const lstmrt_real *x, size_t n_x,
                                 const lstmrt_real *h, size_t n_h, lstmrt_real *a)
{
    const size_t columns = n_x + n_h + (start ? 0 : 1);
#if LSTMRT_WIDE /* two copies, each with the panel's width a constant */
    size_t done;
    for (done = 0; done + LSTMRT_PANEL <= rows; done += LSTMRT_PANEL)
        lstmrt_panel(LSTMRT_PANEL, start ? start + done : NULL, w + done * columns, x, n_x, h,
                     n_h, a + done);
    if (rows % LSTMRT_PANEL != 0)
        lstmrt_panel(rows % LSTMRT_PANEL, start ? start + done : NULL, w + done * columns, x,
                     n_x, h, n_h, a + done);
#else
    size_t done, width;
    for (done = 0; done < rows; done += width) {
        width = rows - done < LSTMRT_PANEL ? rows - done : LSTMRT_PANEL;
        lstmrt_panel(width, start ? start + done : NULL, w + done * columns, x, n_x, h, n_h,
                     a + done);
    }
#endif
}

/* a (G) = b + the token's column of W + R h: what the one-hot vector of the token gives as x, with
 * the same bits. */
LSTMRT_INLINE void lstmrt_affine_token(size_t rows, const lstmrt_real *w, size_t inputs,
                                       size_t token, const lstmrt_real *h, size_t n_h,
                                       lstmrt_real *a)
{
    while (rows) {
        const size_t width = rows < LSTMRT_PANEL ? rows : LSTMRT_PANEL;
        const lstmrt_real *const biases = w, *const column = w + (1 + token) * width;
        size_t j;
        for (j = 0; j < width; j++)
            a[j] = biases[j] + column[j];
        w += (1 + inputs) * width;
        lstmrt_panel(width, a, w, h, 0, h, n_h, a);
        w += n_h * width;
        a += width;
        rows -= width;
    }
}

/* a (G) = b + W x + R h; of a layer that reads a token, in place of x, if `token` is not NULL. It
 * is or is not in the code of a call, so that the other way takes no flash. */
LSTMRT_INLINE void lstmrt_affine_first(size_t rows, const lstmrt_real *w, const lstmrt_real *x,
                                       size_t n_x, const size_t *token, const lstmrt_real *h,
                                       size_t n_h, lstmrt_real *a)
{
    if (token == NULL)
        lstmrt_affine(rows, NULL, w, x, n_x, h, n_h, a);
    else
        lstmrt_affine_token(rows, w, n_x, *token, h, n_h, a);
}

/* ---- layers: x is not read where there is a token -------------------------------------------- */

/* h(0) or c(0) */
LSTMRT_INLINE void lstmrt_start(lstmrt_real *v, const lstmrt_real *start, size_t n)
{
    if (start)
        memcpy(v, start, n * sizeof *v);
    else
        memset(v, 0, n * sizeof *v);
}

/* y (K) = f(W x + b), (3.32) */
LSTMRT_INLINE void lstmrt_dense_step(const lstmrt_dense *layer, const lstmrt_real *x,
                                     const size_t *token, lstmrt_real *y)
{
    lstmrt_affine_first(layer->units, layer->weights, x, layer->inputs, token, x, 0, y);
    lstmrt_activate(layer->output, y, layer->units);
}

/* h (H) is read and overwritten; a (H) is scratch. (3.30), (3.31) */
LSTMRT_INLINE void lstmrt_rnn_step(const lstmrt_rnn *layer, const lstmrt_real *x,
                                   const size_t *token, lstmrt_real *h, lstmrt_real *a)
{
    const size_t H = layer->units;
    lstmrt_affine_first(H, layer->weights, x, layer->inputs, token, h, H, a);
    lstmrt_activate(layer->output, a, layer->units);
    memcpy(h, a, layer->units * sizeof *h);
}

LSTMRT_INLINE void lstmrt_lstm_start(const lstmrt_lstm *layer, lstmrt_real *h, lstmrt_real *c)
{
    lstmrt_start(h, layer->h0, layer->units);
    lstmrt_start(c, layer->c0, layer->units);
}

/* gate[b] += sum over the cells of block b of p[cell] c[cell] */
LSTMRT_INLINE void lstmrt_peephole(lstmrt_real *gate, const lstmrt_real *p,
                                   const lstmrt_real *c, size_t units, size_t block_size)
{
    size_t j, k;
    for (j = 0; j < units / block_size; j++)
        for (k = 0; k < block_size; k++)
            gate[j] = LSTMRT_FMA(p[j * block_size + k], c[j * block_size + k], gate[j]);
}

/* h (H), c (H) and, with gate recurrence, gates (own gates) are read and overwritten; a (G) is
 * scratch: the pre-activations, each overwritten by its activation. */
LSTMRT_INLINE void lstmrt_lstm_step(const lstmrt_lstm *layer, const lstmrt_real *x,
                                    const size_t *token, lstmrt_real *h, lstmrt_real *c,
                                    lstmrt_real *gates, lstmrt_real *a)
{
    const size_t H = layer->units, C = layer->block_size, blocks = H / C;
    const size_t before_f = layer->input_gate ? blocks : 0;
    const size_t before_o = before_f + (layer->forget_gate ? blocks : 0);
    const size_t n_gates = before_o + (layer->output_gate ? blocks : 0);
    lstmrt_real *const i = a, *const f = a + before_f, *const o = a + before_o;
    lstmrt_real *const g = a + n_gates;
    /* o comes with i and f unless it looks at the new c */
    const int early_o = !layer->peepholes || layer->output_peephole != LSTMRT_PEEP_NOW;
    size_t j;

    lstmrt_affine_first(n_gates + H, layer->weights, x, layer->inputs, token, h, H, a);
    if (layer->gate_recurrence)
        lstmrt_affine(n_gates, a, layer->gate_recurrence, gates, n_gates, gates, 0, a);
    if (layer->peepholes && layer->input_gate)
        lstmrt_peephole(i, layer->peepholes, c, H, C);                            /* (4.2) */
    if (layer->peepholes && layer->forget_gate)
        lstmrt_peephole(f, layer->peepholes + (layer->input_gate ? H : 0), c, H, C); /* (4.4) */
    if (layer->output_peephole == LSTMRT_PEEP_BEFORE)
        lstmrt_peephole(o, layer->peepholes + before_o * C, c, H, C);             /* (4.8) */
    lstmrt_activate(layer->gate, a, early_o ? n_gates : before_o);                /* (4.3), (4.5) */
    lstmrt_activate(layer->cell, g, H);                                           /* (4.6) */

    for (j = 0; j < H; j++) {                                                     /* (4.7) */
        lstmrt_real new_c = layer->input_gate ? i[j / C] * g[j] : g[j];
        if (layer->forget_gate)
            new_c = LSTMRT_FMA(f[j / C], c[j], new_c);
        else if (layer->coupled)
            new_c = LSTMRT_FMA(LSTMRT_R(1.0) - i[j / C], c[j], new_c);
        else
            new_c += c[j];
        c[j] = new_c;
        h[j] = new_c;
    }

    if (layer->output_gate && !early_o) {                                         /* (4.8), (4.9) */
        lstmrt_peephole(o, layer->peepholes + before_o * C, c, H, C);
        lstmrt_activate(layer->gate, o, blocks);
    }
    lstmrt_activate(layer->output, h, H);
    if (layer->output_gate)
        for (j = 0; j < H; j++)                                                   /* (4.10) */
            h[j] *= o[j / C];
    if (layer->gate_recurrence)
        memcpy(gates, a, n_gates * sizeof *gates);
}

/* h (H) is read and overwritten; a (4 H) is scratch: r, z, n and what n takes from h. Equations
 * (G1) to (G5) of lstmcore's docs/equations.md. */
LSTMRT_INLINE void lstmrt_gru_step(const lstmrt_gru *layer, const lstmrt_real *x,
                                   const size_t *token, lstmrt_real *h, lstmrt_real *a)
{
    const size_t I = layer->inputs, H = layer->units;
    lstmrt_real *const r = a, *const z = a + H, *const n = a + 2 * H, *const m = a + 3 * H;
    size_t j;

    lstmrt_affine_first(2 * H, layer->weights, x, I, token, h, H, a);
    lstmrt_activate(layer->gate, a, 2 * H);                                       /* (G1), (G2) */
    if (layer->recurrence) {
        lstmrt_affine_first(H, layer->candidate, x, I, token, h, 0, n);
        lstmrt_affine(H, NULL, layer->recurrence, h, H, h, 0, m);
        for (j = 0; j < H; j++)                                                   /* (G3) */
            n[j] = LSTMRT_FMA(r[j], m[j], n[j]);
    } else {
        for (j = 0; j < H; j++)
            m[j] = r[j] * h[j];
        lstmrt_affine_first(H, layer->candidate, x, I, token, m, H, n);           /* (G4) */
    }
    lstmrt_activate(layer->cell, n, H);
    for (j = 0; j < H; j++)                                                       /* (G5) */
        h[j] = LSTMRT_FMA(z[j], h[j], (LSTMRT_R(1.0) - z[j]) * n[j]);
}

/* ---- inputs, outputs, readouts --------------------------------------------------------------- */

#define LSTMRT_TAKE(s, x, n_steps) (x)
#define LSTMRT_TAKE_ONE(s, token, room) NULL
#define LSTMRT_SATURATED
#define LSTMRT_READ_SCALE 1
#define lstmrt_output_dense lstmrt_dense_step
#define lstmrt_output_copy(in, scale, y, n) memcpy(y, in, (n) * sizeof *(y))

/* What -ffast-math would take for zero: the rounding error of a sum. */
#if defined(__FAST_MATH__)
#define LSTMRT_ROUNDED volatile
#else
#define LSTMRT_ROUNDED
#endif

/* sum += h; what its rounding has lost goes into `lost`, so that millions of steps lose nothing
 * (D. E. Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B). */
LSTMRT_INLINE void lstmrt_add(lstmrt_real *sum, lstmrt_real *lost, const lstmrt_real *h, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++) {
        const LSTMRT_ROUNDED lstmrt_real total = sum[j] + h[j], added = total - sum[j];
        const LSTMRT_ROUNDED lstmrt_real rest = total - added, missed = h[j] - added;
        lost[j] += (sum[j] - rest) + missed;
        sum[j] = total;
    }
}
#define LSTMRT_ADD(s, h, n) lstmrt_add((s)->sum, (s)->lost, h, n)

/* largest (n): h where that is larger, or where it is the first; a NaN stays. */
LSTMRT_INLINE void lstmrt_largest(lstmrt_real *largest, const lstmrt_real *h, int first, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        if (first || h[j] > largest[j] || h[j] != h[j])
            largest[j] = h[j];
}

/* mean (n) of what was added in so many steps; 0 of none. Of an infinite sum `lost` is NaN. */
LSTMRT_INLINE void lstmrt_mean(const lstmrt_real *sum, const lstmrt_real *lost, uint64_t steps,
                               lstmrt_real *mean, size_t n)
{
    const lstmrt_real count = lstmrt_count(steps);
    size_t j;
    for (j = 0; j < n; j++) {
        const lstmrt_real total = sum[j] + lost[j];
        mean[j] = steps ? (total == total ? total : sum[j]) / count : LSTMRT_R(0.0);
    }
}
#define LSTMRT_TAKE_MEAN(s, n) lstmrt_mean((s)->sum, (s)->lost, (s)->steps, (s)->read, n)

#endif

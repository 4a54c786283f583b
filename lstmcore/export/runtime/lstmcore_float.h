/* SPDX-License-Identifier: BSD-3-Clause */
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
 * Weights lie as the step reads them, in panels of LSTMCORE_PANEL rows (the last one narrower): a
 * panel's biases, then for each input, then for each recurrent unit, its column of the panel. One
 * column's rows are neighbours, hence a vector load, or a run of loads from one address register.
 * LSTM rows stand in the order i, f, o, g (absent ones left out): gates side by side.
 */
#ifndef LSTMCORE_FLOAT_H
#define LSTMCORE_FLOAT_H

#include "lstmcore_math.h"

#define LSTMCORE_PANEL 64

typedef lstmcore_real lstmcore_signal; /* what layers hand to each other */

typedef struct {
    size_t inputs, units;
    lstmcore_activation output;
    const lstmcore_real *weights;
} lstmcore_dense;

typedef struct {
    size_t inputs, units;
    lstmcore_activation output;
    const lstmcore_real *weights;
    const lstmcore_real *h0; /* (H) initial state, or NULL for zeros */
} lstmcore_rnn;

typedef struct {
    size_t inputs, units;
    size_t block_size;                          /* cells that share their gates */
    int input_gate, forget_gate, output_gate;   /* whether there is one with weights of its own */
    int coupled;                                /* forget gate = 1 - input gate */
    lstmcore_activation gate, cell, output;
    const lstmcore_real *weights;
    const lstmcore_real *peepholes;             /* (own gates, H), or NULL */
    const lstmcore_real *gate_recurrence;       /* panels: own gates x own gates, or NULL */
    const lstmcore_real *h0, *c0;               /* (H) initial state, or NULL for zeros */
} lstmcore_lstm;

/* ---- products ------------------------------------------------------------------------------- */

/* a[j] = start[j] + sum_k x[k] w[k][j] + sum_k h[k] w[I + k][j] for the `rows` rows of a tile: sums
 * in this order whatever the tile. `next` is the distance from one column to the next. */
#if LSTMCORE_WIDE

#if LSTMCORE_DOUBLE
#define LSTMCORE_TILE 32
#else
#define LSTMCORE_TILE 64
#endif

LSTMCORE_INLINE void lstmcore_tile(size_t rows, size_t next, const lstmcore_real *start,
                                   const lstmcore_real *LSTMCORE_RESTRICT w,
                                   const lstmcore_real *x, size_t n_x,
                                   const lstmcore_real *h, size_t n_h,
                                   lstmcore_real *LSTMCORE_RESTRICT a)
{
    lstmcore_real sum[LSTMCORE_TILE];
    size_t j, k;
    for (j = 0; j < rows; j++)
        sum[j] = start[j] + LSTMCORE_R(0.0);
    for (k = 0; k < n_x; k++, w += next)
        for (j = 0; j < rows; j++)
            sum[j] = LSTMCORE_FMA(w[j], x[k], sum[j]);
    for (k = 0; k < n_h; k++, w += next)
        for (j = 0; j < rows; j++)
            sum[j] = LSTMCORE_FMA(w[j], h[k], sum[j]);
    for (j = 0; j < rows; j++)
        a[j] = sum[j] + LSTMCORE_R(0.0);
}

#else

#define LSTMCORE_TILE 8

LSTMCORE_INLINE void lstmcore_tile(size_t rows, size_t next, const lstmcore_real *start,
                                   const lstmcore_real *LSTMCORE_RESTRICT w,
                                   const lstmcore_real *x, size_t n_x,
                                   const lstmcore_real *h, size_t n_h,
                                   lstmcore_real *LSTMCORE_RESTRICT a)
{
    const lstmcore_real *end;
    if (rows == 8) { /* eight sums in registers */
        lstmcore_real s0 = start[0], s1 = start[1], s2 = start[2], s3 = start[3];
        lstmcore_real s4 = start[4], s5 = start[5], s6 = start[6], s7 = start[7];
#define LSTMCORE_COLUMN(s)                                                                         \
    s0 = LSTMCORE_FMA(w[0], s, s0), s1 = LSTMCORE_FMA(w[1], s, s1);                                \
    s2 = LSTMCORE_FMA(w[2], s, s2), s3 = LSTMCORE_FMA(w[3], s, s3);                                \
    s4 = LSTMCORE_FMA(w[4], s, s4), s5 = LSTMCORE_FMA(w[5], s, s5);                                \
    s6 = LSTMCORE_FMA(w[6], s, s6), s7 = LSTMCORE_FMA(w[7], s, s7)
        for (end = x + n_x; x != end; w += next) {
            lstmcore_real s = *x++;
            LSTMCORE_COLUMN(s);
        }
        for (end = h + n_h; h != end; w += next) {
            lstmcore_real s = *h++;
            LSTMCORE_COLUMN(s);
        }
#undef LSTMCORE_COLUMN
        a[0] = s0, a[1] = s1, a[2] = s2, a[3] = s3;
        a[4] = s4, a[5] = s5, a[6] = s6, a[7] = s7;
    } else {
        lstmcore_real s0 = start[0];
        for (end = x + n_x; x != end; w += next)
            s0 = LSTMCORE_FMA(w[0], *x++, s0);
        for (end = h + n_h; h != end; w += next)
            s0 = LSTMCORE_FMA(w[0], *h++, s0);
        a[0] = s0;
    }
}

#endif

/* One panel, cut into tiles. start NULL: from the biases in front of the panel's columns. */
LSTMCORE_INLINE void lstmcore_panel(size_t rows, const lstmcore_real *start, const lstmcore_real *w,
                                    const lstmcore_real *x, size_t n_x,
                                    const lstmcore_real *h, size_t n_h, lstmcore_real *a)
{
    const lstmcore_real *columns = start ? w : w + rows;
    size_t done = 0;
    start = start ? start : w;
#if LSTMCORE_WIDE
#define LSTMCORE_CUT(n)                                                                            \
    for (; done + n <= rows; done += n)                                                            \
        lstmcore_tile(n, rows, start + done, columns + done, x, n_x, h, n_h, a + done);
#if LSTMCORE_TILE > 32
    LSTMCORE_CUT(64)
#endif
    LSTMCORE_CUT(32)
    LSTMCORE_CUT(16)
#else
#define LSTMCORE_CUT(n)                                                                            \
    for (; done + n <= rows; done += n)                                                            \
        lstmcore_tile(n, rows, start + done, columns + done, x, n_x, h, n_h, a + done);
#endif
    LSTMCORE_CUT(8)
#if LSTMCORE_WIDE
    LSTMCORE_CUT(4)
#endif
    LSTMCORE_CUT(1)
#undef LSTMCORE_CUT
}

/* a (G) = start + W x + R h; start NULL stands for the biases, which then precede the weights. */
LSTMCORE_INLINE void lstmcore_affine(size_t rows, const lstmcore_real *start,
                                     const lstmcore_real *w, const lstmcore_real *x, size_t n_x,
                                     const lstmcore_real *h, size_t n_h, lstmcore_real *a)
{
    const size_t columns = n_x + n_h + (start ? 0 : 1);
#if LSTMCORE_WIDE /* two copies, each with the panel's width a constant */
    size_t done;
    for (done = 0; done + LSTMCORE_PANEL <= rows; done += LSTMCORE_PANEL)
        lstmcore_panel(LSTMCORE_PANEL, start ? start + done : NULL, w + done * columns, x, n_x, h,
                       n_h, a + done);
    if (rows % LSTMCORE_PANEL != 0)
        lstmcore_panel(rows % LSTMCORE_PANEL, start ? start + done : NULL, w + done * columns, x,
                       n_x, h, n_h, a + done);
#else
    size_t done, width;
    for (done = 0; done < rows; done += width) {
        width = rows - done < LSTMCORE_PANEL ? rows - done : LSTMCORE_PANEL;
        lstmcore_panel(width, start ? start + done : NULL, w + done * columns, x, n_x, h, n_h,
                       a + done);
    }
#endif
}

/* ---- layers --------------------------------------------------------------------------------- */

/* h(0) or c(0) */
LSTMCORE_INLINE void lstmcore_start(lstmcore_real *v, const lstmcore_real *start, size_t n)
{
    if (start)
        memcpy(v, start, n * sizeof *v);
    else
        memset(v, 0, n * sizeof *v);
}
#define lstmcore_start_cells lstmcore_start

/* y (K) = f(W x + b), (3.32) */
LSTMCORE_INLINE void lstmcore_dense_step(const lstmcore_dense *layer, const lstmcore_real *x,
                                         lstmcore_real *y)
{
    lstmcore_affine(layer->units, NULL, layer->weights, x, layer->inputs, x, 0, y);
    lstmcore_activate(layer->output, y, layer->units);
}

/* h (H) is read and overwritten; a (H) is scratch. (3.30), (3.31) */
LSTMCORE_INLINE void lstmcore_rnn_step(const lstmcore_rnn *layer, const lstmcore_real *x,
                                       lstmcore_real *h, lstmcore_real *a)
{
    lstmcore_affine(layer->units, NULL, layer->weights, x, layer->inputs, h, layer->units, a);
    lstmcore_activate(layer->output, a, layer->units);
    memcpy(h, a, layer->units * sizeof *h);
}

/* gate[b] += sum over the cells of block b of p[cell] c[cell] */
LSTMCORE_INLINE void lstmcore_peephole(lstmcore_real *gate, const lstmcore_real *p,
                                       const lstmcore_real *c, size_t units, size_t block_size)
{
    size_t j, k;
    for (j = 0; j < units / block_size; j++)
        for (k = 0; k < block_size; k++)
            gate[j] = LSTMCORE_FMA(p[j * block_size + k], c[j * block_size + k], gate[j]);
}

/* h (H), c (H) and, with gate recurrence, gates (own gates) are read and overwritten; a (G) is
 * scratch: the pre-activations, each overwritten by its activation. */
LSTMCORE_INLINE void lstmcore_lstm_step(const lstmcore_lstm *layer, const lstmcore_real *x,
                                        lstmcore_real *h, lstmcore_real *c, lstmcore_real *gates,
                                        lstmcore_real *a)
{
    const size_t H = layer->units, C = layer->block_size, blocks = H / C;
    const size_t before_f = layer->input_gate ? blocks : 0;
    const size_t before_o = before_f + (layer->forget_gate ? blocks : 0);
    const size_t n_gates = before_o + (layer->output_gate ? blocks : 0);
    lstmcore_real *const i = a, *const f = a + before_f, *const o = a + before_o;
    lstmcore_real *const g = a + n_gates;
    const int early_o = !layer->peepholes; /* o comes with i and f unless it looks at the new c */
    size_t j;

    lstmcore_affine(n_gates + H, NULL, layer->weights, x, layer->inputs, h, H, a);
    if (layer->gate_recurrence)
        lstmcore_affine(n_gates, a, layer->gate_recurrence, gates, n_gates, gates, 0, a);
    if (layer->peepholes && layer->input_gate)
        lstmcore_peephole(i, layer->peepholes, c, H, C);                          /* (4.2) */
    if (layer->peepholes && layer->forget_gate)
        lstmcore_peephole(f, layer->peepholes + (layer->input_gate ? H : 0), c, H, C); /* (4.4) */
    lstmcore_activate(layer->gate, a, early_o ? n_gates : before_o);              /* (4.3), (4.5) */
    lstmcore_activate(layer->cell, g, H);                                         /* (4.6) */

    for (j = 0; j < H; j++) {                                                     /* (4.7) */
        lstmcore_real new_c = layer->input_gate ? i[j / C] * g[j] : g[j];
        if (layer->forget_gate)
            new_c = LSTMCORE_FMA(f[j / C], c[j], new_c);
        else if (layer->coupled)
            new_c = LSTMCORE_FMA(LSTMCORE_R(1.0) - i[j / C], c[j], new_c);
        else
            new_c += c[j];
        c[j] = new_c;
        h[j] = new_c;
    }

    if (layer->output_gate && !early_o) {                                         /* (4.8), (4.9) */
        lstmcore_peephole(o, layer->peepholes + (n_gates / blocks - 1) * H, c, H, C);
        lstmcore_activate(layer->gate, o, blocks);
    }
    lstmcore_activate(layer->output, h, H);
    if (layer->output_gate)
        for (j = 0; j < H; j++)                                                   /* (4.10) */
            h[j] *= o[j / C];
    if (layer->gate_recurrence)
        memcpy(gates, a, n_gates * sizeof *gates);
}

/* ---- inputs, outputs, readouts --------------------------------------------------------------- */

#define LSTMCORE_TAKE(s, x) (x)
#define LSTMCORE_TAKE_ALL(s, x, n_steps, half) (x)
#define LSTMCORE_READ_SCALE 1
#define lstmcore_output_dense lstmcore_dense_step
#define lstmcore_output_copy(in, scale, y, n) memcpy(y, in, (n) * sizeof *(y))

LSTMCORE_INLINE void lstmcore_add(lstmcore_real *sum, const lstmcore_real *h, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        sum[j] += h[j];
}

/* mean (n) of what was added in so many steps; 0 of none */
LSTMCORE_INLINE void lstmcore_mean(const lstmcore_real *sum, size_t steps, lstmcore_real *mean,
                                   size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        mean[j] = steps ? sum[j] / (lstmcore_real)steps : LSTMCORE_R(0.0);
}

#endif

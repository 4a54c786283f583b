/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 */
/* The functions of an exported network that reads tokens: a step without the products of a one-hot
 * vector, and, where outputs are probabilities of tokens, draws of the next one.
 *
 * Included after lstmrt_model.h by the generated file of a network, which says:
 *     LSTMRT_FIRST(DO)       the first layer, DO(FORWARD, CELL, 0); nothing if it is the last too
 *     LSTMRT_REST(DO)        the layers between it and the readout
 *     LSTMRT_DRAWS           1 if tokens are drawn from the outputs
 */

/* The signal or number that a one-hot vector has at its token. */
static const lstmrt_real lstmrt_one = LSTMRT_R(1.0);

#define LSTMRT_STEP_TOKEN(direction, CELL, k)                                                      \
    LSTMRT_STEP_##CELL(layer##k, s->layer##k);                                                     \
    in = s->layer##k.h;                                                                            \
    token = NULL;

/* One time step to the output pre-activations, or to the state alone where y is NULL. */
static inline void lstmrt_step_token(lstmrt_state *s, size_t number, lstmrt_real *y)
{
    const size_t *token = &number;
    lstmrt_signal room[1] = {0};
    const lstmrt_signal *in = LSTMRT_TAKE_ONE(s, number, room);
    LSTMRT_FIRST(LSTMRT_STEP_TOKEN)
    LSTMRT_REST(LSTMRT_STEP)
    lstmrt_collect(s, in);
    (void)room;
    (void)lstmrt_one;
    if (y == NULL)
        return;
#if LSTMRT_READOUT != LSTMRT_ALL
    in = lstmrt_read(s);
#endif
    lstmrt_scores(s, in, token, y);
}

void LSTMRT_NAME(step_token)(lstmrt_state *s, size_t token, lstmrt_real *y)
{
    lstmrt_step_token(s, token, y);
    if (y != NULL)
        lstmrt_output_units(LSTMRT_OUTPUT, y, LSTMRT_OUTPUTS);
}

#if LSTMRT_DRAWS

/* ---- draws ----------------------------------------------------------------------------------- */

size_t LSTMRT_NAME(draw)(const lstmrt_real *y, lstmrt_real uniform)
{
    lstmrt_real total = LSTMRT_R(0.0), below = LSTMRT_R(0.0);
    size_t k, last = 0;
    for (k = 0; k < LSTMRT_OUTPUTS; k++) {
        total += y[k];
        if (y[k] > 0)
            last = k;
    }
    for (k = 0; k < last; k++) {
        below += y[k];
        if (below > uniform * total)
            break;
    }
    return k;
}

size_t LSTMRT_NAME(generate)(lstmrt_state *s, size_t token, lstmrt_real temperature,
                             lstmrt_real uniform, lstmrt_real *y)
{
    size_t k, best = 0;
    lstmrt_step_token(s, token, y);
    for (k = 1; k < LSTMRT_OUTPUTS; k++)
        best = y[k] > y[best] ? k : best;
    if (temperature > 0)
        for (k = 0; k < LSTMRT_OUTPUTS; k++)
            y[k] /= temperature;
    lstmrt_output_units(LSTMRT_OUTPUT, y, LSTMRT_OUTPUTS);
    return temperature > 0 ? LSTMRT_NAME(draw)(y, uniform) : best;
}

/* SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, Fast Splittable Pseudorandom Number Generators,
 * OOPSLA 2014): the highest 24 bits of its numbers, 53 of a double. */
lstmrt_real LSTMRT_NAME(uniform)(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
#if LSTMRT_DOUBLE
    return (lstmrt_real)(z >> 11) * LSTMRT_R(1.1102230246251565e-16);
#else
    return (lstmrt_real)(uint32_t)(z >> 40) * LSTMRT_R(5.9604644775390625e-08);
#endif
}

#endif

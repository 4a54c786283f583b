/* Text by the network that text.py has exported: each character is drawn from its output, and is
 * its next input.
 *
 *     cc -std=c99 -O2 -I BUILD text.c BUILD/model.c -o text
 *
 * symbols.h has SYMBOLS, the characters in the order of the outputs, START, the first input, and
 * LENGTH, how many characters are written.
 */
#include <stdint.h>
#include <stdio.h>

#include "model.h"
#include "symbols.h"

/* Uniform in [0, 1), from 24 bits of Marsaglia's xorshift of 32. */
static float uniform(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return (float)(*seed >> 8) * (1.0f / 16777216.0f);
}

/* Draws k with a probability proportional to the square of y[k], a temperature of 1/2. */
static int draw(const float y[MODEL_OUTPUTS], uint32_t *seed)
{
    float sum = 0.0f, left;
    int k;
    for (k = 0; k < MODEL_OUTPUTS; k++)
        sum += y[k] * y[k];
    left = sum * uniform(seed);
    for (k = 0; k < MODEL_OUTPUTS - 1; k++)
        if ((left -= y[k] * y[k]) < 0.0f)
            break;
    return k;
}

int main(void)
{
    static model_state state; /* all the memory that the network needs */
    static float x[MODEL_INPUTS], y[MODEL_OUTPUTS];
    uint32_t seed = 2463534242u;
    int at = START, n;

    model_reset(&state);
    for (n = 0; n < LENGTH; n++) {
        x[at] = 1.0f; /* a character is a vector with a single one */
        model_step(&state, x, y);
        x[at] = 0.0f;
        at = draw(y, &seed);
        fputs(SYMBOLS[at], stdout);
    }
    putchar('\n');
    return 0;
}

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

#define TEMPERATURE 0.5f

int main(void)
{
    static model_state state; /* all the memory that the network needs */
    static float y[MODEL_OUTPUTS];
    uint64_t seed = 1;
    size_t at = START;
    int n;

    model_reset(&state);
    for (n = 0; n < LENGTH; n++) {
        at = model_generate(&state, at, TEMPERATURE, model_uniform(&seed), y);
        fputs(SYMBOLS[at], stdout);
    }
    putchar('\n');
    return 0;
}

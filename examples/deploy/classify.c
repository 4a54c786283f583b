/* Who is speaking? Reads utterances, names a speaker for each while it is still being spoken.
 *
 *     cc -std=c99 -O2 -I BUILD classify.c BUILD/vowels.c -o classify
 *
 * Input, as text: for each utterance the number of time steps, then the steps, each of
 * VOWELS_INPUTS coefficients. Output: for each utterance the speaker and its probability.
 */
#include <stdio.h>

#include "vowels.h"

int main(void)
{
    static vowels_state state; /* all the memory that the network needs */
    float x[VOWELS_INPUTS], y[VOWELS_OUTPUTS];
    int n_steps;

    while (scanf("%d", &n_steps) == 1) {
        int best = 0, k;
        vowels_reset(&state);
        while (n_steps-- > 0) {
            for (k = 0; k < VOWELS_INPUTS; k++)
                if (scanf("%f", &x[k]) != 1)
                    return 1;
            vowels_step(&state, x, y); /* y: the probabilities after the steps so far */
        }
        for (k = 1; k < VOWELS_OUTPUTS; k++)
            if (y[k] > y[best])
                best = k;
        printf("%d %.6f\n", best, (double)y[best]);
    }
    return 0;
}

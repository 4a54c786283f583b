/* SPDX-License-Identifier: BSD-3-Clause */
/* The main program of a network's self-test: recorded inputs must give the recorded outputs.
 *
 * Included last by the generated NAME_selftest.c, which has declared the network, the recorded
 * arrays lstmcore_x and lstmcore_y, LSTMCORE_STEPS and LSTMCORE_TOLERANCE. Compile it together with
 * NAME.c; it prints the largest difference and exits with 0 if all are within the tolerance.
 * With LSTMCORE_NO_PRINTF defined it says so by its exit code alone.
 */
#ifndef LSTMCORE_NO_PRINTF
#include <stdio.h>
#endif

static LSTMCORE_NAME(state) lstmcore_states[2];
static lstmcore_real lstmcore_outputs[LSTMCORE_READOUT_ALL ? LSTMCORE_STEPS * LSTMCORE_OUTPUTS
                                                           : LSTMCORE_OUTPUTS];

/* The larger of `worst` and the differences between y and the n recorded outputs from `first` on;
 * a NaN counts as a difference of 1e30. */
static double lstmcore_compare(double worst, const lstmcore_real *y, size_t first, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++) {
        double difference = (double)y[j] - (double)lstmcore_y[first + j];
        difference = difference < 0 ? -difference : difference;
        if (!(difference <= 1e30))
            difference = 1e30;
        if (difference > worst)
            worst = difference;
    }
    return worst;
}

int main(void)
{
    LSTMCORE_NAME(state) *const s = &lstmcore_states[0];
    const size_t n = sizeof lstmcore_outputs / sizeof lstmcore_outputs[0];
    int same_bits = 1, passed;
    double worst = 0;

#if LSTMCORE_BIDIRECTIONAL
    int k;
    for (k = 0; k < 2; k++) { /* the second time over what the first has left in the memory */
        LSTMCORE_NAME(sequence)(s, lstmcore_x, LSTMCORE_STEPS, lstmcore_outputs, lstmcore_buffer);
        worst = lstmcore_compare(worst, lstmcore_outputs, 0, n);
    }
#else
    lstmcore_real y[LSTMCORE_OUTPUTS];
    size_t t, j;
    LSTMCORE_NAME(reset)(s);
    LSTMCORE_NAME(sequence)(s, lstmcore_x, LSTMCORE_STEPS, lstmcore_outputs);
    worst = lstmcore_compare(worst, lstmcore_outputs, 0, n);

    /* step by step, in a second state, the same bits must come */
    LSTMCORE_NAME(reset)(&lstmcore_states[1]);
    for (t = 0; t < LSTMCORE_STEPS; t++) {
        const lstmcore_real *wanted = lstmcore_outputs + n - LSTMCORE_OUTPUTS;
        LSTMCORE_NAME(step)(&lstmcore_states[1], lstmcore_x + t * LSTMCORE_INPUTS, y);
        if (LSTMCORE_READOUT_ALL)
            wanted = lstmcore_outputs + t * LSTMCORE_OUTPUTS;
        else if (t < LSTMCORE_STEPS - 1)
            continue;
        for (j = 0; j < LSTMCORE_OUTPUTS; j++)
            if (y[j] != wanted[j])
                same_bits = 0;
    }
#endif
    passed = worst <= LSTMCORE_TOLERANCE && same_bits;
#ifndef LSTMCORE_NO_PRINTF
    printf("largest difference %.3g, tolerance %.3g%s: %s\n", worst, (double)LSTMCORE_TOLERANCE,
           same_bits ? "" : ", steps differ from the sequence", passed ? "passed" : "FAILED");
#endif
    return passed ? 0 : 1;
}

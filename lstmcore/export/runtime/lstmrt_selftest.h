/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt.
 */
/* The self-test of a network: recorded inputs must give the recorded outputs.
 *
 * Included last by the generated NAME_selftest.c, which has declared the network, the recorded
 * arrays lstmrt_x and lstmrt_y, LSTMRT_STEPS and LSTMRT_TOLERANCE. It defines the function
 * NAME_selftest. With LSTMRT_SELFTEST_MAIN defined it is a program, too, which prints the largest
 * difference and exits with what the function returns; with LSTMRT_NO_PRINTF it prints nothing.
 */

#if LSTMRT_FEATURES
#define LSTMRT_RESET(s) LSTMRT_NAME(reset_from)(s, lstmrt_features)
#else
#define LSTMRT_RESET(s) LSTMRT_NAME(reset)(s)
#endif

static LSTMRT_NAME(state) lstmrt_states[2];
static lstmrt_real lstmrt_outputs[LSTMRT_READOUT_ALL ? LSTMRT_STEPS * LSTMRT_OUTPUTS
                                                           : LSTMRT_OUTPUTS];

/* The larger of `worst` and the differences between y and the n recorded outputs from `first` on;
 * a NaN counts as a difference of 1e30. */
static lstmrt_real lstmrt_compare(lstmrt_real worst, const lstmrt_real *y, size_t first, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++) {
        lstmrt_real difference = y[j] - lstmrt_y[first + j];
        difference = difference < 0 ? -difference : difference;
        if (!(difference <= (lstmrt_real)1e30))
            difference = (lstmrt_real)1e30;
        if (difference > worst)
            worst = difference;
    }
    return worst;
}

/* The largest difference, and whether steps give the bits of the sequence. */
static lstmrt_real lstmrt_worst(int *same_bits)
{
    LSTMRT_NAME(state) *const s = &lstmrt_states[0];
    const size_t n = sizeof lstmrt_outputs / sizeof lstmrt_outputs[0];
    lstmrt_real worst = 0;

#if LSTMRT_WHOLE
    int k;
    *same_bits = 1;
    for (k = 0; k < 2; k++) { /* the second time over what the first has left in the memory */
        LSTMRT_RESET(s);
        LSTMRT_NAME(sequence)(s, lstmrt_x, LSTMRT_STEPS, lstmrt_outputs, lstmrt_buffer);
        worst = lstmrt_compare(worst, lstmrt_outputs, 0, n);
    }
#else
    lstmrt_real y[LSTMRT_OUTPUTS];
    size_t t, j;
    *same_bits = 1;
    LSTMRT_RESET(s);
    LSTMRT_NAME(sequence)(s, lstmrt_x, LSTMRT_STEPS, lstmrt_outputs);
    worst = lstmrt_compare(worst, lstmrt_outputs, 0, n);

    /* step by step, in a second state, the same bits must come */
    LSTMRT_RESET(&lstmrt_states[1]);
    for (t = 0; t < LSTMRT_STEPS; t++) {
        const lstmrt_real *wanted = lstmrt_outputs + n - LSTMRT_OUTPUTS;
        LSTMRT_NAME(step)(&lstmrt_states[1], lstmrt_x + t * LSTMRT_INPUTS, y);
        if (LSTMRT_READOUT_ALL)
            wanted = lstmrt_outputs + t * LSTMRT_OUTPUTS;
        else if (t < LSTMRT_STEPS - 1)
            continue;
        for (j = 0; j < LSTMRT_OUTPUTS; j++)
            if (y[j] != wanted[j])
                *same_bits = 0;
    }
#endif
    return worst;
}

int LSTMRT_NAME(selftest)(void)
{
    int same_bits;
    const lstmrt_real worst = lstmrt_worst(&same_bits);
    return worst <= (lstmrt_real)LSTMRT_TOLERANCE && same_bits ? 0 : 1;
}

#if defined(LSTMRT_SELFTEST_MAIN)
#if defined(LSTMRT_NO_PRINTF)
int main(void)
{
    return LSTMRT_NAME(selftest)();
}
#else
#include <stdio.h>

int main(void)
{
    int same_bits;
    const lstmrt_real worst = lstmrt_worst(&same_bits);
    const int passed = LSTMRT_NAME(selftest)() == 0;
    printf("largest difference %.3g, tolerance %.3g%s: %s\n", (double)worst,
           (double)LSTMRT_TOLERANCE, same_bits ? "" : ", steps differ from the sequence",
           passed ? "passed" : "FAILED");
    return passed ? 0 : 1;
}
#endif
#endif

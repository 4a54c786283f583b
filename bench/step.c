/* For bench/step.py: steps of a chain of layers from C, through lstmcore's table. */
#define _POSIX_C_SOURCE 199309L
#include <time.h>

#include "lstmcore.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The least seconds a step: x (n, I) or tokens (n,) in calls of `block` steps each, a divisor of
 * n. */
double time_steps(const lstmcore_api *api, const lstmcore_chain *chain, int n, int block,
                  int repeats, ptrdiff_t x_bytes, ptrdiff_t y_bytes, const char *x,
                  const ptrdiff_t *tokens, char *y)
{
    double best = 1e9;
    for (int r = 0; r < repeats; r++) {
        double start = now();
        for (int t = 0; t < n; t += block)
            api->chain_steps(chain, block, x == NULL ? NULL : x + t * x_bytes,
                             tokens == NULL ? NULL : tokens + t, y + t * y_bytes);
        double seconds = (now() - start) / n;
        if (seconds < best)
            best = seconds;
    }
    return best;
}

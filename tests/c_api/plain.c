/* A shared library without Python: it gets the address of the table, and owns all its memory. */
#include <stdlib.h>

#include "lstmcore.h"

int compatible(const lstmcore_api *api)
{
    return lstmcore_compatible(api);
}

static void *room(ptrdiff_t size)
{
    return calloc((size_t)size, 1);
}

/* A float32 network of an LSTM(1, H) and a dense layer with K softmax outputs, made here and run
 * over n steps: y (n, K). */
int run_network(const lstmcore_api *api, ptrdiff_t H, ptrdiff_t K, const float *W, const float *R,
                const float *b, const float *V, const float *d, ptrdiff_t n, const float *x,
                float *y)
{
    const void *const blocks[2][LSTMCORE_MOST_BLOCKS] = {{W, R, b}, {V, d}};
    lstmcore_cell cells[2];
    const lstmcore_layer *layers[2];
    void *states[2];
    lstmcore_chain chain;
    int k;

    if (!lstmcore_compatible(api))
        return -1;
    cells[0] = lstmcore_lstm(1, H);
    cells[1] = lstmcore_dense(H, K);
    for (k = 0; k < 2; k++)
        layers[k] = api->prepare(&cells[k], LSTMCORE_FLOAT32, blocks[k],
                                 room(api->layer_bytes(&cells[k], LSTMCORE_FLOAT32)));
    for (k = 0; k < 2; k++)
        states[k] = room(api->state_bytes(layers[k], 1));
    memset(&chain, 0, sizeof chain);
    chain.size = sizeof chain;
    chain.B = 1;
    chain.n_layers = 2;
    chain.output = LSTMCORE_OUT_SOFTMAX;
    chain.layers = layers;
    chain.states = states;
    api->chain_steps(&chain, 1, x, NULL, y);                /* one step, then a block of the rest */
    api->chain_steps(&chain, n - 1, x + 1, NULL, y + K);
    for (k = 0; k < 2; k++) {
        free((void *)layers[k]);
        free(states[k]);
    }
    return 0;
}

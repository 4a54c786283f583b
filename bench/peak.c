/* The most floating-point work that one core can do: independent chains of vector multiply-adds,
   nothing loaded, nothing stored. The chains start from different values, or the compiler would
   see that they are one. Compiled once per instruction set with -DWIDTH=bytes. */

typedef float vf __attribute__((vector_size(WIDTH)));
typedef double vd __attribute__((vector_size(WIDTH)));

/* Twelve chains hide an FMA latency of up to six cycles at two a cycle. Each value tends to 2. */
#define CHAINS(vec, scalar, n)                                                                  \
    vec w = (vec){0} + (scalar)0.5, s = (vec){0} + (scalar)1.0;                                 \
    vec a0 = s, a1 = s * 2, a2 = s * 3, a3 = s * 4, a4 = s * 5, a5 = s * 6;                     \
    vec a6 = s * 7, a7 = s * 8, a8 = s * 9, a9 = s * 10, a10 = s * 11, a11 = s * 12;            \
    for (long k = 0; k < n; k++) {                                                              \
        a0 = a0 * w + s, a1 = a1 * w + s, a2 = a2 * w + s, a3 = a3 * w + s;                     \
        a4 = a4 * w + s, a5 = a5 * w + s, a6 = a6 * w + s, a7 = a7 * w + s;                     \
        a8 = a8 * w + s, a9 = a9 * w + s, a10 = a10 * w + s, a11 = a11 * w + s;                 \
    }                                                                                           \
    a0 = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;                           \
    return a0[0]

float peak_float32(long n) { CHAINS(vf, float, n); }
double peak_float64(long n) { CHAINS(vd, double, n); }

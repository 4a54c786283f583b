/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers and activation functions of an exported network.
 *
 * Everything is computed here, with + - * / and comparisons: no library is needed, and two machines
 * with IEEE arithmetic give the same bits as long as both have, or both lack, a fused multiply-add.
 *
 * Read before this file is included:
 *     LSTMCORE_DOUBLE    1 computes in double, else in float
 *     LSTMCORE_NO_FMA    every product is rounded before it is added, whatever the processor has
 *     LSTMCORE_NO_LIBM   <math.h> is not touched; only a compiler that is neither GCC nor clang
 *                        takes anything from there, which is fma
 */
#ifndef LSTMCORE_MATH_H
#define LSTMCORE_MATH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef LSTMCORE_DOUBLE
#define LSTMCORE_DOUBLE 0
#endif

/* LSTMCORE_INLINE: vanishes into its caller, where the sizes are constants.
 * LSTMCORE_WIDE: the processor has vectors, and loops over units become vector instructions.
 * LSTMCORE_SHARED: inlined where that makes vectors, else kept once to save flash. */
#if defined(__GNUC__)
#define LSTMCORE_RESTRICT __restrict__
#define LSTMCORE_INLINE static inline __attribute__((always_inline))
#define LSTMCORE_NOINLINE static __attribute__((noinline, unused))
#else
#define LSTMCORE_RESTRICT
#define LSTMCORE_INLINE static inline
#define LSTMCORE_NOINLINE static inline
#endif

#ifndef LSTMCORE_WIDE
#if defined(__SSE2__) || defined(__ARM_NEON) || defined(_M_X64) || defined(_M_ARM64)
#define LSTMCORE_WIDE 1
#else
#define LSTMCORE_WIDE 0
#endif
#endif

#if LSTMCORE_WIDE
#define LSTMCORE_SHARED LSTMCORE_INLINE
#else
#define LSTMCORE_SHARED LSTMCORE_NOINLINE
#endif

#if LSTMCORE_DOUBLE
typedef double lstmcore_real;
typedef uint64_t lstmcore_bits;
#define LSTMCORE_R(literal) literal
#else
typedef float lstmcore_real;
typedef uint32_t lstmcore_bits;
#define LSTMCORE_R(literal) literal##f
#endif

/* a b + c, rounded once where the processor does that in one instruction */
#if !defined(LSTMCORE_NO_FMA) && (defined(__GNUC__) || !defined(LSTMCORE_NO_LIBM))
#if !defined(__GNUC__)
#include <math.h>
#define __builtin_fma fma
#define __builtin_fmaf fmaf
#endif
#if LSTMCORE_DOUBLE &&                                                                             \
    (defined(__FP_FAST_FMA) || defined(FP_FAST_FMA) || defined(__FMA__) ||                         \
     defined(__aarch64__) || (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 8)))
#define LSTMCORE_FMA(a, b, c) __builtin_fma(a, b, c)
#elif !LSTMCORE_DOUBLE &&                                                                          \
    (defined(__FP_FAST_FMAF) || defined(FP_FAST_FMAF) || defined(__FMA__) ||                       \
     defined(__aarch64__) || (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4)))
#define LSTMCORE_FMA(a, b, c) __builtin_fmaf(a, b, c)
#endif
#endif
#ifdef LSTMCORE_FMA
#define LSTMCORE_FUSED 1
#else
#define LSTMCORE_FUSED 0
#define LSTMCORE_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* |x| and |x| with the sign of y, without a branch: loops of them become vector instructions */
#if defined(__GNUC__) && LSTMCORE_DOUBLE
#define LSTMCORE_ABS(x) __builtin_fabs(x)
#define LSTMCORE_COPYSIGN(x, y) __builtin_copysign(x, y)
#elif defined(__GNUC__)
#define LSTMCORE_ABS(x) __builtin_fabsf(x)
#define LSTMCORE_COPYSIGN(x, y) __builtin_copysignf(x, y)
#else
#define LSTMCORE_ABS(x) ((x) < 0 ? -(x) : (x))
#define LSTMCORE_COPYSIGN(x, y) ((y) < 0 ? -LSTMCORE_ABS(x) : LSTMCORE_ABS(x))
#endif

/* ---- exponentials --------------------------------------------------------------------------- */

#if LSTMCORE_DOUBLE
#define LSTMCORE_ROUNDER 6755399441055744.0 /* 1.5 * 2^52 */
#define LSTMCORE_EXPONENT_BIAS 1023u
#define LSTMCORE_MANTISSA_BITS 52
#define LSTMCORE_EXP_HIGH 709.0             /* there n = -1023 */
#else
#define LSTMCORE_ROUNDER 12582912.0f        /* 1.5 * 2^23 */
#define LSTMCORE_EXPONENT_BIAS 127u
#define LSTMCORE_MANTISSA_BITS 23
#define LSTMCORE_EXP_HIGH 88.0f
#endif

/* The smaller of x and the limit; a NaN stays a NaN. Where loops are to become vector instructions
 * the choice is one of bits: what follows a branch is not allowed to move in front of it, as it
 * might raise a floating-point exception. */
LSTMCORE_INLINE lstmcore_real lstmcore_at_most(lstmcore_real x, lstmcore_real limit)
{
#if LSTMCORE_WIDE
    lstmcore_bits x_bits, limit_bits, above = (lstmcore_bits)0 - (lstmcore_bits)(x > limit);
    memcpy(&x_bits, &x, sizeof x);
    memcpy(&limit_bits, &limit, sizeof limit);
    x_bits ^= (x_bits ^ limit_bits) & above;
    memcpy(&x, &x_bits, sizeof x);
    return x;
#else
    return x > limit ? limit : x;
#endif
}

/* e^x - 1 = (2^n - 1) + 2^n (e^r - 1), x = n ln 2 + r, |r| <= ln(2)/2; *scale is 2^n (0 for the n
 * below the exponents), the result e^r - 1 = r + r^2 q(r) with q the minimax polynomial.
 *
 * Adding 1.5 * 2^(mantissa bits) rounds x / ln 2 to n and leaves n in the low bits of the sum, from
 * where a shift takes it to the exponent's place. n ln 2 is subtracted in two pieces, the first
 * short enough for an exact product; one is enough for a float with fused multiply-add, as ln 2
 * happens to lie within 2e-9 of one. */
LSTMCORE_INLINE lstmcore_real lstmcore_reduced_expm1(lstmcore_real x, lstmcore_real *scale)
{
    lstmcore_real n, r, r2, q;
    lstmcore_bits bits;
#if defined(__FAST_MATH__) /* which would undo the rounding */
    n = x * LSTMCORE_R(1.4426950408889634);
    bits = (lstmcore_bits)(int32_t)(n < 0 ? n - LSTMCORE_R(0.5) : n + LSTMCORE_R(0.5));
    n = (lstmcore_real)(int32_t)bits;
#else
    n = LSTMCORE_FMA(x, LSTMCORE_R(1.4426950408889634), LSTMCORE_ROUNDER);
    memcpy(&bits, &n, sizeof bits);
    n -= LSTMCORE_ROUNDER;
#endif
    bits = (bits + LSTMCORE_EXPONENT_BIAS) << LSTMCORE_MANTISSA_BITS;
    memcpy(scale, &bits, sizeof bits);
#if LSTMCORE_DOUBLE
    r = LSTMCORE_FMA(n, -6.93147180369123816490e-01, x);
    r = LSTMCORE_FMA(n, -1.90821492927058770002e-10, r);
    r2 = r * r;
    q = LSTMCORE_FMA(2.5110048019267005e-08, r, 2.7620086374492805e-07);
    q = LSTMCORE_FMA(q, r, 2.755724234140122e-06);
    q = LSTMCORE_FMA(q, r, 2.480152130002751e-05);
    q = LSTMCORE_FMA(q, r, 0.00019841269886587123);
    q = LSTMCORE_FMA(q, r, 0.001388888891721134);
    q = LSTMCORE_FMA(q, r, 0.008333333333322208);
    q = LSTMCORE_FMA(q, r, 0.04166666666662413);
    q = LSTMCORE_FMA(q, r, 0.16666666666666674);
    q = LSTMCORE_FMA(q, r, 0.5000000000000001);
#else
#if LSTMCORE_FUSED
    r = LSTMCORE_FMA(n, -0.693147180559945f, x);
#else
    r = LSTMCORE_FMA(n, -0.693359375f, x);
    r = LSTMCORE_FMA(n, 2.12194440e-4f, r);
#endif
    r2 = r * r;
    q = LSTMCORE_FMA(0.008363179811610824f, r, 0.04166637516010433f);
    q = LSTMCORE_FMA(0.0013941121637250828f, r2, q);
    q = LSTMCORE_FMA(q, r2, LSTMCORE_FMA(0.16666576978587402f, r, 0.500000002694669f));
#endif
    return LSTMCORE_FMA(r2, q, r);
}

/* e^-x for x >= 0; 0 where the result would be denormal */
LSTMCORE_INLINE lstmcore_real lstmcore_exp_of_minus(lstmcore_real x)
{
    lstmcore_real scale, e;
    e = lstmcore_reduced_expm1(-lstmcore_at_most(x, LSTMCORE_EXP_HIGH), &scale);
    return (LSTMCORE_R(1.0) + e) * scale;
}

/* e^x - 1 for |x| <= 60, with full relative accuracy near 0 */
LSTMCORE_INLINE lstmcore_real lstmcore_expm1_moderate(lstmcore_real x)
{
    lstmcore_real scale, e = lstmcore_reduced_expm1(x, &scale);
    return LSTMCORE_FMA(scale, e, scale - LSTMCORE_R(1.0));
}

/* ln(1 + z) for 0 <= z <= 1: 2 artanh(s), s = z/(2 + z), artanh(s) = s + s w q(w), w = s^2 */
LSTMCORE_INLINE lstmcore_real lstmcore_log1p_unit(lstmcore_real z)
{
    lstmcore_real s = z / (LSTMCORE_R(2.0) + z), w = s * s, q;
#if LSTMCORE_DOUBLE
    q = LSTMCORE_FMA(0.08093788555847685, w, 0.04394490844091738);
    q = LSTMCORE_FMA(q, w, 0.06001760017653418);
    q = LSTMCORE_FMA(q, w, 0.06656934772016826);
    q = LSTMCORE_FMA(q, w, 0.07692794014364492);
    q = LSTMCORE_FMA(q, w, 0.09090894373062408);
    q = LSTMCORE_FMA(q, w, 0.11111111366156214);
    q = LSTMCORE_FMA(q, w, 0.14285714283473983);
    q = LSTMCORE_FMA(q, w, 0.20000000000007626);
    q = LSTMCORE_FMA(q, w, 0.3333333333333333);
#else
    q = LSTMCORE_FMA(0.11626890851131338f, w, 0.10850020806601819f);
    q = LSTMCORE_FMA(q, w, 0.14296405357267686f);
    q = LSTMCORE_FMA(q, w, 0.1999984815290229f);
    q = LSTMCORE_FMA(q, w, 0.3333333367757328f);
#endif
    return LSTMCORE_R(2.0) * LSTMCORE_FMA(s * w, q, s);
}

/* ---- activation functions ------------------------------------------------------------------- */

/* (e^2|x| - 1) / (e^2|x| + 1) with the sign of x; the numerator has no cancellation near 0 */
LSTMCORE_INLINE lstmcore_real lstmcore_tanh(lstmcore_real x)
{
    lstmcore_real y = LSTMCORE_ABS(x), t;
    y = lstmcore_at_most(y, LSTMCORE_R(20.0));
    t = lstmcore_expm1_moderate(y + y);
    return LSTMCORE_COPYSIGN(t / (t + LSTMCORE_R(2.0)), x);
}

/* 1 / (1 + e^-x), as e^x / (1 + e^x) for x < 0: never the exponential of a positive number */
LSTMCORE_INLINE lstmcore_real lstmcore_logistic(lstmcore_real x)
{
    lstmcore_real e = lstmcore_exp_of_minus(LSTMCORE_ABS(x));
    return (x < 0 ? e : LSTMCORE_R(1.0)) / (LSTMCORE_R(1.0) + e);
}

/* An activation function f(x; alpha, beta) by its code, the codes of lstmcore/_activations.py. */
typedef struct {
    int code;
    lstmcore_real alpha, beta;
} lstmcore_activation;

enum {
    LSTMCORE_IDENTITY,
    LSTMCORE_LOGISTIC,
    LSTMCORE_TANH,
    LSTMCORE_RELU,
    LSTMCORE_LOGISTIC_1,
    LSTMCORE_LOGISTIC_2,
    LSTMCORE_SOFTSIGN,
    LSTMCORE_SOFTPLUS,
    LSTMCORE_ELU,
    LSTMCORE_LEAKY_RELU,
    LSTMCORE_HARD_SIGMOID,
    LSTMCORE_SCALED_TANH,
    LSTMCORE_THRESHOLDED_RELU,
    LSTMCORE_AFFINE
};

/* v[j] = tanh(v[j]) and v[j] = logistic(v[j]): the two that have vectors of their own */
LSTMCORE_SHARED void lstmcore_tanh_each(lstmcore_real *v, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        v[j] = lstmcore_tanh(v[j]);
}

LSTMCORE_SHARED void lstmcore_logistic_each(lstmcore_real *v, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        v[j] = lstmcore_logistic(v[j]);
}

/* f(x). The code is a constant of the layer, so the other branches vanish. */
LSTMCORE_INLINE lstmcore_real lstmcore_activated(lstmcore_activation f, lstmcore_real x)
{
    const lstmcore_real zero = LSTMCORE_R(0.0), one = LSTMCORE_R(1.0), half = LSTMCORE_R(0.5);
    lstmcore_real e;
    switch (f.code) {
    case LSTMCORE_LOGISTIC:
        return lstmcore_logistic(x);
    case LSTMCORE_TANH:
        return lstmcore_tanh(x);
    case LSTMCORE_RELU:
        return x < zero ? zero : x;
    case LSTMCORE_LOGISTIC_1: /* 2/(1 + e^-x) - 1 = tanh(x/2) */
        return lstmcore_tanh(half * x);
    case LSTMCORE_LOGISTIC_2: /* 4/(1 + e^-x) - 2 */
        return LSTMCORE_R(2.0) * lstmcore_tanh(half * x);
    case LSTMCORE_SOFTSIGN:
        return x / (one + LSTMCORE_ABS(x));
    case LSTMCORE_SOFTPLUS: /* ln(1 + e^x) */
        e = lstmcore_exp_of_minus(LSTMCORE_ABS(x));
        return (x > zero ? x : zero) + lstmcore_log1p_unit(e);
    case LSTMCORE_ELU:
        e = x < zero ? x : zero;
        e = e < LSTMCORE_R(-50.0) ? LSTMCORE_R(-50.0) : e;
        return x < zero ? f.alpha * lstmcore_expm1_moderate(e) : x;
    case LSTMCORE_LEAKY_RELU:
        return x < zero ? f.alpha * x : x;
    case LSTMCORE_HARD_SIGMOID:
        e = LSTMCORE_FMA(f.alpha, x, f.beta);
        e = e < zero ? zero : e;
        return e > one ? one : e;
    case LSTMCORE_SCALED_TANH:
        return f.alpha * lstmcore_tanh(f.beta * x);
    case LSTMCORE_THRESHOLDED_RELU:
        return x <= f.alpha ? zero : x;
    case LSTMCORE_AFFINE:
        return LSTMCORE_FMA(f.alpha, x, f.beta);
    default: /* LSTMCORE_IDENTITY */
        return x;
    }
}

/* v[j] = f(v[j]) */
LSTMCORE_INLINE void lstmcore_activate(lstmcore_activation f, lstmcore_real *v, size_t n)
{
    size_t j;
    if (f.code == LSTMCORE_TANH)
        lstmcore_tanh_each(v, n);
    else if (f.code == LSTMCORE_LOGISTIC)
        lstmcore_logistic_each(v, n);
    else if (f.code != LSTMCORE_IDENTITY)
        for (j = 0; j < n; j++)
            v[j] = lstmcore_activated(f, v[j]);
}

/* ---- output activations --------------------------------------------------------------------- */

enum { LSTMCORE_OUTPUT_IDENTITY, LSTMCORE_OUTPUT_LOGISTIC, LSTMCORE_OUTPUT_SOFTMAX };

/* What the loss makes of the output pre-activations, in place; exp of no positive number. */
LSTMCORE_INLINE void lstmcore_squash(int kind, lstmcore_real *y, size_t n)
{
    size_t j;
    if (kind == LSTMCORE_OUTPUT_LOGISTIC)
        lstmcore_logistic_each(y, n);
    if (kind == LSTMCORE_OUTPUT_SOFTMAX) {
        lstmcore_real largest = y[0], sum = LSTMCORE_R(0.0);
        for (j = 1; j < n; j++)
            largest = y[j] > largest ? y[j] : largest;
        for (j = 0; j < n; j++) {
            y[j] = lstmcore_exp_of_minus(largest - y[j]);
            sum += y[j];
        }
        for (j = 0; j < n; j++)
            y[j] /= sum;
    }
}

#endif

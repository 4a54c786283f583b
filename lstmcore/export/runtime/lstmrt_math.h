/* SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt.
 */
/* Numbers and activation functions of an exported network.
 *
 * Everything is computed here, with + - * / and comparisons: no library is needed, and two machines
 * with IEEE arithmetic give the same bits as long as both have, or both lack, a fused multiply-add.
 *
 * Read before this file is included:
 *     LSTMRT_DOUBLE    1 computes in double, else in float
 *     LSTMRT_INTEGERS  1 in the integers of lstmrt_int8.h
 *     LSTMRT_NO_FMA    every product is rounded before it is added, whatever the processor has
 *     LSTMRT_NO_LIBM   <math.h> is not touched; only a compiler that is neither GCC nor clang
 *                        takes anything from there, which is fma
 *     LSTMRT_KEEP_OPTIMIZATION  this code is compiled at the level of the command line, too
 */
#ifndef LSTMRT_MATH_H
#define LSTMRT_MATH_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef LSTMRT_DOUBLE
#define LSTMRT_DOUBLE 0
#endif
#ifndef LSTMRT_INTEGERS
#define LSTMRT_INTEGERS 0
#endif

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "lstmrt: expected a float of 32 bits as IEEE 754 has it"
#endif
#if LSTMRT_DOUBLE && (DBL_MANT_DIG != 53 || DBL_MAX_EXP != 1024)
#error "lstmrt: expected a double of 64 bits as IEEE 754 has it; export this network as float32"
#endif

/* LSTMRT_WIDE: the processor has vectors, and loops over units become vector instructions. */
#ifndef LSTMRT_WIDE
#if defined(__SSE2__) || defined(__ARM_NEON) || defined(_M_X64) || defined(_M_ARM64)
#define LSTMRT_WIDE 1
#else
#define LSTMRT_WIDE 0
#endif
#endif

/* GCC compiles what follows, to the end of lstmrt_model.h, as with -O2 where the command line says
 * -O0 or -Os: without optimization the functions that should vanish into their callers fill flash
 * and stack, and -Os does not keep sums in registers. Of integers without vectors it does so at
 * every level, as -O3 unrolls loops that are better left alone. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(LSTMRT_KEEP_OPTIMIZATION) &&              \
    (!defined(__OPTIMIZE__) || defined(__OPTIMIZE_SIZE__) ||                                       \
     (LSTMRT_INTEGERS && !LSTMRT_WIDE && !defined(__ARM_FEATURE_MVE)))
#define LSTMRT_OPTIMIZE 1
#pragma GCC push_options
#pragma GCC optimize("O2")
#else
#define LSTMRT_OPTIMIZE 0
#endif

/* LSTMRT_INLINE: vanishes into its caller, where the sizes are constants; not without optimization,
 * where they would be none, and every copy would take stack of its own.
 * LSTMRT_SHARED: inlined where that makes vectors, else kept once to save flash. */
#if defined(__GNUC__) && (defined(__OPTIMIZE__) || LSTMRT_OPTIMIZE)
#define LSTMRT_INLINE static inline __attribute__((always_inline))
#else
#define LSTMRT_INLINE static inline
#endif
#if defined(__GNUC__)
#define LSTMRT_RESTRICT __restrict__
#define LSTMRT_NOINLINE static __attribute__((noinline, unused))
#else
#define LSTMRT_RESTRICT
#define LSTMRT_NOINLINE static inline
#endif

#if LSTMRT_WIDE
#define LSTMRT_SHARED LSTMRT_INLINE
#else
#define LSTMRT_SHARED LSTMRT_NOINLINE
#endif

#if LSTMRT_DOUBLE
typedef double lstmrt_real;
typedef uint64_t lstmrt_bits;
#define LSTMRT_R(literal) literal
#else
typedef float lstmrt_real;
typedef uint32_t lstmrt_bits;
#define LSTMRT_R(literal) literal##f
#endif

/* a b + c, rounded once where the processor does that in one instruction and the compiler can be
 * asked for it: a call of the library's fma may take a hundred times as long. clang makes one of
 * __builtin_fma unless it knows that the library's leaves errno alone, which it does not know of
 * bare metal; of __builtin_elementwise_fma (clang 16) it never makes one. */
#if defined(__clang__)
#if __has_builtin(__builtin_elementwise_fma)
#define LSTMRT_FUSE(type) __builtin_elementwise_fma
#elif defined(__GLIBC__) || defined(__ANDROID__) || defined(__APPLE__) || defined(_WIN32) ||       \
    defined(__NO_MATH_ERRNO__)
#define LSTMRT_FUSE(type) __builtin_fma##type
#endif
#elif defined(__GNUC__)
#define LSTMRT_FUSE(type) __builtin_fma##type
#elif !defined(LSTMRT_NO_LIBM)
#include <math.h> /* which says by FP_FAST_FMA whether it is an instruction */
#define LSTMRT_FUSE(type) fma##type
#endif
#if defined(LSTMRT_FUSE) && !defined(LSTMRT_NO_FMA)
#if !defined(__GNUC__)
#if LSTMRT_DOUBLE && defined(FP_FAST_FMA)
#define LSTMRT_FMA(a, b, c) fma(a, b, c)
#elif !LSTMRT_DOUBLE && defined(FP_FAST_FMAF)
#define LSTMRT_FMA(a, b, c) fmaf(a, b, c)
#endif
#elif LSTMRT_DOUBLE &&                                                                             \
    (defined(__FP_FAST_FMA) || defined(__FMA__) || defined(__aarch64__) ||                         \
     (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 8)))
#define LSTMRT_FMA(a, b, c) LSTMRT_FUSE()(a, b, c)
#elif !LSTMRT_DOUBLE &&                                                                            \
    (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) ||                        \
     (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4)))
#define LSTMRT_FMA(a, b, c) LSTMRT_FUSE(f)(a, b, c)
#endif
#endif
#ifdef LSTMRT_FMA
#define LSTMRT_FUSED 1
#else
#define LSTMRT_FUSED 0
#define LSTMRT_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* |x| and |x| with the sign of y, without a branch: loops of them become vector instructions */
#if defined(__GNUC__) && LSTMRT_DOUBLE
#define LSTMRT_ABS(x) __builtin_fabs(x)
#define LSTMRT_COPYSIGN(x, y) __builtin_copysign(x, y)
#elif defined(__GNUC__)
#define LSTMRT_ABS(x) __builtin_fabsf(x)
#define LSTMRT_COPYSIGN(x, y) __builtin_copysignf(x, y)
#else
#define LSTMRT_ABS(x) ((x) < 0 ? -(x) : (x))
#define LSTMRT_COPYSIGN(x, y) ((y) < 0 ? -LSTMRT_ABS(x) : LSTMRT_ABS(x))
#endif

/* what the peephole of an LSTM's output gate reads: the cell state after this step, or that before
 * it; or there is none */
enum { LSTMRT_PEEP_NOW = 0, LSTMRT_PEEP_BEFORE = 1, LSTMRT_PEEP_NONE = 2 };

/* Numbers of time steps as a real */
LSTMRT_INLINE lstmrt_real lstmrt_count(uint64_t steps)
{
    const uint32_t high = (uint32_t)(steps >> 32), low = (uint32_t)steps;
    return (lstmrt_real)high * LSTMRT_R(4294967296.0) + (lstmrt_real)low;
}

/* ---- exponentials --------------------------------------------------------------------------- */

#if LSTMRT_DOUBLE
#define LSTMRT_ROUNDER 6755399441055744.0 /* 1.5 * 2^52 */
#define LSTMRT_EXPONENT_BIAS 1023u
#define LSTMRT_MANTISSA_BITS 52
#define LSTMRT_EXP_HIGH 709.0               /* there n = -1023 */
#else
#define LSTMRT_ROUNDER 12582912.0f          /* 1.5 * 2^23 */
#define LSTMRT_EXPONENT_BIAS 127u
#define LSTMRT_MANTISSA_BITS 23
#define LSTMRT_EXP_HIGH 88.0f
#endif

/* The smaller of x and the limit; a NaN stays a NaN. Where loops are to become vector instructions
 * the choice is one of bits: what follows a branch is not allowed to move in front of it, as it
 * might raise a floating-point exception. */
LSTMRT_INLINE lstmrt_real lstmrt_at_most(lstmrt_real x, lstmrt_real limit)
{
#if LSTMRT_WIDE
    lstmrt_bits x_bits, limit_bits, above = (lstmrt_bits)0 - (lstmrt_bits)(x > limit);
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
LSTMRT_INLINE lstmrt_real lstmrt_reduced_expm1(lstmrt_real x, lstmrt_real *scale)
{
    lstmrt_real n, r, r2, q;
    lstmrt_bits bits;
#if defined(__FAST_MATH__) /* which would undo the rounding */
    n = x * LSTMRT_R(1.4426950408889634);
    bits = (lstmrt_bits)(int32_t)(n < 0 ? n - LSTMRT_R(0.5) : n + LSTMRT_R(0.5));
    n = (lstmrt_real)(int32_t)bits;
#else
    n = LSTMRT_FMA(x, LSTMRT_R(1.4426950408889634), LSTMRT_ROUNDER);
    memcpy(&bits, &n, sizeof bits);
    n -= LSTMRT_ROUNDER;
#endif
    bits = (bits + LSTMRT_EXPONENT_BIAS) << LSTMRT_MANTISSA_BITS;
    memcpy(scale, &bits, sizeof bits);
#if LSTMRT_DOUBLE
    r = LSTMRT_FMA(n, -6.93147180369123816490e-01, x);
    r = LSTMRT_FMA(n, -1.90821492927058770002e-10, r);
    r2 = r * r;
    q = LSTMRT_FMA(2.5110048019267005e-08, r, 2.7620086374492805e-07);
    q = LSTMRT_FMA(q, r, 2.755724234140122e-06);
    q = LSTMRT_FMA(q, r, 2.480152130002751e-05);
    q = LSTMRT_FMA(q, r, 0.00019841269886587123);
    q = LSTMRT_FMA(q, r, 0.001388888891721134);
    q = LSTMRT_FMA(q, r, 0.008333333333322208);
    q = LSTMRT_FMA(q, r, 0.04166666666662413);
    q = LSTMRT_FMA(q, r, 0.16666666666666674);
    q = LSTMRT_FMA(q, r, 0.5000000000000001);
#else
#if LSTMRT_FUSED
    r = LSTMRT_FMA(n, -0.693147180559945f, x);
#else
    r = LSTMRT_FMA(n, -0.693359375f, x);
    r = LSTMRT_FMA(n, 2.12194440e-4f, r);
#endif
    r2 = r * r;
    q = LSTMRT_FMA(0.008363179811610824f, r, 0.04166637516010433f);
    q = LSTMRT_FMA(0.0013941121637250828f, r2, q);
    q = LSTMRT_FMA(q, r2, LSTMRT_FMA(0.16666576978587402f, r, 0.500000002694669f));
#endif
    return LSTMRT_FMA(r2, q, r);
}

/* e^-x for x >= 0; 0 where the result would be denormal */
LSTMRT_INLINE lstmrt_real lstmrt_exp_of_minus(lstmrt_real x)
{
    lstmrt_real scale, e;
    e = lstmrt_reduced_expm1(-lstmrt_at_most(x, LSTMRT_EXP_HIGH), &scale);
    return (LSTMRT_R(1.0) + e) * scale;
}

/* e^x as the square of e^(x/2), whose exponent is there for every finite e^x; else infinity or 0.
 * Within 7 units in the last place of a float, 4 of a double; -ffast-math loses more. */
LSTMRT_INLINE lstmrt_real lstmrt_exp(lstmrt_real x)
{
    lstmrt_real scale, e = lstmrt_at_most(LSTMRT_R(0.5) * x, LSTMRT_EXP_HIGH);
    e = lstmrt_reduced_expm1(-lstmrt_at_most(-e, LSTMRT_EXP_HIGH), &scale);
    e = LSTMRT_FMA(scale, e, scale);
    return e * e;
}

/* e^x - 1 for |x| <= 60, with full relative accuracy near 0 */
LSTMRT_INLINE lstmrt_real lstmrt_expm1_moderate(lstmrt_real x)
{
    lstmrt_real scale, e = lstmrt_reduced_expm1(x, &scale);
    return LSTMRT_FMA(scale, e, scale - LSTMRT_R(1.0));
}

/* ln(1 + z) for 0 <= z <= 1: 2 artanh(s), s = z/(2 + z), artanh(s) = s + s w q(w), w = s^2 */
LSTMRT_INLINE lstmrt_real lstmrt_log1p_unit(lstmrt_real z)
{
    lstmrt_real s = z / (LSTMRT_R(2.0) + z), w = s * s, q;
#if LSTMRT_DOUBLE
    q = LSTMRT_FMA(0.08093788555847685, w, 0.04394490844091738);
    q = LSTMRT_FMA(q, w, 0.06001760017653418);
    q = LSTMRT_FMA(q, w, 0.06656934772016826);
    q = LSTMRT_FMA(q, w, 0.07692794014364492);
    q = LSTMRT_FMA(q, w, 0.09090894373062408);
    q = LSTMRT_FMA(q, w, 0.11111111366156214);
    q = LSTMRT_FMA(q, w, 0.14285714283473983);
    q = LSTMRT_FMA(q, w, 0.20000000000007626);
    q = LSTMRT_FMA(q, w, 0.3333333333333333);
#else
    q = LSTMRT_FMA(0.11626890851131338f, w, 0.10850020806601819f);
    q = LSTMRT_FMA(q, w, 0.14296405357267686f);
    q = LSTMRT_FMA(q, w, 0.1999984815290229f);
    q = LSTMRT_FMA(q, w, 0.3333333367757328f);
#endif
    return LSTMRT_R(2.0) * LSTMRT_FMA(s * w, q, s);
}

/* ---- activation functions ------------------------------------------------------------------- */

/* (e^2|x| - 1) / (e^2|x| + 1) with the sign of x; the numerator has no cancellation near 0 */
LSTMRT_INLINE lstmrt_real lstmrt_tanh(lstmrt_real x)
{
    lstmrt_real y = LSTMRT_ABS(x), t;
    y = lstmrt_at_most(y, LSTMRT_R(20.0));
    t = lstmrt_expm1_moderate(y + y);
    return LSTMRT_COPYSIGN(t / (t + LSTMRT_R(2.0)), x);
}

/* 1 / (1 + e^-x), as e^x / (1 + e^x) for x < 0: never the exponential of a positive number */
LSTMRT_INLINE lstmrt_real lstmrt_logistic(lstmrt_real x)
{
    lstmrt_real e = lstmrt_exp_of_minus(LSTMRT_ABS(x));
    return (x < 0 ? e : LSTMRT_R(1.0)) / (LSTMRT_R(1.0) + e);
}

/* An activation function f(x; alpha, beta) by its code, the codes of lstmcore/_activations.py. */
typedef struct {
    int code;
    lstmrt_real alpha, beta;
} lstmrt_activation;

enum {
    LSTMRT_IDENTITY,
    LSTMRT_LOGISTIC,
    LSTMRT_TANH,
    LSTMRT_RELU,
    LSTMRT_LOGISTIC_1,
    LSTMRT_LOGISTIC_2,
    LSTMRT_SOFTSIGN,
    LSTMRT_SOFTPLUS,
    LSTMRT_ELU,
    LSTMRT_LEAKY_RELU,
    LSTMRT_HARD_SIGMOID,
    LSTMRT_SCALED_TANH,
    LSTMRT_THRESHOLDED_RELU,
    LSTMRT_AFFINE
};

/* v[j] = tanh(v[j]) and v[j] = logistic(v[j]): the two that have vectors of their own */
LSTMRT_SHARED void lstmrt_tanh_each(lstmrt_real *v, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        v[j] = lstmrt_tanh(v[j]);
}

LSTMRT_SHARED void lstmrt_logistic_each(lstmrt_real *v, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        v[j] = lstmrt_logistic(v[j]);
}

/* f(x). The code is a constant of the layer, so the other branches vanish. */
LSTMRT_INLINE lstmrt_real lstmrt_activated(lstmrt_activation f, lstmrt_real x)
{
    const lstmrt_real zero = LSTMRT_R(0.0), one = LSTMRT_R(1.0), half = LSTMRT_R(0.5);
    lstmrt_real e;
    switch (f.code) {
    case LSTMRT_LOGISTIC:
        return lstmrt_logistic(x);
    case LSTMRT_TANH:
        return lstmrt_tanh(x);
    case LSTMRT_RELU:
        return x < zero ? zero : x;
    case LSTMRT_LOGISTIC_1: /* 2/(1 + e^-x) - 1 = tanh(x/2) */
        return lstmrt_tanh(half * x);
    case LSTMRT_LOGISTIC_2: /* 4/(1 + e^-x) - 2 */
        return LSTMRT_R(2.0) * lstmrt_tanh(half * x);
    case LSTMRT_SOFTSIGN:
        return x / (one + LSTMRT_ABS(x));
    case LSTMRT_SOFTPLUS: /* ln(1 + e^x) */
        e = lstmrt_exp_of_minus(LSTMRT_ABS(x));
        return (x > zero ? x : zero) + lstmrt_log1p_unit(e);
    case LSTMRT_ELU:
        e = x < zero ? x : zero;
        e = e < LSTMRT_R(-50.0) ? LSTMRT_R(-50.0) : e;
        return x < zero ? f.alpha * lstmrt_expm1_moderate(e) : x;
    case LSTMRT_LEAKY_RELU:
        return x < zero ? f.alpha * x : x;
    case LSTMRT_HARD_SIGMOID:
        e = LSTMRT_FMA(f.alpha, x, f.beta);
        e = e < zero ? zero : e;
        return e > one ? one : e;
    case LSTMRT_SCALED_TANH:
        return f.alpha * lstmrt_tanh(f.beta * x);
    case LSTMRT_THRESHOLDED_RELU:
        return x <= f.alpha ? zero : x;
    case LSTMRT_AFFINE:
        return LSTMRT_FMA(f.alpha, x, f.beta);
    default: /* LSTMRT_IDENTITY */
        return x;
    }
}

/* v[j] = f(v[j]) */
LSTMRT_INLINE void lstmrt_activate(lstmrt_activation f, lstmrt_real *v, size_t n)
{
    size_t j;
    if (f.code == LSTMRT_TANH)
        lstmrt_tanh_each(v, n);
    else if (f.code == LSTMRT_LOGISTIC)
        lstmrt_logistic_each(v, n);
    else if (f.code != LSTMRT_IDENTITY)
        for (j = 0; j < n; j++)
            v[j] = lstmrt_activated(f, v[j]);
}

/* ---- output activations --------------------------------------------------------------------- */

enum {
    LSTMRT_OUTPUT_IDENTITY,
    LSTMRT_OUTPUT_LOGISTIC,
    LSTMRT_OUTPUT_SOFTMAX,
    LSTMRT_OUTPUT_EXPONENTIAL,
    LSTMRT_OUTPUT_TANH
};

/* What the loss makes of the output pre-activations, in place; the softmax without exp of any
 * positive number. */
LSTMRT_INLINE void lstmrt_output_units(int kind, lstmrt_real *y, size_t n)
{
    size_t j;
    if (kind == LSTMRT_OUTPUT_LOGISTIC)
        lstmrt_logistic_each(y, n);
    if (kind == LSTMRT_OUTPUT_SOFTMAX) {
        lstmrt_real largest = y[0], sum = LSTMRT_R(0.0);
        for (j = 1; j < n; j++)
            largest = y[j] > largest ? y[j] : largest;
        for (j = 0; j < n; j++) {
            y[j] = lstmrt_exp_of_minus(largest - y[j]);
            sum += y[j];
        }
        for (j = 0; j < n; j++)
            y[j] /= sum;
    }
    if (kind == LSTMRT_OUTPUT_EXPONENTIAL)
        for (j = 0; j < n; j++)
            y[j] = lstmrt_exp(y[j]);
    if (kind == LSTMRT_OUTPUT_TANH)
        lstmrt_tanh_each(y, n);
}

/* The same of n outputs that stand above a floor. */
LSTMRT_INLINE void lstmrt_output_columns(int kind, lstmrt_real *y, size_t n, lstmrt_real floor)
{
    size_t j;
    lstmrt_output_units(kind, y, n);
    if (floor != LSTMRT_R(0.0))
        for (j = 0; j < n; j++)
            y[j] += floor;
}

#endif

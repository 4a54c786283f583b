/* The vector types and the few operations on them that Cython cannot say.
 *
 * vf holds VF floats, vd holds VD doubles. They are the compiler's own vector types, so + - * /
 * are written as usual; what stands here is only: multiply-add with one rounding, broadcast, floats
 * as doubles, choice by comparison, signs and exponents, and the processor's mode for denormal
 * numbers.
 *
 * Compile with -ffp-contract=off: where a product and a sum round once is said by fma, and nowhere
 * else, so that a result does not depend on the function into which a line was inlined.
 *
 * Without the vector extension (MSVC) both types are plain scalars of width 1.
 */
#ifndef LSTMCORE_VECTOR_H
#define LSTMCORE_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define LSTMCORE_INLINE static inline __attribute__((always_inline))
/* Every `cdef inline` that follows must vanish into its caller: tiles and cells are written once
 * for all sizes and specialised by the constants that they are called with. */
#undef CYTHON_INLINE
#define CYTHON_INLINE inline __attribute__((always_inline))
#else
#define LSTMCORE_INLINE static __inline
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if !(defined(__GNUC__) || defined(__clang__))
#define VBYTES 0
#elif defined(__AVX512F__)
#define VBYTES 64
#elif defined(__AVX__)
#define VBYTES 32
#else
#define VBYTES 16
#endif

/* Rows of a register tile that is 4, 2, 1 vectors wide: what fits 32 or 16 vector registers. */
#if VBYTES == 64 || defined(__ARM_NEON)
#define ROWS_4 6
#define ROWS_2 8
#define ROWS_1 8
#else
#define ROWS_4 3
#define ROWS_2 6
#define ROWS_1 8
#endif

#if VBYTES

typedef float vf __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(VBYTES), aligned(8), may_alias));
typedef uint32_t vf_bits __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef uint64_t vd_bits __attribute__((vector_size(VBYTES), aligned(8), may_alias));
#define VF (VBYTES / 4)
#define VD (VBYTES / 8)

LSTMCORE_INLINE vf vf_splat(float s) { return s - (vf){0}; }
LSTMCORE_INLINE vd vd_splat(double s) { return s - (vd){0}; }

#else

typedef float vf;
typedef double vd;
#define VF 1
#define VD 1
LSTMCORE_INLINE vf vf_splat(float s) { return s; }
LSTMCORE_INLINE vd vd_splat(double s) { return s; }

#endif

/* VD floats, widened and rounded */
#if VBYTES == 64
LSTMCORE_INLINE vd vd_from_floats(const float *p)
{ return (vd)_mm512_cvtps_pd(_mm256_loadu_ps(p)); }
LSTMCORE_INLINE void vd_to_floats(float *p, vd x)
{ _mm256_storeu_ps(p, _mm512_cvtpd_ps((__m512d)x)); }
#elif VBYTES == 32
LSTMCORE_INLINE vd vd_from_floats(const float *p)
{ return (vd)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
LSTMCORE_INLINE void vd_to_floats(float *p, vd x)
{ _mm_storeu_ps(p, _mm256_cvtpd_ps((__m256d)x)); }
#elif VBYTES
LSTMCORE_INLINE vd vd_from_floats(const float *p) { return (vd){p[0], p[1]}; }
LSTMCORE_INLINE void vd_to_floats(float *p, vd x) { p[0] = (float)x[0]; p[1] = (float)x[1]; }
#else
LSTMCORE_INLINE vd vd_from_floats(const float *p) { return *p; }
LSTMCORE_INLINE void vd_to_floats(float *p, vd x) { *p = (float)x; }
#endif

/* x, from here on in a register. GCC lets each of two or three multiply-adds read their common
 * operand from memory, and a tile then waits for its loads. Of 16 registers there is none left. */
#if VBYTES == 64
LSTMCORE_INLINE vf vf_in_register(vf x) { __asm__("" : "+v"(x)); return x; }
LSTMCORE_INLINE vd vd_in_register(vd x) { __asm__("" : "+v"(x)); return x; }
#else
LSTMCORE_INLINE vf vf_in_register(vf x) { return x; }
LSTMCORE_INLINE vd vd_in_register(vd x) { return x; }
#endif

/* a*b + c, rounded once where the processor can */
#if VBYTES == 64
LSTMCORE_INLINE vf vf_fma(vf a, vf b, vf c)
{ return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
LSTMCORE_INLINE vd vd_fma(vd a, vd b, vd c)
{ return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
#elif VBYTES == 32 && defined(__FMA__)
LSTMCORE_INLINE vf vf_fma(vf a, vf b, vf c)
{ return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
LSTMCORE_INLINE vd vd_fma(vd a, vd b, vd c)
{ return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#elif VBYTES == 16 && defined(__ARM_NEON) && defined(__aarch64__)
LSTMCORE_INLINE vf vf_fma(vf a, vf b, vf c)
{ return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
LSTMCORE_INLINE vd vd_fma(vd a, vd b, vd c)
{ return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
#else
LSTMCORE_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
LSTMCORE_INLINE vd vd_fma(vd a, vd b, vd c) { return a * b + c; }
#endif

/* Whether fma rounds once */
#if defined(__FMA__) || defined(__aarch64__)
#define FUSED 1
#else
#define FUSED 0
#endif

/* n - q*d, exact but for its own rounding */
#if FUSED
LSTMCORE_INLINE vd vd_remainder(vd n, vd q, vd d) { return vd_fma(-q, d, n); }
#else
/* without a fused multiply-add: Dekker's product of two halves */
LSTMCORE_INLINE vd vd_remainder(vd n, vd q, vd d)
{
    vd sq = 134217729.0 * q, sd = 134217729.0 * d, p = q * d;
    vd q1 = sq - (sq - q), d1 = sd - (sd - d), q2 = q - q1, d2 = d - d1;
    return (n - p) - (((q1 * d1 - p) + q1 * d2 + q2 * d1) + q2 * d2);
}
#endif

/* lane by lane: x < y ? a : b (a NaN compares false) */
#if VBYTES == 64
LSTMCORE_INLINE vf vf_where_less(vf x, vf y, vf a, vf b)
{ return (vf)_mm512_mask_blend_ps(
      _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_LT_OQ), (__m512)b, (__m512)a); }
LSTMCORE_INLINE vd vd_where_less(vd x, vd y, vd a, vd b)
{ return (vd)_mm512_mask_blend_pd(
      _mm512_cmp_pd_mask((__m512d)x, (__m512d)y, _CMP_LT_OQ), (__m512d)b, (__m512d)a); }
#elif VBYTES == 32
LSTMCORE_INLINE vf vf_where_less(vf x, vf y, vf a, vf b)
{ return (vf)_mm256_blendv_ps((__m256)b, (__m256)a,
      _mm256_cmp_ps((__m256)x, (__m256)y, _CMP_LT_OQ)); }
LSTMCORE_INLINE vd vd_where_less(vd x, vd y, vd a, vd b)
{ return (vd)_mm256_blendv_pd((__m256d)b, (__m256d)a,
      _mm256_cmp_pd((__m256d)x, (__m256d)y, _CMP_LT_OQ)); }
#elif VBYTES
LSTMCORE_INLINE vf vf_where_less(vf x, vf y, vf a, vf b)
{ vf_bits m = (vf_bits)(x < y); return (vf)((m & (vf_bits)a) | (~m & (vf_bits)b)); }
LSTMCORE_INLINE vd vd_where_less(vd x, vd y, vd a, vd b)
{ vd_bits m = (vd_bits)(x < y); return (vd)((m & (vd_bits)a) | (~m & (vd_bits)b)); }
#else
LSTMCORE_INLINE vf vf_where_less(vf x, vf y, vf a, vf b) { return x < y ? a : b; }
LSTMCORE_INLINE vd vd_where_less(vd x, vd y, vd a, vd b) { return x < y ? a : b; }
#endif

/* x, but not less (not more) than the limit; a NaN stays a NaN */
#if VBYTES == 64
LSTMCORE_INLINE vf vf_at_least(vf x, vf limit)
{ return (vf)_mm512_max_ps((__m512)limit, (__m512)x); }
LSTMCORE_INLINE vd vd_at_least(vd x, vd limit)
{ return (vd)_mm512_max_pd((__m512d)limit, (__m512d)x); }
LSTMCORE_INLINE vf vf_at_most(vf x, vf limit)
{ return (vf)_mm512_min_ps((__m512)limit, (__m512)x); }
LSTMCORE_INLINE vd vd_at_most(vd x, vd limit)
{ return (vd)_mm512_min_pd((__m512d)limit, (__m512d)x); }
#elif VBYTES == 32
LSTMCORE_INLINE vf vf_at_least(vf x, vf limit)
{ return (vf)_mm256_max_ps((__m256)limit, (__m256)x); }
LSTMCORE_INLINE vd vd_at_least(vd x, vd limit)
{ return (vd)_mm256_max_pd((__m256d)limit, (__m256d)x); }
LSTMCORE_INLINE vf vf_at_most(vf x, vf limit)
{ return (vf)_mm256_min_ps((__m256)limit, (__m256)x); }
LSTMCORE_INLINE vd vd_at_most(vd x, vd limit)
{ return (vd)_mm256_min_pd((__m256d)limit, (__m256d)x); }
#else
LSTMCORE_INLINE vf vf_at_least(vf x, vf limit) { return vf_where_less(x, limit, limit, x); }
LSTMCORE_INLINE vd vd_at_least(vd x, vd limit) { return vd_where_less(x, limit, limit, x); }
LSTMCORE_INLINE vf vf_at_most(vf x, vf limit) { return vf_where_less(limit, x, limit, x); }
LSTMCORE_INLINE vd vd_at_most(vd x, vd limit) { return vd_where_less(limit, x, limit, x); }
#endif

/* Bits: |x|; y >= 0 with the sign of x; and 2^n out of n + VF_ROUND (VD_ROUND). Adding that number
 * (1.5 * 2^mantissa bits + the exponents' bias) leaves no place for a fraction: it rounds n to an
 * integer and has n + bias in its low bits, which belong to the exponent's place. Good for n from
 * minus the bias (which gives 0) to the bias. */
#define VF_ROUND 12583039.0f
#define VD_ROUND 6755399441056767.0
#if VBYTES
LSTMCORE_INLINE vf vf_abs(vf x) { return (vf)((vf_bits)x & 0x7fffffffu); }
LSTMCORE_INLINE vd vd_abs(vd x) { return (vd)((vd_bits)x & 0x7fffffffffffffffu); }
LSTMCORE_INLINE vf vf_signed_as(vf y, vf x)
{ return (vf)((vf_bits)y | ((vf_bits)x & 0x80000000u)); }
LSTMCORE_INLINE vd vd_signed_as(vd y, vd x)
{ return (vd)((vd_bits)y | ((vd_bits)x & 0x8000000000000000u)); }
LSTMCORE_INLINE vf vf_pow2(vf rounded) { return (vf)((vf_bits)rounded << 23); }
LSTMCORE_INLINE vd vd_pow2(vd rounded) { return (vd)((vd_bits)rounded << 52); }
#else
LSTMCORE_INLINE vf vf_abs(vf x) { return x < 0 ? -x : x; }
LSTMCORE_INLINE vd vd_abs(vd x) { return x < 0 ? -x : x; }
LSTMCORE_INLINE vf vf_signed_as(vf y, vf x) { return x < 0 ? -y : y; }
LSTMCORE_INLINE vd vd_signed_as(vd y, vd x) { return x < 0 ? -y : y; }
LSTMCORE_INLINE vf vf_pow2(vf rounded)
{ uint32_t u; memcpy(&u, &rounded, 4); u <<= 23; memcpy(&rounded, &u, 4); return rounded; }
LSTMCORE_INLINE vd vd_pow2(vd rounded)
{ uint64_t u; memcpy(&u, &rounded, 8); u <<= 52; memcpy(&rounded, &u, 8); return rounded; }
#endif

/* The exponent of x >= 0, from -1022 to 1023: -1023 of 0. The exponent's bits, in the low ones of
 * 2^52. */
#if VBYTES
LSTMCORE_INLINE vd vd_exponent(vd x)
{ return (vd)(((vd_bits)x >> 52) | 0x4330000000000000u) - 4503599627371519.0; }
#else
LSTMCORE_INLINE vd vd_exponent(vd x)
{ uint64_t u; memcpy(&u, &x, 8); u = (u >> 52) | 0x4330000000000000u; memcpy(&x, &u, 8);
  return x - 4503599627371519.0; }
#endif

/* The vectors at x, as many as each has numbers, transposed in place: the two blocks off the
 * diagonal change places, those of half the size first, then those within the halves, and so on.
 * UPPER, LOWER: where number k comes from in the upper, the lower of two rows `size` apart. */
#if VBYTES
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(bits, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(bits, a, b, ...) __builtin_shuffle(a, b, (bits){__VA_ARGS__})
#endif
#define UPPER(k, size, n) ((k) & (size) ? (n) + (k) - (size) : (k))
#define LOWER(k, size, n) ((k) & (size) ? (n) + (k) : (k) + (size))
#define OF_2(F, k, size, n) F(k, size, n), F((k) + 1, size, n)
#define OF_4(F, k, size, n) OF_2(F, k, size, n), OF_2(F, (k) + 2, size, n)
#define OF_8(F, k, size, n) OF_4(F, k, size, n), OF_4(F, (k) + 4, size, n)
#define OF_16(F, k, size, n) OF_8(F, k, size, n), OF_8(F, (k) + 8, size, n)
#define EXCHANGE(type, size, n, OF) \
    for (int i = 0; i < n; i++) \
        if (!(i & (size))) { \
            type upper = x[i], lower = x[i + (size)]; \
            x[i] = SHUFFLE(type##_bits, upper, lower, OF(UPPER, 0, size, n)); \
            x[i + (size)] = SHUFFLE(type##_bits, upper, lower, OF(LOWER, 0, size, n)); \
        }
#if VBYTES == 64
LSTMCORE_INLINE void vf_transpose(vf *x)
{ EXCHANGE(vf, 8, 16, OF_16) EXCHANGE(vf, 4, 16, OF_16) EXCHANGE(vf, 2, 16, OF_16)
  EXCHANGE(vf, 1, 16, OF_16) }
LSTMCORE_INLINE void vd_transpose(vd *x)
{ EXCHANGE(vd, 4, 8, OF_8) EXCHANGE(vd, 2, 8, OF_8) EXCHANGE(vd, 1, 8, OF_8) }
#elif VBYTES == 32
LSTMCORE_INLINE void vf_transpose(vf *x)
{ EXCHANGE(vf, 4, 8, OF_8) EXCHANGE(vf, 2, 8, OF_8) EXCHANGE(vf, 1, 8, OF_8) }
LSTMCORE_INLINE void vd_transpose(vd *x)
{ EXCHANGE(vd, 2, 4, OF_4) EXCHANGE(vd, 1, 4, OF_4) }
#else
LSTMCORE_INLINE void vf_transpose(vf *x) { EXCHANGE(vf, 2, 4, OF_4) EXCHANGE(vf, 1, 4, OF_4) }
LSTMCORE_INLINE void vd_transpose(vd *x) { EXCHANGE(vd, 1, 2, OF_2) }
#endif
#else
LSTMCORE_INLINE void vf_transpose(vf *x) { (void)x; }
LSTMCORE_INLINE void vd_transpose(vd *x) { (void)x; }
#endif

/* Denormal numbers cost a hundred cycles each and mean nothing here: they are flushed to zero
 * between the two calls, which keep and restore the caller's mode. */
#if defined(__x86_64__) || defined(_M_X64)
LSTMCORE_INLINE uint64_t flush_denormals(void)
{ unsigned int mode = _mm_getcsr(); _mm_setcsr(mode | 0x8040u); return mode; }
LSTMCORE_INLINE void restore_denormals(uint64_t mode)
{ _mm_setcsr((unsigned int)mode); }
#elif defined(__aarch64__)
LSTMCORE_INLINE uint64_t flush_denormals(void)
{ uint64_t mode, on; __asm__ volatile("mrs %0, fpcr" : "=r"(mode)); on = mode | ((uint64_t)1 << 24);
  __asm__ volatile("msr fpcr, %0" : : "r"(on) : "memory"); return mode; }
LSTMCORE_INLINE void restore_denormals(uint64_t mode)
{ __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
LSTMCORE_INLINE uint64_t flush_denormals(void) { return 0; }
LSTMCORE_INLINE void restore_denormals(uint64_t mode) { (void)mode; }
#endif

#endif

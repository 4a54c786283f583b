# Vector maths: exp, tanh, logistic and the other activations, and their derivatives.
#
# Everything here works on one vector of either type; nothing depends on what stands in the other
# lanes, so a value does not depend on its place. Accuracy is measured in tests/test_accuracy.py.

from libc.string cimport memcmp, memcpy, memset

cdef extern from "_vector.h" nogil:
    ctypedef float vf
    ctypedef double vd
    enum: VF
    enum: VD
    enum: FUSED
    vf vf_splat(float)
    vd vd_splat(double)
    vd vd_from_floats(const float*)
    void vd_to_floats(float*, vd)
    vf vf_in_register(vf)
    vd vd_in_register(vd)
    vf vf_fma(vf, vf, vf)
    vd vd_fma(vd, vd, vd)
    vd vd_remainder(vd, vd, vd)
    vf vf_where_less(vf, vf, vf, vf)
    vd vd_where_less(vd, vd, vd, vd)
    vf vf_at_least(vf, vf)
    vd vd_at_least(vd, vd)
    vf vf_at_most(vf, vf)
    vd vd_at_most(vd, vd)
    vf vf_abs(vf)
    vd vd_abs(vd)
    vf vf_signed_as(vf, vf)
    vd vd_signed_as(vd, vd)
    vf vf_pow2(vf)
    vd vd_pow2(vd)
    vd vd_exponent(vd)
    void vf_transpose(vf*)
    void vd_transpose(vd*)
    float VF_ROUND
    double VD_ROUND
    unsigned long long flush_denormals()
    void restore_denormals(unsigned long long)

ctypedef fused vec:
    vf
    vd

cdef enum:
    MOST_LANES = 16             # floats in the widest vector


cdef inline vec like(vec x, double value) noexcept nogil:
    """`value` in every lane of a vector of x's type."""
    if vec is vf:
        return vf_splat(<float>value)
    else:
        return vd_splat(value)

cdef inline vec in_register(vec x) noexcept nogil:
    if vec is vf:
        return vf_in_register(x)
    else:
        return vd_in_register(x)

cdef inline vec fma(vec a, vec b, vec c) noexcept nogil:
    """a*b + c"""
    if vec is vf:
        return vf_fma(a, b, c)
    else:
        return vd_fma(a, b, c)

cdef inline vec where_less(vec x, vec y, vec a, vec b) noexcept nogil:
    """x < y ? a : b; a NaN in x or y chooses b"""
    if vec is vf:
        return vf_where_less(x, y, a, b)
    else:
        return vd_where_less(x, y, a, b)

cdef inline vec pow2(vec rounded) noexcept nogil:
    """2^n out of n + rounder"""
    if vec is vf:
        return vf_pow2(rounded)
    else:
        return vd_pow2(rounded)

cdef inline vec rounder(vec x) noexcept nogil:
    if vec is vf:
        return vf_splat(VF_ROUND)
    else:
        return vd_splat(VD_ROUND)

cdef inline vec absolute(vec x) noexcept nogil:
    if vec is vf:
        return vf_abs(x)
    else:
        return vd_abs(x)

cdef inline vec signed_as(vec y, vec x) noexcept nogil:
    """y >= 0 with the sign of x"""
    if vec is vf:
        return vf_signed_as(y, x)
    else:
        return vd_signed_as(y, x)

cdef inline vec at_least(vec x, double limit) noexcept nogil:
    """max(x, limit); a NaN stays a NaN"""
    if vec is vf:
        return vf_at_least(x, vf_splat(<float>limit))
    else:
        return vd_at_least(x, vd_splat(limit))

cdef inline vec at_most(vec x, double limit) noexcept nogil:
    """min(x, limit); a NaN stays a NaN"""
    if vec is vf:
        return vf_at_most(x, vf_splat(<float>limit))
    else:
        return vd_at_most(x, vd_splat(limit))


# ---- pointers -----------------------------------------------------------------------------------
# A `vec*` points at numbers of the vector's element type; it need not be aligned. `at` and `item`
# count in numbers, indexing counts in vectors.

cdef inline Py_ssize_t lanes(const vec* type_of) noexcept nogil:
    if vec is vf:
        return VF
    else:
        return VD

cdef inline vec* at(const vec* p, Py_ssize_t k) noexcept nogil:
    if vec is vf:
        return <vec*>(<float*>p + k)
    else:
        return <vec*>(<double*>p + k)

cdef inline vec item(const vec* p, Py_ssize_t k) noexcept nogil:
    """Number k at p, in every lane."""
    if vec is vf:
        return vf_splat((<const float*>p)[k])
    else:
        return vd_splat((<const double*>p)[k])


cdef inline void set_item(vec* p, Py_ssize_t k, double value) noexcept nogil:
    if vec is vf:
        (<float*>p)[k] = <float>value
    else:
        (<double*>p)[k] = value

cdef inline void add_item(vec* p, Py_ssize_t k, vec x) noexcept nogil:
    """Number k at p += the first number of x."""
    if vec is vf:
        (<float*>p)[k] += (<float*>&x)[0]
    else:
        (<double*>p)[k] += (<double*>&x)[0]

cdef inline void copy_item(vec* p, Py_ssize_t k, const vec* q, Py_ssize_t j) noexcept nogil:
    """Number k at p = number j at q."""
    if vec is vf:
        (<float*>p)[k] = (<const float*>q)[j]
    else:
        (<double*>p)[k] = (<const double*>q)[j]

cdef inline void copy_items(vec* p, const vec* q, Py_ssize_t n) noexcept nogil:
    """n numbers from q to p. Rows are short: a call of memcpy would take longer than the copy."""
    cdef Py_ssize_t L = lanes(q), j
    for j in range(n // L):
        p[j] = q[j]
    for j in range(n // L * L, n):
        copy_item(p, j, q, j)

cdef inline void add_items(vec* p, const vec* q, Py_ssize_t n) noexcept nogil:
    """p += q, n numbers."""
    cdef Py_ssize_t L = lanes(q), j
    for j in range(n // L):
        p[j] = p[j] + q[j]
    for j in range(n // L * L, n):
        add_item(p, j, item(q, j))


# ---- exponentials -------------------------------------------------------------------------------

# e^x = 2^n e^r with n the integer next to x / ln 2 and r = x - n ln 2. The steps share `rounded`,
# which is n + rounder: see _vector.h.

cdef inline vec round_halvings(vec x, const double times) noexcept nogil:
    """times x / ln 2 + rounder"""
    return fma(x, like(x, times * 1.4426950408889634), rounder(x))

cdef inline vec expm1_factor(vec r) noexcept nogil:
    """q(r), the minimax polynomial of (e^r - 1 - r)/r^2 for |r| <= ln(2)/2.

    Summed as a tree (Estrin), for the cells wait for it.
    """
    cdef vec q, r2 = r * r, r4, low, high
    if vec is vf:
        low = fma(vf_splat(<float>0.16666576978587402), r, vf_splat(<float>0.500000002694669))
        high = fma(vf_splat(<float>0.008363179811610824), r, vf_splat(<float>0.04166637516010433))
        high = fma(vf_splat(<float>0.0013941121637250828), r2, high)
        q = fma(high, r2, low)
    else:
        r4 = r2 * r2
        low = fma(vd_splat(0.16666666666666674), r, vd_splat(0.5000000000000001))
        high = fma(vd_splat(0.008333333333322208), r, vd_splat(0.04166666666662413))
        low = fma(high, r2, low)
        high = fma(vd_splat(2.755724234140122e-06), r, vd_splat(2.480152130002751e-05))
        q = fma(vd_splat(0.00019841269886587123), r, vd_splat(0.001388888891721134))
        high = fma(high, r2, q)
        q = fma(vd_splat(2.5110048019267005e-08), r, vd_splat(2.7620086374492805e-07))
        q = fma(fma(q, r4, high), r4, low)
    return q

cdef inline vec expm1_reduced(vec r) noexcept nogil:
    """e^r - 1 = r + r^2 q(r) for |r| <= ln(2)/2."""
    return fma(r * r, expm1_factor(r), r)

cdef inline vec reduced(vec x, vec n) noexcept nogil:
    """x - n ln 2, with ln 2 in two pieces, the first short enough that n times it is exact."""
    if vec is vf:
        return fma(n, vf_splat(<float>2.12194440e-4), fma(n, vf_splat(<float>-0.693359375), x))
    else:
        return fma(n, vd_splat(-1.90821492927058770002e-10),
                   fma(n, vd_splat(-6.93147180369123816490e-01), x))

cdef inline vec exp(vec x) noexcept nogil:
    """e^x; beyond the range infinity or 0 (denormal results are 0)."""
    cdef vec n, half, p
    if vec is vf:
        x = at_least(at_most(x, 104), -104)
    else:
        x = at_least(at_most(x, 746), -746)
    n = round_halvings(x, 1) - rounder(x)
    half = fma(n, like(x, 0.5), rounder(x))     # 2^n in two factors, for 2^128 is no float
    p = expm1_reduced(reduced(x, n))
    return (like(x, 1) + p) * pow2(half) * pow2(n - (half - rounder(x)) + rounder(x))

cdef inline vec exp_minus(vec x) noexcept nogil:
    """e^-x in one factor, for x that this keeps within the exponents: from 0 to e^88 or e^709."""
    cdef vec rounded, s, p
    if vec is vf:
        x = at_least(at_most(x, 88), -88)       # at 88, n is -127, which pow2 turns into 0
    else:
        x = at_least(at_most(x, 709), -709)
    rounded = round_halvings(x, -1)
    s = pow2(rounded)
    p = expm1_reduced(reduced(-x, rounded - rounder(x)))
    if FUSED:
        return fma(s, p, s)
    return (like(x, 1) + p) * s                 # s*p alone may be denormal

cdef inline vec expm1_moderate(vec x) noexcept nogil:
    """e^x - 1 for |x| <= 60, with full relative accuracy near 0."""
    cdef vec rounded = round_halvings(x, 1)
    cdef vec s = pow2(rounded)
    return fma(s, expm1_reduced(reduced(x, rounded - rounder(x))), s - like(x, 1))

cdef inline vec expm1_of_negative(vec x) noexcept nogil:
    """e^x - 1 for x <= 0."""
    return expm1_moderate(at_least(x, -50))

cdef inline vec log1p_unit(vec z) noexcept nogil:
    """ln(1 + z) for 0 <= z <= 1: 2 artanh(s), s = z/(2 + z), artanh(s) = s + s w q(w), w = s^2."""
    cdef vec s = z / (like(z, 2) + z), w = s * s, q
    if vec is vf:
        q = fma(vf_splat(<float>0.11626890851131338), w, vf_splat(<float>0.10850020806601819))
        q = fma(q, w, vf_splat(<float>0.14296405357267686))
        q = fma(q, w, vf_splat(<float>0.1999984815290229))
        q = fma(q, w, vf_splat(<float>0.3333333367757328))
    else:
        q = fma(vd_splat(0.08093788555847685), w, vd_splat(0.04394490844091738))
        q = fma(q, w, vd_splat(0.06001760017653418))
        q = fma(q, w, vd_splat(0.06656934772016826))
        q = fma(q, w, vd_splat(0.07692794014364492))
        q = fma(q, w, vd_splat(0.09090894373062408))
        q = fma(q, w, vd_splat(0.11111111366156214))
        q = fma(q, w, vd_splat(0.14285714283473983))
        q = fma(q, w, vd_splat(0.20000000000007626))
        q = fma(q, w, vd_splat(0.3333333333333333))
    return like(z, 2) * fma(s * w, q, s)


# ---- activations --------------------------------------------------------------------------------

cdef enum:
    EXP = 14                # not an activation of layers: for output units and accuracy tests

cdef struct Activation:
    int code
    double alpha, beta


cdef inline vec ratio(vec n, vec a, vec b, vec lost) noexcept nogil:
    """(n + lost) / (a + b + lost), |a| >= |b| >> |lost|, from a + b rounded.

    float64 is corrected by what the sum lost, what the quotient left, and `lost`.
    """
    cdef vec d = a + b, r, q
    if vec is vf:
        return n / d
    else:
        r = vd_splat(1) / d
        q = n * r
        return fma(fma(lost, vd_splat(1) - q, fma(-q, b - (d - a), vd_remainder(n, q, d))), r, q)

cdef inline vec tanh(vec x) noexcept nogil:
    """t / (t + 2) with t = e^2|x| - 1, which has no cancellation near 0, and the sign of x."""
    cdef vec y = at_most(absolute(x), 20), one = like(x, 1)
    cdef vec rounded = round_halvings(y, 2)
    cdef vec s = pow2(rounded), r = reduced(y + y, rounded - rounder(x)), q = expm1_factor(r)
    cdef vec p = fma(r * r, q, r)
    cdef vec t = fma(s, p, s - one)
    if vec is vf:
        t = t / (t + like(x, 2))
    else:
        t = ratio(t, at_least(t, 2), at_most(t, 2),
                  s * fma(r * r, q, r - p))         # what the rounding of p lost
    return signed_as(t, x)

cdef inline vec logistic(vec x) noexcept nogil:
    """1 / (1 + e^-x), in float64 with a corrected quotient."""
    cdef vec one = like(x, 1), e, d, y
    if vec is vf:
        return one / (one + exp_minus(x))
    elif FUSED:
        e = exp_minus(x)
        d = one + e
        y = one / d
        # What the quotient left, and what the sum lost: all of it where e > 1; else half of it may
        # stay, but there e carries little error.
        return fma(fma(-y, one - (d - e), vd_remainder(one, y, d)), y, y)
    else:                               # e^x / (1 + e^x) where x < 0: the remainder needs d <= 2
        e = exp_minus(absolute(x))
        y = like(x, 0)
        return ratio(where_less(x, y, e, one), one, e, y)

cdef inline vec softplus(vec x) noexcept nogil:
    """ln(1 + e^x)"""
    cdef vec zero = like(x, 0)
    return where_less(zero, x, x, zero) + log1p_unit(exp_minus(absolute(x)))

cdef vec activate(const Activation* f, vec x) noexcept nogil:
    """Any activation of the list."""
    cdef vec zero = like(x, 0), one = like(x, 1)
    cdef vec alpha = like(x, f.alpha), beta = like(x, f.beta)
    if f.code == LOGISTIC:
        return logistic(x)
    elif f.code == TANH:
        return tanh(x)
    elif f.code == RELU:
        return where_less(x, zero, zero, x)
    elif f.code == LOGISTIC_1:                      # 2/(1 + e^-x) - 1 = tanh(x/2)
        return tanh(like(x, 0.5) * x)
    elif f.code == LOGISTIC_2:                      # 4/(1 + e^-x) - 2
        return like(x, 2) * tanh(like(x, 0.5) * x)
    elif f.code == SOFTSIGN:
        return x / (one + absolute(x))
    elif f.code == SOFTPLUS:
        return softplus(x)
    elif f.code == ELU:
        return where_less(x, zero, alpha * expm1_of_negative(where_less(x, zero, x, zero)), x)
    elif f.code == LEAKY_RELU:
        return where_less(x, zero, alpha * x, x)
    elif f.code == HARD_SIGMOID:
        return at_least(at_most(fma(alpha, x, beta), 1), 0)
    elif f.code == SCALED_TANH:
        return alpha * tanh(beta * x)
    elif f.code == THRESHOLDED_RELU:
        return where_less(alpha, x, x, where_less(x, alpha + one, zero, x))   # a NaN stays one
    elif f.code == AFFINE:
        return fma(alpha, x, beta)
    elif f.code == EXP:
        return exp(x)
    return x

cdef vec derivative(const Activation* f, vec y) noexcept nogil:
    """The derivative of an activation, written in the activation's value y = f(x)."""
    cdef vec zero = like(y, 0), one = like(y, 1), half = like(y, 0.5)
    cdef vec alpha = like(y, f.alpha), beta = like(y, f.beta), t
    if f.code == LOGISTIC:
        return y * (one - y)
    elif f.code == TANH:
        return one - y * y
    elif f.code == RELU:
        return where_less(zero, y, one, zero)
    elif f.code == LOGISTIC_1:
        return half * (one - y * y)
    elif f.code == LOGISTIC_2:
        return one - like(y, 0.25) * y * y
    elif f.code == SOFTSIGN:
        t = one - absolute(y)
        return t * t
    elif f.code == SOFTPLUS:
        return zero - expm1_of_negative(zero - y)
    elif f.code == ELU:
        return where_less(zero, y, one, y + alpha)
    elif f.code == LEAKY_RELU:
        return where_less(zero, y, one, alpha)
    elif f.code == HARD_SIGMOID:
        return where_less(zero, y, where_less(y, one, alpha, zero), zero)
    elif f.code == SCALED_TANH:
        return beta * (alpha - y * y / alpha)
    elif f.code == THRESHOLDED_RELU:
        return where_less(zero, y, one, zero)
    elif f.code == AFFINE:
        return alpha
    return one

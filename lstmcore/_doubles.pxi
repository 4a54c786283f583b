# Vectors of doubles out of numbers of either type, for losses: they compute in float64.
#
# The vectors stand across rows (one row in each lane, a vector for each column) or along a row.
# `along` says which, and is a literal at every call.

from libc.float cimport DBL_MAX, DBL_MIN
from libc.math cimport HUGE_VAL

cdef inline double number(const vec* p, Py_ssize_t k) noexcept nogil:
    if vec is vf:
        return (<const float*>p)[k]
    else:
        return (<const double*>p)[k]

cdef inline vd load(const vec* p, Py_ssize_t k) noexcept nogil:
    """VD numbers from number k on."""
    if vec is vf:
        return vd_from_floats(<const float*>p + k)
    else:
        return at(p, k)[0]

cdef inline void store(vec* p, Py_ssize_t k, vd x) noexcept nogil:
    if vec is vf:
        vd_to_floats(<float*>p + k, x)
    else:
        at(p, k)[0] = x

cdef inline Py_ssize_t vectors_of(Py_ssize_t K, const bint along) noexcept nogil:
    return (K + VD - 1) // VD if along else K

cdef inline vd vector_of(const vec* x, Py_ssize_t K, Py_ssize_t j, double filler,
                         const bint along) noexcept nogil:
    """Vector j of x; `filler` stands after the end of a row."""
    cdef Py_ssize_t k
    cdef vd some
    if not along or (j + 1) * VD <= K:
        return load(x, j * VD)
    some = vd_splat(filler)
    for k in range(j * VD, K):
        set_item(&some, k - j * VD, number(x, k))
    return some

cdef inline void set_vector(vec* x, Py_ssize_t K, Py_ssize_t j, vd y,
                            const bint along) noexcept nogil:
    cdef Py_ssize_t k
    if not along or (j + 1) * VD <= K:
        store(x, j * VD, y)
    else:
        for k in range(j * VD, K):
            set_item(x, k, number(&y, k - j * VD))

cdef inline vd first_columns(const bint along) noexcept nogil:
    """The columns that vector 0 holds numbers of."""
    cdef vd columns = vd_splat(0)
    cdef Py_ssize_t k
    if along:
        for k in range(VD):
            set_item(&columns, k, <double>k)
    return columns

cdef inline vd next_columns(vd columns, const bint along) noexcept nogil:
    return columns + vd_splat(VD if along else 1)

cdef inline vd where_equal(vd x, vd y, vd a, vd b) noexcept nogil:
    """x == y ? a : b, for integers."""
    return where_less(absolute(x - y), vd_splat(0.5), a, b)

cdef inline vd where_nonzero(vd x, vd y) noexcept nogil:
    """x == 0 ? 0 : y; a NaN in x chooses y"""
    return where_less(absolute(x), vd_splat(DBL_MIN), vd_splat(0), y)

cdef inline double sum_of_lanes(const vd* x) noexcept nogil:
    cdef double total = number(x, 0)
    cdef Py_ssize_t k
    for k in range(1, VD):
        total += number(x, k)
    return total

cdef inline vd along_sum(vd x, const bint along) noexcept nogil:
    """A row's sum in every lane, of what was summed up vector by vector."""
    return vd_splat(sum_of_lanes(&x)) if along else x


# ---- functions ----------------------------------------------------------------------------------

cdef inline vd exp_of_difference(vd x, vd top) noexcept nogil:
    """e^(x - top) for x <= top, with what the rounding of x - top lost."""
    cdef vd d = top - x, back = d - top, e = exp_minus(d)
    cdef vd lost = (top - (d - back)) - (x + back)
    # from 709 on e is 0, and there may be infinities in `lost`
    return fma(-e, where_less(d, vd_splat(709), lost, vd_splat(0)), e)

cdef inline vd log1p_up_to(vd x, double most) noexcept nogil:
    """ln(1 + x) for 0 <= x and 1 + x <= most: n ln 2 + ln(1 + z), z < 1."""
    cdef vd u = vd_splat(1) + x, z = x, n = vd_splat(0), p
    cdef double power = 2, halvings = 1
    while power <= most:
        p = vd_splat(power)
        z = where_less(u, p, z, (u - p) * vd_splat(1 / power))
        n = where_less(u, p, n, vd_splat(halvings))
        power *= 2
        halvings += 1
    return fma(n, vd_splat(0.6931471805599453), log1p_unit(z))

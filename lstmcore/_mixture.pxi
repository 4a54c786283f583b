# Mixture densities: -ln sum_m w_m N_m(z), and its derivative at the pre-activations of a row.
#
# A row's columns stand in groups of M numbers, one for each component: the logits of the weights,
# the means of each dimension in turn, likewise the logarithms of the scales (or, with a floor, of
# what they have above it), and what the tanh of is the correlation. The vectors stand across rows
# or along a row, as `along` says. docs/equations.md has the formulas.

from libc.math cimport log

cdef enum:
    MOST_COMPONENTS = 1024

cdef struct Mixture:
    Py_ssize_t components, dimensions
    bint correlation            # of two dimensions
    bint end                    # one more column and number of the target: whether a stroke ends
    double floor                # of the scales

cdef struct LogSum:
    # ln(e^x + e^y + ...) is top + ln(1 + rest)
    vd top, rest


cdef inline Py_ssize_t groups_of(const Mixture* form) noexcept nogil:
    return 1 + 2 * form.dimensions + form.correlation

cdef inline vec* group(const vec* x, Py_ssize_t g, Py_ssize_t M, const bint along) noexcept nogil:
    return at(x, g * M if along else g * M * VD)

cdef inline LogSum log_sum(vd x) noexcept nogil:
    """Of one term."""
    cdef LogSum s
    s.top = x
    s.rest = vd_splat(0)
    return s

cdef inline LogSum joined(LogSum s, LogSum t) noexcept nogil:
    cdef vd e = exp_minus(absolute(s.top - t.top)), one = vd_splat(1)
    s.rest = where_less(s.top, t.top, fma(one + s.rest, e, t.rest), fma(one + t.rest, e, s.rest))
    s.top = where_less(s.top, t.top, t.top, s.top)
    return s

cdef inline LogSum along_log_sum(LogSum s, const bint along) noexcept nogil:
    """A row's sum in every lane, of what was summed up vector by vector."""
    cdef LogSum total = s, lane
    cdef Py_ssize_t k
    if along:
        total.top = item(&s.top, 0)
        total.rest = item(&s.rest, 0)
        for k in range(1, VD):
            lane.top = item(&s.top, k)
            lane.rest = item(&s.rest, k)
            total = joined(total, lane)
    return total


cdef inline vd log_scale(const Mixture* form, double log_floor, vd s, vd* inverse,
                         vd* share) noexcept nogil:
    """ln sigma of sigma = floor + e^s. OUT 1/sigma, and the share of e^s in sigma."""
    cdef vd one = vd_splat(1), zero = vd_splat(0), d, e, q
    inverse[0] = exp(-s)
    share[0] = one
    if form.floor == 0:
        return s
    d = s - vd_splat(log_floor)
    e = exp_minus(absolute(d))
    q = one / (one + e)
    inverse[0] = where_less(d, zero, vd_splat(1 / form.floor), inverse[0]) * q
    share[0] = where_less(d, zero, e, one) * q
    return where_less(d, zero, vd_splat(log_floor), s) + log1p_unit(e)


cdef inline vd standardized(vd z, vd mean, vd inverse) noexcept nogil:
    """(z - mean) / sigma; a size of 1e200 stands for all above."""
    cdef vd d = z - mean
    return at_most(at_least(where_nonzero(d, d * inverse), -1e200), 1e200)

cdef inline vd target_number(const vec* z, Py_ssize_t d, const bint along) noexcept nogil:
    return vd_splat(number(z, d)) if along else load(z, d * VD)


cdef inline vd diagonal(const Mixture* form, double log_floor, vec* x, const vec* z, Py_ssize_t j,
                        const bint along) noexcept nogil:
    """ln N of components j. OUT x: its derivatives by means and scales."""
    cdef Py_ssize_t M = form.components, D = form.dimensions, d
    cdef vd total = vd_splat(-0.9189385332046727 * D), one = vd_splat(1)   # -ln(2 pi) / 2
    cdef vd inverse, share, y
    cdef vec* mean
    cdef vec* scale
    for d in range(D):
        mean = group(x, 1 + d, M, along)
        scale = group(x, 1 + D + d, M, along)
        total = total - log_scale(form, log_floor, vector_of(scale, M, j, 0, along), &inverse,
                                  &share)
        y = standardized(target_number(z, d, along), vector_of(mean, M, j, 0, along), inverse)
        total = fma(vd_splat(-0.5) * y, y, total)
        set_vector(mean, M, j, y * inverse, along)
        set_vector(scale, M, j, fma(y, y, -one) * share, along)
    return total


cdef inline vd correlated(const Mixture* form, double log_floor, vec* x, const vec* z, Py_ssize_t j,
                          const bint along) noexcept nogil:
    """`diagonal` of two dimensions with a correlation rho = tanh(c), and its derivative.

    In y1 + y2 and y1 - y2 the quadratic form has no cancellation, however near to 1 rho is: it is
    (y1^2 + y2^2) / 2 + (u^2 + v^2) / 4 with u = (y1 + y2) e^-c, v = (y1 - y2) e^c. The logarithm of
    (1 - rho^2)^(1/2) is -ln cosh c.
    """
    cdef Py_ssize_t M = form.components
    cdef vec* mean1 = group(x, 1, M, along)
    cdef vec* mean2 = group(x, 2, M, along)
    cdef vec* scale1 = group(x, 3, M, along)
    cdef vec* scale2 = group(x, 4, M, along)
    cdef vec* tilt = group(x, 5, M, along)
    cdef vd one = vd_splat(1), half = vd_splat(0.5), quarter = vd_splat(0.25)
    cdef vd c = vector_of(tilt, M, j, 0, along), inverse1, inverse2, share1, share2
    cdef vd up = exp(c), down = exp(-c), total, y1, y2, u, v, g1, g2
    total = log_scale(form, log_floor, vector_of(scale1, M, j, 0, along), &inverse1, &share1)
    total = total + log_scale(form, log_floor, vector_of(scale2, M, j, 0, along), &inverse2,
                              &share2)
    y1 = standardized(target_number(z, 0, along), vector_of(mean1, M, j, 0, along), inverse1)
    y2 = standardized(target_number(z, 1, along), vector_of(mean2, M, j, 0, along), inverse2)
    u = y1 + y2
    v = y1 - y2
    u = where_nonzero(u, u * down)
    v = where_nonzero(v, v * up)
    # ln cosh c - ln(2 pi) = |c| + ln(1 + e^-2|c|) - ln(4 pi)
    total = (absolute(c) + log1p_unit(exp_minus(absolute(c) + absolute(c)))
             - vd_splat(2.5310242469692907)) - total
    total = fma(-quarter, fma(y1, y1, y2 * y2), total)
    total = fma(vd_splat(-0.125), fma(u, u, v * v), total)
    set_vector(tilt, M, j, fma(quarter, u * u - v * v, tanh(c)), along)
    u = where_nonzero(u, u * down)
    v = where_nonzero(v, v * up)
    g1 = fma(half, y1, quarter * (u + v))
    g2 = fma(half, y2, quarter * (u - v))
    set_vector(mean1, M, j, g1 * inverse1, along)
    set_vector(mean2, M, j, g2 * inverse2, along)
    set_vector(scale1, M, j, fma(y1, g1, -one) * share1, along)
    set_vector(scale2, M, j, fma(y2, g2, -one) * share2, along)
    return total


cdef inline vd mixture(const Mixture* form, vec* x, const vec* z, vd weight,
                       const bint along) noexcept nogil:
    """The terms, without their weights; overwrites all columns but that of `end` with delta.

    With `share` the weight of a component and `part` its part of the density, delta is share - part
    at the logit, and elsewhere -part times the derivative of ln N.
    """
    cdef Py_ssize_t M = form.components, n = vectors_of(M, along), groups = groups_of(form), j, g
    cdef double log_floor = log(form.floor) if form.floor > 0 else 0
    cdef double[MOST_COMPONENTS] memory
    cdef vd* kept = <vd*>memory         # of each component, ln(w N) but for a constant
    cdef vec* columns
    cdef vd low = vd_splat(-DBL_MAX), one = vd_splat(1), a, s, share, part
    cdef LogSum prior, likelihood
    prior = log_sum(vector_of(x, M, 0, -DBL_MAX, along))
    for j in range(1, n):
        prior = joined(prior, log_sum(vector_of(x, M, j, -DBL_MAX, along)))
    prior = along_log_sum(prior, along)
    likelihood = log_sum(low)
    for j in range(n):
        a = vector_of(x, M, j, -DBL_MAX, along)
        if form.correlation:
            s = correlated(form, log_floor, x, z, j, along)
        else:
            s = diagonal(form, log_floor, x, z, j, along)
        s = at_least(s + (a - prior.top), -DBL_MAX)     # differences of infinities are none
        kept[j] = s
        likelihood = log_sum(s) if j == 0 else joined(likelihood, log_sum(s))
    likelihood = along_log_sum(likelihood, along)
    for j in range(n):
        a = vector_of(x, M, j, -DBL_MAX, along)
        share = exp_of_difference(a, prior.top) / (one + prior.rest)
        part = exp_of_difference(kept[j], likelihood.top) / (one + likelihood.rest)
        set_vector(x, M, j, where_nonzero(weight, (share - part) * weight), along)
        part = where_nonzero(weight, -part * weight)
        for g in range(1, groups):
            columns = group(x, g, M, along)
            s = vector_of(columns, M, j, 0, along)
            set_vector(columns, M, j, where_nonzero(part, part * s), along)
    s = log1p_up_to(prior.rest, <double>M) - log1p_up_to(likelihood.rest, <double>M)
    return where_less(low, likelihood.top, s - likelihood.top,
                      where_less(likelihood.top, vd_splat(0), vd_splat(HUGE_VAL), likelihood.top))


cdef vd mixture_across(const Mixture* form, vd* x, const vd* z, vd weight) noexcept nogil:
    return mixture(form, x, z, weight, False)


cdef vd mixture_along(const Mixture* form, vec* x, const vec* z, vd weight) noexcept nogil:
    return mixture(form, x, z, weight, True)

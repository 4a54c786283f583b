# What optimizers do to a flat vector of parameters: one pass, element by element, no multiply-add,
# so that every build has the same bits. Numbers that a state decays to below the normal ones are 0.

from libc.math cimport sqrt, sqrtf


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline double sign(double x) noexcept nogil:
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


cdef void run_adam(Py_ssize_t n, real* theta, const real* g, real* m, real* v, real scale,
                   real rate, real beta1, real rest1, real beta2, real rest2, real unbias,
                   real eps) noexcept nogil:
    """Adam: m, v the decaying means of gradients and of their squares."""
    cdef Py_ssize_t j
    cdef real x, mean, square
    for j in range(n):
        x = scale * g[j]
        mean = beta1 * m[j] + rest1 * x
        square = beta2 * v[j] + rest2 * (x * x)
        theta[j] = theta[j] - rate * mean / (unbias * root(square) + eps)
        m[j] = mean
        v[j] = square


cdef void run_momentum(Py_ssize_t n, real* theta, const real* g, real* velocity, real scale,
                       real momentum) noexcept nogil:
    """The classical momentum; scale is the learning rate's too."""
    cdef Py_ssize_t j
    for j in range(n):
        velocity[j] = momentum * velocity[j] - scale * g[j]
        theta[j] = theta[j] + velocity[j]


cdef void run_nesterov(Py_ssize_t n, real* theta, const real* g, real* velocity, real scale,
                       real momentum) noexcept nogil:
    """Nesterov's momentum, of a theta that is a step of the momentum ahead."""
    cdef Py_ssize_t j
    cdef real step
    for j in range(n):
        step = scale * g[j]
        velocity[j] = momentum * velocity[j] - step
        theta[j] = theta[j] + (momentum * velocity[j] - step)


cdef void run_rmsprop(Py_ssize_t n, real* theta, const real* g, real* v, real scale, real rate,
                      real rho, real rest, real eps) noexcept nogil:
    """RMSProp: v the decaying mean of the gradients' squares."""
    cdef Py_ssize_t j
    cdef real x
    for j in range(n):
        x = scale * g[j]
        v[j] = rho * v[j] + rest * (x * x)
        theta[j] = theta[j] - rate * x / (root(v[j]) + eps)


cdef void run_rprop(Py_ssize_t n, double* theta, const double* g, double* size, double* step,
                    bint rose, double eta_plus, double eta_minus, double step_min,
                    double step_max) noexcept nogil:
    """iRprop+: size that of the next step of each parameter, step the last one or 0."""
    cdef Py_ssize_t j
    cdef double back = -1.0 if rose else 0.0
    cdef double way, last, now, slope, grown, shrunk, taken
    for j in range(n):  # without branches, so that compilers make vectors of it
        way = sign(g[j])
        last = step[j]
        now = size[j]
        # of the last step: below 0 it goes on downhill, above 0 a minimum lies between
        slope = last * way
        grown = eta_plus * now
        grown = grown if grown < step_max else step_max
        shrunk = eta_minus * now
        shrunk = shrunk if shrunk > step_min else step_min
        now = grown if slope < 0.0 else now
        now = shrunk if slope > 0.0 else now
        taken = -way * now
        taken = 0.0 if slope > 0.0 else taken
        last = back * last
        last = last if slope > 0.0 else taken
        theta[j] = theta[j] + last
        step[j] = taken
        size[j] = now


cdef enum:
    SUMS = 16


cdef double run_sum_of_squares(Py_ssize_t n, const real* x) noexcept nogil:
    """In float64, by sums of every sixteenth number, which are then added in their order."""
    cdef double sums[SUMS]
    cdef double total = 0.0
    cdef Py_ssize_t row, k
    memset(sums, 0, sizeof(sums))
    for row in range(n // SUMS):
        for k in range(SUMS):
            sums[k] += <double>x[k] * <double>x[k]
        x += SUMS
    for k in range(n % SUMS):
        sums[k] += <double>x[k] * <double>x[k]
    for k in range(SUMS):
        total += sums[k]
    return total

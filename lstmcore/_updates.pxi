# What optimizers do to a flat vector of parameters: one pass, element by element, no multiply-add,
# so that every build has the same bits. Numbers that a state decays to below the normal ones are 0.

from libc.math cimport sqrt, sqrtf


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


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

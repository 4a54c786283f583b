"""Random matrices with orthonormal rows, and logarithms, of the same bits on every processor.

Nothing is used here that processors or libraries round differently: no BLAS, of libm nothing but
what is exact and the square root, no multiply-add, no sum whose order depends on the width of a
vector. So this is built once for all builds of the kernels.
"""

from libc.math cimport copysign, fabs, frexp, sqrt
from libc.string cimport memset

cimport numpy as cnp

import numpy as np

cnp.import_array()

cdef extern from "_vector.h" nogil:
    ctypedef double vd
    enum: VD
    vd vd_splat(double)

cdef enum:
    STRIP = 8 * VD              # columns that are worked on at a time: their sums fill registers


def orthogonal(cnp.ndarray points, Py_ssize_t rows, Py_ssize_t columns):
    """
    A matrix with orthonormal rows, uniform (Haar) among all such matrices.

    It is the transpose of the first columns of a product of reflections. The k-th has a normal
    vector of columns - k numbers and mirrors it on the first of its axes (Stewart 1980).

    points: (N, 2) float64, contiguous, uniform in the unit disc but not its centre; 2 N numbers are
        as many as these vectors have, or more
    rows: at most `columns`
    """
    cdef cnp.ndarray numbers = np.empty(points.size)
    cdef cnp.ndarray sizes = np.empty((2, rows))
    cdef cnp.ndarray memory = np.empty((columns, STRIP))
    cdef cnp.ndarray result = np.empty((rows, columns))
    cdef const double* point = <const double*>cnp.PyArray_DATA(points)
    cdef double* v = <double*>cnp.PyArray_DATA(numbers)
    cdef double* factor = <double*>cnp.PyArray_DATA(sizes)
    cdef double* sign = factor + rows
    cdef vd* strip = <vd*>cnp.PyArray_DATA(memory)
    cdef double* out = <double*>cnp.PyArray_DATA(result)
    cdef Py_ssize_t n_points = points.shape[0], k
    with nogil:
        make_normal(v, point, n_points)
        make_reflections(v, factor, sign, rows, columns)
        for k in range((rows + STRIP - 1) // STRIP):
            reflect_axes(out, strip, v, factor, sign, k * STRIP, rows, columns)
    return result


def logarithms(cnp.ndarray x):
    """ln of each number to 15 digits, in an array of the same shape.

    x: float64, contiguous, all normal numbers above zero
    """
    cdef cnp.ndarray result = np.empty_like(x)
    cdef const double* number = <const double*>cnp.PyArray_DATA(x)
    cdef double* out = <double*>cnp.PyArray_DATA(result)
    cdef Py_ssize_t size = x.size, k
    with nogil:
        for k in range(size):
            out[k] = logarithm(number[k])
    return result


cdef void make_normal(double* x, const double* point, Py_ssize_t n_points) noexcept nogil:
    """Two independent standard normal numbers from each point: Marsaglia's polar method."""
    cdef Py_ssize_t k
    cdef double u, v, square, scale
    for k in range(n_points):
        u, v = point[2 * k], point[2 * k + 1]
        square = u * u + v * v
        scale = sqrt(-2.0 * logarithm(square) / square)
        x[2 * k] = scale * u
        x[2 * k + 1] = scale * v


cdef inline double logarithm(double x) noexcept nogil:
    """ln x to 15 digits: with x = m 2^n, artanh's series at (m - 1) / (m + 1), which is ln(m) / 2.

    libm's functions differ in the last bit from system to system, and between processors.
    """
    cdef int n, k
    cdef double m = frexp(x, &n)            # from 1/2 to 1
    cdef double z = (m - 1.0) / (m + 1.0)   # from -1/3 to 0
    cdef double total = 0.0
    for k in range(31, 0, -2):
        total = total * (z * z) + 1.0 / k
    return 2.0 * z * total + n * 0.6931471805599453


cdef void make_reflections(double* v, double* factor, double* sign, Py_ssize_t rows,
                           Py_ssize_t columns) noexcept nogil:
    """Turn each normal vector x into the v = (1, ...) of its reflection, I - factor v v'.

    It maps the first axis to sign x / |x|, with the sign that avoids cancellation in v.
    """
    cdef Py_ssize_t k, i
    cdef double norm, square
    for k in range(rows):
        square = 0.0
        for i in range(columns - k):
            square += v[i] * v[i]
        norm = sqrt(square)
        sign[k] = -copysign(1.0, v[0])
        factor[k] = 1.0 + fabs(v[0]) / norm
        norm = v[0] + copysign(norm, v[0])
        v[0] = 1.0
        for i in range(1, columns - k):
            v[i] = v[i] / norm
        v += columns - k


cdef void reflect_axes(double* out, vd* strip, const double* v, const double* factor,
                       const double* sign, Py_ssize_t first, Py_ssize_t rows,
                       Py_ssize_t columns) noexcept nogil:
    """Rows of the matrix from `first` on, a strip of them.

    A row is an axis, with the sign that makes its reflection give x / |x|, after all reflections up
    to its own. Those after its own would not change it.
    """
    cdef double* numbers = <double*>strip
    cdef Py_ssize_t last = min(first + STRIP, rows), k, i, j
    memset(numbers, 0, columns * STRIP * sizeof(double))
    for j in range(first, last):
        numbers[j * STRIP + j - first] = sign[j]
    for k in range(last):
        v += columns - k
    for k in range(last - 1, -1, -1):
        v -= columns - k
        reflect(strip + 8 * k, v, factor[k], columns - k)
    for j in range(first, last):
        for i in range(columns):
            out[j * columns + i] = numbers[i * STRIP + j - first]


cdef void reflect(vd* y, const double* v, double factor, Py_ssize_t n) noexcept nogil:
    """y -= factor v (v' y) for each column of a strip; v'y is summed from the first row down."""
    cdef vd s0, s1, s2, s3, s4, s5, s6, s7, x
    cdef vd* row
    cdef Py_ssize_t i
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = vd_splat(0.0)
    for i in range(n):
        x = vd_splat(v[i])
        row = y + 8 * i
        s0 += x * row[0]
        s1 += x * row[1]
        s2 += x * row[2]
        s3 += x * row[3]
        s4 += x * row[4]
        s5 += x * row[5]
        s6 += x * row[6]
        s7 += x * row[7]
    x = vd_splat(factor)
    s0, s1, s2, s3 = s0 * x, s1 * x, s2 * x, s3 * x
    s4, s5, s6, s7 = s4 * x, s5 * x, s6 * x, s7 * x
    for i in range(n):
        x = vd_splat(v[i])
        row = y + 8 * i
        row[0] -= x * s0
        row[1] -= x * s1
        row[2] -= x * s2
        row[3] -= x * s3
        row[4] -= x * s4
        row[5] -= x * s5
        row[6] -= x * s6
        row[7] -= x * s7

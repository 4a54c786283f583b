# Normal noise. A number is a function of a key and of its place: a run keeps no more than the
# generator of its keys. What makes it is one pass, element by element, no multiply-add, in float32
# for networks of either type, so that every build has the same bits.

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    PAIRS = 128                 # that are made at a time: loops over them become vectors
    ROOT_HALF = 0x3f3504f3      # the bits of the float √½


cdef inline uint32_t rotated(uint32_t x, int by) noexcept nogil:
    return (x << by) | (x >> (32 - by))


cdef inline void mix(uint32_t* x, uint32_t* y, int r0, int r1, int r2, int r3) noexcept nogil:
    """Four rounds of Threefry, which turn y so far."""
    x[0] += y[0]
    y[0] = rotated(y[0], r0) ^ x[0]
    x[0] += y[0]
    y[0] = rotated(y[0], r1) ^ x[0]
    x[0] += y[0]
    y[0] = rotated(y[0], r2) ^ x[0]
    x[0] += y[0]
    y[0] = rotated(y[0], r3) ^ x[0]


cdef void run_threefry(uint32_t* first, uint32_t* second, uint64_t key,
                       uint64_t place) noexcept nogil:
    """Random bits: Threefry-2x32 of 20 rounds, at PAIRS places, of which the first divides."""
    cdef uint32_t k0 = <uint32_t>key, k1 = <uint32_t>(key >> 32), k2 = 0x1BD11BDA ^ k0 ^ k1
    cdef uint32_t low = <uint32_t>place, high = <uint32_t>(place >> 32), x, y
    cdef Py_ssize_t k
    for k in range(PAIRS):
        x, y = low + <uint32_t>k + k0, high + k1
        mix(&x, &y, 13, 15, 26, 6)
        x, y = x + k1, y + k2 + 1
        mix(&x, &y, 17, 29, 16, 24)
        x, y = x + k2, y + k0 + 2
        mix(&x, &y, 13, 15, 26, 6)
        x, y = x + k0, y + k1 + 3
        mix(&x, &y, 17, 29, 16, 24)
        x, y = x + k1, y + k2 + 4
        mix(&x, &y, 13, 15, 26, 6)
        first[k], second[k] = x + k2, y + k0 + 5


cdef void run_normal(float* cosines, float* sines, uint64_t key, uint64_t place) noexcept nogil:
    """PAIRS pairs of normal numbers: those of Box and Muller, in polar coordinates.

    The radius is √(-2 ln u) of a u in (0, 1] with a sign, so that a half turn of angles is enough.
    """
    cdef uint32_t first[PAIRS]
    cdef uint32_t second[PAIRS]
    cdef int32_t bits[PAIRS]
    cdef float number[PAIRS]
    cdef float radius[PAIRS]
    cdef float one = 1.0, two = 2.0, half = 0.5
    cdef float l3 = 1.0 / 3.0, l5 = 1.0 / 5.0, l7 = 1.0 / 7.0, l9 = 1.0 / 9.0
    cdef float s3 = 1.0 / 6.0, s5 = 1.0 / 20.0, s7 = 1.0 / 42.0, s9 = 1.0 / 72.0
    cdef float s11 = 1.0 / 110.0, c2 = 1.0 / 2.0, c4 = 1.0 / 12.0, c6 = 1.0 / 30.0
    cdef float c8 = 1.0 / 56.0, c10 = 1.0 / 90.0, c12 = 1.0 / 132.0
    cdef float to_u = 2.0**-31, to_angle = 1.5707963267948966 * 2.0**-31
    cdef float ln_two = 0.6931471805599453
    cdef float sign, ln, s, z
    cdef Py_ssize_t k
    run_threefry(first, second, key, place)
    for k in range(PAIRS):
        number[k] = (<float><int32_t>(first[k] >> 1) + half) * to_u
    memcpy(bits, number, sizeof(bits))
    for k in range(PAIRS):      # u = 2^n m, m from √½ to √2
        bits[k] -= ROOT_HALF
        radius[k] = <float>(bits[k] >> 23)
        bits[k] = (bits[k] & 0x7fffff) + ROOT_HALF
    memcpy(number, bits, sizeof(bits))
    for k in range(PAIRS):
        sign = one - two * <float><int32_t>(first[k] & 1)
        s = (number[k] - one) / (number[k] + one)       # ln m = 2 artanh s
        z = s * s
        ln = two * s * (one + z * (l3 + z * (l5 + z * (l7 + z * l9)))) + radius[k] * ln_two
        radius[k] = sign * root(-two * ln)
    for k in range(PAIRS):
        s = <float><int32_t>second[k] * to_angle
        z = s * s
        ln = s * (one - z * s3 * (one - z * s5 * (one - z * s7 * (one - z * s9 * (
            one - z * s11)))))
        z = one - z * c2 * (one - z * c4 * (one - z * c6 * (one - z * c8 * (one - z * c10 * (
            one - z * c12)))))
        cosines[k] = radius[k] * z
        sines[k] = radius[k] * ln


cdef void run_noise(Py_ssize_t n, real* out, const real* x, real deviation,
                    uint64_t key) noexcept nogil:
    """out = x + deviation · noise."""
    cdef float normal[2 * PAIRS]
    cdef Py_ssize_t strip, first, k
    for strip in range((n + 2 * PAIRS - 1) // (2 * PAIRS)):
        first = strip * 2 * PAIRS
        run_normal(normal, normal + PAIRS, key, <uint64_t>strip * PAIRS)
        for k in range(min(2 * PAIRS, n - first)):
            out[first + k] = x[first + k] + deviation * <real>normal[k]

"""Normal noise, in NumPy: a function of a key and of the place of a number.

Operations have the order of the compiled ones, all in float32, so that results have the same bits.
"""

import numpy as np

_PAIRS = 128
_TURNS = (13, 15, 26, 6), (17, 29, 16, 24)
_FLOAT = np.float32


def add_noise(out, x, deviation, key):
    """out = x + deviation · noise of N(0, 1)."""
    noise = normal(key, x.size).astype(x.dtype)
    out[...] = x + x.dtype.type(deviation) * noise.reshape(x.shape)


def normal(key, size):
    """So many normal float32 numbers, by G. E. P. Box and M. E. Muller (Ann. Math. Stat. 1958)."""
    first, second = threefry(key, np.arange(-(-size // (2 * _PAIRS)) * _PAIRS, dtype=np.uint64))
    u = ((first >> 1).astype(_FLOAT) + _FLOAT(0.5)) * _FLOAT(2.0**-31)
    sign = _FLOAT(1) - _FLOAT(2) * (first & 1).astype(_FLOAT)
    radius = sign * np.sqrt(_FLOAT(-2) * _logarithm(u))
    angle = second.view(np.int32).astype(_FLOAT) * _FLOAT(np.pi / 2 * 2.0**-31)
    cosine, sine = _series(angle, 2), angle * _series(angle, 3)
    pairs = np.stack([radius * cosine, radius * sine]).reshape(2, -1, _PAIRS)
    return np.swapaxes(pairs, 0, 1).reshape(-1)[:size]


def threefry(key, place):
    """Two arrays of uint32 for an array of uint64 places: Threefry-2x32 of 20 rounds.

    J. K. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
    """
    keys = np.array([key & 0xFFFFFFFF, key >> 32, 0], np.uint32)
    keys[2] = 0x1BD11BDA ^ keys[0] ^ keys[1]
    x = (place & 0xFFFFFFFF).astype(np.uint32) + keys[0]
    y = (place >> 32).astype(np.uint32) + keys[1]
    for k in range(5):
        for turn in _TURNS[k % 2]:
            x = x + y
            y = (y << turn | y >> (32 - turn)) ^ x
        x = x + keys[(k + 1) % 3]
        y = y + keys[(k + 2) % 3] + np.uint32(k + 1)
    return x, y


def _logarithm(u):
    """ln u by u = 2^n m and the series of artanh((m - 1) / (m + 1)), which is ln(m) / 2."""
    root_half = _FLOAT(0.5**0.5).view(np.int32)
    bits = u.view(np.int32) - root_half
    m = ((bits & 0x7FFFFF) + root_half).view(_FLOAT)
    s = (m - _FLOAT(1)) / (m + _FLOAT(1))
    total = _FLOAT(1 / 9)
    for k in (7, 5, 3, 1):
        total = _FLOAT(1 / k) + s * s * total
    return _FLOAT(2) * s * total + (bits >> 23).astype(_FLOAT) * _FLOAT(np.log(2.0))


def _series(angle, k):
    """The series of the cosine (k = 2), or that of the sine over the angle (k = 3)."""
    total = _FLOAT(1)
    for i in range(k + (10 if k == 2 else 8), k - 1, -2):
        total = _FLOAT(1) - angle * angle * _FLOAT(1 / (i * (i - 1))) * total
    return total

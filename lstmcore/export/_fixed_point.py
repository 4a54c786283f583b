"""Fixed-point arithmetic as lstmrt_int8.h has it, on int64 arrays.

A number v with n fractional bits is the integer v 2^n. Results are those of the C program, to the
bit but for activations that go through float.
"""

from math import floor, log2, sqrt

import numpy as np

from .._reference import apply_activation

A_BITS = 16  # LSTMRT_A_BITS: fractional bits of a pre-activation
HEADROOM = 1.25  # of inputs and of signals without a bound, over what calibration has seen
ENOUGH_STEPS = 200  # of calibration; of fewer the largest that was seen says less

_IDENTITY, _LOGISTIC, _TANH, _RELU, _LOGISTIC_1, _LOGISTIC_2 = range(6)
_SOFTSIGN, _HARD_SIGMOID, _SCALED_TANH = 6, 10, 11
# Fractional bits of an activation's value: those with a bound have them all.
_BITS = {
    _LOGISTIC: 30,
    _TANH: 30,
    _LOGISTIC_1: 30,
    _LOGISTIC_2: 29,
    _SOFTSIGN: 30,
    _HARD_SIGMOID: 30,
}
_BOUND = {
    _LOGISTIC: 1,
    _TANH: 1,
    _LOGISTIC_1: 1,
    _LOGISTIC_2: 2,
    _SOFTSIGN: 1,
    _HARD_SIGMOID: 1,
}
_FRACTIONS = (_LOGISTIC, _HARD_SIGMOID)


# ------------------------------------------------------------------------------ activations


def value_bits(cell, role):
    """Fractional bits of the value of an activation."""
    code = cell[f"act_{role}"]
    if code == _SCALED_TANH:  # bounded by alpha
        return min(30, 30 - max(0, floor(log2(abs(cell[f"alpha_{role}"]))) + 1))
    return _BITS.get(code, A_BITS)


def bound(cell, role):
    """The largest absolute value of an activation."""
    code = cell[f"act_{role}"]
    return abs(cell[f"alpha_{role}"]) if code == _SCALED_TANH else _BOUND.get(code, np.inf)


def is_fraction(cell, role):
    """Whether an activation stays within [0, 1]."""
    return cell[f"act_{role}"] in _FRACTIONS


def in_integers(cell):
    """Whether no activation goes through float."""
    return all(cell[f"act_{role}"] <= _LOGISTIC_2 for role in ("gate", "cell", "output"))


def activated(cell, role, a):
    """An activation in float."""
    y = np.empty_like(a)
    apply_activation(cell[f"act_{role}"], cell[f"alpha_{role}"], cell[f"beta_{role}"], a, y)
    return y


def activated_integer(cell, role, a):
    """lstmrt_activate_int: of pre-activations, with `value_bits`."""
    code = cell[f"act_{role}"]
    if code == _IDENTITY:
        return a
    if code == _RELU:
        return np.maximum(a, 0)
    if code == _LOGISTIC:
        r = _upper_half(np.abs(a).astype(np.uint64)).astype(np.int64)
        return np.where(a < 0, (1 << 30) - r, r)
    if code == _TANH:
        return _tanh_of_half(a, np.abs(a) * 2)
    if code in (_LOGISTIC_1, _LOGISTIC_2):
        return _tanh_of_half(a, np.abs(a))
    value = activated(cell, role, a * 2.0**-A_BITS) * 2.0 ** value_bits(cell, role)
    return np.trunc(np.clip(value, -2147483520, 2147483520) + np.copysign(0.5, value)).astype(
        np.int64
    )


def _high(a, b):
    return (a * b) >> np.uint64(32)


def _upper_half(v):
    """lstmrt_upper_half, on uint64 arrays."""
    u = np.uint64
    v = np.minimum(v, u((16 << A_BITS) - 1))
    t = _high(v << u(11), u(1549082005))
    f = (t << u(7)) & u(0xFFFFFFFF)
    p = u(114623013) - _high(u(14838268), f)
    p = u(514423333) - _high(p, f)
    p = u(1488375884) - _high(p, f)
    p = u(2147483648) - _high(p, f)
    d = u(1 << 30) + (p >> ((t >> u(25)) + u(1)))
    r = (u(0xFFFFFFFF) // (d >> u(14))) << u(15)
    return _high(r, u(1 << 30) - _high(d, r)) << u(2)


def _tanh_of_half(sign, magnitude):
    t = (_upper_half(magnitude.astype(np.uint64)).astype(np.int64) << 1) - (1 << 30)
    return np.where(sign < 0, -t, t)


# ---------------------------------------------------------------------------------- integers


def int32(v):
    """lstmrt_int32: saturated."""
    return np.clip(v, -(2**31) + 1, 2**31 - 1)


def int16(v, shift):
    """lstmrt_int16: v / 2^shift, rounded, saturated; shift > 0."""
    return np.clip((v + (1 << (shift - 1))) >> shift, -32768, 32767)


def pre_activation(v):
    """lstmrt_pre_activation: what every activation can take."""
    return np.clip(v, -(2**30) + 1, 2**30 - 1)


def rescaled(v, before, after):
    """lstmrt_rescaled: from so many fractional bits to so many."""
    return v >> (before - after) if before >= after else int32(v << (after - before))


def signal_bits(most, largest):
    """Fractional bits of an int16 signal that has a bound, or the largest value seen."""
    if most <= 1 and largest <= 1:
        return 15
    reach = min(most, HEADROOM * largest) if most > 1 else largest
    return int(np.clip(floor(log2(32767 / max(reach, 1e-9))), 0, 15))


def headroom(steps):
    """`HEADROOM` of inputs after so many steps of calibration."""
    return HEADROOM * min(4.0, max(1.0, sqrt(ENOUGH_STEPS / steps)))


def wide_bits(largest):
    """Fractional bits of an int32 state whose largest value has been seen."""
    return int(np.clip(29 - floor(log2(max(largest, 1e-9))) - 1, 16, 28))

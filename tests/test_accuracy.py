"""exp, tanh and logistic against higher precision over their whole range.

Promised: at most 4 ulp in float32, 2 ulp in float64. An ulp is the spacing of the type's numbers at
the exact value. Results that would be denormal are flushed to zero and count as exact then.
"""

import math

import mpmath
import numpy as np
import pytest

from lstmcore._activations import ACTIVATIONS

PROMISED = {"float32": 4, "float64": 2}
FUNCTIONS = {
    "exp": (14, np.exp, mpmath.exp),
    "tanh": (ACTIVATIONS["tanh"][0], np.tanh, mpmath.tanh),
    "logistic": (
        ACTIVATIONS["logistic"][0],
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x: 1 / (1 + mpmath.exp(-x)),
    ),
}
# The end of the range: where results overflow, vanish, or stop changing
ENDS = {
    ("exp", "float32"): (-103.98, 88.72284),
    ("exp", "float64"): (-745.2, 709.782712893384),
    ("tanh", "float32"): (-9.02, 9.02),
    ("tanh", "float64"): (-19.07, 19.07),
    ("logistic", "float32"): (-103.98, 17.4),
    ("logistic", "float64"): (-745.2, 37.5),
}

claims = pytest.mark.parametrize("function, dtype", ENDS)
names = pytest.mark.parametrize("function", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", PROMISED)


def apply(kernels, function, x):
    y = np.full_like(x, np.nan)
    kernels.apply_activation(FUNCTIONS[function][0], 0.0, 0.0, x, y)
    return y


def with_neighbours(values, dtype, count=40):
    """Values and the nearest numbers of the type on both sides."""
    below = above = np.asarray(values, dtype)
    found = [below]
    for _ in range(count):
        below = np.nextafter(below, dtype(-np.inf))
        above = np.nextafter(above, dtype(np.inf))
        found += [below, above]
    return np.concatenate(found)


def arguments(function, dtype, count):
    """Numbers over the whole range: evenly, at every magnitude, and densely where pieces of an
    implementation meet: at the ends, at 0, at the multiples of ln(2)/2 and at powers of two."""
    dtype = np.dtype(dtype).type
    low, high = ENDS[function, np.dtype(dtype).name]
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    magnitudes = 2.0 ** rng.uniform(info.minexp, np.log2(max(-low, high)), count // 4)
    signs = rng.choice([-1, 1], len(magnitudes))
    halves = np.arange(np.floor(low / np.log(2)) * 2, np.ceil(high / np.log(2)) * 2) * np.log(2) / 2
    powers = 2.0 ** np.arange(-60, np.ceil(np.log2(-low)))
    parts = [
        rng.uniform(low, high, count // 2),
        rng.uniform(-2, 2, count // 4),
        magnitudes * signs,
        with_neighbours(np.concatenate([[low, high], halves, powers, -powers]), dtype, 4),
        with_neighbours([low, high, 0.5, -0.5, 1, -1], dtype, 100),
        [0.0, float(info.tiny), -float(info.tiny), float(info.smallest_subnormal)],
    ]
    x = np.concatenate([np.asarray(part, dtype) for part in parts])
    return x[(x >= low) & (x <= high)]


def ulps(got, exact):
    """Errors in ulp of the exact values, which come in a wider type; flushed denormals are 0."""
    info = np.finfo(got.dtype)
    tiny, largest = exact.dtype.type(info.tiny), exact.dtype.type(info.max)
    _, exponent = np.frexp(np.maximum(np.abs(exact), tiny))
    ulp = np.ldexp(exact.dtype.type(info.eps), exponent - 1)
    right = (got == 0) & (np.abs(exact) < tiny)
    right |= np.isinf(got) & (exact >= largest + ulp / 2)  # as rounding to the type does
    with np.errstate(invalid="ignore"):
        return np.where(right, 0, np.abs(got.astype(exact.dtype) - exact) / ulp)


def assert_within(got, exact, x, function, dtype):
    errors = ulps(got, exact)
    worst = np.argmax(np.where(np.isnan(errors), np.inf, errors))
    assert errors[worst] <= PROMISED[dtype], (
        f"{function}({x[worst]!r}) is {errors[worst]:.3f} ulp from {exact[worst]}"
    )


@names
def test_float32_is_within_4_ulp_over_the_whole_range(kernels, function):
    # float64 has 29 bits more, which is exact for this purpose
    x = arguments(function, "float32", 2_000_000)
    exact = FUNCTIONS[function][1](x.astype(np.float64))
    assert_within(apply(kernels, function, x), exact, x, function, "float32")


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double"
)
@names
def test_float64_is_within_2_ulp_over_the_whole_range(kernels, function):
    x = arguments(function, "float64", 1_000_000)
    exact = FUNCTIONS[function][1](x.astype(np.longdouble))
    assert_within(apply(kernels, function, x), exact, x, function, "float64")


@claims
def test_within_the_promised_ulp_of_mpmath(kernels, function, dtype):
    x = arguments(function, dtype, 2000)
    got = apply(kernels, function, x)
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    for argument, value in zip(x.tolist(), got.tolist(), strict=True):
        with mpmath.workdps(40):
            exact = FUNCTIONS[function][2](mpmath.mpf(argument))
            if (value == 0 and abs(exact) < tiny) or math.isinf(value):
                continue  # where infinity is right is a test of its own
            ulp = mpmath.ldexp(eps, mpmath.frexp(max(abs(exact), tiny))[1] - 1)
            error = float(abs(value - exact) / ulp)
        assert error <= PROMISED[dtype], f"{function}({argument!r}) is {error} ulp from {exact}"


@claims
def test_special_values_are_exact(kernels, function, dtype):
    at_zero, at_infinity, at_minus_infinity = {
        "exp": (1, np.inf, 0),
        "tanh": (0, 1, -1),
        "logistic": (0.5, 1, 0),
    }[function]
    got = apply(kernels, function, np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype))
    assert got[:-1].tolist() == [at_zero, at_zero, at_infinity, at_minus_infinity]
    assert np.isnan(got[-1])


@claims
def test_beyond_the_ends_results_are_the_limits(kernels, function, dtype):
    low, high = ENDS[function, dtype]
    far = np.finfo(dtype).max
    above = np.array([high + 1, 2 * high, far / 2, far], dtype)
    below = np.array([low - 1, 2 * low, -far / 2, -far], dtype)
    limits = {"exp": (0, np.inf), "tanh": (-1, 1), "logistic": (0, 1)}[function]
    assert (apply(kernels, function, below) == limits[0]).all()
    assert (apply(kernels, function, above) == limits[1]).all()


@dtypes
def test_exp_overflows_exactly_where_the_type_ends(kernels, dtype):
    x = with_neighbours([ENDS["exp", dtype][1]], np.dtype(dtype).type, 3)
    with np.errstate(over="ignore"):
        exact = np.exp(x.astype(np.longdouble)).astype(dtype)
    assert np.array_equal(np.isinf(apply(kernels, "exp", x)), np.isinf(exact))


@claims
def test_results_stay_in_their_range(kernels, function, dtype):
    x = arguments(function, dtype, 100_000)
    y = apply(kernels, function, x)
    low, high = {"exp": (0, np.inf), "tanh": (-1, 1), "logistic": (0, 1)}[function]
    assert y.min() >= low
    assert y.max() <= high


@dtypes
def test_tanh_is_odd_to_the_last_bit(kernels, dtype):
    x = arguments("tanh", dtype, 100_000)
    assert np.array_equal(apply(kernels, "tanh", -x), -apply(kernels, "tanh", x))


@pytest.mark.parametrize("low, high", [(0.16, 0.24), (0.5, 0.56)])
def test_float64_tanh_is_within_2_ulp_where_its_pieces_meet(kernels, low, high):
    x = np.linspace(low, high, 400_001)  # errors above 2 ulp were one in ten thousand here
    assert ulps(apply(kernels, "tanh", x), np.tanh(x.astype(np.longdouble))).max() <= 2

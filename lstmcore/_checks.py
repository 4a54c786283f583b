"""Argument checks: every error names the argument, what was expected and what came."""

import operator
from collections.abc import Iterable, Mapping
from numbers import Real

import numpy as np

from ._dispatch import kernels

_REAL_KINDS = frozenset("fiub")


def describe(value):
    """What `value` is, in the few words that an error message has room for."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of length {len(value)}"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"{type(value).__name__!r} object"


def as_ndarray(value, name):
    """`value` as a plain ndarray of any dtype; the same memory where it is one already.

    It is an object that nobody else has: no other thread can change its shape or dtype after they
    have been checked.
    """
    if type(value) is np.ndarray:
        return value[...]
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected an array without a mask, got a masked array; its data is one, and "
            "mask= or weights say which of it count"
        )
    try:
        array = np.asarray(value)[...]
        if array.dtype == object and _has_numeric_columns(value):
            # columns of several types, or of pandas' own; what is missing becomes NaN
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
        return array
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        reason = error
        if isinstance(value, (list, tuple)):
            reason = "its entries differ in length or hold something else than numbers"
        # the libraries of other kinds of arrays say how to convert theirs
        raise ValueError(
            f"{name}: expected an array of numbers, got {describe(value)} that is none: {reason}"
        ) from error


def _has_numeric_columns(value):
    """Whether `value` is a table or series of a library like pandas with nothing but numbers."""
    dtypes = getattr(value, "dtypes", None)
    if dtypes is None or not hasattr(value, "to_numpy"):
        return False
    kinds = [getattr(dtype, "kind", "O") for dtype in np.ravel(np.asarray(dtypes, dtype=object))]
    return _REAL_KINDS.issuperset(kinds)


def not_real(array, name):
    """The error that an array has no real numbers in it, with the way to some where one is known.

    `array` is what `as_ndarray` gives, which wraps an object that is no array.
    """
    value = array[()] if array.ndim == 0 and array.dtype == object else array
    hint = ""
    if hasattr(value, "toarray"):
        hint = f"; {name}.toarray() is an array of a sparse one"
    elif isinstance(value, Mapping):
        hint = f"; list({name}.values()) is a list of what is in it"
    elif value is not array and isinstance(value, Iterable):
        hint = f"; list({name}) is a list of what it gives"
    elif array.dtype.kind in "US" and array.ndim:
        hint = f"; np.asarray({name}).astype(float) reads numbers that are written out"
    elif array.dtype == object and array.ndim == 1 and array.size and np.ndim(array[0]):
        hint = f"; list({name}) is a list of sequences"
    elif array.dtype == object and array.ndim:
        hint = f"; np.asarray({name}, dtype=float) converts objects that are numbers"
        for index, entry in np.ndenumerate(array):
            if not isinstance(entry, Real):
                hint = f" with {describe(entry)} at {list(index)}"
                break
    return TypeError(f"{name}: expected real numbers, got {describe(value)}{hint}")


def as_real(value, name, dtype):
    """`value` as an ndarray of `dtype` (native, aligned), copied only where it must be."""
    array = as_ndarray(value, name)
    if array.dtype == dtype and array.flags.aligned:
        return array
    if array.dtype.kind not in _REAL_KINDS:
        raise not_real(array, name)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused as such
        return array.astype(dtype)


def float_dtype(value):
    """float32 where `value` is an array of that, else float64: for calls that take both."""
    return np.dtype(np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64)


def rows_contiguous(array):
    """`array` itself if its last axis has unit stride, which is all that kernels ask; or a copy."""
    if array.strides[-1] == array.itemsize:
        return array
    return np.ascontiguousarray(array)


def shaped(array, name, *shapes):
    """`array` if its shape is one of `shapes`, else an error; a str in a shape is any size."""
    if array.shape in shapes:
        return array
    for shape in shapes:
        if len(shape) == array.ndim and all(
            isinstance(want, str) or want == got
            for want, got in zip(shape, array.shape, strict=True)
        ):
            return array
    expected = " or ".join(format_shape(shape) for shape in shapes)
    raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")


def format_shape(shape):
    """A shape as NumPy prints it, with names in the place of free sizes."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def all_finite(array):
    """Whether there is neither NaN nor infinity in an array of float32 or float64."""
    if array.flags.c_contiguous:
        return kernels.all_finite(array)
    return bool(np.isfinite(array).all())


def refuse_nonfinite(array, name, hint=""):
    """Raise if there is a NaN or an infinity in `array`; `hint` leads out."""
    if not all_finite(array):
        index = np.argwhere(~np.isfinite(array))[0].tolist()
        raise nonfinite(array[tuple(index)], name, (f" at {index}" if index else "") + hint)


def nonfinite(value, name, where):
    """The error that `value` is NaN or infinite, and where."""
    # what was finite in the user's array may not be in the network's dtype
    is_rounded = np.isinf(value) and value.dtype == np.float32
    what = f"{value} in float32" if is_rounded else f"{value}"
    return ValueError(f"{name}: expected finite numbers, got {what}{where}")


def as_integer(value, name, minimum=None, maximum=None):
    """A Python int; refuses bool, float and what is below `minimum` or above `maximum`."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name}: expected an integer <= {maximum}, got {number}")
    return number


def as_number(value, name, minimum=None):
    """A finite Python float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name}: expected a real number, got {describe(value)}")
    try:
        number = float(value)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"{name}: expected a real number, got {describe(value)}") from error
    if not np.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    if minimum is not None and number < minimum:
        raise ValueError(f"{name}: expected a number >= {minimum}, got {number}")
    return number


def as_positive(value, name):
    """A finite Python float above zero."""
    number = as_number(value, name)
    if not number > 0:
        raise ValueError(f"{name}: expected a number > 0, got {number}")
    return number


def as_generator(seed, name="seed"):
    """The `numpy.random.Generator` of a seed, or the one that it is."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name}: expected None, an integer >= 0, a SeedSequence or a Generator, "
            f"got {describe(seed)}"
        ) from error


def as_flag(value, name):
    """A Python bool; nothing else is taken for one."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {describe(value)}")


def as_choice(value, name, choices):
    """`value` if it is one of the strings `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(choices)}, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def as_real_dtype(value, name="dtype"):
    """numpy.float32 or numpy.float64 as a dtype."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    # NumPy takes None for float64, also where it compares
    if value is None or dtype is None or dtype not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f"{name}: expected 'float32' or 'float64', got {describe(value)}")
    return dtype


def as_threads(value):
    """`n_threads` as the kernels' chooser takes it: None or an int >= 1."""
    return None if value is None else as_integer(value, "n_threads", 1)

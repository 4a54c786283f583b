"""Other libraries' forms of sequences as lists of arrays (T, D); windows of one long series."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from ._checks import as_choice, as_integer, as_ndarray, as_real, describe, not_real

__all__ = ["as_sequences", "windows"]

_LAYOUTS = ("ntd", "ndt", "nan", "concatenated")


def as_sequences(
    X: ArrayLike | list[ArrayLike], layout: str = "ntd", lengths: ArrayLike | None = None
) -> list[np.ndarray]:
    """Sequences in the form of another library, as a list with one array (T, D) for each.

    Parameters
    ----------
    X : array_like or list of array_like
        Numbers; of a list each sequence by itself, of unequal lengths if need be. Where there is
        one feature, its axis may be absent.
    layout : {"ntd", "ndt", "nan", "concatenated"}
        Which axes X has.

        - "ntd": (n, T, D), or a list of (T, D), as Keras, PyTorch (batch first) and this package
          have them. (n, T) are n series of one feature.
        - "ndt": (n, D, T), or a list of (D, T), as aeon and sktime have them.
        - "nan": (n, T, D) where shorter sequences end in rows of NaN, as tslearn has them.
        - "concatenated": (N, D), all steps one after the other, as hmmlearn has them; `lengths`
          says where sequences end, None that there is one.
    lengths : (n,) array_like of int, optional
        Steps of each sequence, of "concatenated" and of arrays "ntd" and "ndt".

    Returns
    -------
    list of ndarray
        Views of X where it is an array. Estimators, `fit`, `Network.predict` and scikit-learn's
        tools take it.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> [x.shape for x in lc.as_sequences(np.zeros((3, 2, 50)), "ndt")]
    [(50, 2), (50, 2), (50, 2)]
    >>> [x.tolist() for x in lc.as_sequences([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]], "nan")]
    [[[1.0], [2.0]], [[3.0], [4.0], [5.0]]]
    >>> [x.shape for x in lc.as_sequences(np.zeros((60, 2)), "concatenated", lengths=[10, 50])]
    [(10, 2), (50, 2)]
    """
    as_choice(layout, "layout", _LAYOUTS)
    if layout == "concatenated":
        return _of_concatenated(X, lengths)
    if layout == "nan":
        if lengths is not None:
            raise ValueError(
                f"lengths: expected None with layout 'nan', whose NaN say where sequences end, got "
                f"{describe(lengths)}"
            )
        return _of_nan(X)
    if isinstance(X, (list, tuple)) and any(np.ndim(x) for x in X) and lengths is None:
        return [_as_sequence(x, f"X[{b}]", layout) for b, x in enumerate(X)]
    array = _as_batch(X)
    if array.ndim == 2:
        array = array[..., None]
    elif layout == "ndt":
        array = array.swapaxes(1, 2)
    n, T = array.shape[:2]
    lengths = np.full(n, T) if lengths is None else _as_lengths(lengths, n, T)
    return [x[:length] for x, length in zip(array, lengths.tolist(), strict=True)]


def windows(series: ArrayLike, length: int, horizon: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """All windows of one long series, and the steps that follow each of them.

    Parameters
    ----------
    series : (T,) or (T, D) array_like
        One series, in the order of time.
    length : int
        Steps of a window.
    horizon : int
        How many of the steps that follow it are to be forecast.

    Returns
    -------
    X : (n, length, D) array
        The windows, n = T - length - horizon + 1, each one step after the one before; D is 1 where
        the series has no axis of features.
    Y : (n, horizon) array, or (n, horizon, D)
        What follows each window, with the features if the series has their axis.

    Both are read-only views of the series, so that they need no memory of their own.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> X, Y = lc.windows(np.arange(6.0), length=3, horizon=2)
    >>> X[..., 0].tolist()
    [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    >>> Y.tolist()
    [[3.0, 4.0], [4.0, 5.0]]
    """
    values = _as_numbers(as_ndarray(series, "series"), "series")
    if values.ndim not in (1, 2):
        raise ValueError(f"series: expected shape (T,) or (T, D), got {describe(values)}")
    length = as_integer(length, "length", 1)
    horizon = as_integer(horizon, "horizon", 1)
    if len(values) < length + horizon:
        raise ValueError(
            f"series: expected at least length + horizon = {length + horizon} steps, got "
            f"{len(values)}"
        )
    X = sliding_window_view(values[: len(values) - horizon], length, axis=0)
    Y = sliding_window_view(values[length:], horizon, axis=0)
    if values.ndim == 1:
        return X[..., None], Y
    return X.swapaxes(1, 2), Y.swapaxes(1, 2)


def _of_concatenated(X, lengths):
    rows = _as_numbers(as_ndarray(X, "X"), "X")
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2:
        raise ValueError(f"X: expected shape (N, D) with layout 'concatenated', got {rows.shape}")
    if lengths is None:
        return [rows]
    lengths = _as_lengths(lengths, None, len(rows))
    if lengths.sum() != len(rows):
        raise ValueError(
            f"lengths: expected a sum of {len(rows)}, the rows of X, got {lengths.sum()}"
        )
    return np.split(rows, np.cumsum(lengths)[:-1])


def _of_nan(X):
    if isinstance(X, (list, tuple)):
        sequences = [_as_sequence(x, f"X[{b}]", "ntd") for b, x in enumerate(X)]
    else:
        sequences = as_sequences(X)
    cut = []
    for x in sequences:
        there = np.flatnonzero(~np.isnan(x).all(axis=1))
        cut.append(x[: there[-1] + 1 if there.size else 0])
    return cut


def _as_sequence(x, name, layout):
    x = _as_numbers(as_ndarray(x, name), name)
    if x.ndim == 1:
        return x[:, None]
    if x.ndim != 2:
        form = "(D, T)" if layout == "ndt" else "(T, D)"
        raise ValueError(f"{name}: expected shape {form} or (T,), got {describe(x)}")
    return x.T if layout == "ndt" else x


def _as_batch(X):
    array = _as_numbers(as_ndarray(X, "X"), "X")
    if array.ndim not in (2, 3):
        way_out = "; layout 'concatenated' takes one series" if array.ndim == 1 else ""
        raise ValueError(
            "X: expected an array of two or three axes, or a list of sequences, got "
            f"{describe(array)}{way_out}"
        )
    return array


def _as_numbers(array, name):
    """Numbers of their own type: float32 stays, integers may be tokens."""
    if array.dtype.kind == "O":
        return as_real(array, name, np.float64)
    if array.dtype.kind not in "fiub":
        raise not_real(array, name)
    return array


def _as_lengths(lengths, n, longest):
    array = as_ndarray(lengths, "lengths")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(f"lengths: expected integers, one for each sequence, got {describe(array)}")
    if n is not None and len(array) != n:
        raise ValueError(f"lengths: expected {n} of them, one for each sequence, got {len(array)}")
    if array.size and not 0 <= array.min() <= array.max() <= longest:
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"lengths: expected 0 to {longest}, got {wrong}")
    return array

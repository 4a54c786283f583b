"""Batches of sequences: from what users hold to what kernels read.

Users hold a padded array (B, T, I) with lengths or a mask, a list of (T_b, I) arrays, or, where
tokens are asked for, integers in either form with an axis less: the axes tell them from numbers,
never the dtype. Kernels read a `Batch`: (B, L, I) or tokens (B, L) where L is the longest length,
with the sequences ranked by length. Masked steps are taken out before and their outputs put back as
zeros after: for kernels they are not there.
"""

from functools import lru_cache

import numpy as np

from ._checks import (
    all_finite,
    as_ndarray,
    as_real,
    describe,
    format_shape,
    refuse_nonfinite,
    rows_contiguous,
)
from ._fixed import Fixed, read_only

_INDEX = np.dtype(np.intp)

# What an error ends with where integers may have been meant for tokens.
ONLY_WITH_TOKENS = (
    "integers stand for tokens only with tokens=True, in a network of its first layer, or an "
    "Embedding there"
)


class _Fields:
    """A `Batch` that is being made: a guarded attribute takes long to set, and steps are short."""

    __slots__ = (
        "x",
        "lengths",
        "order",
        "ranked",
        "size",
        "max_length",
        "n_steps",
        "T",
        "mask",
        "first_row",
    )


class Batch(Fixed, _Fields):
    """Sequences as kernels read them. Made by `make_batch`, checked once, never written to.

    Its integers are read-only: kernels take them for indices.

    Attributes
    ----------
    x : (B, L, I) real array or (B, L) intp array
        Inputs, or tokens; the last axis of a real array has unit stride.
    lengths : (B,) intp array
        In the order of the sequences. The constructor takes None where all are L.
    order, ranked : (B,) intp arrays
        Sequences by descending length, first come first; and their lengths in that order.
    size, max_length, n_steps : int
        B; L; the sum of the lengths.
    T : int
        Time axis of the user's array. T > L where every sequence is padded.
    mask : (B, T) bool array or None
        The steps that are there, if they have holes between them.
    first_row : int
        Of a segment of longer sequences: how many rows (steps of a sequence) are before it. The
        constructor is given those sequences' `order` with it.
    """

    __slots__ = ()
    _instead = "prepare the data anew"

    def __new__(cls, x, lengths, T, mask=None, order=None, first_row=0):
        size, max_length = x.shape[:2]
        if x.ndim == 2:
            x = read_only(x)
        if lengths is None:
            order, lengths = equal_lengths(size, max_length)
            ranked = lengths
            n_steps = size * max_length
        else:
            order = read_only(np.argsort(-lengths, kind="stable") if order is None else order)
            ranked = read_only(lengths[order])
            lengths = read_only(lengths)
            n_steps = int(lengths.sum())
        self = _Fields()
        self.x = x
        self.lengths = lengths
        self.order = order
        self.ranked = ranked
        self.size = size
        self.max_length = max_length
        self.n_steps = n_steps
        self.T = T
        self.mask = mask if mask is None else read_only(mask)
        self.first_row = first_row
        self.__class__ = cls
        return self

    def __reduce__(self):
        # copies are read-only again
        lengths = self.lengths.copy() if self.is_padded else None
        mask = self.mask if self.mask is None else self.mask.copy()
        return Batch, (self.x, lengths, self.T, mask, self.order, self.first_row)

    @property
    def is_padded(self):
        """Whether (B, L) has steps that are not there."""
        return self.n_steps != self.size * self.max_length

    @property
    def valid(self):
        """(B, L) bool: which steps are there."""
        return np.arange(self.max_length) < self.lengths[:, None]

    @property
    def user_valid(self):
        """(B, T) bool: which steps of the user's array are there."""
        return np.arange(self.T) < self.lengths[:, None] if self.mask is None else self.mask

    def gather(self, array):
        """A user's (B, T, ...) array without the steps that are not there: (B, L, ...)."""
        if self.mask is None:
            return array[:, : self.max_length]
        return _compact(array, self.mask, self.valid)

    def scatter(self, array):
        """A kernel's (B, L, ...) array on the user's time axis: (B, T, ...), zero elsewhere."""
        if self.mask is None and self.max_length == self.T:
            return array
        padded = np.zeros((self.size, self.T, *array.shape[2:]), dtype=array.dtype)
        if self.mask is None:
            padded[:, : self.max_length] = array
        else:
            padded[self.mask] = array[self.valid]
        return padded

    def rows_before(self, t):
        """Rows (steps of a sequence) before step t."""
        if not self.is_padded:
            return self.size * t
        return int(np.minimum(self.lengths, t).sum())

    def segment(self, t0, t1):
        """The batch of the steps t0 to t1 alone; the sequences keep their ranks."""
        lengths = np.clip(self.lengths - t0, 0, t1 - t0) if self.is_padded else None
        x, first_row = self.x[:, t0:t1], self.rows_before(t0)
        return Batch(x, lengths, t1 - t0, None, self.order, first_row)

    def take(self, indices):
        """The batch of some of the sequences."""
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        mask = None if self.mask is None else self.mask[indices]
        return Batch(self.x[indices, :longest], lengths, self.T, mask)


def single_steps(x):
    """The batch of B sequences of one step, x (B, 1, I) or (B, 1), already checked."""
    return Batch(x, None, 1)


@lru_cache(maxsize=16)
def equal_lengths(B, L):
    """Order and lengths of B sequences of L steps, the same arrays for everybody."""
    order, lengths = np.arange(B, dtype=_INDEX), np.full(B, L, dtype=_INDEX)
    # views, which cannot be made writeable again
    return read_only(order)[...], read_only(lengths)[...]


def make_batch(
    X, input_size, dtype, lengths=None, mask=None, check_finite=True, name="X", tokens=False
):
    """Check a user's sequences and arrange them for the kernels.

    Parameters
    ----------
    X : array_like or list of array_like
        (B, T, I) numbers or a list of B arrays (T_b, I); with `tokens` also integers (B, T) or a
        list of B arrays (T_b,).
    input_size : int
        I; tokens are 0 ... I-1.
    dtype : dtype
        float32 or float64, of the network; other real numbers are converted.
    lengths : (B,) array_like of int, optional
        Steps of each sequence in a padded array, 0 ... T; by default T. What lies after a
        sequence's end is never looked at.
    mask : (B, T) array_like of bool, optional
        In place of `lengths`: the steps that are there, holes allowed.
    check_finite : bool
        Refuse NaN and infinity in steps that are there.
    name : str
        What errors call X.
    tokens : bool
        Whether X may be tokens.

    Returns
    -------
    Batch
        Shares memory with X where X already has the dtype and a last axis of unit stride.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    """
    if isinstance(X, (list, tuple)):
        for given, what in ((lengths, "lengths"), (mask, "mask")):
            if given is not None:
                raise ValueError(
                    f"{what}: expected None, for {name} is a list of whole sequences, "
                    f"got {describe(given)}"
                )
        return _from_list(X, input_size, dtype, check_finite, name, tokens)

    given = as_ndarray(X, name)
    is_tokens = tokens and given.ndim == 2
    if is_tokens:
        x = as_tokens(given, input_size, name)
    else:
        x = as_real(given, name, dtype)
        if x.ndim != 3 or x.shape[2] != input_size:
            raise ValueError(
                f"{name}: expected {_forms(input_size, tokens)}, got {describe(given)}"
                + _way_out(x.ndim == 2 and not tokens, f"{name}[None] is one sequence, ", name)
            )
    n, T = x.shape[:2]
    if n == 0:
        raise ValueError(f"{name}: expected at least one sequence, got {describe(x)}")

    holes = None
    if mask is not None:
        if lengths is not None:
            raise ValueError(f"mask: expected None beside lengths, got {describe(mask)}")
        lengths, holes = _check_mask(mask, n, T)
    elif lengths is not None:
        lengths = _check_lengths(lengths, n, T)

    longest, valid = T, None
    if lengths is not None:
        longest = int(lengths.max())
        if lengths.min() < longest:
            valid = np.arange(longest) < lengths[:, None]
    if holes is None:
        x = x[:, :longest]
    else:
        x = _compact(x, holes, np.arange(longest) < lengths[:, None])
    if is_tokens:
        x = check_tokens(x, valid, input_size, name)
    else:
        x = rows_contiguous(x)
        if check_finite and not all_finite(x):
            refuse_nonfinite(x if valid is None else x[valid], name)
    return Batch(x, lengths, T, holes)


def _forms(input_size, tokens):
    numbers = f"numbers of shape (B, T, {input_size})"
    if not tokens:
        return f"{numbers} or a list with one array (T, {input_size}) for each sequence"
    return (
        f"integer tokens of shape (B, T), {numbers}, or a list with one array (T,) or "
        f"(T, {input_size}) for each sequence"
    )


def _way_out(lacks_an_axis, sequence, name):
    """What an error ends with."""
    if not lacks_an_axis:
        return ""
    return f"; {sequence}{name}[..., None] has one feature, and {ONLY_WITH_TOKENS}"


def _from_list(X, input_size, dtype, check_finite, name, tokens):
    if len(X) == 0:
        raise ValueError(f"{name}: expected at least one sequence, got an empty list")
    arrays = [as_ndarray(x, f"{name}[{b}]") for b, x in enumerate(X)]
    is_tokens = tokens and all(x.ndim == 1 for x in arrays)
    lengths = np.array([len(x) if x.ndim else 0 for x in arrays], dtype=_INDEX)
    longest = int(lengths.max())
    if is_tokens:
        padded = np.zeros((len(arrays), longest), dtype=_INDEX)
        for b, x in enumerate(arrays):
            x = as_tokens(x, input_size, f"{name}[{b}]")
            padded[b, : len(x)] = check_tokens(x, None, input_size, f"{name}[{b}]")
        return Batch(padded, lengths, longest)

    padded = np.zeros((len(arrays), longest, input_size), dtype=dtype)
    for b, x in enumerate(arrays):
        if x.ndim != 2 or x.shape[1] != input_size:
            form = f"numbers of shape {format_shape(('T', input_size))}"
            if tokens:
                form += " or integer tokens of shape (T,), the same for every sequence"
            raise ValueError(
                f"{name}[{b}]: expected {form}, got {describe(x)}"
                + _way_out(x.ndim == 1 and not tokens, "", f"{name}[{b}]")
            )
        padded[b, : len(x)] = as_real(x, f"{name}[{b}]", dtype)
    if check_finite and not all_finite(padded):
        wrong = int(np.argmin(np.isfinite(padded).all(axis=(1, 2))))
        refuse_nonfinite(padded[wrong], f"{name}[{wrong}]")
    return Batch(padded, lengths, longest)


def _check_lengths(lengths, n, T):
    array = as_ndarray(lengths, "lengths")
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {describe(array)}")
    if array.shape != (n,):
        raise ValueError(f"lengths: expected shape ({n},), got {array.shape}")
    array = array.copy()  # first, so that no other thread can change what has been checked
    low, high = array.min(), array.max()
    if low < 0 or high > T:
        raise ValueError(f"lengths: expected 0 to {T}, got {low if low < 0 else high}")
    return array.astype(_INDEX, copy=False)


def _check_mask(mask, n, T):
    """The lengths, and the mask itself if a sequence has holes."""
    array = as_ndarray(mask, "mask")
    if array.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {describe(array)}")
    if array.shape != (n, T):
        raise ValueError(f"mask: expected shape ({n}, {T}), got {array.shape}")
    array = array.copy()  # first, so that the lengths stay those of the mask
    lengths = array.sum(axis=1, dtype=_INDEX)
    holes = (array != (np.arange(T) < lengths[:, None])).any()
    return lengths, array if holes else None


def as_tokens(array, input_size, name):
    """An array where tokens are wanted, if it has integers; else an error."""
    if array.dtype.kind in "iu":
        return array
    if array.size == 0 and array.dtype.kind == "f":
        return array.astype(_INDEX)  # what is empty has no dtype of its own: NumPy makes it float64
    raise TypeError(
        f"{name}: expected integer tokens, got {describe(array)}; {name}.astype(int) makes "
        f"integers, and vectors of numbers have one more axis, of size {input_size}"
    )


def check_tokens(tokens, valid, input_size, name):
    """Tokens as a fresh intp array, zero where nothing is."""
    # Copied first, so that no other thread can put a token out of range after the check.
    there = tokens.copy() if valid is None else tokens[valid]
    if there.size:
        low, high = there.min(), there.max()
        if low < 0 or high >= input_size:
            wrong = low if low < 0 else high
            raise ValueError(f"{name}: expected tokens from 0 to {input_size - 1}, got {wrong}")
    if valid is None:
        return there.astype(_INDEX, copy=False)
    checked = np.zeros(tokens.shape, dtype=_INDEX)
    checked[valid] = there
    return checked


def _compact(array, mask, valid):
    """The rows of (B, T, ...) where `mask`, moved up to where (B, L) `valid` is."""
    compact = np.zeros((*valid.shape, *array.shape[2:]), dtype=array.dtype)
    compact[valid] = array[mask]  # both run over the sequences, then over their steps
    return compact

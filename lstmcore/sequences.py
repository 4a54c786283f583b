"""Batches of sequences: from what users hold to what kernels read.

Users hold a padded array (B, T, I) with lengths or a mask, a list of (T_b, I) arrays, or, where
tokens are asked for, integers in either form with an axis less: the axes tell them from numbers,
never the dtype. Kernels read a `Batch`: the user's array where it stands, or rows (N, I), one for
each step that is there, sequence after sequence; with the sequences ranked by length. Outputs are
rows and go back to the user's form in the end. So time and memory follow the steps that are there.
Masked steps are taken out before and their outputs put back as zeros after: for kernels they are
not there.
"""

from collections import namedtuple
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ._checks import (
    all_finite,
    as_ndarray,
    as_real,
    describe,
    format_shape,
    nonfinite,
    not_real,
    refuse_nonfinite,
    rows_contiguous,
    shaped,
)
from ._fixed import Fixed, read_only, remade

_INDEX = np.dtype(np.intp)

# What an error ends with where integers may have been meant for tokens.
ONLY_WITH_TOKENS = (
    "integers stand for tokens only with tokens=True, in a network of its first layer, or an "
    "Embedding there"
)
_AS_NUMBERS = "{}[..., None] has one feature, and " + ONLY_WITH_TOKENS


# Steps of a batch in an array. values : (B, T, ...), or rows (N, ...) in which the steps of each
# sequence follow one another; first : (B,), by rank, where each sequence begins on the first axis.
Rows = namedtuple("Rows", "values first")


class _Fields:
    """A `Batch` that is being made: a guarded attribute takes long to set, and steps are short."""

    __slots__ = (
        "x",
        "begins",
        "lengths",
        "order",
        "ranked",
        "offsets",
        "first",
        "size",
        "max_length",
        "n_steps",
        "T",
        "mask",
        "is_list",
        "first_row",
        "features",
    )

    x: Rows
    begins: np.ndarray
    lengths: np.ndarray
    order: np.ndarray
    ranked: np.ndarray
    offsets: np.ndarray
    first: np.ndarray
    size: int
    max_length: int
    n_steps: int
    T: int
    mask: np.ndarray | None
    is_list: bool
    first_row: int
    features: np.ndarray | None


class Batch(Fixed, _Fields):
    """Sequences as kernels read them. Made by `make_batch`, checked once, never written to.

    Its integers are read-only: kernels take them for indices. What belongs to its steps (outputs,
    targets, weights) has one row for each step that is there, sequence after sequence.

    Attributes
    ----------
    x : Rows
        Inputs, or intp tokens; the last axis of inputs has unit stride. Values (B, L, ...) are the
        user's own array.
    begins : (B,) intp array or None
        In the order of the sequences, where each begins in x; None where x has (B, L, ...), the
        sequences in their order.
    lengths : (B,) intp array
        In the order of the sequences. The constructor takes None where all are L.
    order, ranked : (B,) intp arrays
        Sequences by descending length, first come first; and their lengths in that order.
    offsets : (B + 1,) intp array
        The rows of sequence b are those from offsets[b] to offsets[b + 1] - 1.
    first : (B,) intp array
        The first row of each, by rank.
    size, max_length, n_steps : int
        B; the longest length L; N, the sum of the lengths.
    T : int
        Time axis of the user's array; of a list L.
    mask : (B, T) bool array or None
        The steps of the user's array that are there, if they have holes between them.
    is_list : bool
        Whether the user gave a list.
    first_row : int
        Of a segment of longer sequences: how many rows are before it in the order of time. The
        constructor is given those sequences' `order` with it.
    features : (B, F) array or None
        What initial states are a function of, in the order of the sequences. A segment has none.
    """

    __slots__ = ()
    _instead = "prepare the data anew"

    def __new__(
        cls,
        x,
        lengths,
        T,
        mask=None,
        begins=None,
        order=None,
        first_row=0,
        is_list=False,
        features=None,
    ):
        self = _Fields()
        if lengths is None:
            self.size, self.max_length = size, length = x.shape[:2]
            order, lengths, offsets, first = equal_lengths(size, length)
            ranked = lengths
            self.n_steps = size * length
            if x.ndim == 2:  # tokens
                x = read_only(x)
        else:
            if x.dtype == _INDEX:
                x = read_only(x)
            order = read_only(np.argsort(-lengths, kind="stable") if order is None else order)
            ranked = read_only(lengths[order])
            lengths = read_only(lengths)
            offsets = np.zeros(len(lengths) + 1, dtype=_INDEX)
            np.cumsum(lengths, out=offsets[1:])
            first = read_only(offsets[order])
            offsets = read_only(offsets)
            self.size, self.max_length = len(lengths), int(ranked[0])
            self.n_steps = int(offsets[-1])
        if begins is None:
            self.x = Rows(x, order)
        else:
            self.x = Rows(x, read_only(begins[order]))
            begins = read_only(begins)
        self.begins = begins
        self.lengths = lengths
        self.order = order
        self.ranked = ranked
        self.offsets = offsets
        self.first = first
        self.T = T
        self.mask = mask if mask is None else read_only(mask)
        self.is_list = is_list
        self.first_row = first_row
        self.features = features
        self.__class__ = cls
        return self

    def __reduce__(self):
        return remade, (Batch, *self._parts())  # copies are read-only again

    def _parts(self):
        """What the constructor makes the same batch of."""
        lengths = None
        if self.is_padded or self.begins is not None:
            lengths = self.lengths.copy()
        copies = [None if array is None else array.copy() for array in (self.mask, self.begins)]
        options = *copies, self.order, self.first_row, self.is_list, self.features
        return self.x.values, lengths, self.T, *options

    def astype(self, dtype):
        """The same sequences with inputs of another dtype; tokens stay as they are."""
        x, *others, features = self._parts()
        if features is not None:
            features = features.astype(dtype)
        return Batch(x if x.dtype == _INDEX else x.astype(dtype), *others, features)

    def with_features(self, features):
        """The same sequences with static features (B, F), which stay where they are."""
        *others, _ = self._parts()
        return Batch(*others, features)

    @property
    def is_padded(self):
        """Whether the lengths are unequal, so that (B, L) has steps that are not there."""
        return self.n_steps != self.size * self.max_length

    @property
    def valid(self):
        """(B, L) bool: which steps are there."""
        return np.arange(self.max_length) < self.lengths[:, None]

    def gather(self, array):
        """The rows (N, ...) of a user's array (B, T, ...)."""
        if self.mask is not None:
            return array[self.mask]
        array = array[:, : self.max_length]
        if self.is_padded:
            return array[self.valid]
        return array.reshape(self.n_steps, *array.shape[2:])

    def arrange(self, rows):
        """Rows (N, ...) as the user's inputs are: a list, or (B, T, ...) with zero elsewhere."""
        if self.is_list:
            return [rows[start:stop] for start, stop in pairwise(self.offsets.tolist())]
        shape, L = (self.size, self.T, *rows.shape[1:]), self.max_length
        if self.n_steps == self.size * self.T:
            return rows.reshape(shape)
        padded = np.zeros(shape, dtype=rows.dtype)
        if self.mask is not None:
            padded[self.mask] = rows
        elif self.is_padded:
            padded[:, :L][self.valid] = rows
        else:
            padded[:, :L] = rows.reshape(self.size, L, *rows.shape[1:])
        return padded

    def rows_before(self, t):
        """Rows (steps of a sequence) before step t."""
        if not self.is_padded:
            return self.size * t
        return int(np.minimum(self.lengths, t).sum())

    def segment(self, t0, t1):
        """The batch of the steps t0 to t1 alone; the sequences keep their ranks."""
        x, lengths, begins = self._cut(t0, t1)
        first_row = self.rows_before(t0)
        return Batch(x, lengths, t1 - t0, None, begins, self.order, first_row)

    def stretch(self, t0, t1):
        """The steps t0 to t1 as sequences of their own, of those sequences that have any.

        Where `segment` is a part of a longer call, this is the batch of a call of its own.
        """
        x, lengths, begins = self._cut(t0, t1)
        features = self.features
        if lengths is not None and not lengths.all():
            there = np.flatnonzero(lengths)
            lengths, begins = lengths[there], there if begins is None else begins[there]
            features = None if features is None else features[there]
        return Batch(x, lengths, t1 - t0, None, begins, features=features)

    def _cut(self, t0, t1):
        """The inputs of the steps t0 to t1, the lengths and where sequences begin, or None."""
        x, begins, lengths = self.x.values, self.begins, None
        if self.is_padded or begins is not None:
            lengths = np.clip(self.lengths - t0, 0, t1 - t0)
        if _has_time_axis(x):
            return x[:, t0:t1], lengths, begins
        return x, lengths, begins + np.minimum(self.lengths, t0)

    def rows_between(self, t0, t1):
        """The rows of the steps t0 to t1, sequence after sequence."""
        before = np.minimum(self.lengths, t0)
        return _ranges(self.offsets[:-1] + before, np.minimum(self.lengths, t1) - before)

    def take(self, indices):
        """The batch of some of the sequences, over the same inputs."""
        begins = (np.arange(self.size) if self.begins is None else self.begins)[indices]
        mask = None if self.mask is None else self.mask[indices]
        lengths = self.lengths[indices]
        features = None if self.features is None else self.features[indices]
        options = {"is_list": self.is_list, "features": features}
        return Batch(self.x.values, lengths, self.T, mask, begins, **options)

    def place_of(self, row):
        """The sequence that a row belongs to, and its step in the user's array."""
        b = int(np.searchsorted(self.offsets, row, side="right")) - 1
        t = row - int(self.offsets[b])
        return b, t if self.mask is None else int(np.flatnonzero(self.mask[b])[t])

    @property
    def has_tokens(self):
        """Whether the inputs are tokens."""
        return self.x.values.dtype == _INDEX

    def with_inputs(self, rows):
        """The batch with other inputs (N, I) for its steps."""
        begins = self.offsets[:-1]
        options = {"is_list": self.is_list, "features": self.features}
        return Batch(rows, self.lengths, self.T, self.mask, begins, **options)

    def input_rows(self):
        """The rows (N, ...) of the inputs or tokens; not copied where they stand so."""
        x = self.x.values
        if not _has_time_axis(x):
            if len(x) == self.n_steps and (self.begins == self.offsets[:-1]).all():
                return x
            return x[_ranges(self.begins, self.lengths)]
        x = (x if self.begins is None else x[self.begins])[:, : self.max_length]
        return x[self.valid] if self.is_padded else x.reshape(self.n_steps, *x.shape[2:])

    def rows_of(self, indices):
        """The rows of some of the sequences, one after the other."""
        return _ranges(self.offsets[:-1][indices], self.lengths[indices])


def check_columns(batch, sizes, name):
    """The batch with inputs of its own, whose first columns are tokens of so many kinds: checked.

    Nobody else can change what kernels take for indices.
    """
    rows = batch.input_rows().copy()
    for k, size in enumerate(sizes):
        column = rows[:, k]
        # of a NaN neither holds
        is_token = (column >= 0) & (column < size) & (column == np.floor(column))
        if not is_token.all():
            row = int(np.argmin(is_token))
            b, t = batch.place_of(row)
            raise ValueError(
                f"{name}: expected whole numbers from 0 to {size - 1} in column {k}, which are "
                f"tokens, got {column[row]:g} in sequence {b} at step {t}"
            )
    return batch.with_inputs(read_only(rows))


def as_outputs(value, batch, size, per_step, dtype, check_finite, name):
    """What a user gives in the form of a network's outputs, as rows (N, K), or (B, K) if read out.

    Parameters
    ----------
    value : array_like or list of array_like
    batch : Batch
    size : int
        K.
    per_step : bool
        Whether there are outputs at every step.
    dtype : dtype
    check_finite : bool
        Refuse NaN and infinity in what belongs to steps that are there.
    name : str
        What errors call it.
    """
    B = batch.size
    if per_step and batch.is_list:
        if not isinstance(value, (list, tuple)) or len(value) != B:
            raise ValueError(
                f"{name}: expected a list with one array (T, {size}) for each of {B} sequences, as "
                f"predict gives it, got {describe(value)}"
            )
        rows = [
            shaped(as_real(y, f"{name}[{b}]", dtype), f"{name}[{b}]", (length, size))
            for b, (y, length) in enumerate(zip(value, batch.lengths.tolist(), strict=True))
        ]
        rows = np.concatenate(rows)
    else:
        shape = (B, batch.T, size) if per_step else (B, size)
        rows = shaped(as_real(value, name, dtype), name, shape)
        if per_step:
            rows = batch.gather(rows)
    rows = rows_contiguous(rows)
    if check_finite and per_step:
        refuse_nonfinite_rows(rows, batch, name)
    elif check_finite:
        refuse_nonfinite(rows, name)
    return rows


def _has_time_axis(x):
    """Whether inputs or tokens are (B, L, ...), not rows."""
    return x.ndim == (2 if x.dtype == _INDEX else 3)


def _ranges(starts, lengths):
    """The numbers from each start on, as many as its length, one after the other."""
    if len(starts) == 1:  # in a tenth of the time, for batches of one sequence
        return np.arange(starts[0], starts[0] + lengths[0])
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - ends + lengths, lengths) + np.arange(total)


def single_steps(x, features=None):
    """The batch of B sequences of one step, x (B, 1, I) or (B, 1), already checked."""
    return Batch(x, None, 1, features=features)


@lru_cache(maxsize=16)
def equal_lengths(B, L):
    """Order, lengths, offsets and first rows of B sequences of L steps, the same for everybody."""
    arrays = np.arange(B), np.full(B, L), np.arange(B + 1) * L, np.arange(B) * L
    # views, which cannot be made writeable again
    return tuple(read_only(array.astype(_INDEX))[...] for array in arrays)


def make_batch(
    X, input_size, dtype, lengths=None, mask=None, check_finite=True, name="X", tokens=False
):
    """Check a user's sequences and arrange them for the kernels.

    Parameters
    ----------
    X : array_like or list of array_like
        (B, T, I) numbers or a list of B arrays (T_b, I); with `tokens` also integers (B, T) or a
        list of B arrays (T_b,). Beside `lengths` or `mask` a list is the array that its nested
        lists make.
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
        if (lengths is None and mask is None) or not X:
            return _from_list(X, input_size, dtype, check_finite, name, tokens)
        X = _as_padded(X, "mask" if lengths is None else "lengths", name)

    given = as_ndarray(X, name)
    is_tokens = tokens and given.ndim == 2
    if is_tokens:
        x = as_tokens(given, input_size, name)
    else:
        x = as_real(given, name, dtype)
        if x.ndim != 3 or x.shape[2] != input_size:
            raise ValueError(
                f"{name}: expected {_forms(input_size, tokens)}, got {describe(given)}"
                + _way_to_a_batch(given, input_size, name, tokens)
            )
    n, T = x.shape[:2]
    if n == 0:
        raise ValueError(f"{name}: expected at least one sequence, got {describe(x)}")

    holes = None
    if mask is not None:
        if lengths is not None:
            raise ValueError(f"mask: expected None beside lengths, got {describe(mask)}")
        lengths, holes = _check_mask(mask, n, T, name)
    elif lengths is not None:
        lengths = _check_lengths(lengths, n, T, name)

    longest = T if lengths is None else int(lengths.max())
    is_padded = lengths is not None and lengths.min() < longest
    there, begins = holes, None
    if there is None and is_padded and is_tokens:
        there = np.arange(T) < lengths[:, None]
    if there is None:
        x = x[:, :longest]
    else:
        x, begins = x[there], np.cumsum(lengths) - lengths
    x = check_tokens(x, input_size, name) if is_tokens else rows_contiguous(x)
    batch = Batch(x, lengths, T, holes, begins)
    if check_finite and not is_tokens and not all_finite(x):
        refuse_nonfinite_rows(batch.input_rows(), batch, name)
    return batch


def _forms(input_size, tokens):
    numbers = f"numbers of shape (B, T, {input_size})"
    if not tokens:
        return f"{numbers} or a list with one array (T, {input_size}) for each sequence"
    return (
        f"integer tokens of shape (B, T), {numbers}, or a list with one array (T,) or "
        f"(T, {input_size}) for each sequence"
    )


def _way_to_a_batch(x, input_size, name, tokens):
    """How an array of another shape becomes a batch, where it is clear what was meant."""
    if x.ndim == 2 and x.dtype.kind in "iu" and not tokens:
        return f"; {name}[None] is one sequence, {_AS_NUMBERS.format(name)}"
    if x.shape[1:] == (input_size,):
        return f"; {name}[None], or the list [{name}], is a batch of one sequence"
    if input_size == 1 and x.ndim == 2:
        return f"; {name}[..., None] has the axis of the one input"
    if input_size == 1 and x.ndim == 1:
        return f"; {name}[None, :, None] is a batch of one sequence of one input"
    if x.ndim == 3 and x.shape[1] == input_size:
        return f"; {name}.swapaxes(1, 2) has the inputs last"
    return ""


def _way_to_a_sequence(x, b, input_size, name, tokens):
    """The same for array b of a list: one row of a sequence, or a sequence without an axis."""
    if x.ndim == 1 and x.dtype.kind in "iu" and not tokens:
        return "; " + _AS_NUMBERS.format(f"{name}[{b}]")
    if x.shape == (input_size,):
        return f"; [{name}] is a list of one sequence, if these are its steps"
    if input_size == 1 and x.ndim == 1:
        return f"; [np.reshape(x, (-1, 1)) for x in {name}] has the axis of the one input"
    if input_size == 1 and x.ndim == 0:
        return f"; np.reshape({name}, (1, -1, 1)) is a batch of one sequence of one input"
    return ""


def refuse_nonfinite_rows(rows, batch, name, hint=""):
    """Raise if there is a NaN or an infinity in the rows (N, ...) of a batch; say in which step.

    `hint` leads out.
    """
    if not all_finite(rows):
        row = int(np.argmin(np.isfinite(rows).reshape(len(rows), -1).all(axis=1)))
        numbers = np.ravel(rows[row])
        b, t = batch.place_of(row)
        value = numbers[~np.isfinite(numbers)][0]
        raise nonfinite(value, name, f" in sequence {b} at step {t}{hint}")


def _as_padded(X, given, name):
    """A list beside lengths or a mask (`given`): nested lists of a padded array."""
    arrays = [as_ndarray(x, f"{name}[{b}]") for b, x in enumerate(X)]
    if len({x.shape for x in arrays}) > 1:
        raise ValueError(
            f"{given}: expected None, for {name} is a list of sequences of unequal lengths, which "
            "says all that there is"
        )
    for b, x in enumerate(arrays):
        if x.dtype.kind not in "fiub":  # some kinds NumPy does not even put into one array
            raise not_real(x, f"{name}[{b}]")
    return np.stack(arrays)


def _from_list(X, input_size, dtype, check_finite, name, tokens):
    if len(X) == 0:
        raise ValueError(f"{name}: expected at least one sequence, got an empty list")
    arrays = [as_ndarray(x, f"{name}[{b}]") for b, x in enumerate(X)]
    is_tokens = tokens and all(x.ndim == 1 for x in arrays)
    lengths = np.array([len(x) if x.ndim else 0 for x in arrays], dtype=_INDEX)
    T, begins = int(lengths.max()), np.cumsum(lengths) - lengths
    if is_tokens:
        for b, x in enumerate(arrays):
            integers = as_tokens(x, input_size, f"{name}[{b}]")
            arrays[b] = check_tokens(integers, input_size, f"{name}[{b}]")
        return Batch(np.concatenate(arrays), lengths, T, None, begins, is_list=True)

    # an empty list is a sequence without steps, whose steps' shape nothing says
    arrays = [x.reshape(0, input_size) if x.shape == (0,) else x for x in arrays]
    for b, x in enumerate(arrays):
        if x.ndim != 2 or x.shape[1] != input_size:
            if x.ndim == 0 and x.dtype == object:
                raise not_real(x, f"{name}[{b}]")
            form = f"numbers of shape {format_shape(('T', input_size))}"
            if tokens:
                form += " or integer tokens of shape (T,), the same for every sequence"
            raise ValueError(
                f"{name}[{b}]: expected {form}, got {describe(x)}"
                + _way_to_a_sequence(x, b, input_size, name, tokens)
            )
    rows = np.concatenate([as_real(x, f"{name}[{b}]", dtype) for b, x in enumerate(arrays)])
    rows = rows_contiguous(rows)  # of arrays in Fortran's order NumPy makes another one in it
    batch = Batch(rows, lengths, T, begins=begins, is_list=True)
    if check_finite:
        refuse_nonfinite_rows(rows, batch, name)
    return batch


def _check_lengths(lengths, n, T, name):
    array = as_ndarray(lengths, "lengths")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"lengths: expected integers, got {describe(array)}; astype(int) makes some of whole "
            "numbers"
        )
    if array.shape != (n,):
        raise ValueError(
            f"lengths: expected shape ({n},), got {array.shape}; {name} has {n} sequences (axis 0)"
        )
    array = array.copy()  # first, so that no other thread can change what has been checked
    low, high = array.min(), array.max()
    if low < 0 or high > T:
        raise ValueError(f"lengths: expected 0 to {T}, got {low if low < 0 else high}")
    return array.astype(_INDEX, copy=False)


def _check_mask(mask, n, T, name):
    """The lengths, and the mask itself if a sequence has holes."""
    array = as_ndarray(mask, "mask")
    if array.dtype != np.bool_:
        raise TypeError(
            f"mask: expected bool, got {describe(array)}; astype(bool) makes it of 0 and 1"
        )
    if array.shape != (n, T):
        raise ValueError(
            f"mask: expected shape ({n}, {T}), got {array.shape}; {name} has {n} sequences (axis 0)"
        )
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


def check_tokens(tokens, input_size, name):
    """Tokens as a fresh intp array."""
    tokens = tokens.copy()  # first, so that no other thread can change what has been checked
    if tokens.size:
        low, high = tokens.min(), tokens.max()
        if low < 0 or high >= input_size:
            wrong = low if low < 0 else high
            raise ValueError(f"{name}: expected tokens from 0 to {input_size - 1}, got {wrong}")
    return tokens.astype(_INDEX)  # long long becomes what kernels know by another name

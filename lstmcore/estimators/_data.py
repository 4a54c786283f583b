"""What estimators are given as X: sequences in any of their forms, checked."""

import numpy as np
from sklearn.utils.validation import validate_data

from .._checks import as_ndarray, as_real, describe

__all__ = ["Sequences", "read_sequences"]

# The readings of a table, which errors and docs name.
READINGS = (
    "X[..., None] are series of one feature, X[:, None] sequences of one step, X[None] is one long "
    "sequence"
)


class Sequences:
    """Sequences as a network takes them.

    Attributes
    ----------
    values : (n, T, d) float64 array or list of (T_b, d) float64 arrays
        Of tokens integers without the last axis.
    lengths : (n,) array of int
    form : {"list", "array", "table", "rows"}
        What the user gave: a list; an array of three axes; a table, whose rows are series; or a
        table whose rows are sequences of one step.
    n_features : int
        d; of tokens 1.
    """

    def __init__(self, values, lengths, form, n_features):
        self.values = values
        self.lengths = lengths
        self.form = form
        self.n_features = n_features

    def __len__(self):
        return len(self.values)

    def as_list(self):
        """One array for each sequence, without padding."""
        if self.form == "list":
            return self.values
        return [x[:n] for x, n in zip(self.values, self.lengths.tolist(), strict=True)]

    def take(self, indices):
        """Some of the sequences."""
        is_list = self.form == "list"
        values = [self.values[b] for b in indices] if is_list else self.values[indices]
        return Sequences(values, self.lengths[indices], self.form, self.n_features)

    def split(self, rows):
        """Rows, one for each step, as a list of arrays, one for each sequence."""
        return np.split(rows, np.cumsum(self.lengths)[:-1])

    def mean(self, rows):
        """The mean of rows, one for each step, over the steps of each sequence."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.add.reduceat(rows, starts, axis=0) / self.lengths[:, None]

    def arrange(self, rows):
        """Rows, one for each step, in the form of X; padding has the zero of their type."""
        if self.form == "rows":
            return rows
        if self.form == "list":
            return self.split(rows)
        n, T = self.values.shape[:2]
        padded = np.zeros((n, T, *rows.shape[1:]), rows.dtype)
        padded[np.arange(T) < self.lengths[:, None]] = rows
        return padded


def read_sequences(estimator, X, lengths, *, reset, tokens=None, rows=False):
    """Check X as scikit-learn's estimators do, and as networks need it.

    Parameters
    ----------
    estimator : estimator
        It gets, or has, `n_features_in_` and, of tables with names, `feature_names_in_`; and
        `_form`, that of the X which it was fitted on.
    X : what `fit` takes
    lengths : (n,) array_like of int or None
    reset : bool
        Whether X is what the estimator is fitted on, or must be like it.
    tokens : int, optional
        X has integers from 0 to this less 1.
    rows : bool
        Whether a table's rows are sequences of one step, not series.
    """
    if tokens is None and _is_nested(X):
        X = np.asarray(X)
    if isinstance(X, (list, tuple)):
        sequences = _of_list(X, lengths, tokens)
    elif tokens is not None:
        sequences = _of_tokens(as_ndarray(X, "X"), lengths)
    else:
        ndim = X.ndim if hasattr(X, "ndim") else as_ndarray(X, "X").ndim
        if ndim == 2:  # an array, a data frame, also what scikit-learn refuses
            return _of_table(estimator, X, lengths, reset, rows)
        array = as_ndarray(X, "X")
        if ndim == 1 and array.dtype.kind == "O":
            sequences = _of_list(list(array), lengths, tokens)
        else:
            sequences = _of_array(array, lengths)
    d = sequences.n_features
    if reset:
        estimator.n_features_in_ = d
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        estimator._form = sequences.form
        return sequences
    if estimator._form in ("table", "rows"):
        raise ValueError(
            f"X: expected a table with {estimator.n_features_in_} columns, as in fit, got "
            f"{describe(X)}; fit takes sequences, too: {READINGS}"
        )
    if d != estimator.n_features_in_:
        # in scikit-learn's words, which it has for tables
        raise ValueError(
            f"X has {d} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )
    return sequences


def _is_nested(X):
    """Whether X is nested lists with as many numbers in each, a table as scikit-learn has it."""
    if not (isinstance(X, (list, tuple)) and len(X) and isinstance(X[0], (list, tuple))):
        return False
    size = len(X[0])
    return size > 0 and all(
        isinstance(x, (list, tuple)) and len(x) == size and not np.ndim(x[0]) for x in X
    )


def _of_table(estimator, X, lengths, reset, rows):
    """(n, T): n series of one feature, or n sequences of one step."""
    if not reset and estimator._form not in ("table", "rows"):
        raise ValueError(
            f"X: expected sequences of {estimator.n_features_in_} features, a list of (T, D) or an "
            f"array (n, T, D), as in fit, got a table of shape {X.shape}; {READINGS}"
        )
    # What lies after the end of a sequence is never looked at; in it the network looks.
    X = validate_data(
        estimator, X, dtype=np.float64, reset=reset, ensure_all_finite=lengths is None
    )
    if rows:
        if lengths is not None:
            raise ValueError(
                "lengths: expected None with a table whose rows have one target each, got "
                f"{describe(lengths)}; {READINGS}"
            )
        sequences = Sequences(X[:, None], np.ones(len(X), np.intp), "rows", X.shape[1])
    else:
        sequences = Sequences(X[..., None], _as_lengths(lengths, *X.shape), "table", 1)
    if reset:
        estimator._form = sequences.form
    return sequences


def _of_array(X, lengths):
    if X.ndim != 3:
        way_out = ""
        if X.ndim == 1:
            way_out = ". Reshape your data: X[None, :, None] is one sequence of one feature"
        raise ValueError(
            "X: expected a list with one array (T, D) for each sequence, or an array (n, T, D) or "
            f"(n, T), got {describe(X)}{way_out}"
        )
    X = as_real(X, "X", np.float64)
    if 0 in X.shape:
        raise ValueError(
            "X: expected at least one sequence, one step and one feature, got an array of shape "
            f"{X.shape}"
        )
    return Sequences(X, _as_lengths(lengths, *X.shape[:2]), "array", X.shape[2])


def _of_tokens(X, lengths):
    if X.ndim != 2 or X.dtype.kind not in "iu" or X.size == 0:
        raise ValueError(
            "X: expected integer tokens, an array (n, T) or a list of arrays (T,), got "
            f"{describe(X)}"
        )
    return Sequences(X, _as_lengths(lengths, *X.shape), "array", 1)


def _of_list(X, lengths, tokens):
    if lengths is not None:
        raise ValueError(
            "lengths: expected None beside a list, whose arrays have their own, got "
            f"{describe(lengths)}"
        )
    if not X:
        raise ValueError("X: expected at least one sequence, got none")
    arrays = [as_ndarray(x, f"X[{b}]") for b, x in enumerate(X)]
    D = next((x.shape[1] for x in arrays if x.ndim == 2), None)
    for b, x in enumerate(arrays):
        if x.ndim == 0:
            x = as_real(x, f"X[{b}]", np.float64)  # what is no number has an error of its own
            raise ValueError(
                f"X[{b}]: expected a sequence (T, D) or (T,), got the number {x:g}; [X] is a list "
                "of one sequence, np.reshape(X, (-1, 1, 1)) are sequences of one step"
            )
        is_one = x.ndim == 1 and (tokens is not None or D is None)
        if tokens is not None and not (is_one and (x.dtype.kind in "iu" or not x.size)):
            raise ValueError(f"X[{b}]: expected integer tokens (T,), got {describe(x)}")
        if not is_one and (x.ndim != 2 or x.shape[1] != D or D == 0):
            form = "numbers of shape (T, D)" if D is None else f"{D} features, shape (T, {D})"
            raise ValueError(f"X[{b}]: expected {form}, as others of the list, got {describe(x)}")
        if not len(x):
            raise ValueError(
                f"X[{b}]: expected at least one step, got none; leave out what has no steps, with "
                "its target"
            )
        if tokens is None:
            x = as_real(x, f"X[{b}]", np.float64)
            arrays[b] = x[:, None] if is_one else x
    lengths = np.array([len(x) for x in arrays])
    return Sequences(arrays, lengths, "list", 1 if D is None else D)


def _as_lengths(lengths, n, T):
    """Lengths of 1 to T; their type and shape are the network's to check."""
    if lengths is None:
        return np.full(n, T)
    array = as_ndarray(lengths, "lengths")
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {describe(array)}")
    if array.shape != (n,):
        way_out = ""
        if array.ndim == 1 and array.sum() == n:
            way_out = '; as_sequences(X, "concatenated", lengths) is a list of such sequences'
        raise ValueError(
            f"lengths: expected shape ({n},), one for each sequence of X, got {array.shape}"
            f"{way_out}"
        )
    if array.min() < 1 or array.max() > T:
        wrong = array.min() if array.min() < 1 else array.max()
        raise ValueError(
            f"lengths: expected 1 to {T} steps, got {wrong} at [{int(np.argmax(array == wrong))}]"
        )
    return array.astype(np.intp)

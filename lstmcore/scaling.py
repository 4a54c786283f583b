"""`Scaler`: features at mean 0 and standard deviation 1; and what is said of those far from it."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from ._checks import as_ndarray, as_real, describe, float_dtype, refuse_nonfinite, shaped
from .losses import SquaredError
from .sequences import make_batch

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    from typing_extensions import Self

    from ._types import SequencesLike, Vector

__all__ = ["ScaleWarning", "Scaler", "scale_complaint"]


class ScaleWarning(UserWarning):
    """Inputs or targets are so far from unit scale that a fit is likely to come to little."""


class Scaler:
    """Brings every feature to mean 0 and standard deviation 1, and back.

    Networks begin with weights that suit inputs and targets of about that scale. Scale the numbers
    of a test set by what was found in the training set.

    Attributes
    ----------
    mean_ : (D,) float64 array
    scale_ : (D,) float64 array
        The standard deviation, or 1 for a feature that is constant.
    n_features_in_ : int
        D.
    n_samples_seen_ : int
        How many steps (or rows) there were.

    Notes
    -----
    Where D is 1, the axis of the features may be absent. A two-dimensional array is read as rows
    (N, D) of features, which is the form of targets of sequences that are read out. One number for
    every step, (B, T), is ``Y[..., None]``.

    A program in C can leave the scaling of its inputs to the first layer's weights:
    docs/embedded.md shows how.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> s = 350 + 5 * np.sin(np.arange(600) / 8)
    >>> X, Y = s[None, :-1, None], s[None, 1:, None]
    >>> inputs, targets = lc.Scaler().fit(X), lc.Scaler().fit(Y)
    >>> net = lc.Network([lc.LSTM(1, 8), lc.Dense(8, 1)], seed=0)
    >>> result = lc.fit(net, inputs.transform(X), targets.transform(Y), max_iter=500, tol=1e-5)
    >>> predicted = targets.inverse_transform(net.predict(inputs.transform(X)))
    >>> bool(np.abs(predicted - Y)[:, 50:].max() < 0.5)
    True
    """

    mean_: Vector
    scale_: Vector
    n_samples_seen_: int

    def fit(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        *,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Find mean and standard deviation of every feature over the steps that are there.

        Parameters
        ----------
        X : (B, T, D) or (N, D) array_like, or list of (T_b, D) arrays
            Sequences or rows of features.
        lengths : (B,) array_like of int, optional
        mask : (B, T) array_like of bool, optional
            Which steps of (B, T, D) are there, as in `Network.predict`; by default all.
        sample_weight : (B,) array_like, optional
            Weight of each sequence's steps, >= 0; of rows (N, D) that of each row, (N,).

        Returns
        -------
        Scaler
            Itself.

        Raises
        ------
        ValueError, TypeError
            Names the argument, what was expected and what came.

        Examples
        --------
        >>> import lstmcore as lc
        >>> scaler = lc.Scaler().fit([[[1.0, 5.0], [3.0, 5.0]], [[2.0, 5.0]]])
        >>> scaler.mean_
        array([2., 5.])
        >>> scaler.scale_.round(3)
        array([0.816, 1.   ])
        """
        sequences, dtype = _as_sequences(X, lengths, mask)
        if isinstance(sequences, list):
            D = next((x.shape[1] for x in sequences if x.ndim == 2), 1)
        else:
            D = sequences.shape[2]
        batch = make_batch(sequences, D, np.float64, lengths, mask)
        rows = batch.input_rows()
        weights = None
        if sample_weight is not None:
            is_rows = not isinstance(sequences, list) and as_ndarray(X, "X").ndim != 3
            lengths = np.ones(batch.n_steps, int) if is_rows else batch.lengths
            weights = _step_weights(sample_weight, lengths)
            rows, weights = rows[weights > 0], weights[weights > 0]
        if not rows.size:
            raise ValueError("X: expected at least one step and one feature, got none")
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(rows, axis=0, weights=weights)
            deviation = rows - mean
            largest = np.abs(deviation).max(axis=0)
            scale = np.sqrt(np.average(deviation**2, axis=0, weights=weights))
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ValueError(
                f"X: expected numbers whose squares have a finite sum, got {np.abs(rows).max():.3g}"
            )
        # What differs by no more than its own rounding is constant, and so is what is too small
        # for its square.
        scale[(largest <= 8 * np.finfo(dtype).eps * np.abs(mean)) | (scale == 0)] = 1.0
        self.mean_, self.scale_ = mean, scale
        self.n_samples_seen_ = len(rows)
        return self

    @property
    def n_features_in_(self) -> int:
        return self.mean_.size

    def transform(self, X: SequencesLike) -> Any:
        """Features less their mean, divided by their standard deviation.

        Parameters
        ----------
        X : (..., D) array_like, or list of (T_b, D) arrays
            Steps that are not there are transformed like the others; nothing looks at them.

        Returns
        -------
        ndarray or list of ndarray
            Fresh, of the shape of X; float32 where X is float32, else float64.
        """
        return self._map(X, self._forward)

    def inverse_transform(self, X: SequencesLike) -> Any:
        """What `transform` has been given: outputs of a network in the units of its targets.

        Parameters
        ----------
        X : (..., D) array_like, or list of (T_b, D) arrays

        Returns
        -------
        ndarray or list of ndarray
            Fresh, of the shape of X. What was zero because no step is there is the mean.
        """
        return self._map(X, self._backward)

    def fit_transform(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> Any:
        """`fit`, then `transform` of the same."""
        return self.fit(X, lengths, mask).transform(X)

    def __repr__(self) -> str:
        fitted = f"of {self.n_features_in_} features" if self._is_fitted else "not fitted"
        return f"<Scaler {fitted}>"

    @property
    def _is_fitted(self):
        return hasattr(self, "mean_")

    def _map(self, X, function):
        if not self._is_fitted:
            raise ValueError("scaler: expected one that is fitted, got one that is not; call fit")
        if _is_list(X):
            return [self._map_array(x, f"X[{b}]", function) for b, x in enumerate(X)]
        return self._map_array(X, "X", function)

    def _forward(self, values):
        return (values - self.mean_) / self.scale_

    def _backward(self, values):
        return values * self.scale_ + self.mean_

    def _map_array(self, X, name, function):
        array, D = as_ndarray(X, name), self.n_features_in_
        dtype = float_dtype(array)
        # in float64, for beside a large mean float32 has few digits left
        values = as_real(array, name, np.float64)
        if D > 1 and values.shape == (0,):
            values = values.reshape(0, D)
        if D > 1 and values.shape[-1:] != (D,):
            raise ValueError(
                f"{name}: expected {D} features on the last axis, got {describe(array)}"
            )
        return function(values).astype(dtype, copy=False)


def _is_list(X):
    """Whether X is a list of sequences, not one of numbers."""
    return isinstance(X, (list, tuple)) and not all(isinstance(x, Real) for x in X)


def _step_weights(sample_weight, lengths):
    """The weight of each step of sequences of these lengths."""
    weights = as_real(sample_weight, "sample_weight", np.float64)
    shaped(weights, "sample_weight", lengths.shape)
    refuse_nonfinite(weights, "sample_weight")
    if weights.size and weights.min() < 0:
        raise ValueError(f"sample_weight: expected weights >= 0, got {weights.min()}")
    return np.repeat(weights, lengths)


def _as_sequences(X, lengths, mask):
    """(B, T, D) or a list of (T_b, D), from either without the axes that may be absent; a dtype."""
    if _is_list(X):
        arrays = [as_ndarray(x, f"X[{b}]") for b, x in enumerate(X)]
        for b, x in enumerate(arrays):
            if x.ndim not in (1, 2):
                x = as_real(x, f"X[{b}]", np.float64)
                raise ValueError(
                    f"X[{b}]: expected numbers of shape (T, D) or (T,), got {describe(x)}"
                )
        dtype = np.result_type(*map(float_dtype, arrays))
        # an empty list is a sequence of any number of features
        return [x[:, None] if x.ndim == 1 and x.size else x for x in arrays], dtype
    array = as_ndarray(X, "X")
    if array.ndim not in (1, 2, 3):
        raise ValueError(
            "X: expected numbers of shape (B, T, D), (N, D) or (N,), or a list with one array "
            f"(T, D) or (T,) for each sequence, got {describe(as_real(array, 'X', np.float64))}"
        )
    if array.ndim != 3:
        for given, name in ((lengths, "lengths"), (mask, "mask")):
            if given is not None:
                raise ValueError(
                    f"{name}: expected None beside rows of features, got {describe(given)}; "
                    "X[..., None] are sequences of one feature"
                )
    if array.ndim == 1:
        array = array[:, None]
    return array[None] if array.ndim == 2 else array, float_dtype(array)


# ----------------------------------------------------------------------------- far from unit scale

# How far is too far was found by fitting LSTM(I, 8) and Dense(8, K) by L-BFGS-B, 150 iterations, to
# three tasks: one step ahead of sums of sines, a linear filter of two inputs, three frequencies to
# be told apart (`python bench/scales.py`). The figures are medians over six seeds of R^2, R^2 and
# the fraction right; at unit scale they are 0.98, 1.00, 1.00.
#
# Inputs of sd 10 give 0.96, 0.99, 0.98, of sd 30 0.92, 0.86, 0.90, of sd 100 0.88, 0.61, 0.75.
_LARGEST_RMS = 30.0
# Inputs of sd 0.01 give 0.95, 0.97, 0.80, of sd 0.005 0.93, 0.94, 0.70, of sd 0.001 0.09, 0.04,
# 0.58; targets of sd 0.01 0.89, 0.97, of sd 0.005 0.83, 0.93, of sd 0.001 0.01, 0.91. What counts
# is the largest deviation from the mean, 2 to 3.5 sd there: a rare 1 among zeros has a small sd
# and does no harm.
_SMALLEST_DEVIATION = 0.02
# Inputs of mean 3, sd 0.3 give 0.96, 1.00, 0.75, of 10, 1 0.93, 0.93, 0.65; 10, 3 gives 0.96, 0.99,
# 0.78, and near zero a mean does less harm (1, 0.1: 0.97, 1.00, 0.83), where flags and
# probabilities have theirs.
_MOST_DEVIATIONS, _SMALL_MEAN = 3.0, 2.0
# Targets of sd 30 give 0.94, 1.00, of sd 50 0.87, 0.97, of sd 100 0.80, 0.90. The bias of the last
# layer learns their mean: 100, 1 gives 0.94, 0.98, and 200, 1 0.90, 0.93.
_LARGEST_TARGET_SD, _LARGEST_TARGET_MEAN = 40.0, 150.0

_NAMED = 3  # features in a message
_CHUNK = 1 << 15  # numbers that are looked at together


def scale_complaint(net, examples):
    """What a user must know of the scale of inputs and targets before a fit, or None.

    Parameters
    ----------
    net : Network
    examples : Examples
        Of that network.
    """
    inputs, found = examples.batch.input_rows(), []
    if inputs.dtype == net.dtype:  # not tokens
        n = len(net.layers[0].token_sizes)  # columns that are no quantities
        found += _complaints("X", _moments(inputs[:, n:]), _is_far_input, n)
    if examples.batch.features is not None:
        moments = _moments(examples.batch.features)
        found += _complaints("features (B, F)", moments, _is_far_input)
    if net.loss_name == SquaredError.name:
        scored, targets = examples.weights > 0, examples.targets.values
        if scored.ndim == 1:
            moments = _moments(targets[scored])
        else:
            columns = zip(targets.T, scored.T, strict=True)
            moments = np.hstack([_moments(z[there, None]) for z, there in columns])
        found += _complaints("Y", moments, _is_far_target)
    if not found:
        return None
    return (
        f"{'; '.join(found)}: too far from mean 0 and standard deviation 1 for a fit to come to "
        "much; lstmcore.Scaler brings them there"
    )


def _is_far_input(mean, sd, deviation):
    is_apart = (np.abs(mean) > _SMALL_MEAN) & (np.abs(mean) > _MOST_DEVIATIONS * deviation)
    return is_apart & (deviation > 0) | (np.hypot(mean, sd) > _LARGEST_RMS)


def _is_far_target(mean, sd, deviation):
    return (sd > _LARGEST_TARGET_SD) | (np.abs(mean) > _LARGEST_TARGET_MEAN)


def _complaints(name, moments, is_far, first=0):
    mean, sd, low, high = moments
    deviation = np.maximum(high - mean, mean - low)
    is_small = (deviation > 0) & (deviation < _SMALLEST_DEVIATION)
    far = np.flatnonzero(is_far(mean, sd, deviation) | is_small)
    if not far.size:
        return []
    figures = [
        f"feature {first + k} from {low[k]:.4g} to {high[k]:.4g}, mean {mean[k]:.4g}, standard "
        f"deviation {sd[k]:.3g}"
        for k in far[:_NAMED]
    ]
    more = f" and {far.size - _NAMED} features more" if far.size > _NAMED else ""
    return [f"{name} has {'; '.join(figures)}{more}"]


def _moments(rows):
    """Mean, standard deviation, lowest and highest value of each feature; NaN of none."""
    n, D = rows.shape
    total, squares = np.zeros(D), np.zeros(D)
    low, high = np.full(D, np.inf), np.full(D, -np.inf)
    # about a value among them, so that a large mean does not swallow the deviations
    shift = rows[0].astype(np.float64) if n else np.zeros(D)
    step = max(1, _CHUNK // max(1, D))
    with np.errstate(all="ignore"):
        for start in range(0, n, step):
            some = rows[start : start + step] - shift
            low, high = np.minimum(low, some.min(axis=0)), np.maximum(high, some.max(axis=0))
            total += some.sum(axis=0)
            squares += np.einsum("nd,nd->d", some, some)
        mean = total / n
        sd = np.sqrt(np.maximum(squares / n - mean**2, 0))
        return mean + shift, sd, low + shift, high + shift

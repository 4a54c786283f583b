"""`SequenceRegressor` and `StepRegressor`: numbers for each sequence, or for each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array, column_or_1d

from ..scaling import Scaler
from ._base import Estimator, PerSequence, PerStep, has_partial_fit
from ._decorators import available_if

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal

    import numpy.typing as npt
    from typing_extensions import Self

    from .._types import Method, Readout, SequencesLike
    from ..network import Network

__all__ = ["SequenceRegressor", "StepRegressor"]


class Regressing(RegressorMixin):
    """y is numbers, which the network knows at mean 0 and standard deviation 1."""

    def _encode(self, y, resets, classes):
        """(N, K) numbers."""
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if y.ndim > 2:
            raise ValueError(f"y: expected one or two axes for each term, got shape {y.shape}")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        rows = y.reshape(len(y), -1)
        if resets:
            self._is_flat = y.ndim == 1
            self._n_wanted = rows.shape[1]
        elif rows.shape[1] != self._n_wanted:
            raise ValueError(
                f"y: expected {self._n_wanted} targets, as before, got {rows.shape[1]}"
            )
        return rows

    def _scaled(self, net, targets, weights, resets):
        """Targets in the network's scale, which the first ones decide."""
        if resets:
            self.target_scaler_ = None
            if net.output_units == "identity":
                self.target_scaler_ = Scaler().fit(targets, sample_weight=weights)
        return targets if self.target_scaler_ is None else self.target_scaler_.transform(targets)

    def _output(self):
        return self._n_wanted, "squared_error"

    def _check_outputs(self, net):
        if net.output_size != self._n_wanted:
            raise ValueError(
                f"network: expected one of {self._n_wanted} outputs, for y has so many targets, "
                f"got {net!r}"
            )

    def _labels(self, targets):
        return None

    def _class_weights(self, y):
        return None

    def _score(self, rows, answers, weights):
        if not np.isfinite(rows).all():
            return np.nan
        return float(r2_score(answers, rows, sample_weight=weights))

    def _decide(self, rows):
        if self.target_scaler_ is not None:
            rows = self.target_scaler_.inverse_transform(rows)
        return rows[:, 0] if self._is_flat else rows

    @available_if(has_partial_fit)
    def partial_fit(
        self,
        X: SequencesLike,
        y: SequencesLike,
        *,
        lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train for one more epoch, on these or other data.

        Parameters
        ----------
        X, y, lengths, sample_weight
            As in `fit`. Mean and standard deviation of the targets are those of the first call.

        Returns
        -------
        estimator
            Itself.
        """
        return self._partial_fit(X, y, lengths, sample_weight)


class SequenceRegressor(Regressing, PerSequence, Estimator):
    """A recurrent network that gives a number, or several, for each sequence.

    Parameters
    ----------
    hidden_layer_sizes, cell, peepholes, bidirectional, readout, solver, alpha, batch_size, \
learning_rate_init, max_iter, tol, max_fun, early_stopping, validation_fraction, n_iter_no_change, \
n_restarts, warm_start, random_state, verbose, n_threads, tokens, network, solver_options
        As those of `SequenceClassifier`; with readout "all" every step is trained to give its
        sequence's target, and their mean is the prediction. `network` is called with
        (n_features, n_targets, seed).

    Attributes
    ----------
    network_, n_features_in_, feature_names_in_, n_outputs_, out_activation_, n_iter_, loss_, \
best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As those of `SequenceClassifier`; validation scores are R².
    target_scaler_ : lstmcore.Scaler or None
        What brings targets to mean 0 and standard deviation 1 for the network, and its outputs
        back. None where a network of one's own has other outputs than identity.

    Notes
    -----
    X is in the forms of `SequenceClassifier`; y is (n,) or (n, K). The loss is half the squared
    error of the standardised targets.

    Examples
    --------
    The frequency of noisy waves:

    >>> import numpy as np
    >>> from lstmcore.estimators import SequenceRegressor
    >>> rng = np.random.default_rng(0)
    >>> y = rng.uniform(0.1, 0.5, 60)
    >>> X = [np.sin(f * np.arange(T)) + rng.normal(0, 0.1, T)
    ...      for f, T in zip(y, rng.integers(30, 50, 60))]
    >>> regressor = SequenceRegressor((8,), max_iter=50, random_state=0).fit(X[:40], y[:40])
    >>> bool(regressor.score(X[40:], y[40:]) > 0.9)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (32,),
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        peepholes: bool = False,
        bidirectional: bool = False,
        readout: Readout = "mean",
        solver: Method | Literal["lbfgs"] = "lbfgs",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_fun: int = 15000,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_restarts: int = 1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        n_threads: int | None = None,
        tokens: int | None = None,
        network: Callable[[int, int, int], Network] | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            cell=cell,
            peepholes=peepholes,
            bidirectional=bidirectional,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            tol=tol,
            max_fun=max_fun,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_restarts=n_restarts,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            n_threads=n_threads,
            tokens=tokens,
            network=network,
            solver_options=solver_options,
        )
        self.readout = readout

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> npt.NDArray[Any]:
        """The number, or the numbers, of each sequence.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T.

        Returns
        -------
        (n,) array, or (n, K)
        """
        return self._predict(X, lengths, self._decide)

    def score(
        self,
        X: SequencesLike,
        y: SequencesLike,
        sample_weight: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> float:
        """R² of the predictions, of several targets the mean of theirs.

        Parameters
        ----------
        X, lengths
            As in `predict`.
        y : (n,) or (n, K) array_like
        sample_weight : (n,) array_like, optional

        Returns
        -------
        float
        """
        return r2_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight)


class StepRegressor(Regressing, PerStep, Estimator):
    """A recurrent network that gives a number, or several, at every step of each sequence.

    Parameters
    ----------
    hidden_layer_sizes, cell, peepholes, bidirectional, solver, alpha, batch_size, \
learning_rate_init, max_iter, tol, max_fun, early_stopping, validation_fraction, n_iter_no_change, \
n_restarts, warm_start, random_state, verbose, n_threads, tokens, network, solver_options
        As those of `StepClassifier`; `network` is called with (n_features, n_targets, seed).

    Attributes
    ----------
    network_, n_features_in_, feature_names_in_, n_outputs_, out_activation_, n_iter_, loss_, \
best_loss_, loss_curve_, validation_scores_, best_validation_score_, target_scaler_
        As those of `SequenceRegressor`.

    Notes
    -----
    X is in the forms of `SequenceClassifier`. y is a list with one array (T,) or (T, K) for each
    sequence, or an array (n, T) or (n, T, K). What `StepClassifier` says of padding, of tables with
    one target a row and of scorers holds here.

    Examples
    --------
    One step ahead:

    >>> import numpy as np
    >>> from lstmcore.estimators import StepRegressor
    >>> series = [np.sin(0.3 * np.arange(T) + T) for T in range(30, 60)]
    >>> X, y = [s[:-1] for s in series], [s[1:] for s in series]
    >>> regressor = StepRegressor((8,), max_iter=50, random_state=0).fit(X[:20], y[:20])
    >>> bool(regressor.score(X[20:], y[20:]) > 0.9)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (32,),
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        peepholes: bool = False,
        bidirectional: bool = False,
        solver: Method | Literal["lbfgs"] = "lbfgs",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_fun: int = 15000,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_restarts: int = 1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        n_threads: int | None = None,
        tokens: int | None = None,
        network: Callable[[int, int, int], Network] | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            cell=cell,
            peepholes=peepholes,
            bidirectional=bidirectional,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            tol=tol,
            max_fun=max_fun,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_restarts=n_restarts,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            n_threads=n_threads,
            tokens=tokens,
            network=network,
            solver_options=solver_options,
        )

    def predict(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """The number, or the numbers, at every step of each sequence.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T.

        Returns
        -------
        list of (T,) or (T, K) arrays, or (n, T) or (n, T, K) array
            In the form of X.
        """
        return self._predict(X, lengths, self._decide)

    def score(
        self,
        X: SequencesLike,
        y: SequencesLike,
        sample_weight: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> float:
        """R² over all steps, of several targets the mean of theirs.

        Parameters
        ----------
        X, lengths
            As in `predict`.
        y : list of (T,) or (T, K) array_like, or (n, T) or (n, T, K) array_like
        sample_weight : (n,) array_like, optional
            Weight of each sequence.

        Returns
        -------
        float
        """
        answers, rows, weights = self._answers(X, y, sample_weight, lengths, self._decide)
        return r2_score(answers, rows, sample_weight=weights)

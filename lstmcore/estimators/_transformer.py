"""`SequenceTransformer`: scikit-learn's transformers of tables, for the steps of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._checks import describe
from ._data import read_sequences
from ._decorators import available_if

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    from typing_extensions import Self

    from .._types import SequencesLike, Vector

__all__ = ["SequenceTransformer"]


class SequenceTransformer(TransformerMixin, BaseEstimator):
    """A transformer of tables, applied to every step of all sequences.

    `StandardScaler` and the like refuse sequences. This fits one on all steps, one below the other,
    and puts what it makes of each step back in its place.

    Parameters
    ----------
    transformer : estimator
        Any transformer of scikit-learn's kind that makes one row of each row: StandardScaler,
        RobustScaler, QuantileTransformer, PCA. A copy of it is fitted.

    Attributes
    ----------
    transformer_ : estimator
        The fitted copy.
    n_features_in_ : int
        Features of a step; of a table (n, T) its columns, T.
    feature_names_in_ : array of str
        Only of tables with such names.

    Notes
    -----
    X is in the forms that `SequenceClassifier` takes, and comes back in them; a table (n, T) holds
    series of one feature, and comes back as (n, T, K) if K features are made of it.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from lstmcore.datasets import load_japanese_vowels
    >>> from lstmcore.estimators import SequenceTransformer
    >>> X, _, _, _ = load_japanese_vowels()
    >>> X[0].shape, SequenceTransformer(PCA(4)).fit_transform(X)[0].shape
    ((20, 12), (20, 4))
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(
        self, X: SequencesLike, y: object = None, *, lengths: npt.ArrayLike | None = None
    ) -> Self:
        """Fit a copy of the transformer on all steps.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
        y : ignored
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T.

        Returns
        -------
        SequenceTransformer
            Itself.
        """
        if not hasattr(self.transformer, "fit") or not hasattr(self.transformer, "transform"):
            raise TypeError(
                "transformer: expected a transformer such as StandardScaler(), got "
                f"{describe(self.transformer)}"
            )
        sequences = read_sequences(self, X, lengths, reset=True)
        self.transformer_ = clone(self.transformer).fit(np.concatenate(sequences.as_list()))
        return self

    def transform(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> Vector | list[Vector]:
        """Each step transformed.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        list of (T, K) arrays, (n, T, K) array, or (n, T)
            In the form of X; padding is zero.
        """
        return self._map(X, lengths, "transform")

    @available_if(lambda self: hasattr(self.transformer, "inverse_transform"))
    def inverse_transform(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> Vector | list[Vector]:
        """Each step transformed back.

        Parameters
        ----------
        X, lengths
            As `transform` has returned them.

        Returns
        -------
        list of (T, D) arrays, (n, T, D) array, or (n, T)
        """
        return self._map(X, lengths, "inverse_transform")

    def _map(self, X, lengths, method):
        check_is_fitted(self, "transformer_")
        sequences = read_sequences(self, X, lengths, reset=False)
        rows = getattr(self.transformer_, method)(np.concatenate(sequences.as_list()))
        rows = rows.toarray() if issparse(rows) else np.asarray(rows)
        if rows.ndim != 2 or len(rows) != sequences.lengths.sum():
            raise ValueError(
                f"transformer: expected one row for each of {sequences.lengths.sum()} steps, got "
                f"{describe(rows)}"
            )
        if sequences.form == "table" and rows.shape[1] == 1:
            rows = rows[:, 0]
        return sequences.arrange(rows)

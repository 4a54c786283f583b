"""Estimators for scikit-learn: sequences in, one target for each of them or for each step out.

They go wherever scikit-learn's own go: into cross-validation, searches, pipelines, ensembles. X is
a list with one array (T, D) for each sequence, of unequal lengths if need be. See
docs/from_scikit_learn.md.

>>> from sklearn.model_selection import cross_val_score
>>> from lstmcore.datasets import load_japanese_vowels
>>> from lstmcore.estimators import SequenceClassifier
>>> X, y, _, _ = load_japanese_vowels()
>>> classifier = SequenceClassifier((16,), bidirectional=True, max_iter=50, random_state=0)
>>> bool(cross_val_score(classifier, X, y, cv=3).mean() > 0.8)
True
"""

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401  (since version 1.6)
except ImportError as error:
    raise ImportError(
        'lstmcore.estimators needs scikit-learn 1.6 or newer: pip install "lstmcore[sklearn]"'
    ) from error

from ._classifiers import SequenceClassifier, StepClassifier
from ._regressors import SequenceRegressor, StepRegressor
from ._transformer import SequenceTransformer

__all__ = [
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTransformer",
    "StepClassifier",
    "StepRegressor",
]

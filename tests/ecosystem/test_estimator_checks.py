"""scikit-learn's own checks of estimators: on tables as it makes them, and on sequences.

The checks make tables, whose rows are series of one length. They run a second and a third time on
estimators that are handed arrays of three axes, and lists of unequal sequences, in their place.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from lstmcore.estimators import (
    SequenceClassifier,
    SequenceRegressor,
    SequenceTransformer,
    StepClassifier,
    StepRegressor,
)

# The checks stop runs early, do not scale data, and give tables with one target a row.
pytestmark = pytest.mark.filterwarnings("ignore")

FAST = {"hidden_layer_sizes": (6,), "max_iter": 50, "n_threads": 1, "random_state": 0}
OF_ADAM = {"solver": "adam", "learning_rate_init": 0.05}
ESTIMATORS = [
    SequenceClassifier(**FAST),
    SequenceClassifier(**FAST, **OF_ADAM),
    SequenceRegressor(**FAST | {"max_iter": 100}),
    SequenceRegressor(**FAST | {"max_iter": 100}, **OF_ADAM),
    StepClassifier(**FAST),
    StepRegressor(**FAST),
    SequenceTransformer(StandardScaler()),
]
# It compares two fits to 1e-7, and rounding grows from one iteration to the next.
WITH_FEW_ITERATIONS = "check_sample_weight_equivalence_on_dense_data"


def name_of(check):
    return getattr(check, "func", check).__name__


def run_check(estimator, check):
    if name_of(check) == WITH_FEW_ITERATIONS and hasattr(estimator, "max_iter"):
        estimator = clone(estimator).set_params(max_iter=10)
    check(estimator)


def with_checks(estimators):
    """A test for each estimator and each check of it."""
    pairs = [pair for estimator in estimators for pair in estimator_checks_generator(estimator)]
    names = [f"{type(estimator).__name__}-{name_of(check)}" for estimator, check in pairs]
    return pytest.mark.parametrize("estimator, check", pairs, ids=names)


@with_checks(ESTIMATORS)
def test_scikit_learns_checks_pass_on_tables(estimator, check):
    run_check(estimator, check)


# ---------------------------------------------------------------------------------- sequences


def as_array(X):
    """Rows of a table as the first of three steps."""
    return np.stack([X, X[:, ::-1], X / 2], axis=1)


def as_list(X):
    """The same, but that some have fewer steps, for which a row alone decides."""
    n_steps = 1 + np.abs(np.nan_to_num(X[:, 0]) * 1e3).astype(int) % 3
    return [x[:n] for x, n in zip(as_array(X), n_steps, strict=True)]


class Patched:
    """An estimator that is handed sequences made of tables, and a target for each step if need be.

    Of predictions for steps those for the last ones are returned.
    """

    form = staticmethod(as_array)

    def _patch(self, X):
        """X in another form, and whether it was a table of numbers."""
        table = np.asarray(X)
        if table.dtype == object and table.ndim == 2:
            X = table = table.astype(float)
        is_table = table.ndim == 2 and table.size > 0 and table.dtype.kind in "fiu"
        return (self.form(table.astype(float)), True) if is_table else (X, False)

    def _targets(self, X, y, is_patched):
        if not (self._reads_steps and is_patched) or y is None:
            return y
        y = np.asarray(y)
        return [np.repeat(y[b : b + 1], len(x), axis=0) for b, x in enumerate(X)]

    def fit(self, X, y, sample_weight=None):
        X, is_patched = self._patch(X)
        return super().fit(X, self._targets(X, y, is_patched), sample_weight=sample_weight)

    def _rows(self, X, lengths):
        return super()._rows(self._patch(X)[0], lengths)

    def _arrange(self, rows, sequences):
        return rows[sequences.lengths.cumsum() - 1] if self._reads_steps else rows

    def score(self, X, y, sample_weight=None):
        steps, is_patched = self._patch(X)
        return super().score(X, self._targets(steps, y, is_patched), sample_weight)


class ClassifierOnArrays(Patched, SequenceClassifier):
    pass


class StepRegressorOnArrays(Patched, StepRegressor):
    pass


class ClassifierOnLists(Patched, SequenceClassifier):
    form = staticmethod(as_list)


class RegressorOnLists(Patched, SequenceRegressor):
    form = staticmethod(as_list)


class StepClassifierOnLists(Patched, StepClassifier):
    form = staticmethod(as_list)


class StepRegressorOnLists(Patched, StepRegressor):
    form = staticmethod(as_list)


@with_checks([kind(**FAST) for kind in Patched.__subclasses__()])
def test_scikit_learns_checks_pass_on_sequences(estimator, check):
    if name_of(check) == "check_estimators_nan_inf":
        pytest.skip("wants scikit-learn's words; test_estimator_mistakes.py has this package's")
    run_check(estimator, check)

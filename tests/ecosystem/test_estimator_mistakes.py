"""Mistakes that are easily made with the estimators, and what they are told."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import lstmcore as lc
from lstmcore.estimators import (
    SequenceClassifier,
    SequenceRegressor,
    SequenceTransformer,
    StepClassifier,
    StepRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(T, 2)) for T in (5, 3, 8, 4)]
Y = ["a", "b", "a", "b"]
ARRAY = RNG.normal(size=(4, 6, 2))
TABLE = ARRAY[..., 0]
FAST = {"hidden_layer_sizes": (2,), "max_iter": 2, "random_state": 0}


def classifier(**options):
    return SequenceClassifier(**FAST | options)


def with_nan(sequences):
    sequences = [x.copy() for x in sequences]
    sequences[1][2, 1] = np.nan
    return sequences


class Frame:
    """As much of a data frame as one is asked for here: rows of one long series."""

    def __init__(self, values):
        self.values, self.ndim, self.shape = values, values.ndim, values.shape

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self):
        return len(self.values)


MISTAKES = {
    "a sequence of other features": (
        [*X[:3], X[3][:, :1]],
        Y,
        r"X\[3\]: expected 2 features, shape \(T, 2\), as others of the list, got an array of "
        r"shape \(4, 1\)",
    ),
    "axes too many": (
        ARRAY[None],
        Y,
        r"X: expected a list with one array \(T, D\) for each sequence, or an array \(n, T, D\) or "
        r"\(n, T\), got an array of shape \(1, 4, 6, 2\)",
    ),
    "one series": (TABLE[0], Y, r"X\[None, :, None\] is one sequence of one feature"),
    "NaN in a list": (
        with_nan(X),
        Y,
        "X: expected finite numbers, got nan in sequence 1 at step 2",
    ),
    "NaN in an array": (np.full((4, 6, 2), np.nan), Y, "got nan in sequence 0 at step 0"),
    "infinity in a table": (np.full((4, 6), np.inf), Y, "Input X contains infinity"),
    "one class": (X, ["a"] * 4, "y: expected two classes or more, got one class, 'a'"),
    "no y": (X, None, "y: SequenceClassifier requires y to be passed, but the target y is None"),
    "fewer targets": (X, Y[:3], "y: expected 4 targets, one for each sequence of X, got 3"),
    "one target": (X, "a", "y: expected 4 targets, one for each sequence of X, got 'a'"),
    "numbers as classes": (X, [0.5, 1.5, 2.25, 0.1], "Unknown label type: continuous"),
    "a target for each step": (
        ARRAY,
        np.zeros((4, 6), int),
        r"y should be a 1d array, got an array of shape \(4, 6\)",
    ),
    "a list of integers": (
        [1, 2, 3, 4],
        Y,
        r"X\[0\]: expected a sequence \(T, D\) or \(T,\), got the number 1; \[X\] is a list of one",
    ),
    "a data frame of all steps": (
        Frame(np.concatenate(X)),
        Y,
        'y: expected 20 targets, one for each sequence of X, got 4; .* as_sequences.X, "concat',
    ),
    "an empty sequence": (
        [*X[:3], np.empty((0, 2))],
        Y,
        r"X\[3\]: expected at least one step, got none; leave out what has no steps",
    ),
    "no sequence": ([], [], "X: expected at least one sequence, got none"),
    "text": (["abc", "de", "f", "g"], Y, "X.*expected real numbers, got"),
    "mixed axes": (
        [X[0], X[1][:, 0], X[2], X[3]],
        Y,
        r"X\[1\]: expected 2 features, shape \(T, 2\)",
    ),
}


@pytest.mark.parametrize("given, y, message", MISTAKES.values(), ids=MISTAKES)
def test_data_that_do_not_fit(given, y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier().fit(given, y)


STEPS = [list("xyxyx"), list("yxy"), list("xyxyxyxy"), list("xyxy")]
STEP_MISTAKES = {
    "a step too few": (
        X,
        [*STEPS[:2], STEPS[2][:-1], STEPS[3]],
        r"y\[2\]: expected 8 targets, one for each step of X\[2\], got 7",
    ),
    "one label a sequence": (
        X,
        Y,
        r"y\[0\]: expected 5 targets, one for each step of X\[0\], got 'a'",
    ),
    "fewer sequences": (X, STEPS[:2], "y: expected the targets of 4 sequences"),
    "an array with another number of steps": (
        ARRAY,
        np.zeros((4, 5), int),
        r"y\[0\]: expected 6 targets, one for each step of X\[0\], got 5",
    ),
}


@pytest.mark.parametrize("given, y, message", STEP_MISTAKES.values(), ids=STEP_MISTAKES)
def test_targets_of_steps_that_do_not_fit(given, y, message):
    with pytest.raises(ValueError, match=message):
        StepClassifier(**FAST).fit(given, y)


def test_numbers_of_targets_that_differ_between_sequences():
    y = [np.zeros((5, 2)), np.zeros((3, 1)), np.zeros((8, 2)), np.zeros((4, 2))]
    with pytest.raises(ValueError, match="y: expected the same number of targets at every step"):
        StepRegressor(**FAST).fit(X, y)


OPTIONS = {
    "solver": ("newton", "solver: expected one of lbfgs, .*, adam, .* got 'newton'"),
    "cell": ("LSTM", "cell: expected one of lstm, gru, rnn, got 'LSTM'"),
    "readout": ("first", "readout: expected one of mean, last, max, last_step, all, got 'first'"),
    "hidden_layer_sizes": ((4, 0), r"hidden_layer_sizes\[1\]: expected an integer >= 1, got 0"),
    "alpha": (-1.0, "alpha: expected a number >= 0, got -1.0"),
    "max_iter": (0, "max_iter: expected an integer >= 1, got 0"),
    "validation_fraction": (1.0, "validation_fraction: expected a number > 0 and < 1, got 1.0"),
    "network": (lc.Network([lc.LSTM(2, 2)]), "network: expected a function"),
    "solver_options": ({"max_iter": 3}, "solver_options: expected no 'max_iter', for which"),
    "batch_size": ("all", "batch_size: expected an integer, got 'all'"),
    "tokens": (0, "tokens: expected an integer >= 1, got 0"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_parameters_are_refused_by_name(name):
    value, message = OPTIONS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(**{"solver": "adam", name: value}).fit(X, Y)


def test_what_the_core_refuses_names_its_own_argument():
    with pytest.raises(TypeError, match="dropot: expected an argument of fit, such as dropout"):
        classifier(solver="adam", solver_options={"dropot": 0.1}).fit(X, Y)
    with pytest.raises(ValueError, match="peepholes: expected False with cell='gru', got True"):
        classifier(cell="gru", peepholes=True).fit(X, Y)


def test_networks_of_another_form():
    def no_classes(n_features, n_outputs, seed):
        return lc.Network([lc.LSTM(n_features, 2)], "cross_entropy", "mean", seed=seed)

    def other_inputs(n_features, n_outputs, seed):
        return lc.Network([lc.LSTM(7, 2)], "cross_entropy", "mean", seed=seed)

    three = [0, 1, 2, 2]
    with pytest.raises(ValueError, match="network: expected one of 3 softmax outputs, for y has"):
        classifier(network=no_classes).fit(X, three)
    with pytest.raises(ValueError, match="network: expected a network of 2 inputs, got"):
        classifier(network=other_inputs).fit(X, Y)
    with pytest.raises(ValueError, match="network: expected readout='all', for each step"):
        StepClassifier(**FAST, network=no_classes).fit(X, STEPS)
    with pytest.raises(TypeError, match="network: expected it to return a Network, got None"):
        classifier(network=lambda *_: None).fit(X, Y)


def test_predictions_for_other_data():
    fitted = classifier().fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but SequenceClassifier is expecting 2"):
        fitted.predict(np.zeros((1, 4, 3)))
    with pytest.raises(
        ValueError, match=r"X: expected sequences of 2 features, .* got a table .* X\[None\] is one"
    ):
        fitted.predict(np.zeros((4, 2)))
    of_table = classifier().fit(TABLE, Y)
    with pytest.raises(ValueError, match="X: expected a table with 6 columns, as in fit, got"):
        of_table.predict([x[:, :1] for x in X])
    with pytest.raises(ValueError, match="X has 5 features, but SequenceClassifier is expecting 6"):
        of_table.predict(TABLE[:, :5])


def test_lengths_that_do_not_fit():
    for lengths, message in (
        ([6, 6, 6], r"lengths: expected shape \(4,\), one for each sequence of X, got \(3,\)"),
        ([6, 0, 6, 6], r"lengths: expected 1 to 6 steps, got 0 at \[1\]"),
        ([6, 9, 6, 6], r"lengths: expected 1 to 6 steps, got 9 at \[1\]"),
        ([6.0] * 4, "lengths: expected integers"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            classifier().fit(ARRAY, Y, lengths=lengths)
    with pytest.raises(ValueError, match="lengths: expected None beside a list"):
        classifier().fit(X, Y, lengths=[5, 3, 8, 4])
    with pytest.raises(ValueError, match=r'as_sequences\(X, "concatenated", lengths\) is a list'):
        classifier().fit(np.zeros((20, 2)), Y, lengths=[5, 3, 8, 4])


def test_weights_that_do_not_fit():
    for weights, message in (
        ([1, 2], r"sample_weight: expected shape \(4,\), one for each sequence of X, got \(2,\)"),
        ([1, -1, 1, 1], "sample_weight: expected weights >= 0, got -1"),
        ([0, 0, 0, 0], "sample_weight: expected some weight above zero, got none"),
        ([np.nan] * 4, "sample_weight: expected finite numbers, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier().fit(X, Y, sample_weight=weights)


def test_partial_fit_says_what_it_needs():
    learner = classifier(solver="adam")
    with pytest.raises(ValueError, match="classes: expected all labels in the first call"):
        learner.partial_fit(X, Y)
    learner.partial_fit(X, Y, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"y: expected the classes .'a', 'b'., as before, got 'c'"):
        learner.partial_fit(X, ["a", "b", "c", "a"])
    with pytest.raises(ValueError, match="early_stopping: expected False with partial_fit"):
        learner.set_params(early_stopping=True).partial_fit(X, Y)
    with pytest.raises(AttributeError, match="partial_fit"):
        classifier().partial_fit(X, Y)


def test_too_little_to_validate_on():
    with pytest.raises(ValueError, match="validation_fraction: expected a share of two sequences"):
        classifier(early_stopping=True).fit(X, Y)


def test_transformers_that_are_none():
    with pytest.raises(TypeError, match=r"transformer: expected a transformer such as Standard"):
        SequenceTransformer(3).fit(X)
    with pytest.raises(
        ValueError, match="X has 3 features, but SequenceTransformer is expecting 2"
    ):
        SequenceTransformer(StandardScaler()).fit(X).transform([np.zeros((2, 3))])


def test_targets_that_are_no_numbers():
    with pytest.raises(ValueError, match="could not convert string to float"):
        SequenceRegressor(**FAST).fit(X, Y)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        SequenceRegressor(**FAST).fit(X, [1.0, np.nan, 2.0, 3.0])

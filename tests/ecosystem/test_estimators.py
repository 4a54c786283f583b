"""The estimators of sequences among scikit-learn's tools, and what their parameters mean."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
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

FAST = {"hidden_layer_sizes": (4,), "max_iter": 15, "n_threads": 1, "random_state": 0}
NAMES = np.array(["slow", "steady", "fast"])


def make_waves(n=48, seed=0):
    """Waves of three speeds, unequally long, with a second feature that is large noise."""
    rng = np.random.default_rng(seed)
    speeds = rng.integers(3, size=n)
    X = []
    for speed, T in zip(speeds, rng.integers(6, 15, n), strict=True):
        wave = np.sin((0.3 + 0.7 * speed) * np.arange(T) + rng.uniform(0, 6))
        X.append(np.column_stack([wave, 5 + 3 * rng.normal(size=T)]))
    return X, NAMES[speeds]


X, Y = make_waves()
NUMBERS = np.array([np.flatnonzero(name == NAMES)[0] for name in Y], dtype=float)
STEP_LABELS = [np.where(x[:, 0] > 0, "up", "down") for x in X]
STEP_NUMBERS = [np.cumsum(x[:, 0]) for x in X]


def padded(sequences):
    """(n, T, D) with NaN after the end of sequences, which nobody looks at, and lengths."""
    lengths = np.array([len(x) for x in sequences])
    array = np.full((len(sequences), lengths.max(), 2), np.nan)
    for b, x in enumerate(sequences):
        array[b, : len(x)] = x
    return array, lengths


def classifier(**options):
    return SequenceClassifier(**FAST | options)


def pipeline(**options):
    return make_pipeline(SequenceTransformer(StandardScaler()), classifier(**options))


# ---------------------------------------------------------------------------------- tools


def test_cross_validation_takes_lists_of_unequal_sequences():
    scores = cross_val_score(pipeline(max_iter=40), X, Y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.6


def test_processes_give_the_same_bits():
    alone = cross_val_score(pipeline(), X, Y, cv=2, scoring="neg_log_loss")
    assert (
        cross_val_score(pipeline(), X, Y, cv=2, scoring="neg_log_loss", n_jobs=2) == alone
    ).all()


def test_cross_val_predict_gives_probabilities():
    rows = cross_val_predict(pipeline(), X, Y, cv=2, method="predict_proba")
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_grid_search_goes_through_a_pipeline():
    grid = {"sequenceclassifier__cell": ["lstm", "gru"], "sequenceclassifier__alpha": [0.01, 1.0]}
    search = GridSearchCV(pipeline(), grid, cv=2).fit(X, Y)
    assert search.best_estimator_[-1].network_.input_size == 2
    assert search.predict(X).shape == (48,)


def test_halving_search_takes_fewer_sequences_first():
    distributions = {"hidden_layer_sizes": [(2,), (4,), (3, 3)], "cell": ["lstm", "gru", "rnn"]}
    search = HalvingRandomSearchCV(
        classifier(max_iter=5), distributions, cv=2, random_state=0, min_resources=12
    ).fit(X, Y)
    assert search.n_resources_[0] == 12
    assert len(search.n_resources_) > 1


def test_halving_search_takes_fewer_iterations_first():
    search = HalvingRandomSearchCV(
        classifier(),
        {"alpha": [0.01, 0.1, 1.0, 10.0]},
        cv=2,
        random_state=0,
        resource="max_iter",
        min_resources=2,
        max_resources=8,
    ).fit(X, Y)
    assert search.best_params_["alpha"] in (0.01, 0.1, 1.0, 10.0)


def test_train_test_split_splits_lists():
    X_train, X_test, y_train, y_test = train_test_split(X, Y, stratify=Y, random_state=0)
    assert len(X_train) == len(y_train) == 36
    assert classifier().fit(X_train, y_train).score(X_test, y_test) > 0.3


def test_learning_curve_fits_parts():
    sizes, _, scores = learning_curve(
        classifier(max_iter=5), X, Y, cv=2, train_sizes=[0.5, 1.0], shuffle=True, random_state=0
    )
    assert sizes.tolist() == [12, 24]
    assert np.isfinite(scores).all()


def test_voting_takes_networks():
    members = [("lstm", classifier()), ("gru", classifier(cell="gru"))]
    ensemble = VotingClassifier(members, voting="soft").fit(X, Y)
    assert ensemble.predict_proba(X).shape == (48, 3)
    numbers = [("lstm", SequenceRegressor(**FAST)), ("gru", SequenceRegressor(**FAST, cell="gru"))]
    assert VotingRegressor(numbers).fit(X, NUMBERS).predict(X).shape == (48,)


def test_stacking_takes_networks():
    members = [("lstm", classifier()), ("gru", classifier(cell="gru"))]
    ensemble = StackingClassifier(members, RidgeClassifier(), cv=2).fit(X, Y)
    assert ensemble.predict(X).shape == (48,)


def test_calibration_takes_a_network():
    assert CalibratedClassifierCV(classifier(), cv=2).fit(X, Y).predict_proba(X).shape == (48, 3)


def test_a_scorer_of_ones_own_joins_steps():
    f1 = make_scorer(
        lambda y, z: f1_score(np.concatenate(y), np.concatenate(z), pos_label="up"),
    )
    scores = cross_val_score(StepClassifier(**FAST), X, STEP_LABELS, cv=KFold(2), scoring=f1)
    assert (scores > 0.5).all()


@pytest.mark.parametrize(
    "estimator, y",
    [
        (SequenceRegressor(**FAST), NUMBERS),
        (StepClassifier(**FAST), STEP_LABELS),
        (StepRegressor(**FAST), STEP_NUMBERS),
    ],
    ids=["sequence regressor", "step classifier", "step regressor"],
)
def test_cross_validation_and_searches_by_own_score(estimator, y):
    assert np.isfinite(cross_val_score(estimator, X, y, cv=KFold(2))).all()
    search = GridSearchCV(estimator, {"alpha": [0.01, 1.0]}, cv=KFold(2)).fit(X, y)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


ALL = [
    (SequenceClassifier(**FAST), Y),
    (SequenceClassifier(**FAST, solver="adam"), Y),
    (SequenceRegressor(**FAST), NUMBERS),
    (StepClassifier(**FAST), STEP_LABELS),
    (StepRegressor(**FAST), STEP_NUMBERS),
    (SequenceClassifier(**FAST, readout="all"), Y),
]
KINDS = [
    "sequence classifier",
    "adam",
    "sequence regressor",
    "step classifier",
    "step regressor",
    "named at every step",
]


def same(a, b):
    return all(np.array_equal(x, z) for x, z in zip(a, b, strict=True))


@pytest.mark.parametrize("estimator, y", ALL, ids=KINDS)
def test_clones_and_copies_by_pickle_are_equal(estimator, y):
    fitted = clone(estimator).fit(X, y)
    copy = pickle.loads(pickle.dumps(fitted))
    again = clone(fitted).fit(X, y)
    assert same(fitted.predict(X), copy.predict(X))
    assert same(fitted.predict(X), again.predict(X))
    assert fitted.loss_curve_ == again.loss_curve_


@pytest.mark.parametrize("estimator, y", ALL, ids=KINDS)
def test_predictions_have_the_same_bits_in_any_company_and_form(estimator, y):
    fitted = clone(estimator).fit(X, y)
    method = getattr(fitted, "predict_proba", fitted.predict)
    whole = list(method(X))
    order = np.random.default_rng(0).permutation(len(X))
    assert same(method([X[b] for b in order]), [whole[b] for b in order])
    for some in ([3], [7, 2, 30], range(0, 48, 5)):
        assert same(method([X[b] for b in some]), [whole[b] for b in some])
    array, lengths = padded(X)
    answer = method(array, lengths=lengths)
    if not fitted._reads_steps:
        assert same(answer, whole)
    else:
        for b, (row, length) in enumerate(zip(answer, lengths, strict=True)):
            assert np.array_equal(row[:length], whole[b])
            assert not row[length:].any()


@pytest.mark.parametrize("estimator, y", ALL, ids=KINDS)
def test_padded_arrays_train_to_the_same_bits_as_lists(estimator, y):
    array, lengths = padded(X)
    of_list = clone(estimator).fit(X, y)
    of_array = clone(estimator).fit(array, y, lengths=lengths)
    assert (of_list.network_.params == of_array.network_.params).all()
    assert of_array.score(array, y, lengths=lengths) == of_list.score(X, y)
    assert of_array.score(X, y) == of_list.score(X, y)


def test_object_arrays_are_lists():
    array = np.empty(len(X), object)
    array[:] = X
    assert same(
        classifier().fit(array, Y).predict_proba(array), classifier().fit(X, Y).predict_proba(X)
    )


def test_series_of_one_feature_need_no_axis():
    series = [x[:, 0] for x in X]
    fitted = classifier().fit(series, Y)
    assert fitted.n_features_in_ == 1
    assert same(fitted.predict_proba(series), fitted.predict_proba([s[:, None] for s in series]))


def test_nested_lists_of_one_length_are_a_table():
    table = np.array([x[:6, 0] for x in X])
    fitted = classifier().fit(table.tolist(), Y)
    assert fitted.n_features_in_ == 6
    assert same(fitted.predict_proba(table), fitted.predict_proba(table.tolist()))


def test_data_frames_are_tables_with_names_and_in_a_list_sequences():
    table = pd.DataFrame(np.array([x[:6, 0] for x in X]), columns=list("abcdef"))
    fitted = classifier().fit(table, Y)
    assert fitted.feature_names_in_.tolist() == list("abcdef")
    assert same(
        fitted.predict_proba(table),
        classifier().fit(table.to_numpy(), Y).predict_proba(table.to_numpy()),
    )
    with pytest.raises(ValueError, match="The feature names should match"):
        fitted.predict(table[list("bacdef")])
    frames = [pd.DataFrame(x, columns=["wave", "noise"]) for x in X]
    assert same(
        classifier().fit(frames, pd.Series(Y)).predict(frames), classifier().fit(X, Y).predict(X)
    )


# ---------------------------------------------------------------------------------- transformer


def test_a_transformer_is_fitted_on_all_steps():
    scaled = SequenceTransformer(StandardScaler()).fit_transform(X)
    assert [x.shape for x in scaled] == [x.shape for x in X]
    steps = np.concatenate(scaled)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(steps.std(axis=0), 1)


def test_a_transformer_may_change_the_number_of_features_and_goes_back():
    pca = SequenceTransformer(PCA(1)).fit(X)
    assert pca.transform(X)[0].shape == (len(X[0]), 1)
    scaler = SequenceTransformer(StandardScaler()).fit(X)
    back = scaler.inverse_transform(scaler.transform(X))
    for x, z in zip(X, back, strict=True):
        np.testing.assert_allclose(x, z)


def test_a_transformer_keeps_the_form_of_arrays():
    array, lengths = padded(X)
    scaler = SequenceTransformer(StandardScaler()).fit(array, lengths=lengths)
    scaled = scaler.transform(array, lengths=lengths)
    assert scaled.shape == array.shape
    assert np.array_equal(scaled[0, : lengths[0]], scaler.transform(X)[0])
    assert not scaled[0, lengths[0] :].any()


# ---------------------------------------------------------------------------------- parameters


def test_alpha_is_mlp_classifiers():
    fitted = classifier(alpha=0.5).fit(X, Y)
    net, n = fitted.network_, len(X)
    codes = np.searchsorted(fitted.classes_, Y)
    weights = np.concatenate([net.params[part] for part in net.weight_slices])
    objective = net.loss(X, codes) + 0.5 / (2 * n) * weights @ weights
    assert fitted.loss_ == pytest.approx(objective, rel=1e-12)


def test_alpha_is_divided_by_the_weights():
    weights = np.arange(len(X)) % 3
    fitted = classifier(alpha=0.5).fit(X, Y, sample_weight=weights)
    net = fitted.network_
    codes = np.searchsorted(fitted.classes_, Y)
    l2 = 0.5 / weights.sum()
    objective = net.loss(X, codes, sample_weight=weights) + net.penalty(None, l2)
    assert fitted.loss_ == pytest.approx(objective, rel=1e-12)


def test_weights_are_repetitions_where_each_step_names_the_sequences_class():
    weights = np.arange(len(X)) % 3
    repeated = [b for b, times in enumerate(weights) for _ in range(times)]
    options = {"readout": "all", "max_iter": 5}
    weighted = classifier(**options).fit(X, Y, sample_weight=weights)
    plain = classifier(**options).fit([X[b] for b in repeated], Y[repeated])
    np.testing.assert_allclose(weighted.network_.params, plain.network_.params, rtol=1e-9)


def test_readout_all_is_the_mean_of_the_steps():
    fitted = classifier(readout="all").fit(X, Y)
    of_steps = fitted.network_.predict(X[:5])
    means = [rows.mean(axis=0) for rows in of_steps]
    np.testing.assert_allclose(fitted.predict_proba(X[:5]), means, rtol=1e-13)


def test_tol_is_the_largest_gradient_where_lbfgs_ends():
    fitted = classifier(alpha=1.0, tol=0.03, max_iter=1000).fit(X, Y)
    net = fitted.network_
    objective = lc.Objective(net, X, np.searchsorted(fitted.classes_, Y), l2=1.0 / len(X))
    assert np.abs(objective.grad(net.params)).max() < 0.03
    assert fitted.n_iter_ < 100


def test_max_fun_bounds_evaluations():
    assert classifier(max_fun=3).fit(X, Y).n_iter_ <= 3


@pytest.mark.parametrize("labels", [[3, 1, 2], [True, False], ["b", "a"], [0.0, 2.0], [-1, 1]])
def test_labels_of_any_type(labels):
    y = np.array(labels)[np.arange(len(X)) % len(labels)]
    fitted = classifier(max_iter=3).fit(X, y)
    assert fitted.classes_.tolist() == sorted(labels)
    assert fitted.predict(X).dtype == y.dtype
    assert set(fitted.predict(X)) <= set(labels)
    assert fitted.predict_proba(X).shape == (48, len(labels))
    assert fitted.n_outputs_ == (1 if len(labels) == 2 else 3)
    assert fitted.out_activation_ == ("logistic" if len(labels) == 2 else "softmax")
    assert (np.exp(fitted.predict_log_proba(X)) == fitted.predict_proba(X)).mean() > 0.5


def test_class_weights_by_label():
    y = np.where(np.arange(len(X)) % 4 == 0, "rare", "often")
    plain = classifier(max_iter=3).fit(X, y).predict_proba(X)[:, 1]
    balanced = classifier(max_iter=3, class_weight="balanced").fit(X, y).predict_proba(X)[:, 1]
    heavy = classifier(max_iter=3, class_weight={"rare": 50}).fit(X, y).predict_proba(X)[:, 1]
    assert plain.mean() < balanced.mean() < heavy.mean()
    steps = StepClassifier(**FAST | {"max_iter": 3}, class_weight={"up": 50}).fit(X, STEP_LABELS)
    assert np.concatenate(steps.predict_proba(X))[:, 1].mean() > 0.9


@pytest.mark.parametrize(
    "estimator, y", [ALL[k] for k in (0, 2, 3, 4, 5)], ids=[KINDS[k] for k in (0, 2, 3, 4, 5)]
)
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_early_stopping_with_every_solver(estimator, y, solver):
    fitted = clone(estimator).set_params(
        early_stopping=True,
        solver=solver,
        validation_fraction=0.25,
        n_iter_no_change=3,
        max_iter=30,
    )
    fitted.fit(X, y)
    scores = fitted.validation_scores_
    assert len(scores) == fitted.n_iter_ == len(fitted.loss_curve_)
    assert fitted.best_validation_score_ >= max(scores)
    assert fitted.best_loss_ is None
    if fitted.n_iter_ < 30:
        assert max(scores[-3:]) < max(scores[:-3] or [fitted.best_validation_score_]) + fitted.tol


def test_early_stopping_keeps_the_best_and_holds_out_each_class_alike():
    fitted = classifier(early_stopping=True, validation_fraction=0.25, max_iter=30)
    held = {}
    score = fitted._score

    def watched(rows, answers, weights):
        held["answers"] = answers
        return score(rows, answers, weights)

    fitted._score = watched
    fitted.fit(X, Y)
    counts = np.bincount(held["answers"])
    wanted = 0.25 * np.unique(Y, return_counts=True)[1]
    assert (np.abs(counts - wanted) <= 1).all()


def test_restarts_keep_the_best():
    losses = [classifier(max_iter=5, random_state=seed).fit(X, Y).loss_ for seed in range(3)]
    best = classifier(max_iter=5, n_restarts=4).fit(X, Y)
    assert best.best_loss_ <= losses[0]
    stopped = classifier(
        max_iter=8, n_restarts=2, early_stopping=True, n_iter_no_change=2, solver="adam"
    ).fit(X, Y)
    assert stopped.n_iter_ <= 8


def test_warm_start_goes_on():
    fitted = classifier(max_iter=3, warm_start=True).fit(X, Y)
    first = fitted.loss_
    start = fitted.network_.params.copy()
    assert fitted.fit(X, Y).loss_ < first
    assert (fitted.network_.params != start).any()
    cold = classifier(max_iter=3).fit(X, Y)
    assert cold.fit(X, Y).loss_ == first


def test_warm_start_refuses_other_classes_and_features():
    fitted = classifier(max_iter=3, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"y: expected the classes .* got 'other'"):
        fitted.fit(X, np.where(Y == "slow", "other", Y))
    with pytest.raises(ValueError, match="X has 1 features, but SequenceClassifier is expecting 2"):
        fitted.fit([x[:, :1] for x in X], Y)


def test_partial_fit_goes_on_and_is_there_for_batches_alone():
    assert not hasattr(classifier(), "partial_fit")
    learner = classifier(solver="adam", learning_rate_init=0.02, batch_size=8)
    for _ in range(20):
        learner.partial_fit(X[:24], Y[:24], classes=NAMES)
        learner.partial_fit(X[24:], Y[24:])
    assert len(learner.loss_curve_) == 40
    assert learner.loss_ < learner.loss_curve_[0] / 2
    assert learner.score(X, Y) > 0.8
    copy = pickle.loads(pickle.dumps(learner))
    assert copy.partial_fit(X, Y).loss_ == learner.partial_fit(X, Y).loss_
    assert np.isfinite(learner.set_params(solver="sgd").partial_fit(X, Y).loss_)
    again = classifier(max_iter=2).fit(X, Y).set_params(solver="adam").partial_fit(X, Y)
    assert len(again.loss_curve_) == 3


@pytest.mark.parametrize("estimator, y", ALL[2:5], ids=KINDS[2:5])
def test_partial_fit_of_other_kinds(estimator, y):
    learner = clone(estimator).set_params(solver="rmsprop", learning_rate_init=0.02)
    classes = {"classes": ["up", "down"]} if isinstance(estimator, StepClassifier) else {}
    for _ in range(5):
        learner.partial_fit(X, y, **classes)
    assert learner.loss_curve_[-1] < learner.loss_curve_[0]


@pytest.mark.parametrize(
    "solver",
    [
        "CG",
        "BFGS",
        "L-BFGS-B",
        "TNC",
        "SLSQP",
        "Newton-CG",
        "trust-ncg",
        "trust-krylov",
        "hessian-free",
        "adam",
        "sgd",
        "rmsprop",
        "rprop",
    ],
)
def test_every_solver_lowers_the_loss(solver):
    options = {"max_iter": 3, "learning_rate_init": 0.01}
    fitted = classifier(solver=solver, **options).fit(X, Y)
    assert fitted.n_iter_ <= 3
    assert fitted.best_loss_ < np.log(3) + 0.1


def test_least_squares_fits_numbers():
    fitted = SequenceRegressor(**FAST | {"max_iter": 3}, solver="least_squares").fit(X, NUMBERS)
    assert fitted.loss_ < 0.5


def test_solver_options_reach_the_core():
    options = {"dropout": 0.5, "clip_norm": 1.0, "options": {"beta1": 0.5}}
    layers = {"hidden_layer_sizes": (4, 4)}
    plain = classifier(solver="adam", **layers).fit(X, Y)
    other = classifier(solver="adam", solver_options=options, **layers).fit(X, Y)
    assert plain.loss_ != other.loss_
    assert options == {"dropout": 0.5, "clip_norm": 1.0, "options": {"beta1": 0.5}}
    schedule = {"learning_rate": lc.optimizers.Cosine(0.05)}
    assert classifier(solver="adam", solver_options=schedule).fit(X, Y).loss_ < plain.loss_


def test_solvers_in_epochs_end_where_the_loss_stays():
    with pytest.warns(ConvergenceWarning, match="adam has not converged in 5 epochs; raise"):
        classifier(solver="adam", max_iter=5, learning_rate_init=0.1).fit(X, Y)
    fitted = classifier(solver="adam", max_iter=50, tol=10.0, n_iter_no_change=4).fit(X, Y)
    assert fitted.n_iter_ == 5


def test_the_warning_is_scikit_learns_and_names_the_caller():
    with pytest.warns(ConvergenceWarning, match="L-BFGS-B has not converged") as caught:
        classifier(max_iter=1).fit(X, Y)
    assert caught[0].filename == __file__
    assert "SequenceTransformer(StandardScaler())" in str(caught[0].message)


def own_network(n_features, n_outputs, seed):
    layers = [lc.LSTM(n_features, 3, output_peephole="before", peepholes=True)]
    return lc.Network([*layers, lc.Dense(3, n_outputs)], "cross_entropy", "last", seed=seed)


def test_a_network_of_ones_own():
    fitted = classifier(network=own_network).fit(X, Y)
    assert fitted.network_.readout == "last"
    assert pickle.loads(pickle.dumps(fitted)).predict(X).shape == (48,)
    binary = classifier(network=own_network).fit(X, Y == "fast")
    assert binary.n_outputs_ == 2
    assert binary.predict(X).dtype == bool


def counting_network(n_features, n_outputs, seed):
    layers = [lc.GRU(n_features, 3), lc.Dense(3, n_outputs)]
    return lc.Network(layers, "poisson", "mean", seed=seed)


def test_targets_of_other_output_units_are_not_scaled():
    fitted = SequenceRegressor(**FAST, network=counting_network).fit(X, NUMBERS)
    assert fitted.target_scaler_ is None
    assert fitted.out_activation_ == "exponential"
    assert (fitted.predict(X) > 0).all()


def test_tokens():
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 5, T) for T in rng.integers(3, 9, 40)]
    y = np.array([(text == 3).any() for text in texts])
    fitted = classifier(tokens=5, max_iter=60, readout="max").fit(texts, y)
    assert fitted.score(texts, y) > 0.9
    with pytest.raises(ValueError, match=r"X\[0\]: expected tokens from 0 to 4, got 5"):
        fitted.predict([np.array([0, 5])])
    with pytest.raises(ValueError, match=r"X\[0\]: expected integer tokens"):
        fitted.predict([np.array([0.0, 1.0])])


def test_several_numbers_for_each_sequence_and_step():
    targets = np.column_stack([NUMBERS, 100 - 3 * NUMBERS])
    fitted = SequenceRegressor(**FAST).fit(X, targets)
    assert fitted.predict(X).shape == (48, 2)
    assert fitted.score(X, targets) == pytest.approx(fitted.score(X, targets))
    steps = [np.column_stack([z, 5 * z + 1]) for z in STEP_NUMBERS]
    step = StepRegressor(**FAST).fit(X, steps)
    assert [z.shape for z in step.predict(X)] == [z.shape for z in steps]
    assert step.score(X, steps) > 0.3


def test_targets_far_from_unit_scale_are_scaled_inside():
    far = 1e6 + 1e4 * NUMBERS
    near, moved = SequenceRegressor(**FAST).fit(X, NUMBERS), SequenceRegressor(**FAST).fit(X, far)
    np.testing.assert_allclose(moved.predict(X), 1e6 + 1e4 * near.predict(X), rtol=1e-6)


def test_one_target_a_row_of_a_table_is_said_to_be_a_step_each():
    table, y = np.concatenate(X), np.concatenate(STEP_NUMBERS)
    with pytest.warns(UserWarning, match=r"sequences of one step; \[X\] with \[y\] is one long"):
        fitted = StepRegressor(**FAST).fit(table, y)
    assert fitted.predict(table).shape == y.shape


def test_a_table_with_a_target_for_each_entry_is_series():
    table = np.array([x[:6, 0] for x in X])
    fitted = StepRegressor(**FAST).fit(table, np.cumsum(table, axis=1))
    assert fitted.predict(table).shape == (48, 6)
    assert fitted.network_.input_size == 1


def test_routed_lengths_are_scored_on_what_is_there():
    from sklearn import config_context

    array, lengths = padded(X)
    with config_context(enable_metadata_routing=True):
        estimator = classifier().set_fit_request(lengths=True).set_score_request(lengths=True)
        scores = cross_val_score(estimator, array, Y, cv=3, params={"lengths": lengths})
    assert (scores == cross_val_score(classifier(), X, Y, cv=3)).all()


def test_not_fitted_is_said_before_anything_else():
    for estimator, _ in ALL:
        with pytest.raises(NotFittedError, match="not fitted yet"):
            clone(estimator).predict(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SequenceTransformer(StandardScaler()).transform(X)


# ---------------------------------------------------------------------------------- callbacks


class Recorder:
    """A callback by scikit-learn's protocol: it counts, and stops after some iterations."""

    def __init__(self, stop_after=None):
        self.iterations, self.ended, self.stop_after, self.scores = 0, 0, stop_after, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.ended += 1

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        if context.task_name != "iteration":
            return False
        self.iterations += 1
        self.scores.append(fitted_estimator.score(X, y))
        return self.iterations == self.stop_after


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_callbacks_see_and_stop_iterations(solver):
    pytest.importorskip("sklearn.callback")
    watcher = Recorder()
    fitted = classifier(solver=solver).set_callbacks(watcher).fit(X, Y)
    assert watcher.iterations == fitted.n_iter_
    assert watcher.scores[-1] == fitted.score(X, Y)
    assert watcher.ended == 1
    assert fitted.loss_curve_ == classifier(solver=solver).fit(X, Y).loss_curve_
    stopper = Recorder(stop_after=4)
    assert classifier(solver=solver).set_callbacks(stopper).fit(X, Y).n_iter_ == 4


def test_callbacks_of_scikit_learn_go_with_a_search():
    sklearn_callback = pytest.importorskip("sklearn.callback")
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    fitted = classifier(n_restarts=2, max_iter=3).set_callbacks(monitor).fit(X, Y)
    assert fitted.n_iter_ == 3
    watcher = Recorder()
    watcher.max_propagation_depth = None  # a search hands it on
    GridSearchCV(classifier(max_iter=2), {"alpha": [0.1, 1.0]}, cv=2).set_callbacks(watcher).fit(
        X, Y
    )
    assert watcher.iterations == 2 * (2 * 2 + 1)
    watcher = Recorder()
    polished = classifier(solver="adam", max_iter=2, solver_options={"polish": 3})
    polished.set_callbacks(watcher).fit(X, Y)
    assert watcher.iterations == 5


# ---------------------------------------------------------------------------------- without


def test_without_scikit_learn_the_rest_is_there_and_the_error_says_what_to_install():
    code = """
import sys
sys.modules["sklearn"] = None                      # importing it fails
from lstmcore import *
import lstmcore as lc
print(len(lc.as_sequences([[1.0, 2.0]])), len(windows([1.0, 2.0, 3.0], 2)[0]))
try:
    lc.estimators
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer, error = done.stdout.splitlines()
    assert answer == "1 1"
    assert error.endswith('scikit-learn 1.6 or newer: pip install "lstmcore[sklearn]"')

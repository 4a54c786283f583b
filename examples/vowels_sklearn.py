"""Who is speaking? The Japanese Vowels by scikit-learn: a pipeline and a grid search.

    python examples/vowels_sklearn.py [--jobs 2] [--seed 0]

The recipe of japanese_vowels.py, in scikit-learn's words. An utterance's coefficients and their
differences over time, z-scored over all steps, go through a bidirectional peephole LSTM; at every
step it names the speaker, and the mean over the steps is its answer. The strength of the penalty is
chosen by cross-validation within the training set; the test set is used once, at the end.
"""

import argparse
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lstmcore.datasets import load_japanese_vowels
from lstmcore.estimators import SequenceClassifier, SequenceTransformer

HIDDEN = 32
ITERATIONS = 100
ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5


def with_differences(utterances):
    """Each utterance's coefficients and their central differences over time: (T, 24)."""
    return [np.hstack([u, np.gradient(u, axis=0)]) for u in utterances]


def one_standard_error(results):
    """The strongest penalty whose score is within one standard error of the best."""
    mean, best = results["mean_test_score"], results["mean_test_score"].argmax()
    enough = mean[best] - results["std_test_score"][best] / np.sqrt(FOLDS)
    return np.flatnonzero(mean >= enough)[-1]  # the strengths ascend


def search(seed=0, n_jobs=None):
    """The search, to be fitted."""
    model = make_pipeline(
        FunctionTransformer(with_differences),
        SequenceTransformer(StandardScaler()),
        SequenceClassifier(
            (HIDDEN,),
            peepholes=True,
            bidirectional=True,
            readout="all",
            max_iter=ITERATIONS,
            n_threads=1,
            random_state=seed,
        ),
    )
    return GridSearchCV(
        model,
        {"sequenceclassifier__alpha": ALPHAS},
        scoring="neg_log_loss",
        refit=one_standard_error,
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed),
        n_jobs=n_jobs,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1: one a processor")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    X, y, X_test, y_test = load_japanese_vowels()
    chosen = search(arguments.seed, arguments.jobs).fit(X, y)
    results = chosen.cv_results_
    for alpha, score in zip(ALPHAS, results["mean_test_score"], strict=True):
        print(f"    alpha = {alpha:<5g} log loss {-score:.3f}")
    alpha = chosen.best_params_["sequenceclassifier__alpha"]
    percent = 100 * chosen.best_estimator_.score(X_test, y_test)
    print(f"alpha = {alpha:g}: {percent:.1f} % of {len(X_test)} test utterances are named right")


# To stop before convergence is part of the recipe: it regularises, too.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

if __name__ == "__main__":
    main()

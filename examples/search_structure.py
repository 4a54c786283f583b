"""Structure and tuning decide: cell, width, layers, peepholes and penalty by successive halving.

    python examples/search_structure.py [--candidates 27] [--jobs -1] [--seed 0]

Successive halving trains many networks for a few iterations, keeps the better third, trains these
three times as long, and so on: the data are the Japanese Vowels, the resource is iterations of
L-BFGS. All is chosen by cross-validation within the training set; the test set is used once, at the
end, for the network that was chosen and, to see what the search is worth, for the first guess.
"""

import argparse
import time
import warnings

from scipy.stats import loguniform
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lstmcore.datasets import load_japanese_vowels
from lstmcore.estimators import SequenceClassifier, SequenceTransformer

ITERATIONS = 8, 216  # of the first round and of the last one

# Peepholes are an LSTM's, so each cell has a space of its own.
COMMON = {
    "hidden_layer_sizes": [(8,), (16,), (32,), (48,), (8, 8), (16, 16), (32, 16)],
    "bidirectional": [False, True],
    "readout": ["mean", "last", "max", "all"],
    "alpha": loguniform(1e-2, 1e1),
}
SPACES = [
    {"cell": ["lstm"], "peepholes": [False, True]} | COMMON,
    {"cell": ["gru"]} | COMMON,
    {"cell": ["rnn"]} | COMMON,
]


def search(candidates=27, seed=0, n_jobs=None):
    """The search, to be fitted."""
    model = make_pipeline(
        SequenceTransformer(StandardScaler()),
        SequenceClassifier(n_threads=1, random_state=seed),
    )
    spaces = [
        {f"sequenceclassifier__{name}": values for name, values in space.items()}
        for space in SPACES
    ]
    return HalvingRandomSearchCV(
        model,
        spaces,
        n_candidates=candidates,
        factor=3,
        resource="sequenceclassifier__max_iter",
        min_resources=ITERATIONS[0],
        max_resources=ITERATIONS[1],
        scoring="neg_log_loss",
        cv=3,
        random_state=seed,
        n_jobs=n_jobs,
    )


def describe(parameters):
    return ", ".join(
        f"{name.partition('__')[2]}={value:.2g}"
        if isinstance(value, float)
        else f"{name.partition('__')[2]}={value}"
        for name, value in sorted(parameters.items())
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=27)
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1: one a processor")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.perf_counter()
    X, y, X_test, y_test = load_japanese_vowels()

    chosen = search(arguments.candidates, arguments.seed, arguments.jobs).fit(X, y)
    results = chosen.cv_results_
    for iteration, resources in enumerate(chosen.n_resources_):
        rows = results["iter"] == iteration
        scores = -results["mean_test_score"][rows]
        print(
            f"{rows.sum():4d} networks, {resources:3d} iterations: log loss "
            f"{scores.min():.3f} to {scores.max():.3f}"
        )
    print(f"chosen: {describe(chosen.best_params_)}")

    guess = make_pipeline(
        SequenceTransformer(StandardScaler()), SequenceClassifier(random_state=arguments.seed)
    ).fit(X, y)
    for name, model in (("first guess", guess), ("chosen", chosen.best_estimator_)):
        print(f"{name + ':':<12} {100 * model.score(X_test, y_test):.1f} % right")
    print(f"{time.perf_counter() - began:.0f} s in all")


# Of networks that are trained for a few iterations none has converged.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

if __name__ == "__main__":
    main()

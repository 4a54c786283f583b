"""A grid search and runs from several starts, spread over a Dask cluster by joblib.

    python examples/search_on_dask.py [--scheduler ADDRESS]

Without an address two workers are started on this machine. joblib knows Dask as one of its
backends: within ``parallel_config("dask")`` whatever asks joblib for processes gets tasks on the
cluster, and its results are those of one process. A task has all of the data and trains a whole
network; for data in parts on many machines see distributed_training.py.
"""

import argparse
import warnings
from contextlib import ExitStack

from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels
from lstmcore.estimators import SequenceClassifier

GRID = {"hidden_layer_sizes": [(8,), (16,)], "alpha": [0.1, 1.0]}
ITERATIONS, RESTARTS = 20, 3


def search(X, y):
    """The best of the grid by cross-validation."""
    classifier = SequenceClassifier(max_iter=ITERATIONS, n_threads=1, random_state=0)
    return GridSearchCV(classifier, GRID, cv=3, scoring="neg_log_loss", n_jobs=-1).fit(X, y)


def restarts(X, y):
    """A network trained from several starts, and the result of the best one."""
    classes = sorted(set(y))
    net = lc.Network(
        [lc.LSTM(X[0].shape[1], 8), lc.Dense(8, len(classes))],
        loss="cross_entropy",
        readout="mean",
        seed=0,
    )
    numbers = [classes.index(label) for label in y]
    return net, lc.fit(
        net,
        X,
        numbers,
        l2=1e-3,
        max_iter=ITERATIONS,
        n_restarts=RESTARTS,
        n_jobs=-1,
        n_threads=1,
        seed=0,
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", help="its address; by default two workers here")
    args = parser.parse_args(arguments)
    X, y, X_test, y_test = load_japanese_vowels()
    with ExitStack() as stack:
        cluster = args.scheduler
        if cluster is None:
            local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
            cluster = stack.enter_context(local)
        stack.enter_context(Client(cluster))
        stack.enter_context(parallel_config("dask"))
        found = search(X, y)
        print(f"best of {len(found.cv_results_['params'])}: {found.best_params_}")
        print(f"{found.score(X_test, y_test):.3f} is its log likelihood of the test set")
        _, result = restarts(X, y)
        values = ", ".join(f"{run.value:.4f}" for run in result.restarts)
        print(f"objective of {len(result.restarts)} starts: {values}; kept: {result.fun:.4f}")


# Of networks that are trained for a few iterations none has converged.
for category in ConvergenceWarning, lc.ConvergenceWarning:
    warnings.filterwarnings("ignore", category=category)

if __name__ == "__main__":
    main()

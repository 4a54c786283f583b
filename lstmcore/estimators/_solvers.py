"""From an estimator's parameters, which are MLPClassifier's, to arguments of `fit`."""

from collections.abc import Mapping

from .. import optimizers
from .._checks import as_integer, as_number, as_positive, describe
from .._minimize import METHODS
from .._run import Stop

__all__ = ["BATCH_SOLVERS", "SOLVERS", "Patience", "arguments_of"]

# What `solver` may be -> a method of `minimize`.
SOLVERS = {"lbfgs": "L-BFGS-B"} | {method: method for method in METHODS}
# Those that step along batches, and so go on with other data.
BATCH_SOLVERS = ("adam", "sgd", "rmsprop")
# `tol` is an option of these methods, the largest gradient at which they end; of others it is
# the tolerance that they have.
_WITH_GTOL = (
    "CG",
    "BFGS",
    "L-BFGS-B",
    "TNC",
    "trust-ncg",
    "trust-krylov",
    "trust-constr",
    "least_squares",
)
_MOMENTUM = {"momentum": 0.9, "nesterov": True}  # of sgd, as MLPClassifier has it
# Arguments of `fit` for which estimators have parameters of their own, and which.
_OWN = {
    "method": "solver",
    "max_iter": "max_iter",
    "max_epochs": "max_iter",
    "tol": "tol",
    "validation_data": "early_stopping",
    "validation_split": "validation_fraction",
    "patience": "n_iter_no_change",
    "callback": "set_callbacks() of scikit-learn 1.9",
    "progress": "verbose",
    "batch_size": "batch_size",
    "n_restarts": "n_restarts",
    "seed": "random_state",
    "l2": "alpha",
    "n_threads": "n_threads",
    "memory": "partial_fit()",
}


class Patience:
    """MLPClassifier's rule of when to stop, as a callback of `fit`: no gain of `tol` for a while.

    Parameters
    ----------
    n_iterations : int
        How many without a gain are enough.
    tol : float
    """

    def __init__(self, n_iterations, tol):
        self._n_iterations, self._tol = n_iterations, tol

    def __call__(self, intermediate):
        """Look at an iteration; `Stop` ends its run, after which there may be others."""
        loss = intermediate.validation_loss
        if loss is None:
            loss = intermediate.fun
        if intermediate.nit == 1:
            self._lowest, self._idle = float("inf"), 0
        self._idle = self._idle + 1 if loss > self._lowest - self._tol else 0
        self._lowest = min(self._lowest, loss)
        if self._idle >= self._n_iterations:
            what = "training loss" if intermediate.validation_loss is None else "validation score"
            raise Stop(
                f"the {what} has not improved by tol={self._tol:g} for {self._idle} iterations",
                status=0,
                success=True,
            )


def arguments_of(estimator, n_sequences, max_iter):
    """Arguments of `fit` for an estimator, whose parameters are checked, and so many sequences."""
    method = SOLVERS[estimator.solver]
    given = _as_mapping(estimator.solver_options, "solver_options")
    for name in given:
        if name in _OWN:
            raise ValueError(
                f"solver_options: expected no {name!r}, for which there is {_OWN[name]}, got "
                f"{describe(given[name])}"
            )
    arguments = {"method": method}
    options = {}
    if method in optimizers.METHODS:
        arguments["max_epochs"] = max_iter
        if method in BATCH_SOLVERS:
            arguments["learning_rate"] = as_positive(
                estimator.learning_rate_init, "learning_rate_init"
            )
            arguments["batch_size"] = _batch_size(estimator.batch_size, n_sequences)
        if method == "sgd":
            options = dict(_MOMENTUM)
    else:
        arguments["max_iter"] = max_iter
        tol = as_number(estimator.tol, "tol", 0)
        if method in _WITH_GTOL:
            options["gtol"] = tol
        else:
            arguments["tol"] = tol
        if method == "L-BFGS-B":
            options["maxfun"] = as_integer(estimator.max_fun, "max_fun", 1)
    options |= _as_mapping(given.pop("options", None), "solver_options['options']")
    return arguments | given | {"options": options}


def _batch_size(batch_size, n):
    if isinstance(batch_size, str) and batch_size == "auto":
        return min(200, n)
    return min(as_integer(batch_size, "batch_size", 1), n)


def _as_mapping(value, name):
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a dict, got {describe(value)}")
    return dict(value)

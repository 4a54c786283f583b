"""`fit`: build the objective of a data set and minimize it."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

from . import optimizers
from ._checks import as_generator, as_integer, as_positive, describe
from ._minimize import minimize
from ._restarts import minimize_anew
from .distributed import DistributedObjective
from .network import Network
from .objective import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal

    from typing_extensions import Unpack

    from ._examples import Examples
    from ._types import (
        BoundsLike,
        Intermediate,
        Method,
        ObjectiveOptions,
        Path,
        Result,
        Schedule,
        Seed,
        SequencesLike,
        Vector,
    )

__all__ = ["fit"]


def fit(
    net: Network,
    X: SequencesLike | Examples | Objective | DistributedObjective,
    Y: SequencesLike | None = None,
    *,
    method: Method = "L-BFGS-B",
    max_iter: int | None = None,
    tol: float | None = None,
    validation_data: tuple[SequencesLike, SequencesLike]
    | Objective
    | DistributedObjective
    | Callable[[Vector], float]
    | None = None,
    validation_split: float | None = None,
    patience: int | None = None,
    target: float | None = None,
    callback: Callable[[Intermediate], object] | None = None,
    progress: bool = False,
    options: Mapping[str, Any] | None = None,
    bounds: BoundsLike | None = None,
    curvature: Literal["gauss_newton", "hessian"] | None = None,
    batch_size: int | None = None,
    batches: Literal["shuffled", "bucketed"] | None = None,
    truncate: int | None = None,
    max_epochs: int | None = None,
    learning_rate: float | Schedule | None = None,
    clip_norm: float | None = None,
    n_restarts: int = 0,
    n_jobs: int = 1,
    seed: Seed = None,
    weight_noise: float | None = None,
    input_noise: float | None = None,
    dropout: float | None = None,
    recurrent_dropout: float | None = None,
    average: float | None = None,
    polish: bool | int | None = None,
    memory: dict[str, Any] | None = None,
    checkpoint_path: Path | None = None,
    checkpoint_every: float = 30.0,
    **objective: Unpack[ObjectiveOptions],
) -> Result:
    """Train a network on a data set: `minimize` its `Objective`.

    Parameters
    ----------
    net : Network
        Trained in place, from the parameters that it has.
    X, Y, **objective
        The data, and l2, l1, frozen, checkpoint and n_threads: see `Objective`. Or X is, in place
        of all of them, an `Objective` or a `DistributedObjective` of `net`.
    validation_data : tuple (X, Y), Objective, DistributedObjective or callable, optional
        The validation loss is computed on these, without l2 and l1, at the start and after every
        iteration or epoch. Data that need lengths or weights come as an objective of the same
        network, which is evaluated as it is. A function of all parameters of the network gives a
        validation loss of your own.
    validation_split : float, optional
        In place of `validation_data`: the share, between 0 and 1, of the sequences that are taken
        from the training data at random for validation. They are evaluated with their weights, but
        without l2 and l1. Where each sequence has one class, or one target that is 0 or 1, the
        classes have nearly the same shares in both parts.
    method, max_iter, tol, patience, target, callback, progress, options, bounds, curvature
        See `minimize`.
    batch_size, batches, truncate, max_epochs, learning_rate, clip_norm
        For the methods adam, sgd, rmsprop and rprop: see `minimize` and its notes.
    weight_noise, input_noise, dropout, recurrent_dropout, average, polish, memory
        For the same methods: see there too.
    checkpoint_path, checkpoint_every
        A file from which the run goes on if it was cut: see `minimize` and its notes. With
        `n_restarts` each run has a file of its own, whose name ends in a dot and the run's number.
        `checkpoint` is something else: it bounds the memory of an evaluation.
    n_restarts : int
        How many more runs follow the first one, each from fresh parameters
        (`Network.initial_params`). The parameters of the best run are left in the network: the run
        of the lowest validation loss, or of the lowest objective if there is no validation. The
        whole ends when a run has reached `target`, or when a callback or the keyboard ends a run.
    n_jobs : int
        With `n_restarts`: how many runs go on at a time, each in a process of its own (by joblib,
        which must be installed); -1 means one for each processor. The result has the same bits for
        any number. A `DistributedObjective` fills its workers with one run at a time.
    seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
        The seed of the split, of the fresh parameters, and of what `minimize` draws: batches and
        noise.

    Returns
    -------
    scipy.optimize.OptimizeResult
        The result of `minimize`. As there, `net.params` holds the best parameters that were seen.
        With `n_restarts` it is the result of the best run. It then also has ``restarts``, a list
        with an entry for each run (value, by which the runs are compared; seed, nit, nfev, success,
        status and message), and ``restart``, the place of the best run in this list. With
        `validation_split` it has ``validation_indices``, those of the sequences that were taken for
        validation.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Warns
    -----
    ScaleWarning, ConvergenceWarning
        The data are far from unit scale, or the run ended without success: see `minimize`.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> res = lc.fit(net, x[:, :-1], 0.5 * x[:, 1:] + x[:, :-1], max_iter=1000, tol=1e-4)
    >>> res.success
    True

    In batches of four sequences:

    >>> res = lc.fit(net, x[:, :-1], 0.5 * x[:, 1:] + x[:, :-1], method="adam", batch_size=4,
    ...              max_epochs=20, learning_rate=1e-3, seed=0)
    >>> len(res.history["loss"])
    21

    One long stream by truncated BPTT, as eight shorter ones side by side:

    >>> stream = np.sin(0.3 * np.arange(8 * 500 + 1.0))
    >>> X, Y = (part.reshape(8, 500, 1) for part in (stream[:-1], stream[1:]))
    >>> res = lc.fit(net, X, Y, method="adam", truncate=50, max_epochs=5, learning_rate=1e-2)
    >>> res.nfev                                 # ten steps in each epoch
    51

    A fifth of the sequences for validation:

    >>> res = lc.fit(net, x[:, :-1], x[:, 1:], validation_split=0.2, patience=10, seed=0)
    >>> len(res.validation_indices)
    2

    From the network's own parameters and from four others; then the second of the five runs once
    more:

    >>> res = lc.fit(net, x[:, :-1], x[:, 1:], method="rprop", n_restarts=4, seed=0)
    >>> rng = np.random.default_rng(res.restarts[1].seed)
    >>> net.params = net.initial_params(rng)
    >>> again = lc.fit(net, x[:, :-1], x[:, 1:], method="rprop", seed=rng)
    >>> again.fun == res.restarts[1].value
    True
    """
    n_restarts = as_integer(n_restarts, "n_restarts", 0)
    _refuse_unknown(objective)
    check_finite = objective.get("check_finite", True)
    whole = _as_objective(net, X, Y, objective)
    held = None
    if validation_split is None:
        validation = _as_validation(validation_data, whole, check_finite)
    else:
        if validation_data is not None:
            raise ValueError(
                "validation_split: expected None beside validation_data, got "
                f"{describe(validation_split)}"
            )
        seed = as_generator(seed)
        whole, validation, held = _split(whole, validation_split, seed)
        if not n_restarts and method not in optimizers.METHODS:
            seed = None  # it has done its work
    arguments = {
        "method": method,
        "max_iter": max_iter,
        "tol": tol,
        "validation": validation,
        "patience": patience,
        "target": target,
        "callback": callback,
        "progress": progress,
        "options": options,
        "bounds": bounds,
        "curvature": curvature,
        "batch_size": batch_size,
        "batches": batches,
        "truncate": truncate,
        "max_epochs": max_epochs,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "weight_noise": weight_noise,
        "input_noise": input_noise,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
        "average": average,
        "polish": polish,
        "memory": memory,
        "checkpoint_path": checkpoint_path,
        "checkpoint_every": checkpoint_every,
    }
    if n_restarts:
        if as_integer(n_jobs, "n_jobs") != 1 and not isinstance(whole, Objective):
            raise ValueError(
                "n_jobs: expected 1 with a DistributedObjective, whose workers are one run's at a "
                f"time, got {n_jobs}"
            )
        if memory is not None:
            raise ValueError(f"memory: expected None with n_restarts, got {describe(memory)}")
        result = minimize_anew(whole, n_restarts, n_jobs, as_generator(seed), **arguments)
    else:
        if as_integer(n_jobs, "n_jobs") != 1:
            raise ValueError(f"n_jobs: expected 1 without n_restarts, got {n_jobs}")
        result = minimize(whole, seed=seed, **arguments)
    if held is not None:
        result.validation_indices = held
    return result


@cache
def _arguments():
    """The names of what `fit` takes, for itself, for the objective and for the data."""
    functions = fit, Objective.__init__, Network.prepare
    return [name for function in functions for name in inspect.signature(function).parameters]


def _refuse_unknown(names):
    """Raise where a name is no argument of `fit` or of what it calls; else they would say so."""
    for name in names:
        if name not in _arguments():
            alike = get_close_matches(name, _arguments(), n=1)
            such = f", such as {alike[0]}" if alike else ""
            raise TypeError(
                f"{name}: expected an argument of fit{such}; help(lstmcore.fit) names them"
            )


def _split(objective, share, rng):
    """The objective of some of the sequences, that of the others, and which others they are."""
    if not isinstance(objective, Objective):
        raise ValueError(
            "validation_split: expected None with a DistributedObjective, whose data are on "
            f"workers, got {describe(share)}; validation_data= may be another one, of other shards"
        )
    share = as_positive(share, "validation_split")
    if not share < 1:
        raise ValueError(f"validation_split: expected a number > 0 and < 1, got {share}")
    examples = objective.examples
    kept, held = examples.split(share, rng)
    own = {"l2": objective.l2, "l1": objective.l1, "frozen": objective.frozen}
    options = {"checkpoint": objective.checkpoint, "n_threads": objective.n_threads}
    return (
        Objective(objective.net, examples.take(kept), **own, **options),
        Objective(objective.net, examples.take(held), **options),
        held,
    )


def _as_objective(net, X, Y, options):
    """The objective of the data, or the one that stands in their place."""
    if not isinstance(X, (Objective, DistributedObjective)):
        return Objective(net, X, Y, **options)
    for name, value in {"Y": Y, **options}.items():
        if value is not None:
            raise ValueError(
                f"{name}: expected None beside an objective, which has all of that in it, got "
                f"{describe(value)}"
            )
    if X.net is not net:
        raise ValueError("X: expected an objective of net, got another network's")
    return X


def _as_validation(data, objective, check_finite):
    if data is None:
        return None
    if isinstance(data, (Objective, DistributedObjective)):
        if data.net is not objective.net:
            raise ValueError("validation_data: expected an Objective of net, got another network's")
        return data
    if callable(data):
        return data
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise TypeError(
            "validation_data: expected a tuple (X, Y), an Objective or a function, got "
            f"{describe(data)}"
        )
    return Objective(
        objective.net,
        *data,
        check_finite=check_finite,
        checkpoint=objective.checkpoint,
        n_threads=objective.n_threads,
    )

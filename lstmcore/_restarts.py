"""`minimize_anew`: runs of one method from several starts, of which the best one is kept."""

from itertools import chain, islice

import numpy as np

from . import optimizers
from ._archive import as_path
from ._checks import as_integer, describe
from ._minimize import ConvergenceWarning, held_warnings, minimize, warn
from ._run import REACHED, STOPPED, params_of, theta_of

__all__ = ["minimize_anew"]


def minimize_anew(objective, n_restarts, n_jobs, rng, **arguments):
    """`minimize` from the network's parameters and then from so many fresh ones; keep the best.

    Whatever the number of jobs, the runs that count are the same, and so are their bits: those up
    to the first one that has reached the target or was stopped.

    Parameters
    ----------
    objective : Objective
    n_restarts : int
        At least 1.
    n_jobs : int
        Runs at a time, each in a process of its own where it is not 1; negative numbers are
        joblib's.
    rng : numpy.random.Generator
        The first run takes what it needs from it. Those after it have seeds spawned from its seed.
    **arguments
        Of `minimize`. Each run has a file of its own: checkpoint_path, a dot and its number.

    Returns
    -------
    scipy.optimize.OptimizeResult
        That of the best run, with `restarts` and `restart` as `fit` describes them.
    """
    n_jobs = as_integer(n_jobs, "n_jobs")
    if n_jobs == 0:
        raise ValueError("n_jobs: expected a number of processes, or -1 for all processors, got 0")
    net = objective.net
    if arguments["checkpoint_path"] is not None:
        arguments["checkpoint_path"] = as_path(arguments["checkpoint_path"], "checkpoint_path")
    seeds = enumerate(chain([None], _spawned(rng, n_restarts)))
    if n_jobs == 1:
        outcomes = ((seed, *_attempt(objective, k, seed, rng, arguments)) for k, seed in seeds)
    else:
        outcomes = _in_processes(n_jobs, objective, seeds, rng, arguments)

    best, restarts, is_stopped = None, [], False
    try:
        for seed, result, warnings in outcomes:
            value = _value(result)
            restarts.append(_entry(result, value, seed))
            if best is None or value < restarts[best[0]].value:
                best = len(restarts) - 1, result, warnings
            is_stopped = result.status == STOPPED
            if is_stopped or result.status == REACHED:
                break
    except KeyboardInterrupt:  # between two runs, or while processes run
        is_stopped = True
        if best is None:
            raise
    finally:
        if best is not None:
            net.params = params_of(objective, best[1].x)
    number, result, warnings = best
    result.restarts, result.restart = restarts, number
    for message, category in warnings:
        if not (is_stopped and category is ConvergenceWarning):
            warn(message, category)
    return result


def _spawned(rng, n):
    """So many seeds, one by one, that differ from all others that come from this generator's."""
    seed = rng.bit_generator.seed_seq
    if not hasattr(seed, "spawn"):
        raise TypeError(
            "seed: expected a Generator of a numpy.random.SeedSequence with n_restarts, got one of "
            f"{describe(seed)}, which has no spawn"
        )
    return (seed.spawn(1)[0] for _ in range(n))


def _attempt(objective, number, seed, rng, arguments):
    """A run's result, and the warnings that it would have given."""
    path = arguments["checkpoint_path"]
    if path is not None:
        arguments = arguments | {"checkpoint_path": f"{path}.{number}"}
    if seed is not None:
        rng = np.random.default_rng(seed)
        arguments = arguments | {"x0": theta_of(objective, objective.net.initial_params(rng))}
    if arguments["method"] in optimizers.METHODS:
        arguments = arguments | {"seed": rng}
    with held_warnings() as held:
        return minimize(objective, **arguments), held


def _in_processes(n_jobs, objective, seeds, rng, arguments):
    """Each seed and the outcome of its run, in their order; so many runs at a time."""
    try:
        from joblib import Parallel, delayed, effective_n_jobs
    except ImportError:
        raise ImportError(
            f"n_jobs: expected 1 where joblib is not installed, got {n_jobs}; "
            "pip install lstmcore[parallel]"
        ) from None
    for name in ("callback", "progress"):
        if arguments[name] not in (None, False):
            raise ValueError(
                f"{name}: expected none with n_jobs={n_jobs}, for runs are in other processes, got "
                f"{describe(arguments[name])}; with n_jobs=1 it may be there"
            )
    with Parallel(n_jobs) as parallel:
        n_jobs = effective_n_jobs(n_jobs)
        while some := list(islice(seeds, n_jobs)):
            calls = (delayed(_attempt)(objective, k, seed, rng, arguments) for k, seed in some)
            for (_, seed), outcome in zip(some, parallel(calls), strict=True):
                yield seed, *outcome


def _value(result):
    """What runs are compared by: the lowest validation loss, or the objective."""
    values = result.history.get("validation_loss", [result.fun])
    value = float(np.min(values, initial=np.inf))
    return np.inf if np.isnan(value) else value


def _entry(result, value, seed):
    from scipy.optimize import OptimizeResult

    kept = {name: result[name] for name in ("nit", "nfev", "success", "status", "message")}
    return OptimizeResult(value=value, seed=seed, **kept)

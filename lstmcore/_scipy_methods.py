"""SciPy's gradient methods as drivers of a `Run`."""

import warnings
from contextlib import nullcontext

import numpy as np

from ._run import OUT_OF_ITERATIONS, Stop

# SciPy's methods that need a gradient and nothing more.
METHODS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr")
# These differentiate the gradient by differences; the option sets a step that the dtype can see.
_DIFFERENCES = {"Newton-CG": "eps", "TNC": "accuracy"}


def drive(run, method, start, max_iter, tol, options):
    """Let `method` drive `run` from `start`.

    Parameters
    ----------
    run : Run
    method : str
        One of `METHODS`.
    start : (P,) float64 array
    max_iter : int
    tol : float or None
    options : dict
        They go before `max_iter`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's own.
    """
    from scipy.optimize import OptimizeWarning, minimize

    iterate = run.iterate
    defaults = {"maxiter": min(max_iter, 2**31 - 1)}  # an int of C
    if method == "TNC":  # knows no limit on iterations
        del defaults["maxiter"]
        iterate = _at_most(max_iter, run)
    if method in ("TNC", "L-BFGS-B"):  # their limits on evaluations would end long runs too early
        defaults["maxfun"] = 10**9
    if method in _DIFFERENCES:
        defaults[_DIFFERENCES[method]] = float(np.sqrt(np.finfo(run.objective.net.dtype).eps))
    try:
        # Warnings' filters belong to all threads: they are touched only where there is a need.
        with warnings.catch_warnings() if options else nullcontext():
            if options:
                warnings.filterwarnings("error", "Unknown solver options", OptimizeWarning)
            return minimize(
                run,
                start,
                jac=True,
                method=method,
                tol=tol,
                callback=iterate,
                options=defaults | options,
            )
    except OptimizeWarning as unknown:
        raise ValueError(f"options: expected those of {method}, got others: {unknown}") from None


def _at_most(max_iter, run):
    """`run.iterate`, which also ends the run after `max_iter` iterations."""

    def iterate(x):
        run.iterate(x)
        if run.recorder.nit == max_iter:
            raise Stop(f"{max_iter} iterations, as many as allowed", OUT_OF_ITERATIONS)

    return iterate

"""SciPy's gradient methods as drivers of a `Run`."""

import warnings
from contextlib import nullcontext

import numpy as np

from ._run import OUT_OF_ITERATIONS, Stop

# SciPy's methods that need a gradient and nothing more.
METHODS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr")
WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
# What `minimize` takes beside the options, and what only SciPy's own takes: as options they would
# meet the arguments that SciPy hands to its methods.
_ARGUMENTS = {
    "bounds",
    "callback",
    "max_iter",
    "method",
    "patience",
    "progress",
    "target",
    "tol",
    "validation",
    "x0",
}
_OF_SCIPY = {"args", "constraints", "fun", "func", "grad", "hess", "hessp", "jac"}
# These differentiate the gradient by differences; the option sets a step that the dtype can see.
_DIFFERENCES = {"Newton-CG": "eps", "TNC": "accuracy"}


def drive(run, method, start, max_iter, tol, options, bounds=None):
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
    bounds : (P, 2) float64 array or None
        Of methods in `WITH_BOUNDS`; `start` is within.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's own.
    """
    from scipy.optimize import Bounds, OptimizeWarning, minimize

    _refuse_arguments(method, options)
    evaluate, iterate = run, run.iterate
    if bounds is not None:
        low, high = bounds.T

        def evaluate(x):
            return run(np.clip(x, low, high))  # TNC scales x: it may be off by a rounding error

        def iterate(x, *_):
            run.iterate(np.clip(x, low, high))

        bounds = Bounds(low, high, keep_feasible=True)
    defaults = {"maxiter": min(max_iter, 2**31 - 1)}  # an int of C
    if method == "TNC":  # knows no limit on iterations
        del defaults["maxiter"]
        iterate = _at_most(max_iter, run, iterate)
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
                evaluate,
                start,
                jac=True,
                method=method,
                bounds=bounds,
                tol=tol,
                callback=iterate,
                options=defaults | options,
            )
    except OptimizeWarning as unknown:
        raise _unknown(method, unknown) from None
    except TypeError as error:
        # trust-constr has no word of its own for options that it does not know
        if run.nfev or not any(
            f"unexpected keyword argument '{name}'" in str(error) for name in options
        ):
            raise
        raise _unknown(method, error) from None


def versions():
    """What the points that a method asks for depend on, beside its arguments and answers."""
    import scipy

    return {"NumPy": np.__version__, "SciPy": scipy.__version__}


def _refuse_arguments(method, options):
    """Raise where an option is an argument, of `minimize` here or of SciPy's."""
    for name in options:
        hint = None
        if name in _ARGUMENTS or (name, method) == ("maxiter", "TNC"):
            argument = "max_iter" if name == "maxiter" else name
            hint = f"{argument}= is an argument beside options"
        elif name in _OF_SCIPY:
            hint = f"scipy.optimize.minimize takes {name}= beside an Objective"
        if hint is not None:
            raise ValueError(f"options: expected those of {method}, got {name!r}; {hint}")


def _unknown(method, words):
    return ValueError(
        f"options: expected those of {method}, got others: {words}; "
        f"scipy.optimize.show_options('minimize', {method!r}) prints them"
    )


def _at_most(max_iter, run, iterate):
    """`iterate`, which also ends the run after `max_iter` iterations."""

    def iterate_or_stop(x):
        iterate(x)
        if run.recorder.nit == max_iter:
            raise Stop(f"{max_iter} iterations, as many as allowed", OUT_OF_ITERATIONS)

    return iterate_or_stop

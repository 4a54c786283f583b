"""SciPy's methods for gradients, with or without products of curvature, as drivers of a `Run`."""

import warnings
from contextlib import nullcontext

import numpy as np

from ._run import OUT_OF_ITERATIONS, NotFinite, Stop

METHODS = (
    "CG",
    "BFGS",
    "L-BFGS-B",
    "TNC",
    "SLSQP",
    "Newton-CG",
    "trust-ncg",
    "trust-krylov",
    "trust-constr",
)
WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
# Those that take products of curvature, and which they take by default. Of the two that need none
# Newton-CG differentiates the gradient, and trust-constr builds up a matrix from gradients.
WITH_CURVATURE = {
    "Newton-CG": None,
    "trust-ncg": "gauss_newton",
    "trust-krylov": "gauss_newton",
    "trust-constr": None,
}
# What `minimize` takes beside the options, and what only SciPy's own takes: as options they would
# meet the arguments that SciPy hands to its methods.
_ARGUMENTS = {
    "bounds",
    "callback",
    "curvature",
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


def drive(run, method, start, max_iter, tol, options, bounds=None, curvature=None):
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
    curvature : str or None
        Of methods in `WITH_CURVATURE`: one of `PRODUCTS`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's own.
    """
    from scipy.optimize import Bounds, OptimizeWarning, minimize

    refuse_arguments(method, options)
    searched = Searched(run)
    evaluate, iterate = searched, searched.iterate
    if curvature is None:
        curvature = WITH_CURVATURE.get(method)
    product = None if curvature is None else run.products(curvature)
    if bounds is not None:
        low, high = bounds.T

        def evaluate(x):
            # TNC scales x: it may be off by a rounding error
            return searched(np.clip(x, low, high))

        def iterate(x, *_):
            searched.iterate(np.clip(x, low, high))

        bounds = Bounds(low, high, keep_feasible=True)
    defaults = {"maxiter": min(max_iter, 2**31 - 1)}  # an int of C
    if method == "TNC":  # knows no limit on iterations
        del defaults["maxiter"]
        iterate = _at_most(max_iter, run, iterate)
    if method in ("TNC", "L-BFGS-B"):  # their limits on evaluations would end long runs too early
        defaults["maxfun"] = 10**9
    if method in _DIFFERENCES and product is None:
        defaults[_DIFFERENCES[method]] = float(np.sqrt(np.finfo(run.objective.net.dtype).eps))
    try:
        # Warnings' filters belong to all threads: they are touched only where there is a need.
        with warnings.catch_warnings() if options else nullcontext():
            if options:
                warnings.filterwarnings("error", "Unknown solver options", OptimizeWarning)
            result = minimize(
                evaluate,
                start,
                jac=True,
                hessp=product,
                method=method,
                bounds=bounds,
                tol=tol,
                callback=iterate,
                options=defaults | options,
            )
            searched.end(result.success)
            return result
    except OptimizeWarning as unknown:
        raise _unknown(method, unknown) from None
    except TypeError as error:
        # trust-constr has no word of its own for options that it does not know
        if run.nfev or not any(
            f"unexpected keyword argument '{name}'" in str(error) for name in options
        ):
            raise
        raise _unknown(method, error) from None


class Searched:
    """A run for methods that search along lines or within a radius: they turn back from infinity.

    SciPy's methods cannot: they interpolate what a step has led to, and an infinite value makes the
    next one NaN. So where an evaluation is not finite they get what a parabola would have there,
    the one with value and slope of the last iterate and its minimum at a tenth of the step, or
    nearer. It is above the iterate, so that no method goes there, and whoever interpolates tries a
    tenth.

    Parameters
    ----------
    run : Run
    """

    _IN_A_ROW = 20  # after which the run ends: a step of 1e-20 is none

    def __init__(self, run):
        self._run = run
        self._base = None  # x, f, g of the last iterate
        self._beyond = []  # points, as bytes, of the last evaluations, if they were not finite
        self._last = None  # of their exceptions

    def __call__(self, x):
        try:
            f, g = self._run(x)
        except NotFinite as last:
            self._last = last
            self._beyond.append(x.tobytes())
            is_nowhere = self._base is None or not np.isfinite(x).all()
            if is_nowhere or len(self._beyond) == self._IN_A_ROW:
                raise
            return self._parabola(x)
        self._beyond = []
        if self._base is None:
            self._base = x.copy(), f, g
        return f, g

    def iterate(self, x, *_):
        """A method's callback; trust-constr adds its state."""
        if x.tobytes() in self._beyond:  # SLSQP's iterations are the first steps of its searches
            return
        self._run.iterate(x)
        self._base = x.copy(), *self._run.at(x)

    def end(self, success):
        """The method has ended; a success is none where the way was barred to the last."""
        if success and self._beyond:
            raise self._last

    def _parabola(self, x):
        """Value and gradient at t = 1 of f + s t - m/2 s t²; s is the slope for all of the step."""
        start, f, g = self._base
        # The step may be no descent where a method takes differences.
        slope = -max(abs(float(g @ (x - start))), 1e-3 * abs(f))
        m = 9 + len(self._beyond)  # never twice the same, for trust-constr looks at differences
        return f + slope - 0.5 * m * slope, (1.0 - m) * g


def versions():
    """What the points that a method asks for depend on, beside its arguments and answers."""
    import scipy

    return {"NumPy": np.__version__, "SciPy": scipy.__version__}


def refuse_arguments(method, options):
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

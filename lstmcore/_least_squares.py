"""SciPy's `least_squares` as a driver of a `Run`."""

import numpy as np

from ._checks import describe
from ._run import OUT_OF_ITERATIONS, NotFinite, Stop
from ._scipy_methods import refuse_arguments

METHODS = ("least_squares",)
WITH_BOUNDS = METHODS
# Others would change the objective, or ask for a dense Jacobian.
_OPTIONS = ("ftol", "xtol", "gtol", "x_scale", "tr_options", "max_nfev", "verbose")


def drive(run, method, start, max_iter, tol, options, bounds=None):
    """Let SciPy's trust region method `trf` drive `run` from `start`.

    Parameters
    ----------
    run : Run
        Of an objective with `residuals` and `jacobian`.
    method : str
    start : (P,) float64 array
    max_iter : int
    tol : float or None
        In the place of `ftol`, `xtol` and `gtol`.
    options : dict
        They go before `tol`.
    bounds : (P, 2) float64 array or None
        `start` is within.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's own.
    """
    from scipy.optimize import least_squares

    refuse_arguments(method, options)
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(
                f"options: expected those of {method}, {', '.join(_OPTIONS)}, got {name!r}"
            )
    objective = run.objective
    for name in ("residuals", "jacobian"):
        if not callable(getattr(objective, name, None)):
            raise TypeError(
                f"objective: expected it to have {name}(theta), as an lstmcore.Objective has, got "
                f"{describe(objective)}; hessian-free and the trust-region methods ask for "
                "gauss_newton in their place"
            )
    defaults = {}
    if tol is not None:  # below the rounding error SciPy takes none
        tol = max(tol, float(np.finfo(np.float64).eps))
        defaults = dict.fromkeys(("ftol", "xtol", "gtol"), tol)
    if bounds is not None:
        low, high = bounds.T
        equal = np.flatnonzero(low == high)
        if equal.size:
            raise ValueError(
                f"bounds: expected the lower below the higher with {method}, got "
                f"{bounds[equal[0]].tolist()} at [{equal[0]}]; L-BFGS-B takes equal ones"
            )
        defaults["bounds"] = low, high
    steps = _Steps(run, max_iter)
    result = least_squares(
        steps.residuals, start, jac=steps.jacobian, method="trf", **defaults | options
    )
    result.nit = run.recorder.nit
    return result


class _Steps:
    """What SciPy asks for, and what it says by that.

    SciPy knew no callback until its version 1.16. It asks for the Jacobian at the start and where a
    step has brought it, each time after the residuals there, and at no other point.
    """

    def __init__(self, run, max_iter):
        self._run, self._max_iter = run, max_iter

    def residuals(self, x):
        r = self._run.objective.residuals(x)
        with np.errstate(over="ignore"):
            f = 0.5 * float(r @ r)
        try:
            self._run.count(f, True)
        except NotFinite:
            if not len(self._run.recorder):
                raise
            return np.full_like(r, np.inf)  # from where SciPy turns back
        return r

    def jacobian(self, x):
        run = self._run
        run.accept(x)
        if run.recorder.nit == self._max_iter:
            raise Stop(f"{self._max_iter} iterations, as many as allowed", OUT_OF_ITERATIONS)
        return run.objective.jacobian(x)

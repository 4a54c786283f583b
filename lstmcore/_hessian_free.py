"""Hessian-free: damped Gauss-Newton steps by conjugate gradients, as a driver of a `Run`.

J. Martens, *Deep learning via Hessian-free optimization*, ICML 2010; J. Martens and I. Sutskever,
*Learning Recurrent Neural Networks with Hessian-Free Optimization*, ICML 2011. Of the latter's
structural damping there is none: it takes products with the derivative of all hidden states.
"""

import numpy as np

from ._checks import as_integer, as_number, as_positive
from ._run import OUT_OF_ITERATIONS
from ._scipy_methods import Searched, refuse_arguments

METHODS = ("hessian-free",)
WITH_BOUNDS = ()

_GRADIENT = 1e-5  # by default, the largest entry of the gradient at which the method ends
_GROWTH = 1.5  # of the damping where the model has promised too much; else it shrinks by that
_REFUSED = 4.0  # of the damping where no step goes down
_ROOM = 0.75  # of the preconditioner: the power of what is taken for the diagonal
_MEMORY = 0.95  # of that diagonal, an iteration
_PROGRESS = 5e-4  # an iteration of conjugate gradients: where less is made they end
_SPACING = 1.3  # of the iterates among which the best is looked for
_SHORTER, _SUFFICIENT, _MOST_CUTS = 0.8, 1e-2, 30  # of the line search


def drive(run, method, start, max_iter, tol, options):
    """Let the method drive `run` from `start`.

    Parameters
    ----------
    run : Run
        Of an objective with `gauss_newton`.
    method : str
    start : (P,) float64 array
    max_iter : int
    tol : float or None
        The largest entry of the gradient at which it ends, by default 1e-5.
    options : dict
        damping, cg_iter, cg_decay.

    Returns
    -------
    scipy.optimize.OptimizeResult
        With `nhev`, the number of products with the Gauss-Newton matrix.
    """
    from scipy.optimize import OptimizeResult

    damping, most, decay = _as_options(method, options)
    model = _Model(run.products("gauss_newton"), damping, start.size)
    # What a difference of two values can show.
    resolution = float(np.finfo(run.objective.net.dtype).eps)
    x, step = start, np.zeros_like(start)
    evaluate = Searched(run)
    f, g = evaluate(x)

    def end(message, status):
        evaluate.end(status == 0)
        return OptimizeResult(
            x=x,
            fun=f,
            jac=g,
            success=status == 0,
            status=status,
            message=message,
            nit=run.recorder.nit,
            nfev=run.nfev,
            njev=run.nfev,
            nhev=run.nhev,
        )

    while True:
        if np.abs(g).max(initial=0.0) <= (_GRADIENT if tol is None else tol):
            return end("the gradient is below the tolerance", 0)
        if run.recorder.nit == max_iter:
            return end(f"{max_iter} iterations, as many as allowed", OUT_OF_ITERATIONS)
        model.move(x)
        is_fresh = not step.any()
        iterates = model.solve(g, decay * step, most)
        step = iterates[-1][0]
        towards, expected, f_new, g_new = _best(evaluate, x, iterates)
        if -expected <= resolution * abs(f):
            if is_fresh and f_new >= f:
                return end("no step goes down by more than the objective's rounding error", 0)
            step = np.zeros_like(x)
        ratio = (f_new - f) / expected
        rate, slope = 1.0, float(g @ towards)
        for _ in range(_MOST_CUTS):
            if f_new <= f + _SUFFICIENT * rate * slope:
                break
            rate *= _SHORTER
            f_new, g_new = evaluate(x + rate * towards)
        model.adapt(ratio)
        if f_new < f:
            x, f, g = x + rate * towards, f_new, g_new
        else:
            step = np.zeros_like(x)
            model.damping *= _REFUSED
        evaluate.iterate(x)


def _as_options(method, options):
    refuse_arguments(method, options)
    known = {"damping": 0.1, "cg_iter": 100, "cg_decay": 0.95}
    for name in options:
        if name not in known:
            raise ValueError(
                f"options: expected those of {method}, {', '.join(known)}, got {name!r}"
            )
    options = known | options
    decay = as_number(options["cg_decay"], "options['cg_decay']", 0.0)
    if decay > 1:
        raise ValueError(f"options['cg_decay']: expected a number from 0 to 1, got {decay}")
    return (
        as_positive(options["damping"], "options['damping']"),
        as_integer(options["cg_iter"], "options['cg_iter']", 1),
        decay,
    )


def _best(evaluate, x, iterates):
    """The step among the iterates from which those before it go up: (step, model, f, g).

    The model goes down with every iterate, the objective not always.
    """
    best = None
    for step, expected in reversed(iterates):
        f, g = evaluate(x + step)
        if best is not None and f >= best[2]:
            break
        best = step, expected, f, g
    return best


class _Model:
    """gᵀd + ½ dᵀ(G + λ)d at one point after the other.

    Attributes
    ----------
    damping : float
        λ.
    """

    def __init__(self, product, damping, size):
        self.damping = damping
        self._product = product
        self._rng = np.random.default_rng(0)
        self._squares, self._weight = np.zeros(size), 0.0

    def move(self, x):
        """Go to another point.

        The preconditioner is (diagonal of G + λ)^0.75. Its diagonal is estimated as the root of
        the mean square of z (G z), with signs z drawn at random, over the points before with less
        and less weight (C. Bekas, E. Kokiopoulou and Y. Saad, *An estimator for the diagonal of a
        matrix*, Applied Numerical Mathematics 57, 2007; Z. Yao et al., *ADAHESSIAN*, AAAI 2021).
        """
        self._x = x
        z = self._rng.choice((-1.0, 1.0), x.size)
        self._squares = _MEMORY * self._squares + self._times(z) ** 2
        self._weight = _MEMORY * self._weight + 1.0
        self._scale = (np.sqrt(self._squares / self._weight) + self.damping) ** _ROOM

    def adapt(self, ratio):
        """Levenberg's and Marquardt's rule, by how much of the expected decrease has come."""
        if ratio < 0.25:
            self.damping *= _GROWTH
        elif ratio > 0.75:
            self.damping /= _GROWTH

    def _times(self, v):
        return self._product(self._x, v)

    def solve(self, g, step, most):
        """Conjugate gradients from a step on: some of the iterates, each with its model's value."""
        residual = -g
        if step.any():
            residual = residual - self._times(step) - self.damping * step
        iterates, values, wanted = [], [0.5 * float(step @ (g - residual))], 1
        direction, size = np.zeros_like(g), 1.0
        for n in range(1, most + 1):
            preconditioned = residual / self._scale
            last, size = size, float(residual @ preconditioned)
            direction = preconditioned + size / last * direction
            product = self._times(direction) + self.damping * direction
            bend = float(direction @ product)
            if bend <= 0:  # nothing is left of the residual, or the loss is not convex
                break
            step = step + size / bend * direction
            residual = residual - size / bend * product
            values.append(0.5 * float(step @ (g - residual)))
            if n >= wanted:
                iterates.append((step, values[-1]))
                wanted = max(n + 1, int(np.ceil(_SPACING * n)))
            window = max(10, n // 10)
            if n > window and values[-1] < 0:
                gain = (values[-1] - values[-1 - window]) / values[-1]
                if gain < window * _PROGRESS:
                    break
        if values[-1] >= 0:  # where the model has no minimum, down the gradient is always a way
            step = -g / self._scale
            return [(step, float(g @ step))]
        if not iterates or iterates[-1][0] is not step:
            iterates.append((step, values[-1]))
        return iterates

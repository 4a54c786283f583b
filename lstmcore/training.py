"""`fit`: train a network with one of SciPy's gradient methods, and keep the best parameters seen.

SciPy's method drives; `_Run` stands between it and the `Objective`: it counts and times what is
evaluated, remembers the best point, and is the one place from which a run is stopped early. Another
family of methods (mini-batch ones, say) would be another driver of the same `_Run`.
"""

import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np

from ._checks import as_choice, as_flag, as_integer, as_number, describe
from .objective import Objective

__all__ = ["ConvergenceWarning", "fit"]

# SciPy's methods that need a gradient and nothing more.
_METHODS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr")
# These differentiate the gradient by differences; the option sets a step that the dtype can see.
_DIFFERENCES = {"Newton-CG": "eps", "TNC": "accuracy"}

_STOPPED = 99  # SciPy's status for a run that the callback stopped
_NOT_FINITE = 98
_OUT_OF_ITERATIONS = 1  # as SciPy's L-BFGS-B has it

# Evaluations among which a method's new iterate is looked for before it is evaluated again.
_REMEMBERED = 16

# What `fit` records of every iteration.
_COLUMNS = ("loss", "gradient_norm", "validation_loss", "evaluations", "time")


class ConvergenceWarning(UserWarning):
    """An optimizer has ended before it converged; the message quotes its status."""


def fit(
    net,
    X,
    Y,
    *,
    method="L-BFGS-B",
    max_iter=200,
    l2=0.0,
    tol=None,
    lengths=None,
    mask=None,
    sample_weight=None,
    step_weight=None,
    reduction="mean",
    validation_data=None,
    patience=None,
    callback=None,
    progress=False,
    options=None,
    check_finite=True,
    checkpoint=None,
    n_threads=None,
):
    """Train a network on the whole data set with one of SciPy's gradient methods.

    However it ends (converged, out of iterations, stopped, interrupted from the keyboard, at a
    loss that is not finite, by an exception in `callback`), `net.params` holds the best parameters
    that were seen: those of the lowest objective, or of the lowest validation loss if there is
    one.

    Parameters
    ----------
    net : Network
        Trained in place, from the parameters that it has.
    X, Y, lengths, mask, sample_weight, step_weight, l2, reduction, check_finite, checkpoint
        The data and the objective: see `Objective`.
    method : str
        One of SciPy's: CG, BFGS, L-BFGS-B, TNC, SLSQP, Newton-CG, trust-constr.
    max_iter : int
        Iterations of the method; each may evaluate the objective several times.
    tol : float, optional
        SciPy's tolerance for termination; None leaves the method's own.
    validation_data : tuple (X, Y) or Objective, optional
        Evaluated without `l2` after every iteration. What needs lengths or weights comes as an
        `Objective` of the same network, which is evaluated as it is.
    patience : int, optional
        Stop after so many iterations without a lower validation loss.
    callback : callable, optional
        ``callback(intermediate)`` after every iteration, with an `OptimizeResult` that has x, fun,
        nit, nfev, gradient_norm, validation_loss (None without validation data) and time. Meanwhile
        `net.params` holds x. `StopIteration` raised in it ends the fit.
    progress : bool
        Show a bar on the standard error stream (by tqdm if installed, else one plain line).
    options : dict, optional
        Further options of the method, as in ``scipy.optimize.minimize``; they go before `max_iter`.
        An unknown name is refused; values are SciPy's to check.
    n_threads : int, optional
        None chooses by the size of the work.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, whole, but for x, fun and jac, which are those of the parameters left in `net`.
        Also ``history``, a dict of arrays with an entry for the start and one for each iteration:
        loss (the objective), gradient_norm (Euclidean), evaluations and time (seconds), both
        counted from the start, and with validation data validation_loss.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Warns
    -----
    ConvergenceWarning
        The method ended without success; quotes SciPy's message and status. Not if the callback,
        `patience` or the keyboard has ended it.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> res = lc.fit(net, x[:, :-1], 0.5 * x[:, 1:] + x[:, :-1], max_iter=1000, tol=1e-4)
    >>> res.success
    True
    """
    as_choice(method, "method", _METHODS)
    max_iter = as_integer(max_iter, "max_iter", 1)
    tol = None if tol is None else as_number(tol, "tol", 0.0)
    patience = None if patience is None else as_integer(patience, "patience", 1)
    if patience is not None and validation_data is None:
        raise ValueError(f"patience: expected None without validation_data, got {patience}")
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback: expected a callable, got {describe(callback)}")
    if not (options is None or isinstance(options, Mapping)):
        raise TypeError(f"options: expected a dict, got {describe(options)}")
    for name in options or ():
        if not isinstance(name, str):
            raise TypeError(f"options: expected names that are strings, got {describe(name)}")
    objective = Objective(
        net,
        X,
        Y,
        lengths=lengths,
        mask=mask,
        sample_weight=sample_weight,
        step_weight=step_weight,
        l2=l2,
        reduction=reduction,
        check_finite=check_finite,
        checkpoint=checkpoint,
        n_threads=n_threads,
    )
    validation = _as_validation(validation_data, net, check_finite, checkpoint, n_threads)
    bar = _progress_bar(method, max_iter) if as_flag(progress, "progress") else _NoBar()
    max_nit = max_iter if method == "TNC" else None
    run = _Run(objective, validation, patience, max_nit, callback, bar)
    try:
        result = _minimize(run, method, max_iter, tol, options)
    finally:
        bar.close()
        if run.best is not None:
            net.params[...] = run.best["x"]
    if run.best is not None:
        result.update(run.best)
    result.history = run.history()
    if not result.success and result.status != _STOPPED:
        warnings.warn(
            f"{method} has not converged: {result.message} (status {result.status})",
            ConvergenceWarning,
            stacklevel=2,
        )
    return result


def _minimize(run, method, max_iter, tol, options):
    """SciPy's result, or one like it for a run that was ended from within."""
    from scipy.optimize import OptimizeResult, OptimizeWarning, minimize

    defaults = {"maxiter": min(max_iter, 2**31 - 1)}  # an int of C
    if method == "TNC":  # knows no limit on iterations; `_Run` counts for it
        del defaults["maxiter"]
    if method in ("TNC", "L-BFGS-B"):  # their limits on evaluations would end long runs too early
        defaults["maxfun"] = 10**9
    if method in _DIFFERENCES:
        defaults[_DIFFERENCES[method]] = float(np.sqrt(np.finfo(run.objective.net.dtype).eps))
    start = run.objective.net.params.astype(np.float64)
    try:
        # Warnings' filters belong to all threads: they are touched only where there is a need.
        with _one_blas_thread(), warnings.catch_warnings() if options else nullcontext():
            if options:
                warnings.filterwarnings("error", "Unknown solver options", OptimizeWarning)
            return minimize(
                run,
                start,
                jac=True,
                method=method,
                tol=tol,
                callback=run.iterate,
                options=defaults | dict(options or {}),
            )
    except OptimizeWarning as unknown:
        raise ValueError(f"options: expected those of {method}, got others: {unknown}") from None
    except _Stop as stop:
        reason = stop
    except KeyboardInterrupt:
        reason = _Stop("interrupted from the keyboard", _STOPPED)
    return OptimizeResult(
        x=start,
        fun=np.nan,
        jac=np.full_like(start, np.nan),
        success=reason.success,
        status=reason.status,
        message=reason.message,
        nit=run.nit,
        nfev=run.nfev,
        njev=run.nfev,
    )


def _one_blas_thread():
    """A context in which BLAS keeps to the calling thread, where threadpoolctl is installed.

    SciPy's methods add and multiply vectors of parameters between evaluations. From 10,000 on,
    OpenBLAS starts threads for those, which then wait by spinning and take the processors from the
    kernels: fits took several times as long.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1, user_api="blas")


class _Stop(Exception):
    """Ends a run from within."""

    def __init__(self, message, status, success=False):
        super().__init__(message)
        self.message = message
        self.status = status
        self.success = success


class _Run:
    """What a method sees of the objective: evaluates, counts, remembers, stops."""

    def __init__(self, objective, validation, patience, max_nit, callback, bar):
        self.objective = objective
        self.validation = validation
        self.patience = patience
        self.max_nit = max_nit
        self.callback = callback
        self.bar = bar
        self.best = None  # x, fun and jac of the best point seen
        self.nit = self.nfev = 0
        self._best_validation = np.inf
        self._best_nit = 0
        self._rows = []
        self._recent = {}  # the last evaluations: bytes of x -> (f, g)
        self._began = time.perf_counter()

    def __call__(self, x):
        f, g = self.objective(x)
        self.nfev += 1
        if not (np.isfinite(f) and np.isfinite(g).all()):
            what = "gradient" if np.isfinite(f) else "loss"
            raise _Stop(f"the {what} is not finite at evaluation {self.nfev}", _NOT_FINITE)
        if self.validation is None and (self.best is None or f < self.best["fun"]):
            self.best = {"x": x.copy(), "fun": f, "jac": g}
        self._recent[x.tobytes()] = f, g
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        if self.nfev == 1:
            self._record(x, f, g)
        return f, g

    def iterate(self, x, *state):
        """The method's callback: an iteration has arrived at x. trust-constr adds its state."""
        f, g = self._recent.get(x.tobytes()) or self(x)
        self.nit += 1
        row = self._record(x, f, g)
        self.bar.show(self.nit, row)
        if self.callback is not None:
            self._call_back(x, row)
        if self.patience is not None and self.nit - self._best_nit >= self.patience:
            reason = f"no lower validation loss for {self.patience} iterations"
            raise _Stop(reason, status=0, success=True)
        if self.nit == self.max_nit:
            raise _Stop(f"{self.nit} iterations, as many as allowed", _OUT_OF_ITERATIONS)

    def history(self):
        """The rows recorded so far as one array for each column."""
        columns = [name for name in _COLUMNS if self.validation or name != "validation_loss"]
        return {name: np.array([row[name] for row in self._rows]) for name in columns}

    def _record(self, x, f, g):
        validation_loss = None
        if self.validation is not None:
            validation_loss = self.validation.fun(x)
            lower = validation_loss < self._best_validation
            if lower:
                self._best_validation, self._best_nit = validation_loss, self.nit
            if lower or self.best is None:
                self.best = {"x": x.copy(), "fun": f, "jac": g}
        row = {
            "loss": f,
            "gradient_norm": float(np.linalg.norm(g)),
            "validation_loss": validation_loss,
            "evaluations": self.nfev,
            "time": time.perf_counter() - self._began,
        }
        self._rows.append(row)
        return row

    def _call_back(self, x, row):
        from scipy.optimize import OptimizeResult

        self.objective.net.params = x
        intermediate = OptimizeResult(
            x=x.copy(),
            fun=row["loss"],
            nit=self.nit,
            nfev=row["evaluations"],
            gradient_norm=row["gradient_norm"],
            validation_loss=row["validation_loss"],
            time=row["time"],
        )
        try:
            self.callback(intermediate)
        except StopIteration:
            raise _Stop("`callback` raised `StopIteration`.", _STOPPED) from None


def _as_validation(data, net, check_finite, checkpoint, n_threads):
    if data is None:
        return None
    if isinstance(data, Objective):
        if data.net is not net:
            raise ValueError("validation_data: expected an Objective of net, got another network's")
        return data
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise TypeError(
            f"validation_data: expected a tuple (X, Y) or an Objective, got {describe(data)}"
        )
    return Objective(
        net, *data, check_finite=check_finite, checkpoint=checkpoint, n_threads=n_threads
    )


class _NoBar:
    def show(self, nit, row):
        pass

    def close(self):
        pass


class _TqdmBar:
    def __init__(self, tqdm, method, max_iter):
        self._bar = tqdm(total=max_iter, desc=method, file=sys.stderr)

    def show(self, nit, row):
        self._bar.set_postfix_str(_numbers(row), refresh=False)
        self._bar.update(nit - self._bar.n)

    def close(self):
        self._bar.close()


class _PlainBar:
    """One line, rewritten in place on a terminal; elsewhere written once, at the end."""

    def __init__(self, method, max_iter):
        self._method, self._max_iter = method, max_iter
        self._line, self._shown = None, -np.inf

    def show(self, nit, row):
        self._line = (
            f"{self._method}: {nit}/{self._max_iter} [{row['time']:.0f} s, {_numbers(row)}]"
        )
        now = time.perf_counter()
        if sys.stderr.isatty() and now - self._shown > 0.1:
            sys.stderr.write(f"\r{self._line}")
            sys.stderr.flush()
            self._shown = now

    def close(self):
        if self._line is not None:
            sys.stderr.write(f"\r{self._line}\n" if sys.stderr.isatty() else f"{self._line}\n")


def _numbers(row):
    text = f"loss={row['loss']:.6g}, gradient={row['gradient_norm']:.2g}"
    if row["validation_loss"] is not None:
        text += f", validation={row['validation_loss']:.6g}"
    return text


def _progress_bar(method, max_iter):
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _PlainBar(method, max_iter)
    return _TqdmBar(tqdm, method, max_iter)

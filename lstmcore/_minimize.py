"""`minimize`: an objective, a method, and the best parameters seen left in the network.

A method is a driver of a `Run`: ``drive(run, method, start, max_iter, tol, options)`` evaluates by
calling `run`, says ``run.iterate(x)`` after each iteration and returns an `OptimizeResult`. A
family of methods is a module with `METHODS`, `WITH_BOUNDS` (those to which ``drive`` may be given
``bounds``) and `drive`, and a row in `_FAMILIES`. Some of SciPy's methods take `curvature`. The
methods of `optimizers` count epochs: they take arguments that the others are refused, and the other
way round.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import numpy as np

from . import _hessian_free, _least_squares, _scipy_methods, optimizers
from ._archive import as_path
from ._blas import one_blas_thread
from ._checks import as_choice, as_flag, as_integer, as_number, as_real, describe, shaped
from ._penalized import Penalized
from ._recorder import ProgressBar, Recorder
from ._run import NOT_FINITE, PRODUCTS, REACHED, STOPPED, Run, Stop, params_of, theta_of
from ._run_file import RunFile, plain, plain_examples, plain_network
from ._run_log import LoggedRun, RunLog
from .distributed import DistributedObjective
from .network import Network
from .objective import Objective
from .scaling import ScaleWarning, scale_complaint

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    import numpy.typing as npt

    from ._types import (
        BoundsLike,
        Intermediate,
        Method,
        ObjectiveLike,
        Path,
        Result,
        Schedule,
        Seed,
        ValidationLike,
        Vector,
    )

__all__ = ["ConvergenceWarning", "minimize"]

_FAMILIES = (_scipy_methods, _least_squares, _hessian_free, optimizers)
_DRIVERS = {method: family.drive for family in _FAMILIES for method in family.METHODS}
METHODS = tuple(_DRIVERS)
_WITH_BOUNDS = [method for family in _FAMILIES for method in family.WITH_BOUNDS]
_MAX_ITER, _MAX_EPOCHS = 200, 100  # by default
# Of gates that keep the state, how they start by default, and the steps that are many for that.
_GATE_BIASES = {"forget_bias": 1.0, "update_bias": 0.0}
_LONG = 100
# A warning is one at the first caller outside: estimators are called through scikit-learn's frames.
_INSIDE = (f"{__package__}.", "sklearn.")
_held = ContextVar("warnings that are held back", default=None)
# Arguments that methods which count epochs do not take, and why.
_NOT_OF_EPOCHS = {
    "max_iter": "max_epochs= counts the passes over the data",
    "tol": "they end after max_epochs, by patience= or by a callback",
}


class ConvergenceWarning(UserWarning):
    """An optimizer has ended before it converged, or where it has come to nothing."""


def minimize(
    objective: ObjectiveLike,
    method: Method = "L-BFGS-B",
    *,
    max_iter: int | None = None,
    tol: float | None = None,
    validation: ValidationLike | Callable[[Vector], float] | None = None,
    patience: int | None = None,
    target: float | None = None,
    callback: Callable[[Intermediate], object] | None = None,
    progress: bool = False,
    options: Mapping[str, Any] | None = None,
    x0: npt.ArrayLike | None = None,
    bounds: BoundsLike | None = None,
    curvature: Literal["gauss_newton", "hessian"] | None = None,
    batch_size: int | None = None,
    batches: Literal["shuffled", "bucketed"] | None = None,
    truncate: int | None = None,
    max_epochs: int | None = None,
    learning_rate: float | Schedule | None = None,
    clip_norm: float | None = None,
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
) -> Result:
    """Minimize an objective of a network's parameters, and leave the best ones in the network.

    However it ends (converged, out of iterations, stopped, interrupted from the keyboard, at a
    loss that is not finite, at a validation loss that is NaN, by an exception in `callback`),
    `objective.net.params` holds the best parameters that were seen: those of the lowest objective,
    or of the lowest validation loss if there is one.

    Parameters
    ----------
    objective : Objective or any object like it
        It has ``net``, the `Network`. Called as ``objective(theta)`` with a (P,) float64 array, it
        returns (f, g), a float and a fresh (P,) float64 array. ``fun(theta)`` returns f alone; it
        is called only where the objective serves as `validation`.
    method : str
        One of SciPy's: CG, BFGS, L-BFGS-B, TNC, SLSQP, Newton-CG, trust-ncg, trust-krylov,
        trust-constr, least_squares; or hessian-free; or adam, sgd, rmsprop or rprop, which count
        epochs in place of iterations (see the notes). docs/training.md has a table of them.
    max_iter : int, optional
        The most iterations of a method of SciPy's, by default 200. Each may evaluate the objective
        several times.
    tol : float, optional
        SciPy's tolerance for termination; None leaves the method's own.
    validation : objective or callable, optional
        Its ``fun(theta)``, or the callable itself, gives the validation loss for all parameters of
        the network. It is evaluated at the start and after every iteration.
    patience : int, optional
        Stop after this many iterations without a lower validation loss.
    target : float, optional
        Stop with success, and status 97, after an iteration whose validation loss, or objective
        where there is no validation, is not above it.
    callback : callable, optional
        ``callback(intermediate)`` after every iteration, with an `OptimizeResult` that has x, fun,
        nit, nfev, gradient_norm, validation_loss (None without validation) and time. Meanwhile
        `net.params` holds x. `StopIteration` raised in it ends the run.
    progress : bool
        Show a bar on the standard error stream (by tqdm if installed, else one plain line).
    options : dict, optional
        Further options of the method, as in ``scipy.optimize.minimize``. They take precedence over
        `max_iter`. An unknown name is refused; the values of SciPy's options are checked by SciPy.
        The notes list the options of the other methods.
    x0 : (P,) array_like, optional
        Where to start; by default at `net.params`. Where an `Objective` has frozen blocks, x0, the
        bounds and x in results are without them.
    bounds : (P, 2) array_like or scipy.optimize.Bounds, optional
        The lowest and the highest value of each parameter; None or infinity is no bound. L-BFGS-B,
        TNC, SLSQP, trust-constr and least_squares take them. A start outside the bounds is moved to
        the nearest point within. `Network.blocks` of a copy of the network says which parameter is
        where.
    curvature : {"gauss_newton", "hessian"}, optional
        For Newton-CG, trust-ncg, trust-krylov and trust-constr: which products of curvature with
        vectors they get, those of `Objective.gauss_newton` or of `Objective.hessp`. The default is
        "gauss_newton" for trust-ncg and trust-krylov, which need one. Without it, Newton-CG
        differentiates the gradient itself, and trust-constr builds up a matrix from gradients.
    batch_size : int, optional
        For adam, sgd and rmsprop with an `Objective`: how many sequences a batch has. None means
        all data at every step.
    batches : {"shuffled", "bucketed"}, optional
        With `batch_size`: which sequences come together in a batch. By default it is a random
        choice; "bucketed" batches have sequences of similar length. See the notes.
    truncate : int, optional
        For adam, sgd and rmsprop: truncated BPTT, for long sequences. The method makes a step for
        every stretch of this many time steps of a batch. The state goes on from one stretch to the
        next; the gradient does not go back.
    max_epochs : int, optional
        For adam, sgd, rmsprop and rprop: how many passes over the data there are, by default 100.
        After them the run ends with success.
    learning_rate : float or callable, optional
        For adam, sgd and rmsprop: the rate, by default 0.001 (for sgd 0.01), or a schedule
        ``learning_rate(epoch, max_epochs)`` such as `lstmcore.optimizers.Cosine`. There `epoch`
        counts the epochs that are done, with fractions: 0, 0.25, 0.5 with four batches in each. A
        run takes a copy of a schedule that depends on the run's losses, such as `Plateau`.
    clip_norm : float, optional
        For adam, sgd and rmsprop: gradients whose Euclidean norm is larger are scaled down to this
        norm.
    seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
        For adam, sgd and rmsprop: decides the order of the sequences, noise and dropout.
    weight_noise : float, optional
        For adam, sgd and rmsprop, as are the next four: the standard deviation of noise on the
        parameters. Every step takes its gradient at parameters to each of which normal noise, drawn
        anew, has been added.
    input_noise : float, optional
        The standard deviation of noise on every input of every step. The inputs must be numbers,
        not tokens.
    dropout : float, optional
        The probability with which an output of a layer is 0 for the next layer, at all steps of a
        sequence. The outputs that stay are divided by 1 minus this probability. The network's own
        outputs are never dropped.
    recurrent_dropout : float, optional
        The probability with which an output of a recurrent layer is 0 for the layer's own next
        step, at all steps of all sequences of a batch. The outputs that stay are divided by 1 minus
        this probability.
    average : float, optional
        Record, validate and keep, in place of the parameters after each step, their exponential
        moving average with this decay; 0.99 is an average over about 100 steps.
    polish : bool or int, optional
        For adam, sgd, rmsprop and rprop: when the epochs are done, or patience is exhausted, go on
        from the best parameters with this many iterations of L-BFGS-B on the whole objective. True
        means 200. See the notes.
    memory : dict, optional
        For adam, sgd, rmsprop and rprop: where the method leaves what it keeps from step to step
        (means, velocities, sizes of steps). It goes on from what is there, on other data for
        example. It is an empty dict at first.
    checkpoint_path : str or path-like, optional
        A file that keeps the run; any method can have one. If the file is there, the run goes on
        from it, and ends in the same bits as a run that was never cut (see the notes). It has
        nothing to do with `checkpoint` of an `Objective`, which bounds memory.
    checkpoint_every : float
        Seconds between two writings of that file to the disk.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's result, except that x, fun and jac are those of the parameters left in `net`. It
        also has ``history``, a dict of arrays with an entry for the start and one for each
        iteration: loss (the objective), gradient_norm (Euclidean), evaluations and time (in
        seconds), both counted from the start, and validation_loss where there is a validation.
        ``history.to_csv(path)`` writes them as a table. And it has ``n_nonfinite``, the number of
        evaluations that were not finite: SciPy's methods and hessian-free turn back from such
        points, and the others end there. With batches the entries mean something else: see the
        notes.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Warns
    -----
    ScaleWarning
        Inputs, or targets of squared_error, are far from mean 0 and standard deviation 1: `Scaler`
        brings them there.
    ConvergenceWarning
        The method ended without success (the warning quotes SciPy's message and status). Or it
        ended with success, but at a gradient as large as that of the start, or, with an
        `Objective`, at a loss no lower than that of the best constant outputs. There is no warning
        if the callback or the keyboard has ended the run.

    Notes
    -----
    least_squares uses trust regions (trf). It is for objectives that are sums of squares: those
    with the loss squared_error and without l1, or an objective of your own that has `residuals` and
    `jacobian`. It counts evaluations of residuals. Its options are ftol, xtol, gtol, x_scale,
    tr_options, max_nfev and verbose.

    hessian-free uses the Gauss-Newton matrix with damping, as Martens (2010) does. Each iteration
    solves for a step by conjugate gradients with up to cg_iter (100) products, beginning at
    cg_decay (0.95) times the last step. It takes the best of the steps on the way, and shortens it
    where needed. damping (0.1) is where the damping begins; it is then adapted to how well the
    matrix has predicted the fall of the objective. The method ends where no entry of the gradient
    is above `tol`, by default 1e-5. `nhev` of its result counts products.

    adam, sgd and rmsprop step along the gradient without a line search, as docs/equations.md says.
    Their options are

    - adam: beta1 (0.9), beta2 (0.999), eps (1e-8);
    - sgd: momentum (0.9), nesterov (False);
    - rmsprop: rho (0.9), eps (1e-8);
    - each: weight_decay (0), which is decoupled (with adam this is AdamW). Before every step the
      weights that a number given as `l2` would count are multiplied by 1 - rate · weight_decay.

    rprop (iRprop+) uses the signs of the gradient of the whole objective. Each parameter has a step
    size of its own, which grows while the sign stays and shrinks where it has changed. So there is
    no learning rate to choose. On small smooth problems it is often the fastest of all. Its options
    are step0 (0.0125), the size of the first step, eta_plus (1.2), eta_minus (0.5), step_min (0)
    and step_max (50).

    Without `batch_size` an epoch is one step on the whole objective, in float64, and everything
    that is recorded means what it means with SciPy's methods. With `batch_size`

    - each epoch takes all sequences in a new random order, `batch_size` at a time. If they are
      bucketed, this order is cut into windows of 16 batches, each window is sorted by length and
      cut into batches, and the batches of all windows come in random order. The last batch may have
      fewer sequences. A sequence without weight is in no batch. Parameters and what the method
      keeps have the network's dtype. One seed gives the same bits on any number of threads.
    - each step goes along the gradient of `Objective.on_batch`: the weighted mean over the batch's
      own terms, and all of the penalty. So a batch of small weights, or of short sequences, takes
      as large a step as another.
    - loss in the history is the mean over the epoch, of each batch at the parameters of its time,
      weighted by the sum of the batch's weights. gradient_norm is the same mean of the norms before
      clipping. At the start both are those of the first batch. evaluations and `nfev` count
      batches.
    - the best parameters are those at the end of the epoch of the lowest such loss, or of the
      lowest validation loss. The whole objective is never evaluated for it: `fun` is the loss in
      the history there, infinite if no epoch has come to its end, and `jac` is None.

    With `truncate` all that is said of batches holds for the stretches of a batch, one after the
    other: steps 0 to `truncate` of its sequences side by side, then the next steps, and so on,
    without the sequences that have ended. Each stretch begins with the state that the one before it
    has left, at the parameters of that time. The first stretch begins with the state that the data
    have (``state=``), or with the initial state. `batch_size` None means all sequences. A stretch
    in which nothing has weight hands the state on and makes no step. What dropout and noise draw
    for a sequence is drawn anew for each stretch. The result has ``state``, the state after the
    last step of each sequence when the run was last there; for a sequence that is in no batch it is
    the state that it begins with. `truncate` does not work with layers that read in reverse, nor
    where a whole sequence is one term.

    With weight_noise, input_noise, dropout or recurrent_dropout the loss in the history, `fun` and
    gradient_norm are those of the disturbed network, and `jac` is None with all data too. Nothing
    else is disturbed: not the validation, not the callback, and not the parameters that are left in
    the network. Because noise hides small differences, give a `validation`, by which the best epoch
    is then chosen. The penalty is taken at the noisy parameters; dropout does not change it. All
    but weight_noise need an `Objective`, whose `on_batch` is given what was drawn. docs/training.md
    says which of them to use.

    With `average` β the parameters at an epoch's end, which the validation, the callback, the best
    point and the network get, are Σ β^(t-k) θ_k / Σ β^(t-k) over the t steps until there. The steps
    themselves, loss and gradient_norm in the history, and so `fun`, are of the θ_k; `jac` is None.

    With `polish` the history goes on, with a row for each iteration of L-BFGS-B. The result's
    n_polish says how many rows these are; in them loss is the whole objective. The parameters that
    are left are never worse than those of the epochs, by the validation loss if there is one, and
    otherwise by the whole objective. Noise, dropout and weight_decay are no part of polishing.
    Patience is counted anew. Polishing pays where an objective is smooth and the minimum itself is
    what counts, as in regression without noise. A `checkpoint_path` does not keep it: it is done
    again.

    With `checkpoint_path` a call with the same arguments goes on from the file, if it is there.
    max_iter, max_epochs, tol, patience, target, polish, callback and progress may be others than
    before, so that a run which has ended can go on too. Anything else that differs is refused, also
    in the data, and so are parameters other than those at the start of the run or those that it has
    left in the network. Of an objective, a validation or a schedule of your own only the kind is
    compared. Delete the file to start over. docs/training.md has more.

    - adam, sgd, rmsprop and rprop have their whole state in it. It is written at the start, every
      `checkpoint_every` seconds and at the end, however the run ends; a reader sees the old file or
      the new one. Epochs after the last writing are done again, and `callback` is called again for
      them. The state of the generator of `seed` comes from the file. A schedule that keeps
      something from step to step has ``state()``, a dict, and ``restore(state)``.
    - SciPy's methods and hessian-free keep their memory to themselves, so the file is a log of what
      they were told: 8 P bytes for each evaluation. The method is run again from the start and told
      the same, which takes its own arithmetic, products with curvature and residuals, but no other
      evaluation, no validation and no callback, other than that of the last iteration. Another
      version of SciPy may ask for other points: that is refused.

    Examples
    --------
    An objective of one's own, the sum of two on different data:

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> class Both:
    ...     net = net
    ...     parts = lc.Objective(net, x, 0.5 * x), lc.Objective(net, -x[:2], 0.4 * x[:2])
    ...     def __call__(self, theta):
    ...         (f, g), (f_more, g_more) = (part(theta) for part in self.parts)
    ...         return f + f_more, g + g_more
    >>> res = lc.minimize(Both(), "BFGS", max_iter=1000, tol=1e-3)
    >>> res.success
    True
    >>> bool((net.params == res.x).all())
    True

    Batches of two sequences:

    >>> objective = lc.Objective(net, x, np.cumsum(x, axis=1) / 5)
    >>> schedule = lc.optimizers.WarmUp(2, lc.optimizers.Cosine(0.01))
    >>> res = lc.minimize(objective, "adam", batch_size=2, max_epochs=40, learning_rate=schedule,
    ...                   clip_norm=1.0, seed=0)
    >>> res.nit, res.nfev
    (40, 161)
    >>> res.message
    '40 epochs, as many as asked for'
    """
    net = getattr(objective, "net", None)
    if not (isinstance(net, Network) and callable(objective)):
        raise TypeError(
            "objective: expected an Objective, or a callable with a Network as its net, "
            f"got {describe(objective)}"
        )
    drive = _DRIVERS[as_choice(method, "method", tuple(_DRIVERS))]
    n_polish = _as_polish(polish)
    of_epochs = {
        "batch_size": batch_size,
        "batches": batches,
        "truncate": truncate,
        "max_epochs": max_epochs,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "seed": seed,
        "weight_noise": weight_noise,
        "input_noise": input_noise,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
        "average": average,
        "polish": n_polish,
        "memory": memory,
    }
    kept: dict[str, Any] = {}
    if method in optimizers.METHODS:
        for name, value in {"max_iter": max_iter, "tol": tol}.items():
            if value is not None:
                raise _not_of(method, name, value, _NOT_OF_EPOCHS[name])
        max_iter = as_integer(_MAX_EPOCHS if max_epochs is None else max_epochs, "max_epochs", 1)
        del of_epochs["max_epochs"], of_epochs["polish"], of_epochs["memory"]
        kept |= of_epochs
    else:
        for name, value in of_epochs.items():
            if value is not None:
                takers = ", ".join(optimizers.takers_of(name))
                given = polish if name == "polish" else value
                raise _not_of(method, name, given, f"{takers} take it")
        max_iter = as_integer(_MAX_ITER if max_iter is None else max_iter, "max_iter", 1)
    tol = None if tol is None else as_number(tol, "tol", 0.0)
    every = as_number(checkpoint_every, "checkpoint_every", 0)
    scored, validation = validation, _as_validation(validation, net)
    patience = None if patience is None else as_integer(patience, "patience", 1)
    if patience is not None and validation is None:
        raise ValueError(
            f"patience: expected None without validation, got {patience}; fit takes "
            "validation_data=, minimize validation="
        )
    target = None if target is None else as_number(target, "target")
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback: expected a callable, got {describe(callback)}")
    options = _as_options(options)
    start = theta_of(objective, net.params).astype(np.float64)
    if x0 is not None:
        start = shaped(as_real(x0, "x0", float), "x0", start.shape).copy()
    box = _as_bounds(bounds, method, start.size)
    if box is not None:
        start = np.clip(start, *box.T)
        kept["bounds"] = box
    if curvature is not None:
        if method not in _scipy_methods.WITH_CURVATURE:
            way_out = f"{', '.join(_scipy_methods.WITH_CURVATURE)} take it"
            raise _not_of(method, "curvature", curvature, way_out)
        kept["curvature"] = as_choice(curvature, "curvature", tuple(PRODUCTS))
    if memory is not None:
        if checkpoint_path is not None:
            raise ValueError(
                f"memory: expected None beside checkpoint_path, got {describe(memory)}"
            )
        if not isinstance(memory, dict):
            raise TypeError(f"memory: expected a dict, got {describe(memory)}")
        kept["memory"] = memory
    longest = max_iter + (n_polish or 0)
    bar = ProgressBar(method, longest) if as_flag(progress, "progress") else None
    complaint = _scale_complaint(objective)
    if complaint is not None:
        warn(complaint, ScaleWarning)

    recorder = Recorder(validation is not None, patience, bar)
    run = Run(objective, recorder, validation, callback, target)
    file: RunFile | RunLog | None = None
    if checkpoint_path is not None:
        checkpoint_path = os.path.abspath(as_path(checkpoint_path, "checkpoint_path"))
        identity = {
            "method": method,
            "network": plain_network(net),
            "objective": _plain_objective(objective),
            "validation": _plain_objective(scored),
            "options": options,
            **kept,
        }
        if method in optimizers.METHODS:
            file = kept["file"] = RunFile(checkpoint_path, every, identity, start)
        else:
            made_with = _scipy_methods.versions() | {"tol": tol, "max_iter": max_iter}
            file = RunLog(checkpoint_path, every, identity, made_with, start)
            start = file.start
            run = LoggedRun(file, objective, recorder, validation, callback, target)
    try:
        with one_blas_thread():
            result = _driven(drive, run, method, start, max_iter, tol, options, **kept)
            n_epochs = recorder.nit
            if n_polish is not None and result.success and result.status != REACHED:
                result = _polished(run, result, n_polish)
    finally:
        if recorder.best is not None:
            net.params = params_of(objective, recorder.best["x"])
        if bar is not None:
            bar.close()
        if file is not None:
            file.close(theta_of(objective, net.params).astype(np.float64))
    if recorder.best is not None:
        result.update(recorder.best)
    if n_polish is not None:
        result.n_polish = recorder.nit - n_epochs
    result.history = recorder.history()
    result.n_nonfinite = run.n_nonfinite
    if run.states is not None:
        result.state = run.states
    complaint = _complaint(method, objective, result, box, truncate, checkpoint_path)
    if complaint is not None:
        warn(complaint, ConvergenceWarning)
    return result


def _driven(drive, run, method, start, *arguments, **kept):
    """The result of a method, however it ends."""
    try:
        return drive(run, method, start, *arguments, **kept)
    except Stop as stop:
        return _ended(run, start, stop)
    except KeyboardInterrupt:
        return _ended(run, start, Stop("interrupted from the keyboard", STOPPED))


def _polished(run, result, n_iterations):
    """The result of L-BFGS-B from the best point of a run which has ended with `result`."""
    before = run.recorder.best
    run.recorder.renew()
    run.unit = "iterations"
    second = _driven(_scipy_methods.drive, run, "L-BFGS-B", before["x"], n_iterations, None, {})
    if run.recorder.best is None:  # it has come to no evaluation
        run.recorder.best = before
    if second.status not in (STOPPED, REACHED):  # whatever has ended it, the epochs are a success
        second.success, second.status = True, 0
    second.message = f"{result.message}; polished by L-BFGS-B: {second.message}"
    second.nit, second.nfev, second.njev = run.recorder.nit, run.nfev, run.nfev
    return second


def _as_polish(polish):
    """The iterations of a `polish`, or None."""
    if polish is None or polish is False:
        return None
    return _MAX_ITER if polish is True else as_integer(polish, "polish", 1)


def _plain_objective(objective):
    """What tells objectives apart: of one's own, or a function, no more than what it is called."""
    if isinstance(objective, DistributedObjective):
        names = "l2", "l1", "frozen", "frozen_values", "reduction"
        settings = {name: plain(getattr(objective, name)) for name in names}
        shards = objective.map_shards(_plain_shard)
        return {"type": type(objective).__name__, **settings, "shards": shards}
    if not isinstance(objective, Objective):
        return plain(objective)
    names = "l2", "l1", "frozen", "frozen_values"
    settings = {name: plain(getattr(objective, name)) for name in names}
    kind = {"type": type(objective).__name__, **settings}
    return kind | plain_examples(objective.examples)


def _plain_shard(objective):
    return plain_examples(objective.examples)


def _scale_complaint(objective):
    """What a user must know of the scale of the data, or None; of an objective of one's own, None.

    Of shards it is said where it is true of each.
    """
    if isinstance(objective, Objective):
        return scale_complaint(objective.net, objective.examples)
    if not isinstance(objective, DistributedObjective):
        return None
    complaints = objective.map_shards(_scale_complaint)
    return None if None in complaints else f"shards[0], as each of them: {complaints[0]}"


def _way_out(method, checkpoint_path):
    held = _held.get()
    if held is not None and held.way_out is not None:
        return held.way_out
    slower = f"take a smaller {optimizers.PACE[method]}, " if method in optimizers.METHODS else ""
    again = "" if checkpoint_path is None else f" without {checkpoint_path}"
    return (
        f"calling again{again} goes on from the best parameters; if that leads nowhere, {slower}"
        "bring inputs and targets to mean 0 and variance 1 (lstmcore.Scaler), or start from "
        "another seed"
    )


def _complaint(method, objective, result, bounds, truncate, checkpoint_path):
    """What a user must know of a result that is not what was hoped for, or None."""
    if result.status in (STOPPED, REACHED):
        return None
    way_out = _way_out(method, checkpoint_path)
    if not result.success:
        count = ""
        if result.n_nonfinite and result.status != NOT_FINITE:
            count = f", {result.n_nonfinite} of {result.nfev} evaluations not finite"
        return (
            f"{method} has not converged: {result.message} (status {result.status}{count}); "
            f"{way_out}"
        )
    if not result.history["loss"].size:  # a method that has evaluated nothing
        return None
    ended = f"{method} has ended with success ({result.message}), but"
    # The best of a validation may be anywhere; without one the gradient should have gone.
    gradient, start_norm = result.jac, result.history["gradient_norm"][0]
    if gradient is None:  # of batches, where it never goes
        gradient = np.zeros_like(result.x)
    if bounds is not None:  # a bound may hold a parameter back
        gradient = result.x - np.clip(result.x - gradient, *bounds.T)
    norm = np.linalg.norm(gradient)
    is_large = norm > max(0.5 * start_norm, 0.01 * abs(result.fun), 1e-3)
    if is_large and "validation_loss" not in result.history:
        return (
            f"{ended} its gradient is {norm:.3g}, at the start it was {start_norm:.3g}; {way_out}"
        )
    constant = objective.constant_loss() if isinstance(objective, Objective) else None
    # Where targets are constants themselves, but for rounding, there is nothing else to learn.
    least = 0.0 if constant is None else objective.least_loss()
    if constant is not None and constant - least > 1e-13 * abs(result.history["loss"][0]):
        if least == -np.inf:  # of what has no end there are no hundredths
            least = constant
        loss = _loss_at(objective, result, truncate, least + 0.99 * (constant - least))
        if loss - least > 0.99 * (constant - least):
            return (
                f"{ended} the network is no better than constant outputs: its loss is {loss:.6g}, "
                f"that of the best constants {constant:.6g}; {way_out}"
                f"{_smaller_penalty(objective)}{_longer_memory(objective)}"
            )
    return None


def _loss_at(objective, result, truncate, enough):
    """The loss without the penalty of a result; at most `enough` is enough to know."""
    if truncate is None:
        return objective.fun(result.x) - objective.penalty(result.x)
    # Of long sequences, another pass over which takes its time and, not cut, its memory.
    mean = result.fun - objective.penalty(result.x)  # over the epoch that has led there
    if mean <= enough:
        return mean
    params, examples = objective.params_of(result.x), objective.examples
    return objective.net.evaluate(params, examples, gradient=False, checkpoint=truncate)[0]


def _smaller_penalty(objective):
    names = " or ".join(name for name in ("l2", "l1") if getattr(objective, name))
    return f", or with a smaller {names}" if names else ""


def _longer_memory(objective):
    """What helps where sequences are long and gates start for short lags."""
    longest = objective.examples.batch.max_length
    for layer in objective.net.layers if longest >= _LONG else ():
        for name, usual in _GATE_BIASES.items():
            has_gate = layer.options.get("forget_gate", True)
            if has_gate and layer.options.get(name) == usual:
                return (
                    f"; lags of up to {longest} steps are learnt from gates that start open: "
                    f'{type(layer).__name__}(..., {name}=("chrono", {longest}))'
                )
    return ""


class _Held(list[tuple[str, type[Warning]]]):
    """Pairs of message and category, and what the messages are to lead to."""

    def __init__(self, way_out):
        super().__init__()
        self.way_out = way_out


@contextmanager
def held_warnings(way_out=None):
    """A context in which `warn` adds to a list, that it gives, pairs of message and category.

    `way_out` is what messages end with in the place of what they say by themselves; within another
    such context, that of the outer one.
    """
    outer = _held.get()
    token = _held.set(_Held(outer.way_out if outer is not None and way_out is None else way_out))
    try:
        yield _held.get()
    finally:
        _held.reset(token)


def warn(message, category):
    """A warning at the caller of `minimize` or `fit`; a run's result is not lost by it.

    Python's own display of warnings fails where the standard error stream is closed.
    """
    if _held.get() is not None:
        _held.get().append((message, category))
        return
    try:
        warnings.warn(message, category, stacklevel=_callers_level())
    except category:  # the user's filters make it an error
        raise
    except Exception:
        pass


def _not_of(method, name, value, way_out):
    return ValueError(f"{name}: expected None with {method}, got {describe(value)}; {way_out}")


def _as_validation(validation, net):
    """The function of all parameters that gives the validation loss."""
    if validation is None:
        return None
    fun = getattr(validation, "fun", validation)
    if not callable(fun):
        raise TypeError(
            f"validation: expected an Objective or a callable, got {describe(validation)}"
        )
    if getattr(validation, "net", net) is not net:
        raise ValueError(
            "validation: expected an objective of the same network, got another network's"
        )
    if isinstance(validation, Penalized):
        return lambda params: validation.fun(validation.theta_of(params))
    return fun


def _as_bounds(bounds, method, size):
    """Bounds as a (P, 2) float64 array, infinite where there are none; or None."""
    if bounds is None:
        return None
    if method not in _WITH_BOUNDS:
        raise ValueError(
            f"bounds: expected None with {method}, got {describe(bounds)}; "
            f"{', '.join(_WITH_BOUNDS)} take them"
        )
    if hasattr(bounds, "lb"):  # SciPy's, which may have one number for all
        low, high = (
            np.broadcast_to(as_real(b, "bounds", float), size) for b in (bounds.lb, bounds.ub)
        )
        bounds = np.stack([low, high], axis=1)
    elif isinstance(bounds, (list, tuple)):
        bounds = [_as_pair(pair) for pair in bounds]
    bounds = shaped(as_real(bounds, "bounds", np.float64), "bounds", (size, 2))
    wrong = np.flatnonzero(~(bounds[:, 0] <= bounds[:, 1]))
    if wrong.size:
        pair = bounds[wrong[0]].tolist()
        raise ValueError(f"bounds: expected the lower one first, got {pair} at [{wrong[0]}]")
    return bounds


def _as_pair(pair):
    """A pair as in SciPy's old style, whose None is no bound."""
    if not (isinstance(pair, (list, tuple)) and len(pair) == 2):
        return pair
    return [
        no if bound is None else bound for bound, no in zip(pair, (-np.inf, np.inf), strict=True)
    ]


def _as_options(options):
    if not (options is None or isinstance(options, Mapping)):
        raise TypeError(f"options: expected a dict, got {describe(options)}")
    for name in options or ():
        if not isinstance(name, str):
            raise TypeError(f"options: expected names that are strings, got {describe(name)}")
    return dict(options or {})


def _ended(run, start, stop):
    """The result of a run that was ended from within: what SciPy would say, were it asked."""
    from scipy.optimize import OptimizeResult

    result = OptimizeResult(
        x=start,
        fun=np.nan,
        jac=np.full_like(start, np.nan),
        success=stop.success,
        status=stop.status,
        message=stop.message,
        nit=run.recorder.nit,
        nfev=run.nfev,
        njev=run.nfev,
    )
    if run.nhev is not None:
        result.nhev = run.nhev
    return result


def _callers_level():
    """The stack level, for `warn`, of the first caller of `minimize` outside this package."""
    level, frame = 3, sys._getframe(3)
    while frame.f_globals.get("__name__", "").startswith(_INSIDE) and frame.f_back:
        level, frame = level + 1, frame.f_back
    return level

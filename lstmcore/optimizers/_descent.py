"""A run of one of the methods: an epoch is a step on all data, or one on each batch of them."""

import numpy as np

from .._checks import (
    all_finite,
    as_generator,
    as_integer,
    as_number,
    as_positive,
    as_real,
    shaped,
)
from .._dispatch import kernels
from .._run import NOT_FINITE, Stop
from ..objective import Objective
from ._schedules import as_schedule
from ._updates import UPDATES

METHODS = tuple(UPDATES)
WITH_BOUNDS = ()


def drive(
    run,
    method,
    start,
    max_iter,
    tol,
    options,
    *,
    batch_size,
    learning_rate,
    clip_norm,
    seed,
):
    """Let `method` drive `run` from `start`; it ends by `Stop`.

    Parameters
    ----------
    run : Run
    method : str
        One of `METHODS`.
    start : (P,) float64 array
    max_iter : int
        Epochs.
    tol : None
    options : dict
        Of the method.
    batch_size, learning_rate, clip_norm, seed
        As `minimize` takes them.
    """
    run.unit = "epochs"
    objective = run.objective
    net = objective.net
    if batch_size is not None:
        batch_size = as_integer(batch_size, "batch_size", 1)
        if not isinstance(objective, Objective):
            raise TypeError(
                f"batch_size: expected None with an objective of one's own, got {batch_size}; an "
                "lstmcore.Objective has batches"
            )
    rng = as_generator(seed)
    update = UPDATES[method](
        method,
        options,
        start.size,
        np.dtype(np.float64) if batch_size is None else net.dtype,
        net.weight_slices,
    )
    step = Stepper(
        update,
        as_schedule(update.RATE if learning_rate is None else learning_rate, "learning_rate"),
        None if clip_norm is None else as_positive(clip_norm, "clip_norm"),
        max_iter,
    )
    if batch_size is None:
        on_all(run, step, start, max_iter)
    else:
        on_batches(run, step, start, max_iter, batch_size, rng)
    raise Stop(f"{max_iter} epochs, as many as asked for", status=0, success=True)


class Stepper:
    """One step of a method: its learning rate, the clipped gradient, the update."""

    def __init__(self, update, schedule, clip_norm, max_epochs):
        self._update = update
        self._schedule = schedule
        self._clip_norm = clip_norm
        self._max_epochs = max_epochs

    def __call__(self, theta, g, norm, epoch):
        """Move `theta` along `g`, of this Euclidean norm, after so many epochs."""
        rate = self._schedule(epoch, self._max_epochs)
        rate = as_number(rate, f"learning_rate({epoch:.6g}, {self._max_epochs:.6g})", 0)
        clips = self._clip_norm is not None and norm > self._clip_norm
        self._update(theta, g, rate, self._clip_norm / norm if clips else 1.0)


def on_all(run, step, start, max_epochs):
    """Steps on all data; what is recorded is the objective where a step has arrived."""
    x = start
    _, g = run(x)
    for epoch in range(max_epochs):
        g = np.ascontiguousarray(g)
        x = x.copy()
        step(x, g, norm_of(g), epoch)
        refuse_nonfinite(x, epoch)
        _, g = run(x)
        run.iterate(x)


def on_batches(run, step, start, max_epochs, batch_size, rng):
    """Steps on batches; what is recorded are an epoch's means.

    Each batch is evaluated before the epoch of the step before it is recorded, so that parameters
    whose loss is not finite are never the best.
    """
    objective = run.objective
    members = np.flatnonzero(objective.examples.sequence_weights() > 0)
    if not len(members):
        raise ValueError(
            f"batch_size: expected None where no sequence has a weight, got {batch_size}"
        )
    n_batches = -(-len(members) // batch_size)
    batches = shuffled(members, batch_size, rng)

    def evaluate():
        f, g, weight = objective.on_batch(theta, next(batches))
        # A class derived from Objective may have another `on_batch`.
        name = "the gradient of on_batch"
        g = np.ascontiguousarray(shaped(as_real(g, name, theta.dtype), name, theta.shape))
        norm = norm_of(g)
        run.count(f, np.isfinite(norm) or all_finite(g))
        return f, g, norm, weight

    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and so is the loss
        theta = start.astype(objective.net.dtype)
    f, g, norm, weight = evaluate()
    run.begin(start, f, norm)
    for epoch in range(max_epochs):
        loss = norms = total = 0.0
        for k in range(n_batches):
            loss += weight * f
            norms += weight * norm
            total += weight
            step(theta, g, norm, epoch + k / n_batches)
            f, g, norm, weight = evaluate()
        refuse_nonfinite(theta, epoch)
        run.arrive(theta.astype(np.float64), loss / total, norms / total)


def shuffled(members, batch_size, rng):
    """Batches of the numbers in `members`, each in one batch an epoch, without an end."""
    while True:
        order = rng.permutation(members)
        for k in range(0, len(order), batch_size):
            yield order[k : k + batch_size]


def refuse_nonfinite(theta, epoch):
    """End the run where parameters are infinite: a loss of saturated units may yet be finite."""
    if not all_finite(theta):
        raise Stop(f"the parameters are not finite in epoch {epoch + 1}", NOT_FINITE)


def norm_of(g):
    return float(np.sqrt(kernels.sum_of_squares(g)))

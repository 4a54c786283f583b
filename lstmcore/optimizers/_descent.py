"""A run of one of the methods: an epoch is a step on all data, or one on each batch of them.

Between two steps all that a run needs to go on is data: the parameters and the states of its parts,
see `_run_file`. An epoch is recorded when the first evaluation after it has shown that its
parameters have a finite loss, so that others are never the best.
"""

from copy import deepcopy

import numpy as np

from .._checks import (
    all_finite,
    as_choice,
    as_generator,
    as_integer,
    as_number,
    as_positive,
    as_real,
    describe,
    shaped,
)
from .._dispatch import kernels
from .._examples import put_states
from .._penalized import Penalized
from .._run import NOT_FINITE, Stop, kind_of
from .._run_file import Draws, plain_seed
from ..objective import Objective
from ._average import Average
from ._noise import Noise
from ._schedules import as_schedule
from ._updates import UPDATES

METHODS = tuple(UPDATES)
# What `batches` may be, and how many of them are sorted at a time where they are bucketed.
_ORDERS = ("shuffled", "bucketed")
_WINDOW = 16
WITH_BOUNDS = ()
# What a smaller one of makes smaller steps.
PACE = {method: update.PACE for method, update in UPDATES.items()}


def takers_of(argument):
    """The methods that take this argument of `drive`."""
    return [method for method in METHODS if argument not in dict(UPDATES[method].REFUSED)]


def drive(
    run,
    method,
    start,
    max_iter,
    tol,
    options,
    *,
    batch_size,
    batches,
    truncate,
    learning_rate,
    clip_norm,
    average,
    seed,
    memory=None,
    file=None,
    **noise,
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
    batch_size, batches, truncate, learning_rate, clip_norm, average, seed, memory, **noise
        As `minimize` takes them.
    file : RunFile, optional
        The run is written to it, or goes on from it.
    """
    run.unit = "epochs"
    objective = run.objective
    given = {
        "batch_size": batch_size,
        "batches": batches,
        "truncate": truncate,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "average": average,
        **noise,
    }
    for name, why in UPDATES[method].REFUSED:
        if given[name] is not None:
            raise ValueError(
                f"{name}: expected None with {method}, got {describe(given[name])}; {why}"
            )
    if batch_size is not None:
        batch_size = as_integer(batch_size, "batch_size", 1)
    for name in ("batch_size", "truncate"):
        if given[name] is not None and not isinstance(objective, Objective):
            raise TypeError(
                f"{name}: expected None with {kind_of(objective)}, got "
                f"{describe(given[name])}; an lstmcore.Objective has batches"
            )
    if batches is not None:
        as_choice(batches, "batches", _ORDERS)
        if batch_size is None:
            raise ValueError(f"batches: expected None without batch_size, got {batches!r}")
    rng = as_generator(seed)
    settings = {name: 0.0 if value is None else value for name, value in noise.items()}
    noise = Noise(objective, rng, **settings)
    if not noise.is_needed:
        noise = None
    average = None if average is None else Average(average, start.size)
    if truncate is not None:
        truncate = objective.net.check_truncate(truncate)
        members = scored_members(objective, "truncate", truncate)
        at_once = len(members) if batch_size is None else batch_size
        source = Stretches(run, max_iter, members, at_once, batches, truncate, rng, noise, average)
    elif batch_size is not None:
        members = scored_members(objective, "batch_size", batch_size)
        source = Batches(run, max_iter, members, batch_size, batches, rng, noise, average)
    else:
        source = Whole(run, max_iter, noise, average)
    is_own = not isinstance(objective, Penalized)
    weight_slices = objective.net.weight_slices if is_own else objective.weight_slices
    update = UPDATES[method](method, options, start.size, source.dtype, weight_slices)
    if memory:
        update.restore(_remembered(memory, method))
    learning_rate = update.RATE if learning_rate is None else learning_rate
    step = Stepper(
        run,
        update,
        None if learning_rate is None else as_schedule(learning_rate, "learning_rate"),
        None if clip_norm is None else as_positive(clip_norm, "clip_norm"),
        max_iter,
        average,
    )
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and so is the loss
        theta = start.astype(source.dtype)
    if file is not None:
        file.identity |= {
            "learning_rate": learning_rate,
            "options": update.settings,
            "seed": plain_seed(seed, rng),
        }
        # The run is the last: what it has recorded is left as it is if another one's is refused.
        theta = file.open({"source": source, "step": step, "draws": Draws(rng), "run": run}, theta)
    try:
        descend(source, step, theta, max_iter, file)
    finally:
        if memory is not None:
            memory.clear()
            memory.update(method=method, **update.state())


def _remembered(memory, method):
    """What an `Update` has left in a memory."""
    other = memory.get("method")
    if other != method:
        raise ValueError(
            f"memory: expected that of a run of {method}, got one of {describe(other)}"
        )
    return memory


def descend(source, step, theta, max_epochs, file):
    """Steps until so many epochs are done, one after each evaluation; ends by `Stop`.

    Whatever the run needs to go on stands in its parts and `theta` when an evaluation begins.
    """

    def evaluate(theta):
        is_between = source.epoch > 0 and source.part == 0
        if is_between and not all_finite(theta):
            # The loss of saturated units may yet be finite.
            raise Stop(f"the parameters are not finite in epoch {source.epoch}", NOT_FINITE)
        answer = source.evaluate(theta)
        if is_between:
            step.end_epoch(source.epoch)
        if source.epoch == max_epochs:
            raise Stop(f"{max_epochs} epochs, as many as asked for", status=0, success=True)
        return answer

    if file is not None:
        evaluate = file.keeping(evaluate)
    while True:
        f, g, norm = evaluate(theta)
        theta = source.room(theta)
        step(theta, f, g, norm, source.epoch + source.part)
        source.advance()


class Stepper:
    """One step of a method: its learning rate, the clipped gradient, the update, the average."""

    def __init__(self, run, update, schedule, clip_norm, max_epochs, average):
        self._run = run
        self._update = update
        self._schedule = schedule
        self._clip_norm = clip_norm
        self._max_epochs = max_epochs
        self._average = average

    def state(self):
        schedule = self._schedule
        return {
            "average": {} if self._average is None else self._average.state(),
            "update": self._update.state(),
            "schedule": schedule.state() if hasattr(schedule, "state") else {},
        }

    def restore(self, state):
        self._update.restore(state["update"])
        if self._average is not None:
            self._average.restore(state["average"])
        if hasattr(self._schedule, "restore"):
            self._schedule.restore(state["schedule"])

    def end_epoch(self, epoch):
        """So many epochs are done and recorded."""
        if hasattr(self._schedule, "end_epoch"):
            self._schedule.end_epoch(epoch, self._run.recorder.last)

    def __call__(self, theta, f, g, norm, epoch):
        """Move `theta`, of loss f, along `g`, of this Euclidean norm, after so many epochs."""
        rate = None  # of a method without one
        if self._schedule is not None:
            rate = self._schedule(epoch, self._max_epochs)
            if not (type(rate) is float and 0.0 <= rate < np.inf):  # the name takes its time
                rate = as_number(rate, f"learning_rate({epoch:.6g}, {self._max_epochs:.6g})", 0)
        clips = self._clip_norm is not None and norm > self._clip_norm
        self._update(theta, f, g, rate, self._clip_norm / norm if clips else 1.0)
        if self._average is not None:
            self._average.add(theta)


class Whole:
    """All data at every step; what is recorded is the objective where a step has arrived.

    Parameters
    ----------
    run : Run
    max_epochs : int
    noise : Noise or None
        With noise the recorded objective is the disturbed one where the step has arrived.
    average : Average or None
        With an average it is recorded in the place of where the step has arrived.

    Attributes
    ----------
    dtype : dtype
        Of the parameters that it evaluates.
    epoch : int
        Epochs that are done.
    part : float
        The part of the next one that is done.
    """

    dtype = np.dtype(np.float64)
    part = 0.0

    def __init__(self, run, max_epochs, noise, average):
        self.epoch, self._max_epochs = 0, max_epochs
        self._run = run
        self._noise, self._average = noise, average
        if noise is not None and noise.is_of_data:
            self._all = np.arange(len(run.objective.examples))

    def evaluate(self, theta):
        """Loss, gradient and its norm, for the next step; records what has come to an end."""
        if self._noise is None and self._average is None:
            f, g = self._run(theta)
            if self.epoch:
                self._run.iterate(theta)
            g = np.ascontiguousarray(g)
            return f, g, norm_of(g)
        if self._noise is not None and self._noise.is_of_data:
            f, g, _ = self._noise.on_batch(self._run.objective, theta, self._all)
            g = as_gradient(g, theta)
            self._run.count(f, all_finite(g))
        else:
            f, g = self._run.evaluate(theta if self._noise is None else self._noise.beside(theta))
            g = np.ascontiguousarray(g)
        norm = norm_of(g)
        if self.epoch:
            self._run.arrive(theta if self._average is None else self._average.mean, f, norm)
        else:
            self._run.begin(theta, f, norm)
        return f, g, norm

    def room(self, theta):
        """The parameters in memory that the next step may write to."""
        return theta.copy()  # an objective of one's own may have kept what it was called with

    def state(self):
        return {"epoch": self.epoch}

    def restore(self, state):
        self.epoch = _epochs_done(state, self._max_epochs)

    def advance(self):
        """A step has been made."""
        self.epoch += 1


class Batches:
    """A batch of sequences at every step; what is recorded are an epoch's means.

    Parameters
    ----------
    run : Run
    max_epochs : int
    members : (M,) array of int
        The sequences that have a weight.
    batch_size : int
    batches : str or None
        One of `_ORDERS`; None is "shuffled".
    rng : numpy.random.Generator
        Each epoch takes the members in an order from it.
    noise : Noise or None
    average : Average or None
        Recorded in the place of the parameters at an epoch's end.

    Attributes
    ----------
    dtype, epoch, part
        As those of `Whole`.
    """

    def __init__(self, run, max_epochs, members, batch_size, batches, rng, noise, average):
        objective = run.objective
        self.dtype = objective.net.dtype
        self.epoch, self._max_epochs = 0, max_epochs
        self._run, self._objective = run, objective
        self._batch_size, self._batches = batch_size, batches
        self._rng = rng
        self._noise, self._average = noise, average
        self._members = members
        self._count = -(-len(members) // batch_size)  # batches of an epoch
        self._place = 0  # of the next batch
        self._order = None
        self._sums = 0.0, 0.0, 0.0  # over its batches: weight · loss, weight · norm, weight

    @property
    def part(self):
        return self._place / self._count

    @property
    def _batch(self):
        """The sequences of the next batch."""
        first = self._place * self._batch_size
        return self._order[first : first + self._batch_size]

    def _bucketed(self, order):
        """The members in an order in which sequences of a batch have similar lengths.

        Windows of some batches are sorted by length, and cut into batches, which come in random
        order. Only the last one may have fewer sequences.
        """
        lengths = self._objective.examples.batch.lengths
        window = _WINDOW * self._batch_size
        windows = (order[first : first + window] for first in range(0, len(order), window))
        order = np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows])
        whole = len(order) // self._batch_size * self._batch_size
        batches = self._rng.permutation(order[:whole].reshape(-1, self._batch_size))
        return np.concatenate([batches.ravel(), order[whole:]])

    def _on_data(self, theta):
        """Loss, gradient and weight of the data of the next step."""
        if self._noise is None:
            f, g, weight = self._objective.on_batch(theta, self._batch)
        else:
            f, g, weight = self._noise.on_batch(self._objective, theta, self._batch)
        return f, as_gradient(g, theta), weight

    def evaluate(self, theta):
        """Loss, gradient and its norm, for the next step; records what has come to an end."""
        is_first = self.part == 0
        if is_first:
            self._order = self._rng.permutation(self._members)
            if self._batches == "bucketed":
                self._order = self._bucketed(self._order)
        f, g, weight = self._on_data(theta)
        norm = norm_of(g)
        self._run.count(f, np.isfinite(norm) or all_finite(g))
        if is_first:
            if self.epoch:
                loss, norms, total = self._sums
                reached = theta if self._average is None else self._average.mean
                self._run.arrive(reached.astype(np.float64), loss / total, norms / total)
            else:
                self._run.begin(theta.astype(np.float64), f, norm)
            self._sums = 0.0, 0.0, 0.0
        loss, norms, total = self._sums
        self._sums = loss + weight * f, norms + weight * norm, total + weight
        return f, g, norm

    def room(self, theta):
        """The parameters in memory that the next step may write to."""
        return theta

    def state(self):
        state = {"epoch": self.epoch, "place": self._place, "sums": np.array(self._sums)}
        if self.part:  # else the evaluation draws another
            state["order"] = self._order.astype(np.int64, copy=False)
        return state

    def restore(self, state):
        self.epoch = _epochs_done(state, self._max_epochs)
        self._place = as_integer(state["place"], "place", 0, self._count - 1)
        self._sums = tuple(
            shaped(as_real(state["sums"], "sums", np.float64), "sums", (3,)).tolist()
        )
        if self.epoch + self.part > 0 and not self._sums[2] > 0:
            raise ValueError(f"sums: expected a weight above zero, got {self._sums[2]}")
        if self.part:
            self._order = shaped(state["order"].astype(np.intp), "order", self._members.shape)
            if (np.sort(self._order) != self._members).any():
                raise ValueError("order: expected all sequences that have a weight, got others")

    def advance(self):
        """A step has been made."""
        self._place += 1
        if self._place == self._count:
            self._place = 0
            self.epoch += 1


class Stretches(Batches):
    """Truncated BPTT: a step on every stretch of a batch's sequences, first to last.

    The state goes on from stretch to stretch; the gradient does not go back. A stretch in which
    nothing has weight hands its state on and has no step. The states after the sequences' last
    steps are `run.states`.

    Parameters
    ----------
    run, max_epochs, members, batch_size, batches, rng, noise, average
        As of `Batches`.
    truncate : int
        Time steps of a stretch.
    """

    def __init__(
        self, run, max_epochs, members, batch_size, batches, truncate, rng, noise, average
    ):
        super().__init__(run, max_epochs, members, batch_size, batches, rng, noise, average)
        self._truncate = truncate
        self._step = 0  # the next one of the batch
        self._state = self._state_after = None  # of the batch's sequences, around that step
        self._taken, self._steps = None, ()  # the batch's examples; the stretches of each step
        net, examples = self._objective.net, self._objective.examples
        ends = examples.state
        if ends is None:
            nothing = np.zeros((len(examples), 0, net.input_size), net.dtype)
            features = examples.batch.features
            ends = net.predict(nothing, features=features, return_state=True)[1]
        run.states = deepcopy(ends)

    @property
    def part(self):
        return (self._place + self._step / max(len(self._steps), 1)) / self._count

    def _on_data(self, theta):
        if self._taken is None:
            self._take_batch()
        state, lengths = self._state, self._taken.batch.lengths
        for t0, t1 in self._steps[self._step]:
            examples = self._taken.stretch(t0, t1, state)
            if self._noise is None:
                f, g, weight, after = self._objective.on_stretch(theta, examples)
            else:
                f, g, weight, after = self._noise.on_stretch(self._objective, theta, examples)
            there = lengths > t0
            if there.all():
                state = after
            else:  # those that have ended keep theirs
                state = deepcopy(state)
                put_states(state, there, after)
            if examples.total > 0:
                scored = f, as_gradient(g, theta, "on_stretch"), weight
        self._state_after = state
        return scored

    def _take_batch(self):
        """Take the next batch, and find the stretches of each step: one of them has weight."""
        self._taken = taken = self._objective.examples.take(self._batch)
        self._steps, stretches = [], []
        all_scored = taken.weights.all()
        for t0 in range(0, taken.batch.max_length, self._truncate):
            t1 = min(t0 + self._truncate, taken.batch.max_length)
            stretches.append((t0, t1))
            if all_scored or taken.weights[taken.batch.rows_between(t0, t1)].any():
                self._steps.append(stretches)
                stretches = []
        self._steps[-1] += stretches

    def state(self):
        state = super().state() | {"step": self._step, "ends": _by_name(self._run.states)}
        if self._step:
            state["states"] = _by_name(self._state)
        return state

    def restore(self, state):
        self._step = as_integer(state["step"], "step", 0)
        super().restore(state)
        put_states(
            self._run.states, ..., self._as_states(state["ends"], len(self._objective.examples))
        )
        if self._step:
            self._take_batch()
            as_integer(self._step, "step", 0, len(self._steps) - 1)
            self._state = self._as_states(state["states"], len(self._taken))

    def _as_states(self, named, n):
        """The reverse of `_by_name`, for so many sequences."""
        states = tuple(
            tuple(named[f"{k}_{j}"] for j in range(len(entry)))
            for k, entry in enumerate(self._run.states)
        )
        return self._objective.net.check_state(states, n)

    def advance(self):
        """A step has been made."""
        self._state = self._state_after
        self._step += 1
        if self._step == len(self._steps):
            put_states(self._run.states, self._batch, self._state)
            self._step, self._state, self._taken, self._steps = 0, None, None, ()
            super().advance()


def _by_name(states):
    """States as a dict, for files."""
    return {f"{k}_{j}": v for k, entry in enumerate(states) for j, v in enumerate(entry)}


def scored_members(objective, name, value):
    """The sequences that have a weight, of which batches are made because of an argument."""
    members = np.flatnonzero(objective.examples.sequence_weights() > 0)
    if not len(members):
        raise ValueError(f"{name}: expected None where no sequence has a weight, got {value}")
    return members


def _epochs_done(state, max_epochs):
    """The epochs that a run in a file has done; raises if fewer are asked for."""
    epoch = as_integer(state["epoch"], "epoch", 0)
    if epoch > max_epochs:
        raise ValueError(f"max_epochs: expected at least the {epoch} it has done, got {max_epochs}")
    return epoch


def as_gradient(g, theta, source="on_batch"):
    """What a method of Objective gives, which a class derived from it may have of its own."""
    is_array = type(g) is np.ndarray and g.flags.c_contiguous
    if is_array and g.dtype == theta.dtype and g.shape == theta.shape:
        return g
    name = f"the gradient of {source}"
    return np.ascontiguousarray(shaped(as_real(g, name, theta.dtype), name, theta.shape))


def norm_of(g):
    return float(np.sqrt(kernels.sum_of_squares(g)))

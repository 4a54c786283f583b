"""A network's loss and its gradient: BPTT in one stretch, or segment by segment (checkpoints).

The tape of T steps is what training needs memory for. With checkpoints a first pass keeps only the
states at the beginnings of segments; then, from the last segment to the first, each is run again
with its tape and backpropagated through. With segments of about √T steps, both the states and one
segment's tape, outputs and deltas are O(√T); each forward step but the last segment's is done twice
(A. Griewank, *Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
differentiation*, Optimization Methods and Software 1, 1992; T. Chen et al., arXiv:1604.06174).

The gradient has the same bits either way: segments begin only where the kernels' chunks do, between
which the weights' gradients are summed up anyhow.
"""

import weakref
from bisect import bisect_left
from copy import copy
from itertools import pairwise
from math import isqrt

import numpy as np

from ._checks import describe, rows_contiguous
from ._dispatch import kernels
from .losses._compiled import kernel_of, loss_threads
from .sequences import Rows


def segments(layers, batch, dtype, checkpoint):
    """Where to cut a batch: the pairs (t0, t1), first to last.

    Parameters
    ----------
    layers : sequence of Layer
        Those that see the batch's time steps.
    batch : Batch
    dtype : dtype
    checkpoint : int, True or None
        Steps of a segment at least; True is √T; None is one segment.
    """
    L = batch.max_length
    if checkpoint is None or L == 0:
        return [(0, L)]
    steps = isqrt(L - 1) + 1 if checkpoint is True else checkpoint
    # Powers of two: where a chunk of the largest begins, one begins in every layer.
    chunk = max(layer.chunk_rows(dtype, batch.size) for layer in layers)
    bounds = [0]
    while bounds[-1] < L:
        t = min(bounds[-1] + steps, L)
        row = (batch.rows_before(t - 1) // chunk + 1) * chunk
        bounds.append(bisect_left(range(L), row, t, min(t + chunk, L), key=batch.rows_before))
    return list(pairwise(bounds))


class Evaluation:
    """One evaluation of the loss, and of its gradient, at given weights.

    Parameters
    ----------
    body, head : Chain
        The layers that see time steps, and those after the readout.
    readout : type
        The `Readout`.
    batch : Batch
    score : Terms or Products
        Called with pre-activations it gives their value and delta.
    checkpoint : int, True or None
        See `segments`.
    initial : list, optional
        The states before the first step, in the place of the layers' own.
    entry : tuple of arrays, optional
        That of the readout, which goes with `initial`.
    final : list, optional
        Overwritten with the states after the last step.

    Attributes
    ----------
    reading : Readout
        After an evaluation, where all outputs have been scored at once.
    dstates : list
        After one with a gradient, dL/d(initial states), in the workspace.
    dfeatures : (B, F) array or None
        After one with a gradient, dL/d(features), where initial states are a function of some.
    """

    def __init__(
        self, body, head, readout, batch, score, checkpoint, initial=None, entry=None, final=None
    ):
        workspace = body.workspace
        self._body, self._head = body, head
        self._readout, self._score_rows = readout, score
        self._batch, self._workspace = batch, workspace
        self._is_given, self._entry, self._final = initial is not None, entry, final
        self.reading = None
        self._cuts = segments(body.layers, batch, workspace.dtype, checkpoint)
        whole = len(self._cuts) == 1
        self._segments = [batch] if whole else [batch.segment(t0, t1) for t0, t1 in self._cuts]
        self._last = len(self._segments) - 1
        # at the segments' beginnings and, in the end, after the last
        self._states = [initial if self._is_given else body.initial(batch)]

    def value(self):
        """The loss."""
        if self._scores_segments:
            run = self._without_tape(self._last + 1, self._room)
            return sum(self._score(j, y)[0] for j, y, _ in run)
        return self._score_rows(self.outputs())[0]

    def outputs(self):
        """The output pre-activations, rows (N, K) or (B, K), in memory of the workspace."""
        reading = self._begin_reading()
        for j, y, final in self._without_tape(self._last + 1, reading.room):
            reading.take(y, self._segments[j], final[-1])
        return self._head.forward_rows(reading.read())[0]

    def value_and_gradient(self, gradient, dfinal=None, dentry=None, dx=None):
        """The loss; its gradient is written into views, lists of `Weights` for all layers.

        Parameters
        ----------
        gradient : list
        dfinal : list, optional
            What dL/d(final states) has beside what comes from the outputs.
        dentry : tuple of arrays, optional
            The same of the readout's entry.
        dx : (N, I) array, optional
            dL/dx is added to it.
        """
        self._dx = dx
        self.dstates = self._body.zero_states(self._batch.size)
        self._buffers = self._body.gradient_buffers()
        head_buffers = self._head.gradient_buffers()
        if self._scores_segments:
            value = self._by_segment(dfinal)
        else:
            value = self._at_once(head_buffers, dfinal, dentry)
        n = len(self._body.layers)
        dlearned = self.dstates
        if self._is_given:  # in the place of those that are learned
            dlearned = self._body.zero_states(self._batch.size)
        self._body.unpack(self._buffers, dlearned, gradient[:n])
        m = n + len(self._head.layers)
        self._head.unpack_rows(head_buffers, gradient[n:m])
        self.dfeatures = self._body.unpack_start(dlearned, gradient[m:])
        return value

    @property
    def _scores_segments(self):
        """Whether a segment's outputs can be scored without the others'."""
        return self._readout.per_step and self._score_rows.takes_segments

    def _by_segment(self, dfinal):
        """Every segment is scored by itself and backpropagated through, last to first."""
        for _ in self._without_tape(self._last):
            pass
        self._add_to_final(dfinal)
        values = []
        for j in range(self._last, -1, -1):
            mark = self._workspace.mark
            y = self._room(self._segments[j])
            tapes = self._with_tape(j, y, self._final if j == self._last else None)
            value, delta = self._score(j, y)
            self._back(j, tapes, delta)
            self._workspace.drop(mark)
            values.append(value)
        return sum(reversed(values))

    def _at_once(self, head_buffers, dfinal, dentry):
        """All outputs, or what is read out of them, are scored once."""
        last, reading = self._last, self._begin_reading()
        for j, y, final in self._without_tape(last, reading.room):
            reading.take(y, self._segments[j], final[-1])
        mark = self._workspace.mark
        final = self._final
        if final is None and reading.sees_final:
            final = self._body.state_arrays(self._batch.size)
        y = reading.room(self._segments[last])
        tapes = self._with_tape(last, y, final)
        reading.take(y, self._segments[last], final and final[-1])

        a, kept = self._head.forward_rows(reading.read(), training=True)
        value, delta = self._score_rows(a)
        dread = self._head.backward_rows(kept, delta, head_buffers)
        reading.spread(dread, self.dstates[-1], dentry)
        self._add_to_final(dfinal)
        for j in range(last, -1, -1):
            if j < last:
                y, tapes = None, self._with_tape(j, None)
            self._back(j, tapes, reading.dy(self._segments[j], self._cuts[j][0], y))
            self._workspace.drop(mark)
        return value

    def _begin_reading(self):
        layer = self._body.layers[-1]
        self.reading = self._readout(layer, self._batch, self._workspace, self._entry)
        return self.reading

    def _add_to_final(self, dfinal):
        if dfinal is not None:
            for mine, given in zip(self.dstates, dfinal, strict=True):
                for arrays, values in zip(mine, given, strict=True):
                    for array, value in zip(arrays, values, strict=True):
                        array += value

    def _without_tape(self, n, room=None):
        """Run the first n segments, keeping the states between them: (j, outputs, final states).

        `room(segment)` gives memory for the outputs, which is taken back after each.
        """
        for j in range(n):
            segment, final = self._segments[j], self._final
            if j < self._last or final is None:
                final = self._body.state_arrays(self._batch.size)
            mark = self._workspace.mark
            y = None if room is None else room(segment)
            self._body.forward(segment, self._states[j], y, final)
            self._states.append(final)
            yield j, y, final
            self._workspace.drop(mark)

    def _with_tape(self, j, y, final=None):
        """Run segment j, with outputs y if wanted, for `_back`: its tapes."""
        return self._body.forward(self._segments[j], self._states[j], y, final, training=True)

    def _back(self, j, tapes, dy):
        """Backpropagate through segment j."""
        dx = self._dx
        if dx is not None:
            t0 = self._cuts[j][0]
            dx = Rows(dx, self._batch.first + t0 if t0 else self._batch.first)
        self._body.backward(self._segments[j], tapes, dy, self.dstates, dx, self._buffers)

    def _room(self, segment):
        """Memory for the outputs of a segment."""
        return Rows(self._workspace.take(segment.n_steps, self._body.output_size), segment.first)

    def _score(self, j, y):
        """Value and delta of the outputs y of segment j."""
        rows = self._batch.rows_between(*self._cuts[j]) if self._last else None
        value, delta = self._score_rows(y.values, rows)
        return value, Rows(delta, y.first)


class Terms:
    """The loss of examples.

    Parameters
    ----------
    loss : Loss
    examples : Examples
    n_threads : int or None

    Attributes
    ----------
    takes_segments : bool
        Whether some of the rows can be scored without the others.
    """

    def __init__(self, loss, examples, n_threads):
        self._loss, self._examples, self._n_threads = loss, examples, n_threads
        self._kernel = kernel_of(loss)
        self._options = {"n_threads": n_threads} if loss.takes_threads else {}
        self.takes_segments = loss.terms == "steps"

    def __call__(self, a, rows=None):
        """Value and delta of pre-activations, which may be overwritten; `rows` None is all."""
        targets, weights = self._examples.targets, self._examples.weights
        if rows is not None:
            targets, weights = targets.take(rows), weights[rows]
        if self._kernel is not None:
            threads = loss_threads(*a.shape, a.dtype, self._n_threads)
            scale = self._examples.scale
            options = scale, threads, self._loss.form
            value = kernels.loss_rows(self._kernel, a, targets.values, weights, *options)
            return value, a
        lengths = None if self.takes_segments else self._examples.batch.lengths
        value, delta = self._loss.value_and_delta(
            a, targets, weights * self._examples.scale, lengths, **self._options
        )
        # The kernels would read another form's memory as if it were this one.
        if type(delta) is not np.ndarray or delta.shape != a.shape or delta.dtype != a.dtype:
            raise ValueError(
                f"loss: expected a delta of shape {a.shape} and dtype {a.dtype} from "
                f"{self._loss!r}, got {describe(delta)}"
            )
        return float(value), rows_contiguous(delta)


class Products:
    """What is asked of the outputs where dL/dy is given: no value, and delta.

    Parameters
    ----------
    units : OutputUnits
    dy : (N, K) array or callable
        A callable gives it for the outputs, which are its own to keep.
    """

    def __init__(self, units, dy):
        self._units, self._dy = units, dy
        self.takes_segments = not callable(dy)

    def __call__(self, a, rows=None):
        """As of `Terms`; the value is 0."""
        if not self.takes_segments:
            y = a.copy()
            self._units.apply(y)
            dy = self._dy(y)
        else:
            dy = self._dy if rows is None else self._dy[rows]
        return 0.0, self._units.backward(a, dy)


class Linearization:
    """The outputs of examples at given weights, and the tapes, so that Jᵀu is a backward pass.

    Any number of threads may ask for products.

    Parameters
    ----------
    body, head : Chain
        Their workspace is nobody else's, and belongs to this object as long as it lives.
    readout : type
    batch : Batch
    pool : WorkspacePool
        Of that workspace, and of those of products.
    initial, entry
        As of `Evaluation`.

    Attributes
    ----------
    a : (N, K) or (B, K) array
        The output pre-activations.
    """

    def __init__(self, body, head, readout, batch, pool, initial=None, entry=None):
        self._body, self._head, self._batch, self._pool = body, head, batch, pool
        self._is_given = initial is not None
        weakref.finalize(self, pool.release, body.workspace)
        self._reading = reading = readout(body.layers[-1], batch, body.workspace, entry)
        if initial is None:
            initial = body.initial(batch)
        final = body.state_arrays(batch.size)
        y = reading.room(batch)
        self._tapes = body.forward(batch, initial, y, final, training=True)
        reading.take(y, batch, final[-1])
        self.a, self._kept = head.forward_rows(reading.read(), training=True)

    def pull(self, u, gradient):
        """Jᵀu, written into views, lists of `Weights` for all layers.

        Parameters
        ----------
        u : array
            Rows as `a` has them.
        gradient : list
        """
        workspace = self._pool.acquire()
        body, head, batch = self._body.within(workspace), self._head.within(workspace), self._batch
        buffers, head_buffers = body.gradient_buffers(), head.gradient_buffers()
        dstates = body.zero_states(batch.size)
        reading = copy(self._reading)  # which keeps what it spreads
        reading.spread(head.backward_rows(self._kept, u, head_buffers), dstates[-1])
        y = None
        if reading.sees_steps and not reading.per_step:
            y = Rows(workspace.take(batch.n_steps, body.output_size), batch.first)
        body.backward(batch, self._tapes, reading.dy(batch, 0, y), dstates, None, buffers)
        n = len(body.layers)
        if self._is_given:  # in the place of those that are learned
            dstates = body.zero_states(batch.size)
        body.unpack(buffers, dstates, gradient[:n])
        m = n + len(head.layers)
        head.unpack_rows(head_buffers, gradient[n:m])
        body.unpack_start(dstates, gradient[m:])
        self._pool.release(workspace)

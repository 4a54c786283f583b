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

from bisect import bisect_left
from itertools import pairwise
from math import isqrt

import numpy as np

from ._checks import describe, rows_contiguous
from ._dispatch import kernels
from .losses import kernel_of, loss_threads
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
    chunk = max(kernels.chunk_rows(layer.kernel_cell(dtype), batch.size) for layer in layers)
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
    loss : Loss
    examples : Examples
    checkpoint : int, True or None
        See `segments`.
    n_threads : int or None
        Of the loss; the chains have their own.
    """

    def __init__(self, body, head, readout, loss, examples, checkpoint, n_threads):
        batch, workspace = examples.batch, body.workspace
        self._body, self._head = body, head
        self._readout, self._loss, self._examples = readout, loss, examples
        self._kernel, self._n_threads = kernel_of(loss), n_threads
        self._batch, self._workspace = batch, workspace
        self._cuts = segments(body.layers, batch, workspace.dtype, checkpoint)
        whole = len(self._cuts) == 1
        self._segments = [batch] if whole else [batch.segment(t0, t1) for t0, t1 in self._cuts]
        self._last = len(self._segments) - 1
        # at the segments' beginnings and, in the end, after the last
        self._states = [body.initial(batch.size)]

    def value(self):
        """The loss."""
        if self._scores_segments:
            run = self._without_tape(self._last + 1, self._room)
            return sum(self._score(j, y)[0] for j, y, _ in run)
        reading = self._begin_reading()
        for j, y, final in self._without_tape(self._last + 1, reading.room):
            reading.take(y, self._segments[j], final[-1])
        return self._score_once(self._head.forward_rows(reading.read())[0])[0]

    def value_and_gradient(self, gradient):
        """The loss; its gradient is written into views, lists of `Weights` for all layers."""
        self._dstates = self._body.zero_states(self._batch.size)
        self._buffers = self._body.gradient_buffers()
        head_buffers = self._head.gradient_buffers()
        value = self._by_segment() if self._scores_segments else self._at_once(head_buffers)
        n = len(self._body.layers)
        self._body.unpack(self._buffers, self._dstates, gradient[:n])
        self._head.unpack_rows(head_buffers, gradient[n:])
        return value

    @property
    def _scores_segments(self):
        """Whether a segment's outputs can be scored without the others'."""
        return self._readout.per_step and self._loss.terms == "steps"

    def _by_segment(self):
        """Every segment is scored by itself and backpropagated through, last to first."""
        for _ in self._without_tape(self._last):
            pass
        values = []
        for j in range(self._last, -1, -1):
            mark = self._workspace.mark
            y = self._room(self._segments[j])
            tapes = self._with_tape(j, y)
            value, delta = self._score(j, y)
            self._back(j, tapes, delta)
            self._workspace.drop(mark)
            values.append(value)
        return sum(reversed(values))

    def _at_once(self, head_buffers):
        """All outputs, or what is read out of them, are scored once."""
        last, reading = self._last, self._begin_reading()
        for j, y, final in self._without_tape(last, reading.room):
            reading.take(y, self._segments[j], final[-1])
        mark = self._workspace.mark
        final = self._body.state_arrays(self._batch.size) if reading.sees_final else None
        y = reading.room(self._segments[last])
        tapes = self._with_tape(last, y, final)
        reading.take(y, self._segments[last], final and final[-1])

        a, kept = self._head.forward_rows(reading.read(), training=True)
        value, delta = self._score_once(a)
        dread = self._head.backward_rows(kept, delta, head_buffers)
        reading.spread(dread, self._dstates[-1])
        for j in range(last, -1, -1):
            if j < last:
                y, tapes = None, self._with_tape(j, None)
            self._back(j, tapes, reading.dy(self._segments[j], self._cuts[j][0], y))
            self._workspace.drop(mark)
        return value

    def _begin_reading(self):
        return self._readout(self._body.layers[-1], self._batch, self._workspace)

    def _without_tape(self, n, room=None):
        """Run the first n segments, keeping the states between them: (j, outputs, final states).

        `room(segment)` gives memory for the outputs, which is taken back after each.
        """
        for j in range(n):
            segment = self._segments[j]
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
        self._body.backward(self._segments[j], tapes, dy, self._dstates, None, self._buffers)

    def _room(self, segment):
        """Memory for the outputs of a segment."""
        return Rows(self._workspace.take(segment.n_steps, self._body.output_size), segment.first)

    def _score(self, j, y):
        """Value and delta of the outputs y of segment j."""
        targets, weights = self._examples.targets, self._examples.weights
        if self._last:
            rows = self._batch.rows_between(*self._cuts[j])
            targets, weights = targets.take(rows), weights[rows]
        value, delta = self._value_and_delta(y.values, targets, weights)
        return value, Rows(delta, y.first)

    def _score_once(self, a):
        """Value and delta of all outputs."""
        return self._value_and_delta(a, self._examples.targets, self._examples.weights)

    def _value_and_delta(self, a, targets, weights):
        if self._kernel is not None:
            threads = loss_threads(*a.shape, a.dtype, self._n_threads)
            scale = self._examples.scale
            value = kernels.loss_rows(self._kernel, a, targets.values, weights, scale, threads)
            return value, a
        lengths = self._batch.lengths if self._loss.terms == "sequences" else None
        value, delta = self._loss.value_and_delta(
            a, targets, weights * self._examples.scale, lengths
        )
        # The kernels would read another form's memory as if it were this one.
        if type(delta) is not np.ndarray or delta.shape != a.shape or delta.dtype != a.dtype:
            raise ValueError(
                f"loss: expected a delta of shape {a.shape} and dtype {a.dtype} from "
                f"{self._loss!r}, got {describe(delta)}"
            )
        return float(value), rows_contiguous(delta)

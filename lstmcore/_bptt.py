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

from ._chain import mean_of
from ._dispatch import kernels


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
    """One evaluation of the loss, and of its gradient if wanted, at given weights.

    Parameters
    ----------
    body, head : Chain
        The layers that see time steps, and those behind the readout.
    readout : str
    loss : Loss
    examples : Examples
    cuts : list of (int, int)
        From `segments`.
    initial : list
        The body's initial states.
    workspace : Workspace
    gradient : bool
    """

    def __init__(self, body, head, readout, loss, examples, cuts, initial, workspace, gradient):
        batch = examples.batch
        whole = len(cuts) == 1
        self._body, self._head = body, head
        self._readout, self._loss = readout, loss
        self._examples, self._batch, self._workspace = examples, batch, workspace
        self._cuts = cuts
        self._segments = [batch] if whole else [batch.segment(t0, t1) for t0, t1 in cuts]
        self._states = [initial]  # at the segments' beginnings and, in the end, after the last
        self._wants_gradient = gradient
        if gradient:
            self._dstates = body.zero_states(batch.size)
            self._buffers = body.gradient_buffers()
            self._head_buffers = head.gradient_buffers()

    def value(self):
        """The loss; done once, before `gradient`."""
        return self._by_step() if self._readout == "all" else self._by_sequence()

    def gradient(self, body, head):
        """Write the gradient into its views for the two chains, lists of `Weights`."""
        self._body.unpack(self._buffers, self._dstates, body)
        if head:
            self._head.unpack(self._head_buffers, self._head.zero_states(0), head)

    def _by_step(self):
        """Every step's outputs are scored, one segment's at a time."""
        last = len(self._segments) - 1
        if not self._wants_gradient:
            return sum(self._score(j, y)[0] for j, y in self._without_tape(last + 1, True))
        for _ in self._without_tape(last, False):
            pass
        values = []
        for j in range(last, -1, -1):
            mark = self._workspace.mark
            y, tapes = self._with_tape(j, True)
            value, delta = self._score(j, y)
            self._back(j, tapes, delta)
            self._workspace.drop(mark)
            values.append(value)
        return sum(reversed(values))

    def _by_sequence(self):
        """The sequences are read out, and scored once."""
        batch, last = self._batch, len(self._segments) - 1
        is_mean = self._readout == "mean"
        for j, y in self._without_tape(last if self._wants_gradient else last + 1, is_mean):
            self._read_out(j, y)
        mark = self._workspace.mark
        if self._wants_gradient:
            self._states.append(self._body.state_arrays(batch.size))
            y, tapes = self._with_tape(last, is_mean, self._states[-1])
            self._read_out(last, y)

        a, kept = self._head.forward_rows(self._read, self._wants_gradient)
        examples = self._examples
        value, delta = self._loss.value_and_delta(
            a, examples.targets, examples.weights * examples.scale, batch.lengths
        )
        if not self._wants_gradient:
            return value
        dread = self._head.backward_rows(kept, delta, self._head_buffers)
        if is_mean:
            dmean = mean_of(dread, batch.lengths)[:, None]
        else:
            self._body.set_outputs(self._dstates, dread)
        for j in range(last, -1, -1):
            if j < last:
                _, tapes = self._with_tape(j, False)
            dy = None
            if is_mean:  # the same at every step
                length = self._segments[j].max_length
                dy = np.broadcast_to(dmean, (batch.size, length, dmean.shape[2]))
            self._back(j, tapes, dy)
            self._workspace.drop(mark)
        return value

    def _without_tape(self, n, with_outputs):
        """Run the first n segments, keeping the states between them; yields (j, outputs)."""
        for j in range(n):
            final = self._body.state_arrays(self._batch.size)
            mark = self._workspace.mark
            y = self._room(j) if with_outputs else None
            self._body.forward(self._segments[j], self._states[j], y, final)
            self._states.append(final)
            yield j, y
            self._workspace.drop(mark)

    def _with_tape(self, j, with_outputs, final=None):
        """Run segment j for `_back`: (outputs, tapes)."""
        y = self._room(j) if with_outputs else None
        return y, self._body.forward(self._segments[j], self._states[j], y, final, training=True)

    def _back(self, j, tapes, dy):
        """Backpropagate through segment j."""
        self._body.backward(self._segments[j], tapes, dy, self._dstates, None, self._buffers)

    def _room(self, j):
        """Room for the outputs of segment j, finite where no step is."""
        segment = self._segments[j]
        take = self._workspace.take_zeros if segment.is_padded else self._workspace.take
        return take(segment.size, segment.max_length, self._body.output_size)

    def _score(self, j, y):
        """Value and delta of segment j."""
        (t0, t1), examples = self._cuts[j], self._examples
        weights = examples.weights[:, t0:t1] * examples.scale
        lengths = self._segments[j].lengths
        return self._loss.value_and_delta(y, examples.targets[:, t0:t1], weights, lengths)

    def _read_out(self, j, y):
        """Take in that segment j has been run, with outputs y; after the last, `_read` is ready."""
        at_end = j == len(self._segments) - 1
        if self._readout == "mean":
            if j == 0:
                shape = self._batch.size, self._body.output_size
                self._read = np.zeros(shape, self._workspace.dtype)
            kernels.add_over_time(y, self._segments[j].lengths, self._read)
            if at_end:
                self._read = mean_of(self._read, self._batch.lengths)
        elif at_end:
            self._read = self._body.outputs(self._states[-1])

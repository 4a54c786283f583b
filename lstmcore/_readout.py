"""Readouts: what the layers after the last recurrent layer see of its outputs.

A further readout is one more class in `READOUTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._checks import as_choice
from ._dispatch import kernels
from .sequences import Rows

if TYPE_CHECKING:
    from .cells import Layer

__all__ = ["READOUTS", "Parts", "cut"]


class Readout:
    """One reading of a layer's outputs over one batch, in one stretch or in several.

    For every stretch of time steps, first to last, `room` gives the memory for the outputs and
    `take` reads them; then `read` gives what has been read out. For the gradient `spread` is
    called once with dL/d(read), then `dy` for every stretch, in any order, and `dentry`.

    Parameters
    ----------
    layer : Layer
        The layer that is read out.
    batch : Batch
        All of it.
    memory : Workspace or Fresh
        Its arrays are used until the reading is done with.
    entry : tuple of arrays, optional
        What `entry` gave after the steps before, to continue from there.

    Attributes
    ----------
    name : str
        What ``Network(readout=...)`` calls it.
    summary : str
        What `Network.summary` prints.
    per_step : bool
        Whether what is read has the time axis.
    sees_steps : bool
        Whether `take` reads the outputs of every step, and
    sees_final : bool
        whether it reads the states after the last step.
    stream_code : int
        What a stream's compiled side does at every step: 0 takes the step's outputs as they are,
        1 their mean so far, 2 their maximum so far.
    """

    name: str | None = None
    summary: str | None = None
    per_step = False
    sees_steps = True
    sees_final = False
    stream_code = 0

    def __init__(self, layer, batch, memory, entry=None):
        self._layer = layer
        self._batch = batch
        self._memory = memory

    @classmethod
    def of(cls, layer):
        """The class that reads this layer."""
        return cls

    @staticmethod
    def entry_shapes(layer):
        """Shapes of its entry in a network's state, for one sequence; None where it has none."""

    @classmethod
    def initial_entry(cls, layer, batch_size, dtype):
        """The entry before the first step, as fresh arrays; None where it has none."""
        shapes = cls.entry_shapes(layer)
        return shapes and tuple(np.zeros((batch_size, *shape), dtype) for shape in shapes)

    def room(self, segment):
        """Memory for the outputs of a stretch, `Rows`, or None if they are not asked for."""
        if not self.sees_steps:
            return None
        return Rows(self._memory.take(segment.n_steps, self._layer.output_size), segment.first)

    def take(self, y, segment, final):
        """Read the outputs y of a stretch, from `room`, and the states `final` after it."""
        raise NotImplementedError

    def read(self):
        """What has been read out: (B, H), or rows (N, H) where nothing is."""
        raise NotImplementedError

    def entry(self):
        """What continues this reading, fresh arrays; None where it has no entry."""
        return None

    def spread(self, dread, dfinal, dentry=None):
        """Take dL/d(read), and dL/d(entry) beside it; the final states' is written to `dfinal`."""
        self._dread = dread

    def dentry(self):
        """dL/d(the entry before), fresh arrays; None where it has no entry."""
        return None

    def dy(self, segment, t0, y):
        """dL/dy of a stretch that begins at step t0, `Rows`, or None for zero.

        `y` is None, or memory of its form that may be overwritten: where the outputs were.
        """
        return None

    def _begin(self, entry):
        """The entry that this reading begins with, to be written to."""
        if entry is None:
            return self.initial_entry(self._layer, self._batch.size, self._memory.dtype)
        return tuple(values.copy() for values in entry)

    def _zeros(self, segment, y):
        if y is None:
            values = self._memory.take_zeros(segment.n_steps, self._layer.output_size)
            return Rows(values, segment.first)
        y.values.fill(0)
        return y


class All(Readout):
    """Nothing is read out: the network has outputs at every step."""

    name = "all"
    per_step = True

    def __init__(self, layer, batch, memory, entry=None):
        super().__init__(layer, batch, memory)
        self._y = memory.take(batch.n_steps, layer.output_size)
        self._t = 0

    def room(self, segment):
        t0 = self._t
        self._t += segment.max_length
        return self._rows(self._y, t0)

    def take(self, y, segment, final):
        pass  # the outputs are where they belong

    def read(self):
        return self._y

    def dy(self, segment, t0, y):
        return self._rows(self._dread, t0)

    def _rows(self, values, t0):
        """The rows of all steps, for who counts the steps from t0."""
        return Rows(values, self._batch.first + t0 if t0 else self._batch.first)


class Last(Readout):
    """The final output: of every direction the one that it gives when it has read all steps."""

    name = "last"
    summary = "last output"
    sees_steps = False
    sees_final = True

    def take(self, y, segment, final):
        self._final = final

    def read(self):
        H = self._layer.hidden_size
        return np.concatenate([states[0][:, :H] for states in self._final], axis=1)

    def spread(self, dread, dfinal, dentry=None):
        H = self._layer.hidden_size
        for d, states in enumerate(dfinal):
            states[0][:, :H] = dread[:, d * H : (d + 1) * H]


class LastStep(Last):
    """The output at each sequence's own last time step; without any, the initial output.

    A direction that reads in reverse has seen one step then.
    """

    name = "last_step"
    summary = "output of the last step"
    sees_steps = True

    @classmethod
    def of(cls, layer):
        return cls if layer.reads_ahead else Last

    def take(self, y, segment, final):
        super().take(y, segment, final)
        self._read = super().read()
        there, last = self._last_steps()  # in y, for a layer that reads ahead has one stretch
        self._read[there] = y.values[last]

    def read(self):
        return self._read

    def spread(self, dread, dfinal, dentry=None):
        self._dread = dread
        there, _ = self._last_steps()
        without_steps = dread.copy()
        without_steps[there] = 0
        super().spread(without_steps, dfinal)

    def dy(self, segment, t0, y):
        dy = self._zeros(segment, y)
        there, last = self._last_steps()
        dy.values[last] = self._dread[there]
        return dy

    def _last_steps(self):
        """The sequences that have steps, and the row of each one's last."""
        there = np.flatnonzero(self._batch.lengths)
        return there, self._batch.offsets[1:][there] - 1


class Mean(Readout):
    """The mean over a sequence's own steps; 0 for none. Its entry is (total, count)."""

    name = "mean"
    summary = "mean over time"
    stream_code = 1

    def __init__(self, layer, batch, memory, entry=None):
        super().__init__(layer, batch, memory)
        self._total, self._count = self._begin(entry)

    @staticmethod
    def entry_shapes(layer):
        return (layer.output_size,), ()

    def take(self, y, segment, final):
        kernels.add_over_time(y.values, y.first, segment.order, segment.ranked, self._total)
        self._count = self._count + segment.lengths.astype(self._count.dtype)

    def read(self):
        return _mean(self._total, self._count)

    def entry(self):
        return self._total, self._count

    def spread(self, dread, dfinal, dentry=None):
        self._each = _mean(dread, self._count)  # the same at every step
        if dentry is not None:
            self._each += dentry[0]

    def dentry(self):
        return self._each.copy(), np.zeros_like(self._count)

    def dy(self, segment, t0, y):
        each = self._each[:, None]
        shape = len(each), segment.max_length, each.shape[2]
        return Rows(np.broadcast_to(each, shape), segment.order)


class Max(Readout):
    """The maximum over a sequence's own steps, unit by unit; 0 for none.

    Its entry is (largest, count). The gradient goes to the first step that has the maximum.
    """

    name = "max"
    summary = "maximum over time"
    stream_code = 2

    def __init__(self, layer, batch, memory, entry=None):
        super().__init__(layer, batch, memory)
        self._largest, self._count = self._begin(entry)
        # the step that has it; -1 where it was before
        self._first = np.full(self._largest.shape, -1, np.intp)
        self._t = 0

    @staticmethod
    def entry_shapes(layer):
        return (layer.output_size,), ()

    def take(self, y, segment, final):
        kernels.max_over_time(
            y.values,
            y.first,
            segment.order,
            segment.ranked,
            self._count,
            self._t,
            self._largest,
            self._first,
        )
        self._t += segment.max_length
        self._count = self._count + segment.lengths.astype(self._count.dtype)

    def read(self):
        return self._largest.copy()

    def entry(self):
        return self._largest, self._count

    def spread(self, dread, dfinal, dentry=None):
        self._dread = dread if dentry is None else dread + dentry[0]

    def dentry(self):
        return np.where(self._first < 0, self._dread, 0), np.zeros_like(self._count)

    def dy(self, segment, t0, y):
        dy = self._zeros(segment, y)
        step = self._first - t0  # counted in this stretch
        b, unit = np.nonzero((step >= 0) & (step < segment.lengths[:, None]))
        dy.values[segment.offsets[b] + step[b, unit], unit] = self._dread[b, unit]
        return dy


READOUTS = {readout.name: readout for readout in (All, Last, Mean, Max, LastStep)}


def _mean(total, count):
    """The mean that a sum (B, H) over `count` (B,) steps gives; 0 for no steps."""
    return total / np.maximum(count, 1).astype(total.dtype)[:, None]


@dataclass(frozen=True, slots=True)
class Parts:
    """A network's layers, cut where they are read out.

    Attributes
    ----------
    layers : tuple of Layer
    body, head : slice
        The layers that see time steps, up to the one that is read out, and those after it.
    readout : type
        The `Readout`.
    """

    layers: tuple[Layer, ...]
    body: slice
    head: slice
    readout: type

    @property
    def read_layer(self):
        """The number of the layer that is read out."""
        return self.body.stop - 1


def cut(layers, name):
    """The `Parts` of checked layers with the readout called `name`."""
    readout = READOUTS[as_choice(name, "readout", READOUTS)]
    recurrent = [k for k, layer in enumerate(layers) if layer.is_recurrent]
    if readout.per_step:
        seen = len(layers)
    elif recurrent:
        seen = recurrent[-1] + 1
    else:
        raise ValueError(f"readout: expected 'all' without a recurrent layer, got {name!r}")
    readout = readout.of(layers[seen - 1])
    return Parts(tuple(layers), slice(0, seen), slice(seen, len(layers)), readout)

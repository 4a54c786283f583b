"""`Trace`: every gate, state and output of a network at every step, and its gradient over time.

A forward pass keeps on its tape what BPTT asks for. Here it is read for people: by name, in the
order of the sequences and of their steps.
"""

import numpy as np

from ._dispatch import kernels
from .sequences import Rows


class Trace:
    """One forward pass with its tapes.

    Parameters
    ----------
    body, head : Chain
        The layers that see time steps, and those after the readout.
    readout : type
        The `Readout`.
    batch : Batch
    initial : list, optional
        The states before the first step, in the place of the layers' own.
    entry : tuple of arrays, optional
        That of the readout, which goes with `initial`.
    """

    def __init__(self, body, head, readout, batch, initial=None, entry=None):
        self._body, self._head, self._batch = body, head, batch
        self._workspace = workspace = body.workspace
        self._reading = reading = readout(body.layers[-1], batch, workspace, entry)
        if initial is None:
            initial = body.initial(batch)
        final = body.state_arrays(batch.size)
        y = reading.room(batch)
        if y is None:  # the readout sees the final states alone
            y = Rows(workspace.take(batch.n_steps, body.output_size), batch.first)
        self._tapes = body.forward(batch, initial, y, final, training=True)
        reading.take(y, batch, final[-1])
        self._y, self._read = y, reading.read()
        self._a, self._kept = head.forward_rows(self._read, training=True)
        # Row s of a tape: before step t come starts[t] rows, the last before[t] of which are the
        # states that step t begins with, by rank; then the active[t] rows of step t.
        active = np.searchsorted(-batch.ranked, -np.arange(batch.max_length))
        self._active = active
        self._before = np.concatenate([[batch.size], active])[: batch.max_length]
        self._starts = np.concatenate([[0], np.cumsum(self._before)])

    def values(self, units):
        """All that there is, by name, as fresh arrays in the form of the inputs.

        Parameters
        ----------
        units : OutputUnits
            Of the network.
        """
        arrange, named = self._batch.arrange, {}
        inputs_above = [x.values for x, _ in self._tapes[1:]]
        for k, (layer, y) in enumerate(
            zip(self._body.layers, [*inputs_above, self._y.values], strict=True)
        ):
            for d, prefix in enumerate(layer.prefixes):
                own = y[:, d * layer.hidden_size : (d + 1) * layer.hidden_size]
                for name, rows in self._fields(k, d).items():
                    named[f"{k}.{prefix}{name}"] = arrange(rows)
                name = "h" if layer.is_recurrent else "y"
                named[f"{k}.{prefix}{name}"] = arrange(own.copy())
        per_step = self._reading.per_step
        if not per_step:
            named["readout"] = self._read.copy()
        for k, y in enumerate(self._head_outputs(), len(self._body.layers)):
            named[f"{k}.y"] = y.copy()
        y = self._a.copy()
        units.apply(y)
        named["y"] = arrange(y) if per_step else y
        return named

    def gradients(self, score):
        """dL/dh and dL/dc of every recurrent layer at every step, by name, as the inputs are.

        Parameters
        ----------
        score : Terms
            Called with the output pre-activations it gives L and its derivative.
        """
        body, batch, workspace = self._body, self._batch, self._workspace
        _, delta = score(self._a)
        dread = self._head.backward_rows(self._kept, delta, self._head.gradient_buffers())
        dstates, buffers = body.zero_states(batch.size), body.gradient_buffers()
        self._reading.spread(dread, dstates[-1])
        dy, found = self._reading.dy(batch, 0, None), {}
        for k in reversed(range(len(body.layers))):
            layer, (x, tapes) = body.layers[k], self._tapes[k]
            dx = Rows(workspace.take_zeros(batch.n_steps, layer.input_size), batch.first)
            dx = dx if k else None
            if layer.is_recurrent:
                for d, prefix in enumerate(layer.prefixes):
                    arrays = self._backward_by_steps(k, d, dy, dstates[k][d], dx, buffers[k][d])
                    for name, rows in zip(layer.states, arrays, strict=True):
                        found[f"{k}.{prefix}{name}"] = batch.arrange(rows)
            else:
                layer.backward(
                    body.packed[k],
                    tapes,
                    x,
                    batch,
                    dy,
                    dstates[k],
                    dx,
                    dstates[k],
                    buffers[k],
                    workspace,
                    1,
                )
            dy = dx
        return found

    def _head_outputs(self):
        if not self._head.layers:
            return []
        _, tapes = self._kept
        return [*(x.values for x, _ in tapes[1:]), self._a]

    def _fields(self, k, d):
        """The gates and the cell state of a direction of layer k, rows (N, ...) by name."""
        layer = self._body.layers[k]
        cell = layer.cell
        names = [*cell.gates, *(state for state in cell.states if state != "h")]
        if not names:
            return {}
        batch, kernel_cell = self._batch, layer.kernel_cell(self._workspace.dtype)
        rank = np.empty(batch.size, np.intp)
        rank[batch.order] = np.arange(batch.size)
        rank = np.repeat(rank, batch.lengths)
        step = np.arange(batch.n_steps) - np.repeat(batch.offsets[:-1], batch.lengths)
        if layer.reversals[d]:
            step = np.repeat(batch.lengths, batch.lengths) - 1 - step
        records = self._tapes[k][1][d].reshape(-1, kernels.sizes(kernel_cell)[1])
        fields = kernels.split_records(kernel_cell, records[self._starts[step + 1] + rank])
        if cell.description["coupled"]:  # (4.5) of a forget gate that has no weights
            fields["f"] = 1 - fields["i"]
            names.insert(names.index("i") + 1, "f")
        return {name: fields[name] for name in names}

    def _backward_by_steps(self, k, d, dy, dstates, dx, buffer):
        """BPTT through a direction of layer k, a step at a time.

        What arrives at h(t) is what the next step hands back and what the layer above does. A call
        over many steps has both in hand at every step, and keeps neither.

        Returns
        -------
        list of (N, H) arrays
            Fresh rows for each state: dL/dh; and dL/dc, which the next step hands back.
        """
        layer, batch, workspace = self._body.layers[k], self._batch, self._workspace
        cell, reverse = layer.kernel_cell(workspace.dtype), layer.reversals[d]
        H, width = layer.hidden_size, kernels.sizes(cell)[1]
        x, tapes = self._tapes[k]
        mark = workspace.mark
        with_x = x.values.dtype == workspace.dtype
        size = kernels.scratch_size(cell, batch.size, 1, True, dx is not None, with_x)
        scratch = workspace.take(size)
        dx_values, dx_first = (None, None) if dx is None else dx
        own = first = None
        if dy is not None:
            own, first = dy.values[..., d * H : (d + 1) * H], dy.first
        found = [np.empty((batch.n_steps, H), workspace.dtype) for _ in layer.states]
        for t in reversed(range(batch.max_length)):
            n, m = self._active[t], self._before[t]
            time = batch.ranked[:n] - 1 - t if reverse else np.full(n, t)
            rows = batch.first[:n] + time
            for values, dstate in zip(found, dstates, strict=True):
                values[rows] = dstate[batch.order[:n], :H]
            if own is not None:
                found[0][rows] += own[(first[:n], time) if own.ndim == 3 else first[:n] + time]
            kernels.backward(
                cell,
                packed=self._body.packed[k][d],
                x=x.values,
                x_first=x.first[:m],
                order=batch.order[:m],
                lengths=batch.ranked[:m],
                tape=tapes[d][self._starts[t] * width :],
                dy=own,
                dy_first=None if own is None else first[:m],
                dfinal=dstates,
                dinitial=dstates,
                dx=dx_values,
                dx_first=None if dx is None else dx_first[:m],
                grad=buffer,
                scratch=scratch,
                t0=t,
                t1=t + 1,
                reverse=reverse,
            )
        workspace.drop(mark)
        return found

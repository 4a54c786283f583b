"""`Chain`: layers that run one after the other over one batch, forward and backward.

Up to the layer that is read out a network is one chain over time steps; after it another one over
rows, one for each sequence.
"""

import numpy as np

from .sequences import Rows, single_steps


class Chain:
    """Some of a network's layers at given weights, for the length of one call.

    Parameters
    ----------
    layers : sequence of Layer
    weights : list
        For each layer the `Weights` of each direction.
    packed : list
        What `Layer.pack` made of them.
    workspace : Workspace
    n_threads : int or None
    dropout : list, optional
        For each layer what multiplies its inputs at every step of a sequence, (B, I); None for
        those of the batch.
    start : Start, optional
        What gives the initial states, where they are a function of features.
    """

    def __init__(self, layers, weights, packed, workspace, n_threads, dropout=None, start=None):
        self.layers = layers
        self.workspace = workspace
        self._weights = weights
        self.packed = packed
        self._n_threads = n_threads
        self._dropout = dropout
        self._start = start

    def within(self, workspace):
        """The same layers at the same weights for another call, in memory of its own."""
        start = None if self._start is None else self._start.within(workspace)
        options = workspace, self._n_threads, None, start
        return Chain(self.layers, self._weights, self.packed, *options)

    @property
    def output_size(self):
        return self.layers[-1].output_size

    # In lists of states each layer has an entry: a list with a tuple of arrays for each direction.

    def initial(self, batch):
        """The initial states of a batch's sequences; None for zero."""
        if self._start is not None:
            return self._start.states(batch.features)
        B, take = batch.size, self.workspace.take
        return [
            layer.initial(w, B, take) for layer, w in zip(self.layers, self._weights, strict=True)
        ]

    def unpack_start(self, dinitial, gradient):
        """Write what the function of features gets, if there is one.

        Parameters
        ----------
        dinitial : list
            dL/d(initial states); zero if they were given.
        gradient : list
            The views of its own layer.

        Returns
        -------
        (B, F) array or None
            dL/d(features).
        """
        return None if self._start is None else self._start.backward(dinitial, gradient)

    def state_arrays(self, B):
        """Memory for states."""
        return [layer.state_arrays(B, self.workspace.take) for layer in self.layers]

    def zero_states(self, B):
        """States of zeros."""
        return [layer.state_arrays(B, self.workspace.take_zeros) for layer in self.layers]

    def forward(self, batch, initial, y, final=None, training=False):
        """Run over a batch.

        Parameters
        ----------
        batch : Batch
        initial : list
            States before the first step.
        y : Rows or None
            The last layer's outputs, written where steps are.
        final : list or None
            States, overwritten with those after the last step.
        training : bool
            Keep what `backward` needs.

        Returns
        -------
        tapes : list
            For `backward`: each layer's inputs and what it keeps.
        """
        hidden = []
        if len(self.layers) > 1:
            widths = [layer.output_size for layer in self.layers[:-1]]
            hidden = self._between_layers(widths, batch, training)
        tapes, x = [], batch.x
        for k, (layer, out) in enumerate(zip(self.layers, [*hidden, y], strict=True)):
            if k:
                self._drop(k, x.values, batch)
            tape = layer.forward(
                self.packed[k],
                x,
                batch,
                initial[k],
                out,
                None if final is None else final[k],
                training,
                self.workspace,
                self._n_threads,
            )
            tapes.append((x, tape))
            x = out
        return tapes

    def backward(self, batch, tapes, dy, dstates, dx, buffers):
        """Backpropagate through what `forward` did.

        Parameters
        ----------
        batch, tapes
            Of `forward`, with `training`.
        dy : Rows or None
            dL/dy; None is zero.
        dstates : list
            dL/d(final states), overwritten with dL/d(initial states).
        dx : Rows or None
            dL/dx is added to it.
        buffers : list
            What `Layer.gradient_buffers` gave for each; added to.
        """
        widths = [layer.input_size for layer in self.layers[1:]]
        deltas = self._between_layers(widths, batch, False)
        for k in reversed(range(len(self.layers))):
            below = deltas[k - 1] if k else dx
            if k:
                below.values.fill(0)
            x, tape = tapes[k]
            self.layers[k].backward(
                self.packed[k],
                tape,
                x,
                batch,
                dy,
                dstates[k],
                below,
                dstates[k],
                buffers[k],
                self.workspace,
                self._n_threads,
            )
            if k:
                self._drop(k, below.values, batch)
            dy = below

    def gradient_buffers(self):
        """What `backward` adds to."""
        take_zeros = self.workspace.take_zeros
        return [layer.gradient_buffers(self.workspace.dtype, take_zeros) for layer in self.layers]

    def unpack(self, buffers, dinitial, gradient):
        """Write the gradient that `backward` has summed into its views, lists of `Weights`."""
        for k, layer in enumerate(self.layers):
            layer.unpack(buffers[k], dinitial[k], gradient[k])

    # Layers without states, over rows: a batch of single steps, and states that hold nothing.

    def forward_rows(self, rows, training=False):
        """Run over rows (B, I): outputs (B, K), and what `backward_rows` asks for."""
        if not self.layers:
            return rows, None
        if self._dropout is not None:
            rows = rows * self._dropout[0]
        batch = single_steps(rows[:, None])
        y = np.empty((batch.size, self.output_size), rows.dtype)
        tapes = self.forward(batch, self._no_states, Rows(y, batch.first), training=training)
        return y, (batch, tapes)

    def backward_rows(self, kept, dy, buffers):
        """dL/d(rows) (B, I), given dL/dy (B, K)."""
        if not self.layers:
            return dy
        batch, tapes = kept
        drows = np.zeros((batch.size, self.layers[0].input_size), dy.dtype)
        dy, dx = Rows(dy, batch.first), Rows(drows, batch.first)
        self.backward(batch, tapes, dy, self._no_states, dx, buffers)
        if self._dropout is not None:
            drows *= self._dropout[0]
        return drows

    def unpack_rows(self, buffers, gradient):
        """As `unpack`."""
        self.unpack(buffers, self._no_states, gradient)

    def _drop(self, k, rows, batch):
        """Multiply the inputs of layer k, or the loss's derivative by them, by what drops them."""
        if self._dropout is not None:
            rows *= np.repeat(self._dropout[k], batch.lengths, axis=0)

    @property
    def _no_states(self):
        return [[()] * layer.directions for layer in self.layers]

    def _between_layers(self, widths, batch, all_kept):
        """Rows of each width; of those that are not all kept, two at a time are."""
        take, N = self.workspace.take, batch.n_steps
        if all_kept or len(widths) <= 2:
            arrays = [take(N, width) for width in widths]
        else:
            flat = [take(N * max(widths[k::2])) for k in range(2)]
            arrays = [flat[k % 2][: N * width].reshape(N, width) for k, width in enumerate(widths)]
        return [Rows(array, batch.first) for array in arrays]

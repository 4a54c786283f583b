"""`Chain`: layers that run one behind the other over one batch, forward and backward.

Up to the layer that is read out a network is one chain over time steps, behind it another over
sequences of one step. What a chain gives is read out here too.
"""

import numpy as np

from .sequences import single_steps


class Chain:
    """Some of a network's layers with their weights, for the length of one call.

    Parameters
    ----------
    layers : sequence of Layer
    packed : list
        What `Layer.pack` made for each.
    workspace : Workspace
    n_threads : int or None
    """

    def __init__(self, layers, packed, workspace, n_threads):
        self.layers = layers
        self._packed = packed
        self._workspace = workspace
        self._n_threads = n_threads

    @property
    def output_size(self):
        return self.layers[-1].output_size

    # In lists of states each layer has an entry: a list with a tuple for each direction.

    def initial(self, weights, B):
        """The initial states of B sequences; None for zero."""
        return [
            layer.initial(w, B, self._workspace.take)
            for layer, w in zip(self.layers, weights, strict=True)
        ]

    def state_arrays(self, B):
        """Room for states."""
        take = self._workspace.take
        return [layer.state_arrays(B, take) for layer in self.layers]

    def zero_states(self, B):
        """States of zeros."""
        take_zeros = self._workspace.take_zeros
        return [layer.state_arrays(B, take_zeros) for layer in self.layers]

    def forward(self, batch, initial, y, final=None, training=False):
        """Run over a batch.

        Parameters
        ----------
        batch : Batch
        initial : list
            States before the first step.
        y : (B, L, K) array or None
            The last layer's outputs, written where steps are.
        final : list or None
            States, overwritten with those after the last step; None in place of a layer's entry
            asks for none.
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
            hidden = self._rooms(widths, batch, training)
        tapes, x = [], batch.x
        for k, (layer, out) in enumerate(zip(self.layers, [*hidden, y], strict=True)):
            tape = layer.forward(
                self._packed[k], x, batch, initial[k], out, None if final is None else final[k],
                training, self._workspace, self._n_threads,
            )  # fmt: skip
            tapes.append((x, tape))
            x = out
        return tapes

    def backward(self, batch, tapes, dy, dstates, dx, buffers):
        """Backpropagate through what `forward` did.

        Parameters
        ----------
        batch, tapes
            Of `forward`, with `training`.
        dy : (B, L, K) array or None
            dL/dy; None is zero.
        dstates : list
            dL/d(final states), overwritten with dL/d(initial states).
        dx : array or None
            dL/dx is added to it.
        buffers : list
            What `Layer.gradient_buffers` gave for each; added to.
        """
        rooms = self._rooms([layer.input_size for layer in self.layers[1:]], batch, False)
        for k in reversed(range(len(self.layers))):
            below = rooms[k - 1] if k else dx
            if k:
                below.fill(0)
            x, tape = tapes[k]
            self.layers[k].backward(
                self._packed[k], tape, x, batch, dy, dstates[k], below, dstates[k], buffers[k],
                self._workspace, self._n_threads,
            )  # fmt: skip
            dy = below

    def gradient_buffers(self):
        """What `backward` adds to."""
        take_zeros = self._workspace.take_zeros
        return [layer.gradient_buffers(self._workspace.dtype, take_zeros) for layer in self.layers]

    def unpack(self, buffers, dinitial, gradient):
        """Write the gradient that `backward` has summed into its views, lists of `Weights`."""
        for k, layer in enumerate(self.layers):
            layer.unpack(buffers[k], dinitial[k], gradient[k])

    def outputs(self, states):
        """The last layer's outputs in its last step, (B, K), which are in its state."""
        layer = self.layers[-1]
        return np.concatenate([h[:, : layer.hidden_size] for h, *_ in states[-1]], axis=1)

    def set_outputs(self, states, values):
        """The reverse of `outputs`."""
        H = self.layers[-1].hidden_size
        for d, (h, *_) in enumerate(states[-1]):
            h[:, :H] = values[:, d * H : (d + 1) * H]

    # Layers without states behind the readout: one step of every sequence.

    def forward_rows(self, rows, training=False):
        """Run over rows (B, I): outputs (B, K), and what `backward_rows` asks for."""
        if not self.layers:
            return rows, None
        batch = single_steps(rows[:, None])
        y = np.empty((batch.size, self.output_size), rows.dtype)
        initial = self.state_arrays(batch.size)
        tapes = self.forward(batch, initial, y[:, None], training=training)
        return y, (batch, tapes)

    def backward_rows(self, kept, dy, buffers):
        """dL/d(rows) (B, I), given dL/dy (B, K)."""
        if not self.layers:
            return dy
        batch, tapes = kept
        drows = np.zeros(batch.x.shape, dy.dtype)
        self.backward(batch, tapes, dy[:, None], self.state_arrays(batch.size), drows, buffers)
        return drows[:, 0]

    def _rooms(self, widths, batch, all_kept):
        """An array (B, L, width) for each; of those that are not all kept, two at a time are."""
        take, B, L = self._workspace.take, batch.size, batch.max_length
        if all_kept or len(widths) <= 2:
            return [take(B, L, width) for width in widths]
        flat = [take(B * L * max(widths[k::2])) for k in range(2)]
        return [flat[k % 2][: B * L * width].reshape(B, L, width) for k, width in enumerate(widths)]


def mean_of(total, count):
    """The mean that a sum (B, H) over `count` (B,) steps gives; 0 for no steps."""
    return total / np.maximum(count, 1).astype(total.dtype)[:, None]

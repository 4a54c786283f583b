"""`Initial`: the initial states of all layers as a function of features of the sequence.

The function is a dense layer. Its outputs are the initial states of every recurrent layer, one
after the other: layer by layer, direction by direction, h before c. Formulas: docs/equations.md.
"""

from dataclasses import replace

import numpy as np

from ._checks import as_integer, as_real, describe, refuse_nonfinite, shaped
from ._fixed import Fixed
from ._params import zeros
from .cells import Dense


class Initial(Fixed):
    """What turns features into the initial states of some layers.

    Parameters
    ----------
    layers : tuple of Layer
        Those of a network.
    dense : int or Dense
        The layer from features to states; an int is their number.

    Attributes
    ----------
    layer : Dense
    size : int
        F, the number of features.
    """

    _instead = "build a new network"

    def __init__(self, layers, dense):
        recurrent = [(k, layer) for k, layer in enumerate(layers) if layer.is_recurrent]
        if not recurrent:
            raise ValueError(
                "initial: expected None without a recurrent layer, whose states it would give, got "
                f"{describe_initial(dense)}"
            )
        for k, layer in recurrent:
            if layer.learns_states:
                raise ValueError(
                    f"initial: expected None beside layers[{k}] with learn_initial_state=True, got "
                    f"{describe_initial(dense)}; the bias of `initial` is learned as well"
                )
        # for each layer, for each direction, for each of its states: its columns, and its own size
        self._places, n = [], 0
        for layer in layers:
            directions = []
            for _ in range(layer.directions):
                places = []
                for size in layer.state_sizes:
                    places.append((slice(n, n + layer.hidden_size), size))
                    n += layer.hidden_size
                directions.append(places)
            self._places.append(directions)
        self._n_states = n
        if not isinstance(dense, Dense):
            if isinstance(dense, bool) or not isinstance(dense, (int, np.integer)):
                raise TypeError(
                    "initial: expected a number of features, a Dense layer from them to the "
                    f"initial states, or None, got {describe(dense)}"
                )
            dense = Dense(as_integer(dense, "initial", 1), n)
        if dense.tokens:
            raise ValueError(
                f"initial: expected a layer of numbers, got {dense!r}; one-hot vectors are numbers"
            )
        if dense.output_size != n:
            told = ", ".join(
                f"{layer.directions * layer.hidden_size * len(layer.states)} of layers[{k}]"
                for k, layer in recurrent
            )
            raise ValueError(
                f"initial: expected a Dense layer of {n} outputs, which are the initial states of "
                f"all recurrent layers ({told}), got {dense.output_size}; the number of features "
                f"alone makes such a layer: initial={dense.input_size}"
            )
        self.layer = dense
        self.size = dense.input_size

    def blocks(self):
        """Its blocks; all start at zero, so that a network starts as it would without features."""
        return [
            replace(block, name=f"initial.{block.name}", start=zeros())
            for block in self.layer.blocks()
        ]

    def check(self, features, batch_size, dtype, check_finite, name="features"):
        """Features of so many sequences as a contiguous array (B, F) of a dtype.

        `batch_size` None is one sequence without the axis B.
        """
        shape = (self.size,) if batch_size is None else (batch_size, self.size)
        if features is None:
            raise ValueError(
                f"{name}: expected numbers of shape {shape}, for the network's initial states are "
                "a function of them (initial=), got None; state= may take their place"
            )
        array = shaped(as_real(features, name, dtype), name, shape)
        if check_finite:
            refuse_nonfinite(array, name)
        return np.ascontiguousarray(array.reshape(-1, self.size))

    def split(self, rows, take):
        """The states that rows (B, S) hold: for each layer, for each direction, arrays (B, size).

        Gates that are part of a state, of gate recurrence, are zero at first.
        """
        states = []
        for layer in self._places:
            directions = []
            for places in layer:
                arrays = tuple(take(len(rows), size) for _, size in places)
                for array, (columns, _) in zip(arrays, places, strict=True):
                    width = columns.stop - columns.start
                    array[:, :width] = rows[:, columns]
                    array[:, width:] = 0
                directions.append(arrays)
            states.append(directions)
        return states

    def join(self, dstates):
        """The rows (B, S) of derivatives by such states, fresh."""
        arrays = [
            values[:, : columns.stop - columns.start]
            for layer, entry in zip(self._places, dstates, strict=False)
            for places, direction in zip(layer, entry, strict=True)
            for (columns, _), values in zip(places, direction, strict=True)
        ]
        return np.concatenate(arrays, axis=1)


class Start:
    """The function of one call, at given weights.

    Parameters
    ----------
    initial : Initial
    chain : Chain
        Its layer alone.
    kept
        Of a `Start` that has run already.
    """

    def __init__(self, initial, chain, kept=None):
        self._initial, self._chain, self._kept = initial, chain, kept

    def within(self, workspace):
        """The same for another call, in memory of its own, after `states` here."""
        return Start(self._initial, self._chain.within(workspace), self._kept)

    def states(self, features):
        """The initial states of sequences with these features, as `Initial.split` gives them."""
        rows, self._kept = self._chain.forward_rows(features, training=True)
        return self._initial.split(rows, self._chain.workspace.take)

    def backward(self, dstates, gradient):
        """Write the gradient into the layer's views; dL/d(features), (B, F).

        Both are zero where `states` was not asked for, because the states were given.
        """
        drows, buffers = self._initial.join(dstates), self._chain.gradient_buffers()
        if self._kept is None:
            dfeatures = np.zeros((len(drows), self._initial.size), drows.dtype)
        else:
            dfeatures = self._chain.backward_rows(self._kept, drows, buffers)
        self._chain.unpack_rows(buffers, gradient)
        return dfeatures


def refuse_initial(net, what):
    """Raise where a network's initial states are a function of features, which `what` has not."""
    if net.initial is not None:
        raise ValueError(
            f"net: expected initial states that are no function of features, which {what}, got "
            f"initial={net.initial!r}; the blocks 'initial.W' and 'initial.b' of net.blocks have it"
        )


def describe_initial(value):
    """What a user has given, in an error."""
    return repr(value) if isinstance(value, Dense) else describe(value)

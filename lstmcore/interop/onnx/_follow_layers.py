"""Recurrent nodes, with their weights, states and lengths, as layers."""

from dataclasses import dataclass

import numpy as np

from ._cells import read_cell
from ._chain import Input, Recurrent
from ._fold import Known
from ._graph import Refused
from ._stream import Stream, Unknown

__all__ = ["Found", "Layers"]


@dataclass(frozen=True, eq=False)
class Found:
    """A recurrent node.

    Attributes
    ----------
    node : Node
    layer : Layer
    blocks : list of dict
    learned : list or None
        For each state (D, H), where they are known numbers.
    computed : tuple of str
        The values that give its initial states, where they are no known numbers.
    """

    node: object
    layer: object
    blocks: list
    learned: list | None
    computed: tuple


class Layers:
    """The part of `Follower` that makes layers of recurrent nodes."""

    def _recurrent(self, node, values):
        values = [*values, *[None] * (8 - len(values))]
        X, W, R, B, lengths, *initial = values[:7]
        P = values[7] if node.op == "LSTM" else None
        initial = initial[: 2 if node.op == "LSTM" else 1]
        if self.opset < 7:
            raise Refused(f"is of operator set {self.opset}, older than 7")
        arrays = []
        for value, name in ((W, "W"), (R, "R"), (B, "B"), (P, "P")):
            if value is None and name in "BP":
                arrays.append(None)
            elif not isinstance(value, Known) or not value.is_fixed:
                raise Refused(f"has weights {name} that are no known numbers")
            else:
                arrays.append(value.first)
        layer, blocks = read_cell(node, arrays, self.linear_before_reset)
        self.dtype = np.promote_types(self.dtype, np.promote_types(W.first.dtype, np.float32))
        is_batch_first = bool(node.get("layout", "i", 0))
        names = [node.input(5 + k) for k in range(len(initial))]
        states, computed, refusal = [], [], None
        for value, name in zip(initial, names, strict=True):
            try:
                states.append(self._initial(value, layer, is_batch_first))
            except Refused as error:
                refusal = error
                states.append(None)
            if name and not isinstance(value, Known):
                computed.append(name)
        learned, prefix = None, node.proto.name.partition(".")[0]
        is_said = any(f"{prefix}.{state}" in node.graph.metadata for state in layer.states)
        if is_said or any(state is not None for state in states):
            zero = np.zeros((layer.directions, layer.hidden_size), np.float32)
            learned = [zero if state is None else state for state in states]
        self.found.append(Found(node, layer, blocks, learned, tuple(computed)))
        if isinstance(X, Unknown):
            return [Unknown()] * len(node.outputs)
        if refusal is not None:
            raise refusal
        return self._layer(node, self._stream(X), layer, blocks, learned, lengths, is_batch_first)

    def _initial(self, value, layer, is_batch_first):
        """A known initial state (D, H); None for zero, and for states that are inputs."""
        if value is None:
            return None
        if isinstance(value, Stream):
            links = self.chain.links_of(value.units)
            if len(links) == 1 and isinstance(links[0], Input) and not links[0].is_integer:
                self._input_state(value, links[0], layer, is_batch_first)
                return None
            raise Refused(f"has initial states from {links[0].title}, while a layer's are its own")
        if not isinstance(value, Known):
            raise Refused("has initial states that cannot be followed")
        D, H = layer.directions, layer.hidden_size
        rows = []
        for array in value.both:
            if is_batch_first and array.ndim == 3:
                array = array.swapaxes(0, 1)
            if array.ndim != 3 or array.shape[::2] != (D, H) or array.dtype.kind != "f":
                raise Refused(f"expected initial states (D, B, H), got shape {array.shape}")
            if not array.shape[1] or not (array == array[:, :1]).all():
                raise Refused("has other initial states for each sequence of the batch")
            rows.append(array[:, 0])
        if not np.array_equal(*rows):
            raise Refused("has initial states that depend on the number of steps or sequences")
        return rows[0] if rows[0].any() else None

    def _input_state(self, value, link, layer, is_batch_first):
        """Note the sizes of an initial state that is an input, (D, B, H)."""
        if value.n_axes != 3:
            raise Refused(f"expected initial states of 3 axes, got {value.n_axes}")
        batch = value.axes[0 if is_batch_first else 1]
        if batch is not None:
            batch[0].take_as("batch")
        self._retry(value, 2, layer.hidden_size)

    def _layer(self, node, X, layer, blocks, learned, lengths, is_batch_first):
        if X.n_axes != 3:
            raise Refused(f"expected inputs of 3 axes, got {X.n_axes}")
        self._retry(X, 2, layer.input_size)
        X.unit_axis(2, "reads features")
        roles = ("batch", "time") if is_batch_first else ("time", "batch")
        for axis, role in enumerate(roles):
            if X.axes[axis] is None:
                if X.sizes(0)[axis] != 1:
                    raise Refused(f"reads units along its {role} axis")
                continue
            parts = [part for part in X.axes[axis] if not part.is_one] or X.axes[axis][:1]
            if len(parts) > 1:
                raise Refused(f"reads several axes as {role}")
            parts[0].take_as(role)
        if X.units.size != layer.input_size:
            raise Refused(f"expected {layer.input_size} features, got {X.units.size}")
        time = X.axes[roles.index("time")]
        has_lengths = self._takes_lengths(node, lengths, X, time)
        if X.is_flipped:
            if layer.directions == 2:
                raise Refused("reads reversed sequences in both directions")
            turned = "forward" if layer.direction == "reverse" else "reverse"
            options = {**layer.options, "direction": turned, "bidirectional": False}
            layer = type(layer)(**options)
        link, layer, blocks = self._taken_in(X.units.ravel(), layer, blocks)
        made = self.chain.add(Recurrent(link, layer, blocks, learned, has_lengths, node.title))
        behind = "zero" if has_lengths else None
        batch = X.axes[roles.index("batch")]
        D, H = layer.directions, layer.hidden_size
        units = made.units.reshape(D, H)
        if is_batch_first:
            axes, final_axes = (batch, time, None, None), (batch, None, None)
        else:
            axes, final_axes = (time, None, batch, None), (None, batch, None)
        one = (1,) if batch is None else ()
        steps = (1,) if time is None else ()
        if is_batch_first:
            y_units, h_shape = units.reshape((*one, *steps, D, H)), (*one, D, H)
        else:
            y_units, h_shape = units.reshape((*steps, D, *one, H)), (D, *one, H)
        outputs = [Stream(axes, y_units, behind, X.order, X.is_flipped)]
        for state in layer.states:
            final = self.chain.final(made, state)
            outputs.append(Stream(final_axes, final.units.reshape(h_shape), None, X.order))
        return outputs

    def _taken_in(self, units, layer, blocks):
        """The link that a layer reads, with the layer and W and b for all of its units."""
        taken = [self._weights_of(units, own["W"], None) for own in blocks]
        parent = taken[0][0]
        own = []
        for (_, W, shift), direction in zip(taken, blocks, strict=True):
            own.append({**direction, "W": W})
            if shift is not None:
                own[-1]["b"] = direction["b"] + shift
        if parent.size != layer.input_size:
            layer = type(layer)(**{**layer.options, "input_size": parent.size})
        return parent, layer, own

    def _takes_lengths(self, node, lengths, X, time):
        """Whether the node is given the lengths of the sequences."""
        if lengths is None:
            if X.behind is not None:
                raise Refused("is not given the lengths, as the layer before it is")
            return False
        if isinstance(lengths, Known):
            sizes = (1, 1) if time is None else time[0].sizes
            if all(np.all(own == size) for own, size in zip(lengths.both, sizes, strict=True)):
                return self._takes_lengths(node, None, X, time)
            raise Refused("has fixed lengths of sequences other than the number of steps")
        n = self._lengths_of(lengths)
        if n.what != "n" or n.order is not X.order:
            raise Refused("is given the lengths of sequences in another order")
        self._take_lengths(n.name, X)
        return True

"""`to_onnx`: a network as an ONNX graph.

Inside the graph sequences are (T, B, features), the layout that ONNX Runtime takes, from the first
recurrent layer to the last one; its inputs and outputs are (B, T, features). What ONNX leaves to
the runtime, namely what stands behind a sequence's end and what a sequence without steps gives, is
written out, so that it is what `Network.predict` gives.
"""

import json
import math
import os
from functools import cached_property
from typing import Any

import numpy as np

from ..._archive import at_once
from ..._checks import as_flag
from ..._readout import READOUTS
from ..._version import __version__
from ...cells import Weights
from ._activations import OF_NODES
from ._write_graph import FLOAT, INT32, INT64, Graph, helper
from ._write_layers import activation_of, arranged, attributes_of, beyond_onnx

__all__ = ["to_onnx"]

_OPSET, _IR_VERSION = 17, 8  # what ONNX Runtime 1.12 of 2022 reads, and all since
_OUTPUT_UNITS = {"logistic": "Sigmoid", "exponential": "Exp"}


def to_onnx(
    net: Any, path: str | os.PathLike[str] | None, *, lengths: bool = False, states: bool = False
) -> bytes | None:
    """What `Network.to_onnx` does."""
    lengths, states = as_flag(lengths, "lengths"), as_flag(states, "states")
    _refuse(net, states)
    data = _Writer(net, lengths, states).model().SerializeToString(deterministic=True)
    if path is None:
        return data
    at_once(path, lambda file: file.write(data))
    return None


def _refuse(net, states):
    """Raise one error that names all that ONNX cannot say of a network."""
    reasons = [
        f"layers[{k}] with {what}"
        for k, layer in enumerate(net.layers)
        for what in beyond_onnx(layer)
    ]
    if reasons:
        raise ValueError(
            f"net: expected layers that ONNX can say, got {'; '.join(reasons)}; "
            "lstmcore.export_c writes any network"
        )
    if states:
        for k, layer in enumerate(net.layers):
            if layer.reads_ahead:
                how = "is bidirectional" if layer.directions == 2 else "reads in reverse"
                raise ValueError(
                    f"states: expected False, for layers[{k}] {how} and needs whole sequences, "
                    "got True"
                )
        if net.initial is not None:
            raise ValueError(
                "states: expected False with a network whose initial states are a function of "
                "features, which a graph that is given states does not compute, got True"
            )


def _shared(make):
    """A value that several parts of the graph read: made once, outside of the layers' names."""

    def of(self):
        graph = self._graph
        scope, graph.scope = graph.scope, ""
        value = make(self)
        graph.scope = scope
        return value

    return cached_property(of)


def _as_float32(array, k):
    """Parameters of layer k as the file has them; or of "initial"."""
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused as such
        array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            "net: expected parameters that are finite in float32, got NaN or infinity in "
            + (k if k == "initial" else f"layers[{k}]")
        )
    return array


class _Writer:
    """One network's graph as it grows.

    Parameters
    ----------
    net : Network
    lengths, states : bool
        Of `Network.to_onnx`.
    """

    def __init__(self, net, lengths, states):
        self._net, self._has_lengths, self._has_states = net, lengths, states
        self._readout = READOUTS[net.readout].of(net.layers[net.body.stop - 1])
        self._graph = graph = Graph()
        self._after = []  # of states: (value, name, shape)
        self._metadata = {
            "layers": ", ".join(map(repr, net.layers)),
            "loss": net.loss_name,
            "readout": net.readout,
        }
        if net.takes_tokens:
            graph.input("X", INT64, ["B", "T"], f"tokens 0 to {net.input_size - 1}")
        else:
            graph.input("X", FLOAT, ["B", "T", net.input_size], "sequences")
        if net.initial is not None:
            text = "of each sequence, for the initial states"
            graph.input("features", FLOAT, ["B", net.feature_size], text)
        if lengths:
            text = "steps of each sequence, 0 to T; what lies after them does not count"
            graph.input("lengths", INT64, ["B"], text)

    def model(self):
        """The whole file as a ModelProto."""
        net, graph = self._net, self._graph
        y = self._outputs()
        shape = ["B", "T", net.output_size] if self._readout.per_step else ["B", net.output_size]
        graph.output(y, "Y", shape, f"{net.output_units} outputs")
        for value, name, shape in self._after:
            graph.output(value, f"{name}.next", shape, f"{name} of the next call")
        model = helper.make_model(
            graph.build("lstmcore"),
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            producer_name="lstmcore",
            producer_version=__version__,
            doc_string=f"{net.summary()}\nAll numbers in this file are float32.",
        )
        helper.set_model_props(model, self._metadata)
        return model

    # Values that several parts of the graph read.

    @_shared
    def _sequence_lens(self):
        if not self._has_lengths:
            return ""
        return self._graph.add("Cast", "lengths", to=INT32)

    @_shared
    def _batch_size(self):
        return self._graph.add("Shape", "X", start=0, end=1)

    @_shared
    def _n_steps(self):
        return self._graph.add("Shape", "X", start=1, end=2)

    @_shared
    def _has_steps(self):
        """(B, 1): whether a sequence has any."""
        graph = self._graph
        has_steps = graph.add("Greater", "lengths", graph.integers(0))
        return graph.add("Unsqueeze", has_steps, graph.integers(1))

    @_shared
    def _is_step(self):
        """(B, T, 1): whether a step is one of the sequence."""
        graph = self._graph
        n_steps = graph.add("Squeeze", self._n_steps)
        t = graph.add("Range", graph.integer(0), n_steps, graph.integer(1))
        lengths = graph.add("Unsqueeze", "lengths", graph.integers(1))
        return graph.add("Unsqueeze", graph.add("Less", t, lengths), graph.integers(2))

    @_shared
    def _count(self):
        """The steps of each sequence as numbers: (B,), or (1,) where all have T."""
        lengths = "lengths" if self._has_lengths else self._n_steps
        return self._graph.add("Cast", lengths, to=FLOAT)

    # The way from X to Y.

    def _outputs(self):
        net, graph = self._net, self._graph
        y, by_time, final, initial = "X", False, "", ""
        for k, (layer, weights) in enumerate(zip(net.layers, net.weights, strict=True)):
            graph.scope = f"{k}."
            if layer.token_sizes:
                y = self._looked_up(layer, weights[0], y)
            elif not layer.is_recurrent:
                y = self._dense(k, layer, weights[0], y)
            else:
                y, final, initial = self._recurrent(k, layer, weights, y, by_time)
                by_time = True
            if k == net.body.stop - 1:
                graph.scope = ""
                if by_time and y:
                    y = graph.add("Transpose", y, perm=[1, 0, 2])
                if not self._readout.per_step:
                    y = getattr(self, f"_read_{self._readout.name}")(layer, y, final, initial)
        graph.scope = ""
        if net.output_units == "softmax":
            y = graph.add("Softmax", y, axis=-1)
        elif net.output_units != "identity":
            y = graph.add(_OUTPUT_UNITS[net.output_units], y)
        if self._readout.per_step and self._has_lengths:
            y = graph.add("Where", self._is_step, y, graph.number(0.0))
        return y

    def _constant(self, k, name, array):
        """One of layer k's tensors."""
        return self._graph.constant(f"{k}.{name}", _as_float32(array, k))

    def _dense(self, k, layer, weights, x):
        """A layer's outputs, of inputs in any order of time and batch."""
        graph = self._graph
        W, b = weights.blocks
        columns = self._constant(k, "W", W.T)
        if k == 0 and layer.tokens:
            y = graph.add("Gather", columns, x, axis=0)
        else:
            y = graph.add("MatMul", x, columns)
        if b is not None:
            y = graph.add("Add", y, self._constant(k, "b", b))
        name, alpha, beta = activation_of(layer.cell.description, "output")
        if name == "affine":
            if alpha != 1:
                y = graph.add("Mul", y, graph.number(alpha))
            return graph.add("Add", y, graph.number(beta)) if beta != 0 else y
        if name == "scaled_tanh":
            y = graph.add("Tanh", graph.add("Mul", y, graph.number(beta)))
            return graph.add("Mul", y, graph.number(alpha)) if alpha != 1 else y
        op, n_parameters = OF_NODES[name]
        parameters = [("alpha", alpha), ("beta", beta)][:n_parameters]
        return graph.add(op, y, **dict(parameters))

    def _looked_up(self, layer, weights, x):
        """The vectors of the tokens in the first columns, and the numbers after them."""
        graph, n, values = self._graph, len(layer.token_sizes), []
        for j, W in enumerate(weights.blocks):
            column = graph.add("Gather", x, graph.integer(j), axis=2)
            tokens = graph.add("Cast", column, to=INT64)
            table = self._constant(0, f"W{j}", W.T)
            values.append(graph.add("Gather", table, tokens, axis=0))
        if layer.input_size > n:
            ends = graph.integers(n), graph.integers(layer.input_size), graph.integers(2)
            values.append(graph.add("Slice", x, *ends))
        return graph.add("Concat", *values, axis=2)

    @_shared
    def _all_initial(self):
        """All initial states (B, S), of the features."""
        net = self._net
        weights = Weights((net.blocks["initial.W"], net.blocks.get("initial.b")), ())
        return self._dense("initial", net.initial, weights, "features")

    def _numbers(self, tokens, W):
        """Tokens as numbers, and the weights (D, rows, features) by which they count.

        Of few tokens one-hot vectors; else what each adds to the rows, which then has weight 1.
        """
        graph, (D, rows, I) = self._graph, W.shape
        if D * rows >= I:
            off_on = graph.constant("off_on", np.array([0, 1], np.float32))
            return graph.add("OneHot", tokens, graph.integer(I), off_on, axis=-1), W
        table = self._constant(0, "table", W.reshape(D * rows, I).T)
        return graph.add("Gather", table, tokens, axis=0), np.eye(D * rows).reshape(D, rows, -1)

    def _recurrent(self, k, layer, weights, x, by_time):
        """A layer's outputs (T, B, features), and final and initial h (D, B, H).

        `by_time` says whether x is (T, B, features) as well, not (B, T, features) or tokens (B, T).
        "" stands for outputs and final states that nobody reads, and for an initial state of zero.
        """
        graph, readout = self._graph, self._readout
        is_read = k == self._net.body.stop - 1
        weights = [layer.masked(w) for w in weights]
        arrays = [arranged(layer, w) for w in weights]
        W, *others = (np.stack(parts) for parts in zip(*arrays, strict=True))
        if k == 0 and layer.tokens:
            x, W = self._numbers(x, W)
        if not by_time:
            x = graph.add("Transpose", x, perm=[1, 0, 2])
        tensors = [
            self._constant(k, name, array)
            for name, array in zip("WRBP", [W, *others], strict=False)
        ]
        initial = self._initial(k, layer, weights)
        y, *final = graph.add(
            layer.cell.kind,
            *(x, *tensors[:3], self._sequence_lens, *initial, *tensors[3:]),
            outputs=[
                not is_read or readout.sees_steps,
                self._has_states or (is_read and readout.name == "last"),
                self._has_states and len(layer.states) == 2,
            ],
            **attributes_of(layer),
        )
        final = final[: len(layer.states)]
        if self._has_lengths:  # most runtimes give 0 where no step is, whatever the initial state
            final = [
                last and graph.add("Where", self._has_steps, last, first or graph.number(0.0))
                for last, first in zip(final, initial, strict=True)
            ]
        if self._has_states:
            for state, last in zip(layer.states, final, strict=True):
                last = graph.add("Squeeze", last, graph.integers(0))
                self._after.append((last, f"{k}.{state}", ["B", layer.hidden_size]))
        if y:
            y = self._side_by_side(layer, y, 1)
        return y, final[0], initial[0]

    def _initial(self, k, layer, weights):
        """A layer's initial states (D, B, H); "" for zero."""
        graph, H = self._graph, layer.hidden_size
        values = []
        if self._net.initial is not None:
            for j in range(len(layer.states)):
                values.append(self._from_features(k, layer, j))
            return values
        for j, state in enumerate(layer.states):
            name = f"{k}.{state}"
            if layer.learns_states:  # the graph alone does not say it of a state that is zero
                learned = np.stack([_as_float32(w.initial[j], k) for w in weights])
                listed = learned if layer.directions == 2 else learned[0]
                self._metadata[name] = json.dumps(listed.tolist())
            if self._has_states:
                at_first = "zero at first"
                if layer.learns_states:
                    at_first = f"at first what the metadata has as {name!r}"
                graph.input(name, FLOAT, ["B", H], f"state, {at_first}")
                values.append(graph.add("Unsqueeze", name, graph.integers(0)))
            elif layer.learns_states:
                sizes = graph.integers(layer.directions), self._batch_size, graph.integers(H)
                shape = graph.add("Concat", *sizes, axis=0)
                start = self._constant(k, f"{state}0", learned[:, None])
                values.append(graph.add("Expand", start, shape))
            else:
                values.append("")
        return values

    def _from_features(self, k, layer, j):
        """A layer's initial states j (D, B, H), of features."""
        graph, H, n = self._graph, layer.hidden_size, len(layer.states)
        first = sum(below.output_size * len(below.states) for below in self._net.layers[:k])
        parts = []
        for d in range(layer.directions):
            at = first + (d * n + j) * H
            ends = graph.integers(at), graph.integers(at + H), graph.integers(1)
            part = graph.add("Slice", self._all_initial, *ends)
            parts.append(graph.add("Unsqueeze", part, graph.integers(0)))
        return graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def _side_by_side(self, layer, y, axis):
        """The outputs of a layer's directions, which are an axis of y, as one vector."""
        graph = self._graph
        if layer.directions == 1:
            return graph.add("Squeeze", y, graph.integers(axis))
        y = graph.add("Transpose", y, perm=[*range(axis), axis + 1, axis, axis + 2])
        return graph.add("Reshape", y, graph.integers(*[0] * (axis + 1), layer.output_size))

    # The readouts: from outputs y (B, T, features), final and initial h to (B, features).

    def _read_last(self, layer, y, final, initial):
        return self._side_by_side(layer, final, 0)

    def _read_last_step(self, layer, y, final, initial):
        graph = self._graph
        if not self._has_lengths:
            return graph.add("Gather", y, graph.integer(-1), axis=1)
        last = graph.add("Sub", "lengths", graph.integers(1))
        last = graph.add("Unsqueeze", graph.add("Max", last, graph.integers(0)), graph.integers(1))
        y = graph.add("GatherND", y, last, batch_dims=1)
        none = self._side_by_side(layer, initial, 0) if initial else graph.number(0.0)
        return graph.add("Where", self._has_steps, y, none)

    def _read_mean(self, layer, y, final, initial):
        graph = self._graph
        if not (self._has_lengths or self._has_states):
            return graph.add("ReduceMean", y, axes=[1], keepdims=0)
        if self._has_lengths:
            y = graph.add("Where", self._is_step, y, graph.number(0.0))
        total, count = graph.add("ReduceSum", y, graph.integers(1), keepdims=0), self._count
        if self._has_states:
            before, count_before = self._entry("total", layer)
            total, count = graph.add("Add", before, total), graph.add("Add", count_before, count)
            self._keep("total", layer, total, count)
        count = graph.add("Max", count, graph.number(1.0))
        return graph.add("Div", total, graph.add("Unsqueeze", count, graph.integers(1)))

    def _read_max(self, layer, y, final, initial):
        graph = self._graph
        if self._has_lengths:
            y = graph.add("Where", self._is_step, y, graph.number(-math.inf))
        largest = graph.add("ReduceMax", y, axes=[1], keepdims=0)
        if not self._has_states:
            if self._has_lengths:
                largest = graph.add("Where", self._has_steps, largest, graph.number(0.0))
            return largest
        before, count_before = self._entry("largest", layer)
        count = graph.add("Add", count_before, self._count)
        before = graph.add("Where", self._is_above_0(count_before), before, graph.number(-math.inf))
        largest = graph.add("Max", before, largest)
        largest = graph.add("Where", self._is_above_0(count), largest, graph.number(0.0))
        self._keep("largest", layer, largest, count)
        return graph.add("Identity", largest)  # for one value has one name

    def _entry(self, name, layer):
        """What a readout has of the steps before, as inputs of the graph."""
        graph, shape = self._graph, ["B", layer.output_size]
        values = graph.input(name, FLOAT, shape, "of the readout, zero at first")
        text = "steps that the readout has seen, zero at first"
        return values, graph.input("count", FLOAT, ["B"], text)

    def _keep(self, name, layer, values, count):
        """What a readout has of all steps, as outputs of the graph."""
        self._after += [(values, name, ["B", layer.output_size]), (count, "count", ["B"])]

    def _is_above_0(self, count):
        graph = self._graph
        is_above = graph.add("Greater", count, graph.number(0.0))
        return graph.add("Unsqueeze", is_above, graph.integers(1))

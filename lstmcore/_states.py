"""The states between two time steps, as users hold them: what they are at first, and checks.

A network's state is a tuple with one entry for each layer, a tuple of arrays with the axis B; a
readout that needs one has an entry after those.
"""

import numpy as np

from ._chain import Chain
from ._checks import (
    as_ndarray,
    as_real,
    describe,
    format_shape,
    refuse_nonfinite,
    rows_contiguous,
    shaped,
)
from ._initial import Start
from ._workspace import Workspace
from .sequences import ONLY_WITH_TOKENS, as_tokens, check_columns, check_tokens, single_steps


class States:
    """What a network's time steps take and hand on.

    Parameters
    ----------
    parts : Parts
    dtype : dtype
    function : Initial or None
        Where the initial ones are a function of features.
    """

    def __init__(self, parts, dtype, function=None):
        self.parts = parts
        self.dtype = dtype
        self.function = function
        self._read_layer = parts.layers[parts.read_layer]
        self._shapes = [tuple((size,) for size in layer.state_sizes) for layer in parts.layers]
        entry = parts.readout.entry_shapes(self._read_layer)
        if entry is not None:
            self._shapes.append(entry)

    def empty(self, batch_size):
        """Fresh uninitialised arrays for the layers' entries."""
        return tuple(
            tuple(np.empty((batch_size, size), self.dtype) for size in layer.state_sizes)
            for layer in self.parts.layers
        )

    def initial(self, weights, batch_size, features=None):
        """The state before the first step, as fresh arrays; `weights` of one direction."""
        if self.function is not None:
            memory, layer, w = Workspace(self.dtype), self.function.layer, weights[-1]
            chain = Chain([layer], [w], [layer.pack(w, memory.take)], memory, 1)
            state = [entry for (entry,) in Start(self.function, chain).states(features)]
        else:
            state = self._learned(weights, batch_size)
        entry = self.parts.readout.initial_entry(self._read_layer, batch_size, self.dtype)
        if entry is not None:
            state.append(entry)
        return tuple(state)

    def _learned(self, weights, batch_size):
        state = []
        for layer, (w,) in zip(self.parts.layers, weights, strict=True):
            entry = tuple(np.zeros((batch_size, size), self.dtype) for size in layer.state_sizes)
            for values, learned in zip(entry, w.initial, strict=True):
                if learned is not None:
                    values[:, : len(learned)] = learned
            state.append(entry)
        return state

    def check_features(self, features, batch_size, check_finite, state=None, name="features"):
        """Features as (B, F), or None where there is nothing that needs them.

        Parameters
        ----------
        features : array_like or None
        batch_size : int or None
            None is one sequence without the axis B.
        check_finite : bool
        state : tuple or None
            What was given in the place of the initial state.
        name : str
            What errors call them.
        """
        if self.function is None:
            if features is not None:
                raise ValueError(
                    f"{name}: expected None with a network whose initial states are no function of "
                    f"features, got {describe(features)}; Network(..., initial=F) makes them one"
                )
            return None
        if features is None and state is not None:
            return None
        return self.function.check(features, batch_size, self.dtype, check_finite, name)

    def refuse_reading_ahead(self, name):
        """Raise where a layer needs whole sequences, so that there is no state to hand on."""
        for k, layer in enumerate(self.parts.layers):
            if layer.reads_ahead:
                how = "is bidirectional" if layer.directions == 2 else "reads them in reverse"
                raise ValueError(
                    f"{name}: expected whole sequences, for layers[{k}] {how}, got a part; "
                    "predict takes them whole"
                )

    def check_step(self, x, check_finite, name="x"):
        """x as (B, 1, I) or tokens (B, 1), and whether it was one sequence.

        Where tokens are taken, what has no axis of features is tokens: one vector of numbers has to
        be (1, I), for (I,) would be the tokens of I sequences.
        """
        layer, array = self.parts.layers[0], as_ndarray(x, name)
        I = layer.input_size
        if layer.tokens and array.ndim <= 1:
            single, rows = array.ndim == 0, as_tokens(array, I, name).reshape(-1)
            rows = check_tokens(rows, I, name)[:, None]
        else:
            given, array = array, as_real(array, name, self.dtype)
            if layer.tokens:
                shaped(array, name, (), ("B",), ("B", I))
            elif array.shape[-1:] != (I,) or array.ndim > 2:
                hint = _way_to_steps(given, I, name)
                raise ValueError(
                    f"{name}: expected shape {format_shape((I,))} or (B, {I}), got "
                    f"{array.shape}{hint}"
                )
            single, rows = array.ndim == 1, rows_contiguous(array.reshape(-1, 1, I))
            if check_finite:
                refuse_nonfinite(array, name)
            if layer.token_sizes:
                rows = check_columns(single_steps(rows), layer.token_sizes, name).x.values[:, None]
        if len(rows) == 0:
            raise ValueError(f"{name}: expected at least one sequence, got {describe(array)}")
        return rows, single

    def check(self, state, batch_size, check_finite, name="state"):
        """A state as arrays with the axis B; `batch_size` None is one sequence without it."""
        _check_entry(state, name, len(self._shapes))
        return tuple(
            self._check_arrays(entry, f"{name}[{k}]", shapes, batch_size, check_finite)
            for k, (entry, shapes) in enumerate(zip(state, self._shapes, strict=True))
        )

    def check_any(self, state, check_finite, name="state"):
        """A state of one sequence without the axis B, or of any number with it.

        Returns its arrays with that axis, and how many sequences it is of; None for one without.
        """
        _check_entry(state, name, len(self._shapes))
        batch_size = None
        for k, (entry, shapes) in enumerate(zip(state, self._shapes, strict=True)):
            _check_entry(entry, f"{name}[{k}]", len(shapes))
            if shapes:
                first = as_ndarray(entry[0], f"{name}[{k}][0]")
                batch_size = len(first) if first.ndim > len(shapes[0]) else None
                break
        return self.check(state, batch_size, check_finite, name), batch_size

    def _check_arrays(self, entry, name, shapes, batch_size, check_finite):
        _check_entry(entry, name, len(shapes))
        arrays = []
        for j, (value, shape) in enumerate(zip(entry, shapes, strict=True)):
            array = as_real(value, f"{name}[{j}]", self.dtype)
            shaped(array, f"{name}[{j}]", shape if batch_size is None else (batch_size, *shape))
            if check_finite:
                refuse_nonfinite(array, f"{name}[{j}]")
            if batch_size is None:
                array = array[None]
            arrays.append(rows_contiguous(array) if shape else array)
        return tuple(arrays)


def _way_to_steps(array, input_size, name):
    """How an array of another shape becomes time steps, where it is clear what was meant."""
    if array.ndim <= 1 and array.dtype.kind in "iu":
        return f"; {ONLY_WITH_TOKENS}"
    if input_size == 1 and array.ndim == 0:
        return f"; [{name}] is a step of one input"
    if input_size == 1 and array.ndim == 1:
        return f"; np.reshape({name}, (-1, 1)) are steps of one input"
    if array.ndim == 3 and array.shape[1:] == (1, input_size):
        return f"; {name}[:, 0] is without the axis of time"
    return ""


def _check_entry(entry, name, length):
    if not isinstance(entry, tuple):
        raise TypeError(f"{name}: expected a tuple of length {length}, got {describe(entry)}")
    if len(entry) != length:
        raise ValueError(f"{name}: expected a tuple of length {length}, got {describe(entry)}")

"""`Stream`: a network that runs along with its input, one time step a call.

What a step costs is in `_stream.pyx`; here are the checks, and whatever is not on every step's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._checks import as_flag, as_integer, describe, format_shape
from ._fixed import Fixed
from ._stream import Runner

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._outputs import OutputUnits
    from ._parameters import Parameters
    from ._states import States
    from ._types import State, StateLike

__all__ = ["Stream"]


class Stream(Fixed, Runner):
    """A network that takes one step a call and keeps its state. Made by `Network.stream`.

    ``y = stream(x)`` gives what `Network.predict` gives at this step, bit for bit; with a readout,
    what it gives for the sequence so far. ``stream(x, out=y)`` allocates nothing.

    Parameters
    ----------
    parameters : Parameters
        Of the network.
    states : States
        Of the network, whose layers must not read ahead.
    output : OutputUnits
    batch_size : int
        Sequences that run side by side.
    check_finite : bool
        Refuse NaN and infinity in x.
    features : (B, F) array_like, optional
        Of the sequences, where initial states are a function of some.
    state : tuple, optional
        To begin with; by default the initial state.

    Attributes
    ----------
    batch_size : int
    check_finite : bool
    state : tuple
        The state in the form in which `Network.step` takes and returns it, in fresh arrays (B, H).
        Assign a state to continue from there.
    capsule : PyCapsule
        The stream for C code: see docs/c_api.md. Where the first layer is a `MixedEmbedding`, it
        takes the outputs of that layer.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    RuntimeError
        If another thread is within a call. A stream is for one thread at a time; any number of
        streams may share a network.

    Notes
    -----
    All attributes but `state` are read-only.

    The weights are those that the network had when the stream was made. They are arranged once;
    `refresh` takes the network's parameters anew. A step is cheapest if x is an array of the
    network's dtype without gaps. Anything else is converted first, and so are all steps of a
    network that takes tokens.

    A stream is neither copied nor pickled: make another, ``other = net.stream()``, and give it the
    state, ``other.state = stream.state``.

    From 20,000 multiply-adds on, which take some microseconds, a step lets other threads run: it
    gives up the GIL. For a smaller step, giving it up and taking it back would cost more than the
    step.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], dtype="float32", seed=0)
    >>> x = np.sin(np.arange(6, dtype=np.float32)).reshape(6, 1)
    >>> stream, y = net.stream(), np.empty((6, 1), np.float32)
    >>> for t in range(6):
    ...     _ = stream(x[t], out=y[t])
    >>> bool((y == net.predict(x[None])[0]).all())
    True
    """

    batch_size: int
    check_finite: bool

    _instead = "make a new one with Network.stream"
    _fixed = "batch_size", "check_finite"

    def __init__(
        self,
        parameters: Parameters,
        states: States,
        output: OutputUnits,
        batch_size: int = 1,
        check_finite: bool = True,
        features: npt.ArrayLike | None = None,
        state: StateLike | None = None,
    ) -> None:
        states.refuse_reading_ahead("stream")
        batch_size = as_integer(batch_size, "batch_size", 1, 1 << 24)
        check_finite = as_flag(check_finite, "check_finite")
        layers, read = states.parts.layers, states.parts.readout.stream_code
        # A first layer that is no cell looks vectors up for the others, which run.
        self._first = first = int(bool(layers[0].token_sizes))
        if first == len(layers):
            raise ValueError(
                f"stream: expected a layer after the first one, which only looks vectors up, got "
                f"{layers[0]!r} alone"
            )
        super().__init__(
            [layer.cell.description for layer in layers[first:]],
            batch_size,
            states.dtype,
            output.code,
            read,
            states.parts.read_layer - first if read else -1,
            check_finite,
            layers[0].tokens or first == 1,
        )
        self.batch_size, self.check_finite = batch_size, check_finite
        self._parameters, self._states = parameters, states
        self._layers, self._dtype = layers, states.dtype
        self._features = self._check_features(features, state)
        self.refresh()
        if state is None:
            self.reset()
        else:
            self.state = state

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "stream: expected a network and a state to copy or pickle, got a Stream; make another "
            "with other = net.stream(...), then other.state = stream.state"
        )

    def refresh(self) -> None:
        """Take the network's parameters as they are now. The state stays."""
        self._alone(self._take_weights, self._parameters.views(self._parameters.flat.copy()))

    def reset(self, features: npt.ArrayLike | None = None) -> None:
        """Back to the initial state.

        Parameters
        ----------
        features : (B, F) array_like, optional
            Where initial states are a function of features, those of the sequences that begin now;
            by default those of the sequences before. It may be (F,) where `batch_size` is 1.

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(1, 4)], seed=0, initial=2)
        >>> stream = net.stream(features=[0.3, -1.2])
        >>> stream([0.5]).shape
        (4,)
        >>> stream.reset([0.1, 0.7])
        """
        if features is not None or self._features is None:
            self._features = self._check_features(features)
        initial = self._states.initial(self._weights, self.batch_size, self._features)
        self._alone(self._set, initial)

    @property
    def state(self) -> State:
        return self._alone(self._copy_of_state)

    @state.setter
    def state(self, value: StateLike) -> None:
        self._alone(self._set, self._states.check(value, self.batch_size, True))

    def _check_features(self, features, state=None):
        single = self.batch_size == 1 and np.ndim(features) == 1
        batch_size = None if single else self.batch_size
        features = self._states.check_features(features, batch_size, True, state)
        return None if features is None else features.copy()

    def _take_weights(self, weights):
        running = slice(self._first, len(self._layers))
        pairs = zip(self._layers[running], weights[running], strict=True)
        self._prepare([layer.masked(w).blocks for layer, (w,) in pairs])
        self._weights = weights

    def _copy_of_state(self):
        state = self._states.empty(self.batch_size)
        for k, entry in enumerate(state[self._first :]):
            self._get_state(k, entry)
        read = self._read_entry()
        if read is not None:
            state += (tuple(values.copy() for values in read),)
        return state

    def _set(self, state):
        for k, entry in enumerate(state[self._first : len(self._layers)]):
            self._set_state(k, tuple(np.ascontiguousarray(values) for values in entry))
        read = self._read_entry()
        if read is not None:
            for mine, values in zip(read, state[-1], strict=True):
                mine[...] = values

    def _read_entry(self):
        """Views of what the readout keeps, (B, H) and (B,); None where it keeps nothing."""
        parts, B = self._states.parts, self.batch_size
        if not parts.readout.stream_code:
            return None
        H = parts.layers[parts.read_layer].output_size
        memory = self._read_memory
        return memory[: B * H].reshape(B, H), memory[B * H : B * H + B]

    def _keep(self, places):
        """Go on with some of the sequences alone: for `Generation`, whose stream is its own."""
        state = self._copy_of_state()
        self.__dict__["batch_size"] = len(places)
        self._set_batch(len(places))
        self._set(tuple(tuple(values[places] for values in entry) for entry in state))

    def _convert(self, x, out):
        """A step of anything that is not read as it stands."""
        rows, single = self._states.check_step(x, self.check_finite)
        if len(rows) != self.batch_size:
            raise ValueError(
                f"x: expected {self.batch_size} sequences, got {len(rows)}; "
                f"net.stream({len(rows)}) takes as many"
            )
        outputs = self._layers[-1].output_size
        shape = (outputs,) if single else (self.batch_size, outputs)
        if out is None:
            out = np.empty(shape, self._dtype)
        else:
            _check_out(out, shape, self._dtype)
        self._run(self._look_up(rows[:, 0]), out)
        return out

    def _look_up(self, rows):
        """What the running layers read, without gaps, of checked rows of inputs or tokens."""
        if self._first:
            rows = self._layers[0].look_up(rows, *self._weights[0])
        return np.ascontiguousarray(rows)


def _check_out(out, shape, dtype):
    if type(out) is not np.ndarray or out.dtype != dtype:
        raise TypeError(f"out: expected an array of dtype {dtype}, got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {format_shape(shape)}, got {out.shape}")
    if not out.flags.carray:
        raise ValueError("out: expected a writeable array without gaps, got one that is not")

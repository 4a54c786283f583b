"""`Stream`: a network that runs along with its input, one time step a call.

What a step costs is in `_stream.pyx`; here are the checks, and whatever is not on every step's way.
"""

import numpy as np

from ._checks import as_flag, as_integer, describe, format_shape
from ._stream import Runner

__all__ = ["Stream"]

_OUTPUTS = {"identity": 0, "logistic": 1, "softmax": 2}


class Stream(Runner):
    """A network that takes one step a call and keeps its state. Made by `Network.stream`.

    ``y = stream(x)`` gives what `Network.predict` gives at this step, bit for bit; with a readout,
    what it gives for the sequence so far. ``stream(x, out=y)`` allocates nothing.

    Parameters
    ----------
    network : Network
        Without bidirectional layers.
    batch_size : int
        Sequences that run side by side.
    check_finite : bool
        Refuse NaN and infinity in x.

    Attributes
    ----------
    batch_size : int
    state : tuple
        As `Network.step` takes and returns it, fresh arrays (B, H). Assign one to continue from
        there.
    capsule : PyCapsule
        The stream for C code: see docs/c_api.md.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    RuntimeError
        If another thread is within a step. A stream is for one thread at a time; any number of
        streams may share a network.

    Notes
    -----
    The weights are those of the network when the stream was made, arranged once; `refresh` takes
    the network's parameters anew. A step of an array of the network's dtype without gaps costs
    least; anything else is converted first.

    A step lets other threads run (it gives up the GIL) from 20,000 multiply-adds on, some
    microseconds; for a smaller one giving up and taking back would cost more than the step.

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

    def __init__(self, network, batch_size=1, check_finite=True):
        network._refuse_bidirectional("stream")
        self.batch_size = as_integer(batch_size, "batch_size", 1, 1 << 24)
        self.check_finite = as_flag(check_finite, "check_finite")
        self._network = network
        super().__init__(
            [layer.cell.description for layer in network.layers],
            self.batch_size,
            network.dtype,
            _OUTPUTS[network._loss.output],
            network._read_layer if network.readout == "mean" else -1,
            self.check_finite,
        )
        self.refresh()
        self.reset()

    def refresh(self):
        """Take the network's parameters as they are now. The state stays."""
        network = self._network
        self._weights = network._views(network.params.copy())
        self._prepare(
            [
                (*layer.masked(w).blocks, *(None,) * 5)[:5]
                for layer, (w,) in zip(network.layers, self._weights, strict=True)
            ]
        )

    def reset(self):
        """Back to the initial state."""
        self._set(self._network._initial_state(self._weights, self.batch_size))

    @property
    def state(self):
        network, B = self._network, self.batch_size
        state = []
        for k, layer in enumerate(network.layers):
            entry = tuple(np.empty((B, size), network.dtype) for size in layer.state_sizes)
            self._get_state(k, *(*entry, None, None)[:2])
            state.append(entry)
        if network.readout == "mean":
            total, count = self._mean_parts()
            state.append((total.copy(), count.copy()))
        return tuple(state)

    @state.setter
    def state(self, value):
        self._set(self._network._check_state(value, self.batch_size, True))

    def _set(self, state):
        for k in range(len(self._network.layers)):
            entry = [np.ascontiguousarray(values) for values in state[k]]
            self._set_state(k, *(*entry, None, None)[:2])
        if self._network.readout == "mean":
            for mine, values in zip(self._mean_parts(), state[-1], strict=True):
                mine[...] = values

    def _mean_parts(self):
        """Views of the mean's total (B, H) and count (B,)."""
        B, H = self.batch_size, self._network.layers[self._network._read_layer].hidden_size
        mean = self._mean
        return mean[: B * H].reshape(B, H), mean[B * H : B * H + B]

    def _convert(self, x, out):
        """A step of anything that is not read as it stands."""
        network = self._network
        rows, single = network._check_step(x, self.check_finite)
        if len(rows) != self.batch_size:
            raise ValueError(f"x: expected {self.batch_size} sequences, got {len(rows)}")
        shape = (network.output_size,) if single else (self.batch_size, network.output_size)
        if out is None:
            out = np.empty(shape, network.dtype)
        else:
            _check_out(out, shape, network.dtype)
        self._run(np.ascontiguousarray(rows[:, 0]), out)
        return out


def _check_out(out, shape, dtype):
    if type(out) is not np.ndarray or out.dtype != dtype:
        raise TypeError(f"out: expected an array of dtype {dtype}, got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {format_shape(shape)}, got {out.shape}")
    if not out.flags.carray:
        raise ValueError("out: expected a writeable array without gaps, got one that is not")

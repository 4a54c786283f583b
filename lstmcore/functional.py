"""One layer, one direction, as functions of arrays: for people with their own loop.

The caller owns the parameters and the state; nothing is kept but what the tape holds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ._checks import (
    as_flag,
    as_real,
    as_threads,
    describe,
    float_dtype,
    refuse_nonfinite,
    rows_contiguous,
    shaped,
)
from ._workspace import WorkspacePool
from .cells import GRU, LSTM, RNN, Weights
from .sequences import Rows, equal_lengths, make_batch, refuse_nonfinite_rows

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from ._types import Activation, Array, OutputPeephole, SequencesLike

__all__ = [
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "release_memory",
    "rnn_backward",
    "rnn_forward",
]


# Memory is kept from call to call, for fresh pages would cost a tenth of the time: up to 128 MB in
# each dtype, however many tapes there were. `release_memory` frees it.
_POOLS = {
    dtype: WorkspacePool(dtype, 2**27 // dtype.itemsize)
    for dtype in (np.dtype(np.float32), np.dtype(np.float64))
}


class Tape:
    """What a forward pass keeps for its backward pass. It refers to x, which must stay as it is."""

    __slots__ = (
        "_workspace",
        "_pool",
        "_layer",
        "_batch",
        "_packed",
        "_tapes",
        "_given",
        "_state_shapes",
    )

    def __init__(self, workspace, pool, layer, batch, packed, tapes, given, state_shapes):
        self._workspace = workspace  # in which packed and tapes are
        self._pool = pool
        self._layer = layer
        self._batch = batch
        self._packed = packed
        self._tapes = tapes
        self._given = given  # names of the blocks
        self._state_shapes = state_shapes  # as they were given

    def __del__(self):
        if hasattr(self, "_pool"):
            self._pool.release(self._workspace)

    def __reduce__(self):
        # Each of two tapes would hand the one workspace back.
        raise TypeError(
            "tape: expected to stay the only one of its forward pass and in its process, got a "
            "copy or a pickle; one tape serves any number of backward passes"
        )

    def __repr__(self):
        return f"<Tape of {self._layer!r} over {self._batch.size} sequences>"


def lstm_forward(
    x: SequencesLike,
    W: npt.ArrayLike,
    R: npt.ArrayLike,
    b: npt.ArrayLike,
    p: npt.ArrayLike | None = None,
    h0: npt.ArrayLike | None = None,
    c0: npt.ArrayLike | None = None,
    *,
    Q: npt.ArrayLike | None = None,
    tokens: bool = False,
    lengths: npt.ArrayLike | None = None,
    output_peephole: OutputPeephole = "now",
    input_gate: bool = True,
    forget_gate: bool = True,
    output_gate: bool = True,
    coupled: bool = False,
    block_size: int = 1,
    gate_activation: Activation = "logistic",
    cell_activation: Activation = "tanh",
    output_activation: Activation = "tanh",
    save: bool = True,
    check_finite: bool = True,
    n_threads: int | None = None,
) -> tuple[Array | Any, tuple[Array, Array], Tape | Any]:
    """An LSTM layer over a batch of sequences, equations (4.2)-(4.10) of Graves (2012).

    Parameters
    ----------
    x : (B, T, I) array_like or list of (T_b, I) array_like
        Inputs; with `tokens` also integers (B, T) or a list of (T_b,).
    W : (4H, I) array_like
        Gate order i, f, g, o. float32 computes in float32, all else in float64.
    R : (4H, H) array_like
    b : (4H,) array_like
    p : (3, H) array_like, optional
        Peepholes of i, f, o; (2, H) with `output_peephole` None.
    h0, c0 : (B, H) or (H,) array_like, optional
        Initial state; by default zero.
    Q : (3H, 3H) array_like, optional
        Gate recurrence: rows receive, columns send, i, f, o each. h0, hT and their gradients then
        have H + 3H columns, for the gates' activations are part of the state.
    tokens : bool
        Take integers 0 ... I-1, which stand for one-hot vectors.
    lengths : (B,) array_like of int, optional
        Steps of each sequence; by default T.
    output_peephole, input_gate, forget_gate, output_gate, coupled, block_size
        Variants, as in `LSTM`; gates without rows of their own are left out of W, R, b, p and Q.
    gate_activation, cell_activation, output_activation : str or tuple
        As in `LSTM`.
    save : bool
        Keep what `lstm_backward` needs.
    check_finite : bool
        Refuse NaN and infinity.
    n_threads : int, optional
        By default a choice by the size of the work.

    Returns
    -------
    h : (B, T, H) array
        Zero after a sequence's end.
    state : tuple of (B, H) arrays
        (hT, cT) after each sequence's last step.
    tape : Tape or None
        None without `save`.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> rng = np.random.default_rng(0)
    >>> x, W = rng.normal(size=(2, 6, 3)), rng.normal(size=(16, 3))
    >>> R, b = rng.normal(size=(16, 4)), np.zeros(16)
    >>> h, (hT, cT), tape = lc.lstm_forward(x, W, R, b, lengths=[6, 4])
    >>> bool((h[0, -1] == hT[0]).all()), bool((h[1, 4:] == 0).all())
    (True, True)
    >>> grads = lc.lstm_backward(np.ones_like(h), tape)
    >>> sorted(grads)
    ['R', 'W', 'b', 'c0', 'h0', 'x']
    """
    options = {
        "peepholes": p is not None,
        "output_peephole": output_peephole,
        "gate_recurrence": Q is not None,
        "input_gate": input_gate,
        "forget_gate": forget_gate,
        "output_gate": output_gate,
        "coupled": coupled,
        "block_size": block_size,
        "gate_activation": gate_activation,
        "cell_activation": cell_activation,
        "output_activation": output_activation,
    }
    blocks = {"W": W, "R": R, "b": b, "p": p, "Q": Q}
    states = {"h0": h0, "c0": c0}
    return _forward(
        LSTM, options, x, blocks, states, tokens, lengths, save, check_finite, n_threads
    )


def lstm_backward(
    dh: SequencesLike | None,
    tape: Tape,
    dhT: npt.ArrayLike | None = None,
    dcT: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    *,
    check_finite: bool = True,
) -> dict[str, Array]:
    """BPTT through `lstm_forward`, equations (4.11)-(4.16) of Graves (2012).

    Parameters
    ----------
    dh : (B, T, H) array_like or None
        dL/dh; what comes after a sequence's end is never looked at. None is zero.
    tape : Tape
        Of `lstm_forward`; it may be used again.
    dhT, dcT : (B, H) array_like, optional
        dL/dhT, dL/dcT; by default zero.
    n_threads : int, optional
        By default a choice by the size of the work.
    check_finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    grads : dict of str to ndarray
        dL/d of "x", "W", "R", "b", "p", "Q", "h0", "c0", each in the shape of what it belongs to.
        No "x" for tokens; no "p" and "Q" where there were none.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> rng = np.random.default_rng(0)
    >>> W, R, b = rng.normal(size=(16, 3)), rng.normal(size=(16, 4)), np.zeros(16)
    >>> h, (hT, cT), tape = lc.lstm_forward(rng.normal(size=(2, 6, 3)), W, R, b)
    >>> grads = lc.lstm_backward(h, tape)  # of the loss (h ** 2).sum() / 2
    >>> grads["W"].shape, grads["x"].shape, grads["c0"].shape
    ((16, 3), (2, 6, 3), (2, 4))
    """
    return _backward(LSTM, dh, tape, {"dhT": dhT, "dcT": dcT}, check_finite, n_threads)


def rnn_forward(
    x: SequencesLike,
    W: npt.ArrayLike,
    R: npt.ArrayLike,
    b: npt.ArrayLike,
    h0: npt.ArrayLike | None = None,
    *,
    tokens: bool = False,
    lengths: npt.ArrayLike | None = None,
    activation: Activation = "tanh",
    save: bool = True,
    check_finite: bool = True,
    n_threads: int | None = None,
) -> tuple[Array | Any, Array, Tape | Any]:
    """A simple recurrent layer over a batch, equations (3.30), (3.31) of Graves (2012).

    Parameters
    ----------
    x : (B, T, I) array_like or list of (T_b, I) array_like
        Inputs; with `tokens` also integers (B, T) or a list of (T_b,).
    W : (H, I) array_like
        float32 computes in float32, all else in float64.
    R : (H, H) array_like
    b : (H,) array_like
    h0 : (B, H) or (H,) array_like, optional
        Initial state; by default zero.
    tokens : bool
        Take integers 0 ... I-1, which stand for one-hot vectors.
    lengths : (B,) array_like of int, optional
        Steps of each sequence; by default T.
    activation : str or tuple
        As in `RNN`.
    save : bool
        Keep what `rnn_backward` needs.
    check_finite : bool
        Refuse NaN and infinity.
    n_threads : int, optional
        By default a choice by the size of the work.

    Returns
    -------
    h : (B, T, H) array
        Zero after a sequence's end.
    hT : (B, H) array
        State after each sequence's last step.
    tape : Tape or None
        None without `save`.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x, W, R, b = np.ones((1, 5, 2)), np.ones((3, 2)), np.eye(3), np.zeros(3)
    >>> h, hT, tape = lc.rnn_forward(x, W, R, b, activation="relu")
    >>> h[0, :, 0]
    array([ 2.,  4.,  6.,  8., 10.])
    >>> lc.rnn_backward(None, tape, dhT=np.ones((1, 3)))["x"][0, 0]
    array([3., 3.])
    """
    h, (hT,), tape = _forward(
        RNN,
        {"activation": activation},
        x,
        {"W": W, "R": R, "b": b},
        {"h0": h0},
        tokens,
        lengths,
        save,
        check_finite,
        n_threads,
    )
    return h, hT, tape


def rnn_backward(
    dh: SequencesLike | None,
    tape: Tape,
    dhT: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    *,
    check_finite: bool = True,
) -> dict[str, Array]:
    """BPTT through `rnn_forward`, equations (3.33)-(3.35) of Graves (2012).

    Parameters
    ----------
    dh : (B, T, H) array_like or None
        dL/dh; what comes after a sequence's end is never looked at. None is zero.
    tape : Tape
        Of `rnn_forward`; it may be used again.
    dhT : (B, H) array_like, optional
        dL/dhT; by default zero.
    n_threads : int, optional
        By default a choice by the size of the work.
    check_finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    grads : dict of str to ndarray
        dL/d of "x", "W", "R", "b", "h0", each in the shape of what it belongs to. No "x" for
        tokens.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> W, R, b = np.ones((1, 1)), np.full((1, 1), 0.5), np.zeros(1)
    >>> h, hT, tape = lc.rnn_forward(np.ones((1, 3, 1)), W, R, b, activation="identity")
    >>> lc.rnn_backward(None, tape, dhT=[[1.0]])["x"].ravel()
    array([0.25, 0.5 , 1.  ])
    """
    return _backward(RNN, dh, tape, {"dhT": dhT}, check_finite, n_threads)


def gru_forward(
    x: SequencesLike,
    W: npt.ArrayLike,
    R: npt.ArrayLike,
    b: npt.ArrayLike,
    bR: npt.ArrayLike | None = None,
    h0: npt.ArrayLike | None = None,
    *,
    reset_after: bool = True,
    tokens: bool = False,
    lengths: npt.ArrayLike | None = None,
    gate_activation: Activation = "logistic",
    cell_activation: Activation = "tanh",
    save: bool = True,
    check_finite: bool = True,
    n_threads: int | None = None,
) -> tuple[Array | Any, Array, Tape | Any]:
    """A GRU layer over a batch of sequences, equations (G1)-(G5) of docs/equations.md.

    Parameters
    ----------
    x : (B, T, I) array_like or list of (T_b, I) array_like
        Inputs; with `tokens` also integers (B, T) or a list of (T_b,).
    W : (3H, I) array_like
        Gate order r, z, n. float32 computes in float32, all else in float64.
    R : (3H, H) array_like
    b : (3H,) array_like
    bR : (H,) array_like, optional
        Bias of the recurrent part of n, with `reset_after` only; by default zero.
    h0 : (B, H) or (H,) array_like, optional
        Initial state; by default zero.
    reset_after : bool
        As in `GRU`.
    tokens : bool
        Take integers 0 ... I-1, which stand for one-hot vectors.
    lengths : (B,) array_like of int, optional
        Steps of each sequence; by default T.
    gate_activation, cell_activation : str or tuple
        As in `GRU`.
    save : bool
        Keep what `gru_backward` needs.
    check_finite : bool
        Refuse NaN and infinity.
    n_threads : int, optional
        By default a choice by the size of the work.

    Returns
    -------
    h : (B, T, H) array
        Zero after a sequence's end.
    hT : (B, H) array
        State after each sequence's last step.
    tape : Tape or None
        None without `save`.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> rng = np.random.default_rng(0)
    >>> W, R, b = rng.normal(size=(12, 3)), rng.normal(size=(12, 4)), np.zeros(12)
    >>> h, hT, tape = lc.gru_forward(rng.normal(size=(2, 6, 3)), W, R, b, lengths=[6, 4])
    >>> bool((h[0, -1] == hT[0]).all()), bool((h[1, 4:] == 0).all())
    (True, True)
    >>> sorted(lc.gru_backward(np.ones_like(h), tape))
    ['R', 'W', 'b', 'h0', 'x']
    """
    options = {
        "reset_after": reset_after,
        "gate_activation": gate_activation,
        "cell_activation": cell_activation,
    }
    blocks = {"W": W, "R": R, "b": b, "bR": bR}
    h, (hT,), tape = _forward(
        GRU, options, x, blocks, {"h0": h0}, tokens, lengths, save, check_finite, n_threads
    )
    return h, hT, tape


def gru_backward(
    dh: SequencesLike | None,
    tape: Tape,
    dhT: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    *,
    check_finite: bool = True,
) -> dict[str, Array]:
    """BPTT through `gru_forward`, equations (G6)-(G9) of docs/equations.md.

    Parameters
    ----------
    dh : (B, T, H) array_like or None
        dL/dh; what comes after a sequence's end is never looked at. None is zero.
    tape : Tape
        Of `gru_forward`; it may be used again.
    dhT : (B, H) array_like, optional
        dL/dhT; by default zero.
    n_threads : int, optional
        By default a choice by the size of the work.
    check_finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    grads : dict of str to ndarray
        dL/d of "x", "W", "R", "b", "bR", "h0", each in the shape of what it belongs to. No "x" for
        tokens; no "bR" where none was given.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> W, R, b = np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(3)
    >>> h, hT, tape = lc.gru_forward(np.ones((1, 3, 1)), W, R, b, h0=[1.0])
    >>> h.ravel()  # z is 1/2, n is 0
    array([0.5  , 0.25 , 0.125])
    >>> lc.gru_backward(None, tape, dhT=[[1.0]])["h0"]
    array([0.125])
    """
    return _backward(GRU, dh, tape, {"dhT": dhT}, check_finite, n_threads)


def release_memory() -> None:
    """Free the memory that functions of arrays keep between calls, up to 128 MB in each dtype.

    It belongs to the process: to `lstm_forward`, `lstm_backward` and their like, in all threads.
    Tapes that are in use keep theirs. What a network keeps, `Network.release_memory` frees.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> h, hT, tape = lc.rnn_forward(np.ones((1, 3, 1)), [[1.0]], [[0.0]], [0.0])
    >>> del tape
    >>> lc.release_memory()
    """
    for pool in _POOLS.values():
        pool.clear()
    equal_lengths.cache_clear()


def _real_blocks(dtype, check_finite, given):
    """The blocks as C-contiguous arrays of one dtype; their shapes are checked in `_layer`."""
    blocks = {}
    for name, value in given.items():
        if value is not None or name in ("W", "R", "b"):
            value = np.ascontiguousarray(as_real(value, name, dtype))
            if check_finite:
                refuse_nonfinite(value, name)
            blocks[name] = value
    return blocks


def _layer(cls, blocks, options):
    """The layer whose blocks these are, and all its blocks' shapes by name.

    Its options are checked the first time.
    """
    for name in ("W", "R"):
        if blocks[name].ndim != 2 or 0 in blocks[name].shape:
            raise ValueError(f"{name}: expected a matrix, got {describe(blocks[name])}")
    sizes = blocks["W"].shape[1], blocks["R"].shape[1]
    names, values = tuple(options), tuple(options.values())
    try:
        layer, shapes = _cached_layer(cls, *sizes, names, *values)
    except TypeError:  # a list, which cannot be a key, or what is no option: there it will be said
        layer, shapes = _new_layer(cls, *sizes, names, *values)
    for name, values in blocks.items():
        shape = shapes.get(name)
        if shape is None:
            raise ValueError(f"{name}: expected None for {layer!r}, got {describe(values)}")
        if values.shape != shape:
            shaped(values, name, shape)
    return layer, shapes


def _new_layer(cls, input_size, hidden_size, names, *options):
    layer = cls(input_size, hidden_size, **dict(zip(names, options, strict=True)))
    return layer, {block.name: block.shape for block in layer.blocks()}


_cached_layer = lru_cache(maxsize=256, typed=True)(_new_layer)


def _forward(cls, options, x, blocks, states, tokens, lengths, save, check_finite, n_threads):
    """A layer over a batch: (h, final states, tape).

    Parameters
    ----------
    cls : type
        The layer's.
    options : dict
        Of its constructor, but for the sizes.
    x : array_like or list
    blocks : dict
        Its blocks by name. One that is None is absent, or zero if the layer has it.
    states : dict
        Its initial states in order, by the names of the arguments.
    tokens, lengths, save, check_finite, n_threads
        As they came.
    """
    dtype = float_dtype(blocks["W"])
    check_finite = as_flag(check_finite, "check_finite")
    blocks = _real_blocks(dtype, check_finite, blocks)
    layer, shapes = _layer(cls, blocks, options)
    tokens = as_flag(tokens, "tokens")
    batch = make_batch(x, layer.input_size, dtype, lengths, None, check_finite, "x", tokens)
    n_threads = as_threads(n_threads)
    save = as_flag(save, "save")
    B, T, H = batch.size, batch.T, layer.hidden_size
    given, initial, state_shapes = tuple(blocks), [], []
    for (name, value), size in zip(states.items(), layer.state_sizes, strict=True):
        if value is not None:
            value = as_real(value, name, dtype)
            shaped(value, name, (B, size), (size,))
            if check_finite:
                refuse_nonfinite(value, name)
            state_shapes.append(value.shape)
            value = rows_contiguous(np.broadcast_to(value, (B, size)))
        else:
            state_shapes.append((B, size))
        initial.append(value)

    pool = _POOLS[dtype]
    workspace = pool.acquire()
    if len(blocks) < len(shapes):
        for name in shapes.keys() - blocks.keys():
            blocks[name] = workspace.take_zeros(*shapes[name])
    weights = Weights(tuple(map(blocks.get, layer.cell.block_names)), (None,) * len(initial))
    packed = layer.pack([weights], workspace.take)
    h = np.zeros((B, T, H), dtype) if batch.n_steps < B * T else np.empty((B, T, H), dtype)
    final = tuple(np.empty((B, size), dtype) for size in layer.state_sizes)
    tapes = layer.forward(
        packed,
        batch.x,
        batch,
        [tuple(initial)],
        Rows(h, batch.order),
        [final],
        save,
        workspace,
        n_threads,
    )
    if save:
        tape = Tape(workspace, pool, layer, batch, packed, tapes, given, state_shapes)
        return h, final, tape
    pool.release(workspace)
    return h, final, None


def _backward(cls, dh, tape, dfinal, check_finite, n_threads):
    """The gradient by all that `_forward` was given, by name."""
    n_threads = as_threads(n_threads)
    check_finite = as_flag(check_finite, "check_finite")
    if not isinstance(tape, Tape) or type(tape._layer) is not cls:
        function = f"{cls.__name__.lower()}_forward"
        raise TypeError(f"tape: expected the tape of {function}, got {describe(tape)}")
    layer, batch, packed = tape._layer, tape._batch, tape._packed
    B, T, dtype = batch.size, batch.T, packed[0].dtype
    if dh is not None:
        dh = as_real(dh, "dh", dtype)
        shaped(dh, "dh", (B, T, layer.hidden_size))
        dh = rows_contiguous(dh)
        if check_finite:
            refuse_nonfinite_rows(batch.gather(dh), batch, "dh")
        dh = Rows(dh, batch.order)
    dstates = []
    for (name, value), size in zip(dfinal.items(), layer.state_sizes, strict=True):
        if value is not None:
            value = rows_contiguous(shaped(as_real(value, name, dtype), name, (B, size)))
            if check_finite:
                refuse_nonfinite(value, name)
        dstates.append(value)

    blocks = {block.name: np.empty(block.shape, dtype) for block in layer.blocks()}
    takes_tokens = batch.x.values.dtype != dtype
    dx = None if takes_tokens else np.zeros((B, T, layer.input_size), dtype)
    dinitial = tuple(np.empty((B, size), dtype) for size in layer.state_sizes)
    workspace = _POOLS[dtype].acquire()
    buffers = layer.gradient_buffers(dtype, workspace.take_zeros)
    layer.backward(
        packed,
        tape._tapes,
        batch.x,
        batch,
        dh,
        [tuple(dstates)],
        None if dx is None else Rows(dx, batch.order),
        [dinitial],
        buffers,
        workspace,
        n_threads,
    )
    gradient = Weights(tuple(map(blocks.get, layer.cell.block_names)), (None,) * len(dinitial))
    layer.unpack(buffers, [dinitial], [gradient])
    _POOLS[dtype].release(workspace)
    grads = {} if dx is None else {"x": dx}
    grads |= {name: blocks[name] for name in tape._given}
    for state, value, shape in zip(layer.states, dinitial, tape._state_shapes, strict=True):
        grads[f"{state}0"] = value if value.shape == shape else value.sum(axis=0)
    return grads

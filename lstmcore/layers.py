"""Layers: `RNN`, `LSTM`, `Dense`. Options are checked once; a layer then knows its blocks of
parameters and how to run its kernels over a batch, forward and backward, in one or two directions.

A layer holds no parameters and no state: it may be used in any number of networks and threads.

A further cell is one more subclass of `Layer` here and one more kind in the kernels: it says what
its `cell` is, which blocks it has and which states; all else is shared.
"""

import inspect
from collections import namedtuple
from dataclasses import replace

import numpy as np

from ._activations import parse_activation
from ._checks import as_flag, as_integer, as_ndarray, as_number, describe
from ._dispatch import choose_threads, kernels
from ._params import BIAS, STATE, WEIGHTS, Block, bias, by_gate, zeros

__all__ = ["RNN", "LSTM", "Dense", "Layer"]

# One direction's blocks, or its gradient's, in the order of the flat vector; None where absent.
Weights = namedtuple("Weights", "W R b p Q h0 c0")

# Sequences for which a step takes no longer than for one, which reads all weights as well.
_ROWS_OF_WEIGHTS = 4

# So that no product of sizes leaves 64 bits; what memory cannot hold is a MemoryError.
_LARGEST = 1 << 24

DENSE, RNN_KIND, LSTM_KIND = 0, 1, 2


class Layer:
    """What every layer has.

    Attributes
    ----------
    input_size, output_size : int
        Features of x and of y; a bidirectional layer has twice its units as outputs.
    hidden_size : int
        Units of one direction.
    directions : {1, 2}
    states : tuple of str
        Which of the states h and c a time step hands to the next.
    state_sizes : tuple of int
        Columns of each: `hidden_size`, but with gate recurrence the gates' activations follow h.
    learns_states : bool
        Whether the initial states are parameters.
    options : dict
        The constructor's arguments: ``type(layer)(**layer.options)`` is an equal layer.
    cell : dict
        One direction, for `kernels.plan_cell`.
    """

    states = ()

    def __init__(
        self, options, input_size, hidden_size, cell, blocks, masks=(None, None), gate_states=0
    ):
        self.options = options
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.directions = 2 if options.get("bidirectional") else 1
        self.output_size = self.directions * hidden_size
        self.state_sizes = (hidden_size + gate_states, hidden_size)[: len(self.states)]
        self.cell = {
            "inputs": input_size,
            "units": hidden_size,
            **_NO_OPTIONS,
            **cell,
        }
        self._masks = masks
        self._is_masked = any(mask is not None for mask in masks)
        self._kernel_cells = {}
        self.learns_states = bool(options.get("learn_initial_state"))
        self._no_states = [(None, None)] * self.directions
        if self.learns_states:
            blocks += [Block(f"{s}0", (hidden_size,), STATE, zeros()) for s in self.states]
        self._blocks = blocks  # of one direction
        self._multiplications = sum(block.size for block in blocks if block.kind == WEIGHTS)
        self._W_size = blocks[0].size

    def __repr__(self):
        parameters = inspect.signature(type(self)).parameters.values()
        shown = []
        for parameter in parameters:
            value = self.options[parameter.name]
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                shown.append(repr(value))
            elif isinstance(value, np.ndarray):
                shown.append(f"{parameter.name}=<{value.shape[0]}x{value.shape[1]}>")
            elif value != parameter.default:
                shown.append(f"{parameter.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self):
        return _rebuild, (type(self), self.options)

    @property
    def is_recurrent(self):
        return bool(self.states)

    def blocks(self):
        """All blocks, direction by direction, named as in ``"W"`` or ``"forward.W"``."""
        if self.directions == 1:
            return list(self._blocks)
        return [
            replace(block, name=f"{direction}.{block.name}")
            for direction in ("forward", "backward")
            for block in self._blocks
        ]

    def places(self, blocks):
        """Where `Weights` find their blocks in the flat vector, given this layer's placed blocks.

        For each direction a list with (slice, shape), or None, for each field.
        """
        count, result = len(self._blocks), []
        for first in range(0, len(blocks), count):
            places = dict.fromkeys(Weights._fields)
            for block in blocks[first : first + count]:
                places[block.name.rpartition(".")[2]] = (block.slice, block.shape)
            result.append(list(places.values()))
        return result

    # The kernels' side. `take` and `workspace` give uninitialised memory; lists have one entry for
    # each direction. Shapes: x (B, L, I) or tokens (B, L); y (B, L, output_size); h and c, and what
    # is called after them, as in `state_sizes`.

    def kernel_cell(self, dtype):
        """What kernels take as the layer's cell in a dtype."""
        cell = self._kernel_cells.get(dtype)
        if cell is None:
            cell = self._kernel_cells[dtype] = kernels.plan_cell(self.cell, dtype)
        return cell

    def masked(self, w):
        """The weights that count: W and R without what the masks exclude."""
        if not self._is_masked:
            return w
        W, R = (
            values if mask is None else values * mask
            for values, mask in zip((w.W, w.R), self._masks, strict=True)
        )
        return w._replace(W=W, R=R)

    def pack(self, weights, take):
        """The weights in the layout that kernels read: one flat buffer for each direction."""
        packed = []
        for w in weights:
            cell = self.kernel_cell(w.W.dtype)
            buffer = take(kernels.sizes(cell)[0])
            kernels.pack(cell, *self.masked(w)[:5], buffer)
            packed.append(buffer)
        return packed

    def initial(self, weights, B, take):
        """The learned initial states (h0, c0) of B sequences; None for zero."""
        if not self.learns_states:
            return self._no_states
        return [
            tuple(
                None if learned is None else _rows(learned, B, size, take)
                for learned, size in zip((w.h0, w.c0), self.state_sizes + (0,) * 2, strict=False)
            )
            for w in weights
        ]

    def forward(self, packed, x, batch, initial, y, final, training, workspace, n_threads):
        """Run over a batch.

        Parameters
        ----------
        packed : list of arrays
            From `pack`.
        x : array
        batch : Batch
            For its lengths and ranks; its own x is that of the first layer.
        initial : list of (h0, c0)
            None in the place of a state is zero.
        y : array or None
            Written where steps are.
        final : list of (hT, cT) or None
            Overwritten where they are not None.
        training : bool
            Keep what `backward` needs.
        workspace : Workspace
        n_threads : int or None

        Returns
        -------
        tapes : list of arrays, or None without `training`
        """
        B, H, dtype = batch.size, self.hidden_size, packed[0].dtype
        cell = self.kernel_cell(dtype)
        n_threads = self.threads(
            n_threads, dtype, batch.n_steps, batch.max_length, tokens=x.ndim == 2
        )
        tapes, tape = [], None
        for d in range(self.directions):
            if training:
                tape = workspace.take(kernels.sizes(cell)[1] * (B + batch.n_steps))
            mark = workspace.mark
            scratch = workspace.take(kernels.scratch_size(cell, B, n_threads, False, False))
            h0, c0 = initial[d]
            hT, cT = (None, None) if final is None else final[d]
            y_d = y if y is None or self.directions == 1 else y[..., d * H : (d + 1) * H]
            kernels.forward(
                cell, packed[d], x, batch.order, batch.ranked, h0, c0, y_d, hT, cT, tape, scratch,
                0, batch.max_length, d, n_threads,
            )  # fmt: skip
            workspace.drop(mark)
            tapes.append(tape)
        return tapes if training else None

    def state_arrays(self, B, take):
        """Room for the states (h, c) of B sequences, by direction; None for what there is not."""
        return [
            (*[take(B, size) for size in self.state_sizes], None, None)[:2]
            for _ in range(self.directions)
        ]

    def gradient_buffers(self, dtype, take_zeros):
        """What `backward` adds to: one flat buffer for each direction."""
        size = kernels.sizes(self.kernel_cell(dtype))[2]
        return [take_zeros(size) for _ in range(self.directions)]

    def backward(
        self, packed, tapes, x, batch, dy, dfinal, dx, dinitial, buffers, workspace, n_threads
    ):
        """Backpropagate through what `forward` did with the same arguments.

        Parameters
        ----------
        packed, tapes, x, batch
            Of `forward`.
        dy : array or None
            dL/dy; None is zero.
        dfinal : list of (dhT, dcT) or None
            None is zero, for all or in place of one.
        dx : array or None
            dL/dx is added to it.
        dinitial : list of (dh0, dc0) or None
            (B, H) arrays, overwritten where they are not None; they may be those of `dfinal`.
        buffers : list of arrays
            From `gradient_buffers`: the weights' gradient is added to them, for `unpack`.
        workspace : Workspace
        n_threads : int or None
        """
        B, H, dtype = batch.size, self.hidden_size, packed[0].dtype
        cell = self.kernel_cell(dtype)
        n_threads = self.threads(
            n_threads, dtype, batch.n_steps, batch.max_length, tokens=x.ndim == 2, passes=2
        )
        mark = workspace.mark
        scratch = workspace.take(
            kernels.scratch_size(cell, B, n_threads, True, dx is not None)
        )
        for d, grad in enumerate(buffers):
            dhT, dcT = (None, None) if dfinal is None else dfinal[d]
            dh0, dc0 = (None, None) if dinitial is None else dinitial[d]
            dy_d = dy if dy is None or self.directions == 1 else dy[..., d * H : (d + 1) * H]
            kernels.backward(
                cell, packed[d], x, batch.order, batch.ranked, tapes[d], dy_d, dhT, dcT, dx, dh0,
                dc0, grad, scratch, 0, batch.max_length, d, n_threads, batch.first_row,
            )  # fmt: skip
        workspace.drop(mark)

    def unpack(self, buffers, dinitial, gradient):
        """Write the gradient that `backward` has summed.

        Parameters
        ----------
        buffers : list of arrays
        dinitial : list of (dh0, dc0)
            What learned initial states get; not read where there are none.
        gradient : list of Weights
            The gradient's views, overwritten.
        """
        H = self.hidden_size
        for grad, (dh0, dc0), blocks in zip(buffers, dinitial, gradient, strict=True):
            kernels.unpack(self.kernel_cell(grad.dtype), grad, *blocks[:5])
            if self._is_masked:
                for values, mask in zip((blocks.W, blocks.R), self._masks, strict=True):
                    if mask is not None:
                        values *= mask
            if blocks.h0 is not None:
                np.sum(dh0[:, :H], axis=0, out=blocks.h0)
            if blocks.c0 is not None:
                np.sum(dc0, axis=0, out=blocks.c0)

    def threads(self, n_threads, dtype, n_steps, longest, *, tokens=False, passes=1):
        """Threads for one direction: as told, else by the multiply-adds.

        Those of a forward pass over so many steps of all sequences; BPTT is two such passes. A
        token costs none of W's. A step of few sequences takes as long as one of some more, for it
        has the weights to read.
        """
        a_step = self._multiplications - (self._W_size if tokens else 0)
        work = passes * a_step * max(n_steps, _ROWS_OF_WEIGHTS * longest)
        return choose_threads(work, dtype, n_threads)


def _rebuild(cls, options):
    return cls(**options)


def _rows(vector, B, size, take):
    """B rows of `size` columns that begin with `vector`, zero behind it."""
    rows = take(B, size)
    rows[:, : len(vector)] = vector
    rows[:, len(vector) :] = 0
    return rows


def _check_mask(mask, name, shape):
    """A mask as a read-only bool array, or None."""
    if mask is None:
        return None
    array = as_ndarray(mask, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected an array of 0 and 1, got {describe(array)}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name}: expected 0 and 1 only, got other numbers")
    array = array.astype(bool)
    array.flags.writeable = False
    return array


def _activation_entries(role, activation, argument):
    code, alpha, beta = parse_activation(activation, argument)
    return {f"act_{role}": code, f"alpha_{role}": alpha, f"beta_{role}": beta}


def _normal_activation(activation):
    """An activation as it is kept in the options: a str, or a tuple of a str and floats."""
    if isinstance(activation, str):
        return activation
    return (activation[0], *map(float, activation[1:]))


# Kernels find every key in every cell.
_NO_OPTIONS = {
    "block_size": 1,
    "input_gate": 0,
    "forget_gate": 0,
    "output_gate": 0,
    "coupled": 0,
    "peepholes": 0,
    "gate_recurrence": 0,
}
for _role in ("gate", "cell", "output"):
    _NO_OPTIONS |= _activation_entries(_role, "identity", _role)


class Dense(Layer):
    """A layer without recurrence: y(t) = activation(W x(t) + b) at every step (3.32).

    Parameters
    ----------
    input_size, output_size : int
        I and K.
    activation : str or tuple, default "identity"
        A name, ``(name, alpha)`` or ``(name, alpha, beta)``.

    Notes
    -----
    Blocks: W (K, I), b (K,).

    Examples
    --------
    >>> from lstmcore import Dense
    >>> Dense(32, 9)
    Dense(32, 9)
    """

    def __init__(self, input_size, output_size, *, activation="identity"):
        I = as_integer(input_size, "input_size", 1, _LARGEST)
        K = as_integer(output_size, "output_size", 1, _LARGEST)
        cell = {"kind": DENSE, **_activation_entries("output", activation, "activation")}
        blocks = [
            Block("W", (K, I), WEIGHTS, by_gate("glorot", [K])),
            Block("b", (K,), BIAS, zeros()),
        ]
        options = {
            "input_size": I,
            "output_size": K,
            "activation": _normal_activation(activation),
        }
        super().__init__(options, I, K, cell, blocks)


class RNN(Layer):
    """The simple recurrent network: h(t) = activation(W x(t) + R h(t-1) + b) (3.30), (3.31).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : str or tuple, default "tanh"
        A name, ``(name, alpha)`` or ``(name, alpha, beta)``.
    bidirectional : bool
        A second layer reads every sequence reversed within its own length; the output is
        [forward, backward].
    learn_initial_state : bool
        h(0) is a block of parameters; otherwise zero.
    W_mask, R_mask : array_like of 0 and 1, optional
        Connectivity, in the shape of W and R: a weight that is not there counts as zero and gets no
        gradient. Both directions share it.

    Notes
    -----
    Blocks: W (H, I), R (H, H), b (H,), and h0 (H,) if learned.

    Examples
    --------
    >>> from lstmcore import RNN
    >>> RNN(12, 32, activation="relu")
    RNN(12, 32, activation='relu')
    """

    states = ("h",)

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        activation="tanh",
        bidirectional=False,
        learn_initial_state=False,
        W_mask=None,
        R_mask=None,
    ):
        I = as_integer(input_size, "input_size", 1, _LARGEST)
        H = as_integer(hidden_size, "hidden_size", 1, _LARGEST)
        masks = _check_mask(W_mask, "W_mask", (H, I)), _check_mask(R_mask, "R_mask", (H, H))
        cell = {"kind": RNN_KIND, **_activation_entries("output", activation, "activation")}
        blocks = [
            Block("W", (H, I), WEIGHTS, by_gate("glorot", [H], masks[0])),
            Block("R", (H, H), WEIGHTS, by_gate("orthogonal", [H], masks[1])),
            Block("b", (H,), BIAS, zeros()),
        ]
        options = {
            "input_size": I,
            "hidden_size": H,
            "activation": _normal_activation(activation),
            "bidirectional": as_flag(bidirectional, "bidirectional"),
            "learn_initial_state": as_flag(learn_initial_state, "learn_initial_state"),
            "W_mask": masks[0],
            "R_mask": masks[1],
        }
        super().__init__(options, I, H, cell, blocks, masks)


class LSTM(Layer):
    """Long short-term memory with forget gates, peepholes and the variants of the literature.

    Equations (4.2)-(4.10) of Graves (2012); by default without peepholes.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H (the number of cells).
    peepholes : bool
        Gates see the cell state: input and forget gate c(t-1), output gate c(t).
    bidirectional : bool
        A second layer reads every sequence reversed within its own length; the output is
        [forward, backward].
    input_gate, forget_gate, output_gate : bool
        A gate that is left out is the constant 1 (NIG, NFG, NOG in Greff et al. 2015).
    coupled : bool
        The forget gate is 1 - input gate (CIFG).
    gate_recurrence : bool
        Every gate also reads all gates' activations of the step before, through Q (FGR).
    block_size : int
        C cells share one set of gates; H is a multiple of it.
    gate_activation, cell_activation, output_activation : str or tuple
        f, g and h of the equations: a name, ``(name, alpha)`` or ``(name, alpha, beta)``.
        "identity" for the last two is NIAF and NOAF.
    learn_initial_state : bool
        h(0) and c(0) are blocks of parameters; otherwise zero.
    forget_bias : float
        What the forget gate's bias starts at. With `coupled`, the input gate's starts at minus it.
    W_mask, R_mask : array_like of 0 and 1, optional
        Connectivity, in the shape of W and R: a weight that is not there counts as zero and gets no
        gradient. Both directions share it.

    Notes
    -----
    With nb = H / C blocks of cells and m gates (of i, f, o) that have weights of their own, the
    gate order i, f, g, o gives G = m nb + H rows. Blocks: W (G, I), R (G, H), b (G,); with
    peepholes p (m, H); with gate recurrence Q (m nb, m nb), rows receive and columns send; h0 (H,)
    and c0 (H,) if learned. For the plain LSTM that is W (4H, I), R (4H, H), b (4H,), p (3, H).

    References
    ----------
    A. Graves, *Supervised Sequence Labelling with Recurrent Neural Networks*, Springer, 2012,
    chapter 4.
    K. Greff et al., *LSTM: A Search Space Odyssey*, arXiv:1503.04069, 2015.

    Examples
    --------
    >>> from lstmcore import LSTM
    >>> LSTM(12, 32, peepholes=True, bidirectional=True)
    LSTM(12, 32, peepholes=True, bidirectional=True)
    """

    states = ("h", "c")

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        peepholes=False,
        bidirectional=False,
        input_gate=True,
        forget_gate=True,
        output_gate=True,
        coupled=False,
        gate_recurrence=False,
        block_size=1,
        gate_activation="logistic",
        cell_activation="tanh",
        output_activation="tanh",
        learn_initial_state=False,
        forget_bias=1.0,
        W_mask=None,
        R_mask=None,
    ):
        I = as_integer(input_size, "input_size", 1, _LARGEST)
        H = as_integer(hidden_size, "hidden_size", 1, _LARGEST)
        options = {
            "input_size": I,
            "hidden_size": H,
            "peepholes": as_flag(peepholes, "peepholes"),
            "bidirectional": as_flag(bidirectional, "bidirectional"),
            "input_gate": as_flag(input_gate, "input_gate"),
            "forget_gate": as_flag(forget_gate, "forget_gate"),
            "output_gate": as_flag(output_gate, "output_gate"),
            "coupled": as_flag(coupled, "coupled"),
            "gate_recurrence": as_flag(gate_recurrence, "gate_recurrence"),
            "block_size": as_integer(block_size, "block_size", 1),
        }
        cell = {
            "kind": LSTM_KIND,
            "block_size": options["block_size"],
            **{
                name: int(options[name])
                for name in (
                    "input_gate", "forget_gate", "output_gate", "coupled", "peepholes",
                    "gate_recurrence",
                )
            },
            **_activation_entries("gate", gate_activation, "gate_activation"),
            **_activation_entries("cell", cell_activation, "cell_activation"),
            **_activation_entries("output", output_activation, "output_activation"),
        }  # fmt: skip
        if coupled:
            if not (input_gate and forget_gate):
                raise ValueError(
                    "coupled: expected False without an input gate or a forget gate, got True"
                )
            cell["forget_gate"] = 0  # it has no rows of its own
        gates = {name: cell[f"{name}_gate"] for name in ("input", "forget", "output")}
        if not any(gates.values()):
            for name in ("peepholes", "gate_recurrence"):
                if options[name]:
                    raise ValueError(f"{name}: expected False without any gate, got True")
        if H % options["block_size"]:
            raise ValueError(
                f"block_size: expected a divisor of hidden_size = {H}, got {block_size}"
            )

        nb, m = H // options["block_size"], sum(gates.values())
        rows = [nb] * (gates["input"] + gates["forget"]) + [H] + [nb] * gates["output"]
        G = sum(rows)
        masks = _check_mask(W_mask, "W_mask", (G, I)), _check_mask(R_mask, "R_mask", (G, H))
        forget_bias = as_number(forget_bias, "forget_bias")
        start_b = zeros()
        if coupled:
            start_b = bias(slice(0, nb), -forget_bias)
        elif forget_gate:
            start_b = bias(slice(nb * gates["input"], nb * (gates["input"] + 1)), forget_bias)
        blocks = [
            Block("W", (G, I), WEIGHTS, by_gate("glorot", rows, masks[0])),
            Block("R", (G, H), WEIGHTS, by_gate("orthogonal", rows, masks[1])),
            Block("b", (G,), BIAS, start_b),
        ]
        if peepholes:
            blocks.append(Block("p", (m, H), WEIGHTS, zeros()))
        if gate_recurrence:
            blocks.append(Block("Q", (m * nb, m * nb), WEIGHTS, zeros()))
        options |= {
            "gate_activation": _normal_activation(gate_activation),
            "cell_activation": _normal_activation(cell_activation),
            "output_activation": _normal_activation(output_activation),
            "learn_initial_state": as_flag(learn_initial_state, "learn_initial_state"),
            "forget_bias": forget_bias,
            "W_mask": masks[0],
            "R_mask": masks[1],
        }
        super().__init__(options, I, H, cell, blocks, masks, m * nb if gate_recurrence else 0)

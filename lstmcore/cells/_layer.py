"""`Layer`: how to run a cell's kernels over a batch, forward and back, in one direction or two.

It knows no kind of cell: what there is to know, the layer's `Cell` says.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .._dispatch import choose_threads, kernels
from .._fixed import Fixed
from .._params import STATE, WEIGHTS, Block, zeros

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._types import Direction
    from ._cell import Cell

# One direction's parameters, or their gradient. blocks : one array for each of the cell's
# `block_names`; initial : one for each state, if it is learned. None where there is none.
Weights = namedtuple("Weights", "blocks initial")

# Sequences for which a step takes no longer than for one, which reads all weights as well.
_ROWS_OF_WEIGHTS = 4

# For each direction that a layer may have: whether its kernels run in reverse, one by one.
_REVERSED = {"forward": (0,), "reverse": (1,), "both": (0, 1)}


class Layer(Fixed):
    """What every layer has.

    A layer holds no parameters and no state: it may be used in any number of networks and threads.

    Parameters
    ----------
    options : dict
        The constructor's arguments, checked, as they are kept.
    cell : Cell
    tokens : bool
        Whether it takes tokens, which only a network's first layer may.

    Attributes
    ----------
    All are read-only.

    input_size, output_size : int
        Features of x and of y; a layer of two directions has twice its units as outputs.
    hidden_size : int
        Units of one direction.
    direction : {"forward", "reverse", "both"}
    directions : {1, 2}
    prefixes : tuple of str
        For each direction what the names of all that belongs to it begin with.
    tokens : bool
        Whether it takes integer tokens, one-hot vectors by their index.
    token_sizes : tuple of int
        How many tokens there are of each kind that comes as a column of numbers, where that is so:
        a whole number in each of the first columns.
    reads_ahead : bool
        Whether an output depends on later steps, so that whole sequences are needed.
    states : tuple of str
        What a time step hands to the next.
    state_sizes : tuple of int
        Columns of each.
    is_recurrent : bool
        Whether there are states.
    learns_states : bool
        Whether the initial states are parameters.
    is_masked : bool
        Whether some of the weights are held at zero.
    options : mapping
        ``type(layer)(**layer.options)`` is an equal layer.
    cell : Cell
        One direction.
    """

    options: Mapping[str, Any]
    cell: Cell
    tokens: bool
    direction: Direction
    directions: int
    reads_ahead: bool
    input_size: int
    hidden_size: int
    output_size: int
    states: tuple[str, ...]
    state_sizes: tuple[int, ...]
    is_recurrent: bool
    learns_states: bool
    is_masked: bool

    token_sizes: tuple[int, ...]

    _instead = "make a new one from its options"

    def __init__(
        self,
        options: dict[str, Any],
        cell: Cell,
        tokens: bool,
        token_sizes: tuple[int, ...] = (),
    ) -> None:
        self.options = MappingProxyType(options)
        self.cell = cell
        self.tokens = tokens
        self.token_sizes = token_sizes
        one_way: Direction = options.get("direction") or "forward"
        self.direction = "both" if options.get("bidirectional") else one_way
        self.reads_ahead = self.direction != "forward"
        self.reversals = _REVERSED[self.direction]
        self.directions = len(self.reversals)
        self.prefixes = ("",) if self.directions == 1 else ("forward.", "backward.")
        self.input_size = cell.inputs
        self.hidden_size = cell.units
        self.output_size = self.directions * cell.units
        self.states, self.state_sizes = cell.states, cell.state_sizes
        self.is_recurrent = bool(cell.states)
        self.learns_states = bool(options.get("learn_initial_state"))
        self._no_states = [(None,) * len(cell.states)] * self.directions
        self._kernel_cells: dict[Any, Any] = {}

        self._masks = tuple(options.get(f"{name}_mask") for name in cell.block_names)
        self.is_masked = any(mask is not None for mask in self._masks)
        learned = cell.states if self.learns_states else ()
        # of one direction
        self._blocks = cell.blocks + tuple(
            Block(f"{state}0", (cell.units,), STATE, zeros()) for state in learned
        )
        self._multiplications = sum(b.size for b in cell.blocks if b.kind == WEIGHTS)
        self._W_size = cell.blocks[0].size

    def __repr__(self) -> str:
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
        return _rebuild, (type(self), dict(self.options))

    # The flat vector's side.

    def blocks(self) -> list[Block]:
        """All blocks, direction by direction, named as in ``"W"`` or ``"forward.W"``."""
        if self.directions == 1:
            return list(self._blocks)
        return [
            replace(block, name=prefix + block.name)
            for prefix in self.prefixes
            for block in self._blocks
        ]

    def places(self, blocks):
        """Where the layer's parameters are in the flat vector, for `weights`.

        Parameters
        ----------
        blocks : sequence of Block
            Those of `blocks`, placed.
        """
        count, names = len(self._blocks), self.cell.block_names
        result = []
        for first in range(0, len(blocks), count):
            placed = zip(self._blocks, blocks[first : first + count], strict=True)
            at = {own.name: (block.slice, block.shape) for own, block in placed}
            result.append(
                (
                    tuple(at.get(name) for name in names),
                    tuple(at.get(f"{state}0") for state in self.states),
                )
            )
        return result

    def weights(self, places, flat):
        """A list with the `Weights` of each direction, views of a flat vector."""
        return [
            Weights(
                tuple([place and flat[place[0]].reshape(place[1]) for place in blocks]),
                tuple([place and flat[place[0]].reshape(place[1]) for place in initial]),
            )
            for blocks, initial in places
        ]

    # The kernels' side. `take` and `workspace` give uninitialised memory; lists have one entry for
    # each direction. x, tokens as well, and y are `Rows`. The states of one direction are a tuple
    # with an array (B, size) for each of `state_sizes`.

    def kernel_cell(self, dtype):
        """What kernels take as the layer's cell in a dtype."""
        cell = self._kernel_cells.get(dtype)
        if cell is None:
            cell = self._kernel_cells[dtype] = kernels.plan_cell(self.cell.description, dtype)
        return cell

    def chunk_rows(self, dtype, B):
        """Where chunks of BPTT begin: see `kernels.chunk_rows`."""
        return kernels.chunk_rows(self.kernel_cell(dtype), B)

    def masked(self, w):
        """The weights that count: without what the masks exclude."""
        if not self.is_masked:
            return w
        pairs = zip(w.blocks, self._masks, strict=True)
        blocks = tuple(values if mask is None else values * mask for values, mask in pairs)
        return w._replace(blocks=blocks)

    def pack(self, weights, take):
        """The weights in the layout that kernels read: one flat buffer for each direction."""
        packed = []
        for w in weights:
            cell = self.kernel_cell(w.blocks[0].dtype)
            buffer = take(kernels.sizes(cell)[0])
            kernels.pack(cell, self.masked(w).blocks, buffer)
            packed.append(buffer)
        return packed

    def initial(self, weights, B, take):
        """The learned initial states of B sequences; None for zero."""
        if not self.learns_states:
            return self._no_states
        return [
            tuple(
                _rows(learned, B, size, take)
                for learned, size in zip(w.initial, self.state_sizes, strict=True)
            )
            for w in weights
        ]

    def forward(self, packed, x, batch, initial, y, final, training, workspace, n_threads):
        """Run over a batch.

        Parameters
        ----------
        packed : list of arrays
            From `pack`.
        x : Rows
        batch : Batch
            For its lengths and ranks; its own x is that of the first layer.
        initial : list of tuples
            The states before the first step. None in the place of a state is zero.
        y : Rows or None
            Written where steps are.
        final : list of tuples or None
            The states after the last step, overwritten where they are not None.
        training : bool
            Keep what `backward` needs.
        workspace : Workspace
        n_threads : int or None

        Returns
        -------
        tapes : list of arrays, or None without `training`
        """
        B, dtype = batch.size, packed[0].dtype
        cell, tokens = self.kernel_cell(dtype), x.values.dtype != dtype
        n_threads = self.threads(n_threads, dtype, batch.n_steps, batch.max_length, tokens=tokens)
        tapes, tape = [], None
        for d, reverse in enumerate(self.reversals):
            if training:
                tape = workspace.take(kernels.sizes(cell)[1] * (B + batch.n_steps))
            mark = workspace.mark
            size = kernels.scratch_size(cell, B, n_threads, False, False, not tokens)
            scratch = workspace.take(size)
            y_values, y_first = self._outputs_of(d, y)
            kernels.forward(
                cell,
                packed=packed[d],
                x=x.values,
                x_first=x.first,
                order=batch.order,
                lengths=batch.ranked,
                y=y_values,
                y_first=y_first,
                initial=initial[d],
                final=None if final is None else final[d],
                tape=tape,
                scratch=scratch,
                t1=batch.max_length,
                reverse=reverse,
                n_threads=n_threads,
            )
            workspace.drop(mark)
            tapes.append(tape)
        return tapes if training else None

    def _outputs_of(self, d, y):
        """The columns of y, or of dy, that belong to a direction; (None, None) of None."""
        if y is None:
            return None, None
        if self.directions == 1:
            return y
        H = self.hidden_size
        return y.values[..., d * H : (d + 1) * H], y.first

    def state_arrays(self, B, take):
        """Room for the states of B sequences, by direction."""
        return [tuple(take(B, size) for size in self.state_sizes) for _ in range(self.directions)]

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
        dy : Rows or None
            dL/dy; None is zero.
        dfinal : list of tuples or None
            dL/d(final states). None is zero, for all or in place of one.
        dx : Rows or None
            dL/dx is added to it.
        dinitial : list of tuples or None
            dL/d(initial states), overwritten where they are not None; they may be the arrays of
            `dfinal`.
        buffers : list of arrays
            From `gradient_buffers`: the weights' gradient is added to them, for `unpack`.
        workspace : Workspace
        n_threads : int or None
        """
        B, dtype = batch.size, packed[0].dtype
        cell, tokens = self.kernel_cell(dtype), x.values.dtype != dtype
        n_threads = self.threads(
            n_threads, dtype, batch.n_steps, batch.max_length, tokens=tokens, passes=2
        )
        mark = workspace.mark
        size = kernels.scratch_size(cell, B, n_threads, True, dx is not None, not tokens)
        scratch = workspace.take(size)
        dx_values, dx_first = (None, None) if dx is None else dx
        for d, reverse in enumerate(self.reversals):
            dy_values, dy_first = self._outputs_of(d, dy)
            kernels.backward(
                cell,
                packed=packed[d],
                x=x.values,
                x_first=x.first,
                order=batch.order,
                lengths=batch.ranked,
                tape=tapes[d],
                dy=dy_values,
                dy_first=dy_first,
                dfinal=None if dfinal is None else dfinal[d],
                dinitial=None if dinitial is None else dinitial[d],
                dx=dx_values,
                dx_first=dx_first,
                grad=buffers[d],
                scratch=scratch,
                t1=batch.max_length,
                reverse=reverse,
                n_threads=n_threads,
                first_row=batch.first_row,
            )
        workspace.drop(mark)

    def unpack(self, buffers, dinitial, gradient):
        """Write the gradient that `backward` has summed.

        Parameters
        ----------
        buffers : list of arrays
        dinitial : list of tuples
            What learned initial states get; not read where there are none.
        gradient : list of Weights
            The gradient's views, overwritten.
        """
        for grad, dstates, w in zip(buffers, dinitial, gradient, strict=True):
            kernels.unpack(self.kernel_cell(grad.dtype), grad, w.blocks)
            if self.is_masked:
                for values, mask in zip(w.blocks, self._masks, strict=True):
                    if mask is not None:
                        values *= mask
            for dstate, learned in zip(dstates, w.initial, strict=True):
                if learned is not None:
                    np.sum(dstate[:, : len(learned)], axis=0, out=learned)

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
    """B rows of `size` columns that begin with `vector` and end in zeros."""
    rows = take(B, size)
    rows[:, : len(vector)] = vector
    rows[:, len(vector) :] = 0
    return rows

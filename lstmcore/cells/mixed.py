"""`MixedEmbedding`: tokens of several kinds, and numbers beside them, in one step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from .._checks import as_integer, describe
from .._params import WEIGHTS, Block, by_gate
from ..sequences import Rows
from ._cell import Cell, describe_cell
from ._layer import Layer, Weights
from ._options import LARGEST, as_size
from .dense import Dense
from .embedding import Embedding

if TYPE_CHECKING:
    from typing import Any


class MixedEmbedding(Layer):
    """A table of vectors for each kind of token in a step, and numbers beside them.

    x(t) has a whole number in each of its first columns, a token of one kind, and `n_numbers`
    numbers after those. y(t) has the vectors of its tokens, one after the other, and the numbers as
    they are. It is the first layer of a network, whose X is (B, T, D) or a list of (T_b, D) arrays.

    Parameters
    ----------
    n_tokens, sizes : sequence of int
        For each kind of token how many there are, and how many numbers each one's vector has.
    n_numbers : int
        D - len(n_tokens).

    Notes
    -----
    Blocks: W0 (sizes[0], n_tokens[0]), W1, ... A token's vector is a column. The loss has no
    derivative by a token, so `Network.vjp` gives zero for those columns of X.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> layers = [lc.MixedEmbedding([50, 7], [16, 4], n_numbers=3), lc.LSTM(23, 8)]
    >>> net = lc.Network(layers, seed=0)
    >>> word, day, numbers = np.array([[49, 3]]), np.array([[6, 0]]), np.ones((1, 2, 3))
    >>> net.predict(np.dstack([word, day, numbers])).shape
    (1, 2, 8)
    """

    def __init__(
        self, n_tokens: Sequence[int], sizes: Sequence[int], *, n_numbers: int = 0
    ) -> None:
        tokens, widths = _as_sizes(n_tokens, "n_tokens"), _as_sizes(sizes, "sizes")
        if len(tokens) != len(widths):
            raise ValueError(
                f"sizes: expected {len(tokens)}, one for each kind of token, got {len(widths)}"
            )
        numbers = as_integer(n_numbers, "n_numbers", 0, LARGEST)
        # Each part reads columns of its own and writes columns of its own. That of the numbers
        # multiplies them by one.
        self._tables = [Embedding(*pair) for pair in zip(tokens, widths, strict=True)]
        self._parts: list[Layer] = list(self._tables)
        if numbers:
            self._parts.append(Dense(numbers, numbers, bias=False))
        ends = accumulate((part.output_size for part in self._parts), initial=0)
        self._columns = [slice(*pair) for pair in pairwise(ends)]
        names = tuple(f"W{k}" for k in range(len(tokens)))
        blocks = tuple(
            Block(name, (size, n), WEIGHTS, by_gate("glorot", [size]))
            for name, size, n in zip(names, widths, tokens, strict=True)
        )
        inputs, outputs = len(tokens) + numbers, sum(widths) + numbers
        cell = Cell(
            kind="MixedEmbedding",
            inputs=inputs,
            units=outputs,
            gates={},
            states=(),
            state_sizes=(),
            block_names=names,
            blocks=blocks,
            description=describe_cell(0, inputs, outputs),
        )
        options = {"n_tokens": tokens, "sizes": widths, "n_numbers": numbers}
        super().__init__(options, cell, False, tokens)

    def look_up(self, x: Any, weights: Weights) -> Any:
        """The outputs of steps x (n, D), which have been checked, fresh."""
        vectors = [W.T[x[:, k].astype(np.intp)] for k, W in enumerate(weights.blocks)]
        return np.concatenate([*vectors, x[:, len(self._tables) :]], axis=1)

    # What `Layer` does by one kernel, done by one for each part.

    def chunk_rows(self, dtype, B):
        return max(part.chunk_rows(dtype, B) for part in self._parts)

    def pack(self, weights, take):
        (w,) = weights
        return [
            packed
            for part, own in zip(self._parts, self._of_parts(w), strict=True)
            for packed in part.pack([own], take)
        ]

    def _of_parts(self, w):
        """The `Weights` of each part, of views of the layer's."""
        parts = [Weights((W, None), ()) for W in w.blocks]
        for part in self._parts[len(parts) :]:
            parts.append(Weights((np.eye(part.input_size, dtype=w.blocks[0].dtype), None), ()))
        return parts

    def _inputs(self, x):
        """The columns that each part reads, `Rows`."""
        n = len(self._tables)
        tokens = [Rows(x.values[..., k].astype(np.intp), x.first) for k in range(n)]
        return [*tokens, Rows(x.values[..., n:], x.first)][: len(self._parts)]

    def forward(self, packed, x, batch, initial, y, final, training, workspace, n_threads):
        tapes = []
        for part, own, read, columns in zip(
            self._parts, packed, self._inputs(x), self._columns, strict=True
        ):
            out = Rows(y.values[..., columns], y.first)
            options = [()], out, None, training, workspace, n_threads
            tapes += part.forward([own], read, batch, *options) or []
        return tapes if training else None

    def backward(
        self, packed, tapes, x, batch, dy, dfinal, dx, dinitial, buffers, workspace, n_threads
    ):
        n = len(self._tables)
        for k, (part, read, columns) in enumerate(
            zip(self._parts, self._inputs(x), self._columns, strict=True)
        ):
            dout = None if dy is None else Rows(dy.values[..., columns], dy.first)
            din = None if dx is None or k < n else Rows(dx.values[..., n:], dx.first)
            part.backward(
                [packed[k]],
                [tapes[k]],
                read,
                batch,
                dout,
                None,
                din,
                None,
                [buffers[k]],
                workspace,
                n_threads,
            )

    def gradient_buffers(self, dtype, take_zeros):
        return [
            buffer for part in self._parts for buffer in part.gradient_buffers(dtype, take_zeros)
        ]

    def unpack(self, buffers, dinitial, gradient):
        (w,) = gradient
        tables = zip(self._tables, buffers, w.blocks, strict=False)
        for part, buffer, W in tables:
            part.unpack([buffer], [()], [Weights((W, None), ())])


def _as_sizes(values, name):
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise TypeError(f"{name}: expected a list of integers, got {describe(values)}")
    if not len(values):
        raise ValueError(f"{name}: expected one for each kind of token, got none")
    return tuple(as_size(value, f"{name}[{k}]") for k, value in enumerate(values))

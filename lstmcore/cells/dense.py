"""`Dense`: a layer without recurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._checks import as_flag
from .._params import BIAS, WEIGHTS, Block, by_gate, zeros
from ._cell import Cell, describe_cell
from ._layer import Layer
from ._options import as_activation, as_size

if TYPE_CHECKING:
    from .._types import Activation


class Dense(Layer):
    """A layer without recurrence: y(t) = activation(W x(t) + b) at every step (3.32).

    Parameters
    ----------
    input_size, output_size : int
        I and K.
    activation : str or tuple, default "identity"
        A name, ``(name, alpha)`` or ``(name, alpha, beta)``.
    bias : bool
        Without it the layer has no b.
    tokens : bool
        For the first layer of a network: take integer tokens 0 ... I-1, which stand for one-hot
        vectors, as well as vectors of numbers. `input_size` is the number of tokens.

    Notes
    -----
    Blocks: W (K, I), b (K,).

    Examples
    --------
    >>> from lstmcore import Dense
    >>> Dense(32, 9)
    Dense(32, 9)
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        activation: Activation = "identity",
        bias: bool = True,
        tokens: bool = False,
    ) -> None:
        I, K = as_size(input_size, "input_size"), as_size(output_size, "output_size")
        options = {
            "input_size": I,
            "output_size": K,
            "activation": as_activation(activation, "activation"),
            "bias": as_flag(bias, "bias"),
            "tokens": as_flag(tokens, "tokens"),
        }
        cell = dense_cell(I, K, options["activation"], options["bias"])
        super().__init__(options, cell, options["tokens"])


def dense_cell(inputs, units, activation, bias):
    """The cell of a layer without recurrence."""
    blocks = (Block("W", (units, inputs), WEIGHTS, by_gate("glorot", [units])),)
    if bias:
        blocks += (Block("b", (units,), BIAS, zeros()),)
    return Cell(
        kind="Dense",
        inputs=inputs,
        units=units,
        gates={},
        states=(),
        state_sizes=(),
        block_names=("W", "b"),
        blocks=blocks,
        description=describe_cell(0, inputs, units, output=activation),
    )

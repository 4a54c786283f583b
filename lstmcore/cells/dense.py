"""`Dense`: a layer without recurrence."""

from .._params import BIAS, WEIGHTS, Block, by_gate, zeros
from ._cell import Cell, describe_cell
from ._layer import Layer
from ._options import as_activation, as_size


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
        I, K = as_size(input_size, "input_size"), as_size(output_size, "output_size")
        activation = as_activation(activation, "activation")
        cell = Cell(
            kind="Dense",
            inputs=I,
            units=K,
            gates={},
            states=(),
            state_sizes=(),
            block_names=("W", "b"),
            blocks=(
                Block("W", (K, I), WEIGHTS, by_gate("glorot", [K])),
                Block("b", (K,), BIAS, zeros()),
            ),
            description=describe_cell(0, I, K, output=activation),
        )
        super().__init__({"input_size": I, "output_size": K, "activation": activation}, cell)

"""`RNN`: the simple recurrent network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._cell import Cell, describe_cell, matrix_blocks
from ._layer import Layer
from ._options import as_activation, as_masks, as_starts, recurrent_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from .._types import Activation, Direction, Start


class RNN(Layer):
    """The simple recurrent network: h(t) = activation(W x(t) + R h(t-1) + b) (3.30), (3.31).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : str or tuple, default "tanh"
        A name, ``(name, alpha)`` or ``(name, alpha, beta)``.
    bidirectional : bool
        True is the same as ``direction="both"``.
    direction : {"forward", "reverse", "both"}, optional
        "reverse" reads every sequence from its own last step to its first. "both" is one layer of
        each direction; the output is [forward, backward]. The default is "forward".
    learn_initial_state : bool
        The initial h is a block of parameters. Otherwise it is zero.
    W_start, R_start : str or tuple
        How W and R start, gate by gate: "glorot", "orthogonal", "identity", "zeros" or
        ``("uniform", bound)``. By default W is Glorot-uniform and R orthogonal.
        With relu, R at "identity" and W small, the state is kept at first (Le et al. 2015).
    W_mask, R_mask : array_like of 0 and 1, optional
        The connectivity, in the shape of W and R. A weight that is not there counts as zero and
        gets no gradient. Both directions share the mask.
    tokens : bool
        For the first layer of a network: take integer tokens 0 ... I-1, which stand for one-hot
        vectors, as well as vectors of numbers. `input_size` is the number of tokens.

    Notes
    -----
    Blocks: W (H, I), R (H, H), b (H,), and h0 (H,) if learned.

    References
    ----------
    Q. V. Le, N. Jaitly and G. E. Hinton, *A Simple Way to Initialize Recurrent Networks of
    Rectified Linear Units*, arXiv:1504.00941, 2015.

    Examples
    --------
    >>> from lstmcore import RNN
    >>> RNN(12, 32, activation="relu")
    RNN(12, 32, activation='relu')

    One that keeps its state until it has learned better:

    >>> import lstmcore as lc
    >>> layer = RNN(2, 3, activation="relu", W_start=("uniform", 0.01), R_start="identity")
    >>> lc.Network([layer], seed=0).blocks["0.R"]
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: Activation = "tanh",
        bidirectional: bool = False,
        direction: Direction | None = None,
        learn_initial_state: bool = False,
        W_start: Start = "glorot",
        R_start: Start = "orthogonal",
        W_mask: npt.ArrayLike | None = None,
        R_mask: npt.ArrayLike | None = None,
        tokens: bool = False,
    ) -> None:
        options = recurrent_options(
            input_size, hidden_size, tokens, bidirectional, direction, learn_initial_state
        )
        I, H = options["input_size"], options["hidden_size"]
        activation = as_activation(activation, "activation")
        options |= {
            "activation": activation,
            **as_starts(W_start, R_start),
            **as_masks(W_mask, R_mask, H, I, H),
        }
        cell = Cell(
            kind="RNN",
            inputs=I,
            units=H,
            gates={},
            states=("h",),
            state_sizes=(H,),
            block_names=("W", "R", "b"),
            blocks=matrix_blocks(I, H, [H], options),
            description=describe_cell(1, I, H, output=activation),
        )
        super().__init__(options, cell, options["tokens"])

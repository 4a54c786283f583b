"""`GRU`: the gated recurrent unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._checks import as_flag
from .._params import BIAS, Block, bias, chrono, zeros
from ._cell import Cell, describe_cell, matrix_blocks, stack_gates
from ._layer import Layer
from ._options import as_activation, as_gate_bias, as_masks, as_starts, recurrent_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from .._types import Activation, Direction, GateBias, Start


class GRU(Layer):
    """The gated recurrent unit, equations (G1)-(G5) of docs/equations.md.

    h(t) = (1 - z) n + z h(t-1) with the update gate z and the candidate n. The reset gate r acts on
    what n takes from h(t-1).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    reset_after : bool
        Where the reset gate acts. With True n = g(W_n x + b_n + r (R_n h(t-1) + bR)), as in
        PyTorch, cuDNN and Keras. With False n = g(W_n x + b_n + R_n (r h(t-1))), as published and
        as is the default in ONNX.
    bidirectional : bool
        True is the same as ``direction="both"``.
    direction : {"forward", "reverse", "both"}, optional
        "reverse" reads every sequence from its own last step to its first. "both" is one layer of
        each direction; the output is [forward, backward]. The default is "forward".
    gate_activation, cell_activation : str or tuple
        f of r and z, and g of n: a name, ``(name, alpha)`` or ``(name, alpha, beta)``.
    learn_initial_state : bool
        The initial h is a block of parameters. Otherwise it is zero.
    update_bias : float or tuple
        Where the update gate's bias starts. Above zero, the state is kept for longer. ``("chrono",
        T)`` is for lags of up to T >= 2 steps: the bias of each unit starts at ln u, with u uniform
        from 1 to T - 1.
    W_start, R_start : str or tuple
        How W and R start, gate by gate: "glorot", "orthogonal", "identity", "zeros" or
        ``("uniform", bound)``. By default W is Glorot-uniform and R orthogonal.
    W_mask, R_mask : array_like of 0 and 1, optional
        The connectivity, in the shape of W and R. A weight that is not there counts as zero and
        gets no gradient. Both directions share the mask.
    tokens : bool
        For the first layer of a network: take integer tokens 0 ... I-1, which stand for one-hot
        vectors, as well as vectors of numbers. `input_size` is the number of tokens.

    Notes
    -----
    Rows in the gate order r, z, n. Blocks: W (3H, I), R (3H, H), b (3H,); with `reset_after` bR
    (H,); h0 (H,) if learned.

    References
    ----------
    K. Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation*, arXiv:1406.1078, 2014.
    C. Tallec and Y. Ollivier, *Can Recurrent Neural Networks Warp Time?*, arXiv:1804.11188, 2018.

    Examples
    --------
    >>> from lstmcore import GRU
    >>> GRU(12, 32, reset_after=False, direction="reverse")
    GRU(12, 32, reset_after=False, direction='reverse')
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        bidirectional: bool = False,
        direction: Direction | None = None,
        gate_activation: Activation = "logistic",
        cell_activation: Activation = "tanh",
        learn_initial_state: bool = False,
        update_bias: GateBias = 0.0,
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
        options |= {
            "reset_after": as_flag(reset_after, "reset_after"),
            "gate_activation": as_activation(gate_activation, "gate_activation"),
            "cell_activation": as_activation(cell_activation, "cell_activation"),
            "update_bias": as_gate_bias(update_bias, "update_bias"),
            **as_starts(W_start, R_start),
            **as_masks(W_mask, R_mask, 3 * H, I, H),
        }
        gates = stack_gates({"r": H, "z": H, "n": H})
        blocks = matrix_blocks(I, H, [H, H, H], options, _start_b(options, gates))
        if reset_after:
            blocks += (Block("bR", (H,), BIAS, zeros()),)
        cell = Cell(
            kind="GRU",
            inputs=I,
            units=H,
            gates=gates,
            states=("h",),
            state_sizes=(H,),
            block_names=("W", "R", "b", "bR"),
            blocks=blocks,
            description=describe_cell(
                3,
                I,
                H,
                gate=options["gate_activation"],
                cell=options["cell_activation"],
                reset_after=int(options["reset_after"]),
            ),
        )
        super().__init__(options, cell, options["tokens"])


def _start_b(options, gates):
    """What b starts at."""
    update_bias = options["update_bias"]
    if isinstance(update_bias, tuple):
        return chrono(update_bias[1], keep=gates["z"])
    return bias(gates["z"], update_bias)

"""`LSTM`: long short-term memory and its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._checks import as_flag, as_integer, describe
from .._params import WEIGHTS, Block, bias, chrono, zeros
from ._cell import Cell, describe_cell, matrix_blocks, stack_gates
from ._layer import Layer
from ._options import as_activation, as_gate_bias, as_masks, as_starts, recurrent_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from .._types import Activation, Direction, GateBias, OutputPeephole, Start

_FLAGS = ("input_gate", "forget_gate", "output_gate", "coupled", "peepholes", "gate_recurrence")
OUTPUT_PEEPHOLES = ("now", "before", None)  # in the order of their codes in the kernels


class LSTM(Layer):
    """Long short-term memory with forget gates, peepholes and the variants of the literature.

    Equations (4.2)-(4.10) of Graves (2012); by default without peepholes.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H (the number of cells).
    peepholes : bool
        Gates see the cell state. The input gate and the forget gate see c(t-1), and the output gate
        sees c(t).
    output_peephole : {"now", "before", None}
        With peepholes: what the output gate's peephole sees. a_o(t) = W_o x(t) + R_o h(t-1) + b_o +
        p_o s, where s is c(t), equation (4.8), or with "before" c(t-1). With None the output gate
        has no peephole: the last term is left out, and p has no row for it.
    bidirectional : bool
        True is the same as ``direction="both"``.
    direction : {"forward", "reverse", "both"}, optional
        "reverse" reads every sequence from its own last step to its first. "both" is one layer of
        each direction; the output is [forward, backward]. The default is "forward".
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
        docs/equations.md has a table of the names. "identity" for the last two is NIAF and NOAF.
    learn_initial_state : bool
        The initial h and c are blocks of parameters. Otherwise they are zero.
    forget_bias : float or tuple
        Where the forget gate's bias starts. With `coupled`, the input gate's bias starts at minus
        this number. ``("chrono", T)`` is for lags of up to T >= 2 steps: the bias of each unit
        starts at ln u, with u uniform from 1 to T - 1, and that of the input gate at -ln u.
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
    With nb = H / C blocks of cells and m gates (of i, f, o) that have weights of their own, the
    gate order i, f, g, o gives G = m nb + H rows. Blocks: W (G, I), R (G, H), b (G,); with
    peepholes p (m, H), or (m - 1, H) without that of the output gate; with gate recurrence
    Q (m nb, m nb), rows receive and columns send; h0 (H,) and c0 (H,) if learned. For the plain
    LSTM that is W (4H, I), R (4H, H), b (4H,), p (3, H).

    References
    ----------
    A. Graves, *Supervised Sequence Labelling with Recurrent Neural Networks*, Springer, 2012,
    chapter 4.
    K. Greff et al., *LSTM: A Search Space Odyssey*, arXiv:1503.04069, 2015.
    C. Tallec and Y. Ollivier, *Can Recurrent Neural Networks Warp Time?*, arXiv:1804.11188, 2018.

    Examples
    --------
    >>> from lstmcore import LSTM
    >>> LSTM(12, 32, peepholes=True, bidirectional=True)
    LSTM(12, 32, peepholes=True, bidirectional=True)

    Lags of up to 100 steps:

    >>> LSTM(12, 32, forget_bias=("chrono", 100))
    LSTM(12, 32, forget_bias=('chrono', 100.0))

    No peephole of the output gate, so that p has rows of the input and the forget gate alone:

    >>> [block.shape for block in LSTM(12, 32, peepholes=True).cell.blocks]
    [(128, 12), (128, 32), (128,), (3, 32)]
    >>> [block.shape for block in LSTM(12, 32, peepholes=True, output_peephole=None).cell.blocks]
    [(128, 12), (128, 32), (128,), (2, 32)]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peepholes: bool = False,
        output_peephole: OutputPeephole = "now",
        bidirectional: bool = False,
        direction: Direction | None = None,
        input_gate: bool = True,
        forget_gate: bool = True,
        output_gate: bool = True,
        coupled: bool = False,
        gate_recurrence: bool = False,
        block_size: int = 1,
        gate_activation: Activation = "logistic",
        cell_activation: Activation = "tanh",
        output_activation: Activation = "tanh",
        learn_initial_state: bool = False,
        forget_bias: GateBias = 1.0,
        W_start: Start = "glorot",
        R_start: Start = "orthogonal",
        W_mask: npt.ArrayLike | None = None,
        R_mask: npt.ArrayLike | None = None,
        tokens: bool = False,
    ) -> None:
        options = recurrent_options(
            input_size, hidden_size, tokens, bidirectional, direction, learn_initial_state
        )
        options |= {
            "peepholes": as_flag(peepholes, "peepholes"),
            "output_peephole": _as_output_peephole(output_peephole),
            "input_gate": as_flag(input_gate, "input_gate"),
            "forget_gate": as_flag(forget_gate, "forget_gate"),
            "output_gate": as_flag(output_gate, "output_gate"),
            "coupled": as_flag(coupled, "coupled"),
            "gate_recurrence": as_flag(gate_recurrence, "gate_recurrence"),
            "block_size": as_integer(block_size, "block_size", 1),
            "gate_activation": as_activation(gate_activation, "gate_activation"),
            "cell_activation": as_activation(cell_activation, "cell_activation"),
            "output_activation": as_activation(output_activation, "output_activation"),
            "forget_bias": as_gate_bias(forget_bias, "forget_bias"),
            **as_starts(W_start, R_start),
        }
        _refuse_contradictions(options)
        gates = _gates(options)
        rows = max(place.stop for place in gates.values())
        options |= as_masks(W_mask, R_mask, rows, options["input_size"], options["hidden_size"])
        super().__init__(options, _cell(options, gates), options["tokens"])


def _as_output_peephole(value):
    if value is None or (isinstance(value, str) and value in OUTPUT_PEEPHOLES):
        return value
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"output_peephole: expected 'now', 'before' or None, got {describe(value)}")


def _refuse_contradictions(options):
    """Raise where options that are right each for itself do not go together."""
    if options["coupled"] and not (options["input_gate"] and options["forget_gate"]):
        raise ValueError("coupled: expected False without an input gate or a forget gate, got True")
    if isinstance(options["forget_bias"], tuple) and not options["forget_gate"]:
        raise ValueError(
            "forget_bias: expected a number where there is no forget gate to start, got "
            f"{options['forget_bias']!r}"
        )
    if not (options["input_gate"] or options["forget_gate"] or options["output_gate"]):
        for name in ("peepholes", "gate_recurrence"):
            if options[name]:
                raise ValueError(f"{name}: expected False without any gate, got True")
    peephole = options["output_peephole"]
    if peephole != "now" and not (options["peepholes"] and options["output_gate"]):
        raise ValueError(
            "output_peephole: expected 'now' unless there are peepholes and an output gate, "
            f"got {peephole!r}"
        )
    if peephole is None and not (options["input_gate"] or options["forget_gate"]):
        raise ValueError(
            "output_peephole: expected 'now' or 'before' where the output gate is the only gate, "
            "got None; peepholes=False leaves all peepholes out"
        )
    if options["hidden_size"] % options["block_size"]:
        raise ValueError(
            f"block_size: expected a divisor of hidden_size = {options['hidden_size']}, "
            f"got {options['block_size']}"
        )


def _gates(options):
    """The rows of the gates; a coupled forget gate has none of its own."""
    H = options["hidden_size"]
    nb = H // options["block_size"]
    return stack_gates(
        {
            "i": nb * options["input_gate"],
            "f": nb * (options["forget_gate"] and not options["coupled"]),
            "g": H,
            "o": nb * options["output_gate"],
        }
    )


def _start_b(options, gates):
    """What b starts at."""
    forget_bias = options["forget_bias"]
    if isinstance(forget_bias, tuple):
        return chrono(forget_bias[1], keep=gates.get("f"), enter=gates.get("i"))
    if options["coupled"]:
        return bias(gates["i"], -forget_bias)
    if options["forget_gate"]:
        return bias(gates["f"], forget_bias)
    return zeros()


def _cell(options, gates):
    I, H = options["input_size"], options["hidden_size"]
    nb, m = H // options["block_size"], len(gates) - 1
    rows = [place.stop - place.start for place in gates.values()]
    blocks = matrix_blocks(I, H, rows, options, _start_b(options, gates))
    if options["peepholes"]:
        peeping = m - (options["output_peephole"] is None)
        blocks += (Block("p", (peeping, H), WEIGHTS, zeros()),)
    if options["gate_recurrence"]:
        blocks += (Block("Q", (m * nb, m * nb), WEIGHTS, zeros()),)
    flags = {name: int(options[name]) for name in _FLAGS} | {"forget_gate": int("f" in gates)}
    return Cell(
        kind="LSTM",
        inputs=I,
        units=H,
        gates=gates,
        states=("h", "c"),
        # with gate recurrence the gates' activations follow h
        state_sizes=(H + m * nb * options["gate_recurrence"], H),
        block_names=("W", "R", "b", "p", "Q"),
        blocks=blocks,
        description=describe_cell(
            2,
            I,
            H,
            gate=options["gate_activation"],
            cell=options["cell_activation"],
            output=options["output_activation"],
            block_size=options["block_size"],
            output_peephole=OUTPUT_PEEPHOLES.index(options["output_peephole"]),
            **flags,
        ),
    )

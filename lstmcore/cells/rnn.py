"""`RNN`: the simple recurrent network."""

from ._cell import Cell, describe_cell, matrix_blocks
from ._layer import Layer
from ._options import as_activation, as_masks, recurrent_options


class RNN(Layer):
    """The simple recurrent network: h(t) = activation(W x(t) + R h(t-1) + b) (3.30), (3.31).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : str or tuple, default "tanh"
        A name, ``(name, alpha)`` or ``(name, alpha, beta)``.
    bidirectional : bool
        As ``direction="both"``.
    direction : {"forward", "reverse", "both"}, optional
        "reverse" reads every sequence from its own last step to its first. "both" is one layer of
        each; the output is [forward, backward]. By default "forward".
    learn_initial_state : bool
        h(0) is a block of parameters; otherwise zero.
    W_mask, R_mask : array_like of 0 and 1, optional
        Connectivity, in the shape of W and R: a weight that is not there counts as zero and gets no
        gradient. Both directions share it.
    tokens : bool
        Take integer tokens 0 ... I-1, which stand for one-hot vectors, as well as vectors of
        numbers; `input_size` is how many there are. For the first layer of a network.

    Notes
    -----
    Blocks: W (H, I), R (H, H), b (H,), and h0 (H,) if learned.

    Examples
    --------
    >>> from lstmcore import RNN
    >>> RNN(12, 32, activation="relu")
    RNN(12, 32, activation='relu')
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        activation="tanh",
        bidirectional=False,
        direction=None,
        learn_initial_state=False,
        W_mask=None,
        R_mask=None,
        tokens=False,
    ):
        options = recurrent_options(
            input_size, hidden_size, tokens, bidirectional, direction, learn_initial_state
        )
        I, H = options["input_size"], options["hidden_size"]
        activation = as_activation(activation, "activation")
        masks = as_masks(W_mask, R_mask, H, I, H)
        cell = Cell(
            kind="RNN",
            inputs=I,
            units=H,
            gates={},
            states=("h",),
            state_sizes=(H,),
            block_names=("W", "R", "b"),
            blocks=matrix_blocks(I, H, [H], masks.values()),
            description=describe_cell(1, I, H, output=activation),
        )
        options |= {"activation": activation, **masks}
        super().__init__(options, cell, options["tokens"])

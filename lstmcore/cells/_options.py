"""The options that several layers have, checked in one place."""

from .._activations import parse_activation
from .._checks import as_choice, as_flag, as_integer, as_ndarray, as_number, describe
from .._fixed import read_only
from .._params import STARTS

# So that no product of sizes leaves 64 bits; what memory cannot hold is a MemoryError.
LARGEST = 1 << 24

DIRECTIONS = ("forward", "reverse", "both")


def as_size(value, name):
    """A number of inputs or units."""
    return as_integer(value, name, 1, LARGEST)


def recurrent_options(
    input_size, hidden_size, tokens, bidirectional, direction, learn_initial_state
):
    """The options that every recurrent layer has, as they are kept.

    `bidirectional` is kept for the direction "both", `direction` for "reverse" alone, so that one
    layer has one spelling.
    """
    direction = as_direction(bidirectional, direction)
    return {
        "input_size": as_size(input_size, "input_size"),
        "hidden_size": as_size(hidden_size, "hidden_size"),
        "tokens": as_flag(tokens, "tokens"),
        "bidirectional": direction == "both",
        "direction": direction if direction == "reverse" else None,
        "learn_initial_state": as_flag(learn_initial_state, "learn_initial_state"),
    }


def as_direction(bidirectional, direction):
    """One of `DIRECTIONS`: `bidirectional` is another spelling of "both"."""
    bidirectional = as_flag(bidirectional, "bidirectional")
    if direction is None:
        return "both" if bidirectional else "forward"
    as_choice(direction, "direction", DIRECTIONS)
    if bidirectional and direction != "both":
        raise ValueError(f"direction: expected 'both' with bidirectional=True, got {direction!r}")
    return direction


def as_activation(activation, name):
    """An activation as it is kept: a str, or a tuple of a str and floats."""
    parse_activation(activation, name)
    if isinstance(activation, str):
        return activation
    return (activation[0], *map(float, activation[1:]))


def as_starts(W_start, R_start):
    """``{"W_start": start, "R_start": start}``, each a str, or a tuple of a str and floats."""
    return {"W_start": _as_start(W_start, "W_start"), "R_start": _as_start(R_start, "R_start")}


def _as_start(start, name):
    kind, *parameters = start if isinstance(start, tuple) and start else (start,)
    names = STARTS[as_choice(kind, name, STARTS)].parameters
    if len(parameters) != len(names):
        expected = f"({', '.join([repr(kind), *names])})" if names else repr(kind)
        raise ValueError(f"{name}: expected {expected}, got {start!r}")
    if not names:
        return kind
    numbers = [as_number(value, f"{name}[1]") for value in parameters]
    for value in numbers:
        if not value > 0:
            raise ValueError(f"{name}[1]: expected a number > 0, got {value}")
    return (kind, *numbers)


def as_gate_bias(bias, name):
    """What a gate's bias starts at, as it is kept: a float, or ("chrono", T) with T a float."""
    if not isinstance(bias, tuple) and not (isinstance(bias, str) and bias == "chrono"):
        return as_number(bias, name)
    if not (len(bias) == 2 and bias[0] == "chrono"):
        raise ValueError(
            f"{name}: expected a number or ('chrono', T), T the steps to remember for, got {bias!r}"
        )
    return ("chrono", as_number(bias[1], f"{name}[1]", 2))


def as_masks(W_mask, R_mask, rows, inputs, units):
    """``{"W_mask": mask, "R_mask": mask}`` for W (rows, inputs) and R (rows, units)."""
    return {
        "W_mask": _as_mask(W_mask, "W_mask", (rows, inputs)),
        "R_mask": _as_mask(R_mask, "R_mask", (rows, units)),
    }


def _as_mask(mask, name, shape):
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
    return read_only(array.astype(bool))

"""`Cell`: what one direction of a layer is, said once for everybody who has to know it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING

from .._activations import parse_activation
from .._fixed import Fixed
from .._params import BIAS, WEIGHTS, Block, by_gate, zeros

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass
class Cell(Fixed):
    """One direction of a layer. Read-only.

    Attributes
    ----------
    kind : str
        The name of the class that the kind of layer has its name from: ``"LSTM"``.
    inputs, units : int
        I and H.
    gates : mapping of str to slice
        The rows of W, R and b that belong to each gate, in order, without the gates that have no
        rows of their own; empty where there are no gates.
    states : tuple of str
        What a time step hands to the next: ``("h", "c")``.
    state_sizes : tuple of int
        Columns of each.
    block_names : tuple of str
        All blocks that a cell of the kind may have, in the order in which kernels take them.
    blocks : tuple of Block
        Those that this one has, in the order of the flat vector.
    description : mapping
        The cell as kernels take it: see `kernels.plan_cell`.
    """

    _instead = "make a new layer"

    kind: str
    inputs: int
    units: int
    gates: Mapping[str, slice]
    states: tuple[str, ...]
    state_sizes: tuple[int, ...]
    block_names: tuple[str, ...]
    blocks: tuple[Block, ...]
    description: Mapping[str, Any]

    def __post_init__(self):
        for name in ("gates", "description"):
            vars(self)[name] = MappingProxyType(dict(vars(self)[name]))

    def __reduce__(self):
        values = [vars(self)[field.name] for field in fields(self)]
        return Cell, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)


# Kernels find every key in every cell.
_ABSENT = {
    "block_size": 1,
    "input_gate": 0,
    "forget_gate": 0,
    "output_gate": 0,
    "coupled": 0,
    "peepholes": 0,
    "gate_recurrence": 0,
    "reset_after": 0,
    "output_peephole": 0,
}


def describe_cell(
    code, inputs, units, *, gate="identity", cell="identity", output="identity", **own
):
    """The description of a cell.

    Parameters
    ----------
    code : int
        Of its kind, in the kernels.
    inputs, units : int
    gate, cell, output : str or tuple
        Its activations.
    **own : int
        Those of the keys above that it sets.
    """
    description = {"kind": code, "inputs": inputs, "units": units, **_ABSENT, **own}
    for role, activation in (("gate", gate), ("cell", cell), ("output", output)):
        names = f"act_{role}", f"alpha_{role}", f"beta_{role}"
        description.update(zip(names, parse_activation(activation), strict=True))
    return description


def stack_gates(rows):
    """``{gate: slice}`` of gates that stand one after the other, given ``{gate: number of rows}``.

    A gate without rows is left out.
    """
    gates, start = {}, 0
    for gate, count in rows.items():
        if count:
            gates[gate] = slice(start, start + count)
        start += count
    return gates


def matrix_blocks(inputs, units, rows, options, start_b=None):
    """The blocks W, R and b that every recurrent cell begins with.

    Parameters
    ----------
    inputs, units : int
    rows : sequence of int
        Rows of each gate; each is drawn for itself.
    options : dict
        The layer's, with `W_start`, `R_start`, `W_mask` and `R_mask`.
    start_b : callable, optional
        What b starts at; by default zero.
    """
    total = sum(rows)
    start_W, start_R = (
        by_gate(options[f"{name}_start"], rows, options[f"{name}_mask"]) for name in "WR"
    )
    return (
        Block("W", (total, inputs), WEIGHTS, start_W),
        Block("R", (total, units), WEIGHTS, start_R),
        Block("b", (total,), BIAS, start_b or zeros()),
    )

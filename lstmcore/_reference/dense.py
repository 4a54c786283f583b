"""The dense layer, equation (3.32): a cell without recurrence."""

from ._activations import activate, derivative, parameters


def block_shapes(cell):
    """Shapes of the blocks that the cell has, in the kernels' order."""
    return {"W": (cell["units"], cell["inputs"]), "b": (cell["units"],)}


def record_widths(cell):
    """The fields of a record and how many columns each has."""
    return {"h": cell["units"]}


def state_fields(cell):
    """For each state, the fields of the record that make it up."""
    return ()


def forward(cell, blocks, a, previous, now):
    """One step of n sequences; see the package for the arguments."""
    now["h"][...] = activate(*parameters(cell, "output"), a)  # (3.32)


def backward(cell, blocks, previous, now, dnow, dblocks):
    """dL/da of one step; see the package for the arguments."""
    da = derivative(*parameters(cell, "output"), now["h"]) * dnow["h"]
    dnow["h"][...] = 0
    return da

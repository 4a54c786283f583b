"""The simple recurrent network, equations (3.30) to (3.35)."""

from ._activations import activate, derivative, parameters


def block_shapes(cell):
    """Shapes of the blocks that the cell has, in the kernels' order."""
    inputs, units = cell["inputs"], cell["units"]
    return {"W": (units, inputs), "R": (units, units), "b": (units,)}


def record_widths(cell):
    """The fields of a record and how many columns each has."""
    return {"h": cell["units"]}


def state_fields(cell):
    """For each state, the fields of the record that make it up."""
    return (("h",),)


def forward(cell, blocks, a, previous, now):
    """One step of n sequences; see the package for the arguments."""
    a = a + previous["h"] @ blocks["R"].T  # (3.30)
    now["h"][...] = activate(*parameters(cell, "output"), a)  # (3.31)


def backward(cell, blocks, previous, now, dnow, dblocks):
    """dL/da of one step; see the package for the arguments."""
    da = derivative(*parameters(cell, "output"), now["h"]) * dnow["h"]  # (3.33)
    dblocks["R"] += da.T @ previous["h"]  # (3.35)
    dnow["h"][...] = da @ blocks["R"]
    return da

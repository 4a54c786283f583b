"""The gated recurrent unit, equations (G1) to (G9) of docs/equations.md.

Gates stand in the order r, z, n: reset gate, update gate, candidate; H rows of W, R and b each.
"""

import numpy as np

from ._activations import activate, derivative, parameters


def block_shapes(cell):
    """Shapes of the blocks that the cell has, in the kernels' order; absent ones are None."""
    inputs, units = cell["inputs"], cell["units"]
    return {
        "W": (3 * units, inputs),
        "R": (3 * units, units),
        "b": (3 * units,),
        "bR": (units,) if cell["reset_after"] else None,
    }


def record_widths(cell):
    """The fields of a record and how many columns each has."""
    fields = ("h", "r", "z", "n")
    if cell["reset_after"]:
        fields += ("m",)  # the recurrent part of the candidate, which (G9) reads
    return dict.fromkeys(fields, cell["units"])


def state_fields(cell):
    """For each state, the fields of the record that make it up."""
    return (("h",),)


def forward(cell, blocks, a, previous, now):
    """One step of n sequences; see the package for the arguments."""
    gate = parameters(cell, "gate")
    R_r, R_z, R_n = _by_gate(blocks["R"])
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    h = previous["h"]

    now["r"][...] = activate(*gate, a_r + h @ R_r.T)  # (G1)
    now["z"][...] = activate(*gate, a_z + h @ R_z.T)  # (G2)
    if cell["reset_after"]:
        now["m"][...] = h @ R_n.T + blocks["bR"]
        a_n = a_n + now["r"] * now["m"]  # (G3)
    else:
        a_n = a_n + (now["r"] * h) @ R_n.T  # (G4)
    now["n"][...] = activate(*parameters(cell, "cell"), a_n)
    now["h"][...] = (1 - now["z"]) * now["n"] + now["z"] * h  # (G5)


def backward(cell, blocks, previous, now, dnow, dblocks):
    """dL/da of one step; see the package for the arguments."""
    gate = parameters(cell, "gate")
    R_r, R_z, R_n = _by_gate(blocks["R"])
    dR_r, dR_z, dR_n = _by_gate(dblocks["R"])
    h, r, z, n = previous["h"], now["r"], now["z"], now["n"]
    dh = dnow["h"]  # (G6) is in it already

    da_n = derivative(*parameters(cell, "cell"), n) * (1 - z) * dh  # (G7)
    da_z = derivative(*gate, z) * (h - n) * dh  # (G8)
    if cell["reset_after"]:
        dm = r * da_n
        dr = now["m"] * da_n
        dblocks["bR"] += dm.sum(axis=0)
        dR_n += dm.T @ h
        dh_n = dm @ R_n
    else:
        drh = da_n @ R_n
        dr = h * drh
        dR_n += da_n.T @ (r * h)
        dh_n = r * drh
    da_r = derivative(*gate, r) * dr  # (G9)

    # (3.35)
    dR_r += da_r.T @ h
    dR_z += da_z.T @ h

    # what the step before finds of (G6)
    dh[...] = z * dh + da_r @ R_r + da_z @ R_z + dh_n
    return np.hstack([da_r, da_z, da_n])


def _by_gate(rows):
    """Views of the rows of r, z and n."""
    return np.split(rows, 3)

"""Long short-term memory, equations (4.2) to (4.16), and its variants.

C cells are in a block, nb = H / C blocks, m own gates of a block, G = m nb + H rows of W and R.
Gates stand in the order i, f, g, o, absent ones left out; where only the gates proper are meant
(the rows of p and Q) in the order i, f, o. The input and forget gates' peepholes read c(t-1). That
of the output gate reads c(t) or c(t-1); or it has none, and p no row for it. An absent gate is the
constant 1, a coupled forget gate is 1 - i.
"""

import numpy as np

from ._activations import activate, derivative, parameters

# The record that the output gate's peephole reads, for each value of `output_peephole`; with the
# last there is no peephole.
_OUTPUT_PEEPHOLES = ("now", "previous", None)


def _own_gates(cell):
    """The gates with weights of their own, in the order i, f, o."""
    present = {
        "i": cell["input_gate"],
        "f": cell["forget_gate"] and not cell["coupled"],
        "o": cell["output_gate"],
    }
    return [gate for gate in "ifo" if present[gate]]


def _peepholes(cell):
    """The gates with peepholes, in the order of p, and the record that each reads."""
    if not cell["peepholes"]:
        return {}
    records = dict.fromkeys(_own_gates(cell), "previous")
    if "o" in records:
        records["o"] = _OUTPUT_PEEPHOLES[cell["output_peephole"]]
    return {gate: record for gate, record in records.items() if record is not None}


def _gate_rows(cell):
    """Where in the G rows of W, R and b each of i, f, g, o has its own."""
    own, blocks = _own_gates(cell), cell["units"] // cell["block_size"]
    rows, start = {}, 0
    for gate in "ifgo":
        count = cell["units"] if gate == "g" else blocks * (gate in own)
        if count:
            rows[gate] = slice(start, start + count)
        start += count
    return rows


def block_shapes(cell):
    """Shapes of the blocks that the cell has, in the kernels' order; absent ones are None."""
    inputs, units, own = cell["inputs"], cell["units"], len(_own_gates(cell))
    gates = own * (units // cell["block_size"])
    rows = gates + units
    return {
        "W": (rows, inputs),
        "R": (rows, units),
        "b": (rows,),
        "p": (len(_peepholes(cell)), units) if cell["peepholes"] else None,
        "Q": (gates, gates) if cell["gate_recurrence"] and gates else None,
    }


def record_widths(cell):
    """The fields of a record and how many columns each has."""
    units = cell["units"]
    blocks = units // cell["block_size"]
    # hc is h(s_c), the squashed cell state of (4.10)
    return {"h": units, "c": units, "i": blocks, "f": blocks, "g": units, "o": blocks, "hc": units}


def state_fields(cell):
    """For each state, the fields of the record that make it up."""
    return ("h", *(_own_gates(cell) if cell["gate_recurrence"] else [])), ("c",)


def forward(cell, blocks, a, previous, now):
    """One step of n sequences; see the package for the arguments."""
    own, rows, peepholes = _own_gates(cell), _gate_rows(cell), _peepholes(cell)
    gate, size = parameters(cell, "gate"), cell["block_size"]
    records = {"previous": previous, "now": now}
    p = dict(zip(peepholes, blocks.get("p", ()), strict=True))

    a = a + previous["h"] @ blocks["R"].T
    if "Q" in blocks:
        a_gates = np.hstack([previous[name] for name in own]) @ blocks["Q"].T
        for name, part in zip(own, np.split(a_gates, len(own), axis=1), strict=True):
            a[:, rows[name]] += part

    def gate_value(name):
        """The gate's activation, once the cell states are there that its peephole reads."""
        if name == "f" and cell["coupled"]:
            return 1 - now["i"]
        if name not in own:
            return 1
        a_gate = a[:, rows[name]]
        if name in p:
            a_gate = a_gate + _block_sums(p[name] * records[peepholes[name]]["c"], size)
        return activate(*gate, a_gate)

    now["i"][...] = gate_value("i")  # (4.2), (4.3)
    now["f"][...] = gate_value("f")  # (4.4), (4.5)
    now["g"][...] = activate(*parameters(cell, "cell"), a[:, rows["g"]])  # (4.6)
    i, f = _to_cells(now["i"], size), _to_cells(now["f"], size)
    now["c"][...] = f * previous["c"] + i * now["g"]  # (4.7)
    now["o"][...] = gate_value("o")  # (4.8), (4.9)
    now["hc"][...] = activate(*parameters(cell, "output"), now["c"])
    now["h"][...] = _to_cells(now["o"], size) * now["hc"]  # (4.10)


def backward(cell, blocks, previous, now, dnow, dblocks):
    """dL/da of one step; see the package for the arguments."""
    own, rows, peepholes = _own_gates(cell), _gate_rows(cell), _peepholes(cell)
    gate, size = parameters(cell, "gate"), cell["block_size"]
    records = {"previous": previous, "now": now}
    p = dict(zip(peepholes, blocks.get("p", ()), strict=True))
    i, f, o = (_to_cells(now[name], size) for name in "ifo")
    dh, dc = dnow["h"], dnow["c"]  # (4.11) is in dh already
    da = np.zeros((len(dh), len(blocks["b"])), dh.dtype)

    def set_da(name, dvalue):
        """delta of an own gate, given dL/d(its activation)."""
        if "Q" in blocks:
            dvalue = dvalue + dnow[name]
        da[:, rows[name]] = derivative(*gate, now[name]) * dvalue

    def peeped_at(record):
        """What the gates' deltas send to the cell states of a record through the peepholes."""
        return sum(
            p[name] * _to_cells(da[:, rows[name]], size)
            for name, peeped in peepholes.items()
            if peeped == record
        )

    if "o" in own:
        set_da("o", _block_sums(now["hc"] * dh, size))  # (4.12)
    dc += o * derivative(*parameters(cell, "output"), now["hc"]) * dh + peeped_at("now")  # (4.13)
    da[:, rows["g"]] = i * derivative(*parameters(cell, "cell"), now["g"]) * dc  # (4.14)
    if "f" in own:
        set_da("f", _block_sums(previous["c"] * dc, size))  # (4.15)
    if "i" in own:
        # (4.16); a coupled forget gate is 1 - i, so that its (4.15) arrives here with a minus
        di = (now["g"] - previous["c"] if cell["coupled"] else now["g"]) * dc
        set_da("i", _block_sums(di, size))

    # (3.35)
    dblocks["R"] += da.T @ previous["h"]
    for (name, record), dp in zip(peepholes.items(), dblocks.get("p", ()), strict=True):
        dp += (_to_cells(da[:, rows[name]], size) * records[record]["c"]).sum(axis=0)

    # dL/d(previous state): the terms of (4.13) that the step before will find in its dc, and (4.11)
    dc[...] = f * dc + peeped_at("previous")
    dh[...] = da @ blocks["R"]
    if "Q" in blocks:
        da_gates = np.hstack([da[:, rows[name]] for name in own])
        dblocks["Q"] += da_gates.T @ np.hstack([previous[name] for name in own])
        sent = np.split(da_gates @ blocks["Q"], len(own), axis=1)
        for name, dgate in zip(own, sent, strict=True):
            dnow[name][...] = dgate
    return da


def _to_cells(gate, block_size):
    """(n, nb) -> (n, H): every cell of a block sees the block's gate."""
    return np.repeat(gate, block_size, axis=1)


def _block_sums(cells, block_size):
    """(n, H) -> (n, nb): sums over the cells of a block."""
    n, units = cells.shape
    return cells.reshape(n, units // block_size, block_size).sum(axis=2)

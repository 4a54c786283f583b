"""The NumPy twin of the compiled kernels: same names, same arguments, plain and slow.

It is the specification in code. Numbers in brackets are the equations of A. Graves, *Supervised
Sequence Labelling with Recurrent Neural Networks* (Springer, 2012), chapters 3 and 4.

Dimensions: T time steps, B sequences, I inputs, H hidden units (cells), K outputs, C cells in a
block, nb = H / C blocks, m own gates of a block, G = m nb + H rows of W and R.
Gates stand in the order i, f, g, o, absent ones left out; where only the gates proper are meant
(the rows of p and Q) in the order i, f, o. The input and forget gates' peepholes read c(t-1), the
output gate's reads c(t). An absent gate is the constant 1, a coupled forget gate is 1 - i.

Sequences are processed in the order of their ranks (descending length), so that the n sequences
that have a step t are the first n rows of every array. Batch arrays of the caller (x, y, h0, hT,
dy, ...) are indexed by sequence, `lengths` and the arrays in here by rank.

Like the compiled kernels these functions check nothing, write to nothing that is called an input,
and leave the layout of the flat buffers `packed`, `tape` and `grad` to themselves. Here they are:
packed and grad : the blocks W, R, b, p, Q one after the other, each in C order;
tape : one record (see `_record_fields`) a row; the B initial states, then the sequences of step
    t0, then those of step t0 + 1, ...
"""

import numpy as np

DENSE, RNN, LSTM = 0, 1, 2


# ------------------------------------------------------------------------------- activations


def same_bytes(a, b):
    """Whether two arrays of one size hold the same bytes."""
    return a.tobytes() == b.tobytes()


def apply_activation(code, alpha, beta, x, y):
    """y[...] = activation(x). Code 14 is exp, which no cell uses but the softmax does."""
    y[...] = _activate(code, alpha, beta, x)


def _activate(code, alpha, beta, x):
    match code:
        case 0:  # identity
            return x
        case 1:  # logistic
            return _logistic(x)
        case 2:  # tanh
            return np.tanh(x)
        case 3:  # relu
            return np.maximum(x, 0)
        case 4:  # logistic_1: 2 logistic(x) - 1, without its cancellation at 0
            return np.tanh(x / 2)
        case 5:  # logistic_2: 4 logistic(x) - 2
            return 2 * np.tanh(x / 2)
        case 6:  # softsign
            return x / (1 + np.abs(x))
        case 7:  # softplus
            return np.logaddexp(0, x, dtype=x.dtype)
        case 8:  # elu
            return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
        case 9:  # leaky_relu
            return np.where(x > 0, x, alpha * x)
        case 10:  # hard_sigmoid
            return np.clip(alpha * x + beta, 0, 1)
        case 11:  # scaled_tanh
            return alpha * np.tanh(beta * x)
        case 12:  # thresholded_relu
            return np.where(x <= alpha, x.dtype.type(0), x)
        case 13:  # affine
            return alpha * x + beta
        case 14:  # exp
            return np.exp(x)
    raise ValueError(f"code must be an activation code from 0 to 14, got {code!r}")


def _logistic(x):
    e = np.exp(-np.abs(x))  # of the negative side only, which cannot overflow
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _derivative(code, alpha, beta, y):
    """The activation's derivative as a function of its value y."""
    match code:
        case 0:  # identity
            return np.ones_like(y)
        case 1:  # logistic
            return y * (1 - y)
        case 2:  # tanh
            return 1 - y * y
        case 3:  # relu
            return (y > 0).astype(y.dtype)
        case 4:  # logistic_1
            return (1 - y * y) / 2
        case 5:  # logistic_2
            return 1 - y * y / 4
        case 6:  # softsign
            return (1 - np.abs(y)) ** 2
        case 7:  # softplus
            return -np.expm1(-y)
        case 8:  # elu
            return np.where(y > 0, y.dtype.type(1), y + alpha)
        case 9:  # leaky_relu
            return np.where(y > 0, y.dtype.type(1), y.dtype.type(alpha))
        case 10:  # hard_sigmoid
            return np.where((y > 0) & (y < 1), y.dtype.type(alpha), y.dtype.type(0))
        case 11:  # scaled_tanh
            return beta * (alpha - y * y / alpha)
        case 12:  # thresholded_relu
            return (y > 0).astype(y.dtype)
        case 13:  # affine
            return np.full_like(y, alpha)
    raise ValueError(f"code must be an activation code from 0 to 13, got {code!r}")


def _parameters(cell, role):
    """(code, alpha, beta) of a cell's "gate", "cell" or "output" activation."""
    return cell[f"act_{role}"], cell[f"alpha_{role}"], cell[f"beta_{role}"]


# ------------------------------------------------------------------------ blocks and buffers


def _own_gates(cell):
    """The gates with weights of their own, in the order i, f, o."""
    present = {
        "i": cell["input_gate"],
        "f": cell["forget_gate"] and not cell["coupled"],
        "o": cell["output_gate"],
    }
    return [gate for gate in "ifo" if present[gate]]


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


def _block_shapes(cell):
    inputs, units = cell["inputs"], cell["units"]
    if cell["kind"] == DENSE:
        return {"W": (units, inputs), "b": (units,)}
    if cell["kind"] == RNN:
        return {"W": (units, inputs), "R": (units, units), "b": (units,)}
    own = len(_own_gates(cell))
    gates = own * (units // cell["block_size"])
    rows = gates + units
    shapes = {"W": (rows, inputs), "R": (rows, units), "b": (rows,)}
    if cell["peepholes"]:
        shapes["p"] = (own, units)
    if cell["gate_recurrence"] and gates:
        shapes["Q"] = (gates, gates)
    return shapes


def _block_views(cell, flat):
    """The blocks as views of a flat buffer."""
    views, start = {}, 0
    for name, shape in _block_shapes(cell).items():
        stop = start + int(np.prod(shape))
        views[name] = flat[start:stop].reshape(shape)
        start = stop
    return views


def _record_fields(cell):
    """What is kept of one step of one sequence: field -> its columns in a row of the tape."""
    units = cell["units"]
    widths = {"h": units}
    if cell["kind"] == LSTM:
        blocks = units // cell["block_size"]
        # hc is h(s_c), the squashed cell state of (4.10)
        widths |= {"c": units, "i": blocks, "f": blocks, "g": units, "o": blocks, "hc": units}
    fields, start = {}, 0
    for field, width in widths.items():
        fields[field] = slice(start, start + width)
        start += width
    return fields


def _state_columns(cell):
    """The columns of a record that make up the state h; the state c is the field c."""
    fields = _record_fields(cell)
    parts = ["h"] + (_own_gates(cell) if cell["gate_recurrence"] else [])
    return np.concatenate([np.arange(fields[part].start, fields[part].stop) for part in parts])


def _split(cell, records):
    return {field: records[:, columns] for field, columns in _record_fields(cell).items()}


def plan_cell(cell, dtype):
    """What the functions below take as their cell: here the cell itself."""
    return cell


def sizes(cell):
    """Numbers of scalars: (of `packed`, of `tape` for one step of one sequence, of `grad`)."""
    weights = sum(int(np.prod(shape)) for shape in _block_shapes(cell).values())
    record = max(columns.stop for columns in _record_fields(cell).values())
    return weights, record, weights


def scratch_size(cell, B, n_threads, training, with_dx):
    """Number of scalars of scratch: none, NumPy allocates its own."""
    return 0


def chunk_rows(cell, B):
    """Every step begins a chunk of BPTT here: it may be cut anywhere."""
    return 1


def pack(cell, W, R, b, p, Q, packed):
    """Lay the weights out for `forward` and `backward`."""
    given = {"W": W, "R": R, "b": b, "p": p, "Q": Q}
    for name, view in _block_views(cell, packed).items():
        view[...] = given[name]


def unpack(cell, grad, dW, dR, db, dp, dQ):
    """Copy the gradient that `backward` left in `grad` to the blocks; None where there is none."""
    wanted = {"W": dW, "R": dR, "b": db, "p": dp, "Q": dQ}
    for name, view in _block_views(cell, grad).items():
        wanted[name][...] = view


# ------------------------------------------------------------------------------- whole batch


def _positions(order, lengths, t, n, reverse):
    """Index of step t of the first n sequences in a (B, T, ...) array of the caller."""
    times = lengths[:n] - 1 - t if reverse else np.full(n, t)
    return order[:n], times


def _active(lengths, t):
    """How many sequences are longer than t; ranked by length they are the first so many."""
    return int(np.count_nonzero(lengths > t))


def forward(
    cell, packed, x, order, lengths, h0, c0, y, hT, cT, tape, scratch, t0, t1, reverse, n_threads
):
    """Steps t0 <= t < t1 of every sequence that has them, from the state (h0, c0).

    Parameters
    ----------
    cell : dict
        What the layer is.
    packed : (sizes[0],) array
        From `pack`.
    x : (B, T, I) real array or (B, T) intp array
        Inputs, or tokens, each standing for the one-hot vector of its index.
    order : (B,) intp array
        Rank -> sequence.
    lengths : (B,) intp array
        By rank, descending; 0 is legal.
    h0, c0 : (B, H) array or None
        State before step t0; None is zero. With gate recurrence h0 is (B, H + m nb): h, then the
        gates' activations, for they too are read at the next step. So are hT, dhT and dh0.
    y : (B, T, H) array or None
        Outputs, written where the steps are.
    hT, cT : (B, H) array or None
        Overwritten with the state after step min(t1, length) - 1.
    tape : (sizes[1] * (B + number of steps done),) array or None
        Overwritten with what `backward` needs.
    scratch : array
        Not used here.
    t0, t1 : int
    reverse : bool
        Step t reads x[length - 1 - t] and writes y[length - 1 - t].
    n_threads : int
        Not used here.
    """
    blocks = _block_views(cell, packed)
    fields = _record_fields(cell)
    B, width = len(order), sizes(cell)[1]
    tape = None if tape is None else tape.reshape(-1, width)

    # the initial state is a record like any other, so no step is special
    records = np.zeros((B, width), packed.dtype)
    states = [(_state_columns(cell), h0, hT), (fields.get("c"), c0, cT)]
    for columns, initial, final in states:
        if initial is not None:
            records[:, columns] = initial[order]
        if final is not None:
            final[order] = records[:, columns]
    if tape is not None:
        tape[:B] = records

    step = {DENSE: _dense_forward, RNN: _rnn_forward, LSTM: _lstm_forward}[cell["kind"]]
    done = B
    for t in range(t0, t1):
        n = _active(lengths, t)
        if n == 0:
            break
        at = _positions(order, lengths, t, n, reverse)
        previous, records = _split(cell, records[:n]), np.empty((n, width), packed.dtype)
        now = _split(cell, records)
        step(cell, blocks, _input_product(blocks, x[at]), previous, now)
        if y is not None:
            y[at] = now["h"]
        for columns, _, final in states:
            if final is not None:
                final[order[:n]] = records[:, columns]
        if tape is not None:
            tape[done : done + n] = records
            done += n


def backward(
    cell, packed, x, order, lengths, tape, dy, dhT, dcT, dx, dh0, dc0, grad, scratch,
    t0, t1, reverse, n_threads, first_row=0,
):  # fmt: skip
    """Backpropagate through the steps that `forward` did with the same arguments.

    Parameters
    ----------
    cell, packed, x, order, lengths, tape, t0, t1, reverse
        As for `forward`.
    dy : (B, T, H) array or None
        dL/dy; None is zero.
    dhT, dcT : (B, H) array or None
        dL/dhT, dL/dcT; None is zero. With gate recurrence dhT and dh0 are (B, H + m nb).
    dx : (B, T, I) array or None
        dL/dx is added to it.
    dh0, dc0 : (B, H) array or None
        Overwritten with dL/dh0, dL/dc0.
    grad : (sizes[2],) array
        The weights' gradient is added to it; `unpack` takes it out.
    scratch : array
        Not used here.
    n_threads : int
        Not used here.
    first_row : int
        Rows before step 0 where the sequences are a segment of longer ones: chunks of BPTT are
        counted from there. Not used here.
    """
    blocks, dblocks = _block_views(cell, packed), _block_views(cell, grad)
    B, dtype = len(order), packed.dtype
    tape = tape.reshape(-1, sizes(cell)[1])
    t1 = min(t1, int(lengths.max(initial=0)))
    # n[t], and where the records of the state before step t begin
    active = {t: _active(lengths, t) for t in range(t0, t1)}
    before, start = {}, 0
    for t in range(t0, t1):
        before[t] = start
        start += B if t == t0 else active[t - 1]

    # by rank: what is known of the loss's derivative by the newest state
    dh = np.zeros((B, len(_state_columns(cell))), dtype)
    dc = np.zeros((B, cell["units"]), dtype)
    if dhT is not None:
        dh[...] = dhT[order]
    if dcT is not None:
        dc[...] = dcT[order]
    dstate = {"h": dh[:, : cell["units"]], "gates": dh[:, cell["units"] :], "c": dc}

    step = {DENSE: _dense_backward, RNN: _rnn_backward, LSTM: _lstm_backward}[cell["kind"]]
    for t in reversed(range(t0, t1)):
        n = active[t]
        at = _positions(order, lengths, t, n, reverse)
        previous = _split(cell, tape[before[t] : before[t] + n])
        after = before[t] + (B if t == t0 else active[t - 1])
        now = _split(cell, tape[after : after + n])
        dnow = {field: values[:n] for field, values in dstate.items()}
        if dy is not None:
            dnow["h"] += dy[at]
        da = step(cell, blocks, previous, now, dnow, dblocks)  # leaves dL/d(previous) in dnow
        _add_input_gradient(dblocks, da, x[at])
        if dx is not None:
            dx[at] += da @ blocks["W"]

    if dh0 is not None:
        dh0[order] = dh
    if dc0 is not None:
        dc0[order] = dc


def _input_product(blocks, x):
    """Bias and input part of the pre-activations; a token selects its column of W."""
    if x.ndim == 1:
        return blocks["b"] + blocks["W"].T[x]
    return blocks["b"] + x @ blocks["W"].T


def _add_input_gradient(dblocks, da, x):
    """dL/dw_ij = sum_t delta_j(t) x_i(t) (3.35) and the bias's, whose input is 1."""
    dblocks["b"] += da.sum(axis=0)
    if x.ndim == 1:
        np.add.at(dblocks["W"].T, x, da)
    else:
        dblocks["W"] += da.T @ x


# ------------------------------------------------------------------------ dense, simple RNN


def _dense_forward(cell, blocks, a, previous, now):
    now["h"][...] = _activate(*_parameters(cell, "output"), a)  # (3.32)


def _dense_backward(cell, blocks, previous, now, dnow, dblocks):
    da = _derivative(*_parameters(cell, "output"), now["h"]) * dnow["h"]
    dnow["h"][...] = 0
    return da


def _rnn_forward(cell, blocks, a, previous, now):
    a = a + previous["h"] @ blocks["R"].T  # (3.30)
    now["h"][...] = _activate(*_parameters(cell, "output"), a)  # (3.31)


def _rnn_backward(cell, blocks, previous, now, dnow, dblocks):
    da = _derivative(*_parameters(cell, "output"), now["h"]) * dnow["h"]  # (3.33)
    dblocks["R"] += da.T @ previous["h"]  # (3.35)
    dnow["h"][...] = da @ blocks["R"]
    return da


# -------------------------------------------------------------------------------------- LSTM


def _lstm_forward(cell, blocks, a, previous, now):
    own, rows = _own_gates(cell), _gate_rows(cell)
    gate, size = _parameters(cell, "gate"), cell["block_size"]

    a = a + previous["h"] @ blocks["R"].T
    if "Q" in blocks:
        a_gates = np.hstack([previous[name] for name in own]) @ blocks["Q"].T
        for name, part in zip(own, np.split(a_gates, len(own), axis=1), strict=True):
            a[:, rows[name]] += part

    def gate_value(name, c):
        """The gate's activation; its peephole reads the cell states c."""
        if name == "f" and cell["coupled"]:
            return 1 - now["i"]
        if name not in own:
            return 1
        a_gate = a[:, rows[name]]
        if "p" in blocks:
            a_gate = a_gate + _block_sums(blocks["p"][own.index(name)] * c, size)
        return _activate(*gate, a_gate)

    now["i"][...] = gate_value("i", previous["c"])  # (4.2), (4.3)
    now["f"][...] = gate_value("f", previous["c"])  # (4.4), (4.5)
    now["g"][...] = _activate(*_parameters(cell, "cell"), a[:, rows["g"]])  # (4.6)
    i, f = _to_cells(now["i"], size), _to_cells(now["f"], size)
    now["c"][...] = f * previous["c"] + i * now["g"]  # (4.7)
    now["o"][...] = gate_value("o", now["c"])  # (4.8), (4.9)
    now["hc"][...] = _activate(*_parameters(cell, "output"), now["c"])
    now["h"][...] = _to_cells(now["o"], size) * now["hc"]  # (4.10)


def _lstm_backward(cell, blocks, previous, now, dnow, dblocks):
    own, rows = _own_gates(cell), _gate_rows(cell)
    gate, size = _parameters(cell, "gate"), cell["block_size"]
    i, f, o = (_to_cells(now[name], size) for name in "ifo")
    dh, dc = dnow["h"], dnow["c"]  # (4.11) is in dh already
    da = np.zeros((len(dh), len(blocks["b"])), dh.dtype)

    def set_da(name, dvalue):
        """delta of an own gate, given dL/d(its activation)."""
        if "Q" in blocks:
            sent = np.split(dnow["gates"], len(own), axis=1)
            dvalue = dvalue + sent[own.index(name)]
        da[:, rows[name]] = _derivative(*gate, now[name]) * dvalue

    def peephole(name):
        """What a gate's delta sends to the cell states that its peephole reads."""
        if "p" not in blocks or name not in own:
            return 0
        return blocks["p"][own.index(name)] * _to_cells(da[:, rows[name]], size)

    if "o" in own:
        set_da("o", _block_sums(now["hc"] * dh, size))  # (4.12)
    dc += o * _derivative(*_parameters(cell, "output"), now["hc"]) * dh + peephole("o")  # (4.13)
    da[:, rows["g"]] = i * _derivative(*_parameters(cell, "cell"), now["g"]) * dc  # (4.14)
    if "f" in own:
        set_da("f", _block_sums(previous["c"] * dc, size))  # (4.15)
    if "i" in own:
        # (4.16); a coupled forget gate is 1 - i, so that its (4.15) arrives here with a minus
        di = (now["g"] - previous["c"] if cell["coupled"] else now["g"]) * dc
        set_da("i", _block_sums(di, size))

    # (3.35)
    dblocks["R"] += da.T @ previous["h"]
    if "p" in blocks:
        for name, dp in zip(own, dblocks["p"], strict=True):
            c = now["c"] if name == "o" else previous["c"]
            dp += (_to_cells(da[:, rows[name]], size) * c).sum(axis=0)

    # dL/d(previous state): the terms of (4.13) that the step before will find in its dc, and (4.11)
    dc[...] = f * dc + peephole("i") + peephole("f")
    dh[...] = da @ blocks["R"]
    if "Q" in blocks:
        da_gates = np.hstack([da[:, rows[name]] for name in own])
        dblocks["Q"] += da_gates.T @ np.hstack([previous[name] for name in own])
        dnow["gates"][...] = da_gates @ blocks["Q"]
    return da


def _to_cells(gate, block_size):
    """(n, nb) -> (n, H): every cell of a block sees the block's gate."""
    return np.repeat(gate, block_size, axis=1)


def _block_sums(cells, block_size):
    """(n, H) -> (n, nb): sums over the cells of a block."""
    n, units = cells.shape
    return cells.reshape(n, units // block_size, block_size).sum(axis=2)


# ------------------------------------------------------------------------- readout, outputs


def add_over_time(y, lengths, total):
    """total[b] += the sum of y[b, t] over t < lengths[b]; arguments as in `mean_over_time`."""
    for b, length in enumerate(lengths):
        for t in range(length):
            total[b] += y[b, t]


def mean_over_time(y, lengths, out):
    """out[b] = mean of y[b, t] over t < lengths[b]; 0 for length 0.

    Parameters
    ----------
    y : (B, T, K) array
    lengths : (B,) intp array
        By sequence.
    out : (B, K) array
        Overwritten.
    """
    out[...] = 0
    add_over_time(y, lengths, out)
    for b, length in enumerate(lengths):
        if length:
            out[b] /= length


def squash(kind, a, y):
    """Output activation of pre-activations a (N, K), by rows; y (N, K) is overwritten.

    Kind 0 is the identity, 1 logistic, 2 softmax.
    """
    if kind == 0:
        y[...] = a
    elif kind == 1:
        y[...] = _logistic(a)
    else:
        e = np.exp(a - a.max(axis=1, keepdims=True, initial=-np.inf))
        y[...] = e / e.sum(axis=1, keepdims=True)

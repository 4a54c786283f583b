"""The NumPy twin of the compiled kernels: same names, same arguments, plain and slow.

It is the specification in code. Numbers in brackets are equations of docs/equations.md, which has
most of them from A. Graves, *Supervised Sequence Labelling with Recurrent Neural Networks*
(Springer, 2012), chapters 3 and 4.

Dimensions: T time steps, B sequences, I inputs, H hidden units (cells), K outputs.

Sequences are processed in the order of their ranks (descending length), so that the n sequences
that have a step t are the first n rows of every array. Batch arrays of the caller (x, y, the
states, dy, ...) are indexed by sequence, `lengths` and the arrays in here by rank.

Like the compiled kernels these functions check nothing, write to nothing that is called an input,
and leave the layout of the flat buffers `packed`, `tape` and `grad` to themselves. Here they are:
packed and grad : the blocks one after the other in the kernels' order, each in C order;
tape : one record (see `_record_fields`) a row; the B initial states, then the sequences of step
    t0, then those of step t0 + 1, ...

Each kind of cell is a module, and says
block_shapes(cell) : the shape of each block by name, in the kernels' order, None where absent
record_widths(cell) : what is kept of one step of one sequence, field by field; h is the output
state_fields(cell) : for each state, the fields of the record that make it up
forward(cell, blocks, a, previous, now) : one step of n sequences. `a` (n, rows) is bias and input
    part of the pre-activations; `previous` and `now` have an array (n, width) for each field of
    the record, and `now` is overwritten.
backward(cell, blocks, previous, now, dnow, dblocks) : returns dL/da (n, rows). `dnow` has the
    fields of `now`: of h and the states it holds what is known of the loss's derivative, and is
    overwritten with that by the previous state. The gradient of R, and of what else the recurrence
    reads, is added to `dblocks`.
"""

import numpy as np

from . import dense, gru, lstm, rnn
from ._activations import apply_activation, logistic
from ._ctc import ctc_rows, ctc_scratch_size
from ._losses import loss_rows
from ._noise import add_noise
from ._updates import adam_update, rmsprop_update, rprop_update, sgd_update, sum_of_squares

__all__ = [
    "adam_update",
    "add_noise",
    "add_over_time",
    "apply_activation",
    "backward",
    "chunk_rows",
    "ctc_rows",
    "ctc_scratch_size",
    "forward",
    "loss_rows",
    "max_over_time",
    "output_units",
    "columns_table",
    "pack",
    "plan_cell",
    "rmsprop_update",
    "rprop_update",
    "same_bytes",
    "scratch_size",
    "sgd_update",
    "sizes",
    "split_records",
    "sum_of_squares",
    "unpack",
]

DENSE, RNN, LSTM, GRU = 0, 1, 2, 3
_MODULES = {DENSE: dense, RNN: rnn, LSTM: lstm, GRU: gru}


def _module(cell):
    return _MODULES[cell["kind"]]


# ------------------------------------------------------------------------ blocks and buffers


def _present(cell):
    """The shapes of the blocks that the cell has."""
    shapes = _module(cell).block_shapes(cell)
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _block_views(cell, flat):
    """The blocks as views of a flat buffer."""
    views, start = {}, 0
    for name, shape in _present(cell).items():
        stop = start + int(np.prod(shape))
        views[name] = flat[start:stop].reshape(shape)
        start = stop
    return views


def _record_fields(cell):
    """What is kept of one step of one sequence: field -> its columns in a row of the tape."""
    fields, start = {}, 0
    for field, width in _module(cell).record_widths(cell).items():
        fields[field] = slice(start, start + width)
        start += width
    return fields


def _state_columns(cell):
    """For each state, its columns of a record."""
    fields = _record_fields(cell)
    return [
        np.concatenate([np.arange(fields[part].start, fields[part].stop) for part in parts])
        for parts in _module(cell).state_fields(cell)
    ]


def split_records(cell, records):
    """Views (n, width) of the fields of records (n, sizes[1]), as a tape has them."""
    return {field: records[:, columns] for field, columns in _record_fields(cell).items()}


def plan_cell(cell, dtype):
    """What the functions below take as their cell: here the cell itself."""
    return cell


def sizes(cell):
    """Numbers of scalars: (of `packed`, of `tape` for one step of one sequence, of `grad`)."""
    weights = sum(int(np.prod(shape)) for shape in _present(cell).values())
    record = sum(_module(cell).record_widths(cell).values())
    return weights, record, weights


def scratch_size(cell, B, n_threads, training, with_dx, with_x=True):
    """Number of scalars of scratch: none, NumPy allocates its own."""
    return 0


def chunk_rows(cell, B):
    """Every step begins a chunk of BPTT here: it may be cut anywhere."""
    return 1


def pack(cell, blocks, packed):
    """Lay the weights out for `forward` and `backward`.

    `blocks` has an entry for each block of the kind, None where the cell has none. The bias of a
    dense layer, and a GRU's recurrent one, may be None: zero.
    """
    given = dict(zip(_module(cell).block_shapes(cell), blocks, strict=True))
    for name, view in _block_views(cell, packed).items():
        view[...] = 0 if given[name] is None else given[name]


def unpack(cell, grad, blocks):
    """Copy the gradient that `backward` left in `grad` to the blocks; as in `pack`."""
    wanted = dict(zip(_module(cell).block_shapes(cell), blocks, strict=True))
    for name, view in _block_views(cell, grad).items():
        if wanted[name] is not None:
            wanted[name][...] = view


# ------------------------------------------------------------------------------- whole batch


def _positions(array, axes, first, lengths, t, n, reverse):
    """Index of step t of the first n sequences in an array of the caller.

    The array is (B, T, ...) with so many axes, or rows (N, ...) with one less.
    """
    times = lengths[:n] - 1 - t if reverse else np.full(n, t)
    return (first[:n], times) if array.ndim == axes else first[:n] + times


def _positions_in_x(x, *place):
    """The same in inputs, which may be tokens."""
    return _positions(x, 2 if x.dtype == np.intp else 3, *place)


def _active(lengths, t):
    """How many sequences are longer than t; ranked by length they are the first so many."""
    return int(np.count_nonzero(lengths > t))


def _by_state(columns, arrays):
    """The states that an array is given for: (columns of the record, array) each."""
    if arrays is None:
        return []
    pairs = zip(columns, arrays, strict=True)
    return [(column, array) for column, array in pairs if array is not None]


def forward(
    cell,
    *,
    packed,
    x,
    x_first=None,
    order,
    lengths,
    y=None,
    y_first=None,
    initial=None,
    final=None,
    tape=None,
    scratch,
    t0=0,
    t1,
    reverse=0,
    n_threads=1,
):
    """Steps t0 <= t < t1 of every sequence that has them, from the states `initial`.

    Parameters
    ----------
    cell : dict
        What the layer is.
    packed : (sizes[0],) array
        From `pack`.
    x : (B, T, I) real array or (B, T) intp array, or rows (N, I) or (N,)
        Inputs, or tokens, each standing for the one-hot vector of its index. In rows the steps of
        a sequence follow one another.
    x_first : (B,) intp array, optional
        By rank, where each sequence begins on x's first axis; by default `order`, which is right
        for (B, T, ...).
    order : (B,) intp array
        Rank -> sequence.
    lengths : (B,) intp array
        By rank, descending; 0 is legal.
    y : (B, T, H) array, rows (N, H) or None
        Outputs, written where the steps are.
    y_first : (B,) intp array, optional
        Of y what `x_first` is of x.
    initial : tuple of (B, H) arrays or None
        For each state of the cell what it is before step t0; None is zero, for all or in place of
        one. With gate recurrence the state h is (B, H + m nb): h, then the gates' activations, for
        they too are read at the next step.
    final : tuple of (B, H) arrays or None
        As `initial`; overwritten with the states after step min(t1, length) - 1.
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
    columns = _state_columns(cell)
    B, width = len(order), sizes(cell)[1]
    x_first = order if x_first is None else x_first
    y_first = order if y_first is None else y_first
    tape = None if tape is None else tape.reshape(-1, width)

    # the initial state is a record like any other, so no step is special
    records = np.zeros((B, width), packed.dtype)
    for column, state in _by_state(columns, initial):
        records[:, column] = state[order]
    finals = _by_state(columns, final)
    for column, state in finals:
        state[order] = records[:, column]
    if tape is not None:
        tape[:B] = records

    done = B
    for t in range(t0, t1):
        n = _active(lengths, t)
        if n == 0:
            break
        x_t = x[_positions_in_x(x, x_first, lengths, t, n, reverse)]
        previous, records = split_records(cell, records[:n]), np.empty((n, width), packed.dtype)
        now = split_records(cell, records)
        _module(cell).forward(cell, blocks, _input_product(blocks, x_t), previous, now)
        if y is not None:
            y[_positions(y, 3, y_first, lengths, t, n, reverse)] = now["h"]
        for column, state in finals:
            state[order[:n]] = records[:, column]
        if tape is not None:
            tape[done : done + n] = records
            done += n


def backward(
    cell,
    *,
    packed,
    x,
    x_first=None,
    order,
    lengths,
    tape,
    dy=None,
    dy_first=None,
    dfinal=None,
    dinitial=None,
    dx=None,
    dx_first=None,
    grad,
    scratch,
    t0=0,
    t1,
    reverse=0,
    n_threads=1,
    first_row=0,
):
    """Backpropagate through the steps that `forward` did with the same arguments.

    Parameters
    ----------
    cell, packed, x, x_first, order, lengths, tape, t0, t1, reverse
        As for `forward`.
    dy : (B, T, H) array, rows (N, H) or None
        dL/dy; None is zero.
    dy_first, dx_first : (B,) intp array, optional
        Of dy and dx what `x_first` is of x.
    dfinal : tuple of (B, H) arrays or None
        dL/d(final) by state, in the shapes of `initial`; None is zero, for all or in place of one.
    dinitial : tuple of (B, H) arrays or None
        Overwritten with dL/d(initial).
    dx : (B, T, I) array, rows (N, I) or None
        dL/dx is added to it.
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
    columns = _state_columns(cell)
    B, width = len(order), sizes(cell)[1]
    x_first, dy_first, dx_first = (
        order if first is None else first for first in (x_first, dy_first, dx_first)
    )
    tape = tape.reshape(-1, width)
    t1 = min(t1, int(lengths.max(initial=0)))
    # n[t], and where the records of the state before step t begin
    active = {t: _active(lengths, t) for t in range(t0, t1)}
    before, start = {}, 0
    for t in range(t0, t1):
        before[t] = start
        start += B if t == t0 else active[t - 1]

    # by rank: what is known of the loss's derivative by the newest state
    drecords = np.zeros((B, width), packed.dtype)
    for column, dstate in _by_state(columns, dfinal):
        drecords[:, column] = dstate[order]

    for t in reversed(range(t0, t1)):
        n = active[t]
        x_t = x[_positions_in_x(x, x_first, lengths, t, n, reverse)]
        previous = split_records(cell, tape[before[t] : before[t] + n])
        after = before[t] + (B if t == t0 else active[t - 1])
        now = split_records(cell, tape[after : after + n])
        dnow = split_records(cell, drecords[:n])
        if dy is not None:
            dnow["h"] += dy[_positions(dy, 3, dy_first, lengths, t, n, reverse)]
        # leaves dL/d(previous state) in dnow
        da = _module(cell).backward(cell, blocks, previous, now, dnow, dblocks)
        _add_input_gradient(dblocks, da, x_t)
        if dx is not None:
            dx[_positions(dx, 3, dx_first, lengths, t, n, reverse)] += da @ blocks["W"]

    for column, dstate in _by_state(columns, dinitial):
        dstate[order] = drecords[:, column]


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


# ------------------------------------------------------------------------- readout, outputs


def add_over_time(y, first, order, lengths, total):
    """total += the sum of each sequence's rows of y.

    Parameters
    ----------
    y : (N, K) array
    first, order, lengths : (B,) intp arrays
        By rank: the first row of a sequence, its number, how many rows it has.
    total : (B, K) array
        Added to.
    """
    for row, b, length in zip(first, order, lengths, strict=True):
        for t in range(length):
            total[b] += y[row + t]


def max_over_time(y, first, order, lengths, count, t0, largest, step):
    """The maximum of each sequence's rows of y, column by column. NaN is larger than all else.

    Parameters
    ----------
    y, first, order, lengths
        As in `add_over_time`.
    count : (B,) array
        Steps that have been before; where there are any, `largest` and `step` are theirs.
    t0 : int
        The step of a sequence's first row.
    largest : (B, K) array
    step : (B, K) intp array
        The first step that has the maximum.
    """
    for row, b, length in zip(first, order, lengths, strict=True):
        for t in range(length):
            x = y[row + t]
            is_larger = (x > largest[b]) | np.isnan(x) & ~np.isnan(largest[b])
            is_larger |= t == 0 and count[b] == 0
            largest[b] = np.where(is_larger, x, largest[b])
            step[b] = np.where(is_larger, t0 + t, step[b])


def columns_table(columns):
    """What `output_units` takes of columns with units of their own: triples of code, count, floor.

    An output unit of the code gives what stands above the floor.
    """
    return columns


def output_units(kind, a, y, table=None):
    """Output activation of pre-activations a (N, K), by rows; y (N, K) is overwritten.

    Kind 0 is the identity, 1 logistic, 2 softmax, 3 exponential, 4 tanh; of 5 `table` holds columns
    that have units of their own.
    """
    if kind == 0:
        y[...] = a
    elif kind == 1:
        y[...] = logistic(a)
    elif kind == 2:
        e = np.exp(a - a.max(axis=1, keepdims=True, initial=-np.inf))
        y[...] = e / e.sum(axis=1, keepdims=True)
    elif kind == 4:
        y[...] = np.tanh(a)
    elif kind == 5:
        first = 0
        for code, count, floor in table:
            part = slice(first, first + count)
            output_units(code, a[:, part], y[:, part])
            y[:, part] += floor
            first += count
    else:
        with np.errstate(over="ignore"):
            y[...] = np.exp(a)


def same_bytes(a, b):
    """Whether two arrays of one size hold the same bytes."""
    return a.tobytes() == b.tobytes()

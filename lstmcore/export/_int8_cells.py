"""Cells in integers: how each is quantized, what it computes, its description in C.

`run` computes in NumPy what the C program computes, to the bit but for activations that go through
float. A further cell is one more class in `_CELLS`.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import floor, log2

import numpy as np

from .. import _reference as twin
from ..cells.lstm import OUTPUT_PEEPHOLES
from ._fixed_point import (
    A_BITS,
    activated,
    activated_integer,
    bound,
    int16,
    int32,
    is_fraction,
    pre_activation,
    rescaled,
    signal_bits,
    value_bits,
    wide_bits,
)
from ._matrix import quantized
from ._source import activation, array, description, flags

# ------------------------------------------------------------------- what passes through a part


@dataclass
class Signals:
    """What passed through a part in float, over sequences; rows are the steps that were there.

    Attributes
    ----------
    y : (B, T, H) array
    rows : dict of str to (n, width) array
        What matrices meet: "x" the inputs, "h" the outputs of the step before, "gates" an LSTM's
        gates of the step before, "rh" a GRU's r h.
    largest : dict of str to float
        The largest absolute value of each field of the tape, initial states included.
    """

    y: np.ndarray
    rows: dict[str, np.ndarray]
    largest: dict[str, float]


def _ranked(lengths):
    """The order of descending length, and the lengths in it."""
    order = np.argsort(-lengths, kind="stable")
    return order, lengths[order]


def _steps(lengths, reverse):
    """For step 0, 1, ...: the sequences that have it, and the times at which they have it."""
    order, ranked = _ranked(lengths)
    for t in range(ranked[0]):
        n = np.count_nonzero(ranked > t)
        yield order[:n], ranked[:n] - 1 - t if reverse else np.full(n, t)


def _initial(part, B):
    """The learned initial states of B sequences, as the twin takes them."""
    states = []
    for learned, size in zip(part.values.initial, part.cell.state_sizes, strict=True):
        state = np.zeros((B, size))
        if learned is not None:
            state[:, : len(learned)] = learned
        states.append(state)
    return tuple(states)


def signals_of(part, x, lengths):
    """The `Signals` of a part over padded float64 sequences x (B, T, I)."""
    cell, (B, T) = part.options, x.shape[:2]
    n_packed, width, _ = twin.sizes(cell)
    packed, y = np.empty(n_packed), np.zeros((B, T, part.units))
    twin.pack(cell, part.values.blocks, packed)
    order, ranked = _ranked(lengths)
    tape = np.empty((B + lengths.sum(), width))
    twin.forward(
        cell,
        packed=packed,
        x=x,
        order=order,
        lengths=ranked,
        y=y,
        initial=_initial(part, B),
        tape=tape.reshape(-1),
        scratch=None,
        t1=T,
        reverse=part.reverse,
    )
    # of every step the record of the step before, which is that of the same rank
    before, start = [], 0
    for t in range(ranked[0]):
        before.append(start + np.arange(np.count_nonzero(ranked > t)))
        start += B if t == 0 else len(before[-2])
    now = twin.split_records(cell, tape[B:])
    previous = twin.split_records(cell, tape[np.concatenate(before)])
    rows = {"x": np.concatenate([x[at] for at in _steps(lengths, part.reverse)])}
    rows |= _CELLS[part.kind].recurrent_rows(part, previous, now)
    fields = twin.split_records(cell, tape)
    largest = {field: np.abs(values).max() for field, values in fields.items()}
    return Signals(y, rows, largest)


def output_bits(part, largest):
    """Fractional bits of a part's outputs h, of which `largest` is the largest that was seen."""
    cell = _CELLS[part.kind]
    return min(signal_bits(cell.most(part), largest), cell.bits_before(part) - 1)


def integer_part(part, signals, rows, scales, h_bits, input_shift, damping):
    """The `IntegerPart` of a `Part`."""
    return _CELLS[part.kind](part, signals, rows, scales, h_bits, input_shift, damping)


# ------------------------------------------------------------------------------------- cells


def _block_sums(cells, size):
    return cells.reshape(len(cells), -1, size).sum(axis=2)


class IntegerPart:
    """One part in integers.

    Parameters
    ----------
    part : Part
    signals : Signals
        Of the part, in float.
    rows : dict of str to array, or None
        The integers that the matrices meet, as `run` leaves them; None: those of `signals`.
    scales : (I,) array
        What one unit of each input stands for.
    h_bits : int
        Of its outputs.
    input_shift : int
        Sums over the inputs count 2^input_shift times.
    damping : float
        Of the signals' covariances.

    Attributes
    ----------
    rows : dict of str to array
        What the matrices have met in the last `run`.
    damping : float
        As given.
    """

    def __init__(self, part, signals, rows, scales, h_bits, input_shift, damping):
        self.part, self.h_bits, self.rows = part, h_bits, rows or {}
        self._signals, self._input_shift, self.damping = signals, input_shift, damping
        self._units = {"x": scales, "h": 2.0**-h_bits, "rh": 2.0**-h_bits}
        self.h0 = self._start("h0", h_bits, 32767)
        self._quantize()

    @staticmethod
    def most(part):
        """A bound of the outputs, or infinity."""
        return bound(part.options, "output")

    @staticmethod
    def bits_before(part):
        """Fractional bits of the outputs before they are rounded to 16 bits."""
        return value_bits(part.options, "output")

    @staticmethod
    def recurrent_rows(part, previous, now):
        """What matrices meet beside x at every step, given the records before and after it."""
        return {"h": previous["h"]}

    def _quantize(self):
        """Set what `_step` and `_fields` need."""
        raise NotImplementedError

    def _step(self, x, states, seen):
        """The states after a step of n sequences, given those before; the outputs come first.

        What a matrix has met beside x and h is appended to a list in `seen`.
        """
        raise NotImplementedError

    def _fields(self, arrays):
        """The struct after inputs and units; the arrays that it points to go into `arrays`."""
        raise NotImplementedError

    def _initial(self, B):
        """The states of B sequences."""
        return (self._tiled(self.h0, B),)

    def _start(self, name, bits, most):
        value = self.part.block(name)
        if value is None:
            return None
        return np.clip(np.rint(value * 2.0**bits), -most, most).astype(np.int64)

    def _tiled(self, start, B):
        if start is None:
            return np.zeros((B, self.part.units), np.int64)
        return np.tile(start, (B, 1))

    def _matrix(self, b, blocks, *, bits=A_BITS, least_bits=None, what=""):
        """Quantize blocks of columns, each named by the rows that it meets."""
        seen, units = self._signals.rows, self._units
        rows = [self.rows.get(key, seen[key] / units[key]) for key in blocks]
        columns = np.hstack(list(blocks.values()))
        mixed = "x" in blocks and len(blocks) > 1
        return quantized(
            np.hstack([block * units[key] for key, block in blocks.items()]),
            b,
            np.hstack(rows),
            np.hstack([seen[key] for key in blocks]) @ columns.T + b,
            inputs=blocks["x"].shape[1] if mixed else columns.shape[1],
            input_shift=self._input_shift if mixed else 0,
            bits=bits,
            least_bits=least_bits,
            damping=self.damping,
            what=self.part.name + what,
        )

    def _all_columns(self):
        """The blocks of the matrix that all inputs and recurrent outputs meet."""
        return {"x": self.part.block("W"), "h": self.part.block("R")}

    def run(self, x, lengths):
        """Over padded integer sequences x (B, T, I); of the output layer, floats come out."""
        B, T = x.shape[:2]
        states, seen = self._initial(B), defaultdict(list)
        y = np.zeros((B, T, self.part.units), float if self.part.is_output else np.int64)
        for alive, times in _steps(lengths, self.part.reverse):
            now, before = x[alive, times], tuple(state[alive] for state in states)
            seen["x"].append(now)
            if before:
                seen["h"].append(before[0])
            after = self._step(now, before, seen)
            y[alive, times] = after[0]
            for state, value in zip(states, after, strict=False):
                state[alive] = value
        self.rows = {key: np.concatenate(values) for key, values in seen.items()}
        return y

    def _output(self, a):
        """The outputs h of pre-activations."""
        cell = self.part.options
        shift = value_bits(cell, "output") - self.h_bits
        return int16(activated_integer(cell, "output", a), shift)

    def text(self):
        """The arrays and the description, and the bytes of constants."""
        arrays = {}
        fields = self._fields(arrays)
        lines = [array(key, values) for key, values in arrays.items()]
        lines.append(description(self.part, fields))
        return "\n".join(lines), sum(values.nbytes for values in arrays.values())

    def _pointer(self, key, arrays, values, dtype="int16"):
        """An array of the struct, or NULL."""
        name = f"{self.part.name}_{key}"
        if values is None:
            return "NULL"
        arrays[name] = values.astype(dtype)
        return name

    def _unit(self, role):
        cell = self.part.options
        return f"{{{activation(cell, role, 'float32')}, {value_bits(cell, role)}}}"


class IntegerDense(IntegerPart):
    """lstmrt_dense; of the network's last layer the results are float."""

    @staticmethod
    def recurrent_rows(part, previous, now):
        return {}

    def _quantize(self):
        b, columns = self.part.block("b"), {"x": self.part.block("W")}
        if self.part.is_output:
            reach = 32767 * np.abs(columns["x"] * self._units["x"]).sum(axis=1) + np.abs(b)
            bits = 29 - floor(log2(np.clip(reach.max(), 1e-9, 2.0**60)) + 0.1)
            self.matrix = self._matrix(b, columns, bits=int(np.clip(bits, 0, 28)), least_bits=0)
            self.h_bits = self.matrix.bits
        else:
            self.matrix = self._matrix(b, columns)

    def _initial(self, B):
        return ()

    def _step(self, x, states, seen):
        a = self.matrix(x)
        if self.part.is_output:
            return (activated(self.part.options, "output", a * 2.0**-self.h_bits),)
        return (self._output(a),)

    def _fields(self, arrays):
        return [self._unit("output"), str(self.h_bits), self.matrix.text(self.part.name, arrays)]


class IntegerRNN(IntegerPart):
    """lstmrt_rnn"""

    def _quantize(self):
        self.matrix = self._matrix(self.part.block("b"), self._all_columns())

    def _step(self, x, states, seen):
        return (self._output(self.matrix(x, states[0])),)

    def _fields(self, arrays):
        fields = [self._unit("output"), str(self.h_bits), self.matrix.text(self.part.name, arrays)]
        return [*fields, self._pointer("h0", arrays, self.h0)]


class IntegerLSTM(IntegerPart):
    """lstmrt_lstm"""

    @staticmethod
    def most(part):
        cell = part.options
        return bound(cell, "output") * (bound(cell, "gate") if cell["output_gate"] else 1)

    @staticmethod
    def bits_before(part):
        cell = part.options
        return value_bits(cell, "output") + cell["output_gate"] * value_bits(cell, "gate")

    @staticmethod
    def recurrent_rows(part, previous, now):
        if part.block("Q") is None:
            return {"h": previous["h"]}
        gates = np.hstack([previous[gate] for gate in part.own_gates])
        return {"h": previous["h"], "gates": gates}

    def _quantize(self):
        part, largest = self.part, self._signals.largest
        self.matrix = self._matrix(part.block("b"), self._all_columns())
        self.c_bits = wide_bits(largest["c"])
        self.c0 = self._start("c0", self.c_bits, 2**31 - 1)
        self.Q = self.p = None
        self.gates_bits = self.p_bits = 0
        Q, p = part.block("Q"), part.block("p")
        if Q is not None:
            most = max(largest[gate] for gate in part.own_gates)
            self.gates_bits = signal_bits(bound(part.options, "gate"), most)
            self._units["gates"] = 2.0**-self.gates_bits
            self.Q = self._matrix(np.zeros(part.n_gates), {"gates": Q}, what=", gate recurrence")
        if p is not None:
            most = max(np.abs(p).max(), 1e-9)
            if most > 32767:
                raise ValueError(
                    f"net: {part.name} has a peephole of {most:.3g}, expected at most 32767 for "
                    "int8"
                )
            self.p_bits = int(np.clip(floor(log2(32767 / most)), 0, 24))
            self.p = np.rint(p * 2.0**self.p_bits).astype(np.int64)

    def _initial(self, B):
        gates = np.zeros((B, self.part.n_gates), np.int64)
        return self._tiled(self.h0, B), self._tiled(self.c0, B), gates

    def _peephole(self, a, p, c):
        total = _block_sums(p * c, self.part.options["block_size"])
        return pre_activation(a + (total >> (self.p_bits + self.c_bits - A_BITS)))

    def _step(self, x, states, seen):
        (h, c_before, gates), cell = states, self.part.options
        C, n, nb = cell["block_size"], self.part.n_gates, self.part.units // cell["block_size"]
        gate_bits, output_bits = value_bits(cell, "gate"), value_bits(cell, "output")
        peephole = OUTPUT_PEEPHOLES[cell["output_peephole"]]
        a = self.matrix(x, h)
        a_gates = a[:, :n]
        if self.Q is not None:
            a_gates = a_gates + self.Q(gates)
        n_early = n - nb * cell["output_gate"]
        early = [a_gates[:, k : k + nb] for k in range(0, n_early, nb)]
        if self.p is not None:
            early = [self._peephole(a, p, c_before) for a, p in zip(early, self.p, strict=False)]
        early = [activated_integer(cell, "gate", a) for a in early]
        g = activated_integer(cell, "cell", a[:, n:])
        g = rescaled(g, value_bits(cell, "cell"), self.c_bits)
        one = np.full((len(a), nb), 1 << gate_bits)
        i = early[0] if cell["input_gate"] else one
        f = early[-1] if cell["forget_gate"] else one - i if cell["coupled"] else one
        c = int32((np.repeat(f, C, axis=1) * c_before + np.repeat(i, C, axis=1) * g) >> gate_bits)
        value = activated_integer(cell, "output", rescaled(c, self.c_bits, A_BITS))
        shift, late = output_bits - self.h_bits, []
        if cell["output_gate"]:
            o = a_gates[:, n_early:]
            if self.p is not None and peephole is not None:
                o = self._peephole(o, self.p[-1], c if peephole == "now" else c_before)
            o = activated_integer(cell, "gate", o)
            value, shift, late = value * np.repeat(o, C, axis=1), shift + gate_bits, [o]
        gates = np.hstack([*early, *late, one[:, :0]])
        if self.Q is not None:
            gates = int16(gates, gate_bits - self.gates_bits)
        return int16(value, shift), c, gates

    def _fields(self, arrays):
        name, cell = self.part.name, self.part.options
        fields = [str(cell["block_size"]), flags(cell)]
        fields += [self._unit("gate"), self._unit("cell"), self._unit("output")]
        fields.append(f"{self.h_bits}, {self.c_bits}, {self.p_bits}, {self.gates_bits}")
        fields.append(self.matrix.text(name, arrays))
        fields.append(self.Q.text(f"{name}_gates", arrays) if self.Q else _NO_MATRIX)
        pointers = self._pointer("peepholes", arrays, self.p), self._pointer("h0", arrays, self.h0)
        return [*fields, ", ".join([*pointers, self._pointer("c0", arrays, self.c0, "int32")])]


class IntegerGRU(IntegerPart):
    """lstmrt_gru"""

    @staticmethod
    def most(part):
        h0 = part.block("h0")
        if not is_fraction(part.options, "gate"):
            return np.inf  # h is no mean of n and the h before
        return max(bound(part.options, "cell"), 0 if h0 is None else np.abs(h0).max())

    @staticmethod
    def bits_before(part):
        return value_bits(part.options, "cell")

    @staticmethod
    def recurrent_rows(part, previous, now):
        return {"h": previous["h"], "rh": now["r"] * previous["h"]}

    def _quantize(self):
        part, n = self.part, slice(2 * self.part.units, None)
        W, R, b, bR = (part.block(name) for name in ("W", "R", "b", "bR"))
        early = slice(None, n.start)
        self.matrix = self._matrix(b[early], {"x": W[early], "h": R[early]})
        self.recurrence = None
        if bR is None:
            self.candidate = self._matrix(b[n], {"x": W[n], "rh": R[n]}, what=", candidate")
        else:
            self.candidate = self._matrix(b[n], {"x": W[n]}, what=", candidate")
            self.recurrence = self._matrix(bR, {"h": R[n]}, what=", recurrence of the candidate")

    def _step(self, x, states, seen):
        (h,), cell, H = states, self.part.options, self.part.units
        gate_bits, n_bits = value_bits(cell, "gate"), value_bits(cell, "cell")
        gates = activated_integer(cell, "gate", self.matrix(x, h))
        r, z = gates[:, :H], gates[:, H:]
        if self.recurrence is None:
            rh = int16(r * h, gate_bits)
            seen["rh"].append(rh)
            a = self.candidate(x, rh)
        else:
            a = pre_activation(self.candidate(x) + ((r * self.recurrence(h)) >> gate_bits))
        n = activated_integer(cell, "cell", a)
        if gate_bits < 29:
            z = pre_activation(z)
        h = n + ((z * (rescaled(h, self.h_bits, n_bits) - n)) >> gate_bits)
        return (int16(int32(h), n_bits - self.h_bits),)

    def _fields(self, arrays):
        name = self.part.name
        fields = [self._unit("gate"), self._unit("cell"), str(self.h_bits)]
        fields.append(self.matrix.text(name, arrays))
        fields.append(self.candidate.text(f"{name}_candidate", arrays))
        after = self.recurrence
        fields.append(after.text(f"{name}_recurrence", arrays) if after else _NO_MATRIX)
        return [*fields, self._pointer("h0", arrays, self.h0)]


_NO_MATRIX = "{0, 0, 0, 0, 0, NULL, NULL, NULL}"
_CELLS = {"Dense": IntegerDense, "RNN": IntegerRNN, "LSTM": IntegerLSTM, "GRU": IntegerGRU}

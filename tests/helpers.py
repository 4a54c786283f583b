"""What the tests of the kernels share: cells, random problems, and calls with all their buffers.

A `Problem` is everything that a kernel call needs, by sequence and without buffers; `run_forward`
and `run_backward` call any implementation of the kernels on it. The loss of a problem is linear in
the outputs, L = sum(y dy) + sum(hT dhT) + sum(cT dcT), so its gradient is exactly what `backward`
returns.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore._activations import parse_activation

DENSE, RNN, LSTM, GRU = 0, 1, 2, 3

# What kernels take by position: blocks and states, in each kind's order.
BLOCKS = {
    DENSE: ("W", "b"),
    RNN: ("W", "R", "b"),
    LSTM: ("W", "R", "b", "p", "Q"),
    GRU: ("W", "R", "b", "bR"),
}
STATES = {DENSE: (), RNN: ("h",), LSTM: ("h", "c"), GRU: ("h",)}


def _with_activations(cell, /, **activations):
    for role, activation in activations.items():
        names = (f"act_{role}", f"alpha_{role}", f"beta_{role}")
        cell.update(zip(names, parse_activation(activation), strict=True))
    return cell


def lstm_cell(
    inputs,
    units,
    *,
    block_size=1,
    input_gate=1,
    forget_gate=1,
    output_gate=1,
    coupled=0,
    peepholes=0,
    output_peephole="now",
    gate_recurrence=0,
    gate="logistic",
    cell="tanh",
    output="tanh",
):
    return _with_activations(
        {
            "kind": LSTM,
            "inputs": inputs,
            "units": units,
            "block_size": block_size,
            "input_gate": input_gate,
            "forget_gate": forget_gate and not coupled,
            "output_gate": output_gate,
            "coupled": coupled,
            "peepholes": peepholes,
            "gate_recurrence": gate_recurrence,
            "reset_after": 0,
            "output_peephole": {"now": 0, "before": 1, None: 2}[output_peephole],
        },
        gate=gate,
        cell=cell,
        output=output,
    )


def _without_gates(kind, inputs, units, activation):
    none = {"input_gate": 0, "forget_gate": 0, "output_gate": 0}
    none |= {"gate": "identity", "cell": "identity", "output": activation}
    return lstm_cell(inputs, units, **none) | {"kind": kind}


def gru_cell(inputs, units, *, reset_after=1, gate="logistic", cell="tanh"):
    base = _without_gates(GRU, inputs, units, "identity") | {"reset_after": reset_after}
    return _with_activations(base, gate=gate, cell=cell)


def rnn_cell(inputs, units, *, activation="tanh"):
    return _without_gates(RNN, inputs, units, activation)


def dense_cell(inputs, units, *, activation="identity"):
    return _without_gates(DENSE, inputs, units, activation)


def block_shapes(cell):
    """Shapes of the blocks a cell has, by name."""
    I, H = cell["inputs"], cell["units"]
    if cell["kind"] == DENSE:
        return {"W": (H, I), "b": (H,)}
    if cell["kind"] == RNN:
        return {"W": (H, I), "R": (H, H), "b": (H,)}
    if cell["kind"] == GRU:
        shapes = {"W": (3 * H, I), "R": (3 * H, H), "b": (3 * H,)}
        return shapes | {"bR": (H,)} if cell["reset_after"] else shapes
    m = cell["input_gate"] + cell["forget_gate"] + cell["output_gate"]
    nb = H // cell["block_size"]
    G = m * nb + H
    shapes = {"W": (G, I), "R": (G, H), "b": (G,)}
    if cell["peepholes"]:
        shapes["p"] = (m - (cell["output_peephole"] == 2), H)
    if cell["gate_recurrence"]:
        shapes["Q"] = (m * nb, m * nb)
    return shapes


def state_size(cell):
    """Columns of the state h: with gate recurrence the gates' activations follow."""
    return cell["units"] + (block_shapes(cell)["Q"][0] if cell["gate_recurrence"] else 0)


@dataclass
class Problem:
    """A cell with weights, a batch by sequence, and a gradient that arrives at the outputs."""

    cell: dict
    blocks: dict
    x: np.ndarray  # (B, T, I), or (B, T) tokens
    lengths: np.ndarray  # (B,)
    h0: np.ndarray = None  # (B, state_size)
    c0: np.ndarray = None  # (B, H)
    dy: np.ndarray = None  # (B, T, H)
    dhT: np.ndarray = None  # as h0
    dcT: np.ndarray = None
    reverse: int = 0
    names: tuple = field(init=False)

    def __post_init__(self):
        # the tensors that a gradient exists for
        self.names = tuple(self.blocks)
        if self.x.ndim == 3:
            self.names += ("x",)
        self.names += tuple(name for name in ("h0", "c0") if getattr(self, name) is not None)

    @property
    def dtype(self):
        return self.blocks["W"].dtype

    @property
    def steps(self):
        return int(self.lengths.max(initial=0))

    def tensor(self, name):
        return self.blocks[name] if name in self.blocks else getattr(self, name)

    def with_tensor(self, name, value):
        if name in self.blocks:
            return replace(self, blocks=self.blocks | {name: value})
        return replace(self, **{name: value})

    def arrays(self):
        """All arrays by name."""
        names = ("x", "lengths", "h0", "c0", "dy", "dhT", "dcT")
        given = {name: getattr(self, name) for name in names}
        return self.blocks | {name: array for name, array in given.items() if array is not None}

    def astype(self, dtype):
        def cast(array):
            return array.astype(dtype) if array is not None and array.dtype.kind == "f" else array

        arrays = {name: cast(getattr(self, name)) for name in ("x", "h0", "c0", "dy", "dhT", "dcT")}
        return replace(
            self, blocks={name: cast(block) for name, block in self.blocks.items()}, **arrays
        )

    def only(self, sequences):
        """The problem of some of its sequences, padded no further than they need."""
        lengths = self.lengths[sequences]
        T = int(lengths.max(initial=0))

        def rows(array, padded):
            if array is None:
                return None
            return array[sequences, :T] if padded else array[sequences]

        return replace(
            self,
            lengths=lengths,
            x=rows(self.x, True),
            dy=rows(self.dy, True),
            **{name: rows(getattr(self, name), False) for name in ("h0", "c0", "dhT", "dcT")},
        )


def random_problem(
    cell,
    lengths,
    *,
    T=None,
    tokens=False,
    reverse=0,
    state=True,
    scale=1.5,
    dtype="float64",
    seed=0,
):
    """A random problem; padding is NaN (tokens: out of range), so that reading it shows.

    `scale` is that of the pre-activations. Unbounded activations in gates want less than the usual
    1.5, or their product grows double exponentially with the time steps.
    """
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths, dtype=np.intp)
    B, I, H = len(lengths), cell["inputs"], cell["units"]
    T = int(lengths.max(initial=0)) if T is None else T
    recurrent = cell["kind"] != DENSE

    def uniform(*shape, bound=1.0):
        return rng.uniform(-bound, bound, shape)

    # fan-in scaling keeps pre-activations of order one at any size
    fan_in = {"W": I, "R": H, "b": 4, "bR": 4, "p": cell["block_size"], "Q": 3 * H}
    blocks = {
        name: uniform(*shape, bound=scale / np.sqrt(max(fan_in[name], 1)))
        for name, shape in block_shapes(cell).items()
    }
    padding = np.arange(T) >= lengths[:, None]
    if tokens:
        x = rng.integers(0, I, (B, T)).astype(np.intp)
        x[padding] = -(2**40)
    else:
        x = uniform(B, T, I)
        x[padding] = np.nan
    dy = uniform(B, T, H)
    dy[padding] = np.nan
    problem = Problem(
        cell=cell,
        blocks=blocks,
        x=x,
        lengths=lengths,
        dy=dy,
        reverse=reverse,
        h0=uniform(B, state_size(cell)) if recurrent and state else None,
        c0=uniform(B, H) if cell["kind"] == LSTM and state else None,
        dhT=uniform(B, state_size(cell)) if recurrent else None,
        dcT=uniform(B, H) if cell["kind"] == LSTM else None,
    )
    return problem.astype(dtype)


# ------------------------------------------------------------------------------ kernel calls


def ranked(lengths):
    """(order, lengths by rank)."""
    order = np.argsort(-lengths, kind="stable").astype(np.intp)
    return order, lengths[order]


def in_order(cell, blocks):
    """Blocks by name as the tuple that kernels take."""
    return tuple(blocks.get(name) for name in BLOCKS[cell["kind"]])


def _packed(kernels, problem):
    blocks, cell = problem.blocks, kernels.plan_cell(problem.cell, problem.dtype)
    packed = np.empty(kernels.sizes(cell)[0], problem.dtype)
    kernels.pack(cell, in_order(problem.cell, blocks), packed)
    return packed


def _scratch(kernels, problem, n_threads, training, with_dx):
    cell = kernels.plan_cell(problem.cell, problem.dtype)
    size = kernels.scratch_size(cell, len(problem.lengths), n_threads, training, with_dx)
    return np.full(size, np.nan, problem.dtype)  # scratch promises nothing about its contents


def _spans(problem, spans):
    return [(0, problem.steps)] if spans is None else spans


def _new_states(problem):
    """Room for the states, by name."""
    cell, B = problem.cell, len(problem.lengths)
    widths = {"h": state_size(cell), "c": cell["units"]}
    return {
        name: np.full((B, widths[name]), np.nan, problem.dtype) for name in STATES[cell["kind"]]
    }


def run_forward(kernels, problem, *, n_threads=1, spans=None, training=True, out=None):
    """Outputs of a problem, {"y", "hT", "cT"}, and the tapes of its spans.

    `spans` are the step ranges [(t0, t1), ...] of consecutive calls, by default one call. `out` has
    arrays for the outputs under their names, or None in place of an array that is not wanted.
    """
    dtype, B, H = problem.dtype, len(problem.lengths), problem.cell["units"]
    cell = kernels.plan_cell(problem.cell, dtype)
    order, lengths = ranked(problem.lengths)
    packed = _packed(kernels, problem)
    scratch = _scratch(kernels, problem, n_threads, False, False)
    row = kernels.sizes(cell)[1]
    out = {"y": np.zeros((B, problem.x.shape[1], H), dtype)} | (out or {})
    tapes, names = [], STATES[problem.cell["kind"]]
    states = {name: getattr(problem, f"{name}0") for name in names}
    spans = _spans(problem, spans)
    for t0, t1 in spans:
        steps = int(np.clip(lengths - t0, 0, t1 - t0).sum())
        tape = np.full(row * (B + steps), np.nan, dtype) if training else None
        final = _new_states(problem)
        if (t0, t1) == spans[-1]:
            final = {name: out.get(f"{name}T", final[name]) for name in names}
        kernels.forward(
            cell,
            packed=packed,
            x=problem.x,
            order=order,
            lengths=lengths,
            y=out["y"],
            initial=tuple(states.values()),
            final=tuple(final.values()),
            tape=tape,
            scratch=scratch,
            t0=t0,
            t1=t1,
            reverse=problem.reverse,
            n_threads=n_threads,
        )
        states = final
        tapes.append(tape)
    return {"y": out["y"]} | {f"{name}T": states.get(name) for name in "hc"}, tapes


def run_backward(kernels, problem, tapes, *, n_threads=1, spans=None, out=None):
    """Gradients of a problem by the names of `Problem.names`.

    `out` has arrays for "dx" and "grad", to which they are added, and for "dh0" and "dc0", or None
    in place of an array that is not wanted.
    """
    cell, dtype = kernels.plan_cell(problem.cell, problem.dtype), problem.dtype
    order, lengths = ranked(problem.lengths)
    packed = _packed(kernels, problem)
    out = {
        "grad": np.zeros(kernels.sizes(cell)[2], dtype),
        "dx": np.zeros(problem.x.shape, dtype) if problem.x.ndim == 3 else None,
    } | (out or {})
    scratch = _scratch(kernels, problem, n_threads, True, out["dx"] is not None)
    names = STATES[problem.cell["kind"]]
    dstates = {name: getattr(problem, f"d{name}T") for name in names}
    spans = _spans(problem, spans)
    for (t0, t1), tape in reversed(list(zip(spans, tapes, strict=True))):
        dinitial = _new_states(problem)
        if (t0, t1) == spans[0]:
            dinitial = {name: out.get(f"d{name}0", dinitial[name]) for name in names}
        kernels.backward(
            cell,
            packed=packed,
            x=problem.x,
            order=order,
            lengths=lengths,
            tape=tape,
            dy=problem.dy,
            dfinal=tuple(dstates.values()),
            dinitial=tuple(dinitial.values()),
            dx=out["dx"],
            grad=out["grad"],
            scratch=scratch,
            t0=t0,
            t1=t1,
            reverse=problem.reverse,
            n_threads=n_threads,
        )
        dstates = dinitial
    blocks = {name: np.full(block.shape, np.nan, dtype) for name, block in problem.blocks.items()}
    kernels.unpack(cell, out["grad"], in_order(problem.cell, blocks))
    gradients = blocks | {"x": out["dx"]} | {f"{name}0": dstates[name] for name in names}
    return {name: gradients[name] for name in problem.names}


def run(kernels, problem, *, n_threads=1, spans=None):
    """Outputs and gradients of a problem, {"y": ..., "dW": ..., ...}."""
    outputs, tapes = run_forward(kernels, problem, n_threads=n_threads, spans=spans)
    gradients = run_backward(kernels, problem, tapes, n_threads=n_threads, spans=spans)
    outputs = {name: value for name, value in outputs.items() if value is not None}
    return outputs | {"d" + name: value for name, value in gradients.items()}


def loss(kernels, problem):
    """The number whose gradient `run_backward` returns."""
    outputs, _ = run_forward(kernels, problem, training=False)
    steps = np.arange(problem.x.shape[1]) < problem.lengths[:, None]
    total = np.sum(outputs["y"][steps] * problem.dy[steps])
    for name in ("hT", "cT"):
        if outputs[name] is not None:
            total += np.sum(outputs[name] * problem.tensor("d" + name))
    return total


# ---------------------------------------------------------------------------------- layouts


def read_only(array):
    """A copy that nobody can write to."""
    array = np.array(array)
    array.flags.writeable = False
    return array


def _every_second(array):
    """Every second element of one that is twice as large along every axis."""
    wide = array
    for axis in range(array.ndim):
        wide = np.repeat(wide, 2, axis=axis)
    return wide[(slice(None, None, 2),) * array.ndim]


def _backwards(array):
    """Negative strides along every axis."""
    back = (slice(None, None, -1),) * array.ndim
    return array[back].copy()[back]


def _middle_of_a_wider_one(array):
    """Some of the last axis of another array."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 2)])[..., 1:-2]


# The same numbers in memory of another form, for arrays of two dimensions and more.
LAYOUTS = {
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "every second of everything": _every_second,
    "negative strides": _backwards,
    "time first": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "features of a wider array": _middle_of_a_wider_one,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "not aligned": lambda x: (
        np.frombuffer(b"." + x.tobytes(), dtype=np.uint8)[1:].view(x.dtype).reshape(x.shape)
    ),
    "a subclass": lambda x: x.view(type("Sub", (np.ndarray,), {})),
    "nested lists": lambda x: x.tolist(),
}


# ---------------------------------------------------------------------------------- numbers


def relative_error(got, wanted):
    """max|got - wanted| / max|wanted|, 0 for empty tensors; NaN anywhere gives NaN."""
    assert got.shape == wanted.shape, f"shape {got.shape}, expected {wanted.shape}"
    if got.size == 0:
        return 0.0
    error = np.max(np.abs(np.asarray(got, np.float64) - wanted))
    scale = np.max(np.abs(np.asarray(wanted, np.float64)))
    return float(error / scale) if scale > 0 or np.isnan(scale) else float(error)


def assert_close(got, wanted, tolerance):
    """Every tensor of `wanted` within a relative error, with a verdict for each that is not."""
    errors = {name: relative_error(got[name], value) for name, value in wanted.items()}
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"relative error above {tolerance:g}: {wrong}"


def _bits(array):
    return array.shape, array.dtype, array.tobytes()


def same_bits(got, wanted):
    """Fail unless two arrays are equal to the last bit, the sign of zero included.

    Outputs of a list of sequences, here of one length, come as a list.
    """
    if isinstance(got, list):
        got = np.stack(got)
    assert got.shape == wanted.shape, f"shape {got.shape}, expected {wanted.shape}"
    assert got.dtype == wanted.dtype, f"dtype {got.dtype}, expected {wanted.dtype}"
    places = np.argwhere(got != wanted)
    assert got.tobytes() == wanted.tobytes(), f"bits differ, first at {places[:1].tolist()}"


def assert_same_bits(got, wanted):
    """Fail unless every tensor of `wanted` is equal to the last bit."""
    wrong = [name for name, value in wanted.items() if _bits(got[name]) != _bits(value)]
    assert not wrong, f"bits differ in {wrong}"


def central_differences(kernels, problem, name, *, step=1e-5, entries=None):
    """(indices, dL/d(entry)) of a tensor, or of some of its entries."""
    value = problem.tensor(name)
    indices = np.arange(value.size) if entries is None else entries
    differences = np.empty(len(indices), value.dtype)
    for k, index in enumerate(indices):
        sides = []
        for sign in (1, -1):
            moved = value.copy()
            moved.flat[index] += sign * step
            sides.append(loss(kernels, problem.with_tensor(name, moved)))
        differences[k] = (sides[0] - sides[1]) / (2 * step)
    return indices, differences


def assert_gradient_is_the_derivative(kernels, problem, *, tolerance=1e-7, most=16):
    """Every tensor's gradient against central differences, at `most` entries drawn at random."""
    rng = np.random.default_rng(0)
    gradients = run(kernels, problem)
    exists = np.arange(problem.x.shape[1]) < problem.lengths[:, None]
    got, wanted = {}, {}
    for name in problem.names:
        entries = np.arange(problem.tensor(name).size)
        if name == "x":  # not the padding
            entries = entries[np.repeat(exists, problem.cell["inputs"])]
        if len(entries) > most:
            entries = rng.choice(entries, most, replace=False)
        entries, wanted[name] = central_differences(kernels, problem, name, entries=entries)
        got[name] = gradients["d" + name].flat[entries]
    assert_close(got, wanted, tolerance)


def run_python(code, **env):
    """The output of a fresh interpreter that finds the same lstmcore."""
    env = {**os.environ, "PYTHONPATH": str(Path(lc.__file__).parents[1]), **env}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout

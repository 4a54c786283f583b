"""``check``: does this installation compute what it should?"""

from __future__ import annotations

import time

import numpy as np

from .. import _reference
from .._dispatch import kernels, show_config
from .._workspace import aligned_empty
from ..cells import GRU, LSTM, RNN, Dense, Embedding
from ..gradcheck import check_gradient
from ..network import Network

CHECK = """\
Compare the compiled kernels with plain NumPy code that says the same: outputs, states and gradients
of every kind of layer, at sizes below and above the width of a vector, in float32 and float64,
forward and in reverse, on one thread and on two. Then compare a network's gradient with central
differences. It takes a few seconds and needs nothing that the package does not.

  {program} check
  LSTMCORE_ISA=portable {program} check       another build of the kernels

It prints what it found. The exit code is 0 where all is well, else 1, and the last line says which
number of which layer was wrong, and by how much.
"""

# One of each kind, and the options that have code of their own.
LAYERS = {
    "LSTM": lambda I, H: LSTM(I, H),
    "LSTM, peepholes": lambda I, H: LSTM(I, H, peepholes=True),
    "LSTM, peepholes before": lambda I, H: LSTM(I, H, peepholes=True, output_peephole="before"),
    "LSTM, coupled gates": lambda I, H: LSTM(I, H, peepholes=True, coupled=True),
    "LSTM, gate recurrence": lambda I, H: LSTM(I, H, peepholes=True, gate_recurrence=True),
    "LSTM, one block": lambda I, H: LSTM(I, H, peepholes=True, block_size=H),
    "LSTM, other activations": lambda I, H: LSTM(
        I, H, gate_activation="hard_sigmoid", cell_activation="softsign", output_gate=False
    ),
    "GRU": lambda I, H: GRU(I, H),
    "GRU, reset before": lambda I, H: GRU(I, H, reset_after=False),
    "RNN": lambda I, H: RNN(I, H),
    "RNN, softplus": lambda I, H: RNN(I, H, activation="softplus"),
    "Dense": lambda I, H: Dense(I, H, activation="tanh"),
    "Embedding": lambda I, H: Embedding(I, H),
}
SHAPES = ((1, 1, [1]), (3, 5, [4, 0, 7, 1]), (2, 17, [3] * 13), (20, 33, [9, 30]))
# A wrong term is larger by orders of magnitude; what these leave room for is rounding.
TOLERANCES = {"float64": 1e-12, "float32": 1e-4, "gradient": 1e-7}


def _add_check(command):
    pass


def _check(arguments):
    began = time.perf_counter()
    show_config()
    print("\nlargest relative difference from the NumPy twin")
    print(f"{'':<26}{'float64':>10}{'float32':>10}")
    compared = 0
    for name, make in LAYERS.items():
        largest = dict.fromkeys(("float64", "float32"), 0.0)
        for k, (inputs, units, lengths) in enumerate(SHAPES):
            layer = make(inputs, units)
            for dtype in largest:
                what = f"{name}, {inputs} inputs, {units} units, lengths {lengths}, {dtype}"
                errors = _differences(layer, lengths, dtype, reverse=k % 2, what=what)
                compared += len(errors)
                largest[dtype] = max(largest[dtype], *errors.values())
        print(f"{name:<26}{largest['float64']:>10.1e}{largest['float32']:>10.1e}")
    error = _gradient_error()
    print(f"\nlargest relative difference of a gradient from central differences  {error:.1e}")
    took = time.perf_counter() - began
    print(f"all is well: {compared} comparisons in {took:.1f} s")


def _differences(layer, lengths, dtype, reverse, what):
    """The relative differences of all results, by name; an error where one is too large."""
    problem = _Problem(layer, lengths, dtype, reverse)
    wanted = problem.run(_reference, np.dtype(np.float64))
    got, again = (problem.run(kernels, np.dtype(dtype), n_threads=n) for n in (1, 2))
    errors = {}
    for name, right in wanted.items():
        if got[name].tobytes() != again[name].tobytes():
            raise RuntimeError(
                f"{what}: {name} has other bits on two threads than on one; expected the same"
            )
        scale = np.abs(right).max(initial=0.0) or 1.0
        error = float(np.abs(got[name] - right).max(initial=0.0) / scale)
        if not error <= TOLERANCES[dtype]:
            raise RuntimeError(
                f"{what}: {name} differs from the NumPy twin's by {error:.2g} of its largest "
                f"number; expected at most {TOLERANCES[dtype]:g}"
            )
        errors[name] = error
    return errors


class _Problem:
    """Random weights, inputs and derivatives of a layer, rounded to a dtype."""

    def __init__(self, layer, lengths, dtype, reverse):
        rng = np.random.default_rng(0)
        self.cell, self.reverse = layer.cell, reverse
        self.order = np.argsort(-np.array(lengths), kind="stable")
        self.ranked = np.array(lengths)[self.order]
        B, self.T = len(lengths), max(lengths)

        def draw(*shape, scale=0.5):
            return rng.normal(scale=scale, size=shape).astype(dtype)

        # Sums keep their size however many weights they have, so that rounding does not grow.
        self.blocks = {
            block.name: draw(*block.shape, scale=0.5 / np.sqrt(block.shape[-1]))
            for block in self.cell.blocks
        }
        self.x = draw(B, self.T, self.cell.inputs)
        if layer.tokens:
            self.x = rng.integers(self.cell.inputs, size=(B, self.T))
        self.dy = draw(B, self.T, self.cell.units)
        self.initial, self.dfinal = (
            [draw(B, size) for size in self.cell.state_sizes] for _ in range(2)
        )

    def run(self, module, dtype, n_threads=1):
        """Outputs and gradients by name, as a module of kernels computes them."""
        cell = module.plan_cell(self.cell.description, dtype)
        packed_size, row, grad_size = module.sizes(cell)
        B = len(self.order)
        blocks = {name: values.astype(dtype) for name, values in self.blocks.items()}
        packed = aligned_empty(packed_size, dtype)
        module.pack(cell, self._in_order(blocks), packed)
        is_tokens = self.x.dtype.kind == "i"
        y = np.zeros(self.dy.shape, dtype)
        states, dstates = (
            {name: np.zeros((B, size), dtype) for name, size in self._states} for _ in range(2)
        )
        dx = None if is_tokens else np.zeros(self.x.shape, dtype)
        given = {
            "packed": packed,
            "x": self.x.astype(np.intp if is_tokens else dtype),
            "order": self.order,
            "lengths": self.ranked,
            "tape": aligned_empty(row * (B + int(self.ranked.sum())), dtype),
            "scratch": aligned_empty(
                module.scratch_size(cell, B, n_threads, True, dx is not None), dtype
            ),
            "t1": self.T,
            "reverse": self.reverse,
            "n_threads": n_threads,
        }
        initial, dfinal = (
            tuple(values.astype(dtype) for values in arrays)
            for arrays in (self.initial, self.dfinal)
        )
        final, dinitial = tuple(states.values()), tuple(dstates.values())
        module.forward(cell, y=y, initial=initial, final=final, **given)
        grad = aligned_empty(grad_size, dtype)
        grad.fill(0)
        dy = self.dy.astype(dtype)
        module.backward(cell, dy=dy, dfinal=dfinal, dinitial=dinitial, dx=dx, grad=grad, **given)
        gradients = {name: np.zeros_like(values) for name, values in blocks.items()}
        module.unpack(cell, grad, self._in_order(gradients))
        found = {"y": y}
        found |= {f"the final {name}": values for name, values in states.items()}
        found |= {f"dL/d{name}": values for name, values in gradients.items()}
        found |= {f"dL/d(initial {name})": values for name, values in dstates.items()}
        return found if dx is None else found | {"dL/dx": dx}

    @property
    def _states(self):
        return zip(self.cell.states, self.cell.state_sizes, strict=True)

    def _in_order(self, blocks):
        return tuple(blocks.get(name) for name in self.cell.block_names)


def _gradient_error():
    """The largest error of a network's gradient; an error where it is too large."""
    layers = [LSTM(2, 5, peepholes=True, bidirectional=True), GRU(10, 3), Dense(3, 2)]
    net = Network(layers, "cross_entropy", "mean", seed=0)
    X = [np.random.default_rng(k).normal(size=(length, 2)) for k, length in enumerate((6, 3))]
    errors = check_gradient(net, X, [0, 1], max_entries=20)
    name = max(errors, key=errors.get)
    if not errors[name] <= TOLERANCES["gradient"]:
        raise RuntimeError(
            f"{net!r}: the gradient of {name} differs from central differences by "
            f"{errors[name]:.2g} of its largest number; expected at most "
            f"{TOLERANCES['gradient']:g}"
        )
    return errors[name]


COMMANDS = {"check": ("does this installation compute what it should?", CHECK, _add_check, _check)}

"""What is measured: the work, the shapes, and the numbers that every candidate starts from.

One letter per dimension: B sequences, T time steps, I inputs, H hidden units.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

FORWARD, TRAIN, STEP = "forward", "forward + BPTT", "one step"
# Cells and their gates, in lstmcore's order; the GRU's reset gate acts after the product.
GATES = {"lstm": "ifgo", "gru": "rzn"}
STATES = {"lstm": "hc", "gru": "h"}


@dataclass(frozen=True)
class Case:
    """One layer and what is asked of it; `STEP` adds a linear layer with one output."""

    work: str
    dtype: str
    B: int
    T: int
    I: int
    H: int
    cell: str = "lstm"

    def __str__(self):
        work = f"{self.work}, {self.dtype}, B={self.B} T={self.T} I={self.I} H={self.H}"
        return work if self.cell == "lstm" else f"{self.cell.upper()}, {work}"

    def asdict(self):
        return asdict(self)

    @property
    def flops(self):
        """Multiply-adds of the matrix products, counted as two; BPTT needs two products for one."""
        forward = 2 * self.B * self.T * len(GATES[self.cell]) * self.H * (self.I + self.H)
        return 3 * forward if self.work == TRAIN else forward


@dataclass
class Problem:
    """Weights in lstmcore's layout; inputs x (B, T, I); dy (B, T, H), the outputs' gradient."""

    W: np.ndarray
    R: np.ndarray
    b: np.ndarray
    x: np.ndarray
    dy: np.ndarray
    V: np.ndarray  # (1, H), the linear layer of STEP
    a: np.ndarray  # (1,)
    bR: np.ndarray | None  # (H,), of the GRU

    @property
    def blocks(self):
        """The layer's parameters by name."""
        blocks = {"W": self.W, "R": self.R, "b": self.b}
        return blocks if self.bR is None else blocks | {"bR": self.bR}

    @property
    def gradients(self):
        """Names of the gradients that TRAIN asks for."""
        return tuple(f"d{name}" for name in ("x", *self.blocks))


def problem(case):
    """The same numbers in every process that asks for the same shape, whatever the dtype."""
    rng = np.random.default_rng([case.B, case.T, case.I, case.H])
    scale = 1.0 / np.sqrt(case.H)

    def draw(*shape):
        return rng.uniform(-scale, scale, shape).astype(case.dtype)

    G = len(GATES[case.cell]) * case.H
    return Problem(
        W=draw(G, case.I),
        R=draw(G, case.H),
        b=draw(G),
        V=draw(1, case.H),
        a=draw(1),
        x=rng.standard_normal((case.B, case.T, case.I), np.float32).astype(case.dtype),
        dy=rng.standard_normal((case.B, case.T, case.H), np.float32).astype(case.dtype),
        bR=draw(case.H) if case.cell == "gru" else None,
    )


def steps_of(H):
    """Time steps of a grid shape: 100, and 50 where a pass over 100 takes seconds."""
    return 100 if H <= 128 else 50


def inputs_of(H):
    return max(H // 2, 1)


def shape(work, dtype, B, H):
    return Case(work, dtype, B, steps_of(H), inputs_of(H), H)


KINDS = ((FORWARD, "float32"), (FORWARD, "float64"), (TRAIN, "float32"), (TRAIN, "float64"))
SIZES = dict.fromkeys(KINDS, (16, 32, 64, 128, 256, 512))
SIZES[FORWARD, "float64"] = (32, 128, 512)  # enough for what few ask for


def full_grid(cell):
    cases = step_cases((8, 16, 32, 64, 128))
    for work, dtype in KINDS:
        for B in (1, 16, 64, 256):
            cases += [shape(work, dtype, B, H) for H in SIZES[work, dtype]]
    return [replace(case, cell=cell) for case in cases]


def quick_grid(cell):
    cases = step_cases((8, 32, 128))
    for work, dtype in KINDS:
        cases += [shape(work, dtype, B, H) for B, H in ((1, 32), (1, 128), (16, 32), (64, 128))]
    return [replace(case, cell=cell) for case in cases]


def step_cases(sizes):
    return [Case(STEP, "float32", 1, 1, 1, H) for H in sizes]

"""The one table of blocks: where every parameter lies in the flat vector, and how it starts.

All parameters of a network are one 1-D array; a block is a named, shaped view of a stretch of it.
A layer lists its blocks (`Block`); `BlockTable` places them one after the other. Whatever needs to
know which stretch is which (the layers, L2 by block kind, storage, interop) asks the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from math import prod

import numpy as np

from ._checks import describe
from ._fixed import Fixed
from ._orthogonal import logarithms, orthogonal

WEIGHTS, BIAS, STATE = "weights", "bias", "state"


@dataclass(frozen=True)
class Block:
    """One named parameter array.

    Attributes
    ----------
    name : str
        Unique in its table, e.g. ``"0.forward.W"``.
    shape : tuple of int
    kind : {"weights", "bias", "state"}
        What it is; L2 counts the weights alone.
    start : callable
        ``start(rng, shape)`` gives the initial value as a float64 array.
    offset : int
        Where it begins in the flat vector.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    start: Callable[..., np.ndarray] = field(compare=False)  # two that draw the same are not equal
    offset: int = 0

    @property
    def size(self):
        return prod(self.shape)

    @property
    def slice(self):
        return slice(self.offset, self.offset + self.size)

    def view(self, flat):
        """This block's view of a flat parameter or gradient vector."""
        return flat[self.slice].reshape(self.shape)


class BlockTable(Fixed):
    """Blocks placed one after the other in one flat vector.

    Parameters
    ----------
    blocks : iterable of Block
        In the order of the vector; their offsets are set here.
    """

    _instead = "it follows from a network's layers"

    def __init__(self, blocks):
        placed, offset = [], 0
        for block in blocks:
            placed.append(replace(block, offset=offset))
            offset += block.size
        self.blocks = tuple(placed)
        self.size = offset
        self._by_name = {block.name: block for block in placed}

    def __iter__(self):
        return iter(self.blocks)

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, name):
        return self._by_name[name]

    def matching(self, pattern, argument):
        """The blocks that a name or a pattern such as ``"*.R"`` means; `argument` had it."""
        if not isinstance(pattern, str):
            raise TypeError(f"{argument}: expected names of blocks, got {describe(pattern)}")
        blocks = [block for block in self.blocks if fnmatchcase(block.name, pattern)]
        if not blocks:
            raise ValueError(
                f"{argument}: expected names of blocks, or patterns of some, got {pattern!r}; "
                f"there are {', '.join(self._by_name)}"
            )
        return blocks

    def views(self, flat):
        """``{name: view}`` of a flat vector."""
        return {block.name: block.view(flat) for block in self.blocks}

    def slices(self, kind):
        """The stretches of the vector that hold blocks of `kind`; neighbours are merged."""
        merged = []
        for block in self.blocks:
            if block.kind != kind:
                continue
            if merged and merged[-1].stop == block.offset:
                merged[-1] = slice(merged[-1].start, block.offset + block.size)
            else:
                merged.append(block.slice)
        return merged

    def start(self, rng, dtype):
        """A fresh vector of initial values.

        Drawn in float64 and rounded, so that one seed gives the same network in both dtypes.
        """
        flat = np.empty(self.size, dtype=dtype)
        for block in self.blocks:
            block.view(flat)[...] = block.start(rng, block.shape)
        return flat


def zeros():
    """Start at zero: biases, peepholes, gate recurrences, initial states."""
    return _zeros


def _zeros(rng, shape):
    return np.zeros(shape)


def bias(rows, value):
    """Start at zero but for `value` in the slice `rows`."""
    return partial(_bias, rows=rows, value=value)


def _bias(rng, shape, rows, value):
    b = np.zeros(shape)
    b[rows] = value
    return b


def chrono(longest, keep=None, enter=None):
    """Start biases so that units remember for up to `longest` steps (Tallec and Ollivier 2018).

    For each unit one number u is drawn, uniform from 1 to longest - 1.

    Parameters
    ----------
    longest : float
        At least 2.
    keep, enter : slice, optional
        The rows of the gate that keeps the state, which start at ln u, and of the gate that lets
        inputs in, which start at -ln u; as many rows as the other gate has. One may be absent.
    """
    return partial(_chrono, longest=longest, keep=keep, enter=enter)


def _chrono(rng, shape, longest, keep, enter):
    rows = enter if keep is None else keep
    # the logarithm of libm or NumPy would differ between systems: see `by_gate`
    value = logarithms(1.0 + (longest - 2.0) * rng.random(rows.stop - rows.start))
    b = np.zeros(shape)
    if keep is not None:
        b[keep] = value
    if enter is not None:
        b[enter] = -value
    return b


def by_gate(draw, gates, mask=None):
    """Start a stack of gates, `gates` rows each, by one draw for each gate.

    A seed gives the same bits on every processor and system. So of the generator's methods only
    `random` is used, whose numbers are exact: whether `uniform` rounds its product before its sum
    was up to a compiler, and `standard_normal` takes logarithms from libm.

    Parameters
    ----------
    draw : str or tuple
        A name of `STARTS`, or a tuple of it and its parameter.
    gates : sequence of int
        Rows of each gate, in order.
    mask : ndarray, optional
        Multiplies what was drawn: weights that are not there start at zero.
    """
    name, *parameters = (draw,) if isinstance(draw, str) else draw
    draw = partial(STARTS[name].draw, **dict(zip(STARTS[name].parameters, parameters, strict=True)))
    return partial(_by_gate, draw=draw, gates=tuple(gates), mask=mask)


def _by_gate(rng, shape, draw, gates, mask):
    value = np.concatenate([draw(rng, rows, shape[1]) for rows in gates])
    return value if mask is None else value * mask


def _glorot(rng, rows, columns):
    return np.sqrt(6.0 / (rows + columns)) * (2.0 * rng.random((rows, columns)) - 1.0)


def _uniform(rng, rows, columns, bound):
    return bound * (2.0 * rng.random((rows, columns)) - 1.0)


def _identity(rng, rows, columns):
    return np.eye(rows, columns)


def _zero(rng, rows, columns):
    return np.zeros((rows, columns))


def _orthogonal(rng, rows, columns):
    if rows > columns:
        return _orthogonal(rng, columns, rows).T
    numbers = rows * columns - rows * (rows - 1) // 2
    return orthogonal(_in_disc(rng, (numbers + 1) // 2), rows, columns)


def _in_disc(rng, count):
    """(count, 2) points, uniform in the unit disc: those of a square that lie in it."""
    points = np.empty((0, 2))
    while len(points) < count:
        more = 2.0 * rng.random((8 + 4 * (count - len(points)) // 3, 2)) - 1.0
        x, y = more.T
        square = x * x + y * y
        points = np.concatenate([points, more[(square > 0.0) & (square < 1.0)]])
    return points[:count]


@dataclass(frozen=True)
class Start:
    """How the weights of one gate may start.

    Attributes
    ----------
    draw : callable
        ``draw(rng, rows, columns, **parameters)`` gives a float64 matrix.
    parameters : tuple of str
        Numbers above zero, which must be given.
    """

    draw: Callable[..., np.ndarray]
    parameters: tuple[str, ...] = ()


# What `W_start` and `R_start` of layers may be.
STARTS = {
    # uniform in +-sqrt(6 / (inputs + units)) (Glorot and Bengio 2010)
    "glorot": Start(_glorot),
    # rows of unit length at right angles, or columns where there are fewer (Saxe et al. 2014)
    "orthogonal": Start(_orthogonal),
    "uniform": Start(_uniform, ("bound",)),
    # ones on the diagonal (Le, Jaitly and Hinton 2015)
    "identity": Start(_identity),
    "zeros": Start(_zero),
}

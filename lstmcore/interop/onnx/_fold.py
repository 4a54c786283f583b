"""Nodes whose inputs are known numbers: computed by NumPy, within a budget.

A number may be known and still depend on the sizes of the data, as what `Shape` gives. So a known
value is kept twice: as it is for one choice of sizes, and for another. Where the two are equal,
nothing depends on sizes.
"""

from math import prod

import numpy as np

from ._graph import Refused

__all__ = ["FOLDED", "Budget", "Known", "attribute_or_input", "fold"]

# TensorProto.DataType -> dtype
_CASTS = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
    16: np.float32,
}


class Known:
    """Known numbers: `first` for one choice of the data's sizes, `second` for another."""

    def __init__(self, first, second=None):
        self.first = first
        is_same = second is None or (
            first.shape == second.shape
            and first.dtype == second.dtype
            and np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        )
        self.second = first if is_same else second

    @property
    def is_fixed(self):
        """Whether nothing depends on the data's sizes."""
        return self.second is self.first

    @property
    def both(self):
        return self.first, self.second


class Budget:
    """How many numbers may be computed in one graph, so that no small file takes all memory."""

    def __init__(self, n_numbers):
        self._left = 1 << 22
        self.allow(n_numbers)

    def allow(self, n_numbers):
        """Allow more, for numbers that the file has."""
        self._left += 16 * n_numbers

    def spend(self, count):
        """Refuse the node where `count` more numbers are too many."""
        self._left -= count
        if self._left < 0:
            raise Refused("makes many more numbers than the file has")


def ints_of(known, what):
    """The integers of a known value that does not depend on the data's sizes."""
    if not isinstance(known, Known) or not known.is_fixed or known.first.dtype.kind not in "iu":
        raise Refused(f"expected fixed integers as {what}")
    if known.first.size > 64:
        raise Refused(f"expected fewer {what}, got {known.first.size}")
    return [int(value) for value in known.first.ravel()]


def attribute_or_input(node, name, values, k):
    """Integers that are an attribute in old operator sets and input k in new ones; None if none."""
    if node.has(name):
        return node.get(name, "ints")
    if len(values) > k and values[k] is not None:
        return ints_of(values[k], name)
    return None


def axis_of(axis, n_axes):
    """An axis counted from the first."""
    if not -n_axes <= axis < n_axes:
        raise Refused(f"expected an axis of {n_axes}, got {axis}")
    return axis % n_axes


def axes_of(axes, n_axes):
    """Axes counted from the first, each once."""
    axes = [axis_of(axis, n_axes) for axis in axes]
    if len(set(axes)) != len(axes):
        raise Refused(f"expected each axis once, got {axes}")
    return axes


def reduced_axes(node, values, n_axes):
    """The axes that a Reduce... node reduces; all of them where it names none."""
    axes = attribute_or_input(node, "axes", values, 1)
    if not axes:
        if node.get("noop_with_empty_axes", "i", 0):
            return []
        return list(range(n_axes))
    return axes_of(axes, n_axes)


def sliced(start, stop, step, size):
    """What a slice takes of `size` entries, as a range."""
    if step == 0:
        raise Refused("expected a step other than 0")
    if stop < -size:  # beyond the first entry, where Python's negative indices cannot point
        stop = None if step < 0 else 0
    if start < -size:
        start = 0 if step > 0 else -size - 1
        if step < 0:
            return range(0)
    return range(size)[slice(start, stop, step)]


def slices(node, values, n_axes):
    """(axis, start, stop, step) of a Slice node, whose bounds are `Known` or attributes."""
    if node.has("starts"):
        starts, ends = node.get("starts", "ints"), node.get("ends", "ints", [])
        axes, steps = node.get("axes", "ints"), None
        bounds = [(start, start) for start in starts], [(end, end) for end in ends]
    else:
        given = [values[k] if len(values) > k else None for k in range(1, 5)]
        bounds = tuple(_both_ints(value) for value in given[:2])
        axes, steps = (None if v is None else ints_of(v, "axes or steps") for v in given[2:])
    count = len(bounds[0])
    axes = list(range(count)) if axes is None else axes
    steps = [1] * count if steps is None else steps
    if not count == len(bounds[1]) == len(axes) == len(steps):
        raise Refused("expected as many starts as ends, axes and steps")
    return list(zip(axes_of(axes, n_axes), *bounds, steps, strict=True))


def _both_ints(known):
    if not isinstance(known, Known) or any(v.dtype.kind not in "iu" for v in known.both):
        raise Refused("expected known integers as bounds")
    if known.first.size != known.second.size or known.first.size > 64:
        raise Refused("expected as many bounds for all sizes of the data")
    return list(zip(*([int(v) for v in values.ravel()] for values in known.both), strict=True))


# A fold is called with the node, the budget and the arrays of its inputs (None for one that is left
# out), and returns a list of outputs, once for each choice of sizes.


def _unary(function):
    def fold(node, budget, x):
        budget.spend(x.size)
        with np.errstate(all="ignore"):
            return [np.asarray(function(x)).astype(x.dtype, copy=False)]

    return fold


def _elementwise(function, keeps_dtype=True):
    def fold(node, budget, *arrays):
        budget.spend(prod(np.broadcast_shapes(*(x.shape for x in arrays))))
        result = arrays[0]
        with np.errstate(all="ignore"):
            for x in arrays[1:]:
                result = function(result, x)
        if keeps_dtype:
            result = np.asarray(result).astype(arrays[0].dtype, copy=False)
        return [np.asarray(result)]

    return fold


def _divide(x, y):
    if x.dtype.kind not in "iu":
        return x / y
    if not np.all(y):
        raise Refused("divides integers by 0")
    return np.trunc(x / y) if x.dtype.kind == "i" else x // y


def _power(x, y):
    return np.power(x.astype(np.float64), y)


def _reduce(function):
    def fold(node, budget, x, axes=None):
        values = (None, None if axes is None else Known(axes))
        axes = reduced_axes(node, values, x.ndim)
        keeps = bool(node.get("keepdims", "i", 1))
        budget.spend(x.size)
        return [np.asarray(function(x, axis=tuple(axes), keepdims=keeps)).astype(x.dtype)]

    return fold


def _constant(node, budget):
    for name, kind, dtype in (
        ("value_int", "i", np.int64),
        ("value_ints", "ints", np.int64),
        ("value_float", "f", np.float32),
        ("value_floats", "floats", np.float32),
    ):
        if node.has(name):
            return [np.array(node.get(name, kind), dtype)]
    tensor = node.get("value", "t")
    if tensor is None:
        raise Refused("expected numbers as its value")
    return [node.graph.as_array(tensor)]


def _constant_of_shape(node, budget, shape):
    sizes = _sizes(shape)
    budget.spend(prod(sizes))
    tensor = node.get("value", "t")
    value = np.zeros(1, np.float32) if tensor is None else node.graph.as_array(tensor)
    if value.size != 1:
        raise Refused("expected one number as value")
    return [np.full(sizes, value.ravel()[0], value.dtype)]


def _sizes(shape):
    """The sizes of a shape that is an array."""
    if shape.ndim > 1 or shape.size > 16 or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise Refused("expected a shape of sizes >= 0")
    return tuple(int(size) for size in shape.ravel())


def _expand(node, budget, x, shape):
    target = np.broadcast_shapes(x.shape, _sizes(shape))
    budget.spend(prod(target))
    return [np.broadcast_to(x, target)]


def _tile(node, budget, x, repeats):
    repeats = _sizes(repeats)
    if len(repeats) != x.ndim:
        raise Refused("expected as many repeats as axes")
    budget.spend(x.size * prod(repeats))
    return [np.tile(x, repeats)]


def _range(node, budget, start, limit, delta):
    if delta.size != 1 or not np.all(delta) or delta.dtype.kind not in "iuf":
        raise Refused("expected a step other than 0")
    bounds = [value.item() for value in (start, limit, delta)]
    count = (bounds[1] - bounds[0]) / bounds[2]
    if not np.isfinite(count):
        raise Refused("expected finite bounds")
    budget.spend(max(0, int(np.ceil(count))))
    return [np.arange(*bounds, dtype=start.dtype)]


def _concat(node, budget, *arrays):
    budget.spend(sum(x.size for x in arrays))
    axis = axis_of(node.get("axis", "i", 0), arrays[0].ndim)
    return [np.concatenate(arrays, axis=axis)]


def _gather(node, budget, x, indices):
    axis = axis_of(node.get("axis", "i", 0), x.ndim)
    if indices.dtype.kind not in "iu":
        raise Refused("expected integers as indices")
    budget.spend(x.size // max(1, x.shape[axis]) * indices.size)
    return [np.take(x, indices, axis=axis)]


def _slice(node, budget, x, *bounds):
    values = [None, *(None if array is None else Known(array) for array in bounds)]
    for axis, (start, _), (stop, _), step in slices(node, values, x.ndim):
        taken = sliced(start, stop, step, x.shape[axis])
        budget.spend(x.size // max(1, x.shape[axis]) * len(taken))
        x = np.take(x, np.arange(taken.start, taken.stop, taken.step), axis=axis)
    return [x]


def _squeeze(node, budget, x, axes=None):
    axes = attribute_or_input(node, "axes", (None, None if axes is None else Known(axes)), 1)
    if axes is None:
        return [np.squeeze(x)]
    return [np.squeeze(x, axis=tuple(axes_of(axes, x.ndim)))]


def _unsqueeze(node, budget, x, axes=None):
    axes = attribute_or_input(node, "axes", (None, None if axes is None else Known(axes)), 1)
    if axes is None:
        raise Refused("expected axes")
    return [np.expand_dims(x, tuple(axes_of(axes, x.ndim + len(axes))))]


def _reshape(node, budget, x, shape):
    if shape.ndim != 1 or shape.size > 16 or shape.dtype.kind not in "iu":
        raise Refused("expected a shape")
    shape = [int(size) for size in shape]
    if not node.get("allowzero", "i", 0):
        shape = [x.shape[k] if size == 0 and k < x.ndim else size for k, size in enumerate(shape)]
    if min(shape, default=0) < -1:
        raise Refused("expected sizes >= -1")
    return [x.reshape(shape)]


def _transpose(node, budget, x):
    perm = node.get("perm", "ints")
    return [x.transpose(None if perm is None else axes_of(perm, x.ndim))]


def _split(node, budget, x, sizes=None):
    axis = axis_of(node.get("axis", "i", 0), x.ndim)
    sizes = split_sizes(node, (None, None if sizes is None else Known(sizes)), x.shape[axis])
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)


def split_sizes(node, values, size):
    """The sizes of the parts of a Split node."""
    sizes = attribute_or_input(node, "split", values, 1)
    if sizes is None:
        parts = len(node.outputs)
        each = -(-size // parts)
        sizes = [max(0, min(each, size - k * each)) for k in range(parts)]
    if sum(sizes) != size or min(sizes) < 0 or len(sizes) < len(node.outputs):
        raise Refused(f"expected parts of {size} in sum, got {sizes}")
    return sizes


def _cast(node, budget, x, like=None):
    dtype = like.dtype if like is not None else _CASTS.get(node.get("to", "i", 0))
    if dtype is None:
        raise Refused("casts to a type that is not known")
    budget.spend(x.size)
    with np.errstate(all="ignore"):
        return [x.astype(dtype)]


def _where(node, budget, condition, x, y):
    budget.spend(prod(np.broadcast_shapes(condition.shape, x.shape, y.shape)))
    return [np.where(condition.astype(bool), x, y)]


def _matmul(node, budget, x, y):
    if x.ndim != 2 or y.ndim != 2:
        raise Refused("multiplies known numbers that are no two matrices")
    budget.spend(x.shape[0] * y.shape[1] + x.size * (y.shape[1] >> 6))
    return [x @ y]


def _shape(node, budget, x):
    return [shape_of(node, x.shape)]


def shape_of(node, sizes):
    """What a Shape node gives of sizes."""
    sizes = sizes[node.get("start", "i", 0) : node.get("end", "i", None)]
    return np.array(sizes, np.int64)


def _dequantize(node, budget, x, scale, zero=None):
    if scale.size != 1:
        axis = axis_of(node.get("axis", "i", 1), x.ndim)
        if scale.shape != (x.shape[axis],):
            raise Refused("expected one scale, or one for each entry of the axis")
        expanded = [1] * x.ndim
        expanded[axis] = -1
        scale = scale.reshape(expanded)
        zero = None if zero is None else zero.reshape(expanded)
    budget.spend(x.size)
    difference = x.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))
    return [difference.astype(scale.dtype) * scale]


def _same(node, budget, x, *_):
    return [x]


def _scatter(node, budget, x, indices, updates):
    axis = axis_of(node.get("axis", "i", 0), x.ndim)
    if node.get("reduction", "s", "none") != "none" or indices.shape != updates.shape:
        raise Refused("scatters in another way than one number for each index")
    budget.spend(x.size)
    result = x.copy()
    np.put_along_axis(result, indices, updates, axis)
    return [result]


FOLDED = {
    "Abs": _unary(np.abs),
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": _unary(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _elementwise(_divide),
    "Dropout": _same,
    "Equal": _elementwise(np.equal, False),
    "Exp": _unary(np.exp),
    "Expand": _expand,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _elementwise(np.greater, False),
    "GreaterOrEqual": _elementwise(np.greater_equal, False),
    "Identity": _same,
    "Less": _elementwise(np.less, False),
    "LessOrEqual": _elementwise(np.less_equal, False),
    "Log": _unary(np.log),
    "MatMul": _matmul,
    "Max": _elementwise(np.maximum),
    "Min": _elementwise(np.minimum),
    "Mul": _elementwise(np.multiply),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Pow": _elementwise(_power),
    "Range": _range,
    "Reciprocal": _unary(np.reciprocal),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "ScatterElements": _scatter,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


def fold(node, budget, values):
    """The outputs of a node whose inputs are `Known`, or None where they are left out."""
    function = FOLDED.get(node.op)
    if function is None:
        raise Refused("is no operation on known numbers that this importer knows")
    results = []
    for k in range(1 if all(v is None or v.is_fixed for v in values) else 2):
        arrays = [None if value is None else value.both[k] for value in values]
        try:
            results.append(function(node, budget, *arrays))
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise Refused(f"cannot be computed: {error}") from error
    return [Known(*outputs) for outputs in zip(*results, strict=True)]

"""Nodes that compute with outputs and known numbers: dense layers, activations, output units."""

import numpy as np

from ._activations import OPERATORS
from ._cells import as_written
from ._chain import Activated, Ended, Linear, Read
from ._fold import Known, axis_of
from ._follow_lengths import keep_shape
from ._graph import Refused
from ._stream import Lengths, Steps, Stream, axis_name

__all__ = ["Arithmetic"]

_RANGES = {"logistic": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf)}
_VERBS = {"Mul": "multiplies", "Div": "divides"}


class Arithmetic:
    """The part of `Follower` that follows arithmetic."""

    def _combined(self, node, terms, scales):
        """Units that are sums of units of one link, each times a number."""
        link, places = self.chain.source_of(np.stack([np.asarray(term) for term in terms]))
        n, m = places[0].size, link.size if not isinstance(link, Linear) else link.parent.size
        self.budget.spend(n * m)
        total_W, total_b, is_layer = 0.0, 0.0, False
        for own, scale in zip(places, scales, strict=True):
            parent, W, b, is_layer = self.chain.linear(link, own, node.title)
            total_W = total_W + scale * W.astype(np.float64)
            total_b = total_b + (0.0 if b is None else scale * b.astype(np.float64))
        b = None if np.ndim(total_b) == 0 else total_b
        made = self.chain.add(Linear(parent, total_W, b, is_layer, node.title))
        return made.units.reshape(places[0].shape)

    def _arithmetic(self, node, values):
        if len(values) != 2:
            raise Refused(f"expected two inputs, got {len(values)}")
        values = [self._lengths_of(v) if self._counts_steps(v) else v for v in values]
        if any(isinstance(value, Lengths | Steps) for value in values):
            return self._with_lengths(node, values)
        x, y = values
        if isinstance(x, Stream) and isinstance(y, Stream):
            return self._two_streams(node, x, y)
        is_reversed = isinstance(x, Known)
        if is_reversed:
            x, y = y, x
        x = self._stream(x)
        if not isinstance(y, Known):
            raise Refused("computes with an order of sequences")
        if node.op == "Max" and not y.first.any() and y.is_fixed:
            return self._activated(node, x, "relu")
        if self._begins_readout(node, x, y):
            return x
        if node.op not in ("Add", "Sub", "Mul", "Div"):
            raise Refused("compares outputs with numbers, which no layer does")
        if node.op == "Div" and not is_reversed:
            mean = self._mean_of_sum(node, x, y)
            if mean is not None:
                return mean
        constants = self._aligned(x, y)
        if node.op in ("Add", "Sub"):
            scale = -1.0 if node.op == "Sub" and is_reversed else 1.0
            sign = -1.0 if node.op == "Sub" and not is_reversed else 1.0
            return self._affine(node, x, np.array(scale), sign * constants)
        if node.op == "Div":
            if is_reversed:
                raise Refused("divides by outputs, which no layer does")
            with np.errstate(all="ignore"):
                constants = 1.0 / constants.astype(np.float64)
        return self._affine(node, x, constants, None)

    def _begins_readout(self, node, x, y):
        """Whether x is a readout and y what it begins with: a sum of 0, a maximum of -inf."""
        link, _ = self.chain.resolve(x.units)
        begins = {("Add", "sum"): 0.0, ("Max", "max"): -np.inf}
        first = begins.get((node.op, link.how)) if isinstance(link, Read) else None
        if first is None or not all(np.all(own == first) for own in y.both):
            return False
        shape = self._aligned(x, y).shape
        return all(n in (1, size) for n, size in zip(shape, x.units.shape, strict=True))

    def _mean_of_sum(self, node, x, count):
        """The mean over time, where a sum over time is divided by the number of steps."""
        link, places = self.chain.resolve(x.units)
        if not isinstance(link, Read) or link.how != "sum":
            return None
        if link.is_masked != isinstance(count, Lengths):
            return None
        if isinstance(count, Known):
            is_count = [
                np.all(own == size) for own, size in zip(count.both, link.time.sizes, strict=True)
            ]
            if not all(is_count) or not keep_shape(x, count):
                return None
        mean = self.chain.read(link.parent, "mean", link.time, link.is_masked, node.title)
        return x.with_units(places + mean.first)

    def _two_streams(self, node, x, y):
        if node.op not in ("Add", "Sub"):
            raise Refused(
                f"{_VERBS.get(node.op, 'compares')} outputs by outputs, which no layer does"
            )
        if x.axes != y.axes or not x.same_layout(y) or x.units.shape != y.units.shape:
            raise Refused("adds values of different axes")
        sign = 1.0 if node.op == "Add" else -1.0
        return x.with_units(self._combined(node, [x.units, y.units], [1.0, sign]))

    def _aligned(self, x, constants):
        """Known numbers as an array that broadcasts with the units of a stream."""
        arrays = []
        for k, values in enumerate(constants.both):
            if values.dtype.kind not in "fiu":
                raise Refused("computes with known values that are no numbers")
            if values.ndim > x.n_axes:
                if set(values.shape[: values.ndim - x.n_axes]) != {1}:
                    raise Refused("repeats outputs along an axis")
                values = values.reshape(values.shape[values.ndim - x.n_axes :])
            values = values.reshape((1,) * (x.n_axes - values.ndim) + values.shape)
            sizes = x.sizes(k)
            for axis in x.free:
                if values.shape[axis] not in (1, sizes[axis]):
                    raise Refused("computes with numbers of another shape")
                first = np.take(values, [0], axis=axis)
                if not np.array_equal(first.repeat(values.shape[axis], axis), values):
                    raise Refused(f"computes with other numbers along {axis_name(x, axis)}")
                values = first
            kept = [size for size, own in zip(values.shape, x.axes, strict=True) if own is None]
            arrays.append(values.reshape(kept))
        if not np.array_equal(*arrays, equal_nan=arrays[0].dtype.kind == "f"):
            raise Refused("computes with numbers that depend on the number of steps or sequences")
        return arrays[0]

    def _affine(self, node, x, scale, shift):
        """scale x + shift."""
        parts = [x.units.shape, np.shape(scale), () if shift is None else np.shape(shift)]
        shape = np.broadcast_shapes(*parts)
        if len(shape) != x.units.ndim:
            raise Refused("computes with numbers of another shape")
        units = np.broadcast_to(x.units, shape)
        scale = np.broadcast_to(scale, shape).ravel()
        shift = None if shift is None else np.broadcast_to(shift, shape).ravel()
        link, places = self.chain.source_of(units)
        n, m = places.size, link.size if not isinstance(link, Linear) else link.parent.size
        self.budget.spend(n * m)
        parent, W, b, is_layer = self.chain.linear(link, places, node.title)
        if not np.all(scale == 1):
            W = W.astype(np.float64) * scale[:, None]
            b = None if b is None else b.astype(np.float64) * scale
        if shift is not None:
            b = shift if b is None else b.astype(np.float64) + shift
        made = self.chain.add(Linear(parent, W, b, is_layer, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(shape), behind, x.order, x.is_flipped)

    def _do_Neg(self, node, values):
        return self._affine(node, self._stream(values[0]), np.array(-1.0), None)

    def _do_BatchNormalization(self, node, values):
        x = self._stream(values[0])
        if node.get("training_mode", "i", 0) or x.n_axes < 2:
            raise Refused("normalizes batches, for it is in training mode")
        if len(values) != 5 or not all(isinstance(v, Known) and v.is_fixed for v in values[1:]):
            raise Refused("expected known scale, shift, mean and variance")
        scale, shift, mean, variance = (v.first.astype(np.float64) for v in values[1:])
        epsilon = node.get("epsilon", "f", 1e-5)
        place = x.unit_axis(1, "normalizes")
        shape = [1] * x.units.ndim
        shape[place] = x.units.shape[place]
        if any(v.shape != (shape[place],) for v in (scale, shift, mean, variance)):
            raise Refused(f"expected scale, shift, mean and variance of {shape[place]} channels")
        with np.errstate(all="ignore"):
            scale = scale / np.sqrt(variance + epsilon)
        return self._affine(node, x, scale.reshape(shape), (shift - scale * mean).reshape(shape))

    def _do_MatMul(self, node, values):
        x, W = values
        if isinstance(x, Known):
            raise Refused("multiplies outputs by a matrix from the left")
        if not isinstance(W, Known):
            raise Refused("multiplies outputs by outputs, which no layer does")
        W = self._matrix(W)
        return self._product(node, self._stream(x), W.T, None)

    def _do_Gemm(self, node, values):
        x, W, b = (*values, None)[:3]
        if not isinstance(x, Stream) or not isinstance(W, Known):
            raise Refused("multiplies something else than outputs by a known matrix")
        if node.get("transA", "i", 0):
            raise Refused("transposes outputs before the product")
        alpha, beta = node.get("alpha", "f", 1.0), node.get("beta", "f", 1.0)
        W = self._matrix(W)
        W = W if node.get("transB", "i", 0) else W.T
        W = W if alpha == 1 else alpha * W.astype(np.float64)
        x = self._product(node, x, W, None)
        if b is None or beta == 0:
            return x
        if not isinstance(b, Known):
            raise Refused("adds outputs to a product")
        shift = self._aligned(x, b)
        return self._affine(node, x, np.array(1.0), shift if beta == 1 else beta * shift)

    def _matrix(self, W):
        array = W.first
        if not W.is_fixed or array.dtype.kind != "f":
            raise Refused("expected a known matrix of real numbers")
        array = array.reshape(array.shape[-2:]) if set(array.shape[:-2]) == {1} else array
        if array.ndim != 2 or not array.size:
            raise Refused(f"expected a known matrix, got shape {array.shape}")
        self._dtype_of_matrices = np.promote_types(self._dtype_of_matrices, array.dtype)
        return array

    def _product(self, node, x, W, b):
        """W x of the units on the last axis."""
        if not x.n_axes:
            raise Refused("multiplies a single number by a matrix")
        self._retry(x, x.n_axes - 1, W.shape[1])
        x_units = x.units
        x.unit_axis(x.n_axes - 1, "multiplies by a matrix")
        if x_units.shape[-1] != W.shape[1]:
            raise Refused(f"expected {W.shape[1]} units, got {x_units.shape[-1]}")
        if x_units.size != W.shape[1]:
            raise Refused("multiplies several vectors of one step by the same matrix")
        parent, W, b = self._weights_of(x_units.ravel(), W, b)
        made = self.chain.add(Linear(parent, W, b, True, node.title))
        behind = "any" if x.behind else None
        shape = (*x_units.shape[:-1], len(W))
        return Stream(x.axes, made.units.reshape(shape), behind, x.order, x.is_flipped)

    def _weights_of(self, units, W, b):
        """The link that units come from, and W (rows, units) and b for all of its units."""
        link, places = self.chain.source_of(units)
        if isinstance(link, Linear) and not link.is_layer:
            self.budget.spend(len(W) * link.parent.size)
            shift = None if link.b is None else W.astype(np.float64) @ link.b[places]
            W = W.astype(np.float64) @ link.W[places].astype(np.float64)
            if shift is not None:
                b = shift if b is None else b + shift
            return link.parent, W, b
        if len(places) == link.size and np.array_equal(places, np.arange(link.size)):
            return link, W, b
        self.budget.spend(len(W) * link.size)
        full = np.zeros((len(W), link.size), W.dtype)
        np.add.at(full.T, places, W.T)
        return link, full, b

    def _activation(self, node, values):
        name, parameters = OPERATORS[node.op]
        given = [as_written(node.get(key, "f", value)) for key, value in parameters.items()]
        return self._activated(node, self._stream(values[0]), (name, *given) if given else name)

    def _activated(self, node, x, activation):
        link, places = self.chain.source_of(x.units)
        if x.units.size != link.size or not np.array_equal(places.ravel(), np.arange(link.size)):
            self.budget.spend(x.units.size * link.size)
            link = self.chain.add(Linear(*self.chain.linear(link, places, node.title), node.title))
        made = self.chain.add(Activated(link, activation, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(x.units.shape), behind, x.order, x.is_flipped)

    def _do_PRelu(self, node, values):
        x, slope = self._stream(values[0]), values[1]
        if not isinstance(slope, Known) or slope.first.size < 1 or np.ptp(slope.first):
            raise Refused("has several slopes, while an activation has one for all units")
        slope = as_written(slope.first.ravel()[0])
        if not slope >= 0:
            raise Refused(f"has the slope {slope}, while leaky_relu has none below 0")
        return self._activated(node, x, ("leaky_relu", slope))

    def _do_Clip(self, node, values):
        x = self._stream(values[0])
        low, high = -np.inf, np.inf
        if node.has("min") or node.has("max"):
            low, high = node.get("min", "f", low), node.get("max", "f", high)
        bounds = [values[k] if len(values) > k else None for k in (1, 2)]
        if any(b is not None and not (isinstance(b, Known) and b.is_fixed) for b in bounds):
            raise Refused("expected known bounds")
        low, high = (
            float(own.first.ravel()[0]) if own is not None and own.first.size else bound
            for own, bound in zip(bounds, (low, high), strict=True)
        )
        link, _ = self.chain.resolve(x.units)
        if isinstance(link, Activated) and link.activation in _RANGES:
            first, last = _RANGES[link.activation]
            if low <= first and high >= last:
                return x
        largest = np.finfo(np.float32).max
        has_low, has_high = low > -largest, high < largest
        if not low < high:
            raise Refused(f"clips outputs to {low:g} ... {high:g}, where nothing is left of them")
        if has_low and has_high:  # low + (high - low) min(max((x - low) / (high - low), 0), 1)
            width = high - low
            parameters = as_written(1 / width), as_written((0.0 - low) / width)
            x = self._activated(node, x, ("hard_sigmoid", *parameters))
            return self._scaled(node, x, width, low)
        if has_low:  # low + max(x - low, 0)
            x = self._activated(node, self._scaled(node, x, 1.0, -low), "relu")
            return self._scaled(node, x, 1.0, low)
        if has_high:  # high - max(high - x, 0)
            x = self._activated(node, self._scaled(node, x, -1.0, high), "relu")
            return self._scaled(node, x, -1.0, high)
        return x

    def _scaled(self, node, x, scale, shift):
        """scale x + shift of all units alike."""
        if (scale, shift) == (1, 0):
            return x
        return self._affine(node, x, np.array(scale), np.array(shift) if shift else None)

    # What a network has at its end.

    def _do_Softmax(self, node, values):
        x = self._stream(values[0])
        axis = axis_of(node.get("axis", "i", -1 if self.opset >= 13 else 1), x.n_axes)
        rest = x.axes[axis + 1 :] if self.opset < 13 else ()
        last = [k for k, own in enumerate(x.axes) if own is None and x.sizes(0)[k] > 1]
        if any(rest) or x.axes[axis] is not None or (self.opset >= 13 and last not in ([], [axis])):
            raise Refused("is a softmax over something else than all units of a step")
        return self._ended(node, x, "softmax" if node.op == "Softmax" else "log_softmax")

    def _ended(self, node, x, units):
        link, places = self.chain.source_of(x.units)
        if x.units.size != link.size or not np.array_equal(places.ravel(), np.arange(link.size)):
            self.budget.spend(x.units.size * link.size)
            link = self.chain.add(Linear(*self.chain.linear(link, places, node.title), node.title))
        made = self.chain.add(Ended(link, units, node.title))
        behind = "any" if x.behind else None
        return Stream(x.axes, made.units.reshape(x.units.shape), behind, x.order, x.is_flipped)

    def _do_Exp(self, node, values):
        x = self._stream(values[0])
        return self._unended(node, x, "log_softmax", "softmax") or self._ended(
            node, x, "exponential"
        )

    def _do_Log(self, node, values):
        x = self._stream(values[0])
        made = self._unended(node, x, "softmax", "log_softmax")
        if made is None:
            raise Refused("takes the logarithm of outputs, which no layer does")
        return made

    def _unended(self, node, x, before, after):
        """Exp or Log of a softmax: the same softmax in another form."""
        link, places = self.chain.resolve(x.units)
        if not isinstance(link, Ended) or link.output_units != before:
            return None
        made = self.chain.once((link, after), lambda: Ended(link.parent, after, node.title))
        return x.with_units(places + made.first)

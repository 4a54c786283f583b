"""Exports in int8: a network in the integers of lstmrt_int8.h, calibrated on typical inputs."""

import numpy as np

from .. import _reference as twin
from .._outputs import OUTPUTS
from ._fixed_point import HEADROOM, in_integers
from ._format import RECORDED_STEPS, Exported, Format, Number, largest_error
from ._int8_cells import integer_part, output_bits, signals_of
from ._source import array, literal

MOST_STEPS = 20_000  # of calibration; more would not change ranges and covariances much
_MOST_SIGNAL = 2.0**40
DAMPINGS = (1e-2, 1e-3, 1e-4)  # of the covariances, by their mean eigenvalue; the best is kept


# ------------------------------------------------------------------------------- one part


def _check_reach(part, signals):
    """Refuse signals so far beyond what integers hold that their covariances would overflow."""
    for field, largest in signals.largest.items():
        if not largest < (np.inf if part.is_output else _MOST_SIGNAL):
            raise ValueError(
                f"net: {part.name} reaches {field} = {largest:.3g} on the data, expected less than "
                "32768 for int8; scale the inputs to about 1"
            )


def _best_shift(part, signals, scales, h_bits, lowest):
    """The input_shift with the least noise of rounding; below 0: coarser inputs."""
    if not part.cell.states:
        return 0
    inputs, rows = len(scales), np.hstack([signals.rows["x"], signals.rows["h"]])
    units = np.append(scales, [2.0**-h_bits] * part.units)
    W = np.hstack([part.block("W"), part.block("R")]) * units
    power = (rows**2).mean(axis=0) / units**2
    noise = {}
    for shift in range(lowest, 9):
        unit = np.ones(W.shape[1])
        unit[:inputs] = 2.0**shift
        noise[shift] = ((W / unit) ** 2).max(axis=1).sum() * (power * unit**2).sum()
    return min(noise, key=noise.get)


def _calibrated(part, signals, v, lengths, scales, h_bits, input_shift):
    """An `IntegerPart` and its outputs over integer inputs v.

    Calibrated first on the float signals, then on those that the integers themselves give: so the
    later weights make good what the earlier ones have spoilt. The best of these is kept.
    """
    valid = np.arange(signals.y.shape[1]) < lengths[:, None]
    scale, best, least = 1.0 if part.is_output else 2.0**-h_bits, None, np.inf
    for damping in DAMPINGS:
        rows = None
        for _ in range(2):
            integer = integer_part(part, signals, rows, scales, h_bits, input_shift, damping)
            y = integer.run(v, lengths)
            rows, error = integer.rows, ((y * scale - signals.y)[valid] ** 2).mean()
            if best is None or error < least:
                best, least = (integer, y), error
    return best


# ------------------------------------------------------------------------------- the network


class IntegerNetwork:
    """A model in integers, layer by layer calibrated on padded sequences x (B, T, I).

    Attributes
    ----------
    parts : list of lists of IntegerPart
    inverse_scales : (I,) float32 array
        Of the inputs.
    read_scale : float
        What one unit of the last layer's outputs stands for, where they are integers.
    """

    def __init__(self, model, x, lengths):
        self.model, self.parts = model, []
        valid = np.arange(x.shape[1]) < lengths[:, None]
        largest = np.abs(x[valid]).max(axis=0, initial=0)
        scales, v = np.where(largest > 0, largest, 1.0) * HEADROOM / 32767, None
        for k, parts in enumerate(model.parts):
            if k == model.body:
                x = self._read(x, lengths, np.mean)
                v, lengths = self._read(v, lengths, _integer_mean), np.ones(len(x), np.intp)
            signals = [signals_of(part, x, lengths) for part in parts]
            for part, s in zip(parts, signals, strict=True):
                _check_reach(part, s)
            h_bits = output_bits(parts[0], max(s.largest["h"] for s in signals))
            shifts = [
                _best_shift(part, s, scales, h_bits, lowest=-5 if k == 0 else 0)
                for part, s in zip(parts, signals, strict=True)
            ]
            if min(shifts) < 0:  # inputs rather than sums take the factor
                scales = scales * 2.0 ** -min(shifts)
                shifts = [shift - min(shifts) for shift in shifts]
            if k == 0:
                self.inverse_scales = _inverse(scales)
                scales = 1 / self.inverse_scales.astype(np.float64)
                v = self._signals(x)
            layer = [
                _calibrated(part, s, v, lengths, scales, h_bits, shift)
                for part, s, shift in zip(parts, signals, shifts, strict=True)
            ]
            self.parts.append([part for part, _ in layer])
            x = np.concatenate([s.y for s in signals], axis=2)
            v = np.concatenate([y for _, y in layer], axis=2)
            scales = np.full(x.shape[2], 2.0**-h_bits)
        self.read_scale = 2.0**-h_bits

    def _signals(self, x):
        """Inputs as the C program takes them, in float32."""
        v = x.astype(np.float32) * self.inverse_scales
        v = np.clip(v, np.float32(-32767), np.float32(32767))
        return np.trunc(v + np.copysign(np.float32(0.5), v)).astype(np.int64)

    def predict(self, x, lengths):
        """Outputs (B, T, K) or (B, K) of padded sequences, after the output activation."""
        model, v = self.model, self._signals(x)
        for k, parts in enumerate(self.parts):
            if k == model.body:
                v, lengths = self._read(v, lengths, _integer_mean), np.ones(len(v), np.intp)
            v = np.concatenate([part.run(v, lengths) for part in parts], axis=2)
        if model.body == len(self.parts) and model.readout != "all":
            v = self._read(v, lengths, _integer_mean)
        if not model.parts[-1][0].is_output:
            v = v * self.read_scale
        y = np.empty_like(v)
        rows = (-1, v.shape[2])
        twin.output_units(OUTPUTS[model.output].code, v.reshape(rows), y.reshape(rows))
        return y if model.readout == "all" else y[:, 0]

    def _read(self, y, lengths, mean):
        """What is read of y (B, T, H), as sequences of one step; every one has a step."""
        readout, sequences = self.model.readout, np.arange(len(y))
        if readout in ("mean", "max"):
            there = (np.arange(y.shape[1]) < lengths[:, None])[:, :, None]
            if readout == "mean":
                return mean(y, axis=1, keepdims=True, where=there)
            return np.where(there, y, y.min()).max(axis=1, keepdims=True)
        parts = self.model.parts[self.model.body - 1]
        halves = np.split(y, len(parts), axis=2)
        first = [readout == "last" and part.reverse for part in parts]
        read = [
            half[sequences, 0 if is_first else lengths - 1]
            for half, is_first in zip(halves, first, strict=True)
        ]
        return np.concatenate(read, axis=1)[:, None]


def _integer_mean(y, axis, keepdims, where):
    """lstmrt_mean"""
    total = y.sum(axis=axis, keepdims=keepdims, where=where).astype(np.float32)
    total /= where.sum(axis=axis, keepdims=keepdims).astype(np.float32)
    return np.trunc(total + np.copysign(np.float32(0.5), total)).astype(np.int64)


def _inverse(scales):
    """1 / scales in float32."""
    least = 1 / np.finfo(np.float32).max
    if scales.min() <= least:
        raise ValueError(
            f"data: expected each input to be 0 or to reach {least * 32767:.1g} for int8, got one "
            f"that reaches {scales.min() * 32767:.1g}"
        )
    return (1 / scales).astype(np.float32)


class Int8Format(Format):
    """Weights of 8 bits."""

    name = "int8"
    real = Number("float", "float32")
    signal = Number("int16_t", "int16")
    wide = Number("int32_t", "int32")
    total = Number("int64_t", "int64")
    runtime = ("lstmrt_math.h", "lstmrt_int8.h")
    note = """
 * Weights of 8 bits, sums of 32, activations of 16; x and y are float.
 *
 * An input that is too large for its range becomes the largest that there is, a NaN becomes 0. Both
 * set `saturated` in the state to 1, and so does a signal that outgrows its integers; only a reset
 * clears it. Where it is 1 the outputs may be wrong."""
    needs_data = True
    converts_inputs = True

    def export(self, model, net, sequences, features):
        if model.initial:
            raise ValueError(
                "dtype: expected 'float32' or 'float64' with a network whose initial states are a "
                "function of features, which have no scale in int8, got 'int8'"
            )
        sequences = _at_most(sequences, MOST_STEPS)
        lengths = np.array([len(x) for x in sequences], dtype=np.intp)
        padded = np.zeros((len(sequences), lengths.max(), model.inputs))
        for row, x in zip(padded, sequences, strict=True):
            row[: len(x)] = x
        integer = IntegerNetwork(model, padded, lengths)
        got = integer.predict(padded, lengths)
        wanted = net.predict(padded, lengths=lengths).astype(np.float64)
        difference = got - wanted
        if model.readout == "all":
            difference = difference[np.arange(padded.shape[1]) < lengths[:, None]]

        x = sequences[0][:RECORDED_STEPS].astype(np.float32)
        y = integer.predict(x[None].astype(np.float64), np.array([len(x)]))[0]
        y = y.astype(np.float32)
        texts, sizes = zip(*(part.text() for parts in integer.parts for part in parts), strict=True)
        scales = array("lstmrt_inverse_scales", integer.inverse_scales)
        return Exported(
            data="\n\n".join([scales, *texts]),
            constant_bytes=sum(sizes) + integer.inverse_scales.nbytes,
            settings=[f"#define LSTMRT_READ_SCALE {literal(integer.read_scale, 'float32')}"],
            input_ranges=32767 / integer.inverse_scales.astype(np.float64),
            x=x,
            y=y,
            error=float(np.abs(difference).max()),
            tolerance=_tolerance(model, y),
            details={
                "reference": net.dtype.name,
                "rms_error": float(np.sqrt((difference**2).mean())),
                "calibration_steps": int(lengths.sum()),
            },
        )


INT8 = Int8Format()


def _tolerance(model, y):
    """Integers agree to the bit; what goes through float may round another way at each step."""
    exact = all(in_integers(part.options) for parts in model.parts for part in parts)
    return (2e-6 if exact else 1e-3) * largest_error(model, y)


def _at_most(sequences, steps):
    """The first sequences that together have so many steps, at least one of them."""
    chosen, total = [], 0
    for x in sequences:
        chosen.append(x[: steps - total])
        total += len(chosen[-1])
        if total == steps:
            break
    return chosen

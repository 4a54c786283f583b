"""`Format`: a number format of exports, and what an export in it consists of."""

import math
from dataclasses import dataclass, field

import numpy as np

RECORDED_STEPS = 64  # at most, of the self-test's sequence


@dataclass(frozen=True)
class Number:
    """A type of numbers, in C and in NumPy."""

    c_type: str
    dtype: str

    @property
    def size(self):
        """Bytes."""
        return np.dtype(self.dtype).itemsize


@dataclass
class Exported:
    """A network in the numbers of one export.

    Attributes
    ----------
    data : str
        C text: arrays and descriptions of all layers.
    constant_bytes : int
    settings : list of str
        ``#define`` lines, beside those that every network has.
    input_ranges : array or None
        The largest absolute value that each input can take, if there is one.
    x : (T, I) array
        The self-test's inputs, and
    y : (T, K) or (K,) array
        its outputs.
    error, tolerance : float
    features : (1, F) array or None
        Those of the self-test's sequence.
    details : dict
        Of the report.
    """

    data: str
    constant_bytes: int
    x: np.ndarray
    y: np.ndarray
    error: float
    tolerance: float
    settings: list[str] = field(default_factory=list)
    input_ranges: np.ndarray | None = None
    features: np.ndarray | None = None
    details: dict[str, object] = field(default_factory=dict)


def largest_error(model, y):
    """By what an error of the outputs y may exceed that of a number about 1."""
    largest = max(1.0, float(np.abs(y).max()))
    if model.output == "exponential":  # as large as the error of ln y, times y
        largest *= max(1.0, math.log(largest))
    return largest


class Format:
    """A number format.

    Attributes
    ----------
    name : str
        As `export_c` takes it.
    real : Number
        Of inputs and outputs.
    signal : Number
        What layers hand to each other.
    wide : Number
        Of cell states and pre-activations.
    total : Number
        Of sums over time.
    runtime : tuple of str
        Files of the runtime.
    note : str
        What the header says about the numbers.
    needs_data : bool
        Whether the numbers are fitted to typical inputs.
    converts_inputs : bool
        Whether inputs become signals before the first layer.
    """

    needs_data = False
    converts_inputs = False

    def export(self, model, net, sequences, features):
        """The `Model` of a `Network` in these numbers, an `Exported`.

        `sequences` are typical inputs, a list of (T_b, I) float64 arrays; `features` are some (n,
        F), or None where initial states are no function of any.
        """
        raise NotImplementedError

"""`Penalty`: what large parameters cost, l1 and l2, the same for all weights or block by block."""

from collections.abc import Mapping

import numpy as np

from ._checks import as_number, describe
from ._fixed import Fixed


class Penalty(Fixed):
    """The penalty Σ (l1 |w| + l2/2 w²) of some parameters w of a network.

    Parameters
    ----------
    parameters : Parameters
    l2, l1 : float or mapping of str to float
        Strengths >= 0. A number counts the weights: the blocks W, R, p and Q. A mapping counts the
        blocks that it names, biases and initial states too; a name may be a pattern, such as
        ``"*.R"``, and of several for one block the last one holds.

    Attributes
    ----------
    strengths : dict
        l2 and l1 as given, of mappings copies.
    """

    _instead = "make another one"

    def __init__(self, parameters, l2, l1):
        self._parameters = parameters
        self.strengths = {name: _as_given(x, name) for name, x in (("l2", l2), ("l1", l1))}
        self._squares = _stretches(self.strengths["l2"], "l2", parameters)
        self._sizes = _stretches(self.strengths["l1"], "l1", parameters)

    def as_given(self, name):
        """The strength or the strengths of that name, of a mapping a fresh dict."""
        given = self.strengths[name]
        return given if not isinstance(given, dict) else given.copy()

    def __call__(self, theta, g=None, start=0.0):
        """`start` plus the penalty at `theta`; its gradient is added to g, if given."""
        parameters = self._parameters
        if not (g is None or (isinstance(g, np.ndarray) and g.shape == parameters.flat.shape)):
            raise TypeError(
                f"g: expected an array of shape {parameters.flat.shape}, got {describe(g)}"
            )
        if not (self._squares or self._sizes):
            return start
        theta = parameters.flat if theta is None else parameters.check(theta, "theta")
        number = parameters.dtype.type
        with np.errstate(over="ignore"):
            for stretch, l2 in self._squares:
                w = theta[stretch]
                start += 0.5 * l2 * float(np.sum(w * w, dtype=np.float64))
                if g is not None:
                    g[stretch] += number(l2) * w
            for stretch, l1 in self._sizes:
                w = theta[stretch]
                start += l1 * float(np.sum(np.abs(w), dtype=np.float64))
                if g is not None:
                    g[stretch] += number(l1) * np.sign(w)
        return start

    @property
    def is_of_sizes(self):
        """Whether l1 is in it."""
        return bool(self._sizes)

    def curvature(self):
        """The second derivative by each parameter, (P,) float64; that of l1 is 0."""
        diagonal = np.zeros(self._parameters.table.size)
        for stretch, l2 in self._squares:
            diagonal[stretch] = l2
        return diagonal


def _as_given(value, name):
    if not isinstance(value, Mapping):
        return as_number(value, name, 0)
    return {pattern: as_number(x, f"{name}[{pattern!r}]", 0) for pattern, x in value.items()}


def _stretches(given, name, parameters):
    """Pairs of a slice of the vector and its strength, in the vector's order, none of them 0."""
    if not isinstance(given, dict):
        return [(stretch, given) for stretch in parameters.weight_slices] if given else []
    strengths, pairs = {}, []
    for pattern, strength in given.items():
        for block in parameters.table.matching(pattern, name):
            strengths[block.name] = strength
    for block in parameters.table:
        strength = strengths.get(block.name)
        if not strength:
            continue
        if pairs and pairs[-1][0].stop == block.offset and pairs[-1][1] == strength:
            pairs[-1] = slice(pairs[-1][0].start, block.slice.stop), strength
        else:
            pairs.append((block.slice, strength))
    return pairs

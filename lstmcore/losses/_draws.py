"""Draws of targets from outputs."""

import numpy as np

from .._checks import as_number

_LEAST_TEMPERATURE = 1e-6  # nothing below it can be told from 0, and float32 could not divide by it


def check_temperature(temperature):
    """A temperature as a float: 0, or not so small that it is best given as 0."""
    temperature = as_number(temperature, "temperature", 0)
    if 0 < temperature < _LEAST_TEMPERATURE:
        raise ValueError(
            f"temperature: expected 0, or a number >= {_LEAST_TEMPERATURE}, got {temperature}; 0 "
            "takes the likeliest at every step"
        )
    return temperature


def draw_classes(y, uniform, temperature, top_k):
    """A class for each row of probabilities y (B, K), by inversion of uniform numbers (B,).

    Each row may have a sum other than 1. All is as `CrossEntropy.sample` says, and checked; top_k
    may be None. `draw_class` of `_stream.pyx` is the twin, with the same bits at temperature 1.
    """
    weights = y.astype(np.float64)
    largest = weights.max(axis=1, keepdims=True)
    if not (weights.min(initial=0) >= 0 and 0 < largest.min(initial=1) <= largest.max(initial=1)):
        wrong = weights.min() if weights.min() < 0 else largest.min()
        raise ValueError(f"y: expected probabilities, of which one is above 0, got {wrong}")
    if temperature == 0:
        return weights.argmax(axis=1)
    if top_k is not None and top_k < weights.shape[1]:
        order = np.argsort(-weights, axis=1, kind="stable")
        np.put_along_axis(weights, order[:, top_k:], 0.0, axis=1)
    if temperature != 1:
        with np.errstate(divide="ignore"):
            weights = np.exp(np.log(weights / largest) / temperature)
    below = np.cumsum(weights, axis=1)
    totals = below[:, -1:]
    drawn = (below <= uniform[:, None] * totals).sum(axis=1)
    # where u times the total was rounded up to the total, the last class that has any probability
    return np.where(drawn < weights.shape[1], drawn, (below < totals).sum(axis=1))

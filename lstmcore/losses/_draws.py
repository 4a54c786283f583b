"""Draws of targets from outputs."""

import numpy as np


def draw_classes(y, uniform, temperature, top_k):
    """A class for each row of probabilities y (B, K), by inversion of uniform numbers (B,).

    Each row may have a sum other than 1. All is as `CrossEntropy.sample` says, and checked; top_k
    may be None.
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
    cumulative = np.cumsum(weights, axis=1)
    above = cumulative > (uniform * cumulative[:, -1])[:, None]
    last = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    return np.where(above.any(axis=1), above.argmax(axis=1), last)

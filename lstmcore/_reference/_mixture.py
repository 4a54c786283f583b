"""Mixture densities: the negative logarithm, and its derivative at the pre-activations."""

import numpy as np

from ._activations import logistic


def mixture(a, z, dimensions, correlation, end, floor):
    """Terms (N,) and deltas (N, K) of rows of pre-activations.

    Parameters
    ----------
    a : (N, K) array
        In groups of M columns, one for each component: the logits of the weights; the means of each
        dimension in turn; likewise s, of which the scales are ``floor + e^s``; c, of which the
        correlation is tanh(c), if there is one. With `end` there is a last column, its logit.
    z : (N, D) or (N, D + 1) array
    dimensions : int
        D.
    correlation, end : bool
    floor : float
    """
    N, D = len(a), dimensions
    ending = a[:, -1:] if end else np.zeros((N, 0))
    groups = 1 + 2 * D + correlation
    columns = a[:, : a.shape[1] - end].reshape(N, groups, (a.shape[1] - end) // groups)
    logits, means, s = columns[:, 0], columns[:, 1 : 1 + D], columns[:, 1 + D : 1 + 2 * D]
    scales = floor + np.exp(s)
    log_scales = np.logaddexp(np.log(floor), s) if floor else s
    y = (z[:, :D, None] - means) / scales
    log_density = -log_scales.sum(axis=1) - 0.5 * D * np.log(2 * np.pi)
    delta = np.zeros_like(columns)
    if correlation:
        c = columns[:, 5]
        u, v = (y[:, 0] + y[:, 1]) * np.exp(-c), (y[:, 0] - y[:, 1]) * np.exp(c)
        log_cosh = np.abs(c) + np.log1p(np.exp(-2 * np.abs(c))) - np.log(2)
        log_density += log_cosh - (y**2).sum(axis=1) / 4 - (u**2 + v**2) / 8
        delta[:, 5] = np.tanh(c) + (u**2 - v**2) / 4
        u, v = u * np.exp(-c), v * np.exp(c)
        slope = 0.5 * y + 0.25 * np.stack([u + v, u - v], axis=1)
    else:
        log_density -= 0.5 * (y**2).sum(axis=1)
        slope = y
    delta[:, 1 : 1 + D] = slope / scales
    delta[:, 1 + D : 1 + 2 * D] = (y * slope - 1) * np.exp(s - log_scales)

    logits = logits - logits.max(axis=1, keepdims=True)
    prior = np.logaddexp.reduce(logits, axis=1)
    each = np.maximum(logits + log_density, -np.finfo(float).max)
    likelihood = np.logaddexp.reduce(each, axis=1)
    part = np.exp(each - likelihood[:, None])
    delta = -part[:, None] * np.where(part[:, None] > 0, delta, 0)
    delta[:, 0] = np.exp(logits - prior[:, None]) - part
    terms = np.where(each.max(axis=1) > -np.finfo(float).max, prior - likelihood, np.inf)
    flag, size = z[:, D:], np.abs(ending)
    terms += (size * np.where(ending < 0, flag, 1 - flag) + np.log1p(np.exp(-size))).sum(axis=1)
    return terms, np.concatenate(
        [delta.reshape(N, a.shape[1] - end), logistic(ending) - flag], axis=1
    )

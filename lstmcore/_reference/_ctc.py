"""Connectionist temporal classification, as equations (C.1) to (C.9) have it, in logarithms."""

import numpy as np


def ctc_scratch_size(T, U, K, n_threads):
    """Numbers of scratch memory that `ctc_rows` takes: none here."""
    return 0


def ctc_rows(a, first, labels, begin, weights, blank, values, scratch, n_threads):
    """-ln of the probability of each sequence's labels; delta takes the place of a.

    Parameters
    ----------
    a : (N, K) array
        Pre-activations of softmax outputs; overwritten with the derivative of the sum of the values
        times their weights.
    first : (B + 1,) intp array
        The first row of each sequence, and N.
    labels : (M,) intp array
        Those of all sequences, one after the other.
    begin : (B + 1,) intp array
        Where the labels of each begin, and M.
    weights : (B,) float64 array
        A sequence of weight 0 has the value 0, whatever it holds.
    blank : int
    values : (B,) float64 array
        Overwritten. Infinite, with a derivative of 0, where no path has these labels.
    scratch : array
    n_threads : int
        Not used here, both.
    """
    for b, weight in enumerate(weights):
        rows = a[first[b] : first[b + 1]]
        values[b] = 0.0
        delta = np.zeros(rows.shape)
        if weight:
            values[b], delta = _sequence(rows.astype(float), labels[begin[b] : begin[b + 1]], blank)
        rows[...] = delta * weight


def _sequence(a, labels, blank):
    T, U = len(a), len(labels)
    a = a - a.max(axis=1, keepdims=True)
    ln_y = a - np.log(np.exp(a).sum(axis=1, keepdims=True))
    places = np.full(2 * U + 1, blank)
    places[1::2] = labels
    skips = np.zeros(2 * U + 1, bool)  # from two places before
    skips[3::2] = labels[1:] != labels[:-1]
    ln_place = ln_y[:, places]

    # (C.3), (C.4)
    before = np.full((T + 1, 2 * U + 1), -np.inf)
    before[0, 0] = 0.0
    for t in range(T):
        before[t + 1] = _arrive(before[t], skips) + ln_place[t]
    ln_all = _arrive(before[T], skips)[-1]
    if ln_all == -np.inf:
        return np.inf, np.zeros(a.shape)

    # (C.5) to (C.9)
    after = np.full(2 * U + 1, -np.inf)
    after[-1] = 0.0
    delta = np.exp(ln_y)
    skips_back = np.zeros(2 * U + 1, bool)
    skips_back[2:] = skips[::-1][:-2]
    for t in range(T - 1, -1, -1):
        arrived = _arrive(after[::-1], skips_back)[::-1]
        np.subtract.at(delta[t], places, np.exp(before[t + 1] + arrived - ln_all))
        after = arrived + ln_place[t]
    return max(-ln_all, 0.0), delta


def _arrive(before, skips):
    """ln of the sums over the places that lead to each: itself, the one before, perhaps two."""
    one = np.concatenate([[-np.inf], before[:-1]])
    two = np.where(skips, np.concatenate([[-np.inf, -np.inf], before])[: len(before)], -np.inf)
    return np.logaddexp(np.logaddexp(before, one), two)

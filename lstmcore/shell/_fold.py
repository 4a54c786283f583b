"""Scaling as weights: a network of raw numbers in the place of one between two `Scaler`.

W (x - m) / s + b = (W / s) x + (b - (W / s) m), and the last layer alike; so it is exact but for
rounding.
"""

import numpy as np


def fold_inputs(net, scaler):
    """Let the first layer take inputs as they were before `scaler`; changes the parameters."""
    layer = net.layers[0]
    for weights in net.weights[0]:
        W, b = _matrix_and_bias(layer, weights)
        W /= scaler.scale_
        b -= W @ scaler.mean_


def fold_outputs(net, scaler):
    """Let the last layer, `Dense` with identity outputs, give what `scaler` would give back."""
    (weights,) = net.weights[-1]
    W, b = _matrix_and_bias(net.layers[-1], weights)
    W *= scaler.scale_[:, np.newaxis]
    b *= scaler.scale_
    b += scaler.mean_


def _matrix_and_bias(layer, weights):
    blocks = dict(zip(layer.cell.block_names, weights.blocks, strict=True))
    return blocks["W"], blocks["b"]

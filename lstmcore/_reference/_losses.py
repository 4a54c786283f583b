"""The losses: the value and its derivative at the pre-activations, a row of outputs at a time."""

import numpy as np

from ._activations import logistic
from ._mixture import mixture


def loss_rows(loss, a, targets, weights, scale, n_threads, form=None):
    """The weighted sum of a loss over rows, computed in float64; delta takes the place of a.

    Parameters
    ----------
    loss : {0, 1, 2, 3, 4}
        Squared error, cross entropy, binary cross entropy, Poisson, mixture.
    a : (N, K) array
        Pre-activations; overwritten with the derivative of the value.
    targets : (N, K) array or, of cross entropy, (N,) intp array
        Targets of a's dtype, or labels. Those of a mixture are as many as `form` says.
    weights : (N,) float64 array, (N, K) but for cross entropy and mixture, or None
        None is ones. What has weight 0, a row or an output, counts nothing, whatever it holds.
    scale : float
        What multiplies the weights.
    n_threads : int
        Not used here.
    form : tuple, optional
        Of a mixture: dimensions, correlation, end, floor of the scales.

    Returns
    -------
    float
    """
    weights = np.full(len(a), scale) if weights is None else weights * scale
    if weights.ndim == 2:  # each output's part is a term of its own
        a, targets, weights = a.reshape(-1, 1), targets.reshape(-1, 1), weights.ravel()
    scored = weights != 0
    if targets.ndim == 1:
        targets = np.eye(a.shape[1])[targets]
    with np.errstate(over="ignore", invalid="ignore"):
        terms, delta = _LOSSES[loss](
            a[scored].astype(float), targets[scored].astype(float), *(form or ())
        )
        a[...] = 0
        a[scored] = delta * weights[scored, None]
        return float(terms @ weights[scored])


def _squared_error(a, z):
    return 0.5 * ((a - z) ** 2).sum(axis=1), a - z


def _cross_entropy(a, z):
    a = a - a.max(axis=1, keepdims=True)
    e = np.exp(a)
    total = e.sum(axis=1, keepdims=True)
    products = np.multiply(z, a, out=np.zeros_like(a), where=z != 0)  # 0 ln 0 = 0
    return np.log(total[:, 0]) - products.sum(axis=1), e / total - z


def _binary_cross_entropy(a, z):
    size = np.abs(a)  # softplus(a) - a z, in terms that are all positive
    terms = size * np.where(a < 0, z, 1 - z) + np.log1p(np.exp(-size))
    return terms.sum(axis=1), logistic(a) - z


def _poisson(a, z):
    y = np.exp(a)
    products = np.multiply(z, a, out=np.zeros_like(a), where=z != 0)  # 0 ln 0 = 0
    return np.where(np.isinf(y), y, y - products).sum(axis=1), y - z


_LOSSES = (_squared_error, _cross_entropy, _binary_cross_entropy, _poisson, mixture)

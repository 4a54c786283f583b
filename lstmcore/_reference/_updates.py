"""The steps of optimizers, in NumPy: the formulas and their sources are in docs/equations.md.

Operations have the order of the compiled ones and numbers are rounded to the dtype first, so that
results have the same bits, but where numbers below the normal ones are kept here and 0 there.
"""

import numpy as np


def adam_update(theta, g, m, v, scale, rate, beta1, beta2, unbias, eps):
    """theta -= rate m / (unbias sqrt(v) + eps); theta, m and v are overwritten."""
    number = theta.dtype.type
    x = number(scale) * g
    m[...] = number(beta1) * m + number(1.0 - beta1) * x
    v[...] = number(beta2) * v + number(1.0 - beta2) * (x * x)
    theta[...] = theta - number(rate) * m / (number(unbias) * np.sqrt(v) + number(eps))


def sgd_update(theta, g, velocity, scale, momentum, nesterov):
    """theta += velocity, or what Nesterov has; theta and velocity are overwritten."""
    number = theta.dtype.type
    step = number(scale) * g
    velocity[...] = number(momentum) * velocity - step
    theta[...] = theta + (number(momentum) * velocity - step if nesterov else velocity)


def rmsprop_update(theta, g, v, scale, rate, rho, eps):
    """theta -= rate g / (sqrt(v) + eps); theta and v are overwritten."""
    number = theta.dtype.type
    x = number(scale) * g
    v[...] = number(rho) * v + number(1.0 - rho) * (x * x)
    theta[...] = theta - number(rate) * x / (np.sqrt(v) + number(eps))


def rprop_update(theta, g, size, step, rose, eta_plus, eta_minus, step_min, step_max):
    """theta += step, after iRprop+; theta, size and step are overwritten."""
    slope = step * np.sign(g)  # of the last step
    goes_on, has_passed = slope < 0, slope > 0
    grown = np.minimum(eta_plus * size, step_max)
    shrunk = np.maximum(eta_minus * size, step_min)
    size[...] = np.where(goes_on, grown, np.where(has_passed, shrunk, size))
    back = -step if rose else 0.0
    step[...] = np.where(has_passed, 0.0, -np.sign(g) * size)
    theta[...] = theta + np.where(has_passed, back, step)


def sum_of_squares(x):
    """The sum of the squares of a contiguous array's numbers, in float64, in one fixed order."""
    x = x.astype(np.float64).ravel()
    rows = np.zeros((-(-x.size // 16), 16))
    rows.reshape(-1)[: x.size] = x * x
    total = 0.0
    for column in rows.T:
        total += np.add.accumulate(column)[-1] if column.size else 0.0
    return float(total)

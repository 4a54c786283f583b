"""The activations of the cells and of the output units, and their derivatives."""

import numpy as np


def apply_activation(code, alpha, beta, x, y):
    """y[...] = activation(x). Code 14 is exp: the softmax uses it, no cell does."""
    y[...] = activate(code, alpha, beta, x)


def activate(code, alpha, beta, x):
    """The activation of this code at x."""
    match code:
        case 0:  # identity
            return x
        case 1:  # logistic
            return logistic(x)
        case 2:  # tanh
            return np.tanh(x)
        case 3:  # relu
            return np.maximum(x, 0)
        case 4:  # logistic_1: 2 logistic(x) - 1, without its cancellation at 0
            return np.tanh(x / 2)
        case 5:  # logistic_2: 4 logistic(x) - 2
            return 2 * np.tanh(x / 2)
        case 6:  # softsign
            return x / (1 + np.abs(x))
        case 7:  # softplus
            return np.logaddexp(0, x, dtype=x.dtype)
        case 8:  # elu
            return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
        case 9:  # leaky_relu
            return np.where(x > 0, x, alpha * x)
        case 10:  # hard_sigmoid
            return np.clip(alpha * x + beta, 0, 1)
        case 11:  # scaled_tanh
            return alpha * np.tanh(beta * x)
        case 12:  # thresholded_relu
            return np.where(x <= alpha, x.dtype.type(0), x)
        case 13:  # affine
            return alpha * x + beta
        case 14:  # exp
            return np.exp(x)
    raise ValueError(f"code must be an activation code from 0 to 14, got {code!r}")


def logistic(x):
    """1 / (1 + exp(-x)), elementwise."""
    e = np.exp(-np.abs(x))  # of the negative side only, which cannot overflow
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def derivative(code, alpha, beta, y):
    """The activation's derivative as a function of its value y."""
    match code:
        case 0:  # identity
            return np.ones_like(y)
        case 1:  # logistic
            return y * (1 - y)
        case 2:  # tanh
            return 1 - y * y
        case 3:  # relu
            return (y > 0).astype(y.dtype)
        case 4:  # logistic_1
            return (1 - y * y) / 2
        case 5:  # logistic_2
            return 1 - y * y / 4
        case 6:  # softsign
            return (1 - np.abs(y)) ** 2
        case 7:  # softplus
            return -np.expm1(-y)
        case 8:  # elu
            return np.where(y > 0, y.dtype.type(1), y + alpha)
        case 9:  # leaky_relu
            return np.where(y > 0, y.dtype.type(1), y.dtype.type(alpha))
        case 10:  # hard_sigmoid
            return np.where((y > 0) & (y < 1), y.dtype.type(alpha), y.dtype.type(0))
        case 11:  # scaled_tanh
            return beta * (alpha - y * y / alpha)
        case 12:  # thresholded_relu
            return (y > 0).astype(y.dtype)
        case 13:  # affine
            return np.full_like(y, alpha)
    raise ValueError(f"code must be an activation code from 0 to 13, got {code!r}")


def parameters(cell, role):
    """(code, alpha, beta) of a cell's "gate", "cell" or "output" activation."""
    return cell[f"act_{role}"], cell[f"alpha_{role}"], cell[f"beta_{role}"]

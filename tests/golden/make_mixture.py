"""Make mixture.npz: mixture densities and their derivatives, by torch.distributions and autograd.

    python tests/golden/make_mixture.py

A key is "case/array": outputs a, targets z, weights, and of their weighted negative log-likelihood
the value and, by a, the derivative, all in float64.
"""

from pathlib import Path

import numpy as np
import torch

# name -> (components, dimensions, correlation, end, floor of the scales)
CASES = {
    "one Gaussian": (1, 1, False, False, 0.0),
    "one dimension": (5, 1, False, False, 0.0),
    "many dimensions": (3, 4, False, False, 0.0),
    "correlated": (4, 2, True, False, 0.0),
    "Graves 2013": (20, 2, True, True, 0.0),
    "a floor": (7, 2, True, True, 0.3),
    "many components": (70, 1, False, True, 0.1),
}


def likelihood(a, z, components, dimensions, correlation, end, floor):
    """ln p of each row."""
    M, D, distributions = components, dimensions, torch.distributions
    columns = a[:, : a.shape[1] - end].reshape(len(a), -1, M).transpose(1, 2)
    means, scales = columns[..., 1 : 1 + D], floor + columns[..., 1 + D : 1 + 2 * D].exp()
    if correlation:
        rho = columns[..., 5].tanh()
        zero, rest = torch.zeros_like(rho), 1 / columns[..., 5].cosh()
        rows = [scales[..., 0], zero, scales[..., 1] * rho, scales[..., 1] * rest]
        root = torch.stack(rows, dim=-1).reshape(len(a), M, 2, 2)
        each = distributions.MultivariateNormal(means, scale_tril=root)
    else:
        each = distributions.Independent(distributions.Normal(means, scales), 1)
    shares = distributions.Categorical(logits=columns[..., 0])
    result = distributions.MixtureSameFamily(shares, each).log_prob(z[:, :D])
    if end:
        result = result + distributions.Bernoulli(logits=a[:, -1]).log_prob(z[:, -1])
    return result


def make_case(name, seed=0):
    """The arrays of a case, {array: value}."""
    M, D, correlation, end, _ = CASES[name]
    rng = np.random.default_rng(seed)
    a = rng.normal(scale=1.5, size=(11, M * (1 + 2 * D + correlation) + end))
    z = rng.normal(scale=2.0, size=(11, D + end))
    if end:
        z[:, -1] = rng.random(11) < 0.4
    weights = rng.random(11)
    outputs = torch.tensor(a, requires_grad=True)
    value = -torch.tensor(weights) @ likelihood(outputs, torch.tensor(z), *CASES[name])
    value.backward()
    arrays = {"a": a, "z": z, "weights": weights, "value": value.item()}
    return arrays | {"delta": outputs.grad.numpy()}


if __name__ == "__main__":
    arrays = {
        f"{name}/{array}": value for name in CASES for array, value in make_case(name).items()
    }
    np.savez_compressed(Path(__file__).with_name("mixture.npz"), **arrays)

"""The loss of mixture densities and its gradient, against PyTorch's and against the recurrence.

    python bench/mixture.py

Pre-activations in, the loss and its derivative out, on one thread; PyTorch's is the same density
written with logsumexp, and what autograd makes of it. Results are checked first. All take turns, in
processor time. The recurrence is an LSTM of 3 inputs and 64 units with the dense layer that these
outputs need, forward and BPTT, without a loss of its own.
"""

import argparse
import math
import time

import numpy as np
import torch

import lstmcore as lc
from lstmcore.losses import Mixture, TermTargets

# components, dimensions, correlation, end
FORMS = ((5, 1, False, False), (10, 2, True, True), (20, 2, True, True), (20, 4, False, False))
B, T, I, H = 32, 100, 3, 64


def by_torch(a, z, M, D, correlation, end):
    """The mean over the rows, and its derivative."""
    columns = a[:, : a.shape[1] - end].reshape(len(a), -1, M)
    s = columns[:, 1 + D : 1 + 2 * D]
    y = (z[:, :D, None] - columns[:, 1 : 1 + D]) * torch.exp(-s)
    logs = torch.log_softmax(columns[:, 0], 1) - s.sum(1) - 0.5 * D * math.log(2 * math.pi)
    if correlation:
        rho = torch.tanh(columns[:, 5])
        rest = 1 - rho**2
        square = ((y**2).sum(1) - 2 * rho * y[:, 0] * y[:, 1]) / rest
        logs = logs - 0.5 * (square + torch.log(rest))
    else:
        logs = logs - 0.5 * (y**2).sum(1)
    loss = -torch.logsumexp(logs, 1).mean()
    if end:
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(a[:, -1], z[:, -1])
    return loss


def problem(form, dtype):
    M, D, correlation, end = form
    rng = np.random.default_rng(0)
    a = rng.normal(scale=0.5, size=(B * T, M * (1 + 2 * D + correlation) + end)).astype(dtype)
    z = rng.normal(size=(B * T, D + end)).astype(dtype)
    if end:
        z[:, -1] = rng.random(B * T) < 0.1
    return a, z


def runs_of(form, dtype):
    """What takes turns, by name."""
    a, z = problem(form, dtype)
    loss, targets, weights = Mixture(*form), TermTargets(z), np.full(len(a), 1 / len(a))
    outputs, theirs = torch.tensor(a, requires_grad=True), torch.tensor(z)

    def mine():
        return loss.value_and_delta(a.copy(), targets, weights)

    def others():
        outputs.grad = None
        value = by_torch(outputs, theirs, *form)
        value.backward()
        return value.item(), outputs.grad.numpy()

    net = lc.Network([lc.LSTM(I, H), lc.Dense(H, a.shape[1])], dtype=dtype, seed=0)
    X = np.random.default_rng(1).normal(size=(B, T, I)).astype(dtype)
    dy = a.reshape(B, T, -1)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(mine()[0], others()[0], rtol=tolerance)
    np.testing.assert_allclose(mine()[1], others()[1], atol=tolerance / len(a))
    return {"lstmcore": mine, "torch": others, "recurrence": lambda: net.vjp(X, dy, n_threads=1)}


def nanoseconds(runs, turns):
    """The least processor time of each, for a row."""
    least = dict.fromkeys(runs, np.inf)
    for _ in range(turns):
        for name, run in runs.items():
            start = time.process_time()
            run()
            least[name] = min(least[name], time.process_time() - start)
    return {name: 1e9 * seconds / (B * T) for name, seconds in least.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    print(f"nanoseconds a row, of {B} sequences of {T} steps; share: of the recurrence")
    print(f"{'form':<28} {'dtype':<8} {'lstmcore':>9} {'torch':>9} {'recurrence':>11} {'share':>6}")
    for form in FORMS:
        for dtype in ("float32", "float64"):
            found = nanoseconds(runs_of(form, dtype), turns)
            share = found["lstmcore"] / found["recurrence"]
            name = f"M {form[0]}, D {form[1]}" + ", correlated, end" * form[2]
            figures = (
                f"{found['lstmcore']:>9.0f} {found['torch']:>9.0f} {found['recurrence']:>11.0f}"
            )
            print(f"{name:<28} {dtype:<8} {figures} {share:>6.1%}")


if __name__ == "__main__":
    main()

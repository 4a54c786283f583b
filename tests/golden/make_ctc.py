"""Make ctc.npz: CTC losses and their gradients by PyTorch's ctc_loss, in float64.

    python tests/golden/make_ctc.py

A key is "case/array". The arrays of a case are a (B, T, K), what the softmax is applied to, the
lengths (B,), labels (B, U) with -1 after the last one, the blank, and PyTorch's: values (B,), and
the derivative of their sum by a.
"""

from pathlib import Path

import numpy as np
import torch

# name -> (sequences, steps, labels, outputs, blank, scale of a)
CASES = {
    "one label": (3, 4, 1, 2, 0, 1.0),
    "few steps": (5, 7, 3, 4, 0, 1.0),
    "two classes, much repeated": (4, 20, 9, 3, 0, 2.0),
    "blank in the middle": (3, 15, 5, 6, 3, 1.0),
    "blank last": (3, 15, 8, 9, 8, 1.0),
    "far apart": (4, 30, 10, 5, 0, 100.0),
    "long": (1, 200, 40, 12, 0, 1.0),
    "wide": (1, 25, 6, 70, 0, 3.0),
}


def make_case(name, seed=0):
    """The arrays of a case, {array: value}, from random outputs and labels."""
    B, T, U, K, blank, scale = CASES[name]
    rng = np.random.default_rng([seed, list(CASES).index(name)])
    lengths = rng.integers(2 * U, T, B, endpoint=True) if 2 * U < T else np.full(B, T)
    lengths[0] = T
    counts = rng.integers(0, U, B, endpoint=True)
    counts[0] = U
    labels = np.full((B, U), -1)
    for row, n in zip(labels, counts, strict=True):
        row[:n] = np.delete(np.arange(K), blank)[rng.integers(0, K - 1, n)]
    a = torch.tensor(scale * rng.normal(size=(B, T, K)), requires_grad=True)
    values = torch.nn.functional.ctc_loss(
        a.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.where(labels < 0, (blank + 1) % K, labels)),
        torch.tensor(lengths),
        torch.tensor(counts),
        blank=blank,
        reduction="none",
    )
    values.sum().backward()
    arrays = {"a": a.detach().numpy(), "lengths": lengths, "labels": labels, "blank": blank}
    return arrays | {"values": values.detach().numpy(), "gradient": a.grad.numpy()}


if __name__ == "__main__":
    arrays = {f"{name}/{key}": value for name in CASES for key, value in make_case(name).items()}
    np.savez_compressed(Path(__file__).with_name("ctc.npz"), **arrays)

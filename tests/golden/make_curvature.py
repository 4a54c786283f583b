"""Make curvature.npz: J v, G v and H v of small networks, by PyTorch's autograd in float64.

    python tests/golden/make_curvature.py

A key is "case/array". The arrays of a case are x, y and lengths, theta and v in the layout of
`Network.params`, the products, and what the network is: "what" has its kind of cell, its loss and
its readout, "sizes" its units and directions. The loss is the mean over the terms. H v is the
gradient of gᵀ v. J v is the gradient in u of (Jᵀ u)ᵀ v. G v is Jᵀ H_L J v, with H_L J v the
gradient in the outputs of δᵀ J v. PyTorch's second bias counts only in the n of a GRU; elsewhere it
is zero and stays so.
"""

from pathlib import Path

import numpy as np
import torch

# name -> (kind, inputs, units, directions, outputs, loss, readout, lengths)
CASES = {
    "lstm, squared error": ("LSTM", 2, 5, 1, 2, "squared_error", "all", [6, 3, 1]),
    "lstm, both directions, classes": ("LSTM", 2, 3, 2, 3, "cross_entropy", "all", [4, 5]),
    "lstm, labels, last": ("LSTM", 3, 7, 1, 2, "binary_cross_entropy", "last", [5, 2, 4]),
    "gru, classes, last": ("GRU", 2, 5, 1, 3, "cross_entropy", "last", [6, 1, 3]),
    "rnn, squared error": ("RNN", 2, 5, 1, 1, "squared_error", "all", [7]),
}


def loss_of(loss, a, y):
    """The mean over the terms, rows of a."""
    functional = torch.nn.functional
    if loss == "squared_error":
        return 0.5 * ((a - y) ** 2).sum() / len(a)
    if loss == "cross_entropy":
        return functional.cross_entropy(a, y)
    return functional.binary_cross_entropy_with_logits(a, y, reduction="sum") / len(a)


def make_case(name, seed=0):
    """The arrays of a case, {array: value}, from random weights and data."""
    kind, inputs, units, directions, outputs, loss, readout, lengths = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    options = {"bidirectional": directions == 2, "batch_first": True, "dtype": torch.float64}
    layer = getattr(torch.nn, kind)(inputs, units, **options)
    head = torch.nn.Linear(directions * units, outputs, dtype=torch.float64)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    trained, v, counts = [], [], []
    with torch.no_grad():
        for key, parameter in [*layer.named_parameters(), *head.named_parameters()]:
            rows = slice(None)
            if "bias_hh" in key:
                parameter.zero_()
                if kind != "GRU":
                    continue
                rows = slice(2 * units, None)
            parameter[rows] = 0.7 * normal(*parameter[rows].shape)
            direction = torch.zeros_like(parameter)
            direction[rows] = normal(*parameter[rows].shape)
            trained.append(parameter)
            v.append(direction)
            counts.append(rows)
    B, T = len(lengths), max(lengths)
    x = normal(B, T, inputs)
    rows = []
    for b, length in enumerate(lengths):
        out, _ = layer(x[b : b + 1, :length])
        rows.append(head(out)[0] if readout == "all" else head(out)[0, -1:])
    a = torch.cat(rows)
    if loss == "cross_entropy":
        y = torch.randint(outputs, (len(a),), generator=generator)
    elif loss == "squared_error":
        y = normal(*a.shape)
    else:
        y = (normal(*a.shape) > 0).double()

    grad = torch.autograd.grad
    g = grad(loss_of(loss, a, y), trained, create_graph=True)
    Hv = grad(sum((p * q).sum() for p, q in zip(g, v, strict=True)), trained, retain_graph=True)
    u = torch.zeros_like(a, requires_grad=True)
    Jtu = grad(a, trained, u, create_graph=True)
    (Jv,) = grad(sum((p * q).sum() for p, q in zip(Jtu, v, strict=True)), u, retain_graph=True)
    free = a.detach().requires_grad_()
    (delta,) = grad(loss_of(loss, free, y), free, create_graph=True)
    (HLJv,) = grad(delta, free, Jv)
    Gv = grad(a, trained, HLJv)

    def flat(blocks):
        return torch.cat(
            [block[rows].reshape(-1) for block, rows in zip(blocks, counts, strict=True)]
        )

    arrays = {"x": x, "y": y, "Jv": Jv}
    arrays |= {"theta": flat(trained), "v": flat(v), "Hv": flat(Hv), "Gv": flat(Gv)}
    arrays = {key: value.detach().numpy() for key, value in arrays.items()}
    of_network = {"what": np.array([kind, loss, readout]), "sizes": np.array([units, directions])}
    return arrays | {"lengths": np.array(lengths)} | of_network


if __name__ == "__main__":
    path = Path(__file__).with_name("curvature.npz")
    vectors = {f"{name}/{key}": value for name in CASES for key, value in make_case(name).items()}
    np.savez_compressed(path, made_with=f"PyTorch {torch.__version__}", **vectors)
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes")

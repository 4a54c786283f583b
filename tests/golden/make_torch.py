"""Make torch.npz: outputs and all gradients of LSTM, GRU and RNN, by PyTorch's autograd in float64.

    python tests/golden/make_torch.py

A key is "case/array". The arrays of a case are x, lengths, y; the blocks under the names that a
network gives them ("0.W", "1.backward.R", "0.h0", ...); the final states "0.hT", "0.cT"; the
gradient that arrives, "dy", "0.dhT", "0.dcT"; and the gradients "dx", "0.dW", ... of
L = sum(y dy) + sum(hT dhT) + sum(cT dcT). Both libraries have the gate orders i, f, g, o and
r, z, n. PyTorch's second bias only ever appears in a sum with the first, but for the n of a GRU:
there it is "0.bR". It is zero in the cells that have none.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# name -> (kind, inputs, units, layers, directions, lengths)
CASES = {
    "lstm": ("LSTM", 3, 4, 1, 1, [5, 5]),
    "lstm, unequal lengths": ("LSTM", 3, 5, 1, 1, [2, 7, 1, 4]),
    "lstm, more units than a vector holds": ("LSTM", 2, 17, 1, 1, [3, 1]),
    "lstm, one unit, one input": ("LSTM", 1, 1, 1, 1, [6]),
    "lstm, bidirectional, unequal lengths": ("LSTM", 3, 4, 1, 2, [2, 5, 3]),
    "lstm, stacked": ("LSTM", 3, 4, 2, 1, [4, 4]),
    "lstm, stacked, bidirectional, unequal lengths": ("LSTM", 3, 3, 2, 2, [2, 5, 1]),
    "gru": ("GRU", 3, 4, 1, 1, [5, 5]),
    "gru, unequal lengths": ("GRU", 3, 5, 1, 1, [2, 7, 1, 4]),
    "gru, more units than a vector holds": ("GRU", 2, 17, 1, 1, [3, 1]),
    "gru, one unit, one input": ("GRU", 1, 1, 1, 1, [6]),
    "gru, bidirectional, unequal lengths": ("GRU", 3, 4, 1, 2, [2, 5, 3]),
    "gru, stacked, bidirectional, unequal lengths": ("GRU", 3, 3, 2, 2, [2, 5, 1]),
    "rnn tanh, unequal lengths": ("tanh", 3, 5, 1, 1, [2, 6, 3]),
    "rnn relu": ("relu", 3, 5, 1, 1, [5, 5]),
    "rnn tanh, stacked, bidirectional, unequal lengths": ("tanh", 2, 3, 2, 2, [1, 4, 5]),
}


def make_case(name, seed=0):
    """The arrays of a case, {array: value}, from random weights and data."""
    kind, inputs, units, n_layers, directions, lengths = CASES[name]
    B, T = len(lengths), max(lengths)
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    options = {"num_layers": n_layers, "bidirectional": directions == 2, "batch_first": True}
    if kind in ("LSTM", "GRU"):
        net = getattr(torch.nn, kind)(inputs, units, dtype=torch.float64, **options)
    else:
        net = torch.nn.RNN(inputs, units, nonlinearity=kind, dtype=torch.float64, **options)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            has_no_second_bias = kind != "GRU" and "bias_hh" in key
            parameter.copy_(torch.zeros(()) if has_no_second_bias else uniform(*parameter.shape))
    n_states = 2 if kind == "LSTM" else 1
    initial = [uniform(n_layers * directions, B, units).requires_grad_() for _ in range(n_states)]
    x = uniform(B, T, inputs)
    for b, length in enumerate(lengths):
        x[b, length:] = 0
    x.requires_grad_()

    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out, final = net(packed, tuple(initial) if kind == "LSTM" else initial[0])
    final = final if kind == "LSTM" else (final,)
    y, _ = pad_packed_sequence(out, batch_first=True)
    dy, dfinal = uniform(*y.shape), [uniform(*state.shape) for state in final]
    loss = (y * dy).sum() + sum((s * ds).sum() for s, ds in zip(final, dfinal, strict=True))
    loss.backward()

    arrays = {"lengths": torch.tensor(lengths), "x": x, "y": y, "dy": dy, "dx": x.grad}
    for k in range(n_layers * directions):
        layer, backward = divmod(k, directions)
        prefix = f"{layer}." if directions == 1 else f"{layer}.{('forward', 'backward')[backward]}."
        suffix = f"_l{layer}" + "_reverse" * backward
        for block, weight in (("W", "weight_ih"), ("R", "weight_hh"), ("b", "bias_ih")):
            parameter = getattr(net, weight + suffix)
            arrays[prefix + block], arrays[f"{prefix}d{block}"] = parameter, parameter.grad
        if kind == "GRU":
            second, n_rows = getattr(net, "bias_hh" + suffix), slice(2 * units, 3 * units)
            arrays[f"{prefix}bR"], arrays[f"{prefix}dbR"] = second[n_rows], second.grad[n_rows]
            arrays[f"{prefix}b"] = arrays[f"{prefix}b"].detach().clone()
            arrays[f"{prefix}b"][: 2 * units] += second[: 2 * units].detach()
        for state, start, end, dend in zip("hc", initial, final, dfinal, strict=False):
            arrays[f"{prefix}{state}0"], arrays[f"{prefix}d{state}0"] = start[k], start.grad[k]
            arrays[f"{prefix}{state}T"], arrays[f"{prefix}d{state}T"] = end[k], dend[k]
    return {key: value.detach().numpy() for key, value in arrays.items()}


if __name__ == "__main__":
    path = Path(__file__).with_name("torch.npz")
    vectors = {f"{name}/{key}": value for name in CASES for key, value in make_case(name).items()}
    np.savez_compressed(path, made_with=f"PyTorch {torch.__version__}", **vectors)
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes")

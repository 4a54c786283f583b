"""The networks of the comparisons in PyTorch: LSTM layers over padded sequences, a linear layer.

Padded, because packed sequences are slower still; a layer that reads backward is a layer of its own
over sequences that have been reversed, for the same reason.
"""

from dataclasses import dataclass

import numpy as np
import torch

torch.set_num_threads(1)


@dataclass(frozen=True)
class Batch:
    """Padded inputs (B, T, I), targets (B, T, ...), the steps that are there, and their mirror."""

    x: torch.Tensor
    y: torch.Tensor
    there: torch.Tensor  # (B, T) of bool
    mirror: torch.Tensor  # (B, T): the step that a reader in reverse is at


def batch_of(X, Y, dtype):
    lengths = np.array([len(x) for x in X])
    steps = np.arange(lengths.max())
    there = steps < lengths[:, None]
    mirror = np.where(there, lengths[:, None] - 1 - steps, steps)

    def padded(arrays):
        arrays = [torch.as_tensor(np.asarray(a)) for a in arrays]
        values = torch.nn.utils.rnn.pad_sequence(arrays, batch_first=True)
        return values.to(dtype) if values.is_floating_point() else values

    return Batch(padded(X), padded(Y), torch.from_numpy(there), torch.from_numpy(mirror))


class Peer:
    """One LSTM layer and a linear one, which start as those of lstmcore do.

    Parameters
    ----------
    inputs, units, outputs : int
    bidirectional : bool
    l2 : float
        As `lstmcore.Objective` takes it.
    binary : bool
        Whether the outputs are independent labels, whose losses are added up; else classes.
    """

    def __init__(self, inputs, units, outputs, *, bidirectional, l2, binary, dtype, seed):
        torch.manual_seed(seed)
        directions = 2 if bidirectional else 1
        make = torch.nn.LSTM
        self.lstms = [make(inputs, units, batch_first=True, dtype=dtype) for _ in range(directions)]
        self.linear = torch.nn.Linear(directions * units, outputs, dtype=dtype)
        self.l2, self.dtype = l2, dtype
        self.binary = binary
        for lstm in self.lstms:
            begin_lstm(lstm)
        begin_linear(self.linear)
        parts = (*self.lstms, self.linear)
        self.parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        self.weights = [p for p in self.parameters if p.ndim == 2]

    def logits(self, batch):
        """(N, K), of the steps that are there."""
        outputs = [self.lstms[0](batch.x)[0]]
        if len(self.lstms) == 2:
            backward = self.lstms[1](self._mirrored(batch.x, batch.mirror))[0]
            outputs.append(self._mirrored(backward, batch.mirror))
        return self.linear(torch.cat(outputs, dim=2)[batch.there])

    @staticmethod
    def _mirrored(values, mirror):
        return torch.gather(values, 1, mirror[:, :, None].expand(-1, -1, values.shape[2]))

    def loss(self, batch):
        logits, targets = self.logits(batch), batch.y[batch.there]
        losses = torch.nn.functional
        if self.binary:
            total = losses.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            return total / len(logits)
        return losses.cross_entropy(logits, targets)

    def objective(self, batch):
        loss = self.loss(batch)
        if self.l2:
            loss = loss + 0.5 * self.l2 * sum((w * w).sum() for w in self.weights)
        return loss

    @torch.no_grad()
    def value(self, batch):
        return self.loss(batch).item()

    def step(self, optimizer, batch, *, sigma=0.0, clip_norm=None, generator=None):
        """A step of a first-order method, the gradient taken where noise leads."""
        noise = []
        if sigma:
            noise = [
                torch.randn(p.shape, dtype=p.dtype, generator=generator).mul_(sigma)
                for p in self.parameters
            ]
            torch._foreach_add_([p.data for p in self.parameters], noise)
        optimizer.zero_grad()
        loss = self.objective(batch)
        loss.backward()
        if sigma:
            torch._foreach_sub_([p.data for p in self.parameters], noise)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        optimizer.step()
        return loss.item()

    def vector(self):
        return torch.nn.utils.parameters_to_vector(self.parameters).detach().numpy().copy()

    def at(self, theta):
        """The parameters written from a flat vector."""
        vector = torch.as_tensor(np.asarray(theta), dtype=self.dtype)
        torch.nn.utils.vector_to_parameters(vector, self.parameters)

    def value_and_gradient(self, theta, batch):
        """What SciPy asks for."""
        self.at(theta)
        f = self.objective(batch)
        gradient = torch.autograd.grad(f, self.parameters)
        return f.item(), torch.cat([g.flatten() for g in gradient]).numpy().astype(float)


@torch.no_grad()
def begin_lstm(lstm):
    """Glorot's W, orthogonal R gate by gate, a forget bias of 1 and all else zero.

    The second bias, which is redundant, stays zero.
    """
    for weight in lstm.weight_ih_l0.chunk(4):
        torch.nn.init.xavier_uniform_(weight)
    for weight in lstm.weight_hh_l0.chunk(4):
        torch.nn.init.orthogonal_(weight)
    lstm.bias_ih_l0.zero_().chunk(4)[1].fill_(1.0)
    lstm.bias_hh_l0.zero_().requires_grad_(False)


@torch.no_grad()
def begin_linear(linear):
    torch.nn.init.xavier_uniform_(linear.weight)
    linear.bias.zero_()


def warm_up():
    """A step of an optimizer: the first of a process imports the compiler, which takes long."""
    peer = Peer(2, 2, 2, bidirectional=False, l2=0.0, binary=False, dtype=torch.float32, seed=0)
    batch = batch_of([np.zeros((3, 2))], [np.zeros(3, int)], peer.dtype)
    peer.step(torch.optim.Adam(peer.parameters), batch)

"""What an evaluation is disturbed by on purpose: noise on inputs, dropout. Drawn once, it stays.

The formulas and their sources: docs/equations.md, noise and dropout.
"""

import numpy as np

from ._checks import as_number, describe
from ._dispatch import kernels
from ._fixed import Fixed


class Perturbation(Fixed):
    """One draw, for one batch of sequences. Made by `Perturbations.draw`.

    Attributes
    ----------
    net : Network
    size : int
        Sequences of the batch.
    input_noise : tuple or None
        The deviation of the noise, and its key.
    dropout : list or None
        As `Network.evaluate` takes it.
    columns : list
        Pairs of a recurrent block and what multiplies its columns, (H,).
    """

    _instead = "draw another one"

    def __init__(self, net, size, input_noise, dropout, columns):
        self.net = net
        self.size = size
        self.input_noise = input_noise
        self.dropout = dropout
        self.columns = columns

    def parameters(self, theta):
        """The parameters at which to evaluate for `theta`."""
        return self.gradient(theta.copy()) if self.columns else theta

    def gradient(self, g):
        """The gradient for `theta` of one at `parameters(theta)`, in the same memory."""
        for block, factors in self.columns:
            view = block.view(g)
            view *= factors.astype(g.dtype)
        return g

    def examples(self, examples):
        """The examples that are evaluated in place of these."""
        if self.input_noise is None:
            return examples
        rows = np.ascontiguousarray(examples.batch.input_rows())
        noisy = np.empty_like(rows)
        kernels.add_noise(noisy, rows, *self.input_noise)
        n = len(self.net.layers[0].token_sizes)
        noisy[:, :n] = rows[:, :n]
        return examples.with_inputs(noisy)


class Perturbations:
    """What perturbations are drawn from.

    Parameters
    ----------
    net : Network
    examples : Examples
        Of which batches are taken.
    input_noise : float
        The standard deviation of noise on every input at every step.
    dropout : float
        The probability with which an output of a hidden layer is dropped.
    recurrent_dropout : float
        That with which an output does not reach the next step.

    Attributes
    ----------
    is_needed : bool
        Whether any of the three is above zero.
    """

    def __init__(self, net, examples, input_noise, dropout, recurrent_dropout):
        self._net = net
        self._deviation = as_number(input_noise, "input_noise", 0)
        if self._deviation and examples.batch.has_tokens:
            raise ValueError(
                f"input_noise: expected 0 with tokens, got {describe(input_noise)}; weight_noise "
                "and dropout disturb what stands for them"
            )
        self._dropout = _as_share(dropout, "dropout")
        self._widths = [layer.input_size for layer in net.layers[1:]]
        if self._dropout and not self._widths:
            raise ValueError(
                f"dropout: expected 0 for a network of one layer, got {describe(dropout)}; it is "
                "between layers, and recurrent_dropout within one"
            )
        self._recurrent_dropout = _as_share(recurrent_dropout, "recurrent_dropout")
        self._recurrent = [block for block in net.table if block.name.endswith(".R")]
        if self._recurrent_dropout and not self._recurrent:
            raise ValueError(
                "recurrent_dropout: expected 0 for a network without recurrent layers, got "
                f"{describe(recurrent_dropout)}; dropout is between layers"
            )
        self.is_needed = any((self._deviation, self._dropout, self._recurrent_dropout))

    def draw(self, rng, size):
        """A perturbation for a batch of so many sequences."""
        input_noise, dropout, columns = None, None, []
        if self._deviation:
            input_noise = self._deviation, draw_key(rng)
        if self._recurrent_dropout:
            columns = [
                (block, self._factors(rng, self._recurrent_dropout, block.shape[1]))
                for block in self._recurrent
            ]
        if self._dropout:
            factors = [self._factors(rng, self._dropout, (size, I)) for I in self._widths]
            dropout = [None, *factors]
        return Perturbation(self._net, size, input_noise, dropout, columns)

    def _factors(self, rng, share, shape):
        # one seed drops the same in both dtypes
        is_kept = rng.random(shape, dtype=np.float32) >= share
        return is_kept * self._net.dtype.type(1.0 / (1.0 - share))


def check_perturbation(perturbation, net, size):
    """Raise where it has not been drawn for so many sequences of `net`."""
    if not isinstance(perturbation, Perturbation):
        raise TypeError(
            f"perturbation: expected what minimize has drawn, got {describe(perturbation)}"
        )
    if perturbation.net is not net:
        raise ValueError("perturbation: expected one of the same network, got another network's")
    if perturbation.size != size:
        raise ValueError(
            f"perturbation: expected one for {size} sequences, as many as indices, got one for "
            f"{perturbation.size}"
        )


def draw_key(rng):
    """The key of one draw of noise."""
    return int(rng.integers(2**64, dtype=np.uint64))


def _as_share(value, name):
    number = as_number(value, name, 0)
    if not number < 1:
        raise ValueError(f"{name}: expected a probability >= 0 and < 1, got {describe(value)}")
    return number

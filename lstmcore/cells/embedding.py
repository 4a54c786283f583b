"""`Embedding`: a row of a table for each token."""

from __future__ import annotations

from ._layer import Layer
from ._options import as_size
from .dense import dense_cell


class Embedding(Layer):
    """A table of vectors, one for each token: y(t) is the vector of the token x(t).

    It is the first layer of a network that takes integer tokens. Nothing is expanded to one-hot
    vectors. If x(t) comes as a vector of numbers, y(t) = W x(t).

    Parameters
    ----------
    n_tokens, size : int
        I, the number of different tokens, which are 0 ... I-1, and K, how many numbers a vector
        has.

    Notes
    -----
    Blocks: W (K, I). A token's vector is a column of it.

    Examples
    --------
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.Embedding(500, 32), lc.LSTM(32, 8)], seed=0)
    >>> [y.shape for y in net.predict([[7, 499, 0], [3]])]
    [(3, 8), (1, 8)]
    """

    def __init__(self, n_tokens: int, size: int) -> None:
        I, K = as_size(n_tokens, "n_tokens"), as_size(size, "size")
        super().__init__({"n_tokens": I, "size": K}, dense_cell(I, K, "identity", False), True)

"""Cells: for each kind of layer one small file that says what its options mean.

A further cell is one more file here, with its name in `CELLS`, and its equations in the kernels and
in their twin, under the same stem.
"""

from ._cell import Cell
from ._gates import reorder
from ._layer import Layer, Weights
from .dense import Dense
from .embedding import Embedding
from .gru import GRU
from .lstm import LSTM
from .mixed import MixedEmbedding
from .rnn import RNN

__all__ = [
    "CELLS",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "Cell",
    "Dense",
    "Embedding",
    "Layer",
    "MixedEmbedding",
    "Weights",
    "reorder",
]

# What error messages and the like know the layers by that are a cell; and files all of them.
CELLS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN, "Embedding": Embedding, "Dense": Dense}
LAYERS = CELLS | {"MixedEmbedding": MixedEmbedding}

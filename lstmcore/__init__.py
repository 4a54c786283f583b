"""lstmcore: exact, fast recurrent networks on CPUs.

A network is a chain of layers, a loss and one flat vector of parameters; SciPy trains it.

>>> import numpy as np
>>> import lstmcore as lc
>>> net = lc.Network([lc.LSTM(1, 8, peepholes=True), lc.Dense(8, 1)], seed=0)
>>> x = np.sin(np.linspace(0, 20, 200)).reshape(1, 200, 1)
>>> f, g = net.loss_and_grad(x[:, :-1], x[:, 1:])
>>> g.shape == net.params.shape
True
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from ._dispatch import C_API as _C_API  # noqa: F401  (where lstmcore_import of lstmcore.h looks)
from ._dispatch import get_num_threads, set_num_threads, show_config
from ._version import __version__
from .cells import GRU, LSTM, RNN, Dense, Embedding, MixedEmbedding
from .network import Network

# What imports SciPy or is not needed by everyone is imported when it is first used; type checkers
# and editors are told of it here.
if TYPE_CHECKING:
    from . import datasets, optimizers
    from . import estimators as estimators
    from . import losses as losses
    from ._minimize import ConvergenceWarning, minimize
    from .decoding import (
        NGram,
        align_rows,
        alignment,
        decode,
        decode_rows,
        edit_distance,
        label_error_rate,
    )
    from .distributed import DistributedObjective, split
    from .export import CalibrationWarning, export_c
    from .functional import (
        gru_backward,
        gru_forward,
        lstm_backward,
        lstm_forward,
        release_memory,
        rnn_backward,
        rnn_forward,
    )
    from .gradcheck import check_gradient
    from .interop.keras import from_keras, to_keras
    from .interop.onnx import from_onnx
    from .interop.torch import from_torch, to_torch
    from .layouts import as_sequences, windows
    from .objective import Objective
    from .plots import plot_gates, plot_gradients, plot_history
    from .scaling import Scaler, ScaleWarning
    from .storage import load
    from .training import fit

_LAZY = {
    "CalibrationWarning": "export",
    "ConvergenceWarning": "_minimize",
    "DistributedObjective": "distributed",
    "NGram": "decoding",
    "Objective": "objective",
    "ScaleWarning": "scaling",
    "Scaler": "scaling",
    "align_rows": "decoding",
    "alignment": "decoding",
    "as_sequences": "layouts",
    "check_gradient": "gradcheck",
    "decode": "decoding",
    "decode_rows": "decoding",
    "edit_distance": "decoding",
    "export_c": "export",
    "fit": "training",
    "from_keras": "interop.keras",
    "from_onnx": "interop.onnx",
    "from_torch": "interop.torch",
    "gru_backward": "functional",
    "gru_forward": "functional",
    "label_error_rate": "decoding",
    "load": "storage",
    "lstm_backward": "functional",
    "lstm_forward": "functional",
    "minimize": "_minimize",
    "plot_gates": "plots",
    "plot_gradients": "plots",
    "plot_history": "plots",
    "release_memory": "functional",
    "rnn_backward": "functional",
    "rnn_forward": "functional",
    "split": "distributed",
    "to_keras": "interop.keras",
    "to_torch": "interop.torch",
    "windows": "layouts",
}
# Not all of them in __all__: who imports everything need not have scikit-learn.
_SUBMODULES = ("datasets", "estimators", "optimizers")

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CalibrationWarning",
    "ConvergenceWarning",
    "Dense",
    "DistributedObjective",
    "Embedding",
    "MixedEmbedding",
    "NGram",
    "Network",
    "Objective",
    "ScaleWarning",
    "Scaler",
    "__version__",
    "align_rows",
    "alignment",
    "as_sequences",
    "check_gradient",
    "datasets",
    "decode",
    "decode_rows",
    "edit_distance",
    "export_c",
    "fit",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_include",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "label_error_rate",
    "load",
    "lstm_backward",
    "lstm_forward",
    "minimize",
    "optimizers",
    "plot_gates",
    "plot_gradients",
    "plot_history",
    "release_memory",
    "rnn_backward",
    "rnn_forward",
    "set_num_threads",
    "show_config",
    "split",
    "to_keras",
    "to_torch",
    "windows",
]


def get_include() -> str:
    """
    Return the directory of ``lstmcore.h``, for compilers: see docs/c_api.md.

    Returns
    -------
    str

    Examples
    --------
    >>> import os
    >>> import lstmcore as lc
    >>> os.listdir(lc.get_include())
    ['lstmcore.h']
    """
    return os.path.join(os.path.dirname(__file__), "include")


if not TYPE_CHECKING:  # a checker would take any name at all to be there

    def __getattr__(name):
        if name in _SUBMODULES:
            return importlib.import_module(f".{name}", __name__)
        if name in _LAZY:
            value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

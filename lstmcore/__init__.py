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

import importlib
import os

from ._dispatch import C_API as _C_API  # noqa: F401  (where lstmcore_import of lstmcore.h looks)
from ._dispatch import get_num_threads, set_num_threads, show_config
from ._version import __version__
from .cells import GRU, LSTM, RNN, Dense, Embedding
from .network import Network

# What imports SciPy or is not needed by everyone is imported when it is first used.
_LAZY = {
    "ConvergenceWarning": "_minimize",
    "Objective": "objective",
    "ScaleWarning": "scaling",
    "Scaler": "scaling",
    "as_sequences": "layouts",
    "check_gradient": "gradcheck",
    "export_c": "export",
    "fit": "training",
    "gru_backward": "functional",
    "gru_forward": "functional",
    "load": "storage",
    "lstm_backward": "functional",
    "lstm_forward": "functional",
    "minimize": "_minimize",
    "release_memory": "functional",
    "rnn_backward": "functional",
    "rnn_forward": "functional",
    "windows": "layouts",
}
# Not all of them in __all__: who imports everything need not have scikit-learn.
_SUBMODULES = ("datasets", "estimators", "optimizers")

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "ConvergenceWarning",
    "Dense",
    "Embedding",
    "Network",
    "Objective",
    "ScaleWarning",
    "Scaler",
    "__version__",
    "as_sequences",
    "check_gradient",
    "datasets",
    "export_c",
    "fit",
    "get_include",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "load",
    "lstm_backward",
    "lstm_forward",
    "minimize",
    "optimizers",
    "release_memory",
    "rnn_backward",
    "rnn_forward",
    "set_num_threads",
    "show_config",
    "windows",
]


def get_include():
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


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _LAZY:
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})

"""Files of Keras: networks from them, and networks as them. None of it needs Keras.

What is read is data: classes are looked up in a table, never imported, and no code in a file runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..._archive import as_path, refusing
from ..._checks import as_choice, as_real_dtype, describe
from ..._readout import READOUTS
from ...losses import find_loss
from ...network import Network
from .._common import build_network, choose_dtype
from ._graph import chain
from ._misfit import refuse
from ._read import Plan, fill, has_weights
from ._source import Version, open_source, parse_config
from ._write import to_keras

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..._types import LossLike, Path, Readout

__all__ = ["from_keras", "to_keras"]

_WHAT = "a model of Keras"


def from_keras(
    path: Path,
    *,
    config: Path | Mapping[str, Any] | None = None,
    keras_version: str | None = None,
    readout: Readout | None = None,
    loss: LossLike | None = None,
    dtype: DTypeLike | None = None,
) -> Network:
    """Read a model that Keras has saved. Neither Keras nor TensorFlow is needed.

    Parameters
    ----------
    path : str or path-like
        ``model.keras``, the older ``model.h5`` of Keras 2 and 3, or ``model.weights.h5`` with
        `config`.
    config : str, path-like or mapping, optional
        Of a file that holds weights alone: what ``model.to_json()`` gives, a file that holds it, or
        ``json.loads`` of it.
    keras_version : str, optional
        The version of Keras that wrote the file, as "2.4.0" or "3". By default what the file says;
        it is needed where the file does not say it and a layer has the activation hard_sigmoid,
        which Keras 3 changed.
    readout : {None, "all", "last", "mean", "max", "last_step"}
        By default what the model says: "last" of return_sequences=False, "mean" and "max" of global
        pooling, "last_step" of ``x[:, -1]``, else "all".
    loss : str, Loss or function, optional
        By default what goes with the last activation: "cross_entropy" with softmax,
        "binary_cross_entropy" with sigmoid, "poisson" with exponential, else "squared_error".
    dtype : {None, "float64", "float32"}
        None is that of the file's numbers.

    Returns
    -------
    Network
        Its outputs are those of the model when it is not training.

    Raises
    ------
    ValueError
        It is no file of Keras, or a damaged one; any bytes at all are safe to read. Or the model is
        no `Network`: the error names each layer that does not fit, and says why.
    OSError
        The file cannot be read.

    Notes
    -----
    Read are Embedding, LSTM, GRU, SimpleRNN, Bidirectional and Dense, in Sequential and functional
    models whose layers form a chain. What only matters in training is left out: dropout, noise,
    regularizers, initializers, the optimizer. ``stateful`` is left out as well: give ``state=`` or
    use a stream.

    Masking and ``mask_zero`` have no value to look for here: steps that Keras would mask are those
    that `lengths` or `mask` of ``predict`` leave out.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.GRU(3, 4), lc.Dense(4, 2)], loss="cross_entropy", readout="last",
    ...                  dtype="float32", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lc.to_keras(net, os.path.join(folder, "model.keras"))
    ...     again = lc.from_keras(os.path.join(folder, "model.keras"))
    >>> again
    Network([GRU(3, 4), Dense(4, 2)], loss='cross_entropy', readout='last', dtype='float32')
    >>> bool((again.params == net.params).all())
    True
    """
    name = as_path(path)
    if os.path.isdir(name):
        raise ValueError(
            f"path: expected a file, got the folder {name}; a SavedModel of TensorFlow is not "
            "read: load it in Keras and save it as .keras"
        )
    given = _given_config(config)
    version = _given_version(keras_version)
    if readout is not None:
        as_choice(readout, "readout", READOUTS)
    if loss is not None:
        find_loss(loss)
    if dtype is not None:
        dtype = as_real_dtype(dtype)
    with open(name, "rb") as file:
        with refusing(path, _WHAT):
            source = open_source(file, name)
            plan, everything, problems = _plan(source, given, version)
        if problems:
            refuse(
                f"path: expected a chain of layers that a Network has, got {name}, in which these "
                "do not fit",
                [(f"{node.name!r} ({node.kind})", why) for node, why in problems],
            )
        loss, readout = plan.choose_loss(loss), plan.choose_readout(readout)
        with refusing(path, _WHAT):
            return _build(plan, everything, source.weights, loss, readout, dtype)


def _plan(source, given, version):
    """What the layers come to, all of them, and those that do not fit, in their order."""
    if source.config is None and given is None:
        raise ValueError(
            "it holds weights and no configuration; config=model.to_json() says what they are"
        )
    if source.config is not None and given is not None:
        raise ValueError("it holds its own configuration; leave config out")
    config = given if source.config is None else source.config
    for said in (source.version, config.get("keras_version")):
        if version is None and isinstance(said, str):
            version = Version.parse(said)
    if version is not None and version.numbers < (2,):
        raise ValueError(f"it is by Keras {version.text}; load it in Keras 2 and save it anew")
    with _naming_what_lacks():
        nodes, everything, apart = chain(config)
        plan = Plan(nodes, version)
    place = {id(node): k for k, node in enumerate(everything)}
    return plan, everything, sorted(apart + plan.problems, key=lambda found: place[id(found[0])])


def _build(plan, everything, weights, loss, readout, dtype):
    """The network of a plan."""
    arrays = weights.of([(node.kind, has_weights(node)) for node in everything])
    of_node = {id(node): own for node, own in zip(everything, arrays, strict=True)}
    layers, blocks = [], {}
    for k, item in enumerate(plan.items):
        width = layers[-1].output_size if layers else None
        with _naming_what_lacks():
            layer, own = fill(item, of_node[id(item.node)], k, width)
        layers.append(layer)
        blocks |= own
    dtype = choose_dtype(dtype, [array for own in arrays for array in own])
    return build_network(layers, blocks, loss=loss, readout=readout, dtype=dtype)


@contextmanager
def _naming_what_lacks():
    try:
        yield
    except KeyError as error:
        raise ValueError(f"its configuration lacks {error}") from error


def _given_config(config):
    """The argument `config` as a dict, or None."""
    if config is None or isinstance(config, Mapping):
        return None if config is None else dict(config)
    if isinstance(config, str) and config.lstrip().startswith("{"):
        try:
            return parse_config(config)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"config: expected what model.to_json() gives: {error}") from error
    if not isinstance(config, (str, os.PathLike)):
        raise TypeError(
            "config: expected what model.to_json() gives, a file of it or a mapping, got "
            f"{describe(config)}"
        )
    with open(as_path(config, "config"), "rb") as file:
        text = file.read()
    with refusing(config, "what model.to_json() gives", "config"):
        return parse_config(text)


def _given_version(text):
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"keras_version: expected a str such as '2.4.0', got {describe(text)}")
    try:
        return Version.parse(text)
    except ValueError as error:
        raise ValueError(f"keras_version: {error}") from None

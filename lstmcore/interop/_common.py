"""What all importers share: loss and readout, orders of gates, a network from given weights.

An importer reads layers and arrays from a file and hands them to `build_network`. Whatever stands
in a file is from anybody: it may be refused by nothing but a ValueError, and sizes in it are
believed only as far as bytes back them.
"""

import importlib
import reprlib
from dataclasses import replace
from math import prod

import numpy as np

from .._checks import as_choice, as_real, as_real_dtype, describe, shaped
from .._params import BlockTable
from .._readout import READOUTS
from ..cells import reorder
from ..losses import find_loss
from ..network import Network

__all__ = [
    "ORDERS",
    "build_network",
    "choose_dtype",
    "choose_loss",
    "choose_readout",
    "import_extra",
    "loss_of",
    "name_blocks",
    "one_direction",
    "refuse_larger",
    "refuse_more_layers",
    "short",
    "two_biases",
]

# The order of the gates' rows in other programs, by our letters.
ORDERS = {
    "torch": {"LSTM": "ifgo", "GRU": "rzn", "RNN": ""},
    "onnx": {"LSTM": "iofg", "GRU": "zrn", "RNN": ""},
    "keras": {"LSTM": "ifgo", "GRU": "zrn", "RNN": ""},
}

# To describe a layer takes much more than the few bytes that a small one has in a file.
MOST_LAYERS = 1000

# Numbers of one block that a file leaves out because they are zero: biases, which are vectors.
MOST_ZEROS = 1 << 22

_short = reprlib.Repr()
_short.maxstring = 60
short = _short.repr  # of names and lists of names, which in a file may be of any length

# The loss whose output units are the activation that a file ends with.
_LOSSES = {
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
    "exponential": "poisson",
}


def loss_of(activation):
    """The loss that goes with a file's final activation.

    Parameters
    ----------
    activation : str or tuple
        "softmax", "exponential", or one of `ACTIVATIONS`.

    Examples
    --------
    >>> loss_of("softmax"), loss_of("logistic"), loss_of("exponential"), loss_of("tanh")
    ('cross_entropy', 'binary_cross_entropy', 'poisson', 'squared_error')
    """
    return _LOSSES.get(activation, "squared_error")


def choose_loss(activation, loss=None):
    """The loss, and what is left of a file's final activation for the last layer.

    The outputs stay those of the file: its activation becomes the loss's output units, or stays an
    activation of the last layer, or the two contradict each other. Only after an identity, as
    where a file gives logits, does a loss that was asked for add output units.

    Parameters
    ----------
    activation : str or tuple
        "softmax", "exponential", or one of `ACTIVATIONS`; "identity" where there is none.
    loss : str, Loss or function, optional
        What the user asks for; by default what goes with the activation.

    Returns
    -------
    loss
        As `Network` takes it.
    activation : str or tuple
        For the last layer.

    Examples
    --------
    >>> choose_loss("softmax")
    ('cross_entropy', 'identity')
    >>> choose_loss("logistic", "squared_error")
    ('squared_error', 'logistic')
    >>> choose_loss("identity", "cross_entropy")
    ('cross_entropy', 'identity')
    """
    if loss is None:
        loss = loss_of(activation)
    units = find_loss(loss).output
    if units == activation:
        return loss, "identity"
    only_outputs = activation in ("softmax", "exponential")  # layers have no such activations
    if only_outputs or (units != "identity" and activation != "identity"):
        expected = activation if activation in _LOSSES else "identity"
        raise ValueError(
            f"loss: expected one with {expected} outputs, for the model ends with {activation!r}, "
            f"such as {loss_of(activation)!r}, got {describe(loss)}, which has {units} outputs"
        )
    return loss, activation


def choose_readout(readout, said=None):
    """The readout that the user asks for, or that the file says, or "all".

    Parameters
    ----------
    readout : str or None
    said : str, optional
        What the file says, if it says anything.
    """
    if readout is None:
        return said or "all"
    return as_choice(readout, "readout", READOUTS)


def choose_dtype(dtype, arrays):
    """The dtype that the user asks for; or float32 where no array of the file is wider.

    Parameters
    ----------
    dtype : {None, "float64", "float32"}
    arrays : iterable of ndarray
        The file's own, before biases are summed in float64.

    Returns
    -------
    numpy.dtype

    Examples
    --------
    >>> import numpy as np
    >>> choose_dtype(None, [np.ones(2, np.float32), np.ones(2, np.float16)])
    dtype('float32')
    >>> choose_dtype("float64", [np.ones(2, np.float32)])
    dtype('float64')
    """
    if dtype is None:
        dtype = "float32" if all(array.dtype.itemsize <= 4 for array in arrays) else "float64"
    return as_real_dtype(dtype)


def name_blocks(layer, own, k=None):
    """The blocks of all directions of a layer, by the names that a network has for them.

    Parameters
    ----------
    layer : Layer
    own : sequence of mapping
        For each direction its blocks by name.
    k : int, optional
        The layer's place in the network; without one, names are those within the layer.

    Returns
    -------
    dict

    Examples
    --------
    >>> import lstmcore as lc
    >>> name_blocks(lc.RNN(2, 3), [{"W": 1, "b": 2}], 0)
    {'0.W': 1, '0.b': 2}
    >>> name_blocks(lc.GRU(2, 3, bidirectional=True), [{"W": 1}, {"W": 2}])
    {'forward.W': 1, 'backward.W': 2}
    """
    place = "" if k is None else f"{k}."
    return {
        f"{place}{prefix}{name}": block
        for prefix, direction in zip(layer.prefixes, own, strict=True)
        for name, block in direction.items()
    }


def one_direction(cell, order, W, R, input_bias=None, recurrent_bias=None):
    """The blocks W, R, b and bR of one direction, whose rows are in another order of gates.

    Two biases are summed in float64, but for the candidate's of a GRU whose reset gate acts after
    the product.

    Parameters
    ----------
    cell : Cell
    order : str
        As `reorder` takes it: of `ORDERS`.
    W : (rows, I) array
    R : (rows, H) array
    input_bias, recurrent_bias : (rows,) array, optional
        By default zero.

    Returns
    -------
    dict of str to ndarray

    Examples
    --------
    >>> import numpy as np, lstmcore as lc
    >>> cell = lc.GRU(1, 1).cell
    >>> W, R, b = np.array([[1.0], [2], [3]]), np.array([[4.0], [5], [6]]), np.array([7.0, 8, 9])
    >>> blocks = one_direction(cell, "zrn", W, R, b, 10 * b)
    >>> {name: block.ravel().tolist() for name, block in blocks.items()}
    {'W': [2.0, 1.0, 3.0], 'R': [5.0, 4.0, 6.0], 'bR': [90.0], 'b': [88.0, 77.0, 9.0]}
    """
    blocks = {
        "W": reorder(W, cell, order, inverse=True),
        "R": reorder(R, cell, order, inverse=True),
    }
    biases = [
        np.zeros(len(W)) if bias is None else reorder(bias, cell, order, inverse=True)
        for bias in (input_bias, recurrent_bias)
    ]
    b, recurrent = (bias.astype(np.float64) for bias in biases)
    if "bR" in (block.name for block in cell.blocks):
        n = cell.gates["n"]
        blocks["bR"] = recurrent[n].copy()
        recurrent[n] = 0.0
    blocks["b"] = b + recurrent
    return blocks


def two_biases(cell, order, b, bR=None):
    """The reverse of `one_direction` for biases: that of the input and the recurrent one.

    The second is zero but for the candidate of a GRU whose reset gate acts after the product, so
    that their sum is b to the last bit.

    Parameters
    ----------
    cell : Cell
    order : str
    b : (rows,) array
    bR : (H,) array, optional

    Returns
    -------
    input_bias, recurrent_bias : (rows,) array
        In the order of `order`.
    """
    recurrent = np.zeros_like(b)
    if bR is not None:
        recurrent[cell.gates["n"]] = bR
    return reorder(b, cell, order), reorder(recurrent, cell, order)


def build_network(layers, blocks, *, loss, readout, dtype, names=None):
    """A network of layers with weights that are given.

    Parameters
    ----------
    layers : sequence of Layer
    blocks : mapping of str to array_like
        As `Network.blocks` names them, ``"0.forward.W"``, with rows in lstmcore's order of gates;
        all that the layers have and no others. None is zeros.
    loss, readout
        As `Network` takes them.
    dtype : dtype
        Of `choose_dtype`. Numbers that are not finite stay as they are.
    names : mapping of str to str, optional
        What the file calls a block, for errors.

    Returns
    -------
    Network

    Examples
    --------
    >>> import numpy as np, lstmcore as lc
    >>> blocks = {"0.W": np.ones((1, 2), np.float32), "0.b": None}
    >>> net = build_network([lc.Dense(2, 1)], blocks, loss="squared_error", readout="all",
    ...                     dtype="float32")
    >>> net.predict(np.array([[[1.0, 2.0]]]))
    array([[[3.]]], dtype=float32)
    """
    refuse_more_layers(len(layers))
    table = BlockTable(
        replace(block, name=f"{k}.{block.name}")
        for k, layer in enumerate(layers)
        for block in layer.blocks()
    )
    names = {} if names is None else names
    unknown = sorted(set(blocks) - {block.name for block in table})
    missing = [block.name for block in table if block.name not in blocks]
    if unknown or missing:
        raise ValueError(
            f"blocks: expected those of the layers, got {short(unknown)} beside them and none for "
            f"{short(missing)}"
        )
    given = {name: np.asarray(value) for name, value in blocks.items() if value is not None}
    for block in table:  # all of them before memory is taken
        if block.name in given:
            shaped(given[block.name], _said(block.name, names), block.shape)
        elif block.size > MOST_ZEROS:
            raise ValueError(
                f"{_said(block.name, names)}: expected at most {MOST_ZEROS} numbers that the file "
                f"does not hold, got {block.size}"
            )
    params = np.zeros(table.size, dtype)
    for block in table:
        if block.name in given:
            name = _said(block.name, names)
            block.view(params)[...] = as_real(given[block.name], name, dtype)
    options = {"layers": layers, "loss": loss, "readout": readout, "dtype": dtype}
    return Network._of(options, params)


def _said(name, names):
    """A block as errors call it: with the file's name of it."""
    return f"{names[name]} (block {name!r})" if name in names else f"block {name!r}"


def refuse_more_layers(count):
    """Raise where a file has more layers than anybody wants, before they are made."""
    if count > MOST_LAYERS:
        raise ValueError(f"source: expected at most {MOST_LAYERS} layers, got {count}")


def refuse_larger(shape, itemsize, available, name):
    """Raise where an array of `shape` would have more bytes than a file has for it.

    Parameters
    ----------
    shape : sequence of int
        From anybody: negative sizes are refused.
    itemsize : int
    available : int
        The bytes that there are.
    name : str
        What the error calls the array.
    """
    if any(size < 0 for size in shape) or prod(shape) * itemsize > available:
        raise ValueError(
            f"{name}: expected an array within the {available} bytes that there are, got shape "
            f"{tuple(shape)} of {itemsize} bytes each"
        )


def import_extra(module, extra, what):
    """Import an optional package, or say which extra brings it.

    Parameters
    ----------
    module : str
    extra : str
        Of ``pip install "lstmcore[extra]"``.
    what : str
        What needs it, as the user knows it.

    Examples
    --------
    >>> import_extra("no_such_package", "onnx", "lstmcore.from_onnx")
    Traceback (most recent call last):
    ImportError: lstmcore.from_onnx needs no_such_package: pip install "lstmcore[onnx]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # it is there, and lacks something itself
        raise ImportError(
            f'{what} needs {error.name}: pip install "lstmcore[{extra}]"', name=error.name
        ) from error

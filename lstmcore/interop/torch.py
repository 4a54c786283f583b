"""Networks from state dicts of PyTorch, and back. Neither needs PyTorch.

What a state dict says: which modules there are, in which order they were made, and the shapes and
numbers of their tensors. What it does not say is asked for and never guessed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._activations import ACTIVATIONS
from .._archive import as_path
from .._checks import as_choice, as_flag, as_ndarray, describe, not_real, shaped
from .._initial import refuse_initial
from ..cells import GRU, LSTM, RNN, Dense, Embedding, Layer, reorder
from ..cells._options import as_activation
from ..network import Network
from ._common import (
    MOST_ZEROS,
    ORDERS,
    build_network,
    choose_dtype,
    choose_loss,
    choose_readout,
    name_blocks,
    one_direction,
    refuse_more_layers,
    short,
    two_biases,
)
from ._tensors import choose_entry, read_tensors, write_safetensors

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from .._types import Activation, LossLike, Path, Readout

__all__ = ["from_torch", "to_torch"]

# A recurrent module's tensors: of a cell, or of a layer in a stack and one direction.
_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_RECURRENT = re.compile(rf"({'|'.join(_TENSORS)}|weight_hr)((?:_l\d+(?:_reverse)?)?)")
_KINDS = {4: LSTM, 3: GRU, 1: RNN}  # by the gates' number
_NONLINEARITIES = ("tanh", "relu")
_MOST_SHOWN = 5  # modules in one error

# Functions of torch.nn.functional that have another name here, or other defaults.
_ACTIVATIONS = {
    "sigmoid": "logistic",
    "exp": "exponential",
    "hardsigmoid": ("hard_sigmoid", 1 / 6, 0.5),
}
_UNITS = ("softmax", "exponential")  # which only outputs can have

# Options of recurrent layers that change nothing of what PyTorch's have.
_FREE = {"bidirectional", "forget_bias", "update_bias", "tokens"} | {
    f"{block}_{what}" for block in "WR" for what in ("start", "mask")
}


def from_torch(
    source: Path | Mapping[str, Any],
    *,
    layers: Sequence[Activation] | None = None,
    readout: Readout | None = None,
    loss: LossLike | None = None,
    nonlinearity: Literal["tanh", "relu"] | None = None,
    tokens: bool | None = None,
    entry: str | None = None,
    ignore: str | Sequence[str] = (),
    dtype: DTypeLike | None = None,
) -> Network:
    """A network with the weights of a PyTorch model.

    It needs no PyTorch, and nothing in a file is run.

    Parameters
    ----------
    source : str, path-like or mapping
        A ``.pt`` or ``.pth`` file that ``torch.save(model.state_dict(), path)`` has written, a
        checkpoint with such a state dict in it, or a ``.safetensors`` file. Or a state dict itself:
        arrays or tensors by name.
    layers : sequence of str, optional
        The model's forward pass: names of its modules, and the activations between them, as
        ``["lstm", "fc1", "relu", "fc2"]``. By default all modules in the order of the state dict,
        which is the order in which the model's constructor makes them. Where tensors are in
        alphabetical order instead, as in files of safetensors, it is the order that the shapes
        leave, and must be said if they leave several. An activation is named as
        in ``torch.nn.functional``, or is one of lstmcore's as layers take it; "identity" is none.
        There must be one after each Linear module that is not the last, for a state dict does not
        say which. A last "softmax", "sigmoid" or "exp" are output units: see `loss`.
    readout : {"all", "last", "mean", "max", "last_step"}, optional
        What the layers after the last recurrent layer see, as `Network` takes it; by default all
        steps. The forward pass says it: ``out`` is "all"; ``h_n[-1]``, or both directions' last
        states side by side, is "last"; ``out[:, -1]`` is "last_step"; ``out.mean(1)`` is "mean".
    loss : str, Loss or function, optional
        As `Network` takes it. It also fixes the output units: with "cross_entropy" predictions are
        probabilities, where the model gives logits. By default what goes with the last activation:
        "cross_entropy" with "softmax", "binary_cross_entropy" with "sigmoid", "poisson" with
        "exp", else "squared_error".
    nonlinearity : {"tanh", "relu"}, optional
        That of the RNN modules, which must be given where there are any.
    tokens : bool, optional
        Whether inputs are integer tokens: the first module is an Embedding, or one that takes
        one-hot vectors. Shapes tell an Embedding from a Linear module without a bias, unless both
        fit.
    entry : str, optional
        Which entry of a checkpoint is the state dict; by default the only one that is.
    ignore : str or sequence of str
        Names of tensors to leave out, or patterns of some, as ``"decoder.*"``. With `layers`,
        ``"*"`` leaves out all that these modules do not need.
    dtype : {"float64", "float32"}, optional
        By default that of the tensors; half-precision ones become float32.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        The file is no such file, or is damaged; any bytes at all are safe to read. Or it holds
        tensors that are not used or modules that lstmcore does not have, or more than one network
        could have these tensors. The error says which argument settles it.

    See Also
    --------
    to_torch : The reverse.

    Notes
    -----
    Sequences are (B, T, features) here whatever ``batch_first`` was, ``lengths`` says what is
    padding, and dropout belongs to training. An LSTM or RNN has one bias here, the sum of PyTorch's
    two. An activation after a module that is not a Linear one becomes a `Dense` layer with unit
    weights.

    Examples
    --------
    A model ``self.lstm = nn.LSTM(12, 32, bidirectional=True); self.fc = nn.Linear(64, 9)`` has such
    a state dict:

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> shapes = {"lstm.weight_ih_l0": (128, 12), "lstm.weight_hh_l0": (128, 32),
    ...           "lstm.bias_ih_l0": (128,), "lstm.bias_hh_l0": (128,)}
    >>> shapes |= {f"{name}_reverse": shape for name, shape in shapes.items()}
    >>> shapes |= {"fc.weight": (9, 64), "fc.bias": (9,)}
    >>> state_dict = {name: np.zeros(shape) for name, shape in shapes.items()}
    >>> lc.from_torch(state_dict, readout="last", loss="cross_entropy").layers
    (LSTM(12, 32, bidirectional=True), Dense(64, 9))
    """
    if nonlinearity is not None:
        as_choice(nonlinearity, "nonlinearity", _NONLINEARITIES)
    tensors = _tensors_of(source, entry)
    ignored = _ignored(tensors, ignore)
    steps = _steps_of(_modules_of(tensors), layers, ignored, tokens)
    _refuse_unused(tensors, steps, ignored)
    last = steps[-1].activations
    loss, left = choose_loss(last.pop() if last else "identity", loss)
    last.append(left)
    parts = _parts_of(steps, tokens, nonlinearity)
    blocks: dict[str, Any] = {}
    for k, part in enumerate(parts):
        blocks |= name_blocks(part.layer, part.blocks, k)
    return build_network(
        [part.layer for part in parts],
        blocks,
        loss=loss,
        readout=choose_readout(readout),
        dtype=choose_dtype(dtype, (a for step in steps for a in step.module.own.values())),
    )


# ---------------------------------------------------------------------------- the state dict


def _tensors_of(source, entry):
    """The arrays of a state dict or a file by name."""
    if entry is not None and not isinstance(entry, str):
        raise TypeError(f"entry: expected the name of an entry, got {describe(entry)}")
    if isinstance(source, (str, os.PathLike)):
        return read_tensors(source, entry)
    if not isinstance(source, Mapping):
        hint = "; source.state_dict() is one" if hasattr(source, "state_dict") else ""
        raise TypeError(f"source: expected a path or a state dict, got {describe(source)}{hint}")
    try:
        tensors = choose_entry(dict(source), lambda value: hasattr(value, "__array__"), entry)
    except ValueError as error:
        raise ValueError(
            f"source: expected a state dict, got {describe(source)}: {error}"
        ) from None
    return {name: _as_array(value, f"source[{short(name)}]") for name, value in tensors.items()}


def _as_array(value, name):
    """An array, or a tensor of PyTorch's, which it is asked for in PyTorch's own words."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    array = as_ndarray(value, name)
    if array.dtype.kind not in "fiub":
        raise not_real(array, name)
    return array


class _Module:
    """The tensors that have one prefix, of a kind of module that lstmcore has not.

    Attributes
    ----------
    name : str
    tensors : dict of str to ndarray
        By their names without the prefix.
    own : dict of str to ndarray
        Those that make it a module of its kind.
    """

    is_linear = False

    def __init__(self, name, tensors, own=()):
        self.name = name
        self.tensors = tensors
        self.own = {key: tensors[key] for key in own}

    def __repr__(self):
        shapes = [f"{short(self.full(key))} {array.shape}" for key, array in self.tensors.items()]
        return ", ".join(shapes[:2]) + ", ..." * (len(shapes) > 2)

    def full(self, key):
        """A tensor's name with the prefix."""
        return f"{self.name}.{key}" if self.name else key

    def said(self, key):
        """A tensor as errors call it."""
        return f"source[{short(self.full(key))}]"


class _Matrix(_Module):
    """A Linear module or, where it is first and has no bias, an Embedding."""

    is_linear = True

    @property
    def input_size(self):
        return self.own["weight"].shape[1]

    @property
    def output_size(self):
        return self.own["weight"].shape[0]

    def parts(self, activation, tokens, nonlinearity):
        """As a Linear module."""
        weight = self.own["weight"]
        bias = self.own.get("bias")
        K, I = weight.shape
        layer = Dense(I, K, activation=activation, bias=bias is not None, tokens=tokens)
        blocks = {"W": weight}
        if bias is not None:
            blocks["b"] = shaped(bias, self.said("bias"), (K,))
        return [_Part(layer, [blocks])]


class _Table(_Matrix):
    """A matrix that has turned out to be an Embedding."""

    is_linear = False

    def parts(self, activation, tokens, nonlinearity):
        weight = self.own["weight"]
        return [_Part(Embedding(*weight.shape), [{"W": weight.T}])]


class _Recurrent(_Module):
    """An RNN, LSTM or GRU, or a cell of one."""

    @property
    def input_size(self):
        key = f"weight_ih{self.stack[1][0]}"
        return shaped(self.own[key], self.said(key), ("rows", "inputs")).shape[1]

    @property
    def output_size(self):
        n_layers, suffixes = self.stack
        return self._kind(suffixes[0])[1] * len(suffixes) // n_layers

    def parts(self, activation, tokens, nonlinearity):
        """A layer for each of the stack."""
        n_layers, suffixes = self.stack
        kind, H = self._kind(suffixes[0])
        options = {"bidirectional": len(suffixes) > n_layers}
        if kind is RNN:
            if nonlinearity is None:
                raise ValueError(
                    "nonlinearity: expected 'tanh', which is PyTorch's default, or 'relu', for a "
                    f"state dict does not say which the RNN {short(self.name)} has, got None"
                )
            options["activation"] = nonlinearity
        parts = []
        for k in range(n_layers):
            I = parts[-1].layer.output_size if parts else self.input_size
            layer = kind(I, H, tokens=tokens and k == 0, **options)
            blocks = [self._direction(layer.cell, suffix) for suffix in suffixes[k::n_layers]]
            parts.append(_Part(layer, blocks))
        return parts

    @cached_property
    def stack(self):
        """How many layers there are, and how the names of their tensors end.

        First those of all layers, then those of all layers in reverse.
        """
        found = {_RECURRENT.fullmatch(key)[2] for key in self.own}
        n_layers = len({suffix.removesuffix("_reverse") for suffix in found})
        suffixes = [""] if found == {""} else [f"_l{k}" for k in range(n_layers)]
        if any(suffix.endswith("_reverse") for suffix in found):
            suffixes += [f"{suffix}_reverse" for suffix in suffixes]
        refuse_more_layers(n_layers)
        has_biases = any(key.startswith("bias") for key in self.own)
        kinds = _TENSORS if has_biases else _TENSORS[:2]
        expected = [kind + suffix for suffix in suffixes for kind in kinds]
        projections = [key for key in self.own if key.startswith("weight_hr")]
        if projections:
            raise ValueError(
                "source: expected an LSTM without proj_size, for lstmcore's has none, got "
                f"{short(self.full(projections[0]))}"
            )
        for key in expected:
            if key not in self.own:
                raise ValueError(
                    f"source: expected {short(self.full(key))}, got {self!r} without it"
                )
        return n_layers, suffixes

    def _kind(self, suffix):
        """The class of its layers, and their units, by the shape of a recurrent weight."""
        key = f"weight_hh{suffix}"
        rows, H = shaped(self.own[key], self.said(key), ("rows", "H")).shape
        gates = [n for n in _KINDS if n * H == rows]
        if not gates or not H:
            raise ValueError(
                f"{self.said(key)}: expected shape (4H, H), (3H, H) or (H, H), got {(rows, H)}"
            )
        return _KINDS[gates[0]], H

    def _direction(self, cell, suffix):
        """The blocks of one direction."""
        rows = cell.blocks[0].shape[0]
        shapes = (rows, cell.inputs), (rows, cell.units), (rows,), (rows,)
        keys = [kind + suffix for kind in _TENSORS]
        arrays = [
            shaped(self.own[key], self.said(key), shape)
            for key, shape in zip(keys, shapes, strict=True)
            if key in self.own
        ]
        return one_direction(cell, ORDERS["torch"][cell.kind], *arrays)


@dataclass
class _Part:
    """A layer, and the blocks of each of its directions."""

    layer: Layer
    blocks: list[dict[str, Any]]


@dataclass
class _Step:
    """A module of the forward pass, and the activations behind it."""

    module: _Module
    activations: list[Any]


def _modules_of(tensors):
    """The modules that have these tensors, by name."""
    groups = {}
    for full, array in tensors.items():
        name, _, key = full.rpartition(".")
        groups.setdefault(name, {})[key] = array
    return {name: _module(name, group) for name, group in groups.items()}


def _module(name, tensors):
    recurrent = [key for key in tensors if _RECURRENT.fullmatch(key)]
    if any(key.startswith("weight_ih") for key in recurrent):
        return _Recurrent(name, tensors, recurrent)
    if "weight" in tensors and tensors["weight"].ndim == 2:
        return _Matrix(name, tensors, [key for key in tensors if key in ("weight", "bias")])
    return _Module(name, tensors)


def _ignored(tensors, ignore):
    """The names of the tensors that need not be used."""
    patterns = [ignore] if isinstance(ignore, str) else list(ignore)
    names = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"ignore: expected names of tensors, got {describe(pattern)}")
        found = {name for name in tensors if fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(
                f"ignore: expected names of tensors, or patterns of some, got {pattern!r}; there "
                f"are {short(list(tensors))}"
            )
        names |= found
    return names


# -------------------------------------------------------------------------- the forward pass


def _steps_of(modules, layers, ignored, tokens):
    """The forward pass: as it is said, or all modules in their order."""
    if layers is None:
        steps = [
            _Step(module, [])
            for module in modules.values()
            if not ignored.issuperset(map(module.full, module.tensors))
        ]
    else:
        steps = _said_steps(modules, layers)
    if not steps:
        what = "tensors that are not all left out by ignore" if layers is None else "modules"
        name = "source" if layers is None else "layers"
        raise ValueError(f"{name}: expected {what}, got none")
    strange = [step.module for step in steps if not step.module.own]
    if strange:
        shown = "; ".join(map(repr, strange[:_MOST_SHOWN])) + "; ..." * (len(strange) > _MOST_SHOWN)
        raise ValueError(
            "source: expected modules of RNN, LSTM, GRU, Linear and Embedding, got others too: "
            f"{shown}; layers= says which modules to take, ignore= which to leave out"
        )
    refuse_more_layers(len(steps))
    if layers is None:
        steps = _in_order(steps)
    if tokens is not None:
        as_flag(tokens, "tokens")
    steps[0].module = _embedding_or_linear(steps[0].module, steps[1:], tokens)
    _refuse_unsaid_activations(steps)
    return steps


def _in_order(steps):
    """Modules in the order in which the model calls them, as far as a state dict says it.

    PyTorch has tensors in the order in which they were made, weights before biases. In alphabetical
    order, as in the files of safetensors, they say nothing of it. But shapes may: where no two
    modules take equally many numbers, each has one that can follow it.
    """
    if len(steps) < 2 or not _is_alphabetical(steps):
        return steps
    by_input = {step.module.input_size: step for step in steps}
    given = {step.module.output_size for step in steps}
    first = [step for size, step in by_input.items() if size not in given]
    if len(by_input) == len(steps) and len(first) == 1:
        chain = first
        while (size := chain[-1].module.output_size) in by_input:
            chain.append(by_input.pop(size))
        if len(chain) == len(steps):
            return chain
    names = [step.module.name for step in steps]
    raise ValueError(
        "layers: expected the modules in the order in which the model calls them, for tensors in "
        "alphabetical order do not say it, and their shapes leave a choice, got None; the modules "
        f"are {short(names)}"
    )


def _is_alphabetical(steps):
    """Whether the names of tensors of each dtype are."""
    names = {}
    for step in steps:
        for key, array in step.module.own.items():
            names.setdefault(array.dtype, []).append(step.module.full(key))
    return all(own == sorted(own) for own in names.values())


def _said_steps(modules, layers):
    """The forward pass as `layers` says it."""
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise TypeError(
            f"layers: expected a list of names of modules and activations, got {describe(layers)}"
        )
    steps = []
    for k, item in enumerate(layers):
        if isinstance(item, str) and item in modules:
            steps.append(_Step(modules[item], []))
            continue
        activation = _as_activation(item, f"layers[{k}]", modules)
        if not steps:
            raise ValueError(
                f"layers[0]: expected one of the modules {short(list(modules))}, got {item!r}"
            )
        if activation in _UNITS and k < len(layers) - 1:
            raise ValueError(f"layers[{k}]: expected {item!r} in the last place alone")
        steps[-1].activations.append(activation)
    return steps


def _as_activation(item, name, modules):
    """An activation as layers take it, or one of `_UNITS`."""
    if item == "log_softmax":
        raise ValueError(
            f"{name}: expected 'softmax', of which predictions are, got 'log_softmax'; their "
            "logarithm is what the model gives"
        )
    if isinstance(item, str):
        known = [*ACTIVATIONS, *_ACTIVATIONS, "softmax"]
        if item not in known:
            raise ValueError(
                f"{name}: expected one of the modules {short(list(modules))} or of the activations "
                f"{', '.join(known)}, got {describe(item)}"
            )
        item = _ACTIVATIONS.get(item, item)
    return item if item in _UNITS else as_activation(item, name)


def _refuse_unused(tensors, steps, ignored):
    used = {step.module.full(key) for step in steps for key in step.module.own}
    unused = [name for name in tensors if name not in used and name not in ignored]
    if unused:
        raise ValueError(
            f"source: expected no tensors but those of layers, got {short(unused)}; "
            "ignore= names those to leave out"
        )


def _parts_of(steps, tokens, nonlinearity):
    """The layers of a forward pass, with their blocks."""
    parts = []
    for k, step in enumerate(steps):
        module = step.module
        if k and module.input_size != parts[-1].layer.output_size:
            raise ValueError(
                f"source: expected {short(module.name)} to take the "
                f"{parts[-1].layer.output_size} numbers that {short(steps[k - 1].module.name)} "
                f"gives, got {module!r}; layers= says in which order the model calls its modules"
            )
        activations = [activation for activation in step.activations if activation != "identity"]
        inside = activations.pop(0) if module.is_linear and activations else "identity"
        parts += module.parts(inside, bool(tokens) and k == 0, nonlinearity)
        parts += [_unit_part(parts[-1].layer.output_size, a, module) for a in activations]
    if nonlinearity is not None and not any(isinstance(part.layer, RNN) for part in parts):
        raise ValueError(
            f"nonlinearity: expected None where no module is an RNN, got {nonlinearity!r}"
        )
    return parts


def _embedding_or_linear(module, following, tokens):
    """The first module, where it is a matrix without a bias as what it is."""
    if not module.is_linear or "bias" in module.own:
        return module
    n_tokens, size = module.own["weight"].shape
    taken = following[0].module.input_size if following else None
    fits_embedding, fits_linear = taken in (None, size), taken in (None, n_tokens)
    if fits_embedding and fits_linear and tokens is None:
        raise ValueError(
            f"tokens: expected True where {module!r} is an Embedding, or False where it is a "
            "Linear module without a bias, for a state dict does not say which, got None"
        )
    if not fits_embedding or (fits_linear and not tokens):
        return module
    if tokens is False:
        raise ValueError(f"tokens: expected True for the Embedding {module!r}, got False")
    return _Table(module.name, module.tensors, module.own)


def _refuse_unsaid_activations(steps):
    """Raise where it is not said what stands behind a Linear module."""
    unsaid = [
        (step.module.name, after.module.name)
        for step, after in pairwise(steps)
        if step.module.is_linear and not step.activations
    ]
    if unsaid:
        example = []
        for step in steps:
            example.append(step.module.name)
            example += step.activations
            if any(step.module.name == name for name, _ in unsaid):
                example.append("relu")
        raise ValueError(
            "layers: expected an activation, or 'identity' for none, between "
            f"{' and '.join(map(short, unsaid[0]))}, for a state dict does not say which; "
            f"as in layers={short(example)}"
        )


def _unit_part(size, activation, module):
    """A layer that is nothing but an activation."""
    if size * size > MOST_ZEROS:
        raise ValueError(
            f"layers: expected no {activation!r} behind {short(module.name)}, whose {size} outputs "
            "are too many for a layer of this activation alone"
        )
    layer = Dense(size, size, activation=activation, bias=False)
    return _Part(layer, [{"W": np.eye(size, dtype=np.float32)}])


# -------------------------------------------------------------------------------- to PyTorch


def to_torch(
    net: Network, path: Path | None = None, *, names: Sequence[str] | None = None
) -> dict[str, NDArray[Any]]:
    """A network's weights as a state dict of PyTorch.

    It needs no PyTorch.

    Parameters
    ----------
    net : Network
        Of layers that PyTorch has: without peepholes, with the usual gates and activations, forward
        or bidirectional.
    path : str or path-like, optional
        Where to write them: a name that ends in ``.safetensors``.
    names : sequence of str, optional
        For each layer the name of its module. Recurrent layers that follow each other under one
        name are the layers of one module with ``num_layers``. By default "0", "1", ..., as in
        ``torch.nn.Sequential``.

    Returns
    -------
    dict of str to ndarray
        Copies, in the network's dtype.

    Raises
    ------
    ValueError
        A layer has what PyTorch's modules have not. The error names it.

    See Also
    --------
    from_torch : The reverse.

    Notes
    -----
    A state dict has weights alone. Activations, the readout and the output units are for the
    model's ``forward`` to say, ``batch_first=True`` and the nonlinearity of RNN modules for its
    constructor. The second of PyTorch's two biases is zero, but for the candidate of a GRU.

    In PyTorch ``model.load_state_dict(safetensors.torch.load_file(path))`` reads the file;
    ``{name: torch.from_numpy(array) for name, array in to_torch(net).items()}`` needs none.

    Examples
    --------
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(12, 32), lc.Dense(32, 9)], seed=0)
    >>> arrays = lc.to_torch(net, names=["lstm", "fc"])
    >>> {name: array.shape for name, array in arrays.items()}
    {'lstm.weight_ih_l0': (128, 12), 'lstm.weight_hh_l0': (128, 32), 'lstm.bias_ih_l0': (128,),
     'lstm.bias_hh_l0': (128,), 'fc.weight': (9, 32), 'fc.bias': (9,)}
    >>> bool((lc.from_torch(arrays).params == net.params).all())
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    refuse_initial(net, "a state dict of layers does not hold")
    if path is not None and not as_path(path).endswith(".safetensors"):
        raise ValueError(f"path: expected a name that ends in '.safetensors', got {path!r}")
    arrays = {}
    for k, (name, depth) in enumerate(_places(net.layers, names)):
        for key, array in _state_of(k, net.layers[k], net.weights[k], depth):
            arrays[f"{name}.{key}" if name else key] = array
    if path is not None:
        write_safetensors(path, arrays)
    return arrays


def _places(layers, names):
    """For each layer the name of its module, and its place in the module's stack."""
    if names is None:
        return [(str(k), 0) for k in range(len(layers))]
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"names: expected a list of str, got {describe(names)}")
    for k, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"names[{k}]: expected a str, got {describe(name)}")
    if len(names) != len(layers):
        raise ValueError(f"names: expected {len(layers)}, one for each layer, got {len(names)}")
    places = []
    for k, (name, layer) in enumerate(zip(names, layers, strict=True)):
        if k and name == names[k - 1]:
            below = layers[k - 1]
            if not layer.is_recurrent or _form(layer) != _form(below):
                raise ValueError(
                    f"names: expected another name for {layer!r} than for {below!r}, for they are "
                    f"no layers of one module, got {name!r} for both"
                )
            places.append((name, places[-1][1] + 1))
        elif name in names[:k]:
            raise ValueError(
                f"names: expected one name for layers that follow each other alone, got {names!r}"
            )
        else:
            places.append((name, 0))
    return places


def _form(layer):
    """What all layers of one module have in common."""
    return type(layer), layer.hidden_size, layer.directions, layer.options.get("activation")


def _state_of(k, layer, weights, depth):
    """The tensors of a layer under their names in its module."""
    _refuse_unsayable(k, layer)
    for suffix, direction in zip(("", "_reverse"), weights, strict=False):
        blocks = dict(zip(layer.cell.block_names, layer.masked(direction).blocks, strict=True))
        W, b = blocks["W"], blocks["b"]
        if not layer.is_recurrent:
            is_table = isinstance(layer, Embedding)
            yield "weight", (W.T if is_table else W).copy(order="C")
            if b is not None:
                yield "bias", b.copy()
            continue
        order = ORDERS["torch"][layer.cell.kind]
        biases = two_biases(layer.cell, order, b, blocks.get("bR"))
        arrays = reorder(W, layer.cell, order), reorder(blocks["R"], layer.cell, order), *biases
        for kind, array in zip(_TENSORS, arrays, strict=True):
            yield f"{kind}_l{depth}{suffix}", array


def _refuse_unsayable(k, layer):
    """Raise where a layer has what PyTorch's modules have not."""
    if layer.token_sizes:
        raise ValueError(
            f"net: expected layers that PyTorch has as one module, got layers[{k}] {layer!r}; its "
            "blocks in net.blocks are the tables of modules Embedding, transposed"
        )
    if not layer.is_recurrent:
        return  # activations are the model's affair
    usual = type(layer)(layer.input_size, layer.hidden_size).options
    for option, value in layer.options.items():
        if option in _FREE or value == usual[option]:
            continue
        if isinstance(layer, RNN) and option == "activation" and value in _NONLINEARITIES:
            continue
        raise ValueError(
            f"net: expected layers that PyTorch has, got layers[{k}] with {option}={value!r}, "
            f"where its {layer.cell.kind} has {usual[option]!r}"
        )

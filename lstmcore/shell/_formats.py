"""Models in files of any library, told apart by their suffixes; and ``convert``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._readout import READOUTS
from ..losses import LOSSES
from ..storage import load

CONVERT = """\
Read a model of one library and write it for another. The suffixes of the two names say which:

  .npz                               lstmcore, as Network.save writes it
  .pt, .pth, .ckpt, .safetensors     PyTorch: read; .safetensors is written
  .onnx                              ONNX: read and written
  .keras, .h5                        Keras: read; .keras is written

  {program} convert classifier.pt model.npz --readout last --loss cross_entropy
  {program} convert tagger.pt model.npz --layers lstm,fc1,relu,fc2
  {program} convert model.onnx model.npz
  {program} convert model.npz model.onnx --lengths
  {program} convert model.keras model.safetensors

.onnx needs the package onnx, and writing for Keras needs h5py. The other libraries need not be
there, and nothing in a file is run. A file may not say how sequences are read out, or what the
outputs were trained for. An import never guesses: --readout and --loss say it. A file of PyTorch
does not say the activations between modules either, nor always their order: --layers does. What the
other library cannot say is refused by name.
"""

_LIBRARIES = {
    "PyTorch": (".pt", ".pth", ".ckpt", ".safetensors"),
    "ONNX": (".onnx",),
    "Keras": (".keras", ".h5", ".hdf5"),
}
_WRITTEN = (".npz", ".safetensors", ".onnx", ".keras")
# The options of `convert` and the libraries whose files take them.
_OPTIONS = {
    "readout": ("PyTorch", "ONNX", "Keras"),
    "loss": ("PyTorch", "ONNX", "Keras"),
    "dtype": ("PyTorch", "ONNX", "Keras"),
    "nonlinearity": ("PyTorch",),
    "entry": ("PyTorch",),
    "layers": ("PyTorch",),
    "ignore": ("PyTorch",),
    "tokens": ("PyTorch",),
    "output": ("ONNX",),
    "linear_before_reset": ("ONNX",),
    "config": ("Keras",),
}


def read_model(path, **options):
    """The network in a file.

    Parameters
    ----------
    path : str
    **options
        Of the importer of the library that the suffix stands for; None is not given.
    """
    library = _library(path)
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if library not in _OPTIONS[name]:
            of = " or ".join(_OPTIONS[name])
            raise ValueError(f"{_flag(name)}: expected a file of {of}, got {path}")
    # Imported here: what a command does not read, it need not import.
    if library == "PyTorch":
        from ..interop.torch import from_torch

        return from_torch(path, **options)
    if library == "ONNX":
        from ..interop.onnx import from_onnx

        return from_onnx(path, **options)
    if library == "Keras":
        from ..interop.keras import from_keras

        return from_keras(path, **options)
    return load(path)


def _library(path):
    suffix = Path(path).suffix.lower()
    return next((name for name, those in _LIBRARIES.items() if suffix in those), "lstmcore")


def _flag(name):
    return f"--{name.replace('_', '-')}"


def _add_convert(command):
    command.usage = "%(prog)s [options] MODEL OUT"
    command.add_argument("model", metavar="MODEL", help="the file that is read")
    command.add_argument("out", metavar="OUT", help="the file that is written")
    command.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    add = command.add_argument_group("what MODEL does not say").add_argument
    add("--readout", choices=READOUTS, help="how sequences are read out")
    add("--loss", choices=LOSSES, metavar="NAME", help=f"the loss: {', '.join(LOSSES)}")
    add("--dtype", choices=("float64", "float32"), help="by default that of the weights")
    add("--nonlinearity", choices=("tanh", "relu"), help="of PyTorch's RNN")
    add("--entry", metavar="NAME", help="where in a PyTorch checkpoint the weights are")
    add(
        "--layers",
        type=_as_names,
        metavar="NAMES",
        help="a PyTorch model's forward pass: its modules and the activations between them, as "
        "lstm,fc1,relu,fc2",
    )
    add(
        "--ignore",
        type=_as_names,
        metavar="NAMES",
        help="PyTorch tensors to leave out, or patterns: 'decoder.*'",
    )
    add(
        "--tokens",
        choices=(False, True),
        type=_as_bit,
        metavar="{0,1}",
        help="whether a PyTorch model takes tokens, where shapes do not say it",
    )
    add("--output", metavar="NAME", help="the output of an ONNX graph, where it has several")
    add(
        "--linear-before-reset",
        type=_as_bit,
        metavar="{0,1}",
        help="of ONNX GRUs, whatever the file says",
    )
    add("--config", metavar="FILE", help="the config.json that belongs to Keras' .weights.h5")
    add = command.add_argument_group("what is written to an .onnx file").add_argument
    add("--lengths", action="store_true", help="with an input for the steps of each sequence")
    add("--states", action="store_true", help="with the states as inputs and outputs")


def _as_names(text):
    return text.split(",")


def _as_bit(text):
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"expected 0 or 1, got {text!r}")
    return text == "1"


def _convert(arguments):
    out = Path(arguments.out)
    suffix = out.suffix.lower()
    if suffix not in _WRITTEN:
        raise ValueError(
            f"OUT: expected a name that ends in {', '.join(_WRITTEN)}, got {arguments.out}"
        )
    for name in ("lengths", "states"):
        if getattr(arguments, name) and suffix != ".onnx":
            raise ValueError(f"{_flag(name)}: expected OUT to end in .onnx, got {arguments.out}")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"OUT: {arguments.out} is there already; --overwrite replaces it")
    net = read_model(arguments.model, **{name: getattr(arguments, name) for name in _OPTIONS})
    if suffix == ".npz":
        net.save(arguments.out)
    elif suffix == ".safetensors":
        from ..interop.torch import to_torch

        to_torch(net, arguments.out)
    elif suffix == ".onnx":
        net.to_onnx(arguments.out, lengths=arguments.lengths, states=arguments.states)
    else:
        from ..interop.keras import to_keras

        to_keras(net, arguments.out)
    print(net.summary())


COMMANDS = {"convert": ("a model of one library for another", CONVERT, _add_convert, _convert)}

"""``info`` and ``export``: models that are trained."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from .._archive import printable, refusing
from ..export import export_c, run_self_test
from ._formats import read_model

INFO = """\
Show what is in a model file: its layers, their outputs and parameters, the loss and the readout,
and the notes that train or Network.save has left there, such as the names of classes.

  {program} info model.npz
  {program} info model.onnx                 or what else convert reads
"""

EXPORT = """\
Write a trained network as self-contained C99. It needs no library and allocates nothing; weights
are const (flash), and each sequence that is under way has its state in a struct of yours.

  {program} export model.npz build/ --name vowels --self-test

writes build/vowels.h, build/vowels.c, the runtime lstmrt_*.h and the self-test
vowels_selftest.c. A program uses it so:

  #include "vowels.h"                     cc -std=c99 -O2 program.c vowels.c
  static vowels_state state;              one for each sequence
  vowels_reset(&state);                   before the first time step
  vowels_step(&state, x, y);              x[VOWELS_INPUTS] in, y[VOWELS_OUTPUTS] out

vowels_sequence(&state, x, n_steps, y) does many steps; with a bidirectional layer it is the only
way and also takes a buffer of VOWELS_BUFFER(n_steps) numbers. vowels.h says it all.

To prove a port, compile vowels_selftest.c, too, and call vowels_selftest() on the device: 0 says
that recorded inputs give the recorded outputs. --self-test does this on the machine you are at.

--dtype int8 makes weights a quarter as large. It needs --data, typical inputs as the network was
trained on: the ranges of all numbers and the rounding of the weights come from them, and the
report says how far the outputs then are from the float network's on data left out.
"""

DATA = """\
typical inputs: a .npy file with one array (sequences, time steps, inputs), for a network that takes
tokens of integers (sequences, time steps), or a .npz file with such an array X and perhaps lengths,
the steps of each sequence
"""


def _add_info(command):
    command.add_argument(
        "model", metavar="MODEL", help="a file that Network.save has written, or what convert reads"
    )


def _info(arguments):
    net = read_model(arguments.model)
    print(net)
    print(net.summary())
    for note, text in net.notes.items():
        print(printable(f"{note}: {text if isinstance(text, str) else ', '.join(text)}"))
    wrong = net.params.size - np.count_nonzero(np.isfinite(net.params))
    if wrong:
        print(f"{wrong} parameters are NaN or infinite")


def _add_export(command):
    command.usage = "%(prog)s [options] MODEL OUT"
    command.add_argument(
        "model", metavar="MODEL", help="a file that Network.save has written, or what convert reads"
    )
    command.add_argument("directory", metavar="OUT", help="directory, made if it is not there")
    command.add_argument(
        "--name", help="of functions, types and files, a C identifier (default: the model's file)"
    )
    command.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float64", "int8"),
        help="what the C program computes in (default: %(default)s)",
    )
    command.add_argument("--data", metavar="FILE", help=" ".join(textwrap.wrap(DATA)))
    command.add_argument("--overwrite", action="store_true", help="replace files that are there")
    command.add_argument(
        "--self-test",
        action="store_true",
        help="compile the test program with $CC or cc and run it",
    )


def _export(arguments):
    data = lengths = None
    if arguments.data:
        data, lengths = _read_data(arguments.data)
    name = Path(arguments.model).stem if arguments.name is None else arguments.name
    report = export_c(
        read_model(arguments.model),
        arguments.directory,
        name=name,
        dtype=arguments.dtype,
        data=data,
        lengths=lengths,
        overwrite=arguments.overwrite,
    )
    print(report)
    if arguments.self_test:
        print(f"self-test: {run_self_test(arguments.directory, name)}")


def _read_data(path):
    """Sequences and their lengths, or None, from a file."""
    what = "a .npy file, or a .npz file with an array X"
    with refusing(path, what, "--data"), open(path, "rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            if "X" not in content:
                raise ValueError(f"its arrays are {', '.join(content)}")
            return content["X"], content.get("lengths")


COMMANDS = {
    "info": ("show a model", INFO, _add_info, _info),
    "export": ("write a model as C", EXPORT, _add_export, _export),
}

"""``predict``: what a saved network makes of a file."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np

from .._archive import at_once
from .._checks import describe
from ..decoding import decode
from ..losses import CTC
from ._data import read_inputs
from ._formats import read_model
from ._notes import names_noted, text_noted

PREDICT = """\
Apply a network to the sequences in a file, and print its outputs as a table (.csv) or write them.

  {program} predict model.npz words.csv                 to the screen
  {program} predict model.npz words.csv said.csv        to a file
  {program} predict model.onnx words.npz said.csv       of whatever convert reads
  {program} predict model.npz trials.csv --sequence trial --features left,right
  {program} predict model.npz lines.csv --labels                 what the loss ctc reads

A row is a sequence, or a step of one where the network says something at each step. Its columns are
the sequence's name (that of a table, or the number of an array's), the step, which counts from 0,
and the outputs; of a network that tells classes the most probable one, and p(...), the probability
of each. A forecast of "level" three steps later is the column level+3. With --labels a row is a
sequence: the labels that a network with the loss ctc reads in it, with spaces between them, and the
logarithm of their probability.

DATA is a table (.csv) as train reads it, with or without the columns to be learned; or a .npz file
with an array X (sequences, steps, inputs) and perhaps lengths, or a .npy file that is such an X.
For a network that takes tokens the inputs are one column of integers, and X is (sequences, steps).

train leaves in the model the names of its classes, targets, inputs and of the column of sequences,
so that they need not be said again. Of other models all columns but the sequence's are inputs, in
their order, and classes are numbers. What a file of another library does not say, convert says.
"""


def _add_predict(command):
    command.usage = "%(prog)s [options] MODEL DATA [OUT]"
    add = command.add_argument
    add("model", metavar="MODEL", help="a file that train has written, or what convert reads")
    add("data", metavar="DATA", help="a .csv, .npz or .npy file")
    add("out", metavar="OUT", nargs="?", help="the .csv file that is written")
    add("--sequence", metavar="COLUMN", help="whose step a row is (default: as in training)")
    add("--features", metavar="COLUMNS", help="the inputs (default: as in training)")
    add("--labels", action="store_true", help="labels of sequences, by a network with the loss ctc")
    add("--width", type=int, metavar="N", help="of the beam that finds them (default: 1, no beam)")
    add("--overwrite", action="store_true", help="replace a file that is there")


def _predict(arguments):
    if arguments.out is not None:
        _check_out(arguments)
    net = read_model(arguments.model)
    if arguments.labels and not isinstance(net.options["loss"], CTC):
        raise ValueError(
            f"--labels: expected a network with the loss 'ctc', got one with {net.loss_name!r}"
        )
    if arguments.width is not None and not arguments.labels:
        raise ValueError(f"--width: expected --labels with it, got {describe(arguments.width)}")
    if net.initial is not None:
        raise ValueError(
            "MODEL: expected a network whose initial states are no function of features, for which "
            f"DATA has no place, got initial={net.initial!r}; Network.predict takes features"
        )
    data = read_inputs(arguments.data, net, arguments)
    names = _names(net)
    outputs = net.predict(data.X)
    if not all(np.isfinite(y).all() for y in outputs):
        raise ValueError(
            f"MODEL: expected a network with finite outputs, got NaN or infinity from "
            f"{arguments.model}; info says whether its parameters are finite"
        )
    rows = _rows(net, data.ids, outputs, names)
    header = [data.sequence] + ["step"] * (net.readout == "all" and not arguments.labels)
    if arguments.labels:
        header += ["labels", "ln p"]
        width = 1 if arguments.width is None else arguments.width
        rows = _labels(data.ids, decode(net, data.X, width=width), names)
    elif net.output_units == "softmax":
        header += ["class", *(f"p({name})" for name in names)]
    else:
        header += names

    def write(file):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)

    if arguments.out is None:
        write(sys.stdout)
        return
    at_once(arguments.out, lambda file: _as_text(file, write), "OUT")
    print(f"{arguments.out} has the outputs for {len(data.ids)} sequences")


def _check_out(arguments):
    """Refuse a file that must not be written before anything is read."""
    out = Path(arguments.out)
    for name in ("model", "data"):
        path = Path(getattr(arguments, name))
        if out.exists() and path.exists() and out.samefile(path):
            raise ValueError(f"OUT: expected another file than {name.upper()}, got {out}")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"OUT: {out} is there already; --overwrite replaces it")


def _names(net):
    """What the network's classes, or its outputs, are called."""
    K = net.output_size
    if net.output_units == "softmax":
        return names_noted(net, "classes", K) or [str(k) for k in range(K)]
    names = names_noted(net, "targets", K)
    if names is None:
        return ["y"] if K == 1 else [f"y[{k}]" for k in range(K)]
    horizon = text_noted(net, "horizon")
    return names if horizon is None else [f"{name}+{horizon}" for name in names]


def _rows(net, ids, outputs, names):
    for one, y in zip(ids, outputs, strict=True):
        for step, row in enumerate(y) if net.readout == "all" else [(None, y)]:
            cells = [one] if step is None else [one, step]
            if net.output_units == "softmax":
                cells.append(names[int(row.argmax())])
            yield cells + [str(value) for value in row]


def _labels(ids, results, names):
    for one, result in zip(ids, results, strict=True):
        labels = " ".join(names[label] for label in result.labels)
        yield [one, labels, str(result.log_probability)]


def _as_text(file, write):
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    write(text)
    text.detach()  # flushed, and left open for whoever has opened it


COMMANDS = {"predict": ("apply a model to a file", PREDICT, _add_predict, _predict)}

"""``train``: a data set in, a model and a report out."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from .._minimize import _DRIVERS, ConvergenceWarning
from .._run import STOPPED
from ..cells import GRU, LSTM, RNN, Dense
from ..network import Network
from ..optimizers import METHODS as METHODS_OF_EPOCHS
from ..scaling import Scaler
from ..training import fit
from ._data import read_data
from ._fold import fold_inputs, fold_outputs
from ._report import draw, score

TRAIN = """\
Train a network on sequences in a file, say how good it is on data that it has not seen, save it.

A class for each sequence or each step, a value at each step, or the later values of a column:

  {program} train words.csv model.npz --label speaker
  {program} train walks.csv model.npz --label foot --each-step
  {program} train engine.csv model.npz --target torque --units 16
  {program} train sunspots.csv model.npz --forecast number --horizon 12

A table (.csv) has a header and a row for each step. The column "sequence", or --sequence COLUMN,
says which sequence a step belongs to; without one the table is one sequence. All columns that have
no other job are inputs, unless --features names them. "label" and "target" are found by name.

  sequence,x,y,label
  a,0.1,2.0,yes
  a,0.3,1.9,yes
  b,0.0,2.2,no

Arrays (.npz): X (sequences, steps, inputs), perhaps lengths (sequences), and y: a class of each
sequence where it is integers or words (sequences), values of each sequence where it is floats
(sequences) or (sequences, targets), values at each step where it is (sequences, steps) or
(sequences, steps, targets). With --each-step it is classes of steps (sequences, steps).
--forecast K is for input number K.

With --tokens N the one column of inputs is integers from 0 to N-1, such as the numbers of words;
in a .npz file X is (sequences, steps).

Of the data a fifth is held out for the report and trains nothing (--holdout): whole sequences or,
where there are fewer than ten and steps have targets, the last steps of each. Inputs and numeric
targets are scaled to mean 0 and standard deviation 1 for the training; then the scaling is
multiplied into the first and the last layer, so the saved model takes and gives numbers as they
stand in the file, in Python as in exported C.

Ctrl-C ends the training early: the best model so far is saved and reported, with exit code 130.

  {program} train words.csv model.npz --cell gru --bidirectional --restarts 4 --l2 1e-4
  {program} train words.csv model.npz --validation 0.2 --patience 20 --plot run.png
  {program} train big.npz model.npz --method adam --batch-size 32 --max-iter 50
"""

_CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
_FLAGS = {
    "batch_size": "--batch-size",
    "l2": "--l2",
    "learning_rate": "--learning-rate",
    "n_jobs": "--jobs",
    "n_restarts": "--restarts",
}
_FEW = 10  # sequences, below which steps are held out


def _share(text):
    with suppress(ValueError):
        if 0 <= float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, got {text!r}")


def _count(text):
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")


def _add_train(command):
    command.usage = "%(prog)s [options] DATA OUT"
    add = command.add_argument
    add("data", metavar="DATA", help="a .csv or .npz file")
    add("model", metavar="OUT", help="the model's file, as Network.save writes it")
    group = command.add_argument_group("what is learned")
    add = group.add_argument
    task = group.add_mutually_exclusive_group()
    task.add_argument("--label", metavar="COLUMN", help="the class, of each sequence")
    task.add_argument("--target", metavar="COLUMNS", help="values at each step: names with commas")
    task.add_argument("--forecast", metavar="COLUMNS", help="values --horizon steps later")
    add("--each-step", action="store_true", help="a class is of a step, not of its sequence")
    add("--horizon", type=_count, default=1, metavar="N", help="of forecasts (default: 1)")
    add("--sequence", metavar="COLUMN", help='whose step a row is (default: "sequence")')
    add("--features", metavar="COLUMNS", help="the inputs (default: all other columns)")
    add("--tokens", type=_count, metavar="N", help="the input is integers from 0 to N-1")
    add("--holdout", type=_share, default=0.2, metavar="SHARE", help="of the data (default: 0.2)")
    add = command.add_argument_group("the network").add_argument
    add("--cell", choices=_CELLS, default="lstm", help="default: lstm")
    add("--units", type=_count, default=32, metavar="N", help="of each layer (default: 32)")
    add("--layers", type=_count, default=1, metavar="N", help="recurrent ones (default: 1)")
    add("--bidirectional", action="store_true", help="read sequences from both ends")
    add("--peepholes", action="store_true", help="of LSTM layers")
    add(
        "--readout",
        choices=("last", "mean", "max", "last_step"),
        help="how whole sequences are read (default: mean for classes, last for values)",
    )
    add = command.add_argument_group("the training").add_argument
    add(
        "--method",
        choices=tuple(_DRIVERS),
        default="L-BFGS-B",
        help="default: L-BFGS-B",
        metavar="NAME",
    )
    add("--max-iter", type=_count, metavar="N", help="iterations or epochs at most")
    add("--batch-size", type=_count, metavar="N", help="sequences, of adam, sgd and rmsprop")
    add("--learning-rate", type=float, metavar="RATE", help="of adam, sgd and rmsprop")
    add("--l2", "--alpha", type=float, default=0.0, metavar="STRENGTH", help="weight penalty")
    add("--balanced", action="store_true", help="classes count alike, however frequent they are")
    add("--validation", type=_share, default=0.0, metavar="SHARE", help="chooses the iteration")
    add("--patience", type=_count, metavar="N", help="iterations without a better validation")
    add("--restarts", type=int, default=0, metavar="N", help="more starts, the best is kept")
    add("--jobs", type=int, default=1, metavar="N", help="restarts at a time")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    add("--no-scale", action="store_true", help="take the numbers as they are")
    add = command.add_argument_group("files and output").add_argument
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--report", metavar="FILE", help="also write the report as JSON")
    add("--plot", metavar="FILE", help="draw the run and the result (.png, .pdf, .svg)")
    add("--quiet", action="store_true", help="print errors and notes alone")


def _train(arguments):
    _check_files(arguments)
    data = read_data(arguments.data, arguments)
    _check_options(data, arguments)
    net = _network(data, arguments)
    train, held, what = _hold_out(data, net, arguments)

    def say(topic, text):
        if not arguments.quiet:
            for k, line in enumerate(text.splitlines()):
                print(f"{'' if k else topic:<10} {line}".rstrip(), flush=True)

    say("data", _summary(data))
    say("held out", what)
    say("network", net.summary())
    result = _fit(net, train, data, arguments)
    names = {"classes" if data.are_classes else "targets": data.outputs}
    net.save(arguments.model, notes=data.notes | names)  # first, whatever becomes of the report
    is_stopped = _is_stopped(result, arguments.restarts)
    say(
        "training",
        f"{arguments.method}: {result.message}; {result.nit} iterations, loss {result.fun:.4g}",
    )
    report = {
        "data": str(arguments.data),
        "model": str(arguments.model),
        "inputs": data.inputs,
        **names,
        "method": arguments.method,
        "iterations": int(result.nit),
        "loss": float(result.fun),
        "message": str(result.message),
        "interrupted": is_stopped,
    }
    scored = held or train
    figures, text, shown = score(net, scored, train, data)
    report["held out" if held else "training"] = figures
    say("held out" if held else "training", text)
    outputs = "a probability for each of" if data.are_classes else "outputs"
    say(
        "saved",
        f"{arguments.model}\ninputs, as they stand in the file: {_joined(data.inputs)}\n"
        f"{outputs}: {_joined(data.outputs)}",
    )
    if arguments.report:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        Path(arguments.report).write_text(text + "\n", encoding="utf-8")
    if arguments.plot:
        draw(arguments.plot, result, data, *shown)
    if is_stopped:
        print(f"interrupted: {arguments.model} has the best model so far", file=sys.stderr)
        return 130
    return 0


def _summary(data):
    lengths = [len(x) for x in data.X]
    few, many = min(lengths), max(lengths)
    steps = _count_of(many, "step") if few == many else f"{few} to {many} steps"
    sequences, inputs = _count_of(len(lengths), "sequence"), _count_of(len(data.inputs), "input")
    if data.tokens:
        inputs = _count_of(data.tokens, "token")
    what = _joined(data.outputs)
    if data.are_classes:
        what = f"{len(data.outputs)} classes{' of steps' if data.per_step else ''}"
    return f"{sequences} of {steps}; {inputs}; {what}"


def _count_of(n, thing):
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _joined(names):
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _check_files(arguments):
    """Refuse files that cannot be written before anything is trained."""
    for name in ("model", "report", "plot"):
        given = getattr(arguments, name)
        if given is None:
            continue
        shown, path = "OUT" if name == "model" else f"--{name}", Path(given)
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"{shown}: expected a file in a directory that is there, got {given}")
        if path.exists() and path.samefile(arguments.data):
            raise ValueError(f"{shown}: expected another file than DATA, got {given}")
        if path.exists() and not arguments.overwrite:
            raise FileExistsError(f"{shown}: {given} is there already; --overwrite replaces it")
    if arguments.plot:
        from ..plots import import_pyplot

        canvas = import_pyplot().Figure().canvas
        if Path(arguments.plot).suffix[1:].lower() not in canvas.get_supported_filetypes():
            raise ValueError(
                f"--plot: expected a name that ends in .png, .pdf or .svg, got {arguments.plot}"
            )


def _check_options(data, arguments):
    """Refuse options that do not go together, or not with the data."""
    if arguments.bidirectional and data.naive is not None:
        raise ValueError("--bidirectional: expected none with --forecast, which it would read")
    if data.per_step and arguments.readout:
        raise ValueError(
            f"--readout: expected none where steps have targets, got {arguments.readout}"
        )
    if arguments.peepholes and arguments.cell != "lstm":
        raise ValueError(f"--peepholes: expected --cell lstm, got {arguments.cell}")
    if arguments.balanced and not data.are_classes:
        raise ValueError("--balanced: expected none where no classes are learned")
    if arguments.patience and not arguments.validation:
        raise ValueError("--patience: expected --validation SHARE beside it, got none")


def _network(data, arguments):
    options = {"bidirectional": arguments.bidirectional}
    if arguments.peepholes:
        options["peepholes"] = True
    layers, size = [], data.tokens or len(data.inputs)
    for k in range(arguments.layers):
        tokens = k == 0 and data.tokens is not None
        layers.append(_CELLS[arguments.cell](size, arguments.units, tokens=tokens, **options))
        size = layers[-1].output_size
    layers.append(Dense(size, len(data.outputs)))
    loss = "cross_entropy" if data.are_classes else "squared_error"
    of_sequences = arguments.readout or ("mean" if data.are_classes else "last")
    readout = "all" if data.per_step else of_sequences
    return Network(layers, loss, readout, seed=arguments.seed)


# ------------------------------------------------------------------------------- what is held out


class _Part:
    """Some of the sequences; scored are their steps from `begin` on."""

    def __init__(self, X, Y, naive=None, begin=None):
        self.X, self.Y, self.naive = X, Y, naive
        self.begin = [0] * len(X) if begin is None else begin


def _hold_out(data, net, arguments):
    """Two parts, of which the second may be None, and what the second is in words."""
    share, n = arguments.holdout, len(data.X)
    whole = _Part(data.X, data.Y, data.naive)
    if not share:
        return whole, None, "nothing"
    if data.per_step and n < _FEW:
        return *_cut(data, share), f"the last {share:.0%} of the steps of each sequence"
    if n < 2:
        raise ValueError(f"DATA: expected two sequences or more, got {n}")
    rng = np.random.default_rng(arguments.seed)
    kept, held = net.prepare(data.X, data.Y).split(share, rng)

    def part(places):
        Y = data.Y[places] if isinstance(data.Y, np.ndarray) else [data.Y[b] for b in places]
        naive = None if data.naive is None else [data.naive[b] for b in places]
        return _Part([data.X[b] for b in places], Y, naive)

    return part(kept), part(held), _count_of(len(held), "sequence")


def _cut(data, share):
    shortest = min(map(len, data.X))
    if shortest < 2:
        raise ValueError(f"--holdout: expected two steps or more, got a sequence of {shortest}")
    cuts = [max(len(x) - max(round(share * len(x)), 1), 1) for x in data.X]
    train = _Part(
        [x[:cut] for x, cut in zip(data.X, cuts, strict=True)],
        [y[:cut] for y, cut in zip(data.Y, cuts, strict=True)],
    )
    return train, _Part(data.X, data.Y, data.naive, cuts)


# --------------------------------------------------------------------------------------- training


def _fit(net, part, data, arguments):
    """Train on scaled numbers; then the scaling goes into the weights."""
    X, Y, inputs, targets = part.X, part.Y, None, None
    if not arguments.no_scale:
        if data.tokens is None:
            inputs = Scaler().fit(X)
            X = inputs.transform(X)
        if not data.are_classes:
            targets = Scaler().fit(Y)
            Y = targets.transform(Y)
    options = {"method": arguments.method, "l2": arguments.l2}
    limit = "max_epochs" if arguments.method in METHODS_OF_EPOCHS else "max_iter"
    given = {
        limit: arguments.max_iter,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "patience": arguments.patience,
        "validation_split": arguments.validation or None,
    }
    options |= {name: value for name, value in given.items() if value is not None}
    if arguments.balanced:
        options["class_weight"] = "balanced"
    if arguments.validation and len(X) < 2:
        raise ValueError(f"--validation: expected two sequences or more to train on, got {len(X)}")
    if arguments.validation or arguments.restarts or arguments.method in METHODS_OF_EPOCHS:
        options["seed"] = arguments.seed
    with warnings.catch_warnings(record=True) as notes, _by_options():
        warnings.simplefilter("always", UserWarning)
        result = fit(
            net,
            X,
            Y,
            n_restarts=arguments.restarts,
            n_jobs=arguments.jobs,
            progress=sys.stderr.isatty() and not arguments.quiet and arguments.jobs == 1,
            **options,
        )
    for note in notes:
        text = str(note.message)
        if note.category is ConvergenceWarning:  # whose ways out are those of a program
            text = f"{text.partition('; ')[0]}; try another --seed, --max-iter or --method"
        warnings.warn(text, note.category, stacklevel=1)
    if inputs is not None:
        fold_inputs(net, inputs)
    if targets is not None:
        fold_outputs(net, targets)
    return result


@contextmanager
def _by_options():
    """Call what `fit` refuses by the options that it came from."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        name, _, rest = str(error).partition(": ")
        if name not in _FLAGS:
            raise
        raise type(error)(f"{_FLAGS[name]}: {rest}") from error


def _is_stopped(result, n_restarts):
    """Whether the keyboard has ended the training."""
    runs = result.get("restarts", [result])
    return len(runs) != n_restarts + 1 or any(run.status == STOPPED for run in runs)


COMMANDS = {"train": ("train a network on a file", TRAIN, _add_train, _train)}

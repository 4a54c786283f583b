"""Data sets in files, for ``train`` and ``predict``: tables (.csv) and arrays (.npz, .npy)."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._archive import refusing
from ._notes import names_noted, text_noted

_DELIMITERS = ",;\t"
_NAMED = 12  # columns that an error lists
_MOST_DIGITS = 9  # of a token


@dataclass
class Data:
    """Sequences and what is to be learned of them.

    Attributes
    ----------
    X : list of (T, I) float64 arrays, or of (T,) arrays of int
        Of tokens where there is a number of `tokens`.
    Y : arrays of int or float64
        (B,) or (B, K): a class or K numbers of each sequence. Where they are `per_step`, a list of
        (T,) or (T, K).
    are_classes, per_step : bool
    inputs, outputs : list of str
        The names of the features; of the classes or the targets.
    naive : list of (T, K) arrays or None
        For forecasts: what a forecast that nothing changes would say.
    notes : dict
        For the model's file; see `_notes`.
    tokens : int or None
        How many there are.
    """

    X: list[Any]
    Y: Any
    are_classes: bool
    per_step: bool
    inputs: list[str]
    outputs: list[str]
    naive: list[Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    tokens: int | None = None


@dataclass
class Inputs:
    """Sequences alone.

    Attributes
    ----------
    X : list of (T, I) float64 arrays, or of (T,) arrays of int
    sequence : str
        What the column of sequences is called.
    ids : list of str
        The sequences there.
    """

    X: list[Any]
    sequence: str
    ids: list[str]


def read_data(path, options):
    """A `Data`.

    Parameters
    ----------
    path : str
    options : argparse.Namespace
        With sequence, features, label, each_step, target, forecast, horizon, tokens, as on the
        command line.
    """
    if options.tokens and options.forecast is not None:
        raise ValueError(
            "--tokens: expected a label or a target to learn, for a forecast is of numbers, got "
            f"--forecast {options.forecast}"
        )
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        data = _read_table(path, options)
    elif suffix == ".npz":
        data = _read_arrays(path, options)
    else:
        raise ValueError(f"DATA: expected a name that ends in .csv or .npz, got {path}")
    if options.each_step and not data.are_classes:
        raise ValueError(
            f"--each-step: expected a label to learn, got numbers in {_list(data.outputs)}"
        )
    data.tokens = options.tokens
    return data


def read_inputs(path, net, options):
    """`Inputs` for a network.

    Parameters
    ----------
    path : str
    net : Network
        Its notes say what is not asked for.
    options : argparse.Namespace
        With sequence and features, as on the command line.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        return _inputs_of_table(path, net, options)
    if suffix in (".npz", ".npy"):
        return _inputs_of_arrays(path, net, options)
    raise ValueError(f"DATA: expected a name that ends in .csv, .npz or .npy, got {path}")


def _forecasts(columns, horizon, names):
    """Targets and naive forecasts, given a sequence's (T, K) values of the columns."""
    for values, name in zip(columns, names, strict=True):
        if len(values) <= horizon:
            raise ValueError(
                f"--horizon: expected fewer steps than every sequence has, got {horizon}; "
                f"{name} has {len(values)}"
            )
    return [v[horizon:] for v in columns], [v[:-horizon] for v in columns]


# ----------------------------------------------------------------------------------------- tables


def _read_table(path, options):
    table = _Table(path)
    sequence, features, are_classes, targets = _columns(table.header, options)
    rows_of = table.rows_of(sequence)
    names = [f"sequence {one!r}" if sequence else "the table" for one in rows_of]
    notes = {"inputs": features} | ({"sequence": sequence} if sequence else {})
    if options.tokens:
        if len(features) > 1:
            raise ValueError(
                f"--tokens: expected one column of inputs, which --features names, got "
                f"{len(features)}: {_list(features)}"
            )
        X = table.tokens(features[0], rows_of, options.tokens)
    else:
        X = table.numbers(features, rows_of)
    if are_classes and options.each_step:
        labels = table.labels(targets[0], rows_of)
        return _with_labels(X, labels, features, notes, per_step=True)
    if are_classes:
        labels = []
        for own, name in zip(rows_of.values(), names, strict=True):
            classes = sorted({table.cell(k, targets[0]) for k in own})
            if len(classes) > 1:
                raise ValueError(
                    f"DATA: expected one {targets[0]} for all steps of a sequence, got "
                    f"{classes[0]!r} and {classes[1]!r} in {name} of {path}; "
                    + ("" if sequence else "--sequence COLUMN says where sequences begin, and ")
                    + "--each-step learns the class of each step"
                )
            if not classes[0]:
                raise ValueError(f"DATA: expected a {targets[0]} of {name} of {path}, got none")
            labels += classes
        return _with_labels(X, labels, features, notes)
    Y = table.numbers(targets, rows_of)
    if options.forecast is None:
        return Data(X, Y, False, True, features, targets, notes=notes)
    Y, naive = _forecasts(Y, options.horizon, names)
    X = [x[: -options.horizon] for x in X]
    notes["horizon"] = str(options.horizon)
    return Data(X, Y, False, True, features, targets, naive, notes)


def _inputs_of_table(path, net, options):
    table = _Table(path)
    noted, sequence = names_noted(net, "inputs"), options.sequence
    if sequence is None:
        sequence = text_noted(net, "sequence")
        if sequence is None and "sequence" in table.header:
            sequence = "sequence"
        elif sequence is not None and sequence not in table.header:
            raise ValueError(
                f"DATA: expected the column of sequences {sequence!r}, as in training, got "
                f"{_list(table.header)}; --sequence COLUMN names another"
            )
    else:
        _check_columns("--sequence", [sequence], table.header)
    if options.features is not None:
        features = _names(options.features)
        _check_columns("--features", features, table.header)
    elif noted is not None:
        features = noted
        missing = [name for name in noted if name not in table.header]
        if missing:
            raise ValueError(
                f"DATA: expected the inputs of the training, {_list(noted)}, got a table without "
                f"{missing[0]!r}; --features COLUMNS names others"
            )
    else:
        features = [name for name in table.header if name != sequence]
    are_tokens = net.takes_tokens and len(features) == 1
    if not are_tokens and len(features) != net.input_size:
        raise ValueError(
            f"--features: expected {net.input_size} columns, as MODEL takes, got {len(features)}: "
            f"{_list(features)}"
        )
    rows_of = table.rows_of(sequence)
    if are_tokens:
        X = table.tokens(features[0], rows_of, net.input_size)
    else:
        X = table.numbers(features, rows_of)
    return Inputs(X, sequence or "sequence", list(rows_of))


class _Table:
    """A file's header, its rows, and the line on which each ends."""

    def __init__(self, path):
        self._path = path
        with refusing(path, "a table with a header", "DATA"):
            self.header, self._rows, self._lines = _rows_of(path)
        self._at = {name: k for k, name in enumerate(self.header)}

    def cell(self, k, column):
        """That of row k."""
        return self._rows[k][self._at[column]]

    def rows_of(self, sequence):
        """The numbers of the rows of each sequence, by its name; without a column it is "0"."""
        if sequence is None:
            return {"0": range(len(self._rows))}
        numbers = {}
        for k in range(len(self._rows)):
            numbers.setdefault(self.cell(k, sequence), []).append(k)
        return numbers

    def numbers(self, columns, rows_of):
        """(T, columns) for each sequence."""
        table = np.empty((len(self._rows), len(columns)))
        for j, column in enumerate(columns):
            for k in range(len(table)):
                table[k, j] = self._parse(k, column, _finite, "numbers")
        return [table[own] for own in rows_of.values()]

    def tokens(self, column, rows_of, n):
        """(T,) for each sequence, of integers below n."""

        def token(cell):
            is_one = cell.isascii() and cell.isdigit() and len(cell) <= _MOST_DIGITS
            return int(cell) if is_one and int(cell) < n else None

        what = f"tokens, integers from 0 to {n - 1}"
        return [
            np.array([self._parse(k, column, token, what) for k in own], np.intp)
            for own in rows_of.values()
        ]

    def labels(self, column, rows_of):
        """Those of all steps, sequence by sequence."""
        what = "a label at every step"
        return [
            self._parse(k, column, lambda cell: cell or None, what)
            for own in rows_of.values()
            for k in own
        ]

    def _parse(self, k, column, parse, what):
        value = parse(self.cell(k, column))
        if value is None:
            raise ValueError(
                f"DATA: expected {what}, got {self.cell(k, column)!r} on line {self._lines[k]} of "
                f"{self._path}, column {column}"
            )
        return value


def _finite(cell):
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _rows_of(path):
    """The header, the rows, and the line on which each ends."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(_DELIMITERS, key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not header or not all(header):
            raise ValueError("its first line has to name every column")
        twice = [name for k, name in enumerate(header) if name in header[:k]]
        if twice:
            raise ValueError(f"two columns are called {twice[0]!r}")
        rows, lines = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                )
            rows.append([cell.strip() for cell in row])
            lines.append(reader.line_num)
    if not rows:
        raise ValueError("it has no rows below the header")
    return header, rows, lines


def _columns(header, options):
    """The column of sequences, the features, whether classes are learned, and of which columns."""
    given = {
        "--label": options.label,
        "--target": options.target,
        "--forecast": options.forecast,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    if not asked:
        asked = {f"--{name}": name for name in ("label", "target") if name in header}
    if len(asked) != 1:
        raise ValueError(
            "DATA: expected one of --label COLUMN (a class of each sequence), --target COLUMN (a "
            "value at each step) and --forecast COLUMN (its later values), got "
            f"{' and '.join(asked) or 'none'}; the columns are {_list(header)}"
        )
    ((option, columns),) = asked.items()
    targets = [columns] if option == "--label" else _names(columns)
    sequence = options.sequence or ("sequence" if "sequence" in header else None)
    for name, columns in ((option, targets), ("--sequence", [sequence] if sequence else [])):
        _check_columns(name, columns, header)
    if options.features is None:
        taken = {sequence, *(targets if option != "--forecast" else ())}
        features = [name for name in header if name not in taken]
        if not features:
            raise ValueError("DATA: expected columns of inputs beside the others, got none")
    else:
        features = _names(options.features)
        _check_columns("--features", features, header)
    return sequence, features, option == "--label", targets


def _names(text):
    return [name.strip() for name in text.split(",")]


def _check_columns(option, columns, header):
    for name in columns:
        if name not in header:
            raise ValueError(
                f"{option}: expected columns of the table, got {name!r}; it has {_list(header)}"
            )


def _list(header):
    more = f" and {len(header) - _NAMED} more" if len(header) > _NAMED else ""
    return ", ".join(header[:_NAMED]) + more


# ----------------------------------------------------------------------------------------- arrays


def _read_arrays(path, options):
    _refuse_columns(path, options, ("sequence", "features", "label", "target"))
    axes = "(sequences, steps), of integers" if options.tokens else "(sequences, steps, inputs)"
    what = f"a .npz file with an array X {axes}, y, and perhaps lengths"
    with refusing(path, what, "DATA"), np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in ("X", "y", "lengths") if name in content}
        if "X" not in arrays:
            raise ValueError(f"its arrays are {', '.join(content)}")
        X, lengths = _check_arrays(arrays["X"], arrays.get("lengths"), bool(options.tokens))
        y = arrays.get("y")
        if y is not None and (y.shape[:1] != X.shape[:1] or y.dtype.kind not in "fiubUS"):
            raise ValueError(f"y is {y.dtype} of shape {y.shape}, X has {len(X)} sequences")
    inputs = ["0"] if options.tokens else [str(k) for k in range(X.shape[2])]
    names = [f"sequence {b}" for b in range(len(X))]
    sequences = [x[:n] for x, n in zip(X, lengths, strict=True)]
    if options.forecast is not None:
        if options.forecast not in inputs:
            raise ValueError(
                f"--forecast: expected the number of an input, below {X.shape[2]}, got "
                f"{options.forecast!r}"
            )
        k = int(options.forecast)
        columns = [x[:, k : k + 1] for x in sequences]
        Y, naive = _forecasts(columns, options.horizon, names)
        sequences = [x[: -options.horizon] for x in sequences]
        notes = {"horizon": str(options.horizon)}
        return Data(sequences, Y, False, True, inputs, [f"input {k}"], naive, notes)
    if y is None:
        raise ValueError(f"DATA: expected an array y beside X, or --forecast, got none in {path}")
    if options.each_step:
        if y.shape != X.shape[:2] or y.dtype.kind == "f":
            raise ValueError(
                f"--each-step: expected y of shape {X.shape[:2]}, of integers or words, got "
                f"{y.dtype} of shape {y.shape}"
            )
        labels = [
            str(label) for own, n in zip(y, lengths, strict=True) for label in own[:n].tolist()
        ]
        return _with_labels(sequences, labels, inputs, per_step=True)
    if y.ndim == 1 and y.dtype.kind != "f":
        return _with_labels(sequences, [str(label) for label in y.tolist()], inputs)
    if y.dtype.kind in "US":
        raise ValueError(
            f"DATA: expected a class of each sequence in y, got shape {y.shape}; --each-step "
            "learns a class of each step"
        )
    y = y.astype(np.float64)
    if y.ndim >= 2 and y.shape[1] == X.shape[1] and y.ndim in (2, 3):
        y = y.reshape(*y.shape[:2], -1)
        Y = [own[:n] for own, n in zip(y, lengths, strict=True)]
        return Data(sequences, Y, False, True, inputs, _numbered(y.shape[2]))
    if y.ndim > 2:
        raise ValueError(
            f"DATA: expected y of shape {len(X)}, ({len(X)}, targets) or "
            f"({len(X)}, {X.shape[1]}, targets), got {y.shape}"
        )
    y = y.reshape(len(y), -1)
    return Data(sequences, y, False, False, inputs, _numbered(y.shape[1]))


def _inputs_of_arrays(path, net, options):
    _refuse_columns(path, options, ("sequence", "features"))
    axes = "(sequences, steps), of integers" if net.takes_tokens else "(sequences, steps, inputs)"
    what = f"a .npy file with an array X {axes}, or a .npz file with it and perhaps lengths"
    with refusing(path, what, "DATA"), open(path, "rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            X, lengths = content, None
        else:
            with content:
                if "X" not in content:
                    raise ValueError(f"its arrays are {', '.join(content)}")
                X, lengths = content["X"], content.get("lengths")
        X, lengths = _check_arrays(X, lengths, net.takes_tokens and X.ndim == 2)
    sequences = [x[:n] for x, n in zip(X, lengths, strict=True)]
    return Inputs(sequences, "sequence", [str(b) for b in range(len(X))])


def _refuse_columns(path, options, names):
    for name in names:
        if getattr(options, name) is not None:
            raise ValueError(f"--{name}: expected a .csv file, which has columns, got {path}")


def _check_arrays(X, lengths, are_tokens=False):
    """X, of float64 or of tokens, and the length of each sequence."""
    n_axes, kinds = (2, "iu") if are_tokens else (3, "fiub")
    if X.ndim != n_axes or 0 in X.shape or X.dtype.kind not in kinds:
        raise ValueError(f"X is {X.dtype} of shape {X.shape}")
    if lengths is None:
        lengths = np.full(len(X), X.shape[1])
    if lengths.shape != X.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths is {lengths.dtype} of shape {lengths.shape}")
    if lengths.min() < 0 or lengths.max() > X.shape[1]:
        raise ValueError(f"lengths are not all from 0 to {X.shape[1]}")
    return X if are_tokens else X.astype(np.float64), lengths


def _numbered(K):
    return ["y"] if K == 1 else [f"y[{k}]" for k in range(K)]


def _with_labels(X, labels, features, notes=None, per_step=False):
    """Classes in their order: numbers by their value, words by the alphabet.

    `labels` are those of the sequences, or `per_step` those of all steps, sequence by sequence.
    """
    try:
        classes = sorted(set(labels), key=float)
    except ValueError:
        classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError(f"DATA: expected two classes or more, got {classes[0]!r} alone")
    number = {label: k for k, label in enumerate(classes)}
    Y = np.array([number[label] for label in labels])
    if per_step:
        Y = np.split(Y, np.cumsum([len(x) for x in X])[:-1])
    return Data(X, Y, True, per_step, features, classes, notes=notes or {})

"""Data sets in files, for ``train``: tables (.csv) and arrays (.npz)."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._archive import refusing

_DELIMITERS = ",;\t"
_NAMED = 12  # columns that an error lists


@dataclass
class Data:
    """Sequences and what is to be learned of them.

    Attributes
    ----------
    X : list of (T, I) float64 arrays
    Y : list of (T, K) float64 arrays, (B,) array of int, or (B, K) float64 array
        By `task`.
    task : {"steps", "labels", "values"}
        K numbers at every step, a class of each sequence, or K numbers of each sequence.
    inputs, outputs : list of str
        The names of the features; of the classes or the targets.
    naive : list of (T, K) arrays or None
        For forecasts: what a forecast that nothing changes would say.
    """

    X: list[Any]
    Y: Any
    task: str
    inputs: list[str]
    outputs: list[str]
    naive: list[Any] | None = None


def read_data(path, options):
    """A `Data`.

    Parameters
    ----------
    path : str
    options : argparse.Namespace
        With sequence, features, label, target, forecast, horizon, as on the command line.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        return _read_table(path, options)
    if suffix == ".npz":
        return _read_arrays(path, options)
    raise ValueError(f"DATA: expected a name that ends in .csv or .npz, got {path}")


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
    with refusing(path, "a table with a header", "DATA"):
        header, rows, lines = _rows_of(path)
    sequence, features, task, targets = _columns(header, options)
    at = {name: k for k, name in enumerate(header)}

    ids = [row[at[sequence]] for row in rows] if sequence else [""] * len(rows)
    numbers = {}
    for k, one in enumerate(ids):
        numbers.setdefault(one, []).append(k)
    names = [f"sequence {one!r}" if sequence else "the table" for one in numbers]

    def values_of(columns):
        table = np.empty((len(rows), len(columns)))
        for j, column in enumerate(columns):
            place = at[column]
            for k, row in enumerate(rows):
                table[k, j] = _number(row[place], path, lines[k], column)
        return [table[own] for own in numbers.values()]

    X = values_of(features)
    if task == "labels":
        place, labels = at[targets[0]], []
        for own, name in zip(numbers.values(), names, strict=True):
            classes = sorted({rows[k][place] for k in own})
            if len(classes) > 1:
                raise ValueError(
                    f"DATA: expected one {targets[0]} for all steps of a sequence, got "
                    f"{classes[0]!r} and {classes[1]!r} in {name} of {path}"
                    + ("" if sequence else "; --sequence COLUMN says where sequences begin")
                )
            if not classes[0]:
                raise ValueError(f"DATA: expected a {targets[0]} of {name} of {path}, got none")
            labels += classes
        return _with_labels(X, labels, features)
    Y = values_of(targets)
    if options.forecast is None:
        return Data(X, Y, "steps", features, targets)
    Y, naive = _forecasts(Y, options.horizon, names)
    X = [x[: -options.horizon] for x in X]
    return Data(X, Y, "steps", features, targets, naive)


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
    """The column of sequences, the features, the task, and the columns of its targets."""
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
    return sequence, features, "labels" if option == "--label" else "steps", targets


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


def _number(cell, path, line, column):
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"DATA: expected numbers, got {cell!r} on line {line} of {path}, column {column}"
        )
    return number


# ----------------------------------------------------------------------------------------- arrays


def _read_arrays(path, options):
    for name in ("sequence", "features", "label", "target"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name}: expected a .csv file, which has columns, got {path}")
    what = "a .npz file with an array X (sequences, steps, inputs), y, and perhaps lengths"
    with refusing(path, what, "DATA"), np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in ("X", "y", "lengths") if name in content}
        if "X" not in arrays:
            raise ValueError(f"its arrays are {', '.join(content)}")
        X = arrays["X"]
        if X.ndim != 3 or 0 in X.shape or X.dtype.kind not in "fiub":
            raise ValueError(f"X is {X.dtype} of shape {X.shape}")
        X = X.astype(np.float64)
        lengths = arrays.get("lengths", np.full(len(X), X.shape[1]))
        if lengths.shape != X.shape[:1] or lengths.dtype.kind not in "iu":
            raise ValueError(f"lengths is {lengths.dtype} of shape {lengths.shape}")
        if lengths.min() < 0 or lengths.max() > X.shape[1]:
            raise ValueError(f"lengths are not all from 0 to {X.shape[1]}")
        y = arrays.get("y")
        if y is not None and (y.shape[:1] != X.shape[:1] or y.dtype.kind not in "fiubUS"):
            raise ValueError(f"y is {y.dtype} of shape {y.shape}, X has {len(X)} sequences")
    inputs = [str(k) for k in range(X.shape[2])]
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
        return Data(sequences, Y, "steps", inputs, [f"input {k}"], naive)
    if y is None:
        raise ValueError(f"DATA: expected an array y beside X, or --forecast, got none in {path}")
    if y.ndim == 1 and y.dtype.kind != "f":
        return _with_labels(sequences, [str(label) for label in y.tolist()], inputs)
    if y.dtype.kind in "US":
        raise ValueError(f"DATA: expected a class of each sequence in y, got shape {y.shape}")
    y = y.astype(np.float64)
    if y.ndim >= 2 and y.shape[1] == X.shape[1] and y.ndim in (2, 3):
        y = y.reshape(*y.shape[:2], -1)
        Y = [own[:n] for own, n in zip(y, lengths, strict=True)]
        return Data(sequences, Y, "steps", inputs, _numbered(y.shape[2]))
    if y.ndim > 2:
        raise ValueError(
            f"DATA: expected y of shape {len(X)}, ({len(X)}, targets) or "
            f"({len(X)}, {X.shape[1]}, targets), got {y.shape}"
        )
    y = y.reshape(len(y), -1)
    return Data(sequences, y, "values", inputs, _numbered(y.shape[1]))


def _numbered(K):
    return ["y"] if K == 1 else [f"y[{k}]" for k in range(K)]


def _with_labels(X, labels, features):
    """Classes in their order: numbers by their value, words by the alphabet."""
    try:
        classes = sorted(set(labels), key=float)
    except ValueError:
        classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError(f"DATA: expected two classes or more, got {classes[0]!r} alone")
    number = {label: k for k, label in enumerate(classes)}
    Y = np.array([number[label] for label in labels])
    return Data(X, Y, "labels", features, classes)

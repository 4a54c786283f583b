"""`Recorder`: the `History` of a run, the best point it has seen, and when its patience ends.

It knows nothing of how a method finds its points.
"""

from __future__ import annotations

import csv
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ._archive import as_path
from ._checks import as_integer, as_real, shaped

if TYPE_CHECKING:
    from ._types import Path

# What is recorded of the start and of every iteration.
COLUMNS = ("loss", "gradient_norm", "validation_loss", "evaluations", "time")


class History(dict[str, np.ndarray]):
    """What has been recorded of a run: a dict of arrays, an entry for the start and each iteration.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> history = lc.fit(net, x, x, method="rprop", max_epochs=20).history
    >>> history["loss"].shape
    (21,)
    >>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
    >>> history.to_csv(path)
    >>> np.genfromtxt(path, delimiter=",", names=True).dtype.names
    ('iteration', 'loss', 'gradient_norm', 'evaluations', 'time')
    """

    def to_csv(self, path: Path) -> None:
        """Write a table, a line for the start and each iteration; numbers keep all their digits.

        Parameters
        ----------
        path : str or path
            Overwritten if it exists.
        """
        columns = [column.tolist() for column in self.values()]
        with open(as_path(path), "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["iteration", *self])
            writer.writerows(
                [iteration, *row] for iteration, row in enumerate(zip(*columns, strict=True))
            )


class Recorder:
    """The history, the best point and the patience of one run.

    Parameters
    ----------
    validates : bool
        The best point is that of the lowest validation loss, else that of the lowest objective.
    patience : int, optional
        Iterations without a lower validation loss after which `is_out_of_patience`.
    bar : object, optional
        Its ``show(nit, row)`` is called at every iteration.

    Attributes
    ----------
    best : dict or None
        x, fun and jac of the best point seen; jac may be None.
    patience : int or None
    """

    def __init__(self, validates, patience=None, bar=None):
        self.best = None
        self.patience = patience
        self._validates = validates
        self._bar = bar
        self._lowest, self._lowest_nit = np.inf, 0
        self._names = [name for name in COLUMNS if validates or name != "validation_loss"]
        self._rows = np.empty((16, len(self._names)))  # the first so many
        self._n_rows = 0
        self._began = time.perf_counter()

    def __len__(self):
        """The number of rows: none before the start is recorded, then 1 + `nit`."""
        return self._n_rows

    @property
    def nit(self):
        """The number of iterations recorded."""
        return max(len(self) - 1, 0)

    def renew(self):
        """Another method goes on from the best point: patience is counted anew.

        Without validation the best is found anew, too: the other method has a loss of its own.
        """
        self._lowest_nit = self.nit
        if not self._validates:
            self.best = None

    @property
    def last(self):
        """The last row's validation loss, or its loss without validation."""
        name = "validation_loss" if self._validates else "loss"
        return float(self._rows[self._n_rows - 1, self._names.index(name)])

    @property
    def is_out_of_patience(self):
        return self.patience is not None and self.nit - self._lowest_nit >= self.patience

    def offer(self, x, f, g):
        """Take note of an evaluation, iterate or not; with validation only iterates count."""
        if not self._validates and (self.best is None or f < self.best["fun"]):
            self.best = {"x": x.copy(), "fun": f, "jac": g}

    def record(self, x, f, g, evaluations, validation_loss=None, gradient_norm=None, at=None):
        """Add a row: the first is the start, each other one an iteration that arrived at x.

        g may be None where `gradient_norm` says what to record; else it is that of g. `at` is the
        time of a row that was recorded before: from here the clock goes on.

        Returns
        -------
        row : dict
            A value for each of `COLUMNS`; validation_loss is None without validation.
        """
        if at is not None:
            self._began = time.perf_counter() - at
        row = {
            "loss": f,
            "gradient_norm": float(np.linalg.norm(g)) if gradient_norm is None else gradient_norm,
            "validation_loss": validation_loss,
            "evaluations": evaluations,
            "time": self._elapsed() if at is None else at,
        }
        if self._n_rows == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._n_rows] = [row[name] for name in self._names]
        self._n_rows += 1
        if self._validates:
            lower = validation_loss < self._lowest
            if lower:
                self._lowest, self._lowest_nit = validation_loss, self.nit
            if lower or self.best is None:
                self.best = {"x": x.copy(), "fun": f, "jac": g}
        if self._bar is not None and self.nit:
            self._bar.show(self.nit, row)
        return row

    def history(self):
        """The rows as one array for each column."""
        columns = dict(zip(self._names, self._rows[: self._n_rows].T.copy(), strict=True))
        columns["evaluations"] = columns["evaluations"].astype(np.int64)
        return History(columns)

    def state(self):
        """All that a run needs to go on; what is recorded later does not reach it."""
        state = {
            "history": self._rows[: self._n_rows],
            "elapsed": self._elapsed(),
            "lowest": self._lowest,
            "lowest_nit": self._lowest_nit,
        }
        if self.best is not None:
            state["best"] = {k: value for k, value in self.best.items() if value is not None}
        return state

    def restore(self, state):
        """Go on from `state`; the time in between does not count."""
        rows, best = as_real(state["history"], "history", np.float64), state.get("best")
        self._rows = shaped(rows, "history", ("rows", len(self._names)))
        self._n_rows = len(rows)
        if not len(rows):
            self._rows = np.empty((16, len(self._names)))
        self._lowest = float(state["lowest"])
        self._lowest_nit = as_integer(state["lowest_nit"], "lowest_nit", 0)
        self._began = time.perf_counter() - float(state["elapsed"])
        if best is not None:
            self.best = {"x": best["x"], "fun": float(best["fun"]), "jac": best.get("jac")}

    def _elapsed(self):
        return time.perf_counter() - self._began


class ProgressBar:
    """A bar for a `Recorder` on the standard error stream: tqdm's if installed, else one line.

    A run does not hang on it: where it cannot be written, because the stream is closed, say, it
    ends without a word.
    """

    def __init__(self, title, max_iter):
        self._bar = None
        with suppress(Exception):
            self._bar = _make_bar(title, max_iter)

    def show(self, nit, row):
        self._call("show", nit, row)

    def close(self):
        self._call("close")

    def _call(self, method, *arguments):
        try:
            if self._bar is not None:
                getattr(self._bar, method)(*arguments)
        except Exception:
            self._bar = None


def _make_bar(title, max_iter):
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _PlainBar(title, max_iter)
    return _TqdmBar(tqdm, title, max_iter)


class _TqdmBar:
    def __init__(self, tqdm, title, max_iter):
        self._bar = tqdm(total=max_iter, desc=title, file=sys.stderr)

    def show(self, nit, row):
        self._bar.set_postfix_str(_numbers(row), refresh=False)
        self._bar.update(nit - self._bar.n)

    def close(self):
        self._bar.close()


class _PlainBar:
    """One line, rewritten in place on a terminal; elsewhere written once, at the end."""

    def __init__(self, title, max_iter):
        self._title, self._max_iter = title, max_iter
        self._line, self._shown = None, -np.inf

    def show(self, nit, row):
        self._line = f"{self._title}: {nit}/{self._max_iter} [{row['time']:.0f} s, {_numbers(row)}]"
        now = time.perf_counter()
        if sys.stderr.isatty() and now - self._shown > 0.1:
            sys.stderr.write(f"\r{self._line}")
            sys.stderr.flush()
            self._shown = now

    def close(self):
        if self._line is not None:
            sys.stderr.write(f"\r{self._line}\n" if sys.stderr.isatty() else f"{self._line}\n")


def _numbers(row):
    text = f"loss={row['loss']:.6g}, gradient={row['gradient_norm']:.2g}"
    if row["validation_loss"] is not None:
        text += f", validation={row['validation_loss']:.6g}"
    return text

"""The file of a run, written while it goes on, from which a run of the same arguments goes on.

Each part of a run that changes from step to step has two methods:

    state()          a dict of all that the part needs to go on: arrays, numbers, strings, None, and
                     dicts of these. It is asked for before every evaluation, so it should take
                     little time. Its arrays may be the part's own where steps write to them; not
                     where evaluations do, which may be cut.
    restore(state)   the reverse, in a part made with the same arguments. A file may come from
                     anybody, so every entry is checked, above all what kernels will read.

Whoever drives the run names its parts to `RunFile.open`, and evaluates between two steps by what
`RunFile.keeping` makes of its function. What a part is made with belongs to the identity of the
run: a file of another one is refused.
"""

import hashlib
import time
from dataclasses import fields, is_dataclass
from math import isfinite
from numbers import Integral, Real

import numpy as np

from ._archive import read, refusing, write
from ._checks import as_integer, as_real, describe, shaped
from ._description import describe_network

_FORMAT, _VERSION = "lstmcore run", 1
NAME = "checkpoint_path"
_GROUP = 64  # sequences whose inputs are copied at a time
_MOST_DIFFERENCES = 5  # that an error lists
# Of bit generators with a buffer: the place in it, which NumPy takes as it comes, and its size.
_PLACES = {"MT19937": ("pos", 624), "Philox": ("buffer_pos", 4)}


class RunFile:
    """The whole state of a run in one file, see `_archive`, written every so many seconds.

    Parameters
    ----------
    path : str or path-like
    every : float
        Seconds from one writing to the next.
    identity : dict
        By which files of other runs are told apart: `plain` is applied to it.
    start : (P,) float64 array
        Where the run begins, if it is not in the file.
    """

    def __init__(self, path, every, identity, start):
        self.identity = identity
        self._path, self._every = path, every
        self._start, self._left = digest(start), None
        self._parts = None
        self._rest = None  # the state to be written at the end
        self._due = 0.0

    def open(self, parts, theta):
        """Restore the parts, a dict by name, if there is a file.

        Returns
        -------
        theta : array
            The parameters in the file; those given if there is none.
        """
        self._parts = parts
        self.identity = plain(self.identity)
        with refusing_file(self._path, self.identity):
            try:
                header, arrays = read(self._path, _FORMAT, _VERSION)
            except FileNotFoundError:
                return theta
            found, start, left = header["run"], header["start"], header["left"]
        refuse_another(self._path, found, self.identity, self._start, (start, left))
        self._start, self._left = start, left
        with refusing_file(self._path, self.identity):
            state = _with_arrays(header["state"], arrays)
            theta = shaped(as_real(state["theta"], "theta", theta.dtype), "theta", theta.shape)
            for name, part in parts.items():
                part.restore(state[name])
        return theta

    def keeping(self, evaluate):
        """`evaluate`, a function of the parameters, that keeps the state at its beginning.

        That is written if it is time; and by `close` if an exception ends the evaluation, which can
        be done again from there.
        """

        def evaluate_or_keep(theta):
            state = {"theta": theta} | {name: part.state() for name, part in self._parts.items()}
            if time.monotonic() >= self._due:
                self._write(state)
            try:
                return evaluate(theta)
            except BaseException:
                self._rest = state
                raise

        return evaluate_or_keep

    def close(self, left):
        """The run has ended: write its last state, and which parameters are left in the network."""
        if self._rest is not None:
            self._left = digest(left)
            self._write(self._rest)

    def _write(self, state):
        arrays = {}
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "run": self.identity,
            "start": self._start,
            "left": self._left,
            "state": _without_arrays(state, "", arrays),
        }
        write(self._path, header, arrays, NAME)
        self._due = time.monotonic() + self._every


class Draws:
    """The generator of a run, as a part of it."""

    def __init__(self, rng):
        self._bits = rng.bit_generator

    def state(self):
        return self._bits.state

    def restore(self, state):
        name, size = _PLACES.get(state["bit_generator"], (None, 0))
        if name is not None:
            as_integer(state["state"].get(name, state.get(name)), name, 0, size)
        self._bits.state = state


def refusing_file(path, identity):
    """Make whatever is raised within a ValueError that it is not the file of a run like this."""
    return refusing(path, f"the file of a run by {identity['method']}, or no file", NAME)


def refuse_another(path, found, identity, start=None, starts=()):
    """Raise if a file is of a run with another identity, or from another start than `starts`."""
    different = differences(found, identity)
    if not (different or start is None or start in starts):
        different = [
            "the parameters that the network has, neither those at the run's start nor those that "
            "it has left there"
        ]
    if different:
        raise ValueError(
            f"{NAME}: expected the file of a run with the same arguments, got {path}, from which "
            f"differ: {'; '.join(different)}. Delete the file to start over, or give another name"
        )


def differences(found, wanted):
    """What differs between two trees of JSON, in words."""
    different = [f"{name} ({a} in the file, {b} now)" for name, a, b in _diff(found, wanted)]
    more = len(different) - _MOST_DIFFERENCES
    return different[:_MOST_DIFFERENCES] + ([f"{more} more"] if more > 0 else [])


def _diff(found, wanted, name=""):
    """(name, value found, value wanted) of whatever is not equal in two trees of JSON."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in wanted | found:
            place = f"{name}.{key}" if name else key
            yield from _diff(found.get(key), wanted.get(key), place)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for k, pair in enumerate(zip(found, wanted, strict=True)):
            yield from _diff(*pair, f"{name}[{k}]")
    elif found != wanted:
        yield name, *("given" if isinstance(v, dict) else describe(v) for v in (found, wanted))


def plain(value):
    """What tells one value of an argument from another, of strings, numbers, lists and dicts."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if isfinite(value) else str(float(value))
    if isinstance(value, np.ndarray):
        return f"{describe(value)}, {digest(value)}" if value.ndim else plain(value[()])
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **entries}
    return describe(value)


def plain_network(net):
    """What tells networks apart, whatever parameters they have."""
    options = net.options
    if not isinstance(options["loss"], str):  # it may be one that a file cannot name
        options["loss"] = {"name": options["loss"].name, "options": options["loss"].options}
    header, arrays = describe_network(options, net.params)
    del header["format"], header["version"], arrays["params"]
    return plain(header | arrays)


def plain_examples(examples):
    """What tells data apart."""
    batch, hashed = examples.batch, hashlib.blake2b(digest_size=8)
    for first in range(0, batch.size, _GROUP):
        some = batch.take(np.arange(first, min(first + _GROUP, batch.size)))
        hashed.update(np.ascontiguousarray(some.input_rows()))
    targets = getattr(examples.targets, "__dict__", {})
    for name in sorted(targets):
        if isinstance(targets[name], np.ndarray):
            hashed.update(np.ascontiguousarray(targets[name]))
    hashed.update(np.ascontiguousarray(batch.lengths))
    hashed.update(np.ascontiguousarray(examples.weights))
    told = {
        "sequences": batch.size,
        "steps": batch.n_steps,
        "reduction": examples.reduction,
        "inputs, targets and weights": hashed.hexdigest(),
        "initial states": plain(examples.state),
    }
    if batch.features is not None:
        told["features"] = digest(batch.features)
    return told


def plain_seed(seed, rng):
    """What tells seeds apart; `rng` is the generator of it, of which nothing has been drawn."""
    if seed is None or isinstance(seed, Integral):
        return plain(seed)
    name = type(rng.bit_generator).__name__
    state = repr(plain(Draws(rng).state())).encode()
    return f"{name}, {digest(np.frombuffer(state, np.uint8))}"


def digest(array):
    """A few hexadecimal digits that tell an array's bits from others."""
    return hashlib.blake2b(np.ascontiguousarray(array), digest_size=8).hexdigest()


def _without_arrays(state, place, arrays):
    """A state for JSON; its arrays, and floats, some of which JSON has not, go to `arrays`."""
    rest = {}
    for name, value in state.items():
        where = f"{place}.{name}" if place else name
        if isinstance(value, dict):
            rest[name] = _without_arrays(value, where, arrays)
        elif isinstance(value, np.ndarray) and value.dtype.kind == "u":  # of a bit generator
            rest[name] = value.tolist()
        elif isinstance(value, (np.ndarray, np.floating, float)):
            arrays[where] = np.asarray(value)
        else:
            rest[name] = value
    return rest


def _with_arrays(state, arrays):
    """The reverse of `_without_arrays`."""
    for where, array in arrays.items():
        *places, name = where.split(".")
        inner = state
        for place in places:
            inner = inner[place]
        inner[name] = array if array.ndim else float(array)
    return state

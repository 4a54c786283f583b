"""The file of a run by a method whose memory is out of reach, as that of SciPy's methods is.

It is a log of all that the method was told. A run that goes on begins at its start, and is told the
same again until the log is used up: that takes the method's own arithmetic and not one evaluation.
Then it goes on where it was, in the same bits, for nothing in the methods is left to chance. Each
point that is asked for is compared with that in the log.

The file begins with a line, a length, and a header of this length in JSON; records follow:

    S   the start, P numbers
    E   an evaluation: a digest of the point, the value, and the gradient, P numbers
    I   the start or an iteration: its time and its validation loss
    L   a digest of the parameters that the run has left in the network

A record is its letter, what it holds (numbers are float64, little-endian), and a checksum of all
that the file holds up to here but for other checksums. So what a killed process has left half
written at the end is told from damage.
"""

import hashlib
import json
import os
import time
import zlib

import numpy as np

from ._archive import at_once
from ._run import Run
from ._run_file import NAME, differences, digest, plain, refuse_another, refusing_file

_LINE = b"lstmcore log 1\n"
_NUMBER = np.dtype("<f8")
_DIGEST = 16  # bytes, or the letters of `digest`
_SUM = 4


class RunLog:
    """A log of answers: where there is one it is read to its end, and then written.

    Parameters
    ----------
    path : str or path-like
    every : float
        Seconds from one flush to the disk to the next. The system has each record at once, so that
        no end of the process loses one.
    identity : dict
        By which files of other runs are told apart.
    made_with : dict
        What else the points that a method asks for may depend on.
    start : (P,) float64 array
        Where the run begins, if it is not in the file.

    Attributes
    ----------
    start : (P,) float64 array
        Where the run begins.
    """

    def __init__(self, path, every, identity, made_with, start):
        self.start = start
        self._path, self._every = path, every
        self._identity, self._made_with_now = plain(identity), plain(made_with)
        self._n_evaluations = 0
        self._sizes = {
            b"S": start.nbytes,
            b"E": _DIGEST + _NUMBER.itemsize + start.nbytes,
            b"I": 2 * _NUMBER.itemsize,
            b"L": _DIGEST,
        }
        with refusing_file(path, identity):
            if not os.path.exists(path):
                self._create()
            self._file = open(path, "r+b")  # noqa: SIM115, `close` closes it
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise
        self._due = time.monotonic() + every

    @property
    def is_used_up(self):
        """Whether the method has been told all that is in it."""
        return self._place >= self._last

    def evaluation(self, x):
        """The answer (f, g) to `x`, if the log has one."""
        held = self._take(b"E")
        if held is None:
            return None
        self._n_evaluations += 1
        if held[:_DIGEST] != _digest(x):
            raise self._other_points()
        numbers = np.frombuffer(held, _NUMBER, offset=_DIGEST).astype(np.float64)
        return float(numbers[0]), numbers[1:]

    def iteration(self):
        """(time, validation loss) of the next iteration, if the log has one."""
        held = self._take(b"I")
        return None if held is None else np.frombuffer(held, _NUMBER).tolist()

    def add_evaluation(self, x, f, g):
        self._add(b"E", _digest(x) + _bytes(f) + _bytes(g))

    def add_iteration(self, time, validation_loss):
        self._add(b"I", _bytes([time, np.nan if validation_loss is None else validation_loss]))

    def close(self, left):
        """The run has ended, with these parameters left in the network."""
        try:
            # An interrupt may have left a record that nobody counts on.
            self._file.truncate(self._tail[0])
            if digest(left) not in self._starts:
                self._add(b"L", digest(left).encode())
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _create(self):
        header = {"run": self._identity, "versions": self._made_with_now}
        text = json.dumps(header, allow_nan=False).encode()
        whole = _LINE + len(text).to_bytes(_SUM, "little") + text + b"S" + _bytes(self.start)
        last = _sum_bytes(zlib.crc32(whole))
        at_once(self._path, lambda file: file.write(whole + last), NAME)

    def _open(self):
        with refusing_file(self._path, self._identity):
            found = self._read_header()
        refuse_another(self._path, found, self._identity)  # whose records have other sizes
        with refusing_file(self._path, self._identity):
            self._scan()
        refuse_another(self._path, found, self._identity, digest(self.start), self._starts)
        self._file.truncate(self._tail[0])
        self._file.seek(self._first)
        self.start = np.frombuffer(self._take(b"S"), _NUMBER).astype(np.float64)

    def _read_header(self):
        """The identity of the run in the file."""
        line, size = self._file.read(len(_LINE)), self._file.read(_SUM)
        if line != _LINE:
            raise ValueError("it does not begin as a log does")
        most = os.fstat(self._file.fileno()).st_size
        text = self._file.read(min(int.from_bytes(size, "little"), most))
        self._first = self._place = self._file.tell()
        self._tail = self._first, zlib.crc32(line + size + text)
        header = json.loads(text)
        self._made_with = header["versions"]
        return header["run"]

    def _scan(self):
        """Find the end of the last whole record; a half one after it was never told to anybody."""
        size, self._starts = os.fstat(self._file.fileno()).st_size, []
        (place, total), self._last = self._tail, None
        while place < size:
            letter = self._file.read(1)
            if letter not in self._sizes:
                raise _damaged(place)
            held = self._file.read(self._sizes[letter])
            total = zlib.crc32(letter + held, total)
            after = place + 1 + self._sizes[letter] + _SUM
            if self._file.read(_SUM) != _sum_bytes(total):
                if after < size:
                    raise _damaged(place)
                break
            if (letter == b"S") != (place == self._first):
                raise _damaged(place)
            if letter == b"S":
                self._starts.append(digest(np.frombuffer(held, _NUMBER)))
            elif letter == b"L":
                self._starts.append(held.decode("ascii"))
            if letter != b"L":
                self._last = after
            place, self._tail = after, (after, total)
        if self._last is None:
            raise ValueError("it ends before the start of the run")

    def _take(self, letter):
        """What the next record holds, if there is one; it must be of this letter."""
        while not self.is_used_up:
            found = self._file.read(1)
            held = self._file.read(self._sizes[found] + _SUM)[:-_SUM]
            self._place += 1 + len(held) + _SUM
            if found == letter:
                return held
            if found != b"L":
                raise self._other_points()
        return None

    def _add(self, letter, held):
        record = letter + held
        end, total = self._tail
        total = zlib.crc32(record, total)
        record += _sum_bytes(total)
        self._file.seek(end)
        self._file.write(record)
        self._file.flush()
        self._tail = end + len(record), total  # both at once, whenever an interrupt comes
        if time.monotonic() >= self._due:
            os.fsync(self._file.fileno())
            self._due = time.monotonic() + self._every

    def _other_points(self):
        changed = differences(self._made_with, self._made_with_now)
        if changed:
            reason = f"Since it was made have changed: {'; '.join(changed)}"
        else:
            reason = (
                f"{', '.join(self._made_with_now)} are what they were when it was made, so the "
                "processor may be another, or a function that the run calls"
            )
        if any(difference.startswith("max_iter ") for difference in changed):
            reason += (
                ". Not every method goes on with another max_iter: SLSQP of SciPy before 1.16 "
                "does not"
            )
        return ValueError(
            f"{NAME}: expected the file of a run that asks for the same points, got {self._path}, "
            f"whose evaluation {self._n_evaluations} is at another one. {reason}. Delete the file "
            "to start over"
        )


class LoggedRun(Run):
    """A run whose answers are in a log: those there are come from it, new ones are added."""

    def __init__(self, log, *args):
        super().__init__(*args)
        self._log = log

    def _evaluate(self, x):
        answer = self._log.evaluation(x)
        if answer is None:
            answer = super()._evaluate(x)
            self._log.add_evaluation(x, *answer)
        return answer

    def _record(self, x, f, g, gradient_norm=None):
        known = self._log.iteration()
        if known is None:
            row = super()._record(x, f, g, gradient_norm)
            self._log.add_iteration(row["time"], row["validation_loss"])
            return row
        at, loss = known
        loss = None if self._validation is None else loss
        return self.recorder.record(x, f, g, self.nfev, loss, gradient_norm, at)

    def _call_back(self, x, row):
        if self._log.is_used_up:
            super()._call_back(x, row)


def _damaged(place):
    return ValueError(f"damaged at byte {place}; cut off there, it is the run up to then")


def _digest(x):
    return hashlib.blake2b(np.ascontiguousarray(x), digest_size=_DIGEST).digest()


def _bytes(numbers):
    return np.asarray(numbers, _NUMBER).tobytes()


def _sum_bytes(total):
    return total.to_bytes(_SUM, "little")

"""One file of plain data: a header and arrays, written at once and read without trust.

The file is a zip archive of uncompressed entries, which ``numpy.load`` reads as well:

    lstmcore.json     the header: format, version, and what is to be said about the arrays
    params.npy, ...   arrays, little-endian

Nothing in it is executed, nothing is allocated on the word of a size that the file does not back
with bytes, and whatever is not such a file is a `ValueError`.
"""

import errno
import io
import json
import os
import re
import stat
import zipfile
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path

import numpy as np

from ._checks import describe

__all__ = [
    "MAX_HEADER",
    "as_path",
    "at_once",
    "check_stored",
    "fill",
    "open_archive",
    "parse_json",
    "printable",
    "read",
    "refusing",
    "write",
]

_HEADER = "lstmcore.json"
MAX_HEADER = 1 << 20  # bytes of what describes a file's arrays: it takes more as Python's objects
_MAGIC = b"\x93NUMPY\x01\x00"
# What NumPy writes of an array in C order. It is matched and not evaluated, which may take memory
# and print warnings.
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '(<f4|<f8|<i8|\|u1)', 'fortran_order': False, 'shape': (\([0-9, ]*\)), \} *\n"
)
_MOST_DIGITS = 1000
_MOST_OF_REASON = 300  # characters of a parser's message
_MOST_OF_NAME = 50  # characters in a temporary file's name, so that no file system finds it long
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_CHUNK = 1 << 18
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # one content, one sequence of bytes


def write(path, header, arrays, name="path"):
    """Write a header and arrays to one file.

    A reader sees the old file or the new one, never half of one: the bytes go to a temporary file
    beside it, are flushed to the disk, and take the old file's place at once. The temporary file
    has the old one's permissions from its beginning; its name is the file's between a dot and
    ``.PROCESS-RANDOM.tmp``, by which to tell what a process that was killed has left.

    Parameters
    ----------
    path : str or path-like
        Overwritten if it exists.
    header : dict
        Of what JSON holds; with "format" and "version".
    arrays : dict of str to ndarray
        float32, float64, int64 or uint8.
    name : str
        What errors call the path.

    Raises
    ------
    OSError
        The file cannot be written; what was there before is still there.
    ValueError
        What is there is no file: a directory, a pipe, a device. The header is larger than `read`
        takes it.
    """
    at_once(path, lambda file: write_to(file, header, arrays), name)


def at_once(path, fill, name="path"):
    """Make a file of what ``fill(file)`` writes; `write` says how."""
    path = as_path(path, name)
    mode = _mode_of(path, name)
    path = Path(os.path.realpath(path))  # a link stays one
    owner = f"{os.getpid()}-{os.urandom(6).hex()}"
    temporary = path.with_name(f".{path.name[:_MOST_OF_NAME]}.{owner}.tmp")

    def create(name, flags):
        return os.open(name, flags, 0o666 if mode is None else mode)

    _check_folder(path.parent, name)
    try:
        with open(temporary, "xb", opener=create) as file:
            if mode is not None:
                os.chmod(temporary, mode)  # what the process's mask has taken away
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _mode_of(path, name):
    """The permissions of the file that is there, or None; what is there and no file is refused."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise ValueError(f"{name}: expected a file or a new name, got {path}, which is {kind}")
    return stat.S_IMODE(mode)


def _check_folder(folder, name):
    """Raise where no file can be made in a folder: the system's own words name a temporary file."""
    if not folder.is_dir():
        raise FileNotFoundError(
            errno.ENOENT,
            f"{name}: expected a name in a folder that is there; make the folder first",
            str(folder),
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            errno.EACCES, f"{name}: expected a folder that one may write to", str(folder)
        )


def write_to(file, header, arrays):
    """The bytes that `write` puts into a file, to an open one."""
    text = json.dumps(header, indent=1, allow_nan=False)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"header: expected at most {MAX_HEADER} bytes, for a file with more is not read, got "
            f"{len(text)}; fewer layers and shorter options of the loss take less"
        )
    with _Archive(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER, _NO_DATE), text)
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", _NO_DATE)
            with archive.open(info, "w", force_zip64=True) as entry:
                little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
                np.lib.format.write_array(entry, little, version=(1, 0))


class _Archive(zipfile.ZipFile):
    """One that is given up after an exception: to finish it would raise another in its place."""

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.close()

    def __del__(self):
        """Do not finish it here either."""


def read(path, format, version):
    """Read what `write` has written.

    Parameters
    ----------
    path : str or path-like
    format : str
    version : int
        Those that the header must have.

    Returns
    -------
    header : dict
        Without format and version; from anybody, so whatever JSON can hold.
    arrays : dict of str to ndarray

    Raises
    ------
    OSError
        The file cannot be read.
    Exception
        Not such a file, or damaged, of whatever type the parsers raise. See `refusing`.
    """
    with open_archive(path) as (archive, entries):
        check_stored(archive, entries)
        _check_entries(entries)
        header = parse_json(archive.read(_HEADER))
        if header.pop("format") != format:
            raise ValueError("another format")
        found = header.pop("version")
        if found != version:
            raise ValueError(f"version {found}, and this release reads version {version}")
        return header, {
            name.removesuffix(".npy"): _read_array(archive, name)
            for name in entries
            if name != _HEADER
        }


@contextmanager
def refusing(path, what, name="path"):
    """Make whatever is raised within a ValueError that `path` is not `what`.

    But for the disk's errors and the lack of memory; `name` is what errors call the path.
    """
    as_path(path, name)
    try:
        yield
    except MemoryError:
        raise  # nothing is allocated that the file does not back with bytes
    except Exception as error:  # whatever a hostile archive makes the parsers raise
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # the disk's; but EINVAL is an archive that points out of the file
        raise ValueError(f"{name}: expected {what}, got {path}: {_reason(error)}") from error


def _reason(error):
    """What an exception says, in one line: names in a hostile file may be anything."""
    text = str(error) or type(error).__name__
    if len(text) > _MOST_OF_REASON:
        text = text[: _MOST_OF_REASON - 3] + "..."
    return printable(" ".join(text.split()))


def printable(text):
    """Text from anybody, with escapes for what a terminal would not print but obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_path(path, name="path"):
    """`path` as a str; not a file's number, which `open` would take, too."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a str or a path, got {describe(path)}")
    if "\0" in text:
        raise ValueError(f"{name}: expected a name without a zero byte, got {path!r}")
    return text


@contextmanager
def open_archive(path):
    """Open a zip archive. What is read of it, `check_stored` must have passed.

    Returns
    -------
    archive : zipfile.ZipFile
    entries : dict of str to zipfile.ZipInfo
        No name twice.
    """
    with _Reader(io.FileIO(as_path(path))) as file, zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("two entries with one name")
        yield archive, entries


def check_stored(archive, entries):
    """Raise unless entries are uncompressed, and in sum no larger than the file."""
    for name, info in entries.items():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"entry {name!r} is compressed")
    if sum(info.file_size for info in entries.values()) > archive.fp.size:
        raise ValueError("its entries are said to be larger than the file")


class _Reader(io.BufferedReader):
    """An archive's file. Its directory is read at once, and takes more as Python's objects."""

    def __init__(self, raw):
        super().__init__(raw)
        self.size = os.fstat(raw.fileno()).st_size

    def read(self, size=-1):
        if size is None or size < 0:
            size = self.size - self.tell()
        if size > MAX_HEADER:
            raise ValueError(f"a directory of {size} bytes")
        return super().read(size)


def _check_entries(entries):
    """Raise unless there are a header and arrays."""
    if _HEADER not in entries:
        raise ValueError(f"no entry {_HEADER}")
    for name in entries:
        if name != _HEADER and not name.endswith(".npy"):
            raise ValueError(f"entry {name!r} is no array")
    if entries[_HEADER].file_size > MAX_HEADER:
        raise ValueError(f"{_HEADER} has {entries[_HEADER].file_size} bytes")


def parse_json(text):
    """What JSON from anybody says; it says nothing twice, and nothing that JSON has not."""
    return json.loads(
        text,
        object_pairs_hook=_only_once,
        parse_constant=_refuse_constant,
        parse_int=_parse_integer,
    )


def _parse_integer(text):
    """An integer of not so many digits that Python takes long for it."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _only_once(pairs):
    """A JSON object; one that says something twice says nothing."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in the JSON that describes it")
    return value


def _refuse_constant(name):
    raise ValueError(f"{name} in the JSON that describes it, which JSON has not")


def _read_array(archive, name):
    """An entry as an array in one of the dtypes of `_ARRAY_HEADER`, of no other size."""
    with archive.open(name) as entry:
        if entry.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"entry {name!r} is no array, or in another version of the format")
        text = entry.read(int.from_bytes(entry.read(2), "little"))
        found = _ARRAY_HEADER.fullmatch(text)
        if found is None:
            shown = text.decode("latin-1").rstrip()
            raise ValueError(f"entry {name!r} is an array of another kind: {shown!r}")
        dtype, shape = np.dtype(found[1].decode()), _parse_shape(found[2].decode())
        size = archive.getinfo(name).file_size - len(_MAGIC) - 2 - len(text)
        if prod(shape) * dtype.itemsize != size:
            raise ValueError(f"entry {name!r} has {size} bytes for shape {shape}")
        values = np.empty(shape, dtype)
        fill(entry, values, f"entry {name!r}")
    return values.astype(dtype.newbyteorder("="), copy=False)


def fill(file, values, name):
    """Read a contiguous array's bytes from an open file; `name` is what errors call them."""
    view = values.reshape(-1).view(np.uint8).data
    for first in range(0, len(view), _CHUNK):
        if file.readinto(view[first : first + _CHUNK]) != len(view[first : first + _CHUNK]):
            raise ValueError(f"{name} ends early")


def _parse_shape(text):
    """A shape as `repr` writes it."""
    shape = tuple(int(size) for size in text[1:-1].split(",") if size)
    if repr(shape) != text:
        raise ValueError(f"{text!r} is no shape")
    return shape


def _sync_directory(directory):
    """Make a rename in `directory` last; where the system has no such thing, it is not needed."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return  # one may write to it, but not read it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Save and load: a network as one file of plain data.

The file is a zip archive of uncompressed entries, which ``numpy.load`` reads as well:

    lstmcore.json     format, version, and the network's options; layers by type and options
    params.npy        the flat parameter vector, little-endian
    0.W_mask.npy, ... the masks of the layers that have any, as 0 and 1

Nothing in it is executed, nothing is allocated on the word of a size that the file does not back
with bytes, and whatever is not such a file is a `ValueError`.
"""

import errno
import io
import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from ._checks import describe
from .cells import CELLS
from .network import Network

__all__ = ["load", "save"]

_FORMAT, _VERSION = "lstmcore", 1
_HEADER, _PARAMS = "lstmcore.json", "params.npy"
_MAX_HEADER = 1 << 20
_LAYERS = CELLS
_MASKS = ("W_mask", "R_mask")
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # one network, one sequence of bytes


def save(net, path):
    """Write a network, options and parameters, to one file.

    A reader sees the old file or the new one, never half of one: the bytes go to a temporary file
    beside it, are flushed to the disk, and take the old file's place at once.

    Parameters
    ----------
    net : Network
    path : str or path-like
        Overwritten if it exists.

    Raises
    ------
    TypeError
        `net` is not a Network.
    OSError
        The file cannot be written; what was there before is still there.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     net.save(os.path.join(directory, "m.npz"))
    ...     again = lc.load(os.path.join(directory, "m.npz"))
    >>> bool((again.params == net.params).all())
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    path = Path(os.path.realpath(_as_path(path)))  # a link stays one
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb") as file:
            _write(net, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def load(path):
    """Read a network that `save` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        Not such a file, damaged, cut short, of a newer version, or with sizes that it does not
        hold. Any bytes at all are safe to load.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "m.npz")
    ...     lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], seed=0).save(path)
    ...     lc.load(path)
    Network([LSTM(3, 8), Dense(8, 2)], loss='squared_error', readout='all', dtype='float64')
    """
    with open(_as_path(path), "rb") as file:
        try:
            return _read(file)
        except Exception as error:  # whatever a hostile archive makes the parsers raise
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise  # the disk's; but EINVAL is an archive that points out of the file
            raise ValueError(f"path: expected a network's file, got {path}: {error}") from error


def _as_path(path):
    """`path` as a str; not a file's number, which `open` would take, too."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"path: expected a str or a path, got {describe(path)}")
    if "\0" in text:
        raise ValueError(f"path: expected a name without a zero byte, got {path!r}")
    return text


def _write(net, file):
    layers, arrays = [], {_PARAMS: net.params}
    for k, layer in enumerate(net.layers):
        options = dict(layer.options)
        for name in _MASKS:
            if options.get(name) is not None:
                arrays[f"{k}.{name}.npy"] = options[name].astype(np.uint8)
                options[name] = True
        layers.append({"type": type(layer).__name__, "options": options})
    header = {"format": _FORMAT, "version": _VERSION, **net.options, "layers": layers}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps(header, indent=1, allow_nan=False)
        archive.writestr(zipfile.ZipInfo(_HEADER, _NO_DATE), text)
        for name, array in arrays.items():
            info = zipfile.ZipInfo(name, _NO_DATE)
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(
                    entry, array.astype(array.dtype.newbyteorder("<"), copy=False), version=(1, 0)
                )


def _read(file):
    with zipfile.ZipFile(file) as archive:
        entries = _checked_entries(archive, os.fstat(file.fileno()).st_size)
        if entries[_HEADER].file_size > _MAX_HEADER:
            raise ValueError(f"{_HEADER} has {entries[_HEADER].file_size} bytes")
        header = json.loads(archive.read(_HEADER))
        if header.pop("format") != _FORMAT:
            raise ValueError("another format")
        version = header.pop("version")
        if version != _VERSION:
            raise ValueError(f"version {version}, and this release reads version {_VERSION}")
        layers = [_read_layer(archive, k, spec) for k, spec in enumerate(header.pop("layers"))]
        params = _read_array(archive, _PARAMS)
    # The network is built only if its parameters are there: they bound what it allocates.
    expected = sum(block.size for layer in layers for block in layer.blocks())
    if params.shape != (expected,) or params.dtype != header["dtype"]:
        raise ValueError(
            f"its layers have {expected} parameters of {header['dtype']}, "
            f"and it holds {params.dtype} of shape {params.shape}"
        )
    net = Network(layers, **header, seed=0)
    net.params[...] = params
    return net


def _checked_entries(archive, size):
    """The archive's entries by name, none with more bytes than the file has."""
    entries = {info.filename: info for info in archive.infolist()}
    missing = {_HEADER, _PARAMS} - set(entries)
    if missing:
        raise ValueError(f"no entry {min(missing)}")
    if len(entries) != len(archive.infolist()):
        raise ValueError("two entries with one name")
    for info in entries.values():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"entry {info.filename} is compressed")
    if sum(info.file_size for info in entries.values()) > size:
        raise ValueError("its entries are said to be larger than the file")
    return entries


def _read_layer(archive, k, spec):
    kind, options = spec["type"], dict(spec["options"])
    if kind not in _LAYERS:
        raise ValueError(f"a layer of the unknown type {kind!r}")
    for name, value in options.items():
        if name in _MASKS and value is not None:
            options[name] = _read_array(archive, f"{k}.{name}.npy")
        elif isinstance(value, list):
            options[name] = tuple(value)  # an activation with its parameters
    return _LAYERS[kind](**options)


def _read_array(archive, name):
    """An entry as an array of float32, float64 or uint8; of no other kind and no other size."""
    data = archive.read(name)  # verifies the checksum
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"entry {name} has another version of the array format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran_order or min(shape) < 0 or dtype.str not in ("<f4", "<f8", "|u1"):
        raise ValueError(f"entry {name} is an array of {dtype.str} and shape {shape}")
    values = np.frombuffer(data, dtype, offset=stream.tell())
    return values.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _sync_directory(directory):
    """Make a rename in `directory` last; where the system has no such thing, it is not needed."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files of named tensors, as PyTorch and safetensors write them; read without either.

A file from ``torch.save`` is a zip archive of uncompressed entries:

    NAME/data.pkl     what was saved, pickled, with storages by number in the place of their bytes
    NAME/byteorder    "little" or "big", since torch 2.1
    NAME/data/0, ...  the bytes of each storage

A safetensors file is the length of a header in 8 bytes, the header in JSON, and the bytes of all
tensors one after the other. Both are from anybody: nothing in them is run, sizes are believed as
far as bytes back them, and whatever is not such a file is a ValueError.
"""

import json
import os
from dataclasses import dataclass
from math import prod

import numpy as np

from .._archive import (
    MAX_HEADER,
    as_path,
    at_once,
    check_stored,
    fill,
    open_archive,
    parse_json,
    refusing,
)
from ._common import short
from ._inert import Tensor, unpickle

__all__ = ["choose_entry", "read_tensors", "write_safetensors"]

# Bytes of a pickle: a byte may become an object, which takes a microsecond and some hundred bytes.
_MOST_PICKLED = 1 << 19

_MOST_TENSORS = 10_000

# Storages and tensors that share their numbers, as tied weights do, and are not one array here.
_MOST_COPIES = 4

# In torch's words and in those of safetensors. bfloat16 has no dtype: the upper half of a float32.
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_SAFETENSORS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": _BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "?",
}


def read_tensors(path, entry=None):
    """The tensors of a file.

    Parameters
    ----------
    path : str or path-like
    entry : str, optional
        Which of the state dicts of a checkpoint.

    Returns
    -------
    dict of str to ndarray
        In the file's order. bfloat16 is widened to float32.

    Raises
    ------
    ValueError
        Not such a file, or damaged.
    OSError
        The file cannot be read.
    """
    what = "a file of tensors from torch.save or safetensors"
    with refusing(path, what, "source"):
        start = _start_of(path)
        if start.startswith(b"PK\x03\x04"):
            return _read_archive(path, entry)
        if start[8:9] == b"{":
            if entry is not None:
                raise ValueError("it has no entries; expected entry=None")
            return _read_safetensors(path)
        if start.startswith(b"\x80") or start[257:262] == b"ustar":
            raise ValueError(
                "it is of a form from before torch 1.6; where you trust it, write it anew with "
                "torch: torch.save(torch.load(path), path)"
            )
        raise ValueError("it begins like neither")


def _refuse_more(tensors):
    if len(tensors) > _MOST_TENSORS:
        raise ValueError(f"it holds {len(tensors)} tensors; at most {_MOST_TENSORS} are read")


def _start_of(path):
    with open(as_path(path), "rb") as file:
        return file.read(512)


def choose_entry(value, is_tensor, entry=None):
    """The state dict in what was saved: that itself, or an entry of a checkpoint.

    Parameters
    ----------
    value : object
    is_tensor : callable
        ``is_tensor(object)`` says whether it is one.
    entry : str, optional
        The name of the entry; by default there must be no more than one.

    Returns
    -------
    dict of str to tensor
    """

    known = {}  # by identity: a hostile pickle may hold one dict many times

    def is_state_dict(value):
        if not isinstance(value, dict) or not value:
            return False
        if id(value) not in known:
            known[id(value)] = all(
                isinstance(key, str) and is_tensor(item) for key, item in value.items()
            )
        return known[id(value)]

    if entry is None and is_state_dict(value):
        return value
    value = value if isinstance(value, dict) else {}
    entries = {
        key: item for key, item in value.items() if isinstance(key, str) and is_state_dict(item)
    }
    if entry is not None and entry in entries:
        return entries[entry]
    if entry is None and len(entries) == 1:
        return next(iter(entries.values()))
    if not entries:
        others = [key for key, item in value.items() if not is_tensor(item)]
        if 0 < len(others) < len(value):
            raise ValueError(
                f"it holds tensors, and as {short(others)} other things; a state dict has tensors "
                "alone"
            )
        raise ValueError(
            "it holds no state dict, a dict of tensors by name; torch.save(model.state_dict(), "
            "path) writes one"
        )
    which = "several state dicts" if entry is None else f"no state dict {short(entry)}"
    raise ValueError(f"it holds {which}; expected entry= one of {short(list(entries))}")


# ------------------------------------------------------------------------------- torch.save


def _read_archive(path, entry):
    with open_archive(path) as (archive, entries):
        found = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise ValueError("no entry data.pkl")
        root = found[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in entries:
            raise ValueError(
                "it is a program for TorchScript; where you trust it, load it with torch.jit.load, "
                "and save its state_dict()"
            )
        check_stored(archive, entries)
        if entries[found[0]].file_size > _MOST_PICKLED:
            raise ValueError(
                f"it has {entries[found[0]].file_size} bytes beside the numbers of its tensors, "
                f"and {_MOST_PICKLED} are read; torch.save(model.state_dict(), path) writes fewer"
            )
        tensors = choose_entry(
            unpickle(archive.read(found[0])), lambda value: isinstance(value, Tensor), entry
        )
        _refuse_more(tensors)
        order = _byte_order(archive, entries, f"{root}byteorder")
        held = (info.file_size for name, info in entries.items() if name.startswith(f"{root}data/"))
        storages, room = {}, _Room(sum(held))
        result = {}
        for name, tensor in tensors.items():
            key = tensor.storage.key
            if key not in storages:
                file = f"{root}data/{key}"
                storages[key] = _read_storage(archive, entries, file, tensor.storage, order)
            storage, values = storages[key]
            if storage != tensor.storage:
                raise ValueError(f"storage {key!r} is said to be two")
            room.take(tensor.shape, values.itemsize, name)
            result[name] = _widen(_view(tensor, values, name), storage.kind)
        return result


def _byte_order(archive, entries, name):
    if name not in entries:
        return "<"  # older files do not say, and come from machines that are all of this kind
    said = archive.read(name) if entries[name].file_size <= 6 else b""
    if said not in (b"little", b"big"):
        raise ValueError("an order of bytes that is neither little nor big")
    return "<" if said == b"little" else ">"


def _read_storage(archive, entries, name, storage, order):
    """A storage, and its numbers as an array."""
    if storage.kind not in _STORAGES:
        raise ValueError(f"numbers of the unknown kind {short(storage.kind)}")
    if name not in entries:
        raise ValueError(f"no entry {name!r}")
    dtype = _dtype(_STORAGES[storage.kind], order)
    if storage.size * dtype.itemsize != entries[name].file_size:
        raise ValueError(f"{name!r} has {entries[name].file_size} bytes for {storage.size} numbers")
    values = np.empty(storage.size, dtype)
    with archive.open(name) as file:
        fill(file, values, f"entry {name!r}")
    return storage, values


def _dtype(name, order="<"):
    return np.dtype(np.uint16 if name == _BFLOAT16 else name).newbyteorder(order)


def _widen(values, kind):
    """A fresh array in the machine's order; bfloat16, which is in uint16, as float32."""
    values = values.astype(values.dtype.newbyteorder("="), order="C")
    if _STORAGES.get(kind, _SAFETENSORS.get(kind)) == _BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _view(tensor, values, name):
    """The numbers of a storage that a tensor has."""
    shape, strides, offset, size = tensor.shape, tensor.strides, tensor.offset, len(values)
    is_within = min(*shape, *strides, offset, 0) >= 0
    if is_within and 0 in shape:
        return np.empty(shape, values.dtype)
    if is_within:
        last = offset + sum((n - 1) * by for n, by in zip(shape, strides, strict=True))
        is_within = last < size and prod(shape) <= size
    if not is_within:
        raise ValueError(
            f"{short(name)} of shape {short(shape)} lies outside its storage of {size} numbers"
        )
    strides = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, strides, writeable=False)


class _Room:
    """The bytes that arrays of a file may take: those that share their numbers are copies here."""

    def __init__(self, size):
        self._left = _MOST_COPIES * size

    def take(self, shape, itemsize, name):
        self._left -= prod(shape) * itemsize
        if self._left < 0:
            raise ValueError(
                f"with {short(name)} its tensors have more than {_MOST_COPIES} times the "
                "numbers that it holds"
            )


# ------------------------------------------------------------------------------- safetensors


def _read_safetensors(path):
    with open(as_path(path), "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size - 8 - length
        if length > MAX_HEADER or size < 0:
            raise ValueError(f"a header of {length} bytes; at most {MAX_HEADER} are read")
        header = parse_json(file.read(length))
        header.pop("__metadata__", None)
        if not header:
            raise ValueError("it holds no tensors")
        _refuse_more(header)
        parts = {name: _part(name, spec) for name, spec in header.items()}
        end = 0
        for part in sorted(parts.values(), key=lambda part: (part.start, part.end)):
            if part.start != end:
                raise ValueError("its tensors do not lie one after the other")
            end = part.end
        if end != size:
            raise ValueError(f"its tensors have {end} bytes, and it holds {size}")
        result = {}
        for name, part in parts.items():
            values = np.empty(part.shape, _dtype(_SAFETENSORS[part.kind]))
            file.seek(8 + length + part.start)
            fill(file, values, f"tensor {short(name)}")
            result[name] = _widen(values, part.kind)
        return result


@dataclass(frozen=True)
class _Part:
    """Where a tensor lies in a safetensors file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def _part(name, spec):
    kind, shape, (start, end) = spec["dtype"], spec["shape"], spec["data_offsets"]
    if kind not in _SAFETENSORS:
        raise ValueError(f"{short(name)} has numbers of the kind {short(kind)}")
    numbers = (start, end, *shape)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(shape) > 32:
        raise ValueError(f"{short(name)} has sizes that are none")
    if 0 not in shape and max(shape, default=1) > end:
        raise ValueError(f"{short(name)} has a size that is larger than the file")
    if prod(shape) * _dtype(_SAFETENSORS[kind]).itemsize != end - start:
        raise ValueError(f"{short(name)} has {end - start} bytes for shape {shape}")
    return _Part(kind, tuple(shape), start, end)


def write_safetensors(path, arrays):
    """Write arrays of float32 or float64 to a safetensors file, at once.

    Parameters
    ----------
    path : str or path-like
    arrays : dict of str to ndarray
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        kind = {4: "F32", 8: "F64"}[array.itemsize]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned

    def write(file):
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)

    at_once(path, write)

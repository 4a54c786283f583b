"""HDF5 files read without trust: groups, datasets of numbers, attributes of text.

The HDF5 library is C code that crashes on some damaged files and hangs on others, so what Keras
writes of the format is read here: superblock 0 or 1, symbol tables, object headers of version 1,
data that stands in the file in one piece. Soft and external links, external and virtual storage,
chunks and filters are refused. No size is believed that the file does not back with bytes, and all
that is read together may not be more than a few times the file.
"""

import struct
from math import prod

import numpy as np

__all__ = ["SIGNATURE", "File"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# How often a file may be read over. Each object is read once, and names of its heaps again.
_MOST_READINGS = 4
_SPARE = 1 << 20  # bytes more, for small files
_DEEPEST = 64  # levels of a tree of names

# Types of messages in an object header.
_DATASPACE, _DATATYPE, _LINK_INFO, _LINK = 0x01, 0x03, 0x02, 0x06
_EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE = 0x07, 0x08, 0x0B, 0x0C
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0x10, 0x11, 0x15
_SHARED = 0x02  # a message's flag: it stands elsewhere

_FIXED, _FLOAT, _STRING, _SEQUENCE = 0, 1, 3, 9  # classes of types
_COMPACT, _CONTIGUOUS = 0, 1  # classes of layouts
_LAYOUTS = {2: "chunks, as of compressed data", 3: "virtual storage"}
_NOWHERE = (1 << 64) - 1
_NEWER = (
    "it is in a newer form of HDF5, which Keras does not write; h5py.File(path, 'w') with a copy "
    "of each group is in the older one"
)


class File:
    """An HDF5 file, open to read.

    Parameters
    ----------
    file : binary file
        That can seek.
    size : int
        Its bytes.

    Attributes
    ----------
    root : Group
    """

    def __init__(self, file, size):
        self._file, self._size = file, size
        self._left = _MOST_READINGS * size + _SPARE
        self._objects, self._heaps = {}, {}
        head = self.at(0, 96)
        if head[:8] != SIGNATURE:
            raise ValueError("no HDF5 file")
        if head[8] > 1:
            raise ValueError(_NEWER)
        if head[13] != 8 or head[14] != 8:
            raise ValueError("its addresses have not 8 bytes")
        start = 24 if head[8] == 0 else 28
        base, _, _, _, _, address = struct.unpack_from("<6Q", head, start)
        if base:
            raise ValueError("it does not begin at its first byte")
        self.root = self.object(address)
        if not isinstance(self.root, Group):
            raise ValueError("its root is no group")

    def at(self, offset, count):
        """`count` bytes of the file."""
        if offset + count > self._size:
            raise ValueError("it points behind its end")
        self.spend(count)
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("it ends early")
        return data

    def spend(self, count):
        """Count bytes that are read, also from what was read before."""
        self._left -= count
        if self._left < 0:
            raise ValueError("it says the same bytes many times over")

    def object(self, address):
        """The group or dataset whose header is at `address`."""
        if address not in self._objects:
            messages = self._messages(address)
            kinds = {kind for kind, _ in messages}
            if kinds & {_LINK_INFO, _LINK, _ATTRIBUTE_INFO}:
                raise ValueError(_NEWER)
            make = Group if _SYMBOL_TABLE in kinds else Dataset
            self._objects[address] = make(self, messages)
        return self._objects[address]

    def _messages(self, address):
        """(type, bytes) of each message of an object header."""
        head = self.at(address, 16)
        if head[:4] == b"OHDR":
            raise ValueError(_NEWER)
        version, total, _, size = struct.unpack_from("<BxHII", head)
        if version != 1:
            raise ValueError("an object header in an unknown version")
        stretches, messages = [(address + 16, size)], []
        for offset, length in stretches:  # grows: a stretch may name a further one
            block, place = self.at(offset, length), 0
            while place + 8 <= length and len(messages) < total:
                kind, size, flags = struct.unpack_from("<HHB", block, place)
                body = block[place + 8 : place + 8 + size]
                if len(body) != size:
                    raise ValueError("a message that is longer than its header")
                if kind == _CONTINUATION:
                    stretches.append(struct.unpack_from("<QQ", body))
                shared = flags & _SHARED and kind in (_DATATYPE, _DATASPACE, _ATTRIBUTE)
                messages.append((kind, None if shared else body))
                place += 8 + size
        return messages

    def heap(self, address):
        """The data of the local heap at `address`: names, each with a zero behind it."""
        if address not in self._heaps:
            head = self.at(address, 32)
            if head[:4] != b"HEAP":
                raise ValueError("a heap that is none")
            size, _, data = struct.unpack_from("<QQQ", head, 8)
            self._heaps[address] = self.at(data, size)
        return self._heaps[address]

    def collection(self, address):
        """``{index: bytes}`` of the global heap at `address`, where long text stands."""
        if address not in self._heaps:
            head = self.at(address, 16)
            if head[:4] != b"GCOL":
                raise ValueError("a global heap that is none")
            size = struct.unpack_from("<Q", head, 8)[0]
            block, place, objects = self.at(address, size), 16, {}
            while place + 16 <= size:
                index, _, length = struct.unpack_from("<HH4xQ", block, place)
                if index == 0:
                    break  # what is free
                objects[index] = block[place + 16 : place + 16 + length]
                if len(objects[index]) != length:
                    raise ValueError("text that is longer than its heap")
                place += 16 + length + -length % 8
            self._heaps[address] = objects
        return self._heaps[address]

    def links(self, node, heap):
        """``{name: address}`` of a group, given the addresses of its tree and its heap."""
        names, found = self.heap(heap), {}
        nodes, seen = [(node, _DEEPEST)], set()
        for address, level in nodes:  # grows
            if address in seen or level == 0:
                raise ValueError("a tree of names that does not end")
            seen.add(address)
            head = self.at(address, 8)
            if head[:4] == b"TREE":
                count = struct.unpack_from("<H", head, 6)[0]
                children = struct.unpack(f"<{2 * count}Q", self.at(address + 32, 16 * count))[::2]
                nodes += [(child, level - 1) for child in children]
            elif head[:4] == b"SNOD":
                count = struct.unpack_from("<H", head, 6)[0]
                for k in range(count):
                    name, at, kind = struct.unpack("<QQI", self.at(address + 8 + 40 * k, 20))
                    found[self._name(names, name)] = None if kind == 2 else at
            else:
                raise ValueError("a tree of names that is none")
        return found

    def _name(self, names, start):
        end = names.find(b"\0", start)
        if end < 0:
            raise ValueError("a name without an end")
        self.spend(end - start)
        return names[start:end].decode("utf-8")


class _Object:
    """What has attributes."""

    def __init__(self, file, messages):
        self._file, self._messages = file, messages
        self._attributes = None

    @property
    def attributes(self):
        """``{name: text or list of text}``; without those of other types."""
        if self._attributes is None:
            bodies = (body for kind, body in self._messages if kind == _ATTRIBUTE)
            found = (_attribute(self._file, body) for body in bodies)
            self._attributes = {name: value for name, value in found if value is not None}
        return self._attributes

    def _one(self, kind, what):
        """The body of the object's one message of a type."""
        bodies = [body for found, body in self._messages if found == kind]
        if len(bodies) != 1 or bodies[0] is None:
            raise ValueError(f"an object without {what}")
        return bodies[0]


class Group(_Object):
    """What has names for other objects."""

    def __init__(self, file, messages):
        super().__init__(file, messages)
        self._links = None

    @property
    def links(self):
        if self._links is None:
            body = self._one(_SYMBOL_TABLE, "a table of names")
            self._links = self._file.links(*struct.unpack_from("<QQ", body))
        return self._links

    def __contains__(self, name):
        return name in self.links

    def group(self, path):
        """The group at a path such as ``"layers/gru"``, or None."""
        found = self._find(path)
        if isinstance(found, Dataset):
            raise ValueError(f"{path!r} is no group")
        return found

    def array(self, path):
        """The numbers of the dataset at a path, or None."""
        found = self._find(path)
        if isinstance(found, Group):
            raise ValueError(f"{path!r} is no dataset")
        return None if found is None else found.read(path)

    def _find(self, path):
        here = self
        for name in path.split("/"):
            if not isinstance(here, Group) or name not in here.links:
                return None
            address = here.links[name]
            if address is None:
                raise ValueError(f"{path!r} is a link to another place")
            here = here._file.object(address)
        return here


class Dataset(_Object):
    """Numbers."""

    def read(self, name):
        """The numbers; `name` is what errors call them."""
        kinds = {kind for kind, _ in self._messages}
        if _EXTERNAL in kinds:
            raise ValueError(f"{name!r} stands in another file")
        if _FILTERS in kinds:
            raise ValueError(
                f"{name!r} is compressed; h5repack -f NONE writes a file where nothing is"
            )
        shape = _shape(self._one(_DATASPACE, "a shape"))
        dtype = _dtype(self._one(_DATATYPE, "a type"), name)
        size = prod(shape) * dtype.itemsize
        body = self._one(_LAYOUT, "data")
        if len(body) < 2 or body[0] not in (3, 4):
            raise ValueError(f"{name!r} has a layout in an unknown version")
        if body[1] == _COMPACT:
            stored = struct.unpack_from("<H", body, 2)[0]
            data = body[4 : 4 + stored]
        elif body[1] == _CONTIGUOUS:
            address, stored = struct.unpack_from("<QQ", body, 2)
            if stored != size or (address == _NOWHERE and size):
                raise ValueError(f"{name!r} has {stored} bytes for shape {shape}")
            data = self._file.at(address, stored) if size else b""
        else:
            raise ValueError(f"{name!r} is in {_LAYOUTS.get(body[1], 'an unknown layout')}")
        if len(data) != size:
            raise ValueError(f"{name!r} has {len(data)} bytes for shape {shape}")
        return np.frombuffer(data, dtype).reshape(shape)


def _shape(body):
    version, rank = body[:2]
    if version not in (1, 2):
        raise ValueError("a shape in an unknown version")
    if version == 2 and body[3] == 2:
        raise ValueError("a shape that holds nothing")
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def _dtype(body, name):
    """A type of floating-point or whole numbers as NumPy's."""
    kind, order, size = body[0] & 15, ">" if body[1] & 1 else "<", struct.unpack_from("<I", body, 4)
    size = size[0]
    if kind == _FLOAT and size in _FLOATS and body[8:20] == _FLOATS[size]:
        return np.dtype(f"{order}f{size}")
    if kind == _FIXED and size in (1, 2, 4, 8):
        return np.dtype(f"{order}{'i' if body[1] & 8 else 'u'}{size}")
    raise ValueError(f"{name!r} holds something else than numbers of 16, 32 or 64 bits")


def _float(exponent_at, exponent_size, mantissa_size, bias):
    bits = 1 + exponent_size + mantissa_size
    return struct.pack("<HHBBBBI", 0, bits, exponent_at, exponent_size, 0, mantissa_size, bias)


# How IEEE numbers of so many bytes are described.
_FLOATS = {2: _float(10, 5, 10, 15), 4: _float(23, 8, 23, 127), 8: _float(52, 11, 52, 1023)}


def _attribute(file, body):
    """The name of an attribute and its text, or list of text; None for other types."""
    if body is None:
        raise ValueError("an attribute that stands elsewhere")
    version = body[0]
    if version not in (1, 2, 3) or (version > 1 and body[1]):
        raise ValueError("an attribute in an unknown version")
    sizes = struct.unpack_from("<HHH", body, 2)
    place, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(body[place : place + size])
        if len(parts[-1]) != size:
            raise ValueError("an attribute that ends early")
        place += size + (-size % 8 if version == 1 else 0)
    name = parts[0].partition(b"\0")[0].decode("utf-8")
    datatype, data = parts[1], body[place:]
    kind, size = datatype[0] & 15, struct.unpack_from("<I", datatype, 4)[0]
    if kind not in (_STRING, _SEQUENCE) or (kind == _SEQUENCE and datatype[1] & 15 != 1):
        return name, None
    if kind == _SEQUENCE:
        size = 16  # length, address of the heap, number in it
    shape = _shape(parts[2])
    count = prod(shape)
    if count * size > len(data):
        raise ValueError(f"the attribute {name!r} ends early")
    texts = []
    for k in range(count):
        text = data[k * size : (k + 1) * size]
        if kind == _SEQUENCE:
            length, address, index = struct.unpack("<IQI", text)
            text = file.collection(address)[index][:length] if length else b""
        file.spend(len(text) + 8)
        texts.append(text.rstrip(b"\0").decode("utf-8"))
    return name, texts if shape else texts[0]

"""Read what ``torch.save`` pickles, as plain data: nothing is imported, called or built.

A pickle is a program for a machine with a stack. This machine knows the instructions that
`torch.save` writes of tensors, numbers, strings and containers, and no others. What other machines
would look up and call is a `Name` here, and a call of a name makes something only where the name is
in `_MADE`: a dict, or a `Tensor`, which says where in the file its numbers are. Calls of the names
in `_INERT`, which checkpoints hold beside tensors, make a thing that nobody can use. All other
names are refused.

Time and memory are bounded by the length of the program. It has at most so many instructions as
bytes. What an instruction takes of both goes with the bytes that it has, or with the things that it
takes off the stack, and each of them is there once. A program may push a thing that it has kept
again and again, so no more than a few entries of a thing are looked at. There is no recursion.
"""

import re
import struct
from dataclasses import dataclass

__all__ = ["Storage", "Tensor", "unpickle"]


@dataclass(frozen=True, slots=True)
class Name:
    """What stands for anything that a pickle names."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers of some tensors.

    Attributes
    ----------
    kind : str
        As torch calls it: ``"FloatStorage"``.
    key : str
        Of its entry in the file.
    size : int
        How many numbers the pickle says it has.
    """

    kind: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """Which numbers of a storage a tensor has. Sizes and strides are those of the pickle."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Inert:
    """Something that nobody asks for."""

    __slots__ = ()


_MOST_AXES = 32
_MOST_ARGUMENTS = 8


def _tensor(storage, offset, shape, strides, *_):
    if not (
        isinstance(storage, Storage)
        and type(shape) is type(strides) is tuple
        and len(shape) == len(strides) <= _MOST_AXES
        and all(type(number) is int for number in (offset, *shape, *strides))
    ):
        raise ValueError("a tensor of something else than a storage and integers")
    return Tensor(storage, offset, shape, strides)


def _ordered_dict():
    """An empty one, which is filled afterwards."""
    return {}


_MADE = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}

# What checkpoints hold beside tensors, in Python 2's words as well, which torch.save writes.
_BESIDE = {
    "argparse": "Namespace",
    "collections": "Counter defaultdict deque",
    "datetime": "date datetime timedelta",
    "pathlib": "PosixPath WindowsPath",
    "pathlib._local": "PosixPath WindowsPath",
    "builtins": "bytearray complex dict frozenset list set slice",
    "__builtin__": "bytearray complex dict frozenset list set slice",
    "_codecs": "encode",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "torch": "Size bfloat16 bool device float16 float32 float64 int16 int32 int64 int8 uint8",
}
_STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?\w{1,20}Storage")
_LONGEST_NAME = 100  # characters of a module, and of a name in it
_INERT = frozenset(f"{module}.{name}" for module in _BESIDE for name in _BESIDE[module].split())

_KEYS = (str, int, float, bytes, type(None))  # hashed in a time that goes with their bytes


def _set(target, key, value):
    """Set an item of a dict. A key that nobody asks for may take ages to hash, as tuples do."""
    if type(key) not in _KEYS and type(key) is not bool:
        key = Inert()
    if key in target:
        raise ValueError("a key stands twice in a dict")
    target[key] = value


def unpickle(program):
    """What a pickle holds.

    Parameters
    ----------
    program : bytes

    Returns
    -------
    object
        Of dict, list, tuple, str, bytes, int, float, bool, None, `Tensor`, and things of no use.

    Raises
    ------
    Exception
        Of any type, where it is not what torch writes of such.

    Examples
    --------
    >>> import pickle
    >>> unpickle(pickle.dumps({"epoch": 3, "names": ["a", "b"]}, protocol=2))
    {'epoch': 3, 'names': ['a', 'b']}
    >>> unpickle(pickle.dumps(print))
    Traceback (most recent call last):
    ValueError: it names builtins.print, and nothing in a file is run; ...
    """
    if not program.endswith(_STOP):
        raise ValueError("it ends early")
    machine = _Machine(program)
    while True:
        code = program[machine.at]
        machine.at += 1
        if code == _STOP[0]:
            (result,) = machine.stack
            return result
        run = _RUN.get(code)
        if run is None:
            raise ValueError(f"the instruction {code:#x}, which torch.save does not write")
        run(machine)


class _Machine:
    """The state of a program: its stack, what it keeps by number, and where it is."""

    def __init__(self, program):
        self.stack = []
        self.below = []  # the stacks under marks
        self.kept = {}
        self.at = 0
        self._program = program

    def take(self, size):
        """The next bytes of the program."""
        start, self.at = self.at, self.at + size
        if self.at > len(self._program):
            raise ValueError("it ends early")
        return self._program[start : self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        end = self._program.index(b"\n", self.at)
        text = self.take(end - self.at).decode()
        self.at += 1
        return text

    def since_mark(self):
        items, self.stack = self.stack, self.below.pop()
        return items

    def pop(self, count):
        if count > len(self.stack):
            raise ValueError("it takes more from its stack than is there")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def top(self, kind):
        """The container on the stack that is to be filled; for things of no use any one."""
        if type(self.stack[-1]) is Inert:
            return kind()
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"it fills something else than a {kind.__name__}")
        return self.stack[-1]

    def push_name(self, module, name):
        if len(module) > _LONGEST_NAME or len(name) > _LONGEST_NAME:
            raise ValueError("a name that is too long to be one of PyTorch's")
        name = f"{module}.{name}"
        if not (name in _MADE or name in _INERT or _STORAGE.fullmatch(name)):
            raise ValueError(
                f"it names {name}, and nothing in a file is run; where you trust it, load it with "
                "torch, and save tensors alone: torch.save(model.state_dict(), path)"
            )
        self.stack.append(Name(name))


def _mark(m):
    m.below.append(m.stack)
    m.stack = []


def _append(m):
    (value,) = m.pop(1)
    m.top(list).append(value)


def _appends(m):
    values = m.since_mark()
    m.top(list).extend(values)


def _set_item(m):
    key, value = m.pop(2)
    _set(m.top(dict), key, value)


def _set_items(m):
    items = m.since_mark()
    target = m.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        _set(target, key, value)


def _call(m):
    function, arguments = m.pop(2)
    if type(function) is not Name or type(arguments) is not tuple:
        raise ValueError("it calls what is no name")
    make = _MADE.get(function.name)
    if make is not None and len(arguments) > _MOST_ARGUMENTS:
        raise ValueError(f"a call of {function.name} with {len(arguments)} arguments")
    m.stack.append(Inert() if make is None else make(*arguments))


def _build(m):
    """Attributes of an object are of no use, those of a state dict too."""
    target, _ = m.pop(2)
    m.stack.append(target)


def _storage(m):
    """A persistent id: ("storage", type, key, device, size)."""
    (label, kind, key, _, size) = m.pop(1)[0]
    is_storage = type(kind) is Name and _STORAGE.fullmatch(kind.name)
    if not (label == "storage" and is_storage and type(key) is str and type(size) is int):
        raise ValueError("a storage that torch.save does not write")
    m.stack.append(Storage(kind.name.rpartition(".")[2], key, size))


def _keep(number):
    def run(m):
        m.kept[number(m)] = m.stack[-1]

    return run


def _push(value):
    """An instruction that pushes ``value(machine)``."""

    def run(m):
        pushed = value(m)  # which may put another stack in this one's place
        m.stack.append(pushed)

    return run


_STOP = b"."
_INSTRUCTIONS = {
    b"\x80": lambda m: m.take(1),  # the version of what follows
    b"\x95": lambda m: m.take(8),  # how many bytes follow
    b"(": _mark,
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"J": _push(lambda m: m.number("<i")),
    b"\x8a": _push(lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": _push(lambda m: m.number(">d")),
    b"X": _push(lambda m: m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": _push(lambda m: m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"B": _push(lambda m: m.take(m.number("<I"))),
    b"C": _push(lambda m: m.take(m.number("<B"))),
    b"}": _push(lambda m: {}),
    b"]": _push(lambda m: []),
    b")": _push(lambda m: ()),
    b"\x8f": _push(lambda m: []),  # a set, of which nothing is asked
    b"\x91": _push(lambda m: m.since_mark()),  # one that is frozen
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": _push(lambda m: tuple(m.pop(1))),
    b"\x86": _push(lambda m: tuple(m.pop(2))),
    b"\x87": _push(lambda m: tuple(m.pop(3))),
    b"a": _append,
    b"e": _appends,
    b"\x90": _appends,
    b"s": _set_item,
    b"u": _set_items,
    b"q": _keep(lambda m: m.number("<B")),
    b"r": _keep(lambda m: m.number("<I")),
    b"\x94": _keep(lambda m: len(m.kept)),
    b"h": _push(lambda m: m.kept[m.number("<B")]),
    b"j": _push(lambda m: m.kept[m.number("<I")]),
    b"c": lambda m: m.push_name(m.line(), m.line()),
    b"\x93": lambda m: m.push_name(*map(_as_str, m.pop(2))),
    b"R": _call,
    b"\x81": _call,
    b"b": _build,
    b"Q": _storage,
}


_RUN = {code[0]: run for code, run in _INSTRUCTIONS.items()}


def _as_str(value):
    if type(value) is not str:
        raise ValueError("a name that is no string")
    return value

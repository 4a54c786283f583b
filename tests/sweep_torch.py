"""The sweep's files of PyTorch and safetensors, damaged or rewritten.

Reading one must give arrays or a network, or a ValueError of one line; within a second of processor
time, and within a few times the memory that the file takes. `sweep_files.py` says how both are
measured.
"""

import io
import json
import pickletools
import random
import struct
import tempfile
import time
import tracemalloc
import zipfile
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from sweep_files import (
    archive_of,
    assert_one_line,
    bomb,
    change_header,
    cut,
    double,
    dumps,
    entries_of,
    flip,
    flip_frame,
    insert,
    lie,
    lie_in_both,
)

from lstmcore import from_torch
from lstmcore.interop._tensors import read_tensors

SECONDS = 1.0  # of processor time, for one file
MEMORY = 12  # times the file's size: half precision widened, shared storages, the network's copies
DESCRIBED = 150  # bytes that Python needs at most for one of a pickle or a header
MOST_DESCRIBED = 1 << 20  # bytes of these that are looked at
# Bytes: what reading takes for the smallest file; Python's table of the strings that it keeps once
# grows by 2 MB when it is full, whoever adds the last one.
ALLOWANCE = 3 << 20

GOLDEN = Path(__file__).parent / "ecosystem/golden/torch"
HEADS = ["embedding", "lstm", "fc1", "relu", "fc2", "softmax"]
FILES = {
    "classifier.pt": {"layers": HEADS},
    "checkpoint.pt": {},
    "LSTMCell.pt": {"layers": ["front", "tanh", "cell"]},
    "kinds.pt": {"ignore": "*"},
    "mean.safetensors": {"layers": ["rnn", "head"], "nonlinearity": "tanh"},
    "kinds.safetensors": {"ignore": "*"},
}


@lru_cache
def content_of(name):
    return (GOLDEN / name).read_bytes()


# ----------------------------------------------------------------------------------- pickles

HUGE = [-1, 0, 1, 255, 1 << 31, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 200, -(1 << 63)]
PIECES = [
    b"(", b"N", b"}", b"]", b")", b"t", b"R", b"b", b"Q", b"a", b"e", b"s", b"u", b"\x85", b"\x86",
    b"\x87", b"\x81", b"\x93", b"\x94", b"0", b"1", b"2", b"o", b"\x82\x01", b"P0\n", b"\x90",
    b"h\x00", b"h\x05", b"q\x00", b"r\xff\xff\xff\xff", b"j\x00\x00\x00\x80", b"ios\nsystem\n",
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nload\n", b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"I1\n", b"L1L\n",
    b"X\xff\xff\xff\xff", b"X\x01\x00\x00\x00a", b"\x8e" + b"\xff" * 8, b"\x96" + b"\x7f" * 8, b".",
    b"}" * 100_000, b")" + b"\x94" * 100_000, b"(" * 100_000, b"\x85" * 100_000, b"](" * 50_000,
]  # fmt: skip


def integer(value):
    length = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def change_pickle(rng, program):
    """Instructions lost, doubled, exchanged or put in, or other numbers and names in them."""
    places = [place for _, _, place in pickletools.genops(program)] + [len(program)]
    parts = [program[a:b] for a, b in pairwise(places)]
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        way = rng.choice(["lose", "double", "swap", "put", "number", "number", "name", "flip"])
        if way == "lose":
            parts[at] = b""
        elif way == "double":
            parts.insert(at, parts[other])
        elif way == "swap":
            parts[at], parts[other] = parts[other], parts[at]
        elif way == "put":
            parts.insert(at, rng.choice(PIECES))
        elif way == "flip":
            parts[at] = flip(rng, parts[at] or b"N")
        else:
            kinds = (b"K", b"M", b"J", b"\x8a") if way == "number" else (b"X", b"c", b"\x8c")
            places = [k for k, part in enumerate(parts) if part.startswith(kinds)]
            if places and way == "number":
                parts[rng.choice(places)] = integer(rng.choice([*HUGE, rng.randrange(100)]))
            elif places:
                parts[rng.choice(places)] = parts[rng.choice(places)]
    return b"".join(parts)


def rewrite_pickle(rng, content):
    """Another pickle, checksums right again."""
    entries = entries_of(content)
    name = next(name for name in entries if name.endswith("/data.pkl"))
    entries[name] = change_pickle(rng, entries[name])
    return archive_of(entries.items())


def rewrite_entries(rng, content):
    """Entries under other names, without some, with others, longer or shorter."""
    entries = entries_of(content)
    name, other = rng.choice(list(entries)), rng.choice(list(entries))
    way = rng.choice(["drop", "rename", "swap", "size", "bytes"])
    if way == "drop":
        del entries[name]
    elif way == "rename":
        entries[rng.choice(["x/data.pkl", "data.pkl", "../a", "a\nb", "\x1b[31m", "x/"])] = b""
    elif way == "swap":
        entries[name], entries[other] = entries[other], entries[name]
    elif way == "size":
        entries[name] = entries[name] * 2 if rng.random() < 0.5 else entries[name][:-1]
    else:
        entries[name] = rng.randbytes(len(entries[name]))  # any numbers are right
    return archive_of(entries.items())


# ------------------------------------------------------------------------------- safetensors


def parts_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def rewrite_header(rng, content):
    """Another header, of the length that it says."""
    header, numbers = parts_of(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        header = change_header(rng, header)
    text = dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + numbers


def rewrite_spec(rng, content):
    """Another dtype, shape or place of a tensor."""
    header, numbers = parts_of(content)
    spec = header[rng.choice([name for name in header if name != "__metadata__"])]
    way = rng.choice(["dtype", "shape", "shape", "place"])
    if way == "dtype":
        spec["dtype"] = rng.choice(["F64", "F32", "F16", "BF16", "I8", "BOOL", "F8_E4M3", ""])
    elif way == "shape":
        shape = spec["shape"]
        shape.insert(rng.randrange(len(shape) + 1), rng.choice([0, 1, 2, *HUGE]))
    else:
        spec["data_offsets"][rng.randrange(2)] = rng.choice([0, 1, 8, len(numbers), *HUGE])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def other_length(rng, content):
    """Another length of the header."""
    return struct.pack("<Q", rng.choice([0, 1, 2, 1 << 20, 1 << 40, (1 << 64) - 1])) + content[8:]


DAMAGES = {
    ".pt": [flip, flip_frame, cut, insert, double, bomb, lie, lie_in_both, rewrite_entries]
    + [rewrite_pickle] * 12,
    ".safetensors": [flip, cut, insert, other_length] + [rewrite_spec, rewrite_header] * 3,
}


# ------------------------------------------------------------------------------------ checks


def described_size(content):
    """Bytes that say what the file holds, as far as they are looked at."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            size = sum(archive.getinfo(name).file_size for name in names)
    except Exception:  # whatever is wrong with it, it is no archive
        size = int.from_bytes(content[:8], "little")
    return size if size <= min(MOST_DESCRIBED, len(content)) else 0


def read(function, content):
    """What reading gives, or None where it is refused, within the limits."""
    tracemalloc.start()
    start, result, error = time.process_time(), None, None
    try:
        result = function()
    except ValueError as refusal:
        error = str(refusal)
    finally:
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    most = MEMORY * len(content) + DESCRIBED * described_size(content) + ALLOWANCE
    assert peak <= most, f"{peak} bytes for a file of {len(content)} ({error})"
    assert seconds <= SECONDS, f"{seconds:.1f} s for {len(content)} bytes ({error})"
    if error is not None:
        assert_one_line(error)
    return result


def check(seed, index):
    """One file; what came of it. Raises where something does not hold."""
    rng = random.Random(f"{seed} {index}")
    name = rng.choice(list(FILES))
    damage = rng.choice(DAMAGES[Path(name).suffix])
    content = damage(rng, content_of(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.pt")
        path.write_bytes(content)
        try:
            tensors = read(lambda: read_tensors(path), content)
            net = read(lambda: from_torch(path, **FILES[name]), content)
            assert tensors is not None or net is None, "no tensors, and yet a network"
            if net is not None:
                with np.errstate(all="ignore"):
                    net.predict(np.zeros((1, 2, net.input_size)))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} [{damage.__name__}]") from error
    return "refused" if tensors is None else "tensors" if net is None else "a network"

"""The sweep's files of Keras, damaged or rewritten.

Reading one must give a network, or a ValueError whose lines can be printed; within a second of
processor time, and within a few times the memory that the file takes. `sweep_files.py` says how
both are measured.
"""

import json
import random
import struct
import tempfile
import time
import tracemalloc
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from sweep_files import (
    archive_of,
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

from lstmcore import from_keras

SECONDS = 1.0  # of processor time, for one file
# Times the file's size: entries that are packed to an eighth, their copies, JSON as objects.
MEMORY = 40
ALLOWANCE = 6 << 20  # bytes: what reading takes for the smallest file, with an entry of 1 MB

GOLDEN = Path(__file__).parent / "ecosystem/golden/keras"
ARCHIVES = ["functional.keras", "keras_2_13_functional.keras", "sequential.keras"]
OF_HDF5 = ["alone.weights.h5", "keras_2_15_stack.h5", "keras_2_2.h5", "legacy.h5"]


@lru_cache
def content_of(name):
    for path in GOLDEN.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            if name in archive.namelist():
                return archive.read(name)
    raise FileNotFoundError(name)


HUGE = [0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]


def change_words(rng, content):
    """Other numbers in the place of addresses, lengths and counts."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        width = rng.choice([2, 4, 8])
        place = 8 * rng.randrange(len(content) // 8 - 1) + rng.choice([0, 0, 2, 4])
        other = rng.choice([*HUGE, 8 * rng.randrange(len(content) // 8), len(content) - 8])
        content[place : place + width] = struct.pack("<Q", other)[:width]
    return bytes(content)


def point_elsewhere(rng, content):
    """Addresses of objects in the place of those of others."""
    content = bytearray(content)
    words = range(0, len(content) - 8, 8)
    addresses = [
        k for k in words if 0 < int.from_bytes(content[k : k + 8], "little") < len(content)
    ]
    for _ in range(rng.choice([1, 1, 2, 8])):
        to, source = rng.choice(addresses), rng.choice(addresses)
        content[to : to + 8] = content[source : source + 8]
    return bytes(content)


def double_chunk(rng, content):
    """A stretch of the file in the place of another."""
    content = bytearray(content)
    size = min(rng.choice([8, 40, 200, 1000]), len(content) // 2)
    to, source = rng.randrange(len(content) - size), rng.randrange(len(content) - size)
    content[to : to + size] = content[source : source + size]
    return bytes(content)


INSIDE = [flip, change_words, point_elsewhere, double_chunk]


def rewrite_weights(rng, content):
    """Other weights, checksums right again."""
    entries = entries_of(content)
    entries["model.weights.h5"] = rng.choice(INSIDE)(rng, entries["model.weights.h5"])
    return archive_of(entries.items())


def rewrite_config(rng, content):
    """Another configuration."""
    entries = entries_of(content)
    name = rng.choice(["config.json"] * 9 + ["metadata.json"])
    value = json.loads(entries[name])
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = change_header(rng, value) if value else value
    entries[name] = dumps(value).encode("utf-8", "surrogatepass")
    return archive_of(entries.items())


def rewrite_entries(rng, content):
    """Entries under other names, without some, exchanged."""
    entries = entries_of(content)
    name, other = rng.choice(list(entries)), rng.choice(list(entries))
    if rng.random() < 0.5:
        entries[rng.choice(["model.weights.npz", "../a", "a\nb", "x/"])] = entries.pop(name)
    else:
        entries[name], entries[other] = entries[other], entries[name]
    return archive_of(entries.items())


DAMAGES = {
    "archive": [flip, flip_frame, cut, insert, double, bomb, lie, lie_in_both, rewrite_entries]
    + [rewrite_weights, rewrite_config] * 6,
    "hdf5": [cut, insert] + INSIDE * 4,
}


def read(path, content):
    """The network, or None where it is refused, within the limits."""
    options = {}
    if content[:2] != b"PK":
        options["config"] = content_of("alone.weights.h5.json").decode()
        if b"model_config" in content:
            options = {}
    tracemalloc.start()
    start, net, error = time.process_time(), None, None
    try:
        net = from_keras(path, **options)
    except ValueError as refusal:
        error = str(refusal)
    finally:
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    most = MEMORY * len(content) + ALLOWANCE
    assert peak <= most, f"{peak} bytes for a file of {len(content)} ({error})"
    assert seconds <= SECONDS, f"{seconds:.1f} s for {len(content)} bytes ({error})"
    if error is not None:
        for line in error.split("\n"):
            assert line.isprintable() and len(line) < 1000, repr(line)
    return net


def check(seed, index):
    """One file; what came of it. Raises where something does not hold."""
    rng = random.Random(f"{seed} {index}")
    kind = rng.choice(list(DAMAGES))
    name = rng.choice(ARCHIVES if kind == "archive" else OF_HDF5)
    damage = rng.choice(DAMAGES[kind])
    content = damage(rng, content_of(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        path.write_bytes(content)
        try:
            net = read(path, content)
            if net is not None:
                with np.errstate(all="ignore"):
                    net.predict(np.zeros((1, 2, net.input_size)))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} [{damage.__name__}]") from error
    return "refused" if net is None else "a network"

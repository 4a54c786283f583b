"""The sweep's files: a saved network, damaged or rewritten, and what may come of reading it.

`lstmcore.load` must give a network that is what the file says, or a ValueError of one line; within
a second of processor time and, beside the network itself, within a few times the memory that the
file takes. The commands ``info`` and ``export`` must say it in one line, too.

Memory is what `tracemalloc` has seen at its highest: all of Python's, with NumPy's arrays, also
those that nobody writes to. The limit of `sweep.py` stands behind it, for what it does not see.
"""

import contextlib
import copy
import io
import json
import random
import struct
import tempfile
import time
import tracemalloc
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import zoo

import lstmcore as lc
from lstmcore.__main__ import main as shell

SECONDS = 1.0  # of processor time, for one file
MEMORY = 4  # times the file's size
ALLOWANCE = 256 << 10  # bytes: what reading takes for the smallest file
JSON_MEMORY = 48  # bytes that Python needs at most for one of JSON: a list in a list 88 for two
LARGEST_HEADER = 1 << 20  # bytes of JSON that `load` looks at
OF_AN_ENTRY = 1 << 9  # bytes that Python's zipfile keeps of one
OF_A_LAYER = 10 << 10  # bytes of a layer without its parameters, which a network may have many of
# Options that a file need not name.
YOUNGER = {"direction", "tokens", "bias", "update_bias", "W_start", "R_start", "output_peephole"}
SHELL_EVERY = 20  # files for one that the shell gets, too


# ------------------------------------------------------------------------------- honest files


@lru_cache(maxsize=1)
def networks():
    """A few networks with every kind of layer, masks, losses with options; and their files."""
    head = {
        "masks": {"loss": "cross_entropy", "readout": "mean"},
        "stack": {"dtype": "float32", "readout": "last"},
        "LSTM, activations": {"loss": "binary_cross_entropy"},
        "both directions, learned states": {"readout": "max"},
        "masks, RNN, both directions": {"dtype": "float32"},
        "embedding": {"loss": "cross_entropy"},
        "tokens, RNN, masks": {"dtype": "float32"},
        "reverse, GRU, RNN": {},
        "LSTM, 33 units": {"readout": "last_step"},
    }
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for name, options in head.items():
            path = Path(folder, "m.npz")
            zoo.network(name, **options).save(path)
            files.append(path.read_bytes())
    return files


def entries_of(content):
    """``{name: bytes}`` of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(entries, compression=zipfile.ZIP_STORED):
    """The bytes of an archive of (name, bytes) pairs, its checksums right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            with contextlib.suppress(UserWarning):  # of a second entry with the name
                archive.writestr(info, content)
    return file.getvalue()


# ---------------------------------------------------------------------------------- damage


def flip(rng, content):
    """A few bits or bytes."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 50])):
        place = rng.randrange(len(damaged))
        damaged[place] = rng.choice([damaged[place] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    return bytes(damaged)


def flip_frame(rng, content):
    """A byte of what frames the archive: local headers, the directory, the end."""
    places = [
        place
        for mark, size in ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22))
        for start in find_all(content, mark)
        for place in range(start, min(start + size, len(content)))
    ]
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        damaged[rng.choice(places)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(damaged)


def find_all(content, mark):
    place = content.find(mark)
    while place >= 0:
        yield place
        place = content.find(mark, place + 1)


def cut(rng, content):
    """Cut short, or a piece taken out."""
    start = rng.randrange(len(content))
    stop = rng.choice([len(content), rng.randrange(start, len(content))])
    return content[:start] + content[stop:]


def insert(rng, content):
    """Something put in: at the ends, where self-extracting archives have it, or anywhere."""
    place = rng.choice([0, len(content), rng.randrange(len(content))])
    more = rng.choice([rng.randbytes(rng.randrange(1, 200)), b"\0" * 1000, content])
    return content[:place] + more + content[place:]


# ------------------------------------------------------------------- rewritten, checksums valid

HUGE = [2**31, 2**32 + 1, 2**53 + 1, 2**63, 2**64, 10**18, 10**400, -1, -(2**63)]
STRANGE = [
    None, True, False, 0, 1, 2, 3.0, 0.5, -1.5, 1e308, float("nan"), float("inf"), "", "a", "tanh",
    "float32", "float64", "<f8", "all", "mean", "cross_entropy", "LSTM", "Dense", "both",
    "\0", "a\nb", "\x1b[31m", "ß", "\ud800", "x" * 70_000, [], [[]], {}, {"a": 1}, ["relu"],
    ["elu", 0.5], ["elu", -1], ["hard_sigmoid", 1, 2, 3], {"name": "squared_error", "options": {}},
    {"name": "squared_error", "options": {"a": 1}}, {"name": [], "options": {}}, {"name": "sum"},
    *HUGE,
]  # fmt: skip


def places_of(value, path=()):
    """The paths of everything within a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in inside:
        yield (*path, key)
        if isinstance(entry, (dict, list)):
            yield from places_of(entry, (*path, key))


def parent_of(header, path):
    for key in path[:-1]:
        header = header[key]
    return header


class Raw(str):
    """JSON that is written as it stands."""


def dumps(value):
    """JSON, with `Raw` text in it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        inside = ", ".join(
            key if isinstance(key, Raw) else f"{json.dumps(key)}: {dumps(entry)}"
            for key, entry in value.items()
        )
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(dumps, value))}]"
    return json.dumps(value)


def strange(rng):
    return copy.deepcopy(rng.choice(STRANGE))  # which the next change may be within


def change_header(rng, header):
    """One change of the header."""
    path = rng.choice(list(places_of(header)))
    parent, key = parent_of(header, path), path[-1]
    way = rng.choice(["remove", "double", "replace", "replace", "nest", "add", "swap", "long"])
    if way == "remove":
        del parent[key]
    elif way == "double" and isinstance(parent, dict):
        again = rng.choice([parent[key], strange(rng)])
        parent[Raw(f"{json.dumps(key)}: {dumps(again)}")] = None
    elif way == "double":
        parent.insert(key, parent[key])
    elif way == "replace":
        parent[key] = strange(rng)
    elif way == "nest":
        depth = rng.choice([3, 100, 900, 1100, 20_000, 500_000])
        left, right = rng.choice([("[", "]"), ('{"a": ', "}")])
        depth = min(depth, 900_000 // len(left + right))
        parent[key] = Raw(left * depth + "0" + right * rng.choice([depth, depth, 0]))
    elif way == "add":
        name = rng.choice(
            ["units", "seed", "params", "format", "a\nb", "\x1b[2J", "", "self", "cls"]
        )
        target = rng.choice([header, parent])
        if isinstance(target, dict):
            target[name] = strange(rng)
    elif way == "swap":
        other = rng.choice(list(places_of(header)))
        other_parent = parent_of(header, other)
        values = copy.deepcopy((other_parent[other[-1]], parent[key]))  # for one may hold the other
        parent[key], other_parent[other[-1]] = values
    else:
        unit = rng.choice(["[], ", "{}, ", '{"": 0}, ', "0, ", '"a", ', "1e5, ", "null, "])
        size = rng.choice([1000, 100_000, 900_000])
        parent[key] = Raw(f"[{unit * (size // len(unit))}0]")
    return header


def change_layers(rng, header):
    """Layers in another order or number."""
    layers = header["layers"]
    way = rng.choice(["repeat", "reverse", "drop", "shuffle", "many", "small"])
    if way == "repeat":
        layers.insert(rng.randrange(len(layers)), rng.choice(layers))
    elif way == "reverse":
        layers.reverse()
    elif way == "drop":
        layers.pop(rng.randrange(len(layers)))
    elif way == "shuffle":
        rng.shuffle(layers)
    else:
        small = {"type": "Dense", "options": {"input_size": 1, "output_size": 1}}
        layer = small if way == "small" else rng.choice(layers)
        most = 900_000 // len(dumps(layer))
        number = min(most, rng.choice([10, 200, most]))
        header["layers"] = [copy.deepcopy(layer) for _ in range(number)]
    return header


def rewrite_header(rng, entries):
    header = json.loads(entries["lstmcore.json"])
    try:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            header = rng.choice([change_header] * 6 + [change_layers])(rng, header)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        pass  # what one change has left has no place for the next
    text = dumps(header)
    if rng.random() < 0.03:
        text = text[: rng.randrange(len(text))]
    encoding = rng.choice(["utf-8"] * 8 + ["utf-16", "utf-32", "utf-8-sig"])
    entries["lstmcore.json"] = text.encode(encoding, "surrogatepass")
    return entries


def npy_header(rng, text, version=(1, 0)):
    """The beginning of a .npy file, of the format's rules or not."""
    size = len(text) if rng.random() < 0.9 else rng.choice([0, 1, 65535, len(text) + 1])
    wide = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(wide, size) + text


def rewrite_array(rng, entries):
    """Another header of an array, with the numbers that were there."""
    name = rng.choice([name for name in entries if name.endswith(".npy")])
    array = np.load(io.BytesIO(entries[name]))
    n = array.size
    descr = rng.choice(
        [repr(array.dtype.str)] * 4
        + [
            "'>f8'",
            "'<f4'",
            "'<f2'",
            "'|O'",
            "'O'",
            "'|V8'",
            "'<c16'",
            "'<M8[s]'",
            "'<U2'",
            "'|b1'",
        ]
        + ["[('a', '<f8')]", "('<f8', (2,))", "'float64'", "'f8'", "'|u1'", "8", "None", "'<f8\\n'"]
    )
    shape = rng.choice(
        [str(array.shape)] * 4
        + [f"({n},)", f"({n}, 1)", f"(1, {n})", f"(-{n},)", f"(-1, -{n})", f"({n + 1},)", "()"]
        + ["(0,)", f"({2**63},)", f"({2**64},)", f"({2**32}, {2**32})", f"({10**18},)", "(1e3,)"]
        + [
            f"({n}L,)",
            f"[{n}]",
            f"{n}",
            "None",
            "('a',)",
            f"({n}if 1else 2,)",
            "(" * 300,
            "(True,)",
        ]
        + [f"(0, {2**62})", f"({2**40}, 0)", f"(0x{n:x},)", f"({'1,' * 40})", f"({n:_},)"]
    )
    order = rng.choice(["False"] * 8 + ["True", "0", "None", "'a'"])
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if rng.random() < 0.1:
        text = rng.choice(["", "{}", "{" * 400, "-" * 900 + "1", "__import__('os')", text + text])
    if rng.random() < 0.05:
        text = text.replace("'descr'", rng.choice(["'a'", "b'descr'", "descr", "'descr\\d'"]))
    text += " " * rng.choice([0, 10, 64 - len(text) % 64, 2000, 60_000]) + "\n"
    version = rng.choice([(1, 0)] * 8 + [(2, 0), (3, 0), (1, 1), (9, 9)])
    data = array.tobytes()
    data = rng.choice([data] * 4 + [data[:-1], data + b"\0", b"", data * 2])
    entries[name] = npy_header(rng, text.encode(), version) + data
    return entries


def rewrite_numbers(rng, entries):
    """Other numbers in an array: any parameters are right, masks are 0 and 1."""
    name = rng.choice([name for name in entries if name.endswith(".npy")])
    content = bytearray(entries[name])
    for _ in range(rng.choice([1, 5, 100])):
        content[rng.randrange(128, len(content))] = rng.choice([0, 1, 2, 0x7F, 0xF0, 0xFF])
    entries[name] = bytes(content)
    return entries


def rewrite_names(rng, entries):
    """Entries under other names, without some, with others."""
    way = rng.choice(["drop", "rename", "add", "swap"])
    name = rng.choice(list(entries))
    if way == "drop":
        del entries[name]
    elif way == "rename":
        new = rng.choice(["a", "../m.npy", "/m.npy", "params", "a\nb.npy", "\x1b[31m.npy", "m/"])
        entries[new] = entries.pop(name)
    elif way == "add":
        new = rng.choice(["a", "a.npy", "9.W_mask.npy", "0.W_mask.npy", "0.b_mask.npy", "d/", "\n"])
        entries[new] = rng.choice([b"", b"a", *entries.values()])
    else:
        other = rng.choice(list(entries))
        entries[name], entries[other] = entries[other], entries[name]
    return entries


def rewrite(rng, content):
    """Entries changed, checksums right again."""
    entries = entries_of(content)
    change = rng.choice(
        [rewrite_header] * 5 + [rewrite_array] * 4 + [rewrite_numbers, rewrite_names]
    )
    return archive_of(change(rng, entries).items())


def double(rng, content):
    """An entry twice, or thousands of them."""
    entries = list(entries_of(content).items())
    name, value = rng.choice(entries)
    if rng.random() < 0.5:
        entries.insert(rng.randrange(len(entries) + 1), (name, rng.choice([value, b""])))
    else:
        value = rng.choice([b"", value[:128]])
        entries += [(f"{k}.npy", value) for k in range(rng.choice([10, 300, 3000]))]
    return archive_of(entries)


def bomb(rng, content):
    """Entries that are compressed, of which one may unpack to very much."""
    entries = entries_of(content)
    if rng.random() < 0.8:
        name = rng.choice(list(entries))
        size = rng.choice([1000, 1 << 20, 1 << 24])
        entries[name] += rng.choice([b"\0", b" "]) * size
    ways = [zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    return archive_of(entries.items(), rng.choice(ways))


def lie(rng, content):
    """Other sizes, places, checksums and ways of compression in the archive's frame."""
    fields = {
        b"PK\x03\x04": {4: 2, 6: 2, 8: 2, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2},
        b"PK\x01\x02": {6: 2, 8: 2, 10: 2, 16: 4, 20: 4, 24: 4, 28: 2, 30: 2, 32: 2, 34: 2, 42: 4},
        b"PK\x05\x06": {4: 2, 6: 2, 8: 2, 10: 2, 12: 4, 16: 4, 20: 2},
    }
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3])):
        mark = rng.choice(list(fields))
        start = rng.choice(list(find_all(content, mark)))
        place, size = rng.choice(list(fields[mark].items()))
        place += start
        old = int.from_bytes(damaged[place : place + size], "little")
        most = (1 << 8 * size) - 1
        new = rng.choice(
            [0, 1, 8, old + 1, old - 1, old * 2, most, most - 1, most // 2, len(content)]
        )
        damaged[place : place + size] = (new & most).to_bytes(size, "little")
    return bytes(damaged)


def lie_in_both(rng, content):
    """One size of an entry in its own header and in the directory, with the checksum of it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = rng.choice(archive.infolist())
    local = info.header_offset
    names, extra = struct.unpack("<HH", content[local + 26 : local + 30])
    first = local + 30 + names + extra
    size = rng.choice(
        [max(info.file_size, 1) - 1, info.file_size + 1, len(content) - first, 0, 1 << 31]
    )
    damaged = bytearray(content)
    checksum = zlib.crc32(content[first : first + size])
    mark = b"PK\x01\x02"
    central = next(
        place
        for place in find_all(content, mark)
        if content[place + 46 :].startswith(info.filename.encode())
    )
    struct.pack_into("<III", damaged, local + 14, checksum, size, size)
    struct.pack_into("<III", damaged, central + 16, checksum, size, size)
    return bytes(damaged)


DAMAGES = [flip, flip_frame, cut, insert, double, bomb, lie, lie_in_both] + [rewrite] * 12


# ---------------------------------------------------------------------------------- checks


def header_size(content):
    """Bytes of the JSON that `load` may have read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = archive.getinfo("lstmcore.json").file_size
    except Exception:  # whatever is wrong with it, there is no header
        return 0
    return size if size <= min(LARGEST_HEADER, len(content)) else 0


def load(path, content):
    """The network or None, within the limits."""
    tracemalloc.start()
    start, net, error = time.process_time(), None, None
    try:
        net = lc.load(path)
    except ValueError as refusal:
        error = str(refusal)
    finally:
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    layers = len(net.layers) if net else 0
    most = MEMORY * len(content) + JSON_MEMORY * header_size(content) + ALLOWANCE
    most += OF_AN_ENTRY * content.count(b"PK\x01\x02") + OF_A_LAYER * layers
    assert peak <= most, f"{peak} bytes for a file of {len(content)} ({error or net!r})"
    assert seconds <= SECONDS, f"{seconds:.1f} s for {len(content)} bytes ({error or net!r})"
    if net is None:
        assert_one_line(error)
        assert error.startswith(f"path: expected a network's file, got {path}"), error
    return net


def assert_one_line(text):
    assert text.isprintable(), f"more than a line: {text!r}"
    assert len(text) < 1000, f"{len(text)} characters: {text[:200]!r}"


def same(value, wanted):
    """Whether an option is what the header says; JSON has lists for tuples, and 1 for 1.0."""
    if isinstance(value, tuple):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, float) and type(wanted) is int:
        return value == float(wanted)
    return type(value) is type(wanted) and value == wanted


def read_array(content):
    return np.load(io.BytesIO(content), max_header_size=1 << 16)


def assert_says_so(net, content):
    """The network is what the file says, and the file says all of it, once."""

    def only_once(pairs):
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), f"loaded, with a name twice: {names}"
        return dict(pairs)

    entries = entries_of(content)
    header = json.loads(entries.pop("lstmcore.json"), object_pairs_hook=only_once)
    assert set(header) == {"format", "version", "layers", "loss", "readout", "dtype"}, (
        f"loaded, with the fields {sorted(header)}"
    )
    assert header["readout"] == net.readout and net.dtype == header["dtype"], "another network"
    loss = header["loss"]
    assert (loss if isinstance(loss, str) else loss["name"]) == net.loss_name, "another loss"
    assert len(header["layers"]) == len(net.layers), "another number of layers"
    used = {"params.npy"}
    for k, (spec, layer) in enumerate(zip(header["layers"], net.layers, strict=True)):
        assert set(spec) == {"type", "options"}, f"loaded, with {sorted(spec)} in a layer"
        assert spec["type"] == type(layer).__name__, f"another layer {k}"
        missing = set(layer.options) - set(spec["options"]) - YOUNGER
        assert not missing, f"loaded, without the options {missing} of layer {k}"
        for name, value in spec["options"].items():
            own = layer.options[name]
            if isinstance(own, np.ndarray):
                used.add(f"{k}.{name}.npy")
                stored = read_array(entries[f"{k}.{name}.npy"])
                assert value is True and np.array_equal(own, stored), f"another mask of layer {k}"
            else:
                assert same(own, value), f"layer {k}: {name}={own!r}, the file's is {value!r}"
    assert set(entries) == used, f"loaded, with the entries {sorted(set(entries) - used)}"
    stored = read_array(entries["params.npy"])
    assert stored.tobytes() == net.params.tobytes(), "other parameters"


def assert_usable(net):
    """It predicts, and comes back from a file of its own."""
    if len(net.layers) > 300:
        return  # slow, and all alike
    finite = np.isfinite(net.params).all()
    with np.errstate(all="ignore"):
        x = np.full((2, 3, net.input_size), 0.5)
        y = net.predict(x)
    assert y.shape[-1] == net.output_size
    if finite and np.abs(net.params).max() < 1e3 and net.loss_name != "squared_error":
        assert np.isfinite(y).all() and ((y >= 0) & (y <= 1)).all(), "outputs that are none"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "again.npz")
        net.save(path)
        again = lc.load(path)
    assert repr(again) == repr(net) and again.params.tobytes() == net.params.tobytes(), "not saved"


def check_shell(path, is_network):
    """`info` and `export` say in one line what is wrong, or do what they are asked."""
    for command in (["info", str(path)], ["export", str(path), str(path.with_name("out"))]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = shell(command)
        if code == 0:
            assert is_network and not err.getvalue(), f"{command[0]}: {err.getvalue()}"
            continue
        text = err.getvalue()
        assert code == 1 and text.endswith("\n"), f"{command[0]}: exit code {code}, {text!r}"
        assert_one_line(text.removesuffix("\n"))
        assert not out.getvalue() and (command[0] == "export" or not is_network), text


def check(seed, index):
    """One file; what came of it. Raises where something does not hold."""
    rng = random.Random(f"{seed} {index}")
    content = rng.choice(networks())
    damage = rng.choice(DAMAGES)
    content = damage(rng, content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.npz")
        path.write_bytes(content)
        try:
            net = load(path, content)
            if net is not None:
                assert_says_so(net, content)
                assert_usable(net)
            if index % SHELL_EVERY == 0:
                check_shell(path, net is not None)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} [{damage.__name__}]") from error
    return "refused" if net is None else "loaded"

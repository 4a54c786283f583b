"""Files of tensors that lie are refused by a ValueError, in little memory, and nothing is run."""

import argparse
import collections
import datetime
import importlib.util
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sweep_torch

import lstmcore as lc
from lstmcore.interop._inert import unpickle
from lstmcore.interop._tensors import read_tensors

GOLDEN = Path(__file__).parent / "golden/torch"

# ------------------------------------------------------------- a state dict, put together by hand

START, STOP = b"\x80\x02", b"."


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    length = max(1, (value.bit_length() + 8) // 8)
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key="0", size=6, kind="FloatStorage", label="storage"):
    name = f"ctorch\n{kind}\n".encode()
    return b"(" + text(label) + name + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(held=None, offset=0, shape=(2, 3), strides=(3, 1)):
    held = storage() if held is None else held
    arguments = held + number(offset) + numbers(shape) + numbers(strides) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state(*items):
    return START + b"}(" + b"".join(items) + b"u" + STOP


def good(**options):
    return state(text("fc.weight"), tensor(**options))


def archive(program, compression=zipfile.ZIP_STORED, **entries):
    """The bytes of a file with these entries beside the pickle."""
    held = {"byteorder": b"little", "data/0": np.arange(6, dtype="<f4").tobytes()} | entries
    names = ["x/data.pkl", *(f"x/{name}" for name in held)]
    return zipped(names, [program, *held.values()], compression)


def zipped(names, contents, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as written:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, content in zip(names, contents, strict=True):
            written.writestr(name, content)
    return file.getvalue()


def safetensors(header, content=bytes(24)):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + content


def spec(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_file_that_is_put_together_here_is_read(tmp_path):
    path = tmp_path / "file.pt"
    held = np.arange(6, dtype="<f4").tobytes()
    for content in [archive(good()), safetensors({"fc.weight": spec()}, held)]:
        path.write_bytes(content)
        np.testing.assert_array_equal(read_tensors(path)["fc.weight"], [[0, 1, 2], [3, 4, 5]])


def test_big_ends_are_turned(tmp_path):
    path = tmp_path / "file.pt"
    held = {"byteorder": b"big", "data/0": np.arange(6, dtype=">f4").tobytes()}
    path.write_bytes(archive(good(), **held))
    np.testing.assert_array_equal(read_tensors(path)["fc.weight"], [[0, 1, 2], [3, 4, 5]])


# ------------------------------------------------------------------------------- what is refused


BESIDE = {  # what checkpoints hold beside tensors
    "bytes": b"abc",
    "numbers": [1, -1, 1 << 40, 0.5, 1j, True, None],
    "sets": ({1, 2}, frozenset({3})),
    "counter": collections.Counter("abca"),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2]),
    "ordered": collections.OrderedDict(a=1),
    "namespace": argparse.Namespace(lr=0.1),
    "path": Path("a/b"),
    "date": datetime.datetime(2020, 1, 2),
    "scalar": np.float64(0.5),
    "array": np.arange(3),
    "dtype": np.dtype("f4"),
    "keys": {(1, "a"): 2, 3: 4, None: 5},
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_tensors_is_passed_over(name, protocol):
    held = unpickle(pickle.dumps({name: BESIDE[name], "epoch": 3}, protocol=protocol))
    assert list(held) == [name, "epoch"]
    assert held["epoch"] == 3


class Runs:
    """What makes a pickle run a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def runs(function, *arguments, protocol=2):
    return pickle.dumps({"fc.weight": Runs(function, *arguments)}, protocol=protocol)


def nested(depth, opening, closing):
    return START + opening * depth + closing * depth + STOP


HUGE = 1 << 60

PICKLES = {
    # what would run
    "os.system": runs(os.system, "exit 1"),
    "eval": runs(eval, "1/0"),
    "exec, protocol 5": runs(exec, "raise SystemExit", protocol=5),
    "getattr": runs(getattr, {}, "clear"),
    "import": runs(__import__, "this"),
    "a subclass by reduce_ex": pickle.dumps(os.stat(".")),
    "a function by its bare name": pickle.dumps(print),
    "a name with dots": START + b"ccollections\nOrderedDict.fromkeys\n)R" + STOP,
    "a module with dots": START + b"ctorch.serialization\nload\n)R" + STOP,
    "a storage that is called": START + b"ctorch\nFloatStorage\n(" + text("/etc/x") + b"tR" + STOP,
    "names of torch that end like storages": START + b"ctorch\nos.system Storage\n" + STOP,
    "GLOBAL from the stack": START + text("os") + text("system") + b"\x93" + text("x") + b"\x85R.",
    "INST": START + b"(" + text("exit 1") + b"ios\nsystem\n" + STOP,
    "OBJ": START + b"(cos\nsystem\n" + text("exit 1") + b"o" + STOP,
    "NEWOBJ": START + b"cos\nsystem\n)\x81" + STOP,
    "NEWOBJ_EX": START + b"ccollections\nOrderedDict\n)}\x92" + STOP,
    "BUILD of what is named": START + b"cbuiltins\nset\n}(" + text("x") + b"K\x01ub" + STOP,
    "EXT1": START + b"\x82\x01" + STOP,
    "EXT4": START + b"\x84\x01\x00\x00\x00" + STOP,
    "a persistent id in a line": START + b"P0\n" + STOP,
    "a persistent id that is no tuple": START + text("storage") + b"Q" + STOP,
    "a persistent id of another kind": good(held=storage(label="module")),
    "a call of what is no name": START + b"K\x01)R" + STOP,
    "a call with no tuple": START + b"ccollections\nOrderedDict\n]R" + STOP,
    "a text integer of many digits": START + b"I" + b"9" * 100_000 + b"\n" + STOP,
    "an out-of-band buffer": START + b"\x97" + STOP,
    # what would take memory or time
    "keys that take ages to hash": START + b")" + b"q\x00h\x00\x86" * 60 + b"q\x00}h\x00Ns" + STOP,
    "tuples in tuples": nested(300_000, b"", b"\x85").replace(START, START + b")"),
    "lists in lists": nested(100_000, b"](", b"e"),
    "marks": START + b"(" * 500_000 + STOP,
    "a list in itself": START + b"]q\x00h\x00a" + STOP,
    "dicts without number": START + b"}" * 500_000 + STOP,
    "kept things without number": START + b")" + b"\x94" * 500_000 + STOP,
    "a place far out to keep things": START + b")r\xff\xff\xff\xff" + STOP,
    "bytes that are said to be many": START + b"\x8e" + struct.pack("<Q", HUGE) + STOP,
    "a bytearray that is said to be large": START + b"\x96" + struct.pack("<Q", HUGE) + STOP,
    "a string that is said to be long": START + b"X\xff\xff\xff\xff" + STOP,
    "an integer of many bytes": START + b"\x8b" + struct.pack("<i", 1 << 30) + STOP,
    # what would take time by asking for one thing again and again
    "one dict many times": state(
        text("a"),
        b"}(" + b"".join(text(str(k)) + tensor() for k in range(2000)) + b"uq\x01",
        *(text(str(k)) + b"h\x01" for k in range(10_000)),
    ),
    "one long shape many times": START
    + b"ctorch._utils\n_rebuild_tensor_v2\nq\x00("
    + storage()
    + b"K\x00("
    + b"K\x01" * 50_000
    + b"tq\x01h\x01tq\x02"
    + b"h\x00h\x02R" * 50_000
    + STOP,
    "a call with many arguments many times": START
    + b"ctorch._utils\n_rebuild_parameter\nq\x00("
    + b"K\x01" * 50_000
    + b"tq\x02"
    + b"h\x00h\x02R" * 50_000
    + STOP,
    "a long name many times": START
    + text("torch")
    + b"q\x00"
    + text("a" * 100_000 + "Storage")
    + b"q\x01"
    + b"h\x00h\x01\x93" * 50_000
    + STOP,
    "a dict made of pairs many times": START
    + b"ccollections\nOrderedDict\nq\x00]("
    + b"K\x01K\x01\x86" * 20_000
    + b"e\x85q\x01"
    + b"h\x00h\x01R" * 50_000
    + STOP,
    "one tensor under many names": state(
        text("a"),
        tensor(shape=(0,), strides=(1,)) + b"q\x01",
        *(text(str(k)) + b"h\x01" for k in range(30_000)),
    ),
    # what does not hold together
    "nothing": b"",
    "no end": START + b"}",
    "an empty stack": START + STOP,
    "two results": START + b"}}" + STOP,
    "an end of a tuple without its beginning": START + b"t" + STOP,
    "more than the stack has": START + b"}\x87" + STOP,
    "an item of a tuple": START + b")K\x01K\x01s" + STOP,
    "a key without value": START + b"}(" + text("a") + b"u" + STOP,
    "a key twice": state(text("a"), tensor(), text("a"), tensor()),
    "what was not kept": START + b"h\x07" + STOP,
    "a string that is none": START + b"X\x01\x00\x00\x00\xff" + STOP,
    # tensors
    "a tensor of no storage": good(held=b"K\x01"),
    "an offset outside": good(offset=1),
    "an offset below": good(offset=-1),
    "a huge offset": good(offset=HUGE),
    "a size below zero": good(shape=(-2, 3)),
    "an absurd shape": good(shape=(HUGE, HUGE)),
    "an absurd shape of one number": good(shape=(HUGE, HUGE), strides=(0, 0)),
    "an absurd shape with a zero": good(shape=(0, HUGE, HUGE), strides=(0, 0, 0)),
    "an absurd stride": good(strides=(HUGE, 1)),
    "a stride below zero": good(offset=5, strides=(-3, -1)),
    "one number again and again": good(shape=(6, 6), strides=(0, 1)),
    "fewer strides": good(strides=(3,)),
    "a hundred axes": good(shape=(1,) * 100, strides=(1,) * 100),
    "a size that is no integer": good(held=storage(), shape=()).replace(b"(t(t", b"G" * 9 + b"(t"),
    "the same numbers as a thousand tensors": state(
        *(text(f"{k}") + tensor() for k in range(1000))
    ),
    "a storage that is not there": good(held=storage(key="1")),
    "a storage outside the archive": good(held=storage(key="../../etc/passwd")),
    "a storage of another size": good(held=storage(size=7)),
    "a storage of a huge size": good(held=storage(size=HUGE)),
    "a storage of a size below zero": good(held=storage(size=-6)),
    "a storage of an unknown kind": good(held=storage(kind="QInt8Storage")),
    "a storage of two kinds": state(
        text("a"), tensor(), text("b"), tensor(held=storage(kind="IntStorage"))
    ),
    "a state dict of nothing": START + b"}" + STOP,
    "a list": START + b"]" + STOP,
    "a dict of dicts of dicts": START + b"}" + text("a") + b"}" + text("b") + b"}ss" + STOP,
}

WEIGHT = {"fc.weight": spec()}

FILES = {
    "an empty file": b"",
    "zeros": bytes(1000),
    "the form from before torch 1.6": (GOLDEN / "old.pt").read_bytes(),
    "the form before that": bytes(257) + b"ustar" + bytes(1000),
    "a whole module": (GOLDEN / "module.pt").read_bytes(),
    "a program": archive(good(), **{"constants.pkl": b"", "code/x.py": b""}),
    "a bare pickle": good(),
    "an archive cut short": archive(good())[:-30],
    "an archive of something else": archive(good()).replace(b"x/data.pkl", b"x/data.txt"),
    "two pickles": archive(good(), **{"data.pkl": good()}),
    "two roots": zipped(["x/data.pkl", "y/data.pkl"], [good(), good()]),
    "a compressed bomb": archive(
        good(), compression=zipfile.ZIP_DEFLATED, **{"data/1": bytes(1 << 26)}
    ),
    "a compressed pickle": archive(START + b"}" * (1 << 26), compression=zipfile.ZIP_DEFLATED),
    "a pickle of many bytes": archive(START + b"}" * (1 << 24) + STOP),
    "another order of bytes": archive(good(), byteorder=b"middle"),
    "an order of bytes of many bytes": archive(good(), byteorder=bytes(1 << 20)),
    "a directory of many bytes": archive(
        good(), **{f"{k}{'long' * 10_000}": b"" for k in range(30)}
    ),
    # safetensors
    "a header longer than the file": HUGE.to_bytes(8, "little") + b"{}",
    "a header of many bytes": safetensors(b"{" + b" " * (1 << 21) + b"}"),
    "a header that is a list": safetensors(b"{[]"),
    "a deep header": safetensors(b'{"a":' + b"[" * 100_000),
    "a header of many lists": safetensors(b'{"a":[' + b"[]," * 300_000 + b"[]]}"),
    "a header of a long number": safetensors(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "a name twice": safetensors(b'{"a":1,"a":2}'),
    "no tensor": safetensors({"a": 3}),
    "no dtype": safetensors({"a": {"shape": [6], "data_offsets": [0, 24]}}),
    "an unknown dtype": safetensors({"a": spec(dtype="F4")}),
    "a dtype that is no string": safetensors({"a": spec(dtype=["F32"])}),
    "a shape that is no list": safetensors({"a": spec(shape=6)}),
    "a shape of halves": safetensors({"a": spec(shape=[2.0, 3])}),
    "a shape of truths": safetensors({"a": spec(shape=[True, 6])}),
    "a shape below zero": safetensors({"a": spec(shape=[-2, -3])}),
    "a shape of too many numbers": safetensors({"a": spec(shape=[2, 4])}),
    "a shape without bounds": safetensors({"a": spec(shape=[HUGE, HUGE])}),
    "a shape without bounds and a zero": safetensors({"a": spec(shape=[0, HUGE], offsets=[0, 0])}),
    "a hundred axes in a header": safetensors({"a": spec(shape=[1] * 100 + [6])}),
    "a tensor outside the file": safetensors({"a": spec(offsets=[24, 48])}),
    "a tensor that ends before it begins": safetensors({"a": spec(offsets=[24, 0])}),
    "two tensors in one place": safetensors(WEIGHT | {"b": spec()}),
    "a hole": safetensors(WEIGHT | {"b": spec(offsets=[28, 52])}, bytes(52)),
    "bytes behind the last tensor": safetensors(WEIGHT, bytes(25)),
    "fewer bytes than tensors": safetensors(WEIGHT, bytes(23)),
    "no tensors": safetensors({}, b""),
    "tensors without number": safetensors(
        {str(k): spec(shape=[0], offsets=[0, 0]) for k in range(12_000)}, b""
    ),
    "only what describes the file": safetensors({"__metadata__": {"format": "pt"}}, b""),
} | {f"a pickle: {case}": archive(program) for case, program in PICKLES.items()}


@pytest.mark.parametrize("case", FILES)
def test_files_that_lie_are_refused(case, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(FILES[case])
    with pytest.raises(ValueError, match=r"^source: expected a file of tensors from torch"):
        lc.from_torch(path)


NOTHING_RUNS = """
import encodings.cp437, pathlib, re, sys  # the first is how zipfile reads old names
import lstmcore as lc

def memory():  # at its highest, in bytes
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", text)[1])

def note(event, arguments):
    # what is imported, compiled or run, and files that are opened but the one that is read
    if event in ("import", "compile", "exec", "os.system", "os.exec", "subprocess.Popen", "open"):
        seen.append((event, arguments[0]))

paths = sorted(pathlib.Path(sys.argv[1]).iterdir())
seen, read = [], []
for path in [paths[0], *paths]:
    try:
        lc.from_torch(str(path))
    except ValueError:
        pass
    else:
        print(path, "was not refused")
    if not read:  # what reading needs is imported
        before = memory()
        sys.addaudithook(note)
    read.append(str(path))
print([event for event in seen if event[0] != "open" or str(event[1]) not in read])
print((memory() - before) >> 20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells memory there")
def test_nothing_is_run_and_little_memory_taken(tmp_path):
    for k, content in enumerate(FILES.values()):
        tmp_path.joinpath(f"{k:03}").write_bytes(content)
    command = [sys.executable, "-c", NOTHING_RUNS, str(tmp_path)]
    seen, taken = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=120
    ).stdout.splitlines()
    assert seen == "[]"
    assert int(taken) < 200


def test_the_first_files_of_the_sweep_hold():
    for index in range(60):
        sweep_torch.check(0, index)


@pytest.mark.parametrize(
    "content", [archive(good()), safetensors(WEIGHT)], ids=["zip", "safetensors"]
)
def test_cut_short_anywhere_a_file_is_refused(content, tmp_path):
    path = tmp_path / "file.pt"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"^source: expected a file of tensors"):
            lc.from_torch(path)


# ------------------------------------------------------------------------ files of other people


REAL = {  # packages with state dicts of LSTMs in both directions, and a Linear module
    "alphaPredict": "backend/networks/*.pt",
    "metapredict": "backend/networks/*hs*.pt",
}


@pytest.mark.parametrize("package", REAL)
def test_files_of_installed_packages_are_those_that_pytorch_reads(package):
    torch = pytest.importorskip("torch")
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    paths = sorted(Path(spec.submodule_search_locations[0]).glob(REAL[package]))
    assert paths
    for path in paths:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
        ours = read_tensors(path)
        assert list(ours) == list(theirs)
        assert all((ours[name] == theirs[name].numpy()).all() for name in ours)
        net = lc.from_torch(path)
        assert net.input_size == 20  # amino acids
        assert net.layers[-1].output_size in (1, 2)

"""Save and load: the same network back, atomically; any other bytes are a ValueError."""

import copy
import io
import json
import os
import pickle
import stat
import tracemalloc
import zipfile

import numpy as np
import pytest
import zoo
from helpers import same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmcore as lc
from lstmcore import _archive
from lstmcore._description import describe_network
from lstmcore.storage import load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.npz"


def small():
    return lc.Network([lc.RNN(2, 3, R_mask=np.tri(3)), lc.Dense(3, 1)], seed=0)


def saved_bytes(net=None):
    file = io.BytesIO()
    net = net or small()
    _archive.write_to(file, *describe_network(net.options, net.params))
    return file.getvalue()


@pytest.mark.parametrize("name, loss", zoo.with_losses(zoo.NETWORKS))
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_the_same_network_comes_back(name, loss, dtype, path):
    readout = "mean" if zoo.NETWORKS[name].is_recurrent else "all"
    net = zoo.network(name, dtype=dtype, loss=loss, readout=readout)
    save(net, path)
    again = load(path)
    assert repr(again) == repr(net)
    assert again.params.dtype == dtype
    np.testing.assert_array_equal(again.params, net.params)
    x = np.random.default_rng(2).normal(size=(2, 5, zoo.INPUTS))
    y = net.predict(x)
    same_bits(again.predict(x), y)
    Y = np.zeros(y.shape[:-1] if loss == "cross_entropy" else y.shape, dtype=int)
    same_bits(again.loss_and_grad(x, Y)[1], net.loss_and_grad(x, Y)[1])


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_every_option_of_every_layer_comes_back(name, path):
    net = zoo.network(name)
    save(net, path)
    for again in (load(path), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert repr(again) == repr(net)
        same_bits(again.params, net.params)
        for layer, other in zip(net.layers, again.layers, strict=True):
            assert type(other) is type(layer) and list(other.options) == list(layer.options)
            for key, value in layer.options.items():
                assert type(other.options[key]) is type(value)
                np.testing.assert_array_equal(other.options[key], value)


def test_one_network_is_one_sequence_of_bytes(path):
    save(small(), path)
    first = path.read_bytes()
    save(load(path), path)
    assert path.read_bytes() == first


HEADER = """\
{
 "format": "lstmcore",
 "version": 1,
 "layers": [
  {
   "type": "LSTM",
   "options": {
    "input_size": 3,
    "hidden_size": 2,
    "peepholes": true,
    "bidirectional": false,
    "input_gate": true,
    "forget_gate": true,
    "output_gate": true,
    "coupled": false,
    "gate_recurrence": false,
    "block_size": 1,
    "gate_activation": "logistic",
    "cell_activation": "tanh",
    "output_activation": "tanh",
    "learn_initial_state": false,
    "forget_bias": 1.0,
    "W_mask": true,
    "R_mask": null
   }
  },
  {
   "type": "RNN",
   "options": {
    "input_size": 2,
    "hidden_size": 3,
    "activation": [
     "leaky_relu",
     0.2
    ],
    "bidirectional": true,
    "learn_initial_state": false,
    "W_mask": null,
    "R_mask": null
   }
  },
  {
   "type": "Dense",
   "options": {
    "input_size": 6,
    "output_size": 1,
    "activation": "identity"
   }
  }
 ],
 "loss": "squared_error",
 "readout": "mean",
 "dtype": "float64"
}"""


def test_the_header_of_version_1_stays_as_it_is(path):
    layers = [
        lc.LSTM(3, 2, peepholes=True, W_mask=np.eye(8, 3)),
        lc.RNN(2, 3, activation=("leaky_relu", 0.2), bidirectional=True),
        lc.Dense(6, 1),
    ]
    save(lc.Network(layers, readout="mean", seed=0), path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["lstmcore.json", "params.npy", "0.W_mask.npy"]
        assert archive.read("lstmcore.json").decode() == HEADER


NOTES = {"classes": ("no", "yes \u4e2d"), "from": "a table", "none": ()}


def test_notes_stay_with_the_network(path):
    net = small()
    assert dict(net.notes) == {}
    net.save(path, notes={**NOTES, "classes": list(NOTES["classes"])})
    assert dict(net.notes) == {}
    noted = load(path)
    noted.save(path)  # keeps them
    for again in (load(path), pickle.loads(pickle.dumps(noted)), copy.copy(noted), noted.frozen()):
        assert dict(again.notes) == NOTES and repr(again) == repr(net)
        same_bits(again.params, net.params)
    save(noted, path, notes={})
    assert path.read_bytes() == saved_bytes(net)
    with pytest.raises(TypeError):
        noted.notes["a"] = "b"
    with pytest.raises(AttributeError, match="notes: a Network stays as it was made"):
        noted.notes = {}


@pytest.mark.parametrize(
    "notes, got",
    [
        ("text", "got 'text'"),
        ({1: "a"}, "got the name 1"),
        ({"a": 1}, "got 1 for 'a'"),
        ({"a": ["b", 1]}, "got a list of length 2 for 'a'"),
    ],
    ids=str,
)
def test_notes_are_text(notes, got, path):
    with pytest.raises(TypeError, match=f"notes: expected a mapping from str to str, .*, {got}"):
        small().save(path, notes=notes)
    assert not path.exists()


def test_numpy_reads_the_parameters_and_no_pickle_is_in_it(path):
    net = small()
    save(net, path)
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["params"], net.params)
        np.testing.assert_array_equal(file["0.R_mask"], np.tri(3))
        assert json.loads(file["lstmcore.json"])["format"] == "lstmcore"


def test_parameters_that_are_not_finite_come_back(path):
    net = small()
    net.params[:3] = np.nan, np.inf, -0.0
    save(net, path)
    assert load(path).params.tobytes() == net.params.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_masks_come_back_in_whatever_order_they_were_given(order, path):
    masks = {"W_mask": np.tri(3, 2), "R_mask": np.tri(3)}
    net = lc.Network([lc.RNN(2, 3, **{k: np.array(m, order=order) for k, m in masks.items()})])
    save(net, path)
    again = load(path)
    for name, mask in masks.items():
        np.testing.assert_array_equal(again.layers[0].options[name], mask)


def test_what_could_not_be_loaded_is_not_saved(path):
    """A header has a most, so that none can be a bomb; a network beyond it is refused at once."""
    save(small(), path)
    before = path.read_bytes()
    net = lc.Network([lc.LSTM(1, 1)] * 2500)
    with pytest.raises(ValueError, match=r"header: expected at most 1048576 bytes"):
        save(net, path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["m.npz"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    save(small(), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk full"):
                save(zoo.network("masks"), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["m.npz"]


def test_the_bytes_are_on_the_disk_before_they_replace_the_old_file(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, r=real: (calls.append(n), r(*a))[1])
    save(small(), path)
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(path):
    save(small(), path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link = path.with_name("link.npz")
    link.symlink_to(path)
    save(small(), link)
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_paths_may_be_strings(path):
    save(small(), str(path))
    assert load(str(path)).params.size == small().params.size


def test_saving_something_else_is_refused(path):
    with pytest.raises(TypeError, match="net: expected a Network, got 3"):
        save(3, path)


@pytest.mark.parametrize("call", [load, lambda path: save(small(), path)], ids=["load", "save"])
@pytest.mark.parametrize(
    "wrong, error", [(0, TypeError), (None, TypeError), (b"m.npz", TypeError), ("a\0b", ValueError)]
)
def test_what_is_not_a_path_is_refused(call, wrong, error):
    with pytest.raises(error, match="path: expected"):
        call(wrong)


def test_a_missing_file_is_the_systems_own_error(path):
    with pytest.raises(FileNotFoundError):
        load(path)


def test_truncated_at_any_byte_it_is_refused(path):
    content = saved_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="path: expected a network's file"):
            load(path)


def test_with_any_bit_flipped_it_is_refused_or_means_the_same(path):
    content, net = saved_bytes(), small()
    rng = np.random.default_rng(3)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            again = load(path)
        except ValueError:
            continue
        # Dates, attributes and the like of the archive: what is loaded is covered by checksums.
        assert repr(again) == repr(net)
        np.testing.assert_array_equal(again.params, net.params)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300))
def test_foreign_bytes_are_refused(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "m.npz"
    for prefix in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"):
        path.write_bytes(prefix + content)
        with pytest.raises(ValueError, match="path: expected a network's file"):
            load(path)


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """A file whose entries `change` has had its way with, checksums valid again."""
    with zipfile.ZipFile(io.BytesIO(saved_bytes())) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries = change(entries) or entries
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def header_with(**changes):
    def change(entries):
        header = json.loads(entries["lstmcore.json"])
        header.update(changes)
        entries["lstmcore.json"] = json.dumps(header)

    return change


def layer_with(k, **changes):
    def change(entries):
        header = json.loads(entries["lstmcore.json"])
        header["layers"][k]["options"].update(changes)
        entries["lstmcore.json"] = json.dumps(header)

    return change


def header_text(change):
    """Change the header as text."""

    def rewrite(entries):
        text = change(entries["lstmcore.json"].decode())
        assert text != entries["lstmcore.json"].decode()
        entries["lstmcore.json"] = text

    return rewrite


def array_header(text):
    """The parameters with another header."""

    def change(entries):
        size = len(text).to_bytes(2, "little")
        entries["params.npy"] = b"\x93NUMPY\x01\x00" + size + text.encode() + b"\0" * 22 * 8

    return change


def without(*path):
    """Without one field."""

    def change(entries):
        header = place = json.loads(entries["lstmcore.json"])
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        entries["lstmcore.json"] = json.dumps(header)

    return change


def npy(array, **kwargs):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def npy_header(shape, descr="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


class Evil:
    def __reduce__(self):
        return os.abort, ()


HOSTILE = {
    "no header": lambda e: {k: v for k, v in e.items() if k != "lstmcore.json"},
    "no parameters": lambda e: {k: v for k, v in e.items() if k != "params.npy"},
    "no mask": lambda e: {k: v for k, v in e.items() if k != "0.R_mask.npy"},
    "header is not JSON": lambda e: {**e, "lstmcore.json": "{"},
    "header is not an object": lambda e: {**e, "lstmcore.json": "[1]"},
    "header is nested deeply": lambda e: {**e, "lstmcore.json": "[" * 100_000},
    "header is not text": lambda e: {**e, "lstmcore.json": b"\xff\xfe\xfd"},
    "header is huge": lambda e: {**e, "lstmcore.json": e["lstmcore.json"] + b" " * (1 << 20)},
    "another format": header_with(format="other"),
    "a newer version": header_with(version=2),
    "no layers": header_with(layers=[]),
    "layers are a number": header_with(layers=3),
    "a layer of a type that is none": header_with(layers=[{"type": "Network", "options": {}}]),
    "a layer of another module": header_with(layers=[{"type": "os.system", "options": {}}]),
    "an unknown option": header_with(optimizer="adam"),
    "an unknown layer option": layer_with(0, units=3),
    "an option of the wrong type": layer_with(0, bidirectional="no"),
    "an unknown loss": header_with(loss="none"),
    "another dtype": header_with(dtype="float32"),
    "a dtype that is none": header_with(dtype=[["a", "O"]]),
    "sizes beyond all memory": layer_with(1, output_size=10**15),
    "sizes beyond all numbers": layer_with(1, output_size=10**400),
    "layers that do not fit": layer_with(1, input_size=4),
    "a mask of another shape": lambda e: {**e, "0.R_mask.npy": npy(np.ones((2, 2), np.uint8))},
    "a mask of other numbers": lambda e: {**e, "0.R_mask.npy": npy(np.full((3, 3), 2, np.uint8))},
    "too few parameters": lambda e: {**e, "params.npy": npy(np.zeros(3))},
    "parameters in two dimensions": lambda e: {**e, "params.npy": npy(np.zeros((22, 1)))},
    "parameters of a structured dtype": lambda e: {**e, "params.npy": npy(np.zeros(22, "f8,f8"))},
    "complex parameters": lambda e: {**e, "params.npy": npy(np.zeros(22, complex))},
    "Fortran order": lambda e: {**e, "params.npy": npy(np.zeros((11, 2), order="F"))},
    "pickled objects": lambda e: {
        **e,
        "params.npy": npy(np.array([Evil()] * 22, dtype=object), allow_pickle=True),
    },
    "an array cut short": lambda e: {**e, "params.npy": e["params.npy"][:-1]},
    "an array with more behind it": lambda e: {**e, "params.npy": e["params.npy"] + b"\0" * 8},
    "an array said to be larger": lambda e: {**e, "params.npy": npy_header((10**12,))},
    "an array of negative size": lambda e: {**e, "params.npy": npy_header((-22,)) + b"\0" * 176},
    "not an array": lambda e: {**e, "params.npy": b"parameters"},
    "no readout": without("readout"),
    "no loss": without("loss"),
    "no dtype": without("dtype"),
    "a layer without an activation": without("layers", 0, "options", "activation"),
    "a layer without a direction": without("layers", 0, "options", "bidirectional"),
    "a layer with more to it": header_text(
        lambda text: text.replace('"type": "RNN"', '"type": "RNN", "name": "a"')
    ),
    "a seed": header_with(seed=1),
    "notes that are a list": header_with(notes=["a"]),
    "a note that is a number": header_with(notes={"a": 1}),
    "a note with more than text in it": header_with(notes={"a": ["b", ["c"]]}),
    "a loss with more to it": header_with(loss={"name": "squared_error", "options": {}, "a": 1}),
    "a field twice": header_text(lambda text: text[:-2] + ', "readout": "all"}'),
    "a layer's option twice": header_text(
        lambda text: text.replace('"input_size": 2', '"input_size": 2, "input_size": 2')
    ),
    "a number that JSON has not": header_text(lambda text: text[:-2] + ', "a": NaN}'),
    "a mask in the header": layer_with(0, R_mask=[[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    "a mask that no layer has": lambda e: {**e, "1.W_mask.npy": e["0.R_mask.npy"]},
    "a mask that its layer denies": layer_with(0, R_mask=None),
    "an entry that is no array": lambda e: {**e, "params": e["params.npy"]},
    "many layers without parameters": lambda e: header_with(
        layers=json.loads(e["lstmcore.json"])["layers"] * 100
    )(e),
    "an array of Python 2": array_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (22L,), }\n"
    ),
    "an array header with words to evaluate": array_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (22if 1else 2,), }\n"
    ),
    "an array of another spelling": array_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (022,), }\n"
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_lie_are_refused(case, path):
    rewritten(path, lambda entries: None)
    load(path)
    rewritten(path, HOSTILE[case])
    with pytest.raises(ValueError, match="path: expected a network's file"):
        load(path)


LINES = {
    "an array header of several lines": array_header("{" + " \n" * 3000 + "}"),
    "an option's name": layer_with(0, **{"a\nb\x1b[31m": 1}),
    "a field's name": header_with(**{"a\nb\x1b[31m": 1}),
    "an entry's name": lambda e: {**e, "a\nb\x1b[31m.npy": b""},
    "a long name": layer_with(0, **{"a" * 100_000: 1}),
    "a long activation": layer_with(0, activation=[["a"] * 100_000]),
    "the name of an activation": layer_with(0, activation="a\n\x1b" * 30_000),
    "the name of a loss": header_with(loss={"name": "a\n\x1b" * 30_000, "options": {}}),
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_wrong_is_said_in_one_line(case, path):
    """A terminal obeys what it is shown; only the file's bytes are its author's."""
    rewritten(path, LINES[case])
    with pytest.raises(ValueError, match="path: expected a network's file") as caught:
        load(path)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 500 + len(str(path))


def test_layers_that_no_parameters_back_are_not_built(path):
    """A description takes kilobytes for each, and a header has room for thousands."""
    layer = {"type": "Dense", "options": {"input_size": 1, "output_size": 1}}
    layer["options"]["activation"] = "identity"
    rewritten(path, header_with(layers=[layer] * 10_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 22 parameters that it holds"):
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * path.stat().st_size  # JSON alone: built, they took seventy times the file


def test_a_newer_version_is_named(path):
    rewritten(path, header_with(version=2))
    with pytest.raises(ValueError, match="version 2, and this release reads version 1"):
        load(path)


def test_compressed_entries_are_refused_unread(path):
    """A few kilobytes can unpack to gigabytes; `save` never compresses."""
    bomb = npy_header((1 << 27,)) + b"\0" * (1 << 20)
    rewritten(path, lambda e: {**e, "params.npy": bomb}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="is compressed"):
        load(path)


@pytest.mark.parametrize("size", [1 << 31, 1 << 40])
def test_entries_said_to_be_larger_than_the_file_are_refused(size, path):
    content = saved_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        actual = archive.getinfo("params.npy").file_size
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        info = archive.getinfo("params.npy")
        info.file_size = info.compress_size = size
        archive.comment = b"rewrites the directory"
    assert actual < size
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="larger than the file"):
        load(path)


def test_a_directory_that_takes_much_memory_is_refused_unread(path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(20):  # a few entries with long comments are as long as many without
            info = zipfile.ZipInfo(f"{k}.npy")
            info.comment = bytes(60_000)
            archive.writestr(info, b"")
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match=r"a directory of 12\d{5} bytes"):
        load(path)


def test_two_entries_of_one_name_are_refused(path):
    file = io.BytesIO(saved_bytes())
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("params.npy", b"")
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="two entries"):
        load(path)


def test_starts_come_back_and_files_from_before_them_are_read(tmp_path):
    layers = [
        lc.LSTM(2, 3, forget_bias=("chrono", 20), W_start=("uniform", 0.1), R_start="identity"),
        lc.GRU(3, 2, update_bias=("chrono", 9), R_start="zeros"),
        lc.GRU(2, 2),
    ]
    net = lc.Network(layers, seed=0)
    net.save(tmp_path / "m.npz")
    again = lc.load(tmp_path / "m.npz")
    assert repr(again) == repr(net)
    other, wanted = (lc.Network(each.layers, seed=1).params for each in (again, net))
    np.testing.assert_array_equal(other, wanted)
    with np.load(tmp_path / "m.npz") as file:
        *_, plain = json.loads(file["lstmcore.json"])["layers"]
    assert not {"update_bias", "W_start", "R_start"} & set(plain["options"])


@pytest.mark.parametrize("peephole", ["now", "before", None])
def test_what_the_output_gate_peeps_at_comes_back_and_is_now_in_files_from_before(path, peephole):
    net = lc.Network([lc.LSTM(3, 2, peepholes=True, output_peephole=peephole)], seed=0)
    save(net, path)
    again = load(path)
    assert again.layers[0].options["output_peephole"] == peephole
    same_bits(again.params, net.params)
    with np.load(path) as file:
        (layer,) = json.loads(file["lstmcore.json"])["layers"]
    assert ("output_peephole" in layer["options"]) == (peephole != "now")

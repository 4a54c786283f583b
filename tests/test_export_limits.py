"""Numbers that an export's format cannot hold are refused by name; so are places to write to."""

import os
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest

import lstmcore as lc

X = np.random.default_rng(0).normal(size=(2, 12, 2))


def network(*layers, value=None, where="0.W", scale=1.0, **options):
    net = lc.Network(list(layers), seed=0, **options)
    net.params[...] *= scale
    if value is not None:
        net.blocks[where].flat[0] = value
    return net


def dense(**options):
    return network(lc.Dense(2, 3), **options)


REFUSED = {
    "a parameter": ("float32", dense(value=1e39), X, r"net: expected parameters .*got 1e\+39"),
    "a bias": (
        "float32",
        dense(value=-1e300, where="0.b"),
        X,
        r"net: .*got 1e\+300",
    ),
    "an activation": (
        "float32",
        network(lc.RNN(2, 3, activation=("leaky_relu", 1e39))),
        X,
        r"net: expected numbers of activations that float32 holds, got 1e\+39",
    ),
    "an activation, int8": (
        "int8",
        network(lc.RNN(2, 3), lc.Dense(3, 1, activation=("leaky_relu", 1e39))),
        X,
        r"net: expected numbers of activations that float32 holds, got 1e\+39",
    ),
    "outputs": (
        "float32",
        dense(scale=1e35),
        X * 1e5,
        "net: expected outputs that float32 holds on the recorded inputs, got NaN or infinity",
    ),
    "outputs, float64": (
        "float64",
        dense(scale=1e300),
        X * 1e20,
        "net: expected outputs that float64 holds on the recorded inputs",
    ),
    "data": ("float32", dense(), X * 1e39, "data: expected numbers that float32 holds"),
    "data, int8": ("int8", dense(), X * 1e39, "data: expected numbers that float32 holds"),
    "small data": ("int8", dense(), X * 1e-40, "data: expected each input to be 0 or to reach"),
    "smallest data": ("int8", dense(), X * 1e-320, "data: expected each input to be 0 or"),
    "states that explode": (
        "int8",
        network(lc.RNN(2, 3, activation="identity"), scale=1e30),
        X,
        r"net: layer0 reaches h = \S+ on the data, expected less than 32768 for int8",
    ),
    "states that are NaN": (
        "int8",
        network(lc.RNN(2, 3, activation="identity"), scale=1e160),
        X,
        r"net: layer0 reaches h = nan on the data",
    ),
    "a weight": (
        "int8",
        network(lc.LSTM(2, 3), value=1e300),
        X,
        "net: layer0 can reach pre-activations of .* for int8",
    ),
    "a weight of the last layer": (
        "int8",
        dense(value=1e305),
        X,
        "net: layer0 can reach pre-activations of .* for int8",
    ),
    "a peephole": (
        "int8",
        network(lc.LSTM(2, 3, peepholes=True), value=1e6, where="0.p"),
        X,
        r"net: layer0 has a peephole of 1e\+06, expected at most 32767",
    ),
}


@pytest.mark.filterwarnings("error", "ignore::lstmcore.CalibrationWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_format_cannot_hold_is_refused_by_name(case, tmp_path):
    dtype, net, data, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        lc.export_c(net, tmp_path / "out", dtype=dtype, data=data)
    assert not (tmp_path / "out").exists()


KINDS = [
    lambda inputs, units, activation: lc.LSTM(
        inputs, units, peepholes=True, gate_recurrence=True, cell_activation=activation
    ),
    lambda inputs, units, activation: lc.GRU(
        inputs, units, cell_activation=activation, learn_initial_state=True
    ),
    lambda inputs, units, activation: lc.RNN(inputs, units, activation=activation),
    lambda inputs, units, activation: lc.Dense(inputs, units, activation=activation),
]


def random_network(rng):
    sizes = [2, *rng.integers(1, 5, size=rng.integers(1, 3))]
    activations = ["tanh", "relu", "identity", ("scaled_tanh", 1e30, 1.0), ("leaky_relu", 1e20)]
    layers = []
    for inputs, units in pairwise(sizes):
        kind = KINDS[rng.integers(len(KINDS))]
        layers.append(kind(inputs, units, activations[rng.integers(len(activations))]))
    return lc.Network(layers, seed=rng)


@pytest.mark.filterwarnings("ignore::lstmcore.CalibrationWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("seed", range(40))
def test_any_network_is_exported_in_finite_numbers_or_refused_by_name(dtype, seed, tmp_path):
    rng = np.random.default_rng(seed)
    net, magnitudes = random_network(rng), [-320, -45, 0, 0, 6, 25, 39, 160, 300]
    net.params[rng.integers(net.params.size)] = 10.0 ** rng.choice(magnitudes)
    data = rng.normal(size=(2, 8, 2)) * 10.0 ** rng.choice(magnitudes)
    try:
        report = lc.export_c(net, tmp_path, dtype=dtype, data=data)
    except ValueError as error:
        assert re.match("(net|data): ", str(error)) and not os.listdir(tmp_path)
        return
    assert np.isfinite([report.error, report.tolerance]).all()
    for path in report.files:
        if not path.name.startswith("lstmrt_"):
            assert not re.search(r"\b(inf|nan)f?\b", path.read_text())


@pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc").split()[0]) is None, reason="no C compiler"
)
def test_a_directory_whose_name_begins_with_a_dash_is_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lc.export_c(dense(), "-x", self_test=True)
    assert (tmp_path / "-x" / "network.h").is_file()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("file", ["network.h", "lstmrt_math.h"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_neither_followed_nor_replaced(file, overwrite, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    (out / file).symlink_to(elsewhere)
    with pytest.raises(FileExistsError, match=f"directory: .*{file} is there already"):
        lc.export_c(dense(), out, overwrite=overwrite)
    assert not elsewhere.exists() and os.listdir(out) == [file]
    (out / file).unlink()
    os.mkfifo(out / file)
    with pytest.raises(FileExistsError, match=f"directory: .*{file} is there already"):
        lc.export_c(dense(), out, overwrite=overwrite)
    assert os.listdir(out) == [file]

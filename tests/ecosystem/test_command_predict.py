"""``lstmcore predict``: what it reads, what it writes, and the names it takes from a model."""

import csv
import io
import re
import zipfile

import numpy as np
import pytest
from test_command_train import table_of_classes, write

import lstmcore as lc
from lstmcore.shell import main

rng = np.random.default_rng(0)


def table(capsys, *arguments):
    """The header and the rows that are printed."""
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 0
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    return header, rows


def failing(capsys, *arguments):
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err.removeprefix("lstmcore predict: ")


def train(*arguments):
    options = ["--units", "4", "--max-iter", "40", "--quiet"]
    assert main(["train", *map(str, arguments), *options]) == 0


def saved(path, net, **notes):
    net.save(path, notes=notes)
    return path


def classifier(path, dtype="float64", **notes):
    layers = [lc.GRU(2, 4), lc.Dense(4, 3)]
    return saved(path, lc.Network(layers, "cross_entropy", "last", dtype, seed=0), **notes)


@pytest.fixture
def model(tmp_path):
    return tmp_path / "m.npz"


# ------------------------------------------------------------------------------ what train has left


def test_classes_of_a_table(tmp_path, model, capsys):
    data, sequences, labels = table_of_classes(tmp_path / "d.csv")
    train(data, model)
    header, rows = table(capsys, model, data)
    assert header == ["sequence", "class", "p(down)", "p(up)"]
    assert [row[0] for row in rows] == [f"s{b}" for b in range(24)]
    assert [row[1] for row in rows] == labels
    got = np.array([row[2:] for row in rows], float)
    assert (got == lc.load(model).predict(sequences)).all()  # to the last digit


def test_columns_are_found_by_name_and_the_target_need_not_be_there(tmp_path, model, capsys):
    rows = [(b, t, *rng.normal(size=2)) for t in range(5) for b in range(12)]
    rows = [(b, x, y, x + y) for b, _, x, y in rows]
    train(write(tmp_path / "d.csv", ["who", "x", "y", "sum"], rows), model,
          "--target", "sum", "--sequence", "who")  # fmt: skip
    new = [(y, "note", f"n{b}", x) for b, x, y, _ in rows]
    data = write(tmp_path / "n.csv", ["y", "z", "who", "x"], new, delimiter=";")
    header, got = table(capsys, model, data)
    assert header == ["who", "step", "sum"]
    assert [row[:2] for row in got] == [[f"n{b}", str(t)] for b in range(12) for t in range(5)]
    X = np.array([[row[1:3] for row in rows if row[0] == b] for b in range(12)])
    wanted = lc.load(model).predict(X)
    assert (np.array([row[2] for row in got], float) == wanted.ravel()).all()
    other = write(tmp_path / "o.csv", ["id", "b", "a"], [(b, y, x) for b, x, y, _ in rows])
    header, again = table(capsys, model, other, "--sequence", "id", "--features", "a,b")
    assert header == ["id", "step", "sum"]
    assert [row[2] for row in again] == [row[2] for row in got]


def test_forecasts_go_beyond_the_data(tmp_path, model, capsys):
    data = write(tmp_path / "d.csv", ["t", "level"], enumerate(np.sin(np.arange(60) / 4).tolist()))
    train(data, model, "--forecast", "level", "--features", "level", "--horizon", 3)
    header, rows = table(capsys, model, data)
    assert header == ["sequence", "step", "level+3"]
    assert len(rows) == 60 and rows[59][:2] == ["0", "59"]


def test_classes_of_arrays(tmp_path, model, capsys):
    X, lengths = rng.normal(size=(20, 6, 2)), rng.integers(0, 7, 20)
    lengths[0] = 6
    names = np.array(["no", "ja, ja"])[np.arange(20) % 2]
    np.savez(tmp_path / "d.npz", X=X, y=names, lengths=lengths)
    train(tmp_path / "d.npz", model)
    header, rows = table(capsys, model, tmp_path / "d.npz")
    assert header == ["sequence", "class", "p(ja, ja)", "p(no)"]
    assert [row[0] for row in rows] == [str(b) for b in range(20)]
    y = lc.load(model).predict(X, lengths)
    assert (np.array([row[2:] for row in rows], float) == y).all()
    # its inputs have no names: all columns of a table are inputs
    data = write(tmp_path / "t.csv", ["sequence", "a", "b"], [("q", *x) for x in X[0].tolist()])
    assert table(capsys, model, data) == (header, [["q", *rows[0][1:]]])


# ------------------------------------------------------------------------------------- other models


def test_models_without_notes(model, tmp_path, capsys):
    X = rng.normal(size=(3, 5, 2)).astype(np.float32)
    np.save(tmp_path / "d.npy", X)
    classifier(model, dtype="float32")
    header, rows = table(capsys, model, tmp_path / "d.npy")
    assert header == ["sequence", "class", "p(0)", "p(1)", "p(2)"]
    y = lc.load(model).predict(X)
    assert [row[1] for row in rows] == [str(k) for k in y.argmax(axis=1)]
    assert (np.array([row[2:] for row in rows], np.float32) == y).all()
    saved(model, lc.Network([lc.RNN(2, 3), lc.Dense(3, 2)], seed=0))
    header, rows = table(capsys, model, tmp_path / "d.npy")
    assert header == ["sequence", "step", "y[0]", "y[1]"] and len(rows) == 15
    saved(model, lc.Network([lc.RNN(2, 1)], "binary_cross_entropy", "mean", seed=0))
    header, rows = table(capsys, model, tmp_path / "d.npy")
    assert header == ["sequence", "y"] and len(rows) == 3


def test_a_class_at_each_step(model, tmp_path, capsys):
    net = lc.Network([lc.RNN(1, 3), lc.Dense(3, 2)], "cross_entropy", seed=0)
    saved(model, net, classes=["a", "b"])
    X = rng.normal(size=(2, 3, 1))
    np.savez(tmp_path / "d.npz", X=X, lengths=[1, 3])
    header, rows = table(capsys, model, tmp_path / "d.npz")
    assert header == ["sequence", "step", "class", "p(a)", "p(b)"]
    assert [row[:2] for row in rows] == [["0", "0"], ["1", "0"], ["1", "1"], ["1", "2"]]
    y = np.concatenate([net.predict(X)[0, :1], net.predict(X)[1]])
    assert [row[2] for row in rows] == ["ab"[k] for k in y.argmax(axis=1)]


@pytest.mark.parametrize("tokens", [True, False], ids=["RNN", "Embedding"])
def test_tokens(tokens, model, tmp_path, capsys):
    first = [lc.RNN(5, 3, tokens=True)] if tokens else [lc.Embedding(5, 2), lc.RNN(2, 3)]
    net = lc.Network([*first, lc.Dense(3, 1)], "squared_error", "last", seed=0)
    saved(model, net)
    X = np.array([[1, 4, 0], [2, 3, 3]])
    np.save(tmp_path / "d.npy", X)
    rows = [(b, t) for b, x in enumerate(X) for t in x]
    data = write(tmp_path / "d.csv", ["sequence", "word"], rows)
    for path in (tmp_path / "d.npy", data):
        _, got = table(capsys, model, path)
        assert (np.array([row[1] for row in got], float) == net.predict(X)[:, 0]).all()
    data = write(tmp_path / "d.csv", ["word"], [("1",), ("-1",)])
    wanted = "expected tokens, integers from 0 to 4, got '-1' on line 3"
    assert wanted in failing(capsys, model, data)
    data = write(tmp_path / "d.csv", ["word"], [("5",)])
    assert "integers from 0 to 4, got '5' on line 2" in failing(capsys, model, data)
    np.save(tmp_path / "d.npy", X + 1)
    assert failing(capsys, model, tmp_path / "d.npy").startswith("X")
    np.save(tmp_path / "d.npy", X / 2)
    assert "X (sequences, steps), of integers" in failing(capsys, model, tmp_path / "d.npy")


def test_a_model_of_another_library(tmp_path, capsys):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 2)], "cross_entropy", "last", seed=0)
    net.to_onnx(tmp_path / "m.onnx")
    X = rng.normal(size=(3, 5, 2))
    np.save(tmp_path / "d.npy", X)
    header, rows = table(capsys, tmp_path / "m.onnx", tmp_path / "d.npy")
    assert header == ["sequence", "class", "p(0)", "p(1)"]
    assert np.allclose(np.array([row[2:] for row in rows], float), net.predict(X), atol=1e-6)


# ---------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("options", [[], ["--width", "6"]], ids=["best path", "beam"])
def test_labels_that_a_network_reads(tmp_path, capsys, options):
    net = lc.Network([lc.LSTM(2, 4, bidirectional=True), lc.Dense(8, 4)], "ctc", seed=3)
    path = saved(tmp_path / "m.npz", net, classes=["-", "one", "two", "three"])
    X = 3 * rng.normal(size=(3, 9, 2))
    np.savez(tmp_path / "d.npz", X=X, lengths=[9, 0, 4])
    header, rows = table(capsys, path, tmp_path / "d.npz", "--labels", *options)
    assert header == ["sequence", "labels", "ln p"]
    results = lc.decode(net, X, [9, 0, 4], width=int(options[1]) if options else 1)
    assert any(result.labels for result in results)
    names = ["-", "one", "two", "three"]
    for b, (row, result) in enumerate(zip(rows, results, strict=True)):
        labels = " ".join(names[label] for label in result.labels)
        assert row == [str(b), labels, str(result.log_probability)]
    header, rows = table(capsys, path, tmp_path / "d.npz")
    assert header[1:4] == ["step", "class", "p(-)"]
    assert len(rows) == 13


def test_labels_of_other_networks_are_refused(tmp_path, capsys):
    path = classifier(tmp_path / "m.npz")
    np.save(tmp_path / "X.npy", np.zeros((1, 3, 2)))
    message = "--labels: expected a network with the loss 'ctc', got one with 'cross_entropy'\n"
    assert failing(capsys, path, tmp_path / "X.npy", "--labels") == message
    assert failing(capsys, path, tmp_path / "X.npy", "--width", "3").startswith("--width: expected")


def test_it_writes_a_file_and_replaces_none(model, tmp_path, capsys):
    data, *_ = table_of_classes(tmp_path / "d.csv")
    classifier(model, classes=["a", "ä", "c"])
    features = ("--features", "a,b")
    header, rows = table(capsys, model, data, *features)
    out = tmp_path / "o.csv"
    assert main(["predict", str(model), str(data), str(out), *features]) == 0
    assert capsys.readouterr().out == f"{out} has the outputs for 24 sequences\n"
    with open(out, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [header, *rows]
    assert "there already; --overwrite replaces it" in failing(capsys, model, data, out, *features)
    assert "OUT: expected another file than DATA" in failing(
        capsys, model, data, data, "--overwrite"
    )
    assert "OUT: expected another file than MODEL" in failing(capsys, model, data, model)
    assert main(["predict", str(model), str(data), str(out), *features, "--overwrite"]) == 0
    assert "OUT: expected a name in a folder" in failing(
        capsys, model, data, tmp_path / "no" / "o.csv", *features
    )


HEADER = "sequence,a,b\n"
TABLES = {
    "no such column": (HEADER + "1,2,3\n", ("--features", "a,c"), {}, "--features: .* got 'c'"),
    "no such sequence": (HEADER + "1,2,3\n", ("--sequence", "c"), {}, "--sequence: .* got 'c'"),
    "another number": (
        "sequence,a\n1,2\n",
        (),
        {},
        "--features: expected 2 columns, as MODEL takes, got 1: a",
    ),
    "inputs of the training": (
        HEADER + "1,2,3\n",
        (),
        {"inputs": ["a", "z"]},
        "inputs of the training, a, z, got a table without 'z'; --features",
    ),
    "sequences of the training": (
        HEADER + "1,2,3\n",
        (),
        {"sequence": "who"},
        "column of sequences 'who', as in training, got .*; --sequence",
    ),
    "no number": (HEADER + "1,2,?\n", (), {}, r"expected numbers, got '\?' on line 2"),
    "nothing": ("", (), {}, "DATA: expected a table with a header"),
    "classes that are too few": (
        HEADER + "1,2,3\n",
        (),
        {"classes": ["a"]},
        "a list of 3 names as its note 'classes', got",
    ),
    "classes in one": (HEADER + "1,2,3\n", (), {"classes": "abc"}, "names as its note 'classes'"),
    "sequences in a list": (HEADER + "1,2,3\n", (), {"sequence": ["a"]}, "text as its note 'seq"),
    "inputs in one": (HEADER + "1,2,3\n", (), {"inputs": "ab"}, "names as its note 'inputs', got"),
}


@pytest.mark.parametrize("text, options, notes, message", TABLES.values(), ids=TABLES)
def test_what_cannot_be_used_is_one_line(text, options, notes, message, model, tmp_path, capsys):
    classifier(model, **notes)
    (tmp_path / "d.csv").write_text(text)
    assert re.search(message, failing(capsys, model, tmp_path / "d.csv", *options))


X = np.zeros((4, 3, 2))
ARRAYS = {
    "no X": ({"x": X}, (), "DATA: expected a .npy file .*: its arrays are x"),
    "axes": ({"X": X[0]}, (), "X is float64 of shape"),
    "inputs": ({"X": X[:, :, :1]}, (), "X.*: expected "),
    "lengths": ({"X": X, "lengths": [1, 2, 3, 4]}, (), "not all from 0 to 3"),
    "objects": ({"X": np.array([{}])}, (), "DATA: expected a .npy file"),
    "a column": ({"X": X}, ("--sequence", "y"), "--sequence: expected a .csv file"),
    "NaN": ({"X": X * np.nan}, (), "X.*: expected finite"),
}


@pytest.mark.parametrize("arrays, options, message", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_cannot_be_used(arrays, options, message, model, tmp_path, capsys):
    classifier(model)
    np.savez(tmp_path / "d.npz", **arrays)
    assert re.search(message, failing(capsys, model, tmp_path / "d.npz", *options))


def test_other_files_and_broken_models_are_one_line(model, tmp_path, capsys):
    classifier(model)
    np.save(tmp_path / "d.npy", X)
    assert "ends in .csv, .npz or .npy" in failing(capsys, model, tmp_path / "d.txt")
    assert "no.csv: No such file" in failing(capsys, model, tmp_path / "no.csv")
    assert "no.npz: No such file" in failing(capsys, tmp_path / "no.npz", tmp_path / "d.npy")
    net = lc.load(model)
    net.params[-1] = np.nan
    net.save(model)
    assert "MODEL: expected a network with finite outputs" in failing(
        capsys, model, tmp_path / "d.npy"
    )


def test_a_model_is_data_alone(model, tmp_path):
    """What train has noted is in the header, as text."""
    data, *_ = table_of_classes(tmp_path / "d.csv")
    train(data, model)
    notes = {"inputs": ("a", "b"), "sequence": "sequence", "classes": ("down", "up")}
    assert dict(lc.load(model).notes) == notes
    with zipfile.ZipFile(model) as archive:
        assert archive.namelist() == ["lstmcore.json", "params.npy"]

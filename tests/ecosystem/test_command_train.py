"""``lstmcore train``: what it learns from, what it holds out, what it saves and says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import lstmcore as lc
from lstmcore.shell import _train, main
from lstmcore.shell._fold import fold_inputs, fold_outputs

matplotlib.use("Agg")
rng = np.random.default_rng(0)


def write(path, header, rows, delimiter=","):
    lines = [header, *([str(cell) for cell in row] for row in rows)]
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def run(*arguments, code=0):
    assert main(["train", *map(str, arguments)]) == code


def failing(capsys, *arguments):
    capsys.readouterr()
    run(*arguments, code=1)
    error = capsys.readouterr().err
    assert error.startswith("lstmcore train: ") and error.count("\n") == 1
    return error.removeprefix("lstmcore train: ")


@pytest.fixture
def seen(monkeypatch):
    """What `fit` is given, call by call."""
    calls = []

    def fit(net, X, Y, **options):
        calls.append((X, Y, options))
        return lc.fit(net, X, Y, **options)

    monkeypatch.setattr(_train, "fit", fit)
    return calls


def classes(n=24, shift=100.0):
    """Sequences of which the class says in which direction they go."""
    sequences, labels = [], []
    rng = np.random.default_rng(1)
    for b in range(n):
        T = int(rng.integers(4, 9))
        up = b % 2
        drift = np.linspace(0, 3, T) * (1 if up else -1)
        sequences.append(np.stack([drift + shift, rng.normal(size=T)], axis=1))
        labels.append("up" if up else "down")
    return sequences, labels


def table_of_classes(path, **options):
    sequences, labels = classes(**options)
    rows = [
        (f"s{b}", *row, label)
        for b, (x, label) in enumerate(zip(sequences, labels, strict=True))
        for row in x.tolist()
    ]
    return write(path, ["sequence", "a", "b", "label"], rows), sequences, labels


SMALL = ("--units", 4, "--max-iter", 60)


# ----------------------------------------------------------------------------------- what it learns


def test_classes_of_a_table(tmp_path, capsys, seen):
    data, sequences, labels = table_of_classes(tmp_path / "d.csv")
    out, report = tmp_path / "m.npz", tmp_path / "r.json"
    run(data, out, *SMALL, "--report", report)
    text = capsys.readouterr().out
    assert "24 sequences of 4 to 8 steps; 2 inputs; 2 classes" in text
    assert "held out   5 sequences" in text and "is \\ said down   up\n" in text
    report = json.loads(report.read_text())
    assert report["inputs"] == ["a", "b"] and report["classes"] == ["down", "up"]
    confusion = np.array(report["held out"]["confusion"])
    assert confusion.sum() == 5 and report["held out"]["accuracy"] == 1.0
    # the model takes the numbers of the file
    net = lc.load(out)
    said = net.predict(sequences).argmax(axis=1)
    assert [report["classes"][k] for k in said] == labels
    # what it was trained on was scaled, and lacks what was held out
    ((X, Y, _),) = seen
    steps = np.concatenate(X)
    assert len(X) == len(Y) == 19
    assert np.allclose(steps.mean(axis=0), 0) and np.allclose(steps.std(axis=0), 1)


def test_a_forecast_of_a_series(tmp_path, seen):
    series = 1000 + 50 * np.sin(np.arange(200) / 6)
    data = write(tmp_path / "d.csv", ["t", "level"], enumerate(series.tolist()), delimiter=";")
    out, report = tmp_path / "m.npz", tmp_path / "r.json"
    run(data, out, "--forecast", "level", "--features", "level", "--horizon", 3, *SMALL,
        "--report", report)  # fmt: skip
    figures = json.loads(report.read_text())["held out"]["level"]
    x, y = series[:-3, None], series[3:, None]
    cut = 197 - round(0.2 * 197)
    error = lc.load(out).predict([x])[0] - y
    assert np.isclose(figures["rmse"], np.sqrt(np.mean(error[cut:] ** 2)), rtol=1e-12)
    naive = np.sqrt(np.mean((x - y)[cut:] ** 2))
    assert np.isclose(figures["rmse of naive forecast"], naive, rtol=1e-12)
    assert figures["rmse"] < 0.2 * naive
    ((X, _, _),) = seen
    assert [len(x) for x in X] == [cut]


def test_values_at_each_step(tmp_path, seen):
    """Rows of sequences may alternate; two targets; many sequences are held out whole."""
    X = rng.normal(size=(12, 9, 1)) * 5
    Y = np.concatenate([np.cumsum(X, axis=1), 7 - X], axis=2)
    rows = [(b, *Y[b, t], *X[b, t]) for t in range(9) for b in range(12)]
    data = write(tmp_path / "d.csv", ["who", "sum", "less", "x"], rows)
    out, report = tmp_path / "m.npz", tmp_path / "r.json"
    run(data, out, "--target", "sum, less", "--sequence", "who", *SMALL, "--report", report,
        "--cell", "gru", "--layers", 2, "--bidirectional", "--holdout", 0.25)  # fmt: skip
    report = json.loads(report.read_text())
    assert report["inputs"] == ["x"] and report["targets"] == ["sum", "less"]
    assert len(seen[0][0]) == 9
    before = np.concatenate(seen[0][1])
    assert np.allclose(before.mean(axis=0), 0) and np.allclose(before.std(axis=0), 1)
    for figures in report["held out"].values():
        assert figures["rmse"] < figures["rmse of mean of training data"]


ARRAYS = {
    "integers are classes": ({"y": np.arange(20) % 3}, "3 classes"),
    "words are classes": ({"y": np.array(["no", "yes"] * 10)}, "2 classes"),
    "flags are classes": ({"y": np.array([True, False] * 10)}, "2 classes"),
    "values": ({"y": rng.normal(size=20)}, "1 input; y"),
    "values of two targets": ({"y": rng.normal(size=(20, 2))}, "y[0], y[1]"),
    "values at steps": ({"y": rng.normal(size=(20, 6))}, "1 input; y"),
    "two values at steps": ({"y": rng.normal(size=(20, 6, 2))}, "y[0], y[1]"),
    "lengths": (
        {"y": np.arange(20) % 2, "lengths": np.r_[np.full(10, 3), np.full(10, 6)]},
        "20 sequences of 3 to 6 steps",
    ),
}


@pytest.mark.parametrize("arrays, text", ARRAYS.values(), ids=ARRAYS)
def test_arrays(arrays, text, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(20, 6, 1)), **arrays)
    run(tmp_path / "d.npz", tmp_path / "m.npz", "--units", 3, "--max-iter", 3)
    assert text in capsys.readouterr().out
    assert lc.load(tmp_path / "m.npz").input_size == 1


def steps_with_classes(n=14):
    """Sequences of numbers, and at each step whether the sum up to there is above zero."""
    rng = np.random.default_rng(2)
    sequences = [rng.normal(size=int(T)) for T in rng.integers(5, 12, n)]
    return sequences, [np.where(np.cumsum(x) > 0, "up", "down") for x in sequences]


@pytest.mark.parametrize("n", [14, 3], ids=["whole sequences", "last steps"])
def test_classes_at_each_step_of_a_table(n, tmp_path, capsys, seen):
    X, Y = steps_with_classes(n)
    rows = [(b, *step) for b in range(n) for step in zip(X[b].tolist(), Y[b], strict=True)]
    data = write(tmp_path / "d.csv", ["sequence", "x", "label"], rows)
    out, report, said = tmp_path / "m.npz", tmp_path / "r.json", tmp_path / "s.csv"
    run(data, out, "--each-step", *SMALL, "--report", report, "--balanced")
    text = capsys.readouterr().out
    assert "2 classes of steps" in text and re.search(r"accuracy .* \(\d+ of \d+ steps\)", text)
    ((kept, targets, options),) = seen
    assert [len(x) for x in kept] == [len(y) for y in targets]
    assert options["class_weight"] == "balanced"
    confusion = np.array(json.loads(report.read_text())["held out"]["confusion"])
    assert confusion.sum() == sum(map(len, X)) - sum(map(len, kept))
    assert np.trace(confusion) > 0.6 * confusion.sum()
    # the held out steps are scored by what comes before them, as a prediction of all steps is
    assert main(["predict", str(out), str(data), str(said)]) == 0
    table = [line.split(",") for line in said.read_text().splitlines()]
    assert table[0] == ["sequence", "step", "class", "p(down)", "p(up)"]
    labels, guesses = np.concatenate(Y), np.array([row[2] for row in table[1:]])
    assert len(labels) == len(guesses)
    if n == 3:
        ends = np.cumsum([len(x) for x in X])
        held = [np.arange(e - len(x) + len(k), e) for x, k, e in zip(X, kept, ends, strict=True)]
        held = np.concatenate(held)
        assert (labels[held] == guesses[held]).sum() == np.trace(confusion)


@pytest.mark.parametrize("y", ["words", "integers", "flags"])
def test_classes_at_each_step_of_arrays(y, tmp_path, capsys):
    X = rng.normal(size=(12, 6, 1))
    above = X[:, :, 0] > 0
    y = {"words": np.where(above, "b", "a"), "integers": above.astype(int), "flags": above}[y]
    np.savez(tmp_path / "d.npz", X=X, y=y, lengths=np.arange(12) % 7)
    run(tmp_path / "d.npz", tmp_path / "m.npz", "--each-step", *SMALL)
    net = lc.load(tmp_path / "m.npz")
    assert (net.readout, net.loss_name) == ("all", "cross_entropy")
    assert (net.predict(X).argmax(axis=2) == above).mean() > 0.95
    assert net.notes["classes"] == tuple(sorted({str(label) for label in y.ravel().tolist()}))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("form", ["table", "arrays"])
def test_tokens(cell, form, tmp_path, capsys, seen):
    """The class says whether the token 3 is in the sequence."""
    rng = np.random.default_rng(3)
    X = rng.integers(4, size=(40, 3))
    labels = np.where((X == 3).any(axis=1), "yes", "no")
    out = tmp_path / "m.npz"
    if form == "table":
        rows = [(b, token, labels[b]) for b in range(40) for token in X[b]]
        data = write(tmp_path / "d.csv", ["sequence", "word", "label"], rows)
    else:
        data = tmp_path / "d.npz"
        np.savez(data, X=X, y=labels)
    run(data, out, "--tokens", 4, *SMALL, "--cell", cell, "--layers", 2, "--bidirectional")
    assert "40 sequences of 3 steps; 4 tokens; 2 classes" in capsys.readouterr().out
    assert all(x.dtype.kind == "i" for x in seen[0][0])
    net = lc.load(out)
    assert net.takes_tokens and not net.layers[1].tokens
    assert (net.predict(X).argmax(axis=1) == (labels == "yes")).mean() > 0.9


def test_targets_of_tokens_are_scaled(tmp_path, seen):
    X = rng.integers(3, size=(12, 5))
    rows = [(b, X[b, t], 1000 + 10 * X[b, t]) for b in range(12) for t in range(5)]
    data = write(tmp_path / "d.csv", ["sequence", "word", "target"], rows)
    run(data, tmp_path / "m.npz", "--tokens", 3, *SMALL)
    assert abs(np.concatenate(seen[0][1]).mean()) < 1e-12
    net = lc.load(tmp_path / "m.npz")
    assert np.abs(net.predict(X)[:, :, 0] - (1000 + 10 * X)).max() < 2


def test_a_forecast_of_arrays(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(3, 20, 2)))
    options = ("--units", 3, "--max-iter", 3, "--forecast", 1)
    run(tmp_path / "d.npz", tmp_path / "m.npz", *options)
    text = capsys.readouterr().out
    assert "3 sequences of 19 steps; 2 inputs; input 1" in text and "naive forecast" in text


def test_numbers_may_be_taken_as_they_are_and_nothing_held_out(tmp_path, seen, capsys):
    data, sequences, _ = table_of_classes(tmp_path / "d.csv", shift=1.0)
    run(data, tmp_path / "m.npz", *SMALL, "--no-scale", "--holdout", 0)
    ((X, _, _),) = seen
    assert np.allclose(np.concatenate(X), np.concatenate(sequences), rtol=1e-15)
    text = capsys.readouterr().out
    assert "held out   nothing\n" in text and "training   accuracy" in text


OPTIONS = {
    "adam": (
        ["--method", "adam", "--batch-size", "4", "--learning-rate", "0.01", "--max-iter", "3"],
        {"method": "adam", "batch_size": 4, "learning_rate": 0.01, "max_epochs": 3, "seed": 5},
    ),
    "validation": (
        ["--validation", "0.25", "--patience", "2", "--alpha", "0.01"],
        {"validation_split": 0.25, "patience": 2, "l2": 0.01, "seed": 5},
    ),
    "balanced": (["--balanced"], {"class_weight": "balanced"}),
    "restarts": (["--restarts", "2", "--max-iter", "2"], {"n_restarts": 2, "max_iter": 2}),
}


@pytest.mark.parametrize("given, wanted", OPTIONS.values(), ids=OPTIONS)
def test_options_reach_the_training(given, wanted, tmp_path, seen):
    data, *_ = table_of_classes(tmp_path / "d.csv")
    fixed = (data, "--units", 3, "--seed", 5, *given)
    run(*fixed[:1], tmp_path / "m.npz", *fixed[1:])
    ((_, _, options),) = seen
    assert wanted.items() <= options.items()
    run(*fixed[:1], tmp_path / "again.npz", *fixed[1:])
    one, other = (lc.load(tmp_path / name).params for name in ("m.npz", "again.npz"))
    assert one.tobytes() == other.tobytes()


# ------------------------------------------------------------------------------------- the scaling


@pytest.mark.parametrize("cls", [lc.LSTM, lc.GRU, lc.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_scaling_is_part_of_the_weights(cls, bidirectional):
    X = [rng.normal(size=(n, 3)) * [1, 50, 1e-3] + [5, -200, 1] for n in (9, 4)]
    Y = [rng.normal(size=(n, 2)) * [3, 1e4] + [1, 1e5] for n in (9, 4)]
    inputs, targets = lc.Scaler().fit(X), lc.Scaler().fit(Y)
    layer = cls(3, 5, bidirectional=bidirectional)
    net = lc.Network([layer, lc.RNN(layer.output_size, 4), lc.Dense(4, 2)], seed=0)
    wanted = targets.inverse_transform(net.predict(inputs.transform(X)))
    fold_inputs(net, inputs)
    fold_outputs(net, targets)
    for got, right in zip(net.predict(X), wanted, strict=True):
        assert np.abs((got - right) / targets.scale_).max() < 1e-12


# ---------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("task", ["labels", "steps", "values"])
def test_a_picture(task, tmp_path):
    y = {
        "labels": np.arange(20) % 2,
        "steps": rng.normal(size=(20, 6)),
        "values": rng.normal(size=20),
    }
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(20, 6, 1)), y=y[task])
    picture = tmp_path / "p.png"
    run(tmp_path / "d.npz", tmp_path / "m.npz", "--units", 2, "--max-iter", 3, "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_files_are_looked_at_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_train, "fit", None)
    data, *_ = table_of_classes(tmp_path / "d.csv")
    there = tmp_path / "there.npz"
    there.write_bytes(b"mine")
    for out, options, message in (
        (there, (), "OUT: .* is there already; --overwrite replaces it"),
        (data, ("--overwrite",), "OUT: expected another file than DATA"),
        (tmp_path, (), "OUT: expected a file in a directory that is there"),
        (tmp_path / "no" / "m.npz", (), "OUT: expected a file in a directory that is there"),
        (tmp_path / "m", ("--report", there), "--report: .* is there already"),
        (tmp_path / "m", ("--plot", tmp_path / "p.doc"), "--plot: expected a name that ends in"),
    ):
        assert re.match(message, failing(capsys, data, out, *options))
    assert there.read_bytes() == b"mine"


def test_quiet_prints_nothing(tmp_path, capsys):
    data, *_ = table_of_classes(tmp_path / "d.csv")
    (tmp_path / "m.npz").write_bytes(b"old")
    run(data, tmp_path / "m.npz", "--units", 2, "--quiet", "--overwrite")
    assert capsys.readouterr().out == ""
    assert lc.load(tmp_path / "m.npz").output_size == 2


def test_a_model_is_saved_before_anything_is_said_of_it(tmp_path, capsys, monkeypatch):
    def score(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(_train, "score", score)
    data, *_ = table_of_classes(tmp_path / "d.csv")
    assert failing(capsys, data, tmp_path / "m.npz", *SMALL) == "no\n"
    assert lc.load(tmp_path / "m.npz").output_size == 2


def test_names_may_have_letters_that_the_terminal_lacks(tmp_path):
    rows = [(b, b % 3, "\u00e4\u4e2d" if b % 2 else "b") for b in range(8)]
    write(tmp_path / "d.csv", ["sequence", "x", "label"], rows)
    command = [sys.executable, "-m", "lstmcore", "train", "d.csv", "m.npz", "--units", "2"]
    root = str(Path(lc.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"b, \\xe4\\u4e2d" in done.stdout


@pytest.mark.parametrize("restarts", [0, 2])
def test_the_keyboard_ends_the_training_and_the_best_model_is_saved(
    restarts, tmp_path, capsys, monkeypatch
):
    def interrupt(state):
        if state.nit == 3:
            raise KeyboardInterrupt

    def fit(*data, **options):
        return lc.fit(*data, callback=interrupt, **options)

    monkeypatch.setattr(_train, "fit", fit)
    data, *_ = table_of_classes(tmp_path / "d.csv")
    out = tmp_path / "m.npz"
    run(data, out, "--units", 3, "--restarts", restarts, code=130)
    printed = capsys.readouterr()
    assert printed.err == f"interrupted: {out} has the best model so far\n"
    assert "interrupted from the keyboard; 3 iterations" in printed.out
    assert lc.load(out).output_size == 2


# ------------------------------------------------------------------------------------ what is wrong

HEADER = "sequence,a,label\n"
TABLES = {
    "empty": ("", (), "DATA: expected a table with a header, got .*: its first line"),
    "a header alone": (HEADER, (), "it has no rows below the header"),
    "a column without a name": ("a,,b\n1,2,3\n", (), "has to name every column"),
    "a name twice": ("a,b,a\n1,2,3\n", (), "two columns are called 'a'"),
    "a short row": (HEADER + "1,2,x\n1,2\n", (), "line 3 has 2 cells, the header 3"),
    "no number": (HEADER + "1,2,x\n2,3 m,y\n", (), "got '3 m' on line 3 of .*, column a"),
    "no value": (HEADER + "1,,x\n", (), "expected numbers, got '' on line 2"),
    "NaN": (HEADER + "1,nan,x\n", (), "expected numbers, got 'nan' on line 2"),
    "two classes": (HEADER + "1,2,x\n1,2,y\n", (), "one label .*'x' and 'y' in sequence '1'"),
    "no class": (HEADER + "1,2,\n2,3,x\n", (), "expected a label of sequence '1'"),
    "one class": (HEADER + "1,2,x\n2,3,x\n", (), "expected two classes or more, got 'x' alone"),
    "one sequence": ("a,label\n1,x\n1,y\n", (), "--sequence COLUMN says where sequences begin"),
    "nothing to learn": ("a,b\n1,2\n", (), "got none; the columns are a, b"),
    "no such label": (HEADER + "1,2,x\n", ("--label", "c"), "--label: .* got 'c'; it has seq"),
    "no such feature": (HEADER + "1,2,x\n", ("--features", "a,b"), "--features: .* got 'b'"),
    "no such sequence": (HEADER + "1,2,x\n", ("--sequence", "b"), "--sequence: .* got 'b'"),
    "no inputs": ("sequence,label\n1,2\n", (), "expected columns of inputs"),
    "too far": ("a\n1\n2\n", ("--forecast", "a", "--horizon", 2), "--horizon: .* table has 2"),
    "a step alone": ("a\n1\n2\n", ("--forecast", "a"), "--holdout: expected two steps or more"),
    "ahead": ("a\n1\n2\n3\n", ("--forecast", "a", "--bidirectional"), "--bidirectional: expected"),
    "peepholes": (HEADER + "1,2,x\n2,2,y\n", ("--cell", "gru", "--peepholes"), "--peepholes: exp"),
    "readout": ("a,target\n1,2\n1,2\n", ("--readout", "mean"), "--readout: expected none"),
    "two classes and a way": (HEADER + "1,2,x\n1,2,y\n", (), "; --each-step learns the class"),
    "no class of a step": (
        HEADER + "1,2,x\n1,2,\n",
        ("--each-step",),
        "a label at every step, got '' on line 3",
    ),
    "steps without classes": (
        "a,target\n1,2\n1,2\n",
        ("--each-step",),
        "--each-step: expected a label to learn, got numbers in target",
    ),
    "readout of steps": (
        HEADER + "1,2,x\n1,2,y\n",
        ("--each-step", "--readout", "mean"),
        "--readout: expected none",
    ),
    "tokens of two columns": (
        "a,b,label\n1,2,x\n1,2,y\n",
        ("--tokens", 3),
        "--tokens: expected one column of inputs, which --features names, got 2: a, b",
    ),
    "too large a token": (
        HEADER + "1,2,x\n2,3,y\n",
        ("--tokens", 3),
        "expected tokens, integers from 0 to 2, got '3' on line 3 of .*, column a",
    ),
    "no token": (HEADER + "1,2.0,x\n2,3,y\n", ("--tokens", 3), "got '2.0' on line 2"),
    "a forecast of tokens": (
        "a\n1\n2\n",
        ("--tokens", 3, "--forecast", "a"),
        "--tokens: expected a label or a target to learn, .* got --forecast a",
    ),
    "balanced": ("a,target\n1,2\n1,2\n", ("--balanced",), "--balanced: expected none"),
    "patience": (HEADER + "1,2,x\n2,2,y\n", ("--patience", 3), "--patience: expected --validation"),
    "bytes": ("\udcff", (), "DATA: expected a table with a header"),
    "quotes": (HEADER + '1,"2,x\n', (), "DATA: expected a table with a header"),
}


@pytest.mark.parametrize("text, options, message", TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_used_is_one_line(text, options, message, tmp_path, capsys):
    data = tmp_path / "d.csv"
    data.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert re.search(message, failing(capsys, data, tmp_path / "m.npz", *options))
    assert not (tmp_path / "m.npz").exists()


X = np.zeros((4, 3, 2))
WRONG = {
    "no X": ({"x": X}, (), "DATA: expected a .npz file with an array X .*: its arrays are x"),
    "shape of X": ({"X": X[0], "y": [0, 1, 0, 1]}, (), "X is float64 of shape"),
    "no y": ({"X": X}, (), "expected an array y beside X, or --forecast"),
    "shape of y": ({"X": X, "y": [0, 1]}, (), "y is int64 of shape"),
    "axes of y": ({"X": X, "y": np.zeros((4, 2, 2))}, (), "expected y of shape 4"),
    "words at steps": (
        {"X": X, "y": np.full((4, 3), "a")},
        (),
        "a class of each sequence in y, .*; --each-step",
    ),
    "floats as classes": (
        {"X": X, "y": np.zeros((4, 3))},
        ("--each-step",),
        r"--each-step: expected y of shape \(4, 3\), of integers or words, got float64",
    ),
    "classes of sequences": (
        {"X": X, "y": [0, 1, 0, 1]},
        ("--each-step",),
        r"--each-step: expected y of shape \(4, 3\)",
    ),
    "numbers as tokens": ({"X": X, "y": [0, 1, 0, 1]}, ("--tokens", 3), "X is float64 of shape"),
    "too large a token": (
        {"X": np.full((4, 3), 3), "y": [0, 1, 0, 1]},
        ("--tokens", 3),
        "X.*: expected .*tokens",
    ),
    "lengths": ({"X": X, "y": [0, 1, 0, 1], "lengths": [1, 2, 3, 4]}, (), "not all from 0 to 3"),
    "shape of lengths": ({"X": X, "y": [0, 1, 0, 1], "lengths": [1]}, (), "lengths is int64 of"),
    "objects": ({"X": np.array([{}])}, (), "DATA: expected a .npz file"),
    "a column": ({"X": X, "y": [0, 1, 0, 1]}, ("--label", "y"), "--label: expected a .csv file"),
    "no such input": ({"X": X}, ("--forecast", "2"), "--forecast: .* below 2, got '2'"),
    "NaN": ({"X": X * np.nan, "y": [0, 1, 0, 1]}, (), "X: expected finite"),
}


@pytest.mark.parametrize("arrays, options, message", WRONG.values(), ids=WRONG)
def test_arrays_that_cannot_be_used_are_one_line(arrays, options, message, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", **arrays)
    assert re.search(message, failing(capsys, tmp_path / "d.npz", tmp_path / "m.npz", *options))


def test_other_files_are_one_line(tmp_path, capsys):
    assert "ends in .csv or .npz" in failing(capsys, tmp_path / "d.txt", tmp_path / "m.npz")
    assert "d.csv: No such file" in failing(capsys, tmp_path / "d.csv", tmp_path / "m.npz")
    (tmp_path / "d.npz").write_bytes(b"text")
    assert "expected a .npz file" in failing(capsys, tmp_path / "d.npz", tmp_path / "m.npz")


@pytest.mark.parametrize(
    "options",
    [
        ("--holdout", "1"),
        ("--holdout", "20%"),
        ("--units", "0"),
        ("--units", "many"),
        ("--method", "magic"),
        ("--label", "a", "--target", "b"),
    ],
    ids=str,
)
def test_options_that_are_not_understood_are_code_2(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "d.csv", "m.npz", *options])
    assert ended.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: lstmcore train [options] DATA OUT"
    assert error.startswith("lstmcore train: error: argument --")


def test_what_a_training_refuses_is_called_by_its_option(tmp_path, capsys):
    data, *_ = table_of_classes(tmp_path / "d.csv")
    for option, value in (("--learning-rate", 1), ("--batch-size", 4), ("--l2", -1), ("--jobs", 3)):
        error = failing(capsys, data, tmp_path / "m.npz", option, value)
        assert error.startswith(f"{option}: expected ")


def test_what_a_training_warns_of_is_a_line(tmp_path, capsys):
    data, *_ = table_of_classes(tmp_path / "d.csv")
    run(data, tmp_path / "m.npz", "--units", 3, "--max-iter", 2, "--no-scale")
    scale, convergence = capsys.readouterr().err.splitlines()
    assert scale.startswith("lstmcore train: note: X has feature 0 from ")
    assert convergence.startswith("lstmcore train: note: L-BFGS-B has not converged: ")
    assert convergence.endswith("; try another --seed, --max-iter or --method")

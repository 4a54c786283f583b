"""The command line: what it prints, its exit codes, and that its check can fail."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import _dispatch
from lstmcore.shell import main

ROOT = Path(lc.__file__).parents[1]


def run(*arguments, stdin=None, **options):
    """A process of its own: its exit code, what it printed, what it said."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "lstmcore", *map(str, arguments)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, input=stdin, **options
    )
    return done.returncode, done.stdout, done.stderr


def failing(capsys, *arguments):
    """The one line that a refused command says, without what it begins with."""
    assert main(list(map(str, arguments))) == 1
    error = capsys.readouterr().err
    start = f"lstmcore {arguments[0]}: "
    assert error.startswith(start) and error.count("\n") == 1
    return error[len(start) : -1]


# ---------------------------------------------------------------------------------------- in common


@pytest.mark.parametrize(
    "command", [[], ["info"], ["export"], ["check"], ["train"], ["convert"], ["predict"]], ids=str
)
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"\n  lstmcore {' '.join(command)}" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["info"], ["check", "--nothing"]], ids=str)
def test_what_is_not_understood_is_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: lstmcore")


def test_the_name_is_what_it_was_called_as(monkeypatch, capsys):
    code, out, _ = run("--help")
    assert code == 0 and out.startswith("usage: python -m lstmcore")
    code, _, error = run("info", "nowhere.npz")
    assert code == 1 and error.startswith("python -m lstmcore info: ")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lstmcore", "info", "nowhere.npz"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("lstmcore info: ")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"lstmcore {lc.__version__}\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed otherwise")
@pytest.mark.parametrize("arguments", [["--help"], ["info", "m.npz"], ["check"]], ids=str)
def test_a_reader_that_leaves_is_no_error(arguments, tmp_path):
    lc.Network([lc.RNN(2, 3)], seed=0).save(tmp_path / "m.npz")
    read, write = os.pipe()
    os.close(read)  # gone before the first byte
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lstmcore", *arguments]
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, env=env, cwd=tmp_path, timeout=60
        )
    assert done.stderr == b"" and done.returncode in (0, 1)  # argparse takes no notice


def test_the_keyboard_is_one_line(monkeypatch, capsys):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("lstmcore.shell._formats.load", interrupt)
    assert main(["info", "m.npz"]) == 130
    assert capsys.readouterr().err == "lstmcore info: interrupted\n"


# -------------------------------------------------------------------------------------------- check


def test_check_finds_all_well(capsys):
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"lstmcore       {lc.__version__}")
    assert f"kernels        {_dispatch.ISA}" in out and "all is well: " in out
    for kind in ("LSTM", "GRU", "RNN", "Dense", "Embedding"):
        assert f"\n{kind}  " in out


def broken(name, change):
    """A function of the kernels that works and then does a little damage."""
    whole = getattr(_dispatch.kernels, name)

    def half(cell, *args, **options):
        result = whole(cell, *args, **options)
        change(options or args)
        return result

    return half


def scale(arrays, factor):
    for array in arrays if isinstance(arrays, tuple) else (arrays,):
        array *= array.dtype.type(factor)


def other_on_two_threads(options):
    if options["n_threads"] == 2:
        options["y"][...] = np.nextafter(options["y"], 1)


DAMAGE = {
    "outputs": ("forward", lambda o: scale(o["y"], 1.1), "y differs from the NumPy twin's by 0.1"),
    "states": ("forward", lambda o: scale(o["final"], 1.001), "the final h differs from"),
    "gradient": ("backward", lambda o: scale(o["grad"], 0.99), "dL/dW differs from"),
    "inputs": ("backward", lambda o: scale(o["dx"], 0.99), "dL/dx differs from"),
    "NaN": ("forward", lambda o: scale(o["y"], np.nan), "y differs from the NumPy twin's by nan"),
    "threads": ("forward", other_on_two_threads, "y has other bits on two threads than on one"),
}


@pytest.mark.parametrize("function, change, message", DAMAGE.values(), ids=DAMAGE)
def test_check_fails_where_a_kernel_is_wrong(function, change, message, monkeypatch, capsys):
    monkeypatch.setattr(_dispatch.kernels, function, broken(function, change))
    error = failing(capsys, "check")
    assert error.startswith("LSTM, 1 inputs, 1 units, lengths [1], float64: ")
    assert message in error


def test_check_fails_where_the_loss_is_wrong(monkeypatch, capsys):
    whole = _dispatch.kernels.loss_rows

    def half(loss, a, *others):
        value = whole(loss, a, *others)
        a *= 0.99
        return value

    monkeypatch.setattr(_dispatch.kernels, "loss_rows", half)
    error = failing(capsys, "check")
    assert "differs from central differences by 0.01 of its largest number" in error


# --------------------------------------------------------------------------------------------- info


def test_notes_are_shown_and_none_is_obeyed_by_a_terminal(tmp_path, capsys):
    notes = {"classes": ["no", "\u00e4"], "from": "here\x1b[2J\r\n"}
    lc.Network([lc.RNN(2, 3)], seed=0).save(tmp_path / "m.npz", notes=notes)
    assert main(["info", str(tmp_path / "m.npz")]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[-3:] == ["classes: no, \u00e4", r"from: here\x1b[2J\r\n", ""]


# ------------------------------------------------------------------------------------------ convert

LAYERS = {
    ".npz": lambda: [lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 2)],
    ".safetensors": lambda: [lc.LSTM(2, 3), lc.GRU(3, 3, bidirectional=True), lc.Dense(6, 2)],
    ".onnx": lambda: [lc.LSTM(2, 3, peepholes=True), lc.GRU(3, 3), lc.Dense(3, 2)],
    ".keras": lambda: [lc.LSTM(2, 3), lc.GRU(3, 3, bidirectional=True), lc.Dense(6, 2)],
}


@pytest.mark.parametrize("suffix", LAYERS)
def test_a_model_goes_to_another_library_and_back(suffix, tmp_path, capsys):
    net = lc.Network(LAYERS[suffix](), "cross_entropy", "last", seed=0)
    first, other, again = (tmp_path / name for name in ("a.npz", f"b{suffix}", "c.npz"))
    net.save(first)
    assert main(["convert", str(first), str(other)]) == 0
    assert capsys.readouterr().out == net.summary() + "\n"
    asked = ["--readout", "last", "--loss", "cross_entropy"] if suffix == ".safetensors" else []
    assert main(["convert", str(other), str(again), *asked]) == 0
    back = lc.load(again)
    x = np.random.default_rng(0).normal(size=(3, 6, 2))
    assert np.allclose(back.predict(x), net.predict(x), rtol=1e-5, atol=1e-6)
    assert (back.readout, back.loss_name) == ("last", "cross_entropy")
    capsys.readouterr()
    assert main(["info", str(other)]) == 0
    assert "GRU(3, 3" in capsys.readouterr().out or suffix == ".npz"


OPTIONS = {
    ("m.pt", "readout", "mean", "nonlinearity", "relu", "entry", "model"): "torch.from_torch",
    ("m.onnx", "loss", "poisson", "output", "y", "linear_before_reset", "0"): "onnx.from_onnx",
    ("m.weights.h5", "config", "c.json", "dtype", "float32"): "keras.from_keras",
}


@pytest.mark.parametrize("given, importer", OPTIONS.items(), ids=OPTIONS.values())
def test_options_reach_the_importer(given, importer, tmp_path, monkeypatch):
    model, *pairs = given
    pairs = list(zip(pairs[::2], pairs[1::2], strict=True))
    seen = {}

    def read(path, **options):
        seen.update(path=path, **options)
        return lc.Network([lc.RNN(1, 1)], seed=0)

    monkeypatch.setattr(f"lstmcore.interop.{importer}", read)
    out, arguments = tmp_path / "m.npz", []
    for name, value in pairs:
        arguments += [f"--{name.replace('_', '-')}", value]
    assert main(["convert", model, str(out), *arguments]) == 0
    wanted = {name: False if value == "0" else value for name, value in pairs}
    assert seen == {"path": model, **wanted} and lc.load(out).input_size == 1


def test_a_forward_pass_is_said_in_the_shell(tmp_path, capsys):
    golden = Path(__file__).parent / "golden/torch"
    layers = ["embedding", "lstm", "fc1", "relu", "fc2", "softmax"]
    model, out = str(golden / "classifier.pt"), str(tmp_path / "m.npz")
    options = ["--layers", ",".join(layers), "--tokens", "1", "--readout", "last"]
    assert main(["convert", model, out, *options]) == 0
    wanted = lc.from_torch(model, layers=layers, readout="last")
    assert repr(lc.load(out)) == repr(wanted)
    options = ["--layers", "lstm", "--ignore", "fc*,embedding.weight", "--overwrite"]
    assert main(["convert", model, out, *options]) == 0
    assert len(lc.load(out).layers) == 2
    assert "between 'fc1' and 'fc2'" in failing(capsys, "convert", model, tmp_path / "n.npz")


def test_onnx_options_are_written(tmp_path):
    import onnx

    lc.Network([lc.LSTM(2, 3)], seed=0).save(tmp_path / "m.npz")
    out = tmp_path / "m.onnx"
    assert main(["convert", str(tmp_path / "m.npz"), str(out), "--lengths", "--states"]) == 0
    inputs = [value.name for value in onnx.load(out).graph.input]
    assert "lengths" in inputs and len(inputs) == 4


def test_what_cannot_be_converted_is_one_line(tmp_path, capsys):
    model, there = tmp_path / "m.npz", tmp_path / "there.onnx"
    lc.Network([lc.LSTM(2, 4, gate_recurrence=True)], seed=0).save(model)
    there.write_bytes(b"mine")
    for out, options, message in (
        ("m.pt", (), "OUT: expected a name that ends in .npz, .safetensors, .onnx, .keras, got"),
        ("m", (), "OUT: expected a name that ends in"),
        ("there.onnx", (), "there already; --overwrite replaces it"),
        ("n.npz", ("--readout", "last"), "--readout: expected a file of PyTorch or ONNX or Keras"),
        ("n.npz", ("--config", "c"), "--config: expected a file of Keras, got"),
        ("n.npz", ("--states",), "--states: expected OUT to end in .onnx"),
        ("n.onnx", (), "gate"),
        ("n.keras", (), "gate"),
        ("n.safetensors", (), "gate"),
    ):
        assert message in failing(capsys, "convert", model, tmp_path / out, *options)
    assert there.read_bytes() == b"mine" and not (tmp_path / "n.onnx").exists()
    for name in ("no.pt", "no.onnx", "no.keras", "no.npz"):
        assert name in failing(capsys, "convert", tmp_path / name, tmp_path / "o.npz")
    for suffix in (".pt", ".safetensors", ".onnx", ".keras", ".h5"):
        damaged = tmp_path / f"d{suffix}"
        damaged.write_bytes(b"text")
        failing(capsys, "info", damaged)


@pytest.mark.parametrize(
    "out, module, extra", [("m.onnx", "onnx", "onnx"), ("m.keras", "h5py", "keras")]
)
def test_a_package_that_is_not_there_is_one_line(out, module, extra, tmp_path):
    lc.Network([lc.LSTM(2, 3), lc.Dense(3, 2)], seed=0).save(tmp_path / "m.npz")
    code = f"""
import sys
sys.modules[{module!r}] = None
from lstmcore.shell import main
sys.exit(main(["convert", "m.npz", {out!r}]))
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"lstmcore[{extra}]" in done.stderr

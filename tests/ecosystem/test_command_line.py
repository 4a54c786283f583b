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


@pytest.mark.parametrize("command", [[], ["info"], ["export"], ["check"], ["train"]], ids=str)
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

    monkeypatch.setattr("lstmcore.shell._models.load", interrupt)
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

"""The command line says what is wrong in one line, never with a traceback."""

import io
import zipfile

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.__main__ import main


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def flipped(content):
    place = content.index(npy(np.zeros(1))[:6]) + 200  # within the numbers
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def huge():
    """A .npy file that says it holds 2^50 numbers."""
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 1)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def not_an_array():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("X", b"text")
    return file.getvalue()


X = np.zeros((1, 40, 2))
DAMAGED = {
    "empty": b"",
    "text": b"1, 2, 3\n",
    "npy cut short": npy(X)[:-1],
    "npy header cut short": npy(X)[:20],
    "npz cut short": npz(X=X)[:-1],
    "bad checksum": flipped(npz(X=X)),
    "no X": npz(Y=X),
    "an entry that is no array": not_an_array(),
    "objects": npy(np.array([{}], dtype=object)),
    "words": npy(np.array(["a"])),
    "another shape": npy(np.zeros((1, 2, 3))),
    "no steps": npy(np.zeros((0, 0, 2))),
    "more than memory": huge(),
}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.npz"
    lc.Network([lc.RNN(2, 3)], seed=0).save(path)
    return path


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_damaged_data_are_one_line(case, dtype, model, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.write_bytes(DAMAGED[case])
    arguments = ["export", str(model), str(out), "--dtype", dtype, "--data", str(data)]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("lstmcore export: ") and error.count("\n") == 1
    assert "data" in error and not out.exists()


@pytest.mark.parametrize("command", [["info"], ["export", "out"]])
@pytest.mark.parametrize("content", [b"", b"text", npz(X=X)])
def test_a_model_that_is_none_is_one_line(command, content, tmp_path, capsys):
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    assert main([command[0], str(path), *command[1:]]) == 1
    error = capsys.readouterr().err
    assert f"path: expected a network's file, got {path}" in error and error.count("\n") == 1


def test_a_lack_of_memory_is_one_line(model, monkeypatch, capsys):
    def refuse(*args):
        raise MemoryError

    monkeypatch.setattr("lstmcore.shell._formats.load", refuse)
    assert main(["info", str(model)]) == 1
    assert capsys.readouterr().err == "lstmcore info: not enough memory\n"


def test_info_counts_what_is_not_finite(model, capsys):
    assert main(["info", str(model)]) == 0
    assert "NaN" not in capsys.readouterr().out
    net = lc.load(model)
    net.params[[0, 3, 5]] = np.nan, np.inf, -np.inf
    net.save(model)
    assert main(["info", str(model)]) == 0
    assert capsys.readouterr().out.endswith("\n3 parameters are NaN or infinite\n")
    assert lc.load(model).params.tobytes() == net.params.tobytes()

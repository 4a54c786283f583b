"""The example that writes digits: its data, its densities, its table and its picture."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "handwriting.py"


@pytest.fixture
def handwriting():
    spec = importlib.util.spec_from_file_location("handwriting", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_file(path, n, rng):
    """Rows like those of pendigits: a shape for each digit, and noise."""
    shapes = np.random.default_rng(5).integers(10, 90, (10, 16))
    digits = np.arange(n) % 10
    rows = np.column_stack([shapes[digits] + rng.integers(-6, 7, (n, 16)), digits])
    path.write_text("\n".join(", ".join(map(str, row)) for row in rows) + "\n")


def test_moves_lead_back_to_the_points(handwriting):
    points = np.random.default_rng(0).integers(0, 101, (5, 8, 2))
    moves = handwriting.moves_of(points, np.random.default_rng(1))
    assert moves[:, :, 2].tolist() == [[0] * 7 + [1]] * 5
    assert np.abs(handwriting.points_of(moves) - points).max() <= 0.5
    assert (handwriting.inputs_of(moves)[:, 1:] == moves[:, :-1]).all()


def test_the_gaussian_is_that_of_the_rows(handwriting):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    expected = multivariate_normal(rows.mean(axis=0), np.cov(rows.T, bias=True)).logpdf(rows[:4])
    np.testing.assert_allclose(handwriting.gaussian(rows, rows[:4]), expected, rtol=1e-12)


def test_it_writes_its_table_and_its_picture(handwriting, monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(0)
    write_file(tmp_path / "train", 300, rng)
    write_file(tmp_path / "test", 60, rng)
    settings = {"HIDDEN": 8, "COMPONENTS": 2, "EPOCHS": 15, "WRITTEN": 3, "BIASES": (0.0, 1.0)}
    for name, value in settings.items():
        monkeypatch.setattr(handwriting, name, value)
    files = [str(tmp_path / name) for name in ("train", "test")]
    monkeypatch.setattr(sys, "argv", ["handwriting", *files, "--output", str(tmp_path / "new")])
    handwriting.main()
    said = capsys.readouterr().out
    assert "60 digits of other writers" in said and "bias 1" in said and "inf" not in said
    assert (tmp_path / "new" / "handwriting.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_of_another_form_is_refused(handwriting, tmp_path):
    (tmp_path / "bad").write_text("1, 2, 3\n")
    with pytest.raises(SystemExit, match="expected rows of 16 coordinates and a digit"):
        handwriting.read_digits(tmp_path / "bad")

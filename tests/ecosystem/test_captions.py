"""The example that captions pictures: what it says of them, and that it learns to say it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "captions.py"


@pytest.fixture
def captions():
    spec = importlib.util.spec_from_file_location("captions", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_phrases_say_their_classes(captions):
    for classes in np.ndindex(10, 3, 3, 3):
        assert captions.parse(captions.phrase_of(*classes)) == list(classes)
    assert captions.parse(["a", "thin"]) == [-1, 0, 1, 1]


def test_measures_are_those_of_the_picture(captions):
    stroke = np.zeros((2, 8, 8))
    stroke[0, np.arange(8), np.arange(8)[::-1]] = 1.0  # from the top right to the bottom left
    stroke[1, :, 2] = 0.5
    np.testing.assert_allclose(captions.measures(stroke), [[8, 1, 3.5], [4, 0, 2]], atol=1e-12)


def test_it_writes_its_table_and_its_picture(captions, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name, value in {"HIDDEN": 32, "EPOCHS": 20, "PENALTIES": (1e-3,), "SEEDS": (0,)}.items():
        monkeypatch.setattr(captions, name, value)
    monkeypatch.setattr(sys, "argv", ["captions", str(tmp_path / "new")])
    captions.main()
    written = (tmp_path / "new" / "captions.png").read_bytes()
    assert written.startswith(b"\x89PNG\r\n") and len(written) > 10_000
    lines = capsys.readouterr().out.splitlines()
    shares = {line[:16].strip(): line[16:].split() for line in lines[3:]}
    assert float(shares["LSTM, seed 0"][0]) > 40
    assert float(shares["linear"][1]) > 95

"""The examples run, write what they say, and use no test data to learn from."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc

ROOT = Path(__file__).resolve().parents[1]


def script(path):
    """A script of the project as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vowels(monkeypatch):
    """The example, with a smaller network, fewer iterations and less to choose from."""
    module = script("examples/japanese_vowels.py")
    small = {"HIDDEN": 12, "ITERATIONS": 25, "PENALTIES": (1e-3, 3e-3), "FOLDS": 2}
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def sunspots(monkeypatch):
    module = script("examples/sunspots.py")
    for name, value in {"HIDDEN": 6, "ITERATIONS": 40, "PENALTIES": (0.02, 0.03)}.items():
        monkeypatch.setattr(module, name, value)
    return module


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def assert_picture(path):
    assert path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 10_000


def test_japanese_vowels_writes_its_picture_and_a_model_that_loads(
    vowels, monkeypatch, tmp_path, capsys
):
    pytest.importorskip("matplotlib")
    run(vowels, monkeypatch, tmp_path / "new" / "folder")
    assert_picture(tmp_path / "new" / "folder" / "japanese_vowels.png")
    printed = capsys.readouterr().out
    assert "DTW, nearest neighbour" in printed and "ridge regression, 36 features" in printed

    data = lc.datasets.load_japanese_vowels()
    net = lc.load(tmp_path / "new" / "folder" / "model.npz")
    with np.load(tmp_path / "new" / "folder" / "scaling.npz") as scaling:
        X = vowels.scaled(vowels.features(data.X_test), scaling["mean"], scaling["deviation"])
    percent = vowels.accuracy(vowels.classify(net, X), data.y_test)
    assert percent > 94
    assert f"{len(net.params)} parameters (here)" in printed and f"{percent:.1f}\n" in printed


def test_ridge_regression_reaches_its_published_accuracy(vowels):
    assert round(vowels.ridge_accuracy(*lc.datasets.load_japanese_vowels()), 1) == 98.9


def test_every_speaker_is_shared_out_evenly_over_the_folds(vowels):
    y = lc.datasets.load_japanese_vowels().y_train
    folds = vowels.folds_of(y, np.random.default_rng(0))
    counts = np.array([np.bincount(folds[y == speaker]) for speaker in range(9)])
    np.testing.assert_array_equal(counts, np.full((9, vowels.FOLDS), 15))


def test_the_penalty_is_the_strongest_within_one_standard_error(vowels, monkeypatch):
    losses = {0.1: 0.9, 0.2: 0.5, 0.3: 0.55, 0.4: 0.7}
    spread = np.tile([-1.0, 1.0], 50)  # standard error 0.1
    monkeypatch.setattr(vowels, "PENALTIES", tuple(losses))
    monkeypatch.setattr(
        vowels, "cross_validate", lambda X, y, l2, seed: (losses[l2] + spread, 90.0)
    )
    assert vowels.choose_l2(None, None, 0) == 0.3


def test_sunspots_writes_its_picture_and_its_scores(sunspots, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run(sunspots, monkeypatch, tmp_path)
    assert_picture(tmp_path / "sunspots.png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == ["0.123", "0.342"]  # the published figures of AR(9)
    assert lines[3].startswith("LSTM") and all(float(s) < 0.5 for s in lines[3].split()[-2:])


def test_forecasts_come_from_the_past_alone(sunspots):
    years, numbers = lc.datasets.load_sunspots()
    changed = np.where(years >= 1950, numbers[::-1], numbers)
    known = numbers[years <= sunspots.TRAIN_END]
    for forecast in (
        sunspots.train(known, 0.02, seed=0),
        sunspots.autoregression(known),
        sunspots.autoregression(known, roots=True),
    ):
        same = forecast(numbers) == forecast(changed)
        until = years[sunspots.LAGS :] <= 1950
        assert same[until].all() and not same[~until].any()


def test_handwriting_reading_learns_from_made_up_digits(monkeypatch, tmp_path, capsys):
    """Two forms alone; and in one of the files the line that some copies begin with."""
    pytest.importorskip("matplotlib")
    module, rng = script("examples/handwriting_reading.py"), np.random.default_rng(0)
    for name, value in {"HIDDEN": 8, "COPIES": 2, "BATCH": 4}.items():
        monkeypatch.setattr(module, name, value)
    forms = rng.integers(0, 101, (2, 16))
    for name, n, head in (("tra", 150, ""), ("tes", 40, " 0,1,2,3,4,5,6,7,8,9\n")):
        digits = rng.integers(0, 2, n)
        rows = np.column_stack([forms[digits], digits])
        text = "\n".join(",".join(map(str, row)) for row in rows)
        (tmp_path / name).write_text(head + text + "\n")
    files = tmp_path / "tra", tmp_path / "tes"
    run(module, monkeypatch, *files, "--epochs", 30, "--output", tmp_path / "new")
    assert_picture(tmp_path / "new" / "handwriting_reading.png")
    table = capsys.readouterr().out.splitlines()
    assert "of 40 digits of other writers" in table[0]
    best, beam, right = map(float, table[3].split()[-3:])
    assert best < 20 and beam < 20 and right > 50


def test_the_quality_benchmark_runs_the_examples_recipes(vowels, sunspots, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    quality = script("bench/quality.py")
    monkeypatch.setattr(quality, "vowels", vowels)
    monkeypatch.setattr(quality, "sunspots", sunspots)
    l2, probabilities = quality.one_vowels(0)
    assert l2 in vowels.PENALTIES and probabilities.shape == (370, 9)
    l2, forecasts = quality.one_sunspots(0)
    assert l2 in sunspots.PENALTIES and forecasts.shape == (300,)
    figures = quality.row("name", [1.0, 2.0, 3.0], max, 2)
    assert capsys.readouterr().out == "| name | 2.00 ± 1.00 | 3.00 |\n"
    assert (figures["mean"], figures["std"], figures["best"]) == (2.0, 1.0, 3.0)

"""The examples of the estimators run, and learn from the training set alone."""

import importlib.util
import sys
from pathlib import Path

import pytest

from lstmcore.datasets import load_japanese_vowels

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script with other constants, and returns what it prints."""

    def run(name, arguments, **constants):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        data = load_japanese_vowels()
        some = slice(None, None, 5)
        parts = data.X_train[some], data.y_train[some], data.X_test[some], data.y_test[some]
        monkeypatch.setattr(module, "load_japanese_vowels", lambda: parts)
        monkeypatch.setattr(sys, "argv", [name, "--jobs", "1", *arguments])
        module.main()
        return capsys.readouterr().out

    return run


def test_vowels_by_scikit_learn(run):
    text = run("vowels_sklearn", [], HIDDEN=6, ITERATIONS=10, ALPHAS=(0.3, 1.0), FOLDS=2)
    assert "alpha = 0.3" in text
    assert "of 74 test utterances are named right" in text


def test_a_search_over_structure(run):
    text = run("search_structure", ["--candidates", "3"], ITERATIONS=(1, 3))
    assert "   3 networks,   1 iterations" in text
    assert "   1 networks,   3 iterations" in text
    assert "first guess:" in text

"""The example of text runs on a text of our own, and its n-grams are distributions."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)  # the processes of its runs import it, too
    import text

    for name in text.THREADS:
        monkeypatch.setenv(name, "1")
    return text


@pytest.fixture
def path(tmp_path):
    """A text in which the next character can be learnt: words, shuffled."""
    words = np.random.default_rng(0).choice(
        ["to be", "or not", "the rest", "is silence", "à moi"], 6000
    )
    path = tmp_path / "words.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    return path


def test_it_learns_draws_and_writes_text_in_c(example, path, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    if shutil.which("cc") is None:
        pytest.skip("not installed: cc")
    settings = example.Settings(16, 8, 32, 8e-3)
    monkeypatch.setattr(
        example, "SETTINGS", {("lstmcore", 1.0): settings, ("lstmcore", 0.5): settings}
    )
    output = tmp_path / "output"
    command = ["text.py", str(path), str(output), "--seconds", "0.7", "--jobs", "2", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", command)
    example.main()
    assert (output / "text.png").read_bytes().startswith(b"\x89PNG\r\n")

    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "units" in line]
    bits, half = (float(row[-6]) for row in rows)
    text = example.Text(path)
    assert bits < half and bits < example.n_gram_bits(text, 2)
    net = lc.load(output / "model.npz")
    curves = np.genfromtxt(output / "curves.csv", delimiter=",", names=True, dtype=None)
    last = curves[(curves["budget"] == 0.7) & (curves["seed"] == 0)][-1]
    assert net.loss(*text.pieces()) / np.log(2) == pytest.approx(last["bits"])


def test_the_same_trials_choose_the_settings_of_a_side(example, path, monkeypatch, capsys):
    trials = [example.Settings(8, 8, 32, 1e-5), example.Settings(8, 8, 32, 1e-2)]
    monkeypatch.setattr(example, "TRIALS", trials)
    run = ("lstmcore", 0.5)
    with ThreadPoolExecutor(1) as pool:

        def start(side, share, settings, for_trials):
            return pool.submit(
                example.train, path, side, settings, 0.4 * share, for_trials=for_trials
            )

        assert example.tuned(start, [run]) == {run: trials[1]}
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_trials_do_not_see_the_last_tenth(example, path):
    whole, trials = example.Text(path), example.Text(path, for_trials=True)
    codes = np.concatenate([whole.learn, whole.held_out])
    assert len(whole.held_out) == len(trials.held_out) == len(codes) // 10
    seen = np.concatenate([trials.learn, trials.held_out])
    assert np.array_equal(seen, whole.learn)


def test_kneser_ney_is_what_its_formula_says(example, tmp_path):
    """A bigram model of a text short enough to count by hand."""
    path = tmp_path / "short.txt"
    path.write_text("abacabadab" + "a", encoding="utf-8")
    text = example.Text(path)
    assert "".join(text.symbols) == "abcd" and len(text.learn) == 9
    # Of abacabada the bigrams are ab 2, ba 2, ac, ca, ad, da; so the discount is 4 / (4 + 2 * 2).
    # Before a stand b, c, d, before the others a alone: counts 3, 1, 1, 1, the discount 3 / 3.
    lower = np.array([3 - 1 + 4 / 4, 4 / 4, 4 / 4, 4 / 4]) / 6
    after_a = np.array([0, 1.5, 0.5, 0.5]) + 0.5 * 3 * lower
    assert example.n_gram(text, 2) == pytest.approx(after_a[None] / 4)
    assert example.n_gram_bits(text, 2) == pytest.approx(-np.log2(after_a[1] / 4))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_n_grams_are_distributions(example, path, order):
    p = example.n_gram(example.Text(path), order)
    assert (p >= 0).all() and p.sum(axis=1) == pytest.approx(1.0)

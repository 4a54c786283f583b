"""The command ``generate``."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.shell import main

LETTERS = list("abc de")
WORDS = ["the", "cat", "sat", "on", "a", "mat"]


@pytest.fixture
def net():
    net = lc.Network([lc.LSTM(6, 5, tokens=True), lc.Dense(5, 6)], "cross_entropy", seed=0)
    net.params[...] = np.random.default_rng(0).normal(size=net.params.size)
    return net


def run(capsys, *arguments):
    assert main(["generate", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "prime", "between"), [(LETTERS, "bad", ""), (WORDS, "cat the a", " ")]
)
def test_a_text_is_written_by_the_names_of_the_vocabulary(
    names, prime, between, net, tmp_path, capsys
):
    net.save(tmp_path / "model.npz", notes={"vocabulary": names})
    wanted = net.generate(0, 40, rng=3, temperature=0.7)
    said = run(capsys, tmp_path / "model.npz", "--steps", 40, "--seed", 3, "--temperature", 0.7)
    assert said == between.join(names[k] for k in wanted) + "\n"

    tokens = [names.index(part) for part in (prime.split() if between else prime)]
    wanted = net.generate(None, 40, rng=3, prime=tokens, stop=2, top_k=4)
    options = ["--steps", 40, "--seed", 3, "--prime", prime, "--stop", names[2], "--top-k", 4]
    said = run(capsys, tmp_path / "model.npz", *options)
    assert said == between.join(names[k] for k in wanted) + "\n"


def test_without_a_vocabulary_tokens_are_integers(net, tmp_path, capsys):
    net.save(tmp_path / "model.npz")
    wanted = net.generate(None, 200, rng=0, prime=[3, 1])
    said = run(capsys, tmp_path / "model.npz", "--seed", 0, "--prime", "3 1")
    assert said.split() == [str(k) for k in wanted]


def test_without_a_seed_texts_differ(net, tmp_path, capsys):
    net.save(tmp_path / "model.npz")
    assert run(capsys, tmp_path / "model.npz") != run(capsys, tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prime", "xyz"], "--prime: expected tokens of the vocabulary, such as 'a' and 'e', g"),
        (["--prime", ""], "--prime: expected a token or more, got ''"),
        (["--stop", "?"], "--stop: expected tokens of the vocabulary"),
        (["--temperature", "-1"], "temperature: expected a number >= 0"),
        (["--top-k", "9"], "top_k: expected an integer <= 6, got 9"),
        (["--steps", "-1"], "steps: expected an integer >= 0"),
        (["--seed", "-1"], "rng: expected None, an integer"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments, message, net, tmp_path, capsys):
    net.save(tmp_path / "model.npz", notes={"vocabulary": LETTERS})
    assert main(["generate", str(tmp_path / "model.npz"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_network_of_numbers_and_a_vocabulary_of_another_size_are_refused(net, tmp_path, capsys):
    lc.Network([lc.LSTM(2, 2)]).save(tmp_path / "numbers.npz")
    assert main(["generate", str(tmp_path / "numbers.npz")]) == 1
    assert "MODEL: expected a network that takes tokens" in capsys.readouterr().err
    net.save(tmp_path / "model.npz", notes={"vocabulary": ["a", "b"]})
    assert main(["generate", str(tmp_path / "model.npz")]) == 1
    assert "a list of 6 names as its note 'vocabulary'" in capsys.readouterr().err

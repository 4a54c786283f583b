"""``generate``: a text that a saved network writes."""

from __future__ import annotations

import sys

import numpy as np

from .._generation import draws_classes
from ._formats import read_model
from ._notes import names_noted

GENERATE = """\
Let a network of tokens write: each token is drawn from what the network expects after the ones
before.

  {program} generate shakespeare.npz --steps 500 --seed 1 --temperature 0.8
  {program} generate shakespeare.npz --prime "ROMEO:" --stop "."
  {program} generate counts.npz --prime "3 1 4"

Tokens are written and read by the names that the model's note "vocabulary" has for them: letters
side by side, or words with a space between them. net.save("model.npz", notes={{"vocabulary":
letters}}) leaves it there. Without it tokens are integers.

A prime is read first and is not printed. Without it the text begins after the token number 0. The
same seed writes the same text.
"""


def _add_generate(command):
    command.usage = "%(prog)s [options] MODEL"
    add = command.add_argument
    add(
        "model", metavar="MODEL", help="a file that Network.save has written, or what convert reads"
    )
    add("--steps", type=int, default=200, metavar="N", help="tokens (default: %(default)s)")
    add("--seed", type=int, metavar="N", help="of the draws (default: another text at every call)")
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="below 1 safer, above 1 bolder, 0 always the likeliest (default: %(default)s)",
    )
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    add("--prime", metavar="TEXT", help="what the text goes on from")
    add("--stop", metavar="TEXT", help="tokens after any of which the text ends")


def _generate(arguments):
    net = read_model(arguments.model)
    if not (net.takes_tokens and draws_classes(net._loss)):
        raise ValueError(
            "MODEL: expected a network that takes tokens and gives probabilities of them, got "
            f"{arguments.model} with loss={net.loss_name!r}; predict applies any network"
        )
    names = names_noted(net, "vocabulary", net.input_size)
    prime = stop = None
    if arguments.prime is not None:
        prime = _tokens(arguments.prime, names, net.input_size, "--prime")
    if arguments.stop is not None:
        stop = _tokens(arguments.stop, names, net.input_size, "--stop")
    drawn = net.generate(
        0 if prime is None else None,
        arguments.steps,
        rng=arguments.seed,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        stop=stop,
        prime=prime,
    )
    if names is None:
        text = " ".join(map(str, drawn))
    else:
        text = _between(names).join(names[token] for token in drawn)
    sys.stdout.write(f"{text}\n")


def _between(names):
    """What stands between two tokens of a text: nothing where all of them are letters."""
    return "" if all(len(name) == 1 for name in names) else " "


def _tokens(text, names, size, option):
    """The tokens of a text that a user has typed, as an array of integers."""
    if names is None:
        names = [str(token) for token in range(size)]
        parts = text.split()
    else:
        parts = list(text) if _between(names) == "" else text.split()
    number = {name: token for token, name in enumerate(names)}
    for part in parts:
        if part not in number:
            raise ValueError(
                f"{option}: expected tokens of the vocabulary, such as {names[0]!r} and "
                f"{names[-1]!r}, got {part!r}"
            )
    if not parts:
        raise ValueError(f"{option}: expected a token or more, got {text!r}")
    return np.array([number[part] for part in parts])


COMMANDS = {"generate": ("let a model write a text", GENERATE, _add_generate, _generate)}

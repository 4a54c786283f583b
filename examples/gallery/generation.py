"""
Strings by a grammar
====================

A network reads strings of a small language and is then let loose: it writes strings of its own. The
language is that of the embedded Reber grammar, which Hochreiter and Schmidhuber (1997) learned with
the first LSTM. Its second letter returns as the last but one, so whoever writes must remember it
over all that stands between.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

LETTERS = "BTPSXVE"

# By node: letters and the nodes that they lead to.
REBER = {
    0: {"T": 1, "P": 2},
    1: {"S": 1, "X": 3},
    2: {"T": 2, "V": 4},
    3: {"X": 2, "S": 5},
    4: {"P": 3, "V": 5},
}


def reber(rng):
    """A string from the first node to the last."""
    node, letters = 0, "B"
    while node != 5:
        letter = rng.choice(list(REBER[node]))
        node, letters = REBER[node][letter], letters + letter
    return letters + "E"


def embedded(rng):
    """One between two letters that are the same."""
    letter = rng.choice(["T", "P"])
    return f"B{letter}{reber(rng)}{letter}E"


def is_reber(text):
    node = 0
    for letter in text[1:-1]:
        if letter not in REBER.get(node, {}):
            return False
        node = REBER[node][letter]
    return text[:1] == "B" and text[-1:] == "E" and node == 5


def is_embedded(text):
    return (
        len(text) > 4
        and text[0] == "B"
        and text[1] in "TP"
        and text[-2:] == f"{text[1]}E"
        and is_reber(text[2:-2])
    )


rng = np.random.default_rng(0)
texts = [embedded(rng) for _ in range(1000)]
tokens = [np.array([LETTERS.index(letter) for letter in text]) for text in texts]
print(texts[:3], all(map(is_embedded, texts)))

# %%
# The network reads a letter and gives the probabilities of the next.

net = lc.Network([lc.LSTM(7, 24, tokens=True), lc.Dense(24, 7)], "cross_entropy", seed=0)
lc.fit(
    net,
    [text[:-1] for text in tokens],
    [text[1:] for text in tokens],
    method="adam",
    batch_size=50,
    max_epochs=150,
    learning_rate=lc.optimizers.Linear(1e-2, last=1e-4),
    seed=0,
)

# %%
# A string begins with B and ends with its second E. What is drawn after that is cut off.


def write(temperature, n=1000):
    """Strings, each to its second E, if it has one."""
    drawn = net.generate(LETTERS.index("B"), 60, n=n, rng=1, temperature=temperature)
    strings = []
    for row in drawn:
        text = "B" + "".join(LETTERS[k] for k in row)
        end = text.find("E", text.find("E") + 1)
        strings.append(text[: end + 1] if end > 0 else text)
    return strings


print(*write(1.0)[:3])

# %%
# Below temperature 1 the network writes what it is sure of: fewer slips, but fewer different
# strings too. Above 1 it is bold.

temperatures = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0])
written = [write(temperature) for temperature in temperatures]
right = [np.mean([is_embedded(text) for text in texts]) for texts in written]
different = [len(set(filter(is_embedded, texts))) for texts in written]

figure, (left, other) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(temperatures, right, "o-")
left.set(title="By the grammar", xlabel="temperature", ylabel="share of strings", ylim=(0, 1.05))
other.plot(temperatures, different, "o-", color="C1")
other.set(title="Different ones", xlabel="temperature", ylabel="of 1000, by the grammar")
other.set_ylim(bottom=0)
for axes in (left, other):
    axes.axvline(1, color="gray", linestyle="--")
plt.show()

"""A phrase for a picture: scikit-learn's digits, their pixels in, words out.

    python examples/captions.py [OUTPUT_DIRECTORY]

1797 pictures of 8 x 8 pixels (the test set of E. Alpaydin and C. Kaynak, *Optical Recognition of
Handwritten Digits*, UCI Machine Learning Repository, CC BY 4.0, which comes with scikit-learn). The
phrase says which digit it is, and what can be computed from the picture: how much ink it has, how
it leans, where it stands. "a bold left-leaning seven at the right". Each of these three has thirds
of the training pictures for its classes, of which the one in the middle has no words.

The 64 pixels are static features. A dense layer makes an LSTM's initial states of them, trained
along with it, and the LSTM writes: it reads a word and gives the probabilities of the next one.
The most probable word is taken until it is the end. Beside it stands what is linear: multinomial
logistic regression for the digit and for each of the three, put together to a phrase. Strengths of
penalties are chosen within the training set, which is 70 % of the pictures; the others are
captioned once, at the end.

Writes captions.png.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split

import lstmcore as lc

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
STYLES = {
    "ink": ("thin", "", "bold"),
    "slant": ("left-leaning", "", "right-leaning"),
    "place": ("at the left", "", "at the right"),
}
HIDDEN, WORD = 96, 16
EPOCHS = 60
PENALTIES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)
END = "."

# A run ends after so many epochs, which is part of the recipe.
warnings.filterwarnings("ignore", category=lc.ConvergenceWarning)


def measures(pictures):
    """Of each picture how much ink it has, how it leans, where its centre is: (n, 3)."""
    at = np.arange(8)
    ink = pictures.sum(axis=(1, 2))
    x, y = ((pictures.sum(axis=axis) * at).sum(axis=1) / ink for axis in (1, 2))
    dx, dy = at - x[:, None, None], at[:, None] - y[:, None, None]
    slant = -(pictures * dx * dy).sum(axis=(1, 2)) / (pictures * dy**2).sum(axis=(1, 2))
    return np.stack([ink, slant, x], axis=1)


def classes_of(pictures, digits, train):
    """The digit and the thirds of its measures for each picture, (n, 4)."""
    values = measures(pictures)
    low, high = np.quantile(values[train], [1 / 3, 2 / 3], axis=0)
    return np.column_stack([digits, (values > low).astype(int) + (values > high)])


def phrase_of(digit, ink, slant, place):
    """The words of a phrase, for its classes."""
    parts = STYLES["ink"][ink], STYLES["slant"][slant], DIGITS[digit], STYLES["place"][place]
    return ["a", *" ".join(parts).split()]


def parse(words):
    """The classes that a phrase says, -1 for a digit that it does not say."""
    digit = next((DIGITS.index(word) for word in words if word in DIGITS), -1)
    text = " ".join(words)
    found = [digit]
    for low, _, high in STYLES.values():
        found.append(0 if low in text else 2 if high in text else 1)
    return found


class Vocabulary:
    """Words by number; a phrase as the words that are read and those that are to come."""

    def __init__(self, phrases):
        self.words = [END, *sorted({word for phrase in phrases for word in phrase})]
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def pair(self, phrase):
        numbers = [self._numbers[word] for word in phrase]
        return np.array([0, *numbers]), np.array([*numbers, 0])


def train(vocabulary, features, phrases, l2, seed):
    """A network that writes phrases for features."""
    n, F = len(vocabulary.words), features.shape[1]
    layers = [lc.Embedding(n, WORD), lc.LSTM(WORD, HIDDEN), lc.Dense(HIDDEN, n)]
    initial = lc.Dense(F, 2 * HIDDEN, activation="tanh")
    net = lc.Network(layers, "cross_entropy", dtype="float32", seed=seed, initial=initial)
    X, Y = zip(*map(vocabulary.pair, phrases), strict=True)
    lc.fit(
        net,
        list(X),
        list(Y),
        features=features,
        l2=l2,
        method="adam",
        learning_rate=lc.optimizers.Cosine(4e-3),
        batch_size=32,
        max_epochs=EPOCHS,
        recurrent_dropout=0.3,
        seed=seed,
    )
    return net


def write(net, vocabulary, features, longest=12):
    """The phrase for each row of features, word by word the most probable one."""
    drawn = net.generate(0, longest, temperature=0, stop=0, features=features)
    return [[vocabulary.words[number] for number in numbers if number] for numbers in drawn]


def exact(phrases, others):
    return np.mean([a == b for a, b in zip(phrases, others, strict=True)])


def best_penalty(vocabulary, features, phrases):
    """The one that writes most phrases right of a fifth of the pictures, held out."""
    kept, held = train_test_split(np.arange(len(features)), test_size=0.2, random_state=0)
    right = {}
    for l2 in PENALTIES:
        net = train(vocabulary, features[kept], [phrases[k] for k in kept], l2, seed=0)
        right[l2] = exact(write(net, vocabulary, features[held]), [phrases[k] for k in held])
    return max(right, key=right.get)


def linear(features, classes, others):
    """The classes of other features by logistic regression, each by itself."""
    search = {"C": [0.01, 0.03, 0.1, 0.3, 1.0]}
    columns = []
    for column in classes.T:
        model = GridSearchCV(LogisticRegression(max_iter=2000), search, cv=5)
        columns.append(model.fit(features, column).predict(others))
    return np.stack(columns, axis=1)


def draw(path, pictures, phrases, wanted):
    """Pictures over their captions, what is wrong with its right one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.2), layout="constrained")
    for axes, picture, phrase, right in zip(
        figure.subplots(4, 6).flat, pictures, phrases, wanted, strict=True
    ):
        axes.imshow(picture, cmap="Greys", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        text, color = folded(phrase), "black"
        if phrase != right:
            text, color = f"{text}\n({folded(right)})", "firebrick"
        axes.set_xlabel(text, color=color, fontsize=8)
    figure.savefig(path, dpi=120)


def folded(words):
    """A phrase in two lines, of which the second begins after the digit."""
    n = next((k for k, word in enumerate(words) if word in DIGITS), len(words) - 1) + 1
    return " ".join(words[:n]) + (f"\n{' '.join(words[n:])}" if words[n:] else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", default=".", help="where the picture goes")
    folder = Path(parser.parse_args().output)

    data = load_digits()
    pictures, digits = data.images / 16.0, data.target
    known, new = train_test_split(
        np.arange(len(digits)), test_size=0.3, random_state=0, stratify=digits
    )
    classes = classes_of(pictures, digits, known)
    phrases = [phrase_of(*row) for row in classes]
    features = (data.data / 16.0 - pictures[known].reshape(-1, 64).mean(axis=0)) / 0.35
    vocabulary = Vocabulary([phrases[k] for k in known])
    wanted = [phrases[k] for k in new]

    rows = [("linear", linear(features[known], classes[known], features[new]), None)]
    own = [phrases[k] for k in known]
    l2 = best_penalty(vocabulary, features[known], own)
    for seed in SEEDS:
        net = train(vocabulary, features[known], own, l2, seed)
        written = write(net, vocabulary, features[new])
        rows.append((f"LSTM, seed {seed}", np.array([*map(parse, written)]), written))

    n_phrases = len({" ".join(phrase) for phrase in phrases})
    print(f"{len(known)} pictures to learn from, {len(new)} new ones, {n_phrases} phrases;")
    print(f"l2 = {l2:g}; right of the new ones in %:")
    print(f"{'':16}{'phrase':>8}{'digit':>8}" + "".join(f"{name:>8}" for name in STYLES))
    for name, found, written in rows:
        if written is None:
            written = [phrase_of(*row) for row in found]
        shares = [exact(written, wanted), *(found == classes[new]).mean(axis=0)]
        print(f"{name:16}" + "".join(f"{100 * share:8.1f}" for share in shares))

    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "captions.png", pictures[new][:24], written[:24], wanted[:24])


if __name__ == "__main__":
    main()

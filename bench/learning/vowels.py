"""Japanese Vowels: who is speaking, by one recipe over 30 seeds.

    python bench/learning/vowels.py [--seeds 30] [--jobs 2] [--quick]
    python bench/learning/vowels.py choose [--seeds 2]

`choose` compares recipes by cross-validation within the training set, which is how `RECIPE` was
chosen.
"""

import argparse
import sys

import numpy as np
import runs

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels

TITLE = "Japanese Vowels"
PROTOCOL = """
270 utterances of nine speakers to learn from, 370 to test on. The 12 coefficients and their
differences over time, z-scored by the training set; the speaker is named at every step, and the
utterance's is that of the highest mean probability. One recipe for all seeds, chosen by
cross-validation within the training set (`python bench/learning/vowels.py choose`).
"""
SEEDS = 30
DATA = None
SPEAKERS, FOLDS = 9, 5
RECIPES = {
    "adam": {},
    "adam, l2 1e-3": {"l2": 1e-3},
    "adam, l2 3e-3": {"l2": 3e-3},
    "adam, weight noise 0.1": {"weight_noise": 0.1},
    "adam, weight noise 0.1, l2 1e-3": {"weight_noise": 0.1, "l2": 1e-3},
    "adam, input noise 0.3": {"input_noise": 0.3},
    "adam, input noise 0.6": {"input_noise": 0.6},
    "adam, input noise 1.0": {"input_noise": 1.0},
    "adam, input noise 0.6, l2 1e-3": {"input_noise": 0.6, "l2": 1e-3},
    "adam, dropout 0.3, l2 1e-3": {"dropout": 0.3, "l2": 1e-3},
    "adam, dropout 0.3, input noise 0.6": {"dropout": 0.3, "input_noise": 0.6},
    "64 units, adam, input noise 0.6": {"units": 64, "input_noise": 0.6},
}
RECIPE = "adam, input noise 0.6"
VARIANTS = {
    f"BLSTM(24, 32), {RECIPE}": runs.Variant(6, 2, RECIPES[RECIPE]),
}
PUBLISHED = [
    ["fully convolutional network (published)", "99.3", "", "", ""],
    ["LSTM-FCN (published)", "99", "", "", ""],
    ["MLP (published)", "97.6", "", "", ""],
    ["TWIESN (published)", "96.5", "", "", ""],
    ["DTW, nearest neighbour (published)", "94.9", "", "", ""],
    ["ridge regression on 36 features (examples/japanese_vowels.py)", "98.9", "", "", ""],
]


def features(utterances):
    """Each utterance's coefficients and their central differences over time: (T_b, 24)."""
    return [np.hstack([u, np.gradient(u, axis=0)]) for u in utterances]


def train(X, y, seed, *, units=32, max_epochs=100, l2=0.0, **noise):
    net = lc.Network(
        [lc.LSTM(24, units, peepholes=True, bidirectional=True), lc.Dense(2 * units, SPEAKERS)],
        loss="cross_entropy",
        seed=seed,
    )
    Y = [np.full(len(x), speaker) for x, speaker in zip(X, y, strict=True)]
    lc.fit(
        net,
        X,
        Y,
        method="adam",
        batch_size=16,
        max_epochs=max_epochs,
        learning_rate=lc.optimizers.Cosine(5e-3),
        clip_norm=1.0,
        l2=l2,
        seed=seed,
        n_threads=1,
        **noise,
    )
    return net


def classify(net, X):
    """Probability of each speaker for each utterance, the mean over its steps: (B, 9)."""
    return np.array([p.mean(axis=0) for p in net.predict(X, n_threads=1)])


def n_wrong(probabilities, y):
    return int((np.argmax(probabilities, axis=1) != y).sum())


def cross_validate(recipe, seed):
    """The log loss and the errors of the training utterances, each held out once."""
    data = load_japanese_vowels()
    X, y = features(data.X_train), data.y_train
    rng = np.random.default_rng(seed)
    folds = np.empty(len(y), int)
    for speaker in np.unique(y):
        own = rng.permutation(np.flatnonzero(y == speaker))
        folds[own] = np.arange(len(own)) % FOLDS
    probabilities = np.empty((len(y), SPEAKERS))
    for fold in range(FOLDS):
        kept, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        scaler = lc.Scaler().fit([X[b] for b in kept])
        net = train(scaler.transform([X[b] for b in kept]), y[kept], seed, **recipe)
        probabilities[held] = classify(net, scaler.transform([X[b] for b in held]))
    return -np.log(probabilities[np.arange(len(y)), y]).mean(), n_wrong(probabilities, y)


def choose(seeds, names):
    rows = []
    for name in names:
        losses, errors = zip(
            *(cross_validate(RECIPES[name], seed) for seed in range(seeds)), strict=True
        )
        rows.append([name, runs.spread(losses, 4), runs.spread(errors, 1)])
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(runs.markdown(["recipe", "log loss, held out", "wrong of 270"], rows))


def run(variant, seed, data=None, quick=False):
    recipe = VARIANTS[variant].options
    if quick:
        recipe = recipe | {"max_epochs": 20}
    data = load_japanese_vowels()
    X, X_test = features(data.X_train), features(data.X_test)
    clock = runs.Clock()
    scaler = lc.Scaler().fit(X)
    net = train(scaler.transform(X), data.y_train, seed, **recipe)
    seconds = clock()
    probabilities = classify(net, scaler.transform(X_test))
    return {
        "seconds": seconds,
        "wrong": n_wrong(probabilities, data.y_test),
        "probabilities": probabilities.round(5).tolist(),
    }


def percent(wrong):
    return 100 - 100 * np.asarray(wrong) / 370


def table(results):
    rows = []
    for label, done in results.items():
        right = percent(runs.column(done, "wrong"))
        rows.append(
            [
                label,
                runs.spread(right, 2),
                f"{right.min():.2f}",
                f"{right.max():.2f}",
                runs.spread(runs.column(done, "seconds"), 1),
            ]
        )
        y = load_japanese_vowels().y_test
        outputs = np.array(runs.column(done, "probabilities"))
        for size in (5, len(outputs)):
            groups = [outputs[k : k + size] for k in range(0, len(outputs) - size + 1, size)]
            if not groups:
                continue
            right = percent([n_wrong(group.mean(axis=0), y) for group in groups])
            what = (
                f"{len(groups)} times the mean of {size}" if size < len(outputs) else "mean of all"
            )
            rows.append(
                [
                    f"{label}: {what}",
                    runs.spread(right, 2),
                    f"{right.min():.2f}",
                    f"{right.max():.2f}",
                    "",
                ]
            )
    head = ["", "test accuracy, %", "worst", "best", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    if sys.argv[1:2] == ["choose"]:
        parser = argparse.ArgumentParser(description="Compare recipes by cross-validation.")
        parser.add_argument("choose")
        parser.add_argument("--seeds", type=int, default=2)
        parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
        arguments = parser.parse_args()
        choose(arguments.seeds, arguments.recipes)
    else:
        raise SystemExit(runs.main("vowels"))

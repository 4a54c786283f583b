"""Japanese Vowels: who is speaking, by one recipe over 30 seeds.

python bench/learning/vowels.py [--seeds 30] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels

TITLE = "Japanese Vowels"
PROTOCOL = """
There are 270 utterances of nine speakers to learn from and 370 to test on. The inputs are the 12
coefficients and their differences over time, z-scored by the training set. The speaker is named at
every step, and the speaker of the utterance is that of the highest mean probability. The method is
Adam with 16 utterances a step. The recipe is the row of lowest log loss in 5-fold cross-validation
within the training set, over five seeds (bold). The other rows show what they would have given.
"""
SEEDS = 30
DATA = None
SPEAKERS, FOLDS, VALIDATED = 9, 5, 5
RECIPES = {
    "plain": {},
    "l2 1e-3": {"l2": 1e-3},
    "weight noise 0.1": {"weight_noise": 0.1},
    "input noise 0.6": {"input_noise": 0.6},
    "input noise 0.6, l2 1e-3": {"input_noise": 0.6, "l2": 1e-3},
    "dropout 0.3, l2 1e-3": {"dropout": 0.3, "l2": 1e-3},
    "input noise 1, l2 1e-3": {"input_noise": 1.0, "l2": 1e-3},
    "input noise 0.6, l2 1e-3, average 0.99": {"input_noise": 0.6, "l2": 1e-3, "average": 0.99},
    "64 units, input noise 0.6, l2 1e-3": {"units": 64, "input_noise": 0.6, "l2": 1e-3},
}
VARIANTS = {name: runs.Variant(5, 4, recipe) for name, recipe in RECIPES.items()}
PUBLISHED = [
    ["fully convolutional network (published)", "", "99.3", "", "", "", ""],
    ["LSTM-FCN (published)", "", "99", "", "", "", ""],
    ["MLP (published)", "", "97.6", "", "", "", ""],
    ["TWIESN (published)", "", "96.5", "", "", "", ""],
    ["DTW, nearest neighbour (published)", "", "94.9", "", "", "", ""],
    ["ridge regression on 36 features (examples/japanese_vowels.py)", "", "98.9", "", "", "", ""],
]


def features(utterances):
    """Each utterance's coefficients and their central differences over time: (T_b, 24)."""
    return [np.hstack([u, np.gradient(u, axis=0)]) for u in utterances]


def train(X, y, seed, *, units=32, max_epochs=100, l2=0.0, **options):
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
        **options,
    )
    return net


def classify(net, X):
    """Probability of each speaker for each utterance, the mean over its steps: (B, 9)."""
    return np.array([p.mean(axis=0) for p in net.predict(X, n_threads=1)])


def n_wrong(probabilities, y):
    return int((np.argmax(probabilities, axis=1) != y).sum())


def cross_validate(recipe, seed):
    """The mean log loss of the training utterances, each held out once."""
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
    return float(-np.log(probabilities[np.arange(len(y)), y]).mean())


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
        "validation": cross_validate(recipe, seed) if seed < VALIDATED else None,
        "wrong": n_wrong(probabilities, data.y_test),
        "probabilities": probabilities.round(5).tolist(),
    }


def percent(wrong):
    return 100 - 100 * np.asarray(wrong) / 370


def validations(done):
    return [run["validation"] for run in done if run["validation"] is not None]


def table(results):
    y = load_japanese_vowels().y_test
    losses = {label: np.mean(validations(done)) for label, done in results.items()}
    chosen = min(losses, key=losses.get)
    rows = []
    for label, done in results.items():
        right = percent(runs.column(done, "wrong"))
        outputs = np.array(runs.column(done, "probabilities"))
        fives = [outputs[k : k + 5] for k in range(0, len(outputs) - 4, 5)]
        together = [percent(n_wrong(five.mean(axis=0), y)) for five in fives]
        row = [
            runs.spread(validations(done), 3),
            runs.spread(right, 2),
            f"{right.min():.2f}, {right.max():.2f}",
            runs.spread(together, 2) if together else "",
            f"{percent(n_wrong(outputs.mean(axis=0), y)):.2f}",
            runs.spread(runs.column(done, "seconds"), 1),
        ]
        rows.append(runs.bold([label, *row]) if label == chosen else [label, *row])
    head = [
        "BLSTM(24, 32), adam",
        "log loss, validation",
        "test accuracy, %",
        "worst, best",
        "means of five nets, %",
        "mean of all, %",
        "s",
    ]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("vowels"))

"""Who is speaking? A bidirectional peephole LSTM on the Japanese Vowels, trained with L-BFGS.

    python examples/japanese_vowels.py [OUTPUT_DIRECTORY]

Nine speakers say /ae/; 270 utterances of 7 to 29 steps to train on, 370 to test on. An utterance's
12 cepstrum coefficients and their differences over time, z-scored by the training set, go through
the network, which names the speaker at every step (Graves 2012, section 3.1.3); the utterance
belongs to the speaker with the highest mean probability. The strength of the weight penalty is
chosen by cross-validation within the training set; the test set is used once, at the end.

Writes model.npz (the network), scaling.npz (the z-scores) and japanese_vowels.png.
"""

import argparse
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels

SPEAKERS, COEFFICIENTS = 9, 12
HIDDEN = 32
ITERATIONS = 100
PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FOLDS = 5
PUBLISHED = {
    "DTW, nearest neighbour": 94.9,
    "TWIESN": 96.5,
    "MLP": 97.6,
    "LSTM-FCN": 99.0,
    "FCN": 99.3,
}

# To stop before convergence is part of the recipe: it regularises, too.
warnings.filterwarnings("ignore", category=lc.ConvergenceWarning)


def features(utterances):
    """Each utterance's coefficients and their central differences over time: (T_b, 24)."""
    return [np.hstack([u, np.gradient(u, axis=0)]) for u in utterances]


def scaling(X):
    """Mean and standard deviation of each feature over all steps."""
    steps = np.concatenate(X)
    return steps.mean(axis=0), steps.std(axis=0)


def scaled(X, mean, deviation):
    return [(x - mean) / deviation for x in X]


def train(X, y, l2, seed, progress=False, n_threads=None):
    """A network trained on utterances X of the speakers y, and the optimizer's result."""
    net = lc.Network(
        [
            lc.LSTM(2 * COEFFICIENTS, HIDDEN, peepholes=True, bidirectional=True),
            lc.Dense(2 * HIDDEN, SPEAKERS),
        ],
        loss="cross_entropy",
        seed=seed,
    )
    speaker_at_each_step = [np.full(len(x), speaker) for x, speaker in zip(X, y, strict=True)]
    result = lc.fit(
        net,
        X,
        speaker_at_each_step,
        l2=l2,
        max_iter=ITERATIONS,
        progress=progress,
        n_threads=n_threads,
    )
    return net, result


def classify(net, X):
    """Probability of each speaker for each utterance, the mean over its steps: (B, 9)."""
    return np.array([p.mean(axis=0) for p in net.predict(X)])


def folds_of(y, rng):
    """A fold for each utterance, every speaker's shared out evenly."""
    folds = np.empty(len(y), dtype=int)
    for speaker in np.unique(y):
        own = rng.permutation(np.flatnonzero(y == speaker))
        folds[own] = np.arange(len(own)) % FOLDS
    return folds


def cross_validate(X, y, l2, seed):
    """Log loss of each utterance when it is held out, and accuracy (%); X is not scaled."""
    folds = folds_of(y, np.random.default_rng(seed))
    probabilities = np.empty((len(y), SPEAKERS))

    def hold_out(fold):
        kept, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        X_kept, X_held = [X[b] for b in kept], [X[b] for b in held]
        scales = scaling(X_kept)
        net, _ = train(scaled(X_kept, *scales), y[kept], l2, seed, n_threads=1)
        probabilities[held] = classify(net, scaled(X_held, *scales))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # kernels run outside the interpreter's lock
        list(pool.map(hold_out, range(FOLDS)))
    return -np.log(probabilities[np.arange(len(y)), y]), accuracy(probabilities, y)


def choose_l2(X, y, seed, report=lambda l2, loss, percent: None):
    """The strongest penalty whose held-out log loss is within one standard error of the lowest.

    The rule of Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, 7.10.
    """
    means, errors = [], []
    for l2 in PENALTIES:
        losses, percent = cross_validate(X, y, l2, seed)
        means.append(losses.mean())
        errors.append(losses.std() / np.sqrt(len(losses)))
        report(l2, means[-1], percent)
    lowest = int(np.argmin(means))
    limit = means[lowest] + errors[lowest]
    return max(l2 for l2, mean in zip(PENALTIES, means, strict=True) if mean <= limit)


def accuracy(probabilities, y):
    return 100 * np.mean(probabilities.argmax(axis=1) == y)


def ridge_accuracy(X_train, y_train, X_test, y_test, strength=0.1):
    """Test accuracy of ridge regression on 36 features: mean, first and last step."""

    def summary(X):
        rows = [np.concatenate([x.mean(axis=0), x[0], x[-1]]) for x in X]
        return np.column_stack([rows, np.ones(len(X))])

    A = summary(X_train)
    penalty = strength * np.eye(A.shape[1])
    penalty[-1, -1] = 0  # the intercept's
    weights = np.linalg.solve(A.T @ A + penalty, A.T @ np.eye(SPEAKERS)[y_train])
    return accuracy(summary(X_test) @ weights, y_test)


def plot(path, probabilities, y, history):
    """Confusion matrix of the test set and curve of the training loss, as one picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts = np.zeros((SPEAKERS, SPEAKERS), dtype=int)
    np.add.at(counts, (y, probabilities.argmax(axis=1)), 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    left.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if row == column else "black"
            left.text(column, row, count, ha="center", va="center", color=color)
    names = np.arange(1, SPEAKERS + 1)
    left.set(
        title=f"Test utterances: {accuracy(probabilities, y):.1f} % right",
        xlabel="speaker named by the network",
        ylabel="speaker",
        xticks=names - 1,
        yticks=names - 1,
        xticklabels=names,
        yticklabels=names,
    )
    right.semilogy(history["loss"], label="objective")
    right.semilogy(history["gradient_norm"], label="norm of its gradient", alpha=0.6)
    right.set(title="Training", xlabel="L-BFGS iteration")
    right.grid(alpha=0.3)
    right.legend()
    figure.savefig(path, dpi=120)


def report(l2, loss, percent):
    print(f"    l2 = {l2:<6g}  log loss {loss:.3f}, accuracy {percent:.1f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path("build/japanese_vowels"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    data = load_japanese_vowels()
    X_train, X_test = features(data.X_train), features(data.X_test)
    print(f"{FOLDS}-fold cross-validation on the {len(X_train)} training utterances:", flush=True)
    l2 = choose_l2(X_train, data.y_train, arguments.seed, report)

    print(f"Training on all of them with l2 = {l2:g}:", flush=True)
    scales = scaling(X_train)
    net, result = train(scaled(X_train, *scales), data.y_train, l2, arguments.seed, progress=True)
    probabilities = classify(net, scaled(X_test, *scales))

    print(f"\nTest accuracy on {len(X_test)} utterances, %:")
    for name, percent in PUBLISHED.items():
        print(f"    {name:<42}{percent:.1f}")
    ridge = ridge_accuracy(data.X_train, data.y_train, data.X_test, data.y_test)
    print(f"    {'ridge regression, 36 features (here)':<42}{ridge:.1f}")
    name = f"lstmcore, {len(net.params)} parameters (here)"
    print(f"    {name:<42}{accuracy(probabilities, data.y_test):.1f}")

    net.save(arguments.output / "model.npz")
    np.savez(arguments.output / "scaling.npz", mean=scales[0], deviation=scales[1])
    plot(arguments.output / "japanese_vowels.png", probabilities, data.y_test, result.history)
    print(f"\nmodel.npz, scaling.npz and japanese_vowels.png are in {arguments.output}")
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()

"""Handwriting: digits written point by point, by a network whose outputs are a density.

    python examples/handwriting.py pendigits.tra pendigits.tes [--output DIR]

The data are the pen-based handwritten digits of E. Alpaydin and F. Alimoglu (UCI Machine Learning
Repository, https://doi.org/10.24432/C5MG6K, CC BY 4.0): 7494 digits of 30 writers to train on, 3498
of 14 other writers to test on, each eight points of the pen's way in a box of 100 by 100. A network
reads where the pen has moved and gives, as in A. Graves, *Generating Sequences With Recurrent
Neural Networks* (2013), the density of where it moves next: a mixture of correlated Gaussians, and
whether the digit ends. Which digit it is makes the LSTM's initial states, through a dense layer.

The coordinates are integers. Noise of the size of their rounding makes densities of them: so the
negative logarithm of a digit's density, in hundredths of the box, cannot be less than what an ideal
code of its 16 integers takes. Beside the network stand Gaussians fitted in closed form, a network
with one Gaussian for each move, and one that is not told which digit it is. All of them are judged
on the writers to test on, once.

A density is also a reader: the digit under which what was written is most likely. And what the
network writes itself is read by another, which looks for the nearest of the real digits, so that it
shows how many of them can be read. With a bias the network writes more carefully.

Writes handwriting.png: real digits, and digits written with several biases.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc

HIDDEN, COMPONENTS = 100, 20
RATE, BATCH, EPOCHS = 0.01, 64, 100
DROPOUT = 0.3  # between the LSTM and its outputs
SMALLEST = 0.002  # of the standard deviations: noise of the rounding has 0.003
BIASES = (0.0, 0.5, 1.0, 2.0)
WRITTEN = 200  # digits of each class to be read
ROWS = 3  # of digits in the picture, real ones and for each bias
INTEGERS = 16 * np.log(100)  # nats from densities in the box to densities in its hundredths


def read_digits(path):
    """The points (n, 8, 2) of a file, from 0 to 100, and the digits (n,)."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    if len(rows[0]) == 10:  # some copies begin with a line of the ten digits
        rows = rows[1:]
    if not rows or any(len(row) != 17 for row in rows):
        raise SystemExit(f"{path}: expected rows of 16 coordinates and a digit")
    table = np.array(rows, dtype=int)
    return table[:, :-1].reshape(-1, 8, 2), table[:, -1]


def moves_of(points, rng):
    """The pen's moves and whether the digit ends with them: (n, 8, 3).

    The first move is from the middle of the box, whose sides are 1.
    """
    points = (points + rng.uniform(-0.5, 0.5, points.shape)) / 100 - 0.5
    moves = np.diff(points, axis=1, prepend=0)
    end = np.zeros((*moves.shape[:2], 1))
    end[:, -1] = 1
    return np.concatenate([moves, end], axis=2)


def points_of(moves):
    """The points (..., 8, 2) of moves, in the box of 100 by 100."""
    return 100 * (np.cumsum(moves[..., :2], axis=-2) + 0.5)


def inputs_of(moves):
    """At each step the move before."""
    return np.concatenate([np.zeros_like(moves[:, :1]), moves[:, :-1]], axis=1)


def one_hot(digits):
    return np.eye(10)[digits]


# ---------------------------------------------------------------------------------- the network


def learn(moves, digits, components, with_class=True):
    """A network that has learned to write, and the seconds of processor time that it took."""
    loss = lc.losses.Mixture(components, 2, correlation=True, end=True, min_scale=SMALLEST)
    layers = [lc.LSTM(3, HIDDEN), lc.Dense(HIDDEN, 6 * components + 1)]
    initial = 10 if with_class else None
    net = lc.Network(layers, loss, dtype="float32", seed=0, initial=initial)
    start = time.process_time()
    with warnings.catch_warnings():  # it ends after its epochs, as it should
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(
            net,
            inputs_of(moves),
            moves,
            features=one_hot(digits) if with_class else None,
            method="adam",
            batch_size=BATCH,
            learning_rate=lc.optimizers.Cosine(RATE),
            max_epochs=EPOCHS,
            dropout=DROPOUT,
            seed=0,
            n_threads=1,
        )
    seconds = time.process_time() - start
    # In float32 a correlation very near to 1 would be 1, and what is not on its line impossible.
    exact = lc.Network(**net.options | {"dtype": "float64"})
    exact.params = net.params
    return exact, seconds


def log_densities(net, moves, digits):
    """ln p of each digit as it was written, in hundredths of the box."""
    features = None if net.initial is None else one_hot(digits)
    y = net.predict(inputs_of(moves), features=features)
    density = net.options["loss"].parameters(y)
    return density.log_density(moves).sum(axis=1) - INTEGERS


def write(net, digits, bias, rng):
    """Digits written by a network, as points (n, 8, 2)."""
    features = None if net.initial is None else one_hot(digits)
    moves = net.generate(steps=8, rng=rng, features=features, n=len(digits), bias=bias)
    return points_of(moves)


# ------------------------------------------------------------------------------------ baselines


def gaussian(rows, others):
    """ln of the density of other rows under the Gaussian of these."""
    mean, root = rows.mean(axis=0), np.linalg.cholesky(np.cov(rows.T, bias=True))
    y = np.linalg.solve(root, (others - mean).T)
    constant = np.log(np.diag(root)).sum() + 0.5 * len(mean) * np.log(2 * np.pi)
    return -0.5 * (y**2).sum(axis=0) - constant


def gaussian_steps(moves, others):
    """The same of a Gaussian for each step."""
    return sum(gaussian(moves[:, t, :2], others[:, t, :2]) for t in range(8))


def gaussian_digits(moves, others):
    """The same of one over all 16 numbers."""
    return gaussian(moves[..., :2].reshape(-1, 16), others[..., :2].reshape(-1, 16))


def under_each(baseline, moves, digits, others):
    """ln p of the others under each of ten densities, (n, 10)."""
    found = [baseline(moves[digits == digit], others) for digit in range(10)]
    return np.stack(found, axis=1) - INTEGERS


def nearest(points, digits, others):
    """What the nearest of some digits says of others."""
    a, b = points.reshape(-1, 16).astype(float), others.reshape(-1, 16).astype(float)
    return digits[((a**2).sum(axis=1) - 2 * b @ a.T).argmin(axis=1)]


# --------------------------------------------------------------------------------------- output


def report(title, log_p, digits=None):
    """A line of the table; of ln p under each of ten digits, how many were read, too."""
    reads = "-"
    if log_p.ndim == 2:
        reads = f"{100 * (log_p.argmax(axis=1) == digits).mean():.1f} %"
        log_p = log_p[np.arange(len(log_p)), digits]
    print(f"{title:<44} {-log_p.mean():>8.2f} {-log_p.mean() / 8:>8.2f} {reads:>8}")


def plot(path, real, written):
    """Digits from left to right; real ones, then those of each bias."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    blocks = {"real": real} | {f"bias {bias:g}": points for bias, points in written.items()}
    figure, axes = plt.subplots(
        ROWS * len(blocks), 10, figsize=(8, 0.72 * ROWS * len(blocks)), layout="constrained"
    )
    for k, (title, points) in enumerate(blocks.items()):
        for row in range(ROWS):
            for digit in range(10):
                axis = axes[ROWS * k + row, digit]
                axis.plot(*points[digit, row].T, color=f"C{k}", linewidth=1.6)
                axis.plot(*points[digit, row, 0], ".", color=f"C{k}", markersize=4)
                axis.set(xlim=(-15, 115), ylim=(-15, 115), xticks=[], yticks=[], aspect="equal")
                axis.spines[:].set_visible(False)
        axes[ROWS * k + ROWS // 2, 0].set_ylabel(title)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="pendigits.tra")
    parser.add_argument("test", type=Path, help="pendigits.tes")
    parser.add_argument("--output", type=Path, default=Path())
    arguments = parser.parse_args()
    points, digits = read_digits(arguments.train)
    test_points, test_digits = read_digits(arguments.test)
    rng = np.random.default_rng(0)
    moves, test_moves = moves_of(points, rng), moves_of(test_points, rng)

    networks = {
        "LSTM, one Gaussian, digit known": learn(moves, digits, 1),
        f"LSTM, {COMPONENTS} Gaussians, digit not known": learn(moves, digits, COMPONENTS, False),
        f"LSTM, {COMPONENTS} Gaussians, digit known": learn(moves, digits, COMPONENTS),
    }
    print(f"{len(test_moves)} digits of other writers")
    print(f"{'density':<44} {'nats':>8} {'a step':>8} {'read':>8}")
    report("a Gaussian a step", gaussian_steps(moves, test_moves) - INTEGERS)
    each = under_each(gaussian_steps, moves, digits, test_moves)
    report("a Gaussian a step and digit", each, test_digits)
    each = under_each(gaussian_digits, moves, digits, test_moves)
    report("a Gaussian of all 16 numbers a digit", each, test_digits)
    for title, (net, seconds) in networks.items():
        whole = [log_densities(net, test_moves, 0 * test_digits)]
        if net.initial is not None:
            whole += [log_densities(net, test_moves, 0 * test_digits + d) for d in range(1, 10)]
        log_p = np.stack(whole, axis=1) if len(whole) > 1 else whole[0]
        report(f"{title} ({seconds:.0f} s)", log_p, test_digits)

    print(f"\nWhat the nearest real digit reads, of {10 * WRITTEN} digits that were written")
    real = 100 * (nearest(points, digits, test_points) == test_digits).mean()
    print(f"{'other writers':<16} {real:.1f} %")
    wanted, written = np.repeat(np.arange(10), WRITTEN), {}
    for bias in BIASES:
        made = write(net, wanted, bias, np.random.default_rng(1))
        right = 100 * (nearest(points, digits, made) == wanted).mean()
        print(f"{f'bias {bias:g}':<16} {right:.1f} %")
        written[bias] = made.reshape(10, WRITTEN, 8, 2)
    some = np.stack([test_points[test_digits == digit][:ROWS] for digit in range(10)])
    arguments.output.mkdir(parents=True, exist_ok=True)
    plot(arguments.output / "handwriting.png", some, written)
    print(f"handwriting.png is in {arguments.output}")


if __name__ == "__main__":
    main()

"""Reading numbers from a pen that nobody has stopped: CTC with a bidirectional peephole LSTM.

    python examples/handwriting_reading.py pendigits.tra pendigits.tes [--torch] [--output DIR]

The data are the pen-based handwritten digits of E. Alpaydin and F. Alimoglu (UCI Machine Learning
Repository, https://doi.org/10.24432/C5MG6K, CC BY 4.0): 7494 digits of 30 writers to train on, 3498
of 14 other writers to test on, each eight points of the pen's way. Here three to seven digits are
written in one go: each has a size and a height of its own, and from its last point the pen goes on
to the next one's first in one to three steps. What the network sees is how far the pen has moved at
each step, and how high it is; nothing says where a digit begins or that the pen was lifted. What it
is told is which digits they are, in order.

With --torch PyTorch learns the same after it: `nn.LSTM` in both directions, of the same size but
without peepholes, `ctc_loss` and Adam, for as many seconds of processor time as lstmcore took, both
on one thread. Both have noise on their inputs, and a learning rate that falls over the run.

Writes handwriting_reading.png, test streams with the labels where `alignment` puts them.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc

CLASSES = 11  # the blank and ten digits: digit d is label d + 1
HIDDEN = 32
RATE, BATCH = 0.02, 16
NOISE = 0.1  # on the inputs, fresh at each step of training
COPIES = 10  # so many streams has each training digit a part in
WIDTH = 10  # of the beam


def read_digits(path):
    """The points (n, 8, 2) of a file, from 0 to 1, and the digits (n,)."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    if len(rows[0]) == 10:  # some copies begin with a line of the ten digits
        rows = rows[1:]
    if not rows or any(len(row) != 17 for row in rows):
        raise SystemExit(f"{path}: expected rows of 16 coordinates and a digit")
    table = np.array(rows, dtype=int)
    return table[:, :-1].reshape(-1, 8, 2) / 100, table[:, -1]


def write_streams(points, digits, rng):
    """All digits in random order, three to seven in a stream: the pen's ways (T, 2), the labels."""
    ways, labels = [], []
    order = rng.permutation(len(digits))
    while len(order):
        members, order = np.split(order, [rng.integers(3, 8)])
        way, left = [], 0.0
        for b in members:
            digit = points[b] * rng.uniform(0.7, 1.1) + [0, rng.normal(0, 0.1)]
            digit[:, 0] += left - digit[:, 0].min()
            if way:
                shares = np.linspace(0, 1, rng.integers(1, 4) + 1)[1:-1, None]
                way.extend(way[-1] + shares * (digit[0] - way[-1]))
            way.extend(digit)
            left = digit[:, 0].max() + rng.uniform(0.1, 0.4)
        ways.append(np.array(way))
        labels.append(digits[members] + 1)
    return ways, labels


def features(ways):
    """How far the pen has moved at each step, and its height: (T, 3)."""
    return [
        np.column_stack([4 * np.diff(way, axis=0, prepend=way[:1]), 2 * way[:, 1] - 1]).astype(
            np.float32
        )
        for way in ways
    ]


def learn(X, Y, epochs, seed):
    """A network that has learned to read, and the seconds of processor time that it took."""
    layers = [
        lc.LSTM(3, HIDDEN, peepholes=True, bidirectional=True),
        lc.Dense(2 * HIDDEN, CLASSES),
    ]
    net = lc.Network(layers, loss="ctc", dtype="float32", seed=seed)
    start = time.process_time()
    with warnings.catch_warnings():  # it ends after its epochs, as it should
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(
            net,
            X,
            Y,
            method="adam",
            batch_size=BATCH,
            learning_rate=lc.optimizers.Cosine(RATE),
            max_epochs=epochs,
            clip_norm=1.0,
            input_noise=NOISE,
            seed=seed,
            n_threads=1,
        )
    return net, time.process_time() - start


def learn_by_torch(X, Y, seconds, seed):
    """The outputs of PyTorch's network as a function of sequences, and how many epochs it had."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    lstm = torch.nn.LSTM(3, HIDDEN, bidirectional=True)
    dense = torch.nn.Linear(2 * HIDDEN, CLASSES)
    parameters = [*lstm.parameters(), *dense.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    rng = np.random.default_rng(seed)

    def outputs(some):
        # padded: its packed sequences take four times as long, for the same in the end
        x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x in some])
        return dense(lstm(x)[0]).log_softmax(-1), torch.tensor([len(x) for x in some])

    start, steps = time.process_time(), 0
    while True:
        for members in np.split(order := rng.permutation(len(X)), range(BATCH, len(order), BATCH)):
            share = (time.process_time() - start) / seconds
            if share >= 1:
                return lambda some: _arrays(outputs, some), steps * BATCH / len(X)
            optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * share))
            labels = [Y[b] for b in members]
            noisy = [X[b] + NOISE * rng.standard_normal(X[b].shape, np.float32) for b in members]
            ln_y, lengths = outputs(noisy)
            counts = torch.tensor([len(y) for y in labels])
            loss = torch.nn.functional.ctc_loss(
                ln_y, torch.from_numpy(np.concatenate(labels)), lengths, counts, reduction="sum"
            ) / len(members)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            steps += 1


def _arrays(outputs, some):
    import torch

    with torch.no_grad():
        ln_y, lengths = outputs(some)
    y = ln_y.exp().numpy().astype(float)
    return [y[:n, b] for b, n in enumerate(lengths.tolist())]


def scores(y, labels):
    """Label error rates in percent by best path and by beam; percent of streams that are right."""
    best = [lc.decode_rows(rows) for rows in y]
    beam = [lc.decode_rows(rows, width=WIDTH) for rows in y]
    right = [result.labels == tuple(z.tolist()) for result, z in zip(beam, labels, strict=True)]
    rates = [100 * lc.label_error_rate(results, labels) for results in (best, beam)]
    return (*rates, 100 * float(np.mean(right)))


def plot(path, net, ways, X, labels):
    """Streams, the probabilities of their digits, and where `alignment` puts the labels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(ways), 2, figsize=(12, 2.3 * len(ways)), layout="constrained", squeeze=False
    )
    colors = plt.get_cmap("tab10").colors
    found = lc.alignment(net, X, labels)
    for (left, right), way, y, z, at in zip(axes, ways, net.predict(X), labels, found, strict=True):
        left.plot(*way.T, color="0.8", zorder=0)
        left.scatter(*way.T, s=8, color="0.6", zorder=1)
        for label, start, stop in zip(z, at.start, at.stop, strict=True):
            left.plot(*way[start:stop].T, "o-", color=colors[label - 1], ms=4)
            middle = (start + stop - 1) // 2
            left.annotate(str(label - 1), way[middle], (0, 6), textcoords="offset points")
        left.set(aspect="equal", xticks=[], yticks=[])
        right.plot(y[:, 0], ":", color="0.6")
        for d in range(CLASSES - 1):
            right.plot(y[:, d + 1], color=colors[d], label=str(d))
        for label, start, stop in zip(z, at.start, at.stop, strict=True):
            right.axvspan(start - 0.5, stop - 0.5, color=colors[label - 1], alpha=0.2)
            right.text((start + stop - 1) / 2, 1.03, str(label - 1), ha="center")
        right.set(ylim=(0, 1.15), xlim=(-0.5, len(way) - 0.5))
    axes[0, 0].set_title("the pen's way; in colour the steps that are aligned with a digit")
    axes[0, 1].set_title("probabilities: digits in colour, the blank dotted")
    axes[-1, 1].set_xlabel("step")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train", type=Path, help="pendigits.tra")
    parser.add_argument("test", type=Path, help="pendigits.tes")
    parser.add_argument("--torch", action="store_true", help="let PyTorch learn the same")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("."), help="directory of the picture")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    digits = read_digits(arguments.train)
    ways, Y = [], []
    for _ in range(COPIES):
        more, labels = write_streams(*digits, rng)
        ways, Y = ways + more, Y + labels
    X = features(ways)
    test_ways, test_Y = write_streams(*read_digits(arguments.test), rng)
    test_X = features(test_ways)
    print(
        f"{len(X)} streams of {sum(map(len, Y)) // COPIES} digits to train on, {len(test_X)} of "
        f"{sum(map(len, test_Y))} digits of other writers to test on"
    )

    net, seconds = learn(X, Y, arguments.epochs, arguments.seed)
    rows = {"lstmcore": (seconds, arguments.epochs, *scores(net.predict(test_X), test_Y))}
    if arguments.torch:
        predict, epochs = learn_by_torch(X, Y, seconds, arguments.seed)
        rows["PyTorch"] = (seconds, epochs, *scores(predict(test_X), test_Y))
    print(f"\n{'':10}processor s  epochs   label error rate %: best path  beam   streams right %")
    for name, (used, epochs, best, beam, right) in rows.items():
        print(f"{name:10}{used:11.1f}{epochs:8.1f}{best:31.2f}{beam:6.2f}{right:18.1f}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = arguments.output / "handwriting_reading.png"
    plot(picture, net, test_ways[:4], test_X[:4], test_Y[:4])
    print(f"\n{picture}")


if __name__ == "__main__":
    main()

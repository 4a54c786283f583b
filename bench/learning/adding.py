"""The adding problem over lags of 100 and 500 steps: Hochreiter & Schmidhuber (1997), experiment 4.

python bench/learning/adding.py [--seeds 10] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "Adding two numbers over long lags"
PROTOCOL = """
Each sequence has T to 1.1 T numbers in [-1, 1]. Two of them are marked, one of the first ten and a
later one of the first half. The target at the end is 0.5 plus a quarter of their sum. A sequence
counts as wrong if the error is above 0.04, on 2,560 fresh sequences. There are 4,000 sequences to
learn from. The run ends when the mean loss on 500 others, half the squared error, is below 0.00001.
"""
SEEDS = 10
DATA = None
TOLERANCE = 0.04
VARIANTS = {
    "T=100, LSTM(2, 8), adam": runs.Variant(
        6, 6, {"T": 100, "max_epochs": 150, "learning_rate": 5e-3, "enough": 1e-5}
    ),
    "T=500, LSTM(2, 8), adam": runs.Variant(
        25, 25, {"T": 500, "max_epochs": 150, "learning_rate": 5e-3, "enough": 1e-5}, seeds=10
    ),
}
PUBLISHED = [
    ["T=100, LSTM of 1997 (published)", "1", "", "74,000", ""],
    ["T=500, LSTM of 1997 (published)", "0", "", "209,000", ""],
]


def sequences(rng, n, T):
    """n sequences (T_b, 2) of numbers and marks, and their targets (n,)."""
    lengths = rng.integers(T, T + T // 10 + 1, n)
    X, Y = [], np.empty(n)
    for k, length in enumerate(lengths):
        x = np.zeros((length, 2))
        x[:, 0] = rng.uniform(-1, 1, length)
        first, second = rng.choice(10), rng.choice(np.arange(10, length // 2))
        x[[first, second], 1] = 1.0
        X.append(x)
        Y[k] = 0.5 + x[[first, second], 0].sum() / 4
    return X, Y


def run(variant, seed, data=None, quick=False):
    options = VARIANTS[variant].options
    T = options["T"]
    rng = np.random.default_rng(seed)
    X, Y = sequences(rng, 500 if quick else 4000, T)
    held_out = sequences(rng, 500, T)
    X_test, Y_test = sequences(rng, 2560, T)
    net = lc.Network(
        [lc.LSTM(2, 8, forget_bias=("chrono", T)), lc.Dense(8, 1)],
        readout="last",
        dtype="float32",
        seed=seed,
    )

    def stop(now):
        if now.validation_loss < options["enough"]:
            raise StopIteration

    clock = runs.Clock()
    result = lc.fit(
        net,
        X,
        Y,
        method="adam",
        batch_size=32,
        max_epochs=options["max_epochs"],
        learning_rate=lc.optimizers.Cosine(options["learning_rate"]),
        clip_norm=1.0,
        validation_data=held_out,
        callback=stop,
        seed=seed,
        n_threads=1,
    )
    seconds = clock()
    error = abs(net.predict(X_test, n_threads=1)[:, 0] - Y_test)
    return {
        "seconds": seconds,
        "wrong": int((error > TOLERANCE).sum()),
        "presentations": result.nit * len(X),
    }


def table(results):
    rows = []
    for label, done in results.items():
        wrong = sorted(runs.column(done, "wrong"))
        good = sum(count <= 3 for count in wrong)
        rows.append(
            [
                label,
                ", ".join(map(str, wrong)),
                f"{good} of {len(done)}",
                f"{np.median(runs.column(done, 'presentations')):,.0f}",
                f"{np.median(runs.column(done, 'seconds')):.1f}, "
                f"at most {max(runs.column(done, 'seconds')):.1f}",
            ]
        )
    head = ["", "wrong of 2,560, each seed", "at most 3 wrong", "presentations (median)", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("adding"))

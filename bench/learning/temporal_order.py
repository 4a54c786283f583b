"""Temporal order over lags: Hochreiter & Schmidhuber (1997), experiment 6a.

python bench/learning/temporal_order.py [--seeds 10] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "Temporal order"
PROTOCOL = """
A sequence has 100 to 110 symbols: E at the beginning, B at the end, and random ones of a, b, c and
d between them. One of steps 10 to 20 and one of steps 50 to 60 are X or Y. The class is which of
the two came first and which came second. A sequence counts as wrong if any of the four outputs is
0.3 off or more, on 2,560 fresh ones. There are 1,000 sequences to learn from. The run ends when no
output is 0.1 off for any of them or of 2,560 others.
"""
SEEDS = 10
DATA = None
SYMBOLS = "EBabcdXY"
TOLERANCE, STRICT = 0.3, 0.1
VARIANTS = {
    "LSTM(8, 8), adam": runs.Variant(2, 2, {"max_epochs": 100}),
}
PUBLISHED = [["LSTM of 1997, 156 weights (published)", "1", "", "31,390", ""]]


def sequences(rng, n):
    """n sequences of tokens, and for each the class 0 ... 3: XX, XY, YX, YY."""
    X, classes = [], rng.integers(0, 4, n)
    for kind in classes:
        length = rng.integers(100, 111)
        x = rng.integers(SYMBOLS.index("a"), SYMBOLS.index("d") + 1, length)
        x[0], x[-1] = SYMBOLS.index("E"), SYMBOLS.index("B")
        x[rng.integers(10, 21)] = SYMBOLS.index("XY"[kind // 2])
        x[rng.integers(50, 61)] = SYMBOLS.index("XY"[kind % 2])
        X.append(x)
    return X, classes


def errors(net, X, classes):
    """The largest error of any output, for each sequence."""
    return abs(net.predict(X, n_threads=1) - np.eye(4)[classes]).max(axis=1)


def run(variant, seed, data=None, quick=False):
    options = VARIANTS[variant].options
    rng = np.random.default_rng(seed)
    learn, held_out, test = (sequences(rng, n) for n in (1000, 2560, 2560))
    net = lc.Network(
        [lc.LSTM(8, 8, forget_bias=("chrono", 100), tokens=True), lc.Dense(8, 4)],
        loss="cross_entropy",
        readout="last",
        dtype="float32",
        seed=seed,
    )

    def largest(theta):
        net.params = theta
        return float(max(errors(net, *learn).max(), errors(net, *held_out).max()))

    clock = runs.Clock()
    result = lc.minimize(
        lc.Objective(net, *learn, n_threads=1),
        "adam",
        batch_size=16,
        learning_rate=1e-2,
        clip_norm=1.0,
        validation=largest,
        target=STRICT,
        seed=seed,
        **options,
    )
    return {
        "seconds": clock(),
        "wrong": int((errors(net, *test) >= TOLERANCE).sum()),
        "presentations": result.nit * len(learn[0]),
    }


def table(results):
    rows = []
    for label, done in results.items():
        wrong = sorted(runs.column(done, "wrong"))
        rows.append(
            [
                label,
                ", ".join(map(str, wrong)),
                f"{sum(count <= 1 for count in wrong)} of {len(done)}",
                f"{np.median(runs.column(done, 'presentations')):,.0f}",
                f"{np.median(runs.column(done, 'seconds')):.1f}, "
                f"at most {max(runs.column(done, 'seconds')):.1f}",
            ]
        )
    head = ["", "wrong of 2,560, each seed", "at most 1 wrong", "presentations (median)", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("temporal_order"))

"""Temporal order over lags: Hochreiter & Schmidhuber (1997), experiment 6a.

python bench/learning/temporal_order.py [--seeds 10] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "Temporal order"
PROTOCOL = """
Sequences of 100 to 110 symbols: E, then random ones of a, b, c, d, and B at the end; one of steps
10 to 20 and one of steps 50 to 60 are X or Y. The class is which came first and which second. Wrong
is a sequence of which any of the four outputs is 0.3 off or more, on 2,560 fresh ones. 1,000
sequences to learn from; the run ends when none of them and none of 500 others is wrong.
"""
SEEDS = 10
DATA = None
SYMBOLS = "EBabcdXY"
TOLERANCE = 0.3
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


def n_wrong(net, X, classes):
    outputs = net.predict(X, n_threads=1)
    return int((abs(outputs - np.eye(4)[classes]).max(axis=1) >= TOLERANCE).sum())


def run(variant, seed, data=None, quick=False):
    options = VARIANTS[variant].options
    rng = np.random.default_rng(seed)
    learn, held_out, test = (sequences(rng, n) for n in (1000, 500, 2560))
    net = lc.Network(
        [lc.LSTM(8, 8, forget_bias=("chrono", 100), tokens=True), lc.Dense(8, 4)],
        loss="cross_entropy",
        readout="last",
        dtype="float32",
        seed=seed,
    )

    def stop(_):
        if not n_wrong(net, *learn) and not n_wrong(net, *held_out):
            raise StopIteration

    clock = runs.Clock()
    result = lc.fit(
        net,
        *learn,
        method="adam",
        batch_size=16,
        learning_rate=1e-2,
        clip_norm=1.0,
        callback=stop,
        seed=seed,
        n_threads=1,
        **options,
    )
    return {
        "seconds": clock(),
        "wrong": n_wrong(net, *test),
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

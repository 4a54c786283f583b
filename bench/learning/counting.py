"""Counting: the language aⁿbⁿcⁿ, learnt from n <= 10 (Gers & Schmidhuber 2001).

python bench/learning/counting.py [--seeds 20] [--jobs 2] [--quick]
"""

import warnings

import numpy as np
import runs

import lstmcore as lc

TITLE = "Counting: aⁿbⁿcⁿ learnt from n ≤ 10"
PROTOCOL = """
A string S aⁿ bⁿ cⁿ is read, and at each step the network must say the symbols that may come next,
with T for the end among them. A string is accepted when every output is on the right side of 0.5.
The network learns from the ten strings with n = 1 ... 10, by L-BFGS from 21 starts. The parameters
that are kept are those of the lowest loss on the strings up to n = 30, each of which counts alike.
The reach is the largest n, up to 2,000, for which all strings until there are accepted.
"""
SEEDS = 20
DATA = None
SYMBOLS = "Sabc"
FURTHEST = 2000
VARIANTS = {
    "LSTM(4, 2)": runs.Variant(4, 2, {"units": 2}),
    "LSTM(4, 3)": runs.Variant(4, 2, {"units": 3}),
    "LSTM(4, 3), peepholes": runs.Variant(4, 2, {"units": 3, "peepholes": True}),
}
PUBLISHED = [
    ["LSTM with peepholes of 2001 (published)", "", "at most 52", "", ""],
    ["LSTM by a Kalman filter, 2003 (published)", "", "1,000 and more", "", ""],
]


def language(n):
    """Tokens of S aⁿ bⁿ cⁿ, and the symbols that may follow each: columns a, b, c, T."""
    x = np.repeat(np.arange(4), [1, n, n, n])
    may = np.zeros((3 * n + 1, 4))
    may[: n + 1, 0] = 1  # one more a, or
    may[1 : n + 1, 1] = 1  # the first b
    may[n + 1 : 2 * n, 1] = 1
    may[2 * n : 3 * n, 2] = 1
    may[3 * n, 3] = 1
    return x, may


def strings(first, last):
    X, Y = zip(*(language(n) for n in range(first, last + 1)), strict=True)
    return list(X), list(Y)


def weights(X):
    """What lets each string count as much as any other."""
    return [1 / len(x) for x in X]


def reach(net):
    """The largest n so that all strings until there are accepted."""
    for first in range(1, FURTHEST + 1, 50):
        X, may = strings(first, first + 49)
        for n, (y, right) in enumerate(zip(net.predict(X), may, strict=True), first):
            if ((y > 0.5) != right).any():
                return n - 1
    return FURTHEST


def run(variant, seed, data=None, quick=False):
    options = dict(VARIANTS[variant].options)
    units = options.pop("units")
    layers = [lc.LSTM(4, units, tokens=True, **options), lc.Dense(units, 4)]
    net = lc.Network(layers, loss="binary_cross_entropy", seed=seed)
    X_held, Y_held = strings(1, 30)
    held_out = lc.Objective(net, X_held, Y_held, sample_weight=weights(X_held), n_threads=1)
    X, Y = strings(1, 10)
    clock = runs.Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)  # of the starts that lead nowhere
        lc.fit(
            net,
            X,
            Y,
            sample_weight=weights(X),
            max_iter=500,
            n_restarts=5 if quick else 20,
            validation_data=held_out,
            seed=seed,
            n_threads=1,
        )
    seconds = clock()
    return {"seconds": seconds, "reach": reach(net)}


def table(results):
    rows = []
    for label, done in results.items():
        reaches = np.array(runs.column(done, "reach"))
        rows.append(
            [
                label,
                f"{(reaches >= 10).sum()} of {len(done)}",
                ", ".join(f"{q:,.0f}" for q in np.quantile(reaches, [0, 0.25, 0.5, 0.75, 1])),
                f"{(reaches == FURTHEST).sum()} of {len(done)}",
                runs.spread(runs.column(done, "seconds"), 1),
            ]
        )
    head = ["", "learnt", "reach: least, quartiles, most", f"reach {FURTHEST:,}", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("counting"))

"""Embedded Reber strings: 30 trials as in Hochreiter & Schmidhuber (1997), experiment 1.

python bench/learning/reber.py [--seeds 30] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

SYMBOLS = "BEPSTVX"
# The grammar of Cleeremans et al. (1989): node -> (symbol, next node); the last has no way on.
GRAMMAR = {
    0: ("T", 1, "P", 2),
    1: ("S", 1, "X", 3),
    2: ("T", 2, "V", 4),
    3: ("X", 2, "S", 5),
    4: ("P", 3, "V", 5),
}


def string(rng):
    """A string, and for each symbol but the last the set of those that may follow."""
    outer = "TP"[rng.integers(2)]
    symbols, follow, node = ["B", outer, "B"], [{"T", "P"}, {"B"}], 0
    while node in GRAMMAR:
        ways = GRAMMAR[node]
        follow.append({ways[0], ways[2]})
        way = 2 * rng.integers(2)
        symbols.append(ways[way])
        node = ways[way + 1]
    symbols += ["E", outer, "E"]
    follow += [{"E"}, {outer}, {"E"}]
    return "".join(symbols), follow


def distinct_strings(rng, n):
    """A dict of n strings and what may follow in each."""
    strings = {}
    while len(strings) < n:
        symbols, follow = string(rng)
        strings[symbols] = follow
    return strings


def tokens(symbols):
    return np.array([SYMBOLS.index(symbol) for symbol in symbols])


def allowed(follow):
    """(T, 7) of bool: which symbols may come next."""
    return np.array([[symbol in may for symbol in SYMBOLS] for may in follow])


def n_wrong(outputs, may):
    """At how many steps a symbol that may not follow is among the most active ones."""
    least = np.where(may, outputs, np.inf).min(axis=1)
    return int((least <= np.where(may, -np.inf, outputs).max(axis=1)).sum())


TITLE = "Embedded Reber strings"
PROTOCOL = """
There are 256 strings to learn from and 256 others. Three such pairs of sets are used, with ten
trials on each. A trial is solved, and ends, when after an epoch the symbols that may come next are
the most active ones at every step of all 512. Presentations count strings, with repetitions.
"""
SEEDS = 30
DATA = None
LEARN = {"batch_size": 4, "learning_rate": 1.5e-2, "max_epochs": 100}
VARIANTS = {
    "LSTM(7, 32), adam": runs.Variant(1, 1, {"units": 32, **LEARN}),
    "LSTM(7, 12), adam": runs.Variant(1, 1, {"units": 12, **LEARN}),
}
PUBLISHED = [
    ["LSTM of 1997, 3 or 4 blocks (published)", "97 to 100 %", "8,440 to 39,740", ""],
]


def run(variant, seed, data=None, quick=False):
    options = dict(VARIANTS[variant].options)
    units = options.pop("units")
    strings = distinct_strings(np.random.default_rng(seed // 10), 512)
    sequences = [tokens(symbols) for symbols in strings]
    X, Y = [s[:-1] for s in sequences], [s[1:] for s in sequences]
    may = np.concatenate([allowed(follow) for follow in strings.values()])
    layers = [lc.LSTM(7, units, tokens=True), lc.Dense(units, 7)]
    net = lc.Network(layers, loss="cross_entropy", dtype="float32", seed=seed)
    wrong = [len(may)]

    def look(_):
        wrong[0] = n_wrong(np.concatenate(net.predict(X, n_threads=1)), may)
        if not wrong[0]:
            raise StopIteration

    clock = runs.Clock()
    result = lc.fit(
        net,
        X[:256],
        Y[:256],
        method="adam",
        callback=look,
        seed=seed,
        n_threads=1,
        **options,
    )
    return {
        "seconds": clock(),
        "solved": wrong[0] == 0,
        "presentations": result.nit * 256,
    }


def table(results):
    rows = []
    for label, done in results.items():
        solved = [r for r in done if r["solved"]]
        presentations, seconds = (
            [r[name] for r in solved] or [np.nan] for name in ("presentations", "seconds")
        )
        rows.append(
            [
                label,
                f"{len(solved)} of {len(done)}",
                f"{np.mean(presentations):,.0f}, at most {max(presentations):,.0f}",
                f"{np.mean(seconds):.2f}, at most {max(seconds):.2f}",
            ]
        )
    return runs.markdown(["", "solved", "presentations", "s"], rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("reber"))

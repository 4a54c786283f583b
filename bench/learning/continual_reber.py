"""Embedded Reber strings one after the other, without a reset: Gers et al. (2000).

python bench/learning/continual_reber.py [--seeds 10] [--jobs 2] [--quick]
"""

import numpy as np
import reber
import runs

import lstmcore as lc

TITLE = "Continual embedded Reber strings"
PROTOCOL = """
A stream of embedded Reber strings is read, and at each step the network must say the symbols that
may come next. An error is an output that is 0.49 or more off. There are 150 streams of 20 strings
to learn from, by adam, and the state is zero where a stream begins. The parameters that are kept
are those of the lowest loss on 20 streams of 200 strings. The test is ten other streams of 100,000
symbols. A net is perfect if it makes no error in any of them, and good if the ten streams go on for
more than 1,000 symbols in the mean before the first error. The cells are 4 blocks of 2.
"""
SEEDS = 10
DATA = None
TOLERANCE = 0.49
VARIANTS = {
    "forget gate": runs.Variant(9, 5, {}),
    "forget gate, peepholes": runs.Variant(9, 5, {"peepholes": True}),
    "coupled": runs.Variant(9, 5, {"coupled": True}),
}
PUBLISHED = [
    ["forget gate (published)", "18 %", "", "", ""],
    ["forget gate, decaying learning rate (published)", "62 %", "", "", ""],
]


def stream(rng, n_strings=None, n_symbols=None):
    """Tokens (T,), the symbols that may follow each (T, 7), and where strings begin (T,) of bool.

    Of so many strings, or cut off after so many symbols.
    """
    x, may, begins = [], [], []
    count = 0
    while len(begins) < n_strings if n_symbols is None else count < n_symbols:
        symbols, follow = reber.string(rng)
        x.append(reber.tokens(symbols))
        may.append(reber.allowed([*follow, {"B"}]))
        begins.append(np.arange(len(symbols)) == 0)
        count += len(symbols)
    return tuple(np.concatenate(part)[:n_symbols] for part in (x, may, begins))


def first_errors(outputs, may):
    """For each stream, how many symbols come before the first error, or all of them."""
    counts = []
    for y, right in zip(outputs, may, strict=True):
        wrong = (abs(y - right) >= TOLERANCE).any(axis=1)
        counts.append(int(wrong.argmax()) if wrong.any() else len(wrong))
    return counts


def streams(rng, n, n_strings):
    """n streams of so many strings: tokens, and what may follow as targets."""
    X, may, _ = zip(*(stream(rng, n_strings=n_strings) for _ in range(n)), strict=True)
    return list(X), [right.astype(float) for right in may]


def test_streams(rng, n_symbols):
    """Ten streams: tokens, what may follow, where strings begin."""
    return [stream(rng, n_symbols=n_symbols) for _ in range(10)]


def network(seed, **options):
    layers = [lc.LSTM(7, 8, block_size=2, tokens=True, **options), lc.Dense(8, 7)]
    return lc.Network(layers, loss="binary_cross_entropy", seed=seed)


def learn(net, rng, seed, epochs, resets=False):
    """Train on 150 streams of 20 strings, or with resets on 3,000 strings, 20 at a time."""
    n, n_strings = (3000, 1) if resets else (150, 20)
    n_held, n_strings_held = (4000, 1) if resets else (20, 200)
    return lc.fit(
        net,
        *streams(rng, n, n_strings),
        method="adam",
        batch_size=n // 150,
        max_epochs=epochs,
        learning_rate=lc.optimizers.Cosine(1e-2),
        clip_norm=1.0,
        validation_data=streams(rng, n_held, n_strings_held),
        seed=seed,
        n_threads=1,
    )


def run(variant, seed, data=None, quick=False):
    rng = np.random.default_rng(seed)
    net = network(seed, **VARIANTS[variant].options)
    clock = runs.Clock()
    learn(net, rng, seed, 60 if quick else 200)
    seconds = clock()
    X, may, _ = zip(*test_streams(rng, 10_000 if quick else 100_000), strict=True)
    errors = first_errors(net.predict(np.array(X), n_threads=1), may)
    return {
        "seconds": seconds,
        "symbols": float(np.mean(errors)),
        "perfect": min(errors) == len(X[0]),
    }


def table(results):
    rows = []
    for label, done in results.items():
        symbols = runs.column(done, "symbols")
        rows.append(
            [
                label,
                f"{sum(runs.column(done, 'perfect'))} of {len(done)}",
                f"{sum(count > 1000 for count in symbols)} of {len(done)}",
                f"{np.median(symbols):,.0f} ({min(symbols):,.0f} to {max(symbols):,.0f})",
                runs.spread(runs.column(done, "seconds"), 1),
            ]
        )
    head = ["", "perfect", "good", "symbols before the first error: median (least, most)", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("continual_reber"))

"""Why forget gates? Continual embedded Reber strings with, without and with half a forget gate.

python bench/learning/forget_gates.py [--seeds 20] [--jobs 2] [--quick]
"""

import continual_reber as continual
import numpy as np
import reber
import runs

TITLE = "Forget gates: embedded Reber strings without an end"
PROTOCOL = """
Data, training and test are those of `bench/learning/continual_reber.py`, with ten test streams of
100,000 symbols without a reset. In the last row the state is reset where a string begins, in
training and test, which somebody from outside has to do. The outer symbols are the last but one of
each string, T or P, which only the beginning of the string tells. |c| is the largest state of a
cell at the end of the test. Shares of nets are given with their 95 % interval (Wilson).
"""
SEEDS = 20
DATA = None
VARIANTS = {
    "forget gate": runs.Variant(9, 5, {}),
    "forget gate = 1 - input gate": runs.Variant(9, 5, {"coupled": True}),
    "no forget gate (1997)": runs.Variant(9, 5, {"forget_gate": False}),
    "no forget gate, but resets": runs.Variant(9, 5, {"forget_gate": False, "resets": True}),
}


def cut(values, begins):
    """A stream as its strings; what comes before the first beginning is one, too."""
    return np.split(values, np.flatnonzero(begins)[1:])


def outer_right(y, x, begins):
    """How many outer symbols of a stream are forecast right, and how many there are.

    After the last but two symbols of a string T or P follows, whichever was its second symbol.
    """
    starts = np.flatnonzero(begins)
    at, outer = starts[1:] - 3, x[starts[:-1] + 1]
    T, P = map(reber.SYMBOLS.index, "TP")
    return int(((y[at, T] > y[at, P]) == (outer == T)).sum()), len(at)


def run(variant, seed, data=None, quick=False):
    options = dict(VARIANTS[variant].options)
    resets = options.pop("resets", False)
    rng = np.random.default_rng(seed)
    net = continual.network(seed, **options)
    clock = runs.Clock()
    continual.learn(net, rng, seed, 60 if quick else 200, resets)
    seconds = clock()
    counts, right, outer, largest = [], 0, 0, 0.0
    for x, may, begins in continual.test_streams(rng, 10_000 if quick else 100_000):
        if resets:
            y, state = net.predict(cut(x, begins), return_state=True, n_threads=1)
            y = np.concatenate(y)
        else:
            y, state = net.predict(x[None], return_state=True, n_threads=1)
            y = y[0]
        counts += continual.first_errors([y], [may])
        more_right, more = outer_right(y, x, begins)
        right, outer = right + more_right, outer + more
        largest = max(largest, abs(state[0][1]).max())
    return {
        "seconds": seconds,
        "symbols": float(np.mean(counts)),
        "perfect": min(counts) == len(x),
        "outer": 100 * right / outer,
        "largest": float(largest),
    }


def table(results):
    rows = []
    for label, done in results.items():
        symbols, outer = runs.column(done, "symbols"), runs.column(done, "outer")
        largest = runs.column(done, "largest")
        rows.append(
            [
                label,
                runs.share(sum(runs.column(done, "perfect")), len(done)),
                runs.share(sum(count > 1000 for count in symbols), len(done)),
                f"{np.median(symbols):,.0f} ({min(symbols):,.0f} to {max(symbols):,.0f})",
                f"{np.median(outer):.2f} ({min(outer):.2f} to {max(outer):.2f})",
                f"{np.median(largest):,.1f} ({min(largest):,.1f} to {max(largest):,.1f})",
            ]
        )
    head = [
        "",
        "perfect",
        "good",
        "symbols before the first error: median (least, most)",
        "outer symbols right, %: median (least, most)",
        "abs c: median (least, most)",
    ]
    return runs.markdown(head, rows)


if __name__ == "__main__":
    raise SystemExit(runs.main("forget_gates"))

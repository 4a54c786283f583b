"""One bit kept for 100 steps by a tanh RNN: L-BFGS, Adam, Hessian-free.

python bench/learning/one_bit.py [--seeds 10] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "One bit kept for 100 steps by a tanh RNN"
PROTOCOL = """
100 random bits are read, and the network, an RNN(1, 100), must say the first one at the end. There
are 1,000 sequences to learn from (300 with hessian-free, whose steps are long), and 2,000 others
are the test. The run ends when the loss on 500 others is below 0.001, or after 60 s.
"""
SEEDS = 10
DATA = None
T = 100
ADAM = {"method": "adam", "batch_size": 32, "learning_rate": 1e-3, "clip_norm": 1.0}
LBFGS = {"method": "L-BFGS-B"}
HESSIAN_FREE = {"method": "hessian-free", "max_iter": 200, "sequences": 300}
LIMIT = 60  # seconds
VARIANTS = {
    "orthogonal start, L-BFGS": runs.Variant(10, 4, {**LBFGS, "max_iter": 200}),
    "orthogonal start, adam": runs.Variant(5, 4, {**ADAM, "max_epochs": 60}),
    "start U(-0.2, 0.2), L-BFGS": runs.Variant(
        10, 4, {**LBFGS, "max_iter": 200, "start": ("uniform", 0.2)}
    ),
    "start U(-0.2, 0.2), adam": runs.Variant(
        5, 4, {**ADAM, "max_epochs": 60, "start": ("uniform", 0.2)}
    ),
    "orthogonal start, hessian-free": runs.Variant(65, 12, HESSIAN_FREE, seeds=3),
    "start U(-0.2, 0.2), hessian-free": runs.Variant(
        65, 12, {**HESSIAN_FREE, "start": ("uniform", 0.2)}, seeds=3
    ),
    "all weights U(-0.2, 0.2), hessian-free": runs.Variant(
        65, 12, {**HESSIAN_FREE, "start": ("uniform", 0.2), "everywhere": True}, seeds=3
    ),
}
PUBLISHED = [["Hessian-free, theano-hf (published)", "0.0", "", "4 cores for 8 hours"]]


def sequences(rng, n):
    """(n, T, 1) of bits as -1 and 1, and the first of each as 0 or 1."""
    bits = rng.integers(0, 2, (n, T))
    return 2.0 * bits[:, :, None] - 1.0, bits[:, 0].astype(float)


def run(variant, seed, data=None, quick=False):
    options = dict(VARIANTS[variant].options)
    start = options.pop("start", "orthogonal")
    n, everywhere = options.pop("sequences", 1000), options.pop("everywhere", False)
    if options["method"] == "adam":
        options["seed"] = seed
    rng = np.random.default_rng(seed)
    sizes = 200 if quick else n, 500, 2000
    learn, held_out, test = (sequences(rng, size) for size in sizes)
    starts = {"R_start": start, **({"W_start": start} if everywhere else {})}
    net = lc.Network(
        [lc.RNN(1, 100, **starts), lc.Dense(100, 1)],
        loss="binary_cross_entropy",
        readout="last",
        seed=seed,
    )
    if everywhere:
        bound = start[1]
        net.blocks["1.W"][...] = np.random.default_rng(seed).uniform(-bound, bound, (1, 100))

    limit = 8 if quick else LIMIT

    def stop(now):
        if now.validation_loss < 1e-3 or clock() > limit:
            raise StopIteration

    clock = runs.Clock()
    result = lc.fit(net, *learn, validation_data=held_out, callback=stop, n_threads=1, **options)
    seconds = clock()
    wrong = (net.predict(test[0], n_threads=1)[:, 0] > 0.5) != test[1]
    return {"seconds": seconds, "error": float(100 * wrong.mean()), "evaluations": result.nfev}


def table(results):
    rows = []
    for label, done in results.items():
        errors = sorted(runs.column(done, "error"))
        rows.append(
            [
                label,
                ", ".join(f"{error:.1f}" for error in errors),
                f"{sum(error == 0 for error in errors)} of {len(done)}",
                runs.spread(runs.column(done, "seconds"), 1),
            ]
        )
    return runs.markdown(["", "wrong, %, each seed", "none wrong", "s"], rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("one_bit"))

"""What a call of an `Objective` costs beside its kernels, where calls are short.

    python bench/objective.py

"Kernels" is the compiled part alone: weights packed, forward, loss, BPTT, gradient unpacked. The
rest is Python: checks of the parameters, the choice of threads, memory, the penalty. One thread,
medians of calls taken in turn; the value is first compared with `Network.evaluate`.
"""

from time import perf_counter

import numpy as np

import lstmcore as lc

CASES = (
    # inputs, units, outputs, loss, B, T
    (2, 6, 1, "squared_error", 1, 20),
    (2, 6, 1, "squared_error", 32, 20),
    (8, 32, 3, "cross_entropy", 32, 50),
)
ROUNDS, SECONDS = 31, 0.02


def seconds(call, count):
    begin = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - begin) / count


def case(I, H, K, loss, B, T):
    rng = np.random.default_rng(0)
    net = lc.Network([lc.LSTM(I, H), lc.Dense(H, K)], loss, seed=0)
    Y = rng.integers(0, K, (B, T)) if loss == "cross_entropy" else rng.standard_normal((B, T, K))
    objective = lc.Objective(net, rng.standard_normal((B, T, I)), Y, n_threads=1)
    theta = net.params.copy()
    f, g = objective(theta)
    f_wanted, g_wanted = net.evaluate(None, objective.examples, n_threads=1)
    assert f == f_wanted and (g == g_wanted).all(), "the compiled call differs"

    plain = net.passes.plain_objective(objective.examples)
    memory, scale = {}, objective.examples.scale

    def take(n):
        return memory.setdefault(n, np.empty(n))

    def kernels():
        plain(theta, scale, g, [1, 1], 1, take)

    calls = [lambda: objective(theta), kernels]
    counts = [max(int(SECONDS / seconds(call, 10)), 1) for call in calls]
    times = np.median(
        [
            [seconds(call, count) for call, count in zip(calls, counts, strict=True)]
            for _ in range(ROUNDS)
        ],
        axis=0,
    )
    whole, part = 1e6 * times
    name = f"LSTM({I}, {H}), Dense({H}, {K}), {loss}, B={B} T={T}"
    print(f"{name:58} {whole:9.1f} us, kernels {part:9.1f} us, ratio {whole / part:.2f}")


if __name__ == "__main__":
    for arguments in CASES:
        case(*arguments)

"""What products with curvature cost: G v, H v, J v and Jᵀ u, in gradients.

    python bench/curvature.py

One thread; medians of calls taken in turn. Before a case is timed, its products are compared with
differences of the sixth order ("error" is the largest, relative), and G is held to be symmetric.
"first" is G v at a θ where nothing has been computed yet. A gradient is a call of the objective, of
the network's dtype, while products are of float64.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from time import perf_counter

import numpy as np

import lstmcore as lc

CASES = (
    # name, layers, loss, readout, dtype, B, T, checkpoint
    ("tiny", [lc.LSTM(2, 6), lc.Dense(6, 1)], "squared_error", "all", "float64", 8, 20, None),
    ("small", [lc.LSTM(8, 32), lc.Dense(32, 3)], "squared_error", "all", "float64", 32, 50, None),
    (
        "vowels",
        [lc.LSTM(12, 32, bidirectional=True), lc.Dense(64, 9)],
        "cross_entropy",
        "mean",
        "float64",
        270,
        16,
        None,
    ),
    (
        "chorales",
        [lc.LSTM(88, 100, peepholes=True), lc.Dense(100, 88)],
        "binary_cross_entropy",
        "all",
        "float64",
        76,
        60,
        None,
    ),
    (
        "stack",
        [lc.GRU(8, 64), lc.GRU(64, 64), lc.Dense(64, 4)],
        "squared_error",
        "last",
        "float64",
        16,
        100,
    ),
    ("long", [lc.LSTM(2, 40), lc.Dense(40, 1)], "squared_error", "all", "float64", 16, 1000, True),
    ("float32", [lc.LSTM(8, 32), lc.Dense(32, 3)], "squared_error", "all", "float32", 32, 50),
)
ROUNDS, SECONDS = 15, 0.05
STENCIL = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))


def make(layers, loss, readout, dtype, B, T, checkpoint=None):
    rng = np.random.default_rng(0)
    net = lc.Network(layers, loss, readout, dtype, seed=0)
    K, steps = net.output_size, (B, T) if readout == "all" else (B,)
    Y = {
        "cross_entropy": lambda: rng.integers(0, K, steps),
        "binary_cross_entropy": lambda: rng.integers(0, 2, (*steps, K)),
    }.get(loss, lambda: rng.standard_normal((*steps, K)))()
    X = rng.standard_normal((B, T, net.input_size))
    return lc.Objective(net, X, Y, l2=1e-3, checkpoint=checkpoint, n_threads=1)


def exact(function, theta, v, step=3e-4):
    """The derivative in the direction v, to about 1e-11."""
    step /= np.abs(v).max()
    sides = (
        weight * (function(theta + k * step * v) - function(theta - k * step * v))
        for k, weight in STENCIL
    )
    return sum(sides) / step


def difference(got, wanted):
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def check(objective, theta, u, v):
    """The largest relative error of the products; of float32 the gradient is not exact enough."""
    net, examples = objective.net.exact(objective.examples)
    twin = lc.Objective(net, examples, l2=objective.l2, n_threads=1)
    H = difference(objective.hessp(theta, v), exact(twin.grad, theta, v))
    a_dot = exact(lambda theta: net.passes.outputs(theta, examples, None, 1), theta, v)
    product = net.passes.curvature(net.passes.outputs(theta, examples, None, 1), examples)
    wanted = net.passes.pull(theta, examples, product(a_dot), None, 1)
    for part in net.weight_slices:
        wanted[part] += objective.l2 * v[part]
    G = objective.gauss_newton(theta, v)
    asymmetry = abs(u @ G - v @ objective.gauss_newton(theta, u)) / np.linalg.norm(u)
    errors = [H, difference(G, wanted), asymmetry / np.linalg.norm(G)]
    assert max(errors) < 1e-7, errors
    return max(errors)


def seconds(call, count=1):
    begin = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - begin) / count


def case(name, layers, loss, readout, dtype, B, T, checkpoint=None):
    objective = make(layers, loss, readout, dtype, B, T, checkpoint)
    rng = np.random.default_rng(1)
    theta = objective.net.params.astype(np.float64)
    u, v = rng.standard_normal((2, theta.size))
    error = check(objective, theta, u, v)
    point = objective._products().at(theta)
    rows = rng.standard_normal(point.a.shape)
    moved = [theta, theta + 1e-3]

    def first():
        moved.reverse()
        objective.gauss_newton(moved[0], v)

    calls = {
        "gradient": lambda: objective(theta),
        "G v": lambda: objective.gauss_newton(theta, v),
        "H v": lambda: objective.hessp(theta, v),
        "J v": lambda: point.push(v),
        "J'u": lambda: point.pull(rows),
        "value": lambda: objective.fun(theta),
    }
    counts = {name: max(int(SECONDS / seconds(call)), 1) for name, call in calls.items()}
    times = {name: [] for name in (*calls, "first")}
    for _ in range(ROUNDS):
        for key, call in calls.items():
            times[key].append(seconds(call, counts[key]))
        times["first"].append(seconds(first, 2))
    times = {key: np.median(column) for key, column in times.items()}
    gradient = times.pop("gradient")
    ratios = "  ".join(f"{key} {time / gradient:.2f}" for key, time in times.items())
    print(f"{name:9} P={theta.size:6} {1e3 * gradient:7.2f} ms  {ratios}  error {error:.0e}")


if __name__ == "__main__":
    for arguments in CASES:
        case(*arguments)

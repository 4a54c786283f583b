"""Seconds until a result is there: lstmcore, PyTorch and SciPy with PyTorch's gradients.

python bench/learning/time_to_result.py JSB_Chorales.mat [--picture FILE] [--seeds 3] [--jobs 2]
"""

from contextlib import suppress
from importlib import import_module
from statistics import median

import chorales
import numpy as np
import reber
import runs
import vowels

import lstmcore as lc

TITLE = "Time to a result"
PROTOCOL = """
The table has the seconds of one thread until the result is there, as the median over the seeds.
Every library has the same network, the same data and a start of the same distribution. Chorales:
LSTM(88, 100), until the validation loss is 8.45 nats a frame, computed after every epoch. Vowels:
BLSTM(24, 32), until the objective (l2 = 3e-3) is 0.0365. Reber: LSTM(7, 32), until all 512 strings
are forecast without an error. Where the result is never reached, the time is that for which it was
tried. PyTorch pads the sequences, because its packed sequences are slower. What PyTorch does once,
at the first step of a process, is not counted.
"""
SEEDS = 10
DATA = "chorales"
TARGETS = {"chorales": 8.45, "vowels": 0.0365, "Reber": 0.0}
LIMITS = {"chorales": 60.0, "vowels": 40.0, "Reber": 20.0}
ADAM = {"method": "adam"}
VARIANTS = {
    f"{task}: {by}": runs.Variant(seconds, quick, {"task": task, "by": by}, seeds)
    for task, by, seconds, quick, seeds in (
        ("chorales", "lstmcore, adam", 5, 6, 3),
        ("chorales", "torch, Adam", 30, 12, 3),
        ("chorales", "SciPy's L-BFGS, torch's gradients", 65, 12, 3),
        ("vowels", "lstmcore, rprop", 2, 5, 3),
        ("vowels", "lstmcore, L-BFGS", 6, 10, 3),
        ("vowels", "torch, Rprop", 5, 10, 3),
        ("vowels", "torch, LBFGS", 30, 10, 3),
        ("vowels", "SciPy's L-BFGS, torch's gradients", 40, 10, 3),
        ("Reber", "lstmcore, adam", 2, 2, 10),
        ("Reber", "torch, Adam", 10, 10, 10),
        ("Reber", "SciPy's L-BFGS from several starts, torch's gradients", 20, 10, 3),
    )
}
NOISE = {"chorales": 0.1, "vowels": 0.0, "Reber": 0.0}
RATE = {"chorales": 3e-3, "vowels": 5e-3, "Reber": 1.5e-2}
CLIP = 5.0
BATCH = {"chorales": 2, "Reber": 4}


class Reached(Exception):
    """The result is there, or the time is over."""


class Watch:
    """The value against time, until it is low enough or the time is over."""

    def __init__(self, target, limit):
        self._clock, self._target, self._limit = runs.Clock(), target, limit
        self.curve = []

    def __call__(self, value):
        self.curve.append((round(self._clock(), 3), float(value)))
        if value <= self._target or self.curve[-1][0] > self._limit:
            raise Reached


class Problem:
    """The data of a task, the form of its network, and the value that is watched."""

    def __init__(self, task, seed, data):
        self.task, self.seed = task, seed
        self.l2, self.bidirectional, self.binary = 0.0, False, False
        if task == "chorales":
            pieces = chorales.chorales(data)
            self.sizes, self.binary = (chorales.KEYS, 100, chorales.KEYS), True
            self.learn = chorales.forecasts(pieces["train"])
            self.held_out = chorales.forecasts(pieces["valid"])
        elif task == "vowels":
            raw = vowels.load_japanese_vowels()
            X = vowels.features(raw.X_train)
            X = lc.Scaler().fit(X).transform(X)
            self.sizes, self.bidirectional, self.l2 = (24, 32, vowels.SPEAKERS), True, 3e-3
            self.learn = X, [np.full(len(x), y) for x, y in zip(X, raw.y_train, strict=True)]
        else:
            strings = reber.distinct_strings(np.random.default_rng(seed), 512)
            self.sizes = 7, 32, 7
            codes = [reber.tokens(symbols) for symbols in strings]
            self.X = [np.eye(7)[code[:-1]] for code in codes]
            self.learn = self.X[:256], [code[1:] for code in codes[:256]]
            self.may = np.concatenate([reber.allowed(follow) for follow in strings.values()])


def lstmcore_net(problem, dtype, seed):
    inputs, units, outputs = problem.sizes
    width = units * (2 if problem.bidirectional else 1)
    return lc.Network(
        [lc.LSTM(inputs, units, bidirectional=problem.bidirectional), lc.Dense(width, outputs)],
        loss="binary_cross_entropy" if problem.binary else "cross_entropy",
        dtype=dtype,
        seed=seed,
    )


def by_lstmcore(problem, method, watch):
    task, seed = problem.task, problem.seed
    net = lstmcore_net(problem, "float64" if method == "L-BFGS" else "float32", seed)
    objective = lc.Objective(net, *problem.learn, l2=problem.l2, n_threads=1)
    options = {"method": method, "max_epochs": 10**6}
    if method == "L-BFGS":
        options = {"method": "L-BFGS-B", "max_iter": 10**6, "tol": 0.0}
    elif method == "adam":
        options |= {
            "batch_size": BATCH[task],
            "learning_rate": RATE[task],
            "clip_norm": CLIP,
            "weight_noise": NOISE[task],
            "seed": seed,
        }
    if task == "chorales":
        held_out = lc.Objective(net, *problem.held_out, n_threads=1)

        def look(now):
            watch(held_out.fun(now.x))
    elif task == "vowels":

        def look(now):
            watch(now.fun)
    else:

        def look(now):
            outputs = np.concatenate(net.predict(problem.X, n_threads=1))
            watch(reber.n_wrong(outputs, problem.may))

    lc.minimize(objective, callback=look, **options)


def by_torch(problem, method, watch):
    """Its own methods."""
    import torch
    from torch_peer import batch_of

    task = problem.task
    peer = torch_net(problem, torch.float32, problem.seed)
    look = torch_look(problem, peer, watch)
    if method == "Adam":
        adam = torch.optim.Adam(peer.parameters, lr=RATE[task])
        rng = np.random.default_rng(problem.seed)
        X, Y = problem.learn
        while True:
            order = rng.permutation(len(X))
            for k in range(0, len(X), BATCH[task]):
                members = order[k : k + BATCH[task]]
                batch = batch_of([X[b] for b in members], [Y[b] for b in members], peer.dtype)
                peer.step(adam, batch, sigma=NOISE[task], clip_norm=CLIP)
            look(None)
    batch = batch_of(*problem.learn, peer.dtype)
    if method == "Rprop":
        rprop = torch.optim.Rprop(peer.parameters, lr=1e-2)
        while True:
            look(peer.step(rprop, batch))
    lbfgs = torch.optim.LBFGS(
        peer.parameters,
        max_iter=1,
        max_eval=25,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure():
        lbfgs.zero_grad()
        value = peer.objective(batch)
        value.backward()
        return value

    while True:
        look(lbfgs.step(closure).item())


def by_scipy(problem, method, watch):
    """L-BFGS over PyTorch's gradients; again from another start where it has converged."""
    import torch
    from scipy.optimize import minimize
    from torch_peer import batch_of

    for start in range(10**6):
        peer = torch_net(problem, torch.float64, problem.seed + 1000 * start)
        look = torch_look(problem, peer, watch)
        batch = batch_of(*problem.learn, peer.dtype)

        minimize(
            peer.value_and_gradient,
            peer.vector(),
            args=(batch,),
            jac=True,
            method="L-BFGS-B",
            callback=looking(peer, look),
            options={"maxiter": 10**6, "maxfun": 10**6},
        )


def looking(peer, look):
    """What SciPy calls with the point and the value of each iteration."""

    def callback(intermediate_result):
        peer.at(intermediate_result.x)
        look(intermediate_result.fun)

    return callback


def torch_net(problem, dtype, seed):
    from torch_peer import Peer

    inputs, units, outputs = problem.sizes
    return Peer(
        inputs,
        units,
        outputs,
        bidirectional=problem.bidirectional,
        l2=problem.l2,
        binary=problem.binary,
        dtype=dtype,
        seed=seed,
    )


def torch_look(problem, peer, watch):
    """A function of the objective's value, where it is known, that looks at what is watched."""
    import torch
    from torch_peer import batch_of

    if problem.task == "vowels":
        return watch
    if problem.task == "chorales":
        held_out = batch_of(*problem.held_out, peer.dtype)
        return lambda _: watch(peer.value(held_out))
    everything = batch_of(problem.X, problem.X, peer.dtype)

    @torch.no_grad()
    def look(_):
        watch(reber.n_wrong(peer.logits(everything).numpy(), problem.may))

    return look


def run(variant, seed, data, quick=False):
    options = VARIANTS[variant].options
    task = options["task"]
    who, _, method = options["by"].partition(", ")
    drive = {"lstmcore": by_lstmcore, "torch": by_torch}.get(who, by_scipy)
    problem = Problem(task, seed, data)
    import_module("scipy.optimize")  # now, so that no clock counts it
    if who != "lstmcore":
        import_module("torch_peer").warm_up()
    watch = Watch(TARGETS[task], 5.0 if quick else LIMITS[task])
    with suppress(Reached):
        drive(problem, method, watch)
    seconds, value = watch.curve[-1]
    return {"seconds": seconds, "reached": value <= TARGETS[task], "curve": watch.curve}


def table(results):
    rows = []
    ours = {}
    for label, done in results.items():
        task, _, by = label.partition(": ")
        seconds = runs.column(done, "seconds")
        reached = sum(runs.column(done, "reached"))
        typical = median(seconds)
        if by.startswith("lstmcore") and reached == len(done):
            ours[task] = min(typical, ours.get(task, np.inf))
        rows.append([task, by, f"{reached} of {len(done)}", seconds, typical])
    lines = []
    for task, by, reached, seconds, typical in rows:
        more = "" if int(reached.split()[0]) == len(seconds) else "more than "
        ratio = f"{more}{typical / ours[task]:.1f}" if task in ours else ""
        lines.append(
            [
                f"{task}: {by}",
                reached,
                f"{digits(typical)} ({digits(min(seconds))} to {digits(max(seconds))})",
                ratio,
            ]
        )
    return runs.markdown(["", "reached", "s: median (least, most)", "times lstmcore's best"], lines)


def digits(seconds):
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2f}"


def picture(results, path):
    """The value against seconds for each task, all seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    units = {
        "chorales": "validation loss, nats a frame",
        "vowels": "objective",
        "Reber": "steps with an error",
    }
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for task, axis in zip(units, axes, strict=True):
        own = [label for label in results if label.startswith(f"{task}: ")]
        for color, label in enumerate(own):
            for k, done in enumerate(results[label]):
                times, values = np.array(done["curve"]).T
                axis.plot(
                    times,
                    np.maximum(values, 0.5) if task == "Reber" else values,
                    color=f"C{color}",
                    alpha=0.8,
                    label=label.partition(": ")[2] if k == 0 else None,
                )
        if task != "Reber":
            axis.axhline(TARGETS[task], color="black", lw=0.8, ls=":")
        axis.set(xscale="log", title=task, xlabel="seconds of one thread", ylabel=units[task])
        axis.set_yscale("linear" if task == "chorales" else "log")
        if task == "chorales":
            axis.set_ylim(8.3, 12)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    raise SystemExit(runs.main("time_to_result"))

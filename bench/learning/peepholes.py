"""Why peepholes, and what should the output gate see? Timing tasks of Gers et al. (2002).

python bench/learning/peepholes.py [--seeds 100] [--jobs 2] [--quick]
"""

import warnings

import numpy as np
import runs

import lstmcore as lc

TITLE = "Peepholes: measuring and producing times"
PROTOCOL = """
The tasks are those of Gers, Schraudolph & Schmidhuber (2002). *Measure*: spikes are read that are
10 or 11 steps apart, and at each spike the network must say which; it learns from 20 trains of 20
spikes and is tested on 100 trains of 20. *Spikes*: nothing is read, and a spike must be produced
every 6 steps; the network learns from 60 steps and is tested on 600. *Wave*: nothing is read, and a
cosine of period 10 must be produced; the network learns from 50 steps, and has solved the task with
a root mean square error below 0.1 over 500. There is one cell for the first task and two for the
others, cell and output activation are linear, and the initial state is learnt. A start draws every
parameter from N(0, 1) and is a run of L-BFGS of at most 300 iterations; there are ten starts a
seed. Shares of starts that end in a solution are given with their 95 % interval (Wilson).
"""
SEEDS = 100
DATA = None
GATES = {
    "none": {},
    "input and forget gate": {"peepholes": True, "output_peephole": None},
    "all, output gate sees c(t-1)": {"peepholes": True, "output_peephole": "before"},
    "all, output gate sees c(t)": {"peepholes": True},
}
STARTS = 10  # of a seed
TASKS = {"measure": 0.9, "spikes": 0.7, "wave": 0.5}  # seconds
VARIANTS = {
    f"{task}: {gates}": runs.Variant(seconds, seconds / 2, {"task": task, "gates": gates})
    for task, seconds in TASKS.items()
    for gates in GATES
}


def spike_trains(rng, n, n_spikes, gap=10):
    """Inputs (T, 1), targets (T, 1), and weights (T,), which are 1 at all spikes but the first."""
    X, Y, weights = [], [], []
    for _ in range(n):
        longer = rng.integers(0, 2, n_spikes - 1)
        at = np.concatenate([[0], np.cumsum(gap + longer)])
        x, y, w = np.zeros((at[-1] + 1, 1)), np.zeros((at[-1] + 1, 1)), np.zeros(at[-1] + 1)
        x[at] = 1.0
        y[at[1:], 0] = longer
        w[at[1:]] = 1.0
        X.append(x)
        Y.append(y)
        weights.append(w)
    return X, Y, weights


def silence(T):
    return [np.zeros((T, 1))]


def spikes(T, period=6):
    y = np.zeros((T, 1))
    y[period - 1 :: period] = 1.0
    return [y]


def wave(T, period=10):
    return [np.cos(2 * np.pi * np.arange(1, T + 1) / period)[:, None]]


def network(gates, units, loss):
    return lc.Network(
        [
            lc.LSTM(
                1,
                units,
                cell_activation="identity",
                output_activation="identity",
                learn_initial_state=True,
                **GATES[gates],
            ),
            lc.Dense(units, 1),
        ],
        loss=loss,
    )


def solved(net, task, rng):
    if task == "measure":
        X, Y, weights = spike_trains(rng, 100, 20)
        outputs = net.predict(X, n_threads=1)
        return all(
            (((y > 0.5) == z)[w > 0]).all() for y, z, w in zip(outputs, Y, weights, strict=True)
        )
    if task == "spikes":
        y, right = net.predict(silence(600), n_threads=1)[0], spikes(600)[0]
        return bool(((y > 0.5) == right).all())
    error = net.predict(silence(500), n_threads=1)[0] - wave(500)[0]
    return bool(np.sqrt(np.mean(error**2)) < 0.1)


def objective_of(task, net, rng):
    if task == "measure":
        X, Y, weights = spike_trains(rng, 20, 20)
        return lc.Objective(net, X, Y, step_weight=weights, n_threads=1)
    X, Y = (silence(60), spikes(60)) if task == "spikes" else (silence(50), wave(50))
    return lc.Objective(net, X, Y, n_threads=1)


def run(variant, seed, data=None, quick=False):
    task, gates = VARIANTS[variant].options.values()
    rng = np.random.default_rng(seed)
    loss = "squared_error" if task == "wave" else "binary_cross_entropy"
    net = network(gates, 1 if task == "measure" else 2, loss)
    objective = objective_of(task, net, rng)
    n_starts = 5 if quick else STARTS
    clock = runs.Clock()
    n_solved = 0
    for _ in range(n_starts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)  # starts that lead nowhere count
            lc.minimize(objective, x0=rng.standard_normal(len(net.params)), max_iter=300)
        n_solved += solved(net, task, rng)
    return {
        "seconds": clock() / n_starts,
        "starts": n_starts,
        "solved": n_solved,
        "parameters": len(net.params),
    }


def table(results):
    rows = []
    for label, done in results.items():
        n_solved, n_starts = sum(runs.column(done, "solved")), sum(runs.column(done, "starts"))
        rows.append(
            [
                label,
                str(done[0]["parameters"]),
                runs.share(n_solved, n_starts),
                f"{np.mean(runs.column(done, 'seconds')):.2f}",
            ]
        )
    head = ["task: peepholes", "parameters", "starts that solve it", "s a start"]
    return runs.markdown(head, rows)


if __name__ == "__main__":
    raise SystemExit(runs.main("peepholes"))

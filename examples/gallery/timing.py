"""
Do peepholes help to keep time?
===============================

Peepholes let the gates of an LSTM see the cell's state. They were introduced for tasks where a
network must measure time. Here nothing is read, and the network must produce a cosine of period 10
from its own state. From how many random starts is that learnt, with peepholes and without?
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

STARTS = 40
GATES = {
    "no peepholes": {},
    "input and forget gate": {"peepholes": True, "output_peephole": None},
    "all gates": {"peepholes": True},
}
warnings.simplefilter("ignore", lc.ConvergenceWarning)


def wave(T):
    return np.cos(2 * np.pi * np.arange(1, T + 1) / 10).reshape(1, T, 1)


def error_of_a_start(rng, options):
    """The root mean square error over 500 steps, after training on 50."""
    layer = lc.LSTM(
        1,
        2,
        cell_activation="identity",
        output_activation="identity",
        learn_initial_state=True,
        **options,
    )
    net = lc.Network([layer, lc.Dense(2, 1)])
    net.params = rng.normal(size=net.params.size)
    lc.fit(net, np.zeros((1, 50, 1)), wave(50), max_iter=300, target=1e-5)
    produced = net.predict(np.zeros((1, 500, 1)))
    with np.errstate(over="ignore"):  # some waves grow without bound
        return np.sqrt(np.mean((produced - wave(500)) ** 2))


errors = {}
for name, options in GATES.items():
    rng = np.random.default_rng(0)
    errors[name] = np.sort([error_of_a_start(rng, options) for _ in range(STARTS)])

# %%
# A start solves the task if the root mean square error over 500 steps is below 0.1. The bars are
# shares of starts, with the standard error. The curves show all starts, sorted by their error.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
shares = np.array([(errors[name] < 0.1).mean() for name in GATES])
spread = np.sqrt(shares * (1 - shares) / STARTS)
colors = ["C0", "C1", "C2"]
left.bar(range(3), 100 * shares, yerr=100 * spread, capsize=5, color=colors, alpha=0.7)
left.set(ylabel="starts that solve it, %", xticks=range(3), ylim=(0, 100))
left.set_xticklabels([name.replace(" and ", "\nand ") for name in GATES])
for (name, values), color in zip(errors.items(), colors, strict=True):
    right.semilogy(np.minimum(values, 1e2), ".-", color=color, label=name)
right.axhline(0.1, color="gray", linestyle="--")
right.set(xlabel="start, the best ones first", ylabel="error over 500 steps", ylim=(1e-3, 1e2))
right.legend(loc="upper left")
plt.show()

# %%
# Peepholes are not needed here, and more of them do not make the task easier.
# :doc:`/why_gates` has the same count over 1,000 starts, and the task in which the forget gate
# decides.

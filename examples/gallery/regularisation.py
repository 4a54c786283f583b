"""
Learning noise by heart
=======================

The targets here are noisy. No network can forecast the noise, so no honest loss is below that of
the noise alone. A network with more parameters than its data can fix goes below it all the same on
the sequences that it learns from: it learns the noise by heart, and does worse on all others.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
NOISE = 0.5


def sequences(n):
    """The sine of a running sum, with noise on it."""
    x = rng.normal(size=(n, 40, 1))
    y = np.sin(np.cumsum(x, axis=1) / 2)
    return x, y + NOISE * rng.normal(size=y.shape)


few, others = sequences(15), sequences(200)


def train(**options):
    net = lc.Network([lc.LSTM(1, 32), lc.Dense(32, 1)], dtype="float32", seed=0)
    result = lc.fit(
        net,
        *few,
        method="adam",
        batch_size=5,
        max_epochs=400,
        learning_rate=5e-3,
        clip_norm=1.0,
        validation_data=others,
        seed=0,
        **options,
    )
    return result.history


# %%
# The loss that is shown on the left is the one that is minimized, with the penalty, or of the
# network with noise on its weights. On the right is always the plain loss of the plain network.

RUNS = {
    "nothing": {},
    "weight noise": {"weight_noise": 0.1},
    "recurrent dropout": {"recurrent_dropout": 0.5},
    "penalty": {"l2": 3e-3},
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for name, options in RUNS.items():
    history = train(**options)
    left.semilogy(history["loss"])
    (line,) = right.semilogy(history["validation_loss"], label=name)
    best = history["validation_loss"].argmin()
    right.plot(best, history["validation_loss"][best], "o", color=line.get_color())
for axes in (left, right):
    axes.axhline(NOISE**2 / 2, color="black", linestyle="--", linewidth=1)
    axes.grid(alpha=0.3)
    axes.set(xlabel="epoch")
left.text(400, 0.93 * NOISE**2 / 2, "the noise alone", ha="right", va="top")
left.set(title="15 sequences to learn from", ylabel="loss", ylim=(0.015, 0.8))
right.set(title="200 others")
right.legend(loc="lower left")
plt.show()

# %%
# With ``validation_data`` the parameters at the dots are those that ``fit`` leaves in the network.
# So the best epoch is found in any case. The penalty makes it better, and all three keep what comes
# after it from doing harm.

"""
Labels without places
=====================

A signal has bumps of three forms. Nobody says where they are, only which ones came, in order. CTC
learns from that, and in the end the network knows where they are.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
t = np.linspace(0, 1, 12)
forms = [np.sin(np.pi * t), np.sin(2 * np.pi * t), -np.sin(np.pi * t)]


def signal():
    """One to five bumps of any width, with gaps and noise, and what they are: 1, 2 or 3."""
    labels = rng.integers(1, 4, rng.integers(1, 6))
    parts = [np.zeros(rng.integers(1, 8))]
    for label in labels:
        width = rng.integers(8, 16)
        bump = np.interp(np.linspace(0, 1, width), t, forms[label - 1])
        parts += [rng.uniform(0.7, 1.3) * bump, np.zeros(rng.integers(0, 8))]
    x = np.concatenate(parts)
    return (x + 0.1 * rng.normal(size=len(x)))[:, None], labels


X, Y = map(list, zip(*[signal() for _ in range(300)], strict=True))

# %%
# The network has four outputs, of which 0 is the blank. It sees the signal from both ends.

layers = [lc.LSTM(1, 10, peepholes=True, bidirectional=True), lc.Dense(20, 4)]
net = lc.Network(layers, loss="ctc", seed=0)
result = lc.fit(
    net,
    X[:250],
    Y[:250],
    method="adam",
    batch_size=10,
    learning_rate=lc.optimizers.Cosine(0.03),
    max_epochs=60,
    seed=0,
)
lc.plot_history(result)
plt.show()

# %%
# What it reads in signals that it has not seen, and how far that is from what they say:

for width in (1, 8):
    rate = lc.label_error_rate(lc.decode(net, X[250:], width=width), Y[250:])
    print(f"width {width}: label error rate {100 * rate:.1f} %")

# %%
# Where the labels lie: `alignment` finds the most probable path that says them. Each label is named
# where the network has seen enough of it.

colors = ["C0", "C1", "C2"]
figure, axes = plt.subplots(4, 1, figsize=(9, 8), layout="constrained", sharey=True)
for ax, x, labels, found in zip(
    axes, X[250:], Y[250:], lc.alignment(net, X[250:254], Y[250:254]), strict=False
):
    ax.plot(x, color="0.5")
    for label, start, stop in zip(labels, found.start, found.stop, strict=True):
        ax.axvspan(start - 0.5, stop - 0.5, color=colors[label - 1], alpha=0.4)
        ax.text((start + stop - 1) / 2, 1.5, str(label), ha="center")
    ax.set(ylim=(-1.8, 1.9))
plt.show()

# %%
# What the second of these is read from: most outputs are blank, and the labels are spikes.

plt.figure(figsize=(9, 3), layout="constrained")
for k, name in enumerate(["blank", "1", "2", "3"]):
    plt.plot(net.predict(X[251:252])[0][:, k], label=name, color=["0.7", *colors][k])
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.xlabel("step")
plt.ylabel("output")
plt.show()

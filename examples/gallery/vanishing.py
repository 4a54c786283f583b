"""
The gradient that vanishes
==========================

How much does the output at the end still depend on an input long ago? The derivative of the last
output by each input says so. In a simple network it shrinks by a factor at every step, and so it
does in a gated network whose gates begin half open. An LSTM or a GRU whose gates begin open passes
it on.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

T, H = 200, 32
x = np.random.default_rng(0).normal(size=(20, T, 1))
LAYERS = {
    "RNN": (lc.RNN(1, H), "C3-"),
    "GRU": (lc.GRU(1, H), "C0-"),
    'GRU, update_bias=("chrono", 200)': (lc.GRU(1, H, update_bias=("chrono", T)), "C0--"),
    "LSTM": (lc.LSTM(1, H), "C1-"),
    'LSTM, forget_bias=("chrono", 200)': (lc.LSTM(1, H, forget_bias=("chrono", T)), "C1--"),
}

# %%
# ``vjp`` takes the derivative of anything by the outputs, here by the last one alone, and with
# ``return_dX`` it gives the derivative by the inputs. The mean is over 20 sequences and 5 starts.

figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
for name, (layer, style) in LAYERS.items():
    sizes = []
    for seed in range(5):
        net = lc.Network([layer, lc.Dense(H, 1)], readout="last", seed=seed)
        _, dX = net.vjp(x, np.ones((20, 1)), return_dX=True)
        sizes.append(np.abs(dX[:, :, 0]))
    axes.semilogy(np.arange(T)[::-1], np.mean(sizes, axis=(0, 1)), style, label=name)
axes.set(
    xlabel="steps before the end",
    ylabel="mean size of d output / d input",
    xlim=(T, 0),
    ylim=(1e-12, 1),
)
axes.grid(alpha=0.3)
figure.legend(loc="outside right upper")
plt.show()

# %%
# These are networks before training. Training changes the gates; but where the gradient is 1e-10,
# there is nothing that training could go by. The forget gate of an LSTM begins with a bias of 1,
# which is enough for some tens of steps. :doc:`/guide/methods` says when to ask for more.

"""
What a network does inside
==========================

In each sequence one step is marked. The network is to say at the end what the value was there. What
do its gates do to keep it?
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
X = np.stack([rng.normal(size=(300, 40)), np.zeros((300, 40))], axis=2)
marked = rng.integers(5, 25, size=300)
X[np.arange(300), marked, 1] = 1
y = X[np.arange(300), marked, 0]

net = lc.Network([lc.LSTM(2, 3, forget_bias=2.0), lc.Dense(3, 1)], readout="last", seed=0)
untrained = lc.Network(**net.options, seed=0)
result = lc.fit(net, X, y, validation_split=0.2, max_iter=300, tol=1e-7, seed=0)
lc.plot_history(result)
plt.show()

# %%
# All gates, states and outputs over one sequence; each line is a unit. Where the mark is, one unit
# closes its forget gate, which drops what it held, and opens its input gate. After that its state
# stays as it is.

b = int(np.argmax(y))
lc.plot_gates(net, X[b], title=f"The value at step {marked[b]} is {y[b]:.2f}")
plt.show()

# %%
# How far back does the gradient reach? The derivative by the cell states shows it. Before the
# training it fades by the same factor at every step, which is a straight line on a logarithmic
# axis. The trained network carries it over all steps between the mark and the end.

axes = lc.plot_gradients(untrained, X[:100], y[:100], of="c", label="before")
lc.plot_gradients(net, X[:100], y[:100], of="c", ax=axes, label="after")
plt.show()

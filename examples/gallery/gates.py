"""
A look inside: what the gates do
================================

A network reads numbers, and now and then one of them is marked. At every step it must say the last
marked number. It can do so only if it writes a marked number into a cell and then leaves the cell
alone. Does it?
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)


def sequences(n, T=40):
    """A number and a mark at each step; the last marked number so far."""
    number = rng.uniform(-1, 1, size=(n, T))
    mark = rng.random((n, T)) < 0.1
    mark[:, 0] = True
    last = np.maximum.accumulate(np.where(mark, np.arange(T), 0), axis=1)
    return np.stack([number, mark], axis=2), np.take_along_axis(number, last, axis=1)


net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0)
X, Y = sequences(200)
result = lc.fit(net, X, Y, method="rprop", max_epochs=400, n_restarts=3, seed=0)
x, y = sequences(1)
error = np.sqrt(np.mean((net.predict(x)[..., 0] - y) ** 2))
print(f"root mean square error on a sequence that it has not seen: {error:.3f}")

# %%
# ``plot_gates`` shows the inputs, every gate, the states and the outputs over time. Where the mark
# is 1, the forget gate of the cell that remembers closes and its input gate opens; everywhere else
# it is the other way round.

figure = lc.plot_gates(net, x[0])
plt.show()

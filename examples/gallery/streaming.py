"""
One step at a time
==================

A machine hums in one of three states, which change without notice. A network that reads the signal
step by step says at each step which state it is in. That is done with a stream, which keeps the
state of the network between two calls.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
FREQUENCIES = np.array([0.5, 0.8, 1.1])


def signal(T):
    """A noisy sine whose frequency jumps, and which frequency it has at each step."""
    states, last = np.empty(T, dtype=int), 0
    while last < T:
        duration = rng.integers(30, 80)
        states[last : last + duration] = rng.integers(3)
        last += duration
    phase = np.cumsum(FREQUENCIES[states])
    return (np.sin(phase) + 0.4 * rng.normal(size=T))[:, np.newaxis], states


recordings = [signal(300) for _ in range(40)]
X, y = zip(*recordings, strict=True)
net = lc.Network([lc.LSTM(1, 16), lc.Dense(16, 3)], loss="cross_entropy", dtype="float32", seed=0)
lc.fit(
    net,
    list(X),
    list(y),
    method="adam",
    batch_size=8,
    max_epochs=60,
    learning_rate=lc.optimizers.Linear(1e-2, last=1e-3),
    clip_norm=1.0,
    seed=0,
)

# %%
# Now the steps come one by one. ``out=`` writes into a row of an array that is there already, so
# that a step allocates nothing.

x, states = signal(400)
x = x.astype("float32")
said = np.empty((400, 3), dtype="float32")
stream = net.stream()
began = time.perf_counter()
for t in range(400):
    stream(x[t], out=said[t])
seconds = time.perf_counter() - began
print(f"{1e6 * seconds / 400:.1f} µs a step, the loop in Python included")
print("the same bits as the whole sequence at once:", (said == net.predict(x[None])[0]).all())

# %%
# After a change the network needs some steps until it is sure of the new state.

figure, (above, below) = plt.subplots(2, 1, figsize=(10, 5), sharex=True, layout="constrained")
above.plot(x[:, 0], color="black", linewidth=0.8)
above.set(ylabel="signal")
below.stackplot(range(400), said.T, labels=[f"state {k}" for k in range(3)], alpha=0.8)
for change in np.flatnonzero(np.diff(states)) + 1:
    for axes in (above, below):
        axes.axvline(change, color="black", linestyle="--", linewidth=1)
below.set(xlabel="step; the lines are the true changes", ylabel="probability", ylim=(0, 1))
below.set(xlim=(0, 399))
below.legend(loc="lower right")
plt.show()

"""
A forecast that reads itself
============================

A network that forecasts the next value can go on from its own forecasts. The series is that of
Mackey and Glass, which is chaotic: two futures that begin alike part ways after a while, so a
forecast must fail in the end. Noise on the inputs during training teaches the network to bear the
errors that it makes itself.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc


def mackey_glass(n, delay=17, substeps=10):
    """n values at unit steps, from Euler steps of a tenth."""
    lag, h = delay * substeps, 1 / substeps
    x = np.full(n * substeps + lag, 1.2)
    for t in range(lag, len(x) - 1):
        past = x[t - lag]
        x[t + 1] = x[t] + h * (0.2 * past / (1 + past**10) - 0.1 * x[t])
    return x[lag::substeps]


series = mackey_glass(3400)[400:]
LEARNT = 2000
mean, deviation = series[:LEARNT].mean(), series[:LEARNT].std()
series = (series - mean) / deviation

# %%
# The record is cut into 20 pieces that are read side by side.

X = series[:LEARNT].reshape(20, 100, 1)
Y = series[1 : LEARNT + 1].reshape(20, 100, 1)


def train(input_noise):
    net = lc.Network([lc.LSTM(1, 24), lc.Dense(24, 1)], seed=0)
    lc.fit(
        net,
        X,
        Y,
        method="adam",
        batch_size=5,
        max_epochs=250,
        learning_rate=lc.optimizers.Linear(1e-2, last=1e-4),
        clip_norm=1.0,
        input_noise=input_noise,
        seed=0,
    )
    return net


# %%
# Each network forecasts 100 steps from 40 places in the part that it has not seen. It reads the 100
# steps before, and from there on its own forecasts.

AHEAD = 100
places = LEARNT + 100 + 20 * np.arange(40)
truth = np.array([series[place : place + AHEAD] for place in places])
known = np.array([series[place - 100 : place] for place in places])[:, :, np.newaxis]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), width_ratios=(1.4, 1), layout="constrained"
)
left.plot(np.arange(-50, AHEAD), series[places[0] - 50 : places[0] + AHEAD], "k", label="truth")
for noise, color in ((None, "C1"), (0.03, "C0")):
    net = train(noise)
    said = net.generate(steps=AHEAD, prime=known)[:, :, 0]
    name = f"noise {noise} on inputs" if noise else "no noise"
    left.plot(np.arange(AHEAD), said[0], color=color, label=name)
    right.plot(np.sqrt(np.mean((said - truth) ** 2, axis=0)), color=color, label=name)
left.axvline(0, color="gray", linestyle="--")
left.set(title="One forecast", xlabel="step", ylim=(-2.6, 2.6))
left.legend(loc="upper center", ncols=3)
right.axhline(1, color="gray", linestyle=":")
right.text(2, 1.02, "the mean of the series", color="gray", va="bottom")
right.set(title="Error of 40 forecasts", xlabel="steps ahead", ylabel="root mean square error")
right.set(ylim=(0, 1.3))
plt.show()

"""
Two answers at once
===================

A point goes round on a circle, and turns around now and then. At every step its height is seen, and
every 50 steps its place. How far to the right is it? Heights alone are those of its mirror image,
too. What was seen last tells the two apart for a while, until the point may have turned at the top
or at the bottom, where it cannot be seen.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
B, T = 80, 150
turns = np.cumprod(np.where(rng.random((B, T)) < 0.03, -1, 1), axis=1)
angle = rng.uniform(0, 2 * np.pi, (B, 1)) + np.cumsum(0.15 * turns, axis=1)
height, right = np.sin(angle), np.cos(angle)
glimpse = np.where(np.arange(T) % 50 == 0, right, 0)
X = np.stack([height + rng.normal(scale=0.05, size=(B, T)), glimpse], axis=-1)
Y = right + rng.normal(scale=0.05, size=(B, T))
train, seen = slice(1, None), 0
how = {"method": "adam", "learning_rate": 0.02, "batch_size": 10, "max_epochs": 150, "seed": 0}

# %%
# Squared error has one answer for each step. Where two are as likely, it is the one between them,
# where the point never is.

mean = lc.Network([lc.LSTM(2, 16), lc.Dense(16, 1)], seed=0)
lc.fit(mean, X[train], Y[train], **how)

# %%
# Three Gaussians have room for both answers. ``min_scale`` keeps them from shrinking onto single
# points.

loss = lc.losses.Mixture(3, min_scale=0.02)
net = lc.Network([lc.LSTM(2, 16), lc.Dense(16, 9)], loss, seed=0)
result = lc.fit(net, X[train], Y[train], **how)
density = loss.parameters(net.predict(X[[seen]])[0])

# %%
# The density of each step, as a column of grey: it has one branch after a glimpse, and two as soon
# as the point may have turned unseen. The dashed line is the answer of squared error.

points = np.linspace(-1.4, 1.4, 281)
p = np.exp(density.log_density(points[:, None, None]))
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
axes.pcolormesh(np.arange(T), points, p**0.5, cmap="Greys", shading="nearest", rasterized=True)
axes.plot(right[seen], ".", color="C1", markersize=4, label="where the point is")
axes.plot(mean.predict(X[[seen]])[0, :, 0], "--", color="C0", label="squared error")
axes.set(xlabel="step", ylabel="to the right", ylim=(-1.4, 1.4))
axes.legend(loc="upper right")
plt.show()

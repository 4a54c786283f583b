"""
Two answers at once
===================

A point goes round on a circle, and all that is seen of it is its height. How far to the right is
it? On the way up as far as it is to the left on the way down; and it turns around now and then, so
that the heights so far say only how likely each of the two is.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

rng = np.random.default_rng(0)
B, T = 40, 150
turns = np.cumprod(np.where(rng.random((B, T)) < 0.02, -1, 1), axis=1)
angle = rng.uniform(0, 2 * np.pi, (B, 1)) + np.cumsum(0.15 * turns, axis=1)
height, right = np.sin(angle), np.cos(angle)
X = (height + rng.normal(scale=0.05, size=(B, T)))[..., None]
Y = right + rng.normal(scale=0.05, size=(B, T))
train, seen = slice(1, None), 0

# %%
# Squared error has one answer for each step. Where two are as likely, it is the one between them,
# where the point never is.

mean = lc.Network([lc.LSTM(1, 12), lc.Dense(12, 1)], seed=0)
lc.fit(mean, X[train], Y[train], max_iter=150, tol=1e-4)

# %%
# Three Gaussians have room for both answers. ``min_scale`` keeps them from shrinking onto single
# points.

loss = lc.losses.Mixture(3, min_scale=0.02)
net = lc.Network([lc.LSTM(1, 12), lc.Dense(12, 9)], loss, seed=0)
result = lc.fit(net, X[train], Y[train], max_iter=300, tol=1e-4)
density = loss.parameters(net.predict(X[[seen]])[0])

# %%
# The density of each step, as a column of grey: it has two branches until the heights, or a turn,
# have told them apart. The dashed line is the answer of squared error.

points = np.linspace(-1.4, 1.4, 281)
p = np.exp(density.log_density(points[:, None, None]))
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
axes.pcolormesh(np.arange(T), points, p**0.5, cmap="Greys", shading="nearest", rasterized=True)
axes.plot(right[seen], ".", color="C1", markersize=4, label="where the point is")
axes.plot(mean.predict(X[[seen]])[0, :, 0], "--", color="C0", label="squared error")
axes.set(xlabel="step", ylabel="to the right", ylim=(-1.4, 1.4))
axes.legend(loc="upper right")
plt.show()

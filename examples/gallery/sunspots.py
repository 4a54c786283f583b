"""
Sunspots, with a band
=====================

A forecast should say how sure it is. With the quantile loss a network has several outputs for one
target: here the median of next year's sunspot number, and a band that should hold the truth in
eight years of ten. It learns from the years 1700 to 1920.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

LAGS, LAST = 9, 1920
QUANTILES = [0.1, 0.5, 0.9]
years, numbers = lc.datasets.load_sunspots()

# %%
# The network reads the square roots of the last nine numbers, because the scatter of the roots is
# about the same in quiet years and in wild ones. The heights of the cycles must not be learnt by
# heart, so it learns from copies of the record that are scaled by 0.7 to 1.3.

roots = np.sqrt(numbers)
known = roots[years <= LAST]
mean, deviation = known.mean(), known.std()


def pairs(roots):
    scaled = (roots - mean) / deviation
    return np.lib.stride_tricks.sliding_window_view(scaled, LAGS)[:-1], scaled[LAGS:]


copies = [pairs(scale * known) for scale in (0.7, 0.85, 1.0, 1.15, 1.3)]
X, Y = (np.array(part) for part in zip(*copies, strict=True))

# %%
# The mean of five networks is steadier than one of them.

outputs = []
for seed in range(5):
    net = lc.Network(
        [lc.LSTM(LAGS, 12), lc.Dense(12, 3)], loss=lc.losses.Quantile(QUANTILES), seed=seed
    )
    lc.fit(net, X, Y, method="rprop", max_epochs=100, l2=0.01)
    outputs.append(net.predict(pairs(roots)[0][np.newaxis])[0])
low, median, high = (np.maximum(mean + deviation * np.mean(outputs, axis=0), 0) ** 2).T

later = years[LAGS:] > LAST
truth = numbers[LAGS:]
held = ((low <= truth) & (truth <= high))[later].mean()
print(f"{held:.0%} of the years after {LAST} are within the band")

# %%
# The years on the right of the line were not learnt from. The cycles there are higher than any
# before them.

figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
axes.fill_between(years[LAGS:], low, high, color="C0", alpha=0.25, label="10 % to 90 %")
axes.plot(years[LAGS:], median, color="C0", label="median")
axes.plot(years, numbers, "k.", markersize=4, label="observed")
axes.axvline(LAST + 0.5, color="gray", linestyle="--")
axes.set(xlim=(1860, 2008), ylim=(0, None), xlabel="year", ylabel="sunspot number")
axes.legend(loc="upper left")
plt.show()

"""
Who is speaking?
================

Nine men say the two Japanese vowels /ae/. A network that reads in both directions hears 7 to 29
steps of 12 numbers each and names the speaker. It learns from 30 utterances of each man, and is
tested on others.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

data = lc.datasets.load_japanese_vowels()
scaler = lc.Scaler().fit(data.X_train)
net = lc.Network(
    [lc.LSTM(12, 32, bidirectional=True), lc.Dense(64, 9)],
    loss="cross_entropy",
    readout="mean",
    seed=0,
)

# %%
# Noise on the inputs keeps the network from learning the few utterances by heart. A fifth of them
# is held back, and the parameters that are kept are those which do best on it.

result = lc.fit(
    net,
    scaler.transform(data.X_train),
    data.y_train,
    method="adam",
    batch_size=16,
    max_epochs=60,
    learning_rate=lc.optimizers.Linear(5e-3, last=1e-4),
    input_noise=0.6,
    l2=1e-3,
    validation_split=0.2,
    seed=0,
)
probabilities = net.predict(scaler.transform(data.X_test))
named = probabilities.argmax(axis=1)
print(f"{(named == data.y_test).mean():.1%} of {len(named)} test utterances are named correctly")

# %%
# Each row of the matrix is a speaker, and each column is what the network has named.

counts = np.zeros((9, 9), dtype=int)
np.add.at(counts, (data.y_test, named), 1)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
left.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
for (row, column), count in np.ndenumerate(counts):
    if count:
        color = "white" if row == column else "black"
        left.text(column, row, count, ha="center", va="center", color=color)
left.set(
    title="Test utterances",
    xlabel="speaker named by the network",
    ylabel="speaker",
    xticks=range(9),
    yticks=range(9),
)
right.semilogy(result.history["loss"], label="training, with noise and penalty")
right.semilogy(result.history["validation_loss"], label="validation")
right.set(title="Training", xlabel="epoch", ylabel="loss")
right.grid(alpha=0.3)
right.legend()
plt.show()

"""
What a network learns about words
=================================

"March before July": yes or no? A network reads such questions word by word. Nobody tells it what
the words mean. Its first layer, an embedding, gives each word a vector of two numbers, which is
learnt with everything else. What do the vectors look like in the end?
"""

import calendar

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

MONTHS = list(calendar.month_name[1:])
words = [*MONTHS, "before"]
token = {word: k for k, word in enumerate(words)}

questions = [f"{a} before {b}" for a in MONTHS for b in MONTHS if a != b]
tokens = np.array([[token[word] for word in question.split()] for question in questions])
answers = tokens[:, 0] < tokens[:, 2]

# %%
# It learns from 92 of the 132 questions and is asked the other 40. There is one output, the
# probability of a yes, after the last word.

order = np.random.default_rng(0).permutation(len(tokens))
learnt, unseen = order[:92], order[92:]
net = lc.Network(
    [lc.Embedding(len(words), 2), lc.LSTM(2, 8), lc.Dense(8, 1)],
    loss="binary_cross_entropy",
    readout="last",
    seed=1,
)
lc.fit(
    net,
    tokens[learnt],
    answers[learnt],
    method="adam",
    batch_size=23,
    max_epochs=300,
    learning_rate=lc.optimizers.Linear(2e-2, last=1e-3),
    weight_noise=0.05,
    seed=0,
)
yes = net.predict(tokens)[:, 0]
right = (yes > 0.5) == answers
print(
    f"right: {right[learnt].mean():.0%} of those learnt from, {right[unseen].mean():.0%} of others"
)

# %%
# The network has put the months in the order of the year, because that is what the answers depend
# on. The dots on the right are the questions that it has not learnt from.

vectors = net.blocks["0.W"].T[:12]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
left.plot(*vectors.T, color="gray", linewidth=0.8)
left.scatter(*vectors.T, c=range(12), cmap="viridis", s=60, zorder=2)
for month, at in zip(MONTHS, vectors, strict=True):
    left.annotate(month, at, xytext=(7, 4), textcoords="offset points")
left.set(title="The vectors of the months", xlabel="first number", ylabel="second number")
left.margins(0.2)

table = np.full((12, 12), np.nan)
table[tokens[:, 0], tokens[:, 2]] = yes
image = right.imshow(table, vmin=0, vmax=1, cmap="RdBu")
right.plot(tokens[unseen, 2], tokens[unseen, 0], "ko", markersize=4)
names = [month[:3] for month in MONTHS]
right.set(xticks=range(12), yticks=range(12), xticklabels=names, yticklabels=names)
right.set(title="Is the row before the column?")
figure.colorbar(image, ax=right, label="probability of yes", shrink=0.85)
plt.show()

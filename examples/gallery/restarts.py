"""
Many starts
===========

Small networks are quick to train, but many a run ends in a bad place. Here a network of three units
reads strings such as aaabbbccc and must say which symbols may come next. It learns from strings
with up to 10 of each letter, and runs from 30 random starts are compared by longer strings.
"""

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc


def strings(numbers):
    """Tokens s a b c t, and for each step which of them may come next."""
    texts = [[0] + [1] * n + [2] * n + [3] * n + [4] for n in numbers]
    X = [np.array(text[:-1]) for text in texts]
    Y = [np.eye(5)[text[1:]] for text in texts]
    for n, y in zip(numbers, Y, strict=True):
        y[1 : n + 1, 1:3] = 1.0  # after an a: a or b
    return X, Y


# %%
# ``n_restarts`` adds runs from fresh parameters to the first one. The best run by the validation
# loss is left in the network.

net = lc.Network([lc.LSTM(5, 3, tokens=True), lc.Dense(3, 5)], loss="binary_cross_entropy", seed=0)
result = lc.fit(
    net, *strings(range(1, 11)), validation_data=strings(range(11, 31)), n_restarts=29, seed=0
)
values = np.array([run.value for run in result.restarts])
print(f"{(values < 1e-3).sum()} of {len(values)} starts have learnt to count")

# %%
# How far does the best network count?

lengths = np.arange(1, 501)
X, Y = strings(lengths)
correct = [bool(((p > 0.5) == y).all()) for p, y in zip(net.predict(X), Y, strict=True)]
print("first error at n =", "none up to 500" if all(correct) else lengths[np.argmin(correct)])

# %%
# And how does it count? The cells go up with some letters and down with others, at a constant pace.
# A cell that is back where it began has seen as many of the one as of the other.

state, cells = None, []
for symbol in strings([30])[0][0]:
    _, state = net.step(symbol, state)
    cells.append(state[0][1])

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.semilogy(np.sort(values), "o")
left.set(title="30 starts", xlabel="start, the best ones first", ylabel="validation loss")
left.grid(alpha=0.3)
right.plot(cells, label=[f"cell {k}" for k in range(3)])
for at, letter in ((0, "a"), (30, "b"), (60, "c")):
    right.axvline(at + 0.5, color="gray", linestyle="--", linewidth=1)
    right.text(at + 15, 1.01, letter, ha="center", transform=right.get_xaxis_transform())
right.set(xlabel="step", ylabel="state, while 30 of each letter are read")
right.legend()
plt.show()

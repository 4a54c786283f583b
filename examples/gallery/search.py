"""
Searching for a structure
=========================

Which cell, how many units, one layer or two, how strong a penalty? scikit-learn searches over them
as over the parameters of any estimator. Successive halving tries many candidates on few utterances
and goes on with the best third of them on three times as many.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV
from sklearn.preprocessing import StandardScaler

import lstmcore as lc
from lstmcore.estimators import SequenceClassifier, SequenceTransformer

warnings.simplefilter("ignore", ConvergenceWarning)  # candidates stop early on purpose
data = lc.datasets.load_japanese_vowels()
scaler = SequenceTransformer(StandardScaler())
X, X_test = scaler.fit_transform(data.X_train), scaler.transform(data.X_test)

search = HalvingRandomSearchCV(
    SequenceClassifier(bidirectional=True, max_iter=30, n_threads=1, random_state=0),
    {
        "cell": ["lstm", "gru", "rnn"],
        "hidden_layer_sizes": [(4,), (8,), (16,), (32,), (8, 8), (16, 16)],
        "readout": ["mean", "last", "all"],
        "alpha": loguniform(1e-3, 10),
    },
    n_candidates=27,
    min_resources=30,
    cv=3,
    random_state=0,
)
search.fit(X, data.y_train)
print(search.best_params_)
print(f"{search.score(X_test, data.y_test):.1%} of the test utterances")

# %%
# Each dot is a candidate in one round, and lines lead to the next round. On few utterances the
# candidates lie far apart. Those that are left at the end hardly differ, whatever their cell is.

results = search.cv_results_
rounds, cells = results["iter"], results["param_cell"]
figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
colors = {"lstm": "C0", "gru": "C1", "rnn": "C2"}
candidates = {}
for k, parameters in enumerate(results["params"]):
    candidates.setdefault(str(parameters), []).append(k)
for number, places in enumerate(candidates.values()):
    scores = results["mean_test_score"][places]
    aside = 0.03 * (number % 7 - 3)  # so that dots do not lie on each other
    axes.plot(rounds[places] + aside, scores, "o-", color=colors[cells[places[0]]], alpha=0.7)
for cell, color in colors.items():
    axes.plot([], [], "o-", color=color, label=cell)
used = [results["n_resources"][rounds == k][0] for k in np.unique(rounds)]
axes.set(
    xticks=np.unique(rounds),
    xticklabels=[f"{n} utterances" for n in used],
    ylabel="accuracy in cross-validation",
)
axes.grid(alpha=0.3)
axes.legend(loc="lower right")
plt.show()

"""Does an installed lstmcore work, away from its sources? python .ci/smoke.py [--serial]

Run it outside the working tree. With --serial the build is expected to be one without OpenMP, and
to say so; otherwise scikit-learn, which brings an OpenMP runtime of its own, shares the process,
imported before and after.
"""

import subprocess
import sys

TRAIN = """
import numpy as np
data = lc.datasets.load_japanese_vowels()
net = lc.Network([lc.LSTM(12, 8, peepholes=True, bidirectional=True), lc.Dense(16, 9)],
                 loss="cross_entropy", readout="mean", seed=0)
result = lc.fit(net, data.X_train, data.y_train, method="L-BFGS-B", max_iter=60)
outputs = [net.predict(data.X_test, n_threads=n) for n in (1, 2)]
assert np.array_equal(*outputs), "outputs depend on the number of threads"
accuracy = (outputs[0].argmax(1) == data.y_test).mean()
assert accuracy > 0.85, accuracy
"""
COMPANY = """
from sklearn.cluster import KMeans
KMeans(2, n_init=1).fit(np.random.default_rng(0).normal(size=(5000, 4)))
"""
SERIAL = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import lstmcore as lc
assert any("without OpenMP" in str(w.message) for w in caught), "no warning at import"
assert lc.get_num_threads() == 1
lc.show_config()
"""
PARALLEL = "import lstmcore as lc\nlc.show_config()\n"


def run(title, code):
    print(f"--- {title}", flush=True)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


if "--serial" in sys.argv:
    run("without OpenMP", SERIAL + TRAIN)
else:
    run("lstmcore alone", PARALLEL + TRAIN)
    run("scikit-learn first", "import numpy as np" + COMPANY + PARALLEL + TRAIN)
    run("lstmcore first", PARALLEL + TRAIN + COMPANY + TRAIN)

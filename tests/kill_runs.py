"""Runs that are killed at random moments, and end in the bits of one that was left alone.

    python tests/kill_runs.py [KILLS] [SEED]

Each run is a process of its own. It says when its fit begins, is killed by SIGKILL some time later,
and is started again, until one comes to its end: its result is compared, its file is deleted, and
the next run begins. What is printed: kills, ends, and files that were left half written.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# Method, sequences of a batch: none for SciPy's. Each run takes some tenths of a second.
RUNS = [
    ("adam", 4),
    ("sgd", None),
    ("rmsprop", 4),
    ("L-BFGS-B", None),
    ("CG", None),
    ("BFGS", None),
    ("TNC", None),
    ("SLSQP", None),
    ("Newton-CG", None),
    ("trust-constr", None),
]

PROGRAM = """
import sys, warnings
import numpy as np
import lstmcore as lc
method, batch_size, every, path, out = sys.argv[1:]
rng = np.random.default_rng(0)
X = [rng.normal(size=(n, 2)) for n in rng.integers(3, 40, 20)]
Y = [np.cumsum(x[:, :1], axis=0) / 5 for x in X]
net = lc.Network([lc.LSTM(2, 6), lc.Dense(6, 1)], seed=0)
options = {"method": method, "validation_data": (X[:4], Y[:4]), "patience": 30, "l2": 1e-4}
if method in ("adam", "sgd", "rmsprop"):
    options |= {"max_epochs": 60, "seed": 1, "learning_rate": lc.optimizers.Cosine(0.02)}
    options |= {"batch_size": None if batch_size == "None" else int(batch_size)}
else:
    options |= {"max_iter": 40}
if path:
    options |= {"checkpoint_path": path, "checkpoint_every": float(every)}
print("begins", flush=True)
warnings.simplefilter("ignore")
result = lc.fit(net, X[4:], Y[4:], **options)
history = {name: column for name, column in result.history.items() if name != "time"}
history["message"] = np.frombuffer(result.message.encode(), np.uint8)
np.savez(out, params=net.params, x=result.x, fun=result.fun, nfev=result.nfev, **history)
"""


class Series:
    """Runs in one folder, killed and started again.

    Parameters
    ----------
    folder : Path
    seed : int
    """

    def __init__(self, folder, seed):
        self._folder, self._out = folder, folder / "out.npz"
        self._random = random.Random(seed)
        self.kills = self.ends = 0

    def left_alone(self, method, batch_size):
        """The result of a run without a file, and how long its fit took in seconds."""
        with self._started(method, batch_size, 0, "") as process:
            began = time.monotonic()
            assert process.wait() == 0
        return self._result(), time.monotonic() - began

    def killed(self, method, batch_size, most_kills):
        """A run, killed at most so often, has the result of one that was left alone."""
        path = self._folder / "run"
        expected, seconds = self.left_alone(method, batch_size)
        for kill in range(most_kills + 1):
            every = self._random.choice([0.0, 0.01])
            patience = self._random.uniform(0, seconds) if kill < most_kills else None
            with self._started(method, batch_size, every, path) as process:
                try:
                    assert process.wait(patience) == 0, f"{method} was refused its own file"
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    self.kills += 1
        result = self._result()
        assert result.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(result[name], expected[name], err_msg=method)
        self.ends += 1
        path.unlink()

    def half_written(self):
        return len(list(self._folder.glob(".run*.tmp")))

    def _started(self, method, batch_size, every, path):
        self._out.unlink(missing_ok=True)
        command = [sys.executable, "-c", PROGRAM, method, batch_size, every, path, self._out]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "begins\n"
        return process

    def _result(self):
        with np.load(self._out) as archive:
            return dict(archive)


def main(kills=200, seed=0):
    with tempfile.TemporaryDirectory() as folder:
        series, of = Series(Path(folder), seed), {}
        while series.kills < kills:
            for method, batch_size in RUNS:
                before = series.kills
                series.killed(method, batch_size, most_kills=5)
                of[method] = of.get(method, 0) + series.kills - before
        print(f"{series.kills} kills, {series.ends} runs came to their end in the same bits")
        print(", ".join(f"{method} {count}" for method, count in of.items()))
        print(f"{series.half_written()} files were left half written")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

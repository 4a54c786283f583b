"""
Methods against the clock
=========================

A small network is to be fitted to many digits. The task is the sine of a running sum, without
noise. Which method comes lowest in three seconds of one processor?
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize  # noqa: F401  (so that no method has to wait for it)

import lstmcore as lc

SECONDS = 3.0
NO_END = {"ftol": 0.0, "gtol": 0.0, "maxfun": 10**6}  # L-BFGS-B would say that it has converged
X = np.random.default_rng(0).normal(size=(30, 40, 1))
Y = np.sin(np.cumsum(X, axis=1) / 3)
warnings.simplefilter("ignore", lc.ConvergenceWarning)


def run(method, **options):
    """Seconds, and the lowest objective until then, of a run that is stopped by the clock."""
    times, lowest = [], []

    def record(now):
        times.append(time.process_time() - began)
        lowest.append(min([now.fun, *lowest[-1:]]))
        if times[-1] > SECONDS:
            raise StopIteration

    net = lc.Network([lc.LSTM(1, 8), lc.Dense(8, 1)], seed=0)
    began = time.process_time()
    lc.fit(net, X, Y, method=method, callback=record, n_threads=1, **options)
    return times, lowest


# %%
# L-BFGS-B builds up what it knows of the curvature from the gradients that it has seen. rprop goes
# by the signs of the gradient alone. Hessian-free asks for products of the Gauss-Newton matrix with
# vectors, each of which costs as much as a gradient, and so makes few but long steps.

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
axes.loglog(*run("L-BFGS-B", max_iter=10**6, options=NO_END), label="L-BFGS-B")
axes.loglog(*run("rprop", max_epochs=10**6), label="rprop")
axes.loglog(*run("hessian-free", max_iter=10**6), label="hessian-free")
axes.set(xlabel="seconds", ylabel="lowest objective so far", xlim=(1e-3, SECONDS))
axes.grid(alpha=0.3, which="both")
axes.legend()
plt.show()

# %%
# rprop is ahead at first, then L-BFGS-B. Hessian-free begins slowly and catches up in the end. On
# larger networks, on data that take longer to go through, and with noise in the targets it does not
# catch up: :doc:`/training` has other tasks.

"""A network trained on data in files, shard by shard, on the workers of a Dask cluster.

    python examples/distributed_training.py [--scheduler ADDRESS] [--folder FOLDER] [--shards 8]

Without an address two workers are started on this machine. They hold the shards, and the process
that trains holds no data. On a real cluster the folder must be one that all see.

The task: the running mean of a noisy series under a slowly changing gain.
"""

import argparse
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

import lstmcore as lc

SEQUENCES, STEPS, HIDDEN = 64, 200, 16
ITERATIONS = 30

# They are to show that it goes down, not where it ends.
warnings.filterwarnings("ignore", category=lc.ConvergenceWarning)


def write(path, seed):
    """A file with a part of the data."""
    rng = np.random.default_rng(seed)
    gain = 1.0 + 0.5 * np.sin(np.linspace(0, 3, STEPS))[:, None]
    X = rng.standard_normal((SEQUENCES, STEPS, 1))
    Y = np.empty_like(X)
    y = np.zeros((SEQUENCES, 1))
    for t in range(STEPS):
        y = Y[:, t] = 0.9 * y + 0.1 * gain[t] * X[:, t]
    np.savez(path, X=X, Y=3.0 * Y)


def read(path):
    with np.load(path) as file:
        return file["X"], file["Y"]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", help="its address; by default two workers here")
    parser.add_argument("--folder", type=Path, help="of the data; by default a temporary one")
    parser.add_argument("--shards", type=int, default=8)
    args = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = [str(folder / f"part{k}.npz") for k in range(args.shards + 1)]
        for seed, path in enumerate(paths):
            write(path, seed)

        cluster = args.scheduler
        if cluster is None:
            local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
            cluster = stack.enter_context(local)
        client = stack.enter_context(Client(cluster))

        net = lc.Network([lc.LSTM(1, HIDDEN), lc.Dense(HIDDEN, 1)], seed=0)
        shards = [(read, path) for path in paths[:-1]]
        obj = stack.enter_context(lc.DistributedObjective(net, shards, client, l2=1e-5))
        held_out = lc.DistributedObjective(net, [(read, paths[-1])], client)
        validation = stack.enter_context(held_out)
        print(f"{obj.n_shards} shards, {obj.total:.0f} steps, {obj.size} parameters")
        print(f"before: loss {obj.fun(net.params):.4f}, held out {validation.fun(net.params):.4f}")
        result = lc.minimize(obj, max_iter=ITERATIONS, validation=validation)
        loss, held = result.history["loss"], result.history["validation_loss"]
        best = int(np.argmin(held))
        print(f"after {result.nit} iterations: loss {loss[best]:.4f}, held out {held[best]:.4f}")


if __name__ == "__main__":
    main()

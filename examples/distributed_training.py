"""A network trained on files that together exceed a worker's memory, on workers of a Dask cluster.

    python examples/distributed_training.py [--scheduler ADDRESS] [--folder FOLDER] [--keep]

Without an address two workers are started on this machine, with 240 MiB each, and files of 320 MB
are written. A worker reads a file, evaluates its sequences and forgets them; the process that
trains holds no data. With `--keep` workers keep what they have read, so that the memory of all of
them together has to hold the files: give them more with `--memory`. On a real cluster the folder
must be one that all see, and limits of memory are the cluster's own.

The task: the running mean of a mixture of 16 noisy channels under a slowly changing gain.
"""

import argparse
import resource
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from dask.utils import parse_bytes
from distributed import Client, LocalCluster

import lstmcore as lc

STEPS, CHANNELS, HIDDEN = 200, 16, 8

# They are to show that it goes down, not where it ends.
warnings.filterwarnings("ignore", category=lc.ConvergenceWarning)


def write(path, seed, sequences):
    """A file with a part of the data."""
    rng = np.random.default_rng(seed)
    gain = 1.0 + 0.5 * np.sin(np.linspace(0, 3, STEPS))
    X = rng.standard_normal((sequences, STEPS, CHANNELS))
    mixed = gain * (X @ np.linspace(-0.5, 0.5, CHANNELS))
    Y = np.empty((sequences, STEPS, 1))
    y = np.zeros(sequences)
    for t in range(STEPS):
        y = 0.9 * y + 0.1 * mixed[:, t]
        Y[:, t, 0] = 3.0 * y
    np.savez(path, X=X, Y=Y)


def read(path):
    with np.load(path) as file:
        return file["X"], file["Y"]


def peak():
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", help="its address; by default two workers here")
    parser.add_argument("--folder", type=Path, help="of the data; by default a temporary one")
    parser.add_argument("--shards", type=int, default=18)
    parser.add_argument("--sequences", type=int, default=650, help="in each shard")
    parser.add_argument("--memory", default="240MiB", help="of each worker here")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--keep", action="store_true", help="workers keep what they have read")
    args = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = [str(folder / f"part{k}.npz") for k in range(args.shards + 1)]
        for seed, path in enumerate(paths):
            write(path, seed, args.sequences)
        size = sum(Path(path).stat().st_size for path in paths[:-1])
        print(f"{args.shards} files of {size / 1e6:.0f} MB together")

        cluster = args.scheduler
        if cluster is None:
            print(f"two workers may have {parse_bytes(args.memory) / 1e6:.0f} MB each")
            local = LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=args.memory,
                dashboard_address=":0",
            )
            cluster = stack.enter_context(local)
        client = stack.enter_context(Client(cluster))

        net = lc.Network([lc.LSTM(CHANNELS, HIDDEN), lc.Dense(HIDDEN, 1)], seed=0)
        shards = [(read, path) for path in paths[:-1]]
        options = {"keep": args.keep}
        obj = stack.enter_context(lc.DistributedObjective(net, shards, client, l2=1e-5, **options))
        held_out = lc.DistributedObjective(net, [(read, paths[-1])], client, **options)
        validation = stack.enter_context(held_out)
        print(f"{obj.n_shards} shards, {obj.total:.0f} steps, {obj.size} parameters")
        print(f"before: loss {obj.fun(net.params):.4f}, held out {validation.fun(net.params):.4f}")
        result = lc.fit(net, obj, max_iter=args.iterations, validation_data=validation)
        loss, held = result.history["loss"], result.history["validation_loss"]
        best = int(np.argmin(held))
        print(f"after {result.nit} iterations: loss {loss[best]:.4f}, held out {held[best]:.4f}")
        print(f"no worker has ever had more than {max(client.run(peak).values()):.0f} MB")


if __name__ == "__main__":
    main()

"""What an evaluation of a `DistributedObjective` costs beside the arithmetic, on a local cluster.

    python bench/distributed_objective.py

Shards of next to no work are evaluated on two workers of Dask: milliseconds an evaluation by the
number of shards, and the line through them, a constant and a part for each shard. The values are
compared with those of one process first. Then shards of real work by one worker and by two: how
much of twice the speed is reached. Wants two processors that are free.
"""

import time

import numpy as np
from distributed import Client, LocalCluster

import lstmcore as lc

REPEATS = 15
SHARDS = 1, 2, 4, 8, 16


def part(seed, sequences, steps):
    x = np.random.default_rng(seed).standard_normal((sequences, steps, 8))
    return x, np.cumsum(x[..., :1], axis=1) / 5


def milliseconds(obj, repeats=REPEATS):
    """Of an evaluation: the median and the least."""
    theta, taken = obj.net.params, []
    for k in range(repeats + 2):
        began = time.perf_counter()
        obj(theta)
        if k >= 2:
            taken.append(1e3 * (time.perf_counter() - began))
    return np.median(taken), min(taken)


def check(obj, shards):
    here = lc.DistributedObjective(obj.net, shards)
    (f, g), (wanted, gradient) = obj(obj.net.params), here(obj.net.params)
    if f != wanted or not np.array_equal(g, gradient):
        raise SystemExit("the cluster has other bits than one process")
    return here


def overhead(client, net):
    rows = []
    for n in SHARDS:
        shards = [(part, k, 1, 2) for k in range(n)]
        with lc.DistributedObjective(net, shards, client) as obj:
            here = milliseconds(check(obj, shards))
            there = milliseconds(obj)
        rows.append([there[0] - here[0], there[1] - here[1]])
        print(f"{n:3} shards: {rows[-1][0]:6.1f} ms ({rows[-1][1]:.1f} at least)")
    for name, values in zip(("median", "least"), np.transpose(rows), strict=True):
        slope, constant = np.polyfit(SHARDS, values, 1)
        print(f"{name}: {constant:.1f} ms + {slope:.1f} ms a shard")


def efficiency(cluster, client, net):
    shards = [(part, k, 400, 200) for k in range(4)]
    taken = {}
    for workers in 1, 2:
        cluster.scale(workers)
        client.wait_for_workers(workers)
        while len(client.scheduler_info(n_workers=-1)["workers"]) != workers:
            time.sleep(0.05)
        with lc.DistributedObjective(net, shards, client) as obj:
            check(obj, shards).close()
            taken[workers] = milliseconds(obj, 5)
        print(f"{workers} workers, 4 shards: {taken[workers][0]:.0f} ms ({taken[workers][1]:.0f})")
    print(f"efficiency of the second worker: {taken[1][1] / taken[2][1] / 2:.0%}")


def main():
    net = lc.Network([lc.LSTM(8, 32), lc.Dense(32, 1)], seed=0)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        overhead(client, net)
        efficiency(cluster, client, net)


if __name__ == "__main__":
    main()

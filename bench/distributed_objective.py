"""What an evaluation of a `DistributedObjective` costs on Dask, and where a cluster pays.

    python bench/distributed_objective.py [--workers 1 2] [--shards 4] [--seconds 0.3]

The formula of docs/distributed.md,

    T = a + b S + m ℓ + 8 P (2 S + W + 1) / β + ⌈S / (W k)⌉ t

has constants that are measured here first, on local processes. Shards of next to no work give a
and b; wide networks, whose parameters and gradients have to travel, give β; ℓ is next to nothing
within a machine. Then real shards are evaluated by 1 worker and by more: milliseconds an
evaluation, the efficiency (how much of so many times the speed of one processor is reached), and
what the formula says. The same shards in one process, with as many threads, stand beside it. The
last table is what the formula says of clusters with a network between the machines.

Every cluster's values are compared with those of one process, bit by bit. `--seconds` is about what
a shard takes. Wants as many free processors as workers, and two more for the client and the
scheduler; on fewer the formula promises too much. `bench/distributed_delays.py` checks the formula
with latencies and slow links put in.
"""

import argparse
import time
from dataclasses import dataclass
from math import ceil

import numpy as np
from distributed import Client, LocalCluster

import lstmcore as lc

REPEATS = 15
ROUND_TRIPS = 4  # of a call: tasks go out and are done; their values are asked for and come
SCATTERED = 3  # more of a call whose θ is scattered: it goes to one worker, and on to the others


@dataclass
class Costs:
    """Of one evaluation, beside the shards' own time."""

    constant: float  # a, seconds
    a_shard: float  # b, seconds
    bandwidth: float = np.inf  # β, bytes a second
    latency: float = 0.0  # ℓ, seconds one way

    def overhead(self, parameters, shards, workers):
        """Seconds. Vectors of up to 64 KiB go with the tasks."""
        n_bytes = 8 * parameters
        is_scattered = n_bytes > 1 << 16
        trips = ROUND_TRIPS + (SCATTERED if is_scattered else 0)
        moved = n_bytes * (2 * shards + (workers + 1 if is_scattered else 2 * shards))
        return (
            self.constant
            + self.a_shard * shards
            + 2 * trips * self.latency
            + moved / self.bandwidth
        )

    def evaluation(self, parameters, shards, workers, shard_seconds):
        rounds = ceil(shards / workers)
        return self.overhead(parameters, shards, workers) + rounds * shard_seconds


def part(seed, sequences, steps):
    x = np.random.default_rng(seed).standard_normal((sequences, steps, 8))
    return x, np.cumsum(x[..., :1], axis=1) / 5


def network(hidden=32, **options):
    return lc.Network([lc.LSTM(8, hidden), lc.Dense(hidden, 1)], seed=0, **options)


def seconds(obj, repeats=REPEATS):
    """Of an evaluation: the median and the least. The first two are not counted."""
    theta, taken = obj.net.params, []
    for k in range(repeats + 2):
        began = time.perf_counter()
        obj(theta)
        if k >= 2:
            taken.append(time.perf_counter() - began)
    return np.array([np.median(taken), min(taken)])


def same(obj, wanted):
    (f, g), (f_wanted, g_wanted) = obj(obj.net.params), wanted
    if f != f_wanted or not np.array_equal(g, g_wanted):
        raise SystemExit("the cluster has other bits than one process")


def scale(client, n):
    client.cluster.scale(n)
    while len(client.scheduler_info(n_workers=-1)["workers"]) != n:
        time.sleep(0.05)


def measured_overhead(client, net, counts, workers):
    """By number of shards: the median and the least of what a cluster takes beside the shards."""
    rows = []
    for n in counts:
        shards = [(part, k, 1, 2) for k in range(n)]
        here = lc.DistributedObjective(net, shards)
        with lc.DistributedObjective(net, shards, client) as there:
            same(there, here(net.params))
            rows.append(seconds(there) - seconds(here) / n * ceil(n / workers))
        median, least = 1e3 * rows[-1]
        print(f"{net.params.size:8} parameters, {n:3} shards: {median:7.1f} ms ({least:.1f})")
    return np.array(rows)


def measured_costs(client, workers, widths=(160, 500)):
    """The constants of a cluster, from the medians."""
    counts = sorted({1, 2, 4, 8, 16, 2 * workers})
    rows = measured_overhead(client, network(), counts, workers)
    for name, values in zip(("median", "least"), 1e3 * rows.T, strict=True):
        slope, constant = np.polyfit(counts, values, 1)
        print(f"{name}: {constant:.1f} ms + {slope:.2f} ms a shard")
    a_shard, constant = np.polyfit(counts, rows[:, 0], 1)
    costs = Costs(constant, a_shard)
    moved, taken = [], []
    for net in map(network, widths):
        counts = [workers, 2 * workers]
        for n, (median, _) in zip(
            counts, measured_overhead(client, net, counts, workers), strict=True
        ):
            moved.append(8 * net.params.size * (2 * n + workers + 1))
            taken.append(median - costs.overhead(net.params.size, n, workers))
    moved, taken = np.array(moved), np.array(taken)
    costs.bandwidth = (moved @ moved) / (moved @ taken)
    print(f"bandwidth: {costs.bandwidth / 1e6:.0f} MB/s, packing included")
    return costs


def efficiency(client, costs, counts, n_shards, wanted):
    """Evaluations of real work by more and more workers, beside the formula."""
    net, sequences = network(), 400
    shards = [(part, k, sequences, 200) for k in range(n_shards)]
    with lc.DistributedObjective(net, shards[:1]) as one:
        sequences = max(1, round(sequences * wanted / seconds(one, 3)[1]))
    shards = [(part, k, sequences, 200) for k in range(n_shards)]
    with lc.DistributedObjective(net, shards) as here:
        alone, values = seconds(here, 3)[1], here(net.params)
    print(f"\n{n_shards} shards, {net.params.size} parameters; in one process {1e3 * alone:.0f} ms")
    print("workers   median    least  by the formula  efficiency  threads of one process")
    for workers in counts:
        scale(client, workers)
        with lc.DistributedObjective(net, shards, client) as there:
            same(there, values)
            median, least = seconds(there, 5)
        with lc.DistributedObjective(net, shards, n_threads=workers) as threads:
            same(threads, values)
            beside = seconds(threads, 2)[1]
        expected = costs.evaluation(net.params.size, n_shards, workers, alone / n_shards)
        print(
            f"{workers:7} {1e3 * median:8.0f} {1e3 * least:8.0f} {1e3 * expected:12.0f} ms"
            f" {alone / least / workers:11.0%} {1e3 * beside:17.0f} ms"
        )


def where_it_pays(costs):
    """By workers and parameters: what one machine must take for an evaluation."""
    print("\nSeconds of an evaluation on one machine from which on W such machines, a shard each,")
    print("are faster at all / 85 % of W times as fast; 0.2 ms one way, 1 Gbit/s")
    network_costs = Costs(costs.constant, costs.a_shard, min(costs.bandwidth, 1.18e8), 2e-4)
    sizes = 5_000, 100_000, 1_000_000
    print("     W" + "".join(f"{size:>14,} P" for size in sizes))
    for workers in 2, 4, 8, 16, 64:
        line = f"{workers:6}"
        for size in sizes:
            beside = network_costs.overhead(size, workers, workers)
            faster, good = beside * workers / (workers - 1), beside * workers * 0.85 / 0.15
            line += f"{faster:8.2g} /{good:6.2g}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.3])
    args = parser.parse_args()
    most = max(args.workers)
    with (
        LocalCluster(n_workers=most, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        costs = measured_costs(client, most)
        for wanted in args.seconds:
            efficiency(client, costs, sorted(args.workers), args.shards, wanted)
    where_it_pays(costs)


if __name__ == "__main__":
    main()

"""The cost of an evaluation on Dask, with latencies and slow links put in, beside the formula.

    python bench/distributed_delays.py

A real cluster of Dask runs in one process: client, scheduler and workers talk by sockets, through
a transport of this script that hands each message on a latency later than it was sent, after the
time that its bytes take on a link which all share. Shards sleep in place of computing, so that a
few processors play as many workers as are wanted. a, b and the cost of bytes are measured without
delays; then each row of the table puts others in, and the formula of docs/distributed.md stands
beside what was measured.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from distributed import Client, LocalCluster
from distributed.comm.registry import backends
from distributed.comm.tcp import TCP, TCPBackend, TCPConnector, TCPListener
from distributed.comm.utils import to_frames
from distributed_objective import Costs, network, part

import lstmcore as lc

# workers, shards, hidden units, a shard's sleep, latency one way, bytes a second
UNDELAYED = 0.0, np.inf
CASES = [
    (2, 4, 32, 0.1, *UNDELAYED),
    (8, 8, 32, 0.1, *UNDELAYED),
    (8, 20, 32, 0.1, *UNDELAYED),
    (32, 32, 32, 0.5, *UNDELAYED),
    (32, 64, 32, 0.5, *UNDELAYED),
    (8, 8, 32, 0.1, 0.005, np.inf),
    (8, 8, 32, 0.1, 0.025, np.inf),
    (8, 8, 160, 0.1, 0.025, np.inf),
    (8, 8, 160, 0.1, 0.0, 1.18e8),
    (8, 16, 160, 0.1, 0.0, 1.18e8),
    (8, 8, 500, 0.1, 0.0, 1.18e8),
    (16, 16, 160, 0.1, 0.005, 1.18e8),
    (16, 32, 160, 0.5, 0.025, 1.18e8),
]
REPEATS = 7


class Link:
    """What all messages pass: when each is there."""

    def __init__(self):
        self.latency, self.bandwidth, self._free = 0.0, np.inf, 0.0

    def arrival(self, n_bytes):
        self._free = max(self._free, time.perf_counter()) + n_bytes / self.bandwidth
        return self._free + self.latency


LINK = Link()


class Delayed(TCP):
    async def write(self, msg, serializers=None, on_error="message"):
        n_bytes = 0
        if np.isfinite(LINK.bandwidth):
            frames = await to_frames(msg, serializers=serializers, on_error=on_error)
            n_bytes = sum(memoryview(frame).nbytes for frame in frames)
        timed = LINK.arrival(n_bytes), msg
        return await super().write(timed, serializers, on_error)

    async def read(self, deserializers=None):
        arrival, msg = await super().read(deserializers)
        await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
        return msg


class Connector(TCPConnector):
    prefix, comm_class = "delayed://", Delayed


class Listener(TCPListener):
    prefix, comm_class = "delayed://", Delayed


class Backend(TCPBackend):
    _connector_class, _listener_class = Connector, Listener


def sleeping(seconds: float) -> Callable:
    """A squared error that takes its time."""

    def loss(y, z):
        time.sleep(seconds)
        return 0.5 * ((y - z) ** 2).sum(axis=-1), y - z

    return loss


def measured(client, workers, shards, hidden, sleep):
    """The median of some evaluations, and what one shard takes beside its sleep."""
    client.cluster.scale(workers)
    while len(client.scheduler_info(n_workers=-1)["workers"]) != workers:
        time.sleep(0.05)
    net = network(hidden, loss=sleeping(sleep))
    taken = []
    with lc.DistributedObjective(net, [(part, k, 1, 2) for k in range(shards)], client) as obj:
        for _ in range(REPEATS + 2):
            began = time.perf_counter()
            obj(net.params)
            taken.append(time.perf_counter() - began)
    return net.params.size, np.median(taken[2:])


def undelayed(client):
    """a, b and the cost of bytes of this cluster, in one process on this machine."""
    counts = 1, 4, 8, 16, 32, 64
    taken = [measured(client, 16, n, 32, 0.0)[1] for n in counts]
    a_shard, constant = np.polyfit(counts, taken, 1)
    size, wide = measured(client, 16, 16, 160, 0.0)
    costs = Costs(constant, a_shard)
    beside = wide - costs.overhead(size, 16, 16)
    costs.bandwidth = 8 * size * (2 * 16 + 16 + 1) / beside
    print(
        f"a = {1e3 * constant:.1f} ms, b = {1e3 * a_shard:.2f} ms, "
        f"bytes at {costs.bandwidth / 1e6:.0f} MB/s"
    )
    return costs


def main():
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # of workers that leave
    backends["delayed"] = Backend()
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="delayed://",
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        costs = undelayed(client)
        print("workers shards parameters   a shard  latency    link   measured  formula")
        for workers, shards, hidden, sleep, latency, bandwidth in CASES:
            LINK.latency, LINK.bandwidth = latency, bandwidth
            size, taken = measured(client, workers, shards, hidden, sleep)
            LINK.latency, LINK.bandwidth = UNDELAYED
            both = 1 / (1 / costs.bandwidth + 1 / bandwidth)
            expected = replace(costs, latency=latency, bandwidth=both)
            expected = expected.evaluation(size, shards, workers, sleep)
            print(
                f"{workers:7} {shards:6} {size:10} {1e3 * sleep:7.0f} ms {1e3 * latency:5.0f} ms"
                f" {bandwidth / 1e6:5.0f} MB/s {1e3 * taken:6.0f} ms {1e3 * expected:6.0f} ms"
                f" {taken / expected:6.0%}"
            )


if __name__ == "__main__":
    main()

"""`DistributedObjective`: the same bits on every engine, lost workers, errors, nothing left."""

import gc
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pytest
import scipy.optimize
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

import lstmcore as lc
from lstmcore import distributed
from lstmcore.datasets import load_japanese_vowels
from lstmcore.estimators import SequenceRegressor


def part(seed, n, steps=12):
    x = np.random.default_rng(seed).normal(size=(n, steps, 2))
    weights = np.random.default_rng(seed + 100).uniform(0.5, 2.0, size=n)
    return {"X": x, "Y": np.cumsum(x[..., :1], axis=1) / 5, "sample_weight": weights}


SHARDS = [(part, k, n) for k, n in enumerate((9, 7, 8, 3, 5))]


def network(**options):
    return lc.Network([lc.LSTM(2, 6), lc.Dense(6, 1)], seed=0, **options)


def all_of(obj):
    """Whatever an objective computes, at fixed points, as bytes."""
    theta, v = np.random.default_rng(1).normal(scale=0.4, size=(2, obj.size))
    f, g = obj(theta)
    values = [obj.total, f, obj.fun(theta), g, obj.grad(theta), *obj.sums(theta)]
    values += [obj.gauss_newton(theta, v), obj.hessp(theta, v)]
    return b"".join(np.asarray(value, np.float64).tobytes() for value in values)


@pytest.fixture(scope="module")
def expected():
    return all_of(lc.DistributedObjective(network(), SHARDS, l2=1e-3, l1=1e-4))


@pytest.fixture(scope="module")
def threads():
    """A client whose workers are threads of this process; how many, a test may change."""
    with (
        LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def processes():
    """A client with two workers, processes of one thread each, of which tests may kill some."""
    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def scale(client, n):
    client.cluster.scale(n)
    deadline = time.monotonic() + 30
    while len(client.scheduler_info(n_workers=-1)["workers"]) != n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def held_on(client):
    """What of an objective is on the cluster, when it has had the time to forget."""
    deadline = time.monotonic() + 10
    while True:
        gc.collect()  # of exceptions that Dask's own objects refer to
        keys = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
        if not keys or time.monotonic() > deadline:
            return keys
        time.sleep(0.02)


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_objective_of_all_data_has_the_same_values(reduction, dtype):
    net = network(dtype=dtype)
    parts = [part(*arguments) for _, *arguments in SHARDS]
    whole = {name: np.concatenate([data[name] for data in parts]) for name in parts[0]}
    penalty = {"l2": {"*.R": 1e-2, "1.b": 0.1}, "l1": 1e-3}
    obj = lc.DistributedObjective(net, SHARDS, reduction=reduction, **penalty)
    one = lc.Objective(net, **whole, reduction=reduction, **penalty)
    theta, v = np.random.default_rng(2).normal(scale=0.4, size=(2, obj.size))
    rtol = 1e-12 if dtype == "float64" else 1e-4
    close = {"rtol": rtol, "atol": rtol * np.abs(one.grad(theta)).max()}
    assert np.isclose(obj.total, one.total, rtol=1e-14)
    assert (obj.size, obj.weight_slices, obj.l2, obj.l1) == (
        one.size, one.weight_slices, one.l2, one.l1,
    )  # fmt: skip
    f, g = obj(theta)
    assert type(f) is float
    assert g.dtype == np.float64
    assert np.isclose(f, one(theta)[0], rtol=rtol)
    assert np.isclose(obj.fun(theta), one.fun(theta), rtol=rtol)
    assert np.allclose(g, one.grad(theta), **close)
    assert np.allclose(obj.sums(theta)[1], one.sums(theta)[1], rtol=rtol, atol=rtol * one.total)
    for method in "gauss_newton", "hessp":
        product = getattr(one, method)(theta, v)
        atol = 1e-7 * np.abs(product).max()
        assert np.allclose(getattr(obj, method)(theta, v), product, rtol=0, atol=atol)


def test_a_shard_without_weight_counts_nothing():
    data = part(0, 4)
    nothing = data | {"sample_weight": np.zeros(4)}
    net = network()
    with_it = lc.DistributedObjective(net, [data, nothing])
    assert np.array_equal(
        with_it.grad(net.params), lc.DistributedObjective(net, [data]).grad(net.params)
    )
    with pytest.raises(ValueError, match="shards: expected a finite sum of weights"):
        lc.DistributedObjective(net, [nothing])


def test_minimize_and_scipy_take_it():
    net = network()
    obj = lc.DistributedObjective(net, SHARDS, l2=1e-3)
    start = obj.fun(net.params)
    for method in "trust-krylov", "Newton-CG":
        res = scipy.optimize.minimize(
            obj, net.params, jac=True, hessp=obj.gauss_newton, method=method, options={"maxiter": 5}
        )
        assert res.fun < 0.5 * start
    for method in "L-BFGS-B", "hessian-free", "rprop":
        net = network()
        obj = lc.DistributedObjective(net, SHARDS, l2=1e-3)
        validation = lc.DistributedObjective(net, [(part, 50, 5)])
        res = lc.minimize(obj, method, target=0.5 * start, validation=validation)
        assert res.message.startswith("target") or res.status == 97
        assert len(res.history["validation_loss"]) == len(res.history["loss"])


def test_a_run_goes_on_from_its_file_on_any_engine(threads, tmp_path):
    def run(client, path, max_iter, shards=SHARDS, **options):
        with lc.DistributedObjective(network(), shards, client, **options) as obj:
            return lc.minimize(obj, tol=0, max_iter=max_iter, checkpoint_path=path)

    path = tmp_path / "run"
    with pytest.warns(lc.ConvergenceWarning):
        whole = run(None, None, 8)
        run(threads, path, 3)
        rest = run(None, path, 8)
    assert rest.x.tobytes() == whole.x.tobytes()
    for options in {"l2": 0.1}, {"reduction": "sum"}, {"shards": SHARDS[1:]}, {"frozen": "1.b"}:
        with pytest.raises(ValueError, match=r"checkpoint_path: .* differ: objective"):
            run(None, path, 8, **options)


FROZEN = "0.W", "1.b"


def test_frozen_blocks_keep_their_values(threads):
    net = network()
    parts = [part(*arguments) for _, *arguments in SHARDS]
    whole = {name: np.concatenate([data[name] for data in parts]) for name in parts[0]}
    options = {"l2": {"0.*": 1e-2}, "l1": 1e-3, "frozen": FROZEN}
    one = lc.Objective(net, **whole, **options)
    obj = lc.DistributedObjective(net, SHARDS, **options)
    assert obj.size == one.size < net.params.size
    assert (obj.weight_slices, obj.frozen) == (one.weight_slices, FROZEN)
    assert np.array_equal(obj.frozen_values, one.frozen_values)
    theta, v = np.random.default_rng(2).normal(scale=0.4, size=(2, obj.size))
    assert np.array_equal(obj.params_of(theta), one.params_of(theta))
    assert np.isclose(obj.fun(theta), one.fun(theta), rtol=1e-12)
    assert np.allclose(obj.grad(theta), one.grad(theta), rtol=1e-10, atol=1e-12)
    for method in "gauss_newton", "hessp":
        product = getattr(one, method)(theta, v)
        atol = 1e-7 * np.abs(product).max()
        assert np.allclose(getattr(obj, method)(theta, v), product, rtol=0, atol=atol)
    assert np.array_equal(obj.theta_of(net.params), one.theta_of(net.params))
    start = net.params.copy()
    for method in "L-BFGS-B", "rprop", "hessian-free":
        with lc.DistributedObjective(net, SHARDS, threads, **options) as obj:
            res = lc.minimize(obj, method, target=0.5 * obj.fun(obj.theta_of(start)))
        assert res.x.size == obj.size
        assert all(np.array_equal(net.blocks[name], network().blocks[name]) for name in FROZEN)
        assert not np.array_equal(net.params, start)
        net.params = start
    validation = lc.DistributedObjective(net, [(part, 50, 5)], frozen=FROZEN)
    expected = validation.fun(validation.theta_of(start))
    with pytest.warns(lc.ConvergenceWarning):
        res = lc.minimize(one, validation=validation, max_iter=1)
    assert res.history["validation_loss"][0] == expected


def test_fit_takes_an_objective_in_place_of_data():
    def run(fit, **options):
        net = network()
        objective = lc.DistributedObjective(net, SHARDS, l2=1e-3)
        with pytest.warns(lc.ConvergenceWarning):
            return net, fit(net, objective, max_iter=3, **options)

    net, res = run(lc.fit)
    with pytest.warns(lc.ConvergenceWarning):
        again = lc.minimize(lc.DistributedObjective(network(), SHARDS, l2=1e-3), max_iter=3)
    assert res.x.tobytes() == again.x.tobytes() == net.params.tobytes()
    net, res = run(lc.fit, n_restarts=2, seed=0)
    assert len(res.restarts) == 3
    assert res.x.tobytes() == net.params.tobytes()
    net = network()
    validation = lc.DistributedObjective(net, [(part, 50, 5)])
    objective = lc.Objective(net, **part(0, 9))
    with pytest.warns(lc.ConvergenceWarning):
        res = lc.fit(net, objective, validation_data=validation, max_iter=3)
    assert len(res.history["validation_loss"]) == 4


def test_fit_of_an_objective_refuses_what_it_has_in_it():
    net = network()
    obj = lc.DistributedObjective(net, SHARDS)
    for options, message in [
        ({"Y": np.zeros(3)}, "Y: expected None beside an objective"),
        ({"l2": 0.1}, "l2: expected None beside an objective"),
        ({"sample_weight": np.ones(3)}, "sample_weight: expected None beside an objective"),
        ({"validation_split": 0.2}, "validation_split: expected None with a DistributedObj"),
        ({"n_restarts": 1, "n_jobs": 2}, "n_jobs: expected 1 with a DistributedObjective"),
    ]:
        with pytest.raises(ValueError, match=message):
            lc.fit(net, obj, **options)
    for other in obj, lc.Objective(net, **part(0, 9)):
        with pytest.raises(ValueError, match="X: expected an objective of net"):
            lc.fit(network(), other)


def test_data_far_from_unit_scale_are_told_of(threads):
    def far(seed, n):
        data = part(seed, n)
        return data | {"X": 1e4 * data["X"]}

    shards = [(far, 0, 4), (far, 1, 3)]
    for client in None, threads:
        with (
            lc.DistributedObjective(network(), shards, client) as obj,
            pytest.warns(lc.ConvergenceWarning),
            pytest.warns(lc.ScaleWarning, match=r"shards\[0\], as each of them: X has feature 0"),
        ):
            lc.minimize(obj, max_iter=1)
    with pytest.warns(lc.ConvergenceWarning) as caught:
        lc.minimize(lc.DistributedObjective(network(), [*shards, (part, 2, 3)]), max_iter=1)
    assert len(caught) == 1


def test_a_function_of_each_shard(threads):
    for client in None, threads:
        with lc.DistributedObjective(network(), SHARDS, client) as obj:
            assert obj.map_shards(lambda shard: len(shard.examples)) == [9, 7, 8, 3, 5]
            with pytest.raises(RuntimeError, match=r"^shards\[0\]: ZeroDivisionError"):
                obj.map_shards(lambda shard: 1 // 0)
            with pytest.raises(TypeError, match="function: expected a callable, got 'fun'"):
                obj.map_shards("fun")


# ---- the same bits -------------------------------------------------------------------------------


def test_bits_on_threads_of_dask(threads, expected):
    for n in 1, 2, 3:
        scale(threads, n)
        with lc.DistributedObjective(network(), SHARDS, threads, l2=1e-3, l1=1e-4) as obj:
            assert all_of(obj) == expected
    assert held_on(threads) == []


@pytest.mark.parametrize("threads_per_worker", [1, 2])
def test_bits_on_processes_of_dask(expected, threads_per_worker):
    data = [function(*rest) for function, *rest in SHARDS]
    with (
        LocalCluster(1, threads_per_worker=threads_per_worker, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for n, n_threads, shards, keep in [
            (1, 1, SHARDS, True),
            (2, 2, SHARDS, True),
            (3, 1, data, True),
            (3, 2, SHARDS, False),
        ]:
            scale(client, n)
            options = {"l2": 1e-3, "l1": 1e-4, "n_threads": n_threads, "keep": keep}
            with lc.DistributedObjective(network(), shards, client, **options) as obj:
                assert all_of(obj) == expected
        assert held_on(client) == []


def test_bits_on_a_pool(expected):
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        lc.DistributedObjective(network(), SHARDS, pool, l2=1e-3, l1=1e-4) as obj,
    ):
        assert all_of(obj) == expected
    with (
        ThreadPoolExecutor(2) as pool,
        lc.DistributedObjective(network(), SHARDS, pool, l2=1e-3, l1=1e-4, n_threads=2) as obj,
    ):
        assert all_of(obj) == expected


class Shuffled:
    """An executor that runs what waits in a random order, and all of it when a result is asked."""

    def __init__(self, seed):
        self._random, self._waiting = random.Random(seed), []

    def submit(self, function, *arguments):
        future = Waiting(self)
        self._waiting.append((future, function, arguments))
        return future

    def run(self):
        self._random.shuffle(self._waiting)
        while self._waiting:
            future, function, arguments = self._waiting.pop()
            future.set_result(function(*arguments))


class Waiting(Future):
    def __init__(self, executor):
        super().__init__()
        self._executor = executor

    def result(self, timeout=None):
        self._executor.run()
        return super().result(timeout)


@pytest.mark.parametrize("seed", range(4))
def test_bits_in_any_order(expected, seed):
    options = {"l2": 1e-3, "l1": 1e-4, "keep": seed % 2 == 0}
    obj = lc.DistributedObjective(network(), SHARDS, Shuffled(seed), **options)
    assert all_of(obj) == expected


def test_sums_go_in_pairs():
    eps = 2.0**-53  # twice of it next to 1 is seen, once is not
    assert distributed._pairwise_sum([1.0, -1.0, eps, eps, 1.0]) == 1.0 + 2 * eps
    for n in range(1, 20):
        assert distributed._pairwise_sum(range(n)) == n * (n - 1) // 2


# ---- workers that are lost -----------------------------------------------------------------------


def processes_of(client):
    """The processes of its two workers, once both are there."""
    deadline = time.monotonic() + 30
    while True:
        found = client.run(os.getpid, on_error="ignore")
        if len(found) == 2:
            return list(found.values())
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(pid):
    """As the kernel does where memory is short."""
    os.kill(pid, signal.SIGKILL)


def test_a_worker_killed_between_two_evaluations(processes, expected):
    with lc.DistributedObjective(network(), SHARDS, processes, l2=1e-3, l1=1e-4) as obj:
        kill(processes_of(processes)[0])
        assert all_of(obj) == expected


def test_workers_killed_while_a_run_goes_on(processes):
    def run(client, killers):
        net = network()
        shards = [(part, k, 60, 80) for k in range(4)]
        with lc.DistributedObjective(net, shards, client, l2=1e-3) as obj:
            for killer in killers:
                killer.start()
            res = lc.minimize(obj, max_iter=15, tol=0)
            for killer in killers:
                killer.join()
        return res.fun, res.x.tobytes(), res.history["loss"].tobytes()

    pids = processes_of(processes)
    killers = [threading.Timer(t, kill, [pid]) for t, pid in zip((0.05, 0.4), pids, strict=True)]
    with pytest.warns(lc.ConvergenceWarning):
        assert run(processes, killers) == run(None, [])


def fatal(path, deaths, *arguments):
    """`part`, but the first so many times the process dies of it."""
    with open(path, "a+") as file:
        file.write("x")
        file.flush()
        if file.tell() <= deaths:
            os._exit(1)
    return part(*arguments)


def test_a_shard_that_kills_workers(tmp_path, expected):
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        shards = [*SHARDS[:-1], (fatal, tmp_path / "a", 1, 4, 5)]
        with lc.DistributedObjective(network(), shards, client, l2=1e-3, l1=1e-4) as obj:
            assert all_of(obj) == expected
        assert (tmp_path / "a").read_text() == "xx"
        shards = [*SHARDS[:-1], (fatal, tmp_path / "b", 99, 4, 5)]
        with pytest.raises(RuntimeError, match=r"shards\[4\]: .* got 2 in turn .* KilledWorker"):
            lc.DistributedObjective(network(), shards, client, retries=1)
        assert (tmp_path / "b").read_text() == "xx"
        assert held_on(client) == []


def test_a_cluster_that_restarts(threads, expected):
    with lc.DistributedObjective(network(), SHARDS, threads, l2=1e-3, l1=1e-4) as obj:
        for future in obj._engine._shards.values():
            future.cancel(force=True)
        assert all_of(obj) == expected


def test_a_pool_whose_process_dies(tmp_path):
    shards = [(fatal, tmp_path / "a", 1, 0, 2)]
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(RuntimeError, match="client: expected an executor that takes tasks"),
    ):
        lc.DistributedObjective(network(), shards, pool)


# ---- mistakes ------------------------------------------------------------------------------------


class NotPortable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def broken(kind):
    raise kind("no such file") if kind is not NotPortable else NotPortable(1, 2)


@pytest.mark.parametrize(
    "kind, message",
    [
        (OSError, "OSError: no such file"),
        (KeyError, "KeyError: 'no such file'"),
        (MemoryError, "MemoryError: no such file"),
        (NotPortable, "NotPortable: 1 and 2"),
    ],
)
def test_a_function_that_raises(processes, kind, message):
    for client in None, processes:
        with pytest.raises(RuntimeError, match=rf"^shards\[1\]: .*{message}") as caught:
            lc.DistributedObjective(network(), [SHARDS[0], (broken, kind)], client)
        cause = caught.value.__cause__
        assert type(cause) is kind or kind is NotPortable
        if client is not None:
            assert "in broken" in str(cause.__cause__)
    assert held_on(processes) == []


@pytest.mark.parametrize(
    "data, message",
    [
        (part(0, 2) | {"X": np.full((2, 12, 2), np.nan)}, "ValueError: X: expected finite"),
        (part(0, 2) | {"Y": np.zeros((2, 11, 1))}, "ValueError: Y: expected shape"),
        (part(0, 2) | {"Z": 1}, "TypeError: .*'Z'"),
        (part(0, 2) | {"reduction": "mean"}, "ValueError: reduction: expected beside shards"),
        (part(0, 2) | {"class_weight": "balanced"}, "ValueError: class_weight: expected numbers"),
        ((list, "ab"), r"TypeError: expected a tuple \(X, Y\) or a dict .*, got a list"),
        ((dict,), "TypeError: .*'X'"),
    ],
)
def test_data_that_are_wrong(threads, data, message):
    for client in None, threads:
        with pytest.raises(RuntimeError, match=rf"^shards\[1\]: {message}"):
            lc.DistributedObjective(network(), [SHARDS[0], data], client)


def test_arguments_that_are_wrong():
    net = network()
    for arguments, options, error, message in [
        ((None, SHARDS), {}, TypeError, "net: expected a Network"),
        ((net, part), {}, TypeError, "shards: expected a list"),
        ((net, []), {}, ValueError, "shards: expected one or more"),
        ((net, [np.zeros(3)]), {}, TypeError, r"shards\[0\]: expected a function"),
        ((net, SHARDS, "tcp://"), {}, TypeError, "client: expected a distributed.Client"),
        ((net, SHARDS), {"l2": -1}, ValueError, "l2: "),
        ((net, SHARDS), {"reduction": "max"}, ValueError, "reduction: expected one of mean, sum"),
        ((net, SHARDS), {"retries": -1}, ValueError, "retries: expected an integer >= 0"),
        ((net, SHARDS), {"n_threads": 0}, ValueError, "n_threads: "),
        ((net, SHARDS), {"keep": 1}, TypeError, "keep: expected True or False"),
        ((net, SHARDS), {"frozen": "3.W"}, ValueError, "frozen: "),
    ]:
        with pytest.raises(error, match=message):
            lc.DistributedObjective(*arguments, **options)
    obj = lc.DistributedObjective(net, SHARDS)
    for call in obj, obj.fun, obj.sums, lambda x: obj.hessp(net.params, x):
        with pytest.raises(ValueError, match=r"(theta|v): expected shape \(\d+,\), got \(3,\)"):
            call(np.zeros(3))
    with pytest.raises(TypeError, match=r"have residuals.*; hessian-free and the trust-region"):
        lc.minimize(obj, "least_squares")
    for name in "batch_size", "truncate", "dropout", "input_noise":
        value = 4 if name in ("batch_size", "truncate") else 0.1
        with pytest.raises(TypeError, match=f"{name}: expected None with a DistributedObjective"):
            lc.minimize(obj, "adam", **{name: value})
    with pytest.raises(AttributeError, match=r"jacobian: expected an Objective, got .* residuals"):
        obj.jacobian(net.params)
    with pytest.raises(AttributeError, match=r"on_batch: expected an Objective, .* on workers"):
        obj.on_batch(net.params, np.arange(3))
    with pytest.raises(AttributeError, match="a DistributedObjective has no funn"):
        obj.funn(net.params)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(obj)
    with pytest.raises(AttributeError, match="retries: a DistributedObjective stays as it was"):
        obj.retries = 5


def test_what_is_closed_takes_no_calls(threads):
    net = network()
    with lc.DistributedObjective(net, SHARDS) as obj:
        pass
    with pytest.raises(RuntimeError, match="is closed and takes no more calls"):
        obj(net.params)
    client = Client(threads.cluster)
    obj = lc.DistributedObjective(net, SHARDS, client)
    client.close()
    with pytest.raises(RuntimeError, match=r"client: expected .* that is open, got one of status"):
        obj(net.params)
    with pytest.raises(RuntimeError, match=r"client: expected .* that is open, got one of status"):
        lc.DistributedObjective(net, SHARDS, client)
    with ThreadPoolExecutor(1) as pool:
        obj = lc.DistributedObjective(net, SHARDS, pool)
    with pytest.raises(RuntimeError, match="client: expected an executor that takes tasks"):
        obj(net.params)


def test_dask_knows_how_large_a_shard_is(threads):
    with lc.DistributedObjective(network(), SHARDS, threads) as obj:
        sizes = threads.run_on_scheduler(
            lambda dask_scheduler: [
                task.nbytes
                for name, task in dask_scheduler.tasks.items()
                if name.startswith("lstmcore-build")
            ]
        )
        assert obj.n_shards == len(sizes)
        assert min(sizes) >= 8 * (2 + 1) * 12 * 3  # inputs and targets of three sequences


# ---- memory --------------------------------------------------------------------------------------


def test_parameters_of_more_than_a_megabyte(processes):
    net = lc.Network([lc.LSTM(2, 181), lc.Dense(181, 1)], seed=0)
    assert net.params.nbytes > 1 << 20
    shards = [(part, k, 2, 3) for k in range(3)]
    with lc.DistributedObjective(net, shards, processes) as obj:
        f, g = obj(net.params)
        kill(processes_of(processes)[0])
        assert all_of(obj) == all_of(lc.DistributedObjective(net, shards))
    f_here, g_here = lc.DistributedObjective(net, shards)(net.params)
    assert f == f_here
    assert np.array_equal(g, g_here)
    assert held_on(processes) == []


def test_the_clients_memory_does_not_grow():
    net = lc.Network([lc.LSTM(2, 48), lc.Dense(48, 1)], seed=0)
    with lc.DistributedObjective(net, [(part, 0, 1, 2), (part, 1, 1, 2)]) as obj:
        for _ in range(10):
            obj(net.params)
        tracemalloc.start()
        try:
            for _ in range(1000):
                obj(net.params)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert grown < 10 * net.params.nbytes


def test_no_memory_of_dask_grows_by_vectors(threads):
    """Client, scheduler and workers are all in this process."""
    net = lc.Network([lc.LSTM(2, 160), lc.Dense(160, 1)], seed=0)
    assert net.params.nbytes > distributed._INLINE
    process = psutil.Process()
    with lc.DistributedObjective(net, [(part, 0, 1, 2), (part, 1, 1, 2)], threads) as obj:
        for _ in range(50):
            obj(net.params)
        before = process.memory_info().rss
        for _ in range(1000):
            obj(net.params)
        gc.collect()
        grown = process.memory_info().rss - before
    # One vector kept for each evaluation would be 1; Dask's own logs, which are bounded, are 0.02.
    assert grown < 0.1 * 1000 * net.params.nbytes
    assert held_on(threads) == []


def test_shards_that_dask_has_written_to_disk(expected):
    import dask

    with (
        dask.config.set({"distributed.worker.memory.target": 1e-6}),
        LocalCluster(
            1, threads_per_worker=1, processes=False, memory_limit="4GiB", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
        lc.DistributedObjective(network(), SHARDS, client, l2=1e-3, l1=1e-4) as obj,
    ):
        assert all_of(obj) == expected
        (on_disk,) = client.run(lambda dask_worker: len(dask_worker.data.slow)).values()
        assert on_disk >= len(SHARDS) - 1


def test_shards_in_a_process_share_the_memory_of_their_calls(threads):
    def network_of(shard):
        return id(shard.net)

    for client in None, threads:
        with lc.DistributedObjective(network(), SHARDS, client) as obj:
            assert len(set(obj.map_shards(network_of))) == 1
        gc.collect()
        assert held_on(threads) == []
        assert not distributed._networks


def test_shards_that_are_not_kept_are_nowhere(threads):
    with (
        lc.DistributedObjective(network(), SHARDS, threads, keep=False) as obj,
        lc.DistributedObjective(network(), SHARDS, keep=False) as here,
    ):
        assert all_of(obj) == all_of(here)
        assert held_on(threads) == []
        assert n_kept() == 0


def test_a_shard_that_is_not_kept_may_fail_later(threads, tmp_path):
    path = tmp_path / "data.npy"

    def read():
        x = np.load(path)
        return x, x[..., :1]

    np.save(path, part(0, 3)["X"])
    for client in None, threads:
        with lc.DistributedObjective(network(), [SHARDS[0], read], client, keep=False) as obj:
            obj(obj.net.params)
            path.rename(tmp_path / "gone")
            with pytest.raises(RuntimeError, match=r"^shards\[1\]: FileNotFoundError"):
                obj(obj.net.params)
            (tmp_path / "gone").rename(path)


def test_nothing_is_left_of_an_objective_that_nobody_has(threads):
    obj = lc.DistributedObjective(network(), SHARDS, threads)
    obj(obj.net.params)
    there = weakref.ref(obj)
    del obj
    gc.collect()
    assert there() is None
    assert held_on(threads) == []


def n_kept():
    return sum(map(len, distributed._kept.values()))


def test_a_process_forgets_objectives_that_are_closed():
    before = n_kept()
    first = lc.DistributedObjective(network(), SHARDS)
    assert n_kept() == before + 5
    first.close()
    assert n_kept() == before
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with (
            lc.DistributedObjective(network(), SHARDS, pool),
            lc.DistributedObjective(network(), SHARDS[:2], pool),
        ):
            assert pool.submit(n_kept).result() == 7
        with lc.DistributedObjective(network(), SHARDS[:1], pool):
            assert pool.submit(n_kept).result() == 1


# ---- the examples --------------------------------------------------------------------------------


def printed_by(name, *arguments):
    """What an example prints."""
    script = Path(lc.__file__).parents[1] / "examples" / name
    if not script.exists():
        pytest.skip("not in a source tree")
    command = [sys.executable, "-W", "error", script, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    return run.stdout


@pytest.mark.parametrize("options", [(), ("--keep",)])
def test_training_on_files(options):
    text = printed_by(
        "distributed_training.py",
        "--shards",
        "2",
        "--sequences",
        "20",
        "--memory",
        "2GiB",
        *options,
    )
    before, after = (float(loss) for loss in re.findall(r"held out ([0-9.]+)", text))
    assert after < 0.3 * before


def test_training_on_more_than_a_worker_may_hold():
    sizes = "--shards", "16", "--memory", "240MiB"
    text = printed_by("distributed_training.py", *sizes, "--iterations", "1")
    files, limit, most = (float(size) for size in re.findall(r"([0-9]+) MB", text))
    assert most < limit < files


def test_a_search_on_dask_is_that_of_one_process():
    values = re.search(r"4 starts: (.*); kept", printed_by("search_on_dask.py")).group(1)
    X, y, _, _ = load_japanese_vowels()
    layers = [lc.LSTM(X[0].shape[1], 8), lc.Dense(8, 9)]
    net = lc.Network(layers, loss="cross_entropy", readout="mean", seed=0)
    numbers = np.unique(y, return_inverse=True)[1]
    with pytest.warns(lc.ConvergenceWarning):
        res = lc.fit(net, X, numbers, l2=1e-3, max_iter=20, n_restarts=3, seed=0)
    assert values == ", ".join(f"{run.value:.4f}" for run in res.restarts)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_joblib_on_dask_has_the_bits_of_one_process(threads):
    data = part(0, 9)

    def run(**options):
        net = network()
        with pytest.warns(lc.ConvergenceWarning):
            res = lc.fit(net, **data, max_iter=3, n_restarts=2, seed=0, **options)
        return net.params.tobytes(), [run.value for run in res.restarts]

    def searched():
        regressor = SequenceRegressor((3,), max_iter=3, n_threads=1, random_state=0)
        grid = GridSearchCV(regressor, {"alpha": [0.1, 1.0]}, cv=2, n_jobs=-1)
        found = grid.fit(list(data["X"]), data["Y"][:, -1, 0])
        return found.cv_results_["mean_test_score"].tobytes()

    with parallel_config("dask"):
        there = run(n_jobs=-1), searched()
    with parallel_config("sequential"):
        assert (run(), searched()) == there


# ---- split ---------------------------------------------------------------------------------------


def test_split_deals_out_all_sequences():
    rng = np.random.default_rng(0)
    for n in 1, 3, 40:
        lengths = rng.integers(0, 50, size=40)
        parts = lc.split(lengths, n)
        assert sorted(np.concatenate(parts).tolist()) == list(range(40))
        assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
        steps = [int(lengths[part].sum()) for part in parts]
        assert steps == sorted(steps, reverse=True)
        assert steps[0] <= max(4 / 3 * lengths.sum() / n, lengths.max()) + 1
        of_lists = lc.split([np.zeros((t, 2)) for t in lengths], n)
        assert all(np.array_equal(a, b) for a, b in zip(parts, of_lists, strict=True))
    assert [part.tolist() for part in lc.split(np.zeros((4, 7, 2)), 2)] == [[0, 2], [1, 3]]
    assert [part.tolist() for part in lc.split([0, 0], 2)] == [[0], [1]]


@pytest.mark.parametrize(
    "X, n, error, message",
    [
        ([3, 4], 3, ValueError, "n: expected at most 2, one for each sequence, got 3"),
        ([3, 4], 0, ValueError, "n: expected an integer >= 1, got 0"),
        ([3, -4], 1, ValueError, "X: expected numbers of steps >= 0, got -4"),
        ([3.5, 4], 1, TypeError, "X: expected numbers of steps that are integers"),
        ([], 1, ValueError, "X: expected sequences, or their numbers of steps"),
        ("ab", 1, ValueError, "X: expected sequences, or their numbers of steps"),
        ([[1, 2], 3], 1, ValueError, r"X\[1\]: expected a sequence, got 3"),
    ],
)
def test_split_of_what_is_wrong(X, n, error, message):
    with pytest.raises(error, match=message):
        lc.split(X, n)

"""`fit` with `n_restarts`: several runs, the best one kept, the same for any number of jobs."""

import importlib.util
import warnings

import numpy as np
import pytest
from small_runs import data, network, quiet_fit

import lstmcore as lc

needs_joblib = pytest.mark.skipif(
    importlib.util.find_spec("joblib") is None, reason="joblib is not installed"
)
# Methods, each with what makes a short run of it.
RUNS = {
    "L-BFGS-B": {"max_iter": 6},
    "rprop": {"max_epochs": 10},
    "adam": {"max_epochs": 4, "batch_size": 2, "learning_rate": 0.02},
}
methods = pytest.mark.parametrize("method", RUNS)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def test_initial_params_are_those_of_a_new_network():
    for dtype in ("float32", "float64"):
        net = network(dtype, seed=5)
        fresh = net.initial_params(seed=7)
        assert fresh.dtype == dtype
        np.testing.assert_array_equal(fresh, network(dtype, seed=7).params)
        np.testing.assert_array_equal(net.params, network(dtype, seed=5).params)
    with pytest.raises(ValueError, match="seed: expected None, an integer >= 0"):
        net.initial_params(-1)


@methods
@dtypes
@pytest.mark.parametrize("validates", [False, True])
def test_each_run_is_one_by_itself_and_the_best_is_kept(method, dtype, validates):
    net, again, (X, Y) = network(dtype), network(dtype), data()
    held_out = data(seed=2) if validates else None
    arguments = {"method": method, "validation_data": held_out, **RUNS[method]}
    result = quiet_fit(net, X, Y, n_restarts=4, seed=3, **arguments)
    assert len(result.restarts) == 5 and result.restarts[0].seed is None
    runs = []
    for entry in result.restarts:
        rng = np.random.default_rng(3 if entry.seed is None else entry.seed)
        again.params = network(dtype).params if entry.seed is None else again.initial_params(rng)
        of_batches = {"seed": rng} if method == "adam" else {}
        runs.append(quiet_fit(again, X, Y, **of_batches, **arguments))
        value = runs[-1].history["validation_loss"].min() if validates else runs[-1].fun
        assert entry.value == value
        assert (entry.nit, entry.nfev, entry.status) == (runs[-1].nit, runs[-1].nfev, 0) or (
            method == "L-BFGS-B"
        )
    assert len({entry.value for entry in result.restarts}) == 5
    best = int(np.argmin([entry.value for entry in result.restarts]))
    assert result.restart == best
    np.testing.assert_array_equal(result.x, runs[best].x)
    np.testing.assert_array_equal(net.params, runs[best].x.astype(dtype))
    for name in set(result.history) - {"time"}:
        np.testing.assert_array_equal(result.history[name], runs[best].history[name])


@methods
def test_a_seed_is_one_result(method):
    X, Y = data()
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (4, np.random.SeedSequence(4), 5), strict=True):
        quiet_fit(net, X, Y, method=method, n_restarts=3, seed=seed, **RUNS[method])
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    assert (nets[0].params != nets[2].params).any()


@pytest.mark.parametrize("validates", [False, True])
def test_a_target_ends_the_runs(validates):
    net, (X, Y) = network(), data()
    held_out = (X, [y + 0.01 for y in Y]) if validates else None
    arguments = {"method": "rprop", "max_epochs": 12, "validation_data": held_out, "seed": 0}
    free = quiet_fit(network(), X, Y, n_restarts=6, **arguments)
    values = [entry.value for entry in free.restarts]
    first = next(k for k, value in enumerate(values) if k and value < min(values[:k]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # whoever has reached the target hears no complaint
        result = lc.fit(net, X, Y, n_restarts=6, target=values[first], **arguments)
    assert [entry.value for entry in result.restarts] == values[: first + 1]
    assert (result.restart, result.success, result.status) == (first, True, 97)
    what = "validation loss" if validates else "loss"
    assert result.message.startswith(f"the {what} is {values[first]:.6g}, not above the target")
    np.testing.assert_array_equal(net.params, result.x)


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr", "TNC", "adam"])
def test_a_target_ends_a_run_of_any_method(method):
    net, (X, Y) = network(), data()
    options = {} if method != "adam" else {"batch_size": 2, "learning_rate": 0.02, "seed": 0}
    free = quiet_fit(network(), X, Y, method=method, **options)
    losses = free.history["loss"][1:]
    target = losses[len(losses) // 2]
    result = lc.fit(net, X, Y, method=method, target=target, **options)
    assert (result.success, result.status) == (True, 97)
    assert result.nit == 1 + int(np.argmax(losses <= target))
    assert result.fun <= target


@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt])
def test_who_is_stopped_keeps_the_best_run_so_far(end):
    net, (X, Y), calls = network(), data(), []

    def callback(now):
        calls.append(now.x)
        if len(calls) == 13:
            raise end

    with warnings.catch_warnings():
        warnings.simplefilter("error", lc.ConvergenceWarning)
        result = lc.fit(
            net, X, Y, method="rprop", max_epochs=5, n_restarts=9, seed=0, callback=callback
        )
    assert [entry.nit for entry in result.restarts] == [5, 5, 3]
    assert [entry.status for entry in result.restarts] == [0, 0, 99]
    values = [entry.value for entry in result.restarts]
    assert result.fun == min(values) == values[result.restart]
    np.testing.assert_array_equal(net.params, result.x)


def test_an_error_in_a_callback_leaves_the_best_run_before():
    net, (X, Y), seen = network(), data(), []

    def callback(now):
        seen.append(now)
        if len(seen) == 12:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        quiet_fit(net, X, Y, method="rprop", max_epochs=5, n_restarts=9, seed=0, callback=callback)
    best = min(seen[:10], key=lambda now: now.fun)
    np.testing.assert_array_equal(net.params, best.x)


def test_a_run_that_fails_is_not_the_best():
    class Spoiled(lc.Objective):
        count = 0

        def __call__(self, theta):
            Spoiled.count += 1
            f, g = super().__call__(theta)
            return (np.nan, g) if Spoiled.count == 1 else (f, g)

    from lstmcore import training

    net, (X, Y) = network(), data()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Objective", Spoiled)
        result = quiet_fit(net, X, Y, max_iter=4, n_restarts=2, seed=0)
    assert result.restarts[0].value == np.inf and result.restarts[0].status == 98
    assert result.restart > 0
    np.testing.assert_array_equal(net.params, result.x)


def test_the_warnings_are_those_of_the_best_run():
    net, (X, Y) = network(), data()
    with pytest.warns(lc.ConvergenceWarning, match="L-BFGS-B has not converged") as found:
        lc.fit(net, X, Y, max_iter=2, n_restarts=3, seed=0)
    assert len(found) == 1 and found[0].filename == __file__
    X = [100.0 * x for x in X]
    with pytest.warns() as found:
        lc.fit(net, X, Y, max_iter=2, n_restarts=3, seed=0)
    assert [warning.category for warning in found] == [lc.ScaleWarning, lc.ConvergenceWarning]


@needs_joblib
@methods
def test_any_number_of_jobs_gives_the_same_bits(method):
    X, Y = data()
    results, nets = [], [network() for _ in range(3)]
    for net, n_jobs in zip(nets, (1, 2, 3), strict=True):
        results.append(
            quiet_fit(net, X, Y, method=method, n_restarts=3, n_jobs=n_jobs, seed=1, **RUNS[method])
        )
        np.testing.assert_array_equal(net.params, nets[0].params)
        assert results[-1].restart == results[0].restart
        assert [e.value for e in results[-1].restarts] == [e.value for e in results[0].restarts]


@needs_joblib
def test_data_that_joblib_puts_into_files_are_read_there():
    net, again = network(), network()
    X = [np.ones((80_000, 2)) / 8]
    Y = [x[:, :1] for x in X]
    for one, n_jobs in ((net, 1), (again, 2)):
        quiet_fit(one, X, Y, method="rprop", max_epochs=2, n_restarts=1, n_jobs=n_jobs, seed=0)
    np.testing.assert_array_equal(net.params, again.params)


@needs_joblib
def test_a_target_ends_the_same_runs_with_any_number_of_jobs():
    X, Y = data()
    arguments = {"method": "rprop", "max_epochs": 12, "n_restarts": 6, "seed": 0}
    free = quiet_fit(network(), X, Y, **arguments)
    values = [entry.value for entry in free.restarts]
    first = next(k for k, value in enumerate(values) if k and value < min(values[:k]))
    for n_jobs in (1, 2, 3):
        result = quiet_fit(network(), X, Y, n_jobs=n_jobs, target=values[first], **arguments)
        assert [entry.value for entry in result.restarts] == values[: first + 1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n_restarts": -1}, "n_restarts: expected an integer >= 0, got -1"),
        ({"n_restarts": 1.5}, "n_restarts: expected an integer, got 1.5"),
        ({"n_jobs": 0}, "n_jobs: expected a number of processes, or -1 for all processors, got 0"),
        ({"n_restarts": 0, "n_jobs": 2}, "n_jobs: expected 1 without n_restarts, got 2"),
        ({"target": "low"}, "target: expected a real number, got 'low'"),
        ({"target": np.nan}, "target: expected a finite number, got nan"),
        ({"method": "Adam"}, "method: expected one of CG"),
        ({"seed": "a"}, "seed: expected None, an integer >= 0"),
    ],
)
def test_bad_arguments_are_named(changed, words):
    net = network()
    before = net.params.copy()
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        lc.fit(net, *data(), **{"n_restarts": 2, **changed})
    np.testing.assert_array_equal(net.params, before)


@needs_joblib
@pytest.mark.parametrize(("name", "value"), [("callback", print), ("progress", True)])
def test_what_belongs_to_this_process_is_refused_with_jobs(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected none with n_jobs=2"):
        lc.fit(network(), *data(), n_restarts=2, n_jobs=2, **{name: value})


def test_without_joblib_it_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match=r"^n_jobs: expected 1 where joblib is not installed"):
        lc.fit(network(), *data(), n_restarts=2, n_jobs=2)


class Cut(Exception):
    """Where a test cuts a run."""


@methods
def test_runs_that_were_cut_go_on_from_their_files(method, tmp_path):
    X, Y = data()
    options = {"method": method, "n_restarts": 2, "seed": 3, **RUNS[method]}
    whole = network()
    expected = quiet_fit(whole, X, Y, **options)
    options["checkpoint_path"], calls = tmp_path / "run", []

    def cut(now):
        calls.append(now.nit)
        if len(calls) > now.nit and now.nit == 2:  # of the second run
            raise Cut

    with pytest.raises(Cut):
        quiet_fit(network(), X, Y, callback=cut, checkpoint_every=0, **options)
    assert (tmp_path / "run.0").exists() and (tmp_path / "run.1").exists()
    net = network()
    result = quiet_fit(net, X, Y, **options)
    np.testing.assert_array_equal(net.params, whole.params)
    assert [run.value for run in result.restarts] == [run.value for run in expected.restarts]
    assert [run.nfev for run in result.restarts] == [run.nfev for run in expected.restarts]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.0", "run.1", "run.2"]

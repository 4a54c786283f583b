"""A run that was cut goes on from its file, in the bits of one that was not."""

import contextlib
import os
import re
import warnings

import numpy as np
import pytest
import scipy
from kill_runs import Series
from small_runs import data, network

import lstmcore as lc

METHODS = ["adam", "sgd", "rmsprop"]
SCIPYS = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr"]
SCIPYS += ["trust-ncg", "trust-krylov", "least_squares", "hessian-free"]
scipys = pytest.mark.parametrize("method", SCIPYS)
batch_sizes = pytest.mark.parametrize("batch_size", [None, 2])
of_epochs = pytest.mark.parametrize(
    ("method", "batch_size"),
    [*((method, size) for method in METHODS for size in (None, 2)), ("rprop", None)],
)

NOISE = "weight_noise", "input_noise", "dropout", "recurrent_dropout"


class Cut(Exception):
    """Where a test cuts a run."""


class Evaluations:
    """A count of evaluations, the one at which a run is cut."""

    def __init__(self, cut_at=None, by=Cut):
        self.count, self.cut_at, self.by = 0, cut_at, by

    def tick(self):
        self.count += 1
        if self.count == self.cut_at:
            raise self.by


class Counted(lc.Objective):
    """An objective with a count of its evaluations, finite up to a norm of the parameters."""

    evaluations, norm = None, np.inf

    def __call__(self, theta):
        self.evaluations.tick()
        f, g = super().__call__(theta)
        return (f if np.linalg.norm(theta) < self.norm else np.nan), g

    def on_batch(self, theta, indices, perturbation=None):
        self.evaluations.tick()
        return super().on_batch(theta, indices, perturbation)

    def on_stretch(self, theta, examples, perturbation=None):
        self.evaluations.tick()
        return super().on_stretch(theta, examples, perturbation)


def run(
    method,
    batch_size=None,
    *,
    path=None,
    evaluations=None,
    dtype="float64",
    norm=np.inf,
    **options,
):
    """The network and the result of a run with a validation loss; None, None if it was cut."""
    net = network(dtype)
    objective = Counted(net, *data(), l2=1e-3)
    objective.evaluations = Evaluations() if evaluations is None else evaluations
    objective.norm = norm
    if method in SCIPYS:
        defaults = {"max_iter": 4}
    elif method == "rprop":
        defaults = {"max_epochs": 4}
    else:
        defaults = {"max_epochs": 4, "learning_rate": 0.05, "clip_norm": 0.5, "seed": 0}
        defaults["batch_size"] = batch_size
    options = {
        **defaults,
        "validation": lc.Objective(net, *data(seed=2)),
        "checkpoint_path": path,
        "checkpoint_every": 0.0,
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        try:
            return net, lc.minimize(objective, method, **options)
        except Cut:
            return None, None


def assert_same_run(ours, others):
    """Two (network, result) are the same but for times."""
    (net, result), (other, expected) = ours, others
    np.testing.assert_array_equal(net.params, other.params)
    for name in ("x", "fun", "jac", "nit", "nfev", "n_nonfinite", "status", "message"):
        np.testing.assert_array_equal(result[name], expected[name])
    assert result.history.keys() == expected.history.keys()
    for name in result.history.keys() - {"time"}:
        np.testing.assert_array_equal(result.history[name], expected.history[name])
        assert result.history[name].dtype == expected.history[name].dtype
    assert (np.diff(result.history["time"]) >= 0).all()


# --------------------------------------------------------------------------- goes on where it was


@pytest.mark.parametrize("validation", [True, False])
@of_epochs
def test_a_run_cut_at_any_evaluation_ends_in_the_same_bits(
    method, batch_size, validation, tmp_path
):
    options = {} if validation else {"validation": None}
    whole = run(method, batch_size, **options)
    path = tmp_path / "run.npz"
    for cut_at in range(1, whole[1].nfev + 1):
        assert run(method, batch_size, path=path, evaluations=Evaluations(cut_at), **options) == (
            None,
            None,
        )
        evaluations = Evaluations()
        again = run(method, batch_size, path=path, evaluations=evaluations, **options)
        assert_same_run(again, whole)
        assert evaluations.count == whole[1].nfev - cut_at + 1  # only the one that was cut again
        path.unlink()


@of_epochs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_cut_at_every_evaluation_ends_in_the_same_bits(method, batch_size, dtype, tmp_path):
    whole, path, cuts = run(method, batch_size, dtype=dtype), tmp_path / "run.npz", 0
    while True:
        evaluations = Evaluations(cut_at=2)
        again = run(method, batch_size, dtype=dtype, path=path, evaluations=evaluations)
        if again[1] is not None:
            break
        cuts += 1
    assert_same_run(again, whole)
    assert cuts == whole[1].nfev - 1


@batch_sizes
@pytest.mark.parametrize("noise", [{}, {"input_noise": 0.1, "dropout": 0.2}], ids=["", "noise"])
def test_a_state_that_was_carried_goes_on(batch_size, noise, tmp_path):
    options = {"truncate": 3, "max_epochs": 3, **noise}
    whole, path = run("adam", batch_size, **options), tmp_path / "run.npz"
    for cut_at in range(1, whole[1].nfev + 1):
        run("adam", batch_size, path=path, evaluations=Evaluations(cut_at), **options)
        again = run("adam", batch_size, path=path, **options)
        assert_same_run(again, whole)
        for values, expected in zip(again[1].state[0], whole[1].state[0], strict=True):
            np.testing.assert_array_equal(values, expected)
        path.unlink()
    for epochs in (1, 3):  # the second one goes on from the end
        ended = run("adam", batch_size, path=path, **options | {"max_epochs": epochs})
    np.testing.assert_array_equal(ended[1].state[0][0], whole[1].state[0][0])


@batch_sizes
@pytest.mark.parametrize(
    "names", [("weight_noise",), ("input_noise", "dropout"), NOISE, ("average",)]
)
def test_noise_and_averages_go_on_too(names, batch_size, tmp_path):
    options, path = dict.fromkeys(names, 0.05), tmp_path / "run.npz"
    whole = run("adam", batch_size, **options)
    for cut_at in range(1, whole[1].nfev + 1):
        run("adam", batch_size, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run("adam", batch_size, path=path, **options), whole)
        path.unlink()


def test_bucketed_batches_go_on_too(tmp_path):
    options, path = {"batches": "bucketed"}, tmp_path / "run.npz"
    whole = run("adam", 2, **options)
    for cut_at in range(1, whole[1].nfev + 1):
        run("adam", 2, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run("adam", 2, path=path, **options), whole)
        path.unlink()
    run("adam", 2, path=path, evaluations=Evaluations(2), **options)
    with pytest.raises(ValueError, match=r"checkpoint_path: .* differ: batches"):
        run("adam", 2, path=path)


@batch_sizes
@pytest.mark.parametrize("warm", [False, True])
def test_a_plateau_goes_on_too(batch_size, warm, tmp_path):
    schedule = lc.optimizers.Plateau(0.5, patience=1, factor=0.5)
    if warm:
        schedule = lc.optimizers.WarmUp(1, schedule)
    options, path = {"learning_rate": schedule, "max_epochs": 6}, tmp_path / "run.npz"
    whole = run("adam", batch_size, **options)
    for cut_at in range(1, whole[1].nfev + 1):
        run("adam", batch_size, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run("adam", batch_size, path=path, **options), whole)
        path.unlink()


@of_epochs
def test_a_run_that_has_ended_goes_on_to_more_epochs(method, batch_size, tmp_path):
    path = tmp_path / "run.npz"
    for epochs in (1, 4, 6):
        ours = run(method, batch_size, path=path, max_epochs=epochs)
        assert_same_run(ours, run(method, batch_size, max_epochs=epochs))


@batch_sizes
def test_a_run_out_of_patience_goes_on_with_more(batch_size, tmp_path):
    values = [5.0, 4.0, 4.5, 4.25, 3.0, 4.0, 1.0]

    def validation(theta):
        return next(left)

    options = {"validation": validation, "batch_size": batch_size, "max_epochs": 6}
    left = iter(values)
    whole = run("adam", patience=3, **options)
    left = iter(values)
    path = tmp_path / "run.npz"
    assert run("adam", patience=2, path=path, **options)[1].nit == 3
    left = iter(values[3:])
    again = run("adam", patience=3, path=path, **options)
    assert_same_run(again, whole)
    assert again[1].nit == 6


@batch_sizes
@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt])
def test_a_run_that_was_stopped_goes_on_with_the_same_network(end, batch_size, tmp_path):
    seen = []

    def callback(intermediate):
        seen.append(intermediate.nit)
        if seen.count(2) == 1 and intermediate.nit == 2:
            raise end

    X, Y = data()
    options = {"method": "adam", "batch_size": batch_size, "seed": 0, "max_epochs": 5}
    options |= {"learning_rate": 0.05, "callback": callback, "n_threads": 1}
    path = tmp_path / "run.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        net = network()
        stopped = lc.fit(net, X, Y, checkpoint_path=path, **options)
        assert (stopped.status, stopped.nit) == (99, 2)
        result = lc.fit(net, X, Y, checkpoint_path=path, **options)
        assert seen == [1, 2, 2, 3, 4, 5]
        other = network()
        expected = lc.fit(other, X, Y, **options)
    assert_same_run((net, result), (other, expected))


@pytest.mark.parametrize("method", ["adam", "rprop", "L-BFGS-B", "trust-constr"])
def test_a_run_interrupted_in_an_evaluation_goes_on(method, tmp_path):
    path, batch_size = tmp_path / "run", 2 if method == "adam" else None
    evaluations = Evaluations()
    whole = run(method, batch_size, evaluations=evaluations)
    for cut_at in range(2, evaluations.count + 1):
        interrupted = Evaluations(cut_at, KeyboardInterrupt)
        _, result = run(method, batch_size, path=path, evaluations=interrupted)
        assert result.message == "interrupted from the keyboard"
        assert_same_run(run(method, batch_size, path=path), whole)
        path.unlink()


@batch_sizes
def test_a_schedule_that_looks_at_the_losses_goes_on(batch_size, tmp_path):
    path, evaluations = tmp_path / "run.npz", Evaluations()
    rate = lc.optimizers.WarmUp(1, lc.optimizers.Plateau(0.2, patience=1))
    options = {"learning_rate": rate, "max_epochs": 8}
    whole = run("adam", batch_size, evaluations=evaluations, **options)
    for cut_at in range(2, evaluations.count + 1, 2):
        run("adam", batch_size, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run("adam", batch_size, path=path, **options), whole)
        path.unlink()


@of_epochs
def test_a_run_cut_while_it_is_polished_goes_on(method, batch_size, tmp_path):
    path, evaluations = tmp_path / "run.npz", Evaluations()
    whole = run(method, batch_size, polish=4, evaluations=evaluations)
    assert whole[1].n_polish == 4
    for cut_at in range(2, evaluations.count + 1, 3):
        run(method, batch_size, path=path, polish=4, evaluations=Evaluations(cut_at))
        again = run(method, batch_size, path=path, polish=4)
        assert_same_run(again, whole)
        assert again[1].n_polish == 4
        path.unlink()
    run(method, batch_size, path=path)
    assert_same_run(run(method, batch_size, path=path, polish=4), whole)


@pytest.mark.parametrize("method", ["adam", "L-BFGS-B"])
def test_frozen_blocks_stay_frozen(method, tmp_path):
    (X, Y), path = data(), tmp_path / "run"

    def fitted(n, path=None, frozen=("0.R", "1.*")):
        net = network()
        if method == "adam":
            options = {"batch_size": 2, "max_epochs": n, "seed": 0}
        else:
            options = {"batch_size": None, "max_epochs": None, "seed": None, "max_iter": n}
        return net, small_fit(net, X, Y, path, method=method, frozen=frozen, **options)

    fitted(2, path)
    assert_same_run(fitted(5, path), fitted(5))
    with pytest.raises(ValueError, match=r"objective\.frozen"):
        fitted(5, path, frozen=("0.R",))


@batch_sizes
def test_the_generator_goes_on_too(batch_size, tmp_path):
    path, rng = tmp_path / "run.npz", np.random.default_rng(3)
    run("adam", batch_size, seed=rng)
    for bits in ("PCG64", "PCG64DXSM", "SFC64", "MT19937", "Philox"):
        whole, cut, again = (np.random.Generator(getattr(np.random, bits)(3)) for _ in range(3))
        expected = run("adam", batch_size, seed=whole)
        run("adam", batch_size, seed=cut, path=path, evaluations=Evaluations(4))
        assert_same_run(run("adam", batch_size, seed=again, path=path), expected)
        assert again.random() == whole.random()
        path.unlink()


@pytest.mark.parametrize("validation", [True, False])
@scipys
def test_a_method_of_scipys_cut_at_any_evaluation_ends_in_the_same_bits(
    method, validation, tmp_path
):
    path, options = tmp_path / "run", {} if validation else {"validation": None}
    evaluations = Evaluations()
    whole = run(method, evaluations=evaluations, **options)
    total = evaluations.count
    for cut_at in range(1, total + 1):
        evaluations = Evaluations(cut_at)
        assert run(method, path=path, evaluations=evaluations, **options) == (None, None)
        evaluations = Evaluations()
        again = run(method, path=path, evaluations=evaluations, **options)
        assert_same_run(again, whole)
        assert evaluations.count == total - cut_at + 1
        path.unlink()


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_with_bounds_it_goes_on_too(method, dtype, tmp_path):
    path, size = tmp_path / "run", network().params.size
    options = {"bounds": [(-0.6, 0.6)] * size, "dtype": dtype}
    whole = run(method, **options)
    for cut_at in range(1, whole[1].nfev + 1, 5):
        run(method, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run(method, path=path, **options), whole)
        path.unlink()


@scipys
def test_where_the_objective_is_not_finite_is_told_again_too(method, tmp_path):
    path, evaluations = tmp_path / "run", Evaluations()
    options = {"norm": 3.0, "max_iter": 30, "validation": None}
    whole = run(method, evaluations=evaluations, **options)
    assert whole[1].n_nonfinite > 0
    for cut_at in range(2, evaluations.count + 1, 7):
        run(method, path=path, evaluations=Evaluations(cut_at), **options)
        assert_same_run(run(method, path=path, **options), whole)
        path.unlink()


@scipys
def test_a_method_of_scipys_goes_on_to_more_iterations(method, tmp_path):
    if method == "SLSQP" and tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 16):
        pytest.skip("SLSQP of SciPy before 1.16 ends at another point than it goes on from")
    path, total = tmp_path / "run", 0
    for iterations in (1, 3, 8, 2, 8):
        evaluations = Evaluations()
        ours = run(method, path=path, max_iter=iterations, evaluations=evaluations)
        total += evaluations.count
        assert_same_run(ours, run(method, max_iter=iterations))
    # Fewer iterations are told what is known, and take nothing away from the log.
    evaluations = Evaluations()
    run(method, max_iter=8, evaluations=evaluations)
    assert total == evaluations.count


@scipys
def test_what_is_told_again_is_not_computed_again(method, tmp_path, monkeypatch):
    from lstmcore import _recorder

    now = [1000.0]
    monkeypatch.setattr(_recorder.time, "perf_counter", lambda: now[0])
    validated, called = [], []

    def validation(theta):
        validated.append(theta)
        now[0] += 1.0
        return float(np.sum(theta**2))

    def callback(intermediate):
        called.append(intermediate.nit)
        if called == [1, 2, 3]:
            raise StopIteration

    options = {"path": tmp_path / "run", "validation": validation, "callback": callback}
    _, stopped = run(method, max_iter=5, **options)
    assert (stopped.nit, stopped.status, len(validated)) == (3, 99, 4)
    now[0] += 1e6
    _, result = run(method, max_iter=5, **options)
    # The callback of the last iteration is called again, for nobody knows that it was done.
    assert called == [1, 2, 3, 3, 4, 5] and len(validated) == 6
    assert result.history["time"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", ["adam", "L-BFGS-B"])
def test_a_target_may_change_between_the_calls(method, tmp_path):
    path, options = tmp_path / "run", {"validation": None}
    whole = run(method, **options)
    losses = whole[1].history["loss"]
    assert (np.diff(losses) < 0).all()
    for nit in (1, 3):
        ours = run(method, path=path, target=losses[nit], **options)
        assert ours[1].nit == nit and ours[1].status == 97
        assert_same_run(ours, run(method, target=losses[nit], **options))
    assert_same_run(run(method, path=path, **options), whole)


def test_patience_may_change_between_the_calls(tmp_path):
    values, path = [5.0, 4.0, 4.5, 4.25, 3.0, 4.0, 1.0], tmp_path / "run"
    for patience, nit in ((2, 3), (3, 6), (2, 3), (3, 6)):
        left = iter(values[:4] if (patience, path.exists()) == (2, False) else values[4:])
        options = {"validation": lambda theta, left=left: next(left), "patience": patience}
        assert run("L-BFGS-B", path=path, max_iter=6, **options)[1].nit == nit


@pytest.mark.parametrize(
    ("method", "batch_size", "kills"), [("adam", 4, 4), ("sgd", None, 3), ("L-BFGS-B", None, 3)]
)
def test_a_run_that_is_killed_goes_on(method, batch_size, kills, tmp_path):
    Series(tmp_path, seed=0).killed(method, batch_size, kills)


def test_a_schedule_of_ones_own_goes_on_if_it_has_a_state(tmp_path):
    class Falling:
        rate = 0.1

        def __call__(self, epoch, max_epochs):
            self.rate *= 0.9
            return self.rate

        def state(self):
            return {"rate": self.rate}

        def restore(self, state):
            self.rate = state["rate"]

    path = tmp_path / "run.npz"
    whole = run("adam", 2, learning_rate=Falling())
    run("adam", 2, learning_rate=Falling(), path=path, evaluations=Evaluations(5))
    assert_same_run(run("adam", 2, learning_rate=Falling(), path=path), whole)


def test_times_go_on_without_the_time_in_between(tmp_path, monkeypatch):
    from lstmcore import _recorder

    now = [1000.0]
    monkeypatch.setattr(_recorder.time, "perf_counter", lambda: now[0])

    def callback(intermediate):
        now[0] += 1.0

    path = tmp_path / "run.npz"
    run("sgd", path=path, callback=callback, evaluations=Evaluations(4))
    now[0] += 1e6
    _, result = run("sgd", path=path, callback=callback)
    assert result.history["time"].tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_the_file_is_written_at_the_start_now_and_then_and_at_the_end(every, tmp_path, monkeypatch):
    from lstmcore import _run_file

    written, write = [], _run_file.write

    def counted(path, header, *more):
        written.append(header["state"]["source"]["epoch"])
        write(path, header, *more)

    monkeypatch.setattr(_run_file, "write", counted)
    run("adam", path=tmp_path / "run.npz", checkpoint_every=every)
    assert written == ([0, 1, 2, 3, 4, 4] if every == 0 else [0, 4])
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_disk_that_is_full_ends_the_run_and_leaves_the_file(tmp_path, monkeypatch):
    from lstmcore import _run_file

    path, before, write = tmp_path / "run.npz", [], _run_file.write

    def failing(*args):
        before.append(path.read_bytes() if path.exists() else None)
        if len(before) == 5:
            raise OSError("no space left on the disk")
        write(*args)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space left"):
        patched.setattr(_run_file, "write", failing)
        run("adam", 2, path=path)
    assert len(before) == 5 and path.read_bytes() == before[-1]
    assert_same_run(run("adam", 2, path=path), run("adam", 2))


# -------------------------------------------------------------------------------- is of this run

OTHERS = {
    "method": ({"method": "sgd"}, "method ('adam' in the file, 'sgd' now)"),
    "batch size": ({"batch_size": 3}, "batch_size (2 in the file, 3 now)"),
    "all data": ({"batch_size": None}, "batch_size (2 in the file, None now)"),
    "rate": ({"learning_rate": 0.25}, "learning_rate (0.05 in the file, 0.25 now)"),
    "schedule": (
        {"learning_rate": lc.optimizers.Cosine(0.05)},
        "learning_rate (0.05 in the file, given now)",
    ),
    "clipping": ({"clip_norm": None}, "clip_norm (0.5 in the file, None now)"),
    "options": ({"options": {"beta1": 0.5}}, "options.beta1 (0.9 in the file, 0.5 now)"),
    "stretches": ({"truncate": 3}, "truncate (None in the file, 3 now)"),
    "seed": ({"seed": 1}, "seed (0 in the file, 1 now)"),
    "validation": ({"validation": None}, "validation (given in the file, None now)"),
}


def message_of(error):
    return str(error.value)


@pytest.mark.parametrize("case", OTHERS)
def test_the_file_of_another_run_is_refused(case, tmp_path):
    changed, words = OTHERS[case]
    path = tmp_path / "run.npz"
    run("adam", 2, path=path, max_epochs=2)
    before = path.read_bytes()
    with pytest.raises(ValueError) as error:
        run(**{"method": "adam", "batch_size": 2, "path": path, **changed})
    assert message_of(error) == (
        "checkpoint_path: expected the file of a run with the same arguments, got "
        f"{path}, from which differ: {message_of(error).partition('differ: ')[2]}"
    )
    assert words in message_of(error)
    assert "Delete the file to start over" in message_of(error)
    assert path.read_bytes() == before


def small_fit(net, X, Y, path, **options):
    options = {"method": "adam", "batch_size": 2, "max_epochs": 2, "seed": 0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.fit(net, X, Y, checkpoint_path=path, **options)


def test_other_data_and_networks_are_refused(tmp_path):
    path, (X, Y) = tmp_path / "run.npz", data()
    small_fit(network(), X, Y, path)
    changed = [x.copy() for x in X]
    changed[4][6, 1] += 1e-9
    digits = r"\('\w{16}' in the file, '\w{16}' now\)"
    cases = [
        (network(), changed, Y, {}, f"objective.inputs, targets and weights {digits}"),
        (network(), X, [2 * y for y in Y], {}, f"objective.inputs, targets and weights {digits}"),
        (network(), X[:4], Y[:4], {}, r"objective.sequences \(5 in the file, 4 now\)"),
        (network(), X, Y, {"sample_weight": [1, 1, 1, 1, 2.0]}, f"targets and weights {digits}"),
        (network(), X, Y, {"l2": 0.5}, r"objective.l2 \(0.0 in the file, 0.5 now\)"),
        (network("float32"), X, Y, {}, r"network.dtype \('float64' in the file, 'float32' now\)"),
        (network(seed=1), X, Y, {}, "the parameters that the network has, neither"),
        (
            lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0),
            X,
            Y,
            {},
            r"network.layers\[0\].options.hidden_size \(3 in the file, 4 now\)",
        ),
    ]
    for net, X_now, Y_now, options, words in cases:
        before = net.params.copy()
        with pytest.raises(ValueError, match=words):
            small_fit(net, X_now, Y_now, path, **options)
        np.testing.assert_array_equal(net.params, before)


def test_steps_that_are_not_there_do_not_matter(tmp_path):
    path, rng = tmp_path / "run.npz", np.random.default_rng(0)
    X, Y, lengths = rng.normal(size=(70, 5, 2)), rng.normal(size=(70, 5, 1)), np.arange(70) % 6
    small_fit(network(), X, Y, path, lengths=lengths)
    X[np.arange(5) >= lengths[:, None]] = 7.0
    small_fit(network(), X, Y, path, lengths=lengths)
    X[3, 2] += 1
    with pytest.raises(ValueError, match="inputs, targets and weights"):
        small_fit(network(), X, Y, path, lengths=lengths)


def test_initial_states_are_data_too(tmp_path):
    path, (X, Y) = tmp_path / "run.npz", data()
    state = (np.full((5, 3), 0.25), np.zeros((5, 3))), ()
    small_fit(network(), X, Y, path, state=state)
    small_fit(network(), X, Y, path, state=state)
    state[0][1][4, 2] = 1e-9
    with pytest.raises(ValueError, match="initial states"):
        small_fit(network(), X, Y, path, state=state)


def test_a_loss_that_no_file_can_name_goes_on_too(tmp_path):
    def mean_error(outputs, targets):
        error = outputs - targets
        return 0.5 * (error**2).sum(axis=1), error

    class Steeper(lc.losses.SquaredError):
        def __init__(self, steepness):
            self.steepness = steepness

        @property
        def options(self):
            return {"steepness": self.steepness}

    (X, Y), layers = data(), [lc.LSTM(2, 3), lc.Dense(3, 1)]
    for k, loss in enumerate((mean_error, Steeper(2.0))):
        path = tmp_path / f"{k}.npz"
        small_fit(lc.Network(layers, loss=loss, seed=0), X, Y, path)
        small_fit(lc.Network(layers, loss=loss, seed=0), X, Y, path)
        with pytest.raises(ValueError, match=r"network.loss.options.steepness \(.*3.0 now"):
            small_fit(lc.Network(layers, loss=Steeper(3.0), seed=0), X, Y, path)


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    run("adam", 2, path=path, max_epochs=4)
    with pytest.raises(ValueError, match="max_epochs: expected at least the 4 it has done, got 3"):
        run("adam", 2, path=path, max_epochs=3)


# ------------------------------------------------------------------------------- hostile and torn


def test_a_damaged_file_is_refused(tmp_path):
    path, damaged = tmp_path / "run.npz", tmp_path / "damaged.npz"
    run("adam", 2, path=path, evaluations=Evaluations(6))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    cuts = [whole[:n] for n in rng.integers(0, len(whole), 20)]
    flips = []
    for at in rng.integers(0, len(whole), 60):
        flips.append(bytearray(whole))
        flips[-1][at] ^= 1 << rng.integers(8)
    for content in (b"", b"no archive", *cuts, *flips):
        damaged.write_bytes(content)
        with contextlib.suppress(ValueError):  # a flipped bit may stand where nobody reads
            assert run("adam", 2, path=damaged)[1].nit == 4
    for content in (b"", b"no archive", *cuts):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint_path: expected the file of a run by "):
            run("adam", 2, path=damaged)


def hostile(state):
    """Changes of a state that would do harm: a name, and what stands there."""
    yield "theta", np.zeros(3)
    yield "step.update.t", -1
    yield "step.update.t", "1"
    yield "step.update.vectors.0", np.zeros(1)
    yield "step.update.vectors.1", np.zeros((2, 2))
    yield "source.epoch", -1
    yield "source.epoch", 10**9
    yield "source.place", 2
    yield "source.order", np.array([0, 1, 3, 2**40])
    yield "source.order", np.array([0, 1, 3, 3])
    yield "source.order", np.array([0, 1, 3])
    yield "source.order", np.array([0, 1, 3, np.nan])
    yield "source.sums", np.zeros(3)
    yield "source.sums", np.zeros(2)
    yield "draws.bit_generator", "MT19937"
    yield "draws.state", {}
    yield "draws.state.inc", "1"
    yield "run.nfev", -5
    yield "run.recorder.history", np.zeros(5)
    yield "run.recorder.history", np.zeros((1, 7))
    yield "run.recorder.lowest_nit", 0.5
    yield "run.recorder.best.x", np.zeros(5)
    yield "run.recorder.best.fun", np.zeros(5)
    for name in state:
        yield name, None


@pytest.fixture
def cut_file(tmp_path):
    path = tmp_path / "run.npz"
    run("adam", 2, path=path, evaluations=Evaluations(6))
    return path


def hostile_stretches(state):
    """The same of a run by truncated BPTT."""
    yield "source.step", -1
    yield "source.step", 3
    yield "source.step", 0.5
    yield "source.ends", {}
    yield "source.ends.0_0", np.zeros((2, 3))
    yield "source.states.0_1", np.zeros((3, 3))
    yield "source.states.0_1", np.full((2, 3), np.nan)
    for name in state["source"]:
        yield f"source.{name}", None


@pytest.mark.parametrize(("truncate", "changes"), [(None, hostile), (3, hostile_stretches)])
def test_a_hostile_state_is_refused(truncate, changes, tmp_path):
    from lstmcore import _archive, _run_file

    path = tmp_path / "run.npz"
    run("adam", 2, path=path, evaluations=Evaluations(8), truncate=truncate)
    header, arrays = _archive.read(path, _run_file._FORMAT, _run_file._VERSION)
    state = _run_file._with_arrays(header["state"], arrays)
    for name, value in changes(state):
        *places, last = name.split(".")
        changed = inner = dict(state)
        for place in places:
            inner[place] = inner = dict(inner[place])
        inner[last] = value
        arrays = {}
        header["state"] = _run_file._without_arrays(changed, "", arrays)
        full = {"format": _run_file._FORMAT, "version": _run_file._VERSION, **header}
        _archive.write(path, full, arrays)
        with pytest.raises(ValueError, match="checkpoint_path: expected the file of a run by "):
            run("adam", 2, path=path, truncate=truncate)


@pytest.mark.parametrize(("bits", "place"), [("MT19937", ("state", "pos")), ("Philox", ())])
@pytest.mark.parametrize("value", [-1, 625, 2**31 - 1])
def test_a_place_beyond_a_generators_buffer_is_refused(bits, place, value):
    from lstmcore._run_file import Draws

    draws = Draws(np.random.Generator(getattr(np.random, bits)(3)))
    state = inner = draws.state()
    for name in place[:1]:
        inner = inner[name]
    inner[place[-1] if place else "buffer_pos"] = value
    with pytest.raises(ValueError, match="pos: expected an integer"):
        draws.restore(state)


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        (3, TypeError, "checkpoint_path: expected a str or a path, got 3"),
        ("a\0b", ValueError, "checkpoint_path: expected a name without a zero byte"),
        ("nowhere/run.npz", FileNotFoundError, "checkpoint_path: expected a name in a folder"),
        (".", IsADirectoryError, "directory"),
    ],
)
def test_a_path_that_is_none_is_said_before_a_step(path, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluations = Evaluations()
    with pytest.raises(error, match=re.escape(words)):
        run("adam", 2, path=path, evaluations=evaluations)
    assert evaluations.count == 0


def test_the_time_between_writings_is_a_number_of_seconds(tmp_path):
    with pytest.raises(ValueError, match="checkpoint_every: expected a number >= 0, got -1"):
        run("adam", path=tmp_path / "run.npz", checkpoint_every=-1)


# ------------------------------------------------------------------------------------------- logs


@pytest.fixture
def log(tmp_path):
    """The file of a run of a method of SciPy's that has been cut, and where its records end."""
    path, ends = tmp_path / "run", []
    for cut_at in range(1, 7):
        run("CG", path=path, evaluations=Evaluations(cut_at))
        ends.append(path.stat().st_size)
    return path, ends


def test_a_record_that_was_cut_short_is_computed_again(log, tmp_path):
    path, ends = log
    content, whole = path.read_bytes(), run("CG")
    rng = np.random.default_rng(0)
    for end in (*ends, *rng.integers(ends[0], ends[-1], 40)):
        path.write_bytes(content[:end])
        assert_same_run(run("CG", path=path), whole)
    for end in (*rng.integers(0, ends[0], 20), ends[0] - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="checkpoint_path: expected the file of a run by "):
            run("CG", path=path)
        assert path.read_bytes() == content[:end]


def test_a_damaged_log_is_refused_and_good_up_to_there(log):
    path, ends = log
    content, whole = path.read_bytes(), run("CG")
    for at in np.random.default_rng(0).integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 16
        path.write_bytes(damaged)
        if at >= ends[-2]:  # the last record, as if it was cut short
            assert_same_run(run("CG", path=path), whole)
            continue
        with pytest.raises(ValueError, match="checkpoint_path: expected the file of") as error:
            run("CG", path=path)
        assert path.read_bytes() == damaged
        place = re.search(r"damaged at byte (\d+)", str(error.value))
        if at >= ends[0]:
            path.write_bytes(damaged[: int(place[1])])
            assert_same_run(run("CG", path=path), whole)


def test_a_log_of_other_points_is_refused(log, monkeypatch):
    from lstmcore import _run_log, _scipy_methods

    path, _ = log
    versions = _scipy_methods.versions()
    digest = _run_log._digest
    monkeypatch.setattr(_run_log, "_digest", lambda x: digest(x + 1e-15))
    same = (
        "evaluation 1 is at another one. NumPy, SciPy, tol, max_iter are what they were when it "
        "was made, so the processor may be another, or a function that the run calls. Delete"
    )
    with pytest.raises(ValueError, match=re.escape(same)):
        run("CG", path=path)
    monkeypatch.setattr(_scipy_methods, "versions", lambda: versions | {"SciPy": "0.1"})
    wanted = r"made have changed: SciPy \('.*' in the file, '0.1' now\); tol .*now\). Delete"
    with pytest.raises(ValueError, match=wanted):
        run("CG", path=path, tol=0.5)
    monkeypatch.undo()
    assert_same_run(run("CG", path=path), run("CG"))


def test_a_method_that_asks_for_others_with_another_max_iter_is_told_so(tmp_path, monkeypatch):
    """As SLSQP of SciPy before 1.16 does."""
    from lstmcore import _run_log

    path, digest = tmp_path / "run", _run_log._digest
    run("SLSQP", path=path, max_iter=3)
    content = path.read_bytes()
    monkeypatch.setattr(_run_log, "_digest", lambda x: digest(x + 1e-15))
    wanted = (
        "made have changed: max_iter (3 in the file, 8 now). Not every method goes on with another "
        "max_iter: SLSQP of SciPy before 1.16 does not. Delete the file to start over"
    )
    with pytest.raises(ValueError, match=re.escape(wanted)):
        run("SLSQP", path=path, max_iter=8)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "BFGS"}, "method ('CG' in the file, 'BFGS' now)"),
        ({"options": {"norm": 1}}, "options.norm (None in the file, 1 now)"),
        ({"validation": None}, "validation (given in the file, None now)"),
        ({"dtype": "float32"}, "network.dtype ('float64' in the file, 'float32' now)"),
        ({"x0": np.zeros(network().params.size)}, "the parameters that the network has, neither"),
    ],
)
def test_a_log_of_another_run_is_refused(changed, words, log):
    path, _ = log
    content = path.read_bytes()
    with pytest.raises(ValueError, match=re.escape(words)):
        run(**{"method": "CG", "path": path, **changed})
    assert path.read_bytes() == content


def test_a_log_goes_on_from_the_parameters_that_the_run_left(tmp_path):
    (X, Y), path = data(), tmp_path / "run"
    options = {"method": "BFGS", "batch_size": None, "max_epochs": None, "seed": None}
    net, other = network(), network()
    small_fit(net, X, Y, path, max_iter=3, **options)
    result = small_fit(net, X, Y, path, max_iter=6, **options)
    assert_same_run((net, result), (other, small_fit(other, X, Y, None, max_iter=6, **options)))


def test_families_do_not_take_each_others_files(log, cut_file):
    for method, path in (("adam", log[0]), ("CG", cut_file)):
        with pytest.raises(ValueError, match="checkpoint_path: expected the file of a run by "):
            run(method, 2, path=path)


def test_an_interrupt_while_a_record_is_written_leaves_a_good_log(tmp_path, monkeypatch):
    from lstmcore import _run_log

    path, count = tmp_path / "run", [0]
    whole = run("CG")

    def interrupted():
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return 0.0

    with monkeypatch.context() as patched:
        patched.setattr(_run_log.time, "monotonic", interrupted)
        _, result = run("CG", path=path)
    assert result.message == "interrupted from the keyboard"
    assert_same_run(run("CG", path=path), whole)

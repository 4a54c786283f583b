"""`fit`: SciPy's result whole, honest history, and the best parameters however it ends."""

import builtins
import contextlib
import inspect
import io
import sys
import threading
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from threadpoolctl import threadpool_info

import lstmcore as lc
from lstmcore import ConvergenceWarning, fit
from lstmcore.objective import Objective

METHODS = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr"]
METHODS += ["trust-ncg", "trust-krylov", "least_squares", "hessian-free"]
ENDS = [StopIteration, KeyboardInterrupt, RuntimeError]


def network(dtype="float64", seed=0):
    return lc.Network(
        [lc.LSTM(2, 3, peepholes=True, bidirectional=True), lc.Dense(6, 1)], dtype=dtype, seed=seed
    )


def data(seed=1):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in (6, 9, 0, 4)]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def quiet_fit(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(*args, **kwargs)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_leaves_its_result_in_the_network(method, dtype):
    net, (X, Y) = network(dtype), data()
    start = net.loss(X, Y)
    result = quiet_fit(net, X, Y, method=method, max_iter=15)
    assert net.loss(X, Y) == result.fun < 0.6 * start
    np.testing.assert_array_equal(net.params, result.x.astype(dtype))
    np.testing.assert_array_equal(result.jac, Objective(net, X, Y).grad(result.x))
    assert result.nit <= 15


def test_the_result_is_scipys_own():
    net, (X, Y) = network(), data()
    objective = Objective(net, X, Y, l2=1e-3)
    scipys = minimize(objective, net.params, jac=True, method="L-BFGS-B", options={"maxiter": 10})
    with pytest.warns(ConvergenceWarning):
        ours = fit(net, X, Y, l2=1e-3, max_iter=10)
    assert set(ours) == {*scipys, "history", "n_nonfinite"}
    for key in ("x", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message"):
        np.testing.assert_array_equal(ours[key], scipys[key])


@pytest.mark.parametrize("method", METHODS)
def test_history_has_the_start_and_every_iteration(method):
    net, (X, Y) = network(), data()
    start_f, start_g = Objective(net, X, Y)(net.params)
    result = quiet_fit(net, X, Y, method=method, max_iter=6)
    history = result.history
    assert set(history) == {"loss", "gradient_norm", "evaluations", "time"}
    assert {len(column) for column in history.values()} == {result.nit + 1}
    assert history["loss"][0] == start_f
    assert history["gradient_norm"][0] == np.linalg.norm(start_g)
    assert history["loss"].min() == result.fun
    assert history["evaluations"][0] == 1 and history["evaluations"][-1] >= result.nfev - 1
    assert (np.diff(history["evaluations"]) >= 0).all() and (np.diff(history["time"]) >= 0).all()


def test_not_converging_is_a_warning_that_quotes_scipys_status():
    X, Y = data()
    with pytest.warns(ConvergenceWarning, match=r"L-BFGS-B .* ITERATIONS .* \(status 1\)") as found:
        result = fit(network(), X, Y, max_iter=2)
    assert found[0].filename == __file__
    assert result.message in str(found[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(network(), X, Y, max_iter=1000, tol=1e-2).success


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", METHODS)
def test_however_it_is_stopped_the_best_parameters_stay(method, end):
    net, (X, Y) = network(), data()
    seen = []

    def callback(intermediate):
        np.testing.assert_array_equal(net.params, intermediate.x)
        seen.append(intermediate.fun)
        net.params += 1  # whatever a callback does to the network
        if len(seen) == 3:
            raise end

    if end is RuntimeError:
        with pytest.raises(RuntimeError):
            fit(net, X, Y, method=method, callback=callback)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = fit(net, X, Y, method=method, callback=callback)
        assert (result.nit, result.success, result.status) == (3, False, 99)
        assert end.__name__ in result.message or "keyboard" in result.message
        assert len(result.history["loss"]) == 4
        np.testing.assert_array_equal(net.params, result.x)
        assert net.loss(X, Y) == result.fun
    assert len(seen) == 3
    assert net.loss(X, Y) <= min(seen)


class Hostile:
    """Stands for an objective that is not finite at some evaluation, or from there on."""

    def __init__(self, monkeypatch, at, value, grad, for_ever=False):
        evaluate, self.count = Objective.__call__, 0

        def call(objective, theta):
            self.count += 1
            f, g = evaluate(objective, theta)
            is_spoiled = self.count == at or (for_ever and self.count > at)
            return (value, g * grad) if is_spoiled else (f, g)

        monkeypatch.setattr(Objective, "__call__", call)


ASKING = [name for name in METHODS if name != "least_squares"]  # for values and gradients
SPOILED = [(np.nan, 1, "loss"), (np.inf, 1, "loss"), (0.0, np.nan, "gradient")]


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("value, grad, what", SPOILED)
def test_a_run_goes_on_where_one_evaluation_is_not_finite(method, value, grad, what, monkeypatch):
    net, (X, Y) = network(), data()
    start = net.loss(X, Y)
    Hostile(monkeypatch, 5, value, grad)
    result = quiet_fit(net, X, Y, method=method, max_iter=60)
    assert result.n_nonfinite == 1 and result.nfev > 12
    assert net.loss(X, Y) == result.fun < 0.1 * start
    assert np.isfinite(result.history["loss"]).all()


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("value, grad, what", SPOILED)
def test_what_is_never_finite_again_ends_it_with_the_best_parameters(
    method, value, grad, what, monkeypatch
):
    net, (X, Y) = network(), data()
    start = net.loss(X, Y)
    Hostile(monkeypatch, 5, value, grad, for_ever=True)
    words = rf"the {what} is not finite at evaluation|status \d, \d+ of \d+ evaluations not finite"
    with pytest.warns(ConvergenceWarning, match=words):
        result = fit(net, X, Y, method=method)
    assert not result.success and result.n_nonfinite >= 1
    assert net.loss(X, Y) == result.fun < start


def test_a_start_that_is_not_finite_leaves_the_network_alone():
    net, (X, Y) = network(), data()
    net.params[0] = np.nan
    before = net.params.copy()
    with pytest.warns(ConvergenceWarning, match="the loss is not finite at evaluation 1"):
        result = fit(net, X, Y)
    np.testing.assert_array_equal(net.params, before)
    assert np.isnan(result.fun) and result.nit == 0


def test_the_best_by_validation_loss_are_kept():
    net, (X, Y) = network(), data()
    X_val, Y_val = data(seed=2)
    losses = []
    result = quiet_fit(
        net,
        X,
        Y,
        max_iter=60,
        validation_data=(X_val, [y + 0.1 for y in Y_val]),
        callback=lambda intermediate: losses.append(intermediate.validation_loss),
    )
    column = result.history["validation_loss"]
    np.testing.assert_array_equal(column[1:], losses)
    assert net.loss(X_val, [y + 0.1 for y in Y_val]) == column.min() < column[-1]
    assert net.loss(X, Y) == result.fun == result.history["loss"][column.argmin()]


def test_validation_may_be_a_function_of_the_parameters():
    net = lc.Network([lc.LSTM(1, 2)], seed=0)
    x = np.random.default_rng(0).normal(size=(4, 6, 1))
    values = iter([3.0, 1.0, 2.0, *[4.0] * 9])
    seen = []

    def loss(params):
        seen.append(params.copy())
        return next(values)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit(net, x, np.tile(x, 2), validation_data=loss, max_iter=5)
    assert result.history["validation_loss"][:3].tolist() == [3.0, 1.0, 2.0]
    assert (net.params == seen[1]).all()


def test_patience_ends_it_so_many_iterations_after_the_lowest_validation_loss():
    net, (X, Y) = network(), data()
    X_val, Y_val = data(seed=2)
    validation = Objective(net, X_val, [y + 0.1 for y in Y_val])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit(net, X, Y, max_iter=500, validation_data=validation, patience=7)
    assert result.success and "no lower validation loss for 7 iterations" in result.message
    assert result.nit == result.history["validation_loss"].argmin() + 7


def test_weights_and_lengths_reach_the_objective():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 1))
    options = {
        "lengths": [5, 3, 4],
        "sample_weight": [1, 2, 0],
        "step_weight": rng.random((3, 5)),
        "l2": 0.1,
        "reduction": "sum",
    }
    net = network()
    expected = Objective(net, X, Y, **options).fun(net.params)
    result = quiet_fit(net, X, Y, max_iter=1, **options)
    assert result.history["loss"][0] == expected


def test_prepared_examples_stand_for_the_data():
    net, again, (X, Y) = network(), network(), data()
    result = quiet_fit(net, X, Y, max_iter=5, sample_weight=[1, 2, 3, 4])
    examples = again.prepare(X, Y, sample_weight=[1, 2, 3, 4])
    np.testing.assert_array_equal(quiet_fit(again, examples, max_iter=5).x, result.x)


def test_data_are_not_written_to():
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 1))
    X.setflags(write=False)
    Y.setflags(write=False)
    copies = X.copy(), Y.copy()
    quiet_fit(network(), X, Y, max_iter=3, validation_data=(X, Y))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(Y, copies[1])


def without(monkeypatch, module):
    """Make an import of `module` fail, as on a machine where it is not installed."""
    real = builtins.__import__

    def importer(name, *args, **kwargs):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importer)


def test_progress_is_one_plain_line_without_tqdm(monkeypatch, capsys):
    without(monkeypatch, "tqdm")
    X, Y = data()
    quiet_fit(network(), X, Y, max_iter=5, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert (
        lines[0].startswith("L-BFGS-B: 5/5 [") and "loss=" in lines[0] and "gradient=" in lines[0]
    )


def test_the_plain_line_is_rewritten_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    without(monkeypatch, "tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    X, Y = data()
    quiet_fit(network(), X, Y, max_iter=5, progress=True, validation_data=(X, Y))
    shown = sys.stderr.getvalue()
    assert shown.count("\n") == 1 and shown.startswith("\r") and shown.endswith("\n")
    assert "5/5" in shown and "validation=" in shown


def test_progress_is_a_bar_with_tqdm(capsys):
    pytest.importorskip("tqdm")
    X, Y = data()
    quiet_fit(network(), X, Y, max_iter=5, progress=True)
    assert "5/5" in capsys.readouterr().err


def test_nothing_is_shown_unasked(capsys):
    X, Y = data()
    quiet_fit(network(), X, Y, max_iter=5)
    assert capsys.readouterr() == ("", "")


def blas_threads():
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_blas_has_one_thread_during_a_fit_and_its_own_after():
    X, Y = data()
    before, inside = blas_threads(), []
    quiet_fit(network(), X, Y, max_iter=3, callback=lambda _: inside.append(blas_threads()))
    assert before and all(set(threads) == {1} for threads in inside)
    assert blas_threads() == before


def test_blas_has_its_own_threads_again_after_fits_that_overlapped():
    X, Y = data()
    inside = []
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first(_):
        first_is_in.set()
        assert second_is_in.wait(60)

    def second(_):
        second_is_in.set()
        assert first_is_out.wait(60)
        inside.append(blas_threads())

    def fit_second():
        assert first_is_in.wait(60)
        fit(network(), X, Y, max_iter=1, callback=second)

    before = blas_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        thread = threading.Thread(target=fit_second)
        thread.start()
        fit(network(), X, Y, max_iter=1, callback=first)
        first_is_out.set()
        thread.join()
    assert inside and all(set(threads) == {1} for threads in inside)
    assert blas_threads() == before


BAD = {
    "unknown method": ({"method": "adagrad"}, ValueError, "method: expected one of CG, BFGS"),
    "method without gradient": ({"method": "Powell"}, ValueError, "method: expected one of CG"),
    "method not a string": ({"method": None}, TypeError, "method: expected one of CG"),
    "max_iter": ({"max_iter": 0}, ValueError, "max_iter: expected an integer >= 1, got 0"),
    "max_iter real": ({"max_iter": 1.5}, TypeError, "max_iter: expected an integer"),
    "tol": ({"tol": -1}, ValueError, "tol: expected a number >= 0"),
    "l2": ({"l2": -1.0}, ValueError, "l2: expected a number >= 0"),
    "patience alone": ({"patience": 3}, ValueError, "patience: expected None without validation"),
    "callback": ({"callback": 3}, TypeError, "callback: expected a callable, got 3"),
    "progress": ({"progress": "yes"}, TypeError, "progress: expected True or False"),
    "options": ({"options": [1]}, TypeError, "options: expected a dict, got a list"),
    "unknown option": ({"options": {"gtoll": 1}}, ValueError, "options: .* L-BFGS-B.*gtoll"),
    "validation data": ({"validation_data": 3}, TypeError, r"validation_data: .*\(X, Y\)"),
    "n_threads": ({"n_threads": -1}, ValueError, "n_threads: expected an integer >= 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    arguments, error, message = BAD[case]
    net, (X, Y) = network(), data()
    before = net.params.copy()
    with pytest.raises(error, match=message):
        fit(net, X, Y, **arguments)
    np.testing.assert_array_equal(net.params, before)


ODD = [None, True, 0, 3, -1, 0.5, np.nan, 1e-300, 10**30, "L-BFGS-B", b"x", 1j, [], (), (1, 2)]
ODD += [np.zeros((4, 9)), np.ones(4), print, {}, {"maxiter": 2}, {1: 2}]
# All that fit takes, also what it hands on.
ARGUMENTS = {
    name
    for function in (fit, Objective, lc.Network.prepare)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
} - {"self", "net"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_whatever_an_argument_is_it_trains_or_says_why_not(name, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a string may be the name of a file

    def stop(intermediate):
        if intermediate.nit == 2:
            raise StopIteration

    for value in ODD:
        net, (X, Y) = network(), data()
        arguments = {"X": X, "Y": Y, "method": method, "callback": stop, "max_iter": 3, name: value}
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                result = quiet_fit(net, **arguments)
        except (TypeError, ValueError) as error:
            assert ": expected" in str(error), f"{name}={value!r}"
        else:
            assert result.nit <= 3 and np.isfinite(net.params).all()


def test_a_validation_objective_of_another_network_is_refused():
    X, Y = data()
    with pytest.raises(ValueError, match="validation_data: expected an Objective of net"):
        fit(network(), X, Y, validation_data=Objective(network(), X, Y))


def test_something_else_than_a_network_is_refused():
    with pytest.raises(TypeError, match="net: expected a Network, got 'net'"):
        fit("net", *data())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("epochs", "epochs: expected an argument of fit, such as max_epochs; help"),
        ("sample_weights", "sample_weights: expected an argument of fit, such as sample_weight;"),
        ("lr", r"lr: expected an argument of fit; help\(lstmcore.fit\)"),
    ],
)
def test_an_unknown_argument_is_named_with_the_nearest_one(name, words):
    net = lc.Network([lc.Dense(1, 1)])
    with pytest.raises(TypeError, match=f"^{words}"):
        lc.fit(net, np.ones((2, 3, 1)), np.ones((2, 3)), **{name: 3})

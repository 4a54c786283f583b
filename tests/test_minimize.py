"""`minimize`: any objective, any validation, the best parameters left in the network."""

import warnings

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

import lstmcore as lc
from lstmcore import _minimize

METHODS = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr"]


def network(dtype="float64", seed=0):
    return lc.Network([lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 1)], dtype=dtype, seed=seed)


def data(seed=1):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in (6, 9, 0, 4)]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def quiet_minimize(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.minimize(*args, **kwargs)


class Shards:
    """The objective of a data set in parts: no `Objective`, but its protocol."""

    def __init__(self, net, X, Y, l2):
        self.net, self.l2 = net, l2
        self.parts = [lc.Objective(net, X[k], Y[k]) for k in (slice(1), slice(1, 4))]
        self.total = sum(part.total for part in self.parts)

    def __call__(self, theta):
        (f, g), (f_more, g_more) = (part.sums(theta) for part in self.parts)
        g = (g + g_more) / self.total
        return self.net.penalty(theta, self.l2, g, start=(f + f_more) / self.total), g

    def fun(self, theta):
        return self(theta)[0]


class Quadratic:
    """‖θ - target‖² / 2: it looks at no data, and its minimum is known."""

    def __init__(self, net, target):
        self.net, self.target = net, target

    def __call__(self, theta):
        return 0.5 * float(np.sum((theta - self.target) ** 2)), theta - self.target


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_objective_of_two_shards_is_trained_like_the_whole(method, dtype):
    X, Y = data()
    net, whole = network(dtype), network(dtype)
    result = quiet_minimize(Shards(net, X, Y, 1e-3), method, max_iter=4)
    expected = quiet_minimize(lc.Objective(whole, X, Y, l2=1e-3), method, max_iter=4)
    start, start_whole = result.history["loss"][0], expected.history["loss"][0]
    assert start == pytest.approx(start_whole, rel=1e-14 if dtype == "float64" else 1e-6)
    assert result.fun == pytest.approx(expected.fun, rel=1e-5 if dtype == "float64" else 0.1)
    assert result.fun < 0.7 * start
    np.testing.assert_array_equal(net.params, result.x.astype(dtype))


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_a_known_minimum(method):
    net = network()
    target = np.random.default_rng(0).normal(size=net.params.size)
    result = quiet_minimize(Quadratic(net, target), method, max_iter=200, tol=1e-8)
    np.testing.assert_allclose(net.params, target, atol=1e-4)
    assert result.fun == Quadratic(net, target)(net.params)[0] <= result.history["loss"].min()


def test_fit_is_minimize_of_the_objective():
    X, Y = data()
    net, again = network(), network()
    options = {"method": "BFGS", "max_iter": 7, "options": {"gtol": 1e-9}}
    result = quiet_minimize(lc.Objective(net, X, Y, l2=1e-3), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        fitted = lc.fit(again, X, Y, l2=1e-3, **options)
    np.testing.assert_array_equal(net.params, again.params)
    for key in {*result} - {"history"}:
        np.testing.assert_array_equal(result[key], fitted[key])


def test_it_starts_at_x0_or_at_the_networks_parameters():
    net, (X, Y) = network(), data()
    objective = lc.Objective(net, X, Y)
    x0 = np.random.default_rng(3).normal(size=net.params.size)
    kept = x0.copy()
    start = objective.fun(net.params)
    assert quiet_minimize(objective, max_iter=1).history["loss"][0] == start
    assert quiet_minimize(objective, max_iter=1, x0=x0).history["loss"][0] == objective.fun(x0)
    np.testing.assert_array_equal(x0, kept)


@pytest.mark.parametrize("form", ["an Objective", "the protocol", "a function"])
def test_validation_is_any_function_of_the_parameters(form):
    net, (X, Y), (X_val, Y_val) = network(), data(), data(seed=2)
    Y_val = [y + 0.1 for y in Y_val]
    held_out = lc.Objective(net, X_val, Y_val)

    def function(theta):
        loss = held_out.fun(theta)
        theta[:] = np.nan  # it may do what it likes with its argument
        return loss

    validation = {
        "an Objective": held_out,
        "the protocol": Shards(net, X_val, Y_val, 0.0),
        "a function": function,
    }[form]
    result = quiet_minimize(lc.Objective(net, X, Y), max_iter=60, validation=validation)
    column = result.history["validation_loss"]
    assert column.argmin() < len(column) - 1
    assert held_out.fun(net.params) == pytest.approx(column.min(), rel=1e-12)
    assert result.fun == result.history["loss"][column.argmin()]


def test_patience_works_with_any_validation():
    net, (X, Y) = network(), data()
    values = iter([5.0, 4.0, 4.5, 4.0, 4.0, 1.0])
    objective = lc.Objective(net, X, Y)
    result = quiet_minimize(objective, validation=lambda theta: next(values), patience=3)
    assert result.success and result.nit == 4
    assert "no lower validation loss for 3 iterations" in result.message
    np.testing.assert_array_equal(result.history["validation_loss"], [5.0, 4.0, 4.5, 4.0, 4.0])


def test_the_warning_points_at_the_caller():
    net, (X, Y) = network(), data()
    with pytest.warns(lc.ConvergenceWarning, match="L-BFGS-B has not converged") as found:
        lc.minimize(lc.Objective(net, X, Y), max_iter=2)
    assert found[0].filename == __file__


def test_another_family_of_methods_is_a_module_and_a_row(monkeypatch):
    class Descent:
        """Steepest descent, with a step that grows worse on purpose."""

        METHODS = ("descent",)

        @staticmethod
        def drive(run, method, start, max_iter, tol, options):
            x = start
            for nit in range(max_iter):
                _, g = run(x)
                x = x - (options["rate"] if nit < 3 else -options["rate"]) * g
                run.iterate(x)
            return OptimizeResult(x=x, success=True, status=0, message="done", nit=max_iter)

    monkeypatch.setitem(_minimize._DRIVERS, "descent", Descent.drive)
    net = network()
    target = np.ones(net.params.size)
    start = Quadratic(net, target)(net.params)[0]
    result = lc.minimize(Quadratic(net, target), "descent", max_iter=6, options={"rate": 0.5})
    np.testing.assert_allclose(result.history["loss"][:4], start * 0.25 ** np.arange(4), rtol=1e-12)
    assert result.fun == result.history["loss"][3] < result.history["loss"][6]
    np.testing.assert_array_equal(net.params, result.x)
    with pytest.warns(lc.ConvergenceWarning, match="descent .* not finite"):
        lc.minimize(Quadratic(net, target), "descent", x0=target * np.nan, options={"rate": 1})
    np.testing.assert_array_equal(net.params, result.x)


class Fenced:
    """A quadratic function that is not finite beyond a plane, behind which its minimum would be."""

    def __init__(self, net, outside):
        self.net, self.outside, self.count = net, outside, 0
        self.plane = np.arange(1.0, 9) / 8

    def __call__(self, theta):
        room = 1 - self.plane @ theta
        if room <= 0:
            self.count += 1
            return self.outside
        error, scales = theta - 3, 10 * self.plane
        f = 0.5 * float(scales @ error**2) - np.log(room)
        return f, scales * error + self.plane / room


OUTSIDE = {
    "nan": (np.nan, np.full(8, np.nan)),
    "infinite": (np.inf, np.zeros(8)),
    "gradient": (0.0, np.full(8, np.inf)),
    "minus infinity": (-np.inf, np.zeros(8)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("outside", OUTSIDE)
def test_methods_turn_back_from_where_the_objective_is_not_finite(method, outside):
    net = lc.Network([lc.Dense(3, 2)], seed=0)
    fenced = Fenced(net, OUTSIDE[outside])
    result = quiet_minimize(fenced, method, x0=np.zeros(8), max_iter=2000)
    assert result.success and result.n_nonfinite == fenced.count > 0
    assert result.fun == pytest.approx(177.936783324, abs=1e-4)
    assert np.isfinite(result.history["loss"]).all()
    np.testing.assert_array_equal(net.params, result.x)


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_bounds_are_kept_where_the_objective_is_not_finite(method):
    net = lc.Network([lc.Dense(3, 2)], seed=0)
    fenced = Fenced(net, OUTSIDE["nan"])
    result = quiet_minimize(fenced, method, x0=np.zeros(8), bounds=[(-1, 0.75)] * 8, max_iter=500)
    assert result.n_nonfinite == fenced.count > 0
    assert (result.x >= -1).all() and (result.x <= 0.75).all() and result.fun < 178


class Returning(Quadratic):
    """An objective that returns something else."""

    def __init__(self, answer):
        self.net, self.answer = network(), answer

    def __call__(self, theta):
        return self.answer(*Quadratic(self.net, np.zeros(theta.size))(theta))


ANSWERS = {
    "the value alone": (lambda f, g: f, r"objective: expected it to return \(f, g\)"),
    "nothing": (lambda f, g: None, r"objective: expected it to return \(f, g\).* got None"),
    "value no number": (lambda f, g: ("f", g), r"objective: expected it to return \(f, g\)"),
    "gradient too short": (lambda f, g: (f, g[1:]), r"objective's gradient: expected shape"),
    "gradient of one row": (lambda f, g: (f, g[None]), r"objective's gradient: expected shape"),
    "gradient no numbers": (lambda f, g: (f, "g"), r"objective's gradient: expected real numbers"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_objective_that_returns_something_else_is_refused(answer):
    function, message = ANSWERS[answer]
    with pytest.raises((TypeError, ValueError), match=message):
        lc.minimize(Returning(function))


class WithoutNet:
    def __call__(self, theta):
        raise AssertionError


BAD = {
    "objective": ({"objective": WithoutNet()}, TypeError, "objective: expected an Objective, or"),
    "a network": ({"objective": network()}, TypeError, "objective: expected an Objective, or"),
    "method": ({"method": "adagrad"}, ValueError, "method: expected one of CG, BFGS, L-BFGS-B"),
    "validation": ({"validation": (1, 2)}, TypeError, "validation: expected an Objective or a"),
    "validation gives": ({"validation": lambda x: (1, 2)}, TypeError, "validation: .* a number"),
    "validation's net": (
        {"validation": Quadratic(network(), 0)},
        ValueError,
        "validation: expected an objective of the same network",
    ),
    "patience": ({"patience": 3}, ValueError, "patience: expected None without validation"),
    "x0": ({"x0": np.zeros(3)}, ValueError, "x0: expected shape"),
    "x0 a string": ({"x0": "x"}, TypeError, "x0: expected real numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changed, error, message = BAD[case]
    net, (X, Y) = network(), data()
    with pytest.raises(error, match=message):
        lc.minimize(**{"objective": lc.Objective(net, X, Y), **changed})


# --------------------------------------------------------------------------- bounds and options


BOUNDED = ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"]


@pytest.mark.parametrize("method", BOUNDED)
def test_no_evaluation_is_out_of_bounds(method):
    net, (X, Y), seen = network(), data(), []
    bounds = np.tile([-0.2, 0.15], (net.params.size, 1))
    bounds[3], bounds[5] = 0.1, [-np.inf, np.inf]

    class Watched(lc.Objective):
        def __call__(self, theta):
            seen.append(theta.copy())
            return super().__call__(theta)

    result = quiet_minimize(Watched(net, X, Y), method, bounds=bounds, max_iter=30)
    for points in (np.array(seen), net.params[None], result.x[None]):
        assert (points >= bounds[:, 0]).all() and (points <= bounds[:, 1]).all()
    assert (np.array(seen)[0] == np.clip(network().params, *bounds.T)).all()
    assert result.fun < result.history["loss"][0]


def test_bounds_come_in_every_form_that_scipy_takes():
    from scipy.optimize import Bounds

    X, Y = data()
    pairs = [(-0.2, None)] * network().params.size
    results = []
    for bounds in (pairs, [(-0.2, np.inf)] * len(pairs), Bounds(-0.2), np.array(pairs, float)):
        net = network()
        bounds = np.nan_to_num(bounds, nan=np.inf) if isinstance(bounds, np.ndarray) else bounds
        results.append(quiet_fit(net, X, Y, bounds=bounds, max_iter=5).x)
    assert all((x == results[0]).all() for x in results)
    assert results[0].min() == -0.2


def quiet_fit(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return lc.fit(*args, **kwargs)


def test_a_minimum_at_bounds_is_a_success_without_a_word():
    net = network()
    target = np.full(net.params.shape, 2.0)
    bounds = np.tile([-1.0, 1.0], (target.size, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = lc.minimize(Quadratic(net, target), bounds=bounds)
    assert result.success
    np.testing.assert_array_equal(net.params, 1.0)


@pytest.mark.parametrize(
    ("method", "bounds", "error", "words"),
    [
        ("CG", [(0, 1)], ValueError, "bounds: expected None with CG, .*; L-BFGS-B, TNC"),
        ("BFGS", [(0, 1)], ValueError, "bounds: expected None with BFGS"),
        ("TNC", [(0, 1)], ValueError, r"bounds: expected shape \(\d+, 2\), got \(1, 2\)"),
        ("TNC", 3, ValueError, r"bounds: expected shape \(\d+, 2\), got \(\)"),
        ("TNC", "ab", TypeError, "bounds: expected real numbers"),
        (
            "TNC",
            [(1, 0)] * 76,
            ValueError,
            r"bounds: expected the lower one first, got .* at \[0\]",
        ),
        ("TNC", [(np.nan, 0)] * 76, ValueError, "bounds: expected the lower one first"),
    ],
)
def test_wrong_bounds_are_refused_by_name(method, bounds, error, words):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0)
    with pytest.raises(error, match=words):
        lc.minimize(Quadratic(net, net.params * 0), method, bounds=bounds)


ARGUMENTS = ("bounds", "callback", "max_iter", "method", "patience", "progress", "tol", "x0")
OF_SCIPY = ("args", "constraints", "fun", "func", "grad", "hess", "hessp", "jac")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*ARGUMENTS, *OF_SCIPY, "validation", "nonsense"])
def test_names_that_are_no_options_are_refused_with_what_to_do(method, name):
    way_out = rf"'{name}'; {name}= is an argument beside options"
    if name in OF_SCIPY:
        way_out = rf"'{name}'; scipy.optimize.minimize takes {name}= beside an Objective"
    elif name == "nonsense":
        way_out = rf"nonsense.*; scipy.optimize.show_options\('minimize', '{method}'\)"
    objective = Quadratic(network(), network().params)
    with pytest.raises(ValueError, match=rf"^options: expected those of {method}, got .*{way_out}"):
        lc.minimize(objective, method, options={name: 3})


def test_maxiter_is_an_option_but_where_scipy_has_none():
    objective = Quadratic(network(), network().params + 1)
    for method in METHODS:
        if method == "TNC":
            with pytest.raises(ValueError, match="got 'maxiter'; max_iter= is an argument"):
                lc.minimize(objective, method, options={"maxiter": 3})
        else:
            quiet_minimize(objective, method, options={"maxiter": 3})


def test_an_objective_s_own_error_is_not_taken_for_an_option_s():
    class Wrong(Quadratic):
        def __call__(self, theta):
            raise TypeError("f() got an unexpected keyword argument 'g'")

    for options in ({}, {"disp": False}):
        with pytest.raises(TypeError, match=r"^f\(\) got an unexpected"):
            lc.minimize(Wrong(network(), 0), "trust-constr", options=options)

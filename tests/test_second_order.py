"""`minimize` with curvature: SciPy's methods that take products, `least_squares`, hessian-free."""

import warnings

import numpy as np
import pytest
from test_loss_contract import Gaussian

import lstmcore as lc
from lstmcore import _hessian_free

PRODUCTS = {"gauss_newton": "gauss_newton", "hessian": "hessp"}
WITH_CURVATURE = ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"]
# Each with all that it can be given: (method, arguments).
WAYS = [(method, {"curvature": name}) for method in WITH_CURVATURE for name in PRODUCTS]
WAYS += [("trust-ncg", {}), ("trust-krylov", {}), ("least_squares", {}), ("hessian-free", {})]
ways = pytest.mark.parametrize("method, given", WAYS, ids=lambda value: str(value))


def network(dtype="float64", loss="squared_error", outputs=1):
    layers = [lc.LSTM(2, 3, peepholes=True), lc.Dense(3, outputs)]
    return lc.Network(layers, loss, dtype=dtype, seed=0)


def data(seed=1):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in (6, 9, 0, 4)]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return call(*args, **kwargs)


class Quadratic:
    """½ (θ - target)ᵀ A (θ - target), with an entry of A for each parameter."""

    def __init__(self, net, diagonal=None):
        self.net = net
        rng = np.random.default_rng(0)
        self.target = rng.normal(size=net.params.size)
        self.diagonal = rng.uniform(0.1, 10, net.params.size) if diagonal is None else diagonal

    def __call__(self, theta):
        g = self.diagonal * (theta - self.target)
        return 0.5 * float(g @ (theta - self.target)), g

    def gauss_newton(self, theta, v):
        return self.diagonal * v

    hessp = gauss_newton

    def residuals(self, theta):
        return np.sqrt(self.diagonal) * (theta - self.target)

    def jacobian(self, theta):
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(np.diag(np.sqrt(self.diagonal)))


@ways
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_trains_and_leaves_the_best_in_the_network(method, given, dtype):
    net, (X, Y) = network(dtype), data()
    start = net.loss(X, Y, l2=1e-3)
    result = quiet(lc.fit, net, X, Y, l2=1e-3, method=method, max_iter=20, **given)
    assert net.loss(X, Y, l2=1e-3) == result.fun < 0.4 * start
    np.testing.assert_array_equal(net.params, result.x.astype(dtype))
    assert 0 < result.nit <= 20 and len(result.history["loss"]) == result.nit + 1


@ways
def test_it_finds_a_known_minimum_of_ones_own_objective(method, given):
    net = network()
    objective = Quadratic(net)
    result = quiet(lc.minimize, objective, method, max_iter=300, tol=1e-8, **given)
    np.testing.assert_allclose(net.params, objective.target, atol=1e-5)
    if method != "trust-constr":  # whose trust region ends it first
        assert result.success


@ways
def test_validation_patience_and_callback(method, given):
    net, (X, Y), seen = network(), data(), []
    values = iter([5.0, 4.0, 4.5, 4.0, 4.0, 1.0])
    result = quiet(
        lc.minimize,
        lc.Objective(net, X, Y),
        method,
        validation=lambda theta: next(values),
        patience=3,
        callback=lambda r: seen.append((r.nit, r.fun, r.validation_loss)),
        **given,
    )
    assert result.success and result.nit == 4
    assert "no lower validation loss for 3 iterations" in result.message
    np.testing.assert_array_equal(result.history["validation_loss"], [5.0, 4.0, 4.5, 4.0, 4.0])
    assert [nit for nit, _, _ in seen] == [1, 2, 3, 4]
    assert result.fun == result.history["loss"][1] == seen[0][1]
    np.testing.assert_array_equal(net.params, result.x)


@ways
def test_it_starts_where_it_is_told(method, given):
    net, (X, Y) = network(), data()
    objective = lc.Objective(net, X, Y)
    x0 = net.params + 0.1
    result = quiet(lc.minimize, objective, method, x0=x0, max_iter=1, **given)
    assert result.history["loss"][0] == objective.fun(x0)


@ways
def test_it_leaves_frozen_blocks_alone(method, given):
    net, (X, Y) = network(), data()
    before = net.params.copy()
    result = quiet(lc.fit, net, X, Y, l2=1e-3, frozen=["0.*"], method=method, max_iter=5, **given)
    is_head = np.concatenate([np.full(b.size, b.name.startswith("1.")) for b in net.table])
    np.testing.assert_array_equal(net.params != before, is_head)
    assert result.x.size == is_head.sum() and result.fun < 0.9 * result.history["loss"][0]


class Counting(lc.Objective):
    """An objective that says which of its products were asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = set()

    def gauss_newton(self, theta, v):
        self.asked.add("gauss_newton")
        return super().gauss_newton(theta, v)

    def hessp(self, theta, v):
        self.asked.add("hessian")
        return super().hessp(theta, v)


ASKED = {"trust-ncg": {"gauss_newton"}, "trust-krylov": {"gauss_newton"}}
ASKED |= {"Newton-CG": set(), "trust-constr": set(), "hessian-free": {"gauss_newton"}}


@pytest.mark.parametrize("method", ASKED)
def test_by_default_a_method_asks_for_the_products_that_it_needs(method):
    X, Y = data()
    objective = Counting(network(), X, Y)
    quiet(lc.minimize, objective, method, max_iter=3)
    assert objective.asked == ASKED[method]


@pytest.mark.parametrize("curvature", PRODUCTS)
@pytest.mark.parametrize("method", WITH_CURVATURE)
def test_a_method_asks_for_the_products_that_it_is_told(method, curvature):
    X, Y = data()
    objective = Counting(network(), X, Y)
    quiet(lc.minimize, objective, method, max_iter=3, curvature=curvature)
    assert objective.asked == {curvature}


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG", "adam", "least_squares", "hessian-free"])
def test_other_methods_take_no_curvature(method):
    objective = lc.Objective(network(), *data())
    words = f"curvature: expected None with {method}, got 'hessian'; Newton-CG, trust-ncg, .* take"
    with pytest.raises(ValueError, match=words):
        lc.minimize(objective, method, curvature="hessian")


@pytest.mark.parametrize("curvature", ["hessp", "fisher", 3, ""])
def test_unknown_curvature_is_refused(curvature):
    objective = lc.Objective(network(), *data())
    with pytest.raises((TypeError, ValueError), match="curvature: expected one of gauss_newton, h"):
        lc.minimize(objective, "trust-krylov", curvature=curvature)


class GradientOnly:
    def __init__(self, net):
        self.net = net

    def __call__(self, theta):
        return float(theta @ theta), 2 * theta


@ways
def test_an_objective_without_what_a_method_needs_is_refused(method, given):
    lacks = PRODUCTS[given.get("curvature", "gauss_newton")]
    lacks = "residuals" if method == "least_squares" else lacks
    words = rf"objective: expected it to have {lacks}\(theta.*got 'GradientOnly' object"
    with pytest.raises(TypeError, match=words):
        lc.minimize(GradientOnly(network()), method, **given)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda v: v[1:], "objective's gauss_newton: expected shape"),
        (lambda v: "v", "objective's gauss_newton: expected real numbers"),
    ],
)
def test_products_that_are_none_are_refused(answer, words):
    objective = Quadratic(network())
    objective.gauss_newton = lambda theta, v: answer(v)
    with pytest.raises((TypeError, ValueError), match=words):
        lc.minimize(objective, "trust-ncg")


@pytest.mark.parametrize("method", [*WITH_CURVATURE, "hessian-free"])
def test_a_product_that_is_not_finite_ends_it_with_the_best_parameters(method):
    net = network()
    objective, calls = Quadratic(net), []

    def product(theta, v):
        calls.append(v)
        return objective.diagonal * v * (np.nan if len(calls) == 5 else 1)

    objective.gauss_newton = product
    given = {} if method == "hessian-free" else {"curvature": "gauss_newton"}
    with pytest.warns(lc.ConvergenceWarning, match="a product with curvature is not finite"):
        result = lc.minimize(objective, method, **given)
    assert not result.success and len(calls) == 5
    np.testing.assert_array_equal(net.params, result.x)


# -------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("method", ["trust-constr", "least_squares"])
def test_no_evaluation_is_out_of_bounds(method):
    net, (X, Y), seen = network(), data(), []

    class Watched(lc.Objective):
        def __call__(self, theta):
            seen.append(theta.copy())
            return super().__call__(theta)

        def gauss_newton(self, theta, v):
            seen.append(theta.copy())
            return super().gauss_newton(theta, v)

        def residuals(self, theta):
            seen.append(theta.copy())
            return super().residuals(theta)

    bounds = np.tile([-0.2, 0.15], (net.params.size, 1))
    bounds[5] = [-np.inf, np.inf]
    given = {"curvature": "gauss_newton"} if method == "trust-constr" else {}
    objective = Watched(net, X, Y)
    result = quiet(lc.minimize, objective, method, bounds=bounds, max_iter=20, **given)
    for points in (np.array(seen), net.params[None], result.x[None]):
        assert (points >= bounds[:, 0]).all() and (points <= bounds[:, 1]).all()
    assert result.fun < result.history["loss"][0]


def test_least_squares_takes_no_equal_bounds():
    net, (X, Y) = network(), data()
    bounds = np.tile([-2.0, 2.0], (net.params.size, 1))
    bounds[3] = 0.5
    words = r"bounds: expected the lower below the higher .* got \[0.5, 0.5\] at \[3\]; L-BFGS-B"
    with pytest.raises(ValueError, match=words):
        lc.fit(net, X, Y, method="least_squares", bounds=bounds)


# ------------------------------------------------------------------------------- least_squares


def test_least_squares_is_scipys():
    from scipy.optimize import least_squares

    net, (X, Y) = network(), data()
    objective = lc.Objective(net, X, Y, l2=1e-3)
    wanted = least_squares(
        objective.residuals, net.params, jac=objective.jacobian, ftol=1e-5, xtol=1e-5, gtol=1e-5
    )
    result = quiet(lc.minimize, objective, "least_squares", tol=1e-5)
    np.testing.assert_array_equal(result.x, wanted.x)
    for key in ("nfev", "njev", "status", "message", "cost"):
        assert result[key] == wanted[key]
    assert result.fun == pytest.approx(result.cost, rel=1e-12)
    assert result.nit == wanted.njev - 1
    evaluations = result.history["evaluations"]
    assert evaluations[0] == 1 and evaluations[-1] == wanted.nfev


def test_least_squares_wants_a_sum_of_squares():
    rng = np.random.default_rng(0)
    net = network(loss="binary_cross_entropy")
    with pytest.raises(TypeError, match="residuals: expected the loss 'squared_error'"):
        lc.fit(net, rng.normal(size=(2, 4, 2)), np.ones((2, 4, 1)), method="least_squares")


@pytest.mark.parametrize("name", ["loss", "f_scale", "diff_step", "maxiter", "nonsense"])
def test_options_of_least_squares_that_would_change_it_are_refused(name):
    words = f"options: expected those of least_squares, ftol, .*, got '{name}'"
    with pytest.raises(ValueError, match=words):
        lc.minimize(Quadratic(network()), "least_squares", options={name: 1})


@pytest.mark.parametrize("method", ["least_squares", "hessian-free", "trust-krylov"])
@pytest.mark.parametrize("name", ["bounds", "curvature", "max_iter", "tol", "jac", "hessp"])
def test_arguments_among_the_options_are_refused(method, name):
    with pytest.raises(ValueError, match=f"options: expected those of {method}, got '{name}'; "):
        lc.minimize(Quadratic(network()), method, options={name: 1})


# -------------------------------------------------------------------------------- hessian-free


def test_hessian_free_gives_the_same_bits_again():
    results = []
    for _ in range(2):
        X, Y = data()
        results.append(quiet(lc.fit, network(), X, Y, method="hessian-free", max_iter=5))
    np.testing.assert_array_equal(results[0].x, results[1].x)
    assert results[0].nhev == results[1].nhev > 5


@pytest.mark.parametrize("method", ["hessian-free", "trust-krylov", "Newton-CG"])
def test_a_run_that_was_stopped_has_counted_its_products(method):
    def stop(_):
        raise StopIteration

    options = {} if method == "hessian-free" else {"curvature": "gauss_newton"}
    result = quiet(lc.fit, network(), *data(), method=method, callback=stop, **options)
    assert result.nit == 1 and result.nhev > 1
    assert "nhev" not in lc.fit(network(), *data(), callback=stop)


def test_hessian_free_ends_where_the_gradient_is_small_enough():
    objective = Quadratic(network())
    result = lc.minimize(objective, "hessian-free", tol=1e-3)
    assert result.success and abs(result.jac).max() <= 1e-3
    assert "the gradient is below the tolerance" in result.message


def test_hessian_free_ends_where_rounding_errors_begin():
    class Lifted(Quadratic):
        def __call__(self, theta):
            f, g = super().__call__(theta)
            return f + 1.0, g

    for dtype, error in {"float64": 1e-6, "float32": 1e-2}.items():
        objective = Lifted(network(dtype))
        result = quiet(lc.minimize, objective, "hessian-free", tol=0, max_iter=1000)
        assert result.success and "rounding error" in result.message
        assert abs(result.x - objective.target).max() < error


def test_hessian_free_says_that_it_has_not_converged():
    X, Y = data()
    with pytest.warns(lc.ConvergenceWarning, match="hessian-free has not converged: 2 iterations"):
        result = lc.fit(network(), X, Y, method="hessian-free", max_iter=2)
    assert (result.nit, result.status, result.success) == (2, 1, False)
    assert result.nfev == result.history["evaluations"][-1]


def test_hessian_free_goes_down_where_curvature_does_too():
    rng = np.random.default_rng(0)
    net = network(loss=Gaussian(), outputs=2)
    net.params = rng.normal(size=net.params.size)
    X, Y = rng.normal(size=(5, 8, 2)), rng.normal(size=(5, 8, 1))
    with np.errstate(over="ignore"):  # in the loss, where a step is too long
        result = quiet(lc.fit, net, X, Y, method="hessian-free", max_iter=30)
    assert (np.diff(result.history["loss"]) <= 0).all()
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]
    # and of a matrix without any other direction
    objective = Quadratic(network())
    objective.gauss_newton = lambda theta, v: -v
    result = quiet(lc.minimize, objective, "hessian-free", max_iter=100)
    assert result.fun < 0.01 * result.history["loss"][0]


def test_the_diagonal_that_preconditions_is_that_of_the_matrix():
    diagonal = np.random.default_rng(0).uniform(0.1, 10, 50)
    model = _hessian_free._Model(lambda x, v: diagonal * v, 0.5, 50)
    for _ in range(3):
        model.move(np.zeros(50))
    np.testing.assert_allclose(model._scale, (diagonal + 0.5) ** 0.75)


def test_iterates_of_conjugate_gradients_have_the_models_values():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 12))
    A, g = A.T @ A / 40, rng.normal(size=12)
    model = _hessian_free._Model(lambda x, v: A @ v, 0.1, 12)
    model.move(np.zeros(12))
    damped = A + 0.1 * np.eye(12)
    for start in (np.zeros(12), rng.normal(size=12)):
        iterates = model.solve(g, start, 100)
        for step, value in iterates:
            assert value == pytest.approx(g @ step + 0.5 * step @ damped @ step, abs=1e-10)
        values = [value for _, value in iterates]
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(iterates[-1][0], -np.linalg.solve(damped, g), rtol=1e-6)


OPTIONS = {
    "unknown": ({"lambda": 1}, "options: expected those of hessian-free, damping, .* got 'lambda'"),
    "damping": ({"damping": 0}, r"options\['damping'\]: expected a number > 0"),
    "cg_iter": ({"cg_iter": 0}, r"options\['cg_iter'\]: expected an integer >= 1"),
    "cg_decay": ({"cg_decay": 1.5}, r"options\['cg_decay'\]: expected a number from 0 to 1"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_wrong_options_of_hessian_free_are_refused(case):
    options, words = OPTIONS[case]
    with pytest.raises(ValueError, match=words):
        lc.minimize(Quadratic(network()), "hessian-free", options=options)

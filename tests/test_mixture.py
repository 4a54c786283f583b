"""Mixture densities: the kernel, against PyTorch, mpmath and its twin; the loss in networks."""

import mpmath
import numpy as np
import pytest
from helpers import same_bits
from test_golden import load_cases, load_maker

import lstmcore as lc
from lstmcore import _reference
from lstmcore._outputs import units_of
from lstmcore.losses import Mixture, TermTargets

CODE = Mixture.code
GOLDEN = load_cases("mixture.npz")
MAKER = "make_mixture"
# (dimensions, correlation, end, floor)
FORMS = [
    (1, False, False, 0.0),
    (2, False, True, 0.0),
    (2, True, False, 0.0),
    (2, True, True, 0.05),
    (3, False, True, 0.1),
]
# around the width of vectors, and of more columns than stand one row in each lane
COMPONENTS = [1, 2, 3, 8, 9, 20, 90]

forms = pytest.mark.parametrize("form", FORMS)
components = pytest.mark.parametrize("M", COMPONENTS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def columns_of(M, form):
    dimensions, correlation, end, _ = form
    return M * (1 + 2 * dimensions + correlation) + end


def problem(M, form, N, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    dimensions, _, end, _ = form
    a = rng.normal(size=(N, columns_of(M, form)))
    z = rng.normal(size=(N, dimensions + end))
    if end:
        z[:, -1] = rng.random(N) < 0.3
    weights = rng.random(N) * (rng.random(N) < 0.8)
    return a.astype(dtype), z.astype(dtype), weights


def run(kernels, a, z, weights, form, scale=1.0, n_threads=1):
    """Value and delta; what stands before and after the rows stays."""
    memory = np.full(a.size + 256, -7.5, a.dtype)
    rows = memory[128 : 128 + a.size].reshape(a.shape)
    rows[...] = a
    value = kernels.loss_rows(CODE, rows, z, weights, scale, n_threads, form)
    assert type(value) is float
    assert (memory[:128] == -7.5).all()
    assert (memory[128 + a.size :] == -7.5).all()
    return value, rows


# -------------------------------------------------------------------------------------- the kernel


@dtypes
@components
@forms
def test_value_and_delta_are_those_of_the_twin(kernels, form, M, dtype):
    eps = np.finfo(dtype).eps
    for N in (0, 1, 7, 8, 9, 17, 100):
        a, z, weights = problem(M, form, N, dtype, seed=N)
        value, delta = run(kernels, a, z, weights, form, 0.3)
        expected, twin = run(_reference, a, z, weights, form, 0.3)
        assert value == pytest.approx(expected, rel=1e-13, abs=1e-14)
        rtol = max(2 * eps, 1e-12)  # of parts that are exponentials of large numbers
        np.testing.assert_allclose(delta, twin, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_derivatives_are_pytorchs(implementation, name):
    assert_torch(implementation, name, GOLDEN[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_derivatives_are_pytorchs_live(kernels, name):
    pytest.importorskip("torch")
    assert_torch(kernels, name, load_maker(MAKER).make_case(name, seed=1))


# The script's table without PyTorch, which it needs: components, then a form.
CASES = {
    "one Gaussian": (1, 1, False, False, 0.0),
    "one dimension": (5, 1, False, False, 0.0),
    "many dimensions": (3, 4, False, False, 0.0),
    "correlated": (4, 2, True, False, 0.0),
    "Graves 2013": (20, 2, True, True, 0.0),
    "a floor": (7, 2, True, True, 0.3),
    "many components": (70, 1, False, True, 0.1),
}


def assert_torch(implementation, name, case):
    _, *form = CASES[name]
    value, delta = run(implementation, case["a"], case["z"], case["weights"], tuple(form))
    assert value == pytest.approx(float(case["value"]), rel=1e-12)
    np.testing.assert_allclose(delta, case["delta"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("M", [1, 4, 100])
@forms
def test_delta_is_the_derivative_of_the_value(implementation, form, M):
    a, z, weights = problem(M, form, 9)
    _, delta = run(implementation, a, z, weights, form, 0.7)
    direction = np.random.default_rng(1).normal(size=a.shape) / np.sqrt(a.size)
    step = 1e-5
    up, _ = run(implementation, a + step * direction, z, weights, form, 0.7)
    down, _ = run(implementation, a - step * direction, z, weights, form, 0.7)
    assert (up - down) / (2 * step) == pytest.approx(np.vdot(delta, direction), rel=1e-6, abs=1e-9)


def exact(a, z, form):
    """The term of one row, lists of numbers of mpmath."""
    D, correlation, end, floor = form
    groups = 1 + 2 * D + correlation
    M = len(a) // groups
    total, density = mpmath.mpf(0), mpmath.mpf(0)
    for m in range(M):
        own = [a[g * M + m] for g in range(groups)]
        scales = [floor + mpmath.exp(s) for s in own[1 + D : 1 + 2 * D]]
        y = [(z[d] - own[1 + d]) / scales[d] for d in range(D)]
        rho = mpmath.tanh(own[5]) if correlation else mpmath.mpf(0)
        square = sum(each * each for each in y)
        if correlation:
            square = (square - 2 * rho * y[0] * y[1]) / (1 - rho**2)
        norm = mpmath.sqrt((2 * mpmath.pi) ** D * (1 - rho**2))
        for scale in scales:
            norm *= scale
        share = mpmath.exp(own[0])
        total += share
        density += share * mpmath.exp(-square / 2) / norm
    term = mpmath.log(total) - mpmath.log(density)
    if end:
        term += mpmath.log(1 + mpmath.exp(a[-1])) - z[-1] * a[-1]
    return term


# of two components in two dimensions, and the flag's
EXTREMES = {
    "tilts near a line": [0, 0, 0.1, 0.2, 0.1, -0.3, 0.2, 0, 0, 0.1, 15.0, -18.0, 0],
    "tilts within rounding of a line": [0, 0, 0.5, 0.4, 0.5, 0.4, 0, 0, 0, 0, 40.0, 45.0, 0],
    "tiny scales": [0, 0, 0.5, 0.25, 0.5, 0.25, -40.0, -30.0, -42.0, -35.0, 0.3, -0.2, 0],
    "huge scales": [0, 0, 0.5, 0.25, 0.5, 0.25, 90.0, 80.0, 85.0, 99.0, 0.3, -0.2, 0],
    "a component that counts nothing": [0, -9e3, 0.4, 0.25, 0.6, 3.0, 0, 0, 0, 0, 1, 1, 0],
    "large logits": [5e3, 5e3 + 1, 0.4, 0.25, 0.6, 3.0, 0, 0, 0, 0, 1, 1, 700.0],
    "far targets": [0, 1, 3e18, -2e17, 1e16, 2e18, 0, 1, 2, 0, 1, -1, -700.0],
}


@pytest.mark.parametrize("floor", [0.0, 1e-3])
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes(implementation, name, floor, dtype):
    form = (2, True, True, floor)
    a, z = np.array([EXTREMES[name]], dtype), np.array([[0.5, 0.5, 1.0]], dtype)
    with mpmath.workdps(120):
        row, target = [mpmath.mpf(float(x)) for x in a[0]], [mpmath.mpf(float(x)) for x in z[0]]
        expected = float(exact(row, target, form))
        step, slopes = mpmath.mpf(10) ** -40, []
        for k, x in enumerate(row):
            rise = exact([*row[:k], x + step, *row[k + 1 :]], target, form)
            rise -= exact([*row[:k], x - step, *row[k + 1 :]], target, form)
            slopes.append(float(rise / (2 * step)))
    value, delta = run(implementation, a, z, np.ones(1), form)
    assert value == pytest.approx(expected, rel=1e-13, abs=1e-13)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(delta[0], slopes, rtol=max(64 * eps, 1e-10), atol=4 * eps)


@dtypes
@pytest.mark.parametrize("M", [2, 100])
@forms
def test_threads_change_no_bit(kernels, form, M, dtype):
    a, z, weights = problem(M, form, 1500, dtype)
    value, delta = run(kernels, a, z, weights, form, 1 / 1500)
    for n_threads in (2, 3):
        other, by_threads = run(kernels, a, z, weights, form, 1 / 1500, n_threads)
        assert other == value
        same_bits(by_threads, delta)


@dtypes
@components
@forms
def test_a_row_does_not_depend_on_its_place_or_on_other_rows(kernels, form, M, dtype):
    a, z, weights = problem(M, form, 21, dtype)
    _, delta = run(kernels, a, z, weights, form)
    for n in range(21):
        some = slice(n, n + 1)
        same_bits(run(kernels, a[some], z[some], weights[some], form)[1][0], delta[n])


@pytest.mark.parametrize("anything", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("M", [2, 100])
@forms
def test_rows_of_weight_zero_count_nothing_whatever_they_hold(implementation, form, M, anything):
    a, z, weights = problem(M, form, 21)
    value, delta = run(implementation, a, z, weights, form)
    a[weights == 0] = anything
    other, again = run(implementation, a, z, weights, form)
    assert other == value
    same_bits(again, delta)
    assert not again[weights == 0].any()


@pytest.mark.parametrize("M", [1, 100])
def test_a_density_that_is_no_number_is_an_infinite_loss_without_a_warning(implementation, M):
    a = np.zeros((1, 3 * M))
    a[:, 2 * M :] = -500.0  # of scales: the squares of the standardized errors overflow
    with np.errstate(all="raise"):
        value, _ = run(implementation, a, np.ones((1, 1)), np.ones(1), (1, False, False, 0.0))
    assert value == np.inf


def test_arrays_of_other_forms_are_refused(kernels):
    form = (2, True, True, 0.0)
    a, z, weights = problem(2, form, 4)
    for wrong in (z[:, :2].copy(), z.astype("float32"), z[:3]):
        with pytest.raises(ValueError, match="targets: expected"):
            kernels.loss_rows(CODE, a, wrong, weights, 1.0, 1, form)
    with pytest.raises(ValueError, match="weights: expected"):
        kernels.loss_rows(CODE, a, z, np.ones(a.shape), 1.0, 1, form)
    for wrong in (a[:, :-1].copy(), a[:, :1].copy(), np.zeros((4, 6 * 1025 + 1))):
        with pytest.raises(ValueError, match="a: expected 6 columns"):
            kernels.loss_rows(CODE, wrong, z, weights, 1.0, 1, form)
    with pytest.raises(ValueError, match="form: expected"):
        kernels.loss_rows(CODE, a, z, weights, 1.0, 1, (3, True, True, 0.0))


# --------------------------------------------------------------------------------------- the loss


def loss_of(M, form):
    return Mixture(M, *form)


def network(M=3, form=FORMS[3], readout="all", dtype="float64"):
    layers = [lc.LSTM(2, 4, peepholes=True), lc.Dense(4, columns_of(M, form))]
    return lc.Network(layers, loss_of(M, form), readout, dtype, seed=0)


def data(form=FORMS[3], readout="all", seed=0):
    rng = np.random.default_rng(seed)
    dimensions, _, end, _ = form
    shape = (4, 6) if readout == "all" else (4,)
    Y = rng.normal(size=(*shape, dimensions + end))
    if end:
        Y[..., -1] = rng.random(shape) < 0.3
    return rng.normal(size=(4, 6, 2)), Y


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@forms
def test_gradients_of_networks(form, readout):
    net, (X, Y) = network(3, form, readout), data(form, readout)
    assert max(lc.check_gradient(net, X, Y, lengths=[6, 3, 1, 5]).values()) < 1e-6


@dtypes
@forms
def test_every_way_to_the_loss_has_the_same_bits(form, dtype):
    net, (X, Y) = network(3, form, dtype=dtype), data(form)
    f, g = net.loss_and_grad(X, Y)
    assert f == pytest.approx(_reference_loss(net, X, Y), rel=1e-5 if dtype == "float32" else 1e-12)
    same_bits(net.loss_and_grad(X, Y, checkpoint=2)[1], g)
    same_bits(net.loss_and_grad(list(X), list(Y))[1], g)
    objective = lc.Objective(net, X, Y)
    same_bits(objective(net.params)[1], g.astype(np.float64))
    for n_threads in (1, 2):
        assert net.loss(X, Y, n_threads=n_threads) == f


def _reference_loss(net, X, Y):
    identity = lc.Network(net.layers, dtype=net.dtype.name)
    identity.params = net.params
    a, loss = identity.predict(X), net.options["loss"]
    rows, targets = a.reshape(-1, a.shape[-1]).astype(float), Y.reshape(-1, Y.shape[-1])
    return _reference.loss_rows(CODE, rows, targets, None, 1 / len(rows), 1, loss.form)


def test_targets_that_are_not_scored_may_be_anything():
    net, (X, Y) = network(), data()
    weights = np.ones((4, 6))
    weights[1, 2:] = 0
    f, g = net.loss_and_grad(X, Y, step_weight=weights)
    Y[1, 2:] = np.nan
    assert net.loss(X, Y, step_weight=weights) == f
    Y[1, 2:] = 7.0
    same_bits(net.loss_and_grad(X, Y, step_weight=weights)[1], g)
    with pytest.raises(ValueError, match=r"last number is between 0 and 1.*got 7\.0; end=False"):
        net.loss(X, Y)


def test_its_name_alone_is_a_mixture_of_one_dimension():
    net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 12)], "mixture", seed=0)
    assert net.options["loss"].components_of(12) == 4
    X, Y = data()
    assert net.loss(X, Y[..., 0]) == net.loss(X, Y[..., :1])
    with pytest.raises(ValueError, match="Y: expected shape"):
        net.loss(X, Y)


def test_flags_may_be_probabilities():
    net, (X, Y) = network(), data()
    Y[..., -1] = 0.25
    by_flag = []
    for flag in (0.0, 1.0):
        Z = Y.copy()
        Z[..., -1] = flag
        by_flag.append(net.loss(X, Z))
    assert net.loss(X, Y) == pytest.approx(0.75 * by_flag[0] + 0.25 * by_flag[1], rel=1e-13)


MISTAKES = {
    "components": ({"n_components": 0}, ValueError, "n_components: expected .* got 0"),
    "too many": ({"n_components": 1025}, ValueError, "n_components: expected .*1024"),
    "dimensions": ({"n_dims": 0}, ValueError, "n_dims: expected"),
    "correlation": ({"n_dims": 3, "correlation": True}, ValueError, "correlation: expected False"),
    "flag": ({"end": 1}, TypeError, "end: expected True or False"),
    "floor": ({"min_scale": -0.1}, ValueError, "min_scale: expected a number >= 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_options_are_checked(name):
    options, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        Mixture(**options)


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        (
            {"n_components": 20, "n_dims": 2, "correlation": True, "end": True},
            120,
            "expected 121 outputs",
        ),
        ({"n_components": 3}, 8, "expected 9 outputs with .*, 3 for each component, got 8"),
        ({"n_dims": 2}, 12, "expected 10 or 15 outputs"),
        ({"n_dims": 2}, 3, "expected 5 or 10 outputs"),
        ({"end": True}, 1, "expected 4 or 7 outputs with .*and 1 for the end"),
        ({}, 3 * 1025, "expected 3072 outputs"),
    ],
)
def test_a_number_of_outputs_that_cannot_be_names_the_one_that_can(options, outputs, message):
    with pytest.raises(ValueError, match=f"loss: {message}"):
        lc.Network([lc.Dense(2, outputs)], Mixture(**options))


@forms
def test_options_are_in_files_and_copies(form, tmp_path):
    net, (X, Y) = network(2, form), data(form)
    net.save(tmp_path / "net.npz")
    for other in (lc.load(tmp_path / "net.npz"), lc.Network(**net.options)):
        other.params = net.params
        assert repr(other) == repr(net)
        assert other.loss(X, Y) == net.loss(X, Y)


# -------------------------------------------------------------------------------------- curvature


def matrix_of(product, shape):
    columns = [product(e.reshape(shape)).ravel() for e in np.eye(int(np.prod(shape)))]
    return np.array(columns).T


@pytest.mark.parametrize("M", [1, 3])
@forms
def test_the_curvature_is_never_negative(form, M):
    a, z, weights = problem(M, form, 5)
    loss = loss_of(M, form)
    matrix = matrix_of(loss.curvature(a, TermTargets(z), weights), a.shape)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * np.abs(matrix).max())
    assert np.linalg.eigvalsh(matrix).min() > -1e-12 * np.abs(matrix).max()
    assert (matrix.any(axis=1) == np.repeat(weights > 0, a.shape[1])).mean() > 0.7


@forms
def test_the_curvature_of_one_gaussian_is_its_fisher_information(form):
    """The mean of delta deltaᵀ over targets of the density, by Gauss-Hermite quadrature."""
    D, correlation, end, floor = form
    rng = np.random.default_rng(2)
    a = rng.normal(scale=0.7, size=columns_of(1, form))
    nodes, masses = np.polynomial.hermite_e.hermegauss(6)
    masses = masses / masses.sum()
    y = np.stack(np.meshgrid(*[nodes] * D, indexing="ij"), axis=-1).reshape(-1, D)
    mass = np.stack(np.meshgrid(*[masses] * D, indexing="ij"), axis=-1).reshape(-1, D).prod(axis=1)
    if correlation:
        rho = np.tanh(a[5])
        y[:, 1] = rho * y[:, 0] + np.sqrt(1 - rho**2) * y[:, 1]
    z = a[1 : 1 + D] + (floor + np.exp(a[1 + D : 1 + 2 * D])) * y
    if end:
        p = 1 / (1 + np.exp(-a[-1]))
        z = np.concatenate([np.c_[z, np.zeros(len(z))], np.c_[z, np.ones(len(z))]])
        mass = np.concatenate([(1 - p) * mass, p * mass])
    rows = np.tile(a, (len(z), 1))
    loss, targets = loss_of(1, form), TermTargets(z)
    _, delta = loss.value_and_delta(rows.copy(), targets, np.ones(len(z)))
    expected = (delta * mass[:, None]).T @ delta
    one = loss.curvature(a[None], TermTargets(z[:1]), np.ones(1))
    np.testing.assert_allclose(matrix_of(one, (1, a.size)), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["trust-krylov", "hessian-free"])
def test_methods_with_curvature_minimize_it(method):
    net, (X, Y) = network(2, FORMS[3]), data()
    before = net.loss(X, Y)
    with pytest.warns(lc.ConvergenceWarning, match="has not converged"):
        lc.fit(net, X, Y, method=method, max_iter=15, l2=1e-3)
    assert net.loss(X, Y) < before - 0.5


# -------------------------------------------------------------------------------------- constants


@forms
def test_the_best_constant_of_one_gaussian_is_the_best(form):
    _, z, weights = problem(1, form, 40)
    loss, targets = loss_of(1, form), TermTargets(z)
    constant = loss.best_constant(targets, weights, columns_of(1, form))
    rows = np.tile(constant, (len(z), 1))
    delta = loss.value_and_delta(rows, targets, weights)[1]
    np.testing.assert_allclose(delta.sum(axis=0), 0, atol=1e-12 * len(z))


@forms
def test_all_components_of_the_best_constant_are_one_gaussian(form):
    _, z, weights = problem(1, form, 40)
    values = []
    for M in (1, 4):
        loss = loss_of(M, form)
        constant = loss.best_constant(TermTargets(z), weights, columns_of(M, form))
        rows = np.tile(constant, (len(z), 1))
        values.append(loss.value_and_delta(rows, TermTargets(z), weights)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-13)


def test_targets_that_are_all_the_same_have_finite_constants():
    for form in FORMS:
        D, _, end, _ = form
        z = np.tile([*np.arange(1.0, 1 + D), *[0.0] * end], (5, 1))
        with np.errstate(all="ignore"):
            constant = loss_of(2, form).best_constant(
                TermTargets(z), np.ones(5), columns_of(2, form)
            )
        assert np.isfinite(constant).all()


def test_what_no_loss_is_below():
    targets, weights = TermTargets(np.zeros((3, 2))), np.array([1.0, 0.5, 0.0])
    assert Mixture(n_dims=2).least_value(targets, weights) == -np.inf
    assert (
        Mixture(n_dims=2, correlation=True, min_scale=0.1).least_value(targets, weights) == -np.inf
    )
    loss = Mixture(n_dims=2, min_scale=0.1)
    least = loss.least_value(targets, weights)
    near = np.array([[0.0, 0.0, 0.0, -50.0, -50.0]])
    value, _ = loss.value_and_delta(np.tile(near, (3, 1)), targets, weights)
    assert value == pytest.approx(least, rel=1e-13)


def test_a_fit_that_is_no_better_than_constants_says_so():
    net = lc.Network([lc.LSTM(1, 1), lc.Dense(1, 3)], "mixture", seed=0)
    rng = np.random.default_rng(0)
    X, Y = np.zeros((10, 20, 1)), rng.normal(size=(10, 20))
    net.blocks["1.W"][...] = 0
    net.blocks["1.b"][...] = 0, 0.1, 0.1
    with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs"):
        lc.fit(net, X, Y, max_iter=100)


# ----------------------------------------------------------------------- parameters and samples


@forms
def test_the_density_of_the_parameters_is_the_loss_with_the_other_sign(form):
    a, z, _ = problem(4, form, 9)
    loss = loss_of(4, form)
    y = a.copy()
    units_of(loss, a.shape[1]).apply(y)
    found = loss.parameters(y)
    terms = [-run(_reference, a[n : n + 1], z[n : n + 1], None, form)[0] for n in range(9)]
    np.testing.assert_allclose(found.log_density(z), terms, rtol=1e-12)
    assert found.log_density(z[0]).shape == (9,)
    with pytest.raises(ValueError, match="points: expected shape"):
        found.log_density(z[:, 1:])


def test_impossible_points_have_the_density_zero_without_a_warning():
    loss = Mixture(1, end=True)
    found = loss.parameters(np.array([[1.0, 0.0, 1.0, 1.0]]))
    with np.errstate(all="raise", under="ignore"):
        assert found.log_density([[0.0, 0.0]]) == -np.inf
        assert found.log_density([[0.0, 1.0]]) == pytest.approx(-0.5 * np.log(2 * np.pi))
        assert found.log_density([[1e200, 1.0]]) == -np.inf


@forms
def test_samples_have_the_moments_of_their_density(form):
    D, _, end, _ = form
    loss, rng = loss_of(3, form), np.random.default_rng(3)
    y = rng.normal(scale=0.7, size=(1, columns_of(3, form)))
    units_of(loss, y.shape[1]).apply(y)
    found = loss.parameters(y)
    points = loss.sample(np.repeat(y, 200_000, axis=0), 0)
    assert points.shape == (200_000, D + end)
    np.testing.assert_allclose(points[:, :D].mean(axis=0), found.mean()[0], atol=0.02)
    weights, means, scales = found.weights[0], found.means[0], found.scales[0]
    covariance = np.einsum("m,md,me->de", weights, means, means)
    covariance -= np.outer(found.mean()[0], found.mean()[0])
    covariance[np.diag_indices(D)] += weights @ scales**2
    if found.correlations is not None:
        both = weights @ (found.correlations[0] * scales.prod(axis=1))
        covariance += both * (1 - np.eye(2))
    size = np.abs(covariance).max()
    np.testing.assert_allclose(np.cov(points[:, :D].T), covariance, atol=0.03 * size)
    if end:
        assert points[:, -1].mean() == pytest.approx(found.end[0], abs=0.005)
        assert set(points[:, -1]) == {0, 1}


def test_bias_sharpens_scales_and_weights():
    loss = Mixture(2, 2, correlation=True, end=True)
    row = [0.4, 0.6, -9.0, 9.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 0.5, 0.5, 0.3]
    y = np.tile(row, (100_000, 1))
    for bias in (0.0, 0.5, 2.0):
        points = loss.sample(y, 0, bias=bias)
        is_second = points[:, 0] > 0
        share = 0.6 ** (1 + bias) / (0.4 ** (1 + bias) + 0.6 ** (1 + bias))
        assert is_second.mean() == pytest.approx(share, abs=0.01)
        spread = points[is_second, :2].std(axis=0)
        np.testing.assert_allclose(spread, np.exp(-bias) * np.array([1.0, 2.0]), rtol=0.02)
        rho = np.corrcoef(points[is_second, :2].T)[0, 1]
        assert rho == pytest.approx(0.5, abs=0.02)
        assert points[:, 2].mean() == pytest.approx(0.3, abs=0.01)
    assert (np.abs(loss.sample(y, 0, bias=1e4)[:, :2]) == [9.0, 0.0]).all()


def test_the_same_seed_draws_the_same_points_and_a_generator_goes_on():
    loss, y = Mixture(2), np.tile([0.5, 0.5, 0.0, 1.0, 1.0, 1.0], (3, 1))
    same_bits(loss.sample(y, 5), loss.sample(y, 5))
    rng = np.random.default_rng(5)
    same_bits(loss.sample(y, rng), loss.sample(y, 5))
    assert (loss.sample(y, rng) != loss.sample(y, 5)).any()
    assert loss.sample(y.astype("float32"), 5).dtype == np.float32


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bias": -1.0}, ValueError, "bias: expected a number >= 0"),
        ({"temperature": 1.0}, TypeError, "temperature: expected no such option"),
    ],
)
def test_options_of_draws_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        Mixture().sample([[1.0, 0.0, 1.0]], 0, **options)


def test_outputs_that_are_no_parameters_are_refused():
    with pytest.raises(ValueError, match="expected 3 or 6 outputs"):
        Mixture().parameters(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"y: expected outputs \(\.\.\., K\)"):
        Mixture().parameters(1.0)

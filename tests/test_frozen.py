"""Frozen blocks leave θ: the others are trained as if these were constants."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.optimize

import lstmcore as lc

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
FROZEN = ["0.R", "1.*"]


def problem(dtype="float64", loss="squared_error", seed=0):
    layers = [lc.LSTM(2, 3, peepholes=True), lc.GRU(3, 2), lc.Dense(2, 1)]
    net = lc.Network(layers, loss=loss, dtype=dtype, seed=seed)
    rng = np.random.default_rng(1)
    lengths = (6, 9, 0, 4, 7)
    X = [rng.normal(size=(length, 2)) for length in lengths]
    return net, X, [np.tanh(np.cumsum(x[:, :1], axis=0)) for x in X]


def is_free(net, frozen=FROZEN):
    mask = np.ones(net.params.size, bool)
    for name, block in net.table.views(mask).items():
        block[...] = not (name == "0.R" or name.startswith("1."))
    return mask


@dtypes
def test_everything_is_that_of_the_whole_without_the_frozen(dtype):
    net, X, Y = problem(dtype)
    free = is_free(net)
    whole = lc.Objective(net, X, Y, l2=0.1, l1=0.01)
    obj = lc.Objective(net, whole.examples, l2=0.1, l1=0.01, frozen=FROZEN)
    assert obj.frozen == tuple(FROZEN) and obj.size == free.sum()
    params = net.params.astype(np.float64)
    params[free] += 0.1
    theta = obj.theta_of(params)
    assert (obj.params_of(theta) == params).all()
    f, g = whole(params)
    assert obj(theta)[0] == f == obj.fun(theta)
    np.testing.assert_array_equal(obj(theta)[1], g[free])
    np.testing.assert_array_equal(obj.grad(theta), g[free])
    assert obj.sums(theta)[0] == whole.sums(params)[0]
    np.testing.assert_array_equal(obj.sums(theta)[1], whole.sums(params)[1][free])
    batch = np.array([3, 0])
    f, g, weight = whole.on_batch(params, batch)
    f_, g_, weight_ = obj.on_batch(theta, batch)
    assert (f_, weight_) == (f, weight)
    np.testing.assert_array_equal(g_, g[free])
    assert obj.penalty(theta) == whole.penalty(params)
    v = np.random.default_rng(2).normal(size=obj.size)
    direction = np.zeros(params.size)
    direction[free] = v
    for name in ("gauss_newton", "hessp"):
        wanted = getattr(whole, name)(params, direction)[free]
        np.testing.assert_allclose(getattr(obj, name)(theta, v), wanted, rtol=1e-12)


def test_residuals_and_their_jacobian_are_those_of_the_free():
    net, X, Y = problem()
    obj = lc.Objective(net, X, Y, l2=0.1, frozen=FROZEN)
    theta = obj.theta_of(net.params)
    r, J = obj.residuals(theta), obj.jacobian(theta)
    assert J.shape == (r.size, obj.size)
    assert 0.5 * r @ r == pytest.approx(obj.fun(theta), rel=1e-13)
    np.testing.assert_allclose(J.T @ r, obj.grad(theta), rtol=1e-10)
    v = np.random.default_rng(2).normal(size=obj.size)
    differences = (obj.residuals(theta + 1e-6 * v) - obj.residuals(theta - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose(J @ v, differences, rtol=1e-6, atol=1e-8)


def test_the_frozen_keep_what_they_had_when_the_objective_was_made():
    net, X, Y = problem()
    kept = net.params.copy()
    obj = lc.Objective(net, X, Y, frozen=FROZEN)
    net.params += 1.0
    for each in (obj, copy.deepcopy(obj), pickle.loads(pickle.dumps(obj))):
        params = each.params_of(np.zeros(each.size))
        np.testing.assert_array_equal(params, np.where(is_free(net), 0.0, kept))
        assert each(np.zeros(each.size))[0] == obj(np.zeros(obj.size))[0]


@dtypes
@pytest.mark.parametrize(
    "options",
    [
        {"method": "L-BFGS-B", "max_iter": 5},
        {"method": "trust-constr", "max_iter": 3},
        {"method": "rprop", "max_epochs": 5},
        {"method": "adam", "max_epochs": 5, "batch_size": 2, "seed": 0},
        {
            "method": "adam",
            "max_epochs": 3,
            "batch_size": 2,
            "seed": 0,
            "weight_noise": 0.1,
            "dropout": 0.2,
            "recurrent_dropout": 0.2,
            "options": {"weight_decay": 0.1},
        },
        {"method": "L-BFGS-B", "max_iter": 3, "n_restarts": 2, "seed": 0},
    ],
)
def test_a_fit_moves_the_others_alone(dtype, options):
    net, X, Y = problem(dtype)
    before, free, seen = net.params.copy(), is_free(net), []

    def validation(params):
        assert params.shape == net.params.shape
        return lc.Objective(net, X, Y).fun(params)

    def callback(state):
        seen.append(state.x.size)
        assert (net.params[~free] == before[~free]).all()

    obj = lc.Objective(net, X, Y, l2=1e-3, frozen=FROZEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        if "n_restarts" in options:
            result = lc.fit(net, X, Y, l2=1e-3, frozen=FROZEN, callback=callback, **options)
        else:
            result = lc.minimize(obj, validation=validation, callback=callback, **options)
    assert result.x.size == obj.size and set(seen) == {obj.size}
    assert (net.params[~free] == before[~free]).all()
    assert (net.params[free] != before[free]).any()
    np.testing.assert_array_equal(obj.theta_of(net.params), result.x.astype(dtype))


def test_weight_decay_leaves_the_biases_that_are_in_theta():
    net, X, Y = problem()
    net.params = np.random.default_rng(3).normal(size=net.params.size)
    obj = lc.Objective(net, X, Y, frozen=FROZEN)
    counted = np.zeros(obj.size, bool)
    for part in obj.weight_slices:
        counted[part] = True
    whole = np.zeros(net.params.size, bool)
    for part in net.weight_slices:
        whole[part] = True
    np.testing.assert_array_equal(counted, whole[is_free(net)])


def test_bounds_and_x0_are_of_theta():
    net, X, Y = problem()
    obj = lc.Objective(net, X, Y, frozen=FROZEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        bounds = [(-0.01, 0.01)] * obj.size
        result = lc.minimize(obj, max_iter=3, x0=np.zeros(obj.size), bounds=bounds)
    assert abs(result.x).max() <= 0.01
    with pytest.raises(ValueError, match="x0: expected shape"):
        lc.minimize(obj, x0=net.params)


def test_scipy_takes_such_an_objective():
    net, X, Y = problem()
    obj = lc.Objective(net, X, Y, frozen=FROZEN)
    start = obj.theta_of(net.params)
    assert scipy.optimize.check_grad(obj.fun, obj.grad, start) < 1e-6
    result = scipy.optimize.minimize(obj, start, jac=True, options={"maxiter": 5})
    assert result.fun < obj.fun(start)


def test_a_run_goes_on_with_the_same_frozen_blocks_alone(tmp_path):
    path = tmp_path / "run"
    options = {"method": "adam", "batch_size": 2, "seed": 0, "checkpoint_path": path}
    net, X, Y = problem()
    lc.fit(net, X, Y, frozen=FROZEN, max_epochs=2, **options)
    lc.fit(net, X, Y, frozen=FROZEN, max_epochs=4, **options)
    other, _, _ = problem()
    lc.fit(other, X, Y, frozen=FROZEN, max_epochs=4, **options | {"checkpoint_path": None})
    assert (net.params == other.params).all()
    with pytest.raises(ValueError, match=r"objective.frozen.* differ|differ: .*objective.frozen"):
        lc.fit(net, X, Y, frozen=["0.R"], max_epochs=4, **options)


@pytest.mark.parametrize(
    ("frozen", "error", "words"),
    [
        (
            ["0.X"],
            ValueError,
            r"frozen: expected names of blocks, or patterns.*'0.X'; there are 0.W",
        ),
        (["*"], ValueError, "frozen: expected some block that is free"),
        ([3], TypeError, "frozen: expected names of blocks, got"),
        (3, TypeError, "frozen: expected names of blocks, got"),
    ],
)
def test_wrong_names_are_refused(frozen, error, words):
    net, X, Y = problem()
    with pytest.raises(error, match=words):
        lc.Objective(net, X, Y, frozen=frozen)
    with pytest.raises(error, match=words):
        lc.fit(net, X, Y, frozen=frozen)


def test_a_theta_of_another_size_is_refused():
    net, X, Y = problem()
    obj = lc.Objective(net, X, Y, frozen=FROZEN)
    with pytest.raises(ValueError, match="theta: expected shape"):
        obj(net.params)
    with pytest.raises(ValueError, match="v: expected shape"):
        obj.hessp(np.zeros(obj.size), net.params)


def test_one_name_may_stand_without_a_list():
    net, X, Y = problem()
    assert lc.Objective(net, X, Y, frozen="1.*").frozen == ("1.*",)

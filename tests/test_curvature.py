"""Products with J, G and H: what they are, for every network and loss, and SciPy with them."""

import copy
import inspect
import pickle
import threading
import warnings

import numpy as np
import pytest
import scipy.optimize
import zoo
from helpers import relative_error, run_python
from test_golden import load_cases, load_maker
from test_loss_contract import Gaussian, MeanProbability

import lstmcore as lc
from lstmcore import losses
from lstmcore._passes import Passes
from lstmcore._readout import READOUTS

I, K = zoo.INPUTS, zoo.OUTPUTS
LENGTHS = [6, 1, 0, 4, 6]  # unequal, with an empty sequence and a single step
STENCIL = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
PACKAGE = {
    "squared_error": losses.SquaredError(),
    "cross_entropy": losses.CrossEntropy(),
    "binary_cross_entropy": losses.BinaryCrossEntropy(),
    "huber": losses.Huber(0.5),
    "quantile": losses.Quantile([0.1, 0.6]),
    "quantile, one": losses.Quantile(0.3),
    "poisson": losses.Poisson(),
}


def sixth_order(function, theta, v, step=1e-4):
    """The derivative in the direction v; right to about 1e-10."""
    step = step / abs(v).max()
    sides = [
        w * (function(theta + k * step * v) - function(theta - k * step * v)) for k, w in STENCIL
    ]
    return sum(sides) / step


def network(name="peepholes", loss="squared_error", readout="all", dtype="float64", scale=0.4):
    return zoo.network(name, loss=loss, readout=readout, dtype=dtype, scale=scale)


def targets_of(net, rng, shape):
    if net.loss_name == "cross_entropy":
        return rng.integers(net.output_size, size=shape)
    size = net._loss.target_size(net.output_size)
    return rng.random((*shape, size))


def objective(net, lengths=LENGTHS, l2=0.01, **options):
    rng = np.random.default_rng(1)
    B, T = len(lengths), max(lengths)
    X = rng.normal(size=(B, T, I))
    Y = targets_of(net, rng, (B, T) if net.readout == "all" else (B,))
    weights = {"sample_weight": rng.random(B) + 0.1}
    return lc.Objective(net, X, Y, lengths=lengths, l2=l2, **weights | options)


def directions(net, n=2):
    return np.random.default_rng(2).normal(size=(n, net.params.size))


def outputs(obj, theta):
    """The output pre-activations of the examples, row by row, by the network's own forward pass."""
    net = lc.Network(**obj.net.options | {"dtype": "float64"})
    return net.passes.outputs(theta, obj.net.exact(obj.examples)[1], None, 1)


def assert_products(obj, tolerance=1e-8, step=1e-4):
    """J is the derivative of the outputs, Jᵀ its transpose, G = Jᵀ H_L J + l2, H that of g."""
    net = obj.net
    theta = net.params.astype(np.float64)
    u, v = directions(net)
    point = obj._products().at(theta)
    J = {}
    for name, direction in {"u": u, "v": v}.items():
        J[name] = sixth_order(lambda theta: outputs(obj, theta), theta, direction, step)
        assert relative_error(point.push(direction), J[name]) < tolerance
    rows = np.random.default_rng(3).normal(size=point.a.shape)
    kept = rows.copy()
    pulled = point.pull(rows)
    np.testing.assert_array_equal(rows, kept)
    scale = np.linalg.norm(pulled) * np.linalg.norm(v)
    assert abs((rows * J["v"]).sum() - pulled @ v) <= tolerance * scale

    weights = np.zeros(theta.size, bool)
    for part in net.weight_slices:
        weights[part] = True
    twin, examples = net.exact(obj.examples)
    H_L = twin.passes.curvature(point.a, examples)
    G = {"u": obj.gauss_newton(theta, u), "v": obj.gauss_newton(theta, v)}
    wanted = (J["u"] * H_L(J["v"])).sum() + obj.l2 * (u * v * weights).sum()
    size = np.linalg.norm(u) * np.linalg.norm(G["v"])
    assert abs(u @ G["v"] - wanted) <= tolerance * size
    assert abs(u @ G["v"] - v @ G["u"]) <= 1e-9 * size
    H = obj.hessp(theta, v)
    exact = lc.Objective(twin, examples, l2=obj.l2, n_threads=1).grad
    assert relative_error(H, sixth_order(exact, theta, v, step)) < tolerance
    size = np.linalg.norm(u) * np.linalg.norm(H)
    assert abs(u @ H - v @ obj.hessp(theta, u)) <= 1e-9 * size


@zoo.cases(zoo.NETWORKS)
def test_every_network_in_both_dtypes_with_every_readout(name, readout, dtype):
    net = network(name, readout=readout, dtype=dtype)
    if readout == "max" or any(map(zoo.has_bends, net.layers)):
        assert_products(objective(net), 1e-5, step=1e-7)  # so that no bend is within the step
    else:
        assert_products(objective(net))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("loss", PACKAGE)
def test_every_loss_with_every_readout(loss, readout):
    net = network(loss=PACKAGE[loss], readout=readout)
    assert_products(objective(net, step_weight=None), 1e-6, step=1e-6)


@pytest.mark.parametrize("lengths", [[0, 5], [0, 0], [1], [5], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("readout", ["all", "last", "mean", "last_step"])
def test_awkward_lengths(lengths, readout):
    if readout == "all" and not any(lengths):
        return  # nothing is scored
    for name in ("LSTM, 33 units", "both directions, learned states"):
        assert_products(objective(network(name, readout=readout), lengths))


FORMS = {
    "a list": lambda X, Y: {
        "X": [x[:n] for x, n in zip(X, LENGTHS, strict=True)],
        "Y": [y[:n] for y, n in zip(Y, LENGTHS, strict=True)],
    },
    "a mask": lambda X, Y: {"X": X, "Y": Y, "mask": np.arange(30).reshape(5, 6) % 4 != 1},
    "step_weight": lambda X, Y: {"X": X, "Y": Y, "step_weight": np.arange(30).reshape(5, 6) % 5},
    "a sum": lambda X, Y: {"X": X, "Y": Y, "reduction": "sum"},
    "steps first in memory": lambda X, Y: {"X": np.asfortranarray(X), "Y": Y},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_data_in_every_form(form, dtype):
    rng = np.random.default_rng(4)
    data = FORMS[form](rng.normal(size=(5, 6, I)), rng.normal(size=(5, 6, K)))
    assert_products(lc.Objective(network(dtype=dtype), l2=0.01, **data))


@pytest.mark.parametrize("name", ["embedding", "tokens, GRU, both directions"])
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_tokens(name, dtype):
    rng = np.random.default_rng(4)
    X, Y = rng.integers(I, size=(5, 6)), rng.normal(size=(5, 6, K))
    assert_products(lc.Objective(network(name, dtype=dtype), X, Y, lengths=LENGTHS, l2=0.01))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("checkpoint", [None, 1])
def test_given_states(readout, checkpoint):
    net = network("learned states, FGR, blocks", readout=readout, dtype="float32")
    rng = np.random.default_rng(4)
    _, state = net.predict(rng.normal(size=(5, 3, I)), return_state=True)
    obj = objective(net, state=state, checkpoint=checkpoint)
    assert_products(obj, 1e-6, step=1e-6)
    is_learned = np.concatenate([np.full(b.size, b.name[-1] == "0") for b in net.table])
    (v,) = directions(net, 1)
    G = obj.gauss_newton(net.params, v)
    assert is_learned.any() and (G[is_learned] == 0).all() and (G[~is_learned] != 0).all()


@pytest.mark.parametrize("loss", [MeanProbability(0.1), Gaussian()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_losses_of_ones_own(loss, dtype):
    rng = np.random.default_rng(4)
    net = network(loss=loss, dtype=dtype)
    X = rng.normal(size=(5, 6, I))
    Y = [0, 1, 1, 0, 1] if loss.terms == "sequences" else rng.normal(size=(5, 6, 1))
    assert_products(lc.Objective(net, X, Y, lengths=LENGTHS, l2=0.01))


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("loss", ["squared_error", MeanProbability(0.1)], ids=str)
def test_segments_give_the_same_products(loss, readout):
    if loss != "squared_error" and readout != "all":
        return
    rng = np.random.default_rng(4)
    net = network("stack", loss=loss, readout=readout)
    X = rng.normal(size=(3, 700, I))
    Y = (
        [0, 1, 1]
        if loss != "squared_error"
        else targets_of(net, rng, (3, 700)[: 1 + (readout == "all")])
    )
    u, v = directions(net)
    whole, cut = (
        lc.Objective(net, X, Y, lengths=[700, 0, 300], checkpoint=n) for n in (None, True)
    )
    for product in ("gauss_newton", "hessp"):
        wanted = getattr(whole, product)(net.params, v)
        assert relative_error(getattr(cut, product)(net.params, v), wanted) < 1e-10
    if net.passes.is_least_squares:
        J, J_cut = whole.jacobian(net.params), cut.jacobian(net.params)
        u = rng.normal(size=J.shape[0])
        assert relative_error(J_cut @ v, J @ v) < 1e-10
        assert relative_error(J_cut.T @ u, J.T @ u) < 1e-12


# -------------------------------------------------------------------------------- other programs

TORCH = load_cases("curvature.npz")


def assert_torch(case):
    (kind, loss, readout), (units, n_directions) = case["what"].tolist(), case["sizes"].tolist()
    layer = getattr(lc, kind)(case["x"].shape[2], units, bidirectional=n_directions == 2)
    head = lc.Dense(layer.output_size, case["Jv"].shape[1])
    net, lengths, Y = lc.Network([layer, head], loss, readout), case["lengths"], case["y"]
    X = [x[:n] for x, n in zip(case["x"], lengths, strict=True)]
    if readout == "all":
        Y = np.split(Y, np.cumsum(lengths)[:-1])
    obj = lc.Objective(net, X, Y)
    theta, v = case["theta"], case["v"]
    assert relative_error(obj._products().at(theta).push(v), case["Jv"]) < 1e-8
    assert relative_error(obj.gauss_newton(theta, v), case["Gv"]) < 1e-8
    assert relative_error(obj.hessp(theta, v), case["Hv"]) < 1e-8


@pytest.mark.parametrize("name", TORCH)
def test_products_equal_pytorchs_double_backward(name):
    assert_torch(TORCH[name])


@pytest.mark.parametrize("name", TORCH)
def test_products_equal_pytorchs_double_backward_live(name):
    pytest.importorskip("torch")
    assert_torch(load_maker("make_curvature").make_case(name, seed=1))


# ---------------------------------------------------------------------------------------- losses


def rows_of(loss, n_outputs, rng, n=7):
    """Outputs, targets and weights of some terms, one of them without weight."""
    a = 2 * rng.normal(size=(n, n_outputs))
    size = loss.target_size(n_outputs)
    z = rng.random((n, size))
    if loss.output == "softmax":
        z /= z.sum(axis=1, keepdims=True)
    weights = rng.random(n)
    weights[3] = 0
    return a, losses.TermTargets(z), weights


SMOOTH = ("squared_error", "cross_entropy", "binary_cross_entropy")


@pytest.mark.parametrize("loss", SMOOTH)
def test_the_curvature_is_the_derivative_of_delta(loss):
    loss, rng = PACKAGE[loss], np.random.default_rng(5)
    a, targets, weights = rows_of(loss, 3, rng)
    a_dot = rng.normal(size=a.shape)
    product = loss.curvature(a, targets, weights)

    def delta(a):
        return loss.value_and_delta(a.copy(), targets, weights)[1]

    assert relative_error(product(a_dot), sixth_order(delta, a, a_dot)) < 1e-10
    by_differences = losses.Loss.curvature(loss, a, targets, weights)
    assert relative_error(by_differences(a_dot), product(a_dot)) < 1e-9
    assert (by_differences(0 * a_dot) == 0).all()


def test_labels_have_the_curvature_of_their_probabilities():
    rng = np.random.default_rng(5)
    a, a_dot, labels = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.integers(3, size=6)
    loss = losses.CrossEntropy()
    products = [
        loss.curvature(a, losses.TermTargets(z), np.ones(6))(a_dot)
        for z in (labels, np.eye(3)[labels])
    ]
    np.testing.assert_array_equal(*products)


@pytest.mark.parametrize("loss", PACKAGE)
def test_no_loss_of_the_package_curves_down(loss):
    loss, rng = PACKAGE[loss], np.random.default_rng(5)
    a, targets, weights = rows_of(loss, 2, rng)
    product = loss.curvature(a, targets, weights)
    columns = [product(e.reshape(a.shape)).ravel() for e in np.eye(a.size)]
    matrix = np.array(columns)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
    assert np.linalg.eigvalsh(matrix).min() > -1e-15
    assert (product(np.ones_like(a))[3] == 0).all()


@pytest.mark.parametrize("loss", ["huber", "quantile", "quantile, one"])
def test_the_parabola_of_a_bent_loss_lies_above_it(loss):
    loss, rng = PACKAGE[loss], np.random.default_rng(5)
    a, targets, weights = rows_of(loss, 2, rng)
    product = loss.curvature(a, targets, weights)
    f, delta = loss.value_and_delta(a.copy(), targets, weights)
    errors = np.abs(a - targets.values)
    for _ in range(200):
        d = rng.normal(size=a.shape) * rng.choice([0.01, 1, 100])
        above = f + (delta * d).sum() + 0.5 * (d * product(d)).sum()
        below, _ = loss.value_and_delta(a + d, targets, weights)
        # what Quantile adds to small errors takes a thousandth off
        assert below <= above + 1e-3 * weights.sum() * errors.mean()


def test_quantiles_that_are_all_met_have_no_curvature():
    loss = losses.Quantile(0.3)
    product = loss.curvature(np.ones((3, 1)), losses.TermTargets(np.ones((3, 1))), np.ones(3))
    assert (product(np.ones((3, 1))) == 0).all()


@pytest.mark.parametrize("a", [800.0, -800.0, 30.0])
def test_no_curvature_overflows_or_cancels(a):
    one = losses.TermTargets(np.ones((1, 1)))
    got = losses.BinaryCrossEntropy().curvature(np.array([[a]]), one, np.ones(1))(np.ones((1, 1)))
    assert got.item() == pytest.approx(np.exp(-abs(a)), rel=1e-12)
    pair = losses.CrossEntropy().curvature(
        np.array([[a, 0]]), losses.TermTargets(np.eye(1, 2)), np.ones(1)
    )
    assert np.isfinite(pair(np.array([[1.0, -1.0]]))).all()


def test_a_loss_derived_from_another_does_not_inherit_its_curvature():
    class Fourth(losses.SquaredError):
        name = "fourth"

        def value_and_delta(self, a, targets, weights, lengths=None):
            error = a - targets.values
            delta = error**3 * weights[:, None]
            return 0.25 * float((error**4).sum(axis=1) @ weights), delta

    net = network(loss=Fourth())
    assert_products(objective(net))
    with pytest.raises(TypeError, match="residuals: expected the loss 'squared_error'"):
        objective(net).residuals(net.params)


@pytest.mark.parametrize("loss", PACKAGE)
def test_no_eigenvalue_of_gauss_newton_is_below_zero(loss):
    net = network("RNN", loss=PACKAGE[loss])
    obj = objective(net)
    n = net.params.size
    G = np.array([obj.gauss_newton(net.params, e) for e in np.eye(n)])
    values = np.linalg.eigvalsh(0.5 * (G + G.T))
    assert np.linalg.norm(G - G.T) < 1e-8 * np.linalg.norm(G)
    assert values.min() > -1e-9 * values.max()


# ---------------------------------------------------------------------------- one θ, many threads


@pytest.fixture
def counted(monkeypatch):
    """The calls of a network that products may share."""
    counts = dict.fromkeys(("linearize", "outputs_plain", "curvature", "exact"), 0)

    def counting(name, method):
        def call(self, *args):
            counts[name] += 1
            return method(self, *args)

        return call

    for name in counts:
        owner = lc.Network if name == "exact" else Passes
        monkeypatch.setattr(owner, name, counting(name, getattr(owner, name)))
    return counts


def test_what_belongs_to_one_theta_is_computed_once(counted):
    net = network()
    obj = objective(net)
    theta, (u, v) = net.params.copy(), directions(net)
    assert sum(counted.values()) == 0
    first = obj.gauss_newton(theta, v)
    obj.gauss_newton(theta.copy(), u)
    obj.residuals(theta)
    J = obj.jacobian(theta)
    J @ v, J.T @ np.ones(J.shape[0])
    assert counted == {"linearize": 1, "curvature": 1, "exact": 1, "outputs_plain": 6}
    theta += 1e-3  # in the caller's own array
    moved = obj.gauss_newton(theta, v)
    assert counted == {"linearize": 2, "curvature": 2, "exact": 1, "outputs_plain": 8}
    theta -= 1e-3
    np.testing.assert_allclose(obj.gauss_newton(theta, v), first, rtol=1e-6)
    assert relative_error(moved, first) > 1e-6
    wanted = J @ v  # still at its own θ
    np.testing.assert_array_equal(wanted, obj.jacobian(net.params) @ v)


def test_the_memory_of_a_theta_serves_the_next():
    net = network()
    obj = objective(net)
    (v,) = directions(net, 1)
    for k in range(5):
        obj.gauss_newton(net.params + k, v)
    assert len(net.passes.pool._free) <= 3
    before = {id(workspace) for workspace in net.passes.pool._free}
    for k in range(5):
        obj.gauss_newton(net.params - k, v)
    assert len({id(workspace) for workspace in net.passes.pool._free} | before) <= 4


@pytest.mark.parametrize("checkpoint", [None, True])
@pytest.mark.parametrize("same", [True, False], ids=["one theta", "other thetas"])
def test_threads_may_share_one_objective(checkpoint, same):
    net = network("stack", readout="max")
    obj = objective(net, checkpoint=checkpoint)
    thetas = [net.params + (0 if same else 0.01 * k) for k in range(4)]
    vectors = directions(net, 4)
    calls = (obj.gauss_newton, obj.hessp, lambda theta, v: obj.jacobian(theta) @ v)
    wanted = [[call(theta, v) for call in calls] for theta, v in zip(thetas, vectors, strict=True)]
    wrong = []

    def work(k):
        for _ in range(20):
            for call, value in zip(calls, wanted[k], strict=True):
                if (call(thetas[k], vectors[k]) != value).any():
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(n_threads):
    net = network("LSTM, 70 units")
    (v,) = directions(net, 1)
    for product in ("gauss_newton", "hessp"):
        one, many = (
            getattr(objective(net, n_threads=n), product)(net.params, v) for n in (1, n_threads)
        )
        np.testing.assert_array_equal(one, many)


def test_a_float32_network_has_the_products_of_its_twin():
    net = network("stack", dtype="float32")
    twin, examples = net.exact(objective(net).examples)
    assert twin.dtype == np.float64 and (twin.params == net.params).all()
    (v,) = directions(net, 1)
    for name in ("gauss_newton", "hessp"):
        wanted = getattr(lc.Objective(twin, examples, l2=0.01), name)(net.params, v)
        np.testing.assert_array_equal(getattr(objective(net), name)(net.params, v), wanted)


def test_copies_have_products_of_their_own():
    net = network()
    obj = objective(net)
    (v,) = directions(net, 1)
    wanted = obj.gauss_newton(net.params, v)
    for twin in (copy.deepcopy(obj), pickle.loads(pickle.dumps(obj))):
        np.testing.assert_array_equal(twin.gauss_newton(net.params, v), wanted)


def test_arguments_are_not_written_to_and_results_are_fresh():
    net = network()
    obj = objective(net)
    theta, (v,) = net.params.copy(), directions(net, 1)
    for array in (theta, v):
        array.setflags(write=False)
    for call in (obj.gauss_newton, obj.hessp, lambda theta, v: obj.residuals(theta)):
        first = call(theta, v)
        kept = first.copy()
        first[:] = np.nan
        np.testing.assert_array_equal(call(theta, v), kept)
    assert (obj.gauss_newton(theta, 0 * v) == 0).all() and (obj.hessp(theta, 0 * v) == 0).all()


def test_a_product_is_linear_in_vectors_of_any_size():
    net = network()
    obj = objective(net)
    (v,) = directions(net, 1)
    for call in (obj.gauss_newton, obj.hessp):
        wanted = call(net.params, v)
        for factor in (1e-200, 1e-8, -1e8, 1e200):
            got = call(net.params, factor * v) / factor
            assert relative_error(got, wanted) < 1e-8


# ------------------------------------------------------------------------------------- residuals


@pytest.mark.parametrize("l2", [0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("readout", ["all", "last"])
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_half_the_sum_of_squared_residuals_is_the_objective(dtype, readout, reduction, l2):
    net = network("learned states", readout=readout, dtype=dtype)
    weights = {"sample_weight": [0.3, 1, 2, 0, 1]}
    obj = objective(net, l2=l2, reduction=reduction, **weights)
    r, J = obj.residuals(net.params), obj.jacobian(net.params)
    f, g = obj(net.params)
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert r.dtype == np.float64 and J.dtype == np.float64
    assert 0.5 * r @ r == pytest.approx(f, rel=tolerance)
    assert relative_error(J.T @ r, g) < tolerance
    assert r.shape == (J.shape[0],) and J.shape[1] == net.params.size
    n_penalised = sum(part.stop - part.start for part in net.weight_slices) if l2 else 0
    scored = 4 if readout == "last" else sum(LENGTHS) - LENGTHS[3]
    assert r.size == K * scored + n_penalised
    u, v = np.random.default_rng(6).normal(size=r.size), directions(net, 1)[0]
    assert u @ (J @ v) == pytest.approx((J.T @ u) @ v, rel=1e-8)
    wanted = sixth_order(obj.residuals, net.params.astype(float), v)
    assert relative_error(J @ v, wanted) < 1e-8
    assert relative_error(J.T @ (J @ v), obj.gauss_newton(net.params, v)) < 1e-8
    assert (J @ v[:, None]).shape == (r.size, 1)


@pytest.mark.parametrize("loss", sorted(PACKAGE.keys() - {"squared_error"}))
@pytest.mark.parametrize("call", ["residuals", "jacobian"])
def test_other_losses_are_refused_with_what_to_do(call, loss):
    net = network(loss=PACKAGE[loss])
    with pytest.raises(TypeError, match=f"{call}: expected the loss 'squared_error'.*gauss_newton"):
        getattr(objective(net), call)(net.params)


class Lasso(lc.Objective):
    def penalty(self, theta, g=None, *, start=0.0):
        if g is not None:
            g += 0.2 * theta / np.sqrt(theta**2 + 0.1)
        return start + 0.2 * np.sqrt(theta**2 + 0.1).sum()


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_the_penalty_of_a_subclass_counts(dtype):
    net = network(dtype=dtype)
    plain = objective(net, l2=0)
    lasso = Lasso(net, plain.examples)
    theta, (v,) = net.params.astype(float), directions(net, 1)
    added = 0.02 * v / (theta**2 + 0.1) ** 1.5
    for name in ("gauss_newton", "hessp"):
        got = getattr(lasso, name)(theta, v) - getattr(plain, name)(theta, v)
        assert relative_error(got, added) < 1e-7
    with pytest.raises(TypeError, match=r"residuals: expected a penalty by l2 alone.* Lasso"):
        lasso.residuals(theta)


@pytest.mark.parametrize("readout", ["all", "last"])
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_products_begin_in_the_states_that_are_given(readout, checkpoint):
    net, rng = network(readout=readout), np.random.default_rng(8)
    start = net.predict(np.zeros((len(LENGTHS), 0, I)), return_state=True)[1]
    state = tuple(tuple(rng.normal(size=values.shape) for values in entry) for entry in start)
    obj = objective(net, state=state, checkpoint=checkpoint)
    theta, (v,) = net.params.astype(float), directions(net, 1)
    r, J = obj.residuals(theta), obj.jacobian(theta)
    assert 0.5 * r @ r == pytest.approx(obj.fun(theta), rel=1e-13)
    assert abs(obj.fun(theta) - objective(net).fun(theta)) > 1e-3
    assert relative_error(J @ v, sixth_order(obj.residuals, theta, v)) < 1e-8
    assert relative_error(J.T @ (J @ v), obj.gauss_newton(theta, v)) < 1e-8
    assert relative_error(obj.hessp(theta, v), sixth_order(obj.grad, theta, v)) < 1e-6


def test_the_penalty_counts_block_by_block():
    net, (v,) = network(), directions(network(), 1)
    plain = objective(net, l2=0)
    obj = lc.Objective(net, plain.examples, l2={"*.b": 0.3, "0.R": 0.1}, l1=0.2)
    added = np.zeros_like(v)
    for name, block in net.table.views(v).items():
        net.table.views(added)[name][...] = 0.3 * block if name.endswith("b") else 0
    net.table.views(added)["0.R"][...] = 0.1 * net.table.views(v)["0.R"]
    for name in ("gauss_newton", "hessp"):
        got = getattr(obj, name)(net.params, v) - getattr(plain, name)(net.params, v)
        assert relative_error(got, added) < 1e-7
    with pytest.raises(TypeError, match=r"residuals: expected a penalty by l2 alone.* l1"):
        obj.residuals(net.params)
    obj = lc.Objective(net, plain.examples, l2=obj.l2)
    r = obj.residuals(net.params)
    assert 0.5 * r @ r == pytest.approx(obj.fun(net.params), rel=1e-13)
    assert relative_error(obj.jacobian(net.params).T @ r, obj.grad(net.params)) < 1e-13


@pytest.mark.parametrize("loss", PACKAGE)
def test_a_term_that_weighs_nothing_adds_none_however_large(loss):
    net, loss = network(loss=PACKAGE[loss]), PACKAGE[loss]
    labels = np.zeros((1, 2), int)
    Y = labels if loss.output == "softmax" else np.zeros((1, 2, loss.target_size(K)))
    targets = net.prepare(np.zeros((1, 2, I)), Y).targets
    a = np.full((2, K), 1.5)
    a[1] = 1e4
    product = loss.curvature(a, targets, np.array([1.0, 0.0]))(np.ones((2, K)))
    assert np.isfinite(product).all()
    assert not product[1].any()


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "poisson", "huber"])
def test_weights_of_outputs_count(loss):
    net, rng = network(loss=PACKAGE[loss]), np.random.default_rng(7)
    weights = rng.random((len(LENGTHS), max(LENGTHS), net.output_size))
    weights[rng.random(weights.shape) < 0.3] = 0
    obj = objective(net, step_weight=weights, sample_weight=None)
    theta, (u, v) = net.params.astype(float), directions(net)
    assert relative_error(obj.hessp(theta, v), sixth_order(obj.grad, theta, v)) < 1e-6
    assert u @ obj.gauss_newton(theta, v) == pytest.approx(v @ obj.gauss_newton(theta, u), rel=1e-8)
    if loss == "squared_error":
        r, J = obj.residuals(theta), obj.jacobian(theta)
        assert 0.5 * r @ r == pytest.approx(obj.fun(theta), rel=1e-13)
        assert relative_error(J.T @ r, obj.grad(theta)) < 1e-13
        assert relative_error(J @ v, sixth_order(obj.residuals, theta, v)) < 1e-8


@pytest.mark.parametrize(
    ("theta", "v", "words"),
    [
        (np.zeros(3), None, "theta: expected shape"),
        (None, np.zeros(3), "v: expected shape"),
        (None, "v", "v: expected real numbers"),
        ("theta", None, "theta: expected real numbers"),
    ],
)
@pytest.mark.parametrize("call", ["gauss_newton", "hessp"])
def test_wrong_vectors_are_refused_by_name(call, theta, v, words):
    net = network()
    theta, v = (net.params if value is None else value for value in (theta, v))
    with pytest.raises((TypeError, ValueError), match=words):
        getattr(objective(net), call)(theta, v)


# ------------------------------------------------------------------------------- scipy.optimize


def fit_problem(**options):
    """A small network and sequences of unequal length that it can learn."""
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(length, 2)) for length in (6, 9, 0, 4)]
    Y = [np.cumsum(x[:, :1], axis=0) / 3 for x in X]
    net = lc.Network([lc.LSTM(2, 3, peepholes=True), lc.Dense(3, 1)], seed=0, **options)
    return net, lc.Objective(net, X, Y, l2=1e-3)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"])
@pytest.mark.parametrize("product", ["gauss_newton", "hessp"])
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_minimize_of_scipy_takes_products(method, product, dtype):
    net, obj = fit_problem(dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of methods about the few iterations
        result = scipy.optimize.minimize(
            obj,
            net.params.astype(float),
            jac=True,
            hessp=getattr(obj, product),
            method=method,
            options={"maxiter": 30},
        )
    assert result.fun < 0.2 * obj.fun(net.params)


@pytest.mark.parametrize("method", ["trf", "dogbox"])
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-1.5, 1.5)], ids=str)
def test_least_squares_of_scipy_takes_residuals(method, bounds):
    net, obj = fit_problem()
    result = scipy.optimize.least_squares(
        obj.residuals, net.params, jac=obj.jacobian, method=method, bounds=bounds, max_nfev=10
    )
    assert result.cost < 0.3 * obj.fun(net.params)
    assert result.cost == pytest.approx(obj.fun(result.x), rel=1e-12)


def test_basinhopping_and_dual_annealing_take_an_objective():
    net, obj = fit_problem()
    start = obj.fun(net.params)
    options = {
        "jac": True,
        "method": "trust-krylov",
        "hessp": obj.gauss_newton,
        "options": {"maxiter": 3},
    }
    # SciPy before 1.15 calls it seed.
    names = inspect.signature(scipy.optimize.basinhopping).parameters
    seed = {"rng" if "rng" in names else "seed": 0}
    result = scipy.optimize.basinhopping(obj, net.params, niter=1, minimizer_kwargs=options, **seed)
    assert result.fun < start
    bounds = [(-2, 2)] * net.params.size
    options = {"jac": obj.grad, "method": "L-BFGS-B", "options": {"maxiter": 3}}
    result = scipy.optimize.dual_annealing(
        obj.fun, bounds, maxiter=1, maxfun=200, minimizer_kwargs=options, x0=net.params, **seed
    )
    assert result.fun < start


def test_scipys_own_checks_agree():
    net, obj = fit_problem()
    theta, (v,) = net.params.copy(), np.random.default_rng(0).normal(size=(1, net.params.size))
    error = scipy.optimize.check_grad(obj.fun, obj.grad, theta)
    assert error < 1e-6 * np.linalg.norm(obj.grad(theta)) + 1e-6
    from scipy.optimize._numdiff import approx_derivative

    J = approx_derivative(obj.residuals, theta, method="3-point")
    assert relative_error(obj.jacobian(theta) @ v, J @ v) < 1e-7
    operator = approx_derivative(obj.grad, theta, method="3-point", as_linear_operator=True)
    assert relative_error(obj.hessp(theta, v), operator @ v) < 1e-6


BLAS = """
import numpy as np
import scipy.optimize
import lstmcore as lc
from threadpoolctl import threadpool_info

def blas_threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 6, 1))
net = lc.Network([lc.LSTM(5, 7), lc.Dense(7, 1)], seed=0)
obj = lc.Objective(net, X, Y, l2=1e-3)
before, within = blas_threads(), set()
assert before == {2}, before
obj.gauss_newton(net.params, net.params), obj.hessp(net.params, net.params)
obj.residuals(net.params), obj.jacobian(net.params) @ net.params
assert blas_threads() == before                 # it is not SciPy that asks

def looking(call):
    def look(*args):
        result = call(*args)
        within.update(blas_threads())
        return result
    return look

def rosen(theta):
    return float(theta @ theta), 2 * theta

if "PRODUCT" == "jacobian":
    scipy.optimize.least_squares(
        looking(obj.residuals), net.params, jac=looking(obj.jacobian), max_nfev=3)
else:
    scipy.optimize.minimize(
        rosen, net.params, jac=True, hessp=looking(obj.PRODUCT), method="trust-ncg",
        options={"maxiter": 2})
assert within == {1}, within
"""


@pytest.mark.parametrize("product", ["gauss_newton", "hessp", "jacobian"])
def test_blas_keeps_to_one_thread_where_scipy_asks_for_products(product):
    run_python(BLAS.replace("PRODUCT", product), OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")

"""`Objective`: what scipy.optimize asks of it, whatever the method, and no trace in the network."""

import pickle
import threading
import warnings

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

import lstmcore as lc
from lstmcore.objective import Objective

METHODS = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-constr"]


def problem(dtype="float64", seed=0, **options):
    """A small network and sequences of unequal length that it can learn."""
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(length, 2)) for length in (6, 9, 0, 4)]
    Y = [np.cumsum(x[:, :1], axis=0) / 3 for x in X]
    net = lc.Network(
        [lc.LSTM(2, 3, peepholes=True, bidirectional=True), lc.Dense(6, 1)], dtype=dtype, seed=seed
    )
    return net, Objective(net, X, Y, **options)


def test_it_gives_a_float_and_a_fresh_float64_gradient():
    for dtype in ("float64", "float32"):
        net, objective = problem(dtype)
        f, g = objective(net.params)
        again = objective(net.params)
        assert type(f) is float and g.dtype == np.float64 and g.shape == net.params.shape
        assert f == again[0] and not np.shares_memory(g, again[1])
        np.testing.assert_array_equal(g, again[1])
        assert objective.fun(net.params) == f
        np.testing.assert_array_equal(objective.grad(net.params), g)


def test_it_is_the_networks_own_loss():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 1))
    net, _ = problem()
    options = {
        "lengths": [5, 2, 4],
        "sample_weight": [1, 0.5, 2],
        "step_weight": rng.random((3, 5)),
        "l2": 0.1,
    }
    f, g = Objective(net, X, Y, **options)(net.params)
    f_net, g_net = net.loss_and_grad(X, Y, **options)
    assert f == f_net
    np.testing.assert_array_equal(g, g_net)


def test_l2_counts_weights_and_neither_biases_nor_initial_states():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 4, 3))
    layer = lc.LSTM(2, 3, peepholes=True, gate_recurrence=True, learn_initial_state=True)
    net = lc.Network([layer], seed=0)
    net.params = rng.normal(size=net.params.size)
    plain, penalised = Objective(net, X, Y), Objective(net, X, Y, l2=0.3)
    weights = [net.blocks[f"0.{kind}"] for kind in ("W", "R", "p", "Q")]
    penalty = 0.15 * sum((block**2).sum() for block in weights)
    assert penalised.fun(net.params) == pytest.approx(plain.fun(net.params) + penalty, rel=1e-14)
    difference = net.table.views(penalised.grad(net.params) - plain.grad(net.params))
    for name, values in difference.items():
        expected = 0.3 * net.blocks[name] if name[-1] in "WRpQ" else 0
        np.testing.assert_allclose(values, expected * np.ones_like(values), atol=1e-14)


def test_a_sum_is_the_mean_without_its_division():
    net, mean = problem()
    _, total = problem(reduction="sum")
    f_mean, g_mean = mean(net.params)
    f_sum, g_sum = total(net.params)
    assert f_sum == pytest.approx(19 * f_mean, rel=1e-14)
    np.testing.assert_allclose(g_sum, 19 * g_mean, rtol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize("readout", ["all", "last"])
def test_sums_of_parts_add_up_to_the_whole(readout, dtype, tolerance):
    rng = np.random.default_rng(6)
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], readout=readout, dtype=dtype, seed=0)
    X, w = rng.normal(size=(5, 7, 2)), rng.random(5)
    Y = rng.normal(size=(5, 7, 1) if readout == "all" else (5, 1))
    whole = Objective(net, X, Y, sample_weight=w, l2=0.1)
    parts = [Objective(net, X[k], Y[k], sample_weight=w[k]) for k in (slice(3), slice(3, 5))]
    total = sum(part.total for part in parts)
    assert total == pytest.approx(w.sum() * (7 if readout == "all" else 1), rel=1e-14)
    sums = [part.sums(net.params) for part in parts]
    assert all(type(f) is float and g.dtype == np.float64 for f, g in sums)
    g = sum(g for _, g in sums) / total
    f = whole.penalty(net.params, g, start=sum(f for f, _ in sums) / total)
    f_whole, g_whole = whole(net.params)
    assert f == pytest.approx(f_whole, rel=tolerance)
    np.testing.assert_allclose(g, g_whole, rtol=0, atol=tolerance * abs(g_whole).max())


def test_sums_are_what_a_sum_without_penalty_is():
    net, mean = problem(l2=0.3)
    _, plain_sum = problem(reduction="sum")
    _, penalised_sum = problem(reduction="sum", l2=0.3)
    assert mean.total == plain_sum.total == 19
    f, g = plain_sum(net.params)
    for objective in (mean, plain_sum, penalised_sum):
        f_sums, g_sums = objective.sums(net.params)
        assert f_sums == f
        np.testing.assert_array_equal(g_sums, g)


def test_a_part_without_weight_adds_nothing():
    net, _ = problem()
    X, Y = np.ones((2, 4, 2)), np.ones((2, 4, 1))
    part = Objective(net, X, Y, sample_weight=[0, 0], reduction="sum")
    f, g = part.sums(net.params)
    assert (f, part.total, abs(g).max()) == (0, 0, 0)


def test_prepared_examples_stand_for_the_data():
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 1))
    net, _ = problem()
    options = {"lengths": [5, 2, 4], "sample_weight": [1, 0.5, 2], "reduction": "sum"}
    f, g = Objective(net, X, Y, l2=0.1, **options)(net.params)
    prepared = Objective(net, net.prepare(X, Y, **options), l2=0.1)
    assert prepared(net.params)[0] == f
    np.testing.assert_array_equal(prepared.grad(net.params), g)
    for name, value in {"Y": Y, **options}.items():
        with pytest.raises(ValueError, match=f"{name}: expected None beside Examples"):
            Objective(net, prepared.examples, **{name: value})


def test_a_subclass_may_have_another_penalty():
    class Lasso(Objective):
        def penalty(self, theta, g=None, *, start=0.0):
            if g is not None:
                g += 0.2 * np.sign(theta)
            return start + 0.2 * abs(theta).sum()

    net, plain = problem()
    lasso = Lasso(net, plain.examples)
    theta = net.params + 0.01
    assert lasso.fun(theta) == lasso(theta)[0] == plain.fun(theta) + 0.2 * abs(theta).sum()
    np.testing.assert_array_equal(lasso.grad(theta), plain.grad(theta) + 0.2 * np.sign(theta))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_networks_penalty_starts_where_it_is_told(dtype):
    net, _ = problem(dtype)
    g = np.ones(net.params.size, dtype)
    value = net.penalty(None, 0.3)
    assert net.penalty(None, 0.3, g, start=2.0) == pytest.approx(2 + value, rel=1e-15) != 2
    assert net.penalty(net.params, 0.3) == value
    weights = np.concatenate([np.full(b.size, b.name[-1] in "WRp") for b in net.table])
    np.testing.assert_array_equal(g, 1 + np.dtype(dtype).type(0.3) * net.params * weights)
    assert net.penalty(np.full(net.params.size, np.inf), 0.0, start=2.0) == 2.0


@pytest.mark.parametrize(
    "theta, l2, g, message",
    [
        (np.zeros(3), 1, None, "theta: expected shape"),
        (None, -1, None, "l2: expected a number >= 0"),
        (None, 1, np.zeros(3), "g: expected an array of shape"),
        (None, 1, [0.0], "g: expected an array of shape"),
    ],
)
def test_the_networks_penalty_names_bad_arguments(theta, l2, g, message):
    with pytest.raises((TypeError, ValueError), match=message):
        problem()[0].penalty(theta, l2, g)


CALLS = {
    "loss": lambda net, *data, **wrong: net.loss(*data, **wrong),
    "loss_and_grad": lambda net, *data, **wrong: net.loss_and_grad(*data, **wrong),
    "Objective": Objective,
    "check_gradient": lc.check_gradient,
}


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_keyword_is_named(call):
    with pytest.raises(TypeError, match="unexpected keyword argument 'lenghts'"):
        CALLS[call](problem()[0], np.zeros((2, 4, 2)), np.zeros((2, 4, 1)), lenghts=[4, 2])


def test_its_gradient_is_that_of_its_values():
    net, objective = problem(l2=0.01)
    g = objective.grad(net.params)
    np.testing.assert_allclose(g, approx_fprime(net.params, objective.fun, 1e-7), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_gradient_method_of_scipy_descends(method, dtype):
    net, objective = problem(dtype, l2=1e-3)
    before = net.params.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of methods about the few iterations
        options = {"maxfun": 100} if method == "TNC" else {"maxiter": 30}
        if method in ("Newton-CG", "TNC"):  # which differentiate the gradient by differences
            step = "eps" if method == "Newton-CG" else "accuracy"
            options[step] = np.sqrt(np.finfo(dtype).eps)
        start = before.astype(np.float64)  # TNC takes nothing else
        result = minimize(objective, start, jac=True, method=method, options=options)
    assert result.fun < 0.5 * objective.fun(before)
    assert objective.fun(result.x) == result.fun
    np.testing.assert_array_equal(net.params, before)


def test_separate_functions_serve_scipy_as_well():
    net, objective = problem(l2=1e-3)
    options = {"method": "L-BFGS-B", "options": {"maxiter": 20}}
    joint = minimize(objective, net.params, jac=True, **options)
    separate = minimize(objective.fun, net.params, jac=objective.grad, **options)
    np.testing.assert_array_equal(joint.x, separate.x)


def test_theta_and_data_are_not_written_to():
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 1))
    net, _ = problem()
    theta = net.params + 1
    copies = X.copy(), Y.copy(), theta.copy()
    for array in (X, Y, theta):
        array.setflags(write=False)
    Objective(net, X, Y, l2=0.1)(theta)
    for array, copy in zip((X, Y, theta), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_threads_may_share_one_objective():
    net, objective = problem(l2=1e-3)
    rng = np.random.default_rng(5)
    thetas = [net.params + rng.normal(size=net.params.size) for _ in range(4)]
    expected = [objective(theta) for theta in thetas]
    wrong = []

    def work(k):
        for _ in range(20):
            f, g = objective(thetas[k])
            if f != expected[k][0] or (g != expected[k][1]).any():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_the_number_of_threads_changes_no_bit(n_threads):
    net, one = problem(n_threads=1)
    _, many = problem(n_threads=n_threads)
    assert one.fun(net.params) == many.fun(net.params)
    np.testing.assert_array_equal(one.grad(net.params), many.grad(net.params))


BAD = {
    "net": ({"net": "net"}, TypeError, "net: expected a Network, got 'net'"),
    "l2 negative": ({"l2": -1}, ValueError, "l2: expected a number >= 0"),
    "l2 a string": ({"l2": "1"}, TypeError, "l2: expected a real number"),
    "reduction": ({"reduction": "max"}, ValueError, "reduction: expected one of mean, sum"),
    "n_threads": ({"n_threads": 0}, ValueError, "n_threads: expected an integer >= 1"),
    "X": ({"X": np.full((2, 4, 2), np.nan)}, ValueError, "X: expected finite"),
    "Y": ({"Y": np.zeros((2, 4, 2))}, ValueError, r"Y: expected shape \(2, 4, 1\)"),
    "no weight": ({"sample_weight": [0, 0]}, ValueError, "expected .* above zero"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changed, error, message = BAD[case]
    arguments = {"net": problem()[0], "X": np.zeros((2, 4, 2)), "Y": np.zeros((2, 4, 1)), **changed}
    with pytest.raises(error, match=message):
        Objective(arguments.pop("net"), arguments.pop("X"), arguments.pop("Y"), **arguments)


@pytest.mark.parametrize(
    "theta, error",
    [
        (np.zeros(3), ValueError),
        (np.zeros((79, 1)), ValueError),
        ("theta", (TypeError, ValueError)),
    ],
)
def test_a_theta_of_another_network_is_refused(theta, error):
    with pytest.raises(error, match="params: expected"):
        problem()[1](theta)


def through_memory_that_begins_anywhere(value):
    """A pickle and back, the arrays at odd addresses, as from files of Dask."""
    buffers = []
    text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    odd = []
    for buffer in buffers:
        room = np.zeros(buffer.raw().nbytes + 1, np.uint8)
        start = 1 - room.ctypes.data % 2
        room = room[start : start + buffer.raw().nbytes]
        room[:] = np.frombuffer(buffer.raw(), np.uint8)
        odd.append(room.data)
    return pickle.loads(text, buffers=odd)


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("kind", ["numbers", "tokens", "ctc", "features"])
def test_data_from_memory_that_begins_anywhere(kind, is_list):
    rng = np.random.default_rng(0)
    first, loss, K = [lc.LSTM(3, 4)], "squared_error", 1
    options = {"sample_weight": rng.uniform(1, 2, 5)}
    x, y = rng.normal(size=(5, 9, 3)), rng.normal(size=(5, 9, 1))
    if kind == "tokens":
        x, y = rng.integers(7, size=(2, 5, 9))
        first, loss, K = [lc.Embedding(7, 3), *first], "cross_entropy", 7
    elif kind == "ctc":
        y, loss, K = [[1, 2], [3], [1, 3], [2], [1]], "ctc", 4
        options = {}
    elif kind == "features":
        options = {"features": rng.normal(size=(5, 2))}
    net = lc.Network(
        [*first, lc.Dense(4, K)], loss=loss, initial=2 if kind == "features" else None, seed=0
    )
    if is_list:
        lengths = [9, 4, 6, 9, 5]
        x = [row[:n] for row, n in zip(x, lengths, strict=True)]
        y = y if kind == "ctc" else [row[:n] for row, n in zip(y, lengths, strict=True)]
    objective = lc.Objective(net, x, y, l2=1e-3, **options)
    f, g = objective(net.params)
    for again in (
        through_memory_that_begins_anywhere(objective),
        lc.Objective(net, through_memory_that_begins_anywhere(objective.examples), l2=1e-3),
    ):
        f_again, g_again = again(net.params)
        assert f_again == f
        assert np.array_equal(g_again, g)

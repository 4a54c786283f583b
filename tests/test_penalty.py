"""The penalty: l2 and l1, of all weights or block by block, wherever they are given."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import lstmcore as lc

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
BY_BLOCK = {"*": 0.02, "*.W": 0.1, "1.R": 0.3, "0.forward.b": 0.05, "0.*.p": 0}


def network(dtype="float64"):
    layers = [
        lc.LSTM(2, 3, peepholes=True, gate_recurrence=True, bidirectional=True),
        lc.GRU(6, 4, learn_initial_state=True),
        lc.Dense(4, 1),
    ]
    return lc.Network(layers, dtype=dtype, seed=0)


def data(seed=1, lengths=(6, 9, 0, 4, 7)):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, 2)) for length in lengths]
    return X, [np.cumsum(x[:, :1], axis=0) / 3 for x in X]


def strength_of(name):
    """That of `BY_BLOCK`: the last that matches."""
    if name == "0.forward.b":
        return 0.05
    if name.endswith(".p"):
        return 0.0
    if name == "1.R":
        return 0.3
    return 0.1 if name.endswith(".W") else 0.02


@dtypes
def test_one_number_for_every_weight_has_the_bits_of_names_for_all_of_them(dtype):
    net = network(dtype)
    kinds = {block.name: block.kind for block in net.table}
    named = {name: 0.1 for name, kind in kinds.items() if kind == "weights"}
    for l2, l1 in ((0.1, 0.0), (0.0, 0.1), (0.1, 0.1)):
        by_name = (named if l2 else 0.0, named if l1 else {})
        answers = []
        for strengths in ((l2, l1), by_name):
            g = np.zeros(net.params.size, dtype)
            answers.append((net.penalty(None, strengths[0], g, l1=strengths[1], start=1.0), g))
        assert answers[0][0] == answers[1][0] > 1.0
        np.testing.assert_array_equal(answers[0][1], answers[1][1])


@dtypes
def test_blocks_have_strengths_of_their_own(dtype):
    net = network(dtype)
    theta = np.random.default_rng(0).normal(size=net.params.size).astype(dtype)
    g = np.ones(theta.size, dtype)
    value = net.penalty(theta, BY_BLOCK, g, l1={"2.W": 0.4, "2.b": 0.7}, start=3.0)
    expected, slope = 3.0, np.ones(theta.size)
    for block in net.table:
        w, l2 = theta[block.slice].astype(float), strength_of(block.name)
        l1 = {"2.W": 0.4, "2.b": 0.7}.get(block.name, 0.0)
        expected += 0.5 * l2 * (w @ w) + l1 * np.abs(w).sum()
        slope[block.slice] += l2 * w + l1 * np.sign(w)
    tol = 1e-13 if dtype == "float64" else 1e-6
    assert value == pytest.approx(expected, rel=tol)
    np.testing.assert_allclose(g, slope, rtol=tol)


def test_the_slope_of_l1_is_0_at_0():
    net = lc.Network([lc.Dense(3, 1)])
    g = np.zeros(4)
    assert net.penalty([0.0, -2.0, 3.0, 5.0], 0.0, g, l1=0.5) == 2.5
    assert g.tolist() == [0.0, -0.5, 0.5, 0.0]


@pytest.mark.parametrize("l2", [0.0, 0.1, BY_BLOCK])
@pytest.mark.parametrize("l1", [0.0, 0.2, {"*.R": 0.2, "2.b": 0.1}])
def test_every_way_to_a_penalty_agrees_and_passes_central_differences(l2, l1):
    net, (X, Y) = network(), data()
    objective = lc.Objective(net, X, Y, l2=l2, l1=l1)
    theta = net.params
    f, g = objective(theta)
    assert (f, objective.fun(theta)) == (net.loss(X, Y, l2=l2, l1=l1),) * 2
    np.testing.assert_array_equal(g, objective.grad(theta))
    f_net, g_net = net.loss_and_grad(X, Y, l2=l2, l1=l1)
    assert f_net == f
    np.testing.assert_array_equal(g_net, g)
    assert objective.penalty(theta) == net.penalty(None, l2, l1=l1)
    assert f == pytest.approx(net.loss(X, Y) + objective.penalty(theta), rel=1e-14)
    f_batch, g_batch, _ = objective.on_batch(theta, np.arange(5))
    assert f_batch == pytest.approx(f, rel=1e-14)
    np.testing.assert_allclose(g_batch, g, rtol=1e-12, atol=1e-14)
    for copied in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert (copied.l2, copied.l1) == (l2, l1) and copied(theta)[0] == f
        np.testing.assert_array_equal(copied(theta)[1], g)

    inner = theta + 0.05 * np.where(theta < 0, -1, 1)  # |w| has no slope at 0
    g = objective(inner)[1]
    rng = np.random.default_rng(0)
    for _ in range(4):
        v = rng.normal(size=theta.size)
        slope = (objective.fun(inner + 1e-6 * v) - objective.fun(inner - 1e-6 * v)) / 2e-6
        assert g @ v == pytest.approx(slope, rel=1e-7, abs=1e-8)


def test_the_curvature_is_the_strength_of_l2_at_each_parameter():
    net = network()
    for l2 in (0.1, BY_BLOCK):
        penalty = net.make_penalty(l2, 0.3)
        diagonal = penalty.curvature()
        theta = np.random.default_rng(0).normal(size=net.params.size)
        theta += np.where(theta < 0, -1, 1)
        slopes = []
        for step in (1e-3, -1e-3):
            slopes.append(np.zeros(theta.size))
            penalty(theta + step, slopes[-1])
        np.testing.assert_allclose(diagonal, (slopes[0] - slopes[1]) / 2e-3, atol=1e-10)
    assert diagonal[net.table["1.R"].slice].tolist() == [0.3] * 48


def test_what_was_given_cannot_change_an_objective():
    net, given = network(), {"*.W": 0.1}
    objective = lc.Objective(net, *data(), l2=given)
    before = objective.fun(net.params)
    given["*.W"] = 9.0
    objective.l2["*.W"] = 9.0
    assert objective.l2 == {"*.W": 0.1} and objective.fun(net.params) == before
    again = lc.Objective(net, objective.examples, l2=objective.l2)
    assert again.fun(net.params) == before


def test_fit_takes_both_and_l1_thins_the_weights_out():
    norms = []
    for l1 in (0.0, {"*.W": 0.05}):
        net = network()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)
            lc.fit(net, *data(), l2={"*.R": 1e-3}, l1=l1, max_iter=60)
        norms.append(sum(np.abs(net.blocks[name]).sum() for name in net.blocks if "W" in name))
    assert norms[1] < 0.5 * norms[0]


BAD = {
    "unknown": ({"3.R": 1.0}, ValueError, r"got '3\.R'; there are 0\.forward\.W, .*, 2\.b"),
    "unknown pattern": ({"*.X": 1.0}, ValueError, r"expected names of blocks, or patterns of some"),
    "no name": ({0: 1.0}, TypeError, "expected names of blocks, got 0"),
    "negative": ({"1.R": -1.0}, ValueError, r"\['1\.R'\]: expected a number >= 0, got -1"),
    "a string": ({"1.R": "1"}, TypeError, r"\['1\.R'\]: expected a real number"),
    "a list": ([0.1], TypeError, "expected a real number"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["l2", "l1"])
def test_bad_strengths_are_named(name, case):
    value, error, words = BAD[case]
    net, (X, Y) = network(), data()
    for call in (lc.Objective, net.loss_and_grad, net.loss, lc.fit):
        arguments = (net, X, Y) if call in (lc.Objective, lc.fit) else (X, Y)
        with pytest.raises(error, match=f"^{name}.*{words}"):
            call(*arguments, **{name: value})

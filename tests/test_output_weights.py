"""Weights of outputs: each output's part of a loss has one of its own, and gaps in targets none."""

import pickle
import warnings

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore import _reference
from lstmcore.losses import Huber, Loss, Quantile

I, K, B, T = 2, 3, 5, 7
LENGTHS = np.array([7, 3, 0, 5, 1])
LOSSES = {
    "squared_error": "squared_error",
    "binary_cross_entropy": "binary_cross_entropy",
    "poisson": "poisson",
    "huber": Huber(0.4),
    "quantile": Quantile(0.3),
    "quantiles": Quantile([0.1, 0.5, 0.8]),  # K outputs of one target
}
losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
readouts = pytest.mark.parametrize("readout", ["all", "mean"])


def network(loss, readout="all", dtype="float64"):
    return zoo.network("stack", outputs=K, loss=loss, readout=readout, dtype=dtype, scale=0.4)


def data(net, seed=0):
    """Inputs, targets without gaps, and weights of outputs with gaps, as keywords of `prepare`."""
    rng = np.random.default_rng(seed)
    shape = (B, T) if net.readout == "all" else (B,)
    target = net._loss.target_size(K)
    weights = rng.uniform(0.5, 2, (*shape, K)) * (rng.random((*shape, K)) < 0.6)
    name = "step_weight" if net.readout == "all" else "sample_weight"
    given = {"X": rng.normal(size=(B, T, net.input_size)), "Y": rng.random((*shape, target))}
    return given | {"lengths": LENGTHS, name: weights}


def weights_of(given):
    return next(given[name] for name in ("step_weight", "sample_weight") if name in given)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@readouts
@losses
def test_the_gradient_is_the_gradient(loss, readout, dtype):
    net = network(loss, readout, dtype)
    given = data(net) | {"l2": 0.01}
    if readout == "all":
        given["sample_weight"] = np.array([1.0, 0.3, 2.0, 0.0, 1.0])
    step = 1e-5 if isinstance(loss, Loss) else 1e-4  # a bend may not lie within
    errors = lc.check_gradient(net, **given, step=step, max_entries=20)
    assert max(errors.values()) < (1e-7 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@readouts
@losses
def test_weights_that_are_equal_over_outputs_are_those_of_terms(loss, readout, dtype):
    net = network(loss, readout, dtype)
    given = data(net)
    name = "step_weight" if readout == "all" else "sample_weight"
    of_terms = given[name][..., 0]
    given[name] = np.repeat(of_terms[..., None], K, axis=-1)
    for more in ({}, {"reduction": "sum"}, {"checkpoint": 2}):
        f, g = net.loss_and_grad(**given, **more)
        wanted, g_wanted = net.loss_and_grad(**given | {name: of_terms}, **more)
        assert f == pytest.approx(wanted, rel=1e-14)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(g, g_wanted, rtol=0, atol=8 * eps * np.abs(g_wanted).max())
    examples, plain = net.prepare(**given), net.prepare(**given | {name: of_terms})
    assert examples.total == pytest.approx(plain.total, rel=1e-15)
    np.testing.assert_allclose(
        examples.sequence_weights(), plain.sequence_weights(), rtol=1e-15, atol=0
    )


@losses
def test_a_mean_is_that_of_the_scored_parts_times_the_outputs(loss):
    net = network(loss)
    given = data(net)
    there = np.arange(T) < LENGTHS[:, None]
    parts = np.zeros((B, T, K))
    for b, t, k in np.argwhere(np.broadcast_to(there[..., None], parts.shape)):
        weight = np.zeros((B, T, K))
        weight[b, t, k] = 1
        parts[b, t, k] = net.loss(**given | {"step_weight": weight}, reduction="sum")
    weights = given["step_weight"] * there[..., None]
    wanted = K * (weights * parts).sum() / weights.sum()
    assert net.loss(**given) == pytest.approx(wanted, rel=1e-13)
    total = net.loss(**given | {"step_weight": there[..., None] * np.ones(K)}, reduction="sum")
    rest = {name: value for name, value in given.items() if name != "step_weight"}
    assert total == pytest.approx(net.loss(**rest, reduction="sum"), rel=1e-13)
    assert parts.sum() == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@readouts
@pytest.mark.parametrize("loss", list(LOSSES.values())[:-1], ids=list(LOSSES)[:-1])
def test_a_target_of_weight_0_may_be_anything(loss, readout, dtype):
    net = network(loss, readout, dtype)
    given = data(net)
    f, g = net.loss_and_grad(**given)
    gaps = weights_of(given) == 0
    for anything in (np.nan, np.inf, -1e300):
        f_gaps, g_gaps = net.loss_and_grad(**given | {"Y": np.where(gaps, anything, given["Y"])})
        assert f_gaps == f
        same_bits(g_gaps, g)
    at = tuple(np.argwhere(~gaps)[0])
    Y = given["Y"].copy()
    Y[at] = np.nan
    with pytest.raises(ValueError, match="Y: expected finite numbers, got nan"):
        net.loss_and_grad(**given | {"Y": Y})


def test_one_target_of_several_quantiles_may_be_a_gap_where_all_are():
    net = network(LOSSES["quantiles"])
    given = data(net)
    gaps = ~given["step_weight"].any(axis=-1, keepdims=True)
    f = net.loss(**given)
    assert net.loss(**given | {"Y": np.where(gaps, np.nan, given["Y"])}) == f
    some = (given["step_weight"] == 0).any(axis=-1, keepdims=True)
    with pytest.raises(ValueError, match="Y: expected finite numbers, got nan"):
        net.loss(**given | {"Y": np.where(some, np.nan, given["Y"])})


@losses
def test_lists_masks_and_lengths_are_the_same_data(loss):
    net = network(loss)
    given = data(net)
    f, g = net.loss_and_grad(**given)
    mask = np.arange(T) < LENGTHS[:, None]
    rows = {
        name: [array[:n] for array, n in zip(given[name], LENGTHS, strict=True)]
        for name in ("X", "Y", "step_weight")
    }
    rows["step_weight"][2] = []  # of a sequence without steps
    padded = given["step_weight"].copy()
    padded[~mask] = np.nan  # never looked at
    del given["lengths"]
    for same in (
        given | {"mask": mask, "step_weight": padded},
        given | {"lengths": LENGTHS, "step_weight": padded.tolist()},
        rows,
    ):
        f_same, g_same = net.loss_and_grad(**same)
        assert f_same == f
        same_bits(g_same, g)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@readouts
@losses
def test_threads_checkpoints_and_objectives_change_no_bit_of_the_gradient(loss, readout, dtype):
    net = network(loss, readout, dtype)
    examples = net.prepare(**data(net))
    f, g = net.evaluate(None, examples)
    objective = lc.Objective(net, examples)
    for f_same, g_same in (
        net.evaluate(None, examples, n_threads=2),
        objective(net.params),
        pickle.loads(pickle.dumps(objective))(net.params),
    ):
        assert f_same == f
        same_bits(g_same.astype(dtype), g)
    f_cut, g_cut = net.evaluate(None, examples, checkpoint=1)
    assert f_cut == pytest.approx(f, rel=1e-14)
    same_bits(g_cut, g)
    assert objective.fun(net.params) == net.evaluate(None, examples, gradient=False)[0] == f


@readouts
def test_batches_add_up_to_the_whole(readout):
    net = network("squared_error", readout)
    objective = lc.Objective(net, **data(net), l2=0.1)
    weights = objective.examples.sequence_weights()
    assert weights.sum() == pytest.approx(objective.total, rel=1e-15)
    batches = np.array([0, 4]), np.array([3, 1])
    if readout == "mean":
        batches = np.array([0, 4, 2]), np.array([3, 1])
    f, g, weight = zip(*(objective.on_batch(net.params, batch) for batch in batches), strict=True)
    for batch, w in zip(batches, weight, strict=True):
        assert w == pytest.approx(weights[batch].sum(), rel=1e-15)
    assert np.average(f, weights=weight) == pytest.approx(objective.fun(net.params), rel=1e-13)
    np.testing.assert_allclose(
        np.average(g, axis=0, weights=weight), objective.grad(net.params), rtol=0, atol=1e-13
    )


def test_a_fit_learns_around_the_gaps():
    """Two outputs of which each is there half of the time, one more that never is."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 30, 1))
    Y = np.concatenate([2 * X + 1, -X, X], axis=-1)
    Y[rng.random(Y.shape) < 0.5] = np.nan
    Y[..., 2] = np.nan
    given = {"step_weight": ~np.isnan(Y)}
    for method, more in (
        ("L-BFGS-B", {"tol": 1e-9}),
        ("adam", {"batch_size": 5, "max_epochs": 200}),
    ):
        net = lc.Network([lc.Dense(1, 3)], seed=0)
        if method == "adam":
            more = more | {"learning_rate": 0.02, "seed": 0}
        before = net.blocks["0.W"][2].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lc.fit(net, X, Y, method=method, **given, **more)
        np.testing.assert_allclose(net.blocks["0.W"][:2, 0], [2, -1], atol=1e-3)
        np.testing.assert_allclose(net.blocks["0.b"][:2], [1, 0], atol=1e-3)
        same_bits(net.blocks["0.W"][2], before)


@losses
def test_the_best_constants_are_the_best(loss):
    rng = np.random.default_rng(3)
    net = lc.Network([lc.Dense(1, K)], loss, seed=0)
    given = data(net)
    given["step_weight"][..., 1] = 0  # never scored: any constant is the best
    objective = lc.Objective(net, **given)
    best = net._loss.best_constant(objective.examples.targets, objective.examples.weights, K)
    net.params[:K], net.params[K:] = 0, np.where(np.isnan(best), 0.0, best)
    f = objective.fun(net.params)
    assert objective.constant_loss() == pytest.approx(f, rel=1e-13)
    for _ in range(50):
        theta = net.params + np.repeat([0.0, 1.0], K) * rng.normal(scale=0.1, size=2 * K)
        assert objective.fun(theta) >= f * (1 - 1e-14)
    assert objective.least_loss() <= f


def test_weights_of_classes_go_with_those_of_one_output():
    net = lc.Network([lc.RNN(1, 1)], "binary_cross_entropy", seed=0)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(B, T, 1)), rng.integers(2, size=(B, T))
    weights = rng.random((B, T)) * (rng.random((B, T)) < 0.7)
    f, g = net.loss_and_grad(X, Y, step_weight=weights, class_weight="balanced")
    f_same, g_same = net.loss_and_grad(
        X, Y, step_weight=weights[..., None], class_weight="balanced"
    )
    assert f_same == f
    same_bits(g_same, g)


def test_the_scale_of_targets_is_that_of_those_which_are_there():
    net = lc.Network([lc.Dense(1, 2)], seed=0)
    X, Y = np.random.default_rng(0).normal(size=(2, 50, 1)), np.zeros((2, 50, 2))
    Y[:, ::2] = 1
    Y[..., 1] *= 1000
    weights = np.ones((2, 50, 2))
    weights[:, :, 1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", lc.ScaleWarning)
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(net, X, Y, step_weight=weights, max_iter=2)
    weights[:, :10, 1] = 0.5
    with pytest.warns(lc.ScaleWarning, match="Y has feature 1 from 0 to 1000"):
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(net, X, Y, step_weight=weights, max_iter=2)


class Absolute(Loss):
    """|y - z|, of each output."""

    name, output, separable = "absolute", "identity", True

    def value_and_delta(self, a, targets, weights, lengths=None):
        error = a - targets.values
        each = weights if weights.ndim == 2 else weights[:, None]
        return float((np.abs(error) * each).sum()), (np.sign(error) * each).astype(a.dtype)


def test_a_loss_of_ones_own_may_take_them():
    net = network(Absolute())
    given = data(net)
    gaps = given["step_weight"] == 0
    assert max(lc.check_gradient(net, **given, step=1e-5, max_entries=20).values()) < 1e-7
    f = net.loss(**given)
    assert net.loss(**given | {"Y": np.where(gaps, np.nan, given["Y"])}) == f


def test_a_loss_that_computes_otherwise_says_anew_whether_it_takes_them():
    class Own(lc.losses.SquaredError):
        name = "own"

        def value_and_delta(self, a, targets, weights, lengths=None):
            return super().value_and_delta(a, targets, weights[:, None][:, 0])

    net = network(Own())
    with pytest.raises(ValueError, match="the loss 'own' is no sum over outputs"):
        net.loss(**data(net))


# ----------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("code", [0, 2, 3], ids=["squared error", "binary", "Poisson"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (9, 2), (700, 3), (50, 40)])
def test_the_kernel_is_its_twin(kernels, code, shape, dtype):
    rng = np.random.default_rng(0)
    a, z = rng.normal(size=shape).astype(dtype), rng.random(shape).astype(dtype)
    weights = rng.random(shape) * (rng.random(shape) < 0.7)
    twin, delta, by_threads = a.copy(), a.copy(), a.copy()
    value = kernels.loss_rows(code, delta, z, weights, 0.5, 1)
    assert value == pytest.approx(_reference.loss_rows(code, twin, z, weights, 0.5, 1), rel=1e-13)
    np.testing.assert_allclose(delta, twin, rtol=0, atol=4 * np.finfo(dtype).eps)
    assert kernels.loss_rows(code, by_threads, z, weights, 0.5, 2) == value
    same_bits(by_threads, delta)
    a[weights == 0] = np.nan
    assert kernels.loss_rows(code, a, z, weights, 0.5, 1) == value
    same_bits(a, delta)


@pytest.mark.parametrize(
    "code, weights",
    [(1, np.ones((4, 3))), (0, np.ones((4, 2))), (0, np.ones((3, 3))), (0, np.ones((4, 3, 1)))],
    ids=["cross entropy", "too narrow", "too few", "three axes"],
)
def test_weights_that_would_be_misread_are_refused(kernels, code, weights):
    with pytest.raises(ValueError, match="weights: expected"):
        kernels.loss_rows(code, np.zeros((4, 3)), np.zeros((4, 3)), weights, 1.0, 1)


# ------------------------------------------------------------------------------- what is refused

ONES = np.ones((B, T, K))
ROWS = [np.ones((n, K)) for n in LENGTHS]
MIXED = [*ROWS[:3], np.ones(5), ROWS[4]]
OF_STEPS = r"expected shape \(5, 7\) or \(5, 7, 3\), got "
BAD = {
    "cross entropy": (
        "cross_entropy",
        {"step_weight": ONES},
        r"step_weight: expected shape \(5, 7\), got \(5, 7, 3\); the loss 'cross_entropy' is no "
        "sum over outputs that weights could be of, as squared_error, ",
    ),
    "too few outputs": ("squared_error", {"step_weight": ONES[..., :2]}, OF_STEPS),
    "too few steps": ("squared_error", {"step_weight": ONES[:, 1:]}, OF_STEPS),
    "negative": ("squared_error", {"step_weight": -ONES}, "step_weight: expected weights >= 0"),
    "NaN": ("squared_error", {"step_weight": ONES * np.nan}, "step_weight: expected finite"),
    "all zero": ("squared_error", {"step_weight": 0 * ONES}, "expected a finite sum of weights"),
    "of sequences": (
        "squared_error",
        {"sample_weight": ONES[:, 0]},
        r"sample_weight: expected shape \(5,\), got \(5, 3\); step_weight weighs steps",
    ),
    "list, too few": (
        "squared_error",
        {"step_weight": [*ROWS[:3], ROWS[0], ROWS[4]]},
        r"step_weight\[3\]: expected shape \(5,\) or \(5, 3\), got \(7, 3\)",
    ),
    "list, mixed": (
        "squared_error",
        {"step_weight": MIXED},
        r"step_weight\[3\]: expected shape \(5, 3\), with weights of outputs as others of the",
    ),
    "list, cross entropy": (
        "cross_entropy",
        {"step_weight": ROWS},
        r"step_weight\[0\]: expected shape \(7,\), got \(7, 3\); the loss 'cross_entropy' is no",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_they_cannot_be_leads_to_the_way_out(case):
    loss, weights, message = BAD[case]
    net = network(loss)
    X, Y = np.ones((B, T, net.input_size)), np.ones((B, T, K)) / K
    with pytest.raises(ValueError, match=message):
        net.loss(X, Y, LENGTHS, **weights)


@pytest.mark.parametrize(
    "loss, shape, message",
    [
        ("cross_entropy", (B, K), "'cross_entropy' is no sum over outputs"),
        ("cross_entropy", (B, T), "; step_weight weighs steps"),
        ("squared_error", (B, T), r"expected shape \(5,\) or \(5, 3\), got \(5, 7\)"),
    ],
)
def test_those_of_sequences_too(loss, shape, message):
    net = network(loss, "mean")
    with pytest.raises(ValueError, match="sample_weight: .*" + message):
        net.loss(np.ones((B, T, net.input_size)), np.ones((B, K)) / K, sample_weight=np.ones(shape))

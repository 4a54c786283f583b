"""Losses that are plain functions of outputs and targets."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore.losses import FunctionLoss, find_loss, register

I, K, B, T = 2, 3, 4, 6
LENGTHS = [6, 2, 0, 5]


def half_square(outputs, targets):
    error = outputs - targets
    return 0.5 * (error**2).sum(axis=1), error


def gaussian(outputs, targets):
    """-ln of a normal density with a mean and a log precision: K = 3 outputs, two targets."""
    error = outputs[:, :2] - targets
    precision = np.exp(outputs[:, 2:])
    squares = (error**2).sum(axis=1, keepdims=True)
    value = 0.5 * (squares * precision)[:, 0] - outputs[:, 2]
    return value, np.concatenate([error * precision, 0.5 * squares * precision - 1], axis=1)


def network(loss, readout="all", dtype="float64", name="stack"):
    return zoo.network(name, outputs=K, loss=loss, readout=readout, dtype=dtype, scale=0.4)


def data(net, D, seed=0):
    rng = np.random.default_rng(seed)
    shape = (B, T) if net.readout == "all" else (B,)
    return rng.normal(size=(B, T, net.input_size)), rng.normal(size=(*shape, D))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("readout", ["all", "mean", "last"])
@pytest.mark.parametrize("loss, D", [(half_square, K), (gaussian, 2)])
def test_the_gradient_is_the_gradient(loss, D, readout, dtype):
    net = network(loss, readout, dtype)
    X, Y = data(net, D)
    weights = {"sample_weight": [1.0, 0.3, 2.0, 0.5]}
    errors = lc.check_gradient(net, X, Y, LENGTHS, **weights, l2=0.1, max_entries=20)
    assert max(errors.values()) < (1e-8 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("readout", ["all", "last"])
def test_weights_and_means_are_those_of_a_loss_of_the_package(readout):
    net, same = network(half_square, readout), network("squared_error", readout)
    X, Y = data(net, K)
    weights = {"sample_weight": np.array([1.0, 0.0, 2.0, 0.5])}
    if readout == "all":
        weights["step_weight"] = np.random.default_rng(1).random((B, T)).round()
    for more in ({}, {"reduction": "sum"}, {"checkpoint": 2}):
        f, g = net.loss_and_grad(X, Y, LENGTHS, **weights, **more)
        wanted, g_wanted = same.loss_and_grad(X, Y, LENGTHS, **weights, **more)
        assert f == pytest.approx(wanted, rel=1e-13)
        np.testing.assert_allclose(g, g_wanted, rtol=0, atol=1e-14 * np.abs(g_wanted).max())
    objective = lc.Objective(net, X, Y, lengths=LENGTHS, **weights)
    assert objective.constant_loss() is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_is_given_what_is_said(dtype):
    seen = []

    def loss(outputs, targets):
        seen.append((outputs, targets))
        assert outputs.dtype == targets.dtype == np.float64
        assert outputs.flags.writeable and not targets.flags.writeable
        outputs, derivative = outputs.copy(), outputs
        derivative -= targets  # the outputs are the function's own
        return 0.5 * ((outputs - targets) ** 2).sum(axis=1), derivative

    net = network(loss, dtype=dtype)
    X, Y = data(net, K)
    weights = np.ones((B, T))
    weights[0, 1] = weights[3, :] = 0
    Y[weights == 0] = np.nan
    f, g = net.loss_and_grad(X, Y, LENGTHS, step_weight=weights)
    ((outputs, targets),) = seen
    assert outputs.shape == (7, K)
    there = (np.arange(T) < np.array(LENGTHS)[:, None]) & (weights > 0)
    np.testing.assert_array_equal(targets, Y[there])  # in all their digits
    same = network("squared_error", dtype=dtype)
    wanted, g_wanted = same.loss_and_grad(X, Y, LENGTHS, step_weight=weights)
    assert f == pytest.approx(wanted, rel=1e-6 if dtype == "float32" else 1e-13)
    np.testing.assert_allclose(g, g_wanted, rtol=0, atol=1e2 * np.finfo(dtype).eps)


def test_terms_that_nothing_is_known_of_are_not_asked_for():
    def loss(outputs, targets):
        assert len(outputs) == len(targets) > 0
        return np.log(targets[:, 0]), outputs  # of the 0 in the place of a gap: a warning

    net = network(loss)
    X, Y = data(net, 1)
    weights = np.zeros((B, T))
    weights[0, 5] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.loss_and_grad(X, np.abs(Y), LENGTHS, step_weight=weights, checkpoint=1)
        f, g = net.loss_and_grad(
            X, Y, LENGTHS, step_weight=0 * weights, reduction="sum", checkpoint=1
        )
    assert f == 0 and not g.any()


FORMS = {
    "(B, T, 5)": lambda Y: Y,
    "lists": lambda Y: [y[:n] for y, n in zip(Y, LENGTHS, strict=True)],
    "nested lists": lambda Y: [y[:n].tolist() for y, n in zip(Y, LENGTHS, strict=True)],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("D", [5, 1, None])
def test_targets_have_as_many_numbers_as_they_have(form, D):
    sizes = []

    def loss(outputs, targets):
        sizes.append(targets.shape[1])
        error = outputs - targets.sum(axis=1, keepdims=True)
        return 0.5 * (error**2).sum(axis=1), error

    net = network(loss)
    X, Y = data(net, D or 1)
    Y = Y if D else Y[..., 0]
    wanted = net.loss(X, Y, LENGTHS)
    X_form = X if form == "(B, T, 5)" else [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
    lengths = LENGTHS if form == "(B, T, 5)" else None
    assert net.loss(X_form, FORMS[form](Y), lengths) == wanted
    assert sizes == [D or 1] * 2
    last = network(loss, "last")
    assert np.isfinite(last.loss(X, Y[:, 0].tolist(), LENGTHS))
    assert sizes[-1] == (D or 1)


def test_it_trains_on_all_data_and_on_batches():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 10, 1))
    Y = 2 * X + 1
    for options in (
        {"tol": 1e-8},
        {"method": "adam", "batch_size": 5, "max_epochs": 60, "learning_rate": 0.05, "seed": 0},
    ):
        net = lc.Network([lc.Dense(1, 1)], half_square, seed=0)
        lc.fit(net, X, Y, **options)
        np.testing.assert_allclose(net.params, [2, 1], atol=1e-3)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_with_its_curvature_are_those_of_a_loss_of_the_package(dtype):
    net, same = (network(loss, dtype=dtype) for loss in (half_square, "squared_error"))
    X, Y = data(net, K)
    v = np.random.default_rng(1).normal(size=net.params.size)
    own, package = (lc.Objective(each, X, Y, lengths=LENGTHS) for each in (net, same))
    for name in ("gauss_newton", "hessp"):
        got, wanted = (getattr(each, name)(net.params, v) for each in (own, package))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_an_infinite_loss_is_infinite():
    net = network(lambda y, z: (np.full(len(y), np.inf), np.full(y.shape, np.inf)))
    X, Y = data(net, 1)
    f, _ = net.loss_and_grad(X, Y)
    assert f == np.inf


# ----------------------------------------------------------------------- names, copies and files


class Pinball:
    """An object that is called."""

    def __call__(self, outputs, targets):
        error = outputs - targets
        return np.abs(error).sum(axis=1), np.sign(error)

    def method(self, outputs, targets):
        return self(outputs, targets)


@pytest.mark.parametrize(
    "function, name",
    [
        (half_square, "half_square"),
        (lambda y, z: half_square(y, z), "<lambda>"),
        (Pinball(), "Pinball"),
        (Pinball().method, "method"),
        (functools.partial(half_square), "partial"),
    ],
    ids=["function", "lambda", "object", "method", "partial"],
)
def test_whatever_can_be_called_is_a_loss(function, name):
    net = lc.Network([lc.RNN(I, K)], function, seed=0)
    assert net.loss_name == name and net.output_units == "identity"
    assert f"loss={name}, readout='all'" in repr(net)
    assert f"{name} (identity outputs)" in net.summary()
    assert net.options["loss"].function is function
    X, Y = np.ones((2, 3, I)), np.zeros((2, 3, K))
    f = net.loss(X, Y)
    for other in (lc.Network(**net.options), copy.deepcopy(net), net.frozen()):
        if not np.shares_memory(other.params, net.params) and other.params.flags.writeable:
            other.params = net.params
        assert other.loss(X, Y) == f


def test_it_is_pickled_where_its_function_is():
    net = network(half_square)
    X, Y = data(net, K)
    again = pickle.loads(pickle.dumps(net))
    assert again.options["loss"].function is half_square
    f, g = net.loss_and_grad(X, Y)
    f_again, g_again = again.loss_and_grad(X, Y)
    assert f_again == f
    same_bits(g_again, g)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(network(lambda y, z: half_square(y, z)))


def test_a_file_cannot_hold_it(tmp_path):
    net = network(half_square)
    path = tmp_path / "m.npz"
    network("squared_error").save(path)
    before = path.read_bytes()
    message = "expected one that a file can name, got the function half_square; a class derived"
    with pytest.raises(TypeError, match=message):
        net.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_exported_like_any_other(tmp_path):
    net = lc.Network([lc.LSTM(I, 4), lc.Dense(4, K)], half_square, seed=0)
    report = lc.export_c(net, tmp_path, "own", dtype="float64", self_test=True)
    assert report.error == 0


# ------------------------------------------------------------------------------- what is refused

WRONG = {
    "nothing": (lambda y, z: None, TypeError, r"to return \(value, derivative\), got None"),
    "the value alone": (lambda y, z: y[:, 0], TypeError, "got an array of shape"),
    "three": (lambda y, z: (y[:, 0], y, y), TypeError, "got a tuple of length 3"),
    "a sum": (
        lambda y, z: (y.sum(), y),
        ValueError,
        r"loss: expected a value of shape \(24,\) from <lambda>, one number for each row of "
        r"outputs, neither summed nor averaged, got shape \(\)",
    ),
    "values of outputs": (lambda y, z: (y**2, y), ValueError, r"value .* got shape \(24, 3\)"),
    "a derivative of one output": (
        lambda y, z: (y[:, 0], y[:, 0]),
        ValueError,
        r"loss: expected a derivative of shape \(24, 3\) from <lambda>, that of each row's value "
        r"by the row's outputs, got shape \(24,\)",
    ),
    "complex": (lambda y, z: (y[:, 0] + 1j, y), TypeError, "the value from <lambda>: expected"),
    "strings": (lambda y, z: (y[:, 0], y.astype(str)), TypeError, "the derivative from <lambda>"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_it_may_not_return_is_named(case):
    function, error, message = WRONG[case]
    net = network(function)
    X, Y = data(net, K)
    with pytest.raises(error, match=message):
        net.loss_and_grad(X, Y)


def test_what_it_raises_comes_out():
    def loss(outputs, targets):
        raise KeyError("mine")

    net = network(loss)
    X, Y = data(net, K)
    with pytest.raises(KeyError, match="mine"):
        net.loss_and_grad(X, Y)
    assert net.predict(X).shape == (B, T, K)


def test_weights_of_outputs_and_classes_are_for_classes():
    net = network(half_square)
    X, Y = data(net, K)
    with pytest.raises(ValueError, match=r"step_weight: .*'half_square' is no sum over outputs"):
        net.loss(X, Y, step_weight=np.ones((B, T, K)))
    with pytest.raises(ValueError, match="class_weight: expected None with such targets"):
        net.loss(X, Y, class_weight="balanced")


BAD = {
    "no function": (FunctionLoss, 3, "function: expected a function of .* got 3"),
    "a class": (FunctionLoss, Pinball, "function: expected a function of .* got"),
    "a loss": (FunctionLoss, lc.losses.Huber(), "function: expected a function of .* got 'Huber'"),
    "the class of a loss": (
        find_loss,
        lc.losses.Huber,
        r"loss: .*, or a function, got the class Huber; Huber\(\) is an object of it",
    ),
    "another class": (find_loss, Pinball, "loss: expected one of squared_error"),
    "to register": (register, half_square, "loss: expected a subclass of Loss, got 'function'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_function_is_named(case):
    call, given, message = BAD[case]
    with pytest.raises(TypeError, match=message):
        call(given)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((B, T + 1, 2), r"Y: expected shape \(4, 6, 2\), got \(4, 7, 2\)"),
        ((B + 1, T, 2), "Y: expected targets of 4 sequences"),
        ((B,), r"Y: expected shape \(4, 6, 1\) or \(4, 6\), got \(4,\); a network with a readout"),
        ((B, T, 2, 2), r"Y: expected shape \(4, 6, 1\) or \(4, 6\), got \(4, 6, 2, 2\)"),
    ],
)
def test_targets_of_other_steps_are_named(shape, message):
    net = network(half_square)
    X, _ = data(net, 1)
    with pytest.raises(ValueError, match=message):
        net.loss(X, np.zeros(shape))


def test_a_gap_that_is_scored_leads_to_its_weight():
    for readout, name in (("all", "step_weight"), ("last", "sample_weight")):
        for loss in (half_square, "squared_error"):
            net = network(loss, readout)
            X, Y = data(net, K)
            with pytest.raises(ValueError, match=f"Y: expected finite .*; {name} 0 leaves it out"):
                net.loss(X, Y * np.nan)


class Cut(Exception):
    """Where a test cuts a run."""


def test_a_run_goes_on_from_its_file_which_knows_the_function_by_its_name(tmp_path):
    X = np.random.default_rng(0).normal(size=(8, 5, 1))
    path = tmp_path / "run"

    def run(loss, path, cut_at=None):
        epochs = []

        def callback(intermediate):
            epochs.append(intermediate.fun)
            if len(epochs) == cut_at:
                raise Cut

        net = lc.Network([lc.Dense(1, 1)], loss, seed=0)
        objective = lc.Objective(net, X, 2 * X)
        options = {"batch_size": 4, "max_epochs": 4, "seed": 0, "callback": callback}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)
            lc.minimize(objective, "adam", checkpoint_path=path, checkpoint_every=0.0, **options)
        return net.params

    whole = run(half_square, None)
    with pytest.raises(Cut):
        run(half_square, path, cut_at=2)
    with pytest.raises(ValueError, match=r"checkpoint_path: .*'half_square' in the file"):
        run(gaussian, path)
    same_bits(run(half_square, path), whole)

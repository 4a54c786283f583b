"""Losses of one's own: terms that are whole sequences, options, targets that are not outputs."""

import json
import pickle

import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore.losses import LOSSES, Loss, SquaredError, Targets, find_loss, register

I, K, T = 2, 4, 6
LENGTHS = np.array([6, 3, 0, 5])


class Labels(Targets):
    """One label for each sequence; in a list, for targets may be anything."""

    def __init__(self, labels):
        self.labels = labels

    def take(self, indices):
        return Labels([self.labels[b] for b in indices])


class MeanProbability(Loss):
    """-ln(floor + the mean over time of the probability of a sequence's label).

    Not a sum over time steps, unlike the losses of the package.
    """

    name, output, terms = "mean_probability", "softmax", "sequences"

    def __init__(self, floor=1e-3):
        self.floor = floor

    @property
    def options(self):
        return {"floor": self.floor}

    def prepare(self, Y, batch, n_outputs, per_sequence, dtype, check_finite=True, scored=None):
        assert per_sequence
        assert scored.shape == (batch.size,)
        if len(Y) != batch.size or not all(0 <= label < n_outputs for label in Y):
            raise ValueError(f"Y: expected {batch.size} labels, got {Y}")
        return Labels(list(Y))

    def value_and_delta(self, a, targets, weights, lengths=None):
        p = np.exp(a - a.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        value, deltas = 0.0, []
        steps = np.split(p, np.cumsum(lengths)[:-1])
        for p, label, weight in zip(steps, targets.labels, weights, strict=True):
            n, at_label = max(len(p), 1), p[:, label]
            mean = self.floor + at_label.sum() / n
            value -= weight * np.log(mean)
            delta = (weight / mean / n * at_label)[:, None] * p
            delta[:, label] -= weight / mean / n * at_label
            deltas.append(delta)
        return float(value), np.concatenate(deltas).astype(a.dtype, copy=False)


class Gaussian(Loss):
    """-ln of a normal density whose mean and log precision are outputs: two for each target."""

    name, output = "gaussian", "identity"

    def target_size(self, n_outputs):
        if n_outputs % 2:
            raise ValueError(f"loss: expected an even number of outputs, got {n_outputs}")
        return n_outputs // 2

    def value_and_delta(self, a, targets, weights, lengths=None):
        mean, s = np.split(a, 2, axis=-1)
        error, precision = mean - targets.values, np.exp(s)
        terms = 0.5 * (error**2 * precision - s).sum(axis=-1, dtype=np.float64)
        delta = np.concatenate([error * precision, 0.5 * (error**2 * precision - 1)], axis=-1)
        delta *= weights[..., None]
        return float((terms * weights).sum()), delta


@pytest.fixture
def known():
    """`MeanProbability` as a loss that files may name."""
    register(MeanProbability)
    yield
    del LOSSES[MeanProbability.name]


def network(loss=None, layers=None, readout="all", dtype="float64"):
    layers = layers or [lc.LSTM(I, 5, peepholes=True, learn_initial_state=True), lc.Dense(5, K)]
    net = lc.Network(layers, loss or MeanProbability(), readout, dtype)
    net.params[...] = np.random.default_rng(0).normal(scale=0.5, size=net.params.size)
    return net


def inputs(B=4, length=T):
    return np.random.default_rng(1).normal(size=(B, length, I))


LABELS = [0, 3, 1, 1]
STACKS = {
    "LSTM": None,
    "two directions": [lc.LSTM(I, 3, bidirectional=True), lc.Dense(6, K)],
    "the recurrent layer is the output": [lc.RNN(I, K)],
    "no recurrence": [lc.Dense(I, K)],
}


# ------------------------------------------------------------------- terms that are sequences


@pytest.mark.parametrize("stack", STACKS)
def test_the_gradient_of_a_loss_over_sequences_is_the_gradient(stack):
    net = network(layers=STACKS[stack])
    options = {"lengths": LENGTHS, "sample_weight": [1.0, 0.3, 2.0, 1.5], "l2": 0.1}
    errors = lc.check_gradient(net, inputs(), LABELS, **options)
    assert max(errors.values()) < 1e-8


def test_its_value_is_that_of_its_definition():
    net = network()
    y = net.predict(inputs(), LENGTHS)
    assert np.allclose(y.sum(axis=-1), np.arange(T) < LENGTHS[:, None])
    weights = np.array([1.0, 0.3, 2.0, 1.5])
    means = np.array([y[b, :n, LABELS[b]].sum() / max(n, 1) for b, n in enumerate(LENGTHS)])
    terms = -np.log(1e-3 + means)
    f = net.loss(inputs(), LABELS, LENGTHS, sample_weight=weights)
    assert f == pytest.approx((terms * weights).sum() / weights.sum(), rel=1e-13)
    f = net.loss(inputs(), LABELS, LENGTHS, sample_weight=weights, reduction="sum")
    assert f == pytest.approx((terms * weights).sum(), rel=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_checkpoints_change_no_bit_of_it(dtype):
    net, lengths = network(dtype=dtype), [1200, 3, 0, 700]
    examples = net.prepare(inputs(length=1200), LABELS, lengths)
    f, g = net.evaluate(None, examples)
    assert g.dtype == dtype and (g != 0).any()
    for checkpoint in (True, 1, 300):
        f_cut, g_cut = net.evaluate(None, examples, checkpoint=checkpoint, n_threads=2)
        assert f_cut == f
        np.testing.assert_array_equal(g_cut, g)
        assert net.evaluate(None, examples, checkpoint=checkpoint, gradient=False) == (f, None)


def test_checkpoints_keep_outputs_but_not_tapes():
    net, sizes = network(), []
    examples = net.prepare(inputs(1, 20_000), [1])
    for checkpoint in (None, True):
        net.release_memory()
        net.evaluate(None, examples, checkpoint=checkpoint)
        (workspace,) = net.passes.pool._free
        sizes.append(workspace.needed)
    assert 20_000 * K < sizes[1] < 0.3 * sizes[0]


def test_it_works_with_lists_masks_and_tokens():
    net, rng = network(), np.random.default_rng(2)
    X, mask = inputs(), rng.random((4, T)) < 0.6
    f, g = net.loss_and_grad(X, LABELS, mask=mask)
    f_list, g_list = net.loss_and_grad([x[m] for x, m in zip(X, mask, strict=True)], LABELS)
    assert f_list == f
    np.testing.assert_array_equal(g_list, g)
    net, tokens = zoo.taking_tokens(net), rng.integers(I, size=(4, T))
    assert net.loss(tokens, LABELS) == net.loss(np.eye(I)[tokens], LABELS)


def test_some_of_the_sequences_are_a_data_set_of_their_own():
    net, weights = network(), np.array([1.0, 0.5, 2.0, 1.0])
    examples = net.prepare(inputs(), LABELS, LENGTHS, sample_weight=weights)
    some = np.array([3, 1])
    f, g = net.evaluate(None, examples.take(some))
    wanted, g_wanted = net.loss_and_grad(
        inputs()[some, :5], [1, 3], LENGTHS[some], sample_weight=weights[some]
    )
    assert f == wanted
    np.testing.assert_array_equal(g, g_wanted)


def test_training_with_it_lowers_it():
    net = network()
    before = net.loss(inputs(), LABELS, LENGTHS)
    with pytest.warns(lc.ConvergenceWarning):
        lc.fit(net, inputs(), LABELS, lengths=LENGTHS, max_iter=5)
    assert net.loss(inputs(), LABELS, LENGTHS) < before


def test_weights_of_steps_and_readouts_are_refused():
    message = "step_weight: expected None with the loss 'mean_probability', whose terms are whole"
    with pytest.raises(ValueError, match=message):
        network().loss(inputs(), LABELS, step_weight=np.ones((4, T)))
    message = "readout: expected 'all' with the loss 'mean_probability'.*, got 'last'"
    with pytest.raises(ValueError, match=message):
        network(readout="last")


WRONG_DELTAS = {
    "float64": lambda delta: delta.astype(np.float64),
    "of another shape": lambda delta: delta[:, :-1],
    "flat": lambda delta: delta.ravel(),
    "a list": lambda delta: delta.tolist(),
    "nothing": lambda delta: None,
    "big-endian": lambda delta: delta.astype(">f4"),
}


@pytest.mark.parametrize("terms", ["steps", "sequences"])
@pytest.mark.parametrize("wrong", WRONG_DELTAS)
def test_a_delta_that_kernels_could_not_read_is_refused(wrong, terms):
    base = SquaredError if terms == "steps" else MeanProbability

    class Wrong(base):
        def value_and_delta(self, *arguments):
            value, delta = super().value_and_delta(*arguments)
            return value, WRONG_DELTAS[wrong](delta)

    net = network(Wrong(), dtype="float32")
    Y = np.ones((4, T, K)) if terms == "steps" else LABELS
    with pytest.raises(ValueError, match=r"loss: expected a delta of shape \(24, 4\) and dtype"):
        net.loss_and_grad(inputs(), Y)


def test_a_delta_with_gaps_is_read_right():
    class Gaps(SquaredError):
        def value_and_delta(self, *arguments):
            value, delta = super().value_and_delta(*arguments)
            return value, np.repeat(delta, 2, axis=-1)[..., ::2]

    Y = np.ones((4, T, K))
    _, g = network(Gaps()).loss_and_grad(inputs(), Y, LENGTHS)
    _, wanted = network(SquaredError()).loss_and_grad(inputs(), Y, LENGTHS)
    np.testing.assert_array_equal(g, wanted)


# -------------------------------------------------------------------- targets and their sizes


@pytest.mark.parametrize("readout", ["all", "last"])
def test_targets_may_have_another_size_than_outputs(readout):
    net = network(Gaussian(), readout=readout)
    shape = (4, T) if readout == "all" else (4,)
    Y = np.random.default_rng(3).normal(size=(*shape, K // 2))
    assert max(lc.check_gradient(net, inputs(), Y, LENGTHS).values()) < 1e-8
    with pytest.raises(ValueError, match=r"Y: expected shape \(4, .*2\), got \(.*4\)"):
        net.loss(inputs(), np.zeros((*shape, K)))
    one = lc.Network([lc.RNN(I, 2)], Gaussian(), readout, seed=0)
    assert one.loss(inputs(), Y[..., 0]) == one.loss(inputs(), Y[..., :1])


def test_a_number_of_outputs_that_cannot_be_is_refused_at_once():
    with pytest.raises(ValueError, match="loss: expected an even number of outputs, got 3"):
        lc.Network([lc.RNN(I, 3)], Gaussian())


# ------------------------------------------------------------------ objects, options and files


def test_a_loss_may_be_given_as_an_object():
    net = lc.Network([lc.RNN(2, 3)], SquaredError(), seed=0)
    assert net.loss_name == net.options["loss"] == "squared_error"
    assert repr(net) == repr(lc.Network([lc.RNN(2, 3)], seed=0))
    own = network(MeanProbability(0.5))
    assert own.options["loss"].floor == 0.5
    assert "loss=MeanProbability(floor=0.5), readout='all'" in repr(own)
    assert "mean_probability (softmax outputs)" in own.summary()
    assert own.output_units == "softmax"


def test_copies_have_the_options():
    net = network(MeanProbability(0.25))
    for other in (pickle.loads(pickle.dumps(net)), lc.Network(**net.options)):
        other.params = net.params
        assert other.options["loss"].floor == 0.25
        assert other.loss(inputs(), LABELS) == net.loss(inputs(), LABELS)


def test_files_keep_the_options(known, tmp_path):
    net = network(MeanProbability(0.25))
    net.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert json.loads(file["lstmcore.json"])["loss"] == {
            "name": "mean_probability",
            "options": {"floor": 0.25},
        }
    again = lc.load(tmp_path / "m.npz")
    assert again.options["loss"].floor == 0.25
    assert again.loss(inputs(), LABELS) == net.loss(inputs(), LABELS)


def test_a_loss_that_nobody_has_registered_is_not_loaded(tmp_path):
    network().save(tmp_path / "m.npz")
    message = "a loss of the unknown name 'mean_probability'; lstmcore.losses.register makes"
    with pytest.raises(ValueError, match=message):
        lc.load(tmp_path / "m.npz")


def test_registered_losses_have_names(known):
    assert isinstance(find_loss("mean_probability"), MeanProbability)
    net = lc.Network([lc.RNN(2, 3)], "mean_probability", seed=0)
    assert net.options["loss"].floor == 1e-3  # it has options, so its name would not tell all


def test_a_step_in_c_has_the_outputs_that_a_loss_over_sequences_implies(tmp_path):
    net = network()
    report = lc.export_c(net, tmp_path, "own", dtype="float64")
    assert report.error == 0
    assert "SOFTMAX" in (tmp_path / "own.c").read_text()


BAD = {
    "no subclass": (register, dict, TypeError, "loss: expected a subclass of Loss, got"),
    "an object": (register, SquaredError(), TypeError, "loss: expected a subclass of Loss"),
    "no name": (register, type("A", (Loss,), {}), TypeError, "loss.name: expected a str, got None"),
    "no output": (
        find_loss,
        type("A", (Loss,), {"name": "a", "output": "sine"})(),
        ValueError,
        "loss.output: expected one of identity, logistic, softmax, exponential, tanh, mixed, got "
        "'sine'",
    ),
    "other terms": (
        find_loss,
        type("A", (Loss,), {"name": "a", "output": "softmax", "terms": "batches"})(),
        ValueError,
        "loss.terms: expected one of steps, sequences, got 'batches'",
    ),
    "a class": (find_loss, SquaredError, TypeError, "loss: expected one of squared_error, cross_"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_loss_is_refused(case):
    call, loss, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call(loss)

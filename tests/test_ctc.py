"""CTC: the kernel against all paths, its twin, PyTorch; the loss against the loss contract."""

import itertools
import pickle

import numpy as np
import pytest
from helpers import same_bits
from test_golden import load_cases, load_maker

import lstmcore as lc
from lstmcore import _reference
from lstmcore.losses import CTC, ctc_loss

GOLDEN = load_cases("ctc.npz")
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def problem(steps, counts, K, scale=1.0, blank=0, dtype="float64", seed=0):
    """Rows of pre-activations, where the sequences begin in them, labels, where those begin."""
    rng = np.random.default_rng(seed)
    first = np.concatenate([[0], np.cumsum(steps)]).astype(np.intp)
    begin = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    others = np.delete(np.arange(K), blank)
    labels = others[rng.integers(K - 1, size=begin[-1])].astype(np.intp)
    return (scale * rng.normal(size=(first[-1], K))).astype(dtype), first, labels, begin


def run(kernels, a, first, labels, begin, weights=None, blank=0, n_threads=1):
    """Values and delta; what stands before and after the rows and the scratch memory stays."""
    memory = np.full(a.size + 256, -7.5, a.dtype)
    rows = memory[128 : 128 + a.size].reshape(a.shape)
    rows[...] = a
    weights = np.ones(len(first) - 1) if weights is None else weights
    sizes = np.diff(first).max(), np.diff(begin).max(), a.shape[1]
    need = kernels.ctc_scratch_size(*map(int, sizes), n_threads)
    scratch = np.full(need + 64, np.nan)
    scratch[need:] = -7.5
    values = np.full(len(weights), np.nan)
    room = scratch[:need]
    kernels.ctc_rows(rows, first, labels, begin, weights, blank, values, room, n_threads)
    assert (memory[:128] == -7.5).all()
    assert (memory[128 + a.size :] == -7.5).all()
    assert (scratch[need:] == -7.5).all()
    return values, rows


def said(path, blank):
    """What a path says: no repetitions, then no blanks."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def over_all_paths(a, labels, blank):
    """-ln of the sum over all paths that say the labels, and its derivative."""
    y = np.exp(a - a.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
    T, K = y.shape
    total, at = 0.0, np.zeros((T, K))
    for path in itertools.product(range(K), repeat=T):
        if said(path, blank) == tuple(labels):
            p = y[np.arange(T), path].prod()
            total += p
            at[np.arange(T), path] += p
    if total == 0:
        return np.inf, np.zeros((T, K))
    return -np.log(total), y - at / total


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("T", range(6))
def test_loss_and_derivative_are_those_over_all_paths(implementation, T, blank):
    K, rng = 3, np.random.default_rng(T)
    others = [k for k in range(K) if k != blank]
    for U in range(4):
        for labels in itertools.product(others, repeat=U):
            a = 2 * rng.normal(size=(T, K))
            wanted = over_all_paths(a, labels, blank)
            ends = np.array([0, T]), np.array(labels, np.intp), np.array([0, U])
            value, delta = run(implementation, a, *ends, blank=blank)
            assert value[0] == pytest.approx(wanted[0], rel=1e-13, abs=1e-14)
            np.testing.assert_allclose(delta, wanted[1], atol=1e-14)


SHAPES = {
    "unequal, empty, impossible": ([5, 3, 0, 0, 7, 1, 2], [2, 0, 0, 1, 7, 1, 5], 4),
    "as many places as lanes, and one more": ([20] * 4, [7, 8, 15, 16], 5),
    "outputs around whole vectors": ([9] * 2, [3] * 2, 17),
    "no step to spare": ([64], [32], 40),
    "long": ([300], [60], 9),
    "two classes": ([41, 40], [14, 13], 2),
}


@pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_are_those_of_the_twin(kernels, shape, scale):
    steps, counts, K = SHAPES[shape]
    p = problem(steps, counts, K, scale)
    weights = np.linspace(0.5, 2, len(steps))
    values, delta = run(kernels, *p, weights)
    wanted, twin = run(_reference, *p, weights)
    assert np.isfinite(values).any()
    np.testing.assert_allclose(values, wanted, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(delta, twin, atol=1e-13 * max(wanted[np.isfinite(wanted)].max(), 1))


def test_the_rows_of_delta_sum_to_zero_and_impossible_sequences_have_none(kernels):
    steps, counts, K = SHAPES["unequal, empty, impossible"]
    a, first, labels, begin = problem(steps, counts, K)
    values, delta = run(kernels, a, first, labels, begin)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-15)
    assert values[3] == values[6] == np.inf
    assert not delta[first[6] :].any()
    assert values[2] == 0


@pytest.mark.parametrize("n_threads", [2, 3, 7])
@dtypes
def test_bits_depend_neither_on_threads_nor_on_the_batch(kernels, dtype, n_threads):
    steps, counts, K = [30, 12, 0, 25, 30, 9], [7, 3, 0, 12, 1, 2], 11
    p = problem(steps, counts, K, dtype=dtype)
    values, delta = run(kernels, *p)
    others = run(kernels, *p, n_threads=n_threads)
    same_bits(others[0], values)
    same_bits(others[1], delta)
    a, first, labels, begin = p
    for b in range(len(steps)):
        rows, places = slice(first[b], first[b + 1]), slice(begin[b], begin[b + 1])
        ends = np.array([0, steps[b]]), labels[places], np.array([0, counts[b]])
        alone = run(kernels, a[rows], *ends)
        same_bits(alone[0], values[b : b + 1])
        same_bits(alone[1], delta[rows])


def test_float32_outputs_have_the_losses_of_the_same_numbers_in_float64(kernels):
    a, *rest = problem([40, 17], [11, 6], 9, 5.0, dtype="float32")
    values, delta = run(kernels, a, *rest)
    wanted, exact = run(kernels, a.astype(float), *rest)
    same_bits(values, wanted)
    same_bits(delta, exact.astype(np.float32))


def test_a_weight_of_zero_leaves_a_sequence_out_whatever_it_holds(kernels):
    a, *rest = problem([6, 6], [2, 2], 4)
    clean = run(kernels, a, *rest)
    a[:6] = np.nan
    values, delta = run(kernels, a, *rest, np.array([0.0, 1.0]))
    assert values[0] == 0
    assert not delta[:6].any()
    same_bits(values[1:], clean[0][1:])
    same_bits(delta[6:], clean[1][6:])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_give_a_loss_that_is_not(kernels, bad):
    a, *rest = problem([6], [2], 4)
    a[2, 1] = bad
    assert not np.isfinite(run(kernels, a, *rest)[0][0])


def test_an_output_of_probability_zero_is_on_no_path(kernels):
    a, first, _, begin = problem([3], [1], 3)
    a[:, 1] = -np.inf
    for label, wanted in ((1, np.inf), (2, over_all_paths(a, [2], 0)[0])):
        values, delta = run(kernels, a, first, np.array([label]), begin)
        assert values[0] == pytest.approx(wanted)
        assert np.isfinite(delta).all()


def test_a_certain_path_costs_nothing(kernels):
    a = np.full((4, 3), -400.0)
    a[np.arange(4), [1, 1, 0, 2]] = 400.0
    values, delta = run(kernels, a, np.array([0, 4]), np.array([1, 2]), np.array([0, 2]))
    assert values[0] == 0
    assert np.abs(delta).max() < 1e-300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": np.array([0, 9])}, "first, begin: expected 0 first"),
        ({"first": np.array([0, 7, 6])}, "first, labels, begin, values"),
        ({"begin": np.array([1, 2])}, "first, begin: expected 0 first"),
        ({"labels": np.array([1, 4])}, "labels: expected numbers of the 4 columns"),
        ({"labels": np.array([1, -1])}, "labels: expected numbers of the 4 columns"),
        ({"labels": np.array([1.0, 2.0])}, "first, labels, begin, values"),
        ({"blank": 4}, "with a column 4 for the blank"),
        ({"a": np.zeros((6, 4))[:, ::-1]}, "a: expected a writeable contiguous"),
        ({"values": np.zeros(2)}, "first, labels, begin, values"),
        ({"scratch": np.zeros(3)}, "scratch: expected as many numbers"),
        ({"weights": np.ones(1, np.float32)}, "weights, values, scratch"),
    ],
)
def test_arguments_that_do_not_belong_together_are_refused(kernels, change, message):
    a, first, labels, begin = problem([6], [2], 4)
    arguments = {"a": a, "first": first, "labels": labels, "begin": begin, "weights": np.ones(1)}
    arguments |= {"blank": 0, "values": np.zeros(1), "n_threads": 1}
    arguments["scratch"] = np.zeros(kernels.ctc_scratch_size(6, 2, 4, 1))
    with pytest.raises(ValueError, match=message):
        kernels.ctc_rows(**(arguments | change))


# --------------------------------------------------------------------------------------- PyTorch


def assert_torch(case):
    labels = [row[row >= 0] for row in case["labels"]]
    blank = int(case["blank"])
    values, delta = ctc_loss(case["a"], labels, case["lengths"], blank=blank)
    np.testing.assert_allclose(values, case["values"], rtol=1e-12)
    np.testing.assert_allclose(delta, case["gradient"], atol=1e-10)
    padded = ctc_loss(case["a"], case["labels"], case["lengths"], blank=blank)
    same_bits(padded.values, values)
    rows = [a[:n] for a, n in zip(case["a"], case["lengths"], strict=True)]
    for got, whole in zip(ctc_loss(rows, labels, blank=blank).delta, delta, strict=True):
        same_bits(got, whole[: len(got)])


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_equal_pytorchs(name):
    assert_torch(GOLDEN[name])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", GOLDEN)
def test_losses_equal_pytorchs_live(name, seed):
    pytest.importorskip("torch")
    assert_torch(load_maker("make_ctc").make_case(name, seed))


# --------------------------------------------------------------------------------------- networks

STEPS = [9, 6, 4, 0, 7]
LABELS = [[1, 3, 3], [2], [], [], [1, 2, 1, 2]]
RNG = np.random.default_rng(3)
X = [RNG.normal(size=(n, 2)) for n in STEPS]
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 1.5]


def network(dtype="float64", blank=0, **options):
    layers = [lc.LSTM(2, 4, peepholes=True, bidirectional=True, **options), lc.Dense(8, 4)]
    return lc.Network(layers, CTC(blank), dtype=dtype, seed=5)


def outputs(net):
    """The pre-activations, up to what the softmax does not see."""
    return [np.log(y) for y in net.predict(X)]


def test_the_gradient_of_a_network_is_the_derivative():
    errors = lc.check_gradient(network(), X, LABELS, sample_weight=WEIGHTS)
    assert max(errors.values()) < 1e-7


def test_the_loss_is_the_weighted_mean_over_sequences():
    net = network()
    values = ctc_loss(outputs(net), LABELS).values
    weighted = net.loss(X, LABELS, sample_weight=WEIGHTS)
    assert weighted == pytest.approx(np.average(values, weights=WEIGHTS), rel=1e-13)
    assert net.loss(X, LABELS, reduction="sum") == pytest.approx(values.sum(), rel=1e-13)


def test_an_array_with_lengths_is_a_list():
    net, T = network(), max(STEPS)
    padded = np.full((len(X), T, 2), 7.0)
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    labels = np.full((len(X), 4), -1)
    for row, y in zip(labels, LABELS, strict=True):
        row[: len(y)] = y
    f, g = net.loss_and_grad(X, LABELS)
    other_f, other_g = net.loss_and_grad(padded, labels, lengths=STEPS)
    assert f == other_f
    same_bits(other_g, g)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype):
    net = network(dtype)
    f, g = net.loss_and_grad(X, LABELS, n_threads=1)
    other_f, other_g = net.loss_and_grad(X, LABELS, n_threads=2)
    assert f == other_f
    same_bits(other_g, g)


def test_checkpoints_change_no_bit():
    layers = [lc.LSTM(2, 4, peepholes=True), lc.Dense(4, 4)]
    net = lc.Network(layers, "ctc", seed=1)
    x = [np.tile(row, (60, 1))[:300] for row in X if len(row)]
    y = [LABELS[b] for b, row in enumerate(X) if len(row)]
    f, g = net.loss_and_grad(x, y)
    other_f, other_g = net.loss_and_grad(x, y, checkpoint=16)
    assert f == other_f
    same_bits(other_g, g)


def test_float32_is_near_float64():
    f, g = network().loss_and_grad(X, LABELS)
    net = network("float32")
    other_f, other_g = net.loss_and_grad(X, LABELS)
    assert other_f == pytest.approx(f, rel=1e-5)
    assert np.linalg.norm(other_g - g) < 1e-5 * np.linalg.norm(g)


def test_another_blank_is_another_order_of_the_outputs():
    net, other = network(), network(blank=3)
    order = [1, 2, 3, 0]  # of the other's outputs: its labels are from 0
    for name in ("1.W", "1.b"):
        other.blocks[name][...] = net.blocks[name][order]
    less = [[k - 1 for k in y] for y in LABELS]
    assert other.loss(X, less) == pytest.approx(net.loss(X, LABELS), rel=1e-14)


def test_impossible_labels_are_named_unless_they_weigh_nothing():
    net = network()
    labels = [*LABELS[:2], [1, 1, 1], *LABELS[3:]]
    message = (
        r"Y\[2\]: expected labels that 4 steps have room for, got 3 labels, which take 5 steps: "
        r"one each, and a blank between equal ones 2 times; sample_weight 0 leaves the sequence out"
    )
    with pytest.raises(ValueError, match=message):
        net.loss(X, labels)
    with pytest.raises(ValueError, match=r"Y\[3\]: expected labels that 0 steps have room for"):
        net.loss(X, [*LABELS[:3], [1], LABELS[4]])
    weights = [1, 1, 0, 1, 1]
    f, g = net.loss_and_grad(X, labels, sample_weight=weights)
    wanted, wanted_g = net.loss_and_grad(X, LABELS, sample_weight=weights)
    assert f == wanted
    same_bits(g, wanted_g)
    assert ctc_loss(outputs(net), labels).values[2] == np.inf


TARGETS = {
    "out of range": ([[1, 4], [2], [], [], []], ValueError, r"Y\[0\]: expected labels >= 0 and <="),
    "negative": ([[1], [-2], [], [], []], ValueError, r"Y\[1\]: expected labels >= 0 and <= 3, go"),
    "-1 in a list": ([[1, -1], [], [], [], []], ValueError, r"Y\[0\]: expected labels >= 0 and"),
    "blank": ([[1, 0, 2], [], [], [], []], ValueError, r"labels other than the blank, got 0 at 1;"),
    "floats": ([[1.0], [2.0], [], [], []], TypeError, r"Y\[0\]: expected integer labels, .* float"),
    "flags": ([[True], [], [], [], []], TypeError, r"Y\[0\]: expected integer labels, .* bool"),
    "strings": (["one", "two", "", "", ""], TypeError, r"Y\[0\]: expected a sequence of integer"),
    "letters": ([["a"], ["b"], [], [], []], TypeError, r"Y\[0\]: expected integer labels.*unique"),
    "too few": ([[1], [2]], ValueError, r"Y: expected the labels of 5 sequences.*list of length 2"),
    "one label each": ([1, 2, 1, 1, 1], ValueError, r"Y\[0\]: .*\[1\] is a sequence of one label"),
    "labels of steps": (np.ones(5, int), ValueError, r"Y: expected the labels of 5 sequences"),
    "outputs": (np.ones((5, 9, 4)), ValueError, r"Y: expected the labels of 5 sequences, a list o"),
    "nested": ([[[1]], [], [], [], []], ValueError, r"Y\[0\]: expected a sequence of integer lab"),
    "ragged": ([[[1], [1, 2]], [], [], [], []], ValueError, r"Y\[0\]: expected an array of num"),
    "hole": (np.array([[1, -1, 2]] * 5), ValueError, r"Y\[0\]: expected -1 after the last label"),
    "nothing": (None, TypeError, r"Y: expected the labels of 5 sequences.*got None"),
    "text": ("words", TypeError, r"Y: expected the labels of 5 sequences.*got 'words'"),
}


@pytest.mark.parametrize(("Y", "error", "message"), TARGETS.values(), ids=TARGETS)
def test_targets_that_are_none_are_refused(Y, error, message):
    with pytest.raises(error, match=message):
        network().loss(X, Y)


def test_labels_come_in_many_forms():
    net = network()
    wanted = net.loss(X, LABELS)
    ragged = np.empty(5, object)
    ragged[:] = LABELS
    for Y in (tuple(LABELS), ragged, [np.array(y, np.uint8) for y in LABELS]):
        assert net.loss(X, Y) == wanted


@pytest.mark.parametrize(
    ("loss", "outputs", "message"),
    [
        (CTC(), 1, "loss: expected two outputs or more with 'ctc', a label and the blank, got 1"),
        (CTC(4), 4, "loss: expected blank to be one of the 4 outputs, from 0 to 3, got 4"),
    ],
)
def test_networks_that_cannot_have_the_loss(loss, outputs, message):
    with pytest.raises(ValueError, match=message):
        lc.Network([lc.LSTM(1, 2), lc.Dense(2, outputs)], loss)


def test_options_that_are_refused():
    with pytest.raises(ValueError, match="readout: expected 'all' with the loss 'ctc'"):
        lc.Network([lc.LSTM(1, 2), lc.Dense(2, 3)], "ctc", "last")
    with pytest.raises(TypeError, match=r"blank: expected an integer, got 1\.0"):
        CTC(1.0)
    net = network()
    with pytest.raises(ValueError, match=r"class_weight: .* one term of 'ctc', not of one class"):
        net.loss(X, LABELS, class_weight="balanced")
    with pytest.raises(ValueError, match="step_weight: expected None with the loss 'ctc'"):
        net.loss(X, LABELS, step_weight=[np.ones(n) for n in STEPS])


def test_files_and_copies_keep_loss_and_targets(tmp_path):
    net = network(blank=2)
    net.save(tmp_path / "net.lstm")
    for other in (lc.load(tmp_path / "net.lstm"), pickle.loads(pickle.dumps(net))):
        assert repr(other) == repr(net)
        assert other.loss(X, [[1, 3]] * 3 + [[], [0]]) == net.loss(X, [[1, 3]] * 3 + [[], [0]])
    examples = network().prepare(X, LABELS)
    copy = pickle.loads(pickle.dumps(examples))
    assert network().evaluate(None, copy)[0] == network().evaluate(None, examples)[0]
    assert not copy.targets.labels.flags.writeable
    some = examples.take(np.array([4, 0]))
    assert [some.targets.of(b).tolist() for b in range(2)] == [LABELS[4], LABELS[0]]


METHODS = {
    "L-BFGS-B": {"max_iter": 12},
    "hessian-free": {"max_iter": 6},
    "rprop": {"max_epochs": 25},
    "adam": {"max_epochs": 25, "batch_size": 2, "learning_rate": 0.05, "seed": 0},
}


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_method_learns(method):
    net = network()
    before = net.loss(X, LABELS)
    result = lc.fit(net, X, LABELS, method=method, **METHODS[method])
    assert result.fun < 0.6 * before


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_validation_split_keeps_sequences_whole():
    net = network()
    result = lc.fit(net, X, LABELS, max_iter=3, validation_split=0.4, seed=0)
    assert len(result.history["validation_loss"]) >= 2


def test_the_best_constants_are_below_others():
    loss, examples = CTC(), network().prepare(X, LABELS, sample_weight=WEIGHTS)
    targets, weights = examples.targets, examples.weights

    def value(constants):
        a = np.tile(constants, (sum(STEPS), 1))
        return loss.value_and_delta(a, targets, weights, np.array(STEPS))[0]

    best = loss.best_constant(targets, weights, 4)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0):
        assert value(best) < value(best + scale * rng.normal(size=4)) + 1e-4
    assert value(best) < value(np.zeros(4))


def test_a_network_that_has_stayed_with_constant_outputs_is_warned_of():
    net = network()
    net.params[...] = 0
    frozen = [np.zeros((len(x), 2)) for x in X]  # there is nothing to be seen
    with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs"):
        lc.fit(net, frozen, LABELS, tol=1e-10, max_iter=300)


def test_gauss_newton_is_never_negative_and_above_the_hessian():
    net = network()
    obj = lc.Objective(net, X, LABELS, sample_weight=WEIGHTS)
    rng = np.random.default_rng(0)
    targets, weights = obj.examples.targets, np.array(WEIGHTS)
    a = np.concatenate(outputs(net))
    product = obj.net._loss.curvature(a, targets, weights, np.array(STEPS))
    exact = lc.losses.Loss.curvature(obj.net._loss, a, targets, weights, np.array(STEPS))
    for _ in range(5):
        v, u = rng.normal(size=(2, *a.shape))
        assert np.vdot(v, product(u)) == pytest.approx(np.vdot(u, product(v)), rel=1e-10)
        assert np.vdot(v, product(v)) > max(np.vdot(v, exact(v)), 0)
    v = rng.normal(size=net.params.size)
    assert v @ obj.gauss_newton(net.params, v) > 0


def test_targets_are_not_drawn():
    with pytest.raises(NotImplementedError, match=r"labels of whole sequences; lstmcore\.decode"):
        CTC().sample(np.ones((1, 3)) / 3, 0)


def test_exported_programs_are_those_of_cross_entropy(tmp_path):
    """What predicts is the softmax, which has tests of its own in every format."""
    layers = [lc.LSTM(2, 4), lc.Dense(4, 4)]
    programs = []
    for loss in ("ctc", "cross_entropy"):
        net = lc.Network(layers, loss, seed=0)
        lc.export_c(net, tmp_path / loss, "reader")
        programs.append((tmp_path / loss / "reader.c").read_text())
    assert programs[0] == programs[1]


def test_a_stream_gives_probabilities_of_an_unsegmented_sequence():
    net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 4)], "ctc", seed=0)
    stream = net.stream(1)
    steps = [stream(x[None])[0].copy() for x in X[0]]
    same_bits(np.stack(steps), net.predict([X[0]])[0])

"""What disturbs a run on purpose: noise on parameters and inputs, dropout."""

import numpy as np
import pytest
from scipy import stats
from small_runs import data, network, quiet_fit, quiet_minimize

import lstmcore as lc
from lstmcore import _reference
from lstmcore._perturbation import Perturbations
from lstmcore._reference._noise import threefry

METHODS = ["adam", "sgd", "rmsprop"]
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
methods = pytest.mark.parametrize("method", METHODS)
batch_sizes = pytest.mark.parametrize("batch_size", [None, 2])


class Linear:
    """gᵀ θ, whatever θ: what a run asks for, and where."""

    def __init__(self, net):
        self.net, self.asked = net, []
        self.g = np.linspace(-1.0, 1.0, net.params.size)

    def __call__(self, theta):
        self.asked.append(theta.copy())
        return float(theta @ self.g), self.g


class Watched(lc.Objective):
    """Where a run asks for the gradient of a batch, and what it gets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        vars(self).update(asked=[], answers=[])

    def on_batch(self, theta, indices):
        self.asked.append(theta.copy())
        self.answers.append(super().on_batch(theta, indices))
        return self.answers[-1]


# ----------------------------------------------------------------------------------------- normal

KEYS = (0, 1, 2**63 + 12345, 2**64 - 1)


@dtypes
def test_noise_has_the_bits_of_its_twin(kernels, dtype):
    for size in (0, 1, 127, 128, 129, 255, 256, 257, 1000):
        x = np.random.default_rng(size).normal(size=size).astype(dtype)
        for key in KEYS:
            ours, twins = np.empty_like(x), np.empty_like(x)
            kernels.add_noise(ours, x, 0.3, key)
            _reference.add_noise(twins, x, 0.3, key)
            np.testing.assert_array_equal(ours, twins)
            in_place = x.copy()
            kernels.add_noise(in_place, in_place, 0.3, key)
            np.testing.assert_array_equal(in_place, ours)


@pytest.mark.parametrize(
    ("key", "place", "bits"),
    [  # the vectors of Random123, its authors' library
        (0, 0, (0x6B200159, 0x99BA4EFE)),
        (2**64 - 1, 2**64 - 1, (0x1CB996FC, 0xBB002BE7)),
        (0x0370734413198A2E, 0x85A308D3243F6A88, (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_random_bits_are_those_of_threefry(key, place, bits):
    words = threefry(key, np.array([place], np.uint64))
    assert tuple(int(word[0]) for word in words) == bits


def test_noise_is_normal_and_that_of_two_keys_independent(kernels):
    n = 2**20
    one, other = np.zeros(n, "float32"), np.zeros(n, "float32")
    kernels.add_noise(one, one, 1.0, 1)
    kernels.add_noise(other, other, 1.0, 2)
    assert stats.kstest(one, "norm").pvalue > 0.01
    one, other = one.astype(float), other.astype(float)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(one**power) - moment) < 4 * np.sqrt(spread / n)
    for a, b in (
        (one, other),
        (one[1:], one[:-1]),
        (one[256:], one[:-256]),
        (one[128:], one[:-128]),  # 128 apart are cosine and sine
    ):
        assert abs(a @ b) < 4 * np.sqrt(n)
        assert abs((a**2 - 1) @ (b**2 - 1)) < 4 * 2 * np.sqrt(n)
    assert 4.5 < np.abs(one).max() < 6.7


def test_both_dtypes_have_the_same_noise(kernels):
    noise = {dtype: np.zeros(1000, dtype) for dtype in ("float32", "float64")}
    for x in noise.values():
        kernels.add_noise(x, x, 0.5, 3)
    np.testing.assert_array_equal(*noise.values())


# ----------------------------------------------------------------------------------- weight noise


def test_each_step_has_fresh_noise_of_the_deviation_asked_for_and_moves_the_clean_parameters():
    net = lc.Network([lc.LSTM(8, 40)], seed=0)
    objective, start = Linear(net), net.params.copy()
    result = quiet_minimize(
        objective,
        "sgd",
        options={"momentum": 0.0},
        learning_rate=0.5,
        max_epochs=4,
        weight_noise=0.25,
        seed=0,
    )
    assert result.nfev == 5 and result.jac is None
    noise = [asked - (start - k * 0.5 * objective.g) for k, asked in enumerate(objective.asked)]
    n = start.size
    for k, one in enumerate(noise):
        assert abs(one.mean()) < 5 * 0.25 / np.sqrt(n)
        assert abs(one.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * n)
        for other in noise[:k]:
            assert abs(one @ other) < 5 * 0.25**2 * np.sqrt(n)
    losses = [asked @ objective.g for asked in objective.asked]
    np.testing.assert_array_equal(result.history["loss"], losses)
    best = 1 + int(np.argmin(losses[1:]))
    np.testing.assert_allclose(net.params, start - best * 0.5 * objective.g, rtol=0, atol=1e-14)
    assert result.fun == losses[best]


@dtypes
def test_a_batch_is_evaluated_beside_the_parameters_that_are_recorded(dtype):
    net, validated, seen = network(dtype), [], []
    objective = Watched(net, *data(), l2=0.1)
    result = quiet_minimize(
        objective,
        "adam",
        batch_size=3,
        max_epochs=3,
        learning_rate=1e-9,  # stays where it is, but for the noise
        weight_noise=0.5,
        seed=0,
        validation=lambda theta: validated.append(theta) or 1.0,
        callback=lambda now: seen.append((now.x, net.params.copy())),
    )
    start = validated[0]
    distances = [np.sqrt(np.mean((asked - start) ** 2)) for asked in objective.asked]
    assert min(distances) > 0.3 and max(distances) < 0.7
    assert all(asked.dtype == dtype for asked in objective.asked)
    assert all(np.abs(theta - start).max() < 1e-6 for theta in validated)
    for x, params in seen:
        assert np.abs(x - start).max() < 1e-6
        np.testing.assert_array_equal(params, x.astype(dtype))
    for epoch in range(3):
        two = objective.answers[2 * epoch : 2 * epoch + 2]
        mean = np.average([f for f, _, _ in two], weights=[weight for _, _, weight in two])
        assert result.history["loss"][epoch + 1] == pytest.approx(mean, rel=1e-14)


@methods
@batch_sizes
@dtypes
def test_one_seed_is_one_noisy_run_for_any_number_of_threads(method, batch_size, dtype):
    X, Y = data(lengths=(60, 90, 0, 40, 70, 50, 30))
    runs = []
    for seed, n_threads in ((0, 1), (0, 4), (1, 1)):
        net = network(dtype)
        options = {"batch_size": batch_size, "max_epochs": 4, "seed": seed, "n_threads": n_threads}
        result = quiet_fit(net, X, Y, method=method, weight_noise=0.1, **options)
        runs.append((net.params.copy(), result.history["loss"]))
    for ours, others in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(ours, others)
    assert (runs[2][0] != runs[0][0]).any()


@batch_sizes
def test_no_noise_has_the_bits_of_a_run_without(batch_size):
    runs = []
    for noise in (None, 0, 0.0):
        net = network()
        result = quiet_fit(
            net,
            *data(),
            method="adam",
            batch_size=batch_size,
            max_epochs=3,
            seed=0,
            weight_noise=noise,
        )
        runs.append((net.params.copy(), result.history["loss"]))
    for run in runs[1:]:
        for ours, others in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(ours, others)


@batch_sizes
def test_patience_looks_at_validation_and_not_at_noise(batch_size):
    net = network()
    values = iter([5.0, 4.0, 4.5, 4.0, 4.0, 1.0])
    seen = []
    result = quiet_minimize(
        lc.Objective(net, *data()),
        "adam",
        batch_size=batch_size,
        validation=lambda theta: seen.append(theta) or next(values),
        patience=3,
        weight_noise=0.3,
        seed=0,
    )
    assert result.success and result.nit == 4
    np.testing.assert_array_equal(net.params, seen[1])  # the first of the lowest
    assert result.fun == result.history["loss"][1]


@batch_sizes
def test_noise_beyond_the_dtype_ends_the_run_without_a_warning(batch_size):
    net = network("float32")
    before = net.params.copy()
    result = quiet_fit(
        net, *data(), method="adam", batch_size=batch_size, weight_noise=1e300, seed=0
    )
    assert not result.success and "not finite" in result.message
    np.testing.assert_array_equal(net.params, before)


# ------------------------------------------------------------------------- inputs, units, columns

# A network, how its sequences are prepared; each with layers to disturb.
LSTM, GRU, RNN, Dense = lc.LSTM, lc.GRU, lc.RNN, lc.Dense
NETWORKS = {
    "two layers": ([LSTM(2, 4, peepholes=True), Dense(4, 3)], "all"),
    "stack": ([LSTM(2, 4, gate_recurrence=True), GRU(4, 3), RNN(3, 4), Dense(4, 3)], "all"),
    "dense below": (
        [Dense(2, 4, activation="tanh"), LSTM(4, 3), Dense(3, 4, activation="relu"), Dense(4, 3)],
        "all",
    ),
    "bidirectional": ([GRU(2, 3, bidirectional=True), LSTM(6, 3, bidirectional=True)], "all"),
    "last": ([LSTM(2, 4, bidirectional=True), Dense(8, 5, activation="tanh"), Dense(5, 3)], "last"),
    "mean": ([RNN(2, 4), LSTM(4, 5), Dense(5, 3)], "mean"),
    "max": ([GRU(2, 4), Dense(4, 3)], "max"),
    "last step": ([LSTM(2, 4, learn_initial_state=True), Dense(4, 3)], "last_step"),
    "learned states": ([LSTM(2, 4, learn_initial_state=True), Dense(4, 3)], "all"),
    "tokens": ([lc.Embedding(5, 4), LSTM(4, 3), Dense(3, 3)], "all"),
}
networks = pytest.mark.parametrize("name", NETWORKS)
INDICES = np.array([4, 1, 0, 2])  # of five sequences, one without steps


def problem(name, dtype, **options):
    layers, readout = NETWORKS[name]
    net = lc.Network(layers, readout=readout, dtype=dtype, seed=0)
    rng = np.random.default_rng(1)
    net.params += 0.2 * rng.normal(size=net.params.size)
    X = [
        rng.integers(0, 5, n) if name == "tokens" else rng.normal(size=(n, 2))
        for n in (6, 9, 0, 4, 7)
    ]
    rows = [(len(x), net.output_size) for x in X]
    Y = [rng.normal(size=shape) for shape in rows]
    if readout != "all":
        Y = rng.normal(size=(5, net.output_size))
    weights = rng.uniform(0.5, 2.0, 5)
    return lc.Objective(net, X, Y, sample_weight=weights, **options)


def draw(objective, seed=0, size=4, input_noise=0.3, dropout=0.4, recurrent_dropout=0.5):
    if objective.examples.batch.has_tokens:
        input_noise = 0.0
    perturbations = Perturbations(
        objective.net, objective.examples, input_noise, dropout, recurrent_dropout
    )
    return perturbations.draw(np.random.default_rng(seed), size)


def by_hand(objective, indices, perturbation):
    """The objective on a batch, sequence by sequence, with what is dropped dropped from weights."""
    net, examples = objective.net, objective.examples
    blocks = {block.name: block for block in net.table}
    value, gradient, total = 0.0, np.zeros(net.params.size), 0.0
    noise = perturbation.examples(examples.take(indices)).batch.input_rows()
    ends = np.cumsum(examples.batch.lengths[indices])
    for place, index in enumerate(indices):
        factors = np.ones(net.params.size)
        for block, columns in perturbation.columns:
            block.view(factors)[...] *= columns
        for k, dropped in enumerate(perturbation.dropout or []):
            if dropped is not None:
                for end in ("W", "forward.W", "backward.W"):
                    if f"{k}.{end}" in blocks:
                        blocks[f"{k}.{end}"].view(factors)[...] *= dropped[place]
        one = examples.summed().take([index])
        if not one.batch.has_tokens:
            rows = noise[ends[place] - one.batch.n_steps : ends[place]]
            one = one.with_inputs(rows)
        f, g = net.evaluate(net.params * factors.astype(net.dtype), one)
        value, gradient, total = value + f, gradient + factors * g, total + one.total
    gradient /= total
    value = net.penalty(None, objective.l2, start=value / total)
    for weights in net.weight_slices:
        gradient[weights] += objective.l2 * net.params[weights]
    return value, gradient, total


@networks
@dtypes
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_what_is_dropped_is_dropped_from_the_weights_of_each_sequence(name, dtype, checkpoint):
    if name in ("bidirectional", "last") and checkpoint:
        pytest.skip("layers that read in reverse have no checkpoints")
    objective = problem(name, dtype, l2=0.1, checkpoint=checkpoint)
    tol = {"rtol": 1e-11, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-3, "atol": 1e-5}
    for kinds in ({}, {"dropout": 0.0}, {"input_noise": 0.0, "recurrent_dropout": 0.0}):
        perturbation = draw(objective, **kinds)
        ours = objective.on_batch(objective.net.params, INDICES, perturbation)
        for mine, expected in zip(ours, by_hand(objective, INDICES, perturbation), strict=True):
            np.testing.assert_allclose(mine, expected, **tol)
        again = objective.on_batch(objective.net.params, INDICES, perturbation)
        np.testing.assert_array_equal(ours[1], again[1])
        assert ours[0] == again[0] and ours[1].dtype == dtype


def test_recurrent_dropout_is_dropped_outputs_on_their_way_to_the_next_step():
    layers = [LSTM(2, 4, gate_recurrence=True, peepholes=True), RNN(4, 3), LSTM(3, 4, block_size=2)]
    net = lc.Network(layers, seed=0)
    x = np.random.default_rng(1).normal(size=(1, 8, 2))
    examples = net.prepare(x, np.zeros((1, 8, 4)))
    perturbation = Perturbations(net, examples, 0.0, 0.0, 0.5).draw(np.random.default_rng(1), 1)
    factors = [columns for _, columns in perturbation.columns]
    assert all(0 < np.count_nonzero(columns) < columns.size for columns in factors)
    dropped = lc.Network(layers, seed=0)
    dropped.params = perturbation.parameters(net.params)
    state = None
    for t, expected in enumerate(dropped.predict(x)[0]):
        y, state = net.step(x[0, t], state)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)
        for (h, *_), columns in zip(state, factors, strict=True):
            h[: columns.size] *= columns  # with gate recurrence the gates follow


@networks
def test_the_gradient_of_a_perturbed_batch_passes_central_differences(name):
    objective = problem(name, "float64", l2=0.1)
    theta, perturbation = objective.net.params.copy(), draw(objective)
    _, g, _ = objective.on_batch(theta, INDICES, perturbation)

    def value(theta):
        return objective.on_batch(theta, INDICES, perturbation)[0]

    rng = np.random.default_rng(0)
    for _ in range(8):
        v = rng.normal(size=theta.size)
        slope = (value(theta + 1e-6 * v) - value(theta - 1e-6 * v)) / 2e-6
        assert g @ v == pytest.approx(slope, rel=1e-7, abs=1e-8)


@dtypes
def test_units_are_dropped_for_whole_sequences_and_scaled(dtype):
    objective = problem("stack", dtype)
    perturbation = draw(objective, size=4000, dropout=0.25, recurrent_dropout=0.75)
    first, *others = perturbation.dropout
    assert first is None and [a.shape for a in others] == [(4000, 4), (4000, 3), (4000, 4)]
    for factors in others:
        kept = factors != 0
        np.testing.assert_array_equal(factors[kept], np.dtype(dtype).type(1 / 0.75))
        assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
        assert factors.dtype == dtype
    assert [block.name for block, _ in perturbation.columns] == ["0.R", "1.R", "2.R"]
    assert {float(x) for _, columns in perturbation.columns for x in columns} <= {0.0, 4.0}


def test_frozen_blocks_are_disturbed_as_others_but_have_no_gradient():
    whole = problem("stack", "float64", l2=0.1)
    net, examples = whole.net, whole.examples
    part = lc.Objective(net, examples, l2=0.1, frozen=["0.R", "*.b"])
    perturbation = draw(whole)
    f, g, weight = whole.on_batch(net.params, INDICES, perturbation)
    theta = part.theta_of(net.params)
    f_part, g_part, weight_part = part.on_batch(theta, INDICES, perturbation)
    assert (f, weight) == (f_part, weight_part) and theta.size < net.params.size
    np.testing.assert_array_equal(g_part, part.theta_of(g))
    kept = net.blocks["0.R"].copy()
    quiet_minimize(
        part,
        "adam",
        batch_size=2,
        max_epochs=2,
        seed=0,
        weight_noise=0.1,
        input_noise=0.1,
        dropout=0.2,
        recurrent_dropout=0.2,
    )
    np.testing.assert_array_equal(net.blocks["0.R"], kept)


def test_noise_on_inputs_is_that_of_the_key_and_leaves_the_data_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 9, 2))
    lengths = [9, 4, 0, 7, 9]
    net = network()
    forms = (
        net.prepare(X, X[..., :1], lengths),
        net.prepare([x[:n] for x, n in zip(X, lengths, strict=True)],
                    [x[:n, :1] for x, n in zip(X, lengths, strict=True)]),
        net.prepare(X, X[..., :1], mask=np.arange(9) < np.array(lengths)[:, None]),
    )  # fmt: skip
    kept = X.copy()
    perturbations = Perturbations(net, forms[0], 0.5, 0.0, 0.0)
    rows = []
    for examples in forms:
        perturbation = perturbations.draw(np.random.default_rng(3), 5)
        noisy = perturbation.examples(examples)
        rows.append(noisy.batch.input_rows())
        noise = rows[-1] - examples.batch.input_rows()
        assert 0.3 < noise.std() < 0.7
        assert (
            net.evaluate(None, noisy)[0] == net.evaluate(None, perturbation.examples(examples))[0]
        )
    for other in rows[1:]:
        np.testing.assert_array_equal(rows[0], other)
    np.testing.assert_array_equal(X, kept)


DATA_NOISE = {
    "input_noise": {"input_noise": 0.2},
    "dropout": {"dropout": 0.3},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "all": {"weight_noise": 0.1, "input_noise": 0.2, "dropout": 0.3, "recurrent_dropout": 0.3},
}


@methods
@batch_sizes
@pytest.mark.parametrize("kind", DATA_NOISE)
@dtypes
def test_one_seed_is_one_perturbed_run_for_any_number_of_threads(method, batch_size, kind, dtype):
    X, Y = data(lengths=(60, 90, 0, 40, 70, 50, 30))
    runs = []
    for seed, n_threads in ((0, 1), (0, 4), (1, 1)):
        net = network(dtype)
        options = {"batch_size": batch_size, "max_epochs": 3, "seed": seed, "n_threads": n_threads}
        result = quiet_fit(net, X, Y, method=method, l2=1e-3, **options, **DATA_NOISE[kind])
        runs.append((net.params.copy(), result.history["loss"]))
    for ours, others in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(ours, others)
    assert (runs[2][0] != runs[0][0]).any()
    assert len(set(runs[0][1])) == 4


@batch_sizes
@pytest.mark.parametrize("kind", DATA_NOISE)
def test_a_run_draws_anew_for_each_step_and_validates_without(kind, batch_size):
    seen = []

    class Watched(lc.Objective):
        def on_batch(self, theta, indices, perturbation=None):
            seen.append((theta.copy(), indices, perturbation))
            return super().on_batch(theta, indices, perturbation)

    net, (X, Y) = network(), data()
    validation = lc.Objective(net, X, Y)
    losses = []
    result = quiet_minimize(
        Watched(net, X, Y),
        "adam",
        batch_size=batch_size,
        max_epochs=3,
        seed=0,
        validation=validation,
        callback=lambda now: losses.append((validation.fun(now.x), now.fun, now.validation_loss)),
        **DATA_NOISE[kind],
    )
    assert result.nfev == len(seen) == (4 if batch_size is None else 7)
    draws = [perturbation for _, _, perturbation in seen]
    assert len({id(one) for one in draws}) == len(draws)
    assert all(one.size == len(indices) for one, (_, indices, _) in zip(draws, seen, strict=True))
    keys = [one.input_noise and one.input_noise[1] for one in draws]
    assert len(set(keys)) == (len(draws) if "input_noise" in DATA_NOISE[kind] else 1)
    for clean, _, validated in losses:
        assert clean == validated
    assert any(disturbed != clean for clean, disturbed, _ in losses)
    assert result.jac is None


def test_an_objective_without_perturbations_is_asked_as_before():
    net, (X, Y) = network(), data()
    objective = Watched(net, X, Y)  # whose on_batch takes two arguments
    result = quiet_minimize(
        objective, "adam", batch_size=2, max_epochs=2, weight_noise=0.1, dropout=0, seed=0
    )
    assert result.nfev == len(objective.asked)


NOT_DISTURBED = {
    "tokens": (
        lambda: (problem("tokens", "float64"), {"input_noise": 0.1}),
        "input_noise: expected 0 with tokens, got 0.1; weight_noise and dropout",
    ),
    "one layer": (
        lambda: (
            lc.Objective(lc.Network([lc.LSTM(2, 1)]), *data()),
            {"dropout": 0.5},
        ),
        "dropout: expected 0 for a network of one layer, got 0.5; .* recurrent_dropout within",
    ),
    "no recurrence": (
        lambda: (
            lc.Objective(lc.Network([lc.Dense(2, 3), lc.Dense(3, 1)]), *data()),
            {"recurrent_dropout": 0.5},
        ),
        "recurrent_dropout: expected 0 for a network without recurrent layers, got 0.5; dropout",
    ),
    "all dropped": (
        lambda: (lc.Objective(network(), *data()), {"dropout": 1.0}),
        "dropout: expected a probability >= 0 and < 1, got 1.0",
    ),
    "own objective": (
        lambda: (Linear(network()), {"dropout": 0.5}),
        "dropout: expected None with an objective of one's own, got 0.5; an lstmcore.Objective",
    ),
    "rprop": (
        lambda: (lc.Objective(network(), *data()), {"method": "rprop", "dropout": 0.5}),
        "dropout: expected None with rprop, got 0.5; noise hides the signs",
    ),
}


@pytest.mark.parametrize("case", NOT_DISTURBED)
def test_what_cannot_be_disturbed_is_named(case):
    make, words = NOT_DISTURBED[case]
    objective, arguments = make()
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        lc.minimize(objective, **{"method": "adam", **arguments})


def test_a_perturbation_is_one_of_the_network_and_the_batch():
    objective, other = problem("stack", "float64"), problem("stack", "float64")
    theta = objective.net.params
    cases = (
        ("dropout", "expected what minimize has drawn, got 'dropout'"),
        (draw(other), "expected one of the same network"),
        (
            draw(objective, size=3),
            "expected one for 4 sequences, as many as indices, got one for 3",
        ),
    )
    for perturbation, words in cases:
        with pytest.raises((TypeError, ValueError), match=f"^perturbation: {words}"):
            objective.on_batch(theta, INDICES, perturbation)


def test_dropout_that_kernels_would_misread_is_refused():
    objective = problem("stack", "float32")
    net, examples = objective.net, objective.examples
    right = [None, *(np.ones((5, layer.input_size), "float32") for layer in net.layers[1:])]
    plain = net.evaluate(None, examples)
    ones = net.evaluate(None, examples, dropout=right)
    assert ones[0] == pytest.approx(plain[0], rel=1e-6)
    for wrong, words in (
        (right[1:], "dropout: expected a list of 4, of which the first is None"),
        ([*right[:2], right[2].astype("float64"), right[3]], r"dropout\[2\]: expected float32 num"),
        ([*right[:2], right[2][:4], right[3]], r"dropout\[2\]: expected float32 numbers of shape"),
    ):
        with pytest.raises(TypeError, match=f"^{words}"):
            net.evaluate(None, examples, dropout=wrong)

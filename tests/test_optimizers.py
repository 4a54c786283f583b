"""adam, sgd, rmsprop, rprop: their steps, batches, and that a run of them keeps every promise."""

import contextlib
import inspect
import io
import math
import re
import warnings

import numpy as np
import pytest
from small_runs import data, network, quiet_fit, quiet_minimize

import lstmcore as lc
from lstmcore import _reference
from lstmcore.optimizers import Cosine, Linear, Plateau, Step, WarmUp

METHODS = ["adam", "sgd", "rmsprop"]  # those that take batches
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
methods = pytest.mark.parametrize("method", METHODS)
batch_sizes = pytest.mark.parametrize("batch_size", [None, 2])


class Quadratic:
    """‖θ - target‖² / 2."""

    def __init__(self, net, target):
        self.net, self.target = net, target

    def __call__(self, theta):
        return 0.5 * float(np.sum((theta - self.target) ** 2)), theta - self.target


# ----------------------------------------------------------------------------------------- steps

# Each update: the vectors that it keeps, the numbers that it takes.
UPDATES = {
    "adam_update": (2, (0.7, 1e-2, 0.9, 0.999, 1.3, 1e-8)),
    "sgd_update": (1, (0.3, 0.9, False)),
    "rmsprop_update": (1, (0.7, 1e-2, 0.9, 1e-8)),
    "nesterov": (1, (0.3, 0.9, True)),
}


@dtypes
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_has_the_bits_of_its_twin(kernels, name, dtype):
    n_states, numbers = UPDATES[name]
    name = "sgd_update" if name == "nesterov" else name
    for size in (0, 1, 7, 16, 33, 1000):
        rng = np.random.default_rng(size)
        theta = rng.normal(size=size).astype(dtype)
        start = [theta, *(np.zeros(size, dtype) for _ in range(n_states))]
        ours, twins = ([vector.copy() for vector in start] for _ in range(2))
        for _ in range(4):
            g = rng.normal(size=size).astype(dtype)
            kept = g.copy()
            for module, (x, *state) in ((kernels, ours), (_reference, twins)):
                getattr(module, name)(x, g, *state, *numbers)
            np.testing.assert_array_equal(g, kept)
            for ours_now, twins_now in zip(ours, twins, strict=True):
                np.testing.assert_array_equal(ours_now, twins_now)
        assert size == 0 or (ours[0] != theta).all()


@pytest.mark.parametrize("rose", [False, True])
def test_the_update_of_rprop_has_the_bits_of_its_twin(kernels, rose):
    numbers = (1.2, 0.5, 1e-3, 0.3)
    for size in (0, 1, 7, 16, 33, 1000):
        rng = np.random.default_rng(size)
        start = [rng.normal(size=size), np.full(size, 0.1), np.zeros(size)]
        ours, twins = ([vector.copy() for vector in start] for _ in range(2))
        for step in range(20):
            g = rng.integers(-1, 2, size) * rng.random(size) if step % 2 else rng.normal(size=size)
            kept = g.copy()
            for module, (theta, *state) in ((kernels, ours), (_reference, twins)):
                module.rprop_update(theta, g, *state, rose, *numbers)
            np.testing.assert_array_equal(g, kept)
            for ours_now, twins_now in zip(ours, twins, strict=True):
                np.testing.assert_array_equal(ours_now, twins_now)
        if size == 1000:
            assert ours[1].min() == 1e-3 and ours[1].max() == 0.3


def rprop_by_hand(f, gradient, x, n_steps, step0, eta_plus, eta_minus, step_min, step_max):
    """Igel and Hüsken's iRprop+ as it is printed, a number at a time."""
    x = list(x)
    g_before, delta, dx = [0.0] * len(x), [step0] * len(x), [0.0] * len(x)
    f_before, path = math.inf, []
    for _ in range(n_steps):
        f_now, g = f(x), gradient(x)
        for j in range(len(x)):
            if g_before[j] * g[j] > 0:
                delta[j] = min(delta[j] * eta_plus, step_max)
                dx[j] = -math.copysign(delta[j], g[j])
                x[j] += dx[j]
                g_before[j] = g[j]
            elif g_before[j] * g[j] < 0:
                delta[j] = max(delta[j] * eta_minus, step_min)
                if f_now > f_before:
                    x[j] -= dx[j]
                g_before[j] = 0.0
            else:
                dx[j] = -math.copysign(delta[j], g[j]) if g[j] else 0.0
                x[j] += dx[j]
                g_before[j] = g[j]
        f_before = f_now
        path.append(list(x))
    return path


@pytest.mark.parametrize("options", [{}, {"step0": 0.5, "eta_minus": 0.7, "step_max": 0.8}])
def test_rprop_is_what_its_paper_says(options):
    net = lc.Network([lc.Dense(2, 2)])
    scales = np.array([100.0, 1.0, 1e-2, 1e-4, 10.0, 0.0])

    class Valley:
        def __init__(self):
            self.net = net

        def __call__(self, theta):
            f = 0.5 * float(np.sum(scales * theta**2)) + theta[0] * theta[1]
            g = scales * theta
            g[:2] += theta[1::-1]
            return f, g

    start, seen = np.array([1.0, -2.0, 3.0, 0.5, -0.3, 0.1]), []
    valley = Valley()
    quiet_minimize(
        valley,
        "rprop",
        x0=start,
        max_epochs=60,
        options=options,
        callback=lambda now: seen.append(now.x),
    )
    defaults = {
        "step0": 0.0125,
        "eta_plus": 1.2,
        "eta_minus": 0.5,
        "step_min": 0.0,
        "step_max": 50.0,
    }
    path = rprop_by_hand(
        lambda x: valley(np.array(x))[0],
        lambda x: valley(np.array(x))[1].tolist(),
        start,
        60,
        **(defaults | options),
    )
    np.testing.assert_array_equal(seen, path)
    rises = np.diff([valley(x)[0] for x in seen]) > 0
    assert rises.any() and not rises.all()  # both ways have been gone


def test_rprop_fits_what_can_be_fitted():
    net, (X, Y) = network(), data()
    start = net.loss(X, Y)
    result = lc.fit(net, X, Y, method="rprop", max_epochs=300)
    assert result.fun == net.loss(X, Y) == result.history["loss"].min() < 1e-3 * start
    assert (result.nit, result.nfev, result.success) == (300, 301, True)


def test_rprop_has_the_same_bits_for_any_number_of_threads():
    X, Y = data(lengths=(60, 90, 0, 40, 70, 50, 30))
    nets = [network("float32") for _ in range(3)]
    for net, n_threads in zip(nets, (1, 2, None), strict=True):
        quiet_fit(net, X, Y, method="rprop", max_epochs=30, n_threads=n_threads)
        np.testing.assert_array_equal(net.params, nets[0].params)


@dtypes
def test_the_sum_of_squares_has_the_bits_of_its_twin(kernels, dtype):
    for size in (0, 1, 15, 16, 17, 1000):
        x = np.random.default_rng(size).normal(size=size).astype(dtype)
        total = kernels.sum_of_squares(x)
        assert total == _reference.sum_of_squares(x)
        assert total == pytest.approx(math.fsum(float(number) ** 2 for number in x), rel=1e-14)


@dtypes
def test_a_state_decays_to_zero_and_not_to_subnormal_numbers(kernels, dtype):
    tiny = np.finfo(dtype).tiny
    theta, g, m, v = (np.full(5, value, dtype) for value in (1, 0, tiny, tiny))
    kernels.adam_update(theta, g, m, v, 1.0, 1e-3, 0.5, 0.5, 1.0, 1e-8)
    assert (m == 0).all() and (v == 0).all() and (theta == 1).all()


def steps_by_hand(method, options, gradient, x, rates):
    """The formulas as the papers have them, a number at a time."""
    m = v = velocity = 0.0
    for t, rate in enumerate(rates, start=1):
        if method == "adam":
            g = gradient(x)
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            x -= rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif method == "rmsprop":
            g = gradient(x)
            v = 0.9 * v + 0.1 * g * g
            x -= rate * g / (math.sqrt(v) + 1e-8)
        else:  # Sutskever et al.: the gradient is taken where the momentum leads
            momentum, nesterov = options.get("momentum", 0.9), options.get("nesterov", False)
            g = gradient(x + momentum * velocity if nesterov else x)
            velocity = momentum * velocity - rate * g
            x += velocity
    return x + momentum * velocity if options.get("nesterov") else x


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("adam", {}),
        ("rmsprop", {}),
        ("sgd", {}),
        ("sgd", {"momentum": 0.0}),
        ("sgd", {"nesterov": True, "momentum": 0.8}),
    ],
)
def test_steps_are_those_of_the_papers(method, options):
    net = lc.Network([lc.Dense(1, 1)])
    target = np.array([2.0, -1.0])
    seen = []
    quiet_minimize(
        Quadratic(net, target),
        method,
        x0=[0.5, 0.25],
        max_epochs=5,
        learning_rate=lambda epoch, max_epochs: 0.1 / (1 + epoch),
        options=options,
        callback=lambda now: seen.append(now.x),
    )
    for n, x in enumerate(seen, start=1):
        for start, goal, number in zip([0.5, 0.25], target, x, strict=True):
            rates = [0.1 / (1 + k) for k in range(n)]
            wanted = steps_by_hand(method, options, lambda x, goal=goal: x - goal, start, rates)
            assert number == pytest.approx(wanted, rel=1e-13)
    assert len(seen) == 5


@methods
def test_weight_decay_shrinks_the_weights_alone_before_each_step(method):
    plain, decayed = lc.Network([lc.Dense(1, 1)]), lc.Network([lc.Dense(1, 1)])
    still = np.array([2.0, 3.0])  # where the gradient is zero, decay is all that moves
    for net, options in ((plain, {}), (decayed, {"weight_decay": 0.5})):
        flat = Flat(net, still)
        options = {"max_epochs": 1, "learning_rate": 0.1, "options": options}
        lc.minimize(flat, method, x0=still, **options)
    assert plain.params.tolist() == [2.0, 3.0]
    assert decayed.params.tolist() == [2.0 * (1 - 0.1 * 0.5), 3.0]


class Flat(Quadratic):
    """Lower by one wherever it does not start, without a gradient."""

    def __call__(self, theta):
        return -float(theta[0] != self.target[0]), np.zeros(2)


def test_the_gradient_is_clipped_by_its_norm():
    net = lc.Network([lc.Dense(1, 1)])
    for clip_norm, factor in ((0.5, 0.1), (5.0, 1.0), (6.0, 1.0), (None, 1.0)):
        result = quiet_minimize(
            Quadratic(net, np.array([3.0, 4.0])),  # the gradient at 0 is (-3, -4)
            "sgd",
            x0=[0.0, 0.0],
            max_epochs=1,
            learning_rate=0.25,
            clip_norm=clip_norm,
        )
        np.testing.assert_allclose(result.x, np.array([0.75, 1.0]) * factor, rtol=1e-15)
        assert result.history["gradient_norm"][0] == 5.0


# ------------------------------------------------------------------------------------- schedules


def test_schedules_are_what_they_say():
    step = Step(0.8, every=2, factor=0.5)
    assert [step(epoch, 5) for epoch in (0, 1.75, 2, 4)] == [0.8, 0.8, 0.4, 0.2]
    cosine = Cosine(1.0, last=0.5)
    assert [cosine(epoch, 8) for epoch in (0, 4, 8)] == [1.0, 0.75, 0.5]
    linear = Linear(1.0, last=0.5)
    assert [linear(epoch, 8) for epoch in (0, 4, 8)] == [1.0, 0.75, 0.5]
    warm = WarmUp(2, Step(1.0, every=3), first=0.0)
    assert [warm(epoch, 9) for epoch in (0, 0.5, 1, 2, 4.75, 5)] == [0, 0.25, 0.5, 1, 1, 0.1]
    constant = WarmUp(2, 0.5, first=0.5)
    assert [constant(epoch, 9) for epoch in (0, 1, 2, 8)] == [0.25, 0.375, 0.5, 0.5]


def rates_of(schedule, losses):
    """The rates of the epochs after the first, each as after the losses of those before it."""
    rates = []
    for epoch, loss in enumerate(losses, start=1):
        schedule.end_epoch(epoch, loss)
        rates.append(schedule(epoch, 100))
    return rates


def test_a_plateau_is_so_many_epochs_without_a_lower_loss():
    losses = [5, 4, 4, 4.5, 3, 3, 3, 3, 3, 2, 2]
    rates = rates_of(Plateau(1.0, patience=2, factor=0.5), losses)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125]
    rates = rates_of(Plateau(1.0, patience=2, factor=0.5, last=0.3), losses)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]
    assert rates_of(Plateau(0.1, last=0.3), losses) == [0.1] * 11
    warm = WarmUp(3, Plateau(1.0, patience=2, factor=0.5), first=0.0)  # hears what comes after
    assert rates_of(warm, losses) == [1 / 3, 2 / 3, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


@batch_sizes
@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_a_plateau_hears_the_losses_of_its_own_run(batch_size, validates, warm):
    asked = []

    class Watched(Plateau):
        def __call__(self, epoch, max_epochs):
            asked.append((epoch, super().__call__(epoch, max_epochs)))
            return asked[-1][1]

    X, Y = data()
    plateau = Watched(0.3, patience=2, factor=0.5)  # so large that it goes up and down
    schedule = WarmUp(1, plateau) if warm else plateau
    runs = []
    for _ in range(2):
        asked.clear()
        result = quiet_fit(
            network(),
            X,
            Y,
            method="adam",
            batch_size=batch_size,
            max_epochs=20,
            learning_rate=schedule,
            validation_data=data(seed=2) if validates else None,
            seed=0,
        )
        runs.append(result.x)
        losses = result.history["validation_loss" if validates else "loss"][1:]
        heard = Plateau(0.3, patience=2, factor=0.5)
        for epoch, loss in enumerate(losses[:-1], start=1):
            if epoch > warm:
                heard.end_epoch(epoch, loss)
                assert (epoch - warm, heard(0, 0)) in asked
        assert heard(0, 0) < 0.3
    np.testing.assert_array_equal(*runs)  # the schedule has no memory of the first one


def test_a_schedule_is_asked_for_every_step():
    asked = []

    def schedule(epoch, max_epochs):
        asked.append((epoch, max_epochs))
        return 0.01

    quiet_fit(
        network(),
        *data(),
        method="sgd",
        batch_size=2,
        max_epochs=2,
        learning_rate=schedule,
        seed=0,
    )
    assert asked == [(0, 2), (0.5, 2), (1, 2), (1.5, 2)]  # one sequence of five has no step


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Step(0, 1), "rate: expected a number > 0, got 0"),
        (lambda: Step(1, -1), "every: expected a number > 0"),
        (lambda: Step(1, 1, 0), "factor: expected a number > 0"),
        (lambda: Cosine(-1), "rate: expected a number > 0"),
        (lambda: Cosine(1, -1), "last: expected a number >= 0"),
        (lambda: Linear(0), "rate: expected a number > 0"),
        (lambda: Linear(1, -1), "last: expected a number >= 0"),
        (lambda: Plateau(0), "rate: expected a number > 0"),
        (lambda: Plateau(1, 0), "patience: expected an integer >= 1"),
        (lambda: Plateau(1, factor=1.0), "factor: expected a number > 0 and < 1, got 1.0"),
        (lambda: Plateau(1, last=-1), "last: expected a number >= 0"),
        (lambda: WarmUp(0, 1), "epochs: expected a number > 0"),
        (lambda: WarmUp(1, -1), "then: expected a number > 0"),
        (lambda: WarmUp(1, 1, -1), "first: expected a number >= 0"),
    ],
)
def test_a_schedule_refuses_what_is_no_rate(make, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make()


# --------------------------------------------------------------------------------------- batches


@dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("readout", ["all", "mean"])
def test_batches_add_up_to_the_objective(dtype, reduction, readout):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], readout=readout, dtype=dtype, seed=0)
    X, Y = data(lengths=(6, 9, 0, 4, 7, 5))
    Y = Y if readout == "all" else np.arange(6.0)
    weights = [1.0, 0.5, 2.0, 0.0, 3.0, 0.25]
    whole = lc.Objective(net, X, Y, l2=0.01, sample_weight=weights, reduction=reduction)
    theta = net.params
    parts = [whole.on_batch(theta, np.array(batch)) for batch in ([5, 1], [4, 3], [0, 2])]
    alone = lc.Objective(net, [X[4], X[3]], [Y[4], Y[3]], l2=0.01, sample_weight=[3.0, 0.0])
    if reduction == "mean":
        f, g, _ = parts[1]
        assert f == alone(theta)[0]
        np.testing.assert_array_equal(g, alone(theta)[1].astype(dtype))
    rtol = 1e-12 if dtype == "float64" else 1e-5
    f, g = whole(theta)
    total = sum(weight for _, _, weight in parts)
    assert total == pytest.approx(whole.total)
    assert sum(weight * f for f, _, weight in parts) / total == pytest.approx(f, rel=rtol)
    mean = sum(weight * g.astype(float) for _, g, weight in parts) / total
    np.testing.assert_allclose(mean, g, rtol=rtol, atol=rtol)
    assert all(g.dtype == dtype for _, g, _ in parts)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("readout", ["all", "last"])
def test_an_epoch_takes_every_sequence_with_a_weight_once(readout, reduction):
    taken = []

    class Watched(lc.Objective):
        def on_batch(self, theta, indices):
            taken.append(indices.tolist())
            return super().on_batch(theta, indices)

    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], readout=readout, seed=0)
    X, Y = data(lengths=(6, 9, 0, 4, 7, 5, 3))
    # Without a step there is no term, unless each sequence is one.
    Y, members = (Y, [0, 1, 4, 5, 6]) if readout == "all" else (np.arange(7.0), [0, 1, 2, 4, 5, 6])
    weights = [1.0, 0.5, 2.0, 0.0, 3.0, 0.25, 1.0]
    objective = Watched(net, X, Y, sample_weight=weights, reduction=reduction)
    options = {"batch_size": 2, "max_epochs": 3, "learning_rate": 1e-6, "seed": 4}
    result = quiet_minimize(objective, "sgd", **options)
    assert [len(batch) for batch in taken] == [2, 2, len(members) - 4] * 3 + [2]
    epochs = [np.concatenate(taken[k : k + 3]).tolist() for k in (0, 3, 6)]
    assert all(sorted(epoch) == members for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert result.nfev == 10 and result.history["evaluations"].tolist() == [1, 4, 7, 10]


def test_the_history_has_the_means_of_each_epoch():
    net = network()
    answers = []

    class Watched(lc.Objective):
        def on_batch(self, theta, indices):
            answers.append(super().on_batch(theta, indices))
            return answers[-1]

    X, Y = data()
    result = lc.minimize(
        Watched(net, X, Y, l2=0.1), "adam", batch_size=3, max_epochs=4, learning_rate=0.01, seed=0
    )
    history = result.history
    assert history["loss"][0] == answers[0][0]
    assert history["gradient_norm"][0] == pytest.approx(np.linalg.norm(answers[0][1]), rel=1e-14)
    for epoch in range(4):
        two = answers[2 * epoch : 2 * epoch + 2]
        weights = [weight for _, _, weight in two]
        assert sum(weights) == 26
        loss = np.average([f for f, _, _ in two], weights=weights)
        norm = np.average([np.linalg.norm(g) for _, g, _ in two], weights=weights)
        assert history["loss"][epoch + 1] == pytest.approx(loss, rel=1e-14)
        assert history["gradient_norm"][epoch + 1] == pytest.approx(norm, rel=1e-14)
    assert result.fun == history["loss"][1:].min() and result.jac is None


@methods
@dtypes
def test_one_seed_is_one_run_for_any_number_of_threads(method, dtype):
    X, Y = data(lengths=(60, 90, 0, 40, 70, 50, 30))
    runs = []
    for seed, n_threads in ((0, 1), (0, 4), (0, None), (1, 1)):
        net = network(dtype)
        options = {"batch_size": 3, "max_epochs": 4, "seed": seed, "n_threads": n_threads}
        result = quiet_fit(net, X, Y, method=method, l2=1e-3, clip_norm=0.5, **options)
        runs.append((net.params.copy(), result.history["loss"]))
    for run in runs[1:3]:
        for ours, others in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(ours, others)
    assert (runs[3][0] != runs[0][0]).any()


class Watched(lc.Objective):
    """Keeps the batches that it has been asked for."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen = []

    def on_batch(self, theta, indices):
        self.seen.append(indices.copy())
        return super().on_batch(theta, indices)


@pytest.mark.parametrize(("count", "batch_size"), [(150, 4), (7, 3), (2, 5)])
def test_bucketed_batches_have_similar_lengths_and_every_sequence_once(count, batch_size):
    lengths = np.random.default_rng(0).integers(1, 60, count)
    X, Y = data(lengths=lengths)
    watched = Watched(network(), X, Y)
    runs = {}
    for batches in ("bucketed", "shuffled"):
        watched.seen.clear()
        options = {"batch_size": batch_size, "batches": batches, "seed": 0, "max_epochs": 3}
        quiet_minimize(watched, "adam", learning_rate=1e-3, **options)
        runs[batches] = list(watched.seen)
    n = -(-count // batch_size)
    assert len(runs["bucketed"]) == 3 * n + 1
    for first in range(0, 3 * n, n):
        epoch = runs["bucketed"][first : first + n]
        assert (np.sort(np.concatenate(epoch)) == np.arange(count)).all()
        assert all(len(batch) == batch_size for batch in epoch[:-1])
    if count == 150:
        spread = {name: np.mean([np.ptp(lengths[b]) for b in run]) for name, run in runs.items()}
        assert spread["bucketed"] < 0.15 * spread["shuffled"]
        means = np.array([lengths[batch].mean() for batch in runs["bucketed"][:n]])
        assert abs(np.corrcoef(means, np.arange(n))[0, 1]) < 0.5  # not short ones first
        assert any((a != b).any() for a, b in zip(epoch, runs["bucketed"][:n], strict=True))


def test_without_batch_size_steps_go_down_the_whole_objective():
    X, Y = data()
    net, objective = network(), lc.Objective(network(), X, Y, l2=0.01)
    x, values = net.params.copy(), []
    for _ in range(6):
        f, g = objective(x)
        values.append(f)
        x = x - 0.125 * g
    result = quiet_fit(
        net,
        X,
        Y,
        l2=0.01,
        method="sgd",
        max_epochs=6,
        learning_rate=0.125,
        options={"momentum": 0},
    )
    assert result.history["loss"].tolist() == [*values, objective(x)[0]]
    assert result.nfev == 7  # no point is evaluated twice
    np.testing.assert_array_equal(net.params, x)
    np.testing.assert_array_equal(result.jac, objective(x)[1])


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize(
    ("method", "rate", "options"),
    [
        ("adam", 0.1, {}),
        ("sgd", 0.1, {}),
        ("sgd", 0.1, {"nesterov": True}),
        ("rmsprop", 0.05, {}),
    ],
)
def test_linear_regression_converges_to_the_closed_form(method, rate, options, batch_size):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5, 3))
    Y = X @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(40, 5, 2)) + [1.0, -2.0]
    net = lc.Network([lc.Dense(3, 2)], seed=0)
    l2 = 0.05
    quiet_fit(
        net,
        X,
        Y,
        l2=l2,
        method=method,
        batch_size=batch_size,
        max_epochs=400,
        learning_rate=Cosine(rate),
        options=options,
        seed=0,
    )
    rows, targets = X.reshape(-1, 3), Y.reshape(-1, 2)
    A = np.column_stack([rows, np.ones(len(rows))])
    penalized = l2 * len(A) * np.diag([1.0, 1.0, 1.0, 0.0])  # of half the squared error a step
    closed = np.linalg.solve(A.T @ A + penalized, A.T @ targets)
    np.testing.assert_allclose(net.blocks["0.W"], closed[:3].T, atol=2e-3)
    np.testing.assert_allclose(net.blocks["0.b"], closed[3], atol=2e-3)


# ---------------------------------------------------------------------------- beginnings and ends


@batch_sizes
@methods
@dtypes
def test_it_trains_and_leaves_its_result_in_the_network(method, batch_size, dtype):
    net, (X, Y) = network(dtype), data()
    start = net.loss(X, Y)
    result = quiet_fit(
        net, X, Y, method=method, batch_size=batch_size, learning_rate=0.02, seed=0, max_epochs=60
    )
    assert net.loss(X, Y) < 0.6 * start
    np.testing.assert_array_equal(net.params, result.x.astype(dtype))
    assert (result.success, result.status, result.nit) == (True, 0, 60)
    assert result.message == "60 epochs, as many as asked for"
    assert len(result.history["loss"]) == 61
    if batch_size is None:
        assert result.fun == net.loss(X, Y) == result.history["loss"].min()


def test_a_hundred_epochs_are_the_default():
    assert quiet_fit(network(), *data(), method="sgd").nit == 100


@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt])
def test_rprop_leaves_the_best_parameters_however_it_is_stopped(end):
    net, (X, Y), seen = network("float32"), data(), []

    def callback(now):
        seen.append(now)
        if now.nit == 16:
            raise end

    options = {"step0": 1.0}  # so large that it goes up and down
    result = lc.fit(net, X, Y, method="rprop", options=options, callback=callback)
    assert (result.nit, result.status) == (16, 99)
    best = min(seen, key=lambda now: now.fun)
    assert result.fun == best.fun and best.nit < 16
    np.testing.assert_array_equal(net.params, best.x.astype("float32"))


@pytest.mark.parametrize("validates", [False, True])
def test_the_best_parameters_are_those_at_the_end_of_the_best_epoch(validates):
    net, (X, Y), seen = network(), data(), []
    validation = lc.Objective(net, *data(seed=2)) if validates else None
    result = quiet_fit(
        net,
        X,
        Y,
        method="adam",
        batch_size=2,
        max_epochs=30,
        learning_rate=0.3,  # so large that the last epoch is not the best
        validation_data=validation,
        callback=lambda now: seen.append(now),
        seed=0,
    )
    column = [now.validation_loss if validates else now.fun for now in seen]
    best = int(np.argmin(column))
    assert best < 29
    np.testing.assert_array_equal(net.params, seen[best].x)
    assert result.fun == seen[best].fun
    if validates:
        assert validation.fun(net.params) == column[best]
        assert len(result.history["validation_loss"]) == 31


@batch_sizes
def test_patience_counts_epochs(batch_size):
    net, (X, Y) = network(), data()
    values = iter([5.0, 4.0, 4.5, 4.0, 4.0, 1.0])
    result = quiet_minimize(
        lc.Objective(net, X, Y),
        "adam",
        batch_size=batch_size,
        validation=lambda theta: next(values),
        patience=3,
    )
    assert result.success and result.nit == 4
    assert result.message == "no lower validation loss for 3 epochs"


@batch_sizes
@pytest.mark.parametrize("end", [StopIteration, KeyboardInterrupt, RuntimeError])
@methods
def test_however_it_is_stopped_the_best_parameters_stay(method, end, batch_size):
    net, (X, Y), seen = network(), data(), []

    def callback(intermediate):
        np.testing.assert_array_equal(net.params, intermediate.x)
        seen.append(intermediate)
        net.params += 1  # whatever a callback does to the network
        if len(seen) == 3:
            raise end

    options = {"method": method, "batch_size": batch_size, "seed": 0, "callback": callback}
    if end is RuntimeError:
        with pytest.raises(RuntimeError):
            lc.fit(net, X, Y, **options)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = lc.fit(net, X, Y, **options)
        assert (result.nit, result.success, result.status) == (3, False, 99)
        assert result.fun == min(now.fun for now in seen)
    best = min(seen, key=lambda now: now.fun)
    np.testing.assert_array_equal(net.params, best.x)


def hostile(at, value, grad):
    """An objective that stops being finite at some batch."""

    class Hostile(lc.Objective):
        count = 0

        def on_batch(self, theta, indices):
            Hostile.count += 1
            f, g, weight = super().on_batch(theta, indices)
            if value is KeyboardInterrupt and Hostile.count == at:
                raise KeyboardInterrupt
            return (value, g * grad, weight) if Hostile.count == at else (f, g, weight)

    return Hostile


SPOILED = [(np.nan, 1, "loss"), (np.inf, 1, "loss"), (0.0, np.nan, "gradient")]


@methods
@pytest.mark.parametrize(("value", "grad", "what"), SPOILED)
@pytest.mark.parametrize("at", [1, 2, 5, 6])
def test_what_is_not_finite_ends_it_with_the_best_parameters(method, at, value, grad, what):
    net, seen = network(), []
    start = net.params.copy()
    with pytest.warns(
        lc.ConvergenceWarning,
        match=rf"the {what} is not finite at evaluation {at} .* a smaller learning_rate",
    ):
        result = lc.minimize(
            hostile(at, value, grad)(net, *data()),
            method,
            batch_size=2,
            seed=0,
            callback=lambda now: seen.append(now.x),
        )
    # Two batches an epoch; the parameters that the spoiled one met are never the best.
    assert not result.success and len(seen) == result.nit == max(0, (at - 2) // 2)
    np.testing.assert_array_equal(net.params, [start, *seen][-1])
    np.testing.assert_array_equal(result.x, net.params)


@pytest.mark.parametrize("at", [2, 3, 6])
def test_an_interrupt_within_an_epoch_leaves_the_best_one_before(at):
    net, seen = network(), []
    result = lc.minimize(
        hostile(at, KeyboardInterrupt, 1)(net, *data()),
        "adam",
        x0=np.full(net.params.size, 0.1),
        batch_size=2,
        seed=0,
        callback=lambda now: seen.append(now.x),
    )
    assert (result.status, result.message) == (99, "interrupted from the keyboard")
    np.testing.assert_array_equal(net.params, [np.full(net.params.size, 0.1), *seen][-1])
    assert np.isinf(result.fun) == (not seen)


@batch_sizes
@dtypes
@pytest.mark.parametrize("rate", [1e30, 1e300])
def test_infinite_parameters_are_never_the_best(batch_size, dtype, rate):
    net, (X, Y) = network(dtype), data()
    result = quiet_fit(
        net, X, Y, method="adam", batch_size=batch_size, learning_rate=rate, seed=0, max_epochs=5
    )
    assert np.isfinite(net.params).all() and np.isfinite(result.x).all()


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        (lc.LSTM(1, 2), r'LSTM\(..., forget_bias=\("chrono", 120\)\)'),
        (lc.GRU(1, 2), r'GRU\(..., update_bias=\("chrono", 120\)\)'),
        (lc.LSTM(1, 2, forget_gate=False), None),
        (lc.LSTM(1, 2, forget_bias=("chrono", 120)), None),
        (lc.LSTM(1, 2, forget_bias=4.0), None),
        (lc.RNN(1, 2), None),
    ],
)
def test_a_network_stuck_on_long_sequences_hears_of_chrono(layer, hint):
    X = np.random.default_rng(0).normal(size=(10, 120, 1))
    for length in (120, 99):
        net = lc.Network([layer, lc.Dense(2, 1)], readout="last", seed=0)
        net.blocks["1.W"][:] = 0  # so that constants are all that it gives
        with pytest.warns(lc.ConvergenceWarning, match="no better than constant outputs") as found:
            options = {"batch_size": 5, "max_epochs": 1, "learning_rate": 1e-9}
            lc.fit(net, X[:, :length], X[:, 0], method="sgd", **options)
        message = str(found[0].message)
        assert bool(hint and length == 120) == ("chrono" in message)
        if "chrono" in message:
            assert re.search(f"lags of up to 120 steps .*: {hint}$", message)


def test_a_stuck_rprop_is_said():
    X, Y = data()
    options = {"method": "rprop", "max_epochs": 3, "options": {"step0": 1e-9, "step_max": 1e-9}}
    with pytest.warns(
        lc.ConvergenceWarning, match=r"rprop has ended with success .* a smaller option step0"
    ):
        lc.fit(network(), X, Y, **options)


def test_no_better_than_constants_is_said():
    X, Y = data()
    options = {"method": "adam", "batch_size": 2, "learning_rate": 1e-9, "max_epochs": 2}
    with pytest.warns(lc.ConvergenceWarning, match=r"adam has ended with success .* constant"):
        lc.fit(network(), X, Y, **options)


def test_a_gradient_as_large_as_at_the_start_is_said():
    X, Y = data()
    options = {"method": "adam", "learning_rate": 1e-9, "max_epochs": 2}
    with pytest.warns(lc.ConvergenceWarning, match=r"adam has ended with success .* its gradient"):
        lc.fit(network(), X, Y, **options)


@batch_sizes
def test_progress_counts_epochs(batch_size, capsys):
    quiet_fit(network(), *data(), method="sgd", batch_size=batch_size, max_epochs=7, progress=True)
    assert "7/7" in capsys.readouterr().err


def test_the_recorder_goes_on_from_a_best_point_without_a_gradient():
    from lstmcore._recorder import Recorder

    recorder = Recorder(False)
    recorder.offer(np.ones(2), 3.0, None)
    recorder.record(np.ones(2), 3.0, None, 1, gradient_norm=2.0)
    again = Recorder(False)
    again.restore(recorder.state())
    assert again.best["fun"] == 3.0 and again.best["jac"] is None
    assert again.history()["gradient_norm"].tolist() == [2.0]


# -------------------------------------------------------------------------------------- arguments

REFUSED = {
    "batch_size": (8, r"batch_size: expected None with L-BFGS-B, got 8; adam, sgd, rmsprop take"),
    "max_epochs": (8, "max_epochs: expected None with L-BFGS-B, got 8; .* rmsprop, rprop take it"),
    "learning_rate": (0.1, "learning_rate: expected None with L-BFGS-B, got 0.1; adam, sgd"),
    "clip_norm": (0.1, "clip_norm: expected None with L-BFGS-B, got 0.1; adam, sgd, rmsprop"),
    "seed": (0, "seed: expected None with L-BFGS-B, got 0; adam, sgd, rmsprop, rprop take it"),
    "weight_noise": (0.1, "weight_noise: expected None with L-BFGS-B, got 0.1; adam, sgd, rmsprop"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_scipys_methods_are_refused_what_only_these_take(name):
    value, words = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{words}"):
        lc.fit(network(), *data(), **{name: value})


BAD = {
    "max_iter": ({"max_iter": 10}, "max_iter: expected None with adam, got 10; max_epochs= counts"),
    "tol": ({"tol": 0.1}, "tol: expected None with adam, got 0.1; they end after max_epochs"),
    "bounds": ({"bounds": [(0, 1)]}, "bounds: expected None with adam, .*; L-BFGS-B, TNC"),
    "batch_size": ({"batch_size": 0}, "batch_size: expected an integer >= 1, got 0"),
    "batches": ({"batches": "sorted", "batch_size": 2}, "batches: expected .*bucketed.*'sorted'"),
    "batches alone": ({"batches": "bucketed"}, "batches: expected None without batch_size"),
    "batch_size real": ({"batch_size": 2.0}, "batch_size: expected an integer, got 2.0"),
    "max_epochs": ({"max_epochs": 0}, "max_epochs: expected an integer >= 1, got 0"),
    "rate": ({"learning_rate": 0}, "learning_rate: expected a number > 0, got 0"),
    "rate a name": (
        {"learning_rate": "cosine"},
        r"learning_rate: expected a number or a schedule, such as lstmcore.optimizers.Cosine, got",
    ),
    "rate of a schedule": (
        {"learning_rate": lambda epoch, max_epochs: -1},
        r"learning_rate\(0, 100\): expected a number >= 0, got -1",
    ),
    "clip_norm": ({"clip_norm": 0}, "clip_norm: expected a number > 0, got 0"),
    "seed": ({"seed": -1}, "seed: expected None, an integer >= 0, a SeedSequence"),
    "noise": ({"weight_noise": -0.1}, "weight_noise: expected a number >= 0, got -0.1"),
    "another's option": (
        {"options": {"momentum": 0.5}},
        "options: expected some of beta1, beta2, eps, weight_decay with adam, got 'momentum'",
    ),
    "an argument": ({"options": {"batch_size": 5}}, "options: .* got 'batch_size'; arguments of"),
    "beta1": ({"options": {"beta1": 1}}, r"options\['beta1'\]: expected a number >= 0 and < 1"),
    "eps": ({"options": {"eps": 0}}, r"options\['eps'\]: expected a number > 0, got 0"),
    "decay": ({"options": {"weight_decay": -1}}, r"options\['weight_decay'\]: expected a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changed, words = BAD[case]
    net = network()
    before = net.params.copy()
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        lc.fit(net, *data(), **{"method": "adam", **changed})
    np.testing.assert_array_equal(net.params, before)


BAD_OF_RPROP = {
    "batch_size": ({"batch_size": 2}, "batch_size: expected None with rprop, got 2; its steps go"),
    "learning_rate": (
        {"learning_rate": 0.1},
        r"learning_rate: expected None with rprop, got 0.1; options=\{'step0': 0.0125\} is",
    ),
    "clip_norm": ({"clip_norm": 1.0}, "clip_norm: expected None with rprop, got 1.0; options="),
    "noise": ({"weight_noise": 0.1}, "weight_noise: expected None with rprop, got 0.1; noise"),
    "max_iter": ({"max_iter": 9}, "max_iter: expected None with rprop, got 9; max_epochs= counts"),
    "decay": (
        {"options": {"weight_decay": 0.1}},
        "options: expected some of step0, eta_plus, eta_minus, step_min, step_max with rprop, got",
    ),
    "eta_plus": (
        {"options": {"eta_plus": 1}},
        r"options\['eta_plus'\]: expected a number > 1, got",
    ),
    "eta_minus": (
        {"options": {"eta_minus": 1.0}},
        r"options\['eta_minus'\]: expected a number > 0 and < 1, got 1.0",
    ),
    "step0": ({"options": {"step0": 0}}, r"options\['step0'\]: expected a number > 0, got 0"),
    "step0 too large": (
        {"options": {"step0": 60}},
        r"options\['step0'\]: expected step_min <= step0 <= step_max, got 60.0 with 0.0 and 50.0",
    ),
    "step_min": ({"options": {"step_min": -1}}, r"options\['step_min'\]: expected a number >= 0"),
}


@pytest.mark.parametrize("case", BAD_OF_RPROP)
def test_bad_arguments_of_rprop_are_named(case):
    changed, words = BAD_OF_RPROP[case]
    with pytest.raises(ValueError, match=f"^{words}"):
        lc.fit(network(), *data(), **{"method": "rprop", **changed})


def test_batches_need_an_objective_with_sequences_that_count():
    net = network()
    with pytest.raises(
        TypeError, match=r"batch_size: .* objective of one's own, got 2; an lstmcore"
    ):
        lc.minimize(Quadratic(net, net.params), "adam", batch_size=2)
    X, Y = data(lengths=(0, 0))
    objective = lc.Objective(net, X, Y, reduction="sum")
    with pytest.raises(ValueError, match="batch_size: expected None where no sequence has a weigh"):
        lc.minimize(objective, "adam", batch_size=2)


def test_a_gradient_of_another_kind_is_refused_before_a_kernel_reads_it():
    class Short(lc.Objective):
        def on_batch(self, theta, indices):
            f, g, weight = super().on_batch(theta, indices)
            return f, g[1:], weight

    with pytest.raises(ValueError, match="the gradient of on_batch: expected shape"):
        lc.minimize(Short(network(), *data()), "adam", batch_size=2)


ODD = [None, True, 0, 3, -1, 0.5, np.nan, 1e-300, 10**30, "sgd", b"x", 1j, [], (), (1, 2)]
ODD += [np.zeros((4, 9)), np.ones(4), print, {}, {"beta1": 0.5}, {1: 2}]
ARGUMENTS = [
    name
    for name, parameter in inspect.signature(lc.fit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name != "method"
]


@pytest.mark.parametrize("method", [*METHODS, "rprop"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_whatever_an_argument_is_it_trains_or_says_why_not(name, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a string may be the name of a file

    def stop(intermediate):
        if intermediate.nit == 2:
            raise StopIteration

    for value in ODD:
        net = network()
        batch_size = None if method == "rprop" else 2
        arguments = {"batch_size": batch_size, "callback": stop, "max_epochs": 3, name: value}
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                result = quiet_fit(net, *data(), method=method, **arguments)
        except (TypeError, ValueError) as error:
            assert ": expected" in str(error), f"{name}={value!r}"
        else:
            assert result.nit <= 100 and np.isfinite(net.params).all()

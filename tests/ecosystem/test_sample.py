"""`Loss.sample`: draws of targets from outputs."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.losses import LOSSES, BinaryCrossEntropy, CrossEntropy, Loss, Poisson, SquaredError

P = np.array([0.05, 0.5, 0.15, 0.0, 0.3])


def counts_of(**options):
    return np.bincount(CrossEntropy().sample(np.tile(P, (20_000, 1)), 0, **options), minlength=5)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, P),
        ({"temperature": 0.5}, P**2),
        ({"temperature": 3.0}, np.cbrt(P)),
        ({"top_k": 2}, [0, 0.5, 0, 0, 0.3]),
        ({"top_k": 5}, P),
        ({"top_k": 3, "temperature": 2.0}, [0, 0.5**0.5, 0.15**0.5, 0, 0.3**0.5]),
        ({"temperature": 0}, [0, 1, 0, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"temperature": 1e-6}, [0, 1, 0, 0, 0]),
    ],
)
def test_classes_come_as_often_as_their_probabilities_say(options, wanted):
    wanted = np.array(wanted) / np.sum(wanted)
    counts = counts_of(**options)
    assert (counts[wanted == 0] == 0).all()
    # five standard deviations
    assert (np.abs(counts / 20_000 - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 20_000)).all()


def test_the_class_is_the_first_whose_cumulative_probability_is_above_the_uniform_number():
    class Given(np.random.Generator):
        def random(self, size):
            return np.array([0.0, 0.1249, 0.125, 0.62499, 0.625, 0.8749, 0.875, 1 - 2**-53])

    drawn = CrossEntropy().sample([[0.25, 1.0, 0.5, 0.0, 0.25]] * 8, Given(np.random.PCG64(0)))
    assert drawn.tolist() == [0, 0, 1, 1, 2, 2, 4, 4]


def test_of_classes_that_are_as_likely_the_first_ones_are_the_likeliest():
    y = [[0.1, 0.3, 0.3, 0.3]] * 1000
    assert set(CrossEntropy().sample(y, 0, temperature=0)) == {1}
    assert set(CrossEntropy().sample(y, 0, top_k=2)) == {1, 2}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_are_drawn_by_themselves(dtype):
    y = np.tile(np.array([0.0, 0.2, 0.5, 1.0], dtype), (20_000, 1))
    drawn = BinaryCrossEntropy().sample(y, 1)
    assert drawn.dtype == dtype
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn.mean(axis=0) == pytest.approx([0, 0.2, 0.5, 1], abs=0.02)
    sharper = BinaryCrossEntropy().sample(y, 1, temperature=0.5)
    assert sharper.mean(axis=0) == pytest.approx([0, 0.04 / 0.68, 0.5, 1], abs=0.02)
    assert BinaryCrossEntropy().sample(y[:1], 1, temperature=0).tolist() == [[0, 0, 0, 1]]


def test_counts_have_the_outputs_as_their_means():
    drawn = Poisson().sample(np.tile([0.0, 0.3, 40.0], (20_000, 1)), 2)
    assert (drawn == np.rint(drawn)).all()
    assert drawn.mean(axis=0) == pytest.approx([0, 0.3, 40], rel=0.03)
    assert drawn.var(axis=0) == pytest.approx([0, 0.3, 40], rel=0.05)


@pytest.mark.parametrize("name", ["squared_error", "huber", "quantile"])
def test_identity_outputs_are_the_draw(name):
    y = np.random.default_rng(0).normal(size=(3, 2))
    drawn = LOSSES[name]().sample(y, 0)
    assert (drawn == y).all()
    assert not np.shares_memory(drawn, y)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "poisson"])
def test_a_generator_goes_on_and_a_seed_begins_anew(name):
    loss, y = LOSSES[name](), np.full((50, 4), 0.25)
    rng = np.random.default_rng(5)
    first, second = loss.sample(y, rng), loss.sample(y, rng)
    assert (first == loss.sample(y, 5)).all()
    assert not (first == second).all()


@pytest.mark.parametrize(
    ("loss", "y", "options", "message"),
    [
        (SquaredError, [[1.0]], {"temperature": 0.5}, "temperature: expected no such option"),
        (CrossEntropy, [[1.0, 1.0]], {"bias": 1}, "bias: expected .* only temperature and top_k"),
        (Poisson, [[1.0]], {"top_k": 2}, "top_k: expected .* 'poisson' has no options"),
        (BinaryCrossEntropy, [[1.0]], {"top_k": 2}, "top_k: expected .* knows only temperature"),
        (CrossEntropy, [[1.0, 1.0]], {"temperature": "x"}, "temperature: expected a real number"),
        (CrossEntropy, [[1.0, 1.0]], {"top_k": 1.5}, "top_k: expected an integer"),
    ],
)
def test_options_that_a_loss_has_not_are_refused_by_name(loss, y, options, message):
    with pytest.raises(TypeError, match=message):
        loss().sample(y, 0, **options)


@pytest.mark.parametrize(
    ("loss", "y", "options", "message"),
    [
        (CrossEntropy, [[1.0, 1.0]], {"temperature": -1}, "temperature: expected a number >= 0"),
        (CrossEntropy, [[1.0, 1.0]], {"top_k": 3}, "top_k: expected an integer <= 2"),
        (CrossEntropy, [[1.0, 1.0]], {"top_k": 0}, "top_k: expected an integer >= 1"),
        (CrossEntropy, [[-0.1, 1.0]], {}, "y: expected probabilities.*-0.1"),
        (CrossEntropy, [[0.0, 0.0]], {}, "y: expected probabilities.*got 0"),
        (CrossEntropy, [0.5, 0.5], {}, r"y: expected shape \(B, K\)"),
        (CrossEntropy, [[np.nan, 0.5]], {}, "y: expected outputs that are numbers, got nan"),
        (SquaredError, [[np.nan, 0.5]], {}, "y: expected outputs that are numbers, got nan"),
        (BinaryCrossEntropy, [[1.5]], {}, "y: expected probabilities from 0 to 1, got 1.5"),
        (Poisson, [[-1.0]], {}, "y: expected means from 0 to 9.2e.18, got -1"),
        (Poisson, [[1e19]], {}, "y: expected means .* got 1e.19"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(loss, y, options, message):
    with pytest.raises(ValueError, match=message):
        loss().sample(y, 0, **options)


def test_what_is_no_seed_is_refused_by_name():
    with pytest.raises(TypeError, match="rng: expected None, an integer"):
        CrossEntropy().sample([[0.5, 0.5]], "x")


def test_a_loss_of_ones_own_says_how_targets_are_drawn():
    class Own(Loss):
        name, output = "own", "softmax"

    with pytest.raises(NotImplementedError, match=r"loss: .* got Own\(\) with softmax outputs"):
        Own().sample([[0.5, 0.5]], 0)

    class Inherits(lc.losses.CrossEntropy):
        name = "inherits"

    assert Inherits().sample([[0.0, 1.0]], 0) == 1


def test_no_rows_are_no_draws():
    assert CrossEntropy().sample(np.zeros((0, 3)), 0).shape == (0,)
    assert Poisson().sample(np.zeros((0, 3)), 0).shape == (0, 3)

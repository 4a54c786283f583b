"""Mistakes in calls of `Network.generate`, each refused by the argument's name and the way out."""

import numpy as np
import pytest

import lstmcore as lc


def text_network(**options):
    return lc.Network([lc.LSTM(5, 4, tokens=True), lc.Dense(4, 5)], "cross_entropy", **options)


def numbers_network(loss="squared_error", inputs=2, outputs=2):
    return lc.Network([lc.LSTM(inputs, 4), lc.Dense(4, outputs)], loss)


STATE = ((np.zeros((2, 4)), np.zeros((2, 4))), ())

OF_TOKENS = {
    "temperature below 0": ({"temperature": -0.5}, ValueError, "temperature: expected a number >="),
    "next to 0": ({"temperature": 1e-9}, ValueError, "temperature: expected 0, or .*likeliest"),
    "no number": ({"temperature": "hot"}, TypeError, "temperature: expected a real number"),
    "NaN": ({"temperature": np.nan}, ValueError, "temperature: expected a finite number"),
    "top_k above K": ({"top_k": 6}, ValueError, "top_k: expected an integer <= 5, got 6"),
    "top_k of none": ({"top_k": 0}, ValueError, "top_k: expected an integer >= 1, got 0"),
    "half a class": ({"top_k": 1.5}, TypeError, "top_k: expected an integer"),
    "steps below 0": ({"steps": -1}, ValueError, "steps: expected an integer >= 0"),
    "a fraction of steps": ({"steps": 2.5}, TypeError, "steps: expected an integer"),
    "no steps": ({"steps": None}, TypeError, "steps: expected an integer, got None"),
    "n of none": ({"n": 0}, ValueError, "n: expected an integer >= 1"),
    "no seed": ({"rng": "x"}, TypeError, "rng: expected None, an integer"),
    "no beginning": ({"start": None}, ValueError, "start: expected the token .* or prime="),
    "start beyond": ({"start": 5}, ValueError, "start: expected tokens from 0 to 4, got 5"),
    "a fraction of a token": ({"start": 0.5}, TypeError, "start: expected integer tokens"),
    "no starts": ({"start": []}, ValueError, "start: expected at least one sequence"),
    "prime beyond": ({"prime": [1, 7]}, ValueError, "prime: expected tokens from 0 to 4, got 7"),
    "a list beyond": ({"prime": [[1], [2, 9]]}, ValueError, r"prime\[1\]: expected tokens .* 9"),
    "empty prime": (
        {"start": None, "prime": []},
        ValueError,
        "prime: expected a step or more, for there is no start=",
    ),
    "an empty one": ({"start": None, "prime": [[1], []]}, ValueError, "prime: expected a step"),
    "text": ({"prime": "abc"}, ValueError, "prime: expected integer tokens .* got 'abc'"),
    "a token": ({"prime": 3}, ValueError, r"prime: expected integer tokens of shape \(T,\)"),
    "numbers": ({"prime": [0.5]}, TypeError, "prime: expected integer tokens"),
    "counts that differ": (
        {"start": [1, 2], "prime": [[1], [2], [3]]},
        ValueError,
        "prime: expected as many sequences as start of 2, got 3",
    ),
    "n and others": ({"start": [1, 2], "n": 3}, ValueError, "start: expected .* as n=3, got 2"),
    "state and others": (
        {"start": [1, 2, 3], "state": STATE},
        ValueError,
        "state: expected as many sequences as start of 3, got 2",
    ),
    "state of another": ({"state": ((), ())}, ValueError, r"state\[0\]: expected a tuple of len"),
    "state of half": ({"state": STATE[:1]}, ValueError, "state: expected a tuple of length 2"),
    "shape of state": (
        {"state": ((np.zeros(4), np.zeros(5)), ())},
        ValueError,
        r"state\[0\]\[1\]: expected shape \(4,\), got \(5,\)",
    ),
    "features": ({"features": [1.0]}, ValueError, "features: expected None .*initial=F"),
    "stop beyond": ({"stop": 5}, ValueError, "stop: expected tokens from 0 to 4, got 5"),
    "stop of none": ({"stop": []}, ValueError, "stop: expected a class, several or a function"),
    "stop of text": ({"stop": "x"}, TypeError, "stop: expected integer tokens"),
    "stop says nothing": ({"stop": lambda token: None}, TypeError, r"stop\(draw\): expected True"),
    "no function": ({"feed": 3}, TypeError, "feed: expected a function .* got 3"),
    "fed beyond": (
        {"feed": lambda draw, step: 9},
        ValueError,
        r"feed\(draw, 0\): expected tokens from 0 to 4, got 9",
    ),
    "fed too many": (
        {"feed": lambda draw, step: [1, 2]},
        ValueError,
        r"feed\(draw, 0\): expected the inputs of 1 sequences, got those of 2",
    ),
    "an option of no loss": (
        {"bias": 0.5},
        TypeError,
        "bias: expected no such option, .*'cross_entropy' knows only temperature and top_k",
    ),
    "no flag": ({"return_state": 1}, TypeError, "return_state: expected True or False"),
    "nor this": ({"return_log_prob": "y"}, TypeError, "return_log_prob: expected True or False"),
}


@pytest.mark.parametrize("case", OF_TOKENS)
def test_a_mistake_with_tokens_is_refused_by_name(case):
    options, error, message = OF_TOKENS[case]
    arguments = {"start": 0, "steps": 3} | options
    with pytest.raises(error, match=message):
        text_network(seed=0).generate(**arguments)


OF_NUMBERS = {
    "temperature": ({"temperature": 0.5}, TypeError, "temperature: .*'squared_error' has no opt"),
    "top_k": ({"top_k": 1}, TypeError, "top_k: expected no such option"),
    "start": ({"start": [1.0]}, ValueError, r"start: expected shape \(2,\) or \(B, 2\)"),
    "infinity": ({"start": [1.0, np.inf]}, ValueError, "start: expected finite numbers, got inf"),
    "prime": (
        {"prime": [[1.0]]},
        ValueError,
        r"prime: expected numbers of shape \(T, 2\) or",
    ),
    "one axis": (
        {"prime": [1.0, 2.0]},
        ValueError,
        r"prime: expected numbers of shape \(T, 2\) or",
    ),
    "NaN": ({"prime": [[1.0, np.nan]]}, ValueError, "prime: expected finite numbers, got nan"),
    "stop": ({"stop": 3}, TypeError, "stop: expected a function .*'squared_error'.* got 3"),
    "log_prob": ({"return_log_prob": True}, ValueError, "return_log_prob: expected False"),
    "fed": (
        {"feed": lambda draw, step: [1.0]},
        ValueError,
        r"feed\(draw, 0\): expected shape \(2,\) or \(B, 2\)",
    ),
    "fed NaN": (
        {"feed": lambda draw, step: [np.nan, 0]},
        ValueError,
        r"feed\(draw, 0\): expected finite numbers, got nan",
    ),
}


@pytest.mark.parametrize("case", OF_NUMBERS)
def test_a_mistake_with_numbers_is_refused_by_name(case):
    options, error, message = OF_NUMBERS[case]
    arguments = {"start": None, "steps": 3} | options
    with pytest.raises(error, match=message):
        numbers_network().generate(**arguments)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (numbers_network(outputs=3), "draws of 2 numbers, .* got 3 .*'squared_error'; feed="),
        (numbers_network("poisson", 4), "draws of 4 numbers, .* got 2 .*'poisson'; feed="),
        (numbers_network(lc.losses.Quantile([0.1, 0.9]), 1), "draws of 1 numbers, .* got 2"),
        (numbers_network("cross_entropy"), r"tokens=True or an Embedding.*LSTM\(2, 4\); feed="),
        (
            lc.Network([lc.Embedding(3, 2), lc.Dense(2, 4)], "cross_entropy"),
            "no more classes than tokens, .* got 4 outputs and 3 inputs; feed=",
        ),
    ],
)
def test_outputs_that_cannot_be_inputs_are_refused_with_their_sizes(net, message):
    with pytest.raises(ValueError, match=f"net: expected .*{message}"):
        net.generate(None, 3, rng=0)


@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_a_network_that_reads_ahead_is_refused_with_the_reason(direction):
    layers = [lc.LSTM(5, 4, tokens=True, direction=direction)]
    net = lc.Network([*layers, lc.Dense(layers[0].output_size, 5)], "cross_entropy")
    with pytest.raises(ValueError, match="generate: expected whole sequences, for layers"):
        net.generate(0, 3)


def test_features_are_asked_for_by_name():
    net = text_network(seed=0, initial=2)
    for features, message in [
        (None, r"features: expected numbers of shape \(2,\)"),
        ([1.0], r"features: expected shape \(2,\), got \(1,\)"),
        ([[1.0, 2.0]] * 3, "features: expected as many sequences as start of 2, got 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            net.generate([0, 1] if np.ndim(features) == 2 else 0, 3, features=features)


def test_classes_may_be_fewer_than_tokens():
    net = lc.Network([lc.LSTM(6, 4, tokens=True), lc.Dense(4, 5)], "cross_entropy", seed=0)
    assert net.generate(5, 50, rng=0).max() < 5


@pytest.mark.parametrize("temperature", [0, 0.5, 1])
def test_outputs_that_are_not_numbers_are_refused_with_the_step(temperature):
    net = text_network(seed=0)
    net.blocks["1.b"][2] = np.nan
    with pytest.raises(ValueError, match="net: expected outputs that are numbers, got NaN at step"):
        net.generate(0, 3, rng=0, temperature=temperature)


def test_numbers_that_grow_without_bound_are_refused_with_the_step():
    net = lc.Network([lc.Dense(1, 1)])
    net.params = [1e100, 0]
    with pytest.raises(ValueError, match="net: expected finite outputs, got inf at step 3"):
        net.generate([1.0], 6)
    net = lc.Network([lc.Dense(1, 1)], "poisson")
    net.params = [50.0, 0]
    with pytest.raises(ValueError, match="y: expected means from 0"):
        net.generate([1.0], 6, rng=0)


def test_a_loss_that_does_not_say_how_targets_are_drawn_is_refused():
    class Own(lc.losses.Loss):
        name, output = "own", "logistic"

    with pytest.raises(NotImplementedError, match="loss: expected one that says how targets"):
        numbers_network(Own()).generate(None, 3)


def test_options_of_a_loss_of_ones_own_go_to_its_draws():
    class Noisy(lc.losses.SquaredError):
        name = "noisy"

        def sample(self, y, rng, *, sigma=0.0, **options):
            self._refuse_options(options, ("sigma",))
            return y + sigma * rng.standard_normal(y.shape)

    net, plain = numbers_network(Noisy()), numbers_network()
    plain.params = net.params
    assert (net.generate([1, 1], 4, rng=0) == plain.generate([1, 1], 4)).all()
    assert not (net.generate([1, 1], 4, rng=0, sigma=0.1) == plain.generate([1, 1], 4)).any()
    with pytest.raises(TypeError, match=r"bias: expected no such option, .* knows only sigma"):
        net.generate([1, 1], 4, bias=1)


def test_draws_of_a_loss_of_ones_own_may_be_classes():
    class Likeliest(lc.losses.CrossEntropy):
        name = "likeliest"

        def sample(self, y, rng, **options):
            return np.argmax(y, axis=1)

    net = lc.Network([lc.LSTM(5, 4, tokens=True), lc.Dense(4, 5)], Likeliest(), seed=0)
    plain = text_network(seed=0)
    wanted = plain.generate(0, 9, temperature=0)
    assert (net.generate(0, 9, rng=0) == wanted).all()
    assert (net.generate([0, 0], 9, rng=0)[1] == wanted).all()

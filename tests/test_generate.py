"""`Network.generate`: what the outputs stand for is the next input."""

import threading

import numpy as np
import pytest
import zoo
from helpers import same_bits

import lstmcore as lc
from lstmcore._dispatch import kernels
from lstmcore.losses._draws import draw_classes

V = zoo.INPUTS
CELLS = {name: entry for name, entry in zoo.STREAMS.items() if entry.is_recurrent}


def of_tokens(name, **options):
    """A network of the zoo that reads tokens and gives probabilities of them."""
    net = zoo.taking_tokens(zoo.network(name, outputs=V, loss="cross_entropy", **options))
    net.params[...] *= 1.5
    return net


def text_network(size=7, units=12, dtype="float64", **options):
    layers = [lc.LSTM(size, units, tokens=True), lc.Dense(units, size)]
    net = lc.Network(layers, "cross_entropy", dtype=dtype, seed=0, **options)
    net.params[...] = np.random.default_rng(1).normal(scale=0.7, size=net.params.size)
    return net


def with_identity_outputs(net):
    return lc.Network._of(net.options | {"loss": "squared_error"}, net.params)


def in_python(net, start, uniform, *, temperature=1.0, top_k=None):
    """The loop that `generate` is, for the uniform numbers (B, T)."""
    stream = with_identity_outputs(net).stream(len(start))
    draws = []
    for u in uniform.T:
        y = stream(start) / net.dtype.type(temperature)
        kernels.output_units(2, y, y)
        start = draw_classes(y, u, 1.0, top_k)
        draws.append(start)
    return np.stack(draws, axis=1)


# ---------------------------------------------------------------------------- the drawn classes


@zoo.cases(CELLS)
def test_tokens_are_those_of_a_loop_of_steps_and_draws(name, readout, dtype):
    net = of_tokens(name, readout=readout, dtype=dtype)
    start = np.arange(5) % V
    wanted = in_python(net, start, np.random.default_rng(3).random((5, 12)))
    assert (net.generate(start, 12, rng=3) == wanted).all()


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.5}, {"temperature": 2.5}, {"top_k": 2}, {"top_k": 5, "temperature": 1.7}],
    ids=str,
)
def test_temperature_and_top_k_are_those_of_the_loop(options, dtype):
    net = text_network(dtype=dtype)
    start = np.arange(4)
    wanted = in_python(net, start, np.random.default_rng(3).random((4, 60)), **options)
    assert (net.generate(start, 60, rng=3, **options) == wanted).all()


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_temperature_0_takes_the_likeliest_and_draws_no_numbers(dtype):
    net = text_network(dtype=dtype)
    rng = np.random.default_rng(0)
    drawn = net.generate(2, 30, rng=rng, temperature=0)
    assert rng.random() == np.random.default_rng(0).random()
    inputs = np.append(2, drawn[:-1])
    assert (net.predict(inputs[None])[0].argmax(axis=1) == drawn).all()
    assert (net.generate(2, 30, top_k=1) == drawn).all()


def table_network(probabilities, dtype="float64"):
    """Whatever the token, these probabilities are the outputs."""
    layer = lc.Embedding(len(probabilities), len(probabilities))
    net = lc.Network([layer], "cross_entropy", dtype=dtype)
    with np.errstate(divide="ignore"):
        net.blocks["0.W"][...] = np.maximum(np.log(probabilities), -1e4)[:, None]
    return net


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_the_likeliest_of_equals_are_those_with_the_lowest_numbers(size, dtype):
    rng = np.random.default_rng(size)
    for _ in range(20):
        weights = rng.integers(0, 5, 100).astype(float)
        net = table_network(weights, dtype)
        y = np.tile(net.predict([[0]])[0], (200, 1))
        uniform = np.random.default_rng(0).random((1, 200))
        wanted = draw_classes(y, uniform[0], 1.0, size)
        assert (net.generate(0, 200, rng=0, top_k=size) == wanted).all()
        likeliest = np.argsort(-y[0], kind="stable")[:size]
        assert np.isin(wanted, likeliest).all()
        assert net.generate(0, 1, temperature=0) == likeliest[0]


def test_a_uniform_number_near_1_draws_the_last_class_that_has_any_probability():
    class Near1(np.random.Generator):
        def random(self, size):
            return np.full(size, 1 - 2**-53)

    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = np.append(rng.random(6), [0, 0])
        net = table_network(weights)
        assert net.generate(0, 1, rng=Near1(np.random.PCG64(0))) == 5


def test_log_probabilities_are_those_of_the_text():
    net = text_network()
    drawn, log_prob = net.generate(3, 40, rng=0, n=2, return_log_prob=True)
    inputs = np.concatenate([np.full((2, 1), 3), drawn[:, :-1]], axis=1)
    assert log_prob.shape == (2, 40)
    assert -log_prob.sum() == pytest.approx(net.loss(inputs, drawn, reduction="sum"), rel=1e-12)

    _, sharper = net.generate(3, 40, rng=0, temperature=0.5, top_k=3, return_log_prob=True)
    assert sharper.shape == (40,)
    drawn = net.generate(3, 40, rng=0, temperature=0.5, top_k=3)
    y = net.predict(np.append(3, drawn[:-1])[None])[0] ** 2
    y[y < np.sort(y, axis=1)[:, -3:-2]] = 0
    wanted = np.log(y[np.arange(40), drawn] / y.sum(axis=1))
    assert sharper == pytest.approx(wanted, rel=1e-9)
    assert (net.generate(3, 5, temperature=0, return_log_prob=True)[1] == 0).all()


# --------------------------------------------------------------------- sequences and their ends


@zoo.cases(CELLS, readouts=("all", "mean"))
def test_sequences_together_are_those_of_calls_one_after_the_other(name, readout, dtype):
    net = of_tokens(name, readout=readout, dtype=dtype)
    for stop in (None, [0, 2], lambda token: token == 1):
        rng, other = np.random.default_rng(7), np.random.default_rng(7)
        together, together_state = net.generate(1, 9, rng=rng, n=6, stop=stop, return_state=True)
        for b in range(6):
            alone, state = net.generate(1, 9, rng=other, stop=stop, return_state=True)
            assert (together[b] == alone).all()
            for mine, wanted in zip(together_state, state, strict=True):
                for values, value in zip(mine, wanted, strict=True):
                    same_bits(values[b], value)


def test_a_sequence_ends_with_its_stop():
    net = text_network()
    whole = net.generate(0, 200, rng=0, n=5)
    for stop in (4, [4], {4}, np.array([4]), lambda token: token == 4):
        ended = net.generate(0, 200, rng=0, n=5, stop=stop)
        for text, part in zip(whole, ended, strict=True):
            end = int(np.argmax(text == 4)) + 1
            assert (part == text[:end]).all()
    several = net.generate(0, 200, rng=0, stop=(4, 5))
    assert several[-1] in (4, 5)
    assert not np.isin(several[:-1], (4, 5)).any()
    never = net.generate(0, 200, rng=0, n=2, stop=lambda token: False)
    assert (np.array(never) == whole[:2]).all()
    text, log_prob = net.generate(0, 200, rng=0, stop=4, return_log_prob=True)
    assert text.shape == log_prob.shape


@zoo.cases(CELLS, readouts=("all", "last", "mean", "max"))
def test_the_state_after_the_last_draw_goes_on(name, readout, dtype):
    net = of_tokens(name, readout=readout, dtype=dtype)
    whole, end = net.generate(1, 20, rng=4, return_state=True)
    rng = np.random.default_rng(4)
    first, state = net.generate(1, 8, rng=rng, return_state=True)
    second, state = net.generate(first[-1], 12, rng=rng, state=state, return_state=True)
    assert (np.concatenate([first, second]) == whole).all()
    wanted = net.predict(np.append(1, whole[:-1])[None], return_state=True)[1]
    for mine, again, given in zip(state, end, wanted, strict=True):
        for values, others, value in zip(mine, again, given, strict=True):
            same_bits(values, value[0])
            same_bits(others, value[0])


def test_a_prime_is_run_first():
    net = text_network()
    prime = [3, 1, 4, 1, 5]
    wanted = net.generate(None, 20, rng=0, prime=prime)
    assert (net.generate(5, 20, rng=0, prime=prime[:-1]) == wanted).all()
    state = net.predict([prime[:-1]], return_state=True)[1]
    assert (net.generate([5], 20, rng=0, state=state)[0] == wanted).all()
    half = net.predict([prime[:2]], return_state=True)[1]
    assert (net.generate(5, 20, rng=0, state=half, prime=prime[2:-1])[0] == wanted).all()
    assert (net.generate(None, 20, rng=0, prime=prime, n=1)[0] == wanted).all()
    assert (net.generate(None, 20, rng=0, prime=np.array([prime]))[0] == wanted).all()


def test_a_long_prime_has_the_state_of_one_call():
    net = text_network()
    prime = np.random.default_rng(0).integers(0, 7, 3000)
    state = net.predict(prime[None, :-1], return_state=True)[1]
    wanted = net.generate(prime[-1:], 10, rng=0, state=state)[0]
    assert (net.generate(None, 10, rng=0, prime=prime) == wanted).all()


def test_each_sequence_has_its_own_beginning():
    net = text_network()
    primes = [[1, 2, 3], [4], [5, 6]]
    drawn = net.generate(None, 15, rng=0, prime=primes)
    rng = np.random.default_rng(0)
    for prime, text in zip(primes, drawn, strict=True):
        assert (net.generate(None, 15, rng=rng, prime=prime) == text).all()
    rng = np.random.default_rng(0)
    for token, text in enumerate(net.generate([0, 1, 2], 15, rng=0, prime=[6, 6])):
        assert (net.generate(token, 15, rng=rng, prime=[6, 6]) == text).all()
    _, state = net.generate([0, 1], 4, rng=0, return_state=True)
    for text in (
        net.generate(3, 15, rng=0, state=state, prime=[2]),
        net.generate(3, 15, rng=0, state=state, prime=[[2], [2]], n=2),
        net.generate([3, 3], 15, rng=0, state=state, prime=[2]),
    ):
        assert (text == net.generate([3, 3], 15, rng=0, state=state, prime=[[2]] * 2)).all()


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("readout", ["all", "mean"])
def test_sequences_begin_with_the_state_of_their_features(readout, dtype):
    net = text_network(dtype=dtype, initial=3, readout=readout)
    features = np.random.default_rng(2).normal(size=(3, 3))
    drawn = net.generate(1, 9, rng=0, features=features, prime=[4, 2])
    stream, rng = net.stream(3, features=features), np.random.default_rng(0)
    for token in (4, 2):
        stream(np.full(3, token))
    assert (net.generate(1, 9, rng=0, state=stream.state) == drawn).all()
    for b in range(3):
        alone = net.generate(1, 9, rng=rng, features=features[b], prime=[4, 2])
        assert (alone == drawn[b]).all()
    unprimed = net.generate(1, 9, rng=0, features=features)
    stream.reset(features)
    assert (net.generate(1, 9, rng=0, state=stream.state) == unprimed).all()
    # given states go before
    assert (net.generate(1, 9, rng=0, state=stream.state, features=features) == unprimed).all()
    same = net.generate(1, 9, rng=0, features=features[0], n=2)
    assert (same == net.generate(1, 9, rng=0, features=features[[0, 0]])).all()


def test_no_steps_are_an_empty_sequence():
    net = text_network()
    assert net.generate(0, 0).shape == (0,)
    assert net.generate(0, 0, n=3).shape == (3, 0)
    assert [len(text) for text in net.generate(0, 0, n=3, stop=1)] == [0, 0, 0]
    assert numbers_network().generate(None, 0).shape == (0, 2)
    assert numbers_network("poisson").generate(None, 0, n=2).shape == (2, 0, 2)


# --------------------------------------------------------------------------------------- numbers


def numbers_network(loss="squared_error", size=2, outputs=2, **options):
    net = lc.Network([lc.LSTM(size, 9), lc.Dense(9, outputs)], loss, seed=0, **options)
    net.params[...] = np.random.default_rng(0).normal(scale=0.6, size=net.params.size)
    return net


@zoo.cases(zoo.STREAMS)
def test_outputs_are_fed_back(name, readout, dtype):
    net = zoo.network(name, outputs=V, readout=readout, dtype=dtype)
    start = np.random.default_rng(1).normal(size=(3, V)).astype(dtype)
    drawn, state = net.generate(start, 8, return_state=True)
    inputs = np.concatenate([start[:, None], drawn[:, :-1]], axis=1)
    y, wanted = net.predict(inputs, return_state=True)
    same_bits(drawn if readout == "all" else drawn[:, -1], y)
    for mine, given in zip(state, wanted, strict=True):
        for values, value in zip(mine, given, strict=True):
            same_bits(values, value)
    one_by_one = net.generate(start, 8, feed=lambda draw, step: draw)
    same_bits(one_by_one, drawn)
    same_bits(net.generate(start[1:2], 8), drawn[1:2])


def test_numbers_begin_with_zero_or_go_on_from_a_prime():
    net = numbers_network()
    same_bits(net.generate(None, 5), net.generate([0.0, 0.0], 5))
    X = np.random.default_rng(0).normal(size=(2, 30, 2))
    drawn = net.generate(None, 5, prime=X)
    y = net.predict(np.concatenate([X, drawn[:, :-1]], axis=1))
    same_bits(drawn, y[:, 29:])
    same_bits(net.generate(None, 5, prime=X[0]), drawn[0])
    unequal = net.generate(None, 5, prime=[X[0], X[1, :7]])
    same_bits(unequal[1], net.generate(None, 5, prime=X[1, :7]))


@pytest.mark.parametrize("loss", ["poisson", "binary_cross_entropy", "huber"])
def test_draws_of_other_losses_are_fed_back(loss):
    net = numbers_network(loss)
    net.params[...] *= 0.3
    drawn = net.generate([0.0, 1.0], 12, rng=5, n=3)
    stream, x, rng = net.stream(3), np.tile([0.0, 1.0], (3, 1)), np.random.default_rng(5)
    for t in range(12):
        x = net._loss.sample(stream(x), rng)
        assert (x == drawn[:, t]).all()


def test_labels_have_a_temperature():
    net = numbers_network("binary_cross_entropy")
    drawn = net.generate(None, 50, temperature=0)
    y = net.predict(np.concatenate([np.zeros((1, 2)), drawn[:-1]])[None])[0]
    assert (drawn == (y > 0.5)).all()


def test_a_function_says_where_numbers_stop():
    net = numbers_network()
    whole = net.generate(None, 30, prime=[[1.0, 2.0]])
    limit = np.sort(whole[:, 0])[20]
    ended = net.generate(None, 30, prime=[[1.0, 2.0]], stop=lambda draw: draw[0] > limit)
    assert len(ended) == int(np.argmax(whole[:, 0] > limit)) + 1
    same_bits(ended, whole[: len(ended)])


def test_a_function_makes_inputs_of_draws():
    hours = np.arange(10) / 10

    # an output beside an input that is known beforehand
    net = numbers_network(size=3)
    drawn = net.generate([0.1, 0.2, 0.0], 9, feed=lambda draw, step: [*draw, hours[step + 1]])
    inputs = np.column_stack([np.vstack([[0.1, 0.2], drawn[:-1]]), hours[:9]])
    same_bits(drawn, net.predict(inputs[None])[0])

    # classes of a network that takes numbers
    layers = [lc.LSTM(7, 6), lc.Dense(6, 7)]
    net = lc.Network(layers, "cross_entropy", seed=0)
    drawn, log_prob = net.generate(
        np.eye(7)[[0, 0]], 9, rng=0, feed=lambda draw, step: np.eye(7)[draw], return_log_prob=True
    )
    other = lc.Network([lc.LSTM(7, 6, tokens=True), lc.Dense(6, 7)], "cross_entropy")
    other.params = net.params
    wanted = other.generate(0, 9, rng=0, n=2, return_log_prob=True)
    assert (drawn == wanted[0]).all()
    same_bits(log_prob, wanted[1])

    # tokens that are others
    def shifted(draw, step):
        return (draw + 1) % 7

    drawn, log_prob = other.generate([1, 2], 30, rng=0, stop=3, feed=shifted, return_log_prob=True)
    for token, text, p in zip([1, 2], drawn, log_prob, strict=True):
        y = other.predict([np.append(token, shifted(text[:-1], 0))])[0]
        same_bits(p, np.log(y[np.arange(len(text)), text] / y.cumsum(axis=1)[:, -1]))
        assert 3 not in text[:-1]


def test_tokens_come_beside_numbers():
    layers = [lc.MixedEmbedding([5], [4], n_numbers=1), lc.GRU(5, 6), lc.Dense(6, 5)]
    net = lc.Network(layers, "cross_entropy", seed=0)
    hours = np.arange(20) / 20
    prime = np.column_stack([[3, 1, 4], hours[:3]])
    drawn, log_prob = net.generate(
        None, 9, rng=0, prime=prime, feed=lambda draw, t: [draw, hours[t + 3]], return_log_prob=True
    )
    inputs = np.vstack([prime, np.column_stack([drawn[:-1], hours[3:11]])])
    assert -log_prob.sum() == pytest.approx(
        net.loss(inputs[None], [[0, 0, *drawn]], step_weight=[[0, 0] + [1] * 9], reduction="sum")
    )
    both = net.generate(
        None,
        9,
        rng=0,
        n=2,
        prime=prime,
        feed=lambda draw, t: np.column_stack([draw, [hours[t + 3]] * 2]),
    )
    assert (both[0] == drawn).all()
    with pytest.raises(ValueError, match="prime: expected"):
        net.generate(None, 9, prime=[[7, 0.5]], feed=lambda draw, t: [draw, 0.5])


# ------------------------------------------------------------------------------------- promises


def test_any_number_of_threads_may_generate_at_once():
    net = text_network(units=64)
    wanted = [net.generate(0, 2000, rng=seed) for seed in range(4)]
    drawn = [None] * 4

    def draw(seed):
        drawn[seed] = net.generate(0, 2000, rng=seed)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((a == b).all() for a, b in zip(drawn, wanted, strict=True))


def test_nothing_that_is_given_is_written_to():
    net = numbers_network()
    X, start = np.ones((2, 4, 2)), np.zeros((2, 2))
    _, state = net.generate(start, 3, prime=X, return_state=True)
    given = [X, start, *(values for entry in state for values in entry), net.params]
    copies = [values.copy() for values in given]
    net.generate(start, 3, prime=X, state=state)
    tokens, text = np.array([1, 2]), text_network()
    text.generate(tokens, 5, rng=0)
    text.generate(tokens, 5, rng=0, stop=lambda token: False)
    assert tokens.tolist() == [1, 2]
    assert all((a == b).all() for a, b in zip(given, copies, strict=True))

"""What another thread does to an array while a call reads it: numbers may race, memory may not."""

import re
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.sequences import make_batch

# of NumPy, which is about to forbid what some tests do
pytestmark = pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")

FLOAT = np.dtype(np.float64)
BEYOND = 1 << 40


@contextmanager
def another_thread(write, moment):
    """Within, `write` is called before line number `moment` of the package is run.

    Yields a list that holds the moment when it has come.
    """
    lines, came = 0, []

    def trace(frame, event, argument):
        nonlocal lines
        if not frame.f_globals["__name__"].startswith("lstmcore"):
            return None
        if event == "line":
            if lines == moment:
                write()
                came.append(moment)
            lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield came
    finally:
        sys.settrace(before)


def at_every_line(make, call):
    """The results of ``call(array)`` with a write to the array before any one of its lines.

    `make` gives the array and the write; a ValueError that names the argument is a right answer.
    """
    moment = 0
    while True:
        array, write = make()
        with another_thread(write, moment) as came:
            try:
                result = call(array)
            except ValueError as error:
                assert re.match(r"(X(\[\d\])?|lengths|mask): expected", str(error))
            else:
                yield result
        if not came:
            return
        moment += 1


def tokens(dtype):
    def make():
        array = np.zeros((3, 4), dtype)
        return array, lambda: array.fill(np.iinfo(dtype).max)

    return make


MASK = np.array([[1, 0, 1, 0]] * 3, bool)


@pytest.mark.parametrize("dtype", [np.intp, np.int32, np.uint64])
@pytest.mark.parametrize(
    "form",
    [
        lambda X: make_batch(X, 5, FLOAT, tokens=True),
        lambda X: make_batch(X, 5, FLOAT, lengths=[4, 0, 2], tokens=True),
        lambda X: make_batch(X, 5, FLOAT, mask=MASK, tokens=True),
        lambda X: make_batch(list(X), 5, FLOAT, tokens=True),
    ],
    ids=["array", "lengths", "mask", "list"],
)
def test_tokens_are_those_that_were_checked(form, dtype):
    batches = list(at_every_line(tokens(dtype), form))
    assert len(batches) > 1
    for batch in batches:
        assert (batch.x.values == 0).all()


@pytest.mark.parametrize("dtype", [np.intp, np.int32, np.uint64])
def test_lengths_are_those_that_were_checked(dtype):
    def make():
        array = np.array([2, 4, 1], dtype)
        return array, lambda: array.fill(np.iinfo(dtype).max)

    batches = list(at_every_line(make, lambda n: make_batch(np.zeros((3, 4, 2)), 2, FLOAT, n)))
    assert len(batches) > 1
    for batch in batches:
        assert list(batch.lengths) == [2, 4, 1]


def test_lengths_are_those_of_the_mask():
    def make():
        array = np.array([[True, False, True], [True, True, False]])
        return array, lambda: array.fill(True)

    X = np.arange(6.0).reshape(2, 3, 1)
    for batch in at_every_line(make, lambda mask: make_batch(X, 1, FLOAT, mask=mask)):
        assert list(batch.lengths) in ([2, 2], [3, 3])
        assert batch.mask is None or (batch.mask.sum(axis=1) == batch.lengths).all()


@pytest.mark.parametrize("shape", [(4, 3, 2), (2, 12), (1, 2, 12), (24,)])
def test_the_shape_of_a_batch_is_that_which_was_checked(shape):
    def make():
        array = np.zeros((2, 6, 2))
        return array, lambda: setattr(array, "shape", shape)

    batches = list(at_every_line(make, lambda X: make_batch(X, 2, FLOAT)))
    assert len(batches) > 1
    for batch in batches:
        assert batch.x.values.shape in ((2, 6, 2), (4, 3, 2))
        assert batch.x.values.shape == (batch.size, batch.max_length, 2)


@pytest.mark.parametrize("shape", [(4, 3, 2), (2, 12), (1, 2, 12), (24,)])
def test_predictions_are_of_one_of_the_shapes(shape):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0)

    def make():
        array = np.arange(24.0).reshape(2, 6, 2)
        return array, lambda: setattr(array, "shape", shape)

    first = make()[0]
    right = [net.predict(first), net.predict(first.reshape(4, 3, 2))]
    results = list(at_every_line(make, net.predict))
    assert len(results) > 1
    for y in results:
        assert any(np.array_equal(y, expected) for expected in right)


@pytest.mark.parametrize("shape", [(2, 12), (4, 3, 2), (2, 3, 4)])
def test_an_array_of_another_shape_is_not_read_as_it_stands(shape):
    net, X = lc.Network([lc.LSTM(2, 3)], seed=0), np.zeros((2, 6, 2))
    plain = net._parameters.packed().plain_pass(net._output)
    order, lengths = np.arange(2), np.full(2, 6)
    assert plain.shape_of(X) == (2, 6)
    assert plain(X, order, lengths, [1], np.empty).shape == (2, 6, 3)
    X.shape = shape
    assert plain(X, order, lengths, [1], np.empty) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: setattr(batch.ranked, "dtype", np.int8),
        lambda batch: setattr(batch.order, "shape", (1, 3)),
        lambda batch: setattr(batch.ranked, "shape", (3, 1)),
        lambda batch: setattr(batch.x.first, "shape", (3, 1)),
        lambda batch: setattr(batch.x.values, "shape", (3, 2, 8)),
        lambda batch: setattr(batch.x.values, "shape", (6, 2, 4)),
        lambda batch: setattr(batch.x.values, "shape", (3, 16)),
        lambda batch: setattr(batch.x.values, "shape", (48,)),
        lambda batch: setattr(batch.x.values, "dtype", np.float32),
    ],
)
def test_kernels_read_no_memory_beyond_arrays_in_users_hands(spoil):
    net = lc.Network([lc.LSTM(4, 3), lc.Dense(3, 1)], seed=0)
    objective = lc.Objective(net, np.zeros((3, 4, 4)), np.zeros((3, 4, 1)), lengths=[2, 4, 1])
    f, g = objective(net.params)
    spoil(objective.examples.batch)
    with pytest.raises((ValueError, IndexError)):
        net.evaluate(None, objective.examples)
    again, g_again = objective(net.params)  # it has array objects of its own
    assert again == f
    assert (g_again == g).all()

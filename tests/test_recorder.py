"""`Recorder`: history, best point and patience, and that its state is all of them."""

import numpy as np
import pytest

from lstmcore import _recorder
from lstmcore._recorder import COLUMNS, Recorder


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(_recorder.time, "perf_counter", lambda: now[0])
    return now


# The objective and the validation loss of the start and of eight iterations.
F = [9.0, 5.0, 6.0, 2.0, 3.0, 2.5, 2.25, 2.125, 2.0625]
V = [7.0, 8.0, 4.0, 4.0, 5.0, 6.0, 3.0, 3.5, 3.25]


def play(recorder, clock, rows, validates):
    """Record `rows`, half a second each, two evaluations each; patience after each."""
    patience = []
    for k in rows:
        clock[0] += 0.5
        x = np.full(3, float(k))
        recorder.offer(x, F[k], x + 1)
        recorder.record(x, F[k], x + 1, 2 * k + 1, V[k] if validates else None)
        patience.append(recorder.is_out_of_patience)
        x[:] = np.nan  # a method may use its array again
    return patience


@pytest.mark.parametrize("validates, best", [(False, 3), (True, 6)])
def test_it_keeps_the_history_and_the_best_point(validates, best, clock):
    recorder = Recorder(validates)
    assert len(recorder) == recorder.nit == 0 and recorder.best is None
    play(recorder, clock, range(9), validates)
    history = recorder.history()
    assert tuple(history) == tuple(c for c in COLUMNS if validates or c != "validation_loss")
    np.testing.assert_array_equal(history["loss"], F)
    np.testing.assert_array_equal(history["evaluations"], np.arange(1, 19, 2))
    np.testing.assert_allclose(history["gradient_norm"], np.sqrt(3) * np.arange(1, 10))
    np.testing.assert_array_equal(history["time"], np.arange(0.5, 5, 0.5))
    if validates:
        np.testing.assert_array_equal(history["validation_loss"], V)
    assert len(recorder) == 9 and recorder.nit == 8
    assert recorder.best["fun"] == F[best]
    np.testing.assert_array_equal(recorder.best["x"], np.full(3, best))


def test_an_evaluation_between_iterations_counts_only_without_validation():
    for validates, fun in ((False, 1.0), (True, 9.0)):
        recorder = Recorder(validates)
        recorder.record(np.zeros(3), 9.0, np.ones(3), 1, 7.0)
        recorder.offer(np.zeros(3), 9.0, np.ones(3))
        recorder.offer(np.ones(3), 1.0, np.ones(3))
        assert recorder.best["fun"] == fun


def test_patience_counts_iterations_since_the_lowest_validation_loss(clock):
    assert play(Recorder(True, patience=3), clock, range(9), True) == [
        False,
        False,
        False,
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert not any(play(Recorder(True), clock, range(9), True))


def test_a_validation_loss_that_is_no_number_is_never_the_lowest():
    recorder = Recorder(True, patience=2)
    for k, loss in enumerate([np.nan, np.nan, 1.0, np.nan]):
        recorder.record(np.full(3, float(k)), 9.0 - k, np.ones(3), k, loss)
        assert recorder.best["fun"] == {0: 9.0, 1: 9.0, 2: 7.0, 3: 7.0}[k]


@pytest.mark.parametrize("cut", [0, 1, 4, 7, 9])
@pytest.mark.parametrize("validates", [False, True])
def test_a_restored_run_goes_on_as_if_it_had_never_stopped(validates, cut, clock):
    whole = Recorder(validates, patience=3)
    expected = play(whole, clock, range(9), validates)

    first = Recorder(validates, patience=3)
    patience = play(first, clock, range(cut), validates)
    clock[0] += 0.25
    state = first.state()
    play(first, clock, range(cut, 9), validates)  # which must not reach the state
    clock[0] += 10_000  # nobody computes meanwhile
    second = Recorder(validates, patience=3)
    second.restore(state)
    clock[0] -= 0.25
    patience += play(second, clock, range(cut, 9), validates)

    assert patience == expected
    assert second.nit == whole.nit
    for name, column in whole.history().items():
        np.testing.assert_array_equal(second.history()[name], column)
        assert second.history()[name].dtype == column.dtype
    for name, value in whole.best.items():
        np.testing.assert_array_equal(second.best[name], value)
    final = second.state()
    assert set(final) == set(whole.state())


def test_a_bar_sees_every_iteration_but_not_the_start(clock):
    class Bar:
        shown = ()

        def show(self, nit, row):
            self.shown += ((nit, row["loss"]),)

    recorder = Recorder(False, bar=Bar())
    play(recorder, clock, range(3), False)
    assert Bar.shown == () and recorder._bar.shown == ((1, 5.0), (2, 6.0))

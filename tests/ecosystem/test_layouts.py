"""Sequences in the forms of other libraries, and windows of one long series."""

import numpy as np
import pytest

import lstmcore as lc

RNG = np.random.default_rng(0)
LENGTHS = [5, 3, 8]
SEQUENCES = [RNG.normal(size=(T, 2)) for T in LENGTHS]


def padded(fill):
    array = np.full((3, 8, 2), fill)
    for b, x in enumerate(SEQUENCES):
        array[b, : len(x)] = x
    return array


FORMS = {
    "a list": (SEQUENCES, "ntd", None),
    "a list of lists": ([x.tolist() for x in SEQUENCES], "ntd", None),
    "padded": (padded(0.0), "ntd", LENGTHS),
    "aeon and sktime, unequal": ([x.T for x in SEQUENCES], "ndt", None),
    "aeon and sktime, padded": (padded(0.0).swapaxes(1, 2), "ndt", LENGTHS),
    "tslearn": (padded(np.nan), "nan", None),
    "hmmlearn": (np.concatenate(SEQUENCES), "concatenated", LENGTHS),
}


@pytest.mark.parametrize("X, layout, lengths", FORMS.values(), ids=FORMS)
def test_every_form_is_the_same_list(X, layout, lengths):
    found = lc.as_sequences(X, layout, lengths)
    assert len(found) == 3
    for x, want in zip(found, SEQUENCES, strict=True):
        assert np.array_equal(x, want)


@pytest.mark.parametrize("layout", ["ntd", "ndt", "nan"])
def test_series_of_one_feature_may_lack_its_axis(layout):
    table = np.arange(6.0).reshape(2, 3)
    found = lc.as_sequences(table, layout)
    assert [x.shape for x in found] == [(3, 1), (3, 1)]
    assert found[1].ravel().tolist() == [3, 4, 5]
    assert [x.shape for x in lc.as_sequences([[1.0], [2.0, 3.0]], layout)] == [(1, 1), (2, 1)]


def test_no_lengths_are_one_sequence():
    steps = np.concatenate(SEQUENCES)
    (whole,) = lc.as_sequences(steps, "concatenated")
    assert np.array_equal(whole, steps)
    assert lc.as_sequences(steps[:, 0], "concatenated")[0].shape == (16, 1)


def test_nan_between_steps_stays():
    X = np.array([[1.0, np.nan, 2.0, np.nan]])
    (x,) = lc.as_sequences(X, "nan")
    assert len(x) == 3
    assert np.isnan(x[1])
    assert lc.as_sequences(np.full((1, 4, 2), np.nan), "nan")[0].shape == (0, 2)


def test_arrays_are_not_copied_and_keep_their_type():
    X = padded(0.0).astype(np.float32)
    found = lc.as_sequences(X, lengths=LENGTHS)
    assert all(np.shares_memory(x, X) and x.dtype == np.float32 for x in found)


WRONG = {
    "layout": (SEQUENCES, "tnd", None, "layout: expected one of ntd, ndt, nan, concatenated, got"),
    "text": (np.array([["a"]]), "ntd", None, "X: expected real numbers"),
    "one axis": (np.zeros(4), "ntd", None, "X: expected an array of two or three axes.*; layout"),
    "four axes": (np.zeros((1, 1, 1, 1)), "ntd", None, "X: expected an array of two or three axes"),
    "axes of a sequence": ([np.zeros((2, 2, 2))], "ndt", None, r"X\[0\]: expected shape \(D, T\)"),
    "lengths of NaN": (padded(np.nan), "nan", LENGTHS, "lengths: expected None with layout 'nan'"),
    "sum": (np.zeros((9, 2)), "concatenated", LENGTHS, "lengths: expected a sum of 9, .* got 16"),
    "too long": (padded(0.0), "ntd", [5, 3, 9], "lengths: expected 0 to 8, got 9"),
    "too few": (padded(0.0), "ntd", [5, 3], "lengths: expected 3 of them, .* got 2"),
    "no integers": (padded(0.0), "ntd", [5.0, 3.0, 8.0], "lengths: expected integers"),
    "axes of steps": (padded(0.0), "concatenated", LENGTHS, r"X: expected shape \(N, D\) with"),
}


@pytest.mark.parametrize("X, layout, lengths, message", WRONG.values(), ids=WRONG)
def test_what_is_refused(X, layout, lengths, message):
    with pytest.raises((ValueError, TypeError), match=message):
        lc.as_sequences(X, layout, lengths)


def test_windows_are_views_of_all_that_there_are():
    series = np.arange(20.0).reshape(10, 2)
    X, Y = lc.windows(series, length=4, horizon=2)
    assert X.shape == (5, 4, 2)
    assert Y.shape == (5, 2, 2)
    for k in range(5):
        assert np.array_equal(X[k], series[k : k + 4])
        assert np.array_equal(Y[k], series[k + 4 : k + 6])
    assert np.shares_memory(X, series)
    assert not X.flags.writeable


def test_windows_of_one_feature_have_its_axis_and_targets_have_none():
    X, Y = lc.windows(np.arange(5), length=4)
    assert X.shape == (1, 4, 1)
    assert Y.tolist() == [[4]]


def test_windows_that_are_not_there():
    with pytest.raises(ValueError, match=r"series: expected at least length . horizon = 6 steps"):
        lc.windows(np.arange(5.0), length=4, horizon=2)
    with pytest.raises(ValueError, match="length: expected an integer >= 1, got 0"):
        lc.windows(np.arange(5.0), length=0)
    with pytest.raises(ValueError, match=r"series: expected shape \(T,\) or \(T, D\)"):
        lc.windows(np.zeros((2, 2, 2)), length=1)

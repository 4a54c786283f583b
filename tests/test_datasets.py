"""The data sets are the published ones: sizes, ends and sums."""

import numpy as np

from lstmcore.datasets import load_japanese_vowels, load_sunspots


def test_japanese_vowels_are_as_published():
    data = load_japanese_vowels()
    assert (len(data.X_train), len(data.X_test)) == (270, 370)
    assert all(u.dtype == np.float64 and u.shape[1] == 12 for u in data.X_train + data.X_test)
    lengths = [len(u) for u in data.X_train + data.X_test]
    assert (min(lengths), max(lengths), sum(lengths)) == (7, 29, 4274 + 5687)
    np.testing.assert_array_equal(np.bincount(data.y_train), np.full(9, 30))
    np.testing.assert_array_equal(np.bincount(data.y_test), [31, 35, 88, 44, 29, 24, 40, 50, 29])
    assert data.X_train[0][0, 0] == 1.860936
    assert data.X_train[0][0, 1] == -0.207383
    assert data.X_train[0][-1, 0] == 1.261441


def test_every_load_is_a_fresh_copy():
    first = load_japanese_vowels()
    first.X_train[0][:] = 0
    assert load_japanese_vowels().X_train[0].any()


def test_sunspots_are_the_yearly_means():
    years, numbers = load_sunspots()
    np.testing.assert_array_equal(years, np.arange(1700, 2009))
    assert numbers[years == 1957] == 190.2  # the highest
    assert numbers.max() == 190.2 and numbers.min() == 0

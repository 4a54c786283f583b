"""Batches: what users hold becomes what kernels read, and back."""

import numpy as np
import pytest

from lstmcore.sequences import make_batch, single_steps

FLOAT = np.dtype(np.float64)
TOKENS = {"tokens": True}


def batch_of(X, I=2, dtype=FLOAT, **options):
    return make_batch(X, I, dtype, **options)


def steps(batch, b):
    """The steps of sequence b as kernels see them."""
    x, length = batch.x.values, batch.lengths[b]
    first = batch.x.first[list(batch.order).index(b)]
    if x.ndim == (2 if x.dtype == np.intp else 3):
        return x[first, :length]
    return x[first : first + length]


def rows_of_steps(batch):
    return np.concatenate([steps(batch, b) for b in range(batch.size)])


def test_padded_array_without_lengths_is_taken_whole_and_not_copied():
    X = np.arange(12.0).reshape(2, 3, 2)
    batch = batch_of(X)
    assert np.shares_memory(batch.x.values, X)
    assert (batch.size, batch.max_length, batch.n_steps, batch.T) == (2, 3, 6, 3)
    assert list(batch.lengths) == [3, 3]
    assert not batch.is_padded
    assert batch.valid.all()


def test_ranks_are_by_descending_length_first_come_first():
    batch = batch_of(np.zeros((6, 4, 2)), lengths=[1, 4, 0, 4, 2, 1])
    assert list(batch.order) == [1, 3, 4, 0, 5, 2]
    assert list(batch.ranked) == [4, 4, 2, 1, 1, 0]
    for array in (batch.order, batch.ranked, batch.lengths):
        assert array.dtype == np.intp


def test_time_behind_the_longest_sequence_is_cut_off():
    X = np.zeros((2, 5, 2))
    batch = batch_of(X, lengths=[1, 3])
    assert batch.x.values.shape == (2, 3, 2)
    assert np.shares_memory(batch.x.values, X)
    assert batch.T == 5
    outputs = batch.arrange(np.ones((4, 4)))
    assert outputs.shape == (2, 5, 4)
    assert (outputs.any(axis=2) == (np.arange(5) < [[1], [3]])).all()
    assert batch.gather(np.ones((2, 5))).shape == (4,)


def test_list_becomes_rows_and_comes_back_as_a_list():
    arrays = [np.ones((3, 2)), np.zeros((0, 2)), np.full((1, 2), 5)]
    batch = batch_of(arrays)
    assert batch.x.values.shape == (4, 2)
    assert list(batch.lengths) == [3, 0, 1]
    for b, (array, back) in enumerate(zip(arrays, batch.arrange(batch.x.values), strict=True)):
        assert (steps(batch, b) == array).all()
        assert (back == array).all()


def test_nested_lists_are_a_list_of_sequences():
    batch = batch_of([[[1, 2], [3, 4]], [[5, 6]]])
    assert (steps(batch, 0) == [[1, 2], [3, 4]]).all()
    assert (steps(batch, 1) == [[5, 6]]).all()


def test_tokens_are_integers_with_one_axis_less():
    X = np.array([[2, 0, 9], [1, -7, 9]])
    padded = batch_of(X, I=3, lengths=[2, 1], tokens=True)
    listed = batch_of([[2, 0], np.array([1], dtype=np.uint8)], I=3, tokens=True)
    for batch in (padded, listed):
        assert batch.x.values.dtype == np.intp
        assert list(steps(batch, 0)) == [2, 0]
        assert list(steps(batch, 1)) == [1]
        assert batch.x.values.size == 3  # padding that could not be read is not handed on


def test_empty_token_lists_are_sequences_of_length_zero():
    batch = batch_of([[], [1, 0]], tokens=True)
    assert list(batch.lengths) == [0, 2]


@pytest.mark.parametrize("X", [[[], []], [np.zeros(0, int)] * 2, np.zeros((2, 0))], ids=repr)
def test_tokens_may_be_empty_one_and_all(X):
    batch = batch_of(X, tokens=True)
    assert batch.x.values.dtype == np.intp
    assert (list(batch.lengths), batch.T, batch.n_steps) == ([0, 0], 0, 0)


def test_tokens_are_copied():
    tokens = np.zeros((2, 3), dtype=np.intp)
    batch = batch_of(tokens, tokens=True)
    tokens[...] = 10**9
    assert not batch.x.values.any()


def test_mask_that_is_padding_is_lengths():
    X, lengths = np.random.default_rng(0).normal(size=(3, 4, 2)), np.array([2, 4, 0])
    batch = batch_of(X, mask=np.arange(4) < lengths[:, None])
    assert batch.mask is None
    assert list(batch.lengths) == list(lengths)
    assert np.shares_memory(batch.x.values, X)


@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
def test_mask_with_holes_is_taken_out_and_put_back(tokens):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (4, 6)) if tokens else rng.normal(size=(4, 6, 2))
    mask = rng.uniform(size=(4, 6)) < 0.5
    batch = batch_of(X, mask=mask, tokens=tokens)
    assert list(batch.lengths) == list(mask.sum(axis=1))
    for b in range(4):
        assert (steps(batch, b) == X[b, mask[b]]).all()
    back = batch.arrange(batch.x.values)
    assert (back[mask] == X[mask]).all()
    assert not back[~mask].any()
    assert (batch.gather(X) == X[mask]).all()
    assert (batch.mask == mask).all()


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 5, 2), dtype=np.float32),
        np.zeros((3, 5, 2), order="F"),
        np.zeros((3, 5, 4))[..., ::2],
        np.zeros((3, 5, 2), dtype=">f8"),
        np.zeros((3, 5, 2), dtype=int),
    ],
    ids=["float32", "Fortran", "strided", "big endian", "integers"],
)
def test_kernels_get_native_numbers_with_a_last_axis_of_unit_stride(X):
    x = batch_of(X).x.values
    assert x.dtype == FLOAT
    assert x.strides[-1] == x.itemsize
    assert x.flags.aligned


def test_other_strides_are_kept():
    X = np.zeros((5, 3, 2)).swapaxes(0, 1)
    assert np.shares_memory(batch_of(X).x.values, X)


FORMS = {
    "array": lambda X, mask: batch_of(X),
    "lengths": lambda X, mask: batch_of(X, lengths=[6, 2, 0, 3]),
    "holes": lambda X, mask: batch_of(X, mask=mask),
    "list": lambda X, mask: batch_of([X[0], X[1, :2], X[2, :0], X[3, :3]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_a_batch_have_its_steps(form):
    rng = np.random.default_rng(0)
    X, mask = rng.normal(size=(4, 6, 2)), rng.uniform(size=(4, 6)) < 0.5
    whole = FORMS[form](X, mask)
    each, rows = [steps(whole, b) for b in range(4)], rows_of_steps(whole)

    some = whole.take(np.array([3, 1]))
    assert some.T == whole.T
    assert np.shares_memory(some.x.values, whole.x.values)
    for b, of_whole in enumerate([3, 1]):
        assert (steps(some, b) == each[of_whole]).all()
    assert (rows[whole.rows_of(np.array([3, 1]))] == rows_of_steps(some)).all()

    for t0, t1 in [(0, 2), (2, 5), (5, 6)]:
        segment = whole.segment(t0, t1)
        for b in range(4):
            assert (steps(segment, b) == each[b][t0:t1]).all()
        assert (rows[whole.rows_between(t0, t1)] == rows_of_steps(segment)).all()
        assert (segment.order == whole.order).all()
    again = some.segment(1, 3)
    assert (steps(again, 0) == each[3][1:3]).all()


def test_nothing_is_looked_at_where_no_step_is():
    X = np.zeros((2, 4, 2))
    X[0, 2:] = np.nan
    X[1, 3:] = np.inf
    assert batch_of(X, lengths=[2, 3]).n_steps == 5
    mask = np.isfinite(X).all(axis=2)
    assert batch_of(X, mask=mask).n_steps == 5
    assert batch_of(np.where(mask, 0, -5), mask=mask, tokens=True).n_steps == 5


def test_single_steps_are_a_batch_like_any_other():
    x = np.zeros((3, 1, 2))
    batch, same = single_steps(x), batch_of(x)
    for name in ("size", "max_length", "n_steps", "T", "mask", "is_padded"):
        assert getattr(batch, name) == getattr(same, name)
    for name in ("order", "lengths", "ranked"):
        assert (getattr(batch, name) == getattr(same, name)).all()


@pytest.mark.parametrize(
    ("X", "options", "error", "words"),
    [
        (np.zeros((2, 3)), {}, ValueError, "X: expected numbers of shape (B, T, 2)"),
        (np.zeros((2, 3, 4)), {}, ValueError, "got an array of shape (2, 3, 4)"),
        (np.zeros((0, 3, 2)), {}, ValueError, "X: expected at least one sequence"),
        ([], {}, ValueError, "X: expected at least one sequence"),
        (np.zeros((2, 3, 2), dtype=complex), {}, TypeError, "X: expected real numbers"),
        (np.zeros((2, 3, 2), dtype=object), {}, TypeError, "X: expected real numbers"),
        (np.zeros((2, 3), dtype="U1"), {}, TypeError, "X: expected real numbers"),
        ("abc", {}, TypeError, "X: expected real numbers"),
        (None, {}, TypeError, "X: expected real numbers"),
        (np.full((2, 3, 2), np.nan), {}, ValueError, "X: expected finite numbers"),
        (np.full((2, 3, 2), -np.inf), {"lengths": [0, 1]}, ValueError, "X: expected finite"),
        (np.ma.zeros((2, 3, 2)), {}, TypeError, "X: expected an array without a mask"),
        (np.array([[0, 2]]), TOKENS, ValueError, "X: expected tokens from 0 to 1, got 2"),
        (np.array([[0, -1]]), TOKENS, ValueError, "X: expected tokens from 0 to 1, got -1"),
        (np.array([[0, 2**63]], dtype=np.uint64), TOKENS, ValueError, "got 9223372036854775808"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], {}, ValueError, "X[1]: expected numbers of shape"),
        ([np.zeros((2, 2)), np.zeros(2, int)], {}, ValueError, "X[1]: expected numbers of shape"),
        ([np.zeros((2, 2)), None], {}, TypeError, "X[1]: expected real numbers, got None"),
        ([[0, 1], [2]], TOKENS, ValueError, "X[1]: expected tokens from 0 to 1, got 2"),
        ([[0.5, 1.0], [0.0]], {}, ValueError, "X[0]: expected numbers of shape"),
        ([[0.5, 1.0], [0.0]], TOKENS, TypeError, "X[0]: expected integer tokens, got an array"),
        ([[0, 1], [0.0]], TOKENS, TypeError, "X[1].astype(int) makes integers"),
        (np.zeros((2, 3)), TOKENS, TypeError, "X.astype(int) makes integers, and vectors of"),
        (np.zeros((2, 3), bool), TOKENS, TypeError, "X: expected integer tokens, got an array"),
        (np.zeros((2, 0), bool), TOKENS, TypeError, "X: expected integer tokens, got an array"),
        (np.zeros((2, 3), object), TOKENS, TypeError, "X: expected integer tokens, got an array"),
        (np.zeros(3, int), TOKENS, ValueError, "X: expected integer tokens of shape (B, T), num"),
        ([np.zeros((2, 2)), [0]], TOKENS, ValueError, "or integer tokens of shape (T,), the same"),
        (np.zeros((2, 3), int), {}, ValueError, "or an Embedding there"),
        (np.zeros((2, 3), int), {}, ValueError, "X[None] is one sequence, X[..., None] has one"),
        ([[0, 1], [1]], {}, ValueError, "X[0][..., None] has one feature, and integers stand"),
        (
            [np.zeros((1, 2)), [[0, np.nan]]],
            {},
            ValueError,
            "X: expected finite numbers, got nan in sequence 1 at step 0",
        ),
        ([[[1, 2], [3]]], {}, ValueError, "X[0]: expected an array of numbers"),
        (
            [np.zeros((1, 2)), np.zeros((2, 2))],
            {"lengths": [1, 2]},
            ValueError,
            "lengths: expected None",
        ),
        (
            [np.zeros((1, 2)), np.zeros((2, 2))],
            {"mask": [[True] * 2] * 2},
            ValueError,
            "mask: expected None",
        ),
    ],
)
def test_wrong_sequences_are_refused_by_name(X, options, error, words):
    with pytest.raises(error) as caught:
        batch_of(X, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lengths": [1]}, ValueError, "lengths: expected shape (2,), got (1,)"),
        ({"lengths": [[1, 2]]}, ValueError, "lengths: expected shape (2,), got (1, 2)"),
        ({"lengths": [1, 4]}, ValueError, "lengths: expected 0 to 3, got 4"),
        ({"lengths": [-1, 3]}, ValueError, "lengths: expected 0 to 3, got -1"),
        ({"lengths": [1.0, 2.0]}, TypeError, "lengths: expected integers"),
        ({"lengths": [True, False]}, TypeError, "lengths: expected integers"),
        ({"lengths": "ab"}, TypeError, "lengths: expected integers"),
        ({"lengths": 3}, ValueError, "lengths: expected shape (2,), got ()"),
        ({"lengths": [10**30, 0]}, TypeError, "lengths: expected integers"),
        ({"mask": np.ones((2, 3))}, TypeError, "mask: expected bool"),
        ({"mask": np.ones((3, 2), bool)}, ValueError, "mask: expected shape (2, 3), got (3, 2)"),
        ({"mask": np.ones((2, 3), bool), "lengths": [3, 3]}, ValueError, "mask: expected None"),
    ],
)
def test_wrong_lengths_and_masks_are_refused_by_name(options, error, words):
    with pytest.raises(error) as caught:
        batch_of(np.zeros((2, 3, 2)), **options)
    assert words in str(caught.value)


def test_non_finite_numbers_pass_where_the_user_says_so():
    X = np.full((1, 2, 2), np.nan)
    assert np.isnan(batch_of(X, check_finite=False).x.values).all()


def test_numbers_too_large_for_float32_are_refused_as_infinite():
    with pytest.raises(ValueError, match="X: expected finite numbers"):
        batch_of(np.full((1, 2, 2), 1e300), dtype=np.dtype(np.float32))

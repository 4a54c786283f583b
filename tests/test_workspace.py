"""Workspace: arrays that are in use at the same time share no memory."""

import numpy as np
import pytest

from lstmcore._workspace import _MOST_ARRAYS, Workspace, WorkspacePool


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_in_use_never_overlap(dtype):
    rng = np.random.default_rng(0)
    workspace = Workspace(np.dtype(dtype))
    shapes = [tuple(rng.integers(0, 9, rng.integers(1, 4)).tolist()) for _ in range(40)]
    for _ in range(60):
        workspace.begin()
        in_use = []  # (mark before, array, its contents)
        for number in range(60):
            if in_use and rng.random() < 0.4:
                keep = rng.integers(len(in_use))
                workspace.drop(in_use[keep][0])
                del in_use[keep:]
            else:
                mark, shape = workspace.mark, shapes[rng.integers(len(shapes))]
                array = workspace.take(*shape)
                assert array.shape == shape and array.dtype == dtype
                array.fill(number)
                in_use.append((mark, array, number))
        for _, array, number in in_use:
            assert (array == number).all()
    assert len(workspace._arrays) <= _MOST_ARRAYS


def test_a_call_of_the_same_kind_takes_the_same_arrays_on_cache_lines():
    pool = WorkspacePool(np.dtype(np.float32))
    calls = []
    for _ in range(3):
        workspace = pool.acquire()
        calls.append([workspace.take(3), workspace.take(2, 5), workspace.take_zeros(7)])
        pool.release(workspace)
    assert all(a is b for a, b in zip(calls[1], calls[2], strict=True))
    assert all(array.ctypes.data % 64 == 0 for array in calls[2])


def filled(pool, count, size):
    """So many workspaces, each of which has needed `size` scalars."""
    workspaces = [pool.acquire() for _ in range(count)]
    for workspace in workspaces:
        workspace.take(size)
    return workspaces


def test_a_pool_keeps_a_bounded_sum():
    pool = WorkspacePool(np.dtype(np.float64), most=1000)
    workspaces = filled(pool, 5, 320)
    for workspace in workspaces:
        pool.release(workspace)
    assert pool.kept == 960
    assert pool.acquire() is workspaces[-1]  # the last are kept
    assert pool.acquire() is workspaces[-2]
    assert pool.acquire() is workspaces[-3]
    assert pool.acquire() not in workspaces


def test_a_workspace_above_the_bound_drives_no_other_out():
    pool = WorkspacePool(np.dtype(np.float64), most=1000)
    (small,), (large,) = filled(pool, 1, 320), filled(pool, 1, 2000)
    pool.release(small)
    pool.release(large)
    assert pool.acquire() is small
    assert pool.kept == 0


def test_a_bounded_pool_keeps_few_workspaces_and_another_all():
    for most, kept in ((10**6, 32), (None, 50)):
        pool = WorkspacePool(np.dtype(np.float64), most)
        for workspace in filled(pool, 50, 16):
            pool.release(workspace)
        assert pool.kept == kept * 16

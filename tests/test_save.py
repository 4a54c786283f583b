"""Where `save` writes: what it refuses, what it leaves behind, what comes out of it."""

import os
import stat
import sys
import zipfile

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import _archive

posix = pytest.mark.skipif(os.name != "posix", reason="files of POSIX")


def small(seed=0):
    return lc.Network([lc.RNN(2, 3, R_mask=np.tri(3)), lc.Dense(3, 1)], seed=seed)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.npz"


@posix
def test_a_pipe_stays_a_pipe(path):
    os.mkfifo(path)
    link = path.with_name("link")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(ValueError, match=f"path: expected a file or a new name, got {name}"):
            small().save(name)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert sorted(os.listdir(path.parent)) == ["link", "m.npz"]


@posix
def test_devices_directories_and_pipes_by_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got .*, which is a directory"):
        small().save(tmp_path)
    reader, writer = os.pipe()
    try:
        with pytest.raises(ValueError, match="which is a pipe"):
            small().save(f"/dev/fd/{writer}")
    finally:
        os.close(reader)
        os.close(writer)
    # The function that looks alone: were it wrong, save would take the device away.
    with pytest.raises(ValueError, match="got /dev/null, which is a device"):
        _archive._mode_of("/dev/null", "path")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o400])
def test_the_temporary_file_is_never_more_open_than_the_old_one(mode, path, monkeypatch):
    small().save(path)
    path.chmod(mode)
    seen = []

    def look(*args):
        for name in set(os.listdir(path.parent)) - {"m.npz"}:
            seen.append(stat.S_IMODE(os.stat(path.parent / name).st_mode))

    for room, name in ((os, "fsync"), (os, "chmod"), (_archive, "write_to")):
        real = getattr(room, name)
        monkeypatch.setattr(room, name, lambda *a, real=real: (look(), real(*a)))
    old = os.umask(0)
    try:
        small(1).save(path)
    finally:
        os.umask(old)
    assert set(seen) == {mode} and len(seen) >= 3
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert (lc.load(path).params == small(1).params).all()


@posix
def test_a_mask_of_permissions_takes_nothing_from_a_file_that_is_there(path):
    small().save(path)
    path.chmod(0o664)
    old = os.umask(0o077)
    try:
        small(1).save(path)
        small(1).save(path.with_name("new.npz"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert stat.S_IMODE(path.with_name("new.npz").stat().st_mode) == 0o600


@posix
def test_a_directory_that_cannot_be_read_takes_a_file(path, monkeypatch):
    real = os.open

    def unreadable(name, flags, *args, **kwargs):
        if os.path.isdir(name):
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", unreadable)
    small(1).save(path)
    assert (lc.load(path).params == small(1).params).all()


def test_what_a_process_that_was_killed_has_left_says_so(path, monkeypatch):
    def die(*args):
        (name,) = os.listdir(path.parent)
        names.append(name)
        raise OSError("no space")

    names = []
    monkeypatch.setattr(_archive, "write_to", die)
    with pytest.raises(OSError, match="no space"):
        small().save(path)
    (name,) = names
    assert name.startswith(f".m.npz.{os.getpid()}-") and name.endswith(".tmp")
    assert os.listdir(path.parent) == []


def test_the_longest_name_of_a_file_can_be_saved(tmp_path):
    path = tmp_path / ("é" * 120 + ".npz")  # 244 bytes of 255
    small().save(path)
    assert lc.load(path).params.size == small().params.size


def interrupting(place):
    """A trace function that raises KeyboardInterrupt at a line of the writing, and its counter."""
    files, count = {zipfile.__file__, _archive.__file__}, [0]

    def trace(frame, event, arg):
        names = {frame.f_code.co_name, frame.f_back.f_code.co_name}
        if frame.f_code.co_filename not in files or "__del__" in names:  # Python drops these
            return None
        if event == "line":
            count[0] += 1
            if count[0] == place:
                raise KeyboardInterrupt
        return trace

    return trace, count


# A file that an interrupt has kept from its `with` is closed late, and Python says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_comes_out_as_one_and_loses_nothing(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda *args: None)
    old, new = (lc.Network([lc.Dense(1, 1)], seed=seed) for seed in (0, 1))
    new.save(path)
    new_bytes = path.read_bytes()
    old.save(path)
    old_bytes, found = path.read_bytes(), set()
    before, place, count = sys.gettrace(), 0, [0]
    while count[0] >= place:
        place += 1
        path.write_bytes(old_bytes)
        trace, count = interrupting(place)
        try:
            sys.settrace(trace)
            new.save(path)
        except KeyboardInterrupt:
            pass
        else:
            assert count[0] < place
        finally:
            sys.settrace(before)
        found.add(path.read_bytes())
        assert os.listdir(path.parent) == ["m.npz"]
    assert place > 100 and found == {old_bytes, new_bytes}


def test_memory_that_is_not_there_is_no_bad_file(path, monkeypatch):
    small().save(path)

    def refuse(*args):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(_archive.np, "empty", refuse)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        lc.load(path)


def test_a_header_of_nested_brackets_is_a_bad_file_not_a_lack_of_memory(path):
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': " + b"-" * 9000 + b"1}\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    small().save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, old in entries.items():
            archive.writestr(name, content if name == "params.npy" else old)
    with pytest.raises(ValueError, match="path: expected a network's file"):
        lc.load(path)

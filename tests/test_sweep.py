"""The sweep itself: it finds what is planted, and draws whatever layers may be."""

import numpy as np
import pytest
import sweep
import sweep_files
import sweep_networks
import zoo

import lstmcore as lc
from lstmcore.cells import CELLS


def test_every_option_of_every_layer_is_drawn():
    options = set().union(*map(zoo.options_of, CELLS.values()))
    known = sweep_networks.OPTIONS.keys() | sweep_networks.DRAWN_ELSEWHERE
    assert options <= known, f"no network of the sweep sets {options - known}"


def off_by_a_bit(y):
    """An array whose last number is the next one."""
    y = np.array(y)
    y.flat[-1:] = np.nextafter(y.flat[-1:], np.inf, dtype=y.dtype)
    return y


def plant_in_padded(monkeypatch):
    """Outputs of padded arrays are not those of lists."""
    right = lc.Network.predict

    def wrong(net, X, lengths=None, **options):
        y = right(net, X, lengths, **options)
        is_whole = isinstance(y, np.ndarray) and lengths is not None and len(y)
        return off_by_a_bit(y) if is_whole else y

    monkeypatch.setattr(lc.Network, "predict", wrong)


def plant_in_gradients(monkeypatch):
    """One entry of the gradient is off, everywhere alike."""
    right = lc.Network.loss_and_grad

    def wrong(*arguments, **options):
        f, g = right(*arguments, **options)
        g[0] += 1e-2 * np.linalg.norm(g)
        return f, g

    monkeypatch.setattr(lc.Network, "loss_and_grad", wrong)


def plant_in_outputs(monkeypatch):
    """One output is off, everywhere alike."""
    right = lc.Network.predict

    def wrong(net, X, *arguments, **options):
        y = right(net, X, *arguments, **options)
        if isinstance(y, np.ndarray) and y.size and y[..., 0].any():
            y[..., 0] *= 1.01
        return y

    monkeypatch.setattr(lc.Network, "predict", wrong)


def plant_a_write(monkeypatch):
    """The inputs are written to."""
    right = lc.Network.loss

    def wrong(net, X, *arguments, **options):
        rows = X if isinstance(X, list) else [X]
        for row in rows:
            if isinstance(row, np.ndarray) and row.size and row.flags.writeable:
                row[...] = 0
        return right(net, X, *arguments, **options)

    monkeypatch.setattr(lc.Network, "loss", wrong)


def failures(check, count):
    """What the first cases say."""
    found = []
    for index in range(count):
        try:
            check(0, index)
        except AssertionError as error:
            found.append(str(error))
    return found


def test_the_first_networks_hold():
    assert not failures(sweep_networks.check, 10)


@pytest.mark.parametrize(
    "plant, words",
    [
        (plant_in_padded, "bits differ"),
        (plant_in_gradients, "derivative"),
        (plant_in_outputs, "outputs beside the twin's"),
        (plant_a_write, "loss"),
    ],
)
def test_a_planted_fault_of_networks_is_found(plant, words, monkeypatch):
    plant(monkeypatch)
    assert any(words in failure for failure in failures(sweep_networks.check, 10))


def test_the_first_files_hold():
    assert not failures(sweep_files.check, 40)


@pytest.mark.parametrize("error", [OSError(5, "a"), RuntimeError("a"), ValueError("path: a\nb")])
def test_a_planted_fault_of_files_is_found(error, monkeypatch):
    def load(path):
        raise error

    monkeypatch.setattr(lc, "load", load)
    assert len(failures(sweep_files.check, 5)) == 5


BROKEN = """
import os, time
def check(seed, index):
    if index == 3:
        os.abort()
    if index == 5:
        raise ValueError("a\\nb")
    return "right"
"""


def test_a_case_that_ends_its_process_is_a_failure_like_any_other(tmp_path, monkeypatch, capfd):
    tmp_path.joinpath("sweep_broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sweep.PARTS, "broken", 8)
    assert sweep.main(["broken", "--seed", "4", "--jobs", "2"]) == 1
    lines = capfd.readouterr().out.splitlines()
    repeat = "python tests/sweep.py broken --seed 4 --index"
    assert sorted(line for line in lines if line.startswith("python")) == [
        f"{repeat} 3: the process ended with -6",
        f"{repeat} 5: ValueError: a b",
    ]
    assert lines[-1].startswith("broken, seed 4: 6 right; 2 failed")
    assert sweep.main(["broken", "--seed", "4", "--index", "4"]) == 0

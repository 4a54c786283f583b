"""A network whose parameters are given draws no others, and costs what they cost."""

import copy
import pickle

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import _parameters, _params


def networks():
    yield lc.Network([lc.LSTM(3, 8, bidirectional=True), lc.Dense(16, 2)], seed=1)
    yield lc.Network([lc.GRU(2, 3), lc.RNN(3, 4, R_mask=np.tri(4))], dtype="float32", seed=1)


def loaded(net, path):
    net.save(path)
    return lc.load(path)


COPIES = {
    "load": loaded,
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "copy": lambda net, path: copy.copy(net),
    "deepcopy": lambda net, path: copy.deepcopy(net),
    "frozen": lambda net, path: net.frozen(),
}


@pytest.fixture
def no_draws(monkeypatch):
    """Any draw of initial values is an error."""

    def refuse(*args):
        raise AssertionError("initial values were drawn")

    nets = list(networks())
    monkeypatch.setattr(np.random, "default_rng", refuse)
    monkeypatch.setattr(_params.BlockTable, "start", refuse)
    return nets


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_the_parameters_and_draws_none(way, no_draws, tmp_path):
    for net in no_draws:
        again = COPIES[way](net, tmp_path / "m.npz")
        assert again.params.tobytes() == net.params.tobytes() and again.dtype == net.dtype
        assert not np.shares_memory(again.params, net.params)
        x = np.ones((1, 3, net.input_size))
        assert again.predict(x).tobytes() == net.predict(x).tobytes()
        if way != "frozen":
            again.params[0] += 1
            assert next(iter(again.blocks.values())).flat[0] == again.params[0]


def test_an_export_in_another_format_draws_none(tmp_path, monkeypatch):
    net = next(networks())
    monkeypatch.setattr(_params.BlockTable, "start", None)
    assert lc.export_c(net, tmp_path, dtype="float32").error < 1e-5


def test_the_float64_twin_of_a_gradient_check_draws_none(monkeypatch):
    net = lc.Network([lc.RNN(2, 3)], dtype="float32", seed=1)
    monkeypatch.setattr(_params.BlockTable, "start", None)
    errors = lc.check_gradient(net, np.ones((1, 3, 2)), np.ones((1, 3, 3)))
    assert max(errors.values()) < 1e-4


@pytest.mark.parametrize("n", [3, 30])
def test_each_block_is_looked_at_once_whatever_the_number_of_layers(n, monkeypatch):
    looked_at = []

    class Table(_params.BlockTable):
        def __iter__(self):
            for block in super().__iter__():
                looked_at.append(block.name)
                yield block

    net = lc.Network([lc.RNN(1, 1)] * n, seed=0)
    state = pickle.dumps(net)
    monkeypatch.setattr(_parameters, "BlockTable", Table)
    again = pickle.loads(state)
    again.summary()
    assert [block.name for k in range(n) for block in again._parameters.of_layer(k)] == [
        block.name for block in net.table
    ]
    assert len(looked_at) <= 3 * n

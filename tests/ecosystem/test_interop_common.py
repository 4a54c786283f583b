"""What the importers share: loss, readout, orders of gates, networks from given weights."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import _common
from lstmcore.losses import Huber

ACTIVATION_AND_LOSS = {
    # what the file ends with, what is asked for -> the loss, what is left for the last layer
    "identity": ("identity", None, ("squared_error", "identity")),
    "softmax": ("softmax", None, ("cross_entropy", "identity")),
    "sigmoid": ("logistic", None, ("binary_cross_entropy", "identity")),
    "exp": ("exponential", None, ("poisson", "identity")),
    "tanh stays": ("tanh", None, ("squared_error", "tanh")),
    "with parameters": (("elu", 0.5), None, ("squared_error", ("elu", 0.5))),
    "logits": ("identity", "cross_entropy", ("cross_entropy", "identity")),
    "sigmoid with squared error": ("logistic", "squared_error", ("squared_error", "logistic")),
}


@pytest.mark.parametrize("name", ACTIVATION_AND_LOSS)
def test_the_loss_keeps_the_outputs_of_the_file(name):
    activation, loss, expected = ACTIVATION_AND_LOSS[name]
    assert _common.choose_loss(activation, loss) == expected


def test_a_loss_may_be_an_object():
    loss = Huber(0.1)
    assert _common.choose_loss("tanh", loss) == (loss, "tanh")


@pytest.mark.parametrize(
    "activation, loss, expected",
    [
        ("softmax", "squared_error", "softmax"),
        ("softmax", "binary_cross_entropy", "softmax"),
        ("exponential", "squared_error", "exponential"),
        ("logistic", "cross_entropy", "logistic"),
        ("tanh", "cross_entropy", "identity"),
    ],
)
def test_a_loss_that_would_change_the_outputs_is_refused(activation, loss, expected):
    with pytest.raises(ValueError, match=f"loss: expected one with {expected} outputs"):
        _common.choose_loss(activation, loss)


def test_a_readout_is_asked_for_or_said_or_all():
    assert _common.choose_readout(None) == "all"
    assert _common.choose_readout(None, "last") == "last"
    assert _common.choose_readout("mean", "last") == "mean"
    with pytest.raises(ValueError, match="readout: expected one of all, last"):
        _common.choose_readout("first")


@pytest.mark.parametrize("program", _common.ORDERS)
@pytest.mark.parametrize(
    "layer",
    [
        lc.LSTM(2, 3),
        lc.GRU(2, 3),
        lc.GRU(2, 3, reset_after=False),
        lc.RNN(2, 3),
    ],
    ids=repr,
)
def test_two_biases_become_what_they_were(program, layer):
    order = _common.ORDERS[program][layer.cell.kind]
    net = lc.Network([layer], seed=0)
    net.params = np.random.default_rng(0).standard_normal(net.params.size)
    own = {name.removeprefix("0."): block for name, block in net.blocks.items()}
    theirs = [lc.cells.reorder(own[name], layer.cell, order) for name in "WR"]
    theirs += _common.two_biases(layer.cell, order, own["b"], own.get("bR"))
    again = _common.one_direction(layer.cell, order, *theirs)
    assert again.keys() == own.keys()
    assert all((again[name] == own[name]).all() for name in own)


def test_a_network_has_the_numbers_it_was_given():
    layers = [lc.LSTM(2, 3, bidirectional=True), lc.Dense(6, 2)]
    original = lc.Network(layers, loss="cross_entropy", readout="last", seed=0)
    net = _common.build_network(
        layers, dict(original.blocks), loss="cross_entropy", readout="last", dtype="float64"
    )
    assert repr(net) == repr(original)
    assert (net.params == original.params).all()


def test_numbers_that_are_not_finite_stay():
    W = np.array([[np.nan, np.inf]])
    net = _common.build_network(
        [lc.Dense(2, 1)],
        {"0.W": W, "0.b": None},
        loss="squared_error",
        readout="all",
        dtype="float64",
    )
    np.testing.assert_array_equal(net.params, [np.nan, np.inf, 0.0])


@pytest.mark.parametrize(
    "given, asked, expected",
    [
        ("f4", None, "float32"),
        ("f2", None, "float32"),
        ("f8", None, "float64"),
        ("f4", "float64", "float64"),
        ("f8", "float32", "float32"),
    ],
)
def test_the_dtype_is_the_files_or_asked_for(given, asked, expected):
    assert _common.choose_dtype(asked, [np.ones(2, "f4"), np.ones(2, given)]) == expected


def build(blocks, layer=None, **options):
    layer = lc.Dense(2, 1) if layer is None else layer
    options = {"loss": "squared_error", "readout": "all", "dtype": "float64"} | options
    return _common.build_network([layer], blocks, **options)


def test_errors_name_the_block_and_the_name_in_the_file():
    blocks = {"0.W": np.ones((2, 2)), "0.b": None}
    with pytest.raises(ValueError, match=r"fc.weight \(block '0.W'\): expected shape \(1, 2\)"):
        build(blocks, names={"0.W": "fc.weight"})
    with pytest.raises(ValueError, match=r"none for \['0.b'\]"):
        build({"0.W": np.ones((1, 2))})
    with pytest.raises(ValueError, match=r"got \['1.W'\] beside them"):
        build({"0.W": np.ones((1, 2)), "0.b": None, "1.W": np.ones(1)})
    with pytest.raises(TypeError, match=r"block '0.W': expected real numbers"):
        build({"0.W": np.ones((1, 2), complex), "0.b": None})


def test_sizes_are_believed_as_far_as_there_are_bytes():
    with pytest.raises(ValueError, match="at most 4194304 numbers that the file does not hold"):
        build({"0.W": None, "0.b": None}, lc.Dense(1 << 20, 1 << 20))
    _common.refuse_larger((10, 10), 8, 800, "W")
    for shape in [(10, 11), (-1, 5), (1 << 62, 1 << 62)]:
        with pytest.raises(ValueError, match="W: expected an array within the 800 bytes"):
            _common.refuse_larger(shape, 8, 800, "W")
    with pytest.raises(ValueError, match="at most 1000 layers, got 1001"):
        _common.build_network(
            [lc.Dense(1, 1)] * 1001, {}, loss="squared_error", readout="all", dtype="float64"
        )


def test_what_is_missing_is_said_with_its_extra():
    with pytest.raises(ImportError, match=r'from_x needs no_such: pip install "lstmcore\[onnx\]"'):
        _common.import_extra("no_such", "onnx", "lstmcore.from_x")
    assert _common.import_extra("numpy.linalg", "onnx", "lstmcore.from_x") is np.linalg

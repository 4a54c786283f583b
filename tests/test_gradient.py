"""Promise 1: the gradient is the gradient: every block, variant, activation, readout and loss."""

import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore._readout import READOUTS

SIZES = (1, 3, 8, 17)  # less than, odd beside, equal to and more than whole vectors
TOLERANCE = {"float64": 1e-7, "float32": 1e-4}
LENGTHS = (5, 3, 0, 4)  # unequal, out of order, one empty
I, K = 2, 3

recurrent = {name: entry for name, entry in zoo.LAYERS.items() if entry.is_recurrent}
representatives = {name: entry for name, entry in recurrent.items() if entry.is_representative}
cells = pytest.mark.parametrize("cell", recurrent.values(), ids=recurrent)
readouts = pytest.mark.parametrize("readout", READOUTS)
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def randomised(net, seed=0, scale=0.5):
    """The network with no parameter at a special value such as zero."""
    net.params[...] = np.random.default_rng(seed).normal(scale=scale, size=net.params.size)
    return net


def data(net, lengths=LENGTHS, seed=1):
    """A padded batch, and targets that fit the network's loss and readout."""
    rng = np.random.default_rng(seed)
    B, T = len(lengths), max(lengths)
    X = rng.normal(size=(B, T, net.input_size))
    shape = (B,) if net.readout != "all" else (B, T)
    if net.loss_name == "cross_entropy":
        Y = rng.integers(0, net.output_size, shape)
    elif net.loss_name in ("binary_cross_entropy", "poisson"):
        Y = rng.uniform(size=(*shape, net.output_size))
    else:
        Y = rng.normal(size=(*shape, net.output_size))
    return {"X": X, "Y": Y, "lengths": lengths}


def assert_gradient(net, tolerance=None, max_entries=None, **given):
    # no bend may lie between the points of the difference quotient
    step = 1e-5 if any(map(zoo.has_bends, net.layers)) else 1e-4
    errors = lc.check_gradient(net, **given, max_entries=max_entries, step=step)
    assert list(errors) == list(net.blocks)
    tolerance = tolerance or TOLERANCE[net.dtype.name]
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"relative error above {tolerance:g}: {wrong}"


def sizes_of(cell):
    """All sizes for the representatives; their products are those of the others too."""
    return SIZES if cell.is_representative else (3, 17)


def entries_of(cell, H):
    """Of the large ones some entries of each block: each costs four evaluations."""
    return None if cell.is_representative and H <= 3 else 6


@dtypes
@readouts
@cells
def test_every_cell_with_every_readout(cell, readout, dtype):
    for H in sizes_of(cell):
        layers = [cell.layer(I, H), lc.Dense(H, K)]
        net = randomised(lc.Network(layers, readout=readout, dtype=dtype))
        assert_gradient(net, max_entries=entries_of(cell, H), **data(net))


@dtypes
@pytest.mark.parametrize("loss", zoo.LOSSES[1:])
@readouts
@pytest.mark.parametrize("cell", representatives.values(), ids=representatives)
def test_every_readout_with_the_other_losses(cell, readout, loss, dtype):
    for H in (3, 17):
        net = lc.Network([cell.layer(I, H), lc.Dense(H, K)], loss, readout, dtype)
        assert_gradient(randomised(net), max_entries=entries_of(cell, H), **data(net))


@dtypes
@readouts
@cells
def test_both_directions_with_learned_initial_states(cell, readout, dtype):
    for H in SIZES if cell.is_representative else (3,):
        layer = cell.layer(I, H, bidirectional=True, learn_initial_state=True)
        net = randomised(lc.Network([layer, lc.Dense(2 * H, K)], readout=readout, dtype=dtype))
        assert_gradient(net, max_entries=4, **data(net))


with_blocks = {name: cell for name, cell in recurrent.items() if cell.takes("block_size")}


@pytest.mark.parametrize("cell", with_blocks.values(), ids=with_blocks)
@pytest.mark.parametrize(("H", "C"), [(8, 2), (17, 17), (6, 3)], ids=["8/2", "one block", "6/3"])
def test_blocks_of_cells(cell, H, C):
    layer = cell.layer(I, H, block_size=C, bidirectional=True)
    net = randomised(lc.Network([layer, lc.Dense(2 * H, K)]))
    assert_gradient(net, max_entries=12, **data(net))


@pytest.mark.parametrize("activation", zoo.ACTIVATIONS, ids=str)
@pytest.mark.parametrize("cell, option", zoo.ROLES)
def test_every_activation_in_every_role(cell, option, activation):
    layers = [lc.LSTM(I, 3), cell.layer(3, 3, **{option: activation}), lc.Dense(3, K)]
    net = randomised(lc.Network(layers))
    assert_gradient(net, **data(net))


# What more than one cell makes: directions, learned states, masks, stacks
of_layers = {name: net for name, net in zoo.NETWORKS.items() if name not in zoo.CELLS}
networks = pytest.mark.parametrize("name", of_layers)


@dtypes
@readouts
@networks
def test_networks(name, readout, dtype):
    net = zoo.network(name, readout=readout, dtype=dtype)
    assert_gradient(net, max_entries=6, **data(net))


@readouts
@pytest.mark.parametrize("name", [name for name, net in of_layers.items() if net.ends_recurrent])
def test_recurrent_layer_that_is_the_output(name, readout):
    net = zoo.network(name, outputs=None, readout=readout)
    assert_gradient(net, max_entries=6, **data(net))


def test_no_recurrent_layer_at_all():
    net = randomised(lc.Network([lc.Dense(I, 4, activation="tanh"), lc.Dense(4, K)]))
    assert_gradient(net, **data(net))


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.3},
        {"reduction": "sum"},
        {"sample_weight": [1.0, 0.0, 2.0, 0.5]},
        {"step_weight": np.random.default_rng(2).uniform(size=(4, 5))},
        {"step_weight": np.eye(4, 5), "sample_weight": [1, 2, 3, 4], "l2": 0.1},
        {"lengths": None, "mask": np.random.default_rng(3).uniform(size=(4, 5)) < 0.6},
        {"lengths": None},
    ],
    ids=["l2", "sum", "sample weights", "step weights", "all weights", "mask", "equal lengths"],
)
def test_every_option_of_the_objective(options):
    layers = [lc.LSTM(I, 3, peepholes=True, gate_recurrence=True), lc.Dense(3, K)]
    net = randomised(lc.Network(layers, loss="cross_entropy"))
    assert_gradient(net, **data(net) | options)


@readouts
@pytest.mark.parametrize("cell", zoo.REPRESENTATIVES.values(), ids=zoo.REPRESENTATIVES)
def test_tokens(cell, readout):
    options = {"bidirectional": True} if cell.is_recurrent else {}
    layers = [cell.layer(7, 3, **options)]
    layers += [lc.LSTM(layers[0].output_size, 3), lc.Dense(3, K)]
    net = zoo.taking_tokens(randomised(lc.Network(layers, "cross_entropy", readout)))
    given = data(net)
    given["X"] = np.random.default_rng(0).integers(0, 7, given["X"].shape[:2])
    assert_gradient(net, max_entries=12, **given)


@pytest.mark.parametrize("name", [name for name, net in zoo.NETWORKS.items() if net.has_masks])
def test_masked_weights_get_no_gradient(name):
    net = zoo.network(name)
    gradient = net.table.views(net.loss_and_grad(**data(net))[1])
    for block in net.blocks:
        number, *_, own = block.split(".")
        mask = net.layers[int(number)].options.get(f"{own}_mask")
        if mask is not None:
            assert not gradient[block][~mask].any()
            assert gradient[block][mask].all()


def test_a_wrong_gradient_is_found(monkeypatch):
    net = randomised(lc.Network([lc.LSTM(I, 3), lc.Dense(3, K)]))
    given = data(net)
    evaluate = lc.Objective._evaluate

    def wrong(objective, theta, examples, gradient, plain):
        f, g = evaluate(objective, theta, examples, gradient, plain)
        if gradient:
            net.table["0.R"].view(g)[0, 0] *= 1.001
        return f, g

    monkeypatch.setattr(lc.Objective, "_evaluate", wrong)
    errors = lc.check_gradient(net, **given)
    assert errors["0.R"] > 1e-5
    assert max(error for name, error in errors.items() if name != "0.R") < 1e-7

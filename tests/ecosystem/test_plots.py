"""Pictures hold the numbers that they are to show."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

import lstmcore as lc

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rng_normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def panels(figure):
    return {ax.get_label(): ax for ax in figure.axes if ax.get_label() != "<colorbar>"}


def lines_of(ax, T):
    """The lines over T steps, (T, n)."""
    return np.stack([line.get_ydata() for line in ax.lines if len(line.get_xdata()) == T], axis=1)


def image_of(ax):
    (image,) = ax.images
    return np.asarray(image.get_array()).T


# --------------------------------------------------------------------------------------- history


HISTORY = {"loss": np.array([4.0, 2.0, 1.0]), "validation_loss": np.array([5.0, 1.5, 3.0])}


def test_a_history_has_its_losses_and_the_lowest():
    ax = lc.plot_history(HISTORY)
    training, validation, best = ax.lines
    assert (training.get_ydata() == HISTORY["loss"]).all()
    assert (validation.get_ydata() == HISTORY["validation_loss"]).all()
    assert best.get_xdata() == [1] and best.get_ydata() == [1.5]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training loss", "validation loss", "lowest: 1.5 at iteration 1"]
    assert ax.get_yscale() == "linear"


def test_a_history_is_drawn_into_axes_that_are_given():
    _, ax = plt.subplots()
    assert lc.plot_history({"loss": [1.0, 0.01]}, ax=ax) is ax
    assert len(ax.lines) == 1 and ax.get_yscale() == "log"


@pytest.mark.parametrize("loss", [[1.0], [1.0, -20.0], [np.inf, 1.0], [0.0, 0.0]])
def test_a_history_may_be_short_or_odd(loss):
    ax = lc.plot_history({"loss": loss})
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "linear"


def test_of_a_fit():
    x = np.random.default_rng(0).normal(size=(4, 9, 1))
    net = lc.Network([lc.RNN(1, 2)], seed=0)
    with pytest.warns(lc.ConvergenceWarning):
        result = lc.fit(net, x, np.tile(x, 2), max_iter=3)
    (line,) = lc.plot_history(result).lines
    assert (line.get_ydata() == result.history["loss"]).all()


@pytest.mark.parametrize("wrong", [3, {}, {"time": [1]}])
def test_what_is_no_result_is_refused(wrong):
    with pytest.raises(TypeError, match="result: expected what fit has returned"):
        lc.plot_history(wrong)
    with pytest.raises(ValueError, match="result: expected a run"):
        lc.plot_history({"loss": []})


# ----------------------------------------------------------------------------------------- gates


@pytest.mark.parametrize("units", [1, 7, 8, 128])
def test_gates_are_those_of_the_trace(units):
    net = lc.Network([lc.LSTM(2, units), lc.GRU(units, 2), lc.Dense(2, 1)], seed=0)
    x = np.random.default_rng(0).normal(size=(40, 2))
    trace, drawn = net.trace([x]), panels(lc.plot_gates(net, x))
    wanted = ["x", *(f"0.{n}" for n in "ifgoch"), *(f"1.{n}" for n in "rznh"), "y"]
    assert list(drawn) == wanted
    assert (lines_of(drawn["x"], 40) == x).all()
    for name in wanted[1:]:
        got = image_of(drawn[name]) if drawn[name].images else lines_of(drawn[name], 40)
        assert (got == trace[name][0]).all()
    assert bool(drawn["0.i"].images) == (units > 7)
    low, high = drawn["0.i"].images[0].get_clim() if units > 7 else drawn["0.i"].get_ylim()
    assert low <= 0 and high >= 1


def test_outputs_of_a_whole_sequence_are_bars():
    layers = [lc.Embedding(5, 3), lc.GRU(3, 2, bidirectional=True), lc.Dense(4, 3)]
    net = lc.Network(layers, "cross_entropy", "mean", seed=0)
    x = np.array([1, 0, 4, 2])
    drawn = panels(lc.plot_gates(net, x, title="tokens"))
    heights = [bar.get_height() for bar in drawn["y"].patches]
    assert heights == net.predict([x])[0].tolist()
    assert (lines_of(drawn["x"], 4)[:, 0] == x).all()
    assert {"0.y", "1.forward.r", "1.backward.h"} <= set(drawn) and "2.y" not in drawn
    assert drawn["1.backward.z"].get_title(loc="left").endswith("GRU layer 1, backward")


def test_layers_may_be_chosen():
    net = lc.Network([lc.RNN(2, 3), lc.RNN(3, 3), lc.RNN(3, 3)], seed=0)
    x = np.ones((1, 2))  # a single step
    assert list(panels(lc.plot_gates(net, x, layers=1))) == ["x", "1.h", "y"]
    assert list(panels(lc.plot_gates(net, x, layers=[0, 2]))) == ["x", "0.h", "2.h", "y"]
    with pytest.raises(ValueError, match="layers: expected numbers below 3, got 3"):
        lc.plot_gates(net, x, layers=3)


def test_what_cannot_be_drawn_is_refused():
    net = lc.Network([lc.RNN(2, 3)], seed=0)
    for x in (np.ones((1, 4, 2)), np.ones(4), np.ones((4, 3))):
        with pytest.raises(ValueError, match=r"x: expected one sequence, numbers \(T, 2\), got"):
            lc.plot_gates(net, x)
    with pytest.raises(ValueError, match="x: expected a sequence of one step or more"):
        lc.plot_gates(net, np.ones((0, 2)))
    dense = lc.Network([lc.Dense(2, 3)], seed=0)
    X, Y = np.ones((1, 4, 2)), np.ones((1, 4, 3))
    for draw, *data in ((lc.plot_gates, X[0]), (lc.plot_gradients, X, Y)):
        with pytest.raises(ValueError, match="net: expected one with a recurrent layer, got"):
            draw(dense, *data)
        with pytest.raises(TypeError, match="net: expected a Network, got"):
            draw(3, *data)


# ------------------------------------------------------------------------------------- gradients


def test_gradients_are_the_norms_of_the_trace():
    net = lc.Network([lc.LSTM(2, 3, bidirectional=True), lc.RNN(6, 4)], readout="last", seed=0)
    rng = np.random.default_rng(0)
    X, Y = [rng.normal(size=(n, 2)) for n in (5, 0, 9, 7)], rng.normal(size=(4, 4))
    ax = lc.plot_gradients(net, X, Y)
    labels = ["layer 0, LSTM, forward", "layer 0, LSTM, backward", "layer 1, RNN"]
    assert [line.get_label() for line in ax.lines] == labels
    gradients = net.trace_gradient(X, Y)
    for line, name in zip(ax.lines, ["0.forward.h", "0.backward.h", "1.h"], strict=True):
        assert (line.get_xdata() == np.arange(-8, 1)).all()
        for k in range(9):
            norms = [np.linalg.norm(dh[k - 9]) for dh in gradients[name] if len(dh) >= 9 - k]
            assert np.isclose(line.get_ydata()[k], np.median(norms), rtol=1e-12)
    assert ax.get_yscale() == "log"


def test_gradients_of_cell_states():
    net = lc.Network([lc.GRU(2, 3), lc.LSTM(3, 3)], seed=0)
    x = rng_normal(1, 6, 2)
    ax = lc.plot_gradients(net, x, np.zeros((1, 6, 3)), of="c")
    (line,) = ax.lines
    dc = net.trace_gradient(x, np.zeros((1, 6, 3)))["1.c"][0]
    norms = np.linalg.norm(dc, axis=1)
    assert np.array_equal(line.get_ydata()[:5], norms[:5]) and norms[5] == 0
    assert line.get_label() == "layer 1, LSTM" and ax.get_ylabel() == "norm of dL/dc"
    alone = lc.Network([lc.GRU(2, 3)], seed=0)
    with pytest.raises(ValueError, match="of: expected 'h' where no layer is an LSTM, got 'c'"):
        lc.plot_gradients(alone, x, np.zeros((1, 6, 3)), of="c")


def test_gradients_of_padded_arrays_and_masks_are_those_of_lists():
    net = lc.Network([lc.GRU(2, 3)], seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 2)), rng.normal(size=(2, 6, 3))
    mask = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0]], bool)
    lists = [[array[b, there] for b, there in enumerate(mask)] for array in (x, y)]
    of_list = lc.plot_gradients(net, *lists)
    of_mask = lc.plot_gradients(net, x, y, mask=mask)
    assert (of_list.lines[0].get_ydata() == of_mask.lines[0].get_ydata()).all()
    assert of_mask.get_xlabel() == "step"
    _, ax = plt.subplots()
    assert lc.plot_gradients(net, x, y, [4, 6], align="end", ax=ax) is ax
    assert ax.get_xlabel() == "steps before the last"
    assert (ax.lines[0].get_xdata() == np.arange(-5, 1)).all()


def test_a_gradient_of_zero_is_not_drawn():
    net = lc.Network([lc.RNN(1, 2)], seed=0)
    x = np.ones((1, 5, 1))
    y = net.predict(x)
    y[0, 1] += 1  # no step after it counts
    ax = lc.plot_gradients(net, x, y)
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, False, True, True, True]
    ax.figure.canvas.draw()


def test_many_curves_differ():
    net = lc.Network([lc.RNN(1, 1) for _ in range(10)], seed=0)
    ax = lc.plot_gradients(net, np.ones((2, 3, 1)), np.ones((2, 3, 1)))
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 10


def test_what_is_drawn_into_one_picture_differs():
    net = lc.Network([lc.RNN(1, 1), lc.GRU(1, 1)], seed=0)
    X, Y = np.ones((2, 3, 1)), np.zeros((2, 3, 1))
    ax = lc.plot_gradients(net, X, Y)
    lc.plot_gradients(net, X, Y, ax=ax, label="again")
    other = lc.plot_history(HISTORY, label="one")
    lc.plot_history(HISTORY, ax=other, label="two")
    for drawn in (ax, other):
        lines = [line for line in drawn.lines if line.get_linestyle() != "None"]
        assert len({line.get_color() for line in lines}) == len(lines) == 4
        labels = [text.get_text() for text in drawn.get_legend().get_texts()]
        assert len(set(labels)) == len(labels)
    assert ax.lines[3].get_label() == "again: layer 1, GRU"


# ------------------------------------------------------------------------------------ matplotlib


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "lstmcore\[plot\]"'):
        lc.plot_history(HISTORY)


def test_importing_the_room_imports_no_matplotlib():
    code = "import lstmcore.plots, sys; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"

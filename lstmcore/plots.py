"""Pictures of a training run, of what a network does over a sequence, and of its gradient.

They need matplotlib, which is imported when one is drawn: ``pip install "lstmcore[plot]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import as_choice, as_integer, as_ndarray, describe
from .network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike
    from scipy.optimize import OptimizeResult
    from typing_extensions import Unpack

    from ._types import Data

__all__ = ["plot_gates", "plot_gradients", "plot_history"]

# Colours that people with any common colour blindness tell apart (Okabe and Ito 2008).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MOST_LINES = 7  # units that are drawn as lines, each with a colour of its own; more are an image

_WHAT = {
    "i": "input gate",
    "f": "forget gate",
    "g": "cell input",
    "o": "output gate",
    "c": "cell state",
    "h": "output",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
    "y": "output",
}
_GATES = set("iforz")


def plot_history(
    result: OptimizeResult | Mapping[str, ArrayLike], ax: Axes | None = None, *, label: str = ""
) -> Axes:
    """Draw the loss of a run over its iterations.

    Parameters
    ----------
    result : scipy.optimize.OptimizeResult or History
        What `fit` or `minimize` has returned, or its ``history``.
    ax : matplotlib.axes.Axes, optional
        By default one of a new figure. Where a run is drawn already, the colours go on.
    label : str
        The beginning of the lines' names, to tell runs apart.

    Returns
    -------
    matplotlib.axes.Axes
        It has a line for the training loss. Where there was validation, it also has one for the
        validation loss, with a mark at the lowest value, whose parameters the network has. The axis
        of the loss is logarithmic where all losses are above zero and span more than a factor of
        ten.

    Raises
    ------
    TypeError, ValueError
        `result` is something else, or nothing was recorded.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> result = lc.fit(net, x, x, validation_split=0.25, max_iter=20, seed=0)
    >>> ax = lc.plot_history(result)
    >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
    ('iteration', 'loss', 3)
    >>> ax.figure.savefig("history.png")  # doctest: +SKIP
    """
    history = getattr(result, "history", result)
    if not (isinstance(history, Mapping) and "loss" in history):
        raise TypeError(f"result: expected what fit has returned, got {describe(result)}")
    loss = np.asarray(history["loss"], float)
    if not loss.size:
        raise ValueError("result: expected a run that has recorded a loss, got an empty history")
    plt = import_pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    label = f"{label}: " if label else ""
    first, curves = len(ax.lines), [loss]
    style = {"marker": _marker(loss), "markersize": 3}
    ax.plot(loss, color=_colour(first), label=f"{label}training loss", **style)
    if "validation_loss" in history:
        held = np.asarray(history["validation_loss"], float)
        curves.append(held)
        ax.plot(held, color=_colour(first + 1), label=f"{label}validation loss", **style)
        if np.isfinite(held).any():
            best = int(np.nanargmin(held))
            ax.plot(
                best,
                held[best],
                linestyle="none",
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor="black",
                label=f"{label}lowest: {held[best]:.4g} at iteration {best}",
            )
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 10 * values.min():
        ax.set_yscale("log")
    ax.set_xlabel("iteration")
    ax.set_ylabel("loss")
    _count_whole(ax.xaxis)
    ax.grid(True, which="major", color="0.9")
    ax.legend(frameon=False)
    return ax


def plot_gates(
    net: Network, x: ArrayLike, *, layers: int | Sequence[int] | None = None, title: str = ""
) -> Figure:
    """Draw all gates, states and outputs of a network over one sequence.

    The panels stand one below the other over the same axis of time: the inputs, then what
    `Network.trace` gives. Up to seven units are lines; more are an image with a row for each.

    Parameters
    ----------
    net : Network
        With at least one recurrent layer.
    x : (T, I) array_like or (T,) array_like of int
        One sequence of numbers, or of tokens where the network takes them.
    layers : int or sequence of int, optional
        The layers to show; by default all.
    title : str
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Its axes have the names of the panels as labels (``ax.get_label()``): "x", "0.i", ... "y".

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0)
    >>> figure = lc.plot_gates(net, np.random.default_rng(0).normal(size=(30, 2)))
    >>> [ax.get_label() for ax in figure.axes]
    ['x', '0.i', '0.f', '0.g', '0.o', '0.c', '0.h', 'y']
    """
    _check_recurrent(net)
    chosen = _as_layers(layers, net)
    given = as_ndarray(x, "x")
    is_tokens = net.takes_tokens and given.ndim == 1
    if not is_tokens and (given.ndim != 2 or given.shape[1] != net.input_size):
        forms = f"numbers (T, {net.input_size})"
        if net.takes_tokens:
            forms = f"integer tokens (T,) or {forms}"
        raise ValueError(f"x: expected one sequence, {forms}, got {describe(given)}")
    if not len(given):
        raise ValueError("x: expected a sequence of one step or more, got none")
    trace = net.trace([given])
    panels = {"x": given[:, None] if is_tokens else given}
    # The last layer's own output is that of the network before the output units.
    skipped = f"{len(net.layers) - 1}.y"
    for name, values in trace.items():
        if name == "y" or (name != skipped and name.partition(".")[0] in chosen):
            panels[name] = values[0]
    plt = import_pyplot()
    heights = [_height(values) for values in panels.values()]
    figure = plt.figure(figsize=(8, 0.8 + sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    first: Any = None
    for k, (name, values) in enumerate(panels.items()):
        over_time = values.ndim == 2
        ax = figure.add_subplot(grid[k], sharex=first if over_time else None, label=name)
        what = "x  tokens" if name == "x" and is_tokens else _panel_title(name, net)
        ax.set_title(what, loc="left", fontsize=9, pad=3)
        ax.tick_params(labelsize=8)
        if not over_time:
            _draw_bars(ax, values, net)
            continue
        first, last = first or ax, ax
        if name == "x" and is_tokens:
            ax.plot(values[:, 0], color=_COLOURS[0], linestyle="none", marker=".")
        else:
            _draw_values(ax, name, values)
        ax.tick_params(labelbottom=False)
    last.tick_params(labelbottom=True)
    last.set_xlabel("step", fontsize=9)
    first.set_xlim(-0.5, len(given) - 0.5)
    _count_whole(first.xaxis)
    if title:
        figure.suptitle(title)
    return figure


def plot_gradients(
    net: Network,
    X: ArrayLike,
    Y: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    of: str = "h",
    align: str | None = None,
    ax: Axes | None = None,
    label: str = "",
    **data: Unpack[Data],
) -> Axes:
    """Draw how large the loss's derivative by h(t) or c(t) is over time, layer by layer.

    A line that falls by a constant factor from step to step, straight on the logarithmic axis, is
    the vanishing gradient: what happened that far back does not reach the weights.

    Parameters
    ----------
    net : Network
        With at least one recurrent layer.
    X, Y, lengths, **data
        The data: see `Network.prepare`.
    of : {"h", "c"}
        The outputs of recurrent layers, or the cell states of `LSTM` layers, which are what they
        keep for long: see `Network.trace_gradient`.
    align : {"start", "end"}, optional
        Whether time is counted from the first step of each sequence or from its last; by default
        "end" where sequences are read out, else "start".
    ax : matplotlib.axes.Axes, optional
        By default one of a new figure. Where a network is drawn already, the colours go on.
    label : str
        The beginning of the lines' names, to tell networks apart.

    Returns
    -------
    matplotlib.axes.Axes
        For each layer and direction it has a line, the median over the sequences of the Euclidean
        norm of dL/dh(t) or dL/dc(t), and a band from the tenth to the ninetieth percentile. A norm
        of zero is not drawn.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(10, 50, 2)), rng.normal(size=(10, 1))
    >>> net = lc.Network([lc.LSTM(2, 8), lc.Dense(8, 1)], readout="last", seed=0)
    >>> ax = lc.plot_gradients(net, X, y)
    >>> ax.get_xlabel(), ax.get_yscale()
    ('steps before the last', 'log')
    """
    _check_recurrent(net)
    as_choice(of, "of", ("h", "c"))
    if not any(of in layer.states for layer in net.layers):
        raise ValueError(f"of: expected 'h' where no layer is an LSTM, got {of!r}")
    if align is None:
        align = "start" if net.readout == "all" else "end"
    as_choice(align, "align", ("start", "end"))
    examples = net.prepare(X, Y, lengths, **data)
    longest = examples.batch.max_length
    if not longest:
        raise ValueError("X: expected a sequence of one step or more, got none")
    found = net.trace_gradient(X, Y, lengths, **data)
    gradients = {name: values for name, values in found.items() if name.endswith(f".{of}")}
    plt = import_pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    batch = examples.batch
    steps = np.arange(longest) if align == "start" else np.arange(longest) - longest + 1
    label = f"{label}: " if label else ""
    for k, name in enumerate(sorted(gradients, key=_place), len(ax.lines)):
        norms = np.full((batch.size, longest), np.nan)
        for b, dh in enumerate(_sequences(gradients[name], batch)):
            own = slice(0, len(dh)) if align == "start" else slice(longest - len(dh), None)
            norms[b, own] = np.linalg.norm(dh.astype(np.float64), axis=1)
        norms[norms == 0] = np.nan
        there = ~np.isnan(norms).all(axis=0)
        low, middle, high = np.full((3, longest), np.nan)
        low[there], middle[there], high[there] = np.nanpercentile(
            norms[:, there], [10, 50, 90], axis=0
        )
        colour, curve = _colour(k), label + _curve(name, net)
        style = ("-", "--", ":")[k // len(_COLOURS) % 3]
        ax.plot(steps, middle, style, color=colour, marker=_marker(middle), label=curve)
        if batch.size > 1:
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.set_yscale("log")
    ax.set_xlabel("step" if align == "start" else "steps before the last")
    ax.set_ylabel(f"norm of dL/d{of}")
    _count_whole(ax.xaxis)
    ax.grid(True, which="major", color="0.9")
    ax.legend(frameon=False)
    return ax


def import_pyplot():
    """matplotlib.pyplot, or an error that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib, which pip install "lstmcore[plot]" installs'
        ) from error
    return plt


def _count_whole(axis):
    """Ticks at whole numbers alone."""
    axis.get_major_locator().set_params(integer=True)


def _colour(k):
    return _COLOURS[k % len(_COLOURS)]


def _check_recurrent(net):
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    if not any(layer.is_recurrent for layer in net.layers):
        raise ValueError(f"net: expected one with a recurrent layer, got {net!r}")


def _as_layers(layers, net):
    """The numbers of the layers to show, as they stand in names."""
    if layers is None:
        return {str(k) for k in range(len(net.layers))}
    if isinstance(layers, (list, tuple, range)):
        numbers = [as_integer(k, "layers", 0) for k in layers]
    else:
        numbers = [as_integer(layers, "layers", 0)]
    for k in numbers:
        if k >= len(net.layers):
            raise ValueError(f"layers: expected numbers below {len(net.layers)}, got {k}")
    return set(map(str, numbers))


def _sequences(values, batch):
    """What belongs to each sequence, of what `trace_gradient` gives in the form of the inputs."""
    if batch.is_list:
        return values
    if batch.mask is not None:
        return [own[there] for own, there in zip(values, batch.mask, strict=True)]
    return [own[:n] for own, n in zip(values, batch.lengths, strict=True)]


def _place(name):
    """Names in the order of the layers, forward before backward."""
    layer, *rest = name.split(".")
    return int(layer), rest[0] == "backward"


def _curve(name, net):
    layer, *rest = name.split(".")
    kind = net.layers[int(layer)].cell.kind
    return f"layer {layer}, {kind}{', ' + rest[0] if len(rest) > 1 else ''}"


def _panel_title(name, net):
    if name == "x":
        return "x  inputs"
    if name == "y":
        return f"y  outputs ({net.output_units})"
    layer, *directions, what = name.split(".")
    kind = type(net.layers[int(layer)]).__name__
    return ", ".join([f"{name}  {_WHAT[what]}", f"{kind} layer {layer}", *directions])


def _marker(values):
    """A marker where a line alone would show too little."""
    return "." if len(values) <= 30 or np.isfinite(values).sum() <= 1 else None


def _height(values):
    """Inches of a panel: an image of many units has room for them."""
    if values.ndim == 2 and values.shape[1] > _MOST_LINES:
        return min(0.75 + 0.02 * values.shape[1], 2.0)
    return 0.95


def _draw_bars(ax, values, net):
    """Outputs of a whole sequence."""
    ax.bar(np.arange(len(values)), values, color=_COLOURS[0], width=0.6)
    if net.output_units in ("softmax", "logistic"):
        ax.set_ylim(0, 1)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xlabel("output", fontsize=9)
    margin = max(0.6, 4 - len(values) / 2)  # a few bars stay narrow
    ax.set_xlim(-margin, len(values) - 1 + margin)
    if len(values) <= 20:
        ax.set_xticks(range(len(values)))


def _draw_values(ax, name, values):
    """Values (T, n) over time: lines, or an image."""
    low, high = values.min(), values.max()
    is_gate = name.rpartition(".")[2] in _GATES and name != "x" and low >= 0 and high <= 1
    if values.shape[1] <= _MOST_LINES:
        for unit, line in enumerate(values.T):
            ax.plot(line, color=_COLOURS[unit], linewidth=1.2, marker=_marker(line), markersize=4)
        if is_gate:
            ax.set_ylim(-0.05, 1.05)
        else:
            ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        return
    if is_gate:
        limits = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    else:
        bound = max(abs(low), abs(high)) or 1.0
        limits = {"cmap": "PuOr", "vmin": -bound, "vmax": bound}
    image = ax.imshow(
        values.T, aspect="auto", origin="lower", interpolation="nearest", rasterized=True, **limits
    )
    ax.set_ylabel({"x": "input", "y": "output"}.get(name, "unit"), fontsize=8)
    _count_whole(ax.yaxis)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=8)
    bar.ax.tick_params(labelsize=7)

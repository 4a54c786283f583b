"""How good a trained network is, as figures, in words and as a picture."""

from __future__ import annotations

import numpy as np

_MOST_CLASSES = 30  # of a confusion matrix that is printed
_LONGEST = 11  # letters of a class there
_SHOWN_STEPS = 300  # of a sequence in a picture


def score(net, part, train, data):
    """A score as plain data, in words, and what a picture shows of it."""
    outputs, right, naive, before = net.predict(part.X), part.Y, part.naive, train.Y
    shown = outputs, right
    if data.per_step:
        outputs, right, naive = (
            None if parts is None else [y[t:] for y, t in zip(parts, part.begin, strict=True)]
            for parts in (outputs, right, naive)
        )
        shown = outputs[0], right[0]
        outputs, right, naive, before = (
            None if parts is None else np.concatenate(parts)
            for parts in (outputs, right, naive, before)
        )
    if data.are_classes:
        return _classes(outputs, right, before, data)
    what = "mean of training data" if naive is None else "naive forecast"
    naive = before.mean(axis=0) if naive is None else naive
    errors, others = (np.sqrt(np.mean((guess - right) ** 2, axis=0)) for guess in (outputs, naive))
    figures, lines = {}, [f"{'target':<20}{'RMSE':>12}{what:>24}"]
    for k, name in enumerate(data.outputs):
        figures[name] = {"rmse": float(errors[k]), f"rmse of {what}": float(others[k])}
        lines.append(f"{name[:19]:<20}{errors[k]:>12.5g}{others[k]:>24.5g}")
    return figures, "\n".join(lines), shown


def _classes(outputs, right, before, data):
    K, guesses = len(data.outputs), outputs.argmax(axis=1)
    confusion = np.zeros((K, K), int)
    np.add.at(confusion, (right, guesses), 1)
    n, n_right = int(confusion.sum()), int(np.trace(confusion))
    most = int(np.bincount(before, minlength=K).argmax())
    simple = float(confusion[most].sum() / n)
    figures = {
        "accuracy": n_right / n,
        "accuracy of the most frequent class": simple,
        "confusion": confusion.tolist(),
    }
    of = f"{n} steps" if data.per_step else n
    text = f"accuracy {n_right / n:.3f} ({n_right} of {of}); always {data.outputs[most]!r}: "
    text += f"{simple:.3f}"
    if K <= _MOST_CLASSES:
        names = [name[:_LONGEST] for name in data.outputs]
        first, other = "is \\ said", max(4, *(len(name) + 1 for name in names))
        column = max(len(first), other)
        lines = [f"{first:>{column}}" + "".join(f"{name:>{other}}" for name in names)]
        for name, counts in zip(names, confusion, strict=True):
            numbers = "".join(f"{count or '.':>{other}}" for count in counts)
            lines.append(f"{name:>{column}}{numbers}")
        text += "\n" + "\n".join(lines)
    return figures, text, (confusion,)


# ---------------------------------------------------------------------------------------- pictures


def draw(path, result, data, *shown):
    from matplotlib.figure import Figure

    from ..plots import plot_history

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_history(result, ax=left)
    if data.are_classes:
        _draw_confusion(right, shown[0], data.outputs)
    elif data.per_step:
        _draw_steps(right, *shown, data.outputs)
    else:
        _draw_values(right, *shown, data.outputs)
    figure.savefig(path, dpi=120)


def _draw_confusion(ax, confusion, names):
    ax.imshow(confusion, cmap="Blues")
    ax.set_xlabel("what the network says")
    ax.set_ylabel("what it is")
    if len(names) <= _MOST_CLASSES:
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set_yticks(range(len(names)), names)
    if len(names) <= 12:
        for (row, column), count in np.ndenumerate(confusion):
            dark = count > 0.6 * confusion.max()
            colour = "white" if dark else "black"
            ax.text(column, row, count or "", ha="center", va="center", color=colour)


def _draw_steps(ax, outputs, right, names):
    outputs, right = outputs[-_SHOWN_STEPS:, 0], right[-_SHOWN_STEPS:, 0]
    ax.plot(right, color="black", linewidth=1, label="in the data")
    ax.plot(outputs, color="#D55E00", linewidth=1.2, label="by the network")
    ax.set_xlabel("step")
    ax.set_ylabel(names[0])
    ax.legend(frameon=False)


def _draw_values(ax, outputs, right, names):
    ax.plot(right[:, 0], outputs[:, 0], ".", color="#0072B2")
    ends = [right[:, 0].min(), right[:, 0].max()]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.set_xlabel(f"{names[0]} in the data")
    ax.set_ylabel(f"{names[0]} by the network")

"""The notes that ``train`` leaves in a model's file, and ``predict`` looks for there.

``inputs``: the columns; ``sequence``: the column of sequences; ``classes`` or ``targets``: the
outputs; ``horizon``: how many steps later a forecast is for. ``vocabulary``: the tokens, letters or
words, which whoever saves a network of text may leave there for ``generate``.
"""

from __future__ import annotations

from .._checks import describe


def names_noted(net, note, count=None):
    """The names in a note as a list, or None where there is none; `count` is how many they are."""
    names = net.notes.get(note)
    if names is None:
        return None
    if isinstance(names, str) or count not in (None, len(names)):
        expected = "a list of names" if count is None else f"a list of {count} names"
        got = describe(names if isinstance(names, str) else list(names))
        raise ValueError(f"MODEL: expected {expected} as its note {note!r}, got {got}")
    return list(names)


def text_noted(net, note):
    """The text of a note, or None where there is none."""
    text = net.notes.get(note)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"MODEL: expected text as its note {note!r}, got {describe(list(text))}")
    return text

"""`Misfit`: why something of one library is nothing of the other."""

_MOST_LINES = 50  # of one error
_LONGEST = 250  # characters of one of them


class Misfit(ValueError):
    """Raised for one layer and collected, so that one error names all of them."""


def refuse(what, misfits):
    """Raise one ValueError that names every misfit.

    Parameters
    ----------
    what : str
        What was expected and what came, up to a colon.
    misfits : list of (str, str)
        A layer, as one knows it, and what is the matter with it.
    """
    lines = [_shown(f"{who}: {why}") for who, why in misfits[:_MOST_LINES]]
    if len(misfits) > _MOST_LINES:
        lines.append(f"and {len(misfits) - _MOST_LINES} more")
    raise ValueError(f"{what}:" + "".join(f"\n  {line}" for line in lines))


def _shown(text):
    """A line of what a file says, which may be anything."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

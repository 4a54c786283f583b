"""`Misfit`: why something of one library is nothing of the other."""


class Misfit(ValueError):
    """Raised for one layer and collected, so that one error names all of them."""


def refuse(what, misfits, instead=""):
    """Raise one ValueError that names every misfit.

    Parameters
    ----------
    what : str
        What was expected and what came, up to a colon.
    misfits : list of (str, str)
        A layer, as one knows it, and what is the matter with it.
    instead : str
        The way out.
    """
    most = 50
    lines = [f"{who}: {why}" for who, why in misfits[:most]]
    if len(misfits) > most:
        lines.append(f"and {len(misfits) - most} more")
    text = "".join(f"\n  {line}" for line in lines)
    raise ValueError(f"{what}:{text}{instead}")

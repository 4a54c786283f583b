"""Save and load: a network as one file of plain data. See `_archive` for the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._archive import read, refusing
from ._checks import describe
from ._description import FORMAT, VERSION, network_of
from .network import Network

if TYPE_CHECKING:
    from ._types import NotesLike, Path

__all__ = ["load", "save"]


def save(net: Network, path: Path, *, notes: NotesLike | None = None) -> None:
    """Write a network, options and parameters, to one file.

    A reader sees the old file or the new one, never half of one: the bytes go to a temporary file
    beside it, are flushed to the disk, and take the old file's place at once. A process that is
    killed meanwhile leaves ``.NAME.PROCESS-RANDOM.tmp``, which may be deleted.

    Parameters
    ----------
    net : Network
    path : str or path-like
        Overwritten if it exists; the new file has the old one's permissions.
    notes : mapping of str to str or sequence of str, optional
        What the file says of the network, for `Network.notes` of whoever loads it. By default those
        that the network has.

    Raises
    ------
    TypeError
        `net` is not a Network, or its loss is a function, which a file cannot hold. Or `notes` are
        not text.
    ValueError
        What is there is no file: a directory, a pipe, a device. Or there are so many layers, or a
        loss with options so long, that what describes them would be larger than `load` reads: 1 MB.
    OSError
        The file cannot be written; what was there before is still there.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     net.save(os.path.join(directory, "m.npz"))
    ...     again = lc.load(os.path.join(directory, "m.npz"))
    >>> bool((again.params == net.params).all())
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    net.save(path, notes=notes)


def load(path: Path) -> Network:
    """Read a network that `save` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        Not such a file, damaged, cut short, of a newer version, or with sizes that it does not
        hold. Any bytes at all are safe to load.
    OSError
        The file cannot be read.

    Notes
    -----
    Parameters that are NaN or infinite are loaded as they were saved, so that one can look at a
    training that went wrong; ``python -m lstmcore info`` counts them.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmcore as lc
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "m.npz")
    ...     lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], seed=0).save(path)
    ...     lc.load(path)
    Network([LSTM(3, 8), Dense(8, 2)], loss='squared_error', readout='all', dtype='float64')
    """
    with refusing(path, "a network's file"):
        return Network._of(*network_of(*read(path, FORMAT, VERSION)))

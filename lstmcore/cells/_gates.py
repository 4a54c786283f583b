"""The one place that moves rows by the names of gates: other programs have other orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from ._cell import Cell


def reorder(
    array: npt.ArrayLike, cell: Cell, order: str, *, inverse: bool = False
) -> npt.NDArray[Any]:
    """Put the rows of an array into another order of gates.

    Parameters
    ----------
    array : (rows, ...) array
        W, R, b, or what else has the cell's rows.
    cell : Cell
    order : str
        A letter for each gate, first to last. Gates that the cell lacks are skipped; a cell
        without gates leaves everything where it is.
    inverse : bool
        The rows are in `order`, and are put into the cell's own.

    Returns
    -------
    (rows, ...) array
        A copy.

    Raises
    ------
    ValueError
        A gate of the cell is not in `order`, or twice, or the array has another number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmcore import LSTM
    >>> from lstmcore.cells import reorder
    >>> cell = LSTM(1, 2).cell
    >>> list(cell.gates)
    ['i', 'f', 'g', 'o']
    >>> reorder(np.arange(8), cell, "ifog")
    array([0, 1, 2, 3, 6, 7, 4, 5])
    >>> reorder(reorder(np.arange(8), cell, "ifog"), cell, "ifog", inverse=True)
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    array = np.asarray(array)
    if not cell.gates:
        return array.copy()
    letters = [gate for gate in order if gate in cell.gates]
    if sorted(letters) != sorted(cell.gates):
        raise ValueError(f"order: expected each of {', '.join(cell.gates)} once, got {order!r}")
    rows = np.concatenate([np.r_[cell.gates[gate]] for gate in letters])
    if array.shape[:1] != rows.shape:
        raise ValueError(f"array: expected {len(rows)} rows, got shape {array.shape}")
    if inverse:
        rows = np.argsort(rows)
    return array[rows]

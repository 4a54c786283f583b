"""Two small real data sets, as published, inside the package.

Japanese Vowels
    Nine male speakers utter the Japanese vowels /ae/ one after the other; 12 linear-prediction
    cepstrum coefficients a time step, 7 to 29 steps an utterance; 270 utterances to train on, 370
    to test on.
    M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through
    regions", Pattern Recognition Letters 20 (11-13), 1999. UCI Machine Learning Repository,
    doi:10.24432/C5NS47. Licence: CC BY 4.0.
Sunspots
    Yearly mean sunspot numbers, 1700 to 2008 (the series before its revision of 2015), by the
    National Geophysical Data Center, as in statsmodels. Public domain.

``_make.py`` beside this file made the data files from the published ones.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

__all__ = ["JapaneseVowels", "Sunspots", "load_japanese_vowels", "load_sunspots"]


class JapaneseVowels(NamedTuple):
    """Utterances and speakers: 270 to train on, 370 to test on."""

    X_train: list[npt.NDArray[np.float64]]
    y_train: npt.NDArray[np.intp]
    X_test: list[npt.NDArray[np.float64]]
    y_test: npt.NDArray[np.intp]


class Sunspots(NamedTuple):
    """Years, 1700 to 2008, and the mean sunspot number of each."""

    years: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.float64]


def load_japanese_vowels() -> JapaneseVowels:
    """Japanese Vowels, in the published order and split (Kudo et al. 1999; CC BY 4.0).

    Returns
    -------
    JapaneseVowels
        ``X_train``, ``y_train``, ``X_test``, ``y_test``: utterances are float64 arrays of shape
        (T_b, 12), 7 <= T_b <= 29; labels are the speakers, 0 to 8.

    Examples
    --------
    >>> from lstmcore.datasets import load_japanese_vowels
    >>> X_train, y_train, X_test, y_test = load_japanese_vowels()
    >>> len(X_train), len(X_test), X_train[0].shape
    (270, 370, (20, 12))
    """
    parts: list[Any] = []
    with (files(__name__) / "japanese_vowels.npz").open("rb") as file, np.load(file) as data:
        for part in ("train", "test"):
            # Six decimals were published; whole numbers of 1e-6 give each its nearest float64.
            steps = data[f"{part}_steps"] / 1e6
            ends = np.cumsum(data[f"{part}_lengths"], dtype=np.intp)[:-1]
            parts += [[u.copy() for u in np.split(steps, ends)]]
            parts += [data[f"{part}_labels"].astype(np.intp)]
    return JapaneseVowels(*parts)


def load_sunspots() -> Sunspots:
    """Yearly mean sunspot numbers, 1700 to 2008 (public domain).

    Returns
    -------
    Sunspots
        ``years`` (309,) of int and ``numbers`` (309,) of float64.

    Examples
    --------
    >>> from lstmcore.datasets import load_sunspots
    >>> years, numbers = load_sunspots()
    >>> int(years[-1]), float(numbers[-1])
    (2008, 2.9)
    """
    text = (files(__name__) / "sunspots.csv").read_text(encoding="ascii")
    years, numbers = zip(*(line.split(",") for line in text.splitlines()[1:]), strict=True)
    return Sunspots(np.array(years, dtype=np.intp), np.array(numbers, dtype=np.float64))

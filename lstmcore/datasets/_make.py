"""Makes this package's data files from the published ones.

    python lstmcore/datasets/_make.py VOWELS_DIRECTORY SUNSPOTS_CSV

VOWELS_DIRECTORY holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts in the text format of the
time series classification archive (the Python package aeon carries them under
aeon/datasets/data/JapaneseVowels). SUNSPOTS_CSV is the file sunspots.csv of statsmodels, under
statsmodels/datasets/sunspots.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DECIMALS = 6


def read_ts(path):
    """Utterances as (T_b, 12) integers in units of 1e-6, and labels 0 to 8, of a .ts file."""
    header, data = path.read_text(encoding="utf-8").split("@data\n")
    assert "@dimensions 12" in header and "@classLabel true 1 2 3 4 5 6 7 8 9" in header
    utterances, labels = [], []
    for line in data.splitlines():
        *channels, label = line.split(":")
        values = np.array([[float(v) for v in channel.split(",")] for channel in channels]).T
        micro = np.rint(values * 10**DECIMALS).astype(np.int32)
        assert (micro / 10**DECIMALS == values).all(), "a value with more than six decimals"
        utterances.append(micro)
        labels.append(int(label) - 1)
    return utterances, labels


def make_japanese_vowels(directory):
    arrays = {}
    for part in ("train", "test"):
        utterances, labels = read_ts(directory / f"JapaneseVowels_{part.upper()}.ts")
        arrays[f"{part}_steps"] = np.concatenate(utterances)
        arrays[f"{part}_lengths"] = np.array([len(u) for u in utterances], dtype=np.uint8)
        arrays[f"{part}_labels"] = np.array(labels, dtype=np.uint8)
    np.savez_compressed(HERE / "japanese_vowels.npz", **arrays)


def make_sunspots(path):
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["YEAR"]), row["SUNACTIVITY"]) for row in csv.DictReader(file)]
    assert [year for year, _ in rows] == list(range(1700, 2009))
    lines = ["year,sunspots", *(f"{year},{number}" for year, number in rows)]
    (HERE / "sunspots.csv").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vowels_directory", type=Path)
    parser.add_argument("sunspots_csv", type=Path)
    arguments = parser.parse_args()
    make_japanese_vowels(arguments.vowels_directory)
    make_sunspots(arguments.sunspots_csv)

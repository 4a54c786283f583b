"""The table of docs/accuracy.md: the largest errors of exp, tanh and logistic in this build.

    LSTMCORE_ISA=avx2 python bench/accuracy.py

Arguments and errors are those of tests/test_accuracy.py, which holds the promise.
"""

import sys
from pathlib import Path

import numpy as np

from lstmcore import _dispatch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import test_accuracy as accuracy

COUNT = 4_000_000
WIDER = {"float32": np.float64, "float64": np.longdouble}


def main():
    if np.finfo(np.longdouble).nmant < 63:
        raise SystemExit("accuracy.py: long double is no wider than double on this machine")
    print("| build | function | type | largest error (ulp) | at x = | promised |")
    print("| --- | --- | --- | --- | --- | --- |")
    for function, (_, exactly, _) in accuracy.FUNCTIONS.items():
        for dtype, wider in WIDER.items():
            x = accuracy.arguments(function, dtype, COUNT)
            exact = exactly(x.astype(wider))
            errors = accuracy.ulps(accuracy.apply(_dispatch.kernels, function, x), exact)
            worst = np.argmax(errors)
            print(
                f"| {_dispatch.ISA} | {function} | {dtype} | {errors[worst]:.2f} | "
                f"{x[worst]:.9g} | {accuracy.PROMISED[dtype]} |"
            )


if __name__ == "__main__":
    main()

"""The table of docs/accuracy.md: the largest errors of exp, tanh and logistic in this build.

    LSTMCORE_ISA=avx2 python bench/accuracy.py

Errors are measured as in tests/test_accuracy.py, on more arguments: first its own kind, then as
many again within a tenth of the worst of them, since the worst errors lie in narrow bands.
"""

import sys
from pathlib import Path

import numpy as np

from lstmcore import _dispatch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import test_accuracy as accuracy

COUNT = 4_000_000
WIDER = {"float32": np.float64, "float64": np.longdouble}


def errors_at(function, dtype, x):
    exact = accuracy.FUNCTIONS[function][1](x.astype(WIDER[dtype]))
    return accuracy.ulps(accuracy.apply(_dispatch.kernels, function, x), exact)


def worst(function, dtype):
    """The largest error found and its argument."""
    x = accuracy.arguments(function, dtype, COUNT)
    near = x[np.argmax(errors_at(function, dtype, x))] * np.random.default_rng(1).uniform(
        0.9, 1.1, COUNT
    )
    low, high = accuracy.ENDS[function, dtype]
    x = np.concatenate([x, near[(near >= low) & (near <= high)].astype(dtype)])
    errors = errors_at(function, dtype, x)
    return errors.max(), x[np.argmax(errors)]


def main():
    if np.finfo(np.longdouble).nmant < 63:
        raise SystemExit("accuracy.py: long double is no wider than double on this machine")
    print("| build | function | type | largest error (ulp) | at x = | promised |")
    print("| --- | --- | --- | --- | --- | --- |")
    for function in accuracy.FUNCTIONS:
        for dtype in WIDER:
            error, x = worst(function, dtype)
            promised = accuracy.PROMISED[dtype]
            verdict = f"{promised}" if error <= promised else f"{promised}, **not met**"
            print(f"| {_dispatch.ISA} | {function} | {dtype} | {error:.2f} | {x:.9g} | {verdict} |")


if __name__ == "__main__":
    main()

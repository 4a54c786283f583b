"""The firmware of examples/text.py writes on the board what it writes here.

pytest -m embedded tests/embedded
"""

from pathlib import Path

import numpy as np
import pytest
from targets import CORTEX_M4F

import lstmcore as lc

pytestmark = pytest.mark.embedded


def test_the_board_writes_what_this_machine_writes(monkeypatch, tmp_path):
    if CORTEX_M4F.missing():
        pytest.skip(f"not installed: {', '.join(CORTEX_M4F.missing())}")
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "examples")
    import text

    symbols = np.array(["\n", " ", '"', "\\", "a", "é"])
    layers = [lc.LSTM(6, 8, tokens=True), lc.Dense(8, 6)]
    net = lc.Network(layers, "cross_entropy", dtype="float32", seed=0)
    ((written, where),) = text.in_c(net, symbols, 60, tmp_path, board=True).items()
    assert where == ["this machine", "the Cortex-M4F"]
    assert len(written) == 61 and set(written) == set(symbols)  # and a newline at the end

"""Every kind of export on every target: the recorded outputs must come out.

    pytest -m embedded tests/embedded
"""

import sys
from pathlib import Path

import pytest

from lstmcore.export import export_c

sys.path.insert(0, str(Path(__file__).parent))

import models
from targets import TARGETS

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("name", models.networks())
def test_self_test_passes(name, dtype, target, tmp_path):
    if target.missing():
        pytest.skip(f"not installed: {', '.join(target.missing())}")
    export_c(models.network(name), tmp_path, name="model", dtype=dtype, data=models.sequences())
    program = tmp_path / "model.elf"
    target.build([tmp_path / "model.c", tmp_path / "model_selftest.c"], program)
    assert "passed" in target.run(program)

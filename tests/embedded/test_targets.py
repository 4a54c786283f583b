"""Every kind of export on every target: the recorded outputs must come out.

    pytest -m embedded tests/embedded
"""

import export_models
import pytest
from targets import TARGETS

from lstmcore.export import export_c

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("name", export_models.networks())
def test_self_test_passes(name, dtype, target, tmp_path):
    if target.missing():
        pytest.skip(f"not installed: {', '.join(target.missing())}")
    net, data = export_models.network(name), export_models.sequences()
    export_c(net, tmp_path, name="model", dtype=dtype, data=data)
    program = tmp_path / "model.elf"
    target.build([tmp_path / "model.c", tmp_path / "model_selftest.c"], program)
    assert "passed" in target.run(program)

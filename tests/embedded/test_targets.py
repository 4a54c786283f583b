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
    sources = [tmp_path / "model.c", tmp_path / "model_selftest.c"]
    target.build(sources, program, ["-DLSTMRT_SELFTEST_MAIN"])
    assert "passed" in target.run(program)


PRINT_BITS = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "model.h"
static model_state state;

int main(void)
{
    float x[MODEL_INPUTS] = {0}, y[MODEL_OUTPUTS];
    uint32_t bits[MODEL_OUTPUTS], k, j;
    model_reset(&state);
    for (k = 0; k < 200; k++) {
        x[k % MODEL_INPUTS] = (float)(k * 37 % 64) / 32.0f - 1.0f;
        model_step(&state, x, y);
        memcpy(bits, y, sizeof bits);
        for (j = 0; j < MODEL_OUTPUTS; j++)
            printf("%08lx ", (unsigned long)bits[j]);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    "name", ["plain", "full_recurrence", "activations", "stack", "gru", "gru_activations"]
)
def test_without_fused_multiply_add_all_targets_give_the_same_bits(name, tmp_path):
    export_c(export_models.network(name), tmp_path, name="model")
    (tmp_path / "main.c").write_text(PRINT_BITS)
    said = {}
    for target in TARGETS:
        if not target.missing():
            program = tmp_path / f"{target.name}.elf"
            flags = ["-DLSTMRT_NO_FMA", "-ffp-contract=off"]
            target.build([tmp_path / "model.c", tmp_path / "main.c"], program, flags)
            said[target.name] = target.run(program)
    assert len(said) > 1
    assert len(set(said.values())) == 1, sorted(said)

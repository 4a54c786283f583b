"""Every kind of export on every target: the recorded outputs must come out.

pytest -m embedded tests/embedded
"""

import export_models
import numpy as np
import pytest
from targets import TARGETS

import lstmcore as lc
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


TEXT = """
#include <stdint.h>
#include <stdio.h>
#include "model.h"
static model_state state;

int main(void)
{
    %(real)s y[MODEL_OUTPUTS];
    uint64_t seed = 1;
    size_t token = 0;
    int t;
    model_reset(&state);
    for (t = 0; t < 100; t++) {
        token = model_generate(&state, token, (%(real)s)0.8f, model_uniform(&seed), y);
        printf("%%d ", (int)token);
    }
    return 0;
}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_all_targets_write_pythons_text(dtype, tmp_path):
    rng, V = np.random.default_rng(0), 12
    layers = [lc.LSTM(V, 14, peepholes=True, tokens=True), lc.Dense(14, V)]
    net = lc.Network(layers, "cross_entropy", dtype="float64" if dtype == "float64" else "float32")
    net.params[...] = rng.normal(scale=0.7, size=net.params.size)
    data = rng.integers(0, V, (4, 100))
    export_c(net, tmp_path, name="model", dtype=dtype, data=data)
    real = "double" if dtype == "float64" else "float"
    (tmp_path / "main.c").write_text(TEXT % {"real": real})
    said = {}
    for target in TARGETS:
        if not target.missing():
            program = tmp_path / f"{target.name}.elf"
            target.build([tmp_path / "model.c", tmp_path / "main.c"], program)
            said[target.name] = target.run(program).split()
    assert said
    if dtype != "int8":  # which has numbers of its own
        uniform = Given(split_mix(1, 24 if dtype == "float32" else 53))
        temperature = float(np.float32(0.8))
        wanted = net.generate(0, 100, rng=uniform, temperature=temperature)
        said["python"] = [str(token) for token in wanted]
    assert len({tuple(text) for text in said.values()}) == 1, said


class Given(np.random.Generator):
    """A generator whose uniform numbers are given."""

    def __new__(cls, numbers):
        return super().__new__(cls, np.random.PCG64(0))

    def __init__(self, numbers):
        super().__init__(np.random.PCG64(0))
        self.numbers = numbers

    def random(self, shape):
        return np.array([next(self.numbers) for _ in range(np.prod(shape))]).reshape(shape)


def split_mix(seed, bits):
    """The uniform numbers of NAME_uniform."""
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        yield ((z ^ (z >> 31)) >> (64 - bits)) / 2**bits

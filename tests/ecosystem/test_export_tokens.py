"""Exports of networks that read tokens: a step of a token, and texts drawn in C."""

import ctypes
import shutil
import subprocess

import export_models
import numpy as np
import pytest
from helpers import same_bits
from test_export import COMPILER, WARNINGS, Compiled, compile_c, in_dtype

import lstmcore as lc
from lstmcore.export import export_c

pytestmark = [
    pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler"),
    # a few tokens are enough to compare two ways to the same bits
    pytest.mark.filterwarnings("ignore::lstmcore.CalibrationWarning"),
]

# sizes beside the tiles of four rows and columns, and panels of 64 rows
NETWORKS = {
    "LSTM": [lc.LSTM(9, 5, tokens=True)],
    "LSTM, more than a panel": [lc.LSTM(8, 33, peepholes=True, tokens=True)],
    "gate recurrence": [lc.LSTM(6, 7, peepholes=True, gate_recurrence=True, tokens=True)],
    "GRU": [lc.GRU(7, 6, tokens=True), lc.RNN(6, 4)],
    "GRU, reset before": [lc.GRU(5, 23, reset_after=False, tokens=True)],
    "RNN": [lc.RNN(10, 3, tokens=True)],
    "Dense": [lc.Dense(5, 6, activation="tanh", tokens=True), lc.LSTM(6, 4)],
    "Embedding": [lc.Embedding(11, 3), lc.GRU(3, 4)],
}


def text_network(name, readout="all", head=True, **options):
    layers = list(NETWORKS[name])
    V = layers[0].input_size
    if head:
        layers.append(lc.Dense(layers[-1].output_size, V))
    net = lc.Network(layers, "cross_entropy", readout, seed=0, **options)
    net.params[...] = np.random.default_rng(0).normal(scale=0.6, size=net.params.size)
    return net


def text(net, T=40):
    return np.random.default_rng(1).integers(0, net.input_size, (1, T))


class Texts(Compiled):
    """With the functions of tokens."""

    def step_token(self, token, state=None, *, with_outputs=True):
        y = np.empty(self.net.output_size, self.real) if with_outputs else None
        state = self.state if state is None else state
        pointer = None if y is None else ctypes.c_void_p(y.ctypes.data)
        self.code.model_step_token(self._state(state), ctypes.c_size_t(token), pointer)
        return y

    def generate(self, token, uniform, temperature=1.0, y=None):
        c_real = ctypes.c_double if self.real == np.float64 else ctypes.c_float
        y = np.empty(self.net.output_size, self.real) if y is None else y
        self.code.model_generate.restype = ctypes.c_size_t
        drawn, state = [], self.new_state()
        for u in uniform:
            token = self.code.model_generate(
                self._state(state),
                ctypes.c_size_t(token),
                c_real(temperature),
                c_real(u),
                ctypes.c_void_p(y.ctypes.data),
            )
            drawn.append(token)
        return drawn


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_a_token_is_that_of_its_one_hot_vector(name, dtype, tmp_path):
    net = text_network(name)
    compiled = Texts(net, tmp_path, dtype, data=text(net))
    other, one_hot = compiled.new_state(), np.eye(net.input_size)
    for token in [*range(net.input_size), *text(net)[0]]:
        same_bits(compiled.step_token(token), compiled.step(one_hot[token], other))
    compiled.step_token(0, with_outputs=False)
    compiled.step(one_hot[0], other)
    same_bits(compiled.step_token(1), compiled.step(one_hot[1], other))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("readout", ["last", "mean", "max", "last_step"])
@pytest.mark.parametrize("head", [True, False])
def test_a_step_of_a_token_is_read_out(readout, head, dtype, tmp_path):
    net = text_network("GRU", readout, head)
    compiled = Texts(net, tmp_path, dtype, data=text(net))
    other, one_hot = compiled.new_state(), np.eye(net.input_size)
    for token in text(net)[0]:
        same_bits(compiled.step_token(token), compiled.step(one_hot[token], other))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_a_table_alone_has_a_step_of_a_token(dtype, tmp_path):
    net = lc.Network([lc.Embedding(6, 5)], "cross_entropy", seed=0)
    compiled = Texts(net, tmp_path, dtype, data=text(net))
    for token, one_hot in enumerate(np.eye(6)):
        same_bits(compiled.step_token(token), compiled.step(one_hot))


class Given(np.random.Generator):
    """A generator whose uniform numbers are given."""

    def __new__(cls, numbers):
        return super().__new__(cls, np.random.PCG64(0))

    def __init__(self, numbers):
        super().__init__(np.random.PCG64(0))
        self.numbers = np.asarray(numbers, float)

    def random(self, shape):
        return self.numbers.reshape(shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_is_pythons_from_the_same_uniform_numbers(name, dtype, tmp_path):
    net = in_dtype(text_network(name), dtype)
    compiled = Texts(net, tmp_path, dtype)
    uniform = np.random.default_rng(4).integers(0, 2**24, 300) / 2**24
    for temperature in (1.0, 0.6, 2.0, 0):
        wanted = net.generate(1, 300, rng=Given(uniform), temperature=temperature)
        assert compiled.generate(1, uniform, temperature) == wanted.tolist()


def test_int8_draws_from_its_own_outputs(tmp_path):
    net = text_network("LSTM")
    compiled, y = Texts(net, tmp_path, "int8", data=text(net)), np.empty(9, np.float32)
    other, token = compiled.new_state(), 3
    uniform = np.random.default_rng(4).random(100, np.float32)
    for u, drawn in zip(uniform, compiled.generate(3, uniform, y=y), strict=True):
        probabilities = compiled.step_token(token, other)
        below = np.cumsum(probabilities)
        assert drawn == (below <= u * below[-1]).sum()
        token = drawn
    same_bits(y, probabilities)


def test_temperature_0_leaves_the_probabilities(tmp_path):
    net = text_network("GRU")
    compiled, y = Texts(net, tmp_path, "float64"), np.empty(7)
    compiled.generate(2, [0.5], 0.0, y)
    assert y == pytest.approx(net.predict(np.array([[2]]))[0, 0], abs=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_class_of_no_probability_is_never_drawn(dtype, tmp_path):
    compiled = Texts(text_network("RNN"), tmp_path, dtype)
    c_real = ctypes.c_double if dtype == "float64" else ctypes.c_float
    compiled.code.model_draw.restype = ctypes.c_size_t
    y = np.array([0, 0.25, 0, 1, 0.5, 0, 0.25, 0, 0, 0], dtype)
    pointer = ctypes.c_void_p(y.ctypes.data)
    last = 1 - 2.0**-24
    drawn = [
        compiled.code.model_draw(pointer, c_real(u))
        for u in (0, 0.124, 0.125, 0.62, 0.625, 0.87, 0.875, last)
    ]
    assert drawn == [1, 1, 3, 3, 4, 4, 6, 6]


def split_mix(seed):
    """SplitMix64's numbers."""
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        yield z ^ (z >> 31)


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 24), ("float64", 53), ("int8", 24)])
def test_uniform_numbers_are_those_of_split_mix(dtype, bits, tmp_path):
    net = text_network("RNN")
    compiled = Texts(net, tmp_path, dtype, data=text(net))
    draw = compiled.code.model_uniform
    draw.restype = ctypes.c_double if dtype == "float64" else ctypes.c_float
    seed, numbers = ctypes.c_uint64(0), split_mix(0)
    first = next(numbers)
    assert first == 0xE220A8397B1DCDAF  # of the authors' program
    assert draw(ctypes.byref(seed)) == (first >> (64 - bits)) / 2**bits
    for _ in range(1000):
        assert draw(ctypes.byref(seed)) == (next(numbers) >> (64 - bits)) / 2**bits


def test_what_draws_no_tokens_has_no_draws(tmp_path):
    nets = {
        "numbers": export_models.network("plain"),
        "other_outputs": export_models.network("tokens"),
        "more_classes": lc.Network([lc.LSTM(3, 4, tokens=True), lc.Dense(4, 5)], "cross_entropy"),
        "whole": lc.Network(
            [lc.LSTM(3, 4, tokens=True, bidirectional=True), lc.Dense(8, 3)], "cross_entropy"
        ),
    }
    for name, net in nets.items():
        export_c(net, tmp_path, name)
        header = (tmp_path / f"{name}.h").read_text()
        assert "_generate" not in header
        assert ("_step_token" in header) == (name in ("other_outputs", "more_classes"))
    assert not any((tmp_path / "numbers").glob("lstmrt_tokens.h"))
    export_c(nets["numbers"], tmp_path / "alone")
    assert not (tmp_path / "alone" / "lstmrt_tokens.h").exists()


MAIN = """
#include "model.h"
static model_state state;
int main(void)
{
    %(real)s y[MODEL_OUTPUTS];
    uint64_t seed = 7;
    size_t token = 0;
    int t;
    model_reset(&state);
    for (t = 0; t < 2000; t++)
        token = model_generate(&state, token, (%(real)s)(t %% 3), model_uniform(&seed), y);
    return token >= MODEL_OUTPUTS;
}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("name", ["LSTM", "GRU, reset before", "Embedding"])
def test_generation_is_clean_under_warnings_and_sanitizers(name, dtype, tmp_path):
    net = text_network(name)
    export_c(net, tmp_path, "model", dtype=dtype, data=text(net))
    real = "double" if dtype == "float64" else "float"
    (tmp_path / "main.c").write_text(MAIN % {"real": real})
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [tmp_path / "model.c", tmp_path / "main.c"]
    program = compile_c(sources, tmp_path / "run", "-g", "-O1", *WARNINGS, *sanitizers)
    subprocess.run([str(program)], check=True, timeout=60)

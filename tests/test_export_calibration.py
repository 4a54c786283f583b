"""int8 exports: what calibration needs, what it says of itself, what shows at run time."""

import ctypes
import os
import shutil
import subprocess

import numpy as np
import pytest
from test_export import Compiled, compile_c, trained_like

import lstmcore as lc

has_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc").split()[0]) is None, reason="no C compiler"
)
WAVE = np.sin(0.2 * np.arange(1000)).reshape(10, 100, 1) * np.linspace(0.5, 1, 10)[:, None, None]


def wave_network(**options):
    return trained_like(lc.LSTM(1, 8), lc.Dense(8, 1), **options)


@pytest.fixture(scope="module")
def vowels():
    """A trained network, the training data and test data."""
    data = lc.datasets.load_japanese_vowels()
    scaler = lc.Scaler().fit(data.X_train)
    X, X_test = scaler.transform(data.X_train), scaler.transform(data.X_test)
    layers = [lc.LSTM(12, 16, peepholes=True), lc.Dense(16, 9)]
    net = lc.Network(layers, "cross_entropy", "mean", seed=0)
    lc.fit(net, X, data.y_train, l2=3e-3, target=0.15)
    return net, X, X_test, data.y_test


def outputs(net, folder, data, X):
    compiled = Compiled(net, folder, "int8", data)
    y = []
    for x in X:
        compiled.code.model_reset(compiled._state(compiled.state))
        y.append(compiled.sequence(x))
    return np.array(y), compiled.report


@has_compiler
@pytest.mark.parametrize("utterances", [1, 2, 5, 270])
def test_few_utterances_give_a_warning_and_the_right_classes(utterances, vowels, tmp_path):
    net, X, X_test, labels = vowels
    if utterances < 80:
        with pytest.warns(lc.CalibrationWarning, match=f"layer1 has 16 .* {utterances} sequences"):
            y, _ = outputs(net, tmp_path, X[:utterances], X_test)
    else:
        y, _ = outputs(net, tmp_path, X, X_test)
    wanted = net.predict(X_test)
    lost = (wanted.argmax(1) == labels).mean() - (y.argmax(1) == labels).mean()
    assert lost < 0.01
    assert np.sqrt(np.square(y - wanted).mean()) < 0.02


@pytest.mark.filterwarnings("ignore::lstmcore.CalibrationWarning")
@pytest.mark.parametrize("steps", [100, 400, 1600])
def test_the_error_is_that_on_data_not_calibrated_with(steps, tmp_path):
    net = trained_like(lc.LSTM(8, 24), lc.Dense(24, 2))
    rng = np.random.default_rng(0)
    data, others = rng.standard_normal((10, steps // 10, 8)), rng.standard_normal((20, 100, 8))
    report = lc.export_c(net, tmp_path, "model", dtype="int8", data=data)
    compiled = Compiled(net, tmp_path / "c", "int8", data)
    difference = []
    for x in others:
        compiled.code.model_reset(compiled._state(compiled.state))
        difference.append(compiled.sequence(x) - net.predict(x[None])[0])
    rms = np.sqrt(np.mean(np.square(difference)))
    assert 0.5 < report.details["rms_error"] / rms < 2


@pytest.mark.parametrize("readout", ["last", "mean", "max", "last_step"])
@pytest.mark.parametrize("seed", range(6))
def test_a_head_is_not_refused_for_what_makes_good_the_errors_before_it(seed, readout, tmp_path):
    net = lc.Network([lc.LSTM(1, 8), lc.Dense(8, 2)], readout=readout, seed=seed)
    net.params *= 3
    data = np.random.default_rng(0).standard_normal((40, 50, 1)) * 0.5
    lc.export_c(net, tmp_path, dtype="int8", data=data)
    with pytest.warns(lc.CalibrationWarning):
        lc.export_c(net, tmp_path, dtype="int8", data=data[:10], overwrite=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WAVE * 0 + 0.5, "input 0 is always 0.5, so that nothing is known of its range"),
        (WAVE * 1e-6, "they move no pre-activation of layer0 by more than"),
        (WAVE[:1, :20], "layer0 has 9 columns of weights and 20 time steps"),
        (WAVE[:, :2], "layer0 has 9 columns of weights and 20 time steps"),
    ],
    ids=["constant", "tiny", "short", "short sequences"],
)
def test_data_that_say_little_are_warned_of(data, words, tmp_path):
    with pytest.warns(lc.CalibrationWarning, match=words) as caught:
        lc.export_c(wave_network(), tmp_path, dtype="int8", data=data)
    assert caught[0].filename == __file__


def test_enough_data_are_not_warned_of(tmp_path):
    lc.export_c(wave_network(), tmp_path, dtype="int8", data=WAVE)


def test_one_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="data: expected at least two time steps for int8"):
        lc.export_c(wave_network(), tmp_path, dtype="int8", data=WAVE[:1, :1])


def test_an_outlier_is_named_as_the_cause(tmp_path):
    data = WAVE.copy()
    data[3, 4] = 1e6
    with pytest.raises(ValueError, match=r"input 0 of it is \d+ times as large at one step"):
        lc.export_c(wave_network(), tmp_path, dtype="int8", data=data)


# ------------------------------------------------------------------------------- at run time


class Flagged(Compiled):
    """An int8 export whose flag of saturation can be read."""

    def __init__(self, net, folder, data):
        super().__init__(net, folder, "int8", data)
        source = folder / "flag.c"
        source.write_text(
            '#include "model.h"\n'
            "int flag(const model_state *s);\n"
            "int flag(const model_state *s) { return s->saturated; }\n"
            "static const float ranges[] = MODEL_INPUT_RANGES;\n"
            "float range(int k);\n"
            "float range(int k) { return ranges[k]; }\n"
        )
        path = compile_c([source], folder / "flag.so", "-shared", "-fPIC")
        self._flags = ctypes.CDLL(str(path))
        self._flags.range.restype = ctypes.c_float

    @property
    def saturated(self):
        return self._flags.flag(self._state(self.state))

    def range(self, k):
        return self._flags.range(k)


@has_compiler
@pytest.mark.parametrize("value", [1.3, -1.3, 1e30, np.inf, -np.inf, np.nan])
def test_inputs_out_of_range_show_until_the_reset(value, tmp_path):
    net = wave_network()
    compiled = Flagged(net, tmp_path, WAVE)
    assert abs(compiled.range(0) - 1.25) < 1e-3
    for x in WAVE[-1]:
        compiled.step(x)
    assert compiled.saturated == 0
    compiled.code.model_reset(compiled._state(compiled.state))
    y = compiled.step([value])
    assert compiled.saturated == 1
    nearest = 0 if np.isnan(value) else np.copysign(compiled.range(0), value)
    compiled.step([0.1])
    assert compiled.saturated == 1
    compiled.code.model_reset(compiled._state(compiled.state))
    assert compiled.saturated == 0
    assert y == compiled.step([nearest])
    assert compiled.saturated == 0


@has_compiler
@pytest.mark.parametrize(
    "layer",
    [
        lc.LSTM(1, 4, forget_gate=False),
        lc.LSTM(1, 4, forget_gate=False, output_activation="identity"),
        lc.RNN(1, 4, activation="identity"),
        lc.GRU(1, 4, cell_activation="identity"),
        lc.Dense(1, 4, activation="identity"),
    ],
    ids=["cell state", "LSTM", "RNN", "GRU", "Dense"],
)
def test_signals_that_outgrow_their_integers_show(layer, tmp_path):
    """What has no bound reaches further in a long sequence, or where two inputs meet."""
    layers = [lc.Dense(2, 1), layer, lc.Dense(4, 1)]
    net = lc.Network(layers, seed=0)
    net.params[...] = 0.1
    net.blocks["0.W"][...] = 1
    if layer.is_recurrent:
        net.blocks["1.R"][...] = np.tile(np.eye(4), (len(net.blocks["1.R"]) // 4, 1))
    calm = np.zeros((20, 20, 2))
    calm[::2, :, 0], calm[1::2, :, 1] = (0.5 + 0.01 * np.arange(20)[:10, None] for _ in range(2))
    compiled = Flagged(net, tmp_path, calm)
    for x in calm[-1]:
        compiled.step(x)
    assert compiled.saturated == 0
    for _ in range(200):
        compiled.step([0.55, 0.55])
    assert compiled.saturated == 1


@has_compiler
def test_a_whole_sequence_clears_the_flag_before_it_reads(tmp_path):
    net = trained_like(lc.LSTM(1, 3, bidirectional=True), lc.Dense(6, 1))
    compiled = Flagged(net, tmp_path, WAVE)
    compiled.sequence(WAVE[-1] * 10)
    assert compiled.saturated == 1
    compiled.sequence(WAVE[-1])
    assert compiled.saturated == 0


# ------------------------------------------------------------------------- means over long streams


@has_compiler
@pytest.mark.parametrize("flags", [["-O2"], ["-O3", "-ffast-math"]], ids=" ".join)
def test_a_mean_over_ten_million_steps_is_exact(flags, tmp_path):
    net = lc.Network([lc.RNN(1, 1, activation="identity")], readout="mean", seed=0)
    net.params[...] = 0
    net.blocks["0.W"][...] = 1
    lc.export_c(net, tmp_path, "model")
    program = tmp_path / "main.c"
    program.write_text(
        '#include <stdio.h>\n#include "model.h"\nstatic model_state s;\n'
        "int main(void) { long t; float x, y; double sum = 0; model_reset(&s);\n"
        "for (t = 0; t < 10000000; t++) { x = 0.7f + (float)(t % 7) * 0.01f; sum += (double)x;\n"
        "model_step(&s, &x, NULL); }\n"
        'model_step(&s, &x, &y); sum += (double)x; printf("%.3g", (double)y * 10000001 / sum - 1);'
        "return 0; }\n"
    )
    compile_c([program, tmp_path / "model.c"], tmp_path / "main", *flags)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert abs(float(done.stdout)) < 2e-7


@has_compiler
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_a_mean_of_what_is_not_finite_is_what_python_has(value, tmp_path):
    layers = [lc.RNN(1, 1, activation="identity")]
    net = lc.Network(layers, readout="mean", seed=0, dtype="float32")
    net.params[...] = 0
    net.blocks["0.W"][...] = 1
    compiled = Compiled(net, tmp_path, "float32")
    x = np.array([[1.0], [value], [2.0], [value]], np.float32)
    with np.errstate(over="ignore"):
        wanted = net.predict(x[None], check_finite=False)[0]
    np.testing.assert_array_equal(compiled.sequence(x), wanted)

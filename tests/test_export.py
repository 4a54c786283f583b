"""The C export, compiled by the host's compiler and compared with the network in Python.

The same self-tests on other processors are in tests/embedded.
"""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import export_models
import numpy as np
import pytest

import lstmcore as lc
from lstmcore.__main__ import main
from lstmcore.export import export_c, run_self_test

COMPILER = os.environ.get("CC", "cc").split()
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror"]
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}

pytestmark = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")


def compile_c(sources, output, *flags, standard="-std=c99", compiler=None):
    command = [*(compiler or COMPILER), standard, *flags, *map(str, sources), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return output


class Compiled:
    """An export as a shared library: `step`, `sequence`, any number of states."""

    def __init__(self, net, directory, dtype, data=None, flags=("-O2",)):
        self.net = net
        self.report = export_c(net, directory, "model", dtype=dtype, data=data)
        path = compile_c(
            [directory / "model.c"], directory / "model.so", "-shared", "-fPIC", *flags
        )
        self.code = ctypes.CDLL(str(path))
        self.real = np.dtype("float64" if dtype == "float64" else "float32")
        self.state = self.new_state()

    def new_state(self):
        # guarded on both sides
        memory = np.full(self.report.state_bytes + 256, 0x5A, dtype=np.uint8)
        self.code.model_reset(self._state(memory))
        return memory

    def _state(self, memory):
        return ctypes.c_void_p(memory.ctypes.data + 128)

    def step(self, x, state=None):
        x, y = np.array(x, self.real), np.empty(self.net.output_size, self.real)
        state = self.state if state is None else state
        self.code.model_step(self._state(state), *_pointers(x, y))
        return y

    def sequence(self, x, *, state=None):
        x = np.array(x, self.real)
        rows = (len(x),) if self.net.readout == "all" else ()
        y = np.empty((*rows, self.net.output_size), self.real)
        buffer = np.empty(max(1, len(x) * self.report.buffer_bytes_per_step), dtype=np.uint8)
        x_pointer, y_pointer, buffer_pointer = _pointers(x, y, buffer)
        state = self.state if state is None else state
        self.code.model_sequence(
            self._state(state), x_pointer, ctypes.c_size_t(len(x)), y_pointer, buffer_pointer
        )
        assert (state[:128] == 0x5A).all()
        return y


def _pointers(*arrays):
    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]


def in_dtype(net, dtype):
    same = lc.Network(**(net.options | {"dtype": dtype}), seed=0)
    same.params = net.params
    return same


def trained_like(*layers, seed=0, **options):
    """A network with peepholes and biases that are not zero."""
    net = lc.Network(list(layers), seed=seed, **options)
    net.params += 0.1 * np.random.default_rng(seed).standard_normal(net.params.size)
    return net


# ------------------------------------------------------------------ the same numbers as Python


@pytest.mark.parametrize("dtype, ulps", [("float32", 7), ("float64", 4)])
def test_exponential_outputs_are_exact_but_for_a_few_roundings(dtype, ulps, tmp_path):
    net = lc.Network([lc.Dense(1, 1)], "poisson", dtype=dtype)
    net.params[...] = 1, 0
    info = np.finfo(dtype)
    x = np.linspace(np.log(info.tiny) + 1, np.log(info.max) - 1e-3, 20_001).astype(dtype)
    y = Compiled(net, tmp_path, dtype).sequence(x[:, None])[:, 0]
    exact = np.exp(x.astype(np.longdouble))
    assert (np.abs(y - exact) <= ulps * info.eps * exact).all()
    ends = Compiled(net, tmp_path / "ends", dtype).sequence(np.array([[1e4], [-1e4]]))
    np.testing.assert_array_equal(ends, [[np.inf], [0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", export_models.networks())
def test_every_network_gives_pythons_outputs(name, dtype, tmp_path):
    net = export_models.network(name)
    compiled = Compiled(net, tmp_path, dtype, flags=("-O1", *WARNINGS))
    x = export_models.sequences()[0]
    wanted = in_dtype(net, dtype).predict(x[None].astype(dtype))[0]
    error = np.abs(compiled.sequence(x) - wanted).max()
    assert error <= TOLERANCE[dtype] * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("name", export_models.networks())
def test_int8_gives_the_recorded_outputs_and_states_its_error(name, tmp_path):
    net, data = export_models.network(name), export_models.sequences()
    report = export_c(net, tmp_path, "model", dtype="int8", data=data)
    run_self_test(tmp_path, "model", flags=["-O1", *WARNINGS])
    size = max(1, np.abs(net.predict(data)).max())
    # a cell that never forgets adds its errors up
    integrates = name in ("no_gates", "no_squashing")
    assert 0 < report.details["rms_error"] < (0.2 if integrates else 0.02) * size
    assert report.error > report.details["rms_error"]


@pytest.mark.parametrize(
    "name",
    ["plain", "coupled", "no_squashing", "gru", "gru_reset_before", "reverse_last"],
)
def test_int8_gives_the_integers_of_the_model_in_numpy(name, tmp_path):
    """Where nothing goes through float, and the outputs' own activation rounds nothing."""
    layers, _, readout = export_models.networks()[name]
    net = trained_like(*layers, readout=readout)
    data = export_models.sequences(count=50)
    export_c(net, tmp_path, "model", dtype="int8", data=data)
    assert "largest difference 0," in run_self_test(tmp_path, "model")


def test_int8_rounds_outputs_of_the_largest_range(tmp_path):
    """The value of the activation has fewer fractional bits than a signal might have."""
    layers = [lc.RNN(3, 4, activation=("scaled_tanh", 4e4, 1e-5)), lc.Dense(4, 1)]
    export_c(trained_like(*layers), tmp_path, dtype="int8", data=export_models.sequences())
    run_self_test(tmp_path)


@pytest.mark.parametrize("cell", [lc.LSTM(2, 32, peepholes=True), lc.GRU(2, 32)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_stay_pythons_over_10000_steps(dtype, cell, tmp_path):
    net = trained_like(cell, lc.Dense(32, 2))
    x = np.random.default_rng(1).standard_normal((10_000, 2))
    wanted = in_dtype(net, dtype).predict(x[None].astype(dtype))[0]
    got = Compiled(net, tmp_path, dtype).sequence(x)
    assert np.abs(got - wanted).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("cell", [lc.LSTM, lc.GRU])
@pytest.mark.parametrize("readout", ["all", "last", "last_step", "mean", "max"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_steps_and_sequences_give_the_same_bits_in_any_state(readout, dtype, cell, tmp_path):
    net = trained_like(cell(3, 8), lc.Dense(8, 2), readout=readout)
    data = export_models.sequences()
    compiled = Compiled(net, tmp_path, dtype, data)
    whole = compiled.sequence(data[0])
    first, second = compiled.new_state(), compiled.new_state()
    for x in data[0]:
        y = compiled.step(x, first)
        compiled.step(-x, second)  # another sequence in between
    assert (y == (whole[-1] if readout == "all" else whole)).all()
    chunks = compiled.new_state()
    compiled.sequence(data[0, :7], state=chunks)
    rest = compiled.sequence(data[0, 7:], state=chunks)
    assert (rest == (whole[7:] if readout == "all" else whole)).all()


@pytest.mark.parametrize("readout", ["last", "last_step", "mean", "max"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
def test_a_sequence_without_steps_is_read_out_as_in_python(readout, direction, tmp_path):
    layer = lc.LSTM(3, 4, direction=direction, learn_initial_state=True)
    net = trained_like(layer, lc.Dense(layer.output_size, 2), readout=readout)
    wanted = net.predict(np.zeros((1, 0, 3)))[0]
    got = Compiled(net, tmp_path, "float64").sequence(np.zeros((0, 3)))
    assert np.abs(got - wanted).max() <= 1e-12


@pytest.mark.parametrize(("cell", "gates"), [(lc.LSTM, 4), (lc.GRU, 3)])
def test_masked_weights_do_not_count(cell, gates, tmp_path):
    mask = np.random.default_rng(0).random((4 * gates, 4)) < 0.5
    net = trained_like(cell(3, 4, R_mask=mask), lc.Dense(4, 1))
    x = export_models.sequences()[0]
    got = Compiled(net, tmp_path, "float64").sequence(x)
    assert np.abs(got - net.predict(x[None])[0]).max() <= 1e-12


def test_x_and_y_may_be_the_same_array(tmp_path):
    net = trained_like(lc.LSTM(3, 8), lc.Dense(8, 3))
    compiled = Compiled(net, tmp_path, "float32")
    both = np.array([0.1, 0.2, 0.3], np.float32)
    wanted = compiled.step(both)
    compiled.code.model_step(compiled._state(compiled.new_state()), *_pointers(both, both))
    assert (both == wanted).all()


@pytest.mark.parametrize("cell", [lc.LSTM, lc.GRU])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_wild_inputs_give_what_python_gives(value, cell, tmp_path):
    net = trained_like(cell(1, 8), lc.Dense(8, 3), loss="cross_entropy")
    got = Compiled(net, tmp_path, "float64").step([value])
    wanted, _ = net.step([value], check_finite=False)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_literals_read_back_as_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    net = lc.Network([lc.Dense(40, 40)], seed=0)
    net.blocks["0.W"][...] = rng.standard_normal((40, 40)) * 10.0 ** rng.integers(-38, 30, (40, 40))
    for dtype, suffix in (("float32", "f"), ("float64", "")):
        export_c(net, tmp_path, f"model{dtype}", dtype=dtype)
        text = (tmp_path / f"model{dtype}.c").read_text()
        numbers = re.search(r"layer0_weights\[1640\] = \{(.*?)\}", text, re.DOTALL)[1]
        read = [float(number.strip().removesuffix(suffix)) for number in numbers.split(",")[:-1]]
        assert (np.array(read, dtype)[40:] == net.blocks["0.W"].T.ravel().astype(dtype)).all()


# ------------------------------------------------------------------------------- as C is judged


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_compiles_without_a_warning(compiler, dtype, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    standard = "-std=c99"
    flags = list(WARNINGS)
    if compiler.endswith("++"):
        standard, flags = "-std=c++11", ["-x", "c++", *flags]
    for name, optimization in (
        ("bidirectional", "-O2"),
        ("full_recurrence", "-O3"),
        ("gru", "-O2"),
        ("reverse", "-O1"),
    ):
        net = export_models.network(name)
        export_c(net, tmp_path, name, dtype=dtype, data=export_models.sequences())
        for source in (f"{name}.c", f"{name}_selftest.c"):
            compile_c(
                [tmp_path / source],
                tmp_path / "model.o",
                *flags,
                optimization,
                "-c",
                standard=standard,
                compiler=[compiler],
            )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize(
    "flags", [["-DLSTMRT_NO_FMA", "-ffp-contract=off"], ["-DLSTMRT_NO_LIBM"]], ids=" ".join
)
def test_passes_with_every_switch_and_needs_no_library(flags, dtype, tmp_path):
    net, data = export_models.network("activations"), export_models.sequences()
    export_c(net, tmp_path, "model", dtype=dtype, data=data)
    run_self_test(tmp_path, "model", flags=["-O2", *flags])
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    compile_c([tmp_path / "model.c"], tmp_path / "model.o", "-O2", "-c", *flags)
    symbols = subprocess.run(
        ["nm", str(tmp_path / "model.o")], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    kinds = {line.split()[-2]: line.split()[-1] for line in symbols if line}
    undefined = {line.split()[-1] for line in symbols if " U " in line}
    assert undefined <= {"memcpy", "memset", "memmove"}
    assert not {"D", "B", "C", "d", "b"} & set(kinds)  # no memory of its own


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_clean_under_sanitizers_on_wild_inputs(dtype, tmp_path):
    program = tmp_path / "program.c"
    program.write_text(
        """
        #include <math.h>
        #include "model.h"
        int main(void)
        {
            static const double wild[] = {0, 1, -1, 1e3, -1e9, 1e30, -1e300, 1e-300};
            static model_state state;
            int k, j;
            model_reset(&state);
            for (k = 0; k < 1000; k++) {
                REAL x[MODEL_INPUTS], y[MODEL_OUTPUTS];
                for (j = 0; j < MODEL_INPUTS; j++)
                    x[j] = k == 990 ? (REAL)NAN : (REAL)wild[(k * 7 + j * 3 + k / 8) % 8];
                model_step(&state, x, y);
            }
            return 0;
        }
        """
    )
    for name in ("full_recurrence", "no_squashing", "gru", "gru_without_bounds"):
        net, data = export_models.network(name), export_models.sequences()
        export_c(net, tmp_path, "model", dtype=dtype, data=data, overwrite=True)
        real = "double" if dtype == "float64" else "float"
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        sources = [tmp_path / "model.c", program]
        compile_c(sources, tmp_path / "wild", "-g", f"-DREAL={real}", *sanitizers, "-lm")
        subprocess.run([str(tmp_path / "wild")], check=True, timeout=60)
        run_self_test(tmp_path, "model", flags=["-g", *sanitizers])


def test_never_allocates(tmp_path):
    guard = tmp_path / "guard.c"
    guard.write_text(
        """
        #include <stdlib.h>
        int under_test;
        void *__real_malloc(size_t);
        void *__wrap_malloc(size_t n) { if (under_test) abort(); return __real_malloc(n); }
        void *__real_calloc(size_t, size_t);
        void *__wrap_calloc(size_t n, size_t m)
        { if (under_test) abort(); return __real_calloc(n, m); }
        void *__real_realloc(void *, size_t);
        void *__wrap_realloc(void *p, size_t n)
        { if (under_test) abort(); return __real_realloc(p, n); }
        """
    )
    program = tmp_path / "program.c"
    program.write_text(
        """
        #include "model.h"
        extern int under_test;
        int main(void)
        {
            static model_state state;
            float x[MODEL_INPUTS] = {0}, y[MODEL_OUTPUTS];
            int k;
            under_test = 1;
            model_reset(&state);
            for (k = 0; k < 100; k++)
                model_step(&state, x, y);
            under_test = 0;
            return 0;
        }
        """
    )
    export_c(export_models.network("stack"), tmp_path, "model")
    wraps = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc")]
    compile_c([tmp_path / "model.c", program, guard], tmp_path / "program", *wraps)
    subprocess.run([str(tmp_path / "program")], check=True, timeout=60)


def test_two_networks_live_in_one_program(tmp_path):
    for name in ("first", "second"):
        export_c(trained_like(lc.LSTM(1, 4), lc.Dense(4, 1)), tmp_path, name)
    program = tmp_path / "program.c"
    program.write_text(
        '#include "first.h"\n#include "second.h"\nstatic first_state a; static second_state b;\n'
        "int main(void) { float x = 1, y[2]; first_reset(&a); second_reset(&b);\n"
        "first_step(&a, &x, y); second_step(&b, &x, y + 1); return y[0] < y[1] || y[0] > y[1]; }\n"
    )
    sources = [tmp_path / name for name in ("first.c", "second.c", "program.c")]
    compile_c(sources, tmp_path / "program")
    subprocess.run([str(tmp_path / "program")], check=True, timeout=60)


@pytest.mark.parametrize(
    "name",
    [
        "stack",
        "bidirectional",
        "full_recurrence",
        "no_squashing",
        "dense",
        "gru_bidirectional",
        "vanilla",
        "max",
        "bidirectional_max",
        "no_output_gate",
        "gru_activations",
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_the_report_knows_the_size_of_the_state(name, dtype, tmp_path):
    net = export_models.network(name)
    report = export_c(net, tmp_path, "model", dtype=dtype, data=export_models.sequences())
    program = tmp_path / "program.c"
    program.write_text(
        '#include <stdio.h>\n#include "model.h"\n'
        'int main(void) { printf("%d", (int)sizeof(model_state)); return 0; }\n'
    )
    path = compile_c([program], tmp_path / "program")
    said = subprocess.run([str(path)], capture_output=True, text=True, check=True).stdout
    assert int(said) == report.state_bytes


def test_no_name_is_one_of_the_librarys_own_header(tmp_path):
    """One program may include an export and lstmcore.h: the prefixes differ."""
    for name, dtype in (("bidirectional", "float32"), ("stack", "int8")):
        net, data = export_models.network(name), export_models.sequences()
        report = export_c(net, tmp_path, f"{name}_{dtype}", dtype=dtype, data=data)
        for path in report.files:
            assert path.name.startswith((name, "lstmrt_"))
            assert not re.findall(r"\blstmcore_\w*", path.read_text(), re.IGNORECASE)


# ------------------------------------------------------------------------------------- int8


@pytest.mark.filterwarnings("ignore::lstmcore.ConvergenceWarning")
def test_int8_follows_a_trained_network(tmp_path):
    years = np.arange(200)[None, :, None]
    wave = np.sin(0.3 * years) * np.exp(-years / 200)
    net = lc.Network([lc.LSTM(1, 32, peepholes=True), lc.Dense(32, 1)], seed=0)
    lc.fit(net, wave[:, :-1], wave[:, 1:], max_iter=60)
    report = export_c(net, tmp_path, "model", dtype="int8", data=wave, self_test=True)
    large = export_c(net, tmp_path, "large", dtype="float32")
    assert report.error <= 1e-3
    assert report.details["rms_error"] < report.error
    assert report.constant_bytes < 0.3 * large.constant_bytes


def test_int8_knows_tokens_from_numbers(tmp_path):
    net = trained_like(lc.LSTM(5, 8, tokens=True), lc.Dense(8, 5), loss="cross_entropy")
    tokens = np.random.default_rng(0).integers(0, 5, (3, 30))
    report = export_c(net, tmp_path, "model", dtype="int8", data=tokens, self_test=True)
    assert report.error < 0.05


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "name",
    [
        "",
        "3d",
        "a-b",
        "a b",
        "é",
        "int",
        "class",
        "_x",
        "a__b",
        "x;",
        "../x",
        "lstmcore_x",
        "lstmrt_x",
        "LSTMRT",
    ],
)
def test_names_that_are_no_identifiers_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: expected"):
        export_c(trained_like(lc.Dense(1, 1)), tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 3}, TypeError, "name"),
        ({"dtype": "int4"}, ValueError, "dtype"),
        ({"dtype": "int8"}, ValueError, "data"),
        ({"data": np.zeros((2, 5))}, (TypeError, ValueError), "data"),
        ({"data": np.zeros((0, 5, 1))}, ValueError, "data"),
        ({"data": [[[np.nan]]]}, ValueError, "data"),
        ({"overwrite": "yes"}, TypeError, "overwrite"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export_c(trained_like(lc.Dense(1, 1)), tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_no_network_or_not_finite_is_refused(tmp_path):
    with pytest.raises(TypeError, match="net"):
        export_c("model.npz", tmp_path)
    net = trained_like(lc.Dense(1, 1))
    net.params[0] = np.nan
    with pytest.raises(ValueError, match="net"):
        export_c(net, tmp_path)


def test_files_are_replaced_only_when_asked(tmp_path):
    net = trained_like(lc.Dense(1, 1))
    export_c(net, tmp_path, "model")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"model\.h"):
        export_c(trained_like(lc.Dense(1, 1), seed=1), tmp_path, "model")
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    export_c(net, tmp_path, "other")  # the runtime is there already, and the same
    (tmp_path / "lstmrt_math.h").write_text("/* edited */")
    with pytest.raises(FileExistsError, match=r"lstmrt_math\.h"):
        export_c(net, tmp_path, "third")
    export_c(net, tmp_path, "third", overwrite=True, self_test=True)


@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_what_reads_from_the_end_has_no_step(direction, tmp_path):
    layer = lc.LSTM(1, 2, direction=direction)
    net = trained_like(layer, lc.Dense(layer.output_size, 1))
    export_c(net, tmp_path, "model")
    header = (tmp_path / "model.h").read_text()
    assert "model_step(" not in header
    assert "model_sequence(" in header
    assert "there is no single step" in header


def test_a_failing_self_test_is_an_error(tmp_path):
    export_c(trained_like(lc.Dense(1, 1)), tmp_path, "model")
    path = tmp_path / "model_selftest.c"
    text = re.sub(r"(lstmrt_y\[32\] = \{\s*)[^,]*", r"\g<1>7.0f", path.read_text())
    path.write_text(text)
    with pytest.raises(RuntimeError, match="FAILED"):
        run_self_test(tmp_path, "model")


# ------------------------------------------------------------------------------- command line


def test_command_line_exports_and_tests(tmp_path, capsys):
    net = trained_like(lc.LSTM(2, 4), lc.Dense(4, 1))
    net.save(tmp_path / "wave.npz")
    X = np.random.default_rng(0).standard_normal((3, 20, 2))
    np.savez(tmp_path / "data.npz", X=X, lengths=[20, 5, 9])
    out = str(tmp_path / "out")
    assert main(["export", str(tmp_path / "wave.npz"), out, "--self-test"]) == 0
    assert "passed" in capsys.readouterr().out
    arguments = ["export", str(tmp_path / "wave.npz"), out, "--name", "small", "--dtype", "int8"]
    assert main([*arguments, "--data", str(tmp_path / "data.npz"), "--self-test"]) == 0
    assert "passed" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "wave.npz"), out]) == 1
    assert "overwrite" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "wave.npz")]) == 0
    assert "LSTM(2, 4)" in capsys.readouterr().out


# ------------------------------------------------------------------------- features of a sequence


FEATURED = {
    "stack": lambda: [lc.LSTM(3, 5, peepholes=True), lc.GRU(5, 4), lc.Dense(4, 2)],
    "gate recurrence": lambda: [lc.LSTM(3, 4, gate_recurrence=True), lc.Dense(4, 2)],
    "both directions": lambda: [lc.LSTM(3, 4, bidirectional=True), lc.RNN(8, 3)],
}


@pytest.mark.parametrize("readout", ["all", "last", "mean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FEATURED)
def test_initial_states_from_features(name, dtype, readout, tmp_path):
    layers = FEATURED[name]()
    states = sum(layer.output_size * len(layer.states) for layer in layers)
    initial = lc.Dense(2, states, activation="tanh", bias=name == "stack")
    net = trained_like(*layers, readout=readout, initial=initial)
    net.params += np.random.default_rng(1).standard_normal(net.params.size) * 0.2
    features, x = np.array([[0.4, -1.3]]), export_models.sequences()[:1]
    export_c(net, tmp_path, "model", dtype=dtype, data=x, features=features)
    run_self_test(tmp_path, "model", flags=["-O1", *WARNINGS])
    (tmp_path / "again").mkdir()
    export_c(net, tmp_path / "again", "model", dtype=dtype, self_test=True)  # of noise
    source = (tmp_path / "model.h").read_text()
    assert "#define MODEL_FEATURES 2" in source and "void model_reset(" not in source


def test_features_that_an_export_cannot_have(tmp_path):
    plain, net = (trained_like(lc.LSTM(3, 4), initial=initial) for initial in (None, 2))
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64' with a network"):
        export_c(net, tmp_path, dtype="int8", data=export_models.sequences())
    with pytest.raises(ValueError, match=r"features: expected shape \(n, 2\), got \(1, 3\)"):
        export_c(net, tmp_path, features=np.ones((1, 3)))
    with pytest.raises(ValueError, match="features: expected None with a network"):
        export_c(plain, tmp_path, features=np.ones((1, 2)))
    mixed = lc.Network([lc.MixedEmbedding([3], [2], n_numbers=2), lc.LSTM(4, 3)], seed=0)
    with pytest.raises(ValueError, match="net: expected a first layer that the C code has"):
        export_c(mixed, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_every_file_names_its_licence_whose_text_is_beside_it(dtype, tmp_path):
    net = lc.Network([lc.LSTM(1, 3), lc.Dense(3, 1)], seed=0)
    data = np.random.default_rng(0).normal(size=(4, 50, 1))
    report = export_c(net, tmp_path, dtype=dtype, data=data)
    licence = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
    texts = {path.name: path.read_text(encoding="utf-8") for path in report.files}
    assert texts.pop("lstmrt_license.txt") == licence
    for name, text in texts.items():
        assert "SPDX-License-Identifier: BSD-3-Clause" in text, name
        assert "SPDX-FileCopyrightText: 2026 the lstmcore developers" in text, name

"""What an export asks of a compiler: no library, any level of optimization, any width of int.

pytest -m embedded tests/embedded/test_compilers.py
"""

import dataclasses
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import export_models
import numpy as np
import pytest
from targets import CORTEX_M0, CORTEX_M4F, POWERPC, WARNINGS, run

import lstmcore as lc
from lstmcore.export import export_c

pytestmark = pytest.mark.embedded

NEWLIB = Path("/usr/include/newlib")
# What a compiler may call: copies, and its own routines for what the processor cannot do.
COPIES = re.compile(r"memcpy|memset|memmove|__aeabi_mem(cpy|set|clr|move)[48]?")
OWN = re.compile(r"__\w+")

ARM = {
    "M0+": ("thumbv6m-none-eabi", "-mcpu=cortex-m0plus", "-mfloat-abi=soft"),
    "M3": ("thumbv7m-none-eabi", "-mcpu=cortex-m3", "-mfloat-abi=soft"),
    "M4F": ("thumbv7em-none-eabihf", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "M7": ("thumbv7em-none-eabihf", "-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
    "M33": ("thumbv8m.main-none-eabihf", "-mcpu=cortex-m33", "-mfloat-abi=hard"),
    "M55": ("thumbv8.1m.main-none-eabihf", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
}
WITH_FLOAT = {"M4F", "M7", "M33", "M55", "aarch64", "rv32imafc", "powerpc"}


def compilers():
    """name -> (processor, command)"""
    found = {}
    for name, (triple, *flags) in ARM.items():
        found[f"gcc-{name}"] = name, ["arm-none-eabi-gcc", "-mthumb", *flags]
        for clang in ("clang", "clang-19"):
            found[f"{clang}-{name}"] = name, [clang, f"--target={triple}", *flags]
    for clang in ("clang", "clang-19"):
        found[f"{clang}-aarch64"] = "aarch64", [clang, "--target=aarch64-none-elf"]
        flags = ["--target=riscv32-unknown-elf", "-march=rv32imafc", "-mabi=ilp32f"]
        found[f"{clang}-rv32imafc"] = "rv32imafc", [clang, *flags]
    zig = [sys.executable, "-m", "ziglang", "cc"]
    zig += ["-fno-sanitize=undefined", "-fno-exceptions", "-fno-unwind-tables"]
    flags = ["-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp"]
    found["zig-M4F"] = "M4F", [*zig, *flags]
    picolibc = ["riscv64-unknown-elf-gcc", "--specs=picolibc.specs"]
    found["gcc-rv32imafc"] = "rv32imafc", [*picolibc, "-march=rv32imafc", "-mabi=ilp32f"]
    found["gcc-rv32imc"] = "rv32imc", [*picolibc, "-march=rv32imc", "-mabi=ilp32"]
    found["gcc-avr"] = "avr", ["avr-gcc", "-mmcu=atmega2560"]
    found["gcc-powerpc"] = "powerpc", ["powerpc-linux-gnu-gcc"]
    return found


def skip_without(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def undefined_symbols(path):
    said = run(["nm", "--undefined-only", "--format=posix", str(path)])
    return {line.split()[0] for line in said.splitlines() if line and not line.endswith(":")}


@pytest.mark.parametrize("level", ["-O0", "-Os", "-O2"])
@pytest.mark.parametrize("compiler", compilers())
def test_a_bare_object_needs_no_library(compiler, level, tmp_path):
    processor, command = compilers()[compiler]
    skip_without(command[0], "nm")
    if compiler.startswith("zig") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("not installed: ziglang")
    if not compiler.startswith("gcc"):
        if not NEWLIB.is_dir():
            pytest.skip("not installed: libnewlib-dev")
        command = [*command, "-isystem", str(NEWLIB)]
    for name, dtype in (("gru_activations", "float32"), ("vanilla", "float32"), ("gru", "int8")):
        net, data = export_models.network(name), export_models.sequences()
        export_c(net, tmp_path, "model", dtype=dtype, data=data, overwrite=True)
        target = tmp_path / "model.o"
        run([*command, *WARNINGS, level, "-c", str(tmp_path / "model.c"), "-o", str(target)])
        needed = {name for name in undefined_symbols(target) if not COPIES.fullmatch(name)}
        if processor in WITH_FLOAT and dtype == "float32":
            assert not needed
        assert not {symbol for symbol in needed if not OWN.fullmatch(symbol)}


# ------------------------------------------------------------------------ levels of optimization


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("compiler", ["arm-none-eabi-gcc", "clang", "clang-19"])
@pytest.mark.parametrize("level", ["-O0", "-Og", "-Os", "-O3"])
def test_every_level_takes_little_flash_and_stack(level, compiler, dtype, tmp_path):
    skip_without(compiler, "arm-none-eabi-size")
    command = [compiler, *CORTEX_M4F.flags]
    if compiler != "arm-none-eabi-gcc":
        command += ["--target=thumbv7em-none-eabihf", "-isystem", str(NEWLIB)]
    net, data = lc.Network([lc.LSTM(1, 32), lc.Dense(32, 1)], seed=0), np.ones((20, 20, 1))
    data *= np.random.default_rng(0).standard_normal(data.shape)
    export_c(net, tmp_path, "model", dtype=dtype, data=data)
    code, stack = {}, {}
    for each in (level, "-O2"):
        target = tmp_path / "model.o"
        source = str(tmp_path / "model.c")
        run([*command, each, "-fstack-usage", "-c", source, "-o", str(target)])
        code[each] = int(run(["arm-none-eabi-size", str(target)]).splitlines()[1].split()[0])
        usage = (tmp_path / "model.su").read_text().splitlines()
        stack[each] = max(int(line.split("\t")[1]) for line in usage)
    gcc = compiler == "arm-none-eabi-gcc"
    assert code[level] < code["-O2"] + (1500 if gcc else 10_000)
    assert stack[level] < (300 if gcc else 500)


@pytest.mark.parametrize("target", [CORTEX_M0, POWERPC], ids=lambda target: target.name)
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("name", ["plain", "bidirectional", "gru_activations", "blocks", "max"])
def test_self_test_passes_at_every_level(name, dtype, level, target, tmp_path):
    if target.missing():
        pytest.skip(f"not installed: {', '.join(target.missing())}")
    net, data = export_models.network(name), export_models.sequences()
    export_c(net, tmp_path, "model", dtype=dtype, data=data)
    program, sources = tmp_path / "model.elf", [tmp_path / "model.c", tmp_path / "model_selftest.c"]
    target.build(sources, program, ["-DLSTMRT_SELFTEST_MAIN", level])
    assert "passed" in target.run(program)


# -------------------------------------------------------------------------------- 16 bits of int

# The USART is what simavr prints; it stops when the processor sleeps without interrupts.
ON_AVR = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "model.h"

int main(void)
{
    const char *said = model_selftest() == 0 ? "passed\\n" : "FAILED\\n";
    UCSR0B = 1 << TXEN0;
    while (*said) {
        loop_until_bit_is_set(UCSR0A, UDRE0);
        UDR0 = *said++;
    }
    cli();
    sleep_mode();
    return 0;
}
"""


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "mean"])
def test_self_test_passes_where_int_has_16_bits(kind, dtype, tmp_path):
    skip_without("avr-gcc", "simavr")
    layer = lc.GRU(2, 4) if kind == "GRU" else lc.LSTM(2, 4, peepholes=True)
    net = lc.Network([layer, lc.Dense(4, 2)], readout="mean" if kind == "mean" else "all", seed=0)
    data = np.random.default_rng(0).standard_normal((30, 20, 2))
    export_c(net, tmp_path, "model", dtype=dtype, data=data)
    (tmp_path / "main.c").write_text(ON_AVR)
    program = tmp_path / "model.elf"
    for source in ("model.c", "model_selftest.c", "main.c"):
        warnings = WARNINGS if source == "model.c" else ()
        command = ["avr-gcc", "-mmcu=atmega2560", "-Os", *warnings, "-c", str(tmp_path / source)]
        run([*command, "-o", str(tmp_path / f"{source}.o")])
    objects = [str(path) for path in tmp_path.glob("*.o")]
    run(["avr-gcc", "-mmcu=atmega2560", *objects, "-o", str(program)])
    command = ["simavr", "-m", "atmega2560", "-f", "16000000", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "passed" in done.stdout + done.stderr


def test_a_double_of_32_bits_is_refused_when_it_is_compiled(tmp_path):
    skip_without("avr-gcc")
    export_c(lc.Network([lc.LSTM(1, 2), lc.Dense(2, 1)], seed=0), tmp_path, dtype="float64")
    command = ["avr-gcc", "-mmcu=atmega2560", "-c", str(tmp_path / "network.c"), "-o", "/dev/null"]
    with pytest.raises(RuntimeError, match="export this network as float32"):
        run(command)


# ------------------------------------------------------------------------- accesses that must align


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", export_models.networks())
def test_no_unaligned_access_is_left_when_the_compiler_is_told(name, dtype, tmp_path):
    if CORTEX_M4F.missing():
        pytest.skip(f"not installed: {', '.join(CORTEX_M4F.missing())}")
    net, data = export_models.network(name), export_models.sequences()
    export_c(net, tmp_path, "model", dtype=dtype, data=data)
    sources = [tmp_path / "model.c", tmp_path / "model_selftest.c"]
    flags = ["-DLSTMRT_SELFTEST_MAIN", "-DLSTMRT_NO_PRINTF", "-DTRAP_UNALIGNED"]
    strict = dataclasses.replace(CORTEX_M4F, flags=(*CORTEX_M4F.flags, "-mno-unaligned-access"))
    strict.build(sources, tmp_path / "model.elf", flags)
    strict.run(tmp_path / "model.elf")

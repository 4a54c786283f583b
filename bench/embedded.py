"""Exports on an emulated Cortex-M4F and on this machine, beside what is published of others.

    python bench/embedded.py [--sizes 8 32 64] [--host-sizes 8 16 32 64 128]

One LSTM or GRU with one input and one output, batch 1, trained to predict a wave; int8 is
calibrated on a part of the wave, and its error is that on the rest. On the Cortex-M4F (QEMU,
mps2-an386, 1 ns an instruction; -O2, -std=c99, fused multiply-add as the processor has it):
instructions a step, flash as the image's growth when the network is linked in (code, weights,
library functions), RAM as the state struct, and stack. On this machine (-O3 -march=native, no
-ffast-math): microseconds a step, the median of the best of several runs of many steps. Every
program's outputs are compared with the network's in Python before anything is counted.

Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm; what is not there is left out.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from itertools import product
from pathlib import Path

import numpy as np
from machine import processor, processor_model

import lstmcore as lc
from lstmcore.export import export_c, run_self_test

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "embedded"))
from targets import CORTEX_M3, CORTEX_M4F, run

CELLS = {
    "": lambda hidden: lc.LSTM(1, hidden),
    ", peepholes": lambda hidden: lc.LSTM(1, hidden, peepholes=True),
    ", GRU": lambda hidden: lc.GRU(1, hidden),
    ", GRU reset before": lambda hidden: lc.GRU(1, hidden, reset_after=False),
}
# Of an LSTM of the same shapes, measured elsewhere in the same way: instructions at H = 8, 32, 64;
# RAM (state and buffers) and flash at H = 32, in bytes.
PEERS = {
    "emx-onnx-cgen": (3_920, 24_600, 69_300, 528, 20_800),
    "RTNeural, Eigen": (3_715, 22_700, 67_700, 19_360, 33_900),
    "onnx2c": (4_298, 27_100, 82_500, 656, 20_900),
    "keras2c": (7_808, 55_400, 184_000, 19_264, 22_400),
    "TFLite Micro, float": (10_990, 45_400, 127_600, 2_560, 54_000),
    "TFLite Micro, int8, reference": (13_800, 72_600, 222_000, 2_560, 42_600),
    "TFLite Micro, int8, CMSIS-NN": (8_250, 29_300, 70_800, 3_072, 58_000),
}
# Microseconds a step on an AMD Zen 3, H = 8, 16, 32, 64, 128.
HOST_PEERS = {
    "RTNeural, best back end (Zen 3)": (0.05, 0.10, 0.23, 0.90, 3.5),
    "keras2c (Zen 3)": (0.55, 1.4, 4.0, 15, 110),
    "ONNX Runtime, from C (Zen 3)": (11, 13, 12, 14, 21),
}
PROGRAM = """\
#include <stdint.h>
#include "model.h"
#define SYSTICK ((volatile uint32_t *)0xE000E010u)
static model_state state;
volatile uint32_t ticks, sink;

int main(void)
{
    float x = 0, y = 0;
    int k;
    SYSTICK[1] = 0xFFFFFF; /* reload */
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;        /* the processor's 25 MHz: 40 instructions of 1 ns a tick */
    while (SYSTICK[2] == 0) {
    }
#if WITH_MODEL
    model_reset(&state);
#endif
    ticks = SYSTICK[2];
    for (k = 0; k < 1000; k++) {
        x = (float)(k % 10) * 0.1f;
#if WITH_MODEL
        model_step(&state, &x, &y);
#else
        y += x;
#endif
    }
    ticks = (ticks - SYSTICK[2]) & 0xFFFFFF;
    sink = (uint32_t)(y * 1000.0f);
    (void)state;
    return REPORT;
}
"""
# Of a network of tokens: a step of a one-hot vector, one of a token, and a generated token.
TOKENS_PROGRAM = """\
#include <stdio.h>
#include "model.h"
#define SYSTICK ((volatile uint32_t *)0xE000E010u)
enum { STEPS = 200 };
static model_state state;
static float x[MODEL_INPUTS], y[MODEL_OUTPUTS];

int main(void)
{
    uint64_t seed = 1;
    size_t token = 0;
    int k, way;
    for (way = 0; way < 3; way++) {
        uint32_t ticks;
        SYSTICK[1] = 0xFFFFFF;
        SYSTICK[2] = 0;
        SYSTICK[0] = 5;
        while (SYSTICK[2] == 0) {
        }
        model_reset(&state);
        ticks = SYSTICK[2];
        for (k = 0; k < STEPS; k++) {
            token = (size_t)(k * 7 % MODEL_INPUTS);
            if (way == 0) {
                x[token] = 1.0f;
                model_step(&state, x, y);
                x[token] = 0.0f;
            } else if (way == 1) {
                model_step_token(&state, token, y);
            } else {
                token = model_generate(&state, token, 0.8f, model_uniform(&seed), y);
            }
        }
        ticks = (ticks - SYSTICK[2]) & 0xFFFFFF;
        printf("%lu ", (unsigned long)ticks * 40 / STEPS);
    }
    return 0;
}
"""
HOST_PROGRAM = """\
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"
static model_state state;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void)
{
    enum { STEPS = 2000, RUNS = 300 };
    float x, y, sum = 0;
    double best = 1;
    int run, k;
    model_reset(&state);
    for (run = 0; run < RUNS; run++) {
        double start = seconds();
        for (k = 0; k < STEPS; k++) {
            x = (float)(k % 10) * 0.1f;
            model_step(&state, &x, &y);
            sum += y;
        }
        start = (seconds() - start) / STEPS;
        best = start < best ? start : best;
    }
    printf("%.4f %g\\n", best * 1e6, (double)sum);
    return 0;
}
"""


def wave(steps):
    t = np.arange(steps)
    return 0.5 * np.sin(0.2 * t) + 0.3 * np.sin(0.31 * t + 1) + 0.1 * np.sin(0.05 * t)


def trained(cell, hidden):
    """A network that has learnt to predict the wave, and the sequences it has learnt from."""
    net = lc.Network([CELLS[cell](hidden), lc.Dense(hidden, 1)], seed=0)
    X = wave(1000).reshape(10, 100, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        lc.fit(net, X[:, :-1], X[:, 1:], max_iter=60)
    return net, X


def held_out_error(net, directory):
    """Largest difference between the compiled export and the network on the wave's other part."""
    x = wave(2000)[1000:].astype(np.float32)
    main = Path(directory, "outputs.c")
    main.write_text(
        '#include <stdio.h>\n#include "model.h"\nstatic model_state s;\n'
        "int main(void) { float x, y; model_reset(&s);\n"
        'while (scanf("%f", &x) == 1) { model_step(&s, &x, &y); printf("%.9g\\n", (double)y); }\n'
        "return 0; }\n"
    )
    program = str(Path(directory, "outputs"))
    run(["cc", "-std=c99", "-O2", str(main), str(Path(directory, "model.c")), "-o", program])
    numbers = "\n".join(map(repr, x.tolist()))
    said = subprocess.run([program], input=numbers, capture_output=True, text=True, check=True)
    y = np.array(said.stdout.split(), dtype=np.float64)
    return np.abs(y - net.predict(x[None, :, None].astype(np.float64))[0, :, 0]).max()


def on_cortex_m(target, directory):
    """Instructions a step, bytes of flash, bytes of stack."""
    main, program = Path(directory, "main.c"), Path(directory, "main.elf")
    report = 'printf("%lu\\n", (unsigned long)ticks); return 0;'
    main.write_text("#include <stdio.h>\n" + PROGRAM.replace("return REPORT;", report))
    target.build([main, Path(directory, "model.c")], program, ["-DWITH_MODEL=1", "-fstack-usage"])
    instructions = int(target.run(program)) * 40 // 1000
    usage = next(Path(directory).glob("main.elf.1.su")).read_text()
    stack = max(int(line.split("\t")[1]) for line in usage.splitlines())
    main.write_text(PROGRAM.replace("return REPORT;", "return (int)ticks;"))
    flash = []
    for with_model in (1, 0):
        target.build([main, Path(directory, "model.c")], program, [f"-DWITH_MODEL={with_model}"])
        sizes = run(["arm-none-eabi-size", str(program)]).splitlines()[1].split()
        flash.append(int(sizes[0]) + int(sizes[1]))
    return instructions, flash[0] - flash[1], stack


def on_this_machine(directory, compiler):
    main = Path(directory, "time.c")
    main.write_text(HOST_PROGRAM)
    program = str(Path(directory, "time"))
    flags = ["-std=c99", "-O3", "-march=native"]
    run([compiler, *flags, str(main), str(Path(directory, "model.c")), "-o", program])
    return np.median([float(run([program]).split()[0]) for _ in range(5)])


def cortex_m_table(target, sizes):
    print(f"{target.name}, {run([target.compiler, '--version']).splitlines()[0]}, -O2")
    head = f"{'':34}{'H':>4} {'instructions':>13} {'flash':>8} {'weights':>8} {'RAM':>6} "
    print(head + f"{'stack':>6} {'error':>9}")
    for cell, dtype in product(CELLS, ("float32", "int8")):
        for hidden in sizes:
            net, X = trained(cell, hidden)
            with tempfile.TemporaryDirectory() as directory:
                report = export_c(net, directory, "model", dtype=dtype, data=X)
                run_self_test(directory, "model")
                error = held_out_error(net, directory)
                instructions, flash, stack = on_cortex_m(target, directory)
            label = f"lstmcore {dtype}{cell}"
            print(
                f"{label:34}{hidden:4} {instructions:13,} {flash:8,} {report.constant_bytes:8,} "
                f"{report.state_bytes:6,} {stack:6} {error:9.1e}"
            )


def tokens_table(target, sizes, tokens=64):
    print(f"\n{target.name}, LSTM({tokens}, H, tokens=True) and Dense(H, {tokens}): instructions")
    print(f"{'':34}{'H':>4} {'one-hot step':>13} {'step_token':>11} {'generate':>9}")
    data = np.random.default_rng(0).integers(0, tokens, (10, 100))
    for dtype, hidden in product(("float32", "int8"), sizes):
        layers = [lc.LSTM(tokens, hidden, tokens=True), lc.Dense(hidden, tokens)]
        net = lc.Network(layers, "cross_entropy", seed=0)
        with tempfile.TemporaryDirectory() as directory:
            export_c(net, directory, "model", dtype=dtype, data=data)
            run_self_test(directory, "model")
            main, program = Path(directory, "main.c"), Path(directory, "main.elf")
            main.write_text(TOKENS_PROGRAM)
            target.build([main, Path(directory, "model.c")], program)
            step, token, generate = map(int, target.run(program).split())
        print(f"{f'lstmcore {dtype}':34}{hidden:4} {step:13,} {token:11,} {generate:9,}")


def peers_table():
    print("\nPublished of others (same shapes, same processor, same way of counting)")
    print(f"{'':34}{'H = 8':>10} {'32':>9} {'64':>9} {'RAM, 32':>9} {'flash, 32':>10}")
    for name, (h8, h32, h64, ram, flash) in PEERS.items():
        print(f"{name:34}{h8:10,} {h32:9,} {h64:9,} {ram:9,} {flash:10,}")


def host_table(sizes):
    print(f"\nThis machine: {processor()} ({processor_model()}), {platform.system()}")
    print("microseconds a step, float32, -O3 -march=native -std=c99, no -ffast-math")
    print(f"{'':34}" + "".join(f"{f'H = {hidden}':>9}" for hidden in sizes))
    for compiler in ("gcc", "clang"):
        times = []
        for hidden in sizes:
            net = lc.Network([lc.LSTM(1, hidden), lc.Dense(hidden, 1)], seed=0)
            with tempfile.TemporaryDirectory() as directory:
                export_c(net, directory, "model")
                run_self_test(directory, "model", flags=["-O3", "-march=native"])
                times.append(on_this_machine(directory, compiler))
        version = re.search(r"\d+\.\d+\.\d+", run([compiler, "--version"]))[0]
        print(f"{f'lstmcore, {compiler} {version}':34}" + "".join(f"{t:9.3f}" for t in times))
    for name, times in HOST_PEERS.items():
        print(f"{name:34}" + "".join(f"{t:9.3f}" for t in times))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 32, 64])
    parser.add_argument("--host-sizes", type=int, nargs="*", default=[8, 16, 32, 64, 128])
    parser.add_argument("--cortex-m3", action="store_true", help="also the Cortex-M3, soft float")
    arguments = parser.parse_args()
    for target in [CORTEX_M4F] + [CORTEX_M3] * arguments.cortex_m3:
        if target.missing():
            print(f"{target.name} left out: {', '.join(target.missing())} not installed")
        elif arguments.sizes:
            cortex_m_table(target, arguments.sizes)
            tokens_table(target, arguments.sizes)
    peers_table()
    host_table(arguments.host_sizes)


if __name__ == "__main__":
    main()

"""The processors that an export is proved on: how to compile for each, and how to run the program.

Everything is emulated, so no hardware is needed. Debian packages: gcc-arm-none-eabi
libnewlib-arm-none-eabi qemu-system-arm (Cortex-M); gcc-aarch64-linux-gnu libc6-dev-arm64-cross,
gcc-arm-linux-gnueabihf libc6-dev-armhf-cross, gcc-riscv64-linux-gnu libc6-dev-riscv64-cross,
gcc-powerpc-linux-gnu libc6-dev-powerpc-cross and qemu-user-static (Linux); gcc-avr avr-libc simavr
(AVR); gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf (bare RISC-V); clang, clang-19.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WARNINGS = (
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wdouble-promotion",
    "-Werror",
)


@dataclass(frozen=True)
class Target:
    """A processor, its compiler and its emulator.

    Attributes
    ----------
    name : str
    compiler, flags : str and tuple of str
    emulator : tuple of str
        The program's path follows; empty for the host.
    sources : tuple of pathlib.Path
        What else is compiled into the program; without warnings, as it is no part of an export.
    """

    name: str
    compiler: str
    flags: tuple = ()
    emulator: tuple = ()
    sources: tuple = ()

    def missing(self):
        """The programs that this machine lacks."""
        needed = [self.compiler, *self.emulator[:1]]
        return [program for program in needed if shutil.which(program) is None]

    def build(self, sources, program, flags=()):
        """Compile and link; `sources` under all warnings as errors."""
        objects = []
        for k, source in enumerate([*sources, *self.sources]):
            warnings = WARNINGS if source not in self.sources else ("-std=gnu99",)
            objects.append(f"{program}.{k}.o")
            command = [self.compiler, *warnings, "-O2", *self.flags, *flags]
            run([*command, "-c", str(source), "-o", objects[-1]])
        link = [self.compiler, *self.flags, *flags, *objects, *self.link_flags()]
        run([*link, "-o", str(program)])

    def link_flags(self):
        if self.sources:
            return [
                "-T",
                str(HERE / "mps2.ld"),
                "-nostartfiles",
                "--specs=rdimon.specs",
                "-Wl,--gc-sections",
            ]
        return ["-static"] if self.emulator else []

    def run(self, program, timeout=300):
        """What the program prints; its exit code must be 0."""
        return run([*self.emulator, str(program)], timeout=timeout)


def run(command, timeout=300):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _cortex_m(name, machine, flags):
    board = (
        "qemu-system-arm",
        "-M",
        machine,
        "-nographic",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-icount",
        "shift=0",
        "-semihosting-config",
        "enable=on,target=native",
        "-kernel",
    )
    sections = ("-mthumb", "-ffunction-sections", "-fdata-sections")
    return Target(name, "arm-none-eabi-gcc", flags + sections, board, (HERE / "startup.c",))


CORTEX_M4F = _cortex_m(
    "cortex-m4f", "mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
)
CORTEX_M3 = _cortex_m("cortex-m3", "mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft"))
CORTEX_M0 = _cortex_m("cortex-m0plus", "mps2-an385", ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"))
POWERPC = Target("powerpc", "powerpc-linux-gnu-gcc", (), ("qemu-ppc-static",))  # big-endian
TARGETS = [
    CORTEX_M4F,
    CORTEX_M3,
    Target("aarch64", "aarch64-linux-gnu-gcc", (), ("qemu-aarch64-static", "-cpu", "neoverse-n1")),
    Target("armhf", "arm-linux-gnueabihf-gcc", (), ("qemu-arm-static",)),
    Target(
        "armhf-neon",
        "arm-linux-gnueabihf-gcc",
        ("-mcpu=cortex-a15", "-mfpu=neon-vfpv4"),
        ("qemu-arm-static", "-cpu", "cortex-a15"),
    ),
    Target("riscv64", "riscv64-linux-gnu-gcc", (), ("qemu-riscv64-static",)),
    Target("host-gcc", "gcc"),
    Target("host-clang", "clang"),
]

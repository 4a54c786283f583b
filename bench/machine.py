"""What the figures were taken on: the processor, its vector units, its measured FMA peak."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# Instruction set -> (bytes in a vector, compiler flags, the features that it needs).
VECTORS = {
    "avx512": (64, ["-mavx512f", "-mfma", "-mprefer-vector-width=512"], {"AVX512F"}),
    "avx2": (32, ["-mavx2", "-mfma"], {"AVX2", "FMA3"}),
    "neon": (16, [], {"ASIMD"}),
}
CHAINS, LOOPS = 12, 2_000_000


def features():
    from numpy._core._multiarray_umath import __cpu_features__

    return {name for name, present in __cpu_features__.items() if present}


def widest():
    """The widest instruction set of `VECTORS` that this processor has, or None."""
    present = features()
    return next((isa for isa, (_, _, needed) in VECTORS.items() if needed <= present), None)


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def processor_model():
    """Family and model numbers; virtual machines often give no better name than the maker's."""
    try:
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if ":" in line
        )
        return f"family {fields['cpu family']} model {fields['model']}"
    except (OSError, KeyError):
        return ""


def commit():
    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip()

    name = git("rev-parse", "--short", "HEAD")
    return name + (" + changes" if name and git("status", "--porcelain", "-uno") else "")


def cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count()


def describe():
    return {
        "processor": " ".join(filter(None, (processor(), processor_model()))),
        "vectors": widest(),
        "cores": cores(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "commit": commit(),
    }


class Peak:
    """The FMA peak as a candidate among the others, so that it is taken in the same minute."""

    name = "FMA peak"

    def __init__(self, threads, isa=None):
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        self.isa = isa or widest()
        if compiler is None or self.isa is None:
            raise ImportError("no C compiler, or no vector unit that bench/machine.py knows")
        width, flags, _ = VECTORS[self.isa]
        self.folder = tempfile.TemporaryDirectory()
        target = Path(self.folder.name) / "peak.so"
        command = [compiler, "-O2", "-shared", "-fPIC", *flags, f"-DWIDTH={width}"]
        subprocess.run([*command, str(HERE / "peak.c"), "-o", str(target)], check=True)
        self.width, self.threads = width, threads
        self.library = ctypes.CDLL(str(target))
        self.pool = ThreadPoolExecutor(threads)

    def version(self):
        return self.isa

    def flops(self, dtype):
        return 2 * CHAINS * LOOPS * self.width // np.dtype(dtype).itemsize * self.threads

    def prepare(self, case, problem):
        loop = getattr(self.library, f"peak_{case.dtype}")
        loop.argtypes = [ctypes.c_long]
        if self.threads == 1:
            return lambda: loop(LOOPS), None
        return lambda: list(self.pool.map(loop, [LOOPS] * self.threads)), None

"""Compile lstmcore: one kernel source, built once per instruction set; the rest: pyproject.toml.

Read from the environment:
    LSTMCORE_ISAS    some of the builds for this family of processors, as "avx2,portable"
    LSTMCORE_OPENMP  0 leaves OpenMP out
    LSTMCORE_DEBUG   1 builds with bounds checks, address and undefined-behaviour sanitizers
"""

import copy
import os
import sys
import sysconfig
import tempfile
import warnings
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

DEBUG = os.environ.get("LSTMCORE_DEBUG", "0") == "1"
PACKAGE = Path("lstmcore")
INCLUDE = [PACKAGE.resolve(), PACKAGE.resolve() / "include"]
ISA_FLAGS = {
    "portable": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "neon": [],
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "freethreading_compatible": True,
}
UNIX_FLAGS = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi"]
# GCC's versions of the tiles' loops for strides that happen to be 1 spill the accumulators.
GCC_FLAGS = ["-fno-version-loops-for-strides"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
EMPTY_PROGRAM = "int main(void) { return 0; }\n"
OPENMP_PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def chosen_isas(platform):
    """The builds for a platform such as "linux-x86_64", narrowed by LSTMCORE_ISAS."""
    if platform.endswith("x86_64"):
        isas = ["portable", "avx2", "avx512"]
    elif platform.endswith(("aarch64", "arm64")) and not platform.startswith("win"):
        isas = ["neon"]
    else:
        isas = ["portable"]
    wanted = [isa.strip() for isa in os.environ.get("LSTMCORE_ISAS", ",".join(isas)).split(",")]
    unknown = sorted(set(wanted) - set(isas))
    if unknown:
        raise SystemExit(f"LSTMCORE_ISAS: {platform} has the builds {isas}, got {unknown}")
    return wanted


def isa_flags(ext):
    return ISA_FLAGS.get(ext.name.removeprefix("lstmcore._kernels_"), [])


class BuildKernels(build_ext):
    """Ask the compiler what it can do, write the one-line sources of the builds, compile them."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.wrappers = Path(self.build_temp, "wrappers")

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        self.extensions[:] = [ext for ext in self.extensions if self.can_build(ext)]
        flags = self.common_flags(msvc)
        openmp = self.openmp_flags(msvc)
        for ext in self.extensions:
            ext.extra_compile_args = flags + openmp + isa_flags(ext)
            ext.extra_link_args = self.link_flags(msvc) + openmp * (not msvc)
            ext.define_macros = [
                ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                ("LSTMCORE_OPENMP", str(int(bool(openmp)))),
                ("LSTMCORE_DEBUG", str(int(DEBUG))),
            ]
            ext.include_dirs = [*map(str, INCLUDE), numpy.get_include()]
            self.write_wrappers(ext)
        cythonized = cythonize(
            copy.deepcopy(self.extensions),
            build_dir=self.build_temp,
            include_path=[str(self.wrappers), str(PACKAGE), "."],
            compiler_directives=DIRECTIVES,
        )
        for ext, c in zip(self.extensions, cythonized, strict=True):
            ext.sources = c.sources
        super().build_extensions()

    def can_build(self, ext):
        """Whether the compiler knows the instruction set; it must if the build was asked for."""
        flags = isa_flags(ext)
        if not flags or self.compiles(EMPTY_PROGRAM, flags) or not self.compiles(EMPTY_PROGRAM, []):
            return True
        message = f"lstmcore: the compiler refuses {' '.join(flags)}, {ext.name} cannot be built"
        if "LSTMCORE_ISAS" in os.environ:
            raise SystemExit(message)
        warnings.warn(message, stacklevel=2)
        return False

    def write_wrappers(self, ext):
        """A build's .pyx and .pxd hold one line each: the inclusion of the one source."""
        name = ext.name.rpartition(".")[2]
        if not name.startswith("_kernels_"):
            return
        folder = self.wrappers / "lstmcore"
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in (".pyx", ".pxd"):
            text = f'include "_kernels{suffix}"\n'
            path = folder / (name + suffix)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        ext.sources = [str(folder / f"{name}.pyx")]

    def common_flags(self, msvc):
        if msvc:
            return ["/O2", "/fp:precise"]
        if DEBUG:
            return [*UNIX_FLAGS, "-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS]
        gcc = GCC_FLAGS * self.compiles(EMPTY_PROGRAM, ["-Werror", *GCC_FLAGS])
        return [*UNIX_FLAGS, *gcc, "-O3", "-g0"]

    def link_flags(self, msvc):
        if DEBUG and not msvc:
            return SANITIZERS
        return ["-Wl,-s"] if sys.platform.startswith("linux") else []

    def openmp_flags(self, msvc):
        flags = ["/openmp" if msvc else "-fopenmp"]
        if os.environ.get("LSTMCORE_OPENMP", "1") == "0":
            reason = "LSTMCORE_OPENMP=0"
        elif self.compiles(OPENMP_PROBE, flags):
            return flags
        else:
            reason = f"the compiler cannot build a program with {flags[0]}"
        warnings.warn(
            f"lstmcore: building WITHOUT OpenMP, one thread only ({reason})", stacklevel=2
        )
        return []

    def compiles(self, source, flags):
        """Whether a program compiles and links with the given flags."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "probe.c")
            path.write_text(source)
            try:
                objects = self.compiler.compile(
                    [str(path)], output_dir=folder, extra_postargs=flags
                )
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=flags
                )
            except (CompileError, LinkError):
                return False
        return True


def extensions():
    """One module for each build of _kernels.pyx, one for each other Cython file."""
    isas = chosen_isas(sysconfig.get_platform())
    sources = dict.fromkeys([f"_kernels_{isa}" for isa in isas], "_kernels.pyx")
    sources.update({p.stem: p.name for p in sorted(PACKAGE.glob("*.pyx")) if p.stem != "_kernels"})
    headers = [*PACKAGE.glob("*.p?[di]"), *PACKAGE.glob("*.h"), *PACKAGE.glob("include/*.h")]
    depends = [str(p) for p in (*sorted(headers), Path("setup.py"))]
    return [
        Extension(f"lstmcore.{name}", [str(PACKAGE / source)], depends=depends)
        for name, source in sources.items()
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels},
    options={"build": {"build_base": "build/debug" if DEBUG else "build/release"}},
)

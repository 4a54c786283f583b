"""The package: what importing it costs, what it tells about itself, examples that run."""

import ast
import doctest
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import lstmcore as lc

ROOT = Path(__file__).parents[1]

# Other people's modules that lstmcore uses somewhere, none of them needed to import it.
OPTIONAL = {
    "scipy",
    "sklearn",
    "tqdm",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "h5py",
    "joblib",
    "torch",
    "mpmath",
}


def test_import_loads_numpy_and_nothing_else_from_outside():
    code = """
import sys, numpy
before = set(sys.modules)
import lstmcore
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    loaded = set(run_python(code).split())
    assert loaded >= {"lstmcore"}
    assert not loaded & OPTIONAL
    cythons_own = {name for name in loaded if name.startswith(("cython_runtime", "_cython"))}
    assert not loaded - {"lstmcore"} - cythons_own - set(sys.stdlib_module_names)


def test_import_leaves_the_environment_as_it_was():
    code = "import os; before = dict(os.environ); import lstmcore; print(os.environ == before)"
    assert run_python(code) == "True\n"
    assert run_python(code, OMP_WAIT_POLICY="ACTIVE") == "True\n"


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded Python"
)
def test_import_leaves_the_global_lock_off():
    assert run_python("import lstmcore, sys; print(sys._is_gil_enabled())") == "False\n"


FEWER_THREADS = """
import numpy as np
import lstmcore as lc
rng = np.random.default_rng(0)
for B, H in ((1, 512), (7, 40)):        # threads share the units; the sequences
    shapes = (B, 9, 5), (4 * H, 5), (4 * H, H), (4 * H,)
    blocks = [rng.normal(size=shape) / H**0.5 for shape in shapes]
    results = []
    for n_threads in (1, 4):
        h, _, tape = lc.lstm_forward(*blocks, n_threads=n_threads)
        grads = lc.lstm_backward(np.cos(h), tape, n_threads=n_threads)
        results.append([h, *grads.values()])
    print(all((a == b).all() for a, b in zip(*results, strict=True)))
"""


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_fewer_threads_than_asked_for_neither_hang_nor_change_a_bit(limit):
    assert run_python(FEWER_THREADS, OMP_THREAD_LIMIT=str(limit)) == "True\nTrue\n"


def rooms_and_their_imports():
    """Modules of the package and the modules of it that they import when they are imported."""
    folder = Path(lc.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "__main__"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = parts[: len(parts) - node.level]
                target = [*base, *(node.module or "").split(".")]
                names = [alias.name for alias in node.names] if target == [""] else target[:1]
                yield from ((room, name) for name in names)


def test_a_room_imports_only_rooms_above_it_in_the_table():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)[./]", text, flags=re.MULTILINE)
    place = {room: row for row, room in enumerate(rows)}
    for room, imported in rooms_and_their_imports():
        assert room in place, f"docs/architecture.md does not know {room}"
        if imported != room:
            assert place[imported] < place[room], f"{room} imports {imported}"


def test_no_public_function_is_hidden_by_a_room_of_its_name():
    code = """
import importlib, types, lstmcore as lc
for room in set(lc._LAZY.values()):
    importlib.import_module(f"lstmcore.{room}")
print([name for name in lc._LAZY if isinstance(getattr(lc, name), types.ModuleType)])
"""
    assert run_python(code).strip() == "[]"


def included_files():
    """The kernel source's files in the order of their inclusion, without comments and strings."""
    folder = ROOT / "lstmcore"
    source = (folder / "_kernels.pyx").read_text(encoding="utf-8")
    names = re.findall(r'^include "(\w+\.pxi)"', source, flags=re.MULTILINE)
    assert sorted(names) == sorted(path.name for path in folder.glob("*.pxi"))
    for name in [*names, "_kernels.pyx"]:
        text = (folder / name).read_text(encoding="utf-8")
        text = re.sub(r'"""(.|\n)*?"""|"[^"\n]*"|#.*', "", text)
        yield name, text


DEFINITION = re.compile(
    r"^(?:cdef|def|cpdef|ctypedef)\b[^\n(=]*?\b(\w+)\s*(?:\(|:|$)"  # functions, structs, classes
    r"|^    (\w+) = .*$"  # members of an anonymous enum
    r"|^cdef \w+(?:\[\d+\])* (\w+)$",  # tables
    flags=re.MULTILINE,
)


def test_a_file_of_the_kernels_uses_only_files_above_it():
    if not (ROOT / "lstmcore" / "_kernels.pyx").exists():
        pytest.skip("not in a source tree")
    files = list(included_files())
    defined = [
        {name for match in DEFINITION.finditer(text) for name in match.groups() if name}
        for _, text in files
    ]
    assert {"make_plan", "Product", "run_forward", "K_BLOCK", "TILES_VF"} <= set().union(*defined)
    for k, (name, text) in enumerate(files):
        below = set().union(*defined[k + 1 :]) - set().union(*defined[: k + 1])
        used = set(re.findall(r"(?<![.\w])\w+(?=\()|\b[A-Z]\w+\b", text)) & below
        assert not used, f"{name} uses {used}, which stand in files below it"


def test_one_file_of_the_kernels_compares_the_kinds_of_cells():
    if not (ROOT / "lstmcore" / "_kernels.pyx").exists():
        pytest.skip("not in a source tree")
    comparison = re.compile(r"\bkind\b\s*(==|!=|in\b)")
    assert [name for name, text in included_files() if comparison.search(text)] == ["_cells.pxi"]


def test_public_names_are_there_and_documented():
    assert len(set(lc.__all__)) == len(lc.__all__)
    for name in lc.__all__:
        thing = getattr(lc, name)
        if callable(thing):
            assert thing.__doc__, f"{name} has no docstring"


def test_every_public_function_shows_an_example():
    lacking = [
        name
        for name in lc.__all__
        if callable(getattr(lc, name))
        and ">>>" not in (getattr(lc, name).__doc__ or "")
        and not issubclass_of(getattr(lc, name), (Exception, tuple))
    ]
    assert not lacking


def issubclass_of(thing, bases):
    return isinstance(thing, type) and issubclass(thing, bases)


def test_version_is_the_installed_one():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", lc.__version__)


def test_changelog_has_this_version():
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("not in a source tree")
    assert f"## {lc.__version__}" in changelog.read_text(encoding="utf-8")


def test_show_config_tells_versions_build_width_and_threads(capsys):
    lc.show_config()
    text = capsys.readouterr().out
    isa = os.environ.get("LSTMCORE_ISA", "")
    for part in (lc.__version__, np.__version__, isa, "bits", "OpenMP", "threads"):
        assert part in text


@pytest.mark.parametrize(
    "isa", ["sse9", "", "AVX2"], ids=["unknown", "empty", "names are lower case"]
)
def test_a_build_that_is_not_there_is_refused_at_import(isa):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_python("import lstmcore", LSTMCORE_ISA=isa)
    assert "ImportError: LSTMCORE_ISA" in caught.value.stderr


def test_portable_build_can_be_chosen():
    code = "import lstmcore; lstmcore.show_config()"
    if "portable" not in run_python(code):
        pytest.skip("not built")
    assert re.search(r"kernels\s+portable", run_python(code, LSTMCORE_ISA="portable"))


@pytest.mark.skipif(os.environ.get("LSTMCORE_DEBUG") != "1", reason="make test-debug sets it")
def test_the_build_under_test_has_sanitizers():
    from lstmcore._dispatch import kernels

    assert b"__asan_init" in Path(kernels.__file__).read_bytes()


# ---------------------------------------------------------------------------------- examples


def module_names():
    return ["lstmcore"] + [
        info.name
        for info in pkgutil.walk_packages(lc.__path__, "lstmcore.")
        if not info.name.rpartition(".")[2].startswith(("_kernels_", "__main__"))
    ]


FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def failures(tests):
    """How many fail of the doctests whose imports are installed."""
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an example may stop before it has converged
        for test in tests:
            if not any(map(lacks, re.findall(r">>> (?:import|from) (\w+)", test.docstring))):
                runner.run(test)
    return runner.summarize(verbose=False).failed


def lacks(name):
    """Whether an optional package is not installed: some Pythons have few of them."""
    return name in OPTIONAL and importlib.util.find_spec(name) is None


@pytest.mark.parametrize("name", module_names())
def test_examples_in_docstrings_run(name):
    assert failures(doctest.DocTestFinder().find(importlib.import_module(name))) == 0


@pytest.mark.parametrize(
    "path",
    sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_examples_in_documents_run(path):
    text = path.read_text(encoding="utf-8")
    document = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    assert failures([document]) == 0


def test_readme_uses_names_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"\blc\.([A-Za-z_]\w*)", text))
    assert used, "README shows nothing"
    assert {name for name in used if not hasattr(lc, name)} == set()

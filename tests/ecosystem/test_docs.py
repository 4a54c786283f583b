"""The documentation's reference has a page for every public name."""

import importlib
import re
import types
from pathlib import Path

import pytest

import lstmcore as lc

INDEX = Path(__file__).parents[2] / "docs/api/index.md"

# What is in the __all__ of a public room for the other rooms of the package.
INSIDE = {
    "losses.LOSSES",
    "losses.find_loss",
    "optimizers.METHODS",
    "optimizers.PACE",
    "optimizers.WITH_BOUNDS",
    "optimizers.drive",
    "optimizers.takers_of",
}


def public_names():
    """Names as they follow ``lstmcore.``: of the package itself and of its public rooms."""
    things = {name: getattr(lc, name) for name in lc.__all__}
    for name, thing in things.items():
        if not isinstance(thing, (types.ModuleType, str)):
            yield name
    for room in (
        "datasets",
        "decoding",
        "estimators",
        "export",
        "interop.onnx",
        "losses",
        "optimizers",
        "streaming",
    ):
        for name in importlib.import_module(f"lstmcore.{room}").__all__:
            if name not in things and f"{room}.{name}" not in INSIDE:
                yield f"{room}.{name}"


def test_every_public_name_has_a_page():
    if not INDEX.exists():
        pytest.skip("not in a source tree")
    listed = re.findall(r"^   ([A-Za-z_][\w.]*)$", INDEX.read_text("utf-8"), flags=re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(public_names())

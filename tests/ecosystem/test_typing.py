"""The annotations: everything public has them, and what they list is what the code has.

Whether they fit together is for mypy: `make lint`.
"""

import ast
import importlib
import inspect
import typing
from pathlib import Path

import matplotlib
import pytest
import typed_program

import lstmcore as lc
from lstmcore import _minimize, _readout, _types
from lstmcore._outputs import UNITS
from lstmcore.cells._options import DIRECTIONS
from lstmcore.cells.lstm import OUTPUT_PEEPHOLES
from lstmcore.optimizers import _descent

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOMS = (
    "lstmcore",
    "lstmcore.cells",
    "lstmcore.datasets",
    "lstmcore.estimators",
    "lstmcore.export",
    "lstmcore.interop.keras",
    "lstmcore.interop.onnx",
    "lstmcore.interop.torch",
    "lstmcore.losses",
    "lstmcore.optimizers",
    "lstmcore.plots",
    "lstmcore.storage",
    "lstmcore.streaming",
)

# What `minimize` asks of the methods' room.
WITHIN = "lstmcore.optimizers.drive", "lstmcore.optimizers.takers_of"


def public_objects():
    """Functions and classes that users may name, by what they are called."""
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and f"{room}.{name}" not in WITHIN:
                yield f"{room}.{name}", thing


def functions_of(thing):
    """The functions of a class that users call: its own and inherited ones, getters and setters."""
    for name in dir(thing):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        member = inspect.getattr_static(thing, name)
        if isinstance(member, property):
            yield from (f for f in (member.fget, member.fset) if f is not None)
        elif inspect.isfunction(member):
            yield member
        elif isinstance(member, (classmethod, staticmethod)):
            yield member.__func__


def without_annotation(function):
    """The parameters of a function that have none, and "return"."""
    signature = inspect.signature(function)
    first, *rest = signature.parameters.values() if signature.parameters else [None]
    of_method = "." in function.__qualname__.rpartition("<locals>")[2]
    parameters = rest if of_method or first is None else [first, *rest]
    yield from (p.name for p in parameters if p.annotation is p.empty)
    if signature.return_annotation is signature.empty:
        yield "return"


# What rooms behind the public ones ask of these classes.
FOR_ROOMS = {
    "Network": "exact check_checkpoint check_truncate check_state",
    "Layer": "places weights kernel_cell chunk_rows masked pack initial forward state_arrays "
    "gradient_buffers backward unpack threads",
}
FOR_ROOMS["MixedEmbedding"] = FOR_ROOMS["Layer"]


@pytest.mark.parametrize(
    "thing", [pytest.param(thing, id=name) for name, thing in public_objects()]
)
def test_everything_public_is_annotated(thing):
    functions = functions_of(thing) if isinstance(thing, type) else [thing]
    for function in functions:
        if not function.__module__.startswith("lstmcore"):
            continue  # inherited: of OptimizeResult, tuple, UserWarning
        owner, _, name = function.__qualname__.rpartition(".")
        if name in FOR_ROOMS.get(owner, "").split():
            continue
        assert not list(without_annotation(function)), function.__qualname__


def test_checkers_see_what_is_imported_when_it_is_first_used():
    source = Path(lc.__file__).read_text(encoding="utf-8")
    seen = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for imported in node.body:
                seen |= {alias.name: imported.module for alias in imported.names}
    modules = dict.fromkeys((*lc._SUBMODULES, "losses"))
    assert seen == lc._LAZY | modules, "the imports for type checkers are not those of _LAZY"


@pytest.mark.parametrize(
    ("literal", "values"),
    [
        (_types.Method, _minimize._DRIVERS),
        (_types.Readout, _readout.READOUTS),
        (_types.OutputUnits, UNITS),
        (_types.Direction, DIRECTIONS),
    ],
    ids=["methods", "readouts", "output units", "directions"],
)
def test_the_choices_are_those_of_the_code(literal, values):
    assert sorted(typing.get_args(literal)) == sorted(values)


def names_in(annotation):
    """The strings of the `Literal` in an annotation's text."""
    node = ast.parse(annotation, mode="eval").body
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)} - {None}


def test_the_choices_of_arguments_are_those_of_the_code():
    parameters = inspect.signature(lc.fit).parameters
    assert names_in(parameters["batches"].annotation) == set(_descent._ORDERS)
    assert names_in(parameters["curvature"].annotation) == set(_minimize.PRODUCTS)
    peepholes = typing.get_args(typing.get_args(_types.OutputPeephole)[0])
    assert {*peepholes, None} == set(OUTPUT_PEEPHOLES)


def parameters_of(function, *without):
    return set(inspect.signature(function).parameters) - {"self", *without}


def test_the_keywords_are_those_of_the_functions():
    data = parameters_of(lc.Network.prepare, "X", "Y", "lengths")
    assert set(typing.get_type_hints(_types.Data)) == data
    options = parameters_of(lc.Network.predict, "X", "lengths", "return_state")
    assert set(typing.get_type_hints(_types.PredictOptions)) == options
    options = parameters_of(lc.Network.loss, "X", "Y", "lengths", "return_state", "data")
    assert set(typing.get_type_hints(_types.LossOptions)) == options
    assert set(typing.get_type_hints(_types.LossKeywords)) == options | data
    own = parameters_of(lc.Objective.__init__, "net", "X", "Y", "data")
    assert set(typing.get_type_hints(_types.ObjectiveOptions)) == own | data | {"lengths"}
    assert set(typing.get_type_hints(_types.CheckedObjective)) == own | data


def test_fit_and_minimize_say_the_same_of_their_arguments():
    of_fit, of_minimize = (inspect.signature(f).parameters for f in (lc.fit, lc.minimize))
    for name in of_fit.keys() & of_minimize.keys() - {"objective"}:
        assert of_fit[name].annotation == of_minimize[name].annotation, name


def test_a_result_has_the_entries_that_are_said():
    net = lc.Network([lc.Dense(1, 1)], seed=0)
    seen = []
    result = lc.fit(net, [[[1.0]]], [[[2.0]]], callback=seen.append)
    asked_for = {"n_polish", "state", "restarts", "restart", "validation_indices"}
    assert set(_types.Result.__annotations__) - asked_for <= set(result)
    assert set(_types.Intermediate.__annotations__) <= set(seen[0])


@pytest.mark.filterwarnings("ignore:.*has not converged")
def test_a_typical_program_runs(capsys):
    try:
        typed_program.main()
    finally:
        plt.close("all")
    assert capsys.readouterr().out

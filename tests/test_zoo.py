"""The zoo has every class of cells with every option, so that every contract has them too."""

import export_models
import numpy as np
import pytest
import zoo

import lstmcore as lc
from lstmcore.cells import CELLS

kinds = pytest.mark.parametrize("cls", CELLS.values(), ids=CELLS)


def layers_of(cls):
    layers = [layer for entry in zoo.NETWORKS.values() for layer in entry.layers]
    return [layer for layer in layers if type(layer) is cls]


def is_set(layer, option):
    """Whether an option is not its default."""
    value, default = layer.options[option], zoo.options_of(type(layer))[option]
    return isinstance(value, np.ndarray) or value != default


def of_kind(entry, cls):
    """Whether the cell of an entry is of the kind that a class has."""
    return entry.layer(2, 4).cell.kind == cls(2, 4).cell.kind


def set_in(description, cls):
    """The keys of a description that are not those of a layer without options."""
    default = cls(description["inputs"], description["units"]).cell.description
    return {key for key, value in description.items() if value != default[key]}


@kinds
def test_every_class_is_in_a_network_with_every_option(cls):
    layers = layers_of(cls)
    assert layers, f"no network has a layer {cls.__name__}"
    missing = [
        option
        for option in zoo.options_of(cls)
        if not any(is_set(layer, option) for layer in layers)
    ]
    assert not missing, f"no network sets {missing} of {cls.__name__}"


@kinds
def test_whatever_a_layer_tells_its_kernels_a_cell_tells_them_too(cls):
    cells = [entry(2, 4) for entry in zoo.CELLS.values() if of_kind(entry, cls)]
    assert cells, f"no cell is a {cls.__name__}"
    told = set().union(*(set_in(cell, cls) for cell in cells))
    for layer in layers_of(cls):
        missing = set_in(layer.cell.description, cls) - told
        assert not missing, f"no cell sets {missing} as {layer!r} does"


@kinds
def test_every_activation_of_every_class_has_a_role(cls):
    roles = {option for entry, option in (role.values for role in zoo.ROLES) if entry.cls is cls}
    assert roles == {option for option in zoo.options_of(cls) if option.endswith("activation")}


@kinds
def test_an_export_has_whatever_a_layer_may_be(cls):
    """But for masks and initial values, which leave no trace, and parameters of activations."""

    def facts(layers):
        keys = set().union(*(set_in(layer.cell.description, cls) for layer in layers))
        keys = {key for key in keys if not key.startswith(("alpha", "beta"))}
        return keys | {(layer.direction, layer.learns_states) for layer in layers}

    tables = [layers for layers, *_ in export_models.networks().values()]
    exported = [layer for layers in tables for layer in layers if type(layer) is cls]
    assert facts(layers_of(cls)) <= facts(exported)


@kinds
def test_every_block_of_every_class_is_in_a_representative_and_missing_in_another(cls):
    cells = [
        entry.layer(2, 4).cell for entry in zoo.REPRESENTATIVES.values() if of_kind(entry, cls)
    ]
    assert cells, f"no representative is a {cls.__name__}"
    blocks = [{block.name for block in cell.blocks} for cell in cells]
    assert set.union(*blocks) == set(cells[0].block_names)
    may_be_missing = {
        name
        for layer in layers_of(cls)
        for name in set(layer.cell.block_names) - {block.name for block in layer.cell.blocks}
    }
    assert not may_be_missing & set.intersection(*blocks)


@pytest.mark.parametrize("name", zoo.CELLS)
def test_a_cell_differs_from_all_others(name):
    """One that is another's twin would test nothing."""

    def facts(entry):
        layer = entry.layer(2, 4)
        return entry(2, 4), entry(2, 9), [block.name for block in layer.blocks()], layer.tokens

    cells = {other: facts(entry) for other, entry in zoo.CELLS.items()}
    assert [other for other, cell in cells.items() if cell == cells[name]] == [name]


def test_every_recurrent_class_has_its_functions():
    for kind, cls in CELLS.items():
        has = [hasattr(lc, f"{kind.lower()}_{way}") for way in ("forward", "backward")]
        assert has == [cls(1, 1).is_recurrent] * 2

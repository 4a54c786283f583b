"""What describes an object cannot be changed: arrays and kernels rely on what it says."""

import copy
import pickle

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.sequences import equal_lengths

TOKENS = np.array([[0, 2, 1], [1, 1, 0]])


def network(**options):
    mask = np.ones((32, 3))
    mask[0, 0] = 0
    layers = [lc.LSTM(3, 8, W_mask=mask, tokens=True), lc.Dense(8, 2)]
    return lc.Network(layers, seed=0, **options)


def objective():
    net = network(loss="cross_entropy")
    return lc.Objective(net, TOKENS, TOKENS % 2, lengths=[3, 2])


OBJECTS = {
    "network": network,
    "table": lambda: network().table,
    "layer": lambda: network().layers[0],
    "cell": lambda: network().layers[0].cell,
    "block": lambda: network().table.blocks[0],
    "objective": objective,
    "examples": lambda: objective().examples,
    "targets": lambda: objective().examples.targets,
    "batch": lambda: objective().examples.batch,
    "stream": lambda: network().stream(2),
}
WRITEABLE = {("network", "params"), ("stream", "state")}
FRESH = ("params", "blocks", "weights", "state", "options", "valid", "user_valid")  # at every look
PICKLED = [name for name in OBJECTS if name != "stream"]
AGAIN = [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]


def public_attributes(thing):
    """Names of what is no method."""
    names = [name for name in dir(thing) if not name.startswith("_")]
    return [name for name in names if not callable(getattr(thing, name))]


def parts(thing, seen=None):
    """All that is reached by public attributes, entries and items, with the path to it."""
    seen = {} if seen is None else seen
    if id(thing) in seen or isinstance(thing, (str, int, float, type, np.dtype, slice)):
        return
    seen[id(thing)] = thing
    yield thing
    if isinstance(thing, (tuple, list)):
        for item in thing:
            yield from parts(item, seen)
    elif hasattr(thing, "keys"):
        for item in thing.values():
            yield from parts(item, seen)
    elif type(thing).__module__.startswith("lstmcore"):
        for name in public_attributes(thing):
            if name not in FRESH or isinstance(thing, lc.cells.Layer):
                yield from parts(getattr(thing, name), seen)


@pytest.mark.parametrize("name", OBJECTS)
def test_no_attribute_can_be_set_or_deleted(name):
    thing = OBJECTS[name]()
    attributes = [a for a in public_attributes(thing) if (name, a) not in WRITEABLE]
    assert len(attributes) > 0
    for attribute in attributes:
        value = getattr(thing, attribute)
        with pytest.raises(AttributeError):
            setattr(thing, attribute, value)
        with pytest.raises(AttributeError):
            delattr(thing, attribute)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda: setattr(network(), "dtype", np.dtype("float32")), r"dtype: .*net\.options"),
        (lambda: setattr(network(), "readout", "mean"), r"readout: .*net\.options"),
        (lambda: setattr(network(), "loss_name", "cross_entropy"), r"loss_name: .*net\.options"),
        (lambda: setattr(network().layers[0], "output_size", 9), "output_size: .*its options"),
        (lambda: setattr(network().layers[0].cell, "units", 9), "units: .*a new layer"),
        (lambda: setattr(network().stream(256), "batch_size", 1), r"batch_size: .*Network\.stream"),
        (lambda: setattr(objective(), "l2", 0.1), r"l2: .*Objective\(net, examples, l2=...\)"),
        (lambda: setattr(objective().examples.batch, "size", 1), "size: .*prepare the data anew"),
    ],
)
def test_the_error_says_what_to_do_instead(write, message):
    with pytest.raises(AttributeError, match=message):
        write()


@pytest.mark.parametrize("name", ["network", "layer", "objective", "stream"])
def test_what_is_reached_through_an_object_is_read_only(name):
    reached = list(parts(OBJECTS[name]()))
    assert len(reached) > 1
    for thing in reached:
        assert not isinstance(thing, (list, dict, set))
        if isinstance(thing, np.ndarray):
            assert not thing.flags.writeable
        if hasattr(thing, "keys"):
            with pytest.raises(TypeError):
                thing["hidden_size"] = 4


@pytest.mark.parametrize("name", PICKLED)
@pytest.mark.parametrize("again", AGAIN)
def test_copies_are_read_only_too(name, again):
    thing = OBJECTS[name]()
    if name == "table":
        thing = thing["0.W"]
    other = again(thing)
    assert type(other) is type(thing)
    assert repr(other) == repr(thing) or " object at " in repr(thing)
    for attribute in public_attributes(thing):
        one, two = getattr(thing, attribute), getattr(other, attribute)
        assert type(one) is type(two)
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, two)
            assert attribute in FRESH or not two.flags.writeable
        if (name, attribute) not in WRITEABLE:
            with pytest.raises(AttributeError):
                setattr(other, attribute, one)


def test_frozen_values_are_read_only():
    given = objective()
    given = lc.Objective(given.net, given.examples, frozen=["0.b"])
    for again in AGAIN:
        assert given.frozen_values.size > 0
        assert not (
            again(given).frozen_values.flags.writeable or given.frozen_values.flags.writeable
        )


def test_copies_of_an_objective_give_the_same_bits():
    given = objective()
    theta = given.net.params * 2
    for again in AGAIN:
        f, g = again(given)(theta)
        assert f == given.fun(theta)
        assert (g == given.grad(theta)).all()


def test_a_copy_of_a_batch_with_holes_gives_the_same_outputs_back():
    mask = [[True, False, True], [True, True, False]]
    batch = network().prepare(np.ones((2, 3, 3)), np.zeros((2, 3, 2)), mask=mask).batch
    for again in AGAIN:
        other = again(batch)
        assert (other.mask == mask).all()
        assert (other.arrange(other.x.values) == batch.arrange(batch.x.values)).all()


def test_a_subclass_keeps_attributes_of_its_own():
    class Counting(lc.Objective):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.calls = 0

        def penalty(self, *args, **options):
            self.calls += 1
            return super().penalty(*args, **options)

    counting = Counting(network(), np.ones((1, 3, 3)), np.ones((1, 3, 2)))
    counting.fun(counting.net.params)
    assert counting.calls == 1
    net = network()
    net.note = "first"
    net.note = "second"
    assert net.note == "second"


def test_the_form_of_parameters_as_users_see_them_is_theirs_alone():
    net, x = network(), np.ones((1, 3, 3))
    y = net.predict(x)
    net.params.dtype = np.float32
    net.weights[0][0].blocks[0].shape = (3, 32)
    net.weights.clear()
    net.release_memory()
    assert (net.predict(x) == y).all()
    f, g = net.loss_and_grad(x, y)
    assert f == 0 and g.shape == (net.table.size,)


def test_arrays_that_all_networks_share_cannot_be_written_to():
    for array in equal_lengths(2, 6):
        with pytest.raises(ValueError, match="read-only"):
            array[-1] = 2
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True

"""Errors that lead to the way out: what one of them says to do is then done, and works."""

import os
import re

import numpy as np
import pytest
from scipy import sparse

import lstmcore as lc

B, T, I = 4, 10, 3
X = np.random.default_rng(0).normal(size=(B, T, I))
NAMES = np.array(["a", "b", "c", "a"])


def network(loss="squared_error", readout="all", inputs=I, outputs=1, **options):
    layers = [lc.LSTM(inputs, 4, **options), lc.Dense(8 if options else 4, outputs)]
    return lc.Network(layers, loss=loss, readout=readout, seed=0)


def classifier(readout="last"):
    return network("cross_entropy", readout, outputs=3)


def refusal(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


# ---------------------------------------------------------------------------------- class labels


@pytest.mark.parametrize(
    "Y",
    [NAMES, NAMES.tolist(), NAMES.astype(object), NAMES.astype("S1"), [0.0, 1.0, 2.0, 0.0]],
    ids=["str", "list", "object", "bytes", "float"],
)
def test_classes_that_are_no_integers_lead_to_labels(Y):
    words = refusal(TypeError, lambda: classifier().loss(X, Y))
    assert words.endswith(
        "number the classes from 0 to K-1, as np.unique(Y, return_inverse=True)[1] does"
    )
    classifier().loss(X, np.unique(Y, return_inverse=True)[1])


def test_labels_with_an_axis_too_many_lead_to_those_without():
    for readout, Y in (("last", np.ones((B, 1), int)), ("all", np.ones((B, T, 1), int))):
        net = classifier(readout)
        words = refusal(ValueError, lambda net=net, Y=Y: net.loss(X, Y))
        assert words.endswith("; np.asarray(Y)[..., 0] is without the last axis")
        net.loss(X, np.asarray(Y)[..., 0])


def test_labels_out_of_range_lead_to_labels_or_to_weights():
    for Y in ([1, 2, 3, 1], [-1, 0, 1, 2]):
        words = refusal(ValueError, lambda Y=Y: classifier().loss(X, Y))
        assert "np.unique(Y, return_inverse=True)[1] does, and a weight of 0 leaves" in words
    classifier().loss(X, [-1, 0, 1, 2], sample_weight=[0, 1, 1, 1])


def test_names_of_two_classes_lead_to_0_and_1():
    net = network("binary_cross_entropy", "last")
    for Y in (["no", "yes", "no", "no"], [-1, 1, -1, -1]):
        words = refusal((TypeError, ValueError), lambda Y=Y: net.loss(X, Y))
        assert words.endswith("; 1 stands for one of two classes, 0 for the other")


def test_one_output_under_softmax_leads_to_binary_cross_entropy():
    words = refusal(ValueError, lambda: network("cross_entropy", "last"))
    assert words.startswith("loss: expected 'binary_cross_entropy' for one output, got 'cross_ent")


# --------------------------------------------------------------------------- axes that are missing


AXES = {
    "one series": (X[0], I, "X[None]"),
    "one series in a list": (X[0], I, "[X]"),
    "one series of one input": (X[0, :, :1], 1, "X[None]"),
    "the numbers of one series": (X[0, :, 0], 1, "X[None, :, None]"),
    "series of one input": (X[..., 0], 1, "X[..., None]"),
    "inputs before steps": (X.swapaxes(1, 2), I, "X.swapaxes(1, 2)"),
    "a list of steps": (X[0].tolist(), I, "[X]"),
    "a list of steps of one input": (X[0, :, :1].tolist(), 1, "[X]"),
    "a list of series of one input": (list(X[..., 0]), 1, "[np.reshape(x, (-1, 1)) for x in X]"),
    "a list of numbers": (X[0, :, 0].tolist(), 1, "np.reshape(X, (1, -1, 1))"),
}


@pytest.mark.parametrize("case", AXES)
def test_a_batch_without_an_axis_leads_to_one_that_has_it(case):
    data, inputs, way_out = AXES[case]
    net = network(inputs=inputs)
    words = refusal(ValueError, lambda: net.predict(data))
    assert re.search(f"[; ]{re.escape(way_out)}[ ,]", words)
    net.predict(eval(way_out, {"X": data, "np": np}))


def test_steps_before_sequences_lead_to_sequences_first():
    turned = X.swapaxes(0, 1)
    for net, Y in ((classifier(), [0, 1, 2, 0]), (network(), X[..., :1]), (network(), [[1]] * B)):
        words = refusal(ValueError, lambda net=net, Y=Y: net.loss(turned, Y))
        assert words.startswith("Y: expected targets of 10 sequences, as many as X has (axis 0)")
        assert words.endswith(
            "; X.swapaxes(0, 1) has the sequences first, if X has the steps first"
        )
    assert "X has 10 sequences (axis 0)" in refusal(
        ValueError, lambda: network().predict(turned, lengths=[1] * B)
    )
    assert "X has 10 sequences (axis 0)" in refusal(
        ValueError, lambda: network().predict(turned, mask=np.ones((B, T), bool))
    )


def test_targets_of_another_readout_lead_to_that_readout():
    labels = np.zeros((B, T), int)
    assert "; a network with readout='all' has a target for each step" in refusal(
        ValueError, lambda: classifier().loss(X, labels)
    )
    for Y in (labels[:, 0], labels[:, 0].tolist()):
        assert "readout='last' say, has one target for each sequence" in refusal(
            ValueError, lambda Y=Y: classifier("all").loss(X, Y)
        )


def test_weights_of_the_other_kind_lead_to_it():
    net, Y = network(), X[..., :1]
    assert "; step_weight weighs steps" in refusal(
        ValueError, lambda: net.loss(X, Y, sample_weight=np.ones((B, T)))
    )
    assert "; sample_weight weighs sequences" in refusal(
        ValueError, lambda: net.loss(X, Y, step_weight=np.ones(B))
    )
    assert "; sample_weight weighs sequences" in refusal(
        ValueError, lambda: classifier().loss(X, [0, 1, 2, 0], step_weight=np.ones((B, T)))
    )


def test_a_batch_without_scored_terms_names_all_that_may_have_taken_them():
    words = refusal(ValueError, lambda: network().loss(X, X[..., :1], mask=np.zeros((B, T), bool)))
    assert words.startswith("sample_weight, step_weight, class_weight, lengths, mask: expected")


# -------------------------------------------------------------------------- numbers not finite


@pytest.mark.parametrize("form", [np.asarray, list], ids=["array", "list"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_said_where(form, value):
    broken = X.copy()
    broken[2, 5, 1] = value
    place = f": expected finite numbers, got {value} in sequence 2 at step 5"
    net = network()
    assert refusal(ValueError, lambda: net.predict(form(broken))) == "X" + place
    words = refusal(ValueError, lambda: net.loss(form(X), form(broken[..., 1])))
    assert words == "Y" + place + "; step_weight 0 leaves it out"


def test_what_is_not_finite_is_said_where_in_the_user_s_array():
    broken, mask = X.copy(), np.ones((B, T), bool)
    broken[2, 5, 1], mask[2, 1:4], mask[0, 3] = np.nan, False, False
    net, place = network(), "got nan in sequence 2 at step 5"
    assert place in refusal(ValueError, lambda: net.predict(broken, mask=mask))
    assert place in refusal(ValueError, lambda: net.loss(X, broken[..., 1], mask=mask))
    assert place in refusal(
        ValueError, lambda: net.loss(X, X[..., 0], step_weight=broken[..., 1] ** 2, mask=mask)
    )
    broken[3, 0] = np.inf  # not in the batch
    assert place in refusal(ValueError, lambda: net.predict(broken, lengths=[T, T, T, 0]))
    words = refusal(ValueError, lambda: net.loss(X, X[..., :1], sample_weight=[1, 1, np.inf, 1]))
    assert words == "sample_weight: expected finite numbers, got inf at [2]"


def test_what_float32_cannot_hold_is_said_to_be_so():
    net = lc.Network([lc.RNN(I, 2)], dtype="float32", seed=0)
    words = refusal(ValueError, lambda: net.predict(X * 1e300))
    assert words == "X: expected finite numbers, got inf in float32 in sequence 0 at step 0"


# ------------------------------------------------------------------- objects of other kinds


class GradientTensor:
    """What has an array only after a call of its own, and says so."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach()")


class Column:
    """A dtype of another library's own."""

    def __init__(self, kind):
        self.kind = kind


class Table:
    """A table as pandas has it: columns of several types make an array of objects."""

    def __init__(self, values, kinds):
        self.values, self.dtypes = np.asarray(values), [Column(kind) for kind in kinds]

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(object)

    def to_numpy(self, dtype=None, na_value=None):
        values = self.values.astype(object)
        values[values == None] = na_value  # noqa: E711
        return values.astype(dtype)


OBJECTS = {
    "sequences in an array": (objects([x[: b + 1] for b, x in enumerate(X)]), "list(X) "),
    "dict": (dict(enumerate(X)), "list(X.values()) "),
    "generator": ((x for x in X), "list(X) "),
    "values of a dict": (dict(enumerate(X)).values(), "list(X) "),
    "sparse": (sparse.csr_array(X[0]), "X.toarray() "),
    "numbers as strings": (X.astype(str), "np.asarray(X).astype(float) "),
    "numbers as objects": (X.astype(object), "np.asarray(X, dtype=float) "),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_that_hold_arrays_lead_to_them(case):
    data, way_out = OBJECTS[case]
    words = refusal(TypeError, lambda: network().predict(data))
    assert words.startswith("X: expected real numbers, got ") and f"; {way_out}" in words
    converted = eval(way_out, {"X": data, "np": np})
    network().predict(converted[None] if case == "sparse" else converted)


def test_objects_in_a_list_are_named():
    words = refusal(TypeError, lambda: network().predict([X[0], sparse.csr_array(X[1])]))
    assert words.startswith("X[1]: expected real numbers") and "X[1].toarray()" in words


@pytest.mark.parametrize("form", [lambda x: x, lambda x: [x]], ids=["itself", "in a list"])
def test_a_library_s_own_words_are_passed_on(form):
    words = refusal(ValueError, lambda: network().predict(form(GradientTensor())))
    assert words.endswith("Use tensor.detach()") and words.startswith("X")


def test_ragged_sequences_are_said_to_be_so():
    ragged = [X[0].tolist(), [*X[1].tolist(), [1.0]]]
    words = refusal(ValueError, lambda: network().predict(ragged))
    assert words.startswith("X[1]: expected an array of numbers, got a list of length 11")
    assert "differ in length" in words


def test_tables_of_numbers_are_read_and_others_are_not():
    net, wanted = network(), network().predict(X)
    tables = [Table(x, "fbi") for x in X]
    assert (net.predict(tables) == wanted).all()
    missing = X.astype(object)
    missing[1, 2, 0] = None
    words = refusal(ValueError, lambda: net.predict([Table(x, "fff") for x in missing]))
    assert words == "X: expected finite numbers, got nan in sequence 1 at step 2"
    words = refusal(TypeError, lambda: net.predict([Table(x, "fOf") for x in X]))
    assert words.startswith("X[0]: expected real numbers, got an array of shape (10, 3)")
    X_with_names = X[0].astype(object)
    X_with_names[4, 1] = "u"
    words = refusal(TypeError, lambda: net.predict([Table(X_with_names, "fOf")]))
    assert words.endswith(" with 'u' at [4, 1]")


def test_masked_arrays_integers_for_masks_and_floats_for_lengths_lead_on():
    net = network()
    for data, options, way_out in (
        (np.ma.masked_array(X), {}, "mask= or weights say which of it count"),
        (X, {"mask": np.ones((B, T), int)}, "astype(bool)"),
        (X, {"lengths": [1.0, 2.0, 3.0, 4.0]}, "astype(int)"),
    ):
        words = refusal(TypeError, lambda data=data, options=options: net.predict(data, **options))
        assert way_out in words


# ------------------------------------------------------------------------------------ the rest


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for folder in (tmp_path / "no", tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(FileNotFoundError, match="make the folder first") as caught:
            network().save(folder / "model.npz")
        assert caught.value.filename == str(folder) and ".tmp" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writeable_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        network().save(tmp_path / "model.npz")
    assert caught.value.filename == str(tmp_path)


def test_steps_without_an_axis_or_with_one_too_many_lead_to_steps():
    for net, x, way_out in (
        (network(inputs=1), 0.5, "[x]"),
        (network(inputs=1), X[:, 0, 0], "np.reshape(x, (-1, 1))"),
        (network(), X[:, :1], "x[:, 0]"),
    ):
        words = refusal(ValueError, lambda net=net, x=x: net.step(x))
        assert f"; {way_out} " in words
        net.step(eval(way_out, {"x": x, "np": np}))


def test_calls_that_the_network_cannot_serve_lead_to_those_that_it_can():
    net, both = network(), network(bidirectional=True)
    examples = network(outputs=2).prepare(X, X[..., :2])
    for call, way_out in (
        (lambda: both.stream(), "; predict takes them whole"),
        (lambda: net.stream(2)(X[:, 0]), r"; net.stream\(4\) takes as many"),
        (lambda: net.evaluate(None, examples), "; prepare them with this network"),
        (lambda: setattr(net.frozen(), "params", net.params), "; write to the network that it is"),
        (lambda: lc.fit(net, X, X[..., :1], patience=3), "; fit takes validation_data="),
    ):
        assert re.search(way_out, refusal(ValueError, call))

"""Models of Keras: read, written, refused.

What Keras computed stands in golden/keras, whose script says of which models. Where Keras is there,
the last tests ask it itself.
"""

import copy
import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import sweep_keras
import zoo

import lstmcore as lc
from lstmcore.interop.keras import _hdf5

GOLDEN = Path(__file__).parent / "golden" / "keras"
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of the models that Keras has saved."""
    folder = tmp_path_factory.mktemp("keras")
    for path in GOLDEN.glob("*.zip"):
        with zipfile.ZipFile(path) as file:
            file.extractall(folder)
    return folder


OUTPUTS = {k: v for path in sorted(GOLDEN.glob("*.npz")) for k, v in np.load(path).items()}
NAMES = sorted({name[:-2] for name in OUTPUTS})

STACK = (
    [
        lc.GRU(3, 3),
        lc.LSTM(3, 2, bidirectional=True, gate_activation=("hard_sigmoid", 0.2, 0.5)),
        lc.Dense(4, 3, activation=("leaky_relu", 0.30000001192092896)),
        lc.Dense(3, 2),
    ],
    "last",
    "cross_entropy",
)
FUNCTIONAL = (
    [
        lc.GRU(3, 2, reset_after=False, bidirectional=True),
        lc.RNN(4, 3, activation="softsign"),
        lc.GRU(3, 2),
        lc.Dense(2, 1),
    ],
    "last_step",
    "binary_cross_entropy",
)
LAYERS = {
    "alone.weights.h5": (
        [
            lc.Dense(3, 4, activation="relu"),
            lc.LSTM(4, 3),
            lc.LSTM(3, 2, direction="reverse"),
            lc.Dense(2, 2),
        ],
        "max",
        "poisson",
    ),
    "functional.keras": (
        [
            lc.Embedding(7, 3),
            lc.GRU(3, 3, reset_after=False),
            lc.GRU(3, 2, cell_activation="softsign"),
            lc.Dense(2, 3, activation="tanh"),
            lc.Dense(3, 1),
        ],
        "last_step",
        "binary_cross_entropy",
    ),
    "keras_2_2.h5": (
        [
            lc.LSTM(3, 4, gate_activation=("hard_sigmoid", 0.2, 0.5)),
            lc.LSTM(4, 2),
            lc.Dense(2, 2),
        ],
        "last",
        "cross_entropy",
    ),
    "legacy.h5": (
        [
            lc.RNN(3, 4, bidirectional=True),
            lc.Dense(8, 4, activation=("leaky_relu", 0.1), bias=False),
            lc.Dense(4, 2, bias=False),
        ],
        "mean",
        "squared_error",
    ),
    "sequential.keras": (
        [
            lc.GRU(3, 4),
            lc.LSTM(4, 3, bidirectional=True, gate_activation=("hard_sigmoid", 1 / 6, 0.5)),
            lc.Dense(6, 5, activation=("elu", 1.0)),
            lc.Dense(5, 2),
        ],
        "last",
        "cross_entropy",
    ),
}
for version in ("13", "15"):
    for suffix in (".keras", ".h5", ".weights.h5"):
        LAYERS[f"keras_2_{version}_stack{suffix}"] = STACK
    for suffix in (".keras", "_weights.h5"):
        LAYERS[f"keras_2_{version}_functional{suffix}"] = FUNCTIONAL


def golden(models, name, **options):
    if "weights" in name:
        options.setdefault("config", models / f"{name}.json")
    return lc.from_keras(models / name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_gives_what_keras_gave(name, models):
    net, x = golden(models, name), OUTPUTS[f"{name}.x"]
    mask = (x != -1.0).any(axis=2) if name == "sequential.keras" else None
    np.testing.assert_allclose(net.predict(x, mask=mask), OUTPUTS[f"{name}.y"], atol=TOLERANCE)
    layers, readout, loss = LAYERS[name]
    assert repr(net.layers) == repr(tuple(layers))
    assert (net.readout, net.loss_name, net.dtype) == (readout, loss, "float32")


def test_dtype_readout_and_loss_may_be_chosen(models):
    path = models / "keras_2_15_stack.h5"
    net = lc.from_keras(path, dtype="float64", readout="mean", loss="cross_entropy")
    assert (net.dtype, net.readout, net.loss_name) == ("float64", "mean", "cross_entropy")
    assert (net.params.astype("float32") == lc.from_keras(path).params).all()
    net = lc.from_keras(models / "functional.keras", loss="squared_error")
    assert net.layers[-1].options["activation"] == "logistic"
    with pytest.raises(ValueError, match="loss: expected one with softmax outputs"):
        lc.from_keras(models / "sequential.keras", loss="squared_error")
    with pytest.raises(ValueError, match="readout: expected one of all"):
        lc.from_keras(path, readout="first")


@pytest.mark.parametrize("form", [str, json.loads, "path"])
def test_the_configuration_of_weights_alone_comes_in_three_forms(form, models):
    text = (models / "alone.weights.h5.json").read_text(encoding="utf-8")
    config = models / "alone.weights.h5.json" if form == "path" else form(text)
    net = lc.from_keras(models / "alone.weights.h5", config=config)
    assert (net.params == golden(models, "alone.weights.h5").params).all()


# ------------------------------------------------------------------------------- round trips


def cannot_say(net):
    """Whether Keras has no words for a network of the zoo."""
    for k, layer in enumerate(net.layers):
        options = layer.options
        plain = {"logistic", "tanh", "relu", "identity", "softsign", "softplus"}
        unsaid = ("peepholes", "coupled", "gate_recurrence", "learn_initial_state", "tokens")
        if any(options.get(name) for name in unsaid) or layer.is_masked:
            return True
        if not all(options.get(f"{gate}_gate", True) for gate in ("input", "forget", "output")):
            return True
        if options.get("block_size", 1) > 1:
            return True
        activations = [value for name, value in options.items() if name.endswith("activation")]
        if isinstance(layer, lc.Dense):
            plain = plain | {value for value in activations if value[0] in ("elu", "leaky_relu")}
        if any(value not in plain for value in activations):
            return True
        if layer.cell.kind == "LSTM" and len(set(activations[1:])) > 1:
            return True
        is_read = k == net.body.stop - 1 and net.readout != "all"
        if layer.direction == "reverse" and not (is_read and net.readout != "last_step"):
            return True
        if layer.directions == 2 and is_read and net.readout == "last_step":
            return True
    return False


@zoo.cases(zoo.NETWORKS)
def test_every_network_is_written_and_read_to_the_same_bits_or_refused(
    name, readout, dtype, tmp_path
):
    loss = zoo.LOSSES[len(name) % len(zoo.LOSSES)]
    net = zoo.network(name, readout=readout, dtype=dtype, loss=loss)
    path = tmp_path / "m.keras"
    if cannot_say(net):
        with pytest.raises(ValueError, match="net: expected what Keras can say"):
            lc.to_keras(net, path)
        assert not path.exists()
        return
    lc.to_keras(net, path)
    again = lc.from_keras(path)
    assert again.dtype == net.dtype and (again.params == net.params).all()
    assert (again.loss_name, len(again.layers)) == (net.loss_name, len(net.layers))
    x = np.random.default_rng(0).normal(size=(2, 5, net.input_size))
    if net.takes_tokens:
        x = np.array([[0, 1, 2, 0, 1]])
    assert (again.predict(x) == net.predict(x)).all()


def test_the_zoo_has_networks_of_both_kinds():
    said = [cannot_say(zoo.network(name)) for name in zoo.NETWORKS]
    assert 10 < sum(said) < len(said) - 10


@pytest.mark.parametrize("units", ["logistic", "softmax", "exponential"])
def test_output_units_behind_a_layer_with_an_activation_are_a_layer_of_their_own(units, tmp_path):
    loss = {"logistic": "binary_cross_entropy", "softmax": "cross_entropy"}.get(units, "poisson")
    ends = [lc.Dense(3, 2, activation=("leaky_relu", slope)) for slope in (0.2, 0.1)]
    for layers in ([lc.LSTM(2, 3)], *([lc.GRU(2, 3), end] for end in ends)):
        net = lc.Network(layers, loss=loss, seed=0)
        lc.to_keras(net, tmp_path / "m.keras")
        again = lc.from_keras(tmp_path / "m.keras")
        assert repr(again) == repr(net)


def test_output_units_that_differ_between_columns_are_refused(tmp_path):
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 6)], "mixture")
    with pytest.raises(ValueError, match=r"loss 'mixture'.*units that differ between columns"):
        lc.to_keras(net, tmp_path / "m.keras")


def network_with_slopes():
    layers = [
        lc.Dense(3, 4, activation=("leaky_relu", 0.1)),
        lc.GRU(4, 3, cell_activation=("elu", 1.0)),
        lc.Dense(3, 4, activation=("elu", 0.5)),
        lc.Dense(4, 2, activation=("leaky_relu", 0.2)),
    ]
    return lc.Network(layers, readout="last", dtype="float32", seed=0)


def test_slopes_that_are_not_those_of_names_are_layers(tmp_path):
    net = network_with_slopes()
    lc.to_keras(net, tmp_path / "m.keras")
    assert repr(lc.from_keras(tmp_path / "m.keras")) == repr(net)
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        layers = json.loads(file.read("config.json"))["config"]["layers"]
    kinds = ["InputLayer", "Dense", "LeakyReLU", "GRU", "Dense", "ELU", "Dense"]
    assert [entry["class_name"] for entry in layers] == kinds


def test_one_network_is_one_sequence_of_bytes(tmp_path):
    net = lc.Network([lc.GRU(2, 3)], seed=0)
    for name in ("a.keras", "b.keras"):
        lc.to_keras(net, tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_the_model_has_a_group_of_its_own_where_keras_before_3_5_looks_for_it(tmp_path):
    lc.to_keras(lc.Network([lc.GRU(2, 3)]), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        weights = file.read("model.weights.h5")
    with h5py.File(io.BytesIO(weights)) as file:
        assert set(file) == {"layers", "vars"} and len(file["vars"]) == 0


def test_one_error_names_all_that_keras_cannot_say(tmp_path):
    mask = np.ones((16, 2))
    layers = [
        lc.LSTM(2, 4, peepholes=True, block_size=2, learn_initial_state=True),
        lc.LSTM(4, 4, coupled=True, output_activation="identity"),
        lc.Dense(4, 2, activation=("scaled_tanh", 1.7, 0.6)),
        lc.GRU(2, 3, direction="reverse", gate_activation=("hard_sigmoid", 0.2, 0.5)),
        lc.LSTM(3, 2, gate_recurrence=True, output_gate=False),
        lc.Dense(2, 2),
    ]
    with pytest.raises(ValueError) as caught:
        lc.to_keras(lc.Network(layers), tmp_path / "m.keras")
    assert str(caught.value).splitlines()[1:] == [
        "  layers[0] (LSTM): peepholes, blocks of several cells, a learned initial state",
        "  layers[1] (LSTM): coupled gates, an output_activation that is not the cell_activation",
        "  layers[2] (Dense): activation ('scaled_tanh', 1.7, 0.6)",
        "  layers[3] (GRU): gate_activation ('hard_sigmoid', 0.2, 0.5), outputs in the order of "
        "time of a layer that reads in reverse",
        "  layers[4] (LSTM): no output gate, gate recurrence",
    ]
    first = lc.LSTM(2, 4, W_mask=mask, tokens=True, bidirectional=True)
    with pytest.raises(ValueError, match="a mask of W, tokens without an Embedding, the readout"):
        lc.to_keras(lc.Network([first], readout="last_step"), tmp_path / "m.keras")


def test_what_is_to_be_written_and_where_is_checked(tmp_path):
    net = lc.Network([lc.GRU(2, 3)])
    with pytest.raises(TypeError, match="net: expected a Network, got"):
        lc.to_keras("m.keras", net)
    with pytest.raises(ValueError, match=r"path: expected a name that ends with \.keras"):
        lc.to_keras(net, tmp_path / "m.h5")
    with pytest.raises(FileNotFoundError, match="expected a name in a folder that is there"):
        lc.to_keras(net, tmp_path / "none" / "m.keras")


# ------------------------------------------------------------------------------ configurations


def layer(kind, **options):
    return {"module": "keras.layers", "class_name": kind, "config": {"name": kind} | options}


def sequential(*layers):
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def hdf5(arrays, fill=None):
    """The bytes of an HDF5 file with ``{path: array}``, and with what `fill(file)` adds."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        for path, array in arrays.items():
            file[path] = array
        if fill is not None:
            fill(file)
    return buffer.getvalue()


def archive(path, config, weights=None, version="3.4.0", compression=zipfile.ZIP_STORED):
    """A .keras file with a configuration and the bytes of weights."""
    with zipfile.ZipFile(path, "w", compression) as file:
        if version is not None:
            file.writestr("metadata.json", json.dumps({"keras_version": version}))
        file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        file.writestr("model.weights.h5", hdf5({}) if weights is None else weights)
    return path


RNG = np.random.default_rng(0)
RNN = {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid"}
SEQUENCES = RNN | {"return_sequences": True}


def recurrent_weights(group, inputs, units, gates, bias=True):
    arrays = [RNG.normal(size=(n, gates * units)) for n in (inputs, units)]
    arrays += [RNG.normal(size=gates * units)] if bias else []
    return {f"layers/{group}/cell/vars/{k}": a.astype("f4") for k, a in enumerate(arrays)}


def dense_weights(group, inputs, units):
    arrays = RNG.normal(size=(inputs, units)), RNG.normal(size=units)
    return {f"layers/{group}/vars/{k}": a.astype("f4") for k, a in enumerate(arrays)}


def misfits(path, config, **options):
    """The lines of the error that a configuration is refused with, a layer each."""
    with pytest.raises(ValueError) as caught:
        lc.from_keras(archive(path, config, **options))
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("path: expected a chain of layers that a Network has, got ")
    return [line.strip() for line in lines]


INPUT = layer("InputLayer", batch_shape=[None, None, 3])

# A layer that does not fit, between an LSTM and a Dense layer, and why.
ALONE = {
    "Conv1D": (layer("Conv1D", filters=3), "no layer that a Network has"),
    "Lambda": (
        layer("Lambda", function="__import__('os').system('true')"),
        "Lambda, which is Python code, and none is run",
    ),
    "Flatten": (layer("Flatten"), "no layer that a Network has"),
    "RepeatVector": (layer("RepeatVector", n=3), "no layer that a Network has"),
    "BatchNormalization": (layer("BatchNormalization"), "no layer that a Network has"),
    "CuDNNGRU": (
        layer("CuDNNGRU", units=2),
        "CuDNNGRU, whose weights are in an order that was not always the same",
    ),
    "RNN": (
        layer("RNN", cell=layer("StackedRNNCells")),
        "RNN of StackedRNNCells, of which only LSTM, GRU and SimpleRNN as layers are known",
    ),
    "own class": (layer("Mine"), "no layer that a Network has"),
    "model": (layer("Sequential", layers=[]), "a model within the model"),
    "TensorFlow": (layer("TFOpLambda"), "TFOpLambda, an operation of TensorFlow"),
    "Embedding": (layer("Embedding", input_dim=3, output_dim=2), "it is not the first layer"),
    "Masking": (
        layer("Masking", mask_value=0.0),
        "it looks for what to mask behind other layers, not in the inputs",
    ),
    "activation": (
        layer("Dense", units=2, activation="gelu"),
        "its activation 'gelu' is none of a Network",
    ),
    "own activation": (
        layer("Dense", units=2, activation={"class_name": "function", "config": "mine"}),
        "its activation 'mine' is none of a Network",
    ),
    "softmax of one": (
        layer("Dense", units=1, activation="softmax"),
        "softmax of one unit is 1, whatever its input",
    ),
    "ReLU": (
        layer("ReLU", max_value=6.0),
        "it has max_value or threshold, which no activation of a Network has",
    ),
    "slope": (
        layer("LeakyReLU", negative_slope=-1.0),
        "activation: 'leaky_relu' needs alpha >= 0, got alpha = -1.0",
    ),
    "axis": (layer("Softmax", axis=1), "its axis is 1, and not -1"),
    "state": (
        layer("LSTM", return_state=True, **SEQUENCES),
        "return_state gives states beside the outputs",
    ),
    "time_major": (
        layer("LSTM", time_major=True, **SEQUENCES),
        "time_major, where a Network takes the batch first",
    ),
    "softmax inside": (
        layer("GRU", units=2, activation="softmax"),
        "its activation 'softmax' is one of outputs alone",
    ),
    "mul": (
        layer("Bidirectional", merge_mode="mul", layer=layer("LSTM", **SEQUENCES)),
        "merge_mode 'mul'; only 'concat', 'sum' and 'ave' are sums of inputs",
    ),
    "no merge": (
        layer("Bidirectional", merge_mode=None, layer=layer("LSTM", **SEQUENCES)),
        "merge_mode None; only 'concat', 'sum' and 'ave' are sums of inputs",
    ),
    "directions": (
        layer(
            "Bidirectional",
            layer=layer("LSTM", **SEQUENCES),
            backward_layer=layer("LSTM", go_backwards=True, **SEQUENCES | {"units": 3}),
        ),
        "its directions differ in units",
    ),
    "both forward": (
        layer(
            "Bidirectional",
            layer=layer("LSTM", **SEQUENCES),
            backward_layer=layer("LSTM", **SEQUENCES),
        ),
        "its backward layer does not read backwards",
    ),
    "swapped": (
        layer("Bidirectional", layer=layer("LSTM", go_backwards=True, **SEQUENCES)),
        "its forward layer has go_backwards, so that the directions are swapped",
    ),
    "Bidirectional of": (
        layer("Bidirectional", layer=layer("ConvLSTM1D")),
        "it holds no layer that a Network has",
    ),
    "TimeDistributed of": (
        layer("TimeDistributed", layer=layer("Conv1D")),
        "it holds no layer that a Network has",
    ),
    "keepdims": (
        layer("GlobalMaxPooling1D", keepdims=True),
        "keepdims keeps an axis of time of one step",
    ),
    "data_format": (
        layer("GlobalAveragePooling1D", data_format="channels_first"),
        "data_format says that time is the last axis",
    ),
    "quantized": (
        layer("Dense", units=2, dtype={"class_name": "QuantizedDTypePolicy"}),
        "its weights are quantized",
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_layer_that_does_not_fit_is_named_with_the_reason(name, tmp_path):
    wrong, why = ALONE[name]
    config = sequential(INPUT, layer("LSTM", **SEQUENCES), wrong, layer("Dense", units=2))
    kind = wrong["class_name"]
    assert misfits(tmp_path / "m.keras", config) == [f"'{kind}' ({kind}): {why}"]


# Layers that do not fit because of others, by the place of the one that is named.
TOGETHER = {
    "a sequence is missing": (
        [layer("LSTM", **RNN), layer("GRU", **RNN)],
        1,
        "the layer before it gives no time steps: return_sequences=False",
    ),
    "nothing to pool": (
        [layer("LSTM", **RNN), layer("GlobalMaxPooling1D")],
        1,
        "there are no time steps any more",
    ),
    "no steps to distribute over": (
        [layer("LSTM", **RNN), layer("TimeDistributed", layer=layer("Dense", units=2))],
        1,
        "there are no time steps any more",
    ),
    "nothing recurrent to pool": (
        [layer("Dense", units=2), layer("GlobalMaxPooling1D")],
        1,
        "no recurrent layer stands before it",
    ),
    "the maximum behind a layer": (
        [layer("LSTM", **SEQUENCES), layer("Dense", units=2), layer("GlobalMaxPooling1D")],
        2,
        "layers stand between it and the last recurrent layer",
    ),
    "the mean behind an activation": (
        [
            layer("LSTM", **SEQUENCES),
            layer("Dense", units=2, activation="relu"),
            layer("GlobalAveragePooling1D"),
        ],
        2,
        "activations stand between it and the last recurrent layer",
    ),
    "the mean behind a layer of activation": (
        [layer("LSTM", **SEQUENCES), layer("ReLU"), layer("GlobalAveragePooling1D")],
        2,
        "an activation stands between it and the last recurrent layer",
    ),
    "the maximum of a sum": (
        [
            layer("Bidirectional", merge_mode="sum", layer=layer("LSTM", **SEQUENCES)),
            layer("GlobalMaxPooling1D"),
        ],
        1,
        "the maximum of a sum of two directions",
    ),
    "a sum at the end": (
        [layer("Bidirectional", merge_mode="sum", layer=layer("LSTM", **SEQUENCES))],
        0,
        "the sum of its directions goes into no further layer whose weights could take it",
    ),
    "backwards at the end": (
        [layer("LSTM", go_backwards=True, **SEQUENCES)],
        0,
        "its outputs come in the reverse order of time: go_backwards, return_sequences",
    ),
    "backwards below another": (
        [layer("LSTM", go_backwards=True, **SEQUENCES), layer("GRU", **RNN)],
        1,
        "LSTM has go_backwards and return_sequences",
    ),
    "softmax below another": (
        [layer("Dense", units=2, activation="softmax"), layer("GRU", **RNN)],
        1,
        "softmax before it, which a Network has as output units alone",
    ),
    "softmax below a layer of activation": (
        [layer("GRU", **RNN), layer("Softmax"), layer("ReLU")],
        2,
        "softmax before it, which a Network has as output units alone",
    ),
    "an activation of the inputs": (
        [layer("ReLU"), layer("GRU", **RNN)],
        0,
        "no layer stands before it",
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_that_do_not_go_together_are_named(name, tmp_path):
    layers, place, why = TOGETHER[name]
    kind = layers[place]["class_name"]
    expected = [f"'{kind}' ({kind}): {why}"]
    assert misfits(tmp_path / "m.keras", sequential(INPUT, *layers)) == expected


def test_classes_that_are_called_like_those_of_keras_are_not_taken_for_them(tmp_path):
    for own, name in (
        ({"registered_name": "mine>LSTM"}, "mine>LSTM"),
        ({"module": "mine.layers"}, "mine.layers.LSTM"),
    ):
        config = sequential(INPUT, layer("LSTM", **RNN) | own)
        expected = [f"'LSTM' ({name}): no layer that a Network has"]
        assert misfits(tmp_path / "m.keras", config) == expected


def test_one_error_names_every_layer_that_does_not_fit(tmp_path):
    config = sequential(
        INPUT,
        layer("Conv1D"),
        layer("LSTM", **RNN),
        layer("Lambda"),
        layer("Dense", units=2, activation="mish"),
    )
    assert [line.split(":")[0] for line in misfits(tmp_path / "m.keras", config)] == [
        "'Conv1D' (Conv1D)",
        "'Lambda' (Lambda)",
        "'Dense' (Dense)",
    ]


@pytest.mark.parametrize(
    "shape, kind", [([None, 3], "LSTM"), ([None, 4, 4, 1], "Dense"), ([None, None, 3], "Embedding")]
)
def test_inputs_without_an_axis_of_time_are_refused(shape, kind, tmp_path):
    config = sequential(layer("InputLayer", batch_shape=shape), layer(kind, **RNN))
    (line,) = misfits(tmp_path / "m.keras", config)
    assert line.startswith(f"'{kind}' ({kind}): its inputs have {len(shape)} axes")
    first = sequential(layer(kind, batch_input_shape=shape, **RNN))  # of Keras 2
    assert misfits(tmp_path / "m.keras", first) == [line]


def tensor(name):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}


def functional(*layers):
    """A functional model of (layer, arguments, keywords) each; the last gives the outputs."""
    entries = []
    for entry, args, kwargs in layers:
        nodes = [{"args": args, "kwargs": kwargs}] if args else []
        name = entry["config"]["name"]
        entries.append(copy.deepcopy(entry) | {"name": name, "inbound_nodes": nodes})
    return {
        "class_name": "Functional",
        "config": {
            "layers": entries,
            "input_layers": [["InputLayer", 0, 0]],
            "output_layers": [[entries[-1]["name"], 0, 0]],
        },
    }


def test_names_in_a_file_may_be_anything(tmp_path):
    wrong = layer("Con\nv") | {"config": {"name": "\x1b[1m" * 1000}}
    lines = misfits(tmp_path / "m.keras", sequential(INPUT, *[wrong] * 60))
    assert len(lines) == 51 and lines[-1] == "and 10 more"
    assert max(map(len, lines)) < 300 and all(map(str.isprintable, lines))
    lines = misfits(tmp_path / "m.keras", sequential(INPUT, layer("Con\nv")))
    assert lines == [r"'Con\nv' (Con\nv): no layer that a Network has"]


def test_layers_beside_a_chain_are_named(tmp_path):
    config = functional(
        (INPUT, [], {}),
        (layer("LSTM", **SEQUENCES), [tensor("InputLayer")], {}),
        (layer("GRU", **SEQUENCES), [tensor("InputLayer")], {}),
        (layer("Concatenate"), [[tensor("LSTM"), tensor("GRU")]], {}),
        (layer("Dense", units=2), [tensor("Concatenate")], {}),
    )
    assert misfits(tmp_path / "m.keras", config) == [
        "'GRU' (GRU): it stands beside the chain from the input to the output",
        "'Concatenate' (Concatenate): it takes 2 inputs",
    ]


def test_a_layer_that_is_called_twice_or_with_states_is_refused(tmp_path):
    config = functional(
        (INPUT, [], {}),
        (layer("LSTM", **SEQUENCES), [tensor("InputLayer")], {"initial_state": tensor("x")}),
        (layer("Dense", units=2), [tensor("LSTM")], {"training": None}),
    )
    config["config"]["layers"][2]["inbound_nodes"] *= 2
    lines = misfits(tmp_path / "m.keras", config)
    assert lines[0] == "'LSTM' (LSTM): it is called with initial_state="
    assert lines[1] == "'Dense' (Dense): it is called 2 times"


def test_a_mask_that_is_not_that_of_the_inputs_is_refused(tmp_path):
    config = functional(
        (INPUT, [], {}),
        (layer("NotEqual"), [tensor("InputLayer"), 0.0], {}),
        (layer("LSTM", **SEQUENCES), [tensor("InputLayer")], {"mask": tensor("NotEqual")}),
    )
    assert misfits(tmp_path / "m.keras", config) == [
        "'NotEqual' (NotEqual): it stands beside the chain from the input to the output",
        "'LSTM' (LSTM): it is called with a mask that is not that of its inputs",
    ]


@pytest.mark.parametrize(
    "index, fits",
    [
        ([{"class_name": "__slice__", "config": {"start": None}}, -1], True),
        ([{"class_name": "__slice__", "config": {"start": 1}}, -1], False),
        ([{"class_name": "__slice__", "config": {}}, 0], False),
        ([{"class_name": "__slice__", "config": {}}, -1, 0], False),
        (-1, False),
    ],
)
def test_of_indices_only_the_last_step_is_a_readout(index, fits, tmp_path):
    config = functional(
        (INPUT, [], {}),
        (layer("SimpleRNN", **SEQUENCES), [tensor("InputLayer")], {}),
        (layer("GetItem"), [tensor("SimpleRNN"), index], {}),
    )
    path = tmp_path / "m.keras"
    if fits:
        archive(path, config, hdf5(recurrent_weights("simple_rnn", 3, 2, 1)))
        assert lc.from_keras(path).readout == "last_step"
    else:
        expected = ["'GetItem' (GetItem): an index that is not [:, -1]"]
        assert misfits(path, config) == expected


@pytest.mark.parametrize(
    "version, slope", [("3.0.1", 1 / 6), ("2.15.0", 0.2), ("2.2.4-tf", 0.2), ("2.1.6", 0.2)]
)
def test_hard_sigmoid_is_that_of_the_version(version, slope, tmp_path):
    config = sequential(INPUT, layer("GRU", **RNN | {"recurrent_activation": "hard_sigmoid"}))
    weights = hdf5(recurrent_weights("gru", 3, 2, 3))
    path = archive(tmp_path / "m.keras", config, weights, version)
    expected = ("hard_sigmoid", slope, 0.5)
    assert lc.from_keras(path).layers[0].options["gate_activation"] == expected
    # without a version in the file it is asked for, and only then
    archive(path, config, weights, version=None)
    assert lc.from_keras(path, keras_version=version).layers[0].options["gate_activation"] == (
        expected
    )
    (line,) = misfits(path, config, weights=weights, version=None)
    assert "keras_version='3' or '2' does" in line


@pytest.mark.parametrize(
    "version, gate",
    [("3.0.0", "logistic"), ("2.3.0", "logistic"), ("2.2.5", ("hard_sigmoid", 0.2, 0.5))],
)
def test_a_gate_activation_that_is_not_said_is_the_default_of_the_version(version, gate, tmp_path):
    config = sequential(INPUT, layer("LSTM", units=2))
    weights = hdf5(recurrent_weights("lstm", 3, 2, 4))
    net = lc.from_keras(archive(tmp_path / "m.keras", config, weights, version))
    assert net.layers[0].options["gate_activation"] == gate
    for version in (None, "2.2.4-tf"):
        (line,) = misfits(tmp_path / "m.keras", config, weights=weights, version=version)
        assert "its recurrent_activation is not said" in line


def test_without_use_bias_biases_are_zero(tmp_path):
    options = RNN | {"use_bias": False, "reset_after": True}
    config = sequential(INPUT, layer("GRU", **options))
    weights = hdf5(recurrent_weights("gru", 3, 2, 3, bias=False))
    net = lc.from_keras(archive(tmp_path / "m.keras", config, weights))
    assert not net.blocks["0.b"].any() and not net.blocks["0.bR"].any()
    config = sequential(INPUT, layer("GRU", **RNN | {"use_bias": False}))
    with pytest.raises(ValueError, match="neither its configuration nor its biases say reset_aft"):
        lc.from_keras(archive(tmp_path / "m.keras", config, weights))


def test_what_cannot_matter_is_ignored(tmp_path):
    options = {"stateful": True, "unroll": True, "dropout": 0.5, "recurrent_dropout": 0.5}
    config = sequential(
        INPUT,
        layer("GaussianNoise", stddev=0.1),
        layer("SimpleRNN", **RNN | options),
        layer("ActivityRegularization"),
        layer("AlphaDropout", rate=0.1),
        layer("Identity"),
    )
    weights = hdf5(recurrent_weights("simple_rnn", 3, 2, 1))
    net = lc.from_keras(archive(tmp_path / "m.keras", config, weights))
    assert repr(net.layers) == "(RNN(3, 2),)"


def test_an_archive_that_somebody_packed_anew_is_read(tmp_path):
    config = sequential(INPUT, layer("SimpleRNN", **RNN))
    weights = hdf5(recurrent_weights("simple_rnn", 3, 2, 1))
    stored, packed = tmp_path / "a.keras", tmp_path / "b.keras"
    archive(stored, config, weights)
    archive(packed, config, weights, compression=zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < stored.stat().st_size
    assert (lc.from_keras(packed).params == lc.from_keras(stored).params).all()


@pytest.mark.parametrize("fold", ["sum", "ave"])
def test_a_sum_of_directions_goes_into_the_next_layer(fold, tmp_path):
    both = layer("Bidirectional", merge_mode=fold, layer=layer("SimpleRNN", **SEQUENCES))
    weights = {
        path.replace("simple_rnn", f"bidirectional/{way}_layer"): array
        for way in ("forward", "backward")
        for path, array in recurrent_weights("simple_rnn", 3, 2, 1).items()
    }
    further = {
        "Dense": (layer("Dense", units=2), dense_weights("dense", 2, 2)),
        "LSTM": (layer("LSTM", **SEQUENCES), recurrent_weights("lstm", 2, 2, 4)),
        "ReLU": (layer("ReLU"), {}),
        "Softmax": (layer("Softmax"), {}),
    }
    x = RNG.normal(size=(2, 5, 3)).astype("f4")
    sides = lc.from_keras(
        archive(
            tmp_path / "sides.keras",
            sequential(INPUT, both | {"config": both["config"] | {"merge_mode": "concat"}}),
            hdf5(weights),
        )
    ).predict(x)
    merged = (sides[..., :2] + sides[..., 2:]) / (1 if fold == "sum" else 2)
    for kind, (entry, own) in further.items():
        config = sequential(INPUT, both, entry)
        net = lc.from_keras(archive(tmp_path / "m.keras", config, hdf5(weights | own)))
        if kind == "ReLU":
            expected = np.maximum(merged, 0)
        elif kind == "Softmax":
            expected = np.exp(merged) / np.exp(merged).sum(axis=2, keepdims=True)
            assert (net.loss_name, len(net.layers)) == ("cross_entropy", 2)
        else:
            shape = layer("InputLayer", batch_shape=[None, None, 2])
            alone = archive(tmp_path / "n.keras", sequential(shape, entry), hdf5(own))
            expected = lc.from_keras(alone).predict(merged)
        np.testing.assert_allclose(net.predict(x), expected, atol=TOLERANCE)


# ------------------------------------------------------------------------------------ bad files


def refused(path, match, **options):
    with pytest.raises(ValueError, match=match):
        lc.from_keras(path, **options)


CONFIG = sequential(INPUT, layer("LSTM", **RNN))
WEIGHTS = recurrent_weights("lstm", 3, 2, 4)


def test_arguments_are_checked(models, tmp_path):
    refused(tmp_path, "path: expected a file, got the folder .* a SavedModel of TensorFlow")
    refused(models / "alone.weights.h5", r"config=model\.to_json\(\) says what they are")
    refused(models / "sequential.keras", "it holds its own configuration", config=CONFIG)
    refused(models / "alone.weights.h5", "config: expected what .*to_json", config="{]")
    refused(models / "alone.weights.h5", "'new' is no version", keras_version="new")
    with pytest.raises(TypeError, match="keras_version: expected a str such as"):
        lc.from_keras(models / "sequential.keras", keras_version=2)
    with pytest.raises(TypeError, match=r"config: expected what model\.to_json\(\) gives"):
        lc.from_keras(models / "alone.weights.h5", config=7)
    with pytest.raises(TypeError, match="path: expected a str or a path, got 7"):
        lc.from_keras(7)
    with pytest.raises(FileNotFoundError):
        lc.from_keras(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError):
        lc.from_keras(models / "alone.weights.h5", config="none.json")


SHAPES = {
    "units": ({"layers/lstm/cell/vars/0": np.zeros((3, 12))}, r"kernel of shape \(3, 12\)"),
    "recurrent": ({"layers/lstm/cell/vars/1": np.zeros((3, 8))}, r"recurrent_kernel of shape"),
    "bias": ({"layers/lstm/cell/vars/2": np.zeros(6)}, r"bias of shape \(6,\)"),
    "axes": ({"layers/lstm/cell/vars/0": np.zeros(8)}, r"kernel of shape \(8,\)"),
    "kind": ({"layers/lstm/cell/vars/0": np.zeros((3, 8), int)}, "int64, no real numbers"),
    "more": ({"layers/lstm/cell/vars/3": np.zeros(2)}, "4 arrays of weights, and not 3"),
    "text": ({"layers/lstm/cell/vars/2": np.bytes_(b"x" * 8)}, "something else than numbers"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_weights_that_are_not_those_of_the_configuration_are_refused(name, tmp_path):
    other, match = SHAPES[name]
    refused(archive(tmp_path / "m.keras", CONFIG, hdf5(WEIGHTS | other)), match)


def test_biases_that_are_of_another_gru_are_refused(tmp_path):
    for shape, reset_after, match in (
        ((6,), True, "reset_after=True in its configuration, and biases of"),
        ((2, 6), False, "reset_after=False in its configuration, and biases of"),
        ((12,), True, "those of CuDNNGRU are not read"),
    ):
        config = sequential(INPUT, layer("GRU", **RNN | {"reset_after": reset_after}))
        weights = recurrent_weights("gru", 3, 2, 3)
        weights["layers/gru/cell/vars/2"] = np.zeros(shape)
        refused(archive(tmp_path / "m.keras", config, hdf5(weights)), match)


def test_weights_that_are_missing_are_named(tmp_path):
    path = tmp_path / "m.keras"
    refused(archive(path, CONFIG, hdf5({})), "no weights of layers/lstm")
    refused(archive(path, CONFIG, hdf5({"layers/lstm/x": 1.0})), "of layers/lstm/cell")
    gap = {key.replace("vars/1", "vars/7"): value for key, value in WEIGHTS.items()}
    refused(archive(path, CONFIG, hdf5(gap)), "no variable 1 of layers/lstm/cell")
    refused(archive(path, CONFIG, hdf5(WEIGHTS)[:700]), "behind its end")


HOSTILE_CONFIGS = {
    "no JSON": ("{", "Expecting property name"),
    "a list": ("[]", "no JSON object"),
    "empty": ({}, "a model of the class None"),
    "deep": ('{"config":' + "[" * 100_000, "recursion"),
    "a number of digits": ('{"class_name": ' + "9" * 100_000 + "}", "digits"),
    "no layers": ({"class_name": "Sequential", "config": {}}, "lacks 'layers'"),
    "nothing": (sequential(), "without any layer"),
    "a class of one's own": ({"class_name": "Mine", "config": {}}, "a model of the class 'Mine'"),
    "no units": (sequential(INPUT, layer("LSTM")), "its configuration lacks 'units'"),
    "units": (sequential(INPUT, layer("LSTM", units=10**30)), "kernel of shape"),
    "units of text": (sequential(INPUT, layer("LSTM", units="2" * 99)), "kernel of shape"),
    "no class": (sequential({"class_name": 3, "config": {}}), "whose class is no text"),
    "no options": (sequential({"class_name": "LSTM", "config": 3}), "without config"),
    "many layers": (sequential(*[layer("Dropout")] * 2000), "at most 1000 layers"),
    "two outputs": (
        {
            "class_name": "Functional",
            "config": {
                "layers": [],
                "input_layers": [["a", 0, 0]],
                "output_layers": [["b", 0, 0], ["c", 0, 0]],
            },
        },
        "1 inputs and 2 outputs",
    ),
    "a circle": (
        functional((layer("ReLU"), [tensor("Dense")], {}), (layer("Dense"), [tensor("ReLU")], {})),
        "does not lead back to an input",
    ),
    "another name": (
        functional((layer("Dense"), [tensor("nobody")], {})),
        "does not lead back to an input, at 'nobody'",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_CONFIGS)
def test_a_configuration_is_data_that_nobody_trusts(name, tmp_path):
    config, match = HOSTILE_CONFIGS[name]
    refused(archive(tmp_path / "m.keras", config, hdf5(WEIGHTS)), match)


def to_vars(change):
    """A function that replaces the first variable of the LSTM."""

    def fill(file):
        group = file["layers/lstm/cell/vars"]
        del group["0"]
        change(group)

    return fill


def layout(shape, external, virtual):
    result = h5py.VirtualLayout(shape, "f4")
    result[...] = h5py.VirtualSource("other.h5", "x", shape)
    return result


HOSTILE_FILES = {
    "soft link": (
        lambda g: g.__setitem__("0", h5py.SoftLink("/layers/lstm/cell/vars/1")),
        "is a link to another place",
    ),
    "external link": (
        lambda g: g.__setitem__("0", h5py.ExternalLink("other.h5", "/x")),
        "is a link to another place|newer form",
    ),
    "external storage": (
        lambda g: g.create_dataset("0", (3, 8), "f4", external=[("/etc/passwd", 0, 96)]),
        "stands in another file",
    ),
    "virtual": (
        lambda g: g.create_virtual_dataset("0", layout((3, 8), None, None)),
        "is in virtual storage|unknown version",
    ),
    "compressed": (
        lambda g: g.create_dataset("0", data=np.zeros((3, 8), "f4"), compression="gzip"),
        "is compressed; h5repack -f NONE",
    ),
    "a bomb of chunks": (
        lambda g: g.create_dataset("0", (10**6, 10**6), "f4", chunks=(1000, 1000)),
        "is in chunks",
    ),
    "a bomb of a shape": (
        lambda g: g.create_dataset("0", (10**6, 10**6), "f4"),
        "0 bytes for shape|bytes for shape",
    ),
    "a group": (lambda g: g.create_group("0"), "is no dataset"),
    "no numbers": (lambda g: g.create_dataset("0", dtype="f4", data=h5py.Empty("f4")), "a shape"),
    "complex numbers": (
        lambda g: g.create_dataset("0", data=np.zeros((3, 8), "c8")),
        "something else than numbers",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hdf5_that_is_more_than_numbers_is_refused(name, tmp_path):
    change, match = HOSTILE_FILES[name]
    weights = hdf5(WEIGHTS, to_vars(change))
    refused(archive(tmp_path / "m.keras", CONFIG, weights), match)


def test_one_array_under_many_names_is_not_read_over_and_over(tmp_path):
    def fill(file):
        file["layers/dense/vars/0"] = np.zeros((500, 500), "f4")
        file["layers/dense/vars/1"] = np.zeros(500, "f4")
        for k in range(1, 200):
            file[f"layers/dense_{k}"] = file["layers/dense"]

    config = sequential(INPUT, *[layer("Dense", units=500)] * 200)
    path = archive(tmp_path / "m.keras", config, hdf5({}, fill))
    assert path.stat().st_size < 2_000_000
    assert peak_of_refusing(path, "the same bytes many times over") < 30_000_000


def peak_of_refusing(path, match):
    tracemalloc.start()
    try:
        refused(path, match)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_archives_that_unfold_are_refused(tmp_path):
    path = tmp_path / "m.keras"
    archive(path, CONFIG, b"\0" * 30_000_000, compression=zipfile.ZIP_DEFLATED)
    assert peak_of_refusing(path, "larger than the file can hold") < 4_000_000
    archive(path, json.dumps(CONFIG) + " " * 5_000_000, compression=zipfile.ZIP_STORED)
    assert peak_of_refusing(path, "has 5000") < 4_000_000
    archive(path, CONFIG, hdf5(WEIGHTS), compression=zipfile.ZIP_BZIP2)
    refused(path, "compressed in an unusual way")


def test_other_files_are_told_what_they_are(tmp_path):
    path = tmp_path / "m.keras"
    for content, match in (
        (b"", "neither a zip archive nor an HDF5 file"),
        (b"no model at all", "neither a zip archive nor an HDF5 file"),
        (hdf5({"a": 1.0})[:40], "behind its end"),
    ):
        path.write_bytes(content)
        refused(path, match)
    lc.Network([lc.RNN(2, 3)]).save(path)
    refused(path, "an archive without config.json")
    for name, match in (
        ("model.weights.npz", "pickles are not read"),
        ("model.weights.json", "in several files"),
        ("nothing", "without model.weights.h5"),
    ):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", json.dumps(CONFIG))
            file.writestr(name, b"")
        refused(path, match)
    with h5py.File(path, "w", libver="latest") as file:
        file["layers/lstm"] = 1.0
    refused(path, "it is in a newer form of HDF5", config=CONFIG)
    with h5py.File(path, "w") as file:
        file["a"] = 1.0
    refused(path, "it holds no layers of Keras", config=CONFIG)
    refused(archive(path, CONFIG, hdf5(WEIGHTS), version="1.2.2"), "by Keras 1.2.2; load it in")


def test_damaged_files_are_refused_or_read_and_nothing_else():
    """The beginning of what `tests/sweep.py keras` does."""
    outcomes = [sweep_keras.check(0, index) for index in range(300)]
    assert set(outcomes) == {"refused", "a network"}


# ----------------------------------------------------------------------------------------- HDF5


def contents(group):
    """A group of h5py as ``{name: array or dict}``."""
    return {
        name: contents(item) if isinstance(item, h5py.Group) else item[()]
        for name, item in group.items()
    }


def assert_equal_contents(ours, theirs):
    assert set(ours.links) == set(theirs)
    for name, item in theirs.items():
        if isinstance(item, dict):
            assert_equal_contents(ours.group(name), item)
        else:
            array = ours.array(name)
            assert (array.dtype, array.shape) == (item.dtype, item.shape)
            assert (array == item).all()


def test_hdf5_is_read_as_h5py_reads_it(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["long"] = "ä" * 100_000  # in a global heap
        file.attrs["names"] = [b"one", b"three"]
        file.attrs["more"] = ["one", "three"]
        file.attrs["number"] = 3
        file.attrs["none"] = np.zeros(0)
        for k in range(300):  # a tree of several levels
            file[f"groups/{k}/x"] = rng.normal(size=(k % 4, 2)).astype("<f4")
        for dtype in ("<f2", "<f4", "<f8", ">f4", ">f8", "<i4", "|u1", ">i8"):
            file[f"types/{dtype[1:]} {ord(dtype[0])}"] = np.arange(6).reshape(2, 3).astype(dtype)
        file["scalar"] = 3.5
        file["empty"] = np.zeros((0, 4))
        many = file.create_group("attributes")
        for k in range(40):  # in several stretches of an object header
            many.attrs[f"a{k}"] = f"text {k}" * 20
        expected, attributes = contents(file), dict(many.attrs)
    with open(path, "rb") as file:
        root = _hdf5.File(file, os.path.getsize(path)).root
        assert_equal_contents(root, expected)
        assert root.group("attributes").attributes == attributes
        assert root.attributes == {
            "long": "ä" * 100_000,
            "names": ["one", "three"],
            "more": ["one", "three"],
        }


# ------------------------------------------------------------------------------- Keras itself


@pytest.fixture(scope="module")
def keras():
    if "KERAS_BACKEND" not in os.environ:
        pytest.importorskip("torch")
        os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras")


@zoo.cases(
    {name: entry for name, entry in zoo.NETWORKS.items() if not cannot_say(zoo.network(name))}
)
@pytest.mark.filterwarnings("ignore")  # of torch
def test_keras_computes_what_was_written(name, readout, dtype, keras, tmp_path):
    loss = zoo.LOSSES[len(name) % len(zoo.LOSSES)]
    net = zoo.network(name, readout=readout, dtype=dtype, loss=loss)
    if cannot_say(net):
        return
    lc.to_keras(net, tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(3, 6, net.input_size)).astype(np.float32)
    if net.takes_tokens:
        x = np.array([[0, 1, 2, 0, 1]])
    outputs = np.asarray(model.predict(x, verbose=0))
    np.testing.assert_allclose(net.predict(x), outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch
def test_keras_computes_slopes_that_are_layers(keras, tmp_path):
    net = network_with_slopes()
    lc.to_keras(net, tmp_path / "m.keras")
    x = RNG.normal(size=(3, 6, 3)).astype(np.float32)
    outputs = keras.models.load_model(tmp_path / "m.keras").predict(x, verbose=0)
    np.testing.assert_allclose(net.predict(x), outputs, atol=1e-5)


def bidirectional(layers, kind, **options):
    mode = options.pop("merge_mode", "concat")
    return layers.Bidirectional(getattr(layers, kind)(3, **options), merge_mode=mode)


MODELS = {
    "hard sigmoid": lambda k: [k.GRU(3, recurrent_activation="hard_sigmoid"), k.Dense(2)],
    "relu": lambda k: [k.SimpleRNN(3, activation="relu"), k.Dense(2, activation="elu")],
    "no biases": lambda k: [k.LSTM(3, use_bias=False, return_sequences=True), k.GRU(2)],
    "reset before": lambda k: [k.GRU(3, reset_after=False, return_sequences=True)],
    "backwards": lambda k: [k.GRU(3, go_backwards=True), k.Dense(2, activation="softmax")],
    "backwards, mean": lambda k: [
        k.LSTM(3, go_backwards=True, return_sequences=True),
        k.GlobalAveragePooling1D(),
    ],
    "sum": lambda k: [bidirectional(k, "GRU", merge_mode="sum"), k.Dropout(0.5), k.Dense(2)],
    "ave of steps": lambda k: [
        bidirectional(k, "LSTM", merge_mode="ave", return_sequences=True),
        k.TimeDistributed(k.Dense(2)),
        k.TimeDistributed(k.Activation("sigmoid")),
    ],
    "mean behind Dense": lambda k: [
        k.LSTM(3, return_sequences=True),
        k.Dense(4),
        k.GlobalAveragePooling1D(),
        k.Dense(2, activation="exponential"),
    ],
    "layers of activation": lambda k: [
        k.LSTM(3, return_sequences=True),
        k.ReLU(),
        k.Dense(4),
        k.LeakyReLU(negative_slope=0.3),
        k.ELU(alpha=0.5),
        k.Softmax(),
    ],
    "activations as layers": lambda k: [
        k.GRU(3),
        k.Dense(2, activation=k.LeakyReLU(negative_slope=0.25)),
        k.Dense(2, activation="hard_sigmoid"),
    ],
    "many of a class": lambda k: [k.LSTM(2 + i, return_sequences=True) for i in range(12)],
}


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")  # of Keras, that .h5 is older
def test_a_network_computes_what_keras_saved(name, suffix, keras, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 4)), *MODELS[name](keras.layers)])
    model.set_weights([RNG.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    path = tmp_path / f"m{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
        net = lc.from_keras(path, config=model.to_json(), keras_version=keras.__version__)
    else:
        model.save(path)
        net = lc.from_keras(path)
    x = RNG.normal(size=(3, 6, 4)).astype(np.float32)
    outputs = np.asarray(model.predict(x, verbose=0))
    np.testing.assert_allclose(net.predict(x), outputs, rtol=1e-5, atol=1e-5)

"""Networks from PyTorch's state dicts, and back."""

from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop._tensors import read_tensors

GOLDEN = Path(__file__).parent / "golden/torch"

# How each file is read, and how far outputs may be from PyTorch's.
FILES = {
    "classifier.pt": (
        {"layers": ["embedding", "lstm", "fc1", "relu", "fc2", "softmax"], "readout": "last"},
        1e-12,
    ),
    "checkpoint.pt": ({}, 1e-5),
    "mean.safetensors": (
        {"layers": ["rnn", "head", "sigmoid"], "nonlinearity": "relu", "readout": "mean"},
        1e-12,
    ),
    "LSTMCell.pt": ({"layers": ["front", ("leaky_relu", 0.2), "cell"]}, 1e-12),
    "GRUCell.pt": ({"layers": ["front", ("leaky_relu", 0.2), "cell"]}, 1e-12),
    "RNNCell.pt": (
        {"layers": ["front", ("leaky_relu", 0.2), "cell"], "nonlinearity": "tanh"},
        1e-12,
    ),
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(GOLDEN / "outputs.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_those_of_pytorch(name, recorded):
    options, tolerance = FILES[name]
    net = lc.from_torch(GOLDEN / name, **options)
    lengths = recorded.get(f"{name}/lengths")
    x, y = recorded[f"{name}/x"], recorded[f"{name}/y"]
    outputs = net.predict(x, lengths=lengths)
    if lengths is not None and outputs.ndim == 3:  # behind a sequence's end there is nothing
        is_there = np.arange(x.shape[1]) < lengths[:, None]
        outputs, y = outputs[is_there], y[is_there]
    np.testing.assert_allclose(outputs, y, rtol=0, atol=tolerance)


def test_a_files_dtype_is_kept_and_another_may_be_asked_for():
    assert lc.from_torch(GOLDEN / "checkpoint.pt").dtype == "float32"
    assert lc.from_torch(GOLDEN / "checkpoint.pt", dtype="float64").dtype == "float64"
    options, _ = FILES["classifier.pt"]
    assert lc.from_torch(GOLDEN / "classifier.pt", **options).dtype == "float64"


@pytest.mark.parametrize("file", ["kinds.pt", "kinds.safetensors"])
def test_tensors_of_every_kind_are_read(file, recorded):
    tensors = read_tensors(GOLDEN / file)
    kinds = [name for name in recorded if name.startswith("kinds/")]
    assert {f"kinds/{name}" for name in tensors} == set(kinds)
    for name, array in tensors.items():
        expected = recorded[f"kinds/{name}"]
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_both_paths_of_a_mapping_and_of_a_file_are_one(recorded):
    tensors = read_tensors(GOLDEN / "checkpoint.pt")
    assert same(lc.from_torch(tensors), lc.from_torch(GOLDEN / "checkpoint.pt"))
    nested = {"epoch": 3, "model": tensors}
    assert same(lc.from_torch(nested), lc.from_torch(tensors))
    assert same(lc.from_torch(nested, entry="model"), lc.from_torch(tensors))


def same(a, b):
    """Whether two networks are equal to the bit."""
    return repr(a) == repr(b) and a.params.tobytes() == b.params.tobytes()


# ------------------------------------------------------------- what a state dict does not say


def state(**shapes):
    """A state dict with numbers that nobody looks at; ``__`` in the place of a dot."""
    rng = np.random.default_rng(0)
    return {name.replace("__", "."): rng.standard_normal(shape) for name, shape in shapes.items()}


def lstm(name, I, H, suffix="_l0", gates=4):
    rows = gates * H
    return state(
        **{
            f"{name}__weight_ih{suffix}": (rows, I),
            f"{name}__weight_hh{suffix}": (rows, H),
            f"{name}__bias_ih{suffix}": rows,
            f"{name}__bias_hh{suffix}": rows,
        }
    )


def linear(name, I, K):
    return state(**{f"{name}__weight": (K, I), f"{name}__bias": K})


def layers(source, **options):
    return lc.from_torch(source, **options).layers


def test_modules_follow_each_other_as_in_the_state_dict():
    source = lstm("a", 2, 3) | lstm("b", 3, 4, gates=3) | linear("c", 4, 2)
    assert repr(layers(source)) == "(LSTM(2, 3), GRU(3, 4), Dense(4, 2))"


def test_layers_says_another_order():
    source = linear("fc", 3, 2) | lstm("lstm", 2, 3)
    with pytest.raises(ValueError, match="between 'fc' and 'lstm'"):
        lc.from_torch(source)
    assert repr(layers(source, layers=["lstm", "fc"])) == "(LSTM(2, 3), Dense(3, 2))"
    source = lstm("b", 3, 4) | lstm("a", 2, 3)
    with pytest.raises(ValueError, match=r"expected 'a' to take the 4 numbers that 'b' gives, got"):
        lc.from_torch(source)
    assert repr(layers(source, layers=["a", "b"])) == "(LSTM(2, 3), LSTM(3, 4))"


def by_name(source):
    """In alphabetical order, as in the files of safetensors."""
    return dict(sorted(source.items()))


def test_an_alphabet_is_no_order_of_modules():
    source = linear("a", 4, 2) | lstm("b", 3, 5) | lstm("c", 5, 4)
    assert list(by_name(source)) != list(source)
    with pytest.raises(ValueError, match="between 'a' and 'b'"):
        lc.from_torch(source)
    assert repr(layers(by_name(source))) == "(LSTM(3, 5), LSTM(5, 4), Dense(4, 2))"
    mean = lc.from_torch(GOLDEN / "mean.safetensors", nonlinearity="relu")
    assert mean.layers[-1].output_size == 1  # the head, which was made first


@pytest.mark.parametrize(
    "source",
    [
        lstm("a", 3, 3) | lstm("b", 3, 3),
        lstm("a", 3, 4) | lstm("b", 4, 4) | linear("c", 4, 1),
        lstm("a", 3, 4) | lstm("b", 4, 3),
        lstm("a", 3, 4) | linear("b", 5, 1),
    ],
    ids=["two of one shape", "one that may be left out", "a circle", "a gap"],
)
def test_where_neither_alphabet_nor_shapes_say_the_order_it_is_asked_for(source):
    with pytest.raises(
        ValueError, match=r"layers: expected the modules in the order .* \['a', 'b'"
    ):
        lc.from_torch(by_name(source))


def test_activations_are_asked_for():
    source = lstm("lstm", 2, 3) | linear("fc1", 3, 5) | linear("fc2", 5, 2)
    message = (
        r"layers: expected an activation, .* between 'fc1' and 'fc2', .*=\['lstm', 'fc1', 'relu"
    )
    for said in (None, ["lstm", "fc1", "fc2"]):
        with pytest.raises(ValueError, match=message):
            lc.from_torch(source, layers=said)
    for said, shown in [
        ("identity", "Dense(3, 5)"),
        ("relu", "Dense(3, 5, activation='relu')"),
        ("sigmoid", "Dense(3, 5, activation='logistic')"),
        (("elu", 0.5), "Dense(3, 5, activation=('elu', 0.5))"),
    ]:
        assert repr(layers(source, layers=["lstm", "fc1", said, "fc2"])[1]) == shown


def test_an_activation_that_no_layer_can_have_inside_is_one_of_its_own():
    source = lstm("lstm", 2, 3) | linear("fc", 3, 1)
    net = lc.from_torch(source, layers=["lstm", "relu", "fc", "tanh", "sigmoid"])
    assert len(net.layers) == 3
    x = np.random.default_rng(0).standard_normal((2, 5, 2))
    h = lc.from_torch(source, layers=["lstm"], ignore="*").predict(x)
    a = np.maximum(h, 0) @ source["fc.weight"].T + source["fc.bias"]
    np.testing.assert_allclose(net.predict(x), 1 / (1 + np.exp(-np.tanh(a))), rtol=1e-14)


def test_a_last_activation_is_the_output_units():
    source = lstm("lstm", 2, 3) | linear("fc", 3, 2)
    for said, loss, shown in [
        ([], None, ("squared_error", "identity")),
        (["softmax"], None, ("cross_entropy", "softmax")),
        (["sigmoid"], None, ("binary_cross_entropy", "logistic")),
        (["exp"], None, ("poisson", "exponential")),
        (["tanh"], None, ("squared_error", "identity")),
        ([], "cross_entropy", ("cross_entropy", "softmax")),
    ]:
        net = lc.from_torch(source, layers=["lstm", "fc", *said], loss=loss)
        assert (net.loss_name, net.output_units) == shown
    assert repr(net.layers[-1]) == "Dense(3, 2)"
    with pytest.raises(ValueError, match="loss: expected one with softmax outputs"):
        lc.from_torch(source, layers=["lstm", "fc", "softmax"], loss="squared_error")
    with pytest.raises(ValueError, match="expected 'softmax' in the last place alone"):
        lc.from_torch(source, layers=["lstm", "softmax", "fc"])
    with pytest.raises(ValueError, match="expected 'softmax', of which predictions are"):
        lc.from_torch(source, layers=["lstm", "fc", "log_softmax"])


def test_the_nonlinearity_is_asked_for():
    source = lstm("rnn", 2, 3, gates=1)
    with pytest.raises(ValueError, match="nonlinearity: expected 'tanh', which is PyTorch's def"):
        lc.from_torch(source)
    assert repr(layers(source, nonlinearity="relu")) == "(RNN(2, 3, activation='relu'),)"
    with pytest.raises(ValueError, match="nonlinearity: expected one of tanh, relu, got 'elu'"):
        lc.from_torch(source, nonlinearity="elu")
    with pytest.raises(ValueError, match="nonlinearity: expected None where no module is an RNN"):
        lc.from_torch(lstm("lstm", 2, 3), nonlinearity="relu")


def test_tokens_tell_an_embedding_from_a_linear_module_where_shapes_do_not():
    embedding = state(e__weight=(7, 3)) | lstm("lstm", 3, 4)
    assert repr(layers(embedding)[0]) == "Embedding(7, 3)"
    with pytest.raises(ValueError, match=r"tokens: expected True for the Embedding 'e.weight'"):
        lc.from_torch(embedding, tokens=False)
    projection = state(e__weight=(3, 7)) | lstm("lstm", 3, 4)
    said = ["e", "identity", "lstm"]
    assert repr(layers(projection, layers=said)[0]) == "Dense(7, 3, bias=False)"
    one_hot = layers(projection, layers=said, tokens=True)[0]
    assert repr(one_hot) == "Dense(7, 3, bias=False, tokens=True)"
    either = state(e__weight=(3, 3)) | lstm("lstm", 3, 4)
    with pytest.raises(
        ValueError, match=r"tokens: expected True where 'e.weight' .* is an Embedding"
    ):
        lc.from_torch(either, layers=said)
    assert repr(layers(either, tokens=True)[0]) == "Embedding(3, 3)"
    assert repr(layers(either, layers=said, tokens=False)[0]) == "Dense(3, 3, bias=False)"
    assert layers(lstm("lstm", 3, 4), tokens=True)[0].tokens


def test_a_row_of_an_embedding_is_a_tokens_vector():
    source = state(e__weight=(7, 3))
    outputs = lc.from_torch(source, tokens=True).predict([[2, 6, 0]])
    np.testing.assert_array_equal(outputs[0], source["e.weight"][[2, 6, 0]])


def test_the_readout_is_all_unless_another_is_asked_for():
    source = lstm("lstm", 2, 3) | linear("fc", 3, 2)
    assert lc.from_torch(source).readout == "all"
    assert lc.from_torch(source, readout="last").readout == "last"


def test_tensors_that_are_not_used_are_named():
    source = lstm("lstm", 2, 3) | linear("fc", 3, 2) | state(conv__weight=(2, 2, 3), scale=2)
    message = r"got others too: 'conv.weight' \(2, 2, 3\); 'scale' \(2,\); layers= says"
    with pytest.raises(ValueError, match=message):
        lc.from_torch(source)
    with pytest.raises(
        ValueError, match=r"but those of layers, got \['conv.weight', 'scale'\]; ig"
    ):
        lc.from_torch(source, layers=["lstm", "fc"])
    for options in [
        {"layers": ["lstm", "fc"], "ignore": "*"},
        {"ignore": ["conv.*", "scale"]},
        {"layers": ["lstm", "fc"], "ignore": ("conv.weight", "scale")},
    ]:
        assert repr(layers(source, **options)) == "(LSTM(2, 3), Dense(3, 2))"
    with pytest.raises(ValueError, match=r"ignore: expected names of tensors, .* got 'convs'"):
        lc.from_torch(source, ignore="convs")
    with pytest.raises(ValueError, match="not all left out by ignore, got none"):
        lc.from_torch(source, ignore="*")


def test_a_modules_other_tensors_are_named_too():
    source = lstm("lstm", 2, 3) | state(lstm__mask=(3, 3))
    with pytest.raises(ValueError, match=r"but those of layers, got \['lstm.mask'\]"):
        lc.from_torch(source)
    assert repr(layers(source, ignore="lstm.mask")) == "(LSTM(2, 3),)"


def without(source, name):
    return {key: value for key, value in source.items() if key != name}


BAD = {
    "half a layer": (
        without(lstm("lstm", 2, 3), "lstm.weight_hh_l0"),
        "expected 'lstm.weight_hh_l0', got 'lstm.weight_ih_l0' .* without it",
    ),
    "one bias of two": (
        without(lstm("lstm", 2, 3), "lstm.bias_ih_l0"),
        "expected 'lstm.bias_ih_l0', got .* without it",
    ),
    "a stack with a hole": (
        lstm("lstm", 2, 3) | lstm("lstm", 3, 3, "_l2"),
        "expected 'lstm.weight_ih_l1', got .* without it",
    ),
    "a reverse direction of one layer alone": (
        lstm("lstm", 2, 3) | lstm("lstm", 2, 3, "_l0_reverse") | lstm("lstm", 6, 3, "_l1"),
        "expected 'lstm.weight_ih_l1_reverse', got .* without it",
    ),
    "proj_size": (
        lstm("lstm", 2, 3) | state(lstm__weight_hr_l0=(2, 3)),
        "expected an LSTM without proj_size, .* got 'lstm.weight_hr_l0'",
    ),
    "a recurrent weight of no cell": (
        state(a__weight_ih_l0=(6, 2), a__weight_hh_l0=(6, 3)),
        r"source\['a.weight_hh_l0'\]: expected shape \(4H, H\), .* got \(6, 3\)",
    ),
    "weights of one row too many": (
        lstm("a", 2, 3) | state(a__weight_ih_l0=(13, 2)),
        r"source\['a.weight_ih_l0'\]: expected shape \(12, 2\), got \(13, 2\)",
    ),
    "a bias of another length": (
        linear("a", 2, 3) | state(a__bias=4),
        r"source\['a.bias'\]: expected shape \(3,\), got \(4,\)",
    ),
    "layers of one stack that do not fit": (
        lstm("a", 2, 3) | lstm("a", 4, 3, "_l1"),
        r"source\['a.weight_ih_l1'\]: expected shape \(12, 3\), got \(12, 4\)",
    ),
    "weights that are no matrix": (
        lstm("a", 2, 3) | state(a__weight_ih_l0=()),
        r"source\['a.weight_ih_l0'\]: expected shape \(rows, inputs\), got \(\)",
    ),
    "recurrent weights that are no matrix": (
        lstm("a", 2, 3) | state(a__weight_hh_l0=12),
        r"source\['a.weight_hh_l0'\]: expected shape \(rows, H\), got \(12,\)",
    ),
    "no units": (
        state(a__weight_ih_l0=(0, 2), a__weight_hh_l0=(0, 0)),
        r"source\['a.weight_hh_l0'\]: expected shape",
    ),
    "no inputs": (linear("a", 0, 3), "expected an integer >= 1, got 0"),
    "nothing": ({}, "it holds no state dict"),
    "no tensors": ({"epoch": 3}, "it holds no state dict"),
    "several state dicts": (
        {"model": linear("a", 2, 3), "average": linear("a", 2, 3)},
        r"several state dicts; expected entry= one of \['model', 'average'\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_state_dict_that_is_none_is_refused(case):
    source, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        lc.from_torch(source)


@pytest.mark.parametrize("name", ["a\nb.weight", "\x1b[31m.weight", "x" * 100_000 + ".weight"])
def test_names_in_errors_are_short_and_in_one_line(name):
    for source in ({name: np.ones((2, 2, 2))}, {name: np.ones((2, 2))}, {name: np.ones(2)}):
        source |= lstm("lstm", 3, 4)
        for options in ({}, {"layers": ["lstm"]}, {"ignore": "none"}, {"layers": ["x"]}):
            with pytest.raises(ValueError) as caught:
                lc.from_torch(source, **options)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 500


def test_things_that_are_no_tensors_are_named():
    with pytest.raises(
        ValueError, match=r"it holds tensors, and as \['a._extra_state'\] other thi"
    ):
        lc.from_torch(linear("a", 2, 3) | {"a._extra_state": None})


def test_entries_are_chosen_by_name():
    entries = {"model": linear("a", 2, 3), "average": linear("a", 2, 4), "epoch": 3}
    assert layers(entries, entry="average")[0].output_size == 4
    with pytest.raises(ValueError, match=r"no state dict 'epoch'; expected entry= one of \['model"):
        lc.from_torch(entries, entry="epoch")
    with pytest.raises(TypeError, match="entry: expected the name of an entry, got 3"):
        lc.from_torch(entries, entry=3)
    with pytest.raises(ValueError, match="it has no entries; expected entry=None"):
        lc.from_torch(GOLDEN / "mean.safetensors", entry="model")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"source": 3}, TypeError, "source: expected a path or a state dict, got 3"),
        ({"layers": "lstm"}, TypeError, "layers: expected a list of names of modules"),
        ({"layers": []}, ValueError, "layers: expected modules, got none"),
        ({"layers": ["relu", "lstm"]}, ValueError, r"layers\[0\]: expected one of the modules \["),
        (
            {"layers": ["lstm", "fc"]},
            ValueError,
            r"layers\[1\]: expected one of the modules \['lstm'\] or of the activations identity, ",
        ),
        ({"layers": ["lstm", ("elu", -1)]}, ValueError, r"layers\[1\]: 'elu' needs alpha >= 0"),
        ({"ignore": [3]}, TypeError, "ignore: expected names of tensors, got 3"),
        ({"layers": ["lstm", 3]}, TypeError, r"layers\[1\]: expected the name of an activation"),
        ({"tokens": 1}, TypeError, "tokens: expected True or False, got 1"),
        ({"readout": "first"}, ValueError, "readout: expected one of all, last"),
        ({"dtype": "float16"}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"loss": "mse"}, ValueError, "loss: expected one of"),
        (
            {"source": {"a.weight": np.array([["1", "2"]])}},
            TypeError,
            r"source\['a.weight'\]: expected real numbers",
        ),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        lc.from_torch(**{"source": lstm("lstm", 2, 3)} | options)


# --------------------------------------------------------------------------------- to PyTorch

NETWORKS = {
    "LSTM": [lc.LSTM(2, 3), lc.Dense(3, 2)],
    "stack of bidirectional GRUs": [
        lc.GRU(2, 3, bidirectional=True),
        lc.GRU(6, 3, bidirectional=True),
    ],
    "tokens": [lc.Embedding(7, 3), lc.LSTM(3, 4), lc.Dense(4, 2, bias=False)],
    "RNN": [lc.RNN(2, 3, activation="relu")],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("through", ["arrays", "file"])
def test_there_and_back_the_parameters_are_equal(name, dtype, through, tmp_path):
    net = lc.Network(NETWORKS[name], dtype=dtype, seed=0)
    net.params = np.random.default_rng(0).standard_normal(net.params.size)
    path = tmp_path / "net.safetensors"
    arrays = lc.to_torch(net, path if through == "file" else None)
    options = {"nonlinearity": "relu"} if name == "RNN" else {}
    assert same(lc.from_torch(path if through == "file" else arrays, **options), net)
    assert not any(np.shares_memory(array, net.params) for array in arrays.values())


def random_chain(rng):
    """A network that PyTorch can say, names of its modules, and its forward pass."""
    layers, names, said = [], [], []
    size = int(rng.integers(1, 6))
    nonlinearity = rng.choice(["tanh", "relu"])
    for k in range(rng.integers(1, 6)):
        kind = rng.choice(["Embedding", "LSTM", "GRU", "RNN", "Dense", "again"])
        units, both = int(rng.integers(1, 6)), bool(rng.integers(2))
        if kind == "Embedding" and k == 0:
            layers.append(lc.Embedding(size + 7, units + 7))  # so that it is no Linear module
        elif kind == "again" and layers and layers[-1].is_recurrent:  # another of the stack
            options = dict(layers[-1].options) | {"input_size": size}
            layers.append(type(layers[-1])(**options))
            names.append(names[-1])
            size = layers[-1].output_size
            continue
        elif kind in ("LSTM", "GRU"):
            layers.append(getattr(lc, kind)(size, units, bidirectional=both))
        elif kind == "RNN":
            layers.append(lc.RNN(size, units, bidirectional=both, activation=str(nonlinearity)))
        else:
            activation = str(rng.choice(["identity", "relu", "logistic", "elu"]))
            layers.append(lc.Dense(size, units, activation=activation, bias=bool(k or both)))
        names.append(f"{rng.choice(['', 'a.', 'model.net.'])}{k}")
        said.append(names[-1])
        if isinstance(layers[-1], lc.Dense):
            said.append(layers[-1].options["activation"])
        size = layers[-1].output_size
    return layers, names, said, str(nonlinearity)


@pytest.mark.parametrize("seed", range(60))
def test_chains_of_any_kind_come_back(seed):
    rng = np.random.default_rng(seed)
    layers, names, said, nonlinearity = random_chain(rng)
    readout = "last" if any(layer.is_recurrent for layer in layers) else "all"
    net = lc.Network(layers, loss="squared_error", readout=readout, seed=seed)
    net.params = rng.standard_normal(net.params.size)
    arrays = lc.to_torch(net, names=names)
    shuffled = {name: arrays[name] for name in rng.permutation(list(arrays))}
    again = lc.from_torch(
        shuffled,
        layers=said,
        readout=readout,
        loss="squared_error",
        tokens=net.takes_tokens,
        nonlinearity=nonlinearity if any(isinstance(k, lc.RNN) for k in layers) else None,
    )
    assert same(again, net)


@pytest.mark.parametrize("name", FILES)
def test_from_pytorch_through_onnx_the_parameters_are_equal(name, tmp_path):
    options, _ = FILES[name]
    net = lc.from_torch(
        GOLDEN / name, dtype="float32", **options
    )  # which ONNX's recurrent nodes are
    net.to_onnx(tmp_path / "net.onnx")
    assert same(lc.from_onnx(tmp_path / "net.onnx"), net)


def test_masks_are_in_the_weights():
    mask = np.eye(12, 3)
    net = lc.Network([lc.LSTM(3, 3, R_mask=mask)], seed=0)
    np.testing.assert_array_equal(lc.to_torch(net)["0.weight_hh_l0"], net.blocks["0.R"] * mask)


def test_layers_under_one_name_are_a_stack():
    net = lc.Network([lc.GRU(2, 3), lc.GRU(3, 3), lc.Dense(3, 1)], seed=0)
    arrays = lc.to_torch(net, names=["gru", "gru", ""])
    assert list(arrays)[::4] == ["gru.weight_ih_l0", "gru.weight_ih_l1", "weight"]
    assert same(lc.from_torch(arrays), net)


@pytest.mark.parametrize(
    "names, error, message",
    [
        ("abc", TypeError, "names: expected a list of str, got 'abc'"),
        ({"a", "b", "c"}, TypeError, "names: expected a list of str, got 'set' object"),
        (["a", "b", 3], TypeError, r"names\[2\]: expected a str, got 3"),
        (["a", "b"], ValueError, "names: expected 3, one for each layer, got 2"),
        (
            ["a", "a", "b"],
            ValueError,
            r"expected another name for GRU\(3, 4\) than for GRU\(2, 3\)",
        ),
        (["a", "b", "a"], ValueError, "one name for layers that follow each other alone"),
        (["a", "b", "b"], ValueError, r"expected another name for Dense\(4, 1\)"),
    ],
)
def test_bad_names_are_refused(names, error, message):
    net = lc.Network([lc.GRU(2, 3), lc.GRU(3, 4), lc.Dense(4, 1)])
    with pytest.raises(error, match=message):
        lc.to_torch(net, names=names)


@pytest.mark.parametrize(
    "layer, option",
    [
        (lc.LSTM(2, 4, peepholes=True), "peepholes=True"),
        (lc.LSTM(2, 4, coupled=True), "coupled=True"),
        (lc.LSTM(2, 4, input_gate=False), "input_gate=False"),
        (lc.LSTM(2, 4, gate_recurrence=True), "gate_recurrence=True"),
        (lc.LSTM(2, 4, block_size=2), "block_size=2"),
        (lc.LSTM(2, 4, output_activation="identity"), "output_activation='identity'"),
        (lc.LSTM(2, 4, direction="reverse"), "direction='reverse'"),
        (lc.LSTM(2, 4, learn_initial_state=True), "learn_initial_state=True"),
        (lc.GRU(2, 4, reset_after=False), "reset_after=False"),
        (lc.RNN(2, 4, activation="logistic"), "activation='logistic'"),
    ],
    ids=repr,
)
def test_what_pytorch_has_not_is_refused_by_name(layer, option):
    with pytest.raises(ValueError, match=rf"got layers\[0\] with {option}, where its"):
        lc.to_torch(lc.Network([layer]))


def test_files_have_the_ending_of_their_form(tmp_path):
    net = lc.Network([lc.Dense(2, 1)])
    with pytest.raises(ValueError, match=r"path: expected a name that ends in '\.safetensors'"):
        lc.to_torch(net, tmp_path / "net.pt")
    with pytest.raises(TypeError, match="net: expected a Network, got 3"):
        lc.to_torch(3)


# ------------------------------------------------------------------------- where PyTorch is there


def modules():
    """Models, how they are read, and their inputs: functions of PyTorch's modules."""
    return {
        "LSTM": lambda nn: nn.LSTM(3, 5, batch_first=True),
        "LSTM, three layers, both directions": lambda nn: nn.LSTM(
            3, 4, num_layers=3, bidirectional=True, batch_first=True, dropout=0.5
        ),
        "LSTM without biases": lambda nn: nn.LSTM(3, 5, bias=False, batch_first=True),
        "LSTM, one unit": lambda nn: nn.LSTM(1, 1, batch_first=True),
        "GRU": lambda nn: nn.GRU(3, 5, batch_first=True),
        "GRU, two layers, both directions": lambda nn: nn.GRU(
            2, 7, num_layers=2, bidirectional=True, batch_first=True
        ),
        "GRU without biases": lambda nn: nn.GRU(3, 5, bias=False, batch_first=True),
        "RNN": lambda nn: nn.RNN(3, 5, batch_first=True),
        "RNN, relu, both directions": lambda nn: nn.RNN(
            3, 5, nonlinearity="relu", bidirectional=True, batch_first=True
        ),
        "Linear": lambda nn: nn.Linear(3, 5),
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", modules())
def test_a_module_and_its_import_agree(name, dtype):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = modules()[name](torch.nn).to(getattr(torch, dtype)).eval()
    x = torch.randn(4, 6, next(iter(module.parameters())).shape[1], dtype=getattr(torch, dtype))
    options = {}
    if name.startswith("RNN"):
        options["nonlinearity"] = "relu" if "relu" in name else "tanh"
    net = lc.from_torch(module.state_dict(), **options)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    with torch.no_grad():
        outputs = module(x)
    y = outputs[0] if isinstance(outputs, tuple) else outputs
    np.testing.assert_allclose(net.predict(x.numpy()), y.numpy(), rtol=0, atol=tolerance)
    if isinstance(outputs, tuple):  # each module's last states
        h = outputs[1][0] if isinstance(outputs[1], tuple) else outputs[1]
        last = lc.from_torch(module.state_dict(), readout="last", **options).predict(x.numpy())
        h = torch.cat(list(h[-2:] if module.bidirectional else h[-1:]), dim=1)
        np.testing.assert_allclose(last, h.numpy(), rtol=0, atol=tolerance)


def test_tensors_are_read_as_they_are():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    options = {"layers": ["0", "relu", "2"]}
    net = lc.from_torch(model.state_dict(), **options)
    with_gradients = dict(model.named_parameters())
    assert all(parameter.requires_grad for parameter in with_gradients.values())
    assert same(lc.from_torch(with_gradients, **options), net)
    half = model.to(torch.bfloat16).state_dict()
    expected = {name: tensor.float().numpy() for name, tensor in half.items()}
    assert same(lc.from_torch(half, **options), lc.from_torch(expected, **options))
    with pytest.raises(TypeError, match=r"got 'Sequential' object; source.state_dict\(\) is one"):
        lc.from_torch(model)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_pytorch_reads_what_is_written(name, tmp_path):
    torch = pytest.importorskip("torch")
    layers = [
        getattr(lc, name)(3, 4, bidirectional=True),
        getattr(lc, name)(8, 4, bidirectional=True),
    ]
    net = lc.Network([*layers, lc.Dense(8, 2)], seed=0)
    net.params = np.random.default_rng(0).standard_normal(net.params.size)
    arrays = lc.to_torch(net, tmp_path / "net.safetensors", names=["rnn", "rnn", "fc"])
    model = torch.nn.Module()
    model.rnn = getattr(torch.nn, name)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    model.fc = torch.nn.Linear(8, 2)
    model.double().load_state_dict({key: torch.from_numpy(a) for key, a in arrays.items()})
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    with torch.no_grad():
        y = model.fc(model.rnn(x)[0]).numpy()
    np.testing.assert_allclose(net.predict(x.numpy()), y, rtol=0, atol=1e-12)
    safetensors = pytest.importorskip("safetensors.torch")
    model.load_state_dict(safetensors.load_file(tmp_path / "net.safetensors"))
    with torch.no_grad():
        assert (model.fc(model.rnn(x)[0]).numpy() == y).all()


def test_files_of_an_installed_pytorch_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    module = torch.nn.LSTM(3, 4)
    net = lc.from_torch(module.state_dict())
    for options in ({}, {"pickle_protocol": 3}, {"pickle_protocol": 5}):
        torch.save(module.state_dict(), path, **options)
        assert same(lc.from_torch(path), net)
    torch.save(module, path)
    with pytest.raises(ValueError, match=r"it names torch.nn.modules.rnn.LSTM, and"):
        lc.from_torch(path)

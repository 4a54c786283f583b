"""Models that Keras has saved, with the outputs that it computed: run in a Python with Keras 3.15.

    KERAS_BACKEND=torch python tests/ecosystem/golden/keras/make.py

Of Keras 2 before TensorFlow 2 a file is written here with h5py, name by name as its sources name
them, and its outputs are those of layers of Keras 3 that compute the same. `make_keras_2.py` asks
later ones themselves.
"""

import json
import os
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
FOLDER = Path(tempfile.mkdtemp())
OUTPUTS = {}


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def tokens(count, *shape):
    return np.random.default_rng(0).integers(1, count, size=shape)


def fresh(model):
    """The model with weights none of which is zero."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    return model


def record(name, model, x):
    OUTPUTS[f"{name}.x"] = x
    OUTPUTS[f"{name}.y"] = np.asarray(model.predict(x, verbose=0))


def sequential():
    """Sequential, .keras: Masking, GRU and a Bidirectional LSTM, outputs of the last step."""
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Masking(mask_value=-1.0),
            layers.GRU(4, return_sequences=True, dropout=0.1),
            layers.Dropout(0.2),
            layers.Bidirectional(layers.LSTM(3, recurrent_activation="hard_sigmoid")),
            layers.Dense(5, activation="elu"),
            layers.Dense(2),
            layers.Softmax(),
        ]
    )
    fresh(model).save(FOLDER / "sequential.keras")
    x = numbers(4, 6, 3)
    x[1, 4:] = x[2, 1:] = -1.0  # masked
    record("sequential.keras", model, x)


def functional():
    """Functional, .keras: tokens, both forms of the GRU, TimeDistributed, x[:, -1]."""
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(7, 3, mask_zero=True)(inputs)
    x = layers.SpatialDropout1D(0.1)(x)
    x = layers.GRU(3, return_sequences=True, reset_after=False)(x)
    x = layers.GRU(2, return_sequences=True, activation="softsign", use_bias=False)(x)
    x = layers.TimeDistributed(layers.Dense(3, activation="tanh"))(x)
    x = layers.Dense(1, activation="sigmoid")(x[:, -1])
    model = fresh(keras.Model(inputs, x))
    model.save(FOLDER / "functional.keras")
    record("functional.keras", model, tokens(7, 4, 6))


def legacy():
    """Sequential, .h5 as Keras 3 writes it: the sum of two directions, averaged over time."""
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Bidirectional(
                layers.SimpleRNN(4, return_sequences=True, use_bias=False), merge_mode="ave"
            ),
            layers.GlobalAveragePooling1D(),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Dense(2, use_bias=False),
        ]
    )
    fresh(model).save(FOLDER / "legacy.h5")
    record("legacy.h5", model, numbers(4, 6, 3))


def weights_alone():
    """.weights.h5 and its configuration: several layers of a class, read backwards, maximum."""
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Dense(4, activation="relu"),
            layers.LSTM(3, return_sequences=True, unit_forget_bias=False),
            layers.LSTM(2, return_sequences=True, go_backwards=True),
            layers.GlobalMaxPooling1D(),
            layers.Dense(2, activation="exponential"),
        ]
    )
    fresh(model).save_weights(FOLDER / "alone.weights.h5")
    (FOLDER / "alone.weights.h5.json").write_text(model.to_json(), encoding="utf-8")
    record("alone.weights.h5", model, numbers(4, 6, 3))


# ----------------------------------------------------------------------------------- Keras 2


def old_hard_sigmoid(x):
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def write_legacy(path, config, version, named):
    """A model as ``model.save("x.h5")`` of Keras 2 writes it.

    `named` has for each layer its name and ``{name of weight: array}``.
    """
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name, _ in named]
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = version.encode()
        for name, arrays in named:
            own = group.create_group(name)
            own.attrs["weight_names"] = [weight.encode() for weight in arrays]
            for weight, array in arrays.items():
                own.create_dataset(weight, data=array)


def to_cudnn(kernel):
    """A kernel of LSTM as CuDNNLSTM of Keras 2 stores it."""
    gates = np.hsplit(kernel, 4)
    return np.hstack([np.ascontiguousarray(gate.T).reshape(gate.shape) for gate in gates])


def keras_2_2():
    """Keras 2.2.4: LSTM with the hard sigmoid of that time, CuDNNLSTM, Dense and Activation."""
    model = fresh(
        keras.Sequential(
            [
                keras.Input((None, 3)),
                layers.LSTM(4, recurrent_activation=old_hard_sigmoid, return_sequences=True),
                layers.LSTM(2),
                layers.Dense(2, activation="softmax"),
            ]
        )
    )
    kernel, recurrent, bias, cu_kernel, cu_recurrent, cu_bias, dense, dense_bias = (
        model.get_weights()
    )
    common = {"trainable": True, "go_backwards": False, "stateful": False, "unroll": False}
    config = {
        "class_name": "Sequential",
        "config": [  # a list until 2.2.2, and read by all later ones
            {
                "class_name": "LSTM",
                "config": common
                | {
                    "name": "lstm_1",
                    "batch_input_shape": [None, None, 3],
                    "dtype": "float32",
                    "return_sequences": True,
                    "units": 4,
                    "activation": "tanh",
                    "recurrent_activation": "hard_sigmoid",
                    "use_bias": True,
                    "unit_forget_bias": True,
                    "implementation": 1,
                },
            },
            {
                "class_name": "CuDNNLSTM",
                "config": common | {"name": "cu_dnnlstm_1", "return_sequences": False, "units": 2},
            },
            {
                "class_name": "Dense",
                "config": {"name": "dense_1", "units": 2, "activation": "linear", "use_bias": True},
            },
            {"class_name": "Activation", "config": {"name": "a_1", "activation": "softmax"}},
        ],
    }
    named = [
        (
            "lstm_1",
            {
                "lstm_1/kernel:0": kernel,
                "lstm_1/recurrent_kernel:0": recurrent,
                "lstm_1/bias:0": bias,
            },
        ),
        (
            "cu_dnnlstm_1",
            {
                "cu_dnnlstm_1/kernel:0": to_cudnn(cu_kernel),
                "cu_dnnlstm_1/recurrent_kernel:0": to_cudnn(cu_recurrent),
                "cu_dnnlstm_1/bias:0": np.concatenate([cu_bias - 0.25, 0 * cu_bias + 0.25]),
            },
        ),
        ("dense_1", {"dense_1/kernel:0": dense, "dense_1/bias:0": dense_bias}),
        ("a_1", {}),
    ]
    write_legacy(FOLDER / "keras_2_2.h5", config, "2.2.4", named)
    record("keras_2_2.h5", model, numbers(4, 6, 3))


if __name__ == "__main__":
    for make in (sequential, functional, legacy, weights_alone, keras_2_2):
        keras.utils.clear_session()
        make()
    np.savez_compressed(HERE / "outputs.npz", **OUTPUTS)
    # HDF5 leaves much room between its groups
    with zipfile.ZipFile(HERE / "models.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(FOLDER.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)

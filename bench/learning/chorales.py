"""JSB chorales: negative log likelihood of the next frame, with noise on the weights.

python bench/learning/chorales.py JSB_Chorales.mat [--seeds 5] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "JSB chorales"
PROTOCOL = """
The 88 keys of frame t + 1 are forecast from the frames up to t. The score is the negative log
likelihood of a frame, in nats. There are 229 chorales to learn from, 76 to choose by and 77 to test
on. The method is Adam with noise on the weights, recurrent dropout or both, with two chorales a
step and 200 units unless the row says otherwise. What is kept is the moving average of the
parameters (0.999 a step) at the epoch of lowest validation loss. The result is the row of lowest
validation loss (bold). The test set is used for the figures of this table alone.
"""
SEEDS = 5
DATA = "chorales"
KEYS = 88
RATE = 3e-3
AVERAGE = 0.999
PUBLISHED = [
    ["tanh RNN (Bai et al. 2018)", "", "8.91", "", "", ""],
    ["LSTM (Bai et al. 2018)", "", "8.45", "", "", ""],
    ["GRU (Bai et al. 2018)", "", "8.43", "", "", ""],
    ["temporal convolutions (Bai et al. 2018)", "", "8.10", "", "", ""],
]
PEEPHOLES = {"cell": lc.LSTM, "peepholes": True, "units": 200}
VARIANTS = {
    "LSTM, peepholes, no noise": runs.Variant(20, 8, {**PEEPHOLES, "max_epochs": 40}),
    "LSTM, peepholes, noise 0.25": runs.Variant(
        60, 8, {**PEEPHOLES, "weight_noise": 0.25, "max_epochs": 150}
    ),
    "LSTM, peepholes, noise 0.3": runs.Variant(
        80, 8, {**PEEPHOLES, "weight_noise": 0.3, "max_epochs": 200}
    ),
    "LSTM, peepholes, noise 0.25, recurrent dropout 0.2": runs.Variant(
        80, 8, {**PEEPHOLES, "weight_noise": 0.25, "recurrent_dropout": 0.2, "max_epochs": 200}
    ),
    "LSTM, 300 units, peepholes, noise 0.3": runs.Variant(
        120, 8, {**PEEPHOLES, "units": 300, "weight_noise": 0.3, "max_epochs": 160}
    ),
    "LSTM, noise 0.3": runs.Variant(
        80, 8, {"cell": lc.LSTM, "units": 200, "weight_noise": 0.3, "max_epochs": 200}
    ),
    "LSTM, noise 0.1, recurrent dropout 0.6": runs.Variant(
        50,
        8,
        {
            "cell": lc.LSTM,
            "units": 200,
            "weight_noise": 0.1,
            "recurrent_dropout": 0.6,
            "max_epochs": 100,
        },
        seeds=3,
    ),
    "GRU, noise 0.05, recurrent dropout 0.5": runs.Variant(
        30,
        8,
        {
            "cell": lc.GRU,
            "units": 200,
            "weight_noise": 0.05,
            "recurrent_dropout": 0.5,
            "max_epochs": 70,
        },
        seeds=3,
    ),
    "tanh RNN, noise 0.03, recurrent dropout 0.3": runs.Variant(
        25,
        8,
        {
            "cell": lc.RNN,
            "units": 200,
            "weight_noise": 0.03,
            "recurrent_dropout": 0.3,
            "learning_rate": 2e-3,
            "max_epochs": 150,
        },
        seeds=3,
    ),
}


def chorales(path):
    """{"train", "valid", "test": list of (T_b, 88) frames of 0 and 1}."""
    from scipy.io import loadmat

    matrices = loadmat(path)
    return {
        part: [np.asarray(frames, np.float32) for frames in matrices[f"{part}data"][0]]
        for part in ("train", "valid", "test")
    }


def forecasts(pieces):
    """Inputs and targets: every frame but the last, and the one after it."""
    return [frames[:-1] for frames in pieces], [frames[1:] for frames in pieces]


def network(cell, units, seed, **layer):
    return lc.Network(
        [cell(KEYS, units, **layer), lc.Dense(units, KEYS)],
        loss="binary_cross_entropy",
        dtype="float32",
        seed=seed,
    )


def run(variant, seed, data, quick=False):
    options = dict(VARIANTS[variant].options)
    layer = {"peepholes": options.pop("peepholes")} if "peepholes" in options else {}
    net = network(options.pop("cell"), options.pop("units"), seed, **layer)
    if quick:
        options["max_epochs"] = 15
    rate = options.pop("learning_rate", RATE)
    pieces = chorales(data)
    learn, held_out, test = (
        lc.Objective(net, *forecasts(pieces[part]), n_threads=1)
        for part in ("train", "valid", "test")
    )
    clock = runs.Clock()
    result = lc.minimize(
        learn,
        "adam",
        batch_size=2,
        learning_rate=lc.optimizers.Cosine(rate),
        clip_norm=5.0,
        average=AVERAGE,
        patience=50,
        validation=held_out,
        seed=seed,
        **options,
    )
    seconds = clock()
    losses = result.history["validation_loss"]
    return {
        "seconds": seconds,
        "valid": float(losses.min()),
        "test": test.fun(net.params),
        "epoch": int(losses.argmin()),
        "parameters": len(net.params),
    }


def table(results):
    rows = []
    losses = {label: np.mean(runs.column(done, "valid")) for label, done in results.items()}
    chosen = min(losses, key=losses.get)
    for label, done in results.items():
        test = runs.column(done, "test")
        row = [
            f"{label} ({done[0]['parameters']:,} parameters)",
            runs.spread(runs.column(done, "valid"), 3),
            runs.spread(test, 3),
            f"{min(test):.3f} to {max(test):.3f}",
            runs.spread(runs.column(done, "seconds"), 0),
            f"{min(runs.column(done, 'epoch'))} to {max(runs.column(done, 'epoch'))}",
        ]
        rows.append(runs.bold(row) if label == chosen else row)
    head = ["", "validation", "test", "best and worst test", "s", "epoch kept"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("chorales"))

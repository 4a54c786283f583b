"""JSB chorales: negative log likelihood of the next frame, with weight noise.

python bench/learning/chorales.py JSB_Chorales.mat [--seeds 5] [--jobs 2] [--quick]
"""

import numpy as np
import runs

import lstmcore as lc

TITLE = "JSB chorales"
PROTOCOL = """
The 88 keys of frame t + 1 are forecast from frames ≤ t; the score is the negative log likelihood a
frame, in nats. 229, 76 and 77 chorales to learn from, to choose by and to test on. Adam with
weight noise, two chorales a step; what is kept are the averaged parameters of the epoch of lowest
validation loss, and the test set is used once for each row. The recipe was chosen on validation
alone.
"""
SEEDS = 5
DATA = "chorales"
KEYS = 88
UNITS = 200
RATE = 3e-3
KEEP = 0.999  # of the average, at each step
PUBLISHED = [
    ["tanh RNN (Bai et al. 2018)", "", "8.91", "", "", ""],
    ["LSTM (Bai et al. 2018)", "", "8.45", "", "", ""],
    ["GRU (Bai et al. 2018)", "", "8.43", "", "", ""],
    ["temporal convolutions (Bai et al. 2018)", "", "8.10", "", "", ""],
]
NOISE = {"weight_noise": 0.3, "max_epochs": 180}
VARIANTS = {
    "LSTM, peepholes": runs.Variant(120, 8, {"cell": lc.LSTM, "peepholes": True, **NOISE}),
    "LSTM": runs.Variant(120, 8, {"cell": lc.LSTM, **NOISE}),
    "GRU": runs.Variant(110, 8, {"cell": lc.GRU, **NOISE}),
    "tanh RNN": runs.Variant(60, 8, {"cell": lc.RNN, "weight_noise": 0.1, "max_epochs": 180}),
}


class Noisy(lc.Objective):
    """N(0, σ²) on every parameter, new for each batch."""

    def __init__(self, *data, sigma, seed, **options):
        super().__init__(*data, **options)
        vars(self).update(sigma=np.float32(sigma), rng=np.random.default_rng(seed))

    def on_batch(self, theta, indices):
        noise = self.rng.standard_normal(len(theta), dtype=np.float32)
        return super().on_batch(theta + self.sigma * noise, indices)


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


class Averaged(Noisy):
    """Also the exponential mean of the parameters that the steps have passed through."""

    def __init__(self, *data, keep, **options):
        super().__init__(*data, **options)
        vars(self).update(keep=keep, n_steps=0, average=np.zeros(len(self.net.params)))

    def on_batch(self, theta, indices):
        self.average += (1 - self.keep) * (theta - self.average)
        vars(self).update(n_steps=self.n_steps + 1)
        return super().on_batch(theta, indices)

    def mean(self):
        """The average, which began at zero, without that beginning."""
        return self.average / (1 - self.keep**self.n_steps)


def network(cell, units, seed, **options):
    return lc.Network(
        [cell(KEYS, units, **options), lc.Dense(units, KEYS)],
        loss="binary_cross_entropy",
        dtype="float32",
        seed=seed,
    )


def run(variant, seed, data, quick=False):
    options = dict(VARIANTS[variant].options)
    sigma, max_epochs = options.pop("weight_noise"), options.pop("max_epochs")
    pieces = chorales(data)
    net = network(options.pop("cell"), UNITS, seed, **options)
    learn = Averaged(
        net, *forecasts(pieces["train"]), sigma=sigma, keep=KEEP, seed=seed, n_threads=1
    )
    held_out = lc.Objective(net, *forecasts(pieces["valid"]), n_threads=1)
    test = lc.Objective(net, *forecasts(pieces["test"]), n_threads=1)
    best = {"loss": np.inf}

    def look(now):
        theta = learn.mean()
        loss = held_out.fun(theta)
        if loss < best["loss"]:
            best.update(loss=loss, theta=theta, epoch=now.nit)

    clock = runs.Clock()
    lc.minimize(
        learn,
        "adam",
        batch_size=2,
        max_epochs=15 if quick else max_epochs,
        learning_rate=lc.optimizers.Cosine(RATE),
        callback=look,
        seed=seed,
    )
    return {
        "seconds": clock(),
        "valid": KEYS * best["loss"],
        "test": KEYS * test.fun(best["theta"]),
        "epoch": best["epoch"],
        "parameters": len(net.params),
    }


def table(results):
    rows = []
    for label, done in results.items():
        test = runs.column(done, "test")
        rows.append(
            [
                f"{label} ({done[0]['parameters']:,} parameters)",
                runs.spread(runs.column(done, "valid"), 3),
                runs.spread(test, 3),
                f"{min(test):.3f} to {max(test):.3f}",
                runs.spread(runs.column(done, "seconds"), 0),
                f"{min(runs.column(done, 'epoch'))} to {max(runs.column(done, 'epoch'))}",
            ]
        )
    head = ["", "validation", "test", "best and worst test", "s", "epoch kept"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("chorales"))

"""Tiny Shakespeare: bits a character after so many seconds of one core, beside PyTorch.

python bench/learning/shakespeare.py input.txt [--jobs 2] [--quick]
"""

from math import cos, log, pi
from pathlib import Path

import numpy as np
import runs

TITLE = "Tiny Shakespeare"
PROTOCOL = """
The next character, one of 65, is forecast. The network learns from the first 90 % of the text and
is tested on the last 10 % in 32 pieces. 32 places in the text are read side by side, 64 characters
a step, and the state is carried from step to step. The method is Adam, with a rate that falls as
half a cosine over the time that there is, counted in seconds of the process (one thread, float32).
So the number of steps depends on how fast the machine is. PyTorch does the same steps with nn.LSTM
and its own Adam, from a start of the same distribution.
"""
SEEDS = 1
DATA = "text"
STREAMS, STRETCH = 32, 64
RATE, CLIP = 4e-3, 1.0
VARIANTS = {
    "lstmcore, H=256, 240 s": runs.Variant(
        245, 12, {"units": 256, "budget": 240, "by": "lstmcore"}
    ),
    "lstmcore, H=256, 120 s": runs.Variant(125, 8, {"units": 256, "budget": 120, "by": "lstmcore"}),
    "torch, H=256, 240 s": runs.Variant(250, 16, {"units": 256, "budget": 240, "by": "torch"}),
    "lstmcore, H=128, 120 s": runs.Variant(125, 8, {"units": 128, "budget": 120, "by": "lstmcore"}),
    "torch, H=128, 240 s": runs.Variant(250, 16, {"units": 128, "budget": 240, "by": "torch"}),
}
PUBLISHED = []


class Text:
    """A text as numbers, and the stretches that are read side by side."""

    def __init__(self, path):
        text = Path(path).read_text(encoding="utf-8")
        self.symbols = sorted(set(text))
        codes = np.array([self.symbols.index(c) for c in text], np.int64)
        cut = len(codes) * 9 // 10
        self.learn, self.test = codes[:cut], codes[cut:]

    def test_pieces(self):
        """Inputs and targets (32, T): the test text in pieces that are read side by side."""
        codes = self.test[: len(self.test) // STREAMS * STREAMS].reshape(STREAMS, -1)
        return codes[:, :-1], codes[:, 1:]

    def stretches(self, rng):
        """Inputs and targets (32, 64), stretch after stretch, round the text without an end.

        Each of the 32 begins somewhere; when one of them has come to its end it goes on at the
        beginning.
        """
        places = rng.integers(0, len(self.learn), STREAMS)
        while True:
            at = (places[:, None] + np.arange(STRETCH + 1)) % len(self.learn)
            codes = self.learn[at]
            yield codes[:, :-1], codes[:, 1:]
            places += STRETCH


class Schedule:
    """The learning rate by the share of the time that is over; None when all of it is."""

    def __init__(self, budget):
        self._clock = runs.Clock()
        self._budget = budget

    def __call__(self):
        share = self._clock() / self._budget
        return None if share >= 1 else RATE * 0.5 * (1 + cos(pi * share))


class Adam:
    """Kingma & Ba (2015), on a flat vector, in place."""

    def __init__(self, size):
        self._m, self._v = np.zeros((2, size), np.float32)
        self._t = 0

    def step(self, theta, g, rate, beta1=0.9, beta2=0.999):
        g = g * np.float32(min(1.0, CLIP / np.linalg.norm(g)))
        self._t += 1
        self._m += np.float32(1 - beta1) * (g - self._m)
        self._v += np.float32(1 - beta2) * (g * g - self._v)
        rate *= np.sqrt(1 - beta2**self._t) / (1 - beta1**self._t)
        theta -= np.float32(rate) * self._m / (np.sqrt(self._v) + np.float32(1e-8))


def by_lstmcore(text, units, budget, seed):
    import lstmcore as lc

    symbols = len(text.symbols)
    net = lc.Network(
        [lc.LSTM(symbols, units, tokens=True), lc.Dense(units, symbols)],
        loss="cross_entropy",
        dtype="float32",
        seed=seed,
    )
    adam, state, n_steps = Adam(len(net.params)), None, 0
    stretches = text.stretches(np.random.default_rng(seed))
    schedule = Schedule(budget)
    while (rate := schedule()) is not None:
        X, Y = next(stretches)
        _, g, state = net.loss_and_grad(X, Y, state=state, return_state=True, n_threads=1)
        adam.step(net.params, g, rate)
        n_steps += 1
    loss = net.loss(*text.test_pieces(), n_threads=1)
    return loss / log(2), n_steps


def by_torch(text, units, budget, seed):
    import torch
    from torch_peer import begin_linear, begin_lstm

    torch.manual_seed(seed)
    symbols = len(text.symbols)
    lstm = torch.nn.LSTM(symbols, units, batch_first=True)
    linear = torch.nn.Linear(units, symbols)
    one_hot = torch.eye(symbols)
    begin_lstm(lstm)
    begin_linear(linear)
    parameters = [p for p in (*lstm.parameters(), *linear.parameters()) if p.requires_grad]
    adam = torch.optim.Adam(parameters)
    cross_entropy = torch.nn.CrossEntropyLoss()
    state, n_steps = None, 0
    stretches = text.stretches(np.random.default_rng(seed))
    schedule = Schedule(budget)

    def loss_of(x, y, state):
        h, state = lstm(torch.nn.functional.embedding(x, one_hot), state)
        return cross_entropy(linear(h).flatten(0, 1), y.flatten()), state

    while (rate := schedule()) is not None:
        x, y = map(torch.from_numpy, next(stretches))
        adam.param_groups[0]["lr"] = rate
        loss, state = loss_of(x, y, state)
        state = tuple(part.detach() for part in state)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        n_steps += 1
    x, y = map(torch.from_numpy, text.test_pieces())
    with torch.no_grad():
        return loss_of(x, y, None)[0].item() / log(2), n_steps


def run(variant, seed, data, quick=False):
    options = VARIANTS[variant].options
    text = Text(data)
    budget = options["budget"] / 40 if quick else options["budget"]
    train = {"lstmcore": by_lstmcore, "torch": by_torch}[options["by"]]
    clock = runs.Clock()
    bits, n_steps = train(text, options["units"], budget, seed)
    return {
        "bits": float(bits),
        "seconds": clock(),
        "characters": n_steps * STREAMS * STRETCH,
        "budget": budget,
    }


def table(results):
    rows = []
    for label, done in results.items():
        speed = [r["characters"] / r["budget"] / 1000 for r in done]
        rows.append(
            [
                label,
                runs.spread(runs.column(done, "bits"), 3),
                f"{np.mean(runs.column(done, 'characters')) / 1e6:.1f}",
                f"{np.mean(speed):.0f}",
                f"{np.mean(runs.column(done, 'budget')):.0f}",
            ]
        )
    head = ["", "bits a character", "million characters", "thousand characters a second", "s"]
    return runs.markdown(head, rows + PUBLISHED)


if __name__ == "__main__":
    raise SystemExit(runs.main("shakespeare"))

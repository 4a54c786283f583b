"""Text like its corpus: a character language model beside PyTorch's and n-grams, down to a board.

    python examples/text.py input.txt [OUTPUT_DIRECTORY] [--seconds 60] [--torch] [--board]

input.txt is a text of a hundred thousand characters or more. The figures of docs/text.md are of
tinyshakespeare, 1.1 million characters of plays in the public domain, which is
data/tinyshakespeare/input.txt of https://github.com/karpathy/char-rnn.

The first 90 % of the text are learnt from. The last 10 % are held out: the figures are bits a
character of them, read in 32 pieces side by side, each from the initial state. An LSTM is trained
by truncated BPTT for so many CPU seconds, and once more for half of them. With --torch,
torch.nn.LSTM and Adam are trained for as long; what PyTorch does once in a process is off its
clock. With --tune each run has the settings that were best for it in the same trials. The runs go
on side by side, each in a process of its own; with --seeds there are several of each kind. Beside
them stand interpolated Kneser-Ney models of the last two and the last four characters.

The network writes a sample of text, in Python and as a C program, and with --board on an emulated
Cortex-M4F too (gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm).

Writes model.npz, curves.csv, text.png and the C program.
"""

import argparse
import csv
import os
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, log, pi
from multiprocessing import get_context
from pathlib import Path
from time import process_time

import numpy as np

import lstmcore as lc

ROOT = Path(__file__).resolve().parents[1]
PIECES = 32  # of the held-out text
SEQUENCE = 512  # characters that are read from the initial state on
ROUND = 64  # such sequences; a multiple of all sizes of batches
POINTS = 16  # of a curve
CLIP_NORM = 1.0
INPUT_SCALE = 6.0  # times Glorot's start of the input weights: an input has a single one
WARM_UP = 0.02  # of the time
# The libraries read these when they are imported.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Settings:
    """What a side has chosen for itself."""

    units: int
    batch_size: int
    stretch: int  # characters of each sequence in a step
    rate: float


TRIALS = [
    Settings(units, batch_size, 32, rate)
    for units, rates in ((256, (4e-3, 8e-3)), (128, (8e-3, 16e-3)))
    for batch_size in (4, 8, 16, 32)
    for rate in rates
]
# Of each run: its side, its share of the seconds that there are, and its settings without --tune.
SETTINGS = {
    ("lstmcore", 1.0): Settings(256, 8, 32, 8e-3),
    ("lstmcore", 0.5): Settings(128, 8, 32, 16e-3),
    ("torch", 1.0): Settings(256, 8, 32, 8e-3),
}


class Text:
    """A text as numbers: what is learnt from and what is held out.

    For trials the tenth before the last is held out, and the last is not looked at.
    """

    def __init__(self, path, for_trials=False):
        text = Path(path).read_text(encoding="utf-8")
        self.symbols, codes = np.unique(list(text), return_inverse=True)
        tenths = len(codes) // 10 * np.arange(11)
        end = 9 if for_trials else 10
        self.learn = codes[: tenths[end - 1]]
        self.held_out = codes[tenths[end - 1] : tenths[end]]

    def rounds(self, size, rng):
        """Inputs and targets, (size, SEQUENCE) each, from random places, without an end."""
        while True:
            begins = rng.integers(0, len(self.learn) - SEQUENCE, size)
            codes = self.learn[begins[:, None] + np.arange(SEQUENCE + 1)]
            yield codes[:, :-1], codes[:, 1:]

    def pieces(self):
        """Inputs and targets of the held-out text, in pieces that are read side by side."""
        codes = self.held_out[: len(self.held_out) // PIECES * PIECES].reshape(PIECES, -1)
        return codes[:, :-1], codes[:, 1:]


class Clock:
    """CPU seconds of this process, with all its threads and without its pauses."""

    def __init__(self):
        self._began = process_time()

    def __call__(self):
        return process_time() - self._began

    @contextmanager
    def paused(self):
        begin = process_time()
        yield
        self._began += process_time() - begin


class ByLstmcore:
    """The language model of lstmcore."""

    def __init__(self, symbols, settings, seed):
        self.settings, self._memory = settings, {}
        units = settings.units
        self.net = lc.Network(
            [lc.LSTM(symbols, units, tokens=True), lc.Dense(units, symbols)],
            loss="cross_entropy",
            dtype="float32",
            seed=seed,
        )
        W = self.net.blocks["0.W"]
        W *= INPUT_SCALE

    def learn(self, X, Y, rate):
        """Read each sequence once, by truncated BPTT; `rate()` is the rate of a step."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)  # there is more to come
            lc.fit(
                self.net,
                X,
                Y,
                method="adam",
                batch_size=self.settings.batch_size,
                truncate=self.settings.stretch,
                max_epochs=1,
                learning_rate=lambda *_: rate(),
                clip_norm=CLIP_NORM,
                memory=self._memory,
                seed=0,
            )

    def loss(self, X, Y):
        return self.net.loss(X, Y)


class ByTorch:
    """The same model of PyTorch, from a start of the same distribution."""

    def __init__(self, symbols, settings, seed):
        sys.path.insert(0, str(ROOT / "bench" / "learning"))
        import torch
        from torch_peer import begin_linear, begin_lstm

        self.torch, self.settings = torch, settings
        torch.set_num_threads(int(os.environ[THREADS[0]]))
        torch.manual_seed(seed)
        self._one_hot = torch.eye(symbols)
        self._lstm = torch.nn.LSTM(symbols, settings.units, batch_first=True)
        self._linear = torch.nn.Linear(settings.units, symbols)
        begin_lstm(self._lstm)
        begin_linear(self._linear)
        with torch.no_grad():
            self._lstm.weight_ih_l0 *= INPUT_SCALE
        layers = (self._lstm, self._linear)
        self._parameters = [p for m in layers for p in m.parameters() if p.requires_grad]
        self._adam = torch.optim.Adam(self._parameters, fused=True)

    def learn(self, X, Y, rate):
        torch, B, T = self.torch, self.settings.batch_size, self.settings.stretch
        X, Y = (torch.from_numpy(np.ascontiguousarray(part)) for part in (X, Y))
        for b in range(0, len(X), B):
            state = None
            for t in range(0, X.shape[1], T):
                loss, state = self._loss(X[b : b + B, t : t + T], Y[b : b + B, t : t + T], state)
                state = tuple(part.detach() for part in state)
                self._adam.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
                self._adam.param_groups[0]["lr"] = rate()
                self._adam.step()

    def loss(self, X, Y):
        X, Y = (self.torch.from_numpy(np.ascontiguousarray(part)) for part in (X, Y))
        with self.torch.no_grad():
            return self._loss(X, Y)[0].item()

    def _loss(self, X, Y, state=None):
        functional = self.torch.nn.functional
        h, state = self._lstm(functional.embedding(X, self._one_hot), state)
        return functional.cross_entropy(self._linear(h).flatten(0, 1), Y.flatten()), state


MODELS = {"lstmcore": ByLstmcore, "torch": ByTorch}


@dataclass(frozen=True)
class Run:
    """A side, trained for so long: its curve is of (CPU seconds, characters, bits a character)."""

    side: str
    seconds: float
    settings: Settings
    curve: list
    model: object  # what `net` of the model is; None of PyTorch's


def train(path, side, settings, seconds, seed=0, for_trials=False):
    """A `Run`. The held-out text is evaluated off the clock, and decides nothing."""
    text = Text(path, for_trials)
    points = 1 if for_trials else POINTS
    symbols, held_out = len(text.symbols), text.pieces()
    rng = np.random.default_rng(seed)
    rounds = text.rounds(ROUND, rng)
    MODELS[side](symbols, settings, seed).learn(*next(rounds), lambda: 0.0)  # warm up
    model = MODELS[side](symbols, settings, seed)
    curve, characters, clock = [], 0, Clock()

    def rate():
        """Up along a line, then down along half a cosine."""
        share = min(clock() / seconds, 1.0)
        return settings.rate * min(1.0, share / WARM_UP) * 0.5 * (1 + cos(pi * share))

    while clock() < seconds:
        X, Y = next(rounds)
        model.learn(X, Y, rate)
        characters += X.size
        now = clock()
        if now >= seconds * min(1.0, (len(curve) + 1) / points):
            with clock.paused():
                curve.append((now, characters, model.loss(*held_out) / log(2)))
    return Run(side, seconds, settings, curve, getattr(model, "net", None))


def n_gram_bits(text, order):
    """Bits a character of an interpolated Kneser-Ney model, with one discount for each order.

    Ney, Essen & Kneser 1994; the discount is n1 / (n1 + 2 n2) of the counts of counts, and the
    lowest order is mixed with the uniform distribution.
    """
    p = n_gram(text, order)
    return float(-np.log2(p[np.arange(len(p)), text.held_out]).mean())


def n_gram(text, order):
    """Distribution (N, K) of each held-out character after the `order` - 1 before it."""
    K = len(text.symbols)
    keys = as_keys(text.learn, order, K)
    tables = []
    for k in range(order, 0, -1):
        grams, counts = np.unique(keys, return_counts=True)
        tables.append((grams, counts))
        keys = grams % K ** (k - 1)  # below, a gram counts once for each symbol that precedes it
    codes = np.concatenate([text.learn[len(text.learn) - order + 1 :], text.held_out])
    contexts = as_keys(codes, order, K) // K
    p = np.full((len(contexts), K), 1.0 / K)
    for k, (grams, counts) in enumerate(reversed(tables)):
        p = interpolated(p, grams, counts, contexts % K**k)
    return p


def as_keys(codes, order, K):
    """Each stretch of so many symbols as one number to the base K."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, order)
    return windows @ K ** np.arange(order - 1, -1, -1)


def interpolated(p, grams, counts, contexts):
    """Distributions (N, K) after N contexts, from those of the order below."""
    K = p.shape[1]
    once, twice = (counts == 1).sum(), (counts == 2).sum()
    discount = once / max(once + 2 * twice, 1)
    wanted = contexts[:, None] * K + np.arange(K)
    at = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
    seen = np.where(grams[at] == wanted, counts[at], 0)
    total = seen.sum(axis=1, keepdims=True)
    kept = np.maximum(seen - discount, 0.0) + discount * (seen > 0).sum(axis=1, keepdims=True) * p
    return np.where(total > 0, kept / np.maximum(total, 1), p)


def write(net, symbols, length, temperature, seed):
    """Text of the network: each character is drawn from its output, and read by it next."""
    drawn = net.generate(first(symbols), length, temperature=temperature, rng=seed)
    return "".join(symbols[token] for token in drawn)


def first(symbols):
    """The symbol that a text begins after: the newline, or the first one there is."""
    return int(np.searchsorted(symbols, "\n")) % len(symbols)


def in_c(net, symbols, length, directory, board):
    """What the exported network writes, and where: on this machine, on demand on a Cortex-M4F."""
    lc.export_c(net, directory, "model", overwrite=True)
    names = ", ".join('"' + "".join(f"\\{b:03o}" for b in s.encode()) + '"' for s in symbols)
    (directory / "symbols.h").write_text(
        f"static const char *const SYMBOLS[] = {{{names}}};\n"
        f"enum {{ START = {first(symbols)}, LENGTH = {length} }};\n"
    )
    sources = [str(ROOT / "examples" / "text.c"), str(directory / "model.c")]
    program = str(directory / "text")
    compiler = os.environ.get("CC", "cc").split()
    flags = ["-std=c99", "-O2", "-I", str(directory), "-o", program]
    subprocess.run([*compiler, *sources, *flags], check=True)
    written = {subprocess.check_output([program], text=True, encoding="utf-8"): ["this machine"]}
    if board:
        sys.path.insert(0, str(ROOT / "tests" / "embedded"))
        from targets import CORTEX_M4F

        CORTEX_M4F.build(sources, program + ".elf", ["-I", str(directory)])
        written.setdefault(CORTEX_M4F.run(program + ".elf"), []).append("the Cortex-M4F")
    return written


def save_curves(path, runs):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["side", "budget", "seed", "seconds", "characters", "bits"])
        for of_seeds in runs:
            for seed, run in enumerate(of_seeds):
                rows.writerows([run.side, run.seconds, seed, *point] for point in run.curve)


def draw(path, runs, n_grams):
    """Held-out bits a character against CPU seconds, a curve for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colors = {"lstmcore": "tab:blue", "torch": "tab:orange"}
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    longest = max(of_seeds[0].seconds for of_seeds in runs)
    for of_seeds in runs:
        mean = np.mean([run.curve[-1][2] for run in of_seeds])
        label = f"{of_seeds[0].side}, {of_seeds[0].seconds:g} s: {mean:.3f}"
        for run in of_seeds:
            seconds, _, bits = zip(*run.curve, strict=True)
            style = "-" if run.seconds == longest else "--"
            axes.plot(seconds, bits, style, color=colors[run.side], linewidth=1, label=label)
            label = None  # the legend has a line for all seeds
    for name, bits in n_grams.items():
        axes.axhline(bits, color="gray", linewidth=1)
        axes.annotate(name, (1, bits), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    lowest = min(bits for of_seeds in runs for run in of_seeds for *_, bits in run.curve)
    axes.set(
        xlabel="CPU seconds",
        ylabel="bits a character, held out",
        ylim=(lowest - 0.05, max(lowest, *n_grams.values()) + 0.2),
        xlim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def report(runs, n_grams):
    """Means over the seeds, with the least and the most bits."""
    print(
        f"\n{'':34}{'bits':>7} {'least':>7} {'most':>7} {'CPU s':>7} {'M characters':>13} "
        f"{'thousand a s':>13}"
    )
    for name, bits in n_grams.items():
        print(f"{name:34}{bits:7.3f}")
    for of_seeds in runs:
        run = of_seeds[0]
        ends = np.array([run.curve[-1] for run in of_seeds])
        seconds, characters, bits = ends.mean(axis=0)
        name = f"{run.side}, {run.seconds:g} s, {run.settings.units} units"
        print(
            f"{name:34}{bits:7.3f} {ends[:, 2].min():7.3f} {ends[:, 2].max():7.3f} {seconds:7.1f} "
            f"{characters / 1e6:13.2f} {characters / seconds / 1e3:13.1f}"
        )


def tuned(start, plan):
    """The best settings of each run in the same trials, on a text that is held out for them."""
    jobs = {
        (run, settings): start(*run, settings, for_trials=True)
        for run in sorted(plan, key=lambda run: -run[1])  # the longest first
        for settings in TRIALS
    }
    bits = {key: job.result().curve[-1][2] for key, job in jobs.items()}
    names = "".join(f"{f'{side} * {share:g}':>16}" for side, share in plan)
    print(f"{'units':>6}{'batch':>6}{'stretch':>8}{'rate':>7}{names}")
    for s in TRIALS:
        row = "".join(f"{bits[run, s]:16.3f}" for run in plan)
        print(f"{s.units:6}{s.batch_size:6}{s.stretch:8}{s.rate:7g}{row}")
    return {run: min(TRIALS, key=lambda s: bits[run, s]) for run in plan}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="input.txt of karpathy/char-rnn, or another text")
    parser.add_argument("output", type=Path, nargs="?", default=Path("build/text"))
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds of a run")
    parser.add_argument("--torch", action="store_true", help="train torch.nn.LSTM, too")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--tune", action="store_true", help="choose the settings by trials first")
    parser.add_argument("--board", action="store_true", help="write text on a Cortex-M4F, too")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    os.environ.update(dict.fromkeys(THREADS, str(arguments.threads)))  # of the runs' processes
    plan = [run for run in SETTINGS if arguments.torch or run[0] != "torch"]
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:

        def start(side, share, settings, seed=0, for_trials=False):
            seconds = share * arguments.seconds
            return pool.submit(train, arguments.text, side, settings, seconds, seed, for_trials)

        settings = tuned(start, plan) if arguments.tune else SETTINGS
        seeds = range(arguments.seeds)
        jobs = {run: [start(*run, settings[run], seed) for seed in seeds] for run in plan}
        text = Text(arguments.text)
        n_grams = {f"{n}-gram, Kneser-Ney": n_gram_bits(text, n) for n in (3, 5)}
        runs = [[job.result() for job in of_seeds] for of_seeds in jobs.values()]
    report(runs, n_grams)
    net = runs[0][0].model
    net.save(arguments.output / "model.npz")
    save_curves(arguments.output / "curves.csv", runs)
    draw(arguments.output / "text.png", runs, n_grams)

    print(f"\nWritten by the network:\n\n{write(net, text.symbols, 400, 0.5, seed=0)}")
    for written, where in in_c(net, text.symbols, 400, arguments.output, arguments.board).items():
        print(f"\nWritten by the C program on {' and on '.join(where)}:\n\n{written}")


if __name__ == "__main__":
    main()

"""Next year's sunspots: an LSTM against the AR(9) of the textbooks, one step ahead.

    python examples/sunspots.py [OUTPUT_DIRECTORY]

Yearly sunspot numbers 1700-2008. Everything is fitted to 1700-1920; the spans by which forecasts
have been compared since Weigend, Huberman and Rumelhart (1990), 1921-55 and 1956-79, are forecast
one year ahead from the true past. Scored by the average relative variance (ARV), the mean squared
error divided by 1535.

The network reads the square roots of the last nine numbers, which makes the scatter even, and gives
the next one. The record has few cycles and no two alike in height, so it learns from five copies of
it, scaled by 0.7 to 1.3: how strong a cycle is must not be learnt by heart. The strength of the
weight penalty is chosen by forecasting five spans of 20 years within the training years.

Writes sunspots.png.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.datasets import load_sunspots

LAGS = 9
HIDDEN = 16
ITERATIONS = 100
SCALES = (0.7, 0.85, 1.0, 1.15, 1.3)
PENALTIES = (3e-3, 1e-2, 2e-2, 3e-2, 1e-1)
TRAIN_END = 1920
SPANS = ((1921, 1955), (1956, 1979))
VARIANCE = 1535.0  # the divisor of the published figures

# To stop before convergence is part of the recipe: it regularises, too.
warnings.filterwarnings("ignore", category=lc.ConvergenceWarning)


def lagged(series):
    """What is known when each year is forecast, the LAGS years before, and that year's value."""
    return np.lib.stride_tricks.sliding_window_view(series, LAGS)[:-1], series[LAGS:]


def train(numbers, l2, seed):
    """A function that forecasts every year but the first LAGS, by a network fitted to `numbers`."""
    roots = np.sqrt(numbers)
    mean, deviation = roots.mean(), roots.std()
    pairs = [lagged((scale * roots - mean) / deviation) for scale in SCALES]
    X, Y = (np.array(arrays) for arrays in zip(*pairs, strict=True))
    net = lc.Network([lc.LSTM(LAGS, HIDDEN, peepholes=True), lc.Dense(HIDDEN, 1)], seed=seed)
    lc.fit(net, X, Y, l2=l2, max_iter=ITERATIONS)

    def forecast(numbers):
        X, _ = lagged((np.sqrt(numbers) - mean) / deviation)
        roots = mean + deviation * net.predict(X[np.newaxis])[0, :, 0]
        return np.maximum(roots, 0) ** 2

    return forecast


def autoregression(numbers, roots=False):
    """The same function from least squares on the LAGS years before: AR(9)."""

    def scale(numbers):
        return np.sqrt(numbers) if roots else numbers

    def inputs(numbers):
        X, _ = lagged(scale(numbers))
        return np.column_stack([X, np.ones(len(X))])

    weights = np.linalg.lstsq(inputs(numbers), scale(numbers)[LAGS:], rcond=None)[0]

    def forecast(numbers):
        forecasts = inputs(numbers) @ weights
        return np.maximum(forecasts, 0) ** 2 if roots else forecasts

    return forecast


def arv(forecasts, years, numbers, first, last):
    """Average relative variance of the forecasts of a span of years."""
    errors = forecasts - numbers[LAGS:]
    span = (years[LAGS:] >= first) & (years[LAGS:] <= last)
    return np.mean(errors[span] ** 2) / VARIANCE


def validate(years, numbers, l2, seed):
    """Mean ARV of 20-year spans of the training years, each forecast from what came before it."""
    scores = []
    for end in range(TRAIN_END - 100, TRAIN_END, 20):
        forecast = train(numbers[years <= end], l2, seed)
        scores.append(arv(forecast(numbers), years, numbers, end + 1, end + 20))
    return np.mean(scores)


def choose_l2(years, numbers, seed):
    return min(PENALTIES, key=lambda l2: validate(years, numbers, l2, seed))


def plot(path, years, numbers, forecasts):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    axes.plot(years, numbers, color="black", linewidth=1, label="observed")
    for (name, values), style in zip(forecasts.items(), ("C1--", "C2:", "C0-"), strict=True):
        axes.plot(years[LAGS:], values, style, linewidth=1.2, label=name)
    for first, last in SPANS:
        axes.axvspan(first - 0.5, last + 0.5, color="gray", alpha=0.12 + 0.1 * (first > 1950))
    axes.set(
        title="Yearly sunspot number, forecast one year ahead; fitted to 1700-1920",
        xlim=(TRAIN_END - 40, SPANS[-1][1] + 1),
        ylim=(-5, 215),
        xlabel="year",
    )
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path("build/sunspots"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    years, numbers = load_sunspots()
    known = numbers[years <= TRAIN_END]
    l2 = choose_l2(years, numbers, arguments.seed)
    forecasts = {
        f"AR({LAGS})": autoregression(known)(numbers),
        f"AR({LAGS}) of square roots": autoregression(known, roots=True)(numbers),
        f"LSTM, l2 = {l2:g}": train(known, l2, arguments.seed)(numbers),
    }
    print(f"{'ARV':<26}" + "".join(f"{first}-{last:<8}" for first, last in SPANS))
    for name, values in forecasts.items():
        scores = [arv(values, years, numbers, *span) for span in SPANS]
        print(f"{name:<26}" + "".join(f"{score:<13.3f}" for score in scores))
    plot(arguments.output / "sunspots.png", years, numbers, forecasts)
    print(f"sunspots.png is in {arguments.output}")


if __name__ == "__main__":
    main()

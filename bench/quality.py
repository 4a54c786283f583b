"""How well the examples' recipes do, over many seeds.

    python bench/quality.py [--seeds 30] [--jobs 2] [--output quality.json]
    python bench/quality.py --sklearn [--seeds 30] [--jobs 2]

A seed is the whole recipe of examples/japanese_vowels.py or examples/sunspots.py once over, with
its own folds, its own choice of the weight penalty within the training data, and its own start. The
test data are used for the figures printed here and for nothing else. The table is of single
networks; what the mean of all their outputs reaches stands below it. With --sklearn it is the
vowels alone, by examples/vowels_sklearn.py: the same recipe as a pipeline and a search.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import japanese_vowels as vowels
import sunspots
import vowels_sklearn

import lstmcore as lc
from lstmcore.datasets import load_japanese_vowels, load_sunspots


def one_vowels(seed):
    """Chosen l2 and the probabilities of the test utterances."""
    data = load_japanese_vowels()
    X_train, X_test = vowels.features(data.X_train), vowels.features(data.X_test)
    l2 = vowels.choose_l2(X_train, data.y_train, seed)
    scales = vowels.scaling(X_train)
    net, _ = vowels.train(vowels.scaled(X_train, *scales), data.y_train, l2, seed)
    return l2, vowels.classify(net, vowels.scaled(X_test, *scales))


def one_vowels_sklearn(seed):
    """Chosen alpha and the probabilities of the test utterances."""
    data = load_japanese_vowels()
    chosen = vowels_sklearn.search(seed).fit(data.X_train, data.y_train)
    alpha = chosen.best_params_["sequenceclassifier__alpha"]
    return alpha, chosen.best_estimator_.predict_proba(data.X_test)


def one_sunspots(seed):
    """Chosen l2 and the forecasts of all years but the first."""
    years, numbers = load_sunspots()
    l2 = sunspots.choose_l2(years, numbers, seed)
    return l2, sunspots.train(numbers[years <= sunspots.TRAIN_END], l2, seed)(numbers)


def one(task, seed):
    lc.set_num_threads(1)  # the seeds share out the processors
    return {
        "vowels": one_vowels,
        "vowels by scikit-learn": one_vowels_sklearn,
        "sunspots": one_sunspots,
    }[task](seed)


def over_seeds(pool, task, seeds):
    """Chosen penalties and outputs of all seeds."""
    penalties, outputs = [], []
    for l2, output in pool.map(partial(one, task), range(seeds)):
        penalties.append(l2)
        outputs.append(output)
        print(f"\r{task}: {len(outputs)}/{seeds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return penalties, outputs


def row(name, scores, best, digits):
    """A line of the table, and the same for the JSON file."""
    figures = {
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "best": float(best(scores)),
        "scores": [float(score) for score in scores],
    }
    print(
        f"| {name} | {figures['mean']:.{digits}f} ± {figures['std']:.{digits}f} "
        f"| {figures['best']:.{digits}f} |"
    )
    return figures


def by_scikit_learn(seeds, jobs):
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        alphas, probabilities = over_seeds(pool, "vowels by scikit-learn", seeds)
    y_test = load_japanese_vowels().y_test
    print(f"| {seeds} seeds | mean ± standard deviation | best |")
    print("| --- | --- | --- |")
    scores = [vowels.accuracy(p, y_test) for p in probabilities]
    name = "Japanese Vowels by scikit-learn, test accuracy, %"
    figures = {name: row(name, scores, max, 2) | {"alpha": alphas}}
    counts = {f"{alpha:g}": alphas.count(alpha) for alpha in sorted(set(alphas))}
    print(f"alpha chosen: {counts}")
    return figures


def write(path, figures):
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the figures as JSON too")
    parser.add_argument("--sklearn", action="store_true", help="the vowels by scikit-learn alone")
    arguments = parser.parse_args()
    if arguments.sklearn:
        write(arguments.output, by_scikit_learn(arguments.seeds, arguments.jobs))
        return
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        vowels_l2, probabilities = over_seeds(pool, "vowels", arguments.seeds)
        sunspots_l2, forecasts = over_seeds(pool, "sunspots", arguments.seeds)

    print(f"| {arguments.seeds} seeds | mean ± standard deviation | best |")
    print("| --- | --- | --- |")
    y_test = load_japanese_vowels().y_test
    name = "Japanese Vowels, test accuracy, %"
    scores = [vowels.accuracy(p, y_test) for p in probabilities]
    figures = {name: row(name, scores, max, 2) | {"l2": vowels_l2}}
    years, numbers = load_sunspots()
    for first, last in sunspots.SPANS:
        name = f"Sunspots {first}-{last}, ARV"
        scores = [sunspots.arv(values, years, numbers, first, last) for values in forecasts]
        figures[name] = row(name, scores, min, 3) | {"l2": sunspots_l2}

    known = numbers[years <= sunspots.TRAIN_END]
    together = vowels.accuracy(np.mean(probabilities, axis=0), y_test)
    print(f"\nAll {arguments.seeds} vowel networks together: {together:.2f} %")
    for name, values in {
        f"All {arguments.seeds} sunspot networks together": np.mean(forecasts, axis=0),
        "AR(9)": sunspots.autoregression(known)(numbers),
        "AR(9) of square roots": sunspots.autoregression(known, roots=True)(numbers),
    }.items():
        spans = [sunspots.arv(values, years, numbers, *span) for span in sunspots.SPANS]
        print(f"{name}: " + ", ".join(f"{score:.3f}" for score in spans))
    for name, chosen in (("vowels", vowels_l2), ("sunspots", sunspots_l2)):
        counts = {f"{l2:g}": chosen.count(l2) for l2 in sorted(set(chosen))}
        print(f"l2 chosen, {name}: {counts}")
    write(arguments.output, figures)


if __name__ == "__main__":
    main()

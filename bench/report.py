"""The figures as Markdown and as one picture."""

from itertools import groupby
from operator import itemgetter

import numpy as np
from cases import FORWARD, STEP, TRAIN, Case

OURS = "lstmcore"

# What is wanted of each part of the grid: (title, which cases, smallest ratio, geometric mean).
GOALS = (
    ("one step from Python", lambda c: c.work == STEP, 4, None),
    (f"{FORWARD} float32, B=1, H ≤ 64", lambda c: single(c) and c.H <= 64, 2, None),
    (f"{FORWARD} float32, B=1, H = 128 … 256", lambda c: single(c) and 64 < c.H < 512, 1.5, None),
    (f"{FORWARD} float32, B=1, H = 512", lambda c: single(c) and c.H >= 512, 1.3, None),
    (f"{FORWARD} float32, B ≥ 16", lambda c: kind(c, FORWARD, "float32") and c.B >= 16, 1.2, 1.6),
    (f"{FORWARD} float64", lambda c: kind(c, FORWARD, "float64"), None, None),
    (f"{TRAIN} float32", lambda c: kind(c, TRAIN, "float32"), 1.5, 3),
    (f"{TRAIN} float64", lambda c: kind(c, TRAIN, "float64"), 2, 5),
)
# Shares of the FMA peak, where the matrix products are large enough to fill the machine.
SHARES = {FORWARD: 0.75, TRAIN: 0.65}


def kind(case, work, dtype):
    return (case.work, case.dtype) == (work, dtype)


def single(case):
    return kind(case, FORWARD, "float32") and case.B == 1


def count(threads):
    return f"{threads} thread" + "s" * (threads > 1)


def case_of(entry):
    return Case(**entry["case"])


def best_peer(entry):
    """(name, median seconds) of the fastest other than lstmcore, or None."""
    peers = {n: t["median"] for n, t in entry["times"].items() if n != OURS}
    return min(peers.items(), key=lambda item: item[1]) if peers else None


def ratio(entry):
    """How many times faster lstmcore is than the best peer, or None."""
    best = best_peer(entry)
    if best is None or OURS not in entry["times"]:
        return None
    return best[1] / entry["times"][OURS]["median"]


def share(entry, name=OURS):
    """Part of the FMA peak of the same minute, or None."""
    if not entry["peak"] or name not in entry["times"]:
        return None
    return entry["flops"] / entry["times"][name]["median"] / entry["peak"]


def limit(entry):
    """The ratio at which lstmcore would run at the FMA peak."""
    best = best_peer(entry)
    return entry["peak"] and best and best[1] * entry["peak"] / entry["flops"]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def number(value, digits=3):
    """Three significant digits, thousands separated, and - for what is not there."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def verdict(value, wanted):
    if wanted is None:
        return "-"
    return f"≥ {wanted}" + ("" if value >= wanted else ", missed")


def name_of(case):
    if case.work == STEP:
        return f"H={case.H}"
    return f"B={case.B} T={case.T} I={case.I} H={case.H}"


def markdown(results):
    parts = [header(results), summary(results), alone(results), fits(results), grid(results)]
    return "\n".join(filter(None, parts))


def header(results):
    machine, versions = results["machine"], results["versions"]
    peers = ", ".join(f"{n} {v}" for n, v in versions.items() if n in results["peers"])
    lines = [
        f"Printed by `{results['command']}`, commit {machine['commit']}, {results['date']}.",
        "",
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['vectors']}.",
        f"- System: {machine['system']}, Python {machine['python']}.",
        f"- lstmcore {versions.get(OURS, 'missing')}, kernels {results['isa']}.",
    ]
    if peers:
        lines.append(f"- Peers: {peers}.")
    lines += [f"- Not there: {name} ({why})." for name, why in results["missing"].items()]
    return "\n".join(lines) + "\n"


def summary(results):
    """The smallest and the mean ratio to the best peer, for each goal and number of threads."""
    rows = []
    entries = [e for e in results["grid"] if ratio(e)]
    for (title, belongs, least, mean), threads in (
        (goal, threads) for goal in GOALS for threads in sorted({e["threads"] for e in entries})
    ):
        chosen = [e for e in entries if e["threads"] == threads and belongs(case_of(e))]
        if not chosen:
            continue
        worst = min(chosen, key=ratio)
        average = float(np.exp(np.mean(np.log([ratio(e) for e in chosen]))))
        place = f"{name_of(case_of(worst))}, {best_peer(worst)[0]}"
        rows.append(
            [
                title,
                threads,
                len(chosen),
                f"{number(ratio(worst))}× ({place})",
                verdict(ratio(worst), least),
                f"{number(average)}×",
                verdict(average, mean),
            ]
        )
    if not rows:
        return ""
    head = ["work", "threads", "shapes", "smallest ratio to the best peer", "wanted"]
    return "## Against the best peer\n\n" + table([*head, "geometric mean", "wanted"], rows)


def shares(results):
    """Rows like those of bench/special.py: the part of the FMA peak where products are large."""
    for e in results["grid"]:
        if share(e) and e["case"]["B"] == 64 and e["case"]["H"] in (128, 512):
            least = SHARES[e["case"]["work"]]
            yield {
                "what": f"share of the FMA peak, {e['case']['work']}, {count(e['threads'])}",
                "detail": f"{e['case']['dtype']}, {name_of(case_of(e))}",
                "value": share(e),
                "wanted": f"at least {least}",
                "met": share(e) >= least,
            }


def alone(results):
    """For each kind of ratio the one that is furthest on the wrong side; the JSON has them all."""
    groups = {}
    for entry in [*shares(results), *results["rows"]]:
        groups.setdefault((entry["what"], entry["wanted"]), []).append(entry)
    rows = []
    for (what, wanted), entries in groups.items():
        value = itemgetter("value")
        worst = (min if wanted.startswith("at least") else max)(entries, key=value)
        missed = sum(not e["met"] for e in entries)
        verdict = f"{wanted}" + (f", missed by {missed}" if missed else "")
        rows.append([what, len(entries), number(worst["value"]), verdict, worst["detail"]])
    if not rows:
        return ""
    head = ["what", "cases", "worst", "wanted", "where"]
    return "## lstmcore by itself\n\n" + table(head, rows)


def fits(results):
    rows = []
    for fit in results["fits"]:
        for name, time in fit["times"].items():
            ours = fit["times"].get(OURS)
            seconds = time["median"]
            rows.append(
                [
                    name,
                    fit["threads"],
                    number(seconds),
                    number(seconds / ours["median"]) + "×" if ours else "-",
                    fit["evaluations"][name],
                    f"{fit['loss'][name]:.8g}",
                ]
            )
    if not rows:
        return ""
    shape = name_of(Case(**results["fits"][0]["case"]))
    title = f"## {results['fits'][0]['iterations']} iterations of L-BFGS, float64, {shape}\n\n"
    head = ["fit", "threads", "seconds", "of lstmcore's", "evaluations", "loss at the end"]
    return title + table(head, rows)


def grid(results):
    parts = []
    names = [OURS, *results["peers"]]
    for _, group in groupby(
        results["grid"], lambda e: (e["case"]["work"], e["case"]["dtype"], e["threads"])
    ):
        entries = list(group)
        work, dtype = entries[0]["case"]["work"], entries[0]["case"]["dtype"]
        present = [n for n in names if any(n in e["times"] for e in entries)]
        head = ["shape", *present, "ratio", "share of peak"]
        rows = []
        for e in entries:
            best = best_peer(e)
            cells = []
            for n in present:
                median = e["times"].get(n, {}).get("median")
                text = number(median and 1e6 * median)
                cells.append(f"**{text}**" if best and n == best[0] else text)
            speed = number(ratio(e)) + "×" * bool(ratio(e))
            rows.append([name_of(case_of(e)), *cells, speed, number(share(e), 2)])
        title = f"## {work}, {dtype}, {count(entries[0]['threads'])} (median µs)\n\n"
        parts.append(title + table(head, rows))
    wrong = [
        f"- {case_of(e)}, {count(e['threads'])}: {name}: {why}"
        for e in results["grid"]
        for name, why in e["refused"].items()
        if "only" not in why and "widest" not in why
    ]
    if wrong:
        parts.append("## Left out\n\n" + "\n".join(wrong) + "\n")
    return "\n".join(parts)


def picture(results, path):
    """Ratio to the best peer over the grid, one panel for each kind of work, with the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    kinds = {}
    for e in results["grid"]:
        if ratio(e):
            kinds.setdefault((e["case"]["work"], e["case"]["dtype"]), []).append(e)
    if not kinds:
        return
    figure, axes = plt.subplots(
        len(kinds), figsize=(13, 2.6 * len(kinds)), layout="constrained", squeeze=False
    )
    for axis, ((work, dtype), entries) in zip(axes.flat, kinds.items(), strict=True):
        cases = sorted({case_of(e) for e in entries}, key=lambda c: (c.B, c.H))
        place = {case: k for k, case in enumerate(cases)}
        for threads, marker, colour in ((1, "o", "tab:blue"), (2, "s", "tab:orange")):
            chosen = [e for e in entries if e["threads"] == threads]
            if not chosen:
                continue
            x = np.array([place[case_of(e)] for e in chosen]) + 0.12 * (2 * threads - 3)
            label = count(threads)
            axis.plot(x, [ratio(e) for e in chosen], marker, color=colour, label=label)
            if work != STEP:
                limits = [limit(e) or np.nan for e in chosen]
                axis.plot(x, limits, "_", color=colour, markersize=11, alpha=0.6)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_title(f"{work}, {dtype}", fontsize=10)
        axis.set_xticks(range(len(cases)), [f"H={c.H}\nB={c.B}" for c in cases], fontsize=7)
        axis.grid(axis="y", which="both", linewidth=0.3)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(lambda v, _: f"{v:g}×")
        axis.yaxis.set_minor_formatter("")
        axis.legend(fontsize=8, loc="upper right")
    figure.supylabel("times faster than the best peer (dash: at the FMA peak)")
    figure.savefig(path, dpi=110)
    plt.close(figure)

"""Measure lstmcore against its peers and against itself; write JSON, Markdown and a picture.

    python bench/run.py --quick     under two minutes, the corners of the grid
    python bench/run.py --full      the whole grid
    python bench/run.py --cell gru  the grid with a GRU in place of the LSTM

Nothing here is a test of time: every figure is a ratio between candidates that took turns in this
run, and each candidate's results are checked against the reference before it is timed.
"""

import argparse
import datetime
import json
import re
import sys
import time
from pathlib import Path

import cases
import fit
import machine
import peers
import report
import special
import timing

PARTS = ("grid", "alone", "fit")
CANDIDATES = (peers.Lstmcore, *peers.PEERS, machine.Peak)
FORMS = {  # rounds, seconds of each turn, and how much of the other parts
    "quick": {
        "rounds": 3,
        "seconds": 0.015,
        "kinds": ((cases.FORWARD, "float32"), (cases.TRAIN, "float64")),
        "shapes": 2,
        "iterations": 20,
        "fits": 1,
    },
    "full": {
        "rounds": 7,
        "seconds": 0.05,
        "kinds": cases.KINDS,
        "shapes": 4,
        "iterations": 100,
        "fits": 3,
    },
}
HERE = Path(__file__).resolve().parent
FOLDERS = {"quick": HERE.parent / "build" / "bench", "full": HERE / "results"}
PAUSE = {1: 0.002, 2: 0.02}  # until the last candidate's threads have stopped spinning


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", dest="form", action="store_const", const="quick")
    form.add_argument("--full", dest="form", action="store_const", const="full")
    parser.set_defaults(form="quick")
    parser.add_argument("--cell", choices=cases.GATES, default="lstm", help="of the grid")
    parts = "by default all; with --cell gru the grid, for the others are of the LSTM"
    parser.add_argument("--parts", nargs="+", choices=PARTS, help=parts)
    parser.add_argument("--threads", nargs="+", type=int, choices=(1, 2), default=(1, 2))
    parser.add_argument("--match", default="", help="only grid cases whose name has this pattern")
    where = "by default build/bench, of the full form bench/results"
    parser.add_argument("--output", type=Path, help=where)
    args = parser.parse_args()
    if args.parts is None:
        args.parts = PARTS if args.cell == "lstm" else ("grid",)
    return args


def run_grid(results, args, threads, save):
    effort = FORMS[args.form]
    grid = cases.full_grid if args.form == "full" else cases.quick_grid
    chosen = grid(args.cell)
    chosen = [c for c in chosen if re.search(args.match, str(c))]
    chosen = [c for c in chosen if threads == 1 or c.work != cases.STEP]
    if args.form == "quick" and threads > 1:
        chosen = [c for c in chosen if c.B > 1 and (c.work, c.dtype) in effort["kinds"]]
    candidates, versions, missing = timing.start(CANDIDATES, threads)
    results["versions"] |= versions
    results["missing"] |= missing
    try:
        for case in chosen:
            entry = timing.measure(
                candidates,
                case,
                seconds=effort["seconds"],
                rounds=effort["rounds"],
                pause=PAUSE[threads],
            )
            results["grid"].append({"threads": threads, **entry})
            save()
            ratio, best = report.number(report.ratio(entry)), report.best_peer(entry)
            name = best[0] if best else "nobody"
            print(f"{case}, {report.count(threads)}: {ratio}× {name}", flush=True)
    finally:
        for candidate in candidates.values():
            candidate.stop()


def run_alone(results, args, threads, save):
    candidates, versions, missing = timing.start([special.Bench], threads)
    results["missing"] |= missing
    results["versions"].setdefault(report.OURS, versions.get(special.Bench.name))
    for candidate in candidates.values():
        for function in special.ONE_THREAD if threads == 1 else special.TWO_THREADS:
            print(f"lstmcore alone: {function.replace('_', ' ')}", flush=True)
            results["rows"] += candidate.ask("rows", function, FORMS[args.form])
            save()
        candidate.stop()


def run_fit(results, args, threads, save):
    effort = FORMS[args.form]
    print(f"fit by L-BFGS, {report.count(threads)}", flush=True)
    results["fits"].append(fit.measure(threads, effort["iterations"], effort["fits"]))
    save()


def lstmcore_isa():
    from lstmcore import _dispatch

    return _dispatch.ISA


def main():
    args = arguments()
    began = time.monotonic()
    folder = args.output or FOLDERS[args.form]
    folder.mkdir(parents=True, exist_ok=True)
    name = args.form if args.cell == "lstm" else f"{args.form}-{args.cell}"
    target = folder / f"{name}.json"
    results = {
        "command": f"python bench/run.py --{args.form} --cell {args.cell}",
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "isa": lstmcore_isa(),
        "peers": [p.name for p in peers.PEERS],
        "versions": {},
        "missing": {},
        "grid": [],
        "rows": [],
        "fits": [],
    }

    def save():
        target.write_text(json.dumps(results, indent=1) + "\n")

    runs = {"grid": run_grid, "alone": run_alone, "fit": run_fit}
    for part in args.parts:
        for threads in args.threads:
            if threads <= machine.cores():
                runs[part](results, args, threads, save)
    text = report.markdown(results)
    target.with_suffix(".md").write_text(text)
    report.picture(results, target.with_suffix(".png"))
    print(f"\n{text}\n{time.monotonic() - began:.0f} s; {target}, .md and .png")
    wrong = [e for e in results["grid"] if report.OURS in e["refused"]]
    return 1 if wrong or report.OURS in results["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())

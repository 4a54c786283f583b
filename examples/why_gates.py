"""Why has an LSTM gates? Nets with and without forget gates and peepholes, counted over seeds.

    python examples/why_gates.py                                 # the short form, two minutes
    python examples/why_gates.py --full --jobs 16 [--seeds 40]   # the tables of docs/why_gates.md

Prints a table for the forget gates (an endless stream of embedded Reber strings) and one for the
peepholes and what the output gate sees (timing tasks). The tasks are two scripts of bench/learning,
which has all the others.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench" / "learning"))
import runs

TASKS = ("forget_gates", "peepholes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="long training and many seeds")
    parser.add_argument("--seeds", type=int, help="by default 2, and with --full each task's own")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    arguments = parser.parse_args()
    seeds = 2 if arguments.seeds is None and not arguments.full else arguments.seeds
    ends = time.time() + runs.A_DAY
    jobs = [
        job for name in TASKS for job in runs.jobs_of(name, seeds, None, not arguments.full, ends)
    ]
    collected = runs.collect(jobs, arguments.jobs, runs.A_DAY)
    for name in TASKS:
        print(collected.table(name))
    return runs.finish(collected)


if __name__ == "__main__":
    raise SystemExit(main())

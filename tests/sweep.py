"""A reliability sweep: thousands of random cases, each of which follows from a seed and an index.

    python tests/sweep.py networks                            # 2,000 networks
    python tests/sweep.py files                               # 10,000 damaged and hostile files
    python tests/sweep.py torch                               # as many of PyTorch and safetensors
    python tests/sweep.py keras                               # as many of Keras
    python tests/sweep.py files --seed 7 --count 1000000
    python tests/sweep.py files --seed 7 --index 4711         # one case again

`sweep_networks.py`, `sweep_files.py`, `sweep_torch.py` and `sweep_keras.py` say what a case is and
what must hold for it. Cases run in processes of their own, so that a crash or a hang is a failure
like any other. A failure is one line: the command that repeats it, and what was wrong. The exit
code is 1 where there is one.
"""

import argparse
import collections
import importlib
import multiprocessing
import multiprocessing.connection
import os
import sys
import time
import warnings
from pathlib import Path

try:
    import resource
except ImportError:  # not POSIX
    resource = None

PARTS = {
    "networks": 2000,
    "files": 10_000,
    "torch": 10_000,
    "keras": 10_000,
}  # part -> cases by default
_PATIENCE = 120  # seconds for one case, after which it hangs
_MOST_FAILURES = 20  # after which the rest is not worth the time
_LONGEST = 300  # characters of a message
_ADDRESS_SPACE = 2 << 30  # bytes for all cases of a process, beside those that it has at first
_SIZES = Path("/proc/self/statm")  # where Linux has them, in pages

_context = multiprocessing.get_context("spawn")


def one_line(error):
    """An exception in one line that is not too long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def limit_address_space():
    """Refuse this process memory far beyond what it has, where that is known."""
    if resource is None or not _SIZES.exists():
        return
    own = int(_SIZES.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + _ADDRESS_SPACE, hard))


def serve(connection, part, seed):
    """What a worker does: a case for every index that it is sent."""
    warnings.simplefilter("error")
    check = importlib.import_module(f"sweep_{part}").check
    limit_address_space()
    while True:
        index = connection.recv()
        if index is None:
            return
        try:
            answer = check(seed, index), None
        except Exception as error:
            answer = None, one_line(error)
        connection.send(answer)


class Worker:
    """A process that runs one case after the other."""

    def __init__(self, part, seed):
        self.connection, theirs = _context.Pipe()
        self.process = _context.Process(target=serve, args=(theirs, part, seed), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is seen here

    def give(self, index):
        self.index, self.since = index, time.monotonic()
        self.connection.send(index)

    def answer(self):
        """(label, failure) of its case; call it once there is something to receive."""
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            return None, f"the process ended with {self.process.exitcode}"

    @property
    def hangs(self):
        return time.monotonic() - self.since > _PATIENCE

    def end(self):
        """End it, whatever it is at."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def run(part, seed, indices, jobs):
    """Yield (index, label, failure) of every case, in the order in which they end.

    Parameters
    ----------
    part : str
        Of `PARTS`.
    seed : int
    indices : iterable of int
    jobs : int
        Processes at a time.
    """
    indices, busy = iter(indices), []
    try:
        for _ in range(jobs):
            index = next(indices, None)
            if index is not None:
                busy.append(Worker(part, seed))
                busy[-1].give(index)
        while busy:
            ready = multiprocessing.connection.wait([w.connection for w in busy], timeout=1)
            for worker in list(busy):
                if worker.connection in ready:
                    label, failure = worker.answer()
                elif worker.hangs:
                    label, failure = None, f"no end after {_PATIENCE} s"
                else:
                    continue
                yield worker.index, label, failure
                index = next(indices, None)
                if index is None or failure is not None:  # a failure may have left anything behind
                    busy.remove(worker)
                    worker.end()
                    if index is None:
                        continue
                    worker = Worker(part, seed)
                    busy.append(worker)
                worker.give(index)
    finally:
        for worker in busy:
            worker.end()


def main(arguments=None):
    """Run a part; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: %(default)s)")
    parser.add_argument("--count", type=int, help=f"number of cases (default: {PARTS})")
    parser.add_argument("--index", type=int, help="run this case alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    arguments = parser.parse_args(arguments)
    part, seed = arguments.part, arguments.seed
    count = PARTS[part] if arguments.count is None else arguments.count
    indices = range(count) if arguments.index is None else [arguments.index]

    start, labels, failures = time.monotonic(), collections.Counter(), 0
    for index, label, failure in run(part, seed, indices, arguments.jobs):
        if failure is None:
            labels[label] += 1
            continue
        failures += 1
        print(f"python tests/sweep.py {part} --seed {seed} --index {index}: {failure}", flush=True)
        if failures == _MOST_FAILURES:
            print(f"{failures} failures, the rest is left out")
            break
    kinds = ", ".join(f"{number} {label}" for label, number in sorted(labels.items()))
    seconds = time.monotonic() - start
    print(f"{part}, seed {seed}: {kinds or 'none held'}; {failures} failed ({seconds:.0f} s)")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

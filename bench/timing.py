"""Candidates in processes of their own, timed in turn.

Each candidate lives in its own process, so that no library's threads, allocator or environment
reaches another. Times are taken in rounds: every candidate has its turn in every round, so that
whatever else the machine does falls on all of them alike. Only ratios within one run mean anything.
"""

import contextlib
import gc
import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
from cases import STEP, Problem, problem
from machine import Peak
from peers import NumPy, UnsupportedError

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the largest element of each array
CHECKED_STEPS = 8
SAMPLE_SECONDS = 200e-6  # short calls are timed several at a time


class CandidateError(Exception):
    """A candidate could not be started, or gave up on a case."""


def environment(threads):
    """What the libraries read when they are imported."""
    flags = "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false")
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    counts = {f"{name}_NUM_THREADS": str(threads) for name in names}
    others = {"NPROC": str(threads), "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "2"}
    # 2^22 ticks, 2 ms: by default OpenBLAS's threads spin 100 ms into the others' turns.
    return {**counts, **others, "OPENBLAS_THREAD_TIMEOUT": "22"}


def _serve(connection, factory, threads):
    """The candidate's process: answers requests until told to stop."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    adapter = run = None
    while True:
        request, *arguments = connection.recv()
        try:
            if request == "start":
                adapter = factory(threads)
                answer = adapter.version()
            elif request == "prepare":
                run = None
                run, answer = _prepare(adapter, *arguments)
            elif request == "fit":
                run = adapter.prepare(*arguments)
                answer = run()
            elif request == "rows":
                answer = adapter.rows(*arguments)
            elif request == "time":
                answer = sample(run, *arguments)
            elif request == "stop":
                return
            connection.send(("done", answer))
        except UnsupportedError as error:
            connection.send(("unsupported", str(error)))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))


def _prepare(adapter, case):
    run, read = adapter.prepare(case, problem(case))
    if read is None:
        return run, adapter.flops(case.dtype)
    answer = results(run, read, case)
    run()  # the second call may make the room that the first has found wanting
    return run, answer


def results(run, read, case):
    """What is compared with the reference: one call's arrays, or the first outputs of a stream."""
    if case.work == STEP:
        return {"y": np.array([read(run())["y"] for _ in range(CHECKED_STEPS)])}
    return {k: np.ascontiguousarray(v) for k, v in read(run()).items()}


def reference(case):
    """The same results from the hand-written NumPy loop in float64."""
    given = vars(problem(case)).items()
    exact = Problem(**{k: None if v is None else v.astype("float64") for k, v in given})
    case = replace(case, dtype="float64")
    return results(*NumPy(1).prepare(case, exact), case)


def sample(run, seconds):
    """Seconds per call, each over a stretch of at least `SAMPLE_SECONDS`, for `seconds` in all."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        if first > seconds:
            return [first]
        calls = max(1, round(SAMPLE_SECONDS / max(first, 1e-9)))
        samples, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(calls):
                run()
            samples.append((time.perf_counter() - start) / calls)
        return samples
    finally:
        gc.enable()


class Candidate:
    def __init__(self, factory, threads):
        spawn = multiprocessing.get_context("spawn")
        self.connection, outer = spawn.Pipe()
        saved = dict(os.environ)
        os.environ.update(environment(threads))
        try:
            self.process = spawn.Process(target=_serve, args=(outer, factory, threads), daemon=True)
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(saved)
        outer.close()
        self.connection.send(("start",))

    def receive(self):
        try:
            status, answer = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise CandidateError(f"process ended with code {self.process.exitcode}") from None
        if status != "done":
            raise CandidateError(answer)
        return answer

    def ask(self, *request):
        try:
            self.connection.send(request)
        except ConnectionError:
            raise CandidateError("process has ended") from None
        return self.receive()

    def stop(self):
        with contextlib.suppress(ConnectionError):
            self.connection.send(("stop",))
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()


def start(factories, threads):
    """{name: candidate} and {name: version} of those that start, {name: why not} of the others."""
    candidates = {f.name: Candidate(f, threads) for f in factories}
    versions, missing = {}, {}
    for name, candidate in candidates.items():
        try:
            versions[name] = candidate.receive()
        except CandidateError as error:
            missing[name] = str(error)
            candidate.stop()
    return {name: candidates[name] for name in versions}, versions, missing


def error_of(answer, exact, dtype):
    """Largest error relative to each array's largest element; which array has it."""
    errors = {}
    for key, value in exact.items():
        if answer[key].shape != value.shape:
            return np.inf, key
        errors[key] = float(np.abs(answer[key] - value).max() / np.abs(value).max())
    worst = max(errors, key=lambda k: np.nan_to_num(errors[k], nan=np.inf))
    return np.nan_to_num(errors[worst], nan=np.inf), worst


def interleave(candidates, seconds, rounds, pause):
    """{name: samples}; who is far behind after the first round gets no further turn."""
    samples = {name: [] for name in candidates}
    for k in range(rounds):
        best = min((np.median(s) for n, s in samples.items() if s and n != Peak.name), default=0)
        for name, candidate in candidates.items():
            if k and name != Peak.name and np.median(samples[name]) > 4 * best:
                continue
            time.sleep(pause)
            samples[name] += candidate.ask("time", seconds)
    return samples


def summary(samples):
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return {
        "median": middle,
        "quartiles": [low, high],
        "min": min(samples),
        "samples": len(samples),
    }


def measure(candidates, case, *, seconds, rounds, pause):
    """Check every candidate's results, then time those that passed. A dict for the JSON file."""
    exact = reference(case)
    errors, refused, taking_part, flops = {}, {}, {}, None
    for name, candidate in candidates.items():
        try:
            answer = candidate.ask("prepare", case)
        except CandidateError as error:
            refused[name] = str(error)
            continue
        if name == Peak.name:
            flops = answer
        else:
            errors[name], worst = error_of(answer, exact, case.dtype)
            if not errors[name] <= TOLERANCE[case.dtype]:
                refused[name] = f"wrong {worst}: off by {errors[name]:.1e} of its largest element"
                continue
        taking_part[name] = candidate
    samples = interleave(taking_part, seconds, rounds, pause)
    times = {name: summary(s) for name, s in samples.items()}
    peak = times.pop(Peak.name, None)
    return {
        "case": case.asdict(),
        "flops": case.flops,
        "times": times,
        "errors": errors,
        "refused": refused,
        "peak": peak and flops / peak["median"],
    }

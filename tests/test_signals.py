"""A long call lets the handlers of signals run, and ends when one raises, as that of Ctrl-C does.

Each case has a process of its own, in which a thread sends a signal every few milliseconds. The
handler raises when it runs for the second time at one and the same instruction of Python: it has
run within a call of a kernel, and that call has ended before its time. Nothing is timed: where
nobody answers, nobody raises, and the call goes on for minutes, or as long as there is memory for.
"""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import _thread, os, signal, sys, threading
import numpy as np
import lstmcore as lc
from lstmcore._dispatch import kernels

class Interrupted(Exception):
    pass

def interrupted(call):
    place, over = [None], threading.Event()
    def handler(signum, frame):
        before, place[0] = place[0], (frame, frame.f_lasti)
        if before and before[0] is frame and before[1] == frame.f_lasti:
            assert np.float64(1e-310) * np.float64(0.5) > 0  # denormals are not flushed in here
            raise Interrupted
    def send():
        while not over.wait(0.02):
            _thread.interrupt_main()
    sender = threading.Thread(target=send)
    signal.signal(signal.SIGINT, handler)
    sender.start()
    try:
        call()
        return False
    except Interrupted:
        return True
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        over.set()
        sender.join()

def zeros(*shape):
    return np.zeros(shape)  # pages that nobody writes to take no memory

def same_bits(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
"""


def run(program, *args):
    command = [sys.executable, "-c", PROGRAM + program, *map(str, args)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # for weights that are orthogonal
    subprocess.run(command, env=environment, timeout=120, check=True)


# What is called for long, then for a short time with the same objects.
NETWORK = """
B, n_threads = map(int, sys.argv[1:])
net = lc.Network({layers}, readout="{readout}", seed=0)
X = np.linspace(-1, 1, 3 * 7).reshape(3, 7, 1)
def short():
    y = net.predict(X)
    return y, net.predict(list(X)), *net.loss_and_grad(X, zeros(*y.shape))
"""
FUNCTION = """
B, n_threads = map(int, sys.argv[1:])
W, R, b = zeros(2048, 1) + 0.1, zeros(2048, 512) - 0.01, zeros(2048) + 0.2
def short():
    h, (hT, cT), tape = lc.lstm_forward(zeros(3, 7, 1) + 0.5, W, R, b)
    return h, hT, cT, *lc.lstm_backward(h, tape).values()
"""
STACK = "[lc.LSTM(1, 32), lc.LSTM(32, 512), lc.Dense(512, 1)]"
BOTH = "[lc.LSTM(1, 512, bidirectional=True), lc.Dense(1024, 1)]"
GRU = "[lc.GRU(1, 512), lc.Dense(512, 1)]"
CALLS = {
    "predict": (
        NETWORK.format(layers=STACK, readout="all"),
        "net.predict(zeros(B, 200_000 // B, 1), n_threads=n_threads)",
    ),
    "predict, a list": (
        NETWORK.format(layers=GRU, readout="last"),
        "net.predict(list(zeros(B, 2_000_000 // B, 1)), n_threads=n_threads)",
    ),
    "predict, both directions": (
        NETWORK.format(layers=BOTH, readout="mean"),
        "net.predict(zeros(B, 100_000 // B, 1), [100_000 // B] * (B - 1) + [99_000 // B], "
        "n_threads=n_threads)",
    ),
    "loss_and_grad": (
        NETWORK.format(layers=STACK, readout="all"),
        "X = zeros(B, 40_000 // B, 1); net.loss_and_grad(X, X, n_threads=n_threads)",
    ),
    "loss_and_grad, checkpoints": (
        NETWORK.format(layers=GRU, readout="last"),
        "net.loss_and_grad(\n"
        "    zeros(B, 500_000 // B, 1), zeros(B, 1), checkpoint=50_000 // B, n_threads=n_threads)",
    ),
    "lstm_forward": (
        FUNCTION,
        "lc.lstm_forward(zeros(B, 200_000 // B, 1), W, R, b, save=False, n_threads=n_threads)",
    ),
}
ENDS_TWICE = """
expected = short()
for _ in range(2):
    assert interrupted(long)
    assert same_bits(short(), expected)
"""


# Two threads share the units of a single sequence, and the sequences of many.
@pytest.mark.parametrize("B", [1, 32])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_ended_leaves_all_as_it_was(call, n_threads, B):
    program, long = CALLS[call]
    run(f"{program}\ndef long():\n    {long}\n{ENDS_TWICE}", B, n_threads)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_generation_ends_between_two_steps(loss):
    program = f"""
layers = [lc.LSTM(50, 64, tokens={loss == "cross_entropy"}), lc.Dense(64, 50)]
net = lc.Network(layers, "{loss}", dtype="float32", seed=0)
start = 0 if net.takes_tokens else np.ones(50)
expected = net.generate(start, 20, rng=0)
for _ in range(2):
    assert interrupted(lambda: net.generate(start, 2_000_000, rng=0))
    assert same_bits(net.generate(start, 20, rng=0), expected)
"""
    run(program)


KERNEL = """
from lstmcore.sequences import equal_lengths
cls, which, B, n_threads = *sys.argv[1:3], *map(int, sys.argv[3:])
H, T = 512, (40_000 if which == "backward" else 20_000_000) // B
layer = getattr(lc, cls)(1, H)
cell = layer.kernel_cell(np.dtype(float))
order, lengths, *_ = equal_lengths(B, T)
size, row, _ = kernels.sizes(cell)
assert kernels.shares_units(cell, B, n_threads) == (B == 1 and n_threads == 2)
last = tuple(np.full((B, H), np.nan) for _ in layer.states)
arguments = {
    "packed": zeros(size),
    "x": np.broadcast_to(0.0, (B, T, 1)),
    "order": order,
    "lengths": lengths,
    "scratch": zeros(kernels.scratch_size(cell, B, n_threads, True, False)),
    "t1": T,
    "n_threads": n_threads,
}
if which == "forward":
    assert interrupted(lambda: kernels.forward(cell, **arguments, final=last))
else:
    arguments |= {"tape": zeros(row * (B + B * T)), "grad": zeros(size)}
    assert interrupted(lambda: kernels.backward(cell, **arguments, dinitial=last))
assert np.isnan(last).all()
"""


@pytest.mark.parametrize("B", [1, 32])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize("cls", ["LSTM", "GRU"])
def test_a_kernel_ends_before_it_comes_to_the_states_that_are_last(cls, which, n_threads, B):
    run(KERNEL, cls, which, B, n_threads)


def test_handlers_that_return_change_no_bit():
    run(
        """
net = lc.Network([lc.LSTM(1, 512), lc.Dense(512, 1)], seed=0)
X = np.random.default_rng(0).normal(size=(4, 2000, 1))
expected = net.loss_and_grad(X, X)
signal.signal(signal.SIGINT, lambda *_: None)
over = threading.Event()
def send():
    while not over.wait(0.02):
        _thread.interrupt_main()
sender = threading.Thread(target=send)
sender.start()
for n_threads in (1, 2):
    assert same_bits(net.loss_and_grad(X, X, n_threads=n_threads), expected)
over.set()
sender.join()
"""
    )


def test_no_other_thread_than_the_main_one_ends_its_call():
    run(
        """
net = lc.Network([lc.LSTM(1, 512), lc.Dense(512, 1)], seed=0)
X = np.random.default_rng(0).normal(size=(4, 2000, 1))
expected, results = net.predict(X), []
worker = threading.Thread(target=lambda: results.append(net.predict(X)))
worker.start()
def spin():
    while True:
        pass
assert interrupted(spin)
worker.join()
assert same_bits(results, [expected])
"""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_the_thread_that_has_forked_is_the_main_one():
    run(
        """
net = lc.Network([lc.LSTM(1, 512), lc.Dense(512, 1)], readout="last", seed=0)
def fork():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = not interrupted(lambda: net.predict(zeros(1, 2_000_000, 1)))
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
codes = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert codes == [0]
"""
    )

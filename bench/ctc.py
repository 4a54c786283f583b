"""The CTC loss and its gradient against PyTorch's, and against the recurrence that they follow.

    python bench/ctc.py

Pre-activations in, each sequence's loss and the derivative out, on one thread; PyTorch's is
`log_softmax`, `ctc_loss` and what autograd makes of them, with "ctc_loss alone" from logarithms of
probabilities to their derivative. Results are checked first. All take turns, in processor time. The
recurrence is an LSTM of 16 inputs and 64 units, forward and BPTT, in one direction.
"""

import argparse
import time

import numpy as np
import torch

import lstmcore as lc
from lstmcore.losses import CTC, LabelTargets

SHAPES = ((150, 32, 30, 20), (800, 8, 80, 60))
I, H = 16, 64


def problem(T, B, K, U, dtype):
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, K)).astype(dtype), rng.integers(1, K, size=(B, U))


def by_lstmcore(a, labels):
    """As a network calls it: rows in place, targets that have been prepared."""
    B, T, K = a.shape
    loss, lengths, weights = CTC(), np.full(B, T), np.ones(B)
    targets = LabelTargets(labels.ravel(), np.arange(B + 1) * labels.shape[1], lengths)

    def run():
        value, delta = loss.value_and_delta(
            a.reshape(-1, K).copy(), targets, weights, lengths, n_threads=1
        )
        return value, delta.reshape(a.shape)

    return run


def by_torch(a, labels, alone=False):
    B, T, _ = a.shape
    x = torch.tensor(np.ascontiguousarray(a.swapaxes(0, 1)))
    x = (x.log_softmax(-1) if alone else x).requires_grad_()
    labels = torch.tensor(labels)
    sizes = torch.full((B,), T), torch.full((B,), labels.shape[1])

    def run():
        x.grad = None
        ln_y = x if alone else x.log_softmax(-1)
        value = torch.nn.functional.ctc_loss(ln_y, labels, *sizes, reduction="sum")
        value.backward()
        return value.item(), x.grad.numpy().swapaxes(0, 1)

    return run


def recurrence(a):
    B, T, _ = a.shape
    net = lc.Network([lc.LSTM(I, H)], dtype=a.dtype.name, seed=0)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(B, T, I)).astype(a.dtype)
    dy = rng.normal(size=(B, T, H)).astype(a.dtype)
    return lambda: net.vjp(x, dy, n_threads=1)


def difference(run, exact):
    """Of the value, relative, or of the derivative, whichever is larger."""
    (value, delta), (other_value, other_delta) = run(), exact()
    return max(abs(value / other_value - 1), np.abs(delta - other_delta).max())


def in_turn(runs, rounds):
    """Median processor seconds of each."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: float(np.median(s)) for name, s in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    lc.show_config()
    print(f"torch          {torch.__version__}\n")
    print("Milliseconds; differences from PyTorch's float64. alone: ctc_loss without log_softmax")
    head = "  ratio  alone  ratio  recurrence  share"
    print(f"{'(T, B, K, U)':29}{'lstmcore':>18}{'PyTorch':>18}" + head)
    for shape in SHAPES:
        for dtype, limit in (("float32", 1e-6), ("float64", 1e-10)):
            a, labels = problem(*shape, dtype)
            runs = {
                "mine": by_lstmcore(a, labels),
                "torch": by_torch(a, labels),
                "alone": by_torch(a, labels, alone=True),
                "recurrence": recurrence(a),
            }
            exact = by_torch(a.astype(float), labels)
            errors = [difference(runs[name], exact) for name in ("mine", "torch")]
            if not errors[0] < limit:
                raise SystemExit(f"{shape} {dtype}: a difference of {errors[0]:.1e}")
            t = {name: 1e3 * s for name, s in in_turn(runs, rounds).items()}
            mine = t["mine"]
            print(
                f"{shape!s:20} {dtype:8}{mine:8.2f} {errors[0]:9.0e}{t['torch']:8.2f} "
                f"{errors[1]:9.0e} {t['torch'] / mine:6.1f} {t['alone']:6.1f} "
                f"{t['alone'] / mine:6.1f} {t['recurrence']:11.2f} {mine / t['recurrence']:6.2f}"
            )


if __name__ == "__main__":
    main()

"""What a generated token costs: `Network.generate`, the bare step, and loops in Python.

    python bench/generate.py [rounds]

An LSTM of tokens and a dense layer with softmax outputs, one sequence. "step" is the step from C
through the table of functions, its softmax included, of the tokens that were generated: what
`generate` adds to it are the draws. "stream" is a loop in Python over `net.stream` and the loss's
own `sample`; "torch" is one over PyTorch's LSTM and `multinomial`, with the same weights, where
PyTorch is installed. Text is compared before anything is timed. All take turns, each round; what is
shown is the least CPU time of a token in any round, in microseconds.
"""

import sys
import time

import numpy as np
from step import build, from_c

import lstmcore as lc

CASES = (  # units, vocabulary, dtype
    (64, 64, "float32"),
    (128, 64, "float32"),
    (128, 64, "float64"),
    (256, 64, "float32"),
    (128, 1000, "float32"),
)
STEPS = 4000
IN_PYTHON = 200
CHECKED = 20  # beyond it, rounding grows in the recurrence


def network(H, V, dtype):
    layers = [lc.LSTM(V, H, tokens=True), lc.Dense(H, V)]
    net = lc.Network(layers, "cross_entropy", dtype=dtype, seed=0)
    net.params[...] *= 2
    return net


def timed(call, steps):
    """A function that gives the seconds of a token."""

    def measure():
        start = time.thread_time()
        call(steps)
        return (time.thread_time() - start) / steps

    return measure


def by_stream(net):
    stream, loss = net.stream(), lc.losses.CrossEntropy()

    def text(steps):
        stream.reset()
        rng, token, drawn = np.random.default_rng(0), np.zeros(1, np.intp), []
        for _ in range(steps):
            token = loss.sample(stream(token), rng)
            drawn.append(token[0])
        return drawn

    return text


def by_torch(net):
    """The same network in PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    V, H = net.input_size, net.layers[0].hidden_size
    module = torch.nn.Sequential(torch.nn.LSTM(V, H, batch_first=True), torch.nn.Linear(H, V))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    module.to(getattr(torch, net.dtype.name))
    lstm, dense = module
    with torch.no_grad():
        for name, block in zip(names, ("0.W", "0.R", "0.b"), strict=True):
            getattr(lstm, name).copy_(torch.from_numpy(net.blocks[block].copy()))
        lstm.bias_hh_l0.zero_()
        dense.weight.copy_(torch.from_numpy(net.blocks["1.W"].copy()))
        dense.bias.copy_(torch.from_numpy(net.blocks["1.b"].copy()))
    one_hot = torch.eye(V, dtype=dense.weight.dtype)

    def text(steps, tokens=None):
        """Draws; or with tokens, the probabilities after each."""
        state, token, results = None, 0, []
        with torch.no_grad():
            for t in range(steps):
                token = token if tokens is None else int(tokens[t])
                y, state = lstm(one_hot[token].view(1, 1, V), state)
                y = torch.softmax(dense(y[0, 0]), 0)
                token = int(torch.multinomial(y, 1))
                results.append(token if tokens is None else y.numpy())
        return np.array(results)

    return text


def ways_of(library, net):
    """Functions that give the seconds of a token, by name, and whose text has been compared."""
    text = net.generate(0, STEPS, rng=0)
    loop, other = by_stream(net), by_torch(net)
    assert loop(IN_PYTHON) == text[:IN_PYTHON].tolist(), "texts differ"
    tokens = np.append(0, text[:-1])
    y = np.empty((STEPS, net.output_size), net.dtype)
    ways = {
        "step": from_c(library, net.stream(), tokens, y, 1),
        "generate": timed(lambda n: net.generate(0, n, rng=0), STEPS),
        "temperature": timed(lambda n: net.generate(0, n, rng=0, temperature=0.8), STEPS),
        "top_k": timed(lambda n: net.generate(0, n, rng=0, top_k=10), STEPS),
        "n=8": timed(lambda n: net.generate(0, n // 8, rng=0, n=8), STEPS),
        "stream": timed(loop, IN_PYTHON),
    }
    if other is not None:
        wanted = net.predict(tokens[None, :CHECKED])[0]
        assert np.allclose(other(CHECKED, tokens), wanted, atol=1e-5), "outputs differ"
        ways["torch"] = timed(other, IN_PYTHON)
    return ways


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    library = build()
    lc.show_config()
    names = ("step", "generate", "over the step", "temperature", "top_k", "n=8", "stream", "torch")
    print("\nmicroseconds of CPU time a token")
    print("| H | V | dtype | " + " | ".join(names) + " |")
    print("| --- | --- | --- |" + " ---: |" * len(names))
    for H, V, dtype in CASES:
        ways = ways_of(library, network(H, V, dtype))
        times = [{name: way() for name, way in ways.items()} for _ in range(rounds)]
        best = {name: 1e6 * min(each[name] for each in times) for name in ways}
        cells = {name: f"{value:.2f}" for name, value in best.items()}
        cells["over the step"] = f"{best['generate'] / best['step'] - 1:+.0%}"
        row = " | ".join(cells.get(name, "") for name in names)
        print(f"| {H} | {V} | {dtype} | {row} |", flush=True)


if __name__ == "__main__":
    main()

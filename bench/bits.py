"""A digest of every result: whether two builds, or two versions of the code, give the same bits.

    LSTMCORE_ISA=avx2 python bench/bits.py > before.txt
    LSTMCORE_ISA=avx2 python bench/bits.py --against before.txt

A line is "name digest", one for each array: outputs, states, losses and gradients of every layer,
variant, dtype, readout and loss; unequal lengths, tokens, checkpoints, streams, threads; texts; the
numbers of the exports and what the exported C computes, where there is a compiler. `--against`
names the lines that differ or are missing and then exits with 1; lines that only the new code has
are listed. Digests compare on one machine, with one NumPy and one C compiler.
"""

import argparse
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import lstmcore as lc

DTYPES = ("float64", "float32")
INPUTS = 3
LENGTHS = (7, 0, 4, 1, 9)
ACTIVATIONS = (
    "identity",
    "logistic",
    "tanh",
    "relu",
    "logistic_1",
    "logistic_2",
    "softsign",
    "softplus",
    ("elu", 0.7),
    ("leaky_relu", 0.15),
    ("hard_sigmoid", 0.3, 0.4),
    ("scaled_tanh", 1.3, 0.6),
    ("thresholded_relu", 0.1),
    ("affine", 0.8, 0.1),
)
# Variants of the LSTM: name -> (units, options).
LSTMS = {
    "plain": (17, {}),
    "one unit": (1, {}),
    "peepholes": (13, {"peepholes": True}),
    "no input gate": (9, {"peepholes": True, "input_gate": False}),
    "no forget gate": (9, {"peepholes": True, "forget_gate": False}),
    "no output gate": (9, {"peepholes": True, "output_gate": False}),
    "no gates": (9, {"input_gate": False, "forget_gate": False, "output_gate": False}),
    "coupled": (11, {"peepholes": True, "coupled": True}),
    "gate recurrence": (10, {"peepholes": True, "gate_recurrence": True}),
    "gate recurrence, coupled": (7, {"coupled": True, "gate_recurrence": True}),
    "blocks": (12, {"block_size": 3, "peepholes": True}),
    "blocks, gate recurrence": (20, {"block_size": 4, "peepholes": True, "gate_recurrence": True}),
    "no squashing": (8, {"cell_activation": "identity", "output_activation": "identity"}),
}
# Options that older code does not have; it has a digest less.
if "output_peephole" in inspect.signature(lc.LSTM).parameters:
    LSTMS |= {
        "output gate peeps before": (13, {"peepholes": True, "output_peephole": "before"}),
        "output gate does not peep": (13, {"peepholes": True, "output_peephole": None}),
        "blocks, output gate peeps before": (
            12,
            {"block_size": 3, "peepholes": True, "output_peephole": "before"},
        ),
    }
# Variants of the GRU: name -> (units, options).
GRUS = {
    "plain": (17, {}),
    "one unit": (1, {}),
    "reverse": (9, {"direction": "reverse"}),
    "learned states": (7, {"learn_initial_state": True}),
    "bidirectional": (18, {"bidirectional": True, "learn_initial_state": True}),
    "no squashing": (8, {"cell_activation": "identity"}),
}
RESETS = {"reset after": {"reset_after": True}, "reset before": {"reset_after": False}}
LOSSES = ("squared_error", "cross_entropy", "binary_cross_entropy")
READOUTS = ("all", "last", "mean")
CHOICES = ("max", "last_step")  # readouts that choose a step
# What asks for tokens; older code took all integers with an axis less for them.
TOKENS = {"tokens": True} if "tokens" in inspect.signature(lc.LSTM).parameters else {}


class Digests(dict):
    """name -> digest"""

    def add(self, name, value):
        """Digest an array or a number, or each of a tuple, a list or a dict."""
        if isinstance(value, dict):
            for key, entry in value.items():
                self.add(f"{name}/{key}", entry)
        elif isinstance(value, (tuple, list)):
            for k, entry in enumerate(value):
                self.add(f"{name}/{k}", entry)
        else:
            name, array = name.replace(" ", "_"), np.ascontiguousarray(value)
            if name in self:
                raise ValueError(f"name: expected a new one, got {name!r} again")
            if not np.isfinite(array).all():  # which would hide what it was computed from
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
            text = f"{array.dtype.str}{np.shape(value)}".encode()
            self[name] = hashlib.sha256(text + array.tobytes()).hexdigest()[:16]


def generator(name):
    """Numbers that depend on the name alone, so that a new case changes no other."""
    return np.random.default_rng(list(name.encode()))


def mask(shape):
    return np.arange(shape[0] * shape[1]).reshape(shape) % 3 != 1


def networks():
    """name -> layers, with INPUTS features or tokens in and any number out."""
    LSTM, GRU, RNN, Dense = lc.LSTM, lc.GRU, lc.RNN, lc.Dense
    nets = {f"lstm, {name}": [LSTM(INPUTS, H, **kw)] for name, (H, kw) in LSTMS.items()}
    for activation in ACTIVATIONS:
        name = activation if isinstance(activation, str) else activation[0]
        nets |= {
            f"lstm, gate {name}": [LSTM(INPUTS, 5, gate_activation=activation, peepholes=True)],
            f"lstm, cell {name}": [LSTM(INPUTS, 5, cell_activation=activation)],
            f"lstm, output {name}": [LSTM(INPUTS, 5, output_activation=activation)],
            f"rnn, {name}": [RNN(INPUTS, 19, activation=activation)],
            f"dense, {name}": [RNN(INPUTS, 3), Dense(3, 6, activation=activation)],
        }
        for reset, kw in RESETS.items():
            nets |= {
                f"gru, {reset}, gate {name}": [GRU(INPUTS, 5, gate_activation=activation, **kw)],
                f"gru, {reset}, cell {name}": [GRU(INPUTS, 5, cell_activation=activation, **kw)],
            }
    for reset, kw in RESETS.items():
        for name, (H, options) in GRUS.items():
            nets[f"gru, {reset}, {name}"] = [GRU(INPUTS, H, **options, **kw)]
        masks = {"W_mask": mask((18, INPUTS)), "R_mask": mask((18, 6))}
        nets |= {
            f"gru, {reset}, masks": [GRU(INPUTS, 6, **masks, **kw)],
            f"gru, {reset}, stack": [GRU(INPUTS, 21, **kw), LSTM(21, 5), GRU(5, 9), Dense(9, 3)],
        }
    return nets | {
        "lstm, learned states": [
            LSTM(INPUTS, 6, learn_initial_state=True, gate_recurrence=True),
            Dense(6, 2),
        ],
        "rnn, learned states": [RNN(INPUTS, 7, learn_initial_state=True), Dense(7, 1)],
        "lstm, masks": [LSTM(INPUTS, 6, W_mask=mask((24, INPUTS)), R_mask=mask((24, 6)))],
        "rnn, masks, bidirectional": [
            RNN(INPUTS, 6, bidirectional=True, W_mask=mask((6, INPUTS)), R_mask=mask((6, 6))),
        ],
        "lstm, bidirectional": [LSTM(INPUTS, 5, bidirectional=True), Dense(10, 3)],
        "lstm, bidirectional, learned states": [
            LSTM(
                INPUTS,
                9,
                bidirectional=True,
                peepholes=True,
                gate_recurrence=True,
                learn_initial_state=True,
            ),
        ],
        "rnn, bidirectional": [
            RNN(INPUTS, 18, bidirectional=True, learn_initial_state=True),
            Dense(36, 2),
        ],
        "stack": [
            Dense(INPUTS, 4, activation="elu"),
            LSTM(4, 5, peepholes=True),
            RNN(5, 6),
            LSTM(6, 33),
            Dense(33, 7, activation="tanh"),
            Dense(7, 3),
        ],
        "stack, bidirectional": [
            LSTM(INPUTS, 5, bidirectional=True),
            Dense(10, 4, activation="tanh"),
            RNN(4, 3, bidirectional=True),
            LSTM(6, 4, coupled=True),
            Dense(4, 2),
        ],
    }


def make_network(name, layers, loss, readout, dtype):
    net = lc.Network(layers, loss=loss, readout=readout, dtype=dtype, seed=0)
    widest = max(layer.hidden_size for layer in layers)
    scale = min(0.4, 2 / np.sqrt(widest))
    net.params[:] = generator(name).uniform(-scale, scale, net.params.size)
    return net


def taking_tokens(net):
    """The same network, of tokens."""
    if not TOKENS:
        return net
    first, *others = net.layers
    first = type(first)(**first.options | TOKENS)
    other = lc.Network(**net.options | {"layers": [first, *others]})
    other.params = net.params
    return other


def make_targets(rng, net, shape):
    K = net.output_size
    if net.loss_name == "cross_entropy":
        return rng.integers(0, K, shape)
    Y = rng.uniform(0, 1, (*shape, K))
    return Y if net.loss_name in ("binary_cross_entropy", "poisson") else 3 * Y - 1


def reads_ahead(layers):
    return any(layer.reads_ahead for layer in layers)


def of_networks(digests):
    """Small networks of every kind over few sequences of unequal lengths."""
    B, T = len(LENGTHS), max(LENGTHS)
    for name, layers in networks().items():
        rng = generator(f"{name}, data")
        X, tokens = rng.standard_normal((B, T, INPUTS)), rng.integers(0, INPUTS, (B, T))
        steps = rng.uniform(0, 1, (B, T)) < 0.7
        weight = rng.uniform(0, 2, B)
        for dtype in DTYPES:
            for loss in LOSSES:
                if loss == "cross_entropy" and layers[-1].output_size == 1:
                    continue  # refused: the softmax of one output is always 1
                for readout in READOUTS:
                    net = make_network(name, layers, loss, readout, dtype)
                    case = f"{name}/{dtype}/{readout}/{loss}"
                    Y = make_targets(rng, net, (B, T) if readout == "all" else (B,))
                    digests.add(f"{case}/predict", net.predict(X, LENGTHS))
                    digests.add(f"{case}/loss_and_grad", net.loss_and_grad(X, Y, LENGTHS))
                    digests.add(
                        f"{case}/loss_and_grad, weights",
                        taking_tokens(net).loss_and_grad(
                            tokens,
                            Y,
                            mask=steps,
                            sample_weight=weight,
                            l2=0.1,
                            reduction="sum",
                        ),
                    )
                    digests.add(f"{case}/loss", net.loss(X, Y, LENGTHS))
            for readout in READOUTS:
                net = make_network(name, layers, "squared_error", readout, dtype)
                case = f"{name}/{dtype}/{readout}"
                digests.add(f"{case}/whole", net.predict(X))
                digests.add(f"{case}/tokens", taking_tokens(net).predict(tokens, mask=steps))
                if not reads_ahead(layers):
                    part, state = net.predict(X, (3, 2, 0, 1, 3), return_state=True)
                    digests.add(f"{case}/part", part)
                    digests.add(f"{case}/state", state)
                    digests.add(f"{case}/rest", net.predict(X, state=state, return_state=True))
                    some, state = X[:, :3], net.predict(X[:, :1], return_state=True)[1]
                    options = {"state": state, "return_state": True}
                    Y = make_targets(generator(case), net, net.predict(some).shape[:-1])
                    digests.add(f"{case}/from there", net.loss_and_grad(some, Y, **options))
                    options |= {"return_dX": True, "return_dstate": True}
                    digests.add(f"{case}/vjp", net.vjp(some, lambda y: y, **options))
                    steps_and_streams(digests, case, net, X, tokens)
        net = lc.Network(layers, seed=1)
        digests.add(f"{name}/start", net.params.copy())


def of_choices(digests):
    """The readouts that choose a step."""
    B, T = len(LENGTHS), max(LENGTHS)
    for name, layers in networks().items():
        rng = generator(f"{name}, choices")
        X = rng.standard_normal((B, T, INPUTS))
        for dtype in DTYPES:
            for readout in CHOICES:
                net = make_network(name, layers, "squared_error", readout, dtype)
                Y = make_targets(rng, net, (B,))
                case = f"{name}/{dtype}/{readout}"
                digests.add(f"{case}/predict", net.predict(X, LENGTHS))
                digests.add(f"{case}/loss_and_grad", net.loss_and_grad(X, Y, LENGTHS))


def of_counts_and_gaps(digests):
    """Exponential outputs, which not every network keeps finite; weights of outputs."""
    B, T, K = len(LENGTHS), max(LENGTHS), 3
    rng = generator("counts and gaps")
    X = rng.standard_normal((B, T, INPUTS))
    weights = rng.uniform(0, 2, (B, T, K)) * (rng.uniform(0, 1, (B, T, K)) < 0.7)
    for loss in ("poisson", "squared_error", "binary_cross_entropy", "huber", "quantile"):
        for dtype in DTYPES:
            for readout in ("all", "last"):
                layers = [lc.LSTM(INPUTS, 5), lc.Dense(5, K)]
                net = make_network("counts and gaps", layers, loss, readout, dtype)
                Y = make_targets(rng, net, (B, T) if readout == "all" else (B,))
                given = {"step_weight": weights}
                if readout == "last":
                    given = {"sample_weight": weights[:, 0]}
                case = f"counts and gaps/{dtype}/{readout}/{loss}"
                digests.add(f"{case}/loss_and_grad", net.loss_and_grad(X, Y, LENGTHS, **given))
                if loss == "poisson":
                    digests.add(f"{case}/whole", net.loss_and_grad(X, Y, LENGTHS))
                    digests.add(f"{case}/predict", net.predict(X, LENGTHS))
                    stream = net.stream(batch_size=B)
                    steps = np.stack([stream(X[:, t]) for t in range(T)])
                    digests.add(f"{case}/stream", steps)


def of_unsegmented_sequences(digests):
    """CTC, and what decoding makes of its outputs."""
    B, T, K = len(LENGTHS), max(LENGTHS), 5
    rng = generator("unsegmented")
    X = rng.standard_normal((B, T, INPUTS))
    Y = [rng.integers(1, K, n // 2) for n in LENGTHS]
    for dtype in DTYPES:
        layers = [lc.LSTM(INPUTS, 5, peepholes=True, bidirectional=True), lc.Dense(10, K)]
        net = make_network("unsegmented", layers, "ctc", "all", dtype)
        case = f"unsegmented/{dtype}"
        digests.add(f"{case}/loss_and_grad", net.loss_and_grad(X, Y, LENGTHS))
        found = lc.decode(net, X, LENGTHS, width=4)
        digests.add(f"{case}/decode", [result.score for result in found])
        found = lc.alignment(net, X, Y, LENGTHS)
        digests.add(f"{case}/alignment", np.concatenate([result.path for result in found]))


def steps_and_streams(digests, case, net, X, tokens):
    token, of_tokens = int(tokens[0, 0]), taking_tokens(net)
    y, state = net.step(X[:, 0])
    digests.add(f"{case}/step", (y, *net.step(X[:, 1], state)))
    digests.add(f"{case}/step, one token", of_tokens.step(token))
    stream = net.stream(batch_size=len(X))
    digests.add(f"{case}/stream", np.stack([stream(X[:, t]) for t in range(X.shape[1])]))
    digests.add(f"{case}/stream, state", stream.state)
    one = net.stream()
    digests.add(f"{case}/stream of one", np.stack([one(x) for x in X[0]]))
    by_token = of_tokens.stream()
    by_token.state = one.state
    digests.add(f"{case}/stream of one, token", by_token(token))


def cells():
    """name -> the layer that a function of arrays is to be."""
    made = {}
    for name, (H, options) in LSTMS.items():
        made[f"lstm, {name}"] = lc.LSTM(INPUTS, H, **options)
    for H in (150, 256, 330):
        made[f"lstm, {H} units"] = lc.LSTM(INPUTS, H, peepholes=True)
        made[f"rnn, {H} units"] = lc.RNN(INPUTS, H)
    for reset, kw in RESETS.items():
        for H in (1, 17, 34, 150, 256, 330):
            made[f"gru, {reset}, {H} units"] = lc.GRU(INPUTS, H, **kw)
        made[f"gru, {reset}, relu"] = lc.GRU(INPUTS, 21, cell_activation="relu", **kw)
    made["rnn, relu"] = lc.RNN(INPUTS, 21, activation="relu")
    made["rnn, tanh"] = lc.RNN(INPUTS, 34)
    return made


FUNCTIONS = {
    "LSTM": (lc.lstm_forward, lc.lstm_backward, ("h", "c")),
    "GRU": (lc.gru_forward, lc.gru_backward, ("h",)),
    "RNN": (lc.rnn_forward, lc.rnn_backward, ("h",)),
}


def of_functions(digests):
    """One layer, with the gradient of everything, and the threads' ways of sharing the work."""
    for name, layer in cells().items():
        rng = generator(name)
        forward, backward, states = FUNCTIONS[type(layer).__name__]
        H, scale = layer.hidden_size, min(0.6, 2 / np.sqrt(layer.hidden_size))
        blocks = {
            block.removeprefix("0."): rng.uniform(-scale, scale, values.shape)
            for block, values in lc.Network([layer]).blocks.items()
        }
        names = forward.__kwdefaults__.keys() & layer.options.keys()
        options = {key: layer.options[key] for key in names - TOKENS.keys()}
        for B, T in ((1, 12), (3, 9), (8, 5), (19, 4), (40, 3)):
            if H > 100 and B == 19:
                continue
            x, dh = rng.standard_normal((B, T, INPUTS)), rng.standard_normal((B, T, H))
            tokens = rng.integers(0, INPUTS, (B, T))
            lengths = rng.integers(0, T + 1, B)
            sizes = dict(zip(states, layer.state_sizes, strict=True))
            initial = {f"{s}0": rng.uniform(-1, 1, (B, size)) for s, size in sizes.items()}
            dfinal = {f"d{s}T": rng.uniform(-1, 1, (B, size)) for s, size in sizes.items()}
            given = {
                "whole": (x, {}),
                "lengths": (x, initial | {"lengths": lengths}),
                "tokens": (tokens, initial | TOKENS),
            }
            for dtype in DTYPES:
                arrays = {key: value.astype(dtype) for key, value in blocks.items()}
                for kind, (data, more) in given.items():
                    for n_threads in (1, 2):
                        case = f"{name}/{dtype}/{B}x{T}/{kind}/{n_threads}"
                        h, final, tape = forward(
                            data, **arrays, **options, **more, n_threads=n_threads
                        )
                        digests.add(f"{case}/h", h)
                        digests.add(f"{case}/final", final)
                        ends = {} if kind == "whole" else dfinal
                        gradients = backward(dh, tape, **ends, n_threads=n_threads)
                        digests.add(f"{case}/d", gradients)


def of_long_sequences(digests):
    """Several chunks of BPTT, checkpoints, and networks whose layers are wide."""
    layers = {
        "lstm": [lc.LSTM(INPUTS, 21, peepholes=True), lc.Dense(21, 2)],
        "rnn": [lc.RNN(INPUTS, 33), lc.Dense(33, 2)],
        "fgr": [lc.LSTM(INPUTS, 14, gate_recurrence=True), lc.RNN(14, 5), lc.Dense(5, 2)],
        "blstm": [lc.LSTM(INPUTS, 12, bidirectional=True), lc.Dense(24, 2)],
        "wide": [lc.LSTM(INPUTS, 130), lc.RNN(130, 90), lc.Dense(90, 2)],
        "wide, bidirectional": [lc.LSTM(INPUTS, 70, bidirectional=True, peepholes=True)],
        "gru, wide, bidirectional": [lc.GRU(INPUTS, 70, bidirectional=True)],
    }
    for reset, kw in RESETS.items():
        layers |= {
            f"gru, {reset}": [lc.GRU(INPUTS, 21, **kw), lc.Dense(21, 2)],
            f"gru, {reset}, wide": [lc.GRU(INPUTS, 130, **kw), lc.Dense(130, 2)],
        }
    for name, chain in layers.items():
        for B, T in ((1, 700), (4, 300), (40, 60)):
            rng = generator(f"{name}, {B}")
            X, lengths = rng.standard_normal((B, T, INPUTS)), rng.integers(1, T + 1, B)
            lengths[0] = T
            for dtype in DTYPES:
                for readout in READOUTS:
                    net = make_network(name, chain, "squared_error", readout, dtype)
                    Y = make_targets(rng, net, (B, T) if readout == "all" else (B,))
                    for checkpoint in (None, True, 50):
                        if checkpoint is not None and reads_ahead(chain):
                            continue
                        for n_threads in (1, 2):
                            digests.add(
                                f"long {name}/{dtype}/{readout}/{B}x{T}/{checkpoint}/{n_threads}",
                                net.loss_and_grad(
                                    X, Y, lengths, checkpoint=checkpoint, n_threads=n_threads
                                ),
                            )
                    case = f"long {name}/{dtype}/{readout}/{B}x{T}"
                    digests.add(f"{case}/predict", net.predict(X, n_threads=2))
                    if not reads_ahead(chain):
                        stream = net.stream(batch_size=B)
                        for t in range(12):
                            y = stream(X[:, t])
                        digests.add(f"{case}/stream", (y, stream.state))


def of_generation(digests):
    """Drawn texts, and numbers that are fed back."""
    V = 40
    for cell in (lc.LSTM, lc.GRU, lc.RNN):
        for dtype in DTYPES:
            layers = [cell(V, 33, tokens=True), lc.Dense(33, V)]
            net = make_network(f"{cell.__name__}, text", layers, "cross_entropy", "all", dtype)
            case = f"generate/{cell.__name__}/{dtype}"
            for options in ({}, {"temperature": 0.7, "top_k": 9}, {"temperature": 0}, {"stop": 3}):
                drawn = net.generate(0, 100, rng=0, n=3, return_log_prob=True, **options)
                digests.add(f"{case}/{options}", [np.concatenate(part) for part in drawn])
            layers = [cell(INPUTS, 20), lc.Dense(20, INPUTS)]
            for loss in ("squared_error", "binary_cross_entropy"):
                net = make_network(f"{cell.__name__}, numbers", layers, loss, "all", dtype)
                drawn, state = net.generate(None, 50, rng=0, n=3, return_state=True)
                digests.add(f"{case}/{loss}", (drawn, state))


def of_activations(digests):
    """Every activation from the smallest numbers to the largest that do not overflow."""
    positive = np.geomspace(1e-30, 1e4, 4001)
    x = np.concatenate([-positive[::-1], [0.0], positive, np.linspace(-20, 20, 4001)])
    for activation in ACTIVATIONS:
        for dtype in DTYPES:
            net = lc.Network([lc.Dense(1, 1, activation=activation)], dtype=dtype, seed=0)
            net.params[:] = 1, 0
            digests.add(f"activation/{activation}/{dtype}", net.predict(x.reshape(1, -1, 1)))
    for loss in LOSSES[1:]:
        for dtype in DTYPES:
            net = lc.Network([lc.Dense(1, 5)], loss=loss, dtype=dtype, seed=0)
            net.params[:] = np.arange(10) - 4
            digests.add(f"output/{loss}/{dtype}", net.predict(x.reshape(1, -1, 1) / 100))


def of_training(digests):
    """What SciPy is given, and where it goes."""
    for dtype in DTYPES:
        name = f"fit/{dtype}"
        rng = generator(name)
        net = make_network(
            name,
            [lc.LSTM(INPUTS, 6, peepholes=True), lc.Dense(6, 2)],
            "cross_entropy",
            "mean",
            dtype,
        )
        X, Y = rng.standard_normal((9, 12, INPUTS)), rng.integers(0, 2, 9)
        objective = lc.Objective(net, X, Y, l2=1e-3)
        theta = net.params.astype(np.float64)
        digests.add(f"{name}/objective", objective(theta))
        digests.add(f"{name}/fun", objective.fun(theta * 0.9))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)
            result = lc.fit(net, X, Y, method="L-BFGS-B", max_iter=4, l2=1e-3)
        digests.add(name, (result.fun, net.params.copy()))
        noise = {"weight_noise": 0.1, "input_noise": 0.1, "dropout": 0.2, "recurrent_dropout": 0.2}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)
            result = lc.fit(net, X, Y, method="adam", batch_size=4, max_epochs=3, seed=0, **noise)
        digests.add(f"{name}/noise", (result.fun, net.params.copy()))
        net = make_network(
            f"{name}, stretches",
            [lc.LSTM(INPUTS, 6), lc.Dense(6, 2)],
            "squared_error",
            "all",
            dtype,
        )
        options = {"truncate": 5, "batch_size": 4, "max_epochs": 3, "seed": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lc.ConvergenceWarning)
            result = lc.fit(net, X, X[..., :2], method="adam", **options)
        digests.add(f"{name}/stretches", (result.fun, result.state, net.params.copy()))


# ------------------------------------------------------------------------------- exports

EXPORTED = (
    "lstm, plain",
    "lstm, peepholes",
    "lstm, no forget gate",
    "lstm, coupled",
    "lstm, gate recurrence",
    "lstm, blocks, gate recurrence",
    "lstm, learned states",
    "lstm, cell softplus",
    "rnn, learned states",
    "rnn, relu",
    "stack",
    "lstm, bidirectional",
    "stack, bidirectional",
)
EXPORTED += tuple(
    f"gru, {reset}, {name}"
    for reset in RESETS
    for name in ("plain", "learned states", "reverse", "bidirectional", "cell softplus", "stack")
)
STEPS = 20
ARRAY = re.compile(r"static const \w+ \w+\[[^\]]*\]\s*=\s*\{([^}]*)\}")
PROGRAM = """
#include <stdio.h>
#include "bits.h"
int main(void)
{{
    static bits_state state;
    static double numbers[{steps} * {inputs}];
    static {real} x[{steps} * {inputs}], y[{steps} * {outputs}];
    size_t i;
    {buffer}
    for (i = 0; i < {steps} * {inputs}; i++) {{
        if (scanf("%lf", &numbers[i]) != 1) return 1;
        x[i] = ({real})numbers[i];
    }}
    bits_reset(&state);
    bits_sequence(&state, x, {steps}, y{argument});
    for (i = 0; i < {rows} * {outputs}; i++) printf("%a\\n", (double)y[i]);
    return 0;
}}
"""


def run_exported(folder, net, report, x):
    """Outputs of the exported program for one sequence."""
    has_buffer = report.buffer_bytes_per_step > 0
    signal = {"int8": "int16_t", "float32": "float", "float64": "double"}[report.dtype]
    program = PROGRAM.format(
        steps=len(x),
        inputs=net.input_size,
        outputs=net.output_size,
        real="double" if report.dtype == "float64" else "float",
        rows=len(x) if net.readout == "all" else 1,
        buffer=f"static {signal} buffer[BITS_BUFFER({len(x)})];" if has_buffer else "",
        argument=", buffer" if has_buffer else "",
    )
    Path(folder, "main.c").write_text(program)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [
            *compiler,
            "-std=c99",
            "-O1",
            "-DLSTMCORE_NO_FMA",
            "-ffp-contract=off",
            "main.c",
            "bits.c",
            "-o",
            "main",
        ],
        cwd=folder,
        check=True,
    )
    text = " ".join(float(value).hex() for value in x.ravel())
    done = subprocess.run(
        [str(Path(folder, "main"))], input=text, capture_output=True, text=True, check=True
    )
    return np.array([float.fromhex(line) for line in done.stdout.split()])


def of_exports(digests):
    """The numbers that exports consist of, by content, so that names are free to change."""
    has_compiler = shutil.which(os.environ.get("CC", "cc").split()[0]) is not None
    nets = networks()
    for k, name in enumerate(EXPORTED):
        loss, readout = LOSSES[k % 3], READOUTS[(k // 3 + k) % 3]
        net = make_network(name, nets[name], loss, readout, "float64")
        X = generator(f"{name}, export").standard_normal((4, STEPS, INPUTS))
        for dtype in ("float32", "float64", "int8"):
            case = f"export/{name}/{dtype}"
            with tempfile.TemporaryDirectory() as folder:
                report = lc.export_c(net, folder, "bits", dtype=dtype, data=X)
                text = "".join(
                    Path(folder, file).read_text() for file in ("bits.c", "bits_selftest.c")
                )
                arrays = sorted("".join(found.split()) for found in ARRAY.findall(text))
                digests.add(f"{case}/arrays", np.frombuffer("|".join(arrays).encode(), np.uint8))
                digests.add(f"{case}/error", report.error)
                digests.add(f"{case}/tolerance", report.tolerance)
                if has_compiler and dtype != "float64":
                    digests.add(f"{case}/C", run_exported(folder, net, report, X[0]))


def compute():
    digests = Digests()
    for part in (
        of_networks,
        of_choices,
        of_counts_and_gaps,
        of_unsegmented_sequences,
        of_functions,
        of_long_sequences,
        of_activations,
        of_generation,
        of_training,
        of_exports,
    ):
        part(digests)
    return digests


def compare(before, now):
    """Say what differs, and return whether something that was there is not as it was."""
    missing = [name for name in before if name not in now]
    added = [name for name in now if name not in before]
    differing = [name for name in before if name in now and before[name] != now[name]]
    for word, names in (("new", added), ("missing", missing), ("differs", differing)):
        for name in names:
            print(f"{word}: {name}")
    print(
        f"{len(before)} results before: {len(differing)} differ, {len(missing)} are missing; "
        f"{len(added)} are new"
    )
    return bool(missing or differing)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with its lines")
    before = parser.parse_args().against
    # Dense layers with an activation stand before every loss here, on purpose.
    warnings.filterwarnings("ignore", "layers.*its activation", UserWarning)
    now = compute()
    if before is None:
        for name, digest in now.items():
            print(name, digest)
        return
    lines = before.read_text().splitlines()
    if compare(dict(line.split(" ") for line in lines), now):
        sys.exit(1)


if __name__ == "__main__":
    main()

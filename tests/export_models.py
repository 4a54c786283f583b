"""Networks that together have every layer, variant, readout and output of an export."""

import numpy as np

import lstmcore as lc

INPUTS = 3


def networks():
    """name -> (layers, loss, readout)"""
    LSTM, GRU, RNN, Dense = lc.LSTM, lc.GRU, lc.RNN, lc.Dense
    squared, classes, labels = "squared_error", "cross_entropy", "binary_cross_entropy"
    return {
        "plain": ([LSTM(3, 16), Dense(16, 2)], squared, "all"),
        "vanilla": (
            [LSTM(3, 7, peepholes=True, learn_initial_state=True), Dense(7, 3)],
            classes,
            "last",
        ),
        "no_input_gate": ([LSTM(3, 8, peepholes=True, input_gate=False)], squared, "all"),
        "no_forget_gate": ([LSTM(3, 8, peepholes=True, forget_gate=False)], squared, "all"),
        "no_output_gate": ([LSTM(3, 8, peepholes=True, output_gate=False)], labels, "mean"),
        "no_gates": (
            [LSTM(3, 8, input_gate=False, forget_gate=False, output_gate=False)],
            squared,
            "last",
        ),
        "coupled": ([LSTM(3, 8, peepholes=True, coupled=True), Dense(8, 4)], labels, "all"),
        "full_recurrence": (
            [LSTM(3, 9, peepholes=True, gate_recurrence=True), Dense(9, 3)],
            classes,
            "mean",
        ),
        "blocks": (
            [LSTM(3, 12, block_size=3, peepholes=True, gate_recurrence=True)],
            squared,
            "all",
        ),
        "peeps_before": (
            [LSTM(3, 7, peepholes=True, output_peephole="before"), Dense(7, 3)],
            classes,
            "all",
        ),
        "peeps_before_only": (
            [
                LSTM(
                    3,
                    8,
                    block_size=2,
                    peepholes=True,
                    output_peephole="before",
                    input_gate=False,
                    forget_gate=False,
                )
            ],
            squared,
            "mean",
        ),
        "no_output_peephole": (
            [LSTM(3, 6, peepholes=True, output_peephole=None, coupled=True, gate_recurrence=True)],
            squared,
            "last",
        ),
        "activations": (
            [
                LSTM(
                    3,
                    33,
                    gate_activation="hard_sigmoid",
                    cell_activation="logistic_2",
                    output_activation="logistic_1",
                ),
                Dense(33, 5, activation="softplus"),
                Dense(5, 2, activation="softsign"),
            ],
            squared,
            "all",
        ),
        "no_squashing": (
            [LSTM(3, 8, cell_activation="identity", output_activation="identity"), Dense(8, 1)],
            squared,
            "all",
        ),
        "stack": (
            [
                Dense(3, 4, activation="elu"),
                LSTM(4, 5),
                RNN(5, 6, activation=("scaled_tanh", 1.7, 0.6), learn_initial_state=True),
                RNN(6, 5, activation="relu"),
                Dense(5, 3),
            ],
            squared,
            "all",
        ),
        "bidirectional": (
            [
                LSTM(3, 5, bidirectional=True, peepholes=True, learn_initial_state=True),
                Dense(10, 4, activation="leaky_relu"),
                RNN(4, 3, bidirectional=True),
                Dense(6, 3),
            ],
            classes,
            "last",
        ),
        "bidirectional_below": (
            [LSTM(3, 5, bidirectional=True, gate_recurrence=True), LSTM(10, 4), Dense(4, 2)],
            labels,
            "mean",
        ),
        "gru": ([GRU(3, 16), Dense(16, 2)], squared, "all"),
        "gru_reset_before": (
            [GRU(3, 9, reset_after=False, learn_initial_state=True), Dense(9, 3)],
            classes,
            "last",
        ),
        "gru_activations": (
            [
                GRU(3, 33, gate_activation="hard_sigmoid", cell_activation="softsign"),
                Dense(33, 2),
            ],
            squared,
            "mean",
        ),
        "gru_without_bounds": (
            [
                GRU(
                    3,
                    7,
                    gate_activation=("affine", 0.2, 0.5),
                    cell_activation="relu",
                    learn_initial_state=True,
                ),
                GRU(
                    7,
                    6,
                    gate_activation=("scaled_tanh", 0.9, 0.5),
                    cell_activation="logistic_2",
                    reset_after=False,
                ),
            ],
            squared,
            "all",
        ),
        "gru_bidirectional": (
            [
                GRU(3, 5, bidirectional=True, reset_after=False),
                LSTM(10, 4),
                GRU(4, 6, bidirectional=True, learn_initial_state=True),
                Dense(12, 3),
            ],
            classes,
            "last",
        ),
        "reverse": (
            [
                LSTM(3, 5, direction="reverse", learn_initial_state=True),
                Dense(5, 4, activation="elu"),
                RNN(4, 3),
                Dense(3, 6, activation="softsign"),
                Dense(6, 2),
            ],
            squared,
            "all",
        ),
        "reverse_last": (
            [
                GRU(3, 5),
                RNN(5, 4, direction="reverse", learn_initial_state=True),
                Dense(4, 2),
            ],
            labels,
            "last",
        ),
        "max": ([LSTM(3, 6), RNN(6, 5), Dense(5, 2)], squared, "max"),
        "bidirectional_max": (
            [GRU(3, 5, bidirectional=True, reset_after=False), Dense(10, 3)],
            classes,
            "max",
        ),
        "last_step": ([GRU(3, 6, learn_initial_state=True), Dense(6, 3)], classes, "last_step"),
        "bidirectional_last_step": (
            [
                LSTM(3, 5, bidirectional=True, learn_initial_state=True),
                Dense(10, 4, activation="elu"),
                Dense(4, 3),
            ],
            labels,
            "last_step",
        ),
        "reverse_last_step": (
            [RNN(3, 5, direction="reverse"), GRU(5, 4, direction="reverse")],
            squared,
            "last_step",
        ),
        "embedding": (
            [lc.Embedding(3, 6), LSTM(6, 5, peepholes=True), Dense(5, 3, bias=False)],
            classes,
            "all",
        ),
        "embedding_alone": ([lc.Embedding(3, 4)], squared, "all"),
        "tokens": (
            [GRU(3, 5, tokens=True), Dense(5, 4, bias=False, activation="elu")],
            squared,
            "max",
        ),
        "counts": ([GRU(3, 6), Dense(6, 3)], "poisson", "all"),
        "counts_last": ([LSTM(3, 5), RNN(5, 4)], "poisson", "last"),
        "density": ([LSTM(3, 6), Dense(6, 13)], lc.losses.Mixture(2, 2, True, True, 0.05), "all"),
        "density_last": ([LSTM(3, 15)], lc.losses.Mixture(3, 2), "last"),
        "dense": (
            [Dense(3, 70, activation=("thresholded_relu", 0.1)), Dense(70, 2)],
            squared,
            "all",
        ),
    }


def network(name):
    """One of them with weights that are neither small nor zero."""
    layers, loss, readout = networks()[name]
    net = lc.Network(layers, loss=loss, readout=readout, seed=1)
    net.params += 0.1 * np.random.default_rng(2).standard_normal(net.params.size)
    return net


def sequences(steps=40, count=170):
    """Inputs, enough to calibrate each of these networks in int8."""
    return np.random.default_rng(3).standard_normal((count, steps, INPUTS))

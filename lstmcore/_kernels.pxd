# What the kernels share with code outside: how a layer is described.

cdef enum:                  # kinds of layer
    DENSE = 0
    RNN = 1
    LSTM = 2

cdef enum:                  # activations; the names are in _activations.py
    IDENTITY = 0
    LOGISTIC = 1
    TANH = 2
    RELU = 3
    LOGISTIC_1 = 4
    LOGISTIC_2 = 5
    SOFTSIGN = 6
    SOFTPLUS = 7
    ELU = 8
    LEAKY_RELU = 9
    HARD_SIGMOID = 10
    SCALED_TANH = 11
    THRESHOLDED_RELU = 12
    AFFINE = 13
    EXP = 14                # not an activation of layers: for output units and accuracy tests


cdef struct Cell:
    # One direction of one layer, as layers.py describes it (a dict of the same keys).
    int kind
    Py_ssize_t inputs               # I
    Py_ssize_t units                # H
    Py_ssize_t block_size           # C cells share a block's gates
    int input_gate, forget_gate, output_gate
    int coupled                     # b_f = 1 - b_i
    int peepholes
    int gate_recurrence             # gates also read the gates' previous activations
    int act_gate, act_cell, act_output
    double alpha_gate, beta_gate, alpha_cell, beta_cell, alpha_output, beta_output


cdef struct Activation:
    int code
    double alpha, beta

# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""An extension outside lstmcore that works through `cimport lstmcore`."""

cimport lstmcore
from libc.string cimport memset

import numpy as np

cdef const lstmcore.Api* api = lstmcore.import_api()


def isa():
    return api.isa.decode()


def check(**changes):
    """What the table says of a peephole LSTM with changes in its description."""
    cdef lstmcore.Cell cell = lstmcore.lstm(2, 4)
    description = cell
    cell = {**description, **changes}
    cdef const char* wrong = api.check(&cell)
    return None if wrong == NULL else wrong.decode()


def check_sizes():
    """Bytes of a cell, and up to its last member."""
    cdef lstmcore.Cell cell
    return sizeof(cell), <char*>&cell.output_peephole - <char*>&cell


cdef unsigned char[::1] room(Py_ssize_t size):
    return np.zeros(size, np.uint8)


def forward_and_backward(
    double[:, ::1] W, double[:, ::1] R, double[::1] b, double[:, ::1] p, double[:, :, ::1] x,
    Py_ssize_t[::1] order, Py_ssize_t[::1] lengths, double[:, :, ::1] dy, int n_threads,
    Py_ssize_t[::1] first=None,
):
    """(y, dx, dW, dR, db, dp) of a peephole LSTM, everything between buffers and results nogil.

    With `first` x and dy are rows (1, N, ...) in which the sequences stand one after the other.
    """
    cdef Py_ssize_t B = lengths.shape[0], T = x.shape[1], I = x.shape[2], H = R.shape[1]
    cdef Py_ssize_t steps = 0, r, each = T if first is None else 1
    cdef lstmcore.Cell cell = lstmcore.lstm(I, H)
    cdef const lstmcore.Layer* layer
    cdef lstmcore.Sequences s
    cdef void* blocks[lstmcore.MOST_BLOCKS]
    cdef void* gradients[lstmcore.MOST_BLOCKS]
    cell.peepholes = 1
    for r in range(B):
        steps += lengths[r]
    cdef unsigned char[::1] memory = room(api.layer_bytes(&cell, lstmcore.FLOAT64))
    blocks[:5] = [&W[0, 0], &R[0, 0], &b[0], &p[0, 0], NULL]
    with nogil:
        layer = api.prepare(&cell, lstmcore.FLOAT64, <const void* const*>blocks, &memory[0])
    cdef unsigned char[::1] scratch = room(api.scratch_bytes(layer, B, n_threads, 1))
    cdef unsigned char[::1] tape = room(api.tape_bytes(layer, B, steps))
    cdef unsigned char[::1] grad = room(api.grad_bytes(layer))
    cdef double[:, :, ::1] y = np.zeros((x.shape[0], T, H)), dx = np.zeros((x.shape[0], T, I))
    cdef double[:, ::1] dW = np.empty((4 * H, I)), dR = np.empty((4 * H, H)), dp = np.empty((3, H))
    cdef double[::1] db = np.empty(4 * H)
    gradients[:5] = [&dW[0, 0], &dR[0, 0], &db[0], &dp[0, 0], NULL]
    memset(&s, 0, sizeof(s))
    s.size = sizeof(s)
    s.B = B
    s.t1 = T
    s.n_threads = n_threads
    s.order = &order[0]
    s.lengths = &lengths[0]
    s.x = &x[0, 0, 0]
    s.x_batch = each * I
    s.x_time = I
    s.scratch = &scratch[0]
    s.tape = &tape[0]
    s.y = &y[0, 0, 0]
    s.y_batch = each * H
    s.y_time = H
    if first is not None:
        s.x_first = s.y_first = s.dx_first = &first[0]
    with nogil:
        api.forward(layer, &s)
        s.y = &dy[0, 0, 0]                  # of the same shape
        s.dx = &dx[0, 0, 0]
        s.dx_batch = each * I
        s.dx_time = I
        s.grad = &grad[0]
        api.backward(layer, &s)
        api.unpack(layer, &grad[0], <void* const*>gradients)
    return tuple(map(np.asarray, (y, dx, dW, dR, db, dp)))


def steps(
    float[:, ::1] W, float[:, ::1] R, float[::1] b, float[:, :, ::1] x, float[:, ::1] h,
    float[:, ::1] c,
):
    """Outputs (T, B, H) of an LSTM, or without c of a GRU, step by step from a state, which is
    overwritten by the last."""
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], I = x.shape[2], H = R.shape[1], t
    cdef lstmcore.Cell cell = lstmcore.lstm(I, H) if c is not None else lstmcore.gru(I, H)
    cdef const lstmcore.Layer* layer
    cdef void* blocks[lstmcore.MOST_BLOCKS]
    cdef void* states[lstmcore.MOST_STATES]
    cdef float[:, :, ::1] y = np.empty((T, B, H), np.float32)
    cdef unsigned char[::1] memory = room(api.layer_bytes(&cell, lstmcore.FLOAT32)), state
    blocks[:5] = [&W[0, 0], &R[0, 0], &b[0], NULL, NULL]
    states[:2] = [&h[0, 0], NULL]
    if c is not None:
        states[1] = &c[0, 0]
    layer = api.prepare(&cell, lstmcore.FLOAT32, <const void* const*>blocks, &memory[0])
    state = room(api.state_bytes(layer, B))
    with nogil:
        api.set_state(layer, B, <const void* const*>states, &state[0])
        for t in range(T):
            api.step(layer, B, &x[t, 0, 0], NULL, &state[0], &y[t, 0, 0])
        api.get_state(layer, B, &state[0], <void* const*>states)
    return np.asarray(y)

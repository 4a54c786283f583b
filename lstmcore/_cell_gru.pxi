# The gated recurrent unit, (G1)-(G9), with its reset gate after or before the recurrent product.
#
# Blocks: W, R, b, bR. Gates stand in the order r, z, n. Slots: r, z, n, h and, with the reset after
# the product, m = R_n h(t-1) + bR.
#   reset after:  one phase. Product: b + W x for r, z, n; then R h for r, z, n, apart from them and
#                 begun from 0, 0, bR.
#   reset before: phase 0 makes r, z and r h(t-1), the second section of z; phase 1 makes n, whose
#                 column reads that section.

cdef enum:
    GRU_R = 0                   # gates in their order, and slots
    GRU_Z = 1
    GRU_N = 2
    GRU_H = 3
    GRU_M = 4


cdef const char* gru_check(const Cell* cell, Cell* others) noexcept nogil:
    cdef const char* wrong
    others.reset_after = 0
    if cell.reset_after not in (0, 1):
        return "reset_after: must be 0 or 1"
    wrong = check_activation(cell.act_gate, cell.alpha_gate)
    if wrong == NULL:
        wrong = check_activation(cell.act_cell, cell.alpha_cell)
    return wrong


cdef void gru_plan(Plan* p) noexcept nogil:
    p.states = 1
    p.carries_h = 1
    p.standard = p.cell.act_gate == LOGISTIC and p.cell.act_cell == TANH
    if p.cell.reset_after:
        p.slots = 5
        add_product(p, 0, 3, 0, 0, 0, ABSENT, 2)
        add_product(p, 0, 3, ABSENT, 0, 1, 1, 3)
    else:
        p.slots = 4
        p.phases = 2
        p.sections = 2
        add_product(p, 0, 2, 0, 0, 1, 1, 2)
        add_product(p, 1, 1, 0, 1, 1, 1, 2)


cdef inline int gru_gate(const Plan* p, int product, int vector) noexcept nogil:
    """Which gate a vector of the columns of a product belongs to."""
    return vector if p.cell.reset_after or product == 0 else GRU_N


cdef inline Py_ssize_t gru_row(const Plan* p, int product, int vector,
                               Py_ssize_t unit) noexcept nogil:
    """The row of W, R and b."""
    return gru_gate(p, product, vector) * p.cell.units + unit


cdef inline Py_ssize_t gru_bias_row(const Plan* p, int product, int vector,
                                    Py_ssize_t unit) noexcept nogil:
    """The row of b or, for products that are kept apart, of bR, which n alone has."""
    if p.cell.reset_after and product == 1:
        return unit if vector == GRU_N else ABSENT
    return gru_row(p, product, vector, unit)


cdef tuple gru_fields(const Plan* p):
    """What the slots of a row of the tape hold, in their order, by the names of the twin."""
    return ("r", "z", "n", "h", "m")[:p.slots]


cdef void gru_start(const Plan* p, const vec* z, vec* tape) noexcept nogil:
    """The row of the tape that stands for the state before the first step."""
    cdef Py_ssize_t u
    for u in range(p.groups):
        tape[u * p.slots + GRU_H] = z[u]


cdef void gru_recall(const Plan* p, Py_ssize_t rows, const vec* tape, const vec* previous,
                     vec* z) noexcept nogil:
    """The recurrent inputs of a step: h(t-1), and r h(t-1) where a product reads that."""
    cdef Py_ssize_t r, u, n = p.groups, q
    for r in range(rows):
        for u in range(n):
            q = (r * n + u) * p.slots
            z[u] = previous[q + GRU_H]
            if p.phases > 1:
                z[p.all_groups + u] = tape[q + GRU_R] * previous[q + GRU_H]
        z += p.sections * n


cdef inline vec gate_of(const int standard, const Plan* p, vec a) noexcept nogil:
    return logistic(a) if standard else activate(&p.gate, a)

cdef inline vec candidate_of(const int standard, const Plan* p, vec a) noexcept nogil:
    return tanh(a) if standard else activate(&p.act_cell, a)

cdef inline vec gate_slope(const int standard, const Plan* p, vec y) noexcept nogil:
    return y * (like(y, 1) - y) if standard else derivative(&p.gate, y)

cdef inline vec candidate_slope(const int standard, const Plan* p, vec y) noexcept nogil:
    return like(y, 1) - y * y if standard else derivative(&p.act_cell, y)


cdef inline void gru_forward(const int standard, const int after, const Plan* p, int phase,
                             Py_ssize_t rows, vec* a, vec* z, vec* z_next,
                             vec* tape) noexcept nogil:
    """(G1)-(G6), with the reset after or before the product.

    IN a (overwritten), z: h(t-1), and OUT its section r h(t-1); OUT z_next, tape (or NULL). Two
    passes over a row: n waits for r, as h(s_c) does for s_c in the LSTM.
    """
    cdef Py_ssize_t row, u, n = p.groups
    cdef vec h, n_t, z_t
    cdef vec* gates
    cdef vec* last
    cdef vec* keep
    for row in range(rows):
        gates = a + p.products[0].first
        last = a + p.products[1].first
        if phase == 0:
            for u in range(n):
                if after:
                    gates[3 * u] = gate_of(standard, p, gates[3 * u] + last[3 * u])         # (G1)
                    gates[3 * u + 1] = gate_of(standard, p,
                                               gates[3 * u + 1] + last[3 * u + 1])          # (G2)
                    gates[3 * u + 2] = fma(gates[3 * u], last[3 * u + 2],
                                           gates[3 * u + 2])                                # (G3)
                else:
                    gates[2 * u] = gate_of(standard, p, gates[2 * u])                       # (G1)
                    gates[2 * u + 1] = gate_of(standard, p, gates[2 * u + 1])               # (G2)
                    z[p.all_groups + u] = gates[2 * u] * z[u]
        if phase == p.phases - 1:
            for u in range(n):
                n_t = candidate_of(standard, p, gates[3 * u + 2] if after else last[u])     # (G4)
                z_t = gates[3 * u + 1] if after else gates[2 * u + 1]
                h = fma(z_t, z[u], (like(z_t, 1) - z_t) * n_t)                              # (G5)
                if not standard:
                    h = units_only(p, u, h)
                z_next[u] = h
                if tape != NULL:
                    keep = tape + u * p.slots
                    keep[GRU_R] = gates[3 * u] if after else gates[2 * u]
                    keep[GRU_Z] = z_t
                    keep[GRU_N] = n_t
                    keep[GRU_H] = h
                    if after:
                        keep[GRU_M] = last[3 * u + 2]
        a += p.a_vectors
        z += p.sections * n
        z_next += p.sections * n
        if tape != NULL:
            tape += p.slots * n


cdef inline void gru_backward(const int standard, const int after, const Plan* p, int phase,
                              Py_ssize_t rows, const vec* tape, const vec* previous, vec* dz,
                              vec* delta) noexcept nogil:
    """(G6)-(G9), with the reset after or before the product.

    IN tape, previous; IN and OUT dz: dL/dh(t), then what of it passes on to h(t-1) beside the
    products, and IN its second section, dL/d(r h(t-1)); OUT delta.
    """
    cdef Py_ssize_t row, u, n = p.groups
    cdef vec r, z, n_t, h_before, eps, d_r, d_z, d_n
    cdef const vec* now
    cdef vec* gates
    cdef vec* last
    for row in range(rows):
        gates = delta + p.products[0].first
        last = delta + p.products[1].first
        for u in range(n):
            now = tape + u * p.slots
            r = now[GRU_R]
            h_before = previous[u * p.slots + GRU_H]
            if phase == p.phases - 1:
                z = now[GRU_Z]
                n_t = now[GRU_N]
                eps = dz[u]
                d_z = gate_slope(standard, p, z) * ((h_before - n_t) * eps)                 # (G8)
                d_n = candidate_slope(standard, p, n_t) * ((like(z, 1) - z) * eps)          # (G7)
                dz[u] = z * eps                                                             # (G6)
                if after:
                    d_r = gate_slope(standard, p, r) * (now[GRU_M] * d_n)                   # (G9)
                    gates[3 * u] = d_r
                    gates[3 * u + 1] = d_z
                    gates[3 * u + 2] = d_n
                    last[3 * u] = d_r
                    last[3 * u + 1] = d_z
                    last[3 * u + 2] = r * d_n                                               # (G6)
                else:
                    gates[2 * u + 1] = d_z
                    last[u] = d_n
            else:
                eps = dz[p.all_groups + u]
                gates[2 * u] = gate_slope(standard, p, r) * (h_before * eps)                # (G9)
                dz[u] = fma(r, eps, dz[u])                                                  # (G6)
        tape += p.slots * n
        previous += p.slots * n
        dz += p.sections * n
        delta += p.a_vectors

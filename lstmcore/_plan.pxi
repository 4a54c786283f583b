# The plan of a cell: what a step is, as data that packing, forward, BPTT and streams go by.
#
# A step of a layer is done in phases. Before each phase stand products: columns of the
# pre-activations `a` that are computed together, the sum of a bias, W x and R z as far as the
# product has them. Then the cell does what it does with them. A cell says all this in its own file
# (_cell_*.pxi); nothing here knows a kind.
#
# A row of a holds, product after product, for each group of L units (L = numbers in a vector) the
# vectors of the product. A row of z holds the recurrent inputs, section after section of H padded
# numbers: h, and what else a product reads. A row of the tape holds for each group of units the
# cell's slots.

cdef enum:
    ABSENT = -1
    LARGEST = 16777216          # of I and H, so that no product of sizes leaves 64 bits
    MOST_PRODUCTS = 2           # of a step


cdef struct Product:
    # Columns of a that are computed together. Products stand in the order of their phases.
    int phase                   # the phase of the cell that they come before
    int vectors                 # for each group of units
    int reads_x                 # whether W x is in the sum
    int first_source, sources   # the sections of z that are read
    int W_block, R_block, bias_block    # places of the parameters in the cell's list of blocks
    Py_ssize_t first            # the first of its column vectors in a row of a
    Py_ssize_t n                # column vectors
    Py_ssize_t size             # the same in numbers
    Py_ssize_t bias, W, R       # offsets in the packed weights and the gradient
    Py_ssize_t R_back, W_back   # offsets in what BPTT packs anew


cdef struct Plan:
    # Everything that follows from a cell's description and the width of the vectors, in numbers.
    # What the cell says, by `add_product` and itself:
    Cell cell
    Activation gate, act_cell, output       # f, g, h of the equations
    int n_products
    Product[MOST_PRODUCTS] products
    int phases
    int n_recurrent             # products that read z
    int sections                # of z
    int sent                    # sections, from the second on, that are part of the state h
    int carries_h               # dL/dh passes a step beside the products, which add to it
    int states                  # 0, 1 (h) or 2 (h, c)
    int slots                   # vectors in a tape row for a group of units
    int own_rows                # rows of H weights that the cell itself multiplies
    int standard                # the cell's common form, which has code of its own
    # An LSTM's: places of its gates among the vectors, of c, h(c) and h among the slots
    int i, f, g, o, gates
    int peeping                 # gates with peepholes: the first so many
    int o_peeps                 # what the peephole of o reads: PEEP_NOW, PEEP_BEFORE; or ABSENT
    int c, hc, h
    # What follows:
    Py_ssize_t lanes            # L
    Py_ssize_t groups           # groups of L units
    Py_ssize_t all_groups       # the same, but of the whole layer where this is a part of one
    Py_ssize_t padded           # H, padded to whole groups
    Py_ssize_t input_vectors    # vectors that hold I numbers
    Py_ssize_t a_vectors        # vectors in a row of a
    Py_ssize_t a_row, z_row, tape_row       # numbers in a row
    Py_ssize_t W_size, R_size   # numbers of the weights of x, of z
    Py_ssize_t own              # offset in the packed weights and the gradient
    Py_ssize_t packed           # numbers of the packed weights
    Py_ssize_t R_back, W_back   # numbers of what BPTT packs anew


cdef const char* check_activation(int code, double alpha) noexcept nogil:
    """NULL, or what is wrong with an activation of a description."""
    if code < IDENTITY or code > AFFINE:
        return "activation: none of the list"
    if code in (ELU, LEAKY_RELU, THRESHOLDED_RELU) and not alpha >= 0:
        return "alpha: must be at least 0"
    if code == HARD_SIGMOID and not alpha > 0:
        return "alpha: must be above 0"
    if code == SCALED_TANH and not (alpha < 0 or alpha > 0):
        return "alpha: must not be 0"
    return NULL


cdef inline Py_ssize_t round_up(Py_ssize_t n, const Py_ssize_t to) noexcept nogil:
    """n up to a multiple of `to`, a power of two."""
    return (n + to - 1) & -to


cdef Plan bare_plan(const Cell* cell, Py_ssize_t L) noexcept nogil:
    """What all cells begin with: one phase, no products, no states."""
    cdef Plan p
    memset(&p, 0, sizeof(Plan))
    p.cell = cell[0]
    p.gate = Activation(cell.act_gate, cell.alpha_gate, cell.beta_gate)
    p.act_cell = Activation(cell.act_cell, cell.alpha_cell, cell.beta_cell)
    p.output = Activation(cell.act_output, cell.alpha_output, cell.beta_output)
    p.phases = 1
    p.sections = 1
    p.slots = 1
    p.i = p.f = p.o = p.c = p.hc = p.h = p.o_peeps = ABSENT
    p.lanes = L
    p.groups = p.all_groups = (cell.units + L - 1) // L
    p.padded = p.groups * L
    p.input_vectors = (cell.inputs + L - 1) // L
    return p


cdef void add_product(Plan* p, int phase, int vectors, int W_block, int first_source, int sources,
                      int R_block, int bias_block) noexcept nogil:
    """One more product; with W_block ABSENT it reads no x."""
    cdef Product* prod = &p.products[p.n_products]
    p.n_products += 1
    prod.phase = phase
    prod.vectors = vectors
    prod.reads_x = W_block != ABSENT
    prod.W_block = W_block
    prod.R_block = R_block
    prod.bias_block = bias_block
    prod.first_source = first_source
    prod.sources = sources
    prod.first = p.a_vectors
    prod.n = p.groups * vectors
    prod.size = prod.n * p.lanes
    p.a_vectors += prod.n
    p.n_recurrent += sources > 0


cdef void lay_out(Plan* p) noexcept nogil:
    """The offsets and sizes, once the cell has said what it is."""
    cdef int k
    cdef Product* prod
    p.a_row = p.a_vectors * p.lanes
    p.z_row = p.padded * p.sections
    p.tape_row = p.padded * p.slots
    p.own = p.a_row
    p.packed = p.own + p.own_rows * p.padded
    for k in range(p.n_products):
        prod = &p.products[k]
        prod.bias = prod.first * p.lanes        # the biases are the first of the packed weights
        prod.W = p.packed
        prod.R = prod.W + (p.cell.inputs * prod.size if prod.reads_x else 0)
        p.packed = prod.R + prod.sources * p.cell.units * prod.size
        p.W_size += prod.R - prod.W
        p.R_size += prod.sources * p.cell.units * prod.size
        prod.R_back = p.R_back
        p.R_back += prod.sources * prod.size * p.padded
        prod.W_back = p.W_back
        p.W_back += prod.size * p.input_vectors * p.lanes if prod.reads_x else 0


cdef Plan part_of_layer(const Plan* p, Py_ssize_t u0, Py_ssize_t u1) noexcept nogil:
    """The plan for the cells of the unit groups u0 to u1 - 1, a row at a time."""
    cdef Plan own = p[0]
    cdef int k
    own.groups = u1 - u0
    own.cell.units = max(min(p.cell.units, u1 * p.lanes) - u0 * p.lanes, 0)
    own.own = p.own + u0 * p.lanes
    for k in range(p.n_products):
        own.products[k].first += u0 * p.products[k].vectors
        own.products[k].n = own.groups * p.products[k].vectors
    return own


cdef inline vec units_only(const Plan* p, Py_ssize_t u, vec x) noexcept nogil:
    """x with 0 in the lanes after the last unit.

    Those lanes have no weights, so no result reads them; but BPTT multiplies them by zeros, which
    must not meet an infinity.
    """
    cdef vec lane = x
    cdef Py_ssize_t k
    if p.cell.units - u * p.lanes >= p.lanes:
        return x
    for k in range(p.lanes):
        set_item(&lane, k, k)
    return where_less(lane, like(x, p.cell.units - u * p.lanes), x, like(x, 0))

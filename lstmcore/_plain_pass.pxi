# All layers over a plain batch in one call: between them a short sequence would spend more time in
# Python than in arithmetic.

cdef class PlainPass:
    """A network's layers over sequences of one length, from the state zero, keeping nothing.

    It is `forward` of one layer after the other, then `output_units`; there is no twin of it.

    Parameters
    ----------
    cells : list of CellPlan
    packed : list of lists of arrays
        Each layer's weights, for each direction.
    reversals : list of tuples of int
        Of each layer, for each direction, 1 if it reads the sequences reversed.
    output : int
    table : array or None
        The output units, as `output_units` takes them.
    """
    cdef list cells, packed, reversals
    cdef cnp.ndarray table
    cdef int output, item_size, type_number
    cdef Py_ssize_t inputs, outputs
    cdef Py_ssize_t widest          # outputs of a layer but the last

    def __init__(self, list cells, list packed, list reversals, int output,
                 cnp.ndarray table=None):
        cdef CellPlan cell = cells[0]
        self.cells = cells
        self.packed = packed
        self.reversals = reversals
        self.output = output
        self.table = table
        self.item_size = cell.item_size
        self.type_number = cnp.NPY_FLOAT if self.item_size == FLOAT32 else cnp.NPY_DOUBLE
        self.inputs = cell.plan.cell.inputs
        for cell, directions in zip(cells, packed):
            self.widest = max(self.widest, self.outputs)
            self.outputs = cell.plan.cell.units * len(directions)

    cdef bint reads(self, x) noexcept:
        return (is_plain(x, self.type_number, cnp.NPY_ARRAY_CARRAY_RO)
                and cnp.PyArray_NDIM(<cnp.ndarray>x) == 3
                and cnp.PyArray_DIM(<cnp.ndarray>x, 2) == self.inputs
                and cnp.PyArray_SIZE(<cnp.ndarray>x) > 0)

    def shape_of(self, x):
        """(B, T) of an x (B, T, I) that can be read as it stands, None of anything else."""
        if not self.reads(x):
            return None
        return cnp.PyArray_DIM(<cnp.ndarray>x, 0), cnp.PyArray_DIM(<cnp.ndarray>x, 1)

    def __call__(self, x, order, lengths, list threads, take):
        """Outputs (B, T, K), a fresh array, for an x of this `shape_of`.

        None if x has another: it is the caller's, and another thread may have set its shape.

        order, lengths : (B,), as `forward` takes them; the lengths are T
        threads : for each layer
        take : gives so many numbers of uninitialised memory, as `Workspace.take`
        """
        cdef Py_ssize_t B = cnp.PyArray_DIM(<cnp.ndarray>order, 0)
        cdef Py_ssize_t T = (<const Py_ssize_t*>address(lengths))[0]
        cdef const void* inputs
        cdef Py_ssize_t n, d, I = self.inputs, H, last = len(self.cells) - 1, scratch = 0
        cdef Py_ssize_t hidden = round_up(B * T * self.widest, LINE) * self.item_size
        cdef cnp.npy_intp[3] shape = [B, T, self.outputs]
        cdef CellPlan cell
        cdef list directions
        cdef char* hidden_rows
        cdef char* target = NULL
        cdef Task task
        # x is looked at here and not again
        if not (self.reads(x) and cnp.PyArray_DIM(<cnp.ndarray>x, 0) == B
                and cnp.PyArray_DIM(<cnp.ndarray>x, 1) == T):
            return None
        inputs = address(x)
        for n in range(last + 1):
            cell = self.cells[n]
            scratch = max(scratch,
                          scratch_numbers(&cell.plan, self.item_size, B, threads[n], 0, 1, 0))
        memory = take(min(last, 2) * hidden // self.item_size + scratch)
        y = cnp.PyArray_SimpleNew(3, shape, self.type_number)
        memset(&task, 0, sizeof(Task))
        task.listens = is_main_thread()
        task.seq.order = <const Py_ssize_t*>address(order)
        task.seq.x_first = task.seq.y_first = task.seq.order
        task.seq.lengths = <const Py_ssize_t*>address(lengths)
        task.seq.B = B
        task.seq.t1 = T
        task.seq.x = inputs
        hidden_rows = <char*>address(memory)
        task.seq.scratch = hidden_rows + min(last, 2) * hidden
        for n in range(last + 1):
            cell = self.cells[n]
            directions = self.packed[n]
            H = cell.plan.cell.units
            task.plan = cell.plan
            task.seq.n_threads = threads[n]
            task.seq.x_time = I
            task.seq.x_batch = T * I
            I = H * len(directions)
            task.seq.y_time = I
            task.seq.y_batch = T * I
            # of the hidden layers two take turns
            target = <char*>address(y) if n == last else hidden_rows + n % 2 * hidden
            for d in range(len(directions)):
                task.packed = address(directions[d])
                task.seq.reverse = self.reversals[n][d]
                task.seq.y = target + d * H * self.item_size
                forward_layer(&task, self.item_size)
            task.seq.x = target
        if self.output != OUT_IDENTITY:
            output_rows(self.output, self.table, self.item_size, B * T, I, target, target)
        return y

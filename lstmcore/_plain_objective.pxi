# The loss of a whole network and its gradient in one call, for the same reason as `PlainPass`.

cdef struct Part:
    # One direction of a layer.
    const Plan* plan
    int reverse
    int directions                  # of its layer, whose parts stand side by side
    Py_ssize_t[MOST_BLOCKS] places  # of its blocks in the vector of parameters; ABSENT
    # Where things are in the memory of a call, in numbers. x, dx: of its layer; ABSENT where the
    # layer reads the data. y, dy: its own columns of the layer's rows, of y_row numbers.
    Py_ssize_t packed, grad, tape, x, dx, y, dy, y_row


cdef inline void addresses_in(const Part* part, char* vector, int item_size,
                              void** addresses) noexcept nogil:
    """The blocks of a part in a vector of parameters, NULL for those that it has not."""
    cdef int k
    for k in range(MOST_BLOCKS):
        addresses[k] = NULL
        if part.places[k] != ABSENT:
            addresses[k] = vector + part.places[k] * item_size


cdef class PlainObjective:
    """The loss of examples with a term for each step, by a loss that has a kernel, in one stretch.

    It is what `Evaluation` does, with the same bits; there is no twin of it.

    Parameters
    ----------
    cells : list of CellPlan
        Of the layers. Their states begin at zero or are given, and no mask is on their weights.
    reversals : list of tuples of int
        Of each layer, for each direction, 1 if it reads the sequences reversed.
    places : list of lists of tuples
        Of each layer, for each direction, where its blocks begin in the vector of parameters; None
        for those that are absent.
    x, x_first, order, lengths : arrays
        As `forward` takes them. Nobody else has these objects, so their shapes stay.
    first : (B,) intp array
        By rank, the first row of each sequence.
    loss : int
    targets, weights : arrays
    form : tuple or None
        As `loss_rows` takes them.
    """
    cdef list cells
    cdef cnp.ndarray x, x_first, order, lengths, first, targets, weights
    cdef cnp.ndarray table          # of Part, layer by layer
    cdef Py_ssize_t n_parts, B, T, N, K
    cdef Py_ssize_t size            # numbers of the memory of a call, but for scratch memory;
    cdef Py_ssize_t value_size      # of one without a gradient
    cdef int item_size, type_number
    cdef Rows rows                  # but for where they are, and the scale of their weights

    def __init__(self, list cells, list reversals, list places, *, cnp.ndarray x not None,
                 cnp.ndarray x_first not None, cnp.ndarray order not None,
                 cnp.ndarray lengths not None, cnp.ndarray first not None, int loss,
                 cnp.ndarray targets not None, cnp.ndarray weights not None, tuple form=None):
        cdef CellPlan cell = cells[0]
        cdef Py_ssize_t n, d, k, widest = 0, x_place = ABSENT, dx = ABSENT, y = ABSENT, dy, H
        cdef Py_ssize_t[2] deltas
        cdef cnp.npy_intp[1] bytes_of_table
        cdef Part* part
        self.x, self.x_first, self.first = x, x_first, first
        self.order, self.lengths = order, lengths
        self.targets, self.weights = targets, weights
        check_sizes(cell, self.x, self.x_first, self.order, self.lengths)
        self.cells = list(cells)
        self.item_size = cell.item_size
        self.type_number = cnp.NPY_FLOAT if self.item_size == FLOAT32 else cnp.NPY_DOUBLE
        self.B = cnp.PyArray_DIM(order, 0)
        self.T = (<const Py_ssize_t*>address(self.lengths))[0]
        self.N = cnp.PyArray_DIM(weights, 0)
        if not (are_indices(self.first, self.B)
                and are_inside(self.first, self.lengths, self.N, -1)):
            raise ValueError(f"first: expected {self.B} sequences of the {self.N} rows")

        self.n_parts = sum(map(len, reversals))
        bytes_of_table[0] = self.n_parts * sizeof(Part)
        self.table = cnp.PyArray_ZEROS(1, bytes_of_table, cnp.NPY_UINT8, 0)
        part = <Part*>address(self.table)
        for n in range(1, len(cells)):
            cell = cells[n]
            widest = max(widest, cell.plan.cell.inputs)
        for n in range(len(cells)):
            cell = cells[n]
            H = cell.plan.cell.units
            self.K = H * len(reversals[n])
            y = self.take_room(self.N * self.K)
            for d in range(len(reversals[n])):
                part.plan = &cell.plan
                part.reverse = reversals[n][d]
                part.directions = len(reversals[n])
                for k in range(MOST_BLOCKS):
                    part.places[k] = ABSENT
                for k, place in enumerate(places[n][d]):
                    if place is not None:
                        part.places[k] = place
                part.packed = self.take_room(cell.plan.packed)
                part.x = x_place
                part.y = y + d * H
                part.y_row = self.K
                part += 1
            x_place = y
        self.value_size = self.size
        for k in range(2):                      # of dL/dx two take turns
            deltas[k] = self.take_room(self.N * widest)
        part = <Part*>address(self.table)
        for n in range(len(cells)):
            cell = cells[n]
            dy = y if n == len(cells) - 1 else deltas[n % 2]    # delta is written over the outputs
            for d in range(len(reversals[n])):
                part.grad = self.take_room(cell.plan.packed)
                part.tape = self.take_room(cell.plan.tape_row * (self.B + self.N))
                part.dx = dx
                part.dy = dy + d * cell.plan.cell.units
                part += 1
            dx = dy
        self.rows = rows_to_score(loss, NULL, self.N, self.K, self.type_number, self.targets,
                                  self.weights, 1.0, form)

    cdef Py_ssize_t take_room(self, Py_ssize_t n):
        """Where n more numbers are in the memory of a call."""
        cdef Py_ssize_t place = self.size
        self.size += round_up(n, LINE)
        return place

    cdef Task task_of(self, const Part* part, char* memory, int n_threads, bint training):
        """What forward and backward of a part have in common."""
        cdef Task task
        cdef Sequences* seq = &task.seq
        memset(&task, 0, sizeof(Task))
        task.listens = is_main_thread()
        task.plan = part.plan[0]
        task.packed = memory + part.packed * self.item_size
        seq.order = <const Py_ssize_t*>address(self.order)
        seq.lengths = <const Py_ssize_t*>address(self.lengths)
        seq.B = self.B
        seq.t1 = self.T
        seq.reverse = part.reverse
        seq.n_threads = n_threads
        seq.y_first = seq.dx_first = <const Py_ssize_t*>address(self.first)
        seq.y_batch = seq.y_time = part.y_row
        seq.scratch = memory + (self.size if training else self.value_size) * self.item_size
        if part.x == ABSENT:
            read_inputs(seq, self.x, self.x_first)
        else:
            seq.x = memory + part.x * self.item_size
            seq.x_first = seq.y_first
            seq.x_batch = seq.x_time = part.plan.cell.inputs
        return task

    cdef Py_ssize_t scratch(self, list threads, bint training) except -1:
        """Numbers of scratch memory that the largest part needs."""
        cdef const Part* parts = <const Part*>address(self.table)
        cdef Py_ssize_t k, size = 0
        cdef bint of_tokens = cnp.PyArray_TYPE(self.x) == cnp.NPY_INTP, with_x
        for k in range(self.n_parts):
            with_x = parts[k].x != ABSENT or not of_tokens
            size = max(size, scratch_numbers(parts[k].plan, self.item_size, self.B, threads[k],
                                             training, with_x, parts[k].dx != ABSENT))
        return size

    cdef int run_layers(self, char* theta, char* memory, list threads, bint training,
                        list initial, list final) except -1:
        cdef const Part* part = <const Part*>address(self.table)
        cdef void* addresses[MOST_BLOCKS]
        cdef Py_ssize_t k
        cdef Task task
        for k in range(self.n_parts):
            addresses_in(part, theta, self.item_size, addresses)
            pack_blocks(part.plan, self.item_size, <const void* const*>addresses,
                        memory + part.packed * self.item_size)
            task = self.task_of(part, memory, threads[k], training)
            task.seq.y = memory + part.y * self.item_size
            if training:
                task.seq.tape = memory + part.tape * self.item_size
            if initial is not None:
                give_states(initial[k], task.seq.state_in, task.seq.state_in_batch)
            if final is not None:
                give_states(final[k], <const void**>task.seq.state_out, task.seq.state_out_batch)
            forward_layer(&task, self.item_size)
            part += 1
        return 0

    cdef int run_bptt(self, char* g, char* memory, list threads) except -1:
        """OUT g: the gradient, where there are blocks."""
        cdef const Part* parts = <const Part*>address(self.table)
        cdef const Part* part
        cdef void* addresses[MOST_BLOCKS]
        cdef Py_ssize_t k = self.n_parts, d
        cdef char* grad
        cdef Task task
        while k > 0:
            k -= parts[k - 1].directions
            if parts[k].dx != ABSENT:
                memset(memory + parts[k].dx * self.item_size, 0,
                       self.N * parts[k].plan.cell.inputs * self.item_size)
            for d in range(parts[k].directions):
                part = parts + k + d
                grad = memory + part.grad * self.item_size
                memset(grad, 0, part.plan.packed * self.item_size)
                task = self.task_of(part, memory, threads[k + d], True)
                task.seq.y = memory + part.dy * self.item_size
                task.seq.tape = memory + part.tape * self.item_size
                task.seq.grad = grad
                if part.dx != ABSENT:
                    task.seq.dx = memory + part.dx * self.item_size
                    task.seq.dx_batch = task.seq.dx_time = part.plan.cell.inputs
                backward_layer(&task, self.item_size)
                addresses_in(part, g, self.item_size, addresses)
                unpack_blocks(part.plan, self.item_size, grad, <void* const*>addresses)
        return 0

    cdef const Part* top(self) noexcept:
        """The first direction of the last layer, whose rows are the network's outputs."""
        cdef const Part* last = <const Part*>address(self.table) + self.n_parts - 1
        return last + 1 - last.directions

    def outputs(self, cnp.ndarray theta not None, cnp.ndarray a not None, list threads, take,
                list initial=None):
        """The output pre-activations at a vector of parameters, which is contiguous. OUT a: (N, K).

        threads, take, initial : as for the loss
        """
        cdef object room = take(self.value_size + self.scratch(threads, False))
        cdef char* memory = <char*>address(room)
        self.run_layers(<char*>address(theta), memory, threads, False, initial, None)
        memcpy(address(a), memory + self.top().y * self.item_size,
               self.N * self.K * self.item_size)

    def __call__(self, cnp.ndarray theta not None, double scale, cnp.ndarray g, list threads,
                 int loss_threads, take, list initial=None, list final=None):
        """The loss at a vector of parameters, which is contiguous. OUT g, or None: its gradient.

        scale : of the weights
        threads : for each direction of each layer, forward and BPTT
        take : gives so many numbers of uninitialised memory, as `Workspace.take`
        initial, final : for each direction of each layer the states before the first step, and OUT
            after the last, tuples of arrays as `forward` takes them; None is zero, and not wanted
        """
        cdef bint training = g is not None
        cdef double value
        cdef Py_ssize_t size = self.size if training else self.value_size
        cdef object room = take(size + self.scratch(threads, training))
        cdef char* memory = <char*>address(room)
        cdef Rows rows = self.rows
        self.run_layers(<char*>address(theta), memory, threads, training, initial, final)
        rows.a = memory + self.top().y * self.item_size
        rows.scale = scale
        value = loss_of_rows(&rows, self.item_size, loss_threads)
        if training:
            self.run_bptt(<char*>address(g), memory, threads)
        return value

"""`Passes`: all that a network computes, in memory that is kept between calls.

`Network` checks arguments and names things; here they are right. Parameters that are an argument
may be any point θ, so that optimizers can ask there without touching the network's own: only they
are checked here.
"""

import numpy as np

from ._bptt import Evaluation, Linearization, Products, Terms
from ._chain import Chain
from ._dispatch import kernels
from ._initial import Start
from ._outputs import OUTPUTS
from ._trace import Trace
from ._workspace import Fresh, WorkspacePool
from .losses import SquaredError
from .losses._compiled import kernel_of, loss_threads
from .sequences import equal_lengths


class Passes:
    """The passes of one network.

    Parameters
    ----------
    layers : tuple of Layer
    parts : Parts
        Which of them see time steps, and the readout.
    loss : Loss
    output : OutputUnits
    parameters : Parameters
    states : States
    dtype : numpy.dtype
    initial : Initial or None
    """

    def __init__(self, layers, parts, loss, output, parameters, states, dtype, initial):
        self._layers, self._parts = layers, parts
        self._loss, self._output = loss, output
        self._parameters, self._states = parameters, states
        self._dtype = dtype
        self._initial = initial
        self.pool = WorkspacePool(dtype)
        # Whether `PlainPass` can do all there is to do; and beside the loss `PlainObjective`.
        begins_at_zero = initial is None and not any(layer.learns_states for layer in layers)
        reads_numbers = not layers[0].token_sizes
        self._is_plain = parts.readout.per_step and begins_at_zero and reads_numbers

    def release_memory(self):
        self.pool.clear()

    # ------------------------------------------------------------------------------- outputs

    def predict(self, batch, state, return_state, n_threads):
        """Outputs as fresh rows (N, K), or (B, K) if read out, and the state after if wanted."""
        body, head, workspace = self._own_chains(n_threads)
        y, state = self._forward(body, head, batch, state, return_state)
        self._output.apply(y)
        self.pool.release(workspace)
        return y, state

    def predict_plain(self, X, check_finite, n_threads):
        """`predict` where nothing is to be arranged, converted or reported, else None.

        It is what most calls ask for, and all else that they do takes twice a short sequence's
        arithmetic.
        """
        if not self._is_plain:
            return None
        plain = self._parameters.packed().plain_pass(self._output.code)
        shape = plain.shape_of(X)
        if shape is None or (check_finite and not kernels.all_finite(X)):
            return None
        B, T = shape
        threads = [layer.threads(n_threads, self._dtype, B * T, T) for layer in self._layers]
        workspace = self.pool.acquire()
        order, lengths, _, _ = equal_lengths(B, T)
        y = plain(X, order, lengths, threads, workspace.take)
        self.pool.release(workspace)
        return y

    def trace(self, batch, state, n_threads):
        """Every gate, state and output by name, in the form of the inputs."""
        trace, workspace = self._trace(batch, state, n_threads)
        values = trace.values(self._output)
        self.pool.release(workspace)
        return values

    def trace_gradient(self, examples, n_threads):
        """dL/dh of every recurrent layer at every step, by name, in the form of the inputs."""
        trace, workspace = self._trace(examples.batch, self._state_of(examples), n_threads)
        found = trace.gradients(Terms(self._loss, examples, n_threads))
        self.pool.release(workspace)
        return found

    def _trace(self, batch, state, n_threads):
        """A `Trace`, and the workspace that it is in."""
        body, head, workspace = self._own_chains(n_threads)
        readout = self._parts.readout
        return Trace(body, head, readout, batch, *self._parts_of(state)), workspace

    # ------------------------------------------------------------------------------ the loss

    def evaluate(
        self, params, examples, gradient, return_state, checkpoint, n_threads, dropout=None
    ):
        """The loss of examples, the gradient if wanted, else None, and the state after if wanted.

        Arguments are those of `Network.evaluate`.
        """
        body, head, workspace = self._chains_at(params, n_threads, dropout)
        score = Terms(self._loss, examples, n_threads)
        evaluation, after = self._evaluation(
            body, head, examples.batch, score, checkpoint, self._state_of(examples), return_state
        )
        if gradient:
            g = self._empty_gradient()
            f = evaluation.value_and_gradient(self._parameters.views(g))
        else:
            f, g = evaluation.value(), None
        if return_state:
            after = self._with_entry(after, evaluation.reading)
        self.pool.release(workspace)
        return (f, g, after) if return_state else (f, g)

    def vjp(
        self,
        dy,
        batch,
        state,
        dstate,
        *,
        return_dX,
        return_dfeatures,
        return_dstate,
        return_state,
        checkpoint,
        n_threads,
    ):
        """The gradient from the outputs' on, and what else is wanted: see `Network.vjp`.

        Parameters
        ----------
        dy : array or function
            (N, K) or (B, K), or that of the outputs.
        """
        g = self._empty_gradient()
        dX = None
        if return_dX:
            dX = np.zeros((batch.n_steps, self._layers[0].input_size), self._dtype)
        dfinal, dentry = self._parts_of(dstate)
        body, head, workspace = self._own_chains(n_threads)
        score = Products(self._output, dy)
        evaluation, after = self._evaluation(
            body, head, batch, score, checkpoint, state, return_state
        )
        evaluation.value_and_gradient(self._parameters.views(g), dfinal, dentry, dX)
        more = []
        if return_dX:
            more.append(batch.arrange(dX))
        if return_dfeatures:
            more.append(evaluation.dfeatures)
        if return_dstate:
            more.append(self._dstate_of(evaluation))
        if return_state:
            more.append(self._with_entry(after, evaluation.reading))
        self.pool.release(workspace)
        return (g, *more) if more else g

    # ------------------------------------------------- what products with curvature are made of

    def outputs(self, params, examples, checkpoint, n_threads):
        """The output pre-activations of examples: fresh rows (N, K) or (B, K)."""
        evaluation, workspace = self._evaluation_at(params, examples, None, checkpoint, n_threads)
        a = evaluation.outputs().copy()
        self.pool.release(workspace)
        return a

    def linearize(self, params, examples, n_threads):
        """The outputs of examples, with the tapes kept: a `Linearization`."""
        body, head, _ = self._chains_at(params, n_threads)
        initial = self._parts_of(self._state_of(examples))
        options = self._parts.readout, examples.batch, self.pool, *initial
        return Linearization(body, head, *options)

    def pull(self, params, examples, u, checkpoint, n_threads):
        """The derivative of those outputs, transposed, times rows u: Jᵀu, fresh."""
        score = Products(OUTPUTS["identity"], u)
        evaluation, workspace = self._evaluation_at(params, examples, score, checkpoint, n_threads)
        g = self._empty_gradient()
        evaluation.value_and_gradient(self._parameters.views(g))
        self.pool.release(workspace)
        return g

    def pull_from(self, linearization, u):
        """As `pull`, at the parameters of a `Linearization`."""
        g = self._empty_gradient()
        linearization.pull(u, self._parameters.views(g))
        return g

    def curvature(self, a, examples):
        """`Loss.curvature` of examples at outputs a, whatever weighs them included."""
        lengths = examples.batch.lengths if self._loss.terms == "sequences" else None
        weights = examples.weights * examples.scale
        return self._loss.curvature(a, examples.targets, weights, lengths)

    @property
    def is_least_squares(self):
        """Whether the loss is half a sum of squares."""
        return kernel_of(self._loss) == SquaredError.code

    # ----------------------------------------------------------- in one compiled call, if it can

    def plain_objective(self, examples):
        """What evaluates examples in one compiled call, for `evaluate_plain`; None if nothing does.

        The network's parameters are not in it.
        """
        code = kernel_of(self._loss)
        if not self._is_plain or code is None or any(layer.is_masked for layer in self._layers):
            return None
        batch = examples.batch
        return kernels.PlainObjective(
            [layer.kernel_cell(self._dtype) for layer in self._layers],
            [layer.reversals for layer in self._layers],
            self._parameters.offsets,
            x=batch.x.values[...],
            x_first=batch.x.first[...],
            order=batch.order[...],
            lengths=batch.ranked[...],
            first=batch.first[...],
            loss=code,
            targets=examples.targets.values[...],
            weights=examples.weights[...],
            form=self._loss.form,
        )

    def evaluate_plain(self, plain, params, examples, gradient, n_threads, return_state=False):
        """`evaluate` of the examples that `plain_objective` was given, or of their sum."""
        params = self._parameters.check(params, "params")
        threads = self._plain_threads(examples, 2 if gradient else 1, n_threads)
        rows, outputs = examples.batch.n_steps, self._layers[-1].output_size
        of_loss = loss_threads(rows, outputs, self._dtype, n_threads)
        g = self._empty_gradient() if gradient else None
        initial = self._plain_states(examples)
        after = list(self._states.empty(examples.batch.size)) if return_state else None
        workspace = self.pool.acquire()
        f = plain(params, examples.scale, g, threads, of_loss, workspace.take, initial, after)
        self.pool.release(workspace)
        return (f, g, tuple(after)) if return_state else (f, g)

    def outputs_plain(self, plain, params, examples, n_threads):
        """`outputs` of the examples that `plain_objective` was given."""
        params = self._parameters.check(params, "params")
        threads = self._plain_threads(examples, 1, n_threads)
        a = np.empty((examples.batch.n_steps, self._layers[-1].output_size), self._dtype)
        workspace = self.pool.acquire()
        plain.outputs(params, a, threads, workspace.take, self._plain_states(examples))
        self.pool.release(workspace)
        return a

    def _plain_states(self, examples):
        """The initial states of examples for a `PlainObjective`; None for zero."""
        state = self._state_of(examples)
        return None if state is None else list(state)

    def _plain_threads(self, examples, passes, n_threads):
        """Threads for each direction of each layer."""
        batch, tokens = examples.batch, self._layers[0].tokens
        threads = []
        for layer in self._layers:
            n = layer.threads(
                n_threads,
                self._dtype,
                batch.n_steps,
                batch.max_length,
                tokens=tokens,
                passes=passes,
            )
            threads += [n] * layer.directions
            tokens = False
        return threads

    # ---------------------------------------------------------------- forward and backward

    def _own_chains(self, n_threads):
        """The layers at the network's own parameters, and the workspace that they are in."""
        workspace = self.pool.acquire()
        packed = self._parameters.packed().arrays
        return *self._chains(self._parameters.weights, packed, workspace, n_threads), workspace

    def _chains_at(self, params, n_threads, dropout=None):
        """The layers at any parameters, and the workspace that they are in."""
        parameters = self._parameters
        weights = parameters.weights_at(params)
        workspace = self.pool.acquire()
        packed = parameters.pack(weights, workspace.take)
        return *self._chains(weights, packed, workspace, n_threads, dropout), workspace

    def _chains(self, weights, packed, workspace, n_threads, dropout=None):
        """The layers that see time steps, and those after the readout."""
        start = None
        if self._initial is not None:
            last = slice(len(self._layers), None)
            layer = Chain([self._initial.layer], weights[last], packed[last], workspace, n_threads)
            start = Start(self._initial, layer)
        return [
            Chain(
                self._layers[part],
                weights[part],
                packed[part],
                workspace,
                n_threads,
                None if dropout is None else dropout[part],
                start,
            )
            for part in (self._parts.body, self._parts.head)
        ]

    def _forward(self, body, head, batch, state, return_state):
        """Output pre-activations, and the state after if wanted.

        The pre-activations are fresh rows (N, K), or (B, K) if read out.
        """
        readout = self._parts.readout
        memory = Fresh(self._dtype) if readout.per_step else body.workspace
        initial, entry = self._parts_of(state)
        reading = readout(body.layers[-1], batch, memory, entry)
        if initial is None:
            initial = body.initial(batch)
        after, final = None, None
        if return_state:
            after = self._states.empty(batch.size)
            final, _ = self._parts_of(after)
        elif readout.sees_final:
            final = body.state_arrays(batch.size)
        y = reading.room(batch)
        body.forward(batch, initial, y, final)
        reading.take(y, batch, final and final[-1])
        if return_state:
            after = self._with_entry(after, reading)
        return head.forward_rows(reading.read())[0], after

    def _evaluation_at(self, params, examples, score, checkpoint, n_threads):
        """An `Evaluation` at any parameters, and the workspace that it is in."""
        body, head, workspace = self._chains_at(params, n_threads)
        options = score, checkpoint, self._state_of(examples), False
        evaluation, _ = self._evaluation(body, head, examples.batch, *options)
        return evaluation, workspace

    def _evaluation(self, body, head, batch, score, checkpoint, state, return_state):
        """An `Evaluation`, and the layers' states after it if wanted, which it will overwrite."""
        initial, entry = self._parts_of(state)
        after = final = None
        if return_state:
            after = self._states.empty(batch.size)
            final, _ = self._parts_of(after)
        readout = self._parts.readout
        evaluation = Evaluation(
            body, head, readout, batch, score, checkpoint, initial, entry, final
        )
        return evaluation, after

    def _empty_gradient(self):
        return np.empty(self._parameters.table.size, self._dtype)

    # --------------------------------------------------------------------------------- states

    def _state_of(self, examples):
        """Their states as arrays that nobody else has, whose shapes stay; None where none is given.

        Those in the examples are in users' hands.
        """
        if examples.state is None:
            return None
        return self._states.check(examples.state, examples.batch.size, False)

    def _parts_of(self, state):
        """The states of the layers that see time steps, and the entry of the readout."""
        if state is None:
            return None, None
        entries = [[entry] for entry in state[self._parts.body]]
        return entries, (*state[len(self._layers) :], None)[0]

    def _with_entry(self, state, reading):
        """The layers' states with the entry that a readout has after a reading, if it has one."""
        entry = None if reading is None else reading.entry()
        return state if entry is None else (*state, entry)

    def _dstate_of(self, evaluation):
        dstate = [tuple(values.copy() for values in entry) for (entry,) in evaluation.dstates]
        dstate += [()] * len(self._layers[self._parts.head])
        dentry = None if evaluation.reading is None else evaluation.reading.dentry()
        return tuple(dstate) if dentry is None else (*dstate, dentry)

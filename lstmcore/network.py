"""`Network`: a chain of layers, a readout, a loss, and one flat vector of parameters.

What computes outputs goes through `Network._forward`, the loss and its gradient through
`Network.evaluate`; the parameters are an argument there, so that optimizers can ask for any point
without touching `Network.params`.
"""

from collections import namedtuple
from dataclasses import replace
from sys import getrefcount
from types import MappingProxyType

import numpy as np

from ._bptt import Evaluation, segments
from ._chain import Chain, mean_of
from ._checks import (
    as_choice,
    as_flag,
    as_integer,
    as_ndarray,
    as_number,
    as_real,
    as_real_dtype,
    as_threads,
    describe,
    refuse_nonfinite,
    rows_contiguous,
    shaped,
)
from ._dispatch import kernels
from ._examples import Examples, check_weights
from ._params import WEIGHTS, BlockTable
from ._workspace import WorkspacePool, aligned_empty
from .cells import CELLS, Layer
from .losses import find_loss
from .sequences import check_tokens, equal_lengths, make_batch, single_steps
from .streaming import Stream

__all__ = ["Network"]

READOUTS = ("all", "last", "mean")
_SQUASH = {"identity": 0, "logistic": 1, "softmax": 2}

# The parameters that were packed last, their packed form, and its `PlainPass`.
_Packed = namedtuple("_Packed", "params arrays plain")


class Network:
    """A chain of layers with a readout and a loss.

    Parameters
    ----------
    layers : sequence of Layer
        `RNN`, `LSTM` and `Dense` in any order; each takes what the one before it gives.
    loss : {"squared_error", "cross_entropy", "binary_cross_entropy"}
        It also fixes the output activation: identity, softmax, logistic.
    readout : {"all", "last", "mean"}
        What layers behind the last recurrent layer see: its output at every step; its final output
        (of a bidirectional layer, of each direction); the mean of its outputs over time.
    dtype : {"float64", "float32"}
    seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
        Of the initial parameters.

    Attributes
    ----------
    params : (P,) array
        All parameters, layer by layer (direction by direction), each W, R, b, p, Q, h0, c0 as far
        as it has them. Write into it, or assign a vector to copy it in. A write through a bare
        address, with no array or view of it held, is not noticed.
    blocks : mapping of str to ndarray
        Named views of `params`: ``"0.W"``, ``"1.forward.R"``.
    layers : tuple of Layer
    input_size, output_size : int
        I and K.
    loss_name, readout : str
    dtype : numpy.dtype

    Notes
    -----
    Initial weights are Glorot-uniform (W) and orthogonal (R), gate by gate; all else is zero but
    the forget gate's bias. float32 is float64 rounded, so one seed means one network.

    Any number of threads may use a network at once as long as none writes to its parameters. The
    memory that calls have needed is kept for the next ones; `release_memory` frees it.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], loss="cross_entropy", readout="last",
    ...                  seed=0)
    >>> X = np.random.default_rng(0).standard_normal((4, 10, 3))
    >>> net.predict(X, lengths=[10, 7, 1, 0]).shape
    (4, 2)
    >>> f, g = net.loss_and_grad(X, [0, 1, 1, 0])
    >>> g.shape == net.params.shape
    True
    """

    def __init__(
        self, layers, loss="squared_error", readout="all", dtype="float64", seed=None
    ):
        self.layers = _check_layers(layers)
        self._loss = find_loss(loss)
        self.readout = as_choice(readout, "readout", READOUTS)
        self.dtype = as_real_dtype(dtype)
        recurrent = [k for k, layer in enumerate(self.layers) if layer.is_recurrent]
        if readout != "all" and not recurrent:
            raise ValueError(f"readout: expected 'all' without a recurrent layer, got {readout!r}")
        # The layer that is read out; none with readout "all".
        self._read_layer = recurrent[-1] if readout != "all" else None
        seen = len(self.layers) if self._read_layer is None else self._read_layer + 1
        self._body, self._head = slice(0, seen), slice(seen, len(self.layers))
        self.input_size = self.layers[0].input_size
        self.output_size = self.layers[-1].output_size

        self.table = BlockTable(
            replace(block, name=f"{k}.{block.name}")
            for k, layer in enumerate(self.layers)
            for block in layer.blocks()
        )
        self._places = [
            layer.places(self._blocks_of(k)) for k, layer in enumerate(self.layers)
        ]
        self._weight_slices = self.table.slices(WEIGHTS)
        self._pool = WorkspacePool(self.dtype)
        self._params = self.table.start(_check_seed(seed), self.dtype)
        self._weights = self._views(self._params)
        self._packed = None
        # What `PlainPass` takes: the state zero, and one direction is forward.
        self._plain = not any(
            layer.learns_states or layer.direction == "reverse" for layer in self.layers
        )
        # Whether somebody may have written to the parameters since. Every view of an array holds
        # it: while there are no more references than these, nobody else can.
        self._own_references = getrefcount(self._params)
        self._may_have_changed = False

    def _blocks_of(self, k):
        """The placed blocks of layer k."""
        return [block for block in self.table if block.name.startswith(f"{k}.")]

    @property
    def body(self):
        """The layers that see time steps, up to the one that is read out: a slice."""
        return self._body

    @property
    def weights(self):
        return self._views(self._params)

    @property
    def output_units(self):
        return self._loss.output

    @property
    def params(self):
        params = self._params
        self._may_have_changed = True  # once there is one more reference: see `_packed_params`
        return params

    @params.setter
    def params(self, value):
        self._params[...] = self._check_params(value, "params")
        self._may_have_changed = True

    @property
    def blocks(self):
        return MappingProxyType(self.table.views(self.params))

    @property
    def loss_name(self):
        return self._loss.name

    @property
    def options(self):
        """The constructor's arguments but for the seed; layers as the objects they are."""
        return {
            "layers": self.layers,
            "loss": self._loss.name,
            "readout": self.readout,
            "dtype": self.dtype.name,
        }

    def __getstate__(self):
        return self.options | {"params": self.params}

    def __setstate__(self, state):
        params = state.pop("params")
        self.__init__(**state, seed=0)
        self.params = params

    def __repr__(self):
        layers = ", ".join(map(repr, self.layers))
        options = f"loss={self._loss.name!r}, readout={self.readout!r}, dtype={self.dtype.name!r}"
        return f"Network([{layers}], {options})"

    def summary(self):
        """A table of the layers, their outputs and their parameters.

        Returns
        -------
        str

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(12, 32, bidirectional=True), lc.Dense(64, 9)],
        ...                  loss="cross_entropy", readout="mean")
        >>> print(net.summary())
        0  LSTM(12, 32, bidirectional=True)  (B, T, 64)  11520
           mean over time                    (B, 64)
        1  Dense(64, 9)                      (B, 9)        585
           cross_entropy (softmax outputs)   float64     12105
        """
        rows, dims = [], "B, T"
        for k, layer in enumerate(self.layers):
            shape = f"({dims}, {layer.output_size})"
            size = sum(block.size for block in self._blocks_of(k))
            rows.append((str(k), repr(layer), shape, str(size)))
            if k == self._read_layer:
                dims = "B"
                what = {"last": "last output", "mean": "mean over time"}[self.readout]
                rows.append(("", what, f"({dims}, {layer.output_size})", ""))
        what = f"{self._loss.name} ({self._loss.output} outputs)"
        rows.append(("", what, self.dtype.name, str(self.table.size)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{k:<{widths[0]}}  {what:<{widths[1]}}  {shape:<{widths[2]}}  {size:>{widths[3]}}"
            for k, what, shape, size in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def release_memory(self):
        """Free the memory that the network keeps between calls."""
        self._pool.clear()
        self._packed = None

    def save(self, path):
        """Write the network to one file, for `lstmcore.load`.

        Parameters
        ----------
        path : str or path-like
            Replaced at once if it exists: a reader sees the old file or the new one.

        Examples
        --------
        >>> import os, tempfile
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "model.npz"))
        ...     again = lc.load(os.path.join(folder, "model.npz"))
        >>> bool((again.params == net.params).all())
        True
        """
        from .storage import save  # which builds on this module

        save(self, path)

    # ------------------------------------------------------------------------------- outputs

    def predict(
        self, X, lengths=None, *, mask=None, state=None, return_state=False, check_finite=True,
        n_threads=None,
    ):  # fmt: skip
        """Outputs after the output activation.

        Parameters
        ----------
        X : (B, T, I) array_like, (B, T) array_like of int, or list of (T_b, I) or (T_b,) arrays
            Sequences, or tokens 0 ... I-1 that stand for one-hot vectors. Never written to.
        lengths : (B,) array_like of int, optional
            Steps of each sequence of an array; what lies behind is never looked at. By default T.
        mask : (B, T) array_like of bool, optional
            In place of `lengths`: the steps that are there. The others do not happen: the state is
            carried over them.
        state : tuple, optional
            From a call before, to continue its sequences; by default the initial state.
        return_state : bool
            Also return the state after each sequence's last step.
        check_finite : bool
            Refuse NaN and infinity.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        Y : (B, T, K) array, or (B, K) if the sequences are read out
            Zero where no step is. A list's T is its longest length.
        state : tuple
            Only with `return_state`. See `step`.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Notes
        -----
        A sequence's outputs have the same bits in every batch, with any padding, in chunks or step
        by step, and for any number of threads.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(1, 4)], seed=0)
        >>> x = np.linspace(-1, 1, 6).reshape(1, 6, 1)
        >>> first, state = net.predict(x[:, :4], return_state=True)
        >>> rest = net.predict(x[:, 4:], state=state)
        >>> bool((np.concatenate([first, rest], axis=1) == net.predict(x)).all())
        True
        """
        check_finite = as_flag(check_finite, "check_finite")
        n_threads = as_threads(n_threads)
        if lengths is mask is state is None and return_state is False:
            y = self._predict_plain(X, check_finite, n_threads)
            if y is not None:
                return y
        batch = make_batch(X, self.input_size, self.dtype, lengths, mask, check_finite)
        return_state = as_flag(return_state, "return_state")
        if state is not None or return_state:
            self._refuse_bidirectional("state" if state is not None else "return_state")
        if state is not None:
            state = self._check_state(state, batch.size, check_finite)
        y, state = self._predict(self._weights, batch, state, return_state, n_threads)
        return (y, state) if return_state else y

    def step(self, x, state=None, *, check_finite=True, n_threads=None):
        """Outputs of one time step.

        Parameters
        ----------
        x : (I,) or (B, I) array_like, or int or (B,) array_like of int
            One step of one sequence or of B sequences; integers are tokens.
        state : tuple, optional
            What the step before returned; None is the initial state.
        check_finite : bool
            Refuse NaN and infinity.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        y : (K,) or (B, K) array
            As `predict` gives it at this step; with a readout, for the sequence so far.
        state : tuple
            One entry for each layer: ``(h, c)`` of an LSTM, ``(h,)`` of an RNN, ``()`` of a Dense
            layer; arrays (H,) or (B, H) as x is; with gate recurrence, h is followed by the gates'
            activations. With readout "mean" there is one more entry, ``(total, count)``.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came; also if the network has a
            bidirectional layer, which needs whole sequences.

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.RNN(2, 3), lc.Dense(3, 1)], seed=0)
        >>> y, state = net.step([0.5, -0.5])
        >>> y, state = net.step([0.1, 0.2], state)
        >>> y.shape, [h.shape for h in state[0]]
        ((1,), [(3,)])
        """
        self._refuse_bidirectional("x")
        check_finite = as_flag(check_finite, "check_finite")
        n_threads = as_threads(n_threads)
        x, single = self._check_step(x, check_finite)
        batch = single_steps(x)
        if state is not None:
            state = self._check_state(state, None if single else batch.size, check_finite)
        y, state = self._predict(self._weights, batch, state, True, n_threads)
        y = y.reshape(batch.size, self.output_size)
        if single:
            return y[0], tuple(tuple(values[0] for values in entry) for entry in state)
        return y, state

    def stream(self, batch_size=1, *, check_finite=True):
        """An object that takes one step a call and keeps the state in between.

        Parameters
        ----------
        batch_size : int
            Number of sequences that run side by side.
        check_finite : bool
            Refuse NaN and infinity in its inputs.

        Returns
        -------
        Stream

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 1)], seed=0)
        >>> stream = net.stream()
        >>> stream([0.5, -0.5]).shape
        (1,)
        """
        return Stream(self, batch_size, check_finite)

    # ------------------------------------------------------------------------------ the loss

    def loss_and_grad(
        self, X, Y, lengths=None, *, mask=None, sample_weight=None, step_weight=None, l2=0.0,
        reduction="mean", check_finite=True, checkpoint=None, n_threads=None,
    ):  # fmt: skip
        """The objective and its gradient at `params`.

        The objective is the weighted mean of the loss over all scored terms (steps, or sequences if
        they are read out) + l2/2 times the sum of the squared weights (blocks W, R, p and Q).

        Parameters
        ----------
        X, lengths, mask
            As in `predict`.
        Y : array_like or list of array_like
            Targets (B, T, K), or (B, K) if the sequences are read out; a list holds one array
            (T_b, K) for each sequence. With one output the last axis may be absent. For
            cross_entropy integer labels (B, T) or (B,), or rows of K probabilities.
        sample_weight : (B,) array_like, optional
            Weight of each sequence, >= 0.
        step_weight : (B, T) array_like or list of (T_b,) array_like, optional
            Weight of each step, >= 0; not with a readout. A step that weighs nothing may have any
            target.
        l2 : float
        reduction : {"mean", "sum"}
            "sum" leaves the division by the sum of the weights out.
        check_finite : bool
            Refuse NaN and infinity.
        checkpoint : int, True or None
            Bounds the memory for long sequences: what BPTT needs is kept for segments of at least
            so many time steps, one at a time, instead of all T; True takes √T. Costs a second
            forward pass. Not with bidirectional layers.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        f : float
            Without a readout `checkpoint` may change the last bits, for terms are summed up by
            segments.
        g : (P,) array
            Fresh, of the network's dtype. The same bits for any number of threads and with any
            `checkpoint`.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0)
        >>> X = [np.ones((5, 2)), np.zeros((3, 2))]
        >>> Y = [np.ones(5), np.zeros(3)]
        >>> f, g = net.loss_and_grad(X, Y, l2=1e-4)
        >>> net.params -= 0.1 * g
        >>> net.loss(X, Y, l2=1e-4) < f
        True
        """
        examples = self.prepare(
            X, Y, lengths, mask=mask, sample_weight=sample_weight, step_weight=step_weight,
            reduction=reduction, check_finite=check_finite,
        )  # fmt: skip
        return self.evaluate(
            None, examples, l2=l2, checkpoint=checkpoint, n_threads=n_threads
        )

    def loss(
        self, X, Y, lengths=None, *, mask=None, sample_weight=None, step_weight=None, l2=0.0,
        reduction="mean", check_finite=True, checkpoint=None, n_threads=None,
    ):  # fmt: skip
        """The objective alone; arguments as in `loss_and_grad`.

        Returns
        -------
        f : float
            The same bits as from `loss_and_grad`.
        """
        examples = self.prepare(
            X, Y, lengths, mask=mask, sample_weight=sample_weight, step_weight=step_weight,
            reduction=reduction, check_finite=check_finite,
        )  # fmt: skip
        return self.evaluate(
            None, examples, l2=l2, gradient=False, checkpoint=checkpoint, n_threads=n_threads
        )[0]

    def prepare(
        self, X, Y, lengths=None, *, mask=None, sample_weight=None, step_weight=None,
        reduction="mean", check_finite=True,
    ):  # fmt: skip
        """Check and arrange data once that will be evaluated often.

        Parameters are those of `loss_and_grad`.

        Returns
        -------
        Examples
            For `evaluate`. May share memory with X.
        """
        check_finite = as_flag(check_finite, "check_finite")
        as_choice(reduction, "reduction", ("mean", "sum"))
        batch = make_batch(X, self.input_size, self.dtype, lengths, mask, check_finite)
        per_sequence = self._read_layer is not None
        weights = check_weights(sample_weight, step_weight, batch, per_sequence)
        targets = self._loss.prepare_targets(
            Y, batch, self.output_size, per_sequence, self.dtype, check_finite, weights > 0
        )
        return Examples(batch, targets, weights, reduction)

    def evaluate(
        self, params, examples, *, l2=0.0, gradient=True, checkpoint=None, n_threads=None
    ):
        """The objective, and its gradient, at any parameters.

        Parameters
        ----------
        params : (P,) array_like or None
            Converted to the network's dtype; None is the network's own.
        examples : Examples
            From `prepare`.
        l2 : float
        gradient : bool
        checkpoint : int, True or None
            As in `loss_and_grad`.
        n_threads : int, optional

        Returns
        -------
        f : float
        g : (P,) array or None
        """
        l2 = as_number(l2, "l2", 0)
        gradient = as_flag(gradient, "gradient")
        checkpoint = self.check_checkpoint(checkpoint)
        n_threads = as_threads(n_threads)
        if not isinstance(examples, Examples):
            raise TypeError(f"examples: expected Examples, got {describe(examples)}")
        if params is None:
            params, weights = self._params, self._weights
        else:
            params = self._check_params(params, "params")
            weights = self._views(params)
        workspace = self._pool.acquire()
        packed = self._pack(weights, workspace.take)
        body = self._chain(self._body, packed, workspace, n_threads)
        head = self._chain(self._head, packed, workspace, n_threads)
        evaluation = Evaluation(
            body, head, self.readout, self._loss, examples,
            segments(body.layers, examples.batch, self.dtype, checkpoint),
            body.initial(weights[self._body], examples.batch.size), workspace, gradient,
        )  # fmt: skip
        f, g = evaluation.value(), None
        if gradient:
            g = np.empty(self.table.size, self.dtype)
            views = self._views(g)
            evaluation.gradient(views[self._body], views[self._head])
        if l2:
            with np.errstate(over="ignore"):
                for weights_slice in self._weight_slices:
                    theta = params[weights_slice]
                    f += 0.5 * l2 * float(np.sum(theta * theta, dtype=np.float64))
                    if gradient:
                        g[weights_slice] += self.dtype.type(l2) * theta
        self._pool.release(workspace)
        return f, g

    def check_checkpoint(self, checkpoint):
        """`checkpoint` as `loss_and_grad` takes it: None, True or an int; refused if it is none."""
        if checkpoint is None:
            return None
        if checkpoint is not True:
            checkpoint = as_integer(checkpoint, "checkpoint", 1)
        for k, layer in enumerate(self.layers):
            if layer.reads_ahead:
                raise ValueError(
                    f"checkpoint: expected None, for layers[{k}] is bidirectional and reads "
                    f"sequences from both ends, got {checkpoint}"
                )
        return checkpoint

    # ---------------------------------------------------------------- forward and backward

    def _views(self, flat):
        """For each layer its list of `Weights`, views of `flat`."""
        return [
            layer.weights(places, flat)
            for layer, places in zip(self.layers, self._places, strict=True)
        ]

    def _pack(self, weights, take):
        return [layer.pack(w, take) for layer, w in zip(self.layers, weights, strict=True)]

    def _packed_params(self):
        """The network's own parameters, packed, and their `PlainPass`.

        Kept until the parameters are found changed.

        Looking for a change takes a tenth of a single sequence's time, so it is done only where
        there may be one: since the last time somebody has asked for the parameters or holds them.
        """
        kept = self._packed
        if kept is not None and not self._may_have_changed:
            return kept
        self._may_have_changed = False  # before looking: who asks meanwhile sets it again
        if getrefcount(self._params) > self._own_references:
            self._may_have_changed = True
        if kept is None or not kernels.same_bytes(kept.params, self._params):
            params = self._params.copy()
            packed = self._pack(self._views(params), lambda size: aligned_empty(size, self.dtype))
            cells = [layer.kernel_cell(self.dtype) for layer in self.layers]
            plain = kernels.PlainPass(cells, packed, _SQUASH[self._loss.output])
            self._packed = kept = _Packed(params, packed, plain)
        return kept

    def _predict_plain(self, X, check_finite, n_threads):
        """`_predict` where nothing is to be arranged, converted or reported, else None.

        It is what most calls ask for, and all else that they do takes twice a short sequence's
        arithmetic.
        """
        if self._read_layer is not None or not self._plain:
            return None
        plain = self._packed_params().plain
        if not plain.reads(X) or (check_finite and not kernels.all_finite(X)):
            return None
        B, T, _ = X.shape
        threads = [layer.threads(n_threads, self.dtype, B * T, T) for layer in self.layers]
        workspace = self._pool.acquire()
        y = plain(X, *equal_lengths(B, T), threads, workspace.take)
        self._pool.release(workspace)
        return y

    def _predict(self, weights, batch, state, return_state, n_threads, packed=None):
        """Outputs on the user's time axis, and the state if wanted."""
        workspace = self._pool.acquire()
        if packed is None:
            packed = self._packed_params().arrays
        y, state = self._forward(
            weights, packed, batch, state, return_state, workspace, n_threads
        )
        if self._loss.output != "identity":
            rows = y.reshape(-1, self.output_size)
            kernels.output_units(_SQUASH[self._loss.output], rows, rows)
        self._pool.release(workspace)
        if self._read_layer is None:
            if batch.is_padded:
                y[~batch.valid] = 0
            y = batch.scatter(y)
        return y, state

    def _chain(self, part, packed, workspace, n_threads):
        """The layers of `_body`, which see time steps, or of `_head`, behind the readout."""
        return Chain(self.layers[part], packed[part], workspace, n_threads)

    def _forward(self, weights, packed, batch, state, return_state, workspace, n_threads):
        """Output pre-activations, and the state after if wanted.

        The pre-activations are a fresh array (B, L, K), zero where no step is, or (B, K) if read
        out.
        """
        B = batch.size
        body = self._chain(self._body, packed, workspace, n_threads)
        if state is None:
            initial = body.initial(weights[self._body], B)
        else:
            initial = [[entry] for entry in state[self._body]]
        new_state, final = [], None
        if return_state:
            new_state = [
                tuple(np.empty((B, size), self.dtype) for size in layer.state_sizes)
                for layer in self.layers
            ]
            final = [[entry] for entry in new_state[self._body]]
        elif self.readout == "last":
            final = body.state_arrays(B)

        shape = (B, batch.max_length, body.output_size)
        if self.readout == "all":
            y = (np.zeros if batch.is_padded else np.empty)(shape, self.dtype)
        else:
            y = workspace.take(*shape) if self.readout == "mean" else None
        body.forward(batch, initial, y, final)
        if self.readout == "all":
            return y, tuple(new_state)
        if self.readout == "last":
            read = body.outputs(final)
        elif state is None and not return_state:
            read = np.empty((B, body.output_size), self.dtype)
            kernels.mean_over_time(y, batch.lengths, read)
        else:
            total, count = self._no_mean(B) if state is None else state[-1]
            total = total.copy()
            kernels.add_over_time(y, batch.lengths, total)
            count = count + batch.lengths.astype(self.dtype)
            read = mean_of(total, count)
            new_state.append((total, count))
        head = self._chain(self._head, packed, workspace, n_threads)
        return head.forward_rows(read)[0], tuple(new_state)

    def _initial_state(self, weights, B):
        """The state before the first step, as fresh arrays."""
        state = []
        for layer, (w,) in zip(self.layers, weights, strict=True):
            entry = tuple(np.zeros((B, size), self.dtype) for size in layer.state_sizes)
            for values, learned in zip(entry, w.initial, strict=True):
                if learned is not None:
                    values[:, : len(learned)] = learned
            state.append(entry)
        if self.readout == "mean":
            state.append(self._no_mean(B))
        return tuple(state)

    def _no_mean(self, B):
        """The mean over time of no steps yet: (total, count)."""
        read = self.layers[self._read_layer].output_size
        return np.zeros((B, read), self.dtype), np.zeros(B, self.dtype)

    # ------------------------------------------------------------------------------- checks

    def _check_params(self, value, name):
        params = shaped(as_real(value, name, self.dtype), name, (self.table.size,))
        return np.ascontiguousarray(params)

    def _refuse_bidirectional(self, name):
        for k, layer in enumerate(self.layers):
            if layer.reads_ahead:
                raise ValueError(
                    f"{name}: expected whole sequences, for layers[{k}] is bidirectional, "
                    "got a part"
                )

    def _check_step(self, x, check_finite):
        """x as (B, 1, I) or tokens (B, 1), and whether it was one sequence."""
        I, array = self.input_size, as_ndarray(x, "x")
        if array.dtype.kind in "iu" and array.ndim <= 1:
            single, rows = array.ndim == 0, array.reshape(-1)
            rows = check_tokens(rows, None, I, "x")[:, None]
        else:
            array = shaped(as_real(array, "x", self.dtype), "x", (I,), ("B", I))
            single, rows = array.ndim == 1, rows_contiguous(array.reshape(-1, 1, I))
            if check_finite:
                refuse_nonfinite(array, "x")
        if len(rows) == 0:
            raise ValueError(f"x: expected at least one sequence, got {describe(array)}")
        return rows, single

    def _check_state(self, state, B, check_finite):
        """A state as (B, H) arrays; `B` None is one sequence without the axis."""
        expected = [tuple((size,) for size in layer.state_sizes) for layer in self.layers]
        if self.readout == "mean":
            expected.append(((self.layers[self._read_layer].hidden_size,), ()))
        _check_entry(state, "state", len(expected))
        checked = []
        for k, (entry, shapes) in enumerate(zip(state, expected, strict=True)):
            name = f"state[{k}]"
            _check_entry(entry, name, len(shapes))
            arrays = []
            for j, (value, shape) in enumerate(zip(entry, shapes, strict=True)):
                array = as_real(value, f"{name}[{j}]", self.dtype)
                shaped(array, f"{name}[{j}]", shape if B is None else (B, *shape))
                if check_finite:
                    refuse_nonfinite(array, f"{name}[{j}]")
                if B is None:
                    array = array[None]
                arrays.append(rows_contiguous(array) if shape else array)
            checked.append(tuple(arrays))
        return tuple(checked)


def _check_layers(layers):
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"layers: expected a list of layers, got {describe(layers)}")
    if not layers:
        raise ValueError("layers: expected at least one layer, got an empty list")
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            kinds = ", ".join(CELLS)
            raise TypeError(f"layers[{k}]: expected one of {kinds}, got {describe(layer)}")
        if k and layer.input_size != layers[k - 1].output_size:
            raise ValueError(
                f"layers[{k}]: expected input_size {layers[k - 1].output_size}, the outputs of "
                f"layers[{k - 1}], got {layer.input_size}"
            )
    return tuple(layers)


def _check_seed(seed):
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed: expected None, an integer >= 0, a SeedSequence or a Generator, "
            f"got {describe(seed)}"
        ) from error


def _check_entry(entry, name, length):
    if not isinstance(entry, tuple):
        raise TypeError(f"{name}: expected a tuple of length {length}, got {describe(entry)}")
    if len(entry) != length:
        raise ValueError(f"{name}: expected a tuple of length {length}, got {describe(entry)}")

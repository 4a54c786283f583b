"""`Network`: a chain of layers, a readout, a loss, and one flat vector of parameters.

Here are the names, the checks and what they say to users; `Network.passes` computes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, overload

import numpy as np

from ._archive import write
from ._checks import (
    as_choice,
    as_flag,
    as_generator,
    as_integer,
    as_real_dtype,
    as_threads,
    describe,
)
from ._description import as_notes, describe_network
from ._dispatch import kernels
from ._examples import Examples, check_weights, weigh_classes
from ._fixed import Fixed
from ._generation import Generation
from ._initial import Initial
from ._outputs import units_of
from ._parameters import Parameters
from ._passes import Passes
from ._penalty import Penalty
from ._readout import cut
from ._states import States
from .cells import CELLS, Layer
from .losses import LOSSES, find_loss
from .sequences import as_outputs, check_columns, make_batch, single_steps
from .streaming import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal

    import numpy.typing as npt
    from typing_extensions import Unpack

    from ._params import BlockTable
    from ._types import (
        Array,
        Data,
        LossKeywords,
        LossLike,
        Notes,
        NotesLike,
        OutputUnits,
        Path,
        PredictOptions,
        Readout,
        Reduction,
        Seed,
        SequencesLike,
        State,
        StateLike,
        Strength,
    )
    from .cells import Dense, Weights

__all__ = ["Network"]


class Network(Fixed):
    """A chain of layers with a readout and a loss.

    Parameters
    ----------
    layers : sequence of Layer
        `RNN`, `LSTM`, `GRU` and `Dense` layers in any order. Each takes as many numbers as the one
        before it gives. The first may be an `Embedding` or a `MixedEmbedding`.
    loss : str, Loss or function
        "squared_error", "cross_entropy", "binary_cross_entropy", "poisson", "huber", "quantile",
        "ctc" or "mixture". It also fixes the output activation, which is, in this order, identity,
        softmax (of two outputs or more), logistic, exponential, identity, identity, softmax, and of
        a mixture the several units of its parameters. A loss with options is an object of its class
        in `lstmcore.losses`, such as ``Huber(delta=0.1)`` or ``Quantile([0.1, 0.9])``. A loss of
        your own is a function ``value, derivative = function(outputs, targets)`` of identity
        outputs (see `lstmcore.losses.FunctionLoss`), or an object of a class derived from
        `lstmcore.losses.Loss`.
    readout : {"all", "last", "mean", "max", "last_step"}
        What the layers after the last recurrent layer see. "all" is its output at every step.
        "last" is its final output, that of each direction when it has read all steps. "mean" and
        "max" are the mean and the maximum of its outputs over time; without steps they are 0.
        "last_step" is its output at the last time step, where a direction that reads in reverse has
        seen this step alone.
    dtype : {"float64", "float32"}
    seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
        Of the initial parameters.
    initial : int or Dense, optional
        The number F of static features of a sequence, of which the initial states of all recurrent
        layers are a function; or the `Dense` layer that is this function, whose outputs are the
        states h and c of every layer and direction, one after the other. Data then have
        ``features=`` beside X: see docs/conditioning.md.

    Attributes
    ----------
    params : (P,) array
        All parameters, layer by layer and direction by direction; within each the blocks W, R, b,
        p, Q, h0, c0, as far as it has them. Those of `initial` are the last. Write into it, or
        assign a vector to copy it in.
    blocks : mapping of str to ndarray
        Named views of `params`: ``"0.W"``, ``"1.forward.R"``, ``"initial.W"``.
    layers : tuple of Layer
    initial : Dense or None
        The layer from features to initial states.
    weights : list
        For each layer a list with one `Weights` for each direction, views of `params`.
    weight_slices : tuple of slice
        The stretches of `params` that `penalty` counts.
    body, head : slice
        The layers that see time steps, up to the one that is read out, and those after it.
    input_size, output_size : int
        I and K.
    feature_size : int
        F; 0 where initial states are no function of features.
    takes_tokens : bool
        Whether inputs may be integer tokens 0 ... I-1. That is so where the first layer is an
        `Embedding`, or any layer with ``tokens=True``.
    loss_name, readout : str
    output_units : {"identity", "logistic", "softmax", "exponential", "tanh", "mixed"}
    dtype : numpy.dtype
    notes : mapping of str to str or tuple of str
        What `save` was given to write beside the network; empty unless `lstmcore.load` has read
        some. Nothing is computed with them.

    Warns
    -----
    UserWarning
        The last layer has an activation that keeps the loss's own output units from the ends of
        their range, which are 0 and 1, or 0 and infinity of exponential units.

    Notes
    -----
    All attributes but `params` are read-only: a new network is built from `options`.

    Initial weights are Glorot-uniform (W) and orthogonal (R), gate by gate. All else is zero except
    for the forget gate's bias, unless a layer's options say otherwise. A seed means the same start,
    to the bit, on every processor, system and build; in float32 it is the same start, rounded.
    docs/reproducibility.md says what else is equal where.

    Any number of threads may use a network at once as long as none writes to its parameters. The
    memory that calls have needed is kept for the next ones; `release_memory` frees it.

    The kernels need the weights in an order of their own, and arrange them anew when the parameters
    have changed. To find out, every call of `predict` and `step` compares all bytes of `params`,
    which costs as much as reading them twice. That is 3 % of the time of one sequence of 100 steps
    with 128 units, up to 10 % with 512 units, and more where a call is a single step. A copy that
    is `frozen` need not compare, and a `stream` takes new parameters when it is told to.

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

    layers: tuple[Layer, ...]
    initial: Dense | None
    readout: Readout
    dtype: np.dtype[Any]
    body: slice
    head: slice
    input_size: int
    output_size: int
    feature_size: int
    takes_tokens: bool
    notes: Notes

    _instead = "build a new one: Network(**net.options | {...})"
    _fixed = (
        "layers",
        "initial",
        "passes",
        "readout",
        "dtype",
        "body",
        "head",
        "input_size",
        "output_size",
        "feature_size",
        "takes_tokens",
        "notes",
    )

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: LossLike = "squared_error",
        readout: Readout = "all",
        dtype: npt.DTypeLike = "float64",
        seed: Seed = None,
        *,
        initial: int | Dense | None = None,
    ) -> None:
        self._build(layers, loss, readout, dtype, seed, initial=initial)
        self._warn_of_a_second_activation()

    @classmethod
    def _of(cls, options, params, notes=None):
        """A network of `options` with a copy of the parameters `params`; draws no others."""
        net = cls.__new__(cls)
        net._build(**options, params=params, notes=notes)
        return net

    def _build(
        self, layers, loss, readout, dtype, seed=None, params=None, notes=None, initial=None
    ):
        self.layers = _check_layers(layers)
        self._loss = find_loss(loss)
        self._parts = parts = cut(self.layers, readout)
        self.readout = readout
        self.dtype = as_real_dtype(dtype)
        self.body, self.head = parts.body, parts.head
        self.input_size = self.layers[0].input_size
        self.output_size = self.layers[-1].output_size
        self.takes_tokens = self.layers[0].tokens
        function = None if initial is None else Initial(self.layers, initial)
        self.initial = function and function.layer
        self.feature_size = function.size if function else 0
        self.notes = as_notes({} if notes is None else notes)
        self._check_loss()
        self._output = units_of(self._loss, self.output_size)
        rng = as_generator(seed) if params is None else None
        self._parameters = Parameters(self.layers, self.dtype, rng, params, function)
        self._states = States(parts, self.dtype, function)
        self.passes = Passes(
            self.layers,
            parts,
            self._loss,
            self._output,
            self._parameters,
            self._states,
            self.dtype,
            function,
        )
        # What examples depend on: those of a network of another form would be misread.
        self._form = (
            f"input_size {self.input_size}, output_size {self.output_size}, "
            f"loss={self.options['loss']!r}, readout={readout!r}, dtype={self.dtype.name!r}"
            + (f", feature_size {self.feature_size}" if function else "")
        )

    def _warn_of_a_second_activation(self):
        """Warn where the last layer's activation keeps the output units from their ends."""
        last = self.layers[-1]
        if last.is_recurrent:
            return
        cell = last.cell.description
        reached = np.array([-1e4, 1e4])
        kernels.apply_activation(
            cell["act_output"], cell["alpha_output"], cell["beta_output"], reached, reached
        )
        for units in self._output.kinds:
            if units.name == "identity":
                continue
            low, high = units.range
            ends = reached.copy()
            units.apply(ends.reshape(1, 2))
            if ends.min() < low + 1e-6 and ends.max() > min(high, 1e6) - 1e-6:
                continue
            warnings.warn(
                f"layers[{len(self.layers) - 1}]: its activation {last.options['activation']!r} "
                f"keeps the outputs from {low:g} or {high:g}, for the loss {self.loss_name!r} has "
                f"{units.name} outputs of its own; expected a Dense layer without an activation",
                stacklevel=3,
            )
            return

    def _check_loss(self):
        """Raise where loss, readout and number of outputs do not go together."""
        loss, is_read_out = self._loss, not self._parts.readout.per_step
        if loss.terms == "sequences" and is_read_out:
            raise ValueError(
                f"readout: expected 'all' with the loss {loss.name!r}, whose terms are whole "
                f"sequences, got {self.readout!r}"
            )
        loss.target_size(self.output_size)

    @property
    def table(self) -> BlockTable:
        return self._parameters.table

    @property
    def weight_slices(self) -> tuple[slice, ...]:
        return tuple(self._parameters.weight_slices)

    @property
    def params(self) -> Array:
        return self._parameters.shown

    @params.setter
    def params(self, value: npt.ArrayLike) -> None:
        value = self._parameters.check(value, "params")
        flat = self._parameters.flat
        if not flat.flags.writeable:
            raise ValueError(
                "params: expected a network that is not frozen, got one that is; "
                "write to the network that it is a copy of, and freeze that anew"
            )
        flat[...] = value

    def initial_params(self, seed: Seed = None) -> Array:
        """Fresh initial parameters, those of ``Network(**net.options, seed=seed)``.

        Parameters
        ----------
        seed : None, int, numpy.random.SeedSequence or numpy.random.Generator

        Returns
        -------
        (P,) array

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(2, 3)], seed=0)
        >>> bool((net.initial_params(seed=0) == net.params).all())
        True
        >>> net.params = net.initial_params(seed=1)
        """
        return self.table.start(as_generator(seed), self.dtype)

    @property
    def blocks(self) -> Mapping[str, Array]:
        return self._parameters.blocks()

    @property
    def weights(self) -> list[list[Weights]]:
        return self._parameters.views(self._parameters.flat)[: len(self.layers)]

    @property
    def loss_name(self) -> str:
        return self._loss.name

    @property
    def output_units(self) -> OutputUnits:
        return self._output.name

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments but for the seed; layers and losses as objects.

        A loss that its name alone can find is its name.
        """
        loss = self._loss
        if LOSSES.get(loss.name) is type(loss) and not loss.options:
            loss = loss.name
        return {
            "layers": self.layers,
            "loss": loss,
            "readout": self.readout,
            "dtype": self.dtype.name,
            "initial": self.initial,
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.options | {"params": self.params, "notes": dict(self.notes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(**state)

    def __repr__(self) -> str:
        options = self.options
        layers = ", ".join(map(repr, options.pop("layers")))
        if options["initial"] is None:
            del options["initial"]
        rest = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"Network([{layers}], {rest})"

    def summary(self) -> str:
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
        if self.initial is not None:
            size = sum(block.size for block in self._parameters.of_layer(len(self.layers)))
            shape = f"(B, {self.initial.output_size})"
            rows.append(("", f"initial states: {self.initial!r}", shape, str(size)))
        for k, layer in enumerate(self.layers):
            shape = f"({dims}, {layer.output_size})"
            size = sum(block.size for block in self._parameters.of_layer(k))
            rows.append((str(k), repr(layer), shape, str(size)))
            if k == self._parts.read_layer and not self._parts.readout.per_step:
                dims = "B"
                rows.append(("", self._parts.readout.summary, f"(B, {layer.output_size})", ""))
        what = f"{self.loss_name} ({self.output_units} outputs)"
        rows.append(("", what, self.dtype.name, str(self.table.size)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{k:<{widths[0]}}  {what:<{widths[1]}}  {shape:<{widths[2]}}  {size:>{widths[3]}}"
            for k, what, shape, size in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def frozen(self) -> Network:
        """A copy of the network whose parameters are read-only.

        Its calls do not look whether parameters have changed, which saves the most where a call is
        one short sequence and the layers are large.

        Returns
        -------
        Network

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(2, 3)], seed=0)
        >>> fixed, x = net.frozen(), np.ones((1, 4, 2))
        >>> bool((fixed.predict(x) == net.predict(x)).all())
        True
        >>> fixed.params[0] = 1.0
        Traceback (most recent call last):
        ValueError: assignment destination is read-only
        """
        copy = Network._of(self.options, self.params, self.notes)
        copy._parameters.freeze()
        return copy

    def release_memory(self) -> None:
        """Free the memory that the network keeps between calls."""
        self.passes.release_memory()
        self._parameters.release_memory()

    def save(self, path: Path, *, notes: NotesLike | None = None) -> None:
        """Write the network to one file, for `lstmcore.load`.

        Parameters
        ----------
        path : str or path-like
            Replaced at once if it exists: a reader sees the old file or the new one.
        notes : mapping of str to str or sequence of str, optional
            What the file says of the network, for the attribute `notes` of whoever loads it: the
            names of classes, where the data came from. By default those that the network has.

        Raises
        ------
        TypeError
            The loss is a function, which a file cannot hold. Or `notes` are not text.

        Examples
        --------
        >>> import os, tempfile
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(3, 4), lc.Dense(4, 2)], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "model.npz"), notes={"classes": ["no", "yes"]})
        ...     again = lc.load(os.path.join(folder, "model.npz"))
        >>> bool((again.params == net.params).all()), again.notes["classes"]
        (True, ('no', 'yes'))
        """
        notes = self.notes if notes is None else as_notes(notes)
        write(path, *describe_network(self.options, self.params, notes))

    def to_onnx(
        self, path: Path | None = None, *, lengths: bool = False, states: bool = False
    ) -> bytes | None:
        """Write the network as an ONNX graph, for ONNX Runtime and other programs.

        Parameters
        ----------
        path : str or path-like, optional
            A file of this name is replaced at once. Without a path the bytes are returned.
        lengths : bool
            The graph has an input ``"lengths"``, the steps of each sequence.
        states : bool
            The graph takes the states before the first step and gives those after the last one, so
            that sequences may come in pieces. It cannot be done with layers that read in reverse.

        Returns
        -------
        bytes or None

        Raises
        ------
        TypeError, ValueError
            The message names the argument, what was expected and what came. One error names
            everything in the network that ONNX cannot say: LSTM layers with `gate_recurrence`, with
            blocks of cells and peepholes, with ``output_peephole="before"``, or without a gate
            where the activation of gates is never 1; or more than 2 GB of weights.
        ImportError
            The package `onnx` is not installed.

        Notes
        -----
        The graph is of operator set 17. It computes in float32, whatever the network's dtype is.

        Its inputs are ``"X"``, float32 (B, T, I), or int64 (B, T) if the network `takes_tokens`,
        and ``"lengths"``, int64 (B,). Its output is ``"Y"``, what `predict` gives, zero where no
        step is: float32 (B, T, K), or (B, K) if sequences are read out. B and T >= 1 are free.

        With ``states`` there is an input for each array of the state that `step` takes: ``"0.h"``
        and ``"0.c"`` of layer 0, float32 (B, H); of a readout ``"total"`` or ``"largest"``, and
        ``"count"`` (B,). All are zero at first. The outputs ``"0.h.next"``, ... stand in the same
        order. What a learned state is at first is in the file's metadata, as JSON, under the name
        of the input.

        `lstmcore.from_onnx` reads the file back, and docs/onnx.md has more about it.

        Examples
        --------
        >>> import numpy as np
        >>> import onnxruntime
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], loss="cross_entropy", readout="mean",
        ...                  dtype="float32", seed=0)
        >>> session = onnxruntime.InferenceSession(net.to_onnx(lengths=True))
        >>> X = np.random.default_rng(0).standard_normal((4, 10, 3), dtype=np.float32)
        >>> lengths = np.array([10, 7, 1, 0])
        >>> y, = session.run(None, {"X": X, "lengths": lengths})
        >>> bool(np.allclose(y, net.predict(X, lengths), atol=1e-6))
        True
        """
        from .interop.onnx._write import to_onnx  # needs onnx, which is imported when used

        return to_onnx(self, path, lengths=lengths, states=states)

    # ------------------------------------------------------------------------------- outputs

    # Of a list the outputs are a list, or one array where sequences are read out.
    @overload
    def predict(
        self,
        X: list[Any] | tuple[Any, ...],
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> Any: ...

    @overload
    def predict(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[False] = ...,
        **options: Unpack[PredictOptions],
    ) -> Array: ...

    @overload
    def predict(
        self,
        X: list[Any] | tuple[Any, ...],
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[Any, State]: ...

    @overload
    def predict(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[True],
        **options: Unpack[PredictOptions],
    ) -> tuple[Array, State]: ...

    @overload
    def predict(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: bool,
        **options: Unpack[PredictOptions],
    ) -> Any: ...

    def predict(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        state: StateLike | None = None,
        features: npt.ArrayLike | None = None,
        return_state: bool = False,
        check_finite: bool = True,
        n_threads: int | None = None,
    ) -> Any:
        """Outputs after the output activation.

        Parameters
        ----------
        X : (B, T, I) array_like or list of (T_b, I) array_like
            Sequences of numbers of any real dtype. A network that `takes_tokens` also takes
            integers (B, T) or a list of (T_b,): tokens 0 ... I-1, which stand for one-hot vectors.
            X is never written to. A list holds whole sequences; together with `lengths` or `mask`
            it is read as an array given as nested lists.
        lengths : (B,) array_like of int, optional
            How many steps each sequence of an array has; by default T. What lies after them is
            never looked at.
        mask : (B, T) array_like of bool, optional
            In place of `lengths`: which steps are there. The others do not happen; the state is
            carried over them.
        state : tuple, optional
            From a call before, to continue its sequences; by default the initial state.
        features : (B, F) array_like, optional
            Static features of each sequence, where the network's initial states are a function of
            some (`initial`), and no `state` takes their place.
        return_state : bool
            Also return the state after each sequence's last step.
        check_finite : bool
            Refuse NaN and infinity.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        Y : (B, T, K) array, zero where no step is; of a list, a list of (T_b, K) arrays
            Or, if the sequences are read out, (B, K).
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
        if lengths is mask is state is features is None and return_state is False:
            y = self.passes.predict_plain(X, check_finite, n_threads)
            if y is not None:
                return y
        batch = self._as_batch(X, lengths, mask, features, state, check_finite)
        return_state = as_flag(return_state, "return_state")
        state = self._as_state(state, "state", batch, check_finite)
        if return_state:
            self._states.refuse_reading_ahead("return_state")
        y, state = self.passes.predict(batch, state, return_state, n_threads)
        if self._parts.readout.per_step:
            y = batch.arrange(y)
        return (y, state) if return_state else y

    def trace(
        self,
        X: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        state: StateLike | None = None,
        features: npt.ArrayLike | None = None,
        check_finite: bool = True,
        n_threads: int | None = None,
    ) -> dict[str, Any]:
        """All gates, states and outputs of every layer at every step.

        Parameters
        ----------
        X, lengths, mask, state, features, check_finite, n_threads
            As in `predict`.

        Returns
        -------
        dict of str to array
            By the number of the layer and a name, each (B, T, n) and zero where no step is, or of a
            list a list of (T_b, n) arrays:

            - of an `LSTM` ``"0.i"``, ``"0.f"``, ``"0.g"``, ``"0.o"``, ``"0.c"`` and ``"0.h"``. A
              gate that is left out is not there; a coupled f is. Gates of blocks of cells have H /
              C columns, all else H.
            - of a `GRU` ``"0.r"``, ``"0.z"``, ``"0.n"`` and ``"0.h"``; of an `RNN` ``"0.h"``.
            - of a layer of two directions ``"0.forward.i"`` and ``"0.backward.i"``, and so on. What
              a direction in reverse had at a step of the sequence is at that step.
            - of a `Dense` layer or an `Embedding` ``"1.y"``, after the layer's own activation;
              (B, K) after a readout.
            - ``"readout"``, (B, H), what is read out, if anything is; and ``"y"``, what `predict`
              gives, the same bits.

            Gates are after their activation. All arrays are fresh.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(3, 8), lc.Dense(8, 2)], readout="last", seed=0)
        >>> X = np.random.default_rng(0).standard_normal((4, 10, 3))
        >>> trace = net.trace(X)
        >>> for name, values in trace.items():
        ...     print(name, values.shape)
        0.i (4, 10, 8)
        0.f (4, 10, 8)
        0.g (4, 10, 8)
        0.o (4, 10, 8)
        0.c (4, 10, 8)
        0.h (4, 10, 8)
        readout (4, 8)
        1.y (4, 2)
        y (4, 2)
        >>> bool(np.allclose(trace["0.h"], trace["0.o"] * np.tanh(trace["0.c"])))
        True
        """
        check_finite = as_flag(check_finite, "check_finite")
        n_threads = as_threads(n_threads)
        batch = self._as_batch(X, lengths, mask, features, state, check_finite)
        state = self._as_state(state, "state", batch, check_finite)
        return self.passes.trace(batch, state, n_threads)

    def trace_gradient(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        n_threads: int | None = None,
        **data: Unpack[Data],
    ) -> dict[str, Any]:
        """The loss's derivative by h and c of every recurrent layer, at every step.

        The derivative by h(t) is the whole one: it has what the layers above make of h(t), and what
        the layer's own later steps make of it. The derivative by the cell state c(t) of an `LSTM`
        has what the later steps make of c(t); what c(t) does to h(t) is not in it. How these
        derivatives fade from the end of a sequence to its beginning tells how far back the network
        can learn. `lstmcore.plot_gradients` shows it.

        Parameters
        ----------
        X, Y, lengths, **data
            The data: see `prepare`.
        n_threads : int, optional
            Of the forward pass; by default a choice by the size of the work.

        Returns
        -------
        dict of str to array
            By the names of `trace` that end in ``".h"`` or ``".c"``, and in their form; from the
            last layer to the first.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Notes
        -----
        BPTT goes back a step at a time here, which takes longer than `loss_and_grad`: much longer
        where layers and batches are small.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.RNN(1, 4), lc.Dense(4, 1)], readout="last", seed=0)
        >>> dh = net.trace_gradient(np.ones((2, 20, 1)), np.zeros((2, 1)))["0.h"]
        >>> dh.shape
        (2, 20, 4)
        >>> early, late = np.linalg.norm(dh[0, 0]), np.linalg.norm(dh[0, -1])
        >>> bool(early < late)
        True
        """
        n_threads = as_threads(n_threads)
        examples = self.prepare(X, Y, lengths, **data)
        return self.passes.trace_gradient(examples, n_threads)

    def step(
        self,
        x: npt.ArrayLike,
        state: StateLike | None = None,
        *,
        features: npt.ArrayLike | None = None,
        check_finite: bool = True,
        n_threads: int | None = None,
    ) -> tuple[Array, State]:
        """Outputs of one time step.

        Parameters
        ----------
        x : (I,) or (B, I) array_like
            One step of one sequence or of B sequences. For a network that `takes_tokens` an int or
            (B,) array_like of int, or numbers (B, I), of one sequence (1, I).
        state : tuple, optional
            What the step before returned; None is the initial state.
        features : (F,) or (B, F) array_like, as x is, optional
            As in `predict`, for the first step.
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
            activations. With readout "mean" there is one more entry, ``(total, count)``, with
            "max" ``(largest, count)``.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came; also if a layer reads sequences
            in reverse, which needs whole ones.

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.RNN(2, 3), lc.Dense(3, 1)], seed=0)
        >>> y, state = net.step([0.5, -0.5])
        >>> y, state = net.step([0.1, 0.2], state)
        >>> y.shape, [h.shape for h in state[0]]
        ((1,), [(3,)])
        """
        self._states.refuse_reading_ahead("x")
        check_finite = as_flag(check_finite, "check_finite")
        n_threads = as_threads(n_threads)
        x, single = self._states.check_step(x, check_finite)
        n = None if single else len(x)
        batch = single_steps(x, self._states.check_features(features, n, check_finite, state))
        if state is not None:
            state = self._states.check(state, n, check_finite)
        y, after = self.passes.predict(batch, state, True, n_threads)
        if single:
            return y[0], tuple(tuple(values[0] for values in entry) for entry in after)
        return y, after

    def stream(
        self,
        batch_size: int = 1,
        *,
        features: npt.ArrayLike | None = None,
        state: StateLike | None = None,
        check_finite: bool = True,
    ) -> Stream:
        """An object that takes one step a call and keeps the state in between.

        Parameters
        ----------
        batch_size : int
            Number of sequences that run side by side.
        features : (B, F) array_like, optional
            As in `predict`: what `reset` takes the initial state from. It may be (F,) where
            `batch_size` is 1.
        state : tuple, optional
            To begin with, in arrays with the axis B; by default the initial state.
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
        parts = self._parameters, self._states, self._output
        return Stream(*parts, batch_size, check_finite, features, state)

    def generate(
        self,
        start: npt.ArrayLike | None = None,
        steps: int | None = None,
        *,
        rng: Seed = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        stop: int | Sequence[int] | Callable[[Any], bool] | None = None,
        state: StateLike | None = None,
        prime: SequencesLike | None = None,
        features: npt.ArrayLike | None = None,
        n: int | None = None,
        feed: Callable[[Any, int], npt.ArrayLike] | None = None,
        return_log_prob: bool = False,
        return_state: bool = False,
        **options: Any,
    ) -> Any:
        """Sequences that the network makes: what its outputs stand for is its next input.

        At each step the loss says what is drawn from the outputs: `cross_entropy` a class, which is
        the next token; `binary_cross_entropy` labels 0 and 1, `poisson` counts; a loss of identity
        outputs the outputs themselves, without chance. See `lstmcore.losses.Loss.sample`.

        Parameters
        ----------
        start : int or (I,) array_like, or with an axis B before; or None
            The input of the first step with a draw. None is the last step of `prime`; without that
            it is zero, and for a network that `takes_tokens` an error.
        steps : int
            Draws, at most. It has to be given.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            What the draws come from. None is another start at every call.
        temperature : float
            Of draws by `cross_entropy` and `binary_cross_entropy`: the output pre-activations are
            divided by it. Below 1 what is likely becomes likelier. 0 takes the likeliest class; of
            several that are as likely, that with the lowest number.
        top_k : int, optional
            Of classes: draw from the k likeliest only.
        stop : int, sequence of int, or function; optional
            A sequence ends with the first draw of such a class, which belongs to it. Or with that
            of which the function ``stop(draw)`` is True; it gets an int or an array (D,).
        state : tuple, optional
            Where sequences go on, as in `step`, with or without the axis B. By default the initial
            state.
        prime : sequence or batch of sequences, optional
            Inputs that come before `start`: tokens (T,) or numbers (T, I), or several such as
            `predict` takes them, which may be a list of unequal lengths.
        features : (F,) or (B, F) array_like, optional
            As in `predict`: of all sequences, or of each.
        n : int, optional
            How many sequences to make. By default as many as `start`, `prime`, `state` and
            `features` have, of which each has an axis B or is the same for all.
        feed : function, optional
            ``feed(draw, step)`` gives the input that follows a draw, the step being counted from 0;
            of all B sequences at once, unless it is one without the axis B. By default the input is
            the draw.
        return_log_prob : bool
            Also return the logarithm of the probability with which each class was drawn, of
            `temperature` and `top_k` as they are.
        return_state : bool
            Also return the state after the step with a sequence's last draw, which has not been fed
            back yet: ``start=draw`` goes on.
        **options
            Of the draws of a loss, by the names that its `sample` has.

        Returns
        -------
        draws : (n, steps) array of int, or (n, steps, D) array
            Without the axis n where neither that was given nor anything has the axis B. With
            `stop` a list with an array for each sequence, of as many steps as it has.
        log_prob
            Only with `return_log_prob`, in the form of the draws.
        state : tuple
            Only with `return_state`. See `step`.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came; also if a layer reads sequences in
            reverse, or draws cannot be inputs.
        NotImplementedError
            If the loss does not say how targets are drawn.

        Notes
        -----
        The same seed draws the same. For classes, one uniform number is drawn for each sequence and
        step before the first step, sequence by sequence, and the class is the first whose
        cumulative probability is above it. So n sequences are those of n calls one after the other,
        with one generator. Draws of other losses come from the generator step by step.

        If draws are classes that become tokens, or the outputs themselves, all steps are one
        compiled call, with the GIL released. With functions for `stop` or `feed`, and with draws of
        other losses, there is some Python at each step.

        Examples
        --------
        A network learns to count to 5, and what comes after a few numbers:

        >>> import numpy as np
        >>> import lstmcore as lc
        >>> text = np.tile(np.arange(6), 20)
        >>> net = lc.Network([lc.LSTM(6, 8, tokens=True), lc.Dense(8, 6)], "cross_entropy", seed=0)
        >>> result = lc.fit(net, text[None, :-1], text[None, 1:], max_iter=40)
        >>> net.generate(steps=8, prime=[2, 3], rng=0).tolist()
        [4, 5, 0, 1, 2, 3, 4, 5]
        >>> net.generate(2, 8, stop=0, n=2, rng=0)
        [array([3, 4, 5, 0]), array([3, 4, 5, 0])]
        """
        generation = Generation(
            self._parameters, self._states, self._output, self._loss, self.passes
        )
        return generation.run(
            start,
            steps,
            rng=rng,
            temperature=temperature,
            top_k=top_k,
            stop=stop,
            state=state,
            prime=prime,
            features=features,
            n=n,
            feed=feed,
            return_log_prob=return_log_prob,
            return_state=return_state,
            options=options,
        )

    # ------------------------------------------------------------------------------ the loss

    @overload
    def loss_and_grad(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[False] = ...,
        **options: Unpack[LossKeywords],
    ) -> tuple[float, Array]: ...

    @overload
    def loss_and_grad(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[True],
        **options: Unpack[LossKeywords],
    ) -> tuple[float, Array, State]: ...

    @overload
    def loss_and_grad(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: bool,
        **options: Unpack[LossKeywords],
    ) -> Any: ...

    def loss_and_grad(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: bool = False,
        l2: Strength = 0.0,
        l1: Strength = 0.0,
        checkpoint: int | None = None,
        n_threads: int | None = None,
        **data: Unpack[Data],
    ) -> Any:
        """The objective and its gradient at `params`.

        The objective is the weighted mean of the loss over all scored terms (steps, or sequences if
        they are read out or the loss says so), and `penalty`.

        Parameters
        ----------
        X, Y, lengths, **data
            The data: see `prepare`. Among them is ``state=``, to continue sequences.
        return_state : bool
            Also return the state after each sequence's last step, as `predict` does.
        l2, l1 : float or mapping of str to float
            Strengths of the penalty, of all weights or of blocks by name: see `penalty`.
        checkpoint : int, True or None
            Bounds the memory for long sequences. What BPTT needs is kept for one segment of at
            least this many time steps at a time, instead of all T; True takes √T. It costs a second
            forward pass, and does not work with layers that read in reverse.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        f : float
            Without a readout `checkpoint` may change the last bits, because terms are summed up by
            segments.
        g : (P,) array
            Fresh, of the network's dtype. The same bits for any number of threads and with any
            `checkpoint`.
        state : tuple
            Only with `return_state`.

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

        Truncated BPTT along one long sequence: the state goes on from stretch to stretch, the
        gradient does not go back. `fit` does it with `truncate`.

        >>> x = np.sin(np.arange(1001.0)).reshape(1, -1, 1)
        >>> net, state = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0), None
        >>> for t in range(0, 1000, 50):
        ...     stretch = x[:, t : t + 50], x[:, t + 1 : t + 51]
        ...     f, g, state = net.loss_and_grad(*stretch, state=state, return_state=True)
        ...     net.params -= 0.1 * g
        """
        examples = self.prepare(X, Y, lengths, **data)
        return self._objective(examples, (l2, l1), True, return_state, checkpoint, n_threads)

    @overload
    def loss(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[False] = ...,
        **options: Unpack[LossKeywords],
    ) -> float: ...

    @overload
    def loss(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: Literal[True],
        **options: Unpack[LossKeywords],
    ) -> tuple[float, State]: ...

    @overload
    def loss(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = ...,
        *,
        return_state: bool,
        **options: Unpack[LossKeywords],
    ) -> Any: ...

    def loss(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: bool = False,
        l2: Strength = 0.0,
        l1: Strength = 0.0,
        checkpoint: int | None = None,
        n_threads: int | None = None,
        **data: Unpack[Data],
    ) -> Any:
        """The objective alone; arguments as in `loss_and_grad`.

        Returns
        -------
        f : float
            The same bits as from `loss_and_grad`.
        state : tuple
            Only with `return_state`.
        """
        examples = self.prepare(X, Y, lengths, **data)
        penalty = l2, l1
        f, _, *state = self._objective(
            examples, penalty, False, return_state, checkpoint, n_threads
        )
        return (f, *state) if state else f

    @overload
    def vjp(
        self,
        X: SequencesLike,
        dy: SequencesLike | Callable[[Array], SequencesLike] | None,
        lengths: npt.ArrayLike | None = ...,
        *,
        dstate: StateLike | None = ...,
        return_dX: Literal[False] = ...,
        return_dfeatures: Literal[False] = ...,
        return_dstate: Literal[False] = ...,
        return_state: Literal[False] = ...,
        checkpoint: int | None = ...,
        **options: Unpack[PredictOptions],
    ) -> Array: ...

    @overload
    def vjp(
        self,
        X: SequencesLike,
        dy: SequencesLike | Callable[[Array], SequencesLike] | None,
        lengths: npt.ArrayLike | None = ...,
        *,
        dstate: StateLike | None = ...,
        return_dX: bool = ...,
        return_dfeatures: bool = ...,
        return_dstate: bool = ...,
        return_state: bool = ...,
        checkpoint: int | None = ...,
        **options: Unpack[PredictOptions],
    ) -> Any: ...

    def vjp(
        self,
        X: SequencesLike,
        dy: SequencesLike | Callable[[Array], SequencesLike] | None,
        lengths: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        state: StateLike | None = None,
        features: npt.ArrayLike | None = None,
        dstate: StateLike | None = None,
        return_dX: bool = False,
        return_dfeatures: bool = False,
        return_dstate: bool = False,
        return_state: bool = False,
        checkpoint: int | None = None,
        check_finite: bool = True,
        n_threads: int | None = None,
    ) -> Any:
        """The gradient of anything that is computed from the outputs, by BPTT.

        With L a function of what `predict` gives, and dy = dL/d(outputs), it is dL/d(parameters):
        the product of dy with the Jacobian of the outputs.

        Parameters
        ----------
        X, lengths, mask, state, features
            As in `predict`.
        dy : array_like, list of array_like, callable or None
            dL/dy in the form of the outputs y that `predict` gives. What it holds where no step is,
            is never looked at. A function is called with y and returns dL/dy, which saves the
            forward pass of a `predict` before. None means zero: L depends on the state alone.
        dstate : tuple, optional
            dL/d(state after the last step), in the form of that state: what `return_dstate` gives
            for the steps after these. By default zero.
        return_dX : bool
            Also return dL/dX. Not with tokens.
        return_dfeatures : bool
            Also return dL/d(features), where the network's initial states are a function of some.
        return_dstate : bool
            Also return dL/d(state before the first step).
        return_state : bool
            Also return the state after each sequence's last step.
        checkpoint : int, True or None
            As in `loss_and_grad`.
        check_finite : bool
            Refuse NaN and infinity.
        n_threads : int, optional
            By default a choice by the size of the work.

        Returns
        -------
        g : (P,) array
            dL/d(parameters), fresh, of the network's dtype. It is zero for learned initial states,
            and for those of `initial`, if a `state` is given in their place.
        dX : (B, T, I) array, zero where no step is; of a list, a list of (T_b, I) arrays
            Only with `return_dX`.
        dfeatures : (B, F) array
            Only with `return_dfeatures`. It is zero if a `state` is given in their place.
        dstate : tuple
            Only with `return_dstate`; one state for each sequence. The count of a readout is no
            variable, so its derivative is 0.
        state : tuple
            Only with `return_state`.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Notes
        -----
        Where output units are not the identity, their derivative is part of the product. If the
        loss is a sum over steps or sequences, make it the network's own loss, a function or a
        class: then `fit` and everything else that trains can use it. A class
        (`lstmcore.losses.Loss`) sees the outputs before these units.

        Examples
        --------
        The sequences are to end in the same place, whichever it is:

        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], readout="last", seed=0)
        >>> X = np.random.default_rng(0).standard_normal((8, 10, 2))
        >>> spread = [float(net.predict(X).var())]
        >>> for _ in range(20):
        ...     y = net.predict(X)
        ...     net.params -= net.vjp(X, 2 * (y - y.mean()) / len(y))
        ...     spread.append(float(net.predict(X).var()))
        >>> spread[-1] < 0.5 * spread[0]
        True

        Two networks, of which the second begins where the first has ended:

        >>> reader, writer = (lc.Network([lc.LSTM(2, 4)], seed=seed) for seed in (0, 1))
        >>> _, state = reader.predict(X, return_state=True)
        >>> g_writer, dstate = writer.vjp(X, lambda y: y, state=state, return_dstate=True)
        >>> g_reader = reader.vjp(X, None, dstate=dstate)
        """
        check_finite = as_flag(check_finite, "check_finite")
        checkpoint = self.check_checkpoint(checkpoint)
        n_threads = as_threads(n_threads)
        return_dX = as_flag(return_dX, "return_dX")
        return_dfeatures = as_flag(return_dfeatures, "return_dfeatures")
        return_dstate = as_flag(return_dstate, "return_dstate")
        return_state = as_flag(return_state, "return_state")
        if return_dfeatures and self.initial is None:
            raise ValueError(
                "return_dfeatures: expected False with a network whose initial states are no "
                "function of features, got True"
            )
        batch = self._as_batch(X, lengths, mask, features, state, check_finite)
        state = self._as_state(state, "state", batch, check_finite)
        dstate = self._as_state(dstate, "dstate", batch, check_finite)
        for name, asked in {"return_dstate": return_dstate, "return_state": return_state}.items():
            if asked:
                self._states.refuse_reading_ahead(name)
        if return_dX and batch.x.values.dtype != self.dtype:
            raise ValueError("return_dX: expected False where X is tokens, got True")
        return self.passes.vjp(
            self._as_dy(dy, batch, check_finite),
            batch,
            state,
            dstate,
            return_dX=return_dX,
            return_dfeatures=return_dfeatures,
            return_dstate=return_dstate,
            return_state=return_state,
            checkpoint=checkpoint,
            n_threads=n_threads,
        )

    def _as_dy(self, dy, batch, check_finite):
        """The dL/dy of `vjp` as rows, or as a function of rows that gives such, checked."""
        per_step, K = self._parts.readout.per_step, self.output_size

        def as_rows(dy):
            return as_outputs(dy, batch, K, per_step, self.dtype, check_finite, "dy")

        if callable(dy):
            return lambda y: as_rows(dy(batch.arrange(y) if per_step else y))
        if dy is None:
            return np.zeros((batch.n_steps if per_step else batch.size, K), self.dtype)
        return as_rows(dy)

    def prepare(
        self,
        X: SequencesLike,
        Y: SequencesLike,
        lengths: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        step_weight: SequencesLike | None = None,
        class_weight: Literal["balanced"] | Mapping[int, float] | npt.ArrayLike | None = None,
        reduction: Reduction = "mean",
        state: StateLike | None = None,
        features: npt.ArrayLike | None = None,
        check_finite: bool = True,
    ) -> Examples:
        """Check and arrange data once that will be evaluated often.

        Every call that takes data takes them in these arguments.

        Parameters
        ----------
        X, lengths, mask
            As in `predict`.
        Y : array_like or list of array_like
            Targets (B, T, K), or (B, K) if the sequences are read out. A list holds one array (T_b,
            K) for each sequence. With one output the last axis may be absent. Targets for
            cross_entropy are integer labels (B, T) or (B,), or rows of K probabilities. Other
            losses say what their targets are.
        sample_weight : (B,) array_like, optional
            The weight of each sequence, >= 0. Where each sequence is one term, it may have the
            shape (B, K): see below.
        step_weight : (B, T) array_like or list of (T_b,) array_like, optional
            The weight of each step, >= 0; not where a whole sequence is one term. A step of weight
            0 may have any target. With shape (B, T, K) or (T_b, K) each output's part of the loss
            has a weight of its own, so that a single target which is missing, such as NaN, can have
            the weight 0. That works for losses which are sums over outputs, which are all but
            cross_entropy.
        class_weight : "balanced", dict of int to float, or (K,) array_like, optional
            For targets that are integer labels, or 0 and 1 of one output: the factor by which each
            term's weight is multiplied. "balanced" is n / (m n_c) for class c, where n is the
            number of scored terms (those of weight above zero), n_c the number of them that are of
            class c, and m the number of classes that are there. A label that a dict lacks has the
            factor 1. The two classes of one output have an array (2,).
        reduction : {"mean", "sum"}
            "sum" leaves out the division by the sum of the weights.
        state : tuple, optional
            Initial states, one for each sequence, as in `predict`. They are data: no gradient goes
            through them, and learned initial states, whose place they take, have the gradient 0.
        features : (B, F) array_like, optional
            Static features of each sequence, as in `predict`.
        check_finite : bool
            Refuse NaN and infinity.

        Returns
        -------
        Examples
            For `evaluate` and `Objective`. May share memory with X, `state` and `features`.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what was expected and what came.

        Notes
        -----
        A sequence without steps has no terms where steps are terms. Where each sequence is one, it
        is one like any other, with its target and its weight: what is read out of it is the initial
        output (readouts "last" and "last_step") or 0 ("mean" and "max"), which the layers after the
        readout see. A `sample_weight` of 0 leaves it out.

        Weights of all kinds are multiplied, and a mean is the sum of weighted losses over the sum
        of these weights, so only their ratios count. The weight of a term whose outputs have
        weights is their mean: the sum of all, over K, is what a mean divides by, and weights that
        are equal over a term's outputs are one weight of the term.

        Examples
        --------
        Three of four sequences are of class 0:

        >>> import numpy as np
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 2)], "cross_entropy", "last", seed=0)
        >>> examples = net.prepare(np.ones((4, 3, 1)), [0, 0, 1, 0], class_weight="balanced")
        >>> examples.weights.round(3).tolist()
        [0.667, 0.667, 2.0, 0.667]

        Targets with gaps: of two outputs the second was measured every third step.

        >>> net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 2)], seed=0)
        >>> Y = np.ones((4, 6, 2))
        >>> Y[:, 1::3, 1] = Y[:, 2::3, 1] = np.nan
        >>> examples = net.prepare(np.ones((4, 6, 1)), Y, step_weight=~np.isnan(Y))
        >>> examples.weights.sum(axis=0).tolist(), examples.total
        ([24.0, 8.0], 16.0)
        """
        check_finite = as_flag(check_finite, "check_finite")
        as_choice(reduction, "reduction", ("mean", "sum"))
        batch = self._as_batch(X, lengths, mask, features, state, check_finite)
        whole = self._whole_terms()
        weights = check_weights(
            sample_weight, step_weight, batch, whole, self.output_size, self._loss
        )
        targets = self._loss.prepare(
            Y, batch, self.output_size, whole is not None, self.dtype, check_finite, weights > 0
        )
        if class_weight is not None:
            weights = self._weigh_classes(weights, class_weight, targets)
        terms: Literal["steps", "sequences"] = "steps" if whole is None else "sequences"
        before = self._as_state(state, "state", batch, check_finite)
        return Examples(batch, targets, terms, weights, reduction, self._form, before)

    def _weigh_classes(self, weights, class_weight, targets):
        classes = self._loss.classes(targets, self.output_size)
        if classes is None:
            raise ValueError(
                f"class_weight: expected None with such targets of the loss {self.loss_name!r}, "
                f"got {describe(class_weight)}; {self._loss._no_classes}"
            )
        return weigh_classes(weights, class_weight, *classes)

    def evaluate(
        self,
        params: npt.ArrayLike | None,
        examples: Examples,
        *,
        gradient: bool = True,
        return_state: bool = False,
        checkpoint: int | None = None,
        n_threads: int | None = None,
        dropout: list[Array | None] | None = None,
    ) -> tuple[Any, ...]:
        """The loss of examples, and its gradient, at any parameters; without a penalty.

        Parameters
        ----------
        params : (P,) array_like or None
            Converted to the network's dtype; None is the network's own.
        examples : Examples
            From `prepare`.
        gradient : bool
        return_state : bool
            Also return the state after each sequence's last step.
        checkpoint : int, True or None
            As in `loss_and_grad`.
        n_threads : int, optional
        dropout : list, optional
            An entry for each layer: None for the first, for each other one an array (B, I) of the
            network's dtype, by which its inputs are multiplied at every step of a sequence.

        Returns
        -------
        f : float
        g : (P,) array or None
        state : tuple
            Only with `return_state`.
        """
        gradient = as_flag(gradient, "gradient")
        if as_flag(return_state, "return_state"):
            self._states.refuse_reading_ahead("return_state")
        checkpoint = self.check_checkpoint(checkpoint)
        n_threads = as_threads(n_threads)
        self.check_examples(examples)
        if dropout is not None:
            self._check_dropout(dropout, len(examples))
        return self.passes.evaluate(
            params, examples, gradient, return_state, checkpoint, n_threads, dropout
        )

    def exact(self, examples):
        """The network in float64, and examples for it; both as they are where that is its dtype."""
        if self.dtype == np.float64:
            return self, examples
        net = Network._of(self.options | {"dtype": "float64"}, self.params)
        return net, examples.astype(net.dtype, net._form)

    def check_examples(self, examples: Examples) -> None:
        """Raise where examples are none that this network has prepared, or one of its form."""
        if not isinstance(examples, Examples):
            raise TypeError(f"examples: expected Examples, got {describe(examples)}")
        if examples.form != self._form:
            raise ValueError(
                f"examples: expected those of a network with {self._form}, got {examples.form}; "
                "prepare them with this network"
            )

    def _check_dropout(self, dropout, size):
        n = len(self.layers)
        if not (isinstance(dropout, list) and len(dropout) == n and dropout[0] is None):
            raise TypeError(
                f"dropout: expected a list of {n}, of which the first is None, got "
                f"{describe(dropout)}"
            )
        for k, layer in enumerate(self.layers[1:], 1):
            shape, factors = (size, layer.input_size), dropout[k]
            is_array = isinstance(factors, np.ndarray)
            if not (is_array and factors.shape == shape and factors.dtype == self.dtype):
                raise TypeError(
                    f"dropout[{k}]: expected {self.dtype.name} numbers of shape {shape}, got "
                    f"{describe(factors)}"
                )

    def constant_loss(self, examples: Examples) -> float | None:
        """The loss of the best outputs that are the same for all terms of examples.

        Returns
        -------
        float or None
            None where the loss does not know them, or nothing is scored.
        """
        if not examples.total > 0:
            return None
        targets, K = examples.targets, self.output_size
        with np.errstate(all="ignore"):
            constants = self._loss.best_constant(targets, examples.weights, K)
            if constants is None:
                return None
            weights = examples.weights * examples.scale
            lengths = examples.batch.lengths if self._loss.terms == "sequences" else None
            rows = examples.batch.n_steps if self._parts.readout.per_step else len(weights)
            a = np.full((rows, K), constants, self.dtype)
            return self._loss.value_and_delta(a, targets, weights, lengths)[0]

    def least_loss(self, examples: Examples) -> float:
        """The loss of outputs that are at their targets, as far as the loss says; most often 0."""
        return self._loss.least_value(examples.targets, examples.weights * examples.scale)

    def penalty(
        self,
        theta: npt.ArrayLike | None,
        l2: Strength,
        g: Array | None = None,
        *,
        l1: Strength = 0.0,
        start: float = 0.0,
    ) -> float:
        """The penalty ``Σ (l2/2 w² + l1 |w|)`` at any parameters, and its gradient.

        A number counts the weights w: the blocks W, R, p and Q; not biases, not initial states. A
        mapping counts the blocks that it names, whatever they are, each with a strength of its own.

        Parameters
        ----------
        theta : (P,) array_like or None
            Converted to the network's dtype; None is the network's own.
        l2 : float or mapping of str to float
            Strength >= 0. A name is one of `blocks`, such as ``"0.R"``, or a pattern, such as
            ``"*.W"``. If several match a block, the last one holds. A block that none matches has
            0.
        g : (P,) array, optional
            The gradient is added to it; of ``|w|`` it is the sign, 0 where w is 0.
        l1 : float or mapping of str to float
            As l2.
        start : float
            The number to which the blocks' terms are added, one after the other.

        Returns
        -------
        float

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.Dense(2, 1)])
        >>> net.penalty([3.0, 4.0, 5.0], 0.1)  # two weights and a bias
        1.25
        >>> net.penalty([3.0, 4.0, 5.0], {"0.W": 0.1, "*.b": 0.2}, l1=0.5)
        7.25
        """
        return self.make_penalty(l2, l1)(theta, g, start)

    def make_penalty(self, l2: Strength, l1: Strength = 0.0) -> Penalty:
        """`penalty` with these strengths, checked once.

        Returns
        -------
        Penalty
            Called with theta, g and start as `penalty` is. Its ``curvature()`` is the second
            derivative by each parameter, (P,) float64: the strength of l2 there.

        Examples
        --------
        >>> import lstmcore as lc
        >>> net = lc.Network([lc.Dense(2, 1)])
        >>> net.make_penalty({"0.W": 0.1}).curvature().tolist()
        [0.1, 0.1, 0.0]
        """
        return Penalty(self._parameters, l2, l1)

    def _objective(self, examples, strengths, gradient, return_state, checkpoint, n_threads):
        """The loss with its penalty, the gradient if wanted, the state if wanted, at `params`."""
        penalty = self.make_penalty(*strengths)
        f, g, *state = self.evaluate(
            None,
            examples,
            gradient=gradient,
            return_state=return_state,
            checkpoint=checkpoint,
            n_threads=n_threads,
        )
        return penalty(None, g, f), g, *state

    def check_checkpoint(self, checkpoint):
        """`checkpoint` as `loss_and_grad` takes it: None, True or an int; refused if it is none."""
        if checkpoint is None:
            return None
        if checkpoint is not True:
            checkpoint = as_integer(checkpoint, "checkpoint", 1)
        self._refuse_cuts("checkpoint", checkpoint)
        return checkpoint

    def check_truncate(self, truncate):
        """`truncate` as `minimize` takes it, an int; refused if it is none or cannot be."""
        truncate = as_integer(truncate, "truncate", 1)
        self._refuse_cuts("truncate", truncate)
        reason = self._whole_terms()
        if reason is not None:
            raise ValueError(f"truncate: expected None {reason}, got {truncate}")
        return truncate

    def _refuse_cuts(self, name, value):
        """Raise where a layer needs whole sequences, which `name` would cut."""
        for k, layer in enumerate(self.layers):
            if layer.reads_ahead:
                how = "reads sequences in reverse"
                if layer.directions == 2:
                    how = "is bidirectional and reads sequences from both ends"
                raise ValueError(f"{name}: expected None, for layers[{k}] {how}, got {value}")

    def _whole_terms(self):
        """Why each sequence is one term, as errors say it; None where each step is one."""
        if not self._parts.readout.per_step:
            return "where sequences are read out"
        if self._loss.terms == "sequences":
            return f"with the loss {self.loss_name!r}, whose terms are whole sequences"
        return None

    def check_state(self, state, n):
        """A state of so many sequences, checked, as arrays of the network's dtype."""
        return self._states.check(state, n, True)

    def _as_batch(self, X, lengths, mask, features, state, check_finite):
        """Inputs that a user gives, checked, with the features of their sequences."""
        tokens = self.takes_tokens
        batch = make_batch(X, self.input_size, self.dtype, lengths, mask, check_finite, "X", tokens)
        if self.layers[0].token_sizes:
            batch = check_columns(batch, self.layers[0].token_sizes, "X")
        features = self._states.check_features(features, batch.size, check_finite, state)
        return batch if features is None else batch.with_features(features)

    def _as_state(self, state, name, batch, check_finite):
        """A state that a user gives for each sequence of a batch, or its derivative, checked."""
        if state is None:
            return None
        self._states.refuse_reading_ahead(name)
        return self._states.check(state, batch.size, check_finite, name)


def _check_layers(layers):
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"layers: expected a list of layers, got {describe(layers)}")
    if not layers:
        raise ValueError("layers: expected at least one layer, got an empty list")
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            *others, last = CELLS
            kinds = f"{', '.join(others)} or {last}"
            raise TypeError(f"layers[{k}]: expected an {kinds}, got {describe(layer)}")
        if k and (layer.tokens or layer.token_sizes):
            raise ValueError(
                f"layers[{k}]: expected a layer of numbers, for only layers[0] may take tokens, "
                f"got {layer!r}"
            )
        if k and layer.input_size != layers[k - 1].output_size:
            raise ValueError(
                f"layers[{k}]: expected input_size {layers[k - 1].output_size}, the outputs of "
                f"layers[{k - 1}], got {layer.input_size}"
            )
    return tuple(layers)

"""What the estimators share: parameters to a network, data to examples, `fit` of the core."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _minimize, optimizers
from .._checks import (
    as_choice,
    as_flag,
    as_integer,
    as_ndarray,
    as_number,
    as_real,
    as_threads,
    describe,
    refuse_nonfinite,
)
from ..cells import GRU, LSTM, RNN, Dense
from ..network import Network
from ..training import fit
from ._callbacks import CallbackSupportMixin, Told
from ._data import read_sequences
from ._decorators import with_callbacks
from ._solvers import BATCH_SOLVERS, SOLVERS, Patience, arguments_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self

    from .._types import SequencesLike

__all__ = ["Estimator", "PerSequence", "PerStep", "has_partial_fit"]

# What `fit` has read: the network for it, its examples and what they were made of, and a generator.
Data = namedtuple("Data", "net examples sequences targets weights rng")

_CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
_READOUTS = ("mean", "last", "max", "last_step", "all")
_WAY_OUT = (
    "raise max_iter or tol, bring the inputs to mean 0 and variance 1 "
    "(SequenceTransformer(StandardScaler()) in a pipeline), or take another random_state"
)


def has_partial_fit(estimator):
    """Whether its solver goes on with other data; raises where it does not."""
    if estimator.solver not in BATCH_SOLVERS:
        raise AttributeError(
            f"partial_fit: expected solver to be one of {', '.join(BATCH_SOLVERS)}, which go on "
            f"with other data, got {estimator.solver!r}"
        )
    return True


class Estimator(CallbackSupportMixin, BaseEstimator):
    """A network as an estimator.

    A subclass says what a term is (`PerSequence`, `PerStep`) and what y is (`Classifying`,
    `Regressing`).
    """

    def __init__(
        self,
        hidden_layer_sizes,
        *,
        cell,
        peepholes,
        bidirectional,
        solver,
        alpha,
        batch_size,
        learning_rate_init,
        max_iter,
        tol,
        max_fun,
        early_stopping,
        validation_fraction,
        n_iter_no_change,
        n_restarts,
        warm_start,
        random_state,
        verbose,
        n_threads,
        tokens,
        network,
        solver_options,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.cell = cell
        self.peepholes = peepholes
        self.bidirectional = bidirectional
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.tol = tol
        self.max_fun = max_fun
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads
        self.tokens = tokens
        self.network = network
        self.solver_options = solver_options

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @with_callbacks
    def fit(
        self,
        X: SequencesLike,
        y: SequencesLike,
        *,
        lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train a network on sequences and their targets.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
            Sequences: see the notes of the class.
        y : array_like or list of array_like
            Targets: see the class.
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T. scikit-learn's tools do not hand it
            to `predict` and `score`: lists say the same without.
        sample_weight : (n,) array_like, optional
            Weight of each sequence, >= 0.

        Returns
        -------
        estimator
            Itself.
        """
        self._check_parameters()
        metadata = {"lengths": lengths, "sample_weight": sample_weight}
        # Options of a solver may change how many there are.
        n_iterations = None if self.solver_options else self.max_iter * self.n_restarts
        told = Told(self, X, y, metadata, n_iterations)
        self._train(X, y, lengths, sample_weight, told)
        told.end()
        return self

    def _partial_fit(self, X, y, lengths, sample_weight, classes=None):
        self._check_parameters()
        if self.early_stopping:
            raise ValueError(
                "early_stopping: expected False with partial_fit, which has no data of its own to "
                "validate on, got True"
            )
        goes_on = hasattr(self, "network_")
        data = self._read(X, y, lengths, sample_weight, goes_on, classes)
        arguments = arguments_of(self, len(data.examples), 1)
        if not goes_on:
            self._memory, self._rng = {}, data.rng
        elif self._memory.get("method") != arguments["method"]:  # another solver than before
            self._memory = {}
        more = {"memory": self._memory, "seed": self._rng}  # another epoch has another order
        result, held = self._minimize(data.net, data.examples, **arguments, **more)
        self._record(result, False, goes_on)
        # one epoch does not converge
        self._warn([entry for entry in held if entry[1] is not _minimize.ConvergenceWarning])
        return self

    def _check_parameters(self):
        as_choice(self.solver, "solver", tuple(SOLVERS))
        as_choice(self.cell, "cell", tuple(_CELLS))
        as_choice(self.readout, "readout", _READOUTS)
        for name in ("peepholes", "bidirectional", "early_stopping", "warm_start"):
            as_flag(getattr(self, name), name)
        for name in ("max_iter", "n_iter_no_change", "n_restarts"):
            as_integer(getattr(self, name), name, 1)
        for name in ("alpha", "tol"):
            as_number(getattr(self, name), name, 0)
        share = as_number(self.validation_fraction, "validation_fraction")
        if not 0 < share < 1:
            raise ValueError(f"validation_fraction: expected a number > 0 and < 1, got {share}")
        if self.tokens is not None:
            as_integer(self.tokens, "tokens", 1)
        as_threads(self.n_threads)

    def _read(self, X, y, lengths, sample_weight, goes_on, classes=None):
        """The data, checked, and the network for them: the one that is there, if it goes on."""
        if y is None:
            name = type(self).__name__
            raise ValueError(f"y: {name} requires y to be passed, but the target y is None")
        rows = self._reads_rows(y)
        sequences = read_sequences(
            self, X, lengths, reset=not goes_on, tokens=self.tokens, rows=rows
        )
        if sequences.form == "rows":
            _minimize.warn(
                f"X: a table with one target for each of its {len(sequences)} rows is read as so "
                "many sequences of one step; [X] with [y] is one long sequence",
                UserWarning,
            )
        terms = self._terms(y, sequences)
        weights = self._sample_weight(sample_weight, len(sequences))
        targets = self._encode(terms, not goes_on, classes)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        net = self.network_ if goes_on else self._make_network(sequences, seed)
        targets = self._scaled(net, targets, self._spread(weights, sequences), not goes_on)
        examples = self._examples(net, sequences, terms, targets, weights)
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        return Data(net, examples, sequences, targets, weights, rng)

    def _train(self, X, y, lengths, sample_weight, told):
        goes_on = self.warm_start and hasattr(self, "network_")
        data = self._read(X, y, lengths, sample_weight, goes_on)
        self._memory, self._rng = {}, data.rng
        train, score = (data.examples, None) if not self.early_stopping else self._hold_out(data)
        arguments = arguments_of(self, len(train), self.max_iter)
        counts_epochs = arguments["method"] in optimizers.METHODS
        if counts_epochs or self.n_restarts > 1:
            arguments["seed"] = data.rng
        patience = None
        if counts_epochs or self.early_stopping:
            patience = Patience(self.n_iter_no_change, self.tol)
        result, held = self._minimize(
            data.net,
            train,
            validation_data=score,
            n_restarts=self.n_restarts - 1,
            callback=self._callback(data.net, patience, told),
            **arguments,
        )
        self._record(result, score is not None, False)
        complains = any(category is _minimize.ConvergenceWarning for _, category in held)
        if counts_epochs and result.nit >= self.max_iter and not complains:
            text = f"{self.solver} has not converged in {self.max_iter} epochs; {_WAY_OUT}"
            held.append((text, _minimize.ConvergenceWarning))
        self._warn(held)

    def _minimize(self, net, examples, **arguments):
        """`fit` of the core: its result, and its warnings, which are held."""
        with _minimize.held_warnings(_WAY_OUT) as held:
            result = fit(
                net,
                examples,
                l2=self.alpha / examples.total,
                n_threads=self.n_threads,
                progress=bool(self.verbose),
                **arguments,
            )
        self.network_ = net
        self.n_outputs_ = net.output_size
        self.out_activation_ = net.output_units
        return result, held

    def _warn(self, held):
        """Give the warnings of a run; those of convergence in scikit-learn's category."""
        for message, category in held:
            is_of_convergence = category is _minimize.ConvergenceWarning
            _minimize.warn(message, ConvergenceWarning if is_of_convergence else category)

    def _callback(self, net, patience, told):
        if patience is None and not told.is_needed:
            return None

        def callback(intermediate):
            if told.is_needed:
                told.iteration(lambda: {"network_": net.frozen()})
            if patience is not None:
                patience(intermediate)

        return callback

    def _record(self, result, validates, goes_on):
        """The attributes that say how a run went, those of MLPClassifier."""
        losses = result.history["loss"][1:].tolist()
        self.n_iter_ = max(result.nit, 1)  # the start itself is an evaluation
        self.loss_ = losses[-1] if losses else float(result.history["loss"][0])
        self.loss_curve_ = self.loss_curve_ + losses if goes_on else losses
        self.best_loss_ = None if validates else min(self.loss_curve_, default=self.loss_)
        self.validation_scores_ = self.best_validation_score_ = None
        if validates:
            scores = -result.history["validation_loss"]
            self.validation_scores_ = scores[1:].tolist()
            self.best_validation_score_ = float(scores.max())

    # ---------------------------------------------------------------- the network

    def _make_network(self, sequences, seed):
        n_inputs = sequences.n_features if self.tokens is None else int(self.tokens)
        if self.network is not None:
            return self._own_network(n_inputs, seed)
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if isinstance(sizes, Iterable) else [sizes]
        if not sizes:
            raise ValueError("hidden_layer_sizes: expected at least one recurrent layer, got none")
        options = {"bidirectional": bool(self.bidirectional)}
        if self.cell == "lstm":
            options["peepholes"] = bool(self.peepholes)
        elif self.peepholes:
            raise ValueError(f"peepholes: expected False with cell={self.cell!r}, got True")
        layers, width = [], n_inputs
        for k, size in enumerate(sizes):
            size = as_integer(size, f"hidden_layer_sizes[{k}]", 1)
            tokens = {"tokens": True} if self.tokens is not None and k == 0 else {}
            layers.append(_CELLS[self.cell](width, size, **options, **tokens))
            width = layers[-1].output_size
        n_outputs, loss = self._output()
        layers.append(Dense(width, n_outputs))
        return Network(layers, loss, self.readout, seed=seed)

    def _own_network(self, n_inputs, seed):
        if not callable(self.network):
            raise TypeError(
                "network: expected a function (n_features, n_outputs, seed) that returns a "
                f"Network, got {describe(self.network)}"
            )
        net = self.network(n_inputs, self._n_wanted, seed)
        if not isinstance(net, Network):
            raise TypeError(f"network: expected it to return a Network, got {describe(net)}")
        if net.input_size != n_inputs or net.takes_tokens != (self.tokens is not None):
            what = f"{n_inputs} inputs" if self.tokens is None else f"{n_inputs} tokens"
            raise ValueError(f"network: expected a network of {what}, got {net!r}")
        if self._reads_steps and net.readout != "all":
            raise ValueError(
                f"network: expected readout='all', for each step has a target, got {net.readout!r}"
            )
        self._check_outputs(net)
        return net

    # ---------------------------------------------------------------- data

    def _sample_weight(self, sample_weight, n):
        """(n,) float64, or None."""
        if sample_weight is None:
            return None
        weights = as_real(sample_weight, "sample_weight", np.float64)
        if weights.ndim == 0:  # one number for all
            weights = np.full(n, weights[()])
        if weights.shape != (n,):
            raise ValueError(
                f"sample_weight: expected shape ({n},), one for each sequence of X, got "
                f"{weights.shape}"
            )
        refuse_nonfinite(weights, "sample_weight")
        if weights.min() < 0:
            raise ValueError(f"sample_weight: expected weights >= 0, got {weights.min()}")
        if not weights.any():
            raise ValueError("sample_weight: expected some weight above zero, got none")
        return weights

    def _hold_out(self, data):
        """The examples to train on, and what scores parameters on the others."""
        examples, sequences, targets = data.examples, data.sequences, data.targets
        kept, held = examples.split(self.validation_fraction, data.rng, self._strata(targets))
        if len(held) < 2:
            raise ValueError(
                f"validation_fraction: expected a share of two sequences or more, got "
                f"{self.validation_fraction} of {len(examples)}"
            )
        some = sequences.take(held)
        answers = targets[self._terms_of(sequences, held)]
        weights = None if data.weights is None else self._spread(data.weights[held], some)
        scratch = Network(**data.net.options)

        def score(params):
            scratch.params = params
            # of outputs beyond all bounds there is no score
            with np.errstate(over="ignore", invalid="ignore"):
                return -self._score(self._outputs(scratch, some), answers, weights)

        return examples.take(kept), score

    # ---------------------------------------------------------------- prediction

    def _rows(self, X, lengths):
        """The sequences of X, and the network's outputs for them, a row for each term."""
        check_is_fitted(self, "network_")
        sequences = read_sequences(
            self,
            X,
            lengths,
            reset=False,
            tokens=self.tokens,
            rows=self._form == "rows",
        )
        return sequences, self._outputs(self.network_, sequences)

    def _predict(self, X, lengths, decide):
        sequences, rows = self._rows(X, lengths)
        return self._arrange(decide(rows), sequences)


def _steps_of(net, sequences, n_threads):
    """Outputs of a network that has some at every step: rows, one for each step."""
    return np.concatenate(net.predict(sequences.as_list(), n_threads=n_threads))


class PerSequence:
    """One target for each sequence."""

    _reads_steps = False

    def _reads_rows(self, y):
        return False

    def _terms(self, y, sequences):
        """y, with one entry for each sequence."""
        y = as_ndarray(y, "y")
        if y.ndim == 0 or len(y) != len(sequences):
            got = len(y) if y.ndim else describe(y.item())
            way_out = ""
            if sequences.form == "table":
                way_out = (
                    "; where the rows of X are the steps of several sequences, "
                    'as_sequences(X, "concatenated", lengths) makes a list of these'
                )
            raise ValueError(
                f"y: expected {len(sequences)} targets, one for each sequence of X, got "
                f"{got}{way_out}"
            )
        return y

    def _spread(self, weights, sequences):
        return weights

    def _terms_of(self, sequences, indices):
        return indices

    def _examples(self, net, sequences, terms, targets, weights):
        class_weight = self._class_weights(terms)
        if net.readout != "all":
            return net.prepare(
                sequences.values,
                targets,
                None if sequences.form == "list" else sequences.lengths,
                sample_weight=weights,
                class_weight=class_weight,
            )
        # Each step has its sequence's target, and of its weight an equal share.
        lengths = sequences.lengths
        shares = 1.0 / lengths if weights is None else weights / lengths
        return net.prepare(
            sequences.as_list(),
            sequences.split(np.repeat(targets, lengths, axis=0)),
            step_weight=sequences.split(np.repeat(shares, lengths)),
            class_weight=class_weight,
        )

    def _outputs(self, net, sequences):
        if net.readout == "all":
            return sequences.mean(_steps_of(net, sequences, self.n_threads))
        lengths = None if sequences.form == "list" else sequences.lengths
        return net.predict(sequences.values, lengths, n_threads=self.n_threads)

    def _strata(self, targets):
        return self._labels(targets)

    def _arrange(self, rows, sequences):
        return rows


class PerStep:
    """One target for each step of each sequence."""

    _reads_steps = True
    readout = "all"

    def _reads_rows(self, y):
        """Whether y has one target for each row of a table, which then is a step."""
        if not isinstance(y, (list, tuple)):
            y = as_ndarray(y, "y")
            if y.ndim != 1 or y.dtype != object:
                return y.ndim == 1 or y.shape[1:] == (1,)
        return all(np.ndim(entry) == 0 for entry in y)

    def _terms(self, y, sequences):
        """The targets of all steps, one after the other."""
        n, lengths = len(sequences), sequences.lengths.tolist()
        if sequences.form == "rows":
            y = as_ndarray(y, "y")
            if len(y) != n:
                raise ValueError(f"y: expected {n} targets, one for each row of X, got {len(y)}")
            return y
        if not isinstance(y, (list, tuple)):
            y = as_ndarray(y, "y")
            y = [] if y.ndim == 0 else y
        if len(y) != n:
            raise ValueError(
                f"y: expected the targets of {n} sequences, one for each step of each, got those "
                f"of {len(y)}"
            )
        targets = []
        for b, (entry, length) in enumerate(zip(y, lengths, strict=True)):
            entry = as_ndarray(entry, f"y[{b}]")
            padded = sequences.values.shape[1] if sequences.form != "list" else length
            if entry.ndim == 0 or len(entry) not in (length, padded):
                got = describe(entry.item()) if entry.ndim == 0 else len(entry)
                raise ValueError(
                    f"y[{b}]: expected {length} targets, one for each step of X[{b}], got {got}"
                )
            targets.append(entry[:length])
        widths = {entry.shape[1:] for entry in targets}
        if len(widths) > 1:
            raise ValueError(
                f"y: expected the same number of targets at every step, got shapes of {widths}"
            )
        return np.concatenate(targets)

    def _spread(self, weights, sequences):
        return None if weights is None else np.repeat(weights, sequences.lengths)

    def _terms_of(self, sequences, indices):
        starts = np.cumsum(sequences.lengths) - sequences.lengths
        return np.concatenate(
            [np.arange(starts[b], starts[b] + sequences.lengths[b]) for b in indices]
        )

    def _examples(self, net, sequences, terms, targets, weights):
        return net.prepare(
            sequences.as_list(),
            sequences.split(targets),
            sample_weight=weights,
            class_weight=self._class_weights(terms),
        )

    def _outputs(self, net, sequences):
        return _steps_of(net, sequences, self.n_threads)

    def _strata(self, targets):
        return None

    def _arrange(self, rows, sequences):
        return sequences.arrange(rows)

    def _answers(self, X, y, sample_weight, lengths, decide):
        """What is true and what is predicted of all steps, and their weights."""
        sequences, rows = self._rows(X, lengths)
        weights = self._sample_weight(sample_weight, len(sequences))
        return self._terms(y, sequences), decide(rows), self._spread(weights, sequences)

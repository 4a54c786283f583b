"""`SequenceClassifier` and `StepClassifier`: a class for each sequence, or for each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from ._base import Estimator, PerSequence, PerStep, has_partial_fit
from ._decorators import available_if

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal

    import numpy.typing as npt
    from typing_extensions import Self

    from .._types import Method, Readout, SequencesLike, Vector
    from ..network import Network

__all__ = ["SequenceClassifier", "StepClassifier"]


class Classifying(ClassifierMixin):
    """y is labels of any type, which the network knows by their numbers."""

    def _encode(self, y, resets, classes):
        """The number of each label; the first time the classes are found."""
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        encoder = LabelEncoder()
        if resets:
            encoder.fit(y if classes is None else column_or_1d(classes))
            self.classes_ = encoder.classes_
        else:
            encoder.classes_ = self.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"y: expected two classes or more, got one class, {self.classes_.tolist()[0]!r}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y: expected the classes {describe_classes(self.classes_)}, as before, got "
                f"{unknown.tolist()[0]!r}"
            )
        return encoder.transform(y)

    def _scaled(self, net, targets, weights, resets):
        return targets

    @property
    def _n_wanted(self):
        return len(self.classes_)

    def _output(self):
        n = len(self.classes_)
        return (1, "binary_cross_entropy") if n == 2 else (n, "cross_entropy")

    def _check_outputs(self, net):
        n = len(self.classes_)
        is_right = net.output_units == "softmax" and net.output_size == n
        is_binary = n == 2 and net.output_units == "logistic" and net.output_size == 1
        if not (is_right or is_binary):
            also = ", or one logistic output" if n == 2 else ""
            raise ValueError(
                f"network: expected one of {n} softmax outputs, for y has so many classes{also}, "
                f"got {net!r}"
            )

    def _labels(self, targets):
        return targets

    def _class_weights(self, y):
        if self.class_weight is None:
            return None
        return compute_class_weight(self.class_weight, classes=self.classes_, y=y)

    def _score(self, rows, answers, weights):
        return float(np.average(self._numbers(rows) == answers, weights=weights))

    def _numbers(self, rows):
        """The number of the class of each row of outputs."""
        return (rows[:, 0] > 0.5).astype(np.intp) if rows.shape[1] == 1 else rows.argmax(axis=1)

    def _decide(self, rows):
        return self.classes_[self._numbers(rows)]

    def _probabilities(self, rows):
        return np.hstack([1.0 - rows, rows]) if rows.shape[1] == 1 else rows

    def predict_proba(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> Vector | list[Vector]:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X, lengths
            As in `predict`.

        Returns
        -------
        (n, n_classes) array; where steps have targets a list or an array, as of `predict`, of such
        """
        return self._predict(X, lengths, self._probabilities)

    def predict_log_proba(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> Vector | list[Vector]:
        """The logarithms of what `predict_proba` gives."""

        def logarithms(rows):
            with np.errstate(divide="ignore"):  # of a probability that is rounded to 0
                return np.log(self._probabilities(rows))

        return self._predict(X, lengths, logarithms)

    @available_if(has_partial_fit)
    def partial_fit(
        self,
        X: SequencesLike,
        y: SequencesLike,
        classes: npt.ArrayLike | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train for one more epoch, on these or other data.

        Parameters
        ----------
        X, y, lengths, sample_weight
            As in `fit`.
        classes : array_like, optional
            All labels that there will be; the first call needs them.

        Returns
        -------
        estimator
            Itself.
        """
        if not hasattr(self, "network_") and classes is None:
            raise ValueError("classes: expected all labels in the first call of partial_fit")
        if hasattr(self, "network_") and classes is not None:
            given = np.unique(column_or_1d(classes))
            if not np.array_equal(given, self.classes_):
                raise ValueError(
                    f"classes: expected {describe_classes(self.classes_)}, as in the first call of "
                    f"partial_fit, got {describe_classes(given)}"
                )
        return self._partial_fit(X, y, lengths, sample_weight, classes)


def describe_classes(classes):
    """Labels as an error shows them."""
    shown = ", ".join(map(repr, classes[:10].tolist()))
    return f"[{shown}{', ...' if len(classes) > 10 else ''}]"


class SequenceClassifier(Classifying, PerSequence, Estimator):
    """A recurrent network that names the class of each sequence.

    The network is a stack of recurrent layers, a readout over time and a dense layer. Parameters
    and attributes that `sklearn.neural_network.MLPClassifier` has too mean the same here as there.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        The units of each recurrent layer, in each direction.
    cell : {"lstm", "gru", "rnn"}
    peepholes : bool
        For "lstm" only: the gates see the cell state, too.
    bidirectional : bool
        Layers read sequences in both directions.
    readout : {"mean", "last", "max", "last_step", "all"}
        What the dense layer sees: see `lstmcore.Network`. With "all" the network names the class at
        every step and is trained to name the sequence's class there. The probabilities of a
        sequence are then the mean over its steps.
    solver : str
        "lbfgs", or any method of `lstmcore.minimize`, such as "adam", "sgd" and "rmsprop", which
        make steps on batches, "rprop" or "hessian-free".
    alpha : float
        Strength of the L2 penalty. The objective is the mean loss plus
        alpha / 2 · ‖weights‖² / Σ sample_weight. Biases are not penalized.
    batch_size : int or "auto"
        For adam, sgd and rmsprop: how many sequences a batch has. "auto" is 200, or all if there
        are fewer.
    learning_rate_init : float
        For adam, sgd and rmsprop. A schedule is given as ``solver_options={"learning_rate": ...}``.
    max_iter : int
        The most iterations. Solvers that count epochs take it as the most epochs.
    tol : float
        lbfgs ends where no entry of the gradient is larger. With solvers that count epochs, and
        with `early_stopping`, it is the least gain in the training loss, or in the validation
        score, without which an iteration counts towards `n_iter_no_change`.
    max_fun : int
        For lbfgs: the most evaluations.
    early_stopping : bool
        Hold out `validation_fraction` of the sequences, with the same share of each class. The fit
        ends when their score has not risen by `tol` in `n_iter_no_change` iterations, and the
        parameters with the best score are kept. It works with every solver.
    validation_fraction : float
    n_iter_no_change : int
    class_weight : dict, "balanced" or None
        Weights of the classes by their labels.
    n_restarts : int
        How many runs are made, each from other initial parameters. The best one is kept, by the
        validation score with `early_stopping` and otherwise by the training loss.
    warm_start : bool
        Each `fit` goes on from the parameters that there are.
    random_state : int, RandomState or None
        Decides on the initial parameters, on what is held out and on the order of batches.
    verbose : bool
        Show a progress bar.
    n_threads : int or None
        How many threads a computation uses. By default it depends on the size of the work.
    tokens : int or None
        If given, X has integers 0 ... tokens-1 in place of vectors: (n, T) or a list of (T,).
    network : callable or None
        A function that is called with (n_features, n_classes, seed) and returns the
        `lstmcore.Network` to train, in place of the one that the other parameters describe. It has
        n_classes softmax outputs, or for two classes one logistic output. With `n_jobs` in
        scikit-learn's tools it must be a function of a module.
    solver_options : dict or None
        More arguments of `lstmcore.fit`: ``{"dropout": 0.2, "clip_norm": 1.0}``, also
        ``{"options": {...}}`` for the method itself. By default sgd has Nesterov's momentum of 0.9.

    Attributes
    ----------
    network_ : lstmcore.Network
        Can be saved, streamed and exported.
    classes_ : (n_classes,) array
    n_features_in_ : int
        Features of a step, D; of a table (n, T) its columns, T.
    feature_names_in_ : array of str
        Only of tables with such names.
    n_outputs_ : int
        1 for two classes.
    out_activation_ : str
        "logistic" for two classes, else "softmax".
    n_iter_ : int
        Iterations, or epochs.
    loss_, best_loss_ : float
        The training loss at the end, penalty included, and the lowest in `loss_curve_`. The second
        is None with `early_stopping`.
    loss_curve_ : list of float
        After each iteration.
    validation_scores_, best_validation_score_ : list of float, float, or None
        With `early_stopping`: the accuracy on what was held out.

    Notes
    -----
    X may be one of three things: a list with one array (T, D) for each sequence, or (T,) where D is
    1; an array (n, T, D), with `lengths` if it is padded; or a table (n, T), as an array or a data
    frame, whose rows are series of one feature. A model that was fitted on a table expects tables
    with as many columns. A table can be read in two more ways: ``X[:, None]`` are sequences of one
    step, and ``X[None]`` is one long sequence.

    A sequence's prediction has the same bits in any company, and on any number of threads.

    `set_callbacks` takes callbacks, with scikit-learn 1.9 or newer.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from lstmcore.datasets import load_japanese_vowels
    >>> from lstmcore.estimators import SequenceClassifier, SequenceTransformer
    >>> X, y, X_test, y_test = load_japanese_vowels()     # lists of (T, 12), 7 to 29 steps
    >>> model = make_pipeline(SequenceTransformer(StandardScaler()),
    ...                       SequenceClassifier((16,), bidirectional=True, alpha=0.1,
    ...                                          max_iter=50, random_state=0))
    >>> bool(model.fit(X, y).score(X_test, y_test) > 0.95)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (32,),
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        peepholes: bool = False,
        bidirectional: bool = False,
        readout: Readout = "mean",
        solver: Method | Literal["lbfgs"] = "lbfgs",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_fun: int = 15000,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        n_restarts: int = 1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        n_threads: int | None = None,
        tokens: int | None = None,
        network: Callable[[int, int, int], Network] | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            cell=cell,
            peepholes=peepholes,
            bidirectional=bidirectional,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            tol=tol,
            max_fun=max_fun,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_restarts=n_restarts,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            n_threads=n_threads,
            tokens=tokens,
            network=network,
            solver_options=solver_options,
        )
        self.readout = readout
        self.class_weight = class_weight

    def predict(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> npt.NDArray[Any]:
        """The class of each sequence.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T.

        Returns
        -------
        (n,) array
        """
        return self._predict(X, lengths, self._decide)

    def score(
        self,
        X: SequencesLike,
        y: SequencesLike,
        sample_weight: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> float:
        """The accuracy: the share of the sequences whose class is named.

        Parameters
        ----------
        X, lengths
            As in `predict`.
        y : (n,) array_like
        sample_weight : (n,) array_like, optional

        Returns
        -------
        float
        """
        return accuracy_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight)


class StepClassifier(Classifying, PerStep, Estimator):
    """A recurrent network that names a class at every step of each sequence.

    Parameters
    ----------
    hidden_layer_sizes, cell, peepholes, bidirectional, solver, alpha, batch_size, \
learning_rate_init, max_iter, tol, max_fun, early_stopping, validation_fraction, n_iter_no_change, \
class_weight, n_restarts, warm_start, random_state, verbose, n_threads, tokens, network, \
solver_options
        As those of `SequenceClassifier`. The loss is a mean over all steps, and so Σ sample_weight
        beside `alpha` is a sum over steps; a batch has so many sequences. `early_stopping` holds
        whole sequences out.

    Attributes
    ----------
    network_, classes_, n_features_in_, feature_names_in_, n_outputs_, out_activation_, n_iter_, \
loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As those of `SequenceClassifier`.

    Notes
    -----
    X is in the forms of `SequenceClassifier`. y is a list with one array (T,) of labels for each
    sequence, or an array (n, T); after the end of a padded sequence it may be anything. `predict`
    gives labels in the form of X: a list for a list, (n, T) for an array, where padding has the
    zero of the labels' type.

    If X is a table (n, D) and y has one label for each row, every row is a sequence of one step: a
    warning says so, for it is seldom meant. One long sequence is ``[X]``, with ``[y]``.

    scikit-learn's scorers know nothing of labels in lists: in cross-validation leave `scoring` out,
    for `score` is the accuracy over all steps, or join the lists in a scorer of your own, as
    docs/from_scikit_learn.md shows.

    Examples
    --------
    Is the sum of the inputs so far above zero?

    >>> import numpy as np
    >>> from lstmcore.estimators import StepClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(T, 1)) for T in rng.integers(5, 20, 60)]
    >>> y = [np.where(x.cumsum() > 0, "above", "below") for x in X]
    >>> classifier = StepClassifier((8,), alpha=0.1, max_iter=100, random_state=0)
    >>> classifier = classifier.fit(X[:40], y[:40])
    >>> classifier.predict(X[:1])[0].shape == y[0].shape
    True
    >>> bool(classifier.score(X[40:], y[40:]) > 0.9)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (32,),
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        peepholes: bool = False,
        bidirectional: bool = False,
        solver: Method | Literal["lbfgs"] = "lbfgs",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_fun: int = 15000,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        n_restarts: int = 1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        n_threads: int | None = None,
        tokens: int | None = None,
        network: Callable[[int, int, int], Network] | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            cell=cell,
            peepholes=peepholes,
            bidirectional=bidirectional,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            tol=tol,
            max_fun=max_fun,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_restarts=n_restarts,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            n_threads=n_threads,
            tokens=tokens,
            network=network,
            solver_options=solver_options,
        )
        self.class_weight = class_weight

    def predict(
        self, X: SequencesLike, *, lengths: npt.ArrayLike | None = None
    ) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """The class at every step of each sequence.

        Parameters
        ----------
        X : list of (T, D) array_like, (n, T, D) array_like, or (n, T) array_like
        lengths : (n,) array_like of int, optional
            Steps of each sequence of an array; by default T.

        Returns
        -------
        list of (T,) arrays, or (n, T) array
            In the form of X.
        """
        return self._predict(X, lengths, self._decide)

    def score(
        self,
        X: SequencesLike,
        y: SequencesLike,
        sample_weight: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> float:
        """The accuracy over all steps.

        Parameters
        ----------
        X, lengths
            As in `predict`.
        y : list of (T,) array_like, or (n, T) array_like
        sample_weight : (n,) array_like, optional
            Weight of each sequence.

        Returns
        -------
        float
        """
        answers, labels, weights = self._answers(X, y, sample_weight, lengths, self._decide)
        return accuracy_score(answers, labels, sample_weight=weights)

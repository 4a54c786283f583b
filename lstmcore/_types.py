"""The types of the public interface, for annotations alone: no module imports this when it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, OptimizeResult

from ._recorder import History
from .losses import Loss
from .network import Network

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Vector: TypeAlias = npt.NDArray[np.float64]
SequencesLike: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike]
LabelsLike: TypeAlias = npt.ArrayLike | Sequence[Sequence[int] | npt.NDArray[np.integer[Any]]]
Path: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = int | np.random.SeedSequence | np.random.Generator | None

# A state as calls return it, and as they take it.
State: TypeAlias = tuple[tuple[Array, ...], ...]
StateLike: TypeAlias = tuple[tuple[npt.ArrayLike, ...], ...]

# Notes as networks have them, and as files take them.
Notes: TypeAlias = Mapping[str, str | tuple[str, ...]]
NotesLike: TypeAlias = Mapping[str, str | Sequence[str]]

LossLike: TypeAlias = str | Loss | Callable[[Array, Array], tuple[Any, Any]]
Strength: TypeAlias = float | Mapping[str, float]
Activation: TypeAlias = str | tuple[str, float] | tuple[str, float, float]
Start: TypeAlias = str | tuple[str, float]
GateBias: TypeAlias = float | tuple[str, float]
BoundsLike: TypeAlias = Bounds | npt.ArrayLike | Sequence[tuple[float | None, float | None]]

Readout: TypeAlias = Literal["all", "last", "mean", "max", "last_step"]
OutputUnits: TypeAlias = Literal["identity", "logistic", "softmax", "exponential", "tanh", "mixed"]
Direction: TypeAlias = Literal["forward", "reverse", "both"]
OutputPeephole: TypeAlias = Literal["now", "before"] | None
Reduction: TypeAlias = Literal["mean", "sum"]
Method: TypeAlias = Literal[
    "CG",
    "BFGS",
    "L-BFGS-B",
    "TNC",
    "SLSQP",
    "Newton-CG",
    "trust-ncg",
    "trust-krylov",
    "trust-constr",
    "least_squares",
    "hessian-free",
    "adam",
    "sgd",
    "rmsprop",
    "rprop",
]


class PredictOptions(TypedDict, total=False):
    """Keywords of `Network.predict` beside `return_state`."""

    mask: npt.ArrayLike | None
    state: StateLike | None
    features: npt.ArrayLike | None
    check_finite: bool
    n_threads: int | None


class LossOptions(TypedDict, total=False):
    """Keywords of `Network.loss` and `Network.loss_and_grad` beside `return_state` and the data."""

    l2: Strength
    l1: Strength
    checkpoint: int | None
    n_threads: int | None


class Data(TypedDict, total=False):
    """Keywords of `Network.prepare`."""

    mask: npt.ArrayLike | None
    sample_weight: npt.ArrayLike | None
    step_weight: SequencesLike | None
    class_weight: Literal["balanced"] | Mapping[int, float] | npt.ArrayLike | None
    reduction: Reduction
    state: StateLike | None
    features: npt.ArrayLike | None
    check_finite: bool


class DataWithLengths(Data, total=False):
    """Keywords of `Objective` that belong to the data."""

    lengths: npt.ArrayLike | None


class LossKeywords(Data, LossOptions, total=False):
    """All keywords of `Network.loss` and `Network.loss_and_grad` beside `return_state`."""


class CheckedObjective(Data, LossOptions, total=False):
    """Keywords of `check_gradient` that it hands to `Objective`."""

    frozen: Sequence[str]


class ObjectiveOptions(DataWithLengths, LossOptions, total=False):
    """All keywords of `Objective`."""

    frozen: Sequence[str]


class ObjectiveLike(Protocol):
    """What `minimize` takes: an `Objective`, or a function of one's own with its network."""

    net: Network

    def __call__(self, theta: Vector, /) -> tuple[float, Array]: ...


class ValidationLike(Protocol):
    """What `minimize` may validate by: `fun` of all parameters of the network."""

    def fun(self, theta: Vector, /) -> float: ...


class Schedule(Protocol):
    """A learning rate that changes: see `lstmcore.optimizers`."""

    def __call__(self, epoch: float, max_epochs: int, /) -> float: ...


class Intermediate(OptimizeResult):
    """What a callback is given: a `scipy.optimize.OptimizeResult` with these entries."""

    x: Array
    fun: float
    nit: int
    nfev: int
    gradient_norm: float
    validation_loss: float | None
    time: float


class Result(OptimizeResult):
    """What `minimize` and `fit` return: a `scipy.optimize.OptimizeResult` with these entries."""

    x: Array
    fun: float
    jac: Array | None
    success: bool
    status: int
    message: str
    nit: int
    nfev: int
    history: History
    n_nonfinite: int
    # only where they were asked for
    n_polish: int
    state: State
    restarts: list[OptimizeResult]
    restart: int
    validation_indices: npt.NDArray[np.intp]

"""`DistributedObjective`: the objective of data that are spread over machines; `split`."""

from __future__ import annotations

import heapq
import os
import pickle
import sys
import threading
import traceback
import uuid
import weakref
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, CancelledError
from typing import TYPE_CHECKING

import numpy as np

from ._blas import keep_for_scipy
from ._checks import (
    as_choice,
    as_flag,
    as_integer,
    as_ndarray,
    as_real,
    as_threads,
    describe,
    float_dtype,
    not_real,
    shaped,
)
from ._penalized import Penalized
from .network import Network
from .objective import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy.typing as npt

    from ._types import Reduction, SequencesLike, Strength, Vector

__all__ = ["DistributedObjective", "split"]

# θ of more bytes goes to a worker, from which the others get it, and not to the scheduler with the
# tasks. Dask keeps the last thousand messages between client, scheduler and workers, so this bounds
# the memory for them to 64 MiB on each way.
_INLINE = 1 << 16

# What an `Objective` has and a `DistributedObjective` has not, and why.
_NOT_HERE = dict.fromkeys(
    ("residuals", "jacobian"),
    "whose residuals, one for each target, would all have to come here; gauss_newton gives "
    "products with the same curvature",
) | dict.fromkeys(
    ("examples", "on_batch", "on_stretch", "constant_loss", "least_loss"),
    "whose data are on workers; map_shards gives what a function returns for each shard",
)


class DistributedObjective(Penalized):
    """The objective of a data set in parts, the shards, each of which some worker evaluates.

    ::

        f(θ) = Σ sum(w · loss) / Σ sum(w) + l2 / 2 · ‖weights‖² + l1 · Σ |weights|

    with the sums Σ over the shards. It is called as an `Objective` is, by ``lstmcore.minimize`` and
    by SciPy's methods.

    Parameters
    ----------
    net : Network
        `net.params` is neither read nor written by any call.
    shards : list
        Each entry says where a part of the data comes from. It is a function without arguments, or
        a tuple of a function and its arguments, which a worker calls: it reads a file, say. Or it
        is the data themselves. Data are a tuple (X, Y), or a dict of the arguments of
        `Network.prepare`.
    client : distributed.Client, executor or None
        Who evaluates: a client of Dask; or any object whose ``submit(function, *arguments)``
        returns a future with ``result()``, as the executors of concurrent.futures and of mpi4py do.
        None evaluates one shard after the other in this process.
    l2, l1, frozen
        As those of `Objective`. Frozen parameters travel to the workers too.
    reduction : {"mean", "sum"}
        "sum" leaves the division by the sum of the weights out.
    n_threads : int, optional
        Of the evaluation of one shard. None is a choice by the size of the work.
    checkpoint : int, True or None
        Bounds the memory for long sequences: see `Network.loss_and_grad`.
    retries : int
        How many times a shard that was lost with its worker is evaluated again in one call.
    keep : bool
        Whether workers keep the shards that they have built. False builds a shard anew for every
        evaluation: nothing of it is held in between, so the data may exceed the memory of all
        workers. See the notes.

    Attributes
    ----------
    net : Network
    n_shards : int
    total : float
        The sum of the weights of all shards.
    size, weight_slices, l2, l1, frozen, frozen_values
        As those of `Objective`.
    reduction, n_threads, checkpoint, retries, keep

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.
    RuntimeError
        A function has raised, or its data do not fit the network; or a shard was lost more than
        `retries` times. Names the shard. What a worker has raised is its cause.

    Notes
    -----
    All shards are built when the objective is made, so that errors in data show then. A worker
    keeps those that it has built. Of a worker of Dask that is lost, the others build its shards
    again from their functions. Data in place of functions go through Dask's scheduler, which keeps
    them: that is for small data alone. An executor gets functions or data with every evaluation,
    and each of its processes may come to hold every shard. A process pool of which a process has
    died takes no more work; Dask goes on.

    Shards that together exceed a worker's memory limit are written to its disk by Dask and read
    back in every evaluation, with the same bits. ``keep=False`` is most often faster then, and
    needs no disk: a function is called once more for every evaluation, and for every product of
    curvature. docs/distributed.md has figures.

    Values, gradients and products are added in float64, in pairs in the order of the shards. So
    their bits depend on the shards, and not on the number of workers or threads, on which worker
    evaluates what, or on who ends first. They are those of ``client=None``. The values differ from
    those of an `Objective` of all data by rounding errors.

    Whatever looks at single sequences (`batch_size`, `truncate`, dropout and noise on inputs) or at
    single residuals (least_squares) is for an `Objective`.

    An objective is closed by ``close()``, at the end of a ``with`` block, or when nobody has it any
    more. Nothing of it is left on a cluster then.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> def make(seed, n):                         # as a function that reads a part of the data
    ...     x = np.random.default_rng(seed).normal(size=(n, 20, 1))
    ...     return x, np.cumsum(x, axis=1) / 5
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> shards = [(make, 0, 8), (make, 1, 8), (make, 2, 4)]
    >>> with lc.DistributedObjective(net, shards, l2=1e-4) as obj:
    ...     res = lc.minimize(obj, max_iter=1000, tol=1e-4)
    >>> res.success
    True
    """

    n_shards: int
    total: float
    reduction: Reduction
    n_threads: int | None
    checkpoint: int | None
    retries: int
    keep: bool

    _instead = "build another one: DistributedObjective(net, shards, client, l2=...)"
    _fixed = (
        "net", "n_shards", "total", "reduction", "n_threads", "checkpoint", "retries", "keep",
    )  # fmt: skip

    def __init__(
        self,
        net: Network,
        shards: Sequence[Any],
        client: Any = None,
        *,
        l2: Strength = 0.0,
        l1: Strength = 0.0,
        frozen: Sequence[str] = (),
        reduction: Reduction = "mean",
        n_threads: int | None = 1,
        checkpoint: int | None = None,
        retries: int = 3,
        keep: bool = True,
    ) -> None:
        super().__init__(net, l2, l1, frozen)
        self.reduction = as_choice(reduction, "reduction", ("mean", "sum"))
        self.n_threads = as_threads(n_threads)
        self.checkpoint = net.check_checkpoint(checkpoint)
        self.retries = as_integer(retries, "retries", 0)
        self.keep = as_flag(keep, "keep")
        options = {"n_threads": self.n_threads, "checkpoint": self.checkpoint}
        maker = _Maker(net, options)
        jobs = [_Job(maker, function, rest) for function, rest in _recipes(shards)]
        self.n_shards = len(jobs)
        self._engine: _Cluster | _Executor
        if _is_of_dask(client):
            self._engine = _Cluster(client, jobs, self.keep)
        elif client is None or callable(getattr(client, "submit", None)):
            self._engine = _Executor(_Serial() if client is None else client, jobs, self.keep)
        else:
            raise TypeError(
                "client: expected a distributed.Client, an executor with submit, or None, got "
                f"{describe(client)}"
            )
        self._finalizer = weakref.finalize(self, self._engine.close)
        try:
            self.total = _pairwise_sum(self._of_shards("total"))
            if reduction == "mean" and not 0 < self.total < np.inf:
                raise ValueError(
                    "shards: expected a finite sum of weights above zero over all of them, got "
                    f"{self.total}"
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the workers forget the shards. The objective takes no more calls."""
        self._finalizer()

    def __enter__(self) -> DistributedObjective:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a DistributedObjective cannot be copied or pickled, for its shards are on workers; "
            f"{self._instead}"
        )

    if not TYPE_CHECKING:  # a checker would take any name at all to be there

        def __getattr__(self, name):
            kind, reason = type(self).__name__, _NOT_HERE.get(name)
            if reason is None:
                raise AttributeError(f"a {kind} has no {name}")
            raise AttributeError(f"{name}: expected an Objective, got a {kind}, {reason}")

    def __call__(self, theta: npt.ArrayLike) -> tuple[float, Vector]:
        """Value (float) and gradient (fresh float64 array) at `theta`."""
        theta = self._vector(theta, "theta")
        f, g = self.sums(theta)
        f, g = f * self._scale, g * self._scale
        return self.penalty(theta, g, start=f), g

    def fun(self, theta: npt.ArrayLike) -> float:
        """The value alone: one forward pass."""
        theta = self._vector(theta, "theta")
        f = _pairwise_sum(self._of_shards("fun", self.params_of(theta)))
        return self.penalty(theta, start=f * self._scale)

    def grad(self, theta: npt.ArrayLike) -> Vector:
        """The gradient alone; costs as much as both."""
        return self(theta)[1]

    def sums(self, theta: npt.ArrayLike) -> tuple[float, Vector]:
        """The sum of the weighted losses and its gradient, without the penalty.

        Parameters
        ----------
        theta : (P,) array_like

        Returns
        -------
        f : float
        g : (P,) float64 array
            Fresh.
        """
        params = self.params_of(self._vector(theta, "theta"))
        values, gradients = zip(*self._of_shards("sums", params), strict=True)
        return _pairwise_sum(values), self.theta_of(_pairwise_sum(gradients))

    def gauss_newton(self, theta: npt.ArrayLike, v: npt.ArrayLike) -> Vector:
        """The Gauss-Newton matrix times a vector, as `Objective.gauss_newton`.

        Parameters
        ----------
        theta, v : (P,) array_like

        Returns
        -------
        (P,) float64 array
            Fresh.
        """
        return self._product("gauss_newton", theta, v)

    def hessp(self, theta: npt.ArrayLike, v: npt.ArrayLike) -> Vector:
        """The Hessian times a vector, as `Objective.hessp`.

        Parameters
        ----------
        theta, v : (P,) array_like

        Returns
        -------
        (P,) float64 array
            Fresh.
        """
        return self._product("hessp", theta, v)

    def map_shards(self, function: Callable[[Objective], Any]) -> list[Any]:
        """What a function returns for each shard, in their order; workers call it.

        Parameters
        ----------
        function : callable
            Takes the shard's `Objective`, whose loss is a sum of all terms, whose θ is all
            parameters of the network, and which has no penalty.

        Returns
        -------
        list

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.DistributedObjective(net, [(x[:5], x[:5]), (x[5:], x[5:])])
        >>> obj.map_shards(lambda shard: shard.total)
        [100.0, 60.0]
        """
        if not callable(function):
            raise TypeError(f"function: expected a callable, got {describe(function)}")
        return self._of_shards(function)

    def _product(self, method, theta, v):
        theta, v = self._vector(theta, "theta"), self._vector(v, "v")
        both = self.params_of(theta), self._direction_of(v)
        product = self.theta_of(_pairwise_sum(self._of_shards(method, *both))) * self._scale
        product += self.theta_of(self._penalty.curvature()) * v
        return product

    @property
    def _scale(self):
        return 1.0 / self.total if self.reduction == "mean" else 1.0

    def _vector(self, value, name):
        """A vector of parameters that nobody else has: a task may outlive the call."""
        return shaped(as_real(value, name, float_dtype(value)), name, (self.size,)).copy()

    def _of_shards(self, method, *arguments):
        """What a method of each shard's `Objective` gives, in the order of the shards."""
        if not self._finalizer.alive:
            raise RuntimeError(
                f"this DistributedObjective is closed and takes no more calls; {self._instead}"
            )
        keep_for_scipy()
        values = [None] * self.n_shards
        missing = range(self.n_shards)
        for _ in range(self.retries + 1):
            lost = {}
            for k, answer in zip(
                missing, self._engine.ask(missing, method, arguments), strict=True
            ):
                if isinstance(answer, _Failed):
                    raise RuntimeError(f"shards[{k}]: {answer}") from answer.error
                if isinstance(answer, _Lost):
                    lost[k] = answer.error
                else:
                    values[k] = answer
            missing = list(lost)
            if not missing:
                return values
        names = ", ".join(f"shards[{k}]" for k in missing[:10])
        error = lost[missing[0]]
        raise RuntimeError(
            f"{names}: expected workers that live to evaluate them, got {self.retries + 1} in turn "
            f"that were lost, at last by {type(error).__name__}: {error}; the usual cause is "
            "memory, of which smaller shards need less"
        ) from error


def split(X: SequencesLike, n: int) -> list[npt.NDArray[np.intp]]:
    """Sequences in parts of nearly equal numbers of steps, for shards.

    Parameters
    ----------
    X : (B, T, ...) array, list of array_like, or (B,) array_like of int
        The sequences, or the number of steps of each.
    n : int
        The number of parts, at most B.

    Returns
    -------
    list of arrays of int
        The indices of each part's sequences, ascending. The part of most steps is the first one,
        so that it is begun first.

    Notes
    -----
    The sequences are dealt out from the longest to the shortest, each to the part that has the
    fewest steps. No part has more than 4/3 of the steps that the longest part of the best split has
    (R. L. Graham, *Bounds on Multiprocessing Timing Anomalies*, SIAM J. Appl. Math. 17, 1969).

    Examples
    --------
    >>> import lstmcore as lc
    >>> [part.tolist() for part in lc.split([70, 20, 50, 10, 40], 2)]
    [[0, 1, 3], [2, 4]]
    """
    lengths = _lengths(X)
    n = as_integer(n, "n", 1)
    if n > len(lengths):
        raise ValueError(f"n: expected at most {len(lengths)}, one for each sequence, got {n}")
    parts: list[list[int]] = [[] for _ in range(n)]
    heap = [(0, 0, k) for k in range(n)]  # steps, sequences, part
    for b in np.argsort(-lengths, kind="stable").tolist():
        steps, count, k = heap[0]
        parts[k].append(b)
        heapq.heapreplace(heap, (steps + int(lengths[b]), count + 1, k))
    return [np.sort(parts[k]) for _, _, k in sorted(heap, key=lambda part: (-part[0], part[2]))]


def _lengths(X):
    """The number of steps of each sequence."""
    if isinstance(X, (list, tuple)) and not all(np.ndim(x) == 0 for x in X):
        rows = [as_ndarray(x, f"X[{b}]") for b, x in enumerate(X)]
        for b, row in enumerate(rows):
            if not row.ndim:
                raise ValueError(f"X[{b}]: expected a sequence, got {describe(X[b])}")
        return np.array([len(row) for row in rows])
    array = as_ndarray(X, "X")
    if array.ndim > 1:
        return np.full(len(array), array.shape[1])
    if array.ndim == 0 or not len(array):
        raise ValueError(f"X: expected sequences, or their numbers of steps, got {describe(X)}")
    if array.dtype.kind not in "iu":
        raise (
            not_real(array, "X")
            if array.dtype.kind not in "bf"
            else TypeError(f"X: expected numbers of steps that are integers, got {describe(X)}")
        )
    if array.min() < 0:
        raise ValueError(f"X: expected numbers of steps >= 0, got {array.min()}")
    return array.astype(np.int64)


def _pairwise_sum(values):
    """The sum of numbers or arrays, neighbours first, in an order that only their number fixes."""
    values = list(values)
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [a + b for a, b in pairs] + values[len(values) - len(values) % 2 :]
    return values[0]


# ---- what shards are made of ---------------------------------------------------------------------


def _recipes(shards):
    """A function and its arguments for each shard."""
    if not isinstance(shards, (list, tuple)):
        raise TypeError(f"shards: expected a list, got {describe(shards)}")
    if not shards:
        raise ValueError("shards: expected one or more, got none")
    return [_recipe(shard, f"shards[{k}]") for k, shard in enumerate(shards)]


def _recipe(shard, name):
    if callable(shard):
        return shard, ()
    if isinstance(shard, tuple) and shard and callable(shard[0]):
        return shard[0], shard[1:]
    if _are_data(shard):
        return _the_same, (shard,)
    raise TypeError(
        f"{name}: expected a function, a tuple (function, *arguments), {_DATA}, got "
        f"{describe(shard)}"
    )


_DATA = "a tuple (X, Y) or a dict of the arguments of Network.prepare"


def _are_data(value):
    return isinstance(value, Mapping) or (isinstance(value, tuple) and len(value) == 2)


def _the_same(data):
    return data


# Of this process: the network of each objective's shards.
_networks: weakref.WeakValueDictionary[str, Network] = weakref.WeakValueDictionary()


class _Maker:
    """Makes the objectives of shards. In a process all have one network, whose memory they share.

    Each network keeps the memory of its calls for the next ones.
    """

    def __init__(self, net, options):
        # Parameters come with every evaluation.
        self._net, self._size = net.__getstate__() | {"params": None}, net.table.size
        self._options, self._key = options, uuid.uuid4().hex

    def network(self):
        net = _networks.get(self._key)
        if net is None:
            net = Network.__new__(Network)
            net.__setstate__(self._net | {"params": np.zeros(self._size, self._net["dtype"])})
            net = _networks.setdefault(self._key, net)
        return net

    def objective(self, examples):
        return Objective(self.network(), examples, **self._options)


class _Job:
    """How a worker builds the `Objective` of a shard. Engines look at nothing of what is in it."""

    def __init__(self, maker, function, arguments):
        self.maker, self._function, self._arguments = maker, function, arguments

    def build(self):
        """The objective, or what has stood against it."""
        try:
            data = self._function(*self._arguments)
            if not _are_data(data):
                raise TypeError(f"expected {_DATA}, got {describe(data)}")
            if not isinstance(data, Mapping):
                data = dict(zip(("X", "Y"), data, strict=True))
            _refuse_what_is_of_all(data)
            net = self.maker.network()  # kept until the objective has it
            return self.maker.objective(net.prepare(**data, reduction="sum"))
        except Exception as error:
            return _Failed(error)


def _refuse_what_is_of_all(data):
    if "reduction" in data:
        raise ValueError("reduction: expected beside shards, not in the data of one")
    if isinstance(data.get("class_weight"), str):
        raise ValueError(
            f"class_weight: expected numbers, got {data['class_weight']!r}, which would differ "
            "from shard to shard"
        )


class _Failed:
    """What a shard's function or evaluation has raised, as a value.

    As a value no engine can take it for something that has befallen the worker.
    """

    def __init__(self, error):
        self.error = error

    def __str__(self):
        return f"{type(self.error).__name__}: {self.error}"

    def __reduce__(self):
        lines = traceback.format_exception(type(self.error), self.error, self.error.__traceback__)
        return _failed, (_portable(self.error), "".join(lines))


class _WorkersTraceback(Exception):
    """The traceback of an exception in another process, to be its cause here."""

    def __str__(self):
        return f"on the worker:\n{self.args[0]}"


def _failed(error, lines):
    error.__cause__ = _WorkersTraceback(lines)
    return _Failed(error)


def _portable(error):
    """An exception that can be sent: the same, or what it says."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


class _Lost:
    """In the place of an answer: what says that a worker was lost."""

    def __init__(self, error):
        self.error = error


def _evaluate(shard, method, *arguments):
    """What a method, or an attribute, of a shard's objective gives, or a function of it."""
    if isinstance(shard, _Failed):
        return shard
    if isinstance(shard, _Job):
        return _evaluate(shard.build(), method, *arguments)
    if isinstance(shard, _Held):
        shard = shard.objective
    try:
        if callable(method):
            return method(shard)
        return getattr(shard, method)(*arguments) if arguments else getattr(shard, method)
    except Exception as error:
        return _Failed(error)


# ---- engines -------------------------------------------------------------------------------------


def _is_of_dask(client):
    module = sys.modules.get("distributed")
    return module is not None and isinstance(client, module.Client)


def _is_lost(error):
    """Whether an exception of an engine says that a worker was lost, or what was on it."""
    module = sys.modules.get("distributed")
    killed = () if module is None else (module.KilledWorker,)
    return isinstance(error, (CancelledError, BrokenExecutor, OSError, *killed))


def _outcome(future, k):
    """What a future holds, or that it was lost."""
    try:
        return future.result()
    except Exception as error:
        error.__traceback__ = None  # its frames have the future, and that has the error
        if _is_lost(error):
            return _Lost(error)
        raise RuntimeError(
            f"shards[{k}]: the worker could not run its task, by {type(error).__name__}: {error}; "
            "workers need lstmcore and whatever the shards' functions import, in the versions "
            "that are here"
        ) from error


class _Cluster:
    """Shards on the workers of a Dask cluster: futures here, objectives there.

    Where they are not kept, jobs stand in the place of futures.
    """

    def __init__(self, client, jobs, keep):
        self._client, self._jobs, self._keep = client, jobs, keep
        self._check()
        self._shards = dict(enumerate(self._build(range(len(jobs)))))

    def _check(self):
        if self._client.status in ("closing", "closed"):
            raise RuntimeError(
                "client: expected a distributed.Client that is open, got one of status "
                f"{self._client.status!r}; {DistributedObjective._instead}"
            )

    def _build(self, numbers):
        jobs = [self._jobs[k] for k in numbers]
        if not self._keep:
            return jobs
        return self._client.map(_build, jobs, pure=False, key="lstmcore-build")

    def ask(self, numbers, method, arguments):
        """The answers of some shards: values, or `_Lost`, and those are built again."""
        self._check()
        shards = [self._shards[k] for k in numbers]
        columns = [[self._sent(value)] * len(shards) for value in arguments]
        futures = self._client.map(
            _evaluate, shards, [method] * len(shards), *columns, pure=False, key="lstmcore-evaluate"
        )
        try:
            return self._client.gather(futures)
        except Exception as error:
            error.__traceback__ = None  # its frames have the futures, and those have the error
            self._check()
        answers = [_outcome(future, k) for k, future in zip(numbers, futures, strict=True)]
        lost = [k for k, answer in zip(numbers, answers, strict=True) if isinstance(answer, _Lost)]
        self._shards.update(zip(lost, self._build(lost), strict=True))
        return answers

    def _sent(self, value):
        if value.nbytes <= _INLINE:
            return value
        return self._client.scatter(value, hash=False)  # a hash would take longer than the way

    def close(self):
        self._shards.clear()  # the cluster forgets what no future stands for


def _build(job):
    shard = job.build()
    return shard if isinstance(shard, _Failed) else _Held(job.maker, shard)


class _Held:
    """A shard's objective with its size: Dask moves to idle workers what it takes for small.

    Where Dask moves it, or has written it to disk, it has the network of its new neighbours.
    """

    def __init__(self, maker, objective):
        self._maker, self.objective = maker, objective
        buffers = []
        rest = pickle.dumps(objective.examples, protocol=5, buffer_callback=buffers.append)
        self._n_bytes = len(rest) + sum(buffer.raw().nbytes for buffer in buffers)

    def __reduce__(self):
        return _held, (self._maker, self.objective.examples)

    def __sizeof__(self):
        return self._n_bytes


def _held(maker, examples):
    return _Held(maker, maker.objective(examples))


class _Executor:
    """Shards in the processes or threads of an executor.

    It says nothing of who will run a task. So the job goes along, and a process keeps what it has
    built, if it is to.
    """

    def __init__(self, executor, jobs, keep):
        self._executor, self._jobs, self._keep = executor, jobs, keep
        self._key = _owner(), uuid.uuid4().hex
        _open.add(self._key)

    def ask(self, numbers, method, arguments):
        """The answers of some shards: values, or `_Lost`."""
        keys, futures = tuple(_open), []
        try:
            for k in numbers:
                task = _evaluate, self._jobs[k], method, *arguments
                if self._keep:
                    task = _evaluate_kept, self._key, keys, k, *task[1:]
                futures.append(self._submit(*task))
            return [_outcome(future, k) for k, future in zip(numbers, futures, strict=True)]
        finally:
            for future in futures:  # of which some wait where an error has ended this
                cancel = getattr(future, "cancel", None)
                if cancel is not None:
                    cancel()

    def _submit(self, *task):
        try:
            return self._executor.submit(*task)
        except Exception as error:
            raise RuntimeError(
                f"client: expected an executor that takes tasks, got {describe(self._executor)}, "
                f"which says: {error}; {DistributedObjective._instead}"
            ) from error

    def close(self):
        _open.discard(self._key)
        _forget(self._key)


class _Serial:
    """The executor that evaluates at once, in the calling thread."""

    def submit(self, function, *arguments):
        return _Done(function(*arguments))


class _Done:
    def __init__(self, value):
        self._value = value

    def result(self):
        return self._value


# In the process of the caller: the objectives that are open. In that of a worker, which may be the
# same: what it has built, objective by objective and shard by shard.
_open: set[tuple[str, str]] = set()
_kept: dict[tuple[str, str], dict[int, Any]] = {}
_lock = threading.Lock()
_process = uuid.uuid4().hex


def _owner():
    return f"{_process} {os.getpid()}"  # of a fork the first half is the same


def _evaluate_kept(key, keys, k, job, method, *arguments):
    """`_evaluate` of a shard that this process has built, or builds now and keeps."""
    with _lock:
        for other in list(_kept):
            if other[0] == key[0] and other not in keys:
                del _kept[other]
        shards = _kept.setdefault(key, {})
    if k not in shards:
        shard = job.build()
        if isinstance(shard, _Failed):
            return shard
        shards[k] = shard
    return _evaluate(shards[k], method, *arguments)


def _forget(key):
    with _lock:
        _kept.pop(key, None)

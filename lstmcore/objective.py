"""`Objective`: data and a network as a function of the parameters, for any optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._blas import keep_for_scipy
from ._checks import as_real, as_threads, describe, shaped
from ._curvature import Products, differences
from ._examples import Examples
from ._penalized import Penalized
from ._perturbation import check_perturbation
from .network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    import numpy.typing as npt
    from scipy.sparse.linalg import LinearOperator
    from typing_extensions import Unpack

    from ._perturbation import Perturbation
    from ._types import Array, DataWithLengths, SequencesLike, State, Strength, Vector

    A = TypeVar("A", bound=npt.ArrayLike)

__all__ = ["Objective"]


class Objective(Penalized):
    """The objective of a network on a data set, as a function of its parameter vector θ.

    ::

        f(θ) = sum(w · loss) / sum(w) + l2 / 2 · ‖weights‖² + l1 · Σ |weights|

    over the scored terms, which are the steps, or the sequences where the network reads them out.
    The penalty counts the blocks W, R, p and Q, not biases and not initial states; or it counts the
    blocks that l2 and l1 name.

    Called as ``obj(theta)`` it gives value and gradient together, which is what
    ``scipy.optimize.minimize(obj, x0, jac=True, method=...)`` asks of it.

    Parameters
    ----------
    net : Network
        `net.params` is neither read nor written by any call.
    X, Y, **data
        The data: the arguments of `Network.prepare`, or in place of all of them the `Examples` that
        `net.prepare` has made.
    l2, l1 : float or mapping of str to float
        Strengths >= 0 of the penalty. A mapping such as ``{"*.W": 1e-4, "0.R": 1e-3}`` gives one to
        each block of `Network.blocks` that a name or pattern in it matches, biases too, and 0 to
        the others: see `Network.penalty`. The gradient of l1 is the sign of a weight, so it draws
        weights towards 0 but leaves none there exactly.
    frozen : sequence of str
        Blocks of `Network.blocks`, by names or patterns as in l2, that are not in θ. They keep the
        values that they have in `net` now. `params_of` and `theta_of` lead from θ to all parameters
        and back. The penalty counts frozen blocks too, which adds a constant.
    checkpoint : int, True or None
        Bounds the memory for long sequences: see `Network.loss_and_grad`.
    n_threads : int, optional
        By default a choice by the size of the work.

    Attributes
    ----------
    net : Network
    examples : Examples
        The data as prepared; they may share memory with X, which must then stay as it is.
    total : float
        sum(w), as `Examples.total`.
    l2, l1 : float or dict
    frozen : tuple of str
    frozen_values : array
        The frozen parameters, in their order.
    size : int
        The number of parameters in θ: P, if none is frozen.
    weight_slices : tuple of slice
        The stretches of θ that an l2 given as a number counts.
    checkpoint : int, True or None
    n_threads : int or None

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Notes
    -----
    The data are checked and arranged once, here. θ goes through the network as an argument, so any
    number of threads may call one objective at the same time. Values and gradients keep nothing;
    products (`gauss_newton`, `hessp`, `jacobian`) keep what belongs to the last θ for the next one.

    Whoever adds up objectives, over parts of a data set say, needs `total`, `sums` and `penalty`:

        f(θ) = Σ sums / Σ total + penalty

    Between evaluations SciPy's methods call BLAS, whose threads get in the way of the kernels: a
    run may take many times as long, most of all beside other busy processes. So where SciPy asks
    for an evaluation, BLAS keeps to one thread in the whole process until SciPy has ended, for
    which a thread looks every 10 ms; so do `lstmcore.minimize` and `fit` while they run.

    A float32 network rounds θ and computes in float32, but SciPy wants float64: start it at
    ``net.params.astype("float64")``, and give Newton-CG and TNC, which differentiate the gradient
    by differences, a step that float32 can see (``options={"eps": 3e-4}``, ``{"accuracy": 3e-4}``).
    Products are computed in float64 whatever the network's dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.optimize
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5, l2=1e-4)
    >>> res = scipy.optimize.minimize(obj, net.params, jac=True, method="L-BFGS-B")
    >>> res.fun < obj.fun(net.params)
    True
    """

    examples: Examples
    checkpoint: int | None
    n_threads: int | None

    _instead = "build another one from its net and examples: Objective(net, examples, l2=...)"
    _fixed = "net", "examples", "checkpoint", "n_threads"

    def __init__(
        self,
        net: Network,
        X: SequencesLike | Examples,
        Y: SequencesLike | None = None,
        *,
        l2: Strength = 0.0,
        l1: Strength = 0.0,
        frozen: Sequence[str] = (),
        checkpoint: int | None = None,
        n_threads: int | None = None,
        **data: Unpack[DataWithLengths],
    ) -> None:
        super().__init__(net, l2, l1, frozen)
        self.checkpoint = net.check_checkpoint(checkpoint)
        self.n_threads = as_threads(n_threads)
        if isinstance(X, Examples):
            for name, value in {"Y": Y, **data}.items():
                if value is not None:
                    raise ValueError(
                        f"{name}: expected None beside Examples, which have all data in them, "
                        f"got {describe(value)}"
                    )
            self.examples = X
        else:
            self.examples = net.prepare(X, Y, **data)  # type: ignore[arg-type]  # refuses None
        self._plain = self._make_plain()
        self._curvature = None

    def _make_plain(self):
        self.net.check_examples(self.examples)
        return None if self.checkpoint else self.net.passes.plain_objective(self.examples)

    def __getstate__(self) -> dict[str, Any]:
        penalty = self._penalty.strengths
        return vars(self) | {"_plain": None, "_curvature": None, "_penalty": penalty}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self)["_penalty"] = self.net.make_penalty(**state["_penalty"])
        vars(self)["_plain"] = self._make_plain()

    @property
    def total(self) -> float:
        return self.examples.total

    def __call__(self, theta: npt.ArrayLike) -> tuple[float, Vector]:
        """Value (float) and gradient (fresh float64 array like θ) at `theta`."""
        params = self.params_of(theta)
        f, g = self._evaluate(params, self.examples, gradient=True, plain=self._plain)
        g = self.theta_of(g)
        f = self.penalty(theta, g, start=f)
        return f, g.astype(np.float64, copy=False)

    def fun(self, theta: npt.ArrayLike) -> float:
        """The value alone: one forward pass."""
        params = self.params_of(theta)
        f, _ = self._evaluate(params, self.examples, gradient=False, plain=self._plain)
        return self.penalty(theta, start=f)

    def grad(self, theta: npt.ArrayLike) -> Vector:
        """The gradient alone; costs as much as both."""
        return self(theta)[1]

    def sums(self, theta: npt.ArrayLike) -> tuple[float, Vector]:
        """The sum of the weighted losses, sum(w · loss), and its gradient, without the penalty.

        Parameters
        ----------
        theta : (P,) array_like

        Returns
        -------
        f : float
        g : (P,) float64 array
            Fresh.

        Examples
        --------
        A data set in two parts, of 30 and 10 sequences:

        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(40, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> parts = [lc.Objective(net, x[:30], x[:30]), lc.Objective(net, x[30:], x[30:])]
        >>> f = sum(part.sums(net.params)[0] for part in parts) / sum(part.total for part in parts)
        >>> bool(np.isclose(f, net.loss(x, x), rtol=1e-14))
        True
        """
        params = self.params_of(theta)
        f, g = self._evaluate(params, self.examples.summed(), gradient=True, plain=self._plain)
        return f, self.theta_of(g).astype(np.float64, copy=False)

    def on_batch(
        self,
        theta: npt.ArrayLike,
        indices: npt.NDArray[Any],
        perturbation: Perturbation | None = None,
    ) -> tuple[float, Array, float]:
        """Value and gradient over some of the sequences: their mean loss, and the whole penalty.

        With ``reduction="sum"`` the value is that mean times the sum of all weights. This value,
        and not the objective itself, is what `minimize` uses with `batch_size`.

        Parameters
        ----------
        theta : (P,) array_like
        indices : (n,) array of int
            The sequences, some of whose terms have weight. Inputs are not copied.
        perturbation : Perturbation, optional
            What `minimize` has drawn for this batch, if it is asked for input_noise, dropout or
            recurrent_dropout. The penalty is not disturbed.

        Returns
        -------
        f : float
        g : (P,) array
            Fresh, of the network's dtype.
        weight : float
            The sum of the weights of their terms. Over batches of all sequences
            Σ weight f / Σ weight = f(θ).

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(40, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5, l2=1e-4)
        >>> batches = np.arange(30), np.arange(30, 40)
        >>> f, _, weight = zip(*(obj.on_batch(net.params, batch) for batch in batches))
        >>> bool(np.isclose(np.average(f, weights=weight), obj.fun(net.params), rtol=1e-14))
        True
        """
        return self._on_part(theta, self.examples.take(indices), perturbation, False)

    def on_stretch(
        self, theta: npt.ArrayLike, examples: Examples, perturbation: Perturbation | None = None
    ) -> tuple[float, Array | None, float, State]:
        """As `on_batch`, over some of the steps of some of the sequences, and the state after them.

        This is what `minimize` uses with `truncate`.

        Parameters
        ----------
        theta : (P,) array_like
        examples : Examples
            Of the objective's, by their `take` and `stretch`.
        perturbation : Perturbation, optional
            As of `on_batch`.

        Returns
        -------
        f, g, weight
            As of `on_batch`. Where nothing has weight, f and weight are 0 and g is None.
        state : tuple
            The state after the last step of each sequence of `examples`.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(4, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5)
        >>> f, g, _, state = obj.on_stretch(net.params, obj.examples.stretch(0, 10))
        >>> f, g, _, state = obj.on_stretch(net.params, obj.examples.stretch(10, 20, state))
        >>> bool((state[0][0] == net.predict(x, return_state=True)[1][0][0]).all())
        True
        """
        return self._on_part(theta, examples, perturbation, True)

    def _on_part(self, theta, examples, perturbation, return_state):
        """What `on_batch` gives, and the state after if wanted."""
        params = self.params_of(theta)
        point, dropout = params, None
        if perturbation is not None:
            check_perturbation(perturbation, self.net, len(examples))
            point, dropout = perturbation.parameters(np.asarray(params)), perturbation.dropout
            examples = perturbation.examples(examples)
        plain = None
        if self._plain is not None and dropout is None:
            plain = self.net.passes.plain_objective(examples)
        is_scored = examples.total > 0
        f, g, *state = self._evaluate(point, examples, is_scored, plain, dropout, return_state)
        if not is_scored:
            return 0.0, None, 0.0, *state
        if perturbation is not None:
            g = perturbation.gradient(g)
        if examples.reduction == "sum":
            factor = self.total / examples.total
            f *= factor
            g *= self.net.dtype.type(factor)
        g = self.theta_of(g)
        return self.penalty(theta, g, start=f), g, examples.total, *state

    def gauss_newton(self, theta: npt.ArrayLike, v: npt.ArrayLike) -> Vector:
        """The Gauss-Newton matrix times a vector, G v.

            G = Jᵀ H_L J + l2 where the penalty counts a parameter

        with J the derivative of the output pre-activations in θ, and H_L that of the loss in them,
        twice: `losses.Loss.curvature`. Of the losses of the package no eigenvalue is below 0.

        Parameters
        ----------
        theta, v : (P,) array_like

        Returns
        -------
        (P,) float64 array
            Fresh. It is ``hessp=`` of ``scipy.optimize.minimize``, with the methods Newton-CG,
            trust-ncg, trust-krylov and trust-constr.

        Notes
        -----
        By central differences of the outputs, right to 1e-8 of its norm or better. It takes the
        time of 1.5 gradients, or with `checkpoint` of 2; the first one at a θ takes half a gradient
        more, for outputs and tapes, which are kept for the others until products at another θ are
        asked for. Of a float32 network, of which differences would have 4 digits, everything is
        computed in float64, at the price of that.

        Examples
        --------
        >>> import numpy as np
        >>> import scipy.optimize
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5, l2=1e-4)
        >>> res = scipy.optimize.minimize(obj, net.params, jac=True, hessp=obj.gauss_newton,
        ...                               method="trust-krylov", options={"maxiter": 20})
        >>> res.fun < 0.1 * obj.fun(net.params)
        True
        """
        theta, v = self._vector(theta, "theta"), self._vector(v, "v")
        keep_for_scipy()
        at = self._products().at(self.params_of(theta))
        product = self.theta_of(at.gauss_newton(self._direction_of(v)))
        product += self._penalty_product(theta, v)
        return product

    def hessp(self, theta: npt.ArrayLike, v: npt.ArrayLike) -> Vector:
        """The Hessian times a vector, H v.

        Parameters
        ----------
        theta, v : (P,) array_like

        Returns
        -------
        (P,) float64 array
            Fresh. It is ``hessp=`` of ``scipy.optimize.minimize``.

        Notes
        -----
        By central differences of the gradient, right to 1e-8 of its norm or better; it takes the
        time of 2 gradients. Of a float32 network everything is computed in float64.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5)
        >>> u, v = np.random.default_rng(1).normal(size=(2, net.params.size))
        >>> bool(np.isclose(u @ obj.hessp(net.params, v), v @ obj.hessp(net.params, u)))
        True
        """
        theta, v = self._vector(theta, "theta"), self._vector(v, "v")
        keep_for_scipy()
        params, direction = self.params_of(theta), self._direction_of(v)
        product = self.theta_of(self._products().hessian(params, direction))
        product += self._penalty_product(theta, v)
        return product

    def residuals(self, theta: npt.ArrayLike) -> Vector:
        """Residuals r of which the objective is half the sum of squares, for squared_error.

        They are the errors y - z of the terms that have a weight, output by output, each times the
        root of the weight it has in the objective; and, with `l2`, the root of l2 times each of the
        parameters that the penalty counts.

        Parameters
        ----------
        theta : (P,) array_like

        Returns
        -------
        (M,) float64 array
            Fresh.

        Raises
        ------
        TypeError
            Where the objective is no sum of squares.

        Examples
        --------
        >>> import numpy as np
        >>> import scipy.optimize
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5, l2=1e-4)
        >>> r = obj.residuals(net.params)
        >>> bool(np.isclose(0.5 * r @ r, obj.fun(net.params), rtol=1e-14))
        True
        >>> res = scipy.optimize.least_squares(obj.residuals, net.params, jac=obj.jacobian,
        ...                                    max_nfev=10)
        >>> bool(res.cost < 0.1 * obj.fun(net.params))
        True
        """
        return self._least_squares(theta, "residuals").residuals()

    def jacobian(self, theta: npt.ArrayLike) -> LinearOperator:
        """The derivative of `residuals` in θ, as an operator.

        Parameters
        ----------
        theta : (P,) array_like

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            (M, P). It keeps what belongs to this θ: as much memory as a gradient needs.

        Notes
        -----
        ``matvec`` takes the time of 0.9 gradients, by central differences, and ``rmatvec`` that of
        0.6, with `checkpoint` of 1.2. `scipy.optimize.least_squares` takes operators with its
        methods trf and dogbox.

        Examples
        --------
        >>> import numpy as np
        >>> import lstmcore as lc
        >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
        >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
        >>> obj = lc.Objective(net, x, np.cumsum(x, axis=1) / 5)
        >>> J = obj.jacobian(net.params)
        >>> J.shape
        (160, 101)
        >>> bool(np.allclose(J.T @ obj.residuals(net.params), obj.grad(net.params)))
        True
        """
        from scipy.sparse.linalg import LinearOperator

        at = self._least_squares(theta, "jacobian")

        def push(v):
            keep_for_scipy()
            return at.push(self._direction_of(np.ravel(v)))

        def pull(u):
            keep_for_scipy()
            return self.theta_of(at.pull(np.ravel(u)))

        shape = at.size, self.size
        return LinearOperator(shape, matvec=push, rmatvec=pull, dtype=np.float64)

    def _least_squares(self, theta, name):
        if not self.net.passes.is_least_squares:
            raise TypeError(
                f"{name}: expected the loss 'squared_error', which is a sum of squares, got "
                f"{self.net.loss_name!r}; gauss_newton serves scipy.optimize.minimize with any loss"
            )
        if not self._has_own_penalty or self._penalty.is_of_sizes:
            whose = f"that of {type(self).__name__}" if not self._has_own_penalty else "l1"
            raise TypeError(
                f"{name}: expected a penalty by l2 alone, which is a sum of squares, got {whose}; "
                "gauss_newton serves scipy.optimize.minimize with any"
            )
        params = self.params_of(self._vector(theta, "theta"))
        keep_for_scipy()
        return self._products().least_squares(params, self._penalty.curvature())

    @property
    def _has_own_penalty(self):
        """Whether the penalty is the one by l2 and l1."""
        return type(self).penalty is Objective.penalty

    def _penalty_product(self, theta, v):
        """The second derivative of the penalty times v."""
        if not self._has_own_penalty:
            return differences(self._penalty_gradient, theta, v)
        return self.theta_of(self._penalty.curvature()) * v

    def _penalty_gradient(self, theta):
        g = np.zeros_like(theta)
        self.penalty(theta, g)
        return g

    def _vector(self, value, name):
        value = shaped(as_real(value, name, np.float64), name, (self.size,))
        return np.ascontiguousarray(value)

    def _products(self):
        """Made when first asked for: most objectives never are."""
        products = self._curvature
        if products is None:
            # Another thread may make them too, and one of the two is kept.
            options = self.checkpoint, self.n_threads
            self._curvature = products = Products(self.net, self.examples, *options)
        return products

    def constant_loss(self) -> float | None:
        """`Network.constant_loss` of the examples, which any fit should bring `fun` below."""
        return self.net.constant_loss(self.examples)

    def least_loss(self) -> float:
        """`Network.least_loss` of the examples, which no parameters bring the loss below."""
        return self.net.least_loss(self.examples)

    def _evaluate(self, params, examples, gradient, plain, dropout=None, return_state=False):
        keep_for_scipy()
        if plain is not None:
            return self.net.passes.evaluate_plain(
                plain, params, examples, gradient, self.n_threads, return_state
            )
        return self.net.evaluate(
            params,
            examples,
            gradient=gradient,
            checkpoint=self.checkpoint,
            n_threads=self.n_threads,
            dropout=dropout,
            return_state=return_state,
        )

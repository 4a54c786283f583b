"""`Objective`: data and a network as a function of the parameters, for `scipy.optimize`."""

import numpy as np

from ._checks import as_number, as_threads, describe
from .network import Network

__all__ = ["Objective"]


class Objective:
    """The objective of a network on a data set, as a function of its parameter vector θ.

        f(θ) = sum(w · loss) / sum(w) + l2 / 2 · ‖weights‖²

    over the scored terms: steps, or sequences where the network reads them out. The penalty counts
    the blocks W, R, p and Q; not biases, not initial states.

    Called as ``obj(theta)`` it gives value and gradient together, which is what
    ``scipy.optimize.minimize(obj, x0, jac=True, method=...)`` asks of it.

    Parameters
    ----------
    net : Network
        `net.params` is neither read nor written by any call.
    X : array_like or list of array_like
        Sequences: (B, T, I), a list of (T_b, I), or integer tokens.
    Y : array_like or list of array_like
        Targets: (B, T, K), (B, K) where read out, a list of (T_b, K); class labels without the
        last axis.
    lengths : (B,) array_like of int, optional
        Steps of each sequence of a padded X.
    mask : (B, T) array_like of bool, optional
        Steps of a padded X that are there.
    sample_weight : (B,) array_like, optional
        Weight >= 0 of each sequence.
    step_weight : (B, T) array_like or list of (T_b,) array_like, optional
        Weight >= 0 of each step; not where sequences are read out.
    l2 : float
        Strength >= 0 of the penalty.
    reduction : {"mean", "sum"}
        "sum" leaves out the division by the weights' sum.
    check_finite : bool
        Refuse NaN and infinity in the data.
    checkpoint : int, True or None
        Bounds the memory for long sequences: see `Network.loss_and_grad`.
    n_threads : int, optional
        None chooses by the size of the work.

    Attributes
    ----------
    net : Network
    examples : Examples
        The data as prepared; they may share memory with X, which must then stay as it is.
    l2 : float
    checkpoint : int, True or None
    n_threads : int or None

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Notes
    -----
    The data are checked and arranged once, here. A call keeps nothing: θ goes through the network
    as an argument, so any number of threads may call one objective at the same time.

    A float32 network rounds θ and computes in float32, but SciPy wants float64: start it at
    ``net.params.astype("float64")``, and give Newton-CG and TNC, which differentiate the gradient
    by differences, a step that float32 can see (``options={"eps": 3e-4}``, ``{"accuracy": 3e-4}``).

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

    def __init__(
        self,
        net,
        X,
        Y,
        *,
        lengths=None,
        mask=None,
        sample_weight=None,
        step_weight=None,
        l2=0.0,
        reduction="mean",
        check_finite=True,
        checkpoint=None,
        n_threads=None,
    ):
        if not isinstance(net, Network):
            raise TypeError(f"net: expected a Network, got {describe(net)}")
        self.net = net
        self.l2 = as_number(l2, "l2", 0.0)
        self.checkpoint = net.check_checkpoint(checkpoint)
        self.n_threads = as_threads(n_threads)
        self.examples = net.prepare(
            X,
            Y,
            lengths,
            mask=mask,
            sample_weight=sample_weight,
            step_weight=step_weight,
            reduction=reduction,
            check_finite=check_finite,
        )

    def __call__(self, theta):
        """Value (float) and gradient (fresh (P,) float64 array) at `theta`."""
        f, g = self._evaluate(theta, gradient=True)
        return f, g.astype(np.float64, copy=False)

    def fun(self, theta):
        """The value alone: one forward pass."""
        return self._evaluate(theta, gradient=False)[0]

    def grad(self, theta):
        """The gradient alone; costs as much as both."""
        return self(theta)[1]

    def _evaluate(self, theta, gradient):
        return self.net.evaluate(
            theta, self.examples, l2=self.l2, gradient=gradient, checkpoint=self.checkpoint,
            n_threads=self.n_threads,
        )  # fmt: skip

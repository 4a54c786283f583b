"""`Mixture`: the negative log-density of targets under a mixture of Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import (
    as_flag,
    as_generator,
    as_integer,
    as_number,
    as_real,
    float_dtype,
)
from ._compiled import Compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    import numpy.typing as npt

    from .._types import Array, Seed, Vector

_MOST_COMPONENTS = 1024  # that the kernel has memory for
_LOWEST_LOG_SCALE = -60.0  # of the best constants, for targets that are all the same


class Mixture(Compiled):
    """-ln of a density that the outputs describe: M weighted Gaussians (Bishop 1994).

    The outputs of a step say how its target is distributed, where squared error has a mean alone:
    several answers may be likely, each with an uncertainty of its own. With `end`, a target has a
    flag as its last number, whether a stroke ends here; the outputs give its probability, as in
    Graves (2013). The loss is in nats: -ln p(z), of a flag included.

    Parameters
    ----------
    n_components : int, optional
        M, at most 1024. By default as many as the network's outputs are made for.
    n_dims : int
        D, of a target without its flag.
    correlation : bool
        Whether each Gaussian of two dimensions has a correlation. Otherwise its dimensions are
        independent of each other.
    end : bool
        Whether the last number of a target is a flag: 1, 0, or a probability.
    min_scale : float
        What all standard deviations are above, in units of the targets; see the notes.

    Notes
    -----
    A network needs 1 + 2 D outputs for each component, one more for a correlation, and one in all
    for the flag. They stand in groups of M: weights (softmax), the means of each dimension in turn
    (identity), the scales, which are standard deviations, of each dimension in turn (exponential,
    with `min_scale` added), correlations (tanh); then the flag's probability (logistic). `predict`
    gives them so, and `parameters` by name.

    The loss has no lower bound where a component can shrink onto a point, or a correlated one onto
    a line, that targets lie on exactly: rounded targets, or one that never changes. `min_scale`
    sets one against points, best to the accuracy that targets have; noise of that size on the
    targets helps against lines too.

    The loss is not convex at the outputs. In place of its second derivative, `curvature` gives the
    expected one of the surrogate that the EM algorithm minimizes (Dempster et al. 1977): that of
    the weights' cross entropy, and the Fisher information of each Gaussian times its part of the
    density at the target. It is never negative.

    References
    ----------
    C. M. Bishop, *Mixture Density Networks*, Aston University NCRG/94/004, 1994.

    A. P. Dempster, N. M. Laird and D. B. Rubin, *Maximum Likelihood from Incomplete Data via the EM
    Algorithm*, Journal of the Royal Statistical Society B 39, 1977.

    A. Graves, *Generating Sequences With Recurrent Neural Networks*, arXiv:1308.0850, 2013.

    Examples
    --------
    Targets of two kinds, -1 and 1 with noise, that nothing foretells: two Gaussians hold them.

    >>> import numpy as np
    >>> import lstmcore as lc
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(20, 30, 1))
    >>> Y = rng.choice([-1.0, 1.0], (20, 30)) + rng.normal(scale=0.1, size=(20, 30))
    >>> net = lc.Network([lc.LSTM(1, 2), lc.Dense(2, 6)], lc.losses.Mixture(2), seed=0)
    >>> result = lc.fit(net, X, Y, tol=1e-4)
    >>> found = net.options["loss"].parameters(net.predict(X))
    >>> np.sort(found.means.mean(axis=(0, 1)), axis=0).round(1).ravel().tolist()
    [-1.0, 1.0]
    >>> float(found.scales.mean().round(1))
    0.1
    """

    name = "mixture"
    output = "mixed"
    code = 4

    def __init__(
        self,
        n_components: int | None = None,
        n_dims: int = 1,
        correlation: bool = False,
        end: bool = False,
        min_scale: float = 0.0,
    ) -> None:
        if n_components is not None:
            n_components = as_integer(n_components, "n_components", 1, _MOST_COMPONENTS)
        self.n_components: int | None = n_components
        self.n_dims: int = as_integer(n_dims, "n_dims", 1)
        self.correlation: bool = as_flag(correlation, "correlation")
        self.end: bool = as_flag(end, "end")
        self.min_scale: float = as_number(min_scale, "min_scale", 0)
        if self.correlation and self.n_dims != 2:
            raise ValueError(
                f"correlation: expected False with n_dims={self.n_dims}, for there is one of two "
                "dimensions alone, got True"
            )

    @property
    def options(self) -> dict[str, Any]:
        return {
            "n_components": self.n_components,
            "n_dims": self.n_dims,
            "correlation": self.correlation,
            "end": self.end,
            "min_scale": self.min_scale,
        }

    @property
    def form(self) -> tuple[Any, ...]:
        return self.n_dims, self.correlation, self.end, self.min_scale

    @property
    def _groups(self):
        """Outputs of each component."""
        return 1 + 2 * self.n_dims + self.correlation

    def components_of(self, n_outputs: int) -> int:
        """M in a network of K outputs.

        Parameters
        ----------
        n_outputs : int
            K.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            Names ``loss``, and how many outputs it needs.

        Examples
        --------
        >>> import lstmcore as lc
        >>> lc.losses.Mixture(n_dims=2, correlation=True, end=True).components_of(121)
        20
        """
        M, groups, more = self.n_components, self._groups, int(self.end)
        of_each = f"{groups} for each component{' and 1 for the end' if more else ''}"
        if M is not None and n_outputs != groups * M + more:
            raise ValueError(
                f"loss: expected {groups * M + more} outputs with {self!r}, {of_each}, got "
                f"{n_outputs}"
            )
        found, rest = divmod(n_outputs - more, groups)
        if rest or not 1 <= found <= _MOST_COMPONENTS:
            low = max(1, min(found, _MOST_COMPONENTS))
            nearest = [groups * m + more for m in (low, low + 1) if m <= _MOST_COMPONENTS]
            raise ValueError(
                f"loss: expected {' or '.join(map(str, nearest))} outputs with {self!r}, "
                f"{of_each}, of which there are up to {_MOST_COMPONENTS}, got {n_outputs}"
            )
        return found

    def output_columns(self, n_outputs: int) -> Iterable[tuple[str, int] | tuple[str, int, float]]:
        M, D = self.components_of(n_outputs), self.n_dims
        columns: list[tuple[str, int] | tuple[str, int, float]] = [("softmax", M)]
        columns += [("identity", M * D), ("exponential", M * D, self.min_scale)]
        columns += [("tanh", M)] if self.correlation else []
        return columns + ([("logistic", 1)] if self.end else [])

    def parameters(self, y: npt.ArrayLike) -> MixtureParameters:
        """The parameters of a density, by name, in outputs.

        Parameters
        ----------
        y : (..., K) array_like
            As `predict` or a stream gives them.

        Returns
        -------
        MixtureParameters

        Examples
        --------
        >>> import lstmcore as lc
        >>> loss = lc.losses.Mixture(n_dims=2, end=True)
        >>> found = loss.parameters([0.3, 0.7, 1.0, 2.0, 3.0, 4.0, 0.5, 0.6, 0.7, 0.8, 0.1])
        >>> found.means.tolist()
        [[1.0, 3.0], [2.0, 4.0]]
        >>> found.end.tolist()
        0.1
        """
        y = as_real(y, "y", float_dtype(y))
        if y.ndim == 0:
            raise ValueError("y: expected outputs (..., K), got a number")
        M, D = self.components_of(y.shape[-1]), self.n_dims
        groups = y[..., : M * self._groups].reshape(*y.shape[:-1], self._groups, M)
        return MixtureParameters(
            groups[..., 0, :],
            groups[..., 1 : 1 + D, :].swapaxes(-1, -2),
            groups[..., 1 + D : 1 + 2 * D, :].swapaxes(-1, -2),
            groups[..., 5, :] if self.correlation else None,
            y[..., -1] if self.end else None,
        )

    def sample(
        self, y: npt.ArrayLike, rng: Seed, *, bias: float = 0.0, **options: Any
    ) -> npt.NDArray[Any]:
        """A point of each row's density, and whether the stroke ends: `MixtureParameters.sample`.

        Parameters
        ----------
        y : (B, K) array_like
            Outputs.
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            What the draws come from.
        bias : float
            Above 0, likelier points: see `MixtureParameters.sample`.

        Returns
        -------
        (B, D) or (B, D + 1) array
            As targets are.

        Examples
        --------
        >>> import lstmcore as lc
        >>> loss = lc.losses.Mixture()
        >>> loss.sample([[1.0, 5.0, 0.1]] * 3, 0, bias=1e3).tolist()
        [[5.0], [5.0], [5.0]]
        """
        self._refuse_options(options, ("bias",))
        return self.parameters(y).sample(rng, bias)

    def target_size(self, n_outputs: int) -> int:
        self.components_of(n_outputs)
        return self.n_dims + self.end

    def _convert(self, Y, scored, size, dtype, check_finite, batch):
        targets = super()._convert(Y, scored, size, dtype, check_finite, batch)
        if self.end:
            flags = targets[:, -1]
            wrong = (flags < 0) | (flags > 1)
            if wrong.any():
                raise ValueError(
                    "Y: expected targets whose last number is between 0 and 1, 1 where a stroke "
                    f"ends, got {flags[wrong][0]}; end=False has targets without it"
                )
        return targets

    def curvature(
        self, a: Array, targets: Any, weights: Vector, lengths: npt.NDArray[np.intp] | None = None
    ) -> Callable[[Vector], Vector]:
        D, M, groups = self.n_dims, self.components_of(a.shape[1]), self._groups
        n = groups * M
        columns, w = a[:, :n].reshape(len(a), groups, M), weights[:, None]
        s, c = columns[:, 1 + D : 1 + 2 * D], columns[:, -1]
        shares = np.exp(columns[:, 0] - columns[:, 0].max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        tail = np.exp(-np.abs(a[:, n:]))
        of_end = w * tail / (1 + tail) ** 2
        with np.errstate(all="ignore"):  # where a component has no part, whatever it holds
            delta = self.value_and_delta(a.copy(), targets, np.ones(len(a)))[1]
            part = w * np.clip(shares - delta[:, :M], 0, 1)  # delta is share - part at the logits
            inverse = 1 / (self.min_scale + np.exp(s))
            slopes = np.exp(s - np.logaddexp(np.log(self.min_scale), s))  # of ln sigma in s
            up, down, tanh, bend = np.exp(2 * c), np.exp(-2 * c), np.tanh(c), np.sinh(c) ** 2
        weighs = part[:, None] > 0

        def product(a_dot):
            result = np.zeros_like(a_dot)
            of, v = (rows[:, :n].reshape(columns.shape) for rows in (result, a_dot))
            of[:, 0] = w * shares * (v[:, 0] - (shares * v[:, 0]).sum(axis=1, keepdims=True))
            with np.errstate(all="ignore"):
                p, q = v[:, 1 : 1 + D] * inverse, v[:, 1 + D : 1 + 2 * D] * slopes
                of[:, 1 : 1 + D], of[:, 1 + D : 1 + 2 * D] = p, 2 * q
                if self.correlation:
                    total, rest = 0.25 * (p[:, 0] + p[:, 1]) * down, 0.25 * (p[:, 0] - p[:, 1]) * up
                    of[:, 1:3] = 0.5 * p + np.stack([total + rest, total - rest], axis=1)
                    both, across = q.sum(axis=1), bend * (q[:, 0] - q[:, 1])
                    of[:, 3:5] += np.stack([across, -across], axis=1) - (tanh * v[:, 5])[:, None]
                    of[:, 5] = (1 + tanh**2) * v[:, 5] - tanh * both
                of[:, 1 : 1 + D] *= inverse
                of[:, 1 + D : 1 + 2 * D] *= slopes
                of[:, 1:] = np.where(weighs, part[:, None] * of[:, 1:], 0)
            result[:, n:] = of_end * a_dot[:, n:]
            return result

        return product

    def best_constant(self, targets: Any, weights: Vector, n_outputs: int) -> Vector | None:
        """One Gaussian, that of the targets' mean, scales and correlation, for all components."""
        D, M = self.n_dims, self.components_of(n_outputs)
        z, share = targets.values.astype(np.float64), weights / weights.sum()
        scored = share > 0
        z, share = z[scored], share[scored]
        mean = share @ z
        error = z[:, :D] - mean[:D]
        scale = np.sqrt(share @ error**2)
        a = [np.zeros(1), mean[:D], np.maximum(np.log(scale - self.min_scale), _LOWEST_LOG_SCALE)]
        a[2][~(scale > self.min_scale)] = _LOWEST_LOG_SCALE
        if self.correlation:
            both = (share @ error.prod(axis=1)) / scale.prod()
            a.append(np.arctanh(np.clip(np.nan_to_num(both), -1 + 1e-12, 1 - 1e-12))[None])
        end = np.log(mean[D:]) - np.log1p(-mean[D:])
        return np.concatenate([np.repeat(np.concatenate(a), M), np.clip(end, -80, 80)])

    def least_value(self, targets: Any, weights: Vector) -> float:
        """-inf, unless independent dimensions have a `min_scale`, at which the density is highest.

        The flags' part is at least 0, or the entropy of those that are probabilities.
        """
        if self.correlation or self.min_scale == 0:
            return -np.inf
        lowest = self.n_dims * (np.log(self.min_scale) + 0.5 * np.log(2 * np.pi))
        return float(lowest * weights.sum())


class MixtureParameters:
    """Densities that outputs of a network with the loss `Mixture` stand for.

    Made by `Mixture.parameters`. The leading axes, written as dots, are those of the outputs.

    Attributes
    ----------
    weights : (..., M) array
        Of the components; they add up to 1.
    means, scales : (..., M, D) array
        Of each component; the scales are standard deviations.
    correlations : (..., M) array or None
        Between the two dimensions of a component; None where they are independent.
    end : (...) array or None
        The probability that a stroke ends here; None where targets have no such flag.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> y = np.array([[0.25, 0.75, 0.0, 4.0, 1.0, 0.5]])  # of two components
    >>> found = lc.losses.Mixture().parameters(y)
    >>> found.mean().tolist()
    [[3.0]]
    >>> found.log_density([[4.0]]).round(3).tolist()  # ln(0.75 / (0.5 sqrt(2 pi))), nearly
    [-0.513]
    >>> rng = np.random.default_rng(0)
    >>> [float(found.sample(rng).round(1)[0, 0]) for _ in range(4)]
    [3.9, 0.1, 4.2, 4.5]
    """

    def __init__(
        self,
        weights: Array,
        means: Array,
        scales: Array,
        correlations: Array | None = None,
        end: Array | None = None,
    ) -> None:
        self.weights = weights
        self.means = means
        self.scales = scales
        self.correlations = correlations
        self.end = end

    def mean(self) -> Array:
        """The mean of each density.

        Returns
        -------
        (..., D) array
        """
        return np.einsum("...m,...md->...d", self.weights, self.means)

    def log_density(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """ln p of a point for each density, which is the loss with the other sign.

        Parameters
        ----------
        points : (..., D) or (..., D + 1) array_like
            As targets are: with their flag where there is `end`. It may be of one point, or have
            further axes in front, and is broadcast.

        Returns
        -------
        (...) array

        Notes
        -----
        A correlation within rounding of 1 or -1, as float32 outputs may have it where the loss
        still tells it from those, makes everything impossible that is not on its line.
        """
        D, size = self.means.shape[-1], self.means.shape[-1] + (self.end is not None)
        z = as_real(points, "points", np.float64)
        if z.ndim == 0 or z.shape[-1] != size:
            raise ValueError(f"points: expected shape (..., {size}), got {z.shape}")
        with np.errstate(divide="ignore", over="ignore"):
            y = (z[..., None, :D] - self.means) / self.scales
            logs = np.log(self.weights) - np.log(self.scales).sum(axis=-1)
            logs = logs - 0.5 * D * np.log(2 * np.pi)
            if self.correlations is None:
                logs = logs - 0.5 * (y**2).sum(axis=-1)
            else:  # in sums without cancellation, however near to 1 it is
                plus, minus = 1.0 + self.correlations, 1.0 - self.correlations
                total, rest = y[..., 0] + y[..., 1], y[..., 0] - y[..., 1]
                logs = logs - 0.25 * (total**2 / plus + rest**2 / minus)
                logs = logs - 0.5 * (np.log(plus) + np.log(minus))
            result = np.logaddexp.reduce(logs, axis=-1)
            if self.end is not None:
                flag = z[..., -1]
                result = result + _times_log(flag, self.end) + _times_log(1 - flag, 1 - self.end)
        return np.asarray(result)

    def sample(self, rng: Seed, bias: float = 0.0) -> Array:
        """A point of each density.

        Parameters
        ----------
        rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
            What the draws come from, the same number for each density. A generator goes on; a seed
            begins anew at every call.
        bias : float
            0 or above. Scales are multiplied with e^-bias, and weights raised to the power of
            1 + bias, before the draw (Graves 2013, equations 61 and 62): likelier points, and less
            variety. The flag is drawn with its probability whatever the bias is.

        Returns
        -------
        (..., D) or (..., D + 1) array
            With the flag, 0 or 1, where there is `end`.
        """
        bias = as_number(bias, "bias", 0)
        generator = as_generator(rng, "rng")
        shape, D = self.weights.shape[:-1], self.means.shape[-1]
        which = generator.random(shape)
        noise = generator.standard_normal((*shape, D))
        with np.errstate(under="ignore"):
            weights = self.weights / self.weights.max(axis=-1, keepdims=True)
            total = np.cumsum(weights.astype(np.float64) ** (1 + bias), axis=-1)
            shrink = np.exp(-bias)
        # The first component whose sum is above the draw; of weight 0 there is none.
        m = (total <= which[..., None] * total[..., -1:]).sum(axis=-1)[..., None]
        mean = np.take_along_axis(self.means, m[..., None], axis=-2)[..., 0, :]
        scale = np.take_along_axis(self.scales, m[..., None], axis=-2)[..., 0, :] * shrink
        if self.correlations is not None:
            rho = np.take_along_axis(self.correlations, m, axis=-1)[..., 0].astype(np.float64)
            rest = np.sqrt((1 - rho) * (1 + rho))
            noise[..., 1] = rho * noise[..., 0] + rest * noise[..., 1]
        points = mean + scale * noise
        if self.end is not None:
            ends = generator.random(shape) < self.end
            points = np.concatenate([points, ends[..., None]], axis=-1)
        return points.astype(self.means.dtype)


def _times_log(factor, x):
    """factor ln x, with 0 ln 0 = 0."""
    logs = np.log(x)
    return np.multiply(
        factor,
        logs,
        out=np.zeros(np.broadcast_shapes(np.shape(factor), logs.shape)),
        where=np.asarray(factor) != 0,
    )

"""The steps of the methods: what is kept from one to the next, and how the kernels are called.

The formulas and their sources: docs/equations.md, steps along the gradient.
"""

import numpy as np

from .._checks import as_flag, as_integer, as_number, as_positive, as_real, describe, shaped
from .._dispatch import kernels

_DECAY = (("weight_decay", 0.0),)


class Update:
    """The state of one run. A subclass has `OPTIONS`, `RATE`, `VECTORS` and `_step`.

    Parameters
    ----------
    method : str
        The name that errors give it.
    options : dict
        Some of `OPTIONS`, or weight_decay.
    size : int
    dtype : dtype
        Of parameters and gradients.
    weight_slices : list of slice
        The parameters that decay: those that a penalty counts.
    """

    OPTIONS: tuple[tuple[str, float], ...] = _DECAY  # pairs: name, value if it is not given
    RATE: float | None = None  # the learning rate if it is not given; None: the method has none
    VECTORS = 0  # that are kept
    PACE = "learning_rate"  # what a smaller one of makes smaller steps
    REFUSED: tuple[tuple[str, str], ...] = ()  # an argument of `drive` that must be None; why

    def __init__(self, method, options, size, dtype, weight_slices):
        known = dict(self.OPTIONS)
        for name in options:
            if name not in known:
                raise ValueError(
                    f"options: expected some of {', '.join(known)} with {method}, got "
                    f"{name!r}; arguments of minimize and fit go beside options"
                )
        checked = {
            name: _CHECKS[name](value, f"options[{name!r}]")
            for name, value in (known | options).items()
        }
        self.settings = dict(checked)
        self.decay = checked.pop("weight_decay", 0.0)
        self.options = checked
        self.vectors = [np.zeros(size, dtype) for _ in range(self.VECTORS)]
        self.t = 0
        self._weight_slices = weight_slices if self.decay else ()

    def __call__(self, theta, f, g, rate, scale):
        """One step, of `theta` in place, along g times `scale`; f is the loss there."""
        self.t += 1
        for weights in self._weight_slices:  # decoupled from the gradient
            theta[weights] *= theta.dtype.type(1.0 - rate * self.decay)
        self._step(theta, g, rate, scale, *self.vectors, **self.options)

    def state(self):
        return {"t": self.t, "vectors": {str(k): v for k, v in enumerate(self.vectors)}}

    def restore(self, state):
        self.t = as_integer(state["t"], "t", 0)
        self.vectors = [
            shaped(as_real(state["vectors"][str(k)], "vectors", v.dtype), "vectors", v.shape)
            for k, v in enumerate(self.vectors)
        ]


class Adam(Update):
    """Kept: the decaying means of gradients and of their squares."""

    OPTIONS = (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), *_DECAY)
    RATE = 1e-3
    VECTORS = 2

    def _step(self, theta, g, rate, scale, m, v, beta1, beta2, eps):
        rate = rate / (1.0 - beta1**self.t)
        unbias = (1.0 - beta2**self.t) ** -0.5
        kernels.adam_update(theta, g, m, v, scale, rate, beta1, beta2, unbias, eps)


class SGD(Update):
    """Kept: the velocity. With Nesterov's momentum `theta` is where the momentum leads."""

    OPTIONS = (("momentum", 0.9), ("nesterov", False), *_DECAY)
    RATE = 1e-2
    VECTORS = 1

    def _step(self, theta, g, rate, scale, velocity, momentum, nesterov):
        kernels.sgd_update(theta, g, velocity, rate * scale, momentum, nesterov)


class RMSProp(Update):
    """Kept: the decaying mean of the gradients' squares."""

    OPTIONS = (("rho", 0.9), ("eps", 1e-8), *_DECAY)
    RATE = 1e-3
    VECTORS = 1

    def _step(self, theta, g, rate, scale, v, rho, eps):
        kernels.rmsprop_update(theta, g, v, scale, rate, rho, eps)


class Rprop(Update):
    """Kept: the size of each parameter's next step, and its last step, 0 if it made none."""

    OPTIONS = (
        ("step0", 0.0125),
        ("eta_plus", 1.2),
        ("eta_minus", 0.5),
        ("step_min", 0.0),
        ("step_max", 50.0),
    )
    VECTORS = 2
    PACE = "option step0"
    REFUSED = (
        ("batch_size", "its steps go by the signs of the gradient of all data; adam has batches"),
        ("batches", "it has none; adam has batches"),
        ("truncate", "its steps go by the signs of the gradient of all data; adam takes it"),
        ("learning_rate", "options={'step0': 0.0125} is the size of its first step"),
        ("clip_norm", "options={'step_max': 50.0} is the largest step of a parameter"),
        ("average", "its steps are not random ones about a minimum; adam takes it"),
        *(
            (name, "noise hides the signs that its steps go by; adam takes it")
            for name in ("weight_noise", "input_noise", "dropout", "recurrent_dropout")
        ),
    )

    def __init__(self, method, options, size, dtype, weight_slices):
        super().__init__(method, options, size, dtype, weight_slices)
        step0 = self.options.pop("step0")
        low, high = self.options["step_min"], self.options["step_max"]
        if not low <= step0 <= high:
            raise ValueError(
                f"options['step0']: expected step_min <= step0 <= step_max, got {step0} with "
                f"{low} and {high}"
            )
        self.vectors[0][:] = step0
        self._before = np.inf  # the loss at the last step

    def __call__(self, theta, f, g, rate, scale):
        kernels.rprop_update(theta, g, *self.vectors, f > self._before, **self.options)
        self._before = f

    def state(self):
        return super().state() | {"before": self._before}

    def restore(self, state):
        super().restore(state)
        self._before = float(state["before"])


UPDATES = {"adam": Adam, "sgd": SGD, "rmsprop": RMSProp, "rprop": Rprop}


def _as_share(value, name):
    number = as_number(value, name, 0)
    if not number < 1:
        raise ValueError(f"{name}: expected a number >= 0 and < 1, got {describe(value)}")
    return number


def _as_least_zero(value, name):
    return as_number(value, name, 0)


def _as_growth(value, name):
    number = as_number(value, name)
    if not number > 1:
        raise ValueError(f"{name}: expected a number > 1, got {describe(value)}")
    return number


def _as_shrinkage(value, name):
    number = as_positive(value, name)
    if not number < 1:
        raise ValueError(f"{name}: expected a number > 0 and < 1, got {describe(value)}")
    return number


_CHECKS = {
    "beta1": _as_share,
    "beta2": _as_share,
    "momentum": _as_share,
    "rho": _as_share,
    "eps": as_positive,
    "nesterov": as_flag,
    "weight_decay": _as_least_zero,
    "step0": as_positive,
    "eta_plus": _as_growth,
    "eta_minus": _as_shrinkage,
    "step_min": _as_least_zero,
    "step_max": as_positive,
}

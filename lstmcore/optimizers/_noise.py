"""What disturbs the gradients of a run, drawn anew for every step; the parameters stay clean.

The formulas and their sources: docs/equations.md, noise and dropout.
"""

import numpy as np

from .._checks import as_number, describe
from .._dispatch import kernels
from .._perturbation import Perturbations, draw_key
from .._run import kind_of
from ..objective import Objective


class Noise:
    """Gives the value and the gradient of an objective under fresh noise.

    Parameters
    ----------
    objective : callable
    rng : numpy.random.Generator
        Of all noise.
    weight_noise : float
        The standard deviation of noise on every parameter.
    input_noise, dropout, recurrent_dropout : float
        See `Perturbations`.
    """

    def __init__(self, objective, rng, weight_noise, **of_data):
        self._rng = rng
        self._deviation = as_number(weight_noise, "weight_noise", 0)
        self._perturbations = None
        if isinstance(objective, Objective):
            perturbations = Perturbations(objective.net, objective.examples, **of_data)
            if perturbations.is_needed:
                self._perturbations = perturbations
        else:
            for name, value in of_data.items():
                if value:
                    raise TypeError(
                        f"{name}: expected None with {kind_of(objective)}, got "
                        f"{describe(value)}; an lstmcore.Objective has data and layers to disturb"
                    )

    @property
    def is_needed(self):
        return self.is_of_data or self._deviation > 0

    @property
    def is_of_data(self):
        """Whether inputs or units are disturbed, and not the parameters alone."""
        return self._perturbations is not None

    def beside(self, theta):
        """Where to take the gradient for `theta`."""
        if not self._deviation:
            return theta
        noisy = np.empty_like(theta)
        kernels.add_noise(noisy, theta, self._deviation, draw_key(self._rng))
        return noisy

    def on_batch(self, objective, theta, indices):
        """What `Objective.on_batch` returns."""
        theta = self.beside(theta)
        if not self.is_of_data:  # which a subclass may have without an argument for it
            return objective.on_batch(theta, indices)
        return objective.on_batch(theta, indices, self._perturbations.draw(self._rng, len(indices)))

    def on_stretch(self, objective, theta, examples):
        """What `Objective.on_stretch` returns."""
        theta = self.beside(theta)
        if not self.is_of_data:
            return objective.on_stretch(theta, examples)
        draw = self._perturbations.draw(self._rng, len(examples))
        return objective.on_stretch(theta, examples, draw)

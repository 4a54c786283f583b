"""Activation functions: their names, the codes the kernels know them by, and their parameters.

====================  ====  =================================  ==========================
name                  code  value y of the pre-activation x    derivative, from the value
====================  ====  =================================  ==========================
``identity``             0  x                                  1
``logistic``             1  1 / (1 + exp(-x))                  y (1 - y)
``tanh``                 2  tanh(x)                            1 - y^2
``relu``                 3  max(x, 0)                          1 if y > 0 else 0
``logistic_1``           4  2 / (1 + exp(-x)) - 1              (1 - y^2) / 2
``logistic_2``           5  4 / (1 + exp(-x)) - 2              1 - y^2 / 4
``softsign``             6  x / (1 + abs(x))                   (1 - abs(y))^2
``softplus``             7  log(1 + exp(x))                    1 - exp(-y)
``elu``                  8  x if x > 0 else alpha (exp(x)-1)   1 if y > 0 else y + alpha
``leaky_relu``           9  x if x > 0 else alpha x            1 if y > 0 else alpha
``hard_sigmoid``        10  min(max(alpha x + beta, 0), 1)     alpha if 0 < y < 1 else 0
``scaled_tanh``         11  alpha tanh(beta x)                 beta (alpha - y^2 / alpha)
``thresholded_relu``    12  x if x > alpha else 0              1 if y > 0 else 0
``affine``              13  alpha x + beta                     alpha
====================  ====  =================================  ==========================

The derivative is a function of the value because the value is what the forward pass keeps. That is
why the parameters are restricted: a negative alpha would make elu, leaky_relu and thresholded_relu
take the same value on both sides of their bend.
"""

import math
import reprlib
from numbers import Real

__all__ = ["ACTIVATIONS", "parse_activation"]

# name -> (code, alpha, beta). The defaults are ONNX's; 0.0 where there is no such parameter; None
# where ONNX has no default and the parameter must be given.
ACTIVATIONS = {
    "identity": (0, 0.0, 0.0),
    "logistic": (1, 0.0, 0.0),
    "tanh": (2, 0.0, 0.0),
    "relu": (3, 0.0, 0.0),
    "logistic_1": (4, 0.0, 0.0),
    "logistic_2": (5, 0.0, 0.0),
    "softsign": (6, 0.0, 0.0),
    "softplus": (7, 0.0, 0.0),
    "elu": (8, 1.0, 0.0),
    "leaky_relu": (9, 0.01, 0.0),
    "hard_sigmoid": (10, 0.2, 0.5),
    "scaled_tanh": (11, None, None),
    "thresholded_relu": (12, 1.0, 0.0),
    "affine": (13, 1.0, 0.0),
}

# How many parameters each takes; the others take none.
_N_PARAMETERS = {
    "elu": 1,
    "leaky_relu": 1,
    "hard_sigmoid": 2,
    "scaled_tanh": 2,
    "thresholded_relu": 1,
    "affine": 2,
}

_ALPHA_RULES = {
    "elu": ("alpha >= 0", lambda alpha: alpha >= 0),
    "leaky_relu": ("alpha >= 0", lambda alpha: alpha >= 0),
    "thresholded_relu": ("alpha >= 0", lambda alpha: alpha >= 0),
    "hard_sigmoid": ("alpha > 0", lambda alpha: alpha > 0),
    "scaled_tanh": ("alpha != 0", lambda alpha: alpha != 0),
}


def parse_activation(activation, argument="activation"):
    """Turn an activation as a user writes it into the three numbers that the kernels take.

    Parameters
    ----------
    activation : str or tuple
        A name of `ACTIVATIONS`, or ``(name, alpha)``, or ``(name, alpha, beta)``.
    argument : str
        What the caller's argument is called; errors name it.

    Returns
    -------
    code : int
    alpha, beta : float
        0.0 where the activation has no such parameter.

    Raises
    ------
    TypeError
        If `activation` is neither a name nor a tuple that starts with one, or a parameter is not
        a real number.
    ValueError
        If the name is unknown, a parameter is missing, superfluous or outside its range.

    Examples
    --------
    >>> parse_activation("tanh")
    (2, 0.0, 0.0)
    >>> parse_activation(("leaky_relu", 0.1))
    (9, 0.1, 0.0)
    """
    is_tuple = isinstance(activation, (tuple, list)) and len(activation) > 0
    name, *given = activation if is_tuple else (activation,)
    if not isinstance(name, str):
        raise TypeError(
            f"{argument}: expected the name of an activation, (name, alpha) or "
            f"(name, alpha, beta), got {reprlib.repr(activation)}"
        )
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{argument}: expected one of {', '.join(ACTIVATIONS)}, got {reprlib.repr(name)}"
        )

    n_parameters = _N_PARAMETERS.get(name, 0)
    if len(given) > n_parameters:
        raise ValueError(
            f"{argument}: {name!r} takes {n_parameters or 'no'} parameter"
            f"{'' if n_parameters == 1 else 's'}, got {reprlib.repr(activation)}"
        )
    code, *parameters = ACTIVATIONS[name]
    for index, value in enumerate(given):
        parameters[index] = _checked_parameter(value, ("alpha", "beta")[index], name, argument)
    if None in parameters:
        raise ValueError(
            f"{argument}: {name!r} has no default parameters, expected ({name!r}, alpha, beta), "
            f"got {reprlib.repr(activation)}"
        )
    alpha, beta = parameters
    rule, holds = _ALPHA_RULES.get(name, ("", None))
    if holds is not None and not holds(alpha):
        raise ValueError(f"{argument}: {name!r} needs {rule}, got alpha = {alpha!r}")
    return code, alpha, beta


def _checked_parameter(value, parameter, name, argument):
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{argument}: {parameter} of {name!r} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond float64
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{argument}: {parameter} of {name!r} must be finite, got {value!r}")
    return number

"""Activations as users write them."""

import numpy as np
import pytest

from lstmcore._activations import ACTIVATIONS, parse_activation


def test_codes_are_those_of_the_kernels_in_order():
    assert [code for code, *_ in ACTIVATIONS.values()] == list(range(14))


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "scaled_tanh"])
def test_a_name_alone_takes_the_defaults(name):
    assert parse_activation(name) == parse_activation((name,)) == ACTIVATIONS[name]


@pytest.mark.parametrize(
    "activation, expected",
    [
        (("elu", 2), (8, 2.0, 0.0)),
        (("leaky_relu", 0), (9, 0.0, 0.0)),
        (["hard_sigmoid", 0.3], (10, 0.3, 0.5)),
        (("hard_sigmoid", 0.3, 0.1), (10, 0.3, 0.1)),
        (("scaled_tanh", -1, np.float32(0.5)), (11, -1.0, 0.5)),
        (("affine", -2, np.int64(1)), (13, -2.0, 1.0)),
    ],
)
def test_given_parameters_replace_the_defaults(activation, expected):
    assert parse_activation(activation) == expected


@pytest.mark.parametrize(
    "activation, error, words",
    [
        ("tanhh", ValueError, "one of identity, logistic.* got 'tanhh'"),
        (None, TypeError, "name of an activation.* got None"),
        (3, TypeError, "name of an activation.* got 3"),
        ((), TypeError, "name of an activation"),
        ((0.1, "elu"), TypeError, "name of an activation"),
        (("tanh", 1.0), ValueError, "takes no parameters"),
        (("elu", 1.0, 2.0), ValueError, "takes 1 parameter,"),
        (("affine", 1, 2, 3), ValueError, "takes 2 parameters"),
        ("scaled_tanh", ValueError, "no default parameters"),
        (("scaled_tanh", 1.0), ValueError, "no default parameters"),
        (("elu", "1"), TypeError, "alpha of 'elu' must be a real number, got '1'"),
        (("elu", True), TypeError, "real number"),
        (("elu", 1j), TypeError, "real number"),
        (("affine", 1, np.nan), ValueError, "beta of 'affine' must be finite"),
        (("affine", np.inf), ValueError, "alpha of 'affine' must be finite"),
        (("affine", 10**400), ValueError, "finite"),
        (("elu", -0.1), ValueError, "needs alpha >= 0"),
        (("leaky_relu", -0.1), ValueError, "needs alpha >= 0"),
        (("thresholded_relu", -0.1), ValueError, "needs alpha >= 0"),
        (("hard_sigmoid", 0), ValueError, "needs alpha > 0"),
        (("scaled_tanh", 0, 1), ValueError, "needs alpha != 0"),
    ],
)
def test_bad_activations_are_refused_by_the_arguments_name(activation, error, words):
    with pytest.raises(error, match=f"^gate_activation.*{words}"):
        parse_activation(activation, "gate_activation")

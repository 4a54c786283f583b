"""Fixtures that the tests of the kernels share."""

import pytest

from lstmcore import _dispatch, _reference


@pytest.fixture
def kernels():
    """The compiled kernels that this process has chosen; LSTMCORE_ISA chooses others."""
    return _dispatch.kernels


@pytest.fixture(params=["reference", "compiled"])
def implementation(request):
    """Both implementations of the kernels, in turn."""
    return {"reference": _reference, "compiled": _dispatch.kernels}[request.param]

"""Fixtures that the tests of the kernels share."""

import pytest

from lstmcore import _reference

try:
    from lstmcore._dispatch import kernels as compiled
except ImportError:  # SWITCH
    compiled = _reference


@pytest.fixture
def kernels():
    """The compiled kernels that this process has chosen."""
    return compiled


@pytest.fixture(params=["reference", "compiled"])
def implementation(request):
    """Both implementations of the kernels, in turn."""
    return {"reference": _reference, "compiled": compiled}[request.param]

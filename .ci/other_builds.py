"""Print the builds of the kernels that this processor can run, except the one it gets itself."""

import importlib.util

from lstmcore import _dispatch

features = _dispatch._features()
for name, needs in _dispatch._BUILDS.items():
    installed = importlib.util.find_spec(f"lstmcore._kernels_{name}") is not None
    if name != _dispatch.ISA and installed and all(features.get(need) for need in needs):
        print(name)

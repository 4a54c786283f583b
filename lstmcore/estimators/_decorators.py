"""Decorators of scikit-learn. To checkers, which do not look into it, a method stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Method = TypeVar("Method", bound=Callable[..., Any])

    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...

    def with_callbacks(method: Method) -> Method: ...

else:
    from sklearn.utils.metaestimators import available_if

    try:
        from sklearn.callback import with_callbacks
    except ImportError:  # before version 1.9

        def with_callbacks(method):
            return method


__all__ = ["available_if", "with_callbacks"]

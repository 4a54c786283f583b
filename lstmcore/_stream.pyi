"""Types of the compiled side of `Stream`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._types import Array

class Runner:
    _read_memory: Array
    def __init__(
        self,
        cells: list[Mapping[str, Any]],
        batch_size: int,
        dtype: np.dtype[Any],
        output: int,
        readout: int,
        read_layer: int,
        check_finite: bool,
        tokens: bool,
    ) -> None: ...
    def __call__(self, x: npt.ArrayLike, out: Array | None = ...) -> Array: ...
    @property
    def capsule(self) -> Any: ...
    def _prepare(self, weights: list[tuple[Array | None, ...]]) -> None: ...
    def _alone(self, work: Callable[..., Any], *args: Any) -> Any: ...
    def _set_state(self, k: int, states: tuple[Array, ...]) -> None: ...
    def _get_state(self, k: int, states: tuple[Array, ...]) -> None: ...
    def _run(self, x: npt.NDArray[Any], y: Array) -> None: ...
    def _set_batch(self, batch_size: int) -> None: ...
    def _feed_back(self, x: Array, y: Array) -> None: ...
    def _draw(
        self,
        steps: int,
        x: Array | None,
        tokens: npt.NDArray[np.intp],
        rows: npt.NDArray[np.intp],
        uniform: Array | None,
        drawn: npt.NDArray[np.intp],
        p: Array | None,
        stop: npt.NDArray[np.uint8] | None,
        first: int,
        temperature: float,
        top_k: int,
    ) -> int: ...

def not_a_number(step: int) -> ValueError: ...

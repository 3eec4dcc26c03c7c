"""How long a block or a function takes."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, Callable, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class Timed:
    """A context manager for one block, or a decorator for a function.

    Attributes:
        metadata: goes with the measure; a block may add to it until it ends.
    """

    def __init__(
        self, measure: Callable[..., None], name: str, metadata: Mapping[str, Any]
    ) -> None:
        self.metadata = dict(metadata)
        self._measure = measure
        self._name = name
        self._started = 0.0

    def __enter__(self) -> Timed:
        self._started = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started
        self._measure(self._name, seconds, attributes={**_outcome(kind), **self.metadata})

    def __call__(self, function: Function) -> Function:
        """The function, measured at every call; of a coroutine function, what awaiting it takes."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(Function, measured_coroutine)

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast(Function, measured)

    def _again(self) -> Timed:
        """One of its own for each call: calls may overlap."""
        return Timed(self._measure, self._name, self.metadata)


def _outcome(kind: type[BaseException] | None) -> dict[str, str]:
    if kind is None:
        return {"outcome": "ok"}
    if issubclass(kind, asyncio.CancelledError):
        return {"outcome": "cancelled"}
    return {"outcome": "error", "error": kind.__name__}

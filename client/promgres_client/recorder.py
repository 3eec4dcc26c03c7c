"""The calls that applications make, the same for every client and for the fakes of their tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Callable

from promgres_client.buffer import Item
from promgres_client.errors import InvalidItem
from promgres_client.items import EVENT, MEASURE, Encoder, Moment, Number
from promgres_client.losses import INVALID
from promgres_client.timing import Timed


class Recorder(ABC):
    """Records measures and events. Neither call waits for the network or fails because of it.

    Args:
        strict: raise `InvalidItem` for what can never be stored; else it is counted and logged.
        default: as that of `json.dumps`.
    """

    def __init__(self, strict: bool, default: Callable[[Any], Any] | None) -> None:
        self._strict = strict
        self._encoder = Encoder(default)

    def measure(
        self,
        name: str,
        value: Number,
        /,
        *,
        time: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **metadata: Any,
    ) -> None:
        """Record a number under a name.

        Args:
            name: such as `checkout_seconds`; not empty.
            value: a finite number; integers and Decimals are kept digit by digit.
            time: when it was; default: now. A datetime with a time zone, or seconds since 1970.
            attributes: metadata whose keys are no identifiers, or are those of this call.
            idempotency_key: makes the same item recorded twice one item, whichever process records
                it. Without a `time` the server then decides the time.
            metadata: anything that JSON can say; wins over `attributes`.
        """
        try:
            if attributes:
                metadata = {**attributes, **metadata}
            text = self._encoder.measure(name, value, metadata, time, idempotency_key)
        except Exception as error:
            self._invalid("measure", name, error)
        else:
            self._put(Item(MEASURE, text))

    def event(
        self,
        name: str,
        /,
        *,
        time: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **metadata: Any,
    ) -> None:
        """Record that something happened. Arguments: as those of `measure`."""
        try:
            if attributes:
                metadata = {**attributes, **metadata}
            text = self._encoder.event(name, metadata, time, idempotency_key)
        except Exception as error:
            self._invalid("event", name, error)
        else:
            self._put(Item(EVENT, text))

    def timed(self, name: str, /, **metadata: Any) -> Timed:
        """Measure how long a block or a function takes, in seconds; `outcome` says how it ended.

        ```python
        with client.timed("import_seconds", source="ftp") as timing:
            timing.metadata["rows"] = import_rows()

        @client.timed("checkout_seconds")
        async def checkout(basket): ...
        ```

        The measure has `outcome`: `ok`, `error` (and the exception's class as `error`) or
        `cancelled`. An exception goes on as if nobody had measured. A decorated function may be
        sync or async.
        """
        return Timed(self.measure, name, metadata)

    def _invalid(self, what: str, name: object, error: Exception) -> None:
        if self._strict:
            if isinstance(error, InvalidItem):
                raise error
            raise InvalidItem(f"{type(error).__name__}: {error}") from error
        shown = repr(name)[:100] if isinstance(name, str) else type(name).__name__
        self._lost(INVALID, 1, f"{what} {shown}: {error}")

    @abstractmethod
    def _put(self, item: Item) -> None:
        """Take an item in."""

    @abstractmethod
    def _lost(self, cause: str, items: int, reason: str) -> None:
        """Count items that were not taken."""

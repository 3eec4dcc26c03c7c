"""The clients: one for threads, one for asyncio, over the same pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Callable

from promgres_client.buffer import Bounds, Item
from promgres_client.delivery import Refusal
from promgres_client.exchange import Endpoint
from promgres_client.items import EVENT, MEASURE, Moment
from promgres_client.pipeline import Pipeline, Policy, WhenFull
from promgres_client.reading import Event, Measure, Query, Reader, event_of, measure_of
from promgres_client.recorder import Recorder

MIB = 1024 * 1024
CLOSE_SECONDS = 30.0


class _Connected(Recorder):
    """What both clients are made of.

    Args:
        url: of either side of a Promgres, such as `http://127.0.0.1:9273`.
        key: API key; None where the server asks for none.
        when_full: what happens to an item that does not fit into the buffer: `drop_newest` (that
            one), `drop_oldest` (the one that has waited longest), or `block` (the call waits).
        max_items, max_bytes: what the buffer holds at most, what is under way included.
        batch_items, batch_bytes: when a request is full.
        interval: seconds that an item waits at most for others to share its request.
        senders: connections, and so requests under way at once.
        timeout: seconds without a byte from the server after which a request is sent again.
        retry_for: seconds that a batch is tried; None: until the client is closed.
        exit_timeout: seconds that the end of the process may be delayed to send the rest.
        gzip: compress requests.
        ssl_context: for https; default: the system's certificates.
        strict: raise `InvalidItem` at the call for what can never be stored.
        default: as that of `json.dumps`, for metadata that JSON does not know.
        on_refused: called, in a thread of the client's, with each item that the server refuses.

    Raises:
        ValueError: the URL, the key or a number cannot be used.
    """

    _may_block = True

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        when_full: WhenFull = "drop_newest",
        max_items: int = 100_000,
        max_bytes: int = 64 * MIB,
        batch_items: int = 5_000,
        batch_bytes: int = MIB,
        interval: float = 0.5,
        senders: int = 2,
        timeout: float = 30.0,
        retry_for: float | None = None,
        exit_timeout: float = 5.0,
        gzip: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        strict: bool = False,
        default: Callable[[Any], Any] | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
    ) -> None:
        super().__init__(strict, default)
        if when_full not in ("drop_newest", "drop_oldest", *(["block"] * self._may_block)):
            raise ValueError(f"when_full={when_full!r} is not known to {type(self).__name__}")
        if min(max_items, max_bytes, batch_items, batch_bytes, senders) < 1:
            raise ValueError("sizes and senders are at least 1")
        if interval < 0 or timeout <= 0 or exit_timeout < 0:
            raise ValueError("times are not negative, and a timeout is more than 0")
        endpoint = Endpoint(url, key, timeout, ssl_context)
        bounds = Bounds(batch_items, batch_bytes, interval, max_items, max_bytes)
        policy = Policy(when_full, senders, retry_for, gzip, exit_timeout, on_refused)
        self._pipeline = Pipeline(endpoint, bounds, policy, self._encoder.renew)

    @property
    def dropped(self) -> int:
        """Items that were recorded and will not be stored, whatever the reason."""
        return self._pipeline.losses.total

    @property
    def dropped_by_cause(self) -> dict[str, int]:
        """The same by cause: `invalid` (at the call), `full` (the buffer), `refused` (by the
        server), `given up` (after `retry_for`), `closed` (not sent in time)."""
        return self._pipeline.losses.by_cause()

    @property
    def acknowledged(self) -> int:
        """Items whose storing the server has confirmed."""
        return self._pipeline.acknowledged

    @property
    def pending(self) -> int:
        """Items that are neither acknowledged nor dropped yet."""
        return self._pipeline.pending

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pipeline.endpoint.url!r})"

    def __del__(self) -> None:
        """What was recorded is still sent; then the threads end."""
        if hasattr(self, "_pipeline"):
            self._pipeline.finish()

    def _put(self, item: Item) -> None:
        self._pipeline.put(item)

    def _lost(self, cause: str, items: int, reason: str) -> None:
        self._pipeline.losses.add(cause, items, reason)


class Client(_Connected):
    """Records measures and events, and sends them in the background.

    ```python
    with Client("http://127.0.0.1:9273", key="pmk_…") as client:
        client.measure("checkout_seconds", 0.21, shop="berlin")
        client.event("deployed", version="1.4.2")
    ```
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def flush(self, timeout: float | None = CLOSE_SECONDS) -> bool:
        """Send at once what was recorded so far, and wait until its fate is known.

        Args:
            timeout: seconds; None: however long it takes.

        Returns:
            Whether all of it is settled: stored, or counted in `dropped`.
        """
        return self._pipeline.wait_settled(self._pipeline.mark(), timeout)

    def close(self, timeout: float | None = CLOSE_SECONDS) -> bool:
        """Flush, and take nothing more. What is not settled in time is given up and counted.

        Returns:
            As `flush`.
        """
        return self._pipeline.close(timeout)

    def measures(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Measure]:
        """Stored measures, newest first, read page by page.

        Args:
            name: of one name only.
            since, until: since <= time < until.
            attributes: only those that contain all of these.
            limit: so many at most.

        Raises:
            AnswerError: the server refuses.
            Unreachable: it does not answer, after some tries.
        """
        query = Query(MEASURE, name, since, until, attributes, limit)
        for row in Reader(self._pipeline.endpoint).rows(query):
            yield measure_of(row)

    def events(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Stored events, newest first. Arguments and errors: as those of `measures`."""
        query = Query(EVENT, name, since, until, attributes, limit)
        for row in Reader(self._pipeline.endpoint).rows(query):
            yield event_of(row)


class AsyncClient(_Connected):
    """The same for asyncio: `measure` and `event` are plain calls, only waiting is awaited.

    ```python
    async with AsyncClient("http://127.0.0.1:9273", key="pmk_…") as client:
        client.event("deployed", version="1.4.2")
        await client.flush()
    ```

    It does not know `when_full="block"`, which would stop the event loop.
    """

    _may_block = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def flush(self, timeout: float | None = CLOSE_SECONDS) -> bool:
        """As `Client.flush`."""
        return await self._settled(self._pipeline.mark(), timeout)

    async def close(self, timeout: float | None = CLOSE_SECONDS) -> bool:
        """As `Client.close`."""
        is_settled = await self._settled(self._pipeline.finish(), timeout)
        self._pipeline.abandon()
        return is_settled

    async def measures(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Measure]:
        """As `Client.measures`, to be read by `async for`."""
        query = Query(MEASURE, name, since, until, attributes, limit)
        async for row in self._rows(query):
            yield measure_of(row)

    async def events(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """As `Client.events`, to be read by `async for`."""
        query = Query(EVENT, name, since, until, attributes, limit)
        async for row in self._rows(query):
            yield event_of(row)

    async def _rows(self, query: Query) -> AsyncIterator[dict[str, Any]]:
        pages = Reader(self._pipeline.endpoint).pages(query)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            for row in page:
                yield row

    async def _settled(self, mark: int, timeout: float | None) -> bool:
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(news.set)

        async def wait() -> None:
            while not self._pipeline.is_settled(mark):
                await news.wait()
                news.clear()

        self._pipeline.watch(tell)
        try:
            await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            return False
        finally:
            self._pipeline.unwatch(tell)
        return True

"""`/export`: raw samples of a period as a file, however long it is, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from datetime import UTC, datetime

from prometheus_client import Counter

from ingest.auth.access import READ
from ingest.auth.callers import Caller, Callers
from ingest.config import Settings
from ingest.errors import BadRequest, Busy, QueryRefused
from ingest.export.formats import Format, make_format
from ingest.export.request import MEDIA, Ask, read_ask
from ingest.http.context import Context
from ingest.http.negotiation import choose_encoding
from ingest.http.reply import ClientGone, Reply, Sending
from ingest.http.shares import UnderWay
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.storage.exporting import Series, series_pages, slices
from ingest.storage.pgerrors import QUERY_CANCELED
from ingest.storage.pool import AnyConnection
from ingest.storage.read import ReadDatabase

EXPORT = "/export"
LONGEST_LABELS = 64 * 1024 * 1024
"""Characters of the labels of all series of an export, which are in memory until it ends."""
FILE_NAME_CHARACTERS = 100

SAMPLES = Counter("promgres_export_samples", "Samples that /export has read.", registry=REGISTRY)

log = get_logger("api")


class Export:
    """Answers `/export`.

    Args:
        callers: find out who asks; scope `read`.
        under_way: what each may have under way.
    """

    def __init__(
        self, database: ReadDatabase, callers: Callers, under_way: UnderWay, settings: Settings
    ) -> None:
        self._database = database
        self._callers = callers
        self._under_way = under_way
        self._most_series = settings.query.max_series
        self._find_seconds = settings.api.statement_timeout_seconds
        self._seconds = settings.api.export_timeout_seconds
        self._free = settings.api.max_exports

    async def __call__(self, context: Context) -> Reply:
        """Find the series, then send their samples.

        Raises:
            PromgresError: the request is refused, and nothing has been sent.
        """
        request = context.request
        context.function = EXPORT
        caller = await self._callers.caller_of(request.headers, request.remote, READ)
        ask = read_ask(
            request.rel_url.raw_query_string, context.header("Accept"), datetime.now(UTC)
        )
        with self._under_way.one_more(caller.counted_as), self._one_more():
            series = await self._find(ask, caller)
            made = make_format(ask.format, series)
            headers = {
                "Content-Type": MEDIA[ask.format],
                "Content-Disposition": f'attachment; filename="{_file_name(ask)}"',
                "Cache-Control": "no-store",
            }
            reply = Reply(200, b"", headers)
            if context.method != "HEAD":
                await self._send(context, reply, self._parts(ask, caller, series, made))
        return reply

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Raises Busy: as many as may be are under way."""
        if self._free <= 0:
            raise Busy("Too many exports are under way", "The limit is api.max_exports")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def _reading(self, caller: Caller) -> AbstractAsyncContextManager[AnyConnection]:
        settings = {"promgres.tenant_id": str(caller.tenant_id)}
        return self._database.transaction(self._database.exports, settings, caller.counted_as)

    async def _find(self, ask: Ask, caller: Caller) -> list[Series]:
        """Series that are asked for, each once.

        Raises:
            BadRequest: they are too many, or the matchers take too long.
        """
        names = None if ask.metric is None else [ask.metric]
        found: dict[int, Series] = {}
        length = 0
        try:
            async with asyncio.timeout(self._find_seconds):
                for matchers in ask.selectors or [[]]:
                    async for page in series_pages(lambda: self._reading(caller), names, matchers):
                        fresh = [each for each in page if each.series_id not in found]
                        found.update((each.series_id, each) for each in fresh)
                        length += sum(len(each.labels) for each in fresh)
                        if len(found) > self._most_series or length > LONGEST_LABELS:
                            raise BadRequest(
                                "too many series are asked for at once (query.max_series, and 64"
                                " MiB of labels): ask for fewer (match)"
                            )
        except (TimeoutError, QueryRefused) as error:
            if isinstance(error, QueryRefused) and error.sqlstate != QUERY_CANCELED:
                raise
            raise BadRequest(
                f"finding the series takes longer than {self._find_seconds:g} s"
                " (api.statement_timeout_seconds): ask for a metric, or with simpler matchers"
            ) from None
        return list(found.values())

    async def _parts(
        self, ask: Ask, caller: Caller, series: Sequence[Series], made: Format
    ) -> AsyncGenerator[bytes, None]:
        """The body, a slice after the other."""
        begin = made.begin()
        for target in sorted({each.target for each in series}):
            ids = [each.series_id for each in series if each.target == target]
            async for samples in slices(
                lambda: self._reading(caller), target, ids, ask.start, ask.end
            ):
                SAMPLES.inc(len(samples.values))
                yield begin + await asyncio.to_thread(made.part, samples)
                begin = b""
        yield begin + await asyncio.to_thread(made.end)

    async def _send(
        self, context: Context, reply: Reply, parts: AsyncGenerator[bytes, None]
    ) -> None:
        """Send a body as it comes; one that cannot be completed is cut, so that nobody takes it for
        the whole.

        Raises:
            PromgresError: before anything was sent.
        """
        sending: Sending | None = None
        is_parquet = reply.headers["Content-Type"] == MEDIA["parquet"]  # compressed inside
        encoding = None if is_parquet else choose_encoding(context.header("Accept-Encoding"))
        try:
            async with asyncio.timeout(self._seconds), aclosing(parts):
                async for part in parts:
                    if sending is None:
                        sending = await Sending.begin(context.request, reply, None, encoding)
                    if part:
                        await sending.write(part)
                assert sending is not None, "a body has one part at least"
                await sending.end()
        except Exception as error:
            if sending is None:
                raise
            sending.cut()
            if isinstance(error, ClientGone):
                log.info("an export was abandoned by its client")
            else:
                reason = str(error.__cause__ or error) or type(error).__name__
                if isinstance(error, TimeoutError):
                    reason = "it took longer than api.export_timeout_seconds"
                log.warning("an export was cut", reason=reason)
        assert sending is not None
        reply.sent, reply.sent_bytes = sending.response, sending.sent_bytes


def _file_name(ask: Ask) -> str:
    """What a browser saves it as: nothing of it ends a header or names a folder."""
    kept = [
        each if each.isascii() and (each.isalnum() or each in "_-") else "_"
        for each in (ask.metric or "samples")
    ]
    return f"{''.join(kept[:FILE_NAME_CHARACTERS])}.{ask.format}"

"""Measures and events that come to the read port, handed to the write side."""

from __future__ import annotations

import aiohttp
from multidict import CIMultiDict, MultiMapping

from ingest.auth.access import WRITE
from ingest.auth.callers import Callers
from ingest.config import Settings
from ingest.http.bodies import read_as_sent
from ingest.http.context import Context
from ingest.http.problems import Problem
from ingest.http.reply import Reply
from ingest.http.shares import Memory
from ingest.logs import get_logger
from ingest.records.paths import RECORD_PATHS

FORWARDED = (
    "Authorization",
    "X-API-Key",
    "X-PMETRICS-API-KEY",
    "Content-Type",
    "Content-Encoding",
    "User-Agent",
)
"""Headers of a push that the write side gets to see: who sends it, and what it is."""
RETURNED = ("Content-Type", "Retry-After", "WWW-Authenticate", "Allow")
"""Headers of the write side's answer that the client gets to see."""

MOST_CONNECTIONS = 32
MOST_BODY_BYTES = 128 * 1024 * 1024
"""Of bodies in memory at once, as they come: what is announced and never sent takes no room."""
CONNECT_SECONDS = 5.0
SLACK_SECONDS = 3.0
"""How much longer than the write side may take for an answer we wait for it."""

log = get_logger("api")


class Forwarder:
    """Sends each push once, and never again by itself: only its sender knows whether it may be.

    Use `open`, then `close`.
    """

    def __init__(self, callers: Callers, settings: Settings) -> None:
        self._callers = callers
        self._url = (settings.api.write_url or "").rstrip("/")
        self._longest_body_bytes = settings.receiver.max_body_bytes
        self._timeout = aiohttp.ClientTimeout(
            total=settings.receiver.answer_timeout_seconds + SLACK_SECONDS,
            sock_connect=CONNECT_SECONDS,
        )
        self._memory = Memory(MOST_BODY_BYTES)
        self._is_away = False
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connections possible; none is made yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()

    async def __call__(self, context: Context) -> Reply:
        """The write side's answer to a push: its status, body and `Retry-After`.

        The key is checked here too: the write side would not know from where it came. Nobody has
        more than half of the memory.

        Raises:
            KeyRefused: the key, or a token.
            TooSlow, PayloadTooLarge: the body.
            Problem: 503, there is no write side, it is away, or too much is under way.
        """
        request = context.request
        path = context.function = f"/api/v1/{RECORD_PATHS[context.path]}"
        caller = await self._callers.caller_of(request.headers, request.remote, WRITE)
        if not self._url or self._session is None:
            raise _unavailable("Pushes are not taken here: no write side is known (api.write_url)")
        held_bytes = 0

        def grow(length: int) -> None:
            nonlocal held_bytes
            if not self._memory.take(caller.tenant_id, length - held_bytes):
                raise _unavailable("Too many pushes are under way")
            held_bytes = length

        try:
            body = await read_as_sent(request, self._longest_body_bytes, grow)
            reply = await self._send(self._session, path, _headers(request.headers), body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not self._is_away:
                self._is_away = True
                log.warning("the write side is away", reason=str(error) or type(error).__name__)
            raise _unavailable("The write side does not answer") from None
        finally:
            self._memory.give(caller.tenant_id, held_bytes)
        if self._is_away:
            self._is_away = False
            log.info("the write side is back")
        return reply

    async def ask(self, context: Context, path: str) -> tuple[int, str]:
        """The write side's answer to a GET with the credentials of a request: status and text.

        Raises:
            Problem: 503, there is no write side, or it is away.
        """
        if not self._url or self._session is None:
            raise _unavailable("No write side is known (api.write_url)")
        try:
            headers = _headers(context.request.headers)
            async with self._session.get(self._url + path, headers=headers) as answer:
                return answer.status, await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise _unavailable("The write side does not answer") from None

    async def _send(
        self,
        session: aiohttp.ClientSession,
        path: str,
        headers: CIMultiDict[str],
        body: bytes,
    ) -> Reply:
        async with session.post(
            self._url + path, data=body, headers=headers, allow_redirects=False
        ) as answer:
            returned = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
            return Reply(answer.status, await answer.read(), returned)


def _headers(given: MultiMapping[str]) -> CIMultiDict[str]:
    """Each as often as it was sent: the write side must see all that was authenticated here."""
    headers = CIMultiDict((name, value) for name in FORWARDED for value in given.getall(name, ()))
    headers.setdefault("Content-Type", "application/json")  # aiohttp would say octet-stream
    headers["Accept-Encoding"] = "identity"  # answers are short; what we pass on, we compress
    return headers


def _unavailable(message: str) -> Problem:
    return Problem(503, "PGRSTX01", message, "Nothing is known to be stored", "Send it again later")

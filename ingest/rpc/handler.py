"""`/rpc/<function>`: from the request to the transaction and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from ingest.auth.access import READ
from ingest.config import Settings
from ingest.http.bodies import read_body
from ingest.http.context import Exchange
from ingest.http.negotiation import RESULT_MEDIA, Media, choose_encoding, choose_media
from ingest.http.problems import Problem, too_long
from ingest.http.reply import ClientGone, Reply, Sending, compress
from ingest.logs import get_logger
from ingest.rpc.buckets import bucket_check
from ingest.rpc.callers import Caller, Callers
from ingest.rpc.database import Answer, ReadDatabase, TakesLong
from ingest.rpc.functions import SCHEMA, Function
from ingest.rpc.lanes import Dear, Memory, UnderWay
from ingest.rpc.pgproblems import problem_of
from ingest.rpc.request import (
    METHODS,
    Arguments,
    body_arguments,
    check_post_query,
    check_profile,
    preferred_count,
    query_arguments,
    shaping_names,
    time_hint,
)
from ingest.rpc.schema_cache import Directory
from ingest.rpc.statement import call_statement

SEARCH_PATH = f"{SCHEMA}, public, pg_temp"
CREDENTIALS = frozenset({"authorization", "x-api-key", "x-pmetrics-api-key"})
"""Headers that functions do not get to see; a token's claims they do."""

CHANGED = frozenset({"25006", "42725", "42704", "42883"})
"""What a call meets if the function is no longer what we remember: a write in what was stable, an
overload, a type or the function itself."""

MOST_TRIES = 3


QUERY_CANCELED = "57014"

SMALL_BYTES = 64 * 1024
"""An answer up to here is what a connection keeps for its client anyway."""
MOST_BUFFERED_BYTES = 64 * 1024 * 1024
"""Of answers that are longer, but come at once: whoever reads them slowly holds no connection of
the database."""

log = get_logger("api")


class _Changed(Exception):
    """The function is not the one that the statement was made for; nothing has happened."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a function, and how the answer shall look."""

    name: str
    posted: bool
    arguments: Arguments
    media: Media
    count: str | None
    profiled: bool


class Rpc:
    """Answers `/rpc/<function>`."""

    def __init__(
        self,
        database: ReadDatabase,
        directory: Directory,
        callers: Callers,
        under_way: UnderWay,
        settings: Settings,
    ) -> None:
        self._database = database
        self._directory = directory
        self._callers = callers
        self._settings = settings.api
        self._under_way = under_way
        self._memory = Memory(MOST_BUFFERED_BYTES)
        self._dear = Dear()

    async def __call__(self, exchange: Exchange, name: str) -> Reply:
        """Call the function.

        Raises:
            Problem: whatever went wrong, with its status.
        """
        if exchange.method not in (*METHODS, "OPTIONS"):
            raise Problem(405, "PGRST101", f"Cannot use the {exchange.method} method on RPC")
        caller = await self._callers.caller_of(exchange.request, READ)
        if exchange.method == "OPTIONS":
            return await self._options(exchange, name, caller.role)
        ask = await self._read(exchange, name)
        with self._watched(exchange, caller), self._under_way.one_more(caller.counted_as):
            try:
                return await self._call(exchange, ask, caller)
            except asyncpg.PostgresError as error:
                hint = time_hint(error.sqlstate, ask.arguments)
                raise problem_of(error, caller.claims.authenticated, hint) from error

    async def _options(self, exchange: Exchange, name: str, role: str) -> Reply:
        overloads = await self._directory.overloads(name, role)
        exchange.function = name
        volatile = all(each.volatile for each in overloads)
        return Reply(200, b"", {"Allow": "OPTIONS,POST" if volatile else "OPTIONS,GET,HEAD,POST"})

    async def _read(self, exchange: Exchange, name: str) -> Ask:
        request, headers = exchange.request, exchange.request.headers
        query = request.rel_url.raw_query_string
        profiled = check_profile(headers, exchange.method)
        media = choose_media(headers.get("Accept"), RESULT_MEDIA)
        arguments: Arguments
        if exchange.method == "POST":
            check_post_query(query)
            body = await read_body(request, self._settings.max_body_bytes)
            arguments = body_arguments(headers.get("Content-Type"), body)
        else:
            shaping = shaping_names(query)
            known = await self._directory.argument_names(name, shaping) if shaping else ()
            arguments = query_arguments(query, known)
        return Ask(
            name=name,
            posted=exchange.method == "POST",
            arguments=arguments,
            media=media,
            count=preferred_count(headers),
            profiled=profiled,
        )

    def _settings_of(self, exchange: Exchange, caller: Caller) -> dict[str, str]:
        """Everything that is set for the transaction: who reads, and what functions may ask for."""
        return {
            "search_path": SEARCH_PATH,
            "promgres.tenant_id": str(caller.tenant_id),
            "request.jwt.claims": json.dumps({**caller.claims.values, "role": caller.role}),
            "request.method": exchange.method,
            "request.path": exchange.path,
            "request.headers": json.dumps(_visible(exchange.request.headers)),
            "request.cookies": json.dumps(dict(exchange.request.cookies)),
            "role": caller.role,
        }

    @contextmanager
    def _watched(self, exchange: Exchange, caller: Caller) -> Iterator[None]:
        """Say which questions were slow or ended by their time, and who asked; never with what
        arguments: there may be secrets among them."""
        started = time.monotonic()
        event, is_ended = "a slow question", False
        try:
            yield
        except asyncio.CancelledError:
            event = "a question was abandoned by its client"
            raise
        except Problem as problem:
            is_ended = problem.code == QUERY_CANCELED or problem.status == 504
            event = "a question was ended by its time" if is_ended else event
            raise
        finally:
            seconds = time.monotonic() - started
            if is_ended or seconds >= self._settings.slow_seconds:
                log.warning(
                    event,
                    function=exchange.function,
                    role=caller.role,
                    tenant=caller.tenant,
                    seconds=round(seconds, 2),
                )

    async def _call(self, exchange: Exchange, ask: Ask, caller: Caller) -> Reply:
        """Find and call; if the function turns out to be another one by now, find it again."""
        known: Function | None = None
        not_before: float | None = None
        for _ in range(MOST_TRIES):
            function = await self._directory.function(
                ask.name, ask.arguments.names, ask.posted, caller.role, not_before
            )
            exchange.function = function.name
            not_before = time.monotonic()
            try:
                question = (function.oid, ask.arguments)
                if not self._dear.knows(question):
                    try:
                        return await self._execute(exchange, ask, function, caller, dear=False)
                    except TakesLong:
                        self._dear.note(question)
                return await self._execute(exchange, ask, function, caller, dear=True)
            except _Changed:
                continue
            except asyncpg.PostgresError as error:
                if error.sqlstate not in CHANGED or function == known:
                    raise
                known = function
        raise Problem(503, "PGRST002", f"The function {SCHEMA}.{ask.name} is being changed")

    async def _execute(
        self, exchange: Exchange, ask: Ask, function: Function, caller: Caller, dear: bool
    ) -> Reply:
        """Ask the database. A short answer is made known to the caller, a longer one is sent: from
        memory as long as there is room, so that its connection is free, else while it comes.

        Raises:
            TakesLong: this is not for the quick lane.
        """
        sending: Sending | None = None
        who, held_bytes = caller.counted_as, 0
        try:
            async with self._database.call(
                call_statement(function, ask.arguments, ask.media),
                bucket_check(function, ask.arguments, self._settings.max_buckets),
                self._settings_of(exchange, caller),
                not (ask.posted and function.volatile),
                who,
                dear,
            ) as answer:
                self._check(ask, function, answer)
                reply = _reply(ask, function, answer)
                if reply.body is None or exchange.method == "HEAD":
                    return reply
                if answer.length <= SMALL_BYTES:
                    reply.body = await answer.whole()
                    return reply
                if answer.is_whole and self._memory.take(who, answer.length):
                    held_bytes = answer.length
                    reply.body = await answer.whole()
                else:
                    parts = answer.stream()
                    encoding = choose_encoding(exchange.header("Accept-Encoding"))
                    sending = await Sending.begin(exchange.request, reply, answer.length, encoding)
                    async for part in parts:
                        await self._send(sending, part, answer.until)
            if sending is None:
                await compress(reply, exchange.request.headers)
                sending = await Sending.begin(exchange.request, reply, len(reply.body), None)
                until = time.monotonic() + self._settings.stream_timeout_seconds
                await self._send(sending, reply.body, until)
            await sending.end()
        except Exception as error:
            if sending is None:
                raise
            sending.cut()
            reason = str(error.__cause__ or error) or type(error).__name__
            log.info("an answer was cut", function=function.name, reason=reason)
        finally:
            self._memory.give(who, held_bytes)
        assert sending is not None
        reply.sent = sending.response
        return reply

    def _check(self, ask: Ask, function: Function, answer: Answer) -> None:
        """Whether the answer is the one that was asked for, and short enough."""
        if answer.version != function.version:
            raise _Changed
        if ask.media is Media.OBJECT and function.returns_set and answer.rows != 1:
            raise _not_single(answer.rows)
        if answer.length > self._settings.max_answer_bytes:
            raise too_long(answer.length, self._settings.max_answer_bytes)

    async def _send(self, sending: Sending, part: bytes, until: float) -> None:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await sending.write(part)
        except TimeoutError:
            raise ClientGone("its client took too long to read it") from None


def _reply(ask: Ask, function: Function, answer: Answer) -> Reply:
    """The answer without its body: None if it has none, empty if it is still to come."""
    headers = {"Content-Range": _content_range(answer.rows, ask.count)}
    if ask.count:
        headers["Preference-Applied"] = f"count={ask.count}"
    if ask.profiled:
        headers["Content-Profile"] = SCHEMA
    if function.result == "void":
        return Reply(204, None, headers)
    headers["Content-Type"] = ask.media.value
    return Reply(200, b"", headers)


def _content_range(rows: int, count: str | None) -> str:
    total = str(rows) if count else "*"
    return f"0-{rows - 1}/{total}" if rows else f"*/{total}"


def _visible(headers: Mapping[str, str]) -> dict[str, str]:
    lowered = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lowered.items() if name not in CREDENTIALS}


def _not_single(rows: int) -> Problem:
    return Problem(
        406,
        "PGRST116",
        "Cannot coerce the result to a single JSON object",
        f"The result contains {rows} rows",
    )

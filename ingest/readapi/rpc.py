"""`/rpc/<function>`: from the request to the transaction and back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from ingest.config import Settings
from ingest.readapi.body import read_body
from ingest.readapi.callers import Caller, Callers
from ingest.readapi.database import Answer, ReadDatabase
from ingest.readapi.directory import Directory
from ingest.readapi.exchange import Exchange
from ingest.readapi.functions import SCHEMA, Function
from ingest.readapi.negotiate import RESULT_MEDIA, Media, choose_media
from ingest.readapi.pgproblems import problem_of
from ingest.readapi.problems import Problem
from ingest.readapi.reply import Reply
from ingest.readapi.request import (
    METHODS,
    Arguments,
    body_arguments,
    check_post_query,
    check_profile,
    preferred_count,
    query_arguments,
    shaping_names,
)
from ingest.readapi.statement import call_statement, csv_header
from ingest.tenants.access import READ

SEARCH_PATH = f"{SCHEMA}, public, pg_temp"
CREDENTIALS = frozenset({"authorization", "x-api-key", "x-pmetrics-api-key"})
"""Headers that functions do not get to see; a token's claims they do."""

CHANGED = frozenset({"25006", "42725", "42704", "42883"})
"""What a call meets if the function is no longer what we remember: a write in what was stable, an
overload, a type or the function itself."""

MOST_TRIES = 3


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
        self, database: ReadDatabase, directory: Directory, callers: Callers, settings: Settings
    ) -> None:
        self._database = database
        self._directory = directory
        self._callers = callers
        self._max_body_bytes = settings.api.max_body_bytes
        timeout_ms = max(1, round(settings.api.statement_timeout_seconds * 1000))
        self._constant_settings = {
            "search_path": SEARCH_PATH,
            "statement_timeout": str(timeout_ms),
            "TimeZone": "UTC",
        }

    async def __call__(self, exchange: Exchange, name: str) -> Reply:
        """Call the function.

        Raises:
            Problem: whatever went wrong, with its status.
        """
        if exchange.method not in (*METHODS, "OPTIONS"):
            raise Problem(405, "PGRST101", f"Cannot use the {exchange.method} method on RPC")
        caller = await self._callers.caller_of(exchange.request, READ)
        if exchange.method == "OPTIONS":
            return await self._options(exchange, name)
        ask = await self._read(exchange, name)
        try:
            function, answer = await self._call(exchange, ask, self._settings_of(exchange, caller))
        except asyncpg.PostgresError as error:
            raise problem_of(error, caller.claims.authenticated) from error
        return _reply(ask, function, answer)

    async def _options(self, exchange: Exchange, name: str) -> Reply:
        overloads = await self._directory.overloads(name)
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
            body = await read_body(request, self._max_body_bytes)
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
            **self._constant_settings,
            "promgres.tenant_id": str(caller.tenant_id),
            "request.jwt.claims": json.dumps({**caller.claims.values, "role": caller.role}),
            "request.method": exchange.method,
            "request.path": exchange.path,
            "request.headers": json.dumps(_visible(exchange.request.headers)),
            "request.cookies": json.dumps(dict(exchange.request.cookies)),
            "role": caller.role,
        }

    async def _call(
        self, exchange: Exchange, ask: Ask, settings: Mapping[str, str]
    ) -> tuple[Function, Answer]:
        """Find and call; if the function turns out to be another one by now, find it again."""
        known: Function | None = None
        not_before: float | None = None
        for _ in range(MOST_TRIES):
            function = await self._directory.function(
                ask.name, ask.arguments.names, ask.posted, not_before
            )
            exchange.function = function.name
            not_before = time.monotonic()
            try:
                return function, await self._execute(ask, function, settings)
            except _Changed:
                continue
            except asyncpg.PostgresError as error:
                if error.sqlstate not in CHANGED or function == known:
                    raise
                known = function
        raise Problem(503, "PGRST002", f"The function {SCHEMA}.{ask.name} is being changed")

    async def _execute(self, ask: Ask, function: Function, settings: Mapping[str, str]) -> Answer:
        statement = call_statement(function, ask.arguments, ask.media)
        read_only = not (ask.posted and function.volatile)
        async with self._database.call(statement, settings, read_only) as answer:
            if answer.version != function.version:
                raise _Changed
            if ask.media is Media.OBJECT and function.returns_set and answer.rows != 1:
                raise _not_single(answer.rows)
        return answer


def _reply(ask: Ask, function: Function, answer: Answer) -> Reply:
    headers = {"Content-Range": _content_range(answer.rows, ask.count)}
    if ask.count:
        headers["Preference-Applied"] = f"count={ask.count}"
    if ask.profiled:
        headers["Content-Profile"] = SCHEMA
    if function.result == "void":
        return Reply(204, None, headers)
    headers["Content-Type"] = ask.media.value
    body = answer.body or b""
    if ask.media is Media.CSV:
        header = csv_header(function).encode() if answer.rows else b""
        body = header + b"\n" + body
    return Reply(200, body, headers)


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

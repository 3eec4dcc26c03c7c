"""`/rpc/<function>`: from the request to the transaction and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from urllib.parse import unquote

from ingest.auth.access import READ
from ingest.auth.callers import Caller, Callers
from ingest.config import Settings
from ingest.errors import NotFound, PromgresError, QueryRefused
from ingest.http.bodies import read_body
from ingest.http.context import Context
from ingest.http.negotiation import ONE_OBJECT, Media, choose_encoding, result_media
from ingest.http.problems import Problem, problem_of
from ingest.http.reply import ClientGone, Reply, Sending, compress
from ingest.http.shares import Memory, Slow, UnderWay
from ingest.logs import get_logger
from ingest.rpc.buckets import bucket_check
from ingest.rpc.call import Answer, TakesLong, call
from ingest.rpc.functions import SCALAR_COLUMN, Function, quote_identifier
from ingest.rpc.lanes import Remembered
from ingest.rpc.preferences import NONE, Preferences, read_preferences
from ingest.rpc.request import (
    FORMATS,
    METHODS,
    NOTHING_ASKED,
    Arguments,
    Query,
    asked_schema,
    body_arguments,
    read_query,
    shaping_names,
    sort_query,
    time_hint,
)
from ingest.rpc.response import add_caching, add_tag, apply_choices
from ingest.rpc.role_settings import RoleSettings
from ingest.rpc.schema_cache import SchemaCache
from ingest.rpc.shape import WHOLE, unsatisfiable
from ingest.rpc.statement import call_statement
from ingest.storage.pgerrors import QUERY_CANCELED
from ingest.storage.read import ReadDatabase

RPC = "/rpc/"
CSV_SUFFIX = ".csv"
SET_TIME_ZONE = "SELECT pg_catalog.set_config('TimeZone', $1, true)"
SEARCH_PATH = "public, pg_temp"
"""Behind the schema that is asked."""
CREDENTIALS = frozenset({"authorization", "x-api-key", "apikey", "x-pmetrics-api-key"})
"""Headers that functions do not get to see; a token's claims they do."""

CHANGED = frozenset({"25006", "42725", "42704", "42883"})
"""What a call meets if the function is no longer what we remember: a write in what was stable, an
overload, a type or the function itself."""

MOST_TRIES = 3


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

    schema: str
    name: str
    posted: bool
    arguments: Arguments
    accept: str | None
    profiled: bool
    query: Query = NOTHING_ASKED
    preferences: Preferences = NONE

    @property
    def question(self) -> tuple[object, ...]:
        """What is the same whenever the same is asked."""
        if self.query.shape is WHOLE:
            return (self.arguments,)
        return self.arguments, self.query.shape, *map(str, self.query.values)


class Rpc:
    """Answers `/rpc/<function>`."""

    def __init__(
        self,
        database: ReadDatabase,
        schema_cache: SchemaCache,
        callers: Callers,
        under_way: UnderWay,
        slow: Slow,
        settings: Settings,
    ) -> None:
        self._database = database
        self._schema_cache = schema_cache
        self._callers = callers
        self._settings = settings.api
        self._app_settings = {
            f"app.settings.{name}": value for name, value in settings.api.app_settings.items()
        }
        self._pre_request = _pre_request(settings.api.pre_request)
        self._under_way = under_way
        self._slow = slow
        self._memory = Memory(MOST_BUFFERED_BYTES)
        self._dear = Remembered()
        self._long = Remembered()
        self._has_lanes = (
            database.dear is not database.quick
            and settings.api.quick_seconds < settings.api.statement_timeout_seconds
        )

    async def __call__(self, context: Context) -> Reply:
        """Call the function.

        Raises:
            PromgresError: whatever went wrong.
        """
        request, name = context.request, _function_name(context.path)
        if context.method not in (*METHODS, "OPTIONS"):
            raise Problem(405, "PGRST101", f"Cannot use the {context.method} method on RPC")
        caller = await self._callers.caller_of(request.headers, request.remote, READ)
        if context.method == "OPTIONS":
            return await self._options(context, name, caller.role)
        ask = await self._read(context, name)
        with self._watched(context, caller), self._under_way.one_more(caller.counted_as):
            try:
                return await self._call(context, ask, caller)
            except QueryRefused as error:
                hint = time_hint(error.sqlstate, ask.arguments)
                raise problem_of(error, caller.claims.authenticated, hint) from error

    async def _options(self, context: Context, name: str, role: str) -> Reply:
        schemas = self._schema_cache.schemas
        schema, _ = asked_schema(context.request.headers, context.method, schemas)
        overloads = await self._schema_cache.overloads(schema, name, role)
        context.function = name
        volatile = all(each.volatile for each in overloads)
        return Reply(200, b"", {"Allow": "OPTIONS,POST" if volatile else "OPTIONS,GET,HEAD,POST"})

    async def _read(self, context: Context, name: str) -> Ask:
        request, headers = context.request, context.request.headers
        schemas = self._schema_cache.schemas
        schema, profiled = asked_schema(headers, context.method, schemas)
        accept = None
        if name.endswith(CSV_SUFFIX) and not await self._schema_cache.is_function(schema, name):
            name, accept = name.removesuffix(CSV_SUFFIX), FORMATS["csv"]
        query = read_query(request.rel_url.raw_query_string)
        preferences = read_preferences(headers.getall("Prefer")) if "Prefer" in headers else NONE
        posted, counted = context.method == "POST", preferences.count is not None
        most_rows = self._settings.max_rows
        if posted:
            asked = sort_query(query, posted=True, counted=counted, most_rows=most_rows)
            body = await read_body(request, self._settings.max_body_bytes)
            content_type = headers.get("Content-Type")
            arguments: Arguments = body_arguments(
                content_type, body, asked.columns, single_object=preferences.single_object
            )
        else:
            shaping = shaping_names(query)
            known: Collection[str] = ()
            if shaping:
                known = await self._schema_cache.argument_names(schema, name, shaping)
            ranged = headers.get("Range") if context.method == "GET" else None
            asked = sort_query(query, known, ranged, counted=counted, most_rows=most_rows)
            arguments = asked.arguments
        return Ask(
            schema=schema,
            name=name,
            posted=posted,
            arguments=arguments,
            accept=accept or asked.accept or headers.get("Accept"),
            profiled=profiled,
            query=asked,
            preferences=preferences,
        )

    def _settings_of(
        self, context: Context, schema: str, caller: Caller, role_settings: RoleSettings
    ) -> dict[str, str]:
        """Everything that is set for the transaction: who reads, and what functions may ask for."""
        request = context.request
        with_cookies = "Cookie" in request.headers  # else nothing is to be parsed
        return {
            **role_settings.values,
            **self._app_settings,
            "search_path": f"{quote_identifier(schema)}, {SEARCH_PATH}",
            "promgres.tenant_id": str(caller.tenant_id),
            "request.jwt.claims": _claims_json(caller),
            "request.method": context.method,
            "request.path": context.path,
            "request.headers": _headers_json(
                tuple(
                    (name.lower(), value)
                    for name, value in request.headers.items()
                    if name.lower() not in CREDENTIALS
                )
            ),
            "request.cookies": json.dumps(dict(request.cookies)) if with_cookies else "{}",
            "role": caller.role,
        }

    @contextmanager
    def _watched(self, context: Context, caller: Caller) -> Iterator[None]:
        """Say which questions were slow or ended by their time, and who asked; never with what
        arguments: there may be secrets among them."""
        started = time.monotonic()
        event, is_ended = "a slow question", False
        try:
            yield
        except asyncio.CancelledError:
            event = "a question was abandoned by its client"
            raise
        except PromgresError as error:
            problem = problem_of(error)
            is_ended = problem.code == QUERY_CANCELED or problem.status == 504
            event = "a question was ended by its time" if is_ended else event
            raise
        finally:
            seconds = time.monotonic() - started
            if is_ended or seconds >= self._settings.slow_seconds:
                self._slow.note(caller.tenant_id, context.function, seconds)
                log.warning(
                    event,
                    function=context.function,
                    role=caller.role,
                    tenant=caller.tenant,
                    seconds=round(seconds, 2),
                )

    async def _call(self, context: Context, ask: Ask, caller: Caller) -> Reply:
        """Find and call; if the function turns out to be another one by now, find it again."""
        known: Function | None = None
        not_before: float | None = None
        for _ in range(MOST_TRIES):
            function = await self._schema_cache.function(
                ask.schema, ask.name, ask.arguments.given, caller.role, not_before
            )
            context.function = function.name
            not_before = time.monotonic()
            try:
                _check_columns(function, ask.query, known)
                question = hash((function.oid, ask.question))
                if question not in self._dear:
                    try:
                        return await self._execute(
                            context, ask, function, caller, question, dear=False
                        )
                    except TakesLong:
                        self._dear.note(question)
                return await self._execute(context, ask, function, caller, question, dear=True)
            except _Changed:
                known = function
                continue
            except QueryRefused as error:
                if error.sqlstate == QUERY_CANCELED:  # by a time that may be another by now
                    now = await self._schema_cache.function(
                        ask.schema, ask.name, ask.arguments.given, caller.role, time.monotonic()
                    )
                    if now == function:
                        raise
                elif error.sqlstate not in CHANGED or function == known:
                    raise
                known = function
        raise Problem(503, "PGRST002", f"The function {ask.schema}.{ask.name} is being changed")

    async def _execute(
        self,
        context: Context,
        ask: Ask,
        function: Function,
        caller: Caller,
        question: int,
        *,
        dear: bool,
    ) -> Reply:
        """Ask the database. A short answer is made known to the caller, a longer one is sent: from
        memory as long as there is room, so that its connection is free, else while it comes.

        Raises:
            TakesLong: this is not for the quick lane.
        """
        sending: Sending | None = None
        who, held_bytes = caller.counted_as, 0
        media = _media(ask, function)
        try:
            read_only = not (ask.posted and function.volatile)
            role_settings = await self._schema_cache.role_settings(caller.role)
            seconds = (
                function.timeout_seconds
                or role_settings.timeout_seconds
                or self._settings.statement_timeout_seconds
            )
            may_be_quick = read_only and not dear and self._has_lanes
            is_quick = may_be_quick and seconds > self._settings.quick_seconds
            async with call(
                self._database,
                self._database.dear if dear else self._database.quick,
                *call_statement(function, ask.arguments, media, ask.query.shape, ask.query.values),
                bucket_check(function, ask.arguments, self._settings.max_buckets),
                self._settings_of(context, ask.schema, caller, role_settings),
                who,
                before=self._before(ask),
                read_only=read_only,
                short=read_only and not dear and question not in self._long,
                seconds=self._settings.quick_seconds if is_quick else seconds,
                is_quick=is_quick,
                stream_seconds=self._settings.stream_timeout_seconds,
            ) as answer:
                if answer.is_long:
                    self._long.note(question)
                self._check(ask, function, media, answer)
                reply = _reply(ask, function, media, answer)
                apply_choices(reply, answer.status, answer.headers)
                if reply.body is None or await _is_complete(context, answer, reply):
                    return reply
                if answer.is_whole and self._memory.take(who, answer.length):
                    held_bytes = answer.length
                    reply.body = reply.body or await answer.whole()
                else:
                    reply.body = b""
                    parts = answer.stream()
                    encoding = choose_encoding(context.header("Accept-Encoding"))
                    sending = await Sending.begin(context.request, reply, answer.length, encoding)
                    async for part in parts:
                        await self._send(sending, part, answer.until)
            if sending is None:
                await compress(reply, context.request.headers)
                sending = await Sending.begin(context.request, reply, len(reply.body), None)
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
        reply.sent, reply.sent_bytes = sending.response, sending.sent_bytes
        return reply

    def _before(self, ask: Ask) -> list[tuple[str, list[str]]]:
        """What is to be executed before the function is called."""
        before: list[tuple[str, list[str]]] = []
        if ask.preferences.timezone is not None:
            before.append((SET_TIME_ZONE, [ask.preferences.timezone]))
        if self._pre_request is not None:
            before.append((self._pre_request, []))
        return before

    def _check(self, ask: Ask, function: Function, media: Media, answer: Answer) -> None:
        """Whether the answer is the one that was asked for, and short enough."""
        if answer.version != function.version:
            raise _Changed
        if media in ONE_OBJECT and function.returns_set and answer.rows != 1:
            raise Problem(
                406,
                "PGRST116",
                "Cannot coerce the result to a single JSON object",
                f"The result contains {answer.rows} rows",
            )
        most = ask.preferences.max_affected
        if ask.preferences.strict and most is not None and answer.rows > most:
            raise Problem(
                400,
                "PGRST124",
                "Query result exceeds max-affected preference constraint",
                f"The query affects {answer.rows} rows",
            )
        page, total = ask.query.page, _total(ask, answer)
        if total is not None and page.offset > total:
            raise unsatisfiable(
                f"An offset of {page.offset} was requested, but there are only {total} rows.",
                page.content_range(0, total),
            )
        if answer.length > self._settings.max_answer_bytes:
            raise Problem(
                400,
                "PGRSTX03",
                f"The answer has {answer.length:,} bytes; {self._settings.max_answer_bytes:,}"
                " at most are given (api.max_answer_bytes)",
                None,
                "Ask for less at once",
            )

    async def _send(self, sending: Sending, part: bytes, until: float) -> None:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await sending.write(part)
        except TimeoutError:
            raise ClientGone("its client took too long to read it") from None


@lru_cache(maxsize=1000)
def _headers_json(headers: tuple[tuple[str, str], ...]) -> str:
    """Headers that functions may see: a client sends the same ones again and again."""
    return json.dumps(dict(headers))


def _claims_json(caller: Caller) -> str:
    if caller.claims.values:
        return json.dumps({**caller.claims.values, "role": caller.role})
    return f'{{"role": {json.dumps(caller.role)}}}'


def _check_columns(function: Function, query: Query, known: Function | None) -> None:
    """Whether a function has the columns that its result is shaped by.

    Args:
        known: the function as it was when this was asked before.

    Raises:
        _Changed: not as it is remembered.
        Problem: 400, not as it is; 503, it became one that takes as arguments what was read as
            a shape.
    """
    if query.shape is WHOLE or function.result == "void":
        return
    if not query.shaping.isdisjoint(each.name for each in function.arguments):
        raise Problem(
            503, "PGRST002", f"The function {function.schema}.{function.name} is being changed"
        )
    columns = function.shaped_types()
    selected = query.shape.select is not None and function.result != "row"
    missing = sorted(query.shape.columns - columns.keys())
    if not missing and not selected:
        return
    if known is None:
        raise _Changed
    name = missing[0] if missing else SCALAR_COLUMN
    near = get_close_matches(name, columns, n=1)
    raise Problem(
        400,
        "42703",
        f"column {function.name}.{name} does not exist",
        hint=f"Perhaps you meant the column {function.name}.{near[0]}" if near else None,
    )


async def _is_complete(context: Context, answer: Answer, reply: Reply) -> bool:
    """Put the body into a reply if all of it is here, and say what caches may do with it; whether
    that is all that is to be sent."""
    asked, is_posted = context.request.headers, context.method == "POST"
    add_caching(reply, asked)
    is_small = answer.length <= SMALL_BYTES
    if is_small or (answer.is_whole and not is_posted):
        reply.body = await answer.whole()
        if not is_posted:
            add_tag(reply, reply.body, asked)
    return is_small or reply.body is None or context.method == "HEAD"


def _media(ask: Ask, function: Function) -> Media:
    """The form of the answer.

    Raises:
        NotAcceptable: the client takes none that the function's result has.
        Problem: 400, how many rows a single value may have is no question.
    """
    preferences = ask.preferences
    if preferences.strict and preferences.max_affected is not None and not function.returns_set:
        raise Problem(
            400,
            "PGRST128",
            "Function must return SETOF or TABLE when max-affected preference is used with"
            " handling=strict",
        )
    is_scalar = function.result == "scalar" and not function.returns_set
    return result_media(ask.accept, is_scalar=is_scalar)


def _pre_request(name: str | None) -> str | None:
    """The statement that calls a function before all others."""
    if name is None:
        return None
    return f"SELECT {'.'.join(map(quote_identifier, name.split('.')))}()::text"


def _total(ask: Ask, answer: Answer) -> int | None:
    """How many rows there are besides the page, if that was asked."""
    if ask.preferences.count is None:
        return None
    return answer.rows if answer.total is None else answer.total


def _reply(ask: Ask, function: Function, media: Media, answer: Answer) -> Reply:
    """The answer without its body: None if it has none, empty if it is still to come."""
    total = _total(ask, answer)
    headers = {"Content-Range": ask.query.page.content_range(answer.rows, total)}
    if applied := ask.preferences is not NONE and ask.preferences.applied:
        headers["Preference-Applied"] = applied
    if ask.profiled:
        headers["Content-Profile"] = ask.schema
    if function.result == "void":
        return Reply(204, None, headers)
    headers["Content-Type"] = media.value
    return Reply(206 if total is not None and answer.rows < total else 200, b"", headers)


def _function_name(path: str) -> str:
    """The last part of the path; anything deeper is no path of ours.

    Raises:
        NotFound: it is.
    """
    raw = path.removeprefix(RPC)
    try:
        name = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        name = ""
    if not name or "/" in raw:
        raise NotFound("Invalid path specified in request URL")
    return name

"""`/api/v1/measure` and `/api/v1/event` on the read port: read here, written by the write side."""

from __future__ import annotations

import asyncpg

from ingest.auth.access import READ, WRITE
from ingest.auth.credentials import is_older
from ingest.config import Settings
from ingest.errors import BadRequest
from ingest.http.context import Exchange
from ingest.http.negotiation import Media
from ingest.http.problems import Problem, bad_query
from ingest.http.reply import Reply, text_reply
from ingest.records.forward import Forwarder
from ingest.records.pages import OLDER_REFUSAL, Page, page_headers, push_refusal_body
from ingest.records.paths import Kind
from ingest.records.query import PushedQuery, parse_query
from ingest.records.statement import refused_by_database, statement_of
from ingest.rpc.callers import Caller, Callers
from ingest.rpc.database import ReadDatabase
from ingest.rpc.lanes import UnderWay
from ingest.rpc.pgproblems import problem_of

LONGEST_PAGE_BYTES = 32 * 1024 * 1024
"""Of a page, which is in memory as a whole: attributes may be long."""

METHODS = "OPTIONS,GET,HEAD,POST"


class Pushes:
    """Answers both names, with every method."""

    def __init__(
        self,
        database: ReadDatabase,
        callers: Callers,
        under_way: UnderWay,
        forwarder: Forwarder,
        settings: Settings,
    ) -> None:
        self._database = database
        self._callers = callers
        self._under_way = under_way
        self._forwarder = forwarder
        self._most_bytes = min(settings.api.max_answer_bytes, LONGEST_PAGE_BYTES)

    async def __call__(self, exchange: Exchange, kind: Kind) -> Reply:
        """Answer one request.

        Raises:
            Problem: whatever went wrong with a request that reads. A push is answered as the write
                side would, and a client of the older API as that was.
        """
        exchange.function = f"/api/v1/{kind}"
        try:
            return await self._answer(exchange, kind)
        except Problem as problem:
            if is_older(exchange.request.headers):
                return _older_reply(problem)
            if exchange.method == "POST":
                return _push_reply(problem)
            raise

    async def _answer(self, exchange: Exchange, kind: Kind) -> Reply:
        match exchange.method:
            case "GET" | "HEAD":
                return await self._read(exchange, kind)
            case "POST":
                return await self._write(exchange, kind)
            case "OPTIONS":
                return Reply(200, b"", {"Allow": METHODS})
        message = f"Unsupported HTTP method: {exchange.method}"
        raise Problem(405, "PGRST117", message, headers={"Allow": METHODS})

    async def _read(self, exchange: Exchange, kind: Kind) -> Reply:
        caller = await self._callers.caller_of(exchange.request, READ)
        try:
            query = parse_query(kind, exchange.request.rel_url.raw_query_string)
            with self._under_way.one_more(caller.counted_as):
                page = await self._page(query, caller)
        except BadRequest as error:
            raise bad_query(str(error)) from None
        return Reply(200, page.body, page_headers(query, page))

    async def _page(self, query: PushedQuery, caller: Caller) -> Page:
        sql, parameters = statement_of(query)
        settings, who = {"promgres.tenant_id": str(caller.tenant_id)}, caller.counted_as
        try:
            row = await self._database.pushed(sql, parameters, settings, self._most_bytes, who)
        except asyncpg.PostgresError as error:
            ours = problem_of(error, authenticated=True)
            raise refused_by_database(query, error.sqlstate) or ours from error
        if row is None:
            raise BadRequest(
                f"the answer would be longer than {self._most_bytes} bytes: ask for fewer (limit)"
            )
        return Page.of(*row)

    async def _write(self, exchange: Exchange, kind: Kind) -> Reply:
        """The key is checked here too: the write side would not know from where it came."""
        caller = await self._callers.caller_of(exchange.request, WRITE)
        path = f"/api/v1/{kind}"
        return await self._forwarder.forward(exchange.request, path, caller.tenant_id)


def _push_reply(problem: Problem) -> Reply:
    headers = {"Content-Type": Media.JSON.value, **problem.headers}
    return Reply(problem.status, push_refusal_body(_reason(problem)), headers)


def _reason(problem: Problem) -> str:
    return f"{problem.message}: {problem.details}" if problem.details else problem.message


def _older_reply(problem: Problem) -> Reply:
    """As clients of the older API know refusals: one for keys, else a line of text."""
    if problem.status in (401, 403):
        return Reply(403, OLDER_REFUSAL, {"Content-Type": Media.JSON.value})
    reply = text_reply(problem.message, problem.status)
    kept = {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    return Reply(reply.status, reply.body, {**reply.headers, **kept})

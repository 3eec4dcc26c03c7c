"""Reading records, on both ports alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Protocol

from ingest.auth.access import READ
from ingest.errors import BadRequest, QueryRefused
from ingest.http.context import Context
from ingest.http.reply import Reply
from ingest.http.shares import UnderWay
from ingest.records.answers import Page, page_headers
from ingest.records.paths import RECORD_PATHS
from ingest.records.query import parse_query
from ingest.records.statement import refused_by_database, statement_of
from ingest.storage.read import Lane, ReadTransactions

LONGEST_PAGE_BYTES = 32 * 1024 * 1024
"""Of a page, which is in memory as a whole: attributes may be long."""


class Reader(Protocol):
    """Who reads."""

    @property
    def tenant_id(self) -> int:
        """Whose records are seen."""

    @property
    def counted_as(self) -> Hashable:
        """Who is meant where each has their share."""


Admit = Callable[[Mapping[str, str], str | None, str], Awaitable[Reader]]
"""From headers, address and scope, who reads."""


class ReadRecords:
    """Answers `GET /api/v1/measure`, `/api/v1/event` and their other names.

    Args:
        admit: finds out who asks, as this port does.
        transactions, lane: the connections of this port for it.
        under_way: what each may have under way.
        most_bytes: of an answer.
    """

    def __init__(
        self,
        admit: Admit,
        transactions: ReadTransactions,
        lane: Lane,
        under_way: UnderWay,
        most_bytes: int,
    ) -> None:
        self._admit = admit
        self._transactions = transactions
        self._lane = lane
        self._under_way = under_way
        self._most_bytes = min(most_bytes, LONGEST_PAGE_BYTES)

    async def __call__(self, context: Context) -> Reply:
        """A page, or aggregates.

        Raises:
            RequestError: the request must change.
            Unavailable: not now.
            QueryRefused: what else the database says.
        """
        request, kind = context.request, RECORD_PATHS[context.path]
        context.function = f"/api/v1/{kind}"
        reader = await self._admit(request.headers, request.remote, READ)
        query = parse_query(kind, request.rel_url.raw_query_string)
        sql, parameters = statement_of(query, self._most_bytes)
        settings, who = {"promgres.tenant_id": str(reader.tenant_id)}, reader.counted_as
        try:
            with self._under_way.one_more(who):
                async with self._transactions.transaction(self._lane, settings, who) as connection:
                    row = await connection.fetchrow(sql, *parameters)
        except QueryRefused as error:
            raise refused_by_database(query, error.sqlstate) or error from error
        assert row is not None
        if row["body"] is None:
            raise BadRequest(
                f"the answer would be longer than {self._most_bytes} bytes: ask for fewer (limit)"
            )
        page = Page.of(*row)
        return Reply(200, page.body, page_headers(query, page))

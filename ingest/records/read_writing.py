"""Reading measures and events on the write port: for clients that know one URL.

Answers are those of the read port. It has more room for reads than this one, which writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from ingest.auth.access import READ
from ingest.auth.authenticator import Authenticator
from ingest.auth.credentials import challenge_of, is_older, words_of
from ingest.errors import KeyRefused, QueryRefused, RequestError, Unavailable
from ingest.logs import get_logger
from ingest.model import TenantId
from ingest.records.pages import JSON_TYPE, OLDER_REFUSAL, Page, page_headers, problem_body
from ingest.records.paths import kind_of
from ingest.records.query import PushedQuery, parse_query
from ingest.records.statement import refused_by_database, statement_of
from ingest.storage.records import RecordReader

log = get_logger("receiver")

LEAST_COMPRESSED_BYTES = 1024
BAD_QUERY = "PGRST100"
NO_DATABASE = "PGRST000"


class _Trouble(NamedTuple):
    """A refusal before it takes one of its two forms."""

    status: int
    code: str
    message: str
    details: str | None = None
    headers: Mapping[str, str] = {}


class PushedHandler:
    """Answers `GET /api/v1/measure` and `/api/v1/event`, with `HEAD`."""

    def __init__(self, authenticator: Authenticator, reader: RecordReader) -> None:
        self._authenticator = authenticator
        self._reader = reader

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request; never raises."""
        try:
            return await self._answer(request)
        except KeyRefused as error:
            headers = {"WWW-Authenticate": challenge_of(error)}
            trouble = _Trouble(error.status, *words_of(error), headers=headers)
        except RequestError as error:
            trouble = _Trouble(error.status, BAD_QUERY, str(error))
        except Unavailable as error:
            headers = {"Retry-After": str(error.retry_after_seconds)}
            trouble = _Trouble(503, NO_DATABASE, str(error), headers=headers)
        except QueryRefused as error:
            log.warning("a read failed", reason=str(error), sqlstate=error.sqlstate)
            trouble = _Trouble(500, error.sqlstate or "XX000", str(error))
        except Exception:
            log.exception("a read failed")
            trouble = _Trouble(500, "PGRSTX00", "Internal server error")
        return _refused(trouble, is_older(request.headers))

    async def _answer(self, request: web.Request) -> web.Response:
        access = await self._authenticator.admit(request.headers, request.remote, READ)
        kind = kind_of(request.path)
        assert kind is not None, "routed here by mistake"
        query = parse_query(kind, request.rel_url.raw_query_string)
        page = await self._read(access.tenant_id, query)
        response = web.Response(body=page.body, headers=page_headers(query, page))
        if len(page.body) >= LEAST_COMPRESSED_BYTES:
            response.enable_compression()
        return response

    async def _read(self, tenant_id: TenantId, query: PushedQuery) -> Page:
        sql, parameters = statement_of(query)
        try:
            row = await self._reader.read(tenant_id, sql, parameters)
        except QueryRefused as error:
            raise refused_by_database(query, error.sqlstate) or error from None
        return Page.of(*row)


def _refused(trouble: _Trouble, older: bool) -> web.Response:
    headers = dict(trouble.headers)
    if not older:
        headers["Content-Type"] = JSON_TYPE
        body = problem_body(trouble.code, trouble.message, trouble.details)
        return web.Response(status=trouble.status, body=body, headers=headers)
    if trouble.status in (401, 403):
        return web.Response(status=403, body=OLDER_REFUSAL, headers={"Content-Type": JSON_TYPE})
    return web.Response(status=trouble.status, text=f"{trouble.message}\n", headers=headers)

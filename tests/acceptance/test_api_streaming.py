"""Long answers come in pieces, in bounded memory; a reader who dawdles holds nothing up."""

import asyncio
import csv
import gzip
import io
import json
from typing import Any

import aiohttp
import cramjam
import pytest

from ingest.rpc.statement import PIECE_BYTES, SHORT_ROW_BYTES, SHORT_ROWS, WHOLE_BYTES
from tests.support.databases import Database
from tests.support.readapi import add_functions, running_api

LINES = """
CREATE FUNCTION api.lines(p_count int, p_length int) RETURNS TABLE (id int, text text)
LANGUAGE sql STABLE
AS $$ SELECT i, repeat('ü', p_length - 1) || i FROM generate_series(1, p_count) i $$"""
ENDS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'promgres api%' AND state <> 'idle' AND datname = current_database()"""


@pytest.fixture
async def prepared(postgres_db: Database) -> Database:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as api:
        await api.sql(LINES)
    return postgres_db


def _lines(count: int, length: int) -> list[dict[str, Any]]:
    return [{"id": i, "text": "ü" * (length - 1) + str(i)} for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("count", "length"),
    [
        (20_000, 200),  # many rows
        (300, PIECE_BYTES),  # each in pieces, which end within characters
        (3, WHOLE_BYTES),
        (2, 100_000),  # two, which come at once
        (1, 1),
        (SHORT_ROWS, 20),  # made by one aggregate
        (SHORT_ROWS + 1, 20),
        (3, SHORT_ROW_BYTES // 2 - 20),  # ü has two bytes
        (3, SHORT_ROW_BYTES // 2 + 20),
    ],
)
async def test_every_form_is_what_it_was(prepared: Database, count: int, length: int) -> None:
    rows = _lines(count, length)
    async with running_api(prepared, statement_timeout_seconds=60) as api:
        answer = await api.get("lines", p_count=count, p_length=length)
        assert answer.status == 200
        assert json.loads(answer.body) == rows
        assert answer.headers["Content-Range"] == f"0-{count - 1}/*"
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        if count > 1:
            assert b'}, \n {"id":2' in answer.body
        counted = {"Prefer": "count=exact", "Accept": "text/csv"}
        answer = await api.get("lines", p_count=count, p_length=length, headers=counted)
        assert answer.headers["Content-Range"] == f"0-{count - 1}/{count}"
        csv.field_size_limit(1 << 30)
        found = list(csv.DictReader(io.StringIO(answer.text)))
        assert found == [{"id": str(row["id"]), "text": row["text"]} for row in rows]
        for encoding, expand in (("gzip", gzip.decompress), ("zstd", cramjam.zstd.decompress)):
            headers = {"Accept-Encoding": encoding}
            answer = await api.get("lines", p_count=count, p_length=length, headers=headers)
            body = (
                bytes(expand(answer.body)) if "Content-Encoding" in answer.headers else answer.body
            )
            assert json.loads(body) == rows
        single = {"Accept": "application/vnd.pgrst.object+json"}
        answer = await api.get("lines", p_count=count, p_length=length, headers=single)
        if count == 1:
            assert answer.json == rows[0]
        else:
            assert answer.status == 406
            assert answer.json["details"] == f"The result contains {count} rows"
        head = await api.request("HEAD", f"/rpc/lines?p_count={count}&p_length={length}")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Range"] == f"0-{count - 1}/*"
        assert 'connections{state="used"} 0' in (await api.request("GET", "/metrics")).text


async def test_a_long_value_is_what_it_was(prepared: Database) -> None:
    tens = WHOLE_BYTES
    async with running_api(prepared, statement_timeout_seconds=60) as api:
        answer = await api.get("large", p_count=tens)
        assert answer.json == "0123456789" * tens


async def test_rows_that_were_written_are_answered_after_their_commit(prepared: Database) -> None:
    async with running_api(prepared, statement_timeout_seconds=60) as api:
        await api.sql(
            "CREATE FUNCTION api.write_much(p_count int) RETURNS SETOF text LANGUAGE sql VOLATILE"
            " SECURITY DEFINER AS $$ INSERT INTO visit (who) SELECT repeat('w', 1000) || i"
            " FROM generate_series(1, p_count) i RETURNING who $$"
        )
        answer = await api.post("write_much", p_count=8000)
        assert len(answer.json) == 8000
        assert (await api.get("visits")).json == 8000


async def test_too_long_is_400_and_nothing_was_sent(prepared: Database) -> None:
    async with running_api(prepared, max_answer_bytes=1_000_000) as api:
        answer = await api.get("lines", p_count=10_000, p_length=100)
        assert (answer.status, answer.json["code"]) == (400, "PGRSTX03")
        assert "1,000,000" in answer.json["message"]
        assert (await api.get("lines", p_count=1000, p_length=100)).status == 200


async def test_what_ends_in_the_middle_is_cut(prepared: Database) -> None:
    """With a length and without; the backend dies while its client has read a part."""
    async with running_api(prepared, statement_timeout_seconds=60) as api:
        for encoding in ("identity", "gzip"):
            url = f"{api.url}/rpc/lines?p_count=30000&p_length=1000"
            headers = {"Accept-Encoding": encoding}
            async with api.session.get(url, headers=headers) as response:
                assert response.status == 200
                await response.content.readexactly(100)
                assert await api.sql(ENDS)
                with pytest.raises((aiohttp.ClientError, ConnectionError)):
                    await response.read()
        assert (await api.get("who")).status == 200


async def test_who_takes_too_long_holds_no_connection(prepared: Database) -> None:
    bounds = {"stream_timeout_seconds": 0.5, "statement_timeout_seconds": 60, "pool_size": 1}
    async with running_api(prepared, **bounds) as api:
        host, _, port = api.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(b"GET /rpc/lines?p_count=30000&p_length=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(100)
        writer.transport.pause_reading()
        assert (await api.get("who")).status == 200  # once the connection is free
        writer.transport.abort()


async def test_who_reads_what_comes_at_once_holds_no_connection_either(prepared: Database) -> None:
    async with running_api(prepared, pool_size=1, statement_timeout_seconds=60) as api:
        host, _, port = api.url.removeprefix("http://").partition(":")
        slow = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1)
            writer.write(b"GET /rpc/lines?p_count=1500&p_length=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readexactly(100)
            writer.transport.pause_reading()
            slow.append(writer)
        assert (await api.get("who")).status == 200
        for writer in slow:
            writer.transport.abort()

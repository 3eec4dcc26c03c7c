"""A process that evaluates queries, made by the `Nursery`.

It reads questions from its connection and writes answers to it, one at a time; between them it may
hear that the question is not wanted any more. Its log goes where its parent's does. It ends with
its parent, whose end closes the connection.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from ingest.config import Settings
from ingest.errors import PromgresError, PromqlError, QueryRefused, Unavailable
from ingest.logs import get_logger
from ingest.prometheus import catalogue, documents, query, remote_read
from ingest.prometheus.documents import QueryEnded
from ingest.prometheus.messages import message, read_message
from ingest.prometheus.question import Interrupted, Question
from ingest.storage.pgerrors import QUERY_CANCELED
from ingest.storage.pool import CleanConnection, Pool
from ingest.storage.read import Lane, ReadTransactions
from ingest.storage.selecting import LabelCache
from ingest.storage.turns import Turns

TIMED_OUT = "query timed out in query execution"
OUT_OF_MEMORY = "the query needs more memory than one may have (query.max_samples)"
CONNECTIONS = 2
BESIDE_BYTES = 200 * 1024 * 1024
SAMPLE_BYTES = 24
"""Memory of a worker: so much, and for each sample that a query may read so much."""
PAGES = Path("/proc/self/statm")
"""Of Linux: its first number is the pages of address space, touched or not."""

log = get_logger("api")

KINDS = {
    "query": query.instant,
    "query_range": query.over_range,
    "format_query": query.formatted,
    "parse_query": query.parsed,
    "series": catalogue.series,
    "labels": catalogue.label_names,
    "values": catalogue.label_values,
    "metadata": catalogue.metadata,
    "query_exemplars": catalogue.exemplars,
    "tsdb": catalogue.cardinality,
    "read": remote_read.read,
}


class Worker:
    """Answers questions, one after the other.

    Args:
        settings: of the read side.
        url: of the database.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._transactions = ReadTransactions(
            settings.api.acquire_timeout_seconds, settings.query.timeout_seconds
        )
        self._lane: Lane | None = None
        self._labels = LabelCache()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until there are no more questions."""
        pool: Pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=CONNECTIONS,
            statement_cache_size=self._settings.database.statement_cache_size,
            timeout=self._settings.database.connect_timeout_seconds,
            connection_class=CleanConnection,
            server_settings={"application_name": "promgres api query"},
        )
        self._lane = Lane(pool, Turns(CONNECTIONS))
        about, body = await read_message(reader)
        while True:
            listening = asyncio.create_task(read_message(reader))
            if about["kind"] == "cancel":
                about, body = await listening
                continue
            cancelled = threading.Event()
            answering = asyncio.create_task(self._answer(about, body, cancelled))
            await asyncio.wait([listening, answering], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():  # it is not wanted any more, or our parent is gone
                cancelled.set()
                answering.cancel()
                await asyncio.wait([answering])
            writer.write(answering.result() if not answering.cancelled() else message(CANCELED))
            await writer.drain()
            about, body = await listening

    async def _answer(
        self, about: Mapping[str, Any], body: bytes, cancelled: threading.Event
    ) -> bytes:
        """A message with the answer to one question, or with the error that it ends in."""
        assert self._lane is not None
        question = Question(
            about, body, self._settings, self._transactions, self._lane, self._labels, cancelled
        )
        try:
            async with asyncio.timeout(about["seconds"]):
                answer = await KINDS[about["kind"]](question)
            if len(answer) <= self._settings.api.max_answer_bytes:
                return message({"status": 200, "media": question.media, **question.about()}, answer)
            error: Exception = QueryEnded(
                "execution",
                f"the answer has {len(answer):,} bytes; {self._settings.api.max_answer_bytes:,} at"
                " most are given (api.max_answer_bytes, 64 MiB at most)",
            )
        except (TimeoutError, Interrupted):
            error = QueryEnded("timeout", TIMED_OUT)
        except MemoryError:
            error = QueryEnded("execution", OUT_OF_MEMORY)
        except QueryRefused as refused:
            error = (
                QueryEnded("timeout", TIMED_OUT) if refused.sqlstate == QUERY_CANCELED else refused
            )
        except (PromqlError, PromgresError) as refused:
            error = refused
        except Exception as defect:
            log.exception("a query failed", kind=about["kind"])
            error = defect
        status, error_type, text = documents.words_of(error)
        head = {"status": status, "media": documents.JSON, **question.about()}
        if isinstance(error, Unavailable):
            head["retry_after"] = error.retry_after_seconds
        return message(head, documents.failure(error_type, text))


CANCELED = {"status": 499, "media": documents.JSON}


async def main(connection: socket.socket) -> None:
    """Serve a connection until its other end is closed."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**20)
    try:
        start, _ = await read_message(reader)
        settings = Settings.model_validate(start["settings"])
        _limit_memory(settings.query.max_samples)
        await Worker(settings, start["url"]).serve(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # our parent is gone, or has no more questions


def _limit_memory(max_samples: int) -> None:
    """What a query would take beyond is refused to it, before the machine has none."""
    if not PAGES.exists():
        return
    reserved = int(PAGES.read_text().split()[0]) * resource.getpagesize()
    most = reserved + BESIDE_BYTES + SAMPLE_BYTES * max_samples
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

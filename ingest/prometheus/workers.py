"""Processes that evaluate queries, beside the one that serves: numpy would hold its loop up, and a
query that takes too much memory or too long can be ended with its process.

Every query begins with the one worker that is kept free for that. Whatever takes longer than
`QUICK_SECONDS` is dear: its worker is one of `query.workers` from then on, and another one takes
new queries. Where all of these are dear already the query is ended, and begun again when one is
free: so a cheap query never waits for longer than a moment, whoever asks dear ones. A worker that
dies costs its own query a 503.

"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge, Histogram

from ingest.config import Settings
from ingest.errors import Busy, Unavailable
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.prometheus.messages import message, read_message
from ingest.prometheus.nursery import Child, Nursery
from ingest.storage.turns import Turns

QUICK_SECONDS = 1.0
LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""It is in memory as a whole, on both sides; Prometheus' clients read it as a whole, too."""
CANCEL_SECONDS = 1.0
"""How long a worker may take to let go of a query; then it is killed."""
GRACE_SECONDS = 5.0
"""How much longer than its time a query may take before its worker is killed."""

STAGES = Histogram(
    "promgres_query_stage_seconds",
    "Time of Prometheus queries by stage: parse, select, fetch, evaluate, render.",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120),
    registry=REGISTRY,
)
SAMPLES = CounterMetric(
    "promgres_query_samples", "Samples that Prometheus queries have read.", registry=REGISTRY
)
ENDED = CounterMetric(
    "promgres_query_workers_ended",
    "Worker processes that ended: `died` by themselves, `killed` with a query that would not end.",
    ["reason"],
    registry=REGISTRY,
)
RUNNING = Gauge(
    "promgres_query_workers", "Worker processes of Prometheus queries.", registry=REGISTRY
)

log = get_logger("api")


class Answered(NamedTuple):
    """What a worker made of a question."""

    status: int
    media: str
    body: bytes
    about: Mapping[str, Any]


@dataclass(eq=False)
class _Worker:
    """A process, and the connection to it."""

    child: Child
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, question: Mapping[str, Any], body: bytes) -> Answered:
        """Send a question and wait for its answer.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: the process is gone.
        """
        self.writer.write(message(question, body))
        await self.writer.drain()
        about, body = await read_message(self.reader)
        return Answered(about.pop("status"), about.pop("media"), body, about)


class Workers:
    """The processes; none is started before there is a query.

    Args:
        nursery: makes them.
        start: the first message to each: settings and where the database is.
        most_dear: dear queries at once.
        most_concurrent: queries at once, those that wait for a worker among them. However many one
            caller has, each other one may have a quarter of that.
        wait_seconds: how long one may wait.
        timeout_seconds: how long one may take.
    """

    def __init__(
        self,
        nursery: Nursery,
        start: Mapping[str, Any],
        most_dear: int,
        most_concurrent: int,
        wait_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._nursery = nursery
        self._start = start
        self._most_concurrent = most_concurrent
        self._wait_seconds = wait_seconds
        self._timeout_seconds = timeout_seconds
        self._quick, self._dear = Turns(1), Turns(most_dear)
        self._under_way: Counter[Hashable] = Counter()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._stopped = False

    async def ask(
        self, question: Mapping[str, Any], body: bytes, caller: Hashable, seconds: float
    ) -> Answered:
        """What a worker answers.

        Args:
            caller: who asks: callers have their turns one after the other.
            seconds: how long it may take, `timeout_seconds` at most.

        Raises:
            Busy: too many wait, or for too long.
            Unavailable: its worker died, or had to be killed.
        """
        most, total = self._most_concurrent, self._under_way.total()
        is_spared = self._under_way[caller] < max(1, most // 4) and total < 2 * most
        if total >= most and not is_spared:
            raise Busy("Too many queries are under way (query.max_concurrent)")
        self._under_way[caller] += 1
        try:
            return await self._in_turn(question, body, caller, min(seconds, self._timeout_seconds))
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    async def _in_turn(
        self, question: Mapping[str, Any], body: bytes, caller: Hashable, seconds: float
    ) -> Answered:
        quick = await self._turn(self._quick, caller)
        dear: _Turn | None = None
        try:
            worker = await self._worker()
            asking = asyncio.create_task(worker.ask({**question, "seconds": seconds}, body))
            try:
                done, _ = await asyncio.wait([asking], timeout=QUICK_SECONDS)
                if not done:
                    if not self._dear.take_now():
                        await self._end_query(worker, asking)
                        quick.give()
                        dear = await self._turn(self._dear, caller)
                        worker = await self._worker()
                        asking = asyncio.create_task(
                            worker.ask({**question, "seconds": seconds}, body)
                        )
                    else:
                        dear = _Turn(self._dear)
                    quick.give()
                    await asyncio.wait([asking], timeout=seconds + GRACE_SECONDS)
                if not asking.done():
                    raise Unavailable("the query did not end in its time, and was killed")
                return self._answered(worker, asking)
            finally:
                if not asking.done():
                    await asyncio.shield(self._end_query(worker, asking))
        finally:
            quick.give()
            if dear is not None:
                dear.give()

    def _answered(self, worker: _Worker, asking: asyncio.Task[Answered]) -> Answered:
        try:
            answered = asking.result()
        except (OSError, asyncio.IncompleteReadError):
            self._bury(worker, "died")
            raise Unavailable("the process of this query died; try again") from None
        self._rest(worker)
        return answered

    async def _turn(self, turns: Turns, caller: Hashable) -> _Turn:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turns.take(caller)
        except TimeoutError:
            raise Busy("Timed out waiting for a worker of queries", waited=True) from None
        return _Turn(turns)

    async def _worker(self) -> _Worker:
        """An idle one, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if not worker.reader.at_eof():
                return worker
            self._bury(worker, "died")
        try:
            child = self._nursery.worker()
        except OSError as error:
            raise Unavailable(f"no process for the query: {error.strerror}") from None
        reader, writer = await asyncio.open_connection(sock=child.connection, limit=2**20)
        worker = _Worker(child, reader, writer)
        self._all.add(worker)
        RUNNING.set(len(self._all))
        writer.write(message(self._start))
        return worker

    async def _end_query(self, worker: _Worker, asking: asyncio.Task[Answered]) -> None:
        """Have a worker let go of what it does, or end with it."""
        with suppress(OSError):
            worker.writer.write(message({"kind": "cancel"}))
        await asyncio.wait([asking], timeout=CANCEL_SECONDS)
        if not asking.done():
            asking.cancel()
            self._bury(worker, "killed")
        elif asking.exception() is not None:
            self._bury(worker, "died")
        else:
            self._rest(worker)

    def _rest(self, worker: _Worker) -> None:
        if self._stopped:
            self._bury(worker, None)
        else:
            self._idle.append(worker)

    def _bury(self, worker: _Worker, reason: str | None) -> None:
        if reason:
            ENDED.labels(reason).inc()
            log.warning("a worker of queries ended", reason=reason, pid=worker.child.pid)
        worker.child.kill()
        worker.child.forget()
        worker.writer.close()
        self._all.discard(worker)
        RUNNING.set(len(self._all))

    def close(self) -> None:
        """End every process."""
        self._stopped = True
        for worker in list(self._all):
            self._bury(worker, None)
        self._nursery.close()


def query_workers(settings: Settings, url: str, nursery: Nursery) -> Workers:
    """The processes of a read side. They hear what they need, and no secret but the database's."""
    start = {
        "url": url,
        "settings": {
            "api": {
                "acquire_timeout_seconds": settings.api.acquire_timeout_seconds,
                "max_answer_bytes": min(settings.api.max_answer_bytes, LONGEST_ANSWER_BYTES),
            },
            "database": {
                "statement_cache_size": settings.database.statement_cache_size,
                "connect_timeout_seconds": settings.database.connect_timeout_seconds,
            },
            "query": settings.query.model_dump(mode="json"),
        },
    }
    query = settings.query
    return Workers(
        nursery,
        start,
        query.workers,
        query.max_concurrent,
        query.queue_seconds,
        query.timeout_seconds,
    )


class _Turn:
    """A turn that is given back once."""

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns

    def give(self) -> None:
        if self._turns is not None:
            self._turns.give()
            self._turns = None

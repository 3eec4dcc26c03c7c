"""Many fuzzed requests against a real daemon, and what must hold while and after they come.

- Every request has an answer: 204, 400, 413 or 415, with the counts of 2.0 where it is negotiated.
- Nothing is half written: of a request that is refused whole nothing is stored, of any other not
  more than its answer says; what is untouched is stored to the row.
- The accounts add up, the database holds what they say was written, and memory stays flat.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import psutil

from tests.fuzz.connection import Answer, post, send_all
from tests.fuzz.mutations import MOST_BYTES, Fuzzed, fuzzed
from tests.support.databases import Database, connect
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, Program, free_port, get, wait_until
from tests.support.remote_write import WriteSide

CONNECTIONS = 128
CHUNK = 20_000
LONGEST_BLOCK_SECONDS = 1.0
STATUSES = {204, 400, 413, 415}
PARTLY = b"refused, the others are stored"
SETTINGS = {
    "PROMGRES_RECEIVER__MAX_BODY_BYTES": str(MOST_BYTES),
    "PROMGRES_RECEIVER__MAX_DECOMPRESSED_BYTES": str(1 << 20),
    "PROMGRES_WRITER__MAX_CACHED_SERIES": "10000",
    "PROMGRES_SPOOL__AFTER": "20",
    "PROMGRES_LOG_LEVEL": "warning",
}
"""Of the daemon: small, so that limits are met and memory is flat early. Nothing may be spooled:
what is then written again counts as a duplicate."""

ROWS = """
    WITH fresh AS (
        SELECT series_id, substring(labels::text FROM 'fz[0-9a-f]{16}xx') AS marker
        FROM internal.series WHERE series_id > $1
    ), samples AS (
        SELECT series_id FROM internal.sample WHERE series_id > $1
        UNION ALL SELECT series_id FROM cumsum.sample WHERE series_id > $1
        UNION ALL SELECT series_id FROM geo.sample WHERE series_id > $1
    ), counted AS (
        SELECT series_id, 1 AS samples, 0 AS histograms, 0 AS exemplars FROM samples
        UNION ALL SELECT series_id, 0, 1, 0 FROM internal.histogram WHERE series_id > $1
        UNION ALL SELECT series_id, 0, 0, 1 FROM internal.exemplar WHERE series_id > $1
    )
    SELECT marker, sum(samples)::int, sum(histograms)::int, sum(exemplars)::int
    FROM fresh JOIN counted USING (series_id) WHERE marker IS NOT NULL GROUP BY marker
"""
TOTALS = """
    SELECT (SELECT count(*) FROM internal.sample) + (SELECT count(*) FROM cumsum.sample)
        + (SELECT count(*) FROM geo.sample) + (SELECT count(*) FROM internal.histogram),
        (SELECT count(*) FROM internal.exemplar)
"""


@contextmanager
def quiet_write_side(database: Database) -> Iterator[WriteSide]:
    """A write side that says nothing of refused requests: there will be many."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="promgres-fuzz-") as data_dir:
        env = {**database.environment(), **SETTINGS, "PROMGRES_DATA_DIR": data_dir}
        with Program(PROMGRES, "ingest", env=env | {"PROMGRES_LISTEN": address}) as program:
            wait_until(lambda: get(f"http://{address}/-/ready")[0] == 200, what=program.output)
            yield WriteSide(program, address)
            assert program.stop() == 0, program.output


@dataclass
class Campaign:
    """One run.

    Attributes:
        statuses: answers by status.
        rss_bytes: the daemon's memory after each chunk.
        block_seconds: for which the daemon's loop stood still, as it said after each chunk.
        stored: requests of which something is stored.
    """

    side: WriteSide
    database: Database
    seed: str
    statuses: Counter[int] = field(default_factory=Counter)
    rss_bytes: list[int] = field(default_factory=list)
    block_seconds: list[float] = field(default_factory=list)
    stored: int = 0
    seconds: float = 0.0
    _answers: dict[str, tuple[int, Fuzzed, Answer]] = field(default_factory=dict)
    _newest_id: int = 0

    async def run(
        self,
        bodies: int,
        progress: Callable[[int], None] = lambda _: None,
        connections: int = CONNECTIONS,
    ) -> None:
        """Send so many, over so many connections, and look.

        Raises:
            AssertionError: something does not hold; the seed and the number of the request are in
                it.
        """
        numbers = iter(range(bodies))
        while chunk := list(islice(numbers, CHUNK)):
            started = time.monotonic()
            await send_all(self.side.address, self._requests(chunk), self._answered, connections)
            self.seconds += time.monotonic() - started
            await self._look()
            progress(len(chunk))
        await self._add_up()

    def _requests(self, numbers: list[int]) -> Iterator[tuple[tuple[int, Fuzzed], bytes]]:
        for number in numbers:
            request = fuzzed(self.seed, number)
            yield (number, request), post(request.headers, request.body)

    def _answered(self, sent: tuple[int, Fuzzed], answer: Answer) -> None:
        number, request = sent
        told = f"seed {self.seed}, request {number}: {answer}"
        assert answer.status in STATUSES, told
        is_v2 = "v2.Request" in request.headers["Content-Type"] and answer.status != 415
        assert (answer.written is not None) == is_v2, told
        if request.template is not None:
            assert answer.status == request.template.status, told
        self.statuses[answer.status] += 1
        self._answers[request.marker] = (number, request, answer)

    async def _look(self) -> None:
        """Look at what is stored of the requests since the last look."""
        assert self.side.program.process.poll() is None, self.side.program.output
        wait_until(lambda: Metrics(self.side.address).at_rest, 60, what=self._said)
        assert "spooling" not in self._said, self._said
        self.rss_bytes.append(psutil.Process(self.side.program.pid).memory_info().rss)
        block = Metrics(self.side.address).value("promgres_event_loop_block_seconds")
        self.block_seconds.append(block)
        async with connect(self.database) as connection:
            rows = await connection.fetch(ROWS, self._newest_id)
            self._newest_id = await connection.fetchval(
                "SELECT coalesce(max(series_id), 0) FROM internal.series"
            )
        found = {row[0]: (row[1], row[2], row[3]) for row in rows}
        self.stored += len(found)
        for marker, (number, request, answer) in self._answers.items():
            self._compare(number, request, answer, found.pop(marker, (0, 0, 0)))
        self._answers.clear()

    def _compare(
        self, number: int, request: Fuzzed, answer: Answer, rows: tuple[int, int, int]
    ) -> None:
        told = f"seed {self.seed}, request {number}: {answer}, stored {rows}"
        if request.template is not None:
            assert rows == request.template.rows, told
        elif answer.status != 204 and PARTLY not in answer.text:
            assert rows == (0, 0, 0), told
        if answer.written is not None:
            pairs = zip(rows, answer.written, strict=True)
            assert all(count <= written for count, written in pairs), told

    @property
    def _said(self) -> str:
        """What the daemon warned of."""
        return self.side.program.output[-4000:]

    async def _add_up(self) -> None:
        metrics = Metrics(self.side.address)
        metrics.assert_balanced()
        async with connect(self.database) as connection:
            samples, exemplars = await connection.fetchrow(TOTALS)  # type: ignore[misc]
        written = metrics.samples("written"), _exemplars(metrics, "written")
        assert written == (samples, exemplars), (
            f"written {written}: {samples}, {exemplars}; {self._said}"
        )
        assert metrics.samples("unavailable") == 0, self._said
        parts = {each: _exemplars(metrics, each) for each in ("duplicate", "rejected", "dropped")}
        received = _exemplars(metrics, "received")
        assert received == exemplars + sum(parts.values()), f"{received}: {exemplars}, {parts}"

    def assert_flat(self) -> None:
        """The daemon's memory has not grown since the first fifth of the run."""
        early = self.rss_bytes[len(self.rss_bytes) // 5]
        late = max(self.rss_bytes[-3:])
        assert late <= early * 1.15 + (16 << 20), self.rss_bytes

    def assert_responsive(self) -> None:
        """No request took the daemon's loop for itself."""
        assert max(self.block_seconds) < LONGEST_BLOCK_SECONDS, self.block_seconds


def _exemplars(metrics: Metrics, result: str) -> int:
    return int(metrics.value("promgres_exemplars_total", tenant="default", result=result))

"""Senders that remember what they sent and what they were told, to the sample.

Every request has a timestamp of its own, so that the database can be asked for what became of it.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random
from urllib.parse import urlsplit

from ingest.load.requests import RequestTemplate
from ingest.wire.pb import remote_write_v1_pb2 as pb
from tests.support.databases import Database, blocking, connect
from tests.support.processes import wait_until
from tests.support.remote_write import HEADERS, snappy

TARGETS = {"internal": "crowd", "cumsum": "web_requests"}
"""Metric by target: every request has samples of both."""
STEP_MS = 1000
LATEST_ANSWER_SECONDS = 30.0
TRY_AGAIN_SECONDS = 0.05
PACE_SECONDS = 0.0 if "PROMGRES_FAULT_ROUNDS" in os.environ else 0.1
"""After an acknowledged request. Short forms leave the processors to the tests beside them."""
NEW_SERIES_EVERY = 20
HOURS_MS = 6 * 3_600_000
TOGETHER, SPANS = 25, 28
"""Timestamps of one crowd: so many requests a second apart, so many in the next six hours, and so
on through a week; then from its beginning again. So they come to hours that are open, are being
closed, have long been packed."""
_crowds = count()


@dataclass
class Request:
    """One request: by target, how many samples, and the sum of their values."""

    timestamp_ms: int
    expected: dict[str, tuple[int, float]]
    body: bytes
    statuses: list[int] = field(default_factory=list)

    @property
    def is_acknowledged(self) -> bool:
        """Whether the sender was told that it is safe."""
        return bool(self.statuses) and self.statuses[-1] == 204


class Crowd:
    """Senders in threads. Use it as a context manager: at its end all of them have ended.

    Args:
        url: of the write side.
        seed: decides sizes, and which requests are given up.
        samples: about so many a request.
        gives_up: how often a request without a good answer is not sent again.
    """

    def __init__(
        self, url: str, seed: int, senders: int = 4, samples: int = 500, gives_up: float = 0.2
    ) -> None:
        self.requests: list[Request] = []
        self.slowest_seconds = 0.0
        self._url = urlsplit(url)
        self._gives_up = gives_up
        self._samples = samples
        self._start_ms, self._number = _start_ms(), count()
        self._series = count(0)
        self._lock = threading.Lock()
        self._may_go, self._going = threading.Condition(self._lock), False
        self._ended = threading.Event()
        self._busy = senders
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guard, args=(Random(seed * 1000 + number),), daemon=True)
            for number in range(senders)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        self.go()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.go()
        for thread in self._threads:
            thread.join(60)

    @property
    def acknowledged(self) -> int:
        """Requests that were acknowledged."""
        with self._lock:
            return sum(request.is_acknowledged for request in self.requests)

    @property
    def statuses(self) -> Counter[int]:
        """All answers by status; 0 is none."""
        with self._lock:
            return Counter(status for request in self.requests for status in request.statuses)

    def go(self) -> None:
        """Let everybody send."""
        with self._may_go:
            self._going = True
            self._may_go.notify_all()

    def pause(self) -> None:
        """Return when nobody has a request under way, or will have: who has not yet woken since
        `go` goes on resting."""
        with self._may_go:
            self._going = False
        wait_until(lambda: self._busy == 0, LATEST_ANSWER_SECONDS * 3, "senders are at rest")
        self.check()

    def wait_for_acknowledged(self, requests: int, seconds: float = 60) -> None:
        """Return when so many more are acknowledged."""
        goal = self.acknowledged + requests
        wait_until(lambda: self.acknowledged >= goal or self._errors, seconds, "acknowledgements")
        self.check()

    def check(self) -> None:
        """A sender that failed fails the test."""
        for error in self._errors:
            raise error

    def _guard(self, random: Random) -> None:
        try:
            self._send_until_ended(random)
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._lock:
                self._busy -= 1

    def _send_until_ended(self, random: Random) -> None:
        templates: dict[str, RequestTemplate] = {}
        for number in count():
            self._rest_if_told()
            if self._ended.is_set():
                return
            if number % NEW_SERIES_EVERY == 0:
                templates = {
                    target: RequestTemplate(next(self._series) * 100_000, size, metric)
                    for (target, metric), size in zip(
                        TARGETS.items(), (random.randint(1, 2 * self._samples), 10), strict=True
                    )
                }
                expected = {target: _shape(template) for target, template in templates.items()}
            self._send(self._request(templates, expected), random)

    def _rest_if_told(self) -> None:
        with self._may_go:
            self._busy -= 1
            self._may_go.wait_for(lambda: self._going)
            self._busy += 1

    def _request(
        self, templates: dict[str, RequestTemplate], shapes: dict[str, tuple[int, int]]
    ) -> Request:
        with self._lock:
            timestamp_ms = self._start_ms + _offset_ms(next(self._number))
        body = snappy(b"".join(each.payload(timestamp_ms) for each in templates.values()))
        expected = {
            target: (samples, sum(range(valued)) + valued * (timestamp_ms % 1_000_003) / 8)
            for target, (samples, valued) in shapes.items()
        }
        request = Request(timestamp_ms, expected, body)
        with self._lock:
            self.requests.append(request)
        return request

    def _send(self, request: Request, random: Random) -> None:
        """Until it is acknowledged, or given up."""
        while not self._ended.is_set():
            status = self._post(request.body)
            assert status in (0, 204, 503), status
            request.statuses.append(status)
            if status == 204:
                self._ended.wait(PACE_SECONDS)
                return
            if random.random() < self._gives_up:
                return
            self._ended.wait(TRY_AGAIN_SECONDS)

    def _post(self, body: bytes) -> int:
        assert self._url.hostname
        began = time.monotonic()
        connection = http.client.HTTPConnection(
            self._url.hostname, self._url.port, timeout=LATEST_ANSWER_SECONDS
        )
        try:
            connection.request("POST", self._url.path, body, dict(HEADERS))
            answer = connection.getresponse()
            answer.read()
            assert answer.status != 503 or answer.getheader("Retry-After"), "503 says when"
        except TimeoutError:
            raise AssertionError(f"no answer in {LATEST_ANSWER_SECONDS} s") from None
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        return answer.status


def _start_ms() -> int:
    """Where the timestamps of the next crowd begin: a week before those of the last one."""
    day_ms = 86_400_000
    today_ms = time.time_ns() // 1_000_000 // day_ms * day_ms
    return today_ms - 2 * day_ms - (1 + next(_crowds)) * SPANS * HOURS_MS


def _offset_ms(number: int) -> int:
    """Of which moment of its week a request is."""
    group, place = divmod(number, TOGETHER)
    again, span = divmod(group, SPANS)
    return span * HOURS_MS + (again * TOGETHER + place) * STEP_MS


def _shape(template: RequestTemplate) -> tuple[int, int]:
    """How many samples, and how many of them have a value that is not 0."""
    message = pb.WriteRequest.FromString(template.payload(1_700_000_000_001))
    return template.samples, sum(series.samples[0].value != 0 for series in message.timeseries)


def assert_stored(database: Database, requests: list[Request], since: int = 0) -> None:
    """Every acknowledged request, from number `since` on, is stored whole and exactly; of the
    others, whole or in part.

    Nothing else is stored in the period of these requests.
    """
    others, requests = requests[:since], requests[since:]
    for target, metric in TARGETS.items():
        stored = blocking(_stored(database, target, metric, requests))
        for request in others:
            stored.pop(request.timestamp_ms, None)
        for request in requests:
            samples, total = request.expected[target]
            found = stored.pop(request.timestamp_ms, (0, 0.0))
            if request.is_acknowledged:
                assert found == (samples, total), f"{target} {request.timestamp_ms}: {found}"
            else:
                assert found[0] <= samples
        assert not stored, f"nobody sent {stored}"


async def _stored(
    database: Database, target: str, metric: str, requests: list[Request]
) -> dict[int, tuple[int, float]]:
    moments = [request.timestamp_ms for request in requests] or [0]
    async with connect(database) as connection:
        await connection.execute("SET statement_timeout = 0")  # a test may have set one for all
        rows = await connection.fetch(
            "SELECT (extract(epoch FROM time) * 1000)::bigint AS moment, count(*), sum(value)"
            f" FROM {target}.sample JOIN internal.series USING (series_id)"
            " WHERE name = $1 AND time BETWEEN to_timestamp($2::float8 / 1000)"
            " AND to_timestamp($3::float8 / 1000) GROUP BY 1",
            metric,
            min(moments),
            max(moments),
        )
    return {row["moment"]: (row["count"], row["sum"]) for row in rows}

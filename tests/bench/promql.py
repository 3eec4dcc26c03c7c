"""PromQL beside Debian's Prometheus, the same samples in both, the same question of both in turns.

Times are those of a whole request, the shortest of many; evaluation alone is what each says of
itself (`stats`): ours has all samples in memory by then, Prometheus reads its chunks in it. CPU is
that of all processes of each, which other work on the machine does not change as much.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import asyncpg
import numpy as np
import psutil

from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.support.messages import payload
from tests.support.processes import cpu_seconds
from tests.support.prometheus_receiver import prometheus_receiver
from tests.support.remote_write import send, snappy
from tests.support.stack import running_stack

ROUNDS = 15
HOUR_MS = 3_600_000
STEP_MS = 15_000


class Best(NamedTuple):
    """Of one server and question, in seconds: shortest request and evaluation, CPU on average."""

    request: float
    evaluation: float
    cpu: float


class Asked(NamedTuple):
    """A question: an instant one at the end, or over a range before it. `theirs`: whether Debian's
    Prometheus can answer it."""

    query: str
    range_s: int = 0
    step_s: int = 0
    theirs: bool = True


QUESTIONS = {
    "rate": Asked("sum by (path) (rate(http_requests_total[5m]))", 3600, 15),
    "instant": Asked("sum by (zone) (room_celsius)"),
    "day": Asked("sum by (path) (rate(daily_total[5m]))", 86_400, 60),
    "native": Asked("histogram_quantile(0.9, rate(took_seconds[5m]))", 3600, 15, theirs=False),
}
"""1,000 series of an hour at 15 s, 10,000 series, 100 series of a day at a minute, 100 native
histograms of an hour at 15 s."""


def run() -> dict[str, float]:
    """For each question the time of both, and ours in theirs; nothing without Prometheus."""
    if not shutil.which("prometheus"):
        return {}
    now_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000
    with running_stack() as stack, prometheus_receiver() as theirs:
        for messages in _samples(now_ms):
            body = snappy(payload(*messages))
            for url in (stack.write_url, theirs):
                answer = send(url, body)
                assert answer.status == 204, answer.text
        asyncio.run(_settle(stack.database_url))
        ends = {"day": now_ms - HOUR_MS}
        ours_at, theirs_at = (
            stack.read_url.removesuffix("/rpc/"),
            theirs.removesuffix("/api/v1/write"),
        )
        figures: dict[str, float] = {}
        for name, asked in QUESTIONS.items():
            sides = [ours_at, theirs_at] if asked.theirs else [ours_at]
            roots = [stack.program.pid, None][: len(sides)]
            best = _measure(asked, sides, roots, ends.get(name, now_ms) // 1000)
            figures |= _figures(name, best)
        return figures


async def _settle(database_url: str) -> None:
    """What autovacuum does within a minute."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _figures(name: str, best: Sequence[Best]) -> dict[str, float]:
    ours = best[0]
    found = {
        f"promql_{name}_ms": 1000 * ours.request,
        f"promql_{name}_evaluation_ms": 1000 * ours.evaluation,
        f"promql_{name}_cpu_ms": 1000 * ours.cpu,
    }
    for theirs in best[1:]:
        found[f"promql_{name}_to_prometheus_ratio"] = ours.request / theirs.request
        found[f"promql_{name}_evaluation_to_prometheus_ratio"] = ours.evaluation / theirs.evaluation
        found[f"promql_{name}_cpu_to_prometheus_ratio"] = ours.cpu / theirs.cpu
    return found


def _measure(
    asked: Asked, urls: Sequence[str], roots: Sequence[int | None], end_s: int
) -> list[Best]:
    """Ask each server in turns.

    Args:
        roots: the process that is a server with all below it; None: the Prometheus that we started.
    """
    form: dict[str, object] = {"query": asked.query, "stats": "all", "time": end_s}
    path = "/api/v1/query"
    if asked.range_s:
        path += "_range"
        form |= {"start": end_s - asked.range_s, "end": end_s, "step": asked.step_s}
    connections = [http.client.HTTPConnection(urlsplit(url).netloc) for url in urls]
    best = [Best(float("inf"), float("inf"), 0.0)] * len(urls)
    answers: list[list[str]] = [[] for _ in urls]
    for turn in range(ROUNDS + 1):
        for at, connection in enumerate(connections):
            before, began = _cpu_seconds(roots[at]), time.perf_counter()
            connection.request("GET", f"{path}?{urlencode(form)}")
            document = json.loads(connection.getresponse().read())
            seconds = time.perf_counter() - began
            cpu = (_cpu_seconds(roots[at]) - before) / ROUNDS if turn else 0.0  # the first warms up
            evaluation = document["data"]["stats"]["timings"]["innerEvalTime"]
            old = best[at]
            best[at] = Best(
                min(old.request, seconds), min(old.evaluation, evaluation), old.cpu + cpu
            )
            answers[at] = sorted(str(one["metric"]) for one in document["data"]["result"])
    assert answers[0], asked
    assert all(answer == answers[0] for answer in answers), asked
    return best


def _cpu_seconds(root: int | None) -> float:
    """What the processes of a server have used so far."""
    if root is None:
        processes = [one for one in psutil.Process().children() if one.name() == "prometheus"]
    else:
        processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    return cpu_seconds(*processes)


def _samples(now_ms: int) -> Iterator[list[v1.TimeSeries]]:
    """Requests in order of time: of the day that ended an hour ago, then of the last hour."""
    rng = np.random.default_rng(0)

    def counters(
        name: str, series: int, times: Sequence[int]
    ) -> Callable[[int, int], list[v1.TimeSeries]]:
        values = np.cumsum(rng.integers(0, 50, (series, len(times))), axis=1).astype(float)
        return lambda first, last: [
            _series(
                {"__name__": name, "instance": f"host-{at // 10}:9100", "path": f"/p{at % 10}"},
                times[first:last], values[at, first:last].tolist(),
            )
            for at in range(series)
        ]  # fmt: skip

    day = range(now_ms - 25 * HOUR_MS, now_ms - HOUR_MS + 1, 60_000)
    daily = counters("daily_total", 100, day)
    for first in range(0, len(day), 100):
        yield daily(first, first + 100)
    hour = range(now_ms - HOUR_MS + STEP_MS, now_ms + 1, STEP_MS)
    hourly = counters("http_requests_total", 1000, hour)
    for first in range(0, len(hour), 20):
        yield hourly(first, first + 20) + _histograms(hour, first, first + 20)
    for first in range(0, 10_000, 2000):
        yield [
            _series(
                {"__name__": "room_celsius", "room": f"r{at}", "zone": f"z{at % 20}"},
                hour[-4:], (20 + rng.random(4)).tolist(),
            )
            for at in range(first, first + 2000)
        ]  # fmt: skip


def _series(labels: dict[str, str], times: Sequence[int], values: Sequence[float]) -> v1.TimeSeries:
    return v1.TimeSeries(
        labels=[v1.Label(name=name, value=value) for name, value in sorted(labels.items())],
        samples=[
            v1.Sample(timestamp=at, value=value) for at, value in zip(times, values, strict=True)
        ],
    )


def _histograms(times: Sequence[int], first: int, last: int) -> list[v1.TimeSeries]:
    """A hundred series of native histograms with twenty buckets."""
    found = []
    for at in range(100):
        message = _series({"__name__": "took_seconds", "instance": f"host-{at}:9100"}, (), ())
        for step in range(first, min(last, len(times))):
            counts = [float((step + 1) * (1 + (bucket * 7 + at) % 5)) for bucket in range(20)]
            histogram = v2.Histogram(
                count_float=sum(counts), sum=sum(counts) / 2, schema=3, zero_threshold=1e-128,
                zero_count_float=0, positive_spans=[v2.BucketSpan(offset=-10, length=20)],
                positive_counts=counts, timestamp=times[step],
            )  # fmt: skip
            message.histograms.add().ParseFromString(histogram.SerializeToString())
        found.append(message)
    return found

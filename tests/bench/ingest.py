"""HTTP in to committed, beside a raw COPY of the same rows in the same run."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import asyncpg
import numpy as np

from ingest.load.report import Report
from ingest.load.requests import RequestTemplate
from ingest.load.sender import Load, Senders
from tests.bench import raw
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

REPETITIONS = 6
SECONDS = float(os.environ.get("BENCH_INGEST_SECONDS", "3"))
SENDERS = 8
SERIES = 16_000  # 2,000 a request for each of 8 senders, as Prometheus sends by default
OTHER_SERIES = 8000
NEW_SERIES = 40_000
LONE_REQUESTS = 200
LONE_SAMPLES = 10


def run() -> dict[str, float]:
    """Ratios of ingest to raw COPY for known and for new series, of 2.0 to 1.0, histograms and
    exemplars a second, and the lone request."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        await raw.create_table(connection)
        figures = await _known(stack, connection)
        figures |= await _other_kinds(stack)
        figures |= await _new(stack, connection)
        figures |= await _lone(stack, connection)
    finally:
        await connection.close()
    return figures


async def _send(stack: Stack, **load: Any) -> Report:
    report = await Senders(Load(stack.write_url, **load)).run()
    assert report.acknowledged == report.sent, report.last_error
    return report


async def _meet(stack: Stack, **load: Any) -> None:
    """Send each series twice: it is known from then on."""
    await _send(stack, senders=SENDERS, rounds=2, duration_seconds=60, **load)


async def _known(stack: Stack, connection: asyncpg.Connection) -> dict[str, float]:
    """Known series by one sender and by eight, and by eight with protocol 2, in turns."""
    loads = {
        "one": {"senders": 1},
        "eight": {"senders": SENDERS},
        "eight_v2": {"senders": SENDERS, "protocol": 2},
    }
    rates: dict[str, list[float]] = {name: [] for name in ("raw", *loads)}
    for protocol in (1, 2):
        await _meet(stack, series=SERIES, protocol=protocol)
    for repetition in range(REPETITIONS):
        now_ms = time.time_ns() // 1_000_000
        rates["raw"].append(await raw.copy_for(connection, SERIES, SECONDS, now_ms))
        # Who comes later meets what the others left to clean up: everybody does, in turns.
        for name in list(loads)[:: 1 if repetition % 2 else -1]:
            report = await _send(stack, series=SERIES, duration_seconds=SECONDS, **loads[name])
            rates[name].append(report.rate)
    middle = {name: statistics.median(measured) for name, measured in rates.items()}
    return {
        "raw_copy_rows_per_second": middle["raw"],
        "raw_copy_noise_ratio": max(rates["raw"]) / min(rates["raw"]),
        "ingest_samples_per_second": middle["eight"],
        "ingest_known_ratio": _ratio(rates["eight"], rates["raw"]),
        "ingest_known_one_sender_ratio": _ratio(rates["one"], rates["raw"]),
        "ingest_v2_samples_per_second": middle["eight_v2"],
        "ingest_v2_ratio": _ratio(rates["eight_v2"], rates["eight"]),
    }


def _ratio(rates: list[float], others: list[float]) -> float:
    """Of neighbours in time: what else the machine does changes from minute to minute."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


async def _other_kinds(stack: Stack) -> dict[str, float]:
    """Native histograms alone, and exemplars, each of which comes with a sample."""
    histograms = {"series": 0, "histograms": OTHER_SERIES, "metric": "bench_histograms"}
    exemplars = {"series": OTHER_SERIES, "exemplars": 1, "metric": "bench_exemplars"}
    figures: dict[str, float] = {}
    for kind, load in (("histograms", histograms), ("exemplars", exemplars)):
        for protocol, name in ((1, f"{kind}_v1_per_second"), (2, f"{kind}_per_second")):
            await _meet(stack, protocol=protocol, **load)
            report = await _send(
                stack, duration_seconds=SECONDS, protocol=protocol, senders=SENDERS, **load
            )
            figures[name] = report.per_second(getattr(report.acknowledged, kind))
    return figures


async def _new(stack: Stack, connection: asyncpg.Connection) -> dict[str, float]:
    ratios, rates = [], []
    for repetition in range(REPETITIONS):
        metric = f"new_series_{repetition}"
        templates = [RequestTemplate(first, 2000, metric) for first in range(0, NEW_SERIES, 2000)]
        now_ms = time.time_ns() // 1_000_000
        rows = raw.rows_of_rounds(NEW_SERIES, now_ms, 1)
        rows.series_id += (repetition + 1) * 10 * NEW_SERIES
        raw_seconds = await raw.copy_once(connection, rows)
        bodies = [template.body(now_ms) for template in templates]
        started = time.perf_counter()
        answers = await asyncio.gather(
            *[asyncio.to_thread(send, stack.write_url, body) for body in bodies]
        )
        seconds = time.perf_counter() - started
        assert {answer.status for answer in answers} == {204}, answers[0]
        rates.append(NEW_SERIES / seconds)
        ratios.append(raw_seconds / seconds)
    return {
        "new_series_per_second": statistics.median(rates),
        "ingest_new_series_ratio": statistics.median(ratios),
    }


async def _lone(stack: Stack, connection: asyncpg.Connection) -> dict[str, float]:
    """Requests one at a time on an idle system, and a bare COPY of the same between them."""
    template = RequestTemplate(0, LONE_SAMPLES, "lone_request")
    requests, copies = [], []
    for number in range(LONE_REQUESTS):
        now_ms = time.time_ns() // 1_000_000
        body = template.body(now_ms)
        started = time.perf_counter()
        answer = await asyncio.to_thread(send, stack.write_url, body)
        requests.append(time.perf_counter() - started)
        assert answer.status == 204, answer
        rows = raw.rows_of_rounds(LONE_SAMPLES, now_ms, 1)
        rows.series_id += 1_000_000_000 + number * LONE_SAMPLES
        copies.append(await raw.copy_once(connection, rows))
    request_ms, copy_ms = (float(np.percentile(times, 99)) * 1000 for times in (requests, copies))
    return {
        "lone_request_p99_ms": request_ms,
        "lone_copy_p99_ms": copy_ms,
        "lone_request_median_ms": statistics.median(requests) * 1000,
    }

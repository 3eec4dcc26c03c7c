"""The same load into Prometheus' own remote-write receiver, beside ours, in turns."""

from __future__ import annotations

import asyncio
import shutil
import statistics

from ingest.load.sender import Load, Senders
from tests.support.prometheus_receiver import prometheus_receiver
from tests.support.stack import running_stack

REPETITIONS = 3
SECONDS = 4.0
SERIES = 16_000
SENDERS = 8


def run() -> dict[str, float]:
    """Samples a second of both, and their ratio; nothing where Prometheus is not installed."""
    if not shutil.which("prometheus"):
        return {}
    with running_stack() as stack, prometheus_receiver() as prometheus_url:
        ours, theirs = [], []
        for url in (stack.write_url, prometheus_url):
            _rate(url, 1.0)
        for _ in range(REPETITIONS):
            ours.append(_rate(stack.write_url, SECONDS))
            theirs.append(_rate(prometheus_url, SECONDS))
    return {
        "prometheus_receiver_samples_per_second": statistics.median(theirs),
        "ingest_to_prometheus_receiver_ratio": statistics.median(ours) / statistics.median(theirs),
    }


def _rate(url: str, seconds: float) -> float:
    load = Load(url, series=SERIES, senders=SENDERS, duration_seconds=seconds)
    report = asyncio.run(Senders(load).run())
    assert report.acknowledged, report.last_error
    return report.rate

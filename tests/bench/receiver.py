"""The same load into Prometheus' own remote-write receiver, beside ours, in turns."""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from ingest.load.sender import Load, Senders
from tests.support.processes import Program, free_port, get, public_directory, wait_until
from tests.support.stack import running_stack

REPETITIONS = 3
SECONDS = 5.0
SERIES = 10_000
SENDERS = 8


def run() -> dict[str, float]:
    """Samples a second of both, and their ratio; nothing where Prometheus is not installed."""
    if not shutil.which("prometheus"):
        return {}
    with running_stack() as stack, _prometheus() as prometheus_url:
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


@contextmanager
def _prometheus() -> Iterator[str]:
    port = free_port()
    with public_directory() as directory:
        (directory / "prometheus.yml").write_text("scrape_configs: []\n")
        command = (
            "prometheus",
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
        )
        with Program(*command) as program:
            wait_until(lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200)
            yield f"http://127.0.0.1:{port}/api/v1/write"
            program.stop()

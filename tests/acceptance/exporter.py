"""A target that offers what Prometheus scrapes: a native histogram, exemplars, metadata.

Text (OpenMetrics) for whoever asks for text, protobuf (`io.prometheus.client.MetricFamily`, each
with its length before it) for who asks for native histograms: only there they exist.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from tests.support.series_bytes import field, varint

PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = 0, 1, 4
SCHEMA, PER_SCRAPE = 3, 6
"""Of the histogram: its resolution, and how many observations come with every scrape."""


class Exporter:
    """What the target says; every scrape counts on.

    Attributes:
        address: HOST:PORT.
        scrapes: how often it was asked for protobuf.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.scrapes = 0
        self._lock = threading.Lock()

    def answer(self, accept: str) -> tuple[str, bytes]:
        """Content type and body."""
        with self._lock:
            if "vnd.google.protobuf" not in accept:
                return OPEN_METRICS, _text(self.scrapes).encode()
            self.scrapes += 1
            return PROTOBUF, _protobuf(self.scrapes)


@contextmanager
def exporter() -> Iterator[Exporter]:
    """A target that runs."""

    class Handler(BaseHTTPRequestHandler):
        target: ClassVar[Exporter]

        def do_GET(self) -> None:
            kind, body = self.target.answer(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.target = Exporter(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Handler.target
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text(number: int) -> str:
    trace = f'# {{trace_id="text{number}"}} 0.5 {time.time():.3f}'
    return "\n".join(
        [
            "# HELP demo_requests Requests served.",
            "# TYPE demo_requests counter",
            f"demo_requests_total {number} {trace}",
            "# HELP demo_temperature How warm it is.",
            "# TYPE demo_temperature gauge",
            f"demo_temperature {20 + number % 5}.5",
            "# EOF",
            "",
        ]
    )


def _protobuf(number: int) -> bytes:
    requests = field(3, _double(1, number) + field(2, _exemplar(f"counter{number}", 1.0)))
    temperature = field(2, _double(1, 20.5 + number % 5))
    families = [
        _family("demo_requests_total", "Requests served.", COUNTER, requests),
        _family("demo_temperature", "How warm it is.", GAUGE, temperature),
        _family("demo_seconds", "How long it takes.", HISTOGRAM, _histogram(number)),
    ]
    return b"".join(varint(len(family)) + family for family in families)


def _family(name: str, text: str, kind: int, metric: bytes) -> bytes:
    return (
        field(1, name.encode()) + field(2, text.encode()) + b"\x18" + varint(kind)
        + field(4, metric)
    )  # fmt: skip


def _histogram(number: int) -> bytes:
    """Each scrape adds 1 to the zero bucket, 2 and 3 to others; a classic one has an exemplar."""
    bucket = (
        b"\x08" + varint(3 * number) + _double(2, 1.0)
        + field(3, _exemplar(f"bucket{number}", 0.7))
    )  # fmt: skip
    return field(
        7,
        b"\x08" + varint(PER_SCRAPE * number)
        + _double(2, 5.5 * number)
        + field(3, bucket)
        + b"\x28" + varint(_zigzag(SCHEMA))
        + _double(6, 0.001)
        + b"\x38" + varint(number)
        + field(12, b"\x08" + varint(_zigzag(-4)) + b"\x10\x01")
        + field(12, b"\x08" + varint(_zigzag(7)) + b"\x10\x01")
        + b"\x68" + varint(_zigzag(2 * number))
        + b"\x68" + varint(_zigzag(number)),
    )  # fmt: skip


def _exemplar(trace: str, value: float) -> bytes:
    now = time.time_ns()
    moment = b"\x08" + varint(now // 10**9) + b"\x10" + varint(now % 10**9)
    label = field(1, b"trace_id") + field(2, trace.encode())
    return field(1, label) + _double(2, value) + field(3, moment)


def _double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1

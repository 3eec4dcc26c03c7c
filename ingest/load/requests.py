"""Synthetic remote-write 1.0 requests, cheap enough not to be what a benchmark measures.

A request is a template of bytes made once; only time stamps and values are written into it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import cramjam
import numpy as np
import numpy.typing as npt

from ingest.wire.pb import remote_write_v1_pb2 as pb

ZERO_SHARE = 0.4
"""Share of zero values in recorded real requests (0.41)."""

_VALUE_TAG = b"\x09"
_TIMESTAMP_TAG = b"\x10"
_TIMESTAMP_BYTES = 6  # varints of milliseconds from 1971 to 2109
_LABELS = (
    ("cluster", "eu-1"), ("environment", "production"), ("handler", "/api/v1/write"),
    ("job", "promgres-load"), ("namespace", "monitoring"), ("pod", "load-7c9f-x2x4"),
    ("region", "europe-central"), ("service", "synthetic"),
)  # fmt: skip


class RequestTemplate:
    """One sample of each series a request, 10 labels a series.

    Args:
        first: number of the first series.
        series: how many.
        metric: metric name.
        zero_share: share of series whose value is always 0, which encoders leave out.
    """

    def __init__(
        self, first: int, series: int, metric: str = "promgres_load", zero_share: float = ZERO_SHARE
    ) -> None:
        self.samples = series
        random = np.random.default_rng(first)
        zero = random.random(series) < zero_share
        pieces: list[bytes] = []
        value_at: list[int] = []
        timestamp_at: list[int] = []
        offset = 0
        for number in range(series):
            body = series_bytes(metric, first + number)
            value = b"" if zero[number] else _VALUE_TAG + bytes(8)
            sample = value + _TIMESTAMP_TAG + bytes(_TIMESTAMP_BYTES)
            body += b"\x12" + _varint(len(sample)) + sample
            framed = b"\x0a" + _varint(len(body)) + body
            offset += len(framed)
            timestamp_at.append(offset - _TIMESTAMP_BYTES)
            if not zero[number]:
                value_at.append(offset - _TIMESTAMP_BYTES - 1 - 8)
            pieces.append(framed)
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8).copy()
        self._value_at = _spread(value_at, 8)
        self._timestamp_at = _spread(timestamp_at, _TIMESTAMP_BYTES)

    def payload(self, timestamp_ms: int) -> bytes:
        """The protobuf message with every sample at this time, values that change with it."""
        values = np.arange(len(self._value_at), dtype=np.float64) + (timestamp_ms % 1_000_003) / 8
        self._bytes[self._value_at] = values.view(np.uint8).reshape(-1, 8)
        stamp = np.frombuffer(_varint(timestamp_ms), np.uint8)
        self._bytes[self._timestamp_at] = stamp
        return self._bytes.tobytes()

    def body(self, timestamp_ms: int) -> bytes:
        """The same, as a snappy block."""
        return bytes(cramjam.snappy.compress_raw(self.payload(timestamp_ms)))


def series_bytes(metric: str, number: int) -> bytes:
    """The labels of a synthetic series, as the start of its TimeSeries message."""
    labels = [("__name__", metric), *_LABELS, ("series", f"{number:08d}")]
    return pb.TimeSeries(
        labels=[pb.Label(name=name, value=value) for name, value in labels]
    ).SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + struct.pack("B", number)


def _spread(offsets: Sequence[int], width: int) -> npt.NDArray[np.int64]:
    """Indexes of `width` bytes at each offset, shape (offsets, width)."""
    return np.array(offsets, np.int64).reshape(-1, 1) + np.arange(width)

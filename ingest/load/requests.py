"""Synthetic requests of samples, cheap enough not to be what a benchmark measures.

A request is a template of bytes made once; only timestamps and values are written into it. Both
protocols carry the same series, samples and exemplars at the same timestamps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import snappy

from ingest.load.amounts import Amounts
from ingest.load.drafts import Blank, Bytes, Form, varint
from ingest.load.shapes import About, LabelPairs, ProtocolVersion, Version1, shape_of
from ingest.wire.pb import remote_write_v2_pb2 as pb2

ZERO_SHARE = 0.4
"""Share of zero values in recorded real requests (0.41)."""

_ABOUT = About(pb2.Metadata.METRIC_TYPE_GAUGE, "Synthetic samples of promgres load.", "")
_LABELS = (
    ("cluster", "eu-1"), ("environment", "production"), ("handler", "/api/v1/write"),
    ("job", "promgres-load"), ("namespace", "monitoring"), ("pod", "load-7c9f-x2x4"),
    ("region", "europe-central"), ("service", "synthetic"),
)  # fmt: skip
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


class RequestTemplate:
    """One sample of each series a request, 10 labels a series.

    Args:
        first: number of the first series.
        series: how many.
        metric: metric name.
        zero_share: share of series whose value is always 0, which encoders leave out.
        protocol: 1 or 2.
        exemplar_share: share of series whose every sample comes with an exemplar.
    """

    def __init__(
        self,
        first: int,
        series: int,
        metric: str = "promgres_load",
        zero_share: float = ZERO_SHARE,
        protocol: ProtocolVersion = 1,
        exemplar_share: float = 0.0,
    ) -> None:
        numbers = range(first, first + series)
        exemplars = [_has_exemplar(number, exemplar_share) for number in numbers]
        zeros = np.random.default_rng(first).random(series) < zero_share
        shape = shape_of(protocol)
        drafts = [
            shape.sampled(labels_of(metric, number), _ABOUT, zero=bool(zero), exemplar=exemplar)
            for number, zero, exemplar in zip(numbers, zeros, exemplars, strict=True)
        ]
        self._form = Form([shape.head(), *drafts])
        self._traced = first + np.flatnonzero(exemplars)
        self.amounts = Amounts(samples=series, exemplars=len(self._traced))

    @property
    def samples(self) -> int:
        """Samples of a request."""
        return self.amounts.samples

    def payload(self, timestamp_ms: int) -> bytes:
        """The protobuf message with every sample at this time, values that change with it."""
        form = self._form
        values = np.arange(form.count(Blank.VALUE), dtype=np.float64)
        form.fill_doubles(Blank.VALUE, values + (timestamp_ms % 1_000_003) / 8)
        form.fill(Blank.TIMESTAMP, np.frombuffer(varint(timestamp_ms), np.uint8))
        if len(self._traced):
            high, low = _scrambled(self._traced, timestamp_ms)
            form.fill(Blank.TRACE_ID, _hexadecimal(high, low))
            form.fill_doubles(Blank.OBSERVED, (low >> np.uint64(11)) / 2.0**53)
        return form.message()

    def body(self, timestamp_ms: int) -> bytes:
        """The same, as a snappy block."""
        return bytes(snappy.compress(self.payload(timestamp_ms)))


def labels_of(metric: str, number: int) -> LabelPairs:
    """The labels of a synthetic series, sorted by name as senders must."""
    return sorted([("__name__", metric), *_LABELS, ("series", f"{number:08d}")])


def series_bytes(metric: str, number: int) -> bytes:
    """The labels of a synthetic series, as the start of its TimeSeries message of 1.0."""
    return Version1().framed(labels_of(metric, number), _ABOUT).labels


def _has_exemplar(number: int, share: float) -> bool:
    """Whether a series is one of those with exemplars, which are spread evenly."""
    return int((number + 1) * share) > int(number * share)


def _scrambled(
    numbers: npt.NDArray[np.int64], timestamp_ms: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """128 bits for each series at a timestamp, the same in both protocols (two splitmix64)."""
    seeds = numbers.astype(np.uint64) << np.uint64(44) ^ np.uint64(timestamp_ms)
    return _splitmix(seeds), _splitmix(~seeds)


def _splitmix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def _hexadecimal(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> Bytes:
    """128-bit numbers as text, shape (numbers, 32)."""
    raw = np.stack([high, low], axis=1).astype(">u8").view(np.uint8)
    digits = np.stack([raw >> 4, raw & 0xF], axis=2).reshape(len(raw), 32)
    return _HEX[digits]

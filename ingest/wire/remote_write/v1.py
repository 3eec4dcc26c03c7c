"""Remote write 1.0 messages: a payload split into its series, and one series read in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import getitem
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from xxhash import xxh3_128_digest

from ingest.errors import BadRequest
from ingest.model import Int64s
from ingest.wire.pb.remote_write_v1_pb2 import (
    LabelBytes,
    MetadataFields,
    SeriesFields,
    SeriesLabels,
    WriteRequestEnvelope,
)
from ingest.wire.remote_write.fields import LONG_BYTES, Layout
from ingest.wire.remote_write.histogram import parse_histogram, read_histograms
from ingest.wire.remote_write.parsed import (
    PAIR_BYTES,
    TEXT_BYTES,
    ParsedExemplar,
    ParsedMetadata,
    ParsedSeries,
)
from ingest.wire.remote_write.tails import LONG_TAIL, Tails, read_tails

METRIC_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip
"""By their number, which is the same in both versions."""

_BEFORE_TAIL = np.array([slice(-length or None) for length in range(LONG_TAIL + 1)])
"""All of a series but its tail, by the length of that."""
_cut: Any = getitem
_LABEL_HEADS = [b"\x0a" + bytes([length]) for length in range(0x80)]
"""What stands before the bytes of a label in its series, by their number."""


def read_label(raw: bytes) -> tuple[bytes, bytes]:
    """Name and value of a Label message.

    Raises:
        BadRequest: it is no protobuf, so nothing in the request can be trusted.
    """
    # As everybody writes it: 0a LENGTH name 12 LENGTH value, both lengths of one byte.
    try:
        end = 2 + raw[1]
        is_usual = raw[0] == 0x0A and raw[end] == 0x12 and end < 0x82 and raw[end + 1] < 0x80
        if is_usual and len(raw) == end + 2 + raw[end + 1]:
            return raw[2:end], raw[end + 2 :]
    except IndexError:
        pass
    try:
        label = LabelBytes.FromString(raw)
    except DecodeError:
        raise BadRequest("a label of the payload is not a protobuf message") from None
    return label.name, label.value


@dataclass
class RequestV1:
    """A WriteRequest whose series are still bytes; see `ingest.wire.remote_write.request.Request`.

    Attributes:
        series: the bytes of every TimeSeries message, in the order of the request.
        first: place of the first of them in the whole request.
        seed: of keys, which are XXH3-128 of the bytes of labels.
        payload: all of the message, or nothing.
    """

    layout = Layout(exemplars=3, histograms=4, refers=False)
    label_bytes = 2 * TEXT_BYTES + PAIR_BYTES
    pair_of = staticmethod(read_label)

    series: list[bytes]
    _metadata: Sequence[bytes]
    seed: int
    first: int = 0
    payload: bytes = b""

    def part(self, start: int, end: int) -> RequestV1:
        """See `Request`."""
        return RequestV1(self.series[start:end], (), self.seed, self.first + start)

    @cached_property
    def tails(self) -> Tails:
        """See `Request`."""
        return read_tails(self.series, self.payload)

    def keys(self, positions: Int64s) -> Int64s:
        """See `Request`: of the bytes before the sample, which are labels if they are known."""
        series, length = self.series, self.tails.length
        if len(positions) < len(series):
            series, length = [*map(series.__getitem__, positions.tolist())], length[positions]
        labels = map(_cut, series, _BEFORE_TAIL.take(length).tolist())
        digests = b"".join(map(xxh3_128_digest, labels, repeat(self.seed)))
        return np.frombuffer(digests, np.int64).reshape(-1, 2)

    def parse(self, position: int) -> ParsedSeries:
        """See `Request`. Of the usual shape only the labels are still to be read."""
        raw, length = self.series[position], int(self.tails.length[position])
        if length:
            encoded = raw[:-length]
            labels = _only_labels(encoded)
            if labels is not None:
                return ParsedSeries(
                    labels,
                    read_label,
                    [int(self.tails.timestamp_ms[position])],
                    [float(self.tails.value[position])],
                    key=xxh3_128_digest(encoded, self.seed),
                    text_bytes=_text_bytes(raw, labels),
                )
        return self.parse_bytes(raw, position)

    def parse_bytes(self, raw: bytes, position: int) -> ParsedSeries:
        """See `Request`."""
        return parse_series(raw, self.first + position, self.seed)

    @property
    def metadata_count(self) -> int:
        """See `Request`."""
        return len(self._metadata)

    def metadata(self) -> Iterator[ParsedMetadata]:
        """See `Request`."""
        return (_metadata(raw, number) for number, raw in enumerate(self._metadata))


def read_request(payload: bytes, seed: int) -> RequestV1:
    """Split a WriteRequest into its series.

    Args:
        seed: of keys.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    try:
        envelope = WriteRequestEnvelope.FromString(payload)
    except DecodeError:
        raise BadRequest("the payload is not a protobuf message prometheus.WriteRequest") from None
    return RequestV1(envelope.timeseries[:], envelope.metadata[:], seed, payload=payload)


def parse_series(raw: bytes, position: int, seed: int) -> ParsedSeries:
    """Read one TimeSeries message.

    Args:
        raw: its bytes.
        position: its place in the request, for the message of the error.
        seed: of its key.

    Raises:
        BadRequest: `raw` is no protobuf, so nothing in the request can be trusted.
    """
    try:
        fields = SeriesFields.FromString(raw)
    except DecodeError:
        raise BadRequest(
            f"timeseries {position} of the payload is not a protobuf message"
        ) from None
    labels, samples = fields.labels[:], fields.samples[:]
    encoded = _label_bytes(fields, labels, raw)
    parsed = ParsedSeries(
        labels,
        read_label,
        [sample.timestamp for sample in samples],
        [sample.value for sample in samples],
        key=None if encoded is None else xxh3_128_digest(encoded, seed),
        text_bytes=_text_bytes(raw, labels),
    )
    if fields.exemplars:
        parsed.exemplars = [
            ParsedExemplar(
                [(label.name, label.value) for label in exemplar.labels],
                exemplar.timestamp,
                exemplar.value,
            )
            for exemplar in fields.exemplars
        ]
    if fields.histograms:
        parsed.histograms, parsed.refused_histograms = read_histograms(
            parse_histogram(each, position) for each in fields.histograms
        )
    return parsed


def _only_labels(raw: bytes) -> list[bytes] | None:
    """The labels in bytes that are fields with labels and nothing else."""
    try:
        fields = SeriesLabels.FromString(raw)
    except DecodeError:
        return None
    return fields.labels[:] if not len(UnknownFieldSet(fields)) else None


def _label_bytes(fields: SeriesFields, labels: list[bytes], raw: bytes) -> bytes | None:
    """The labels encoded again, if `raw` starts with exactly that. A series that has fields of a
    later protocol version is left to the slow path."""
    if len(UnknownFieldSet(fields)):
        return None
    try:
        encoded = b"".join([_LABEL_HEADS[len(label)] + label for label in labels])
    except IndexError:
        encoded = SeriesLabels(labels=labels).SerializeToString()
    return encoded if raw.startswith(encoded) else None


def _text_bytes(raw: bytes, labels: list[bytes]) -> int:
    """Of a long series, most may be samples."""
    return len(raw) if len(raw) <= LONG_BYTES else sum(map(len, labels))


def _metadata(raw: bytes, number: int) -> ParsedMetadata:
    try:
        fields = MetadataFields.FromString(raw)
    except DecodeError:
        raise BadRequest(f"metadata {number} of the payload is not a protobuf message") from None
    return ParsedMetadata(
        fields.metric_family_name, metric_type(fields.type), fields.unit, fields.help
    )


def metric_type(number: int) -> str:
    """A MetricType by its number; what a later version may add is unknown."""
    return METRIC_TYPES[number] if 0 <= number < len(METRIC_TYPES) else METRIC_TYPES[0]

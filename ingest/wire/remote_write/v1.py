"""Remote write 1.0 messages: a payload split into its series, and one series read in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from ingest.errors import BadRequest, InvalidHistogram
from ingest.wire.pb.remote_write_v1_pb2 import MetadataFields, SeriesFields, WriteRequestEnvelope
from ingest.wire.remote_write.fields import LONG_BYTES, Layout
from ingest.wire.remote_write.histogram import parse_histogram, read_histogram
from ingest.wire.remote_write.parsed import (
    PAIR_BYTES,
    TEXT_BYTES,
    ParsedExemplar,
    ParsedMetadata,
    ParsedSeries,
)
from ingest.wire.remote_write.tails import Tails, read_tails

METRIC_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip
"""By their number, which is the same in both versions."""


@dataclass
class RequestV1:
    """A WriteRequest whose series are still bytes; see `ingest.wire.remote_write.request.Request`.

    Attributes:
        series: the bytes of every TimeSeries message, in the order of the request.
        first: place of the first of them in the whole request.
    """

    layout = Layout(exemplars=3, histograms=4, refers=False)
    label_bytes = 2 * TEXT_BYTES + PAIR_BYTES

    series: list[bytes]
    _metadata: Sequence[bytes]
    first: int = 0

    def part(self, start: int, end: int) -> RequestV1:
        """See `Request`."""
        return RequestV1(self.series[start:end], (), self.first + start)

    @cached_property
    def tails(self) -> Tails:
        """See `Request`."""
        return read_tails(self.series)

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """See `Request`: the bytes before the sample, which are labels if they are known."""
        series, lengths = self.series, self.tails.length.tolist()
        if len(positions) == len(series):
            return [raw[:-tail] for raw, tail in zip(series, lengths, strict=True)]
        return [series[position][: -lengths[position]] for position in positions]

    def parse(self, position: int) -> ParsedSeries:
        """See `Request`."""
        return self.parse_bytes(self.series[position], position)

    def parse_bytes(self, raw: bytes, position: int) -> ParsedSeries:
        """See `Request`."""
        return parse_series(raw, self.first + position)

    @property
    def metadata_count(self) -> int:
        """See `Request`."""
        return len(self._metadata)

    def metadata(self) -> Iterator[ParsedMetadata]:
        """See `Request`."""
        return (_metadata(raw, number) for number, raw in enumerate(self._metadata))


def read_request(payload: bytes) -> RequestV1:
    """Split a WriteRequest into its series.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    try:
        envelope = WriteRequestEnvelope.FromString(payload)
    except DecodeError:
        raise BadRequest("the payload is not a protobuf message prometheus.WriteRequest") from None
    return RequestV1(envelope.timeseries[:], envelope.metadata[:])


def parse_series(raw: bytes, position: int) -> ParsedSeries:
    """Read one TimeSeries message.

    Args:
        raw: its bytes.
        position: its place in the request, for the message of the error.

    Raises:
        BadRequest: `raw` is no protobuf, so nothing in the request can be trusted.
    """
    try:
        fields = SeriesFields.FromString(raw)
    except DecodeError:
        raise BadRequest(
            f"timeseries {position} of the payload is not a protobuf message"
        ) from None
    parsed = ParsedSeries(
        labels=[(label.name, label.value) for label in fields.labels],
        timestamp_ms=[sample.timestamp for sample in fields.samples],
        value=[sample.value for sample in fields.samples],
        exemplars=[
            ParsedExemplar(
                [(label.name, label.value) for label in exemplar.labels],
                exemplar.timestamp,
                exemplar.value,
            )
            for exemplar in fields.exemplars
        ],
    )
    for each in fields.histograms:
        try:
            parsed.histograms.append(read_histogram(parse_histogram(each, position)))
        except InvalidHistogram as error:
            parsed.refused_histograms.append(str(error))
    parsed.text_bytes = len(raw)
    if parsed.text_bytes > LONG_BYTES:  # there is more in it
        parsed.text_bytes = sum([len(name) + len(value) for name, value in parsed.labels])
    parsed.key = _label_bytes(fields, raw)
    return parsed


def _label_bytes(fields: SeriesFields, raw: bytes) -> bytes | None:
    """The labels encoded again, if `raw` starts with exactly that; `fields` loses the rest.

    Fields of a later protocol version are kept by protobuf and would be encoded too: a series that
    has them is left to the ordinary path.
    """
    for name in ("samples", "exemplars", "histograms"):
        fields.ClearField(name)
    encoded: bytes = fields.SerializeToString()
    if not raw.startswith(encoded) or len(UnknownFieldSet(fields)):
        return None
    return encoded


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

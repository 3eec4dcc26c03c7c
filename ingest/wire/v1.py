"""Remote write 1.0 messages: a payload split into its series, and one series read in full."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from ingest.errors import BadRequest
from ingest.wire.pb.remote_write_v1_pb2 import SeriesFields, WriteRequestEnvelope


@dataclass(slots=True)
class Payload:
    """A request whose series are still bytes.

    Attributes:
        series: the bytes of every TimeSeries message, in the order of the request.
        metadata: how many MetricMetadata messages came along.
    """

    series: list[bytes]
    metadata: int


@dataclass(slots=True)
class ParsedSeries:
    """One TimeSeries, its text not yet checked.

    Attributes:
        labels: names and values as sent, in the order sent.
        timestamp_ms: milliseconds since 1970, parallel to `value`.
        value: sample values, NaN bits as sent.
        exemplars: how many exemplars came along.
        histograms: how many native histograms came along.
        label_bytes: the bytes that stand before everything else, if they are labels and nothing
            else and so identify the series; None where the encoding is not of that shape.
    """

    labels: list[tuple[bytes, bytes]]
    timestamp_ms: list[int]
    value: list[float]
    exemplars: int
    histograms: int
    label_bytes: bytes | None


def split_payload(payload: bytes) -> Payload:
    """The series of a WriteRequest, each left as bytes.

    Raises:
        BadRequest: `payload` is no protobuf.
    """
    try:
        envelope = WriteRequestEnvelope.FromString(payload)
    except DecodeError:
        raise BadRequest("the payload is no protobuf message prometheus.WriteRequest") from None
    return Payload(envelope.timeseries[:], len(envelope.metadata))


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
        raise BadRequest(f"timeseries {position} of the payload is no protobuf message") from None
    return ParsedSeries(
        labels=[(label.name, label.value) for label in fields.labels],
        timestamp_ms=[sample.timestamp for sample in fields.samples],
        value=[sample.value for sample in fields.samples],
        exemplars=len(fields.exemplars),
        histograms=len(fields.histograms),
        label_bytes=_label_bytes(fields, raw),
    )


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

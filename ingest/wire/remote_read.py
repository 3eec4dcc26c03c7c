"""Remote read from the side that asks, and samples as a message of remote write: what is read from
a Prometheus, or from its dump, is decoded like everything that is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from ingest.errors import BadRequest
from ingest.wire.encoding.snappy import compress_snappy, decompress_snappy
from ingest.wire.pb.remote_read_pb2 import ReadRequest, ReadResponseEnvelope
from ingest.wire.pb.remote_write_v1_pb2 import SeriesFields, WriteRequestEnvelope

OPERATORS = ("=", "!=", "=~", "!~")
"""By the number of their type in a LabelMatcher."""


class Matcher(NamedTuple):
    """One condition on a label, as PromQL has it."""

    name: str
    operator: str
    value: str


def encode_read(selectors: Iterable[Sequence[Matcher]], start_ms: int, end_ms: int) -> bytes:
    """The body of a POST to /api/v1/read: a query for each selector.

    Args:
        start_ms, end_ms: both inclusive.
    """
    request = ReadRequest()
    for selector in selectors:
        asked = request.queries.add(start_timestamp_ms=start_ms, end_timestamp_ms=end_ms)
        for matcher in selector:
            number = OPERATORS.index(matcher.operator)
            asked.matchers.add(type=number, name=matcher.name, value=matcher.value)
    return compress_snappy(request.SerializeToString())


def decode_answer(body: bytes, max_bytes: int) -> list[bytes]:
    """The answer of samples: for each query a message that is a WriteRequest of remote write 1.0.

    Raises:
        BadRequest: it is none, or longer than `max_bytes` once it is decompressed.
    """
    try:
        return list(ReadResponseEnvelope.FromString(decompress_snappy(body, max_bytes)).results)
    except DecodeError:
        raise BadRequest("the answer is not a protobuf message prometheus.ReadResponse") from None


def encode_series(
    series: Iterable[tuple[Sequence[tuple[bytes, bytes]], Sequence[tuple[int, float]]]],
) -> bytes:
    """A WriteRequest of remote write 1.0.

    Args:
        series: label pairs, and samples, each a timestamp (ms) and a value.
    """
    envelope = WriteRequestEnvelope()
    for labels, samples in series:
        fields = SeriesFields()
        for name, value in labels:
            fields.labels.add(name=name, value=value)
        for timestamp_ms, number in samples:
            fields.samples.add(timestamp=timestamp_ms, value=number)
        envelope.timeseries.append(fields.SerializeToString())
    message: bytes = envelope.SerializeToString()
    return message

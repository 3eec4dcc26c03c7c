"""Remote read from both sides, and samples as a message of remote write: what is read from a
Prometheus, or from its dump, is decoded like everything that is sent.

An answer is a ReadResponse: results (field 1), in each one TimeSeries (field 1) of the message of
remote write 1.0. A sample of it is nearly always of one of two shapes, which numpy writes::

    12 10 09 <8 bytes: value> 10 <6 bytes: timestamp>      18 bytes
    12 07 10 <6 bytes: timestamp>                          9 bytes, the value 0 is left out

(A varint of 6 bytes is a timestamp from 1971 to 2109.) We write the longer one always: to a reader
a value that is there and zero is the same as one that is left out.

A streamed answer is a row of frames, each a ChunkedReadResponse: its length as a varint, its
CRC-32C in four bytes, and itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ingest.errors import BadRequest
from ingest.wire.chunks import spans
from ingest.wire.encoding.snappy import compress_snappy, crc32c, decompress_snappy
from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb.remote_read_pb2 import ReadRequest, ReadResponseEnvelope
from ingest.wire.pb.remote_write_v1_pb2 import LabelBytes, SeriesFields, WriteRequestEnvelope

OPERATORS = ("=", "!=", "=~", "!~")
"""By the number of their type in a LabelMatcher."""
Histogram = v1.Histogram
SAMPLES, STREAMED = 0, 1
_SIX_BYTES_FROM, _SIX_BYTES_BELOW = 1 << 35, 1 << 42
_SAMPLE_BYTES = 18
FRAME_BYTES = 60_000
"""Of a frame without its labels: so many have a quick checksum. Prometheus' frames are of a MiB;
readers take any."""


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
            fields.labels.append(LabelBytes(name=name, value=value).SerializeToString())
        for timestamp_ms, number in samples:
            fields.samples.add(timestamp=timestamp_ms, value=number)
        envelope.timeseries.append(fields.SerializeToString())
    message: bytes = envelope.SerializeToString()
    return message


class Asked(NamedTuple):
    """One query: closed at both ends."""

    from_ms: int
    to_ms: int
    matchers: list[Matcher]


def read_request(payload: bytes) -> tuple[list[Asked], list[int]]:
    """The queries of a request, and in which forms it takes the answer, the best first.

    Raises:
        BadRequest: it is no ReadRequest.
    """
    try:
        message = ReadRequest.FromString(payload)
    except DecodeError:
        raise BadRequest("the payload is not a protobuf message prometheus.ReadRequest") from None
    queries = []
    for query in message.queries:
        matchers = []
        for matcher in query.matchers:
            if not 0 <= matcher.type < len(OPERATORS):
                raise BadRequest(f"there is no matcher of type {matcher.type}")
            matchers.append(Matcher(matcher.name, OPERATORS[matcher.type], matcher.value))
        queries.append(Asked(query.start_timestamp_ms, query.end_timestamp_ms, matchers))
    return queries, list(message.accepted_response_types)


def result(series: Iterable[bytes]) -> bytes:
    """What one query found, as a field of a ReadResponse.

    Args:
        series: as `series_bytes` makes them.
    """
    return _field(1, b"".join([_field(1, one) for one in series]))


def series_bytes(
    labels: Mapping[str, str],
    timestamp_ms: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    histograms: Iterable[v1.Histogram] = (),
) -> bytes:
    """A TimeSeries."""
    parts = [_labels(labels), samples_bytes(timestamp_ms, value)]
    parts += [_field(4, histogram.SerializeToString()) for histogram in histograms]
    return b"".join(parts)


def samples_bytes(timestamp_ms: npt.NDArray[np.int64], value: npt.NDArray[np.float64]) -> bytes:
    """Samples of a series, bits of their values as they are."""
    if not len(timestamp_ms):
        return b""
    if timestamp_ms.min() < _SIX_BYTES_FROM or timestamp_ms.max() >= _SIX_BYTES_BELOW:
        return b"".join(
            [
                _field(2, b"\x09" + raw.tobytes() + b"\x10" + _varint(at & (1 << 64) - 1))
                for at, raw in zip(timestamp_ms.tolist(), value.astype("<f8"), strict=True)
            ]
        )
    rows = np.empty((len(timestamp_ms), _SAMPLE_BYTES), np.uint8)
    rows[:, :3] = 0x12, 0x10, 0x09
    rows[:, 3:11] = np.ascontiguousarray(value.astype("<f8")).view(np.uint8).reshape(-1, 8)
    rows[:, 11] = 0x10
    for place in range(6):
        rows[:, 12 + place] = (timestamp_ms >> 7 * place) & 0x7F | (0x80 if place < 5 else 0)
    return rows.tobytes()


def histogram_message(
    timestamp_ms: int,
    schema: int,
    hint: int,
    count: float,
    total: float,
    zero: tuple[float, float],
    positive: Sequence[tuple[int, float]],
    negative: Sequence[tuple[int, float]],
    bounds: Sequence[float],
) -> v1.Histogram:
    """A histogram of the float flavour, which holds those of the other one.

    Args:
        zero: threshold and count of the zero bucket.
        positive, negative: index and count of each bucket, ascending.
        bounds: of custom buckets.
    """
    message = v1.Histogram(
        count_float=count,
        sum=total,
        schema=schema,
        zero_threshold=zero[0],
        zero_count_float=zero[1],
        timestamp=timestamp_ms,
        custom_values=bounds,
        positive_counts=[number for _, number in positive],
        negative_counts=[number for _, number in negative],
    )
    message.reset_hint = hint  # type: ignore[assignment]
    message.positive_spans.extend(_spans([index for index, _ in positive]))
    message.negative_spans.extend(_spans([index for index, _ in negative]))
    return message


def _spans(indexes: Sequence[int]) -> list[v1.BucketSpan]:
    return [v1.BucketSpan(offset=offset, length=length) for offset, length in spans(indexes)]


class Chunk(NamedTuple):
    """Samples of a series as `chunks` encodes them.

    Attributes:
        from_ms, to_ms: of its first and its last sample.
        kind: `chunks.XOR` or `chunks.FLOAT_HISTOGRAM`.
    """

    from_ms: int
    to_ms: int
    kind: int
    data: bytes


def frames(query_index: int, labels: Mapping[str, str], chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """A series of the answer to the query of that number, in one frame or in several."""
    head = _labels(labels)
    parts: list[bytes] = []
    for chunk in chunks:
        times = b"".join(
            [_varint(number << 3) + _varint(at & (1 << 64) - 1)
             for number, at in ((1, chunk.from_ms), (2, chunk.to_ms), (3, chunk.kind))]
        )  # fmt: skip
        parts.append(_field(2, times + _field(4, chunk.data)))
        if sum(map(len, parts)) > FRAME_BYTES:
            yield _frame(query_index, head, parts)
            parts = []
    if parts:
        yield _frame(query_index, head, parts)


def _frame(query_index: int, head: bytes, parts: Iterable[bytes]) -> bytes:
    content = _field(1, head + b"".join(parts)) + b"\x10" + _varint(query_index)
    return _varint(len(content)) + crc32c(content).to_bytes(4, "big") + content


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(
        [
            _field(1, _field(1, name.encode()) + _field(2, text.encode()))
            for name, text in labels.items()
        ]
    )


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)

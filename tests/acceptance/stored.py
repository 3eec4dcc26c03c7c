"""Everything that is stored of a case, bit for bit, and what ought to be."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import asyncpg

from ingest.model import STALE_MARKER_BITS
from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.support.databases import Database, connect
from tests.support.messages import TYPES, Pairs, Sent

MILLISECONDS = "(extract(epoch FROM {}) * 1000)::bigint"
SAMPLES = f"""
    SELECT labels::text, {MILLISECONDS.format("time")}, encode(float8send(value), 'hex')
    FROM (SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
          UNION ALL SELECT * FROM geo.sample) AS samples
    JOIN internal.series USING (series_id) WHERE strpos(labels::text, $1) > 0
"""
EXEMPLARS = f"""
    SELECT s.labels::text, {MILLISECONDS.format("time")}, encode(float8send(value), 'hex'),
        e.labels::text
    FROM internal.exemplar AS e JOIN internal.series AS s USING (series_id)
    WHERE strpos(s.labels::text, $1) > 0
"""
HISTOGRAMS = f"""
    SELECT labels::text, {MILLISECONDS.format("time")}, h.schema, is_float, is_stale, count,
        encode(float8send(sum), 'hex'), zero_threshold, zero_count,
        positive_indexes, positive_counts, negative_indexes, negative_counts,
        custom_bounds, reset_hint, {MILLISECONDS.format("start_time")}, exact_counts::text[]
    FROM internal.histogram AS h JOIN internal.series USING (series_id)
    WHERE strpos(labels::text, $1) > 0
"""
METADATA = """
    SELECT name, type, unit, help FROM internal.metadata WHERE strpos(name || help, $1) > 0
"""
STARTS = f"""
    SELECT labels::text, {MILLISECONDS.format("start_time")}
    FROM internal.series_start JOIN internal.series USING (series_id)
    WHERE strpos(labels::text, $1) > 0
"""


class Stored(NamedTuple):
    """Rows in an order of their own; values as the hexadecimal digits of their bits.

    Attributes:
        samples: labels, milliseconds, value.
        histograms: labels, milliseconds, then the columns of `internal.histogram`.
        exemplars: labels of the series, milliseconds, value, labels.
        metadata: name, type, unit, help.
        starts: labels, milliseconds, of samples.
    """

    samples: list[tuple[Any, ...]]
    histograms: list[tuple[Any, ...]]
    exemplars: list[tuple[Any, ...]]
    metadata: list[tuple[Any, ...]]
    starts: list[tuple[Any, ...]]


async def stored(database: Database, own: str) -> Stored:
    """What the database has of series and metrics with `own` somewhere in their text."""
    async with connect(database) as connection:
        return Stored(
            *[
                sorted([_row(record) for record in await connection.fetch(query, own)], key=repr)
                for query in (SAMPLES, HISTOGRAMS, EXEMPLARS, METADATA, STARTS)
            ]
        )


def _row(record: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(_value(value) for value in record.values())


def _value(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return _labels(json.loads(value).items())
    return value


def expected(sent: Sequence[Sent]) -> Stored:
    """What has to be stored when all of it is taken and nothing was there."""
    rows: list[list[tuple[Any, ...]]] = [
        [(_labels(one.labels), at, _bits(value)) for one in sent for at, value in one.samples],
        [
            (_labels(one.labels), *_histogram(histogram))
            for one in sent
            for histogram in one.histograms
        ],
        [
            (_labels(one.labels), each.timestamp_ms, _bits(each.value), _labels(each.labels))
            for one in sent
            for each in one.exemplars
        ],
        list(dict.fromkeys(_metadata(one) for one in sent if one.metadata is not None)),
        [(_labels(one.labels), start_ms) for one in sent for start_ms in one.starts],
    ]
    return Stored(*[sorted(each, key=repr) for each in rows])


def _labels(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple(sorted((name, value) for name, value in pairs if value))


def _bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _metadata(one: Sent) -> tuple[str, ...]:
    assert one.metadata is not None
    kind, text, unit = one.metadata
    return (
        dict(one.labels)["__name__"],
        TYPES[kind] if kind < len(TYPES) else "unknown",
        unit,
        text,
    )


def _histogram(sent: v2.Histogram) -> Iterator[Any]:
    is_float = sent.WhichOneof("count") == "count_float"
    is_stale = _bits(sent.sum) == f"{STALE_MARKER_BITS:016x}"
    count = sent.count_float if is_float else sent.count_int
    zero_count = sent.zero_count_float if is_float else sent.zero_count_int
    positive = sent.positive_counts if is_float else accumulate(sent.positive_deltas)
    negative = sent.negative_counts if is_float else accumulate(sent.negative_deltas)
    positives, negatives = list(positive), list(negative)
    yield from (sent.timestamp, sent.schema, is_float, is_stale, float(count), _bits(sent.sum))
    yield from (sent.zero_threshold, float(zero_count))
    yield from (_indexes(sent.positive_spans), [float(each) for each in positives])
    yield from (_indexes(sent.negative_spans), [float(each) for each in negatives])
    yield list(sent.custom_values) if sent.schema == -53 else None
    yield sent.reset_hint
    yield sent.start_timestamp or None
    whole = [count, zero_count, *positives, *negatives]
    is_exact = is_float or max(whole) <= 2**53
    yield None if is_exact else [str(each) for each in whole]


def _indexes(spans: Sequence[v2.BucketSpan]) -> list[int]:
    indexes: list[int] = []
    end = 0
    for span in spans:
        start = end + span.offset
        end = start + span.length
        indexes += range(start, end)
    return indexes

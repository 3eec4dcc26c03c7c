"""What is stored beside samples, or pushed, to PostgreSQL's binary COPY format; see `copy.py`.

Arrays are those of `array_recv`: dimensions, flags, the element type's OID, length and lower bound,
then each element with its length.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np

from ingest.copy_format import (
    HEADER,
    POSTGRES_EPOCH_MS,
    POSTGRES_EPOCH_US,
    TRAILER,
    numeric_field,
)
from ingest.model import Event, Exemplar, Histogram, Item, Items, Measure, Metadata, Start

INT4, FLOAT8, NUMERIC = 23, 701, 1700
NULL = struct.pack(">i", -1)
LARGEST_EXACT_FLOAT = 2**53
"""Integers up to this one are floats to the bit."""

_INT4S = np.dtype([("length", ">i4"), ("value", ">i4")])
_FLOAT8S = np.dtype([("length", ">i4"), ("value", ">f8")])
_fields = struct.Struct(">h").pack
_bigint = struct.Struct(">iq").pack
_int = struct.Struct(">ii").pack
_smallint = struct.Struct(">ih").pack
_float = struct.Struct(">id").pack
_boolean = struct.Struct(">i?").pack
_array = struct.Struct(">iiiii").pack
_pushed_head = struct.Struct(">hiqiii").pack
_attributes_head = struct.Struct(">ib").pack
_pushed_id = struct.Struct(">i16si?").pack
JSONB_VERSION = 1


def encode_items(store: str, items: Items) -> bytes:
    """A complete binary COPY stream of the columns of one store (`storage.staging.STAGING`)."""
    encode = _ENCODERS[store]
    rows = [encode(owner, item) for owner, item in zip(items.owner_id, items.item, strict=True)]
    return b"".join([HEADER, *rows, TRAILER])


def _exemplar(series_id: int, item: Item) -> bytes:
    exemplar = cast(Exemplar, item)
    return (
        _fields(4)
        + _time(exemplar.timestamp_ms)
        + _bigint(8, series_id)
        + _float(8, exemplar.value)
        + _sized(b"\x01" + json.dumps(dict(exemplar.labels), ensure_ascii=False).encode())
    )


def _histogram(series_id: int, item: Item) -> bytes:
    histogram = cast(Histogram, item)
    bounds, start_ms = histogram.custom_bounds, histogram.start_ms
    return b"".join(
        [
            _fields(17),
            _time(histogram.timestamp_ms),
            _bigint(8, series_id),
            _smallint(2, histogram.schema),
            _boolean(1, histogram.is_float),
            _boolean(1, histogram.is_stale),
            _float(8, histogram.observations),
            _float(8, histogram.sum),
            _float(8, histogram.zero_threshold),
            _float(8, histogram.zero_count),
            _ints(histogram.positive.indexes),
            _floats(histogram.positive.counts),
            _ints(histogram.negative.indexes),
            _floats(histogram.negative.counts),
            NULL if bounds is None else _floats(bounds),
            _smallint(2, histogram.reset_hint),
            NULL if start_ms is None else _time(start_ms),
            _exact_counts(histogram),
        ]
    )


def _metadata(tenant_id: int, item: Item) -> bytes:
    metadata = cast(Metadata, item)
    texts = (metadata.name, metadata.type, metadata.unit, metadata.help)
    return (
        _fields(6)
        + _time(metadata.seen_ms)
        + _int(4, tenant_id)
        + b"".join([_sized(text.encode()) for text in texts])
    )


def _start(series_id: int, item: Item) -> bytes:
    return _fields(2) + _time(cast(Start, item).start_ms) + _bigint(8, series_id)


def _measure(tenant_id: int, item: Item) -> bytes:
    (at_us, name, attributes, item_id, key_decides, value, exact, target, schema) = cast(
        Measure, item
    )
    name_bytes = name.encode()
    return b"".join(
        (
            _pushed_head(10, 8, at_us - POSTGRES_EPOCH_US, 4, tenant_id, len(name_bytes)),
            name_bytes,
            _float(8, value),
            NULL if exact is None else numeric_field(exact),
            _attributes_head(len(attributes) + 1, JSONB_VERSION),
            attributes,
            _pushed_id(16, item_id, 1, key_decides),
            _text(target),
            _text(schema),
        )
    )


def _event(tenant_id: int, item: Item) -> bytes:
    at_us, name, attributes, item_id, key_decides = cast(Event, item)
    name_bytes = name.encode()
    return b"".join(
        (
            _pushed_head(6, 8, at_us - POSTGRES_EPOCH_US, 4, tenant_id, len(name_bytes)),
            name_bytes,
            _attributes_head(len(attributes) + 1, JSONB_VERSION),
            attributes,
            _pushed_id(16, item_id, 1, key_decides),
        )
    )


_ENCODERS: dict[str, Callable[[int, Item], bytes]] = {
    "exemplar": _exemplar,
    "histogram": _histogram,
    "metadata": _metadata,
    "start": _start,
    "measure": _measure,
    "event": _event,
}


def _exact_counts(histogram: Histogram) -> bytes:
    """Integers that no float holds: count, zero count, positive and negative buckets."""
    counts = [
        histogram.observations,
        histogram.zero_count,
        *histogram.positive.counts,
        *histogram.negative.counts,
    ]
    if histogram.is_float or max(counts) <= LARGEST_EXACT_FLOAT:
        return NULL
    elements = b"".join([numeric_field(str(count)) for count in counts])
    return _sized(_array(1, 0, NUMERIC, len(counts), 1) + elements)


def _ints(numbers: Sequence[int]) -> bytes:
    return _numbers(numbers, _INT4S, INT4)


def _floats(numbers: Sequence[float]) -> bytes:
    return _numbers(numbers, _FLOAT8S, FLOAT8)


def _numbers(numbers: Sequence[float], element: np.dtype[np.void], oid: int) -> bytes:
    if not numbers:
        return _sized(struct.pack(">iii", 0, 0, oid))
    block = np.empty(len(numbers), element)
    block["length"] = element["value"].itemsize
    block["value"] = numbers
    return _sized(_array(1, 0, oid, len(numbers), 1) + block.tobytes())


def _time(timestamp_ms: int) -> bytes:
    return _bigint(8, (timestamp_ms - POSTGRES_EPOCH_MS) * 1000)


@lru_cache(maxsize=1000)
def _text(text: str) -> bytes:
    """Of texts that come again and again."""
    return _sized(text.encode())


def _sized(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content

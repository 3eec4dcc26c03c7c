"""Every store: what is kept, in which table, column by column. All that depends on a store reads it
here; the view `internal.store` (sql/) says the same of those that grow with time, which a test
compares.

A new kind of item is its class in `model.py` and an entry here, and in `sql/` its table and its
staging table with a trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from math import isnan
from operator import attrgetter
from struct import Struct
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ingest.copy_format import (
    BIGINT,
    BOOLEAN,
    FLOAT8,
    FLOAT8_ARRAY,
    INT4_ARRAY,
    INTEGER,
    JSONB,
    REPEATED_TEXT,
    SAMPLE_COLUMNS,
    SMALLINT,
    TEXT,
    TIMESTAMP_MS,
    TIMESTAMP_US,
    UUID,
    Codec,
    encode_columns,
    float8_array,
    nullable,
    numeric,
    numeric_array,
    timestamp_ms,
)
from ingest.model import (
    Event,
    Exemplar,
    Histogram,
    Items,
    Measure,
    Metadata,
    RecordKind,
    Start,
    TenantId,
)
from ingest.text import series_text, time_text

I = TypeVar("I")  # noqa: E741
"""The class of the items of one store."""

OWNER = ""
"""The column of whose an item is, instead of an attribute of the item."""


class Column(NamedTuple):
    """A column of an item's staging table.

    Attributes:
        codec: how its values become fields of binary COPY.
        value: the item's attribute, dots allowed, or `OWNER`.
    """

    name: str
    codec: Codec
    value: str


@dataclass(frozen=True, eq=False)
class Store:
    """Where rows of one kind are kept.

    Attributes:
        schema: of the table, with a retention of its own, which the store follows.
        table: its name; the staging table has the same in schema `staging_{schema}`.
        owner: whose the rows are.
        counted_as: what the accounts call a row; "samples" and "histograms" are samples to them.
        grows: it has partitions, or chunks, that come and go with time.
        rolled_up: it has rollups.
    """

    name: str
    schema: str
    table: str
    owner: Literal["series", "tenant"] = "series"
    counted_as: Literal["samples", "histograms", "exemplars"] | None = "samples"
    grows: bool = True
    rolled_up: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns of the staging table, in the order of what is copied into it."""
        return SAMPLE_COLUMNS

    @property
    def staging_schema(self) -> str:
        """Schema of the staging table."""
        return f"staging_{self.schema}"

    @cached_property
    def copy_staging(self) -> str:
        """The statement that copies into the staging table."""
        return self._copy(self.staging_schema, self.table)

    def copy_direct(self, table: str) -> str:
        """The statement that copies past it, into the table that takes the rows."""
        return self._copy(self.schema, table)

    def _copy(self, schema: str, table: str) -> str:
        columns = ", ".join(f'"{name}"' for name in self.column_names)
        return f'COPY "{schema}"."{table}" ({columns}) FROM STDIN (FORMAT binary)'

    @property
    def staging(self) -> str:
        """The staging table, qualified; its trigger moves what is copied into it."""
        return f"{self.staging_schema}.{self.table}"

    @cached_property
    def is_counted(self) -> bool:
        """Whether the accounts count its rows among the samples."""
        return self.counted_as in ("samples", "histograms")


@dataclass(frozen=True, eq=False, kw_only=True)
class ItemStore(Store, Generic[I]):
    """A store of items, one Python object a row; always written through staging.

    Attributes:
        columns: of the staging table, each with its codec.
        order: a key to sort items of one owner by, so that no two writers deadlock.
        describe: an item for people's eyes, to come after the name of its series.
        moment: if items need a partition, the attribute that says when they are of, and how many
            of its units are a millisecond.
        shard_number: items of which it is the same must not meet in two transactions at once; None:
            those of one owner.
        remembered: the digest, of 16 bytes, of an item that is sent again and again, and is written
            once; None of what is sent once.
    """

    columns: tuple[Column, ...]
    order: Callable[[I], Any]
    describe: Callable[[I], str]
    moment: tuple[str, int] | None = None
    shard_number: Callable[[I], int] | None = None
    remembered: Callable[[Any, I], bytes] | None = None

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def encode(self, items: Items) -> bytes:
        """A complete binary COPY stream of `columns`."""
        # What named tuples hold is transposed at once; the few other values are asked for.
        names, values = type(items.item[0])._fields, zip(*items.item, strict=True)
        held: dict[str, Sequence[Any]] = dict(zip(names, values, strict=True))
        held[OWNER] = items.owner_id
        return encode_columns(
            [
                (codec, held[value] if value in held else [*map(attrgetter(value), items.item)])
                for _, codec, value in self.columns
            ]
        )


def _exemplar_order(exemplar: Exemplar) -> tuple[object, ...]:
    is_nan = isnan(exemplar.value)  # which would compare with nothing
    return (exemplar.timestamp_ms, is_nan, 0.0 if is_nan else exemplar.value, exemplar.labels)


def _exemplar_text(exemplar: Exemplar) -> str:
    labels = series_text((name.encode(), value.encode()) for name, value in exemplar.labels)
    return f"exemplar {labels} {exemplar.value!r} at {time_text(exemplar.timestamp_ms)}"


def _histogram_text(histogram: Histogram) -> str:
    moment = time_text(histogram.timestamp_ms)
    return f"native histogram of {histogram.observations} observations at {moment}"


def _metadata_digest(tenant_id: TenantId, metadata: Metadata) -> bytes:
    parts = [str(tenant_id), metadata.name, metadata.type, metadata.unit, metadata.help]
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()  # no part holds U+0000


_start_digest = Struct(">qq").pack


def _record_shard(record: Measure | Event) -> int:
    return record.item_id[0]  # one idempotency key, one shard


def _measure_text(measure: Measure) -> str:
    value = measure.exact or repr(measure.value)
    return f"measure {measure.name!r} {value} at {time_text(measure.timestamp_us // 1000)}"


EXEMPLAR = ItemStore[Exemplar](
    name="exemplar",
    schema="internal",
    table="exemplar",
    counted_as="exemplars",
    columns=(
        Column("time", TIMESTAMP_MS, "timestamp_ms"),
        Column("series_id", BIGINT, OWNER),
        Column("value", FLOAT8, "value"),
        Column("labels", JSONB, "labels_json"),
    ),
    order=_exemplar_order,
    describe=_exemplar_text,
    moment=("timestamp_ms", 1),
)

HISTOGRAM = ItemStore[Histogram](
    name="histogram",
    schema="internal",
    table="histogram",
    counted_as="histograms",
    columns=(
        Column("time", TIMESTAMP_MS, "timestamp_ms"),
        Column("series_id", BIGINT, OWNER),
        Column("schema", SMALLINT, "schema"),
        Column("is_float", BOOLEAN, "is_float"),
        Column("is_stale", BOOLEAN, "is_stale"),
        Column("count", FLOAT8, "observations"),
        Column("sum", FLOAT8, "sum"),
        Column("zero_threshold", FLOAT8, "zero_threshold"),
        Column("zero_count", FLOAT8, "zero_count"),
        Column("positive_indexes", INT4_ARRAY, "positive.indexes"),
        Column("positive_counts", FLOAT8_ARRAY, "positive.counts"),
        Column("negative_indexes", INT4_ARRAY, "negative.indexes"),
        Column("negative_counts", FLOAT8_ARRAY, "negative.counts"),
        Column("custom_bounds", nullable(float8_array), "custom_bounds"),
        Column("reset_hint", SMALLINT, "reset_hint"),
        Column("start_time", nullable(timestamp_ms), "start_ms"),
        Column("exact_counts", nullable(numeric_array), "exact_counts"),
    ),
    order=attrgetter("timestamp_ms"),
    describe=_histogram_text,
    moment=("timestamp_ms", 1),
)

METADATA = ItemStore[Metadata](
    name="metadata",
    schema="internal",
    table="metadata",
    owner="tenant",
    counted_as=None,
    grows=False,
    columns=(
        Column("first_seen", TIMESTAMP_MS, "seen_ms"),
        Column("tenant_id", INTEGER, OWNER),
        Column("name", TEXT, "name"),
        Column("type", REPEATED_TEXT, "type"),
        Column("unit", TEXT, "unit"),
        Column("help", TEXT, "help"),
    ),
    order=attrgetter("name", "type", "unit", "help"),
    describe=lambda metadata: f"metadata of {metadata.name}",
    remembered=_metadata_digest,
)

START = ItemStore[Start](
    name="start",
    schema="internal",
    table="series_start",
    counted_as=None,
    grows=False,
    columns=(
        Column("start_time", TIMESTAMP_MS, "start_ms"),
        Column("series_id", BIGINT, OWNER),
    ),
    order=attrgetter("start_ms"),
    describe=lambda start: f"start timestamp {time_text(start.start_ms)}",
    remembered=lambda series_id, start: _start_digest(series_id, start.start_ms),
)

MEASURE = ItemStore[Measure](
    name="measure",
    schema="app",
    table="measure",
    owner="tenant",
    columns=(
        Column("time", TIMESTAMP_US, "timestamp_us"),
        Column("tenant_id", INTEGER, OWNER),
        Column("name", REPEATED_TEXT, "name"),
        Column("value", FLOAT8, "value"),
        Column("exact", nullable(numeric), "exact"),
        Column("attributes", JSONB, "attributes"),
        Column("item_id", UUID, "item_id"),
        Column("key_decides", BOOLEAN, "key_decides"),
        Column("target", REPEATED_TEXT, "target"),
        Column("schema", REPEATED_TEXT, "schema"),
    ),
    order=attrgetter("timestamp_us", "item_id"),
    describe=_measure_text,
    moment=("timestamp_us", 1000),
    shard_number=_record_shard,
)

EVENT = ItemStore[Event](
    name="event",
    schema="app",
    table="event",
    owner="tenant",
    columns=(
        Column("time", TIMESTAMP_US, "timestamp_us"),
        Column("tenant_id", INTEGER, OWNER),
        Column("name", REPEATED_TEXT, "name"),
        Column("attributes", JSONB, "attributes"),
        Column("item_id", UUID, "item_id"),
        Column("key_decides", BOOLEAN, "key_decides"),
    ),
    order=attrgetter("timestamp_us", "item_id"),
    describe=lambda event: f"event {event.name!r} at {time_text(event.timestamp_us // 1000)}",
    moment=("timestamp_us", 1000),
    shard_number=_record_shard,
)

SAMPLE_STORES = {
    store.name: store
    for store in (
        Store("internal", "internal", "sample", rolled_up=True),
        Store("cumsum", "cumsum", "sample", rolled_up=True),
        Store("geo", "geo", "sample"),
    )
}
ITEM_STORES: dict[str, ItemStore[Any]] = {
    store.name: store for store in (EXEMPLAR, HISTOGRAM, METADATA, START, MEASURE, EVENT)
}
STORES: dict[str, Store] = {**SAMPLE_STORES, **ITEM_STORES}
"""All stores by name, in the fixed order in which their transactions run."""

TARGETS = tuple(SAMPLE_STORES)
"""What a rule can choose as the target of a series, each with a store of samples."""
RECORDS: tuple[RecordKind, ...] = ("measure", "event")
"""Stores of what applications push: they hold no ids of series."""
ROLLED_UP = tuple(name for name, store in STORES.items() if store.rolled_up)
GROWING = tuple(name for name, store in STORES.items() if store.grows)
RETAINED = tuple(dict.fromkeys(store.schema for store in STORES.values()))
"""What has a retention of its own: each target, and what applications push."""

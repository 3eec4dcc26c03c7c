"""Every store: what is kept, in which table, column by column. All that depends on a store reads it
here; the view `internal.store` (sql/) says the same of those that grow with time, which a test
compares.

A new kind of item is its class in `model.py` and an entry here, and in `sql/` its table and its
staging table with a trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import isnan
from operator import attrgetter
from struct import Struct
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ingest.copy_format import (
    SAMPLE_COLUMNS,
    Codec,
    bigint,
    boolean,
    encode_columns,
    float8,
    float8_array,
    int4_array,
    integer,
    jsonb,
    nullable,
    numeric,
    numeric_array,
    repeated_text,
    smallint,
    text,
    timestamp_ms,
    timestamp_us,
    uuid,
)
from ingest.model import Event, Exemplar, Histogram, Items, Measure, Metadata, Start
from ingest.text import series_text, time_text

I = TypeVar("I")  # noqa: E741
"""The class of the items of one store."""

OWNER = ""
"""The column of whose an item is, instead of an attribute of the item."""


class Column(NamedTuple):
    """A column of an item's staging table.

    Attributes:
        codec: makes a field of binary COPY of one value.
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

    @property
    def staging(self) -> str:
        """The staging table, qualified; its trigger moves what is copied into it."""
        return f"{self.staging_schema}.{self.table}"

    @property
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
        moment_ms: when an item is of, if it needs a partition.
        shard_number: items of which it is the same must not meet in two transactions at once; None:
            those of one owner.
        remembered: the digest, of 16 bytes, of an item that is sent again and again, and is written
            once; None of what is sent once.
    """

    columns: tuple[Column, ...]
    order: Callable[[I], Any]
    describe: Callable[[I], str]
    moment_ms: Callable[[I], int] | None = None
    shard_number: Callable[[I], int] | None = None
    remembered: Callable[[int, I], bytes] | None = None

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def encode(self, items: Items) -> bytes:
        """A complete binary COPY stream of `columns`."""
        return encode_columns(
            [
                (
                    column.codec,
                    map(attrgetter(column.value), items.item) if column.value else items.owner_id,
                )
                for column in self.columns
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


def _metadata_digest(tenant_id: int, metadata: Metadata) -> bytes:
    parts = [str(tenant_id), metadata.name, metadata.type, metadata.unit, metadata.help]
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()  # no part holds U+0000


_start_digest = Struct(">qq").pack


def _record_moment_ms(record: Measure | Event) -> int:
    return record.timestamp_us // 1000


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
        Column("time", timestamp_ms, "timestamp_ms"),
        Column("series_id", bigint, OWNER),
        Column("value", float8, "value"),
        Column("labels", jsonb, "labels_json"),
    ),
    order=_exemplar_order,
    describe=_exemplar_text,
    moment_ms=attrgetter("timestamp_ms"),
)

HISTOGRAM = ItemStore[Histogram](
    name="histogram",
    schema="internal",
    table="histogram",
    counted_as="histograms",
    columns=(
        Column("time", timestamp_ms, "timestamp_ms"),
        Column("series_id", bigint, OWNER),
        Column("schema", smallint, "schema"),
        Column("is_float", boolean, "is_float"),
        Column("is_stale", boolean, "is_stale"),
        Column("count", float8, "observations"),
        Column("sum", float8, "sum"),
        Column("zero_threshold", float8, "zero_threshold"),
        Column("zero_count", float8, "zero_count"),
        Column("positive_indexes", int4_array, "positive.indexes"),
        Column("positive_counts", float8_array, "positive.counts"),
        Column("negative_indexes", int4_array, "negative.indexes"),
        Column("negative_counts", float8_array, "negative.counts"),
        Column("custom_bounds", nullable(float8_array), "custom_bounds"),
        Column("reset_hint", smallint, "reset_hint"),
        Column("start_time", nullable(timestamp_ms), "start_ms"),
        Column("exact_counts", nullable(numeric_array), "exact_counts"),
    ),
    order=attrgetter("timestamp_ms"),
    describe=_histogram_text,
    moment_ms=attrgetter("timestamp_ms"),
)

METADATA = ItemStore[Metadata](
    name="metadata",
    schema="internal",
    table="metadata",
    owner="tenant",
    counted_as=None,
    grows=False,
    columns=(
        Column("first_seen", timestamp_ms, "seen_ms"),
        Column("tenant_id", integer, OWNER),
        Column("name", text, "name"),
        Column("type", repeated_text, "type"),
        Column("unit", text, "unit"),
        Column("help", text, "help"),
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
        Column("start_time", timestamp_ms, "start_ms"),
        Column("series_id", bigint, OWNER),
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
        Column("time", timestamp_us, "timestamp_us"),
        Column("tenant_id", integer, OWNER),
        Column("name", text, "name"),
        Column("value", float8, "value"),
        Column("exact", nullable(numeric), "exact"),
        Column("attributes", jsonb, "attributes"),
        Column("item_id", uuid, "item_id"),
        Column("key_decides", boolean, "key_decides"),
        Column("target", repeated_text, "target"),
        Column("schema", repeated_text, "schema"),
    ),
    order=attrgetter("timestamp_us", "item_id"),
    describe=_measure_text,
    moment_ms=_record_moment_ms,
    shard_number=_record_shard,
)

EVENT = ItemStore[Event](
    name="event",
    schema="app",
    table="event",
    owner="tenant",
    columns=(
        Column("time", timestamp_us, "timestamp_us"),
        Column("tenant_id", integer, OWNER),
        Column("name", text, "name"),
        Column("attributes", jsonb, "attributes"),
        Column("item_id", uuid, "item_id"),
        Column("key_decides", boolean, "key_decides"),
    ),
    order=attrgetter("timestamp_us", "item_id"),
    describe=lambda event: f"event {event.name!r} at {time_text(event.timestamp_us // 1000)}",
    moment_ms=_record_moment_ms,
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
RECORDS: tuple[Literal["measure", "event"], ...] = ("measure", "event")
"""Stores of what applications push: they hold no ids of series."""
ROLLED_UP = tuple(name for name, store in STORES.items() if store.rolled_up)
GROWING = tuple(name for name, store in STORES.items() if store.grows)
RETAINED = tuple(dict.fromkeys(store.schema for store in STORES.values()))
"""What has a retention of its own: each target, and what applications push."""

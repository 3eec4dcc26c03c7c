"""Telegraf's tables, read: wide rows with a `tag_id`, and a table with a column for each tag.

Rows are read a period at a time, as binary COPY whose columns all have one length: a period is one
numpy array, and Python sees each tag set, never each row.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.copy_format import HEADER, POSTGRES_EPOCH_US, TRAILER
from ingest.errors import OperatorError
from ingest.model import Int64s
from ingest.moving.source import moment_of, quoted, reading
from ingest.sqlfiles import filled_query, query
from ingest.storage.pool import AnyConnection

TABLE, TAG_TABLE, ADDRESSES = (
    "prometheus_remote_write",
    "prometheus_remote_write_tag",
    "excluded_addresses",
)
COLUMNS = ("time", "tag_id", "name", "schema", "value")

ROWS_AT_ONCE = 200_000
MOST_ROWS_AT_ONCE = 2_000_000
"""A period with more rows is read in parts: a row takes 56 bytes, and more while it is sorted."""
SHORTEST_US, FIRST_US, LONGEST_US = 1_000_000, 3_600_000_000, 30 * 86_400_000_000
MOST_TAG_SETS = 200_000
"""Tag sets kept in mind. Each supply is one, and rows come in the order of time: old ones go."""
TOO_FINE, TOO_LARGE = 1, 2
"""Values of the column `care`."""

WIRE_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("tag_id_length", ">i4"),
        ("tag_id", ">i8"),
        ("kind_length", ">i4"),
        ("kind", ">i8"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("care_length", ">i4"),
        ("care", ">i2"),
    ]
)
"""A row of sql/queries/moving/rows.sql; time in microseconds since 2000."""
_WIRE_FIELDS = 5

WireRows = npt.NDArray[Any]


class OldTable(NamedTuple):
    """A table of rows, as SQL says it, the table of their tags, and the target of its rows, but for
    those of schema geo."""

    table: str
    tags: str
    target: str


class Layout(NamedTuple):
    """Where the tables are; `addresses` is None where there is no such table."""

    tables: tuple[OldTable, ...]
    addresses: str | None


class TagSet(NamedTuple):
    """What rows have in common, beside time and value; `tags` is None without a row in the table of
    tags, and has text, but for what is NULL."""

    tag_id: int
    schema: str
    name: str
    tags: Mapping[str, str | None] | None


class Window(NamedTuple):
    """All rows of a period.

    Attributes:
        until_us: its end, microseconds since 1970.
        tag_sets: each that occurs, once.
        of_row: for each row the position of its tag set.
        digits: by position of a row, its value where that has more digits than a float.
    """

    until_us: int
    rows: WireRows
    tag_sets: list[TagSet]
    of_row: Int64s
    digits: dict[int, str]


async def find_layout(connection: AnyConnection, schemas: Collection[str]) -> Layout:
    """The tables of the old layout.

    Args:
        schemas: where to look; empty for everywhere.

    Raises:
        OperatorError: they are not there, not as they should be, or there more than once.
    """
    async with reading(connection):
        found = {
            (row["schema"], row["name"]): row["columns"]
            for row in await connection.fetch(query("moving/layout"))
            if not schemas or row["schema"] in schemas
        }
    where = f" in schema {', '.join(sorted(schemas))}" if schemas else ""
    homes: dict[str, str] = {}
    for schema in [schema for schema, name in found if name == TABLE]:
        if missing := [each for each in COLUMNS if each not in found[schema, TABLE]]:
            raise OperatorError(f"{schema}.{TABLE} of the source has no column {missing[0]}")
        other = homes.setdefault("cumsum" if "cumsum" in schema else "internal", schema)
        if other != schema:
            raise OperatorError(
                f"the source has {TABLE} in schemas {other} and {schema}: say which (--schema)"
            )
    tagged = [schema for schema, name in found if name == TAG_TABLE]
    for name, there in ((TABLE, homes), (TAG_TABLE, tagged)):
        if not there:
            raise OperatorError(f"the source has no table {name}{where}: is it Telegraf's?")
    home = homes.get("internal", next(iter(homes.values())))
    tables = []
    for target, schema in sorted(homes.items(), reverse=True):
        # the old stack keeps the tags of both tables beside the one of `internal`
        tags = next(each for each in (schema, home, *tagged) if each in tagged)
        tables.append(OldTable(quoted(schema, TABLE), quoted(tags, TAG_TABLE), target))
    has_addresses = (home, ADDRESSES) in found
    return Layout(tuple(tables), quoted(home, ADDRESSES) if has_addresses else None)


async def bounds_of(connection: AnyConnection, table: str) -> tuple[int, int] | None:
    """Times of the oldest and the newest row, microseconds since 1970; None without rows."""
    edges = "(extract(epoch FROM min(time)) * 1e6)::bigint, (extract(epoch FROM max(time)) * 1e6)"
    async with reading(connection):
        row = await connection.fetchrow(f"SELECT {edges}::bigint FROM {table}")  # noqa: S608
    assert row is not None
    return None if row[0] is None else (row[0], row[1])


class Reader:
    """Rows of one table, oldest first, in periods that have about `ROWS_AT_ONCE` each.

    Args:
        start_us, end_us: microseconds since 1970; the end is left out.
    """

    def __init__(
        self, connection: AnyConnection, old: OldTable, start_us: int, end_us: int
    ) -> None:
        self._connection = connection
        self._old = old
        self._at_us = start_us
        self._end_us = end_us
        self._span_us = FIRST_US
        self._kinds: dict[int, tuple[str, str]] = {}
        self._known: dict[tuple[int, int], TagSet] = {}

    async def next(self) -> Window | None:
        """The next period that has rows; None at the end.

        Raises:
            OperatorError: the source refuses, or is away.
        """
        while self._at_us < self._end_us:
            until_us = min(self._at_us + self._span_us, self._end_us)
            async with reading(self._connection):
                rows = await self._rows(until_us)
                if len(rows) > MOST_ROWS_AT_ONCE and self._span_us > SHORTEST_US:
                    self._span_us = max(SHORTEST_US, self._span_us // 4)
                    continue
                window = await self._window(rows, until_us)
            self._at_us = until_us
            change = min(2.0, max(0.25, ROWS_AT_ONCE / max(1, len(rows))))
            self._span_us = max(SHORTEST_US, min(LONGEST_US, int(self._span_us * change)))
            if len(rows):
                return window
        return None

    async def _rows(self, until_us: int) -> WireRows:
        most = MOST_ROWS_AT_ONCE + 1 if self._span_us > SHORTEST_US else 2**40
        content = bytearray()

        async def take(piece: bytes) -> None:
            content.extend(piece)

        await self._connection.copy_from_query(
            filled_query("moving/rows", table=self._old.table),
            moment_of(self._at_us),
            moment_of(until_us),
            most,
            output=take,
            format="binary",
        )
        body = memoryview(content)[len(HEADER) : len(content) - len(TRAILER)]
        if len(body) % WIRE_ROW.itemsize:
            raise OperatorError(f"{self._old.table} has NULL where Telegraf's has none")
        rows = np.frombuffer(body, WIRE_ROW)
        if len(rows) and (rows["fields"] != _WIRE_FIELDS).any():
            raise OperatorError(f"{self._old.table} has NULL where Telegraf's has none")
        return rows

    async def _window(self, rows: WireRows, until_us: int) -> Window:
        tags, of_tag = np.unique(rows["tag_id"].astype(np.int64), return_inverse=True)
        kinds, of_kind = np.unique(rows["kind"].astype(np.int64), return_inverse=True)
        pairs, of_row = np.unique(of_tag * max(1, len(kinds)) + of_kind, return_inverse=True)
        if not self._kinds.keys() >= set(kinds.tolist()):
            await self._learn_kinds(until_us)
        keys = [
            (int(tags[pair // len(kinds)]), int(kinds[pair % len(kinds)]))
            for pair in pairs.tolist()
        ]
        if len(self._known) > MOST_TAG_SETS:
            self._known.clear()
        await self._learn([key for key in keys if key not in self._known])
        digits = await self._digits(rows, until_us) if (rows["care"] == TOO_FINE).any() else {}
        return Window(until_us, rows, [self._known[key] for key in keys], of_row, digits)

    async def _learn_kinds(self, until_us: int) -> None:
        for schema, name, kind in await self._ask("moving/kinds", until_us):
            if self._kinds.setdefault(kind, (schema, name)) != (schema, name):
                raise OperatorError(f"two metrics have one hash: {self._kinds[kind]} and {name!r}")

    async def _learn(self, keys: list[tuple[int, int]]) -> None:
        statement = f"SELECT tag_id, to_jsonb(t)::text FROM {self._old.tags} AS t"  # noqa: S608
        found = await self._connection.fetch(
            f"{statement} WHERE tag_id = ANY($1)", list({tag_id for tag_id, _ in keys})
        )
        # numbers as they are written: an amount may be one
        tags = {tag_id: json.loads(text, parse_int=str, parse_float=str) for tag_id, text in found}
        for tag_id, kind in keys:
            self._known[tag_id, kind] = TagSet(tag_id, *self._kinds[kind], tags.get(tag_id))

    async def _digits(self, rows: WireRows, until_us: int) -> dict[int, str]:
        found = {
            (time, tag_id, kind): text
            for time, tag_id, kind, text in await self._ask("moving/digits", until_us)
        }
        places = np.flatnonzero(rows["care"] == TOO_FINE).tolist()
        picked = rows[places]
        times = (picked["time"] + POSTGRES_EPOCH_US).tolist()
        keys = zip(
            map(moment_of, times), picked["tag_id"].tolist(), picked["kind"].tolist(), strict=True
        )
        return {place: found[key] for place, key in zip(places, keys, strict=True)}

    async def _ask(self, name: str, until_us: int) -> list[Any]:
        statement = filled_query(name, table=self._old.table)
        period = moment_of(self._at_us), moment_of(until_us)
        rows: list[Any] = await self._connection.fetch(statement, *period)
        return rows

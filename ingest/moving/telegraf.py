"""Telegraf's tables become series and samples.

A row's table and schema say the target, its schema stays, its name and tags are labels. Three of
the tags are values that were too large for a float: the first of them that is there is the exact
value of the row, as the old functions read it. It leaves the identity where it does so for live
samples (`[[value_label]]`): a changing supply is one series. Elsewhere it stays a label as well,
as live samples have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import numpy as np
import numpy.typing as npt

from ingest.copy_format import POSTGRES_EPOCH_MS
from ingest.model import METRIC_NAME, Counts, Int64s, Intake, Rows, Series, TenantId
from ingest.moving.source import reading
from ingest.moving.target import Part, Report, Target, Tell
from ingest.moving.telegraf_tables import (
    TOO_LARGE,
    Layout,
    OldTable,
    Reader,
    TagSet,
    Window,
    bounds_of,
)
from ingest.routing.router import is_decimal, lower_name
from ingest.series.identity import identity_of
from ingest.sqlfiles import query
from ingest.storage.pool import AnyConnection
from ingest.stores import TARGETS
from ingest.text import time_text
from ingest.wire.validate import LONGEST_NAME_BYTES

EXACT_TAGS = ("supply", "excluded_supply", "amount")
"""In the order in which the old functions take the first that is there."""
NO_LABELS = ("tag_id", "tli_name", METRIC_NAME)
"""Columns of a tag table that are no labels: its key, and a mark of the old processors."""
ANY_HOST = "*"
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Mapped:
    """What the rows of one tag set become: samples of a series, or nothing, for a reason."""

    series: Series | None
    exact: str | None = None
    reason: str = ""


@dataclass
class TagMapping:
    """How tag sets become series.

    Attributes:
        hosts: values of the tag `host` that are Telegraf's own, and no label.
        beside_settings: (metric, label) whose exact value live samples would not have, since no
            `[[value_label]]` says so.
        kept_hosts: values of `host` that are labels now.
    """

    target: Target
    tenant_id: TenantId
    hosts: Collection[str]
    beside_settings: set[tuple[str, str]] = field(default_factory=set)
    kept_hosts: set[str] = field(default_factory=set)

    def of(self, table_target: str, found: TagSet) -> Mapped:
        """The series of a tag set in a table."""
        is_geo = table_target == "internal" and found.schema == "geo"
        if found.tags is None and table_target == "internal":
            return Mapped(None, reason="without tags: no row of the tag table has their tag_id")
        if not 0 < len(found.name.encode()) <= LONGEST_NAME_BYTES:
            return Mapped(None, reason=f"the name is empty or above {LONGEST_NAME_BYTES} bytes")
        labels = {
            column: value
            for column, value in (found.tags or {"tag_id": str(found.tag_id)}).items()
            if value and (column not in NO_LABELS or found.tags is None)
        }
        host = labels.get("host")
        if host is not None and (host in self.hosts or ANY_HOST in self.hosts):
            del labels["host"]
        elif host is not None:
            self.kept_hosts.add(host)
        name = lower_name(found.name)
        exact = self._take_exact(name, labels)
        pairs = tuple(sorted({**labels, METRIC_NAME: found.name}.items()))
        target = "geo" if is_geo else table_target
        identity = identity_of(self.tenant_id, target, found.schema, pairs)
        return Mapped(Series(identity, self.tenant_id, target, found.schema, name, pairs), exact)

    def _take_exact(self, name: str, labels: dict[str, str]) -> str | None:
        """The exact value among labels, which it leaves where the settings say so."""
        ours = self.target.router.value_label(name)
        for label in (ours, *EXACT_TAGS):
            text = labels.get(label) if label is not None else None
            if label is None or text is None or not is_decimal(text):
                continue
            if label == ours:
                del labels[label]
            else:
                self.beside_settings.add((name, label))
            return text
        return None


async def import_tables(
    connection: AnyConnection,
    layout: Layout,
    mapping: TagMapping,
    parts: dict[OldTable, Part],
    period_us: tuple[int | None, int | None],
    tell: Tell,
) -> None:
    """Import the rows of every table, oldest first; while some are written, the next are read.

    Args:
        parts: how far each table is.
        period_us: from and to, microseconds since 1970; None is as far as there are rows.
    """
    target, tenant_id = mapping.target, mapping.tenant_id
    for old in layout.tables:
        part = parts[old]
        edges = await bounds_of(connection, old.table)
        first_us, last_us = edges or (0, -1)
        start_us = max(first_us, period_us[0] or first_us)
        end_us = min(last_us + 1, period_us[1] or last_us + 1)
        at_us = int(part.position) if part.position is not None else start_us
        reader = Reader(connection, old, at_us, end_us)
        upcoming = asyncio.create_task(reader.next())
        try:
            while (window := await upcoming) is not None:
                upcoming = asyncio.create_task(reader.next())
                intake = await _intake_of(window, old, mapping, part.report)
                again = partial(_intake_of, window, old, mapping, Report())  # counted already
                await target.store(intake, part.report, again)
                await target.save(tenant_id, part, str(window.until_us))
                tell(part.title, (window.until_us - start_us) / (end_us - start_us))
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        await target.save(tenant_id, part, str(max(at_us, end_us)))


async def import_addresses(
    connection: AnyConnection, table: str, target: Target, tenant_id: TenantId
) -> tuple[int, int]:
    """Import excluded addresses; how many there are, and how many of them are new."""
    async with reading(connection):
        rows = await connection.fetch(f"SELECT value FROM {table} ORDER BY id")  # noqa: S608
    addresses = [row["value"] for row in rows]
    if target.dry_run:
        return len(addresses), 0
    added = await target.ask(query("moving/add_addresses"), tenant_id, addresses)
    return len(addresses), added[0][0]


async def _intake_of(window: Window, old: OldTable, mapping: TagMapping, report: Report) -> Intake:
    """Samples of all rows that can be stored; the others are counted."""
    target = mapping.target
    mapped = [mapping.of(old.target, each) for each in window.tag_sets]
    generation = target.cache.generation  # before: while ids are asked for, others may end
    ids = await target.ids([one.series for one in mapped if one.series is not None])
    of_row = window.of_row
    # By tag set: number of the target (-1: left out) and id of the series.
    target_number = np.array([_target_number(one) for one in mapped], np.int64)
    series_id = np.array(
        [ids[one.series.identity] if one.series else 0 for one in mapped], np.int64
    )
    timestamp_ms = window.rows["time"].astype(np.int64) // 1000 + POSTGRES_EPOCH_MS
    kept = target_number[of_row] >= 0
    for number in np.flatnonzero(target_number < 0).tolist():
        report.leave_out(mapped[number].reason, int((of_row == number).sum()))
    kept &= _within_floats(window, report, kept)
    kept &= _in_time(target, target_number[of_row], timestamp_ms, report, kept)
    report.read += len(kept) - int(kept.sum())

    places = _largest_of_equals(
        window, mapped, series_id[of_row], timestamp_ms, np.flatnonzero(kept)
    )
    report.read += int(kept.sum()) - len(places)
    report.present += int(kept.sum()) - len(places)
    value = window.rows["value"].astype(np.float64)
    has_exact = np.array([one.exact is not None for one in mapped])[of_row]
    has_exact[list(window.digits)] = True
    intake = Intake(
        tenant_id=mapping.tenant_id,
        sent=Counts(samples=len(places)),
        generation=generation,
    )
    for number, name in enumerate(TARGETS):
        mine = places[target_number[of_row[places]] == number]
        exact = {}
        for position in np.flatnonzero(has_exact[mine]).tolist():
            place = int(mine[position])
            text = mapped[of_row[place]].exact
            exact[position] = window.digits[place] if text is None else text
        if len(mine):
            rows = Rows(series_id[of_row[mine]], timestamp_ms[mine], value[mine], exact)
            intake.known[name] = rows
    return intake


def _target_number(one: Mapped) -> int:
    return -1 if one.series is None else TARGETS.index(one.series.target)


def _within_floats(window: Window, report: Report, kept: Bools) -> Bools:
    """Rows whose value can be stored: as a float, or with 100 digits on each side of the point."""
    fits: Bools = window.rows["care"] != TOO_LARGE
    fits[[place for place, text in window.digits.items() if not is_decimal(text)]] = False
    report.leave_out(
        "the value is beyond what a float holds, or 100 digits", int((kept & ~fits).sum())
    )
    return fits


def _in_time(
    target: Target, target_number: Int64s, timestamp_ms: Int64s, report: Report, kept: Bools
) -> Bools:
    """Rows whose timestamp is taken: retention has not passed it, and it is not in the future."""
    limits = target.window()
    taken = limits.holds(np.maximum(target_number, 0), timestamp_ms)
    refused = kept & ~taken
    is_late = timestamp_ms > limits.newest_ms
    report.leave_out("the timestamp is in the future", int((refused & is_late).sum()))
    for number, name in enumerate(TARGETS):
        rows = int((refused & ~is_late & (target_number == number)).sum())
        oldest = time_text(int(limits.oldest_ms[number]))
        report.leave_out(f"before {oldest}, the oldest that target {name} takes", rows)
    return taken


def _largest_of_equals(
    window: Window, mapped: list[Mapped], series_id: Int64s, timestamp_ms: Int64s, places: Int64s
) -> Int64s:
    """Of rows of one series and time the one of the largest value, as the old functions have it:
    places of rows, sorted by series and time."""
    texts = sorted({one.exact for one in mapped if one.exact is not None}, key=Decimal)
    rank = {text: float(number) for number, text in enumerate(texts)}
    ranks = np.array([rank[one.exact] if one.exact else np.nan for one in mapped])[window.of_row]
    size = np.where(np.isnan(ranks), window.rows["value"].astype(np.float64), ranks)[places]
    series_id, timestamp_ms = series_id[places], timestamp_ms[places]
    order = np.lexsort((-size, timestamp_ms, series_id))
    series_id, timestamp_ms = series_id[order], timestamp_ms[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (series_id[1:] != series_id[:-1]) | (timestamp_ms[1:] != timestamp_ms[:-1])
    return places[order[is_first]]

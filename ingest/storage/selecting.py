"""Series and samples for Prometheus' API: what a selector needs, as arrays.

PostgreSQL sends one row a series, of arrays in its binary form, which numpy reads in place; a row a
sample would take three to five times as long. Series are asked for in batches of about
`BATCH_SAMPLES`: neither side holds much more than that beside the answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from ingest.copy_format import POSTGRES_EPOCH_MS
from ingest.errors import PromqlLimit
from ingest.promql.histograms import CUSTOM, Histograms, Side
from ingest.promql.matchers import Matcher, matching
from ingest.promql.storage import Samples, Selection
from ingest.promql.values import NAME, STALE, Floats, Ints, Labels
from ingest.storage.engine import to_datetime
from ingest.storage.pool import AnyConnection
from ingest.stores import ROLLED_UP

BATCH_SAMPLES = 500_000
"""That one statement is meant to answer; four times as many make it two."""
FIRST_SERIES = 64
"""Of the first batch; the next ones are as large as what it brought allows."""
MOST_SERIES_AT_ONCE = 20_000
OLDEST_MS, NEWEST_MS = -62_135_596_800_000, 253_402_300_799_999
"""From the year 1 to 9999: what a timestamp can be in Python."""
MOST_REMEMBERED = 50_000
"""Series whose labels a process keeps."""

FIND = "SELECT target, series_ids FROM internal.matching_series($1, $2, $3)"
LABELS = "SELECT series_id, labels FROM internal.labels_of_series($1)"


class Found(NamedTuple):
    """A series that meets matchers.

    Attributes:
        labels: in the order of their names.
        key: their texts, each with a NUL behind it: what tells label sets apart, and their order.
    """

    series_id: int
    target: str
    labels: Labels
    key: str


class Budget:
    """Samples and series that one query may still read.

    Args:
        samples: in memory at once; buckets of histograms count, too.
        series: of each selector.
    """

    def __init__(self, samples: int, series: int) -> None:
        self.most_samples, self.most_series = samples, series
        self.left = samples

    def take(self, cells: int) -> None:
        """Read so many.

        Raises:
            PromqlLimit: that is more than the query may.
        """
        self.check(cells)
        self.left -= cells

    def check(self, cells: int) -> None:
        """Say whether so many may be read.

        Raises:
            PromqlLimit: they may not.
        """
        if cells > self.left:
            raise PromqlLimit(
                "query processing would load too many samples into memory in query execution"
                f" (query.max_samples: {self.most_samples})"
            )

    def check_series(self, count: int) -> None:
        """Find so many series.

        Raises:
            PromqlLimit: that is more than a selector may.
        """
        if count > self.most_series:
            raise PromqlLimit(
                f"a selector meets more than {self.most_series} series (query.max_series)"
            )


def _key_of(labels: Labels) -> str:
    return "".join([f"{name}\0{value}\0" for name, value in labels.items()])


class LabelCache:
    """Series with their labels, taken apart once: they never change, and their text is as large as
    the samples of an instant query."""

    def __init__(self) -> None:
        self._known: dict[int, Found] = {}

    async def of(
        self, connection: AnyConnection, ids_of_targets: Sequence[tuple[str, list[int]]]
    ) -> list[Found]:
        """Series by their ids, of each target: from the database what is not known yet."""
        unknown = {
            series_id: target
            for target, ids in ids_of_targets
            for series_id in ids
            if series_id not in self._known
        }
        if len(self._known) + len(unknown) > MOST_REMEMBERED:
            self._known.clear()
            unknown = {series_id: target for target, ids in ids_of_targets for series_id in ids}
        if unknown:
            for series_id, text in await connection.fetch(LABELS, list(unknown)):
                labels = dict(sorted(json.loads(text).items()))
                known = Found(series_id, unknown[series_id], labels, _key_of(labels))
                self._known[series_id] = known
        return [self._known[series_id] for _, ids in ids_of_targets for series_id in ids]


async def find_series(
    connection: AnyConnection, matchers: Sequence[Matcher], budget: Budget, cache: LabelCache
) -> list[Found]:
    """Series of the transaction's tenant that meet all matchers, ordered by their labels.

    Raises:
        PromqlLimit: they are too many.
    """
    names, labels = what_indexes_know(matchers)
    rows = await connection.fetch(FIND, names, labels, budget.most_series + 1)
    ids_of = [(row["target"], elements([row["series_ids"]], ">i8").tolist()) for row in rows]
    budget.check_series(sum(len(ids) for _, ids in ids_of))
    found = await cache.of(connection, ids_of)
    undecided = [matcher for matcher in matchers if not (matcher.op == "=" and matcher.value)]
    if undecided:
        found = [one for one in found if matching(undecided, one.labels)]
    found.sort(key=itemgetter(0))
    found.sort(key=itemgetter(3))
    return found


def what_indexes_know(matchers: Sequence[Matcher]) -> tuple[list[str] | None, str]:
    """What matchers ask for that the database can look up: names in lower case (None: any), and
    labels as the text of a JSON object. What meets them may still fail a matcher."""
    names: list[str] | None = None
    labels: dict[str, str] = {}
    for matcher in matchers:
        if matcher.op == "=" and not can_be_stored(matcher.name + matcher.value):
            return [], "{}"
        if matcher.name == NAME and matcher.values is not None and "" not in matcher.values:
            lowered = {value.lower() for value in matcher.values if can_be_stored(value)}
            names = sorted(lowered if names is None else lowered.intersection(names))
        if matcher.op == "=" and matcher.value:
            labels[matcher.name] = matcher.value
    return names, json.dumps(labels)


def can_be_stored(text: str) -> bool:
    """Whether a label may be so: PostgreSQL has no text with NUL, or with bytes that are no UTF-8,
    which are lone surrogates here."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


async def select(
    connection: AnyConnection,
    found: Sequence[Found],
    selection: Selection,
    budget: Budget,
    with_starts: bool = False,
) -> Samples:
    """What a selector needs of the series that it meets, in a transaction that reads for a tenant.

    Series of equal labels, in several targets or schemas of routing, are one; of equal times the
    sample of the older series stays. Start timestamps are found only `with_starts`.

    Args:
        found: as `find_series` orders them.

    Raises:
        PromqlLimit: they have too many samples.
    """
    if not found:
        return Samples.none()
    ranks, labels = _ranks(found)
    period = (
        to_datetime(max(selection.from_ms, OLDEST_MS)),
        to_datetime(min(selection.to_ms, NEWEST_MS)),
    )
    if len(labels) < len(found):  # what is represented by one sample is not of one series then
        selection = replace(selection, reduction="")
    parts = [
        *await _floats(connection, found, ranks, period, selection, budget),
        *await _histograms(connection, found, ranks, period, budget),
    ]
    samples = _joined(parts, labels)
    if with_starts:
        samples.starts = await _starts(connection, found, samples, period)
    if samples.histograms is not None:  # those before the span were there for the hints' sake
        samples = samples.with_hints(selection.counts_only)
        samples = _only(samples, samples.times >= selection.from_ms)
    if selection.newest and len(samples.times):
        is_last = np.zeros(len(samples.times), bool)
        is_last[samples.offsets[1:] - 1] = True
        samples = _only(samples, is_last)
    return samples


async def live_series(
    connection: AnyConnection, found: Sequence[Found], from_ms: int, to_ms: int
) -> set[int]:
    """Ids of those that have a sample or a native histogram in a period, its ends included."""
    period = to_datetime(max(from_ms, OLDEST_MS)), to_datetime(min(to_ms, NEWEST_MS))
    live: set[int] = set()
    for target in {one.target for one in found}:
        ids = [one.series_id for one in found if one.target == target]
        statement = f"SELECT * FROM {target}.live_series($1, $2, $3)"  # noqa: S608
        live.update(row[0] for row in await connection.fetch(statement, ids, *period))
    rest = [one.series_id for one in found if one.series_id not in live]
    if rest:
        statement = "SELECT * FROM internal.live_histograms($1, $2, $3)"
        live.update(row[0] for row in await connection.fetch(statement, rest, *period))
    return live


class _Part(NamedTuple):
    """Samples of some series: N of them in R runs, none of which is empty.

    Attributes:
        rank: of the labels of each run [R].
        counts: how many samples each run has [R].
        time, value: [N], and so is weight.
        block: of histograms.
    """

    rank: Ints
    counts: Ints
    time: Ints
    value: Floats
    block: Histograms | None = None
    weight: Ints | None = None


def _ranks(found: Sequence[Found]) -> tuple[dict[int, int], list[Labels]]:
    """The place of each series among distinct labels, by its id; and these."""
    ranks: dict[int, int] = {}
    labels: list[Labels] = []
    before: str | None = None
    for one in found:
        if one.key != before:
            labels.append(one.labels)
            before = one.key
        ranks[one.series_id] = len(labels) - 1
    return ranks, labels


async def _floats(
    connection: AnyConnection,
    found: Sequence[Found],
    ranks: dict[int, int],
    period: tuple[datetime, datetime],
    selection: Selection,
    budget: Budget,
) -> list[_Part]:
    by_target: dict[str, list[int]] = {}
    for one in found:
        by_target.setdefault(one.target, []).append(one.series_id)
    parts = []
    for target, ids in by_target.items():
        if selection.newest:
            parts += await _newest(connection, target, ids, ranks, period, budget)
        else:
            parts += await _batches(connection, target, ids, ranks, period, selection, budget)
    return parts


async def _newest(
    connection: AnyConnection,
    target: str,
    ids: Sequence[int],
    ranks: dict[int, int],
    period: tuple[datetime, datetime],
    budget: Budget,
) -> list[_Part]:
    parts = []
    for at in range(0, len(ids), MOST_SERIES_AT_ONCE):
        row = await connection.fetchrow(
            f"SELECT * FROM {target}.newest_samples($1, $2, $3)",  # noqa: S608 (a target of ours)
            ids[at : at + MOST_SERIES_AT_ONCE],
            *period,
        )
        if row is None or row["times"] is None:
            continue
        series = elements([row["series_ids"]], ">i8")
        rank = np.fromiter(map(ranks.__getitem__, series.tolist()), np.int64, len(series))
        budget.take(len(rank))
        each = np.ones(len(rank), np.int64)
        parts.append(_Part(rank, each, _times([row["times"]]), elements([row["values"]], ">f8")))
    return parts


async def _batches(
    connection: AnyConnection,
    target: str,
    ids: Sequence[int],
    ranks: dict[int, int],
    period: tuple[datetime, datetime],
    selection: Selection,
    budget: Budget,
) -> list[_Part]:
    """All samples, or what represents them, some series at a time. A batch that turns out too large
    is asked again in halves: of the series, or, if it is one series, of the period. If the first
    one looks as if all were too many, they are counted before any more is read."""
    statement = f"SELECT * FROM {target}.packed_samples($1, $2, $3, $4)"  # noqa: S608
    beside: list[object] = []
    counted = reduces = bool(selection.reduction) and target in ROLLED_UP
    if reduces:
        statement = f"SELECT * FROM {target}.reduced_samples($1, $2, $3, $4, $5, $6)"  # noqa: S608
        # An edge belongs to what follows it, in SQL.
        edges = [to_datetime(edge_ms) + datetime.resolution for edge_ms in selection.edges.tolist()]
        beside = [edges, selection.reduction]
    parts, size = [], FIRST_SERIES
    waiting = [(list(ids), period)]
    while waiting:
        series, (start, end) = waiting.pop()
        if len(series) > size:
            waiting.append((series[size:], (start, end)))
            series = series[:size]
        most = min(4 * BATCH_SAMPLES, budget.left + 1)
        rows = await connection.fetch(statement, series, start, end, most, *beside)
        # Cheaper than of all samples, later.
        rows.sort(key=lambda row: (ranks[row["series_id"]], row["series_id"], row["first_ms"]))
        counts = np.array([(len(row["values"]) - _HEADER) // _LONG for row in rows], np.int64)
        total = int(counts.sum())
        budget.check(total)
        if not counted and total * len(ids) > budget.left * len(series):
            counting = f"SELECT {target}.count_samples($1, $2, $3, $4)"
            budget.check(await connection.fetchval(counting, ids, *period, budget.left + 1))
        counted = True
        if total >= most:
            waiting += _halves(series, start, end)
            size = max(1, len(series) // 2)
            continue
        budget.take(total)
        if total:
            size = max(1, min(MOST_SERIES_AT_ONCE, BATCH_SAMPLES * len(series) // total))
            rank = np.array([ranks[row["series_id"]] for row in rows], np.int64)
            times = _times_of_rows(rows, counts)
            values = elements([row["values"] for row in rows], ">f8")
            weights = _weights_of_rows(rows, counts) if reduces else None
            parts.append(_Part(rank, counts, times, values, weight=weights))
        else:
            size = min(MOST_SERIES_AT_ONCE, 4 * size)
    return parts


def _times_of_rows(rows: Sequence[asyncpg.Record], counts: Ints) -> Ints:
    """Timestamps in milliseconds, one row's after the other."""
    kinds = np.array([1 if row["step_ms"] else 2 if row["steps"] else 0 for row in rows])
    readers = (_given_times, _regular_times, _irregular_times)
    if (kinds == kinds[0]).all():
        return readers[kinds[0]](rows, counts)
    times = np.empty(int(counts.sum()), np.int64)
    for kind in np.unique(kinds).tolist():
        mine = kinds == kind
        some = [rows[at] for at in np.flatnonzero(mine).tolist()]
        times[np.repeat(mine, counts)] = readers[kind](some, counts[mine])
    return times


def _given_times(rows: Sequence[asyncpg.Record], _: Ints) -> Ints:
    return _times([row["times"] for row in rows])


def _regular_times(rows: Sequence[asyncpg.Record], counts: Ints) -> Ints:
    """Each is a step behind the one before, and the first of a row as far behind as it is."""
    first = np.array([row["first_ms"] for row in rows], np.int64)
    step = np.array([row["step_ms"] for row in rows], np.int64)
    last = first + step * (counts - 1)
    times = np.repeat(step, counts)
    times[np.cumsum(counts) - counts] = first - np.append(0, last[:-1])
    return np.cumsum(times, out=times)


def _irregular_times(rows: Sequence[asyncpg.Record], counts: Ints) -> Ints:
    """Sums of steps, of which a row has all from its block's first on, which is 0: the samples are
    those at its end."""
    first = np.array([row["first_ms"] for row in rows], np.int64)
    lengths = np.array([(len(row["steps"]) - _HEADER) // _INT for row in rows], np.int64)
    ends = np.cumsum(lengths)
    times = np.cumsum(elements([row["steps"] for row in rows], ">i4"))
    times += np.repeat(first - times[ends - lengths], lengths)
    if (lengths == counts).all():
        return times
    return times[np.arange(len(times)) >= np.repeat(ends - counts, lengths)]


def _weights_of_rows(rows: Sequence[asyncpg.Record], counts: Ints) -> Ints:
    """How many samples each of them stands for."""
    weights = np.ones(int(counts.sum()), np.int64)
    given = [row["weights"] for row in rows if row["weights"] is not None]
    if given:
        is_given = np.array([row["weights"] is not None for row in rows])
        weights[np.repeat(is_given, counts)] = elements(given, ">i8")
    return weights


def _halves(
    series: list[int], start: datetime, end: datetime
) -> list[tuple[list[int], tuple[datetime, datetime]]]:
    middle = len(series) // 2
    if middle:
        return [(series[middle:], (start, end)), (series[:middle], (start, end))]
    halfway = start + (end - start) / 2
    return [(series, (halfway + datetime.resolution, end)), (series, (start, halfway))]


async def _histograms(
    connection: AnyConnection,
    found: Sequence[Found],
    ranks: dict[int, int],
    period: tuple[datetime, datetime],
    budget: Budget,
) -> list[_Part]:
    parts = []
    for at in range(0, len(found), MOST_SERIES_AT_ONCE):
        ids = [one.series_id for one in found[at : at + MOST_SERIES_AT_ONCE]]
        rows = await connection.fetch(
            "SELECT * FROM internal.packed_histograms($1, $2, $3, $4)",
            ids,
            *period,
            budget.left + 1,
        )
        if rows:
            parts.append(_histogram_part(rows, ranks, budget))
    return parts


def _histogram_part(rows: Sequence[asyncpg.Record], ranks: dict[int, int], budget: Budget) -> _Part:
    """Histograms of several series as one block of N rows; a stale marker is a float."""

    def column(name: str, kind: str) -> npt.NDArray[Any]:
        return elements([row[name] for row in rows], kind)

    counts = [(len(row["times"]) - _HEADER) // _LONG for row in rows]
    total = sum(counts)
    budget.take(total)
    is_stale = column("is_stale", ">i4") != 0
    schema = column("schemas", ">i4")
    sides = [
        _side(
            column(f"{sign}_lengths", ">i4"),
            b"".join([row[f"{sign}_indexes"] for row in rows]),
            b"".join([row[f"{sign}_counts"] for row in rows]),
            budget,
        )
        for sign in ("positive", "negative")
    ]
    of, bounds = _bounds(
        column("bounds_lengths", ">i4"), b"".join([row["bounds"] for row in rows]), schema
    )
    block = Histograms(
        schema=schema,
        hint=column("reset_hints", ">i4"),
        count=column("counts", ">f8"),
        sum=column("sums", ">f8"),
        zero_threshold=column("zero_thresholds", ">f8"),
        zero_count=column("zero_counts", ">f8"),
        positive=sides[0],
        negative=sides[1],
        bounds_of=of,
        bounds=bounds,
    )
    rank = np.array([ranks[row["series_id"]] for row in rows], np.int64)
    return _Part(
        rank,
        np.array(counts, np.int64),
        _times([row["times"] for row in rows]),
        np.where(is_stale, STALE, 0.0),
        block,
    )


def _side(lengths: Ints, indexes: bytes, counts: bytes, budget: Budget) -> Side:
    """Ragged buckets of N histograms as a matrix [N, B], B being every index that occurs."""
    columns, places = _distinct(_ragged(indexes, lengths, ">i4").astype(np.int64))
    budget.take(len(lengths) * len(columns))
    matrix = np.zeros((len(lengths), len(columns)))
    matrix[np.repeat(np.arange(len(lengths)), lengths), places] = _ragged(counts, lengths, ">f8")
    return Side(columns, matrix)


def _distinct(values: Ints) -> tuple[Ints, Ints]:
    """Distinct values in order, and the place of each value among them."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if high - low > 4 * len(values):
        columns, places = np.unique(values, return_inverse=True)
        return columns, places
    is_there = np.zeros(high - low + 1, bool)  # of so few, no sorting
    is_there[values - low] = True
    return np.flatnonzero(is_there) + low, (np.cumsum(is_there) - 1)[values - low]


def _bounds(lengths: Ints, raw: bytes, schema: Ints) -> tuple[Ints, tuple[tuple[float, ...], ...]]:
    """Which custom bounds each histogram has, -1 for none, and these, each once."""
    of = np.full(len(lengths), -1, np.int64)
    if not (schema == CUSTOM).any():
        return of, ()
    ends = np.cumsum(lengths)
    every = _ragged(raw, lengths, ">f8")
    known: dict[tuple[float, ...], int] = {}
    for at in np.flatnonzero(schema == CUSTOM).tolist():
        mine = tuple(every[ends[at] - lengths[at] : ends[at]].tolist())
        of[at] = known.setdefault(mine, len(known))
    return of, tuple(known)


async def _starts(
    connection: AnyConnection,
    found: Sequence[Found],
    samples: Samples,
    period: tuple[datetime, datetime],
) -> Ints:
    """When counting began, for each sample [N], 0 where nobody said it.

    A histogram has its own. Of floats each start of a series is kept once: a sample's is the last
    one before it, which is what a sender said with it, unless it says the time of the sample itself
    or one from before the sample before.
    """
    ids = [one.series_id for one in found]
    of_floats: dict[str, list[Ints]] = {}
    of_histograms: dict[str, dict[int, int]] = {}
    key_of_id = {one.series_id: one.key for one in found}
    statement = "SELECT * FROM internal.packed_starts($1, $2)"
    for row in await connection.fetch(statement, ids, period[1]):
        of_floats.setdefault(key_of_id[row["series_id"]], []).append(_times([row["starts"]]))
    statement = "SELECT * FROM internal.packed_histogram_starts($1, $2, $3)"
    for row in await connection.fetch(statement, ids, *period):
        pairs = zip(_times([row["times"]]).tolist(), _times([row["starts"]]).tolist(), strict=True)
        of_histograms.setdefault(key_of_id[row["series_id"]], {}).update(pairs)
    starts = np.zeros(len(samples.times), np.int64)
    for series, labels in enumerate(samples.labels):
        mine = slice(int(samples.offsets[series]), int(samples.offsets[series + 1]))
        times, key = samples.times[mine], _key_of(labels)
        known = np.sort(np.concatenate([np.zeros(1, np.int64), *of_floats.get(key, [])]))
        starts[mine] = known[np.maximum(np.searchsorted(known, times) - 1, 0)]
        if samples.rows is not None:
            said = of_histograms.get(key, {})
            exact = np.array([said.get(at, 0) for at in times.tolist()], np.int64)
            starts[mine] = np.where(samples.rows[mine] >= 0, exact, starts[mine])
    return starts


def _joined(parts: Sequence[_Part], labels: list[Labels]) -> Samples:
    """One series for each rank that has samples: in order of time, each time once."""
    if not parts:
        return Samples.none()
    rank = np.concatenate([part.rank for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    time = np.concatenate([part.time for part in parts])
    value = np.concatenate([part.value for part in parts])
    row = weight = None
    blocks = [part.block for part in parts if part.block is not None]
    if blocks:
        row = np.concatenate([_rows_of(parts, number) for number in range(len(parts))])
    if any(part.weight is not None for part in parts):
        each = [np.ones(len(p.time), np.int64) if p.weight is None else p.weight for p in parts]
        weight = np.concatenate(each)
    if not _are_in_order(rank, counts, time):
        rank = np.repeat(rank, counts)
        order = np.lexsort((time, rank))  # stable: of equal times the first part's stays first
        rank, time = rank[order], time[order]
        kept = np.append(True, (rank[1:] != rank[:-1]) | (time[1:] != time[:-1]))
        rank, time, value = rank[kept], time[kept], value[order][kept]
        row = None if row is None else row[order][kept]
        weight = None if weight is None else weight[order][kept]
        counts = np.ones(len(rank), np.int64)
    starts = np.flatnonzero(np.append(True, rank[1:] != rank[:-1]))
    return Samples(
        [labels[place] for place in rank[starts].tolist()],
        np.append((np.cumsum(counts) - counts)[starts], len(time)),
        time,
        value,
        Histograms.joined(blocks) if blocks else None,
        row,
        weights=weight,
    )


def _are_in_order(rank: Ints, counts: Ints, time: Ints) -> bool:
    """Whether runs come in the order of ranks, and within a rank each sample after the last."""
    is_later = time[1:] > time[:-1]
    last = np.cumsum(counts)[:-1] - 1
    is_later[last] &= rank[1:] == rank[:-1]
    is_later[last] |= rank[1:] > rank[:-1]
    return bool(is_later.all())


def _only(samples: Samples, kept: npt.NDArray[np.bool_]) -> Samples:
    """Some of the samples, without series that have none of them."""
    if kept.all():
        return samples
    before = np.append(0, np.cumsum(kept))
    counts = np.diff(before[samples.offsets])
    some = np.flatnonzero(counts)
    return Samples(
        [samples.labels[series] for series in some.tolist()],
        np.append(0, np.cumsum(counts[some])).astype(np.int64),
        samples.times[kept],
        samples.values[kept],
        samples.histograms,
        None if samples.rows is None else samples.rows[kept],
        None if samples.starts is None else samples.starts[kept],
        None if samples.weights is None else samples.weights[kept],
    )


def _rows_of(parts: Sequence[_Part], number: int) -> Ints:
    """Of each sample of a part its row among the blocks of all parts, joined; -1 for a float."""
    part = parts[number]
    if part.block is None:
        return np.full(len(part.time), -1, np.int64)
    before = sum(len(one.block) for one in parts[:number] if one.block is not None)
    is_stale = part.value.view(np.int64) == np.array(STALE).view(np.int64)
    return np.where(is_stale, -1, before + np.arange(len(part.time)))


_HEADER = 20
"""Bytes of array_send before the first element: dimensions, flags, type, length, lower bound."""
_EMPTY = 12
"""Of an array without elements, which has no dimension."""
_LONG, _INT = 12, 8
"""Bytes of an element of eight and of four: its length comes first."""


def elements(arrays: Sequence[bytes], kind: str) -> npt.NDArray[Any]:
    """Elements of arrays that are not empty, as array_send makes them, one array after the other,
    in the machine's order of bytes."""
    joined = b"".join([memoryview(raw)[_HEADER:] for raw in arrays])
    found = np.frombuffer(joined, [("length", ">i4"), ("element", kind)])["element"]
    return found.astype(np.dtype(kind).newbyteorder("=").str.replace("i4", "i8"))


def _times(arrays: Sequence[bytes]) -> Ints:
    """Timestamps in milliseconds since 1970."""
    times: Ints = elements(arrays, ">i8") // 1000 + POSTGRES_EPOCH_MS
    return times


def _ragged(raw: bytes, lengths: Ints, kind: str) -> npt.NDArray[Any]:
    """Elements of arrays that stand one after the other, headers and all, each of its length. All
    that is in them is of four or eight bytes: it is looked at as words of four."""
    words = np.dtype(kind).itemsize // 4
    header, element = _HEADER // 4, 1 + words
    sizes = np.where(lengths > 0, header + element * lengths, _EMPTY // 4)
    begins = np.cumsum(sizes) - sizes + header - element * (np.cumsum(lengths) - lengths)
    at = np.repeat(begins, lengths) + element * np.arange(int(lengths.sum())) + 1
    found = np.frombuffer(raw, "V4")[at[:, None] + np.arange(words)]
    elements: npt.NDArray[Any] = np.ascontiguousarray(found).view(kind)[:, 0]
    return elements.astype(np.dtype(kind).newbyteorder("="))

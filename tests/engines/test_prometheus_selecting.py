"""What a selector is given of the database: the same as of lists in memory, on both engines."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ingest.errors import PromqlLimit
from ingest.promql.matchers import Matcher
from ingest.promql.storage import Samples, Selection
from ingest.promql.values import STALE, Labels, key_of
from ingest.storage import selecting
from ingest.storage.selecting import Budget, LabelCache, find_series, live_series, select
from tests.engines.native import Native, store
from tests.engines.sql_api import Api, Sample
from tests.support.databases import Database

START = datetime(2026, 6, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
STEP = timedelta(seconds=15)
STEP_MS = 15_000
NAME = Matcher("=", "__name__", "m")


def budget(samples: int = 10**6, series: int = 10**5) -> Budget:
    return Budget(samples, series)


async def selected(
    api: Api, selection: Selection, allowed: Budget | None = None, with_starts: bool = False
) -> Samples:
    async with api.connection.transaction():
        return await _select(api, selection, allowed or budget(), with_starts)


async def _select(
    api: Api, selection: Selection, allowed: Budget, with_starts: bool = False
) -> Samples:
    found = await find_series(api.connection, selection.matchers, allowed, LabelCache())
    return await select(api.connection, found, selection, allowed, with_starts)


def shown(value: float) -> float | str:
    """A value; one that is none by its bits."""
    return value if math.isfinite(value) else hex(np.float64(value).view(np.uint64))


def told(samples: Samples) -> list[tuple[Labels, list[tuple[int, float | str]]]]:
    """Series with their samples."""
    found = []
    for number, labels in enumerate(samples.labels):
        mine = slice(samples.offsets[number], samples.offsets[number + 1])
        values = map(shown, samples.values[mine].tolist())
        found.append((labels, list(zip(samples.times[mine].tolist(), values, strict=True))))
    return found


async def test_it_finds_what_a_search_through_lists_finds(api: Api) -> None:
    """Several targets and schemas, equal label sets in two of them, gaps, stale markers, NaN."""
    chance = random.Random(7)
    sent: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    samples = []
    for number in range(12):
        labels = {"job": f"j{number % 3}", "n": str(number // 4)}
        target, schema = ("internal", "cumsum", "geo")[number % 3], ("common", "other")[number % 2]
        mine = sent.setdefault(key_of({"__name__": "m", **labels}), {})
        for step in range(40):
            if chance.random() < 0.3:
                continue
            value = chance.choice([1.5, float(step), STALE, math.nan, math.inf, -0.0])
            moment_ms = START_MS + step * STEP_MS + number
            mine[moment_ms] = value
            samples.append(
                Sample(START + step * STEP + timedelta(milliseconds=number), "m", value,
                       labels=labels, target=target, schema=schema)
            )  # fmt: skip
    await api.store(*samples, Sample(START, "other", labels={"job": "j1"}))
    for matchers in ((NAME,), (NAME, Matcher("=", "job", "j1")), (NAME, Matcher("!=", "n", "0")),
                     (NAME, Matcher("=~", "job", "j[12]"), Matcher("!~", "n", "1|2"))):  # fmt: skip
        for begin, end in ((0, 10**6), (60_000, 120_000), (45_001, 45_001), (10**7, 10**8)):
            asked = Selection(matchers, START_MS + begin, START_MS + end)
            expected = []
            for key, mine in sorted(sent.items()):
                points = [
                    (at, shown(value))
                    for at, value in sorted(mine.items())
                    if asked.from_ms <= at <= asked.to_ms
                ]
                if points and asked.matches(dict(key)):
                    expected.append((dict(key), points))
            found = told(await selected(api, asked))
            assert found == expected, (matchers, begin, end)
            newest = Selection(matchers, asked.from_ms, asked.to_ms, newest=True)
            assert told(await selected(api, newest)) == [
                (labels, points[-1:]) for labels, points in found
            ]


@pytest.mark.parametrize("batch", [1, 7, 1000])
async def test_batches_change_nothing(
    api: Api, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of series and of the period, however small they have to be."""
    await api.store(
        *[
            Sample(START + step * STEP, "m", float(step), labels={"n": str(n)})
            for n in range(5)
            for step in range(30)
        ]
    )
    monkeypatch.setattr(selecting, "BATCH_SAMPLES", batch)
    monkeypatch.setattr(selecting, "FIRST_SERIES", 2)
    found = told(await selected(api, Selection((NAME,), START_MS, START_MS + 10**7)))
    assert [labels["n"] for labels, _ in found] == list("01234")
    for _, points in found:
        assert points == [(START_MS + step * STEP_MS, float(step)) for step in range(30)]


async def test_one_label_set_in_two_targets_is_one_series(api: Api) -> None:
    """After routing has changed; of equal times what came first stays."""
    await api.store(Sample(START, "m", 1.0), Sample(START + STEP, "m", 2.0))
    await api.store(
        Sample(START + STEP, "m", 3.0, target="cumsum"),
        Sample(START + 2 * STEP, "m", 4.0, target="cumsum"),
    )
    [(labels, points)] = told(await selected(api, Selection((NAME,), START_MS, START_MS + 10**6)))
    assert labels == {"__name__": "m"}
    assert [value for _, value in points] == [1.0, 2.0, 4.0]


async def test_names_are_as_sent(api: Api) -> None:
    await api.store(Sample(START, "m"), Sample(START, "M", 2.0))
    for name, value in (("m", 1.0), ("M", 2.0)):
        asked = Selection((Matcher("=", "__name__", name),), START_MS, START_MS)
        [(labels, points)] = told(await selected(api, asked))
        assert (labels["__name__"], points) == (name, [(START_MS, value)])


async def test_histograms_come_as_matrices(api: Api) -> None:
    bounds = [1.0, 5.0]
    await store(
        api,
        [
            Native(START, {1: 1, 3: 2}, {2: 4}, 1, schema=2, sum=7.5),
            Native(START + STEP, {3: 2, 4: 1}, schema=2, hint=2),
            Native(START + 2 * STEP, is_stale=True),
        ],
        [Native(START, {0: 2, 1: 3}, schema=-53, threshold=0, bounds=bounds)],
        name="m",
    )
    found = await selected(api, Selection((NAME,), START_MS, START_MS + 10**6))
    block, rows = found.histograms, found.rows
    assert block is not None
    assert rows is not None
    assert found.offsets.tolist() == [0, 3, 4]
    assert (rows >= 0).tolist() == [True, True, False, True]
    assert np.float64(found.values[2]).view(np.uint64) == np.float64(STALE).view(np.uint64)
    first, second, _, custom = rows.tolist()
    assert [(lower, count) for _, lower, _, count in block.buckets(first)][-1][1] == 2
    assert block.count[[first, second, custom]].tolist() == [8, 3, 5]
    assert block.sum[first] == 7.5
    assert block.hint[[first, second]].tolist() == [0, 0]  # a bucket has fewer: nothing is said
    assert block.bounds[block.bounds_of[custom]] == tuple(bounds)
    assert block.bounds_of[first] == -1
    indexes = dict(zip(block.positive.indexes.tolist(), block.positive.counts[first], strict=True))
    assert {index: count for index, count in indexes.items() if count} == {1: 1, 3: 2}


async def test_hints_are_against_the_histogram_before(api: Api) -> None:
    """Also where that is before the span."""
    await store(api, [Native(START + i * STEP, {1: i + 1}) for i in range(3)], name="m")
    for begin, hints in ((0, [0, 2, 2]), (STEP_MS, [2, 2]), (2 * STEP_MS, [2])):
        found = await selected(api, Selection((NAME,), START_MS + begin, START_MS + 10**6))
        assert found.histograms is not None
        assert found.rows is not None
        assert found.histograms.hint[found.rows].tolist() == hints
        assert found.times[0] == START_MS + begin


async def test_a_series_may_change_its_kind(api: Api) -> None:
    await store(api, [Native(START + STEP, {1: 1})], name="m")
    await api.store(Sample(START, "m", 1.0, labels={"n": "0"}))
    found = await selected(api, Selection((NAME,), START_MS, START_MS + 10**6))
    assert found.offsets.tolist() == [0, 2]
    assert found.rows is not None
    assert found.rows.tolist() == [-1, 0]
    newest = await selected(api, Selection((NAME,), START_MS, START_MS + 10**6, newest=True))
    assert newest.rows is not None
    assert newest.rows.tolist() == [0]


async def test_too_much_is_refused(api: Api) -> None:
    await api.store(
        *[
            Sample(START + step * STEP, "m", labels={"n": str(n)})
            for n in range(4)
            for step in range(10)
        ]
    )
    asked = Selection((NAME,), START_MS, START_MS + 10**6)
    assert len((await selected(api, asked, budget(40, 4))).times) == 40
    with pytest.raises(PromqlLimit, match="too many samples"):
        await selected(api, asked, budget(39, 4))
    with pytest.raises(PromqlLimit, match=r"query\.max_series"):
        await selected(api, asked, budget(40, 3))


async def test_what_would_be_too_much_is_counted_before_it_is_read(api: Api) -> None:
    """The first batch says how many there may be; where that was wrong, all is read."""
    width = selecting.FIRST_SERIES
    many = [Sample(START + i * STEP, "m", labels={"n": f"{n:03}"})
            for n in range(2 * width) for i in range(4 if n < width else 1)]  # fmt: skip
    await api.store(*many)
    asked = Selection((NAME,), START_MS, START_MS + 10**6)
    allowed = budget(5 * width)
    assert len((await selected(api, asked, allowed)).times) == 5 * width
    allowed = budget(5 * width - 1)
    with pytest.raises(PromqlLimit, match="too many samples"):
        await selected(api, asked, allowed)
    assert allowed.left == 5 * width - 1, "nothing was read"


async def test_start_timestamps_of_floats_and_histograms(api: Api) -> None:
    """Of floats the last start before the sample, of histograms their own."""
    await api.store(*[Sample(START + i * STEP, "m", float(i)) for i in range(4)])
    series = await api.connection.fetchval("SELECT series_id FROM internal.series")
    begins = [START - STEP, START + STEP + STEP / 3]
    await api.connection.executemany(
        "INSERT INTO staging_internal.series_start VALUES ($1, $2)",
        [(begin, series) for begin in begins],
    )
    first, second = (int(begin.timestamp() * 1000) for begin in begins)
    asked = Selection((NAME,), START_MS, START_MS + 10**6)
    found = await selected(api, asked, with_starts=True)
    assert found.starts is not None
    assert found.starts.tolist() == [first, first, second, second]
    assert (await selected(api, asked)).starts is None
    await store(api, [Native(START, {1: 1}), Native(START + STEP, {1: 2})], name="h")
    await api.connection.execute(
        f"UPDATE internal.{api.database.histograms_in} SET start_time = time - interval '7 s'"
        " WHERE time > $1",
        START,
    )
    named = Selection((Matcher("=", "__name__", "h"),), START_MS, START_MS + 10**6)
    found = await selected(api, named, with_starts=True)
    assert found.starts is not None
    assert found.starts.tolist() == [0, START_MS + STEP_MS - 7000]


async def test_a_tenant_sees_its_own(api: Api) -> None:
    await api.store(Sample(START, "m"), Sample(START, "m", 2.0, tenant_id=2, labels={"of": "2"}))
    for tenant_id, value in ((1, 1.0), (2, 2.0)):
        async with api.connection.transaction():
            await api.connection.execute(f"SET LOCAL promgres.tenant_id = {tenant_id}")
            samples = await _select(api, Selection((NAME,), START_MS, START_MS), budget())
            every = [each["series_id"] for each in await api.connection.fetch(
                "SELECT series_id FROM internal.series WHERE name = 'm'")]  # fmt: skip
            packed = "SELECT count(*) FROM internal.packed_samples($1, $2, $2, 100)"
            assert await api.connection.fetchval(packed, every, START) == 1
        assert samples.values.tolist() == [value]


async def test_who_has_samples_in_a_period(api: Api) -> None:
    await api.store(
        Sample(START, "m", labels={"n": "1"}),
        Sample(START + STEP, "m", labels={"n": "2"}, target="cumsum"),
    )
    await store(api, [Native(START + STEP, {1: 1})], name="m")
    async with api.connection.transaction():
        found = await find_series(api.connection, [NAME], budget(), LabelCache())
        names = {one.series_id: one.labels["n"] for one in found}
        for begin, end, live in ((0, 0, {"1"}), (0, STEP_MS, {"0", "1", "2"}), (1, 2, set()),
                                 (STEP_MS, STEP_MS, {"0", "2"})):  # fmt: skip
            ids = await live_series(api.connection, found, START_MS + begin, START_MS + end)
            assert {names[series_id] for series_id in ids} == live


@pytest.mark.parametrize("login", ["web_anon", "writer"])
async def test_readers_have_no_right_to_any_of_it(
    engine_db: Database, api: Api, login: str
) -> None:
    functions = await api.connection.fetch(
        "SELECT oid::regprocedure::text AS name FROM pg_proc WHERE proname IN ('packed_samples',"
        " 'newest_samples', 'packed_histograms', 'matching_series', 'live_series', 'label_names',"
        " 'label_values', 'cardinality', 'metadata_of', 'exemplars_of_series', 'live_histograms',"
        " 'page_of_series', 'exported_samples', 'labels_of_series')"
        " AND pronamespace::regnamespace::text IN ('internal', 'cumsum', 'geo')"
    )
    assert len(functions) == 22
    for function in functions:
        may = "SELECT has_function_privilege($1, $2::regprocedure, 'EXECUTE')"
        assert not await api.connection.fetchval(may, login, function["name"]), function["name"]

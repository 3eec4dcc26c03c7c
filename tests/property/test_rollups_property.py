"""Any samples in any batches, work at any moment: rollups are what the samples add up to."""

from __future__ import annotations

import math
import os
import struct
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.blocks import switch_on
from tests.support.databases import Database, blocking, connect
from tests.support.sql_samples import Row, Samples, samples_of

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=9)
WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}
ALL = ("samples", "sum", "min", "max", "last", "exact_max", "exact_last")
SPECIAL = [math.inf, -math.inf, math.nan, -0.0, 1e308, -1e308, 5e-324, 1 / 3, 2.0**53]
STALE = struct.unpack("!d", bytes.fromhex("7ff0000000000002"))[0]

values = st.one_of(st.sampled_from([*SPECIAL, STALE]), st.floats(width=64))
exacts = st.none() | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=9
)


@dataclass(frozen=True)
class Drawn:
    """One sample; `series` is 0 or 1."""

    series: int
    second: int
    value: float
    exact: Decimal | None

    @property
    def key(self) -> tuple[int, int]:
        return self.series, self.second


samples_drawn = st.builds(
    Drawn,
    st.integers(0, 1),
    # Few minutes close together, so that buckets are shared; and some a day or two away.
    st.one_of(st.integers(0, 400), st.integers(0, 3 * 86400)),
    values,
    exacts,
)
batches = st.lists(
    st.tuples(st.lists(samples_drawn, min_size=1, max_size=30), st.booleans()),
    min_size=1,
    max_size=4,
)
_names = count()


@pytest.mark.parametrize("backfilled", [False, True], ids=["minutes", "hours"])
def test_rollups_are_what_the_samples_add_up_to(engine_db: Database, backfilled: bool) -> None:
    @settings(
        max_examples=8 if engine_db.one_session else 25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(batches)
    def check(drawn: list[tuple[list[Drawn], bool]]) -> None:
        blocking(_scenario(engine_db, drawn, backfilled))

    check()


async def _scenario(
    database: Database, drawn: list[tuple[list[Drawn], bool]], backfilled: bool
) -> None:
    async with samples_of(database) as samples:
        name = f"m{next(_names)}"
        ids = [await samples.series(name, a=letter) for letter in "ab"]
        first: dict[tuple[int, int], Drawn] = {}
        for batch, settle in drawn:
            if backfilled:  # more than 60 minutes in a statement: whole hours are marked
                batch = batch + [Drawn(0, 200_000 + 60 * n, 1.0, None) for n in range(70)]
            for one in batch:
                first.setdefault(one.key, one)
            await samples.copy([_row(one, ids) for one in batch])
            if settle:
                await samples.settle()
            if database.engine == "postgres":
                await _compare(samples, name, first)
        await samples.settle()
        await _compare(samples, name, first)


def _row(one: Drawn, ids: list[int]) -> Row:
    return START + timedelta(seconds=one.second), ids[one.series], one.value, one.exact


async def _compare(samples: Samples, name: str, first: dict[tuple[int, int], Drawn]) -> None:
    decimals = await _decimals(samples, {one.value for one in first.values()})
    for width, seconds in WIDTHS.items():
        buckets: dict[datetime, list[Drawn]] = defaultdict(list)
        for one in first.values():
            if not math.isnan(one.value):
                start = one.second // seconds * seconds
                buckets[START + timedelta(seconds=start)].append(one)
        found = {row["bucket"]: tuple(row)[4:] for row in await samples.rollup(width, name)}
        assert found.keys() == buckets.keys(), width
        for bucket, members in buckets.items():
            assert _exactly(found[bucket]) == _exactly(_expected(members, decimals)), (
                width,
                bucket,
            )


async def _decimals(samples: Samples, values: set[float]) -> dict[float, Fraction]:
    """Each value's shortest decimal, as PostgreSQL sees it.

    Python's may be a digit shorter: it accepts decimals that lie half-way to the next float.
    """
    finite = [value for value in values if math.isfinite(value)]
    texts = await samples.connection.fetch("SELECT v::text FROM unnest($1::float8[]) AS v", finite)
    return {value: Fraction(Decimal(text["v"])) for value, text in zip(finite, texts, strict=True)}


def _expected(members: list[Drawn], decimals: dict[float, Fraction]) -> tuple[object, ...]:
    ordered = sorted(members, key=lambda one: (one.second, one.series))
    exact = [one.exact for one in ordered if one.exact is not None]
    parts = [
        Fraction(one.exact) if one.exact is not None else decimals[one.value]
        for one in members
        if one.exact is not None or math.isfinite(one.value)
    ]
    floats = [one.value for one in members]
    return (
        len(members),
        sum(parts, Fraction(0)) if parts else None,
        min(floats),
        max(floats),
        ordered[-1].value,
        max(exact, default=None),
        exact[-1] if exact else None,
    )


def _exactly(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(Fraction(value) if isinstance(value, Decimal) else value for value in row)


METRICS = [(tenant, name) for tenant in (1, 2) for name in ("one", "other")]
"""Two tenants with two metrics each, two series a metric."""

SAME = """
    WITH sample AS (
        SELECT s.tenant_id, s.name, date_bin($2, x.time, '2000-01-03 00:00+00') AS bucket, x.*,
            row_number() OVER (
                PARTITION BY s.tenant_id, s.name, date_bin($2, x.time, '2000-01-03 00:00+00')
                ORDER BY x.time DESC, x.series_id DESC) AS place
        FROM internal.sample AS x JOIN internal.series AS s USING (series_id)
        WHERE s.name = ANY ($1) AND x.value <> 'NaN'
    )
    SELECT tenant_id, name, bucket, count(*) AS samples,
        sum(coalesce(exact, CASE WHEN abs(value) < 'Infinity' THEN value::text::numeric END))
            AS sum,
        min(value) AS min, max(value) AS max, max(value) FILTER (WHERE place = 1) AS last,
        max(exact) AS exact_max,
        (array_agg(exact ORDER BY place) FILTER (WHERE exact IS NOT NULL))[1] AS exact_last
    FROM sample GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
"""All that a rollup says, from nothing but the samples."""

EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "12"))
PACK = "SELECT internal.pack_minutes($1, 'infinity', '0')"

moments = st.one_of(
    st.integers(0, 400), st.integers(0, 3 * 86400), st.integers(8 * 86400, 9 * 86400)
)
others = st.lists(
    st.tuples(st.sampled_from(METRICS), st.integers(0, 1), moments, values, exacts),
    min_size=1,
    max_size=12,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), others),
        st.tuples(st.just("current"), st.sampled_from(METRICS)),
        st.tuples(st.just("backfill"), st.sampled_from(METRICS), st.integers(0, 2 * 86400)),
        st.tuples(st.just("beside the worker"), others),
        st.tuples(st.just("work"), st.sampled_from(["1 hour", "24 hours"]), st.booleans()),
        st.tuples(st.just("pack"), st.integers(1, 3)),
        st.tuples(st.just("mark of an earlier version"), st.integers(0, 72), st.booleans()),
    ),
    min_size=1,
    max_size=7,
)


def test_nobody_is_forgotten_over_the_marks_of_others(postgres_db: Database) -> None:
    """Any metrics of any tenants in any batches, worker and packing at any moment: what every
    metric's rollups say, by view and by period, is what its samples add up to, at each step."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def check(drawn: list[tuple[Any, ...]]) -> None:
        blocking(_beside_others(postgres_db, drawn))

    check()


async def _beside_others(database: Database, drawn: list[tuple[Any, ...]]) -> None:
    async with samples_of(database) as samples, connect(database) as worker:
        await switch_on(samples.connection)
        number = next(_names)
        names = [f"{name}{number}" for name in ("one", "other")]
        ids = {
            (tenant, name, which): await samples.connection.fetchval(
                "SELECT series_id FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
                [f"{number}/{tenant}/{name}/{which}".encode().ljust(16, b".")],
                [tenant], ["internal"], [f"{name}{number}"], ["common"], ['{}'],
            )
            for tenant, name in METRICS
            for which in (0, 1)
        }  # fmt: skip
        now = datetime.now(UTC)

        def rows(batch: Any) -> list[Row]:
            return [
                (min(START + timedelta(seconds=second), now), ids[(*metric, which)], value, exact)
                for metric, which, second, value, exact in batch
            ]

        for step in drawn:
            match step:
                case "batch", batch:
                    await samples.copy(rows(batch))
                case "current", metric:
                    await samples.copy([
                        (now - timedelta(minutes=n), ids[(*metric, 0)], 1.0, None) for n in range(9)
                    ])  # fmt: skip
                case "backfill", metric, second:
                    await samples.copy(
                        rows([(metric, 1, second + 300 * n, 1.5, None) for n in range(70)])
                    )
                case "beside the worker", batch:
                    async with worker.transaction():
                        await worker.fetchval("SELECT internal.rollup_work('24 hours', 'infinity')")
                        await samples.copy(rows(batch))
                case "work", window, closed_only:
                    await samples.connection.fetchval(
                        f"SELECT internal.rollup_work('{window}'"
                        + (")" if closed_only else ", 'infinity')")
                    )
                case "pack", most:  # a metric or two in one transaction, or all
                    await samples.connection.fetchval(PACK, most)
                case _, hour, whole:
                    await samples.connection.execute(
                        "INSERT INTO internal.rollup_mark (hour, minute, metrics)"
                        " VALUES ($1, $2, $3)",
                        START + timedelta(hours=hour),
                        None if whole else START + timedelta(hours=hour, minutes=1),
                        [1, 2] if whole else None,
                    )
            await _compare_all(samples, names)
        await samples.settle()
        await _compare_all(samples, names)
        while await samples.connection.fetchval(PACK, 500):
            pass
        await _compare_all(samples, names)


async def _compare_all(samples: Samples, names: list[str]) -> None:
    for width, seconds in WIDTHS.items():
        expected = await samples.connection.fetch(SAME, names, timedelta(seconds=seconds))
        found = await samples.connection.fetch(
            f"SELECT tenant_id, name, bucket, {', '.join(ALL)} FROM internal.rollup_{width}"
            " WHERE name = ANY ($1) ORDER BY 1, 2, 3",
            names,
        )
        assert [tuple(row) for row in found] == [tuple(row) for row in expected], width
        # The last and the first day alone, and all but these.
        for lo, hi in ((0, 1), (1, 9), (9, 11)):
            start, end = START + timedelta(days=lo), START + timedelta(days=hi)
            between = await samples.connection.fetch(
                f"SELECT r.tenant_id, r.name, r.bucket, {', '.join(f'r.{one}' for one in ALL)}"
                f" FROM unnest(ARRAY[1, 2]) AS tenant, internal.rollup_{width}_between("
                "tenant, '{common,another}', $1, $2, $3) AS r ORDER BY 1, 2, 3",
                names, start, end,
            )  # fmt: skip
            assert [tuple(row) for row in between] == [
                tuple(row) for row in expected if start <= row["bucket"] < end
            ], (width, lo)

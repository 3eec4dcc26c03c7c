"""Any samples in any batches, work at any moment: rollups are what the samples add up to."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import Database, blocking
from tests.support.sql_samples import Row, Samples, samples_of

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=9)
WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}
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
        max_examples=8 if engine_db.engine == "timescaledb" else 25,
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

"""`query_metric` answers random questions as a count of all samples in Python does."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.engines.counted import Question, answer
from tests.engines.sql_api import Api, Sample
from tests.support.blocks import pack, switch_off, switch_on
from tests.support.hours import make_hours

QUESTIONS = int(os.environ.get("PROMGRES_EXAMPLES", "30"))
SPELLS = [
    datetime(2025, 3, 28, tzinfo=UTC),  # Vienna: 23 hours on the 30th
    datetime(2025, 4, 4, tzinfo=UTC),  # Lord Howe: half an hour more on the 6th
    datetime(2025, 11, 1, tzinfo=UTC),  # Havana: midnight comes twice on the 2nd; New York
]
"""Three days each, around changes of clocks."""
ZONES = ["UTC"] * 4 + [
    "Europe/Vienna", "Australia/Lord_Howe", "America/Havana", "America/New_York", "Asia/Kolkata",
]  # fmt: skip
STEPS = [
    (0, 15), (0, 60), (0, 60), (0, 300), (0, 420), (0, 3600), (0, 3600), (0, 5400), (0, 21600),
    (0, 86400), (0, 86400), (0, 2 * 86400), (0, 7 * 86400), (1, 0), (3, 0), (12, 0),
]  # fmt: skip
AGGREGATES = (
    "avg", "sum", "min", "max", "last", "count", "rate", "increase", "p50", "p90", "p95", "p99",
)  # fmt: skip
METRICS: list[tuple[Any, ...]] = [
    ("plain", {"job": "a"}, {"job": "b"}, {"pod": ""}),
    ("PLAIN", {"pod": "1"}),
    ("requests_total", {"job": "a", "code": "200"}, {"code": "500"}),
    ("supply", {"chain": "x"}),
    ("supply", {"chain": "x"}),
    ("web_requests", {"job": "a"}),
    ("spot", {"instance": "i"}),
    ("foo", {"__name__": "Foo"}),
    ("plain", {"job": "no such job"}),
]
"""Names, and labels that some of their series have."""
HOURS = "SELECT count(*) FROM internal.series_hour"


def samples() -> list[Sample]:
    """Series of every kind: gaps, resets, infinities, NaN, exact values, all targets."""
    random = Random("samples of query_metric")
    series = [
        ("plain", {"job": "a", "pod": "1"}, "common", "internal"),
        ("plain", {"job": "a", "pod": "2"}, "common", "internal"),
        ("plain", {"job": "b"}, "prod", "internal"),
        ("requests_total", {"job": "a", "code": "200"}, "common", "internal"),
        ("requests_total", {"job": "a", "code": "500"}, "common", "internal"),
        ("requests_total", {"job": "a", "code": "200"}, "moved", "internal"),
        ("supply", {"chain": "x"}, "mainnet", "internal"),
        ("supply", {"chain": "y"}, "mainnet", "internal"),
        ("web_requests", {"job": "a"}, "cumsum", "cumsum"),
        ("web_requests", {"job": "b"}, "cumsum", "cumsum"),
        ("spot", {"instance": "i"}, "geo", "geo"),
        ("Foo", {"job": "a"}, "common", "internal"),
        ("foo", {"job": "a"}, "common", "internal"),
    ]
    made = []
    for number, (name, labels, schema, target) in enumerate(series):
        total = 0.0
        for spell in SPELLS:
            if random.random() < 0.2:
                continue
            time = spell + timedelta(seconds=random.randrange(20_000), microseconds=number)
            while time < spell + timedelta(days=3):
                total = 0.0 if random.random() < 0.05 else total + random.choice((0, 1, 2.5, 1e9))
                value = random.choice((total, total, round(random.uniform(-9, 9), 3)))
                exact = None
                if name == "supply" and random.random() < 0.7:
                    exact = f"{random.randrange(10**30)}.{random.randrange(1000):03}"
                elif random.random() < 0.04:
                    value = random.choice((math.inf, -math.inf, math.nan, math.nan))
                elif name.endswith("total"):
                    value = total
                made.append(Sample(time, name, value, exact, schema, target, labels))
                gap = random.choice((20, 61, 61, 600, 600, 3600, 30_000))
                time += timedelta(seconds=gap, microseconds=random.choice((0, 0, 7)))
    return made


def question(number: int) -> Question:
    """A random one, always the same for a number."""
    random = Random(f"question {number}")
    start = random.choice(SPELLS) + timedelta(seconds=random.randrange(-40_000, 150_000))
    whole = timedelta(seconds=random.choice((1, 1, 60, 3600, 86400)))
    start -= (start - datetime(2000, 1, 3, tzinfo=UTC)) % whole
    length = timedelta(
        seconds=random.choice((3600, 30_000, 86400, 3 * 86400, 10 * 86400, 250 * 86400))
    )
    step = random.choice([*STEPS, None])
    if step and not step[0] and length.total_seconds() / step[1] > 2000:
        length = timedelta(seconds=step[1] * 500)
    metric, *matches = random.choice(METRICS)
    return Question(
        metric=metric,
        match=random.choice(({}, {}, *matches)),
        by=random.choice(((), (), ("job",), ("*",), ("job", "code"), ("no such label",))),
        aggregate=random.choice(AGGREGATES),
        step=step,
        start=start,
        end=start + length + timedelta(seconds=random.choice((0, 0, 17))),
        fill=random.choice(("none", "none", "null", "previous", "linear")),
        zone=random.choice(ZONES),
    )  # fmt: skip


async def ask(api: Api, asked: Question) -> list[tuple[datetime, frozenset[tuple[str, str]], str]]:
    months, seconds = asked.step or (None, None)
    step = "make_interval(months => $5, secs => $6)" if asked.step else "$5::text::interval"
    arguments = [
        asked.metric, json.dumps(dict(asked.match)), list(asked.by), asked.aggregate,
        *([months, seconds] if asked.step else [None]), asked.start, asked.end,
        asked.fill, asked.zone,
    ]  # fmt: skip
    numbered = [f"${n}" for n in range(1, len(arguments) + 1)]
    call = ", ".join([*numbered[:4], step, *numbered[-4:]])
    rows = await api.rows(f"query_metric({call})", *arguments)
    return [(time, frozenset(json.loads(labels).items()), value) for time, labels, value in rows]


async def test_random_questions(api: Api) -> None:
    stored = samples()
    # A third of the questions come before these are rolled up. (Late ones, that is; TimescaleDB
    # knows of those when its job has run, within a minute, and of newer ones at once.)
    waiting = stored[::7]
    if api.database.engine == "timescaledb":
        waiting = [each for each in stored if each.time >= SPELLS[-1]]
    await api.store(*[each for each in stored if each not in waiting])
    await api.roll_up()
    # Hours of series are there for all questions; the samples below are late for some of them.
    await switch_off(api.connection)  # until the last third: hours of series are made of rows
    for target in ("internal", "cumsum"):
        await make_hours(api.connection, datetime.now(UTC), target)
    assert await api.connection.fetchval(HOURS)
    await api.store(*waiting)
    answered = 0
    for number in range(QUESTIONS):
        if number == QUESTIONS // 3:
            await api.roll_up()
            marked = await api.connection.fetchval("SELECT count(*) FROM internal.hours_mark")
            for target in ("internal", "cumsum"):
                await make_hours(api.connection, datetime.now(UTC), target)
            assert (
                marked
                > 0
                == await api.connection.fetchval("SELECT count(*) FROM internal.hours_mark")
            )
        if number == QUESTIONS * 2 // 3 and api.database.engine == "postgres":
            await switch_on(api.connection)
            # The last third is answered from blocks, as far as time has been packed.
            await pack(api.connection, SPELLS[1] + timedelta(days=1, hours=7))
        asked = question(number)
        said = await ask(api, asked)
        expected = answer(asked, stored)
        assert [row[0] for row in said] == sorted(row[0] for row in said), asked
        said.sort(key=lambda row: (row[0], sorted(row[1])))
        assert [row[:2] for row in said] == [(row.start, row.labels) for row in expected], (
            number,
            asked,
        )
        for (_, _, text), row in zip(said, expected, strict=True):
            assert row.is_said_by(text), (number, asked, row, text)
        answered += bool(said)
    if api.database.engine == "postgres":
        assert await api.connection.fetchval("SELECT count(*) FROM internal.block") > 0
    assert answered > QUESTIONS // 2, answered

"""Measures and events read: by page, by bucket, and by nobody but their tenant."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest

from tests.engines.record_rows import Event, Measure, as_tenant, buckets, item, page, push, text
from tests.engines.sql_api import Api

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
MICROSECOND, SECOND, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
AWKWARD = {
    "text": 'é "quoted" \\ \u2028 😀',
    "large": 2**63 + 1,
    "nested": [{"a": [None, True, []]}, {}],
    "tiny": 1e-300,
}


async def test_pages_neither_skip_nor_repeat(api: Api) -> None:
    """Most times are those of others, over days; items come in while somebody reads."""
    random = Random(7)
    times = [NOW - random.choice((0, 0, 1, 24, 700)) * HOUR for _ in range(200)]
    events = [
        Event(time, random.choice("ab"), {"n": n % 3, "all": n}, item(random.getrandbits(128)))
        for n, time in enumerate(times)
    ]
    await push(api, *events)
    newest_first = sorted(events, key=lambda one: (one.time, one.item_id), reverse=True)
    for filters, wanted in [
        ({}, newest_first),
        ({"name": "a"}, [one for one in newest_first if one.name == "a"]),
        (
            {"attributes": {"n": 1}, "since": NOW - DAY, "until": NOW},
            [e for e in newest_first if e.attributes["n"] == 1 and NOW - DAY <= e.time < NOW],
        ),
    ]:
        seen: list[int] = []
        after: Any = (None, None)
        for limit in (1, 2, 13, *[17] * 20):
            items, after = await page(api, "event", limit=limit, after=after, **filters)  # type: ignore[arg-type]
            seen += [one["attributes"]["all"] for one in items]
            await push(api, Event(NOW + SECOND, "a", {"n": 1, "all": -1}))
            if after == (None, None):
                break
            assert len(items) == limit
        assert seen == [one.attributes["all"] for one in wanted]
        await api.connection.execute("DELETE FROM app.event WHERE attributes @> '{\"all\": -1}'")


async def test_a_full_last_page_is_the_last(api: Api) -> None:
    assert await page(api, "measure") == ([], (None, None))
    await push(api, *(Measure(NOW + n * SECOND, "a") for n in range(4)))
    _, after = await page(api, "measure", limit=2)
    items, after = await page(api, "measure", limit=2, after=after)
    assert (len(items), after) == (2, (None, None))


async def test_shapes_keep_every_digit(api: Api) -> None:
    await push(
        api,
        Measure(NOW, 'Näme "q"', 0.1, attributes=AWKWARD),
        Measure(NOW - MICROSECOND, "b", 1e300, "1" * 301 + ".50"),
        Measure(NOW - 2 * MICROSECOND, "c", 2.0**53, str(2**53 + 1), attributes=[1]),
        Measure(NOW - 3 * MICROSECOND, "d", -0.0),
        Measure(NOW - 4 * MICROSECOND, "e", 5e-324),
    )
    await push(api, Event(NOW, "e", None), Event(NOW - SECOND, "f", AWKWARD))
    await api.connection.execute("SET extra_float_digits = -5; SET timezone = 'Asia/Kathmandu'")
    flat, _ = await page(api, "measure")
    older, _ = await page(api, "measure", "older")
    values = [one["value"] for one in flat]
    assert values == [
        Decimal("0.1"), Decimal("1" * 301 + ".5"), 2**53 + 1, 0, Decimal(repr(5e-324)),
    ]  # fmt: skip
    assert flat[0] == {
        "time": text(NOW),
        "name": 'Näme "q"',
        "value": Decimal("0.1"),
        "attributes": AWKWARD | {"tiny": Decimal("1e-300")},
    }
    assert flat[1]["time"] == text(NOW - MICROSECOND)
    assert older == [
        {
            "d": {
                "name": one["name"],
                "measurement": one["value"],
                "dict": one["attributes"],
            },
            "insertion_time": one["time"],
        }
        for one in flat
    ]
    events, _ = await page(api, "event", "older")
    assert events[0] == {"d": {"name": "e", "dict": None}, "insertion_time": text(NOW)}
    assert (await page(api, "event"))[0][0] == {
        "time": text(NOW), "name": "e", "attributes": None,
    }  # fmt: skip


async def test_attributes_are_matched_by_containment(api: Api) -> None:
    stored = [{"a": 1, "b": {"c": [1, 2, {"d": "x"}]}}, {"a": "1"}, {"a": None}, [1, 2], {}]
    await push(api, *(Event(NOW + n * SECOND, "e", one) for n, one in enumerate(stored)))

    async def found(attributes: Any) -> list[int]:
        items, _ = await page(api, "event", attributes=attributes)
        return sorted(stored.index(one["attributes"]) for one in items)

    assert await found({"a": 1}) == [0]
    assert await found({"a": 1.0}) == [0]
    assert await found({"a": "1"}) == [1]
    assert await found({"a": None}) == [2]
    assert await found({"b": {"c": [{"d": "x"}]}}) == [0]
    assert await found({"b": {"c": [3]}}) == []
    assert await found([2]) == [3]
    assert await found({}) == [0, 1, 2, 4]


async def test_buckets_are_exact(api: Api) -> None:
    start = NOW.replace(minute=0, second=0)
    exact = "987654321098765432101.5"
    await push(
        api,
        Measure(start, "m", 0.1, item_id=item(1)),
        Measure(start + SECOND, "m", 0.2, attributes={"host": "a"}),
        Measure(start + 2 * SECOND, "m", 5, item_id=item(9)),
        Measure(start + 2 * SECOND, "m", 6, item_id=item(3)),
        Measure(start - SECOND, "m", 9.8e20, exact, attributes={"host": "a"}),
        Measure(start - 2 * SECOND, "M", 3),
        Measure(start - 40 * DAY, "m", 1e308),
        Measure(start - 40 * DAY + SECOND, "m", 1e308),
    )
    hour, before = text(start), text(start - HOUR)

    def bucket(start: str, name: str, *numbers: Any) -> dict[str, Any]:
        keys = ("count", "sum", "min", "max", "avg", "last")
        given = (Decimal(number) for number in numbers)
        return {"bucket": start, "name": name, **dict(zip(keys, given, strict=True))}

    first = bucket(hour, "m", 4, "11.3", "0.1", 6, "2.825", 5)
    second = bucket(before, "m", 1, exact, exact, exact, exact, exact)
    upper = bucket(before, "M", 1, 3, 3, 3, 3, 3)
    assert (await buckets(api, "1 hour"))[:3] == [first, upper, second]
    (oldest,) = (await buckets(api, "1 hour", "m"))[2:]
    assert oldest["sum"] == 2 * Decimal("1e308")
    assert await buckets(api, "1 hour", limit=2) == [first, upper]
    assert await buckets(api, "1 hour", "m", attributes={"host": "a"}, limit=None) == [
        bucket(hour, "m", 1, *["0.2"] * 5), second,
    ]  # fmt: skip
    since, until = start - SECOND, start + 2 * SECOND
    assert await buckets(api, "1 day", "m", since, until, limit=None) == (
        [
            bucket(
                text(start.replace(hour=0)),
                "m",
                3,
                "987654321098765432101.8",
                "0.1",
                exact,
                Decimal("987654321098765432101.8") / 3,
                "0.2",
            )
        ]
        if start.hour
        else [
            bucket(hour, "m", 2, "0.3", "0.1", "0.2", "0.15", "0.2"),
            bucket(text(start - DAY), "m", 1, *[exact] * 5),
        ]
    )
    assert await buckets(api, "1 month", "none") == []
    rows = await api.rows("get_measure_buckets('1 hour', 'm', p_limit => 1)")
    assert rows == [(start, "m", 4, "11.3", "0.1", "6", "2.825", "5")]


async def test_a_limit_shows_the_newest_of_all_buckets(api: Api) -> None:
    random = Random(3)
    times = [NOW - timedelta(seconds=10 ** random.uniform(0, 7)) for _ in range(120)]
    await push(api, *(Measure(time, random.choice("abc"), 1) for time in times))
    for width in ("7 seconds", "1 day", "1 month", "1 year", "9999 years"):
        everything = await buckets(api, width, limit=None)
        assert sum(one["count"] for one in everything) == 120
        order = [(one["bucket"], one["name"]) for one in everything]
        assert len(set(order)) == len(order)
        assert sorted(order, key=lambda key: (key[0], -ord(key[1])), reverse=True) == order
        for limit in (0, 1, 5, 50):
            assert await buckets(api, width, limit=limit) == everything[:limit]


async def test_infinities_enter_no_sum_and_nan_nothing(api: Api) -> None:
    await push(
        api,
        Measure(NOW, "a", float("inf")),
        Measure(NOW + MICROSECOND, "a", 2),
        Measure(NOW, "b", float("-inf")),
        Measure(NOW, "c", float("nan")),
    )
    rows = await api.rows("get_measure_buckets('1 second')")
    assert [row[1:] for row in rows] == [
        ("a", 2, "2", "2", "Infinity", "2", "2"),
        ("b", 1, None, *["-Infinity"] * 2, None, "-Infinity"),
    ]
    assert [one["avg"] for one in await buckets(api, "1 second")] == [2, None]


async def test_no_function_shows_another_tenants_items(api: Api) -> None:
    other = await api.connection.fetchval(
        "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
    )
    key: dict[str, Any] = {"item_id": item(1), "key_decides": True}
    for tenant_id in (1, other):
        mine: dict[str, Any] = {"tenant_id": tenant_id, "attributes": {"of": tenant_id}}
        assert await push(api, Event(NOW, "same", **mine, **key)) == 1
        assert await push(api, Measure(NOW, "same", tenant_id, **mine, **key)) == 1
    for tenant_id in (1, other):
        async with as_tenant(api, tenant_id):
            for kind in ("event", "measure"):
                items, _ = await page(api, kind, name="same")
                assert [one["attributes"] for one in items] == [{"of": tenant_id}]
                assert await page(api, kind, attributes={"of": 3 - tenant_id}) == ([], (None, None))
            assert [one["max"] for one in await buckets(api, "1 hour")] == [tenant_id]
            assert [row[3] for row in await api.rows("get_measures()")] == [
                json.dumps({"of": tenant_id})
            ]
            assert len(await api.rows("get_events()")) == 1
            assert len(await api.rows("get_measure_buckets('1 hour')")) == 1
    async with as_tenant(api, 999):
        for kind in ("event", "measure"):
            assert await page(api, kind) == ([], (None, None))
        assert await buckets(api, "1 hour") == []
        for call in ("get_measures()", "get_events()", "get_measure_buckets('1 hour')"):
            assert await api.rows(call) == []


async def test_who_may_read_what(api: Api) -> None:
    await push(api, Measure(NOW, "m"))
    for role, may_page in (("web_anon", False), ("authenticator", True), ("promgres_api", True)):
        await api.connection.execute(f"SET ROLE {role}")
        if may_page:
            assert len((await page(api, "measure"))[0]) == len(await buckets(api, "1 hour")) == 1
        else:
            assert len(await api.rows("get_measures()")) == 1
            for reading in (page(api, "measure"), buckets(api, "1 hour")):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reading
        for relation in ("app.measure", "app.measure_raw", "app.event", "app.measure_name"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.connection.execute(f"SELECT FROM {relation}")
        await api.connection.execute("RESET ROLE")


async def test_functions_of_the_api_page_and_filter(api: Api) -> None:
    await push(
        api,
        *(Measure(NOW, "m", n, attributes={"n": n}, item_id=item(n)) for n in range(5)),
        Measure(NOW - DAY, "M", 1, "0.10", item_id=item(9)),
    )
    rows = await api.rows("get_measures(p_limit => 4)")
    assert [row[2] for row in rows] == ["4", "3", "2", "1"]
    assert await api.rows("get_measures(p_before_time => $1, p_before_id => $2)", NOW, item(1)) == [
        (NOW, "m", "0", '{"n": 0}', item(0)),
        (NOW - DAY, "M", "0.1", "{}", item(9)),
    ]
    filtered = "get_measures('m', $1, $2, '{\"n\": 3}', NULL)"
    assert [row[2] for row in await api.rows(filtered, NOW, NOW + SECOND)] == ["3"]
    assert await api.rows(filtered, NOW - DAY, NOW) == []
    await push(api, Event(NOW, "e", {"a": 1}, item(1)), Event(NOW, "f"))
    assert await api.rows("get_events('e')") == [(NOW, "e", '{"a": 1}', item(1))]


async def test_attributes_within_a_json_string_are_what_the_string_holds(api: Api) -> None:
    """Clients whose arguments are texts send that by POST; by GET the same text is the object."""
    measures = (Measure(NOW, "m", n, attributes={"n": n}, item_id=item(n)) for n in range(5))
    await push(api, *measures)
    await push(api, Event(NOW, "e", {"a": 1}, item(1)), Event(NOW, "f"))
    for call in ("get_measures(p_attributes => $1)", "get_events(p_attributes => $1)",
                 "get_measure_buckets('1 hour', p_attributes => $1)"):  # fmt: skip
        wanted = '{"a": 1}' if "events" in call else '{"n": 3}'
        for value in (wanted, json.dumps(f" {wanted}")):
            assert len(await api.rows(call, value)) == 1, value
        assert await api.rows(call, '"n"') == []
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await api.rows(call, json.dumps("{n: 3}"))


async def test_what_makes_no_sense_is_refused(api: Api) -> None:
    for kind, shape in (("idempotency", "flat"), ("event", "sideways")):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await page(api, kind, shape)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await buckets(api, "-1 hour")

"""What a call makes of its arguments: the same for every client, seen through the fakes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promgres_client import FakeAsyncClient, FakeClient, InvalidItem
from promgres_client.backoff import MOST_ASKED_SECONDS, MOST_SECONDS, Backoff
from promgres_client.items import Encoder

NAN, INFINITY = float("nan"), float("inf")
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
FINITE = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class Hostile:
    """Whatever can go wrong in somebody else's object."""

    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e300, "1e+300"),
        (2**64 + 1, "18446744073709551617"),
        (True, "1"),
        (Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        (Decimal("1E+5"), "1E+5"),
        (np.float64(0.25), "0.25"),
        (np.float32(0.25), "0.25"),
        (np.int64(-7), "-7"),
        (Fraction(1, 4), "0.25"),
    ],
)
def test_numbers_are_sent_exactly(value: Any, text: str) -> None:
    body = Encoder().measure("m", value, {})
    assert json.loads(body, parse_float=str, parse_int=str)["value"] == text


@pytest.mark.parametrize(
    "value",
    [NAN, INFINITY, -INFINITY, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"),
     np.float32("nan"), "1", None, 1j, [], Hostile()],
)  # fmt: skip
def test_no_number(client: FakeClient, value: Any) -> None:
    with pytest.raises(InvalidItem, match="a value is a"):
        client.measure("m", value)


@pytest.mark.parametrize(
    "metadata",
    [{"a": NAN}, {"a": {"b": [INFINITY]}}, {"a": object()}, {"a": b"x"}, {"a": ENDLESS},
     {"a": {1, 2}}, {"a": {(1, 2): 3}}],
)  # fmt: skip
def test_metadata_that_is_no_json(client: FakeClient, metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidItem, match="metadata is not valid JSON"):
        client.event("e", **metadata)


@pytest.mark.parametrize("name", ["", None, 5, b"e"])
def test_no_name(client: FakeClient, name: Any) -> None:
    with pytest.raises(InvalidItem, match="a name is"):
        client.event(name)


@pytest.mark.parametrize("options", [{"time": datetime(2026, 1, 1)}, {"time": NAN}, {"time": "x"}])
def test_no_time(client: FakeClient, options: Any) -> None:
    with pytest.raises(InvalidItem):
        client.event("e", **options)


@pytest.mark.parametrize("key", ["", "x" * 256, 5])
def test_no_idempotency_key(client: FakeClient, key: Any) -> None:
    with pytest.raises(InvalidItem, match="an idempotency key is"):
        client.event("e", idempotency_key=key)


def test_attributes_that_are_no_mapping(client: FakeClient) -> None:
    with pytest.raises(InvalidItem):
        client.event("e", attributes=5)  # type: ignore[arg-type]


def test_a_client_that_is_not_strict_counts_and_goes_on() -> None:
    client = FakeClient(strict=False)
    client.measure("m", NAN)
    client.measure("m", 1, when=object())
    client.event("", a=1)
    client.event("e")
    assert (client.dropped, len(client.recorded_measures), len(client.recorded_events)) == (3, 0, 1)


def test_metadata_may_have_any_key(client: FakeClient) -> None:
    client.measure("m", 1, name="n", value=2, self=3, attributes={"time": 4, "a-b": 5, "name": 6})
    (measure,) = client.recorded_measures
    assert measure.attributes == {"name": "n", "value": 2, "self": 3, "time": 4, "a-b": 5}


def test_what_changes_after_the_call_was_not_recorded(client: FakeClient) -> None:
    tags = ["a"]
    client.event("e", tags=tags)
    tags.append("b")
    assert client.recorded_events[0].attributes == {"tags": ["a"]}


def test_default_turns_what_json_does_not_know_into_what_it_does() -> None:
    client = FakeClient(default=str)
    client.event("e", price=Decimal("1.10"))
    assert client.recorded_events[0].attributes == {"price": "1.10"}


def test_times(client: FakeClient) -> None:
    berlin = timezone(timedelta(hours=1))
    before = datetime.now(UTC)
    client.event("now")
    client.event("datetime", time=datetime(2026, 1, 1, 1, 0, 0, 5, berlin))
    client.event("seconds", time=1767225600.5)
    now, as_datetime, seconds = client.recorded_events
    assert before - timedelta(seconds=1) <= now.time <= datetime.now(UTC) + timedelta(seconds=1)
    assert as_datetime.time == datetime(2026, 1, 1, 0, 0, 0, 5, UTC)
    assert seconds.time == datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)


def test_every_item_has_a_time_and_a_key_of_its_own() -> None:
    first, second = Encoder(), Encoder()
    bodies = [json.loads(encoder.event("e", {})) for encoder in (first, first, second)]
    first.renew()
    bodies.append(json.loads(first.event("e", {})))
    assert len({body["idempotency_key"] for body in bodies}) == 4
    assert all("time" in body for body in bodies)


def test_a_key_of_the_applications_leaves_the_time_to_the_server() -> None:
    encoder = Encoder()
    assert json.loads(encoder.event("e", {}, None, "k")) == {"name": "e", "idempotency_key": "k"}
    assert json.loads(encoder.event("e", {}, 5, "k"))["time"] == 5


@given(st.dictionaries(st.text(), JSON), st.text(min_size=1), FINITE)
def test_what_json_can_say_is_recorded_as_it_is(
    metadata: dict[str, Any], name: str, value: float
) -> None:
    body = Encoder().measure(name, value, metadata)
    assert body.isascii()
    decoded = json.loads(body)
    assert (decoded["name"], decoded["value"]) == (name, value)
    assert decoded.get("attributes", {}) == metadata


def test_the_fake_reads_as_the_real_one_does(client: FakeClient) -> None:
    for number in range(4):
        client.measure("m", number, time=1000 + number, host="ab"[number % 2], tags=[number, 9])
    client.measure("other", Decimal("0.12345678901234567890"), time=1)
    assert [row.value for row in client.measures("m")] == [3, 2, 1, 0]
    assert [row.value for row in client.measures("m", since=1001, until=1003)] == [2, 1]
    assert [row.value for row in client.measures(attributes={"host": "b"}, limit=1)] == [3]
    assert [row.value for row in client.measures(attributes={"tags": [9, 2]})] == [2]
    assert list(client.events()) == []
    (other,) = client.measures("other")
    assert other.value == Decimal("0.12345678901234567890")
    client.clear()
    assert list(client.measures()) == []


def test_a_block_is_timed(client: FakeClient) -> None:
    with client.timed("block", a=1) as timing:
        timing.metadata["rows"] = 5
    with pytest.raises(KeyError), client.timed("block", a=2):
        raise KeyError("mine")
    done, failed = client.recorded_measures
    assert done.attributes == {"outcome": "ok", "a": 1, "rows": 5}
    assert failed.attributes == {"outcome": "error", "error": "KeyError", "a": 2}
    assert all(measure.value >= 0 for measure in (done, failed))


def test_a_function_is_timed(client: FakeClient) -> None:
    @client.timed("fibonacci")
    def fibonacci(number: int) -> int:
        """Doc."""
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    assert (fibonacci(5), fibonacci.__name__, fibonacci.__doc__) == (5, "fibonacci", "Doc.")
    assert len(client.recorded_measures) == 15


async def test_a_coroutine_function_is_timed() -> None:
    async with FakeAsyncClient() as client:
        started = asyncio.Event()

        @client.timed("work")
        async def work(wait: bool) -> str:
            started.set()
            return await asyncio.Future() if wait else "done"

        assert await work(False) == "done"
        started.clear()
        task = asyncio.create_task(work(True))
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert await client.flush()
    outcomes = [measure.attributes["outcome"] for measure in client.recorded_measures]
    assert outcomes == ["ok", "cancelled"]
    assert [row.name async for row in client.measures(limit=1)] == ["work"]


def test_backoff_grows_to_a_bound_and_honours_what_is_asked() -> None:
    backoff = Backoff()
    waits = [backoff.next_seconds() for _ in range(100)]
    assert all(wait <= min(MOST_SECONDS, 0.1 * 2**n) for n, wait in enumerate(waits))
    assert max(waits) > MOST_SECONDS / 2
    assert 7 <= Backoff().next_seconds(7) <= 7.1
    assert Backoff().next_seconds(1e9) <= MOST_ASKED_SECONDS + 0.1

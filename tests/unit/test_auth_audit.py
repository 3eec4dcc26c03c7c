"""What waits for the database without holding anybody up: refusals, and the use of keys."""

from __future__ import annotations

import pytest

from ingest.auth import audit as module
from ingest.auth.audit import Audit
from ingest.auth.metrics import UNRECORDED
from ingest.auth.usage import KeyUse
from ingest.errors import KeyRefused, Unavailable
from tests.support.keys import FakeStore
from tests.support.metrics import gauge


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(key_id: str | None = "abcdefghijk1") -> KeyRefused:
    return KeyRefused("no such API key", "unknown", key_id=key_id)


async def test_equal_refusals_share_a_row_within_a_second_and_then_within_a_minute() -> None:
    store, clock = FakeStore(), Clock()
    audit = Audit(store, clock)
    for second in range(180):
        clock.now = 1000.0 + second
        audit.refused(refused(), "192.0.2.7")
        audit.refused(refused(), "192.0.2.7")
        if second == 0:
            audit.refused(refused(), "192.0.2.8")
        await audit.write()
    assert not await audit.write(everything=True)
    rows = [(row["at"], row["address"][-1], row["times"]) for row in store.refusals]
    assert rows == [
        (1000, "7", 4),
        (1000, "8", 1),
        (1002, "7", 120),
        (1062, "7", 120),
        (1122, "7", 116),
    ]
    assert store.refusals[0]["details"] == {"reason": "unknown"}
    assert store.refusals[0]["action"] == "key_refused"


async def test_who_is_refused_after_a_while_is_recorded_at_once() -> None:
    store, clock = FakeStore(), Clock()
    audit = Audit(store, clock)
    for _ in range(2):
        audit.refused(refused(), None)
        clock.now += 1
        await audit.write()
        clock.now += 60
    assert len(store.refusals) == 2


async def test_a_second_is_written_once_it_is_over() -> None:
    store, clock = FakeStore(), Clock()
    audit = Audit(store, clock)
    audit.refused(refused(), None)
    await audit.write()
    assert store.refusals == []
    clock.now += 1
    await audit.write()
    assert len(store.refusals) == 1
    await audit.write()
    assert len(store.refusals) == 1


async def test_refusals_wait_for_a_database_that_is_away() -> None:
    store = FakeStore(is_away=True)
    audit = Audit(store, Clock())
    audit.refused(refused(), None)
    with pytest.raises(Unavailable):
        await audit.write(everything=True)
    store.is_away = False
    await audit.write(everything=True)
    assert len(store.refusals) == 1


async def test_too_many_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_A_MINUTE", 2)
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    store, clock, before = FakeStore(), Clock(), gauge(UNRECORDED)
    audit = Audit(store, clock)
    for key_id in "abc":
        audit.refused(refused(key_id), None)
    clock.now += 60
    for key_id in "defd":
        audit.refused(refused(key_id), None)
    assert gauge(UNRECORDED) == before + 3
    await audit.write(everything=True)
    assert [(row["key_id"], row["times"]) for row in store.refusals] == [
        ("a", 1),
        ("b", 1),
        ("d", 2),
    ]


async def test_many_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    store = FakeStore()
    audit = Audit(store, Clock())
    for key_id in "abc":
        audit.refused(refused(key_id), None)
    assert await audit.write(everything=True)
    assert not await audit.write(everything=True)
    assert len(store.refusals) == 3


async def test_the_use_of_a_key_is_noted_once_a_minute() -> None:
    store, clock = FakeStore(), Clock()
    usage = KeyUse(store, clock)
    for key_id in ("b", "a", "b"):
        usage.used(key_id)
    await usage.write()
    usage.used("a")
    await usage.write()
    assert store.used == [["a", "b"]]
    clock.now += 60
    usage.used("a")
    store.is_away = True
    with pytest.raises(Unavailable):
        await usage.write()
    store.is_away = False
    await usage.write()
    assert store.used == [["a", "b"], ["a"]]

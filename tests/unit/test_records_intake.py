"""What becomes of pushed items: ids, times, routes, and counts that add up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.config import LimitSettings, Settings
from ingest.intake import records
from ingest.intake.limits import TimeLimits
from ingest.intake.records import RecordDecoder, item_id_of, spooled_steps
from ingest.intake.steps import complete
from ingest.model import Intake, Measure, RecordKind
from ingest.routing import Router
from ingest.wire.records.body import RecordsRefused
from ingest.wire.records.spooled import write_spooled
from ingest.writer.ledger import beside_samples

NOW_US = 1_760_000_000_123_456
OLDEST_MS = 946_684_800_000
RULES = [
    {"match": {"name": "noise"}, "drop": True},
    {"match": {"name": "place"}, "target": "geo", "schema": "geo"},
    {"match": {"labels": {"tier": "gold", "__name__": "Paid"}}, "target": "cumsum", "schema": "g"},
    {"match": {"labels_regex": {"zone": "eu-.*"}}, "schema": "eu"},
]


def decoder() -> RecordDecoder:
    router = Router(Settings(route=RULES))
    return RecordDecoder(router, TimeLimits(lambda store, _: OLDEST_MS, 600_000), LimitSettings())


def decode(*items: Any, kind: RecordKind = "measure", tenant_id: int = 1) -> Intake:
    return decoder().decode(json.dumps(items).encode(), kind, False, tenant_id, NOW_US)


def routes(*measures: Any) -> list[tuple[str, str]]:
    pushed = decode(*[{"value": 1, **each} for each in measures]).records("measure")
    return [(item.target, item.schema) for item in pushed if isinstance(item, Measure)]


def test_text_among_the_attributes_is_what_labels_are_to_rules() -> None:
    assert routes(
        {"name": "Paid", "attributes": {"tier": "gold"}},
        {"name": "Paid", "attributes": {"tier": "tin"}},
        {"name": "paid", "attributes": {"tier": "gold"}},
        {"name": "x", "attributes": {"zone": "eu-1"}},
        {"name": "x", "attributes": {"zone": ["eu-1"]}},
        {"name": "x", "dict": ["eu-1"]},
        {"name": "Web_Requests"},
    ) == [
        ("cumsum", "g"),
        ("internal", "common"),
        ("internal", "common"),
        ("internal", "eu"),
        ("internal", "common"),
        ("internal", "common"),
        ("cumsum", "cumsum"),
    ]


def test_measures_are_never_among_coordinates() -> None:
    assert routes({"name": "place"}) == [("internal", "geo")]


def test_routes_are_remembered_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_ROUTES", 2)
    names = ["a", "b", "a", "c", "d", "a", "web_requests"]
    assert [target for target, _ in routes(*[{"name": name} for name in names])] == [
        *["internal"] * 6,
        "cumsum",
    ]


def test_what_a_rule_drops_is_counted_and_nothing_else() -> None:
    intake = decode({"name": "noise", "value": 1}, {"E": {"name": "noise"}})
    assert (intake.received, intake.dropped, intake.storable) == (2, 1, 1)
    assert (list(intake.items), beside_samples(intake)) == (["event"], 0)
    assert decode({"name": "noise", "value": 1}).is_empty
    assert decode().is_empty


def test_ids_and_times() -> None:
    keyed = {"name": "k", "idempotency_key": "k"}
    sent = [keyed, {**keyed, "time": 1_750_000_000}, {"name": "n"}, {"name": "n"}]
    first, second, third, fourth = decode(*sent, kind="event").records("event")
    assert first.item_id == second.item_id == item_id_of("event", "k") != item_id_of("measure", "k")
    assert len({first.item_id, third.item_id, fourth.item_id}) == 3
    assert (first.key_decides, second.key_decides, third.key_decides) == (True, False, False)
    assert (first.timestamp_us, second.timestamp_us) == (NOW_US, 1_750_000_000_000_000)


def test_the_window_of_times() -> None:
    first, last = OLDEST_MS * 1000, NOW_US + 600_000_000
    assert times(first, last) == [first, last]
    with pytest.raises(RecordsRefused) as refused:
        times(first - 1, first, last + 1)
    (early, before), (late, after) = refused.value.errors
    assert (early, late, refused.value.items) == (0, 2, 3)
    assert "is before 2000-01-01T00:00:00.000Z" in before
    assert "too far in the future" in after


def times(*timestamps_us: int) -> list[int]:
    """Of events that are pushed with these times."""
    seconds = [f"{at // 1_000_000}.{at % 1_000_000:06}" for at in timestamps_us]
    body = "\n".join(f'{{"name":"e","time":{each}}}' for each in seconds).encode()
    intake = decoder().decode(body, "event", False, 1, NOW_US)
    return [item.timestamp_us for item in intake.records("event")]


def test_a_refused_request_holds_nothing() -> None:
    with pytest.raises(
        RecordsRefused, match=r"item 1: name is missing \(and 120 more\)"
    ) as refused:
        decode({"name": "e"}, *[{}] * 121, {"name": "e"}, kind="event")
    assert (len(refused.value.errors), refused.value.more, refused.value.items) == (100, 21, 123)


def test_the_spool_gives_back_the_same_intake() -> None:
    intake = decode({"name": "m", "value": 1}, {"E": {"name": "e"}}, tenant_id=7)
    items = [*intake.records("measure"), *intake.records("event")]
    again = complete(spooled_steps(write_spooled(items), 7))
    assert again.items == intake.items
    assert (again.tenant_id, again.storable) == (7, 2)

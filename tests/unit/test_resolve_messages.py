"""New series go to the database in messages of a bounded size, whatever their labels."""

from __future__ import annotations

from ingest.model import Series
from ingest.storage.database import RESOLVE_AT_ONCE, RESOLVE_BYTES, _messages
from ingest.wire.validate import LONGEST_LABELS_BYTES

MOST_BYTES = 64 * 1024 * 1024


def series(number: int, value: str) -> Series:
    labels = (("__name__", "m"), ("i", str(number)), ("value", value))
    return Series(number.to_bytes(16, "big"), 1, "internal", "common", "m", labels)


def test_by_their_bytes() -> None:
    shared = "x" * (1024 * 1024)
    found = list(_messages([series(i, shared) for i in range(50)]))
    assert [one for few, _ in found for one in few] == [series(i, shared) for i in range(50)]
    assert all(sum(map(len, labels)) <= RESOLVE_BYTES for _, labels in found)


def test_by_their_number() -> None:
    found = list(_messages([series(i, "") for i in range(RESOLVE_AT_ONCE + 1)]))
    assert [len(few) for few, _ in found] == [RESOLVE_AT_ONCE, 1]


def test_the_longest_label_set_in_the_longest_json() -> None:
    [(_, [text])] = _messages([series(1, "\x01" * LONGEST_LABELS_BYTES)])
    assert len(text) < MOST_BYTES

"""Messages are counted before anything is made of them, and long series are read in pieces."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

from ingest.errors import BadRequest
from ingest.wire.remote_write import fields
from ingest.wire.remote_write.fields import (
    MOST_LABELS,
    TOO_MANY_LABELS,
    Layout,
    NoMessage,
    count_fields,
    split_series,
)
from tests.support.series_bytes import field, label, labels, sample, varint

T = TypeVar("T")
NOW = 1_760_000_000_000
V1, V2 = Layout(3, 4, refers=False), Layout(4, 3, refers=True)
MANY = 10**9


def finished(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: T = done.value
            return found


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 20_000, 3_000_000])
def test_fields_of_any_length_are_counted(size: int) -> None:
    message = field(1, b"x" * size) * 2 + b"\x78\x01" + b"\x09" + bytes(8) + b"\x0d" + bytes(4)
    assert finished(count_fields(message, MANY)) == 5


def test_counting_ends_soon_after_the_limit() -> None:
    assert finished(count_fields(b"\x0a\x00" * 10**6, 100)) == fields._FIELDS_BEFORE_A_PAUSE


@pytest.mark.parametrize(
    "message",
    [b"\x0a\x05abc", b"\x0a", b"\xff" * 20, b"\x0f", b"\x02\x00", b"\x8a\x80\x80\x80\x10\x00"],
)
def test_what_is_no_message_is_counted_up_to_there(message: bytes) -> None:
    assert finished(count_fields(b"\x0a\x00" * 3 + message, MANY)) >= 3
    with pytest.raises(NoMessage):
        finished(split_series(b"\x12\x00" * 3 + message, V1, MANY))


def test_a_long_series_in_pieces_that_each_have_its_labels() -> None:
    head = labels(name="up", job="node")
    samples = [sample(NOW + number, number) for number in range(12_000)]
    raw = b"".join(samples[:7000]) + head + b"\x7a\x00" + b"".join(samples[7000:])
    pieces = finished(split_series(raw, V1, MANY))
    assert pieces.head == head
    assert b"".join(pieces.parts) == b"".join(samples)
    assert max(map(len, pieces.parts)) < 2 * fields.LONG_BYTES
    assert pieces.complaint is None


def test_pauses_come_while_walking() -> None:
    assert len(list(split_series(b"\x12\x00" * 100_000, V1, MANY))) == 40
    assert len(list(count_fields(b"\x12\x00" * 100_000, MANY))) == 40


def test_more_labels_than_anybody_has() -> None:
    raw = b"".join(label(f"l{number}", "x") for number in range(MOST_LABELS + 1))
    assert finished(split_series(raw, V1, MANY)).complaint == TOO_MANY_LABELS
    refs = field(1, b"\x03" * (MOST_LABELS * 2 * 5 + 5))
    assert finished(split_series(refs, V2, MANY)).complaint == TOO_MANY_LABELS
    assert finished(split_series(b"\x08\x03" * (2 * MOST_LABELS + 1), V2, MANY)).complaint


def test_exemplars_and_histograms_are_bounded() -> None:
    exemplar = field(3, b"\x0a\x00" * fields.LONGEST_EXEMPLAR_BYTES)
    assert "an exemplar has more" in str(finished(split_series(exemplar, V1, MANY)).complaint)
    histogram = field(4, field(12, bytes(fields.LONGEST_HISTOGRAM_BYTES)) + varint(0x78) + b"\x01")
    assert "histogram has more" in str(finished(split_series(histogram, V1, MANY)).complaint)


def test_more_fields_than_a_request_may_have() -> None:
    with pytest.raises(BadRequest, match="more than 1000 fields"):
        finished(split_series(b"\x12\x00" * 30_000, V1, 1000))

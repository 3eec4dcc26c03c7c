"""Which label sets are taken, and what is said of the others."""

import pytest

from ingest.text import series_text, time_text
from ingest.wire.validate import (
    LONGEST_NAME_BYTES,
    InvalidSeries,
    checked_labels,
)

Pairs = list[tuple[bytes, bytes]]
NAME = (b"__name__", b"up")


def test_labels_are_sorted_by_utf8_bytes() -> None:
    pairs = [(name.encode(), b"x") for name in ("ü", "a", "\U0001f600", "Z", "\uffff")]
    names = [name for name, _ in checked_labels([*pairs, NAME])]
    assert names == ["Z", "__name__", "a", "ü", "\uffff", "\U0001f600"]
    assert names == sorted(names, key=str.encode)


def test_an_empty_value_is_no_label() -> None:
    assert checked_labels([NAME, (b"job", b"")]) == (("__name__", "up"),)


def test_any_utf8_is_taken_in_names() -> None:
    pairs: Pairs = [(b"__name__", "température.moyenne %".encode()), (b"a b\n", b"\xc3\xa9")]
    assert dict(checked_labels(pairs))["a b\n"] == "é"


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "label __name__ is missing"),
        ([(b"job", b"x")], "label __name__ is missing"),
        ([(b"__name__", b"")], r"the metric name \(label __name__\) is empty"),
        ([NAME, (b"", b"x")], "a label has an empty name"),
        ([NAME, (b"a", b"1"), (b"a", b"1")], 'label "a" is there twice'),
        ([NAME, (b"a", b""), (b"a", b"1")], 'label "a" is there twice'),
        ([NAME, NAME], 'label "__name__" is there twice'),
        ([NAME, (b"a", b"x\0y")], r'label "a"="x\\u0000y" contains U\+0000'),
        ([NAME, (b"a\0", b"x")], r"contains U\+0000"),
        ([NAME, (b"a", b"\xff\xfe")], r'label "a"="\\xff\\xfe" is not valid UTF-8: byte 0xff'),
        ([NAME, (b"\xc3", b"x")], "is not valid UTF-8: byte 0xc3"),
        ([NAME, (b"a", b"\xed\xa0\x80")], "is not valid UTF-8"),
    ],
)
def test_what_is_wrong_is_said(pairs: Pairs, reason: str) -> None:
    with pytest.raises(InvalidSeries, match=reason):
        checked_labels(pairs)


def test_a_series_is_shown_on_one_line() -> None:
    pairs = [NAME, (b"job", b'no"de\n'), (b"bad", b"\xff")]
    assert series_text(pairs) == 'up{job="no\\"de\\u000a", bad="\\xff"}'
    assert series_text([]) == "{}"
    assert len(series_text([NAME, (b"a", b"x" * 1000)])) == 200


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [
        (1_760_000_000_123, "2025-10-09T08:53:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-(2**63), "-9223372036854775808 ms"),
        (568_971_820_800_000, "568971820800000 ms"),
    ],
)
def test_times_are_shown(timestamp_ms: int, text: str) -> None:
    assert time_text(timestamp_ms) == text


def test_a_metric_name_that_no_index_could_hold_is_refused() -> None:
    longest = b"m" * LONGEST_NAME_BYTES
    assert checked_labels([(b"__name__", longest)])
    with pytest.raises(InvalidSeries, match="longer than 2000 bytes"):
        checked_labels([(b"__name__", longest + b"m")])

"""The text of `promtool tsdb dump`, whatever labels and values are in it."""

from __future__ import annotations

import io
import math
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import OperatorError
from ingest.labeltext import parse_labels, parse_selector
from ingest.model import is_stale
from ingest.moving import prometheus
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.request import read_request

Labels = list[tuple[str, str]]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
label_sets = st.dictionaries(names, texts, max_size=4).map(lambda labels: sorted(labels.items()))
values = st.floats(allow_subnormal=True)
samples = st.lists(st.tuples(st.integers(0, 2**42), values), min_size=1, max_size=5)


def go_quoted(text: str) -> str:
    """As Go's strconv.Quote writes it."""
    short = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v"}
    short |= {"\\": "\\", '"': '"'}
    quoted = ""
    for letter in text:
        if letter in short:
            quoted += "\\" + short[letter]
        elif letter.isprintable():
            quoted += letter
        elif ord(letter) < 0x80:
            quoted += f"\\x{ord(letter):02x}"
        else:
            quoted += f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
    return f'"{quoted}"'


def go_value(value: float) -> str:
    """As Go's %g writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def dumped(all_series: list[tuple[Labels, list[tuple[int, float]]]]) -> bytes:
    lines = []
    for labels, some in all_series:
        inside = ", ".join(f"{name}={go_quoted(value)}" for name, value in labels)
        lines += [f"{{{inside}}} {go_value(value)} {at}\n" for at, value in some]
    return "".join(lines).encode()


@given(st.lists(st.tuples(label_sets, samples), max_size=5))
def test_every_line_is_a_sample_of_its_series(
    all_series: list[tuple[Labels, list[tuple[int, float]]]],
) -> None:
    text = dumped(all_series)
    [(payload, ends_at, histograms)] = prometheus._dumped(io.BytesIO(text), 0)
    assert (ends_at, histograms) == (len(text), 0)
    request = read_request(Message.V1, payload)
    found = [
        (tuple(parsed.labels), at, pack("<d", value))
        for parsed in map(request.parse, range(len(request.series)))
        for at, value in zip(parsed.timestamp_ms, parsed.value, strict=True)
    ]
    stale = pack("<d", prometheus.STALE)
    assert found == [
        (
            tuple((name.encode(), value.encode()) for name, value in labels),
            at,
            stale if math.isnan(value) else pack("<d", value),
        )
        for labels, some in all_series
        for at, value in some
    ]


@given(st.integers(1, 10), st.integers(1, 4))
def test_a_large_dump_comes_in_pieces_that_say_where_they_end(lines: int, at_once: int) -> None:
    text = dumped([([("__name__", "up")], [(n, float(n)) for n in range(lines)])])
    size = len(text) // lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prometheus, "SAMPLES_AT_ONCE", 2 * at_once)
        pieces = list(prometheus._dumped(io.BytesIO(text), 100))
    ends = [100 + size * min(lines, end) for end in range(at_once, lines + at_once, at_once)]
    assert sorted({end for _, end, _ in pieces}) == sorted({*ends, 100 + len(text)})
    counts = [
        len(request.parse(0).value) if request.series else 0
        for request in (read_request(Message.V1, payload) for payload, _, _ in pieces)
    ]
    assert sum(counts) == lines


def test_native_histograms_are_counted_and_left_out() -> None:
    text = b'{__name__="h"} {count:5, sum:18.4, [-0.5,0):1, (0.5,1]:4} 1700000000000\n'
    [(payload, ends_at, histograms)] = prometheus._dumped(io.BytesIO(text), 0)
    assert (payload, ends_at, histograms) == (b"", len(text), 1)


def test_nan_is_a_stale_marker() -> None:
    assert is_stale(prometheus.STALE)


@pytest.mark.parametrize(
    "line", ["up 1 2", '{a="b"} 1', '{a="b"} one 2', '{a="b" 1 2', "# HELP up", '{a="b"} 1 2.5']
)
def test_what_is_no_line_of_a_dump_is_named(line: str) -> None:
    text = b'{__name__="up"} 1 2\n' + line.encode() + b"\n"
    with pytest.raises(OperatorError, match="byte 20"):
        list(prometheus._dumped(io.BytesIO(text), 0))


@given(label_sets)
def test_labels_come_back_as_go_quotes_them(labels: Labels) -> None:
    inside = ", ".join(f"{name}={go_quoted(value)}" for name, value in labels)
    assert parse_labels(f"{{{inside}}}") == [(n.encode(), v.encode()) for n, v in labels]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("up", [("__name__", "=", "up")]),
        ('up{job=~"n.*"}', [("__name__", "=", "up"), ("job", "=~", "n.*")]),
        ('{job!="a",path!~"/x|/y"}', [("job", "!=", "a"), ("path", "!~", "/x|/y")]),
        ('{"a.b", "c d" = "e"}', [("__name__", "=", "a.b"), ("c d", "=", "e")]),
    ],
)
def test_selectors(text: str, found: list[tuple[str, str, str]]) -> None:
    assert parse_selector(text) == [(n.encode(), op, v.encode()) for n, op, v in found]


@pytest.mark.parametrize("text", ['{job=~"a"}', '{a="\\q"}', '{a==~"b"}', "{a"])
def test_a_label_set_has_no_other_operators_and_no_other_escapes(text: str) -> None:
    with pytest.raises(OperatorError):
        parse_labels(text)

"""What `promgres pipe` makes of its input, before anything is sent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ingest.cli.pipetext import BadLine, Line, read_lines

STAMP = ',"time":1.5,"idempotency_key":"k"'
STAMPED = {"time": 1.5, "idempotency_key": "k"}


def read(text: str | bytes) -> list[Line | BadLine]:
    body = text.encode() if isinstance(text, str) else text
    return list(read_lines(io.BytesIO(body), lambda: STAMP))


def items(text: str | bytes) -> list[tuple[int, str, Any]]:
    found = read(text)
    assert all(isinstance(item, Line) for item in found), found
    return [(line.number, line.kind, json.loads(line.text)) for line in found]


def test_lines_of_objects_and_arrays() -> None:
    text = """
{"name":"m","value":1}

[{"name":"e"}, {"M":{"name":"m","measurement":2,"dict":{}}}]\r
 { "E" : {"name":"e","dict":{"a":"}"}} }
[]
{}"""
    assert items(text) == [
        (2, "M", {"name": "m", "value": 1, **STAMPED}),
        (4, "E", {"name": "e", **STAMPED}),
        (4, "M", {"name": "m", "measurement": 2, "dict": {}, **STAMPED}),
        (5, "E", {"name": "e", "dict": {"a": "}"}, **STAMPED}),
        (7, "E", STAMPED),
    ]


@pytest.mark.parametrize("text", [
    '\n[\n {"name": "a"},\n\n {"E": {\n"name": "b"}}\n]\n',
    '\n\n{"name":\n"a"}\n{"name":\n"b"}',
    '\n\n[{"name":"a"}\n,\n{"name":"b"}]',
])  # fmt: skip
def test_documents_spread_over_lines(text: str) -> None:
    assert items(text) == [
        (3, "E", {"name": "a", **STAMPED}),
        (5, "E", {"name": "b", **STAMPED}),
    ]


def test_a_time_or_a_key_of_its_own_stays() -> None:
    timed, keyed, both, null = items(
        '{"name":"e","time":7}\n{"name":"e","idempotency_key":"x"}\n'
        '{"name":"e","idempotency_key":"x","time":7}\n{"name":"e","idempotency_key":null}'
    )
    assert timed[2] == {"name": "e", "time": 7, "idempotency_key": "k"}
    assert keyed[2] == {"name": "e", "idempotency_key": "x"}
    assert both[2] == {"name": "e", "idempotency_key": "x", "time": 7}
    assert null[2] == {"name": "e", **STAMPED}


def test_no_digit_and_no_character_is_lost() -> None:
    text = '{"name":"ä\U0001f600","value":0.12345678901234567890,"attributes":{"n":1e400}}'
    (line,) = read(b"\xef\xbb\xbf" + text.encode())
    assert isinstance(line, Line)
    assert line.text.isascii()
    decoded = json.loads(line.text, parse_float=str)
    assert decoded["name"] == "ä\U0001f600"
    assert decoded["value"] == "0.12345678901234567890"
    assert decoded["attributes"] == {"n": "1e400"}


def test_bad_lines_are_named_and_the_others_are_taken() -> None:
    deep = b"[" * 100_000
    lines = b'{"name":"a"}\n{"name":\n{"name":"\xff"}\n5\n{"M":5}\n{"value":NaN}\n{"name":"b"}\n'
    found = read(lines + deep)
    reasons = {line.number: line.reason for line in found if isinstance(line, BadLine)}
    assert [line.number for line in found if isinstance(line, Line)] == [1, 7]
    assert reasons == {
        2: "not valid JSON: Expecting value at character 1",
        3: "not valid UTF-8 at byte 9",
        4: "an item has to be an object",
        5: "M has to be an object",
        6: "not valid JSON: NaN is not a number",
        8: reasons[8],
    }


def test_a_bad_first_line_does_not_spoil_the_rest() -> None:
    bad, good = read('{"name":"a"\n{"name":"b"}\n')
    assert isinstance(bad, BadLine)
    assert isinstance(good, Line)
    assert (bad.number, good.number) == (1, 2)


@pytest.mark.parametrize(
    "first", [b"nope\n", b'{"name":"\xff"}\n', b'{"name":"a} \n', b"{} {}\n", b"]\n"]
)
def test_nothing_waits_for_the_end_of_lines_that_come_one_by_one(first: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield first
        while True:
            yield b'{"name":"b"}\n'

    found = read_lines(endless(), lambda: STAMP)
    assert next(line for line in found if line.number == 2) == Line(
        2, "E", '{"name":"b","time":1.5,"idempotency_key":"k"}'
    )


def test_documents_may_be_cut_at_the_end_of_any_line() -> None:
    document = [{"name": "a", "value": 1.5, "attributes": {"b": [1, "x", None], "c": {}}}] * 2
    for indent in (0, 1):
        spread = json.dumps(document, indent=indent)
        assert [item for _, _, item in items(spread)] == [{**each, **STAMPED} for each in document]
    assert [item for _, _, item in items(spread[1:-1].replace("},\n {", "}\n {"))] == [
        {**each, **STAMPED} for each in document
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "[ ]\n"])
def test_nothing(text: str) -> None:
    assert read(text) == []

"""Bodies of pushes: every form that is taken, and a reason for everything that is not."""

from __future__ import annotations

import gzip
import json

import cramjam
import pytest

from ingest.errors import BadRequest, PayloadTooLarge, UnsupportedMedia
from ingest.model import Event, Measure, RecordKind
from ingest.wire.encoding.body import decompress
from ingest.wire.records.body import (
    EXPLAINED_BYTES,
    Complaint,
    Pushed,
    RecordsRefused,
    check_count,
    read_items,
)
from ingest.wire.records.negotiate import check_json, content_encoding
from ingest.wire.records.spooled import spooled_items, write_spooled

DEEP = b"[" * 201 + b"]" * 201
DEEP_ENOUGH = b"[" * 200 + b"]" * 200
ATTRIBUTES_BYTES = 100_000
NUMBERS = [
    # sent, float, exact text
    (b"1", 1.0, None),
    (b"-0.0", -0.0, None),
    (b"0.1", 0.1, None),
    (b"1.50", 1.5, None),
    (b"0.30000000000000004", 0.30000000000000004, None),
    (b"1E5", 1e5, None),
    (b"9007199254740993", 2.0**53, "9007199254740993"),
    (b"12345678901234567890", 12345678901234567890.0, "12345678901234567890"),
    (b"1e23", 1e23, "100000000000000000000000"),  # half-way between two floats
    (b"1e300", 1e300, None),
    (b"0.1234567890123456789", 0.1234567890123456789, "0.1234567890123456789"),
    (b"-1.2345678901234567890e+5", -123456.7890123456789, "-123456.78901234567890"),
    (b"5e-324", 5e-324, None),
    (b"1" * 100, float("1" * 100), "1" * 100),
]
TIMES = [
    (b'"2026-01-31T12:00:00Z"', 1_769_860_800_000_000),
    (b'"2026-01-31 12:00:00.123456+01:30"', 1_769_855_400_123_456),
    (b'"2026-01-31t12:00:00.1234567z"', 1_769_860_800_123_456),
    (b"1769860800", 1_769_860_800_000_000),
    (b"1769860800.123456", 1_769_860_800_123_456),
    (b"1769860800123", 1_769_860_800_123_000),
    (b"1.7698608e9", 1_769_860_800_000_000),
    (b"null", None),
]


def read(
    body: bytes,
    kind: RecordKind = "event",
    legacy: bool = False,
    most_items: int = 0,
) -> list[Pushed | str]:
    """Items, or the reasons against them."""
    for _ in check_count(body, most_items):
        pass
    items = read_items(body, kind, legacy, ATTRIBUTES_BYTES)
    return [item.reason if isinstance(item, Complaint) else item for item in items]


def one(body: bytes, kind: RecordKind = "event", legacy: bool = False) -> Pushed:
    [item] = read(body, kind, legacy)
    assert isinstance(item, Pushed), item
    return item


def refusal(body: bytes, kind: RecordKind = "event", legacy: bool = False) -> str:
    [reason] = read(body, kind, legacy)
    assert isinstance(reason, str), reason
    return reason


@pytest.mark.parametrize(
    "body",
    [
        b'[{"name":"a"},{"name":"b"}]',
        b' [ {"name":"a"} ,\n {"name":"b"} ] \n',
        b'{"name":"a"}\n{"name":"b"}\n',
        b'{"name":"a"}\r\n\r\n{"name":"b"}',
        b'[{"E":{"name":"a"}},{"E":{"name":"b"}}]',
    ],
)
def test_two_items_in_every_form(body: bytes) -> None:
    items = read(body, "event")
    assert [item.name for item in items if isinstance(item, Pushed)] == ["a", "b"]
    assert {item.kind for item in items if isinstance(item, Pushed)} == {"event"}


@pytest.mark.parametrize("kind", ["measure", "event"])
def test_kinds_may_mix_whatever_the_route(kind: RecordKind) -> None:
    body = b'[{"M":{"name":"m","measurement":1.5,"dict":{}}},{"E":{"name":"e","dict":null}}]'
    for legacy in (False, True):
        measure, event = read(body, kind, legacy)
        assert isinstance(measure, Pushed)
        assert isinstance(event, Pushed)
        assert (measure.kind, measure.value, measure.attributes) == ("measure", 1.5, b"{}")
        assert (event.kind, event.attributes) == ("event", b"null")


def test_a_pretty_printed_object_is_one_item() -> None:
    assert one(b'{\n  "name": "a",\n  "attributes": {\n    "x": 1\n  }\n}\n').decoded == {"x": 1}


def test_an_empty_array_holds_nothing() -> None:
    assert read(b" [] ") == []


@pytest.mark.parametrize("name", [b"attributes", b"metadata", b"dict"])
def test_every_name_of_the_attributes(name: bytes) -> None:
    assert one(b'{"name":"a","' + name + b'":{"x" : 1.50}}').attributes == b'{"x" : 1.50}'


@pytest.mark.parametrize("attributes", [b"null", b"[]", b'"x"', b"1", b"[1,{}]"])
def test_dict_may_be_anything_and_the_others_objects(attributes: bytes) -> None:
    assert one(b'{"name":"a","dict":' + attributes + b"}").attributes == attributes
    for name in (b"attributes", b"metadata"):
        assert "has to be an object" in refusal(b'{"name":"a","' + name + b'":' + attributes + b"}")


@pytest.mark.parametrize(("sent", "value", "exact"), NUMBERS)
def test_values_are_exact(sent: bytes, value: float, exact: str | None) -> None:
    for name in (b"value", b"measurement"):
        item = one(b'{"name":"m","' + name + b'":' + sent + b"}", "measure")
        assert repr(item.value) == repr(value)
        assert item.exact == exact


@pytest.mark.parametrize(("sent", "timestamp_us"), TIMES)
def test_times(sent: bytes, timestamp_us: int | None) -> None:
    assert one(b'{"name":"e","time":' + sent + b"}").timestamp_us == timestamp_us


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"", "name is missing"),
        (b'"name":1', "name has to be text, not a number"),
        (b'"name":null', "name has to be text, not null"),
        (b'"name":""', "the name is empty"),
        (b'"name":"a\\u0000"', "control characters"),
        (b'"name":"a\\n"', "control characters"),
        (b'"name":"' + b"\xc3\xa4" * 251 + b'"', "longer than 500 bytes"),
        (b'"name":"\xff"', "not valid UTF-8: byte 0xff"),
        (b'"name":"\\ud800"', "half of a surrogate pair"),
        (b'"name":"e","attribute":{}', 'no field "attribute"'),
        (b'"name":"e","value":1', "an event has no value"),
        (b'"name":"e","attributes":{},"dict":{}', "attributes and dict are the same"),
        (b'"name":"e","attributes":{"a":NaN}', "JSON has no NaN"),
        (b'"name":"e","attributes":{"a":-Infinity}', "JSON has no -Infinity"),
        (b'"name":"e","attributes":{"a":"\\u0000"}', "U+0000"),
        (b'"name":"e","attributes":{"a\\u0000":1}', "U+0000"),
        (b'"name":"e","attributes":{"a":"\\udc00"}', "half of a surrogate pair"),
        (b'"name":"e","attributes":{"a":"\\ud800\\u0041"}', "half of a surrogate pair"),
        (b'"name":"e","attributes":{"a":"\xff"}', "not valid UTF-8: byte 0xff"),
        (b'"name":"e","attributes":{"a":"\x00"}', "not valid JSON"),
        (b'"name":"e","attributes":{"a":1,"a":1}', 'the name "a" is there twice'),
        (b'"name":"e","attributes":{"a":{"b":1,"b":2}}', 'the name "b" is there twice'),
        (b'"name":"e","attributes":{"a:":"b:","a:":1}', 'the name "a:" is there twice'),
        (b'"name":"e","attributes":{"a":1e401}', "exponent beyond"),
        (b'"name":"e","attributes":{"a":1e-131072}', "exponent beyond"),
        (b'"name":"e","attributes":{"a":0e9999999999}', "exponent beyond"),
        (b'"name":"e","attributes":{"a":-0.0E+0131072}', "exponent beyond"),
        (b'"name":"e","attributes":{"a":1e99999999999999999999}', "exponent beyond"),
        (b'"name":"e","attributes":{"a":1e-' + b"9" * 5000 + b"}", "exponent beyond"),
        (b'"name":"e","attributes":{"a":' + b"1" * 20_000 + b"}", "more than 16000 digits"),
        (b'"name":"e","attributes":{"a":' + DEEP + b"}", "nested more than 200 deep"),
        (b'"name":"e","dict":' + b"[" * 50_000 + b"]" * 50_000, "nested more than 200 deep"),
        (b'"name":"e","dict":' + b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than 200"),
        (b'"name":"e","attributes":{"a":"' + b"x" * 100_000 + b'"}', "limits.attributes_bytes"),
        (b'"name":"e","attributes":{"a":01}', "not valid JSON"),
        (b'"name":"e","time":"yesterday"', "neither RFC 3339"),
        (b'"name":"e","time":"2026-01-31T12:00:00"', "neither RFC 3339"),
        (b'"name":"e","time":"2026-02-30T12:00:00Z"', "neither RFC 3339"),
        (b'"name":"e","time":1e400', "neither RFC 3339"),
        (b'"name":"e","time":true', "text or a number, not true"),
        (b'"name":"e","idempotency_key":""', "1 to 255 characters"),
        (b'"name":"e","idempotency_key":"' + b"k" * 256 + b'"', "1 to 255 characters"),
        (b'"name":"e","idempotency_key":7', "idempotency_key has to be text, not a number"),
        (b'"E":{"name":"e"},"name":"f"', "have one field"),
        (b'"E":{"name":"e"},"M":{"name":"f"}', "have one field"),
        (b'"E":{"E":{"name":"e"}}', "have one field"),
        (b'"E":{"name":[]}', "name has to be text, not an array"),
        (b'"E":7', "has to be an object, not a number"),
    ],
)
def test_what_is_wrong_with_an_event(fields: bytes, reason: str) -> None:
    assert reason in refusal(b"{" + fields + b"}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "value is missing"),
        (b',"value":"1"', "has to be a number, not text"),
        (b',"value":true', "has to be a number, not true"),
        (b',"value":null', "has to be a number, not null"),
        (b',"value":{}', "has to be a number, not an object"),
        (b',"value":NaN', "JSON has no NaN"),
        (b',"value":1e309', "beyond what a float holds"),
        (b',"value":1e-400', "neither as a float"),
        (b',"value":' + b"1" * 101, "neither as a float"),
        (b',"value":0.' + b"1" * 101, "neither as a float"),
        (b',"value":1,"measurement":1', "give one of them"),
    ],
)
def test_what_is_wrong_with_a_measure(value: bytes, reason: str) -> None:
    assert reason in refusal(b'{"name":"m"' + value + b"}", "measure")


def test_attributes_that_look_odd_and_are_not() -> None:
    for attributes in (
        b'{"url":"http://x:80/","a:b":":"}',
        b'{"text":"\\\\u0000 \\u00e4 \\ud83d\\ude00","n":123456789012345678901234567890}',
        b'{"deep":' + DEEP_ENOUGH[1:-1] + b"}",
        b'{"brackets":"' + b"[" * 5000 + b'"}',
        b'{"tiny":1e-400,"large":1E+400,"node-1e-999":"1e-999"}',
        json.dumps({f"key {number}": number for number in range(1000)}).encode(),
        json.dumps({"text": "日本語 \U0001f600 \x7f\u2028" * 1000}).encode(),
    ):
        assert one(b'{"name":"e","attributes":' + attributes + b"}").attributes == attributes


def test_every_bad_item_is_named_by_its_position() -> None:
    bodies = [
        b'[{"name":"a"},{"name":NaN},{"nam":1},{"name":"b"},7]',
        b'{"name":"a"}\n{"name":NaN}\n{"nam":1}\n{"name":"b"}\n7',
    ]
    for body in bodies:
        items = read(body)
        assert [isinstance(item, str) for item in items] == [False, True, True, False, True]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"name":"a"}',
        b'[{"name":"a"},',
        b'[{"name":"a"},]',
        b'[{"name":"a"}]]',
        b'[{"name":"a"}] x',
        b'{"name":"a"},{"name":"b"}',
        b'{"name":"a"}}',
        b'{"name":"a"',
        b"name=a&value=1",
        b'\xef\xbb\xbf{"name":"a"}',
        b'{"name":"a"}\n\xff',
        b"null",
        b"[[]]",
        b'{"name":"' + b"a" * 500_000,  # what makes regular expressions slow
        b'{"name":"' + b'\\"' * 250_000,
        b'[{"name":"a","dict":"' + b'\\"' * 250_000 + b"}]",
        b"[]" * 250_000,
        b"{" * 500_000,
    ],
)
def test_a_broken_body_is_refused_for_a_reason(body: bytes) -> None:
    try:
        reasons = [item for item in read(body) if isinstance(item, str)]
    except BadRequest as error:
        reasons = [str(error)]
    assert "" not in reasons
    assert reasons


def test_an_empty_body_is_refused() -> None:
    for body in (b"", b" \n"):
        with pytest.raises(BadRequest, match="empty"):
            read(body)


def test_of_a_long_body_the_first_error_is_told() -> None:
    fill = b'{"name":"' + b"a" * 400 + b'"},'
    start = b"[" + fill * (EXPLAINED_BYTES // len(fill) + 1)
    with pytest.raises(RecordsRefused) as refused:
        read(start + b'{"name":1}]')
    assert refused.value.errors[0][0] == start.count(b"{")
    for end, reason in ((b'{"name":NaN}]', "no NaN"), (b'"\xff"]', "UTF-8"), (b"{", "too early")):
        with pytest.raises(BadRequest, match=reason):
            read(start + end)


def test_too_many_items_are_refused_before_they_are_made() -> None:
    nested = b'{"name":"a","attributes":{"b":{"c":{}}}}'
    assert len(read(b"[" + nested + b"," + nested + b"]", most_items=2)) == 2
    for body in (b"[" + b",".join([nested] * 3) + b"]", b"\n".join([nested] * 3)):
        with pytest.raises(PayloadTooLarge, match="3 items"):
            read(body, most_items=2)


def test_the_legacy_manner_wants_what_the_older_api_wanted() -> None:
    full = b'{"name":"m","measurement":1,"dict":{},"unknown":{"x":1}}'
    assert one(full, "measure", True).value == 1
    assert one(b'{"name":"m","value":1,"more":2}', "measure", True).attributes == b"{}"
    assert one(b'{"name":"e","dict":1,"measurement":7}', "event", True).value == 0
    assert refusal(b'{"name":"m","measurement":1}', "measure", True) == "dict is missing"
    assert refusal(b'{"name":"e"}', "event", True) == "dict is missing"
    assert refusal(b'{"name":"m","dict":{}}', "measure", True) == "value is missing"


def test_the_spool_keeps_items_as_they_are() -> None:
    items: list[Measure | Event] = [
        Event(1, "ä\n", b'{"a" :\n[1.50, "\xc3\xa4"]}', bytes(range(16)), True),
        Measure(-5, "m", b"null", bytes(16), False, -0.0, "0.10", "cumsum", "s"),
        Measure(2**50, "m", b"{}", bytes(16), False, 5e-324, None, "internal", "s"),
    ]
    assert repr([*spooled_items(write_spooled(items))]) == repr(items)
    assert [*spooled_items(b"")] == []
    for broken in (b"{", b'{"i":"00"}', b'{"i":"x","k":true,"t":1,"n":"","a":{}}', b"\xff"):
        with pytest.raises(BadRequest):
            list(spooled_items(broken))


def test_bodies_may_be_compressed() -> None:
    body = b'{"name":"a"}' * 100
    compressed = {
        "": body,
        "identity": body,
        "gzip": gzip.compress(body[:600]) + gzip.compress(body[600:]),
        "X-GZIP": gzip.compress(body),
        "zstd": bytes(cramjam.zstd.compress(body)),
    }
    for header, sent in compressed.items():
        encoding = content_encoding({"Content-Encoding": header})
        assert decompress(encoding, sent, len(body)) == body
        with pytest.raises(BadRequest, match=r"receiver\.max_decompressed_bytes"):
            decompress(encoding, sent, len(body) - 1)
    for sent in (b"not gzip", gzip.compress(body)[:-9], gzip.compress(body) + b"x"):
        with pytest.raises(BadRequest, match="gzip"):
            decompress(content_encoding({"Content-Encoding": "gzip"}), sent, 10_000)
    with pytest.raises(UnsupportedMedia, match="br"):
        content_encoding({"Content-Encoding": "br"})


def test_content_types() -> None:
    for taken in (
        "application/json",
        "application/x-ndjson; charset=UTF-8",
        "application/x-www-form-urlencoded",
        "text/plain;charset=us-ascii",
        "nonsense",
        "",
    ):
        check_json(taken)
    check_json("application/json")
    for refused in (
        "application/x-protobuf",
        "multipart/form-data; boundary=x",
        "text/xml",
        "application/json; charset=latin-1",
    ):
        with pytest.raises(UnsupportedMedia):
            check_json(refused)

"""Whatever is pushed is stored to the digit, or refused; at once or one by one is the same."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import Any

import asyncpg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.config import LimitSettings, Settings
from ingest.copy_format import HEADER, POSTGRES_EPOCH_US, TRAILER
from ingest.errors import BadRequest, InvalidItem, PayloadTooLarge
from ingest.intake.limits import TimeLimits
from ingest.intake.records import RecordDecoder
from ingest.model import Event, Items, Measure
from ingest.routing import Router
from ingest.stores import EVENT, MEASURE
from ingest.wire.records.body import Complaint, Pushed, read_items
from ingest.wire.records.fields import number_of
from ingest.wire.records.jsonb import decode_exact
from ingest.wire.records.spooled import spooled_items, write_spooled
from tests.support.databases import Database, blocking, connect

NOW_US = 1_760_000_000_123_456
DECODER = RecordDecoder(
    Router(Settings()), TimeLimits(lambda _store, _now: 946_684_800_000, 0), LimitSettings()
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = st.one_of(
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(2**53, 2**80).map(float),
)
digits = st.text("0123456789", min_size=1, max_size=30)
number_texts = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{int(whole)}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    digits,
    st.just("") | digits.map(lambda each: f".{each}"),
    st.just("") | st.integers(-420, 420).map(lambda each: f"e{each:+}"),
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
tokens = st.sampled_from(
    [
        *[b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n", b"\xff", b"[" * 300],
        *[b"NaN", b"-Infinity", b"null", b"1", b"-", b"1e999", b"1e-999"],
        *[b'"name"', b'"a"', b'"value"', b'"dict"', b'"time"', b'"M"', b'"E"', b'{"name":"a"}'],
        *[b'"\\u0000"', b'"\\ud800"'],
    ]
)


def exactly(text: str | bytes) -> Any:
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def copied(payload: bytes, fields: int) -> list[list[bytes | None]]:
    """The rows of a binary COPY stream, field by field."""
    assert payload.startswith(HEADER)
    assert payload.endswith(TRAILER)
    at, rows = len(HEADER), []
    while at < len(payload) - len(TRAILER):
        assert struct.unpack_from(">h", payload, at) == (fields,)
        at, row = at + 2, list[bytes | None]()
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", payload, at)
            row.append(None if length < 0 else payload[at + 4 : at + 4 + length])
            at += 4 + max(length, 0)
        rows.append(row)
    return rows


@given(documents, names, st.booleans(), st.sampled_from([None, 1]))
def test_an_event_reaches_the_copy_as_it_was_sent(
    document: Any, name: str, ascii_only: bool, indent: int | None
) -> None:
    sent = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    body = f'{{"dict":{sent},"name":{json.dumps(name)}}}'.encode()
    intake = DECODER.decode(body, "event", False, 7, NOW_US)
    [event] = intake.records("event")
    assert isinstance(event, Event)
    [row] = copied(EVENT.encode(intake.items["event"]), 6)
    time, tenant, name_bytes, attributes, item_id, key_decides = row
    assert time == struct.pack(">q", NOW_US - POSTGRES_EPOCH_US)
    assert tenant == struct.pack(">i", 7)
    assert name_bytes is not None
    assert name_bytes.decode() == name
    assert attributes is not None
    assert attributes[:1] == b"\x01"
    assert attributes[1:] == sent.encode()
    assert exactly(attributes[1:]) == exactly(sent)
    assert item_id is not None
    assert (len(item_id), key_decides) == (16, b"\0")
    assert [*spooled_items(write_spooled([event]))] == [event]


measures_sent = st.tuples(
    st.one_of(number_texts, numbers.map(repr)),
    st.sampled_from([None, "k"]),
    st.sampled_from([None, NOW_US / 1e6]),
)


@given(st.lists(measures_sent.filter(lambda each: _is_value(each[0])), min_size=1))
@example([("38924231504822272", None, None), ("1e23", None, None), ("-0", None, None)])
def test_measures_reach_the_copy(sent: list[tuple[str, str | None, float | None]]) -> None:
    bodies = [
        f'{{"name":"m","value":{text},"idempotency_key":{json.dumps(key)},"time":{json.dumps(at)}}}'
        for text, key, at in sent
    ]
    intake = DECODER.decode("\n".join(bodies).encode(), "measure", False, 1, NOW_US)
    items = intake.records("measure")
    assert repr([*spooled_items(write_spooled(items))]) == repr(items)
    rows = copied(MEASURE.encode(Items([1] * len(items), list(items))), 10)
    for (text, key, at), row, item in zip(sent, rows, items, strict=True):
        assert isinstance(item, Measure)
        assert Decimal(item.exact or repr(item.value)) == Decimal(text)
        assert row[3] == struct.pack(">d", float(text))
        assert (row[4] is None) == (item.exact is None)
        assert row[7] == (b"\1" if key and not at else b"\0")
        assert row[8:] == [b"internal", b"common"]
    keyless = sum(key is None for _, key, _ in sent)
    assert len({item.item_id for item in items}) == keyless + (keyless < len(sent))


@given(st.lists(st.one_of(tokens, documents.map(lambda each: json.dumps(each).encode()))))
@example([b'{"name":"a"}', b"{", b"}"])
@example([b"[", b'{"name":"a"}', b"]", b"]"])
def test_whatever_comes_is_read_or_refused(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    try:
        for item in read_items(body, "event"):
            assert isinstance(item, Pushed | Complaint)
    except (BadRequest, PayloadTooLarge):
        return


items_sent = st.one_of(
    documents.map(lambda each: json.dumps({"name": "a", "dict": each}).encode()),
    st.sampled_from(
        [
            *[b'{"name":"x"}', b'{"name":"a\\u0001"}', b'{"name":"a","time":1}'],
            *[b'{"name":"y","attributes":{"a":1,"a":2}}', b'{"name":"z","dict":1e400}'],
            *[b'{"E":{"name":"b"}}', b'{"E":{}}', b'{"M":{"name":"b","value":"1"}}'],
            b'{"M":{"name":"b","value":12345678901234567890}}',
        ]
    ),
)


@given(st.lists(items_sent, min_size=1, max_size=6), st.sampled_from([b"7", b'{"name":NaN}']))
def test_one_by_one_is_the_same_as_at_once(sent: list[bytes], spoiler: bytes) -> None:
    """What cannot be decoded makes all others be taken one by one."""
    at_once = [_told(item) for item in read_items(b"[" + b",".join(sent) + b"]", "event")]
    alone = [_told(item) for body in sent for item in read_items(body, "event")]
    array = [*read_items(b"[" + b",".join([*sent, spoiler]) + b"]", "event")]
    lines = [*read_items(b"\n".join([*sent, spoiler]), "event")]
    assert isinstance(array[-1], Complaint)
    assert at_once == alone == [_told(item) for item in array[:-1]]
    assert at_once == [_told(item) for item in lines[:-1]]


def _told(item: Pushed | Complaint) -> object:
    return item.reason if isinstance(item, Complaint) else item._replace(decoded=None)


def test_postgresql_stores_all_that_is_taken(postgres_db: Database) -> None:
    """jsonb takes what we take, and writes the same numbers; so do float8 and numeric."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(odd_documents, documents.map(json.dumps)), min_size=20, max_size=200))
    def check(sent: list[str]) -> None:
        blocking(_compare(postgres_db, [each for each in sent if _is_taken(each)]))

    check()


odd_documents = st.one_of(
    number_texts,
    st.sampled_from(["1e23", "9007199254740993", "6.449153493105286e16", "1e40", "5e-324"]),
    st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\u0000", "\\\\", "a", "\\n", "\\u00e4"])).map(
        lambda parts: '"' + "".join(parts) + '"'
    ),
    st.lists(st.tuples(st.sampled_from("abA"), number_texts), max_size=4).map(
        lambda pairs: "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
    ),
)


def _is_taken(text: str) -> bool:
    try:
        decode_exact(text.encode())
    except InvalidItem:
        return False
    return True


async def _compare(database: Database, taken: list[str]) -> None:
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT sent, sent::jsonb::text AS stored FROM unnest($1::text[]) AS sent", taken
        )
        assert [exactly(row["sent"]) for row in rows] == [exactly(row["stored"]) for row in rows]
        await _compare_values(connection, [each for each in taken if _is_value(each)])


def _is_value(text: str) -> bool:
    try:
        number_of(text.encode())
    except InvalidItem:
        return False
    return True


async def _compare_values(connection: asyncpg.Connection, sent: list[str]) -> None:
    pairs = [number_of(text.encode()) for text in sent]
    rows = await connection.fetch(
        "SELECT coalesce(exact, value::text)::numeric AS kept"
        " FROM unnest($1::float8[], $2::text[]) AS each (value, exact)",
        [value for value, _ in pairs],
        [exact for _, exact in pairs],
    )
    assert [row["kept"] for row in rows] == [Decimal(text) for text in sent]

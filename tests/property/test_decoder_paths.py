"""The fast path, the ordinary path and a plain parse of WriteRequest say the same of any input."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from cramjam import snappy
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.errors import BadRequest
from ingest.model import STALE_MARKER_BITS, Intake
from ingest.series.identity import identity_of
from ingest.stores import TARGETS
from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.pb.remote_write_v1_pb2 import WriteRequest
from ingest.wire.remote_write import fields, request
from ingest.wire.remote_write.negotiate import Message
from tests.support.decoding import NOW, TEN_MINUTES, YEAR_2000, Decoding, comparable, rows_of
from tests.support.series_bytes import bits, field, label, sample, varint, write_request

RULES = [
    {"match": {"name": "dropped"}, "drop": True},
    {"match": {"labels": {"a": "x"}}, "target": "cumsum", "schema": "x"},
]
LIKE_TAILS = ["\x12\x07\x10é€A", "\x12\x10\x0912345678\x10é€A", "\n\x05\n\x01a\x12\x00"]

names = st.sampled_from(["up", "Up", "dropped", "locked_tokens", "web_requests", "温度"])
texts = st.one_of(
    st.text(max_size=6), st.sampled_from(["x", "1", "007.5", "1e3", "a\0b", *LIKE_TAILS])
)
label_names = st.sampled_from(["a", "amount", "job", "ünï", "", "zz\0"])
raw_texts = st.one_of(texts.map(str.encode), st.binary(max_size=4))

value_bits = st.one_of(
    st.sampled_from(
        [0, 0, 1, STALE_MARKER_BITS, 0x7FF8000000000001, bits(-0.0), bits(float("-inf"))]
    ),
    st.integers(0, 2**64 - 1),
)
times = st.one_of(
    st.just(NOW),
    st.integers(NOW - 10, NOW + 10),
    st.sampled_from([YEAR_2000 - 1, YEAR_2000, NOW + TEN_MINUTES, NOW + TEN_MINUTES + 1, 0, -1]),
    st.integers(-(2**63), 2**63 - 1),
)


@st.composite
def label_fields(draw: st.DrawFn) -> bytes:
    """Labels as their fields of a TimeSeries: mostly valid, often of a shared pool."""
    pairs: list[tuple[Any, Any]] = [("__name__", draw(names))]
    pairs += draw(st.lists(st.tuples(label_names, texts), max_size=3))
    if draw(st.integers(0, 9)) == 0:
        pairs.append((draw(raw_texts), draw(raw_texts)))
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    return b"".join(label(name, value) for name, value in pairs)


@st.composite
def sample_fields(draw: st.DrawFn) -> bytes:
    """A sample as most encoders write it, or turned round, with zeros, with an unknown field."""
    timestamp_ms, number = draw(times), draw(value_bits)
    shape = draw(st.integers(0, 9))
    if shape == 0:
        content = b"\x10" + varint(timestamp_ms) + b"\x09" + struct.pack("<Q", number)
        return field(2, content)
    if shape == 1:
        return field(2, sample(timestamp_ms, number)[2:] + b"\x18\x05")
    return sample(timestamp_ms, number, keep_zeros=shape == 2)


oddities = st.sampled_from(
    [field(3, b""), field(4, b""), field(15, b"later"), b"\x78\x01", field(3, b"\x12\x00")]
)


@st.composite
def series_bytes(draw: st.DrawFn, pool: list[bytes]) -> bytes:
    """One TimeSeries: labels of the pool, samples, sometimes oddities, sometimes shuffled."""
    parts = [draw(st.sampled_from(pool))]
    parts += draw(st.lists(sample_fields(), max_size=3))
    if draw(st.integers(0, 3)) == 0:
        parts += draw(st.lists(oddities, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        parts = draw(st.permutations(parts))
    return b"".join(parts)


@st.composite
def nearly_a_tail(draw: st.DrawFn) -> bytes:
    """The sample that the fast path looks for, with one or two bits turned: often no protobuf."""
    tail = bytearray(sample(NOW, draw(st.sampled_from([0, bits(1.0)]))))
    for place in draw(st.lists(st.integers(0, 8 * len(tail) - 1), min_size=1, max_size=2)):
        tail[place // 8] ^= 1 << place % 8
    return bytes(tail)


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """A pool of label sets, and series that use them."""
    pool = draw(st.lists(label_fields(), min_size=1, max_size=4))
    one_sample = st.builds(bytes.__add__, st.sampled_from(pool), sample_fields())
    nearly = st.builds(bytes.__add__, st.sampled_from(pool), nearly_a_tail())
    series = st.one_of(one_sample, series_bytes(pool), nearly, st.sampled_from(pool))
    return pool, draw(st.lists(series, max_size=8))


def warmed(pool: list[bytes], series: list[bytes], catalogue: dict[bytes, int]) -> Decoding:
    """A decoder that has seen every label set alone with one sample, and every series."""
    daemon = Decoding.create(catalogue, route=RULES)
    for one in [*(labels + sample(NOW, bits(1.0)) for labels in pool), *series]:
        with suppress(BadRequest):
            daemon.learn(one)
    return daemon


def without_keys(pool: list[bytes], series: list[bytes], catalogue: dict[bytes, int]) -> Decoding:
    """A decoder that knows the same ids and no bytes: all of a request takes the ordinary path."""
    stranger, daemon = Decoding.create(route=RULES), Decoding.create(catalogue, route=RULES)
    for one in [*(labels + sample(NOW, bits(1.0)) for labels in pool), *series]:
        with suppress(BadRequest):
            daemon.commit(stranger.decode(one))
    return daemon


def outcome(daemon: Decoding, series: list[bytes]) -> Any:
    """The intake of a request in comparable form, or that it is refused whole."""
    try:
        intake = daemon.decode(*series)
    except BadRequest as error:
        return str(error)
    assert_balanced(intake)
    return comparable(intake)


@given(requests())
def test_both_paths_say_the_same(request_: tuple[list[bytes], list[bytes]]) -> None:
    pool, series = request_
    catalogue: dict[bytes, int] = {}
    fast = warmed(pool, series, catalogue)
    plain = without_keys(pool, series, catalogue)
    assert outcome(fast, series) == outcome(plain, series)


@given(requests())
def test_a_plain_parse_says_the_same(request_: tuple[list[bytes], list[bytes]]) -> None:
    pool, series = request_
    daemon = warmed(pool, series, {})
    try:
        request = WriteRequest.FromString(write_request(series))
    except DecodeError:
        assert not is_accepted(daemon, series)
        return
    intake = daemon.decode(*series)
    assert intake.sent.samples == sum(len(one.samples) for one in request.timeseries)
    assert stored(intake) == expected_rows(request, daemon)


@given(requests())
def test_a_cold_decoder_stores_the_same(request_: tuple[list[bytes], list[bytes]]) -> None:
    pool, series = request_
    daemon = warmed(pool, series, {})
    cold = Decoding.create(route=RULES)
    try:
        known = daemon.decode(*series)
    except BadRequest:
        return
    new = cold.decode(*series)
    rows = [
        (daemon.catalogue[each.series.identity], at, bits(value), each.exact)
        for each in new.new
        for at, value in zip(each.timestamp_ms, each.value, strict=True)
    ]
    assert sorted(rows, key=repr) == sorted(stored(known), key=repr)
    assert (new.dropped, new.rejected) == (known.dropped, known.rejected)


@given(requests(), st.integers(1, 3))
def test_series_in_pieces_say_the_same(
    request_: tuple[list[bytes], list[bytes]], piece_fields: int
) -> None:
    """As if each of them were long."""
    pool, series = request_
    daemon = warmed(pool, series, {})
    try:
        whole = daemon.decode(*series)
    except BadRequest:
        whole = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fields, "LONG_BYTES", 0)
        patch.setattr(fields, "_PIECE_FIELDS", piece_fields)
        patch.setattr(request, "PART_BYTES", 40)
        try:
            pieces = daemon.decode(*series)
        except BadRequest:
            pieces = None
    assert (whole is None) == (pieces is None)
    if whole and pieces:
        assert stored(pieces) == stored(whole)
        assert (pieces.received, pieces.dropped) == (whole.received, whole.dropped)
        assert pieces.rejected == whole.rejected
        assert pieces.new == whole.new == []


@given(st.binary(max_size=60))
@example(write_request([b"\x0a\x02\x0a\x00"]))
def test_any_bytes_are_decoded_or_refused(payload: bytes) -> None:
    daemon = Decoding.create()
    try:
        intake = daemon.decoder.decode(Message.V1, payload, 1, NOW)
    except BadRequest:
        return
    assert_balanced(intake)


@given(st.binary(max_size=200))
def test_any_body_is_decompressed_or_refused(body: bytes) -> None:
    try:
        content = decompress_snappy(body, 1000)
    except BadRequest:
        return
    assert content == bytes(snappy.decompress_raw(body))
    assert len(content) <= 1000


def is_accepted(daemon: Decoding, series: list[bytes]) -> bool:
    """Whether there is nothing to complain of."""
    try:
        intake = daemon.decode(*series)
    except BadRequest:
        return False
    return not intake.rejections


def stored(intake: Intake) -> list[tuple[int, int, int, str | None]]:
    return [row for target in TARGETS for row in rows_of(intake, target)]


def assert_balanced(intake: Intake) -> None:
    new = sum(len(samples.value) for samples in intake.new)
    new += sum(len(samples.histograms) for samples in intake.new)
    known = len(stored(intake)) + len(intake.items.get("histogram", ()))
    assert intake.received == known + new + intake.rejected + intake.dropped


def expected_rows(
    request: WriteRequest, daemon: Decoding
) -> list[tuple[int, int, int, str | None]]:
    """What the specification and the design ask for, in the slow and obvious way."""
    by_target: dict[str, list[tuple[int, int, int, str | None]]] = {
        target: [] for target in TARGETS
    }
    for one in request.timeseries:
        names = [pair.name for pair in one.labels]
        pairs = {pair.name: pair.value for pair in one.labels if pair.value}
        text = "".join(names) + "".join(pairs.values())
        is_valid = len(set(names)) == len(names) and "" not in names and "\0" not in text
        if not is_valid or pairs.get("__name__", "dropped") == "dropped":
            continue
        target, schema = expected_route(pairs)
        exact = None
        if pairs["__name__"] == "locked_tokens" and is_plain_decimal(pairs.get("amount", "")):
            exact = pairs.pop("amount")
        ordered = tuple(sorted(pairs.items(), key=lambda pair: pair[0].encode()))
        for each in one.samples:
            is_dropped = exact is not None and bits(each.value) == STALE_MARKER_BITS
            if YEAR_2000 <= each.timestamp <= NOW + TEN_MINUTES and not is_dropped:
                series_id = daemon.catalogue[identity_of(1, target, schema, ordered)]
                by_target[target].append((series_id, each.timestamp, bits(each.value), exact))
    return [row for rows in by_target.values() for row in rows]


def expected_route(pairs: dict[str, str]) -> tuple[str, str]:
    if pairs.get("a") == "x":
        return "cumsum", "x"
    return ("cumsum", "cumsum") if pairs["__name__"] == "web_requests" else ("internal", "common")


def is_plain_decimal(text: str) -> bool:
    whole, dot, fraction = text[text[:1] in ("+", "-") :].partition(".")
    parts = [whole, fraction] if dot else [whole]
    return all(part.isascii() and part.isdigit() and len(part) <= 100 for part in parts)

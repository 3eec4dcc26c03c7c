"""1.0 and 2.0 lead to the same rows, and so do both ways through a request of 2.0."""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import repeat
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import BadRequest
from ingest.model import STALE_MARKER_BITS
from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb import remote_write_v2_pb2 as v2
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.request import Request, read_request
from tests.support.decoding import NOW, TEN_MINUTES, YEAR_2000, Decoding, comparable
from tests.support.messages import Symbols, request

RULES = [
    {"match": {"name": "dropped"}, "drop": True},
    {"match": {"labels": {"a": "x"}}, "target": "cumsum", "schema": "x"},
]
Pairs = list[tuple[str, str]]


class Sent(NamedTuple):
    """What a sender means by one series."""

    labels: Pairs
    samples: list[tuple[int, float]]
    histograms: list[v2.Histogram]
    exemplars: list[tuple[Pairs, int, float]]
    metadata: tuple[int, str, str] | None = None
    start_ms: int = 0


def double(number: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", number))[0]
    return value


values = st.one_of(
    st.just(0.0),
    st.sampled_from([STALE_MARKER_BITS, 0x7FF8000000000001, 1 << 63]).map(double),
    st.integers(0, 2**64 - 1).map(double),
)
times = st.one_of(
    st.integers(NOW - 10, NOW + 10),
    st.sampled_from([YEAR_2000 - 1, YEAR_2000, NOW + TEN_MINUTES + 1, 0, -1]),
    st.integers(-(2**63), 2**63 - 1),
)
texts = st.one_of(st.text(max_size=5), st.sampled_from(["x", "1", "007.5", "a\0b"]))
names = st.sampled_from(["up", "Up", "dropped", "locked_tokens", "web_requests", "温度", ""])
label_names = st.sampled_from(["a", "amount", "job", "ünï", "", "zz\0"])
labels = st.tuples(names, st.lists(st.tuples(label_names, texts), max_size=3)).map(
    lambda drawn: [("__name__", drawn[0]), *drawn[1]]
)
spans = st.lists(
    st.builds(v2.BucketSpan, offset=st.integers(-2, 3), length=st.integers(0, 3)), max_size=3
)
histograms = st.builds(
    v2.Histogram,
    count_int=st.integers(0, 9),
    sum=values,
    schema=st.sampled_from([-53, -5, -4, 0, 3, 8, 12, 53]),
    zero_threshold=st.sampled_from([0.0, 1e-128, -1.0]),
    zero_count_int=st.integers(0, 3),
    positive_spans=spans,
    positive_deltas=st.lists(st.integers(-1, 2), max_size=4),
    reset_hint=st.integers(0, 3),
    timestamp=times,
    custom_values=st.sampled_from([[], [], [1.0, 2.0], [2.0, 1.0]]),
)
exemplars = st.tuples(st.lists(st.tuples(label_names, texts), max_size=2), times, values)
metadata = st.none() | st.tuples(
    st.integers(0, 9),
    st.sampled_from(["", "What it is.", "a\0b"]),
    st.sampled_from(["", "seconds"]),
)
series = st.builds(
    Sent,
    labels,
    st.lists(st.tuples(times, values), max_size=2),
    st.lists(histograms, max_size=1),
    st.lists(exemplars, max_size=2),
    st.none(),
    st.just(0),
).filter(lambda sent: bool(sent.samples or sent.histograms))
plain = st.builds(
    Sent,
    labels,
    st.lists(st.tuples(times, values), min_size=1, max_size=1),
    st.just([]),
    st.just([]),
    st.none(),
    st.just(0),
)
starts = st.sampled_from([0, 0, 1, NOW - 1000, NOW - 2000, -1, 2**62])
described = st.builds(
    lambda sent, said, start_ms: sent._replace(metadata=said, start_ms=start_ms),
    st.one_of(plain, series),
    metadata,
    starts,
)


def as_v1(sent: list[Sent]) -> bytes:
    return v1.WriteRequest(
        timeseries=[
            v1.TimeSeries(
                labels=[v1.Label(name=name, value=value) for name, value in one.labels],
                samples=[v1.Sample(timestamp=at, value=value) for at, value in one.samples],
                histograms=[
                    v1.Histogram.FromString(each.SerializeToString()) for each in one.histograms
                ],
                exemplars=[
                    v1.Exemplar(
                        labels=[v1.Label(name=name, value=text) for name, text in pairs],
                        timestamp=at,
                        value=value,
                    )
                    for pairs, at, value in one.exemplars
                ],
            )
            for one in sent
        ]
    ).SerializeToString()


def as_v2(sent: list[Sent], first_symbols: list[str]) -> bytes:
    """The order of symbols is the sender's affair."""
    symbols = Symbols()
    for text in first_symbols:
        symbols.ref(text)
    return request(symbols, [_series_v2(symbols, one) for one in sent])


def _series_v2(symbols: Symbols, one: Sent) -> v2.TimeSeries:
    message = v2.TimeSeries(
        labels_refs=symbols.refs(one.labels),
        samples=[
            v2.Sample(timestamp=at, value=value, start_timestamp=one.start_ms)
            for at, value in one.samples
        ],
        histograms=one.histograms,
        exemplars=[
            v2.Exemplar(labels_refs=symbols.refs(pairs), timestamp=at, value=value)
            for pairs, at, value in one.exemplars
        ],
    )
    if one.metadata is not None:
        number, text, unit = one.metadata
        said = v2.MetadataFields(
            type=number, help_ref=symbols.ref(text), unit_ref=symbols.ref(unit)
        )
        message.metadata.MergeFromString(said.SerializeToString())
    return message


def outcome(daemon: Decoding, protocol: Message, payload: bytes) -> Any:
    try:
        intake = daemon.decoder.decode(protocol, payload, 1, NOW)
    except BadRequest as error:
        return str(error)
    return comparable(intake)


def learn(daemon: Decoding, protocol: Message, payload: bytes) -> None:
    with suppress(BadRequest):
        intake = daemon.decoder.decode(protocol, payload, 1, NOW)
        daemon.commit(intake)


@given(st.lists(st.one_of(plain, series), max_size=6), st.lists(texts, max_size=4))
def test_both_protocols_say_the_same(sent: list[Sent], symbols: list[str]) -> None:
    """Cold, when all series have ids, and when their keys are known as well."""
    catalogue: dict[bytes, int] = {}
    daemons = [Decoding.create(catalogue, route=RULES) for _ in range(2)]
    bodies = [(Message.V1, as_v1(sent)), (Message.V2, as_v2(sent, symbols))]
    for _ in range(3):
        first, second = [
            outcome(daemon, *body) for daemon, body in zip(daemons, bodies, strict=True)
        ]
        assert first == second
        for daemon, body in zip(daemons, bodies, strict=True):
            learn(daemon, *body)


@given(st.lists(described, max_size=6), st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_both_ways_through_2_0_say_the_same(
    sent: list[Sent], symbols: list[str], other_symbols: list[str]
) -> None:
    """One daemon knows all keys, from requests with another symbol table; one only the ids."""
    catalogue: dict[bytes, int] = {}
    fast, plain_one = (Decoding.create(catalogue, route=RULES) for _ in range(2))
    for _ in range(3):
        learn(fast, Message.V2, as_v2(sent, other_symbols))
    stranger = Decoding.create(route=RULES)
    with suppress(BadRequest):
        plain_one.commit(stranger.decoder.decode(Message.V2, as_v2(sent, symbols), 1, NOW))
    body = as_v2(sent, symbols)
    assert outcome(fast, Message.V2, body) == outcome(plain_one, Message.V2, body)


def assert_columns_agree(request: Request) -> list[bool]:
    """Whether each series is of the usual shape; such a one says what protobuf reads in it, and has
    the key that its series gets when it is read by itself."""
    tails = request.tails
    usual = tails.length.nonzero()[0]
    for position, key in zip(usual.tolist(), request.keys(usual), strict=True):
        parsed = request.parse(position)
        assert parsed.complaint is None
        assert parsed.timestamp_ms == [tails.timestamp_ms[position]]
        assert struct.pack("<d", *parsed.value) == tails.value[position].tobytes()
        assert parsed.key == key.tobytes()
    return [bool(length) for length in tails.length]


@given(st.lists(described, min_size=1, max_size=6), st.lists(texts, max_size=4), st.data())
def test_columns_and_protobuf_agree(sent: list[Sent], symbols: list[str], data: Any) -> None:
    request = read_request(Message.V2, as_v2(sent, symbols), 3)
    assert_columns_agree(request)
    series = [*map(bytearray, request.series)]
    turned = data.draw(st.lists(st.integers(0, 8 * sum(map(len, series)) - 1), max_size=3))
    for place in turned:
        for raw in series:
            if place < 8 * len(raw):
                raw[place // 8] ^= 1 << place % 8
                break
            place -= 8 * len(raw)
    broken = read_request(Message.V2, as_v2(sent, symbols), 3)
    broken.series[:] = map(bytes, series)
    assert_columns_agree(broken)


@pytest.mark.parametrize("before", [1, 100, 16_300])
@pytest.mark.parametrize("labels", [2, 30, 3000])
def test_references_of_one_to_three_bytes_and_series_of_many_labels(
    before: int, labels: int
) -> None:
    """Next to one with many labels the others are of the usual shape; the one with 3,000 is not."""
    symbols = ["__name__", "up", "x", "seconds", *[f"l{number:04}" for number in range(labels)]]

    def series(labels: int) -> v2.TimeSeries:
        refs = [0, 1, *[ref for number in range(labels - 1) for ref in (4 + number, 2)]]
        one = v2.TimeSeries(labels_refs=[before + ref for ref in refs])
        one.samples.add(timestamp=NOW, value=labels - 2, start_timestamp=NOW - 1000)
        one.metadata.MergeFromString(
            v2.MetadataFields(type=2, unit_ref=before + 3).SerializeToString()
        )
        return one

    message = v2.Request(timeseries=[series(2), series(labels), *[series(2)] * 30])
    message.symbols.extend(repeat("", before))
    message.symbols.extend(symbols)
    usual = assert_columns_agree(read_request(Message.V2, message.SerializeToString(), 3))
    assert usual == [True, labels < 3000, *[True] * 30]


@pytest.mark.parametrize("odd", [[], [(NOW, 1.0)] * 2], ids=["all usual", "one unusual"])
@pytest.mark.parametrize("refs", [[1, 2, 3], [1, 9], [1, 2, 1, 2**31]])
def test_next_to_wrong_references_others_are_read(refs: list[int], odd: list[Any]) -> None:
    message = v2.Request(symbols=["", "__name__", "up", "x"])
    for labels in ([1, 2], refs, [1, 3], [1, 2, 3, 3]):
        message.timeseries.add(labels_refs=labels).samples.add(timestamp=NOW, value=2.0)
    for at, value in odd:
        message.timeseries[-1].samples.add(timestamp=at, value=value)
    usual = assert_columns_agree(read_request(Message.V2, message.SerializeToString(), 3))
    assert usual == [True, False, True, not odd]


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(payload: bytes) -> None:
    with suppress(BadRequest):
        Decoding.create().decoder.decode(Message.V2, payload, 1, NOW)


@given(st.lists(described, min_size=1, max_size=4), st.data())
def test_a_request_with_turned_bits_is_read_alike_or_refused(sent: list[Sent], data: Any) -> None:
    catalogue: dict[bytes, int] = {}
    fast, plain_one = (Decoding.create(catalogue, route=RULES) for _ in range(2))
    body = bytearray(as_v2(sent, []))
    for _ in range(3):
        learn(fast, Message.V2, bytes(body))
    with suppress(BadRequest):
        stranger = Decoding.create(route=RULES).decoder
        plain_one.commit(stranger.decode(Message.V2, bytes(body), 1, NOW))
    for place in data.draw(st.lists(st.integers(0, 8 * len(body) - 1), min_size=1, max_size=2)):
        body[place // 8] ^= 1 << place % 8
    assert outcome(fast, Message.V2, bytes(body)) == outcome(plain_one, Message.V2, bytes(body))

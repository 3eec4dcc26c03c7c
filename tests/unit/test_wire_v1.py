"""Remote write 1.0: a payload into series, a series into fields."""

import math

import pytest
from xxhash import xxh3_128_digest

from ingest.errors import BadRequest
from ingest.model import STALE_MARKER_BITS
from ingest.wire.pb.remote_write_v1_pb2 import WriteRequest
from ingest.wire.remote_write.parsed import ParsedExemplar
from ingest.wire.remote_write.v1 import parse_series, read_label, read_request
from tests.support.series_bytes import bits, field, label, labels, sample, write_request

NOW = 1_760_000_000_000
UP = labels(name="up", job="node")
SEED = 7


def test_series_stay_bytes_in_the_order_of_the_request() -> None:
    payload = read_request(write_request([b"one", b"", b"two"], metadata=[b"\x08\x01"]), SEED)
    assert payload.series == [b"one", b"", b"two"]
    assert [said.type for said in payload.metadata()] == ["counter"]


def test_an_empty_payload_is_a_probe() -> None:
    assert read_request(b"", SEED).series == []


@pytest.mark.parametrize("payload", [b"\x0a\x05abc", b"\xff\xff\xff", b"\x0a"])
def test_a_payload_that_is_no_protobuf_is_refused(payload: bytes) -> None:
    with pytest.raises(BadRequest, match=r"not a protobuf message prometheus\.WriteRequest"):
        read_request(payload, SEED)


def test_a_series_that_is_no_protobuf_is_refused_with_its_place() -> None:
    with pytest.raises(BadRequest, match="timeseries 7 of the payload"):
        parse_series(b"\x0a\x05abc", 7, SEED)


def test_every_field_is_read() -> None:
    raw = UP + sample(NOW, bits(1.5)) + sample(NOW + 1, 0) + field(3, b"") + field(4, b"") * 2
    parsed = parse_series(raw, 0, SEED)
    assert parsed.labels == [(b"__name__", b"up"), (b"job", b"node")]
    assert parsed.timestamp_ms == [NOW, NOW + 1]
    assert parsed.value == [1.5, 0.0]
    assert parsed.exemplars == [ParsedExemplar([], 0, 0.0)]
    assert len(parsed.histograms) == 2
    assert parsed.key == xxh3_128_digest(UP, SEED)


@pytest.mark.parametrize("value_bits", [STALE_MARKER_BITS, 0x7FF8000000000001, 0xFFF0000000000003])
def test_nan_bits_survive(value_bits: int) -> None:
    value = parse_series(UP + sample(NOW, value_bits), 0, SEED).value[0]
    assert bits(value) == value_bits


def test_negative_zero_is_no_zero() -> None:
    assert math.copysign(1, parse_series(UP + sample(NOW, bits(-0.0)), 0, SEED).value[0]) == -1


@pytest.mark.parametrize("timestamp_ms", [0, -1, -(2**63), 2**63 - 1])
def test_every_int64_is_a_time_stamp(timestamp_ms: int) -> None:
    assert parse_series(UP + sample(timestamp_ms, 1), 0, SEED).timestamp_ms == [timestamp_ms]


@pytest.mark.parametrize(
    "raw",
    [
        sample(NOW, 1) + UP,
        label("__name__", "up") + sample(NOW, 1) + label("job", "node"),
        UP + field(15, b"later") + sample(NOW, 1),
        b"\x0a\x8e\x00" + UP[2:16] + sample(NOW, 1),
    ],
    ids=["sample first", "sample between", "unknown field", "long varint"],
)
def test_an_odd_encoding_has_no_key(raw: bytes) -> None:
    parsed = parse_series(raw, 0, SEED)
    assert parsed.key is None
    assert parsed.value == [5e-324]


@pytest.mark.parametrize(
    "raw",
    [
        field(2, b"node") + field(1, b"job"),
        field(1, b"other") + field(1, b"job") + field(2, b"node"),
        field(1, b"job") + field(2, b"node") + field(3, b"later"),
        b"\x0a\x83\x00job" + field(2, b"node"),
        field(1, b"job") + b"\x12\x84\x00node",
    ],
    ids=["value first", "name twice", "unknown field", "long varint", "long varint of the value"],
)
def test_a_label_is_read_however_it_is_encoded(raw: bytes) -> None:
    assert read_label(raw) == (b"job", b"node")


@pytest.mark.parametrize("raw", [b"", field(1, b"job"), field(2, b"node")])
def test_what_a_label_lacks_is_empty(raw: bytes) -> None:
    message = WriteRequest.FromString(field(1, field(1, raw))).timeseries[0].labels[0]
    assert read_label(raw) == (message.name.encode(), message.value.encode())


@pytest.mark.parametrize("length", [127, 128, 300])
def test_long_labels_are_read_and_have_a_key(length: int) -> None:
    labels = label("__name__", "up") + label("l" * length, "v" * length)
    for samples in (sample(NOW, 1), sample(NOW, 1) * 2):
        parsed = read_request(field(1, labels + samples), SEED).parse(0)
        assert parsed.labels[1] == (b"l" * length, b"v" * length)
        assert parsed.key == xxh3_128_digest(labels, SEED)


@pytest.mark.parametrize("raw", [b"\x0a\x05abc", b"\x0a", b"\x0a\x01a\x12\x05abc", b"\xff"])
def test_a_label_that_is_no_protobuf_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest, match="a label of the payload is not a protobuf message"):
        read_label(raw)

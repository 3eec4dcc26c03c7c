"""Remote write 1.0: a payload into series, a series into fields."""

import math

import pytest

from ingest.errors import BadRequest
from ingest.model import STALE_MARKER_BITS
from ingest.wire.remote_write.parsed import ParsedExemplar
from ingest.wire.remote_write.v1 import parse_series, read_request
from tests.support.series_bytes import bits, field, label, labels, sample, write_request

NOW = 1_760_000_000_000
UP = labels(name="up", job="node")


def test_series_stay_bytes_in_the_order_of_the_request() -> None:
    payload = read_request(write_request([b"one", b"", b"two"], metadata=[b"\x08\x01"]))
    assert payload.series == [b"one", b"", b"two"]
    assert [said.type for said in payload.metadata()] == ["counter"]


def test_an_empty_payload_is_a_probe() -> None:
    assert read_request(b"").series == []


@pytest.mark.parametrize("payload", [b"\x0a\x05abc", b"\xff\xff\xff", b"\x0a"])
def test_a_payload_that_is_no_protobuf_is_refused(payload: bytes) -> None:
    with pytest.raises(BadRequest, match=r"not a protobuf message prometheus\.WriteRequest"):
        read_request(payload)


def test_a_series_that_is_no_protobuf_is_refused_with_its_place() -> None:
    with pytest.raises(BadRequest, match="timeseries 7 of the payload"):
        parse_series(b"\x0a\x05abc", 7)


def test_every_field_is_read() -> None:
    raw = UP + sample(NOW, bits(1.5)) + sample(NOW + 1, 0) + field(3, b"") + field(4, b"") * 2
    parsed = parse_series(raw, 0)
    assert parsed.labels == [(b"__name__", b"up"), (b"job", b"node")]
    assert parsed.timestamp_ms == [NOW, NOW + 1]
    assert parsed.value == [1.5, 0.0]
    assert parsed.exemplars == [ParsedExemplar([], 0, 0.0)]
    assert len(parsed.histograms) == 2
    assert parsed.key == UP


@pytest.mark.parametrize("value_bits", [STALE_MARKER_BITS, 0x7FF8000000000001, 0xFFF0000000000003])
def test_nan_bits_survive(value_bits: int) -> None:
    value = parse_series(UP + sample(NOW, value_bits), 0).value[0]
    assert bits(value) == value_bits


def test_negative_zero_is_no_zero() -> None:
    assert math.copysign(1, parse_series(UP + sample(NOW, bits(-0.0)), 0).value[0]) == -1


@pytest.mark.parametrize("timestamp_ms", [0, -1, -(2**63), 2**63 - 1])
def test_every_int64_is_a_time_stamp(timestamp_ms: int) -> None:
    assert parse_series(UP + sample(timestamp_ms, 1), 0).timestamp_ms == [timestamp_ms]


@pytest.mark.parametrize(
    "raw",
    [
        sample(NOW, 1) + UP,
        label("__name__", "up") + sample(NOW, 1) + label("job", "node"),
        UP + field(15, b"later") + sample(NOW, 1),
        field(1, field(2, b"up") + field(1, b"__name__")) + sample(NOW, 1),
        b"\x0a\x8e\x00" + UP[2:16] + sample(NOW, 1),
    ],
    ids=["sample first", "sample between", "unknown field", "value first", "long varint"],
)
def test_an_odd_encoding_has_no_key(raw: bytes) -> None:
    parsed = parse_series(raw, 0)
    assert parsed.key is None
    assert parsed.value == [5e-324]
